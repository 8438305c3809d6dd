/* What tasks may have of groups: room in the holds that are kept for their bundles.
 *
 * Leases of the classes of one group may overlap: where one finds no room of its own it has what another one may use
 * too, and the node decides between them as tasks come and end (node_inside.c). To move a lease takes words to the node
 * and the owner and back, for each task if tasks of two classes take turns. Who shares goes to where there is room of
 * its own once there is some. What a group has is nobody else's, so its leases cost their job nothing. */
#include "head_group.h"

uint32_t head_group_nodes(const struct plan_head *h, const struct head_demand *d)
{
    const struct head_group *g = head_group_find(h, d->demand.group);
    uint32_t nodes = 0;
    for (uint32_t i = 0; g && i < g->word.count; i++) {
        const struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        bool its = !d->demand.bundle || d->demand.bundle == i + 1;
        nodes += its && x && x->word.state == PLAN_HOLD_KEPT &&
                 resources_fit(&x->word.need, &d->demand.need);
    }
    return nodes;
}

/* What is kept on a node for a bundle, or (0) for all of the group's. */
static struct resources kept_on(const struct plan_head *h, uint32_t node, uint64_t group,
                                uint32_t bundle)
{
    struct resources kept = resources_zero(&h->nodes[node].capacity);
    for (uint32_t i = h->nodes[node].holds; i != INDEX_NONE; i = h->holds[i].next) {
        const struct plan_hold *w = &h->holds[i].word;
        if (w->group == group && w->state == PLAN_HOLD_KEPT &&
            (!bundle || w->bundle == bundle)) {
            resources_add(&kept, &w->need, 1);
        }
    }
    return kept;
}

/* The same without what leases allow the demand there, and (@alone) other classes too. */
static struct resources room_of(const struct plan_head *h, const struct head_demand *d,
                                uint32_t node, uint32_t bundle, bool alone)
{
    uint64_t group = d->demand.group;
    struct resources room = kept_on(h, node, group, bundle);
    FOR_EACH_LEASE(h, h->nodes[node].leases, OF_NODE, l)
    {
        const struct head_demand *o = &h->demands[l->demand];
        if (o->demand.group == group && (!bundle || o->demand.bundle == bundle) &&
            (alone || o == d)) {
            resources_sub(&room, &o->demand.need, l->counted);
        }
    }
    return room;
}

static uint32_t slots_of(const struct plan_head *h, const struct head_demand *d,
                         uint32_t at, bool alone)
{
    struct resources room = room_of(h, d, at, 0, alone);
    if (d->demand.bundle) {
        struct resources one = room_of(h, d, at, d->demand.bundle, alone);
        resources_limit(&room, &one);
    }
    return resources_times(&room, &d->demand.need, PLAN_SLOTS_MAX);
}

uint32_t head_group_slots(const struct plan_head *h, const struct head_demand *d,
                          uint32_t at)
{
    uint32_t own = slots_of(h, d, at, true);
    return own > 0 ? own : slots_of(h, d, at, false);
}

uint32_t head_group_choose(const struct plan_head *h, const struct head_demand *d,
                           bool alone)
{
    const struct head_group *g = head_group_find(h, d->demand.group);
    uint32_t best = INDEX_NONE, most = 0;
    bool most_own = alone; /* what it shares is the last resort */
    for (uint32_t i = 0; g && i < g->word.count; i++) {
        const struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (!x || x->node == best) {
            continue;
        }
        uint32_t slots = head_slots_on(h, d, x->node);
        bool own = slots > 0 && slots_of(h, d, x->node, true) > 0;
        bool more = own == most_own ? slots > most : own;
        bool equal = own == most_own && slots > 0 && slots == most;
        if (more || (equal && x->node == d->owner)) {
            best = x->node;
            most = slots;
            most_own = own;
        }
    }
    return best;
}

/* What leases allow tasks of a group on a node beyond what it keeps for them. */
static struct resources excess(const struct plan_head *h, uint32_t node, uint64_t group)
{
    struct resources over = resources_zero(&h->nodes[node].capacity);
    struct resources kept = kept_on(h, node, group, 0);
    FOR_EACH_LEASE(h, h->nodes[node].leases, OF_NODE, l)
    {
        const struct demand *d = &h->demands[l->demand].demand;
        resources_add(&over, &d->need, d->group == group ? l->slots : 0);
    }
    resources_sub(&over, &kept, 1);
    return over;
}

void head_group_part(struct plan_head *h)
{
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (!d->used || !d->demand.group || d->demand.bundle || d->granted == 0) {
            continue; /* who needs one bundle has nowhere to go */
        }
        FOR_EACH_LEASE(h, d->leases, OF_DEMAND, l)
        {
            struct resources over = excess(h, l->node, d->demand.group);
            uint64_t many = resources_cover(&over, &d->demand.need);
            uint32_t to = many ? head_group_choose(h, d, true) : INDEX_NONE;
            if (to == INDEX_NONE || to == l->node || l->slots == 0) {
                continue;
            }
            uint32_t slots = head_group_slots(h, d, to);
            slots = slots < l->slots ? slots : l->slots;
            head_set_slots(h, l, l->slots - (many < slots ? (uint32_t)many : slots));
            return; /* what is free there is given next, before another one is moved to it */
        }
    }
    h->crowded = false;
}
