/* check_group.c - what holds of groups always. A bundle's hold is followed by the words that the head says and hears;
 * what a node holds is asked of its planner, and compared with what runs there. */
#include "sim.h"

static struct bundle *bundle_of(const struct plan_hold *word)
{
    return &sim.groups[word->group - 1].bundles[word->bundle - 1];
}

/* ---- the head's words ------------------------------------------------------------------------------- */

static void wanted(struct bundle *b, const struct plan_head_action *a)
{
    const struct plan_hold *w = a->hold;
    if (b->hold == w->hold && b->node == a->to &&
        (b->state == PLAN_HOLD_WANT || b->state == PLAN_HOLD_HELD)) {
        return; /* it is named again */
    }
    if (w->hold <= sim.last_hold) {
        sim_fail("the name of a hold is used again", sim.count);
    }
    if (b->state != PLAN_HOLD_END) {
        fprintf(stderr,
                "hold %" PRIx64 " of node %" PRIu64 ", then %" PRIx64 " of node %" PRIu64
                "\n",
                b->hold, b->node, w->hold, a->to);
        sim_fail("a bundle is to have two holds", sim.count);
    }
    sim.last_hold = w->hold;
    b->hold = w->hold;
    b->node = a->to;
    b->state = PLAN_HOLD_WANT;
}

void check_hold(const struct plan_head_action *a)
{
    const struct plan_hold *w = a->hold;
    struct group *g = &sim.groups[w->group - 1];
    struct bundle *b = bundle_of(w);
    if (w->state == PLAN_HOLD_WANT) {
        wanted(b, a);
        return;
    }
    if (b->hold != w->hold) {
        return; /* of an earlier one */
    }
    bool asked = b->state == PLAN_HOLD_WANT || b->state == PLAN_HOLD_HELD;
    bool first = w->state == PLAN_HOLD_KEPT && asked; /* else a new head takes it up */
    for (uint32_t i = 0; first && i < g->count; i++) {
        if (g->bundles[i].state < PLAN_HOLD_HELD) {
            sim_fail("a bundle is to be used before all of them are held", sim.count);
        }
    }
    g->ended = g->ended ||
               (g->wanted && b->state == PLAN_HOLD_KEPT && w->state == PLAN_HOLD_END);
    b->state = w->state;
}

/* What is kept for a group is not ended while its owner lives and wants it. */
void check_wanted(void)
{
    for (uint32_t k = 0; k < sim.jobs_count * ROUNDS; k++) {
        if (sim.groups[k].ended) {
            sim_fail("what is kept for a group is ended, and its owner wants it",
                     sim.jobs[sim.groups[k].job].home);
        }
    }
}

void check_view(const struct plan_group_view *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->state == PLAN_GROUP_WHOLE && !v->holds[i]) {
            sim_fail("a group is said to be whole, and misses a bundle", sim.count);
        }
        for (uint32_t k = 0; k < i; k++) {
            bool both = v->nodes[i] && v->nodes[k], same = v->nodes[i] == v->nodes[k];
            if (both && (same ? v->strategy == MOB_GROUP_STRICT_SPREAD
                              : v->strategy == MOB_GROUP_STRICT_PACK)) {
                sim_fail("bundles are not where their strategy wants them", sim.count);
            }
        }
    }
}

/* ---- what the head hears ---------------------------------------------------------------------------- */

void check_hold_said(const struct plan_hold *said)
{
    struct bundle *b = bundle_of(said);
    if (b->hold != said->hold) {
        return;
    }
    if (said->state == PLAN_HOLD_END ||
        (said->state == PLAN_HOLD_HELD && b->state == PLAN_HOLD_WANT)) {
        b->state = said->state;
    }
}

static void over_if(bool (*is)(const struct group *g, const struct bundle *b,
                               uint64_t node),
                    uint64_t node)
{
    for (uint32_t k = 0; k < sim.jobs_count * ROUNDS; k++) {
        struct group *g = &sim.groups[k];
        for (uint32_t i = 0; i < g->count; i++) {
            bool over = is(g, &g->bundles[i], node);
            g->bundles[i].state = over ? PLAN_HOLD_END : g->bundles[i].state;
        }
    }
}

static bool is_on(const struct group *g, const struct bundle *b, uint64_t node)
{
    return b->node == node || g->owner == node;
}

void check_node_dead(uint64_t node)
{
    over_if(is_on, node);
    for (uint32_t k = 0; k < sim.jobs_count * ROUNDS; k++) {
        sim.groups[k].ended = sim.groups[k].ended && sim.groups[k].owner != node;
    }
}

/* What was not kept yet its node lets go of when it meets another head. */
static bool is_early(const struct group *g, const struct bundle *b, uint64_t node)
{
    (void)g, (void)node;
    return b->state < PLAN_HOLD_KEPT;
}

void check_head_down(void)
{
    over_if(is_early, 0);
}

