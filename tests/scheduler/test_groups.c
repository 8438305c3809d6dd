/* Groups of bundles: the head's planner and those of its nodes, whose words go to and fro without loss. */
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

static struct word *push(uint64_t node)
{
    cr_assert_lt(w.count, WORDS);
    struct word *x = &w.words[(w.first + w.count++) % WORDS];
    memset(x, 0, sizeof *x);
    x->node = node;
    return x;
}

static void head_act(void *arg, const struct plan_head_action *a)
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

static void node_act(void *arg, const struct plan_node_action *a)
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

static void check(void)
{
    const char *wrong = plan_head_check(w.h);
    cr_assert_null(wrong, "%s", wrong);
    for (uint64_t i = 1; i <= NODES; i++) {
        wrong = w.node[i] ? plan_node_check(w.node[i]) : NULL;
        cr_assert_null(wrong, "%s", wrong);
    }
}

/* Delivers all words, and what they cause. */
static void settle(void)
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

static void wait_ms(uint64_t ms)
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

static void join_node(uint64_t id, struct resources capacity)
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

static void begin(uint32_t nodes, uint32_t cpus)
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

static void finish(void)
{
    check();
    for (uint64_t i = 1; i <= NODES; i++) {
        plan_node_destroy(w.node[i]);
    }
    plan_head_destroy(w.h);
}

static void group(uint64_t id, enum mob_group_strategy strategy, uint32_t count,
                  const struct resources *needs)
{
    struct plan_group g = {
        .id = id, .job = {HOME, 1}, .count = count, .strategy = strategy, .needs = needs};
    MUST(plan_head_group(w.h, HOME, &g, w.now));
    settle();
}

static void group_of_cpus(uint64_t id, enum mob_group_strategy strategy, uint32_t count,
                          uint32_t units)
{
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        needs[i] = resources_cpus(units);
    }
    group(id, strategy, count, needs);
}

static uint32_t nodes_of(uint64_t id)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < w.group[id].count; i++) {
        seen |= 1u << w.group[id].nodes[i];
    }
    return (uint32_t)__builtin_popcount(seen);
}

static bool whole(uint64_t id)
{
    return w.group[id].state == PLAN_GROUP_WHOLE;
}

/* CPUs that tasks of no group may have on all nodes. */
static uint64_t offered(void)
{
    uint64_t all = 0;
    for (uint64_t i = 1; i <= NODES; i++) {
        all += w.node[i] ? plan_node_offer(w.node[i]).amount[RESOURCE_CPU] : 0;
    }
    return all / CPU;
}

Test(groups, each_strategy_places_as_it_says)
{
    begin(4, 4);
    group_of_cpus(1, MOB_GROUP_STRICT_PACK, 3, CPU);
    cr_assert(whole(1));
    cr_assert_eq(nodes_of(1), 1);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 4, CPU);
    cr_assert(whole(2));
    cr_assert_eq(nodes_of(2), 4);
    group_of_cpus(3, MOB_GROUP_PACK, 5, CPU); /* 0 3 3 3 CPUs are left */
    cr_assert(whole(3));
    cr_assert_eq(nodes_of(3), 2);
    group_of_cpus(4, MOB_GROUP_SPREAD, 4,
                  CPU); /* 0 0 1 3: not as many as it has bundles */
    cr_assert(whole(4));
    cr_assert_eq(nodes_of(4), 2);
    cr_assert_eq(offered(), 0);
    for (uint64_t id = 1; id <= 4; id++) {
        MUST(plan_head_group_end(w.h, HOME, id, w.now));
    }
    settle();
    cr_assert_eq(offered(), 16);
    finish();
}

Test(groups, what_does_not_fit_holds_nothing_and_comes_when_it_fits)
{
    begin(2, 4);
    group_of_cpus(1, MOB_GROUP_PACK, 5, CPU);
    group_of_cpus(2, MOB_GROUP_PACK, 4, CPU);
    cr_assert(whole(1) && !whole(2));
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    cr_assert_eq(offered(), 3);
    group_of_cpus(3, MOB_GROUP_PACK, 3,
                  CPU); /* what fits does not wait for what does not */
    cr_assert(whole(3));
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    cr_assert(whole(2));
    finish();
}

