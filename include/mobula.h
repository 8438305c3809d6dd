/* mobula.h - tasks on any CPU of any machine, results in shared memory.
 *
 * A driver calls mob_init(), submits registered functions as tasks, passes the ids that
 * mob_submit() and mob_put() give as arguments of other tasks, and reads results with mob_get().
 * Tasks run in workers. A worker is the driver's own executable, started again by the node:
 * in a worker mob_init() runs tasks and never returns, so whatever main() does before
 * mob_init() is done once in every worker too (mob_is_worker() tells).
 *
 * Guarantees
 *   - A task runs at least once; the result of one attempt only is ever seen. A task that has
 *     effects outside its results may show them twice after a death.
 *   - Objects are immutable once sealed. Views are read-only: a stray write through one faults
 *     in the process that made it.
 *   - Nothing hangs: every wait ends in a value, an error or its time limit.
 *
 * Conventions
 *   - Functions return MOB_OK (0) or a negative mob_status. Outputs come last and are untouched
 *     on failure. Sizes are bytes, times nanoseconds.
 *   - mob_last_error() gives the calling thread's last failure as one sentence.
 *   - Unless said otherwise a function may be called by many threads on one handle at once, may
 *     not be called from a signal handler, and may not be called in a fork()ed child, where it
 *     returns MOB_ERR_FORKED.
 *
 * Compiles as C11, C17 and C++11. Behind every macro stands a function.
 */
#ifndef MOBULA_H
#define MOBULA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MOB_VERSION_MAJOR 0
#define MOB_VERSION_MINOR 1
#define MOB_VERSION_PATCH 0
#define MOB_VERSION_TEXT "0.1.0"

#define MOB_API __attribute__((visibility("default")))
#define MOB_MUST_CHECK __attribute__((warn_unused_result))

/* ---- status ------------------------------------------------------------------------------ */

/* name, value, text. Grouped by the largest thing that is damaged. */
#define MOB_STATUS_MAP(X)                                                                \
    X(OK, 0, "success")                                                                  \
    /* this call */                                                                      \
    X(ERR_INVALID, -1, "invalid argument")                                               \
    X(ERR_SIZE, -2, "size differs from the object's size")                               \
    X(ERR_TIMEOUT, -3, "time limit reached")                                             \
    X(ERR_FULL, -4, "a bounded table or queue is full")                                  \
    X(ERR_NOMEM, -5, "not enough memory")                                                \
    X(ERR_NOT_FOUND, -6, "no such thing")                                                \
    X(ERR_RELEASED, -7, "the id was released, or never existed")                         \
    X(ERR_EXISTS, -8, "exists already")                                                  \
    X(ERR_STATE, -9, "not allowed in this state")                                        \
    X(ERR_FORKED, -10, "called in a fork()ed child, which has no part in the job")       \
    X(ERR_UNSUPPORTED, -11, "not supported by this system")                              \
    X(ERR_SYSTEM, -12, "a system call failed")                                           \
    /* this task or object */                                                            \
    X(ERR_NO_FUNCTION, -20, "no function of that name is registered")                    \
    X(ERR_TASK_FAILED, -21, "the task returned an error")                                \
    X(ERR_TASK_DIED, -22, "the task's worker died")                                      \
    X(ERR_CANCELLED, -23, "the task was cancelled")                                      \
    X(ERR_LOST, -24, "the object was lost and cannot be made again")                     \
    X(ERR_ARG_FAILED, -25, "an argument of the task failed")                             \
    X(ERR_DEMAND, -26, "no node has what the task asks for")                             \
    X(ERR_DEADLINE, -27, "the task's deadline passed")                                   \
    /* this job */                                                                       \
    X(ERR_CORRUPT, -30, "the job's shared memory is corrupt")                            \
    X(ERR_JOB_FAILED, -31, "the job's workers cannot start")                             \
    X(ERR_CLOSED, -32, "shut down already")                                              \
    /* this node or cluster */                                                           \
    X(ERR_NODE_LOST, -40, "the node's daemon is gone")                                   \
    X(ERR_NO_NODE, -41, "no node is running there")                                      \
    X(ERR_KEY, -42, "the cluster key is wrong or missing")                               \
    X(ERR_VERSION, -43, "versions of mobula differ")                                     \
    X(ERR_PROTOCOL, -44, "a peer sent something malformed")                              \
    X(ERR_PEER_LOST, -45, "the connection to a peer was lost")

typedef enum mob_status {
#define MOB_STATUS_ENUM(name, value, text) MOB_##name = value,
    MOB_STATUS_MAP(MOB_STATUS_ENUM)
#undef MOB_STATUS_ENUM
} mob_status;

/* The name of a status ("MOB_ERR_FULL") and what it means. Static text, never NULL; an unknown
 * status has the name "MOB_ERR_?". Async-signal-safe. */
MOB_API const char *mob_status_name(mob_status status);
MOB_API const char *mob_status_text(mob_status status);

/* What went wrong in this thread's last failed call, with names, ids and numbers; "" if none
 * failed. The text is the thread's own and lasts until its next failing call. */
MOB_API const char *mob_last_error(void);

/* ---- handles and ids --------------------------------------------------------------------- */

struct mob;      /* a process's part in a job */
struct mob_task; /* the task that is running; valid only inside its function */

/* The id of an object: bytes that exist or will. A value: copy it freely; the copies together
 * are one hold, dropped by one mob_release(). */
typedef struct mob_ref {
    uint64_t hi, lo;
} mob_ref;

