/* Who gets leases, who gives them back, and where. */
#include <string.h>

#include "head_state.h"

/* The head looks at all that wait at most this often: many reports, one look. */
#define PLACE_NS (2 * NS_PER_MS)
/* Nodes that are compared for one slot of a demand that is to spread. */
#define SPREAD_LOOKS 32

/* ---- where
 * -------------------------------------------------------------------------------- */

uint32_t head_slots_on(const struct plan_head *h, const struct head_demand *d,
                       uint32_t at)
{
    const struct head_node *n = &h->nodes[at];
    /* A native needs no lease on its own node, unless it has a strategy; who refused last is not asked first
     * again. */
    bool native = at == d->owner && h->jobs[d->job].key.node == n->node &&
                  d->demand.strategy == DEMAND_DEFAULT && !d->demand.group;
    if (!node_open(n) || native || at == d->refused_by ||
        !demand_allows(&d->demand, n->node, n->labels)) {
        return 0;
    }
    if (d->demand.group) {
        return head_group_slots(h, d, at);
    }
    struct resources spare = node_spare(n);
    return resources_times(&spare, &d->demand.need, PLAN_SLOTS_MAX);
}

static uint32_t draw(struct plan_head *h, uint32_t below)
{
    h->random = index_mix(h->random);
    return (uint32_t)((h->random >> 32) * below >> 32);
}

static bool has_room(const struct plan_head *h, const struct head_node *n)
{
    struct resources spare = node_spare(n);
    return node_open(n) && resources_fit(&spare, &h->least);
}

/* A node with room, by chance; those that are full by now leave the list. */
static uint32_t draw_roomy(struct plan_head *h)
{
    while (h->roomy_count > 0) {
        uint32_t i = draw(h, h->roomy_count);
        if (has_room(h, &h->nodes[h->roomy[i]])) {
            return h->roomy[i];
        }
        h->roomy[i] = h->roomy[--h->roomy_count];
    }
    return INDEX_NONE;
}

/* The part of a node that is taken, in LOAD_FULL: of its scarcest kind among CPUs, memory and GPUs. */
enum { LOAD_FULL = 1 << 16 };
static uint64_t load_of(const struct head_node *n)
{
    struct resources spare = node_spare(n);
    uint64_t most = 0;
    for (uint32_t k = 0; k < RESOURCE_BASIC; k++) {
        uint64_t all = n->capacity.amount[k], left = spare.amount[k];
        uint64_t taken = all ? (all - left) * LOAD_FULL / all : 0;
        most = taken > most ? taken : most;
    }
    return most;
}

/* Less loaded of two by chance: near the best, without herding on it or looking at all.
 */
static uint32_t choose_by_load(struct plan_head *h, const struct head_demand *d)
{
    uint32_t a = draw_roomy(h), b = draw_roomy(h);
    if (a == INDEX_NONE || b == INDEX_NONE) {
        return INDEX_NONE;
    }
    bool fits_a = head_slots_on(h, d, a) > 0, fits_b = head_slots_on(h, d, b) > 0;
    if (fits_a && fits_b) {
        return load_of(&h->nodes[a]) <= load_of(&h->nodes[b]) ? a : b;
    }
    if (fits_a || fits_b) {
        return fits_a ? a : b;
    }
    uint32_t start = draw(h, h->roomy_count);
    for (uint32_t i = 0; i < h->roomy_count; i++) {
        uint32_t at = h->roomy[(start + i) % h->roomy_count];
        if (head_slots_on(h, d, at) > 0) {
            return at;
        }
    }
    return INDEX_NONE;
}

/* The slots of a demand on a node. */
static uint32_t slots_there(const struct plan_head *h, const struct head_demand *d,
                            uint32_t at)
{
    uint32_t l = index_find(&h->pair_index, pair_key((uint32_t)(d - h->demands), at));
    return l == INDEX_NONE ? 0 : h->leases[l].slots;
}

/* The node with the fewest of the demand's slots, of equal ones the least loaded: of all with room if they
 * are few, else of some. */
static uint32_t choose_to_spread(struct plan_head *h, const struct head_demand *d)
{
    uint32_t best = INDEX_NONE, fewest = 0, looks = h->roomy_count;
    uint32_t start = looks > 0 ? draw(h, looks) : 0;
    looks = looks < SPREAD_LOOKS ? looks : SPREAD_LOOKS;
    for (uint32_t i = 0; i < looks; i++) {
        uint32_t at = h->roomy[(start + i) % h->roomy_count];
        if (head_slots_on(h, d, at) == 0) {
            continue;
        }
        uint32_t slots = slots_there(h, d, at);
        if (best == INDEX_NONE || slots < fewest ||
            (slots == fewest && load_of(&h->nodes[at]) < load_of(&h->nodes[best]))) {
            best = at;
            fewest = slots;
        }
    }
    return best != INDEX_NONE ? best : choose_by_load(h, d);
}

