/* What this node holds for the bundles of groups. The head names a hold when it wants it, when its group is
 * whole, and when it is over; here it is counted, and kept out of the reach of all but its group. */
#include <string.h>

#include "node_state.h"

static bool is_there(const struct node_hold *x)
{
    return x->word.state != PLAN_HOLD_WANT;
}

/* What classes have of what is held for a bundle, or (@bundle 0) for all of their group's here. */
enum sum {
    SUM_USED,    /* in slots and by workers that wait in a get */
    SUM_WAITING, /* by the latter alone: it comes back when others have run */
    SUM_LEASED, /* @c in slots or by its leases; others do not count, as leases may overlap */
};

static struct resources holds_in(const struct plan_node *p, enum plan_hold_state state,
                                 uint64_t group, uint32_t bundle)
{
    struct resources sum = resources_zero(&p->config.capacity);
    for (uint32_t i = 0; i < p->holds_count; i++) {
        const struct plan_hold *w = &p->holds[i].word;
        if (w->group == group && w->state == state && (!bundle || w->bundle == bundle)) {
            resources_add(&sum, &w->need, 1);
        }
    }
    return sum;
}

static struct resources kept_here(const struct plan_node *p, uint64_t group,
                                  uint32_t bundle)
{
    return holds_in(p, PLAN_HOLD_KEPT, group, bundle);
}

static struct resources sum_up(const struct plan_node *p, uint64_t group, uint32_t bundle,
                               enum sum sum, const struct node_class *of)
{
    struct resources used = resources_zero(&p->config.capacity);
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->demand.group != group || (bundle && c->demand.bundle != bundle)) {
            continue;
        }
        uint32_t held = class_held(c), slots = sum == SUM_USED ? held : 0;
        if (sum == SUM_LEASED && c == of) {
            slots = c->quota > held + c->resuming ? c->quota : held;
        }
        resources_add(&used, &c->demand.need, slots);
        class_book_kept(&used, c, c->lent + (sum == SUM_LEASED ? 0 : c->resuming),
                        resources_add);
    }
    return used;
}

/* What is held for a class without such a sum: in its bundle, and in all of its group's here. */
static struct resources left_of_bundle(const struct plan_node *p,
                                       const struct node_class *c, enum sum sum)
{
    struct resources left = kept_here(p, c->demand.group, c->demand.bundle);
    struct resources used = sum_up(p, c->demand.group, c->demand.bundle, sum, c);
    resources_sub(&left, &used, 1);
    return left;
}

static struct resources left_of(const struct plan_node *p, const struct node_class *c,
                                enum sum sum)
{
    uint64_t group = c->demand.group;
    struct resources left = kept_here(p, group, 0);
    struct resources used = sum_up(p, group, 0, sum, c);
    resources_sub(&left, &used, 1);
    if (c->demand.bundle) {
        struct resources one = left_of_bundle(p, c, sum);
        resources_limit(&left, &one);
    }
    return left;
}

struct resources node_hold_room(const struct plan_node *p, const struct node_class *c)
{
    return left_of(p, c, SUM_USED);
}

struct resources node_hold_bundle(const struct plan_node *p, const struct node_class *c)
{
    return left_of_bundle(p, c, SUM_USED);
}

struct resources node_hold_reach(const struct plan_node *p, const struct node_class *c)
{
    return left_of(p, c, SUM_WAITING);
}

struct resources node_hold_unleased(const struct plan_node *p, const struct node_class *c)
{
    return left_of(p, c, SUM_LEASED);
}

bool node_hold_gone(const struct plan_node *p, const struct node_class *c)
{
    struct resources kept = kept_here(p, c->demand.group, c->demand.bundle);
    return kept.amount[RESOURCE_CPU] < class_cpus(c);
}

/* CPUs of holds that are over, which slots have until they are back, or nobody. */
static bool left_in_ended(const struct plan_node *p, const struct node_class *c)
{
    uint64_t group = c->demand.group;
    struct resources ended = holds_in(p, PLAN_HOLD_END, group, c->demand.bundle);
    struct resources kept = kept_here(p, group, c->demand.bundle);
    struct resources used = sum_up(p, group, c->demand.bundle, SUM_USED, c);
    resources_add(&ended, &kept, 1);
    return ended.amount[RESOURCE_CPU] >= used.amount[RESOURCE_CPU] + class_cpus(c);
}

