/* Everything at random, drawn from a seed: three nodes that pull from one another, send,
 * cancel, revoke, leave and come back, while their devices fail in every way. Whatever
 * comes, it comes once, in order, and as it was. MOB_TEST_SEED replays one seed alone. */
#include "conforms.h"

enum { OF = 3, PULLS = 6, OBJECT = 3 * CHUNK_BYTES + 99, ROUNDS = 120 };

struct soak {
    struct world w;
    uint64_t random, seed;
    struct pull pulls[OF][PULLS];
    struct transport_source asked[OF][PULLS];
    unsigned source[OF][PULLS]; /* whose object */
    bool busy[OF][PULLS];
};

/* splitmix64 */
static uint64_t draw(struct soak *s)
{
    uint64_t x = s->random += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static struct transport_peer *a_peer(struct soak *s, unsigned node)
{
    struct node *n = &s->w.nodes[node];
    unsigned first = (unsigned)(draw(s) % PEERS);
    for (unsigned i = 0; i < PEERS; i++) {
        struct transport_peer *peer = n->peers[(first + i) % PEERS];
        if (peer != NULL) {
            return peer;
        }
    }
    return NULL;
}

static void check_pulls(struct soak *s)
{
    for (unsigned n = 0; n < OF; n++) {
        for (unsigned i = 0; i < PULLS; i++) {
            struct pull *p = &s->pulls[n][i];
            const struct transport_source *of = &s->asked[n][i];
            if (!s->busy[n][i] || p->calls == 0) {
                continue;
            }
            s->busy[n][i] = false;
            cr_assert(p->status != MOB_OK ||
                          memcmp(p->dst, s->w.nodes[s->source[n][i]].object + of->offset,
                                 of->size) == 0,
                      "seed %lu: wrong bytes", (unsigned long)s->seed);
            cr_assert(p->status == MOB_OK || p->status == MOB_ERR_CANCELLED ||
                          p->status == MOB_ERR_LOST || p->status == MOB_ERR_CLOSED ||
                          p->status == MOB_ERR_PEER_LOST,
                      "seed %lu: %d", (unsigned long)s->seed, p->status);
        }
    }
}

static void pull(struct soak *s, unsigned node)
{
    unsigned i = (unsigned)(draw(s) % PULLS);
    struct transport_peer *peer = a_peer(s, node);
    struct pull *p = &s->pulls[node][i];
    if (peer == NULL || s->busy[node][i]) {
        return;
    }
    struct transport_source *of = &s->asked[node][i];
    *of = (struct transport_source){.object = {WHOLE}};
    of->offset = draw(s) % OBJECT;
    of->size = draw(s) % 4 == 0 ? OBJECT - of->offset : draw(s) % (OBJECT - of->offset);
    s->source[node][i] = (unsigned)(peer->node_id - 1000);
    pull_make(p, peer, OBJECT);
    if (transport_pull(peer, of, p->dst, &p->xfer) == MOB_OK) {
        s->busy[node][i] = true;
    }
}

static void fault(struct soak *s)
{
    struct verbs_double_fault f = {.kind = (enum verbs_fault_kind)(draw(s) % 8),
                                   .host = (int)(draw(s) % (OF + 1)) - 1,
                                   .which = 1 + (unsigned)(draw(s) % VERBS_ANY),
                                   .after = draw(s) % 12,
                                   .delay_ns = 1ull << draw(s) % 35};
    f.status = (enum ibv_wc_status)(1 + draw(s) % IBV_WC_GENERAL_ERR);
    if (f.kind == VERBS_DEVICE_FATAL && draw(s) % 4) {
        f.kind = VERBS_QP_DIES; /* a device that is dead makes the rest dull */
    }
    verbs_double_calm(s->w.d);
    verbs_double_fault(s->w.d, &f);
}

static void reconnect(struct soak *s, unsigned node)
{
    unsigned other = (node + 1 + (unsigned)(draw(s) % (OF - 1))) % OF;
    struct transport_peer *peer = a_peer(s, node);
    if (peer != NULL && draw(s) % 2) {
        transport_disconnect(peer);
    }
    cr_assert_eq(
        transport_connect(s->w.nodes[node].tp, &s->w.nodes[other].addr, NULL, &peer),
        MOB_OK);
}

static void act(struct soak *s)
{
    unsigned node = (unsigned)(draw(s) % OF), i = (unsigned)(draw(s) % PULLS);
    struct node *n = &s->w.nodes[node];
    struct transport_peer *peer;
    switch (draw(s) % 16) {
    case 0:
        fault(s);
        return;
    case 1:
        if (s->busy[node][i]) {
            transport_cancel(&s->pulls[node][i].xfer);
        }
        return;
    case 2:
        for (unsigned k = 0; k < EXPORTS; k++) {
            if (n->shown[k].base != NULL) {
                transport_revoke(n->shown_to[k], n->shown[k].cookie, MOB_ERR_LOST);
                return;
            }
        }
        return;
    case 3:
        verbs_double_port_up(s->w.d, node, 0);
        return;
    case 4:
        if (draw(s) % 4 == 0) {
            reconnect(s, node);
        }
        return;
    case 5:
        peer = a_peer(s, node);
        for (unsigned k = draw(s) % 20; peer != NULL && k != 0; k--) {
            world_say(n, peer);
        }
        return;
    default:
        pull(s, node);
        return;
    }
}

/* Time enough for every deadline of the backend. */
static void settle(struct soak *s)
{
    for (unsigned n = 0; n < OF; n++) {
        for (unsigned i = 0; i < PULLS; i++) {
            WORLD_UNTIL(&s->w, !s->busy[n][i] || s->pulls[n][i].calls != 0);
        }
    }
    check_pulls(s);
    for (unsigned n = 0; n < OF; n++) {
        WORLD_UNTIL(&s->w, s->w.nodes[n].pins == 0);
    }
}

static uint64_t moved; /* bytes, by RDMA */

static void soak(uint64_t seed)
{
    static struct soak s;
    memset(&s, 0, sizeof s);
    s.seed = s.random = world_seed = seed;
    fprintf(stderr, "replay: MOB_TEST_SEED=%lu\n", (unsigned long)seed);
    world_over(&s.w, seed % 2 ? &over_verbs_fake : &over_verbs_strict, OF);
    fake_net_delay(s.w.net, 0, 1ull << draw(&s) % 22);
    for (unsigned n = 0; n < OF; n++) {
        world_object(&s.w, n, OBJECT);
        world_join(&s.w, n, (n + 1) % OF);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        act(&s);
        world_turn(&s.w, (unsigned)(draw(&s) % 30));
        check_pulls(&s);
    }
    if (draw(&s) % 2) {
        settle(&s);
    }
    moved += verbs_double_read_bytes(s.w.d);
    world_end(&s.w);
    for (unsigned n = 0; n < OF; n++) {
        for (unsigned i = 0; i < PULLS; i++) {
            cr_assert(!s.busy[n][i] || s.pulls[n][i].calls == 1,
                      "pull_done did not come");
            pull_free(&s.pulls[n][i]);
        }
    }
}

Test(verbs_soak, everything_at_random, .timeout = 280)
{
    const char *one = getenv("MOB_TEST_SEED");
    uint64_t seeds = getenv("MOB_TEST_FULL") != NULL ? 1500 : 60;
    if (one != NULL) {
        soak(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        soak(seed);
    }
    cr_assert_gt(moved / seeds, OBJECT, "RDMA was hardly used");
}
