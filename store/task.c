/* task.c - a task from its first byte to QUEUED: filled, published, hung on its arguments. */
#include "store/task.h"
#include "store/timeline.h"

/* ---- submitting ----------------------------------------------------------------------------------- */

void task_begin(struct lane *l, struct record *r, const struct call *call,
                uint64_t parent)
{
    (void)l;
    struct call c = *call;
    if (parent != LINK_NONE) {
        c.class_options |= CALL_HAS_PARENT << 4;
    }
    task_fill(r, lane_gen(r), &c, parent);
    for (uint32_t i = 0; i < call_nrets(call); i++) {
        record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
    }
}

static void *reserve(struct record *r, uint32_t size)
{
    uint32_t at = at_load(&r->fill, AT_RELAXED);
    if (at + size > RECORD_PAYLOAD) {
        return NULL;
    }
    at_store(&r->fill, at + size, AT_RELAXED);
    return r->payload + at;
}

void *task_add_value(struct record *r, uint32_t arg, size_t size)
{
    void *room = reserve(r, ((uint32_t)size + 7u) & ~7u);
    if (room) {
        record_set_arg_len(r, arg, (uint8_t)size);
        at_store(&r->arrived, at_load(&r->arrived, AT_RELAXED) | 1u << arg, AT_RELAXED);
    }
    return room;
}

bool task_add_ref(struct record *r, uint32_t arg, uint64_t link)
{
    struct arg_ref *ref = reserve(r, sizeof *ref);
    if (!ref) {
        return false;
    }
    record_set_arg_len(r, arg, ARG_REF);
    at_store(&ref->link, link, AT_RELAXED);
    at_store(&ref->next, SUCC_EMPTY, AT_RELAXED);
    at_store(&ref->arg, arg, AT_RELAXED);
    return true;
}

static inline void push(struct record *x, uint32_t entry, struct arg_ref *ref)
{
    uint32_t head = at_load(&x->succ, AT_RELAXED);
    do {
        at_store(&ref->next, head, AT_RELAXED);
    } while (!at_cas(&x->succ, &head, entry, AT_SEQ_CST));
}

/* Hangs an argument of a task on the stack of its maker @x. The use that we hold keeps @x there. */
static inline void hang(struct lane *l, struct record *x, uint32_t entry,
                        struct arg_ref *ref)
{
    push(x, entry, ref);
    /* Pushed, then looked: pairs with task_seal(), which seals and then looks at the stack. */
    if (state_sealed_used(at_load(&x->state, AT_SEQ_CST))) {
        lane_finishing(l, at_load(&ref->link, AT_RELAXED) & ~(uint64_t)LINK_SUCCESSORS);
        task_drain_successors(l, x);
        lane_finished(l);
    }
}

void task_await_arg(struct lane *l, struct record *t, uint32_t arg, struct arg_ref *ref)
{
    struct record *x =
        board_record(l->board, link_index(at_load(&ref->link, AT_RELAXED)));
    /* None only for the daemon, on a board that somebody writes over. */
    if (!x || state_sealed_used(at_load(&x->state, AT_ACQUIRE))) {
        at_or(&t->arrived, 1u << arg, AT_SEQ_CST);
    } else {
        hang(l, x, succ_entry(board_index(l->board, t), t, ref), ref);
    }
}

/* Hangs a task on the last maker that it waits for. It cannot have all its arguments before, and whoever brings the
 * last one has come by this push, or by who has: so he finds it WAITING, and nobody need look at what has arrived.
 * From the push on the task may run, end and be another one, and its use keeps @x no longer; but this thread does
 * since before the push, so whoever frees @x knows. Both are named, in case we die in between: hang_hung() in
 * sweep.c. */
