/* Which nodes a group's bundles go to. The largest bundle is placed first. To pack, and to spread over fewer nodes
 * than there are bundles, is bin packing of vectors: what is found is good and not always the best, so a group
 * that finds no place may have one. With a node for each, or all on one, the answer is exact. */
#include <string.h>

#include "core/labels.h"
#include "head_group.h"

#define UNUSABLE UINT16_MAX

/* One attempt; its rooms are in plan_head.room and .there. */
struct fit {
    struct plan_head *h;
    const struct head_group *g;
    uint32_t *chosen;
    uint32_t left[MOB_GROUP_BUNDLES_MAX], count; /* bundles without a node */
    bool any;                                    /* some have one already */
};

static const struct resources *need_of(const struct fit *f, uint32_t bundle)
{
    return &f->g->bundles[bundle].need;
}

static bool usable(const struct fit *f, uint32_t node)
{
    return f->h->there[node] != UNUSABLE;
}

static bool fits(const struct fit *f, uint32_t node, uint32_t bundle)
{
    return usable(f, node) && resources_fit(&f->h->room[node], need_of(f, bundle));
}

static void put(struct fit *f, uint32_t node, uint32_t bundle)
{
    f->chosen[bundle] = node;
    f->h->there[node]++;
    resources_sub(&f->h->room[node], need_of(f, bundle), 1);
}

static bool allowed(const struct plan_where *w, const struct head_node *n)
{
    return (!w->node || w->node == n->node) &&
           (!*w->selector || selector_match(w->selector, n->labels));
}

/* A hold that a choice may count on as free, though it is booked. */
static bool comes_free(const struct fit *f, const struct plan_hold *word,
                       enum head_room what)
{
    if (word->state == PLAN_HOLD_END) {
        return what == ROOM_SOON || what == ROOM_LATER;
    }
    const struct head_group *g =
        what == ROOM_LATER ? head_group_find(f->h, word->group) : NULL;
    return g && g->turn > f->g->turn;
}

/* What a node has to give. */
static struct resources room_of(const struct fit *f, const struct head_node *n,
                                enum head_room what)
{
    const struct plan_head *h = f->h;
    struct resources room = n->capacity;
    if (what == ROOM_ALL) {
        return room;
    }
    resources_sub(&room, &n->booked, 1);
    if (what == ROOM_NOW || what == ROOM_SOON) {
        struct resources spare = node_spare(n);
        resources_limit(&room, &spare);
    }
    for (uint32_t i = n->holds; i != INDEX_NONE; i = h->holds[i].next) {
        if (comes_free(f, &h->holds[i].word, what)) {
            resources_add(&room, &h->holds[i].word.need, 1);
        }
    }
    resources_limit(&room, &n->capacity);
    return room;
}

/* What is left to the group that is due others do not get. */
static void leave_to_due(struct fit *f, enum head_room what)
{
    struct plan_head *h = f->h;
    const struct head_group *due = h->due == INDEX_NONE ? NULL : &h->groups[h->due];
    bool leave = due && due != f->g && what < ROOM_LATER;
    for (uint32_t i = 0; leave && i < due->word.count; i++) {
        uint32_t at = h->due_nodes[i];
        if (due->bundles[i].hold == INDEX_NONE && usable(f, at)) {
            resources_sub(&h->room[at], &due->bundles[i].need, 1);
        }
    }
}

static void begin(struct fit *f, enum head_room what)
{
    struct plan_head *h = f->h;
    for (uint32_t i = 0; i < h->nodes_top; i++) {
        const struct head_node *n = &h->nodes[i];
        bool in = (what == ROOM_ALL ? n->used && n->node : node_open(n)) &&
                  allowed(&f->g->where, n);
        h->there[i] = in ? 0 : UNUSABLE;
        if (in) {
            h->room[i] = room_of(f, n, what);
        }
    }
    leave_to_due(f, what);
    f->count = 0;
    f->any = false;
    for (uint32_t i = 0; i < f->g->word.count; i++) {
        uint32_t hold = f->g->bundles[i].hold;
        if (what == ROOM_ALL || hold == INDEX_NONE) {
            uint64_t cost = share_cost(need_of(f, i), &h->total);
            uint32_t at = f->count++;
            for (; at > 0 && share_cost(need_of(f, f->left[at - 1]), &h->total) < cost;
                 at--) {
                f->left[at] = f->left[at - 1];
            }
            f->left[at] = i;
        } else {
            uint32_t node = h->holds[hold].node;
            h->there[node] += usable(f, node);
            f->any = true;
        }
    }
}

/* What of a node is taken, of its scarcest kind. */
enum { LOAD_FULL = 1 << 16 };
static uint64_t load(const struct fit *f, uint32_t node)
{
    const struct resources *all = &f->h->nodes[node].capacity, *left = &f->h->room[node];
    uint64_t most = 0;
    for (uint32_t k = 0; k < RESOURCE_BASIC; k++) {
        uint64_t taken = all->amount[k] - left->amount[k];
        taken = all->amount[k] ? taken * LOAD_FULL / all->amount[k] : 0;
        most = taken > most ? taken : most;
    }
    return most;
}

/* Each where fewest of them are, and of those nodes where least is taken. @alone: a node for each. */
static bool spread(struct fit *f, bool alone)
{
    const uint16_t *there = f->h->there;
    for (uint32_t i = 0; i < f->count; i++) {
        uint32_t best = INDEX_NONE;
        for (uint32_t at = 0; at < f->h->nodes_top; at++) {
            if (!fits(f, at, f->left[i]) || (alone && there[at] > 0)) {
                continue;
            }
            if (best == INDEX_NONE || there[at] < there[best] ||
                (there[at] == there[best] && load(f, at) < load(f, best))) {
                best = at;
            }
        }
        if (best == INDEX_NONE) {
            return false;
        }
        put(f, best, f->left[i]);
    }
    return true;
}

