#include "store/task.h"

#include <stdio.h>
#include <string.h>

#include "core/park.h"
#include "core/text.h"

/* ---- submitting ----------------------------------------------------------------------------------- */

void task_begin(struct lane *l, struct record *r, const struct call *call,
                uint64_t parent)
{
    (void)l;
    uint32_t nrets = call_nrets(call);
    struct call c = *call;
    if (parent != LINK_NONE) {
        c.class_options |= CALL_HAS_PARENT << 4;
    }
    record_set_call(r, &c);
    at_store(&r->arrived, 0, AT_RELAXED);
    at_store(&r->succ, SUCC_EMPTY, AT_RELAXED);
    at_store(&r->parent, parent, AT_RELAXED);
    at_store(&r->children, 0, AT_RELAXED);
    at_store(&r->fill, 16 * nrets, AT_RELAXED);
    r->name = call->fn;
    r->parent_attempt = 0;
    for (uint32_t i = 0; i < nrets; i++) {
        record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
    }
    /* Handles are set before the record can be seen, so that nobody finds it unkept. */
    at_store(&r->refs,
             (uint64_t)lane_gen(r) << 32 | ((1ull << nrets) - 1) << REFS_HANDLE_SHIFT,
             AT_RELAXED);
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
    return true;
}

void task_await_arg(struct lane *l, struct record *t, uint32_t arg, struct arg_ref *ref)
{
    struct record *x =
        board_record(l->board, link_index(at_load(&ref->link, AT_RELAXED)));
    /* None only for the daemon, on a board that somebody writes over. */
    if (!x || state_sealed_used(at_load(
                  &x->state, AT_ACQUIRE))) { /* its use, which we hold, keeps it there */
        at_or(&t->arrived, 1u << arg, AT_SEQ_CST);
        return;
    }
    uint32_t head = at_load(&x->succ, AT_RELAXED);
    do {
        at_store(&ref->next, head, AT_RELAXED);
    } while (
        !at_cas(&x->succ, &head, succ_entry(board_index(l->board, t), arg), AT_SEQ_CST));
    /* Pushed, then looked: pairs with task_seal(), which seals and then looks at the stack. */
    if (state_sealed_used(at_load(&x->state, AT_SEQ_CST))) {
        lane_finishing(l, at_load(&ref->link, AT_RELAXED));
        task_drain_successors(l, x);
        lane_finished(l);
    }
}

/* The general form, for tasks with arguments by id. The record is CREATING while it is being hung
 * on its arguments, so that a death in between is seen. */
static mob_status publish_with_refs(struct lane *l, struct record *r,
                                    const struct call *call, uint32_t gen)
{
    uint32_t nargs = call_nargs(call), used = 0;
    at_store(&r->state, state_make(gen, l->self, 0, PHASE_CREATING), AT_SEQ_CST);
    for (uint32_t i = 0; i < nargs; i++) {
        struct arg_ref *ref = record_arg_ref(r, call, i);
        mob_status st = ref ? lane_use(l, at_load(&ref->link, AT_RELAXED)) : MOB_OK;
        if (st) {
            for (uint32_t k = 0; k < i; k++) {
                struct arg_ref *held = record_arg_ref(r, call, k);
                if (held) {
                    lane_unuse(l, at_load(&held->link, AT_RELAXED));
                }
            }
            return st;
        }
        used += ref != NULL;
    }
    for (uint32_t i = 0; i < nargs && used; i++) {
        struct arg_ref *ref = record_arg_ref(r, call, i);
        if (ref) {
            task_await_arg(l, r, i, ref);
            used--;
        }
    }
    return task_wait_for_args(l, r) ? MOB_OK : MOB_ERR_CORRUPT;
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
            task_make_ready(l->board, r, call_class(&call));
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
    uint32_t gen = lane_gen(r), index = board_index(l->board, r);
    uint64_t link = link_make(gen, index, 0);
    if (call_options(&call) & CALL_HAS_REFS) {
        MOB_TRY(publish_with_refs(l, r, &call, gen));
    } else {
        /* The record is the lane's own and nobody knows it: one store publishes it. Release: who
         * sees QUEUED sees the arguments; pairs with the claim. */
        at_store(&r->state, state_make(gen, l->self, 0, PHASE_QUEUED), AT_RELEASE);
        uint32_t class = call_class(&call);
        enum queue_result pushed = queue_push(&l->ready[class], index);
        if (!task_pushed(l, class, pushed)) {
            task_pushed_any(l->board, r, class, pushed);
        }
    }
    *ret_link = link;
    return MOB_OK;
}

