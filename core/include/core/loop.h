/* loop.h - one thread's events: I/O that completes, fds that become ready, timers.
 *
 * A loop belongs to the thread that created it: every function here is called by that
 * thread alone (another thread or process wakes it through an eventfd that it watches).
 * It sleeps in the kernel and wakes for nothing but a completion or the earliest timer.
 *
 * Requests (struct loop_op) and timers live in their owner's memory; the loop allocates
 * nothing after it was created, so that starting a request cannot fail: every error comes
 * as the request's result. No callback is ever called from inside a function that starts,
 * cancels or stops something. When a callback comes, its request or timer is idle again
 * and may be started anew or freed from within the callback.
 *
 * A request in flight owns its op, its buffers and the msghdr or address that it points
 * to.
 *
 * Behind these functions stands io_uring or, where that is refused, epoll with a thread for
 * files; the guarantees are the same. MOBULA_LOOP=io_uring or =epoll in the environment
 * wants one of them. fds of sockets given to loop_recv() and its like are in blocking mode
 * (no O_NONBLOCK): the loop does the waiting. */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;
struct loop_op;
struct loop_timer;

/* @result: what the system call would give, or a negative errno. -ECANCELED: cancelled.
 */
typedef void (*loop_done)(struct loop_op *op, int result);
typedef void (*loop_fired)(struct loop_timer *timer);

/* One request. Zero it before its first use; all fields are the loop's. */
struct loop_op {
    struct loop *loop; /* NULL: idle */
    loop_done done;
    struct loop_op *next;      /* in the one list of the loop's that it waits in */
    struct loop_op *told_next; /* epoll: in the list of those whose callbacks are due */
    void *addr;
    uint64_t offset, length;
    uint32_t size;
    uint32_t moved; /* epoll: bytes of it so far */
    int fd;
    int flags;
    int result; /* with which it will be told */
    int kept; /* epoll: a connecting socket's mode, or a file description of our own; -1 */
    uint8_t kind;
    bool given;     /* the kernel has it, or the thread for files */
    bool in_thread; /* io_uring: that thread has it */
    bool queued;    /* io_uring: it, or its cancellation, found no room yet */
    bool telling;   /* its callback is due */
    bool cancelled; /* loop_cancel() was called */
};

/* One timer. Zero it before its first use; all fields are the loop's. */
struct loop_timer {
    loop_fired fired;
    uint64_t deadline_ns;
    struct loop_timer *child, *sibling,
        *prev; /* in a pairing heap; prev: sibling or parent */
    bool active;
};

/* The struct of @type whose @member @ptr points to. */
#define LOOP_OWNER(ptr, type, member)                                                    \
    ((type *)(void *)((char *)(ptr) - __builtin_offsetof(type, member)))

/* Makes a loop for the calling thread: on io_uring if that works, else on epoll.
 * @entries: requests that one turn hands to io_uring at once, a power of two (0: 256); more
 * may be in flight. MOB_ERR_INVALID: MOBULA_LOOP names neither. MOB_ERR_UNSUPPORTED: it
 * wants io_uring, which the kernel or a container profile refuses, or which lacks a part;
 * mob_last_error() says which, and what to do. MOB_ERR_NOMEM, MOB_ERR_SYSTEM. */
mob_status loop_create(unsigned entries, struct loop **ret);

/* No request may be in flight and no watch open (asserted). NULL is allowed. */
void loop_destroy(struct loop *loop);

/* One turn: hands over what was started, waits until something happens or @timeout_ns is
 * over (0: looks only; CLOCK_NEVER), and calls the callbacks that are due. A signal ends
 * the wait. On io_uring, to look where nothing has happened is no system call. MOB_ERR_SYSTEM only if the ring, or epoll, is broken itself. */
mob_status loop_turn(struct loop *loop, uint64_t timeout_ns);

/* Turns until loop_stop(), which callbacks may call. */
mob_status loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Monotonic time, read once a turn, before the callbacks. */
uint64_t loop_now_ns(const struct loop *loop);

/* In a callback: whoever turns the loop does not sleep, but turns it again and again (the turn's
 * @timeout_ns is 0). What can be looked at in memory need not ask for events then. */
bool loop_polled(const struct loop *loop);

