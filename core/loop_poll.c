/* loop_poll.c - requests through epoll, for where io_uring is refused.
 *
 * A request is tried when it is given; what would block waits in the list of its fd, and is tried again
 * when epoll tells of a change there. All requests of an fd share one registration, edge-triggered: as
 * each is tried before it waits, no change is missed, and nothing is told twice.
 *
 * A registration belongs to a file, but has the number of an fd, which its owner may close and get anew
 * for another file as soon as no request is in flight. So one that nobody waits for ends before the loop
 * sleeps, and one that somebody wants again before that is renewed. Where a forked child keeps the file
 * open, the kernel would go on telling of it by its old number: the generation tells those apart. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/status.h"
#include "loop_impl.h"

enum { EVENTS_A_TURN = 64, SLOTS_MIN = 64 };
#define BELL UINT64_MAX /* an event's data: the thread for files */

/* ---- callbacks that are due
 * --------------------------------------------------------------- */

static void tell(struct loop *loop, struct loop_op *op, int result)
{
    op->result = result;
    op->telling = true;
    op->told_next = NULL;
    *loop->poll.told_tail = op;
    loop->poll.told_tail = &op->told_next;
}

static void end(struct loop *loop, struct loop_op *op, int result)
{
    loop_try_end(op);
    tell(loop, op, result);
}

/* ---- fds
 * ---------------------------------------------------------------------------------- */

static struct loop_slot *slot_of(struct loop *loop, int fd)
{
    struct poll_state *p = &loop->poll;
    if ((unsigned)fd >= p->slots_count) {
        unsigned count = p->slots_count != 0 ? p->slots_count : SLOTS_MIN;
        while (count <= (unsigned)fd) {
            count *= 2;
        }
        struct loop_slot *grown = realloc(p->slots, count * sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        memset(grown + p->slots_count, 0, (count - p->slots_count) * sizeof *grown);
        p->slots = grown;
        p->slots_count = count;
    }
    return &p->slots[fd];
}

/* Has epoll look for @events. It looks at once: what is ready already is told too. */
static int listen_to(struct loop *loop, struct loop_slot *slot, int fd, uint32_t events)
{
    int how = slot->events != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    uint32_t generation = slot->generation + (how == EPOLL_CTL_ADD);
    struct epoll_event e = {.events = events | EPOLLET,
                            .data.u64 = (uint64_t)generation << 32 | (uint32_t)fd};
    int rc = epoll_ctl(loop->poll.epoll, how, fd, &e);
    if (rc < 0 && errno == (how == EPOLL_CTL_MOD ? ENOENT : EEXIST)) {
        /* The number is another file's now; or again that of one which it had left. */
        how = how == EPOLL_CTL_MOD ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        e.data.u64 = (uint64_t)++generation << 32 | (uint32_t)fd;
        rc = epoll_ctl(loop->poll.epoll, how, fd, &e);
    }
    if (rc < 0) {
        return -errno;
    }
    slot->events = events;
    slot->generation = generation;
    slot->stale = false;
    return 0;
}

static uint32_t wanted(const struct loop_slot *slot)
{
    uint32_t events = 0;
    for (const struct loop_op *op = slot->waiting; op != NULL; op = op->next) {
        events |= loop_try_events(op);
    }
    return events;
}

static void may_be_idle(struct loop *loop, struct loop_slot *slot, int fd)
{
    if (slot->waiting != NULL || slot->events == 0) {
        return;
    }
    slot->stale = true;
    if (!slot->listed) {
        slot->listed = true;
        slot->next_idle = loop->poll.idle;
        loop->poll.idle = fd;
    }
}

/* Ends the registrations that nobody came back for. */
static void drop_idle(struct loop *loop)
{
    struct poll_state *p = &loop->poll;
    while (p->idle >= 0) {
        int fd = p->idle;
        struct loop_slot *slot = &p->slots[fd];
        p->idle = slot->next_idle;
        slot->listed = false;
        if (slot->waiting == NULL) {
            /* If the fd was closed meanwhile, there is none. */
            (void)epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, NULL);
            slot->events = 0;
            slot->stale = false;
        }
    }
}

