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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- always and finally
 * -------------------------------------------------------------------- */

static uint64_t cpus_used(const struct node *n)
{
    return plan_node_used(n->plan).amount[RESOURCE_CPU];
}

/* CPUs that no slot with work holds. */
static uint64_t idle_units(const struct node *n)
{
    uint64_t idle = n->units - cpus_used(n);
    for (uint32_t job = 0; job < JOBS; job++) {
        idle += (uint64_t)n->board[job].idle * sim.job[job].units;
    }
    return idle;
}

/* What is known of a job, for whoever has to find out. */
static void print_state(uint32_t k)
{
    const struct job *j = &sim.job[k];
    fprintf(stderr, "job %u of node %u: %u units, %u left\n", k, j->home, j->units,
            j->left);
    for (uint32_t i = 0; i < sim.count; i++) {
        const struct node *n = &sim.nodes[i];
        struct plan_class_view v;
        if (plan_node_view(n->plan, j->key, 0, &v) == MOB_OK) {
            fprintf(
                stderr,
                "node %u: %u units, used %" PRIu64 ", offer %" PRIu64 "; queued %u (%u), "
                "busy %u (%u), idle %u (%u), starting %u, lent %u, asked back %u (%u), "
                "leased %u, away %u, want %u\n",
                i, n->units, cpus_used(n), plan_node_offer(n->plan).amount[RESOURCE_CPU],
                v.queued, n->board[k].queued, v.busy, n->board[k].busy, v.idle,
                n->board[k].idle, v.starting, v.lent, v.asked_back, n->board[k].take,
                v.leased, v.away, v.want);
        }
    }
    struct plan_member_view members[64];
    for (size_t i = plan_head_nodes(sim.head, members, 64, sim.now), m = 0;
         m < i && m < 64; m++) {
        fprintf(stderr,
                "head: node %" PRIu64 ": %" PRIu64 " units, offer %" PRIu64
                ", leased %" PRIu64 "\n",
                members[m].node, members[m].capacity.amount[RESOURCE_CPU],
                members[m].offer.amount[RESOURCE_CPU],
                members[m].leased.amount[RESOURCE_CPU]);
    }
    struct plan_demand_view demands[64];
    for (size_t i = plan_head_demands(sim.head, demands, 64), m = 0; m < i && m < 64;
         m++) {
        fprintf(stderr,
                "head: demand of %" PRIu64 ", job %u, %" PRIu64
                " units: want %u, granted %u\n",
                demands[m].owner, demands[m].job.number,
                demands[m].demand->need.amount[RESOURCE_CPU], demands[m].want,
                demands[m].granted);
    }
    struct plan_lease_view leases[64];
    size_t count = plan_head_leases(sim.head, leases, 64);
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
        const struct node *home = &sim.nodes[sim.job[k].home];
        if (home->alive && home->board[k].queued > 0 && sim.job[k].units < smallest) {
            smallest = sim.job[k].units;
            job = k;
        }
    }
    for (uint32_t i = 0; i < sim.count; i++) {
        struct node *n = &sim.nodes[i];
        uint64_t needed = sim.faults ? CLOCK_NEVER : smallest;
        /* While nodes die and lines break only the home's own CPUs can be promised. */
        for (uint32_t k = 0; sim.faults && k < JOBS; k++) {
            if (sim.job[k].home == i && n->board[k].queued > 0 &&
                sim.job[k].units < needed) {
                needed = sim.job[k].units;
                job = k;
            }
        }
        bool starved = n->alive && idle_units(n) >= needed;
        n->starved_since = !starved                          ? CLOCK_NEVER
                           : n->starved_since == CLOCK_NEVER ? sim.now
                                                             : n->starved_since;
        if (starved && sim.now - n->starved_since > IDLE_MS * NS_PER_MS) {
            print_state(job);
            sim_fail("CPUs idle beside a ready task", i);
        }
    }
}

