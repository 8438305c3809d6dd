/* What every backend must do: objects, whole and in part, and what ends a transfer. */
#include "conforms.h"

CONFORMS(pulls_of_all_sizes)
{
    static const uint64_t sizes[] = {
        0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 24ull << 20};
    struct world w;
    struct pull p = {0};
    world_over(&w, backend, 2);
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
    pull_free(&p);
    world_end(&w);
}

CONFORMS(what_is_not_there_fails_alone)
{
    struct world w;
    struct pull p = {0};
    world_over(&w, backend, 2);
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
    pull_free(&p);
    world_end(&w);
}

CONFORMS(many_pulls_both_ways_with_messages_between)
{
    struct world w;
    static struct pull a[TRANSPORT_PULLS_MAX], b[TRANSPORT_PULLS_MAX];
    struct pull over = {0};
    world_over(&w, backend, 2);
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
        pull_free(&a[i]);
        pull_free(&b[i]);
    }
    cr_assert_geq(w.nodes[0].writables, 1);
    pull_free(&over);
    world_end(&w);
}

CONFORMS(cancel_leaves_the_destination_quiet)
{
    enum { SIZE = 6 << 20 };
    struct world w;
    struct pull p = {0}, q = {0};
    world_over(&w, backend, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, SIZE);
    for (unsigned steps = 0; steps < 60; steps++) { /* at many moments of the transfer */
        cr_assert_eq(world_pull(peer, &p, 0, SIZE), MOB_OK);
        for (unsigned i = 0; i < steps && p.calls == 0; i++) {
            world_step(&w);
        }
        transport_cancel(&p.xfer);
        transport_cancel(&p.xfer);
        WORLD_UNTIL(&w, p.calls != 0);
        cr_assert(p.status == MOB_ERR_CANCELLED || p.status == MOB_OK);
        memset(p.dst, 0x55, SIZE);
        /* Another transfer on the same connections: what is left of the first is thrown
         * away. */
        cr_assert_eq(world_pull(peer, &q, 5, 100000), MOB_OK);
        WORLD_UNTIL(&w, q.calls != 0);
        cr_assert_eq(q.status, MOB_OK);
        cr_assert_eq(memcmp(q.dst, w.nodes[1].object + 5, 100000), 0);
        WORLD_UNTIL(&w, w.nodes[1].pins == 0);
        cr_assert(all_are(p.dst, SIZE, 0x55), "written after pull_done");
        cr_assert_eq(p.calls, 1);
    }
    pull_free(&p);
    pull_free(&q);
    world_end(&w);
}

CONFORMS(closing_ends_transfers_and_pins)
{
    struct world w;
    struct pull p[4] = {0};
    for (unsigned steps = 0; steps < 12; steps++) {
        world_over(&w, backend, 2);
        struct transport_peer *peer = world_join(&w, 0, 1);
        world_object(&w, 1, 8u << 20);
        for (unsigned i = 0; i < 4; i++) {
            cr_assert_eq(world_pull(peer, &p[i], 0, 8u << 20), MOB_OK);
        }
        /* Where all is there already, nothing will happen any more. */
        for (unsigned i = 0;
             i < steps * 3 && !(p[0].calls && p[1].calls && p[2].calls && p[3].calls);
             i++) {
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
        for (unsigned i = 0; i < 4; i++) {
            pull_free(&p[i]);
        }
    }
}

/* Node 1, the owner or the puller, is lost in the middle of transfers. */
static void lose(const struct backend *backend, unsigned owner, unsigned steps)
{
    enum { PULLS = 3, SIZE = 5 << 20 };
    struct world w;
    struct pull p[PULLS] = {0};
    world_over(&w, backend, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    if (owner == 0) {
        peer = w.nodes[1].peers[0];
    }
    world_object(&w, owner, SIZE);
    for (unsigned i = 0; i < PULLS; i++) {
        cr_assert_eq(world_pull(peer, &p[i], i, SIZE - i), MOB_OK);
    }
    world_turn(&w, steps);
    backend->kill(&w, 1);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1 && w.nodes[1].downs == 1);
    cr_assert_eq(w.nodes[0].down, MOB_ERR_PEER_LOST, "%s", w.nodes[0].reason);
    cr_assert_eq(w.nodes[owner].pins, 0);
    for (unsigned i = 0; i < PULLS; i++) {
        cr_assert_eq(p[i].calls, 1);
        cr_assert(p[i].status == MOB_OK || p[i].status == MOB_ERR_PEER_LOST, "%d",
                  p[i].status);
        if (p[i].status == MOB_OK) {
            cr_assert_eq(memcmp(p[i].dst, w.nodes[owner].object + i, SIZE - i), 0);
        }
        memset(p[i].dst, 0x55, SIZE - i);
    }
    world_turn(&w, 100);
    for (unsigned i = 0; i < PULLS; i++) {
        cr_assert(all_are(p[i].dst, SIZE - i, 0x55), "written after pull_done");
        pull_free(&p[i]);
    }
    world_end(&w);
}

CONFORMS(a_node_that_is_lost_ends_its_transfers_alone)
{
    if (backend->kill == NULL) {
        return;
    }
    for (unsigned steps = 0; steps < 40; steps += 2) {
        lose(backend, 1, steps);
        lose(backend, 0, steps);
    }
}

CONFORMS(any_alignment_of_offset_size_and_place)
{
    static const uint64_t odd[] = {0, 1, 3, 63, 64, 4095, 4096, CHUNK_BYTES - 1};
    enum { ODD = sizeof odd / sizeof *odd };
    struct world w;
    struct pull p = {0};
    world_over(&w, backend, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, 4 * CHUNK_BYTES);
    for (unsigned i = 0; i < ODD * ODD; i++) {
        uint64_t offset = odd[i % ODD], skew = odd[i / ODD],
                 size = 70000 + odd[i * 5 % ODD];
        struct transport_source source = {
            .object = {WHOLE}, .offset = offset, .size = size};
        pull_make(&p, peer, 3 * CHUNK_BYTES);
        memset(p.dst, 0xAA, p.room);
        cr_assert_eq(transport_pull(peer, &source, p.dst + skew, &p.xfer), MOB_OK);
        WORLD_UNTIL(&w, p.calls);
        cr_assert_eq(p.status, MOB_OK);
        cr_assert_eq(memcmp(p.dst + skew, w.nodes[1].object + offset, size), 0);
        cr_assert(all_are(p.dst, skew, 0xAA) &&
                      all_are(p.dst + skew + size, p.room - skew - size, 0xAA),
                  "wrote beside the place");
    }
    pull_free(&p);
    world_end(&w);
}
