/* Groups: which nodes hold their bundles, all of them or none.
 *
 *             choose()                all held            a node died
 *   WAITING ----------> GATHERING --------------> WHOLE ------------> WAITING, for what it lost
 *      ^                    | one refused, or its node died
 *      +-- let go of all ---+    the owner ends it, or dies: its holds end
 *
 * Two phases: each node is asked to gather what its bundles need (WANT), and once all have answered HELD the holds
 * are KEPT, and tasks may run in them. Until then nothing runs in any of them.
 *
 * No two groups wait for each other. What a node holds or is asked to gather is booked here at once, and of no
 * kind more than it has; a group that finds no place in this book waits and has nothing. So one that gathers waits
 * for tasks that run on its nodes, and never for another group; and it waits for PLAN_GATHER_NS at first, then lets
 * go of all and comes after those that waited longer, to wait twice as long next time. */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "head_group.h"

#define TRIES_MAX 16 /* groups at one look: each compares all nodes */

/* Those that wait may find a place now. */
static void room_came(struct plan_head *h)
{
    h->rooms++;
    h->groups_at = 0;
}

/* ---- the book of holds --------------------------------------------------------------------------- */

static struct head_hold *hold_at(const struct plan_head *h, uint32_t at)
{
    return at == INDEX_NONE ? NULL : &h->holds[at];
}

static void say_hold(struct plan_head *h, const struct head_hold *x)
{
    h->config.act(h->config.arg, &(struct plan_head_action){.kind = PLAN_HOLD,
                                                            .to = h->nodes[x->node].node,
                                                            .hold = &x->word});
}

static void say_group(struct plan_head *h, const struct head_group *g)
{
    struct plan_group_view view;
    head_group_view(h, g, &view);
    h->config.act(h->config.arg, &(struct plan_head_action){.kind = PLAN_GROUP,
                                                            .to = h->nodes[g->owner].node,
                                                            .group = &view});
}

/* Books a hold on a node; NULL: there are too many. */
static struct head_hold *hold_new(struct plan_head *h, uint32_t node,
                                  const struct plan_hold *word)
{
    uint32_t at = h->holds_free;
    if (at != INDEX_NONE) {
        h->holds_free = h->holds[at].next;
    } else if (h->holds_top < h->config.holds_max) {
        at = h->holds_top++;
    } else {
        return NULL;
    }
    struct head_hold *x = &h->holds[at];
    struct head_node *n = &h->nodes[node];
    *x = (struct head_hold){.used = true, .node = node, .word = *word, .next = n->holds};
    n->holds = at;
    n->holds_count++;
    resources_add(&n->booked, &word->need, 1);
    if (word->state == PLAN_HOLD_WANT) {
        resources_add(&n->asked, &word->need, 1);
    }
    index_put(&h->hold_index, word->hold, at);
    head_node_changed(h, node);
    return x;
}

static void hold_free(struct plan_head *h, struct head_hold *x)
{
    struct head_node *n = &h->nodes[x->node];
    uint32_t at = (uint32_t)(x - h->holds), *link = &n->holds;
    while (*link != at) {
        link = &h->holds[*link].next;
    }
    *link = x->next;
    n->holds_count--;
    resources_sub(&n->booked, &x->word.need, 1);
    if (x->word.state == PLAN_HOLD_WANT) {
        resources_sub(&n->asked, &x->word.need, 1);
    }
    index_remove(&h->hold_index, x->word.hold);
    x->used = false;
    x->next = h->holds_free;
    h->holds_free = at;
    head_node_changed(h, x->node);
    room_came(h);
}

static void hold_state(struct plan_head *h, struct head_hold *x,
                       enum plan_hold_state state)
{
    if (x->word.state ==
        PLAN_HOLD_WANT) { /* the node's offer is without it from now on */
        resources_sub(&h->nodes[x->node].asked, &x->word.need, 1);
        head_node_changed(h, x->node);
    }
    x->word.state = state;
}

/* The node is to end it, and has it until it says that it did. */
static void hold_end(struct plan_head *h, struct head_hold *x)
{
    hold_state(h, x, PLAN_HOLD_END);
    say_hold(h, x);
}

/* ---- groups ------------------------------------------------------------------------------------------ */

