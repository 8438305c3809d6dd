/* Groups of bundles over the death of a head and of nodes. */
#include "groups_rig.h"

/* A head that is started anew: it hears of the members first, then of the group. */
static void another_head(uint64_t id)
{
    plan_head_destroy(w.h);
    w.count = 0;
    w.h = plan_head_create(
        &(struct plan_head_config){.head = id, .seed = 1, .act = head_act}, w.now);
    for (uint64_t i = 1; i <= NODES; i++) {
        if (!w.node[i]) {
            continue;
        }
        struct plan_join join = {
            .node = i, .session = 100 + i, .capacity = resources_cpus(2 * CPU)};
        plan_node_head_up(w.node[i], id, w.now);
        MUST(plan_head_join(w.h, &join, w.now));
        plan_node_head_synced(w.node[i], w.now);
    }
    wait_ms(50);
}

/* As its owner says it to a head that does not know it. */
static void say_again(uint64_t id, uint64_t owner, uint32_t units,
                      const struct plan_group_view *last)
{
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    for (uint32_t i = 0; i < last->count; i++) {
        needs[i] = resources_cpus(units);
    }
    bool placed = last->holds[0] != 0;
    struct plan_group g = {.id = id,
                           .job = {owner, 1},
                           .count = last->count,
                           .strategy = last->strategy,
                           .needs = needs,
                           .nodes = placed ? last->nodes : NULL,
                           .holds = placed ? last->holds : NULL};
    MUST(plan_head_group(w.h, owner, &g, w.now));
}

Test(groups, a_head_that_starts_anew_learns_the_groups_from_their_owners)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    struct plan_group_view before = w.group[1];
    another_head(10);
    cr_assert_eq(offered(), 3, "it is kept meanwhile");
    say_again(1, HOME, CPU, &before);
    settle();
    cr_assert(whole(1));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    wait_ms(12000);
    cr_assert_eq(offered(), 3);
    another_head(11); /* which the owner tells nothing */
    wait_ms(11000);
    cr_assert_eq(offered(), 6);
    finish();
}

static void said_all(uint64_t owner)
{
    MUST(plan_head_groups_said(w.h, owner, w.now));
    settle();
}

/* A node's connection to its head is a new one. */
static void comes(uint64_t id, uint64_t head)
{
    struct plan_join join = {
        .node = id, .session = 100 + id, .capacity = resources_cpus(2 * CPU)};
    plan_node_head_down(w.node[id], w.now);
    plan_node_head_up(w.node[id], head, w.now);
    MUST(plan_head_join(w.h, &join, w.now));
    settle();
    plan_node_head_synced(w.node[id], w.now);
    settle();
}

/* And it has no groups. */
static void comes_with_none(uint64_t id, uint64_t head)
{
    comes(id, head);
    said_all(id);
}

/* A head that is started anew and knows who was a member. Nobody has come to it yet. */
static void another_head_alone(uint64_t id)
{
    plan_head_destroy(w.h);
    w.count = 0;
    w.h = plan_head_create(
        &(struct plan_head_config){.head = id, .seed = 1, .act = head_act}, w.now);
    for (uint64_t i = 1; i <= NODES; i++) {
        struct plan_join join = {.node = i,
                                 .session = 100 + i,
                                 .capacity = resources_cpus(2 * CPU),
                                 .remembered = true};
        if (w.node[i]) {
            MUST(plan_head_join(w.h, &join, w.now));
        }
    }
    w.count = 0; /* its words reach nobody */
}

Test(groups, a_node_that_comes_back_keeps_what_it_holds_of_one_that_gathers)
{
    begin(2, 2);
    struct plan_job busy = occupy(2, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    comes(1, 9);
    cr_assert_eq(plan_node_offer(w.node[1]).amount[RESOURCE_CPU], 0);
    end_task(2, busy);
    end_task(2, busy);
    cr_assert(whole(1));
    finish();
}

Test(groups, a_bundle_waits_for_its_node_as_long_as_that_is_a_member)
{
    begin(4, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, 2 * CPU);
    struct plan_group_view before = w.group[1];
    another_head_alone(10);
    comes(HOME, 10);
    say_again(1, HOME, 2 * CPU, &before);
    said_all(HOME);
    for (uint64_t i = 2; i <= 4; i++) { /* the owner's word was there first */
        wait_ms(500);
        comes_with_none(i, 10);
    }
    wait_ms(12000);
    cr_assert(whole(1));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    cr_assert_eq(offered(), 2);

    another_head_alone(11);
    comes(HOME, 11);
    say_again(1, HOME, 2 * CPU, &before);
    said_all(HOME);
    uint64_t dead = before.nodes[0] == HOME ? before.nodes[1] : before.nodes[0];
    plan_node_destroy(w.node[dead]);
    w.node[dead] = NULL; /* it does not come */
    for (uint64_t i = 2; i <= 4; i++) {
        if (w.node[i]) {
            comes_with_none(i, 11);
        }
    }
    wait_ms(1000);
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    wait_ms(NODE_DEAD_NS / MS + 1000);
    cr_assert(whole(1));
    cr_assert_eq(nodes_of(1), 3);
    cr_assert_eq(offered(), 0);
    finish();
}

Test(groups, a_new_head_gathers_nothing_before_it_knows_what_is_kept)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    struct plan_group_view before = w.group[1],
                           none = {.count = 2, .strategy = MOB_GROUP_STRICT_SPREAD};
    another_head_alone(10);
    comes(2, 10);
    say_again(2, 2, 2 * CPU, &none);
    said_all(2);
    wait_ms(500);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    comes_with_none(3, 10);
    comes(HOME, 10);
    wait_ms(1500); /* as long as packets are lost */
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    say_again(1, HOME, CPU, &before);
    said_all(HOME);
    cr_assert(whole(1));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    wait_ms(500);
    cr_assert(whole(2));
    MUST(plan_head_group_end(w.h, 2, 2, w.now));
    settle();
    finish();
}

