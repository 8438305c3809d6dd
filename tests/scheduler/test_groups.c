/* Groups of bundles: where they are placed, and what runs in them. */
#include "groups_rig.h"

Test(groups, each_strategy_places_as_it_says)
{
    begin(4, 4);
    group_of_cpus(1, MOB_GROUP_STRICT_PACK, 3, CPU);
    cr_assert(whole(1));
    cr_assert_eq(nodes_of(1), 1);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 4, CPU);
    cr_assert(whole(2));
    cr_assert_eq(nodes_of(2), 4);
    group_of_cpus(3, MOB_GROUP_PACK, 5, CPU); /* 0 3 3 3 CPUs are left */
    cr_assert(whole(3));
    cr_assert_eq(nodes_of(3), 2);
    group_of_cpus(4, MOB_GROUP_SPREAD, 4,
                  CPU); /* 0 0 1 3: not as many as it has bundles */
    cr_assert(whole(4));
    cr_assert_eq(nodes_of(4), 2);
    cr_assert_eq(offered(), 0);
    for (uint64_t id = 1; id <= 4; id++) {
        MUST(plan_head_group_end(w.h, HOME, id, w.now));
    }
    settle();
    cr_assert_eq(offered(), 16);
    finish();
}

Test(groups, what_does_not_fit_holds_nothing_and_comes_when_it_fits)
{
    begin(2, 4);
    group_of_cpus(1, MOB_GROUP_PACK, 5, CPU);
    group_of_cpus(2, MOB_GROUP_PACK, 4, CPU);
    cr_assert(whole(1) && !whole(2));
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    cr_assert_eq(offered(), 3);
    group_of_cpus(3, MOB_GROUP_PACK, 3,
                  CPU); /* what fits does not wait for what does not */
    cr_assert(whole(3));
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    cr_assert(whole(2));
    finish();
}

Test(groups, what_comes_after_another_sees_what_that_gives_back)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now)); /* no node has heard of it */
    group_of_cpus(2, MOB_GROUP_SPREAD, 3, CPU);
    cr_assert(whole(2));
    cr_assert_eq(nodes_of(2), 3);
    MUST(plan_head_group_end(w.h, HOME, 2, w.now));
    group_of_cpus(3, MOB_GROUP_PACK, 2, CPU);
    cr_assert(whole(3));
    cr_assert_eq(nodes_of(3), 1);
    MUST(plan_head_group_end(w.h, HOME, 3, w.now));
    group_of_cpus(4, MOB_GROUP_STRICT_SPREAD, 3, 2 * CPU);
    cr_assert(whole(4));
    finish();
}

Test(groups, what_does_not_come_back_is_not_waited_for_for_long)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    w.count = 0; /* the words are under way for long */
    group_of_cpus(2, MOB_GROUP_SPREAD, 2, CPU);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    wait_ms(900);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    wait_ms(200);
    cr_assert(whole(2));
    cr_assert_eq(nodes_of(2), 1);
    finish();
}

/* Small groups come and go, two at a time: a tenth of a second each. How often one found a place at once. */
static uint32_t small_ones(uint64_t *last, uint64_t ms)
{
    uint32_t placed = 0;
    for (uint64_t end = w.now + ms * MS; w.now < end;) {
        uint64_t next = *last % 6 + 3, before = (*last + 5) % 6 + 3;
        (*last)++;
        group_of_cpus(next, MOB_GROUP_PACK, 1, CPU);
        placed += whole(next);
        wait_ms(50);
        (void)plan_head_group_end(w.h, HOME, before == next ? 0 : before, w.now);
        wait_ms(50);
    }
    return placed;
}

Test(groups, small_ones_do_not_overtake_a_large_one_for_ever)
{
    begin(2, 2);
    uint64_t last = 0;
    (void)small_ones(&last, 500);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    uint32_t placed = small_ones(&last, 9000);
    cr_assert_gt(placed, 80, "what fits need not wait: %u", placed);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_WAITS);
    (void)small_ones(&last, 2000);
    cr_assert(whole(1), "it is due after ten seconds");
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    cr_assert_gt(small_ones(&last, 1000), 8);
    finish();
}

