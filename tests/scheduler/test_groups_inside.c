/* Classes of one group: their leases overlap, and the node decides which of them runs. */
#include "groups_rig.h"

enum { CLASSES = 3, TASK_MS = 7, MANY = 1000 };

static const struct plan_job key = {HOME, 1};

static struct demand in_group(uint32_t cpus, uint16_t bundle, int8_t priority)
{
    struct demand d = demand_cpus(cpus * CPU);
    d.group = 1;
    d.bundle = bundle;
    d.priority = priority;
    return d;
}

/* The owner wants so many slots for a class. */
static void want(uint32_t cls, struct demand demand, uint32_t slots)
{
    struct plan_demand d = {
        .job = key, .demand = demand, .cls = cls, .weight = 1, .want = slots};
    MUST(plan_head_demand(w.h, HOME, &d, w.now));
    wait_ms(20);
}

/* Slots of a class's leases on a node. */
static uint32_t leased(uint32_t cls, uint64_t node)
{
    struct plan_lease_view l[16];
    uint32_t slots = 0;
    for (size_t i = plan_head_leases(w.h, l, 16); i-- > 0;) {
        slots += l[i].cls == cls && l[i].node == node ? l[i].slots : 0;
    }
    return slots;
}

static uint32_t epochs(void)
{
    struct plan_lease_view l[16];
    uint32_t sum = 0;
    for (size_t i = plan_head_leases(w.h, l, 16); i-- > 0;) {
        sum += l[i].epoch;
    }
    return sum;
}

/* ---- the head ------------------------------------------------------------------------------------------------ */

Test(groups_inside, leases_overlap_and_stay_where_they_are)
{
    begin(1, 1);
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    want(0, in_group(1, 0, 0), MANY);
    want(1, in_group(1, 1, 0), MANY);
    want(2, in_group(1, 1, 5), MANY);
    for (uint32_t c = 0; c < CLASSES; c++) {
        cr_assert_eq(leased(c, HOME), 1);
    }
    uint32_t before = epochs();
    wait_ms(5000);
    cr_assert_eq(epochs(), before, "no word is said of a lease for a turn");
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    cr_assert_eq(plan_head_leases(w.h, NULL, 0), 0);
    finish();
}

Test(groups_inside, who_shares_goes_to_where_it_is_alone)
{
    begin(2, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    want(0, in_group(1, 0, 0), 2);
    cr_assert_eq(leased(0, HOME), 2);
    uint16_t at_home = w.group[1].nodes[0] == HOME ? 1 : 2;
    want(1, in_group(1, at_home, 0), MANY);
    wait_ms(100);
    cr_assert_eq(leased(1, HOME), 2);
    cr_assert_eq(leased(0, HOME), 0);
    cr_assert_eq(leased(0, 2), 2);
    want(0, in_group(1, 0, 0), 3); /* there is room for two alone */
    cr_assert_eq(leased(0, 2), 2);
    cr_assert_eq(leased(0, HOME), 1);
    want(1, in_group(1, at_home, 0), 1);
    uint32_t before = epochs();
    wait_ms(1000);
    cr_assert_eq(epochs(), before, "nobody shares any more");
    finish();
}

Test(groups_inside, others_turns_do_not_wait_for_a_group_that_is_full)
{
    begin(2, 4);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, CPU);
    want(0, in_group(1, 0, 0),
         MANY); /* the head cannot help it: it has all of its group */
    struct plan_demand rich = {
        .job = {HOME, 2}, .demand = demand_cpus(CPU), .weight = 1, .want = 6};
    struct plan_demand poor = rich;
    MUST(plan_head_demand(w.h, HOME, &rich, w.now));
    wait_ms(100);
    poor.job.number = 3;
    MUST(plan_head_demand(w.h, 2, &poor, w.now));
    wait_ms(5000);
    struct plan_lease_view l[16];
    uint32_t slots = 0;
    for (size_t i = plan_head_leases(w.h, l, 16); i-- > 0;) {
        slots += l[i].job.number == 3 ? l[i].slots : 0;
    }
    cr_assert_geq(slots, 2);
    finish();
}

/* ---- the node ------------------------------------------------------------------------------------------------ */

