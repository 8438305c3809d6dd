/* node.h - the daemon of one node: its connections, jobs, processes and memory.
 *
 * One thread, one loop. A client is input: what it sends, and what it writes on its board, is
 * checked against the tables here and in the headers that this one includes, which no client can write. */
#ifndef NODE_H
#define NODE_H

#include <mobula.h>
#include <stdbool.h>

#include "census.h"
#include "conn.h"
#include "core/loop.h"
#include "cores.h"
#include "gpu.h"
#include "grant.h"
#include "job.h"
#include "output.h"
#include "proc.h"
#include "scheduler/node_plan.h"
#include "status.h"
#include "store/budget.h"
#include "store/line.h"
#include "timeline.h"
#include "transport/key.h"
#include "transport/transport.h"

#define ACCEPT_LATER_NS (20000000ull) /* between tries to accept while fds are used up */

struct cluster;
struct group_alone;
struct checker;
struct node_spill;

/* ---- plan.c: the node's planner ---- */
/* Starts that waited for GPUs, which a worker has given up. */
void plan_start_waiting(struct node *n);
void plan_act(void *node, const struct plan_node_action *a);
void plan_arm(struct node *node);
struct job *plan_find_job(struct node *n, struct plan_job id);
/* Starts workers of a guest's job that were asked for before its executable was there. */
void plan_start(struct job *j, uint32_t cls, uint32_t count);

/* ---- node.c ---- */
struct node_config {
    int embedded; /* fd of the driver's connection, or -1 */
    int num_cpus; /* -1: what affinity and cgroups allow; 0: it runs no tasks, as a head may */
    int pin;      /* MOB_PIN, MOB_NO_PIN or 0: cores_find() */
    int num_gpus;               /* -1: as many as are found */
    uint64_t memory_bytes;      /* for tasks that ask for it; 0: what the store leaves */
    struct resources resources; /* the named ones */
    const char *labels;         /* or NULL */
    uint64_t store_bytes;
    const char *dir; /* its folder; NULL if embedded */
    bool after_kill; /* a killed daemon had that folder before */
    int ready_fd;    /* where node_ready() tells, or -1 */
    const char
        *key_file; /* where the key was read from, for `mobula start`; NULL: elsewhere */
    /* A node of a cluster is its head, or has one. */
    bool head;
    const char *head_address; /* HOST:PORT */
    const char *listen;       /* the address to listen at; NULL: all */
    uint16_t port;            /* 0: any */
    const char *spill_dirs;   /* DIR[:DIR...], "none", or NULL: the default */
    uint64_t unmet_grace_ns;  /* for a node to join that is large enough for a task */
    bool encrypt;             /* what goes between nodes; of all of them, or none */
    bool
        unchecked; /* no checksums of objects on their way, where the other node agrees */
    enum transport_rdma rdma; /* how objects may move between nodes */
    struct key key;
};

static inline bool node_clustered(const struct node_config *c)
{
    return c->head || c->head_address;
}

struct node {
    struct node_config config;
    struct loop *loop;
    uint64_t id;
    uint64_t started_ns;
    unsigned cpus_here; /* that it may keep busy, whatever it offers */
    unsigned cpus;
    struct resources capacity; /* those CPUs, and what else tasks may ask for */
    struct gpus gpus;
    struct cores cores;
    char labels[LABELS_MAX + 1];
    struct budget budget;
    struct line memory_line; /* processes that were refused memory */
    struct plan_node *plan;
    struct loop_timer plan_timer;
    uint32_t silent; /* of conns */
    struct conn *conns;
    struct job *jobs[JOBS_MAX];
    uint32_t
        jobs_top; /* none at or above it: who looks at each task's message stops here */
    uint32_t last_job;
    uint64_t last_group;
    struct group_alone *group_alone; /* of a node alone; NULL: it has had no group */
    int listener;
    struct loop_op listener_op;
    struct loop_timer accept_timer; /* connections wait, and there was no fd for them */
    int signal_fd;
    struct loop_op signal_op;
    bool stopping;
    struct conn *stopper; /* asked us to stop, and waits for it */
    char host[64];
    struct local_msg *scratch; /* one message, for whoever answers */
    struct cluster *cluster;   /* NULL: alone */
    struct gang *gangs;        /* in line */
    struct checker *checkers;  /* children that check boards */
    struct census census;
    struct node_timeline timeline;
    struct counted_ask *asks; /* questions that wait for it */
    uint64_t tasks_ended;     /* of jobs that are over */
    struct node_spill *spill; /* NULL: objects stay in memory */
    mob_status verdict;       /* it could not join ... */
    char why[512];            /* ... and this is why */
};

int eventfd_new(void);
mob_status node_run(const struct node_config *config);
/* The node serves: says so, with what people want to know about it, to who started the daemon.
 * Nobody there any more means that the start was broken off, and ends the node. */
void node_ready(struct node *n);
void node_stop(struct node *n);
/* The node could not join, and stops. */
void node_not_ready(struct node *n, mob_status st, const char *why);
/* Called when a job or connection has gone: the node may be over. */
void node_step(struct node *n);

#endif
