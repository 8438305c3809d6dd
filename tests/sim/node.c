/* node.c - a node: its boards and workers, what its planner wants; crash and restart. */
#include <stdlib.h>

#include "sim.h"

#define FIRST_NODE 1000 /* incarnations count from here */
#define LIFE (1ull << 20)

uint32_t node_place(uint64_t incarnation)
{
    return (uint32_t)((incarnation - FIRST_NODE) % LIFE);
}

uint32_t node_of(uint64_t incarnation)
{
    uint32_t i = node_place(incarnation);
    bool now =
        i < sim.count && sim.nodes[i].alive && sim.nodes[i].incarnation == incarnation;
    return now ? i : NONE;
}

static uint64_t new_incarnation(uint32_t i)
{
    uint64_t before = sim.nodes[i].incarnation;
    return before ? before + LIFE : FIRST_NODE + i;
}

/* ---- boards ----------------------------------------------------------------------------------------- */

struct board *board_new(uint32_t i, uint32_t job, uint32_t *ret)
{
    struct node *n = &sim.nodes[i];
    uint32_t at = 0;
    while (at < n->boards_top && n->boards[at].used) {
        at++;
    }
    if (at == n->boards_room) {
        n->boards_room = n->boards_room ? 2 * n->boards_room : 4;
        n->boards = realloc(n->boards, n->boards_room * sizeof *n->boards);
        if (!n->boards) {
            sim_fail("no memory for boards", i);
        }
    }
    n->boards_top += at == n->boards_top;
    n->boards[at] = (struct board){.used = true,
                                   .serial = ++sim.serial,
                                   .job = job,
                                   .all = NONE,
                                   .theirs = NONE,
                                   .maker = NONE};
    for (uint32_t cls = 0; cls < CLASSES; cls++) {
        n->boards[at].cls[cls].name = NONE;
        n->boards[at].next[cls] = cls;
    }
    *ret = at;
    return &n->boards[at];
}

uint32_t board_find(uint32_t i, uint32_t serial)
{
    const struct node *n = &sim.nodes[i];
    for (uint32_t at = 0; at < n->boards_top; at++) {
        if (n->boards[at].used && n->boards[at].serial == serial) {
            return at;
        }
    }
    return NONE;
}

uint32_t board_queued(const struct board *b, uint32_t cls)
{
    return b->cls[cls].queue[0].count + b->cls[cls].queue[1].count;
}

void board_hint(uint32_t i, uint32_t b, uint32_t cls)
{
    struct node *n = &sim.nodes[i];
    struct board *d = &n->boards[b];
    if (!d->open || d->cls[cls].name == NONE) {
        return;
    }
    const struct job *j = &sim.jobs[d->job];
    struct plan_hint hint = {0};
    uint32_t queued = board_queued(d, cls), ends = d->cls[cls].ends;
    d->cls[cls].told = queued > ends && !d->cls[cls].closing ? queued - ends : 0;
    if (d->maker != NONE && j->arg_bytes && sim.nodes[d->maker].alive) {
        hint = (struct plan_hint){sim.nodes[d->maker].incarnation, j->arg_bytes};
    }
    sim_must(plan_node_backlog(n->plan, d->key, d->cls[cls].name, d->cls[cls].told, &hint,
                               hint.node != 0, clock_of(n)),
             "backlog", i);
}

static uint32_t next_task(const struct board_class *k)
{
    const struct list *own = &k->queue[0], *foreign = &k->queue[1];
    if (k->closing) {
        return NONE;
    }
    if (own->count && foreign->count) {
        return sim.tasks[own->first].seq < sim.tasks[foreign->first].seq ? own->first
                                                                         : foreign->first;
    }
    return own->count ? own->first : foreign->count ? foreign->first : NONE;
}

/* A slot that was asked back. A worker with GPUs ends with it. */
static void give_back(uint32_t i, const struct board *b, uint32_t cls,
                      enum plan_slot from)
{
    struct node *n = &sim.nodes[i];
    bool ends = sim.jobs[b->job].demand[cls].need.amount[RESOURCE_GPU] > 0;
    sim_must((ends ? plan_node_worker_died : plan_node_slot_returned)(
                 n->plan, b->key, b->cls[cls].name, from, clock_of(n)),
             "given back", i);
}

void board_look(uint32_t i, uint32_t b, uint32_t cls)
{
    struct node *n = &sim.nodes[i];
    struct board *d = &n->boards[b];
    struct board_class *k = &d->cls[cls];
    uint32_t task = next_task(k);
    if (k->take > 0) {
        k->take--, k->busy--;
        give_back(i, d, cls, PLAN_SLOT_BUSY);
    } else if (task != NONE) {
        task_start(task, false);
    } else {
        k->busy--, k->idle++;
        k->told = 0; /* the planner takes it from this */
        sim_must(plan_node_slot_idle(n->plan, d->key, k->name, clock_of(n)), "idle", i);
    }
}

