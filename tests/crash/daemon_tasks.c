#include "daemon_tasks.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LARGE = 1500000, PUT = 300000, SMALL = 40000, CHATTER_LINES = 4000 };

const char *marks_folder;

int mark(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", marks_folder, name);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static int count_marks(const char *prefix)
{
    DIR *dir = opendir(marks_folder);
    struct dirent *e;
    int count = 0;
    while (dir && (e = readdir(dir))) {
        count += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

/* Comes back when two workers are in it: so each of two such tasks has one of its own. */
static void meet(uint64_t round)
{
    char prefix[32], name[64];
    snprintf(prefix, sizeof prefix, "meet-%d-", (int)round);
    snprintf(name, sizeof name, "%s%d", prefix, (int)getpid());
    (void)mark(name);
    while (count_marks(prefix) < 2) {
        poll(NULL, 0, 1);
    }
}

static void fill(uint64_t *words, size_t size)
{
    words[0] = (uint64_t)getpid();
    for (size_t i = 1; i < size / 8; i++) {
        words[i] = i * 0x9e3779b97f4a7c15ull;
    }
}

int is_filled(const uint64_t *words, size_t size)
{
    size_t i = 1;
    while (i < size / 8 && words[i] == i * 0x9e3779b97f4a7c15ull) {
        i++;
    }
    return size == LARGE && i == size / 8;
}

mob_status large(struct mob_task *task)
{
    void *data;
    meet(0);
    MOB_TRY(mob_return_place(task, 0, LARGE, &data));
    fill(data, LARGE);
    return MOB_OK;
}
MOB_REGISTER(large);

/* In both workers: each maps what either has made. */
mob_status look_at_both(struct mob_task *task)
{
    meet(9);
    for (size_t i = 0; i < 2; i++) {
        const void *data;
        size_t size;
        MOB_TRY(mob_arg(task, i, &data, &size));
        if (!is_filled(data, size)) {
            return mob_fail(task, "argument %zu is not what was made", i);
        }
    }
    return MOB_OK;
}
MOB_REGISTER(look_at_both);

/* In the worker that is asked for: puts something beside what it has returned before, and dies. */
mob_status put_and_die(struct mob_task *task)
{
    uint64_t who;
    mob_ref ref;
    void *data;
    MOB_TRY(mob_arg_copy(task, 0, &who, sizeof who));
    meet(1);
    if (who == (uint64_t)getpid()) {
        MOB_TRY(mob_create(mob_task_mob(task), PUT, WAIT_NS, &ref, &data));
        MOB_TRY(mob_seal(mob_task_mob(task), ref));
        raise(SIGKILL);
    }
    return mob_return_copy(task, 0, &who, sizeof who);
}
MOB_REGISTER(put_and_die);

void await_mark(const char *name)
{
    while (count_marks(name) == 0) {
        poll(NULL, 0, 1);
    }
}

mob_status small(struct mob_task *task)
{
    static const char bytes[SMALL];
    return mob_return_copy(task, 0, bytes, sizeof bytes);
}
MOB_REGISTER(small);

/* Says that it runs, and does so until the tester lets it go. */
mob_status gated(struct mob_task *task)
{
    (void)mark("inside");
    await_mark("open");
    return mob_return_copy(task, 0, "x", 1);
}
MOB_REGISTER(gated);

/* The same, each under a number of its own. */
mob_status gated_each(struct mob_task *task)
{
    uint64_t number;
    char name[16];
    MOB_TRY(mob_arg_copy(task, 0, &number, sizeof number));
    snprintf(name, sizeof name, "each%d", (int)number);
    (void)mark(name);
    await_mark("open");
    return mob_return_copy(task, 0, "x", 1);
}
MOB_REGISTER(gated_each);

/* Leaves a process that keeps this one's output open, so that its death takes its time. */
mob_status fork_off(struct mob_task *task)
{
    if (fork() == 0) {
        for (int i = 0; i < 30000 && count_marks("end") == 0; i++) {
            poll(NULL, 0, 1);
        }
        _exit(0);
    }
    return mob_return_copy(task, 0, "x", 1);
}
MOB_REGISTER(fork_off);

mob_status chatter(struct mob_task *task)
{
    for (int i = 0; i < CHATTER_LINES; i++) {
        printf("%060d\n", i);
    }
    fflush(stdout);
    return mob_return_copy(task, 0, "x", 1);
}
MOB_REGISTER(chatter);