/* ---- ready tasks ----------------------------------------------------------------------------------- */

/* The queue is full: the daemon pushes the record when there is room. */
static void leave_unhinted(struct board *b, struct record *r)
{
    uint64_t s = at_load(&r->state, AT_RELAXED);
    while (state_phase(s) == PHASE_QUEUED && state_holder(s) != UNHINTED &&
           !at_cas(&r->state, &s, state_to(s, PHASE_QUEUED, UNHINTED), AT_SEQ_CST)) {
    }
    board_notice(b, NOTICE_RESCAN);
}

void task_pushed_any(struct board *b, struct record *r, uint32_t class,
                     enum queue_result pushed)
{
    if (__builtin_expect(pushed > QUEUE_OK_POLLED, 0)) {
        leave_unhinted(b, r);
    }
    task_wake_worker(b, class);
}

void task_make_ready(struct board *b, struct record *r, uint32_t class)
{
    struct queue_view ready = board_ready(b, class);
    enum queue_result pushed = queue_push(&ready, board_index(b, r));
    if (pushed != QUEUE_OK_POLLED) {
        task_pushed_any(b, r, class, pushed);
    }
}

void task_wake_process(struct board *b, uint32_t process)
{
    at_add(&b->procs[process].wake, 1, AT_SEQ_CST);
    park_wake(&b->procs[process].wake, 1);
}

/* Wakes one of those who said that they sleep. */
static bool wake_parked(struct board *b, struct klass *k)
{
    for (uint32_t i = 0; i < PROCS_MAX / 64; i++) {
        uint64_t word = at_load(&k->parked[i], AT_SEQ_CST);
        while (word) {
            uint32_t bit = (uint32_t)__builtin_ctzll(word);
            word = at_and(&k->parked[i], ~(1ull << bit), AT_SEQ_CST);
            if (word & 1ull << bit) {
                task_wake_process(b, i * 64 + bit);
                return true;
            }
        }
    }
    return false;
}

void task_wake_somebody(struct board *b, uint32_t class)
{
    struct klass *k = &b->classes[class];
    uint32_t armed = 1;
    if (!wake_parked(b, k) && at_load(&k->alert, AT_SEQ_CST) == 1 &&
        at_cas(&k->alert, &armed, 0, AT_SEQ_CST)) {
        board_notice(b, NOTICE_ALERT);
    }
}

void task_park(struct board *b, uint32_t process, uint32_t class)
{
    at_or(&b->classes[class].parked[process / 64], 1ull << process % 64, AT_SEQ_CST);
}

void task_unpark(struct board *b, uint32_t process, uint32_t class)
{
    at_and(&b->classes[class].parked[process / 64], ~(1ull << process % 64), AT_SEQ_CST);
}

