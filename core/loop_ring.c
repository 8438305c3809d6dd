/* loop_ring.c - requests through io_uring. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/status.h"
#include "loop_impl.h"

enum { REAP_BATCH = 64 };

/* Linux 6.2; later than the header that this may be built with. */
#define SEND_REPORT_USAGE (1u << 3)
#define NOTIF_COPIED (1u << 31)

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
    case KIND_SENDMSG_ZC:
        io_uring_prep_sendmsg_zc(sqe, op->fd, op->addr, flags);
        sqe->ioprio |= op->loop->ring.zerocopy_reports ? SEND_REPORT_USAGE : 0;
        break;
    case KIND_READ:
        io_uring_prep_read(sqe, op->fd, op->addr, op->size, op->offset);
        break;
    case KIND_WRITE:
        io_uring_prep_write(sqe, op->fd, op->addr, op->size, op->offset);
        if (op->offset == UINT64_MAX) {
            /* A terminal that stands still blocks even those who asked not to wait (seen
             * on 6.18): only in a thread of the kernel's does that hold nothing up. */
            io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
        }
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
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring.uring);
    if (sqe == NULL && io_uring_submit(&loop->ring.uring) > 0) {
        sqe = io_uring_get_sqe(&loop->ring.uring);
    }
    return sqe;
}

static void enqueue(struct loop *loop, struct loop_op *op)
{
    op->queued = true;
    op->next = NULL;
    *loop->ring.queue_tail = op;
    loop->ring.queue_tail = &op->next;
}

static void to_kernel(struct loop *loop, struct loop_op *op)
{
    /* Nothing overtakes what waits already: two sends on one socket keep their order. */
    struct io_uring_sqe *sqe = loop->ring.queue_head == NULL ? entry(loop) : NULL;
    op->given = sqe != NULL;
    op->queued = false;
    if (sqe == NULL) {
        enqueue(loop, op);
        return;
    }
    prepare(sqe, op);
}

/* ---- files of which others move the position too
 * ------------------------------------------------------------------------------------- */

static void watch_bell(struct loop *loop)
{
    struct loop_op *bell = &loop->ring.bell;
    bell->loop = loop;
    bell->kind = KIND_WATCH;
    bell->fd = loop->ring.files.bell;
    bell->flags = POLLIN;
    to_kernel(loop, bell);
}

/* A write(2) at a file's position holds a lock of the file description, which its other owners wait for: a
 * driver that prints into the same file, say. io_uring takes the position without it, and what either writes
 * may then be overwritten by the other (up to 6.18 at least). */
static bool is_for_thread(const struct loop_op *op)
{
    struct stat st;
    return op->kind == KIND_WRITE && op->offset == UINT64_MAX &&
           fstat(op->fd, &st) == 0 && S_ISREG(st.st_mode);
}

static void to_thread(struct loop *loop, struct loop_op *op)
{
    op->given = op->queued = false;
    if (!loop->ring.with_files) {
        if (loop_files_open(&loop->ring.files)) {
            op->telling = true; /* as where a write would have to wait */
            op->result = -EAGAIN;
            enqueue(loop, op);
            return;
        }
        loop->ring.with_files = true;
        watch_bell(loop);
    }
    op->in_thread = true;
    loop_files_give(&loop->ring.files, op);
}

static void ring_give(struct loop *loop, struct loop_op *op)
{
    op->in_thread = op->telling = false;
    if (is_for_thread(op)) {
        to_thread(loop, op);
    } else {
        to_kernel(loop, op);
    }
}

