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

/* ---- the cost of moving bytes
 * ------------------------------------------------------------- */

enum { MIB = 1 << 20, LINKS_MAX = 12 };

/* @count nodes with links of 1 GiB/s and 20 us, in a world without other delays. */
static void linked(struct world *w, unsigned count)
{
    world_make(w, &transport_fake, count);
    fake_net_delay(w->net, 0, 0);
    for (unsigned i = 0; i < count; i++) {
        fake_net_link(w->nodes[i].tp, 1 << 30, 10000);
    }
}

static double ms_of(double mib)
{
    return mib / 1024 * 1000;
}

/* Pulls of 32 MiB, each from @from[i] by @by[i], at once: ms until the last is done. */
static double together(unsigned pulls, const unsigned *from, const unsigned *by)
{
    static struct world w;
    struct pull p[LINKS_MAX] = {0};
    struct transport_peer *peer[LINKS_MAX];
    linked(&w, LINKS_MAX);
    for (unsigned i = 0; i < pulls; i++) {
        world_object(&w, from[i], 32 * MIB);
        peer[i] = world_join(&w, by[i], from[i]);
    }
    uint64_t begin = fake_net_now_ns(w.net);
    for (unsigned i = 0; i < pulls; i++) {
        cr_assert_eq(world_pull(peer[i], &p[i], 0, 32 * MIB), MOB_OK);
    }
    for (unsigned i = 0; i < pulls; i++) {
        WORLD_UNTIL(&w, p[i].calls);
        cr_assert_eq(p[i].status, MOB_OK);
    }
    double ms = (double)(fake_net_now_ns(w.net) - begin) / 1e6;
    for (unsigned i = 0; i < pulls; i++) {
        pull_free(&p[i]);
    }
    world_end(&w);
    return ms;
}

static void near(double ms, double want)
{
    cr_assert(ms >= want && ms < want * 1.06 + 0.1, "%.2f ms, not %.2f", ms, want);
}

Test(fake_links, transfers_share_the_links_of_their_nodes, .timeout = 60)
{
    near(together(1, (unsigned[]){0}, (unsigned[]){1}), ms_of(32));
    near(together(2, (unsigned[]){0, 0}, (unsigned[]){1, 2}), ms_of(64));
    near(together(3, (unsigned[]){0, 1, 2}, (unsigned[]){3, 3, 3}), ms_of(96));
    near(together(3, (unsigned[]){0, 1, 2}, (unsigned[]){3, 4, 5}), ms_of(32));
    near(together(2, (unsigned[]){0, 1}, (unsigned[]){1, 0}), ms_of(32));
}

Test(fake_links, the_slower_of_two_links_and_the_way_between_say_when, .timeout = 20)
{
    struct world w;
    struct pull p = {0};
    linked(&w, 2);
    fake_net_link(w.nodes[1].tp, 256 << 20, 5000000);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, 16 * MIB);
    uint64_t begin = fake_net_now_ns(w.net);
    cr_assert_eq(world_pull(peer, &p, 0, 16 * MIB), MOB_OK);
    WORLD_UNTIL(&w, p.calls);
    double ms = (double)(fake_net_now_ns(w.net) - begin) / 1e6;
    cr_assert(ms > 62.5 + 10 && ms < 62.5 + 10 + 5, "%.2f ms", ms);
    pull_free(&p);
    world_end(&w);
}

/* A chain of pullers that show what has landed: S/B and a chunk's time for each node. */
Test(fake_links, a_chain_costs_a_chunk_for_each_node, .timeout = 60)
{
    enum { CHAIN = 9, SIZE = 32 * MIB };
    static struct world w;
    struct pull p[CHAIN] = {0};
    linked(&w, CHAIN);
    for (unsigned i = 0; i < CHAIN; i++) {
        world_object(&w, i, SIZE);
    }
    struct transport_peer *peer[CHAIN];
    for (unsigned i = 1; i < CHAIN; i++) {
        peer[i] = world_join(&w, i, i - 1);
    }
    uint64_t begin = fake_net_now_ns(w.net);
    w.nodes[0].ready = SIZE;
    for (unsigned i = 1; i < CHAIN; i++) {
        struct transport_source source = {.object = {GROWING}, .size = SIZE};
        memset(w.nodes[i].object, 0, SIZE);
        cr_assert_eq(transport_pull(peer[i], &source, w.nodes[i].object, &p[i].xfer),
                     MOB_OK);
    }
    while (p[CHAIN - 1].calls == 0) {
        world_step(&w);
        for (unsigned i = 1; i < CHAIN; i++) {
            struct node *n = &w.nodes[i];
            if (n->ready != p[i].landed) {
                n->ready = p[i].landed;
                for (unsigned k = 0; k < EXPORTS; k++) {
                    if (n->shown[k].base != NULL) {
                        transport_grown(n->shown_to[k], n->shown[k].cookie);
                    }
                }
            }
        }
    }
    cr_assert_eq(memcmp(w.nodes[CHAIN - 1].object, w.nodes[0].object, SIZE), 0);
    near((double)(fake_net_now_ns(w.net) - begin) / 1e6, ms_of(32 + CHAIN - 2));
    world_end(&w);
}