bool task_claim_one(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    while (state_gen(s) == gen && state_phase(s) == PHASE_QUEUED) {
        if (at_cas(&r->state, &s, state_to(s, PHASE_TAKEN, l->self), AT_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

void task_make_room(struct lane *l, uint32_t class)
{
    struct klass *k = &l->board->classes[class];
    if (at_load(&k->room_waiters, AT_RELAXED)) {
        at_add(&k->room, 1, AT_SEQ_CST);
        park_wake(&k->room, PARK_ALL);
    }
}

enum queue_result task_claim(struct lane *l, uint32_t class, struct record **ret,
                             struct queue_item *ret_item)
{
    /* The claim comes first: dying after it leaves a stale hint, never a lost task. */
    enum queue_result res = task_claim_hinted(l, class, ret, ret_item);
    if (res == QUEUE_OK) {
        task_unhint(l, class, ret_item);
    }
    return res;
}

/* ---- successors ------------------------------------------------------------------------------------- */

void task_arrived(struct lane *l, struct record *t, uint32_t gen)
{
    struct call call = record_call(t);
    if (at_load(&t->arrived, AT_SEQ_CST) != record_all_args(&call)) {
        return;
    }
    /* Marked, then looked: pairs with task_wait_for_args(), and with the seal of a task that was
     * cancelled while it waited. */
    uint64_t s = at_load(&t->state, AT_SEQ_CST);
    while (state_gen(s) == gen && state_phase(s) == PHASE_WAITING) {
        if (at_cas(&t->state, &s, state_to(s, PHASE_QUEUED, l->self), AT_SEQ_CST)) {
            task_make_ready(l->board, t, call_class(&call));
            return;
        }
    }
    if (__builtin_expect(state_gen(s) == gen && state_phase(s) == PHASE_DONE, 0)) {
        (void)task_close_late(l, t, gen);
    }
}

void task_arrive(struct lane *l, struct record *t, uint32_t arg)
{
    uint32_t gen = state_gen(at_load(&t->state, AT_RELAXED)); /* held: it stays */
    at_or(&t->arrived, 1u << arg, AT_SEQ_CST);
    task_arrived(l, t, gen);
}

/* Argument @arg of @t if the task @t is open and that is a result of the record @x, else NULL: after a
 * sweep, what stands on a stack may name a task that has gone on and was used again. The task is held
 * from here on. One that was cancelled while it waited is sealed, and open until its arguments came. */
static struct arg_ref *touch_waiting(struct lane *l, struct record *t, uint32_t arg,
                                     const struct record *x, uint32_t gen)
{
    enum phase phase = state_phase(lane_touch(l, t));
    if (phase < PHASE_CREATING || phase > PHASE_DONE) {
        return NULL;
    }
    struct call call = record_call(t);
    if (arg >= call_nargs(&call)) {
        return NULL;
    }
    struct arg_ref *ref = record_arg_ref(t, &call, arg);
    if (!ref) {
        return NULL;
    }
    uint64_t link = at_load(&ref->link, AT_RELAXED);
    return link_index(link) == board_index(l->board, x) && link_gen(link) == gen ? ref
                                                                                 : NULL;
}

uint32_t task_drain_successors(struct lane *l, struct record *x)
{
    struct board *b = l->board;
    uint32_t gen = state_gen(at_load(&x->state, AT_RELAXED));
    uint32_t entry = at_swap(&x->succ, SUCC_EMPTY, AT_SEQ_CST);
    uint32_t steps = 0;
    /* A task may wait for several results of one record; more entries than that are a ring. */
    for (; entry != SUCC_EMPTY && steps < board_committed(b) * MOB_ARGS_MAX; steps++) {
        struct record *t = board_record(b, succ_index(entry));
        struct arg_ref *ref = t ? touch_waiting(l, t, succ_arg(entry), x, gen) : NULL;
        if (!ref) {
            break; /* a sweep serves all that wait for this record */
        }
        uint32_t arg = succ_arg(entry);
        entry =
            at_load(&ref->next, AT_RELAXED); /* before @t may run, end and be reused */
        task_arrive(l, t, arg);
    }
    lane_untouch(l);
    return steps;
}

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
    for (uint32_t i = 0; i < call_nargs(call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref = record_arg_ref(r, call, i);
        if (ref) {
            lane_unuse(l, at_load(&ref->link, AT_RELAXED));
        }
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
                                                 uint64_t s, uint32_t options)
{
    if (at_load(&r->succ, AT_SEQ_CST) != SUCC_EMPTY) {
        task_drain_successors(l, r);
    }
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
static inline void sealed(struct lane *l, struct record *r, uint64_t s, bool open)
{
    struct call call = record_call(r); /* the record is held by lane_finishing() */
    /* Both looks at once, while the line is still here. */
    uint32_t succ = at_load(&r->succ, AT_SEQ_CST), options = call_options(&call);
    uint64_t refs = at_load(&r->refs, AT_SEQ_CST);
    bool more = succ != SUCC_EMPTY || s & (STATE_WAITERS | STATE_NOTIFY) ||
                options & (CALL_HAS_REFS | CALL_HAS_PARENT | CALL_FOREIGN) || open ||
                (refs & REFS_LOW_MASK) == 0;
    if (__builtin_expect(more, 0)) {
        after_seal(l, r, s, options);
    }
    lane_finished(l);
}

bool task_seal(struct lane *l, struct record *r, bool error)
{
    uint64_t s = at_load(&r->state, AT_RELAXED), next;
    uint32_t gen = state_gen(s);
    lane_finishing(l, link_make(gen, board_index(l->board, r), 0));
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
    sealed(l, r, next, state_phase(next) != PHASE_CLOSED);
    return true;
}

bool task_seal_childless(struct lane *l, struct record *r, uint64_t link, uint64_t s)
{
    uint64_t next = s ^ PHASE_TAKEN ^ PHASE_CLOSED;
    lane_finishing(l, link);
    /* As in task_seal(), with a guess instead of a look: nobody set a flag since the claim. */
    if (__builtin_expect(!at_cas(&r->state, &s, next, AT_SEQ_CST), 0)) {
        return task_seal(l, r, false);
    }
    sealed(l, r, next, false);
    return true;
}

static bool back_to_queue(struct lane *l, struct record *r, uint64_t attempts)
{
    struct call call = record_call(r);
    uint64_t s = at_load(&r->state, AT_ACQUIRE), next;
    do {
        if (state_phase(s) != PHASE_TAKEN || state_holder(s) != l->self) {
            return false;
        }
        next = state_to(s, PHASE_QUEUED, l->self) + (attempts << STATE_ATTEMPT_SHIFT);
    } while (!at_cas(&r->state, &s, next, AT_SEQ_CST));
    task_make_ready(l->board, r, call_class(&call));
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

/* QUEUED or WAITING -> TAKEN, only to be sealed. One that waits is still named by the stacks of what
 * it waits for, and so it is not CLOSED before they have let it go: stays_open(). */
static bool take_to_cancel(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    while (state_gen(s) == gen &&
           (state_phase(s) == PHASE_QUEUED || state_phase(s) == PHASE_WAITING)) {
        /* With the flag, so that after a death here nobody runs it. */
        uint64_t next = state_to(s, PHASE_TAKEN, l->self) | STATE_CANCEL;
        if (at_cas(&r->state, &s, next, AT_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

void task_cancel(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    while (state_gen(s) == gen && state_phase(s) >= PHASE_CREATING &&
           state_phase(s) <= PHASE_TAKEN && !(s & STATE_CANCEL)) {
        if (at_cas(&r->state, &s, s | STATE_CANCEL, AT_SEQ_CST)) {
            if (state_phase(s) == PHASE_TAKEN && state_holder(s) == DAEMON) {
                board_notice(l->board, NOTICE_CANCEL); /* it runs on another node */
            }
            break;
        }
    }
    if (take_to_cancel(l, r, gen)) { /* a hint in the queue is stale from now on */
        char name[MOB_NAME_MAX + 1], text[MOB_NAME_MAX + 64];
        board_name_text(l->board, r->name, name);
        snprintf(text, sizeof text, "task %s: it was cancelled before it ran", name);
        task_set_error(r, MOB_ERR_CANCELLED, text);
        task_seal(l, r, true);
    }
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

bool task_mark_waited(struct record *r, uint32_t gen, uint64_t flag, uint64_t *ret_state)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    for (;;) {
        *ret_state = s;
        if (state_gen(s) != gen || state_phase(s) >= PHASE_DONE ||
            state_phase(s) == PHASE_FREE) {
            return false;
        }
        if (s & flag || at_cas(&r->state, &s, s | flag, AT_SEQ_CST)) {
            *ret_state = s | flag;
            return true;
        }
    }
}

void task_wake_waiters(struct board *b, const struct record *r, uint64_t state)
{
    if (state & STATE_WAITERS) {
        park_wake(park_low(&r->state), PARK_ALL);
    }
    if (state & STATE_NOTIFY) {
        at_add(&b->header->event, 1, AT_SEQ_CST);
        park_wake(&b->header->event, PARK_ALL);
    }
}
