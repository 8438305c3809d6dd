/* share.h - fairness among jobs, by deficit over slot-time.
 *
 * While somebody waits for units, every job that is active has a right to a share by
 * weight, except that a job which wants less than its share leaves the rest to the others
 * (max-min). What a job got less than its right, in units times microseconds divided by
 * its weight, is its deficit; what it got more makes the deficit negative. A job gives a
 * slot up to another only if their deficits are a quantum apart and it holds more for its
 * weight: the first condition lets long tasks and short ones have the same time, the
 * second stops slots from swinging to and fro. The quantum is CPU time of the one of larger weight: neither is
 * further behind than that, and only what weights are to one another counts. A job that wants nothing has no deficit:
 * nobody saves shares up. */
#ifndef SCHEDULER_SHARE_H
#define SCHEDULER_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "scheduler/plan.h"

/* What @need costs where @total is there in all, in CPU units: the largest of its parts of the CPUs, the memory
 * and the GPUs, as so many CPUs (dominant resource fairness). CPUs alone cost what they are. Named
 * resources are not counted: a cluster has no bound of their kinds. 0: it needs nothing. */
uint64_t share_cost(const struct resources *need, const struct resources *total);

struct share {
    uint64_t used;   /* cost of what it holds now */
    int64_t deficit; /* unit * us / weight; positive: it is owed */
    uint32_t weight; /* 1 to PLAN_WEIGHT_MAX */
    bool needy;      /* it waits for units */
    bool settled;    /* scratch: it has all that it wants */
};

/* One CPU for @ns, as a deficit counts it. */
#define SHARE_CPU(ns) ((int64_t)CPU_UNITS * (int64_t)((ns) / NS_PER_US))
#define SHARE_DEFICIT_MAX SHARE_CPU(10 * NS_PER_S) /* older injustice is forgotten */

/* @dt_us passed with things as they are in @list. */
void share_account(struct share *const *list, uint32_t count, uint64_t dt_us);

/* True if a unit is worth more to @a than to @b: it holds less for its weight. */
bool share_below(const struct share *a, const struct share *b);

/* How far ahead of its right it would be after @ns, in units times microseconds divided by its weight, if it got
 * one CPU more now: who gets the next one is who is least ahead. */
int64_t share_ahead(const struct share *s, uint64_t ns);

/* Units that @from should give up to @to, 0 if it need not: their deficits are not yet
 * one CPU for @quantum_ns apart, for the larger weight, or @to would not hold less. */
uint64_t share_to_move(const struct share *from, const struct share *to,
                       uint64_t quantum_ns);

#endif
