/* Classes that end, and others in their places: a word about one that is over never counts for another. */
#include <criterion/criterion.h>
#include <string.h>

#include "scheduler/head_plan.h"
#include "scheduler/node_plan.h"

#define CPU CPU_UNITS
#define MS NS_PER_MS

enum { SELF = 7, OTHER = 8, FIRST = 3, SECOND = FIRST + CLASSES_MAX };

static struct plan_node_action seen[256];
static uint32_t seen_count;
static const struct plan_job ours = {SELF, 1}, theirs = {OTHER, 1};

static void act(void *arg, const struct plan_node_action *a)
{
    (void)arg;
    seen[seen_count++ % 256] = *a;
}

static struct demand of(uint64_t units)
{
    return demand_cpus(units);
}

static struct plan_node *node(void)
{
    seen_count = 0;
    struct plan_node_config config = {.node = SELF,
                                      .capacity = resources_cpus(4 * CPU),
                                      .clustered = true,
                                      .jobs_max = 8,
                                      .leases_max = 8,
                                      .act = act};
    struct plan_node *p = plan_node_create(&config, 0);
    cr_assert_eq(plan_node_job_add(p, ours, 1, 0), MOB_OK);
    plan_node_head_up(p, 99, 0);
    return p;
}

static uint32_t wanted(uint32_t cls)
{
    uint32_t want = UINT32_MAX;
    for (uint32_t i = 0; i < seen_count; i++) {
        if (seen[i].kind == PLAN_DEMAND && seen[i].cls == cls) {
            want = seen[i].count;
        }
    }
    return want;
}

#define OK(call)                                                                         \
    do {                                                                                 \
        cr_assert_eq((call), MOB_OK);                                                    \
        const char *wrong_ = plan_node_check(p);                                         \
        cr_assert_null(wrong_, "%s", wrong_);                                            \
    } while (0)
#define IS(call, status) cr_assert_eq((call), (status))

Test(class_names, a_place_is_anothers_only_after_the_class_has_ended)
{
    struct plan_node *p = node();
    struct demand a = of(CPU), b = of(2 * CPU);
    struct plan_class_view v;
    OK(plan_node_class_add(p, ours, FIRST, &a, 0));
    OK(plan_node_class_add(p, ours, FIRST, &a, 0));
    IS(plan_node_class_add(p, ours, SECOND, &a, 0), MOB_ERR_EXISTS);
    IS(plan_node_class_end(p, ours, SECOND, 0), MOB_ERR_NOT_FOUND);
    OK(plan_node_class_end(p, ours, FIRST, 0));
    IS(plan_node_class_end(p, ours, FIRST, 0), MOB_ERR_NOT_FOUND);
    OK(plan_node_class_add(p, ours, SECOND, &b, 0));
    IS(plan_node_class_add(p, ours, FIRST, &a, 0), MOB_ERR_EXISTS);
    IS(plan_node_view(p, ours, FIRST, &v), MOB_ERR_NOT_FOUND);
    OK(plan_node_view(p, ours, SECOND, &v));
    IS(plan_node_backlog(p, ours, FIRST, 1, NULL, 0, 0), MOB_ERR_NOT_FOUND);
    plan_node_destroy(p);
}

Test(class_names, a_class_with_slots_does_not_end)
{
    struct plan_node *p = node();
    struct demand a = of(CPU), b = of(2 * CPU);
    OK(plan_node_class_add(p, ours, FIRST, &a, 0));
    OK(plan_node_backlog(p, ours, FIRST, 1, NULL, 0, 0));
    IS(plan_node_class_end(p, ours, FIRST, 0), MOB_ERR_STATE);
    OK(plan_node_backlog(p, ours, FIRST, 0, NULL, 0, MS));
    OK(plan_node_worker_started(p, ours, FIRST, MS));
    OK(plan_node_slot_lent(p, ours, FIRST, MS));
    IS(plan_node_class_end(p, ours, FIRST, 0), MOB_ERR_STATE);
    OK(plan_node_slot_resume(p, ours, FIRST, MS));
    IS(plan_node_class_end(p, ours, FIRST, 0), MOB_ERR_STATE);
    OK(plan_node_slot_returned(p, ours, FIRST, PLAN_SLOT_BUSY, MS));
    OK(plan_node_class_end(p, ours, FIRST, MS));
    /* Its worker is bare now, and dies as what it is, whatever is in the place. */
    OK(plan_node_class_add(p, ours, SECOND, &b, MS));
    OK(plan_node_worker_died(p, ours, FIRST, PLAN_SLOT_NONE, MS));
    IS(plan_node_worker_died(p, ours, FIRST, PLAN_SLOT_NONE, MS), MOB_ERR_STATE);
    plan_node_destroy(p);
}

