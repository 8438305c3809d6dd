/* node.h - the daemon of one node: its connections, jobs, processes and memory.
 *
 * One thread, one loop. A client is input: what it sends, and what it writes on its board, is
 * checked against the tables here, which no client can write. */
#ifndef NODE_H
#define NODE_H

#include <mobula.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/limits.h"
#include "core/loop.h"
#include "local.h"
#include "scheduler/node_plan.h"
#include "store/arena.h"
#include "store/board.h"
#include "store/budget.h"
#include "store/lane.h"
#include "store/line.h"
#include "store/timeline.h"
#include "transport/key.h"
#include "transport/transport.h"

#define OUTPUT_LINE_MAX 4096 /* a longer line is cut into several */
#define OUTPUT_QUEUE_MAX                                                                 \
    (4u << 20) /* bytes waiting for a driver's terminal; more is dropped */
#define OUTPUT_LATER_NS (10000000ull) /* between tries to write to a file that is full */
#define LEAVE_GRACE_NS                                                                   \
    (1000000000ull)                   /* for running tasks when their driver shuts down */
#define PIPES_GRACE_NS (200000000ull) /* for what a dead worker wrote last */
#define NODE_HASH_BYTES 32u
#define EARLY_KILLS_MAX                                                                  \
    30u /* workers killed before mob_init(), in a row; further ones count as failures */
#define ACCEPT_LATER_NS (20000000ull) /* between tries to accept while fds are used up */
#define AUDIT_MIN_NS                                                                     \
    (50000000ull) /* between audits after a death, while counts are in doubt */
#define AUDIT_MAX_NS (60000000000ull)
/* Results for another node wait for each other so long, while at least so many tasks of it wait here. */
#define GATHER_NS (1000000ull)
#define GATHER_TASKS 8u
#define RESCAN_NS (20000000ull) /* between looks at records that views still pin */
#define LIMBO_MAX_NS (1000000000ull)

struct node;
struct job;
struct node_spill;
struct spill;
struct restore;
struct compact;
struct seg_use;
struct cluster;
struct peer;
struct put;
struct checker;
struct guest;
struct codec_reader;

/* ---- census.c: how many records are at what --------------------------------------------------------- */

enum census_row {
    CENSUS_WAITING,
    CENSUS_QUEUED,
    CENSUS_RUNNING,
    CENSUS_AWAY,
    CENSUS_ROWS
};
struct job_census { /* as of the last walk over the job's board */
    uint64_t phases[PHASE_RETIRED + 1];
    uint64_t tasks[CLASSES_MAX][CENSUS_ROWS];
};
struct census_wait { /* in whoever asks */
    struct census_wait *next;
    void (*done)(struct census_wait *w);
    bool waits;
};
struct census {
    struct loop_timer timer;
    struct census_wait *waits;
    bool runs;
    uint32_t job, number, record; /* where the walk is */
};
/* Calls @told in a later turn, when all boards were walked. @w waits for nothing else. */
void census_take(struct node *n, struct census_wait *w,
                 void (*told)(struct census_wait *w));
/* Who asked goes. */
void census_forget(struct node *n, struct census_wait *w);

/* ---- timeline.c: what is recorded of the node -------------------------------------------------------- */

struct kept_timeline;
struct node_timeline {
    bool on;
    uint64_t since_ns;
    struct timeline_ring *own;  /* the daemon's; NULL until it is on for the first time */
    struct kept_timeline *kept; /* of jobs that are over, the newest first */
    uint32_t kept_count;
    uint64_t kept_bytes;
};

/* ---- conn.c: a local connection ----------------------------------------------------------------- */

struct conn {
    struct node *node;
    struct loop_op op;
    int sock;
    enum local_role role;
    bool greeted, closing, again;
    bool silent; /* it came by the node's socket, and has said nothing yet */
    uint64_t since_ns;
    pid_t pid;
    struct job *job; /* once greeted as driver or worker */
    uint32_t proc;   /* likewise */
    char *answer;    /* of LOCAL_STATUS and LOCAL_STORE, until it is sent to its end */
    size_t answer_at;
    uint64_t cookie; /* of the question to the head that it waits for, or 0 */
    struct loop_timer timer;
    struct census_wait census;
    char *told; /* what the head has said of it so far */
    size_t told_size;
    struct peer *asked; /* NULL: the head, about the cluster; else about its store */
    struct put *put;    /* a file that becomes an object for it; or NULL */
    struct conn *next, *prev;
};

