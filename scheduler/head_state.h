/* head_state.h - what the head planner is made of; its files share this and nobody else
 * sees it.
 *
 *   head_plan.c   membership
 *   head_said.c   what nodes say: offers, demands, leases held
 *   head_lease.c  the book of leases: sums, lists, and the words that a change causes
 *   head_place.c  who gets leases, who gives them back, and where
 *   head_view.c   lists for people, and the check
 *   head_group.h  groups, and what nodes hold for them */
#ifndef SCHEDULER_HEAD_STATE_H
#define SCHEDULER_HEAD_STATE_H

#include "index.h"
#include "scheduler/head_plan.h"
#include "share.h"

#define DEMANDS_MAX (16 * NODES_MAX) /* that a head may be made for; fewer jobs */

struct head_node {
    bool used, draining, quiet;
    bool awaited; /* it may have groups from an earlier head, and has not said all */
    uint64_t node, session, heard;
    struct resources capacity, offer;
    char labels[LABELS_MAX + 1];
    struct resources leased;     /* of the leases that it executes, but in groups */
    struct resources booked;     /* for bundles: of no kind more than it has */
    struct resources asked;      /* of it, what its offer may still have in it */
    uint32_t holds, holds_count; /* the first of those */
    uint32_t leases;             /* the first of them */
    uint32_t demands; /* that it owns: its place is not free before they are gone */
};

struct head_job {
    struct plan_job key;
    struct share share; /* used: cost of its leases */
    uint32_t demands;   /* 0: the place is free */
    uint32_t unmet;     /* of them in unmet, but those in groups */
    uint32_t lowest;    /* scratch: its demand of the lowest rank that has leases */
};

struct head_demand {
    bool used;
    uint32_t owner; /* place of its node */
    uint32_t job;
    uint32_t cls, want;
    uint32_t
        nodes; /* members that are large enough for one task of it, and may have it */
    struct demand demand;
    uint64_t cost;                 /* share_cost() of one slot; 0: it is in a group */
    uint32_t granted;              /* slots of its leases */
    uint32_t leases;               /* the first, ended ones that still count among them */
    uint64_t void_at;              /* the owner came back and has not said it again */
    uint32_t refusals, refused_by; /* in a row; the last node that did */
    uint64_t retry_at;
    uint64_t
        none_since; /* since when it waits and has nothing; CLOCK_NEVER: it does not */
    struct plan_hint hints[PLAN_HINTS_MAX];
    uint32_t hints_count;
};

/* A lease is in its demand's list and in its node's. */
enum head_list { OF_DEMAND, OF_NODE };
struct head_link {
    uint32_t next, prev;
};

struct head_lease {
    bool used;
    bool dirty; /* slots changed in this event; the word is still to be sent */
    struct head_link
        link[2]; /* of OF_DEMAND, OF_NODE; the first chains free places too */
    uint64_t lease;
    uint32_t epoch, demand, node;
    uint32_t slots;   /* what the head wants it to have */
    uint32_t told;    /* what the owner was told */
    uint32_t counted; /* what the node may be holding: counts against it */
};

struct head_hold;
struct head_group;

struct plan_head {
    struct plan_head_config config;
    uint64_t last, random, serial;
    uint64_t scan_at, place_at, placed_at, turn_at;
    uint64_t void_at;       /* the first of the demands' */
    bool settled;           /* nobody waits, and nobody is owed anything */
    uint32_t free_lease;    /* the first free place below leases_top */
    struct resources total; /* CPUs, memory and GPUs of all members */
    struct resources least; /* scratch: what no demand that waits needs less of */
    uint32_t nodes_count, nodes_top, jobs_top, demands_top, leases_top;
    uint32_t nodes_free, jobs_free, demands_free; /* no place below is free */
    struct head_node *nodes;
    struct head_job *jobs; /* demands_max: each demand may be of a job of its own */
    struct head_demand *demands;
    struct head_lease *leases;
    struct share **active; /* scratch: demands_max */
    /* Kept with every change, so that no event looks at all nodes or demands: who has something to
     * spare, and who wants more than it was granted. */
    struct index_set spare, unmet;
    uint32_t *heap;  /* scratch: of unmet, the most deserving first */
    uint32_t *roomy; /* scratch: of spare, those that are not known to be full */
    uint32_t *dirty; /* leases to speak of */
    uint32_t heap_count, roomy_count, dirty_count;
    /* Groups: head_group.h. */
    struct head_group *groups;
    struct head_hold *holds;
    uint32_t groups_top, groups_count, holds_top, holds_free;
    uint32_t ending;    /* holds whose nodes are still to say that they are over */
    uint32_t due;       /* the group that must not be overtaken, or INDEX_NONE, */
    uint64_t due_until; /* until then, on these nodes, by its bundles: */
    uint32_t due_nodes[MOB_GROUP_BUNDLES_MAX];
    uint64_t groups_at;    /* when those that wait are looked at next */
    uint64_t known_at;     /* until then an earlier head's are not all known */
    uint32_t awaited;      /* nodes that are */
    uint64_t rooms, turns; /* counts what makes room for them; who waited longer */
    bool crowded;          /* leases in groups changed: some may share without need now */
    struct head_group **waiting; /* scratch: groups_max */
    struct resources *room; /* scratch of head_fit.c, for each node: room for bundles */
    uint16_t *there;        /* bundles of the group at hand */
    uint32_t *match, *match_seen,
        match_round; /* the bundle that has it; when looked at */
    struct index_map group_index, hold_index;
    struct index_map node_index, lease_index, job_index; /* by node, lease, mixed job */
    struct index_map demand_index, pair_index;           /* by the keys below */
};

