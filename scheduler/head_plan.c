#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "head_state.h"

struct plan_head *plan_head_create(const struct plan_head_config *config, uint64_t now)
{
    struct plan_head *h = calloc(1, sizeof *h);
    if (!h) {
        return NULL;
    }
    struct plan_head_config *c = &h->config;
    *c = *config;
    c->nodes_max = c->nodes_max ? c->nodes_max : NODES_MAX;
    c->demands_max = c->demands_max ? c->demands_max : 4 * NODES_MAX;
    c->leases_max = c->leases_max ? c->leases_max : 16 * NODES_MAX;
    c->groups_max = c->groups_max ? c->groups_max : PLAN_GROUPS_MAX;
    c->holds_max = c->holds_max ? c->holds_max : 2 * NODES_MAX;
    h->last = now;
    h->random = c->seed;
    h->scan_at = h->place_at = h->void_at = CLOCK_NEVER;
    h->free_lease = h->holds_free = INDEX_NONE;
    h->groups_at = CLOCK_NEVER;
    h->due = INDEX_NONE;
    h->rooms = 1;
    if (!c->act || !c->head || c->nodes_max > NODES_MAX || c->demands_max > DEMANDS_MAX ||
        c->leases_max > 64 * NODES_MAX || c->groups_max > PLAN_GROUPS_MAX ||
        c->holds_max > 16 * NODES_MAX) {
        status_fail(MOB_ERR_INVALID, "a head planner with numbers out of range");
        plan_head_destroy(h);
        return NULL;
    }
    h->nodes = calloc(c->nodes_max, sizeof *h->nodes);
    h->roomy = calloc(c->nodes_max, sizeof *h->roomy);
    h->jobs = calloc(c->demands_max, sizeof *h->jobs);
    h->demands = calloc(c->demands_max, sizeof *h->demands);
    h->active = calloc(c->demands_max, sizeof(struct share *));
    h->heap = calloc(c->demands_max, sizeof *h->heap);
    h->leases = calloc(c->leases_max, sizeof *h->leases);
    h->dirty = calloc(c->leases_max, sizeof *h->dirty);
    if (!head_group_create(h) || !h->nodes || !h->roomy || !h->jobs || !h->demands ||
        !h->active || !h->heap || !h->leases || !h->dirty ||
        !index_create(&h->node_index, c->nodes_max) ||
        !index_create(&h->job_index, c->demands_max) ||
        !index_create(&h->demand_index, c->demands_max) ||
        !index_create(&h->lease_index, c->leases_max) ||
        !index_create(&h->pair_index, c->leases_max) ||
        !index_set_create(&h->spare, c->nodes_max) ||
        !index_set_create(&h->unmet, c->demands_max)) {
        status_fail(MOB_ERR_NOMEM, "no memory for the head planner");
        plan_head_destroy(h);
        return NULL;
    }
    return h;
}

void plan_head_destroy(struct plan_head *h)
{
    if (!h) {
        return;
    }
    struct index_map *maps[] = {&h->node_index, &h->lease_index, &h->job_index,
                                &h->demand_index, &h->pair_index};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        index_destroy(maps[i]);
    }
    head_group_destroy(h);
    index_set_destroy(&h->spare);
    index_set_destroy(&h->unmet);
    free(h->nodes);
    free(h->roomy);
    free(h->jobs);
    free(h->demands);
    free(h->active);
    free(h->heap);
    free(h->leases);
    free(h->dirty);
    free(h);
}

/* The time since the last event counts for fairness as things were. */
static void begin(struct plan_head *h, uint64_t now)
{
    if (now < h->last + NS_PER_MS) {
        return;
    }
    uint64_t dt_us = (now - h->last) / NS_PER_US;
    h->last += dt_us * NS_PER_US;
    bool waits = h->unmet.count > 0;
    if (!waits && h->settled) {
        return;
    }
    h->settled = !waits; /* as nobody waits, nobody is owed anything from now on */
    uint32_t count = 0;
    for (uint32_t i = 0; i < h->jobs_top; i++) {
        if (h->jobs[i].demands > 0) {
            h->active[count++] = &h->jobs[i].share;
        }
    }
    share_account(h->active, count, dt_us);
}

bool head_could(const struct head_node *n, const struct head_demand *d)
{
    return n->used && n->node != 0 && resources_fit(&n->capacity, &d->demand.need) &&
           demand_allows(&d->demand, n->node, n->labels);
}