/* Connections that have said nothing yet: so many at once. Beyond it others wait in the kernel, until some
 * have spoken or were silent for so long that they are dropped. */
#define CONNS_SILENT_MAX 256
#define CONN_SILENT_NS 2000000000ull

/* Takes over a connected socket. @ret NULL: one that came by the node's own socket. */
mob_status conn_open(struct node *node, int sock, struct conn **ret);
/* Closes those that are silent for too long, if there is no room for more. True: there is room. */
bool conns_room(struct node *n);
/* Closes it as soon as its watch has ended; `c` is gone some time after. */
void conn_close(struct conn *c);
void conn_reply(struct conn *c, struct local_msg *m, const int *fds, unsigned count);
/* Sends the first part of a text, which is malloc'd and the connection's from here on, or the next
 * part of the text that was begun if @text is NULL. */
void conn_answer(struct conn *c, uint32_t op, char *text);
/* Answers @op with what status_fail() said. */
void conn_deny(struct conn *c, uint32_t op, mob_status st);

/* ---- output.c: what workers print, on its way to the driver's terminal ----------------------------- */

struct output { /* one of a driver's two streams */
    struct job *job;
    struct loop *loop;
    struct loop_op op;
    struct loop_timer later; /* its file is in non-blocking mode, and full */
    int fd;
    char *queue;
    size_t size, sent, writing, room;
    uint64_t dropped;
    bool dead; /* nobody reads any more */
    struct job
        *guest; /* a job of another node: its owner gets the lines, as stream `stream` */
    int stream;
};

struct stream { /* one of a worker's two pipes */
    struct member *member;
    struct output *to;
    struct loop_op op;
    int fd;
    bool open;
    size_t size; /* of an unfinished line in buf */
    char buf[OUTPUT_LINE_MAX];
};

void output_init(struct output *o, struct job *j, int fd);
/* Nobody waits any more for what is not written yet. */
void output_drop(struct output *o);
void output_fini(struct output *o);
void output_add(struct output *o, const char *text, size_t size);
bool output_empty(const struct output *o);
void stream_open(struct stream *s, struct member *m, int fd, struct output *to);
void stream_close(struct stream *s);

/* ---- proc.c: processes of a job ------------------------------------------------------------------------ */

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
    uint64_t gpus; /* devices that it was started with */
    enum slot_state slot;
    bool asked_back;
    struct stream out, err;
    char tail[STDERR_TAIL_BYTES]; /* the last of what it wrote to stderr */
    size_t tail_size;
    bool tail_cut;   /* there was more before it */
    int exit_status; /* as waitid() gives it */
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

/* ---- grant.c: segments of a job --------------------------------------------------------------------------- */

enum segment_state {
    SEGMENT_NONE,
    SEGMENT_AHEAD, /* its process has not asked for it yet */
    SEGMENT_GRANTED,
    SEGMENT_HELD,
    SEGMENT_ORPHAN,
    SEGMENT_LEAVING
};

struct
    segment { /* the daemon's own account; the word on the board is a copy for clients */
    enum segment_state state;
    uint32_t owner; /* process; DAEMON once that one is dead */
    uint64_t bytes;
    uint64_t live; /* of an orphan: places in use */
    uint32_t
        epoch; /* of a leaving one: gone when all who map it have seen this revocation */
    uint64_t mappers[PROCS_MAX / 64]; /* processes that asked for it, to read it */
    int fd;
    void *rw;       /* mapped here: the daemon's own, which its arena cuts */
    const void *ro; /* likewise: another's, to be sent to other nodes */
    bool shown;     /* ro is known to the transport */
    bool
        pending; /* its pages are not there yet, or come as bytes arrive; of the budget's promises */
};

#define SEGMENT_NO UINT32_MAX /* none */

