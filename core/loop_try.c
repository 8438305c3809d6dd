/* loop_try.c - one attempt at a request, which never blocks.
 *
 * Sockets are asked with MSG_DONTWAIT, so their mode stays as it is. Connecting and accepting know no
 * such flag: a socket is in non-blocking mode while it connects, a listener from its first request on.
 *
 * Streams that are no sockets (pipes, terminals) share their mode with whoever else has the file: a
 * driver's standard output would fail in the driver too. So they keep it. Reads wait for readiness,
 * and we are the only reader. Writes go through a file description of our own, opened anew through
 * /proc. Where that is refused (a terminal of another user's), pieces so small that a ready pipe or
 * terminal has room for them: those block only while another writer takes that room in the same
 * moment. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/status.h"
#include "loop_impl.h"

enum {
    PIECE_BYTES = 256,  /* see above */
    WINDOW_IOVECS = 16, /* of a message that is half through, handed over at once */
};

/* ---- beginning and end
 * -------------------------------------------------------------------- */

static int make_nonblocking(struct loop_op *op)
{
    int flags = fcntl(op->fd, F_GETFL);
    if (flags < 0 ||
        (!(flags & O_NONBLOCK) && fcntl(op->fd, F_SETFL, flags | O_NONBLOCK) < 0)) {
        return -errno;
    }
    if (op->kind == KIND_CONNECT && !(flags & O_NONBLOCK)) {
        op->kept = flags;
    }
    return 0;
}

/* A terminal's slave side: opening a master anew makes another terminal. */
static bool is_terminal(int fd)
{
    unsigned number;
    return isatty(fd) && ioctl(fd, TIOCGPTN, &number) < 0;
}

static int begin_stream(struct loop_op *op)
{
    struct stat st;
    char path[32];
    if (fstat(op->fd, &st) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode)) {
        return TRY_FILE;
    }
    if (S_ISSOCK(st.st_mode)) {
        op->flags = MSG_DONTWAIT | MSG_NOSIGNAL;
        return 0;
    }
    if (op->kind == KIND_WRITE && (S_ISFIFO(st.st_mode) || is_terminal(op->fd))) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", op->fd);
        op->kept = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (op->kept < 0 && S_ISFIFO(st.st_mode) && errno == ENXIO) {
            return -EPIPE; /* no reader is left */
        }
    }
    return 0;
}

int loop_try_begin(struct loop_op *op)
{
    switch ((enum kind)op->kind) {
    case KIND_ACCEPT:
    case KIND_CONNECT:
        return make_nonblocking(op);
    case KIND_READ:
    case KIND_WRITE:
        return op->offset == UINT64_MAX ? begin_stream(op) : TRY_FILE;
    case KIND_ALLOCATE:
        return TRY_FILE;
    default:
        return 0;
    }
}

void loop_try_end(struct loop_op *op)
{
    if (op->kept < 0) {
        return;
    }
    if (op->kind == KIND_WRITE) {
        close(op->kept);
    } else {
        (void)fcntl(op->fd, F_SETFL, op->kept);
    }
    op->kept = -1;
}

uint32_t loop_try_events(const struct loop_op *op)
{
    switch ((enum kind)op->kind) {
    case KIND_CONNECT:
    case KIND_SEND:
    case KIND_SENDMSG:
    case KIND_WRITE:
        return EPOLLOUT;
    case KIND_WATCH:
        return (uint32_t)op->flags;
    default:
        return EPOLLIN;
    }
}

/* ---- sockets, one of which a stream may be
 * ------------------------------------------------------------------------------ */

static int try_accept(struct loop_op *op)
{
    int fd = accept4(op->fd, NULL, NULL, op->flags);
    return fd >= 0 ? fd : -errno;
}

/* The second call, when the socket is ready, tells how the first one ended. */
static int try_connect(struct loop_op *op)
{
    bool again = op->moved != 0;
    op->moved = 1;
    if (connect(op->fd, op->addr, (socklen_t)op->size) == 0 ||
        (again && errno == EISCONN)) {
        return 0;
    }
    return errno == EINPROGRESS || errno == EALREADY ? TRY_WAIT : -errno;
}

