/* What becomes of records whose bytes the daemon moves. The interleavings are the model checker's
 * (tests/model/scenario_move.c). */
#include "rig.h"
#include "store/move.h"

static uint64_t sealed_in(struct rig *g, uint32_t segment)
{
    uint64_t link = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    struct record *r = claim(g, WORKER, link);
    at_store(&g->b.segments[segment], SEGMENT_USED | (uint64_t)segment << 40, AT_RELAXED);
    record_set_place(r, 0, PLACE_ARENA, segment, 64, 2 << 20);
    cr_assert(task_seal(&g->lane[WORKER], r, false));
    return link;
}

static uint32_t holder_of(struct rig *g, uint64_t link)
{
    return state_holder(at_load(&g->b.records[link_index(link)].state, AT_RELAXED));
}

/* A thread that releases what the daemon moves may never look again: the daemon must. */
Test(move, what_is_released_meanwhile_is_left_to_the_daemon)
{
    struct rig *g = rig_new();
    uint64_t link = sealed_in(g, DRIVER), pin;
    cr_assert_eq(lane_pin(&g->lane[DAEMON], link, &pin), MOB_OK);
    lane_drop(&g->lane[DRIVER], link);
    lane_reclaim(&g->lane[DRIVER]);
    cr_assert_eq(phase_of(g, link), PHASE_DEAD);
    cr_assert_eq(holder_of(g, link), DAEMON);
    lane_unpin(&g->lane[DAEMON], pin);
    lane_drain_ring(&g->lane[DAEMON]);
    lane_reclaim(&g->lane[DAEMON]);
    cr_assert_eq(phase_of(g, link), PHASE_DRAINING, "its place is the driver's to free");
    lane_drain_ring(&g->lane[DRIVER]);
    cr_assert_eq(phase_of(g, link), PHASE_FREE);
    cr_assert_eq(g->freed_places, 1);
    rig_free(g);
}

/* What a view of another process pins stays with who released it. */
Test(move, what_others_pin_stays)
{
    struct rig *g = rig_new();
    uint64_t link = sealed_in(g, DRIVER), pin;
    cr_assert_eq(lane_pin(&g->lane[OTHER], link, &pin), MOB_OK);
    lane_drop(&g->lane[DRIVER], link);
    lane_reclaim(&g->lane[DRIVER]);
    cr_assert_eq(holder_of(g, link), DRIVER);
    lane_unpin(&g->lane[OTHER], pin);
    lane_reclaim(&g->lane[DRIVER]);
    cr_assert_eq(phase_of(g, link), PHASE_FREE);
    cr_assert_eq(g->freed_places, 1);
    rig_free(g);
}

/* Two move one result one after the other, and the first was too late: its swing must fail. */
Test(move, a_swing_from_where_it_is_not_fails)
{
    struct rig *g = rig_new();
    uint64_t link = sealed_in(g, DRIVER);
    struct record *r = board_record(&g->b, link_index(link));
    const struct place was = {PLACE_ARENA, DRIVER, 64, 2 << 20},
                       disk = {PLACE_SPILLED, 3, 128, 2 << 20},
                       other = {PLACE_SPILLED, 4, 0, 2 << 20};
    cr_assert(move_swing(r, 0, &was, &disk));
    cr_assert_not(move_swing(r, 0, &was, &other));
    struct place p = record_pinned_place(r, 0);
    cr_assert_eq(p.kind, PLACE_SPILLED);
    cr_assert_eq(p.segment, 3);
    cr_assert_eq(p.offset, 128);
    cr_assert(move_swing(r, 0, &disk, &was));
    lane_drop(&g->lane[DRIVER], link);
    assert_all_free(g);
    cr_assert_eq(g->freed_places, 1);
    rig_free(g);
}

/* The old place goes to its owner, and there is one record more on its way for it, until it is freed. */
Test(move, an_old_place_is_given_to_its_owner)
{
    struct rig *g = rig_new();
    const struct place theirs = {PLACE_ARENA, OTHER, 64, 4096},
                       own = {PLACE_ARENA, DAEMON, 64, 64},
                       nobodys = {PLACE_ARENA, BOARD_SEGMENTS_MAX, 64, 64};
    at_store(&g->b.segments[OTHER], SEGMENT_USED | (uint64_t)OTHER << 40, AT_RELAXED);
    at_store(&g->b.segments[DAEMON], SEGMENT_USED | (uint64_t)DAEMON << 40, AT_RELAXED);
    cr_assert(move_give(&g->lane[DAEMON], &theirs));
    cr_assert_eq(g->freed_places, 0);
    lane_drain_ring(&g->lane[OTHER]);
    cr_assert_eq(g->freed_places, 1);
    cr_assert(move_give(&g->lane[DAEMON], &own));
    cr_assert_eq(g->freed_places, 2, "its own is freed at once");
    cr_assert(move_give(&g->lane[DAEMON], &nobodys),
              "a place that is nowhere needs nothing");
    cr_assert_eq(g->freed_places, 2);
    assert_all_free(g);
    rig_free(g);
}
