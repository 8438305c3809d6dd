/* Results that were lost where they were made are made again when they are wanted, or lost by a name that says why. */
#include "lineage_talk.h"

Test(lineage_again, a_lost_result_is_made_again_when_it_is_wanted)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0), state;
    world_down(&w, MAKER);
    turns();
    cr_assert_eq(place_of(j, link).kind, PLACE_AWAY, "nobody wants it");
    cr_assert_eq(repair_of(j, link), LINK_NONE);
    want(j, link);
    uint64_t again = repair_of(j, link);
    struct record *r = lane_find(&j->lane, again, &state);
    cr_assert_not_null(r);
    cr_assert_eq(record_call(r).retries, 2, "that is a retry");
    want(j, link);
    cr_assert_eq(repair_of(j, link), again, "once at a time");
    run_here(j, again, 0x77, SIZE);
    cr_assert_eq(first_byte(j, link), 0x77);
    all_gone(j);
    cr_assert_null(lane_find(&j->lane, again, &state),
                   "its record is of no use any more");
    world_end(&w);
}

/* Tasks that wait for it are in the queue, and may have every slot of their class. */
Test(lineage_again, what_makes_it_again_does_not_wait_for_those_who_want_it)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    world_down(&w, MAKER);
    for (int i = 0; i < 3; i++) {
        (void)task(j, link, 3, 1);
    }
    world_send(&w, j, OTHER, 1);
    want(j, link);
    uint32_t cls = class_of(j, repair_of(j, link));
    cr_assert_neq(cls, w.big, "it is behind those who wait for it");
    cr_assert_eq(j->demand[cls].priority, j->demand[w.big].priority + 1);
    cr_assert(resources_equal(&j->demand[cls].need, &j->demand[w.big].need));
    run_here(j, repair_of(j, link), 0x21, SIZE);
    cr_assert_eq(first_byte(j, link), 0x21);
    world_end(&w);
}

/* On a node that lives. What comes back is not left there a second time. */
Test(lineage_again, it_may_be_made_again_elsewhere)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    world_down(&w, MAKER);
    want(j, link);
    w.big = class_of(j, repair_of(j, link));
    world_send(&w, j, OTHER, 1);
    cr_assert_eq(world_slot(&w, j, OTHER, 0)->link, repair_of(j, link));
    done(j, OTHER, 0, 1, 1);
    cr_assert_eq(w.pulls_count, 1, "it is wanted");
    world_pulled(&w, 0, MOB_OK, 0x66);
    turns();
    cr_assert_eq(first_byte(j, link), 0x66);
    all_gone(j);
    world_end(&w);
}

Test(lineage_again, a_node_that_is_lost_in_the_middle_of_a_pull)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    world_down(&w, MAKER);
    turns();
    cr_assert_eq(w.pulls_count, 0);
    run_here(j, repair_of(j, link), 0x55, SIZE);
    cr_assert_eq(first_byte(j, link), 0x55);
    all_gone(j);
    world_end(&w);
}

/* The node is short of memory: it is asked again, and has it still. */
Test(lineage_again, a_maker_that_is_short_of_memory)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    world_pulled(&w, 0, MOB_ERR_NOMEM, 0);
    while (w.pulls_count == 0) {
        cr_assert_eq(place_of(j, link).kind, PLACE_AWAY, "it fits in here");
        world_turn(&w);
    }
    world_pulled(&w, 0, MOB_OK, 0x53);
    cr_assert_eq(first_byte(j, link), 0x53);
    all_gone(j);
    world_end(&w);
}

/* The node is there and has it no more. */
Test(lineage_again, a_maker_that_does_not_have_it)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    world_pulled(&w, 0, MOB_ERR_NOT_FOUND, 0);
    turns();
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1, "if it has it, then for ever");
    run_here(j, repair_of(j, link), 0x54, SIZE);
    cr_assert_eq(first_byte(j, link), 0x54);
    all_gone(j);
    world_end(&w);
}

/* c is made of b, which is made of a; all are lost, and a was released. Only c is wanted. */
Test(lineage_again, a_chain_is_made_again_in_its_order)
{
    struct job *j = start();
    uint64_t a = made_at(j, MAKER, LINK_NONE, 1, 0), b = made_at(j, MAKER, a, 1, 1),
             c = made_at(j, MAKER, b, 1, 2), state;
    lane_drop(&j->lane, a);
    lane_reclaim(&j->lane);
    struct lineage *of_a = j->lineage.entries[0];
    cr_assert_eq(of_a->link, a);
    world_down(&w, MAKER);
    want(j, c);
    uint64_t again[3] = {of_a->repair, repair_of(j, b), repair_of(j, c)};
    for (int i = 0; i < 3; i++) {
        cr_assert_neq(again[i], LINK_NONE);
        struct record *r = lane_find(&j->lane, again[i], &state);
        cr_assert_not_null(r);
        cr_assert_eq(state_phase(state), i ? PHASE_WAITING : PHASE_QUEUED, "task %d", i);
        cr_assert_eq(record_call(r).fn,
                     record_call(board_record(&j->board, link_index(c))).fn);
    }
    for (int i = 0; i < 3; i++) {
        run_here(j, again[i], 0x10 + i, SIZE);
    }
    cr_assert_eq(first_byte(j, c), 0x12);
    cr_assert_eq(first_byte(j, b), 0x11, "it was made anyway, and is still held");
    all_gone(j);
    for (int i = 0; i < 3; i++) {
        cr_assert_null(lane_find(&j->lane, again[i], &state), "task %d", i);
    }
    world_end(&w);
}