/* As the demand's strategy says. @ret_most: slots that it may have there at once. */
static uint32_t choose_by_strategy(struct plan_head *h, const struct head_demand *d,
                                   uint32_t *ret_most)
{
    if (d->demand.strategy == DEMAND_SPREAD) {
        *ret_most = 1;
        return choose_to_spread(h, d);
    }
    *ret_most = PLAN_SLOTS_MAX;
    uint32_t at = index_find(&h->node_index, d->demand.node);
    if (at != INDEX_NONE && head_slots_on(h, d, at) > 0) {
        return at;
    }
    return d->demand.strategy == DEMAND_NODE ? INDEX_NONE : choose_by_load(h, d);
}

static uint32_t choose_node(struct plan_head *h, const struct head_demand *d,
                            uint32_t *ret_most)
{
    if (d->demand.group) {
        *ret_most = PLAN_SLOTS_MAX;
        return head_group_choose(h, d, false);
    }
    if (d->demand.strategy != DEMAND_DEFAULT) {
        return choose_by_strategy(h, d, ret_most);
    }
    *ret_most = PLAN_SLOTS_MAX;
    if (head_slots_on(h, d, d->owner) > 0) {
        return d->owner; /* local first: a guest's own tasks, where they already are */
    }
    uint32_t best = INDEX_NONE;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->hints_count; i++) {
        uint32_t at = index_find(&h->node_index, d->hints[i].node);
        if (at != INDEX_NONE && d->hints[i].bytes > bytes &&
            head_slots_on(h, d, at) > 0) {
            best = at;
            bytes = d->hints[i].bytes;
        }
    }
    return best != INDEX_NONE ? best : choose_by_load(h, d);
}

/* ---- who
 * ---------------------------------------------------------------------------------- */

/* Among the demands of a job: its priority, or above all if it has had nothing for too long. */
static int rank(const struct plan_head *h, const struct head_demand *d)
{
    bool late =
        d->none_since != CLOCK_NEVER && h->placed_at >= d->none_since + PLAN_RESERVE_NS;
    return late ? INT8_MAX + 1 : d->demand.priority;
}

/* True if @a is less ahead than @b by the end of a turn, with what it has and is owed; of one job, if it is of a
 * higher rank. What counts is not only who has less now: whoever gave a slot up would have it back at once. */
static bool deserves(const struct plan_head *h, uint32_t a, uint32_t b)
{
    const struct head_demand *d = &h->demands[a], *e = &h->demands[b];
    if (d->job == e->job) {
        return rank(h, d) > rank(h, e);
    }
    int64_t x = share_ahead(&h->jobs[d->job].share, PLAN_TURN_NS);
    int64_t y = share_ahead(&h->jobs[e->job].share, PLAN_TURN_NS);
    /* At last by place, so that the demands of a job stand together. */
    return x != y ? x < y : d->job < e->job;
}

static void sift(struct plan_head *h, uint32_t i)
{
    uint32_t at = h->heap[i];
    for (uint32_t k; (k = 2 * i + 1) < h->heap_count; i = k) {
        k += k + 1 < h->heap_count && deserves(h, h->heap[k + 1], h->heap[k]);
        if (!deserves(h, h->heap[k], at)) {
            break;
        }
        h->heap[i] = h->heap[k];
    }
    h->heap[i] = at;
}

static bool unmet(const struct plan_head *h, const struct head_demand *d)
{
    return d->used && d->nodes > 0 && demand_want(h, d) > d->granted;
}

void head_demand_changed(struct plan_head *h, struct head_demand *d)
{
    bool waits = unmet(h, d);
    if (index_set_put(&h->unmet, (uint32_t)(d - h->demands), waits) && !d->demand.group) {
        struct head_job *j = &h->jobs[d->job];
        j->unmet = waits ? j->unmet + 1 : j->unmet - 1;
        j->share.needy = j->unmet > 0;
    }
    if (!waits || d->granted > 0) {
        d->none_since = CLOCK_NEVER;
    } else if (d->none_since == CLOCK_NEVER) {
        d->none_since = h->last;
    }
}

