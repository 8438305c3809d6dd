#include <stdlib.h>
#include <string.h>

#include "core/labels.h"
#include "core/status.h"
#include "node_state.h"

/* An empty place. */
static const struct node_class no_class = {.short_since = CLOCK_NEVER,
                                           .none_since = CLOCK_NEVER};

struct plan_node *plan_node_create(const struct plan_node_config *config, uint64_t now)
{
    struct plan_node *p = calloc(1, sizeof *p);
    if (!p) {
        return NULL;
    }
    struct plan_node_config *c = &p->config;
    *c = *config;
    c->jobs_max = c->jobs_max ? c->jobs_max : JOBS_MAX;
    c->workers_max = c->workers_max ? c->workers_max : PROCS_MAX - 1;
    c->leases_max = c->leases_max ? c->leases_max : NODES_MAX;
    c->labels = c->labels ? c->labels : "";
    p->last = now;
    p->free = c->capacity;
    p->keep = resources_zero(&c->capacity);
    p->soon_at = p->window_at = p->deadline = CLOCK_NEVER;
    if (!c->act || !c->node || !resources_ok(&c->capacity) || c->jobs_max > JOBS_MAX ||
        c->workers_max > PROCS_MAX || c->leases_max > 65536) {
        status_fail(MOB_ERR_INVALID, "a node planner with numbers out of range");
        plan_node_destroy(p);
        return NULL;
    }
    p->jobs = calloc(c->jobs_max, sizeof *p->jobs);
    p->active = calloc(c->jobs_max, sizeof(struct share *));
    p->leases = calloc(c->leases_max, sizeof *p->leases);
    p->grants = calloc(c->leases_max, sizeof *p->grants);
    p->holds = calloc(PLAN_HOLDS_MAX, sizeof *p->holds);
    if (!p->jobs || !p->active || !p->leases || !p->grants || !p->holds ||
        !index_create(&p->lease_index, c->leases_max) ||
        !index_create(&p->grant_index, c->leases_max)) {
        status_fail(MOB_ERR_NOMEM, "no memory for the node planner");
        plan_node_destroy(p);
        return NULL;
    }
    return p;
}

void plan_node_destroy(struct plan_node *p)
{
    if (!p) {
        return;
    }
    index_destroy(&p->lease_index);
    index_destroy(&p->grant_index);
    free(p->leases);
    free(p->grants);
    free(p->holds);
    free(p->active);
    free(p->jobs);
    free(p);
}

void node_begin(struct plan_node *p, uint64_t now)
{
    if (now < p->last + NS_PER_US) {
        return; /* the rest of a microsecond is accounted for later */
    }
    uint64_t dt_us = (now - p->last) / NS_PER_US;
    p->last += dt_us * NS_PER_US;
    uint32_t count = 0;
    for (struct node_job *j = p->jobs; j < p->jobs + p->jobs_top; j++) {
        /* Guests have quotas instead of shares: the head is fair among them. */
        if (j->used && job_is_native(p, j)) {
            j->share.needy = false;
            for (struct node_class *c = j->cls; c < j->cls + j->classes; c++) {
                j->share.needy = j->share.needy || c->short_since != CLOCK_NEVER;
            }
            if (j->share.needy || j->share.used) {
                p->active[count++] = &j->share;
            } else {
                j->share.deficit = 0;
            }
        }
    }
    share_account(p->active, count, dt_us);
}

void plan_node_tick(struct plan_node *p, uint64_t now)
{
    node_begin(p, now);
    node_decide(p, now);
    node_say(p, now); /* only here: now the daemon's counts are fresh */
}

uint64_t plan_node_deadline(const struct plan_node *p)
{
    return p->deadline;
}

struct node_job *node_find(const struct plan_node *p, struct plan_job key)
{
    for (uint32_t i = 0; i < p->jobs_top; i++) {
        struct node_job *j = &p->jobs[i];
        if (j->used && j->key.node == key.node && j->key.number == key.number) {
            return j;
        }
    }
    return NULL;
}

