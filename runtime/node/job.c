/* job.c - a job on this node: from its driver's hello to the last trace of it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/seg.h"
#include "core/status.h"
#include "core/text.h"
#include "spill.h"
#include "store/sweep.h"
#include "store/task.h"

/* What a board costs beside its records: the fixed part, and the ready queue of the first class. */
static uint64_t board_extra_bytes(void)
{
    return sizeof(at_u64) << BOARD_QUEUE_ORDER;
}

uint64_t job_least_bytes(void)
{
    return board_fixed_bytes() + board_extra_bytes() +
           BOARD_STEP_BYTES;
}

struct plan_job job_plan_id(const struct job *j)
{
    return j->guest ? j->guest->key->ours : (struct plan_job){j->node->id, j->number};
}

struct job *job_find(struct node *n, uint32_t number)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (n->jobs[i] && n->jobs[i]->number == number) {
            return n->jobs[i];
        }
    }
    return NULL;
}

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
    if (j->ended) {
        job_step(j);
        return;
    }
    if (j->leaving) { /* the grace is over */
        if (j->killed) {
            away_abandon(j);
            job_step(j);
            return;
        }
        j->killed = true;
        proc_end_all(j, true);
        away_close(j, true);
        loop_timer_start(j->node->loop, &j->timer,
                         loop_now_ns(j->node->loop) + LEAVE_GUESTS_NS, rescan_late);
        return;
    }
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
    }
    if (bits & NOTICE_CANCEL) {
        away_cancels(j);
    }
    if (bits & NOTICE_RESCAN && !j->timer.active) {
        loop_timer_start(j->node->loop, &j->timer, loop_now_ns(j->node->loop),
                         rescan_late);
    }
    if (bits & (NOTICE_ALERT | NOTICE_LENT)) {
        job_refresh(j);
    }
    look_at_limbo(j);
}

static void rung(struct loop_op *op, int result)
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
    if (m->slot == SLOT_LENT && state != PROC_LENT) {
        m->slot = SLOT_RESUMING;
        (void)plan_node_slot_resume(plan, id, m->class,
                                    now); /* calls back when there is room */
    } else if (m->slot == SLOT_BUSY && state == PROC_LENT) {
        if (plan_node_slot_lent(plan, id, m->class, now) == MOB_OK) {
            m->slot = SLOT_LENT;
        }
    } else if (run == RUN_NONE && state == PROC_IDLE &&
               (m->slot == SLOT_BUSY || m->slot == SLOT_IDLE)) {
        enum plan_slot from = m->slot == SLOT_BUSY ? PLAN_SLOT_BUSY : PLAN_SLOT_IDLE;
        m->slot = SLOT_BARE;
        m->asked_back = false;
        (void)plan_node_slot_returned(plan, id, m->class, from, now);
    } else if (m->slot == SLOT_BUSY && state == PROC_IDLE) {
        m->slot = SLOT_IDLE;
        (void)plan_node_slot_idle(plan, id, m->class, now);
    } else if (m->slot == SLOT_IDLE && state != PROC_IDLE) {
        m->slot = SLOT_BUSY;
        (void)plan_node_slot_busy(plan, id, m->class, now);
    }
}

/* A class whose last known backlog is 0 has its alert armed: the next task that finds no idle
 * worker rings. While there is a backlog the planner looks now and then, and nobody rings. */
