#include "group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/log.h"
#include "core/park.h"
#include "core/status.h"
#include "store/request.h"
#include "store/task.h"

#define SERIAL_BITS 24 /* of a group's name; above them the node's, of 40 */

struct group *group_find(const struct job *j, uint64_t id)
{
    struct group *g = j->groups;
    while (g && g->id != id) {
        g = g->next;
    }
    return g;
}

void group_wake(struct job *j)
{
    at_add(&j->board.header->groups, 1, AT_SEQ_CST);
    park_wake(&j->board.header->groups, PARK_ALL);
}

/* ---- beginning ----------------------------------------------------------------------------------- */

mob_status group_add(struct job *j, uint64_t id, const struct group_plan *plan,
                     struct group **ret)
{
    uint32_t count = plan->count;
    bool good = id && count > 0 && count <= MOB_GROUP_BUNDLES_MAX &&
                plan->strategy <= MOB_GROUP_STRICT_SPREAD && !group_find(j, id);
    for (uint32_t i = 0; good && i < count; i++) {
        good = resources_ok(&plan->needs[i]);
    }
    if (!good) {
        return status_fail(MOB_ERR_INVALID,
                           "a group of %u bundles, by strategy %u, that "
                           "makes no sense",
                           count, plan->strategy);
    }
    if (j->groups_count == GROUPS_OF_JOB_MAX) {
        return status_fail(MOB_ERR_FULL,
                           "the job has %u groups, the most it may have: remove some",
                           GROUPS_OF_JOB_MAX);
    }
    struct group *g = calloc(1, sizeof *g + count * sizeof *plan->needs);
    if (!g) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a group");
    }
    g->job = j;
    g->id = id;
    g->count = count;
    g->strategy = plan->strategy;
    g->gang = plan->where != NULL;
    g->where = g->gang ? *plan->where : g->where;
    g->since_ns = loop_now_ns(j->node->loop);
    memcpy(g->needs, plan->needs, count * sizeof *plan->needs);
    g->next = j->groups;
    j->groups = g;
    j->groups_count++;
    *ret = g;
    return MOB_OK;
}

mob_status group_create(struct job *j, const struct group_plan *plan, struct group **ret)
{
    struct node *n = j->node;
    struct group *g;
    if (n->last_group >> SERIAL_BITS) {
        return status_fail(MOB_ERR_FULL, "this node has made 2^%d groups: start it anew",
                           SERIAL_BITS);
    }
    uint64_t id = n->id << SERIAL_BITS | ++n->last_group;
    MOB_TRY(group_add(j, id, plan, &g));
    if (!node_clustered(&n->config)) {
        mob_status st = group_alone_say(g);
        if (st) {
            j->groups = g->next;
            j->groups_count--;
            free(g);
            return st;
        }
    } else {
        group_say(g);
        group_pass_on(g);
    }
    *ret = g;
    return MOB_OK;
}

/* ---- how it is ------------------------------------------------------------------------------------ */

/* No members could hold it. */
static void tell_driver(const struct group *g)
{
    char why[1024], text[1400];
    int size = snprintf(text, sizeof text,
                        "mobula: a group of this job has no place: %s; it fails unless "
                        "nodes that could hold it join within %g s\n",
                        group_too_large(g, why, sizeof why),
                        (double)g->job->node->config.unmet_grace_ns / 1e9);
    log_warn("job %u: %.*s", g->job->number, size - 1, text);
    output_add(&g->job->err, text, (size_t)size);
}

void group_told(struct group *g, enum group_state state, const uint64_t *nodes,
                const uint64_t *holds)
{
    if (nodes) {
        memcpy(g->nodes, nodes, g->count * sizeof *nodes);
    }
    if (holds) {
        memcpy(g->holds, holds, g->count * sizeof *holds);
    }
    if (state == GROUP_NOWHERE && g->state == GROUP_UNMET) {
        state = GROUP_UNMET; /* it had its time, and nothing came that could hold it */
    }
    if (g->state == GROUP_WHOLE && state != GROUP_WHOLE) {
        g->since_ns = loop_now_ns(g->job->node->loop);
    }
    bool began = state == GROUP_NOWHERE && g->state != GROUP_NOWHERE;
    g->state = state;
    if (began && !g->job->guest) {
        g->nowhere_ns = loop_now_ns(g->job->node->loop);
        tell_driver(g);
    }
    group_pass_on(g);
    group_wake(g->job);
    if (g->changed) {
        g->changed(g);
    }
}

void group_look(struct job *j, uint64_t now, uint64_t *next)
{
    for (struct group *g = j->groups; g && !j->guest; g = g->next) {
        uint64_t over = g->nowhere_ns + j->node->config.unmet_grace_ns;
        if (g->state == GROUP_NOWHERE && now >= over) {
            group_told(g, GROUP_UNMET, NULL, NULL);
        } else if (g->state == GROUP_NOWHERE) {
            *next = over < *next ? over : *next;
        }
    }
}

