/* Serves: pulls that we answer. Whenever a lane has sent what it had, it takes the next
 * chunk of the serve whose turn it is; so the chunks of one large object spread over all
 * lanes as fast as each goes, large objects share them, and one that waits for bytes
 * (transport_export.ready) is passed over. Small pulls have the first lane for themselves.
 *
 * With several lanes a chunk can be far ahead of one that a slow lane holds: no more than
 * WIRE_WINDOW chunks are given out beyond what the peer says has landed in a row. */
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "tcp.h"

/* Serves may outnumber pulls for a moment: their ends cross on the way. */
enum { SERVES_MAX = 2 * TRANSPORT_PULLS_MAX };

static void append(struct tcp_peer *peer, struct serve *serve)
{
    serve->next = NULL;
    *peer->serves_tail = serve;
    peer->serves_tail = &serve->next;
}

static void unlink_serve(struct tcp_peer *peer, struct serve *serve)
{
    struct serve **at = &peer->serves;
    while (*at != serve) {
        at = &(*at)->next;
    }
    *at = serve->next;
    if (*at == NULL) {
        peer->serves_tail = at;
    }
}

static void give_back(struct tcp_peer *peer, struct serve *serve)
{
    struct transport_export exported = serve->exported;
    unlink_serve(peer, serve);
    peer->serves_count--;
    sums_table_free(serve->table);
    free(serve);
    user_unexport(&peer->base, &exported);
}

/* True if nothing of it is or will be sent. */
static bool finished(const struct serve *serve)
{
    return serve->flying == 0 && (serve->over || serve->given == serve->chunks);
}

static size_t next_size(const struct serve *serve)
{
    uint64_t left = serve->size - serve->given * CHUNK_BYTES;
    return left < CHUNK_BYTES ? left : CHUNK_BYTES;
}

static bool sendable(const struct tcp_peer *peer, const struct serve *serve)
{
    const uint64_t *ready = serve->exported.ready;
    uint64_t begin = serve->given * CHUNK_BYTES;
    return !serve->over && serve->given < serve->chunks &&
           (peer->lanes_want <= 2 || serve->given - serve->acked < WIRE_WINDOW) &&
           (ready == NULL || serve->offset + begin + next_size(serve) <= *ready);
}

/* ---- sending
 * ----------------------------------------------------------------------------- */

static struct serve *whose_turn(struct conn *lane)
{
    struct tcp_peer *peer = lane->peer;
    bool only = peer->lanes_want == 1, for_small = lane->lane == 0;
    for (struct serve *serve = peer->serves; serve != NULL; serve = serve->next) {
        bool small = serve->size <= TCP_SMALL_BYTES;
        if ((only || small == for_small) && sendable(peer, serve)) {
            return serve;
        }
    }
    return NULL;
}

void serve_landed(struct tcp_peer *peer, struct serve *serve)
{
    serve->flying--;
    if (finished(serve)) {
        give_back(peer, serve);
    }
}

static void chunk_sent(struct conn *lane)
{
    struct serve *serve = lane->sending;
    lane->sending = NULL;
    zc_count(lane, CHUNK_BYTES);
    serve_landed(lane->peer, serve);
    serve_give(lane);
}

/* Where the lane's encrypted chunk lies while it is on its way. */
static bool make_hidden(struct conn *lane)
{
    if (lane->peer->encrypt && lane->hidden == NULL) {
        lane->hidden = malloc(CHUNK_BYTES);
        if (lane->hidden == NULL) {
            peer_end(lane->peer, MOB_ERR_NOMEM, "no memory to encrypt for %s",
                     lane->peer->address);
            return false;
        }
    }
    return true;
}

/* The root of the sums of all chunks follows the last one. */
static size_t put_end(struct conn *lane, struct serve *serve, uint8_t *out)
{
    uint8_t root[SUMS_ROOT_BYTES];
    struct codec_reader r;
    struct wire_header end = {.type = WIRE_END, .id = serve->id};
    sums_table_root(serve->table, root);
    codec_reader_init(&r, root, sizeof root);
    end.offset = codec_get_u64(&r);
    end.sum = codec_get_u64(&r);
    wire_seal_put(&lane->out, &end, NULL, 0, NULL, out);
    return wire_head_bytes(&lane->out);
}

/* @flight: NULL for a send as any other. */
static void send_chunk(struct conn *lane, struct serve *serve, struct zc_flight *flight)
{
    struct tcp_peer *peer = lane->peer;
    uint64_t begin = serve->given * CHUNK_BYTES;
    uint8_t *at = (uint8_t *)(uintptr_t)serve->exported.base + serve->offset + begin;
    uint8_t *head = flight != NULL ? flight->head : lane->out_buf;
    uint8_t *end = flight != NULL ? flight->end : lane->end_buf;
    size_t size = next_size(serve), end_size = 0;
    struct wire_header chunk = {WIRE_CHUNK, (uint32_t)size, serve->id, begin,
                                peer->sums ? sums_chunk(at, size) : 0};
    serve->flying++;
    serve->given++;
    peer->served_bytes += size;
    wire_seal_put(&lane->out, &chunk, at, peer->encrypt ? size : 0, lane->hidden, head);
    if (serve->table != NULL) {
        sums_table_add(serve->table, chunk.sum);
        end_size = serve->given == serve->chunks ? put_end(lane, serve, end) : 0;
    }
    struct iovec iov[] = {{head, wire_head_bytes(&lane->out)},
                          {peer->encrypt ? lane->hidden : at, size},
                          {end, end_size}};
    if (flight != NULL) {
        zc_send(flight, serve, iov, 3);
    } else {
        lane->sending = serve;
        conn_send(lane, iov, 3, chunk_sent);
    }
}

