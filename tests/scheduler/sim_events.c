/* sim_events.c - the queue of what will happen, and what the planners want to happen. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

struct world sim;

void sim_fail(const char *what, uint32_t node)
{
    fprintf(stderr, "FAILED: %s (seed %" PRIu64 ", nodes %u, node %u, %.6f s)\n", what,
            sim.seed, sim.count, node, (double)sim.now / 1e9);
    exit(1);
}

uint64_t sim_draw(uint64_t below)
{
    sim.random ^= sim.random << 13;
    sim.random ^= sim.random >> 7;
    sim.random ^= sim.random << 17;
    return sim.random % below;
}

static bool before(const struct due *a, const struct due *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

void sim_post(struct event e)
{
    if (sim.heap_count == HEAP_MAX) {
        sim_fail("too many events at once", e.node);
    }
    uint32_t place = sim.free_count > 0 ? sim.free[--sim.free_count] : sim.heap_count;
    struct due due = {e.at, sim.seq++, place};
    sim.event[place] = e;
    uint32_t i = sim.heap_count++;
    for (; i > 0 && before(&due, &sim.heap[(i - 1) / 2]); i = (i - 1) / 2) {
        sim.heap[i] = sim.heap[(i - 1) / 2];
    }
    sim.heap[i] = due;
}

struct event sim_next(void)
{
    struct due first = sim.heap[0], last = sim.heap[--sim.heap_count];
    uint32_t i = 0;
    for (uint32_t k; (k = 2 * i + 1) < sim.heap_count; i = k) {
        k += k + 1 < sim.heap_count && before(&sim.heap[k + 1], &sim.heap[k]);
        if (!before(&sim.heap[k], &last)) {
            break;
        }
        sim.heap[i] = sim.heap[k];
    }
    sim.heap[i] = last;
    sim.free[sim.free_count++] = first.place;
    return sim.event[first.place];
}

uint64_t sim_delay(void)
{
    return 20 * NS_PER_US + sim_draw(sim_draw(20) == 0 ? 5 * NS_PER_MS : 300 * NS_PER_US);
}

uint32_t sim_node_of(uint64_t incarnation)
{
    uint64_t i = incarnation - FIRST_NODE;
    return i < sim.count && sim.nodes[i].alive ? (uint32_t)i : UINT32_MAX;
}

uint32_t sim_job_of(struct plan_job key)
{
    for (uint32_t i = 0; i < JOBS; i++) {
        if (sim.job[i].key.node == key.node && sim.job[i].key.number == key.number) {
            return i;
        }
    }
    sim_fail("an action names an unknown job", 0);
    return 0;
}

struct event *sim_about(struct event *e, enum kind kind, uint32_t node, uint32_t job)
{
    *e = (struct event){.kind = kind, .node = node, .job = job, .at = sim.now};
    return e;
}

void sim_post_node(enum kind kind, uint32_t node, uint32_t job, uint64_t in)
{
    struct event e;
    sim_about(&e, kind, node, job)->at += in;
    sim_post(e);
}

/* Actions of a node that change its own planner wait in the heap: an act may not call
 * back. */
void sim_node_act(void *arg, const struct plan_node_action *a)
{
    uint32_t i = (uint32_t)(uintptr_t)arg;
    struct node *n = &sim.nodes[i];
    struct event e;
    uint32_t job = a->kind == PLAN_REPORT ? 0 : sim_job_of(a->job);
    switch (a->kind) {
    case PLAN_START:
        sim_post_node(EV_STARTED, i, job, 2 * NS_PER_MS + sim_draw(3 * NS_PER_MS));
        break;
    case PLAN_GIVE:
    case PLAN_RESUME: /* the rest of the task follows */
        n->board[job].busy++;
        sim_post_node(a->kind == PLAN_GIVE ? EV_LOOK : EV_DONE, i, job,
                      a->kind == PLAN_GIVE ? 10 * NS_PER_US : sim.job[job].task_ns / 2);
        break;
    case PLAN_TAKE:
        n->board[job].take += a->count;
        sim_post_node(EV_GIVE_BACK, i, job, 10 * NS_PER_US);
        break;
    case PLAN_SEND:
        sim_about(&e, EV_SEND, i, job)->id = a->lease;
        e.epoch = a->epoch, e.count = a->count, e.incarnation = a->node;
        sim_post(e);
        break;
    case PLAN_REPORT:
    case PLAN_DEMAND:
    case PLAN_LEASE_HELD:
        if (n->up) {
            sim_about(&e, EV_TO_HEAD, i, job);
            uint64_t at = sim.now + sim_delay();
            n->last_up = n->last_up >= at ? n->last_up + 1 : at; /* in order */
            e.at = n->last_up, e.line = n->line, e.up = *a;
            e.offer = a->offer ? *a->offer : (struct resources){0};
            sim.messages +=
                n->said_up != sim.events; /* one event's words share a message */
            n->said_up = sim.events;
            sim_post(e);
        }
        break;
    case PLAN_JOB_FAILED:
        sim_fail("a job failed", i);
    }
}

void sim_head_act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    sim.changes += a->kind == PLAN_LEASE;
    uint32_t first = a->kind == PLAN_NODE_DEAD ? 0 : sim_node_of(a->to);
    uint32_t end = a->kind == PLAN_NODE_DEAD ? sim.count
                   : first == UINT32_MAX     ? first
                                             : first + 1;
    for (uint32_t i = first; i < end; i++) {
        struct node *n = &sim.nodes[i];
        if (n->alive && n->up) {
            struct event e;
            uint64_t at = sim.now + sim_delay();
            n->last_down = n->last_down >= at ? n->last_down + 1 : at; /* in order */
            sim_about(&e, EV_TO_NODE, i, 0)->at = n->last_down;
            e.line = n->line, e.down = *a;
            sim.messages += n->said_down != sim.events;
            n->said_down = sim.events;
            sim_post(e);
        }
        /* Daemons hear of deaths sooner or later even if the head's word is lost. */
        if (a->kind == PLAN_NODE_DEAD && n->alive) {
            struct event e;
            sim_about(&e, EV_DEAD_WORD, i, 0)->at += 50 * NS_PER_MS + sim_delay();
            e.incarnation = a->node;
            sim_post(e);
        }
    }
}