void head_node_changed(struct plan_head *h, uint32_t at)
{
    const struct head_node *n = &h->nodes[at];
    bool some = false;
    if (node_open(n)) {
        struct resources spare = node_spare(n);
        some = !resources_none(&spare);
    }
    (void)index_set_put(&h->spare, at, some);
}

/* Slots that a demand has beyond what it wants, as far as its owner's word counts. */
static void take_unused(struct plan_head *h, struct head_demand *d)
{
    if (d->granted > demand_want(h, d)) {
        head_shrink(h, d, d->granted - demand_want(h, d));
    }
    head_demand_changed(h, d);
}

void head_want_changed(struct plan_head *h, struct head_demand *d)
{
    take_unused(h, d);
    if (d->want == 0 && d->leases == INDEX_NONE) {
        head_free_demand(h, d);
    }
}

void head_owner_changed(struct plan_head *h, uint32_t at)
{
    for (uint32_t i = 0; i < h->demands_top && h->nodes[at].demands > 0; i++) {
        if (h->demands[i].used && h->demands[i].owner == at) {
            take_unused(h, &h->demands[i]);
        }
    }
}

/* What owners that came back have not said again is over. */
static void void_unsaid(struct plan_head *h, uint64_t now)
{
    h->void_at = CLOCK_NEVER;
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *d = &h->demands[i];
        if (d->used && now >= d->void_at) {
            d->want = 0;
            d->void_at = CLOCK_NEVER;
            head_want_changed(h, d);
        } else if (d->used && d->void_at < h->void_at) {
            h->void_at = d->void_at;
        }
    }
}

/* Who may be given something now, the most deserving first. Returns the weight of all of them. */
static uint64_t find_waiting(struct plan_head *h, uint64_t now)
{
    uint64_t weight = 0;
    h->heap_count = 0;
    for (uint32_t i = 0; i < h->unmet.count; i++) {
        const struct head_demand *d = &h->demands[h->unmet.list[i]];
        if (now >= d->retry_at) {
            h->heap[h->heap_count++] = h->unmet.list[i];
            weight += h->jobs[d->job].share.weight;
            if (h->heap_count == 1) {
                h->least = d->demand.need;
            } else {
                resources_limit(&h->least, &d->demand.need);
            }
        }
    }
    for (uint32_t i = h->heap_count / 2; i-- > 0;) {
        sift(h, i);
    }
    return weight;
}

/* Room is given to who has least, a node or a part of one at a time. */
static void give_all(struct plan_head *h, uint64_t now)
{
    if (h->spare.count == 0 && h->groups_count == 0) {
        return;
    }
    uint64_t weight = find_waiting(h, now);
    h->roomy_count = h->spare.count;
    memcpy(h->roomy, h->spare.list, h->spare.count * sizeof *h->roomy);
    while (h->heap_count > 0 && (h->roomy_count > 0 || h->groups_count > 0)) {
        struct head_demand *d = &h->demands[h->heap[0]];
        uint32_t most, at = choose_node(h, d, &most);
        bool given = false;
        if (at == INDEX_NONE) { /* the next look may ask the one again that refused */
            d->refused_by = INDEX_NONE;
        } else {
            /* Where nodes are fewer than those who wait, a node's room is shared by weight,
             * so that the first does not take what the next would have to claw back. */
            uint64_t part = head_slots_on(h, d, at);
            if (h->roomy_count <= h->heap_count && !d->demand.group) {
                part = (part * h->jobs[d->job].share.weight + weight - 1) / weight;
            }
            uint32_t missing = demand_want(h, d) - d->granted;
            missing = missing < most ? missing : most;
            given = head_give(h, d, at, part < missing ? (uint32_t)part : missing);
        }
        /* Shares only grow here, so the heap's other keys are right when they come up. */
        if (!given || !unmet(h, d)) {
            h->heap[0] = h->heap[--h->heap_count];
        }
        if (h->heap_count > 0) {
            sift(h, 0);
        }
    }
}

/* The cost of what was called back and still counts. */
static uint64_t coming(const struct plan_head *h)
{
    uint64_t leased = 0, granted = 0;
    for (uint32_t i = 0; i < h->jobs_top; i++) {
        leased += h->jobs[i].demands > 0 ? h->jobs[i].share.used : 0;
    }
    for (uint32_t i = 0; i < h->demands_top; i++) {
        const struct head_demand *d = &h->demands[i];
        granted += d->used ? d->granted * d->cost : 0;
    }
    return leased - granted;
}

