#include "store/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "core/park.h"
#include "core/status.h"
#include "store/request.h"
#include "store/task.h"

enum {
    ATTEMPTS_MAX_OF_ONE =
        64, /* tasks that one process runs at once, one inside another */
    SWEEP_ROUNDS_MAX = 64,
    /* A thread serves one record, and hangs one task on its arguments. */
    SERVED_MAX = BOARD_LEDGERS_MAX * (1 + MOB_ARGS_MAX),
    SERVED_A_STEP = 4, /* links of them that are compared in the time of a step */
    STEPS_A_RECORD = 256
};

struct attempt { /* a task that the dead one ran */
    uint64_t link;
    uint32_t number;
};

struct sweep {
    struct lane *d;
    struct board *b;
    uint32_t dead;
    bool ordered; /* the daemon ended it for one of its tasks */
    struct attempt attempts[ATTEMPTS_MAX_OF_ONE];
    uint32_t attempts_count;
    /* Links of sealed records whose successors this sweep serves, all of them: the dead one may have
     * taken their stack away, or the sweep itself gave a task on it its argument. */
    uint64_t served[SERVED_MAX];
    uint32_t served_count;
    /* Tasks that the dead one may not have hung on their last argument: one of each thread. */
    uint64_t hung[BOARD_LEDGERS_MAX];
    uint32_t hung_count;
    /* Entries of successor stacks looked at, and more than there can be: a client that ties its
     * stacks into rings, or says that it serves everything, must not keep the daemon busy. */
    uint64_t steps, steps_max;
    struct sweep_result result;
};

static uint32_t committed(const struct board *b)
{
    return board_committed(b);
}

/* ---- marks of the dead one outside the records ------------------------------------------------------ */

/* Takes back the promise of an idle worker to look at the next cell: the dead one may have made it,
 * and a submitter that believes it wakes nobody. A living one's costs a wake-up too many. */
static void clear_polled(struct board *b, uint32_t class)
{
    struct queue_view ready = board_ready(b, class);
    struct queue_item item;
    if (queue_peek(&ready, &item) == QUEUE_NONE) {
        (void)queue_unpoll(&ready, &item);
    }
}

static bool is_served(const struct sweep *w, uint64_t link)
{
    for (uint32_t i = 0; i < w->served_count; i++) {
        if (link_index(w->served[i]) == link_index(link) &&
            link_gen(w->served[i]) == link_gen(link)) {
            return true;
        }
    }
    return false;
}

/* Serves a record from now on if it is sealed. */
static void serve_sealed(struct sweep *w, uint64_t link)
{
    uint64_t s;
    if (link == LINK_NONE || !lane_find(w->d, link, &s) || !state_sealed_used(s) ||
        is_served(w, link)) {
        return;
    }
    if (w->served_count == SERVED_MAX) {
        w->result.corrupt = true;
    } else {
        w->served[w->served_count++] = link;
    }
}

static void clear_ledger(struct sweep *w, struct ledger *g)
{
    uint64_t touching = at_load(&g->touching, AT_ACQUIRE);
    serve_sealed(w, at_load(&g->finishing, AT_ACQUIRE));
    if (touching != LINK_NONE && link_ret(touching) != LINK_SUCCESSORS) {
        w->hung[w->hung_count++] = touching;
    }
    for (uint32_t k = 0; k < BOARD_PINS; k++) {
        at_store(&g->pin[k], LINK_NONE, AT_RELEASE);
    }
    at_store(&g->finishing, LINK_NONE, AT_RELEASE);
    at_store(&g->touching, LINK_NONE, AT_RELEASE);
    at_store(&g->entering, 0, AT_RELEASE);
    at_store(&g->owner, 0, AT_RELEASE);
}

static void clear_marks(struct sweep *w)
{
    struct board *b = w->b;
    uint32_t dead = w->dead;
    for (uint32_t i = 0; i < BOARD_LEDGERS_MAX; i++) {
        if ((at_load(&b->ledgers[i].owner, AT_ACQUIRE) & ~LEDGER_LEFT) == dead + 1) {
            clear_ledger(w, &b->ledgers[i]);
        }
    }
    for (uint32_t c = 0; c < CLASSES_MAX; c++) {
        if (at_load(&b->classes[c].made, AT_RELAXED)) {
            task_unpark(b, dead, c);
            clear_polled(b, c);
        }
    }
    at_and(&b->header->awake[dead / 64], ~(1ull << dead % 64), AT_RELAXED);
    /* Sites stand behind names. */
    for (uint32_t i = 0; i < BOARD_NAMES_MAX + BOARD_SITES_MAX; i++) {
        uint32_t claimed = NAME_CLAIMED(dead);
        (void)at_cas(&b->names[i].state, &claimed, NAME_FREE, AT_ACQ_REL);
    }
    for (uint32_t i = 0; i < BOARD_BLOCKS_MAX; i++) {
        uint32_t owner = dead + 1;
        (void)at_cas(&b->block_owner[i], &owner, DAEMON + 1, AT_ACQ_REL);
    }
}