/* NOLINTNEXTLINE(readability-function-size): one case for each kind of event */
static void handle(struct event *e)
{
    struct node *n = &sim.nodes[e->node];
    struct job *j = &sim.job[e->job];
    switch (e->kind) {
    case EV_TO_HEAD:
        sim_to_head(e);
        break;
    case EV_TO_NODE:
        sim_to_node(e);
        break;
    case EV_TICK:
        n->tick_at = CLOCK_NEVER;
        for (uint32_t job = 0; job < JOBS; job++) {
            sim_hint(e->node, job);
        }
        plan_node_tick(n->plan, sim.now);
        break;
    case EV_HEARTBEAT:
        if (n->up) {
            sim_must(plan_head_heartbeat(sim.head, n->incarnation, sim.now), "heartbeat",
                     e->node);
        }
        sim_post_node(EV_HEARTBEAT, e->node, 0, HEARTBEAT_NS);
        break;
    case EV_ARRIVE:
        n->board[e->job].known = true;
        sim_must(plan_node_job_add(n->plan, j->key, j->weight, sim.now), "job", e->node);
        sim_must(plan_node_class_add(n->plan, j->key, 0,
                                     &(struct demand){.need = resources_cpus(j->units)},
                                     sim.now),
                 "class", e->node);
        sim_add_tasks(e->node, e->job, j->left);
        break;
    case EV_LOOK:
    case EV_STARTED:
    case EV_DONE:
    case EV_LEND:
    case EV_RESUME:
    case EV_WORKER_DIES:
        sim_worker_event(e);
        break;
    case EV_GIVE_BACK:
        while (n->board[e->job].take > 0 && n->board[e->job].idle > 0) {
            n->board[e->job].take--, n->board[e->job].idle--;
            sim_must(plan_node_slot_returned(n->plan, j->key, 0, PLAN_SLOT_IDLE, sim.now),
                     "give", 0);
        }
        break;
    case EV_SEND:
        sim_send_tasks(e);
        break;
    case EV_TASKS:
        sim_tasks_came(e);
        break;
    case EV_BACK:
    case EV_REFUSED:
        sim_tasks_back(e);
        break;
    case EV_BREAK:
        n->line++;
        n->up = false;
        plan_node_head_down(n->plan, sim.now);
        sim_post_node(EV_CONNECT, e->node, 0,
                      10 * NS_PER_MS + sim_draw(3000 * NS_PER_MS));
        break;
    case EV_CONNECT:
        sim_connect_head(e->node);
        break;
    case EV_CRASH:
        n->alive = n->up = false;
        for (uint32_t job = 0; job < JOBS; job++) {
            sim.job[job].over = sim.job[job].over || sim.job[job].home == e->node;
        }
        break;
    case EV_DEAD_WORD:
        sim_dead_word(e);
        break;
    case EV_JOB_OVER:
        sim_job_gone(e->node, e->job);
        break;
    case EV_LOOK_AROUND:
        look_around();
        sim_post_node(EV_LOOK_AROUND, e->node, 0, 50 * NS_PER_MS);
        break;
    case EV_HEAD_TICK:
        sim.head_tick_at = CLOCK_NEVER;
        plan_head_tick(sim.head, sim.now);
        break;
    }
}

static void set_timers(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    uint64_t due = n->alive ? plan_node_deadline(n->plan) : CLOCK_NEVER;
    if (due < n->tick_at) {
        n->tick_at = due > sim.now ? due : sim.now + 1;
        sim_post_node(EV_TICK, i, 0, n->tick_at - sim.now);
    }
    due = plan_head_deadline(sim.head);
    if (due < sim.head_tick_at) {
        sim.head_tick_at = due > sim.now ? due : sim.now + 1;
        sim_post_node(EV_HEAD_TICK, i, 0, sim.head_tick_at - sim.now);
    }
}

/* Tasks that wait here under a lease that is over go back to their owner. */
static void send_back(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    for (uint32_t job = 0; job < JOBS; job++) {
        struct board *b = &n->board[job];
        struct plan_class_view v;
        if (sim.job[job].home == i || b->queued == 0 ||
            plan_node_view(n->plan, sim.job[job].key, 0, &v) != MOB_OK || v.leased > 0) {
            continue;
        }
        struct event back;
        sim_about(&back, EV_REFUSED, sim.job[job].home, job)->at += sim_delay();
        back.id = b->lease, back.count = b->queued, back.from = i;
        back.incarnation = n->incarnation;
        sim_post(back);
        sim_must(plan_node_finished(n->plan, sim.job[job].key, 0, b->queued, sim.now),
                 "sent back", i);
        b->foreign -= b->queued;
        b->queued = 0;
        sim_hint(i, job);
    }
}

static void step(void)
{
    struct event e = sim_next();
    sim.now = e.at;
    sim.events++;
    bool always = e.kind == EV_HEAD_TICK || e.kind == EV_LOOK_AROUND;
    if (sim.nodes[e.node].alive || always) {
        handle(&e);
        if (sim.nodes[e.node].alive) {
            send_back(e.node);
        }
        const char *wrong = plan_node_check(sim.nodes[e.node].plan);
        /* The head's walk is quadratic in leases: at every event only where they are few.
         */
        if (!wrong && (e.kind == EV_TO_HEAD || always) &&
            sim.events % (1 + sim.count / 20) == 0) {
            wrong = plan_head_check(sim.head);
        }
        if (wrong) {
            sim_fail(wrong, e.node);
        }
        set_timers(e.node);
    }
}

