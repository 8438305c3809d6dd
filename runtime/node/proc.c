/* proc.c - workers: told what to run, watched, and swept when they end. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "store/request.h"
#include "store/sweep.h"
#include "store/task.h"

void proc_run(struct member *m, uint32_t run)
{
    at_store(&m->job->board.procs[m->proc].run, run, AT_SEQ_CST);
    task_wake_process(&m->job->board, m->proc);
}

void proc_ask_back(struct member *m)
{
    if (!m->asked_back) {
        m->asked_back = true;
        proc_run(m, m->gpus ? RUN_EXIT : RUN_NONE);
    }
}

void proc_joined(struct member *m)
{
    struct job *j = m->job;
    if (!m->used || m->dead || m->slot != SLOT_STARTING) {
        return;
    }
    loop_timer_stop(j->node->loop, &m->timer);
    m->slot = SLOT_BUSY;
    j->early_kills = 0;
    j->start_why[0] = '\0';
    at_store(&j->board.procs[m->proc].state, PROC_BUSY, AT_RELAXED);
    proc_run(m, j->leaving ? RUN_EXIT : m->class + 1);
    (void)plan_node_worker_started(j->node->plan, job_plan_id(j), j->class_name[m->class],
                                   loop_now_ns(j->node->loop));
    job_refresh(j);
}

/* ---- ending --------------------------------------------------------------------------------------------------- */

static const char *how_it_ended(const struct member *m, char *buf, size_t size)
{
    if (m->late) {
        snprintf(buf, size, "it did not reach mob_init() within %llu s",
                 (unsigned long long)(WORKER_START_NS / 1000000000ull));
    } else if (m->ordered && m->signalled) {
        snprintf(buf, size, "it was ended by force, for a task that was not to go on");
    } else if (m->signalled) {
        snprintf(buf, size, "it was killed by signal %d (%s)", m->exit_status,
                 strsignal(m->exit_status));
    } else {
        snprintf(buf, size, "it exited with status %d", m->exit_status);
    }
    return buf;
}

/* The end of what it wrote to stderr, from the beginning of a line. */
static const char *last_lines(const struct member *m, int *ret_size)
{
    const char *from = m->tail, *end = m->tail + m->tail_size;
    while (end > from && (end[-1] == '\n' || end[-1] == '\0')) {
        end--;
    }
    const char *line = m->tail_cut ? memchr(from, '\n', (size_t)(end - from)) : NULL;
    from = line ? line + 1 : from;
    *ret_size = (int)(end - from);
    return from;
}

/* Says why a task failed whose worker died. */
static void reason(void *arg, struct record *r, mob_status error, uint32_t attempt)
{
    struct member *m = arg;
    struct job *j = m->job;
    char name[MOB_NAME_MAX + 1], how[128], text[FAILURE_TEXT_MAX];
    int size;
    const char *lines = last_lines(m, &size);
    board_name_text(&j->board, r->name, name);
    snprintf(text, sizeof text,
             "task %s (attempt %u, node %010llx, pid %d): its worker died: %s%s%.*s",
             name, attempt + 1, (unsigned long long)j->node->id, (int)m->pid,
             how_it_ended(m, how, sizeof how), size ? "; its last lines:\n" : "", size,
             lines);
    grant_error(j, r, error, text);
}

enum plan_slot proc_plan_slot(enum slot_state s)
{
    switch (s) {
    case SLOT_STARTING:
        return PLAN_SLOT_STARTING;
    case SLOT_BUSY:
        return PLAN_SLOT_BUSY;
    case SLOT_IDLE:
        return PLAN_SLOT_IDLE;
    case SLOT_LENT:
        return PLAN_SLOT_LENT;
    case SLOT_RESUMING:
        return PLAN_SLOT_RESUMING;
    case SLOT_BARE:
    case SLOT_NONE:
        break;
    }
    return PLAN_SLOT_NONE;
}

void proc_sweep(struct member *m)
{
    struct job *j = m->job;
    struct sweep_result res;
    grant_orphan(j, m->proc);
    sweep_process(&j->lane, m->proc, m->ordered, reason, m, &res);
    if (res.corrupt || job_queue_corrupt(j)) {
        job_fail(j, MOB_ERR_CORRUPT,
                 "the job's shared memory is corrupt; a stray write by one of its "
                 "programs is the "
                 "likely cause");
        return;
    }
    job_audit(j);
    request_remake(&j->board); /* of what it asked for, and died before it said so */
    due_look(j);
    (void)sweep_blocks(&j->lane);
    grant_count_orphans(j);
    j->requeued += res.requeued;
    j->failed_tasks += res.failed;
    timeline_note(j->node, TIMELINE_DIED, j->number, timeline_now(j->node), LINK_NONE,
                  (uint64_t)m->pid, m->proc, MOB_OK);
    guest_look_all(j); /* it may have sealed a task and died before it said so */
    guest_flush(j);
    gang_look(j, true);
    lineage_flush(j);
    char how[128];
    log_info("worker ended job %u pid %d: %s; tasks requeued %u failed %u", j->number,
             (int)m->pid, how_it_ended(m, how, sizeof how), res.requeued, res.failed);
}

