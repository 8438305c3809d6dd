/* One pass after every event: slots are given out in the order resuming workers, natives
 * by deficit, guests in turn; then what is short of room asks others for theirs.
 *
 * Natives go first, but a guest's tasks must not wait here for ever. Those that came under a lease go back
 * to their owner when it is over; those that a guest's task has submitted here cannot, and it waits for
 * them, with all that waits for it on other nodes. So a guest class that has tasks and no slot for
 * PLAN_OWED_NS is owed one beyond its leases, for a quantum; one such slot on the node at a time, and as long
 * as that again between two. */
#include "node_state.h"

void node_act(struct plan_node *p, enum plan_node_action_kind kind,
              const struct node_job *j, const struct node_class *c, uint32_t count)
{
    p->config.act(p->config.arg,
                  &(struct plan_node_action){.kind = kind,
                                             .job = j->key,
                                             .cls = c->cls,
                                             .count = count,
                                             .demand = &c->demand,
                                             .weight = j->share.weight,
                                             .hints = c->hints,
                                             .hints_count = c->hints_count});
}

/* CPUs under a guest's leases that its workers give up while they wait inside a get are its other classes': what
 * they wait for is mostly their own tasks. Those take CPUs alone, as all else is promised to others. */
static uint32_t borrowed(const struct node_job *j, const struct node_class *c)
{
    uint64_t cpus = 0, used = 0;
    struct resources rest = c->demand.need;
    rest.amount[RESOURCE_CPU] = 0;
    if (class_cpus(c) == 0 || !resources_none(&rest)) {
        return 0;
    }
    for (const struct node_class *o = j->cls; o < j->cls + j->classes; o++) {
        uint32_t held = class_held(o) + o->resuming;
        uint32_t left = o->quota > held ? o->quota - held : 0;
        if (o != c && o->demand.group == c->demand.group) {
            cpus += (o->lent < left ? o->lent : left) * class_cpus(o);
            used += held > o->quota ? (held - o->quota) * class_cpus(o) : 0;
        }
    }
    uint64_t slots = cpus > used ? (cpus - used) / class_cpus(c) : 0;
    return slots < PLAN_SLOTS_MAX ? (uint32_t)slots : PLAN_SLOTS_MAX;
}

uint32_t node_lack(const struct plan_node *p, const struct node_job *j,
                   const struct node_class *c)
{
    uint32_t here = c->idle + c->starting;
    if (j->failed || c->queued <= here || !c->fits) {
        return 0;
    }
    uint32_t lack = c->queued - here;
    if (!class_is_native(p, j, c)) {
        uint32_t held = class_held(c) + c->resuming, most = c->quota + borrowed(j, c);
        uint32_t left = most > held ? most - held : 0;
        lack = lack < left ? lack : left;
    }
    return lack;
}

/* One slot for @c; false if there is no room or no process for it now. */
static bool serve(struct plan_node *p, struct node_job *j, struct node_class *c,
                  uint64_t now)
{
    struct resources free = p->free;
    resources_sub(&free, &p->keep, 1);
    if (class_grouped(c)) {
        free = node_inside_room(p, c, now);
    }
    if (!resources_fit(&free, &c->demand.need)) {
        return false;
    }
    /* A process sees the GPUs that it was started with: it serves no others, and ends with its slot. */
    if (j->bare > 0 && c->demand.need.amount[RESOURCE_GPU] == 0) {
        j->bare--;
        c->busy++;
        c->queued -= c->queued > 0; /* the worker takes one at once */
        c->guessed = true;
        node_act(p, PLAN_GIVE, j, c, 1);
    } else if (j->workers < p->config.workers_max) {
        j->workers++;
        c->starting++;
        node_act(p, PLAN_START, j, c, 1);
    } else {
        /* No more processes: one that idles in another class will do. */
        for (struct node_class *o = j->cls; o < j->cls + j->classes; o++) {
            if (o != c && spare_idle(o) > 0) {
                node_take(p, j, o, 1, now);
                break;
            }
        }
        return false;
    }
    if (!class_grouped(c)) {
        resources_sub(&p->free, &c->demand.need, 1);
    }
    return true;
}

