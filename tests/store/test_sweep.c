/* What the daemon finds on a board after a death, and puts right. */
#include "rig.h"

static void kill_worker(struct rig *g, uint32_t process, struct sweep_result *ret)
{
    memset(ret, 0, sizeof *ret);
    sweep_process(&g->lane[DAEMON], process, false, NULL, NULL, ret);
    struct sweep_result twice;
    sweep_process(&g->lane[DAEMON], process, false, NULL, NULL, &twice);
    cr_assert_eq(twice.requeued + twice.failed + twice.freed, 0,
                 "a second sweep finds nothing");
    free(g->lane[process].blocks); /* private memory dies too */
    free(g->lane[process].block_slot);
    cr_assert_eq(lane_init(&g->lane[process], &g->b, process, count_freed, g), MOB_OK);
}

Test(sweep, a_dead_workers_task_runs_again_and_then_fails)
{
    struct rig *g = rig_new();
    struct sweep_result res;
    uint64_t link = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    claim(g, WORKER, link);
    kill_worker(g, WORKER, &res);
    cr_assert_eq(res.requeued, 1);
    claim(g, WORKER, link);
    kill_worker(g, WORKER, &res);
    cr_assert_eq(res.failed, 1);
    struct record *r = &g->b.records[link_index(link)];
    cr_assert(at_load(&r->state, AT_RELAXED) & STATE_ERROR);
    cr_assert_eq((int)at_load(&r->error, AT_RELAXED), MOB_ERR_TASK_DIED);
    lane_drop(&g->lane[DRIVER], link);
    assert_all_free(g);
    rig_free(g);
}

Test(sweep, what_a_dead_attempt_submitted_is_cancelled_and_freed)
{
    struct rig *g = rig_new();
    struct lane *w = &g->lane[WORKER];
    struct sweep_result res;
    uint64_t top = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    claim(g, WORKER, top);
    uint64_t a = submit(w, NULL, 0, top), b = submit(w, (uint64_t[]){a}, 1, top);
    kill_worker(g, WORKER, &res);
    cr_assert_eq(res.cancelled, 2);
    struct record *r;
    struct queue_item item;
    while (task_claim(&g->lane[OTHER], 0, &r, &item) == QUEUE_OK) {
        task_seal(&g->lane[OTHER], r, at_load(&r->state, AT_RELAXED) & STATE_CANCEL);
    }
    (void)b;
    cr_assert_eq(phase_of(g, top), PHASE_CLOSED);
    lane_drop(&g->lane[DRIVER], top);
    sweep_audit(&g->lane[DAEMON], NULL);
    assert_all_free(g);
    rig_free(g);
}

/* Each step of a cancel after which its process may be dead, and of the argument that comes then. */
Test(sweep, a_cancel_that_was_cut_off_is_completed)
{
    for (int step = 0; step < 3; step++) {
        struct rig *g = rig_new();
        struct lane *d = &g->lane[DRIVER];
        struct sweep_result res;
        uint64_t x = submit(d, NULL, 0, LINK_NONE);
        struct record *rx = claim(g, OTHER, x);
        uint64_t t = submit(d, (uint64_t[]){x}, 1, LINK_NONE);
        struct record *rt = &g->b.records[link_index(t)];
        uint64_t s = at_load(&rt->state, AT_RELAXED);
        if (step == 0) { /* taken, and not sealed */
            at_store(&rt->state, state_to(s, PHASE_TAKEN, WORKER) | STATE_CANCEL,
                     AT_RELAXED);
            kill_worker(g, WORKER, &res);
            cr_assert_eq(at_load(&rt->error, AT_RELAXED), (uint32_t)MOB_ERR_CANCELLED);
            cr_assert_eq(phase_of(g, t), PHASE_DONE);
            task_seal(&g->lane[OTHER], rx, false);
        } else if (step == 1) { /* sealed; the argument's maker dies before it says so */
            cancel(g, WORKER, t);
            at_store(&rx->succ, SUCC_EMPTY, AT_RELAXED);
            task_seal(&g->lane[OTHER], rx, false);
            lane_finishing(&g->lane[OTHER], x);
            cr_assert_eq(phase_of(g, t), PHASE_DONE);
            kill_worker(g, OTHER, &res);
        } else { /* ... or after it said so, and before it closes the task */
            cancel(g, WORKER, t);
            at_store(&rx->succ, SUCC_EMPTY, AT_RELAXED);
            task_seal(&g->lane[OTHER], rx, false);
            lane_finishing(&g->lane[OTHER], x);
            at_or(&rt->arrived, 2, AT_RELAXED);
            kill_worker(g, OTHER, &res);
        }
        cr_assert_eq(phase_of(g, t), PHASE_CLOSED, "step %d", step);
        lane_drop(d, t);
        lane_drop(d, x);
        assert_all_free(g);
        rig_free(g);
    }
}