static int wait_for(struct loop *loop, struct loop_op *op)
{
    struct loop_slot *slot = slot_of(loop, op->fd);
    if (slot == NULL) {
        return -ENOMEM;
    }
    uint32_t have = slot->stale ? 0 : slot->events, want = loop_try_events(op);
    /* A watch is told of what is ready already, even if others wait for the same. */
    if (op->kind == KIND_WATCH || (have | want) != have) {
        int rc = listen_to(loop, slot, op->fd, have | want);
        if (rc < 0) {
            return rc;
        }
    }
    struct loop_op **at = &slot->waiting;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    op->next = NULL;
    *at = op;
    return 0;
}

static void stop_waiting(struct loop *loop, struct loop_op *op)
{
    struct loop_slot *slot = &loop->poll.slots[op->fd];
    struct loop_op **at = &slot->waiting;
    while (*at != op) {
        at = &(*at)->next;
    }
    *at = op->next;
    may_be_idle(loop, slot, op->fd);
}

/* ---- giving and cancelling
 * ---------------------------------------------------------------- */

/* Nothing overtakes what waits already for the same, or it might wait for ever. */
static bool must_queue(const struct loop *loop, const struct loop_op *op)
{
    if ((unsigned)op->fd >= loop->poll.slots_count) {
        return false;
    }
    const struct loop_op *other = loop->poll.slots[op->fd].waiting;
    while (other != NULL &&
           (other->kind == KIND_WATCH || loop_try_events(other) != loop_try_events(op))) {
        other = other->next;
    }
    return other != NULL;
}

static void give_to_thread(struct loop *loop, struct loop_op *op)
{
    loop_try_end(op);
    op->given = true;
    loop_files_give(&loop->poll.files, op);
}

static void poll_give(struct loop *loop, struct loop_op *op)
{
    op->given = op->telling = false;
    op->moved = 0;
    op->kept = -1;
    int result = op->fd < 0 ? -EBADF : loop_try_begin(op);
    if (result == TRY_FILE) {
        give_to_thread(loop, op);
        return;
    }
    if (result == 0) {
        result = op->kind == KIND_WATCH || must_queue(loop, op) ? TRY_WAIT : loop_try(op);
        if (result == TRY_WAIT) {
            result = wait_for(loop, op);
            if (result == 0) {
                return;
            }
            /* A stream without readiness, such as /dev/null. */
            if (result == -EPERM && (op->kind == KIND_READ || op->kind == KIND_WRITE)) {
                give_to_thread(loop, op);
                return;
            }
        }
    }
    end(loop, op, result);
}

static void poll_cancel(struct loop *loop, struct loop_op *op)
{
    if (op->telling) {
        return; /* it has ended; a watch ends when it is told */
    }
    if (!op->given) {
        stop_waiting(loop, op);
    } else if (!loop_files_cancel(&loop->poll.files, op)) {
        return;
    }
    bool some = op->moved != 0 && op->kind != KIND_CONNECT;
    end(loop, op, some ? (int)op->moved : -ECANCELED);
}

/* ---- turning
 * ------------------------------------------------------------------------------ */

static void changed(struct loop *loop, int fd, uint32_t generation, uint32_t events)
{
    struct loop_slot *slot = &loop->poll.slots[fd];
    uint32_t tries = events, blocked = 0;
    if (slot->events == 0 || slot->generation != generation) {
        return; /* of a file that had this number before */
    }
    if (events & (EPOLLERR | EPOLLHUP)) {
        tries |= EPOLLIN | EPOLLOUT; /* every attempt would end now */
    }
    for (struct loop_op **at = &slot->waiting; *at != NULL;) {
        struct loop_op *op = *at;
        uint32_t want = loop_try_events(op), got = events & (want | EPOLLERR | EPOLLHUP);
        int result = TRY_WAIT;
        if (op->kind == KIND_WATCH) {
            if (got != 0 && !op->telling) {
                tell(loop, op, (int)got);
            }
        } else if ((tries & want & ~blocked) != 0) {
            result = loop_try(op);
            blocked |= result == TRY_WAIT ? want : 0;
        }
        if (result == TRY_WAIT) {
            at = &op->next;
        } else {
            *at = op->next;
            end(loop, op, result);
        }
    }
    uint32_t want = wanted(slot);
    if (want != 0 && want != slot->events) { /* or it goes on telling of the rest */
        (void)listen_to(loop, slot, fd, want);
    }
    may_be_idle(loop, slot, fd);
}

