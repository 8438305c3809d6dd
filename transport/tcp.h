/* tcp.h - the inside of the TCP backend, shared by its files.
 *
 *   tcp.c          the node's end: listening, accepting, dialing, closing
 *   tcp_conn.c     one connection: exact receives and sends, and its end
 *   tcp_shake.c    one connection's handshake, both roles
 *   tcp_peer.c     one peer: from the proof to peer_up, goodbye, peer_down
 *   tcp_control.c  frames on the control connection
 *   tcp_data.c     pulls and serves on the data connections
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
#include "transport/transport.h"
#include "user.h"
#include "wire.h"

#define TCP_HANDSHAKES_MAX                                                               \
    64 /* connections from outside that have proved nothing yet   \
                               */
#define TCP_REASON_SIZE 320
#define TCP_LINGER_NS 1000000000ull /* for what was sent before a goodbye to arrive */
#define TCP_SCRATCH_BYTES 65536     /* where chunks of cancelled pulls end */

enum conn_state { CONN_DIALING, CONN_HELLO, CONN_PROOF, CONN_OPEN, CONN_DEAD };

struct conn;
typedef void (*conn_next)(struct conn *conn);

/* A pull that we answer. In a lane's queue until its last byte is with the kernel; among
 * the peer's parked ones while the next chunk's bytes are not there yet. */
struct serve {
    struct serve *next;
    uint64_t id;
    struct transport_export exported;
    uint64_t offset, size, sent;
    mob_status status; /* not MOB_OK: the answer is this */
    uint8_t lane;
    bool pinned;   /* exported is set: unexport is owed */
    bool answered; /* the status is on its way: nothing follows */
    bool cancelled;
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
    struct iovec tx_iov[2];
    struct msghdr tx_msg;
    conn_next tx_next;

    struct loop_timer limit; /* of a handshake from outside */
    mob_status status;       /* why it is dead */
    char reason[TCP_REASON_SIZE];

    uint8_t dialer_hello[WIRE_HELLO_BYTES], listener_hello[WIRE_HELLO_BYTES];
    uint64_t node_id; /* that the other side claims; true once it is OPEN */
    uint64_t session;
    uint8_t in_buf[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
    uint8_t out_buf[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
    char refusal[WIRE_REFUSE_MAX + 1];
    struct wire_seal in, out;
    struct wire_header header; /* of the frame that is arriving */

    /* A data connection's. */
    struct transport_xfer
        *landing; /* what the arriving chunk goes into; NULL: thrown away */
    uint64_t discard;
    struct serve *serves, **serves_tail;
    struct serve *sending;
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
    struct conn *control;
    struct conn *lanes[TRANSPORT_DATA_MAX];
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

    struct transport_xfer *pulls[TRANSPORT_PULLS_MAX];
    unsigned pulls_count;
    uint64_t pull_sequence;
    struct transport_xfer *ended; /* cancelled ones whose pull_done is due */
    unsigned serves;
    struct serve *parked; /* wait for grown() */
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
/* Sends both pieces whole, then calls @next. */
void conn_send(struct conn *conn, const void *a, size_t a_size, const void *b,
               size_t b_size, conn_next next);
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
/* Queues a frame. @limit: MOB_ERR_FULL if the queue would grow over it. */
mob_status control_put(struct tcp_peer *peer, const struct wire_header *header,
                       const struct iovec *iov, unsigned count, size_t limit);
void control_flush(struct tcp_peer *peer);
void control_start(struct tcp_peer *peer);
void control_check_room(struct tcp_peer *peer);
void control_free(struct tcp_peer *peer);

/* ---- tcp_data.c */
mob_status data_pull(struct transport_peer *base, const struct transport_source *source,
                     void *dst, struct transport_xfer *xfer);
void data_cancel(struct transport_xfer *xfer);
void data_grown(struct transport_peer *base, uint64_t cookie);
void data_revoke(struct transport_peer *base, uint64_t cookie, mob_status status);
void data_start(struct conn *lane);
void data_flush(struct conn *lane);
/* Frames that came on the control connection. False: they are malformed. */
bool data_serve(struct tcp_peer *peer, const struct wire_header *header,
                const uint8_t *body);
void data_serve_cancel(struct tcp_peer *peer, uint64_t id);
/* Ends every transfer that nothing is landing in, with @status. */
void data_end_pulls(struct tcp_peer *peer, mob_status status);
void data_say_ended(struct tcp_peer *peer);
/* The lane is quiet: gives back what it was serving. */
void data_drop_serves(struct conn *lane);
void data_drop_parked(struct tcp_peer *peer);

#endif
