/* The node planner's classes of one job by priority: the higher ones first, and none starves. */
#include <criterion/criterion.h>
#include <string.h>

#include "scheduler/node_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS

enum { CLASSES = 3, TASK_MS = 7 };

static struct plan_node *p;
static uint32_t starts[CLASSES], gives[CLASSES],
    takes[CLASSES]; /* asked, and not done yet */

static void act(void *arg, const struct plan_node_action *a)
{
    (void)arg;
    if (a->cls < CLASSES) {
        starts[a->cls] += a->kind == PLAN_START ? a->count : 0;
        gives[a->cls] += a->kind == PLAN_GIVE ? a->count : 0;
        takes[a->cls] += a->kind == PLAN_TAKE ? a->count : 0;
    }
}

#define OK(call)                                                                         \
    do {                                                                                 \
        cr_assert_eq((call), MOB_OK);                                                    \
        const char *wrong_ = plan_node_check(p);                                         \
        cr_assert_null(wrong_, "%s", wrong_);                                            \
    } while (0)

static struct plan_job job(uint32_t number, const int8_t *priority, uint32_t classes)
{
    struct plan_job key = {7, number};
    OK(plan_node_job_add(p, key, 1, 0));
    for (uint32_t c = 0; c < classes; c++) {
        struct demand d = demand_cpus(CPU);
        d.priority = priority[c];
        OK(plan_node_class_add(p, key, c, &d, 0));
    }
    return key;
}

static void node(uint32_t cpus)
{
    memset(starts, 0, sizeof starts);
    memset(gives, 0, sizeof gives);
    memset(takes, 0, sizeof takes);
    p = plan_node_create(
        &(struct plan_node_config){
            .node = 7, .capacity = resources_cpus(cpus * CPU), .jobs_max = 8, .act = act},
        0);
}

static void tasks(struct plan_job j, uint32_t cls, uint32_t count, uint64_t now)
{
    OK(plan_node_backlog(p, j, cls, count, NULL, 0, now));
}

static void all_started(struct plan_job j, uint64_t now)
{
    for (uint32_t c = 0; c < CLASSES; c++) {
        for (; starts[c] > 0; starts[c]--) {
            OK(plan_node_worker_started(p, j, c, now));
        }
        gives[c] = 0;
    }
}

Test(node_priority, the_highest_is_served_first)
{
    node(2);
    struct plan_job j = job(1, (int8_t[]){-5, 100, 3}, 3);
    all_started(j, 0);
    tasks(j, 0, 10, 0);
    cr_assert_eq(starts[0], 2);
    all_started(j, MS);
    tasks(j, 2, 1, 2 * MS);
    cr_assert_eq(takes[0], 1, "as many as it lacks, at once");
    tasks(j, 1, 5, 3 * MS);
    cr_assert_eq(takes[0], 2);
    OK(plan_node_slot_returned(p, j, 0, PLAN_SLOT_BUSY, 4 * MS));
    cr_assert_eq(gives[1], 1, "before the one that asked first");
    OK(plan_node_slot_returned(p, j, 0, PLAN_SLOT_BUSY, 5 * MS));
    cr_assert_eq(gives[1], 2);
    cr_assert_eq(gives[2] + gives[0], 0);
    cr_assert_eq(takes[1], 0, "a lower one takes nothing");
    plan_node_destroy(p);
}

/* Time passes in steps of a millisecond. All classes have tasks without end; slots that are asked back come
 * when their task ends. */
static void run(struct plan_job j, uint32_t classes, uint64_t ms, uint64_t *held,
                uint64_t *gap)
{
    uint64_t last[CLASSES] = {0};
    for (uint64_t t = 1; t <= ms; t++) {
        uint64_t now = t * MS;
        all_started(j, now);
        for (uint32_t c = 0; c < classes; c++) {
            tasks(j, c, 100, now);
            for (; t % TASK_MS == 0 && takes[c] > 0; takes[c]--) {
                OK(plan_node_slot_returned(p, j, c, PLAN_SLOT_BUSY, now));
            }
        }
        if (now >= plan_node_deadline(p)) {
            plan_node_tick(p, now);
        }
        for (uint32_t c = 0; c < classes; c++) {
            struct plan_class_view v;
            OK(plan_node_view(p, j, c, &v));
            held[c] += v.busy;
            gap[c] = t - last[c] > gap[c] ? t - last[c] : gap[c];
            last[c] = v.busy > 0 ? t : last[c];
        }
    }
}

/* The bound of mobula.h: a second, the task that has the CPU, and the tick that sees it. */
Test(node_priority, none_starves)
{
    for (uint32_t cpus = 1; cpus <= 4; cpus += 3) {
        uint64_t held[CLASSES] = {0}, gap[CLASSES] = {0}, ms = 20000;
        node(cpus);
        struct plan_job j = job(1, (int8_t[]){0, 50, -50}, 3);
        run(j, 3, ms, held, gap);
        uint64_t bound = PLAN_RESERVE_NS / MS + TASK_MS + PLAN_QUANTUM_NS / MS;
        cr_assert_leq(gap[0], bound + PLAN_QUANTUM_NS / MS, "%u CPUs, gap %llu", cpus,
                      (unsigned long long)gap[0]);
        cr_assert_leq(gap[2], bound + PLAN_QUANTUM_NS / MS, "%u CPUs, gap %llu", cpus,
                      (unsigned long long)gap[2]);
        cr_assert_geq(held[1] * 100, ms * cpus * 75, "%u CPUs: the highest had %llu",
                      cpus, (unsigned long long)held[1]);
        cr_assert_geq(held[0], ms / 20);
        cr_assert_geq(held[2], ms / 20);
        plan_node_destroy(p);
    }
}

/* One of the same priority takes turns, as ever. */
Test(node_priority, equals_take_turns)
{
    uint64_t held[CLASSES] = {0}, gap[CLASSES] = {0};
    node(1);
    struct plan_job j = job(1, (int8_t[]){10, 10}, 2);
    run(j, 2, 10000, held, gap);
    cr_assert(held[0] > 3500 && held[1] > 3500, "%llu and %llu of 10000",
              (unsigned long long)held[0], (unsigned long long)held[1]);
    plan_node_destroy(p);
}

/* A priority is worth nothing against another job. */
Test(node_priority, jobs_share_as_without)
{
    node(2);
    struct plan_job a = job(1, (int8_t[]){100}, 1), b = job(2, (int8_t[]){-100}, 1);
    tasks(b, 0, 100, 0);
    cr_assert_eq(starts[0], 2);
    all_started(b, MS);
    tasks(a, 0, 100, 2 * MS);
    cr_assert_eq(takes[0], 0, "not at once");
    for (uint64_t t = 3; t < 500 && takes[0] == 0; t++) {
        tasks(a, 0, 100, t * MS);
        plan_node_tick(p, t * MS);
    }
    cr_assert_eq(takes[0], 1, "its half");
    plan_node_destroy(p);
}
