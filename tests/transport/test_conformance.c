/* What every backend must do, run over each of them. */
#include <dirent.h>

#include "world.h"

/* verbs stands on tcp, or on the fake; without a device it passes all through. */
static void over_the_fake(void)
{
    world_under = &transport_fake;
}

#define CONFORMS(name)                                                                   \
    static void name(const struct transport_ops *ops);                                   \
    Test(tcp, name, .timeout = 120)                                                      \
    {                                                                                    \
        name(&transport_tcp);                                                            \
    }                                                                                    \
    Test(fake, name, .timeout = 120)                                                     \
    {                                                                                    \
        name(&transport_fake);                                                           \
    }                                                                                    \
    Test(verbs_tcp, name, .timeout = 120)                                                \
    {                                                                                    \
        name(&transport_verbs);                                                          \
    }                                                                                    \
    Test(verbs_fake, name, .timeout = 120, .init = over_the_fake)                        \
    {                                                                                    \
        name(&transport_verbs);                                                          \
    }                                                                                    \
    static void name(const struct transport_ops *ops)

static int open_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    cr_assert_not_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n;
}

CONFORMS(messages_arrive_in_order)
{
    enum { COUNT = 3000 };
    struct world w;
    world_make(&w, ops, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    uint64_t bytes = 0;
    static uint8_t buf[MESSAGE_BYTES_MAX];
    for (uint64_t i = 0; i < COUNT; i++) {
        size_t size = i % 500 == 499 ? MESSAGE_BYTES_MAX : 8 + i % 700;
        memcpy(buf, &i, sizeof i);
        mob_status st;
        while ((st = transport_send(peer, buf, size)) == MOB_ERR_FULL) {
            int seen = w.nodes[0].writables;
            WORLD_UNTIL(&w, w.nodes[0].writables > seen);
        }
        cr_assert_eq(st, MOB_OK);
        bytes += size;
    }
    cr_assert_eq(transport_send(peer, NULL, 0), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[1].messages == COUNT + 1);
    cr_assert_not(w.nodes[1].disorder);
    cr_assert_eq(w.nodes[1].message_bytes, bytes);
    struct iovec big = {buf, MESSAGE_BYTES_MAX + 1};
    cr_assert_eq(transport_sendv(peer, &big, 1), MOB_ERR_SIZE);
    world_end(&w);
}

CONFORMS(full_means_back_pressure_and_then_room)
{
    struct world w;
    world_make(&w, ops, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    static uint8_t buf[MESSAGE_BYTES_MAX];
    unsigned sent = 0;
    mob_status st;
    while ((st = transport_send(peer, buf, sizeof buf)) == MOB_OK) {
        sent++;
        cr_assert_leq(sent, TRANSPORT_QUEUE_BYTES / MESSAGE_BYTES_MAX, "no bound");
    }
    cr_assert_eq(st, MOB_ERR_FULL);
    cr_assert_eq(w.nodes[0].writables, 0);
    WORLD_UNTIL(&w, w.nodes[0].writables == 1);
    cr_assert_eq(transport_send(peer, buf, sizeof buf), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[1].messages == (int)sent + 1);
    world_end(&w);
}

CONFORMS(pulls_of_all_sizes)
{
    static const uint64_t sizes[] = {
        0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 64ull << 20};
    struct world w;
    struct pull p = {0};
    world_make(&w, ops, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        world_object(&w, 1, sizes[i] + 5);
        cr_assert_eq(world_pull(peer, &p, 3, sizes[i]), MOB_OK);
        cr_assert_eq(p.calls, 0);
        WORLD_UNTIL(&w, p.calls != 0);
        cr_assert_eq(p.status, MOB_OK);
        cr_assert_eq(memcmp(p.dst, w.nodes[1].object + 3, sizes[i]), 0);
        cr_assert_eq(p.dst[sizes[i]], 0xAA, "wrote past the end");
        cr_assert_eq(p.xfer.received, sizes[i]);
        WORLD_UNTIL(&w, w.nodes[1].pins == 0);
    }
    free(p.dst);
    world_end(&w);
}

CONFORMS(what_is_not_there_fails_alone)
{
    struct world w;
    struct pull p = {0};
    world_make(&w, ops, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, 100);
    struct transport_source gone = {.object = {0xff}, .size = 10};
    uint8_t dst[10];
    cr_assert_eq(transport_pull(peer, &gone, dst, &p.xfer), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert_eq(p.status, MOB_ERR_NOT_FOUND);
    cr_assert_eq(world_pull(peer, &p, 91, 10), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert_eq(p.status, MOB_ERR_SIZE);
    cr_assert_eq(world_pull(peer, &p, 90, 10), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert_eq(p.status, MOB_OK);
    free(p.dst);
    world_end(&w);
}

CONFORMS(many_pulls_both_ways_with_messages_between)
{
    struct world w;
    static struct pull a[TRANSPORT_PULLS_MAX], b[TRANSPORT_PULLS_MAX];
    struct pull over = {0};
    world_make(&w, ops, 2);
    struct transport_peer *ab = world_join(&w, 0, 1), *ba = w.nodes[1].peers[0];
    world_object(&w, 0, 3u << 20);
    world_object(&w, 1, 3u << 20);
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        cr_assert_eq(world_pull(ab, &a[i], i, (i % 4) * 700000 + i), MOB_OK);
        cr_assert_eq(world_pull(ba, &b[i], i, (i % 3) * 900000 + i), MOB_OK);
    }
    cr_assert_eq(world_pull(ab, &over, 0, 1), MOB_ERR_FULL);
    cr_assert_eq(transport_send(ab, "hi", 2), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[1].messages == 1);
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        WORLD_UNTIL(&w, a[i].calls && b[i].calls);
        cr_assert(a[i].status == MOB_OK && b[i].status == MOB_OK);
        cr_assert_eq(memcmp(a[i].dst, w.nodes[1].object + i, a[i].xfer.size), 0);
        cr_assert_eq(memcmp(b[i].dst, w.nodes[0].object + i, b[i].xfer.size), 0);
        free(a[i].dst);
        free(b[i].dst);
    }
    cr_assert_geq(w.nodes[0].writables, 1);
    free(over.dst);
    world_end(&w);
}

CONFORMS(cancel_leaves_the_destination_quiet)
{
    struct world w;
    struct pull p = {0}, q = {0};
    world_make(&w, ops, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, 16u << 20);
    for (unsigned steps = 0; steps < 40; steps++) { /* at many moments of the transfer */
        cr_assert_eq(world_pull(peer, &p, 0, 16u << 20), MOB_OK);
        for (unsigned i = 0; i < steps && p.calls == 0; i++) {
            world_step(&w);
        }
        transport_cancel(&p.xfer);
        transport_cancel(&p.xfer);
        WORLD_UNTIL(&w, p.calls != 0);
        cr_assert(p.status == MOB_ERR_CANCELLED || p.status == MOB_OK);
        memset(p.dst, 0x55, 16u << 20);
        /* Another transfer on the same connections: what is left of the first is thrown
         * away. */
        cr_assert_eq(world_pull(peer, &q, 5, 100000), MOB_OK);
        WORLD_UNTIL(&w, q.calls != 0);
        cr_assert_eq(q.status, MOB_OK);
        cr_assert_eq(memcmp(q.dst, w.nodes[1].object + 5, 100000), 0);
        WORLD_UNTIL(&w, w.nodes[1].pins == 0);
        for (size_t i = 0; i < 16u << 20; i++) {
            cr_assert(p.dst[i] == 0x55, "written after pull_done");
        }
        cr_assert_eq(p.calls, 1);
    }
    free(p.dst);
    free(q.dst);
    world_end(&w);
}

CONFORMS(many_peers)
{
    struct world w;
    static struct pull p[NODES];
    world_make(&w, ops, 18);
    world_object(&w, 0, 300000);
    for (unsigned i = 1; i < 18; i++) {
        struct transport_peer *peer = world_join(&w, i, 0);
        cr_assert_eq(world_pull(peer, &p[i], i, 200000), MOB_OK);
    }
    for (unsigned i = 1; i < 18; i++) {
        WORLD_UNTIL(&w, p[i].calls);
        cr_assert_eq(p[i].status, MOB_OK);
        cr_assert_eq(memcmp(p[i].dst, w.nodes[0].object + i, 200000), 0);
        free(p[i].dst);
    }
    cr_assert_eq(w.nodes[0].ups, 17);
    world_end(&w);
}

CONFORMS(goodbye_comes_after_all_messages)
{
    struct world w;
    world_make(&w, ops, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    static uint8_t buf[100000];
    for (uint64_t i = 0; i < 30; i++) {
        memcpy(buf, &i, sizeof i);
        cr_assert_eq(transport_send(peer, buf, sizeof buf), MOB_OK);
    }
    transport_disconnect(peer);
    cr_assert_eq(transport_send(peer, buf, 1), MOB_ERR_STATE);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1 && w.nodes[1].downs == 1);
    cr_assert_eq(w.nodes[1].messages, 30);
    cr_assert_not(w.nodes[1].disorder);
    cr_assert_eq(w.nodes[0].down, MOB_ERR_CLOSED);
    cr_assert_eq(w.nodes[1].down, MOB_ERR_CLOSED);
    peer = world_join(&w, 1, 0); /* and again, the other way round */
    w.nodes[0].disconnect_on_message = true;
    cr_assert_eq(transport_send(peer, "x", 1), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[0].downs == 2 && w.nodes[1].downs == 2);
    world_end(&w);
}

CONFORMS(closing_ends_transfers_and_pins)
{
    struct world w;
    struct pull p[4] = {0};
    for (unsigned steps = 0; steps < 12; steps++) {
        world_make(&w, ops, 2);
        struct transport_peer *peer = world_join(&w, 0, 1);
        world_object(&w, 1, 8u << 20);
        for (unsigned i = 0; i < 4; i++) {
            cr_assert_eq(world_pull(peer, &p[i], 0, 8u << 20), MOB_OK);
        }
        for (unsigned i = 0; i < steps * 3; i++) {
            world_step(&w);
        }
        transport_close(w.nodes[steps % 2].tp); /* the puller, or the owner */
        WORLD_UNTIL(&w, p[0].calls && p[1].calls && p[2].calls && p[3].calls);
        WORLD_UNTIL(&w, w.nodes[0].downs == 1 && w.nodes[1].downs == 1);
        for (unsigned i = 0; i < 4; i++) {
            cr_assert_eq(p[i].calls, 1);
            cr_assert_neq(p[i].status, MOB_ERR_PROTOCOL);
        }
        world_end(&w);
    }
    for (unsigned i = 0; i < 4; i++) {
        free(p[i].dst);
    }
}

CONFORMS(wrong_key_is_said_on_both_sides)
{
    struct world w;
    struct transport_peer *peer;
    world_make(&w, ops, 1);
    w.count = 2;
    world_node(&w, 1, 2, 1);
    cr_assert_eq(transport_connect(w.nodes[1].tp, &w.nodes[0].addr, NULL, &peer), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[1].downs == 1 && w.nodes[0].refusals == 1);
    cr_assert_eq(w.nodes[1].down, MOB_ERR_KEY);
    cr_assert_eq(w.nodes[0].refused, MOB_ERR_KEY);
    cr_assert(w.nodes[0].ups == 0 && w.nodes[1].ups == 0);
    world_end(&w);
}

CONFORMS(nobody_there_and_port_taken)
{
    struct world w;
    struct transport_peer *peer;
    struct addr taken;
    world_make(&w, ops, 2);
    taken = w.nodes[1].addr;
    transport_close(w.nodes[1].tp);
    WORLD_UNTIL(&w, w.nodes[1].closed);
    int tag;
    cr_assert_eq(transport_connect(w.nodes[0].tp, &taken, &tag, &peer), MOB_OK);
    cr_assert(peer->tag == &tag);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1);
    cr_assert_eq(w.nodes[0].down, MOB_ERR_NO_NODE);
    cr_assert_not_null(strstr(w.nodes[0].reason, "nobody listens"));
    struct transport_config config = {.loop = w.loop,
                                      .net = w.net,
                                      .under = world_under,
                                      .user = &test_user,
                                      .arg = &w.nodes[2],
                                      .node_id = 5};
    cr_assert_eq(ops->open(&config, &w.nodes[2].tp), MOB_OK);
    cr_assert_eq(transport_listen(w.nodes[2].tp, &w.nodes[0].addr, NULL), MOB_ERR_EXISTS);
    cr_assert_not_null(strstr(mob_last_error(), "taken"));
    w.count = 3;
    world_end(&w);
}

CONFORMS(no_fd_is_leaked)
{
    struct world w;
    int before = open_fds();
    for (int i = 0; i < 3; i++) {
        world_make(&w, ops, 3);
        world_join(&w, 0, 1);
        world_join(&w, 1, 2);
        transport_disconnect(world_join(&w, 2, 0));
        world_end(&w);
    }
    cr_assert_eq(open_fds(), before);
}
