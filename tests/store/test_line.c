/* Who waits for memory: the order, the turns, and who has given up. */
#include <criterion/criterion.h>

#include "store/line.h"

enum { A = 1, B, C };
#define MS 1000000ull

Test(line, nobody_waits_everybody_may)
{
    struct line l = {0};
    cr_assert(line_may(&l, A, 10, 0, 0)); /* whether there is enough is not asked here */
}

Test(line, what_the_first_waits_for_is_kept)
{
    struct line l = {0};
    line_refused(&l, A, 100, 0, LINE_FORGET_NS);
    cr_assert(line_may(&l, A, 100, 50, 1));
    cr_assert(!line_may(&l, B, 10, 90, 1));
    cr_assert(!line_may(&l, B, 10, 109, 1));
    cr_assert(line_may(&l, B, 10, 110, 1));
    cr_assert(!line_may(&l, B, 200, 150, 1), "more than there is");
}

Test(line, who_comes_later_waits_behind)
{
    struct line l = {0};
    line_refused(&l, A, 100, 0, LINE_FORGET_NS);
    line_refused(&l, B, 1, 1, LINE_FORGET_NS);
    line_refused(&l, A, 100, 2,
                 LINE_FORGET_NS); /* asking again does not lose the place */
    cr_assert(!line_may(&l, B, 1, 99, 3));
    line_served(&l, A, 4);
    cr_assert(line_may(&l, B, 1, 1, 5));
    cr_assert(!line_may(&l, C, 1, 1, 5));
    line_served(&l, B, 6);
    cr_assert(line_may(&l, C, 1, 1, 7));
}

Test(line, a_turn_ends)
{
    struct line l = {0};
    line_refused(&l, A, 100, 0, LINE_FORGET_NS);
    for (uint64_t t = 0; t <= 1001 * MS; t += MS) {
        line_refused(&l, A, 100, t, LINE_FORGET_NS);
        line_refused(&l, B, 60, t, LINE_FORGET_NS);
    }
    cr_assert(line_may(&l, B, 60, 60, 1002 * MS), "its turn has come");
    cr_assert(!line_may(&l, A, 100, 100, 1002 * MS));
    line_served(&l, B, 1003 * MS);
    cr_assert(line_may(&l, A, 100, 100, 1004 * MS));
}

Test(line, who_does_not_ask_any_more_is_forgotten)
{
    struct line l = {0};
    line_refused(&l, A, 100, 0, LINE_FORGET_NS);
    line_refused(&l, B, 50, 90 * MS, LINE_FORGET_NS);
    cr_assert(!line_may(&l, C, 1, 10, 100 * MS));
    cr_assert(!line_may(&l, C, 1, 10, 101 * MS), "B is the first now");
    cr_assert(line_may(&l, B, 50, 50, 101 * MS));
    cr_assert(line_may(&l, C, 1, 10, 191 * MS));
}

Test(line, a_full_line_turns_nobody_away)
{
    struct line l = {0};
    for (uint64_t i = 0; i < LINE_PLACES + 10; i++) {
        line_refused(&l, 100 + i, 10, i, LINE_FORGET_NS);
    }
    cr_assert_eq(l.count, LINE_PLACES);
    cr_assert(line_may(&l, 100 + LINE_PLACES + 5, 5, 15, 100));
    line_served(&l, 100 + LINE_PLACES + 5, 100);
    cr_assert_eq(l.count, LINE_PLACES);
}

/* Who asks less often says so, and is waited for. */
Test(line, a_place_is_kept_for_as_long_as_was_said)
{
    struct line l = {0};
    line_refused(&l, A, 100, 0, 5000 * MS);
    cr_assert(!line_may(&l, B, 10, 100, 5000 * MS));
    cr_assert(line_may(&l, B, 10, 100, 5001 * MS));
}
