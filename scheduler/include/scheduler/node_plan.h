/* node_plan.h - the planner of one node, which alone rules the node's resources.
 *
 * It knows what the node has, the jobs with workers here, and for each class of a job its
 * demand, a hint of how many tasks are queued on this node's board, and its slots:
 *
 *   starting  a worker is being started to hold it  } these hold what the class needs, also
 *   busy      its worker runs tasks                 } a slot that was asked back, until it
 *   idle      its worker waits for a task           } is returned
 *   lent      its worker waits inside a get; its CPUs are free, all else is held: the task's
 *             memory, its GPUs and what is named are in use still
 *   resuming  its worker's get is over and it waits for CPUs
 *
 * A worker of a job with no slot is bare. The planner counts; which worker it is is the
 * daemon's to say. A job is native if its driver is on this node, else a guest. A guest
 * runs under leases from the head, natives as they like; natives go first. In a cluster a class with a
 * strategy (DEMAND_SPREAD ...) has leases for its own node too, as a guest's has: where its tasks run is the
 * head's to say.
 *
 * A class of a group runs under leases as well, and in what the node holds for the group's bundles: that is out of
 * the reach of all others, and no task of the group takes anything else. A hold's life:
 *
 *   WANT --all of it is free--> HELD --the head: KEPT--> KEPT --END--> ENDING --its slots are back--> END, said
 *     \--END, or too long -----> END, said             HELD --END--> END, said
 *
 * Invariants, which plan_node_check() walks:
 *   - of each kind slots and holds have at most what the node has, whatever the head or a peer says
 *   - slots of a group's classes have at most what is held for the group, of one bundle and of all; none is in
 *     a hold that is not KEPT, or was. Who was in a get when that ended goes on in a hold of its own, which only the
 *     node knows and which ends with its slot
 *   - a job's workers are its slots and its bare workers, at most workers_max
 *   - lent and resuming workers of a job are at most PLAN_LENT_MAX
 *   - a lease has one epoch at a time; within an epoch its slots only get fewer
 *   - a guest class starts no slot beyond the sum of its leases, but for the one that the node owes
 *     (PLAN_OWED_NS), and the CPUs that the job's other classes lend under theirs */
#ifndef SCHEDULER_NODE_PLAN_H
#define SCHEDULER_NODE_PLAN_H

#include "scheduler/plan.h"

struct plan_node;

enum plan_node_action_kind {
    /* For the workers here. @count slots or workers of @job, @cls. */
    PLAN_START, /* start a worker that holds a slot; answer worker_started or
                        worker_failed */
    PLAN_GIVE, /* give a slot to a bare worker of the job; it counts as busy. Never of a class with GPUs */
    PLAN_TAKE, /* ask slots back, idle ones first, else when a task ends; answer
                        slot_returned, or worker_died for a class with GPUs */
    PLAN_RESUME,     /* a resuming worker has its slot again; it counts as busy */
    PLAN_JOB_FAILED, /* workers of the job do not start; the planner starts no more */
    /* For other nodes. */
    PLAN_SEND, /* claim up to @count queued tasks for @node under @lease, @epoch */
    /* For the head; all that one event causes shares one message. */
    PLAN_REPORT, /* @offer: what natives do not need and no slot beyond its lease has */
    PLAN_DEMAND, /* @job, @cls of @demand, @weight: wants @count slots elsewhere; @hints */
    PLAN_LEASE_HELD, /* @lease at @epoch has @count slots here from now on (0: it is
                        over), @offer */
    PLAN_HOLD_SAID,  /* @hold is in its state from now on, @offer */
};

struct plan_node_action {
    enum plan_node_action_kind kind;
    struct plan_job job;
    uint32_t cls;
    uint32_t count;
    uint32_t weight;
    uint64_t node;
    uint64_t lease;
    uint32_t epoch;
    /* Valid during the call; NULL where they mean nothing. */
    const struct demand *demand;
    const struct resources *offer;
    const struct plan_hold *hold;
    const struct plan_hint *hints;
    uint32_t hints_count;
};