bool node_hold_resume(struct plan_node *p, const struct node_class *c)
{
    struct resources room = node_hold_room(p, c), cpus = resources_zero(&room);
    cpus.amount[RESOURCE_CPU] = class_cpus(c);
    if (room.amount[RESOURCE_CPU] >= class_cpus(c)) {
        return true;
    }
    if (!node_hold_gone(p, c)) {
        return false; /* others of its group give way to it */
    }
    if (left_in_ended(p, c)) {
        return true;
    }
    if (p->holds_count == PLAN_HOLDS_MAX || !resources_fit(&p->free, &cpus)) {
        return false;
    }
    struct plan_hold word = {.hold = --p->strays,
                             .group = c->demand.group,
                             .bundle = c->demand.bundle,
                             .state = PLAN_HOLD_END,
                             .need = cpus};
    resources_sub(&p->free, &cpus, 1);
    p->holds[p->holds_count++] =
        (struct node_hold){.word = word, .stray = true, .until = CLOCK_NEVER};
    return true;
}

/* Its tasks have more than what is kept for them: of one bundle, or of all. */
static bool overused(const struct plan_node *p, uint64_t group, uint32_t bundle)
{
    struct resources kept = kept_here(p, group, bundle);
    struct resources used = sum_up(p, group, bundle, SUM_USED, NULL);
    if (resources_fit(&kept, &used)) {
        kept = kept_here(p, group, 0);
        used = sum_up(p, group, 0, SUM_USED, NULL);
    }
    return !resources_fit(&kept, &used);
}

struct resources node_held(const struct plan_node *p)
{
    struct resources held = resources_zero(&p->config.capacity);
    for (uint32_t i = 0; i < p->holds_count; i++) {
        resources_add(&held, &p->holds[i].word.need, 1);
    }
    return held;
}

static void say(struct plan_node *p, const struct plan_hold *word)
{
    if (p->config.clustered && !p->head_up) {
        return; /* the head names it when it is back, and is answered then */
    }
    p->offer_known = true;
    p->offer_sent = node_room(p);
    p->config.act(p->config.arg, &(struct plan_node_action){.kind = PLAN_HOLD_SAID,
                                                            .hold = word,
                                                            .offer = &p->offer_sent});
}

/* It is over, and nothing is in it any more. */
static void drop(struct plan_node *p, uint32_t at)
{
    struct plan_hold word = p->holds[at].word;
    bool stray = p->holds[at].stray;
    if (is_there(&p->holds[at])) {
        resources_add(&p->free, &word.need, 1);
    }
    p->holds_count--;
    memmove(&p->holds[at], &p->holds[at + 1], (p->holds_count - at) * sizeof *p->holds);
    word.state = PLAN_HOLD_END;
    if (!stray) {
        say(p, &word);
    }
}

/* Ends it; settle() drops it when its slots are back. */
static void end(struct node_hold *x)
{
    x->until = CLOCK_NEVER;
    x->word.state = PLAN_HOLD_END;
}

static struct node_hold *find(const struct plan_node *p, uint64_t hold)
{
    for (uint32_t i = 0; i < p->holds_count; i++) {
        if (p->holds[i].word.hold == hold) {
            return &p->holds[i];
        }
    }
    return NULL;
}

static bool same(const struct plan_hold *a, const struct plan_hold *b)
{
    return a->group == b->group && a->bundle == b->bundle &&
           resources_equal(&a->need, &b->need);
}

/* What the head wants of a hold that is here. */
static void follow(struct plan_node *p, struct node_hold *x, enum plan_hold_state state)
{
    x->sync = p->sync;
    if (x->word.state == PLAN_HOLD_END) {
        return; /* it is said when it is over */
    }
    if (state == PLAN_HOLD_END) {
        if (x->word.state == PLAN_HOLD_WANT) {
            drop(p, (uint32_t)(x - p->holds));
        } else {
            end(x);
        }
        return;
    }
    if (x->word.state !=
        PLAN_HOLD_WANT) { /* one that gathers is answered when it has all */
        x->until = CLOCK_NEVER;
        x->word.state = state == PLAN_HOLD_KEPT ? state : x->word.state;
        say(p, &x->word);
    }
}

mob_status plan_node_hold(struct plan_node *p, const struct plan_hold *word, uint64_t now)
{
    if (!word->hold || !word->group || word->bundle == 0 ||
        word->bundle > MOB_GROUP_BUNDLES_MAX || word->state > PLAN_HOLD_KEPT ||
        word->state == PLAN_HOLD_HELD || !resources_ok(&word->need)) {
        return MOB_ERR_INVALID;
    }
    struct node_hold *x = find(p, word->hold);
    if (x && !same(&x->word, word)) {
        return MOB_ERR_INVALID;
    }
    node_begin(p, now);
    if (x) {
        follow(p, x, word->state);
    } else if (word->state == PLAN_HOLD_WANT && p->holds_count < PLAN_HOLDS_MAX &&
               resources_fit(&p->config.capacity, &word->need)) {
        p->holds[p->holds_count++] = (struct node_hold){
            .word = *word, .sync = p->sync, .until = now + PLAN_GATHER_MAX_NS};
        node_cut_leases(p); /* before the head hears that it is held */
    } else {
        struct plan_hold over = *word;
        over.state = PLAN_HOLD_END;
        say(p, &over);
    }
    node_decide(p, now);
    return MOB_OK;
}

