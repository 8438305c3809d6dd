/* check.c - what holds always, and what is true in the end. The planners' own checks walk their books; what is
 * counted here is what workers, boards and words do in reality, whatever a planner believes. */
#include <stdlib.h>

#include "sim.h"

#define LEASES (1u << 22) /* that one head may ever give: the low word of their names */

/* In histories of many nodes only some events are followed by a check of all books. */
static bool looked_at(void)
{
    return sim.count <= 100 || index_mix(sim.events) % sim.count < 100;
}

void check_node(uint32_t i)
{
    const struct node *n = &sim.nodes[i];
    if (!resources_fit(&n->capacity, &n->running)) {
        sim_fail("tasks have more of something than the node", i);
    }
    const char *wrong = looked_at() ? plan_node_check(n->plan) : NULL;
    if (wrong) {
        sim_fail(wrong, i);
    }
    if (sim.o.groups) {
        check_bundles(i);
    }
}

void check_head(void)
{
    const char *wrong = looked_at() ? plan_head_check(sim.head) : NULL;
    if (wrong) {
        sim_fail(wrong, sim.count);
    }
    if (sim.o.groups) {
        check_wanted();
    }
}

/* ---- one valid epoch for a slot --------------------------------------------------------------------- */

static struct ledger {
    uint64_t node;
    uint32_t asked,
        held; /* epochs: the head's last, and that in which its node answered last */
    uint32_t slots;    /* what the node holds in that epoch */
    uint32_t taken[2]; /* epochs that its node and its owner took last */
    bool over[2];      /* they have forgotten it, and may see it as new once more */
} * ledger;

static struct ledger *of(uint64_t lease)
{
    ledger = ledger ? ledger : calloc(LEASES, sizeof *ledger);
    if (!ledger || (uint32_t)lease >= LEASES) {
        sim_fail("no room for more leases", sim.count);
    }
    return &ledger[(uint32_t)lease];
}

void check_forget(void)
{
    free(ledger);
    ledger = NULL;
}

void check_lease(const struct plan_head_action *a)
{
    struct ledger *l = of(a->lease);
    if (a->epoch < l->asked || (l->node && l->node != a->node)) {
        sim_fail("a lease goes back to an older epoch, or to another node", sim.count);
    }
    l->asked = a->epoch;
    l->node = a->node;
}

void check_said(const struct plan_node_action *a)
{
    if (a->lease >> 32 == sim.head_id) {
        of(a->lease)->over[0] = a->count == 0;
    }
}

void check_taken(const struct plan_head_action *a, uint32_t by)
{
    if (a->lease >> 32 != sim.head_id) {
        return;
    }
    bool owner = a->kind == PLAN_GRANT;
    uint32_t *taken = &of(a->lease)->taken[owner];
    if (owner) { /* a node says so itself, check_said() */
        of(a->lease)->over[owner] = a->slots == 0;
    }
    if (a->slots > 0 && a->epoch < *taken) {
        sim_fail("a stale word of a lease is taken", by);
    }
    *taken = a->epoch;
}

bool check_over(const struct plan_head_action *a)
{
    return a->lease >> 32 != sim.head_id || of(a->lease)->over[a->kind == PLAN_GRANT];
}

bool check_held(const struct plan_node_action *a)
{
    if (a->lease >> 32 != sim.head_id) {
        return false; /* of another head */
    }
    struct ledger *l = of(a->lease);
    bool present = a->epoch == l->asked;
    if (present && (a->epoch > l->held || a->count < l->slots)) {
        l->held = a->epoch;
        l->slots = a->count;
    }
    return present;
}

void check_grant(const struct plan_head_action *a)
{
    const struct ledger *l = of(a->lease);
    if (a->slots > l->slots) {
        sim_fail("an owner is granted slots that their node did not agree to", sim.count);
    }
}

/* ---- in the end ------------------------------------------------------------------------------------- */