Test(sweep, a_submit_that_was_cut_off_leaves_nothing)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
    struct sweep_result res;
    uint64_t x = submit(d, NULL, 0, LINK_NONE),
             top = submit(d, (uint64_t[]){x}, 1, LINK_NONE);
    struct record *rx = claim(g, OTHER, x), *r;
    /* As far as task_publish() comes before it hangs the second argument. */
    struct call call = {.counts = call_counts(2, 1), .class_options = CALL_HAS_REFS << 4};
    cr_assert_eq(lane_record(w, &r), MOB_OK);
    task_begin(w, r, &call, top);
    task_add_ref(r, 0, x);
    task_add_ref(r, 1, x);
    lane_use(w, x);
    lane_use(w, x);
    at_store(&r->state, state_make(lane_gen(r), WORKER, 0, PHASE_CREATING), AT_RELAXED);
    struct call two = {.counts = call_counts(2, 1), .len = {ARG_REF, ARG_REF}};
    task_await_arg(w, r, 0, record_arg_ref(r, &two, 0));
    kill_worker(g, WORKER, &res);
    task_seal(&g->lane[OTHER], rx, false);
    struct queue_item item;
    while (task_claim(&g->lane[OTHER], 0, &rx, &item) == QUEUE_OK) {
        task_seal(&g->lane[OTHER], rx, at_load(&rx->state, AT_RELAXED) & STATE_CANCEL);
    }
    lane_drop(d, x);
    lane_drop(d, top);
    sweep_audit(&g->lane[DAEMON], NULL);
    assert_all_free(g);
    rig_free(g);
}

Test(sweep, counts_that_a_death_left_too_high_are_corrected)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
    uint64_t x = submit(d, NULL, 0, LINK_NONE), top = submit(d, NULL, 0, LINK_NONE);
    task_seal(w, claim(g, WORKER, x), false);
    struct record *rt = claim(g, WORKER, top);
    lane_use(w, x);                /* a use of nobody */
    task_add_child(&g->b, top, 0); /* a child of nobody */
    task_seal(w, rt, false);
    lane_drop(d, x);
    lane_drop(d, top);
    cr_assert_eq(phase_of(g, top), PHASE_DONE);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], NULL), 2);
    assert_all_free(g);
    rig_free(g);
}

/* What a death left too high hides behind true uses and children: it is in doubt until those are
 * gone, and then it is corrected. */
Test(sweep, counts_that_are_too_high_behind_true_ones_stay_in_doubt)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
    bool again;
    uint64_t x = submit(d, NULL, 0, LINK_NONE), top = submit(d, NULL, 0, LINK_NONE);
    uint64_t user = submit(d, (uint64_t[]){x}, 1, LINK_NONE);
    task_seal(w, claim(g, WORKER, x), false);
    struct record *rt = claim(g, WORKER, top);
    struct record *ru = claim(g, WORKER, user);
    uint64_t child = submit(w, NULL, 0, top);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], &again), 0);
    cr_assert_not(again, "nothing is in doubt");
    lane_use(w, x); /* a use of nobody, beside that of `user` */
    lane_drop(d, x);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], &again), 0);
    cr_assert(again, "a use is in doubt");
    task_seal(w, ru, false);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], &again), 1);
    cr_assert_not(again);
    task_add_child(&g->b, top, 0); /* a child of nobody, beside `child` */
    task_seal(w, rt, false);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], &again), 0);
    cr_assert(again, "a child is in doubt");
    task_seal(w, claim(g, WORKER, child), false);
    cr_assert_eq(phase_of(g, top), PHASE_DONE);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], &again), 1);
    cr_assert_not(again);
    lane_drop(d, top);
    lane_drop(d, user);
    lane_drop(w, child);
    assert_all_free(g);
    rig_free(g);
}

