/* world.h - a few nodes over one backend in one thread, for the conformance tests. */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/loop.h"
#include "transport/fake.h"
#include "transport/transport.h"

enum { NODES = 20, PEERS = 40, LOG_BYTES = 1 << 16 };

struct node {
    struct transport *tp;
    struct addr addr;
    struct transport_peer *peers[PEERS]; /* in the order of peer_up */
    int ups, downs, refusals, writables, messages, closed;
    int pins, exports;
    mob_status down, refused;
    char reason[512];
    uint8_t *
        object; /* what it exports, whatever the name, unless the name begins with 0xff */
    uint64_t object_size;
    uint64_t message_bytes, next_number;
    bool disorder;
    bool disconnect_on_message;
};

struct pull {
    struct transport_xfer xfer;
    int calls;
    mob_status status;
    uint8_t *dst;
};

struct world {
    const struct transport_ops *ops;
    struct loop *loop;
    struct fake_net *net;
    struct node nodes[NODES];
    unsigned count;
};

static void on_up(void *arg, struct transport_peer *peer,
                  const struct transport_peer_info *info)
{
    struct node *n = arg;
    cr_assert(info->node_id != 0 && info->node_id == peer->node_id);
    n->peers[n->ups++ % PEERS] = peer;
}
static void on_down(void *arg, struct transport_peer *peer, mob_status status,
                    const char *reason)
{
    struct node *n = arg;
    for (int i = 0; i < PEERS; i++) {
        if (n->peers[i] == peer) {
            n->peers[i] = NULL;
        }
    }
    n->downs++;
    n->down = status;
    snprintf(n->reason, sizeof n->reason, "%s", reason);
}
static void on_message(void *arg, struct transport_peer *peer, const void *data,
                       size_t size)
{
    struct node *n = arg;
    uint64_t number;
    n->messages++;
    n->message_bytes += size;
    if (size >= sizeof number) {
        memcpy(&number, data, sizeof number);
        n->disorder = n->disorder || number != n->next_number;
        n->next_number++;
    }
    if (n->disconnect_on_message) {
        transport_disconnect(peer);
    }
}
static void on_writable(void *arg, struct transport_peer *peer)
{
    (void)peer;
    ((struct node *)arg)->writables++;
}
static mob_status on_export(void *arg, struct transport_peer *peer,
                            const uint8_t object[TRANSPORT_OBJECT_BYTES],
                            struct transport_export *ret)
{
    struct node *n = arg;
    (void)peer;
    if (object[0] == 0xff || n->object == NULL) {
        return MOB_ERR_NOT_FOUND;
    }
    n->pins++;
    n->exports++;
    *ret = (struct transport_export){n->object, n->object_size, 77, NULL};
    return MOB_OK;
}
static void on_unexport(void *arg, struct transport_peer *peer,
                        const struct transport_export *exported)
{
    struct node *n = arg;
    (void)peer;
    cr_assert_eq(exported->cookie, 77);
    cr_assert(exported->base == n->object);
    n->pins--;
}
static void on_pull_done(void *arg, struct transport_xfer *xfer, mob_status status)
{
    struct pull *p = LOOP_OWNER(xfer, struct pull, xfer);
    (void)arg;
    cr_assert_null(xfer->peer);
    p->calls++;
    p->status = status;
}
static void on_refused(void *arg, const char *address, mob_status status,
                       const char *reason)
{
    struct node *n = arg;
    (void)address;
    n->refusals++;
    n->refused = status;
    snprintf(n->reason, sizeof n->reason, "%s", reason);
}
static void on_closed(void *arg)
{
    ((struct node *)arg)->closed++;
}

/* What transport_verbs stands on; NULL: tcp. */
static const struct transport_ops *world_under __attribute__((unused));

static const struct transport_user test_user = {.peer_up = on_up,
                                                .peer_down = on_down,
                                                .message = on_message,
                                                .writable = on_writable,
                                                .export = on_export,
                                                .unexport = on_unexport,
                                                .pull_done = on_pull_done,
                                                .refused = on_refused,
                                                .closed = on_closed};

