/* demand.c - tasks that ask for what no node has.
 *
 * Where no other node can join, such a task is refused when it is submitted. In a cluster a node that has it
 * may come:
 *
 *   met --tasks wait, no node could run them--> unmet, the driver is told --unmet_grace_ns--> over
 *    ^                                             |                                             |
 *    +-------------- a node that can has joined ---------------------------------------------+
 *
 * While it is over, the class's tasks fail, those that come later too. Each node judges its own board by
 * the members that it knows of. */
#include <stdio.h>

#include "cluster.h"
#include "core/labels.h"
#include "core/log.h"
#include "core/status.h"
#include "store/task.h"

enum { FAIL_AT_ONCE = 4096 }; /* tasks; the others' turn is the next one of the loop */

/* A node that this one knows of. */
struct candidate {
    uint64_t id;
    const char *host, *labels;
    const struct resources *has;
};

/* Calls @look for each of them, itself first. */
static void each_node(const struct node *n,
                      void (*look)(void *arg, const struct candidate *node), void *arg)
{
    uint64_t self = n->cluster ? n->cluster->self->id : n->id;
    look(arg, &(struct candidate){self, n->host, n->labels, &n->capacity});
    for (const struct peer *p = n->cluster ? n->cluster->peers : NULL; p; p = p->next) {
        if (p->member && !p->gone && p != n->cluster->self) {
            look(arg, &(struct candidate){p->id, p->host, p->labels, &p->capacity});
        }
    }
}

/* Which nodes could meet a demand, and if none could, why not. */
struct search {
    const struct demand *demand;
    uint32_t nodes, allowed, could; /* known; where its tasks may run; and large enough */
    uint64_t most[RESOURCE_KINDS];  /* that any of those has of each kind of the demand */
    const char *who[RESOURCE_KINDS];
};

static void consider(void *arg, const struct candidate *node)
{
    struct search *s = arg;
    const struct resources *need = &s->demand->need;
    s->nodes++;
    if (!demand_allows(s->demand, node->id, node->labels)) {
        return;
    }
    s->allowed++;
    s->could += resources_fit(node->has, need);
    for (uint32_t k = 0; k < resources_kinds(need); k++) {
        uint64_t amount = resources_like(node->has, need, k);
        if (!s->who[k] || amount > s->most[k]) {
            s->most[k] = amount;
            s->who[k] = node->host;
        }
    }
}

static struct search search(const struct node *n, const struct demand *demand)
{
    struct search s = {.demand = demand};
    each_node(n, consider, &s);
    return s;
}

/* No node known here could run its tasks. */
static bool nowhere(const struct node *n, const struct demand *demand)
{
    uint64_t self = n->cluster ? n->cluster->self->id : n->id;
    bool here = demand_allows(demand, self, n->labels) &&
                resources_fit(&n->capacity, &demand->need);
    return !here && search(n, demand).could == 0;
}

bool demand_elsewhere(const struct node *n, const struct demand *demand)
{
    uint64_t self = n->cluster ? n->cluster->self->id : n->id;
    uint32_t here = demand_allows(demand, self, n->labels) &&
                    resources_fit(&n->capacity, &demand->need);
    return search(n, demand).could > here;
}

struct times {
    const struct demand *demand;
    uint32_t count;
};

static void add_times(void *arg, const struct candidate *node)
{
    struct times *t = arg;
    const struct resources *need = &t->demand->need;
    uint64_t here = UINT32_MAX;
    if (!demand_allows(t->demand, node->id, node->labels)) {
        return;
    }
    for (uint32_t k = 0; k < resources_kinds(need); k++) {
        uint64_t has = resources_like(node->has, need, k);
        if (need->amount[k] && has / need->amount[k] < here) {
            here = has / need->amount[k];
        }
    }
    t->count = here < UINT32_MAX - t->count ? t->count + (uint32_t)here : UINT32_MAX;
}

uint32_t demand_times(const struct job *j, const struct demand *demand)
{
    struct times t = {.demand = demand};
    const struct group *g = demand->group ? group_find(j, demand->group) : NULL;
    if (!demand->group) {
        each_node(j->node, add_times, &t);
        return t.count;
    }
    struct resources all = resources_zero(&demand->need);
    for (uint32_t i = 0; g && i < g->count; i++) {
        for (uint32_t k = 0;
             k < resources_kinds(&all) && (!demand->bundle || demand->bundle == i + 1);
             k++) {
            all.amount[k] += resources_like(&g->needs[i], &all, k);
        }
    }
    return resources_times(&all, &demand->need, UINT32_MAX);
}

