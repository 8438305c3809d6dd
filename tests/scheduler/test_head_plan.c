/* The head planner's rules, one by one. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/head_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS
#define CPUS(units) (&(struct resources){.amount = {units}})

static struct plan_head_action seen[4096];
static uint32_t seen_count;

static void act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    seen[seen_count++ % 4096] = *a;
}

static const struct plan_head_action *last(enum plan_head_action_kind kind, uint64_t to)
{
    for (uint32_t i = seen_count; i-- > 0;) {
        if (seen[i].kind == kind && seen[i].to == to) {
            return &seen[i];
        }
    }
    return NULL;
}

static uint32_t count(enum plan_head_action_kind kind)
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
static struct plan_head *cluster(uint32_t nodes, uint32_t cpus)
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

static struct plan_demand demand(uint32_t number, uint32_t units, uint32_t want)
{
    return (struct plan_demand){
        .job = {1, number}, .demand = demand_cpus(units), .weight = 1, .want = want};
}

Test(head_plan, a_demand_gets_a_lease_and_the_owner_hears_after_the_node)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d = demand(1, CPU, 3);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    const struct plan_head_action *l = last(PLAN_LEASE, 2);
    cr_assert(l && l->slots == 2);
    cr_assert_null(last(PLAN_GRANT, 1));
    OK(plan_head_lease_held(h, 2, l->lease, l->epoch, 2, CPUS(2 * CPU), 11 * MS));
    cr_assert(last(PLAN_GRANT, 1) && last(PLAN_GRANT, 1)->slots == 2);
    plan_head_destroy(h);
}

Test(head_plan, a_refusal_is_tried_elsewhere)
{
    struct plan_head *h = cluster(3, 1);
    struct plan_demand d = demand(1, CPU, 1);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    const struct plan_head_action *l =
        last(PLAN_LEASE, 2) ? last(PLAN_LEASE, 2) : last(PLAN_LEASE, 3);
    uint64_t first = l->to;
    OK(plan_head_lease_held(h, first, l->lease, l->epoch, 0, CPUS(CPU), 20 * MS));
    cr_assert_not_null(last(PLAN_LEASE, 5 - first));
    cr_assert_eq(plan_head_lease_held(h, first, 12345, 1, 0, CPUS(CPU), 20 * MS),
                 MOB_ERR_NOT_FOUND);
    plan_head_destroy(h);
}

Test(head_plan, argument_bytes_attract)
{
    struct plan_head *h = cluster(30, 2);
    struct plan_demand d = demand(1, CPU, 1);
    d.hints[0] = (struct plan_hint){17, 10};
    d.hints[1] = (struct plan_hint){23, 1 << 20};
    d.hints_count = 2;
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    cr_assert_not_null(last(PLAN_LEASE, 23));
    plan_head_destroy(h);
}

Test(head_plan, a_lost_node_is_declared_once_and_its_leases_end_once)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d = demand(1, CPU, 2);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    const struct plan_head_action *l = last(PLAN_LEASE, 2);
    OK(plan_head_lease_held(h, 2, l->lease, l->epoch, 2, CPUS(2 * CPU), 11 * MS));
    seen_count = 0;
    for (uint64_t now = 100 * MS; now < 12000 * MS; now += 100 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        plan_head_tick(h, now);
        cr_assert_eq(count(PLAN_NODE_DEAD),
                     now >= 11 * MS + NODE_DEAD_NS + HEARTBEAT_NS || count(PLAN_NODE_DEAD)
                         ? 1u
                         : 0u);
    }
    cr_assert_eq(count(PLAN_GRANT), 1);
    cr_assert_eq(last(PLAN_GRANT, 1)->slots, 0);
    cr_assert_eq(plan_head_leases(h, NULL, 0), 0);
    struct plan_join back = {
        .node = 2, .session = 102, .member_of = 5, .capacity = resources_cpus(2 * CPU)};
    cr_assert_eq(plan_head_join(h, &back, 12000 * MS), MOB_ERR_NODE_LOST);
    plan_head_destroy(h);
}

Test(head_plan, unused_leases_come_back)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d = demand(1, CPU, 2);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    const struct plan_head_action l = *last(PLAN_LEASE, 2);
    OK(plan_head_lease_held(h, 2, l.lease, l.epoch, 2, CPUS(2 * CPU), 11 * MS));
    d.want = 0;
    OK(plan_head_demand(h, 1, &d, 20 * MS));
    cr_assert_eq(last(PLAN_LEASE, 2)->slots, 0, "the owner has waited already");
    cr_assert_eq(last(PLAN_GRANT, 1)->slots, 0);
    cr_assert_eq(plan_head_lease_held(h, 2, l.lease, l.epoch, 2, CPUS(2 * CPU), 300 * MS),
                 MOB_ERR_STATE, "an old epoch says nothing");
    OK(plan_head_lease_held(h, 2, l.lease, l.epoch + 1, 0, CPUS(2 * CPU), 300 * MS));
    cr_assert_eq(plan_head_leases(h, NULL, 0) + plan_head_demands(h, NULL, 0), 0);
    plan_head_destroy(h);
}

Test(head_plan, what_an_owner_does_not_say_again_when_it_comes_back_ends)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d = demand(1, CPU, 2);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    struct plan_head_action l = *last(PLAN_LEASE, 2);
    OK(plan_head_lease_held(h, 2, l.lease, l.epoch, 2, CPUS(2 * CPU), 11 * MS));
    struct plan_join back = {
        .node = 1, .session = 101, .member_of = 5, .capacity = resources_cpus(2 * CPU)};
    for (int said = 1; said >= 0; said--) {
        uint64_t now = said ? 100 * MS : 1000 * MS;
        OK(plan_head_join(h, &back, now));
        cr_assert_eq(seen[seen_count - 1].kind, PLAN_SYNCED);
        cr_assert(last(PLAN_GRANT, 1)->slots == 2, "it is repeated");
        if (said) {
            OK(plan_head_demand(h, 1, &d, now + 10 * MS));
        }
        plan_head_tick(h, now + 10 * MS + PLAN_UNUSED_NS);
        cr_assert_eq(last(PLAN_LEASE, 2)->slots, said ? 2 : 0);
    }
    plan_head_destroy(h);
}

Test(head_plan, a_job_a_little_ahead_keeps_its_leases_for_a_while)
{
    struct plan_head *h = cluster(2, 3);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    uint32_t moves = 0;
    for (uint64_t now = 50 * MS; now < 20000 * MS; now += 50 * MS) {
        uint32_t before = count(PLAN_LEASE);
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
        struct plan_lease_view v[2];
        size_t leases = plan_head_leases(h, v, 2);
        for (size_t i = 0; i < leases; i++) { /* the node does as it is told */
            OK(plan_head_lease_held(h, 2, v[i].lease, v[i].epoch, v[i].slots,
                                    CPUS(3 * CPU), now));
        }
        moves += count(PLAN_LEASE) > before;
    }
    /* Three CPUs and two jobs: one CPU goes from one to the other and back. */
    cr_assert(moves >= 10, "%u moves: the third CPU is not shared", moves);
    cr_assert(moves <= 42, "%u moves in 20 s", moves);
    plan_head_destroy(h);
}