static inline void hang_last(struct lane *l, struct record *r, uint64_t link,
                             const struct task_open *open)
{
    struct record *x = open->maker;
    lane_finishing(l, at_load(&open->ref->link, AT_RELAXED) & ~(uint64_t)LINK_SUCCESSORS);
    lane_hanging(l, link);
    /* Nobody knows the task, or it is on stacks whose owners look at what has arrived first; so a store does it. A
     * cancel with its parent that comes in between is seen by task_obey_parent(). */
    at_store(&r->state, state_make(link_gen(link), l->self, 0, PHASE_WAITING),
             AT_RELEASE);
    push(x, succ_entry(link_index(link), r, open->ref), open->ref);
    lane_untouch(l);
    if (__builtin_expect(state_sealed_used(at_load(&x->state, AT_SEQ_CST)), 0)) {
        task_drain_successors(l, x);
    }
    lane_finished(l);
}

void task_publish_waiting(struct lane *l, struct record *r, uint64_t link,
                          const struct task_open *open, uint32_t count)
{
    uint32_t last = count - 1;
    if (last) {
        /* Release: who sees CREATING, or finds the task on a stack, sees its arguments. */
        at_store(&r->state, state_make(link_gen(link), l->self, 0, PHASE_CREATING),
                 AT_RELEASE);
    }
    for (uint32_t i = 0; i < last; i++) {
        hang(l, open[i].maker, succ_entry(link_index(link), r, open[i].ref), open[i].ref);
    }
    hang_last(l, r, link, &open[last]);
}

/* Takes back the uses of the arguments before @end. */
static void unuse_before(struct lane *l, struct record *r, const struct call *call,
                         const struct arg_ref *end)
{
    struct arg_walk w = arg_walk(call);
    const struct arg_ref *ref;
    while ((ref = arg_walk_on(&w, r, call)) != end) {
        lane_unuse(l, at_load(&ref->link, AT_RELAXED));
    }
}

/* The general form, for tasks with arguments by id. @ret_open: those that are not there yet, @ret_count of
 * them. A death here leaves uses that nobody has, which the audit finds. */
static mob_status use_args(struct lane *l, struct record *r, const struct call *call,
                           struct task_open *ret_open, uint32_t *ret_count)
{
    struct arg_walk w = arg_walk(call);
    uint32_t count = 0, arrived = at_load(&r->arrived, AT_RELAXED);
    struct arg_ref *ref;
    while ((ref = arg_walk_on(&w, r, call))) {
        uint64_t link = at_load(&ref->link, AT_RELAXED), s = 0;
        mob_status st = lane_use_fast(l, link, &s) ? MOB_OK : lane_use(l, link);
        if (st) {
            unuse_before(l, r, call, ref);
            return st;
        }
        if (state_sealed(s)) {
            arrived |= 1u << w.arg;
        } else {
            ret_open[count++] =
                (struct task_open){&l->board->records[link_index(link)], ref};
        }
    }
    at_store(&r->arrived, arrived, AT_RELAXED);
    *ret_count = count;
    return MOB_OK;
}

bool task_wait_for_args(struct lane *l, struct record *r)
{
    struct call call = record_call(r);
    uint64_t s = at_load(&r->state, AT_RELAXED), next;
    do {
        if (state_phase(s) != PHASE_CREATING) {
            return false;
        }
        next = state_to(s, PHASE_WAITING, l->self);
    } while (!at_cas(&r->state, &s, next, AT_SEQ_CST));
    /* WAITING, then a look at the arrivals: pairs with task_arrive(), which marks an arrival and
     * then looks at the phase. */
    while (state_phase(next) == PHASE_WAITING && state_gen(next) == state_gen(s) &&
           at_load(&r->arrived, AT_SEQ_CST) == record_all_args(&call)) {
        if (at_cas(&r->state, &next, state_to(next, PHASE_QUEUED, l->self), AT_SEQ_CST)) {
            task_make_ready(l, r, call_class(&call));
            break;
        }
    }
    if (s & STATE_CANCEL) { /* while it was being made: who cancelled left it to us */
        task_cancel(l, r, state_gen(s));
    }
    return true;
}

