/* plan.h - what both planners speak of: jobs, hints, and the constants of the policy.
 *
 * A planner decides and does nothing else. It is fed events with the time, and calls back
 * with actions. It reads no clock, does no I/O, and allocates only when it is created, so
 * the same object code runs in the daemon and in the simulator (tests/sim).
 *
 * Threads: a planner belongs to one thread.
 * Errors: an event that names something unknown, or a number out of range, or that does
 * not fit the state returns a status and changes nothing. Events carry what peers and
 * clients said. */
#ifndef SCHEDULER_PLAN_H
#define SCHEDULER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mobula.h>

#include "core/clock.h"
#include "core/demand.h"
#include "core/limits.h"

/* A job: the incarnation of the node where its driver runs, and a number there. */
struct plan_job {
    uint64_t node;
    uint32_t number;
};

/* A class of a job: what its tasks ask for. Its number is a name which the job's daemon on a node gives it and never
 * gives again: the place that it has in tables, below CLASSES_MAX, and above that how many classes had the place before.
 * So a word about a class that is over names none that there is, and changes nothing. */
static inline uint32_t plan_class_place(uint32_t cls)
{
    return cls % CLASSES_MAX;
}

/* How many bytes of a backlog's arguments a node has already. */
struct plan_hint {
    uint64_t node;
    uint64_t bytes;
};

/* What a node holds for one bundle of a group. A name is never used again, and what is said of it only goes
 * forward (WANT, HELD, KEPT, END), so a word that is doubled or late does nothing. */
enum plan_hold_state {
    PLAN_HOLD_END,  /* it is over; from the node: and what it held is free */
    PLAN_HOLD_WANT, /* the head: gather it */
    PLAN_HOLD_HELD, /* the node: all of it is here; nothing runs in it yet */
    PLAN_HOLD_KEPT, /* the group is whole: its tasks may run in it */
};
#define PLAN_GROUPS_MAX 1024 /* of a cluster */
struct plan_hold {
    uint64_t hold, group;
    uint32_t bundle; /* from 1 */
    enum plan_hold_state state;
    struct resources need;
};

#define PLAN_HINTS_MAX 4          /* nodes hinted per class: the best few decide */
#define PLAN_WEIGHT_MAX 1000      /* of a job; 1 is usual */
#define PLAN_SLOTS_MAX 65536      /* slots that one class may want, one lease may grant */
#define PLAN_TASKS_MAX (1u << 30) /* tasks in one counter: what a hint is cut off at */

/* A job that is this far ahead of another in slot-time gives a slot up. Long enough that
 * moving a slot (microseconds) costs nothing, short enough that nobody notices the wait.
 */
#define PLAN_QUANTUM_NS (100 * NS_PER_MS)
/* The same between jobs for leases on other nodes: a lease that moves costs a dozen words
 * and a few round trips. A large injustice is put right sooner: it is seconds of one CPU. */
#define PLAN_TURN_NS (1 * NS_PER_S)
/* Changes gather this long before the head hears of them: a burst that the node's own
 * workers drain meanwhile is never reported, and a node sends at most 100 reports a
 * second. */
#define PLAN_REPORT_NS (10 * NS_PER_MS)
/* A demand too large for the CPUs that come free one by one waits this long, then the
 * CPUs are kept for it. */
#define PLAN_RESERVE_NS (1 * NS_PER_S)
/* Tasks that a guest's task submitted here and that nobody has run for so long, because natives have all
 * CPUs, are owed a slot for a quantum: a task of another node waits for them. */
#define PLAN_OWED_NS (1 * NS_PER_S)
/* Tasks queued at another node are worth this much work: it hides a round trip, and is
 * little to wait behind. */
#define PLAN_AHEAD_NS (5 * NS_PER_MS)
#define PLAN_DEPTH_MAX 256 /* tasks at another node for each slot there */
#define PLAN_LENT_MAX                                                                    \
    64 /* workers of a job on a node that wait inside a get without a slot */
#define PLAN_START_FAILS_MAX                                                             \
    3 /* worker starts that fail in a row until the job is given up */
/* An owner that is silent this long has its leases called back, and a silent node gets
 * none. */
#define PLAN_LEASE_NS (2 * NS_PER_S)
/* What comes and goes within this time the head never hears of: a lease stays that long
 * without use, since a job's next phase often comes sooner. Also how often a node looks at
 * a queue that it has no slots for. */
#define PLAN_UNUSED_NS (200 * NS_PER_MS)
/* Nodes gather what a group needs for so long, as slots come back to them: much longer than words take, and
 * little for tasks that wait meanwhile. Then all its bundles are let go, and it is tried again a second later, for
 * twice as long each time: where every task runs for a minute, no shorter time will do. */
#define PLAN_GATHER_NS (1 * NS_PER_S)
#define PLAN_GATHER_DOUBLINGS 8
/* A group that waits and that later ones have overtaken gets, after so long, what such ones give back on nodes that are
 * chosen for it, for as long; then others have their chance for as long, and it gets twice as long. */
#define PLAN_OVERTAKEN_NS (10 * NS_PER_S)
#define PLAN_OVERTAKEN_DOUBLINGS 5
/* A node whose head is silent gathers no longer than this. */
#define PLAN_GATHER_MAX_NS (2 * PLAN_GATHER_NS << PLAN_GATHER_DOUBLINGS)
/* A head that starts anew hears of the groups from their owners in this time; what it has not named to a node
 * by then is over there. */
#define PLAN_ORPHAN_NS (10 * NS_PER_S)
#define PLAN_HOLDS_MAX 1024 /* of one node */
/* After two nodes have refused a demand it waits this long. */
#define PLAN_RETRY_NS (50 * NS_PER_MS)

#endif
