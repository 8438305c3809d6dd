/* job_look.c - what the daemon looks at while a job runs: what its processes ask for on the board, what
 * a death left behind, and what its workers and queues are at, for the planner. */
#include <string.h>
#include <sys/uio.h>

#include "cluster.h"
#include "core/status.h"
#include "store/sweep.h"
#include "store/task.h"

/* ---- the bell ---------------------------------------------------------------------------------------------- */

/* What the daemon frees while a view pins it would stay until the daemon frees something else: it is
 * looked at again by and by, with the memory of a dead process that it may be the last to live in. */
static void limbo_late(struct loop_timer *timer)
{
    struct job *j = LOOP_OWNER(timer, struct job, limbo_timer);
    lane_reclaim(&j->lane);
    if (j->lane.limbo_count) {
        j->limbo_ns = j->limbo_ns * 2 < LIMBO_MAX_NS ? j->limbo_ns * 2 : LIMBO_MAX_NS;
        loop_timer_start(j->node->loop, timer, loop_now_ns(j->node->loop) + j->limbo_ns,
                         limbo_late);
    }
}

static void look_at_limbo(struct job *j)
{
    if (j->lane.limbo_count && !j->limbo_timer.active) {
        j->limbo_ns = RESCAN_NS;
        loop_timer_start(j->node->loop, &j->limbo_timer,
                         loop_now_ns(j->node->loop) + j->limbo_ns, limbo_late);
    }
}

static void rescan_late(struct loop_timer *timer)
{
    struct job *j = LOOP_OWNER(timer, struct job, timer);
    if (sweep_rescan(&j->lane)) {
        loop_timer_start(j->node->loop, &j->timer, loop_now_ns(j->node->loop) + RESCAN_NS,
                         rescan_late);
    }
    look_at_limbo(j);
}

bool job_queue_corrupt(const struct job *j)
{
    for (uint32_t c = 0; c < j->classes; c++) {
        struct queue_view ready = board_ready(&j->board, c);
        struct queue_item item;
        if (queue_peek(&ready, &item) == QUEUE_CORRUPT) {
            return true;
        }
    }
    return false;
}

static void audit_again(struct loop_timer *timer)
{
    struct job *j = LOOP_OWNER(timer, struct job, audit_timer);
    bool again;
    (void)sweep_audit(&j->lane, &again);
    if (again) { /* an id that is held hides its count: less and less often, as looking costs */
        j->audit_ns = j->audit_ns * 2 < AUDIT_MAX_NS ? j->audit_ns * 2 : AUDIT_MAX_NS;
        loop_timer_start(j->node->loop, timer, loop_now_ns(j->node->loop) + j->audit_ns,
                         audit_again);
    }
    look_at_limbo(j);
}

void job_audit(struct job *j)
{
    j->audit_ns = AUDIT_MIN_NS;
    audit_again(&j->audit_timer);
}

void job_notices(struct job *j)
{
    uint32_t bits = at_swap(&j->board.header->notice, 0, AT_SEQ_CST);
    if (bits & NOTICE_RECORDS) {
        (void)grant_records(j); /* whoever really has none asks, and is told */
    }
    if (bits & (NOTICE_PLACES | NOTICE_FOREIGN)) {
        lane_drain_ring(&j->lane);
        grant_collect(j);
    }
    if (bits & NOTICE_RESCAN) {
        guest_look_all(j); /* the ring may have been full */
    }
    if (bits & (NOTICE_FOREIGN | NOTICE_RESCAN)) {
        guest_flush(j);
        gang_look(j, bits & NOTICE_RESCAN);
        lineage_flush(j);
    }
    if (bits & NOTICE_DUE) {
        due_look(j);
    }
    if (bits & NOTICE_CANCEL) {
        away_cancels(j);
        gang_cancels(j);
        lineage_flush(j); /* of what is parked */
    }
    if (bits & NOTICE_RESCAN && !j->leaving && !j->timer.active) {
        loop_timer_start(j->node->loop, &j->timer, loop_now_ns(j->node->loop),
                         rescan_late);
    }
    if (bits & (NOTICE_ALERT | NOTICE_LENT)) {
        job_refresh(j);
    }
    look_at_limbo(j);
}