static uint32_t granted(const struct plan_head *h, uint32_t number)
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

/* Two slots for three: the job of twice the weight has both of them now and then. What the other gave up for it
 * must not go back to it because it then holds nothing. Returns how often leases changed. */
static uint32_t go_round(uint32_t units, uint32_t weight)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d[2] = {demand(1, units, 20), demand(2, units, 20)};
    uint64_t had[2] = {0};
    d[0].weight = 2 * weight;
    d[1].weight = weight;
    OK(plan_head_report(h, 2, CPUS(0), 5 * MS));
    OK(plan_head_demand(h, 1, &d[0], 10 * MS));
    OK(plan_head_demand(h, 1, &d[1], 20 * MS));
    OK(plan_head_report(h, 2, CPUS(2ull * units), 30 * MS));
    for (uint64_t now = 50 * MS; now < 30000 * MS; now += 10 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
        struct plan_lease_view v[2];
        size_t leases = plan_head_leases(h, v, 2);
        for (size_t i = 0; i < leases; i++) {
            OK(plan_head_lease_held(h, 2, v[i].lease, v[i].epoch, v[i].slots,
                                    CPUS(2ull * units), now));
        }
        had[0] += granted(h, 1);
        had[1] += granted(h, 2);
    }
    cr_assert(had[0] * 10 > had[1] * 17 && had[0] * 10 < had[1] * 23,
              "%.2f times as much for twice the weight of %u",
              (double)had[0] / (double)had[1], weight);
    plan_head_destroy(h);
    return count(PLAN_GRANT);
}

