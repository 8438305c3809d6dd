/* The statistics against values worked out by hand, and over the whole range of 64 bits.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "stats.h"

static struct hist hist;

Test(stats, empty_histogram_answers_zero)
{
    hist_reset(&hist);
    cr_assert(eq(u64, hist_percentile(&hist, 50), 0));
}

Test(stats, small_values_are_exact)
{
    hist_reset(&hist);
    for (uint64_t v = 1; v <= 100; v++) {
        hist_add(&hist, v);
    }
    cr_assert(eq(u64, hist.count, 100));
    cr_assert(eq(u64, hist.min, 1));
    cr_assert(eq(u64, hist.max, 100));
    cr_assert(eq(u64, hist_percentile(&hist, 0), 1));
    cr_assert(eq(u64, hist_percentile(&hist, 50), 50));
    cr_assert(eq(u64, hist_percentile(&hist, 99), 99));
    cr_assert(eq(u64, hist_percentile(&hist, 100), 100));
}

/* A percentile is never too low, and too high by one step at most. */
Test(stats, large_values_are_within_a_step)
{
    for (unsigned bit = 7; bit < 64; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)delta;
            hist_reset(&hist);
            hist_add(&hist, 0);
            hist_add(&hist, value);
            hist_add(&hist, UINT64_MAX);
            uint64_t got = hist_percentile(&hist, 50);
            cr_assert(ge(u64, got, value));
            cr_assert(le(u64, got - value, value / HIST_STEPS));
        }
    }
}

Test(stats, greatest_value_has_a_bucket)
{
    hist_reset(&hist);
    hist_add(&hist, UINT64_MAX);
    cr_assert(eq(u64, hist_percentile(&hist, 100), UINT64_MAX));
    cr_assert(eq(u64, hist.buckets[HIST_BUCKETS - 1], 1));
}

Test(stats, percentile_stays_within_what_was_seen)
{
    hist_reset(&hist);
    hist_add(&hist, 1000001);
    cr_assert(eq(u64, hist_percentile(&hist, 50), 1000001));
}

Test(stats, spread_of_odd_and_even_counts)
{
    double odd[] = {5, 1, 3, 2, 4}, even[] = {4, 1, 3, 2};
    struct spread s = stats_spread(odd, 5);
    cr_assert(eq(dbl, s.min, 1));
    cr_assert(eq(dbl, s.low, 2));
    cr_assert(eq(dbl, s.median, 3));
    cr_assert(eq(dbl, s.high, 4));
    cr_assert(eq(dbl, s.max, 5));
    s = stats_spread(even, 4);
    cr_assert(eq(dbl, s.median, 2.5));
    cr_assert(eq(dbl, s.low, 1.75));
}

Test(stats, spread_of_one_and_none)
{
    double one[] = {7};
    struct spread s = stats_spread(one, 1);
    cr_assert(eq(dbl, s.min, 7));
    cr_assert(eq(dbl, s.high, 7));
    s = stats_spread(one, 0);
    cr_assert(eq(sz, s.count, 0));
    cr_assert(eq(dbl, s.max, 0));
}
