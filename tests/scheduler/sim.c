/* sim.c - the real planners, one head and N nodes, in simulated time.
 *
 *   sim_scheduler [--streams] [SEED [SEEDS [NODES]]]
 *   sim_scheduler --full
 *
 * A seed is a whole history: the same again, bit by bit. --streams: few jobs of very many
 * short tasks, held to the budget of head messages; else jobs of all kinds. --full: a
 * hundred seeds, long streams, and one history with 1000 nodes.
 *
 * Messages take random time (in order on one connection, in any order across them),
 * connections to the head break and lose what is on the way, nodes are slow or die,
 * workers die, jobs come and go, tasks block in a get. After every event the planner
 * concerned is checked; at the end every task has run, every slot, lease and demand is
 * gone, and idle CPUs never stood beside ready tasks for longer than IDLE_MS. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/head_plan.h"
#include "scheduler/node_plan.h"

#define JOBS 12 /* in a history; each has one class */
#define HEAP_MAX (1u << 20)
#define IDLE_MS 1500 /* a reservation (1 s), a few round trips and reports */
/* What the head may hear and say. Streams, of at least STREAM short tasks a job: one message
 * a hundred tasks. Else work says nothing about words, and what counts is that they follow
 * from changes: three for a lease (asked, answered, granted), and a few for reports. */
#define STREAM 10000      /* tasks for five nodes */
#define STREAMS 4         /* jobs of them */
#define STREAM_BUDGET 100 /* tasks a message */
#define CHANGE_BUDGET 6   /* messages a lease change */
#define RATE_BUDGET 2     /* and a second and node */
#define FIRST_NODE 1000   /* incarnations count from here */
#define SETTLE_NS (8 * NS_PER_S)

enum kind {
    EV_TO_HEAD,
    EV_TO_NODE,
    EV_TICK,
    EV_HEAD_TICK,
    EV_HEARTBEAT,
    EV_ARRIVE,
    EV_STARTED,
    EV_LOOK,
    EV_DONE,
    EV_LEND,
    EV_RESUME,
    EV_GIVE_BACK,
    EV_SEND,
    EV_TASKS,
    EV_BACK,
    EV_REFUSED,
    EV_BREAK,
    EV_CONNECT,
    EV_CRASH,
    EV_DEAD_WORD,
    EV_JOB_OVER,
    EV_LOOK_AROUND,
    EV_WORKER_DIES,
};

struct event {
    uint64_t at, seq;
    enum kind kind;
    uint32_t node, job, from, count,
        line; /* line: the connection's number when it was sent */
    uint32_t epoch;
    uint64_t incarnation, id;
    union {
        struct plan_node_action up;
        struct plan_head_action down;
    };
};

struct job {
    struct plan_job key;
    uint32_t home, units, left, weight;
    uint64_t task_ns;
    bool over, lends, removed;
};

/* The heap moves these, not events. */
struct due {
    uint64_t at, seq;
    uint32_t place; /* of the event in w.event */
};

/* What a job's board, workers and the daemon's books on a node are in reality. */
struct board {
    bool known;
    uint32_t queued, take, idle, busy;
    uint64_t lease; /* under which its tasks came, on a node that is not home */
    uint32_t
        foreign; /* of those, not done: one lease at a time, to keep the books short */
};

struct node {
    struct plan_node *plan;
    uint64_t incarnation, last_up, last_down, tick_at, starved_since;
    uint64_t said_up, said_down; /* the event that caused the last message */
    uint32_t units, slow, line;
    bool up, alive;
    struct board board[JOBS];
    uint32_t *away; /* of jobs at home here: [JOBS][count] tasks at other nodes */
};

static struct {
    struct plan_head *head;
    struct node *nodes;
    uint32_t count, heap_count, free_count;
    struct job job[JOBS];
    struct due *heap;
    struct event *event;
    uint32_t *free; /* places of events that are over */
    uint64_t now, seq, seed, random, messages, changes, tasks, remote, head_tick_at,
        events;
    bool faults, streams;
} w;

static void fail(const char *what, uint32_t node)
{
    fprintf(stderr, "FAILED: %s (seed %" PRIu64 ", nodes %u, node %u, %.6f s)\n", what,
            w.seed, w.count, node, (double)w.now / 1e9);
    exit(1);
}

static uint64_t draw(uint64_t below)
{
    w.random ^= w.random << 13;
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return w.random % below;
}

