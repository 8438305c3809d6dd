/* client.h - a process's part in a job, as the library keeps it. Private to the client. */
#ifndef CLIENT_H
#define CLIENT_H

#define MOB_NO_SITES /* the library defines the functions behind the macros */
#include <mobula.h>
#include <pthread.h>
#include <stdbool.h>

#include "core/clock.h"
#include "core/limits.h"
#include "store/arena.h"
#include "store/board.h"
#include "store/lane.h"

/* How long a result or a large argument waits for room in a full store before its task fails: memory
 * comes back as others release, or never. */
#define FULL_WAIT_NS (10 * NS_PER_S)
#define GET_NESTED_MAX                                                                   \
    32 /* tasks that a waiting get runs one inside another on one stack */

struct
    segment_map { /* a segment as this process sees it; ro is NULL until it is needed */
    const void *ro;
    void *rw; /* its own ones only */
    size_t size;
};

/* The message of a failed task: leaves room in its text for task, attempt, node and process. */
#define TASK_MESSAGE_MAX (FAILURE_TEXT_MAX - 256)
#define QUOTE_MAX 1024 /* of that, in the text of a task that fails for it */

/* A small argument: where its bytes are while the task runs. */
struct task_arg {
    const void *data;
    uint32_t size;
};

struct mob_task {
    struct mob *mob;
    struct thread *thread;
    struct record *r;
    uint64_t link;
    struct call call;
    uint32_t fill;  /* of the payload: where the next small result goes */
    uint32_t given; /* bit i: result i was given */
    bool gave_ref;  /* one of them is another object */
    bool more;      /* it submitted, put or gave ids: its end is not the short one */
    uint32_t depth;
    struct mob_task *outer;
    uint32_t
        pinned; /* bit i: argument i is another record's, outside of it, and was looked at */
    uint64_t pin[MOB_ARGS_MAX];
    uint32_t known; /* bit i: `arg[i]` is set: of a task that has arguments by id */
    struct task_arg arg[MOB_ARGS_MAX];
    uint64_t *children; /* links of ids that it submitted or put and still holds, about */
    uint32_t children_count, children_room;
    char message[TASK_MESSAGE_MAX]; /* of mob_fail() */
    struct gang_part *gang;         /* what it is in its gang: gang.c; or NULL */
    mob_status fails_as; /* of the library's own functions; 0: MOB_ERR_TASK_FAILED */
};

/* One thread of the process. Private to the thread, but for `waits_on` and `next`. */
/* What a thread asked for in options, and the class that it was; looked at before anything is parsed. */
enum { ASKED_MAX = 4 };
struct asked {
    bool known;
    uint32_t class, word; /* word: what the board calls it */
    double num_cpus, num_gpus;
    uint64_t memory_bytes, node, group;
    int strategy, priority, bundle;
    char resources[256], labels[SELECTOR_MAX + 1]; /* longer ones are parsed each time */
};

struct thread {
    struct lane lane;
    struct arena_batch batches[ARENA_BATCH_CLASSES]; /* for its next small objects */
    struct mob *mob;
    struct mob_task *task; /* the innermost task that it runs, or NULL */
    struct mob_task top;   /* the outermost one; what task_init() sets stays as it was */
    mob_fn fn; /* submitted last, with its number on the board: usually the next too */
    mob_fn plain_fn; /* the same if what it submits may take the short way: a driver's */
    uint64_t plain_call;   /* of a task of it with one word as argument and one result */
    uint64_t newest;       /* link of the task that it submitted last by the short way */
    uint32_t newest_after; /* steps to wait before the first look at its result */
    bool far; /* what it waited for last was sealed by the daemon: spin_is_far() */
    const struct mob_site
        *plain_site; /* where it submitted last, with its number on the board */
    uint32_t plain_number;
    uint64_t plain_origin; /* both as a record has them */
    mob_fn recorded;       /* the function that timeline_run() is in the place of */
    uint16_t fn_id;
    int32_t room
        [CLASSES_MAX]; /* tasks that certainly fit into the class's queue: a look at how
                                   full it is costs a cache line that workers write */
    struct asked asked_for[ASKED_MAX];
    uint32_t asked_next; /* the place that is taken next */
    pthread_t owner;
    uint32_t asked;  /* proc.wake when it last looked at what the daemon asks for */
    at_u64 waits_on; /* address of the word it sleeps on, for the watcher */
    struct thread *next;
};

