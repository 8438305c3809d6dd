/* What the TCP backend does beyond the conformance of all: how exports that grow share
 * their lane. */
#include "relay.h"
#include "world.h"

enum { OBJECTS = 3, OBJECT_BYTES = 5 * CHUNK_BYTES + 100 };

/* Node 0 shows object k (named by its first byte) as far as ready[k] says. */
static struct world w;
static uint64_t ready[OBJECTS];
static int pinned[OBJECTS], landings;
static uint64_t landed_bytes;

static mob_status show(void *arg, struct transport_peer *peer,
                       const uint8_t object[TRANSPORT_OBJECT_BYTES],
                       struct transport_export *ret)
{
    struct node *n = arg;
    (void)peer;
    *ret = (struct transport_export){n->object, n->object_size, object[0],
                                     &ready[object[0]]};
    pinned[object[0]]++;
    return MOB_OK;
}
static void hide(void *arg, struct transport_peer *peer, const struct transport_export *e)
{
    (void)arg, (void)peer;
    pinned[e->cookie]--;
}
static void count_landed(void *arg, struct transport_xfer *xfer)
{
    (void)arg;
    landings++;
    cr_assert_gt(xfer->received, 0);
    landed_bytes = xfer->received;
}

static struct transport_user grows;

static void node_at(unsigned i, unsigned lanes, const char *address)
{
    struct node *n = &w.nodes[i];
    struct transport_config config = {.loop = w.loop,
                                      .user = &grows,
                                      .arg = n,
                                      .node_id = 1000 + i,
                                      .data_connections = lanes};
    struct addr any;
    n->w = &w;
    cr_assert_eq(addr_parse(address, ADDR_LISTEN, &any), MOB_OK);
    cr_assert_eq(transport_tcp.open(&config, &n->tp), MOB_OK);
    cr_assert_eq(transport_listen(n->tp, &any, &n->addr), MOB_OK);
}

static void node(unsigned i, unsigned lanes)
{
    node_at(i, lanes, "127.0.0.1:0");
}

static void make(void)
{
    memset(&w, 0, sizeof w);
    grows = test_user;
    grows.export = show;
    grows.unexport = hide;
    grows.landed = count_landed;
    w.backend = &world_tcp;
    w.count = 2;
    cr_assert_eq(loop_create(0, &w.loop), MOB_OK);
    node(0, 1);
    node(1, 1);
    world_object(&w, 0, OBJECT_BYTES);
}
static void end(void)
{
    world_end(&w);
    for (int i = 0; i < OBJECTS; i++) {
        cr_assert_eq(pinned[i], 0);
    }
}

TestSuite(tcp, .init = make, .fini = end, .timeout = 60);

static void pull(struct transport_peer *peer, struct pull *p, uint8_t object)
{
    struct transport_source source = {.object = {object}, .size = OBJECT_BYTES};
    p->calls = 0;
    p->dst = realloc(p->dst, OBJECT_BYTES);
    memset(p->dst, 0xAA, OBJECT_BYTES);
    cr_assert_eq(transport_pull(peer, &source, p->dst, &p->xfer), MOB_OK);
}

static void turns(int n)
{
    for (int i = 0; i < n; i++) {
        cr_assert_eq(loop_turn(w.loop, NS_PER_MS), MOB_OK);
    }
}

Test(tcp, an_export_that_grows_is_pulled_as_it_grows)
{
    struct pull p = {0};
    ready[0] = 0;
    struct transport_peer *peer = world_join(&w, 1, 0), *back = w.nodes[0].peers[0];
    pull(peer, &p, 0);
    turns(5);
    cr_assert_eq(p.xfer.received, 0);
    ready[0] = 2 * CHUNK_BYTES + 77; /* whole chunks alone move */
    transport_grown(back, 0);
    transport_grown(back, 0);
    WORLD_UNTIL(&w, p.xfer.received == 2 * CHUNK_BYTES);
    turns(5);
    cr_assert_eq(p.xfer.received, 2 * CHUNK_BYTES);
    cr_assert_eq(landings, 2);
    ready[0] = OBJECT_BYTES;
    transport_grown(back, 0);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert_eq(p.status, MOB_OK);
    cr_assert_eq(landed_bytes, OBJECT_BYTES);
    cr_assert_eq(memcmp(p.dst, w.nodes[0].object, OBJECT_BYTES), 0);
    WORLD_UNTIL(&w, pinned[0] == 0);
    transport_grown(back, 0); /* over: left alone */
    transport_revoke(back, 0, MOB_ERR_LOST);
    struct transport_stats s;
    transport_stats(peer, &s);
    cr_assert_eq(s.pulled_bytes, OBJECT_BYTES);
    transport_stats(back, &s);
    cr_assert_eq(s.served_bytes, OBJECT_BYTES);
    free(p.dst);
}

