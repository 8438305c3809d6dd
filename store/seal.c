/* seal.c - the end of an attempt: sealed, closed, queued again. */
#include "store/task.h"

#include <string.h>

#include "core/text.h"

/* ---- the end of an attempt ----------------------------------------------------------------------------- */

static bool has_open_children(const struct record *r, uint32_t attempt)
{
    uint64_t c = at_load(&r->children, AT_SEQ_CST);
    return (uint32_t)c != 0 && (uint32_t)(c >> 32) == attempt;
}

/* A sealed record stays DONE while a task that it submitted is open, and while a stack names it. */
static bool stays_open(const struct record *r, uint64_t s)
{
    struct call call = record_call(r);
    return has_open_children(r, state_attempt(s)) || record_awaits_args(r, &call);
}

/* DONE -> CLOSED if nothing is in the way. One caller wins. */
static bool try_close(struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_SEQ_CST);
    while (state_gen(s) == gen && state_phase(s) == PHASE_DONE && !stays_open(r, s)) {
        if (at_cas(&r->state, &s, state_to(s, PHASE_CLOSED, state_holder(s)),
                   AT_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

void task_add_child(struct board *b, uint64_t parent, uint32_t attempt)
{
    struct record *p = board_record(b, link_index(parent));
    if (!p) {
        return;
    }
    uint64_t c = at_load(&p->children, AT_RELAXED), next;
    do { /* a count of an earlier attempt is overwritten; its children find another attempt */
        uint32_t count = c >> 32 == attempt ? (uint32_t)c : 0;
        next = (uint64_t)attempt << 32 | (count + 1);
    } while (!at_cas(&p->children, &c, next, AT_SEQ_CST));
}

/* One open child less. True if it was the last one of its attempt. */
static bool child_closed(struct record *p, uint32_t attempt)
{
    uint64_t c = at_load(&p->children, AT_RELAXED);
    while (c >> 32 == attempt && (uint32_t)c != 0) {
        if (at_cas(&p->children, &c, c - 1, AT_SEQ_CST)) {
            return (uint32_t)c == 1;
        }
    }
    return false;
}

void task_remove_child(struct board *b, uint64_t parent, uint32_t attempt)
{
    struct record *p = board_record(b, link_index(parent));
    if (p) {
        (void)child_closed(p, attempt); /* its parent runs, and closes itself later */
    }
}

static void unuse_args(struct lane *l, struct record *r, const struct call *call)
{
    struct arg_walk w = arg_walk(call);
    struct arg_ref *ref;
    while ((ref = arg_walk_on(&w, r, call))) {
        lane_unuse_later(l, at_load(&ref->link, AT_RELAXED));
    }
}

/* Takes @r, which is closed, off its parent's open children. True if the parent is closed now too:
 * it is pinned then. */
static bool close_parent(struct lane *l, const struct record *r, uint64_t parent,
                         uint64_t *ret_pin)
{
    struct record *p = board_record(l->board, link_index(parent));
    if (!p) {
        return false;
    }
    /* Pinned before the open child that kept it is taken off. */
    bool pinned = lane_pin_open(l, parent, ret_pin);
    if (!child_closed(p, r->parent_attempt)) {
        /* others are open */
    } else if (!pinned) { /* this thread has no pin left: the daemon closes it */
        board_notice(l->board, NOTICE_RESCAN);
    } else if (try_close(p, link_gen(parent))) {
        return true;
    }
    if (pinned) {
        lane_unpin(l, *ret_pin);
    }
    return false;
}

void task_closed(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t pin = 0, parent_pin = 0;
    bool pinned = false, up; /* the first is held by the caller */
    do {
        struct call call = record_call(r);
        uint64_t parent = call_options(&call) & CALL_HAS_PARENT
                              ? at_load(&r->parent, AT_RELAXED)
                              : LINK_NONE;
        if (call_options(&call) & CALL_HAS_REFS) {
            unuse_args(l, r, &call);
        }
        up = parent != LINK_NONE && close_parent(l, r, parent, &parent_pin);
        lane_try_free(l, r, gen);
        if (pinned) {
            lane_unpin(l, pin);
        }
        pinned = up;
        pin = parent_pin;
        r = board_record(l->board, link_index(parent));
        gen = link_gen(parent);
    } while (up);
}

bool task_close_late(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t pin, s = at_load(&r->state, AT_SEQ_CST);
    if (state_gen(s) != gen || state_phase(s) != PHASE_DONE || stays_open(r, s)) {
        return true; /* whoever takes away what is in the way comes here later */
    }
    if (!lane_pin_open(l, link_make(gen, board_index(l->board, r), 0), &pin)) {
        board_notice(l->board, NOTICE_RESCAN);
        return false;
    }
    /* Pinned, then looked at: from here on it is not used for another one. */
    if (try_close(r, gen)) {
        task_closed(l, r, gen);
    }
    lane_unpin(l, pin);
    return true;
}

/* Tells the daemon of a sealed task that another node owns: without a system call but for the
 * first one since the daemon last looked. */
static void tell_foreign(struct lane *l, const struct record *r)
{
    struct queue_view ring = board_ring(l->board, DAEMON);
    bool full = queue_push(&ring, board_index(l->board, r)) > QUEUE_OK_POLLED;
    board_notice(l->board, full ? NOTICE_FOREIGN | NOTICE_RESCAN : NOTICE_FOREIGN);
}

/* What follows a seal, and seldom has anything to do. */
static __attribute__((noinline)) void after_seal(struct lane *l, struct record *r,
                                                 uint64_t s, uint32_t options, bool keeps)
{
    bool successors = at_load(&r->succ, AT_SEQ_CST) != SUCC_EMPTY;
    if (successors) {
        l->keeping = keeps ? l->keeps : 0;
        task_drain_successors(l, r);
        l->keeping = 0;
    }
    l->guess = successors ? LINK_SUCCESSORS : 0;
    lane_finishing_alone(l);
    task_wake_waiters(l->board, r, s);
    if (options & CALL_FOREIGN) {
        tell_foreign(l, r);
    }
    bool closed = state_phase(s) == PHASE_CLOSED || try_close(r, state_gen(s));
    if (closed && options & (CALL_HAS_REFS | CALL_HAS_PARENT)) {
        task_closed(l, r, state_gen(s));
    } else if (closed) {
        lane_try_free(l, r, state_gen(s));
    }
}

/* After the CAS that sealed: gives what is wanted to who wants it. */
static inline void sealed(struct lane *l, struct record *r, uint64_t s, bool open,
                          bool keeps)
{
    struct call call = record_call(r); /* the record is held by lane_finishing() */
    /* Both looks at once, while the line is still here. */
    uint32_t succ = at_load(&r->succ, AT_SEQ_CST), options = call_options(&call);
    uint64_t refs = at_load(&r->refs, AT_SEQ_CST);
    bool more = succ != SUCC_EMPTY || s & (STATE_WAITERS | STATE_NOTIFY) ||
                options & (CALL_HAS_REFS | CALL_HAS_PARENT | CALL_FOREIGN) || open ||
                (refs & REFS_LOW_MASK) == 0;
    if (__builtin_expect(more, 0)) {
        after_seal(l, r, s, options, keeps);
    }
    lane_finished(l);
}

bool task_seal(struct lane *l, struct record *r, bool error)
{
    uint64_t s = at_load(&r->state, AT_RELAXED), next;
    uint32_t gen = state_gen(s);
    lane_finishing(l, link_make(gen, board_index(l->board, r), 0) | l->guess);
    do {
        if ((state_phase(s) != PHASE_TAKEN && state_phase(s) != PHASE_CREATING) ||
            state_holder(s) != l->self || state_gen(s) != gen) {
            lane_finished(l);
            return false;
        }
        next = state_to(s, stays_open(r, s) ? PHASE_DONE : PHASE_CLOSED, l->self) |
               (error ? STATE_ERROR : 0);
        /* Sequentially consistent: who sees the phase sees the result, and our later looks at
         * successors and refs come after it. */
    } while (!at_cas(&r->state, &s, next, AT_SEQ_CST));
    sealed(l, r, next, state_phase(next) != PHASE_CLOSED, false);
    return true;
}

bool task_seal_childless(struct lane *l, struct record *r, uint64_t link, uint64_t s)
{
    uint64_t next = s ^ PHASE_TAKEN ^ PHASE_CLOSED;
    lane_finishing(l, link | l->guess);
    /* As in task_seal(), with a guess instead of a look: nobody set a flag since the claim. */
    if (__builtin_expect(!at_cas(&r->state, &s, next, AT_SEQ_CST), 0)) {
        return task_seal(l, r, false);
    }
    sealed(l, r, next, false, true);
    return true;
}

static bool back_to_queue(struct lane *l, struct record *r, uint32_t attempts)
{
    struct call call = record_call(r);
    uint64_t s = at_load(&r->state, AT_ACQUIRE), next;
    do {
        if (state_phase(s) != PHASE_TAKEN || state_holder(s) != l->self) {
            return false;
        }
        next = state_with_attempt(state_to(s, PHASE_QUEUED, l->self),
                                  state_attempt(s) + attempts);
    } while (!at_cas(&r->state, &s, next, AT_SEQ_CST));
    task_make_ready(l, r, call_class(&call));
    return true;
}

bool task_requeue(struct lane *l, struct record *r)
{
    return back_to_queue(l, r, 1);
}

bool task_unclaim(struct lane *l, struct record *r)
{
    return back_to_queue(l, r, 0);
}

bool task_set_error(struct record *r, mob_status error, const char *text)
{
    struct call call = record_call(r);
    uint32_t nrets = call_nrets(&call);
    uint32_t at = record_arg_offset(r, &call, call_nargs(&call));
    char kept[RECORD_PAYLOAD + 1]; /* its NUL is not kept */
    size_t len = strlen(text);
    size_t size = text_shorten(kept, RECORD_PAYLOAD + 1 - at, text, len);
    for (uint32_t i = 1; i < nrets; i++) {
        record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
    }
    memcpy(r->payload + at, kept, size);
    record_set_place(r, 0, size ? PLACE_INLINE : PLACE_EMPTY, 0, at, size);
    at_store(&r->error, (uint32_t)error, AT_RELAXED);
    return size == len;
}
