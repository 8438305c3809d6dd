/* world.h - a few nodes over one backend in one thread, for the conformance tests. */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/clock.h"
#include "core/loop.h"
#include "transport/fake.h"
#include "transport/transport.h"

enum {
    NODES = 66,
    PEERS = 72,
    EXPORTS = 2 * TRANSPORT_PULLS_MAX,
    PAGE_BYTES = 4096,
};

/* What the first byte of an object's name says. */
enum {
    WHOLE = 1,
    GROWING = 2, /* as far as the node's ready says */
    ABSENT = 0xff,
};

#define SAID 0x5a1d5a1d5a1d5a1dull /* what world_say() sent */

struct world;
struct verbs_double;

/* What a world stands on. The calls may be NULL. */
struct backend {
    const char *name;
    const struct transport_ops *ops, *under;
    bool encrypt, unchecked;
    enum transport_rdma rdma;
    bool rdma_moves; /* objects go over RDMA as soon as it is set up */
    /* Time is the fake network's, for the loop as well (virtual_clock.h). */
    void (*set_clock)(const struct fake_net *net);
    /* Makes what all nodes stand on, then the library of each. */
    void (*begin)(struct world *w);
    const struct verbs_lib *(*lib)(struct world *w, unsigned node);
    void (*end)(struct world *w);
    /* From now on no device of the node may touch the bytes; or it may again. */
    void (*guard)(struct world *w, unsigned node, const void *base, uint64_t size);
    void (*unguard)(struct world *w, unsigned node, const void *base, uint64_t size);
    /* The node is lost to its peers, as if its host had died. */
    void (*kill)(struct world *w, unsigned node);
};

struct node {
    struct world *w;
    unsigned index;
    struct transport *tp;
    struct addr addr;
    struct transport_peer *peers[PEERS]; /* in the order of peer_up */
    int ups, downs, refusals, writables, messages, closed, landings;
    int pins, exports;
    struct transport_export shown[EXPORTS]; /* by cookie; base NULL: none */
    struct transport_peer *shown_to[EXPORTS];
    mob_status down, refused;
    char reason[512];
    uint8_t *object; /* what it exports, whatever the name, unless it is ABSENT */
    uint64_t object_size, ready;
    uint64_t message_bytes, next_number;
    uint64_t said[PEERS], heard[PEERS]; /* by world_say(), to and from each of peers */
    bool disorder;
    bool disconnect_on_message;
};

struct pull {
    struct transport_xfer xfer;
    int calls;
    mob_status status;
    uint8_t *dst;
    uint64_t room, landed;
    struct node *node;
};

struct world {
    const struct backend *backend;
    struct loop *loop;
    struct fake_net *net;
    struct verbs_double *d;
    struct fake_timer tick;
    uint64_t tick_ns; /* how long nothing happened */
    struct node nodes[NODES];
    unsigned count;
};

/* What everything that is drawn in a world comes from. */
static uint64_t world_seed = 7;

/* ---- memory: known to the node's devices, if it has any
 * ---------------------------------- */

static inline uint64_t pages(uint64_t size)
{
    return (size + PAGE_BYTES) & ~(uint64_t)(PAGE_BYTES - 1);
}

static inline uint8_t *world_alloc(struct node *n, uint64_t size)
{
    if (n->w->backend->under == NULL) {
        return malloc(size + 1); /* the sanitizer sees what is out of bounds */
    }
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    void *base = mmap(NULL, pages(size), PROT_READ | PROT_WRITE, flags, -1, 0);
    cr_assert(base != MAP_FAILED);
    transport_map(n->tp, base, pages(size), true); /* else it is slower */
    return base;
}

static inline void world_free(struct node *n, uint8_t *base, uint64_t size)
{
    if (n == NULL || base == NULL) {
        return;
    }
    if (n->w->backend->under == NULL) {
        free(base);
        return;
    }
    if (!n->closed) {
        transport_unmap(n->tp, base);
    }
    if (n->w->backend->unguard != NULL && n->w->d != NULL) {
        n->w->backend->unguard(n->w, n->index, base, size + 1);
    }
    cr_assert_eq(munmap(base, pages(size)), 0);
}

static inline void pull_free(struct pull *p)
{
    world_free(p->node, p->dst, p->room);
    p->dst = NULL;
}

/* ---- what the nodes are told
 * ------------------------------------------------------------- */

