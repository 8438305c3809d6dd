/* sim.h - the simulated world of the planners. README.md says what it is for and what its words mean.
 *
 *   main.c    the command line: which histories
 *   world.c   a history from its seed to its end
 *   check.c   what holds always, and what is true in the end
 *   check_idle.c  what no task may wait for
 *   events.c  the queue of what will happen, random numbers, clocks
 *   link.c    connections: delays, losses, breaks, partitions
 *   graph.c   the workloads: which task takes whose result, and how long it runs
 *   job.c     a driver: submits its graph, and sees each result once
 *   task.c    a task on a board: queued, run, blocked in a get, run again
 *   node.c    a node: boards, workers, what its planner wants; crash and restart
 *   peer.c    tasks on their way to other nodes and back
 *   head.c    the words between nodes and the head
 *   klass.c   the classes of a job on a board: named, closed, and their places given to others
 *   group.c   groups of bundles: what their owners want, say and hear
 *   check_group.c  what holds of them always
 *
 * One thread; one history at a time. */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "index.h" /* the scheduler's own map, for connections */
#include "scheduler/head_plan.h"
#include "scheduler/node_plan.h"

#define NONE UINT32_MAX
#define SHAPES 2    /* classes of a job without groups, at most */
#define ROUNDS 3    /* groups of a job, one after the other */
#define PER_GROUP 2 /* classes of a job in each of them */
#define CLASSES (PER_GROUP * ROUNDS)
#define EDGES_MAX 8    /* arguments of a task, or who takes its result */
#define CHILDREN 3     /* tasks that a nested task submits */
#define DEMANDS_MAX 64 /* different ones that the look around tells apart */
#define FAMILY (1 + CHILDREN + CHILDREN * CHILDREN) /* and with theirs */
#define WINDOW 16384 /* records of a driver: it waits for one when all are in use */
/* What is promised. IDLE_NS: a reservation (1 s), a few round trips and reports; and the longest task, since
 * slots are asked back, never seized. */
#define IDLE_NS (1500 * NS_PER_MS)
#define GUESTS_NS (500 * NS_PER_MS) /* likewise, and the longest task */
#define STARVE_NS (4 * NS_PER_S)    /* and the longest task of each job */
#define MAKESPAN_FACTOR 2u
#define MAKESPAN_NS (2 * NS_PER_S)
#define SHARE_SLACK                                                                      \
    0.15             /* of a share: on two nodes a slot that a long task keeps is much */
#define STREAM 10000 /* tasks for five nodes */
#define STREAM_BUDGET 100 /* tasks a message of the head */
#define CHANGE_BUDGET 6   /* messages a lease change */
#define RATE_BUDGET 2     /* and a second and node */
#define DEMAND_BUDGET                                                                    \
    4 /* and a job: what it wants is said and unsaid, also if it gets nothing */
#define SETTLE_NS                                                                        \
    (8 * NS_PER_S) /* a death, a reservation and some windows, after all jobs are over */

/* ---- the workloads */
enum workload { INDEPENDENT, CHAIN, TREE, STENCIL, FFT, RANDOM, NESTED, WORKLOADS };

struct graph { /* layers of tasks: each takes results of the layer before */
    enum workload kind;
    uint32_t width, steps, count;
    uint64_t seed;
};

struct job {
    struct graph graph;
    uint32_t home, board, weight, classes, depth,
        lives;              /* lives: of its home, when it came */
    uint32_t groups, round; /* how many it has, one after the other; at which it is */
    struct demand demand[CLASSES];
    uint32_t at[CLASSES];          /* tasks of a class that run somewhere */
    uint64_t waits_since[CLASSES]; /* since when tasks wait and none runs; CLOCK_NEVER */
    uint64_t time_ns, arg_bytes, arrive_at, stop_at, ended_at;
    bool heavy; /* task times with a long tail, else about the same */
    bool arrived, over, dead;
    bool ends; /* tasks of a group that was removed are about to be ended */
    uint32_t submitted, records, left; /* records: in use, WINDOW at most */
    uint32_t *record; /* of each task that was submitted; NONE: free again */
    uint64_t *
        finish; /* when it could be done with CPUs without end; NULL: no task takes a result */
    uint8_t *seen;                /* a bit for each task: its result was seen */
    uint64_t work[CLASSES], path; /* ns of all tasks of a class; of the critical path */
    /* What it has now, and had: units, and units * ns. */
    uint64_t running, used, used_at;
};

