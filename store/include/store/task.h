/* task.h - the life of a task on the board: filled, published, claimed, sealed, closed.
 *
 * Each function performs the transitions that store/README.md names. None blocks or
 * allocates; none makes a system call except to wake somebody who said that he sleeps. */
#ifndef STORE_TASK_H
#define STORE_TASK_H

#include "store/lane.h"

/* ---- submitting: the lane's own FREE record -> WAITING or QUEUED -------------------------------- */

/* Starts filling a record. The record stays FREE, and a death now loses nothing. */
void task_begin(struct lane *l, struct record *r, const struct call *call,
                uint64_t parent);

/* The part of it that every record needs, in line; @gen: its generation. Results' places are not set. */
static inline void task_fill(struct record *r, uint32_t gen, const struct call *call,
                             uint64_t parent)
{
    uint32_t nrets = call_nrets(call);
    record_set_call(r, call);
    at_store(&r->arrived, 0, AT_RELAXED);
    at_store(&r->succ, SUCC_EMPTY, AT_RELAXED);
    at_store(&r->parent, parent, AT_RELAXED);
    at_store(&r->children, 0, AT_RELAXED);
    at_store(&r->fill, 16 * nrets, AT_RELAXED);
    r->name = call->fn;
    r->parent_attempt = 0;
    /* Handles are set before the record can be seen, so that nobody finds it unkept. */
    at_store(&r->refs, (uint64_t)gen << 32 | ((1ull << nrets) - 1) << REFS_HANDLE_SHIFT,
             AT_RELAXED);
}

/* Publishes an object whose bytes, place and metadata are there: the lane's own FREE record, begun with
 * CALL_PUT -> CLOSED. Nobody knows the record or waits for it, so one store does it. */
static inline void task_publish_object(const struct lane *l, struct record *r,
                                       uint32_t gen)
{
    /* Release: who sees CLOSED sees the bytes; pairs with each look at a sealed record. */
    at_store(&r->state, state_make(gen, l->self, 0, PHASE_CLOSED), AT_RELEASE);
}

/* Adds a value argument: where to copy its @size <= RECORD_VALUE_MAX bytes to, or NULL if the
 * payload has no room. Arguments are added in their order. */
void *task_add_value(struct record *r, uint32_t arg, size_t size);

/* Asks for the record of an argument, to be written: its use is counted and the task hung on it when all
 * arguments are added, and where its maker runs right now each line comes from another core. */
static inline void task_prefetch_arg(const struct board *b, uint64_t link)
{
    at_prefetch_write(
        &b->records[link_index(link)]); /* one that is not there does no harm */
}

/* Adds an argument by id. False if the payload has no room. */
bool task_add_ref(struct record *r, uint32_t arg, uint64_t link);

/* Takes a use of each argument and publishes the task. On failure (an argument that is gone)
 * the record is FREE again and no use is held. @ret_link: the task's link, with result 0. */
mob_status task_publish(struct lane *l, struct record *r, uint64_t *ret_link);

/* An argument by id that is not there yet: the record that will be it, and where in its task it stands. */
struct task_open {
    struct record *maker;
    struct arg_ref *ref;
};

/* Publishes a filled task that waits for some arguments. It has a use of each by id, and those that it does
 * not wait for are marked as arrived. It is CREATING while it is being hung on all but the last of the others, so that
 * a death in between is seen. */
void task_publish_waiting(struct lane *l, struct record *r, uint64_t link,
                          const struct task_open *open, uint32_t count);

/* The two halves of publishing a task with arguments by id, which the sweep completes for a dead
 * submitter: hang a CREATING task on the maker of one argument; then CREATING -> WAITING or, if all
 * arguments are there, QUEUED. False: it is not CREATING. */
void task_await_arg(struct lane *l, struct record *t, uint32_t arg, struct arg_ref *ref);
bool task_wait_for_args(struct lane *l, struct record *r);

/* ---- tasks that the daemon keeps: FREE -> CREATING -> TAKEN by the daemon, which has it done by tasks that it
 * makes after it (a member of a gang). Nothing ever claims it. ---------------------------------------------- */

/* Takes a use of each argument. The record is the submitter's, CREATING, until task_keep(); if he dies before
 * that, the sweep completes it as a cancelled task. On failure the record is FREE, and no use is held. */
