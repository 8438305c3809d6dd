/* sim.h - the simulated world of the planners. sim.c has what it is for.
 *
 *   sim.c         a history from its seed to its end, and what must hold always
 *   sim_events.c  the queue of what will happen, and what planners want
 *   sim_node.c    a node: its workers, its tasks elsewhere, its words with the head */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <inttypes.h>
#include <stdbool.h>

#include "scheduler/head_plan.h"
#include "scheduler/node_plan.h"

#define JOBS 12 /* in a history; each has one class */
#define HEAP_MAX (1u << 20)
#define IDLE_MS 1500 /* a reservation (1 s), a few round trips and reports */
/* What the head may hear and say. Streams, of at least STREAM short tasks a job: one message
 * a hundred tasks. Else work says nothing about words, and what counts is that they follow
 * from changes: three for a lease (asked, answered, granted), and a few for reports. */
#define STREAM 10000      /* tasks for five nodes */
#define STREAMS 4         /* jobs of them */
#define STREAM_BUDGET 100 /* tasks a message */
#define CHANGE_BUDGET 6   /* messages a lease change */
#define RATE_BUDGET 2     /* and a second and node */
#define FIRST_NODE 1000   /* incarnations count from here */
#define SETTLE_NS (8 * NS_PER_S)

enum kind {
    EV_TO_HEAD,
    EV_TO_NODE,
    EV_TICK,
    EV_HEAD_TICK,
    EV_HEARTBEAT,
    EV_ARRIVE,
    EV_STARTED,
    EV_LOOK,
    EV_DONE,
    EV_LEND,
    EV_RESUME,
    EV_GIVE_BACK,
    EV_SEND,
    EV_TASKS,
    EV_BACK,
    EV_REFUSED,
    EV_BREAK,
    EV_CONNECT,
    EV_CRASH,
    EV_DEAD_WORD,
    EV_JOB_OVER,
    EV_LOOK_AROUND,
    EV_WORKER_DIES,
};

struct event {
    uint64_t at, seq;
    enum kind kind;
    uint32_t node, job, from, count,
        line; /* line: the connection's number when it was sent */
    uint32_t epoch;
    uint64_t incarnation, id;
    union {
        struct plan_node_action up;
        struct plan_head_action down;
    };
    struct resources offer; /* of `up`, which points to it only while it is said */
};

struct job {
    struct plan_job key;
    uint32_t home, units, left, weight;
    uint64_t task_ns;
    bool over, lends, removed;
};

/* The heap moves these, not events. */
struct due {
    uint64_t at, seq;
    uint32_t place; /* of the event in w.event */
};

/* What a job's board, workers and the daemon's books on a node are in reality. */
struct board {
    bool known;
    uint32_t queued, take, idle, busy;
    uint64_t lease; /* under which its tasks came, on a node that is not home */
    uint32_t
        foreign; /* of those, not done: one lease at a time, to keep the books short */
};

struct node {
    struct plan_node *plan;
    uint64_t incarnation, last_up, last_down, tick_at, starved_since;
    uint64_t said_up, said_down; /* the event that caused the last message */
    uint32_t units, slow, line;
    bool up, alive;
    struct board board[JOBS];
    uint32_t *away; /* of jobs at home here: [JOBS][count] tasks at other nodes */
};

extern struct world {
    struct plan_head *head;
    struct node *nodes;
    uint32_t count, heap_count, free_count;
    struct job job[JOBS];
    struct due *heap;
    struct event *event;
    uint32_t *free; /* places of events that are over */
    uint64_t now, seq, seed, random, messages, changes, tasks, remote, head_tick_at,
        events;
    bool faults, streams;
} sim;

/* Ends the program. */
void sim_fail(const char *what, uint32_t node);
/* A random number below @below. */
uint64_t sim_draw(uint64_t below);
/* What will happen, and what happens next. */
void sim_post(struct event e);
struct event sim_next(void);
/* How long a message takes. */
uint64_t sim_delay(void);
/* UINT32_MAX: it is dead. */
uint32_t sim_node_of(uint64_t incarnation);
uint32_t sim_job_of(struct plan_job key);
/* An event at this moment; and one some time later. */
struct event *sim_about(struct event *e, enum kind kind, uint32_t node, uint32_t job);
void sim_post_node(enum kind kind, uint32_t node, uint32_t job, uint64_t in);
/* What the planners want. */
void sim_node_act(void *arg, const struct plan_node_action *a);
void sim_head_act(void *arg, const struct plan_head_action *a);
/* sim_node.c: the event must have been taken. */
void sim_must(mob_status s, const char *what, uint32_t node);
/* Tells the node's planner what is queued there. */
void sim_hint(uint32_t i, uint32_t job);
void sim_add_tasks(uint32_t i, uint32_t job, uint32_t count);
/* A job is over, or its owner dead. */
void sim_job_gone(uint32_t i, uint32_t job);
/* What happens to one worker. */
void sim_worker_event(struct event *e);
/* What passes between nodes, and between a node and the head. */
void sim_send_tasks(struct event *e);
void sim_tasks_came(struct event *e);
void sim_tasks_back(struct event *e);
void sim_to_head(struct event *e);
void sim_dead_word(struct event *e);
void sim_to_node(struct event *e);
void sim_connect_head(uint32_t i);

#endif
