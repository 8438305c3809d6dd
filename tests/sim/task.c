/* task.c - a record on a board: a task of a driver, a child that a task made, or a foreign one, which stands for
 * a record of another node.
 *
 *   WAITING --last argument--> QUEUED --worker--> RUNNING --> DONE: its result is on its board
 *                                | ^                | ^
 *                  sent, in AWAY | | back, or lost  | | children done
 *                                +-+                +-+ LENT: in a get, without a slot
 *
 * A task that waits for its children runs those that are still queued itself (aboard), then lends its slot. What
 * a dead attempt had submitted is cut off: orphans, whose results nobody sees. */
#include <stdlib.h>

#include "sim.h"

/* ---- records ---------------------------------------------------------------------------------------- */

static uint32_t place(void)
{
    uint32_t at = sim.free_task;
    if (at != NONE) {
        sim.free_task = sim.tasks[at].next;
        return at;
    }
    if (sim.tasks_top == sim.tasks_room) {
        sim.tasks_room = sim.tasks_room ? 2 * sim.tasks_room : 4096;
        sim.tasks = realloc(sim.tasks, sim.tasks_room * sizeof *sim.tasks);
        if (!sim.tasks) {
            sim_fail("no memory for tasks", 0);
        }
    }
    sim.tasks[sim.tasks_top].gen = 0;
    return sim.tasks_top++;
}

uint32_t task_new(uint32_t node, uint32_t board, uint32_t cls)
{
    uint32_t at = place();
    struct board *b = &sim.nodes[node].boards[board];
    struct task *t = &sim.tasks[at];
    *t = (struct task){.gen = t->gen + 1,
                       .node = node,
                       .board = board,
                       .cls = (uint8_t)cls,
                       .phase = WAITING,
                       .next = NONE,
                       .prev = NONE,
                       .all_next = b->all,
                       .all_prev = NONE,
                       .parent = NONE,
                       .child = NONE,
                       .sibling = NONE,
                       .theirs = NONE,
                       .link = NONE};
    if (b->all != NONE) {
        sim.tasks[b->all].all_prev = at;
    }
    b->all = at;
    return at;
}

bool task_is(uint32_t at, uint32_t gen)
{
    return sim.tasks[at].gen == gen && sim.tasks[at].phase != FREE;
}

void list_push(struct list *l, uint32_t at)
{
    struct task *t = &sim.tasks[at];
    t->next = NONE;
    t->prev = l->count ? l->last : NONE;
    if (l->count++) {
        sim.tasks[l->last].next = at;
    } else {
        l->first = at;
    }
    l->last = at;
}

void list_remove(struct list *l, uint32_t at)
{
    const struct task *t = &sim.tasks[at];
    if (t->next != NONE) {
        sim.tasks[t->next].prev = t->prev;
    } else {
        l->last = t->prev;
    }
    if (t->prev != NONE) {
        sim.tasks[t->prev].next = t->next;
    } else {
        l->first = t->next;
    }
    l->count--;
}

static struct board *board_of(const struct task *t)
{
    return &sim.nodes[t->node].boards[t->board];
}

static struct job *job_of(const struct task *t)
{
    return &sim.jobs[board_of(t)->job];
}

struct list *task_queue(struct task *t)
{
    return &board_of(t)->cls[t->cls].queue[t->foreign];
}

/* No longer among those that this connection has. */
static void leave_link(struct task *t)
{
    if (t->link == NONE) {
        return;
    }
    uint32_t *first = &sim.links[t->link].away[link_side(t->link, t->node)];
    if (t->next != NONE) {
        sim.tasks[t->next].prev = t->prev;
    }
    if (t->prev != NONE) {
        sim.tasks[t->prev].next = t->next;
    } else {
        *first = t->next;
    }
    t->link = NONE;
}

/* What a task has, all that its class needs, is in use or no longer. @lent: in a get without a slot, which has
 * all but the CPUs. */
static void book(const struct task *t, bool lent,
                 void (*how)(struct resources *, const struct resources *, uint64_t))
{
    struct resources need = job_of(t)->demand[t->cls].need;
    if (lent) {
        need.amount[RESOURCE_CPU] = 0;
    }
    how(&sim.nodes[t->node].running, &need, 1);
}

