#include "stats.h"

#include <stdlib.h>
#include <string.h>

void hist_reset(struct hist *hist)
{
    memset(hist, 0, sizeof *hist);
}

/* The position of the highest bit says which power of two, the bits below it which step.
 */
static size_t bucket_of(uint64_t value)
{
    if (value < HIST_STEPS) {
        return (size_t)value;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HIST_STEPS_LOG2;
    return ((size_t)shift << HIST_STEPS_LOG2) + (size_t)(value >> shift);
}

/* The greatest value that falls into @bucket. */
static uint64_t bucket_top(size_t bucket)
{
    if (bucket < 2 * HIST_STEPS) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket >> HIST_STEPS_LOG2) - 1;
    uint64_t low = (uint64_t)(bucket - ((size_t)shift << HIST_STEPS_LOG2)) << shift;
    return low + ((UINT64_C(1) << shift) - 1);
}

void hist_add(struct hist *hist, uint64_t value)
{
    if (hist->count == 0 || value < hist->min) {
        hist->min = value;
    }
    if (hist->count == 0 || value > hist->max) {
        hist->max = value;
    }
    hist->count++;
    hist->buckets[bucket_of(value)]++;
}

uint64_t hist_percentile(const struct hist *hist, double percent)
{
    if (hist->count == 0) {
        return 0;
    }
    double rank = percent / 100.0 * (double)hist->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen > 0 && (double)seen >= rank) {
            uint64_t top = bucket_top(i);
            return top < hist->min ? hist->min : top > hist->max ? hist->max : top;
        }
    }
    return hist->max; /* a percent above 100 */
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The value at @share of the way through the sorted ones, between two of them if need be.
 */
static double at_share(const double *values, size_t count, double share)
{
    double place = share * (double)(count - 1);
    size_t below = (size_t)place;
    size_t above = below + 1 < count ? below + 1 : below;
    return values[below] + (place - (double)below) * (values[above] - values[below]);
}

struct spread stats_spread(double *values, size_t count)
{
    struct spread spread = {0};
    if (count == 0) {
        return spread;
    }
    qsort(values, count, sizeof *values, by_value);
    spread.count = count;
    spread.min = values[0];
    spread.low = at_share(values, count, 0.25);
    spread.median = at_share(values, count, 0.5);
    spread.high = at_share(values, count, 0.75);
    spread.max = values[count - 1];
    return spread;
}