/* A member came, or (@came false) goes: what can be met, and what it costs, changes. */
static void count_member(struct plan_head *h, const struct head_node *n, bool came)
{
    (came ? resources_add : resources_sub)(&h->total, &n->capacity, 1);
    for (uint32_t i = 0; i < h->jobs_top; i++) {
        h->jobs[i].share.used = 0;
    }
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (!d->used || d->demand.group) {
            continue; /* of a group: counted by its holds */
        }
        uint32_t one = head_could(n, d);
        d->nodes = came ? d->nodes + one : d->nodes - one;
        d->cost = share_cost(&d->demand.need, &h->total);
        FOR_EACH_LEASE(h, d->leases, OF_DEMAND, l)
        {
            h->jobs[d->job].share.used += l->counted * d->cost;
        }
        head_demand_changed(h, d);
    }
}

struct head_node *head_heard(struct plan_head *h, uint64_t node, uint64_t now)
{
    uint32_t at = index_find(&h->node_index, node);
    if (at == INDEX_NONE) {
        return NULL;
    }
    begin(h, now);
    struct head_node *n = &h->nodes[at];
    n->heard = now;
    if (n->quiet) {
        n->quiet = false;
        h->rooms++; /* groups may find a place there */
        h->groups_at = 0;
        head_node_changed(h, at);
        head_owner_changed(h, at);
        head_place(h, now);
    }
    return n;
}

/* ---- membership
 * -------------------------------------------------------------------------- */

/* A node that came back says all that it wants again; what was lost with the old
 * connection ends. What it holds and was granted is repeated to it. */
static void repeat(struct plan_head *h, uint32_t at, uint64_t now)
{
    for (uint32_t i = 0; i < h->demands_top && h->nodes[at].demands > 0; i++) {
        struct head_demand *d = &h->demands[i];
        if (!d->used || d->owner != at) {
            continue;
        }
        d->void_at = now + PLAN_UNUSED_NS;
        h->void_at = d->void_at < h->void_at ? d->void_at : h->void_at;
        FOR_EACH_LEASE(h, d->leases, OF_DEMAND, l)
        {
            if (l->told > 0) {
                head_say_grant(h, l);
            }
        }
    }
    head_group_repeat(h, at);
    FOR_EACH_LEASE(h, h->nodes[at].leases, OF_NODE, l)
    {
        head_say_lease(h, l);
    }
    h->config.act(h->config.arg, &(struct plan_head_action){.kind = PLAN_SYNCED,
                                                            .to = h->nodes[at].node});
}

/* It may have groups that an earlier head has placed. */
static void await(struct plan_head *h, uint32_t at, const struct plan_join *join,
                  uint64_t now)
{
    if (join->remembered || (join->member_of && join->member_of != h->config.head)) {
        head_group_awaited(h, at, true, now);
    }
}

mob_status plan_head_join(struct plan_head *h, const struct plan_join *join, uint64_t now)
{
    if (!join->node || !join->session || !resources_ok(&join->capacity)) {
        return MOB_ERR_INVALID;
    }
    uint32_t at = index_find(&h->node_index, join->node);
    if (at != INDEX_NONE) {
        if (h->nodes[at].session != join->session ||
            !resources_equal(&h->nodes[at].capacity, &join->capacity)) {
            return MOB_ERR_EXISTS;
        }
        head_heard(h, join->node, now);
        await(h, at, join, now);
        repeat(h, at, now);
        return MOB_OK;
    }
    if (join->member_of == h->config.head) {
        return MOB_ERR_NODE_LOST; /* it was a member, and is one no more */
    }
    if (h->nodes_count == h->config.nodes_max) {
        return MOB_ERR_FULL;
    }
    begin(h, now);
    for (at = h->nodes_free; h->nodes[at].used; at++) {
    }
    h->nodes_free = at + 1;
    h->nodes_top = at < h->nodes_top ? h->nodes_top : at + 1;
    h->nodes_count++;
    h->nodes[at] = (struct head_node){.used = true,
                                      .node = join->node,
                                      .session = join->session,
                                      .capacity = join->capacity,
                                      .offer = resources_zero(&join->capacity),
                                      .leased = resources_zero(&join->capacity),
                                      .booked = resources_zero(&join->capacity),
                                      .asked = resources_zero(&join->capacity),
                                      .leases = INDEX_NONE,
                                      .holds = INDEX_NONE,
                                      .heard = now};
    strncpy(h->nodes[at].labels, join->labels ? join->labels : "", LABELS_MAX);
    index_put(&h->node_index, join->node, at);
    await(h, at, join, now);
    count_member(h, &h->nodes[at], true);
    h->scan_at = h->scan_at < now + HEARTBEAT_NS ? h->scan_at : now + HEARTBEAT_NS;
    repeat(h, at, now);
    head_place(h, now);
    return MOB_OK;
}

