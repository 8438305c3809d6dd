/* What nodes say: what they offer, want and hold. */
#include <string.h>

#include "head_state.h"

mob_status head_set_offer(struct plan_head *h, struct head_node *n,
                          const struct resources *offer)
{
    if (!resources_ok(offer) || !resources_fit(&n->capacity, offer)) {
        return MOB_ERR_INVALID;
    }
    n->offer = *offer;
    head_node_changed(h, (uint32_t)(n - h->nodes));
    return MOB_OK;
}

mob_status plan_head_report(struct plan_head *h, uint64_t node,
                            const struct resources *offer, uint64_t now)
{
    struct head_node *n = head_heard(h, node, now);
    if (!n) {
        return MOB_ERR_NOT_FOUND;
    }
    MOB_TRY(head_set_offer(h, n, offer));
    head_place(h, now);
    return MOB_OK;
}

/* The place of a job, taken if it has none. INDEX_NONE: two jobs with one hash; the later
 * one is not served, which takes 2^32 jobs or malice. */
static uint32_t job_place(struct plan_head *h, struct plan_job key)
{
    uint64_t mixed = job_key(key);
    uint32_t at = index_find(&h->job_index, mixed);
    if (at != INDEX_NONE) {
        bool same =
            h->jobs[at].key.node == key.node && h->jobs[at].key.number == key.number;
        return same ? at : INDEX_NONE;
    }
    for (at = h->jobs_free; h->jobs[at].demands > 0; at++) {
    } /* fewer jobs than demands: one is free */
    h->jobs_free = at + 1;
    h->jobs_top = at < h->jobs_top ? h->jobs_top : at + 1;
    h->jobs[at] = (struct head_job){.key = key};
    index_put(&h->job_index, mixed, at);
    return at;
}

static bool word_ok(const struct plan_demand *in)
{
    return in->job.node && demand_ok(&in->demand) && in->weight >= 1 &&
           in->weight <= PLAN_WEIGHT_MAX && in->want <= PLAN_SLOTS_MAX &&
           in->hints_count <= PLAN_HINTS_MAX;
}

static mob_status demand_new(struct plan_head *h, uint32_t owner,
                             const struct plan_demand *in, struct head_demand **ret)
{
    uint32_t at = h->demands_free;
    while (at < h->demands_top && h->demands[at].used) {
        at++;
    }
    if (at == h->config.demands_max) {
        return MOB_ERR_FULL;
    }
    uint32_t job = job_place(h, in->job);
    if (job == INDEX_NONE) {
        return MOB_ERR_FULL;
    }
    h->demands_free = at + 1;
    h->demands_top = at < h->demands_top ? h->demands_top : at + 1;
    h->jobs[job].demands++;
    struct head_demand *d = &h->demands[at];
    *d = (struct head_demand){
        .used = true,
        .owner = owner,
        .job = job,
        .cls = in->cls,
        .demand = in->demand,
        .cost = in->demand.group ? 0 : share_cost(&in->demand.need, &h->total),
        .leases = INDEX_NONE,
        .refused_by = INDEX_NONE,
        .void_at = CLOCK_NEVER,
        .none_since = CLOCK_NEVER};
    for (uint32_t i = 0; i < h->nodes_top && !d->demand.group; i++) {
        d->nodes += head_could(&h->nodes[i], d);
    }
    if (d->demand.group) {
        d->nodes = head_group_nodes(h, d);
    }
    h->nodes[owner].demands++;
    index_put(&h->demand_index, demand_key(job, in->cls, owner), at);
    *ret = d;
    return MOB_OK;
}

/* INDEX_NONE if there is none. */
static uint32_t demand_find(struct plan_head *h, uint32_t owner,
                            const struct plan_demand *in)
{
    uint32_t job = index_find(&h->job_index, job_key(in->job));
    if (job == INDEX_NONE || h->jobs[job].key.node != in->job.node ||
        h->jobs[job].key.number != in->job.number) {
        return INDEX_NONE;
    }
    return index_find(&h->demand_index, demand_key(job, in->cls, owner));
}

mob_status plan_head_demand(struct plan_head *h, uint64_t owner,
                            const struct plan_demand *in, uint64_t now)
{
    struct head_node *n = head_heard(h, owner, now);
    if (!n) {
        return MOB_ERR_NOT_FOUND;
    }
    if (!word_ok(in)) {
        return MOB_ERR_INVALID;
    }
    uint32_t at = demand_find(h, (uint32_t)(n - h->nodes), in);
    if (at == INDEX_NONE && in->want == 0) {
        return MOB_OK;
    }
    struct head_demand *d;
    if (at == INDEX_NONE) {
        MOB_TRY(demand_new(h, (uint32_t)(n - h->nodes), in, &d));
    } else {
        d = &h->demands[at];
    }
    if (!demand_equal(&d->demand, &in->demand)) {
        return MOB_ERR_EXISTS;
    }
    d->want = in->want;
    d->void_at = CLOCK_NEVER;
    memcpy(d->hints, in->hints, sizeof d->hints);
    d->hints_count = in->hints_count;
    h->jobs[d->job].share.weight = in->weight;
    head_want_changed(h, d);
    head_place(h, now);
    return MOB_OK;
}

mob_status plan_head_lease_held(struct plan_head *h, uint64_t node, uint64_t lease,
                                uint32_t epoch, uint32_t slots,
                                const struct resources *offer, uint64_t now)
{
    struct head_node *n = head_heard(h, node, now);
    uint32_t at = n ? index_find(&h->lease_index, lease) : INDEX_NONE;
    if (at == INDEX_NONE) {
        return MOB_ERR_NOT_FOUND;
    }
    struct head_lease *l = &h->leases[at];
    if (&h->nodes[l->node] != n) {
        return MOB_ERR_INVALID;
    }
    MOB_TRY(head_set_offer(h, n, offer));
    if (epoch != l->epoch || slots > l->slots) {
        head_place(h, now);
        return MOB_ERR_STATE;
    }
    struct head_demand *d = &h->demands[l->demand];
    if (slots < l->slots) { /* refused or cut: the offer said more than there was */
        d->refused_by = l->node;
        if (++d->refusals >= 2) {
            d->refusals = 0;
            d->retry_at = now + PLAN_RETRY_NS;
        }
        d->granted -= l->slots - slots;
        l->slots = slots;
        head_demand_changed(h, d);
    } else if (slots > 0) {
        d->refusals = 0;
        d->refused_by = INDEX_NONE;
    }
    if (l->told != slots) {
        l->told = slots;
        head_say_grant(h, l);
    }
    head_set_counted(h, l, slots);
    if (slots == 0) {
        head_free_lease(h, l);
    }
    head_place(h, now);
    return MOB_OK;
}