#define MOB_FOREVER UINT64_MAX /* as a time limit: no limit */
#define MOB_ARGS_MAX 16        /* arguments of one task */
#define MOB_RETURNS_MAX 8      /* results of one task */
#define MOB_NAME_MAX 55        /* bytes in the name of a function or a task */
#define MOB_DIMS_MAX 8         /* dimensions of an array that metadata can tell */
#define MOB_GANG_MAX 64        /* members of a gang */
#define MOB_EXCHANGE_MAX 1024 /* bytes that each member brings to a mob_gang_exchange() */

/* A place in a program that makes tasks or objects: what storectl shows as the origin of each, and by
 * which it groups leaks. mob_submit(), mob_put() and mob_create() are macros that make one and pass it
 * on; MOB_NO_SITES, defined before this header, leaves them functions. Static memory. */
struct mob_site {
    const char *file;
    uint32_t line;
    uint32_t number; /* the library's, like the next */
    uint64_t of;
};
#define MOB_HERE                                                                         \
    (__extension__({                                                                     \
        static struct mob_site mob_here_ = {__FILE__, __LINE__, 0, 0};                   \
        &mob_here_;                                                                      \
    }))

typedef mob_status (*mob_fn)(struct mob_task *task);

/* ---- init and shutdown ------------------------------------------------------------------- */

struct mob_config {
    size_t struct_size;   /* sizeof (struct mob_config) */
    const char *address;  /* HOST:PORT, a node's folder, or NULL: MOBULA_ADDRESS, then the
                                 node running on this machine, else an embedded node */
    unsigned num_cpus;    /* of an embedded node; 0: what affinity and cgroup allow */
    uint64_t store_bytes; /* of an embedded node; 0: 30 % of the memory it may use */
    const char *job_name; /* shown by `mobula status`; NULL: the program's name */
    int no_log_forward;   /* 1: the workers' output does not come to this terminal */
    /* What tasks of an embedded node may ask for (struct mob_options): */
    uint64_t memory_bytes; /* 0: what may be used but for the store's */
    int num_gpus;          /* 0: as many as are found; MOB_NO_GPU: none */
    const char *resources; /* "tape=2,license=0.5", or NULL */
    const char *labels;    /* "zone=a,disk=ssd", or NULL */
    int pin; /* of an embedded node. MOB_PIN: a worker runs on CPUs that its task has alone, MOB_NO_PIN: on any;
                0: pinned if the node may run on four CPUs or more (mobula.1) */
    unsigned
        weight; /* of the job beside others: 1 to MOB_WEIGHT_MAX, and 0 is 1. While jobs compete for what nodes
                        have, one of 3 gets three times the time of one of 1, on all nodes */
};
#define MOB_NO_GPU (-1)
#define MOB_PIN 1
#define MOB_NO_PIN (-1)
#define MOB_WEIGHT_MAX 1000u

/* Joins a node or starts an embedded one, and makes a job there. In a worker this function runs
 * tasks and never returns.
 * HOST:PORT is the head of a cluster. The node of this machine is joined, which must be of that cluster:
 * of another one it is MOB_ERR_NO_NODE, and the message names both heads.
 * @config: NULL, or a config whose struct_size is set.
 * @ret: the handle; the caller ends it with mob_shutdown().
 * Returns MOB_OK, MOB_ERR_NO_NODE, MOB_ERR_TIMEOUT (the daemon does not answer for 30 s),
 * MOB_ERR_KEY (the node is another user's), MOB_ERR_VERSION, MOB_ERR_NOMEM (also after 20 s in which
 * the objects of others did not make room), MOB_ERR_FULL,
 * MOB_ERR_UNSUPPORTED, MOB_ERR_SYSTEM, MOB_ERR_INVALID, MOB_ERR_EXISTS (two functions of one name), MOB_ERR_STATE (inside a task), MOB_ERR_FORKED. */
MOB_API MOB_MUST_CHECK mob_status mob_init(const struct mob_config *config,
                                           struct mob **ret);

/* Ends the job: cancels what has not run, waits for the lines that finished tasks wrote, lets
 * workers go, and frees the handle. An embedded node ends too. Views and ids of the handle are
 * invalid afterwards: calls with it say MOB_ERR_CLOSED. No other thread may use the handle meanwhile.
 * NULL is allowed. */
MOB_API void mob_shutdown(struct mob *mob);

/* 1 in a worker, 0 in a driver; may be called before mob_init(). */
MOB_API int mob_is_worker(void);

/* ---- functions --------------------------------------------------------------------------- */

/* Makes @fn known under @name in this process. Every process of the job must register the same
 * names; MOB_REGISTER does it before main(). Registering the same pair again is fine.
 * Returns MOB_OK, MOB_ERR_EXISTS (another function has the name), MOB_ERR_INVALID (empty or
 * over MOB_NAME_MAX bytes), MOB_ERR_FULL. Must not run at the same time as mob_submit(). */
MOB_API mob_status mob_register(const char *name, mob_fn fn);

/* As mob_register(), for constructors: a failure is kept and returned by mob_init(). */
MOB_API void mob_register_early(const char *name, mob_fn fn);

#define MOB_REGISTER(fn) MOB_REGISTER_AS(fn, #fn)
#define MOB_REGISTER_AS(fn, name)                                                        \
    __attribute__((constructor, used)) static void mob_register_##fn(void)               \
    {                                                                                    \
        mob_register_early(name, fn);                                                    \
    }                                                                                    \
    struct mob /* takes the semicolon */

/* ---- submitting -------------------------------------------------------------------------- */

/* One argument: @size bytes at @data if data is not NULL or size is 0 and ref.hi is 0, else
 * the object @ref. */
