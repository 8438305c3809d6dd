/* verbs over the double: what only it does. What every backend does is in
 * test_conformance.c. */
#include <sys/mman.h>

#include "verbs.h"
#include "verbs_double.h"
#include "world.h"

#define REGION (64ull << 20)

struct pair {
    struct world w;
    struct verbs_double *d;
    uint8_t *from, *to; /* REGION bytes each: of node 1, of node 0 */
    struct transport_peer *peer;
    struct pull pull;
};

static void step(struct pair *p)
{
    (void)fake_net_step(p->w.net);
    cr_assert_eq(loop_turn(p->w.loop, 0), MOB_OK);
}

#define UNTIL(p, cond)                                                                   \
    for (uint64_t n_ = 0; !(cond); n_++) {                                               \
        step(p);                                                                         \
        cr_assert(n_ < 20000000, "%s never came", #cond);                                \
    }

static uint8_t *memory(uint64_t size)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    cr_assert(at != MAP_FAILED);
    return at;
}

static struct verbs_lib counting; /* node 0's */
static int (*notify)(struct ibv_cq *cq, int solicited_only);
static unsigned notifies;

static int count_notify(struct ibv_cq *cq, int solicited_only)
{
    notifies++;
    return notify(cq, solicited_only);
}

/* Over the fake network time is virtual, over TCP the clock's. */
static void open_node(struct pair *p, unsigned i, const struct transport_ops *under,
                      enum transport_rdma rdma)
{
    struct node *n = &p->w.nodes[i];
    const struct verbs_lib *lib = verbs_double_lib(p->d, i);
    if (i == 0) {
        counting = *lib;
        notify = lib->req_notify_cq;
        counting.req_notify_cq = count_notify;
        lib = &counting;
    }
    struct transport_config config = {.loop = p->w.loop,
                                      .net = under == &transport_fake ? p->w.net : NULL,
                                      .under = under,
                                      .verbs = lib,
                                      .rdma = rdma,
                                      .user = &test_user,
                                      .arg = n,
                                      .node_id = 1000 + i,
                                      .data_connections = 1};
    struct addr any;
    n->w = &p->w;
    cr_assert_eq(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any), MOB_OK);
    cr_assert_eq(transport_verbs.open(&config, &n->tp), MOB_OK, "%s", mob_last_error());
    cr_assert_eq(transport_listen(n->tp, &any, &n->addr), MOB_OK);
}

static void make(struct pair *p, const struct transport_ops *under,
                 enum transport_rdma rdma)
{
    memset(p, 0, sizeof *p);
    p->w.backend = &world_fake; /* no memory of its own is looked after */
    cr_assert_eq(loop_create(0, &p->w.loop), MOB_OK);
    cr_assert_eq(fake_net_create(11, &p->w.net), MOB_OK);
    p->d = verbs_double_create(p->w.net, 5);
    open_node(p, 0, under, rdma);
    open_node(p, 1, under, rdma);
    p->to = memory(REGION);
    p->from = memory(REGION);
    for (uint64_t k = 0; k < REGION; k++) {
        p->from[k] = (uint8_t)(k * 131 + (k >> 13));
    }
    cr_assert_eq(transport_map(p->w.nodes[0].tp, p->to, REGION, true), MOB_OK);
    cr_assert_eq(transport_map(p->w.nodes[1].tp, p->from, REGION, false), MOB_OK);
    p->w.nodes[1].object = p->from;
    p->w.nodes[1].object_size = REGION;
    cr_assert_eq(transport_connect(p->w.nodes[0].tp, &p->w.nodes[1].addr, NULL, &p->peer),
                 MOB_OK);
    UNTIL(p, p->w.nodes[0].ups == 1 && p->w.nodes[1].ups == 1);
}

static void begin(struct pair *p, uint64_t offset, uint64_t size)
{
    struct transport_source source = {.object = {1}, .offset = offset, .size = size};
    p->pull.calls = 0;
    p->pull.landed = 0;
    memset(p->to, 0xaa, REGION);
    cr_assert_eq(transport_pull(p->peer, &source, p->to + 64, &p->pull.xfer), MOB_OK);
}