Test(head_plan, slots_that_are_fewer_than_jobs_want_go_round_by_weight)
{
    uint32_t usual = go_round(CPU, 1);
    cr_assert(usual < 100, "%u words in 30 s", usual);
    /* Only what weights are to one another counts, and small slots are not rounded away. */
    uint32_t large = go_round(CPU, PLAN_WEIGHT_MAX / 2);
    cr_assert(large < 2 * usual, "%u words in 30 s, and %u", large, usual);
    (void)go_round(CPU / 4, PLAN_WEIGHT_MAX / 2);
}

/* One CPU for four: none is further behind than the CPU-second that a turn is, and some. */
Test(head_plan, no_job_is_more_than_a_turn_behind)
{
    struct plan_head *h = cluster(2, 1);
    const uint32_t weights[4] = {2, 2, 1, 3};
    double had[4] = {0}, all = 0;
    OK(plan_head_report(h, 2, CPUS(0), 5 * MS));
    for (uint32_t i = 0; i < 4; i++) {
        struct plan_demand d = demand(i + 1, CPU, 20);
        d.weight = weights[i];
        OK(plan_head_demand(h, 1, &d, 10 * MS));
    }
    OK(plan_head_report(h, 2, CPUS(CPU), 30 * MS));
    for (uint64_t now = 50 * MS; now < 60000 * MS; now += 10 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
        struct plan_lease_view v[4];
        size_t leases = plan_head_leases(h, v, 4);
        for (size_t i = 0; i < leases; i++) {
            OK(plan_head_lease_held(h, 2, v[i].lease, v[i].epoch, v[i].slots, CPUS(CPU),
                                    now));
        }
        for (uint32_t i = 0; i < 4; i++) {
            had[i] += granted(h, i + 1) / 100.0;
            all += granted(h, i + 1) / 100.0;
        }
        for (uint32_t i = 0; i < 4; i++) {
            double behind = all * weights[i] / 8 - had[i];
            cr_assert(behind < 1.2, "weight %u: %.2f CPU-seconds behind at %g s",
                      weights[i], behind, (double)now / 1e9);
        }
    }
    plan_head_destroy(h);
}

Test(head_plan, one_nodes_room_is_shared_by_weight)
{
    struct plan_head *h = cluster(2, 8);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    b.weight = 3;
    OK(plan_head_report(h, 2, CPUS(0), 5 * MS));
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    OK(plan_head_report(h, 2, CPUS(8 * CPU), 30 * MS));
    cr_assert_eq(granted(h, 1), 2);
    cr_assert_eq(granted(h, 2), 6);
    plan_head_destroy(h);
}

Test(head_plan, who_has_least_is_next)
{
    struct plan_head *h = cluster(3, 4);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    OK(plan_head_report(h, 3, CPUS(0), 5 * MS));
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    cr_assert_eq(granted(h, 1), 4);
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    OK(plan_head_report(h, 3, CPUS(CPU), 30 * MS));
    cr_assert_eq(granted(h, 2), 1);
    plan_head_destroy(h);
}

