#include "node_state.h"

/* ---- leases: this node works for others
 * --------------------------------------------------- */

void node_set_lease(struct plan_node *p, struct node_lease *l, uint32_t slots)
{
    struct node_class *c = CLASS_OF(p, l);
    c->quota = c->quota - l->slots + slots;
    l->slots = slots;
}

static void owe(struct plan_node *p, struct node_lease *l, uint32_t slots)
{
    struct node_class *c = CLASS_OF(p, l);
    c->owed = c->owed - l->owed + slots;
    l->owed = slots;
}

void node_say_held(struct plan_node *p, struct node_lease *l)
{
    if (!p->head_up) {
        return; /* the head repeats the lease when it is back, and is answered then */
    }
    owe(p, l, 0); /* it counts what it is told now */
    p->offer_known = true;
    p->offer_sent = node_room(p);
    const struct node_job *j = &p->jobs[l->job];
    p->config.act(p->config.arg, &(struct plan_node_action){.kind = PLAN_LEASE_HELD,
                                                            .job = j->key,
                                                            .cls = l->cls,
                                                            .count = l->slots,
                                                            .lease = l->lease,
                                                            .epoch = l->epoch,
                                                            .offer = &p->offer_sent});
}

void node_drop_lease(struct plan_node *p, uint32_t at)
{
    struct node_job *j = &p->jobs[p->leases[at].job];
    uint32_t job = p->leases[at].job;
    node_set_lease(p, &p->leases[at], 0);
    owe(p, &p->leases[at], 0);
    index_remove(&p->lease_index, p->leases[at].lease);
    p->leases[at] = p->leases[--p->leases_count];
    if (at < p->leases_count) {
        index_put(&p->lease_index, p->leases[at].lease, at);
    }
    /* A job that the daemon never heard of otherwise is not left behind. */
    bool needed = !j->implied || j->workers > 0;
    for (struct node_class *c = j->cls; c < j->cls + j->classes; c++) {
        needed = needed || c->foreign || c->queued || c->reported || c->away;
    }
    for (uint32_t i = 0; i < p->leases_count; i++) {
        needed = needed || p->leases[i].job == job;
    }
    for (uint32_t i = 0; i < p->grants_count; i++) {
        needed = needed || p->grants[i].job == job;
    }
    j->used = needed;
}

/* Slots that natives and other leases leave for this class. */
static uint32_t slots_that_fit(const struct plan_node *p, const struct node_class *c)
{
    struct resources left = plan_node_offer(p), promised = node_promised(p);
    resources_sub(&left, &promised, 1);
    if (class_grouped(c)) {
        left = node_hold_unleased(p, c);
    }
    return c->fits ? resources_times(&left, &c->demand.need, PLAN_SLOTS_MAX) : 0;
}

/* The job and class of a new lease, added if they are new too. */
static mob_status lease_place(struct plan_node *p, const struct plan_lease *in,
                              struct node_job **ret_j)
{
    struct node_job *j = node_find(p, in->job);
    const struct node_class *c = j ? &j->cls[plan_class_place(in->cls)] : NULL;
    bool known = c && c->known;
    if (known && (c->cls != in->cls || !demand_equal(&c->demand, &in->demand))) {
        return MOB_ERR_EXISTS;
    }
    if (j && !known && job_is_native(p, j)) {
        return MOB_ERR_NOT_FOUND; /* its classes are the daemon's to add, and this one is over */
    }
    if (p->leases_count == p->config.leases_max) {
        return MOB_ERR_FULL;
    }
    if (!j) {
        MOB_TRY(node_add_job(p, in->job, in->weight, &j));
        j->implied = true;
    } else if (in->weight && in->weight <= PLAN_WEIGHT_MAX) {
        j->share.weight = in->weight; /* a guest may be added before its first lease */
    }
    if (!known) {
        node_add_class(p, j, in->cls, &in->demand);
    }
    *ret_j = j;
    return MOB_OK;
}

