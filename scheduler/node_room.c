/* Where units come from for who was served in vain: idle slots first, then guests' leases, then natives
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
            node_take(p, j, c, spare, now);
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
        node_take(p, from, from_class, count < there ? (uint32_t)count : there, now);
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
        node_take(p, from, most, 1, now);
        got += most->units;
    }
}

void node_make_room(struct plan_node *p, uint64_t urgent, uint64_t now)
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
