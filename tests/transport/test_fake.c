/* The faults that the fake network has to order. */
#include "world.h"

Test(fake_faults, a_damaged_chunk_fails_one_transfer_alone, .timeout = 20)
{
    struct world w;
    struct pull p = {0};
    world_make(&w, &transport_fake, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, 4u << 20);
    fake_net_corrupt(w.net, 2);
    cr_assert_eq(world_pull(peer, &p, 0, 4u << 20), MOB_OK);
    WORLD_UNTIL(&w, p.calls);
    cr_assert_eq(p.status, MOB_ERR_PROTOCOL);
    cr_assert_eq(p.xfer.received, 2u << 20);
    cr_assert_eq(world_pull(peer, &p, 0, 4u << 20), MOB_OK);
    WORLD_UNTIL(&w, p.calls);
    cr_assert_eq(p.status, MOB_OK);
    free(p.dst);
    world_end(&w);
}

Test(fake_faults, death_and_cut_end_transfers_at_any_step, .timeout = 60)
{
    struct pull p = {0};
    for (unsigned steps = 0; steps < 16; steps++) {
        struct world w;
        world_make(&w, &transport_fake, 2);
        fake_net_delay(w.net, 0, 1000000);
        struct transport_peer *peer = world_join(&w, 0, 1);
        world_object(&w, 1, 4u << 20);
        cr_assert_eq(world_pull(peer, &p, 0, 4u << 20), MOB_OK);
        for (unsigned i = 0; i < steps / 2 && p.calls == 0; i++) {
            world_step(&w);
        }
        if (steps % 2) {
            fake_net_kill(w.nodes[1].tp);
        } else {
            fake_net_cut(peer);
        }
        WORLD_UNTIL(&w, w.nodes[0].downs == 1 && w.nodes[1].downs == 1);
        cr_assert_eq(w.nodes[0].down, MOB_ERR_PEER_LOST);
        cr_assert_eq(p.calls, 1);
        cr_assert(p.status == MOB_ERR_PEER_LOST || p.status == MOB_OK);
        world_end(&w);
    }
    free(p.dst);
}

static uint64_t run(void)
{
    struct world w;
    struct pull p = {0};
    world_make(&w, &transport_fake, 3);
    fake_net_delay(w.net, 5, 50000);
    world_object(&w, 1, 3u << 20);
    world_join(&w, 2, 1);
    cr_assert_eq(world_pull(world_join(&w, 0, 1), &p, 0, 3u << 20), MOB_OK);
    WORLD_UNTIL(&w, p.calls);
    uint64_t now = fake_net_now_ns(w.net);
    free(p.dst);
    world_end(&w);
    return now;
}

Test(fake_faults, one_seed_is_one_history, .timeout = 20)
{
    cr_assert_eq(run(), run());
}