/* An id that is held hides its count too. */
Test(sweep, counts_that_are_too_high_under_an_id_stay_in_doubt)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
    bool again;
    uint64_t x = submit(d, NULL, 0, LINK_NONE);
    task_seal(w, claim(g, WORKER, x), false);
    lane_use(w, x);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], &again), 0);
    cr_assert(again);
    lane_drop(d, x);
    cr_assert_eq(phase_of(g, x), PHASE_CLOSED);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], &again), 1);
    cr_assert_not(again);
    assert_all_free(g);
    rig_free(g);
}

/* An idle worker that marked the next cell and died relies on nobody, and nobody on it: the next
 * push must wake somebody. */
Test(sweep, a_dead_workers_promise_to_look_is_taken_back)
{
    struct rig *g = rig_new();
    struct queue_view ready = board_ready(&g->b, 0);
    struct queue_item item;
    struct sweep_result res;
    cr_assert_eq(queue_peek(&ready, &item), QUEUE_NONE);
    cr_assert(queue_poll(&ready, &item));
    task_park(&g->b, OTHER, 0);
    uint32_t wake = at_load(&g->b.procs[OTHER].wake, AT_RELAXED);
    sweep_process(&g->lane[DAEMON], WORKER, false, NULL, NULL, &res);
    uint64_t x = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    cr_assert_neq(at_load(&g->b.procs[OTHER].wake, AT_RELAXED), wake,
                  "nobody was woken for the task");
    task_seal(&g->lane[OTHER], claim(g, OTHER, x), false);
    lane_drop(&g->lane[DRIVER], x);
    assert_all_free(g);
    rig_free(g);
}

/* The daemon ended a worker for one of its tasks: that one does not run again, the others lose nothing by it. */
Test(sweep, a_death_that_was_ordered_costs_the_others_no_retry)
{
    struct rig *g = rig_new();
    struct sweep_result res;
    uint64_t x = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE), y;
    for (uint32_t i = 0; i < 5; i++) {
        struct record *r = claim(g, WORKER, x);
        y = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
        (void)claim(g, WORKER, y);
        cancel(g, DRIVER, y);
        sweep_process(&g->lane[DAEMON], WORKER, true, NULL, NULL, &res);
        cr_assert_eq(res.requeued, 1);
        cr_assert_eq(res.failed, 1);
        cr_assert_eq(phase_of(g, y), PHASE_CLOSED);
        lane_drop(&g->lane[DRIVER], y);
        cr_assert_eq(phase_of(g, x), PHASE_QUEUED);
        cr_assert_eq(state_attempt(at_load(&r->state, AT_RELAXED)), i + 1);
    }
    for (uint32_t died = 0; died < 2;
         died++) { /* of itself: one retry, as it was submitted with */
        (void)claim(g, WORKER, x);
        sweep_process(&g->lane[DAEMON], WORKER, false, NULL, NULL, &res);
        cr_assert_eq(phase_of(g, x), died ? PHASE_CLOSED : PHASE_QUEUED);
    }
    lane_drop(&g->lane[DRIVER], x);
    assert_all_free(g);
    rig_free(g);
}

/* A put in a task is held by an id that nobody knows once its worker is dead. */
Test(sweep, what_a_dead_attempt_put_goes_with_it)
{
    struct rig *g = rig_new();
    struct lane *w = &g->lane[WORKER];
    struct call put = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct record *r;
    struct sweep_result res;
    uint64_t top = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    (void)claim(g, WORKER, top);
    cr_assert_eq(lane_record(w, &r), MOB_OK);
    task_begin(w, r, &put, LINK_NONE);
    at_store(&r->parent, top, AT_RELAXED);
    r->parent_attempt = 0;
    uint32_t gen = lane_gen(r);
    at_store(&r->state, state_make(gen, WORKER, 0, PHASE_CREATING), AT_SEQ_CST);
    cr_assert(task_seal(w, r, false));
    uint64_t link = link_make(gen, board_index(&g->b, r), 0);
    cr_assert_eq(phase_of(g, link), PHASE_CLOSED);
    sweep_process(&g->lane[DAEMON], WORKER, false, NULL, NULL, &res);
    cr_assert_eq(phase_of(g, link), PHASE_FREE);
    task_seal(&g->lane[OTHER], claim(g, OTHER, top), false);
    lane_drop(&g->lane[DRIVER], top);
    assert_all_free(g);
    rig_free(g);
}

/* A process that goes to sleep leaves what is pinned to the daemon, by the daemon's ring; if it dies
 * before it pushed, the sweep finds it. */