static bool before(const struct due *a, const struct due *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

static void post(struct event e)
{
    if (w.heap_count == HEAP_MAX) {
        fail("too many events at once", e.node);
    }
    uint32_t place = w.free_count > 0 ? w.free[--w.free_count] : w.heap_count;
    struct due due = {e.at, w.seq++, place};
    w.event[place] = e;
    uint32_t i = w.heap_count++;
    for (; i > 0 && before(&due, &w.heap[(i - 1) / 2]); i = (i - 1) / 2) {
        w.heap[i] = w.heap[(i - 1) / 2];
    }
    w.heap[i] = due;
}

static struct event next(void)
{
    struct due first = w.heap[0], last = w.heap[--w.heap_count];
    uint32_t i = 0;
    for (uint32_t k; (k = 2 * i + 1) < w.heap_count; i = k) {
        k += k + 1 < w.heap_count && before(&w.heap[k + 1], &w.heap[k]);
        if (!before(&w.heap[k], &last)) {
            break;
        }
        w.heap[i] = w.heap[k];
    }
    w.heap[i] = last;
    w.free[w.free_count++] = first.place;
    return w.event[first.place];
}

static uint64_t delay(void)
{
    return 20 * NS_PER_US + draw(draw(20) == 0 ? 5 * NS_PER_MS : 300 * NS_PER_US);
}

static uint32_t node_of(uint64_t incarnation)
{
    uint64_t i = incarnation - FIRST_NODE;
    return i < w.count && w.nodes[i].alive ? (uint32_t)i : UINT32_MAX;
}

static uint32_t job_of(struct plan_job key)
{
    for (uint32_t i = 0; i < JOBS; i++) {
        if (w.job[i].key.node == key.node && w.job[i].key.number == key.number) {
            return i;
        }
    }
    fail("an action names an unknown job", 0);
    return 0;
}

static struct event *about(struct event *e, enum kind kind, uint32_t node, uint32_t job)
{
    *e = (struct event){.kind = kind, .node = node, .job = job, .at = w.now};
    return e;
}

static void post_node(enum kind kind, uint32_t node, uint32_t job, uint64_t in)
{
    struct event e;
    about(&e, kind, node, job)->at += in;
    post(e);
}

/* Actions of a node that change its own planner wait in the heap: an act may not call
 * back. */
static void node_act(void *arg, const struct plan_node_action *a)
{
    uint32_t i = (uint32_t)(uintptr_t)arg;
    struct node *n = &w.nodes[i];
    struct event e;
    uint32_t job = a->kind == PLAN_REPORT ? 0 : job_of(a->job);
    switch (a->kind) {
    case PLAN_START:
        post_node(EV_STARTED, i, job, 2 * NS_PER_MS + draw(3 * NS_PER_MS));
        break;
    case PLAN_GIVE:
    case PLAN_RESUME: /* the rest of the task follows */
        n->board[job].busy++;
        post_node(a->kind == PLAN_GIVE ? EV_LOOK : EV_DONE, i, job,
                  a->kind == PLAN_GIVE ? 10 * NS_PER_US : w.job[job].task_ns / 2);
        break;
    case PLAN_TAKE:
        n->board[job].take += a->count;
        post_node(EV_GIVE_BACK, i, job, 10 * NS_PER_US);
        break;
    case PLAN_SEND:
        about(&e, EV_SEND, i, job)->id = a->lease;
        e.epoch = a->epoch, e.count = a->count, e.incarnation = a->node;
        post(e);
        break;
    case PLAN_REPORT:
    case PLAN_DEMAND:
    case PLAN_LEASE_HELD:
        if (n->up) {
            about(&e, EV_TO_HEAD, i, job);
            uint64_t at = w.now + delay();
            n->last_up = n->last_up >= at ? n->last_up + 1 : at; /* in order */
            e.at = n->last_up, e.line = n->line, e.up = *a;
            w.messages += n->said_up != w.events; /* one event's words share a message */
            n->said_up = w.events;
            post(e);
        }
        break;
    case PLAN_JOB_FAILED:
    case PLAN_INFEASIBLE:
        fail("a job failed, or is infeasible without a head", i);
    }
}

static void head_act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    if (a->kind == PLAN_DEMAND_INFEASIBLE) {
        return;
    }
    w.changes += a->kind == PLAN_LEASE;
    uint32_t first = a->kind == PLAN_NODE_DEAD ? 0 : node_of(a->to);
    uint32_t end = a->kind == PLAN_NODE_DEAD ? w.count
                   : first == UINT32_MAX     ? first
                                             : first + 1;
    for (uint32_t i = first; i < end; i++) {
        struct node *n = &w.nodes[i];
        if (n->alive && n->up) {
            struct event e;
            uint64_t at = w.now + delay();
            n->last_down = n->last_down >= at ? n->last_down + 1 : at; /* in order */
            about(&e, EV_TO_NODE, i, 0)->at = n->last_down;
            e.line = n->line, e.down = *a;
            w.messages += n->said_down != w.events;
            n->said_down = w.events;
            post(e);
        }
        /* Daemons hear of deaths sooner or later even if the head's word is lost. */
        if (a->kind == PLAN_NODE_DEAD && n->alive) {
            struct event e;
            about(&e, EV_DEAD_WORD, i, 0)->at += 50 * NS_PER_MS + delay();
            e.incarnation = a->node;
            post(e);
        }
    }
}