void grant_request(struct conn *c, struct local_msg *m);
/* Memory ran out: all processes of the node are asked for what they have and do not use, and copies of
 * other nodes' objects that no task needs now go. */
void grant_want(struct node *n);
void grant_committed(struct conn *c, struct local_msg *m);
void grant_give(struct conn *c, struct local_msg *m);
void grant_map(struct conn *c, struct local_msg *m);
/* The segments of a dead process pass to the daemon; called before the sweep. */
void grant_orphan(struct job *j, uint32_t proc);
/* After the sweep: counts what still lives in orphans, and drops those that are empty. */
void grant_count_orphans(struct job *j);
void grant_free_place(void *job, uint32_t segment, uint64_t offset);
/* Drops leaving segments that nobody maps any more. */
void grant_collect(struct job *j);
void grant_end(struct job *j);
/* Makes the mappings of all segments known to the transport, which is new. */
void grant_show_all(struct node *n);
/* A number that no segment has, or SEGMENT_NO. */
uint32_t grant_free_slot(const struct job *j);
/* The memory of a segment, whose pages are still to be found. */
mob_status grant_memory(const struct job *j, uint32_t segment, uint64_t bytes,
                        int *ret_fd);
/* The pages of a segment are there. */
void grant_is_committed(struct job *j, uint32_t segment);
/* A segment that nobody maps goes. */
void grant_drop(struct job *j, uint32_t segment);

/* ---- ahead.c: segments made before they are asked for */
/* The process got one of @bytes because it grows. */
void ahead_prepare(struct job *j, uint32_t proc, uint64_t bytes);
/* One that is there for it, of @least bytes; or SEGMENT_NO. */
uint32_t ahead_take(struct job *j, uint32_t proc, uint64_t least);
/* Memory is wanted: they go. */
void ahead_drop(struct job *j);

mob_status grant_records(struct job *j);
/* A place of the daemon's own for bytes that come from other nodes. MOB_ERR_NOMEM. Then exactly one
 * of the next two, when the bytes are there or will not come. */
mob_status grant_place(struct job *j, uint64_t size, struct arena_place *ret,
                       void **ret_data);
mob_status grant_aligned(struct job *j, uint64_t size, size_t align,
                         struct arena_place *ret, void **ret_data);
void grant_landed(struct job *j, const struct arena_place *place);
void grant_unplace(struct job *j, const struct arena_place *place);

/* ---- grant_bytes.c: what the daemon reads and writes of results ---- */

/* The record and place that hold the bytes of a sealed record's result, through references.
 * @io_link becomes that record's. Everything is checked: clients can write there. */
mob_status grant_resolve(struct job *j, uint64_t *io_link, struct record **ret,
                         struct place *ret_place);
/* What a sealed result is, as its task or who made its bytes said. False: nobody did. */
bool node_meta(struct job *j, uint64_t link, struct mob_meta *ret);
/* Where those bytes are, mapped here. The caller has pinned the record or knows what keeps it. */
mob_status grant_read(struct job *j, const struct record *r, const struct place *p,
                      const void **ret);
/* The status and the text (with its NUL, at most @size bytes) of a record that grant_resolve() said
 * has failed. */
mob_status grant_failure(struct job *j, const struct record *r, const struct place *p,
                         char *text, size_t size);
/* Writes an error into a record that the daemon holds. A text that is longer than a record gets a
 * place, as long as the store has room. */
void grant_error(struct job *j, struct record *r, mob_status error, const char *text);

/* ---- away.c: tasks of this node that run on others; see cluster.h -------------------------------- */

struct peer;
struct put;
struct away_result;
enum away_state { AWAY_FREE, AWAY_SENT, AWAY_TAKING };
struct away { /* one of our tasks on another node */
    enum away_state state;
    uint64_t link;
    struct peer *peer; /* NULL: lost, while its results wait here for room */
    uint64_t lease, remote_link;
    uint32_t remote;       /* its proxy there */
    uint8_t attempt, left; /* left: results that are on their way */
    bool cancel_sent, failed;
    uint64_t sent_ns; /* for the timeline, or 0 */
    uint32_t asked;   /* with the cancel that was sent: store/request.h */
    bool
        folds; /* its arguments are folded on their way; if it comes back that counts as an attempt, the next of
                 * which does without */
    uint64_t too_large; /* bytes of a result for which this node will never have room */
    struct away_result *results;
    uint32_t next_free;
};
#define HINT_BYTES_MIN                                                                   \
    (64u << 10)    /* moving less costs no more than a round trip or two */