/* The first bundle that fits into no node, or all of them together. */
char *group_too_large(const struct group *g, char *buf, size_t size)
{
    struct demand d = {0};
    char why[512];
    for (uint32_t i = 0; i < g->count; i++) {
        d.need = g->needs[i];
        if (demand_nowhere(g->job->node, &d, why, sizeof why)) {
            snprintf(buf, size, "bundle %u of %u asks for %s", i, g->count, why);
            return buf;
        }
    }
    if (g->strategy == MOB_GROUP_STRICT_SPREAD) {
        snprintf(buf, size,
                 "its %u bundles ask for a node each, and there are not so many "
                 "that have room for one",
                 g->count);
        return buf;
    }
    d.need = resources_cpus(0);
    for (uint32_t i = 0; i < g->count; i++) {
        for (uint32_t k = 0; k < resources_kinds(&g->needs[i]); k++) {
            uint64_t sum =
                resources_like(&d.need, &g->needs[i], k) + g->needs[i].amount[k];
            if (k < RESOURCE_BASIC) {
                d.need.amount[k] = sum;
            } else {
                (void)resources_set(&d.need, resources_name(&g->needs[i], k), sum);
            }
        }
    }
    resources_text(&d.need, why, sizeof why);
    snprintf(buf, size, "its %u bundles ask for %s, and %s", g->count, why,
             g->strategy == MOB_GROUP_STRICT_PACK ? "no node has so much"
                                                  : "all nodes together have less");
    return buf;
}

char *group_why(const struct group *g, char *buf, size_t size)
{
    uint32_t placed = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        placed += g->nodes[i] != 0;
    }
    const struct cluster *c = g->job->node->cluster;
    bool headless = c && !c->is_head && !c->head;
    if (headless && (g->state == GROUP_WAITS || g->state == GROUP_GATHERS)) {
        snprintf(buf, size, "the head is away, which finds places for its bundles");
        return buf;
    }
    switch (g->state) {
    case GROUP_WHOLE:
        snprintf(buf, size, "it is whole");
        break;
    case GROUP_NOWHERE:
    case GROUP_UNMET:
        return group_too_large(g, buf, size);
    case GROUP_FULL:
        snprintf(buf, size, "the cluster has %d groups, the most it may have",
                 PLAN_GROUPS_MAX);
        break;
    case GROUP_GATHERS:
        snprintf(buf, size, "nodes gather what it needs as tasks end there");
        break;
    default:
        snprintf(
            buf, size,
            "%u of its %u bundles have no place: other groups have what they need, or "
            "the head has not answered yet",
            g->count - placed, g->count);
    }
    return buf;
}

mob_status group_check(const struct job *j, const struct demand *demand)
{
    const struct group *g = group_find(j, demand->group);
    char need[RESOURCES_TEXT_MAX];
    if (!g) {
        return status_fail(MOB_ERR_NOT_FOUND,
                           "the job has no group %llx, or it was removed",
                           (unsigned long long)demand->group);
    }
    if (demand->bundle > g->count) {
        return status_fail(MOB_ERR_INVALID, "bundle %d of a group that has 0 to %u",
                           demand->bundle - 1, g->count - 1);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        if ((!demand->bundle || demand->bundle == i + 1) &&
            resources_fit(&g->needs[i], &demand->need)) {
            return MOB_OK;
        }
    }
    resources_text(&demand->need, need, sizeof need);
    return demand->bundle
               ? status_fail(MOB_ERR_DEMAND,
                             "a task asks for %s of bundle %d of its group, "
                             "which has less",
                             need, demand->bundle - 1)
               : status_fail(MOB_ERR_DEMAND,
                             "a task asks for %s, and no bundle of its group has so much",
                             need);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

/* Cancels its tasks on this board: those that run end with their workers, also on other nodes. */
static void end_tasks(struct job *j, uint64_t id)
{
    uint32_t request =
        request_make(REQUEST_END, request_tick_at(&j->board, loop_now_ns(j->node->loop)));
    for (uint32_t i = 0; i < board_committed(&j->board); i++) {
        struct record *r = &j->board.records[i];
        uint64_t s = at_load(&r->state, AT_ACQUIRE);
        struct call call = record_call(r);
        uint32_t c = call_class(&call);
        bool task = state_phase(s) >= PHASE_WAITING && state_phase(s) <= PHASE_TAKEN;
        if (task && c < j->classes && j->demand[c].group == id) {
            (void)task_cancel_as(&j->lane, r, state_gen(s), request);
        }
    }
    away_cancels(j);
    due_look(j);
}

static void unlink_group(struct group *g)
{
    struct group **at = &g->job->groups;
    while (*at != g) {
        at = &(*at)->next;
    }
    *at = g->next;
    g->job->groups_count--;
}

void group_gone(struct group *g)
{
    struct job *j = g->job;
    unlink_group(g);
    if (g->changed) {
        g->changed(g);
    }
    group_pass_end(j, g->id);
    group_wake(j);
    if (!j->ended) {
        job_close_classes(
            j, g->id); /* before the look at its tasks: none is added after it */
        lineage_group_gone(j, g->id);
        end_tasks(j, g->id);
        job_refresh(j); /* those that are submitted later fail there too */
    }
    free(g);
}

void group_remove(struct group *g)
{
    group_say_end(g->job, g->id);
    group_gone(g);
}

void group_peer_lost(struct job *j, const struct peer *p)
{
    for (struct group *g = j->groups, *next; g; g = next) {
        next = g->next;
        if (g->from == p) {
            group_remove(g);
        }
    }
}

void group_end_job(struct job *j)
{
    while (j->groups) {
        struct group *g = j->groups;
        if (!j->guest) {
            group_say_end(j, g->id);
        }
        j->groups = g->next;
        j->groups_count--;
        free(g);
    }
}