void board_kick(uint32_t i, uint32_t b, uint32_t cls)
{
    struct node *n = &sim.nodes[i];
    struct board *d = &n->boards[b];
    struct board_class *k = &d->cls[cls];
    for (uint32_t idle = k->closing ? 0 : k->idle;
         idle > 0 && k->idle > 0 && board_queued(d, cls) > k->ends; idle--) {
        k->idle--, k->busy++;
        sim_must(plan_node_slot_busy(n->plan, d->key, k->name, clock_of(n)), "busy", i);
        board_look(i, b, cls);
    }
    /* While the planner believes that there are some, nobody rings: its tick looks. */
    if (!n->late || k->told == 0) {
        board_hint(i, b, cls);
    }
}

static void board_clear(uint32_t i, uint32_t b)
{
    struct board *d = &sim.nodes[i].boards[b];
    while (d->all != NONE) {
        task_free(d->all);
    }
    d->used = false;
}

void board_end(uint32_t i, uint32_t b)
{
    struct node *n = &sim.nodes[i];
    struct board *d = &n->boards[b];
    board_clear(i, b);
    for (uint32_t at = n->links; d->sent && at != NONE;) {
        const struct link *l = &sim.links[at];
        uint32_t side = link_side(at, i), peer = l->end[!side];
        at = l->next[side];
        if (peer < sim.count && (l->up[side] || l->wait[side])) {
            struct message *m = message_new(CLOSE, i, peer, 0);
            m->board = d->serial;
            link_send(m);
        }
    }
    mob_status s = plan_node_job_remove(n->plan, d->key, clock_of(n));
    if (s != MOB_ERR_NOT_FOUND) {
        sim_must(s, "job remove", i);
    }
    while (n->boards_top > 0 && !n->boards[n->boards_top - 1].used) {
        n->boards_top--;
    }
}

/* ---- what its planner wants ------------------------------------------------------------------------- */

/* A word of a lease takes the place of the last one that was not looked at yet. */
static void note_send(uint32_t i, const struct plan_node_action *a, uint32_t cls)
{
    struct node *n = &sim.nodes[i];
    struct send s = {a->lease, a->node, a->job.number, cls, a->epoch, a->count};
    for (uint32_t k = 0; k < n->sends_count; k++) {
        if (n->sends[k].lease == a->lease) {
            n->sends[k] = s;
            return;
        }
    }
    if (n->sends_count == n->sends_room) {
        n->sends_room = n->sends_room ? 2 * n->sends_room : 4;
        n->sends = realloc(n->sends, n->sends_room * sizeof *n->sends);
        if (!n->sends) {
            sim_fail("no memory for sends", i);
        }
    }
    if (n->sends_count == 0) {
        sim_after(EV_SENDS, i, 5 * NS_PER_US, 0, 0, 0);
    }
    n->sends[n->sends_count++] = s;
}

/* An act must not call its planner, so what does waits in the queue of events. */
static void act(void *arg, const struct plan_node_action *a)
{
    uint32_t i = (uint32_t)(uintptr_t)arg;
    struct node *n = &sim.nodes[i];
    bool here = a->kind <= PLAN_RESUME || a->kind == PLAN_SEND;
    uint32_t b = here ? board_find(i, a->job.number) : NONE;
    uint32_t cls = b == NONE ? NONE : klass_find(&n->boards[b], a->cls);
    struct board_class *k = cls == NONE ? NULL : &n->boards[b].cls[cls];
    if (here && !k) {
        sim_fail("a planner speaks of an unknown job or class", i);
    }
    switch (a->kind) {
    case PLAN_START:
        sim_after(EV_STARTED, i, 2 * NS_PER_MS + sim_draw(3 * NS_PER_MS), b,
                  n->boards[b].serial, cls);
        break;
    case PLAN_GIVE:
        k->busy++;
        sim_after(EV_LOOK, i, 10 * NS_PER_US, b, n->boards[b].serial, cls);
        break;
    case PLAN_RESUME: {
        uint32_t task = k->resuming.first;
        if (k->resuming.count == 0) {
            sim_fail("a slot is given to a parent that does not wait for it", i);
        }
        list_remove(&k->resuming, task);
        k->busy++;
        task_resumed(task);
        break;
    }
    case PLAN_TAKE:
        k->take += a->count;
        sim_after(EV_GIVE_BACK, i, 10 * NS_PER_US, b, n->boards[b].serial, cls);
        break;
    case PLAN_SEND:
        note_send(i, a, cls);
        break;
    case PLAN_JOB_FAILED:
        sim_fail("a job failed", i);
    default:
        head_say(i, a);
    }
}

/* ---- its life --------------------------------------------------------------------------------------- */

