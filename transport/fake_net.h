/* fake_net.h - the inside of the fake backend: nodes, ends of links, and events in
 * virtual time. */
#ifndef TRANSPORT_FAKE_NET_H
#define TRANSPORT_FAKE_NET_H

#include "transport/fake.h"
#include "user.h"

enum fake_kind {
    FAKE_DIAL,    /* a connection reaches the port */
    FAKE_WELCOME, /* its answer reaches the dialer */
    FAKE_MESSAGE,
    FAKE_PULL,
    FAKE_CANCEL,
    FAKE_CHUNK,
    FAKE_FAIL,
    FAKE_REVOKED, /* unexport of revoked exports is due */
    FAKE_BYE,
    FAKE_LOST,   /* the other end is gone */
    FAKE_ENDED,  /* pull_done of cancelled transfers is due */
    FAKE_FINISH, /* peer_down is due */
    FAKE_CLOSED, /* closed() is due */
};

struct fake_event {
    struct fake_timer timer;
    struct fake_event *next, **at; /* of the peer's */
    enum fake_kind kind;
    struct fake_peer *peer; /* whom it reaches; NULL: the node */
    struct fake *node;
    uint64_t id;
    uint64_t chunk; /* its size */
    uint8_t lane;
    mob_status status;
    struct transport_source source;
    size_t size;
    uint8_t data[]; /* a message */
};

struct fake_serve {
    struct fake_serve *next;
    uint64_t id, offset, size;
    uint64_t posted, sent; /* bytes that set out, and arrived */
    uint64_t chunk_bytes;
    unsigned flying; /* chunks between the two */
    uint8_t lane;
    mob_status status; /* not MOB_OK: revoked */
    struct transport_export exported;
};

enum fake_state { FAKE_SHAKING, FAKE_UP, FAKE_LEAVING, FAKE_ENDING };

struct fake_peer {
    struct transport_peer base;
    struct fake *node;
    struct fake_peer *next;
    struct fake_peer *other; /* NULL: not there yet, or gone */
    enum fake_state state;
    bool dialed, announced, wants_room, unchecked;
    struct addr addr;
    char address[ADDR_TEXT_SIZE], reason[128];
    mob_status status;
    unsigned lanes;
    uint64_t
        last_ns[1 + TRANSPORT_DATA_MAX]; /* when each channel to this end is free again */
    size_t queued;                       /* bytes sent and not delivered */
    struct transport_xfer *pulls[TRANSPORT_PULLS_MAX], *ended;
    unsigned pulls_count;
    uint64_t pull_sequence;
    struct fake_serve *serves;
    struct fake_event *events; /* on their way to it */
    uint64_t pulled_bytes, served_bytes, messages_sent, messages_received, damaged;
};

struct fake {
    struct transport base;
    struct fake_net *net;
    struct fake *next;
    struct fake_peer *peers;
    uint16_t port; /* 0: does not listen */
    uint64_t bytes_per_second, latency_ns;
    uint64_t out_free_ns, in_free_ns; /* when each of its links is free again */
    bool closing, dead;
};

struct fake_net {
    struct fake *nodes;
    struct fake_timer **heap; /* by time, then sequence */
    uint32_t count, room;
    uint64_t sequence;
    struct fake *ports[UINT16_MAX + 1];
    uint64_t now_ns, random, delay_min_ns, delay_max_ns;
    uint64_t corrupt_in; /* chunks; UINT64_MAX: none */
    uint64_t chunk_bytes;
    uint16_t port_last;
};

/* fake_net.c: time. Schedules an event for @peer on @channel (0: control). Aborts without
 * memory: it is a test's. */
struct fake_event *fake_post(struct fake *node, struct fake_peer *peer, unsigned channel,
                             enum fake_kind kind, const void *data, size_t size);
/* The same for a chunk of @size bytes from the other end of @puller, over both links. */
struct fake_event *fake_post_chunk(struct fake_peer *puller, unsigned channel,
                                   uint64_t size);
/* Forgets what would reach @peer. */
void fake_forget(struct fake_net *net, struct fake_peer *peer);

/* fake.c: what an event does. */
void fake_deliver(struct fake_event *event);
void fake_end(struct fake_peer *peer, mob_status status, const char *why);

/* fake_data.c: transfers. */
mob_status fake_pull(struct transport_peer *base, const struct transport_source *source,
                     void *dst, struct transport_xfer *xfer);
void fake_cancel(struct transport_xfer *xfer);
void fake_grown(struct transport_peer *base, uint64_t cookie);
void fake_revoke(struct transport_peer *base, uint64_t cookie, mob_status status);
void fake_data_event(struct fake_peer *peer, const struct fake_event *event);
void fake_end_pulls(struct fake_peer *peer, mob_status status);
void fake_say_ended(struct fake_peer *peer);
void fake_drop_serves(struct fake_peer *peer);
void fake_check_room(struct fake_peer *peer);

#endif