static void set_up(uint32_t nodes, bool streams)
{
    sim.nodes = calloc(nodes, sizeof *sim.nodes);
    sim.heap = malloc(HEAP_MAX * sizeof *sim.heap);
    sim.event = malloc(HEAP_MAX * sizeof *sim.event);
    sim.free = malloc(HEAP_MAX * sizeof *sim.free);
    sim.count = nodes;
    sim.faults = sim.seed % 3 != 0;
    sim.streams = streams;
    sim.random = sim.seed * 0x9e3779b97f4a7c15ull | 1;
    sim.head_tick_at = CLOCK_NEVER;
    sim.head = plan_head_create(
        &(struct plan_head_config){.head = 5, .seed = sim.seed, .act = sim_head_act}, 0);
    for (uint32_t i = 0; i < nodes; i++) {
        struct node *n = &sim.nodes[i];
        *n = (struct node){.incarnation = FIRST_NODE + i,
                           .units = CPU_UNITS * (1 + (uint32_t)sim_draw(4)),
                           .slow = sim_draw(10) == 0 ? 5 : 1,
                           .alive = true,
                           .tick_at = CLOCK_NEVER,
                           .starved_since = CLOCK_NEVER};
        n->away = calloc((size_t)JOBS * nodes, sizeof *n->away);
        n->plan = plan_node_create(
            &(struct plan_node_config){.node = n->incarnation,
                                       .capacity = resources_cpus(n->units),
                                       .jobs_max = JOBS,
                                       .leases_max = 4096,
                                       .act = sim_node_act,
                                       .arg = (void *)(uintptr_t)i},
            0);
        sim_post_node(EV_CONNECT, i, 0, sim_draw(100 * NS_PER_MS));
        sim_post_node(EV_HEARTBEAT, i, 0, 100 * NS_PER_MS + sim_draw(HEARTBEAT_NS));
        if (sim.faults && sim_draw(10) == 0) {
            sim_post_node(EV_BREAK, i, 0, 200 * NS_PER_MS + sim_draw(3 * NS_PER_S));
        } else if (sim.faults && sim_draw(20) == 0) {
            sim_post_node(EV_CRASH, i, 0, 200 * NS_PER_MS + sim_draw(3 * NS_PER_S));
        }
    }
    for (uint32_t k = 0; k < JOBS; k++) {
        uint32_t home = (uint32_t)sim_draw(nodes);
        sim.job[k] = (struct job){
            .key = {sim.nodes[home].incarnation, k},
            .home = home,
            .units = sim_draw(4) ? CPU_UNITS : CPU_UNITS / 2,
            .left = (1 + (uint32_t)sim_draw(3000)) * (1 + nodes / 100),
            .weight = 1 + (uint32_t)sim_draw(3),
            .task_ns = (1 + sim_draw(40)) * (sim_draw(2) ? 100 : 1000) * NS_PER_US,
            .lends = sim_draw(3) == 0};
        if (sim.streams) {
            sim.job[k].left =
                (STREAM + (uint32_t)sim_draw(STREAM)) * (nodes / 10 + 1) / 2;
            sim.job[k].task_ns = (200 + sim_draw(1000)) * NS_PER_US;
        }
        if (sim.streams && k >= STREAMS) {
            sim.job[k] = (struct job){.over = true};
            continue;
        }
        sim_post_node(EV_ARRIVE, home, k, 150 * NS_PER_MS + sim_draw(NS_PER_S));
    }
    sim_post_node(EV_LOOK_AROUND, 0, 0, 0);
}

static void run(uint64_t seed, uint32_t nodes, bool streams)
{
    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    set_up(nodes, streams);
    uint64_t end = CLOCK_NEVER;
    while (sim.now < end) {
        step();
        bool over = end == CLOCK_NEVER;
        for (uint32_t k = 0; over && k < JOBS; k++) {
            over = sim.job[k].over;
        }
        end = over ? sim.now + SETTLE_NS : end;
        if (sim.now > 120 * NS_PER_S) {
            for (uint32_t k = 0; k < JOBS; k++) {
                if (!sim.job[k].over) {
                    print_state(k);
                }
            }
            sim_fail("tasks never ended", 0);
        }
    }
    for (uint32_t i = 0; i < nodes; i++) {
        if (sim.nodes[i].alive && cpus_used(&sim.nodes[i]) > 0) {
            sim_fail("slots are held when all is over", i);
        }
        plan_node_destroy(sim.nodes[i].plan);
        free(sim.nodes[i].away);
    }
    if (plan_head_leases(sim.head, NULL, 0) || plan_head_demands(sim.head, NULL, 0)) {
        sim_fail("leases or demands are left when all is over", 0);
    }
    double seconds = (double)(sim.now - SETTLE_NS) / 1e9;
    printf("seed %" PRIu64 ": %u nodes, %s, %s, %" PRIu64 " tasks (%" PRIu64
           " elsewhere), %.2f s, %" PRIu64 " events; %" PRIu64
           " head messages: %.4f a task, %.2f a lease change, %.2f a second and node\n",
           seed, nodes, sim.streams ? "streams" : "mixed",
           sim.faults ? "faults" : "no faults", sim.tasks, sim.remote, seconds,
           sim.events, sim.messages, (double)sim.messages / (double)sim.tasks,
           (double)sim.messages / (double)sim.changes,
           (double)sim.messages / seconds / nodes);
    bool much = sim.streams ? sim.messages * STREAM_BUDGET > sim.tasks
                            : (double)sim.messages > CHANGE_BUDGET * (double)sim.changes +
                                                         RATE_BUDGET * seconds * nodes;
    if (much) {
        sim_fail("the head hears too much", 0);
    }
    plan_head_destroy(sim.head);
    free(sim.nodes);
    free(sim.heap);
    free(sim.event);
    free(sim.free);
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