struct node_class *node_find_class(const struct plan_node *p, struct plan_job key,
                                   uint32_t cls, struct node_job **ret_job)
{
    struct node_job *j = node_find(p, key);
    struct node_class *c = j ? &j->cls[plan_class_place(cls)] : NULL;
    if (!c || !c->known || c->cls != cls) {
        return NULL;
    }
    *ret_job = j;
    return c;
}

/* ---- jobs
 * -------------------------------------------------------------------------------- */

mob_status node_add_job(struct plan_node *p, struct plan_job key, uint32_t weight,
                        struct node_job **ret)
{
    if (!key.node || weight == 0 || weight > PLAN_WEIGHT_MAX) {
        return MOB_ERR_INVALID;
    }
    uint32_t at = 0;
    while (at < p->jobs_top && p->jobs[at].used) {
        at++;
    }
    if (at == p->config.jobs_max) {
        return MOB_ERR_FULL;
    }
    p->jobs_top += at == p->jobs_top;
    struct node_job *j = &p->jobs[at];
    *j = (struct node_job){.used = true, .key = key, .share = {.weight = weight}};
    for (uint32_t i = 0; i < CLASSES_MAX; i++) {
        j->cls[i] = no_class;
    }
    *ret = j;
    return MOB_OK;
}

mob_status plan_node_job_add(struct plan_node *p, struct plan_job job, uint32_t weight,
                             uint64_t now)
{
    struct node_job *j = node_find(p, job);
    if (j && !j->implied) {
        return MOB_ERR_EXISTS;
    }
    if (j) {
        j->implied = false;
        return MOB_OK;
    }
    node_begin(p, now);
    return node_add_job(p, job, weight, &j);
}

mob_status plan_node_job_remove(struct plan_node *p, struct plan_job job, uint64_t now)
{
    struct node_job *j = node_find(p, job);
    if (!j) {
        return MOB_ERR_NOT_FOUND;
    }
    node_begin(p, now);
    uint32_t at = (uint32_t)(j - p->jobs);
    for (uint32_t i = p->grants_count; i-- > 0;) {
        if (p->grants[i].job == at) {
            node_drop_grant(p, i);
        }
    }
    for (struct node_class *c = j->cls; c < j->cls + j->classes; c++) {
        if (!class_grouped(c)) {
            resources_add(&p->free, &c->demand.need, class_held(c));
            class_book_kept(&p->free, c, c->lent + c->resuming, resources_add);
        }
        c->starting = c->busy = c->idle = c->lent = c->resuming = 0;
        if (c->reported && p->head_up) {
            c->hints_count = 0;
            node_act(p, PLAN_DEMAND, j, c, 0);
        }
    }
    /* All is free before the leases end, so that the head hears the offer as it is
     * now. */
    for (uint32_t i = p->leases_count; i-- > 0;) {
        if (p->leases[i].job == at) {
            node_set_lease(p, &p->leases[i], 0);
            node_say_held(p, &p->leases[i]);
            node_drop_lease(p, i);
        }
    }
    j->used = false;
    while (p->jobs_top > 0 && !p->jobs[p->jobs_top - 1].used) {
        p->jobs_top--;
    }
    node_decide(p, now);
    return MOB_OK;
}

void node_add_class(const struct plan_node *p, struct node_job *j, uint32_t cls,
                    const struct demand *demand)
{
    uint32_t place = plan_class_place(cls);
    struct node_class *c = &j->cls[place];
    c->known = true;
    c->cls = cls;
    c->demand = *demand;
    /* Whether it is the node that the demand names, the head knows by the name that the node has by then. */
    c->fits = resources_fit(&p->config.capacity, &demand->need) &&
              selector_match(demand->selector, p->config.labels);
    c->cost = share_cost(&demand->need, &p->config.capacity);
    j->classes = place < j->classes ? j->classes : place + 1;
}

mob_status plan_node_class_add(struct plan_node *p, struct plan_job job, uint32_t cls,
                               const struct demand *demand, uint64_t now)
{
    (void)now; /* a class without tasks changes no decision */
    struct node_job *j = node_find(p, job);
    if (!demand_ok(demand)) {
        return MOB_ERR_INVALID;
    }
    if (!j) {
        return MOB_ERR_NOT_FOUND;
    }
    const struct node_class *c = &j->cls[plan_class_place(cls)];
    if (c->known) {
        bool same = c->cls == cls && demand_equal(&c->demand, demand);
        return same ? MOB_OK : MOB_ERR_EXISTS;
    }
    node_add_class(p, j, cls, demand);
    return MOB_OK;
}

