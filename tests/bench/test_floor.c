/* The floors run, notice a dead child, and leave no child behind when their parent is
 * killed. */
#include "floor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENSURE(cond) ((cond) ? (void)0 : fail(#cond, __LINE__))

static void fail(const char *what, int line)
{
    fprintf(stderr, "test_floor.c:%d: %s: %s\n", line, what, strerror(errno));
    exit(1);
}

static struct floor *start(enum floor_kind kind)
{
    struct floor_options options = FLOOR_OPTIONS_INIT;
    struct floor *floor = NULL;
    options.copy_bytes = 4096;
    ENSURE(floor_start(kind, &options, &floor) == 0);
    return floor;
}

static int has_child(enum floor_kind kind)
{
    return kind != FLOOR_COPY && kind != FLOOR_COLD;
}

/* Several rounds on one child, of sizes that do and do not fill the queue or a pass. */
static void rounds_take_time(enum floor_kind kind)
{
    static const uint64_t counts[] = {1, 300, 7, 2049};
    struct floor *floor = start(kind);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        uint64_t ns = 0, before = floor_now_ns();
        ENSURE(floor_round(floor, counts[i], &ns) == 0);
        ENSURE(ns > 0);
        ENSURE(ns <= floor_now_ns() - before);
    }
    ENSURE((floor_child_pid(floor) != 0) == has_child(kind));
    floor_stop(floor);
}

/* The gap is slept but not counted in the time. */
static void gap_is_not_counted(void)
{
    struct floor_options options = FLOOR_OPTIONS_INIT;
    struct floor *floor;
    uint64_t ns, before;
    options.gap_ns = 3000000;
    ENSURE(floor_start(FLOOR_FUTEX, &options, &floor) == 0);
    before = floor_now_ns();
    ENSURE(floor_round(floor, 10, &ns) == 0);
    ENSURE(floor_now_ns() - before >= 10 * options.gap_ns + ns);
    floor_stop(floor);
}

static void dead_child_is_noticed(enum floor_kind kind)
{
    struct floor *floor = start(kind);
    uint64_t ns = 42;
    siginfo_t info;
    ENSURE(kill(floor_child_pid(floor), SIGKILL) == 0);
    ENSURE(waitid(P_PID, (id_t)floor_child_pid(floor), &info, WEXITED | WNOWAIT) == 0);
    ENSURE(floor_round(floor, 5000, &ns) == -ECHILD);
    ENSURE(ns == 42);
    floor_stop(floor);
}

/* A process that starts a floor is killed; its floor's child, which then becomes ours,
 * must have been killed by the kernel too. */
static void child_ends_with_its_parent(enum floor_kind kind)
{
    int ends[2];
    pid_t grandchild;
    int status;
    ENSURE(pipe(ends) == 0);
    pid_t child = fork();
    ENSURE(child != -1);
    if (child == 0) {
        struct floor *floor = start(kind);
        uint64_t ns;
        ENSURE(floor_round(floor, 10, &ns) == 0);
        pid_t pid = floor_child_pid(floor);
        ENSURE(write(ends[1], &pid, sizeof pid) == sizeof pid);
        for (;;) {
            pause();
        }
    }
    ENSURE(read(ends[0], &grandchild, sizeof grandchild) == sizeof grandchild);
    ENSURE(kill(child, SIGKILL) == 0);
    ENSURE(waitpid(child, &status, 0) == child);
    ENSURE(waitpid(grandchild, &status, 0) == grandchild);
    ENSURE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(ends[0]);
    close(ends[1]);
}

static void bad_options_are_refused(void)
{
    struct floor_options options = FLOOR_OPTIONS_INIT;
    struct floor *floor = NULL;
    ENSURE(floor_start(FLOOR_KINDS, NULL, &floor) == -EINVAL);
    ENSURE(floor_start(FLOOR_COPY, &options, &floor) == -EINVAL); /* no size */
    options.child_cpu = 1 << 20;
    ENSURE(floor_start(FLOOR_BOUNCE, &options, &floor) == -EINVAL);
    ENSURE(floor == NULL);
    floor = start(FLOOR_BOUNCE);
    ENSURE(floor_round(floor, 0, &(uint64_t){0}) == -EINVAL);
    floor_stop(floor);
    floor_stop(NULL);
}

int main(void)
{
    ENSURE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    alarm(100); /* a floor that hangs is a failure, not a wait */
    for (int kind = 0; kind < FLOOR_KINDS; kind++) {
        rounds_take_time(kind);
        if (has_child((enum floor_kind)kind)) {
            dead_child_is_noticed(kind);
            child_ends_with_its_parent(kind);
        }
    }
    gap_is_not_counted();
    bad_options_are_refused();
    ENSURE(waitpid(-1, NULL, 0) == -1 && errno == ECHILD); /* nobody is left */
    return 0;
}
