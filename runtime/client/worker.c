/* worker.c - what a worker does: claim, run, look again, spin for a moment, sleep. */
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
enum { SPIN_NS = 50000, SPIN_LOOKS = 64, SPIN_HOT = 256 };

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
    uint64_t until = clock_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (at_load(cell, AT_ACQUIRE) != item->cell) {
                return true;
            }
            at_pause();
        }
        if (at_load(&self->run, AT_RELAXED) != run) {
            return false;
        }
    } while (clock_now_ns() < until);
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
static __attribute__((noinline)) void park_or_spin(struct mob *mob, struct thread *t,
                                                   const struct queue_view *ready,
                                                   struct queue_item *item, uint32_t run)
{
    struct proc *self = &mob->board.procs[mob->self];
    if (!queue_poll(ready, item)) {
        return;
    }
    bool pushed = spin_ready(mob, ready, item, self, run);
    if (queue_unpoll(ready, item) && !pushed) {
        park_worker(mob, t, run - 1, run);
    } /* else a submitter relied on this worker */
}

/* Serves one class until the daemon says otherwise. */
static void serve(struct mob *mob, struct thread *t, uint32_t class, uint32_t run)
{
    struct proc *self = &mob->board.procs[mob->self];
    struct queue_view *ready = &t->lane.ready[class];
    struct record *r;
    struct queue_item item;
    bool waited = false;
    while (at_load(&self->run, AT_ACQUIRE) == run) {
        enum queue_result res = task_claim_hinted(&t->lane, class, &r, &item);
        if (res == QUEUE_OK) {
            if (!waited) {
                task_unhint(&t->lane, class, &item);
            }
            task_run(mob, t, r, item.index);
            if (waited) { /* somebody waits for this very task: tidied up when it is done */
                task_unhint(&t->lane, class, &item);
            }
            waited = false;
        } else if (res == QUEUE_NONE) {
            park_or_spin(mob, t, ready, &item, run);
            waited = true;
        } else {
            fprintf(stderr,
                    "mobula: the job's queue is corrupt; a stray write by one of its "
                    "programs is the likely cause\n");
            _exit(3);
        }
    }
    /* Told to stop serving: a push that relied on this worker must find another. */
    if (queue_peek(ready, &item) == QUEUE_OK) {
        task_wake_worker(&mob->board, class);
    }
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
            serve(mob, t, run - 1, run);
            continue;
        }
        client_tidy(mob, &t->lane); /* it may sleep for long, and is woken for this too */
        lane_rest(&t->lane);
        at_store(&self->state, PROC_IDLE, AT_SEQ_CST);
        board_notice(&mob->board, NOTICE_LENT); /* this worker has no slot any more */
        (void)park_client(mob, t, &self->wake, seen, CLOCK_NEVER);
    }
}

void worker_run_inline(struct mob *mob, struct thread *t)
{
    struct record *r;
    struct queue_item item;
    for (uint32_t class = 0; class < CLASSES_MAX; class ++) {
        if (t->task && t->task->depth >= GET_NESTED_MAX) {
            return;
        }
        while (at_load(&mob->board.classes[class].used, AT_RELAXED) &&
               task_claim(&t->lane, class, &r, &item) == QUEUE_OK) {
            task_run(mob, t, r, item.index);
        }
    }
}
