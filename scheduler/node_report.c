#include "node_state.h"

struct resources plan_node_used(const struct plan_node *p)
{
    struct resources used = p->config.capacity;
    resources_sub(&used, &p->free, 1);
    return used;
}

/* Takes what @count more tasks need from @offer. If it is enough for fewer, the kinds that are too little for one
 * more are kept whole, since that one waits for them; the others it could not use now. */
static void leave_to(struct resources *offer, const struct resources *need,
                     uint32_t count)
{
    uint32_t fit = resources_times(offer, need, count);
    resources_sub(offer, need, fit);
    for (uint32_t k = 0; fit < count && k < resources_kinds(offer); k++) {
        bool few = resources_like(need, offer, k) > offer->amount[k];
        offer->amount[k] = few ? 0 : offer->amount[k];
    }
}

struct resources plan_node_offer(const struct plan_node *p)
{
    struct resources offer = p->config.capacity, held = node_held(p);
    resources_sub(&offer, &held, 1);
    FOR_EACH_CLASS(p, j, c)
    {
        if (class_is_native(p, j, c) && !class_grouped(c)) {
            uint32_t idle = c->idle < c->queued ? c->idle : c->queued;
            uint64_t needed = (uint64_t)c->starting + c->busy + c->resuming + idle;
            resources_sub(&offer, &c->demand.need, needed);
            class_book_kept(&offer, c, c->lent, resources_sub);
        }
    }
    FOR_EACH_CLASS(p, j, c)
    {
        uint32_t lack = class_is_native(p, j, c) ? node_lack(p, j, c) : 0;
        if (lack > 0) {
            leave_to(&offer, &c->demand.need, lack);
        }
    }
    return offer;
}

struct resources node_promised(const struct plan_node *p)
{
    struct resources promised = resources_zero(&p->config.capacity);
    FOR_EACH_CLASS(p, j, c)
    {
        if (!class_is_native(p, j, c) && !class_grouped(c)) {
            uint32_t held = class_held(c) + c->resuming;
            resources_add(&promised, &c->demand.need, held > c->quota ? held : c->quota);
            class_book_kept(&promised, c, c->lent, resources_add);
        }
    }
    return promised;
}

/* What the head may lease out, with what it has leased. Slots that it does not know of, since they were cut here and are
 * not back, are none of that; those that it asked back itself it counts until it hears that they are. */
struct resources node_room(const struct plan_node *p)
{
    struct resources room = plan_node_offer(p);
    FOR_EACH_CLASS(p, j, c)
    {
        if (!class_is_native(p, j, c) && !class_grouped(c)) {
            uint32_t held = class_held(c), counted = c->quota + c->owed;
            resources_sub(&room, &c->demand.need, held > counted ? held - counted : 0);
            class_book_kept(&room, c, c->lent, resources_sub);
        }
    }
    return room;
}

/* ---- tasks for other nodes
 * ---------------------------------------------------------------- */

/* Queued tasks that may go elsewhere: not those that came from there, nor those that the
 * idle and starting workers here are about to take. Which of the tasks here are foreign is
 * not known, nor which busy workers have one at all, so all that could be, counts as
 * foreign: a task never travels twice. */
static uint32_t excess(const struct node_class *c)
{
    uint32_t all = c->queued + c->lent + c->resuming, here = c->idle + c->starting;
    uint32_t own = all > c->foreign ? all - c->foreign : 0;
    uint32_t queued = c->queued < own ? c->queued : own;
    return queued > here ? queued - here : 0;
}

/* Offers each grant of a class so many tasks that it has its slots full, or, @deep, enough
 * ahead of need. @keep tasks stay. */
