/* The handshake of one connection, one step after the other:
 *
 *   dialer                         listener
 *   hello (64 bytes)          ->   checks version and kind
 *   checks version and proof  <-   hello (64), proof (32)
 *   proof (32; zeros: "no")   ->   checks proof; both have the connection's keys now
 *   open                      <-   welcome or refusal (a sealed frame)
 *
 * Control connections prove the cluster key, data connections the session key of the
 * control connection that they belong to. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "core/status.h"
#include "tcp.h"

static uint32_t our_caps(const struct conn *conn)
{
    const struct transport_config *c = &conn->tcp->base.config;
    return (c->encrypt ? WIRE_CAP_ENCRYPT : 0u) |
           (c->unchecked ? WIRE_CAP_UNCHECKED : 0u);
}

static void say_hello(struct conn *conn, uint8_t out[WIRE_HELLO_BYTES],
                      mob_status refusal)
{
    struct wire_hello hello = {
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .kind = conn->kind,
        .lane = conn->lane,
        .refusal = (uint16_t)-refusal,
        .node_id = conn->tcp->base.config.node_id,
        .session = conn->session,
        .caps = our_caps(conn),
    };
    randombytes_buf(hello.nonce, sizeof hello.nonce);
    wire_hello_put(&hello, out);
}

/* The key that this connection has to prove. */
static const uint8_t *base_key(const struct conn *conn, const struct tcp_peer *peer)
{
    return conn->kind == WIRE_DATA ? peer->session_key : conn->tcp->base.config.key.bytes;
}

/* Both proofs are right: the connection's keys. */
static void derive_keys(struct conn *conn, const uint8_t key[KEY_BYTES],
                        uint8_t ret_session[KEY_BYTES])
{
    wire_derive(key, WIRE_USE_SESSION, conn->dialer_hello, conn->listener_hello,
                ret_session);
    struct wire_seal *to_listener = conn->dialed ? &conn->out : &conn->in;
    struct wire_seal *to_dialer = conn->dialed ? &conn->in : &conn->out;
    bool encrypt = conn->tcp->base.config.encrypt; /* wire_agree(): of both sides */
    uint8_t direction[KEY_BYTES];
    wire_derive(ret_session, WIRE_USE_TO_LISTENER, conn->dialer_hello,
                conn->listener_hello, direction);
    wire_seal_start(to_listener, direction, encrypt);
    wire_derive(ret_session, WIRE_USE_TO_DIALER, conn->dialer_hello, conn->listener_hello,
                direction);
    wire_seal_start(to_dialer, direction, encrypt);
    key_wipe(direction, sizeof direction);
}

static void keep_session(struct tcp_peer *peer, struct conn *conn,
                         const uint8_t session_key[KEY_BYTES])
{
    memcpy(peer->session_key, session_key, KEY_BYTES);
    peer->session = wire_session_id(session_key);
    peer->base.node_id = conn->node_id;
    peer->encrypt = conn->in.encrypt;
    /* What is encrypted has a tag over every byte: sums would find nothing more. */
    peer->sums = !peer->encrypt && !(our_caps(conn) & conn->caps & WIRE_CAP_UNCHECKED);
}

/* ---- dialer
 * ------------------------------------------------------------------------------ */

static void dialer_open(struct conn *conn)
{
    conn->state = CONN_OPEN;
    if (conn->kind == WIRE_CONTROL) {
        peer_open_lanes(conn->peer);
    } else {
        peer_lane_open(conn->peer, conn);
    }
}

static void dialer_refused(struct conn *conn)
{
    if (!wire_seal_check(&conn->in, conn->in_buf, conn->refusal, conn->header.size)) {
        tcp_conn_fail(conn, MOB_ERR_PROTOCOL, "%s: an unsealed refusal",
                      conn->peer->address);
        return;
    }
    uint64_t code = conn->header.offset;
    tcp_conn_fail(conn,
                  code != 0 && code < 1000 ? (mob_status) - (int)code : MOB_ERR_PROTOCOL,
                  "%s refused: %s", conn->peer->address, conn->refusal);
}

static void dialer_got_verdict(struct conn *conn)
{
    mob_status st = wire_seal_head(&conn->in, conn->in_buf, conn->kind, &conn->header);
    if (st == MOB_OK && conn->header.type == WIRE_REFUSE && conn->header.size != 0) {
        conn_recv(conn, conn->refusal, conn->header.size, dialer_refused);
    } else if (st == MOB_OK && conn->header.type == WIRE_WELCOME &&
               wire_seal_check(&conn->in, conn->in_buf, NULL, 0)) {
        dialer_open(conn);
    } else {
        tcp_conn_fail(conn, MOB_ERR_PROTOCOL,
                      "%s answered the proof with something malformed",
                      conn->peer->address);
    }
}

static void dialer_sent_proof(struct conn *conn)
{
    conn_recv(conn, conn->in_buf, wire_head_bytes(&conn->in), dialer_got_verdict);
}

static void dialer_said_no(struct conn *conn)
{
    tcp_conn_fail(
        conn, MOB_ERR_KEY,
        "the cluster key of %s differs from this node's: copy the head's key file here",
        conn->peer->address);
}

