/* Who gets leases, and who gives them back. */
#include "head_state.h"

/* The head looks at all demands at most this often: many reports, one look. */
#define PLACE_NS (1 * NS_PER_MS)

/* ---- leases
 * ------------------------------------------------------------------------------- */

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
                                             .units = d->units,
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
    h->nodes[l->node].leased -= (uint64_t)l->counted * d->units;
    s->used -= (uint64_t)l->counted * d->units;
    l->counted = counted;
    h->nodes[l->node].leased += (uint64_t)l->counted * d->units;
    s->used += (uint64_t)l->counted * d->units;
}

void head_set_slots(struct plan_head *h, struct head_lease *l, uint32_t slots)
{
    if (l->slots == slots) {
        return;
    }
    h->demands[l->demand].granted += slots - l->slots;
    l->slots = slots;
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
        if (!l->used || !l->dirty) {
            continue;
        }
        l->dirty = false;
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
    if (--j->demands == 0) {
        index_remove(&h->job_index,
                     index_mix(j->key.node) + index_mix(j->key.number + 1ull));
    }
    d->used = false;
}

void head_free_lease(struct plan_head *h, struct head_lease *l)
{
    struct head_demand *d = &h->demands[l->demand];
    head_set_counted(h, l, 0);
    d->granted -= l->slots;
    index_remove(&h->lease_index, l->lease);
    index_remove(&h->pair_index, pair_key(l->demand, l->node));
    l->used = false;
    l->dirty = false;
    if (--d->leases == 0 && d->want == 0) {
        head_free_demand(h, d);
    }
}

/* More slots for a demand on a node. False: no room for another lease. */
static bool give(struct plan_head *h, struct head_demand *d, uint32_t node,
                 uint32_t slots)
{
    uint32_t demand = (uint32_t)(d - h->demands);
    uint32_t at = index_find(&h->pair_index, pair_key(demand, node));
    if (at == INDEX_NONE) {
        for (at = 0; at < h->leases_top && (h->leases[at].used || h->leases[at].dirty);
             at++) {
        }
        if (at == h->config.leases_max) {
            return false;
        }
        h->leases_top = at < h->leases_top ? h->leases_top : at + 1;
        /* The head's incarnation in it, so that no two heads ever name a lease alike. */
        uint64_t id = h->config.head << 32 | (uint32_t)++h->serial;
        h->leases[at] = (struct head_lease){
            .used = true, .lease = id, .demand = demand, .node = node};
        index_put(&h->lease_index, id, at);
        index_put(&h->pair_index, pair_key(demand, node), at);
        d->leases++;
    }
    head_set_slots(h, &h->leases[at], h->leases[at].slots + slots);
    return true;
}

void head_shrink(struct plan_head *h, struct head_demand *d, uint32_t slots)
{
    uint32_t demand = (uint32_t)(d - h->demands);
    for (uint32_t i = h->leases_top; i-- > 0 && slots > 0;) {
        struct head_lease *l = &h->leases[i];
        if (l->used && l->demand == demand && l->slots > 0) {
            uint32_t cut = slots < l->slots ? slots : l->slots;
            head_set_slots(h, l, l->slots - cut);
            slots -= cut;
        }
    }
}

/* ---- where
 * -------------------------------------------------------------------------------- */

static uint32_t slots_on(const struct plan_head *h, const struct head_demand *d,
                         uint32_t at)
{
    const struct head_node *n = &h->nodes[at];
    /* A native needs no lease on its own node; who refused last is not asked first again.
     */
    bool native = at == d->owner && h->jobs[d->job].key.node == n->node;
    if (!n->used || n->node == 0 || n->draining || n->quiet || native ||
        at == d->refused_by) {
        return 0;
    }
    if (d->units == 0) {
        return PLAN_SLOTS_MAX;
    }
    uint64_t slots = node_spare(n) / d->units;
    return slots < PLAN_SLOTS_MAX ? (uint32_t)slots : PLAN_SLOTS_MAX;
}

