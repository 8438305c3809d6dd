/* job.c - a job on this node: from its driver's hello to the last trace of it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    return board_fixed_bytes() + board_extra_bytes() + BOARD_STEP_BYTES;
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

/* ---- beginning ---------------------------------------------------------------------------------------------------- */

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

static void free_daemons(void *job, const struct place *p)
{
    if (p->kind == PLACE_SPILLED) {
        spill_free_place(job, p);
    } else {
        lineage_free_place(job, p);
    }
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
    snprintf(j->board.header->job_name, sizeof j->board.header->job_name, "%s", j->name);
    st = lane_init(&j->lane, &j->board, DAEMON, grant_free_place, j);
    if (st) {
        budget_give(b, owner, bytes);
        board_unmap(&j->board);
    }
    j->lane.sealed = guest_sealed;
    j->lane.sealed_arg = j;
    j->lane.free_daemons = free_daemons;
    return st;
}

static void job_free(struct job *j)
{
    struct node *n = j->node;
    loop_timer_stop(n->loop, &j->timer);
    loop_timer_stop(n->loop, &j->demand_timer);
    loop_timer_stop(n->loop, &j->class_timer);
    loop_timer_stop(n->loop, &j->due_timer);
    gang_end_job(j);
    group_end_job(j);
    guest_free(j);
    away_free(j);
    lineage_free(j);
    spill_job_free(j);
    if (j->driver) { /* the node stops, and its driver is still there */
        j->driver->job = NULL;
    }
    if (j->board.base) {
        n->tasks_ended += status_tasks_done(j);
        grant_end(j);
        arena_destroy(j->arena);
        lane_fini(&j->lane);
        timeline_keep(j);
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
    while (n->jobs_top && !n->jobs[n->jobs_top - 1]) {
        n->jobs_top--;
    }
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
    j->ahead = SEGMENT_NO;
    j->bell = j->watch = j->exe = j->out.fd = j->err.fd = -1;
    n->jobs[i] = j;
    n->jobs_top = i < n->jobs_top ? n->jobs_top : i + 1;
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
    uint64_t weight = m->arg[5] >> 32 ? m->arg[5] >> 32 : 1;
    if (weight > PLAN_WEIGHT_MAX) {
        return status_fail(MOB_ERR_INVALID, "a job's weight is at most %d",
                           PLAN_WEIGHT_MAX);
    }
    MOB_TRY(plan_node_job_add(n->plan, job_plan_id(j), (uint32_t)weight,
                              loop_now_ns(n->loop)));
    struct demand usual = demand_usual();
    MOB_TRY(job_add_class(j, &usual, &class));
    at_store(&j->board.procs[1].pid, (uint32_t)c->pid, AT_RELAXED);
    at_store(&j->board.procs[1].state, PROC_DRIVER, AT_RELEASE);
    return MOB_OK;
}

void job_make_room(struct node *n)
{
    grant_want(n);
    spill_pressure(n, job_least_bytes());
}

/* Where others leave no memory for a job, their objects go to disk: MOB_ERR_TIMEOUT asks the driver to say hello
 * again. It ends that by itself if nothing can go. */
static mob_status or_later(struct conn *c, mob_status st)
{
    if (st != MOB_ERR_NOMEM || !c->node->spill || c->node->budget.used_bytes == 0) {
        return st;
    }
    job_make_room(c->node);
    c->greeted = false;
    return MOB_ERR_TIMEOUT;
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
        job_free(j);
        if (watch >= 0) {
            close(watch);
        }
        conn_deny(c, LOCAL_HELLO, or_later(c, st));
        return;
    }
    j->driver = c;
    c->job = j;
    c->proc = 1;
    loop_watch(c->node->loop, &j->bell_op, j->bell, POLLIN, job_rung);
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = c->node->id;
    m->arg[1] = j->number;
    m->arg[2] = 1;
    m->arg[3] = c->node->cpus;
    m->arg[4] = c->node->config.embedded >= 0;
    m->arg[5] = c->node->budget.limit_bytes;
    timeline_job(j); /* before the driver's first submit */
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
    job_sync_classes(j);
    loop_watch(n->loop, &j->bell_op, j->bell, POLLIN, job_rung);
    timeline_job(j);
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
    at_store(&j->board.header->unusual, (uint32_t)st, AT_SEQ_CST);
    (void)!write(j->watch, "f", 1);
    sweep_wake_all(&j->board);
    proc_end_all(j, true);
}

/* Those who were asked to end had their time. */
static void grace_over(struct loop_timer *timer)
{
    struct job *j = LOOP_OWNER(timer, struct job, timer);
    if (j->killed) {
        away_abandon(j);
        job_step(j);
        return;
    }
    j->killed = true;
    proc_end_all(j, true);
    away_close(j, true);
    loop_timer_start(j->node->loop, &j->timer,
                     loop_now_ns(j->node->loop) + LEAVE_GUESTS_NS, grace_over);
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
                     loop_now_ns(j->node->loop) + LEAVE_GRACE_NS, grace_over);
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
    gang_end_job(j);
    fold_end_job(j);
    fetch_end_job(j);
    lineage_end_job(j);
    spill_end_job(j);
    loop_cancel(j->node->loop, &j->bell_op);
    loop_timer_stop(j->node->loop, &j->timer);
    loop_timer_stop(j->node->loop, &j->audit_timer);
    loop_timer_stop(j->node->loop, &j->limbo_timer);
    loop_timer_stop(j->node->loop, &j->demand_timer);
    loop_timer_stop(j->node->loop, &j->class_timer);
    loop_timer_stop(j->node->loop, &j->due_timer);
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
