#include "tester.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/status.h"
#include "local.h"

struct tester tester;
static uint64_t random_state;

static void remove_folder(void)
{
    remove_tree(tester.folder);
}

void tester_begin(const char *name, const char *unit)
{
    const char *full = getenv("MOB_TEST_FULL"), *given = getenv("MOB_TEST_SEED");
    tester.name = name;
    tester.unit = unit;
    tester.full = full && strcmp(full, "1") == 0;
    tester.seed = given ? strtoull(given, NULL, 0) : clock_now_ns() % 1000000;
    random_state = tester.seed;
    snprintf(tester.folder, sizeof tester.folder, "/tmp/mob-test-XXXXXX");
    if (!mkdtemp(tester.folder)) {
        fprintf(stderr, "%s: no folder in /tmp: %s\n", name, strerror(errno));
        exit(2);
    }
    atexit(remove_folder);
    setenv("XDG_RUNTIME_DIR", tester.folder, 1);
    setenv("XDG_CACHE_HOME", tester.folder, 1);
    unsetenv("MOBULA_ADDRESS");
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    printf("%s: seed %llu\n", name, (unsigned long long)tester.seed);
    fflush(stdout);
}

uint64_t tester_dice(uint64_t sides)
{
    random_state += 0x9e3779b97f4a7c15ull;
    uint64_t x = random_state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) % sides;
}

void broken(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "%s: seed %llu, after %u %s: ", tester.name,
            (unsigned long long)tester.seed, tester.done, tester.unit);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    const char *hold = getenv("MOB_TEST_HOLD");
    if (hold) {
        nap_ms(strtoull(hold, NULL, 0) * 1000);
    }
    exit(1);
}

void tester_end(void)
{
    pid_t kids[KIDS_MAX];
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    while (proc_kids(getpid(), kids)) {
        if (clock_now_ns() > until) {
            broken("process %d is left behind", (int)kids[0]);
        }
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        nap_ms(2);
    }
}

/* ---- nodes -------------------------------------------------------------------------------------- */

void daemon_check(const struct kid *daemon)
{
    int status;
    if (kid_ended(daemon, &status)) {
        broken("a daemon ended: status %#x", (unsigned)status);
    }
}

struct kid daemon_launch(const char *mobulad, const char *dir, const char *const *options)
{
    char arg[160];
    char *argv[DAEMON_OPTIONS_MAX + 3] = {(char *)mobulad, arg};
    snprintf(arg, sizeof arg, "--node-dir=%s", dir);
    for (int i = 0; options[i]; i++) {
        MOB_ASSERT(i < DAEMON_OPTIONS_MAX);
        argv[i + 2] = (char *)options[i];
    }
    return kid_start(argv);
}

void daemon_await(const struct kid *daemon, const char *dir)
{
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    json_t *status;
    while (!(status = node_status(dir))) {
        daemon_check(daemon);
        if (clock_now_ns() > until) {
            broken("the node in %s does not start", dir);
        }
        nap_ms(2);
    }
    json_decref(status);
}

struct kid daemon_start(const char *mobulad, const char *dir, const char *const *options)
{
    struct kid k = daemon_launch(mobulad, dir, options);
    daemon_await(&k, dir);
    return k;
}

void daemon_stop(struct kid *daemon, const char *dir)
{
    int status;
    kill(daemon->pid, SIGTERM);
    if (!kid_wait(daemon, PATIENCE_MS, &status) || status != 0) {
        broken("a daemon that was asked to end did so with %#x", (unsigned)status);
    }
    if (rmdir(dir) < 0 && errno != ENOENT) {
        broken("something is left in %s", dir);
    }
    kid_close(daemon);
}

void tester_host(char *buf, size_t size)
{
    unsigned pid = (unsigned)getpid();
    snprintf(buf, size, "127.%u.%u.%u", 100 + (pid >> 16) % 100, (pid >> 8) % 256,
             1 + pid % 250);
}

void tester_key(char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%s/key", tester.folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%032llx%032x\n", (unsigned long long)tester.seed, 7) < 0) {
        broken("writing a cluster's key: %s", strerror(errno));
    }
    close(fd);
    snprintf(buf, size, "--key-file=%s", path);
}

struct kid load_start(const char *load, const char *dir)
{
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)tester_dice(1u << 30));
    char *argv[] = {(char *)load, number, tester.folder, (char *)dir, NULL};
    struct kid k = kid_start(argv);
    if (k.pid < 0) {
        broken("starting a driver: %s", strerror(errno));
    }
    return k;
}

static mob_status ask_status(int sock, struct local_msg *m, char **ret, size_t *ret_size)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count;
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = LOCAL_MAGIC;
    m->arg[1] = LOCAL_VERSION;
    m->arg[2] = (uint64_t)getpid();
    m->arg[3] = LOCAL_TOOL;
    MOB_TRY(local_send(sock, m, NULL, 0));
    MOB_TRY(local_recv(sock, m, fds, &count));
    local_msg_init(m, LOCAL_STATUS);
    do {
        MOB_TRY(local_send(sock, m, NULL, 0));
        MOB_TRY(local_recv(sock, m, fds, &count));
        char *grown = m->status ? NULL : realloc(*ret, *ret_size + m->text_size);
        if (!grown) {
            return MOB_ERR_PROTOCOL;
        }
        memcpy(grown + *ret_size, m->text, m->text_size);
        *ret = grown;
        *ret_size += m->text_size;
        m->text_size = 0;
    } while (m->arg[0]); /* which asks for the rest */
    return MOB_OK;
}

json_t *node_status(const char *dir)
{
    int sock;
    if (local_connect(dir, &sock) != MOB_OK) {
        return NULL;
    }
    struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    struct local_msg *m = malloc(sizeof *m);
    char *text = NULL;
    size_t size = 0;
    mob_status st = m ? ask_status(sock, m, &text, &size) : MOB_ERR_NOMEM;
    json_t *root = st ? NULL : json_loadb(text, size, 0, NULL);
    free(text);
    free(m);
    close(sock);
    return root;
}

json_t *node_tells(const char *dir)
{
    json_t *status = node_status(dir);
    if (!status) {
        broken("the node in %s does not answer", dir);
    }
    return status;
}

uint64_t status_number(const json_t *status, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(status, key));
}

/* ---- boards ------------------------------------------------------------------------------------- */

struct boards {
    struct board *ret;
    size_t count, max;
};

static void map_one(void *arg, const char *path)
{
    struct boards *a = arg;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && a->count < a->max && board_map(fd, &a->ret[a->count]) == MOB_OK) {
        a->count++;
    }
    if (fd >= 0) {
        close(fd);
    }
}

size_t boards_map(pid_t daemon, struct board *ret, size_t max)
{
    struct boards a = {ret, 0, max};
    (void)proc_fds(daemon, "/memfd:mobula-board", map_one, &a);
    return a.count;
}
