/* The node planner with more than CPUs: each kind bounds by itself, and what is held is never more than there is. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/node_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS
#define MB (1ull << 20)

static uint32_t started[8], taken[8]; /* by class */

static void act(void *arg, const struct plan_node_action *a)
{
    (void)arg;
    started[a->cls] += a->kind == PLAN_START || a->kind == PLAN_GIVE ? a->count : 0;
    taken[a->cls] += a->kind == PLAN_TAKE ? a->count : 0;
}

static struct resources amounts(uint64_t cpus, uint64_t mb, uint64_t tapes)
{
    struct resources r = {.amount = {cpus * CPU, mb * MB}};
    cr_assert_eq(resources_set(&r, "tape", tapes * CPU), MOB_OK);
    return r;
}

static const struct plan_job native = {7, 1};

static struct plan_node *node(uint64_t cpus, uint64_t mb, uint64_t tapes)
{
    memset(started, 0, sizeof started);
    memset(taken, 0, sizeof taken);
    struct plan_node *p = plan_node_create(
        &(struct plan_node_config){
            .node = 7, .capacity = amounts(cpus, mb, tapes), .jobs_max = 8, .act = act},
        0);
    cr_assert_eq(plan_node_job_add(p, native, 1, 0), MOB_OK);
    return p;
}

static void class_needs(struct plan_node *p, uint32_t cls, struct resources need)
{
    struct demand d = {.need = need};
    cr_assert_eq(plan_node_class_add(p, native, cls, &d, 0), MOB_OK);
}

#define OK(call)                                                                         \
    do {                                                                                 \
        cr_assert_eq((call), MOB_OK);                                                    \
        const char *wrong_ = plan_node_check(p);                                         \
        cr_assert_null(wrong_, "%s", wrong_);                                            \
    } while (0)

Test(node_resources, the_scarcest_kind_bounds)
{
    struct plan_node *p = node(8, 1000, 3);
    class_needs(p, 0, amounts(1, 400, 0));
    class_needs(p, 1, amounts(1, 0, 1));
    class_needs(p, 2, amounts(1, 0, 4));
    for (uint32_t c = 0; c < 3; c++) {
        OK(plan_node_backlog(p, native, c, 10, NULL, 0, 0));
    }
    cr_assert_eq(started[0], 2, "memory");
    cr_assert_eq(started[1], 3, "tapes");
    cr_assert_eq(started[2], 0, "the node has too few tapes");
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_MEMORY], 800 * MB);
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_CPU], 5 * CPU);
    plan_node_destroy(p);
}

Test(node_resources, a_worker_that_waits_gives_its_cpu_and_keeps_its_memory)
{
    struct plan_node *p = node(1, 1000, 0);
    class_needs(p, 0, amounts(1, 600, 0));
    class_needs(p, 1, amounts(1, 300, 0));
    OK(plan_node_backlog(p, native, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, native, 0, 0));
    OK(plan_node_backlog(p, native, 0, 1, NULL, 0,
                         0)); /* it submitted one, and waits for it */
    OK(plan_node_slot_lent(p, native, 0, 0));
    cr_assert_eq(started[0], 1, "there is no memory for another one");
    OK(plan_node_backlog(p, native, 1, 1, NULL, 0, 0));
    cr_assert_eq(started[1], 1, "there is a CPU, and memory for this one");
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_MEMORY], 900 * MB);
    OK(plan_node_worker_started(p, native, 1, 0));
    OK(plan_node_slot_resume(p, native, 0, MS));
    cr_assert_eq(taken[1], 1, "its CPU comes first");
    OK(plan_node_worker_died(p, native, 0, PLAN_SLOT_RESUMING, MS));
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_MEMORY], 300 * MB);
    plan_node_destroy(p);
}

