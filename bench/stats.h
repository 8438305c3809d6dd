/* stats.h - what a series of measurements says, in bounded memory.
 *
 * A histogram is log-linear: HIST_STEPS equal steps in every power of two, so that a
 * percentile is at most 1/HIST_STEPS too high, whatever the range. Least and greatest are
 * exact. Owns nothing. Not thread-safe. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

#define HIST_STEPS_LOG2 6
#define HIST_STEPS (1u << HIST_STEPS_LOG2)
/* Values below 2 * HIST_STEPS have a bucket each; every power of two above has
 * HIST_STEPS. */
#define HIST_BUCKETS ((64 - HIST_STEPS_LOG2 + 1) * HIST_STEPS)

struct hist {
    uint64_t count;
    uint64_t min, max; /* meaningless while count is 0 */
    uint64_t buckets[HIST_BUCKETS];
};

void hist_reset(struct hist *hist);
void hist_add(struct hist *hist, uint64_t value);

/* The value that @percent (0 to 100) of all values do not exceed: the greatest value of
 * its bucket, within [min, max]. 0 if there are none. */
uint64_t hist_percentile(const struct hist *hist, double percent);

/* A few values: least, quarter, middle, three quarters, greatest. All 0 if there are
 * none. */
struct spread {
    size_t count;
    double min, low, median, high, max;
};

/* Sorts @values in place. */
struct spread stats_spread(double *values, size_t count);

#endif