Test(head_plan, a_demand_that_two_refused_is_tried_again)
{
    struct plan_head *h = cluster(2, 1);
    struct plan_demand d = demand(1, CPU, 1);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    uint64_t now = 20 * MS;
    for (uint32_t asked = 1; asked < 6; asked++) {
        while (count(PLAN_LEASE) < asked && now < 2000 * MS) {
            now = plan_head_deadline(h);
            OK(plan_head_heartbeat(h, 1, now));
            OK(plan_head_heartbeat(h, 2, now));
            plan_head_tick(h, now);
        }
        struct plan_head_action l = *last(PLAN_LEASE, 2);
        OK(plan_head_lease_held(h, 2, l.lease, l.epoch, 0, CPUS(CPU), ++now));
    }
    cr_assert(now < 1000 * MS, "asked five times in %g ms", (double)now / 1e6);
    cr_assert(now > 2 * PLAN_RETRY_NS, "and not all at once");
    plan_head_destroy(h);
}

Test(head_plan, a_silent_node_gets_no_lease_until_it_speaks)
{
    struct plan_head *h = cluster(2, 2);
    uint64_t now = 0;
    for (; now < PLAN_LEASE_NS + 2 * HEARTBEAT_NS; now += 100 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        plan_head_tick(h, now);
    }
    struct plan_demand d = demand(1, CPU, 1);
    OK(plan_head_demand(h, 1, &d, now));
    plan_head_tick(h, now + 10 * MS);
    cr_assert_null(last(PLAN_LEASE, 2));
    OK(plan_head_heartbeat(h, 2, now + 20 * MS));
    plan_head_tick(h, now + 30 * MS);
    cr_assert_not_null(last(PLAN_LEASE, 2));
    plan_head_destroy(h);
}

Test(head_plan, a_wait_for_the_next_look_does_not_spin)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d = demand(1, CPU, 5);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    uint32_t ticks = 0;
    for (uint64_t now = 10 * MS; now < 1000 * MS; ticks++) {
        uint64_t due = plan_head_deadline(h);
        now = due > now ? due : now + 1;
        plan_head_tick(h, now);
    }
    cr_assert(ticks < 60, "%u ticks in a second", ticks);
    plan_head_destroy(h);
}

Test(head_plan, infeasible_until_a_node_comes_that_is_large_enough)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d = demand(1, 8 * CPU, 1);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    plan_head_tick(h, 100 * MS);
    struct plan_demand_view v;
    cr_assert_eq(plan_head_demands(h, &v, 1), 1);
    cr_assert(v.infeasible);
    struct plan_join big = {
        .node = 9, .session = 109, .member_of = 0, .capacity = resources_cpus(8 * CPU)};
    OK(plan_head_join(h, &big, 200 * MS));
    OK(plan_head_report(h, 9, CPUS(8 * CPU), 210 * MS));
    cr_assert_not_null(last(PLAN_LEASE, 9));
    plan_head_destroy(h);
}

Test(head_plan, a_job_that_waits_gets_its_share_back)
{
    struct plan_head *h = cluster(2, 8);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    struct plan_head_action l = *last(PLAN_LEASE, 2);
    OK(plan_head_lease_held(h, 2, l.lease, l.epoch, 8, CPUS(8 * CPU), 11 * MS));
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    for (uint64_t now = 50 * MS; now < 1000 * MS; now += 50 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
    }
    cr_assert_eq(last(PLAN_LEASE, 2)->lease, l.lease);
    cr_assert_eq(last(PLAN_LEASE, 2)->slots, 4);
    plan_head_destroy(h);
}

Test(head_plan, twins_and_nonsense_are_refused)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_join twin = {.node = 2,
                             .session = 999,
                             .member_of = 0,
                             .capacity = resources_cpus(2 * CPU)},
                     same = {.node = 2,
                             .session = 102,
                             .member_of = 5,
                             .capacity = resources_cpus(2 * CPU)};
    cr_assert_eq(plan_head_join(h, &twin, 0), MOB_ERR_EXISTS);
    OK(plan_head_join(h, &same, 0));
    cr_assert_eq(plan_head_report(h, 2, CPUS(3 * CPU), 0), MOB_ERR_INVALID);
    cr_assert_eq(plan_head_report(h, 77, CPUS(0), 0), MOB_ERR_NOT_FOUND);
    struct plan_demand d = demand(1, CPU, PLAN_SLOTS_MAX + 1);
    cr_assert_eq(plan_head_demand(h, 1, &d, 0), MOB_ERR_INVALID);
    plan_head_destroy(h);
}