Test(sweep, what_is_left_pinned_is_the_daemons)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER], *daemon = &g->lane[DAEMON];
    struct sweep_result res;
    for (int dies = 0; dies < 2; dies++) {
        uint64_t x = submit(d, NULL, 0, LINK_NONE), pin;
        struct record *r = claim(g, WORKER, x);
        record_set_place(r, 0, PLACE_ARENA, 3, 64, 100);
        at_store(&g->b.segments[3], SEGMENT_USED | (uint64_t)DAEMON << 40, AT_RELAXED);
        task_seal(w, r, false);
        cr_assert_eq(lane_pin(d, x, &pin), MOB_OK);
        lane_drop(w, x);
        cr_assert_eq(phase_of(g, x), PHASE_DEAD);
        lane_rest(w);
        cr_assert_eq(state_holder(at_load(&r->state, AT_RELAXED)), DAEMON);
        if (dies) { /* as if it had not pushed: the hint is lost */
            struct queue_view ring = board_ring(&g->b, DAEMON);
            struct queue_item item;
            cr_assert_eq(queue_peek(&ring, &item), QUEUE_OK);
            cr_assert(queue_take(&ring, &item));
            sweep_process(daemon, WORKER, false, NULL, NULL, &res);
        } else {
            cr_assert(lane_drain_ring(daemon));
        }
        cr_assert(lane_in_limbo(daemon, link_index(x)));
        lane_reclaim(daemon);
        cr_assert_eq(phase_of(g, x), PHASE_DEAD, "it is pinned");
        lane_unpin(d, pin);
        lane_reclaim(daemon);
        cr_assert_eq(phase_of(g, x), PHASE_FREE);
    }
    rig_free(g);
}

Test(sweep, an_audit_leaves_alone_what_is_in_use)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER], *w = &g->lane[WORKER];
    uint64_t x = submit(d, NULL, 0, LINK_NONE),
             y = submit(d, (uint64_t[]){x}, 1, LINK_NONE);
    task_seal(w, claim(g, WORKER, x), false);
    lane_drop(d, x);
    cr_assert_eq(sweep_audit(&g->lane[DAEMON], NULL), 0);
    cr_assert_eq(phase_of(g, x), PHASE_CLOSED);
    task_seal(w, claim(g, WORKER, y), false);
    lane_drop(d, y);
    assert_all_free(g);
    rig_free(g);
}

Test(sweep, blocks_of_an_ended_lane_are_leased_again)
{
    struct rig *g = rig_new();
    uint64_t link = submit(&g->lane[OTHER], NULL, 0, LINK_NONE);
    uint32_t block = link_index(link) / BOARD_BLOCK;
    lane_fini(&g->lane[OTHER]);
    sweep_blocks(&g->lane[DAEMON]);
    cr_assert_eq(at_load(&g->b.block_owner[block], AT_RELAXED), DAEMON + 1, "in use");
    task_seal(&g->lane[WORKER], claim(g, WORKER, link), false);
    lane_drop(&g->lane[DRIVER], link);
    lane_reclaim(&g->lane[DRIVER]);
    sweep_blocks(&g->lane[DAEMON]);
    cr_assert_eq(at_load(&g->b.block_owner[block], AT_RELAXED), 0);
    cr_assert_eq(lane_init(&g->lane[OTHER], &g->b, OTHER, count_freed, g), MOB_OK);
    rig_free(g);
}

/* The queue was full, and the process died before it told the daemon to push the task later. */
Test(sweep, a_task_for_which_there_was_no_room_is_pushed)
{
    struct rig *g = rig_new();
    struct sweep_result res;
    struct record *r;
    struct queue_item item;
    uint64_t x = submit(&g->lane[WORKER], NULL, 0, LINK_NONE);
    r = &g->b.records[link_index(x)];
    cr_assert_eq(queue_peek(&g->lane[OTHER].ready[0], &item), QUEUE_OK);
    cr_assert(queue_take(&g->lane[OTHER].ready[0], &item));
    uint64_t s = at_load(&r->state, AT_RELAXED);
    at_store(&r->state, state_to(s, PHASE_QUEUED, UNHINTED), AT_RELAXED);
    assert_no_task(g);
    kill_worker(g, WORKER, &res);
    task_seal(&g->lane[OTHER], claim(g, OTHER, x), false);
    lane_drop(&g->lane[DRIVER], x);
    assert_all_free(g);
    rig_free(g);
}