void node_start(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    n->incarnation = n->birth = new_incarnation(i);
    n->member_of = 0;
    n->alive = true;
    n->tick_at = n->starved_since = n->guests_since = CLOCK_NEVER;
    n->plan = plan_node_create(&(struct plan_node_config){.node = n->birth,
                                                          .capacity = n->capacity,
                                                          .labels = n->labels,
                                                          .clustered = true,
                                                          .jobs_max = 1024,
                                                          .act = act,
                                                          .arg = (void *)(uintptr_t)i},
                               clock_of(n));
    if (!n->plan) {
        sim_fail("no planner", i);
    }
    link_head(i);
    sim_after(EV_BEAT, i, sim_draw(HEARTBEAT_NS), 0, 0, 0);
}

static void crash(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    n->alive = n->member = false;
    sim.crashes++;
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        if (sim.jobs[k].home == i && !sim.jobs[k].over) {
            job_dead(&sim.jobs[k]);
        }
    }
    for (uint32_t b = 0; b < n->boards_top; b++) {
        if (n->boards[b].used) {
            board_clear(i, b);
        }
    }
    n->boards_top = n->sends_count = 0;
    if (n->bytes || !resources_none(&n->running)) {
        sim_fail("objects or tasks outlive their node", i);
    }
    link_drop_all(i, sim_draw(2)); /* the daemon alone died, or the machine */
    plan_node_destroy(n->plan);
    n->plan = NULL;
    n->life++;
    sim_after(EV_RESTART, i, NS_PER_S + sim_draw(3 * NS_PER_S), 0, 0, 0);
}

void node_rejoin(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    n->member_of = 0;
    link_drop_all(i, false);
    n->incarnation = new_incarnation(i);
}

void node_lost_peer(uint32_t i, uint32_t peer, uint32_t link, bool met)
{
    struct node *n = &sim.nodes[i];
    if (!n->alive) {
        return;
    }
    if (peer == sim.count) {
        n->member = false;
        plan_node_head_down(n->plan, clock_of(n));
        node_after(i);
        return;
    }
    uint32_t *away = &sim.links[link].away[link_side(link, i)];
    bool any = *away != NONE;
    while (*away != NONE) {
        uint32_t task = *away;
        (void)plan_node_refused(n->plan, sim.tasks[task].lease, 1, clock_of(n));
        task_again(task, met);
    }
    for (uint32_t b = 0; b < n->boards_top; b++) {
        struct board *d = &n->boards[b];
        if (d->used && d->owner == peer) {
            if (d->open) {
                board_end(i, b);
            }
            continue;
        }
        for (uint32_t cls = 0; any && d->used && cls < CLASSES; cls++) {
            if (d->cls[cls].queue[0].count) {
                board_kick(i, b, cls);
            }
        }
    }
    node_after(i);
}

void node_after(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    peer_give_back(i);
    klass_look(i);
    uint64_t due = plan_node_deadline(n->plan);
    uint64_t at = due == CLOCK_NEVER ? due : clock_at(n, due);
    if (at < n->tick_at) {
        n->tick_at = at;
        sim_after(EV_TICK, i, at - sim.now, 0, 0, 0);
    }
    check_node(i);
}

static void worker_event(const struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    struct board *b = &n->boards[e->a];
    if (e->a >= n->boards_top || !b->used || b->serial != e->b) {
        return; /* the worker went with its job */
    }
    struct board_class *k = &b->cls[e->c];
    if (e->kind == EV_STARTED) {
        k->busy++;
        sim_must(plan_node_worker_started(n->plan, b->key, k->name, clock_of(n)),
                 "started", e->node);
        board_look(e->node, e->a, e->c);
    } else if (e->kind == EV_LOOK) {
        board_look(e->node, e->a, e->c);
    } else {
        while (k->take > 0 && k->idle > 0) {
            k->take--, k->idle--;
            give_back(e->node, b, e->c, PLAN_SLOT_IDLE);
        }
    }
}

static void tick(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    n->tick_at = CLOCK_NEVER;
    for (uint32_t b = 0; b < n->boards_top; b++) {
        for (uint32_t cls = 0; n->boards[b].used && cls < CLASSES; cls++) {
            if (n->boards[b].cls[cls].told || board_queued(&n->boards[b], cls)) {
                board_hint(i, b, cls);
            }
        }
    }
    plan_node_tick(n->plan, clock_of(n));
}

void node_event(struct event *e)
{
    uint32_t i = e->node;
    switch (e->kind) {
    case EV_TICK:
        tick(i);
        break;
    case EV_CRASH:
        crash(i);
        break;
    case EV_RESTART:
        node_start(i);
        break;
    case EV_CUT:
        link_cut(i, e->a != 1, e->a != 2, sim.now + e->b * NS_PER_MS);
        break;
    case EV_BREAK: /* its connections, for a moment */
        link_drop_all(i, sim_draw(2));
        break;
    case EV_SENDS:
        peer_sends(i);
        break;
    case EV_BEAT:
        if (sim.nodes[i].member) {
            link_send(message_new(HEARTBEAT, i, sim.count, 0));
        }
        sim_after(EV_BEAT, i, HEARTBEAT_NS, 0, 0, 0);
        break;
    default:
        worker_event(e);
    }
}
