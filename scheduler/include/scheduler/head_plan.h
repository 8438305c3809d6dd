/* head_plan.h - the planner of the head: who is a member, and who may use what others have
 * to spare.
 *
 * It deals in capacity, never in tasks. Every word from a node is absolute ("I offer
 * three CPUs and a GPU", "this class wants 12 slots elsewhere"), so a word that is lost with a
 * connection is repaired by saying it again, and one that is doubled does nothing.
 *
 * A demand is (job, class, owner): the owner is the node on whose board the tasks are. A
 * lease is a demand's share of one node: at most one for each pair. Its life:
 *
 *             place()                held > 0
 *   (none) -----------> OFFERED -------------------> ACTIVE
 *                          | held 0 (refused)          | grow: as OFFERED, a new epoch
 *                          v                           | shrink, revoke: a new epoch,
 * told to both (none) <--- held 0 --- ENDING <-+ (slots 0; counts until the node has said
 *                                                          that the last slot is back, or
 * is dead)
 *
 * The node is asked first and the owner told what the node took: an owner never holds a
 * grant that its node has not agreed to. Every change by the head has a new epoch; within
 * an epoch, slots only get fewer (the node cut it), so messages may be doubled or late
 * and the smaller number holds.
 *
 * Invariants, which plan_head_check() walks: the sums in nodes, jobs and demands are
 * those of their leases and holds; of no kind a node has more leased, or more booked for groups, than it has;
 * a group is whole if all of its bundles are kept, and tasks have leases in it only then; an owner is told of
 * no more slots than its node agreed to; a demand has at most one lease on a node. */
#ifndef SCHEDULER_HEAD_PLAN_H
#define SCHEDULER_HEAD_PLAN_H

#include "scheduler/plan.h"

struct plan_head;

enum plan_head_action_kind {
    PLAN_LEASE,     /* to @to, which executes: plan_node_lease() with @lease */
    PLAN_GRANT,     /* to @to, the owner: plan_node_grant(); @node executes */
    PLAN_SYNCED,    /* to @to: all its leases and grants have been repeated */
    PLAN_NODE_DEAD, /* to all: @node is dead, once */
    PLAN_HOLD,      /* to @to: plan_node_hold() with @hold */
    PLAN_GROUP,     /* to @to, its owner: how @group is now */
};

enum plan_group_state {
    PLAN_GROUP_WAITS,   /* others have what it needs, or no place was found for it */
    PLAN_GROUP_NOWHERE, /* no members could hold it, if they held nothing else */
    PLAN_GROUP_GATHERS, /* nodes gather what it needs */
    PLAN_GROUP_WHOLE,
};
struct plan_group_view {
    uint64_t group, owner;
    struct plan_job job;
    uint32_t count, strategy; /* bundles; enum mob_group_strategy */
    enum plan_group_state state;
    /* Of each bundle; 0: it has none. */
    uint64_t nodes[MOB_GROUP_BUNDLES_MAX], holds[MOB_GROUP_BUNDLES_MAX];
};

struct plan_head_action {
    enum plan_head_action_kind kind;
    uint64_t to;
    uint64_t node;
    uint64_t lease;
    uint32_t epoch;
    struct plan_job job;
    uint64_t owner;
    uint32_t cls, weight, slots;
    /* Valid during the call. */
    const struct demand *demand; /* of PLAN_LEASE */
    const struct plan_hold *hold;
    const struct plan_group_view *group;
};

/* Called for every action, inside the event that causes it. It must not call the planner.
 * What one event has to say to one node shares one message, in this order. */
typedef void (*plan_head_act)(void *arg, const struct plan_head_action *action);

struct plan_head_config {
    uint64_t head;        /* incarnation, unique among heads of the cluster */
    uint64_t seed;        /* of the choice among nodes */
    uint32_t nodes_max;   /* 0: NODES_MAX */
    uint32_t demands_max; /* 0: 4 * NODES_MAX */
    uint32_t leases_max;  /* 0: 16 * NODES_MAX */
    uint32_t groups_max;  /* 0: PLAN_GROUPS_MAX */
    uint32_t holds_max;   /* 0: 2 * NODES_MAX */
    plan_head_act act;
    void *arg;
};

struct plan_head *plan_head_create(const struct plan_head_config *config, uint64_t now);
void plan_head_destroy(struct plan_head *h);
void plan_head_tick(struct plan_head *h, uint64_t now);
uint64_t plan_head_deadline(const struct plan_head *h);

/* ---- membership
 * -------------------------------------------------------------------------- */
struct plan_join {
    uint64_t node;    /* incarnation */
    uint64_t session; /* random, chosen by the daemon at its start: tells a comeback from
                         a twin */
    uint64_t member_of; /* the head incarnation that it was last a member of, or 0 */
    struct resources capacity;
    const char *labels; /* NULL: none */
    bool
        remembered; /* the head's own records say it: it was a member at its last start, and
                            has not come back yet */
};
/* A node comes, or comes back on a new connection; its leases and grants are repeated to
 * it and PLAN_SYNCED follows. It then says its offer and demands. MOB_ERR_EXISTS: another
 * daemon has that incarnation. MOB_ERR_NODE_LOST: it was declared dead and must start
 * anew. MOB_ERR_FULL, MOB_ERR_INVALID. */
