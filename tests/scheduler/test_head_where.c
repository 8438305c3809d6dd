/* The head planner: which nodes a demand gets. */
#include "head_rig.h"

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