struct mob_arg {
    const void *data;
    size_t size;
    mob_ref ref;
};

struct mob_args {
    size_t count; /* at most MOB_ARGS_MAX */
    const struct mob_arg *args;
};

typedef uint64_t mob_group; /* mob_group_create() */
#define MOB_GROUP_BUNDLES_MAX 64
#define MOB_BUNDLE_ANY (-1)

struct mob_options {
    size_t struct_size; /* sizeof (struct mob_options) */
    const char *name;   /* shown in messages and tools; NULL: the function's name */
    double
        num_cpus; /* 0 means 1; use MOB_NO_CPU for none. Steps of 0.0001. If no node has so
                           many: see MOB_ERR_DEMAND below */
    int max_retries;    /* after a worker's death, up to 250; MOB_RETRIES_DEFAULT: 3;
                           MOB_RETRIES_FOREVER */
    int retry_on_error; /* 1: the same number of retries if the task returns an error */
    unsigned returns;   /* results, 1 to MOB_RETURNS_MAX; 0 means 1 */
    int no_wait;        /* 1: MOB_ERR_FULL at once instead of waiting for room */
    /* What the task needs beside CPUs while it runs. A node has as much as it was started with, and runs tasks
     * whose sum is at most that. Inside a waiting mob_get() a task gives its CPUs up and keeps these;
     * only if a result for which it waits was lost with its node, and they are needed to make it again, it runs again. */
    double
        num_gpus; /* whole ones, its own, or a part of one that others share; steps of 0.0001.
                              The task sees them, and no others, in CUDA_VISIBLE_DEVICES */
    uint64_t memory_bytes; /* counted, not fenced in */
    const char *resources; /* "tape=1,license=0.5", or NULL; at most 8 kinds */
    /* Where it may run. */
    const char *
        labels; /* of its node: "zone=a,disk!=hdd,gpu in (a100|h100),rack not in (r1|r2)"; or NULL */
    int strategy; /* enum mob_strategy */
    uint64_t
        node; /* of MOB_STRATEGY_NODE and _NODE_SOFT: mob_info.node_id of that node */
    uint64_t
        deadline_ns; /* from now on, up to 30 days; 0: none. A task that has not started by then, to
                             about 10 ms, fails with MOB_ERR_DEADLINE. One that runs is cancelled, and MOB_GRACE_NS
                             later its worker is ended, as by mob_cancel_as() with `force` */
    int priority; /* -MOB_PRIORITY_MAX to MOB_PRIORITY_MAX, 0 by default. Ready tasks of a higher one get
                     CPUs first, and those of a lower one as their tasks end, within the job. None starves: tasks of
                     a priority that have no CPU at all get one after 1 s and what is left of the task that has it,
                     for 0.1 s or a task. A demand and a priority together are one of the job's 16 classes; those
                     of a group count until it is removed and its tasks have ended */
    mob_group
        group; /* it runs in what is set aside for this group; 0: in none. With it no other strategy
                        is allowed */
    int bundle; /* in which of its bundles; MOB_BUNDLE_ANY: any, and what those of a node have together */
};

enum mob_strategy {
    MOB_STRATEGY_DEFAULT, /* here while there is room, then near its arguments, then where it is quiet */
    MOB_STRATEGY_SPREAD, /* evenly over all nodes */
    MOB_STRATEGY_NODE,   /* on `node`; MOB_ERR_DEMAND once that is no member any more */
    MOB_STRATEGY_NODE_SOFT, /* on `node` while it is there and has room, else anywhere */
};

#define MOB_NO_CPU (-1.0)
#define MOB_RETRIES_DEFAULT (-1)
#define MOB_RETRIES_FOREVER (-2)
#define MOB_PRIORITY_MAX 100
#define MOB_GRACE_NS 1000000000ull /* of a task that is to end: 1 s */
#define MOB_OPTIONS_INIT                                                                 \
    {                                                                                    \
        sizeof(struct mob_options), NULL, 0, MOB_RETRIES_DEFAULT, 0, 0, 0, 0, 0, NULL,   \
            NULL, 0, 0, 0, 0, 0, MOB_BUNDLE_ANY                                          \
    }

/* Runs @fn as a task when its arguments are there and a CPU is free.
 * @args: copied before this returns. Objects given by id are held until the task and all tasks
 *        it submitted are done, even if the caller releases them at once.
 * @options: NULL, or options made with MOB_OPTIONS_INIT.
 * @ret: one id for each result (options->returns); the caller holds them: mob_release() each.
 *       In a task, ids not released or returned are released when the task returns.
 * Waits while the job's tables are full; inside a task returns MOB_ERR_FULL instead. Arguments
 * too large for the tables go to the store, and wait up to 10 s while that is full.
 * Returns MOB_OK, MOB_ERR_NO_FUNCTION, MOB_ERR_INVALID, MOB_ERR_RELEASED, MOB_ERR_FULL,
 * MOB_ERR_NOMEM, MOB_ERR_NODE_LOST, MOB_ERR_JOB_FAILED, MOB_ERR_CORRUPT, MOB_ERR_FORKED;
 * MOB_ERR_DEMAND: it asks for what the node has not, and no other node can join. In a cluster
 * such a task waits for a node that has it (`mobula start --unmet-grace`, 30 s; the driver's stderr says so
 * at once, and what is lacking), and then fails with MOB_ERR_DEMAND. MOB_ERR_FULL also when tasks of the job
 * differ in what they ask for in more than 16 ways. */
MOB_API MOB_MUST_CHECK mob_status mob_submit(struct mob *mob, mob_fn fn,
                                             struct mob_args args,
                                             const struct mob_options *options,
                                             mob_ref *ret);

