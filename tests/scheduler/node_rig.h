/* node_rig.h - a node planner alone, its actions kept to be looked at. */
#ifndef TESTS_NODE_RIG_H
#define TESTS_NODE_RIG_H

#include <criterion/criterion.h>

#include "scheduler/node_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS
#define NEED(units) (&(struct demand){.need = resources_cpus(units)})

static struct plan_node_action seen[4096];
static uint64_t offers[4096]; /* CPU units that each of them offered */
static uint32_t seen_count;

static inline void act(void *arg, const struct plan_node_action *a)
{
    (void)arg;
    offers[seen_count % 4096] = a->offer ? a->offer->amount[RESOURCE_CPU] : 0;
    seen[seen_count++ % 4096] = *a;
}

static inline uint32_t count(enum plan_node_action_kind kind, uint32_t number)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < seen_count; i++) {
        n += seen[i].kind == kind && (number == 0 || seen[i].job.number == number)
                 ? (kind == PLAN_TAKE || kind == PLAN_SEND ? seen[i].count : 1)
                 : 0;
    }
    return n;
}

static inline struct plan_node *node(uint32_t cpus)
{
    seen_count = 0;
    return plan_node_create(
        &(struct plan_node_config){.node = 7,
                                   .capacity = resources_cpus((uint64_t)cpus * CPU),
                                   .jobs_max = 8,
                                   .leases_max = 8,
                                   .act = act},
        0);
}

static inline struct plan_job job(struct plan_node *p, uint32_t number, uint32_t weight,
                                  uint32_t units)
{
    struct plan_job key = {7, number};
    cr_assert_eq(plan_node_job_add(p, key, weight, 0), MOB_OK);
    cr_assert_eq(plan_node_class_add(p, key, 0, NEED(units), 0), MOB_OK);
    return key;
}

#define OK(call)                                                                         \
    do {                                                                                 \
        cr_assert_eq((call), MOB_OK);                                                    \
        const char *wrong_ = plan_node_check(p);                                         \
        cr_assert_null(wrong_, "%s", wrong_);                                            \
    } while (0)

static inline struct plan_lease lease(uint64_t id, uint32_t number, uint32_t slots)
{
    return (struct plan_lease){.lease = id,
                               .epoch = 1,
                               .job = {8, number},
                               .demand = demand_cpus(CPU),
                               .weight = 1,
                               .slots = slots,
                               .owner = 8};
}

static inline enum plan_why why(struct plan_node *p, struct plan_job key)
{
    enum plan_why w;
    uint32_t kind;
    cr_assert_eq(plan_node_why(p, key, 0, &w, &kind), MOB_OK);
    cr_assert_eq(kind, RESOURCE_CPU);
    return w;
}

#endif
