/* The life of tasks on one board. */
#include "rig.h"

Test(task, runs_and_is_freed_when_released)
{
    struct rig *g = rig_new();
    uint64_t link = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    cr_assert_eq(phase_of(g, link), PHASE_QUEUED);
    struct record *r = claim(g, WORKER, link);
    cr_assert_eq(phase_of(g, link), PHASE_TAKEN);
    cr_assert(task_seal(&g->lane[WORKER], r, false));
    cr_assert_eq(phase_of(g, link), PHASE_CLOSED);
    lane_drop(&g->lane[DRIVER], link);
    cr_assert_eq(phase_of(g, link), PHASE_DEAD);
    lane_drop(&g->lane[DRIVER], link); /* twice does nothing */
    assert_all_free(g);
    cr_assert_eq(phase_of(g, link), PHASE_FREE, "the old id is gone");
    rig_free(g);
}

Test(task, waits_for_its_arguments_in_any_order)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    uint64_t a = submit(d, NULL, 0, LINK_NONE), b = submit(d, NULL, 0, LINK_NONE);
    uint64_t c = submit(d, (uint64_t[]){a, b, a}, 3, LINK_NONE);
    uint64_t e = submit(d, (uint64_t[]){b}, 1, LINK_NONE);
    for (int i = 0; i < 2; i++) { /* ids may go as soon as they are arguments */
        lane_drop(d, i ? a : b);
    }
    cr_assert_eq(phase_of(g, c), PHASE_WAITING);
    struct record *ra = claim(g, WORKER, a), *rb = claim(g, OTHER, b);
    assert_no_task(g);
    task_seal(&g->lane[OTHER], rb, false);
    cr_assert_eq(phase_of(g, c), PHASE_WAITING);
    cr_assert_eq(phase_of(g, e), PHASE_QUEUED);
    task_seal(&g->lane[WORKER], ra, true); /* an error is a value too */
    cr_assert_eq(phase_of(g, c), PHASE_QUEUED);
    cr_assert_eq(phase_of(g, a), PHASE_CLOSED, "held by c");
    struct record *re = claim(g, WORKER, e);
    task_seal(&g->lane[WORKER], re, false);
    struct record *rc = claim(g, WORKER, c);
    task_seal(&g->lane[WORKER], rc, false);
    cr_assert_eq(phase_of(g, a), PHASE_DEAD);
    lane_drop(d, c);
    lane_drop(d, e);
    assert_all_free(g);
    rig_free(g);
}

/* The walk finds what a look at each argument finds, and nothing outside of the record, whatever the
 * lengths say. */
Test(task, a_walk_finds_the_arguments_by_id)
{
    static struct record r;
    uint32_t seed = 1, found = 0;
    for (int turn = 0; turn < 20000; turn++) {
        struct call call = {.counts = call_counts((uint32_t)turn % 32, 1 + turn % 8)};
        record_set_call(&r, &call);
        for (uint32_t i = 0; i < MOB_ARGS_MAX; i++) {
            seed = seed * 1664525u + 1013904223u;
            uint32_t x = seed >> 16;
            record_set_arg_len(&r, i,
                               x % 2 ? ARG_REF : (uint8_t)(x % (turn % 2 ? 9 : 255)));
        }
        call = record_call(&r);
        struct arg_walk w = arg_walk(&call);
        for (uint32_t i = 0; i < call_nargs(&call); i++) {
            struct arg_ref *ref = record_arg_ref(&r, &call, i);
            if (ref) {
                cr_assert_eq(arg_walk_on(&w, &r, &call), ref);
                cr_assert_eq(w.arg, i);
                cr_assert_leq((uint8_t *)(ref + 1) - r.payload, RECORD_PAYLOAD);
                found++;
            }
        }
        cr_assert_null(arg_walk_on(&w, &r, &call));
    }
    cr_assert_gt(found, 20000);
}

