/* The node's end: listening, accepting, dialing, closing. */
#include <errno.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/status.h"
#include "tcp.h"

enum {
    BACKLOG = 512,
    KEEPALIVE_S = 2, /* silence after which the kernel asks, and between its questions */
    KEEPALIVE_PROBES = 3,
    RETRY_MS = 100,
};

static struct tcp *tcp_of(struct transport *tp)
{
    return LOOP_OWNER(tp, struct tcp, base);
}

static mob_status tcp_open(const struct transport_config *config, struct transport **ret)
{
    if (config->loop == NULL || config->user == NULL || config->node_id == 0 ||
        config->data_connections > TRANSPORT_DATA_MAX ||
        config->prefix > TRANSPORT_PREFIX_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "tcp needs a loop, a user, a node id that is not 0 "
                           "and at most %u data connections",
                           TRANSPORT_DATA_MAX);
    }
    if (sodium_init() < 0) {
        return status_fail(MOB_ERR_SYSTEM, "libsodium finds no source of random numbers");
    }
    struct tcp *tcp = calloc(1, sizeof *tcp);
    if (tcp == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a transport");
    }
    tcp->base.ops = &transport_tcp;
    tcp->base.config = *config;
    tcp->loop = config->loop;
    tcp->listener = -1;
    *ret = &tcp->base;
    return MOB_OK;
}

int tcp_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        tcp_socket_options(fd);
    }
    return fd;
}

/* None of these can fail for a reason that matters here; each only makes things better.
 */
void tcp_socket_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(NODE_DEAD_NS / NS_PER_MS)},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof(int));
    }
}

/* ---- coming from outside
 * ----------------------------------------------------------------- */

static void accepted(struct loop_op *op, int result);

static void accept_next(struct tcp *tcp)
{
    loop_accept(tcp->loop, &tcp->accept, tcp->listener, accepted);
}

static void accept_again(struct loop_timer *timer)
{
    accept_next(LOOP_OWNER(timer, struct tcp, retry));
}

static void too_slow(struct loop_timer *timer)
{
    struct conn *conn = LOOP_OWNER(timer, struct conn, limit);
    char text[ADDR_TEXT_SIZE];
    tcp_conn_fail(conn, MOB_ERR_TIMEOUT, "%s did not prove the cluster key within %llu s",
                  addr_text(&conn->addr, text), HANDSHAKE_NS / NS_PER_S);
}

static void greet(struct tcp *tcp, int fd)
{
    char text[ADDR_TEXT_SIZE];
    if (tcp->handshakes_count + tcp->dying_count >= 2 * TCP_HANDSHAKES_MAX) {
        close(fd);
        return;
    }
    struct conn *conn = conn_new(tcp, NULL, fd);
    if (conn == NULL) {
        close(fd);
        return;
    }
    tcp_socket_options(fd);
    conn->addr.size = sizeof conn->addr.sa;
    (void)getpeername(fd, (struct sockaddr *)&conn->addr.sa, &conn->addr.size);
    struct conn **at = &tcp->handshakes;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = conn;
    if (++tcp->handshakes_count > TCP_HANDSHAKES_MAX) {
        /* The oldest goes: a crowd of silent ones cannot keep out who answers at once. */
        struct conn *oldest = tcp->handshakes;
        tcp_conn_fail(oldest, MOB_ERR_FULL, "%s made room for another connection",
                      addr_text(&oldest->addr, text));
    }
    loop_timer_start(tcp->loop, &conn->limit, loop_now_ns(tcp->loop) + HANDSHAKE_NS,
                     too_slow);
    shake_listener(conn);
}

static void accepted(struct loop_op *op, int result)
{
    struct tcp *tcp = LOOP_OWNER(op, struct tcp, accept);
    if (tcp->closing) {
        if (result >= 0) {
            close(result);
        }
        tcp_check_closed(tcp);
        return;
    }
    if (result >= 0) {
        greet(tcp, result);
    } else if (result != -ECONNABORTED && result != -EINTR) {
        /* No fd or no memory is left: the connection waits in the backlog meanwhile. */
        loop_timer_start(tcp->loop, &tcp->retry,
                         loop_now_ns(tcp->loop) + RETRY_MS * NS_PER_MS, accept_again);
        return;
    }
    accept_next(tcp);
}

static mob_status listen_failed(const struct addr *addr, int fd)
{
    char text[ADDR_TEXT_SIZE];
    int err = errno;
    if (fd >= 0) {
        close(fd);
    }
    addr_text(addr, text);
    switch (err) {
    case EADDRINUSE:
        return status_fail(
            MOB_ERR_EXISTS,
            "port %u is taken: another program, or another node, listens at %s",
            addr_port(addr), text);
    case EADDRNOTAVAIL:
        return status_fail(MOB_ERR_INVALID, "%s is not an address of this machine", text);
    case EACCES:
        return status_fail(MOB_ERR_SYSTEM,
                           "listening at %s is not permitted; ports below 1024 "
                           "need a privilege",
                           text);
    default:
        return status_fail(status_from_errno(err), "listening at %s: %s", text,
                           strerror(err));
    }
}