/* Tasks that wait for memory cannot use the CPUs, which are offered; what is too little for one more is kept. */
Test(node_resources, what_is_lacked_keeps_only_what_is_short)
{
    struct plan_node *p = node(5, 1000, 0);
    class_needs(p, 0, amounts(1, 400, 0));
    class_needs(p, 1, amounts(2, 0, 0));
    OK(plan_node_backlog(p, native, 0, 10, NULL, 0, 0));
    cr_assert_eq(started[0], 2);
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_MEMORY], 0, "the third waits for it");
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_CPU], 3 * CPU);
    OK(plan_node_backlog(p, native, 1, 10, NULL, 0, 0));
    cr_assert_eq(started[1], 1);
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_CPU], 0, "the next waits for two");
    plan_node_destroy(p);
}

/* What tasks hold that run comes back; what those keep that wait, only if they give it. */
Test(node_resources, room_is_found_in_what_does_not_wait)
{
    struct plan_node *p = node(1, 1000, 0);
    struct resources none = amounts(0, 0, 0);
    struct plan_waiting waiting = {.busy = none, .given = none};
    class_needs(p, 0, amounts(1, 600, 0));
    class_needs(p, 1, amounts(2, 0, 0));
    OK(plan_node_backlog(p, native, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, native, 0, 0));
    cr_assert_eq(plan_node_room_for(p, native, 0, &waiting), PLAN_WHY_NOTHING, "it runs");
    waiting.busy = amounts(1, 600, 0);
    waiting.workers = 1;
    cr_assert_eq(plan_node_room_for(p, native, 0, &waiting), PLAN_WHY_SHORT, "it waits");
    OK(plan_node_slot_lent(p, native, 0, 0));
    waiting.busy = none;
    cr_assert_eq(plan_node_room_for(p, native, 0, &waiting), PLAN_WHY_SHORT);
    waiting.given = amounts(0, 600, 0);
    cr_assert_eq(plan_node_room_for(p, native, 0, &waiting), PLAN_WHY_NOTHING);
    waiting.workers = PROCS_MAX - 1;
    cr_assert_eq(plan_node_room_for(p, native, 0, &waiting), PLAN_WHY_PROCS);
    cr_assert_eq(plan_node_room_for(p, native, 1, &waiting), PLAN_WHY_LARGE);
    cr_assert_eq(plan_node_room_for(p, native, 2, &waiting), PLAN_WHY_LARGE, "unknown");
    plan_node_destroy(p);
}

/* What a worker keeps inside a get comes back when others have run: nothing is kept for who needs it. */
Test(node_resources, nothing_is_kept_for_what_waits_for_a_get)
{
    struct plan_node *p = node(2, 1000, 0);
    class_needs(p, 0, amounts(1, 600, 0));
    class_needs(p, 1, amounts(2, 0, 0));
    OK(plan_node_backlog(p, native, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, native, 0, 0));
    OK(plan_node_slot_lent(p, native, 0, 0));
    OK(plan_node_backlog(p, native, 0, 3, NULL, 0, 0)); /* what it waits for */
    plan_node_tick(p, PLAN_RESERVE_NS + MS);
    OK(plan_node_backlog(p, native, 1, 1, NULL, 0, PLAN_RESERVE_NS + 2 * MS));
    cr_assert_eq(started[0], 1);
    cr_assert_eq(started[1], 1, "both CPUs are free, and kept for who lacks memory");
    plan_node_destroy(p);
}

/* Tapes come free one by one, and what needs two of them waits. What it needs is kept for it: CPUs beyond that
 * serve others. */
Test(node_resources, what_is_kept_for_one_leaves_the_rest_to_others)
{
    struct plan_node *p = node(4, 0, 2);
    class_needs(p, 0, amounts(1, 0, 1));
    class_needs(p, 1, amounts(1, 0, 2));
    class_needs(p, 2, amounts(1, 0, 0));
    OK(plan_node_backlog(p, native, 0, 2, NULL, 0, 0));
    OK(plan_node_worker_started(p, native, 0, 0));
    OK(plan_node_worker_started(p, native, 0, 0));
    OK(plan_node_backlog(p, native, 0, 0, NULL, 0, 0));
    OK(plan_node_backlog(p, native, 1, 1, NULL, 0, 0));
    OK(plan_node_backlog(p, native, 0, 100, NULL, 0, MS));
    cr_assert_eq(started[1], 0);
    uint64_t now = PLAN_RESERVE_NS + 10 * MS;
    OK(plan_node_backlog(p, native, 2, 10, NULL, 0, now));
    cr_assert_eq(started[2], 1, "of two free CPUs one is kept");
    for (int i = 0; i < 2; i++) {
        OK(plan_node_slot_returned(p, native, 0, PLAN_SLOT_BUSY, now));
    }
    cr_assert_eq(started[1], 1, "both tapes and a CPU were kept for it");
    plan_node_destroy(p);
}

