/* The memory of groups, their list for people, and the check. */
#include <stdlib.h>

#include "head_group.h"

bool head_group_create(struct plan_head *h)
{
    const struct plan_head_config *c = &h->config;
    h->groups = calloc(c->groups_max, sizeof *h->groups);
    h->holds = calloc(c->holds_max, sizeof *h->holds);
    h->waiting = calloc(c->groups_max, sizeof(struct head_group *));
    h->room = calloc(c->nodes_max, sizeof *h->room);
    h->there = calloc(c->nodes_max, sizeof *h->there);
    h->match = calloc(c->nodes_max, sizeof *h->match);
    h->match_seen = calloc(c->nodes_max, sizeof *h->match_seen);
    return h->groups && h->holds && h->waiting && h->room && h->there && h->match &&
           h->match_seen && index_create(&h->group_index, c->groups_max) &&
           index_create(&h->hold_index, c->holds_max);
}

void head_group_destroy(struct plan_head *h)
{
    index_destroy(&h->group_index);
    index_destroy(&h->hold_index);
    free(h->groups);
    free(h->holds);
    free(h->waiting);
    free(h->room);
    free(h->there);
    free(h->match);
    free(h->match_seen);
}

void head_group_view(const struct plan_head *h, const struct head_group *g,
                     struct plan_group_view *ret)
{
    *ret = (struct plan_group_view){.group = g->word.id,
                                    .owner = h->nodes[g->owner].node,
                                    .job = g->word.job,
                                    .count = g->word.count,
                                    .strategy = g->word.strategy,
                                    .state = g->state};
    for (uint32_t i = 0; i < g->word.count; i++) {
        const struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (x && x->word.state == PLAN_HOLD_KEPT) {
            ret->nodes[i] = h->nodes[x->node].node;
            ret->holds[i] = x->word.hold;
        }
    }
}

size_t plan_head_groups(const struct plan_head *h, struct plan_group_view *ret,
                        size_t max)
{
    size_t count = 0;
    for (uint32_t i = 0; i < h->groups_top; i++) {
        if (h->groups[i].used && count++ < max) {
            head_group_view(h, &h->groups[i], &ret[count - 1]);
        }
    }
    return count;
}

static const char *check_group(const struct plan_head *h, const struct head_group *g)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->word.count; i++) {
        const struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (!x) {
            continue;
        }
        if (!x->used || x->word.group != g->word.id || x->word.bundle != i + 1 ||
            x->word.state == PLAN_HOLD_END) {
            return "a bundle has a hold that is not its own";
        }
        kept += x->word.state == PLAN_HOLD_KEPT;
    }
    return (kept == g->word.count) == (g->state == PLAN_GROUP_WHOLE)
               ? NULL
               : "a group is whole and misses a bundle, or the other way round";
}

const char *head_group_check(const struct plan_head *h)
{
    uint32_t count = 0, all = 0;
    for (uint32_t i = 0; i < h->nodes_top; i++) {
        const struct head_node *n = &h->nodes[i];
        struct resources booked = resources_zero(&n->capacity);
        struct resources asked = booked;
        for (uint32_t k = n->used ? n->holds : INDEX_NONE; k != INDEX_NONE;
             k = h->holds[k].next, count++) {
            const struct plan_hold *w = &h->holds[k].word;
            resources_add(&booked, &w->need, 1);
            resources_add(&asked, &w->need, w->state == PLAN_HOLD_WANT);
            if (h->holds[k].node != i || index_find(&h->hold_index, w->hold) != k) {
                return "a hold is in another node's list, or the index does not find it";
            }
        }
        if (n->used && (!resources_equal(&booked, &n->booked) ||
                        !resources_equal(&asked, &n->asked))) {
            return "what is booked on a node is not the sum of its holds";
        }
        if (!resources_fit(&n->capacity, &booked)) {
            return "more of a node is booked for groups than it has";
        }
    }
    uint32_t ending = 0;
    for (uint32_t i = 0; i < h->holds_top; i++) {
        const struct head_hold *x = &h->holds[i];
        all += x->used;
        ending += x->used && x->word.state == PLAN_HOLD_END;
    }
    if (all != count || ending != h->ending) {
        return "a hold is in no list, or more of them end than are known to";
    }
    for (uint32_t i = 0; i < h->groups_top; i++) {
        const char *wrong = h->groups[i].used ? check_group(h, &h->groups[i]) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    return NULL;
}

enum plan_group_state plan_head_group_state(const struct plan_head *h, uint64_t group)
{
    const struct head_group *g = head_group_find(h, group);
    return g ? g->state : PLAN_GROUP_NOWHERE;
}

uint64_t plan_head_groups_deadline(const struct plan_head *h)
{
    return h->groups_at;
}