static mob_status lease_new(struct plan_node *p, const struct plan_lease *in,
                            struct node_lease **ret)
{
    struct node_job *j;
    MOB_TRY(lease_place(p, in, &j));
    uint32_t at = p->leases_count++;
    index_put(&p->lease_index, in->lease, at);
    p->leases[at] = (struct node_lease){.lease = in->lease,
                                        .owner = in->owner,
                                        .job = (uint32_t)(j - p->jobs),
                                        .cls = in->cls};
    *ret = &p->leases[at];
    return MOB_OK;
}

mob_status plan_node_lease(struct plan_node *p, const struct plan_lease *in, uint64_t now)
{
    if (!demand_ok(&in->demand) || !in->lease || !in->epoch || !in->owner ||
        in->slots > PLAN_SLOTS_MAX) {
        return MOB_ERR_INVALID;
    }
    uint32_t at = index_find(&p->lease_index, in->lease);
    struct node_lease *l = at == INDEX_NONE ? NULL : &p->leases[at];
    if (l && in->epoch < l->epoch) {
        return MOB_ERR_STATE;
    }
    if (l && (in->cls != l->cls || in->owner != l->owner ||
              node_find(p, in->job) != &p->jobs[l->job])) {
        return MOB_ERR_INVALID;
    }
    node_begin(p, now);
    if (!l) {
        MOB_TRY(lease_new(p, in, &l));
    }
    bool newer = in->epoch > l->epoch;
    l->epoch = in->epoch;
    l->sync = p->sync;
    if (in->slots > l->slots && newer) {
        uint32_t more = slots_that_fit(p, CLASS_OF(p, l));
        uint32_t asked = in->slots - l->slots;
        node_set_lease(p, l, l->slots + (more < asked ? more : asked));
    } else if (in->slots < l->slots) {
        owe(p, l, l->owed + l->slots - in->slots);
        node_set_lease(p, l, in->slots);
    }
    l->settling =
        true; /* node_decide() answers at once if nothing has to come back first */
    node_decide(p, now);
    return MOB_OK;
}

mob_status plan_node_received(struct plan_node *p, struct plan_job job, uint32_t cls,
                              uint64_t lease, uint32_t epoch, uint32_t count,
                              uint64_t now)
{
    uint32_t at = index_find(&p->lease_index, lease);
    if (at == INDEX_NONE) {
        return MOB_ERR_NOT_FOUND;
    }
    struct node_lease *l = &p->leases[at];
    /* The owner hears of more slots after us and of fewer at the same time: what it sent
     * under an older epoch is welcome, unless the lease is being ended. */
    if (epoch == 0 || epoch > l->epoch || l->slots == 0) {
        return MOB_ERR_STATE;
    }
    const struct plan_job *key = &p->jobs[l->job].key;
    if (key->node != job.node || key->number != job.number || l->cls != cls) {
        return MOB_ERR_INVALID; /* another's lease, whose books it would spoil */
    }
    struct node_class *c = CLASS_OF(p, l);
    if (count > PLAN_TASKS_MAX || c->foreign + count > PLAN_TASKS_MAX) {
        return MOB_ERR_INVALID;
    }
    node_begin(p, now);
    c->foreign += count;
    c->queued = c->queued + count < PLAN_TASKS_MAX ? c->queued + count : PLAN_TASKS_MAX;
    node_decide(p, now);
    return MOB_OK;
}

mob_status plan_node_finished(struct plan_node *p, struct plan_job job, uint32_t cls,
                              uint32_t count, uint64_t now)
{
    struct node_job *j;
    struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c) {
        return MOB_ERR_NOT_FOUND;
    }
    if (count > c->foreign) {
        return MOB_ERR_STATE;
    }
    node_begin(p, now);
    c->foreign -= count;
    node_decide(p, now);
    return MOB_OK;
}

/* ---- grants: others work for us
 * ----------------------------------------------------------- */

