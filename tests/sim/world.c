/* world.c - a history from its seed to its end. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define GIB (1ull << 30)
#define FAULTS_NS (6 * NS_PER_S) /* while faults begin; then all heals */
#define LIMIT_NS (900 * NS_PER_S)

/* Two nodes have all that a task may need, one in each zone; the others what the draw gives them. */
static void set_up_kinds(struct node *n, uint32_t i)
{
    bool all = i < 2;
    struct resources *r = &n->capacity;
    r->amount[RESOURCE_CPU] += all ? CPU_UNITS : 0;
    r->amount[RESOURCE_MEMORY] = (all ? 8 : 1 + sim_draw(8)) * GIB;
    r->amount[RESOURCE_GPU] = (all ? 2 : sim_draw(3)) * CPU_UNITS;
    if (all || sim_draw(4) == 0) {
        sim_must(resources_set(r, "tape", CPU_UNITS), "tape", i);
    }
    snprintf(n->labels, sizeof n->labels, "zone=%c", i % 2 ? 'b' : 'a');
}

/* What a class needs beside CPUs, where it may run, and before whom. */
static void draw_demand(struct demand *d)
{
    struct resources *need = &d->need;
    need->amount[RESOURCE_MEMORY] = sim_draw(2) ? (1 + sim_draw(4)) * GIB : 0;
    need->amount[RESOURCE_GPU] = sim_draw(5) == 0 ? (1 + sim_draw(2)) * CPU_UNITS / 2 : 0;
    if (sim_draw(8) == 0) {
        sim_must(resources_set(need, "tape", CPU_UNITS / 2), "tape", 0);
    }
    d->priority = (int8_t)(10 * (int)sim_draw(3) - 10);
    if (sim_draw(4) == 0) {
        snprintf(d->selector, sizeof d->selector, "zone=%c", sim_draw(2) ? 'b' : 'a');
    }
    uint64_t how = sim_draw(6);
    if (how == 0) {
        d->strategy = DEMAND_SPREAD;
    } else if (how == 1) {
        d->strategy = DEMAND_NODE_SOFT;
        d->node = sim.nodes[sim_draw(sim.count)].incarnation;
    } else if (how == 2 &&
               !sim.o.faults) { /* a node that dies would never be that one again */
        uint32_t i = (uint32_t)sim_draw(2);
        d->strategy = DEMAND_NODE;
        d->node = sim.nodes[i].incarnation;
        d->selector[0] = '\0';
    }
}

static void set_up_node(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    bool slow = !sim.o.rivals && sim_draw(10) == 0, skewed = sim.o.faults && sim_draw(2);
    *n = (struct node){.capacity = resources_cpus(CPU_UNITS * (1 + sim_draw(4))),
                       .slow = slow ? 2 + (uint32_t)sim_draw(4) : 1,
                       .links = NONE,
                       .late = sim_draw(4) == 0,
                       .skew = skewed ? sim_draw(3600 * NS_PER_S) : 0,
                       .drift = skewed ? (int32_t)sim_draw(3) - 1 : 0};
    if (sim.o.kinds) {
        set_up_kinds(n, i);
    }
    node_start(i);
}

/* What goes wrong at a node, once at most in each history. */
static void set_up_faults(uint32_t i)
{
    uint64_t at = 200 * NS_PER_MS + sim_draw(FAULTS_NS - 2 * NS_PER_S);
    uint32_t what = (uint32_t)sim_draw(12);
    if (what == 0) {
        sim_after(EV_CRASH, i, at, 0, 0, 0);
    } else if (
        what ==
        1) { /* short ones heal; long ones are as a death. Out of it, into it, or both. */
        sim_after(EV_CUT, i, at, (uint32_t)sim_draw(3),
                  (uint32_t)sim_draw(sim_draw(2) ? 800 : 12000), 0);
    } else if (what == 2) {
        sim_after(EV_BREAK, i, at, 0, 0, 0);
    }
}

