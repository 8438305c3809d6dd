/* head_rig.h - a head planner alone, its words kept to be looked at. */
#ifndef TESTS_HEAD_RIG_H
#define TESTS_HEAD_RIG_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/head_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS
#define CPUS(units) (&(struct resources){.amount = {units}})

static struct plan_head_action seen[4096];
static uint32_t seen_count;

static inline void act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    seen[seen_count++ % 4096] = *a;
}

static inline const struct plan_head_action *last(enum plan_head_action_kind kind,
                                                  uint64_t to)
{
    for (uint32_t i = seen_count; i-- > 0;) {
        if (seen[i].kind == kind && seen[i].to == to) {
            return &seen[i];
        }
    }
    return NULL;
}

static inline uint32_t count(enum plan_head_action_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < seen_count; i++) {
        n += seen[i].kind == kind;
    }
    return n;
}

#define OK(call)                                                                         \
    do {                                                                                 \
        cr_assert_eq((call), MOB_OK);                                                    \
        const char *wrong_ = plan_head_check(h);                                         \
        cr_assert_null(wrong_, "%s", wrong_);                                            \
    } while (0)

/* Nodes 1 to @nodes of @cpus each; node 1 offers nothing. */
static inline struct plan_head *cluster(uint32_t nodes, uint32_t cpus)
{
    seen_count = 0;
    struct plan_head *h =
        plan_head_create(&(struct plan_head_config){.head = 5, .seed = 1, .act = act}, 0);
    for (uint32_t i = 1; i <= nodes; i++) {
        struct plan_join join = {.node = i,
                                 .session = 100 + i,
                                 .capacity = resources_cpus((uint64_t)cpus * CPU)};
        OK(plan_head_join(h, &join, 0));
        OK(plan_head_report(h, i, CPUS(i > 1 ? (uint64_t)cpus * CPU : 0), 0));
    }
    return h;
}

static inline struct plan_demand demand(uint32_t number, uint32_t units, uint32_t want)
{
    return (struct plan_demand){
        .job = {1, number}, .demand = demand_cpus(units), .weight = 1, .want = want};
}

static inline uint32_t granted(const struct plan_head *h, uint32_t number)
{
    struct plan_demand_view v[8];
    size_t all = plan_head_demands(h, v, 8);
    for (size_t i = 0; i < all; i++) {
        if (v[i].job.number == number) {
            return v[i].granted;
        }
    }
    return 0;
}

#endif
