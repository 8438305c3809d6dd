/* sim_node.c - a node: its workers, its tasks that are elsewhere, its words with the head. */
#include <stdio.h>

#include "sim.h"

/* ---- a node's workers
 * ---------------------------------------------------------------------- */

void sim_must(mob_status s, const char *what, uint32_t node)
{
    if (s != MOB_OK) {
        fprintf(stderr, "%s: status %d\n", what, (int)s);
        sim_fail("an event was refused", node);
    }
}

void sim_hint(uint32_t i, uint32_t job)
{
    struct node *n = &sim.nodes[i];
    struct plan_class_view v;
    if (i != sim.job[job].home &&
        plan_node_view(n->plan, sim.job[job].key, 0, &v) != MOB_OK) {
        n->board[job] =
            (struct board){0}; /* a guest that never had workers went with its lease */
    }
    if (n->board[job].known) {
        sim_must(plan_node_backlog(n->plan, sim.job[job].key, 0, n->board[job].queued,
                                   NULL, 0, sim.now),
                 "backlog", i);
    }
}

/* A worker that holds a slot looks for its next task. */
static void look(uint32_t i, uint32_t job)
{
    struct node *n = &sim.nodes[i];
    struct board *b = &n->board[job];
    struct job *j = &sim.job[job];
    if (b->take > 0) {
        b->take--, b->busy--;
        sim_must(plan_node_slot_returned(n->plan, j->key, 0, PLAN_SLOT_BUSY, sim.now),
                 "returned", i);
    } else if (b->queued > 0) {
        b->queued--;
        uint64_t time = j->task_ns * n->slow;
        bool lends = j->lends && sim_draw(4) == 0;
        bool dies = sim.faults && sim_draw(2000) == 0;
        sim_post_node(dies    ? EV_WORKER_DIES
                      : lends ? EV_LEND
                              : EV_DONE,
                      i, job, lends ? time / 2 : time);
    } else {
        b->busy--, b->idle++;
        sim_must(plan_node_slot_idle(n->plan, j->key, 0, sim.now), "idle", i);
    }
}

void sim_add_tasks(uint32_t i, uint32_t job, uint32_t count)
{
    struct node *n = &sim.nodes[i];
    struct board *b = &n->board[job];
    b->queued += count;
    while (b->idle > 0 && b->queued > 0) {
        uint32_t before_look = b->queued;
        b->idle--, b->busy++;
        sim_must(plan_node_slot_busy(n->plan, sim.job[job].key, 0, sim.now), "busy", i);
        look(i, job);
        if (before_look == b->queued && b->idle > 0) {
            continue;
        }
    }
    sim_hint(i, job);
}

static void job_over(uint32_t job)
{
    struct job *j = &sim.job[job];
    j->over = true;
    for (uint32_t i = 0; i < sim.count; i++) {
        sim_post_node(EV_JOB_OVER, i, job, 10 * NS_PER_MS + sim_delay());
    }
}

static void task_done(uint32_t job, uint32_t count)
{
    struct job *j = &sim.job[job];
    if (count > j->left) {
        sim_fail("more tasks done than there were", j->home);
    }
    j->left -= count;
    sim.tasks += count;
    if (j->left == 0) {
        job_over(job);
    }
}

void sim_worker_event(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    struct board *b = &n->board[e->job];
    struct job *j = &sim.job[e->job];
    if (!b->known) {
        return; /* the job was removed meanwhile */
    }
    switch (e->kind) {
    case EV_STARTED:
        sim_must(plan_node_worker_started(n->plan, j->key, 0, sim.now), "started",
                 e->node);
        b->busy++;
        break;
    case EV_WORKER_DIES: /* the task runs again */
        b->busy--;
        b->take -= b->take > 0;
        sim_must(plan_node_worker_died(n->plan, j->key, 0, PLAN_SLOT_BUSY, sim.now),
                 "died", e->node);
        sim_add_tasks(e->node, e->job, 1);
        return;
    case EV_LEND:
        if (plan_node_slot_lent(n->plan, j->key, 0, sim.now) == MOB_OK) {
            b->busy--;
            b->take -= b->take > 0;
            sim_post_node(EV_RESUME, e->node, e->job, 5 * NS_PER_MS);
        } else {
            sim_post_node(EV_DONE, e->node, e->job, j->task_ns / 2);
        }
        return;
    case EV_RESUME:
        sim_must(plan_node_slot_resume(n->plan, j->key, 0, sim.now), "resume", e->node);
        return;
    case EV_DONE:
        if (e->node == j->home) {
            task_done(e->job, 1);
        } else {
            sim_must(plan_node_finished(n->plan, j->key, 0, 1, sim.now), "finished",
                     e->node);
            b->foreign--;
            struct event back;
            sim_about(&back, EV_BACK, j->home, e->job)->at += sim_delay();
            back.from = e->node, back.id = b->lease, back.count = 1;
            back.incarnation = n->incarnation;
            sim_post(back);
            sim.remote++;
        }
        break;
    default:
        break;
    }
    look(e->node, e->job);
}

/* ---- between nodes
 * ------------------------------------------------------------------------- */