/* Finds a node for a bundle, for which others may have to move on to other ones (an augmenting path). @seen:
 * nodes that were looked at have h->match_seen. */
static bool augment(struct fit *f, uint32_t bundle)
{
    struct plan_head *h = f->h;
    for (uint32_t at = 0; at < h->nodes_top; at++) {
        if (h->match_seen[at] == h->match_round || !fits(f, at, bundle) ||
            h->there[at] > 0) {
            continue;
        }
        h->match_seen[at] = h->match_round;
        if (h->match[at] == INDEX_NONE || augment(f, h->match[at])) {
            h->match[at] = bundle;
            f->chosen[bundle] = at;
            return true;
        }
    }
    return false;
}

/* A node for each, if there is any way. */
static bool match(struct fit *f)
{
    struct plan_head *h = f->h;
    for (uint32_t at = 0; at < h->nodes_top; at++) {
        h->match[at] = INDEX_NONE;
    }
    for (uint32_t i = 0; i < f->count; i++) {
        h->match_round++;
        if (!augment(f, f->left[i])) {
            return false;
        }
    }
    return true;
}

/* How many of those that are left fit on a node together. @take: they are put there. */
static uint32_t fill(struct fit *f, uint32_t node, bool take)
{
    struct resources room = f->h->room[node];
    uint32_t count = 0, left = 0, all = f->count;
    for (uint32_t i = 0; i < all; i++) {
        uint32_t bundle = f->left[i];
        if (resources_fit(&room, need_of(f, bundle))) {
            resources_sub(&room, need_of(f, bundle), 1);
            count++;
            if (take) {
                put(f, node, bundle);
                continue;
            }
        }
        if (take) {
            f->left[left++] = bundle;
        }
    }
    f->count = take ? left : all;
    return count;
}

/* As many as fit where others of the group are, then a node that takes most, and so on; of equal ones the one of
 * which most is taken. @one: all on one node. */
static bool pack(struct fit *f, bool one)
{
    while (f->count > 0) {
        uint32_t best = INDEX_NONE, most = 0;
        bool with = false; /* the best has some already */
        for (uint32_t at = 0; at < f->h->nodes_top; at++) {
            bool has = usable(f, at) && f->h->there[at] > 0;
            if (!usable(f, at) || (one && f->any && !has)) {
                continue;
            }
            uint32_t count = fill(f, at, false);
            if (count == 0 || (one && count < f->count)) {
                continue;
            }
            bool better = has != with     ? has
                          : count != most ? count > most
                                          : load(f, at) > load(f, best);
            if (best == INDEX_NONE || better) {
                best = at;
                most = count;
                with = has;
            }
        }
        if (best == INDEX_NONE) {
            return false;
        }
        (void)fill(f, best, true);
    }
    return true;
}

static bool place(struct fit *f, enum head_room room)
{
    enum mob_group_strategy how = (enum mob_group_strategy)f->g->word.strategy;
    begin(f, room);
    bool pinned = how == MOB_GROUP_PACK || how == MOB_GROUP_STRICT_PACK;
    if (pinned) {
        return pack(f, how == MOB_GROUP_STRICT_PACK);
    }
    if (spread(f, how == MOB_GROUP_STRICT_SPREAD)) {
        return true;
    }
    begin(f, room); /* the first choice was not the best */
    return how == MOB_GROUP_STRICT_SPREAD ? match(f) : pack(f, false);
}

/* The less, the better: to pack is to use few nodes, to spread is to use many. What is strict is as good anywhere. */
static int32_t badness(const struct fit *f)
{
    int32_t nodes = 0;
    for (uint32_t i = 0; i < f->h->nodes_top; i++) {
        nodes += usable(f, i) && f->h->there[i] > 0;
    }
    return f->g->word.strategy == MOB_GROUP_PACK     ? nodes
           : f->g->word.strategy == MOB_GROUP_SPREAD ? -nodes
                                                     : 0;
}

bool head_choose(struct plan_head *h, const struct head_group *g, enum head_room room,
                 uint32_t chosen[MOB_GROUP_BUNDLES_MAX], int32_t *ret_badness)
{
    struct fit f = {.h = h, .g = g, .chosen = chosen};
    if (!place(&f, room)) {
        return false;
    }
    *ret_badness = badness(&f);
    return true;
}

bool head_group_could(struct plan_head *h, const struct head_group *g)
{
    uint32_t chosen[MOB_GROUP_BUNDLES_MAX];
    struct fit f = {.h = h, .g = g, .chosen = chosen};
    begin(&f, ROOM_ALL);
    if (g->word.strategy == MOB_GROUP_STRICT_SPREAD) {
        return match(&f);
    }
    if (g->word.strategy == MOB_GROUP_STRICT_PACK) {
        return pack(&f, true);
    }
    struct resources sum = resources_zero(&h->total);
    for (uint32_t i = 0; i < f.count; i++) {
        bool somewhere = false;
        for (uint32_t at = 0; at < h->nodes_top && !somewhere; at++) {
            somewhere = fits(&f, at, f.left[i]);
        }
        if (!somewhere) {
            return false;
        }
        resources_add(&sum, need_of(&f, f.left[i]), 1);
    }
    return resources_fit(&h->total,
                         &sum); /* named kinds are not in it: they are not counted */
}
