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
                                                   .units = n->units,
                                                   .offer = n->offer,
                                                   .leased_units = n->leased,
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
                                                  .units = d->units,
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
            ret[count] = (struct plan_demand_view){.job = h->jobs[d->job].key,
                                                   .owner = h->nodes[d->owner].node,
                                                   .cls = d->cls,
                                                   .units = d->units,
                                                   .want = d->want,
                                                   .granted = d->granted,
                                                   .infeasible = d->infeasible};
        }
        count++;
    }
    return count;
}

/* Adds the leases up as the incremental sums should have. */
static const char *check_leases(const struct plan_head *h, uint64_t node,
                                uint64_t *ret_leased)
{
    *ret_leased = 0;
    for (uint32_t i = 0; i < h->leases_top; i++) {
        const struct head_lease *l = &h->leases[i];
        if (!l->used) {
            continue;
        }
        const struct head_demand *d = &h->demands[l->demand];
        if (!d->used || !h->nodes[l->node].used || !h->nodes[d->owner].used) {
            return "a lease has no demand, node or owner";
        }
        if (l->dirty || l->told > l->slots || l->slots > l->counted) {
            return "an owner was told of more than its node agreed to, or a word is "
                   "unsent";
        }
        if (index_find(&h->pair_index, pair_key(l->demand, l->node)) != i ||
            index_find(&h->lease_index, l->lease) != i) {
            return "an index does not find a lease: two for one demand and node?";
        }
        *ret_leased += l->node == node ? (uint64_t)l->counted * d->units : 0;
    }
    return NULL;
}

const char *plan_head_check(const struct plan_head *h)
{
    for (uint32_t i = 0; i < h->nodes_top; i++) {
        uint64_t leased;
        const char *wrong = h->nodes[i].used ? check_leases(h, i, &leased) : NULL;
        if (wrong) {
            return wrong;
        }
        if (h->nodes[i].used && leased != h->nodes[i].leased) {
            return "a node's leased units are not the sum of its leases";
        }
        if (h->nodes[i].used && leased > h->nodes[i].units) {
            return "more units of a node are leased out than it has";
        }
    }
    for (uint32_t i = 0; i < h->demands_top; i++) {
        const struct head_demand *d = &h->demands[i];
        uint32_t granted = 0, leases = 0;
        for (uint32_t k = 0; d->used && k < h->leases_top; k++) {
            const struct head_lease *l = &h->leases[k];
            if (l->used && l->demand == i) {
                granted += l->slots;
                leases++;
            }
        }
        if (d->used && (granted != d->granted || leases != d->leases)) {
            return "a demand's slots are not the sum of its leases";
        }
    }
    return NULL;
}
