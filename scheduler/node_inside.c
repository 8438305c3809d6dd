/* Who has what is held here for a group: of its classes, whose leases may overlap (head_inside.c), as many run as there is
 * room for. As outside of groups (node_room.c) the highest priority comes first, classes of one priority take turns by
 * the quantum, and one that has had nothing for too long comes before all: what comes free is kept for it.
 *
 * All classes of a group are of one job, but tasks of it that came from different nodes are of different jobs here. What
 * one class gives serves another if that lacks what both may have: a bundle's slots are those of its classes and take
 * part in what the group has here. */
#include "node_state.h"

/* Whether one gives slots to another. */
typedef bool (*gives_way_fn)(const struct node_class *o, const struct node_class *c,
                             uint64_t now);

#define FOR_EACH_BESIDE(p, c, v, o)                                                      \
    FOR_EACH_CLASS(p, v, o)                                                              \
    if (o != (c) && o->demand.group == (c)->demand.group)

/* Since when a class waits for room to be kept for it; CLOCK_NEVER: it does not. */
static uint64_t late_since(const struct plan_node *p, const struct node_job *j,
                           const struct node_class *c, uint64_t now)
{
    bool gathers = c->demand.together && class_held(c) > 0; /* which others wait in */
    uint64_t since = c->short_since > c->none_since ? c->short_since : c->none_since;
    since = gathers ? c->short_since : since;
    if (since == CLOCK_NEVER || (!gathers && now < since + PLAN_RESERVE_NS) ||
        node_lack(p, j, c) == 0) {
        return CLOCK_NEVER;
    }
    struct resources reach = node_hold_reach(p, c);
    return resources_fit(&reach, &c->demand.need) ? since : CLOCK_NEVER;
}

const struct node_class *node_inside_late(const struct plan_node *p,
                                          const struct node_class *c, uint64_t now)
{
    const struct node_class *first = NULL;
    uint64_t earliest = CLOCK_NEVER;
    FOR_EACH_CLASS(p, v, o)
    {
        bool its = class_grouped(o) && o->demand.group == c->demand.group;
        uint64_t since = its ? late_since(p, v, o, now) : CLOCK_NEVER;
        if (since < earliest) {
            first = o;
            earliest = since;
        }
    }
    return first;
}

struct resources node_inside_room(const struct plan_node *p, const struct node_class *c,
                                  uint64_t now)
{
    struct resources room = node_hold_room(p, c);
    const struct node_class *late = node_inside_late(p, c, now);
    if (late && late != c) {
        resources_sub(&room, &late->demand.need, 1);
    }
    return room;
}

/* ---- room for who was served in vain ------------------------------------------------------------------------- */

/* What @o gives is of use for @c: a slot in another bundle is not, if its own has too little. */
static bool serves(const struct plan_node *p, const struct node_class *o,
                   const struct node_class *c)
{
    if (!c->demand.bundle || o->demand.bundle == c->demand.bundle) {
        return true;
    }
    struct resources own = node_hold_bundle(p, c);
    return resources_fit(&own, &c->demand.need);
}

/* What @count tasks of a class lack, beyond its room and what was asked back for it lately. */
static struct resources missing_for(const struct plan_node *p, const struct node_class *c,
                                    uint32_t count, uint64_t now)
{
    struct resources missing = resources_zero(&p->config.capacity);
    struct resources room = node_hold_room(p, c);
    resources_add(&missing, &c->demand.need, count);
    resources_limit(&missing, &p->config.capacity);
    resources_sub(&missing, &room, 1);
    FOR_EACH_BESIDE(p, c, v, o)
    {
        if (o->taking > 0 && now < o->taking_since + PLAN_QUANTUM_NS && serves(p, o, c)) {
            resources_sub(&missing, &o->demand.need, o->taking);
        }
    }
    return missing;
}

/* Asks slots of a class back, up to @most, for what is missing. */
static void take(struct plan_node *p, struct node_job *j, struct node_class *o,
                 uint32_t most, const struct resources *missing, uint64_t now)
{
    uint64_t enough = resources_cover(missing, &o->demand.need);
    node_take(p, j, o, enough < most ? (uint32_t)enough : most, now);
}

static uint32_t to_give(const struct node_class *o)
{
    return o->busy + o->idle - o->taking;
}