/* What an entry leads to may be of an earlier life of the record. */
Test(task, an_entry_leads_to_an_argument_or_nowhere)
{
    static struct record r;
    struct call call = {.counts = call_counts(3, 1), .len = {8, ARG_REF, ARG_REF}};
    struct arg_ref *second = record_arg_ref(&r, &call, 1),
                   *third = record_arg_ref(&r, &call, 2);
    uint32_t entry = succ_entry(BOARD_RECORDS_MAX - 1, &r, third);
    at_store(&second->arg, 1, AT_RELAXED);
    at_store(&third->arg, 2, AT_RELAXED);
    cr_assert_eq(succ_index(entry), BOARD_RECORDS_MAX - 1);
    cr_assert_eq(succ_ref(&r, &call, entry), third);
    cr_assert_eq(succ_ref(&r, &call, succ_entry(0, &r, second)), second);
    struct call fewer = {.counts = call_counts(2, 1), .len = {8, ARG_REF}};
    cr_assert_null(succ_ref(&r, &fewer, entry));
    struct call moved = {.counts = call_counts(3, 1), .len = {0, ARG_REF, ARG_REF}};
    cr_assert_null(succ_ref(&r, &moved, entry));
    struct call value = {.counts = call_counts(3, 1), .len = {8, ARG_REF, 16}};
    cr_assert_null(succ_ref(&r, &value, entry));
    at_store(&third->arg, 0xffffffff, AT_RELAXED);
    cr_assert_null(succ_ref(&r, &call, entry));
    cr_assert_null(
        succ_look(&r, 1 + (1u << SUCC_SLOT_BITS) - 1)); /* beyond the payload */
}

Test(task, an_argument_that_is_gone_is_refused_and_nothing_is_held)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    uint64_t a = submit(d, NULL, 0, LINK_NONE), gone = submit(d, NULL, 0, LINK_NONE);
    struct record *ra = claim(g, WORKER, a), *rg = claim(g, WORKER, gone);
    task_seal(&g->lane[WORKER], rg, false);
    lane_drop(d, gone);
    struct call call = {.counts = call_counts(2, 1), .class_options = CALL_HAS_REFS << 4};
    struct record *r;
    uint64_t link;
    cr_assert_eq(lane_record(d, &r), MOB_OK);
    task_begin(d, r, &call, LINK_NONE);
    task_add_ref(r, 0, a);
    task_add_ref(r, 1, gone);
    cr_assert_eq(task_publish(d, r, &link), MOB_ERR_RELEASED);
    lane_unrecord(d, r);
    task_seal(&g->lane[WORKER], ra, false);
    lane_drop(d, a);
    assert_all_free(g);
    rig_free(g);
}

Test(task, closes_after_its_children_and_holds_its_arguments_until_then)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
    uint64_t arg = submit(d, NULL, 0, LINK_NONE);
    uint64_t top = submit(d, (uint64_t[]){arg}, 1, LINK_NONE);
    task_seal(w, claim(g, WORKER, arg), false);
    struct record *rt = claim(g, WORKER, top);
    uint64_t mid = submit(w, NULL, 0, top), low;
    struct record *rm = claim(g, OTHER, mid);
    low = submit(&g->lane[OTHER], NULL, 0, mid);
    lane_drop(w, mid);
    lane_drop(&g->lane[OTHER], low);
    task_seal(w, rt, false);
    task_seal(&g->lane[OTHER], rm, false);
    lane_drop(d, arg);
    lane_drop(d, top);
    cr_assert_eq(phase_of(g, top), PHASE_DONE);
    cr_assert_eq(phase_of(g, mid), PHASE_DONE);
    cr_assert_eq(phase_of(g, arg), PHASE_CLOSED);
    task_seal(w, claim(g, WORKER, low), false);
    assert_all_free(g);
    rig_free(g);
}

Test(task, a_pin_keeps_bytes_after_the_release)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    uint64_t link = submit(d, NULL, 0, LINK_NONE), pin;
    cr_assert_eq(lane_pin(d, link, &pin), MOB_ERR_RELEASED, "not sealed yet");
    task_seal(&g->lane[WORKER], claim(g, WORKER, link), false);
    cr_assert_eq(lane_pin(&g->lane[OTHER], link, &pin), MOB_OK);
    lane_drop(d, link);
    lane_reclaim(d);
    cr_assert_eq(phase_of(g, link), PHASE_DEAD);
    lane_unpin(d, pin); /* by another thread */
    assert_all_free(g);
    cr_assert_eq(lane_pin(d, link, &pin), MOB_ERR_RELEASED);
    rig_free(g);
}

