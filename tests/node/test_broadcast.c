/* test_broadcast.c - one object to many nodes that all want it at once, on a network of a known speed: how
 * long it takes, and that every node which lives has it in the end, whoever dies meanwhile. And arrays of many nodes
 * that are added up along a chain of them.
 *
 * What decides is the daemon's own code, scheduler/spread.c and runtime/node/copy.c; the nodes here have no jobs.
 *
 *   test_broadcast [N]    up to N nodes, 1024 by default */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "core/limits.h"
#include "core/loop.h"
#include "core/status.h"
#include "scheduler/spread.h"
#include "transport/fake.h"

#define MUST(what)                                                                       \
    do {                                                                                 \
        if (!(what)) {                                                                   \
            fprintf(stderr, "%s:%d: %s: does not hold; %s\n", __FILE__, __LINE__, #what, \
                    now_at);                                                             \
            abort();                                                                     \
        }                                                                                \
    } while (0)

enum { MAX = 1025, OWNER = 0, PART = 512 };
#define SPEED 1000000000ull /* bytes a second */
#define LINK 77u

enum state { IDLE, REACHING, PULLING, REDIRECTED, WHOLE, DEAD };
enum op { SOURCE = 1, COPY };
struct words { /* a message */
    uint64_t op, a, b;
};

struct node {
    struct transport *tp;
    struct addr addr;
    struct transport_peer **peers; /* by node; NULL: not connected */
    uint8_t *dialing;
    struct copy copy;
    struct copy_fold fold;         /* what is added to what comes */
    struct copy_export exports[8]; /* by cookie - 1; peer NULL: free */
    uint64_t asked, landed, target, last;
    enum state state;
    struct fake_timer timer;
    uint64_t deaths_seen;
};

static char now_at[160];
static struct fake_net *net;
static struct node *nodes;
static struct spread *spread;
static uint8_t *object;
static uint64_t size, questions, done_ns;
static uint32_t count, depth, width, dead;

static uint32_t index_of(const struct node *n)
{
    return (uint32_t)(n - nodes);
}

static const struct spread_object name_of_it = {1, LINK};

/* ---- a node that wants it --------------------------------------------------------------------------- */

static void dial(struct node *n, uint32_t to)
{
    struct transport_peer *peer;
    if (!n->dialing[to]) {
        n->dialing[to] = 1;
        MUST(transport_connect(n->tp, &nodes[to].addr, (void *)(uintptr_t)(to + 1),
                               &peer) == MOB_OK);
    }
}

/* From the target: the owner, or the node that it named. */
static void go(struct node *n)
{
    struct wire_name name = {.kind = n->target ? WIRE_COPIED : WIRE_ARGUMENT,
                             .job = name_of_it.job,
                             .link = LINK};
    struct transport_peer *peer = n->peers[n->target];
    n->state = REACHING;
    if (!peer) {
        dial(n, (uint32_t)n->target);
        return;
    }
    if (n->target) {
        name.node = nodes[OWNER].tp->config.node_id;
    } else {
        copy_ask(&n->copy, &name, ++questions, index_of(n) + 1);
    }
    n->state = PULLING;
    n->last = 0;
    MUST(copy_pull(&n->copy, peer, n->target ? n->target + 1 : 0, &name) == MOB_OK);
}

static void ask(struct node *n)
{
    n->target = OWNER;
    go(n);
}

static void go_on(struct node *n)
{
    n->target = n->copy.named - 1;
    go(n);
}

static void tell(struct node *n, uint32_t to, struct words words)
{
    if (n->peers[to]) {
        MUST(transport_send(n->peers[to], &words, sizeof words) == MOB_OK);
    }
}

static void later(struct fake_timer *timer)
{
    struct node *n = LOOP_OWNER(timer, struct node, timer);
    if (n->state != DEAD) {
        ask(n);
    }
}

/* ---- what the transport tells ------------------------------------------------------------------------ */

static void peer_up(void *arg, struct transport_peer *peer,
                    const struct transport_peer_info *info)
{
    struct node *n = arg;
    uint64_t other = info->node_id - 1;
    n->dialing[other] = info->dialed ? 0 : n->dialing[other];
    if (!n->peers[other]) {
        n->peers[other] = peer;
    }
    if (n->state == REACHING && n->target == other) {
        go(n);
    }
}

static void unreachable(struct node *n)
{
    copy_useless(&n->copy);
    ask(n);
}