/* Only slots that have what is missing are asked for. */
Test(node_resources, who_lacks_tapes_takes_no_cpus)
{
    struct plan_node *p = node(4, 0, 1);
    class_needs(p, 0, amounts(1, 0, 0));
    class_needs(p, 1, amounts(1, 0, 1));
    class_needs(p, 2, amounts(0, 0, 1));
    OK(plan_node_backlog(p, native, 1, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, native, 1, 0));
    OK(plan_node_slot_idle(p, native, 1, 0));
    OK(plan_node_backlog(p, native, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, native, 0, 0));
    OK(plan_node_slot_idle(p, native, 0, 0));
    OK(plan_node_backlog(p, native, 2, 1, NULL, 0, MS));
    cr_assert_eq(taken[1], 1);
    cr_assert_eq(taken[0], 0);
    plan_node_destroy(p);
}

/* Any events in any order: plan_node_check() finds each kind booked as slots hold it, and never above what
 * there is. The head leases as much as it likes. */
/* A class has 400 of 700 MB and wants as much again. Who has the rest cannot help it, so nothing is asked back: it
 * would only idle, as nobody whose slots are asked back is given any. */
Test(node_resources, nothing_is_asked_back_that_is_too_little)
{
    const struct plan_job other = {7, 2};
    for (int same_job = 0; same_job < 2; same_job++) {
        struct plan_node *p = node(5, 700, 0);
        struct demand small = {.need = amounts(1, 100, 0)};
        struct demand large = {.need = amounts(1, 400, 0), .priority = same_job ? 10 : 0};
        OK(plan_node_job_add(p, other, 1, 0));
        OK(plan_node_class_add(p, native, 0, &large, 0));
        OK(plan_node_class_add(p, same_job ? native : other, 1, &small, 0));
        OK(plan_node_backlog(p, native, 0, 10, NULL, 0, 0));
        OK(plan_node_worker_started(p, native, 0, 0));
        for (uint32_t i = 0; i < 3; i++) {
            struct plan_job j = same_job ? native : other;
            OK(plan_node_backlog(p, j, 1, 1, NULL, 0, MS));
            OK(plan_node_worker_started(p, j, 1, MS));
        }
        for (uint64_t now = 2 * MS; now < PLAN_RESERVE_NS / 2; now += MS) {
            plan_node_tick(p, now);
        }
        cr_assert_eq(taken[1], 0, "of %s job", same_job ? "the same" : "another");
        plan_node_destroy(p);
    }
}