/* The same by the name that the function was registered under. */
MOB_API MOB_MUST_CHECK mob_status mob_submit_name(struct mob *mob, const char *name,
                                                  struct mob_args args,
                                                  const struct mob_options *options,
                                                  mob_ref *ret);

/* The same, and where: @site is MOB_HERE, or static memory of a binding, and not NULL. */
MOB_API MOB_MUST_CHECK mob_status mob_submit_at(struct mob *mob, mob_fn fn,
                                                struct mob_args args,
                                                const struct mob_options *options,
                                                mob_ref *ret, struct mob_site *site);
MOB_API MOB_MUST_CHECK mob_status mob_submit_name_at(struct mob *mob, const char *name,
                                                     struct mob_args args,
                                                     const struct mob_options *options,
                                                     mob_ref *ret, struct mob_site *site);

/* ---- results ----------------------------------------------------------------------------- */

/* A pinned, read-only view of an object's bytes, 8-byte aligned and 64-byte aligned if the
 * object is larger than 128 bytes. */
struct mob_view {
    const void *data;
    size_t size;
    uint64_t pin; /* the library's */
};

/* Waits until @ref is there and gives its bytes without copying them.
 * @timeout_ns: for all of it, also for bytes that come from disk or from another node; 0 looks once,
 *             MOB_FOREVER has no limit.
 * @ret: to be given back with mob_view_release(); the bytes stay valid until then, even if the
 *       id is released.
 * Inside a task, a waiting get runs the awaited task itself if it has not started and asks for nothing that
 * the waiting one has not (CPUs, GPUs, node, group), and else lends its CPUs to other tasks.
 * Returns MOB_OK; MOB_ERR_TIMEOUT; the task's failure (MOB_ERR_TASK_FAILED, TASK_DIED,
 * CANCELLED, ARG_FAILED, DEMAND, NO_FUNCTION: mob_failure() has the message); MOB_ERR_RELEASED;
 * MOB_ERR_LOST; MOB_ERR_FULL (this thread holds too many views); MOB_ERR_NODE_LOST;
 * MOB_ERR_JOB_FAILED; MOB_ERR_CORRUPT; MOB_ERR_FORKED. */
MOB_API MOB_MUST_CHECK mob_status mob_get(struct mob *mob, mob_ref ref,
                                          uint64_t timeout_ns, struct mob_view *ret);

/* Gives a view back. Any thread of the process that got it may do so. NULL is allowed; the view
 * is cleared, so that a second call does nothing. */
MOB_API void mob_view_release(struct mob *mob, struct mob_view *view);

/* Waits as mob_get() does and copies the bytes out.
 * @dst, @size: the object must have exactly @size bytes, else MOB_ERR_SIZE. */
MOB_API MOB_MUST_CHECK mob_status mob_get_copy(struct mob *mob, mob_ref ref, void *dst,
                                               size_t size, uint64_t timeout_ns);

/* Waits as mob_get() does and gives the size alone. */
MOB_API MOB_MUST_CHECK mob_status mob_get_size(struct mob *mob, mob_ref ref,
                                               uint64_t timeout_ns, size_t *ret);

/* 1 if @ref is there: mob_get() would give its bytes at once. 0 if not, if it failed, and if it is no
 * id, or none any more. */
MOB_API int mob_contains(struct mob *mob, mob_ref ref);

/* Waits until @want of @count ids are there (a failed one counts), or the time limit. Looks at all of them in
 * each call: for many ids that are taken as they come there is mob_waitset_next().
 * @ready: one byte per id, set to 1 or 0; set on MOB_ERR_TIMEOUT too.
 * @ret_ready: how many are ready; may be NULL. */
MOB_API MOB_MUST_CHECK mob_status mob_wait(struct mob *mob, const mob_ref *refs,
                                           size_t count, size_t want, uint64_t timeout_ns,
                                           unsigned char *ready, size_t *ret_ready);

/* A set of ids that are waited for as they come, at a cost for each that does not grow with their number:
 * what to use for many ids, where each call of mob_wait() has to look at all of them. Any number of sets may
 * have the same id. One thread at a time uses a set, inside tasks too. */
struct mob_waitset;

/* @ret: the caller ends it with mob_waitset_destroy(), which may come after mob_shutdown(), and with which the
 * ids go that are still in it; they are not released. MOB_ERR_NOMEM. */
MOB_API MOB_MUST_CHECK mob_status mob_waitset_create(struct mob *mob,
                                                     struct mob_waitset **ret);
MOB_API void mob_waitset_destroy(struct mob_waitset *set);

/* Puts @ref into the set, there already or not. @tag: the caller's, comes back with it.
 * MOB_ERR_RELEASED, MOB_ERR_NOMEM, MOB_ERR_FULL (millions). */
MOB_API MOB_MUST_CHECK mob_status mob_waitset_add(struct mob_waitset *set, mob_ref ref,
                                                  uint64_t tag);

/* Waits until one of the ids is there (a failed one counts, and one that was released meanwhile), takes it out
 * of the set and gives it, with its tag. Both outputs may be NULL. In a task it may run one of the awaited
 * tasks, or lends its CPU.
 * MOB_ERR_TIMEOUT; MOB_ERR_NOT_FOUND: the set is empty. */
MOB_API MOB_MUST_CHECK mob_status mob_waitset_next(struct mob_waitset *set,
                                                   uint64_t timeout_ns, mob_ref *ret,
                                                   uint64_t *ret_tag);

/* How many ids are in it. */
MOB_API size_t mob_waitset_count(const struct mob_waitset *set);