Test(groups, what_no_nodes_could_hold_is_told_apart)
{
    begin(2, 4);
    group_of_cpus(1, MOB_GROUP_STRICT_PACK, 5, CPU);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    group_of_cpus(3, MOB_GROUP_SPREAD, 1, 5 * CPU);
    group_of_cpus(4, MOB_GROUP_PACK, 9, CPU);
    for (uint64_t id = 1; id <= 4; id++) {
        cr_assert_eq(w.group[id].state, PLAN_GROUP_NOWHERE, "%d", (int)id);
    }
    join_node(3, resources_cpus(5 * CPU));
    wait_ms(50);
    cr_assert(whole(1), "the first of those that fit now");
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    finish();
}

Test(groups, a_node_for_each_is_found_whenever_there_is_a_way)
{
    begin(1, 4);
    struct resources with_tape = resources_cpus(4 * CPU), tape = resources_cpus(0);
    MUST(resources_parse(&with_tape, "tape=1"));
    MUST(resources_parse(&tape, "tape=1"));
    join_node(2, with_tape);
    wait_ms(50);
    struct resources blocker = resources_cpus(CPU);
    group(2, MOB_GROUP_PACK, 1,
          &blocker); /* so that the node with the tape has less taken */
    uint64_t first = w.group[2].nodes[0];
    struct resources needs[] = {resources_cpus(CPU), tape};
    group(1, MOB_GROUP_STRICT_SPREAD, 2, needs);
    cr_assert(whole(1), "blocker on %d", (int)first);
    cr_assert_eq(w.group[1].nodes[0], 1);
    cr_assert_eq(w.group[1].nodes[1], 2);
    finish();
}

/* A native of a node that has all CPUs in tasks. */
static struct plan_job occupy(uint64_t node, uint32_t tasks)
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

Test(groups, slots_come_back_to_what_is_gathered_and_tasks_take_none_of_it)
{
    begin(2, 2);
    struct plan_job busy = occupy(2, 100);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_not(whole(1));
    struct plan_class_view v;
    MUST(plan_node_view(w.node[2], busy, 0, &v));
    cr_assert_eq(v.asked_back, 2);
    MUST(plan_node_slot_returned(w.node[2], busy, 0, PLAN_SLOT_BUSY, w.now));
    settle();
    cr_assert_not(whole(1));
    MUST(plan_node_slot_returned(w.node[2], busy, 0, PLAN_SLOT_BUSY, w.now));
    settle();
    cr_assert(whole(1));
    wait_ms(2000); /* nothing is kept for natives for ever */
    MUST(plan_node_view(w.node[2], busy, 0, &v));
    cr_assert_eq(v.busy + v.starting, 0);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    MUST(plan_node_view(w.node[2], busy, 0, &v));
    cr_assert_eq(v.busy + v.starting, 2);
    finish();
}

Test(groups, what_is_not_held_in_time_lets_go_of_all)
{
    begin(2, 2);
    (void)occupy(2, 2); /* tasks that do not end */
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    cr_assert_eq(plan_node_offer(w.node[1]).amount[RESOURCE_CPU], 0);
    wait_ms(1100);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_WAITS);
    cr_assert_eq(plan_node_offer(w.node[1]).amount[RESOURCE_CPU], 2 * CPU);
    group_of_cpus(2, MOB_GROUP_STRICT_PACK, 2,
                  CPU); /* it does not wait for the other one */
    cr_assert(whole(2));
    finish();
}

/* A task of that node ends: its slot goes where it was asked for, else the next task follows. */
static void end_task(uint64_t node, struct plan_job key)
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

Test(groups, long_tasks_on_every_cpu_do_not_starve_it)
{
    begin(2, 2);
    struct plan_job first = occupy(1, 100), second = occupy(2, 100);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    uint32_t seconds = 0;
    for (; seconds < 600 && !whole(1); seconds++) {
        wait_ms(1000);
        if (seconds % 30 == 7 || seconds % 30 == 22) { /* each node has two, 15 s apart */
            end_task(1, first);
        } else if (seconds % 30 == 13 || seconds % 30 == 28) {
            end_task(2, second);
        }
    }
    cr_assert(whole(1));
    cr_assert_lt(
        seconds,
        180); /* windows of 1, 2, 4, 8, 16, 32 and 64 s, and a second before each */
    finish();
}

Test(groups, a_new_one_gathers_no_longer_because_another_did_in_vain)
{
    begin(2, 2);
    (void)occupy(2, 2); /* tasks that do not end */
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    wait_ms(12000); /* windows of 1, 2 and 4 s, in vain */
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_GATHERS);
    wait_ms(1100);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    finish();
}

