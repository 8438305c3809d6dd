/* How fast a way to a node is. This program is a peer for a moment, with the cluster's key: it asks
 * the node for nothing, over and over, and pulls the bytes that a node has for such measurements. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "check.h"
#include "core/clock.h"
#include "core/codec.h"
#include "core/loop.h"
#include "core/status.h"
#include "wire.h"

enum {
    PINGS = 200,
    PINGS_UNCOUNTED = 20, /* at first */
    PULLS_AT_ONCE = 2,
    PULLS = 128,
    LIMIT_S = 10 /* of each part */
};
#define PULLS_NS (1000000000ull) /* no further ones are begun then */
#define WARM_NS (6000000000ull)  /* for RDMA to come up */

struct probe {
    struct loop *loop;
    struct transport *tp;
    struct transport_peer *peer;
    bool up, down, closed, answered;
    uint64_t cookie;
    uint8_t *memory; /* PULLS_AT_ONCE * WIRE_PROBE_BYTES */
    struct transport_xfer xfers[PULLS_AT_ONCE];
    unsigned begun, done;
    mob_status pulled;
    struct check_way *way;
};

/* ---- what the transport says ---------------------------------------------------------------------- */

static void peer_up(void *arg, struct transport_peer *peer,
                    const struct transport_peer_info *info)
{
    struct probe *p = arg;
    (void)peer;
    (void)info;
    p->up = true;
}

static void peer_down(void *arg, struct transport_peer *peer, mob_status status,
                      const char *reason)
{
    struct probe *p = arg;
    (void)peer;
    p->down = true;
    p->peer = NULL;
    if (p->way->status == MOB_OK) {
        p->way->status = status;
        snprintf(p->way->reason, sizeof p->way->reason, "%s", reason);
    }
}

static void message(void *arg, struct transport_peer *peer, const void *data, size_t size)
{
    struct probe *p = arg;
    struct codec_reader r;
    (void)peer;
    codec_reader_init(&r, data, size);
    p->answered |=
        codec_get_u8(&r) == WIRE_TOLD && codec_get_u64(&r) == p->cookie && r.ok;
}

static void writable(void *arg, struct transport_peer *peer)
{
    (void)arg;
    (void)peer;
}

static mob_status show(void *arg, struct transport_peer *peer,
                       const uint8_t object[TRANSPORT_OBJECT_BYTES],
                       struct transport_export *ret)
{
    (void)arg;
    (void)peer;
    (void)object;
    (void)ret;
    return MOB_ERR_NOT_FOUND;
}

static void unshow(void *arg, struct transport_peer *peer,
                   const struct transport_export *exported)
{
    (void)arg;
    (void)peer;
    (void)exported;
}

static void pull_done(void *arg, struct transport_xfer *xfer, mob_status status)
{
    struct probe *p = arg;
    (void)xfer;
    p->done++;
    p->pulled = p->pulled ? p->pulled : status;
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
    struct probe *p = arg;
    p->closed = true;
}

static const struct transport_user user = {.peer_up = peer_up,
                                           .peer_down = peer_down,
                                           .message = message,
                                           .writable = writable,
                                           .export = show,
                                           .unexport = unshow,
                                           .pull_done = pull_done,
                                           .refused = refused,
                                           .closed = closed};

/* ---- waiting ---------------------------------------------------------------------------------------- */

/* Until @what, or the peer is gone, or too much time has passed. */
static bool turn_until(struct probe *p, const bool *what)
{
    uint64_t until = clock_now_ns() + LIMIT_S * NS_PER_S;
    while (!*what && (!p->down || what == &p->closed) && clock_now_ns() < until) {
        if (loop_turn(p->loop, 10 * NS_PER_MS) != MOB_OK) {
            return false;
        }
    }
    return *what;
}

static bool late(struct probe *p, const char *what)
{
    if (p->way->status == MOB_OK) {
        p->way->status = MOB_ERR_TIMEOUT;
        snprintf(p->way->reason, sizeof p->way->reason, "it %s within %d s", what,
                 LIMIT_S);
    }
    return false;
}

/* ---- messages --------------------------------------------------------------------------------------- */

