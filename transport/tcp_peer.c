/* One peer: from the proof to peer_up, goodbye, peer_down. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/status.h"
#include "tcp.h"

static void limit_over(struct loop_timer *timer)
{
    struct tcp_peer *peer = LOOP_OWNER(timer, struct tcp_peer, limit);
    if (peer->state == PEER_LEAVING) {
        peer_end(peer, MOB_ERR_CLOSED, "said goodbye to %s, which did not answer",
                 peer->address);
    } else {
        peer_end(peer, MOB_ERR_TIMEOUT, "%s did not complete the handshake within %llu s",
                 peer->address, HANDSHAKE_NS / 1000000000ull);
    }
}

mob_status peer_new(struct tcp *tcp, bool dialed, const struct addr *addr,
                    struct tcp_peer **ret)
{
    struct tcp_peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for another peer");
    }
    peer->base.tp = &tcp->base;
    peer->tcp = tcp;
    peer->dialed = dialed;
    peer->serves_tail = &peer->serves;
    peer->addr = *addr;
    addr_text(addr, peer->address);
    peer->next = tcp->peers;
    if (tcp->peers != NULL) {
        tcp->peers->prev = peer;
    }
    tcp->peers = peer;
    loop_timer_start(tcp->loop, &peer->limit, loop_now_ns(tcp->loop) + HANDSHAKE_NS,
                     limit_over);
    *ret = peer;
    return MOB_OK;
}

struct tcp_peer *peer_find_session(struct tcp *tcp, uint64_t session, uint64_t node_id)
{
    for (struct tcp_peer *peer = tcp->peers; peer != NULL; peer = peer->next) {
        if (peer->session == session && peer->base.node_id == node_id && !peer->dialed) {
            return peer;
        }
    }
    return NULL;
}

void peer_open_lanes(struct tcp_peer *peer)
{
    for (unsigned i = 0; i < peer->lanes_want && peer->state == PEER_SHAKING; i++) {
        struct conn *conn = conn_new(peer->tcp, peer, -1);
        if (conn == NULL) {
            peer_end(peer, MOB_ERR_NOMEM, "no memory for a connection to %s",
                     peer->address);
            return;
        }
        peer->lanes[i] = conn;
        conn->kind = WIRE_DATA;
        conn->lane = (uint8_t)i;
        conn->session = peer->session;
        conn->addr = peer->addr;
        tcp_dial(conn);
    }
}

void peer_lane_open(struct tcp_peer *peer, struct conn *conn)
{
    (void)conn;
    if (++peer->lanes_open < peer->lanes_want || peer->state != PEER_SHAKING) {
        return;
    }
    peer->state = PEER_UP;
    peer->announced = true;
    loop_timer_stop(peer->tcp->loop, &peer->limit);
    control_start(peer);
    for (unsigned i = 0; i < peer->lanes_want; i++) {
        pull_lane_start(peer->lanes[i]);
        zc_open(peer->lanes[i]);
    }
    user_peer_up(&peer->base, peer->dialed, peer->address);
}

/* ---- the end
 * ----------------------------------------------------------------------------- */

static struct conn **conn_slot(struct tcp_peer *peer, unsigned i)
{
    return i == 0 ? &peer->control : &peer->lanes[i - 1];
}

static bool quiet(struct tcp_peer *peer)
{
    for (unsigned i = 0; i <= TCP_LANES_MAX; i++) {
        struct conn *conn = *conn_slot(peer, i);
        if (conn != NULL && !conn_quiet(conn)) {
            return false;
        }
    }
    return true;
}

static void free_conns(struct tcp_peer *peer)
{
    for (unsigned i = 0; i <= TCP_LANES_MAX; i++) {
        struct conn *conn = *conn_slot(peer, i);
        if (conn != NULL) {
            *conn_slot(peer, i) = NULL;
            conn_free(conn);
        }
    }
}

