/* check_idle.c - what no task may wait for: CPUs that idle, the turn of its class, guests on its own node. It is looked at
 * every 50 ms. */
#include "sim.h"

/* What queued tasks of drivers need, each demand once. */
struct waiting {
    const struct demand *demand[DEMANDS_MAX];
    uint32_t count;
};

static void add_waiting(struct waiting *w, const struct demand *d)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->demand[i] == d || demand_equal(w->demand[i], d)) {
            return;
        }
    }
    if (w->count < DEMANDS_MAX) {
        w->demand[w->count++] = d;
    }
}

/* Those on this node; @strategies: also if where they run is the head's to say. */
static void find_waiting(struct waiting *w, const struct node *n, bool strategies)
{
    for (uint32_t b = 0; n->alive && b < n->boards_top; b++) {
        const struct board *d = &n->boards[b];
        for (uint32_t cls = 0; d->used && d->theirs == NONE && cls < CLASSES; cls++) {
            const struct demand *demand = &sim.jobs[d->job].demand[cls];
            if (d->cls[cls].queue[0].count && !demand->group &&
                (strategies || demand->strategy == DEMAND_DEFAULT)) {
                add_waiting(w, demand);
            }
        }
    }
}

/* What no slot with work holds. */
static struct resources idle_on(const struct node *n)
{
    struct resources idle = n->capacity, used = plan_node_used(n->plan);
    resources_sub(&idle, &used, 1);
    for (uint32_t b = 0; b < n->boards_top; b++) {
        for (uint32_t cls = 0; n->boards[b].used && cls < CLASSES; cls++) {
            resources_add(&idle, &sim.jobs[n->boards[b].job].demand[cls].need,
                          n->boards[b].cls[cls].idle);
        }
    }
    return idle;
}

/* @have is enough for one of them, and it may run here. */
static bool enough(const struct node *n, const struct waiting *w,
                   const struct resources *have)
{
    for (uint32_t i = 0; i < w->count; i++) {
        if (resources_fit(have, &w->demand[i]->need) &&
            demand_allows(w->demand[i], n->incarnation, n->labels)) {
            return true;
        }
    }
    return false;
}

/* What guests run with. Not of those whose tasks wait for tasks of their own: they come back from a get one by
 * one, each before all others. */
static struct resources guests_have(const struct node *n)
{
    struct resources have = resources_zero(&n->capacity);
    for (uint32_t b = 0; b < n->boards_top; b++) {
        const struct board *d = &n->boards[b];
        const struct job *j = &sim.jobs[d->job];
        for (uint32_t cls = 0; d->used && d->theirs != NONE && cls < CLASSES; cls++) {
            bool counts = j->depth == 0 && !j->demand[cls].group;
            resources_add(&have, &j->demand[cls].need, counts ? d->cls[cls].running : 0);
        }
    }
    return have;
}

/* Of each class that its own node may run, one of its tasks runs somewhere again and again, whatever its priority
 * and whoever else has work there. Others are guests everywhere, behind natives. */
static bool at_home(const struct job *j, uint32_t cls)
{
    const struct node *n = &sim.nodes[j->home];
    const struct demand *d = &j->demand[cls];
    if (d->group) { /* what its tasks need is theirs alone */
        const struct group *g = group_now(j);
        return g && g->id == d->group && g->wanted && g->told.state == PLAN_GROUP_WHOLE;
    }
    if (n->alive && check_holds(j->home, 0)) {
        return false; /* groups may have all of it for long */
    }
    return d->strategy == DEMAND_DEFAULT && resources_fit(&n->capacity, &d->need) &&
           demand_allows(d, n->incarnation, n->labels);
}

static void check_starving(uint32_t k)
{
    struct job *j = &sim.jobs[k];
    const struct board *b =
        j->arrived && !j->over ? &sim.nodes[j->home].boards[j->board] : NULL;
    for (uint32_t cls = 0; cls < j->classes; cls++) {
        if (!b || b->cls[cls].queue[0].count == 0 || j->at[cls] > 0 || !at_home(j, cls)) {
            j->waits_since[cls] = CLOCK_NEVER;
            continue;
        }
        if (j->waits_since[cls] == CLOCK_NEVER) {
            j->waits_since[cls] = sim.now;
        }
        uint64_t late = sim.now - j->waits_since[cls];
        sim.starved_ns = late > sim.starved_ns ? late : sim.starved_ns;
        if (late > STARVE_NS + sim.longest_ns * sim.jobs_count) {
            sim_fail("a class of tasks starves", j->home);
        }
    }
}

/* A node's own tasks go first: what guests have that one of them could run on comes back as their tasks end. What is
 * owed to a guest it has for a tenth of a second. */
static void check_guests(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    static struct waiting own;
    own.count = 0;
    find_waiting(&own, n, false);
    struct resources idle = idle_on(n), all = guests_have(n);
    bool guests = !resources_none(&all);
    resources_add(&all, &idle, 1);
    if (!guests || enough(n, &own, &idle) || !enough(n, &own, &all)) {
        n->guests_since = CLOCK_NEVER;
        return;
    }
    n->guests_since = n->guests_since == CLOCK_NEVER ? sim.now : n->guests_since;
    uint64_t late = sim.now - n->guests_since;
    sim.behind_ns = late > sim.behind_ns ? late : sim.behind_ns;
    if (late > GUESTS_NS + sim.longest_ns) {
        sim_fail("a node's own tasks wait for what guests keep", i);
    }
}

/* ---- idle CPUs -------------------------------------------------------------------------------------- */

static void check_idle(uint32_t i, const struct waiting *w)
{
    struct node *n = &sim.nodes[i];
    struct resources idle = idle_on(n);
    if (!enough(n, w, &idle)) {
        n->starved_since = CLOCK_NEVER;
        return;
    }
    n->starved_since = n->starved_since == CLOCK_NEVER ? sim.now : n->starved_since;
    uint64_t late = sim.now - n->starved_since;
    sim.late_ns = late > sim.late_ns ? late : sim.late_ns;
    if (late > IDLE_NS + sim.longest_ns) {
        sim_fail("CPUs stay idle beside a task that could run on them", i);
    }
}

void check_look_around(void)
{
    /* While connections break, nobody but a task's own node can be promised to it. */
    bool calm = sim.now >= sim.healed_at + (sim.healed_at ? SETTLE_NS : 0);
    static struct waiting all, own;
    all.count = 0;
    for (uint32_t i = 0; calm && i < sim.count; i++) {
        find_waiting(&all, &sim.nodes[i], true);
    }
    for (uint32_t k = 0; calm && k < sim.jobs_count; k++) {
        check_starving(k);
    }
    for (uint32_t i = 0; i < sim.count; i++) {
        struct node *n = &sim.nodes[i];
        own.count = 0;
        if (!calm) {
            find_waiting(&own, n, false);
        }
        if (!n->alive || check_holds(i, 0)) {
            n->starved_since = n->guests_since = CLOCK_NEVER;
            continue;
        }
        check_idle(i, calm ? &all : &own);
        check_guests(i);
    }
}
