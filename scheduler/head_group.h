/* head_group.h - groups and holds of the head planner; head_state.h has what they are part of.
 *
 *   head_group.c       their states, and what owners and nodes say of them
 *   head_gather.c      when those that wait are tried
 *   head_due.c         what is left to one that was overtaken for too long
 *   head_fit.c         which nodes a group's bundles go to
 *   head_hold.c        the book of what nodes hold for them
 *   head_inside.c      what tasks may have of them
 *   head_group_view.c  memory, lists for people, and the check */
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
    struct plan_group word; /* without what it points to */
    struct plan_where where;
    uint32_t owner;
    enum plan_group_state state;
    uint64_t turn;     /* the greater, the later it is tried */
    uint64_t retry_at; /* it found a node that did not get free */
    uint64_t late_at;  /* of one that gathers: then it lets go of all */
    uint32_t late;     /* so often it did, in a row */
    uint64_t tried;    /* plan_head.rooms, when it found no place */
    bool overtaken;    /* one that came later got a place while it waited */
    uint64_t due_at;   /* from when on that must not go on */
    uint32_t due;      /* so often it did not, in vain */
    uint64_t ends_by;  /* it waits for holds that end, no longer; 0: it does not yet */
    bool unsaid;       /* its owner came back and has not said it again */
    struct head_bundle bundles[MOB_GROUP_BUNDLES_MAX];
};

static inline struct head_hold *head_hold_at(const struct plan_head *h, uint32_t at)
{
    return at == INDEX_NONE ? NULL : &h->holds[at];
}

/* head_group.c */
struct head_group *head_group_find(const struct plan_head *h, uint64_t id);
void head_say_group(struct plan_head *h, const struct head_group *g);
/* A hold is no more. Its group waits for another one, and what was asked for beside it is let go. */
void head_group_lost(struct plan_head *h, struct head_group *g, uint64_t retry_at);

/* head_hold.c. Books a hold on a node; NULL: there are too many. */
struct head_hold *head_hold_new(struct plan_head *h, uint32_t node,
                                const struct plan_hold *word);
void head_hold_free(struct plan_head *h, struct head_hold *x);
void head_hold_state(struct plan_head *h, struct head_hold *x,
                     enum plan_hold_state state);
/* The node is to end it, and has it until it says that it did. */
void head_hold_end(struct plan_head *h, struct head_hold *x);
void head_say_hold(struct plan_head *h, const struct head_hold *x);
/* Those that wait may find a place now. */
void head_room_came(struct plan_head *h);

/* head_fit.c */
enum head_room {
    ROOM_NOW,   /* what is free */
    ROOM_SOON,  /* with what holds have that end */
    ROOM_BOOK,  /* what is booked for no other group, though tasks may run there */
    ROOM_LATER, /* and what is booked for groups that came later */
    ROOM_ALL,   /* all that members have */
};
/* Places of nodes for the bundles that have none. False: there are none, or at least none is found.
 * @ret_badness: to compare how well two choices follow its strategy. */
bool head_choose(struct plan_head *h, const struct head_group *g, enum head_room room,
                 uint32_t chosen[MOB_GROUP_BUNDLES_MAX], int32_t *ret_badness);
/* False: no members could hold the whole group, if they held nothing else. */
bool head_group_could(struct plan_head *h, const struct head_group *g);

/* head_due.c. Before groups are tried: which one must not be overtaken now. */
void head_due_look(struct plan_head *h, uint64_t now);
/* One got a place. */
void head_due_placed(struct plan_head *h, const struct head_group *g);
/* One is no more. */
void head_due_gone(struct plan_head *h, const struct head_group *g);

/* head_group_view.c */
void head_group_view(const struct plan_head *h, const struct head_group *g,
                     struct plan_group_view *ret);

#endif
