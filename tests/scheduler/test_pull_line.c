/* Which pull begins next. */
#include <criterion/criterion.h>

#include "scheduler/pull_line.h"

enum { MANY = 200 };
static struct pull_line line;
static struct pull_source a, b;
static struct pull_entry e[MANY];

static void make(void)
{
    line = (struct pull_line){0};
    pull_source_init(&a);
    pull_source_init(&b);
    a.open = b.open = true;
    for (int i = 0; i < MANY; i++) {
        e[i] = (struct pull_entry){.bytes = 1000, .urgency = PULL_ARGUMENT};
    }
}
TestSuite(pull_line, .init = make, .timeout = 20);

static int begin(void)
{
    struct pull_entry *next = pull_line_next(&line);
    if (!next) {
        return -1;
    }
    pull_line_begin(&line, next);
    return (int)(next - e);
}

Test(pull_line, a_get_comes_before_a_wait_before_an_argument)
{
    e[0].urgency = PULL_LATER;
    e[2].urgency = PULL_WAIT;
    e[3].urgency = PULL_GET;
    e[4].urgency = PULL_PROGRAM;
    for (int i = 0; i < 5; i++) {
        pull_line_add(&line, &a, &e[i]);
    }
    for (int want = 4; want >= 2; want--) {
        cr_assert_eq(begin(), want);
    }
    pull_line_urgent(&line, &e[0], PULL_GET); /* somebody wants it now */
    cr_assert_eq(begin(), 0);
    cr_assert_eq(begin(), 1);
    cr_assert_eq(begin(), -1);
}

Test(pull_line, sources_take_turns)
{
    for (int i = 0; i < 4; i++) {
        pull_line_add(&line, &a, &e[i]);
    }
    for (int i = 4; i < 6; i++) {
        pull_line_add(&line, &b, &e[i]);
    }
    int order[] = {0, 4, 1, 5, 2, 3};
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(begin(), order[i]);
    }
    cr_assert_null(line.turn);
}

Test(pull_line, a_source_that_is_full_or_away_holds_nobody_up)
{
    for (int i = 0; i < 100; i++) {
        pull_line_add(&line, &a, &e[i]);
    }
    pull_line_add(&line, &b, &e[100]);
    e[100].urgency = PULL_ARGUMENT;
    int begun = 0;
    while (begin() >= 0) {
        begun++;
    }
    cr_assert_eq(begun, PULL_SOURCE_COUNT + 1);
    pull_line_end(&line, &e[0]);
    cr_assert_eq(begin(), PULL_SOURCE_COUNT);
    pull_line_end(&line, &e[1]);
    a.open = false;
    cr_assert_eq(begin(), -1);
    a.open = true;
    cr_assert_geq(begin(), 0);
}

Test(pull_line, bytes_are_bounded_and_one_goes_alone)
{
    e[0].bytes = 3 * PULL_NODE_BYTES;
    pull_line_add(&line, &a, &e[0]);
    pull_line_add(&line, &b, &e[1]);
    cr_assert_eq(begin(), 0);
    cr_assert_eq(begin(), -1, "beside one that is larger than all bounds");
    pull_line_end(&line, &e[0]);
    cr_assert_eq(begin(), 1);
    e[2].bytes = PULL_SOURCE_BYTES;
    pull_line_add(&line, &b, &e[2]);
    cr_assert_eq(begin(), -1, "the source has one of 1000 bytes under way");
    pull_line_end(&line, &e[1]);
    cr_assert_eq(begin(), 2);
    cr_assert_eq(line.bytes, PULL_SOURCE_BYTES);
}

/* What is next and has no room in the node is passed by none. */
Test(pull_line, small_ones_do_not_starve_a_large_one)
{
    struct pull_source c;
    pull_source_init(&c);
    c.open = true;
    e[0].bytes = PULL_NODE_BYTES - 100;
    e[1].bytes = PULL_SOURCE_BYTES;
    pull_line_add(&line, &a, &e[0]);
    cr_assert_eq(begin(), 0);
    pull_line_add(&line, &b, &e[1]);
    e[2].bytes = 10;
    pull_line_add(&line, &c, &e[2]);
    cr_assert_eq(begin(), -1);
    pull_line_end(&line, &e[0]);
    cr_assert_eq(begin(), 1);
}

Test(pull_line, what_goes_on_elsewhere_counts_there)
{
    pull_line_add(&line, &a, &e[0]);
    cr_assert_eq(begin(), 0);
    pull_line_move(&e[0], &b);
    cr_assert_eq(a.count + a.bytes, 0);
    cr_assert_eq(b.bytes, 1000);
    pull_line_end(&line, &e[0]);
    cr_assert_eq(b.count + b.bytes + line.bytes, 0);
}

Test(pull_line, any_history)
{
    uint64_t random = 3, waiting = 0;
    for (int step = 0; step < 100000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct pull_entry *x = &e[(random >> 33) % MANY];
        unsigned what = (random >> 58) % 4;
        if (x->under_way && what) {
            pull_line_end(&line, x);
        } else if (!x->at && !x->under_way) {
            x->urgency = (enum pull_urgency)((random >> 50) % PULL_URGENCIES);
            pull_line_add(&line, random >> 63 ? &a : &b, x);
            waiting++;
        } else if (x->at && what == 1) {
            pull_line_remove(&line, x);
            waiting--;
        } else if (x->at && what == 2) {
            pull_line_urgent(&line, x,
                             (enum pull_urgency)((random >> 50) % PULL_URGENCIES));
        } else {
            waiting -= begin() >= 0;
        }
        cr_assert_eq(line.waiting, waiting);
        cr_assert_eq(line.waiting, a.waiting + b.waiting);
        cr_assert_eq(line.turn == NULL, waiting == 0);
        cr_assert_leq(a.count, PULL_SOURCE_COUNT);
    }
}
