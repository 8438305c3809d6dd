/* tasks.h - tasks that several of these programs run: one that adds, one that fails in the way it is
 * told, one that waits at a gate. */
#ifndef TESTS_API_TASKS_H
#define TESTS_API_TASKS_H

#include <limits.h>

#include "api.h"

static mob_status add(struct mob_task *task)
{
    long sum = 0, x;
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg_copy(task, i, &x, sizeof x));
        sum += x;
    }
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(add);

/* Counts its attempts in a file, so that the driver sees how often it ran. */
static void count_attempt(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1);
    close(fd);
}

static long attempts(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size : 0;
}

struct how {
    char what[16];
    int n; /* succeed at attempt n + 1; INT_MAX: never */
    char path[128];
};

static inline struct how how(const char *what, int n)
{
    static int count;
    struct how h = {.n = n};
    snprintf(h.what, sizeof h.what, "%s", what);
    snprintf(h.path, sizeof h.path, "%s/how%d", getenv("API_SCRATCH"), count++);
    unlink(h.path);
    return h;
}

static mob_status fail(struct mob_task *task)
{
    struct how h;
    MOB_TRY(mob_arg_copy(task, 0, &h, sizeof h));
    count_attempt(h.path);
    if (attempts(h.path) > h.n) {
        long done = attempts(h.path);
        return mob_return_copy(task, 0, &done, sizeof done);
    }
    if (strcmp(h.what, "status") == 0) {
        return MOB_ERR_UNSUPPORTED;
    } else if (strcmp(h.what, "message") == 0) {
        return mob_fail(task, "row %d is singular", 17);
    } else if (strcmp(h.what, "segv") == 0) {
        fprintf(stderr, "about to crash\n");
        volatile int *volatile nowhere = NULL;
        /* cppcheck-suppress nullPointer ; the crash is what is tested, for the next line too */
        *nowhere = 1; /* NOLINT(clang-analyzer-core.NullDereference) */
    } else if (strcmp(h.what, "abort") == 0) {
        abort();
    } else if (strcmp(h.what, "exit") == 0) {
        exit(9);
    } else if (strcmp(h.what, "kill") == 0) {
        kill(getpid(), SIGKILL);
    } else if (strcmp(h.what, "long") == 0) {
        char text[3500];
        memset(text, 'y', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        return mob_fail(task, "BEGIN%sEND", text);
    } else if (strcmp(h.what, "lines") == 0) {
        for (int i = 0; i < 200; i++) {
            fprintf(stderr, "line %d of what went wrong\n", i);
        }
        abort();
    } else if (strcmp(h.what, "big") ==
               0) { /* results of the attempt that fails are not seen */
        void *p;
        MOB_TRY(mob_return_place(task, 0, 1 << 20, &p));
        memset(p, 1, 1 << 20);
        return mob_fail(task, "after a large result");
    } else if (strcmp(h.what, "put") == 0) { /* what it made is not kept */
        mob_ref ref;
        static char data[1 << 20];
        MOB_TRY(mob_put(mob_task_mob(task), data, sizeof data, MOB_FOREVER, &ref));
        kill(getpid(), SIGKILL);
    } else if (strcmp(h.what, "stale") == 0) {
        struct mob_view v;
        (void)!mob_get(mob_task_mob(task), (mob_ref){0, 0}, 0, &v);
        return MOB_OK;
    }
    return (mob_status)-12345;
}
MOB_REGISTER(fail);

static inline mob_ref submit_how(struct mob *mob, struct how h, int retries, int on_error)
{
    struct mob_options options = MOB_OPTIONS_INIT;
    mob_ref ref;
    options.max_retries = retries;
    options.retry_on_error = on_error;
    OK(mob_submit(mob, fail, MOB_ARGS(MOB_VALUE(h)), &options, &ref));
    return ref;
}

struct gated {
    char path[96];
    long value;
};

static mob_status gated(struct mob_task *task)
{
    struct gated g;
    MOB_TRY(mob_arg_copy(task, 0, &g, sizeof g));
    api_gate_wait(g.path);
    return mob_return_copy(task, 0, &g.value, sizeof g.value);
}
MOB_REGISTER(gated);

static inline mob_ref submit_gated(struct mob *mob, const struct api_gate *g, long value)
{
    struct gated a = {.value = value};
    mob_ref ref;
    snprintf(a.path, sizeof a.path, "%s", g->path);
    OK(mob_submit(mob, gated, MOB_ARGS(MOB_VALUE(a)), NULL, &ref));
    return ref;
}

#endif