/* Drops the caller's hold. The bytes go when no task needs them and no view pins them. An id
 * that is unknown or was released already is ignored. Not while another thread passes the same id to a
 * call: that call may fail, or a task that it submits may find its argument gone. */
MOB_API void mob_release(struct mob *mob, mob_ref ref);

/* Why @ref failed: node, pid, signal or error, and what the task said, as one or more lines; of a
 * worker that died the last lines of its stderr. At most 4 KiB, and less when the store is full.
 * Copies at most @size bytes with the ending NUL; "" if it has not failed. */
MOB_API mob_status mob_failure(struct mob *mob, mob_ref ref, char *text, size_t size);

/* Asks that the task of @ref not run. One that has not started, or waits for arguments, fails with
 * MOB_ERR_CANCELLED at once; one that runs sees mob_task_cancelled(). Best effort; MOB_OK even if it
 * came too late. */
MOB_API mob_status mob_cancel(struct mob *mob, mob_ref ref);

struct mob_cancel_options {
    size_t struct_size; /* sizeof (struct mob_cancel_options) */
    int recursive; /* 1: also what it submitted, and what that submitted, on all nodes; what it still
                           submits too. Looks at all of the job's tasks */
    int force; /* 1: what still runs after grace_ns is ended with its worker, and fails with
                           MOB_ERR_CANCELLED. It does not run again; other tasks of that worker do, which costs
                           them no retry */
    uint64_t grace_ns; /* up to 30 days, to about 10 ms */
};
#define MOB_CANCEL_OPTIONS_INIT                                                          \
    {                                                                                    \
        sizeof(struct mob_cancel_options), 0, 0, MOB_GRACE_NS                            \
    }

/* mob_cancel() with options, which may be NULL. With `recursive`, also of a task that is done itself.
 * Returns MOB_OK, MOB_ERR_RELEASED, MOB_ERR_INVALID, MOB_ERR_NOMEM (the task is cancelled, and not all of
 * what it submitted). */
MOB_API mob_status mob_cancel_as(struct mob *mob, mob_ref ref,
                                 const struct mob_cancel_options *options);

/* ---- groups: room that is set aside, all of it or none ---------------------------------------- */

struct mob_bundle {     /* is on one node; as in struct mob_options: */
    size_t struct_size; /* sizeof (struct mob_bundle) */
    double num_cpus;    /* 0 means 1; MOB_NO_CPU for none */
    double num_gpus;
    uint64_t memory_bytes;
    const char *resources;
};
#define MOB_BUNDLE_INIT                                                                  \
    {                                                                                    \
        sizeof(struct mob_bundle), 0, 0, 0, NULL                                         \
    }

enum mob_group_strategy {
    MOB_GROUP_PACK,          /* on few nodes, as far as they have room */
    MOB_GROUP_SPREAD,        /* on many nodes, as far as they have room */
    MOB_GROUP_STRICT_PACK,   /* all on one node */
    MOB_GROUP_STRICT_SPREAD, /* each on a node of its own */
};

/* Asks for a group of @count bundles and does not wait for it. Once there is room for all of them it is set
 * aside for the tasks that name the group in their options; those wait until then. While there is not, nothing is
 * kept for it for longer than a moment. When a node dies, its bundles are placed again, and so are their tasks as
 * after any death. The group is the job's: all its processes may use its name, and it ends with the job.
 * @bundles: the struct_size of the first is the distance between them.
 * MOB_ERR_INVALID; MOB_ERR_FULL: too many groups; MOB_ERR_DEMAND: the node is none of a cluster, and has not so
 * much; MOB_ERR_NODE_LOST, ... */
MOB_API MOB_MUST_CHECK mob_status mob_group_create(struct mob *mob,
                                                   const struct mob_bundle *bundles,
                                                   size_t count,
                                                   enum mob_group_strategy strategy,
                                                   mob_group *ret);
/* Waits until all of it is there; inside a task it lends its CPUs meanwhile, as mob_get() does.
 * MOB_ERR_TIMEOUT: not yet, and mob_last_error() says why; MOB_ERR_DEMAND: no nodes that could hold it
 * have joined in the time that tasks wait too; MOB_ERR_CANCELLED: it was removed; MOB_ERR_NOT_FOUND. */
MOB_API MOB_MUST_CHECK mob_status mob_group_wait(struct mob *mob, mob_group group,
                                                 uint64_t timeout_ns);
/* The node (mob_info.node_id) of each of the first @max bundles; 0: it has none now. MOB_ERR_NOT_FOUND. */
MOB_API MOB_MUST_CHECK mob_status mob_group_nodes(struct mob *mob, mob_group group,
                                                  uint64_t *ret_nodes, size_t max,
                                                  size_t *ret_count);
/* Gives its room back. Its tasks fail with MOB_ERR_CANCELLED: those that wait at once, those that run with
 * their workers, as by mob_cancel_as() with `force` and no grace. What they made is kept, but is not made again if
 * it is lost with a node. Who submits to it later gets MOB_ERR_NOT_FOUND. MOB_ERR_NOT_FOUND. */
MOB_API mob_status mob_group_remove(struct mob *mob, mob_group group);

/* ---- objects without a task -------------------------------------------------------------- */

/* Copies @size bytes into a new object. Waits as mob_submit() does while the store is full, or no
 * record is free, up to @timeout_ns. Returns MOB_OK, MOB_ERR_NOMEM, MOB_ERR_FULL, MOB_ERR_NODE_LOST, ... */