mob_status task_publish_kept(struct lane *l, struct record *r, uint64_t *ret_link);
/* Takes it back: the daemon did not want it. */
void task_unpublish_kept(struct lane *l, struct record *r);
/* The daemon's. CREATING by the process @from -> TAKEN by the daemon. False: it is not so. */
bool task_keep(struct lane *d, struct record *r, uint32_t gen, uint32_t from);
/* The daemon's. TAKEN by it -> the same, next attempt. */
bool task_keep_on(struct lane *d, struct record *r);

/* ---- ready tasks ---------------------------------------------------------------------------------- */

/* Wakes one sleeping worker of a class; else rings for the daemon if it asked for that. */
void task_wake_somebody(struct board *b, uint32_t class);
/* Whether somebody sleeps who should hear of a push. */
static inline bool task_wanted(const struct board *b, uint32_t class)
{
    const struct klass *k = &b->classes[class];
    uint64_t any = at_load(&k->alert, AT_SEQ_CST);
    /* After the push, a read-modify-write; pairs with the or in task_park(), which comes before the
     * sleeper's look at the queue. */
#pragma GCC unroll 4
    for (uint32_t i = 0; i < PROCS_MAX / 64; i++) {
        any |= at_load(&k->parked[i], AT_SEQ_CST);
    }
    return any != 0;
}
static inline void task_wake_worker(struct board *b, uint32_t class)
{
    if (task_wanted(b, class)) {
        task_wake_somebody(b, class);
    }
}

/* Pushes a QUEUED record and wakes whoever should run it. */
void task_make_ready(struct lane *l, struct record *r, uint32_t class);

/* What follows a push through the lane's own view of the queue. True if nothing does. */
void task_pushed_any(struct board *b, struct record *r, uint32_t class,
                     enum queue_result pushed);
static inline bool task_pushed(const struct lane *l, uint32_t class,
                               enum queue_result pushed)
{
    /* An awake worker looks at this cell, or there is nobody to wake. */
    return pushed == QUEUE_OK_POLLED ||
           (pushed == QUEUE_OK && !task_wanted(l->board, class));
}

/* What a record of lane_take(), given by @link, needs beside call, places and arguments if it has one result
 * and no parent. @fill: fill_make(). */
static inline void task_fill_plain(struct record *r, uint64_t link, uint32_t fill)
{
    at_store(&r->succ, SUCC_EMPTY, AT_RELAXED);
    at_store(&r->parent, LINK_NONE, AT_RELAXED);
    at_store(&r->children, 0, AT_RELAXED);
    /* The handle is set before the record can be seen, so that nobody finds it unkept. */
    at_store(&r->refs,
             (link & ~REFS_LOW_MASK) | REFS_FIRST_HANDLE | fill >> FILL_SPARE_SHIFT,
             AT_RELAXED);
    at_store(&r->fill, fill, AT_RELAXED);
}

/* Publishes such a record: all its arguments are there. Returns what became of its hint, for
 * task_pushed(). */
static inline enum queue_result task_publish_plain(struct lane *l, struct record *r,
                                                   uint64_t link, uint32_t fill,
                                                   uint32_t class)
{
    task_fill_plain(r, link, fill);
    /* The record is the lane's own and nobody knows it: one store publishes it. Release: who
     * sees QUEUED sees the arguments; pairs with the claim. */
    at_store(&r->state, (link & ~REFS_LOW_MASK) | l->queued, AT_RELEASE);
    return queue_push(&l->ready[class], link_index(link));
}

/* Claims the oldest ready task of a class: QUEUED -> TAKEN by the lane's process.
 * QUEUE_OK, QUEUE_NONE (@ret_item: the empty cell, for queue_poll()) or QUEUE_CORRUPT. */
enum queue_result task_claim(struct lane *l, uint32_t class, struct record **ret,
                             struct queue_item *ret_item);

/* Tasks of a class that wait for a worker, about. Stale hints do not count: a worker that comes out of waiting
 * leaves one until its task is done, and who runs what it waits for until somebody comes by. Where there are
 * more than TASK_COUNT_EXACT hints they do, as it makes no difference then. No side effects; any thread. */
enum { TASK_COUNT_EXACT = 64 };
uint64_t task_ready_count(const struct board *b, uint32_t class);

