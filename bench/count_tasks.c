/* count_tasks - runs a given number of tasks and nothing else, to be counted from
 * outside.
 *
 * usage: count_tasks sync|async TASKS [WINDOW]
 * The difference between two runs with different TASKS is what that many tasks cost;
 * start, warm-up and end are the same in both and cancel out. An embedded node with one
 * worker.
 *
 * Its own functions are named count_*, so that a profile can tell them from the library.
 */
#include <mobula.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 512, WINDOW_DEFAULT = 64, WINDOW_MAX = 4096 };

static mob_status square(struct mob_task *task)
{
    double x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x *= x;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(square);

__attribute__((noinline)) static void count_submit(struct mob *mob, unsigned long i,
                                                   mob_ref *ret)
{
    MOB_CHECK(mob_submit(mob, square, MOB_ARGS(MOB_VALUE((double)i)), NULL, ret));
}

__attribute__((noinline)) static void count_collect(struct mob *mob, unsigned long i,
                                                    mob_ref ref)
{
    double y;
    MOB_CHECK(mob_get_copy(mob, ref, &y, sizeof y, MOB_FOREVER));
    if (y != (double)i * (double)i) {
        fprintf(stderr, "count_tasks: the square of %lu came back as %g\n", i, y);
        exit(1);
    }
    mob_release(mob, ref);
}

__attribute__((noinline)) static void count_run(struct mob *mob, unsigned long tasks,
                                                unsigned long window)
{
    static mob_ref refs[WINDOW_MAX];
    for (unsigned long i = 0; i < tasks; i++) {
        if (i >= window) {
            count_collect(mob, i - window, refs[i % window]);
        }
        count_submit(mob, i, &refs[i % window]);
    }
    for (unsigned long i = tasks > window ? tasks - window : 0; i < tasks; i++) {
        count_collect(mob, i, refs[i % window]);
    }
}

int main(int argc, char **argv)
{
    struct mob_config config = {
        .struct_size = sizeof config, .num_cpus = 1, .job_name = "count_tasks"};
    struct mob *mob;
    if (mob_is_worker()) {
        MOB_CHECK(mob_init(NULL, &mob));
    }
    unsigned long tasks = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    unsigned long window = argc > 3 ? strtoul(argv[3], NULL, 10) : WINDOW_DEFAULT;
    int sync = argc > 1 && strcmp(argv[1], "sync") == 0;
    if (tasks == 0 || window == 0 || window > WINDOW_MAX ||
        (!sync && strcmp(argv[1], "async") != 0)) {
        fprintf(stderr, "usage: count_tasks sync|async TASKS [WINDOW up to %d]\n",
                WINDOW_MAX);
        return 2;
    }
    window = sync ? 1 : window;
    MOB_CHECK(mob_init(&config, &mob));
    count_run(mob, WARM_UP, window);
    count_run(mob, tasks, window);
    mob_shutdown(mob);
    return 0;
}