mob_status plan_head_heartbeat(struct plan_head *h, uint64_t node, uint64_t now)
{
    return head_heard(h, node, now) ? MOB_OK : MOB_ERR_NOT_FOUND;
}

mob_status plan_head_drain(struct plan_head *h, uint64_t node, uint64_t now)
{
    struct head_node *n = head_heard(h, node, now);
    if (!n) {
        return MOB_ERR_NOT_FOUND;
    }
    n->draining = true;
    head_node_changed(h, (uint32_t)(n - h->nodes));
    FOR_EACH_LEASE(h, n->leases, OF_NODE, l)
    {
        head_set_slots(h, l, 0);
    }
    head_place(h, now);
    return MOB_OK;
}

/* Ends a node's part in everything, once: its place is free afterwards. */
static void remove_node(struct plan_head *h, uint32_t at, uint64_t now)
{
    uint64_t node = h->nodes[at].node;
    FOR_EACH_LEASE(h, h->nodes[at].leases, OF_NODE, l)
    {
        l->epoch++;
        if (l->told > 0 && h->demands[l->demand].owner != at) {
            l->told = 0;
            head_say_grant(h, l);
        }
        head_free_lease(h, l);
    }
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (!d->used || d->owner != at) {
            continue;
        }
        d->want = 0;
        d->void_at = CLOCK_NEVER;
        FOR_EACH_LEASE(h, d->leases, OF_DEMAND, l)
        {
            l->told = 0;             /* nobody is there to be told */
            head_set_slots(h, l, 0); /* counts until its node has the slots back */
        }
        if (d->leases == INDEX_NONE) {
            head_free_demand(h, d);
        }
    }
    head_group_awaited(h, at, false, now);
    head_group_node_lost(h, at, now);
    head_flush(h); /* while the owner's place still has its name */
    count_member(h, &h->nodes[at], false);
    h->config.act(h->config.arg,
                  &(struct plan_head_action){.kind = PLAN_NODE_DEAD, .node = node});
    index_remove(&h->node_index, node);
    h->nodes[at].quiet = true; /* nobody is the owner of its demands now */
    /* The place stays taken until the last lease of the dead owner is back. */
    h->nodes[at].node = 0;
    head_node_changed(h, at);
    head_place(h, now);
}

mob_status plan_head_leave(struct plan_head *h, uint64_t node, uint64_t now)
{
    uint32_t at = index_find(&h->node_index, node);
    if (at == INDEX_NONE) {
        return MOB_ERR_NOT_FOUND;
    }
    begin(h, now);
    remove_node(h, at, now);
    return MOB_OK;
}

/* A dead node's place is free when no demand names it any more. */
static void free_places(struct plan_head *h)
{
    for (uint32_t i = 0; i < h->nodes_top; i++) {
        struct head_node *n = &h->nodes[i];
        if (n->used && n->node == 0 && n->demands == 0) {
            n->used = false;
            h->nodes_count--;
            h->nodes_free = i < h->nodes_free ? i : h->nodes_free;
        }
    }
}

void plan_head_tick(struct plan_head *h, uint64_t now)
{
    begin(h, now);
    if (now >= h->scan_at) {
        bool any = false;
        for (uint32_t i = 0; i < h->nodes_top; i++) {
            struct head_node *n = &h->nodes[i];
            if (n->used && n->node && now >= n->heard + NODE_DEAD_NS) {
                remove_node(h, i, now);
            } else if (n->used && now >= n->heard + PLAN_LEASE_NS) {
                n->quiet = true;
                head_node_changed(h, i);
                head_owner_changed(h, i);
            }
            any = any || n->used;
        }
        free_places(h);
        h->scan_at = any ? now + HEARTBEAT_NS : CLOCK_NEVER;
    }
    head_place(h, now);
}

uint64_t plan_head_deadline(const struct plan_head *h)
{
    return h->scan_at < h->place_at ? h->scan_at : h->place_at;
}