static uint64_t longer(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The time in which all nodes could do the tasks of a class, if there were no others. */
static uint64_t time_alone(const struct job *j, uint32_t cls)
{
    const struct demand *d = &j->demand[cls];
    double slots = 0;
    for (uint32_t i = 0; i < sim.count; i++) {
        const struct node *n = &sim.nodes[i];
        /* Of CPUs alone parts count, since other classes take what is left. */
        double times = (double)n->capacity.amount[RESOURCE_CPU] /
                       (double)d->need.amount[RESOURCE_CPU];
        if (sim.o.kinds) {
            times = demand_allows(d, n->incarnation, n->labels)
                        ? resources_times(&n->capacity, &d->need, PLAN_SLOTS_MAX)
                        : 0;
        }
        slots += times / n->slow;
    }
    return slots > 0 ? (uint64_t)((double)j->work[cls] / slots) : 0;
}

/* Nothing is faster than the critical path, nor (of CPUs alone) than all work on all of them. Where classes need
 * different things, the sum of their times is what one after the other takes. */
static void check_makespan(void)
{
    uint64_t path = 0, work = 0, slowest = 1, begin = sim.healed_at, end = 0;
    for (uint32_t i = 0; i < sim.count; i++) {
        slowest = longer(slowest, sim.nodes[i].slow);
    }
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        const struct job *j = &sim.jobs[k];
        if (!j->dead) {
            path = longer(path, j->path * (1 + j->depth));
            for (uint32_t cls = 0; cls < j->classes && !j->groups; cls++) {
                work += time_alone(j, cls);
            }
            work += j->groups ? check_group_time(j) * slowest : 0;
            begin = longer(begin, j->arrive_at);
            end = longer(end, j->ended_at);
        }
    }
    uint64_t least = longer(path * slowest, work);
    uint64_t most =
        MAKESPAN_FACTOR * least + MAKESPAN_NS + (sim.healed_at ? SETTLE_NS : 0);
    if (end > begin && end - begin > most) {
        fprintf(stderr, "%.3f s for what takes %.3f s (path %.3f s)\n",
                (double)(end - begin) / 1e9, (double)least / 1e9, (double)path / 1e9);
        sim_fail("it takes too long", 0);
    }
    sim.stretch = end > begin ? (double)(end - begin) / (double)(least + NS_PER_S) : 0;
}

void check_end(void)
{
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        const struct job *j = &sim.jobs[k];
        if (!j->dead && !j->stop_at && j->left > 0) {
            sim_fail("tasks have no result", j->home);
        }
    }
    for (uint32_t i = 0; i < sim.count; i++) {
        const struct node *n = &sim.nodes[i];
        if (!n->alive || !n->member) {
            sim_fail("a node is not back", i);
        }
        struct resources used = plan_node_used(n->plan), offer = plan_node_offer(n->plan);
        if (!resources_none(&used) || !resources_equal(&offer, &n->capacity)) {
            sim_fail("slots are held when all is over", i);
        }
        if (n->bytes || !resources_none(&n->running) || n->boards_top) {
            sim_fail("objects, tasks or leases are left when all is over", i);
        }
    }
    if (plan_head_leases(sim.head, NULL, 0) || plan_head_demands(sim.head, NULL, 0)) {
        sim_fail("leases or demands are left when all is over", sim.count);
    }
    check_groups_end();
    if (plan_head_nodes(sim.head, NULL, 0, head_clock()) != sim.count) {
        sim_fail("the head has other members than there are nodes", sim.count);
    }
    if (!sim.o.rivals) {
        check_makespan();
    }
    /* Streams of short tasks: one message for a hundred. Else tasks say nothing about words, which follow from
     * changes: three for a lease (asked, answered, granted), and a few for reports. */
    double seconds = (double)(sim.now - world_settle_ns()) / 1e9;
    bool much = sim.o.streams
                    ? sim.messages * STREAM_BUDGET > sim.done
                    : (double)sim.messages > CHANGE_BUDGET * (double)sim.changes +
                                                 DEMAND_BUDGET * sim.jobs_count +
                                                 RATE_BUDGET * seconds * sim.count;
    if (much) {
        sim_fail("the head hears too much", sim.count);
    }
}

/* Jobs that all want more than there is have their CPU time by weight. */
void check_shares(void)
{
    uint64_t weight = 0, used = 0;
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        job_use(&sim.jobs[k], 0);
        weight += sim.jobs[k].weight;
        used += sim.jobs[k].used;
    }
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        const struct job *j = &sim.jobs[k];
        double right = (double)used * j->weight / (double)weight;
        double part = (double)j->used / right;
        sim.unfair = part < 1 && 1 - part > sim.unfair ? 1 - part : sim.unfair;
        if (part < 1 - SHARE_SLACK) {
            fprintf(stderr,
                    "job %u of weight %u with tasks of %.3f ms: %.2f of its share\n", k,
                    j->weight, (double)j->time_ns / 1e6, part);
            sim_fail("a job has less than its share", j->home);
        }
    }
}