Test(node_resources, nothing_is_ever_overbooked, .timeout = 60)
{
    uint64_t random = 1;
#define DRAW(n)                                                                          \
    (random = random * 6364136223846793005ull + 1442695040888963407ull,                  \
     (uint32_t)((random >> 33) % (n)))
    struct plan_node *p = node(6, 4096, 3);
    plan_node_head_up(p, 5, 0);
    for (uint32_t c = 0; c < 6; c++) {
        class_needs(p, c, amounts(c % 3, c * 300, c == 4));
    }
    for (uint32_t c = 0; c < 3; c++) {
        struct plan_lease l = {.lease = 50 + c,
                               .epoch = 1,
                               .job = {8, 3},
                               .cls = c,
                               .weight = 1,
                               .slots = 20,
                               .owner = 8};
        l.demand.need = amounts(1, 500 * c, c == 2);
        cr_assert_eq(plan_node_lease(p, &l, 0), MOB_OK);
    }
    uint64_t now = 0, most = 0;
    for (int i = 0; i < 200000; i++) {
        bool guest = DRAW(3) == 0;
        struct plan_job j = guest ? (struct plan_job){8, 3} : native;
        uint32_t c = DRAW(guest ? 3 : 6);
        static const enum plan_slot from[] = {PLAN_SLOT_BUSY, PLAN_SLOT_IDLE,
                                              PLAN_SLOT_LENT, PLAN_SLOT_RESUMING,
                                              PLAN_SLOT_NONE};
        now += DRAW(2000) * NS_PER_US;
        switch (DRAW(9)) {
        case 0:
            (void)plan_node_backlog(p, j, c, DRAW(8), NULL, 0, now);
            break;
        case 1:
            (void)plan_node_worker_started(p, j, c, now);
            break;
        case 2:
            (void)plan_node_worker_failed(p, j, c, now),
                (void)plan_node_worker_started(p, j, c, now);
            break;
        case 3:
            (void)plan_node_slot_idle(p, j, c, now);
            break;
        case 4:
            (void)plan_node_slot_busy(p, j, c, now);
            break;
        case 5:
            (void)plan_node_slot_lent(p, j, c, now);
            break;
        case 6:
            (void)plan_node_slot_resume(p, j, c, now);
            break;
        case 7:
            (void)plan_node_slot_returned(p, j, c, from[DRAW(2)], now);
            break;
        default:
            (void)(DRAW(4) ? plan_node_tick(p, now),
                   0       : (int)plan_node_worker_died(p, j, c, from[DRAW(5)], now));
        }
        const char *wrong = plan_node_check(p);
        cr_assert_null(wrong, "event %d: %s", i, wrong);
        struct resources used = plan_node_used(p);
        most = used.amount[RESOURCE_MEMORY] > most ? used.amount[RESOURCE_MEMORY] : most;
    }
    cr_assert_gt(most, 3500 * MB, "it came near its end: %llu", (unsigned long long)most);
    cr_assert_eq(plan_node_job_remove(p, native, now), MOB_OK);
    cr_assert_eq(plan_node_job_remove(p, (struct plan_job){8, 3}, now), MOB_OK);
    struct resources used = plan_node_used(p);
    cr_assert(resources_none(&used), "all is back");
    plan_node_destroy(p);
}

/* In a cluster a class with a strategy runs where the head says, at home too. */
Test(node_resources, a_class_with_a_strategy_has_leases_at_home)
{
    memset(started, 0, sizeof started);
    struct plan_node *p =
        plan_node_create(&(struct plan_node_config){.node = 7,
                                                    .capacity = amounts(4, 0, 0),
                                                    .clustered = true,
                                                    .jobs_max = 8,
                                                    .act = act},
                         0);
    cr_assert_eq(plan_node_job_add(p, native, 1, 0), MOB_OK);
    struct plan_lease l = {
        .lease = 50, .epoch = 1, .job = native, .weight = 1, .slots = 1, .owner = 7};
    l.demand = (struct demand){.need = amounts(1, 0, 0), .strategy = DEMAND_SPREAD};
    cr_assert_eq(plan_node_class_add(p, native, 0, &l.demand, 0), MOB_OK);
    plan_node_head_up(p, 5, 0);
    OK(plan_node_backlog(p, native, 0, 10, NULL, 0, MS));
    cr_assert_eq(started[0], 0);
    OK(plan_node_lease(p, &l, 2 * MS));
    cr_assert_eq(started[0], 1);
    l.epoch = 2, l.slots = 3;
    OK(plan_node_lease(p, &l, 3 * MS));
    cr_assert_eq(started[0], 3);
    plan_node_destroy(p);
}

Test(node_resources, a_node_without_the_labels_runs_none)
{
    memset(started, 0, sizeof started);
    struct plan_node *p =
        plan_node_create(&(struct plan_node_config){.node = 7,
                                                    .capacity = amounts(4, 0, 0),
                                                    .labels = "zone=a",
                                                    .jobs_max = 8,
                                                    .act = act},
                         0);
    cr_assert_eq(plan_node_job_add(p, native, 1, 0), MOB_OK);
    static const char *const selectors[] = {"zone=b", "zone=a"};
    for (uint32_t c = 0; c < 2; c++) {
        struct demand d = {.need = amounts(1, 0, 0)};
        snprintf(d.selector, sizeof d.selector, "%s", selectors[c]);
        cr_assert_eq(plan_node_class_add(p, native, c, &d, 0), MOB_OK);
        OK(plan_node_backlog(p, native, c, 10, NULL, 0, 0));
        cr_assert_eq(started[c], c == 0 ? 0 : 4);
    }
    plan_node_destroy(p);
}