static void finish(struct loop_op *op, int result)
{
    struct loop *loop = op->loop;
    if (op->queued) { /* it ended while its cancellation waited for room: rare, so walk */
        struct loop_op **at = &loop->ring.queue_head;
        while (*at != op) {
            at = &(*at)->next;
        }
        *at = op->next;
        if (op->next == NULL) {
            loop->ring.queue_tail = at;
        }
        op->queued = false;
    }
    loop_finish(op, result);
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

/* Hands over what found no room, and ends what was cancelled while it waited, or never began. True: a callback
 * came. */
static bool flush_queue(struct loop *loop)
{
    bool told = false;
    struct loop_op *op = loop->ring.queue_head;
    loop->ring.queue_head = NULL;
    loop->ring.queue_tail = &loop->ring.queue_head;
    while (op != NULL) {
        struct loop_op *next = op->next;
        op->queued = false;
        if (op->given) {
            cancel(loop, op);
        } else if (op->telling || op->cancelled) {
            finish(op, op->telling ? op->result : -ECANCELED);
            told = true;
        } else {
            to_kernel(loop, op);
        }
        op = next;
    }
    return told;
}

static void ring_cancel(struct loop *loop, struct loop_op *op)
{
    if (op->in_thread) {
        if (loop_files_cancel(&loop->ring.files, op)) {
            enqueue(loop, op); /* ends in the next turn */
        }
    } else if (!op->queued) {
        cancel(loop, op);
    }
}

/* ---- turning
 * ----------------------------------------------------------------------------- */

static void files_ended(struct loop *loop)
{
    struct loop_op *op = loop_files_take(&loop->ring.files);
    while (op != NULL) {
        struct loop_op *next = op->next;
        finish(op, op->result);
        op = next;
    }
}

static void complete(struct loop *loop, const struct io_uring_cqe *cqe)
{
    struct loop_op *op = io_uring_cqe_get_data(cqe);
    int result = cqe->res;
    bool more = cqe->flags & IORING_CQE_F_MORE;
    if (op == NULL) {
        return; /* a cancellation's own answer: the cancelled request gives the real one
                 */
    }
    if (op == &loop->ring.bell) {
        if (!more) {
            watch_bell(loop);
        }
        files_ended(loop);
        return;
    }
    if (op->kind == KIND_SENDMSG_ZC && (cqe->flags & IORING_CQE_F_NOTIF)) {
        finish(op, (unsigned)result & NOTIF_COPIED ? LOOP_COPIED : LOOP_RELEASED);
        return;
    }
    if (op->kind == KIND_SENDMSG_ZC && more) {
        op->done(op, result); /* the notice that the memory is free follows */
        return;
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
    to_kernel(loop, op);
    op->done(op, result);
}

/* Calls back for all completions that are there. The batch is copied out first, as
 * callbacks may use the ring. */
static void ring_reap(struct loop *loop)
{
    struct io_uring_cqe *list[REAP_BATCH];
    struct io_uring_cqe copy[REAP_BATCH];
    unsigned count = io_uring_peek_batch_cqe(&loop->ring.uring, list, REAP_BATCH);
    for (unsigned i = 0; i < count; i++) {
        copy[i] = *list[i];
    }
    io_uring_cq_advance(&loop->ring.uring, count);
    for (unsigned i = 0; i < count; i++) {
        complete(loop, &copy[i]);
    }
}

/* The kernel has nothing to take from us, and nothing to give that is not in the ring already. */
static bool is_quiet(const struct io_uring *ring)
{
    return io_uring_sq_ready(ring) == 0 &&
           (IO_URING_READ_ONCE(*ring->sq.kflags) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) == 0;
}

static mob_status ring_wait(struct loop *loop, uint64_t until_ns)
{
    bool told = flush_queue(loop);
    /* If somebody waits for room: hand over, do not sleep. */
    uint64_t ns = loop_sleep_ns(loop, until_ns, told || loop->ring.queue_head != NULL);
    if (ns == 0 && is_quiet(&loop->ring.uring)) {
        return MOB_OK; /* who polls makes no system calls */
    }
    struct __kernel_timespec ts = {.tv_sec = (long long)(ns / NS_PER_S),
                                   .tv_nsec = (long long)(ns % NS_PER_S)};
    struct io_uring_cqe *cqe;
    /* Who only looks asks for no event: a wait of no time at all would set a timer and
     * give the CPU away, which costs sixty times as much. */
    int rc = ns == 0
                 ? io_uring_submit_and_get_events(&loop->ring.uring)
                 : io_uring_submit_and_wait_timeout(&loop->ring.uring, &cqe, 1,
                                                    ns == CLOCK_NEVER ? NULL : &ts, NULL);
    /* ETIME: nothing came. EINTR: a signal. EBUSY and EAGAIN: completions must be taken,
     * or memory found, first. All of them come right in a later turn. */
    if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN) {
        return status_fail(MOB_ERR_SYSTEM, "io_uring_enter: %s", strerror(-rc));
    }
    return MOB_OK;
}

static mob_status ring_open(struct loop *loop, unsigned entries)
{
    loop->ring.queue_head = NULL;
    loop->ring.queue_tail = &loop->ring.queue_head;
    loop->ring.with_files = false;
    return loop_ring_open(loop, entries);
}

static void ring_close(struct loop *loop)
{
    if (loop->ring.with_files) {
        loop_files_close(&loop->ring.files);
    }
    io_uring_queue_exit(&loop->ring.uring);
}

const struct loop_backend loop_ring = {.name = "io_uring",
                                       .open = ring_open,
                                       .close = ring_close,
                                       .give = ring_give,
                                       .cancel = ring_cancel,
                                       .wait = ring_wait,
                                       .reap = ring_reap};