Test(tcp, one_that_waits_for_bytes_lets_others_pass)
{
    struct pull p[OBJECTS] = {{.calls = 0}};
    ready[0] = 100;
    ready[1] = OBJECT_BYTES;
    ready[2] = CHUNK_BYTES;
    struct transport_peer *peer = world_join(&w, 1, 0), *back = w.nodes[0].peers[0];
    for (int i = 0; i < OBJECTS; i++) {
        pull(peer, &p[i], (uint8_t)i);
    }
    WORLD_UNTIL(&w, p[1].calls == 1 && p[2].xfer.received == CHUNK_BYTES);
    cr_assert_eq(p[1].status, MOB_OK);
    cr_assert(p[0].calls == 0 && p[0].xfer.received == 0 && p[2].calls == 0);
    transport_cancel(&p[2].xfer);
    WORLD_UNTIL(&w, p[2].calls == 1 && pinned[2] == 0);
    cr_assert_eq(p[2].status, MOB_ERR_CANCELLED);
    ready[0] = OBJECT_BYTES;
    transport_grown(back, 0);
    WORLD_UNTIL(&w, p[0].calls == 1);
    cr_assert_eq(p[0].status, MOB_OK);
    for (int i = 0; i < OBJECTS; i++) {
        free(p[i].dst);
    }
}

Test(tcp, what_was_revoked_ends_with_its_reason)
{
    struct pull p = {0}, q = {0};
    ready[0] = 3 * CHUNK_BYTES;
    ready[1] = OBJECT_BYTES;
    struct transport_peer *peer = world_join(&w, 1, 0), *back = w.nodes[0].peers[0];
    pull(peer, &p, 0);
    WORLD_UNTIL(&w, p.xfer.received == 3 * CHUNK_BYTES);
    transport_revoke(back, 0, MOB_ERR_LOST);
    WORLD_UNTIL(&w, p.calls == 1 && pinned[0] == 0);
    cr_assert_eq(p.status, MOB_ERR_LOST);
    pull(peer, &q, 1); /* revoked while its bytes are on the way */
    WORLD_UNTIL(&w, q.xfer.received >= CHUNK_BYTES);
    transport_revoke(back, 1, MOB_ERR_NOT_FOUND);
    WORLD_UNTIL(&w, q.calls == 1 && pinned[1] == 0);
    cr_assert(q.status == MOB_ERR_NOT_FOUND || q.status == MOB_OK);
    free(p.dst);
    free(q.dst);
}

Test(tcp, a_peer_that_goes_gives_parked_exports_back)
{
    struct pull p = {0};
    ready[0] = 0;
    struct transport_peer *peer = world_join(&w, 1, 0);
    pull(peer, &p, 0);
    WORLD_UNTIL(&w, pinned[0] == 1);
    turns(5);
    transport_disconnect(peer);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1 && w.nodes[1].downs == 1);
    cr_assert_eq(p.calls, 1);
    cr_assert_eq(pinned[0], 0);
    free(p.dst);
}

/* ---- several data connections
 * ------------------------------------------------------------ */

static void pull_large(struct transport_peer *peer, struct pull *p, uint64_t size)
{
    struct transport_source source = {.size = size};
    p->calls = 0;
    p->dst = realloc(p->dst, size);
    memset(p->dst, 0xAA, size);
    cr_assert_eq(transport_pull(peer, &source, p->dst, &p->xfer), MOB_OK);
}

/* More chunks than the window, over lanes that differ in speed as they like. */
Test(tcp, chunks_of_one_pull_over_all_lanes)
{
    enum { LARGE = 150 * CHUNK_BYTES + 5 };
    struct pull p = {0}, q = {0};
    ready[0] = LARGE;
    node(2, TRANSPORT_DATA_MAX);
    w.count = 3;
    world_object(&w, 0, LARGE);
    struct transport_peer *peer = world_join(&w, 2, 0);
    pull_large(peer, &p, LARGE);
    pull_large(peer, &q, LARGE);
    WORLD_UNTIL(&w, p.calls == 1 && q.calls == 1);
    cr_assert(p.status == MOB_OK && q.status == MOB_OK);
    cr_assert_eq(memcmp(p.dst, w.nodes[0].object, LARGE), 0);
    cr_assert_eq(memcmp(q.dst, w.nodes[0].object, LARGE), 0);
    for (unsigned steps = 0; steps < 60; steps += 3) { /* cancelled at many moments */
        pull_large(peer, &p, LARGE);
        for (unsigned i = 0; i < steps && p.calls == 0; i++) {
            world_step(&w);
        }
        transport_cancel(&p.xfer);
        WORLD_UNTIL(&w, p.calls == 1);
        uint64_t received = p.xfer.received;
        cr_assert_eq(memcmp(p.dst, w.nodes[0].object, received), 0, "not verified");
        memset(p.dst, 0x55, LARGE);
        WORLD_UNTIL(&w, pinned[0] == 0);
        for (size_t i = 0; i < LARGE; i += 4096) {
            cr_assert(p.dst[i] == 0x55, "written after pull_done");
        }
    }
    free(p.dst);
    free(q.dst);
}