/* The tasks of a class of @j: likewise, or their group is no more, or will not be there. */
static bool nowhere_for(const struct job *j, uint32_t c)
{
    const struct demand *d = &j->demand[c];
    if (!d->group) {
        return nowhere(j->node, d);
    }
    const struct group *g = group_find(j, d->group);
    return !g || g->state == GROUP_UNMET || g->state == GROUP_FULL;
}

/* "asks for 3 tape, and the largest of 2 nodes, alpha, has 2": the first kind that nobody has enough of. */
static const char *why_not(const struct node *n, const struct demand *demand, char *buf,
                           size_t size)
{
    const struct resources *need = &demand->need;
    struct search s = search(n, demand);
    char wants[RESOURCES_TEXT_MAX], has[32];
    if (s.allowed == 0 && demand->strategy == DEMAND_NODE) {
        snprintf(buf, size, "node %010llx and no other, which is not there%s%s",
                 (unsigned long long)demand->node,
                 *demand->selector ? " with the labels " : "", demand->selector);
        return buf;
    }
    if (s.allowed == 0) {
        snprintf(buf, size, "a node with the labels %s, and none of %u node%s has them",
                 demand->selector, s.nodes, s.nodes == 1 ? "" : "s");
        return buf;
    }
    for (uint32_t k = 0; k < resources_kinds(need); k++) {
        if (need->amount[k] > s.most[k]) {
            struct resources most = *need;
            most.amount[k] = s.most[k];
            resources_amount(&most, k, has, sizeof has);
            const char *kind = k == RESOURCE_CPU   ? "CPUs"
                               : k == RESOURCE_GPU ? "GPUs"
                                                   : resources_name(need, k);
            resources_amount(need, k, wants, sizeof wants);
            if (node_clustered(&n->config)) {
                snprintf(buf, size, "%s %s, and the largest of %u node%s%s, %s, has %s",
                         wants, kind, s.allowed, s.allowed == 1 ? "" : "s",
                         s.allowed < s.nodes ? " with its labels" : "", s.who[k], has);
            } else {
                snprintf(buf, size, "%s %s, and the node has %s", wants, kind, has);
            }
            return buf;
        }
    }
    snprintf(buf, size, "%s, and none of %u nodes has all of it",
             resources_text(need, wants, sizeof wants), s.allowed);
    return buf;
}

/* How long to wait for a node that can run its tasks. Where one is named it does not come: a node that comes
 * back has another name. The time is for the word of one that has just joined. */
static uint64_t grace_ns(const struct node *n, const struct demand *demand)
{
    uint64_t grace = n->config.unmet_grace_ns;
    bool gone = demand->strategy == DEMAND_NODE && search(n, demand).allowed == 0;
    return gone && grace > 2 * HEARTBEAT_NS ? 2 * HEARTBEAT_NS : grace;
}

/* What gives a node the first thing that it lacks. */
static const char *what_gives(const struct node *n, const struct demand *demand)
{
    static const char *const option[2][RESOURCE_BASIC + 2] = {
        {"--num-cpus", "--memory", "--gpus", "--resources", "--labels"},
        {"mob_config.num_cpus", "mob_config.memory_bytes", "mob_config.num_gpus",
         "mob_config.resources", "mob_config.labels"}};
    uint32_t k = 0;
    while (k < RESOURCE_BASIC && demand->need.amount[k] <= n->capacity.amount[k]) {
        k++;
    }
    if (!selector_match(demand->selector, n->labels)) {
        k = RESOURCE_BASIC + 1;
    }
    return option[n->config.embedded >= 0][k];
}

mob_status demand_check(const struct job *j, const struct demand *demand)
{
    const struct node *n = j->node;
    char why[1024];
    if (demand->group) {
        return group_check(j, demand);
    }
    if (j->inline_tasks || node_clustered(&n->config) || !nowhere(n, demand)) {
        return MOB_OK;
    }
    return status_fail(MOB_ERR_DEMAND,
                       "a task asks for %s; the node is none of a cluster, which another "
                       "could join: ask for less, or start it with more (%s)",
                       why_not(n, demand, why, sizeof why), what_gives(n, demand));
}

bool demand_unmet(const struct job *j, uint32_t c)
{
    return !gang_is_gate(&j->demand[c]) && nowhere_for(j, c) &&
           task_ready_count(&j->board, c) > 0;
}

