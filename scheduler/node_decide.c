/* One pass after every event: slots are given out in the order resuming workers, natives
 * by deficit, guests in turn; then what is short of units asks others for theirs. */
#include "node_state.h"

void node_act(struct plan_node *p, enum plan_node_action_kind kind,
              const struct node_job *j, const struct node_class *c, uint32_t count)
{
    p->config.act(p->config.arg,
                  &(struct plan_node_action){.kind = kind,
                                             .job = j->key,
                                             .cls = (uint32_t)(c - j->cls),
                                             .count = count,
                                             .units = c->units,
                                             .weight = j->share.weight,
                                             .hints = c->hints,
                                             .hints_count = c->hints_count});
}

uint32_t node_lack(const struct plan_node *p, const struct node_job *j,
                   const struct node_class *c)
{
    uint32_t here = c->idle + c->starting;
    if (j->failed || c->queued <= here || c->units > p->config.units) {
        return 0;
    }
    uint32_t lack = c->queued - here;
    if (!job_is_native(p, j)) {
        uint32_t held = class_held(c) + c->resuming;
        uint32_t left = c->quota > held ? c->quota - held : 0;
        lack = lack < left ? lack : left;
    }
    return lack;
}

static uint64_t units_free(const struct plan_node *p)
{
    return p->config.units - p->used;
}

static void take(struct plan_node *p, struct node_job *j, struct node_class *c,
                 uint32_t count, uint64_t now)
{
    if (count > 0) {
        c->taking += count;
        c->taking_since = now;
        node_act(p, PLAN_TAKE, j, c, count);
    }
}

/* Slots that idle beyond the class's own queue and were not asked back yet. */
static uint32_t spare_idle(const struct node_class *c)
{
    uint32_t wanted = c->queued + c->taking;
    return c->idle > wanted ? c->idle - wanted : 0;
}

/* One slot for @c; false if there are no units or no process for it now. */
static bool serve(struct plan_node *p, struct node_job *j, struct node_class *c,
                  uint64_t now)
{
    if (c->units > units_free(p)) {
        return false;
    }
    if (j->bare > 0) {
        j->bare--;
        c->busy++;
        c->queued -= c->queued > 0; /* the worker takes one at once: the hint follows */
        node_act(p, PLAN_GIVE, j, c, 1);
    } else if (j->workers < p->config.workers_max) {
        j->workers++;
        c->starting++;
        node_act(p, PLAN_START, j, c, 1);
    } else {
        /* No more processes: one that idles in another class will do. */
        for (struct node_class *o = j->cls; o < j->cls + j->classes; o++) {
            if (o != c && spare_idle(o) > 0) {
                take(p, j, o, 1, now);
                break;
            }
        }
        return false;
    }
    p->used += c->units;
    return true;
}

/* Workers whose get is over come first: their tasks hold arguments, and others wait for
 * them. Returns the units that one of them lacks, or 0. */
static uint64_t resume(struct plan_node *p)
{
    uint64_t lacks = 0;
    FOR_EACH_CLASS(p, j, c)
    {
        while (c->resuming > 0 && c->units <= units_free(p)) {
            c->resuming--;
            c->busy++;
            p->used += c->units;
            node_act(p, PLAN_RESUME, j, c, 1);
        }
        lacks = c->resuming > 0 && c->units > lacks ? c->units : lacks;
    }
    return lacks;
}

/* The next class of @j that lacks slots and was not tried in this pass. While others wait,
 * whose slots are asked back gets none: what comes back is theirs. */
static struct node_class *next_class(const struct plan_node *p, struct node_job *j,
                                     bool others)
{
    for (uint32_t i = 0; i < j->classes; i++) {
        uint32_t at = (j->next_cls + i) % j->classes;
        struct node_class *c = &j->cls[at];
        if (!c->tried && node_lack(p, j, c) > 0 && !(others && c->taking > 0)) {
            return c;
        }
    }
    return NULL;
}

/* The native that is owed most, or the guest whose turn it is, with something to serve.
 */