MOB_API MOB_MUST_CHECK mob_status mob_put(struct mob *mob, const void *data, size_t size,
                                          uint64_t timeout_ns, mob_ref *ret);

/* Makes an object to be written in place: fill @ret_data, then mob_seal(); or mob_abort().
 * The object's bytes are not cleared first. A task may not wait for it until it is sealed. */
MOB_API MOB_MUST_CHECK mob_status mob_create(struct mob *mob, size_t size,
                                             uint64_t timeout_ns, mob_ref *ret,
                                             void **ret_data);
MOB_API MOB_MUST_CHECK mob_status mob_seal(struct mob *mob, mob_ref ref);
MOB_API void mob_abort(struct mob *mob, mob_ref ref);

/* Before mob_seal(): keeps the first @size bytes. Whole pages behind them are free at once.
 * MOB_ERR_SIZE: it has fewer. MOB_ERR_STATE: sealed, or not made with mob_create() here. */
MOB_API MOB_MUST_CHECK mob_status mob_shrink(struct mob *mob, mob_ref ref, size_t size);

/* The same, and where, as mob_submit_at(). */
MOB_API MOB_MUST_CHECK mob_status mob_put_at(struct mob *mob, const void *data,
                                             size_t size, uint64_t timeout_ns,
                                             mob_ref *ret, struct mob_site *site);
MOB_API MOB_MUST_CHECK mob_status mob_create_at(struct mob *mob, size_t size,
                                                uint64_t timeout_ns, mob_ref *ret,
                                                void **ret_data, struct mob_site *site);

/* ---- what the bytes are ------------------------------------------------------------------ */

enum mob_type {
    MOB_TYPE_BYTES, /* or not said */
    MOB_TYPE_INT,
    MOB_TYPE_UINT,
    MOB_TYPE_FLOAT,
    MOB_TYPE_COMPLEX,
    MOB_TYPE_BOOL,
    MOB_TYPE_TEXT,
    MOB_TYPE_STRUCT,
    MOB_TYPE_USER = 128 /* from here to 255: yours */
};

/* Goes with an object wherever it goes. To the library it means nothing. */
struct mob_meta {
    size_t struct_size;  /* sizeof (struct mob_meta); set by the caller, to get it too */
    uint32_t type;       /* enum mob_type; up to 255 */
    uint32_t item_bytes; /* of one element; 0: not said */
    uint32_t dims;       /* at most MOB_DIMS_MAX; 0: no array */
    uint64_t shape[MOB_DIMS_MAX]; /* elements along each dimension */
};

struct mob_object_options {
    size_t struct_size; /* sizeof (struct mob_object_options) */
    size_t align; /* of the address, here and for other processes of this node: 0 for
                                    what every object has, or 64, 4096, 2 MiB or another power of two
                                    below; copies on other nodes are aligned as every object */
    const struct mob_meta *meta; /* or NULL */
    struct mob_site *site;       /* where it is made, or NULL */
};
#define MOB_OBJECT_OPTIONS_INIT                                                          \
    {                                                                                    \
        sizeof(struct mob_object_options), 0, NULL, MOB_HERE                             \
    }

/* mob_put() and mob_create() with options, which may be NULL. MOB_ERR_SIZE: a shape whose product with
 * the size of an element is not @size. */
MOB_API MOB_MUST_CHECK mob_status mob_put_as(struct mob *mob, const void *data,
                                             size_t size,
                                             const struct mob_object_options *options,
                                             uint64_t timeout_ns, mob_ref *ret);
MOB_API MOB_MUST_CHECK mob_status mob_create_as(struct mob *mob, size_t size,
                                                const struct mob_object_options *options,
                                                uint64_t timeout_ns, mob_ref *ret,
                                                void **ret_data);

/* Between mob_create() and mob_seal(), as after mob_shrink(); the last one counts. MOB_ERR_STATE as
 * there, MOB_ERR_FULL: too often. */
MOB_API MOB_MUST_CHECK mob_status mob_set_meta(struct mob *mob, mob_ref ref,
                                               const struct mob_meta *meta);

/* Waits as mob_get() does. MOB_ERR_NOT_FOUND: the object has none. */
MOB_API MOB_MUST_CHECK mob_status mob_get_meta(struct mob *mob, mob_ref ref,
                                               uint64_t timeout_ns, struct mob_meta *ret);

/* ---- reductions -------------------------------------------------------------------------- */

enum mob_op { MOB_SUM, MOB_PRODUCT, MOB_MIN, MOB_MAX };
enum mob_number { MOB_F64, MOB_F32, MOB_I64, MOB_I32 };

/* Combines @count arrays of numbers element by element: an object of their size, made by tasks of the
 * library that run where the arrays are and start as they come. As with any task, the ids may be promises,
 * and may be released at once.
 * The order is fixed by @count alone (groups of eight, then groups of groups, in the order of @refs), so that
 * sums and products of floats have the same bits in every run. Integers wrap around; of floats a minimum or
 * maximum with a NaN is a NaN. What the first object is (its metadata) the result is too.
 * Arrays of 4 MiB and more that lie on several nodes are added up on their way: each node adds what it has to what
 * arrives and passes it on at once, so that a group takes about as long as moving one array.
 * @ret: to be released like a task's. Getting it gives MOB_ERR_SIZE if sizes differ or are not whole
 *       numbers, MOB_ERR_ARG_FAILED if an object failed; mob_failure() has the cause.
 * Returns what mob_submit() does; MOB_ERR_INVALID: no objects, or no such operation or type. */
MOB_API MOB_MUST_CHECK mob_status mob_reduce(struct mob *mob, const mob_ref *refs,
                                             size_t count, enum mob_op op,
                                             enum mob_number type, mob_ref *ret);
