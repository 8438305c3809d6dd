/* group_alone.c - a node of no cluster is its own head for groups: a head's planner with one member, which places
 * bundles and gives no leases. Made with the first group. Its words and the node's wait for the loop's next turn, as
 * planners must not be called from within each other. */
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/status.h"

enum from { FROM_HEAD, FROM_NODE, FROM_GROUP };
struct turn { /* a word that waits */
    struct turn *next;
    enum from from;
    struct plan_hold hold;
    struct plan_group_view group;
};

struct group_alone {
    struct node *node;
    struct plan_head *plan;
    struct loop_timer soon, timer;
    struct turn *turns, **end;
};

static void run(struct loop_timer *timer);
static void tick(struct loop_timer *timer);

static void later(struct group_alone *a, enum from from, const struct plan_hold *hold,
                  const struct plan_group_view *group)
{
    struct turn *t = calloc(1, sizeof *t);
    MOB_ASSERT(t);
    t->from = from;
    if (hold) {
        t->hold = *hold;
    }
    if (group) {
        t->group = *group;
    }
    *a->end = t;
    a->end = &t->next;
    if (!a->soon.active) {
        loop_timer_start(a->node->loop, &a->soon, loop_now_ns(a->node->loop), run);
    }
}

static void act(void *arg, const struct plan_head_action *action)
{
    if (action->kind == PLAN_HOLD || action->kind == PLAN_GROUP) {
        later(arg, action->kind == PLAN_HOLD ? FROM_HEAD : FROM_GROUP, action->hold,
              action->group);
    }
}

static void told(struct group_alone *a, const struct plan_group_view *v)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = a->node->jobs[i];
        struct group *g = j && !j->ended ? group_find(j, v->group) : NULL;
        if (g) {
            group_told(g, (enum group_state)v->state, v->nodes, v->holds);
            job_refresh(j);
        }
    }
}

/* Only groups that wait need time: its one member is never silent. */
static void arm(struct group_alone *a)
{
    loop_timer_start(a->node->loop, &a->timer, plan_head_groups_deadline(a->plan), tick);
}

static void tick(struct loop_timer *timer)
{
    struct group_alone *a = LOOP_OWNER(timer, struct group_alone, timer);
    (void)plan_head_heartbeat(a->plan, a->node->id, loop_now_ns(a->node->loop));
    plan_head_tick(a->plan, loop_now_ns(a->node->loop));
    arm(a);
}

static void run(struct loop_timer *timer)
{
    struct group_alone *a = LOOP_OWNER(timer, struct group_alone, soon);
    struct node *n = a->node;
    while (a->turns) {
        struct turn *t = a->turns;
        struct resources offer = plan_node_offer(n->plan);
        a->turns = t->next;
        a->end = a->turns ? a->end : &a->turns;
        if (t->from == FROM_HEAD) {
            (void)plan_node_hold(n->plan, &t->hold, loop_now_ns(n->loop));
        } else if (t->from == FROM_NODE) {
            (void)plan_head_hold_said(a->plan, n->id, &t->hold, &offer,
                                      loop_now_ns(n->loop));
        } else {
            told(a, &t->group);
        }
        free(t);
    }
    arm(a);
    plan_arm(n);
}

static mob_status make(struct node *n)
{
    struct group_alone *a = calloc(1, sizeof *a);
    if (!a) {
        return status_fail(MOB_ERR_NOMEM, "no memory for groups");
    }
    uint64_t now = loop_now_ns(n->loop);
    a->node = n;
    a->end = &a->turns;
    a->plan = plan_head_create(&(struct plan_head_config){.head = n->id,
                                                          .nodes_max = 1,
                                                          .demands_max = 1,
                                                          .leases_max = 1,
                                                          .act = act,
                                                          .arg = a},
                               now);
    struct plan_join join = {
        .node = n->id, .session = 1, .capacity = n->capacity, .labels = n->labels};
    mob_status st = a->plan ? plan_head_join(a->plan, &join, now) : MOB_ERR_NOMEM;
    n->group_alone = a;
    if (st) {
        group_alone_free(n);
    }
    return st;
}

mob_status group_alone_say(const struct group *g)
{
    struct node *n = g->job->node;
    char why[1024];
    struct plan_group word = {.id = g->id,
                              .job = job_plan_id(g->job),
                              .count = g->count,
                              .strategy = g->strategy,
                              .needs = g->needs,
                              .where = &g->where};
    if (!n->group_alone) {
        MOB_TRY(make(n));
    }
    struct group_alone *a = n->group_alone;
    mob_status st = plan_head_group(a->plan, n->id, &word, loop_now_ns(n->loop));
    if (st == MOB_ERR_FULL) {
        return status_fail(st, "the node has %d groups, the most it may have",
                           PLAN_GROUPS_MAX);
    }
    if (!st && plan_head_group_state(a->plan, g->id) == PLAN_GROUP_NOWHERE) {
        group_alone_end(n, g->id);
        st = status_fail(MOB_ERR_DEMAND,
                         "a group has no place on this node, which is none of a cluster "
                         "that others could join: %s",
                         group_too_large(g, why, sizeof why));
    }
    arm(a);
    return st;
}

void group_alone_end(struct node *n, uint64_t id)
{
    if (n->group_alone) {
        (void)plan_head_group_end(n->group_alone->plan, n->id, id, loop_now_ns(n->loop));
        arm(n->group_alone);
    }
}

void group_alone_held(struct node *n, const struct plan_hold *hold)
{
    if (n->group_alone) {
        later(n->group_alone, FROM_NODE, hold, NULL);
    }
}

void group_alone_free(struct node *n)
{
    struct group_alone *a = n->group_alone;
    if (!a) {
        return;
    }
    loop_timer_stop(n->loop, &a->soon);
    loop_timer_stop(n->loop, &a->timer);
    while (a->turns) {
        struct turn *t = a->turns;
        a->turns = t->next;
        free(t);
    }
    plan_head_destroy(a->plan);
    free(a);
    n->group_alone = NULL;
}