static struct head_group *group_find(const struct plan_head *h, uint64_t id)
{
    uint32_t at = index_find(&h->group_index, id);
    return at == INDEX_NONE ? NULL : &h->groups[at];
}

/* What tasks of the group may have has changed. */
static void tell_demands(struct plan_head *h, uint64_t group)
{
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (d->used && d->demand.group == group) {
            d->nodes = head_group_nodes(h, d);
            if (d->nodes == 0) {
                head_shrink(h, d, d->granted);
            }
            head_demand_changed(h, d);
        }
    }
}

uint32_t head_group_nodes(const struct plan_head *h, const struct head_demand *d)
{
    const struct head_group *g = group_find(h, d->demand.group);
    uint32_t nodes = 0;
    for (uint32_t i = 0; g && i < g->word.count; i++) {
        const struct head_hold *x = hold_at(h, g->bundles[i].hold);
        bool its = !d->demand.bundle || d->demand.bundle == i + 1;
        nodes += its && x && x->word.state == PLAN_HOLD_KEPT &&
                 resources_fit(&x->word.need, &d->demand.need);
    }
    return nodes;
}

/* What is kept on a node for a bundle, or (0) for all of a group's, without what leases there allow. */
static struct resources room_of(const struct plan_head *h, uint32_t node, uint64_t group,
                                uint32_t bundle)
{
    struct resources room = resources_zero(&h->nodes[node].capacity);
    for (uint32_t i = h->nodes[node].holds; i != INDEX_NONE; i = h->holds[i].next) {
        const struct plan_hold *w = &h->holds[i].word;
        if (w->group == group && w->state == PLAN_HOLD_KEPT &&
            (!bundle || w->bundle == bundle)) {
            resources_add(&room, &w->need, 1);
        }
    }
    FOR_EACH_LEASE(h, h->nodes[node].leases, OF_NODE, l)
    {
        const struct demand *d = &h->demands[l->demand].demand;
        if (d->group == group && (!bundle || d->bundle == bundle)) {
            resources_sub(&room, &d->need, l->counted);
        }
    }
    return room;
}

uint32_t head_group_slots(const struct plan_head *h, const struct head_demand *d,
                          uint32_t at)
{
    const struct demand *what = &d->demand;
    struct resources room = room_of(h, at, what->group, 0);
    if (what->bundle) {
        struct resources one = room_of(h, at, what->group, what->bundle);
        resources_limit(&room, &one);
    }
    return resources_times(&room, &what->need, PLAN_SLOTS_MAX);
}

uint32_t head_group_choose(const struct plan_head *h, const struct head_demand *d)
{
    const struct head_group *g = group_find(h, d->demand.group);
    uint32_t best = INDEX_NONE, most = 0;
    for (uint32_t i = 0; g && i < g->word.count; i++) {
        const struct head_hold *x = hold_at(h, g->bundles[i].hold);
        if (!x || x->node == best) {
            continue;
        }
        uint32_t slots = head_slots_on(h, d, x->node);
        if (slots > most || (slots > 0 && slots == most && x->node == d->owner)) {
            best = x->node;
            most = slots;
        }
    }
    return best;
}

/* Lets go of what is not kept: those that were asked, and those that hold already. */
static void give_up(struct plan_head *h, struct head_group *g)
{
    for (uint32_t i = 0; i < g->word.count; i++) {
        struct head_hold *x = hold_at(h, g->bundles[i].hold);
        if (x && x->word.state != PLAN_HOLD_KEPT) {
            g->bundles[i].hold = INDEX_NONE;
            hold_end(h, x);
        }
    }
}

/* A hold is no more. Its group waits for another one, and what was asked for beside it is let go. */
static void lost(struct plan_head *h, struct head_group *g, uint64_t retry_at)
{
    give_up(h, g);
    g->state = PLAN_GROUP_WAITS;
    g->retry_at = retry_at;
    g->tried = 0;
    g->turn = ++h->turns; /* after those that have waited longer */
    h->groups_at = 0;
    tell_demands(h, g->word.id);
    say_group(h, g);
}

