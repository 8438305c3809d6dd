/* head_group.h - groups and holds of the head planner; head_state.h has what they are part of.
 *
 *   head_group.c  their book, what owners and nodes say of them, and what tasks may have of them
 *   head_fit.c    which nodes a group's bundles go to */
#ifndef SCHEDULER_HEAD_GROUP_H
#define SCHEDULER_HEAD_GROUP_H

#include "head_state.h"

/* What a node was asked to hold. It counts there until the node has said that it is over, or is dead. */
struct head_hold {
    bool used;
    uint32_t node, next; /* of the node's; of those that are free */
    struct plan_hold word;
};

struct head_bundle {
    struct resources need;
    uint32_t hold; /* its place; INDEX_NONE: it has none */
};

struct head_group {
    bool used;
    struct plan_group word; /* without its arrays */
    uint32_t owner;
    enum plan_group_state state;
    uint64_t turn;     /* the greater, the later it is tried */
    uint64_t retry_at; /* it found a node that did not get free */
    uint64_t late_at;  /* of one that gathers: then it lets go of all */
    uint32_t late;     /* so often it did, in a row */
    uint64_t tried;    /* plan_head.rooms, when it found no place */
    uint64_t void_at;  /* its owner came back and has not said it again */
    struct head_bundle bundles[MOB_GROUP_BUNDLES_MAX];
};

/* Places of nodes for the bundles that have none. @now: by what is free, else by what is booked for no other
 * group. False: there are none, or at least none is found. */
bool head_choose(struct plan_head *h, const struct head_group *g, bool now,
                 uint32_t chosen[MOB_GROUP_BUNDLES_MAX]);
/* False: no members could hold the whole group, if they held nothing else. */
bool head_group_could(struct plan_head *h, const struct head_group *g);

void head_group_view(const struct plan_head *h, const struct head_group *g,
                     struct plan_group_view *ret);

#endif