/* 64 MiB on the way through 12.5 MB/s (100 Mbit/s); a message and a small pull do not wait
 * for it: what they take is counted in bytes of the large one. */
Test(tcp, small_things_pass_a_large_pull, .timeout = 60)
{
    enum { LARGE = 64 * CHUNK_BYTES, SMALL = 4096, TIMES = 5, BETWEEN = 2 * CHUNK_BYTES };
    static struct relay relay;
    struct transport_peer *peer;
    struct pull large = {0}, small = {0};
    ready[0] = LARGE;
    world_object(&w, 0, LARGE);
    relay.rate = 12500000;
    relay_start(&relay, w.loop, &w.nodes[0].addr);
    cr_assert_eq(transport_connect(w.nodes[1].tp, &relay.addr, NULL, &peer), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[1].ups == 1);
    pull_large(peer, &large, LARGE);
    WORLD_UNTIL(&w, large.xfer.received >= CHUNK_BYTES);
    for (int i = 0; i < TIMES; i++) {
        uint64_t begin = relay.passed;
        int messages = w.nodes[0].messages;
        cr_assert_eq(transport_send(peer, "x", 1), MOB_OK);
        pull_large(peer, &small, SMALL);
        WORLD_UNTIL(&w, small.calls == 1 && w.nodes[0].messages > messages);
        cr_assert_eq(small.status, MOB_OK);
        cr_assert_lt(relay.passed - begin, BETWEEN, "waited for the large one");
    }
    cr_assert_eq(large.calls, 0, "it was over before anything could wait for it");
    transport_close(w.nodes[1].tp);
    WORLD_UNTIL(&w, w.nodes[1].closed && w.nodes[0].downs == 1);
    cr_assert_eq(large.calls, 1);
    relay_stop(&relay);
    free(large.dst);
    free(small.dst);
}

/* An address that is not the puller's own looks like another machine: sends without a copy
 * are tried there, and end as loopback copies. Bytes and pins stay right meanwhile, and when
 * the puller goes in the middle of it. */
Test(tcp, sends_without_a_copy_are_tried)
{
    enum { LARGE = 120 * CHUNK_BYTES + 5 };
    struct pull p = {0};
    ready[0] = LARGE;
    node_at(2, 1, "127.0.0.2:0");
    w.count = 3;
    world_object(&w, 2, LARGE);
    struct transport_peer *peer = world_join(&w, 1, 2);
    struct transport_stats s;
    transport_stats(w.nodes[2].peers[0], &s);
    bool trial = strstr(s.path, "on trial") != NULL;
    cr_assert_eq(trial, loop_zerocopy(w.loop), "%s", s.path);
    for (int times = 0; times < 2; times++) {
        pull_large(peer, &p, LARGE);
        WORLD_UNTIL(&w, p.calls == 1);
        cr_assert_eq(p.status, MOB_OK);
        cr_assert_eq(memcmp(p.dst, w.nodes[2].object, LARGE), 0);
        WORLD_UNTIL(&w, pinned[0] == 0);
    }
    transport_stats(w.nodes[2].peers[0], &s);
    cr_assert_null(strstr(s.path, "on trial"), "it goes on for ever");
    for (uint64_t chunks = 14; chunks < 40; chunks += 3) {
        int downs = w.nodes[1].downs;
        peer = world_join(&w, 1, 2);
        pull_large(peer, &p, LARGE);
        WORLD_UNTIL(&w, p.xfer.received >= chunks * CHUNK_BYTES);
        transport_disconnect(peer);
        WORLD_UNTIL(&w, w.nodes[1].downs == downs + 1 && pinned[0] == 0);
        cr_assert_eq(p.calls, 1);
    }
    free(p.dst);
}