/* All bundles are held: from now on they are kept. */
static void commit(struct plan_head *h, struct head_group *g)
{
    for (uint32_t i = 0; i < g->word.count; i++) {
        const struct head_hold *x = hold_at(h, g->bundles[i].hold);
        if (!x || x->word.state == PLAN_HOLD_WANT) {
            return;
        }
    }
    for (uint32_t i = 0; i < g->word.count; i++) {
        struct head_hold *x = hold_at(h, g->bundles[i].hold);
        if (x->word.state != PLAN_HOLD_KEPT) {
            hold_state(h, x, PLAN_HOLD_KEPT);
            say_hold(h, x);
        }
    }
    g->state = PLAN_GROUP_WHOLE;
    g->late = 0;
    tell_demands(h, g->word.id);
    say_group(h, g);
}

static void end_group(struct plan_head *h, struct head_group *g)
{
    uint64_t id = g->word.id;
    for (uint32_t i = 0; i < g->word.count; i++) {
        struct head_hold *x = hold_at(h, g->bundles[i].hold);
        if (x) {
            hold_end(h, x);
        }
    }
    g->used = false;
    h->groups_count--;
    index_remove(&h->group_index, id);
    tell_demands(h, id);
}

/* ---- placing --------------------------------------------------------------------------------------------- */

/* Those that wait and may be tried now, who waited longest first. */
static int by_turn(const void *a, const void *b)
{
    const struct head_group *const *x = a, *const *y = b;
    return (*x)->turn < (*y)->turn ? -1 : 1;
}

static void gather(struct plan_head *h, struct head_group *g, const uint32_t *chosen)
{
    for (uint32_t i = 0; i < g->word.count; i++) {
        if (g->bundles[i].hold != INDEX_NONE) {
            continue;
        }
        struct plan_hold word = {.hold = h->config.head << 32 | (uint32_t)++h->serial,
                                 .group = g->word.id,
                                 .bundle = i + 1,
                                 .state = PLAN_HOLD_WANT,
                                 .need = g->bundles[i].need};
        struct head_hold *x = hold_new(h, chosen[i], &word);
        if (!x) { /* as many holds as there may be */
            lost(h, g, h->last + PLAN_GATHER_NS);
            return;
        }
        g->bundles[i].hold = (uint32_t)(x - h->holds);
    }
    g->state = PLAN_GROUP_GATHERS;
    g->late_at = h->last + (PLAN_GATHER_NS << g->late);
    h->groups_at = g->late_at < h->groups_at ? g->late_at : h->groups_at;
    for (uint32_t i = 0; i < g->word.count; i++) {
        const struct head_hold *x = hold_at(h, g->bundles[i].hold);
        if (x->word.state == PLAN_HOLD_WANT) {
            say_hold(h, x);
        }
    }
}

/* Tries one that waits. */
static void try(struct plan_head *h, struct head_group *g)
{
    uint32_t chosen[MOB_GROUP_BUNDLES_MAX];
    enum plan_group_state was = g->state;
    g->tried = h->rooms;
    if (head_choose(h, g, true, chosen) || head_choose(h, g, false, chosen)) {
        gather(h, g, chosen);
    } else {
        g->state = head_group_could(h, g) ? PLAN_GROUP_WAITS : PLAN_GROUP_NOWHERE;
    }
    if (g->state != was) {
        say_group(h, g);
    }
}

/* Those that gather in vain let go. */
static void end_late(struct plan_head *h, uint64_t now)
{
    for (uint32_t i = 0; i < h->groups_top; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && g->state == PLAN_GROUP_GATHERS && now >= g->late_at) {
            g->late += g->late < PLAN_GATHER_DOUBLINGS;
            lost(h, g, now + PLAN_GATHER_NS);
        }
    }
}