struct mob {
    struct board board;
    struct proc *proc; /* its own entry on the board */
    uint64_t node;
    uint32_t job, self, cpus;
    bool worker, embedded, inline_tasks;
    uint64_t store_bytes; /* the node's limit */
    const char *wait_gdb; /* MOBULA_WAIT_GDB, or NULL */
    at_u32 recorded;      /* 1: threads record what they do; see timeline_look() */
    uint64_t spin_ns;     /* how long to look before sleeping */
    at_u32 lost;          /* the watcher sets it: the daemon is gone */
    at_u32 closed;
    pid_t pid, daemon_pid;
    uint64_t serial; /* tells handles apart in threads' caches */

    int sock; /* requests to the daemon, under `sock_lock` */
    pthread_mutex_t sock_lock;
    int watch;              /* closes when the daemon dies */
    struct mob *next_spare; /* once it is shut down */
    pthread_t watcher;
    bool watching;

    struct arena *arena; /* under `memory_lock`, like the maps' making */
    pthread_mutex_t memory_lock;
    struct segment_map maps[BOARD_SEGMENTS_MAX];
    uint32_t revoked_seen, wanted_seen;

    pthread_mutex_t threads_lock;
    struct thread *threads;
    unsigned cpus_here; /* that this process, or a worker's node, may keep busy */
    /* Of a worker: threads that numeric libraries have, and a bit for each of local_threads_vars that is not the
     * user's. */
    uint32_t threads_each, threads_set;
    uint64_t ref_hi; /* the upper half of ids of this job on this node */
    mob_fn
        fns[BOARD_NAMES_MAX]; /* functions by their number on the board, as looked up */
};

static inline uint32_t task_attempt(const struct mob_task *task)
{
    return state_attempt(at_load(&task->r->state, AT_RELAXED)); /* TAKEN: it stays */
}

/* ---- thread.c ---- */
/* Makes a handle known, so that ending threads find it; the other way round. */
mob_status client_opened(struct mob *mob);
/* False: it was not open. */
bool client_closed(struct mob *mob);
/* True in a fork()ed child. */
bool client_forked(void);
mob_status client_no_function(struct mob_task *task);
mob_status client_thread_slow(struct mob *mob, struct thread **ret);
void client_threads_end(struct mob *mob);
extern _Thread_local struct thread *client_current
    __attribute__((tls_model("initial-exec")));
/* Whose `client_current` is: a handle's serial, which is never used again, as its address is. */
extern _Thread_local uint64_t client_serial __attribute__((tls_model("initial-exec")));
/* The calling thread's part, made at its first call. MOB_ERR_FORKED, MOB_ERR_CLOSED, ... */
static inline mob_status client_thread(struct mob *mob, struct thread **ret)
{
    /* In a child the cache is cleared, and mob_shutdown() clears it too. */
    if (__builtin_expect(mob && client_serial == mob->serial, 1)) {
        *ret = client_current;
        return MOB_OK;
    }
    mob_status st = client_thread_slow(mob, ret);
    if (st == MOB_OK && !mob) {
        __builtin_unreachable(); /* it refuses NULL; the analyzer sees one file at a time */
    }
    return st;
}

/* ---- cpus.c ---- */
/* In a worker, before any task: what it was started with. */
void threads_begin(struct mob *mob);
/* It serves another class from now on. */
void threads_follow(struct mob *mob, uint32_t class);

/* ---- rpc.c ---- */
struct local_msg;
/* Sends a request and waits for its answer. @fds: sent if @send_fds, else received into. */
mob_status client_ask(struct mob *mob, struct local_msg *m, const int *send_fds,
                      unsigned send_count, int *recv_fds, unsigned *recv_count);
mob_status client_tell(struct mob *mob, const struct local_msg *m);
/* Connects, or starts an embedded node. */
mob_status client_join(struct mob *mob, const struct mob_config *config);
mob_status client_join_worker(struct mob *mob, int sock);
void client_leave(struct mob *mob);
enum { HELLO_S = 30 }; /* for a daemon to answer the first word */
/* The first word on a connection. @role: enum local_role. */
void client_hello(struct local_msg *m, int role);
/* How long an answer may take; 0: as long as it takes. */
void client_limit_answer(const struct mob *mob, int seconds);

/* ---- where.c ---- */
/* Connects to the node that the config or MOBULA_ADDRESS names, or that runs on this machine; or starts an
 * embedded one, and @ret_why is its, else -1. MOB_ERR_NO_NODE: also if the node on this machine is of
 * another cluster than the one named. */
mob_status client_connect(struct mob *mob, const struct mob_config *config, int *ret_why);