void node_count_grant(struct plan_node *p, const struct node_grant *g, int sign)
{
    struct node_class *c = CLASS_OF(p, g);
    uint32_t times = (uint32_t)sign; /* modulo 2^32, as all that is added here */
    c->granted += times * g->slots;
    c->away += times * g->away;
    c->filled += times * (g->away < g->slots ? g->away : g->slots);
    c->asked += times * g->asked;
}

void node_drop_grant(struct plan_node *p, uint32_t at)
{
    struct node_grant *g = &p->grants[at];
    node_count_grant(p, g, -1);
    index_remove(&p->grant_index, g->lease);
    *g = p->grants[--p->grants_count];
    if (at < p->grants_count) {
        index_put(&p->grant_index, g->lease, at);
    }
}

mob_status plan_node_grant(struct plan_node *p, uint64_t lease, uint32_t epoch,
                           struct plan_job job, uint32_t cls, uint64_t node,
                           uint32_t slots, uint64_t now)
{
    if (!lease || !epoch || !node || slots > PLAN_SLOTS_MAX) {
        return MOB_ERR_INVALID;
    }
    uint32_t at = index_find(&p->grant_index, lease);
    struct node_job *j;
    struct node_class *c = node_find_class(p, job, cls, &j);
    if (at == INDEX_NONE && (!c || slots == 0)) {
        return c ? MOB_OK : MOB_ERR_NOT_FOUND; /* the end of what ended here before */
    }
    if (at == INDEX_NONE && p->grants_count == p->config.leases_max) {
        return MOB_ERR_FULL;
    }
    struct node_grant *g = at == INDEX_NONE ? NULL : &p->grants[at];
    if (g && (g->node != node || g->cls != cls || &p->jobs[g->job] != j)) {
        return MOB_ERR_INVALID;
    }
    if (g && (epoch < g->epoch || (epoch == g->epoch && slots > g->slots))) {
        return MOB_ERR_STATE;
    }
    node_begin(p, now);
    if (!g) {
        at = p->grants_count++;
        g = &p->grants[at];
        *g = (struct node_grant){.lease = lease,
                                 .node = node,
                                 .job = (uint32_t)(j - p->jobs),
                                 .cls = cls,
                                 .depth = 1,
                                 .window = now};
        index_put(&p->grant_index, lease, at);
    }
    node_count_grant(p, g, -1);
    g->epoch = epoch;
    g->slots = slots;
    g->sync = p->sync;
    node_count_grant(p, g, 1);
    if (slots == 0 && g->away == 0) {
        node_drop_grant(p, at);
    }
    node_decide(p, now);
    return MOB_OK;
}

mob_status plan_node_sent(struct plan_node *p, uint64_t lease, uint32_t count,
                          uint64_t now)
{
    uint32_t at = index_find(&p->grant_index, lease);
    if (at == INDEX_NONE) {
        return MOB_ERR_NOT_FOUND;
    }
    struct node_grant *g = &p->grants[at];
    if (count > g->asked) {
        return MOB_ERR_STATE;
    }
    node_begin(p, now);
    struct node_class *c = CLASS_OF(p, g);
    c->queued = count < g->asked || count > c->queued ? 0 : c->queued - count;
    node_count_grant(p, g, -1);
    g->away += count;
    g->asked = 0;
    node_count_grant(p, g, 1);
    if (g->slots == 0 && g->away == 0) {
        node_drop_grant(p, at);
    }
    node_decide(p, now);
    return MOB_OK;
}

/* Enough tasks are kept there for PLAN_AHEAD_NS at the pace of late. */
static void pace(struct node_grant *g, uint32_t count, uint64_t now)
{
    uint64_t past = now - g->window;
    g->done += count;
    if (g->slots == 0 ||
        (past < PLAN_AHEAD_NS && g->done < (uint64_t)g->slots * g->depth)) {
        return;
    }
    past = past ? past : 1;
    uint64_t depth = ((uint64_t)g->done * PLAN_AHEAD_NS / past + g->slots - 1) / g->slots;
    depth = depth < 2 * (uint64_t)g->depth ? depth : 2 * (uint64_t)g->depth;
    g->depth = depth < 1 ? 1 : depth > PLAN_DEPTH_MAX ? PLAN_DEPTH_MAX : (uint32_t)depth;
    g->done = 0;
    g->window = now;
}