Test(groups, tasks_run_in_bundles_that_are_kept_and_nowhere_else)
{
    begin(2, 4);
    struct plan_demand d = {
        .job = {HOME, 1}, .demand = demand_cpus(CPU), .weight = 1, .want = 100};
    d.demand.group = 1;
    MUST(plan_head_demand(w.h, HOME, &d, w.now));
    wait_ms(50);
    struct plan_lease_view leases[8];
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 0);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    wait_ms(50);
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 2);
    cr_assert_eq(leases[0].slots, 2);
    cr_assert_eq(leases[1].slots, 2);
    cr_assert_eq(offered(), 4);
    struct plan_demand first = d; /* of one bundle alone: the others have it */
    first.cls = 1;
    first.demand.bundle = 1;
    first.want = 1;
    MUST(plan_head_demand(w.h, HOME, &first, w.now));
    d.want = 3;
    MUST(plan_head_demand(w.h, HOME, &d, w.now));
    wait_ms(50);
    uint32_t of_first = 0, of_any = 0;
    for (size_t i = plan_head_leases(w.h, leases, 8); i-- > 0;) {
        *(leases[i].cls ? &of_first : &of_any) += leases[i].slots;
    }
    cr_assert_eq(of_any, 3);
    cr_assert_leq(of_first, 1);
    finish();
}

Test(groups, a_task_that_waits_lends_the_cpu_to_its_group)
{
    begin(1, 2);
    struct plan_job key = {HOME, 1};
    struct plan_node *p = w.node[1];
    struct demand in = demand_cpus(CPU);
    in.group = 1;
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &in, w.now));
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    cr_assert(whole(1));
    struct plan_lease l = {.lease = 77,
                           .epoch = 1,
                           .job = key,
                           .weight = 1,
                           .slots = 5,
                           .owner = HOME,
                           .demand = in};
    MUST(plan_node_lease(p, &l, w.now));
    MUST(plan_node_backlog(p, key, 0, 3, NULL, 0, w.now));
    struct plan_class_view v;
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.leased, 1, "no more than is held");
    cr_assert_eq(v.starting, 1);
    MUST(plan_node_worker_started(p, key, 0, w.now));
    MUST(plan_node_slot_lent(p, key, 0, w.now));
    MUST(plan_node_backlog(p, key, 0, 3, NULL, 0, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.starting, 1);
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_CPU], CPU);
    MUST(plan_node_worker_started(p, key, 0, w.now));
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 1, "it waits for the other one");
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 0);
    /* The group goes while its task runs: its CPU is not free before it ends. */
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.asked_back, 1);
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_CPU], CPU);
    MUST(plan_node_worker_died(p, key, 0, PLAN_SLOT_BUSY, w.now));
    settle();
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_CPU], 2 * CPU);
    finish();
}

Test(groups, who_was_in_a_get_comes_before_its_groups_other_slots)
{
    begin(1, 3);
    struct plan_job key = {HOME, 1};
    struct plan_node *p = w.node[1];
    struct plan_class_view v;
    struct plan_lease l = {.lease = 77,
                           .epoch = 1,
                           .job = key,
                           .weight = 1,
                           .slots = 3,
                           .owner = HOME,
                           .demand = demand_cpus(CPU)};
    l.demand.group = 1;
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &l.demand, w.now));
    group_of_cpus(1, MOB_GROUP_PACK, 3, CPU);
    MUST(plan_node_lease(p, &l, w.now));
    for (uint32_t round = 0; round < 2;
         round++) { /* tasks in a get, and what runs meanwhile */
        MUST(plan_node_backlog(p, key, 0, 3, NULL, 0, w.now));
        MUST(plan_node_backlog(p, key, 0, 0, NULL, 0, w.now));
        for (uint32_t i = 0; i < 3; i++) {
            MUST(plan_node_worker_started(p, key, 0, w.now));
        }
        for (uint32_t i = 0; i < 3 && round == 0; i++) {
            MUST(plan_node_slot_lent(p, key, 0, w.now));
        }
    }
    MUST(plan_node_slot_idle(p, key, 0, w.now)); /* one idles, two are busy */
    for (uint32_t i = 0; i < 3; i++) {
        MUST(plan_node_slot_resume(p, key, 0, w.now));
        check();
        MUST(plan_node_view(p, key, 0, &v));
        cr_assert_eq(v.resuming, i + 1);
        cr_assert_eq(v.asked_back, i + 1, "as many as wait, the idle one first");
    }
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_IDLE, w.now));
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 0);
    cr_assert_eq(v.busy, 3);
    finish();
}