static void peer_down(void *arg, struct transport_peer *peer, mob_status status,
                      const char *reason)
{
    struct node *n = arg;
    uint64_t other =
        peer->node_id ? peer->node_id - 1 : (uint64_t)(uintptr_t)peer->tag - 1;
    (void)status;
    (void)reason;
    n->dialing[other] = 0;
    if (n->peers[other] == peer) {
        n->peers[other] = NULL;
    }
    if (index_of(n) == OWNER && peer->node_id) {
        spread_node_lost(spread, peer->node_id);
    }
    if (n->state == REACHING && n->target == other) {
        unreachable(n);
    }
}

static void message(void *arg, struct transport_peer *peer, const void *data,
                    size_t bytes)
{
    struct node *n = arg;
    struct words words;
    MUST(bytes == sizeof words);
    memcpy(&words, data, sizeof words);
    if (words.op == COPY) {
        spread_whole(spread, name_of_it, peer->node_id);
    } else if (copy_answer(&n->copy, words.a, words.b) && n->state == REDIRECTED) {
        go_on(n);
    }
}

static void writable(void *arg, struct transport_peer *peer)
{
    (void)arg;
    (void)peer;
}

static mob_status export(void *arg, struct transport_peer *peer,
                         const uint8_t object_name[TRANSPORT_OBJECT_BYTES],
                         struct transport_export *ret)
{
    struct node *n = arg;
    struct wire_name name;
    struct spread_view v;
    MUST(wire_get_name(object_name, &name) && name.link == LINK);
    *ret = (struct transport_export){.base = object, .size = size, .cookie = 1000};
    if (name.kind == WIRE_ARGUMENT) {
        uint64_t self = n->tp->config.node_id,
                 to = spread_ask(spread, name_of_it, size, peer->node_id, name.node);
        MUST(spread_view(spread, name_of_it, peer->node_id, &v) == MOB_OK);
        MUST(v.source == to);
        depth = v.depth > depth ? v.depth : depth;
        width = v.width > width ? v.width : width;
        if (to == self) {
            ret->cookie += peer->node_id;
            return MOB_OK;
        }
        tell(n, (uint32_t)peer->node_id - 1, (struct words){SOURCE, name.word, to});
        return MOB_ERR_EXISTS;
    }
    for (uint64_t i = 0; i < 8 && n->state != IDLE; i++) {
        if (!n->exports[i].peer) {
            ret->cookie = i + 1;
            copy_export(&n->copy, &n->exports[i], peer, ret);
            return MOB_OK;
        }
    }
    return MOB_ERR_NOT_FOUND;
}

static void unexport(void *arg, struct transport_peer *peer,
                     const struct transport_export *exported)
{
    struct node *n = arg;
    (void)peer;
    if (exported->cookie <= 8) {
        copy_unexport(&n->exports[exported->cookie - 1]);
        n->exports[exported->cookie - 1].peer = NULL;
    }
}

static void pull_done(void *arg, struct transport_xfer *xfer, mob_status status)
{
    struct node *n = arg;
    n->landed += xfer->received - n->last;
    n->last = xfer->received;
    enum copy_next next = copy_pulled(&n->copy, status);
    if (n->state == DEAD) {
        return;
    }
    switch (next) {
    case COPY_WHOLE:
        n->state = WHOLE;
        done_ns = fake_net_now_ns(net);
        tell(n, OWNER, (struct words){COPY, 1, 0});
        return;
    case COPY_ASK:
        ask(n);
        return;
    case COPY_ELSEWHERE:
        n->state = REDIRECTED;
        if (n->copy.named) {
            go_on(n);
        }
        return;
    case COPY_LATER:
        fake_net_timer_start(net, &n->timer, fake_net_now_ns(net) + 1000, later);
        return;
    case COPY_FAILED:
        MUST(!"a copy that fails though its owner lives");
    }
}

static void landed(void *arg, struct transport_xfer *xfer)
{
    struct node *n = arg;
    n->landed += xfer->received - n->last;
    n->last = xfer->received;
    copy_landed(&n->copy);
}

static void refused(void *arg, const char *address, mob_status status, const char *reason)
{
    (void)arg;
    (void)address;
    (void)status;
    (void)reason;
}

static void closed(void *arg)
{
    ((struct node *)arg)->tp = NULL;
}

