/* worker.c - a worker that has nothing to run: spins for a moment, sleeps, and is told what to serve. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"
#include "core/clock.h"
#include "core/park.h"
#include "core/status.h"
#include "store/task.h"

/* SPIN_HOT: looks without a pause, for a partner that answers at once; a pause instruction lasts as
 * long as a cache line travels. SPIN_NEXT: of these, at the foreseen record for each at the cell. */
enum {
    SPIN_LOOKS = 64,
    SPIN_HOT = 1024,
    SPIN_NEXT = 32,
    GATHER_STEP = 8,
    GATHER_MAX = 64
};

/* Lets tasks gather for as long as more come. A worker that takes each task as it is pushed makes the
 * submitter wait for the line of the queue every time, and waits itself for every line; some later,
 * lines of cells and of records move one after the other. */
static __attribute__((noinline)) void spin_gather(const struct queue_view *ready,
                                                  uint64_t from)
{
    uint64_t at = from, seen;
    do {
        for (int i = 0; i < GATHER_STEP; i++) {
            at_pause();
        }
        for (seen = at; at < from + GATHER_MAX && queue_has(ready, at); at++) {
        }
    } while (at != seen && at < from + GATHER_MAX);
}

static inline bool filled(const struct record *next)
{
    return state_phase(at_load(&next->state, AT_ACQUIRE)) != PHASE_FREE;
}

/* What a spinning worker saw. */
enum seen { SEEN_NOTHING, SEEN_PUSH, SEEN_NEXT };

/* Looks without a pause. The foreseen record is asked for as if to be written, for the claim that
 * follows: one transfer instead of two. Its submitter fills it in a few cycles once it has the line. A
 * look at the cell between two looks at the record waits while the cell is on its way; so they are
 * few. */
static inline enum seen look_hot(const at_u64 *cell, uint64_t empty,
                                 const struct record *next)
{
    for (int i = 0; i < SPIN_HOT; i++) {
        if (next && i % SPIN_NEXT != 0) {
            at_prefetch_write(next);
            if (filled(next)) {
                return SEEN_NEXT;
            }
        } else if (at_load(cell, AT_ACQUIRE) != empty) {
            return SEEN_PUSH;
        }
    }
    return SEEN_NOTHING;
}

/* Spins while the cell that comes next is empty and marked, and the foreseen record, if any, FREE. */
static __attribute__((noinline)) enum seen
spin_ready(struct mob *mob, const struct queue_view *ready, const struct queue_item *item,
           uint32_t run, const struct record *next)
{
    const struct proc *self = &mob->board.procs[mob->self];
    const at_u64 *cell = queue_cell(ready, item->position);
    enum seen seen = look_hot(cell, item->cell, next);
    if (seen != SEEN_NOTHING) {
        return seen;
    }
    park_give_way();
    uint64_t now = clock_now_ns(), until = now + mob->spin_ns;
    do {
        /* A submitter that finds this worker awake looks at no clock: board.h. */
        (void)board_tick_at(&mob->board, now);
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (next && filled(next)) {
                return SEEN_NEXT;
            }
            if (at_load(cell, AT_ACQUIRE) != item->cell) {
                return SEEN_PUSH;
            }
            at_pause();
        }
        if (at_load(&self->run, AT_RELAXED) != run) {
            return SEEN_NOTHING;
        }
        now = clock_now_ns();
    } while (now < until);
    return SEEN_NOTHING;
}

/* Sleeps until a submitter or the daemon wakes this process. */
static __attribute__((noinline)) void park_worker(struct mob *mob, struct thread *t,
                                                  uint32_t class, uint32_t run)
{
    struct board *b = &mob->board;
    struct proc *self = &b->procs[mob->self];
    struct queue_item item;
    uint32_t seen = at_load(&self->wake, AT_SEQ_CST);
    client_tidy(mob, t);
    lane_rest(&t->lane); /* what it freed should not wait for its next task */
    task_idle(mob, t);
    at_store(&self->state, PROC_IDLE, AT_SEQ_CST);
    task_park(b, mob->self, class);
    /* Said, then looked; pairs with task_wake_worker(), which comes after the push. */
    if (queue_peek(&t->lane.ready[class], &item) == QUEUE_NONE &&
        at_load(&self->run, AT_SEQ_CST) == run) {
        (void)park_client(mob, t, &self->wake, seen, CLOCK_NEVER);
    }
    task_unpark(b, mob->self, class);
    timeline_look(mob, t);
    at_store(&self->state, PROC_BUSY, AT_SEQ_CST);
}

/* The record that is probably filled next, if it is FREE now, or NULL. After more than one task without
 * a wait tasks come from the queue, and looks at their records are in the submitter's way. */
static struct record *foresee(const struct thread *t, uint32_t streak)
{
    struct record *next = t->top.r && streak == 1
                              ? lane_foresee(&t->mob->board, link_index(t->top.link))
                              : NULL;
    return next && state_phase(at_load(&next->state, AT_RELAXED)) == PHASE_FREE ? next
                                                                                : NULL;
}

/* All that is waiting and not work: the queue was seen empty. */
__attribute__((noinline)) struct record *park_or_spin(struct mob *mob, struct thread *t,
                                                      struct queue_item *item,
                                                      uint32_t run, uint32_t streak)
{
    struct queue_view *ready = &t->lane.ready[run - 1];
    if (streak > 1 && spin_allowed(mob, SPIN_NEAR)) {
        spin_gather(ready, item->position);
        if (queue_peek(ready, item) != QUEUE_NONE) {
            return NULL;
        }
    }
    if (!queue_poll(ready, item)) {
        return NULL;
    }
    bool far = call_options(&t->top.call) & CALL_FOREIGN;
    struct record *next = foresee(t, streak);
    enum seen seen = spin_allowed(mob, far ? SPIN_FAR : SPIN_NEAR)
                         ? spin_ready(mob, ready, item, run, next)
                         : SEEN_NOTHING;
    if (seen == SEEN_NEXT) {
        return next; /* the mark stays: task.h says why it may */
    }
    if (queue_unpoll(ready, item) && seen == SEEN_NOTHING) {
        park_worker(mob, t, run - 1, run);
    } /* else a submitter relied on this worker */
    return NULL;
}

void worker_run(struct mob *mob)
{
    struct thread *t;
    if (client_thread(mob, &t)) {
        fprintf(stderr, "mobula: %s\n", mob_last_error());
        _exit(4);
    }
    struct proc *self = &mob->board.procs[mob->self];
    setvbuf(stdout, NULL, _IOLBF,
            0); /* lines, so that they can be marked and do not mix */
    for (;;) {
        uint32_t seen = at_load(&self->wake, AT_SEQ_CST);
        uint32_t run = at_load(&self->run, AT_SEQ_CST);
        if (run == RUN_EXIT) {
            exit(
                0); /* handlers of the program run: profiles are written, files flushed */
        }
        if (run != RUN_NONE && run <= CLASSES_MAX) {
            at_store(&self->state, PROC_BUSY, AT_RELAXED);
            threads_follow(mob, run - 1);
            worker_serve(mob, t, run - 1, run);
            continue;
        }
        client_tidy(mob, t); /* it may sleep for long, and is woken for this too */
        lane_rest(&t->lane);
        at_store(&self->state, PROC_IDLE, AT_SEQ_CST);
        board_notice(&mob->board, NOTICE_LENT); /* this worker has no slot any more */
        (void)park_client(mob, t, &self->wake, seen, CLOCK_NEVER);
    }
}