static void on_up(void *arg, struct transport_peer *peer,
                  const struct transport_peer_info *info)
{
    struct node *n = arg;
    cr_assert(info->node_id != 0 && info->node_id == peer->node_id);
    n->said[n->ups % PEERS] = n->heard[n->ups % PEERS] = 0;
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
static unsigned peer_slot(const struct node *n, const struct transport_peer *peer)
{
    unsigned k = 0;
    while (n->peers[k] != peer) {
        k++;
        cr_assert_lt(k, PEERS, "of a peer that is not there");
    }
    return k;
}
static void on_message(void *arg, struct transport_peer *peer, const void *data,
                       size_t size)
{
    struct node *n = arg;
    uint64_t number, said[2] = {0};
    n->messages++;
    n->message_bytes += size;
    if (size == sizeof said) {
        memcpy(said, data, sizeof said);
    }
    if (said[1] == SAID) {
        cr_assert_eq(said[0], n->heard[peer_slot(n, peer)]++,
                     "lost, twice or out of turn");
    } else if (size >= sizeof number) {
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
    unsigned k = 0;
    if (object[0] == ABSENT || n->object == NULL) {
        return MOB_ERR_NOT_FOUND;
    }
    while (n->shown[k].base != NULL) {
        k++;
        cr_assert_lt(k, EXPORTS, "more exports than pulls");
    }
    if (n->w->backend->unguard != NULL) {
        n->w->backend->unguard(n->w, n->index, n->object, n->object_size);
    }
    n->pins++;
    n->exports++;
    *ret = (struct transport_export){n->object, n->object_size,
                                     (uint64_t)n->exports * EXPORTS + k,
                                     object[0] == GROWING ? &n->ready : NULL};
    n->shown[k] = *ret;
    n->shown_to[k] = peer;
    return MOB_OK;
}
static void on_unexport(void *arg, struct transport_peer *peer,
                        const struct transport_export *exported)
{
    struct node *n = arg;
    unsigned k = exported->cookie % EXPORTS;
    cr_assert(n->shown[k].cookie == exported->cookie &&
                  n->shown[k].base == exported->base && n->shown_to[k] == peer,
              "given back twice, or what was never shown");
    n->shown[k].base = NULL;
    if (--n->pins == 0 && n->w->backend->guard != NULL) {
        n->w->backend->guard(n->w, n->index, n->object, n->object_size);
    }
}
static void on_landed(void *arg, struct transport_xfer *xfer)
{
    struct pull *p = LOOP_OWNER(xfer, struct pull, xfer);
    ((struct node *)arg)->landings++;
    cr_assert((xfer->received > p->landed || xfer->size == 0) &&
              xfer->received <= xfer->size);
    p->landed = xfer->received;
}
static void on_pull_done(void *arg, struct transport_xfer *xfer, mob_status status)
{
    struct pull *p = LOOP_OWNER(xfer, struct pull, xfer);
    struct node *n = arg;
    cr_assert_null(xfer->peer);
    p->calls++;
    p->status = status;
    if (n->w->backend->guard != NULL && xfer->size != 0) {
        n->w->backend->guard(n->w, n->index, xfer->dst, xfer->size);
    }
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

static const struct transport_user test_user = {.peer_up = on_up,
                                                .peer_down = on_down,
                                                .message = on_message,
                                                .writable = on_writable,
                                                .export = on_export,
                                                .unexport = on_unexport,
                                                .pull_done = on_pull_done,
                                                .landed = on_landed,
                                                .refused = on_refused,
                                                .closed = on_closed};

/* What node @i is opened with. */
static inline struct transport_config world_config(struct world *w, unsigned i,
                                                   uint8_t key, unsigned lanes)
{
    const struct backend *b = w->backend;
    const struct transport_ops *carrier = b->under != NULL ? b->under : b->ops;
    struct transport_config config = {.loop = w->loop,
                                      .net = carrier == &transport_fake ? w->net : NULL,
                                      .user = &test_user,
                                      .arg = &w->nodes[i],
                                      .node_id = 1000 + i,
                                      .data_connections = lanes,
                                      .encrypt = b->encrypt,
                                      .unchecked = b->unchecked,
                                      .rdma = b->rdma,
                                      .under = b->under,
                                      .verbs = b->lib != NULL ? b->lib(w, i) : NULL};
    memset(config.key.bytes, key, sizeof config.key.bytes);
    return config;
}

static inline void world_node(struct world *w, unsigned i, uint8_t key, unsigned lanes)
{
    struct node *n = &w->nodes[i];
    struct transport_config config = world_config(w, i, key, lanes);
    struct addr any;
    memset(n, 0, sizeof *n);
    n->w = w;
    n->index = i;
    cr_assert_eq(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any), MOB_OK);
    cr_assert_eq(w->backend->ops->open(&config, &n->tp), MOB_OK, "%s", mob_last_error());
    cr_assert_eq(transport_listen(n->tp, &any, &n->addr), MOB_OK, "%s", mob_last_error());
}

static inline void world_over(struct world *w, const struct backend *backend,
                              unsigned count)
{
    memset(w, 0, sizeof *w);
    w->backend = backend;
    w->count = count;
    if (backend->ops == &transport_fake || backend->under == &transport_fake ||
        backend->begin != NULL) {
        cr_assert_eq(fake_net_create(world_seed, &w->net), MOB_OK);
    }
    if (backend->set_clock != NULL) {
        backend->set_clock(w->net);
    }
    if (backend->ops != &transport_fake &&
        (backend->under != &transport_fake || backend->lib != NULL)) {
        cr_assert_eq(loop_create(0, &w->loop), MOB_OK, "%s", mob_last_error());
    }
    if (backend->begin != NULL) {
        backend->begin(w);
    }
    for (unsigned i = 0; i < count; i++) {
        world_node(w, i, 1, 1 + i % 2);
    }
}

static const struct backend world_tcp = {.name = "tcp", .ops = &transport_tcp},
                            world_fake = {.name = "fake", .ops = &transport_fake};

/* Over a backend alone. */
static inline void world_make(struct world *w, const struct transport_ops *ops,
                              unsigned count)
{
    world_over(w, ops == &transport_tcp ? &world_tcp : &world_fake, count);
}

static void ticked(struct fake_timer *timer)
{
    (void)timer;
}

/* Nothing happens by itself on the network: time passes, at first a little. */
static inline void world_tick(struct world *w)
{
    const uint64_t most = 50 * NS_PER_MS, forever = 1000 * NS_PER_S;
    cr_assert_lt(w->tick_ns, forever, "nothing will ever happen again");
    w->tick_ns = w->tick_ns < most ? 2 * w->tick_ns + 1000 : w->tick_ns + most;
    fake_net_timer_start(
        w->net, &w->tick,
        fake_net_now_ns(w->net) + (w->tick_ns < most ? w->tick_ns : most), ticked);
    fake_net_step(w->net);
}

/* One step of whatever moves this world. */
static inline void world_step(struct world *w)
{
    bool moved = w->net != NULL && fake_net_step(w->net);
    if (moved) {
        w->tick_ns = 0;
    } else if (w->loop == NULL) {
        cr_assert_fail("nothing will ever happen again");
    } else if (w->backend->set_clock != NULL) {
        world_tick(w);
        moved = true;
    }
    if (w->loop != NULL) {
        cr_assert_eq(loop_turn(w->loop, moved ? 0 : CLOCK_NEVER), MOB_OK);
    }
}

/* Lets the world go on without waiting for anything. */
static inline void world_turn(struct world *w, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        if (w->net != NULL && !fake_net_step(w->net) && w->backend->set_clock != NULL) {
            world_tick(w);
        }
        if (w->loop != NULL) {
            cr_assert_eq(loop_turn(w->loop, 0), MOB_OK);
        }
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
    world_free(n, n->object, n->object_size);
    n->object = world_alloc(n, size);
    n->object_size = size;
    /* Byte k is k * 131 + (k >> 13) + i: by rows, since some tests make thousands of large ones. */
    uint8_t row[256];
    for (uint64_t k = 0; k < size; k += sizeof row) {
        for (unsigned b = 0; k % 8192 == 0 && b < sizeof row; b++) {
            row[b] = (uint8_t)(b * 131 + (k >> 13) + i);
        }
        memcpy(n->object + k, row, size - k < sizeof row ? size - k : sizeof row);
    }
}

/* Makes @p ready to get @size bytes at @p->dst + @skew of the puller's memory. */
static inline void pull_make(struct pull *p, struct transport_peer *peer, uint64_t size)
{
    struct node *n = peer->tp->config.arg;
    if (p->dst == NULL || p->node != n || p->room < size) {
        pull_free(p);
        p->dst = world_alloc(n, size);
        p->room = size;
        p->node = n;
    } else if (n->w->backend->unguard != NULL) {
        n->w->backend->unguard(n->w, n->index, p->dst, p->room);
    }
    p->calls = 0;
    p->landed = 0;
}

/* Asks for the object of that name. */
static inline mob_status world_ask(struct transport_peer *peer, struct pull *p,
                                   uint8_t name, uint64_t offset, uint64_t size)
{
    struct transport_source source = {.object = {name}, .offset = offset, .size = size};
    pull_make(p, peer, size);
    memset(p->dst, 0xAA, size + 1);
    return transport_pull(peer, &source, p->dst, &p->xfer);
}

static inline mob_status world_pull(struct transport_peer *peer, struct pull *p,
                                    uint64_t offset, uint64_t size)
{
    return world_ask(peer, p, WHOLE, offset, size);
}

/* The next numbered message from @n to @peer; on_message() looks at the numbers. */
static inline mob_status world_say(struct node *n, struct transport_peer *peer)
{
    uint64_t *next = &n->said[peer_slot(n, peer)], data[2] = {*next, SAID};
    mob_status st = transport_send(peer, data, sizeof data);
    *next += st == MOB_OK;
    return st;
}

/* Whether all of @size bytes are @byte. */
static inline bool all_are(const uint8_t *bytes, uint64_t size, uint8_t byte)
{
    return size == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static inline void world_end(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].tp != NULL && !w->nodes[i].closed) {
            transport_close(w->nodes[i].tp);
        }
    }
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->nodes[i];
        WORLD_UNTIL(w, n->closed);
        cr_assert_eq(n->closed, 1);
        cr_assert_eq(n->pins, 0, "an export was not given back");
        world_free(n, n->object, n->object_size);
    }
    if (w->loop != NULL) {
        cr_assert_eq(loop_in_flight(w->loop), 0);
    }
    loop_destroy(w->loop);
    if (w->backend->end != NULL) {
        w->backend->end(w);
    }
    if (w->backend->set_clock != NULL) {
        w->backend->set_clock(NULL);
    }
    fake_net_destroy(w->net);
    w->net = NULL;
    w->d = NULL;
}

#endif