static void finish(struct tcp_peer *peer)
{
    struct tcp *tcp = peer->tcp;
    free_conns(peer);
    serve_drop_all(peer);
    /* MOB_ERR_PROTOCOL of a transfer means a damaged chunk, after which one pulls again.
     */
    pull_end_all(peer,
                 peer->status == MOB_ERR_PROTOCOL ? MOB_ERR_PEER_LOST : peer->status);
    pull_say_ended(peer);
    if (peer->dialed || peer->announced) {
        user_peer_down(&peer->base, peer->status, peer->reason);
    } else if (!tcp->closing) {
        user_refused(&tcp->base, peer->address, peer->status, peer->reason);
    }
    loop_timer_stop(tcp->loop, &peer->later); /* what a callback may have started again */
    if (peer->prev != NULL) {
        peer->prev->next = peer->next;
    } else {
        tcp->peers = peer->next;
    }
    if (peer->next != NULL) {
        peer->next->prev = peer->prev;
    }
    control_free(peer);
    pull_free_all(peer);
    key_wipe(peer, sizeof *peer);
    free(peer);
    tcp_check_closed(tcp);
}

static void settle(struct loop_timer *timer)
{
    struct tcp_peer *peer = LOOP_OWNER(timer, struct tcp_peer, later);
    pull_say_ended(peer);
    serve_sweep(peer);
    if (peer->state == PEER_ENDING && quiet(peer)) {
        finish(peer);
    }
}

void peer_settle_later(struct tcp_peer *peer)
{
    loop_timer_start(peer->tcp->loop, &peer->later, 0, settle);
}

void peer_end(struct tcp_peer *peer, mob_status status, const char *format, ...)
{
    va_list ap;
    if (peer->state == PEER_ENDING) {
        return;
    }
    bool left = peer->state == PEER_LEAVING;
    va_start(ap, format);
    vsnprintf(peer->reason, sizeof peer->reason, format, ap);
    va_end(ap);
    peer->status = left ? MOB_ERR_CLOSED : status;
    peer->state = PEER_ENDING;
    loop_timer_stop(peer->tcp->loop, &peer->limit);
    for (unsigned i = 0; i <= TCP_LANES_MAX; i++) {
        struct conn *conn = *conn_slot(peer, i);
        if (conn != NULL) {
            tcp_conn_fail(conn, status, "%s", peer->reason);
        }
    }
    peer_settle_later(peer);
}

void peer_flushed(struct tcp_peer *peer)
{
    /* Closing now, with something unread, would reset the connection and lose what the
     * peer has not fetched yet. So it only hears that this was all, and closes; then we
     * do. */
    if (peer->state == PEER_LEAVING && peer->bye_sent) {
        shutdown(peer->control->fd, SHUT_WR);
    }
}

void peer_disconnect(struct transport_peer *base)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    struct wire_header bye = {.type = WIRE_BYE};
    if (peer->state == PEER_SHAKING) {
        peer_end(peer, MOB_ERR_CLOSED, "closed before %s was up", peer->address);
        return;
    }
    if (peer->state != PEER_UP) {
        return;
    }
    peer->state = PEER_LEAVING;
    snprintf(peer->reason, sizeof peer->reason, "closed by this node");
    pull_end_all(peer, MOB_ERR_CLOSED);
    if (control_put(peer, &bye, NULL, 0, SIZE_MAX) != MOB_OK) {
        peer_end(peer, MOB_ERR_CLOSED, "closed by this node, in want of memory");
        return;
    }
    peer->bye_sent = true;
    loop_timer_start(peer->tcp->loop, &peer->limit,
                     loop_now_ns(peer->tcp->loop) + TCP_LINGER_NS, limit_over);
    control_flush(peer);
}

void peer_stats(const struct transport_peer *base, struct transport_stats *ret)
{
    const struct tcp_peer *peer = LOOP_OWNER(base, const struct tcp_peer, base);
    *ret = (struct transport_stats){.carrier = "tcp",
                                    .encrypted = peer->encrypt,
                                    .checked = peer->encrypt || peer->sums,
                                    .pulled_bytes = peer->pulled_bytes,
                                    .served_bytes = peer->served_bytes,
                                    .messages_sent = peer->messages_sent,
                                    .messages_received = peer->messages_received,
                                    .damaged = peer->damaged};
    unsigned large = peer->lanes_want > 1 ? peer->lanes_want - 1 : 1;
    snprintf(ret->path, sizeof ret->path, "%u connection%s for objects%s", large,
             large == 1 ? "" : "s", zc_text(peer->lanes[peer->lanes_want - 1]));
    snprintf(ret->why, sizeof ret->why, "this transport is TCP alone");
}