/* ---- tasks and boards */
enum phase { FREE, WAITING, QUEUED, RUNNING, LENT, AWAY, DONE };

struct task {
    uint32_t gen;
    uint32_t index; /* in its job's graph; a child's: which one */
    uint32_t node, board;
    uint32_t next, prev;         /* in a queue, or among those away by one connection */
    uint32_t all_next, all_prev; /* on its board */
    uint32_t parent, child, sibling;
    uint32_t theirs, theirs_gen; /* of a foreign one: the owner's record */
    uint32_t link;               /* while AWAY */
    uint32_t time_us, refs, seq;
    uint64_t lease;
    uint16_t missing, open; /* arguments to come; children not done */
    uint8_t phase, attempt, cls, level;
    bool foreign, orphan;
    bool aboard; /* its parent's worker runs it inside the get */
    bool lent;   /* in its get, and without a slot */
};

struct list {
    uint32_t first, last, count;
};

struct board_class {
    uint32_t name;        /* what the planner calls it; NONE: nothing */
    bool closing;         /* its group was removed: it runs no more tasks */
    struct list queue[2]; /* own tasks, foreign ones */
    struct list resuming; /* parents whose get is over */
    uint32_t idle, busy, take;
    uint32_t
        ends; /* workers that are sealing a task: each takes one that this makes ready itself */
    uint32_t told;    /* what the planner believes is queued */
    uint32_t running; /* tasks, in reality */
};

/* A job's tasks on one node. A guest's tasks that come from two owners are on two boards. */
struct board {
    bool used, open; /* open: tasks came or were submitted; else a lease named it */
    bool sent;       /* some of its own went elsewhere */
    uint32_t serial, job, all;
    uint32_t owner, theirs; /* a guest's: the owner's serial of it */
    uint32_t maker;         /* the node that made a result last */
    uint32_t gone;          /* a bit for each of the job's groups that was removed */
    struct plan_job key;
    struct board_class cls[CLASSES];
    uint32_t next[CLASSES]; /* the name that a class has next in each place */
};

struct send {
    uint64_t lease, node;
    uint32_t serial, cls, epoch, count; /* serial: of its board */
};

struct node {
    struct plan_node *plan;
    uint64_t birth, incarnation, member_of;
    uint64_t skew, tick_at, starved_since, guests_since;
    int32_t drift; /* its clock's, in 1/256 */
    struct resources capacity;
    char labels[32];
    uint32_t slow, life, boards_top, boards_room, links, sends_count, sends_room;
    struct resources
        running;    /* what tasks have that are run or wait in a get, in reality */
    uint64_t bytes; /* of objects in its store */
    struct resources offered; /* in the last word that said so */
    bool alive, member, late; /* late: its planner hears of queues late */
    uint64_t cut[2];          /* until when nothing leaves it; nothing reaches it */
    struct board *boards;
    struct send *sends;
};

/* ---- groups */
/* A bundle's hold, as the head's words and those that reach it have it. Nothing else is known of it here. */
struct bundle {
    struct resources need;
    uint64_t hold, node;
    enum plan_hold_state state; /* END: it has none */
};

struct group {
    uint64_t id; /* 0: there is none */
    uint32_t job, count, strategy;
    bool wanted;          /* its owner has it */
    bool ended;           /* in this event, by the head, though it is wanted */
    uint64_t remove_ns;   /* it is removed so long after it began; 0: when all is done */
    uint64_t head, owner; /* the head that was told of it last; by whom */
    struct plan_group_view told; /* what its owner heard of it last */
    struct bundle bundles[MOB_GROUP_BUNDLES_MAX];
};