/* Its worker sees the GPUs that it was started with: no worker of another class becomes one. */
Test(node_resources, a_slot_with_gpus_gets_a_worker_of_its_own)
{
    struct plan_node *p = node(4, 0, 0);
    plan_node_destroy(p);
    struct resources has = amounts(4, 0, 0), need = amounts(1, 0, 0);
    has.amount[RESOURCE_GPU] = 2 * CPU;
    p = plan_node_create(
        &(struct plan_node_config){.node = 7, .capacity = has, .jobs_max = 8, .act = act},
        0);
    cr_assert_eq(plan_node_job_add(p, native, 1, 0), MOB_OK);
    class_needs(p, 0, need);
    need.amount[RESOURCE_GPU] = CPU;
    class_needs(p, 1, need);
    OK(plan_node_backlog(p, native, 0, 1, NULL, 0, 0));
    OK(plan_node_worker_started(p, native, 0, 0));
    OK(plan_node_slot_idle(p, native, 0, 0));
    OK(plan_node_slot_returned(p, native, 0, PLAN_SLOT_IDLE, 0));
    OK(plan_node_backlog(p, native, 1, 3, NULL, 0, MS));
    cr_assert_eq(started[1], 2);
    OK(plan_node_worker_started(p, native, 1,
                                MS)); /* MOB_ERR_STATE had it been given a bare one */
    OK(plan_node_worker_started(p, native, 1, MS));
    OK(plan_node_worker_died(p, native, 1, PLAN_SLOT_BUSY, MS));
    cr_assert_eq(started[1], 3);
    plan_node_destroy(p);
}

/* A guest's task of two CPUs waits for four of one that it submitted here: two of them run at once on the CPUs that
 * it gave up, as leases to others would not leave them any. */
Test(node_resources, what_a_guest_lends_its_own_tasks_have)
{
    const struct plan_job guest = {8, 3};
    struct plan_node *p = node(2, 0, 0);
    struct plan_lease l = {
        .lease = 50, .epoch = 1, .job = guest, .weight = 1, .slots = 1, .owner = 8};
    l.demand.need = amounts(2, 0, 0);
    plan_node_head_up(p, 5, 0);
    OK(plan_node_lease(p, &l, 0));
    OK(plan_node_received(p, guest, 0, 50, 1, 1, 0));
    OK(plan_node_worker_started(p, guest, 0, 0));
    OK(plan_node_backlog(p, guest, 0, 0, NULL, 0, 0));
    struct demand child = {.need = amounts(1, 0, 0)};
    OK(plan_node_class_add(p, guest, 1, &child, 0));
    OK(plan_node_backlog(p, guest, 1, 4, NULL, 0, MS));
    cr_assert_eq(started[1], 0, "it has no lease");
    OK(plan_node_slot_lent(p, guest, 0, 2 * MS));
    cr_assert_eq(started[1], 2);
    OK(plan_node_worker_started(p, guest, 1, 3 * MS));
    OK(plan_node_worker_started(p, guest, 1, 3 * MS));
    OK(plan_node_slot_resume(p, guest, 0, 4 * MS));
    cr_assert_eq(taken[1], 2, "and gives back");
    OK(plan_node_slot_returned(p, guest, 1, PLAN_SLOT_BUSY, 5 * MS));
    OK(plan_node_slot_returned(p, guest, 1, PLAN_SLOT_BUSY, 6 * MS));
    struct plan_class_view v;
    OK(plan_node_view(p, guest, 0, &v));
    cr_assert_eq(v.busy, 1);
    plan_node_destroy(p);
}