Test(task, places_go_back_to_the_owner_of_their_arena)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    at_store(&g->b.segments[5], SEGMENT_USED | (uint64_t)WORKER << 40, AT_RELAXED);
    uint64_t link = submit(d, NULL, 0, LINK_NONE);
    struct record *r = claim(g, WORKER, link);
    record_set_place(r, 0, PLACE_ARENA, 5, 4096, 1000);
    task_seal(&g->lane[WORKER], r, false);
    lane_drop(d, link);
    lane_reclaim(d);
    cr_assert_eq(phase_of(g, link), PHASE_DRAINING);
    cr_assert_eq(g->freed_places, 0);
    cr_assert(lane_drain_ring(&g->lane[WORKER]));
    cr_assert_eq(g->freed_places, 1);
    assert_all_free(g);
    rig_free(g);
}

Test(task, cancel_ends_what_has_not_started)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    uint64_t a = submit(d, NULL, 0, LINK_NONE),
             b = submit(d, (uint64_t[]){a}, 1, LINK_NONE);
    task_cancel(d, &g->b.records[link_index(a)], link_gen(a));
    cr_assert_eq(phase_of(g, a), PHASE_CLOSED);
    cr_assert(at_load(&g->b.records[link_index(a)].state, AT_RELAXED) & STATE_ERROR);
    cr_assert_eq(phase_of(g, b), PHASE_QUEUED);
    struct record *rb = claim(g, WORKER, b); /* skips the stale hint of a */
    task_seal(&g->lane[WORKER], rb, false);
    lane_drop(d, a);
    lane_drop(d, b);
    assert_all_free(g);
    rig_free(g);
}

/* It is over at once for all who wait for it; its record stays until no stack names it. */
Test(task, what_waits_is_counted_without_stale_hints)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
    uint64_t a = submit(d, NULL, 0, LINK_NONE), b = submit(d, NULL, 0, LINK_NONE);
    struct record *r = NULL;
    struct queue_item item;
    cr_expect_eq(task_ready_count(&g->b, 0), 2);
    cr_assert_eq(task_claim_hinted(w, 0, &r, &item), QUEUE_OK);
    cr_expect_eq(task_ready_count(&g->b, 0), 1,
                 "it runs, though its hint is still there");
    task_unhint(w, 0, &item);
    cr_expect_eq(task_ready_count(&g->b, 0), 1);
    task_seal(w, r, false);
    task_cancel(d, &g->b.records[link_index(b)], link_gen(b));
    cr_expect_eq(task_ready_count(&g->b, 0), 0, "nobody will run what was cancelled");
    lane_drop(d, a);
    lane_drop(d, b);
    assert_all_free(g);
    rig_free(g);
}

Test(task, cancel_ends_what_waits_for_arguments)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    uint64_t a = submit(d, NULL, 0, LINK_NONE), b = submit(d, NULL, 0, LINK_NONE);
    struct record *ra = claim(g, WORKER, a), *rb = claim(g, OTHER, b);
    uint64_t other = submit(d, (uint64_t[]){a}, 1, LINK_NONE);
    uint64_t c = submit(d, (uint64_t[]){a, b, a}, 3, LINK_NONE);
    uint64_t after = submit(d, (uint64_t[]){c}, 1, LINK_NONE);
    cr_assert_eq(phase_of(g, after), PHASE_WAITING);
    cancel(g, DRIVER, c);
    cr_assert_eq(phase_of(g, c), PHASE_DONE);
    cr_assert(at_load(&g->b.records[link_index(c)].state, AT_RELAXED) & STATE_ERROR);
    cr_assert_eq(phase_of(g, after), PHASE_QUEUED, "what waits for it goes on");
    cancel(g, OTHER, c); /* twice does nothing */
    lane_drop(d, c);
    task_seal(&g->lane[WORKER], claim(g, WORKER, after), true);
    lane_drop(d, after);
    task_seal(&g->lane[OTHER], rb, false);
    lane_drop(d, b);
    lane_reclaim(d);
    cr_assert_eq(phase_of(g, c), PHASE_DONE, "a's stack still names it");
    cr_assert_eq(phase_of(g, b), PHASE_CLOSED, "and it holds its arguments");
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], NULL), 0);
    cr_assert_eq(phase_of(g, c), PHASE_DONE);
    task_seal(&g->lane[WORKER], ra, false);
    cr_assert_eq(phase_of(g, other), PHASE_QUEUED, "below c on a's stack");
    cr_assert_neq(phase_of(g, c), PHASE_DONE);
    task_seal(&g->lane[WORKER], claim(g, WORKER, other), false);
    lane_drop(d, other);
    lane_drop(d, a);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], NULL), 0, "all counts are right");
    assert_all_free(g);
    rig_free(g);
}

