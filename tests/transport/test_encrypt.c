/* Encryption: who listens on the way learns nothing, who changes something is found out,
 * and nobody falls back to speaking in the clear. */
#include "relay.h"
#include "world.h"

static const char secret[] = "attack at dawn, with all ninety rays";
enum { OBJECT_BYTES = 3 * CHUNK_BYTES + 12345 };

static struct world w;
static struct relay relay;
static struct pull p;

static void node(unsigned i, bool encrypt, bool unchecked, unsigned lanes)
{
    struct node *n = &w.nodes[i];
    struct transport_config config = {.loop = w.loop,
                                      .user = &test_user,
                                      .arg = n,
                                      .node_id = 1000 + i,
                                      .data_connections = lanes,
                                      .encrypt = encrypt,
                                      .unchecked = unchecked};
    struct addr any;
    n->w = &w;
    cr_assert_eq(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any), MOB_OK);
    cr_assert_eq(transport_tcp.open(&config, &n->tp), MOB_OK);
    cr_assert_eq(transport_listen(n->tp, &any, &n->addr), MOB_OK);
}

static void make(void)
{
    memset(&w, 0, sizeof w);
    memset(&relay, 0, sizeof relay);
    memset(&p, 0, sizeof p);
    w.backend = &world_tcp;
    w.count = 2;
    cr_assert_eq(loop_create(0, &w.loop), MOB_OK);
}
static void end(void)
{
    for (unsigned i = 0; i < 2; i++) {
        transport_close(w.nodes[i].tp);
        WORLD_UNTIL(&w, w.nodes[i].closed);
    }
    relay_stop(&relay);
    free(p.dst);
    world_end(&w);
}

TestSuite(encrypt, .init = make, .fini = end, .timeout = 60);

/* Node 1 dials node 0 through the relay. */
static struct transport_peer *join(void)
{
    struct transport_peer *peer;
    relay_start(&relay, w.loop, &w.nodes[0].addr);
    world_object(&w, 0, OBJECT_BYTES);
    for (size_t at = 5000; at + sizeof secret < OBJECT_BYTES; at += 8000) {
        memcpy(w.nodes[0].object + at, secret, sizeof secret);
    }
    relay.text = secret;
    relay.text_size = sizeof secret;
    cr_assert_eq(transport_connect(w.nodes[1].tp, &relay.addr, NULL, &peer), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[1].ups == 1 || w.nodes[1].downs == 1);
    return peer;
}

static void pull_and_talk(struct transport_peer *peer)
{
    cr_assert_eq(world_pull(peer, &p, 1, OBJECT_BYTES - 1), MOB_OK);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(transport_send(peer, secret, sizeof secret), MOB_OK);
    }
    WORLD_UNTIL(&w, p.calls == 1 && w.nodes[0].messages == 20);
    cr_assert_eq(p.status, MOB_OK);
    cr_assert_eq(memcmp(p.dst, w.nodes[0].object + 1, OBJECT_BYTES - 1), 0);
    cr_assert_eq(p.dst[OBJECT_BYTES - 1], 0xAA, "wrote past the end");
    cr_assert_eq(w.nodes[0].message_bytes, 20 * sizeof secret);
    cr_assert_gt(relay.passed, (uint64_t)OBJECT_BYTES);
}

Test(encrypt, in_the_clear_the_relay_reads_along)
{
    struct transport_stats s;
    node(0, false, false, 1);
    node(1, false, false, 1);
    struct transport_peer *peer = join();
    pull_and_talk(peer);
    cr_assert_gt(relay.seen, 0, "the relay cannot find anything");
    transport_stats(peer, &s);
    cr_assert(s.checked && !s.encrypted);
}

Test(encrypt, encrypted_it_sees_nothing)
{
    struct transport_stats s;
    node(0, true, false, 1);
    node(1, true, false, 3);
    struct transport_peer *peer = join();
    pull_and_talk(peer);
    cr_assert_eq(relay.seen, 0, "the secret went by in the clear");
    transport_stats(peer, &s);
    cr_assert(s.checked && s.encrypted);
}

static void refused(bool dialer_encrypts)
{
    node(0, !dialer_encrypts, false, 1);
    node(1, dialer_encrypts, false, 1);
    join();
    WORLD_UNTIL(&w, w.nodes[0].refusals == 1);
    cr_assert_eq(w.nodes[1].down, MOB_ERR_VERSION);
    cr_assert_eq(w.nodes[0].refused, MOB_ERR_VERSION);
    cr_assert_not_null(strstr(w.nodes[0].reason, "--encrypt"), "%s", w.nodes[0].reason);
    cr_assert_not_null(strstr(w.nodes[1].reason, "--encrypt"), "%s", w.nodes[1].reason);
    cr_assert(w.nodes[0].ups == 0 && w.nodes[1].ups == 0);
}

Test(encrypt, a_dialer_that_encrypts_meets_one_that_does_not)
{
    refused(true);
}
Test(encrypt, a_dialer_in_the_clear_meets_one_that_encrypts)
{
    refused(false);
}

/* A byte of an encrypted chunk is changed on the way: the peer is lost, nothing is said to
 * have arrived that is not the owner's. */
Test(encrypt, a_changed_byte_ends_the_peer)
{
    node(0, true, false, 1);
    node(1, true, false, 1);
    relay.damage = 600000;
    struct transport_peer *peer = join();
    cr_assert_eq(world_pull(peer, &p, 0, OBJECT_BYTES), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert(relay.damaged);
    cr_assert_eq(p.status, MOB_ERR_PEER_LOST);
    WORLD_UNTIL(&w, w.nodes[1].downs == 1);
    cr_assert_eq(w.nodes[1].down, MOB_ERR_PROTOCOL);
}

/* In the clear the same byte costs the transfer alone, thanks to its sum. */
Test(encrypt, a_changed_byte_in_the_clear_ends_the_transfer)
{
    struct transport_stats s;
    node(0, false, true, 1); /* one of them would do without sums: they have them */
    node(1, false, false, 1);
    relay.damage = 600000;
    struct transport_peer *peer = join();
    cr_assert_eq(world_pull(peer, &p, 0, OBJECT_BYTES), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert_eq(p.status, MOB_ERR_PROTOCOL);
    transport_stats(peer, &s);
    cr_assert(s.checked);
    cr_assert_eq(s.damaged, 1);
    cr_assert_eq(w.nodes[1].downs, 0);
    cr_assert_eq(world_pull(peer, &p, 0, OBJECT_BYTES), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert_eq(p.status, MOB_OK);
}

/* And goes unnoticed if both do without: that is what they asked for. */
Test(encrypt, without_sums_nobody_looks)
{
    struct transport_stats s;
    node(0, false, true, 1);
    node(1, false, true, 1);
    relay.damage = 600000;
    struct transport_peer *peer = join();
    cr_assert_eq(world_pull(peer, &p, 0, OBJECT_BYTES), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 1);
    cr_assert_eq(p.status, MOB_OK);
    cr_assert_neq(memcmp(p.dst, w.nodes[0].object, OBJECT_BYTES), 0);
    transport_stats(peer, &s);
    cr_assert(!s.checked && !s.encrypted);
}