Test(groups, a_new_head_that_all_have_come_to_gathers_soon)
{
    begin(2, 2);
    struct plan_job busy = occupy(2, 2);
    struct plan_group_view none = {.count = 2, .strategy = MOB_GROUP_STRICT_SPREAD};
    another_head_alone(10);
    comes_with_none(2, 10);
    comes(HOME, 10);
    say_again(1, HOME, 2 * CPU, &none);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_WAITS);
    said_all(HOME);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    end_task(2, busy);
    end_task(2, busy);
    cr_assert(whole(1));
    finish();
}

Test(groups, a_head_takes_up_no_hold_of_its_own_that_is_over)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    struct plan_group_view before = w.group[1];
    MUST(plan_head_group_end(w.h, HOME, 1, w.now)); /* as when its owner was lost */
    settle();
    say_again(1, HOME, CPU, &before);
    cr_assert_eq(w.group[1].state, PLAN_GROUP_GATHERS);
    settle();
    cr_assert(whole(1));
    cr_assert_neq(w.group[1].holds[0], before.holds[0]);
    finish();
}

Test(groups, a_new_one_does_not_get_the_place_that_an_earlier_head_gave)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, 2 * CPU);
    struct plan_group_view before = w.group[1];
    cr_assert(whole(1));
    another_head_alone(10);
    comes(HOME, 10);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 1, 2 * CPU); /* said first */
    wait_ms(50);
    comes_with_none(2, 10);
    say_again(1, HOME, 2 * CPU, &before);
    said_all(HOME);
    wait_ms(500);
    comes_with_none(3, 10);
    wait_ms(500);
    cr_assert(whole(1));
    cr_assert(!whole(2));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    MUST(plan_head_group_end(w.h, HOME, 1, w.now));
    wait_ms(50);
    cr_assert(whole(2));
    finish();
}

Test(groups, a_remembered_node_that_stays_away_is_not_waited_for_for_ever)
{
    begin(3, 2);
    plan_node_destroy(w.node[3]);
    w.node[3] = NULL;
    another_head_alone(10);
    struct plan_join join = {.node = 3,
                             .session = 103,
                             .capacity = resources_cpus(2 * CPU),
                             .remembered = true};
    MUST(plan_head_join(w.h, &join, w.now));
    comes_with_none(HOME, 10);
    comes_with_none(2, 10);
    group_of_cpus(1, MOB_GROUP_PACK, 2, CPU);
    wait_ms(1000);
    cr_assert(!whole(1));
    wait_ms(NODE_DEAD_NS / MS);
    cr_assert(whole(1));
    finish();
}

Test(groups, an_owner_that_comes_back_has_the_time_that_its_words_take)
{
    begin(3, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    group_of_cpus(2, MOB_GROUP_STRICT_SPREAD, 3, CPU);
    struct plan_group_view before = w.group[1];
    comes(HOME, 9);
    wait_ms(3000); /* lost packets */
    cr_assert(whole(1) && whole(2));
    cr_assert_eq(offered(), 0);
    say_again(1, HOME, CPU, &before);
    said_all(HOME); /* the other one was removed meanwhile */
    cr_assert(whole(1));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    cr_assert_eq(plan_head_groups(w.h, NULL, 0), 1);
    cr_assert_eq(offered(), 3);
    comes(HOME, 9); /* and breaks again before it has said all */
    comes(HOME, 9);
    said_all(HOME);
    cr_assert_eq(offered(), 6);
    finish();
}

/* The head has no record of who was a member. */
Test(groups, what_comes_from_another_head_is_waited_for)
{
    begin(2, 2);
    group_of_cpus(1, MOB_GROUP_STRICT_SPREAD, 2, 2 * CPU);
    struct plan_group_view before = w.group[1],
                           none = {.count = 1, .strategy = MOB_GROUP_PACK};
    plan_head_destroy(w.h);
    w.count = 0;
    w.h = plan_head_create(
        &(struct plan_head_config){.head = 10, .seed = 1, .act = head_act}, w.now);
    for (uint64_t i = 1; i <= 2; i++) {
        struct plan_join join = {.node = i,
                                 .session = 100 + i,
                                 .member_of = 9,
                                 .capacity = resources_cpus(2 * CPU)};
        plan_node_head_up(w.node[i], 10, w.now);
        MUST(plan_head_join(w.h, &join, w.now));
    }
    say_again(2, 2, CPU, &none);
    said_all(2);
    wait_ms(1000);
    cr_assert_eq(w.group[2].state, PLAN_GROUP_WAITS);
    say_again(1, HOME, 2 * CPU, &before);
    said_all(HOME);
    cr_assert(whole(1) && !whole(2));
    cr_assert_arr_eq(w.group[1].holds, before.holds, sizeof before.holds);
    finish();
}
