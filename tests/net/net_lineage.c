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