static const struct transport_user user = {.peer_up = peer_up,
                                           .peer_down = peer_down,
                                           .message = message,
                                           .writable = writable,
                                           .export = export,
                                           .unexport = unexport,
                                           .pull_done = pull_done,
                                           .landed = landed,
                                           .refused = refused,
                                           .closed = closed};

/* ---- a world ------------------------------------------------------------------------------------------------ */

static void make(uint32_t n, uint64_t bytes, uint64_t seed)
{
    struct addr any;
    MUST(fake_net_create(seed, &net) == MOB_OK);
    fake_net_delay(net, 10, 20);
    fake_net_chunk(net, PART);
    count = n + 1;
    size = bytes;
    questions = depth = width = dead = 0;
    nodes = calloc(count, sizeof *nodes);
    object = malloc(size);
    MUST(nodes && object);
    for (uint64_t i = 0; i < size; i++) {
        object[i] = (uint8_t)((i * 2654435761u) >> 13 ^ i);
    }
    MUST(spread_create(1, PART, &spread) == MOB_OK);
    MUST(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any) == MOB_OK);
    for (uint32_t i = 0; i < count; i++) {
        struct node *it = &nodes[i];
        struct transport_config config = {
            .net = net, .user = &user, .arg = it, .node_id = i + 1};
        it->peers = calloc(count, sizeof(struct transport_peer *));
        it->dialing = calloc(count, 1);
        MUST(it->peers && it->dialing);
        MUST(transport_fake.open(&config, &it->tp) == MOB_OK);
        MUST(transport_listen(it->tp, &any, &it->addr) == MOB_OK);
        fake_net_link(it->tp, SPEED, 0);
        if (i != OWNER) {
            it->copy.size = size;
            it->copy.dst = malloc(size);
            MUST(it->copy.dst);
            dial(it, OWNER);
        }
    }
    while (fake_net_step(net)) {
    }
}

static bool all_done(void)
{
    for (uint32_t i = 1; i < count; i++) {
        if (nodes[i].state != WHOLE && nodes[i].state != DEAD) {
            return false;
        }
    }
    return true;
}

/* Every node that lives has the bytes, and got each of them once. */
static void check(void)
{
    for (uint32_t i = 1; i < count; i++) {
        struct node *n = &nodes[i];
        snprintf(now_at, sizeof now_at,
                 "node %u of %u: state %d, %llu of %llu bytes, source %llu", i, count - 1,
                 (int)n->state, (unsigned long long)n->copy.ready,
                 (unsigned long long)size, (unsigned long long)n->copy.source);
        if (n->state != DEAD) {
            MUST(n->state == WHOLE);
            MUST(n->copy.ready == size && n->landed == size);
            MUST(memcmp(n->copy.dst, object, size) == 0);
        }
    }
}

static void unmake(void)
{
    for (uint32_t i = 0; i < count; i++) {
        transport_close(nodes[i].tp);
    }
    while (fake_net_step(net)) {
    }
    for (uint32_t i = 0; i < count; i++) {
        MUST(!nodes[i].tp && !nodes[i].copy.exports);
        free(nodes[i].peers);
        free(nodes[i].dialing);
        free(nodes[i].copy.dst);
    }
    free(nodes);
    free(object);
    spread_destroy(spread);
    fake_net_destroy(net);
}

static uint64_t begin_all(void)
{
    uint64_t began = fake_net_now_ns(net);
    for (uint32_t i = 1; i < count; i++) {
        ask(&nodes[i]);
    }
    return began;
}

/* Within 1.2 of what a transfer and the way through the nodes take. Where more flows than one leave a node,
 * because a chain would be longer than the object, each has its share of the node's speed. */
static void speed(uint32_t n, uint64_t parts)
{
    snprintf(now_at, sizeof now_at, "speed: %u nodes", n);
    make(n, parts * PART, 1);
    uint64_t began = begin_all();
    while (!all_done() && fake_net_step(net)) {
    }
    double took = (double)(done_ns - began), one = (double)PART * 1e9 / SPEED;
    double bound = one * (double)(parts * width + depth), tree = one * (double)parts;
    printf("%5u nodes, %4llu parts: %7.0f us, %.2f x (%u x size + %u parts), %.2f x one "
           "transfer\n",
           n, (unsigned long long)parts, took / 1e3, took / bound, width, depth,
           took / tree);
    check();
    snprintf(now_at, sizeof now_at, "%u nodes took %.0f ns, and should %.0f", n, took,
             bound);
    MUST(took <= 1.2 * bound);
    MUST(n > parts || width == 1);
    unmake();
}