/* Workers that end before they joined end the job: the next ones would do the same. */
static void failed_to_start(struct member *m)
{
    char text[FAILURE_TEXT_MAX], how[128];
    int size;
    const char *lines = last_lines(m, &size);
    snprintf(text, sizeof text,
             "the job's workers do not start: %s%s (pid %d). A worker is this program, "
             "started again with the same arguments: mob_init() must be reached.%s%.*s",
             how_it_ended(m, how, sizeof how), m->late ? "" : " before mob_init()",
             (int)m->pid, size ? " It wrote: " : "", size, lines);
    job_fail(m->job, MOB_ERR_JOB_FAILED, text);
}

/* The last thing that was in the way of using the member's place again may be gone. */
static void settle(struct member *m)
{
    struct job *j = m->job;
    if (!m->used || !m->dead || m->swept || m->err.open || m->out.open ||
        loop_op_busy(&m->op)) {
        return;
    }
    m->swept = true;
    loop_timer_stop(j->node->loop,
                    &m->timer); /* the place, or the whole job, may go now */
    struct plan_job id = job_plan_id(j);
    uint64_t now = loop_now_ns(j->node->loop);
    bool started = m->slot != SLOT_STARTING;
    if (!j->ended) {
        proc_sweep(m);
        /* Killed from outside, which says nothing of the program, it is started again, and the planner
         * hears of it as of one that had joined; unless that goes on and on. */
        bool outside = m->signalled && m->exit_status == SIGKILL && !m->late;
        if (!started && !j->leaving && !outside) {
            failed_to_start(m);
        } else if (!started && outside && ++j->early_kills <= EARLY_KILLS_MAX) {
            (void)plan_node_worker_started(j->node->plan, id, j->class_name[m->class],
                                           now);
            m->slot = SLOT_BUSY;
            started = true;
        }
    }
    enum slot_state slot = m->slot;
    gpu_give(&j->node->gpus, m->gpus, j->demand[m->class].need.amount[RESOURCE_GPU]);
    pin_give(m);
    m->slot = SLOT_NONE; /* the planner gives it nothing more: see find() in plan.c */
    if (!started) {
        (void)plan_node_worker_failed(j->node->plan, id, j->class_name[m->class], now);
    } else {
        (void)plan_node_worker_died(j->node->plan, id, j->class_name[m->class],
                                    proc_plan_slot(slot), now);
    }
    if (m->gpus) {
        plan_start_waiting(j->node);
    }
    if (!j->ended) {
        job_notices(j);
        job_refresh(j);
    }
    meet_forget(m);
    if (m->conn) {
        m->conn->job = NULL; /* it closes by itself: the other end is gone */
        conn_close(m->conn);
        m->conn = NULL;
    }
    loop_timer_stop(j->node->loop, &m->timer); /* its place is used again */
    m->used = false;
}

void proc_settle_all(struct job *j)
{
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        settle(&j->members[i]);
    }
}

/* A grandchild may hold the worker's pipes open for ever: they are not waited for longer. */
static void pipes_late(struct loop_timer *timer)
{
    struct member *m = LOOP_OWNER(timer, struct member, timer);
    stream_close(&m->out);
    stream_close(&m->err);
}

void proc_ended(struct loop_op *op, int result)
{
    struct member *m = LOOP_OWNER(op, struct member, op);
    if (!m->dead && result >= 0) {
        siginfo_t info = {0};
        if (waitid(P_PIDFD, (id_t)m->pidfd, &info, WEXITED | WNOHANG) < 0 ||
            info.si_pid == 0) {
            return; /* not yet */
        }
        m->dead = true;
        m->exit_status = info.si_status;
        m->signalled = info.si_code != CLD_EXITED;
        loop_timer_start(m->job->node->loop, &m->timer,
                         loop_now_ns(m->job->node->loop) + PIPES_GRACE_NS, pipes_late);
        loop_cancel(m->job->node->loop, op);
    }
    if (!loop_op_busy(op)) {
        close(m->pidfd);
        job_step(m->job);
    }
}

void proc_end_all(struct job *j, bool kill_now)
{
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        struct member *m = &j->members[i];
        if (m->used && !m->dead) {
            proc_run(m, RUN_EXIT);
            if (kill_now) {
                kill(m->pid, SIGKILL);
            }
        }
    }
}

bool proc_all_gone(const struct job *j)
{
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        if (j->members[i].used) {
            return false;
        }
    }
    return true;
}
