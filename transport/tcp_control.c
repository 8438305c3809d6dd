/* Frames on the control connection. Outgoing ones gather in peer->queue while
 * peer->flight is with the kernel; then the two change places, so that many small
 * messages are one send. */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "tcp.h"

enum { BUFFER_MIN = 16384, BUFFER_KEEP = 65536 };

static bool reserve(struct bytes *b, size_t size)
{
    if (size <= b->size) {
        return true;
    }
    size_t want = b->size != 0 ? b->size : BUFFER_MIN;
    while (want < size) {
        want *= 2;
    }
    uint8_t *data = realloc(b->data, want);
    if (data == NULL) {
        return false;
    }
    b->data = data;
    b->size = want;
    return true;
}

/* Forgets what is in it, and gives memory back that only a burst needed. */
static void empty(struct bytes *b)
{
    b->used = 0;
    if (b->size > BUFFER_KEEP) {
        free(b->data);
        *b = (struct bytes){0};
    }
}

void control_free(struct tcp_peer *peer)
{
    free(peer->queue.data);
    free(peer->flight.data);
    free(peer->inbox.data);
}

/* ---- out
 * --------------------------------------------------------------------------------- */

static size_t queued(const struct tcp_peer *peer)
{
    return peer->queue.used + peer->flight.used;
}

mob_status control_put(struct tcp_peer *peer, const struct wire_header *header,
                       const struct iovec *iov, unsigned count, size_t limit)
{
    struct wire_seal *seal = &peer->control->out;
    size_t head = wire_head_bytes(seal), size = head + header->size;
    if (queued(peer) + size > limit) {
        peer->wants_room = true;
        return MOB_ERR_FULL; /* the ordinary course of things: no sentence */
    }
    if (!reserve(&peer->queue, peer->queue.used + size)) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message of %u bytes",
                           header->size);
    }
    uint8_t *at = peer->queue.data + peer->queue.used;
    uint8_t *body = at + head;
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len != 0) {
            memcpy(body, iov[i].iov_base, iov[i].iov_len);
            body += iov[i].iov_len;
        }
    }
    wire_seal_put(seal, header, at + head, header->size, at + head, at);
    peer->queue.used += size;
    return MOB_OK;
}

void control_must(struct tcp_peer *peer, const struct wire_header *header)
{
    mob_status st = control_put(peer, header, NULL, 0, TCP_QUEUE_MAX);
    if (st == MOB_OK) {
        control_flush(peer);
    } else if (st == MOB_ERR_FULL) {
        peer_end(peer, MOB_ERR_PROTOCOL, "%s makes this node answer and does not listen",
                 peer->address);
    } else {
        peer_end(peer, MOB_ERR_NOMEM, "no memory to answer %s", peer->address);
    }
}

static void flown(struct conn *conn)
{
    struct tcp_peer *peer = conn->peer;
    empty(&peer->flight);
    control_flush(peer);
    control_check_room(peer);
}

void control_flush(struct tcp_peer *peer)
{
    struct conn *conn = peer->control;
    if (conn == NULL || !conn_alive(conn) || loop_op_busy(&conn->tx)) {
        return;
    }
    if (peer->queue.used == 0) {
        peer_flushed(peer);
        return;
    }
    struct bytes b = peer->queue;
    peer->queue = peer->flight;
    peer->flight = b;
    conn_send_bytes(conn, peer->flight.data, peer->flight.used, flown);
}

void control_check_room(struct tcp_peer *peer)
{
    if (peer->wants_room && peer->state == PEER_UP &&
        queued(peer) <= TRANSPORT_QUEUE_BYTES / 2 &&
        peer->pulls_count < TRANSPORT_PULLS_MAX) {
        peer->wants_room = false;
        user_writable(&peer->base);
    }
}

mob_status control_send(struct transport_peer *base, const struct iovec *iov,
                        unsigned count)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    struct wire_header header = {.type = WIRE_MESSAGE};
    size_t size = 0;
    if (peer->state != PEER_UP) {
        return status_fail(MOB_ERR_STATE, "%s is not connected", peer->address);
    }
    for (unsigned i = 0; i < count; i++) {
        size += iov[i].iov_len;
    }
    unsigned prefix = base->tp->config.prefix;
    if (size > MESSAGE_BYTES_MAX + prefix || count > TRANSPORT_IOV_MAX + (prefix != 0)) {
        return status_fail(MOB_ERR_SIZE,
                           "a message of %zu bytes in %u pieces; at most %u in %u", size,
                           count, MESSAGE_BYTES_MAX, TRANSPORT_IOV_MAX);
    }
    header.size = (uint32_t)size;
    MOB_TRY(control_put(peer, &header, iov, count, TRANSPORT_QUEUE_BYTES));
    peer->messages_sent++;
    control_flush(peer);
    return MOB_OK;
}

