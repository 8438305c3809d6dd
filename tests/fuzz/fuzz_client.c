/* What a process of the same user sends to the node's own socket. Input: messages, each a length (2 bytes)
 * and as many bytes; they go to a node as from one client, which is gone afterwards. The node is a real
 * one (node_world.h), and must have no connection left then. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "fuzz.h"
#include "local.h"
#include "node_world.h"

const unsigned fuzz_rounds = 1500;

enum { SESSIONS = 2000 /* of one world */, LIMIT_S = 20 };

static struct world w;
static unsigned sessions;

static void end(void)
{
    if (sessions) {
        world_end(&w);
        sessions = 0;
    }
}

static void begin(void)
{
    static bool first = true;
    if (first) {
        first = false;
        atexit(end);
    }
    if (sessions == SESSIONS) { /* jobs' numbers are not used again for ever */
        end();
    }
    if (sessions++ == 0) {
        world_make(&w, true);
    }
}

/* A tool may stop its own node, and read files of its own: neither is a parser's business. */
static bool fit(const uint8_t *bytes, size_t size)
{
    struct local_msg head = {0};
    memcpy(&head, bytes, size < LOCAL_HEAD_BYTES ? size : LOCAL_HEAD_BYTES);
    return head.op != LOCAL_STOP && memmem(bytes, size, "put", 3) == NULL;
}

static void turn(int sock)
{
    uint8_t bytes[sizeof(struct local_msg)];
    world_turn(&w);
    while (recv(sock, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    begin();
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
    FUZZ_CHECK(conn_open(&w.node, fds[0], NULL) == MOB_OK);
    for (size_t at = 0; at + 2 <= size;) {
        size_t n = data[at] | (size_t)data[at + 1] << 8;
        at += 2;
        n = n < size - at ? n : size - at;
        if (n && fit(data + at, n)) {
            (void)!send(fds[1], data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
            turn(fds[1]);
        }
        at += n;
    }
    turn(fds[1]);
    close(fds[1]);
    /* A process that checks objects has our end too, until it is done. */
    for (uint64_t until = clock_now_ns() + LIMIT_S * NS_PER_S;
         w.node.conns && clock_now_ns() < until;) {
        world_turn(&w);
    }
    FUZZ_CHECK(w.node.conns == NULL && w.node.silent == 0);
    return 0;
}

/* ---- seeds ------------------------------------------------------------------------------------------ */

static uint8_t seed[1 << 15];
static size_t used;

static void add(enum local_op op, const uint64_t arg[6], const char *text)
{
    struct local_msg m;
    local_msg_init(&m, op);
    if (arg) {
        memcpy(m.arg, arg, sizeof m.arg);
    }
    if (text) {
        local_msg_text(&m, text);
    }
    size_t n = LOCAL_HEAD_BYTES + m.text_size;
    seed[used++] = (uint8_t)n;
    seed[used++] = (uint8_t)(n >> 8);
    memcpy(seed + used, &m, n);
    used += n;
}

static void hello(enum local_role role)
{
    const uint64_t arg[6] = {LOCAL_MAGIC, LOCAL_VERSION, 1, role, 100};
    used = 0;
    add(LOCAL_HELLO, arg, role == LOCAL_DRIVER ? "job" : NULL);
}

void fuzz_seeds(fuzz_give give)
{
    static const char *const asks[] = {
        "{\"what\":\"stat\"}",
        "{\"what\":\"ls\",\"limit\":10}",
        "{\"what\":\"sums\"}",
        "{\"what\":\"leaks\"}",
        "{\"what\":\"show\",\"id\":\"1-2-3\"}",
        "{\"what\":\"bytes\",\"id\":\"1-2-3\",\"offset\":0,\"size\":10}",
        "{\"what\":\"rm\",\"ids\":[\"1-2\"]}",
        "{\"what\":\"copy\",\"id\":\"1-2\",\"node\":\"1\"}",
        "{\"what\":\"spill\",\"bytes\":100}",
        "{\"what\":\"evict\",\"bytes\":100}",
        "{\"what\":\"busy\"}",
        "{\"what\":\"digest\"}",
        "{\"what\":\"verify\"}",
        "{\"what\":\"ping\"}",
        "{\"what\":\"stat\",\"node\":\"77\"}"};
    static const enum local_op programs[] = {
        LOCAL_GRANT, LOCAL_COMMITTED, LOCAL_GIVE, LOCAL_MAP,     LOCAL_RESTORE,
        LOCAL_WHY,   LOCAL_CLASS,     LOCAL_INFO, LOCAL_RECORDS, LOCAL_LEAVE};
    const uint64_t more[6] = {1};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        hello(LOCAL_TOOL);
        add(LOCAL_STORE, NULL, asks[i]);
        add(LOCAL_STORE, more, NULL);
        give(seed, used);
    }
    hello(LOCAL_TOOL);
    add(LOCAL_STATUS, NULL, NULL);
    add(LOCAL_STATUS, more, NULL);
    add(LOCAL_CLUSTER, NULL, NULL);
    give(seed, used);
    for (enum local_role role = LOCAL_DRIVER; role <= LOCAL_WORKER; role++) {
        hello(role);
        for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
            add(programs[i], more, NULL);
        }
        give(seed, used);
    }
}
