/* Where room comes from for who was served in vain: idle slots first, then guests' leases, then natives
 * that are ahead, and busy slots for one who must not wait. */
#include "node_state.h"

void node_take(struct plan_node *p, struct node_job *j, struct node_class *c,
               uint32_t count, uint64_t now)
{
    if (count > 0) {
        c->taking += count;
        c->taking_since = now;
        node_act(p, PLAN_TAKE, j, c, count);
    }
}

/* What is free, or was asked back lately and may come any moment. */
static struct resources have_soon(const struct plan_node *p, uint64_t now)
{
    struct resources soon = p->free;
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->taking > 0 && !class_grouped(c) &&
            now < c->taking_since + PLAN_QUANTUM_NS) {
            resources_add(&soon, &c->demand.need, c->taking);
        }
    }
    return soon;
}

/* What is free, or was asked back at any time. */
static struct resources have_asked(const struct plan_node *p)
{
    struct resources have = p->free;
    FOR_EACH_CLASS(p, j, c)
    {
        resources_add(&have, &c->demand.need, class_grouped(c) ? 0 : c->taking);
    }
    return have;
}

/* What @count tasks need beyond @soon. */
static struct resources missing_for(const struct plan_node *p,
                                    const struct resources *need, uint64_t count,
                                    const struct resources *soon)
{
    struct resources missing = resources_zero(&p->config.capacity);
    resources_add(&missing, need, count);
    resources_limit(&missing, &p->config.capacity);
    resources_sub(&missing, soon, 1);
    return missing;
}

/* Asks slots back to cover a part of @missing; they are soon there. */
static void take(struct plan_node *p, struct node_job *j, struct node_class *c,
                 uint32_t most, const struct resources *missing, struct resources *soon,
                 uint64_t now)
{
    uint64_t enough = resources_cover(missing, &c->demand.need);
    uint32_t count = enough < most ? (uint32_t)enough : most;
    node_take(p, j, c, count, now);
    resources_add(soon, &c->demand.need, count);
}

/* Asks idle slots back until nothing is missing of what is lacked. */
static void take_idle(struct plan_node *p, const struct resources *lacks,
                      struct resources *soon, uint64_t now)
{
    FOR_EACH_CLASS(p, j, c)
    {
        if (spare_idle(c) > 0 && !class_grouped(c)) {
            struct resources missing = missing_for(p, lacks, 1, soon);
            take(p, j, c, spare_idle(c), &missing, soon, now);
        }
    }
}

/* Leases are cut to what natives leave, and the head hears of it at once. What counts is
 * what they allow, not what is still held: that comes back when its tasks end. */
void node_cut_leases(struct plan_node *p)
{
    struct resources over = resources_zero(&p->config.capacity);
    struct resources offer = plan_node_offer(p);
    FOR_EACH_CLASS(p, j, c)
    {
        bool counts = !class_is_native(p, j, c) && !class_grouped(c);
        resources_add(&over, &c->demand.need, counts ? c->quota : 0);
    }
    resources_sub(&over, &offer, 1);
    for (uint32_t i = p->leases_count; i-- > 0;) {
        struct node_lease *l = &p->leases[i];
        const struct node_job *j = &p->jobs[l->job];
        const struct node_class *c = CLASS_OF(p, l);
        const struct resources *need = &c->demand.need;
        uint64_t cut = resources_cover(&over, need);
        if (cut == 0 || l->slots == 0 || class_is_native(p, j, c) || class_grouped(c)) {
            continue;
        }
        cut = cut < l->slots ? cut : l->slots;
        resources_sub(&over, need, cut);
        node_set_lease(p, l, l->slots - (uint32_t)cut);
        node_say_held(p, l);
    }
}

/* What a slot of @v for a class @c of @j that waits is worth to them; 0 if it need not give any. */
static uint64_t to_move(const struct node_job *v, const struct node_class *vc,
                        const struct node_job *j, const struct node_class *c,
                        uint64_t now)
{
    if (vc->busy + vc->idle <= vc->taking || class_grouped(vc)) {
        return 0;
    }
    if (v != j) {
        return share_to_move(&v->share, &j->share, PLAN_QUANTUM_NS);
    }
    /* Within a job classes of one priority take turns by the quantum. */
    bool turn = now >= c->short_since + PLAN_QUANTUM_NS &&
                now >= vc->served_at + PLAN_QUANTUM_NS &&
                vc->demand.priority == c->demand.priority;
    return turn && class_held(vc) * vc->cost > class_held(c) * c->cost;
}

/* The class of the lowest priority in a job, below that of @c, that has slots to give of what is missing. */
static struct node_class *lowest_below(struct node_job *j, const struct node_class *c,
                                       const struct resources *missing, uint64_t now)
{
    struct node_class *low = NULL;
    for (struct node_class *v = j->cls; v < j->cls + j->classes; v++) {
        if (v->known && !class_grouped(v) && v->busy + v->idle > v->taking &&
            now >= v->kept_until &&
            v->demand.priority < (low ? low : c)->demand.priority &&
            resources_cover(missing, &v->demand.need) > 0) {
            low = v;
        }
    }
    return low;
}

