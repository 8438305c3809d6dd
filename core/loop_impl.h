/* loop_impl.h - the inside of a loop, shared by its files.
 *
 *   loop.c        what both backends share: requests, the turn, the choice
 *   loop_timer.c  timers
 *   loop_ring.c   requests through io_uring; loop_ring_open.c: setting it up, or saying why not
 *   loop_poll.c   requests through epoll: who waits for which fd
 *   loop_try.c    one attempt at a request that does not block
 *   loop_files.c  a thread that reads and writes files: for loop_poll.c, and for what loop_ring.c cannot */
#ifndef CORE_LOOP_IMPL_H
#define CORE_LOOP_IMPL_H

#include <liburing.h>
#include <pthread.h>

#include "core/loop.h"

enum kind {
    KIND_WATCH,
    KIND_ACCEPT,
    KIND_CONNECT,
    KIND_RECV,
    KIND_SEND,
    KIND_RECVMSG,
    KIND_SENDMSG,
    KIND_SENDMSG_ZC,
    KIND_READ,
    KIND_WRITE,
    KIND_ALLOCATE,
};

/* What stands behind a loop. Its functions call back from within wait and reap alone. */
struct loop_backend {
    const char *name; /* as MOBULA_LOOP has it */
    /* On failure nothing is open, and loop->refusal says why in a few words. */
    mob_status (*open)(struct loop *loop, unsigned entries);
    void (*close)(struct loop *loop);
    void (*give)(struct loop *loop, struct loop_op *op);
    /* @op is in flight, and it is its first cancellation. */
    void (*cancel)(struct loop *loop, struct loop_op *op);
    /* Until something happened, a timer is due, or @until_ns. */
    mob_status (*wait)(struct loop *loop, uint64_t until_ns);
    /* Calls back for what has ended. */
    void (*reap)(struct loop *loop);
};
extern const struct loop_backend loop_ring, loop_poll;

/* The thread for files. What stands under "lock" is looked at under it alone. */
struct loop_files {
    pthread_t thread;
    int bell; /* an eventfd: some have ended */
    pthread_mutex_t lock;
    pthread_cond_t more; /* for the thread */
    /* ---- under lock ---- */
    struct loop_op *head, **tail; /* those that wait */
    struct loop_op *running;
    struct loop_op *ended; /* linked by next, the last one first */
    bool stop;             /* the running one was cancelled */
    bool quit;
};

struct ring_state {
    struct io_uring uring;
    struct loop_op *queue_head; /* requests that found the submission queue full */
    struct loop_op **queue_tail;
    struct loop_files files; /* for what io_uring does not do right: see loop_ring.c */
    struct loop_op bell;     /* the watch on its bell */
    bool with_files;         /* it is there */
    bool zerocopy;           /* the kernel has it */
    bool zerocopy_reports;   /* and says whether it copied after all */
};

/* What is known of one fd. */
struct loop_slot {
    struct loop_op *waiting; /* oldest first */
    uint32_t events;         /* that epoll looks for; 0: it does not know the fd */
    uint32_t generation;     /* of that registration */
    int next_idle;
    bool listed; /* in the list of fds that may be idle */
    bool stale;  /* nobody waited for a while: the number may be another file's now */
};

struct poll_state {
    int epoll;
    struct loop_slot *slots; /* by fd */
    unsigned slots_count;
    int idle;                               /* first of a list; -1: none */
    struct loop_op *told_head, **told_tail; /* whose callbacks are due; by told_next */
    struct loop_files files;
};

struct loop {
    const struct loop_backend *via;
    uint64_t now_ns;
    struct loop_timer *timers; /* root of a pairing heap: the earliest */
    unsigned in_flight;
    bool stopped;
    bool polled;      /* the turn's caller does not sleep */
    char about[160];  /* for loop_backend() */
    char refusal[80]; /* why it is not io_uring, in a few words */
    char refusal_text
        [400]; /* and in sentences that say what to do; empty: nothing was refused */
    union {
        struct ring_state ring;
        struct poll_state poll;
    };
};

/* @op is idle from here on; its callback is called. */
void loop_finish(struct loop_op *op, int result);

/* How long to sleep: to @until_ns or the next timer, CLOCK_NEVER for ever; not at all if @busy. */
uint64_t loop_sleep_ns(const struct loop *loop, uint64_t until_ns, bool busy);

/* Calls what is due at loop->now_ns. */
void loop_timers_fire(struct loop *loop);
/* The earliest deadline, or CLOCK_NEVER. */
uint64_t loop_timers_next(const struct loop *loop);

/* ---- io_uring (loop_ring_open.c) */

/* Sets up loop->ring.uring, or says why not, as loop_backend.open does. */
mob_status loop_ring_open(struct loop *loop, unsigned entries);

/* ---- attempts (loop_try.c) */

enum {
    TRY_WAIT = -(1 << 20), /* it would block: no errno */
    TRY_FILE,              /* nothing to wait for: it is for the thread */
};

/* Before the first attempt. 0, TRY_FILE, or a negative errno that is @op's result. */
int loop_try_begin(struct loop_op *op);
/* EPOLLIN or EPOLLOUT: what it waits for when it would block. */
uint32_t loop_try_events(const struct loop_op *op);
/* The result, or TRY_WAIT. */
int loop_try(struct loop_op *op);
/* After the last one: gives back what loop_try_begin() took. */
void loop_try_end(struct loop_op *op);

/* ---- files (loop_files.c) */

mob_status loop_files_open(struct loop_files *files);
/* None may be with it. */
void loop_files_close(struct loop_files *files);
void loop_files_give(struct loop_files *files, struct loop_op *op);
/* True: it had not begun, and is the caller's again. False: it ends soon, like any other. */
bool loop_files_cancel(struct loop_files *files, struct loop_op *op);
/* Those that have ended, oldest first, linked by next; results in op->result. */
struct loop_op *loop_files_take(struct loop_files *files);

#endif
