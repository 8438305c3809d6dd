/* One connection: exact receives and sends, and its end. */
#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/status.h"
#include "tcp.h"

struct conn *conn_new(struct tcp *tcp, struct tcp_peer *peer, int fd)
{
    struct conn *conn = aligned_alloc(alignof(struct conn), sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    memset(conn, 0, sizeof *conn);
    conn->tcp = tcp;
    conn->peer = peer;
    conn->fd = fd;
    return conn;
}

void conn_free(struct conn *conn)
{
    if (conn->fd >= 0) {
        close(conn->fd);
    }
    sums_state_free(conn->sum);
    free(conn->hidden);
    free(conn->zc);
    key_wipe(conn, sizeof *conn);
    free(conn);
}

bool conn_alive(const struct conn *conn)
{
    return conn->state != CONN_DEAD;
}

bool conn_quiet(const struct conn *conn)
{
    return !loop_op_busy(&conn->rx) && !loop_op_busy(&conn->tx) && !zc_busy(conn);
}

static void received(struct loop_op *op, int result)
{
    struct conn *conn = LOOP_OWNER(op, struct conn, rx);
    if (!conn_alive(conn)) {
        conn_settle(conn);
        return;
    }
    if (result <= 0) {
        conn_broken(conn, result);
        return;
    }
    conn->rx_at += result;
    conn->rx_left -= (size_t)result;
    if (conn->rx_left != 0) {
        loop_recv(conn->tcp->loop, &conn->rx, conn->fd, conn->rx_at, conn->rx_left,
                  MSG_WAITALL, received);
        return;
    }
    conn->rx_next(conn);
}

void conn_recv(struct conn *conn, void *buf, size_t size, conn_next next)
{
    conn->rx_at = buf;
    conn->rx_left = size;
    conn->rx_next = next;
    loop_recv(conn->tcp->loop, &conn->rx, conn->fd, buf, size, MSG_WAITALL, received);
}

static void sent(struct loop_op *op, int result)
{
    struct conn *conn = LOOP_OWNER(op, struct conn, tx);
    if (!conn_alive(conn)) {
        conn_settle(conn);
        return;
    }
    if (result < 0) {
        conn_broken(conn, result);
        return;
    }
    size_t n = (size_t)result, left = 0;
    for (size_t i = 0; i < conn->tx_msg.msg_iovlen; i++) {
        struct iovec *v = &conn->tx_iov[i];
        size_t part = n < v->iov_len ? n : v->iov_len;
        v->iov_base = (uint8_t *)v->iov_base + part;
        v->iov_len -= part;
        n -= part;
        left += v->iov_len;
    }
    if (left != 0) {
        loop_sendmsg(conn->tcp->loop, &conn->tx, conn->fd, &conn->tx_msg, MSG_WAITALL,
                     sent);
        return;
    }
    if (conn->tx_next != NULL) {
        conn->tx_next(conn);
    }
}

void conn_send(struct conn *conn, const struct iovec *iov, unsigned count, conn_next next)
{
    MOB_ASSERT(count <= TCP_SEND_PIECES);
    memcpy(conn->tx_iov, iov, count * sizeof *iov);
    conn->tx_msg = (struct msghdr){.msg_iov = conn->tx_iov, .msg_iovlen = count};
    conn->tx_next = next;
    loop_sendmsg(conn->tcp->loop, &conn->tx, conn->fd, &conn->tx_msg, MSG_WAITALL, sent);
}

void conn_send_bytes(struct conn *conn, const void *data, size_t size, conn_next next)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    conn_send(conn, &iov, 1, next);
}

void conn_broken(struct conn *conn, int result)
{
    char text[ADDR_TEXT_SIZE];
    addr_text(&conn->addr, text);
    bool shaking = conn->state != CONN_OPEN;
    if (result == 0 || result == -ECONNRESET || result == -EPIPE) {
        tcp_conn_fail(conn, MOB_ERR_PEER_LOST, "%s closed the connection%s", text,
                      shaking ? " during the handshake" : "");
    } else {
        tcp_conn_fail(conn, MOB_ERR_PEER_LOST, "the connection to %s broke: %s", text,
                      strerror(-result));
    }
}

static void unlink_handshake(struct conn *conn)
{
    struct tcp *tcp = conn->tcp;
    for (struct conn **at = &tcp->handshakes; *at != NULL; at = &(*at)->next) {
        if (*at == conn) {
            *at = conn->next;
            tcp->handshakes_count--;
            return;
        }
    }
}

void conn_attach(struct conn *conn, struct tcp_peer *peer)
{
    unlink_handshake(conn);
    loop_timer_stop(conn->tcp->loop, &conn->limit);
    conn->peer = peer;
}

void tcp_conn_fail(struct conn *conn, mob_status status, const char *format, ...)
{
    va_list ap;
    if (!conn_alive(conn)) {
        return;
    }
    va_start(ap, format);
    vsnprintf(conn->reason, sizeof conn->reason, format, ap);
    va_end(ap);
    conn->status = status;
    conn->state = CONN_DEAD;
    struct loop *loop = conn->tcp->loop;
    loop_timer_stop(loop, &conn->limit);
    if (conn->fd >= 0) {
        shutdown(conn->fd, SHUT_RDWR);
    }
    loop_cancel(loop, &conn->rx);
    loop_cancel(loop, &conn->tx);
    zc_cancel(conn);
    if (conn->peer == NULL) {
        unlink_handshake(conn);
        conn->tcp->dying_count++;
    } else {
        peer_end(conn->peer, status, "%s", conn->reason);
    }
    conn_settle(conn);
}

void conn_settle(struct conn *conn)
{
    struct tcp *tcp = conn->tcp;
    struct tcp_peer *peer = conn->peer;
    if (conn_alive(conn) || !conn_quiet(conn)) {
        return;
    }
    if (peer != NULL) {
        peer_settle_later(peer); /* frees it, in a turn of its own */
        return;
    }
    char text[ADDR_TEXT_SIZE];
    if (!tcp->closing) {
        user_refused(&tcp->base, addr_text(&conn->addr, text), conn->status,
                     conn->reason);
    }
    tcp->dying_count--;
    conn_free(conn);
    tcp_check_closed(tcp);
}