/* ---- connections */
enum { OUT, IN };

struct link {
    uint32_t end[2], serial, next[2];
    bool up[2], dialing;
    uint64_t last[2];  /* when the last word of this end arrives */
    uint64_t event[2]; /* in which it was said */
    uint32_t away[2];  /* tasks of this end that are at the other */
    struct message *wait[2], **wait_end[2];
};

enum word { /* of nodes */ TASKS,
            BACK,
            RESULT,
            CLOSE,
            GONE,
            /* to the head */ JOIN,
            UP,
            GROUP,
            GROUP_END,
            GROUPS_SAID,
            HEARTBEAT,
            /* of the head */ WELCOME,
            REFUSED,
            DOWN };

struct item {
    uint32_t task, gen, index, time_us;
    uint8_t attempt, level;
    bool begun, fetch;
};

struct message {
    enum word kind;
    bool late; /* said before, and delivered once already */
    uint32_t from, to, link, serial;
    struct message *next;
    uint32_t board, job, cls, epoch, count; /* board: the sender's serial of it */
    uint64_t lease, id;                     /* id: of the head; of a group */
    uint32_t more; /* bytes in items[] that are none: message_more() */
    struct resources offer;
    struct demand demand;
    union {
        struct {
            struct plan_node_action up;
            struct plan_hint hints[PLAN_HINTS_MAX];
        };
        struct plan_head_action down;
        struct plan_join join;
    };
    struct item items[];
};

/* ---- events */
/* clang-format off */
enum kind {
    EV_DELIVER, EV_NOTICE, EV_SILENT, EV_DIAL,                            /* link.c */
    EV_TICK, EV_CRASH, EV_RESTART, EV_CUT, EV_BREAK, EV_SENDS, EV_BEAT,   /* node.c */
    EV_STARTED, EV_LOOK, EV_GIVE_BACK,                                    /* its workers */
    EV_DONE, EV_SPAWN, EV_WORKER_DIES, EV_FETCHED,                        /* task.c */
    EV_ARRIVE, EV_REMOVE, EV_ENDS, EV_STOP,                               /* job.c */
    EV_HEAD_TICK, EV_HEAD_CRASH, EV_HEAD_UP,                              /* head.c */
    EV_LOOK_AROUND                                                        /* check.c */
};
/* clang-format on */

struct event {
    uint64_t at, seq;
    enum kind kind;
    uint32_t node, life; /* whose it is; not that of an earlier life */
    uint32_t a, b, c;
    struct message *m;
};

struct options {
    uint64_t seed;
    uint32_t nodes, jobs;
    uint64_t tasks; /* of all jobs; 0: by the seed */
    bool faults, rivals, streams, kinds, groups, quiet;
    int only; /* a workload; -1: by the seed */
};

extern struct world {
    struct options o;
    struct plan_head *head; /* NULL: it is down */
    uint64_t head_id, head_skew, head_tick_at;
    uint64_t *joined; /* the incarnation that the head has of each node, or 0 */
    struct node *nodes;
    struct job *jobs;
    struct group *groups;             /* ROUNDS of each job */
    struct plan_member_view *members; /* in the head's database, while it is down */
    size_t members_count;
    uint64_t last_hold;
    struct task *tasks;
    struct link *links;
    struct event *heap;
    struct index_map link_index;
    uint32_t count, jobs_count, heap_count, heap_room, tasks_top, tasks_room, free_task,
        links_count, links_room, serial;
    uint64_t now, seq, random, events, healed_at, loss, lag_ns;
    bool doubling;
    /* What is counted. */
    uint64_t messages, changes, done, remote, breaks, deaths, again, crashes, whole,
        reused, ended;
    uint64_t late_ns;    /* longest that CPUs stood idle beside a task */
    uint64_t starved_ns; /* longest that no task of a class ran */
    uint64_t behind_ns;  /* longest that a node's own task waited for what guests had */
    uint64_t longest_ns;
    double stretch, unfair;
} sim;