/* A parent is closed by the argument that lets its last child go; and if the thread that brings it has
 * no pin left, by the daemon. */
Test(task, a_late_close_closes_the_parent)
{
    for (int no_pins = 0; no_pins < 2; no_pins++) {
        struct rig *g = rig_new();
        struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
        uint64_t x = submit(d, NULL, 0, LINK_NONE), top = submit(d, NULL, 0, LINK_NONE);
        uint64_t held = submit(d, NULL, 0, LINK_NONE), pin;
        struct record *rx = claim(g, OTHER, x), *rt = claim(g, WORKER, top);
        task_seal(w, claim(g, WORKER, held), false);
        uint64_t child = submit(w, (uint64_t[]){x}, 1, top);
        cancel(g, WORKER, child);
        lane_drop(w, child);
        task_seal(w, rt, false);
        cr_assert_eq(phase_of(g, top), PHASE_DONE);
        while (no_pins && lane_pin_open(&g->lane[OTHER], held, &pin)) {
        }
        at_store(&g->b.header->notice, 0, AT_RELAXED);
        task_seal(&g->lane[OTHER], rx, false);
        if (no_pins) {
            cr_assert_eq(phase_of(g, child), PHASE_DONE);
            cr_assert(at_load(&g->b.header->notice, AT_RELAXED) & NOTICE_RESCAN);
            cr_assert_not(sweep_rescan(&g->lane[DAEMON]));
        }
        cr_assert_neq(phase_of(g, child), PHASE_DONE);
        cr_assert_eq(phase_of(g, top), PHASE_CLOSED);
        rig_free(g);
    }
}

Test(task, an_attempt_that_lost_its_record_cannot_seal_it)
{
    struct rig *g = rig_new();
    uint64_t link = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    struct record *r = claim(g, WORKER, link);
    cr_assert_not(task_seal(&g->lane[OTHER], r, false));
    cr_assert(task_requeue(&g->lane[WORKER], r));
    cr_assert_not(task_seal(&g->lane[WORKER], r, false));
    cr_assert_not(task_requeue(&g->lane[WORKER], r));
    rig_free(g);
}

/* An id must never come to mean another object: a record whose generations are used up is not used again. */
Test(task, a_record_at_its_last_generation_retires)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    for (uint32_t i = 0; i < BOARD_BLOCK; i++) { /* before a lane has them */
        at_store(&g->b.records[i].state, state_make(UINT32_MAX, 0, 0, PHASE_FREE),
                 AT_RELAXED);
    }
    uint32_t retired = 0;
    for (uint32_t n = 0; n < 4 * BOARD_BLOCK; n++) {
        uint64_t link = submit(d, NULL, 0, LINK_NONE), s;
        bool last = link_gen(link) == UINT32_MAX;
        cr_assert(last || link_index(link) >= BOARD_BLOCK, "record %u came back",
                  link_index(link));
        task_seal(&g->lane[WORKER], claim(g, WORKER, link), false);
        lane_drop(d, link);
        lane_reclaim(d);
        s = at_load(&g->b.records[link_index(link)].state, AT_RELAXED);
        cr_assert_eq(state_phase(s), last ? PHASE_RETIRED : PHASE_FREE);
        cr_assert_null(lane_find(d, link, &s) && !state_gone(s) ? g : NULL);
        retired += last;
    }
    cr_assert_eq(retired, BOARD_BLOCK);
    rig_free(g);
}
