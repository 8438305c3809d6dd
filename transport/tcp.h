/* tcp.h - the inside of the TCP backend, shared by its files.
 *
 *   tcp.c          the node's end: listening, accepting, dialing, closing
 *   tcp_conn.c     one connection: exact receives and sends, and its end
 *   tcp_shake.c    one connection's handshake, both roles
 *   tcp_peer.c     one peer: from the proof to peer_up, goodbye, peer_down
 *   tcp_control.c  frames on the control connection
 *   tcp_pull.c     pulls: asking and ending
 *   tcp_land.c     pulls: chunks that land
 *   tcp_serve.c    serves: whose chunk goes over which data connection
 *   tcp_zc.c       sends without a copy, and the trial whether they pay
 *
 * A connection:  DIALING -> HELLO -> PROOF -> OPEN -> DEAD   (tcp_conn_fail() from any to
 * DEAD) A peer:        SHAKING -> UP -> LEAVING -> ENDING          (peer_end() from any
 * to ENDING)
 *
 * Nothing is freed while the kernel may write to it: a dead connection is freed when both
 * of its requests are idle, a peer when all of its connections are, in a turn of its own.
 */
#ifndef TRANSPORT_TCP_H
#define TRANSPORT_TCP_H

#include <netinet/in.h>

#include "core/loop.h"
#include "sums.h"
#include "transport/transport.h"
#include "user.h"
#include "wire.h"

#define TCP_HANDSHAKES_MAX                                                               \
    64 /* connections from outside that have proved nothing yet   \
                               */
#define TCP_REASON_SIZE 320
#define TCP_LINGER_NS 1000000000ull  /* for what was sent before a goodbye to arrive */
#define TCP_SCRATCH_BYTES 65536      /* where chunks of cancelled pulls end */
#define TCP_PIECE_BYTES (256u << 10) /* received, then summed while it is in the cache */
#define TCP_SMALL_BYTES 65536 /* pulls that never wait for a chunk of a larger one */
/* Frames queued beyond what the user may queue: a peer that makes us answer and does not
 * listen. */
#define TCP_QUEUE_MAX (2 * TRANSPORT_QUEUE_BYTES)
#define TCP_LANES_MAX (TRANSPORT_DATA_MAX + 1)
#define TCP_DATA_USUAL 2 /* README.md: what more and fewer of them gave */
_Static_assert(TCP_LANES_MAX == WIRE_LANES_MAX, "the wire bounds data connections");

enum { TCP_SEND_PIECES = 3 }; /* head, payload, the root after it */

enum conn_state { CONN_DIALING, CONN_HELLO, CONN_PROOF, CONN_OPEN, CONN_DEAD };

struct conn;
typedef void (*conn_next)(struct conn *conn);

/* A pull that we answer, from its request until its last chunk is with the kernel. */
struct serve {
    struct serve *next; /* of the peer: whose turn is next stands first */
    uint64_t id;
    struct transport_export exported;
    uint64_t offset, size;
    uint64_t chunks, given;   /* of how many, and how many were given to lanes */
    uint64_t acked;           /* have landed in a row at the peer, as it says */
    unsigned flying;          /* chunks that lanes are sending */
    bool over;                /* cancelled or revoked: goes when nothing flies */
    struct sums_table *table; /* of the sums so far; NULL: has no root */
};

/* A pull of ours: what transport_xfer has no room for. */
struct pull {
    struct transport_xfer *xfer; /* NULL: free */
    uint64_t chunks, landed;     /* of how many, and how many are verified in a row */
    uint64_t acked;              /* what of that the owner was told */
    /* Of the WIRE_WINDOW chunks from number landed on, a bit each: */
    uint64_t taken, verified;   /* arriving or verified; verified */
    uint64_t sums[WIRE_WINDOW]; /* of the verified ones, by number modulo WIRE_WINDOW */
    struct sums_table *table;   /* of those in a row */
    uint8_t root[SUMS_ROOT_BYTES];
    bool has_root;
    unsigned landing; /* lanes that receive into dst */
};

struct conn {
    struct tcp *tcp;
    struct tcp_peer *peer; /* NULL: came from outside and has proved nothing yet */
    struct conn *next;     /* among the handshakes of tcp, oldest first */
    int fd;
    enum conn_state state;
    bool dialed;
    uint8_t kind, lane;
    struct addr addr;

    struct loop_op rx, tx;
    uint8_t *rx_at;
    size_t rx_left;
    conn_next rx_next;
    struct iovec tx_iov[TCP_SEND_PIECES];
    struct msghdr tx_msg;
    conn_next tx_next;

    struct loop_timer limit; /* of a handshake from outside */
    mob_status status;       /* why it is dead */
    char reason[TCP_REASON_SIZE];