static void send_up_to(struct plan_node *p, const struct node_job *j,
                       struct node_class *c, bool deep, uint32_t keep, uint64_t now)
{
    uint32_t job = (uint32_t)(j - p->jobs), cls = c->cls;
    for (uint32_t i = 0; i < p->grants_count; i++) {
        struct node_grant *g = &p->grants[i];
        /* One that waits for the others would keep the one behind it from coming to them. */
        uint64_t depth = deep && !c->demand.together ? g->depth : 1;
        uint64_t limit = (uint64_t)g->slots * depth;
        if (g->job != job || g->cls != cls || g->node == p->config.node ||
            g->away + g->asked >= limit || now < g->not_before) {
            continue;
        }
        /* What was asked for and not yet claimed is as good as gone. */
        uint32_t left = excess(c);
        if (left <= c->asked + keep) {
            return;
        }
        left -= c->asked + keep;
        uint64_t room = limit - g->away - g->asked;
        uint32_t more = left < room ? left : (uint32_t)room;
        g->asked += more;
        c->asked += more;
        p->config.act(p->config.arg, &(struct plan_node_action){.kind = PLAN_SEND,
                                                                .job = j->key,
                                                                .cls = cls,
                                                                .count = g->asked,
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
        if (c->granted > 0 && excess(c) > c->asked) {
            send_up_to(p, j, c, false, 0, now);
            /* Ahead of need only what the slots here would not take next. */
            send_up_to(p, j, c, true, c->busy, now);
        }
    }
}

/* ---- reports
 * ------------------------------------------------------------------------------ */

static uint32_t want_of(const struct plan_node *p, const struct node_job *j,
                        const struct node_class *c)
{
    uint64_t want = excess(c);
    if (!class_is_native(p, j,
                         c)) { /* the head may lease us slots here for all our own */
        want = (uint64_t)c->queued + c->busy + c->lent + c->resuming;
        want = want > c->foreign ? want - c->foreign : 0;
    }
    want += c->filled;
    return want < PLAN_SLOTS_MAX ? (uint32_t)want : PLAN_SLOTS_MAX;
}

/* The head gives no more than it was told, so more is worth a word only when it has given
 * that; and less only if it frees a slot, or the word was far too large. */
static bool rose(const struct node_class *c, uint32_t want)
{
    return want > c->want_sent && c->granted >= c->want_sent;
}

static bool fell(const struct node_class *c, uint32_t want)
{
    return want < c->want_sent && (want < c->granted || want <= c->want_sent / 2);
}

static void say_demand(struct plan_node *p, struct node_job *j, struct node_class *c,
                       uint32_t want)
{
    c->want_sent = want;
    c->reported = want > 0;
    node_act(p, PLAN_DEMAND, j, c, want);
}

static void say_offer(struct plan_node *p, const struct resources *offer)
{
    p->offer_known = true;
    p->offer_sent = *offer;
    p->config.act(p->config.arg, &(struct plan_node_action){.kind = PLAN_REPORT,
                                                            .offer = &p->offer_sent});
}

static bool doubled(const struct node_class *c, uint32_t want)
{
    return rose(c, want) && want / 2 >= c->want_sent;
}

static void say_soon(struct plan_node *p)
{
    if (!p->offer_known) {
        struct resources room = node_room(p);
        say_offer(p, &room);
    }
    FOR_EACH_CLASS(p, j, c)
    {
        uint32_t want = want_of(p, j, c);
        if (doubled(c, want)) {
            say_demand(p, j, c, want);
        }
    }
}

/* The window is over: what held all through it is said. */
static void say_lasting(struct plan_node *p)
{
    if (!resources_equal(&p->offer_low, &p->offer_sent)) {
        say_offer(p, &p->offer_low);
    }
    FOR_EACH_CLASS(p, j, c)
    {
        if (fell(c, c->want_high) || rose(c, want_of(p, j, c))) {
            say_demand(p, j, c, c->want_high);
        }
    }
}

static void open_window(struct plan_node *p, uint64_t now)
{
    p->window_at = now + PLAN_UNUSED_NS;
    p->offer_low = node_room(p);
    FOR_EACH_CLASS(p, j, c)
    {
        c->want_high = want_of(p, j, c);
    }
}

/* Demands that doubled are said soon; all else, less above all, only after it has lasted,
 * so that whatever comes and goes within PLAN_UNUSED_NS costs no words. */
void node_report(struct plan_node *p, uint64_t now)
{
    if (!p->head_up) {
        p->soon_at = p->window_at = CLOCK_NEVER;
        return;
    }
    struct resources room = node_room(p);
    bool soon = !p->offer_known;
    bool lasting = soon || !resources_equal(&room, &p->offer_sent);
    resources_limit(&p->offer_low, &room);
    FOR_EACH_CLASS(p, j, c)
    {
        uint32_t want = want_of(p, j, c);
        c->want_high = want > c->want_high ? want : c->want_high;
        soon = soon || doubled(c, want);
        lasting = lasting || rose(c, want) || fell(c, want);
    }
    if (!soon) {
        p->soon_at = CLOCK_NEVER;
    } else if (p->soon_at == CLOCK_NEVER) {
        p->soon_at = now + PLAN_REPORT_NS;
    }
    if (!lasting) {
        p->window_at = CLOCK_NEVER;
    } else if (p->window_at == CLOCK_NEVER) {
        open_window(p, now);
    }
}

void node_say(struct plan_node *p, uint64_t now)
{
    if (now >= p->soon_at) {
        say_soon(p);
        p->soon_at = CLOCK_NEVER;
    }
    if (now >= p->window_at) {
        say_lasting(p);
        open_window(p, now);
    }
    node_set_deadline(p, now);
}

mob_status plan_node_view(const struct plan_node *p, struct plan_job job, uint32_t cls,
                          struct plan_class_view *ret)
{
    struct node_job *j;
    const struct node_class *c = node_find_class(p, job, cls, &j);
    if (!c) {
        return MOB_ERR_NOT_FOUND;
    }
    *ret = (struct plan_class_view){.queued = c->queued,
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

uint32_t plan_node_weight(const struct plan_node *p, struct plan_job job)
{
    const struct node_job *j = node_find(p, job);
    return j ? j->share.weight : 0;
}

static const char *check_job(const struct plan_node *p, const struct node_job *j,
                             struct resources *used)
{
    uint32_t workers = j->bare, waiting = 0, job = (uint32_t)(j - p->jobs);
    for (uint32_t i = 0; i < j->classes; i++) {
        const struct node_class *c = &j->cls[i];
        uint32_t quota = 0, owed = 0, granted = 0, away = 0, filled = 0, asked = 0;
        for (uint32_t k = 0; k < p->leases_count; k++) {
            const struct node_lease *l = &p->leases[k];
            bool its = l->job == job && plan_class_place(l->cls) == i;
            quota += its ? l->slots : 0;
            owed += its ? l->owed : 0;
        }
        for (uint32_t k = 0; k < p->grants_count; k++) {
            const struct node_grant *g = &p->grants[k];
            if (g->job == job && plan_class_place(g->cls) == i) {
                granted += g->slots;
                away += g->away;
                filled += g->away < g->slots ? g->away : g->slots;
                asked += g->asked;
            }
        }
        if (quota != c->quota || owed != c->owed || granted != c->granted ||
            away != c->away || filled != c->filled || asked != c->asked) {
            return "a class's sums are not those of its leases and grants";
        }
        if (c->taking > c->busy + c->idle) {
            return "more slots are asked back than there are";
        }
        workers += class_held(c) + c->lent + c->resuming;
        waiting += c->lent + c->resuming;
        if (class_grouped(c)) {
            continue; /* node_hold_check() */
        }
        resources_add(used, &c->demand.need, class_held(c));
        class_book_kept(used, c, c->lent + c->resuming, resources_add);
    }
    if (workers != j->workers || workers > p->config.workers_max) {
        return "a job's workers do not add up, or are too many";
    }
    return waiting > PLAN_LENT_MAX ? "too many workers of a job wait without a slot"
                                   : NULL;
}

const char *plan_node_check(const struct plan_node *p)
{
    struct resources used = resources_zero(&p->config.capacity);
    for (uint32_t i = 0; i < p->jobs_top; i++) {
        const char *wrong = p->jobs[i].used ? check_job(p, &p->jobs[i], &used) : NULL;
        if (wrong) {
            return wrong;
        }
    }
    const char *wrong_hold = node_hold_check(p, &used);
    if (wrong_hold) {
        return wrong_hold;
    }
    if (!resources_fit(&p->config.capacity, &used)) {
        return "slots hold more than the node has";
    }
    resources_add(&used, &p->free, 1);
    if (!resources_equal(&used, &p->config.capacity)) {
        return "what is free and what slots hold is not what the node has";
    }
    for (uint32_t i = 0; i < p->leases_count; i++) {
        const struct node_class *c = CLASS_OF(p, &p->leases[i]);
        if (!p->jobs[p->leases[i].job].used || !c->known || c->cls != p->leases[i].cls ||
            index_find(&p->lease_index, p->leases[i].lease) != i) {
            return "a lease has no job or class, or the index does not find it";
        }
    }
    for (uint32_t i = 0; i < p->grants_count; i++) {
        const struct node_class *c = CLASS_OF(p, &p->grants[i]);
        if (!p->jobs[p->grants[i].job].used || !c->known || c->cls != p->grants[i].cls ||
            index_find(&p->grant_index, p->grants[i].lease) != i) {
            return "a grant has no job or class, or the index does not find it";
        }
    }
    return NULL;
}
