/* The verbs backend where there are more devices or peers than it is to use at once. */
#include "verbs_faults.h"
#include "verbs_rail.h"

TestSuite(verbs_room, .timeout = 120);

static struct transport_stats figures(const struct transport_peer *peer)
{
    struct transport_stats stats;
    transport_stats(peer, &stats);
    return stats;
}

/* Of two devices the one that the environment names is used; one that is not there is an error. */
Test(verbs_room, the_devices_that_are_named)
{
    struct world w;
    world_over(&w, &over_verbs_fake, 0);
    for (unsigned i = 0; i < 2; i++) {
        verbs_double_host(w.d, i)->devices = 2;
    }
    setenv(VERBS_DEVICES_VARIABLE, "double0_1,double1_1", 1);
    cr_assert_not(verbs_device_wanted("double0_0") || verbs_device_wanted("double0"));
    cr_assert(verbs_device_wanted("double0_1") && verbs_device_wanted("double1_1"));
    for (unsigned i = 0; i < 2; i++) { /* on one machine both would be */
        setenv(VERBS_DEVICES_VARIABLE, i == 0 ? "double0_1" : ",double1_1", 1);
        world_node(&w, i, 1, 1);
    }
    w.count = 2;
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 0, SIZE);
    world_object(&w, 1, SIZE);
    exchange(&w, peer);
    exchange(&w, peer);
    cr_assert_gt(figures(peer).rdma_bytes, 0, "%s", figures(peer).why);
    cr_assert_not_null(strstr(figures(peer).path, "double0_1"), "%s", figures(peer).path);
    cr_assert_null(strstr(figures(peer).path, "double0_0"), "%s", figures(peer).path);
    setenv(VERBS_DEVICES_VARIABLE, "double0_1,mlx5_9", 1);
    struct transport_config config = world_config(&w, 0, 1, 1);
    struct transport *tp = NULL;
    cr_assert_eq(transport_verbs.open(&config, &tp), MOB_ERR_INVALID);
    cr_assert_null(tp);
    cr_assert_not_null(strstr(mob_last_error(), "names mlx5_9"), "%s", mob_last_error());
    unsetenv(VERBS_DEVICES_VARIABLE);
    world_end(&w);
}

/* More peers than queue pairs: those at rest give way, the one that rested longest first. */
Test(verbs_room, queue_pairs_at_rest_give_way)
{
    enum { PEERS_ALL = 5, LINKS = 2, ROUNDS = 3 };
    struct world w;
    struct transport_peer *peers[PEERS_ALL];
    world_over(&w, &over_verbs_fake, 0);
    verbs_double_host(w.d, 0)->device[0].attr.max_cqe =
        VERBS_RECEIVES + LINKS * VERBS_SEND_QUEUE;
    for (w.count = 0; w.count < 1 + PEERS_ALL; w.count++) {
        world_node(&w, w.count, 1, 1);
    }
    for (unsigned i = 0; i < PEERS_ALL; i++) {
        peers[i] = world_join(&w, 0, 1 + i);
        world_object(&w, 1 + i, SIZE);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < PEERS_ALL; i++) {
            uint64_t before = figures(peers[i]).rdma_bytes;
            for (unsigned tries = 0; figures(peers[i]).rdma_bytes == before; tries++) {
                struct pull p = {0};
                cr_assert_lt(tries, 20, "peer %u, round %u: %s", i, round,
                             figures(peers[i]).why);
                cr_assert_eq(world_pull(peers[i], &p, 0, SIZE), MOB_OK);
                WORLD_UNTIL(&w, p.calls && w.nodes[1 + i].pins == 0);
                cr_assert_eq(p.status, MOB_OK);
                cr_assert_eq(memcmp(p.dst, w.nodes[1 + i].object, SIZE), 0);
                pull_free(&p);
                wait_ns(&w, NS_PER_S);
            }
        }
    }
    world_end(&w);
}