/* Something of a class is under way: slots, tasks here or elsewhere, or a word of the head that waits for its answer. */
static bool in_use(const struct plan_node *p, const struct node_class *c)
{
    bool any = class_held(c) || c->lent || c->resuming || c->foreign;
    for (uint32_t i = 0; i < p->leases_count && !any; i++) {
        any = CLASS_OF(p, &p->leases[i]) == c;
    }
    for (uint32_t i = 0; i < p->grants_count && !any; i++) {
        any = CLASS_OF(p, &p->grants[i]) == c;
    }
    return any;
}

mob_status plan_node_class_end(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now)
{
    struct node_job *j;
    struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c) {
        return MOB_ERR_NOT_FOUND;
    }
    if (in_use(p, c)) {
        return MOB_ERR_STATE;
    }
    node_begin(p, now);
    if (c->reported && p->head_up) {
        c->hints_count = 0;
        node_act(p, PLAN_DEMAND, j, c, 0);
    }
    *c = no_class;
    node_decide(p, now);
    return MOB_OK;
}

mob_status plan_node_backlog(struct plan_node *p, struct plan_job job, uint32_t cls,
                             uint32_t queued, const struct plan_hint *hints,
                             uint32_t hints_count, uint64_t now)
{
    struct node_job *j;
    struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c) {
        return MOB_ERR_NOT_FOUND;
    }
    if (hints_count > PLAN_HINTS_MAX) {
        return MOB_ERR_INVALID;
    }
    node_begin(p, now);
    c->queued = queued < PLAN_TASKS_MAX ? queued : PLAN_TASKS_MAX;
    c->guessed = false;
    if (hints_count) {
        memcpy(c->hints, hints, hints_count * sizeof *hints);
    }
    c->hints_count = hints_count;
    node_decide(p, now);
    return MOB_OK;
}

/* ---- slots and workers
 * ------------------------------------------------------------------- */

static uint32_t *count_of(struct node_job *j, struct node_class *c, enum plan_slot slot)
{
    switch (slot) {
    case PLAN_SLOT_STARTING:
        return &c->starting;
    case PLAN_SLOT_BUSY:
        return &c->busy;
    case PLAN_SLOT_IDLE:
        return &c->idle;
    case PLAN_SLOT_LENT:
        return &c->lent;
    case PLAN_SLOT_RESUMING:
        return &c->resuming;
    case PLAN_SLOT_NONE:
        return &j->bare;
    }
    return NULL;
}

static bool holds_all(enum plan_slot slot)
{
    return slot == PLAN_SLOT_STARTING || slot == PLAN_SLOT_BUSY || slot == PLAN_SLOT_IDLE;
}

/* Frees what a slot of a class holds in its state. */
static void give_up(struct plan_node *p, const struct node_class *c, enum plan_slot slot)
{
    if (class_grouped(c)) {
        return; /* it is the group's still */
    }
    if (holds_all(slot)) {
        resources_add(&p->free, &c->demand.need, 1);
    } else if (slot != PLAN_SLOT_NONE) {
        class_book_kept(&p->free, c, 1, resources_add);
    }
}

/* Moves one slot, or, with @dies, takes it and its worker away. */
static mob_status move(struct plan_node *p, struct plan_job job, uint32_t cls,
                       enum plan_slot from, enum plan_slot to, bool dies, uint64_t now)
{
    struct node_job *j;
    struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c) {
        return MOB_ERR_NOT_FOUND;
    }
    uint32_t *source = count_of(j, c, from);
    if (!source) {
        return MOB_ERR_INVALID;
    }
    if (*source == 0) {
        return MOB_ERR_STATE;
    }
    node_begin(p, now);
    --*source;
    if (dies) {
        j->workers--;
    } else {
        ++*count_of(j, c, to);
    }
    if (dies || to == PLAN_SLOT_NONE) {
        give_up(p, c, from);
    } else if (to == PLAN_SLOT_LENT && !class_grouped(c)) {
        p->free.amount[RESOURCE_CPU] += class_cpus(c);
    }
    /* What gave its slot up was one of those asked for, if any were. */
    if (holds_all(from) && (dies || !holds_all(to)) && c->taking > 0) {
        c->taking--;
    }
    node_decide(p, now);
    return MOB_OK;
}