MOB_API MOB_MUST_CHECK mob_status mob_reduce_at(struct mob *mob, const mob_ref *refs,
                                                size_t count, enum mob_op op,
                                                enum mob_number type, mob_ref *ret,
                                                struct mob_site *site);

/* ---- inside a task ----------------------------------------------------------------------- */

/* The job's handle, for nested submits and gets. */
MOB_API struct mob *mob_task_mob(struct mob_task *task);

MOB_API size_t mob_arg_count(const struct mob_task *task);
MOB_API size_t mob_return_count(const struct mob_task *task);

/* Argument @index, read-only, pinned until the task returns; 8-byte aligned, and 64-byte
 * aligned if given by id and larger than 128 bytes.
 * Returns MOB_OK or MOB_ERR_INVALID (no such argument). */
MOB_API MOB_MUST_CHECK mob_status mob_arg(struct mob_task *task, size_t index,
                                          const void **ret_data, size_t *ret_size);

/* Copies argument @index, which must have exactly @size bytes. */
MOB_API MOB_MUST_CHECK mob_status mob_arg_copy(struct mob_task *task, size_t index,
                                               void *dst, size_t size);

/* Result @index: written in place (the room is the result's own, 64-byte aligned if larger
 * than 128 bytes, sealed when the task returns MOB_OK), copied, or another object's bytes.
 * A result not given is empty (0 bytes); given twice is MOB_ERR_STATE.
 * mob_return_ref() takes an id that the task submitted or put, or was given as an argument; the
 * end of the task waits until that object is there.
 * While the store is full the first two wait up to 10 s. Return MOB_OK, MOB_ERR_INVALID (no such
 * result), MOB_ERR_STATE, MOB_ERR_NOMEM, MOB_ERR_RELEASED. */
MOB_API MOB_MUST_CHECK mob_status mob_return_place(struct mob_task *task, size_t index,
                                                   size_t size, void **ret_data);
MOB_API MOB_MUST_CHECK mob_status mob_return_copy(struct mob_task *task, size_t index,
                                                  const void *data, size_t size);
MOB_API MOB_MUST_CHECK mob_status mob_return_ref(struct mob_task *task, size_t index,
                                                 mob_ref ref);

/* What result @index is; what argument @index is (MOB_ERR_NOT_FOUND: nobody said). A result that is
 * another object's bytes has that one's, unless the task says otherwise.
 * MOB_ERR_FULL: the arguments and results of the task leave no room for it beside them. */
MOB_API MOB_MUST_CHECK mob_status mob_return_meta(struct mob_task *task, size_t index,
                                                  const struct mob_meta *meta);
MOB_API MOB_MUST_CHECK mob_status mob_arg_meta(struct mob_task *task, size_t index,
                                               struct mob_meta *ret);

/* Says why the task fails, in up to 3,800 bytes; returns MOB_ERR_TASK_FAILED, so that a task can end
 * with `return mob_fail(task, "row %d is singular", row);`. */