void head_group_place(struct plan_head *h, uint64_t now)
{
    if (now < h->groups_at) {
        return;
    }
    uint32_t waiting = 0;
    end_late(h, now);
    h->groups_at = CLOCK_NEVER;
    for (uint32_t i = 0; i < h->groups_top; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && g->state == PLAN_GROUP_GATHERS) {
            h->groups_at = g->late_at < h->groups_at ? g->late_at : h->groups_at;
        }
        if (!g->used || g->state >= PLAN_GROUP_GATHERS || g->tried == h->rooms) {
            continue;
        }
        if (now >= g->retry_at) {
            h->waiting[waiting++] = g;
        } else {
            h->groups_at = g->retry_at < h->groups_at ? g->retry_at : h->groups_at;
        }
    }
    qsort(h->waiting, waiting, sizeof(struct head_group *), by_turn);
    for (uint32_t i = 0; i < waiting && i < TRIES_MAX; i++) {
        try(h, h->waiting[i]);
    }
    if (waiting > TRIES_MAX && now + PLAN_RETRY_NS < h->groups_at) {
        h->groups_at = now + PLAN_RETRY_NS;
    }
}

/* ---- what owners and nodes say ----------------------------------------------------------------------------- */

static bool word_ok(const struct plan_group *in)
{
    bool good = in->id && in->job.node && in->strategy <= MOB_GROUP_STRICT_SPREAD &&
                in->count > 0 && in->count <= MOB_GROUP_BUNDLES_MAX;
    for (uint32_t i = 0; good && i < in->count; i++) {
        good = resources_ok(&in->needs[i]);
    }
    return good;
}

/* What an earlier head had made whole, as its owner knows it. What is not there any more is said by its node. */
static void adopt(struct plan_head *h, struct head_group *g, const struct plan_group *in)
{
    bool whole = in->holds != NULL;
    for (uint32_t i = 0; i < in->count && in->holds; i++) {
        uint32_t node = index_find(&h->node_index, in->nodes[i]);
        struct plan_hold word = {.hold = in->holds[i],
                                 .group = in->id,
                                 .bundle = i + 1,
                                 .state = PLAN_HOLD_KEPT,
                                 .need = in->needs[i]};
        struct resources with = node == INDEX_NONE ? h->total : h->nodes[node].booked;
        resources_add(&with, &word.need, 1);
        bool known = !word.hold || index_find(&h->hold_index, word.hold) != INDEX_NONE;
        struct head_hold *x = NULL;
        if (node != INDEX_NONE && !known &&
            resources_fit(&h->nodes[node].capacity, &with)) {
            x = hold_new(h, node, &word);
        }
        if (x) {
            g->bundles[i].hold = (uint32_t)(x - h->holds);
            say_hold(h, x);
        } else {
            whole = false;
        }
    }
    g->state = whole ? PLAN_GROUP_WHOLE : PLAN_GROUP_WAITS;
}

mob_status plan_head_group(struct plan_head *h, uint64_t owner,
                           const struct plan_group *in, uint64_t now)
{
    struct head_node *n = head_heard(h, owner, now);
    if (!n) {
        return MOB_ERR_NOT_FOUND;
    }
    if (!word_ok(in)) {
        return MOB_ERR_INVALID;
    }
    struct head_group *g = group_find(h, in->id);
    if (g) { /* said again: so is the answer */
        if (&h->nodes[g->owner] != n || g->word.count != in->count) {
            return MOB_ERR_EXISTS;
        }
        g->void_at = CLOCK_NEVER;
        say_group(h, g);
        return MOB_OK;
    }
    MOB_ASSERT(h->groups); /* plan_head_create() made them, or failed */
    uint32_t at = 0;
    while (at < h->groups_top && h->groups[at].used) {
        at++;
    }
    if (at == h->config.groups_max) {
        return MOB_ERR_FULL;
    }
    h->groups_top += at == h->groups_top;
    h->groups_count++;
    g = &h->groups[at];
    g->used = true;
    g->word = *in;
    g->word.needs = NULL;
    g->word.nodes = g->word.holds = NULL;
    g->owner = (uint32_t)(n - h->nodes);
    g->word.count = in->count;
    g->turn = ++h->turns;
    g->retry_at = g->tried = 0;
    g->late = 0;
    g->void_at = CLOCK_NEVER;
    for (uint32_t i = 0; i < in->count; i++) {
        g->bundles[i] = (struct head_bundle){in->needs[i], INDEX_NONE};
    }
    index_put(&h->group_index, in->id, at);
    adopt(h, g, in);
    tell_demands(h, in->id);
    say_group(h, g);
    h->groups_at = 0;
    head_place(h, now);
    return MOB_OK;
}

