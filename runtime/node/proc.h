/* proc.h - processes of a job; proc.c. */
#ifndef NODE_PROC_H
#define NODE_PROC_H

#include <mobula.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/limits.h"
#include "core/loop.h"
#include "cores.h"
#include "output.h"
#include "scheduler/node_plan.h"

struct conn;
struct job;
struct meet;
struct node;

#define PIPES_GRACE_NS (200000000ull) /* for what a dead worker wrote last */

enum slot_state {
    SLOT_STARTING,
    SLOT_BUSY,
    SLOT_IDLE,
    SLOT_LENT,
    SLOT_RESUMING,
    SLOT_BARE,
    SLOT_NONE /* dead, and the planner knows */
};

struct member { /* a worker */
    struct job *job;
    uint32_t proc; /* index on the board */
    bool
        used; /* from its start until it is dead, its pipes are read to the end, and swept */
    bool dead, swept;
    bool late;    /* it was killed because it did not reach mob_init() in time */
    bool ordered; /* it was killed for a task that it ran: due.c */
    pid_t pid;
    int pidfd;
    struct loop_op op; /* on the pidfd */
    struct loop_timer timer;
    struct conn *conn;
    uint32_t class;
    uint64_t gpus;            /* devices that it was started with */
    struct cores_share cores; /* that its slot holds */
    struct cpus pinned;       /* where its threads were last told to run */
    enum slot_state slot;
    bool asked_back;
    struct stream out, err;
    char tail[STDERR_TAIL_BYTES]; /* the last of what it wrote to stderr */
    size_t tail_size;
    bool tail_cut;     /* there was more before it */
    struct meet *meet; /* of the gang whose member it runs: gang_meet.c; or NULL */
    int exit_status;   /* as waitid() gives it */
    bool signalled;
};

/* Starts a worker that will serve @class and sees the devices @gpus. */
mob_status proc_start(struct job *j, uint32_t class, uint64_t gpus);
/* The worker said hello. */
void proc_joined(struct member *m);
/* Ends all workers of a job: politely or not. */
void proc_end_all(struct job *j, bool kill_now);
/* Sweeps dead workers whose output was read to its end. */
void proc_settle_all(struct job *j);
/* The part of it that looks at the job's memory: takes back what a dead worker held. */
void proc_sweep(struct member *m);
bool proc_all_gone(const struct job *j);
/* Sets what a worker may claim, and wakes it to see it. */
void proc_run(struct member *m, uint32_t run);
/* Its slot is wanted: it gives it back when it has no task, and says so (job_refresh()). One with GPUs ends. */
void proc_ask_back(struct member *m);
/* The planner's name for the state of a slot. */
enum plan_slot proc_plan_slot(enum slot_state s);

/* ---- pin.c: a worker's CPUs are its slot's ---- */
/* Its slot of its class begins, or goes on: it has CPUs, and its threads run there from now on. */
void pin_take(struct member *m);
/* Its slot is over, or lent: its CPUs are free. Its threads stay where they are, as they sleep. */
void pin_give(struct member *m);
/* It waits for its slot and may run meanwhile: anywhere, if others have its CPUs. */
void pin_loose(struct member *m);
/* For a worker that is about to start: CPUs for a slot of @class, and where it runs. */
void pin_prepare(const struct job *j, uint32_t class, struct cores_share *ret,
                 struct cpus *ret_where);
/* In the worker, before it becomes the program. */
void pin_self(const struct node *n, const struct cpus *where);

#endif
