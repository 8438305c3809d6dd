/* What tasks may have of groups: room in the holds that are kept for their bundles. */
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
    const struct head_group *g = head_group_find(h, d->demand.group);
    uint32_t best = INDEX_NONE, most = 0;
    for (uint32_t i = 0; g && i < g->word.count; i++) {
        const struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
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