/* Its turn is over, and the next one is that of @c: classes of one priority have the same time. */
static bool turn_is_over(const struct node_class *o, const struct node_class *c,
                         uint64_t now)
{
    return o->demand.priority == c->demand.priority &&
           now >= c->short_since + PLAN_QUANTUM_NS &&
           now >= o->served_at + PLAN_QUANTUM_NS &&
           class_held(o) * o->cost > class_held(c) * c->cost;
}

static bool is_below(const struct node_class *o, const struct node_class *c, uint64_t now)
{
    return o->demand.priority < c->demand.priority && now >= o->kept_until;
}

/* The class beside @c that gives something of what is missing: of the lowest priority, and of those the one that holds
 * most. */
static struct node_class *who_gives(const struct plan_node *p, const struct node_class *c,
                                    const struct resources *missing,
                                    gives_way_fn gives_way, uint64_t now,
                                    struct node_job **ret_job)
{
    struct node_class *low = NULL;
    FOR_EACH_BESIDE(p, c, v, o)
    {
        bool can = to_give(o) > 0 && (!gives_way || gives_way(o, c, now)) &&
                   serves(p, o, c) && resources_cover(missing, &o->demand.need) > 0;
        if (can && (!low || o->demand.priority < low->demand.priority ||
                    (o->demand.priority == low->demand.priority &&
                     to_give(o) * o->cost > to_give(low) * low->cost))) {
            low = o;
            *ret_job = v;
        }
    }
    return low;
}

/* Asks slots back until @count tasks of @c have enough, or nobody gives way (NULL: all do). */
static void take_until(struct plan_node *p, const struct node_class *c, uint32_t count,
                       gives_way_fn gives_way, uint64_t now)
{
    for (;;) {
        struct resources missing = missing_for(p, c, count, now);
        struct node_job *v = NULL;
        struct node_class *o = who_gives(p, c, &missing, gives_way, now, &v);
        if (!o) {
            return;
        }
        take(p, v, o, to_give(o), &missing, now);
    }
}

static void make_room(struct plan_node *p, struct node_job *j, struct node_class *c,
                      uint64_t now)
{
    uint32_t lack = node_lack(p, j, c);
    FOR_EACH_BESIDE(p, c, v, o)
    {
        if (spare_idle(o) > 0 && serves(p, o, c)) {
            struct resources missing = missing_for(p, c, lack, now);
            take(p, v, o, spare_idle(o), &missing, now);
        }
    }
    bool late = node_inside_late(p, c, now) == c;
    take_until(p, c, lack, is_below, now);
    take_until(p, c, 1, late ? NULL : turn_is_over, now);
}

/* Workers of a group whose get is over come before its tasks: what they lack is asked back, of idle slots first, and
 * those of their own bundle before others. */
static void take_for_resuming(struct plan_node *p, const struct node_class *c,
                              uint64_t now)
{
    uint64_t missing = c->resuming * class_cpus(c);
    FOR_EACH_CLASS(p, j, o)
    {
        if (o->demand.group == c->demand.group) {
            uint64_t soon = o->taking * class_cpus(o);
            missing -= soon < missing ? soon : missing;
        }
    }
    for (int pass = 0; pass < 4; pass++) { /* idle, busy; of each its bundle's first */
        bool busy = pass >= 2, others = pass % 2;
        FOR_EACH_CLASS(p, j, o)
        {
            bool its = o->demand.group == c->demand.group && class_cpus(o) > 0 &&
                       (others || o->demand.bundle == c->demand.bundle);
            uint32_t have = o->idle + (busy ? o->busy : 0);
            uint64_t count = its ? (missing + class_cpus(o) - 1) / class_cpus(o) : 0;
            have = have > o->taking ? have - o->taking : 0;
            count = count < have ? count : have;
            node_take(p, j, o, (uint32_t)count, now);
            missing -= count * class_cpus(o) < missing ? count * class_cpus(o) : missing;
        }
    }
}

void node_inside_make_room(struct plan_node *p, uint64_t now)
{
    FOR_EACH_CLASS(p, j, c)
    {
        if (class_grouped(c) && c->resuming > 0) {
            take_for_resuming(p, c, now);
        }
    }
    FOR_EACH_CLASS(p, j, c)
    {
        if (class_grouped(c) && c->tried) {
            make_room(p, j, c, now);
        }
    }
}