Test(head_plan, each_kind_bounds_and_the_node_that_has_it_is_found)
{
    struct plan_head *h = cluster(30, 4);
    struct plan_demand d = demand(1, CPU, 5);
    cr_assert_eq(resources_set(&d.demand.need, "tape", CPU), MOB_OK);
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    struct plan_demand_view v;
    cr_assert_eq(plan_head_demands(h, &v, 1), 1);
    cr_assert(v.infeasible, "nobody has a tape");
    cr_assert_eq(count(PLAN_LEASE), 0);
    struct plan_join join = {
        .node = 77, .session = 7, .capacity = resources_cpus(4 * CPU)};
    cr_assert_eq(resources_set(&join.capacity, "tape", 2 * CPU), MOB_OK);
    OK(plan_head_join(h, &join, 20 * MS));
    OK(plan_head_report(h, 77, &join.capacity, 20 * MS));
    plan_head_tick(h, 30 * MS);
    const struct plan_head_action *l = last(PLAN_LEASE, 77);
    cr_assert(l && l->slots == 2, "two tapes");
    cr_assert_eq(count(PLAN_LEASE), 1);
    cr_assert_eq(plan_head_demands(h, &v, 1), 1);
    cr_assert_not(v.infeasible);
    OK(plan_head_leave(h, 77, 40 * MS));
    cr_assert_eq(plan_head_demands(h, &v, 1), 1);
    cr_assert(v.infeasible, "and it is gone again");
    plan_head_destroy(h);
}

/* Ten nodes with four CPUs, of which the even ones are in zone a; node 1 is the owner. */
static struct plan_head *zones(void)
{
    seen_count = 0;
    struct plan_head *h =
        plan_head_create(&(struct plan_head_config){.head = 5, .seed = 1, .act = act}, 0);
    for (uint32_t i = 1; i <= 10; i++) {
        struct plan_join join = {.node = i,
                                 .session = 100 + i,
                                 .capacity = resources_cpus(4 * CPU),
                                 .labels = i % 2 ? "zone=b" : "zone=a"};
        OK(plan_head_join(h, &join, 0));
        OK(plan_head_report(h, i, CPUS(4 * CPU), 0));
    }
    return h;
}

static uint32_t slots_at(struct plan_head *h, uint64_t node)
{
    struct plan_lease_view v[64];
    size_t n = plan_head_leases(h, v, 64);
    uint32_t slots = 0;
    for (size_t i = 0; i < n; i++) {
        slots += v[i].node == node ? v[i].slots : 0;
    }
    return slots;
}

Test(head_plan, labels_are_honoured_and_who_has_none_waits)
{
    struct plan_head *h = zones();
    struct plan_demand d = demand(1, CPU, 100);
    snprintf(d.demand.selector, sizeof d.demand.selector, "zone=a");
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    for (uint64_t i = 1; i <= 10; i++) {
        cr_assert_eq(slots_at(h, i), i % 2 ? 0 : 4, "node %llu", (unsigned long long)i);
    }
    struct plan_demand none = demand(2, CPU, 1);
    snprintf(none.demand.selector, sizeof none.demand.selector, "zone=c");
    OK(plan_head_demand(h, 1, &none, 20 * MS));
    struct plan_demand_view v[2];
    cr_assert_eq(plan_head_demands(h, v, 2), 2);
    cr_assert_eq(v[0].infeasible + v[1].infeasible, 1);
    plan_head_destroy(h);
}

Test(head_plan, what_spreads_goes_to_all_evenly_and_to_its_owner_too)
{
    struct plan_head *h = zones();
    struct plan_demand d = demand(1, CPU, 13);
    d.demand.strategy = DEMAND_SPREAD;
    OK(plan_head_demand(h, 1, &d, 10 * MS));
    uint32_t twos = 0;
    for (uint64_t i = 1; i <= 10; i++) {
        uint32_t slots = slots_at(h, i);
        cr_assert(slots == 1 || slots == 2, "node %llu has %u", (unsigned long long)i,
                  slots);
        twos += slots == 2;
    }
    cr_assert_eq(twos, 3);
    plan_head_destroy(h);
}