static void dialer_prove(struct conn *conn)
{
    const uint8_t *key = base_key(conn, conn->peer);
    uint8_t want[WIRE_PROOF_BYTES], session[KEY_BYTES];
    memcpy(conn->listener_hello, conn->in_buf, WIRE_HELLO_BYTES);
    wire_derive(key, WIRE_USE_LISTENER_PROOF, conn->dialer_hello, conn->listener_hello,
                want);
    if (!wire_proof_equal(want, conn->in_buf + WIRE_HELLO_BYTES)) {
        memset(conn->out_buf, 0, WIRE_PROOF_BYTES);
        conn_send_bytes(conn, conn->out_buf, WIRE_PROOF_BYTES, dialer_said_no);
        return;
    }
    wire_derive(key, WIRE_USE_DIALER_PROOF, conn->dialer_hello, conn->listener_hello,
                conn->out_buf);
    derive_keys(conn, key, session);
    if (conn->kind == WIRE_CONTROL) {
        keep_session(conn->peer, conn, session);
    }
    key_wipe(session, sizeof session);
    conn->state = CONN_PROOF;
    conn_send_bytes(conn, conn->out_buf, WIRE_PROOF_BYTES, dialer_sent_proof);
}

static void dialer_got_hello(struct conn *conn)
{
    struct wire_hello hello;
    mob_status st = wire_hello_get(conn->in_buf, &hello);
    const char *at = conn->peer->address;
    if (st != MOB_OK) {
        tcp_conn_fail(conn, st, "%s: %s", at, mob_last_error());
    } else if ((st = wire_agree(our_caps(conn), hello.caps, at)) != MOB_OK) {
        tcp_conn_fail(conn, st, "%s", mob_last_error());
    } else if (hello.refusal != 0) {
        st = hello.refusal < 1000 ? (mob_status) - (int)hello.refusal : MOB_ERR_PROTOCOL;
        tcp_conn_fail(conn, st, "%s refused the greeting: %s", at, mob_status_text(st));
    } else if (hello.node_id == conn->tcp->base.config.node_id) {
        tcp_conn_fail(conn, MOB_ERR_INVALID, "%s is this node itself", at);
    } else if (hello.kind != conn->kind ||
               (conn->kind == WIRE_DATA && hello.node_id != conn->peer->base.node_id)) {
        tcp_conn_fail(conn, MOB_ERR_PROTOCOL, "%s answered as somebody else", at);
    } else {
        conn->node_id = hello.node_id;
        conn->caps = hello.caps;
        dialer_prove(conn);
    }
}

static void dialer_sent_hello(struct conn *conn)
{
    conn_recv(conn, conn->in_buf, WIRE_HELLO_BYTES + WIRE_PROOF_BYTES, dialer_got_hello);
}

void shake_dialer(struct conn *conn)
{
    conn->state = CONN_HELLO;
    say_hello(conn, conn->dialer_hello, MOB_OK);
    conn_send_bytes(conn, conn->dialer_hello, WIRE_HELLO_BYTES, dialer_sent_hello);
}

/* ---- listener
 * ---------------------------------------------------------------------------- */

static void listener_welcomed(struct conn *conn)
{
    conn->state = CONN_OPEN;
    if (conn->kind == WIRE_DATA) {
        peer_lane_open(conn->peer, conn);
    }
}

static void listener_refused(struct conn *conn)
{
    tcp_conn_fail(conn, conn->status, "refused: %s", conn->why);
}

static void listener_refuse(struct conn *conn, mob_status status, const char *why)
{
    struct wire_header header = {
        .type = WIRE_REFUSE, .size = (uint32_t)strlen(why), .offset = (uint64_t)-status};
    memcpy(conn->refusal, why, header.size + 1);
    conn->why = why;
    conn->status = status;
    wire_seal_put(&conn->out, &header, conn->refusal, header.size, conn->refusal,
                  conn->out_buf);
    struct iovec iov[] = {{conn->out_buf, wire_head_bytes(&conn->out)},
                          {conn->refusal, header.size}};
    conn_send(conn, iov, 2, listener_refused);
}

/* @peer: whose lane this is; NULL for a control connection, which makes a peer. */
static mob_status listener_attach(struct conn *conn, struct tcp_peer *peer,
                                  const uint8_t session[KEY_BYTES])
{
    if (peer == NULL) {
        MOB_TRY(peer_new(conn->tcp, false, &conn->addr, &peer));
        keep_session(peer, conn, session);
        peer->lanes_want = conn->lane;
        peer->control = conn;
    } else {
        peer->lanes[conn->lane] = conn;
    }
    conn_attach(conn, peer);
    return MOB_OK;
}

/* The peer that a data connection belongs to, if it still has room for this one. */
static struct tcp_peer *lane_owner(struct conn *conn)
{
    struct tcp_peer *peer = peer_find_session(conn->tcp, conn->session, conn->node_id);
    return peer != NULL && peer->state == PEER_SHAKING && conn->lane < peer->lanes_want &&
                   peer->lanes[conn->lane] == NULL
               ? peer
               : NULL;
}

