#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/status.h"
#include "loop_impl.h"

enum {
    ENTRIES_DEFAULT = 256,
    IO_BYTES_MAX = 1 << 30,
};

/* ---- the choice
 * --------------------------------------------------------------------------- */

static const struct loop_backend *const backends[] = {&loop_ring, &loop_poll};

/* What MOBULA_LOOP asks for; NULL: what works. */
static mob_status forced(const struct loop_backend **ret)
{
    const char *name = getenv("MOBULA_LOOP");
    *ret = NULL;
    if (name == NULL || *name == '\0') {
        return MOB_OK;
    }
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        if (strcmp(name, backends[i]->name) == 0) {
            *ret = backends[i];
            return MOB_OK;
        }
    }
    return status_fail(MOB_ERR_INVALID,
                       "MOBULA_LOOP is '%s': it may be io_uring or epoll; without it "
                       "io_uring is taken where it works",
                       name);
}

static mob_status open_forced(struct loop *loop, const struct loop_backend *want,
                              unsigned entries)
{
    char why[sizeof loop->refusal_text];
    snprintf(loop->about, sizeof loop->about, "%s (MOBULA_LOOP)", want->name);
    loop->via = want;
    mob_status st = want->open(loop, entries);
    if (st != MOB_OK) {
        snprintf(why, sizeof why, "%s", mob_last_error());
        return status_fail(st, "MOBULA_LOOP insists on %s: %s", want->name, why);
    }
    return MOB_OK;
}

static mob_status open_any(struct loop *loop, unsigned entries)
{
    loop->via = &loop_ring;
    if (loop_ring.open(loop, entries) == MOB_OK) {
        return MOB_OK;
    }
    snprintf(loop->refusal_text, sizeof loop->refusal_text, "%s", mob_last_error());
    snprintf(loop->about, sizeof loop->about, "epoll (%s)", loop->refusal);
    loop->via = &loop_poll;
    return loop_poll.open(loop, entries);
}

mob_status loop_create(unsigned entries, struct loop **ret)
{
    const struct loop_backend *want;
    MOB_TRY(forced(&want));
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for an event loop");
    }
    entries = entries != 0 ? entries : ENTRIES_DEFAULT;
    mob_status st =
        want != NULL ? open_forced(loop, want, entries) : open_any(loop, entries);
    if (st != MOB_OK) {
        free(loop);
        return st;
    }
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
    loop->via->close(loop);
    free(loop);
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

bool loop_polled(const struct loop *loop)
{
    return loop->polled;
}

const char *loop_backend(const struct loop *loop)
{
    return loop->about;
}

const char *loop_refusal(const struct loop *loop)
{
    return loop->refusal_text;
}

unsigned loop_in_flight(const struct loop *loop)
{
    return loop->in_flight;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

/* ---- beginning and end of a request
 * ------------------------------------------------------- */

static void start(struct loop *loop, struct loop_op *op, enum kind kind, int fd,
                  loop_done done)
{
    MOB_ASSERT(op->loop == NULL);
    op->loop = loop;
    op->done = done;
    op->fd = fd;
    op->kind = (uint8_t)kind;
    op->cancelled = false;
    loop->in_flight++;
    loop->via->give(loop, op);
}

void loop_finish(struct loop_op *op, int result)
{
    op->loop->in_flight--;
    op->loop = NULL;
    op->done(op, result);
}

void loop_cancel(struct loop *loop, struct loop_op *op)
{
    if (op->loop == NULL || op->cancelled) {
        return;
    }
    op->cancelled = true;
    loop->via->cancel(loop, op);
}

/* ---- turning
 * ----------------------------------------------------------------------------- */

uint64_t loop_sleep_ns(const struct loop *loop, uint64_t until_ns, bool busy)
{
    uint64_t next = loop_timers_next(loop);
    until_ns = next < until_ns ? next : until_ns;
    if (busy || until_ns <= loop->now_ns) {
        return 0;
    }
    return until_ns == CLOCK_NEVER ? CLOCK_NEVER : until_ns - loop->now_ns;
}

mob_status loop_turn(struct loop *loop, uint64_t timeout_ns)
{
    loop->now_ns = clock_now_ns();
    loop->polled = timeout_ns == 0;
    MOB_TRY(loop->via->wait(loop, timeout_ns != 0 ? clock_deadline_ns(timeout_ns) : 0));
    loop->now_ns = clock_now_ns();
    loop->via->reap(loop);
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

bool loop_zerocopy(const struct loop *loop)
{
    return loop->via == &loop_ring && loop->ring.zerocopy;
}

void loop_sendmsg_zc(struct loop *loop, struct loop_op *op, int fd,
                     const struct msghdr *msg, int flags, loop_done done)
{
    MOB_ASSERT(loop_zerocopy(loop));
    set_buffer(op, msg, 0, flags | MSG_NOSIGNAL, 0);
    start(loop, op, KIND_SENDMSG_ZC, fd, done);
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