/* events.c */
void sim_fail(const char *what, uint32_t node) __attribute__((noreturn));
void sim_must(mob_status s, const char *what, uint32_t node);
uint64_t sim_draw(uint64_t below);
uint64_t sim_exponential(uint64_t mean);
void sim_post(struct event e);
/* For this node's present life, @in ns from now. */
void sim_after(enum kind kind, uint32_t node, uint64_t in, uint32_t a, uint32_t b,
               uint32_t c);
struct event sim_next(void);
uint64_t clock_of(const struct node *n);
/* When that node's clock will be @due. */
uint64_t clock_at(const struct node *n, uint64_t due);
uint64_t head_clock(void);

/* link.c */
struct message *message_new(enum word kind, uint32_t from, uint32_t to, uint32_t items);
/* With a copy of something large that few have. */
struct message *message_more(enum word kind, uint32_t from, uint32_t to, const void *more,
                             uint32_t size);
/* Takes @m. It arrives in order, or is lost with its connection. */
void link_send(struct message *m);
void link_forget(uint32_t link);
void link_event(struct event *e);
uint32_t link_find(uint32_t a, uint32_t b); /* NONE: never met */
void link_head(uint32_t node);              /* looks for the head */
uint32_t link_make(uint32_t a, uint32_t b);
/* This end gives up on a node, if it is that incarnation that it is connected to, or was. */
void link_give_up(uint32_t node, uint32_t peer, uint64_t incarnation);
/* All of a node's connections end; others notice soon, or by silence. */
void link_drop_all(uint32_t node, bool by_silence);
/* An end closes it, and the other one hears so. */
void link_close(uint32_t link, uint32_t side);
/* Nothing of a node passes until @until: out of it, into it, or both. */
void link_cut(uint32_t node, bool out, bool in, uint64_t until);
uint32_t link_side(uint32_t link, uint32_t node);

/* graph.c */
/* Whose results it takes, or (@down) who takes its own; how many. */
uint32_t graph_edges(const struct graph *g, uint32_t index, bool down, uint32_t *ret);
uint32_t graph_time_us(const struct job *j, uint32_t index);
uint32_t graph_class(const struct job *j, uint32_t index);
const char *graph_name(enum workload w);
struct graph graph_make(enum workload w, uint64_t tasks, uint64_t seed);

/* job.c */
void job_event(struct event *e);
void job_result(uint32_t task); /* of a graph's task: it is here, once */
void job_use(struct job *j, int64_t units);
void job_dead(struct job *j);
/* Tasks are queued that belong to a group which was removed. */
void job_ends_soon(struct job *j);

/* task.c */
uint32_t task_new(uint32_t node, uint32_t board, uint32_t cls);
void task_free(uint32_t at);
bool task_is(uint32_t at, uint32_t gen);
void list_push(struct list *l, uint32_t at);
void list_remove(struct list *l, uint32_t at);
struct list *task_queue(struct task *t);
void task_queued(uint32_t at); /* the caller kicks the board's class */
void task_start(uint32_t at, bool aboard);
/* Its result is at its owner. */
void task_seal(uint32_t at);
/* It runs again; @begun: as the next attempt. */
void task_again(uint32_t at, bool begun);
void task_event(struct event *e);
void task_resumed(uint32_t at);
/* It ends where it is, with the worker that runs it. */
void task_end(uint32_t at);