Test(groups, who_was_in_a_get_has_what_a_group_gives_back)
{
    begin(1, 1);
    struct plan_job key = {HOME, 1};
    struct plan_node *p = w.node[1];
    struct demand d = demand_cpus(CPU);
    struct plan_class_view v;
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &d, w.now));
    MUST(plan_node_backlog(p, key, 0, 1, NULL, 0, w.now));
    MUST(plan_node_worker_started(p, key, 0, w.now));
    MUST(plan_node_backlog(p, key, 0, 0, NULL, 0, w.now));
    MUST(plan_node_slot_lent(p, key, 0, w.now));
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    cr_assert(whole(1));
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 1);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 0);
    finish();
}

Test(groups, a_dead_nodes_bundle_is_placed_again_alone)
{
    begin(4, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    cr_assert(whole(1));
    struct plan_group_view before = w.group[1];
    uint32_t victim = before.nodes[0] == HOME ? 1 : 0;
    uint64_t dead = before.nodes[victim];
    plan_node_destroy(w.node[dead]);
    w.node[dead] = NULL;
    MUST(plan_head_leave(w.h, dead, w.now));
    settle();
    cr_assert(whole(1));
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(w.group[1].holds[i] == before.holds[i], i != victim);
    }
    cr_assert_eq(nodes_of(1), 3);
    finish();
}

Test(groups, a_lost_owner_leaves_nothing)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_SPREAD, 6, CPU);
    cr_assert_eq(offered(), 0);
    plan_node_destroy(w.node[HOME]);
    w.node[HOME] = NULL;
    MUST(plan_head_leave(w.h, HOME, w.now));
    settle();
    cr_assert_eq(offered(), 4);
    cr_assert_eq(plan_head_groups(w.h, NULL, 0), 0);
    finish();
}

/* A head that is started anew: it hears of the members first, then of the group. */
static void another_head(uint64_t id)
{
    plan_head_destroy(w.h);
    w.count = 0;
    w.h = plan_head_create(
        &(struct plan_head_config){.head = id, .seed = 1, .act = head_act}, w.now);
    for (uint64_t i = 1; i <= NODES; i++) {
        if (!w.node[i]) {
            continue;
        }
        struct plan_join join = {
            .node = i, .session = 100 + i, .capacity = resources_cpus(2 * CPU)};
        plan_node_head_up(w.node[i], id, w.now);
        MUST(plan_head_join(w.h, &join, w.now));
        plan_node_head_synced(w.node[i], w.now);
    }
    wait_ms(50);
}

Test(groups, a_head_that_starts_anew_learns_the_groups_from_their_owners)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    struct plan_group_view before = w.group[1];
    another_head(10);
    cr_assert_eq(offered(), 3, "it is kept meanwhile");
    struct resources needs[] = {resources_cpus(CPU), resources_cpus(CPU),
                                resources_cpus(CPU)};
    struct plan_group g = {.id = 1,
                           .job = {HOME, 1},
                           .count = 3,
                           .strategy = MOB_GROUP_STRICT_SPREAD,
                           .needs = needs,
                           .nodes = before.nodes,
                           .holds = before.holds};
    MUST(plan_head_group(w.h, HOME, &g, w.now));
    settle();
    cr_assert(whole(1));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    wait_ms(12000);
    cr_assert_eq(offered(), 3);
    another_head(11); /* which the owner tells nothing */
    wait_ms(11000);
    cr_assert_eq(offered(), 6);
    finish();
}

/* A node's connection to its head is a new one. */
static void comes(uint64_t id, uint64_t head)
{
    struct plan_join join = {
        .node = id, .session = 100 + id, .capacity = resources_cpus(2 * CPU)};
    plan_node_head_down(w.node[id], w.now);
    plan_node_head_up(w.node[id], head, w.now);
    MUST(plan_head_join(w.h, &join, w.now));
    settle();
    plan_node_head_synced(w.node[id], w.now);
    settle();
}

/* A head that is started anew and knows who was a member. Nobody has come to it yet. */
static void another_head_alone(uint64_t id)
{
    plan_head_destroy(w.h);
    w.count = 0;
    w.h = plan_head_create(
        &(struct plan_head_config){.head = id, .seed = 1, .act = head_act}, w.now);
    for (uint64_t i = 1; i <= NODES; i++) {
        struct plan_join join = {.node = i,
                                 .session = 100 + i,
                                 .capacity = resources_cpus(2 * CPU),
                                 .remembered = true};
        if (w.node[i]) {
            MUST(plan_head_join(w.h, &join, w.now));
        }
    }
    w.count = 0; /* its words reach nobody */
}

