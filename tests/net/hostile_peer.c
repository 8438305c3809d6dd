/* hostile_peer.c - a peer that has the cluster's key and talks nonsense to a daemon.
 *
 *   hostile_peer HOST:PORT KEY_FILE SEED SESSIONS
 *
 * Each session is a connection of its own, on which true and harmed messages go out until the
 * daemon hangs up, and at last one that cannot be taken. Exit status 0: it hung up each time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/status.h"
#include "messages.h"

enum { MESSAGES = 12, LIMIT_MS = 20000 };

static struct loop *loop;
static struct transport *transport;
static struct draft m;
static struct facts f;
static struct transport_peer *peer; /* while it is up */
static bool ended, closed;
static mob_status how_it_ended;
static unsigned long sent;

static void up(void *arg, struct transport_peer *p, const struct transport_peer_info *i)
{
    (void)arg;
    (void)i;
    peer = p;
}

static void down(void *arg, struct transport_peer *p, mob_status st, const char *reason)
{
    (void)arg;
    (void)p;
    (void)reason;
    peer = NULL;
    ended = true;
    how_it_ended = st;
}

/* What a member learns makes for messages that come further. */
static void message(void *arg, struct transport_peer *p, const void *data, size_t size)
{
    struct codec_reader r;
    (void)arg;
    (void)p;
    codec_reader_init(&r, data, size);
    enum wire_op op = (enum wire_op)codec_get_u8(&r);
    if (op == WIRE_GRANT) {
        f.lease = codec_get_u64(&r);
        f.epoch = codec_get_u32(&r);
    } else if (op == WIRE_NODE) {
        f.node = codec_get_u64(&r);
    }
}

static void writable(void *arg, struct transport_peer *p)
{
    (void)arg;
    (void)p;
}

static mob_status show(void *arg, struct transport_peer *p,
                       const uint8_t name[TRANSPORT_OBJECT_BYTES],
                       struct transport_export *ret)
{
    static uint8_t nonsense[4096];
    (void)arg;
    (void)p;
    (void)name;
    ret->base = nonsense;
    ret->size = sizeof nonsense;
    return dice(&f, 3) ? MOB_OK : MOB_ERR_NOT_FOUND;
}

static void unshow(void *arg, struct transport_peer *p, const struct transport_export *e)
{
    (void)arg;
    (void)p;
    (void)e;
}

static void pulled(void *arg, struct transport_xfer *xfer, mob_status st)
{
    (void)arg;
    (void)xfer;
    (void)st;
}

static void refused(void *arg, const char *address, mob_status st, const char *reason)
{
    (void)arg;
    (void)address;
    (void)st;
    (void)reason;
}

static void over(void *arg)
{
    (void)arg;
    closed = true;
}

static const struct transport_user user = {.peer_up = up,
                                           .peer_down = down,
                                           .message = message,
                                           .writable = writable,
                                           .export = show,
                                           .unexport = unshow,
                                           .pull_done = pulled,
                                           .refused = refused,
                                           .closed = over};

static void broken(const char *what)
{
    fprintf(stderr, "hostile_peer: seed %s: %s (%s)\n", getenv("SEED"), what,
            mob_last_error());
    exit(1);
}

static void turn_until(const bool *what, struct transport_peer *const *or_this)
{
    uint64_t until = clock_now_ns() + LIMIT_MS * NS_PER_MS;
    while (!*what && (!or_this || !*or_this)) {
        if (loop_turn(loop, 10 * NS_PER_MS) != MOB_OK || clock_now_ns() > until) {
            broken("the daemon neither answers nor hangs up");
        }
    }
}

static void know(void)
{
    f.key = (struct plan_job){f.self, 1 + (uint32_t)dice(&f, 3)};
    f.cls = (uint32_t)dice(&f, 2);
    f.job = 1 + (uint32_t)dice(&f, 3);
    f.slot = (uint32_t)dice(&f, 8);
    /* A name that nobody has: else a made-up result could be taken for a task's. */
    f.link = dice(&f, UINT64_MAX) | 1ull << 63;
    f.proxy_link = dice(&f, UINT64_MAX);
    f.units = CPU_UNITS;
}

static void say(enum wire_op op, bool harm)
{
    know();
    f.units = op == WIRE_JOIN ? 0 : f.units; /* a member that no task is sent to */
    message_make(&m, &f, op);
    if (harm) {
        message_harm(&m, &f, (enum harm)dice(&f, HARMS));
    }
    /* A true goodbye ends a session without a complaint. */
    bool goodbye = m.size == 1 && m.bytes[0] == WIRE_GOODBYE;
    if (peer && !goodbye && transport_send(peer, m.bytes, m.size) == MOB_OK) {
        sent++;
    }
}

static void session(const char *address)
{
    static const uint8_t nothing = 0;
    struct transport_peer *dialed;
    struct addr addr;
    ended = false;
    if (addr_parse(address, ADDR_CONNECT, &addr) != MOB_OK ||
        transport_connect(transport, &addr, NULL, &dialed) != MOB_OK) {
        broken("no connection");
    }
    turn_until(&ended, &peer);
    if (!peer) {
        broken("the daemon does not take the connection");
    }
    say(WIRE_JOIN, dice(&f, 4) == 0); /* which a node that is no head does not take */
    for (uint32_t i = 0; peer && i < MESSAGES; i++) {
        say((enum wire_op)(1 + dice(&f, WIRE_OPS - 1)), dice(&f, 2));
        if (loop_turn(loop, dice(&f, 3) * NS_PER_MS) != MOB_OK) {
            broken("the loop");
        }
    }
    if (peer) {
        (void)transport_send(peer, &nothing, 1);
    }
    turn_until(&ended, NULL);
    if (how_it_ended != MOB_ERR_CLOSED && how_it_ended != MOB_ERR_PEER_LOST) {
        broken(mob_status_text(how_it_ended));
    }
}

int main(int argc, char **argv)
{
    struct transport_config config = {.user = &user};
    if (argc != 5 || loop_create(0, &loop) != MOB_OK ||
        key_load(argv[2], false, &config.key) != MOB_OK) {
        fprintf(stderr, "hostile_peer: HOST:PORT KEY_FILE SEED SESSIONS (%s)\n",
                mob_last_error());
        return 2;
    }
    setenv("SEED", argv[3], 1);
    f.dice = strtoull(argv[3], NULL, 0);
    f.exe_size = f.start_size = 4096;
    config.loop = loop;
    config.rdma =
        TRANSPORT_RDMA_OFF; /* what it says is for daemons, not their transport */
    unsigned long sessions = strtoul(argv[4], NULL, 0);
    for (unsigned long i = 0; i < sessions; i++) {
        f.self = 1 + dice(&f, 1ull << 39); /* another incarnation each time */
        f.head = f.session = f.self;
        config.node_id = f.self;
        closed = false;
        if (transport_verbs.open(&config, &transport) != MOB_OK) {
            broken("no transport");
        }
        session(argv[1]);
        transport_close(transport);
        turn_until(&closed, NULL);
    }
    loop_destroy(loop);
    printf("%lu sessions, %lu messages\n", sessions, sent);
    return 0;
}