void sim_send_tasks(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    struct board *b = &n->board[e->job];
    uint32_t to = sim_node_of(e->incarnation),
             count = e->count < b->queued ? e->count : b->queued;
    count = to == UINT32_MAX || !b->known ? 0 : count;
    mob_status s = plan_node_sent(n->plan, e->id, count, sim.now);
    if (s == MOB_OK && count > 0) {
        b->queued -= count;
        n->away[e->job * sim.count + to] += count;
        struct event tasks;
        sim_about(&tasks, EV_TASKS, to, e->job)->at += sim_delay();
        tasks.id = e->id, tasks.epoch = e->epoch, tasks.count = count,
        tasks.from = e->node;
        sim_post(tasks);
    }
}

void sim_tasks_came(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    const struct board *b = &n->board[e->job];
    bool other = b->foreign > 0 && b->lease != e->id;
    if (!other && plan_node_received(n->plan, sim.job[e->job].key, 0, e->id, e->epoch,
                                     e->count, sim.now) == MOB_OK) {
        n->board[e->job].known = true;
        n->board[e->job].lease = e->id;
        n->board[e->job].foreign += e->count;
        sim_add_tasks(e->node, e->job, e->count);
        return;
    }
    struct event back;
    sim_about(&back, EV_REFUSED, e->from, e->job)->at += sim_delay();
    back.id = e->id, back.count = e->count, back.from = e->node;
    back.incarnation = n->incarnation;
    sim_post(back);
}

void sim_tasks_back(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    uint32_t *away = &n->away[e->job * sim.count + e->from];
    if (sim.nodes[e->from].incarnation != e->incarnation || *away < e->count ||
        !n->board[e->job].known) {
        return; /* of a node that is dead to us: its tasks were queued again */
    }
    *away -= e->count;
    if (e->kind == EV_BACK) {
        task_done(e->job, e->count);
        sim_hint(e->node, e->job);
        plan_node_back(n->plan, e->id, e->count, sim.now);
    } else {
        plan_node_refused(n->plan, e->id, e->count, sim.now);
        sim_add_tasks(e->node, e->job, e->count);
    }
}

void sim_to_head(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    const struct plan_node_action *a = &e->up;
    if (e->line != n->line || !n->up) {
        return; /* lost with its connection */
    }
    if (a->kind == PLAN_REPORT) {
        sim_must(plan_head_report(sim.head, n->incarnation, &e->offer, sim.now), "report",
                 e->node);
    } else if (a->kind == PLAN_DEMAND) {
        struct plan_demand d = {.job = a->job,
                                .cls = a->cls,
                                .demand = demand_cpus(sim.job[sim_job_of(a->job)].units),
                                .weight = a->weight,
                                .want = a->count};
        sim_must(plan_head_demand(sim.head, n->incarnation, &d, sim.now), "demand",
                 e->node);
    } else {
        mob_status s = plan_head_lease_held(sim.head, n->incarnation, a->lease, a->epoch,
                                            a->count, &e->offer, sim.now);
        if (s != MOB_ERR_STATE && s != MOB_ERR_NOT_FOUND) {
            sim_must(s, "held", e->node);
        }
    }
}

void sim_job_gone(uint32_t i, uint32_t job)
{
    struct node *n = &sim.nodes[i];
    n->board[job] = (struct board){0};
    mob_status s = plan_node_job_remove(n->plan, sim.job[job].key, sim.now);
    if (s != MOB_ERR_NOT_FOUND) {
        sim_must(s, "job remove", i);
    }
}

void sim_dead_word(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    plan_node_peer_lost(n->plan, e->incarnation, sim.now);
    for (uint32_t i = 0; i < sim.count; i++) {
        for (uint32_t job = 0; sim.nodes[i].incarnation == e->incarnation && job < JOBS;
             job++) {
            uint32_t lost = n->away[job * sim.count + i];
            n->away[job * sim.count + i] = 0;
            if (lost > 0 && n->board[job].known) {
                sim_add_tasks(e->node, job, lost);
            }
            if (sim.job[job].home == i) {
                sim_job_gone(e->node, job);
            }
        }
    }
}

void sim_to_node(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    const struct plan_head_action *a = &e->down;
    if (e->line != n->line || !n->up) {
        return;
    }
    if (a->kind == PLAN_LEASE) {
        uint32_t job = sim_job_of(a->job);
        struct plan_lease l = {.lease = a->lease,
                               .epoch = a->epoch,
                               .job = a->job,
                               .cls = a->cls,
                               .demand = demand_cpus(sim.job[job].units),
                               .weight = a->weight,
                               .slots = a->slots,
                               .owner = a->owner ? a->owner : 1};
        n->board[job].known = n->board[job].known || a->slots > 0;
        sim_must(plan_node_lease(n->plan, &l, sim.now), "lease", e->node);
        struct plan_class_view view;
        n->board[job].known = plan_node_view(n->plan, a->job, 0, &view) == MOB_OK;
    } else if (a->kind == PLAN_GRANT) {
        mob_status s = plan_node_grant(n->plan, a->lease, a->epoch, a->job, a->cls,
                                       a->node, a->slots, sim.now);
        if (s != MOB_ERR_NOT_FOUND && s != MOB_ERR_STATE) { /* its job may be over */
            sim_must(s, "grant", e->node);
        }
    } else if (a->kind == PLAN_SYNCED) {
        plan_node_head_synced(n->plan, sim.now);
    }
}

void sim_connect_head(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    struct plan_join join = {.node = n->incarnation,
                             .session = n->incarnation ^ 77,
                             .capacity = resources_cpus(n->units)};
    n->up = true;
    plan_node_head_up(n->plan, 5, sim.now);
    sim_must(plan_head_join(sim.head, &join, sim.now), "join", i);
}