void serve_give(struct conn *lane)
{
    struct zc_flight *flight = NULL;
    if (!conn_alive(lane) || loop_op_busy(&lane->tx) || zc_sending(lane)) {
        return;
    }
    struct serve *serve = whose_turn(lane);
    if (serve == NULL) {
        zc_idle(lane);
        return;
    }
    if (!make_hidden(lane) ||
        (zc_wanted(lane, next_size(serve), &flight) && flight == NULL)) {
        return;
    }
    unlink_serve(lane->peer, serve); /* to the end: the others come first now */
    append(lane->peer, serve);
    send_chunk(lane, serve, flight);
}

static void pump(struct tcp_peer *peer)
{
    for (unsigned i = 0; i < peer->lanes_want; i++) {
        serve_give(peer->lanes[i]);
    }
}

/* ---- beginning and ending
 * ---------------------------------------------------------------- */

static void say_failed(struct tcp_peer *peer, uint64_t id, mob_status status)
{
    struct wire_header header = {
        .type = WIRE_FAIL, .id = id, .offset = (uint64_t)-status};
    control_must(peer, &header);
}

static mob_status make(struct tcp_peer *peer, const struct serve *like)
{
    struct serve *serve = malloc(sizeof *serve);
    struct sums_table *table = NULL;
    if (serve == NULL ||
        (peer->sums && like->chunks > 1 && sums_table_new(&table) != MOB_OK)) {
        free(serve);
        return MOB_ERR_NOMEM;
    }
    *serve = *like;
    serve->table = table;
    append(peer, serve);
    peer->serves_count++;
    return MOB_OK;
}

bool serve_start(struct tcp_peer *peer, const struct wire_header *header,
                 const uint8_t *body)
{
    struct codec_reader r;
    struct serve serve = {.id = header->id};
    if (peer->serves_count >= SERVES_MAX) {
        return false;
    }
    codec_reader_init(&r, body, header->size);
    const uint8_t *object = codec_get_raw(&r, TRANSPORT_OBJECT_BYTES);
    serve.offset = codec_get_u64(&r);
    serve.size = codec_get_u64(&r);
    if (!codec_done(&r)) {
        return false;
    }
    serve.chunks = serve.size != 0 ? sums_count(serve.size) : 1;
    mob_status st =
        user_export(&peer->base, object, serve.offset, serve.size, &serve.exported);
    if (st == MOB_OK && (st = make(peer, &serve)) != MOB_OK) {
        user_unexport(&peer->base, &serve.exported);
    }
    if (st != MOB_OK) {
        say_failed(peer, serve.id, st);
    } else {
        pump(peer);
    }
    return true;
}

static struct serve *by_id(struct tcp_peer *peer, uint64_t id)
{
    struct serve *serve = peer->serves;
    while (serve != NULL && serve->id != id) {
        serve = serve->next;
    }
    return serve;
}

static struct serve *by_cookie(struct tcp_peer *peer, uint64_t cookie)
{
    struct serve *serve = peer->serves;
    while (serve != NULL && serve->exported.cookie != cookie) {
        serve = serve->next;
    }
    return serve;
}

bool serve_acked(struct tcp_peer *peer, const struct wire_header *header)
{
    struct serve *serve = by_id(peer, header->id);
    if (serve == NULL) {
        return true; /* its last chunk was with the kernel already */
    }
    if (header->offset > serve->given) {
        return false;
    }
    if (header->offset > serve->acked) {
        serve->acked = header->offset;
        pump(peer);
    }
    return true;
}

void serve_cancel(struct tcp_peer *peer, uint64_t id)
{
    struct serve *serve = by_id(peer, id);
    if (serve != NULL) {
        serve->over = true;
        if (finished(serve)) {
            give_back(peer, serve);
        }
    }
}

void serve_grown(struct transport_peer *base, uint64_t cookie)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    struct serve *serve = by_cookie(peer, cookie);
    if (peer->state == PEER_UP && serve != NULL && sendable(peer, serve)) {
        pump(peer);
    }
}

void serve_revoke(struct transport_peer *base, uint64_t cookie, mob_status status)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    struct serve *serve = by_cookie(peer, cookie);
    if (peer->state != PEER_UP || serve == NULL || serve->over ||
        serve->given == serve->chunks) {
        return; /* unexport is on its way */
    }
    serve->over = true;
    say_failed(peer, serve->id, status);
    peer_settle_later(peer); /* serve_sweep() */
}

void serve_sweep(struct tcp_peer *peer)
{
    struct serve *serve = peer->serves;
    while (serve != NULL) {
        if (finished(serve)) {
            give_back(peer, serve);
            serve = peer->serves; /* the user may have ended others meanwhile */
        } else {
            serve = serve->next;
        }
    }
}

void serve_drop_all(struct tcp_peer *peer)
{
    while (peer->serves != NULL) {
        give_back(peer, peer->serves);
    }
}