/* ---- a node's workers
 * ---------------------------------------------------------------------- */

static void must(mob_status s, const char *what, uint32_t node)
{
    if (s != MOB_OK) {
        fprintf(stderr, "%s: status %d\n", what, (int)s);
        fail("an event was refused", node);
    }
}

static void hint(uint32_t i, uint32_t job)
{
    struct node *n = &w.nodes[i];
    struct plan_class_view v;
    if (i != w.job[job].home &&
        plan_node_view(n->plan, w.job[job].key, 0, &v) != MOB_OK) {
        n->board[job] =
            (struct board){0}; /* a guest that never had workers went with its lease */
    }
    if (n->board[job].known) {
        must(plan_node_backlog(n->plan, w.job[job].key, 0, n->board[job].queued, NULL, 0,
                               w.now),
             "backlog", i);
    }
}

/* A worker that holds a slot looks for its next task. */
static void look(uint32_t i, uint32_t job)
{
    struct node *n = &w.nodes[i];
    struct board *b = &n->board[job];
    struct job *j = &w.job[job];
    if (b->take > 0) {
        b->take--, b->busy--;
        must(plan_node_slot_returned(n->plan, j->key, 0, PLAN_SLOT_BUSY, w.now),
             "returned", i);
    } else if (b->queued > 0) {
        b->queued--;
        uint64_t time = j->task_ns * n->slow;
        bool lends = j->lends && draw(4) == 0;
        bool dies = w.faults && draw(2000) == 0;
        post_node(dies    ? EV_WORKER_DIES
                  : lends ? EV_LEND
                          : EV_DONE,
                  i, job, lends ? time / 2 : time);
    } else {
        b->busy--, b->idle++;
        must(plan_node_slot_idle(n->plan, j->key, 0, w.now), "idle", i);
    }
}

static void add_tasks(uint32_t i, uint32_t job, uint32_t count)
{
    struct node *n = &w.nodes[i];
    struct board *b = &n->board[job];
    b->queued += count;
    while (b->idle > 0 && b->queued > 0) {
        uint32_t before_look = b->queued;
        b->idle--, b->busy++;
        must(plan_node_slot_busy(n->plan, w.job[job].key, 0, w.now), "busy", i);
        look(i, job);
        if (before_look == b->queued && b->idle > 0) {
            continue;
        }
    }
    hint(i, job);
}

static void job_over(uint32_t job)
{
    struct job *j = &w.job[job];
    j->over = true;
    for (uint32_t i = 0; i < w.count; i++) {
        post_node(EV_JOB_OVER, i, job, 10 * NS_PER_MS + delay());
    }
}

static void task_done(uint32_t job, uint32_t count)
{
    struct job *j = &w.job[job];
    if (count > j->left) {
        fail("more tasks done than there were", j->home);
    }
    j->left -= count;
    w.tasks += count;
    if (j->left == 0) {
        job_over(job);
    }
}