/* A node with a group of one bundle, and leases of all that is in it for each of its classes. */
static struct plan_node *with_classes(uint32_t cpus, const struct demand *demand)
{
    begin(1, cpus);
    group_of_cpus(1, MOB_GROUP_PACK, 1, cpus * CPU);
    struct plan_node *p = w.node[HOME];
    MUST(plan_node_job_add(p, key, 1, w.now));
    for (uint32_t c = 0; c < CLASSES && demand[c].group; c++) {
        struct plan_lease l = {.lease = 70 + c,
                               .epoch = 1,
                               .job = key,
                               .cls = c,
                               .weight = 1,
                               .slots = cpus,
                               .owner = HOME,
                               .demand = demand[c]};
        MUST(plan_node_class_add(p, key, c, &demand[c], w.now));
        MUST(plan_node_lease(p, &l, w.now));
    }
    return p;
}

static struct plan_class_view view(uint32_t cls)
{
    struct plan_class_view v = {0};
    (void)plan_node_view(w.node[HOME], key, cls, &v);
    return v;
}

static void queue(uint32_t cls, uint32_t tasks)
{
    MUST(plan_node_backlog(w.node[HOME], key, cls, tasks, NULL, 0, w.now));
    for (uint32_t c = 0; c < CLASSES; c++) {
        while (view(c).starting > 0) {
            MUST(plan_node_worker_started(w.node[HOME], key, c, w.now));
        }
    }
    check();
}

/* Classes with tasks without end. Slots that are asked back come when a task ends. How long each had slots. */
static void run_ms(uint64_t ms, const uint32_t *tasks, uint64_t *held)
{
    for (uint64_t t = 1; t <= ms; t++, w.now += MS) {
        for (uint32_t c = 0; c < CLASSES; c++) {
            if (tasks[c] == 0) {
                continue;
            }
            queue(c, tasks[c]);
            while (t % TASK_MS == 0 && view(c).asked_back > 0) {
                MUST(
                    plan_node_slot_returned(w.node[HOME], key, c, PLAN_SLOT_BUSY, w.now));
            }
            held[c] += view(c).busy;
        }
        if (w.now >= plan_node_deadline(w.node[HOME])) {
            plan_node_tick(w.node[HOME], w.now);
        }
        w.count = 0; /* nobody listens */
        check();
    }
}

Test(groups_inside, a_slot_that_idles_is_anothers_at_once)
{
    struct plan_node *p =
        with_classes(1, (struct demand[CLASSES]){in_group(1, 0, 0), in_group(1, 1, 0)});
    queue(0, 1);
    MUST(plan_node_slot_idle(p, key, 0, w.now));
    queue(1, 1);
    cr_assert_eq(view(0).asked_back, 1);
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_IDLE, w.now));
    cr_assert_eq(view(1).busy, 1);
    finish();
}

/* Tasks of one job that came from different nodes, as children do of tasks that went there, are of two jobs here. */
Test(groups_inside, a_slot_that_idles_serves_what_came_from_elsewhere)
{
    struct plan_node *p = with_classes(1, (struct demand[CLASSES]){in_group(1, 0, 0)});
    struct plan_lease l = {.lease = 80,
                           .epoch = 1,
                           .job = {HOME + 1, 1},
                           .weight = 1,
                           .slots = 1,
                           .owner = HOME + 1,
                           .demand = in_group(1, 0, 0)};
    queue(0, 1);
    MUST(plan_node_slot_idle(p, key, 0, w.now));
    MUST(plan_node_lease(p, &l, w.now));
    MUST(plan_node_received(p, l.job, 0, 80, 1, 1, w.now));
    cr_assert_eq(view(0).asked_back, 1);
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_IDLE, w.now));
    struct plan_class_view v;
    MUST(plan_node_view(p, l.job, 0, &v));
    cr_assert_eq(v.starting, 1);
    finish();
}

Test(groups_inside, classes_of_one_priority_have_the_same_time)
{
    (void)with_classes(1, (struct demand[CLASSES]){in_group(1, 0, 0), in_group(1, 1, 0),
                                                   in_group(1, 1, 0)});
    uint64_t held[CLASSES] = {0};
    run_ms(6000, (uint32_t[]){MANY, MANY, MANY}, held);
    for (uint32_t c = 0; c < CLASSES; c++) {
        cr_assert_gt(held[c], 1500, "class %u: %d of 6000 ms", c, (int)held[c]);
    }
    cr_assert_gt(held[0] + held[1] + held[2], 5900);
    finish();
}

