/* job.h - a driver and its workers on this node.
 *
 *   job.c        begin and end         job_look.c   what is looked at while it runs
 *   classes.c    what tasks ask for: classes made, and given back
 *   demand.c     tasks that ask for what no node has
 *   due.c        deadlines, and ends by force */
#ifndef NODE_JOB_H
#define NODE_JOB_H

#include <mobula.h>
#include <stdbool.h>
#include <stdint.h>

#include "away_job.h"
#include "census.h"
#include "grant.h"
#include "local.h"
#include "output.h"
#include "proc.h"
#include "scheduler/node_plan.h"
#include "store/board.h"
#include "store/lane.h"

struct compact;
struct conn;
struct group;
struct guest;
struct restore;
struct seg_use;
struct spill;

#define LEAVE_GRACE_NS                                                                   \
    (1000000000ull) /* for running tasks when their driver shuts down */
#define EARLY_KILLS_MAX                                                                  \
    30u /* workers killed before mob_init(), in a row; further ones count as failures */
#define AUDIT_MIN_NS                                                                     \
    (50000000ull) /* between audits after a death, while counts are in doubt */
#define AUDIT_MAX_NS (60000000000ull)
/* Results for another node wait for each other so long, while at least so many tasks of it wait here. */
#define GATHER_NS (1000000ull)
#define GATHER_TASKS 8u
#define RESCAN_NS (20000000ull) /* between looks at records that views still pin */
#define LIMBO_MAX_NS (1000000000ull)

/* Objects on disk: spill.h. */
struct job_spill {
    struct spill *files; /* NULL: nothing of it was ever on disk */
    struct restore *restores;
    struct compact *compact; /* NULL: none is at work */
    struct seg_use *use;     /* by segment; NULL: not looked at yet */
};

struct job {
    struct node *node;
    uint32_t index;  /* in node.jobs */
    uint32_t number; /* on this node, never used again */
    char name[64];
    struct board board;
    struct lane lane; /* the daemon's own on it */
    uint64_t board_bytes;
    int bell;
    struct loop_op bell_op, ahead_op;
    uint32_t ahead; /* the segment that is being made ahead; SEGMENT_NO: none */
    struct loop_timer timer, audit_timer, limbo_timer;
    uint64_t audit_ns; /* until the next audit, if one is to follow */
    uint64_t limbo_ns; /* until the next look at what the daemon could not free */
    struct conn *driver;
    int driver_pidfd;
    int watch; /* the driver's pipe */
    bool leaving, killed, ended, failed, inline_tasks, replied;
    struct local_spawn spawn;
    int exe;
    struct output out, err;
    uint32_t classes; /* places of classes in use or once used; of them: */
    uint32_t class_name
        [CLASSES_MAX]; /* the planner's name of the class, or of the next one there */
    uint32_t no_class; /* bits: there is none now */
    uint32_t
        closing; /* bits: its group is no more; when nothing is left of it, its place is free */
    uint64_t closing_at, closing_ns; /* the next look at those; until the one after it */
    struct group *groups;
    uint32_t groups_count;
    struct demand demand[CLASSES_MAX];
    uint32_t backlog[CLASSES_MAX];        /* as last told to the planner */
    uint32_t start_failures[CLASSES_MAX]; /* to be told to it */
    uint32_t gpu_waits[CLASSES_MAX];      /* workers to start once GPUs are free */
    uint32_t early_kills;                 /* of workers, since one joined */
    bool give_up;                         /* it wants no more workers started */
    struct segment segments[BOARD_SEGMENTS_MAX];
    uint32_t segments_leaving; /* of them, SEGMENT_LEAVING */
    struct member members[PROCS_MAX];
    uint32_t
        members_top; /* none at or above it was ever used: there are few, and they are large */
    uint64_t requeued, failed_tasks;   /* for status */
    struct job_census census;          /* likewise */
    uint8_t timeline_order[PROCS_MAX]; /* of each process's ring; 0: it has none */
    uint64_t timeline_bytes;           /* of all of them; in board_bytes */
    uint64_t timeline_owner; /* the node whose job it is, and its number there */
    uint32_t timeline_owner_job;
    char start_why[256]; /* why the daemon could not start its last worker, or "" */
    uint64_t unmet_ns[CLASSES_MAX]; /* since when no node is large enough for it, or 0 */
    struct loop_timer demand_timer, due_timer, class_timer;
    /* In a cluster: */
    struct arena *arena; /* of the daemon's own segments */
    uint32_t
        busy; /* bytes on their way to or from other nodes, which keep the job here */
    struct guest *guest; /* its driver is on another node; else NULL */
    struct away_job away;
    struct lineage_job lineage;
    struct job_spill spill;
    uint32_t last_gang; /* the number of its newest one; gang.h */
};