static mob_status come_back(struct plan_node *p, uint64_t lease, uint32_t count,
                            bool refused, uint64_t now)
{
    uint32_t at = index_find(&p->grant_index, lease);
    if (at == INDEX_NONE) {
        return MOB_ERR_NOT_FOUND;
    }
    struct node_grant *g = &p->grants[at];
    if (count > g->away) {
        return MOB_ERR_STATE;
    }
    node_begin(p, now);
    struct node_class *c = CLASS_OF(p, g);
    node_count_grant(p, g, -1);
    g->away -= count;
    node_count_grant(p, g, 1);
    if (refused) {
        g->not_before = now + PLAN_RETRY_NS;
        c->queued =
            c->queued + count < PLAN_TASKS_MAX ? c->queued + count : PLAN_TASKS_MAX;
    } else {
        pace(g, count, now);
    }
    if (g->slots == 0 && g->away == 0 && g->asked == 0) {
        node_drop_grant(p, at);
    }
    node_decide(p, now);
    return MOB_OK;
}

mob_status plan_node_back(struct plan_node *p, uint64_t lease, uint32_t count,
                          uint64_t now)
{
    return come_back(p, lease, count, false, now);
}

mob_status plan_node_refused(struct plan_node *p, uint64_t lease, uint32_t count,
                             uint64_t now)
{
    return come_back(p, lease, count, true, now);
}

/* ---- the cluster
 * -------------------------------------------------------------------------- */

/* Ends what the head has not spoken of in this connection. */
static void sweep(struct plan_node *p)
{
    for (uint32_t i = p->leases_count; i-- > 0;) {
        if (p->leases[i].sync != p->sync) {
            node_drop_lease(p, i);
        }
    }
    for (uint32_t i = p->grants_count; i-- > 0;) {
        if (p->grants[i].sync != p->sync) {
            node_count_grant(p, &p->grants[i], -1);
            p->grants[i].slots = 0;
            node_count_grant(p, &p->grants[i], 1);
            if (p->grants[i].away == 0) {
                node_drop_grant(p, i);
            }
        }
    }
}

void plan_node_head_up(struct plan_node *p, uint64_t head, uint64_t now)
{
    node_begin(p, now);
    p->sync++;
    if (head != p->head) {
        sweep(p); /* another head knows nothing of what the last one granted */
        node_hold_new_head(p, now);
    }
    p->head = head;
    p->head_up = true;
    p->offer_known = false;
    FOR_EACH_CLASS(p, j, c)
    {
        c->want_sent =
            0; /* a head takes a node that comes to want nothing until it speaks */
        c->reported = false;
    }
    node_decide(p, now);
}

void plan_node_head_synced(struct plan_node *p, uint64_t now)
{
    node_begin(p, now);
    sweep(p);
    node_hold_sweep(p);
    node_decide(p, now);
}

void plan_node_head_down(struct plan_node *p, uint64_t now)
{
    node_begin(p, now);
    p->head_up = false;
    node_decide(p, now);
}

void plan_node_peer_lost(struct plan_node *p, uint64_t node, uint64_t now)
{
    node_begin(p, now);
    for (uint32_t i = p->leases_count; i-- > 0;) {
        if (p->leases[i].owner == node) {
            /* The head waits for the slots, not for the owner. */
            owe(p, &p->leases[i], p->leases[i].owed + p->leases[i].slots);
            node_set_lease(p, &p->leases[i], 0);
            p->leases[i].settling = true;
        }
    }
    for (uint32_t i = p->grants_count; i-- > 0;) {
        if (p->grants[i].node == node) {
            node_drop_grant(p, i);
        }
    }
    node_decide(p, now);
}