/* As its owner says it to a head that does not know it. */
static void say_again(uint64_t id, uint64_t owner, uint32_t units,
                      const struct plan_group_view *last)
{
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    for (uint32_t i = 0; i < last->count; i++) {
        needs[i] = resources_cpus(units);
    }
    bool placed = last->holds[0] != 0;
    struct plan_group g = {.id = id,
                           .job = {owner, 1},
                           .count = last->count,
                           .strategy = last->strategy,
                           .needs = needs,
                           .nodes = placed ? last->nodes : NULL,
                           .holds = placed ? last->holds : NULL};
    MUST(plan_head_group(w.h, owner, &g, w.now));
}

Test(groups, a_node_that_comes_back_keeps_what_it_holds_of_one_that_gathers)
{
    begin(2, 2);
    struct plan_job busy = occupy(2, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    comes(1, 9);
    cr_assert_eq(plan_node_offer(w.node[1]).amount[RESOURCE_CPU], 0);
    end_task(2, busy);
    end_task(2, busy);
    cr_assert(whole(1));
    finish();
}

Test(groups, a_bundle_waits_for_its_node_as_long_as_that_is_a_member)
{
    begin(4, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, 2 * CPU);
    struct plan_group_view before = w.group[1];
    another_head_alone(10);
    comes(HOME, 10);
    say_again(1, HOME, 2 * CPU, &before);
    for (uint64_t i = 2; i <= 4; i++) { /* the owner's word was there first */
        wait_ms(500);
        comes(i, 10);
    }
    wait_ms(12000);
    cr_assert(whole(1));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    cr_assert_eq(offered(), 2);

    another_head_alone(11);
    comes(HOME, 11);
    say_again(1, HOME, 2 * CPU, &before);
    uint64_t dead = before.nodes[0] == HOME ? before.nodes[1] : before.nodes[0];
    plan_node_destroy(w.node[dead]);
    w.node[dead] = NULL; /* it does not come */
    for (uint64_t i = 2; i <= 4; i++) {
        if (w.node[i]) {
            comes(i, 11);
        }
    }
    wait_ms(1000);
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    wait_ms(NODE_DEAD_NS / MS + 1000);
    cr_assert(whole(1));
    cr_assert_eq(nodes_of(1), 3);
    cr_assert_eq(offered(), 0);
    finish();
}

Test(groups, a_new_head_gathers_nothing_before_it_knows_what_is_kept)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    struct plan_group_view before = w.group[1],
                           none = {.count = 2, .strategy = MOB_GROUP_STRICT_SPREAD};
    another_head_alone(10);
    comes(2, 10);
    say_again(2, 2, 2 * CPU, &none);
    wait_ms(500);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    comes(3, 10);
    comes(HOME, 10);
    wait_ms(100);
    say_again(1, HOME, CPU, &before);
    settle();
    cr_assert(whole(1));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    wait_ms(500);
    cr_assert(whole(2));
    MUST(plan_head_group_end(w.h, 2, 2, w.now));
    settle();
    finish();
}

Test(groups, a_new_head_that_all_have_come_to_gathers_soon)
{
    begin(2, 2);
    struct plan_job busy = occupy(2, 2);
    struct plan_group_view none = {.count = 2, .strategy = MOB_GROUP_STRICT_SPREAD};
    another_head_alone(10);
    comes(2, 10);
    comes(HOME, 10);
    say_again(1, HOME, 2 * CPU, &none);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_WAITS);
    wait_ms(300);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    end_task(2, busy);
    end_task(2, busy);
    cr_assert(whole(1));
    finish();
}

Test(groups, a_head_takes_up_no_hold_of_its_own_that_is_over)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    struct plan_group_view before = w.group[1];
    MUST(plan_head_group_end(w.h, HOME, 1, w.now)); /* as when its owner was lost */
    settle();
    say_again(1, HOME, CPU, &before);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    settle();
    cr_assert(whole(1));
    cr_assert_neq(w.group[1].holds[0], before.holds[0]);
    finish();
}

/* A head that is started anew and has its own records: no member has come back yet. */
static void head_with_records(uint64_t id)
{
    plan_head_destroy(w.h);
    w.count = 0;
    w.h = plan_head_create(
        &(struct plan_head_config){.head = id, .seed = 1, .act = head_act}, w.now);
    for (uint64_t i = 1; i <= NODES; i++) {
        struct plan_join join = {.node = i,
                                 .session = 100 + i,
                                 .capacity = resources_cpus(2 * CPU),
                                 .remembered = true};
        if (w.node[i]) {
            MUST(plan_head_join(w.h, &join, w.now));
        }
    }
}