struct away_host { /* a node that has our job */
    struct away_host *next;
    struct peer *peer;
    bool failed, closing;
    uint64_t
        again_ns; /* it had no room for the job: not to be opened there before; or 0 */
    uint64_t wait_ns; /* until then, from the last refusal on */
};
struct away_job { /* of every job */
    struct away *slots;
    uint32_t count, room, free;
    uint32_t out;
    struct away_host *hosts;
    uint8_t hash[NODE_HASH_BYTES];
    bool hashed, no_exe;
    uint64_t token; /* that only who works for the job is told */
    int exe;        /* our own copy, in the cache */
    uint64_t exe_size;
    void *start;
    size_t start_size;
};

/* ---- spill.c, restore.c, compact.c: objects on disk; see spill.h ---------------------------------- */

struct job_spill {
    struct spill *files; /* NULL: nothing of it was ever on disk */
    struct restore *restores;
    struct compact *compact; /* NULL: none is at work */
    struct seg_use *use;     /* by segment; NULL: not looked at yet */
};

/* ---- job.c ------------------------------------------------------------------------------------------------------ */

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
    uint32_t classes;
    struct demand demand[CLASSES_MAX];
    uint32_t backlog[CLASSES_MAX];        /* as last told to the planner */
    uint32_t start_failures[CLASSES_MAX]; /* to be told to it */
    uint32_t gpu_waits[CLASSES_MAX];      /* workers to start once GPUs are free */
    uint32_t early_kills;                 /* of workers, since one joined */
    bool give_up;                         /* it wants no more workers started */
    struct segment segments[BOARD_SEGMENTS_MAX];
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
    struct loop_timer demand_timer, due_timer;
    /* In a cluster: */
    struct arena *arena; /* of the daemon's own segments */
    uint32_t
        busy; /* bytes on their way to or from other nodes, which keep the job here */
    struct guest *guest; /* its driver is on another node; else NULL */
    struct away_job away;
    struct job_spill spill;
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

/* ---- job_look.c: what is looked at while a job runs ---- */
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
/* A driver or worker asks for a class of demand. */
void job_class(struct conn *c, struct local_msg *m);
/* Classes that the planner knows of a guest, on its board too. */
void job_sync_classes(struct job *j);
/* The class of a demand, added if it is new. */
mob_status job_add_class(struct job *j, const struct demand *demand, uint32_t *ret);

/* ---- demand.c: tasks that ask for what no node has ---- */
/* A class of demand is asked for. MOB_ERR_DEMAND: this node will never meet it, and there are no others. */
mob_status demand_check(const struct job *j, const struct demand *demand);
/* Tasks wait in a class that no node known here can run. */
bool demand_unmet(const struct job *j, uint32_t cls);
/* What they ask for, and who comes nearest: "3 GPUs, and the largest of 2 nodes, alpha, has 2". Returns buf. */
char *demand_why(const struct job *j, uint32_t cls, char *buf, size_t size);
/* Tells the driver of such tasks, and fails those that have waited for long enough. */
void demand_look(struct job *j);
/* A node has joined. */
void demand_look_all(struct node *n);

/* ---- due.c: deadlines, and ends by force ---- */
/* Does what is asked for a time that has passed, and sets the timer for what is next. */
void due_look(struct job *j);

/* ---- gpu.c: which GPUs a worker sees ---- */
#define GPU_ENV "CUDA_VISIBLE_DEVICES"
struct gpus {
    uint32_t count;
    uint32_t used[NODE_GPUS_MAX];               /* units of each that workers hold */
    char name[NODE_GPUS_MAX][GPU_NAME_MAX + 1]; /* as CUDA_VISIBLE_DEVICES has it */
};
/* @count: how many there are, or -1: as many as are found. */
void gpu_init(struct gpus *g, int count);
/* Devices for a worker that needs @units: a bit each; whole ones alone, parts beside other parts. 0: no
 * device has that much left. */