/* What is free, asked back, or held by lower classes of the job is enough for a slot of @c. */
static bool lower_suffice(const struct plan_node *p, const struct node_job *j,
                          const struct node_class *c, uint64_t now)
{
    struct resources reach = have_asked(p);
    for (const struct node_class *v = j->cls; v < j->cls + j->classes; v++) {
        if (v->known && !class_grouped(v) && now >= v->kept_until &&
            v->demand.priority < c->demand.priority) {
            resources_add(&reach, &v->demand.need, v->busy + v->idle - v->taking);
        }
    }
    return resources_fit(&reach, &c->demand.need);
}

/* What a class of a higher priority lacks, others of its job give at once. */
static void take_from_lower(struct plan_node *p, struct node_job *j,
                            const struct node_class *c, struct resources *soon,
                            uint64_t now)
{
    if (!lower_suffice(p, j, c, now)) {
        return;
    }
    for (struct node_class *low = j->cls; low;) {
        struct resources missing =
            missing_for(p, &c->demand.need, node_lack(p, j, c), soon);
        low = lowest_below(j, c, &missing, now);
        if (low) {
            take(p, j, low, low->busy + low->idle - low->taking, &missing, soon, now);
        }
    }
}

/* Time-slicing among natives: the one who is owed gets slots of the one who is ahead, if it has what the other
 * lacks, and nothing if all that are ahead have too little for a slot: what it asked back for nothing would idle. */
static void take_turns(struct plan_node *p, struct node_job *j, struct node_class *c,
                       struct resources *soon, uint64_t now)
{
    struct node_job *from = NULL;
    struct node_class *from_class = NULL;
    uint64_t most = 0;
    uint32_t lack = node_lack(p, j, c);
    struct resources missing = missing_for(p, &c->demand.need, lack, soon);
    struct resources reach = have_asked(p);
    FOR_EACH_CLASS(p, v, vc)
    {
        if (class_is_native(p, v, vc) && vc != c &&
            resources_cover(&missing, &vc->demand.need) > 0) {
            uint64_t cost = to_move(v, vc, j, c, now);
            uint32_t could = cost > 0 ? vc->busy + vc->idle - vc->taking : 0;
            resources_add(&reach, &vc->demand.need, could);
            if (cost > most ||
                (cost > 0 && cost == most && vc->busy > from_class->busy)) {
                from = v;
                from_class = vc;
                most = cost;
            }
        }
    }
    if (!from || !resources_fit(&reach, &c->demand.need)) {
        return;
    }
    uint64_t slots = most / c->cost;
    slots = slots < 1 ? 1 : slots < lack ? slots : lack;
    missing = missing_for(p, &c->demand.need, slots, soon);
    take(p, from, from_class, from_class->busy + from_class->idle - from_class->taking,
         &missing, soon, now);
}

/* Asks busy slots back for who must not wait longer, from the class that holds most. */
static void take_busy(struct plan_node *p, struct resources *soon, uint64_t now)
{
    for (;;) {
        struct resources missing = missing_for(p, &p->keep, 1, soon);
        struct node_job *from = NULL;
        struct node_class *most = NULL;
        uint64_t holds = 0;
        FOR_EACH_CLASS(p, j, c)
        {
            uint64_t left = (c->busy + c->idle - c->taking) * c->cost;
            if (left > holds && !class_grouped(c) &&
                resources_cover(&missing, &c->demand.need) > 0) {
                from = j;
                most = c;
                holds = left;
            }
        }
        if (!from) {
            return;
        }
        take(p, from, most, 1, &missing, soon, now);
    }
}

void node_make_room(struct plan_node *p, uint64_t now)
{
    node_inside_make_room(p, now);
    struct resources lacks = p->keep;
    bool cut = !resources_none(&p->keep), any = cut;
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->tried && c->cost > 0 && !class_grouped(c)) {
            uint32_t more = node_lack(p, j, c) - (c == p->kept_for);
            resources_add(&lacks, &c->demand.need, more);
            any = true;
            cut = cut ||
                  (class_is_native(p, j, c) && now >= c->short_since + PLAN_REPORT_NS);
        }
    }
    if (!any) {
        return;
    }
    struct resources soon = have_soon(p, now);
    take_idle(p, &lacks, &soon, now);
    if (cut) {
        node_cut_leases(p);
    }
    if (!resources_none(&p->keep)) {
        take_busy(p, &soon, now);
    }
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->tried && c->cost > 0 && class_is_native(p, j, c) && !class_grouped(c)) {
            take_from_lower(p, j, c, &soon, now);
            take_turns(p, j, c, &soon, now);
        }
    }
}