Test(groups, one_that_is_due_does_not_hold_others_up_for_ever)
{
    begin(2, 2);
    uint64_t last = 0;
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, CPU);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    uint32_t placed = small_ones(&last, 30000);
    cr_assert_gt(placed, 290, "what is in its way came before it: %u", placed);
    group_of_cpus(10, MOB_GROUP_PACK, 1, CPU / 2); /* this one comes later, and stays */
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    placed = small_ones(&last, 20000); /* it is due, and then it is the others' turn */
    cr_assert_gt(placed, 80, "%u", placed);
    cr_assert_lt(placed, 120, "%u", placed);
    MUST(plan_head_group_end(w.h, HOME, 10, w.now));
    (void)small_ones(&last, 12000);
    cr_assert(whole(2), "in its next turn");
    finish();
}

Test(groups, what_no_nodes_could_hold_is_told_apart)
{
    begin(2, 4);
    group_of_cpus(1, MOB_GROUP_STRICT_PACK, 5, CPU);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    group_of_cpus(3, MOB_GROUP_SPREAD, 1, 5 * CPU);
    group_of_cpus(4, MOB_GROUP_PACK, 9, CPU);
    for (uint64_t id = 1; id <= 4; id++) {
        cr_assert_eq(w.group[id].state, PLAN_GROUP_NOWHERE, "%d", (int)id);
    }
    join_node(3, resources_cpus(5 * CPU));
    wait_ms(50);
    cr_assert(whole(1), "the first of those that fit now");
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    finish();
}

Test(groups, a_node_for_each_is_found_whenever_there_is_a_way)
{
    begin(1, 4);
    struct resources with_tape = resources_cpus(4 * CPU), tape = resources_cpus(0);
    MUST(resources_parse(&with_tape, "tape=1"));
    MUST(resources_parse(&tape, "tape=1"));
    join_node(2, with_tape);
    wait_ms(50);
    struct resources blocker = resources_cpus(CPU);
    group(2, MOB_GROUP_PACK, 1,
          &blocker); /* so that the node with the tape has less taken */
    uint64_t first = w.group[2].nodes[0];
    struct resources needs[] = {resources_cpus(CPU), tape};
    group(1, MOB_GROUP_STRICT_SPREAD, 2, needs);
    cr_assert(whole(1), "blocker on %d", (int)first);
    cr_assert_eq(w.group[1].nodes[0], 1);
    cr_assert_eq(w.group[1].nodes[1], 2);
    finish();
}

/* A gang's may be for one node, or for those with a label. */
Test(groups, is_held_by_nodes_that_may)
{
    begin(3, 2);
    struct resources needs[2] = {resources_cpus(CPU), resources_cpus(CPU)};
    struct plan_where where = {.node = 2};
    struct plan_group g = {.id = 1,
                           .job = {HOME, 1},
                           .count = 2,
                           .strategy = MOB_GROUP_SPREAD,
                           .needs = needs,
                           .where = &where};
    MUST(plan_head_group(w.h, HOME, &g, w.now));
    settle();
    cr_assert(whole(1));
    cr_assert_eq(w.group[1].nodes[0], 2);
    cr_assert_eq(w.group[1].nodes[1], 2);
    g.id = 2;
    where = (struct plan_where){.selector = "zone=b"};
    MUST(plan_head_group(w.h, HOME, &g, w.now));
    settle();
    cr_assert_eq(w.group[2].state, PLAN_GROUP_NOWHERE);
    where = (struct plan_where){.selector = "=="};
    g.id = 3;
    cr_assert_eq(plan_head_group(w.h, HOME, &g, w.now), MOB_ERR_INVALID);
    finish();
}

