/* Tasks that another node's task submitted here, while this node's own jobs could use all of its CPUs. */
#include <criterion/criterion.h>

#include "core/clock.h"
#include "scheduler/node_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS

enum { GUESTS = 6, NATIVE_MS = 10 };

/* A native with work without end, and guests of which each has a task that waits here for
 * the @left tasks that it has submitted, one after the other. */
static struct {
    struct plan_node *p;
    uint64_t now;
    struct plan_job native, guest[GUESTS];
    uint32_t cpus, guests, child_ms;
    uint32_t left[GUESTS], ran_ms[GUESTS]; /* of the child at hand */
    uint64_t last[GUESTS], longest; /* when a child of it ended; the longest wait */
    uint32_t native_ms, native_ran; /* CPU time that it had; of the task at hand */
} w;

#define MUST(call) cr_assert_eq((call), MOB_OK)

static void ignore(void *arg, const struct plan_node_action *a)
{
    (void)arg;
    (void)a;
}

static struct plan_class_view view(struct plan_job key)
{
    struct plan_class_view v;
    MUST(plan_node_view(w.p, key, 0, &v));
    return v;
}

static void guest_begin(uint32_t i, uint32_t children)
{
    struct plan_lease l = {.lease = 90 + i,
                           .epoch = 1,
                           .job = {8, 3 + i},
                           .demand = demand_cpus(CPU),
                           .weight = 1,
                           .slots = 1,
                           .owner = 8};
    w.guest[i] = l.job;
    w.left[i] = children;
    MUST(plan_node_lease(w.p, &l, 0));
    MUST(plan_node_received(w.p, l.job, 0, l.lease, 1, 1, 0));
    MUST(plan_node_worker_started(w.p, l.job, 0, 0));
    MUST(plan_node_backlog(w.p, l.job, 0, 0, NULL, 0, 0));
    MUST(plan_node_slot_lent(w.p, l.job, 0, 0));
    l.epoch = 2;
    l.slots = 0; /* the head has others for the CPU */
    MUST(plan_node_lease(w.p, &l, 0));
}

static void begin(uint32_t cpus, uint32_t guests, uint32_t children, uint32_t child_ms)
{
    memset(&w, 0, sizeof w);
    w.cpus = cpus;
    w.guests = guests;
    w.child_ms = child_ms;
    w.p = plan_node_create(
        &(struct plan_node_config){.node = 7,
                                   .capacity = resources_cpus((uint64_t)cpus * CPU),
                                   .jobs_max = 16,
                                   .leases_max = 16,
                                   .act = ignore},
        0);
    plan_node_head_up(w.p, 5, 0);
    for (uint32_t i = 0; i < guests; i++) {
        guest_begin(i, children);
    }
    w.native = (struct plan_job){7, 1};
    MUST(plan_node_job_add(w.p, w.native, 1, 0));
    MUST(plan_node_class_add(w.p, w.native, 0,
                             &(struct demand){.need = resources_cpus(CPU)}, 0));
}

/* A slot of a job whose task is over: goes back if it was asked for. */
static bool goes_back(struct plan_job key)
{
    if (view(key).asked_back == 0) {
        return false;
    }
    MUST(plan_node_slot_returned(w.p, key, 0, PLAN_SLOT_BUSY, w.now));
    return true;
}

static void native_step(void)
{
    while (view(w.native).starting) {
        MUST(plan_node_worker_started(w.p, w.native, 0, w.now));
    }
    w.native_ms += view(w.native).busy;
    if (++w.native_ran == NATIVE_MS) { /* the tasks on all its slots end */
        w.native_ran = 0;
        while (view(w.native).busy && goes_back(w.native)) {
        }
    }
}