/* Asks the slots of a group back that has more of them than is kept for it. */
static void take_back(struct plan_node *p, uint64_t group, uint64_t now)
{
    FOR_EACH_CLASS(p, j, c)
    {
        if (c->demand.group == group && overused(p, group, c->demand.bundle)) {
            node_take(p, j, c, c->busy + c->idle - c->taking, now);
        }
    }
}

/* Drops what is over and has nothing in it any more. */
static void settle(struct plan_node *p, uint64_t now)
{
    for (uint32_t i = p->holds_count; i-- > 0;) {
        const struct plan_hold *w = &p->holds[i].word;
        if (w->state != PLAN_HOLD_END) {
            continue;
        }
        if (overused(p, w->group, w->bundle)) {
            take_back(p, w->group, now);
        } else {
            drop(p, i);
        }
    }
}

void node_hold_end(struct plan_node *p, uint64_t now)
{
    for (uint32_t i = p->holds_count; i-- > 0;) {
        struct node_hold *x = &p->holds[i];
        if (now >= x->until && x->word.state == PLAN_HOLD_WANT) {
            drop(p, i);
        } else if (now >= x->until) {
            end(x);
        }
    }
    settle(p, now);
}

void node_hold_gather(struct plan_node *p)
{
    for (uint32_t i = 0; i < p->holds_count; i++) {
        struct node_hold *x = &p->holds[i];
        if (is_there(x)) {
            continue;
        }
        struct resources free = p->free;
        resources_sub(&free, &p->keep, 1);
        if (resources_fit(&free, &x->word.need)) {
            resources_sub(&p->free, &x->word.need, 1);
            x->word.state = PLAN_HOLD_HELD;
            x->until = CLOCK_NEVER; /* the head decides */
            say(p, &x->word);
        } else {
            resources_add(&p->keep, &x->word.need, 1);
            resources_limit(&p->keep, &p->config.capacity);
        }
    }
}

uint64_t node_hold_deadline(const struct plan_node *p)
{
    uint64_t next = CLOCK_NEVER;
    for (uint32_t i = 0; i < p->holds_count; i++) {
        next = p->holds[i].until < next ? p->holds[i].until : next;
    }
    return next;
}

void node_hold_new_head(struct plan_node *p, uint64_t now)
{
    for (uint32_t i = p->holds_count; i-- > 0;) {
        struct node_hold *x = &p->holds[i];
        if (x->word.state == PLAN_HOLD_KEPT) {
            x->until = now + PLAN_ORPHAN_NS;
        } else if (x->word.state != PLAN_HOLD_END) {
            drop(p, i);
        }
    }
}

void node_hold_sweep(struct plan_node *p)
{
    for (uint32_t i = p->holds_count; i-- > 0;) {
        struct node_hold *x = &p->holds[i];
        if (x->sync == p->sync ||
            (x->word.state == PLAN_HOLD_KEPT && x->until != CLOCK_NEVER)) {
            continue; /* named, or its owner has some time yet */
        }
        if (x->word.state == PLAN_HOLD_WANT) {
            drop(p, i);
        } else {
            end(x);
        }
    }
}

uint32_t plan_node_holds(const struct plan_node *p, struct plan_hold *ret, uint32_t max)
{
    for (uint32_t i = 0; i < p->holds_count && i < max; i++) {
        ret[i] = p->holds[i].word;
    }
    return p->holds_count;
}

const char *node_hold_check(const struct plan_node *p, struct resources *used)
{
    for (uint32_t i = 0; i < p->holds_count; i++) {
        const struct plan_hold *w = &p->holds[i].word;
        if (is_there(&p->holds[i])) {
            resources_add(used, &w->need, 1);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (p->holds[k].word.hold == w->hold) {
                return "two holds have one name";
            }
        }
    }
    FOR_EACH_CLASS(p, j, c)
    {
        bool ends = false; /* something of its group: slots may be on their way back */
        for (uint32_t i = 0; i < p->holds_count; i++) {
            const struct plan_hold *w = &p->holds[i].word;
            ends = ends || (w->group == c->demand.group && w->state == PLAN_HOLD_END);
        }
        if (class_grouped(c) && !ends && overused(p, c->demand.group, c->demand.bundle)) {
            return "tasks of a group have more than what is held for it";
        }
    }
    return NULL;
}
