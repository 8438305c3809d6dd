/* Results that stay where they were made: pulled when they are wanted, and what is kept here so that they could be made
 * again. */
#include "lineage_talk.h"

Test(lineage, a_result_comes_when_it_is_wanted_and_not_before)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    cr_assert_eq(place_of(j, link).kind, PLACE_AWAY);
    cr_assert_eq(place_of(j, link).size, SIZE);
    turns();
    cr_assert_eq(w.pulls_count, 0, "nobody wants it");
    cr_assert_eq(w.peers[MAKER].sent[WIRE_RELEASE], 1);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    cr_assert_eq(w.pulls[0].name.link, remote(0));
    want(j, link);
    cr_assert_eq(w.pulls_count, 1, "once");
    world_pulled(&w, 0, MOB_OK, 0x5a);
    cr_assert_eq(first_byte(j, link), 0x5a);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1);
    all_gone(j);
    lane_drop(&j->lane, link);
    world_end(&w);
}

Test(lineage, a_released_result_is_let_go_where_it_is)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 2, 0);
    cr_assert_eq(place_of(j, link | 1).kind, PLACE_AWAY);
    lane_drop(&j->lane, link);
    lane_drop(&j->lane, link | 1);
    lane_reclaim(&j->lane);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 2);
    cr_assert_eq(w.peers[MAKER].last[WIRE_LET_GO][17], 1, "gone");
    all_gone(j);
    world_end(&w);
}

/* Its record is not freed under the pull, and its bytes are. */
Test(lineage, a_result_may_be_released_while_it_comes)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    lane_drop(&j->lane, link);
    lane_reclaim(&j->lane);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1);
    lineage_flush(j); /* for some other result: this pull is not over yet */
    turns();
    all_gone(j);
    world_end(&w);
}

Test(lineage, what_cannot_run_again_comes_at_once)
{
    struct job *j = start();
    uint64_t link = task(j, LINK_NONE, 0, 1), state;
    world_send(&w, j, MAKER, 1);
    done(j, MAKER, 0, 1, 0);
    cr_assert_eq(w.pulls_count, 1);
    cr_assert_not_null(lane_find(&j->lane, link, &state));
    cr_assert_eq(state_phase(state), PHASE_TAKEN,
                 "it is sealed before its bytes are here");
    world_pulled(&w, 0, MOB_OK, 1);
    cr_assert_eq(first_byte(j, link), 1);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 0);
    all_gone(j);
    world_end(&w);
}

Test(lineage, what_somebody_waits_for_comes_at_once)
{
    struct job *j = start();
    uint64_t link = task(j, LINK_NONE, 3, 1), state;
    struct record *r = board_record(&j->board, link_index(link));
    world_send(&w, j, MAKER, 1);
    cr_assert(task_mark_waited(r, link_gen(link), STATE_WAITERS, &state));
    done(j, MAKER, 0, 1, 0);
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 1);
    all_gone(j);
    world_end(&w);
}

/* A chain of tasks where it is moves nothing. */
Test(lineage, a_task_there_finds_its_argument_there)
{
    struct job *j = start();
    uint64_t a = made_at(j, MAKER, LINK_NONE, 1, 0), b = made_at(j, MAKER, a, 1, 1);
    cr_assert_eq(place_of(j, b).kind, PLACE_AWAY);
    turns();
    cr_assert_eq(w.pulls_count, 0);
    /* The argument record of b keeps that of a, and no bytes. */
    lane_drop(&j->lane, a);
    lane_reclaim(&j->lane);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1);
    cr_assert_eq(j->lineage.count, 2);
    lane_drop(&j->lane, b);
    lane_reclaim(&j->lane);
    all_gone(j);
    world_end(&w);
}

static void stays(const struct job *j, uint32_t nth, uint64_t node, uint32_t results)
{
    struct lineage_at at[3];
    cr_assert_gt(lineage_nodes(j, at, 3), nth);
    cr_assert_eq(at[nth].peer ? at[nth].peer->id : 0, node);
    cr_assert_eq(at[nth].results, results);
    cr_assert_eq(at[nth].bytes, (uint64_t)results * SIZE);
}

/* For people: how much stays where, and what is lost. */
Test(lineage, what_stays_is_counted_by_node)
{
    struct job *j = start();
    struct lineage_at at[3];
    cr_assert_eq(lineage_nodes(j, at, 3), 0);
    uint64_t link = made_at(j, MAKER, LINK_NONE, 2, 0);
    (void)made_at(j, OTHER, LINK_NONE, 1, 1);
    (void)made_at(j, MAKER, LINK_NONE, 1, 2);
    stays(j, 0, w.peers[MAKER].id, 3);
    stays(j, 1, w.peers[OTHER].id, 1);
    cr_assert_eq(lineage_nodes(j, at, 1), 1, "no more than there is room for");
    lane_drop(&j->lane, link);
    lane_drop(&j->lane, link | 1);
    lane_reclaim(&j->lane);
    stays(j, 0, w.peers[OTHER].id, 1);
    world_down(&w, MAKER);
    stays(j, 1, 0, 1);
    world_end(&w);
}

/* The driver reads in order: the next ones come too, as far as they are few. */
Test(lineage, a_driver_that_reads_in_order_is_read_ahead_for)
{
    struct job *j = start();
    uint64_t link[24];
    for (uint32_t i = 0; i < 24; i++) {
        link[i] = made_at(j, MAKER, LINK_NONE, 1, i);
    }
    lineage_read(j, link[0]);
    turns();
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 1);
    turns();
    lineage_read(j, link[1]);
    turns();
    /* Here every other record is an argument record. */
    cr_assert_eq(w.pulls_count, LINEAGE_AHEAD / 2 + 1, "%u pulls", w.pulls_count);
    while (w.pulls_count) {
        world_pulled(&w, 0, MOB_OK, 1);
    }
    turns();
    cr_assert_eq(place_of(j, link[9]).kind, PLACE_ARENA);
    cr_assert_eq(place_of(j, link[10]).kind, PLACE_AWAY);
    world_end(&w);
}