/* ---- in
 * ---------------------------------------------------------------------------------- */

static void dispatch(struct tcp_peer *peer, const struct wire_header *h,
                     const uint8_t *body)
{
    switch (h->type) {
    case WIRE_MESSAGE:
        peer->messages_received++;
        user_message(&peer->base, body, h->size);
        return;
    case WIRE_PULL:
        if (serve_start(peer, h, body)) {
            return;
        }
        break;
    case WIRE_CANCEL:
        serve_cancel(peer, h->id);
        return;
    case WIRE_ACK:
        if (serve_acked(peer, h)) {
            return;
        }
        break;
    case WIRE_FAIL:
        if (pull_failed(peer, h)) {
            return;
        }
        break;
    case WIRE_BYE:
        peer_end(peer, MOB_ERR_CLOSED, "%s said goodbye", peer->address);
        return;
    default:
        break;
    }
    peer_end(peer, MOB_ERR_PROTOCOL,
             "%s sent a frame of type %u that does not belong there", peer->address,
             h->type);
}

/* Takes one frame from @at. Returns its size, or 0 if it is not whole or the peer is
 * ending. */
static size_t take(struct tcp_peer *peer, uint8_t *at, size_t have, size_t *ret_need)
{
    struct conn *conn = peer->control;
    size_t head = wire_head_bytes(&conn->in);
    struct wire_header h;
    *ret_need = head;
    if (have < head || peer->state != PEER_UP) {
        return 0;
    }
    if (wire_seal_head(&conn->in, at, WIRE_CONTROL, &h) != MOB_OK) {
        peer_end(peer, MOB_ERR_PROTOCOL, "%s: %s", peer->address, mob_last_error());
        return 0;
    }
    *ret_need = head + h.size;
    if (have < *ret_need) {
        return 0;
    }
    if (!wire_seal_check(&conn->in, at, at + head, h.size)) {
        peer_end(peer, MOB_ERR_PROTOCOL, "%s sent a frame whose seal is wrong",
                 peer->address);
        return 0;
    }
    dispatch(peer, &h, at + head);
    return *ret_need;
}

static void receive(struct tcp_peer *peer);

static void arrived(struct loop_op *op, int result)
{
    struct conn *conn = LOOP_OWNER(op, struct conn, rx);
    struct tcp_peer *peer = conn->peer;
    if (!conn_alive(conn)) {
        conn_settle(conn);
        return;
    }
    if (result <= 0) {
        conn_broken(conn, result);
        return;
    }
    size_t at = 0, need, size;
    peer->inbox.used += (size_t)result;
    while ((size = take(peer, peer->inbox.data + at, peer->inbox.used - at, &need)) !=
           0) {
        at += size;
    }
    if (peer->state == PEER_LEAVING) {
        at = peer->inbox.used; /* nobody listens any more; only the end of it matters */
        need = WIRE_HEAD_MAX;
    }
    if (!conn_alive(conn)) {
        return;
    }
    memmove(peer->inbox.data, peer->inbox.data + at, peer->inbox.used - at);
    peer->inbox.used -= at;
    if (peer->inbox.used == 0) {
        empty(&peer->inbox);
    }
    if (!reserve(&peer->inbox, need)) {
        peer_end(peer, MOB_ERR_NOMEM, "no memory for a message from %s", peer->address);
        return;
    }
    receive(peer);
}

static void receive(struct tcp_peer *peer)
{
    struct bytes *in = &peer->inbox;
    loop_recv(peer->tcp->loop, &peer->control->rx, peer->control->fd, in->data + in->used,
              in->size - in->used, 0, arrived);
}

void control_start(struct tcp_peer *peer)
{
    if (!reserve(&peer->inbox, BUFFER_MIN)) {
        peer_end(peer, MOB_ERR_NOMEM, "no memory for messages from %s", peer->address);
        return;
    }
    receive(peer);
}