static void comes_back(uint64_t id, uint64_t head)
{
    struct plan_join join = {
        .node = id, .session = 100 + id, .capacity = resources_cpus(2 * CPU)};
    plan_node_head_up(w.node[id], head, w.now);
    MUST(plan_head_join(w.h, &join, w.now));
    plan_node_head_synced(w.node[id], w.now);
}

/* Its owner says it again. */
static void group_again(uint64_t id, const struct plan_group_view *was)
{
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    for (uint32_t i = 0; i < was->count; i++) {
        needs[i] = resources_cpus(2 * CPU);
    }
    struct plan_group g = {.id = id,
                           .job = {HOME, 1},
                           .count = was->count,
                           .strategy = was->strategy,
                           .needs = needs,
                           .nodes = was->nodes,
                           .holds = was->holds};
    MUST(plan_head_group(w.h, HOME, &g, w.now));
    settle();
}

Test(groups, a_new_one_does_not_get_the_place_that_an_earlier_head_gave)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, 2 * CPU);
    struct plan_group_view before = w.group[1];
    cr_assert(whole(1));
    head_with_records(10);
    comes_back(HOME, 10);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 1, 2 * CPU); /* said first */
    wait_ms(50);
    comes_back(2, 10);
    group_again(1, &before);
    wait_ms(500);
    comes_back(3, 10);
    wait_ms(500);
    cr_assert(whole(1));
    cr_assert(!whole(2));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    wait_ms(50);
    cr_assert(whole(2));
    finish();
}

Test(groups, a_remembered_node_that_stays_away_is_not_waited_for_for_ever)
{
    begin(3, 2);
    plan_node_destroy(w.node[3]);
    w.node[3] = NULL;
    head_with_records(10);
    struct plan_join join = {.node = 3,
                             .session = 103,
                             .capacity = resources_cpus(2 * CPU),
                             .remembered = true};
    MUST(plan_head_join(w.h, &join, w.now));
    comes_back(HOME, 10);
    comes_back(2, 10);
    group_of_cpus(1, MOB_GROUP_PACK, 2, CPU);
    wait_ms(1000);
    cr_assert(!whole(1));
    wait_ms(NODE_DEAD_NS / MS);
    cr_assert(whole(1));
    finish();
}

Test(groups, a_lease_makes_room_before_a_bundle_is_held)
{
    begin(2, 2);
    struct plan_demand d = {
        .job = {HOME, 1}, .demand = demand_cpus(CPU), .weight = 1, .want = 2};
    MUST(plan_head_demand(w.h, HOME, &d, w.now));
    wait_ms(50);
    struct plan_lease_view leases[8];
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 1);
    cr_assert_eq(leases[0].slots, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert(whole(1));
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 0);
    finish();
}

Test(groups, words_that_make_no_sense_change_nothing)
{
    begin(2, 2);
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    struct plan_hold bad = {.hold = 3, .group = 1, .bundle = 0, .state = PLAN_HOLD_WANT};
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    bad.bundle = MOB_GROUP_BUNDLES_MAX + 1;
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    bad.bundle = 1;
    bad.state = PLAN_HOLD_HELD;
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    bad.state = (enum plan_hold_state)9;
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    /* Of a hold that nobody has, and by another node than has it. */
    struct resources none = resources_cpus(0);
    struct plan_hold said = {.hold = w.group[1].holds[0], .state = PLAN_HOLD_END};
    uint64_t other = w.group[1].nodes[0] == 1 ? 2 : 1;
    cr_assert_eq(plan_head_hold_said(w.h, other, &said, &none, w.now), MOB_ERR_NOT_FOUND);
    cr_assert(whole(1));
    struct plan_group g = {.id = 1, .job = {HOME, 1}, .count = 0};
    cr_assert_eq(plan_head_group(w.h, HOME, &g, w.now), MOB_ERR_INVALID);
    g.count = MOB_GROUP_BUNDLES_MAX + 1;
    cr_assert_eq(plan_head_group(w.h, HOME, &g, w.now), MOB_ERR_INVALID);
    cr_assert_eq(plan_head_group_end(w.h, 2, 1, w.now), MOB_ERR_NOT_FOUND);
    finish();
}