enum {
    TASK_ROOM_STEP = 1024
}; /* taken tasks between wake-ups of who waits for room for many */
void task_make_room(struct lane *l, uint32_t class);
static inline void task_unhinted(struct lane *l, uint32_t class,
                                 const struct queue_item *item)
{
    if (__builtin_expect(item->position % TASK_ROOM_STEP == 0, 0)) {
        task_make_room(l, class);
    }
}
static inline void task_unhint(struct lane *l, uint32_t class,
                               const struct queue_item *item)
{
    queue_take(&l->ready[class], item);
    task_unhinted(l, class, item);
}

/* Asks for the record of the item behind a peeked one, so that it is here when its turn comes: a record
 * comes from another core, and the way takes as long as a small task. Only of a worker that finds its
 * queue as it left it: where several take turns, the next item will be another's. */
static inline void task_prefetch_next(const struct lane *l, uint32_t class,
                                      const struct queue_item *item)
{
    const struct queue_view *ready = &l->ready[class];
    if (item->position == ready->taken) {
        uint64_t next = at_load(queue_cell(ready, item->position + 1), AT_RELAXED);
        if (next & QUEUE_FULL) {
            at_prefetch_write(&l->board->records[next & QUEUE_INDEX_MASK]);
        }
    }
}

/* A record in state @s, read with acquire, is a ready task of the class. The call stays as it is while the task is
 * QUEUED, so that a claim by compare-and-swap from @s is one of this task. */
static inline bool task_is_ready(const struct record *r, uint64_t s, uint32_t class)
{
    struct call call = record_call(r);
    return state_phase(s) == PHASE_QUEUED && call_class(&call) == class;
}

/* The two halves of it. Between them the hint of the claimed task is stale: a worker that comes out
 * of waiting runs the task first, so that who waits for it does not wait for the tidying up. */
static inline enum queue_result task_claim_hinted(struct lane *l, uint32_t class,
                                                  struct record **ret,
                                                  struct queue_item *ret_item)
{
    for (;;) {
        enum queue_result res = queue_peek(&l->ready[class], ret_item);
        if (__builtin_expect(res != QUEUE_OK, 0)) {
            return res;
        }
        struct record *r = board_record(l->board, ret_item->index);
        if (__builtin_expect(r != NULL, 1)) {
            at_prefetch_write(r);
            task_prefetch_next(l, class, ret_item);
            uint64_t s = at_load(&r->state, AT_ACQUIRE);
            /* Again while it is QUEUED: a waiter's or canceller's flag must not cost the task
             * its only hint. The hint may be of a task that the record was before, of another class
             * than the one that it is now, which has a hint of its own. */
            while (__builtin_expect(task_is_ready(r, s, class), 1)) {
                if (at_cas(&r->state, &s, state_to(s, PHASE_TAKEN, l->self),
                           AT_SEQ_CST)) {
                    *ret = r;
                    return QUEUE_OK;
                }
            }
        }
        task_unhint(l, class, ret_item); /* stale */
    }
}

/* Claims this very task if it is QUEUED. */
bool task_claim_one(struct lane *l, struct record *r, uint32_t gen);

/* ---- foreseen tasks --------------------------------------------------------------------------------
 * An idle worker that looks at the record which its submitter will fill next (lane_foresee()) sees the
 * task as soon as it is QUEUED, and with it the arguments, in the one line that it needs: the queue's
 * cell comes behind. It is a guess at where to look, and no other way to a task: the claim is the same
 * step on the state word, and the submitter pushes the hint as ever.
 *
 * Two things are then stale. The hint, which the worker removes after the task, without a look at the
 * record, which its submitter has by then: it holds the record as lane_touch() does, so that nobody uses
 * it for another task meanwhile, and whatever hint names it is stale. And the POLLED mark of the worker,
 * if it set one. Mark and push stay in balance: the push that belongs to the foreseen task follows its
 * QUEUED, so it takes the mark, or finds that another push took it, and then wakes somebody in its
 * place. If the submitter dies before it pushes, the sweep wakes all. */

/* Claims a foreseen record if it is a QUEUED task of @class, and holds it until
 * task_unhint_foreseen(). */
bool task_claim_foreseen(struct lane *l, struct record *r, uint32_t class,
                         uint64_t *ret_link);