static void backlog_changed(struct job *j, uint32_t c)
{
    struct queue_view ready = board_ready(&j->board, c);
    struct klass *k = &j->board.classes[c];
    struct plan_hint hints[PLAN_HINTS_MAX];
    uint32_t hints_count = hint_backlog(j, c, hints);
    for (int look = 0; look < 2; look++) {
        uint64_t queued = queue_count(&ready);
        uint32_t hint = queued < PLAN_TASKS_MAX ? (uint32_t)queued : PLAN_TASKS_MAX;
        j->backlog[c] = hint;
        (void)plan_node_backlog(j->node->plan, job_plan_id(j), c, hint, hints,
                                hints_count, loop_now_ns(j->node->loop));
        if (hint > 0) {
            at_store(&k->alert, 0, AT_SEQ_CST);
            return;
        }
        /* Armed, then looked once more; pairs with task_wake_worker(). */
        at_store(&k->alert, 1, AT_SEQ_CST);
        if (queue_count(&ready) == 0) {
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
    if (j->failed || j->inline_tasks) {
        return;
    }
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        if (j->members[i].used && !j->members[i].dead) {
            slot_changed(j, &j->members[i]);
        }
    }
    demand_look(j);
    for (uint32_t c = 0; c < j->classes && !j->leaving; c++) {
        backlog_changed(j, c);
    }
    plan_arm(j->node);
}

/* ---- beginning ---------------------------------------------------------------------------------------------------- */

static mob_status add_class(struct job *j, uint32_t units, uint32_t *ret);

void job_sync_classes(struct job *j)
{
    const struct guest_key *k = j->guest->key;
    uint32_t unused;
    while (j->classes < k->classes &&
           add_class(j, k->units[j->classes], &unused) == MOB_OK) {
    }
}

mob_status job_add_class(struct job *j, uint32_t units, uint32_t *ret)
{
    if (j->guest) { /* a lease may have named classes before: numbered as the planner knows them */
        MOB_TRY(guest_key_class(j->guest->key, units, ret));
        job_sync_classes(j);
        return *ret < j->classes ? MOB_OK : MOB_ERR_FULL;
    }
    return add_class(j, units, ret);
}

static mob_status add_class(struct job *j, uint32_t units, uint32_t *ret)
{
    for (uint32_t c = 0; c < j->classes; c++) {
        if (j->class_units[c] == units) {
            *ret = c;
            return MOB_OK;
        }
    }
    if (j->classes == CLASSES_MAX) {
        return status_fail(MOB_ERR_FULL,
                           "the job uses %d different demands of CPUs, the most that "
                           "it may have",
                           CLASSES_MAX);
    }
    uint32_t c = j->classes;
    MOB_TRY(plan_node_class_add(j->node->plan, job_plan_id(j), c, units,
                                loop_now_ns(j->node->loop)));
    j->class_units[c] = units;
    at_store(&j->board.classes[c].demand, units, AT_RELAXED);
    at_store(&j->board.classes[c].alert, j->inline_tasks ? 0 : 1, AT_RELAXED);
    at_store(&j->board.classes[c].used, 1, AT_RELEASE);
    j->classes++;
    *ret = c;
    return MOB_OK;
}

void job_class(struct conn *c, struct local_msg *m)
{
    uint32_t class = 0;
    mob_status st = m->arg[0] <= (uint64_t)NODE_CPUS_MAX * CPU_UNITS
                        ? demand_check(c->job, m->arg[0])
                        : status_fail(MOB_ERR_INVALID, "a demand of %llu CPU units",
                                      (unsigned long long)m->arg[0]);
    st = st ? st : job_add_class(c->job, (uint32_t)m->arg[0], &class);
    if (st) {
        conn_deny(c, m->op, st);
        return;
    }
    local_msg_init(m, LOCAL_CLASS);
    m->arg[0] = class;
    conn_reply(c, m, NULL, 0);
}

static mob_status read_spawn(struct job *j, int fd, uint64_t size)
{
    void *base;
    MOB_TRY(seg_map(fd, size, SEG_READ, &base));
    mob_status st = local_spawn_unpack(base, size, &j->spawn);
    if (!st && j->node->cluster) { /* as other nodes will get it */
        j->away.start = malloc(size);
        j->away.start_size = size;
        st = j->away.start ? MOB_OK : status_fail(MOB_ERR_NOMEM, "no memory for a job");
        if (!st) {
            memcpy(j->away.start, base, size);
        }
    }
    seg_unmap(base, size);
    return st;
}

static mob_status make_board(struct job *j)
{
    struct budget *b = &j->node->budget;
    struct budget_owner owner = {j->index, BUDGET_DAEMON};
    uint64_t bytes = job_least_bytes(), made;
    MOB_TRY(budget_take(b, owner, bytes));
    mob_status st = board_create(j->node->id, j->number, &j->board, &made);
    if (st) {
        budget_cancel(b, owner, bytes);
        return st;
    }
    budget_committed(b, bytes);
    j->board_bytes = bytes;
    st = lane_init(&j->lane, &j->board, DAEMON, grant_free_place, j);
    if (st) {
        budget_give(b, owner, bytes);
        board_unmap(&j->board);
    }
    return st;
}

static void job_free(struct job *j)
{
    struct node *n = j->node;
    loop_timer_stop(n->loop, &j->timer);
    loop_timer_stop(n->loop, &j->demand_timer);
    guest_free(j);
    away_free(j);
    spill_job_free(j);
    if (j->driver) { /* the node stops, and its driver is still there */
        j->driver->job = NULL;
    }
    if (j->board.base) {
        grant_end(j);
        arena_destroy(j->arena);
        lane_fini(&j->lane);
        board_unmap(&j->board);
        budget_give(&n->budget, (struct budget_owner){j->index, BUDGET_DAEMON},
                    j->board_bytes);
    }
    output_fini(&j->out);
    output_fini(&j->err);
    local_spawn_free(&j->spawn);
    for (int *fd = (int[]){j->bell, j->watch, j->exe, -2}; *fd != -2; fd++) {
        if (*fd >= 0) {
            close(*fd);
        }
    }
    n->jobs[j->index] = NULL;
    free(j);
}

static mob_status job_new(struct node *n, struct job **ret)
{
    uint32_t i = 0;
    while (i < JOBS_MAX && n->jobs[i]) {
        i++;
    }
    struct job *j = i < JOBS_MAX ? calloc(1, sizeof *j) : NULL;
    if (!j) {
        return status_fail(i < JOBS_MAX ? MOB_ERR_NOMEM : MOB_ERR_FULL,
                           "the node has %u jobs, and no room for one more", i);
    }
    j->node = n;
    j->index = i;
    j->number = ++n->last_job;
    j->bell = j->watch = j->exe = j->out.fd = j->err.fd = -1;
    n->jobs[i] = j;
    *ret = j;
    return MOB_OK;
}

/* The daemon rings it too, for what its own steps on the board leave to be done: a notice that was
 * set without a ring would keep all others from ringing. */
static mob_status make_bell(struct job *j)
{
    j->bell = eventfd_new();
    j->board.bell = j->bell;
    return j->bell >= 0 ? MOB_OK : status_fail(MOB_ERR_SYSTEM, "eventfd: %m");
}

/* @fds are the job's from here on, whether it begins or not. */
static mob_status begin(struct job *j, struct conn *c, struct local_msg *m, int *fds,
                        int *ret_watch)
{
    struct node *n = j->node;
    int pipe_fds[2];
    uint32_t class = 0;
    bool forward = !(m->arg[5] & 1);
    j->inline_tasks = m->arg[5] & 2;
    j->exe = fds[0];
    output_init(&j->out, j, forward ? fds[2] : -1);
    output_init(&j->err, j, forward ? fds[3] : -1);
    for (int i = 2; i < 4 && !forward; i++) {
        close(fds[i]);
    }
    snprintf(j->name, sizeof j->name, "%.*s", (int)sizeof j->name - 1, m->text);
    mob_status st = read_spawn(j, fds[1], m->arg[4]);
    close(fds[1]);
    MOB_TRY(st);
    MOB_TRY(make_board(j));
    MOB_TRY(make_bell(j));
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return status_fail(MOB_ERR_SYSTEM, "pipe: %m");
    }
    /* What the daemon itself leaves for later rings too: else the notice stays set, and whoever
     * sets another one finds it and does not ring. */
    j->board.bell = j->bell;
    j->watch = pipe_fds[1];
    (void)fcntl(j->watch, F_SETFL,
                O_NONBLOCK); /* a driver that stands still holds up nobody */
    *ret_watch = pipe_fds[0];
    MOB_TRY(plan_node_job_add(n->plan, job_plan_id(j), 1, loop_now_ns(n->loop)));
    MOB_TRY(add_class(j, CPU_UNITS, &class));
    at_store(&j->board.procs[1].pid, (uint32_t)c->pid, AT_RELAXED);
    at_store(&j->board.procs[1].state, PROC_DRIVER, AT_RELEASE);
    return MOB_OK;
}