Test(groups, slots_come_back_to_what_is_gathered_and_tasks_take_none_of_it)
{
    begin(2, 2);
    struct plan_job busy = occupy(2, 100);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_not(whole(1));
    struct plan_class_view v;
    MUST(plan_node_view(w.node[2], busy, 0, &v));
    cr_assert_eq(v.asked_back, 2);
    MUST(plan_node_slot_returned(w.node[2], busy, 0, PLAN_SLOT_BUSY, w.now));
    settle();
    cr_assert_not(whole(1));
    MUST(plan_node_slot_returned(w.node[2], busy, 0, PLAN_SLOT_BUSY, w.now));
    settle();
    cr_assert(whole(1));
    wait_ms(2000); /* nothing is kept for natives for ever */
    MUST(plan_node_view(w.node[2], busy, 0, &v));
    cr_assert_eq(v.busy + v.starting, 0);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    MUST(plan_node_view(w.node[2], busy, 0, &v));
    cr_assert_eq(v.busy + v.starting, 2);
    finish();
}

Test(groups, what_is_not_held_in_time_lets_go_of_all)
{
    begin(2, 2);
    (void)occupy(2, 2); /* tasks that do not end */
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    cr_assert_eq(plan_node_offer(w.node[1]).amount[RESOURCE_CPU], 0);
    wait_ms(1100);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_WAITS);
    cr_assert_eq(plan_node_offer(w.node[1]).amount[RESOURCE_CPU], 2 * CPU);
    group_of_cpus(2, MOB_GROUP_STRICT_PACK, 2,
                  CPU); /* it does not wait for the other one */
    cr_assert(whole(2));
    finish();
}

Test(groups, long_tasks_on_every_cpu_do_not_starve_it)
{
    begin(2, 2);
    struct plan_job first = occupy(1, 100), second = occupy(2, 100);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    uint32_t seconds = 0;
    for (; seconds < 600 && !whole(1); seconds++) {
        wait_ms(1000);
        if (seconds % 30 == 7 || seconds % 30 == 22) { /* each node has two, 15 s apart */
            end_task(1, first);
        } else if (seconds % 30 == 13 || seconds % 30 == 28) {
            end_task(2, second);
        }
    }
    cr_assert(whole(1));
    cr_assert_lt(
        seconds,
        180); /* windows of 1, 2, 4, 8, 16, 32 and 64 s, and a second before each */
    finish();
}

Test(groups, a_new_one_gathers_no_longer_because_another_did_in_vain)
{
    begin(2, 2);
    (void)occupy(2, 2); /* tasks that do not end */
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    wait_ms(12000); /* windows of 1, 2 and 4 s, in vain */
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_GATHERS);
    wait_ms(1100);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    finish();
}

Test(groups, tasks_run_in_bundles_that_are_kept_and_nowhere_else)
{
    begin(2, 4);
    struct plan_demand d = {
        .job = {HOME, 1}, .demand = demand_cpus(CPU), .weight = 1, .want = 100};
    d.demand.group = 1;
    MUST(plan_head_demand(w.h, HOME, &d, w.now));
    wait_ms(50);
    struct plan_lease_view leases[8];
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 0);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    wait_ms(50);
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 2);
    cr_assert_eq(leases[0].slots, 2);
    cr_assert_eq(leases[1].slots, 2);
    cr_assert_eq(offered(), 4);
    struct plan_demand first = d; /* of one bundle alone: the others have it */
    first.cls = 1;
    first.demand.bundle = 1;
    first.want = 1;
    MUST(plan_head_demand(w.h, HOME, &first, w.now));
    d.want = 3;
    MUST(plan_head_demand(w.h, HOME, &d, w.now));
    wait_ms(50);
    uint32_t of_first = 0, of_any = 0;
    for (size_t i = plan_head_leases(w.h, leases, 8); i-- > 0;) {
        *(leases[i].cls ? &of_first : &of_any) += leases[i].slots;
    }
    cr_assert_eq(of_any, 3);
    cr_assert_leq(of_first, 1);
    finish();
}