mob_status plan_head_join(struct plan_head *h, const struct plan_join *join,
                          uint64_t now);
/* Any word from a node is a sign of life; this is one without content. */
mob_status plan_head_heartbeat(struct plan_head *h, uint64_t node, uint64_t now);
/* No new leases there, and those that it has are called back. It is empty when the view's
 * `leased` is nothing. */
mob_status plan_head_drain(struct plan_head *h, uint64_t node, uint64_t now);
/* The node goes in good order; for the others it is as dead (PLAN_NODE_DEAD). */
mob_status plan_head_leave(struct plan_head *h, uint64_t node, uint64_t now);

/* ---- what nodes say: PLAN_REPORT, PLAN_DEMAND, PLAN_LEASE_HELD
 * ------------------------------ */
mob_status plan_head_report(struct plan_head *h, uint64_t node,
                            const struct resources *offer, uint64_t now);
struct plan_demand {
    struct plan_job job;
    struct demand demand;
    uint32_t cls, weight;
    uint32_t want; /* slots on other nodes, held ones among them; 0: it is over */
    struct plan_hint hints[PLAN_HINTS_MAX];
    uint32_t hints_count;
};
mob_status plan_head_demand(struct plan_head *h, uint64_t owner,
                            const struct plan_demand *demand, uint64_t now);
/* MOB_ERR_STATE: the epoch is stale, which happens when words cross and needs no answer.
 */
mob_status plan_head_lease_held(struct plan_head *h, uint64_t node, uint64_t lease,
                                uint32_t epoch, uint32_t slots,
                                const struct resources *offer, uint64_t now);

/* ---- groups: head_group.c has their states. A group's owner says it when it is made, and again when it comes
 * back; it hears how it is at once, and when that changes. */
/* Which nodes may hold its bundles. */
struct plan_where {
    uint64_t node;                   /* 0: any */
    char selector[SELECTOR_MAX + 1]; /* of labels that they must have; "": none */
};
struct plan_group {
    uint64_t id; /* of the cluster's */
    struct plan_job job;
    uint32_t count, strategy;
    const struct resources *needs;  /* of each bundle */
    const struct plan_where *where; /* NULL: all may */
    /* NULL, or where they were when it was whole last: for a head that does not know it. 0: nowhere. */
    const uint64_t *nodes, *holds;
};
/* MOB_ERR_FULL; MOB_ERR_EXISTS: another node's has that name. */
mob_status plan_head_group(struct plan_head *h, uint64_t owner,
                           const struct plan_group *group, uint64_t now);
/* The owner came, or came back, and has said all groups that it has: others of it are over. Until then they stay as long as
 * it is a member, and where it has come from another head none are placed that could get what is its own. */
mob_status plan_head_groups_said(struct plan_head *h, uint64_t owner, uint64_t now);
mob_status plan_head_group_end(struct plan_head *h, uint64_t owner, uint64_t group,
                               uint64_t now);
/* PLAN_HOLD_SAID. MOB_ERR_NOT_FOUND: it is over, which needs no answer. */
mob_status plan_head_hold_said(struct plan_head *h, uint64_t node,
                               const struct plan_hold *said,
                               const struct resources *offer, uint64_t now);

/* How a group is that was said. */
enum plan_group_state plan_head_group_state(const struct plan_head *h, uint64_t group);
/* When groups are looked at next; part of plan_head_deadline(). */
uint64_t plan_head_groups_deadline(const struct plan_head *h);

/* ---- to look at
 * ----------------------------------------------------------------------------- Copy up
 * to @max into @ret and return how many there are in all. Demands are valid until the
 * next event. */
struct plan_member_view {
    uint64_t node, silent_ns;
    struct resources capacity, offer, leased;
    struct resources booked; /* for bundles of groups */
    bool draining;
};
struct plan_lease_view {
    uint64_t lease, owner, node;
    uint32_t epoch, cls, slots;
    struct plan_job job;
    const struct demand *demand;
    const char *state; /* "offered", "active", "ending" */
};
struct plan_demand_view {
    struct plan_job job;
    uint64_t owner;
    uint32_t cls, want, granted;
    const struct demand *demand;
    bool infeasible; /* no node is large enough, and none with the labels it asks for */
};
size_t plan_head_nodes(const struct plan_head *h, struct plan_member_view *ret,
                       size_t max, uint64_t now);
size_t plan_head_leases(const struct plan_head *h, struct plan_lease_view *ret,
                        size_t max);
size_t plan_head_demands(const struct plan_head *h, struct plan_demand_view *ret,
                         size_t max);
size_t plan_head_groups(const struct plan_head *h, struct plan_group_view *ret,
                        size_t max);
/* NULL, or the invariant that does not hold. */
const char *plan_head_check(const struct plan_head *h);

#endif