/* ---- embedded.c ---- */
/* Starts a daemon for this program alone. @ret_why: where it says why it could not start; the caller's
 * to close. */
mob_status embedded_start(struct mob *mob, const struct mob_config *config, int *ret_why);
/* Joining it failed with @st: the reason, if the daemon has ended. */
mob_status embedded_failed(struct mob *mob, mob_status st, int why);

/* ---- memory.c ---- */
/* Room for @size bytes in this process's arena. @align: as arena_alloc(). MOB_ERR_NOMEM if there
 * was none for @timeout_ns. */
mob_status client_alloc_slow(struct mob *mob, struct thread *t, size_t size, size_t align,
                             uint64_t timeout_ns, struct arena_place *ret,
                             void **ret_data);
static inline mob_status client_alloc(struct mob *mob, struct thread *t, size_t size,
                                      size_t align, uint64_t timeout_ns,
                                      struct arena_place *ret, void **ret_data)
{
    /* What else an allocation looks at, places that others freed and segments that the daemon took back,
     * waits until a batch is empty. */
    void *data = __builtin_expect(arena_batched(size, align), 1)
                     ? arena_batch_take(&t->batches[arena_class(size)], size, ret)
                     : NULL;
    if (__builtin_expect(!data, 0)) {
        return client_alloc_slow(mob, t, size, align, timeout_ns, ret, ret_data);
    }
    *ret_data = data;
    return MOB_OK;
}
/* Gives the arena back what a thread's batches have left. */
void client_return_batches(struct mob *mob, struct thread *t);
/* Keeps the first @size bytes of a place of this process. */
mob_status client_shrink_place(struct mob *mob, const struct place *p, size_t size);
void client_free_place(void *mob, uint32_t segment, uint64_t offset);
/* Many calls of it, by this thread, come between the two: of one lock. */
void client_freeing(void *mob, bool begins);
/* Where the bytes of a place of @r are, read-only. MOB_ERR_CORRUPT, MOB_ERR_NODE_LOST. */
mob_status client_bytes(struct mob *mob, const struct record *r, const struct place *p,
                        const void **ret);
/* Lets go of segments that the daemon took back. */
void client_let_go(struct mob *mob);
/* Before a sleep: the same, gives the arena back what the thread's batches have left, and takes in what
 * others freed for this process. When memory is wanted, gives back all that is not in use. */
void client_tidy(struct mob *mob, struct thread *t);
/* The same for who has a lane and no batches. */
void client_tidy_lane(struct mob *mob, struct lane *lane);
void client_memory_end(struct mob *mob);

/* ---- registry.c ---- */
mob_status registry_error(void); /* what mob_register_early() could not do */
const char *registry_name(mob_fn fn);
mob_fn registry_fn(const char *name);
/* The board's number of a function's name; cached. */
mob_status registry_fn_id(struct mob *mob, mob_fn fn, uint16_t *ret);
/* The function of a board's number, or NULL. Noted for registry_by_id(), unless MOBULA_WAIT_GDB or a timeline
 * wants every task looked at. */
mob_fn registry_look_up(struct mob *mob, uint16_t id);
/* Functions are looked up again. */
void registry_forget(struct mob *mob);
/* The same if it was looked up before. */
static inline mob_fn registry_by_id(const struct mob *mob, uint16_t id)
{
    return __builtin_expect(id < BOARD_NAMES_MAX, 1)
               ? __atomic_load_n(&mob->fns[id], __ATOMIC_RELAXED)
               : NULL;
}

/* ---- wait.c ---- */
/* How long a call may wait in all, for the seal and for the disk. The clock is read when it has to wait for
 * the first time: most calls never do. */
struct limit {
    uint64_t timeout_ns;  /* 0: looks once; MOB_FOREVER */
    uint64_t deadline_ns; /* 0: not known yet */
};
static inline uint64_t limit_deadline(struct limit *limit)
{
    if (!limit->deadline_ns) {
        limit->deadline_ns = clock_deadline_ns(limit->timeout_ns);
    }
    return limit->deadline_ns;
}
/* Waits until a record is sealed. In a task runs it, or lends the CPU. */
mob_status client_await(struct mob *mob, struct thread *t, mob_ref ref,
                        struct limit *limit, struct record **ret, uint64_t *ret_state);
/* Runs the awaited task in the one that waits for it, if it has not started. False: it did not. */
bool client_run_awaited(struct mob *mob, struct thread *t, struct record *r,
                        uint32_t gen);