static void set_up_job(uint32_t k)
{
    struct job *j = &sim.jobs[k];
    uint64_t most =
        sim.o.tasks ? sim.o.tasks / sim.jobs_count : 200 + sim_draw(30) * sim.count;
    enum workload w = (enum workload)sim_draw(WORKLOADS);
    if (sim.o.only >= 0) {
        w = (enum workload)sim.o.only;
    } else if (sim.o.rivals || sim.o.streams) {
        w = INDEPENDENT;
    }
    *j = (struct job){
        .graph = graph_make(w, most, sim.o.seed * 1000 + k),
        .home = sim.o.rivals ? 0 : (uint32_t)sim_draw(sim.count),
        .weight = 1 + (uint32_t)sim_draw(3),
        .classes = 1 + (sim_draw(3) == 0),
        .demand = {demand_cpus(CPU_UNITS),
                   demand_cpus(sim_draw(2) ? CPU_UNITS / 2 : 2 * CPU_UNITS)},
        .waits_since = {CLOCK_NEVER, CLOCK_NEVER},
        .depth = w == NESTED ? 1 + (uint32_t)sim_draw(2) : 0,
        .time_ns = (1 + sim_draw(20)) * (sim_draw(2) ? 100 : 2000) * NS_PER_US,
        .arg_bytes = sim_draw(2) ? 1000000 : 0,
        .arrive_at = 150 * NS_PER_MS + sim_draw(2) * sim_draw(3 * NS_PER_S),
        .heavy = sim_draw(3) == 0};
    for (uint32_t cls = SHAPES; cls < CLASSES; cls++) {
        j->waits_since[cls] = CLOCK_NEVER;
    }
    for (uint32_t cls = 0; sim.o.kinds && cls < SHAPES; cls++) {
        draw_demand(&j->demand[cls]);
    }
    if (sim.o.faults && sim_draw(2)) { /* so that there is work when all has healed */
        j->time_ns = (100 + sim_draw(500)) * NS_PER_MS;
        j->heavy = false;
    }
    if (sim.o.rivals) {
        j->time_ns = (k % 2 ? 4 + sim_draw(10) : 200 + sim_draw(300)) * NS_PER_MS;
        j->graph = graph_make(w, 1000000, k);
        j->classes = 1;
        j->heavy = false;
        j->weight *= index_mix(sim.o.seed) % 2 ? 100 : 1;
        j->arrive_at = 150 * NS_PER_MS;
        j->stop_at = 15 * NS_PER_S;
        sim_after(EV_STOP, j->home, j->stop_at, k, 0, 0);
    } else if (sim.o.streams) {
        j->graph =
            graph_make(w, (STREAM + sim_draw(STREAM)) * (sim.count / 10 + 1) / 2, k);
        j->time_ns = (200 + sim_draw(1000)) * NS_PER_US;
    }
    if (sim.o.groups && (k == 0 || sim_draw(3))) {
        group_set_up(k);
    }
    j->left = j->graph.count;
    j->seen = calloc(j->graph.count / 8 + 1, 1);
    sim_after(EV_ARRIVE, j->home, j->arrive_at, k, 0, 0);
}

static void set_up(const struct options *o)
{
    memset(&sim, 0, sizeof sim);
    sim.o = *o;
    sim.random = o->seed;
    sim.count = o->nodes;
    sim.jobs_count = o->jobs;
    sim.free_task = NONE;
    sim.head_skew = o->faults ? sim_draw(3600 * NS_PER_S) : 0;
    sim.lag_ns = (20 + sim_draw(300)) * NS_PER_US;
    sim.healed_at = o->faults ? FAULTS_NS + 12 * NS_PER_S : 0;
    sim.loss = o->faults && sim_draw(2) ? 200 : 0;
    sim.doubling = o->faults && sim_draw(2);
    uint64_t pairs = (uint64_t)sim.count * (sim.count + 1) / 2;
    sim.links_room = pairs < 1u << 22 ? (uint32_t)pairs : 1u << 22;
    sim.links = malloc(sim.links_room * sizeof *sim.links);
    sim.nodes = calloc(sim.count, sizeof *sim.nodes);
    sim.jobs = calloc(sim.jobs_count, sizeof *sim.jobs);
    sim.groups = calloc((size_t)sim.jobs_count * ROUNDS, sizeof *sim.groups);
    sim.joined = calloc(sim.count, sizeof *sim.joined);
    if (!sim.links || !sim.nodes || !sim.jobs || !sim.groups || !sim.joined ||
        !index_create(&sim.link_index, sim.links_room)) {
        sim_fail("no memory", 0);
    }
    head_up();
    for (uint32_t i = 0; i < sim.count; i++) {
        set_up_node(i);
        if (o->faults) {
            set_up_faults(i);
        }
    }
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        set_up_job(k);
    }
    if (o->faults && sim_draw(o->groups ? 2 : 4) == 0) {
        sim_post((struct event){.at = NS_PER_S + sim_draw(4 * NS_PER_S),
                                .kind = EV_HEAD_CRASH,
                                .node = NONE});
    }
    sim_post((struct event){.kind = EV_LOOK_AROUND, .node = NONE});
}