void sweep_wake_all(struct board *b)
{
    for (uint32_t p = 1; p < PROCS_MAX; p++) {
        uint32_t state = at_load(&b->procs[p].state, AT_RELAXED);
        if (state != PROC_NONE && state != PROC_DEAD) {
            task_wake_process(b, p);
        }
    }
    at_add(&b->header->event, 1, AT_SEQ_CST);
    park_wake(&b->header->event, PARK_ALL);
    for (uint32_t c = 0; c < CLASSES_MAX; c++) {
        if (at_load(&b->classes[c].made, AT_RELAXED)) {
            at_add(&b->classes[c].room, 1, AT_SEQ_CST);
            park_wake(&b->classes[c].room, PARK_ALL);
        }
    }
}

/* ---- one record at a time --------------------------------------------------------------------------------- */

/* True if @t hangs on the stack of @x. Only asked while @x is not sealed, when nobody takes the
 * stack away; others may push meanwhile, which does not matter. */
static bool hangs_on(struct sweep *w, const struct record *x, uint32_t entry)
{
    struct board *b = w->b;
    uint32_t at = at_load(&x->succ, AT_ACQUIRE);
    for (; at != SUCC_EMPTY; w->steps++) {
        if (w->steps >= w->steps_max) {
            w->result.corrupt = true;
            return false;
        }
        if (at == entry) {
            return true;
        }
        struct record *t = board_record(b, succ_index(at));
        struct call call = t ? record_call(t) : (struct call){0};
        struct arg_ref *ref = t ? succ_ref(t, &call, at) : NULL;
        if (!ref) {
            return false;
        }
        at = at_load(&ref->next, AT_RELAXED);
    }
    return false;
}

/* Completes a submit that was cut off: nobody can know whether the task's children or caller
 * rely on it, and it may hang on stacks, so that it cannot simply vanish. It is marked cancelled. */