Test(groups, a_task_that_waits_lends_the_cpu_to_its_group)
{
    begin(1, 2);
    struct plan_job key = {HOME, 1};
    struct plan_node *p = w.node[1];
    struct demand in = demand_cpus(CPU);
    in.group = 1;
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &in, w.now));
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    cr_assert(whole(1));
    struct plan_lease l = {.lease = 77,
                           .epoch = 1,
                           .job = key,
                           .weight = 1,
                           .slots = 5,
                           .owner = HOME,
                           .demand = in};
    MUST(plan_node_lease(p, &l, w.now));
    MUST(plan_node_backlog(p, key, 0, 3, NULL, 0, w.now));
    struct plan_class_view v;
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.leased, 1, "no more than is held");
    cr_assert_eq(v.starting, 1);
    MUST(plan_node_worker_started(p, key, 0, w.now));
    MUST(plan_node_slot_lent(p, key, 0, w.now));
    MUST(plan_node_backlog(p, key, 0, 3, NULL, 0, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.starting, 1);
    cr_assert_eq(plan_node_used(p).amount[RESOURCE_CPU], CPU);
    MUST(plan_node_worker_started(p, key, 0, w.now));
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 1, "it waits for the other one");
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 0);
    /* The group goes while its task runs: its CPU is not free before it ends. */
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.asked_back, 1);
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_CPU], CPU);
    MUST(plan_node_worker_died(p, key, 0, PLAN_SLOT_BUSY, w.now));
    settle();
    cr_assert_eq(plan_node_offer(p).amount[RESOURCE_CPU], 2 * CPU);
    finish();
}

Test(groups, who_was_in_a_get_comes_before_its_groups_other_slots)
{
    begin(1, 3);
    struct plan_job key = {HOME, 1};
    struct plan_node *p = w.node[1];
    struct plan_class_view v;
    struct plan_lease l = {.lease = 77,
                           .epoch = 1,
                           .job = key,
                           .weight = 1,
                           .slots = 3,
                           .owner = HOME,
                           .demand = demand_cpus(CPU)};
    l.demand.group = 1;
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &l.demand, w.now));
    group_of_cpus(1, MOB_GROUP_PACK, 3, CPU);
    MUST(plan_node_lease(p, &l, w.now));
    for (uint32_t round = 0; round < 2;
         round++) { /* tasks in a get, and what runs meanwhile */
        MUST(plan_node_backlog(p, key, 0, 3, NULL, 0, w.now));
        MUST(plan_node_backlog(p, key, 0, 0, NULL, 0, w.now));
        for (uint32_t i = 0; i < 3; i++) {
            MUST(plan_node_worker_started(p, key, 0, w.now));
        }
        for (uint32_t i = 0; i < 3 && round == 0; i++) {
            MUST(plan_node_slot_lent(p, key, 0, w.now));
        }
    }
    MUST(plan_node_slot_idle(p, key, 0, w.now)); /* one idles, two are busy */
    for (uint32_t i = 0; i < 3; i++) {
        MUST(plan_node_slot_resume(p, key, 0, w.now));
        check();
        MUST(plan_node_view(p, key, 0, &v));
        cr_assert_eq(v.resuming, i + 1);
        cr_assert_eq(v.asked_back, i + 1, "as many as wait, the idle one first");
    }
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_IDLE, w.now));
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    MUST(plan_node_slot_returned(p, key, 0, PLAN_SLOT_BUSY, w.now));
    check();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 0);
    cr_assert_eq(v.busy, 3);
    finish();
}