static void clean_up(void)
{
    for (uint32_t i = 0; i < sim.count; i++) {
        plan_node_destroy(sim.nodes[i].plan);
        free(sim.nodes[i].boards);
        free(sim.nodes[i].sends);
    }
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        free(sim.jobs[k].seen);
        free(sim.jobs[k].record);
        free(sim.jobs[k].finish);
    }
    for (uint32_t i = 0; i < sim.heap_count; i++) {
        free(sim.heap[i].m);
    }
    for (uint32_t i = 0; i < sim.links_count; i++) {
        link_forget(i);
    }
    check_forget();
    plan_head_destroy(sim.head);
    index_destroy(&sim.link_index);
    free(sim.nodes);
    free(sim.jobs);
    free(sim.groups);
    free(sim.members);
    free(sim.joined);
    free(sim.links);
    free(sim.tasks);
    free(sim.heap);
}

static void step(void)
{
    struct event e = sim_next();
    sim.now = e.at;
    sim.events++;
    bool node = e.node != NONE;
    if (node && (sim.nodes[e.node].life != e.life ||
                 !(sim.nodes[e.node].alive || e.kind == EV_RESTART))) {
        return; /* of an earlier life */
    }
    if (e.kind <= EV_DIAL) {
        link_event(&e);
    } else if (e.kind <= EV_GIVE_BACK) {
        node_event(&e);
    } else if (e.kind <= EV_FETCHED) {
        task_event(&e);
    } else if (e.kind <= EV_STOP) {
        job_event(&e);
    } else if (e.kind == EV_LOOK_AROUND) {
        check_look_around();
        sim_post((struct event){
            .at = sim.now + 50 * NS_PER_MS, .kind = EV_LOOK_AROUND, .node = NONE});
    } else {
        head_event(&e);
    }
    if (node && sim.nodes[e.node].alive) {
        node_after(e.node);
    }
    head_timer();
}

static bool all_over(void)
{
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        if (!sim.jobs[k].over) {
            return false;
        }
    }
    return true;
}

void world_print_options(FILE *to)
{
    const struct options *o = &sim.o;
    fprintf(to, "%s%s%s%s%s --seed %" PRIu64 " --nodes %u --jobs %u --tasks %" PRIu64,
            o->rivals ? " --rivals" : "", o->streams ? " --streams" : "",
            o->kinds ? " --kinds" : "", o->groups ? " --groups" : "",
            o->faults ? " --faults" : " --no-faults", o->seed, o->nodes, o->jobs,
            o->tasks);
    if (o->only >= 0) {
        fprintf(to, " --workload %s", graph_name((enum workload)o->only));
    }
    fprintf(to, "\n");
}

/* Until nothing is left of all that is over. What the last head kept its successor may not have heard of. */
uint64_t world_settle_ns(void)
{
    return SETTLE_NS + (sim.o.groups ? PLAN_ORPHAN_NS : 0);
}

void world_run(const struct options *o)
{
    set_up(o);
    uint64_t end = CLOCK_NEVER;
    while (sim.now < end) {
        step();
        if (end == CLOCK_NEVER && all_over()) {
            end = (sim.now > sim.healed_at ? sim.now : sim.healed_at) + world_settle_ns();
        }
        if (sim.now > LIMIT_NS) {
            sim_fail("tasks never end", 0);
        }
    }
    check_end();
    if (!o->quiet) {
        printf("seed %" PRIu64 ": %u nodes, %u jobs%s%s: %" PRIu64 " tasks, %" PRIu64
               " elsewhere, %" PRIu64 " again; %.1f s, %" PRIu64 " events; %" PRIu64
               " breaks, %" PRIu64 " crashes, %" PRIu64 " workers died; %" PRIu64
               " ended with groups, %" PRIu64
               " names of places used again; %.4f head messages a task, %.2f a change; "
               "idle %.2f s, "
               "starved %.2f s, behind %.2f s, stretch %.2f, unfair "
               "%.2f\n",
               o->seed, o->nodes, o->jobs, o->faults ? ", faults" : "",
               o->rivals ? ", rivals" : "", sim.done, sim.remote, sim.again,
               (double)(sim.now - world_settle_ns()) / 1e9, sim.events, sim.breaks,
               sim.crashes, sim.deaths, sim.ended, sim.reused,
               (double)sim.messages / (double)(sim.done ? sim.done : 1),
               (double)sim.messages / (double)(sim.changes ? sim.changes : 1),
               (double)sim.late_ns / 1e9, (double)sim.starved_ns / 1e9,
               (double)sim.behind_ns / 1e9, sim.stretch, sim.unfair);
    }
    clean_up();
}