static inline uint64_t demand_key(uint32_t job, uint32_t cls, uint32_t owner)
{
    _Static_assert(NODES_MAX <= 1 << 14 && DEMANDS_MAX <= 1 << 18, "one key for each");
    return (uint64_t)job << 46 | (uint64_t)cls << 14 | owner;
}

/* Jobs have two words for a name and the index takes one. */
static inline uint64_t job_key(struct plan_job job)
{
    return index_mix(job.node) + index_mix(job.number + 1ull);
}

static inline uint64_t pair_key(uint32_t demand, uint32_t node)
{
    return (uint64_t)demand << 32 | node;
}

/* A node that may get leases, and what it has for them. */
static inline bool node_open(const struct head_node *n)
{
    return n->used && n->node != 0 && !n->draining && !n->quiet;
}
static inline struct resources node_spare(const struct head_node *n)
{
    struct resources spare = n->offer;
    resources_sub(&spare, &n->leased, 1);
    resources_sub(&spare, &n->asked, 1);
    return spare;
}

/* What the demand may have: a silent owner's word does not count. */
static inline uint32_t demand_want(const struct plan_head *h, const struct head_demand *d)
{
    return h->nodes[d->owner].quiet ? 0 : d->want;
}

static inline struct head_lease *lease_at(const struct plan_head *h, uint32_t at)
{
    return at == INDEX_NONE ? NULL : &h->leases[at];
}

/* Walks a list; the lease at hand may be freed meanwhile. */
#define FOR_EACH_LEASE(h, first, list, l)                                                \
    for (struct head_lease *l = lease_at(h, first), *l##_next = NULL;                    \
         l && (l##_next = lease_at(h, l->link[list].next), true); l = l##_next)

/* head_lease.c: the book of leases */
void head_set_slots(struct plan_head *h, struct head_lease *l, uint32_t slots);
void head_set_counted(struct plan_head *h, struct head_lease *l, uint32_t counted);
void head_free_lease(struct plan_head *h, struct head_lease *l);
void head_free_demand(struct plan_head *h, struct head_demand *d);
/* More slots for a demand on a node. False: no room for another lease. */
bool head_give(struct plan_head *h, struct head_demand *d, uint32_t node, uint32_t slots);
/* Takes @slots back from the demand's leases. */
void head_shrink(struct plan_head *h, struct head_demand *d, uint32_t slots);
/* Sends what head_set_slots() changed. */
void head_flush(struct plan_head *h);
void head_say_lease(struct plan_head *h, const struct head_lease *l);
void head_say_grant(struct plan_head *h, const struct head_lease *l);

/* head_group_view.c: the memory of groups. */
bool head_group_create(struct plan_head *h);
void head_group_destroy(struct plan_head *h);
const char *head_group_check(const struct plan_head *h);
/* head_inside.c. Bundles whose node would do for a task of it; slots that it may still have on a
 * node; the node that has most, of those with some that no other class has (@alone: of those only), or INDEX_NONE. */
uint32_t head_group_nodes(const struct plan_head *h, const struct head_demand *d);
uint32_t head_group_slots(const struct plan_head *h, const struct head_demand *d,
                          uint32_t at);
uint32_t head_group_choose(const struct plan_head *h, const struct head_demand *d,
                           bool alone);
/* Moves one that shares what it has with other classes to where there is room for it alone; then `crowded` is to be
 * looked at again. */
void head_group_part(struct plan_head *h);
/* head_gather.c */
void head_group_place(struct plan_head *h, uint64_t now);
/* head_group.c. The groups that an earlier head's member has are waited for, or no more. */
void head_group_awaited(struct plan_head *h, uint32_t node, bool awaited, uint64_t now);
/* A node came, or came back: what it holds is named again. What its owner does not say again is over. */
void head_group_repeat(struct plan_head *h, uint32_t node);
void head_group_node_lost(struct plan_head *h, uint32_t node, uint64_t now);

/* head_said.c */
mob_status head_set_offer(struct plan_head *h, struct head_node *n,
                          const struct resources *offer);
/* head_plan.c. A word of @node came. NULL: it is no member. */
struct head_node *head_heard(struct plan_head *h, uint64_t node, uint64_t now);
/* A demand could be met on a node if it had it to itself. */
bool head_could(const struct head_node *n, const struct head_demand *d);

/* head_place.c. After every change of a node's offer, leases or state; of a demand's want, grants, or the
 * nodes that it could have; and of what the word of an owner counts. */
void head_node_changed(struct plan_head *h, uint32_t at);
void head_demand_changed(struct plan_head *h, struct head_demand *d);
void head_owner_changed(struct plan_head *h, uint32_t at);
/* The same with what it then has too much, or if it is over. */
void head_want_changed(struct plan_head *h, struct head_demand *d);
void head_place(struct plan_head *h, uint64_t now);
/* Slots that a demand may have on a node now. */
uint32_t head_slots_on(const struct plan_head *h, const struct head_demand *d,
                       uint32_t at);

#endif