static void guest_step(uint32_t i)
{
    struct plan_job key = w.guest[i];
    if (view(key).starting) {
        MUST(plan_node_worker_started(w.p, key, 0, w.now));
    }
    if (view(key).busy && w.left[i] > 0 && ++w.ran_ms[i] == w.child_ms) {
        w.ran_ms[i] = 0;
        w.left[i]--;
        uint64_t waited = w.now - w.last[i];
        w.longest = waited > w.longest ? waited : w.longest;
        w.last[i] = w.now;
    }
    if (view(key).busy && w.ran_ms[i] == 0 && !goes_back(key) && w.left[i] == 0) {
        MUST(plan_node_slot_idle(w.p, key, 0, w.now));
    }
    if (view(key).idle && view(key).asked_back) {
        MUST(plan_node_slot_returned(w.p, key, 0, PLAN_SLOT_IDLE, w.now));
    }
    /* What is at a worker is in no queue. */
    uint32_t queued = w.left[i] - (w.left[i] > 0 && view(key).busy);
    MUST(plan_node_backlog(w.p, key, 0, queued, NULL, 0, w.now));
}

static uint32_t left(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.guests; i++) {
        n += w.left[i];
    }
    return n;
}

/* Runs until no guest waits, or for @seconds. */
static void run(uint32_t seconds)
{
    for (uint32_t ms = 0; ms < seconds * 1000 && left() > 0; ms++) {
        w.now += MS;
        MUST(plan_node_backlog(w.p, w.native, 0, 1u << 20, NULL, 0, w.now));
        native_step();
        for (uint32_t i = 0; i < w.guests; i++) {
            guest_step(i);
        }
        plan_node_tick(w.p, w.now);
        const char *wrong = plan_node_check(w.p);
        cr_assert_null(wrong, "%s", wrong);
    }
}

/* Of all that time natives had most. */
static void assert_natives_first(void)
{
    double all_ms = (double)w.now / MS * w.cpus;
    cr_assert_gt(w.native_ms / all_ms, 0.8, "%u of %g ms", w.native_ms, all_ms);
}

Test(node_guests, what_a_guest_waits_for_gets_its_turn)
{
    begin(1, 1, 5, 20);
    run(60);
    cr_assert_eq(w.left[0], 0, "%u of its tasks wait for ever", w.left[0]);
    cr_assert_leq(w.longest, PLAN_OWED_NS + 2 * PLAN_QUANTUM_NS);
    plan_node_destroy(w.p);
}

/* Whatever its tasks last, it has one slot and not for longer than it must. */
Test(node_guests, natives_go_first_all_the_same)
{
    begin(2, 1, 1000000, 1);
    run(20);
    cr_assert_gt(w.left[0], 0);
    cr_assert_lt(w.left[0], 1000000);
    assert_natives_first();
    plan_node_destroy(w.p);
}

Test(node_guests, many_guests_have_one_turn_between_them)
{
    begin(1, GUESTS, 100000, 1);
    run(2 * GUESTS);
    for (uint32_t i = 0; i < GUESTS; i++) {
        cr_assert_lt(w.left[i], 100000, "guest %u waits for ever", i);
    }
    assert_natives_first();
    plan_node_destroy(w.p);
}

/* Its first message may come before its first lease, which has the weight that its driver said. */
Test(node_guests, a_guests_weight_comes_with_its_lease)
{
    begin(1, 0, 0, 0);
    struct plan_lease l = {.lease = 90,
                           .epoch = 1,
                           .job = {8, 3},
                           .demand = demand_cpus(CPU),
                           .weight = 5,
                           .slots = 1,
                           .owner = 8};
    cr_assert_eq(plan_node_weight(w.p, l.job), 0); /* not known yet */
    MUST(plan_node_job_add(w.p, l.job, 1, 0));
    cr_assert_eq(plan_node_weight(w.p, l.job), 1);
    MUST(plan_node_lease(w.p, &l, 0));
    cr_assert_eq(plan_node_weight(w.p, l.job), 5);
    l.lease = 91;
    l.cls = 1;
    l.weight = PLAN_WEIGHT_MAX + 1; /* nonsense of a peer's */
    MUST(plan_node_lease(w.p, &l, 0));
    cr_assert_eq(plan_node_weight(w.p, l.job), 5);
    plan_node_destroy(w.p);
}