/* A worker that waits inside a task, for @link or (LINK_NONE) something else, lends its CPU, or has it again. */
void client_lend(struct mob *mob, bool lent, uint64_t link);
/* MOB_ERR_RELEASED. */
mob_status client_released(void);
/* The part of it that is nothing but waiting: spins for a moment, then sleeps. */
mob_status park_until_sealed(struct mob *mob, struct thread *t, struct record *r,
                             uint32_t gen, struct limit *limit);
/* Waits a moment for the task that the thread submitted last, of which nothing is known yet. True once it
 * is sealed or gone. */
bool spin_newest(struct thread *t, const struct record *r, uint32_t gen);
/* True if the calling thread, of which a lane is known, can do nothing but wait for a result. */
static inline bool client_only_waits(const struct mob *mob)
{
    return !client_current->task && !mob->inline_tasks;
}
/* MOB_OK while job and node are well; the short ways give way too while a timeline is recorded, as they record
 * nothing. */
mob_status client_health_slow(const struct mob *mob);
static inline bool client_ill(const struct mob *mob)
{
    return at_load(&mob->board.header->unusual, AT_ACQUIRE) |
           at_load(&mob->lost, AT_ACQUIRE);
}
static inline mob_status client_health(const struct mob *mob)
{
    return __builtin_expect(client_ill(mob), 0) ? client_health_slow(mob) : MOB_OK;
}
/* True if there are CPUs for all processes of the job that are awake, and @others. Who waits for what comes through
 * the daemon, from another node, leaves a CPU to it and one to the kernel, which has the network's work to do. */
enum { SPIN_NEAR = 0, SPIN_FAR = 2 };
bool spin_allowed(const struct mob *mob, unsigned others);
/* True if a record that is not sealed will be, or probably will be, by the daemon; @s: its state. */
bool spin_is_far(const struct thread *t, uint64_t s);
/* After a wait for a record. */
void spin_learn(struct thread *t, uint64_t s);
/* The link of an id of this job on this node, or of its local stand-in. */
mob_status client_link_foreign(struct mob *mob, mob_ref ref, uint64_t *ret);
static inline mob_status client_link(struct mob *mob, mob_ref ref, uint64_t *ret)
{
    *ret = ref.lo;
    return __builtin_expect(ref.hi != mob->ref_hi, 0) ? client_link_foreign(mob, ref, ret)
                                                      : MOB_OK;
}
static inline mob_ref client_ref(const struct mob *mob, uint64_t link, uint32_t ret)
{
    mob_ref ref = {mob->ref_hi, link | ret};
    return ref;
}
/* As park_wait(), noting the word for the watcher. */
mob_status park_client(struct mob *mob, struct thread *t, const at_u32 *word,
                       uint32_t seen, uint64_t deadline_ns);
/* The same where a task may be running. The daemon asks a worker for a look at what is revoked and wanted by
 * waking it (grant.c), and such a wait may have no end; @asked: proc.wake before the caller's last
 * client_tidy(). */
mob_status park_in_task(struct mob *mob, struct thread *t, const at_u32 *word,
                        uint32_t seen, uint32_t asked, uint64_t deadline_ns);

/* ---- waitset.c ---- */
/* mob_waitset_next(), within a limit that several calls share. @ret: may be NULL. */
mob_status waitset_next(struct mob_waitset *set, struct limit *limit, mob_ref *ret,
                        uint64_t *ret_tag);

/* ---- result.c ---- */
/* The status and text with which a sealed record failed. */
mob_status result_error(struct mob *mob, struct record *r, char *text, size_t size);
/* The place that holds result @ret of a sealed record, through references to other records.
 * @io_link becomes the record that holds the bytes. */
mob_status result_place(struct mob *mob, struct thread *t, uint64_t *io_link,
                        struct record **io_record, struct place *ret);
/* Tells the daemon that bytes which are on disk or on another node are wanted here. */
void client_want_bytes(struct mob *mob, uint64_t link);
/* The bytes of a sealed result whose record (@link, with the result's number) this thread has pinned. If
 * they are on disk or on another node, they are brought here first, within @limit. MOB_ERR_TIMEOUT, MOB_ERR_LOST,
 * MOB_ERR_CORRUPT. */
mob_status client_pinned_bytes(struct mob *mob, struct thread *t, struct record *r,
                               uint64_t link, struct limit *limit,
                               struct place *ret_place, const void **ret);

/* Waits and fails as the task did. */
mob_status client_value(struct mob *mob, struct thread *t, mob_ref ref,
                        struct limit *limit, uint64_t *ret_link, struct record **ret,
                        struct place *ret_place);