static void end(struct pair *p)
{
    struct verbs_double_count count, none = {0};
    for (unsigned i = 0; i < 2; i++) {
        transport_close(p->w.nodes[i].tp);
    }
    UNTIL(p, p->w.nodes[0].closed && p->w.nodes[1].closed);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(p->w.nodes[i].pins, 0);
        verbs_double_count(p->d, i, &count);
        cr_assert_eq(memcmp(&count, &none, sizeof none), 0, "a device is not let go of");
    }
    verbs_double_destroy(p->d);
    fake_net_destroy(p->w.net);
    loop_destroy(p->w.loop);
    munmap(p->to, REGION);
    munmap(p->from, REGION);
}

static struct transport_stats figures(const struct pair *p)
{
    struct transport_stats stats;
    transport_stats(p->peer, &stats);
    return stats;
}

static void pull_well(struct pair *p, uint64_t offset, uint64_t size)
{
    begin(p, offset, size);
    UNTIL(p, p->pull.calls != 0);
    cr_assert_eq(p->pull.status, MOB_OK);
    cr_assert_eq(p->pull.xfer.received, size);
    cr_assert_eq(memcmp(p->to + 64, p->from + offset, size), 0);
    cr_assert(p->to[63] == 0xaa && p->to[64 + size] == 0xaa, "wrote beside it");
    UNTIL(p, p->w.nodes[1].pins == 0);
}

static void reads(enum transport_rdma rdma)
{
    static const uint64_t sizes[] = {
        1, 4096, 4097, CHUNK_BYTES, CHUNK_BYTES + 1, 40ull << 20, 9000000};
    struct pair p;
    uint64_t total = 0;
    make(&p, &transport_fake, rdma);
    pull_well(&p, 0, 1 << 20); /* waits for the link */
    total = 1 << 20;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pull_well(&p, 12345, sizes[i]);
        total += sizes[i];
    }
    struct transport_stats stats = figures(&p);
    cr_assert_str_eq(stats.carrier, "verbs", "%s", stats.why);
    cr_assert_eq(stats.pulled_bytes, total);
    cr_assert_eq(stats.rdma_bytes, total - 4097, "%s", stats.why);
    cr_assert_eq(stats.fallbacks + stats.retries + stats.damaged, 0);
    end(&p);
}

Test(verbs, objects_are_read)
{
    reads(TRANSPORT_RDMA_AUTO);
}

Test(verbs, objects_are_read_through_windows_in_strict_mode)
{
    reads(TRANSPORT_RDMA_STRICT);
}

/* Who turns the loop without sleeping finds completions in memory, and has the device wake nobody;
 * who sleeps is woken. */
Test(verbs, who_polls_asks_for_no_events, .timeout = 60)
{
    enum { MESSAGES = 5 };
    struct pair p;
    make(&p, &transport_tcp, TRANSPORT_RDMA_AUTO);
    pull_well(&p, 0, 1 << 20);
    unsigned before = notifies;
    int came = p.w.nodes[0].messages;
    for (int i = 1; i <= MESSAGES; i++) {
        uint64_t rest = clock_now_ns() + 2 * VERBS_POLL_NS;
        while (clock_now_ns() < rest) {
            step(&p);
        }
        uint64_t sent = verbs_double_messages(p.d);
        cr_assert_eq(transport_send(p.w.nodes[1].peers[0], "x", 1), MOB_OK);
        UNTIL(&p, p.w.nodes[0].messages == came + i);
        cr_assert_gt(verbs_double_messages(p.d), sent, "it did not go over RDMA");
    }
    cr_assert_eq(notifies, before, "%u events asked for while polling",
                 notifies - before);
    while (notifies == before) {
        cr_assert_eq(loop_turn(p.w.loop, NS_PER_MS), MOB_OK);
    }
    end(&p);
}