/* One node gets it from there, and only what more of them want comes here. */
Test(lineage, another_node_is_sent_to_the_maker)
{
    struct job *j = start();
    struct cluster *c = w.node.cluster;
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    const struct peer *maker = cluster_peer(c, w.peers[MAKER].id);
    world_up(&w, 3);
    cr_assert_eq(lineage_source(j, link, maker), 0, "it is there");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(lineage_source(j, link, cluster_peer(c, w.peers[OTHER].id)),
                     maker->id);
    }
    turns();
    cr_assert_eq(w.pulls_count, 0);
    cr_assert_eq(lineage_source(j, link, cluster_peer(c, w.peers[3].id)), 0);
    turns();
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 1);
    cr_assert_eq(lineage_source(j, link, cluster_peer(c, w.peers[OTHER].id)), 0);
    world_end(&w);
}

/* ---- what is kept here for them ------------------------------------------------------------------------ */

/* What is kept may go to disk. */
static struct job *start_with_disk(void)
{
    struct job *j = start();
    const char *folder = getenv("TMPDIR");
    MUST(node_spill_start(&w.node, folder ? folder : "/tmp") == MOB_OK);
    return j;
}

static void end_with_disk(void)
{
    node_spill_stop(&w.node);
    world_end(&w);
    node_spill_end(&w.node);
}

/* The program gave it back and may want it for something else. */
Test(lineage, without_a_disk_less_is_kept)
{
    struct job *j = start();
    uint64_t first = object(j, 10 << 20), arg = object(j, 10 << 20), state;
    (void)made_at(j, MAKER, first, 1, 0);
    cr_assert_eq(w.pulls_count, 0);
    (void)made_at(j, MAKER, arg, 1, 1);
    cr_assert_eq(w.pulls_count, 1, "20 MiB are held in a store of 64 MiB");
    lane_drop(&j->lane, arg);
    world_pulled(&w, 0, MOB_OK, 1);
    lane_reclaim(&j->lane);
    struct record *r = lane_find(&j->lane, arg, &state);
    cr_assert(!r || state_gone(state), "it is kept");
    world_end(&w);
}

/* An argument that is here is kept for as long as it may be needed, through audits too. */
Test(lineage, arguments_that_are_here_are_kept)
{
    struct job *j = start();
    uint64_t arg = object(j, 100 << 10), link = made_at(j, MAKER, arg, 1, 0), state;
    lane_drop(&j->lane, arg);
    lane_reclaim(&j->lane);
    job_audit(j);
    cr_assert_not_null(lane_find(&j->lane, arg, &state), "its bytes are gone");
    cr_assert_eq(j->lineage.held_bytes, 100 << 10);
    world_down(&w, MAKER);
    want(j, link);
    run_here(j, repair_of(j, link), 0x33, SIZE);
    cr_assert_eq(first_byte(j, link), 0x33);
    all_gone(j);
    cr_assert_null(lane_find(&j->lane, arg, &state), "it is kept for nothing");
    world_end(&w);
}

/* One that many results are made of is kept once, and counted once. */
Test(lineage, a_shared_argument_is_counted_once)
{
    struct job *j = start();
    uint64_t arg = object(j, 10 << 20), link[3];
    for (uint32_t i = 0; i < 3; i++) {
        link[i] = made_at(j, MAKER, arg, 1, i);
        cr_assert_eq(w.pulls_count, 0, "30 MiB would be too much without a disk");
    }
    cr_assert_eq(j->lineage.held_bytes, 10 << 20);
    for (uint32_t i = 0; i < 3; i++) {
        lane_drop(&j->lane, link[i]);
        lane_reclaim(&j->lane);
        cr_assert_eq(j->lineage.held_bytes, i < 2 ? 10 << 20 : 0);
    }
    all_gone(j);
    world_end(&w);
}

/* The object is as large as its record says. */
static void says(struct job *j, uint64_t link, uint64_t size)
{
    struct record *r = board_record(&j->board, link_index(link));
    struct place p = record_get_place(r, 0);
    record_set_place(r, 0, p.kind, p.segment, p.offset, size);
}

/* Whose arguments would be more than the store may have, or too long a chain. */
Test(lineage, beyond_the_bounds_results_come_at_once)
{
    struct job *j = start_with_disk();
    uint64_t arg[3], link = LINK_NONE;
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(w.pulls_count, 0);
        arg[i] = object(j, SIZE);
        says(j, arg[i], 30 << 20);
        (void)made_at(j, MAKER, arg[i], 1, i);
    }
    cr_assert_eq(w.pulls_count, 1, "90 MiB are held in a store of 64 MiB");
    for (uint32_t i = 0; i < 3; i++) {
        says(j, arg[i], SIZE);
    }
    world_pulled(&w, 0, MOB_OK, 0);
    for (uint32_t i = 0; i < LINEAGE_DEPTH_MAX; i++) {
        link = made_at(j, MAKER, link, 1, 3 + i);
        cr_assert_eq(w.pulls_count, 0, "%u", i);
    }
    link = made_at(j, MAKER, link, 1, 100);
    cr_assert_eq(w.pulls_count, 1, "so many tasks would run one after the other");
    world_pulled(&w, 0, MOB_OK, 0);
    (void)made_at(j, MAKER, link, 1, 101);
    cr_assert_eq(w.pulls_count, 0, "the chain begins anew");
    end_with_disk();
}