MOB_API mob_status mob_fail(struct mob_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* 1 once somebody cancelled the task, or its deadline passed. A task that returns MOB_ERR_CANCELLED then fails
 * with that, or with MOB_ERR_DEADLINE. */
MOB_API int mob_task_cancelled(const struct mob_task *task);

/* The CPUs that the task asked for: mob_options.num_cpus. On a node that pins (mobula.1) its threads run on so many
 * CPUs, which no other task has. OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, MKL_NUM_THREADS, BLIS_NUM_THREADS and
 * NUMEXPR_NUM_THREADS are that number rounded down, and 1 at least, unless the driver has them set. A worker that
 * comes to run tasks of another number of CPUs tells the libraries by their functions, if its process shows those
 * (dynamic linking, or -rdynamic); the environment stays as it was. Who makes threads in another way makes as many
 * as this says. A task that runs inside the mob_get() of another one has that one's CPUs. */
MOB_API double mob_task_cpus(const struct mob_task *task);

/* ---- gangs: tasks that start together and know each other --------------------------------- */

/* Submits @n tasks of one function with the same arguments, which run at the same time, on as many slots, so that a
 * program of several processes (MPI, sockets, threads) can run inside. None of them begins before all have
 * their slots. Inside, mob_gang_rank() tells which one it is, and mob_gang_exchange() the others' addresses.
 * A gang lives and fails as one: if a member's worker or node dies, or it returns an error, the others are ended (by
 * force after MOB_GRACE_NS), and all begin again, if the death leaves retries, or the error with
 * `retry_on_error`: `max_retries` counts attempts of the gang. Without any left all ids fail, as the member did that
 * was the cause. Results are those of one attempt: they are there when the last member has returned.
 * mob_cancel() of one id cancels all.
 * @args: at most MOB_ARGS_MAX - 1. Large values become one object that all share.
 * @options: of each member.
 * @n: up to MOB_GANG_MAX.
 * @ret: the ids of the results of rank 0, then of rank 1, ...: n times options->returns. The caller holds them.
 * When its arguments are there, room for all n is set aside as for a group of n bundles (mob_group_create()), packed or
 * with MOB_STRATEGY_SPREAD spread; in options->group they run in what that has. A cluster that has not n slots at all fails
 * them with MOB_ERR_DEMAND after `--unmet-grace`. While it has room a gang has one of the job's classes, and waits for one.
 * Returns what mob_submit() does; MOB_ERR_FULL also when the node has 1024 gangs; MOB_ERR_UNSUPPORTED with
 * MOBULA_INLINE. */
MOB_API MOB_MUST_CHECK mob_status mob_submit_gang(struct mob *mob, mob_fn fn,
                                                  struct mob_args args,
                                                  const struct mob_options *options,
                                                  size_t n, mob_ref *ret);
MOB_API MOB_MUST_CHECK mob_status mob_submit_gang_at(struct mob *mob, mob_fn fn,
                                                     struct mob_args args,
                                                     const struct mob_options *options,
                                                     size_t n, mob_ref *ret,
                                                     struct mob_site *site);

/* Inside a member: which it is, from 0 on, and of how many. 0 and 1 in a task that is in no gang. */
MOB_API unsigned mob_gang_rank(const struct mob_task *task);
MOB_API unsigned mob_gang_size(const struct mob_task *task);

/* An address of this node at which the other nodes of the cluster reach it, "10.77.0.2"; "127.0.0.1" on a node
 * that is in no cluster. Valid until the task returns. */
MOB_API const char *mob_gang_host(const struct mob_task *task);

/* Each member brings @size bytes (the same number) at @mine, and gets those of all at @all, in the order of ranks:
 * mob_gang_size() times @size. A barrier with @size 0. May be called again and again, by one thread of the member
 * at a time; it goes through the daemons, and is for addresses and not for data. The member keeps its CPU.
 * Returns MOB_OK; MOB_ERR_TIMEOUT: not all are there; what was brought stays so, and the next call waits for the
 * same exchange; MOB_ERR_CANCELLED: a member failed, or the gang was cancelled: return, with any status;
 * MOB_ERR_SIZE (all members get that): the numbers of bytes differ; MOB_ERR_INVALID. */
MOB_API MOB_MUST_CHECK mob_status mob_gang_exchange(struct mob_task *task,
                                                    const void *mine, size_t size,
                                                    void *all, uint64_t timeout_ns);

/* ---- looking around ---------------------------------------------------------------------- */

struct mob_info {
    size_t struct_size;   /* set by the caller */
    uint64_t node_id;     /* this node's incarnation */
    uint32_t job;         /* the job's number on this node */
    uint32_t num_cpus;    /* of this node */
    uint64_t store_bytes; /* of this node: the limit, and what is used of it */
    uint64_t store_used_bytes;
    uint32_t nodes;   /* alive in the cluster */
    uint32_t workers; /* of this job on this node */
    int embedded;     /* 1: the node ends with this program */
};
MOB_API mob_status mob_get_info(struct mob *mob, struct mob_info *info);

/* ---- macros ------------------------------------------------------------------------------ */

#ifndef MOB_NO_SITES
#define mob_submit(...) mob_submit_at(__VA_ARGS__, MOB_HERE)
#define mob_submit_name(...) mob_submit_name_at(__VA_ARGS__, MOB_HERE)
#define mob_put(...) mob_put_at(__VA_ARGS__, MOB_HERE)
#define mob_create(...) mob_create_at(__VA_ARGS__, MOB_HERE)
#define mob_reduce(...) mob_reduce_at(__VA_ARGS__, MOB_HERE)
#define mob_submit_gang(...) mob_submit_gang_at(__VA_ARGS__, MOB_HERE)
#endif

/* In a task or a function that returns mob_status: returns what fails. */
#define MOB_TRY(call)                                                                    \
    do {                                                                                 \
        mob_status mob_try_ = (call);                                                    \
        if (mob_try_ != MOB_OK) {                                                        \
            return mob_try_;                                                             \
        }                                                                                \
    } while (0)

/* In main: prints what failed, where and why, and exits with status 1. Costs a comparison if nothing failed. */
#define MOB_CHECK(call)                                                                  \
    do {                                                                                 \
        mob_status mob_check_ = (call);                                                  \
        if (mob_check_ != MOB_OK) {                                                      \
            mob_check(mob_check_, #call, __FILE__, __LINE__);                            \
        }                                                                                \
    } while (0)
MOB_API void mob_check(mob_status status, const char *call, const char *file, int line);

static inline struct mob_arg mob_arg_ref(mob_ref ref)
{
    struct mob_arg arg = {NULL, 0, ref};
    return arg;
}

static inline struct mob_arg mob_arg_bytes(const void *data, size_t size)
{
    struct mob_arg arg = {data, size, {0, 0}};
    return arg;
}

#define MOB_REF(ref) mob_arg_ref(ref)
#define MOB_BYTES(data, size) mob_arg_bytes((data), (size))

#ifdef __cplusplus
} /* extern "C" */

#include <initializer_list>

template <class T>
inline struct mob_arg mob_arg_value(const T &value)
{
    return mob_arg_bytes(&value, sizeof(T));
}
/* The list and the values live until the end of the full expression: the call to mob_submit. */
inline struct mob_args mob_args_list(std::initializer_list<struct mob_arg> list)
{
    struct mob_args args = {list.size(), list.begin()};
    return args;
}
#define MOB_VALUE(x) mob_arg_value(x)
#define MOB_ARGS(...) mob_args_list({__VA_ARGS__})
#define MOB_NO_ARGS mob_args_list({})
#else
/* A copy of @x that lives until the end of the block. */
#define MOB_VALUE(x) mob_arg_bytes((__typeof__(x)[1]){(x)}, sizeof(x))
#define MOB_ARGS(...)                                                                    \
    ((struct mob_args){sizeof((struct mob_arg[]){__VA_ARGS__}) / sizeof(struct mob_arg), \
                       (struct mob_arg[]){__VA_ARGS__}})
#define MOB_NO_ARGS ((struct mob_args){0, NULL})
#endif

#endif /* MOBULA_H */