/* The part of @msg after @skip bytes, as far as @iov reaches. The control part went with the first byte.
 */
static void window(const struct msghdr *msg, size_t skip, struct iovec *iov,
                   struct msghdr *ret)
{
    *ret = (struct msghdr){
        .msg_name = msg->msg_name, .msg_namelen = msg->msg_namelen, .msg_iov = iov};
    for (size_t i = 0; i < msg->msg_iovlen && ret->msg_iovlen < WINDOW_IOVECS; i++) {
        struct iovec v = msg->msg_iov[i];
        size_t part = skip < v.iov_len ? skip : v.iov_len;
        skip -= part;
        if (part < v.iov_len) {
            iov[ret->msg_iovlen++] =
                (struct iovec){(char *)v.iov_base + part, v.iov_len - part};
        }
    }
}

static ssize_t move_message(struct loop_op *op, int flags)
{
    struct iovec iov[WINDOW_IOVECS];
    struct msghdr rest, *msg = op->addr;
    if (op->moved != 0) {
        window(msg, op->moved, iov, &rest);
        msg = &rest;
    }
    return op->kind == KIND_SENDMSG ? sendmsg(op->fd, msg, flags)
                                    : recvmsg(op->fd, msg, flags);
}

static ssize_t move(struct loop_op *op)
{
    int flags = (op->flags & ~MSG_WAITALL) | MSG_DONTWAIT;
    char *at = (char *)op->addr + op->moved;
    size_t left = op->size - op->moved;
    switch ((enum kind)op->kind) {
    case KIND_RECV:
    case KIND_READ:
        return recv(op->fd, at, left, flags);
    case KIND_SEND:
    case KIND_WRITE:
        return send(op->fd, at, left, flags);
    default:
        return move_message(op, flags);
    }
}

static size_t bytes_wanted(const struct loop_op *op)
{
    if (op->kind == KIND_RECV || op->kind == KIND_SEND) {
        return op->size;
    }
    const struct msghdr *msg = op->addr;
    size_t all = 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        all += msg->msg_iov[i].iov_len;
    }
    return all;
}

static int try_move(struct loop_op *op)
{
    size_t want = op->flags & MSG_WAITALL ? bytes_wanted(op) : 0;
    do {
        ssize_t n = move(op);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return TRY_WAIT;
        }
        if (n <=
            0) { /* what had come counts; the next request meets the end or the error */
            return op->moved != 0 ? (int)op->moved : n < 0 ? -errno : 0;
        }
        op->moved += (uint32_t)n;
    } while (op->moved < want);
    return (int)op->moved;
}

/* ---- other streams
 * ------------------------------------------------------------------------ */

static int try_stream(struct loop_op *op)
{
    bool writes = op->kind == KIND_WRITE;
    struct pollfd p = {.fd = op->fd, .events = writes ? POLLOUT : POLLIN};
    ssize_t n;
    if (op->kept >= 0) {
        n = write(op->kept, op->addr, op->size);
    } else if (poll(&p, 1, 0) == 0) {
        return TRY_WAIT;
    } else if (writes) {
        n = write(op->fd, op->addr, op->size < PIECE_BYTES ? op->size : PIECE_BYTES);
    } else {
        n = read(op->fd, op->addr, op->size);
    }
    return n >= 0 ? (int)n : -errno;
}

int loop_try(struct loop_op *op)
{
    int result;
    switch ((enum kind)op->kind) {
    case KIND_ACCEPT:
        result = try_accept(op);
        break;
    case KIND_CONNECT:
        return try_connect(op);
    case KIND_READ:
    case KIND_WRITE:
        result = op->flags & MSG_DONTWAIT ? try_move(op) : try_stream(op);
        break;
    default:
        return try_move(op);
    }
    return result == -EAGAIN || result == -EWOULDBLOCK ? TRY_WAIT : result;
}