static void worker_event(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    struct board *b = &n->board[e->job];
    struct job *j = &w.job[e->job];
    if (!b->known) {
        return; /* the job was removed meanwhile */
    }
    switch (e->kind) {
    case EV_STARTED:
        must(plan_node_worker_started(n->plan, j->key, 0, w.now), "started", e->node);
        b->busy++;
        break;
    case EV_WORKER_DIES: /* the task runs again */
        b->busy--;
        b->take -= b->take > 0;
        must(plan_node_worker_died(n->plan, j->key, 0, PLAN_SLOT_BUSY, w.now), "died",
             e->node);
        add_tasks(e->node, e->job, 1);
        return;
    case EV_LEND:
        if (plan_node_slot_lent(n->plan, j->key, 0, w.now) == MOB_OK) {
            b->busy--;
            b->take -= b->take > 0;
            post_node(EV_RESUME, e->node, e->job, 5 * NS_PER_MS);
        } else {
            post_node(EV_DONE, e->node, e->job, j->task_ns / 2);
        }
        return;
    case EV_RESUME:
        must(plan_node_slot_resume(n->plan, j->key, 0, w.now), "resume", e->node);
        return;
    case EV_DONE:
        if (e->node == j->home) {
            task_done(e->job, 1);
        } else {
            must(plan_node_finished(n->plan, j->key, 0, 1, w.now), "finished", e->node);
            b->foreign--;
            struct event back;
            about(&back, EV_BACK, j->home, e->job)->at += delay();
            back.from = e->node, back.id = b->lease, back.count = 1;
            back.incarnation = n->incarnation;
            post(back);
            w.remote++;
        }
        break;
    default:
        break;
    }
    look(e->node, e->job);
}

/* ---- between nodes
 * ------------------------------------------------------------------------- */

static void send_tasks(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    struct board *b = &n->board[e->job];
    uint32_t to = node_of(e->incarnation),
             count = e->count < b->queued ? e->count : b->queued;
    count = to == UINT32_MAX || !b->known ? 0 : count;
    mob_status s = plan_node_sent(n->plan, e->id, count, w.now);
    if (s == MOB_OK && count > 0) {
        b->queued -= count;
        n->away[e->job * w.count + to] += count;
        struct event tasks;
        about(&tasks, EV_TASKS, to, e->job)->at += delay();
        tasks.id = e->id, tasks.epoch = e->epoch, tasks.count = count,
        tasks.from = e->node;
        post(tasks);
    }
}

static void tasks_came(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    const struct board *b = &n->board[e->job];
    bool other = b->foreign > 0 && b->lease != e->id;
    if (!other && plan_node_received(n->plan, w.job[e->job].key, 0, e->id, e->epoch,
                                     e->count, w.now) == MOB_OK) {
        n->board[e->job].known = true;
        n->board[e->job].lease = e->id;
        n->board[e->job].foreign += e->count;
        add_tasks(e->node, e->job, e->count);
        return;
    }
    struct event back;
    about(&back, EV_REFUSED, e->from, e->job)->at += delay();
    back.id = e->id, back.count = e->count, back.from = e->node;
    back.incarnation = n->incarnation;
    post(back);
}

static void tasks_back(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    uint32_t *away = &n->away[e->job * w.count + e->from];
    if (w.nodes[e->from].incarnation != e->incarnation || *away < e->count ||
        !n->board[e->job].known) {
        return; /* of a node that is dead to us: its tasks were queued again */
    }
    *away -= e->count;
    if (e->kind == EV_BACK) {
        task_done(e->job, e->count);
        hint(e->node, e->job);
        plan_node_back(n->plan, e->id, e->count, w.now);
    } else {
        plan_node_refused(n->plan, e->id, e->count, w.now);
        add_tasks(e->node, e->job, e->count);
    }
}

static void to_head(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    const struct plan_node_action *a = &e->up;
    if (e->line != n->line || !n->up) {
        return; /* lost with its connection */
    }
    if (a->kind == PLAN_REPORT) {
        must(plan_head_report(w.head, n->incarnation, a->offer, w.now), "report",
             e->node);
    } else if (a->kind == PLAN_DEMAND) {
        struct plan_demand d = {.job = a->job,
                                .cls = a->cls,
                                .units = a->units,
                                .weight = a->weight,
                                .want = a->count};
        must(plan_head_demand(w.head, n->incarnation, &d, w.now), "demand", e->node);
    } else {
        mob_status s = plan_head_lease_held(w.head, n->incarnation, a->lease, a->epoch,
                                            a->count, a->offer, w.now);
        if (s != MOB_ERR_STATE && s != MOB_ERR_NOT_FOUND) {
            must(s, "held", e->node);
        }
    }
}

static void job_gone(uint32_t i, uint32_t job)
{
    struct node *n = &w.nodes[i];
    n->board[job] = (struct board){0};
    mob_status s = plan_node_job_remove(n->plan, w.job[job].key, w.now);
    if (s != MOB_ERR_NOT_FOUND) {
        must(s, "job remove", i);
    }
}

