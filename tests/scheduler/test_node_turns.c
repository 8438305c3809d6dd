/* The node planner: what jobs have of what is too little for all. */
#include "node_rig.h"

/* One CPU, two jobs with an endless backlog: slot-time goes by weight, whatever a task
 * takes. */
static void share(uint64_t task_a_ms, uint64_t task_b_ms, uint32_t weight_b, double *ret)
{
    struct plan_node *p = node(1);
    struct plan_job key[2] = {job(p, 1, 1, CPU), job(p, 2, weight_b, CPU)};
    uint64_t task[2] = {task_a_ms, task_b_ms}, ran[2] = {0, 0}, now = 0;
    OK(plan_node_backlog(p, key[0], 0, 1u << 20, NULL, 0, 0));
    OK(plan_node_worker_started(p, key[0], 0, 0));
    OK(plan_node_backlog(p, key[1], 0, 1u << 20, NULL, 0, 0));
    for (int turn = 0; turn < 20000; turn++) {
        struct plan_class_view v[2];
        plan_node_view(p, key[0], 0, &v[0]);
        plan_node_view(p, key[1], 0, &v[1]);
        int at = v[1].busy + v[1].starting > 0;
        if (v[at].starting) {
            OK(plan_node_worker_started(p, key[at], 0, now));
        }
        for (uint64_t ms = 0; ms < task[at]; ms++) {
            now += MS;
            plan_node_tick(p, now);
        }
        ran[at] += task[at];
        plan_node_view(p, key[at], 0, &v[at]);
        if (v[at].asked_back) {
            OK(plan_node_slot_returned(p, key[at], 0, PLAN_SLOT_BUSY, now));
        }
    }
    *ret = (double)ran[1] / (double)(ran[0] + ran[1]);
    plan_node_destroy(p);
}

Test(node_plan, long_tasks_do_not_starve_short_ones)
{
    double part;
    share(300, 1, 1, &part);
    cr_assert(part > 0.4 && part < 0.6, "the short tasks had %.2f of the time", part);
}

Test(node_plan, weights_share_slot_time)
{
    double part;
    share(5, 5, 3, &part);
    cr_assert(part > 0.68 && part < 0.82, "weight 3 of 4 had %.2f of the time", part);
}

Test(node_plan, a_job_ahead_keeps_its_slot_for_a_quantum_and_no_longer)
{
    struct plan_node *p = node(1);
    struct plan_job a = job(p, 1, 1, CPU), b = job(p, 2, 1, CPU);
    OK(plan_node_backlog(p, a, 0, 100, NULL, 0, 0));
    OK(plan_node_worker_started(p, a, 0, 0));
    OK(plan_node_backlog(p, b, 0, 100, NULL, 0, 0));
    uint64_t now = 0;
    for (; count(PLAN_TAKE, 1) == 0 && now < 10 * NS_PER_S; now += MS) {
        plan_node_tick(p, now);
    }
    /* In numbers, so that the constant is tested too: a hundred times less and slots swing,
     * a hundred times more and people wait. */
    cr_assert(now >= 50 * MS && now <= 200 * MS, "after %g ms", (double)now / 1e6);
    plan_node_destroy(p);
}

Test(node_plan, what_comes_back_for_a_large_task_is_not_given_away)
{
    struct plan_node *p = node(2);
    struct plan_job small = job(p, 1, 1, CPU), large = job(p, 2, 1, 2 * CPU);
    OK(plan_node_backlog(p, small, 0, 100, NULL, 0, 0));
    OK(plan_node_worker_started(p, small, 0, 0));
    OK(plan_node_worker_started(p, small, 0, 0));
    OK(plan_node_backlog(p, large, 0, 1, NULL, 0, 0));
    uint64_t now = 0;
    for (; count(PLAN_TAKE, 1) < 2 && now < 10 * NS_PER_S; now += MS) {
        plan_node_tick(p, now);
    }
    cr_assert(now <= PLAN_RESERVE_NS + 100 * MS);
    OK(plan_node_slot_returned(p, small, 0, PLAN_SLOT_BUSY, now));
    cr_assert_eq(count(PLAN_GIVE, 1), 0, "it is kept");
    OK(plan_node_slot_returned(p, small, 0, PLAN_SLOT_BUSY, now));
    cr_assert_eq(count(PLAN_START, 2), 1);
    plan_node_destroy(p);
}

Test(node_plan, who_has_nothing_has_cpus_kept_for_it_in_the_end)
{
    struct plan_node *p = node(2);
    struct plan_job small = job(p, 1, 1000, CPU), large = job(p, 2, 1, 2 * CPU);
    OK(plan_node_backlog(p, small, 0, 1u << 20, NULL, 0, 0));
    OK(plan_node_worker_started(p, small, 0, 0));
    OK(plan_node_worker_started(p, small, 0, 0));
    OK(plan_node_backlog(p, large, 0, 1, NULL, 0, 0));
    for (uint64_t now = 0; now <= PLAN_RESERVE_NS + 200 * MS; now += MS) {
        struct plan_class_view v;
        plan_node_tick(p, now);
        plan_node_view(p, small, 0, &v);
        if (v.asked_back > 0) {
            OK(plan_node_slot_returned(p, small, 0, PLAN_SLOT_BUSY, now));
        }
        cr_assert(now >= PLAN_RESERVE_NS || count(PLAN_TAKE, 1) == 0,
                  "by weight, not yet");
    }
    cr_assert_eq(count(PLAN_START, 2), 1);
    plan_node_destroy(p);
}

Test(node_plan, equal_jobs_that_could_use_more_leave_each_other_alone)
{
    struct plan_node *p = node(2);
    struct plan_job key[2] = {job(p, 1, 1, CPU), job(p, 2, 1, CPU)};
    for (int i = 0; i < 2; i++) {
        OK(plan_node_backlog(p, key[i], 0, 1, NULL, 0, 0));
        OK(plan_node_backlog(p, key[i], 0, 0, NULL, 0, 0)); /* one start, no more */
        OK(plan_node_worker_started(p, key[i], 0, 0));
    }
    for (int i = 0; i < 2; i++) {
        OK(plan_node_backlog(p, key[i], 0, 1000, NULL, 0, 0));
    }
    for (uint64_t now = 0; now < 5 * NS_PER_S; now += MS) {
        plan_node_tick(p, now);
    }
    cr_assert_eq(count(PLAN_TAKE, 0), 0);
    plan_node_destroy(p);
}
