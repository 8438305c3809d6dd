/* relay.h - somebody on the way between two nodes: passes on what it gets, in the test's
 * own loop. It looks for a text, slows down, or changes a byte, as the test wants. */
#ifndef TESTS_RELAY_H
#define TESTS_RELAY_H

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"
#include "transport/addr.h"

enum { RELAY_PIPES = 32, RELAY_BYTES = 16384 };

struct relay;
struct relay_pipe { /* one direction of one connection */
    struct relay *relay;
    int from, to;
    struct loop_op op;
    struct loop_timer pause;
    size_t have;
    uint64_t passed;
    bool over;
    uint8_t bytes[RELAY_BYTES];
};

struct relay {
    struct loop *loop;
    struct addr target, addr;
    int listener, accepted;
    struct loop_op accept, dial;
    struct relay_pipe pipes[RELAY_PIPES];
    unsigned count;
    uint64_t rate; /* bytes a second of each pipe; 0: as fast as it goes */
    uint64_t
        damage; /* changes the byte at this place of a pipe that carries as many; 0: none */
    bool damaged;
    const void *text; /* looked for; may lie across two reads no longer than it */
    size_t text_size;
    unsigned seen;
    uint64_t passed;
};

static void relay_read(struct relay_pipe *p);

static void relay_passed_on(struct loop_op *op, int result)
{
    struct relay_pipe *p = LOOP_OWNER(op, struct relay_pipe, op);
    if (result != (int)p->have) {
        p->over = true;
        return;
    }
    relay_read(p);
}

static void relay_write(struct loop_timer *timer)
{
    struct relay_pipe *p = LOOP_OWNER(timer, struct relay_pipe, pause);
    loop_send(p->relay->loop, &p->op, p->to, p->bytes, p->have, MSG_WAITALL,
              relay_passed_on);
}

static void relay_got(struct loop_op *op, int result)
{
    struct relay_pipe *p = LOOP_OWNER(op, struct relay_pipe, op);
    struct relay *r = p->relay;
    if (result <= 0) {
        shutdown(p->to, SHUT_WR);
        p->over = true;
        return;
    }
    p->have = (size_t)result;
    if (r->text != NULL && memmem(p->bytes, p->have, r->text, r->text_size) != NULL) {
        r->seen++;
    }
    if (r->damage != 0 && !r->damaged && p->passed <= r->damage &&
        r->damage < p->passed + p->have) {
        p->bytes[r->damage - p->passed] ^= 1;
        r->damaged = true;
    }
    p->passed += p->have;
    r->passed += p->have;
    uint64_t wait = r->rate != 0 ? p->have * NS_PER_S / r->rate : 0;
    if (wait == 0) {
        relay_write(&p->pause);
    } else {
        loop_timer_start(r->loop, &p->pause, loop_now_ns(r->loop) + wait, relay_write);
    }
}

static void relay_read(struct relay_pipe *p)
{
    loop_recv(p->relay->loop, &p->op, p->from, p->bytes, sizeof p->bytes, 0, relay_got);
}

static void relay_pipe(struct relay *r, int from, int to)
{
    cr_assert_lt(r->count, RELAY_PIPES);
    struct relay_pipe *p = &r->pipes[r->count++];
    p->relay = r;
    p->from = from;
    p->to = to;
    relay_read(p);
}

static void relay_next(struct relay *r);

static void relay_accepted(struct loop_op *op, int result)
{
    struct relay *r = LOOP_OWNER(op, struct relay, accept);
    if (result < 0) {
        return;
    }
    int on = 1, small = RELAY_BYTES, to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (r->rate != 0) { /* what waits, waits at the sender */
        (void)setsockopt(result, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        (void)setsockopt(to, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    cr_assert_eq(connect(to, (struct sockaddr *)&r->target.sa, r->target.size), 0);
    (void)setsockopt(to, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    (void)setsockopt(result, IPPROTO_TCP, 1, &on, sizeof on);
    relay_pipe(r, result, to);
    relay_pipe(r, to, result);
    relay_next(r);
}

static void relay_next(struct relay *r)
{
    loop_accept(r->loop, &r->accept, r->listener, relay_accepted);
}

static inline void relay_start(struct relay *r, struct loop *loop,
                               const struct addr *target)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    r->loop = loop;
    r->target = *target;
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(r->listener, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(r->listener, 16), 0);
    r->addr.size = sizeof r->addr.sa;
    cr_assert_eq(getsockname(r->listener, (struct sockaddr *)&r->addr.sa, &r->addr.size),
                 0);
    relay_next(r);
}

/* The nodes have closed; lets the loop go. */
static inline void relay_stop(struct relay *r)
{
    loop_cancel(r->loop, &r->accept);
    for (unsigned i = 0; i < r->count; i++) {
        loop_timer_stop(r->loop, &r->pipes[i].pause);
        shutdown(r->pipes[i].from, SHUT_RDWR);
    }
    bool busy = true;
    while (busy) {
        busy = loop_op_busy(&r->accept);
        for (unsigned i = 0; i < r->count; i++) {
            busy = busy || loop_op_busy(&r->pipes[i].op);
        }
        if (busy) {
            cr_assert_eq(loop_turn(r->loop, 10 * NS_PER_MS), MOB_OK);
        }
        for (unsigned i = 0; i < r->count; i++) {
            loop_timer_stop(r->loop, &r->pipes[i].pause);
        }
    }
    for (unsigned i = 0; i < r->count; i += 2) {
        close(r->pipes[i].from);
        close(r->pipes[i].to);
    }
    close(r->listener);
}

#endif
