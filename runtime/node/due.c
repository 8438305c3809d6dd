/* due.c - what is asked of tasks for a certain time (store/request.h): deadlines, and ends by force.
 *
 * One timer for each job, set for the earliest time that is asked for. Clients ring only if they ask for an
 * earlier one, and so a deadline costs the submitter two looks at words that are set already. What runs on
 * another node is told to that node (away_cancels()), whose daemon ends it by its own clock. */
#include <signal.h>

#include "cluster.h"
#include "core/log.h"
#include "store/request.h"
#include "store/task.h"

/* Ends the worker that runs a task. Between the look and the kill it may have come to the next one, which then
 * runs again elsewhere at no cost to its retries (sweep_process()). */
static void end_worker(struct job *j, const struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_SEQ_CST);
    uint32_t holder = state_holder(s); /* which clients can write: looked up below */
    struct member *m = holder < PROCS_MAX ? &j->members[holder] : NULL;
    if (state_gen(s) == gen && state_phase(s) == PHASE_TAKEN && m && m->used &&
        !m->dead && m->slot != SLOT_STARTING) {
        log_info("job %u: worker pid %d is ended for a task that is not to go on",
                 j->number, (int)m->pid);
        m->ordered = true;
        kill(m->pid, SIGKILL);
    }
}

/* A tick has passed of a record that is not sealed. */
static uint32_t due(void *arg, uint32_t index, uint32_t gen, uint32_t request)
{
    struct job *j = arg;
    struct board *b = &j->board;
    struct record *r = &b->records[index];
    uint64_t now = loop_now_ns(j->node->loop);
    if (request_kind(request) == REQUEST_START) {
        uint64_t word = (uint64_t)gen << 32 | request;
        uint32_t late =
            request_make(REQUEST_LATE, request_tick_at(b, now + MOB_GRACE_NS)) |
            (request & REQUEST_RECURSIVE);
        if (!at_cas(&b->requests[index], &word, (uint64_t)gen << 32 | late, AT_SEQ_CST)) {
            return 0; /* cancelled by force meanwhile, which is noted by whoever did it */
        }
        task_cancel(&j->lane, r, gen);
        return late;
    }
    task_cancel(&j->lane, r, gen); /* it may have come back from another node */
    end_worker(j, r, gen);
    return 0;
}

static void look_later(struct loop_timer *timer)
{
    due_look(LOOP_OWNER(timer, struct job, due_timer));
}

void due_look(struct job *j)
{
    struct loop *loop = j->node->loop;
    uint64_t now = loop_now_ns(loop);
    uint32_t tick;
    if (!j->ended &&
        request_look(&j->board, request_tick_passed(&j->board, now), due, j, &tick)) {
        loop_timer_start(loop, &j->due_timer, now + request_left_ns(&j->board, tick, now),
                         look_later);
    }
}