/* ---- args.c ---- */
/* Argument @i's link, LINK_NONE if it is a value. */
mob_status task_arg_link(struct mob_task *task, size_t i, uint64_t *ret);
/* Notes the small arguments of a task that has some by id, in one walk. False: one of them may have
 * failed. */
bool task_note_arguments(struct mob_task *task);
/* Lets go of the arguments' bytes. */
void task_unpin(struct mob_task *task);

/* ---- task.c ---- */
/* The bytes of argument @arg, which was given by id, are result @i. */
mob_status task_return_arg(struct mob_task *task, size_t i, size_t arg);
/* Remembers an id that the running task holds. */
mob_status task_hold(struct mob_task *task, uint64_t link);
/* Lets go of all of them; cancels what they name if @cancel. */
void task_drop_held(struct mob_task *task, bool cancel);
/* Takes back what an attempt returned that is not to be seen. */
void task_drop_results(struct mob_task *task);
/* Seals the task with an error; the text gets the task's name, attempt, node and process. */
void task_seal_error(struct mob_task *task, mob_status error, const char *what);
/* If an argument failed, so does the task, with its message. True if it did. */
bool task_fail_for_argument(struct mob_task *task);

/* ---- run.c ---- */
/* Before a task runs in it for the first time. */
void task_init(struct mob_task *task, struct mob *mob, struct thread *t);
/* Runs a TAKEN task of this process to its seal. */
void task_run(struct mob *mob, struct thread *t, struct record *r, uint32_t index);
/* Serves one class until the daemon says otherwise. */
void worker_serve(struct mob *mob, struct thread *t, uint32_t class, uint32_t run);
/* Says that this process runs no task, and which function it ran last, for people. */
void task_idle(const struct mob *mob, const struct thread *t);
/* MOBULA_INLINE: runs what is ready, here and now. */
void worker_run_inline(struct mob *mob, struct thread *t);

/* ---- timeline.c ---- */
/* Sees whether this thread's part is recorded from now on: lane.timeline. */
void timeline_look(struct mob *mob, struct thread *t);
/* Record what began at @start_ns, and ends now. LINK_NONE: a wait for any of several. */
void timeline_submitted(struct thread *t, uint64_t start_ns, uint64_t link);
void timeline_got(struct thread *t, uint64_t start_ns, uint64_t link, mob_status st);
/* In the place of a task's function: records that it runs, and runs it. */
mob_status timeline_run(struct mob_task *task);

/* ---- worker.c ---- */
void worker_run(struct mob *mob) __attribute__((noreturn));
/* All that is waiting and not work, after @streak tasks without a wait: the queue was seen empty at
 * @item. Returns a foreseen record that was filled meanwhile, or NULL. */
struct record *park_or_spin(struct mob *mob, struct thread *t, struct queue_item *item,
                            uint32_t run, uint32_t streak);

/* ---- debug.c ---- */
/* If the task has the name that MOBULA_WAIT_GDB gives, says how to attach a debugger, and waits until
 * one is attached. */
void debug_wait(const struct mob_task *task);

/* ---- site.c ---- */
/* Finds the board's number of a place in a program; 0 if there is none, or no room. */
uint32_t client_site_slow(struct mob *mob, struct mob_site *site);
/* The same if it was found before for this handle. Another thread may find it for another handle at this
 * moment; then tools show a wrong place. */
static inline uint32_t client_site(struct mob *mob, struct mob_site *site)
{
    return site && __atomic_load_n(&site->of, __ATOMIC_ACQUIRE) == mob->serial
               ? __atomic_load_n(&site->number, __ATOMIC_RELAXED)
               : client_site_slow(mob, site);
}
/* What a caller says of bytes. MOB_ERR_INVALID. */
mob_status client_check_meta(const struct mob_meta *given, struct mob_meta *ret);

/* ---- submit.c ---- */
/* A record to fill, waiting for one until @deadline_ns if the caller may wait; 0: it may not. */
mob_status client_record(struct mob *mob, struct thread *t, uint64_t deadline_ns,
                         struct record **ret);

#define CLIENT_FAST static inline __attribute__((always_inline))

/* memcpy() whose usual sizes are no call. */
static inline void client_copy(void *dst, const void *src, size_t size)
{
    if (size == 8) {
        __builtin_memcpy(dst, src, 8);
    } else if (size) {
        __builtin_memcpy(dst, src, size);
    }
}

#endif