/* A new head takes a group as it is, with all holds that the owner knows of. */
void check_group_said(struct group *g, const struct plan_group_view *said)
{
    for (uint32_t i = 0; g->head != sim.head_id && i < g->count; i++) {
        struct bundle *b = &g->bundles[i];
        if (b->hold != said->holds[i]) {
            b->state = PLAN_HOLD_END;
        }
    }
    g->head = sim.head_id;
    g->owner = sim.joined[sim.jobs[g->job].home];
}

/* ---- a node ----------------------------------------------------------------------------------------- */

bool check_holds(uint32_t node, uint64_t hold)
{
    static struct plan_hold holds[PLAN_HOLDS_MAX];
    uint32_t count = plan_node_holds(sim.nodes[node].plan, holds, PLAN_HOLDS_MAX);
    bool found = hold == 0 && count > 0;
    for (uint32_t i = 0; i < count; i++) {
        found = found || holds[i].hold == hold;
    }
    return found;
}

/* CPUs of the tasks of a group that run on a node, in one bundle or (0) in all of them. */
static uint64_t running_in(const struct node *n, uint64_t group, uint32_t bundle)
{
    uint64_t units = 0;
    for (uint32_t k = 0; k < n->boards_top; k++) {
        const struct board *b = &n->boards[k];
        for (uint32_t cls = 0; b->used && cls < CLASSES; cls++) {
            const struct demand *d = &sim.jobs[b->job].demand[cls];
            if (b->cls[cls].running && d->group == group &&
                (!bundle || d->bundle == bundle)) {
                units += b->cls[cls].running * d->need.amount[RESOURCE_CPU];
            }
        }
    }
    return units;
}

/* CPUs that tasks may run in: of a hold that is over until its slots are back. */
static uint64_t usable(const struct plan_hold *holds, uint32_t count, uint64_t group,
                       uint32_t bundle)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool its = holds[i].group == group && (!bundle || holds[i].bundle == bundle);
        bool now = holds[i].state == PLAN_HOLD_KEPT || holds[i].state == PLAN_HOLD_END;
        units += its && now ? holds[i].need.amount[RESOURCE_CPU] : 0;
    }
    return units;
}

void check_bundles(uint32_t node)
{
    static struct plan_hold holds[PLAN_HOLDS_MAX];
    const struct node *n = &sim.nodes[node];
    uint32_t count = plan_node_holds(n->plan, holds, PLAN_HOLDS_MAX);
    uint64_t taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool there = holds[i].state != PLAN_HOLD_WANT;
        taken += there ? holds[i].need.amount[RESOURCE_CPU] : 0;
    }
    for (uint32_t k = 0; k < n->boards_top; k++) {
        const struct board *b = &n->boards[k];
        for (uint32_t cls = 0; b->used && cls < CLASSES; cls++) {
            const struct demand *d = &sim.jobs[b->job].demand[cls];
            if (!b->cls[cls].running) {
                continue;
            }
            if (!d->group) {
                taken += b->cls[cls].running * d->need.amount[RESOURCE_CPU];
            } else if (running_in(n, d->group, d->bundle) >
                           usable(holds, count, d->group, d->bundle) ||
                       running_in(n, d->group, 0) > usable(holds, count, d->group, 0)) {
                sim_fail("tasks of a group have more than is kept for it", node);
            }
        }
    }
    if (taken > n->capacity.amount[RESOURCE_CPU]) {
        sim_fail("holds and other tasks have more than their node", node);
    }
}

/* ---- in the end ------------------------------------------------------------------------------------- */

/* One task after the other where only a bundle may run it, all of them in its bundles else. Who gathers waits for the
 * longest task, in windows that double, and is tried again a second after each. */
uint64_t check_group_time(const struct job *j)
{
    uint64_t time = j->path * (1 + j->depth) * j->groups;
    for (uint32_t cls = 0; cls < j->classes; cls++) {
        const struct group *g = &sim.groups[j->demand[cls].group - 1];
        const struct demand *d = &j->demand[cls];
        uint64_t slots = 0, work = j->work[cls] * (j->depth ? FAMILY : 1);
        for (uint32_t i = 0; i < g->count; i++) {
            bool its = !d->bundle || d->bundle == i + 1;
            slots += its ? resources_times(&g->bundles[i].need, &d->need, 64) : 0;
        }
        time += work / (slots ? slots : 1);
    }
    return time + j->groups * (4 * sim.longest_ns + 8 * NS_PER_S);
}

void check_groups_end(void)
{
    if (!sim.o.groups) {
        return;
    }
    if (plan_head_groups(sim.head, NULL, 0)) {
        sim_fail("groups are left when all is over", sim.count);
    }
    static struct plan_member_view nodes[NODES_MAX];
    size_t count = plan_head_nodes(sim.head, nodes, NODES_MAX, head_clock());
    for (size_t i = 0; i < count && i < NODES_MAX; i++) {
        if (!resources_none(&nodes[i].booked)) {
            sim_fail("holds are left when all is over", sim.count);
        }
    }
}
