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
#include "core/labels.h"
#include "core/status.h"
#include "head_group.h"

void head_say_group(struct plan_head *h, const struct head_group *g)
{
    struct plan_group_view view;
    head_group_view(h, g, &view);
    h->config.act(h->config.arg, &(struct plan_head_action){.kind = PLAN_GROUP,
                                                            .to = h->nodes[g->owner].node,
                                                            .group = &view});
}

struct head_group *head_group_find(const struct plan_head *h, uint64_t id)
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

/* Lets go of what is not kept: those that were asked, and those that hold already. */
static void give_up(struct plan_head *h, struct head_group *g)
{
    for (uint32_t i = 0; i < g->word.count; i++) {
        struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (x && x->word.state != PLAN_HOLD_KEPT) {
            g->bundles[i].hold = INDEX_NONE;
            head_hold_end(h, x);
        }
    }
}

void head_group_lost(struct plan_head *h, struct head_group *g, uint64_t retry_at)
{
    give_up(h, g);
    if (g->state == PLAN_GROUP_WHOLE) {
        g->due_at = h->last + PLAN_OVERTAKEN_NS;
    }
    g->state = PLAN_GROUP_WAITS;
    g->retry_at = retry_at;
    g->tried = 0;
    g->turn = ++h->turns; /* after those that have waited longer */
    h->groups_at = 0;
    tell_demands(h, g->word.id);
    head_say_group(h, g);
}

/* All bundles are held: from now on they are kept. */
static void commit(struct plan_head *h, struct head_group *g)
{
    for (uint32_t i = 0; i < g->word.count; i++) {
        const struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (!x || x->word.state == PLAN_HOLD_WANT) {
            return;
        }
    }
    for (uint32_t i = 0; i < g->word.count; i++) {
        struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (x->word.state != PLAN_HOLD_KEPT) {
            head_hold_state(h, x, PLAN_HOLD_KEPT);
            head_say_hold(h, x);
        }
    }
    g->state = PLAN_GROUP_WHOLE;
    g->late = g->due = 0;
    g->overtaken = false;
    tell_demands(h, g->word.id);
    head_say_group(h, g);
}

static void end_group(struct plan_head *h, struct head_group *g)
{
    uint64_t id = g->word.id;
    for (uint32_t i = 0; i < g->word.count; i++) {
        struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (x) {
            head_hold_end(h, x);
        }
    }
    g->used = false;
    head_due_gone(h, g);
    h->groups_count--;
    index_remove(&h->group_index, id);
    tell_demands(h, id);
}

/* ---- what owners and nodes say ----------------------------------------------------------------------------- */

static bool word_ok(const struct plan_group *in)
{
    bool good = in->id && in->job.node && in->strategy <= MOB_GROUP_STRICT_SPREAD &&
                (!in->where || !*in->where->selector ||
                 selector_check(in->where->selector) == MOB_OK) &&
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
        bool own = word.hold >> 32 == (uint32_t)h->config.head; /* then it is over */
        bool known =
            !word.hold || own || index_find(&h->hold_index, word.hold) != INDEX_NONE;
        struct head_hold *x = NULL;
        if (node != INDEX_NONE && !known &&
            resources_fit(&h->nodes[node].capacity, &with)) {
            x = head_hold_new(h, node, &word);
        }
        if (x) {
            g->bundles[i].hold = (uint32_t)(x - h->holds);
            head_say_hold(h, x);
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
    struct head_group *g = head_group_find(h, in->id);
    if (g) { /* said again: so is the answer */
        if (&h->nodes[g->owner] != n || g->word.count != in->count) {
            return MOB_ERR_EXISTS;
        }
        g->unsaid = false;
        head_say_group(h, g);
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
    g->where = in->where ? *in->where : (struct plan_where){0};
    g->word.needs = NULL;
    g->word.where = NULL;
    g->word.nodes = g->word.holds = NULL;
    g->owner = (uint32_t)(n - h->nodes);
    g->word.count = in->count;
    g->turn = ++h->turns;
    g->retry_at = g->tried = g->ends_by = 0;
    g->late = g->due = 0;
    g->overtaken = false;
    g->due_at = now + PLAN_OVERTAKEN_NS;
    g->unsaid = false;
    for (uint32_t i = 0; i < in->count; i++) {
        g->bundles[i] = (struct head_bundle){in->needs[i], INDEX_NONE};
    }
    index_put(&h->group_index, in->id, at);
    adopt(h, g, in);
    tell_demands(h, in->id);
    head_say_group(h, g);
    h->groups_at = 0;
    head_place(h, now);
    return MOB_OK;
}

mob_status plan_head_group_end(struct plan_head *h, uint64_t owner, uint64_t group,
                               uint64_t now)
{
    struct head_node *n = head_heard(h, owner, now);
    struct head_group *g = n ? head_group_find(h, group) : NULL;
    if (!g || &h->nodes[g->owner] != n) {
        return MOB_ERR_NOT_FOUND;
    }
    end_group(h, g);
    head_place(h, now);
    return MOB_OK;
}

mob_status plan_head_groups_said(struct plan_head *h, uint64_t owner, uint64_t now)
{
    struct head_node *n = head_heard(h, owner, now);
    if (!n) {
        return MOB_ERR_NOT_FOUND;
    }
    for (uint32_t i = 0; i < h->groups_top; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && &h->nodes[g->owner] == n && g->unsaid) {
            end_group(h, g);
        }
    }
    head_group_awaited(h, (uint32_t)(n - h->nodes), false, now);
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
    struct head_group *g = head_group_find(h, x->word.group);
    bool its = g && g->bundles[x->word.bundle - 1].hold == at;
    if (said->state == PLAN_HOLD_END) {
        if (its) {
            g->bundles[x->word.bundle - 1].hold = INDEX_NONE;
        }
        head_hold_free(h, x);
        if (its) {
            head_group_lost(h, g, now + PLAN_GATHER_NS);
        }
    } else if (its && said->state == PLAN_HOLD_HELD && x->word.state == PLAN_HOLD_WANT) {
        head_hold_state(h, x, PLAN_HOLD_HELD);
        commit(h, g);
    }
    head_place(h, now);
    return MOB_OK;
}

/* ---- membership --------------------------------------------------------------------------------------------- */

void head_group_repeat(struct plan_head *h, uint32_t node)
{
    for (uint32_t i = h->nodes[node].holds; i != INDEX_NONE; i = h->holds[i].next) {
        head_say_hold(h, &h->holds[i]);
    }
    head_room_came(h); /* its own, at least if it is new */
    for (uint32_t i = 0; i < h->groups_top && h->groups_count > 0; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && g->owner == node) {
            g->unsaid = true;
            head_say_group(h, g);
        }
    }
}

void head_group_awaited(struct plan_head *h, uint32_t node, bool awaited, uint64_t now)
{
    struct head_node *n = &h->nodes[node];
    if (awaited && !n->awaited) {
        h->awaited++;
        h->known_at = now + PLAN_ORPHAN_NS;
    } else if (!awaited && n->awaited && --h->awaited == 0) {
        h->known_at = now;
        h->groups_at = 0;
    }
    n->awaited = awaited;
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
        struct head_group *g = head_group_find(h, x->word.group);
        bool its = g && g->bundles[x->word.bundle - 1].hold == i;
        if (its) {
            g->bundles[x->word.bundle - 1].hold = INDEX_NONE;
        }
        i = x->next;
        head_hold_free(h, x);
        if (its) {
            head_group_lost(h, g, now);
        }
    }
}
