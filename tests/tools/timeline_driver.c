/* timeline_driver.c - a driver whose tasks take known times, for test_timeline.sh.
 *
 *   timeline_driver work N US   N tasks of at least US microseconds, and one that has two of them as arguments
 *   timeline_driver kill MARK   a task whose worker is killed while the file MARK is not there; it makes it
 *   timeline_driver fail        a task that fails
 *   timeline_driver many N      N tasks that do nothing, one after the other
 *   timeline_driver large N [COMMAND]   N tasks with a result of 1 MiB, that the next one has as argument; then
 *                               COMMAND, while the job stands: the timeline of one that is over goes if memory
 *                               is wanted */
#include <fcntl.h>
#include <mobula.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TASKS_MAX = 1000, LARGE_BYTES = 1 << 20 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static mob_status spin_for(struct mob_task *task)
{
    uint64_t us, until;
    MOB_TRY(mob_arg_copy(task, 0, &us, sizeof us));
    until = now_ns() + us * 1000;
    while (now_ns() < until) {
    }
    return mob_return_copy(task, 0, &us, sizeof us);
}
MOB_REGISTER(spin_for);

static mob_status add(struct mob_task *task)
{
    uint64_t a, b;
    MOB_TRY(mob_arg_copy(task, 0, &a, sizeof a));
    MOB_TRY(mob_arg_copy(task, 1, &b, sizeof b));
    a += b;
    return mob_return_copy(task, 0, &a, sizeof a);
}
MOB_REGISTER(add);

static mob_status die_once(struct mob_task *task)
{
    const void *mark;
    size_t size;
    uint64_t x = 1;
    MOB_TRY(mob_arg(task, 0, &mark, &size));
    int fd = open(mark, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)raise(SIGKILL);
    }
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(die_once);

static mob_status fail(struct mob_task *task)
{
    return mob_fail(task, "as it was asked to");
}
MOB_REGISTER(fail);

static mob_status nothing(struct mob_task *task)
{
    uint64_t x = 0;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(nothing);

static mob_status large(struct mob_task *task)
{
    void *to;
    MOB_TRY(mob_return_place(task, 0, LARGE_BYTES, &to));
    memset(to, 7, LARGE_BYTES);
    return MOB_OK;
}
MOB_REGISTER(large);

static void work(struct mob *mob, int count, uint64_t us)
{
    static mob_ref refs[TASKS_MAX];
    mob_ref sum;
    uint64_t got;
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_submit(mob, spin_for, MOB_ARGS(MOB_VALUE(us)), NULL, &refs[i]));
    }
    MOB_CHECK(
        mob_submit(mob, add, MOB_ARGS(MOB_REF(refs[0]), MOB_REF(refs[1])), NULL, &sum));
    static unsigned char ready[TASKS_MAX];
    MOB_CHECK(mob_wait(mob, refs, (size_t)count, 1, MOB_FOREVER, ready, NULL));
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_get_copy(mob, refs[i], &got, sizeof got, MOB_FOREVER));
    }
    MOB_CHECK(mob_get_copy(mob, sum, &got, sizeof got, MOB_FOREVER));
}

static void one(struct mob *mob, mob_fn fn, const char *arg)
{
    mob_ref ref;
    uint64_t got;
    mob_status st =
        mob_submit(mob, fn, MOB_ARGS(MOB_BYTES(arg, strlen(arg) + 1)), NULL, &ref);
    MOB_CHECK(st);
    st = mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER);
    printf("%s\n", mob_status_name(st));
    mob_release(mob, ref);
}

static void many(struct mob *mob, int count)
{
    uint64_t got;
    mob_ref ref;
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_submit(mob, nothing, MOB_NO_ARGS, NULL, &ref));
        MOB_CHECK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
        mob_release(mob, ref);
    }
}

static void larges(struct mob *mob, int count)
{
    static mob_ref refs[TASKS_MAX];
    for (int i = 0; i < count; i++) {
        MOB_CHECK(
            i ? mob_submit(mob, large, MOB_ARGS(MOB_REF(refs[i - 1])), NULL, &refs[i])
              : mob_submit(mob, large, MOB_NO_ARGS, NULL, &refs[0]));
    }
    for (int i = 0; i < 2 * count;
         i++) { /* twice, as what is read first may not be on disk yet */
        struct mob_view view;
        MOB_CHECK(mob_get(mob, refs[i % count], MOB_FOREVER, &view));
        mob_view_release(mob, &view);
    }
}

int main(int argc, char **argv)
{
    struct mob *mob;
    const char *what = argc > 1 ? argv[1] : "";
    int code = 0, n = argc > 2 ? atoi(argv[2]) : 1;
    n = n < TASKS_MAX || strcmp(what, "many") == 0 ? n : TASKS_MAX;
    MOB_CHECK(mob_init(NULL, &mob));
    if (strcmp(what, "work") == 0) {
        work(mob, n, argc > 3 ? strtoull(argv[3], NULL, 10) : 100);
    } else if (strcmp(what, "kill") == 0) {
        one(mob, die_once, argc > 2 ? argv[2] : "");
    } else if (strcmp(what, "fail") == 0) {
        one(mob, fail, "");
    } else if (strcmp(what, "many") == 0) {
        many(mob, n);
    } else if (strcmp(what, "large") == 0) {
        larges(mob, n);
        /* style-allow: the test says what */ code = argc > 3 ? system(argv[3]) : 0;
    }
    mob_shutdown(mob);
    return code != 0;
}
