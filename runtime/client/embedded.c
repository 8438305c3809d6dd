/* embedded.c - a node of the program's own, for when none runs on this machine. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "core/status.h"

static bool is_program(const char *path)
{
    return access(path, X_OK) == 0;
}

/* $MOBULA_DAEMON, else beside this library as it was built or installed, else in PATH. */
static mob_status find_daemon(char *path, size_t size)
{
    const char *set = getenv("MOBULA_DAEMON");
    if (set) {
        snprintf(path, size, "%s", set);
        return is_program(path)
                   ? MOB_OK
                   : status_fail(MOB_ERR_NO_NODE, "MOBULA_DAEMON names '%s': %m", set);
    }
    Dl_info info;
    static const char *const beside[] = {"../bin/mobulad", "../../bin/mobulad",
                                         "mobulad"};
    if (dladdr((void *)find_daemon, &info) && info.dli_fname) {
        const char *slash = strrchr(info.dli_fname, '/');
        int dir = slash ? (int)(slash - info.dli_fname) : 1;
        const char *base = slash ? info.dli_fname : ".";
        for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
            snprintf(path, size, "%.*s/%s", dir, base, beside[i]);
            if (is_program(path)) {
                return MOB_OK;
            }
        }
    }
    const char *at = getenv("PATH");
    while (at && *at) {
        size_t len = strcspn(at, ":");
        snprintf(path, size, "%.*s/mobulad", (int)len, at);
        if (is_program(path)) {
            return MOB_OK;
        }
        at += len + (at[len] == ':');
    }
    return status_fail(
        MOB_ERR_NO_NODE,
        "the program mobulad was found neither beside libmobula nor in PATH; "
        "install it or set MOBULA_DAEMON");
}

/* In the child. */
static void exec_daemon(const char *path, const struct mob_config *config, int sock,
                        int why)
{
    char sock_arg[32], why_arg[32], cpus_arg[32], store_arg[64], memory_arg[64];
    char gpus_arg[32], resources_arg[512], labels_arg[LABELS_MAX + 32];
    snprintf(sock_arg, sizeof sock_arg, "--embedded=%d", sock);
    snprintf(why_arg, sizeof why_arg, "--ready-fd=%d", why);
    snprintf(cpus_arg, sizeof cpus_arg, "--num-cpus=%u", config->num_cpus);
    snprintf(store_arg, sizeof store_arg, "--object-store-memory=%llu",
             (unsigned long long)config->store_bytes);
    char *argv[] = {(char *)"mobulad",
                    sock_arg,
                    why_arg,
                    store_arg,
                    memory_arg,
                    NULL,
                    NULL,
                    NULL,
                    NULL,
                    NULL,
                    NULL};
    int count = 5;
    if (config->num_cpus) { /* else it counts them */
        argv[count++] = cpus_arg;
    }
    snprintf(memory_arg, sizeof memory_arg, "--memory=%llu",
             (unsigned long long)config->memory_bytes);
    snprintf(gpus_arg, sizeof gpus_arg, "--gpus=%d",
             config->num_gpus == MOB_NO_GPU ? 0 : config->num_gpus);
    if (config->num_gpus != 0) {
        argv[count++] = gpus_arg;
    }
    snprintf(resources_arg, sizeof resources_arg, "--resources=%s",
             config->resources ? config->resources : "");
    if (config->resources) {
        argv[count++] = resources_arg;
    }
    snprintf(labels_arg, sizeof labels_arg, "--labels=%s",
             config->labels ? config->labels : "");
    if (config->labels) {
        argv[count++] = labels_arg;
    }
    if (config->pin) {
        argv[count++] = (char *)(config->pin == MOB_PIN ? "--pin" : "--no-pin");
    }
    /* A terminal's Ctrl-C is for the program; the daemon ends when its socket closes. */
    setsid();
    fcntl(sock, F_SETFD, 0);
    fcntl(why, F_SETFD, 0);
    execv(path, argv);
    dprintf(why, "error %s: %m\n", path);
    _exit(127);
}

mob_status embedded_start(struct mob *mob, const struct mob_config *config, int *ret_why)
{
    char path[PATH_MAX];
    int pair[2], why[2];
    MOB_TRY(find_daemon(path, sizeof path));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return status_fail(MOB_ERR_SYSTEM, "socketpair: %m");
    }
    if (pipe2(why, O_CLOEXEC) < 0) {
        close(pair[0]);
        close(pair[1]);
        return status_fail(MOB_ERR_SYSTEM, "pipe: %m");
    }
    pid_t pid = fork();
    if (pid == 0) {
        exec_daemon(path, config, pair[1], why[1]);
    }
    close(pair[1]);
    close(why[1]);
    if (pid < 0) {
        close(pair[0]);
        close(why[0]);
        return status_fail(MOB_ERR_SYSTEM, "starting mobulad: %m");
    }
    mob->sock = pair[0];
    mob->daemon_pid = pid;
    *ret_why = why[0];
    return MOB_OK;
}

mob_status embedded_failed(struct mob *mob, mob_status st, int why)
{
    static const char error[] = "error ";
    char text[1024];
    size_t have = 0;
    ssize_t n;
    int status;
    if (st != MOB_ERR_NODE_LOST ||
        waitpid(mob->daemon_pid, &status, 0) != mob->daemon_pid) {
        return st;
    }
    mob->daemon_pid = 0;
    while ((n = read(why, text + have, sizeof text - 1 - have)) > 0) {
        have += (size_t)n;
    }
    text[have] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, error, sizeof error - 1) == 0) {
        return status_fail(MOB_ERR_NO_NODE, "a node could not be started: %s",
                           text + sizeof error - 1);
    }
    bool killed = WIFSIGNALED(status);
    return status_fail(MOB_ERR_NO_NODE,
                       "a node could not be started: the program mobulad %s %d",
                       killed ? "was killed by signal" : "ended with status",
                       killed ? WTERMSIG(status) : WEXITSTATUS(status));
}
