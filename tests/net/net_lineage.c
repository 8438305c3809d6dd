/* net_lineage.c - cases of net_driver about results that stay on the node that made them. The tasks ask for two CPUs,
 * which the driver's node has not. */
#include <string.h>
#include <unistd.h>

#include "net_driver.h"

enum { WORDS = 1 << 20 }; /* of a result: 8 MiB */

/* Words of the argument + 1, or from 0 on. */
static mob_status next_words(struct mob_task *task)
{
    const uint64_t *from = NULL;
    uint64_t *to;
    void *data;
    if (mob_arg_count(task)) {
        const void *arg;
        size_t size;
        MOB_TRY(mob_arg(task, 0, &arg, &size));
        from = arg;
    }
    MOB_TRY(mob_return_place(task, 0, WORDS * sizeof *to, &data));
    to = data;
    for (uint64_t i = 0; i < WORDS; i++) {
        to[i] = from ? from[i] + 1 : i;
    }
    return MOB_OK;
}
MOB_REGISTER(next_words);

static void check(mob_ref ref, uint64_t steps)
{
    struct mob_view view;
    mob_status st = mob_get(mob, ref, 60000000000ull, &view);
    if (st) {
        FAIL("result %llu: %s: %s", (unsigned long long)steps, mob_status_name(st),
             mob_last_error());
    }
    for (uint64_t i = 0; i < WORDS; i++) {
        if (view.size != WORDS * 8 || ((const uint64_t *)view.data)[i] != i + steps) {
            FAIL("word %llu of result %llu is wrong", (unsigned long long)i,
                 (unsigned long long)steps);
        }
    }
    mob_view_release(mob, &view);
}

/* Until they are done, without a wait for any of them: who waits for one gets it. */
static void all_done(const mob_ref *ref, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (!mob_contains(mob, ref[i])) {
            nap_ms(5);
        }
    }
}

/* Says so, and goes on when the test has done what it wants to. */
static void pause_here(const char *what)
{
    char line[16];
    puts(what);
    fflush(stdout);
    if (read(STDIN_FILENO, line, sizeof line) <= 0) {
        FAIL("the test is gone");
    }
}

/* A chain of results of 8 MiB, all of which are held; the number: how many. The last is looked at first. */
void lineage(void)
{
    enum { MOST = 256 };
    static mob_ref ref[MOST];
    struct mob_options o = elsewhere();
    long count = number > 0 && number <= MOST ? number : 3;
    MOB_CHECK(mob_submit(mob, next_words, MOB_NO_ARGS, &o, &ref[0]));
    for (long i = 1; i < count; i++) {
        MOB_CHECK(
            mob_submit(mob, next_words, MOB_ARGS(MOB_REF(ref[i - 1])), &o, &ref[i]));
    }
    all_done(ref, (size_t)count);
    pause_here("made");
    check(ref[count - 1], (uint64_t)count - 1);
    pause_here("looked at the last");
    for (long i = 0; i < count; i++) {
        check(ref[i], (uint64_t)i);
        mob_release(mob, ref[i]);
    }
    puts("all are right");
}

/* Made in zone a, and used in zone b. */
void handed(void)
{
    struct mob_options a = MOB_OPTIONS_INIT, b = MOB_OPTIONS_INIT;
    mob_ref ref[2];
    a.labels = "zone=a";
    b.labels = "zone=b";
    MOB_CHECK(mob_submit(mob, next_words, MOB_NO_ARGS, &a, &ref[0]));
    all_done(ref, 1);
    MOB_CHECK(mob_submit(mob, next_words, MOB_ARGS(MOB_REF(ref[0])), &b, &ref[1]));
    all_done(ref, 2);
    pause_here("made");
    check(ref[1], 1);
    puts("all are right");
}

/* As an iteration does it: each step's result is released when the next one was submitted. */
void steps(void)
{
    struct mob_options o = elsewhere();
    mob_ref last, next;
    MOB_CHECK(mob_submit(mob, next_words, MOB_NO_ARGS, &o, &last));
    for (long i = 1; i < number; i++) {
        MOB_CHECK(mob_submit(mob, next_words, MOB_ARGS(MOB_REF(last)), &o, &next));
        mob_release(mob, last);
        last = next;
    }
    all_done(&last, 1);
    pause_here("made");
    check(last, (uint64_t)number - 1);
    puts("all are right");
}

