#include "node_state.h"

uint64_t plan_node_used(const struct plan_node *p)
{
    return p->used;
}

uint64_t plan_node_offer(const struct plan_node *p)
{
    uint64_t needed = 0;
    FOR_EACH_CLASS(p, j, c)
    {
        if (job_is_native(p, j)) {
            uint32_t idle = c->idle < c->queued ? c->idle : c->queued;
            needed += (uint64_t)c->units * (c->starting + c->busy + c->resuming + idle);
            needed +=
                c->units <= p->config.units ? (uint64_t)c->units * node_lack(p, j, c) : 0;
        }
    }
    return needed < p->config.units ? p->config.units - needed : 0;
}

uint64_t node_promised(const struct plan_node *p)
{
    uint64_t promised = 0;
    FOR_EACH_CLASS(p, j, c)
    {
        if (!job_is_native(p, j)) {
            uint32_t held = class_held(c) + c->resuming;
            promised += (uint64_t)c->units * (held > c->quota ? held : c->quota);
        }
    }
    return promised;
}

/* Tasks of this node's own making that are not done: all of a native's, and of a guest's
 * those that its tasks submitted here. */
static uint32_t own_tasks(const struct plan_node *p, const struct node_job *j,
                          const struct node_class *c)
{
    bool foreign = !job_is_native(p, j) || c->foreign > 0; /* and some of these may run */
    uint32_t all = c->queued + (foreign ? c->busy + c->lent + c->resuming : 0);
    return all > c->foreign ? all - c->foreign : 0;
}

/* Queued tasks that may go elsewhere: not those that came from there, nor those that the
 * idle and starting workers here are about to take. */
static uint32_t excess(const struct plan_node *p, const struct node_job *j,
                       const struct node_class *c)
{
    uint32_t own = own_tasks(p, j, c), here = c->idle + c->starting;
    uint32_t queued = c->queued < own ? c->queued : own;
    return queued > here ? queued - here : 0;
}

/* Offers each grant of a class so many tasks that it has @per_slot times its slots. */
static void send_up_to(struct plan_node *p, const struct node_job *j,
                       struct node_class *c, bool deep, uint32_t keep, uint64_t now)
{
    uint32_t job = (uint32_t)(j - p->jobs), cls = (uint32_t)(c - j->cls);
    for (uint32_t i = 0; i < p->grants_count; i++) {
        struct node_grant *g = &p->grants[i];
        uint64_t limit = (uint64_t)g->slots * (deep ? g->depth : 1);
        if (g->job != job || g->cls != cls || g->node == p->config.node ||
            g->away + g->asked >= limit || now < g->not_before) {
            continue;
        }
        uint32_t asked =
            0; /* what others of this class were asked for is as good as gone */
        for (uint32_t k = 0; k < p->grants_count; k++) {
            asked += p->grants[k].job == job && p->grants[k].cls == cls
                         ? p->grants[k].asked
                         : 0;
        }
        uint32_t left = excess(p, j, c);
        if (left <= asked + keep) {
            return;
        }
        left -= asked + keep;
        uint64_t room = limit - g->away - g->asked;
        g->asked += left < room ? left : (uint32_t)room;
        p->config.act(p->config.arg, &(struct plan_node_action){.kind = PLAN_SEND,
                                                                .job = j->key,
                                                                .cls = cls,
                                                                .count = g->asked,
                                                                .units = c->units,
                                                                .node = g->node,
                                                                .lease = g->lease,
                                                                .epoch = g->epoch});
    }
}

void node_send(struct plan_node *p, uint64_t now)
{
    if (p->grants_count == 0) {
        return;
    }
    FOR_EACH_CLASS(p, j, c)
    {
        if (excess(p, j, c) > 0) {
            send_up_to(p, j, c, false, 0, now);
            /* Ahead of need only what the slots here would not take next. */
            send_up_to(p, j, c, true, c->busy, now);
        }
    }
}

/* Eight steps to a doubling: a change that matters less is not worth a message. */
static uint32_t rounded(uint64_t want)
{
    uint64_t step = 1;
    want = want < PLAN_SLOTS_MAX ? want : PLAN_SLOTS_MAX;
    while (want / step > 16) {
        step *= 2;
    }
    return (uint32_t)((want + step - 1) / step * step);
}

static uint32_t want_of(const struct plan_node *p, const struct node_job *j,
                        const struct node_class *c)
{
    uint64_t want = excess(p, j, c);
    if (!job_is_native(p, j)) {
        want = own_tasks(p, j, c); /* the head may lease us slots here for them */
    }
    for (uint32_t i = 0; c->away > 0 && i < p->grants_count; i++) {
        const struct node_grant *g = &p->grants[i];
        if (&p->jobs[g->job].cls[g->cls] == c) {
            want += g->away < g->slots ? g->away : g->slots;
        }
    }
    return rounded(want);
}