mob_status plan_head_group_end(struct plan_head *h, uint64_t owner, uint64_t group,
                               uint64_t now)
{
    struct head_node *n = head_heard(h, owner, now);
    struct head_group *g = n ? group_find(h, group) : NULL;
    if (!g || &h->nodes[g->owner] != n) {
        return MOB_ERR_NOT_FOUND;
    }
    end_group(h, g);
    head_place(h, now);
    return MOB_OK;
}

mob_status plan_head_hold_said(struct plan_head *h, uint64_t node,
                               const struct plan_hold *said,
                               const struct resources *offer, uint64_t now)
{
    struct head_node *n = head_heard(h, node, now);
    uint32_t at = n ? index_find(&h->hold_index, said->hold) : INDEX_NONE;
    if (!n) {
        return MOB_ERR_NOT_FOUND;
    }
    MOB_TRY(head_set_offer(h, n, offer));
    if (at == INDEX_NONE || &h->nodes[h->holds[at].node] != n) {
        head_place(h, now);
        return MOB_ERR_NOT_FOUND;
    }
    struct head_hold *x = &h->holds[at];
    struct head_group *g = group_find(h, x->word.group);
    bool its = g && g->bundles[x->word.bundle - 1].hold == at;
    if (said->state == PLAN_HOLD_END) {
        if (its) {
            g->bundles[x->word.bundle - 1].hold = INDEX_NONE;
        }
        hold_free(h, x);
        if (its) {
            lost(h, g, now + PLAN_GATHER_NS);
        }
    } else if (its && said->state == PLAN_HOLD_HELD && x->word.state == PLAN_HOLD_WANT) {
        hold_state(h, x, PLAN_HOLD_HELD);
        commit(h, g);
    }
    head_place(h, now);
    return MOB_OK;
}

/* ---- membership --------------------------------------------------------------------------------------------- */

void head_group_repeat(struct plan_head *h, uint32_t node, uint64_t now)
{
    for (uint32_t i = h->nodes[node].holds; i != INDEX_NONE; i = h->holds[i].next) {
        say_hold(h, &h->holds[i]);
    }
    room_came(h); /* its own, at least if it is new */
    for (uint32_t i = 0; i < h->groups_top && h->groups_count > 0; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && g->owner == node) {
            g->void_at = now + PLAN_UNUSED_NS;
            h->void_at = g->void_at < h->void_at ? g->void_at : h->void_at;
            say_group(h, g);
        }
    }
}

void head_group_void(struct plan_head *h, uint64_t now)
{
    for (uint32_t i = 0; i < h->groups_top && h->groups_count > 0; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && now >= g->void_at) {
            end_group(h, g);
        } else if (g->used && g->void_at < h->void_at) {
            h->void_at = g->void_at;
        }
    }
}

void head_group_node_lost(struct plan_head *h, uint32_t node, uint64_t now)
{
    for (uint32_t i = 0; i < h->groups_top && h->groups_count > 0; i++) {
        if (h->groups[i].used && h->groups[i].owner == node) {
            end_group(h, &h->groups[i]);
        }
    }
    for (uint32_t i = h->nodes[node].holds; i != INDEX_NONE;) {
        struct head_hold *x = &h->holds[i];
        struct head_group *g = group_find(h, x->word.group);
        bool its = g && g->bundles[x->word.bundle - 1].hold == i;
        if (its) {
            g->bundles[x->word.bundle - 1].hold = INDEX_NONE;
        }
        i = x->next;
        hold_free(h, x);
        if (its) {
            lost(h, g, now);
        }
    }
}

/* ---- beginning, end, and to look at --------------------------------------------------------------------- */

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
        const struct head_hold *x = hold_at(h, g->bundles[i].hold);
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
        const struct head_hold *x = hold_at(h, g->bundles[i].hold);
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
    for (uint32_t i = 0; i < h->holds_top; i++) {
        all += h->holds[i].used;
    }
    if (all != count) {
        return "a hold is in no list";
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
    const struct head_group *g = group_find(h, group);
    return g ? g->state : PLAN_GROUP_NOWHERE;
}

uint64_t plan_head_groups_deadline(const struct plan_head *h)
{
    return h->groups_at;
}