/* ---- timers and size
 * ---------------------------------------------------------------------- */

static unsigned order[64], fired_count;
static struct fake_timer timers[64];

static void fired(struct fake_timer *timer)
{
    order[fired_count++] = (unsigned)(timer - timers);
}

Test(fake_net, timers_fire_by_time_then_by_start, .timeout = 10)
{
    struct fake_net *net;
    cr_assert_eq(fake_net_create(1, &net), MOB_OK);
    for (unsigned i = 0; i < 64; i++) {
        fake_net_timer_start(net, &timers[i], (i * 37) % 16, fired);
    }
    for (unsigned i = 0; i < 64; i += 3) {
        fake_net_timer_stop(net, &timers[i]);
        fake_net_timer_stop(net, &timers[i]);
    }
    fake_net_timer_start(net, &timers[1], 100, fired); /* moved to the end */
    uint64_t before = 0;
    while (fake_net_step(net)) {
        cr_assert_geq(fake_net_now_ns(net), before);
        before = fake_net_now_ns(net);
    }
    cr_assert_eq(fired_count, 42);
    for (unsigned i = 1; i < fired_count; i++) {
        unsigned a = order[i - 1], b = order[i], ta = a * 37 % 16, tb = b * 37 % 16;
        cr_assert(b == 1 || ta < tb || (ta == tb && a < b), "%u before %u", a, b);
    }
    cr_assert_eq(order[fired_count - 1], 1);
    fake_net_destroy(net);
}

enum { MANY = 1100 };

static struct {
    unsigned ups, downs, done, closed;
    uint8_t bytes[MANY];
} many;

static void many_up(void *arg, struct transport_peer *peer,
                    const struct transport_peer_info *info)
{
    static struct transport_xfer xfers[MANY];
    struct transport_source source = {.object = {1}, .size = 1};
    (void)arg;
    if (info->dialed) {
        cr_assert_eq(
            transport_pull(peer, &source, &many.bytes[many.ups], &xfers[many.ups]),
            MOB_OK);
        many.ups++;
    }
}
static void many_down(void *arg, struct transport_peer *peer, mob_status status,
                      const char *reason)
{
    (void)arg, (void)peer, (void)status, (void)reason;
    many.downs++;
}
static mob_status many_export(void *arg, struct transport_peer *peer,
                              const uint8_t object[TRANSPORT_OBJECT_BYTES],
                              struct transport_export *ret)
{
    (void)arg, (void)peer, (void)object;
    *ret = (struct transport_export){.base = "m", .size = 1};
    return MOB_OK;
}
static void many_unexport(void *arg, struct transport_peer *peer,
                          const struct transport_export *exported)
{
    (void)arg, (void)peer, (void)exported;
}
static void many_done(void *arg, struct transport_xfer *xfer, mob_status status)
{
    (void)arg, (void)xfer;
    many.done += status == MOB_OK;
}
static void many_closed(void *arg)
{
    (void)arg;
    many.closed++;
}

/* All to the first: a step is not slower for there being many. */
Test(fake_net, a_thousand_nodes, .timeout = 30)
{
    static const struct transport_user user = {.peer_up = many_up,
                                               .peer_down = many_down,
                                               .export = many_export,
                                               .unexport = many_unexport,
                                               .pull_done = many_done,
                                               .closed = many_closed};
    static struct transport *tp[MANY];
    struct transport_peer *peer;
    struct addr addr, first;
    struct fake_net *net;
    unsigned steps = 0;
    cr_assert_eq(fake_net_create(3, &net), MOB_OK);
    for (unsigned i = 0; i < MANY; i++) {
        struct transport_config config = {.net = net, .user = &user, .node_id = i + 1};
        cr_assert_eq(addr_parse("127.0.0.1:0", ADDR_LISTEN, &addr), MOB_OK);
        cr_assert_eq(transport_fake.open(&config, &tp[i]), MOB_OK);
        cr_assert_eq(transport_listen(tp[i], &addr, i == 0 ? &first : &addr), MOB_OK);
        if (i != 0) {
            cr_assert_eq(transport_connect(tp[i], &first, NULL, &peer), MOB_OK);
        }
    }
    for (; many.done != MANY - 1; steps++) {
        cr_assert(fake_net_step(net));
    }
    for (unsigned i = 0; i < MANY; i++) {
        transport_close(tp[i]);
    }
    while (fake_net_step(net)) {
        steps++;
    }
    cr_assert(many.closed == MANY && many.downs == 2 * (MANY - 1));
    cr_assert_lt(steps, 20 * MANY);
    fake_net_destroy(net);
}