mob_status plan_node_worker_started(struct plan_node *p, struct plan_job job,
                                    uint32_t cls, uint64_t now)
{
    mob_status s = move(p, job, cls, PLAN_SLOT_STARTING, PLAN_SLOT_BUSY, false, now);
    if (s == MOB_OK) {
        node_find(p, job)->start_fails = 0;
    }
    return s;
}

mob_status plan_node_worker_failed(struct plan_node *p, struct plan_job job, uint32_t cls,
                                   uint64_t now)
{
    struct node_job *j;
    struct node_class *c = node_find_class(p, job, cls, &j);
    if (c && c->starting > 0 && ++j->start_fails >= PLAN_START_FAILS_MAX && !j->failed) {
        j->failed = true;
        node_act(p, PLAN_JOB_FAILED, j, c, 0);
    }
    return move(p, job, cls, PLAN_SLOT_STARTING, PLAN_SLOT_NONE, true, now);
}

mob_status plan_node_slot_idle(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now)
{
    struct node_job *j;
    struct node_class *c = node_find_class(p, job, cls, &j);
    if (c && c->busy > 0) {
        c->queued = 0; /* the worker has looked */
    }
    return move(p, job, cls, PLAN_SLOT_BUSY, PLAN_SLOT_IDLE, false, now);
}

mob_status plan_node_slot_busy(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now)
{
    return move(p, job, cls, PLAN_SLOT_IDLE, PLAN_SLOT_BUSY, false, now);
}

mob_status plan_node_slot_lent(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now)
{
    const struct node_job *j = node_find(p, job);
    uint32_t waiting = 0;
    for (uint32_t i = 0; j && i < j->classes; i++) {
        waiting += j->cls[i].lent + j->cls[i].resuming;
    }
    if (waiting >= PLAN_LENT_MAX) {
        return MOB_ERR_FULL;
    }
    return move(p, job, cls, PLAN_SLOT_BUSY, PLAN_SLOT_LENT, false, now);
}

mob_status plan_node_slot_resume(struct plan_node *p, struct plan_job job, uint32_t cls,
                                 uint64_t now)
{
    return move(p, job, cls, PLAN_SLOT_LENT, PLAN_SLOT_RESUMING, false, now);
}

mob_status plan_node_slot_returned(struct plan_node *p, struct plan_job job, uint32_t cls,
                                   enum plan_slot from, uint64_t now)
{
    if (from != PLAN_SLOT_BUSY && from != PLAN_SLOT_IDLE && from != PLAN_SLOT_RESUMING) {
        return MOB_ERR_INVALID;
    }
    return move(p, job, cls, from, PLAN_SLOT_NONE, false, now);
}

/* Of whatever class it was last, which may be over. */
static mob_status bare_died(struct plan_node *p, struct plan_job job, uint64_t now)
{
    struct node_job *j = node_find(p, job);
    if (!j) {
        return MOB_ERR_NOT_FOUND;
    }
    if (j->bare == 0) {
        return MOB_ERR_STATE;
    }
    node_begin(p, now);
    j->bare--;
    j->workers--;
    node_decide(p, now);
    return MOB_OK;
}

mob_status plan_node_worker_died(struct plan_node *p, struct plan_job job, uint32_t cls,
                                 enum plan_slot from, uint64_t now)
{
    if (from == PLAN_SLOT_STARTING) {
        return plan_node_worker_failed(p, job, cls, now);
    }
    if (from == PLAN_SLOT_NONE) {
        return bare_died(p, job, now);
    }
    return move(p, job, cls, from, PLAN_SLOT_NONE, true, now);
}