static mob_status tcp_listen(struct transport *tp, const struct addr *addr,
                             struct addr *ret_bound)
{
    struct tcp *tcp = tcp_of(tp);
    struct addr at = *addr;
    int on = 1, off = 0;
    if (tcp->listener >= 0 || tcp->closing) {
        return status_fail(MOB_ERR_STATE,
                           "this transport listens already, or was closed");
    }
    int fd = tcp_socket(at.sa.ss_family);
    if (fd < 0 && errno == EAFNOSUPPORT &&
        IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)&at.sa)->sin6_addr)) {
        struct sockaddr_in any = {.sin_family = AF_INET,
                                  .sin_port = htons(addr_port(&at))};
        memcpy(&at.sa, &any, sizeof any); /* a machine without IPv6 */
        at.size = sizeof any;
        fd = tcp_socket(AF_INET);
    }
    if (fd < 0) {
        return listen_failed(&at, fd);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at.sa.ss_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, (struct sockaddr *)&at.sa, at.size) < 0 || listen(fd, BACKLOG) < 0) {
        return listen_failed(&at, fd);
    }
    if (ret_bound != NULL) {
        ret_bound->size = sizeof ret_bound->sa;
        (void)getsockname(fd, (struct sockaddr *)&ret_bound->sa, &ret_bound->size);
    }
    tcp->listener = fd;
    accept_next(tcp);
    return MOB_OK;
}

/* ---- going out
 * --------------------------------------------------------------------------- */

static void connected(struct loop_op *op, int result)
{
    struct conn *conn = LOOP_OWNER(op, struct conn, tx);
    if (!conn_alive(conn)) {
        conn_settle(conn);
        return;
    }
    const char *at = conn->peer->address;
    switch (-result) {
    case 0:
        shake_dialer(conn);
        return;
    case ECONNREFUSED:
        tcp_conn_fail(conn, MOB_ERR_NO_NODE,
                      "nobody listens at %s: is the node running, and is this its port?",
                      at);
        return;
    case ENETUNREACH:
    case EHOSTUNREACH:
        tcp_conn_fail(conn, MOB_ERR_NO_NODE,
                      "%s is unreachable (%s): check address and network", at,
                      strerror(-result));
        return;
    case ETIMEDOUT:
        tcp_conn_fail(conn, MOB_ERR_TIMEOUT,
                      "%s does not answer: is it up, or does a firewall drop "
                      "the connection?",
                      at);
        return;
    default:
        tcp_conn_fail(conn, MOB_ERR_NO_NODE, "connecting to %s: %s", at,
                      strerror(-result));
    }
}

void tcp_dial(struct conn *conn)
{
    conn->dialed = true;
    conn->state = CONN_DIALING;
    conn->fd = tcp_socket(conn->addr.sa.ss_family);
    if (conn->fd < 0) {
        tcp_conn_fail(conn, MOB_ERR_SYSTEM, "no socket to connect to %s: %s",
                      conn->peer->address, strerror(errno));
        return;
    }
    loop_connect(conn->tcp->loop, &conn->tx, conn->fd, (struct sockaddr *)&conn->addr.sa,
                 conn->addr.size, connected);
}

static mob_status tcp_connect(struct transport *tp, const struct addr *addr, void *tag,
                              struct transport_peer **ret)
{
    struct tcp *tcp = tcp_of(tp);
    struct tcp_peer *peer;
    if (tcp->closing) {
        return status_fail(MOB_ERR_CLOSED, "the transport was closed");
    }
    MOB_TRY(peer_new(tcp, true, addr, &peer));
    unsigned lanes = tp->config.data_connections;
    peer->base.tag = tag;
    peer->lanes_want = 1 + (lanes != 0 ? lanes : TCP_DATA_USUAL);
    *ret = &peer->base;
    struct conn *conn = conn_new(tcp, peer, -1);
    if (conn == NULL) {
        peer_end(peer, MOB_ERR_NOMEM, "no memory for a connection to %s", peer->address);
        return MOB_OK; /* peer_down tells, as of every other failure */
    }
    peer->control = conn;
    conn->kind = WIRE_CONTROL;
    conn->lane = (uint8_t)peer->lanes_want;
    conn->addr = *addr;
    tcp_dial(conn);
    return MOB_OK;
}

/* ---- the end
 * ----------------------------------------------------------------------------- */

static void closed(struct loop_timer *timer)
{
    struct tcp *tcp = LOOP_OWNER(timer, struct tcp, later);
    struct transport_config config = tcp->base.config;
    if (tcp->listener >= 0) {
        close(tcp->listener);
    }
    key_wipe(tcp, sizeof *tcp);
    free(tcp);
    config.user->closed(config.arg);
    key_wipe(&config, sizeof config);
}

void tcp_check_closed(struct tcp *tcp)
{
    if (tcp->closing && tcp->peers == NULL && tcp->handshakes == NULL &&
        tcp->dying_count == 0 && !loop_op_busy(&tcp->accept)) {
        loop_timer_start(tcp->loop, &tcp->later, 0, closed);
    }
}

static void tcp_close(struct transport *tp)
{
    struct tcp *tcp = tcp_of(tp);
    if (tcp->closing) {
        return;
    }
    tcp->closing = true;
    loop_timer_stop(tcp->loop, &tcp->retry);
    loop_cancel(tcp->loop, &tcp->accept);
    while (tcp->handshakes != NULL) {
        tcp_conn_fail(tcp->handshakes, MOB_ERR_CLOSED, "the node is shutting down");
    }
    for (struct tcp_peer *peer = tcp->peers; peer != NULL; peer = peer->next) {
        peer_disconnect(&peer->base);
    }
    tcp_check_closed(tcp);
}

const struct transport_ops transport_tcp = {
    .name = "tcp",
    .open = tcp_open,
    .listen = tcp_listen,
    .connect = tcp_connect,
    .send = control_send,
    .pull = pull_start,
    .cancel = pull_cancel,
    .grown = serve_grown,
    .revoke = serve_revoke,
    .stats = peer_stats,
    .disconnect = peer_disconnect,
    .close = tcp_close,
};