/* Called for every action, inside the event that causes it. It must not call the planner.
 */
typedef void (*plan_node_act)(void *arg, const struct plan_node_action *action);

struct plan_node_config {
    uint64_t node; /* incarnation */
    struct resources capacity;
    const char *labels; /* NULL: none; stays the caller's, and there */
    bool clustered;     /* a head says where tasks go that have a strategy */
    uint32_t jobs_max;  /* 0: JOBS_MAX */
    uint32_t
        workers_max; /* processes of one job; 0: PROCS_MAX - 1 (the driver is one too) */
    uint32_t
        leases_max; /* held here, and likewise granted to us elsewhere; 0: NODES_MAX */
    plan_node_act act;
    void *arg;
};

/* The planner's memory, the caller's to destroy. NULL: out of memory, or a bad config. */
struct plan_node *plan_node_create(const struct plan_node_config *config, uint64_t now);
void plan_node_destroy(struct plan_node *p);

/* Time passes. Before it the daemon refreshes the backlog of classes that it last gave
 * one > 0: reports are made here alone, from fresh counts. Due at plan_node_deadline()
 * (CLOCK_NEVER: only events matter); early or late does no harm. */
void plan_node_tick(struct plan_node *p, uint64_t now);
uint64_t plan_node_deadline(const struct plan_node *p);

/* ---- jobs
 * --------------------------------------------------------------------------------- A
 * guest job is added by its first lease, or before it by this. MOB_ERR_EXISTS, _FULL,
 * _INVALID. */
mob_status plan_node_job_add(struct plan_node *p, struct plan_job job, uint32_t weight,
                             uint64_t now);
/* The job is over and its workers here are gone: slots, leases and grants of it end,
 * silently for the workers, with PLAN_LEASE_HELD 0 and PLAN_DEMAND 0 for the head. */
mob_status plan_node_job_remove(struct plan_node *p, struct plan_job job, uint64_t now);
/* @demand: of one task; it may need nothing. Adding a class again with the same demand is
 * MOB_OK, with another, or while its place is another's, MOB_ERR_EXISTS. */
mob_status plan_node_class_add(struct plan_node *p, struct plan_job job, uint32_t cls,
                               const struct demand *demand, uint64_t now);
/* Its tasks are over for good: it is forgotten, and its place may be another's, of another name. MOB_ERR_STATE: it has
 * slots, leases, grants or tasks of others yet. */
mob_status plan_node_class_end(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now);
/* Tasks QUEUED on this node's board, roughly, and which nodes have their argument bytes.
 * Absolute. */
mob_status plan_node_backlog(struct plan_node *p, struct plan_job job, uint32_t cls,
                             uint32_t queued, const struct plan_hint *hints,
                             uint32_t hints_count, uint64_t now);

/* ---- slots and workers
 * -------------------------------------------------------------------- Each moves one
 * slot; MOB_ERR_STATE if there is none in the state that it leaves. */
enum plan_slot {
    PLAN_SLOT_STARTING,
    PLAN_SLOT_BUSY,
    PLAN_SLOT_IDLE,
    PLAN_SLOT_LENT,
    PLAN_SLOT_RESUMING,
    PLAN_SLOT_NONE, /* a bare worker; its class does not matter, and may be over */
};
mob_status plan_node_worker_started(struct plan_node *p, struct plan_job job,
                                    uint32_t cls, uint64_t now); /* STARTING -> BUSY */
mob_status plan_node_worker_failed(struct plan_node *p, struct plan_job job, uint32_t cls,
                                   uint64_t now); /* STARTING -> gone */