static void begin_running(const struct task *t)
{
    struct job *j = job_of(t);
    book(t, false, resources_add);
    job_use(j, (int64_t)j->demand[t->cls].need.amount[RESOURCE_CPU]);
    j->at[t->cls]++;
    board_of(t)->cls[t->cls].running++;
}

static void stop_running(const struct task *t)
{
    struct job *j = job_of(t);
    book(t, false, resources_sub);
    job_use(j, -(int64_t)j->demand[t->cls].need.amount[RESOURCE_CPU]);
    j->at[t->cls]--;
    board_of(t)->cls[t->cls].running--;
}

/* Children of an attempt that is over: what has not begun goes, the rest nobody waits for. */
static void cut_children(struct task *t)
{
    uint32_t next;
    for (uint32_t at = t->child; at != NONE; at = next) {
        struct task *c = &sim.tasks[at];
        next = c->sibling;
        c->parent = NONE;
        c->orphan = true;
        if (c->phase == QUEUED) {
            task_free(at);
        }
    }
    t->child = NONE;
    t->open = 0;
}

void task_free(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    struct board *b = board_of(t);
    uint16_t open = t->open;
    cut_children(t);
    if (t->phase == QUEUED) {
        list_remove(task_queue(t), at);
    } else if (t->phase == RUNNING) {
        stop_running(t);
    } else if (t->phase == LENT && t->lent) {
        book(t, true, resources_sub);
        if (open == 0) {
            list_remove(&b->cls[t->cls].resuming, at);
        }
    }
    leave_link(t);
    if (t->foreign) {
        sim.nodes[t->node].bytes -= t->refs * job_of(t)->arg_bytes;
    } else if (t->phase == DONE && t->parent == NONE && !t->orphan) {
        sim.nodes[t->node].bytes -= job_of(t)->arg_bytes;
    }
    if (t->parent != NONE) { /* out of its parent's list */
        uint32_t *p = &sim.tasks[t->parent].child;
        while (*p != at) {
            p = &sim.tasks[*p].sibling;
        }
        *p = t->sibling;
    }
    if (t->all_next != NONE) {
        sim.tasks[t->all_next].all_prev = t->all_prev;
    }
    if (t->all_prev != NONE) {
        sim.tasks[t->all_prev].all_next = t->all_next;
    } else {
        b->all = t->all_next;
    }
    t->phase = FREE;
    t->next = sim.free_task;
    sim.free_task = at;
}

/* ---- running ---------------------------------------------------------------------------------------- */

void task_queued(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    t->phase = QUEUED;
    t->seq = ++sim.serial;
    list_push(task_queue(t), at);
    if (board_of(t)->cls[t->cls].closing && !t->foreign) {
        job_ends_soon(job_of(t));
    }
}

static void later(enum kind kind, uint32_t at, uint64_t in)
{
    const struct task *t = &sim.tasks[at];
    sim_after(kind, t->node, in, at, t->gen, 0);
}

static uint64_t time_of(const struct task *t)
{
    return t->time_us * NS_PER_US * sim.nodes[t->node].slow;
}

void task_start(uint32_t at, bool aboard)
{
    struct task *t = &sim.tasks[at];
    if (t->phase != QUEUED || t->missing > 0) {
        sim_fail("a task begins without its arguments", t->node);
    }
    if (!demand_allows(&job_of(t)->demand[t->cls], sim.nodes[t->node].incarnation,
                       sim.nodes[t->node].labels)) {
        sim_fail("a task begins where it must not", t->node);
    }
    list_remove(task_queue(t), at);
    t->phase = RUNNING;
    t->aboard = aboard;
    begin_running(t);
    uint64_t time = time_of(t);
    uint64_t stay =
        time *
        (job_of(t)->depth ? FAMILY : 1); /* on its worker, with all of its children */
    sim.longest_ns = sim.longest_ns > stay ? sim.longest_ns : stay;
    if (sim.o.faults && sim.now < sim.healed_at && sim_draw(2000) == 0) {
        later(EV_WORKER_DIES, at, sim_draw(time));
    } else if (t->level < job_of(t)->depth) {
        later(EV_SPAWN, at, time / 2);
    } else {
        later(EV_DONE, at, time);
    }
}

