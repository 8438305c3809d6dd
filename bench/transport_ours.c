/* Two transports, each with its loop: the owner's in a thread, the puller's in the
 * caller's. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "core/clock.h"
#include "core/loop.h"
#include "transport/transport.h"
#include "transport_bench.h"

struct end {
    struct loop *loop;
    struct transport *tp;
    struct transport_peer *peer;
    const struct setup *setup;
    bool echoes, closed;
    unsigned done, answers;
    mob_status status;
};

struct ours {
    struct setup setup;
    struct end puller;
    struct addr addr;
    pthread_t owner;
    pthread_barrier_t ready;
};

static void up(void *arg, struct transport_peer *peer,
               const struct transport_peer_info *info)
{
    (void)info;
    ((struct end *)arg)->peer = peer;
}
static void down(void *arg, struct transport_peer *peer, mob_status status,
                 const char *reason)
{
    struct end *e = arg;
    (void)peer;
    if (status != MOB_ERR_CLOSED) {
        bench_die(reason);
    }
    transport_close(e->tp);
}
static void message(void *arg, struct transport_peer *peer, const void *data, size_t n)
{
    struct end *e = arg;
    e->answers++;
    if (e->echoes && transport_send(peer, data, n) != MOB_OK) {
        bench_die("an echo found no room");
    }
}
static void writable(void *arg, struct transport_peer *peer)
{
    (void)arg, (void)peer;
}
static mob_status show(void *arg, struct transport_peer *peer, const uint8_t *name,
                       struct transport_export *ret)
{
    struct end *e = arg;
    (void)peer, (void)name;
    ret->base = e->setup->object;
    ret->size = e->setup->size;
    return MOB_OK;
}
static void hide(void *arg, struct transport_peer *peer, const struct transport_export *e)
{
    (void)arg, (void)peer, (void)e;
}
static void pulled(void *arg, struct transport_xfer *xfer, mob_status status)
{
    struct end *e = arg;
    (void)xfer;
    e->done++;
    e->status = status;
}
static void refused(void *arg, const char *address, mob_status status, const char *reason)
{
    (void)arg, (void)address, (void)status;
    bench_die(reason);
}
static void closed(void *arg)
{
    ((struct end *)arg)->closed = true;
}

static const struct transport_user user = {.peer_up = up,
                                           .peer_down = down,
                                           .message = message,
                                           .writable = writable,
                                           .export = show,
                                           .unexport = hide,
                                           .pull_done = pulled,
                                           .refused = refused,
                                           .closed = closed};

static void open_end(struct end *e, uint64_t id)
{
    MOB_CHECK(loop_create(0, &e->loop));
    struct transport_config config = {.loop = e->loop,
                                      .user = &user,
                                      .arg = e,
                                      .node_id = id,
                                      .key = {{1}},
                                      .data_connections = e->setup->lanes,
                                      .encrypt = e->setup->encrypt,
                                      .unchecked = !e->setup->checked};
    MOB_CHECK(transport_tcp.open(&config, &e->tp));
}

static void turn(struct end *e)
{
    MOB_CHECK(loop_turn(e->loop, e->setup->poll ? 0 : CLOCK_NEVER));
}

static void *own(void *arg)
{
    struct ours *o = arg;
    struct end e = {.setup = &o->setup, .echoes = true};
    struct addr any;
    bench_pin(o->setup.owner_cpu);
    open_end(&e, 1);
    MOB_CHECK(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any));
    MOB_CHECK(transport_listen(e.tp, &any, &o->addr));
    pthread_barrier_wait(&o->ready);
    while (!e.closed) {
        turn(&e);
    }
    loop_destroy(e.loop);
    return NULL;
}

struct ours *ours_start(const struct setup *setup)
{
    struct ours *o = calloc(1, sizeof *o);
    struct transport_peer *peer;
    if (o == NULL) {
        bench_die("no memory");
    }
    o->setup = *setup;
    o->puller.setup = &o->setup;
    pthread_barrier_init(&o->ready, NULL, 2);
    if (pthread_create(&o->owner, NULL, own, o) != 0) {
        bench_die("no thread");
    }
    pthread_barrier_wait(&o->ready);
    open_end(&o->puller, 2);
    MOB_CHECK(transport_connect(o->puller.tp, &o->addr, NULL, &peer));
    while (o->puller.peer == NULL) {
        turn(&o->puller);
    }
    return o;
}

void ours_stop(struct ours *o)
{
    transport_close(o->puller.tp);
    while (!o->puller.closed) {
        turn(&o->puller);
    }
    pthread_join(o->owner, NULL);
    pthread_barrier_destroy(&o->ready);
    loop_destroy(o->puller.loop);
    free(o);
}

uint64_t ours_pull(struct ours *o)
{
    struct end *e = &o->puller;
    struct transport_xfer xfer;
    struct transport_source source = {.size = o->setup.size};
    unsigned want = e->done + 1;
    uint64_t begin = clock_now_ns();
    MOB_CHECK(transport_pull(e->peer, &source, o->setup.place, &xfer));
    while (e->done < want) {
        turn(e);
    }
    MOB_CHECK(e->status);
    return clock_now_ns() - begin;
}

uint64_t ours_trips(struct ours *o, unsigned count)
{
    struct end *e = &o->puller;
    uint8_t bytes[MESSAGE_BYTES] = {0};
    uint64_t begin = clock_now_ns();
    for (unsigned i = 0; i < count; i++) {
        unsigned want = e->answers + 1;
        MOB_CHECK(transport_send(e->peer, bytes, sizeof bytes));
        while (e->answers < want) {
            turn(e);
        }
    }
    return clock_now_ns() - begin;
}