mob_status plan_node_slot_idle(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now); /* BUSY -> IDLE */
mob_status plan_node_slot_busy(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now); /* IDLE -> BUSY */
/* BUSY -> LENT. MOB_ERR_FULL if PLAN_LENT_MAX workers of the job are: its get fails. */
mob_status plan_node_slot_lent(struct plan_node *p, struct plan_job job, uint32_t cls,
                               uint64_t now);
mob_status
plan_node_slot_resume(struct plan_node *p, struct plan_job job, uint32_t cls,
                      uint64_t now); /* LENT -> RESUMING; PLAN_RESUME follows */
/* @from (BUSY or IDLE, or RESUMING: its task ended before there was room) -> the worker is bare. Also for a slot that
 * nobody asked back. */
mob_status plan_node_slot_returned(struct plan_node *p, struct plan_job job, uint32_t cls,
                                   enum plan_slot from, uint64_t now);
/* A worker that had its slot in state @from is dead. STARTING is worker_failed. */
mob_status plan_node_worker_died(struct plan_node *p, struct plan_job job, uint32_t cls,
                                 enum plan_slot from, uint64_t now);

/* ---- as a node that works for others
 * ------------------------------------------------------ The head says: @owner's tasks of
 * @job, @cls may hold @slots here; 0 ends the lease. It is answered with PLAN_LEASE_HELD:
 * with the slots that fit, or, if fewer than now are granted, when so many have come
 * back. MOB_ERR_STATE: the epoch is stale. */
struct plan_lease {
    uint64_t lease;
    uint32_t epoch;
    struct plan_job job;
    uint32_t cls, weight, slots;
    uint64_t owner;
    struct demand demand;
};
mob_status plan_node_lease(struct plan_node *p, const struct plan_lease *lease,
                           uint64_t now);
/* @count tasks of a job's class came under a lease. MOB_ERR_STATE: stale epoch, or
 * MOB_ERR_NOT_FOUND: no such lease; they go back to their owner, who knows better by now
 * or soon will. MOB_ERR_INVALID: the lease is for other tasks. */
mob_status plan_node_received(struct plan_node *p, struct plan_job job, uint32_t cls,
                              uint64_t lease, uint32_t epoch, uint32_t count,
                              uint64_t now);
/* @count tasks that others own are done or went back. */
mob_status plan_node_finished(struct plan_node *p, struct plan_job job, uint32_t cls,
                              uint32_t count, uint64_t now);

/* The head says what it wants of a hold: WANT, KEPT or END. Answered with PLAN_HOLD_SAID, of one that is new
 * when it is there. A hold that the node does not know, and that is not wanted anew, is over: END. */
mob_status plan_node_hold(struct plan_node *p, const struct plan_hold *word,
                          uint64_t now);

/* ---- as an owner that has tasks run elsewhere
 * --------------------------------------------- The head says: @slots of @job, @cls are
 * ours at @node; 0 ends it. MOB_ERR_STATE: stale. */
mob_status plan_node_grant(struct plan_node *p, uint64_t lease, uint32_t epoch,
                           struct plan_job job, uint32_t cls, uint64_t node,
                           uint32_t slots, uint64_t now);
/* After PLAN_SEND: @count tasks were claimed and sent; fewer than asked if there were no
 * more. */
mob_status plan_node_sent(struct plan_node *p, uint64_t lease, uint32_t count,
                          uint64_t now);
/* @count tasks came back, done. */
mob_status plan_node_back(struct plan_node *p, uint64_t lease, uint32_t count,
                          uint64_t now);
/* @count tasks came back undone; the grant rests for PLAN_RETRY_NS.
 */
mob_status plan_node_refused(struct plan_node *p, uint64_t lease, uint32_t count,
                             uint64_t now);

/* ---- the cluster
 * -------------------------------------------------------------------------- A connection
 * to a head (incarnation @head) stands: all reports are sent again. What another head
 * granted is over; what this head does not repeat until plan_node_head_synced() is over
 * too. */