char *demand_why(const struct job *j, uint32_t c, char *buf, size_t size)
{
    const struct group *g = group_find(j, j->demand[c].group);
    if (g) {
        return group_why(g, buf, size);
    }
    if (j->demand[c].group) {
        snprintf(buf, size, "a group that was removed");
        return buf;
    }
    (void)why_not(j->node, &j->demand[c], buf, size);
    return buf;
}

bool demand_nowhere(const struct node *n, const struct demand *demand, char *why,
                    size_t size)
{
    if (!nowhere(n, demand)) {
        return false;
    }
    (void)why_not(n, demand, why, size);
    return true;
}

static void tell(struct job *j, uint32_t c)
{
    char why[1024], text[1400];
    int size = snprintf(text, sizeof text,
                        "mobula: tasks of this job ask for %s: they fail unless a node "
                        "that has it joins within %g s\n",
                        why_not(j->node, &j->demand[c], why, sizeof why),
                        (double)grace_ns(j->node, &j->demand[c]) / 1e9);
    log_warn("job %u: %.*s", j->number, size - 1, text);
    output_add(&j->err, text, (size_t)size);
}

/* A task of a group that is no more, or will not be there. */
static void fail_grouped(struct job *j, uint32_t c, struct record *r, const char *name)
{
    const struct group *g = group_find(j, j->demand[c].group);
    char why[1024], text[FAILURE_TEXT_MAX];
    if (g) {
        snprintf(text, sizeof text, "task %s: its group has no place: %s", name,
                 group_why(g, why, sizeof why));
    } else {
        snprintf(text, sizeof text, "task %s: its group was removed", name);
    }
    away_fail_task(j, r,
                   !g                       ? MOB_ERR_CANCELLED
                   : g->state == GROUP_FULL ? MOB_ERR_FULL
                                            : MOB_ERR_DEMAND,
                   text);
    j->failed_tasks++;
}

static void fail_one(struct job *j, uint32_t c, struct record *r)
{
    char why[1024], text[FAILURE_TEXT_MAX], name[MOB_NAME_MAX + 1];
    if (at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL) {
        away_fail_cancelled(j, r);
        return;
    }
    board_name_text(&j->board, r->name, name);
    if (j->demand[c].group) {
        fail_grouped(j, c, r, name);
        return;
    }
    snprintf(
        text, sizeof text,
        "task %s: it asks for %s; no node that has it joined within %g s: ask for less, "
        "or start a node with so much",
        name, why_not(j->node, &j->demand[c], why, sizeof why),
        (double)grace_ns(j->node, &j->demand[c]) / 1e9);
    away_fail_task(j, r, MOB_ERR_DEMAND, text);
    j->failed_tasks++;
}

/* Fails what waits in a class. False: there is more. */
static bool fail_some(struct job *j, uint32_t c)
{
    struct record *r;
    struct queue_item item;
    for (int i = 0; i < FAIL_AT_ONCE; i++) {
        if (task_claim(&j->lane, c, &r, &item) != QUEUE_OK) {
            return true;
        }
        fail_one(j, c, r);
    }
    return false;
}

static void look_later(struct loop_timer *timer)
{
    job_refresh(LOOP_OWNER(timer, struct job, demand_timer));
}

void demand_look(struct job *j)
{
    struct node *n = j->node;
    uint64_t now = loop_now_ns(n->loop), next = UINT64_MAX;
    group_look(j, now, &next);
    for (uint32_t c = 0; c < j->classes && !j->leaving; c++) {
        uint64_t *since = &j->unmet_ns[c];
        if (!nowhere_for(j, c)) {
            *since = 0;
            continue;
        }
        if (task_ready_count(&j->board, c) == 0 || gang_is_gate(&j->demand[c])) {
            continue;
        }
        bool grouped = j->demand[c].group; /* it had its time */
        if (*since == 0 && !grouped) {
            *since = now;
            tell(j, c);
        }
        uint64_t over = grouped ? now : *since + grace_ns(n, &j->demand[c]);
        if (now >= over) {
            over = fail_some(j, c) ? UINT64_MAX : now;
        }
        next = over < next ? over : next;
    }
    if (next != UINT64_MAX) {
        loop_timer_start(n->loop, &j->demand_timer, next, look_later);
    }
}

void demand_look_all(struct node *n)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        if (j && !j->ended && !j->failed && !j->inline_tasks) {
            demand_look(j);
        }
    }
}