static void files_ended(struct loop *loop)
{
    struct loop_op *op = loop_files_take(&loop->poll.files);
    while (op != NULL) {
        struct loop_op *next = op->next;
        tell(loop, op, op->result);
        op = next;
    }
}

/* Sleeps to the nanosecond, which epoll_wait() cannot. False: a signal came. */
static bool sleep_for(int epoll, uint64_t ns)
{
    struct pollfd p = {.fd = epoll, .events = POLLIN};
    struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_S),
                          .tv_nsec = (long)(ns % NS_PER_S)};
    return ppoll(&p, 1, &ts, NULL) >= 0;
}

static mob_status poll_wait(struct loop *loop, uint64_t until_ns)
{
    struct poll_state *p = &loop->poll;
    struct epoll_event list[EVENTS_A_TURN];
    drop_idle(loop);
    uint64_t ns = loop_sleep_ns(loop, until_ns, p->told_head != NULL);
    if (ns != 0 && ns != CLOCK_NEVER && !sleep_for(p->epoll, ns)) {
        return MOB_OK;
    }
    int count = epoll_wait(p->epoll, list, EVENTS_A_TURN, ns == CLOCK_NEVER ? -1 : 0);
    if (count < 0 && errno != EINTR) {
        return status_fail(MOB_ERR_SYSTEM, "epoll_wait: %m");
    }
    for (int i = 0; i < count; i++) {
        uint64_t data = list[i].data.u64;
        if (data == BELL) {
            files_ended(loop);
        } else {
            changed(loop, (int)(uint32_t)data, (uint32_t)(data >> 32), list[i].events);
        }
    }
    return MOB_OK;
}

/* What callbacks start may have ended when they return: that is for the next turn, or this one might
 * not end. */
static void poll_reap(struct loop *loop)
{
    struct poll_state *p = &loop->poll;
    struct loop_op *op = p->told_head;
    p->told_head = NULL;
    p->told_tail = &p->told_head;
    while (op != NULL) {
        struct loop_op *next = op->told_next;
        op->telling = false;
        if (op->kind != KIND_WATCH || op->result < 0) {
            loop_finish(op, op->result);
        } else if (op->cancelled) {
            stop_waiting(loop, op);
            loop_finish(op, -ECANCELED);
        } else {
            op->done(op, op->result);
        }
        op = next;
    }
}

/* ---- beginning and end
 * -------------------------------------------------------------------- */

static mob_status poll_open(struct loop *loop, unsigned entries)
{
    struct poll_state *p = &loop->poll;
    (void)entries; /* nothing bounds what epoll is handed */
    *p = (struct poll_state){.idle = -1, .told_tail = &p->told_head};
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (p->epoll < 0) {
        return status_fail(MOB_ERR_SYSTEM, "epoll_create1: %m");
    }
    mob_status st = loop_files_open(&p->files);
    if (st == MOB_OK) {
        /* Edge-triggered, so its count is never read. */
        struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.u64 = BELL};
        if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->files.bell, &e) == 0) {
            return MOB_OK;
        }
        st = status_fail(MOB_ERR_SYSTEM, "epoll_ctl: %m");
        loop_files_close(&p->files);
    }
    close(p->epoll);
    return st;
}

static void poll_close(struct loop *loop)
{
    loop_files_close(&loop->poll.files);
    close(loop->poll.epoll);
    free(loop->poll.slots);
}

const struct loop_backend loop_poll = {.name = "epoll",
                                       .open = poll_open,
                                       .close = poll_close,
                                       .give = poll_give,
                                       .cancel = poll_cancel,
                                       .wait = poll_wait,
                                       .reap = poll_reap};