mob_status task_publish(struct lane *l, struct record *r, uint64_t *ret_link)
{
    struct call call = record_call(r);
    struct task_open open[MOB_ARGS_MAX];
    uint64_t link = link_make(lane_gen(r), board_index(l->board, r), 0);
    uint32_t count = 0;
    if (call_options(&call) & CALL_HAS_REFS) {
        MOB_TRY(use_args(l, r, &call, open, &count));
    }
    if (count) {
        task_publish_waiting(l, r, link, open, count);
    } else {
        /* The record is the lane's own and nobody knows it: one store publishes it. Release: who
         * sees QUEUED sees the arguments; pairs with the claim. */
        at_store(&r->state, state_make(link_gen(link), l->self, 0, PHASE_QUEUED),
                 AT_RELEASE);
        task_make_ready(l, r, call_class(&call));
    }
    *ret_link = link;
    return MOB_OK;
}

/* ---- tasks that the daemon keeps ------------------------------------------------------------------------ */

mob_status task_publish_kept(struct lane *l, struct record *r, uint64_t *ret_link)
{
    struct call call = record_call(r);
    struct task_open open[MOB_ARGS_MAX];
    uint32_t count = 0;
    if (call_options(&call) & CALL_HAS_REFS) {
        MOB_TRY(use_args(l, r, &call, open, &count));
    }
    *ret_link = link_make(lane_gen(r), board_index(l->board, r), 0);
    /* Release: who sees CREATING sees the arguments; pairs with the step of task_keep(). */
    at_store(&r->state, state_make(link_gen(*ret_link), l->self, 0, PHASE_CREATING),
             AT_RELEASE);
    return MOB_OK;
}

void task_unpublish_kept(struct lane *l, struct record *r)
{
    struct call call = record_call(r);
    unuse_before(l, r, &call, NULL);
    lane_unrecord(l, r);
}

bool task_keep(struct lane *d, struct record *r, uint32_t gen, uint32_t from)
{
    struct call call = record_call(r);
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    do {
        if (state_gen(s) != gen || state_phase(s) != PHASE_CREATING ||
            state_holder(s) != from) {
            return false;
        }
    } while (!at_cas(&r->state, &s, state_to(s, PHASE_TAKEN, d->self), AT_SEQ_CST));
    /* It hangs on nobody's stack, and never waits: the tasks that are made after it do. */
    at_store(&r->arrived, record_all_args(&call), AT_SEQ_CST);
    return true;
}

bool task_keep_on(struct lane *d, struct record *r)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    do {
        if (state_phase(s) != PHASE_TAKEN || state_holder(s) != d->self) {
            return false;
        }
    } while (
        !at_cas(&r->state, &s, state_with_attempt(s, state_attempt(s) + 1), AT_SEQ_CST));
    return true;
}

/* ---- successors ------------------------------------------------------------------------------------- */

/* WAITING -> TAKEN by a worker that keeps it, else QUEUED. False: @io_s, what the state is, says why. */
static inline bool step_ready(struct lane *l, struct record *t, uint64_t *io_s,
                              const struct call *call)
{
    uint64_t was = *io_s;
    bool keeps = l->keeping == call_class(call) + 1 && !l->kept;
    uint64_t next = state_to(was, keeps ? PHASE_TAKEN : PHASE_QUEUED, l->self);
    if (!at_cas(&t->state, io_s, next, AT_SEQ_CST)) {
        return false;
    }
    if (!keeps) {
        task_make_ready(l, t, call_class(call));
        return true;
    }
    l->kept = t;
    if (__builtin_expect(l->timeline != NULL, 0)) {
        timeline_ready(l, link_make(state_gen(was), board_index(l->board, t), 0));
    }
    return true;
}

/* All arguments of @t are there. */
static void all_arrived(struct lane *l, struct record *t, uint32_t gen,
                        const struct call *call)
{
    /* Marked, then looked: pairs with task_wait_for_args(), and with the seal of a task that was
     * cancelled while it waited. */
    uint64_t s = at_load(&t->state, AT_SEQ_CST);
    while (state_gen(s) == gen && state_phase(s) == PHASE_WAITING) {
        if (step_ready(l, t, &s, call)) {
            return;
        }
    }
    if (__builtin_expect(state_gen(s) == gen && state_phase(s) == PHASE_DONE, 0)) {
        (void)task_close_late(l, t, gen);
    }
}

