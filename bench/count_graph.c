/* count_graph - runs a given number of tasks of a stencil and nothing else, to be counted from outside.
 *
 * usage: count_graph stencil TASKS
 * Each task takes the words of three tasks of the step before, by id: a ring of WIDTH, so that none has
 * fewer. As in count_tasks, the difference between two runs is what the extra tasks cost. An embedded
 * node with one worker.
 *
 * Ids are released as soon as their three readers are submitted; a sixteenth of the steps is waited for,
 * so that a bounded number of tasks is ahead. */
#include <mobula.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 8, AHEAD_STEPS = 16, WARM_UP_STEPS = 64 };

/* One more than the greatest of its inputs, all of which are the number of their step. */
static mob_status count_task(struct mob_task *task)
{
    unsigned long step, in;
    MOB_TRY(mob_arg_copy(task, 0, &step, sizeof step));
    for (size_t k = 1; k < mob_arg_count(task); k++) {
        MOB_TRY(mob_arg_copy(task, k, &in, sizeof in));
        if (in + 1 != step) {
            return mob_fail(task, "an input of step %lu is of step %lu", step, in);
        }
    }
    return mob_return_copy(task, 0, &step, sizeof step);
}
MOB_REGISTER(count_task);

__attribute__((noinline)) static void count_submit(struct mob *mob, unsigned long step,
                                                   const mob_ref *from, int i,
                                                   mob_ref *ret)
{
    struct mob_arg args[4] = {MOB_BYTES(&step, sizeof step)};
    size_t count = 1;
    for (int k = -1; from && k <= 1; k++) {
        args[count++] = MOB_REF(from[(i + k + WIDTH) % WIDTH]);
    }
    MOB_CHECK(mob_submit(mob, count_task, ((struct mob_args){count, args}), NULL, ret));
}

__attribute__((noinline)) static void count_collect(struct mob *mob, unsigned long step,
                                                    const mob_ref *refs)
{
    for (int i = 0; i < WIDTH; i++) {
        unsigned long word;
        MOB_CHECK(mob_get_copy(mob, refs[i], &word, sizeof word, MOB_FOREVER));
        if (word != step) {
            fprintf(stderr, "count_graph: step %lu came back as %lu\n", step, word);
            exit(1);
        }
        mob_release(mob, refs[i]);
    }
}

__attribute__((noinline)) static void count_run(struct mob *mob, unsigned long steps)
{
    mob_ref refs[2][WIDTH], kept[WIDTH];
    unsigned long kept_step = 0;
    for (unsigned long step = 1; step <= steps; step++) {
        mob_ref *from = refs[(step + 1) % 2], *to = refs[step % 2];
        for (int i = 0; i < WIDTH; i++) {
            count_submit(mob, step, step > 1 ? from : NULL, i, &to[i]);
        }
        if (step == 1) {
            continue;
        }
        if (step % AHEAD_STEPS != 0) {
            for (int i = 0; i < WIDTH; i++) {
                mob_release(mob, from[i]);
            }
            continue;
        }
        if (kept_step) {
            count_collect(mob, kept_step, kept);
        }
        memcpy(kept, from, sizeof kept);
        kept_step = step - 1;
    }
    if (kept_step) {
        count_collect(mob, kept_step, kept);
    }
    count_collect(mob, steps, refs[steps % 2]);
}

int main(int argc, char **argv)
{
    struct mob_config config = {
        .struct_size = sizeof config, .num_cpus = 1, .job_name = "count_graph"};
    struct mob *mob;
    if (mob_is_worker()) {
        MOB_CHECK(mob_init(NULL, &mob));
    }
    unsigned long tasks = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (tasks < WIDTH || tasks % WIDTH != 0 || strcmp(argv[1], "stencil") != 0) {
        fprintf(stderr, "usage: count_graph stencil TASKS, a multiple of %d\n", WIDTH);
        return 2;
    }
    MOB_CHECK(mob_init(&config, &mob));
    count_run(mob, WARM_UP_STEPS);
    count_run(mob, tasks / WIDTH);
    mob_shutdown(mob);
    return 0;
}