static void dead_word(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    plan_node_peer_lost(n->plan, e->incarnation, w.now);
    for (uint32_t i = 0; i < w.count; i++) {
        for (uint32_t job = 0; w.nodes[i].incarnation == e->incarnation && job < JOBS;
             job++) {
            uint32_t lost = n->away[job * w.count + i];
            n->away[job * w.count + i] = 0;
            if (lost > 0 && n->board[job].known) {
                add_tasks(e->node, job, lost);
            }
            if (w.job[job].home == i) {
                job_gone(e->node, job);
            }
        }
    }
}

static void to_node(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    const struct plan_head_action *a = &e->down;
    if (e->line != n->line || !n->up) {
        return;
    }
    if (a->kind == PLAN_LEASE) {
        uint32_t job = job_of(a->job);
        struct plan_lease l = {.lease = a->lease,
                               .epoch = a->epoch,
                               .job = a->job,
                               .cls = a->cls,
                               .units = a->units,
                               .weight = a->weight,
                               .slots = a->slots,
                               .owner = a->owner ? a->owner : 1};
        n->board[job].known = n->board[job].known || a->slots > 0;
        must(plan_node_lease(n->plan, &l, w.now), "lease", e->node);
        struct plan_class_view view;
        n->board[job].known = plan_node_view(n->plan, a->job, 0, &view) == MOB_OK;
    } else if (a->kind == PLAN_GRANT) {
        mob_status s = plan_node_grant(n->plan, a->lease, a->epoch, a->job, a->cls,
                                       a->node, a->slots, w.now);
        if (s != MOB_ERR_NOT_FOUND && s != MOB_ERR_STATE) { /* its job may be over */
            must(s, "grant", e->node);
        }
    } else if (a->kind == PLAN_SYNCED) {
        plan_node_head_synced(n->plan, w.now);
    }
}

static void connect_head(uint32_t i)
{
    struct node *n = &w.nodes[i];
    struct plan_join join = {n->incarnation, n->incarnation ^ 77, 0, n->units};
    n->up = true;
    plan_node_head_up(n->plan, 5, w.now);
    must(plan_head_join(w.head, &join, w.now), "join", i);
}

/* ---- always and finally
 * -------------------------------------------------------------------- */

/* CPUs that no slot with work holds. */
static uint64_t idle_units(const struct node *n)
{
    uint64_t idle = n->units - plan_node_used(n->plan);
    for (uint32_t job = 0; job < JOBS; job++) {
        idle += (uint64_t)n->board[job].idle * w.job[job].units;
    }
    return idle;
}

/* What is known of a job, for whoever has to find out. */
static void print_state(uint32_t k)
{
    const struct job *j = &w.job[k];
    fprintf(stderr, "job %u of node %u: %u units, %u left\n", k, j->home, j->units,
            j->left);
    for (uint32_t i = 0; i < w.count; i++) {
        const struct node *n = &w.nodes[i];
        struct plan_class_view v;
        if (plan_node_view(n->plan, j->key, 0, &v) == MOB_OK) {
            fprintf(
                stderr,
                "node %u: %u units, used %" PRIu64 ", offer %" PRIu64 "; queued %u (%u), "
                "busy %u (%u), idle %u (%u), starting %u, lent %u, asked back %u (%u), "
                "leased %u, away %u, want %u\n",
                i, n->units, plan_node_used(n->plan), plan_node_offer(n->plan), v.queued,
                n->board[k].queued, v.busy, n->board[k].busy, v.idle, n->board[k].idle,
                v.starting, v.lent, v.asked_back, n->board[k].take, v.leased, v.away,
                v.want);
        }
    }
    struct plan_member_view members[64];
    for (size_t i = plan_head_nodes(w.head, members, 64, w.now), m = 0; m < i && m < 64;
         m++) {
        fprintf(stderr,
                "head: node %" PRIu64 ": %" PRIu64 " units, offer %" PRIu64
                ", leased %" PRIu64 "\n",
                members[m].node, members[m].units, members[m].offer,
                members[m].leased_units);
    }
    struct plan_demand_view demands[64];
    for (size_t i = plan_head_demands(w.head, demands, 64), m = 0; m < i && m < 64; m++) {
        fprintf(stderr,
                "head: demand of %" PRIu64 ", job %u, %u units: want %u, granted %u\n",
                demands[m].owner, demands[m].job.number, demands[m].units,
                demands[m].want, demands[m].granted);
    }
    struct plan_lease_view leases[64];
    size_t count = plan_head_leases(w.head, leases, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        fprintf(stderr,
                "lease %" PRIx64 ": owner %" PRIu64 " node %" PRIu64 ", %u slots, %s\n",
                leases[i].lease, leases[i].owner, leases[i].node, leases[i].slots,
                leases[i].state);
    }
}