void plan_node_head_up(struct plan_node *p, uint64_t head, uint64_t now);
void plan_node_head_synced(struct plan_node *p, uint64_t now);
/* Reports wait; leases and grants go on. */
void plan_node_head_down(struct plan_node *p, uint64_t now);
/* Another incarnation was declared dead: grants there end, and so do leases for it. Its
 * jobs are the daemon's to remove. */
void plan_node_peer_lost(struct plan_node *p, uint64_t node, uint64_t now);

/* ---- to look at
 * --------------------------------------------------------------------------- */
struct plan_class_view {
    uint32_t queued, starting, busy, idle, lent, resuming, asked_back;
    uint32_t leased; /* slots that leases allow here */
    uint32_t away;   /* tasks at other nodes */
    uint32_t want;   /* slots wanted elsewhere, as last reported */
};
mob_status plan_node_view(const struct plan_node *p, struct plan_job job, uint32_t cls,
                          struct plan_class_view *ret);

/* The job's weight, as its driver or its first lease said; 0: there is no such job. */
uint32_t plan_node_weight(const struct plan_node *p, struct plan_job job);

/* Why tasks that are queued here do not run yet: the first that holds. */
enum plan_why {
    PLAN_WHY_NOTHING,  /* none is queued, or each has a slot that is about to take it */
    PLAN_WHY_FAILED,   /* the job's workers do not start */
    PLAN_WHY_LARGE,    /* one of them asks for more than this node has */
    PLAN_WHY_STARTING, /* workers are starting for them */
    PLAN_WHY_LEASE,    /* another node's: the slots of its leases here are all in use */
    PLAN_WHY_PROCS,    /* the job has as many processes here as it may have */
    PLAN_WHY_TURN,     /* something is short, and other jobs hold of it too */
    PLAN_WHY_SHORT,    /* the same, and its own tasks hold all of it */
};
/* @ret_kind: what is short, a kind of the class's demand. MOB_ERR_NOT_FOUND. */
mob_status plan_node_why(const struct plan_node *p, struct plan_job job, uint32_t cls,
                         enum plan_why *ret, uint32_t *ret_kind);

/* Of a job's workers that wait inside a task. Vectors have the kinds of the node. */
struct plan_waiting {
    uint32_t workers;
    struct resources busy;  /* what those hold that are not lent: PLAN_LENT_MAX are */
    struct resources given; /* what would be free if some of them were gone */
};
/* Whether a slot of the class finds room here in time, when whatever does not wait has ended: _NOTHING (it does),
 * _LARGE, _PROCS or _SHORT. */
enum plan_why plan_node_room_for(const struct plan_node *p, struct plan_job job,
                                 uint32_t cls, const struct plan_waiting *waiting);

struct plan_node_lease_view {
    uint64_t lease, node; /* whose tasks it is for; @granted: where they run */
    uint32_t epoch, cls, slots;
    uint32_t away; /* of one that is granted: tasks that are there now */
    bool granted;  /* to us, elsewhere; else another node's here */
};
/* The first @max of a job's leases. Returns how many there are. */
uint32_t plan_node_leases(const struct plan_node *p, struct plan_job job,
                          struct plan_node_lease_view *ret, uint32_t max);
/* The slots granted elsewhere, by the places of classes. Leaves @ret alone if there is no such job. */
void plan_node_granted(const struct plan_node *p, struct plan_job job,
                       uint32_t ret[CLASSES_MAX]);
/* The first @max of what is held for groups or gathered; one that is over is in it while slots of its tasks have to
 * come back. Returns how many there are. */
uint32_t plan_node_holds(const struct plan_node *p, struct plan_hold *ret, uint32_t max);
struct resources plan_node_used(const struct plan_node *p);  /* held by slots */
struct resources plan_node_offer(const struct plan_node *p); /* natives do not need it */
/* NULL, or the invariant that does not hold. */
const char *plan_node_check(const struct plan_node *p);

#endif