static void say_demand(struct plan_node *p, struct node_job *j, struct node_class *c)
{
    uint32_t want = want_of(p, j, c);
    if (want == c->want_sent) {
        return;
    }
    c->want_sent = want;
    c->reported = want > 0;
    node_act(p, PLAN_DEMAND, j, c, want);
}

void node_report(struct plan_node *p, uint64_t now)
{
    bool changed = p->offer_sent != plan_node_offer(p);
    FOR_EACH_CLASS(p, j, c)
    {
        if (p->config.alone && c->queued > 0 && c->units > p->config.units &&
            !c->infeasible_said) {
            c->infeasible_said = true;
            node_act(p, PLAN_INFEASIBLE, j, c, 0);
        }
        changed = changed || (p->head_up && want_of(p, j, c) != c->want_sent);
    }
    if (!p->head_up || !changed) {
        p->report_at = CLOCK_NEVER;
        return;
    }
    if (p->report_at == CLOCK_NEVER) {
        p->report_at = now + PLAN_REPORT_NS;
    }
    if (now < p->report_at) {
        return;
    }
    p->report_at = CLOCK_NEVER;
    if (p->offer_sent != plan_node_offer(p)) {
        p->offer_sent = plan_node_offer(p);
        p->config.act(p->config.arg, &(struct plan_node_action){.kind = PLAN_REPORT,
                                                                .offer = p->offer_sent});
    }
    FOR_EACH_CLASS(p, j, c)
    {
        say_demand(p, j, c);
    }
}

mob_status plan_node_view(const struct plan_node *p, struct plan_job job, uint32_t cls,
                          struct plan_class_view *ret)
{
    struct node_job *j;
    const struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c) {
        return MOB_ERR_NOT_FOUND;
    }
    *ret = (struct plan_class_view){.units = c->units,
                                    .queued = c->queued,
                                    .starting = c->starting,
                                    .busy = c->busy,
                                    .idle = c->idle,
                                    .lent = c->lent,
                                    .resuming = c->resuming,
                                    .asked_back = c->taking,
                                    .leased = c->quota,
                                    .away = c->away,
                                    .want = c->want_sent};
    return MOB_OK;
}

static const char *check_job(const struct plan_node *p, const struct node_job *j,
                             uint64_t *used)
{
    uint32_t workers = j->bare, waiting = 0, job = (uint32_t)(j - p->jobs);
    for (uint32_t i = 0; i < j->classes; i++) {
        const struct node_class *c = &j->cls[i];
        uint32_t quota = 0, away = 0;
        for (uint32_t k = 0; k < p->leases_count; k++) {
            const struct node_lease *l = &p->leases[k];
            quota += l->job == job && l->cls == i ? l->slots : 0;
        }
        for (uint32_t k = 0; k < p->grants_count; k++) {
            const struct node_grant *g = &p->grants[k];
            away += g->job == job && g->cls == i ? g->away : 0;
        }
        if (quota != c->quota || away != c->away) {
            return "a class's quota or tasks away are not the sum of its leases or "
                   "grants";
        }
        if (c->taking > c->busy + c->idle) {
            return "more slots are asked back than there are";
        }
        workers += class_held(c) + c->lent + c->resuming;
        waiting += c->lent + c->resuming;
        *used += (uint64_t)c->units * class_held(c);
    }
    if (workers != j->workers || workers > p->config.workers_max) {
        return "a job's workers do not add up, or are too many";
    }
    return waiting > PLAN_LENT_MAX ? "too many workers of a job wait without a slot"
                                   : NULL;
}

const char *plan_node_check(const struct plan_node *p)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < p->jobs_top; i++) {
        const char *wrong = p->jobs[i].used ? check_job(p, &p->jobs[i], &used) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    if (used != p->used) {
        return "the units in use are not the sum over slots";
    }
    if (used > p->config.units) {
        return "slots hold more units than the node has";
    }
    for (uint32_t i = 0; i < p->leases_count; i++) {
        if (!p->jobs[p->leases[i].job].used ||
            index_find(&p->lease_index, p->leases[i].lease) != i) {
            return "a lease has no job, or the index does not find it";
        }
    }
    for (uint32_t i = 0; i < p->grants_count; i++) {
        if (!p->jobs[p->grants[i].job].used ||
            index_find(&p->grant_index, p->grants[i].lease) != i) {
            return "a grant has no job, or the index does not find it";
        }
    }
    return NULL;
}
