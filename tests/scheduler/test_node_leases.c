/* The node planner: what it does for others, what others do for it, and what the head hears. */
#include "node_rig.h"

Test(node_plan, a_lease_is_held_to_what_natives_leave_and_cut_for_them)
{
    struct plan_node *p = node(4);
    struct plan_job a = job(p, 1, 1, CPU);
    plan_node_head_up(p, 5, 0);
    struct plan_lease l = {.lease = 99,
                           .epoch = 2,
                           .job = {8, 3},
                           .demand = demand_cpus(CPU),
                           .weight = 1,
                           .slots = 9,
                           .owner = 8};
    OK(plan_node_lease(p, &l, 0));
    cr_assert_eq(seen[seen_count - 1].kind, PLAN_LEASE_HELD);
    cr_assert_eq(seen[seen_count - 1].count, 4);
    OK(plan_node_received(p, l.job, 0, 99, 2, 4, 0));
    cr_assert_eq(count(PLAN_START, 3), 4);
    for (int i = 0; i < 4; i++) {
        OK(plan_node_worker_started(p, l.job, 0, MS));
    }
    OK(plan_node_backlog(p, a, 0, 3, NULL, 0, 2 * MS));
    cr_assert_eq(count(PLAN_TAKE, 3), 0, "a short burst cuts nothing");
    plan_node_tick(p, 2 * MS + PLAN_REPORT_NS);
    cr_assert_eq(count(PLAN_TAKE, 3), 3, "natives go first");
    for (uint32_t i = 0; i < seen_count; i++) {
        if (seen[i].kind == PLAN_LEASE_HELD && seen[i].count == 1) {
            cr_assert_eq(offers[i], 0, "what is not back yet is not to be leased");
        }
    }
    struct plan_class_view v;
    plan_node_view(p, l.job, 0, &v);
    cr_assert_eq(v.leased, 1);
    l.epoch = 1;
    cr_assert_eq(plan_node_lease(p, &l, 20 * MS), MOB_ERR_STATE,
                 "a stale epoch is refused");
    cr_assert_eq(plan_node_received(p, l.job, 0, 99, 3, 1, 20 * MS), MOB_ERR_STATE);
    cr_assert_eq(plan_node_received(p, l.job, 0, 98, 1, 1, 20 * MS), MOB_ERR_NOT_FOUND);
    plan_node_destroy(p);
}

/* The head counts what it asks back until it hears that it is back. If the node kept that out of its offer too, as long as the
 * tasks take to end, as much again would be given to nobody. */
Test(node_plan, what_the_head_asks_back_is_not_kept_out_of_the_offer_too)
{
    struct plan_node *p = node(4);
    struct plan_lease l = lease(99, 3, 2);
    plan_node_head_up(p, 5, 0);
    OK(plan_node_lease(p, &l, 0));
    OK(plan_node_received(p, l.job, 0, 99, 1, 2, 0));
    OK(plan_node_worker_started(p, l.job, 0, MS));
    OK(plan_node_worker_started(p, l.job, 0, MS));
    l.epoch = 2;
    l.slots = 0;
    OK(plan_node_lease(p, &l, 2 * MS));
    cr_assert_eq(count(PLAN_TAKE, 3), 2);
    uint64_t now = 2 * MS;
    for (; now < 2 * NS_PER_S;
         now += MS) { /* longer than a node waits with what it says */
        plan_node_tick(p, now);
    }
    for (int i = 0; i < 2; i++) {
        OK(plan_node_slot_returned(p, l.job, 0, PLAN_SLOT_BUSY, now));
    }
    cr_assert_eq(count(PLAN_LEASE_HELD, 3), 2);
    cr_assert_eq(seen[seen_count - 1].kind, PLAN_LEASE_HELD);
    for (uint32_t i = 0; i < seen_count; i++) {
        bool says = seen[i].kind == PLAN_LEASE_HELD || seen[i].kind == PLAN_REPORT;
        cr_assert(!says || offers[i] == 4 * CPU, "it offers %g CPUs",
                  (double)offers[i] / CPU);
    }
    plan_node_destroy(p);
}

Test(node_plan, an_owner_sends_what_its_own_slots_cannot_serve)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU);
    plan_node_head_up(p, 5, 0);
    OK(plan_node_backlog(p, a, 0, 4, NULL, 0, MS));
    plan_node_tick(p, MS + PLAN_REPORT_NS);
    cr_assert_eq(count(PLAN_DEMAND, 1), 1);
    cr_assert_eq(seen[seen_count - 1].count, 3);
    OK(plan_node_grant(p, 50, 1, a, 0, 8, 2, 20 * MS));
    cr_assert_eq(count(PLAN_SEND, 1), 2);
    OK(plan_node_sent(p, 50, 2, 20 * MS));
    cr_assert_eq(plan_node_back(p, 50, 3, 20 * MS), MOB_ERR_STATE);
    plan_node_peer_lost(p, 8, 30 * MS);
    cr_assert_eq(plan_node_back(p, 50, 1, 30 * MS), MOB_ERR_NOT_FOUND);
    cr_assert_null(plan_node_check(p));
    plan_node_destroy(p);
}