static uint32_t draw(struct plan_head *h, uint32_t below)
{
    h->random = index_mix(h->random);
    return (uint32_t)((h->random >> 32) * below >> 32);
}

/* Less loaded of two by chance: near the best, without herding on it or looking at all.
 */
static uint32_t choose_by_load(struct plan_head *h, const struct head_demand *d)
{
    if (h->roomy_count == 0) {
        return INDEX_NONE;
    }
    uint32_t a = h->roomy[draw(h, h->roomy_count)], b = h->roomy[draw(h, h->roomy_count)];
    bool fits_a = slots_on(h, d, a) > 0, fits_b = slots_on(h, d, b) > 0;
    if (fits_a && fits_b) {
        const struct head_node *x = &h->nodes[a], *y = &h->nodes[b];
        /* The larger free fraction; units are below 2^26. */
        return node_spare(x) * (y->units + 1) >= node_spare(y) * (x->units + 1) ? a : b;
    }
    if (fits_a || fits_b) {
        return fits_a ? a : b;
    }
    uint32_t start = draw(h, h->roomy_count);
    for (uint32_t i = 0; i < h->roomy_count; i++) {
        uint32_t at = h->roomy[(start + i) % h->roomy_count];
        if (slots_on(h, d, at) > 0) {
            return at;
        }
    }
    return INDEX_NONE;
}

static uint32_t choose_node(struct plan_head *h, const struct head_demand *d)
{
    if (slots_on(h, d, d->owner) > 0) {
        return d->owner; /* local first: a guest's own tasks, where they already are */
    }
    uint32_t best = INDEX_NONE;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->hints_count; i++) {
        uint32_t at = index_find(&h->node_index, d->hints[i].node);
        if (at != INDEX_NONE && d->hints[i].bytes > bytes && slots_on(h, d, at) > 0) {
            best = at;
            bytes = d->hints[i].bytes;
        }
    }
    return best != INDEX_NONE ? best : choose_by_load(h, d);
}

/* ---- who
 * ---------------------------------------------------------------------------------- */

static bool unmet(const struct plan_head *h, const struct head_demand *d, uint64_t now)
{
    return d->used && !d->infeasible && demand_want(h, d) > d->granted &&
           now >= d->retry_at;
}

/* The demand of the job that is owed most and holds least; and the weight of all that
 * wait. */
static struct head_demand *next_demand(struct plan_head *h, uint64_t now,
                                       uint64_t *ret_weight)
{
    struct head_demand *best = NULL;
    *ret_weight = 0;
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (d->tried || !unmet(h, d, now)) {
            continue;
        }
        struct share *s = &h->jobs[d->job].share;
        *ret_weight += s->weight;
        if (!best) {
            best = d;
            continue;
        }
        const struct share *b = &h->jobs[best->job].share;
        if (share_below(s, b) || (!share_below(b, s) && s->deficit > b->deficit)) {
            best = d;
        }
    }
    return best;
}

static void give_all(struct plan_head *h, uint64_t now)
{
    struct head_demand *d;
    uint64_t weight;
    while ((d = next_demand(h, now, &weight))) {
        uint32_t at = choose_node(h, d);
        d->tried = true;
        if (at == INDEX_NONE) {
            d->refused_by =
                INDEX_NONE; /* nobody else has room: the next look may ask it again */
            continue;
        }
        /* A node's room is shared by weight among all that wait, so that the first does
         * not take what the next would have to claw back. */
        uint64_t part =
            ((uint64_t)slots_on(h, d, at) * h->jobs[d->job].share.weight + weight - 1) /
            weight;
        uint32_t missing = demand_want(h, d) - d->granted;
        d->tried = !give(h, d, at, part < missing ? (uint32_t)part : missing);
    }
}

/* What is wanted no more goes back after a while, or at once if somebody waits. */
static void take_unused(struct plan_head *h, bool waiting, uint64_t now)
{
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (!d->used || d->granted <= demand_want(h, d)) {
            d->excess_since = CLOCK_NEVER;
            continue;
        }
        if (d->excess_since == CLOCK_NEVER) {
            d->excess_since = now;
        }
        uint64_t due = d->excess_since + PLAN_UNUSED_NS;
        if (waiting || now >= due) {
            head_shrink(h, d, d->granted - demand_want(h, d));
        } else {
            h->place_at = h->place_at < due ? h->place_at : due;
        }
    }
}