/* A slot of @v would be of use for @d: they need something of the same kind. In a group leases are not moved, as they may
 * overlap. */
static bool same_kinds(const struct head_demand *v, const struct head_demand *d)
{
    return !v->demand.group && !d->demand.group &&
           resources_cover(&d->demand.need, &v->demand.need) > 0;
}

/* Takes from @from what @d lacks, up to a cost of @most. False: there is nothing to take. */
static bool move(struct plan_head *h, struct head_demand *from,
                 const struct head_demand *d, uint64_t most)
{
    uint64_t lacks = (demand_want(h, d) - d->granted) * d->cost, soon = coming(h);
    most = most < lacks ? most : lacks;
    if (most <= soon) {
        return false;
    }
    uint64_t slots = (most - soon + from->cost - 1) / from->cost;
    head_shrink(h, from, slots < from->granted ? (uint32_t)slots : from->granted);
    return true;
}

/* Moves leases from the job that is furthest ahead to one that waits. */
static bool take_turns(struct plan_head *h, const struct head_demand *d)
{
    struct head_demand *from = NULL;
    uint64_t most = 0;
    for (uint32_t i = 0; i < h->demands_top; i++) {
        struct head_demand *v = &h->demands[i];
        if (!v->used || v->job == d->job || v->granted == 0 || !same_kinds(v, d)) {
            continue;
        }
        uint64_t cost =
            share_to_move(&h->jobs[v->job].share, &h->jobs[d->job].share, PLAN_TURN_NS);
        if (cost > most) {
            most = cost;
            from = v;
        }
    }
    return from && move(h, from, d, most);
}

/* Within a job a demand that waits takes leases of one of a lower rank; the first that is found, as it gets all
 * that it lacks at once. */
static bool take_from_lower(struct plan_head *h)
{
    for (uint32_t i = 0; i < h->jobs_top; i++) {
        h->jobs[i].lowest = INDEX_NONE;
    }
    for (uint32_t i = 0; i < h->demands_top; i++) {
        const struct head_demand *d = &h->demands[i];
        if (!d->used || d->granted == 0 || d->demand.group) {
            continue;
        }
        uint32_t *low = &h->jobs[d->job].lowest;
        if (*low == INDEX_NONE || rank(h, d) < rank(h, &h->demands[*low])) {
            *low = i;
        }
    }
    for (uint32_t i = 0; i < h->unmet.count; i++) {
        const struct head_demand *d = &h->demands[h->unmet.list[i]];
        uint32_t low = h->jobs[d->job].lowest;
        if (low != INDEX_NONE && rank(h, d) > rank(h, &h->demands[low]) &&
            same_kinds(&h->demands[low], d)) {
            return move(h, &h->demands[low], d, UINT64_MAX);
        }
    }
    return false;
}

/* The demand in vain of the job that is owed most. NULL: there is none. */
static const struct head_demand *most_owed(const struct plan_head *h)
{
    const struct head_demand *most = NULL;
    for (uint32_t i = 0; i < h->unmet.count; i++) {
        const struct head_demand *d = &h->demands[h->unmet.list[i]];
        int64_t owed = h->jobs[d->job].share.deficit;
        if (d->demand.group) {
            continue; /* no turn of others is of use for it */
        }
        most = !most || owed > h->jobs[most->job].share.deficit ? d : most;
    }
    return most;
}

void head_place(struct plan_head *h, uint64_t now)
{
    if (now >= h->void_at) {
        void_unsaid(h, now);
    }
    head_group_place(h, now);
    h->place_at = h->void_at < h->groups_at ? h->void_at : h->groups_at;
    if (h->unmet.count == 0 && !h->crowded) {
        head_flush(h);
        return;
    }
    uint64_t next = h->placed_at + PLACE_NS;
    if (!h->placed_at || now >= next) {
        h->placed_at = now;
        next = now + PLAN_RETRY_NS; /* turns and retries come due by time alone */
        if (h->crowded) {
            head_group_part(h);
        }
        give_all(h, now);
        const struct head_demand *waits = now >= h->turn_at ? most_owed(h) : NULL;
        if (waits) {
            /* One move a quantum, which is longer than words take to go round. */
            bool moved = take_from_lower(h) || take_turns(h, waits);
            h->turn_at = now + (moved ? PLAN_QUANTUM_NS : PLAN_RETRY_NS);
        }
    }
    h->place_at = h->place_at < next ? h->place_at : next;
    head_flush(h);
}
