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
 * long as a cache line travels. */
enum { SPIN_LOOKS = 64, SPIN_HOT = 256, GATHER_STEP = 8, GATHER_MAX = 64 };

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

/* Spins while the cell that comes next is empty and marked. True: something was pushed. */
static __attribute__((noinline)) bool spin_ready(struct mob *mob,
                                                 const struct queue_view *ready,
                                                 const struct queue_item *item,
                                                 const struct proc *self, uint32_t run)
{
    if (!spin_allowed(mob)) {
        return false;
    }
    const at_u64 *cell = queue_cell(ready, item->position);
    for (int i = 0; i < SPIN_HOT; i++) {
        if (at_load(cell, AT_ACQUIRE) != item->cell) {
            return true;
        }
    }
    park_give_way();
    uint64_t now = clock_now_ns(), until = now + mob->spin_ns;
    do {
        /* A submitter that finds this worker awake looks at no clock: board.h. */
        (void)board_tick_at(&mob->board, now);
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (at_load(cell, AT_ACQUIRE) != item->cell) {
                return true;
            }
            at_pause();
        }
        if (at_load(&self->run, AT_RELAXED) != run) {
            return false;
        }
        now = clock_now_ns();
    } while (now < until);
    return false;
}

/* Sleeps until a submitter or the daemon wakes this process. */
static __attribute__((noinline)) void park_worker(struct mob *mob, struct thread *t,
                                                  uint32_t class, uint32_t run)
{
    struct board *b = &mob->board;
    struct proc *self = &b->procs[mob->self];
    struct queue_item item;
    uint32_t seen = at_load(&self->wake, AT_SEQ_CST);
    client_tidy(mob, &t->lane);
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
    at_store(&self->state, PROC_BUSY, AT_SEQ_CST);
}

/* All that is waiting and not work: the queue was seen empty. */
__attribute__((noinline)) void park_or_spin(struct mob *mob, struct thread *t,
                                            struct queue_item *item, uint32_t run,
                                            uint32_t streak)
{
    struct proc *self = &mob->board.procs[mob->self];
    struct queue_view *ready = &t->lane.ready[run - 1];
    if (streak > 1 && spin_allowed(mob)) {
        spin_gather(ready, item->position);
        if (queue_peek(ready, item) != QUEUE_NONE) {
            return;
        }
    }
    if (!queue_poll(ready, item)) {
        return;
    }
    bool pushed = spin_ready(mob, ready, item, self, run);
    if (queue_unpoll(ready, item) && !pushed) {
        park_worker(mob, t, run - 1, run);
    } /* else a submitter relied on this worker */
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
            worker_serve(mob, t, run - 1, run);
            continue;
        }
        client_tidy(mob, &t->lane); /* it may sleep for long, and is woken for this too */
        lane_rest(&t->lane);
        at_store(&self->state, PROC_IDLE, AT_SEQ_CST);
        board_notice(&mob->board, NOTICE_LENT); /* this worker has no slot any more */
        (void)park_client(mob, t, &self->wake, seen, CLOCK_NEVER);
    }
}