static bool ping(struct probe *p)
{
    static const char words[] = "{\"what\":\"ping\"}";
    uint8_t bytes[64];
    struct codec_writer w;
    codec_writer_init(&w, bytes, sizeof bytes);
    codec_put_u8(&w, WIRE_ASK);
    codec_put_u64(&w, ++p->cookie);
    codec_put_bytes(&w, words, sizeof words - 1);
    p->answered = false;
    mob_status st = transport_send(p->peer, bytes, codec_written(&w));
    return st == MOB_OK && turn_until(p, &p->answered);
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static bool measure_messages(struct probe *p)
{
    uint64_t took[PINGS];
    for (int i = -PINGS_UNCOUNTED; i < PINGS; i++) {
        uint64_t began = clock_now_ns();
        if (!ping(p)) {
            return late(p, "did not answer a message");
        }
        if (i >= 0) {
            took[i] = clock_now_ns() - began;
        }
    }
    qsort(took, PINGS, sizeof took[0], by_size);
    p->way->round_trip_ns = took[PINGS / 2];
    return true;
}

/* ---- objects ---------------------------------------------------------------------------------------- */

static bool pull(struct probe *p)
{
    struct transport_source source = {.offset = 0, .size = WIRE_PROBE_BYTES};
    wire_put_name(source.object, &(struct wire_name){.kind = WIRE_PROBE});
    for (unsigned i = 0; i < PULLS_AT_ONCE; i++) {
        if (!p->xfers[i].peer) {
            void *dst = p->memory + i * (size_t)WIRE_PROBE_BYTES;
            p->begun++;
            return transport_pull(p->peer, &source, dst, &p->xfers[i]) == MOB_OK;
        }
    }
    return false;
}

/* So many pulls; false: the node shows nothing, or is gone. */
static bool pulls(struct probe *p, unsigned count, uint64_t until)
{
    uint64_t limit = clock_now_ns() + LIMIT_S * NS_PER_S;
    p->begun = p->done = 0;
    while (!p->down && !p->pulled) {
        bool more = p->begun < count && clock_now_ns() < until;
        if (!more && p->begun == p->done) {
            return true;
        }
        if (more && p->begun - p->done < PULLS_AT_ONCE && !pull(p)) {
            return late(p, "took no pull");
        }
        if (clock_now_ns() > limit || loop_turn(p->loop, 10 * NS_PER_MS) != MOB_OK) {
            return late(p, "did not send all of an object");
        }
    }
    return false;
}

/* The first pulls bring RDMA up; what it does then is measured. */
static bool measure_objects(struct probe *p, enum transport_rdma rdma)
{
    uint64_t began = clock_now_ns();
    struct transport_stats s;
    do {
        if (!pulls(p, 1, CLOCK_NEVER)) {
            return false;
        }
        transport_stats(p->peer, &s);
    } while (rdma != TRANSPORT_RDMA_OFF && s.rdma_bytes == 0 &&
             clock_now_ns() < began + WARM_NS);
    began = clock_now_ns();
    if (!pulls(p, PULLS, began + PULLS_NS)) {
        return false;
    }
    p->way->moved_ns = clock_now_ns() - began;
    p->way->moved_bytes = p->done * (uint64_t)WIRE_PROBE_BYTES;
    return true;
}

/* ---- all of it -------------------------------------------------------------------------------------- */

static mob_status begin(struct probe *p, const struct check *c, enum transport_rdma rdma)
{
    struct transport_config config = {.loop = p->loop,
                                      .user = &user,
                                      .arg = p,
                                      .key = c->key,
                                      .encrypt = c->encrypt,
                                      .unchecked = c->unchecked,
                                      .rdma = rdma};
    size_t size = PULLS_AT_ONCE * (size_t)WIRE_PROBE_BYTES;
    while (getrandom(&config.node_id, 5, 0) != 5 || config.node_id == 0) {
    }
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (map == MAP_FAILED) {
        return status_fail(MOB_ERR_NOMEM, "no memory to pull into: %m");
    }
    p->memory = map;
    mob_status st = transport_verbs.open(&config, &p->tp);
    key_wipe(&config.key, sizeof config.key);
    if (!st) {
        (void)transport_map(p->tp, map, size, true); /* else stats say why */
        st = transport_connect(p->tp, &c->addr, NULL, &p->peer);
    }
    return st;
}

static void end(struct probe *p)
{
    if (p->tp) {
        p->way->status =
            p->way->status ? p->way->status : MOB_ERR_CLOSED; /* not for peer_down */
        transport_close(p->tp);
        (void)turn_until(p, &p->closed);
    }
    if (p->memory && (p->closed || !p->tp)) {
        munmap(p->memory, PULLS_AT_ONCE * (size_t)WIRE_PROBE_BYTES);
    }
}

void check_measure(const struct check *c, enum transport_rdma rdma, struct check_way *way)
{
    struct probe p = {.way = way};
    memset(way, 0, sizeof *way);
    way->measured = true;
    mob_status st = loop_create(0, &p.loop);
    st = st ? st : begin(&p, c, rdma);
    if (st) {
        way->status = st;
        snprintf(way->reason, sizeof way->reason, "%s", mob_last_error());
    } else if (!turn_until(&p, &p.up)) {
        (void)late(&p, "did not answer");
    } else if (measure_messages(&p)) {
        (void)measure_objects(&p, rdma);
    }
    if (p.peer && p.up) {
        transport_stats(p.peer, &way->stats);
    }
    st = way->status;
    end(&p);
    way->status = st;
    if (p.loop && (p.closed || !p.tp)) {
        loop_destroy(p.loop);
    }
}
