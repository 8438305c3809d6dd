/* The node planner: its slots and workers. */
#include "node_rig.h"

Test(node_plan, a_backlog_starts_as_many_workers_as_cpus)
{
    struct plan_node *p = node(2);
    struct plan_job a = job(p, 1, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 4, NULL, 0, 0));
    cr_assert_eq(count(PLAN_START, 1), 2);
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_CPU], 2 * CPU);
    plan_node_destroy(p);
}

Test(node_plan, idle_slots_stay_warm_until_another_job_needs_them)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU), b = job(p, 2, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, a, 0, MS));
    OK(plan_node_backlog(p, a, 0, 0, NULL, 0, MS));
    OK(plan_node_slot_idle(p, a, 0, 2 * MS));
    cr_assert_eq(count(PLAN_TAKE, 0), 0);
    OK(plan_node_backlog(p, b, 0, 1, NULL, 0, 3 * MS));
    cr_assert_eq(count(PLAN_TAKE, 1), 1);
    OK(plan_node_slot_returned(p, a, 0, PLAN_SLOT_IDLE, 4 * MS));
    cr_assert_eq(count(PLAN_START, 2), 1);
    plan_node_destroy(p);
}

/* The daemon counted one, so nobody who submits more rings: it must be made to count again. */
Test(node_plan, a_worker_that_is_given_a_slot_leaves_a_count_to_be_made_again)
{
    struct plan_node *p = node(2);
    struct plan_job a = job(p, 1, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 1, NULL, 0, 0));
    OK(plan_node_backlog(p, a, 0, 0, NULL, 0, MS));
    OK(plan_node_worker_started(p, a, 0, MS));
    OK(plan_node_slot_returned(p, a, 0, PLAN_SLOT_BUSY, MS));
    OK(plan_node_backlog(p, a, 0, 1, NULL, 0, 2 * MS));
    cr_assert_eq(count(PLAN_GIVE, 1), 1);
    cr_assert_leq(plan_node_deadline(p), 2 * MS + PLAN_UNUSED_NS);
    OK(plan_node_backlog(p, a, 0, 3, NULL, 0, 3 * MS));
    cr_assert_eq(count(PLAN_START, 1), 2);
    OK(plan_node_worker_started(p, a, 0, 4 * MS));
    OK(plan_node_backlog(p, a, 0, 0, NULL, 0, 4 * MS));
    cr_assert_eq(plan_node_deadline(p), CLOCK_NEVER);
    plan_node_destroy(p);
}

Test(node_plan, a_lent_slot_lets_another_run_and_is_resumed_first)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, a, 0, MS));
    OK(plan_node_backlog(p, a, 0, 1, NULL, 0, MS));
    OK(plan_node_slot_lent(p, a, 0, MS));
    cr_assert_eq(count(PLAN_START, 1), 2);
    OK(plan_node_worker_started(p, a, 0, MS));
    OK(plan_node_slot_resume(p, a, 0, MS));
    cr_assert_eq(count(PLAN_RESUME, 1), 0, "the CPU is not free yet");
    cr_assert_eq(count(PLAN_TAKE, 1), 1);
    OK(plan_node_slot_returned(p, a, 0, PLAN_SLOT_BUSY, MS));
    cr_assert_eq(count(PLAN_RESUME, 1), 1);
    plan_node_destroy(p);
}

Test(node_plan, lent_slots_are_capped)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 1000, NULL, 0, 0));
    for (int i = 0; i < PLAN_LENT_MAX; i++) {
        OK(plan_node_worker_started(p, a, 0, MS));
        OK(plan_node_slot_lent(p, a, 0, MS));
    }
    OK(plan_node_worker_started(p, a, 0, MS));
    cr_assert_eq(plan_node_slot_lent(p, a, 0, MS), MOB_ERR_FULL);
    cr_assert_null(plan_node_check(p));
    plan_node_destroy(p);
}

Test(node_plan, a_node_with_one_job_sleeps)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 1000, NULL, 0, 0));
    OK(plan_node_worker_started(p, a, 0, MS));
    uint32_t ticks = 0;
    for (uint64_t now = MS; now < NS_PER_S; ticks++) {
        now = plan_node_deadline(p);
        cr_assert_neq(now, CLOCK_NEVER, "who has tasks queued is looked at");
        plan_node_tick(p, now);
    }
    cr_assert(ticks <= NS_PER_S / PLAN_UNUSED_NS + 1, "%u ticks in a second", ticks);
    plan_node_destroy(p);
}

Test(node_plan, a_job_whose_workers_do_not_start_is_given_up_once)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 5, NULL, 0, 0));
    for (int i = 0; i < PLAN_START_FAILS_MAX; i++) {
        OK(plan_node_worker_failed(p, a, 0, MS));
    }
    cr_assert_eq(count(PLAN_JOB_FAILED, 1), 1);
    cr_assert_eq(count(PLAN_START, 1), PLAN_START_FAILS_MAX);
    plan_node_destroy(p);
}

Test(node_plan, events_that_do_not_fit_change_nothing)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU), none = {7, 2};
    cr_assert_eq(plan_node_slot_idle(p, a, 0, 0), MOB_ERR_STATE);
    cr_assert_eq(plan_node_slot_idle(p, a, CLASSES_MAX, 0), MOB_ERR_NOT_FOUND);
    cr_assert_eq(plan_node_backlog(p, none, 0, 1, NULL, 0, 0), MOB_ERR_NOT_FOUND);
    cr_assert_eq(plan_node_class_add(p, a, CLASSES_MAX, NEED(1), 0), MOB_ERR_EXISTS);
    cr_assert_eq(plan_node_class_add(p, a, 0, NEED(1), 0), MOB_ERR_EXISTS);
    cr_assert_eq(plan_node_job_add(p, none, 0, 0), MOB_ERR_INVALID);
    cr_assert_eq(seen_count, 0);
    plan_node_destroy(p);
}

Test(node_plan, says_why_tasks_wait)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU), b = job(p, 2, 1, CPU),
                    c = job(p, 3, 1, 2 * CPU);
    enum plan_why w;
    uint32_t kind;
    cr_assert_eq(plan_node_why(p, (struct plan_job){7, 9}, 0, &w, &kind),
                 MOB_ERR_NOT_FOUND);
    cr_assert_eq(why(p, a), PLAN_WHY_NOTHING);
    OK(plan_node_backlog(p, a, 0, 3, NULL, 0, 0));
    cr_assert_eq(why(p, a), PLAN_WHY_STARTING);
    OK(plan_node_worker_started(p, a, 0, MS));
    cr_assert_eq(why(p, a), PLAN_WHY_SHORT);
    OK(plan_node_backlog(p, b, 0, 1, NULL, 0, 2 * MS));
    cr_assert_eq(why(p, b), PLAN_WHY_TURN);
    OK(plan_node_backlog(p, c, 0, 1, NULL, 0, 2 * MS));
    cr_assert_eq(why(p, c), PLAN_WHY_LARGE);
    plan_node_destroy(p);
}