/* Nodes die at random while the object spreads. */
static void deaths(uint32_t n, uint64_t parts, uint64_t seed)
{
    uint64_t random = seed;
    make(n, parts * PART, seed);
    begin_all();
    for (uint64_t step = 0; !all_done(); step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct node *victim = &nodes[1 + (random >> 33) % n];
        if ((random >> 20) % 997 == 0 && dead < n / 3 && victim->state != DEAD) {
            victim->state = DEAD;
            dead++;
            fake_net_kill(victim->tp);
        }
        snprintf(now_at, sizeof now_at, "deaths, seed %llu", (unsigned long long)seed);
        if (!fake_net_step(net)) {
            break;
        }
    }
    check();
    unmake();
}

/* ---- a chain that adds ---------------------------------------------------------------------------------------- */

static double *numbers_of(uint32_t node)
{
    double *to = malloc(size);
    MUST(to);
    for (uint64_t i = 0; i < size / sizeof *to; i++) {
        to[i] =
            (double)(node + 1) / 3 + (double)(i % 1009) * 1e-7 * (node % 2 ? 1 : -1e9);
    }
    return to;
}

/* Every node adds its array to what comes from the node before. The last has the sum within 1.3 of the time that one
 * transfer takes, and the way of one part through all of them; with the bits that one machine would get. */
static void chain(uint32_t n, uint64_t parts)
{
    const void **arrays = calloc(n + 1, sizeof *arrays);
    make(n, parts * PART, 1);
    free(object);
    object = (uint8_t *)numbers_of(OWNER);
    MUST(arrays);
    arrays[0] = object;
    for (uint32_t i = 1; i <= n; i++) {
        arrays[i] = numbers_of(i);
        nodes[i].fold = (struct copy_fold){FOLD_SUM, FOLD_F64, 1, {arrays[i]}};
        nodes[i].copy.fold = &nodes[i].fold;
        nodes[i].target = i - 1;
        dial(&nodes[i], i - 1);
    }
    while (fake_net_step(net)) {
    }
    uint64_t began = fake_net_now_ns(net);
    for (uint32_t i = 1; i <= n; i++) {
        go(&nodes[i]);
    }
    while (!all_done() && fake_net_step(net)) {
    }
    double one = (double)PART * 1e9 / SPEED, took = (double)(done_ns - began),
           bound = one * (double)(parts + n);
    printf("%5u nodes add %4llu parts: %7.0f us, %.2f x (size + %u parts), %.2f x one "
           "transfer\n",
           n, (unsigned long long)parts, took / 1e3, took / bound, n,
           took / (one * (double)parts));
    snprintf(now_at, sizeof now_at, "%u nodes took %.0f ns, and should %.0f", n, took,
             bound);
    MUST(nodes[n].state == WHOLE && nodes[n].landed == size && took <= 1.3 * bound);
    double *sum = malloc(size);
    MUST(sum);
    fold_arrays(FOLD_SUM, FOLD_F64, sum, arrays, n + 1, size / sizeof *sum);
    MUST(memcmp(sum, nodes[n].copy.dst, size) == 0);
    free(sum);
    for (uint32_t i = 1; i <= n; i++) {
        free((void *)(uintptr_t)arrays[i]);
    }
    free(arrays);
    unmake();
}

int main(int argc, char **argv)
{
    uint32_t most = argc > 1 ? (uint32_t)atoi(argv[1]) : 1024;
    static const uint32_t sizes[] = {2, 3, 4, 8, 16, 64, 256, 1024};
    MUST(most < MAX);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && sizes[i] <= most; i++) {
        speed(sizes[i], sizes[i] < 512 ? 512 : sizes[i]);
    }
    speed(most < 256 ? most : 256, 16);
    speed(most < 256 ? most : 256, 1);
    static const uint32_t chains[] = {1, 2, 7, 16, 63};
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
        chain(chains[i], 512);
        chain(chains[i], 8);
    }
    uint32_t killed = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        deaths(2 + (uint32_t)(seed * 7 % 61), 1 + seed * 13 % 200, seed);
        killed += dead;
    }
    deaths(most, 128, 99);
    printf("every node that lived had it, whichever %u died\n", killed + dead);
    return 0;
}
