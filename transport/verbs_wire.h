/* verbs_wire.h - the messages of the verbs backend. Each begins with a word: its sequence
 * number * 256 + its kind; then comes what stands below, little-endian. No I/O, no state.
 *
 * Every *_get() reads input: it returns false for anything malformed, and what it fills in
 * is bounded. README.md says who sends what when. */
#ifndef TRANSPORT_VERBS_WIRE_H
#define TRANSPORT_VERBS_WIRE_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sums.h"
#include "transport/transport.h"

#define VERBS_VERSION 1
#define VERBS_WORD_BYTES 8
#define VERBS_RAILS_MAX 4
#define VERBS_INLINE_MAX 4096  /* objects that come within the answer */
#define VERBS_RANGES_MAX 1024  /* pieces of memory that one pull can read from */
#define VERBS_SUMS_MAX 20      /* of one message: it fits a small one */
#define VERBS_CREDITS 64       /* small messages of a link that were not acknowledged */
#define VERBS_WHY_MAX 159      /* bytes of a sentence */
#define VERBS_SMALL_BYTES 1024 /* any message but HERE and DATA */
#define VERBS_HERE_BYTES                                                                 \
    (32 + 4 * VERBS_RAILS_MAX + VERBS_RANGES_MAX * (16 + 4 * VERBS_RAILS_MAX))

_Static_assert(VERBS_WORD_BYTES <= TRANSPORT_PREFIX_MAX, "it is sent as a prefix");

enum verbs_kind {
    VERBS_USER = 1, /* the user's bytes */
    VERBS_HELLO,    /* both, once: rails, or why there are none */
    VERBS_WANT,     /* larger node id: make me offers */
    VERBS_OFFER,    /* smaller node id: a queue pair */
    VERBS_ACCEPT,   /* the other end of it, ready to receive and send */
    VERBS_UP,       /* so is the first */
    VERBS_DOWN,     /* a link is no more, or the offer is declined */
    VERBS_ASK,      /* puller: an object is wanted */
    VERBS_HERE,     /* owner: read it there */
    VERBS_DATA,     /* owner: here it is */
    VERBS_ELSE,     /* owner: not over RDMA; ask the backend below */
    VERBS_SUMS,     /* owner: sums of the next chunks */
    VERBS_READY,    /* owner: so many bytes are there */
    VERBS_FAIL,     /* owner: it cannot be had */
    VERBS_END,      /* puller: nothing is read any more */
    VERBS_ACK,      /* so many small messages have come */
    VERBS_KINDS,
};

enum verbs_gid_type { VERBS_GID_IB, VERBS_GID_ROCE1, VERBS_GID_ROCE2 };

/* A port, as peers see it. */
struct verbs_port {
    uint8_t ethernet; /* 1: RoCE; 0: InfiniBand */
    uint8_t gid_type; /* enum verbs_gid_type */
    uint16_t lid;
    uint8_t gid[16];
    uint8_t mtu; /* enum ibv_mtu */
    uint8_t init_depth, resp_depth;
    uint32_t mbps;
};

struct verbs_hello {
    bool unchecked;
    uint8_t rails_count;
    struct verbs_port rails[VERBS_RAILS_MAX];
    char why[VERBS_WHY_MAX + 1]; /* there are none */
};

struct verbs_offer {
    uint8_t link, from_rail, to_rail;
    uint8_t credits; /* small messages that the receiver of this may send at once */
    uint32_t generation, qpn, psn;
};
struct verbs_accept {
    uint8_t link, credits;
    uint32_t generation, qpn, psn;
};
struct verbs_ack {
    uint8_t link;
    uint32_t generation, count; /* of that link's queue pair, since it came up */
};
struct verbs_up {
    uint8_t link;
    uint32_t generation;
};
struct verbs_down {
    uint8_t link;
    uint32_t generation;
    char why[VERBS_WHY_MAX + 1];
};

struct verbs_ask {
    uint64_t id;
    struct transport_source source;
};

/* Where the bytes of a pull lie: ranges in their order, readable over each of the links. */
struct verbs_range {
    uint64_t at, size;
    uint32_t keys[VERBS_RAILS_MAX]; /* by link */
};
struct verbs_here {
    uint64_t id, ready;
    uint8_t links; /* bits */
    uint32_t generations[VERBS_RAILS_MAX];
    unsigned count;
    struct verbs_range *ranges;
};

struct verbs_sums {
    uint64_t id, first;
    uint8_t count;
    bool last;
    uint64_t sums[VERBS_SUMS_MAX];
    uint8_t root[SUMS_ROOT_BYTES]; /* with the last */
};

/* The _put functions write what they are given, at most VERBS_SMALL_BYTES, and return its
 * size. */
size_t verbs_hello_put(const struct verbs_hello *hello, uint8_t *out);
bool verbs_hello_get(const uint8_t *in, size_t size, struct verbs_hello *ret);
size_t verbs_offer_put(const struct verbs_offer *offer, uint8_t *out);
bool verbs_offer_get(const uint8_t *in, size_t size, struct verbs_offer *ret);
size_t verbs_accept_put(const struct verbs_accept *accept, uint8_t *out);
bool verbs_accept_get(const uint8_t *in, size_t size, struct verbs_accept *ret);
size_t verbs_up_put(const struct verbs_up *up, uint8_t *out);
bool verbs_up_get(const uint8_t *in, size_t size, struct verbs_up *ret);
size_t verbs_down_put(const struct verbs_down *down, uint8_t *out);
bool verbs_down_get(const uint8_t *in, size_t size, struct verbs_down *ret);
size_t verbs_ack_put(const struct verbs_ack *ack, uint8_t *out);
bool verbs_ack_get(const uint8_t *in, size_t size, struct verbs_ack *ret);
size_t verbs_ask_put(const struct verbs_ask *ask, uint8_t *out);
bool verbs_ask_get(const uint8_t *in, size_t size, struct verbs_ask *ret);
size_t verbs_sums_put(const struct verbs_sums *sums, uint8_t *out);
bool verbs_sums_get(const uint8_t *in, size_t size, struct verbs_sums *ret);
/* An id, or an id and a number. */
size_t verbs_id_put(uint64_t id, uint8_t *out);
bool verbs_id_get(const uint8_t *in, size_t size, uint64_t *ret);
size_t verbs_pair_put(uint64_t id, uint64_t x, uint8_t *out);
bool verbs_pair_get(const uint8_t *in, size_t size, uint64_t *ret_id, uint64_t *ret_x);

/* @out: VERBS_HERE_BYTES. */
size_t verbs_here_put(const struct verbs_here *here, uint8_t *out);
/* @ranges: room for VERBS_RANGES_MAX, which ret->ranges points to then. */
bool verbs_here_get(const uint8_t *in, size_t size, struct verbs_range *ranges,
                    struct verbs_here *ret);

#endif
