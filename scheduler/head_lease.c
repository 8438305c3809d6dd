/* The book of leases: every change keeps the sums and lists that it is part of. */
#include "head_state.h"

static void list_add(struct plan_head *h, enum head_list list, uint32_t *first,
                     uint32_t at)
{
    h->leases[at].link[list] = (struct head_link){*first, INDEX_NONE};
    if (*first != INDEX_NONE) {
        h->leases[*first].link[list].prev = at;
    }
    *first = at;
}

static void list_remove(struct plan_head *h, enum head_list list, uint32_t *first,
                        const struct head_lease *l)
{
    struct head_link link = l->link[list];
    if (link.next != INDEX_NONE) {
        h->leases[link.next].link[list].prev = link.prev;
    }
    if (link.prev != INDEX_NONE) {
        h->leases[link.prev].link[list].next = link.next;
    } else {
        *first = link.next;
    }
}

static void put_free(struct plan_head *h, struct head_lease *l)
{
    l->link[0].next = h->free_lease;
    h->free_lease = (uint32_t)(l - h->leases);
}

static void say(struct plan_head *h, const struct head_lease *l,
                enum plan_head_action_kind kind, uint64_t to, uint32_t slots)
{
    const struct head_demand *d = &h->demands[l->demand];
    const struct head_job *j = &h->jobs[d->job];
    h->config.act(h->config.arg,
                  &(struct plan_head_action){.kind = kind,
                                             .to = to,
                                             .node = h->nodes[l->node].node,
                                             .lease = l->lease,
                                             .epoch = l->epoch,
                                             .job = j->key,
                                             .owner = h->nodes[d->owner].node,
                                             .cls = d->cls,
                                             .demand = &d->demand,
                                             .weight = j->share.weight,
                                             .slots = slots});
}

void head_say_lease(struct plan_head *h, const struct head_lease *l)
{
    say(h, l, PLAN_LEASE, h->nodes[l->node].node, l->slots);
}

void head_say_grant(struct plan_head *h, const struct head_lease *l)
{
    say(h, l, PLAN_GRANT, h->nodes[h->demands[l->demand].owner].node, l->told);
}

void head_set_counted(struct plan_head *h, struct head_lease *l, uint32_t counted)
{
    struct head_demand *d = &h->demands[l->demand];
    struct share *s = &h->jobs[d->job].share;
    uint32_t times = d->demand.group ? 0 : 1; /* that is booked for the group already */
    resources_sub(&h->nodes[l->node].leased, &d->demand.need, times * l->counted);
    s->used -= l->counted * d->cost;
    h->crowded = h->crowded || d->demand.group;
    l->counted = counted;
    resources_add(&h->nodes[l->node].leased, &d->demand.need, times * l->counted);
    s->used += l->counted * d->cost;
    head_node_changed(h, l->node);
}

void head_set_slots(struct plan_head *h, struct head_lease *l, uint32_t slots)
{
    if (l->slots == slots) {
        return;
    }
    h->demands[l->demand].granted += slots - l->slots;
    l->slots = slots;
    head_demand_changed(h, &h->demands[l->demand]);
    if (l->counted < slots) {
        head_set_counted(h, l, slots);
    }
    if (!l->dirty) {
        l->dirty = true;
        h->dirty[h->dirty_count++] = (uint32_t)(l - h->leases);
    }
}

void head_flush(struct plan_head *h)
{
    for (uint32_t i = 0; i < h->dirty_count; i++) {
        struct head_lease *l = &h->leases[h->dirty[i]];
        l->dirty = false;
        if (!l->used) { /* kept until now, so that no other lease took its place */
            put_free(h, l);
            continue;
        }
        l->epoch++;
        if (l->slots < l->told) { /* the owner stops before the node has to */
            l->told = l->slots;
            head_say_grant(h, l);
        }
        head_say_lease(h, l);
    }
    h->dirty_count = 0;
}

void head_free_demand(struct plan_head *h, struct head_demand *d)
{
    struct head_job *j = &h->jobs[d->job];
    index_remove(&h->demand_index, demand_key(d->job, d->cls, d->owner));
    d->used = false;
    head_demand_changed(h, d);
    uint32_t at = (uint32_t)(d - h->demands);
    h->demands_free = at < h->demands_free ? at : h->demands_free;
    h->nodes[d->owner].demands--;
    if (--j->demands == 0) {
        index_remove(&h->job_index, job_key(j->key));
        uint32_t job = (uint32_t)(j - h->jobs);
        h->jobs_free = job < h->jobs_free ? job : h->jobs_free;
    }
}

void head_free_lease(struct plan_head *h, struct head_lease *l)
{
    struct head_demand *d = &h->demands[l->demand];
    head_set_counted(h, l, 0);
    d->granted -= l->slots;
    head_demand_changed(h, d);
    index_remove(&h->lease_index, l->lease);
    index_remove(&h->pair_index, pair_key(l->demand, l->node));
    list_remove(h, OF_DEMAND, &d->leases, l);
    list_remove(h, OF_NODE, &h->nodes[l->node].leases, l);
    l->used = false;
    if (!l->dirty) {
        put_free(h, l);
    }
    if (d->leases == INDEX_NONE && d->want == 0) {
        head_free_demand(h, d);
    }
}

/* INDEX_NONE: as many leases as there may be. */
static uint32_t take_free(struct plan_head *h)
{
    uint32_t at = h->free_lease;
    if (at != INDEX_NONE) {
        h->free_lease = h->leases[at].link[0].next;
    } else if (h->leases_top < h->config.leases_max) {
        at = h->leases_top++;
    }
    return at;
}

bool head_give(struct plan_head *h, struct head_demand *d, uint32_t node, uint32_t slots)
{
    uint32_t demand = (uint32_t)(d - h->demands);
    uint32_t at = index_find(&h->pair_index, pair_key(demand, node));
    if (at == INDEX_NONE) {
        at = take_free(h);
        if (at == INDEX_NONE) {
            return false;
        }
        /* The head's incarnation in it, so that no two heads ever name a lease alike. */
        uint64_t id = h->config.head << 32 | (uint32_t)++h->serial;
        h->leases[at] = (struct head_lease){
            .used = true, .lease = id, .demand = demand, .node = node};
        index_put(&h->lease_index, id, at);
        index_put(&h->pair_index, pair_key(demand, node), at);
        list_add(h, OF_DEMAND, &d->leases, at);
        list_add(h, OF_NODE, &h->nodes[node].leases, at);
    }
    head_set_slots(h, &h->leases[at], h->leases[at].slots + slots);
    return true;
}

void head_shrink(struct plan_head *h, struct head_demand *d, uint32_t slots)
{
    FOR_EACH_LEASE(h, d->leases, OF_DEMAND, l)
    {
        uint32_t cut = slots < l->slots ? slots : l->slots;
        head_set_slots(h, l, l->slots - cut);
        slots -= cut;
        if (slots == 0) {
            return;
        }
    }
}