static void finish_creating(struct sweep *w, struct record *r, uint64_t s)
{
    struct call call = record_call(r);
    uint64_t next = state_to(s, PHASE_CREATING, DAEMON) | STATE_CANCEL;
    if (!at_cas(&r->state, &s, next, AT_SEQ_CST)) {
        return;
    }
    uint64_t refs = at_load(&r->refs, AT_RELAXED);
    uint64_t handles = 0xffull << REFS_HANDLE_SHIFT;
    while (!at_cas(&r->refs, &refs, refs & ~handles, AT_SEQ_CST)) {
    }
    w->result.cancelled++;
    if (call.fn == CALL_PUT) {
        task_set_error(r, MOB_ERR_LOST,
                       "the process that made the object died before it was "
                       "complete");
        task_seal(w->d, r, true);
        return;
    }
    for (uint32_t i = 0; i < call_nargs(&call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref = record_arg_ref(r, &call, i);
        if (!ref) {
            continue;
        }
        uint64_t link = at_load(&ref->link, AT_RELAXED), xs;
        struct record *x = lane_find(w->d, link, &xs); /* its use is counted */
        if (!x) { /* only on a board that somebody writes over */
            at_store(&ref->link, LINK_NONE, AT_RELAXED);
            at_or(&r->arrived, 1u << i, AT_SEQ_CST);
        } else if (state_sealed_used(xs) ||
                   !hangs_on(w, x, succ_entry(board_index(w->b, r), r, ref))) {
            task_await_arg(w->d, r, i, ref);
        }
        serve_sealed(w, link); /* it may be on a stack that a living process took away */
    }
    task_wait_for_args(w->d, r);
}

/* Holds a task that was being hung on its last argument. True if that is still to be seen to: it waits, or was
 * cancelled since. */
static bool hold_hung(struct sweep *w, struct record *r, uint32_t gen)
{
    uint64_t s = lane_touch(w->d, r);
    return state_gen(s) == gen && state_phase(s) >= PHASE_WAITING &&
           state_phase(s) <= PHASE_DONE;
}

/* Hangs a task on the argument that the dead one may not have come to. Of one that is sealed, or that is on a stack
 * which a living process took away, the sweep gives the argument. */
static void hang_hung(struct sweep *w, uint64_t link)
{
    struct record *r = board_record(w->b, link_index(link));
    bool open = r && hold_hung(w, r, link_gen(link));
    struct call call = r ? record_call(r) : (struct call){0};
    for (uint32_t i = 0; open && i < call_nargs(&call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref = record_arg_ref(r, &call, i);
        uint64_t s, arg = ref ? at_load(&ref->link, AT_RELAXED) : LINK_NONE;
        struct record *x = lane_find(w->d, arg, &s);
        if (!ref || !x || at_load(&r->arrived, AT_SEQ_CST) & 1u << i) {
            continue;
        }
        if (!state_sealed_used(s) &&
            !hangs_on(w, x, succ_entry(link_index(link), r, ref))) {
            /* Or it was sealed meanwhile, and the stack taken away. */
            task_await_arg(w->d, r, i, ref);
            open = hold_hung(w, r, link_gen(link));
        }
        serve_sealed(w, arg);
    }
    lane_untouch(w->d);
}

/* Gives a task its arguments that are served, also those that have arrived: the dead one may have died
 * before it made the task ready. Of other records it gives none: a living process that took their stack
 * away goes from task to task, and must find each still waiting. */
static void check_arrivals(struct sweep *w, struct record *r)
{
    if (w->served_count == 0) {
        return;
    }
    enum phase phase = state_phase(lane_touch(w->d, r));
    struct call call = record_call(r);
    bool open = phase >= PHASE_CREATING && phase <= PHASE_DONE;
    for (uint32_t i = 0; open && i < call_nargs(&call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref = record_arg_ref(r, &call, i);
        w->steps += ref ? w->served_count / SERVED_A_STEP : 0;
        w->result.corrupt |= w->steps > w->steps_max;
        if (ref && is_served(w, at_load(&ref->link, AT_RELAXED))) {
            task_arrive(w->d, r, i);
        }
    }
    lane_untouch(w->d);
}

/* A task that was cancelled while it waited: an argument that came must be told as to one that waits,
 * and the dead one may have been about to close it. */
static void check_cancelled(struct sweep *w, struct record *r, uint64_t s)
{
    struct call call = record_call(r);
    if (record_awaits_args(r, &call)) {
        check_arrivals(w, r);
    }
    if (state_phase(s) == PHASE_DONE) {
        (void)task_close_late(w->d, r, state_gen(s));
    }
}

/* True if the record was submitted or put by an attempt that died. */
static bool is_orphan(const struct sweep *w, const struct record *r)
{
    struct call call = record_call(r);
    uint64_t parent = at_load(&r->parent, AT_RELAXED);
    if ((call.fn != CALL_PUT && !(call_options(&call) & CALL_HAS_PARENT)) ||
        parent == LINK_NONE) {
        return false;
    }
    for (uint32_t i = 0; i < w->attempts_count; i++) {
        if (w->attempts[i].link == parent &&
            (w->attempts[i].number & 0xff) == r->parent_attempt) {
            return true;
        }
    }
    return false;
}

static void drop_orphan(struct sweep *w, struct record *r, uint64_t s)
{
    uint32_t gen = state_gen(s);
    uint64_t link = link_make(gen, board_index(w->b, r), 0);
    if (state_phase(s) < PHASE_DONE) {
        task_cancel(w->d, r, gen);
        w->result.cancelled++;
    }
    for (uint32_t i = 0; i < MOB_RETURNS_MAX; i++) {
        lane_drop(w->d, link | i);
    }
}

/* Sees to it that a record in phase DRAINING has somebody who frees its place, as whoever freed the
 * record may have died before it said so, or have found the ring full, or the owner is gone too.
 * False: the owner's ring is full now. */
static bool pass_on_draining(struct lane *d, struct record *r, uint64_t s, uint32_t dead)
{
    struct board *b = d->board;
    uint32_t owner = state_holder(s);
    if (owner == dead || owner >= PROCS_MAX ||
        at_load(&b->procs[owner].state, AT_ACQUIRE) == PROC_NONE) {
        if (!at_cas(&r->state, &s, state_to(s, PHASE_DRAINING, DAEMON), AT_SEQ_CST)) {
            return true;
        }
        owner = DAEMON;
    }
    if (owner == DAEMON) {
        lane_drain_own(d, r);
        return true;
    }
    struct queue_view ring = board_ring(b, owner);
    return queue_push(&ring, board_index(b, r)) <= QUEUE_OK_POLLED;
}

/* A record that the dead one freed. */
static void adopt_dead(struct sweep *w, struct record *r, uint64_t s)
{
    uint64_t refs = record_refs(r);
    if (refs >> 32 == state_gen(s) && refs & REFS_USES_MASK) {
        /* It died between lane_drop_last()'s step and its look at the uses; or the uses are its own, which it
         * owed, and the audit frees the record. */
        if (at_cas(&r->state, &s, state_to(s, PHASE_CLOSED, DAEMON), AT_SEQ_CST)) {
            lane_drop(w->d, link_make(state_gen(s), board_index(w->b, r), 0));
        }
    } else if (at_cas(&r->state, &s, state_to(s, PHASE_DEAD, DAEMON), AT_SEQ_CST)) {
        lane_adopt(w->d, r);
        w->result.freed++;
    }
}

static void sweep_record(struct sweep *w, struct record *r)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    bool held = state_holder(s) == w->dead;
    switch (state_phase(s)) {
    case PHASE_FREE:
    case PHASE_RETIRED:
        return;
    case PHASE_CREATING:
        if (held) {
            finish_creating(w, r, s);
        } else {
            check_arrivals(w, r);
        }
        return;
    case PHASE_WAITING:
        check_arrivals(w, r);
        if (held) { /* it may have died before its look at what has arrived */
            task_arrived(w->d, r, state_gen(s));
        }
        break;
    case PHASE_QUEUED:
        /* It made the task ready and may have died before it pushed the hint, or before it said that
         * there was no room for one. */
        if (held || state_holder(s) == UNHINTED) {
            struct call call = record_call(r);
            if (at_cas(&r->state, &s, state_to(s, PHASE_QUEUED, DAEMON), AT_SEQ_CST)) {
                task_make_ready(w->d, r, call_class(&call) % CLASSES_MAX);
            }
        }
        break;
    case PHASE_TAKEN: /* the dead one's own are in `attempts` */
        check_cancelled(w, r, s);
        break;
    case PHASE_DONE:
    case PHASE_CLOSED:
        if (held) { /* sealed, and maybe nobody was told */
            w->steps += task_drain_successors(w->d, r);
            w->result.corrupt |= w->steps > w->steps_max;
            task_wake_waiters(w->b, r, s);
        }
        check_cancelled(w, r, s);
        break;
    case PHASE_DEAD:
        if (held) {
            adopt_dead(w, r, s);
        } else if (state_holder(s) == DAEMON &&
                   !lane_in_limbo(w->d, board_index(w->b, r))) {
            /* The dead one left it to the daemon, and may not have said so. */
            lane_adopt(w->d, r);
        }
        return;
    case PHASE_DRAINING:
        w->result.freed += held;
        if (!pass_on_draining(w->d, r, s, w->dead)) {
            board_notice(w->b, NOTICE_RESCAN);
        }
        return;
    }
    if (is_orphan(w, r)) {
        drop_orphan(w, r, s);
    }
}

/* ---- the tasks that it ran ----------------------------------------------------------------------------------- */

static void collect_attempts(struct sweep *w)
{
    for (uint32_t i = 0; i < committed(w->b); i++) {
        uint64_t s = at_load(&w->b->records[i].state, AT_ACQUIRE);
        if (state_phase(s) == PHASE_TAKEN && state_holder(s) == w->dead &&
            w->attempts_count < ATTEMPTS_MAX_OF_ONE) {
            w->attempts[w->attempts_count++] =
                (struct attempt){link_make(state_gen(s), i, 0), state_attempt(s)};
        }
    }
}

static void end_attempt(struct sweep *w, const struct attempt *a, sweep_reason reason,
                        void *arg)
{
    struct record *r = &w->b->records[link_index(a->link)];
    struct call call = record_call(r);
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    do {
        if (state_phase(s) != PHASE_TAKEN || state_holder(s) != w->dead) {
            return;
        }
    } while (!at_cas(&r->state, &s, state_to(s, PHASE_TAKEN, DAEMON), AT_SEQ_CST));
    /* What the dead attempt returned lies in segments that drain away. */
    for (uint32_t i = 0; i < call_nrets(&call); i++) {
        record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
    }
    if (w->ordered && call.retries < CALL_RETRIES_FOREVER - 1) {
        call.retries++; /* it dies for another task's sake, which costs no retry */
        record_set_call(r, &call);
    }
    if (call_retries_left(&call, a->number) && !(s & STATE_CANCEL)) {
        task_requeue(w->d, r);
        w->result.requeued++;
        return;
    }
    mob_status error = s & STATE_CANCEL
                           ? request_reason(w->b, link_index(a->link), link_gen(a->link))
                           : MOB_ERR_TASK_DIED;
    if (reason) {
        reason(arg, r, error, a->number);
    } else {
        task_set_error(r, error, "");
    }
    task_seal(w->d, r, true);
    w->result.failed++;
}

/* All records, and once more if there are more to serve than when it began: the tasks that wait for
 * them may have been passed by. */
static void sweep_records(struct sweep *w)
{
    uint32_t served, rounds = 0;
    do {
        served = w->served_count;
        w->result.corrupt |= rounds++ == SWEEP_ROUNDS_MAX;
        for (uint32_t i = 0; i < committed(w->b) && !w->result.corrupt; i++) {
            sweep_record(w, &w->b->records[i]);
        }
    } while (w->served_count > served && !w->result.corrupt);
}

void sweep_process(struct lane *d, uint32_t process, bool ordered, sweep_reason reason,
                   void *arg, struct sweep_result *ret)
{
    struct sweep w;
    w.d = d;
    w.b = d->board;
    w.dead = process;
    w.ordered = ordered;
    w.steps = 0;
    w.served_count = w.hung_count = 0;
    w.result = (struct sweep_result){0};
    w.steps_max = (uint64_t)committed(w.b) * STEPS_A_RECORD;
    /* Its segments are the daemon's now, then the looks at records; pairs with the fence in
     * free.c's drain_places(), which hands a record to a segment's owner and then looks again. */
    at_fence();
    clear_marks(&w);
    for (uint32_t i = 0; i < w.hung_count; i++) {
        hang_hung(&w, w.hung[i]);
    }
    for (int round = 0;; round++) { /* more than one only if the board was scribbled on */
        w.attempts_count = 0;
        collect_attempts(&w);
        sweep_records(&w);
        for (uint32_t i = 0; i < w.attempts_count; i++) {
            end_attempt(&w, &w.attempts[i], reason, arg);
        }
        if (w.attempts_count < ATTEMPTS_MAX_OF_ONE || w.result.corrupt) {
            break;
        }
        w.result.corrupt |= round == SWEEP_ROUNDS_MAX;
    }
    at_store(&w.b->procs[process].run, RUN_NONE, AT_RELAXED);
    at_store(&w.b->procs[process].state, PROC_NONE, AT_RELEASE);
    sweep_wake_all(w.b);
    lane_reclaim(d);
    *ret = w.result;
}

/* ---- now and then ------------------------------------------------------------------------------------------------ */

bool sweep_rescan(struct lane *d)
{
    struct board *b = d->board;
    bool again = false;
    for (uint32_t i = 0; i < committed(b); i++) {
        struct record *r = &b->records[i];
        uint64_t s = at_load(&r->state, AT_ACQUIRE);
        if (state_phase(s) == PHASE_QUEUED && state_holder(s) == UNHINTED) {
            struct call call = record_call(r);
            if (at_cas(&r->state, &s, state_to(s, PHASE_QUEUED, DAEMON), AT_SEQ_CST)) {
                task_make_ready(d, r, call_class(&call) % CLASSES_MAX);
                again |= state_holder(at_load(&r->state, AT_RELAXED)) == UNHINTED;
            }
        } else if (state_phase(s) == PHASE_DEAD && state_holder(s) == DAEMON) {
            /* Up to what lane_reclaim() keeps of pinned ones: the others wait their turn here. */
            if (d->limbo_count < LANE_LIMBO / 2) {
                if (!lane_in_limbo(d, i)) {
                    lane_adopt(d, r);
                }
            } else {
                again |= !lane_in_limbo(d, i);
            }
        } else if (state_phase(s) == PHASE_DONE) {
            again |= !task_close_late(d, r, state_gen(s));
        } else if (state_phase(s) == PHASE_DRAINING) {
            again |= !pass_on_draining(d, r, s, PROCS_MAX);
        }
    }
    lane_reclaim(d);
    return again;
}

uint32_t sweep_blocks(struct lane *d)
{
    struct board *b = d->board;
    uint32_t count = committed(b) / BOARD_BLOCK, ready = 0;
    for (uint32_t k = 0; k < count && k < BOARD_BLOCKS_MAX; k++) {
        uint32_t owner = at_load(&b->block_owner[k], AT_ACQUIRE);
        if (owner != DAEMON + 1 || d->block_slot[k]) {
            ready += owner == 0;
            continue; /* nobody's, others', or the daemon's own */
        }
        bool free = true;
        for (uint32_t i = 0; free && i < BOARD_BLOCK; i++) {
            enum phase p =
                state_phase(at_load(&b->records[k * BOARD_BLOCK + i].state, AT_ACQUIRE));
            free = p == PHASE_FREE || p == PHASE_RETIRED;
        }
        if (free) {
            at_store(&b->block_owner[k], 0, AT_RELEASE);
            ready++;
        }
    }
    return ready;
}