uint64_t gpu_take(struct gpus *g, uint64_t units);
void gpu_give(struct gpus *g, uint64_t devices, uint64_t units);
/* "CUDA_VISIBLE_DEVICES=..." of those devices; at least GPU_ENV_MAX bytes. Returns buf. */
char *gpu_env(const struct gpus *g, uint64_t devices, char *buf, size_t size);
/* A worker could not get its devices, although their sum is enough: idle workers give theirs up. */
void gpu_gather(struct node *n);

/* ---- plan.c: the node's planner ---- */
/* Starts that waited for GPUs, which a worker has given up. */
void plan_start_waiting(struct node *n);
void plan_act(void *node, const struct plan_node_action *a);
void plan_arm(struct node *node);
struct job *plan_find_job(struct node *n, struct plan_job id);
/* Starts workers of a guest's job that were asked for before its executable was there. */
void plan_start(struct job *j, uint32_t cls, uint32_t count);

/* ---- status.c ---- */
void status_reply(struct conn *c, struct local_msg *m);
void status_info(struct conn *c, struct local_msg *m);
/* Which cluster this node is of. */
void status_cluster(struct conn *c, struct local_msg *m);
/* The node alone, in one line of JSON, malloc'd; NULL if there is no memory. */
char *status_node_text(struct node *n);

/* ---- json.c: answers as JSON; the daemon's texts may come from clients ---- */
struct json_t;
/* Answers with @root, whose reference goes. */
void json_reply(struct conn *c, uint32_t op, struct json_t *root);
/* All jobs here; the messages about leases. Of the last census. */
struct json_t *status_jobs(const struct node *n);
struct json_t *status_words(const struct node *n);
/* The records of a job by phase, as of the last census. */
struct json_t *json_phases(const struct job *j);

/* ---- timeline.c: see there ---- */
/* A job, or a process of it, begins. */
void timeline_job(struct job *j);
void timeline_process(struct job *j, uint32_t proc);
/* Its board goes. */
void timeline_keep(struct job *j);
/* Memory is wanted. */
void timeline_forget(struct node *n);
void timeline_free(struct node *n);
mob_status timeline_set(struct node *n, bool on);
/* The time for timeline_note(); 0: nothing is recorded, and that does nothing. */
uint64_t timeline_now(const struct node *n);
/* What began at @start_ns and is over now. @job: its number. */
void timeline_note(struct node *n, enum timeline_kind kind, uint32_t job,
                   uint64_t start_ns, uint64_t link, uint64_t a, uint64_t b,
                   mob_status st);
struct json_t *timeline_answer(struct node *n, const struct json_t *ask);

/* ---- inspect.c ---- */
void inspect_reply(struct conn *c, struct local_msg *m);
/* The connection is going. */
void inspect_conn_gone(struct conn *c);
/* The node stops: its children too. */
void checker_stop(struct node *n);
/* The head's answer. False: malformed. */
bool status_text(struct node *n, struct codec_reader *r);
/* The head will not answer what it was asked. */
void status_head_lost(struct node *n);
/* Tasks that ended in the job's processes here, its places' earlier ones among them. */
uint64_t status_tasks_done(const struct job *j);
/* Tasks that run on this node now. */
uint32_t status_tasks(const struct node *n);
/* The connection is going. */
void status_drop(struct conn *c);

/* ---- node.c ------------------------------------------------------------------------------------------------------- */

struct node_config {
    int embedded; /* fd of the driver's connection, or -1 */
    int num_cpus; /* -1: what affinity and cgroups allow; 0: it runs no tasks, as a head may */
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
    unsigned cpus;
    struct resources capacity; /* those CPUs, and what else tasks may ask for */
    struct gpus gpus;
    char labels[LABELS_MAX + 1];
    struct budget budget;
    struct line memory_line; /* processes that were refused memory */
    struct plan_node *plan;
    struct loop_timer plan_timer;
    uint32_t silent; /* of conns */
    struct conn *conns;
    struct job *jobs[JOBS_MAX];
    uint32_t last_job;
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
