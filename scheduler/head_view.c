#include "head_state.h"

size_t plan_head_nodes(const struct plan_head *h, struct plan_member_view *ret,
                       size_t max, uint64_t now)
{
    size_t count = 0;
    for (uint32_t i = 0; i < h->nodes_top; i++) {
        const struct head_node *n = &h->nodes[i];
        if (!n->used || !n->node) {
            continue;
        }
        if (count < max) {
            ret[count] = (struct plan_member_view){.node = n->node,
                                                   .capacity = n->capacity,
                                                   .offer = n->offer,
                                                   .leased = n->leased,
                                                   .booked = n->booked,
                                                   .silent_ns = now - n->heard,
                                                   .draining = n->draining};
        }
        count++;
    }
    return count;
}

size_t plan_head_leases(const struct plan_head *h, struct plan_lease_view *ret,
                        size_t max)
{
    size_t count = 0;
    for (uint32_t i = 0; i < h->leases_top; i++) {
        const struct head_lease *l = &h->leases[i];
        if (!l->used) {
            continue;
        }
        if (count < max) {
            const struct head_demand *d = &h->demands[l->demand];
            const char *state = l->slots == 0  ? "ending"
                                : l->told == 0 ? "offered"
                                               : "active";
            ret[count] = (struct plan_lease_view){.lease = l->lease,
                                                  .owner = h->nodes[d->owner].node,
                                                  .node = h->nodes[l->node].node,
                                                  .epoch = l->epoch,
                                                  .cls = d->cls,
                                                  .demand = &d->demand,
                                                  .slots = l->slots,
                                                  .job = h->jobs[d->job].key,
                                                  .state = state};
        }
        count++;
    }
    return count;
}

size_t plan_head_demands(const struct plan_head *h, struct plan_demand_view *ret,
                         size_t max)
{
    size_t count = 0;
    for (uint32_t i = 0; i < h->demands_top; i++) {
        const struct head_demand *d = &h->demands[i];
        if (!d->used) {
            continue;
        }
        if (count < max) {
            ret[count] = (struct plan_demand_view){
                .job = h->jobs[d->job].key,
                .owner = h->nodes[d->owner].node,
                .cls = d->cls,
                .demand = &d->demand,
                .want = d->want,
                .granted = d->granted,
                .infeasible = d->want > 0 && d->nodes == 0 && !d->demand.group};
        }
        count++;
    }
    return count;
}

static const char *check_lease(const struct plan_head *h, const struct head_lease *l)
{
    const struct head_demand *d = &h->demands[l->demand];
    if (!l->used || !d->used || !h->nodes[l->node].used || !h->nodes[d->owner].used) {
        return "a lease has no demand, node or owner";
    }
    if (l->dirty || l->told > l->slots || l->slots > l->counted) {
        return "an owner was told of more than its node agreed to, or a word is unsent";
    }
    uint32_t at = (uint32_t)(l - h->leases);
    if (index_find(&h->pair_index, pair_key(l->demand, l->node)) != at ||
        index_find(&h->lease_index, l->lease) != at) {
        return "an index does not find a lease: two for one demand and node?";
    }
    return NULL;
}

static const char *check_node(const struct plan_head *h, uint32_t at, uint32_t *leases)
{
    struct resources leased = resources_zero(&h->nodes[at].capacity);
    struct resources spare = node_spare(&h->nodes[at]);
    bool some = node_open(&h->nodes[at]) && !resources_none(&spare);
    if (some != index_set_has(&h->spare, at)) {
        return "a node has something to spare and is not known for it, or the other way "
               "round";
    }
    for (uint32_t i = h->nodes[at].leases; i != INDEX_NONE;) {
        const struct head_lease *l = &h->leases[i];
        const char *wrong = check_lease(h, l);
        if (wrong || l->node != at) {
            return wrong ? wrong : "a lease is in another node's list";
        }
        const struct demand *d = &h->demands[l->demand].demand;
        resources_add(&leased, &d->need, d->group ? 0 : l->counted);
        ++*leases;
        i = l->link[OF_NODE].next;
    }
    if (!resources_equal(&leased, &h->nodes[at].leased)) {
        return "what a node has leased out is not the sum of its leases";
    }
    return resources_fit(&h->nodes[at].capacity, &leased)
               ? NULL
               : "more of a node is leased out than it has";
}

const char *plan_head_check(const struct plan_head *h)
{
    uint32_t of_nodes = 0, of_demands = 0, all = 0;
    for (uint32_t i = 0; i < h->nodes_top; i++) {
        const char *wrong = h->nodes[i].used ? check_node(h, i, &of_nodes) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    for (uint32_t i = 0; i < h->demands_top; i++) {
        const struct head_demand *d = &h->demands[i];
        uint32_t granted = 0;
        for (uint32_t k = d->used ? d->leases : INDEX_NONE; k != INDEX_NONE;
             k = h->leases[k].link[OF_DEMAND].next) {
            if (h->leases[k].demand != i) {
                return "a lease is in another demand's list";
            }
            granted += h->leases[k].slots;
            of_demands++;
        }
        if (d->used && granted != d->granted) {
            return "a demand's slots are not the sum of its leases";
        }
        bool waits = d->used && d->nodes > 0 && demand_want(h, d) > d->granted;
        if (waits != index_set_has(&h->unmet, i)) {
            return "a demand waits and is not among those that do, or the other way "
                   "round";
        }
    }
    for (uint32_t i = 0; i < h->leases_top; i++) {
        all += h->leases[i].used;
    }
    if (all != of_nodes || all != of_demands) {
        return "a lease is in no list";
    }
    return head_group_check(h);
}