Test(head_plan, a_node_that_is_named_is_taken_and_only_if_it_need_not_be_another)
{
    struct plan_head *h = zones();
    struct plan_demand hard = demand(1, CPU, 6), soft = demand(2, CPU, 6);
    hard.demand.strategy = DEMAND_NODE;
    hard.demand.node = 4;
    soft.demand.strategy = DEMAND_NODE_SOFT;
    soft.demand.node = 5;
    OK(plan_head_demand(h, 1, &hard, 10 * MS));
    OK(plan_head_demand(h, 1, &soft, 20 * MS));
    cr_assert_eq(slots_at(h, 4), 4);
    cr_assert_eq(slots_at(h, 5), 4);
    struct plan_demand_view v[2];
    cr_assert_eq(plan_head_demands(h, v, 2), 2);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(v[i].granted, v[i].job.number == 1 ? 4 : 6,
                     "the rest of one is elsewhere");
    }
    OK(plan_head_leave(h, 4, 30 * MS));
    OK(plan_head_leave(h, 5, 30 * MS));
    plan_head_tick(h, 40 * MS);
    cr_assert_eq(plan_head_demands(h, v, 2), 2);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(v[i].granted, v[i].job.number == 1 ? 0 : 6);
        cr_assert_eq(v[i].infeasible, v[i].job.number == 1);
    }
    plan_head_destroy(h);
}

/* ---- priorities within a job ---------------------------------------------------------------------------- */

/* Nodes that do at once what the head says, and owners whose wants never end. */
static void settle(struct plan_head *h, uint32_t *from, uint32_t *granted, uint64_t now)
{
    for (; *from < seen_count; ++*from) {
        const struct plan_head_action a = seen[*from];
        if (a.kind == PLAN_LEASE) {
            cr_assert_eq(plan_head_lease_held(h, a.to, a.lease, a.epoch, a.slots,
                                              CPUS(2 * CPU), now),
                         MOB_OK);
            granted[a.cls] = a.slots;
        }
    }
}

Test(head_plan, leases_go_to_the_highest_priority_and_none_starves)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d[3];
    static const int8_t priority[] = {0, 90, -90};
    uint32_t from = 0, granted[3] = {0}, had[3] = {0};
    uint64_t last_had[3] = {0}, gap[3] = {0};
    for (uint32_t c = 0; c < 3; c++) {
        d[c] = demand(1, CPU, 5);
        d[c].cls = c;
        d[c].demand.priority = priority[c];
    }
    OK(plan_head_demand(h, 1, &d[0], 10 * MS));
    settle(h, &from, granted, 11 * MS);
    cr_assert_eq(granted[0], 2);
    OK(plan_head_demand(h, 1, &d[1], 200 * MS));
    settle(h, &from, granted, 201 * MS);
    OK(plan_head_demand(h, 1, &d[2], 202 * MS));
    for (uint64_t t = 203; t < 20000; t++) {
        if (t % 100 == 0) {
            OK(plan_head_heartbeat(h, 1, t * MS));
            OK(plan_head_heartbeat(h, 2, t * MS));
        }
        if (t * MS >= plan_head_deadline(h)) {
            plan_head_tick(h, t * MS);
        }
        settle(h, &from, granted, t * MS);
        cr_assert_lt(seen_count, 4000);
        cr_assert(t > 400 || granted[2] == 0);
        cr_assert(t < 260 || t > 900 || granted[1] == 2, "at once, and for a while");
        for (uint32_t c = 0; c < 3; c++) {
            had[c] += granted[c];
            gap[c] = t - last_had[c] > gap[c] ? t - last_had[c] : gap[c];
            last_had[c] = granted[c] ? t : last_had[c];
        }
    }
    const uint64_t bound = (PLAN_RESERVE_NS + 4 * PLAN_QUANTUM_NS) / MS;
    cr_assert_leq(gap[0], bound, "%u", (unsigned)gap[0]);
    cr_assert_leq(gap[2], bound, "%u", (unsigned)gap[2]);
    cr_assert_gt(had[1], had[0] + had[2]);
    plan_head_destroy(h);
}