/* Workers whose get is over come first: their tasks hold arguments, and others wait for
 * them. What one of them lacks is kept for it; it was running a moment ago. */
static void resume(struct plan_node *p)
{
    FOR_EACH_CLASS(p, j, c)
    {
        uint64_t *free = &p->free.amount[RESOURCE_CPU];
        uint64_t *keep = &p->keep.amount[RESOURCE_CPU];
        while (c->resuming > 0 &&
               (class_grouped(c) ? node_hold_resume(p, c) : class_cpus(c) <= *free)) {
            c->resuming--;
            c->busy++;
            *free -= class_grouped(c) ? 0 : class_cpus(c);
            node_act(p, PLAN_RESUME, j, c, 1);
        }
        bool waits = c->resuming > 0 && (!class_grouped(c) || node_hold_gone(p, c));
        *keep = waits && class_cpus(c) > *keep ? class_cpus(c) : *keep;
    }
}

/* The next class of @j that lacks slots and was not tried in this pass: of the highest priority, and of those the one
 * that was served longest ago. While others wait, whose slots are asked back gets none: what comes back is theirs. */
static struct node_class *next_class(const struct plan_node *p, struct node_job *j,
                                     bool native, bool others)
{
    struct node_class *best = NULL;
    for (uint32_t i = 0; i < j->classes; i++) {
        uint32_t at = (j->next_cls + i) % j->classes;
        struct node_class *c = &j->cls[at];
        if (!c->tried && class_is_native(p, j, c) == native && node_lack(p, j, c) > 0 &&
            !(others && c->taking > 0) &&
            (!best || c->demand.priority > best->demand.priority ||
             (c->demand.priority == best->demand.priority &&
              c->served_at < best->served_at))) {
            best = c;
        }
    }
    return best;
}

/* The native that is owed most, or the guest whose turn it is, with something to serve.
 */
static struct node_job *next_job(struct plan_node *p, bool native, bool others)
{
    struct node_job *best = NULL;
    for (uint32_t i = 0; i < p->jobs_top; i++) {
        struct node_job *j = &p->jobs[native ? i : (p->next_guest + i) % p->jobs_top];
        if (!j->used || !next_class(p, j, native, others)) {
            continue;
        }
        if (!native) {
            return j;
        }
        if (!best || j->share.deficit > best->share.deficit ||
            (j->share.deficit == best->share.deficit &&
             share_below(&j->share, &best->share))) {
            best = j;
        }
    }
    return best;
}

static void served(struct plan_node *p, struct node_job *j, struct node_class *c,
                   uint64_t now)
{
    c->served_at = now;
    j->share.used += c->cost;
    j->next_cls = (uint32_t)(c - j->cls) + 1;
    c->short_since = CLOCK_NEVER;
    if (!class_is_native(p, j, c)) {
        p->next_guest = (uint32_t)(j - p->jobs) + 1;
    }
}

/* Since when a guest class is owed a slot; CLOCK_NEVER: it is not. */
static uint64_t owed_since(const struct plan_node *p, const struct node_class *c,
                           uint64_t now)
{
    bool owed = c->demand.strategy != DEMAND_NODE && !class_grouped(c) &&
                c->none_since != CLOCK_NEVER && now >= c->none_since + PLAN_OWED_NS &&
                (p->extra_until == 0 || now >= p->extra_until + PLAN_OWED_NS);
    return owed ? c->none_since : CLOCK_NEVER;
}

/* Since when a class waits for room to be kept for it; CLOCK_NEVER: it does not. Nobody takes what is
 * owed away in its quantum. */
