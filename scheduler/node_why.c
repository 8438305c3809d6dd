/* node_why.c - what people ask a planner: why tasks of a class wait, and what leases a job has. It looks, and
 * changes nothing. */
#include "node_state.h"

/* The first kind of which a slot of the class finds too little; CPUs if none is short. */
static uint32_t short_kind(const struct plan_node *p, const struct resources *need)
{
    for (uint32_t kind = 0; kind < resources_kinds(need); kind++) {
        if (need->amount[kind] > resources_like(&p->free, need, kind)) {
            return kind;
        }
    }
    return RESOURCE_CPU;
}

static enum plan_why why_no_slot(const struct plan_node *p, const struct node_job *j,
                                 const struct node_class *c, uint32_t kind)
{
    uint32_t held = class_held(c) + c->resuming;
    if (!class_is_native(p, j, c) && held >= c->quota) {
        return PLAN_WHY_LEASE;
    }
    if (j->workers >= p->config.workers_max && j->bare == 0) {
        return PLAN_WHY_PROCS;
    }
    FOR_EACH_CLASS(p, other, k)
    {
        if (other != j && class_held(k) > 0 &&
            resources_like(&k->demand.need, &c->demand.need, kind) > 0) {
            return PLAN_WHY_TURN;
        }
    }
    return PLAN_WHY_SHORT;
}

mob_status plan_node_why(const struct plan_node *p, struct plan_job job, uint32_t cls,
                         enum plan_why *ret, uint32_t *ret_kind)
{
    struct node_job *j;
    const struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c) {
        return MOB_ERR_NOT_FOUND;
    }
    *ret_kind = short_kind(p, &c->demand.need);
    bool served = c->queued <= c->idle && c->starting == 0 && c->fits && !j->failed;
    if (c->queued == 0 || served) {
        *ret = PLAN_WHY_NOTHING;
    } else if (j->failed) {
        *ret = PLAN_WHY_FAILED;
    } else if (!c->fits) {
        *ret = PLAN_WHY_LARGE;
    } else if (c->starting > 0) {
        *ret = PLAN_WHY_STARTING;
    } else {
        *ret = why_no_slot(p, j, c, *ret_kind);
    }
    return MOB_OK;
}

enum plan_why plan_node_room_for(const struct plan_node *p, struct plan_job job,
                                 uint32_t cls, const struct plan_waiting *waiting)
{
    struct node_job *j;
    const struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c || !c->fits) {
        return PLAN_WHY_LARGE;
    }
    struct resources room = node_reach(p, c);
    resources_sub(&room, &waiting->busy, 1);
    resources_add(&room, &waiting->given, 1);
    if (!resources_fit(&room, &c->demand.need)) {
        return PLAN_WHY_SHORT;
    }
    return waiting->workers < p->config.workers_max ? PLAN_WHY_NOTHING : PLAN_WHY_PROCS;
}

void plan_node_granted(const struct plan_node *p, struct plan_job job,
                       uint32_t ret[CLASSES_MAX])
{
    const struct node_job *j = node_find(p, job);
    for (uint32_t c = 0; j && c < CLASSES_MAX; c++) {
        ret[c] = j->cls[c].granted;
    }
}

uint32_t plan_node_leases(const struct plan_node *p, struct plan_job job,
                          struct plan_node_lease_view *ret, uint32_t max)
{
    const struct node_job *j = node_find(p, job);
    uint32_t count = 0, of = j ? (uint32_t)(j - p->jobs) : UINT32_MAX;
    for (uint32_t i = 0; i < p->leases_count; i++) {
        const struct node_lease *l = &p->leases[i];
        if (l->job == of && count++ < max) {
            ret[count - 1] = (struct plan_node_lease_view){.lease = l->lease,
                                                           .node = l->owner,
                                                           .epoch = l->epoch,
                                                           .cls = l->cls,
                                                           .slots = l->slots};
        }
    }
    for (uint32_t i = 0; i < p->grants_count; i++) {
        const struct node_grant *g = &p->grants[i];
        if (g->job == of && count++ < max) {
            ret[count - 1] = (struct plan_node_lease_view){.lease = g->lease,
                                                           .node = g->node,
                                                           .epoch = g->epoch,
                                                           .cls = g->cls,
                                                           .slots = g->slots,
                                                           .away = g->away,
                                                           .granted = true};
        }
    }
    return count;
}