Test(groups, who_was_in_a_get_has_what_a_group_gives_back)
{
    begin(1, 1);
    struct plan_job key = {HOME, 1};
    struct plan_node *p = w.node[1];
    struct demand d = demand_cpus(CPU);
    struct plan_class_view v;
    MUST(plan_node_job_add(p, key, 1, w.now));
    MUST(plan_node_class_add(p, key, 0, &d, w.now));
    MUST(plan_node_backlog(p, key, 0, 1, NULL, 0, w.now));
    MUST(plan_node_worker_started(p, key, 0, w.now));
    MUST(plan_node_backlog(p, key, 0, 0, NULL, 0, w.now));
    MUST(plan_node_slot_lent(p, key, 0, w.now));
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    cr_assert(whole(1));
    MUST(plan_node_slot_resume(p, key, 0, w.now));
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 1);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    settle();
    MUST(plan_node_view(p, key, 0, &v));
    cr_assert_eq(v.resuming, 0);
    finish();
}

Test(groups, a_dead_nodes_bundle_is_placed_again_alone)
{
    begin(4, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    cr_assert(whole(1));
    struct plan_group_view before = w.group[1];
    uint32_t victim = before.nodes[0] == HOME ? 1 : 0;
    uint64_t dead = before.nodes[victim];
    plan_node_destroy(w.node[dead]);
    w.node[dead] = NULL;
    MUST(plan_head_leave(w.h, dead, w.now));
    settle();
    cr_assert(whole(1));
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(w.group[1].holds[i] == before.holds[i], i != victim);
    }
    cr_assert_eq(nodes_of(1), 3);
    finish();
}

Test(groups, a_lost_owner_leaves_nothing)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_SPREAD, 6, CPU);
    cr_assert_eq(offered(), 0);
    plan_node_destroy(w.node[HOME]);
    w.node[HOME] = NULL;
    MUST(plan_head_leave(w.h, HOME, w.now));
    settle();
    cr_assert_eq(offered(), 4);
    cr_assert_eq(plan_head_groups(w.h, NULL, 0), 0);
    finish();
}

Test(groups, a_lease_makes_room_before_a_bundle_is_held)
{
    begin(2, 2);
    struct plan_demand d = {
        .job = {HOME, 1}, .demand = demand_cpus(CPU), .weight = 1, .want = 2};
    MUST(plan_head_demand(w.h, HOME, &d, w.now));
    wait_ms(50);
    struct plan_lease_view leases[8];
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 1);
    cr_assert_eq(leases[0].slots, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert(whole(1));
    cr_assert_eq(plan_head_leases(w.h, leases, 8), 0);
    finish();
}

Test(groups, words_that_make_no_sense_change_nothing)
{
    begin(2, 2);
    group_of_cpus(1, MOB_GROUP_PACK, 1, CPU);
    struct plan_hold bad = {.hold = 3, .group = 1, .bundle = 0, .state = PLAN_HOLD_WANT};
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    bad.bundle = MOB_GROUP_BUNDLES_MAX + 1;
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    bad.bundle = 1;
    bad.state = PLAN_HOLD_HELD;
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    bad.state = (enum plan_hold_state)9;
    cr_assert_eq(plan_node_hold(w.node[1], &bad, w.now), MOB_ERR_INVALID);
    /* Of a hold that nobody has, and by another node than has it. */
    struct resources none = resources_cpus(0);
    struct plan_hold said = {.hold = w.group[1].holds[0], .state = PLAN_HOLD_END};
    uint64_t other = w.group[1].nodes[0] == 1 ? 2 : 1;
    cr_assert_eq(plan_head_hold_said(w.h, other, &said, &none, w.now), MOB_ERR_NOT_FOUND);
    cr_assert(whole(1));
    struct plan_group g = {.id = 1, .job = {HOME, 1}, .count = 0};
    cr_assert_eq(plan_head_group(w.h, HOME, &g, w.now), MOB_ERR_INVALID);
    g.count = MOB_GROUP_BUNDLES_MAX + 1;
    cr_assert_eq(plan_head_group(w.h, HOME, &g, w.now), MOB_ERR_INVALID);
    cr_assert_eq(plan_head_group_end(w.h, 2, 1, w.now), MOB_ERR_NOT_FOUND);
    finish();
}