static uint64_t late_since(const struct plan_node *p, const struct node_class *c,
                           uint64_t now)
{
    uint64_t since = c->short_since > c->none_since ? c->short_since : c->none_since;
    bool late = !class_grouped(c) && since != CLOCK_NEVER && now >= p->extra_until &&
                now >= since + PLAN_RESERVE_NS && class_held(c) == 0;
    return late ? since : CLOCK_NEVER;
}

struct resources node_reach(const struct plan_node *p, const struct node_class *c)
{
    if (class_grouped(c)) {
        return node_hold_reach(p, c);
    }
    struct resources reach = p->free;
    FOR_EACH_CLASS(p, j, k)
    {
        resources_add(&reach, &k->demand.need, class_grouped(k) ? 0 : class_held(k));
    }
    return reach;
}

static bool has_extra(const struct plan_node *p)
{
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->extra) {
            return true;
        }
    }
    return false;
}

/* A class that has nothing and waited too long, because CPUs come free one by one and it
 * needs more, because natives or classes of a higher priority have them all, comes before all others. What it needs is kept for it. */
static void reserve(struct plan_node *p, bool native, uint64_t now)
{
    struct node_job *job = NULL;
    struct node_class *first = NULL;
    uint64_t earliest = CLOCK_NEVER;
    bool may_owe = native && !has_extra(p);
    FOR_EACH_CLASS(p, j, c)
    {
        uint64_t since = class_is_native(p, j, c) == native ? late_since(p, c, now)
                         : may_owe                          ? owed_since(p, c, now)
                                                            : CLOCK_NEVER;
        if (since == CLOCK_NEVER || since >= earliest) {
            continue;
        }
        struct resources reach = node_reach(p, c);
        if (resources_fit(&reach, &c->demand.need)) {
            job = j;
            first = c;
            earliest = since;
        }
    }
    if (first && serve(p, job, first, now)) {
        served(p, job, first, now);
        first->kept_until = now + PLAN_QUANTUM_NS;
        if (class_is_native(p, job, first) != native) {
            first->extra = true;
            p->extra_until = now + PLAN_QUANTUM_NS;
        }
    } else if (first && !resources_fit(&p->free, &first->demand.need)) {
        resources_raise(&p->keep, &first->demand.need);
        p->kept_for = first;
    }
}

/* Gives slots out until nobody can be served. @others wait; returns whether some do now. */
static bool serve_all(struct plan_node *p, bool native, bool others, uint64_t now)
{
    struct node_job *j;
    while ((j = next_job(p, native, others))) {
        struct node_class *c = next_class(p, j, native, others);
        bool late = node_inside_late(p, c, now) == c;
        if (serve(p, j, c, now)) {
            served(p, j, c, now);
            c->kept_until = late ? now + PLAN_QUANTUM_NS : c->kept_until;
            continue;
        }
        c->tried = true;
        c->short_since = c->short_since == CLOCK_NEVER ? now : c->short_since;
        others = true;
    }
    return others;
}

/* What a guest class may hold: its leases, what it borrows, and while it has one the slot that it was owed. */
static uint32_t allowed(const struct plan_node *p, const struct node_job *j,
                        const struct node_class *c, uint64_t now)
{
    bool extra = c->extra && now < p->extra_until;
    uint32_t most = c->quota + borrowed(j, c);
    return most > extra ? most : extra;
}

/* Guests give back what their leases no longer cover, and the head hears when it is done.
 */
static void settle(struct plan_node *p, uint64_t now)
{
    FOR_EACH_CLASS(p, j, c)
    {
        uint32_t held = class_held(c), most = allowed(p, j, c, now);
        if (!class_is_native(p, j, c) && held > most) {
            uint32_t over = held - most, there = c->busy + c->idle;
            over = over < there ? over : there;
            node_take(p, j, c, over > c->taking ? over - c->taking : 0, now);
        }
    }
    for (uint32_t i = p->leases_count; i-- > 0;) {
        struct node_lease *l = &p->leases[i];
        const struct node_job *j = &p->jobs[l->job];
        const struct node_class *c = CLASS_OF(p, l);
        bool native = class_is_native(p, j, c); /* whose slots have no quota */
        if (l->settling && (native || class_held(c) <= c->quota)) {
            l->settling = false;
            node_say_held(p, l);
        }
        if (l->slots == 0 && !l->settling) {
            node_drop_lease(p, i);
        }
    }
}