static void listener_got_proof(struct conn *conn)
{
    static const uint8_t zeros[WIRE_PROOF_BYTES];
    char text[ADDR_TEXT_SIZE];
    uint8_t want[WIRE_PROOF_BYTES], session[KEY_BYTES];
    struct wire_header header = {.type = WIRE_WELCOME};
    struct tcp_peer *peer = conn->kind == WIRE_DATA ? lane_owner(conn) : NULL;
    addr_text(&conn->addr, text);
    if (conn->kind == WIRE_DATA && peer == NULL) {
        tcp_conn_fail(conn, MOB_ERR_STATE, "%s: the session ended meanwhile", text);
        return;
    }
    const uint8_t *key = base_key(conn, peer);
    wire_derive(key, WIRE_USE_DIALER_PROOF, conn->dialer_hello, conn->listener_hello,
                want);
    if (!wire_proof_equal(want, conn->in_buf)) {
        bool said_no = wire_proof_equal(zeros, conn->in_buf);
        tcp_conn_fail(conn, MOB_ERR_KEY,
                      said_no ? "%s found that its cluster key differs from this node's"
                              : "%s does not have this node's cluster key",
                      text);
        return;
    }
    derive_keys(conn, key, session);
    if (conn->node_id == conn->tcp->base.config.node_id) {
        listener_refuse(conn, MOB_ERR_INVALID, "a node of the same id: this one itself?");
    } else if (listener_attach(conn, peer, session) != MOB_OK) {
        listener_refuse(conn, MOB_ERR_NOMEM, "the node is out of memory");
    } else {
        wire_seal_put(&conn->out, &header, NULL, 0, NULL, conn->out_buf);
        conn_send_bytes(conn, conn->out_buf, wire_head_bytes(&conn->out),
                        listener_welcomed);
    }
    key_wipe(session, sizeof session);
}

static void listener_sent_hello(struct conn *conn)
{
    conn->state = CONN_PROOF;
    conn_recv(conn, conn->in_buf, WIRE_PROOF_BYTES, listener_got_proof);
}

static void listener_turned_down(struct conn *conn)
{
    tcp_conn_fail(conn, conn->status, "%s", conn->refusal);
}

/* No proof comes with it: whoever knows no key learns nothing but versions. */
static void listener_turn_down(struct conn *conn, mob_status status, const char *why)
{
    char text[ADDR_TEXT_SIZE];
    conn->status = status;
    snprintf(conn->refusal, sizeof conn->refusal, "%s: %s", addr_text(&conn->addr, text),
             why);
    say_hello(conn, conn->out_buf, status);
    memset(conn->out_buf + WIRE_HELLO_BYTES, 0, WIRE_PROOF_BYTES);
    conn_send_bytes(conn, conn->out_buf, WIRE_HELLO_BYTES + WIRE_PROOF_BYTES,
                    listener_turned_down);
}

static void listener_got_hello(struct conn *conn)
{
    struct wire_hello hello;
    char text[ADDR_TEXT_SIZE];
    mob_status st = wire_hello_get(conn->in_buf, &hello);
    if (st == MOB_OK) {
        st = wire_agree(our_caps(conn), hello.caps, "it");
    }
    if (st == MOB_ERR_VERSION) {
        listener_turn_down(conn, st, mob_last_error());
        return;
    }
    bool lane_fits =
        hello.kind == WIRE_DATA || (hello.lane >= 1 && hello.lane <= TCP_LANES_MAX);
    if (st != MOB_OK || hello.refusal != 0 || !lane_fits) {
        tcp_conn_fail(conn, MOB_ERR_PROTOCOL, "%s sent no greeting of mobula",
                      addr_text(&conn->addr, text));
        return;
    }
    memcpy(conn->dialer_hello, conn->in_buf, WIRE_HELLO_BYTES);
    conn->kind = hello.kind;
    conn->lane = hello.lane;
    conn->node_id = hello.node_id;
    conn->session = hello.session;
    conn->caps = hello.caps;
    struct tcp_peer *peer = hello.kind == WIRE_DATA ? lane_owner(conn) : NULL;
    if (hello.kind == WIRE_DATA && peer == NULL) {
        listener_turn_down(conn, MOB_ERR_STATE, "a data connection of no session");
        return;
    }
    say_hello(conn, conn->listener_hello, MOB_OK);
    memcpy(conn->out_buf, conn->listener_hello, WIRE_HELLO_BYTES);
    wire_derive(base_key(conn, peer), WIRE_USE_LISTENER_PROOF, conn->dialer_hello,
                conn->listener_hello, conn->out_buf + WIRE_HELLO_BYTES);
    conn_send_bytes(conn, conn->out_buf, WIRE_HELLO_BYTES + WIRE_PROOF_BYTES,
                    listener_sent_hello);
}

void shake_listener(struct conn *conn)
{
    conn->state = CONN_HELLO;
    conn_recv(conn, conn->in_buf, WIRE_HELLO_BYTES, listener_got_hello);
}