/* What it runs on and how, for people: "io_uring (single issuer, deferred work)", "epoll
 * (io_uring refused by a seccomp filter)". Valid as long as the loop. */
const char *loop_backend(const struct loop *loop);

/* Why it is on epoll though nobody asked for that, and what to do; else "". */
const char *loop_refusal(const struct loop *loop);

/* Requests and watches in flight. */
unsigned loop_in_flight(const struct loop *loop);

/* ---- timers
 * ------------------------------------------------------------------------------ */

/* Calls @fired once, in the first turn at or after @deadline_ns (a time of loop_now_ns();
 * the past means the next turn). A timer that is active is moved. CLOCK_NEVER stops it.
 */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns,
                      loop_fired fired);
/* At once; an idle timer may be stopped too. */
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);

/* ---- requests
 * ---------------------------------------------------------------------------- */

static inline bool loop_op_busy(const struct loop_op *op)
{
    return op->loop != NULL;
}

/* Asks that @op end. Its callback still comes, once, with -ECANCELED or with what it had
 * reached; until then its buffers are in use. An idle op is left alone. */
void loop_cancel(struct loop *loop, struct loop_op *op);

/* Calls @done with the ready events (POLLIN, ...) again and again until cancelled. It is
 * told of changes, not of states: read, or accept, until EAGAIN. The op stays busy
 * between calls; the last call has a negative result, after which it is idle. */
void loop_watch(struct loop *loop, struct loop_op *op, int fd, short events,
                loop_done done);

/* One connection of the listening socket @fd; the result is its fd, close-on-exec. A
 * listener is the loop's: it may be in non-blocking mode afterwards. */
void loop_accept(struct loop *loop, struct loop_op *op, int fd, loop_done done);
void loop_connect(struct loop *loop, struct loop_op *op, int fd,
                  const struct sockaddr *addr, socklen_t addr_size, loop_done done);

/* @flags as recv(2) and send(2); MSG_NOSIGNAL is added. With MSG_WAITALL the result is
 * short only if the connection ended, failed or was cancelled meanwhile, or on kernels
 * before 5.19: look at it. MSG_WAITALL is for streams. @size at most 1 GiB. */
void loop_recv(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t size,
               int flags, loop_done done);
void loop_send(struct loop *loop, struct loop_op *op, int fd, const void *buf,
               size_t size, int flags, loop_done done);
void loop_recvmsg(struct loop *loop, struct loop_op *op, int fd, struct msghdr *msg,
                  int flags, loop_done done);
void loop_sendmsg(struct loop *loop, struct loop_op *op, int fd, const struct msghdr *msg,
                  int flags, loop_done done);

/* True if loop_sendmsg_zc() may be used: io_uring, Linux 6.1. */
bool loop_zerocopy(const struct loop *loop);

enum { LOOP_RELEASED = 0, LOOP_COPIED = 1 };

/* As loop_sendmsg(), but the bytes stay the kernel's after it has taken them. @done comes
 * twice: with the result, while the op is still busy (the socket may be given the next
 * bytes), and with LOOP_RELEASED when the bytes are free again, the op idle; LOOP_COPIED if
 * they were copied after all. It comes once, the op idle, if nothing was sent. */
void loop_sendmsg_zc(struct loop *loop, struct loop_op *op, int fd,
                     const struct msghdr *msg, int flags, loop_done done);

/* Has the kernel find the memory or blocks for a part of a file, as fallocate(2); 0 when it
 * has. Of one that failed or was cancelled a part may be there. */
void loop_allocate(struct loop *loop, struct loop_op *op, int fd, uint64_t offset,
                   uint64_t size, loop_done done);

/* @offset in a file; UINT64_MAX: the file's position, or a pipe, terminal or socket, of
 * which nobody else reads. @size at most 1 GiB; the result may be short. What is at a file
 * already is not cancelled any more. A write at a file's position is one of write(2)'s: what
 * others write there, who share the file description, is not overwritten. -EAGAIN: it is not
 * possible now, as another one is not ready or there can be no thread for it: try later. */
void loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t size,
               uint64_t offset, loop_done done);
void loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf,
                size_t size, uint64_t offset, loop_done done);

#endif
