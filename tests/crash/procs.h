/* procs.h - for testers that kill: who descends from whom, and what the node says of itself. */
#ifndef TESTS_PROCS_H
#define TESTS_PROCS_H

#include <dirent.h>
#include <ftw.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/status.h"
#include "local.h"
#include "store/board.h"

enum { KIDS_MAX = 1024 };

static inline void nap_ms(uint64_t ms)
{
    struct timespec ts = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&ts, NULL);
}

/* State and parent of a process; false if there is none. */
static inline bool proc_stat(pid_t pid, char *ret_state, pid_t *ret_parent)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    char *end = strrchr(text, ')');
    int parent;
    if (!end || sscanf(end + 1, " %c %d", ret_state, &parent) != 2) {
        return false;
    }
    *ret_parent = parent;
    return true;
}

static inline bool proc_alive(pid_t pid)
{
    char state;
    pid_t parent;
    return proc_stat(pid, &state, &parent) && state != 'Z' && state != 'X';
}

/* The living children of a process. */
static inline size_t proc_kids(pid_t of, pid_t *ret)
{
    DIR *dir = opendir("/proc");
    size_t count = 0;
    struct dirent *e;
    while (dir && (e = readdir(dir)) && count < KIDS_MAX) {
        pid_t pid = (pid_t)atoi(e->d_name), parent;
        char state;
        if (pid > 0 && proc_stat(pid, &state, &parent) && parent == of && state != 'Z' &&
            state != 'X') {
            ret[count++] = pid;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

/* fds of a process whose link begins with @what; -1: the process is gone. @ret_fd: the first. */
static inline int proc_fds(pid_t pid, const char *what, int *ret_fd)
{
    char path[320], link[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, e->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        if (n > 0) {
            link[n] = '\0';
            if (strncmp(link, what, strlen(what)) == 0) {
                if (count++ == 0 && ret_fd) {
                    *ret_fd = open(path, O_RDWR | O_CLOEXEC);
                }
            }
        }
    }
    if (!dir) {
        return -1;
    }
    closedir(dir);
    return count;
}

/* ---- asking a node, as the command line does ---------------------------------------------------- */

/* The node's status, or NULL. */
static inline json_t *node_status(const char *node_dir)
{
    int sock;
    if (local_connect(node_dir, &sock) != MOB_OK) {
        return NULL;
    }
    struct timeval limit = {.tv_sec = 10};
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    struct local_msg *m = malloc(sizeof *m);
    char *text = NULL;
    size_t size = 0;
    int fds[LOCAL_FDS_MAX];
    unsigned count;
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = LOCAL_MAGIC;
    m->arg[1] = LOCAL_VERSION;
    m->arg[2] = (uint64_t)getpid();
    m->arg[3] = LOCAL_TOOL;
    mob_status st = local_send(sock, m, NULL, 0);
    st = st ? st : local_recv(sock, m, fds, &count);
    if (!st) {
        local_msg_init(m, LOCAL_STATUS);
        st = local_send(sock, m, NULL, 0);
    }
    do {
        st = st ? st : local_recv(sock, m, fds, &count);
        if (!st && m->status) {
            st = MOB_ERR_PROTOCOL;
        }
        if (!st) {
            char *grown = realloc(text, size + m->text_size);
            st = grown ? MOB_OK : MOB_ERR_NOMEM;
            text = grown ? grown : text;
            if (grown) {
                memcpy(text + size, m->text, m->text_size);
                size += m->text_size;
            }
        }
    } while (!st && m->arg[0]);
    json_t *root = st ? NULL : json_loadb(text, size, 0, NULL);
    free(text);
    free(m);
    close(sock);
    return root;
}

static inline uint64_t status_number(const json_t *status, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(status, key));
}

/* ---- children of the tester ---------------------------------------------------------------------- */

struct kid { /* with a pipe each way */
    pid_t pid;
    int in, out;
};

static inline struct kid kid_start(char *const argv[])
{
    int in[2], out[2];
    struct kid k = {-1, -1, -1};
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
        return k;
    }
    k.pid = fork();
    if (k.pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    k.in = in[1];
    k.out = out[0];
    return k;
}

static inline void kid_close(struct kid *k)
{
    close(k->in);
    close(k->out);
    *k = (struct kid){-1, -1, -1};
}

/* Waits for the end of a child. False: not within the time limit. */
static inline bool kid_wait(const struct kid *k, uint64_t limit_ms, int *ret_status)
{
    uint64_t until = clock_now_ns() + limit_ms * NS_PER_MS;
    pid_t got;
    while ((got = waitpid(k->pid, ret_status, WNOHANG)) == 0 && clock_now_ns() < until) {
        nap_ms(2);
    }
    return got == k->pid;
}

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* A folder that the test made, with all in it. */
static inline void remove_tree(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
