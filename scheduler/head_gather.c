/* When groups are tried, and who comes first: those that began to wait first. Which nodes they get says head_fit.c. */
#include <stdlib.h>

#include "head_group.h"

#define TRIES_MAX 16 /* groups at one look: each compares all nodes */

/* Those that wait and may be tried now, who waited longest first. */
static int by_turn(const void *a, const void *b)
{
    const struct head_group *const *x = a, *const *y = b;
    return (*x)->turn < (*y)->turn ? -1 : 1;
}

static void gather(struct plan_head *h, struct head_group *g, const uint32_t *chosen)
{
    for (uint32_t i = 0; i < g->word.count; i++) {
        if (g->bundles[i].hold != INDEX_NONE) {
            continue;
        }
        struct plan_hold word = {.hold = h->config.head << 32 | (uint32_t)++h->serial,
                                 .group = g->word.id,
                                 .bundle = i + 1,
                                 .state = PLAN_HOLD_WANT,
                                 .need = g->bundles[i].need};
        struct head_hold *x = head_hold_new(h, chosen[i], &word);
        if (!x) { /* as many holds as there may be */
            head_group_lost(h, g, h->last + PLAN_GATHER_NS);
            return;
        }
        g->bundles[i].hold = (uint32_t)(x - h->holds);
    }
    g->state = PLAN_GROUP_GATHERS;
    g->ends_by = 0;
    g->late_at = h->last + (PLAN_GATHER_NS << g->late);
    h->groups_at = g->late_at < h->groups_at ? g->late_at : h->groups_at;
    for (uint32_t i = 0; i < g->word.count; i++) {
        const struct head_hold *x = head_hold_at(h, g->bundles[i].hold);
        if (x->word.state == PLAN_HOLD_WANT) {
            head_say_hold(h, x);
        }
    }
}

/* Holds that end make room for a better choice than there is now, or for one at all: it is a matter of a few words, or of
 * tasks that are killed. Whoever removes a group and makes another one means what both have. */
static bool better_soon(struct plan_head *h, struct head_group *g, bool found,
                        int32_t badness)
{
    uint32_t chosen[MOB_GROUP_BUNDLES_MAX];
    int32_t then = 0;
    g->ends_by = h->ending > 0 ? g->ends_by : 0;
    if (h->ending == 0 || (g->ends_by && h->last >= g->ends_by) ||
        !head_choose(h, g, ROOM_SOON, chosen, &then) || (found && then >= badness)) {
        return false;
    }
    g->ends_by = g->ends_by ? g->ends_by : h->last + PLAN_GATHER_NS;
    h->groups_at = g->ends_by < h->groups_at ? g->ends_by : h->groups_at;
    return true;
}

/* Tries one that waits. */
static void try(struct plan_head *h, struct head_group *g)
{
    uint32_t chosen[MOB_GROUP_BUNDLES_MAX];
    int32_t badness = 0;
    enum plan_group_state was = g->state;
    g->tried = h->rooms;
    bool found = head_choose(h, g, ROOM_NOW, chosen, &badness);
    if (better_soon(h, g, found, badness)) {
        g->state = PLAN_GROUP_WAITS;
        g->tried = 0; /* also when its time is over */
    } else if (found || head_choose(h, g, ROOM_BOOK, chosen, &badness)) {
        gather(h, g, chosen);
    } else {
        g->state = head_group_could(h, g) ? PLAN_GROUP_WAITS : PLAN_GROUP_NOWHERE;
    }
    if (g->state != was) {
        head_say_group(h, g);
    }
    if (g->state == PLAN_GROUP_GATHERS) {
        head_due_placed(h, g);
    }
}

/* Those that gather in vain let go. */
static void end_late(struct plan_head *h, uint64_t now)
{
    for (uint32_t i = 0; i < h->groups_top; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && g->state == PLAN_GROUP_GATHERS && now >= g->late_at) {
            g->late += g->late < PLAN_GATHER_DOUBLINGS;
            head_group_lost(h, g, now + PLAN_GATHER_NS);
        }
    }
}

void head_group_place(struct plan_head *h, uint64_t now)
{
    if (now < h->groups_at) {
        return;
    }
    if (now < h->known_at) {
        /* One that comes now could get the place that another one has from an earlier head. */
        h->groups_at = h->known_at;
        return;
    }
    uint32_t waiting = 0;
    end_late(h, now);
    head_due_look(h, now);
    h->groups_at = h->due == INDEX_NONE ? CLOCK_NEVER : h->due_until;
    for (uint32_t i = 0; i < h->groups_top; i++) {
        struct head_group *g = &h->groups[i];
        if (g->used && g->state == PLAN_GROUP_GATHERS) {
            h->groups_at = g->late_at < h->groups_at ? g->late_at : h->groups_at;
        }
        if (!g->used || g->state >= PLAN_GROUP_GATHERS || g->tried == h->rooms) {
            continue;
        }
        if (now >= g->retry_at) {
            h->waiting[waiting++] = g;
        } else {
            h->groups_at = g->retry_at < h->groups_at ? g->retry_at : h->groups_at;
        }
    }
    qsort(h->waiting, waiting, sizeof(struct head_group *), by_turn);
    for (uint32_t i = 0; i < waiting && i < TRIES_MAX; i++) {
        try(h, h->waiting[i]);
    }
    if (waiting > TRIES_MAX && now + PLAN_RETRY_NS < h->groups_at) {
        h->groups_at = now + PLAN_RETRY_NS;
    }
}