static void look_around(void)
{
    uint64_t smallest = CLOCK_NEVER;
    uint32_t job = 0;
    for (uint32_t k = 0; k < JOBS; k++) {
        const struct node *home = &w.nodes[w.job[k].home];
        if (home->alive && home->board[k].queued > 0 && w.job[k].units < smallest) {
            smallest = w.job[k].units;
            job = k;
        }
    }
    for (uint32_t i = 0; i < w.count; i++) {
        struct node *n = &w.nodes[i];
        uint64_t needed = w.faults ? CLOCK_NEVER : smallest;
        /* While nodes die and lines break only the home's own CPUs can be promised. */
        for (uint32_t k = 0; w.faults && k < JOBS; k++) {
            if (w.job[k].home == i && n->board[k].queued > 0 && w.job[k].units < needed) {
                needed = w.job[k].units;
                job = k;
            }
        }
        bool starved = n->alive && idle_units(n) >= needed;
        n->starved_since = !starved                          ? CLOCK_NEVER
                           : n->starved_since == CLOCK_NEVER ? w.now
                                                             : n->starved_since;
        if (starved && w.now - n->starved_since > IDLE_MS * NS_PER_MS) {
            print_state(job);
            fail("CPUs idle beside a ready task", i);
        }
    }
}

/* NOLINTNEXTLINE(readability-function-size): one case for each kind of event */
static void handle(struct event *e)
{
    struct node *n = &w.nodes[e->node];
    struct job *j = &w.job[e->job];
    switch (e->kind) {
    case EV_TO_HEAD:
        to_head(e);
        break;
    case EV_TO_NODE:
        to_node(e);
        break;
    case EV_TICK:
        n->tick_at = CLOCK_NEVER;
        for (uint32_t job = 0; job < JOBS; job++) {
            hint(e->node, job);
        }
        plan_node_tick(n->plan, w.now);
        break;
    case EV_HEARTBEAT:
        if (n->up) {
            must(plan_head_heartbeat(w.head, n->incarnation, w.now), "heartbeat",
                 e->node);
        }
        post_node(EV_HEARTBEAT, e->node, 0, HEARTBEAT_NS);
        break;
    case EV_ARRIVE:
        n->board[e->job].known = true;
        must(plan_node_job_add(n->plan, j->key, j->weight, w.now), "job", e->node);
        must(plan_node_class_add(n->plan, j->key, 0, j->units, w.now), "class", e->node);
        add_tasks(e->node, e->job, j->left);
        break;
    case EV_LOOK:
    case EV_STARTED:
    case EV_DONE:
    case EV_LEND:
    case EV_RESUME:
    case EV_WORKER_DIES:
        worker_event(e);
        break;
    case EV_GIVE_BACK:
        while (n->board[e->job].take > 0 && n->board[e->job].idle > 0) {
            n->board[e->job].take--, n->board[e->job].idle--;
            must(plan_node_slot_returned(n->plan, j->key, 0, PLAN_SLOT_IDLE, w.now),
                 "give", 0);
        }
        break;
    case EV_SEND:
        send_tasks(e);
        break;
    case EV_TASKS:
        tasks_came(e);
        break;
    case EV_BACK:
    case EV_REFUSED:
        tasks_back(e);
        break;
    case EV_BREAK:
        n->line++;
        n->up = false;
        plan_node_head_down(n->plan, w.now);
        post_node(EV_CONNECT, e->node, 0, 10 * NS_PER_MS + draw(3000 * NS_PER_MS));
        break;
    case EV_CONNECT:
        connect_head(e->node);
        break;
    case EV_CRASH:
        n->alive = n->up = false;
        for (uint32_t job = 0; job < JOBS; job++) {
            w.job[job].over = w.job[job].over || w.job[job].home == e->node;
        }
        break;
    case EV_DEAD_WORD:
        dead_word(e);
        break;
    case EV_JOB_OVER:
        job_gone(e->node, e->job);
        break;
    case EV_LOOK_AROUND:
        look_around();
        post_node(EV_LOOK_AROUND, e->node, 0, 50 * NS_PER_MS);
        break;
    case EV_HEAD_TICK:
        w.head_tick_at = CLOCK_NEVER;
        plan_head_tick(w.head, w.now);
        break;
    }
}