/* Results are used by tasks that need the same CPUs as those that make them, and may have all there are. */
void used(void)
{
    enum { MOST = 16 };
    mob_ref made[MOST] = {0}; /* gcc with sanitizers does not see that it is filled */
    mob_ref of[MOST];
    struct mob_options o = elsewhere();
    long count = number > 0 && number <= MOST ? number : 4;
    for (long i = 0; i < count; i++) {
        MOB_CHECK(mob_submit(mob, next_words, MOB_NO_ARGS, &o, &made[i]));
    }
    all_done(made, (size_t)count);
    pause_here("made");
    for (long i = 0; i < count; i++) {
        MOB_CHECK(mob_submit(mob, next_words, MOB_ARGS(MOB_REF(made[i])), &o, &of[i]));
    }
    for (long i = 0; i < count; i++) {
        check(of[i], 1);
    }
    puts("all are right");
}

/* Has the only tape here while it waits for a task that waits for what is lost: its argument is that id. */
static mob_status waits_with_tape(struct mob_task *task)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    struct mob *its = mob_task_mob(task);
    struct mob_view view;
    mob_ref made, of;
    o.labels = "zone=a";
    MOB_TRY(mob_arg_copy(task, 0, &made, sizeof made));
    MOB_TRY(mob_submit(its, next_words, MOB_ARGS(MOB_REF(made)), &o, &of));
    MOB_TRY(mob_get(its, of, MOB_FOREVER, &view));
    uint64_t first = *(const uint64_t *)view.data;
    mob_view_release(its, &view);
    mob_release(its, of);
    return mob_return_copy(task, 0, &first, sizeof first);
}
MOB_REGISTER(waits_with_tape);

/* Of what is made with a tape in zone b nothing is left. Here, in zone a, the only tape is held by a task that waits for
 * it. @number: 0: that task may not run twice; 1: it has it as argument; 2: it waits for one that has. */
void held(void)
{
    struct mob_options make = MOB_OPTIONS_INIT, use = MOB_OPTIONS_INIT;
    unsigned ms = 1;
    mob_ref where, made, of;
    use.labels = "zone=b";
    MOB_CHECK(mob_submit_name(mob, "where", MOB_ARGS(MOB_VALUE(ms)), &use, &where));
    MOB_CHECK(mob_get_copy(mob, where, &make.node, sizeof make.node, 60000000000ull));
    make.strategy = MOB_STRATEGY_NODE_SOFT;
    make.resources = use.resources = "tape=1";
    MOB_CHECK(mob_submit(mob, next_words, MOB_NO_ARGS, &make, &made));
    all_done(&made, 1);
    pause_here("made");
    use.labels = "zone=a";
    use.max_retries = number ? MOB_RETRIES_DEFAULT : 0;
    if (number == 2) {
        uint64_t first;
        MOB_CHECK(mob_submit(mob, waits_with_tape, MOB_ARGS(MOB_VALUE(made)), &use, &of));
        MOB_CHECK(mob_get_copy(mob, of, &first, sizeof first, 60000000000ull));
        puts(first == 1 ? "all are right" : "the first word is wrong");
        return;
    }
    MOB_CHECK(mob_submit(mob, next_words, MOB_ARGS(MOB_REF(made)), &use, &of));
    if (number == 1) {
        check(of, 1);
        puts("all are right");
        return;
    }
    struct mob_view view;
    mob_status st = mob_get(mob, of, 60000000000ull, &view);
    printf("%s: %s\n", mob_status_name(st), mob_last_error());
    if (st != MOB_ERR_TASK_FAILED || !strstr(mob_last_error(), "needs CPU=1 tape=1") ||
        !strstr(mob_last_error(), "may not be run a second time")) {
        FAIL("that says nothing");
    }
    puts("all are right");
}