void job_hello(struct conn *c, struct local_msg *m, int *fds, unsigned count)
{
    struct job *j;
    int watch = -1;
    mob_status st =
        count == 4 && !c->node->stopping
            ? job_new(c->node, &j)
            : status_fail(MOB_ERR_PROTOCOL, "the node takes no job now, or the hello is "
                                            "malformed");
    if (st) {
        for (unsigned i = 0; i < count; i++) {
            close(fds[i]);
        }
        conn_deny(c, m->op, st);
        return;
    }
    st = begin(j, c, m, fds, &watch);
    if (st) {
        (void)plan_node_job_remove(c->node->plan, job_plan_id(j),
                                   loop_now_ns(c->node->loop));
        conn_deny(c, LOCAL_HELLO, st);
        job_free(j);
        if (watch >= 0) {
            close(watch);
        }
        return;
    }
    j->driver = c;
    c->job = j;
    c->proc = 1;
    loop_watch(c->node->loop, &j->bell_op, j->bell, POLLIN, rung);
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = c->node->id;
    m->arg[1] = j->number;
    m->arg[2] = 1;
    m->arg[3] = c->node->cpus;
    m->arg[4] = c->node->config.embedded >= 0;
    m->arg[5] = c->node->budget.limit_bytes;
    conn_reply(c, m, (int[]){j->board.fd, j->bell, watch}, 3);
    close(watch);
    log_info("job began job %u pid %d name %s", j->number, (int)c->pid, j->name);
}