void node_set_deadline(struct plan_node *p, uint64_t now)
{
    p->deadline = p->soon_at < p->window_at ? p->soon_at : p->window_at;
    uint64_t gathered = node_hold_deadline(p);
    p->deadline = gathered < p->deadline ? gathered : p->deadline;
    for (uint32_t i = 0; i < p->grants_count; i++) {
        uint64_t at = p->grants[i].not_before;
        p->deadline = at > now && at < p->deadline ? at : p->deadline;
    }
    uint32_t holders = 0; /* classes that could have to give something up */
    FOR_EACH_CLASS(p, j, c)
    {
        holders += c->cost > 0 && class_held(c) + c->quota > 0;
    }
    FOR_EACH_CLASS(p, j, c)
    {
        bool rivals = holders > (c->cost > 0 && class_held(c) + c->quota > 0);
        /* Who submits rings only where the last count was 0. */
        bool look = c->queued > 0 || c->guessed;
        uint64_t at = look ? now + PLAN_UNUSED_NS : CLOCK_NEVER;
        if (c->short_since != CLOCK_NEVER && rivals) {
            /* Cuts, turns and reservations all come due by time alone. */
            at = c->short_since + PLAN_REPORT_NS;
            at = at > now ? at : now + PLAN_QUANTUM_NS / 4;
        }
        if (c->extra && p->extra_until > now) {
            at = at < p->extra_until ? at : p->extra_until;
        }
        /* Else nothing happens by itself, but that the queue empties unnoticed. */
        p->deadline = p->deadline < at ? p->deadline : at;
    }
}

/* Notes which classes have tasks here and nothing to run them, and which guests gave back what they were
 * owed. One that is larger than the node waits for a larger one. */
static void watch_classes(struct plan_node *p, uint64_t now)
{
    FOR_EACH_CLASS(p, j, c)
    {
        bool none = !j->failed && c->queued > 0 && c->fits && class_held(c) == 0;
        if (!none) {
            c->none_since = CLOCK_NEVER;
        } else if (c->none_since == CLOCK_NEVER) {
            c->none_since = now;
        }
        if (c->extra && c->starting > 0) { /* its quantum begins with its worker */
            p->extra_until = now + PLAN_QUANTUM_NS;
        }
        c->extra = c->extra && class_held(c) > 0;
    }
}

void node_decide(struct plan_node *p, uint64_t now)
{
    watch_classes(p, now);
    FOR_EACH_CLASS(p, j, c)
    {
        c->tried = false;
        if (node_lack(p, j, c) == 0) {
            c->short_since = CLOCK_NEVER;
        }
    }
    for (struct node_job *j = p->jobs; j < p->jobs + p->jobs_top; j++) {
        j->share.used = 0;
        for (struct node_class *c = j->cls; j->used && c < j->cls + j->classes; c++) {
            j->share.used += (c->starting + c->busy) * c->cost;
        }
    }
    bool others = false;
    resources_clear(&p->keep);
    p->kept_for = NULL;
    node_hold_end(p, now); /* before: what comes free is theirs first */
    resume(p);
    node_hold_gather(p);
    for (int native = 1; native >= 0; native--) {
        if (resources_none(&p->keep)) {
            reserve(p, native, now);
        }
        others = serve_all(p, native, others, now);
    }
    node_make_room(p, now);
    settle(p, now);
    node_send(p, now);
    node_report(p, now);
    node_set_deadline(p, now);
}
