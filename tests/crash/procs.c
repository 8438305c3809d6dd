#include "procs.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

void nap_ms(uint64_t ms)
{
    struct timespec ts = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&ts, NULL);
}

/* ---- any process -------------------------------------------------------------------------------- */

/* State and parent of a process; false if there is none. */
static bool proc_stat(pid_t pid, char *ret_state, pid_t *ret_parent)
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

char proc_state(pid_t pid)
{
    char state;
    pid_t parent;
    return proc_stat(pid, &state, &parent) ? state : '\0';
}

bool proc_alive(pid_t pid)
{
    char state = proc_state(pid);
    return state && state != 'Z' && state != 'X';
}

size_t proc_kids(pid_t of, pid_t *ret)
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

int proc_fds(pid_t pid, const char *what, void (*each)(void *arg, const char *path),
             void *arg)
{
    char path[320], link[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir) {
        return -1;
    }
    struct dirent *e;
    while ((e = readdir(dir))) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, e->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        link[n > 0 ? n : 0] = '\0';
        if (n > 0 && strncmp(link, what, strlen(what)) == 0) {
            count++;
            if (each) {
                each(arg, path);
            }
        }
    }
    closedir(dir);
    return count;
}

/* ---- children of the tester --------------------------------------------------------------------- */

struct kid kid_start(char *const argv[])
{
    int in[2], out[2];
    struct kid k = {-1, -1, -1};
    if (pipe2(in, O_CLOEXEC) < 0) {
        return k;
    }
    if (pipe2(out, O_CLOEXEC) < 0) {
        close(in[0]);
        close(in[1]);
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

void kid_end_input(struct kid *k)
{
    if (k->in >= 0) {
        close(k->in);
        k->in = -1;
    }
}

void kid_close(struct kid *k)
{
    kid_end_input(k);
    if (k->out >= 0) {
        close(k->out);
    }
    *k = (struct kid){-1, -1, -1};
}

bool kid_ended(const struct kid *k, int *ret_status)
{
    return waitpid(k->pid, ret_status, WNOHANG) != 0;
}

bool kid_wait(const struct kid *k, uint64_t limit_ms, int *ret_status)
{
    uint64_t until = clock_now_ns() + limit_ms * NS_PER_MS;
    pid_t got;
    while ((got = waitpid(k->pid, ret_status, WNOHANG)) == 0 && clock_now_ns() < until) {
        nap_ms(2);
    }
    return got == k->pid;
}

bool kid_says(const struct kid *k, char c, uint64_t limit_ms)
{
    uint64_t until = clock_now_ns() + limit_ms * NS_PER_MS;
    char got;
    for (;;) {
        ssize_t n = read(k->out, &got, 1);
        if (n == 1 && got == c) {
            return true;
        }
        if (n == 0 || (n < 0 && clock_now_ns() > until)) {
            return false;
        }
        if (n < 0) {
            nap_ms(1);
        }
    }
}

void kid_forget(const struct kid *k)
{
    char buf[256];
    while (read(k->out, buf, sizeof buf) > 0) {
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void remove_tree(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