/* Shared memory that a job takes before its first object. */
uint64_t job_least_bytes(void);
/* A job found no memory to begin: the others are asked for theirs, and objects go to disk. */
void job_make_room(struct node *n);
void job_hello(struct conn *c, struct local_msg *m, int *fds, unsigned count);
void job_leave(struct conn *c);
/* The driver is gone, or the job is over for another reason. */
void job_end(struct job *j);
/* Goes on with the end of a job if nothing is in the way any more. */
void job_step(struct job *j);
/* The job that a driver here has, by its number; or NULL. */
struct job *job_find(struct node *n, uint32_t number);
/* A job whose driver is on another node. */
mob_status job_open_guest(struct node *n, struct guest *g, const char *name,
                          struct job **ret);
/* The job is to end in good order: nothing new begins, and what runs has a while. */
void job_close(struct job *j);
/* Nothing of the job can run: says so to the driver, once. */
void job_fail(struct job *j, mob_status st, const char *text);
struct plan_job job_plan_id(const struct job *j);

/* ---- job_look.c ---- */
/* The bell rang: does what clients asked for on the board, or goes on with the job's end. */
void job_rung(struct loop_op *op, int result);
/* Does what clients asked for on the board; after a death too, as the dead may have set a notice
 * and not rung. */
void job_notices(struct job *j);
/* A ready queue makes no sense: workers that see that end, and others would follow them. */
bool job_queue_corrupt(const struct job *j);
/* Corrects what a death left too high, now and until nothing is in doubt. */
void job_audit(struct job *j);
/* Looks at workers and queues, and tells the planner what changed. */
void job_refresh(struct job *j);
/* ---- classes.c ---- */
/* A driver or worker asks for a class of demand. */
void job_class(struct conn *c, struct local_msg *m);
/* Classes that the planner knows of a guest, on its board too. */
void job_sync_classes(struct job *j);
/* The place of the class of a demand, added if it is new. MOB_ERR_FULL. */
mob_status job_add_class(struct job *j, const struct demand *demand, uint32_t *ret);
/* There is a class in that place. */
static inline bool job_has_class(const struct job *j, uint32_t place)
{
    return place < j->classes && !(j->no_class >> place & 1);
}
/* There is a place for one more. False: gang_class_free() when one has come free. */
bool job_class_place(struct job *j);
/* A group is no more: nobody may submit to its classes, which go when their tasks have. */
void job_close_classes(struct job *j, uint64_t group);
/* Goes on with that. */
void job_look_at_classes(struct job *j);

/* ---- demand.c ---- */
/* A class of demand is asked for. MOB_ERR_DEMAND: this node will never meet it, and there are no others. */
mob_status demand_check(const struct job *j, const struct demand *demand);
/* How many of its tasks all nodes known here could run at once, if they had nothing else to do; in a group at most. */
uint32_t demand_times(const struct job *j, const struct demand *demand);
/* Tasks wait in a class that no node known here can run. */
bool demand_unmet(const struct job *j, uint32_t cls);
/* What they ask for, and who comes nearest: "3 GPUs, and the largest of 2 nodes, alpha, has 2". Returns buf. */
char *demand_why(const struct job *j, uint32_t cls, char *buf, size_t size);
/* No node known here has what is needed; then @why, as above. */
bool demand_nowhere(const struct node *n, const struct demand *demand, char *why,
                    size_t size);
/* Another node known here has it. */
bool demand_elsewhere(const struct node *n, const struct demand *demand);
/* Tells the driver of such tasks, and fails those that have waited for long enough. */
void demand_look(struct job *j);
/* A node has joined. */
void demand_look_all(struct node *n);

/* ---- due.c ---- */
/* Does what is asked for a time that has passed, and sets the timer for what is next. */
void due_look(struct job *j);

#endif
