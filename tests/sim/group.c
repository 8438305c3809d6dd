/* group.c - the groups of jobs: a job has one after the other, each for a part of its tasks, half of the time two.
 * Its own node is their owner, as in the daemon: it says them to the head, again whenever the head welcomed it, with
 * what it heard of them last.
 *
 * What is drawn here finds a place whenever nothing else is on the nodes: a group waits for others, and not for ever. */
#include <string.h>

#include "sim.h"

#define WORK_NS (8 * NS_PER_S) /* of a slot, about */

/* ---- drawing ---------------------------------------------------------------------------------------- */

static uint64_t cpus_of(uint32_t node)
{
    return sim.nodes[node].capacity.amount[RESOURCE_CPU] / CPU_UNITS;
}

static void add_bundle(struct group *g, uint64_t units)
{
    g->bundles[g->count++].need = resources_cpus(units);
}

/* Each on a node of its own, often on all that there are. */
static void draw_spread(struct group *g)
{
    uint32_t large = 0, most = sim.count;
    uint64_t cpus = 1 + sim_draw(2);
    for (uint32_t i = 0; i < sim.count; i++) {
        large += cpus_of(i) >= cpus;
    }
    if (large < 2) {
        cpus = 1;
    } else {
        most = large;
    }
    most = most < MOB_GROUP_BUNDLES_MAX ? most : MOB_GROUP_BUNDLES_MAX;
    for (uint32_t left = sim_draw(3) ? 2 + (uint32_t)sim_draw(most - 1) : most; left > 0;
         left--) {
        add_bundle(g, cpus * CPU_UNITS);
    }
}

/* All on one node. */
static void draw_pack(struct group *g)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < sim.count; i++) {
        most = cpus_of(i) > most ? cpus_of(i) : most;
    }
    for (uint32_t left = 2 + (uint32_t)sim_draw(2 * most - 1); left > 0; left--) {
        add_bundle(g, CPU_UNITS / 2);
    }
}

/* Of one CPU and two, as they fit on the nodes. */
static void draw_any(struct group *g)
{
    uint32_t most = 2 + (uint32_t)sim_draw(MOB_GROUP_BUNDLES_MAX - 1);
    for (uint32_t i = 0; i < sim.count; i++) {
        for (uint64_t left = cpus_of(i); left > 0 && g->count < most;) {
            uint64_t cpus = left > 1 && sim_draw(2) ? 2 : 1;
            add_bundle(g, cpus * CPU_UNITS);
            left -= cpus;
        }
    }
}

/* Two classes of tasks: of any of its bundles, and of one. Returns the slots that they have in it. */
static uint64_t draw_tasks(struct group *g, struct demand *any, struct demand *one)
{
    uint64_t slots = 0, least = g->bundles[0].need.amount[RESOURCE_CPU];
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t units = g->bundles[i].need.amount[RESOURCE_CPU];
        least = units < least ? units : least;
        slots += units;
    }
    *any = demand_cpus(sim_draw(2) ? least : CPU_UNITS / 2);
    *one = demand_cpus(sim_draw(2) ? least : CPU_UNITS / 2);
    any->group = one->group = g->id;
    one->bundle = (uint16_t)(1 + sim_draw(g->count));
    return slots / any->need.amount[RESOURCE_CPU];
}

void group_set_up(uint32_t k)
{
    struct job *j = &sim.jobs[k];
    uint64_t slots = UINT64_MAX, tasks = j->graph.count;
    j->groups = 1 + (uint32_t)sim_draw(ROUNDS);
    j->classes = PER_GROUP * j->groups;
    for (uint32_t r = 0; r < j->groups; r++) {
        struct group *g = &sim.groups[k * ROUNDS + r];
        g->id = k * ROUNDS + r + 1;
        g->job = k;
        g->strategy = (uint32_t)sim_draw(MOB_GROUP_STRICT_SPREAD + 1);
        if (g->strategy == MOB_GROUP_STRICT_SPREAD) {
            draw_spread(g);
        } else if (g->strategy == MOB_GROUP_STRICT_PACK) {
            draw_pack(g);
        } else {
            draw_any(g);
        }
        struct demand *d = &j->demand[PER_GROUP * r];
        uint64_t has = draw_tasks(g, &d[0], &d[1]);
        g->remove_ns = !j->depth && sim_draw(4) == 0 ? 1 + sim_draw(3 * NS_PER_S) : 0;
        slots = has < slots ? has : slots;
    }
    uint64_t each = j->time_ns * (j->depth ? FAMILY : 1) * (j->heavy ? 2 : 1);
    uint64_t most = (j->graph.kind == CHAIN ? 1 : slots) * WORK_NS / each + j->groups;
    j->graph = graph_make(j->graph.kind, tasks < most ? tasks : most, j->graph.seed);
    if (j->graph.count < j->groups) {
        j->groups = 1;
        j->classes = PER_GROUP;
    }
    if (sim_draw(4) == 0) { /* its program ends in the middle of something */
        j->stop_at = j->arrive_at + sim_draw(4 * NS_PER_S);
        sim_after(EV_STOP, j->home, j->stop_at, k, 0, 0);
    }
}

