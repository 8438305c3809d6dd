/* The head planner: who is a member, and a lease from the demand to its end. */
#include "head_rig.h"

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
