/* groups_rig.h - the head's planner and those of its nodes, whose words go to and fro without loss. */
#ifndef TESTS_GROUPS_RIG_H
#define TESTS_GROUPS_RIG_H

#include <criterion/criterion.h>
#include <string.h>

#include "core/clock.h"
#include "scheduler/head_plan.h"
#include "scheduler/node_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS

enum { NODES = 5, HOME = 1, WORDS = 4096 };

struct word {
    uint64_t node; /* from or to it */
    bool to_head;
    enum plan_head_action_kind to_node;
    enum plan_node_action_kind from_node;
    struct plan_hold hold;
    struct plan_lease lease;
    struct resources offer;
};

static struct {
    struct plan_head *h;
    struct plan_node *node[NODES + 1];
    struct word words[WORDS];
    uint32_t first, count;
    struct plan_group_view group[16]; /* as last told, by the group's number */
    uint64_t now;
    uint32_t kept_early; /* KEPT before all were held: never */
} w;

#define MUST(call) cr_assert_eq((call), MOB_OK)

static inline struct word *push(uint64_t node)
{
    cr_assert_lt(w.count, WORDS);
    struct word *x = &w.words[(w.first + w.count++) % WORDS];
    memset(x, 0, sizeof *x);
    x->node = node;
    return x;
}

static inline void head_act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    if (a->kind == PLAN_GROUP) {
        w.group[a->group->group] = *a->group;
    } else if (a->kind == PLAN_HOLD) {
        struct word *x = push(a->to);
        x->to_node = PLAN_HOLD;
        x->hold = *a->hold;
    } else if (a->kind == PLAN_LEASE) {
        struct word *x = push(a->to);
        x->to_node = PLAN_LEASE;
        x->lease = (struct plan_lease){a->lease,  a->epoch, a->job,   a->cls,
                                       a->weight, a->slots, a->owner, *a->demand};
    }
}

static inline void node_act(void *arg, const struct plan_node_action *a)
{
    if (a->kind != PLAN_HOLD_SAID && a->kind != PLAN_REPORT &&
        a->kind != PLAN_LEASE_HELD) {
        return;
    }
    struct word *x = push((uint64_t)(uintptr_t)arg);
    x->to_head = true;
    x->from_node = a->kind;
    x->offer = *a->offer;
    if (a->kind == PLAN_HOLD_SAID) {
        x->hold = *a->hold;
    }
    x->lease.lease = a->lease;
    x->lease.epoch = a->epoch;
    x->lease.slots = a->count;
}

static inline void check(void)
{
    const char *wrong = plan_head_check(w.h);
    cr_assert_null(wrong, "%s", wrong);
    for (uint64_t i = 1; i <= NODES; i++) {
        wrong = w.node[i] ? plan_node_check(w.node[i]) : NULL;
        cr_assert_null(wrong, "%s", wrong);
    }
}

/* Delivers all words, and what they cause. */
static inline void settle(void)
{
    while (w.count > 0) {
        struct word x = w.words[w.first];
        w.first = (w.first + 1) % WORDS;
        w.count--;
        struct plan_node *p = w.node[x.node];
        if (!p) {
            continue; /* it is dead */
        }
        if (x.to_head && x.from_node == PLAN_HOLD_SAID) {
            (void)plan_head_hold_said(w.h, x.node, &x.hold, &x.offer, w.now);
        } else if (x.to_head && x.from_node == PLAN_REPORT) {
            MUST(plan_head_report(w.h, x.node, &x.offer, w.now));
        } else if (x.to_head) {
            (void)plan_head_lease_held(w.h, x.node, x.lease.lease, x.lease.epoch,
                                       x.lease.slots, &x.offer, w.now);
        } else if (x.to_node == PLAN_HOLD) {
            MUST(plan_node_hold(p, &x.hold, w.now));
        } else {
            (void)plan_node_lease(p, &x.lease, w.now);
        }
        check();
    }
}