/* ---- its owner -------------------------------------------------------------------------------------- */

struct group *group_now(const struct job *j)
{
    return j->groups ? &sim.groups[(j - sim.jobs) * ROUNDS + j->round] : NULL;
}

static void say(uint32_t node, struct group *g)
{
    struct message *m = message_more(GROUP, node, sim.count, &g->told, sizeof g->told);
    m->id = g->id;
    m->board = sim.nodes[node].boards[sim.jobs[g->job].board].serial;
    link_send(m);
}

void group_begin(struct job *j)
{
    struct group *g = group_now(j);
    if (g) {
        g->wanted = true;
        for (uint32_t cls = 0; cls < PER_GROUP; cls++) {
            klass_add(j->home, j->board, PER_GROUP * j->round + cls);
        }
        say(j->home, g);
        if (g->remove_ns) { /* also while tasks run in it */
            sim_after(EV_REMOVE, j->home, g->remove_ns, g->job, j->round, 0);
        }
    }
}

void group_end(struct job *j)
{
    struct group *g = group_now(j);
    if (!g || !g->wanted) {
        return;
    }
    g->wanted = false;
    if (sim.nodes[j->home].alive) {
        struct message *m = message_new(GROUP_END, j->home, sim.count, 0);
        m->id = g->id;
        link_send(m);
        klass_gone(j);
    }
}

void group_say_all(uint32_t node)
{
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        struct group *g = group_now(&sim.jobs[k]);
        if (g && g->wanted && sim.jobs[k].home == node) {
            say(node, g);
        }
    }
    if (sim.o.groups) {
        link_send(message_new(GROUPS_SAID, node, sim.count, 0));
    }
}

void group_told(uint32_t node, const struct plan_group_view *view)
{
    struct group *g = &sim.groups[view->group - 1];
    if (sim.jobs[g->job].home != node) {
        sim_fail("a node hears of another one's group", node);
    }
    sim.whole += view->state == PLAN_GROUP_WHOLE && g->told.state != PLAN_GROUP_WHOLE;
    g->told = *view;
}

/* ---- at the head ------------------------------------------------------------------------------------ */

void group_message(const struct message *m)
{
    uint64_t node = sim.joined[m->from];
    if (m->kind == GROUP_END) {
        mob_status s = plan_head_group_end(sim.head, node, m->id, head_clock());
        if (s != MOB_ERR_NOT_FOUND) { /* this head may not have heard of it */
            sim_must(s, "group end", m->from);
        }
        return;
    }
    if (m->kind == GROUPS_SAID) {
        sim_must(plan_head_groups_said(sim.head, node, head_clock()), "groups", m->from);
        return;
    }
    struct group *g = &sim.groups[m->id - 1];
    struct plan_group_view said;
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    bool placed = false;
    memcpy(&said, m->items, sizeof said);
    for (uint32_t i = 0; i < g->count; i++) {
        needs[i] = g->bundles[i].need;
        placed = placed || said.holds[i];
    }
    check_group_said(g, &said);
    struct plan_group word = {.id = g->id,
                              .job = {sim.nodes[m->from].birth, m->board},
                              .count = g->count,
                              .strategy = g->strategy,
                              .needs = needs,
                              .nodes = placed ? said.nodes : NULL,
                              .holds = placed ? said.holds : NULL};
    sim_must(plan_head_group(sim.head, node, &word, head_clock()), "group", m->from);
}