/* Its worker goes on with a child that nobody has begun. False: there is none. */
static bool run_a_child(uint32_t at)
{
    const struct task *t = &sim.tasks[at];
    for (uint32_t c = t->child; c != NONE; c = sim.tasks[c].sibling) {
        if (sim.tasks[c].phase == QUEUED && sim.tasks[c].cls == t->cls) {
            stop_running(t); /* the child is what runs there now */
            sim.tasks[at].phase = LENT;
            sim.tasks[at].lent = false;
            task_start(c, true);
            return true;
        }
    }
    return false;
}

/* A parent in its get, on its worker. */
static void wait_for_children(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    struct node *n = &sim.nodes[t->node];
    struct board *b = board_of(t);
    if (t->open == 0) {
        later(EV_DONE, at, time_of(t) / 2);
    } else if (!run_a_child(at)) {
        stop_running(t);
        t->phase = LENT;
        t->lent = true; /* without a worker's slot */
        if (plan_node_slot_lent(n->plan, b->key, b->cls[t->cls].name, clock_of(n)) ==
            MOB_OK) {
            struct board_class *k = &b->cls[t->cls];
            k->busy--;
            k->take -= k->take > 0;
            book(t, true, resources_add);
        } else { /* as many as may wait without one do: it keeps its own */
            t->lent = false;
        }
    }
}

static void go_on(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    if (t->lent) {
        book(t, true, resources_sub);
        t->lent = false;
    }
    t->phase = RUNNING;
    begin_running(t);
}

/* The planner gave a parent whose get is over a slot again. */
void task_resumed(uint32_t at)
{
    go_on(at);
    later(EV_DONE, at, time_of(&sim.tasks[at]) / 2);
}

/* A child is done, or queued again: its parent may wait for just that with its worker. */
static void tell_parent(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    struct node *n = &sim.nodes[t->node];
    if (t->phase != LENT) {
        return;
    }
    if (t->lent && t->open == 0) {
        list_push(&board_of(t)->cls[t->cls].resuming, at);
        sim_must(plan_node_slot_resume(n->plan, board_of(t)->key,
                                       board_of(t)->cls[t->cls].name, clock_of(n)),
                 "resume", t->node);
        return;
    }
    for (uint32_t c = t->child; c != NONE; c = sim.tasks[c].sibling) {
        if (sim.tasks[c].aboard && sim.tasks[c].phase != AWAY &&
            sim.tasks[c].phase != QUEUED) {
            return; /* its worker is busy with that one */
        }
    }
    if (!t->lent) {
        go_on(at);
        wait_for_children(at);
    }
}

void task_seal(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    leave_link(t);
    t->phase = DONE;
    if (t->orphan) {
        task_free(at);
    } else if (t->parent != NONE) {
        uint32_t parent = t->parent;
        bool aboard = t->aboard;
        sim.tasks[parent].open--;
        task_free(at);
        sim.done++;
        if (!aboard) {
            tell_parent(parent);
        }
    } else {
        job_result(at);
    }
}

void task_again(uint32_t at, bool begun)
{
    struct task *t = &sim.tasks[at];
    leave_link(t);
    cut_children(t);
    t->aboard = false;
    t->attempt += begun;
    sim.again += begun;
    if (t->orphan) {
        task_free(at);
        return;
    }
    uint32_t parent = t->parent;
    task_queued(at);
    if (parent != NONE) {
        tell_parent(parent);
    }
}

static void spawn(uint32_t at)
{
    uint32_t node = sim.tasks[at].node, board = sim.tasks[at].board,
             cls = sim.tasks[at].cls;
    for (uint32_t i = 0; i < CHILDREN; i++) {
        uint32_t c = task_new(node, board, cls);
        struct task *t = &sim.tasks[at], *child = &sim.tasks[c];
        child->parent = at;
        child->sibling = t->child;
        child->index = i;
        child->level = t->level + 1;
        child->time_us = t->time_us;
        t->child = c;
        t->open++;
        task_queued(c);
    }
    board_kick(node, board, cls);
    if (sim.tasks[at].phase == RUNNING) {
        wait_for_children(at);
    }
}

