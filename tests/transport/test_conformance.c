/* What every backend must do: messages, peers, their beginning and end. */
#include "conforms.h"

CONFORMS(messages_arrive_in_order)
{
    enum { COUNT = 3000 };
    struct world w;
    world_over(&w, backend, 2);
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
    world_over(&w, backend, 2);
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

CONFORMS(goodbye_comes_after_all_messages)
{
    struct world w;
    world_over(&w, backend, 2);
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

CONFORMS(wrong_key_is_said_on_both_sides)
{
    struct world w;
    struct transport_peer *peer;
    world_over(&w, backend, 1);
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
    world_over(&w, backend, 2);
    taken = w.nodes[1].addr;
    transport_close(w.nodes[1].tp);
    WORLD_UNTIL(&w, w.nodes[1].closed);
    int tag;
    cr_assert_eq(transport_connect(w.nodes[0].tp, &taken, &tag, &peer), MOB_OK);
    cr_assert(peer->tag == &tag);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1);
    cr_assert_eq(w.nodes[0].down, MOB_ERR_NO_NODE);
    cr_assert_not_null(strstr(w.nodes[0].reason, "nobody listens"));
    struct transport_config config = world_config(&w, 2, 1, 1);
    w.nodes[2].w = &w;
    cr_assert_eq(backend->ops->open(&config, &w.nodes[2].tp), MOB_OK);
    cr_assert_eq(transport_listen(w.nodes[2].tp, &w.nodes[0].addr, NULL), MOB_ERR_EXISTS);
    cr_assert_not_null(strstr(mob_last_error(), "taken"));
    w.count = 3;
    world_end(&w);
}

CONFORMS(no_fd_is_leaked)
{
    struct world w;
    int before = each_fd(NULL, NULL);
    for (int i = 0; i < 3; i++) {
        world_over(&w, backend, 3);
        world_join(&w, 0, 1);
        world_join(&w, 1, 2);
        transport_disconnect(world_join(&w, 2, 0));
        world_end(&w);
    }
    cr_assert_eq(each_fd(NULL, NULL), before);
}

/* The larger half of the suite's peers at once, in both directions. */
CONFORMS(sixty_four_peers_at_once)
{
    enum { OTHERS = 64, SIZE = 150000 };
    static struct world w;
    static struct pull p[OTHERS + 1], q[OTHERS + 1];
    world_over(&w, backend, OTHERS + 1);
    world_object(&w, 0, 300000);
    for (unsigned i = 1; i <= OTHERS; i++) {
        struct transport_peer *peer;
        cr_assert_eq(transport_connect(w.nodes[i].tp, &w.nodes[0].addr, NULL, &peer),
                     MOB_OK);
    }
    for (unsigned i = 1; i <= OTHERS; i++) {
        WORLD_UNTIL(&w, w.nodes[i].ups == 1);
        cr_assert_eq(world_pull(w.nodes[i].peers[0], &p[i], i, SIZE), MOB_OK);
        world_object(&w, i, SIZE);
    }
    WORLD_UNTIL(&w, w.nodes[0].ups == OTHERS);
    for (unsigned i = 0; i < OTHERS; i++) { /* from i's object, whichever node that is */
        cr_assert_eq(world_pull(w.nodes[0].peers[i], &q[i], 1, SIZE - 1), MOB_OK);
        cr_assert_eq(transport_send(w.nodes[0].peers[i], "hello", 5), MOB_OK);
    }
    for (unsigned i = 1; i <= OTHERS; i++) {
        struct node *other = &w.nodes[w.nodes[0].peers[i - 1]->node_id - 1000];
        WORLD_UNTIL(&w, p[i].calls && q[i - 1].calls && w.nodes[i].messages == 1);
        cr_assert(p[i].status == MOB_OK && q[i - 1].status == MOB_OK);
        cr_assert_eq(memcmp(p[i].dst, w.nodes[0].object + i, SIZE), 0);
        cr_assert_eq(memcmp(q[i - 1].dst, other->object + 1, SIZE - 1), 0);
        pull_free(&p[i]);
        pull_free(&q[i - 1]);
    }
    world_end(&w);
}

CONFORMS(closing_at_any_step_of_joining)
{
    for (unsigned steps = 0; steps < 60; steps++) {
        struct world w;
        struct transport_peer *peer;
        world_over(&w, backend, 2);
        cr_assert_eq(transport_connect(w.nodes[0].tp, &w.nodes[1].addr, NULL, &peer),
                     MOB_OK);
        for (unsigned i = 0; i < steps / 2 && w.nodes[0].ups == 0; i++) {
            world_step(&w);
        }
        transport_close(w.nodes[steps % 2].tp);
        WORLD_UNTIL(&w, w.nodes[0].downs == 1);
        WORLD_UNTIL(&w, w.nodes[1].downs == w.nodes[1].ups);
        world_end(&w);
    }
}