static struct node_job *next_job(struct plan_node *p, bool native, bool others)
{
    struct node_job *best = NULL;
    for (uint32_t i = 0; i < p->jobs_top; i++) {
        struct node_job *j = &p->jobs[native ? i : (p->next_guest + i) % p->jobs_top];
        if (!j->used || job_is_native(p, j) != native || !next_class(p, j, others)) {
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

static void served(struct plan_node *p, struct node_job *j, struct node_class *c)
{
    j->share.used += c->units;
    j->next_cls = (uint32_t)(c - j->cls) + 1;
    c->short_since = CLOCK_NEVER;
    if (!job_is_native(p, j)) {
        p->next_guest = (uint32_t)(j - p->jobs) + 1;
    }
}

/* A class that has nothing and waited too long, because CPUs come free one by one and it
 * needs more, comes before all others. Returns what it still lacks, to be kept for it. */
static uint64_t reserve(struct plan_node *p, bool native, uint64_t now)
{
    struct node_job *job = NULL;
    struct node_class *first = NULL;
    FOR_EACH_CLASS(p, j, c)
    {
        bool late =
            c->short_since != CLOCK_NEVER && now >= c->short_since + PLAN_RESERVE_NS;
        if (late && job_is_native(p, j) == native && class_held(c) == 0 &&
            (!first || c->short_since < first->short_since)) {
            job = j;
            first = c;
        }
    }
    if (first && serve(p, job, first, now)) {
        served(p, job, first);
        return 0;
    }
    return first && first->units > units_free(p) ? first->units : 0;
}

/* Gives slots out until nobody can be served. @others wait; returns whether some do now. */
static bool serve_all(struct plan_node *p, bool native, bool others, uint64_t now)
{
    struct node_job *j;
    while ((j = next_job(p, native, others))) {
        struct node_class *c = next_class(p, j, others);
        if (serve(p, j, c, now)) {
            served(p, j, c);
            continue;
        }
        c->tried = true;
        c->short_since = c->short_since == CLOCK_NEVER ? now : c->short_since;
        others = true;
    }
    return others;
}

/* Units that were asked back lately and may come any moment. */
static uint64_t units_coming(const struct plan_node *p, uint64_t now)
{
    uint64_t coming = 0;
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->taking > 0 && now < c->taking_since + PLAN_QUANTUM_NS) {
            coming += (uint64_t)c->taking * c->units;
        }
    }
    return coming;
}

/* Asks idle slots back until @units are free or coming. */
static void take_idle(struct plan_node *p, uint64_t units, uint64_t now)
{
    uint64_t got = units_free(p) + units_coming(p, now);
    FOR_EACH_CLASS(p, j, c)
    {
        if (got >= units) {
            return;
        }
        uint32_t spare = c->units > 0 ? spare_idle(c) : 0;
        if (spare > 0) {
            uint64_t enough = (units - got + c->units - 1) / c->units;
            spare = spare < enough ? spare : (uint32_t)enough;
            take(p, j, c, spare, now);
            got += (uint64_t)spare * c->units;
        }
    }
}

/* Leases are cut to what natives leave, and the head hears of it at once. What counts is
 * what they allow, not what is still held: that comes back when its tasks end. */
static void cut_leases(struct plan_node *p)
{
    uint64_t leased = 0, offer = plan_node_offer(p);
    FOR_EACH_CLASS(p, j, c)
    {
        leased += job_is_native(p, j) ? 0 : (uint64_t)c->quota * c->units;
    }
    for (uint32_t i = p->leases_count; i-- > 0 && leased > offer;) {
        struct node_lease *l = &p->leases[i];
        uint32_t units = p->jobs[l->job].cls[l->cls].units;
        if (units == 0 || l->slots == 0 || job_is_native(p, &p->jobs[l->job])) {
            continue;
        }
        uint64_t need = (leased - offer + units - 1) / units;
        uint32_t cut = need < l->slots ? (uint32_t)need : l->slots;
        leased -= (uint64_t)cut * units;
        node_set_lease(p, l, l->slots - cut);
        node_say_held(p, l);
    }
}

/* A slot of @v for a class @c of @j that waits; 0 units if it need not give any. */
static uint64_t to_move(const struct node_job *v, const struct node_class *vc,
                        const struct node_job *j, const struct node_class *c,
                        uint64_t now)
{
    if (vc->units == 0 || vc->busy + vc->idle <= vc->taking) {
        return 0;
    }
    if (v != j) {
        return share_to_move(&v->share, &j->share, PLAN_QUANTUM_NS);
    }
    /* Within a job its classes take turns by the quantum. */
    bool turn = now >= c->short_since + PLAN_QUANTUM_NS;
    return turn &&
           (uint64_t)class_held(vc) * vc->units > (uint64_t)class_held(c) * c->units;
}

/* Time-slicing among natives: the one who is owed gets slots of the one who is ahead. */
static void take_turns(struct plan_node *p, struct node_job *j, struct node_class *c,
                       uint64_t now)
{
    struct node_job *from = NULL;
    struct node_class *from_class = NULL;
    uint64_t most = 0;
    FOR_EACH_CLASS(p, v, vc)
    {
        if (job_is_native(p, v) && vc != c) {
            uint64_t units = to_move(v, vc, j, c, now);
            if (units > most ||
                (units > 0 && units == most && vc->busy > from_class->busy)) {
                from = v;
                from_class = vc;
                most = units;
            }
        }
    }
    if (!from) {
        return;
    }
    uint64_t lacks = (uint64_t)node_lack(p, j, c) * c->units;
    most = most < c->units ? c->units : most > lacks ? lacks : most;
    uint64_t got = units_free(p) + units_coming(p, now);
    if (got < most) {
        uint64_t count = (most - got + from_class->units - 1) / from_class->units;
        uint32_t there = from_class->busy + from_class->idle - from_class->taking;
        take(p, from, from_class, count < there ? (uint32_t)count : there, now);
    }
}

/* Asks busy slots back for who must not wait longer, from the class that holds most. */
static void take_busy(struct plan_node *p, uint64_t units, uint64_t now)
{
    uint64_t got = units_free(p) + units_coming(p, now);
    while (got < units) {
        struct node_job *from = NULL;
        struct node_class *most = NULL;
        FOR_EACH_CLASS(p, j, c)
        {
            uint64_t left = (uint64_t)(c->busy + c->idle - c->taking) * c->units;
            if (left >
                (most ? (uint64_t)(most->busy + most->idle - most->taking) * most->units
                      : 0)) {
                from = j;
                most = c;
            }
        }
        if (!from) {
            return;
        }
        take(p, from, most, 1, now);
        got += most->units;
    }
}

/* Finds units for what was tried in vain; @urgent of them for one who must not wait. */
static void make_room(struct plan_node *p, uint64_t urgent, uint64_t now)
{
    uint64_t lacks = urgent;
    bool cut = urgent > 0;
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->tried && c->units > 0) {
            uint64_t units = (uint64_t)node_lack(p, j, c) * c->units;
            lacks += units;
            cut = cut || (job_is_native(p, j) && now >= c->short_since + PLAN_REPORT_NS);
        }
    }
    if (lacks == 0) {
        return;
    }
    take_idle(p, lacks < p->config.units ? lacks : p->config.units, now);
    if (cut) {
        cut_leases(p);
    }
    take_busy(p, urgent, now);
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->tried && c->units > 0 && job_is_native(p, j)) {
            take_turns(p, j, c, now);
        }
    }
}