/* node.c */
void node_start(uint32_t i);
void node_event(struct event *e);
/* After anything that happened to a node. */
void node_after(uint32_t i);
uint32_t node_of(uint64_t incarnation);    /* NONE: it is no more */
uint32_t node_place(uint64_t incarnation); /* which node it is, or was */
/* The other end of a connection is lost to this one. */
void node_lost_peer(uint32_t i, uint32_t peer, uint32_t link, bool met);
void node_rejoin(uint32_t i);
struct board *board_new(uint32_t i, uint32_t job, uint32_t *ret);
uint32_t board_find(uint32_t i, uint32_t serial); /* NONE */
/* The planner hears what is queued. */
void board_hint(uint32_t i, uint32_t b, uint32_t cls);
void board_end(uint32_t i, uint32_t b);
/* Idle workers take what is queued; the planner hears. */
void board_kick(uint32_t i, uint32_t b, uint32_t cls);
/* A worker with a slot looks for its next task. */
void board_look(uint32_t i, uint32_t b, uint32_t cls);
uint32_t board_queued(const struct board *b, uint32_t cls);

/* peer.c */
void peer_sends(uint32_t i);
void peer_message(const struct message *m);
void peer_result(uint32_t task); /* a foreign task is done here */
void peer_give_back(uint32_t i);
/* The board for an owner's tasks, made if there is none; NONE. */
uint32_t guest_find(uint32_t i, uint32_t theirs);
uint32_t guest_board(uint32_t i, uint32_t owner, uint32_t theirs, uint32_t job);

/* head.c */
void head_up(void);
void head_down(void);
void head_say(uint32_t node, const struct plan_node_action *a);
void head_message(const struct message *m); /* at the head */
void head_word(const struct message *m);    /* at a node */
void head_event(struct event *e);
void head_timer(void);

/* klass.c. By the planner's name, or by what it asks for; NONE. */
uint32_t klass_find(const struct board *b, uint32_t name);
uint32_t klass_of_demand(const struct board *b, const struct demand *d);
/* Has a name from now on; and the planner knows it. */
void klass_name(struct board *b, uint32_t cls);
void klass_add(uint32_t i, uint32_t b, uint32_t cls);
void klass_tidy(uint32_t i, uint32_t b, uint32_t keep);
/* A group of a job was removed: on one board; on all. */
void klass_close(uint32_t i, uint32_t b, uint32_t group);
void klass_gone(const struct job *j);
/* Gives the places of those that are left to others. */
void klass_look(uint32_t i);

/* group.c */
void group_set_up(uint32_t job);
/* The group that the job is at, or NULL. */
struct group *group_now(const struct job *j);
void group_begin(struct job *j);
void group_end(struct job *j);
/* The head welcomed this node. */
void group_say_all(uint32_t node);
void group_message(const struct message *m);                        /* at the head */
void group_told(uint32_t node, const struct plan_group_view *view); /* at its owner */

/* check_group.c. The head's words; a node's that reaches it; the head is down, or hears of a group; a node. */
void check_hold(const struct plan_head_action *a);
void check_wanted(void);
void check_view(const struct plan_group_view *v);
void check_hold_said(const struct plan_hold *said);
void check_node_dead(uint64_t node);
void check_head_down(void);
void check_group_said(struct group *g, const struct plan_group_view *said);
void check_bundles(uint32_t node);
bool check_holds(uint32_t node, uint64_t hold); /* 0: any */
uint64_t check_group_time(const struct job *j); /* what its groups alone take */
void check_groups_end(void);

/* world.c */
uint64_t world_settle_ns(void);
void world_run(const struct options *o);
void world_print_options(FILE *to);

/* check.c */
void check_node(uint32_t i);
void check_head(void);
/* The head asked for, heard of, and told of a lease. */
void check_lease(const struct plan_head_action *a);
void check_said(const struct plan_node_action *a);
/* A planner took the head's word of a lease or grant. */
void check_taken(const struct plan_head_action *a, uint32_t by);
bool check_over(const struct plan_head_action *a);
/* True if it is of the present epoch: no other may be taken. */
bool check_held(const struct plan_node_action *a);
void check_grant(const struct plan_head_action *a);
void check_end(void);
void check_shares(void);
void check_forget(void);
void check_print(void);

/* check_idle.c */
void check_look_around(void);

#endif