Test(groups_inside, a_higher_priority_comes_first_and_none_starves)
{
    (void)with_classes(1, (struct demand[CLASSES]){in_group(1, 0, 0), in_group(1, 1, 9)});
    uint64_t held[CLASSES] = {0};
    run_ms(50, (uint32_t[]){MANY, 0, 0}, held);
    cr_assert_gt(held[0], 45);
    run_ms(500, (uint32_t[]){MANY, MANY, 0}, held);
    cr_assert_lt(held[0], 70, "it gives way when a task ends");
    run_ms(10000, (uint32_t[]){MANY, MANY, 0}, held);
    cr_assert_gt(held[0], 700, "for a quantum each second or so");
    cr_assert_gt(held[1], 8000);
    finish();
}

/* What it needs comes free bit by bit, and is kept for it. */
Test(groups_inside, a_large_task_is_not_overtaken_for_ever)
{
    (void)with_classes(3, (struct demand[CLASSES]){in_group(1, 0, 0), in_group(3, 1, 0)});
    uint64_t held[CLASSES] = {0};
    run_ms(100, (uint32_t[]){MANY, 0, 0}, held);
    run_ms(2000, (uint32_t[]){MANY, MANY, 0}, held);
    cr_assert_gt(held[1], 300, "%d ms", (int)held[1]);
    finish();
}

/* A task that no node of the rest is large enough for must not have CPUs kept for it: they would idle as long as the group
 * is there. */
Test(groups_inside, what_is_held_is_not_in_reach_of_a_task_outside)
{
    begin(1, 3);
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    struct plan_node *p = w.node[HOME];
    struct plan_job small = {HOME, 2}, large = {HOME, 3};
    struct demand inside = in_group(1, 1, 0), all = demand_cpus(3 * CPU),
                  one = demand_cpus(CPU);
    struct plan_lease l = {.lease = 70,
                           .epoch = 1,
                           .job = key,
                           .weight = 1,
                           .slots = 1,
                           .owner = HOME,
                           .demand = inside};
    struct plan_class_view v;
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &inside, w.now));
    MUST(plan_node_lease(p, &l, w.now));
    queue(0, MANY);
    cr_assert_eq(view(0).busy, 1);
    MUST(plan_node_job_add(p, small, 1, w.now));
    MUST(plan_node_class_add(p, small, 0, &one, w.now));
    MUST(plan_node_job_add(p, large, 1, w.now));
    MUST(plan_node_class_add(p, large, 0, &all, w.now));
    MUST(plan_node_backlog(p, small, 0, MANY, NULL, 0, w.now));
    MUST(plan_node_backlog(p, large, 0, 1, NULL, 0, w.now));
    for (uint32_t t = 0; t < 3000; t++, w.now += MS) {
        plan_node_tick(p, w.now);
        MUST(plan_node_view(p, small, 0, &v));
        for (uint32_t i = 0; i < v.starting; i++) {
            MUST(plan_node_worker_started(p, small, 0, w.now));
        }
        cr_assert_eq(v.asked_back, 0, "after %u ms", t);
        w.count = 0; /* nobody listens */
    }
    cr_assert_eq(v.busy, 2);
    finish();
}

Test(groups_inside, slots_of_another_bundle_are_left_alone)
{
    begin(1, 2);
    group_of_cpus(1, MOB_GROUP_PACK, 2, CPU);
    struct plan_node *p = w.node[HOME];
    MUST(plan_node_job_add(p, key, 1, w.now));
    struct demand demand[CLASSES] = {in_group(1, 1, 0), in_group(1, 2, 0),
                                     in_group(1, 1, 9)};
    for (uint32_t c = 0; c < CLASSES; c++) {
        struct plan_lease l = {.lease = 70 + c,
                               .epoch = 1,
                               .job = key,
                               .cls = c,
                               .weight = 1,
                               .slots = 1,
                               .owner = HOME,
                               .demand = demand[c]};
        MUST(plan_node_class_add(p, key, c, &demand[c], w.now));
        MUST(plan_node_lease(p, &l, w.now));
    }
    queue(0, 1);
    queue(1, 1);
    queue(2, 1);
    cr_assert_eq(view(0).asked_back, 1);
    cr_assert_eq(view(1).asked_back, 0);
    finish();
}