/* ---- lost for good ------------------------------------------------------------------------------------ */

static void is_lost(struct job *j, uint64_t link, const char *part)
{
    char text[FAILURE_TEXT_MAX];
    cr_assert_eq(place_of(j, link).kind, PLACE_LOST);
    lineage_why(j, link, text);
    cr_assert(strstr(text, "task maker") && strstr(text, part), "%s", text);
}

Test(lineage_again, what_fails_when_it_is_made_again_is_lost_by_name)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0),
             next = made_at(j, MAKER, link, 1, 1);
    world_down(&w, MAKER);
    want(j, next);
    uint64_t again = repair_of(j, link), state;
    struct record *r = lane_find(&j->lane, again, &state);
    cr_assert(task_claim_one(&j->lane, r, link_gen(again)));
    away_fail_task(j, r, MOB_ERR_TASK_FAILED, "the moon is full");
    job_notices(j);
    turns();
    is_lost(j, link, "the moon is full");
    /* What needs it runs, is told of the error as its argument, and fails. */
    again = repair_of(j, next);
    r = lane_find(&j->lane, again, &state);
    cr_assert(task_claim_one(&j->lane, r, link_gen(again)));
    away_fail_task(j, r, MOB_ERR_TASK_FAILED, "its argument failed: the moon is full");
    job_notices(j);
    turns();
    is_lost(j, next, "the moon is full");
    want(j, link);
    cr_assert_eq(repair_of(j, link), LINK_NONE, "it is over");
    lane_drop(&j->lane, link);
    lane_drop(&j->lane, next);
    lane_reclaim(&j->lane);
    all_gone(j);
    world_end(&w);
}

/* From now on tasks are of a group. */
static struct group *grouped(struct job *j)
{
    struct demand d = demand_cpus((WORLD_CPUS + 1) * CPU_UNITS);
    struct group *g;
    MUST(group_create(j, &(struct group_plan){1, MOB_GROUP_PACK, &d.need, NULL}, &g) ==
         MOB_OK);
    d.group = g->id;
    MUST(job_add_class(j, &d, &w.big) == MOB_OK);
    return g;
}

Test(lineage_again, what_ran_in_a_group_that_was_removed_is_lost_by_name)
{
    struct job *j = start();
    struct group *g = grouped(j);
    uint32_t cls = w.big, name = j->class_name[cls];
    uint64_t waits = made_at(j, MAKER, LINK_NONE, 1, 0),
             link = made_at(j, MAKER, LINK_NONE, 1, 1),
             late = made_at(j, MAKER, LINK_NONE, 1, 2),
             there = made_at(j, OTHER, LINK_NONE, 1, 3);
    world_down(&w, MAKER);
    want(j, waits); /* a task waits in the group to make it again */
    cr_assert_neq(repair_of(j, waits), LINK_NONE);
    group_remove(g);
    job_notices(j);
    turns();
    is_lost(j, waits, "a group that was removed");
    want(j, link);
    is_lost(j, link, "a group that was removed");
    cr_assert_eq(repair_of(j, link), LINK_NONE);
    /* Its place may be another's by now, and that is not asked to make it. */
    while (job_has_class(j, cls)) {
        world_turn(&w);
    }
    (void)grouped(j);
    cr_assert_eq(w.big, cls);
    cr_assert_eq(j->class_name[cls], name + CLASSES_MAX);
    want(j, late);
    is_lost(j, late, "a group that was removed");
    /* What is not lost comes as ever. */
    want(j, there);
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 9);
    cr_assert_eq(first_byte(j, there), 9);
    world_end(&w);
}

Test(lineage_again, another_size_is_not_the_same_result)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    world_down(&w, MAKER);
    want(j, link);
    run_here(j, repair_of(j, link), 1, SIZE / 2);
    is_lost(j, link, "another size");
    lane_drop(&j->lane, link);
    lane_reclaim(&j->lane);
    all_gone(j);
    world_end(&w);
}

/* Places are words that clients can write. */
Test(lineage_again, made_up_places_are_nobody_s)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0), other = object(j, SIZE);
    struct record *r = board_record(&j->board, link_index(other));
    const uint64_t numbers[] = {j->lineage.entries[0]->number, 1, 1000000,
                                (1ull << 40) - 1};
    for (size_t i = 0; i < 4; i++) {
        struct place made_up = {PLACE_AWAY, (uint32_t)i, numbers[i], SIZE};
        record_set_place(r, 0, PLACE_AWAY, (uint32_t)i, numbers[i], SIZE);
        want(j, other);
        cr_assert_eq(place_of(j, other).kind, PLACE_LOST, "a waiter waits for ever");
        if (i > 0) {
            lineage_free_place(j, &made_up);
        }
    }
    cr_assert_eq(w.pulls_count, 0);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 3);
    cr_assert_eq(first_byte(j, link), 3);
    world_end(&w);
}