void job_rung(struct loop_op *op, int result)
{
    struct job *j = LOOP_OWNER(op, struct job, bell_op);
    uint64_t count;
    if (result < 0) {
        job_step(j);
        return;
    }
    /* The job's processes have the same open file, and may have made it a blocking one. */
    (void)!preadv2(j->bell, &(struct iovec){&count, sizeof count}, 1, -1, RWF_NOWAIT);
    if (!j->ended) {
        job_notices(j);
    }
}

/* ---- workers and queues, for the planner ------------------------------------------------------------------------ */

static void slot_changed(struct job *j, struct member *m)
{
    struct plan_node *plan = j->node->plan;
    struct plan_job id = job_plan_id(j);
    uint64_t now = loop_now_ns(j->node->loop);
    struct proc *p = &j->board.procs[m->proc];
    uint32_t state = at_load(&p->state, AT_SEQ_CST), run = at_load(&p->run, AT_RELAXED);
    if (m->slot == SLOT_STARTING || m->slot == SLOT_BARE) {
        return;
    }
    uint32_t cls = j->class_name[m->class];
    if (m->slot == SLOT_LENT && state != PROC_LENT) {
        m->slot = SLOT_RESUMING;
        (void)plan_node_slot_resume(plan, id, cls,
                                    now); /* calls back when there is room */
        pin_loose(m);
    } else if (m->slot == SLOT_BUSY && state == PROC_LENT) {
        pin_give(m); /* first: the planner gives its CPUs to others at once */
        if (plan_node_slot_lent(plan, id, cls, now) == MOB_OK) {
            m->slot = SLOT_LENT;
        } else {
            pin_take(m);
        }
    } else if (run == RUN_NONE && state == PROC_IDLE &&
               (m->slot == SLOT_BUSY || m->slot == SLOT_IDLE ||
                m->slot == SLOT_RESUMING)) {
        enum plan_slot from = proc_plan_slot(m->slot);
        m->slot = SLOT_BARE;
        m->asked_back = false;
        pin_give(m);
        (void)plan_node_slot_returned(plan, id, cls, from, now);
    } else if (m->slot == SLOT_RESUMING && state == PROC_IDLE) {
        /* Its task is over before there was room for it again, and there may never be: its group may be gone. */
        proc_ask_back(m);
    } else if (m->slot == SLOT_BUSY && state == PROC_IDLE) {
        m->slot = SLOT_IDLE;
        (void)plan_node_slot_idle(plan, id, cls, now);
    } else if (m->slot == SLOT_IDLE && state != PROC_IDLE) {
        m->slot = SLOT_BUSY;
        (void)plan_node_slot_busy(plan, id, cls, now);
    }
}

/* A class whose last known backlog is 0 has its alert armed: the next task that finds no idle
 * worker rings. While there is a backlog the planner looks now and then, and nobody rings. */
static void backlog_changed(struct job *j, uint32_t c)
{
    struct klass *k = &j->board.classes[c];
    if (gang_is_gate(&j->demand[c])) {
        gang_gates(j, c);
        return;
    }
    struct plan_hint hints[PLAN_HINTS_MAX];
    uint32_t hints_count = hint_backlog(j, c, hints);
    for (int look = 0; look < 2; look++) {
        uint64_t queued = task_ready_count(&j->board, c);
        uint32_t hint = queued < PLAN_TASKS_MAX ? (uint32_t)queued : PLAN_TASKS_MAX;
        j->backlog[c] = hint;
        (void)plan_node_backlog(j->node->plan, job_plan_id(j), j->class_name[c], hint,
                                hints, hints_count, loop_now_ns(j->node->loop));
        if (hint > 0) {
            at_store(&k->alert, 0, AT_SEQ_CST);
            return;
        }
        /* Armed, then looked once more; pairs with task_wake_worker(). */
        at_store(&k->alert, 1, AT_SEQ_CST);
        if (task_ready_count(&j->board, c) == 0) {
            return;
        }
    }
}

void job_refresh(struct job *j)
{
    if (j->ended) {
        return;
    }
    look_at_limbo(j);
    job_look_at_classes(j);
    if (j->failed || j->inline_tasks) {
        return;
    }
    for (uint32_t i = 2; i < j->members_top; i++) {
        if (j->members[i].used && !j->members[i].dead) {
            slot_changed(j, &j->members[i]);
        }
    }
    demand_look(j);
    for (uint32_t c = 0; c < j->classes && !j->leaving; c++) {
        if (job_has_class(j, c)) {
            backlog_changed(j, c);
        }
    }
    plan_arm(j->node);
}
