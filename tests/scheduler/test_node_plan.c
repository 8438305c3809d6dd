/* The node planner's rules, one by one. */
#include <criterion/criterion.h>

#include "scheduler/node_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS
#define NEED(units) (&(struct demand){.need = resources_cpus(units)})

static struct plan_node_action seen[4096];
static uint64_t offers[4096]; /* CPU units that each of them offered */
static uint32_t seen_count;

static void act(void *arg, const struct plan_node_action *a)
{
    (void)arg;
    offers[seen_count % 4096] = a->offer ? a->offer->amount[RESOURCE_CPU] : 0;
    seen[seen_count++ % 4096] = *a;
}

static uint32_t count(enum plan_node_action_kind kind, uint32_t number)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < seen_count; i++) {
        n += seen[i].kind == kind && (number == 0 || seen[i].job.number == number)
                 ? (kind == PLAN_TAKE || kind == PLAN_SEND ? seen[i].count : 1)
                 : 0;
    }
    return n;
}

static struct plan_node *node(uint32_t cpus)
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

static struct plan_job job(struct plan_node *p, uint32_t number, uint32_t weight,
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

static struct plan_lease lease(uint64_t id, uint32_t number, uint32_t slots)
{
    return (struct plan_lease){.lease = id,
                               .epoch = 1,
                               .job = {8, number},
                               .demand = demand_cpus(CPU),
                               .weight = 1,
                               .slots = slots,
                               .owner = 8};
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

static enum plan_why why(struct plan_node *p, struct plan_job key)
{
    enum plan_why w;
    uint32_t kind;
    cr_assert_eq(plan_node_why(p, key, 0, &w, &kind), MOB_OK);
    cr_assert_eq(kind, RESOURCE_CPU);
    return w;
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
