/* The verbs backend when devices are removed while they are open, and come. */
#include "verbs_faults.h"

TestSuite(verbs_change, .timeout = 240);

/* Nothing of it is left before long. */
static void expect_closed(struct world *w, unsigned host)
{
    static const struct verbs_double_count none;
    struct verbs_double_count count;
    uint64_t until = fake_net_now_ns(w->net) + 60 * NS_PER_S;
    do {
        world_step(w);
        verbs_double_count(w->d, host, &count);
    } while (memcmp(&count, &none, sizeof none) != 0 && fake_net_now_ns(w->net) < until);
    cr_assert_eq(memcmp(&count, &none, sizeof none), 0,
                 "%u contexts, %u regions, %u queue pairs, %u windows left",
                 count.contexts, count.mrs, count.qps, count.mws);
}

/* At the first, second, ... work request the device goes. Nothing of it is kept, objects
 * arrive, and those after another device is there move over that one. */
static void removal(const struct backend *backend, enum verbs_fault_kind kind, int host)
{
    const unsigned posted = VERBS_SEND | VERBS_READ | VERBS_BIND | VERBS_INV;
    bool fired = true;
    for (uint64_t after = 0; fired; after++) {
        struct world w;
        struct transport_stats before, stats;
        struct verbs_double_fault fault = {
            .kind = kind, .host = host, .which = posted, .after = after};
        struct transport_peer *peer = begin(&w, backend);
        verbs_double_fault(w.d, &fault);
        exchange(&w, peer);
        fired = verbs_double_fired(w.d) != 0;
        verbs_double_calm(w.d);
        if (!fired) {
            cr_assert_geq(after, 4);
            verbs_double_remove(w.d, (unsigned)host, 0);
        }
        if (getenv("MOB_TEST_VERBOSE") != NULL) {
            fprintf(stderr, "%s: removal %d, host %d, after %lu\n", backend->name, kind,
                    host, (unsigned long)after);
        }
        expect_closed(&w, (unsigned)host);
        exchange(&w, peer);
        transport_stats(peer, &before);
        cr_assert_not_null(strstr(before.why, "the device was removed"), "it says: %s",
                           before.why);
        verbs_double_put_back(w.d, (unsigned)host, 0);
        wait_ns(&w, NS_PER_S);
        exchange(&w, peer); /* a link comes up */
        exchange(&w, peer);
        transport_stats(peer, &stats);
        cr_assert_geq(stats.rdma_bytes - before.rdma_bytes, SIZE - 7, "%s", stats.why);
        cr_assert_str_empty(stats.why);
        world_end(&w);
    }
}

Test(verbs_change, devices_that_are_removed_and_put_back)
{
    for (int host = 0; host < 2; host++) {
        removal(&over_verbs_fake, VERBS_REMOVED, host);
        removal(&over_verbs_strict, VERBS_REMOVED, host);
        removal(&over_verbs_fake, VERBS_TORN_OUT, host);
        removal(&over_verbs_strict, VERBS_TORN_OUT, host);
    }
}

Test(verbs_change, a_device_that_comes_later_is_used)
{
    struct world w;
    struct transport_stats stats;
    world_over(&w, &over_verbs_fake, 0);
    verbs_double_remove(w.d, 1, 0);
    world_node(&w, 0, 1, 1);
    world_node(&w, 1, 1, 1);
    w.count = 2;
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 0, SIZE);
    world_object(&w, 1, SIZE);
    exchange(&w, peer);
    transport_stats(peer, &stats);
    cr_assert_eq(stats.rdma_bytes, 0);
    verbs_double_put_back(w.d, 1, 0);
    wait_ns(&w, NS_PER_S);
    exchange(&w, peer);
    exchange(&w, peer);
    transport_stats(peer, &stats);
    cr_assert_gt(stats.rdma_bytes, 0, "%s", stats.why);
    world_end(&w);
}

Test(verbs_change, removed_while_the_node_ends)
{
    for (unsigned turns = 0; turns < 40; turns++) {
        struct world w;
        struct pull p = {0};
        struct transport_peer *peer = begin(&w, &over_verbs_strict);
        cr_assert_eq(world_pull(peer, &p, 0, SIZE), MOB_OK);
        world_turn(&w, turns);
        verbs_double_remove(w.d, turns % 2, 0);
        world_turn(&w, turns % 7);
        world_end(&w);
        pull_free(&p);
    }
}

/* A device's address is another one in the middle of a transfer: that one ends well, and the next ones
 * use the new address. */
Test(verbs_change, an_address_that_changes)
{
    for (unsigned host = 0; host < 2; host++) {
        for (unsigned turns = 0; turns < 60; turns += 7) {
            struct world w;
            struct pull p = {0};
            struct transport_stats before, stats;
            struct transport_peer *peer = begin(&w, &over_verbs_fake);
            struct verbs_double_device *device = &verbs_double_host(w.d, host)->device[0];
            cr_assert_eq(world_pull(peer, &p, 0, SIZE), MOB_OK);
            world_turn(&w, turns);
            memset(&device->gids[2], 0, sizeof device->gids[2]);
            verbs_double_gid(device, 4, "10.7.99.1", IBV_GID_TYPE_ROCE_V2, 2);
            verbs_double_gids_changed(w.d, host, 0);
            WORLD_UNTIL(&w, p.calls && w.nodes[1].pins == 0);
            cr_assert_eq(p.status, MOB_OK);
            cr_assert_eq(memcmp(p.dst, w.nodes[1].object, SIZE), 0);
            pull_free(&p);
            wait_ns(&w, NS_PER_S);
            exchange(&w, peer); /* a link comes up */
            transport_stats(peer, &before);
            exchange(&w, peer);
            transport_stats(peer, &stats);
            cr_assert_gt(stats.rdma_bytes, before.rdma_bytes, "%s", stats.why);
            transport_stats(host == 0 ? peer : w.nodes[1].peers[0], &stats);
            cr_assert_not_null(strstr(stats.path, "gid 4 ::ffff:10.7.99.1"), "%s",
                               stats.path);
            world_end(&w);
        }
    }
}