Test(class_names, what_it_wanted_is_taken_back_and_a_late_grant_is_nobodys)
{
    struct plan_node *p = node();
    struct demand a = of(CPU), b = of(2 * CPU);
    OK(plan_node_class_add(p, ours, FIRST, &a, 0));
    OK(plan_node_backlog(p, ours, FIRST, 20, NULL, 0, 0));
    plan_node_tick(p, 20 * MS);
    cr_assert(wanted(FIRST) > 0 && wanted(FIRST) < UINT32_MAX);
    OK(plan_node_grant(p, 50, 1, ours, FIRST, OTHER, 2, 20 * MS));
    for (int i = 0; i < 4; i++) {
        OK(plan_node_worker_started(p, ours, FIRST, 21 * MS));
    }
    OK(plan_node_backlog(p, ours, FIRST, 0, NULL, 0, 21 * MS));
    for (int i = 0; i < 4; i++) {
        OK(plan_node_slot_returned(p, ours, FIRST, PLAN_SLOT_BUSY, 21 * MS));
    }
    IS(plan_node_class_end(p, ours, FIRST, 22 * MS), MOB_ERR_STATE); /* the grant */
    OK(plan_node_grant(p, 50, 2, ours, FIRST, OTHER, 0, 23 * MS));
    OK(plan_node_class_end(p, ours, FIRST, 24 * MS));
    cr_assert_eq(wanted(FIRST), 0);
    OK(plan_node_class_add(p, ours, SECOND, &b, 25 * MS));
    IS(plan_node_grant(p, 51, 1, ours, FIRST, OTHER, 2, 26 * MS), MOB_ERR_NOT_FOUND);
    uint32_t granted[CLASSES_MAX] = {0};
    plan_node_granted(p, ours, granted);
    cr_assert_eq(granted[FIRST], 0);
    plan_node_destroy(p);
}

Test(class_names, a_late_lease_is_refused_and_tasks_under_it_too)
{
    struct plan_node *p = node();
    struct plan_lease l = {.lease = 60,
                           .epoch = 1,
                           .job = theirs,
                           .cls = FIRST,
                           .weight = 1,
                           .slots = 1,
                           .owner = OTHER,
                           .demand = of(CPU)};
    OK(plan_node_lease(p, &l, 0));
    OK(plan_node_received(p, theirs, FIRST, 60, 1, 1, 0));
    IS(plan_node_class_end(p, theirs, FIRST, 0), MOB_ERR_STATE);
    OK(plan_node_finished(p, theirs, FIRST, 1, 0));
    IS(plan_node_received(p, theirs, SECOND, 60, 1, 1, 0), MOB_ERR_INVALID);
    /* A guest's class is added by a lease, if its place is free; a class of our own is not. */
    struct plan_lease other = l;
    other.lease = 61;
    other.cls = SECOND;
    other.demand = of(2 * CPU);
    IS(plan_node_lease(p, &other, 0), MOB_ERR_EXISTS);
    other.job = ours;
    other.owner = SELF;
    IS(plan_node_lease(p, &other, 0), MOB_ERR_NOT_FOUND);
    cr_assert_null(plan_node_check(p));
    plan_node_destroy(p);
}

/* ---- the head ------------------------------------------------------------------------------------------ */

static uint32_t
    leases_of[2 * CLASSES_MAX]; /* slots that nodes were last asked for, by class */

static void head_act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    if (a->kind == PLAN_LEASE) {
        leases_of[a->cls] = a->slots;
    }
}

Test(class_names, the_head_tells_two_classes_of_one_place_apart)
{
    struct plan_head_config config = {.head = 5, .seed = 1, .act = head_act};
    struct plan_head *h = plan_head_create(&config, 0);
    struct resources four = resources_cpus(4 * CPU), none = resources_cpus(0);
    for (uint64_t i = SELF; i <= OTHER; i++) {
        struct plan_join join = {.node = i, .session = 100 + i, .capacity = four};
        IS(plan_head_join(h, &join, 0), MOB_OK);
        IS(plan_head_report(h, i, i == SELF ? &none : &four, 0), MOB_OK);
    }
    struct plan_demand a = {
        .job = ours, .demand = of(CPU), .cls = FIRST, .weight = 1, .want = 2};
    struct plan_demand b = a;
    b.cls = SECOND;
    b.demand = of(2 * CPU);
    b.want = 1;
    IS(plan_head_demand(h, SELF, &a, 10 * MS), MOB_OK);
    cr_assert_eq(leases_of[FIRST], 2);
    IS(plan_head_demand(h, SELF, &b, 20 * MS), MOB_OK);
    cr_assert_eq(leases_of[SECOND], 1);
    a.want = 0;
    IS(plan_head_demand(h, SELF, &a, 30 * MS), MOB_OK);
    cr_assert_eq(leases_of[FIRST], 0);
    cr_assert_eq(leases_of[SECOND], 1);
    const char *wrong = plan_head_check(h);
    cr_assert_null(wrong, "%s", wrong);
    /* Any number is a name: keys of far ones are not mixed up. */
    b.cls = UINT32_MAX;
    b.want = 0;
    IS(plan_head_demand(h, SELF, &b, 40 * MS), MOB_OK);
    plan_head_destroy(h);
}
