/* One group that must not be overtaken. A group that finds no place has no claim to any, so later ones that are smaller
 * may have what frees for as long as they come. One that waited PLAN_OVERTAKEN_NS and was overtaken meanwhile is due:
 * nodes are chosen for it where it would have a place if those that came later had none, and others get no more there than
 * it leaves. They may keep what they have for long, or another one may have to go too; so after a while it is the others'
 * turn, and each time it is due for twice as long. One group is due at a time, the one that came first. */
#include "head_group.h"

static struct head_group *due_group(const struct plan_head *h)
{
    return h->due == INDEX_NONE ? NULL : &h->groups[h->due];
}

/* Others may have what was left to it. */
static void let_go(struct plan_head *h)
{
    h->due = INDEX_NONE;
    head_room_came(h);
}

/* The nodes that were chosen are there yet. */
static bool nodes_stay(const struct plan_head *h, const struct head_group *g)
{
    for (uint32_t i = 0; i < g->word.count; i++) {
        if (g->bundles[i].hold == INDEX_NONE && !node_open(&h->nodes[h->due_nodes[i]])) {
            return false;
        }
    }
    return true;
}

static void choose(struct plan_head *h, uint64_t now)
{
    struct head_group *first = NULL;
    int32_t badness;
    for (uint32_t i = 0; i < h->groups_top; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && g->state == PLAN_GROUP_WAITS && g->overtaken && now >= g->due_at &&
            (!first || g->turn < first->turn)) {
            first = g;
        }
    }
    if (first && head_choose(h, first, ROOM_LATER, h->due_nodes, &badness)) {
        h->due = (uint32_t)(first - h->groups);
        h->due_until = now + (PLAN_OVERTAKEN_NS << first->due);
    }
}

void head_due_look(struct plan_head *h, uint64_t now)
{
    struct head_group *g = due_group(h);
    if (g && now >= h->due_until) {
        g->due_at = now + (PLAN_OVERTAKEN_NS << g->due);
        g->due += g->due < PLAN_OVERTAKEN_DOUBLINGS;
        let_go(h);
    } else if (g && !nodes_stay(h, g)) {
        let_go(h);
    }
    if (h->due == INDEX_NONE) {
        choose(h, now);
    }
}

void head_due_placed(struct plan_head *h, const struct head_group *g)
{
    head_due_gone(h, g);
    for (uint32_t i = 0; i < h->groups_top; i++) {
        struct head_group *o = &h->groups[i];
        if (o->used && o->state == PLAN_GROUP_WAITS && o->turn < g->turn) {
            o->overtaken = true;
        }
    }
}

void head_due_gone(struct plan_head *h, const struct head_group *g)
{
    if (due_group(h) == g) {
        let_go(h);
    }
}