void task_arrived(struct lane *l, struct record *t, uint32_t gen)
{
    struct call call = record_call(t);
    if (at_load(&t->arrived, AT_SEQ_CST) == record_all_args(&call)) {
        all_arrived(l, t, gen, &call);
    }
}

/* @s, @call: of the task, while it is held. */
static inline void arrive(struct lane *l, struct record *t, uint32_t arg, uint64_t s,
                          const struct call *call)
{
    uint32_t bit = 1u << arg, all = record_all_args(call);
    /* If all others are there already, nobody writes the word any more but to set this bit too, so a store does;
     * and it needs no look at the phase behind it if the step shows that the task was WAITING still. Acquire:
     * what the others have brought; pairs with the or below. Release, and before the step: who runs the task and
     * seals it finds all there. */
    if ((at_load(&t->arrived, AT_ACQUIRE) | bit) == all &&
        state_phase(s) == PHASE_WAITING) {
        at_store(&t->arrived, all, AT_RELEASE);
        if (__builtin_expect(step_ready(l, t, &s, call), 1)) {
            return;
        }
    }
    if ((at_or(&t->arrived, bit, AT_SEQ_CST) | bit) == all) {
        all_arrived(l, t, state_gen(s), call);
    }
}

void task_arrive(struct lane *l, struct record *t, uint32_t arg)
{
    struct call call = record_call(t);
    arrive(l, t, arg, at_load(&t->state, AT_RELAXED), &call); /* held: it stays */
}

/* Gives the task of a stack's entry the argument that it waits for, a result of the record @x. @held: since before that
 * was sealed, so that the entry cannot name what has ended. Returns the next entry; or SUCC_EMPTY if the task is not
 * open with that argument: after a sweep, what stands on a stack may name a task that has gone on and was used again,
 * and the sweep serves the rest. A task that was cancelled while it waited is sealed, and open until its arguments
 * came. */
static inline uint32_t give(struct lane *l, uint32_t entry, uint64_t x, bool held)
{
    struct record *t = board_record(l->board, succ_index(entry));
    struct arg_ref *ref = t ? succ_look(t, entry) : NULL;
    if (__builtin_expect(!ref, 0)) {
        return SUCC_EMPTY;
    }
    /* Open or not, from here on a task with that argument is not used again: the fence comes before. */
    uint64_t s = at_load(&t->state, AT_ACQUIRE);
    struct call call = record_call(t);
    if (__builtin_expect(
            (uint32_t)state_phase(s) - PHASE_CREATING > PHASE_DONE - PHASE_CREATING ||
                (!held && succ_ref(t, &call, entry) != ref) ||
                (at_load(&ref->link, AT_RELAXED) ^ x) & ~(uint64_t)LINK_SUCCESSORS,
            0)) {
        return SUCC_EMPTY;
    }
    uint32_t arg = at_load(&ref->arg, AT_RELAXED) % MOB_ARGS_MAX;
    uint32_t next =
        at_load(&ref->next, AT_RELAXED); /* before @t may run, end and be reused */
    if (next != SUCC_EMPTY) {
        struct record *n = board_record(l->board, succ_index(next));
        at_prefetch_write(n ? n : t);
    }
    arrive(l, t, arg, s, &call);
    return next;
}

uint32_t task_drain_successors(struct lane *l, struct record *x)
{
    uint32_t entry = at_swap(&x->succ, SUCC_EMPTY, AT_SEQ_CST), steps = 0;
    if (entry == SUCC_EMPTY) {
        return 0;
    }
    uint64_t link =
        link_make(state_gen(at_load(&x->state, AT_RELAXED)), board_index(l->board, x), 0);
    bool held = lane_finishes_all(l, link);
    if (!held) {
        lane_touch_successors(l, link);
    }
    /* A task may wait for several results of one record; more entries than that are a ring. */
    uint32_t most = board_committed(l->board) * MOB_ARGS_MAX;
    while (entry != SUCC_EMPTY && steps++ < most) {
        entry = give(l, entry, link, held);
    }
    if (!held) {
        lane_untouch(l);
    }
    return steps;
}
