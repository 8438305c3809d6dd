#include "core/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "loop_ring.h"
#include "core/status.h"

enum {
    ENTRIES_DEFAULT = 256,
    REAP_BATCH = 64,
    IO_BYTES_MAX = 1 << 30,
};

enum kind {
    KIND_WATCH,
    KIND_ACCEPT,
    KIND_CONNECT,
    KIND_RECV,
    KIND_SEND,
    KIND_RECVMSG,
    KIND_SENDMSG,
    KIND_READ,
    KIND_WRITE,
    KIND_ALLOCATE,
};

mob_status loop_create(unsigned entries, struct loop **ret)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for an event loop");
    }
    mob_status st = loop_ring_open(loop, entries != 0 ? entries : ENTRIES_DEFAULT);
    if (st != MOB_OK) {
        free(loop);
        return st;
    }
    loop->queue_tail = &loop->queue_head;
    loop->now_ns = clock_now_ns();
    *ret = loop;
    return MOB_OK;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    MOB_ASSERT(loop->in_flight == 0);
    io_uring_queue_exit(&loop->ring);
    free(loop);
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

const char *loop_backend(const struct loop *loop)
{
    return loop->backend;
}

unsigned loop_in_flight(const struct loop *loop)
{
    return loop->in_flight;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

/* ---- handing over
 * ------------------------------------------------------------------------ */

static void prepare(struct io_uring_sqe *sqe, struct loop_op *op)
{
    unsigned flags = (unsigned)op->flags;
    switch ((enum kind)op->kind) {
    case KIND_WATCH:
        io_uring_prep_poll_multishot(sqe, op->fd, flags);
        break;
    case KIND_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, op->flags);
        break;
    case KIND_CONNECT:
        io_uring_prep_connect(sqe, op->fd, op->addr, (socklen_t)op->size);
        break;
    case KIND_RECV:
        io_uring_prep_recv(sqe, op->fd, op->addr, op->size, op->flags);
        break;
    case KIND_SEND:
        io_uring_prep_send(sqe, op->fd, op->addr, op->size, op->flags);
        break;
    case KIND_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->addr, flags);
        break;
    case KIND_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->addr, flags);
        break;
    case KIND_READ:
        io_uring_prep_read(sqe, op->fd, op->addr, op->size, op->offset);
        break;
    case KIND_WRITE:
        io_uring_prep_write(sqe, op->fd, op->addr, op->size, op->offset);
        break;
    case KIND_ALLOCATE:
        io_uring_prep_fallocate(sqe, op->fd, 0, op->offset, op->length);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

/* A free entry, after handing over what fills the queue; NULL if the kernel takes nothing
 * now. */
static struct io_uring_sqe *entry(struct loop *loop)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    if (sqe == NULL && io_uring_submit(&loop->ring) > 0) {
        sqe = io_uring_get_sqe(&loop->ring);
    }
    return sqe;
}

static void enqueue(struct loop *loop, struct loop_op *op)
{
    op->queued = true;
    op->next = NULL;
    *loop->queue_tail = op;
    loop->queue_tail = &op->next;
}

static void submit(struct loop *loop, struct loop_op *op)
{
    /* Nothing overtakes what waits already: two sends on one socket keep their order. */
    struct io_uring_sqe *sqe = loop->queue_head == NULL ? entry(loop) : NULL;
    op->given = sqe != NULL;
    if (sqe == NULL) {
        enqueue(loop, op);
        return;
    }
    prepare(sqe, op);
}

static void start(struct loop *loop, struct loop_op *op, enum kind kind, int fd,
                  loop_done done)
{
    MOB_ASSERT(op->loop == NULL);
    op->loop = loop;
    op->done = done;
    op->fd = fd;
    op->kind = (uint8_t)kind;
    op->cancelled = false;
    op->queued = false;
    loop->in_flight++;
    submit(loop, op);
}

static void finish(struct loop_op *op, int result)
{
    struct loop *loop = op->loop;
    if (op->queued) { /* it ended while its cancellation waited for room: rare, so walk */
        struct loop_op **at = &loop->queue_head;
        while (*at != op) {
            at = &(*at)->next;
        }
        *at = op->next;
        if (op->next == NULL) {
            loop->queue_tail = at;
        }
        op->queued = false;
    }
    loop->in_flight--;
    op->loop = NULL;
    op->done(op, result);
}

static void cancel(struct loop *loop, struct loop_op *op)
{
    struct io_uring_sqe *sqe = entry(loop);
    if (sqe == NULL) {
        enqueue(loop, op);
        return;
    }
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL);
}

/* Hands over what found no room, and ends what was cancelled while it waited. */
static void flush_queue(struct loop *loop)
{
    struct loop_op *op = loop->queue_head;
    loop->queue_head = NULL;
    loop->queue_tail = &loop->queue_head;
    while (op != NULL) {
        struct loop_op *next = op->next;
        op->queued = false;
        if (op->given) {
            cancel(loop, op);
        } else if (op->cancelled) {
            finish(op, -ECANCELED);
        } else {
            submit(loop, op);
        }
        op = next;
    }
}

void loop_cancel(struct loop *loop, struct loop_op *op)
{
    if (op->loop == NULL || op->cancelled) {
        return;
    }
    op->cancelled = true;
    if (!op->queued) {
        cancel(loop, op);
    }
}

/* ---- turning
 * ----------------------------------------------------------------------------- */