    uint8_t dialer_hello[WIRE_HELLO_BYTES], listener_hello[WIRE_HELLO_BYTES];
    uint64_t node_id; /* that the other side claims; true once it is OPEN */
    uint64_t session;
    uint32_t caps; /* the other side's */
    uint8_t in_buf[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
    uint8_t out_buf[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
    char refusal[WIRE_REFUSE_MAX + 1];
    const char *why; /* of a refusal of ours: a constant */
    struct wire_seal in, out;
    struct wire_header header; /* of the frame that is arriving */

    /* A data connection's. */
    struct pull *landing; /* what the arriving chunk goes into; NULL: thrown away */
    uint8_t *land_at;     /* the piece that is arriving */
    size_t land_piece, land_left;
    struct sums_state *sum; /* of what of that chunk is there */
    struct serve *sending;
    uint8_t end_buf[WIRE_HEAD_MAX];
    struct zc *zc;   /* sends without a copy; NULL: none were tried */
    uint8_t *hidden; /* the encrypted chunk that is on its way; from the first one on */
};

struct bytes {
    uint8_t *data;
    size_t used, size;
};

enum peer_state { PEER_SHAKING, PEER_UP, PEER_LEAVING, PEER_ENDING };

struct tcp_peer {
    struct transport_peer base;
    struct tcp *tcp;
    struct tcp_peer *next, *prev;
    enum peer_state state;
    bool dialed, announced, wants_room, bye_sent;
    bool encrypt, sums; /* agreed on: everything is hidden; chunks have sums */
    struct conn *control;
    struct conn
        *lanes[TCP_LANES_MAX]; /* the first one is for small pulls, unless alone */
    unsigned lanes_want, lanes_open;
    struct addr addr;
    char address[ADDR_TEXT_SIZE];
    uint8_t session_key[KEY_BYTES];
    uint64_t session;
    mob_status status; /* why it ends */
    char reason[TCP_REASON_SIZE];
    struct loop_timer limit; /* of the handshake, then of the goodbye */
    struct loop_timer
        later; /* finishes transfers, and the peer, outside of the user's calls */

    struct bytes queue, flight; /* messages: waiting, and with the kernel */
    struct bytes inbox;

    struct pull *pulls[TRANSPORT_PULLS_MAX]; /* made when first needed, then kept */
    unsigned pulls_count;
    uint64_t pull_sequence;
    struct transport_xfer *ended; /* cancelled ones whose pull_done is due */
    struct serve *serves, **serves_tail;
    unsigned serves_count;
    uint64_t pulled_bytes, served_bytes, messages_sent, messages_received, damaged;
};

struct tcp {
    struct transport base;
    struct loop *loop;
    int listener;
    struct loop_op accept;
    struct loop_timer retry; /* accepting again after it failed for want of fds */
    struct loop_timer later; /* closed() */
    struct conn *handshakes;
    unsigned handshakes_count;
    unsigned dying_count; /* from outside, dead, with a request still in flight */
    struct tcp_peer *peers;
    bool closing;
    uint8_t scratch[TCP_SCRATCH_BYTES];
};

/* ---- tcp.c */
/* A blocking-mode socket with our options set, or -1 and errno. */
int tcp_socket(int family);
void tcp_socket_options(int fd);
/* Starts to connect; tcp_conn_fail() if it cannot even start. */
void tcp_dial(struct conn *conn);
/* Says closed() once nothing is left. */
void tcp_check_closed(struct tcp *tcp);

/* ---- tcp_conn.c */
struct conn *conn_new(struct tcp *tcp, struct tcp_peer *peer, int fd);
/* Receives exactly @size bytes, then calls @next. */
void conn_recv(struct conn *conn, void *buf, size_t size, conn_next next);
/* Sends the pieces whole, then calls @next. */
void conn_send(struct conn *conn, const struct iovec *iov, unsigned count,
               conn_next next);
void conn_send_bytes(struct conn *conn, const void *data, size_t size, conn_next next);
/* When nothing of it is in flight. */
void conn_free(struct conn *conn);
/* Ends the connection; its peer, or the log, is told when it is quiet. Once dead stays
 * dead. */
void tcp_conn_fail(struct conn *conn, mob_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A request of ours ended with @result, an errno or 0 bytes: says which. */
void conn_broken(struct conn *conn, int result);
/* Proved: from now on it is @peer's. */
void conn_attach(struct conn *conn, struct tcp_peer *peer);
/* If it is dead and quiet, frees it, or has its peer do so. */
void conn_settle(struct conn *conn);
bool conn_alive(const struct conn *conn);
/* No request of it is in flight. */
bool conn_quiet(const struct conn *conn);

/* ---- tcp_shake.c */
void shake_dialer(struct conn *conn);   /* the socket is connected */
void shake_listener(struct conn *conn); /* the socket was accepted */

/* ---- tcp_peer.c */
mob_status peer_new(struct tcp *tcp, bool dialed, const struct addr *addr,
                    struct tcp_peer **ret);
/* The control connection of a dialed peer is open: dials the data connections. */
void peer_open_lanes(struct tcp_peer *peer);
/* One of the data connections is open; with the last of them the peer is up. */
void peer_lane_open(struct tcp_peer *peer, struct conn *conn);
struct tcp_peer *peer_find_session(struct tcp *tcp, uint64_t session, uint64_t node_id);
void peer_end(struct tcp_peer *peer, mob_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void peer_disconnect(struct transport_peer *base);
void peer_stats(const struct transport_peer *base, struct transport_stats *ret);
/* Nothing more has to be sent before the goodbye: tells the other side that it was all.
 */
void peer_flushed(struct tcp_peer *peer);
/* Looks, in a turn of its own, what of the peer is over. */
void peer_settle_later(struct tcp_peer *peer);

/* ---- tcp_control.c */
mob_status control_send(struct transport_peer *base, const struct iovec *iov,
                        unsigned count);
/* Queues a frame that has to go, and ends the peer if that is not possible. */
void control_must(struct tcp_peer *peer, const struct wire_header *header);
/* Queues a frame. @limit: MOB_ERR_FULL if the queue would grow over it. */
mob_status control_put(struct tcp_peer *peer, const struct wire_header *header,
                       const struct iovec *iov, unsigned count, size_t limit);
void control_flush(struct tcp_peer *peer);
void control_start(struct tcp_peer *peer);
void control_check_room(struct tcp_peer *peer);
void control_free(struct tcp_peer *peer);

/* ---- tcp_pull.c */
mob_status pull_start(struct transport_peer *base, const struct transport_source *source,
                      void *dst, struct transport_xfer *xfer);
void pull_cancel(struct transport_xfer *xfer);
/* The sums of its chunks have a root. */
bool pull_has_root(const struct tcp_peer *peer, const struct pull *pull);
/* Takes the transfer out of its slot: the user is told next. */
struct transport_xfer *pull_take(struct tcp_peer *peer, struct pull *pull);
void pull_over(struct tcp_peer *peer, struct pull *pull, mob_status status);
/* The same when nothing lands in it any more. */
void pull_fail(struct tcp_peer *peer, struct pull *pull, mob_status status);
/* The owner need not send more of it. May end the peer. */
void pull_tell_cancel(struct tcp_peer *peer, uint64_t id);
/* The pull that a frame belongs to. NULL: one that ended. False: there never was one. */
bool pull_find(struct tcp_peer *peer, uint64_t id, struct pull **ret);
/* The owner gave up. False: there never was such a pull. */
bool pull_failed(struct tcp_peer *peer, const struct wire_header *header);
/* Ends every transfer that nothing is landing in, with @status. */
void pull_end_all(struct tcp_peer *peer, mob_status status);
void pull_say_ended(struct tcp_peer *peer);
void pull_free_all(struct tcp_peer *peer);

/* ---- tcp_land.c */
void pull_lane_start(struct conn *lane);

/* ---- tcp_serve.c */
/* Frames that came on the control connection. False: they are malformed. */
bool serve_start(struct tcp_peer *peer, const struct wire_header *header,
                 const uint8_t *body);
bool serve_acked(struct tcp_peer *peer, const struct wire_header *header);
void serve_cancel(struct tcp_peer *peer, uint64_t id);
void serve_grown(struct transport_peer *base, uint64_t cookie);
void serve_revoke(struct transport_peer *base, uint64_t cookie, mob_status status);
/* Gives back those that were revoked, outside of the user's calls. */
void serve_sweep(struct tcp_peer *peer);
/* No lane sends any more: gives back all. */
void serve_drop_all(struct tcp_peer *peer);
/* A chunk of @serve is with the kernel, or its memory is free again: one of the two counts
 * that send_chunk() and zc_send() made in flying is over. */
void serve_landed(struct tcp_peer *peer, struct serve *serve);
/* Sends the next chunk over the lane, if it is idle and there is one. */
void serve_give(struct conn *lane);

/* ---- tcp_zc.c */
struct zc_flight { /* one chunk that was sent without a copy, until its memory is free */
    struct conn *lane;
    struct loop_op op;
    struct serve *serve;
    bool sent; /* the kernel has taken it */
    size_t size;
    struct iovec iov[TCP_SEND_PIECES];
    struct msghdr msg;
    uint8_t head[WIRE_HEAD_MAX], end[WIRE_HEAD_MAX];
};
/* A lane opens: whether its peer is far enough away to try. */
void zc_open(struct conn *lane);
/* How the next chunk of @size bytes goes. False: as any other send. True: in *ret, or, if
 * that is NULL, when one of those that fly has landed. */
bool zc_wanted(struct conn *lane, size_t size, struct zc_flight **ret);
void zc_send(struct zc_flight *flight, struct serve *serve, const struct iovec *iov,
             unsigned count);
/* For the trial: a chunk is with the kernel; the lane found nothing to send. */
void zc_count(struct conn *lane, size_t size);
void zc_idle(struct conn *lane);
/* A flight has not been taken by the kernel yet: nothing may overtake it. */
bool zc_sending(const struct conn *lane);
bool zc_busy(const struct conn *lane);
void zc_cancel(struct conn *lane);
/* For people: ", zero-copy sends on trial"; empty if they are out of the question. */
const char *zc_text(const struct conn *lane);

#endif