static void set_timers(uint32_t i)
{
    struct node *n = &w.nodes[i];
    uint64_t due = n->alive ? plan_node_deadline(n->plan) : CLOCK_NEVER;
    if (due < n->tick_at) {
        n->tick_at = due > w.now ? due : w.now + 1;
        post_node(EV_TICK, i, 0, n->tick_at - w.now);
    }
    due = plan_head_deadline(w.head);
    if (due < w.head_tick_at) {
        w.head_tick_at = due > w.now ? due : w.now + 1;
        post_node(EV_HEAD_TICK, i, 0, w.head_tick_at - w.now);
    }
}

/* Tasks that wait here under a lease that is over go back to their owner. */
static void send_back(uint32_t i)
{
    struct node *n = &w.nodes[i];
    for (uint32_t job = 0; job < JOBS; job++) {
        struct board *b = &n->board[job];
        struct plan_class_view v;
        if (w.job[job].home == i || b->queued == 0 ||
            plan_node_view(n->plan, w.job[job].key, 0, &v) != MOB_OK || v.leased > 0) {
            continue;
        }
        struct event back;
        about(&back, EV_REFUSED, w.job[job].home, job)->at += delay();
        back.id = b->lease, back.count = b->queued, back.from = i;
        back.incarnation = n->incarnation;
        post(back);
        must(plan_node_finished(n->plan, w.job[job].key, 0, b->queued, w.now),
             "sent back", i);
        b->foreign -= b->queued;
        b->queued = 0;
        hint(i, job);
    }
}

static void step(void)
{
    struct event e = next();
    w.now = e.at;
    w.events++;
    bool always = e.kind == EV_HEAD_TICK || e.kind == EV_LOOK_AROUND;
    if (w.nodes[e.node].alive || always) {
        handle(&e);
        if (w.nodes[e.node].alive) {
            send_back(e.node);
        }
        const char *wrong = plan_node_check(w.nodes[e.node].plan);
        /* The head's walk is quadratic in leases: at every event only where they are few.
         */
        if (!wrong && (e.kind == EV_TO_HEAD || always) &&
            w.events % (1 + w.count / 20) == 0) {
            wrong = plan_head_check(w.head);
        }
        if (wrong) {
            fail(wrong, e.node);
        }
        set_timers(e.node);
    }
}

static void set_up(uint32_t nodes, bool streams)
{
    w.nodes = calloc(nodes, sizeof *w.nodes);
    w.heap = malloc(HEAP_MAX * sizeof *w.heap);
    w.event = malloc(HEAP_MAX * sizeof *w.event);
    w.free = malloc(HEAP_MAX * sizeof *w.free);
    w.count = nodes;
    w.faults = w.seed % 3 != 0;
    w.streams = streams;
    w.random = w.seed * 0x9e3779b97f4a7c15ull | 1;
    w.head_tick_at = CLOCK_NEVER;
    w.head = plan_head_create(
        &(struct plan_head_config){.head = 5, .seed = w.seed, .act = head_act}, 0);
    for (uint32_t i = 0; i < nodes; i++) {
        struct node *n = &w.nodes[i];
        *n = (struct node){.incarnation = FIRST_NODE + i,
                           .units = CPU_UNITS * (1 + (uint32_t)draw(4)),
                           .slow = draw(10) == 0 ? 5 : 1,
                           .alive = true,
                           .tick_at = CLOCK_NEVER,
                           .starved_since = CLOCK_NEVER};
        n->away = calloc((size_t)JOBS * nodes, sizeof *n->away);
        n->plan =
            plan_node_create(&(struct plan_node_config){.node = n->incarnation,
                                                        .units = n->units,
                                                        .jobs_max = JOBS,
                                                        .leases_max = 4096,
                                                        .act = node_act,
                                                        .arg = (void *)(uintptr_t)i},
                             0);
        post_node(EV_CONNECT, i, 0, draw(100 * NS_PER_MS));
        post_node(EV_HEARTBEAT, i, 0, 100 * NS_PER_MS + draw(HEARTBEAT_NS));
        if (w.faults && draw(10) == 0) {
            post_node(EV_BREAK, i, 0, 200 * NS_PER_MS + draw(3 * NS_PER_S));
        } else if (w.faults && draw(20) == 0) {
            post_node(EV_CRASH, i, 0, 200 * NS_PER_MS + draw(3 * NS_PER_S));
        }
    }
    for (uint32_t k = 0; k < JOBS; k++) {
        uint32_t home = (uint32_t)draw(nodes);
        w.job[k] =
            (struct job){.key = {w.nodes[home].incarnation, k},
                         .home = home,
                         .units = draw(4) ? CPU_UNITS : CPU_UNITS / 2,
                         .left = (1 + (uint32_t)draw(3000)) * (1 + nodes / 100),
                         .weight = 1 + (uint32_t)draw(3),
                         .task_ns = (1 + draw(40)) * (draw(2) ? 100 : 1000) * NS_PER_US,
                         .lends = draw(3) == 0};
        if (w.streams) {
            w.job[k].left = (STREAM + (uint32_t)draw(STREAM)) * (nodes / 10 + 1) / 2;
            w.job[k].task_ns = (200 + draw(1000)) * NS_PER_US;
        }
        if (w.streams && k >= STREAMS) {
            w.job[k] = (struct job){.over = true};
            continue;
        }
        post_node(EV_ARRIVE, home, k, 150 * NS_PER_MS + draw(NS_PER_S));
    }
    post_node(EV_LOOK_AROUND, 0, 0, 0);
}