mob_status job_open_guest(struct node *n, struct guest *g, const char *name,
                          struct job **ret)
{
    struct job *j;
    MOB_TRY(job_new(n, &j));
    j->guest = g;
    j->out.guest = j->err.guest = j;
    j->out.stream = 1;
    j->err.stream = 2;
    snprintf(j->name, sizeof j->name, "%s", name);
    mob_status st = make_board(j);
    if (!st) {
        st = make_bell(j);
    }
    if (!st) {
        st = plan_node_job_add(n->plan, g->key->ours, 1, loop_now_ns(n->loop));
    }
    if (st) {
        j->guest = NULL; /* the caller's still */
        job_free(j);
        return st;
    }
    j->lane.sealed = guest_sealed;
    j->lane.sealed_arg = j;
    job_sync_classes(j);
    loop_watch(n->loop, &j->bell_op, j->bell, POLLIN, rung);
    log_info("job began job %u of another node, name %s", j->number, j->name);
    *ret = j;
    return MOB_OK;
}

/* ---- ending --------------------------------------------------------------------------------------------------------- */

void job_fail(struct job *j, mob_status st, const char *text)
{
    if (j->failed || j->ended) {
        return;
    }
    if (j->guest) {
        guest_failed(j, text);
        return;
    }
    j->failed = true;
    away_close(j, true);
    if (j->node->config.embedded <
        0) { /* else its terminal is the program's, which says it */
        log_warn("job failed job %u: %s", j->number, text);
    }
    /* Filled only once, and before the status: who sees the status sees the text. */
    (void)text_shorten(j->board.header->failure, FAILURE_TEXT_MAX, text, strlen(text));
    at_store(&j->board.header->failed, (uint32_t)st, AT_SEQ_CST);
    (void)!write(j->watch, "f", 1);
    sweep_wake_all(&j->board);
    proc_end_all(j, true);
}

void job_leave(struct conn *c)
{
    struct job *j = c->job;
    if (c->role != LOCAL_DRIVER || j->leaving) {
        conn_deny(c, LOCAL_LEAVE,
                  status_fail(MOB_ERR_PROTOCOL, "only a driver leaves, and once"));
        return;
    }
    job_close(j);
}

void job_close(struct job *j)
{
    if (j->leaving || j->ended) {
        return;
    }
    j->leaving = true;
    away_close(j, false);
    for (uint32_t i = 0; i < board_committed(&j->board); i++) {
        struct record *r = &j->board.records[i];
        task_cancel(&j->lane, r, state_gen(at_load(&r->state, AT_RELAXED)));
    }
    proc_end_all(j, false);
    loop_timer_start(j->node->loop, &j->timer,
                     loop_now_ns(j->node->loop) + LEAVE_GRACE_NS, rescan_late);
    job_step(j);
}

void job_end(struct job *j)
{
    if (j->ended) {
        return;
    }
    j->ended = true;
    log_info("job ended job %u", j->number);
    proc_end_all(j, true);
    away_close(j, true);
    fetch_end_job(j);
    spill_end_job(j);
    loop_cancel(j->node->loop, &j->bell_op);
    loop_timer_stop(j->node->loop, &j->timer);
    loop_timer_stop(j->node->loop, &j->audit_timer);
    loop_timer_stop(j->node->loop, &j->limbo_timer);
    loop_timer_stop(j->node->loop, &j->demand_timer);
    job_step(j);
}

static bool output_done(const struct job *j)
{
    return output_empty(&j->out) && output_empty(&j->err);
}

void job_step(struct job *j)
{
    struct node *n = j->node;
    proc_settle_all(j);
    if (!proc_all_gone(j)) {
        return;
    }
    if (j->guest && j->leaving && !j->ended && away_closed(j)) {
        guest_ended(j);
        job_end(j);
        return;
    }
    if (j->leaving && !j->replied && j->driver && away_closed(j) && output_done(j)) {
        j->replied = true;
        local_msg_init(n->scratch, LOCAL_LEAVE);
        conn_reply(j->driver, n->scratch, NULL, 0);
    }
    if (!j->ended || loop_op_busy(&j->bell_op) || j->busy) {
        return;
    }
    if (j->guest) {
        guest_ended(j);
    }
    if (!output_done(j)) { /* nobody waits for it any more */
        output_drop(&j->out);
        output_drop(&j->err);
        if (!output_done(j)) {
            return;
        }
    }
    (void)plan_node_job_remove(n->plan, job_plan_id(j), loop_now_ns(n->loop));
    job_free(j);
    plan_arm(n);
    node_step(n);
}
