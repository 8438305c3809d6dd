/* timeline.c - what this process does, recorded while somebody wants to know (store/timeline.h). Never on the
 * path of a task that is not recorded. */
#include "client.h"
#include "store/timeline.h"

void timeline_look(struct mob *mob, struct thread *t)
{
    bool recorded = at_load(&mob->board.header->unusual, AT_ACQUIRE) == BOARD_RECORDED;
    t->lane.timeline = recorded ? board_timeline(&mob->board, mob->self) : NULL;
    if (__builtin_expect(recorded != at_load(&mob->recorded, AT_RELAXED), 0)) {
        at_store(&mob->recorded, recorded, AT_RELAXED);
        registry_forget(
            mob); /* runs get timeline_run(), or their functions, from now on */
    }
}

/* Which of the process's threads it is, more or less: its ledger is its alone. */
static uint32_t thread_number(const struct thread *t)
{
    return (uint32_t)(t->lane.ledgers[0] - t->mob->board.ledgers);
}

static uint64_t put(const struct thread *t, enum timeline_kind kind, uint64_t start_ns,
                    uint64_t outcome, uint64_t link, uint64_t parent)
{
    const struct record *r = board_record(&t->mob->board, link_index(link));
    if (!r) {
        return 0;
    }
    struct call call = record_call(r);
    uint32_t attempt = state_attempt(at_load(&r->state, AT_RELAXED));
    return timeline_put(
        t->lane.timeline,
        timeline_what(kind, attempt, call_class(&call), thread_number(t), r->name),
        start_ns, outcome, link, parent, 0, (uint32_t)t->mob->pid);
}

__attribute__((noinline)) void timeline_submitted(struct thread *t, uint64_t start_ns,
                                                  uint64_t link)
{
    (void)put(t, TIMELINE_SUBMIT, start_ns,
              timeline_outcome(clock_now_ns() - start_ns, MOB_OK), link,
              t->task ? t->task->link : LINK_NONE);
}

mob_status timeline_run(struct mob_task *task)
{
    struct timeline_ring *ring = task->thread->lane.timeline; /* it may go meanwhile */
    uint64_t parent = call_options(&task->call) & CALL_HAS_PARENT
                          ? at_load(&task->r->parent, AT_RELAXED)
                          : LINK_NONE;
    mob_fn fn = task->thread->recorded; /* before it runs others in itself */
    uint64_t start_ns = clock_now_ns();
    uint64_t number = put(task->thread, TIMELINE_RUN, start_ns, 0, task->link, parent);
    mob_status st = fn(task);
    timeline_end(ring, number, timeline_outcome(clock_now_ns() - start_ns, st));
    return st;
}

__attribute__((noinline)) void timeline_got(struct thread *t, uint64_t start_ns,
                                            uint64_t link, mob_status st)
{
    uint64_t outcome = timeline_outcome(clock_now_ns() - start_ns, st);
    uint64_t parent = t->task ? t->task->link : LINK_NONE;
    if (link == LINK_NONE) {
        (void)timeline_put(t->lane.timeline,
                           timeline_what(TIMELINE_GET, 0, 0, thread_number(t), 0),
                           start_ns, outcome, link, parent, 0, (uint32_t)t->mob->pid);
    } else {
        (void)put(t, TIMELINE_GET, start_ns, outcome, link, parent);
    }
}