/* ---- for whoever has to find out -------------------------------------------------------------------- */

static void print_resources(struct resources r)
{
    char text[RESOURCES_TEXT_MAX];
    fprintf(stderr, "%s", resources_text(&r, text, sizeof text));
}

static void print_board(uint32_t i, uint32_t at)
{
    const struct node *n = &sim.nodes[i];
    const struct board *b = &n->boards[at];
    struct plan_class_view v;
    for (uint32_t cls = 0; n->alive && b->used && cls < CLASSES; cls++) {
        if (plan_node_view(n->plan, b->key, b->cls[cls].name, &v) == MOB_OK) {
            fprintf(stderr,
                    "  job %u%s class %u: queued %u (%u + %u foreign), busy %u "
                    "(%u), idle %u (%u), "
                    "starting %u, lent %u, resuming %u, asked back %u (%u), leased %u, "
                    "away %u, want %u\n",
                    b->job, b->theirs == NONE ? "" : " (guest)", cls, v.queued,
                    b->cls[cls].queue[0].count, b->cls[cls].queue[1].count, v.busy,
                    b->cls[cls].busy, v.idle, b->cls[cls].idle, v.starting, v.lent,
                    v.resuming, v.asked_back, b->cls[cls].take, v.leased, v.away, v.want);
        }
    }
}

void check_print(void)
{
    for (uint32_t k = 0; k < sim.jobs_count; k++) {
        const struct job *j = &sim.jobs[k];
        fprintf(stderr, "job %u (%s) of node %u: weight %u, %u of %u left%s%s\n", k,
                graph_name(j->graph.kind), j->home, j->weight, j->left, j->graph.count,
                j->over ? ", over" : "", j->dead ? ", dead" : "");
        for (uint32_t cls = 0; cls < j->classes; cls++) {
            const struct demand *d = &j->demand[cls];
            fprintf(stderr, "  class %u: ", cls);
            print_resources(d->need);
            fprintf(stderr, ", priority %d, strategy %d of %" PRIu64 " \"%s\"\n",
                    d->priority, d->strategy, d->node, d->selector);
        }
    }
    for (uint32_t i = 0; i < sim.count && i < 400; i++) {
        const struct node *n = &sim.nodes[i];
        fprintf(stderr, "node %u%s%s (%s) has ", i, n->alive ? "" : " (dead)",
                n->member ? "" : " (no member)", n->labels);
        print_resources(n->capacity);
        fprintf(stderr, "; running ");
        print_resources(n->running);
        if (n->alive) {
            fprintf(stderr, ", used ");
            print_resources(plan_node_used(n->plan));
            fprintf(stderr, ", offer ");
            print_resources(plan_node_offer(n->plan));
        }
        fprintf(stderr, "\n");
        for (uint32_t b = 0; b < n->boards_top; b++) {
            print_board(i, b);
        }
    }
    for (uint32_t k = 0; k < sim.jobs_count * ROUNDS; k++) {
        const struct group *g = &sim.groups[k];
        if (g->id && g->wanted) {
            fprintf(stderr,
                    "group %" PRIu64 " of job %u: %u bundles, strategy %u, state %d\n",
                    g->id, g->job, g->count, g->strategy, g->told.state);
        }
    }
    struct plan_lease_view leases[40];
    struct plan_demand_view demands[40];
    size_t count = sim.head ? plan_head_leases(sim.head, leases, 40) : 0;
    for (size_t i = 0; i < count && i < 40; i++) {
        fprintf(stderr,
                "lease %" PRIx64 ": owner %" PRIu64 " node %" PRIu64 ", %u slots, %s\n",
                leases[i].lease, leases[i].owner, leases[i].node, leases[i].slots,
                leases[i].state);
    }
    count = sim.head ? plan_head_demands(sim.head, demands, 40) : 0;
    for (size_t i = 0; i < count && i < 40; i++) {
        fprintf(stderr, "demand of %" PRIu64 ", job %u: want %u, granted %u\n",
                demands[i].owner, demands[i].job.number, demands[i].want,
                demands[i].granted);
    }
}