static void complete(struct loop *loop, const struct io_uring_cqe *cqe)
{
    struct loop_op *op = io_uring_cqe_get_data(cqe);
    int result = cqe->res;
    bool more = cqe->flags & IORING_CQE_F_MORE;
    if (op == NULL) {
        return; /* a cancellation's own answer: the cancelled request gives the real one
                 */
    }
    if (op->kind != KIND_WATCH) {
        finish(op, result);
        return;
    }
    if (more) {
        if (!op->cancelled) {
            op->done(op, result);
        }
        return;
    }
    /* The kernel ended the watch. Unless it failed or was cancelled, it goes on: a lost
     * multishot (a full completion queue, say) is our affair, not the user's. */
    if (op->cancelled) {
        result = -ECANCELED;
    }
    if (result < 0) {
        finish(op, result);
        return;
    }
    submit(loop, op);
    op->done(op, result);
}

/* Calls back for all completions that are there. The batch is copied out first, as
 * callbacks may use the ring. */
static void reap(struct loop *loop)
{
    struct io_uring_cqe *list[REAP_BATCH];
    struct io_uring_cqe copy[REAP_BATCH];
    unsigned count = io_uring_peek_batch_cqe(&loop->ring, list, REAP_BATCH);
    for (unsigned i = 0; i < count; i++) {
        copy[i] = *list[i];
    }
    io_uring_cq_advance(&loop->ring, count);
    for (unsigned i = 0; i < count; i++) {
        complete(loop, &copy[i]);
    }
}

mob_status loop_turn(struct loop *loop, uint64_t timeout_ns)
{
    loop->now_ns = clock_now_ns();
    flush_queue(loop);
    uint64_t until = clock_deadline_ns(timeout_ns);
    uint64_t next = loop_timers_next(loop);
    if (loop->queue_head != NULL) {
        until = 0; /* somebody waits for room: hand over, do not sleep */
    } else if (next < until) {
        until = next;
    }
    uint64_t wait = until > loop->now_ns ? until - loop->now_ns : 0;
    struct __kernel_timespec ts = {.tv_sec = (long long)(wait / NS_PER_S),
                                   .tv_nsec = (long long)(wait % NS_PER_S)};
    struct io_uring_cqe *cqe;
    int rc = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1,
                                              until == CLOCK_NEVER ? NULL : &ts, NULL);
    /* ETIME: nothing came. EINTR: a signal. EBUSY and EAGAIN: completions must be taken,
     * or memory found, first. All of them come right in a later turn. */
    if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN) {
        return status_fail(MOB_ERR_SYSTEM, "io_uring_enter: %s", strerror(-rc));
    }
    loop->now_ns = clock_now_ns();
    reap(loop);
    loop_timers_fire(loop);
    return MOB_OK;
}

mob_status loop_run(struct loop *loop)
{
    loop->stopped = false;
    mob_status st = MOB_OK;
    while (!loop->stopped && st == MOB_OK) {
        st = loop_turn(loop, CLOCK_NEVER);
    }
    return st;
}

/* ---- requests
 * ---------------------------------------------------------------------------- */

void loop_watch(struct loop *loop, struct loop_op *op, int fd, short events,
                loop_done done)
{
    op->flags = events;
    start(loop, op, KIND_WATCH, fd, done);
}

void loop_accept(struct loop *loop, struct loop_op *op, int fd, loop_done done)
{
    op->flags = SOCK_CLOEXEC;
    start(loop, op, KIND_ACCEPT, fd, done);
}

void loop_connect(struct loop *loop, struct loop_op *op, int fd,
                  const struct sockaddr *addr, socklen_t addr_size, loop_done done)
{
    op->addr = (void *)(uintptr_t)addr;
    op->size = addr_size;
    start(loop, op, KIND_CONNECT, fd, done);
}

static void set_buffer(struct loop_op *op, const void *buf, size_t size, int flags,
                       uint64_t offset)
{
    MOB_ASSERT(size <= IO_BYTES_MAX);
    op->addr = (void *)(uintptr_t)buf;
    op->size = (uint32_t)size;
    op->flags = flags;
    op->offset = offset;
}

void loop_recv(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t size,
               int flags, loop_done done)
{
    set_buffer(op, buf, size, flags | MSG_NOSIGNAL, 0);
    start(loop, op, KIND_RECV, fd, done);
}

void loop_send(struct loop *loop, struct loop_op *op, int fd, const void *buf,
               size_t size, int flags, loop_done done)
{
    set_buffer(op, buf, size, flags | MSG_NOSIGNAL, 0);
    start(loop, op, KIND_SEND, fd, done);
}

void loop_recvmsg(struct loop *loop, struct loop_op *op, int fd, struct msghdr *msg,
                  int flags, loop_done done)
{
    set_buffer(op, msg, 0, flags | MSG_NOSIGNAL, 0);
    start(loop, op, KIND_RECVMSG, fd, done);
}

void loop_sendmsg(struct loop *loop, struct loop_op *op, int fd, const struct msghdr *msg,
                  int flags, loop_done done)
{
    set_buffer(op, msg, 0, flags | MSG_NOSIGNAL, 0);
    start(loop, op, KIND_SENDMSG, fd, done);
}

void loop_read(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t size,
               uint64_t offset, loop_done done)
{
    set_buffer(op, buf, size, 0, offset);
    start(loop, op, KIND_READ, fd, done);
}

void loop_allocate(struct loop *loop, struct loop_op *op, int fd, uint64_t offset,
                   uint64_t size, loop_done done)
{
    set_buffer(op, NULL, 0, 0, offset);
    op->length = size;
    start(loop, op, KIND_ALLOCATE, fd, done);
}

void loop_write(struct loop *loop, struct loop_op *op, int fd, const void *buf,
                size_t size, uint64_t offset, loop_done done)
{
    set_buffer(op, buf, size, 0, offset);
    start(loop, op, KIND_WRITE, fd, done);
}