Test(node_plan, a_guest_that_resumes_ends_no_lease)
{
    struct plan_node *p = node(2);
    plan_node_head_up(p, 5, 0);
    struct plan_lease one = lease(98, 3, 1), two = lease(99, 4, 1);
    OK(plan_node_lease(p, &one, 0));
    OK(plan_node_lease(p, &two, 0));
    OK(plan_node_received(p, one.job, 0, 98, 1, 2, 0));
    OK(plan_node_received(p, two.job, 0, 99, 1, 2, 0));
    OK(plan_node_worker_started(p, one.job, 0, MS));
    OK(plan_node_worker_started(p, two.job, 0, MS));
    OK(plan_node_slot_lent(p, one.job, 0, MS)); /* the other task of @one starts */
    OK(plan_node_worker_started(p, one.job, 0, MS));
    uint32_t said = count(PLAN_LEASE_HELD, 0);
    OK(plan_node_slot_resume(p, one.job, 0, 2 * MS));
    for (uint64_t now = 2 * MS; now < 100 * MS; now += MS) {
        plan_node_tick(p, now);
    }
    cr_assert_eq(count(PLAN_LEASE_HELD, 0), said);
    plan_node_destroy(p);
}

Test(node_plan, what_the_head_does_not_repeat_is_over)
{
    struct plan_node *p = node(2);
    struct plan_lease one = lease(98, 3, 1), two = lease(99, 4, 1);
    struct plan_job a = job(p, 1, 1, CPU);
    struct plan_class_view v;
    plan_node_head_up(p, 5, 0);
    OK(plan_node_lease(p, &one, 0));
    OK(plan_node_lease(p, &two, 0));
    OK(plan_node_grant(p, 50, 1, a, 0, 8, 2, 0));
    plan_node_head_down(p, MS);
    plan_node_head_up(p, 5, 2 * MS);
    OK(plan_node_lease(p, &one, 3 * MS));
    cr_assert_eq(plan_node_received(p, two.job, 0, 99, 1, 1, 3 * MS), MOB_OK,
                 "until then it goes on");
    plan_node_head_synced(p, 4 * MS);
    cr_assert_null(plan_node_check(p));
    cr_assert_eq(plan_node_view(p, one.job, 0, &v), MOB_OK);
    cr_assert_eq(v.leased, 1);
    cr_assert_eq(plan_node_received(p, two.job, 0, 99, 1, 1, 5 * MS), MOB_ERR_NOT_FOUND);
    cr_assert_eq(plan_node_sent(p, 50, 0, 5 * MS), MOB_ERR_NOT_FOUND);
    plan_node_destroy(p);
}

Test(node_plan, tasks_of_one_job_do_not_come_under_the_lease_of_another)
{
    struct plan_node *p = node(4);
    struct plan_class_view v;
    plan_node_head_up(p, 5, 0);
    struct plan_lease one = lease(98, 3, 1), two = lease(99, 4, 1);
    OK(plan_node_lease(p, &one, 0));
    OK(plan_node_lease(p, &two, 0));
    cr_assert_eq(plan_node_received(p, one.job, 0, 99, 1, 2, 0), MOB_ERR_INVALID);
    cr_assert_eq(plan_node_received(p, one.job, 1, 98, 1, 2, 0), MOB_ERR_INVALID);
    cr_assert_eq(plan_node_view(p, two.job, 0, &v), MOB_OK);
    cr_assert_eq(v.queued, 0);
    OK(plan_node_received(p, one.job, 0, 98, 1, 2, 0));
    plan_node_destroy(p);
}

Test(node_plan, a_foreign_task_never_travels_on)
{
    struct plan_node *p = node(2);
    plan_node_head_up(p, 5, 0);
    struct plan_lease l = lease(99, 3, 2);
    OK(plan_node_lease(p, &l, 0));
    OK(plan_node_received(p, l.job, 0, 99, 1, 3, 0));
    OK(plan_node_grant(p, 50, 1, l.job, 0, 9, 4, 0)); /* as if tasks here had children */
    OK(plan_node_worker_started(p, l.job, 0, MS));
    OK(plan_node_worker_started(p, l.job, 0, MS));
    OK(plan_node_backlog(p, l.job, 0, 1, NULL, 0, MS));
    OK(plan_node_finished(p, l.job, 0, 1, 2 * MS)); /* its worker still counts as busy */
    cr_assert_eq(count(PLAN_SEND, 3), 0);
    OK(plan_node_backlog(p, l.job, 0, 5, NULL, 0, 3 * MS));
    cr_assert_eq(count(PLAN_SEND, 3), 3, "five, and two of them may be foreign");
    plan_node_destroy(p);
}