/* Removes the hint of a foreseen task that ran, if it stands where the queue was seen empty. */
void task_unhint_foreseen(struct lane *l, uint32_t class, uint64_t link);

/* ---- the end of an attempt -------------------------------------------------------------------------- */

/* TAKEN or CREATING by this process -> DONE or CLOSED, with its places set (or, if @error, with
 * error and text set). Gives successors their argument, wakes waiters, closes what can be closed.
 * False: the record is not this process's any more (a corrupt board). */
bool task_seal(struct lane *l, struct record *r, bool error);

/* The same without error, for an attempt that submitted nothing. @link: of the record;
 * @s: its state when it was claimed. */
bool task_seal_childless(struct lane *l, struct record *r, uint64_t link, uint64_t s);

/* TAKEN by this process -> QUEUED, next attempt. */
bool task_requeue(struct lane *l, struct record *r);

/* TAKEN by this process, and certainly not begun -> QUEUED, the same attempt. */
bool task_unclaim(struct lane *l, struct record *r);

/* Counts a task as open child of the task @parent, which this process runs in @attempt. */
void task_add_child(struct board *b, uint64_t parent, uint32_t attempt);

/* Takes such a count back: the child was not published. */
void task_remove_child(struct board *b, uint64_t parent, uint32_t attempt);

/* Gives the successors of a sealed record their argument. Whoever finds some may call it, and
 * has named the record by lane_finishing() before, so that a sweep can go on if he dies. Returns
 * how many there were. */
uint32_t task_drain_successors(struct lane *l, struct record *r);

/* Marks argument @arg of a task as arrived. If it was the last, the task is ready, or closed if it was
 * cancelled meanwhile. The caller holds the task by lane_touch() and saw it open then. */
void task_arrive(struct lane *l, struct record *t, uint32_t arg);

/* The second half of it: what follows if all arguments of a task have arrived. */
void task_arrived(struct lane *l, struct record *t, uint32_t gen);

/* What follows a record's CLOSED: its arguments' uses go, its parent has a child less. The caller
 * holds it, by lane_finishing() or a pin. */
void task_closed(struct lane *l, struct record *r, uint32_t gen);

/* DONE -> CLOSED, and what follows, if nothing is in the way; for a record that nothing else holds.
 * False: this thread has no pin left; the daemon was asked. */
bool task_close_late(struct lane *l, struct record *r, uint32_t gen);

/* ---- cancel.c ---- */
/* Asks a task not to run: one that waits or is QUEUED is sealed as cancelled at once. */
void task_cancel(struct lane *l, struct record *r, uint32_t gen);
/* The same with a request (store/request.h): to end it at a tick, to cancel all that it submitted. Looks at all
 * records for the latter. MOB_ERR_NOMEM: the task itself is cancelled. */
mob_status task_cancel_as(struct lane *l, struct record *r, uint32_t gen,
                          uint32_t request);
/* By the thread that runs @parent, after it submitted @child: cancels it if that is what its parent is asked. */
void task_obey_parent(struct lane *l, const struct record *parent, uint64_t child);

/* ---- errors as values ---------------------------------------------------------------------------------- */

/* Writes an error and its text into a TAKEN record of this process, shortened to what fits. False if
 * it was: the caller may put the whole text into a place of its own and make it the first result's. */
bool task_set_error(struct record *r, mob_status error, const char *text);

/* ---- waiting -------------------------------------------------------------------------------------------- */

/* Sets the WAITERS (or NOTIFY) flag. False: sealed already, or gone; @ret_state says which. */
bool task_mark_waited(struct record *r, uint32_t gen, uint64_t flag, uint64_t *ret_state);

/* Wakes who waits for a record that was sealed with @state. */
void task_wake_waiters(struct board *b, const struct record *r, uint64_t state);

/* ---- workers ----------------------------------------------------------------------------------------------- */

/* Wakes one process, whatever it waits for. */
void task_wake_process(struct board *b, uint32_t process);

/* The sleeper's side: says that the process sleeps. The caller then looks at the queue and at
 * proc.run again, sleeps on proc.wake with the value it read before, and unparks. */
void task_park(struct board *b, uint32_t process, uint32_t class);
void task_unpark(struct board *b, uint32_t process, uint32_t class);

#endif