/* Guests give back what their leases no longer cover, and the head hears when it is done.
 */
static void settle(struct plan_node *p, uint64_t now)
{
    FOR_EACH_CLASS(p, j, c)
    {
        uint32_t held = class_held(c);
        if (!job_is_native(p, j) && held > c->quota) {
            uint32_t over = held - c->quota, there = c->busy + c->idle;
            over = over < there ? over : there;
            take(p, j, c, over > c->taking ? over - c->taking : 0, now);
        }
    }
    for (uint32_t i = p->leases_count; i-- > 0;) {
        struct node_lease *l = &p->leases[i];
        const struct node_class *c = &p->jobs[l->job].cls[l->cls];
        bool native = job_is_native(p, &p->jobs[l->job]); /* whose slots have no quota */
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
    for (uint32_t i = 0; i < p->grants_count; i++) {
        uint64_t at = p->grants[i].not_before;
        p->deadline = at > now && at < p->deadline ? at : p->deadline;
    }
    uint32_t holders = 0; /* classes that could have to give units up */
    FOR_EACH_CLASS(p, j, c)
    {
        holders += c->units > 0 && class_held(c) + c->quota > 0;
    }
    FOR_EACH_CLASS(p, j, c)
    {
        bool rivals = holders > (c->units > 0 && class_held(c) + c->quota > 0);
        uint64_t at = c->queued > 0 ? now + PLAN_UNUSED_NS : CLOCK_NEVER;
        if (c->short_since != CLOCK_NEVER && rivals) {
            /* Cuts, turns and reservations all come due by time alone. */
            at = c->short_since + PLAN_REPORT_NS;
            at = at > now ? at : now + PLAN_QUANTUM_NS / 4;
        }
        /* Else nothing happens by itself, but that the queue empties unnoticed. */
        p->deadline = p->deadline < at ? p->deadline : at;
    }
}

void node_decide(struct plan_node *p, uint64_t now)
{
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
            j->share.used += (uint64_t)(c->starting + c->busy) * c->units;
        }
    }
    /* What a resuming worker needs is kept for it; it was running a moment ago. */
    uint64_t urgent = resume(p);
    bool others = false;
    for (int native = 1; native >= 0 && urgent == 0; native--) {
        urgent = reserve(p, native, now);
        if (urgent == 0) {
            others = serve_all(p, native, others, now);
        }
    }
    make_room(p, urgent, now);
    settle(p, now);
    node_send(p, now);
    node_report(p, now);
    node_set_deadline(p, now);
}
