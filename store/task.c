/* task.c - a task from its first byte to QUEUED: filled, published, hung on its arguments. */
#include "store/task.h"

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
    struct arg_walk w = arg_walk(call);
    struct {
        struct arg_ref *ref;
        uint32_t arg;
    } held[MOB_ARGS_MAX];
    uint32_t count = 0;
    struct arg_ref *ref;
    at_store(&r->state, state_make(gen, l->self, 0, PHASE_CREATING), AT_SEQ_CST);
    while ((ref = arg_walk_on(&w, r, call))) {
        mob_status st = lane_use(l, at_load(&ref->link, AT_RELAXED));
        if (st) {
            while (count) {
                lane_unuse(l, at_load(&held[--count].ref->link, AT_RELAXED));
            }
            return st;
        }
        held[count].ref = ref;
        held[count++].arg = w.arg;
    }
    for (uint32_t i = 0; i < count; i++) {
        task_await_arg(l, r, held[i].arg, held[i].ref);
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
    uint32_t gen = lane_gen(r), index = board_index(l->board, r);
    uint64_t link = link_make(gen, index, 0);
    if (call_options(&call) & CALL_HAS_REFS) {
        MOB_TRY(publish_with_refs(l, r, &call, gen));
    } else {
        /* The record is the lane's own and nobody knows it: one store publishes it. Release: who
         * sees QUEUED sees the arguments; pairs with the claim. */
        at_store(&r->state, state_make(gen, l->self, 0, PHASE_QUEUED), AT_RELEASE);
        task_make_ready(l, r, call_class(&call));
    }
    *ret_link = link;
    return MOB_OK;
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
            task_make_ready(l, t, call_class(&call));
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
