#include "faults.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "core/loop.h"

static struct {
    uint64_t left; /* calls until the one that fails; 0: none is to */
    int error;
    bool armed;
    const char *fired;
} plan;

void faults_plan(uint64_t nth, int error)
{
    plan.left = nth;
    plan.error = error;
    plan.fired = NULL;
}

void faults_arm(bool armed)
{
    plan.armed = armed;
}

const char *faults_fired(void)
{
    return plan.fired;
}

enum kind { PLAIN, MOVES_BYTES, HEAP };

/* True if this call is the one. */
static bool fails(const char *name, enum kind kind)
{
    bool counts = plan.error == FAULT_NO_HEAP ? kind == HEAP
                  : plan.error == FAULT_SHORT ? kind == MOVES_BYTES
                                              : kind != HEAP;
    if (!plan.armed || !counts || plan.left == 0 || --plan.left) {
        return false;
    }
    plan.fired = name;
    errno = plan.error > 0 ? plan.error : ENOMEM;
    return true;
}

/* WRAP(result, function, (parameters), (arguments), what it answers if it fails) */
#define WRAP(type, name, params, args, failure)                                          \
    type __real_##name params;                                                           \
    type __wrap_##name params;                                                           \
    type __wrap_##name params                                                            \
    {                                                                                    \
        return fails(#name, PLAIN) ? failure : __real_##name args;                       \
    }

#define FAILED ((void *)-1)

WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), -1)
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), -1)
WRAP(void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t from),
     (at, size, prot, flags, fd, from), FAILED)
WRAP(int, madvise, (void *at, size_t size, int advice), (at, size, advice), -1)
WRAP(int, fstat, (int fd, struct stat *st), (fd, st), -1)
WRAP(int, eventfd, (unsigned first, int flags), (first, flags), -1)
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags), -1)
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
     (fd, level, name, value, size), -1)

WRAP(int, statvfs, (const char *path, struct statvfs *fs), (path, fs), -1)

/* The last argument of both is read as the widest there is, as the C library does. */
int __real_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...)
{
    va_list ap;
    va_start(ap, cmd);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    return fails("fcntl", PLAIN) ? -1 : __real_fcntl(fd, cmd, arg);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = va_arg(ap, mode_t);
    va_end(ap);
    return fails("open", PLAIN) ? -1 : __real_open(path, flags, mode);
}

/* Half of it, at least a byte. */
static size_t half(size_t size)
{
    return size > 1 ? size / 2 : size;
}

#define WRAP_MOVE(name, buffer)                                                          \
    ssize_t __real_##name(int fd, buffer data, size_t size);                             \
    ssize_t __wrap_##name(int fd, buffer data, size_t size);                             \
    ssize_t __wrap_##name(int fd, buffer data, size_t size)                              \
    {                                                                                    \
        bool now = fails(#name, MOVES_BYTES);                                            \
        return now && plan.error != FAULT_SHORT                                          \
                   ? -1                                                                  \
                   : __real_##name(fd, data, now ? half(size) : size);                   \
    }
WRAP_MOVE(write, const void *)
WRAP_MOVE(read, void *)

#define WRAP_MESSAGE(name, message)                                                      \
    ssize_t __real_##name(int fd, message msg, int flags);                               \
    ssize_t __wrap_##name(int fd, message msg, int flags);                               \
    ssize_t __wrap_##name(int fd, message msg, int flags)                                \
    {                                                                                    \
        bool now = fails(#name, MOVES_BYTES);                                            \
        if (now && plan.error != FAULT_SHORT) {                                          \
            return -1;                                                                   \
        }                                                                                \
        size_t whole = msg->msg_iov[0].iov_len;                                          \
        msg->msg_iov[0].iov_len = now ? half(whole) : whole;                             \
        ssize_t n = __real_##name(fd, msg, flags);                                       \
        msg->msg_iov[0].iov_len = whole;                                                 \
        return n;                                                                        \
    }
WRAP_MESSAGE(sendmsg, const struct msghdr *)
WRAP_MESSAGE(recvmsg, struct msghdr *)

/* Requests to the loop: what fails is what comes back. One fails at a time. */
static loop_done failed_done;

static void fail_request(struct loop_op *op, int result)
{
    (void)result;
    failed_done(op, plan.error > 0 ? -plan.error : -EIO);
}

/* With an error nothing is moved. */
#define WRAP_REQUEST(name, buffer)                                                       \
    void __real_##name(struct loop *loop, struct loop_op *op, int fd, buffer data,       \
                       size_t size, uint64_t offset, loop_done done);                    \
    void __wrap_##name(struct loop *loop, struct loop_op *op, int fd, buffer data,       \
                       size_t size, uint64_t offset, loop_done done);                    \
    void __wrap_##name(struct loop *loop, struct loop_op *op, int fd, buffer data,       \
                       size_t size, uint64_t offset, loop_done done)                     \
    {                                                                                    \
        bool now = fails(#name, MOVES_BYTES), error = now && plan.error != FAULT_SHORT;  \
        if (error) {                                                                     \
            failed_done = done;                                                          \
        }                                                                                \
        __real_##name(loop, op, fd, data,                                                \
                      error ? 0                                                          \
                      : now ? half(size)                                                 \
                            : size,                                                      \
                      offset, error ? fail_request : done);                              \
    }
WRAP_REQUEST(loop_read, void *)
WRAP_REQUEST(loop_write, const void *)

#define WRAP_HEAP(name, params, args)                                                    \
    void *__real_##name params;                                                          \
    void *__wrap_##name params;                                                          \
    void *__wrap_##name params                                                           \
    {                                                                                    \
        return fails(#name, HEAP) ? NULL : __real_##name args;                           \
    }
WRAP_HEAP(malloc, (size_t size), (size))
WRAP_HEAP(calloc, (size_t count, size_t size), (count, size))
WRAP_HEAP(realloc, (void *old, size_t size), (old, size))
WRAP_HEAP(aligned_alloc, (size_t align, size_t size), (align, size))