/* ---- a hold ends while a task in it waits in a get -------------------------------------------------------------- */

/* Another head that nobody tells of the group: after PLAN_ORPHAN_NS the node has nothing for it. */
static void forgotten(struct plan_node *p)
{
    plan_node_head_up(p, 10, w.now);
    plan_node_head_synced(p, w.now);
    for (uint64_t end = w.now + 11 * NS_PER_S; w.now < end; w.now += 100 * MS) {
        plan_node_tick(p, w.now);
        w.count = 0; /* it knows nothing of that head */
    }
    check();
}

static struct plan_node *with_one_in_a_get(struct demand d)
{
    struct plan_node *p = with_classes(1, (struct demand[CLASSES]){d});
    queue(0, 1);
    MUST(plan_node_backlog(p, key, 0, 0, NULL, 0, w.now));
    MUST(plan_node_slot_lent(p, key, 0, w.now));
    forgotten(p);
    return p;
}

static uint64_t cpus_used(const struct plan_node *p)
{
    return plan_node_used(p).amount[RESOURCE_CPU];
}

Test(groups_inside, who_is_in_a_get_goes_on_when_its_hold_has_ended)
{
    struct plan_node *p = with_one_in_a_get(in_group(1, 1, 0));
    cr_assert_eq(cpus_used(p), 0, "others may have it meanwhile");
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    check();
    cr_assert_eq(view(0).busy, 1);
    cr_assert_eq(cpus_used(p), CPU);
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_CPU], 0);
    MUST(plan_node_slot_lent(p, key, 0, w.now)); /* again */
    cr_assert_eq(cpus_used(p), 0);
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    cr_assert_eq(view(0).asked_back, 1, "it gets no other task");
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    check();
    cr_assert_eq(cpus_used(p), 0);
    cr_assert_eq(plan_node_holds(p, NULL, 0), 0);
    finish();
}

Test(groups_inside, who_was_in_a_get_waits_for_others_who_have_its_cpu)
{
    struct plan_node *p = with_one_in_a_get(in_group(1, 1, 0));
    struct plan_job native = occupy(HOME, 5);
    struct plan_class_view v;
    w.count = 0;
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    check();
    cr_assert_eq(view(0).resuming, 1);
    MUST(plan_node_view(p, native, 0, &v));
    cr_assert_eq(v.asked_back, 1);
    MUST(plan_node_slot_returned(p, native, 0, PLAN_SLOT_BUSY, w.now));
    check();
    cr_assert_eq(view(0).busy, 1);
    cr_assert_eq(cpus_used(p), CPU);
    finish();
}

Test(groups_inside, what_a_task_in_a_get_keeps_is_free_when_it_ends)
{
    struct demand d = in_group(1, 1, 0);
    begin(0, 0);
    struct resources has = resources_cpus(CPU);
    d.need.amount[RESOURCE_MEMORY] = has.amount[RESOURCE_MEMORY] = 1 << 20;
    join_node(HOME, has);
    wait_ms(50);
    group(1, MOB_GROUP_PACK, 1, &d.need);
    struct plan_node *p = w.node[HOME];
    struct plan_lease l = {.lease = 70,
                           .epoch = 1,
                           .job = key,
                           .weight = 1,
                           .slots = 1,
                           .owner = HOME,
                           .demand = d};
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &d, w.now));
    MUST(plan_node_lease(p, &l, w.now));
    queue(0, 1);
    MUST(plan_node_backlog(p, key, 0, 0, NULL, 0, w.now));
    MUST(plan_node_slot_lent(p, key, 0, w.now));
    forgotten(p);
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_MEMORY], 1 << 20);
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    check();
    cr_assert_eq(view(0).busy, 1);
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    check();
    struct resources used = plan_node_used(p);
    cr_assert(resources_none(&used));
    cr_assert_eq(plan_node_holds(p, NULL, 0), 0);
    finish();
}