/* Moves leases from the job that is furthest ahead to one that waits; one move a quantum,
 * which is longer than words take to go round. */
static void take_turns(struct plan_head *h, struct head_demand *d, uint64_t now)
{
    struct head_demand *from = NULL;
    uint64_t most = 0;
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *v = &h->demands[i];
        if (!v->used || v->job == d->job || v->granted == 0 || v->units == 0) {
            continue;
        }
        uint64_t units = share_to_move(&h->jobs[v->job].share, &h->jobs[d->job].share);
        if (units > most) {
            most = units;
            from = v;
        }
    }
    uint64_t lacks = (uint64_t)(demand_want(h, d) - d->granted) * d->units;
    most = most < lacks ? most : lacks;
    for (uint32_t i = 0; from && i < h->leases_top;
         i++) { /* what is coming back already */
        const struct head_lease *l = &h->leases[i];
        uint64_t units = l->used ? (uint64_t)h->demands[l->demand].units : 0;
        units *= l->counted - l->slots;
        most = most > units ? most - units : 0;
    }
    if (from && most > 0) {
        uint64_t slots = (most + from->units - 1) / from->units;
        head_shrink(h, from, slots < from->granted ? (uint32_t)slots : from->granted);
        h->moved_at = now;
    }
}

/* Says once of each demand that no node is large enough for it. */
static void mark_infeasible(struct plan_head *h, struct head_demand *d)
{
    bool before = d->infeasible;
    d->infeasible = d->want > 0 && d->units > h->units_max;
    if (d->infeasible && !before && h->nodes[d->owner].node) {
        const struct head_job *j = &h->jobs[d->job];
        h->config.act(h->config.arg,
                      &(struct plan_head_action){.kind = PLAN_DEMAND_INFEASIBLE,
                                                 .to = h->nodes[d->owner].node,
                                                 .job = j->key,
                                                 .owner = h->nodes[d->owner].node,
                                                 .cls = d->cls,
                                                 .units = d->units,
                                                 .weight = j->share.weight,
                                                 .slots = d->want});
    }
}

void head_place(struct plan_head *h, uint64_t now)
{
    if (h->placed_at && now < h->placed_at + PLACE_NS) {
        uint64_t at = h->placed_at + PLACE_NS;
        h->place_at = h->place_at < at ? h->place_at : at;
        head_flush(h);
        return;
    }
    h->placed_at = now;
    h->place_at = CLOCK_NEVER;
    h->roomy_count = 0;
    for (uint32_t i = 0; i < h->nodes_top; i++) {
        if (node_spare(&h->nodes[i]) > 0) {
            h->roomy[h->roomy_count++] = i;
        }
    }
    for (uint32_t i = 0; i < h->demands_top; i++) {
        if (h->demands[i].used) {
            h->demands[i].tried = false;
            mark_infeasible(h, &h->demands[i]);
        }
    }
    give_all(h, now);
    for (uint32_t i = 0; i < h->jobs_top; i++) {
        h->jobs[i].share.needy = false;
    }
    struct head_demand *waits = NULL;
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (d->used && !d->infeasible && demand_want(h, d) > d->granted) {
            h->jobs[d->job].share.needy = true;
            const struct share *s = &h->jobs[d->job].share;
            waits = !waits || s->deficit > h->jobs[waits->job].share.deficit ? d : waits;
        }
    }
    take_unused(h, waits != NULL, now);
    if (waits && now >= h->moved_at + PLAN_QUANTUM_NS) {
        take_turns(h, waits, now);
    }
    if (waits) { /* turns and retries come due by time alone */
        uint64_t at = now + PLAN_RETRY_NS;
        h->place_at = h->place_at < at ? h->place_at : at;
    }
    head_flush(h);
}