static void run(uint64_t seed, uint32_t nodes, bool streams)
{
    memset(&w, 0, sizeof w);
    w.seed = seed;
    set_up(nodes, streams);
    uint64_t end = CLOCK_NEVER;
    while (w.now < end) {
        step();
        bool over = end == CLOCK_NEVER;
        for (uint32_t k = 0; over && k < JOBS; k++) {
            over = w.job[k].over;
        }
        end = over ? w.now + SETTLE_NS : end;
        if (w.now > 120 * NS_PER_S) {
            for (uint32_t k = 0; k < JOBS; k++) {
                if (!w.job[k].over) {
                    print_state(k);
                }
            }
            fail("tasks never ended", 0);
        }
    }
    for (uint32_t i = 0; i < nodes; i++) {
        if (w.nodes[i].alive && plan_node_used(w.nodes[i].plan) > 0) {
            fail("slots are held when all is over", i);
        }
        plan_node_destroy(w.nodes[i].plan);
        free(w.nodes[i].away);
    }
    if (plan_head_leases(w.head, NULL, 0) || plan_head_demands(w.head, NULL, 0)) {
        fail("leases or demands are left when all is over", 0);
    }
    double seconds = (double)(w.now - SETTLE_NS) / 1e9;
    printf("seed %" PRIu64 ": %u nodes, %s, %s, %" PRIu64 " tasks (%" PRIu64
           " elsewhere), %.2f s, %" PRIu64 " events; %" PRIu64
           " head messages: %.4f a task, %.2f a lease change, %.2f a second and node\n",
           seed, nodes, w.streams ? "streams" : "mixed",
           w.faults ? "faults" : "no faults", w.tasks, w.remote, seconds, w.events,
           w.messages, (double)w.messages / (double)w.tasks,
           (double)w.messages / (double)w.changes, (double)w.messages / seconds / nodes);
    bool much = w.streams ? w.messages * STREAM_BUDGET > w.tasks
                          : (double)w.messages > CHANGE_BUDGET * (double)w.changes +
                                                     RATE_BUDGET * seconds * nodes;
    if (much) {
        fail("the head hears too much", 0);
    }
    plan_head_destroy(w.head);
    free(w.nodes);
    free(w.heap);
    free(w.event);
    free(w.free);
}

int main(int argc, char **argv)
{
    bool streams = argc > 1 && !strcmp(argv[1], "--streams");
    if (argc > 1 && !strcmp(argv[1], "--full")) {
        for (uint64_t seed = 1; seed <= 100; seed++) {
            run(seed, 10 + 40 * (seed % 3), false);
        }
        for (uint64_t seed = 1; seed <= 10; seed++) {
            run(seed, seed == 1 ? 50 : 10, true);
        }
        run(1, 1000, false);
        return 0;
    }
    uint64_t number[3] = {1, 1, 60}; /* seed, seeds, nodes */
    for (int i = 0, at = streams ? 2 : 1; i < 3 && at < argc; i++, at++) {
        number[i] = strtoull(argv[at], NULL, 0);
    }
    for (uint64_t i = 0; i < number[1]; i++) {
        run(number[0] + i, (uint32_t)number[2], streams);
    }
    return 0;
}