static void done(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    uint32_t node = t->node, board = t->board, cls = t->cls, parent = t->parent;
    uint32_t serial = board_of(t)->serial;
    bool aboard = t->aboard && parent != NONE;
    stop_running(t);
    t->phase = DONE;
    board_of(t)->cls[cls].ends += !aboard;
    if (t->foreign) {
        peer_result(at);
    } else {
        task_seal(at);
    }
    struct board *b = &sim.nodes[node].boards[board];
    if (!b->used || b->serial != serial) {
        return; /* that was the last one */
    }
    b->cls[cls].ends -= !aboard;
    if (aboard) {
        go_on(parent);
        wait_for_children(parent);
    } else {
        board_look(node, board, cls);
        b = &sim.nodes[node].boards[board];
        bool rings = b->cls[cls].idle > 0 || b->cls[cls].told == 0;
        if (rings && board_queued(b, cls) > 0) {
            board_kick(node, board,
                       cls); /* it was asked back, and leaves the task to another */
        }
    }
}

/* All that the worker was at runs again: the task, and those that wait for it on the same worker. */
static void worker_dies(uint32_t at)
{
    uint32_t node = sim.tasks[at].node, board = sim.tasks[at].board,
             cls = sim.tasks[at].cls;
    struct node *n = &sim.nodes[node];
    struct board *b = &n->boards[board];
    b->cls[cls].busy--;
    b->cls[cls].take -= b->cls[cls].take > 0;
    sim.deaths++;
    stop_running(&sim.tasks[at]);
    sim.tasks[at].phase = WAITING;
    while (sim.tasks[at].aboard && sim.tasks[at].parent != NONE) {
        at = sim.tasks[at].parent; /* cuts off what it had submitted, the child too */
        sim.tasks[at].phase = WAITING;
        for (uint32_t c = sim.tasks[at].child; c != NONE; c = sim.tasks[c].sibling) {
            if (sim.tasks[c].phase == WAITING) {
                sim.tasks[c].aboard = false;
                task_queued(c);
            }
        }
    }
    sim_must(plan_node_worker_died(n->plan, b->key, b->cls[cls].name, PLAN_SLOT_BUSY,
                                   clock_of(n)),
             "died", node);
    task_again(at, true);
    board_kick(node, board, cls);
}

void task_end(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    struct node *n = &sim.nodes[t->node];
    struct board *b = board_of(t);
    struct board_class *k = &b->cls[t->cls];
    if (t->phase == QUEUED) {
        list_remove(task_queue(t), at);
    } else if (t->phase == RUNNING) {
        stop_running(t);
        k->busy--;
        k->take -= k->take > 0;
        sim_must(
            plan_node_worker_died(n->plan, b->key, k->name, PLAN_SLOT_BUSY, clock_of(n)),
            "ended", t->node);
    }
    t->phase = DONE;
    sim.ended++;
    if (t->foreign) {
        peer_result(at);
    } else {
        task_seal(at);
    }
}

void task_event(struct event *e)
{
    if (!task_is(e->a, e->b)) {
        return; /* its board has ended */
    }
    struct task *t = &sim.tasks[e->a];
    if (t->phase == DONE) {
        return; /* it was ended with its group */
    }
    switch (e->kind) {
    case EV_DONE:
        done(e->a);
        break;
    case EV_SPAWN:
        spawn(e->a);
        break;
    case EV_WORKER_DIES:
        worker_dies(e->a);
        break;
    default: { /* EV_FETCHED */
        uint32_t node = t->node, board = t->board, cls = t->cls;
        sim.nodes[node].bytes +=
            t->missing * sim.jobs[sim.nodes[node].boards[board].job].arg_bytes;
        t->refs = t->missing;
        t->missing = 0;
        task_queued(e->a);
        board_kick(node, board, cls);
    }
    }
}