static inline void wait_ms(uint64_t ms)
{
    for (uint64_t end = w.now + ms * MS; w.now < end; w.now += 10 * MS) {
        plan_head_tick(w.h, w.now);
        for (uint64_t i = 1; i <= NODES; i++) {
            if (w.node[i]) {
                plan_node_tick(w.node[i], w.now);
                (void)plan_head_heartbeat(w.h, i, w.now);
            }
        }
        settle();
    }
}

static inline void join_node(uint64_t id, struct resources capacity)
{
    w.node[id] =
        plan_node_create(&(struct plan_node_config){.node = id,
                                                    .capacity = capacity,
                                                    .clustered = true,
                                                    .jobs_max = 8,
                                                    .leases_max = 64,
                                                    .act = node_act,
                                                    .arg = (void *)(uintptr_t)id},
                         w.now);
    plan_node_head_up(w.node[id], 9, w.now);
    struct plan_join join = {.node = id, .session = 100 + id, .capacity = capacity};
    MUST(plan_head_join(w.h, &join, w.now));
}

static inline void begin(uint32_t nodes, uint32_t cpus)
{
    memset(&w, 0, sizeof w);
    w.now = NS_PER_S;
    w.h = plan_head_create(
        &(struct plan_head_config){.head = 9, .seed = 1, .act = head_act}, w.now);
    for (uint64_t i = 1; i <= nodes; i++) {
        join_node(i, resources_cpus((uint64_t)cpus * CPU));
    }
    wait_ms(50);
}

static inline void finish(void)
{
    check();
    for (uint64_t i = 1; i <= NODES; i++) {
        plan_node_destroy(w.node[i]);
    }
    plan_head_destroy(w.h);
}

static inline void group(uint64_t id, enum mob_group_strategy strategy, uint32_t count,
                         const struct resources *needs)
{
    struct plan_group g = {
        .id = id, .job = {HOME, 1}, .count = count, .strategy = strategy, .needs = needs};
    MUST(plan_head_group(w.h, HOME, &g, w.now));
    settle();
}

static inline void group_of_cpus(uint64_t id, enum mob_group_strategy strategy,
                                 uint32_t count, uint32_t units)
{
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        needs[i] = resources_cpus(units);
    }
    group(id, strategy, count, needs);
}

static inline uint32_t nodes_of(uint64_t id)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < w.group[id].count; i++) {
        seen |= 1u << w.group[id].nodes[i];
    }
    return (uint32_t)__builtin_popcount(seen);
}

static inline bool whole(uint64_t id)
{
    return w.group[id].state == PLAN_GROUP_WHOLE;
}

/* CPUs that tasks of no group may have on all nodes. */
static inline uint64_t offered(void)
{
    uint64_t all = 0;
    for (uint64_t i = 1; i <= NODES; i++) {
        all += w.node[i] ? plan_node_offer(w.node[i]).amount[RESOURCE_CPU] : 0;
    }
    return all / CPU;
}

/* A native of a node that has all CPUs in tasks. */
static inline struct plan_job occupy(uint64_t node, uint32_t tasks)
{
    struct plan_job key = {node, 7};
    struct demand one = demand_cpus(CPU);
    struct plan_node *p = w.node[node];
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &one, w.now));
    MUST(plan_node_backlog(p, key, 0, tasks, NULL, 0, w.now));
    struct plan_class_view v;
    while (plan_node_view(p, key, 0, &v) == MOB_OK && v.starting > 0) {
        MUST(plan_node_worker_started(p, key, 0, w.now));
    }
    settle();
    return key;
}

/* A task of that node ends: its slot goes where it was asked for, else the next task follows. */
static inline void end_task(uint64_t node, struct plan_job key)
{
    struct plan_class_view v;
    struct plan_node *p = w.node[node];
    MUST(plan_node_view(p, key, 0, &v));
    if (v.asked_back > 0) {
        MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    }
    while (plan_node_view(p, key, 0, &v) == MOB_OK && v.starting > 0) {
        MUST(plan_node_worker_started(p, key, 0, w.now));
    }
    settle();
}

#endif