/* What the head hears: @want went up and down, by how many words? */
static uint32_t words(struct plan_node *p, struct plan_job a, const uint32_t *queued,
                      uint32_t steps, uint64_t step_ns, uint64_t *now)
{
    uint32_t before = count(PLAN_DEMAND, 0) + count(PLAN_REPORT, 0);
    for (uint32_t i = 0; i < steps; i++) {
        for (uint64_t end = *now + step_ns; *now < end; *now += MS) {
            OK(plan_node_backlog(p, a, 0, queued[i], NULL, 0, *now));
            if (*now >= plan_node_deadline(p)) {
                plan_node_tick(p, *now);
            }
        }
    }
    return count(PLAN_DEMAND, 0) + count(PLAN_REPORT, 0) - before;
}

Test(node_plan, the_head_hears_of_what_lasts)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU);
    uint64_t now = 0;
    plan_node_head_up(p, 5, 0);
    uint32_t first[] = {0, 10}, waves[] = {3, 9, 4, 9, 2, 9, 5, 9}, end[] = {0};
    cr_assert_eq(words(p, a, first, 2, 100 * MS, &now), 2, "the offer, the demand");
    cr_assert_eq(seen[seen_count - 1].count, 9);
    OK(plan_node_worker_started(p, a, 0, now));
    OK(plan_node_grant(p, 50, 1, a, 0, 8, 9, now));
    now += MS;
    cr_assert_leq(words(p, a, waves, 8, 100 * MS, &now), 1,
                  "it falls and comes back: the offer, which fell, is all");
    OK(plan_node_slot_idle(p, a, 0, now));
    cr_assert_leq(words(p, a, end, 1, 2 * PLAN_UNUSED_NS, &now), 2);
    cr_assert_eq(seen[seen_count - 1].kind, PLAN_DEMAND);
    cr_assert_eq(seen[seen_count - 1].count, 0, "it is over");
    cr_assert_eq(words(p, a, end, 1, NS_PER_S, &now), 0);
    plan_node_destroy(p);
}

Test(node_plan, a_room_that_comes_and_goes_is_not_said)
{
    struct plan_node *p = node(4);
    struct plan_job a = job(p, 1, 1, CPU);
    uint64_t now = 0;
    plan_node_head_up(p, 5, 0);
    OK(plan_node_backlog(p, a, 0, 4, NULL, 0, now));
    for (int i = 0; i < 4; i++) {
        OK(plan_node_worker_started(p, a, 0, now));
    }
    OK(plan_node_backlog(p, a, 0, 0, NULL, 0, now));
    for (bool idle = false; now < 5 * NS_PER_S; now += MS) {
        if (now / MS % 70 == 0) {
            idle = !idle;
            for (int i = 0; i < 4; i++) {
                OK(idle ? plan_node_slot_idle(p, a, 0, now)
                        : plan_node_slot_busy(p, a, 0, now));
            }
        }
        plan_node_tick(p, now);
    }
    cr_assert_leq(count(PLAN_REPORT, 0), 2, "%u reports", count(PLAN_REPORT, 0));
    plan_node_destroy(p);
}

Test(node_plan, a_demand_that_the_head_has_not_met_is_not_said_again)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU);
    uint64_t now = 0;
    uint32_t grows[] = {10, 100, 1000, 2000};
    plan_node_head_up(p, 5, 0);
    words(p, a, grows, 4, 500 * MS, &now);
    cr_assert_eq(count(PLAN_DEMAND, 0), 1);
    OK(plan_node_grant(p, 50, 1, a, 0, 8, 9, now));
    words(p, a, &grows[3], 1, 20 * MS, &now);
    cr_assert_eq(count(PLAN_DEMAND, 0), 2, "now it may have more");
    plan_node_destroy(p);
}

Test(node_plan, shows_its_leases_and_grants)
{
    struct plan_node *p = node(2);
    struct plan_job ours = job(p, 1, 1, CPU), theirs = {9, 4};
    struct plan_node_lease_view v[2];
    struct plan_lease l = {.lease = 5,
                           .epoch = 3,
                           .job = theirs,
                           .demand = demand_cpus(CPU),
                           .weight = 1,
                           .slots = 1,
                           .owner = 9};
    uint32_t granted[CLASSES_MAX] = {0};
    plan_node_head_up(p, 1, 0);
    OK(plan_node_lease(p, &l, 0));
    OK(plan_node_grant(p, 6, 2, ours, 0, 8, 4, 0));
    cr_assert_eq(plan_node_leases(p, theirs, v, 2), 1);
    cr_assert(!v[0].granted && v[0].lease == 5 && v[0].epoch == 3 && v[0].slots == 1 &&
              v[0].node == 9);
    cr_assert_eq(plan_node_leases(p, ours, v, 2), 1);
    cr_assert(v[0].granted && v[0].lease == 6 && v[0].epoch == 2 && v[0].slots == 4 &&
              v[0].node == 8);
    cr_assert_eq(plan_node_leases(p, ours, v, 0), 1);
    plan_node_granted(p, ours, granted);
    cr_assert_eq(granted[0], 4);
    OK(plan_node_backlog(p, theirs, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, theirs, 0, MS));
    OK(plan_node_backlog(p, theirs, 0, 2, NULL, 0, 2 * MS));
    cr_assert_eq(why(p, theirs), PLAN_WHY_LEASE);
    plan_node_destroy(p);
}