static inline void world_node(struct world *w, unsigned i, uint8_t key, unsigned lanes)
{
    struct node *n = &w->nodes[i];
    struct transport_config config = {.loop = w->loop,
                                      .net = w->net,
                                      .under = world_under,
                                      .user = &test_user,
                                      .arg = n,
                                      .node_id = 1000 + i,
                                      .data_connections = lanes};
    memset(config.key.bytes, key, sizeof config.key.bytes);
    memset(n, 0, sizeof *n);
    struct addr any;
    cr_assert_eq(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any), MOB_OK);
    cr_assert_eq(w->ops->open(&config, &n->tp), MOB_OK, "%s", mob_last_error());
    cr_assert_eq(transport_listen(n->tp, &any, &n->addr), MOB_OK, "%s", mob_last_error());
}

static inline void world_make(struct world *w, const struct transport_ops *ops,
                              unsigned count)
{
    memset(w, 0, sizeof *w);
    w->ops = ops;
    w->count = count;
    if (ops != &transport_fake && world_under != &transport_fake) {
        cr_assert_eq(loop_create(0, &w->loop), MOB_OK, "%s", mob_last_error());
    } else {
        cr_assert_eq(fake_net_create(7, &w->net), MOB_OK);
    }
    for (unsigned i = 0; i < count; i++) {
        world_node(w, i, 1, 1 + i % 2);
    }
}

/* One step of whatever moves this world. */
static inline void world_step(struct world *w)
{
    if (w->loop != NULL) {
        cr_assert_eq(loop_turn(w->loop, CLOCK_NEVER), MOB_OK);
    } else {
        cr_assert(fake_net_step(w->net), "nothing will ever happen again");
    }
}

#define WORLD_UNTIL(w, cond)                                                             \
    while (!(cond)) {                                                                    \
        world_step(w);                                                                   \
    }

/* Node @a dials @b; gives @a's handle. */
static inline struct transport_peer *world_join(struct world *w, unsigned a, unsigned b)
{
    struct transport_peer *peer;
    int downs = w->nodes[a].downs, want = w->nodes[a].ups + 1,
        other = w->nodes[b].ups + 1;
    cr_assert_eq(transport_connect(w->nodes[a].tp, &w->nodes[b].addr, NULL, &peer),
                 MOB_OK);
    WORLD_UNTIL(w, (w->nodes[a].ups == want && w->nodes[b].ups == other) ||
                       w->nodes[a].downs != downs);
    cr_assert_eq(w->nodes[a].ups, want, "%s", w->nodes[a].reason);
    return peer;
}

static inline void world_object(struct world *w, unsigned i, uint64_t size)
{
    struct node *n = &w->nodes[i];
    free(n->object);
    n->object = malloc(size + 1);
    n->object_size = size;
    for (uint64_t k = 0; k < size; k++) {
        n->object[k] = (uint8_t)(k * 131 + (k >> 13) + i);
    }
}

static inline mob_status world_pull(struct transport_peer *peer, struct pull *p,
                                    uint64_t offset, uint64_t size)
{
    struct transport_source source = {.object = {1}, .offset = offset, .size = size};
    p->calls = 0;
    p->dst = realloc(p->dst, size + 1);
    memset(p->dst, 0xAA, size + 1);
    return transport_pull(peer, &source, p->dst, &p->xfer);
}

static inline void world_end(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].tp != NULL && !w->nodes[i].closed) {
            transport_close(w->nodes[i].tp);
        }
    }
    for (unsigned i = 0; i < w->count; i++) {
        WORLD_UNTIL(w, w->nodes[i].closed);
        cr_assert_eq(w->nodes[i].closed, 1);
        cr_assert_eq(w->nodes[i].pins, 0, "an export was not given back");
        free(w->nodes[i].object);
    }
    if (w->loop != NULL) {
        cr_assert_eq(loop_in_flight(w->loop), 0);
    }
    loop_destroy(w->loop);
    fake_net_destroy(w->net);
}

#endif
