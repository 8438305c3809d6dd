/* Pulls and serves. A pull is asked for on the control connection and answered on one
 * data connection ("lane") in chunks, in order; the pulls of a lane take turns, a chunk
 * each, so that a small one does not wait for a large one to end. A chunk lands in the
 * object's own place.
 *
 * The id of a pull is sequence * TRANSPORT_PULLS_MAX + slot and is never used again, so
 * that a chunk of a pull that was cancelled is known for what it is, and thrown away. */
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "tcp.h"

/* Serves may outnumber pulls for a moment: their ends cross on the way. */
enum { SERVES_MAX = 2 * TRANSPORT_PULLS_MAX };

/* ---- puller: asking and ending
 * ----------------------------------------------------------- */

static int free_slot(const struct tcp_peer *peer)
{
    for (int i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        if (peer->pulls[i] == NULL) {
            return i;
        }
    }
    return -1;
}

mob_status data_pull(struct transport_peer *base, const struct transport_source *source,
                     void *dst, struct transport_xfer *xfer)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    uint8_t body[WIRE_PULL_BYTES];
    struct codec_writer w;
    if (peer->state != PEER_UP) {
        return status_fail(MOB_ERR_STATE, "%s is not connected", peer->address);
    }
    if (source->size > UINT64_MAX - source->offset) {
        return status_fail(MOB_ERR_INVALID, "a pull past the end of all numbers");
    }
    int slot = free_slot(peer);
    if (slot < 0) {
        peer->wants_room = true;
        return MOB_ERR_FULL;
    }
    uint64_t id = (peer->pull_sequence + 1) * TRANSPORT_PULLS_MAX + (unsigned)slot;
    uint8_t lane = (uint8_t)((peer->pull_sequence + 1) % peer->lanes_want);
    struct wire_header header = {WIRE_PULL, sizeof body, id, lane, 0};
    struct iovec iov = {body, sizeof body};
    codec_writer_init(&w, body, sizeof body);
    codec_put_raw(&w, source->object, sizeof source->object);
    codec_put_u64(&w, source->offset);
    codec_put_u64(&w, source->size);
    MOB_TRY(control_put(peer, &header, &iov, 1, TRANSPORT_QUEUE_BYTES));
    *xfer = (struct transport_xfer){.peer = base,
                                    .dst = dst,
                                    .size = source->size,
                                    .id = id,
                                    .slot = (uint16_t)slot,
                                    .lane = lane};
    peer->pull_sequence++;
    peer->pulls[slot] = xfer;
    peer->pulls_count++;
    control_flush(peer);
    return MOB_OK;
}

static void drop_slot(struct tcp_peer *peer, struct transport_xfer *xfer)
{
    peer->pulls[xfer->slot] = NULL;
    peer->pulls_count--;
}

static void done(struct tcp_peer *peer, struct transport_xfer *xfer, mob_status status)
{
    drop_slot(peer, xfer);
    user_pull_done(&peer->base, xfer, status);
    control_check_room(peer);
}

/* The status is said in a turn of its own, not from within the user's call. */
static void done_later(struct tcp_peer *peer, struct transport_xfer *xfer,
                       mob_status status)
{
    drop_slot(peer, xfer);
    xfer->status = status;
    xfer->ending = true;
    xfer->next = peer->ended;
    peer->ended = xfer;
    peer_settle_later(peer);
}

void data_say_ended(struct tcp_peer *peer)
{
    while (peer->ended != NULL) {
        struct transport_xfer *xfer = peer->ended;
        peer->ended = xfer->next;
        user_pull_done(&peer->base, xfer, xfer->status);
    }
    control_check_room(peer);
}

static void tell_cancel(struct tcp_peer *peer, uint64_t id)
{
    struct wire_header header = {.type = WIRE_CANCEL, .id = id};
    /* Without limit: each pull that found room brings at most one of these. */
    if (control_put(peer, &header, NULL, 0, SIZE_MAX) != MOB_OK) {
        peer_end(peer, MOB_ERR_NOMEM, "no memory to cancel a pull from %s",
                 peer->address);
        return;
    }
    control_flush(peer);
}

void data_cancel(struct transport_xfer *xfer)
{
    struct tcp_peer *peer = LOOP_OWNER(xfer->peer, struct tcp_peer, base);
    if (peer->state != PEER_UP || xfer->ending || xfer->status != MOB_OK) {
        return; /* its end is under way */
    }
    tell_cancel(peer, xfer->id);
    if (xfer->landing) {
        xfer->status = MOB_ERR_CANCELLED; /* landed() goes on from here */
    } else {
        done_later(peer, xfer, MOB_ERR_CANCELLED);
    }
}

void data_end_pulls(struct tcp_peer *peer, mob_status status)
{
    bool over = peer->state == PEER_ENDING; /* then nothing lands any more */
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        struct transport_xfer *xfer = peer->pulls[i];
        if (xfer != NULL && (over || !xfer->landing)) {
            done_later(peer, xfer, xfer->status != MOB_OK ? xfer->status : status);
        } else if (xfer != NULL && xfer->status == MOB_OK) {
            xfer->status = status;
        }
    }
}

/* ---- puller: landing
 * --------------------------------------------------------------------- */

static void got_header(struct conn *lane);

static void next_header(struct conn *lane)
{
    if (conn_alive(lane)) {
        conn_recv(lane, lane->in_buf, WIRE_HEADER_BYTES, got_header);
    }
}

void data_start(struct conn *lane)
{
    next_header(lane);
}

static void discard(struct conn *lane)
{
    if (lane->discard == 0) {
        next_header(lane);
        return;
    }
    size_t part = lane->discard < TCP_SCRATCH_BYTES ? lane->discard : TCP_SCRATCH_BYTES;
    lane->discard -= part;
    conn_recv(lane, lane->tcp->scratch, part, discard);
}

static void damaged(struct conn *lane, struct transport_xfer *xfer)
{
    struct tcp_peer *peer = lane->peer;
    peer->damaged++;
    status_fail(
        MOB_ERR_PROTOCOL,
        "the chunk at %llu of a pull from %s arrived damaged: its checksum differs",
        (unsigned long long)lane->header.offset, peer->address);
    tell_cancel(peer, xfer->id);
    /* Without room to say so the peer ends, and the transfer with it. */
    if (peer->state != PEER_ENDING) {
        done(peer, xfer, MOB_ERR_PROTOCOL);
    }
}

static void landed(struct conn *lane)
{
    struct tcp_peer *peer = lane->peer;
    struct transport_xfer *xfer = lane->landing;
    const struct wire_header *h = &lane->header;
    bool intact = wire_sum(xfer->dst + h->offset, h->size) == h->sum;
    lane->landing = NULL;
    xfer->landing = false;
    next_header(lane);
    if (xfer->status == MOB_OK && !intact) {
        damaged(lane, xfer);
        return;
    }
    if (intact) {
        xfer->received += h->size;
        peer->pulled_bytes += h->size;
    }
    if (intact && xfer->received == xfer->size) {
        /* Before the user hears of it, so that what it does then finds no transfer. */
        drop_slot(peer, xfer);
        xfer->ending = true;
        user_landed(&peer->base, xfer);
        user_pull_done(&peer->base, xfer, MOB_OK);
        control_check_room(peer);
    } else if (xfer->status != MOB_OK) {
        done(peer, xfer, xfer->status);
    } else {
        user_landed(&peer->base, xfer);
    }
}

/* The pull that @h belongs to. NULL: one that ended. False: there never was one. */
static bool find(struct tcp_peer *peer, const struct wire_header *h,
                 struct transport_xfer **ret)
{
    struct transport_xfer *xfer = peer->pulls[h->id % TRANSPORT_PULLS_MAX];
    uint64_t sequence = h->id / TRANSPORT_PULLS_MAX;
    *ret = xfer != NULL && xfer->id == h->id ? xfer : NULL;
    return sequence >= 1 && sequence <= peer->pull_sequence;
}

static void got_chunk(struct conn *lane, struct transport_xfer *xfer)
{
    const struct wire_header *h = &lane->header;
    if (xfer == NULL || xfer->status != MOB_OK) {
        lane->discard = h->size;
        discard(lane);
        return;
    }
    uint64_t left = xfer->size - xfer->received;
    if (xfer->lane != lane->lane || h->offset != xfer->received ||
        h->size != (left < CHUNK_BYTES ? left : CHUNK_BYTES)) {
        peer_end(lane->peer, MOB_ERR_PROTOCOL, "%s sent a chunk that was not asked for",
                 lane->peer->address);
        return;
    }
    lane->landing = xfer;
    xfer->landing = true;
    if (h->size == 0) {
        landed(lane);
    } else {
        conn_recv(lane, xfer->dst + h->offset, h->size, landed);
    }
}

static void got_failure(struct conn *lane, struct transport_xfer *xfer)
{
    uint64_t code = lane->header.offset;
    next_header(lane);
    if (xfer != NULL) {
        done(lane->peer, xfer,
             code >= 1 && code < 1000 ? (mob_status) - (int)code : MOB_ERR_NOT_FOUND);
    }
}

static void got_header(struct conn *lane)
{
    struct tcp_peer *peer = lane->peer;
    struct wire_header *h = &lane->header;
    struct transport_xfer *xfer;
    mob_status st = wire_header_get(lane->in_buf, WIRE_DATA, h);
    if (st != MOB_OK || !wire_seal_check(&lane->in, lane->in_buf, NULL, 0) ||
        !find(peer, h, &xfer)) {
        peer_end(peer, MOB_ERR_PROTOCOL, "%s sent a malformed or unsealed data frame",
                 peer->address);
    } else if (h->type == WIRE_CHUNK) {
        got_chunk(lane, xfer);
    } else if (h->type == WIRE_FAIL) {
        got_failure(lane, xfer);
    } else {
        peer_end(peer, MOB_ERR_PROTOCOL,
                 "%s sent a frame of type %u that does not belong there", peer->address,
                 h->type);
    }
}

/* ---- owner
 * ------------------------------------------------------------------------------- */

static void free_serve(struct tcp_peer *peer, struct serve *serve)
{
    struct transport_export exported = serve->exported;
    bool pinned = serve->pinned;
    free(serve);
    peer->serves--;
    if (pinned) {
        user_unexport(&peer->base, &exported);
    }
}

static void append(struct conn *lane, struct serve *serve)
{
    serve->next = NULL;
    *lane->serves_tail = serve;
    lane->serves_tail = &serve->next;
}

static struct serve *take_first(struct conn *lane)
{
    struct serve *serve = lane->serves;
    lane->serves = serve->next;
    if (lane->serves == NULL) {
        lane->serves_tail = &lane->serves;
    }
    return serve;
}

/* Bytes of the chunk that is next. */
static size_t next_size(const struct serve *serve)
{
    uint64_t left = serve->size - serve->sent;
    return left < CHUNK_BYTES ? left : CHUNK_BYTES;
}

/* True if the next chunk, or the answer, can be sent. */
static bool sendable(const struct serve *serve)
{
    const uint64_t *ready = serve->exported.ready;
    return serve->status != MOB_OK || ready == NULL ||
           serve->offset + serve->sent + next_size(serve) <= *ready;
}

/* The first one of the lane that has something to send. Those that wait for more bytes
 * leave the lane to the others. */
static struct serve *take_sendable(struct conn *lane)
{
    while (lane->serves != NULL) {
        struct serve *serve = take_first(lane);
        if (sendable(serve)) {
            return serve;
        }
        serve->next = lane->peer->parked;
        lane->peer->parked = serve;
    }
    return NULL;
}

static void chunk_sent(struct conn *lane)
{
    struct serve *serve = lane->sending;
    lane->sending = NULL;
    if (serve->cancelled || serve->answered || serve->sent == serve->size) {
        free_serve(lane->peer, serve);
    } else {
        append(lane, serve);
    }
    data_flush(lane);
}

void data_flush(struct conn *lane)
{
    struct serve *serve = NULL;
    if (!conn_alive(lane) || loop_op_busy(&lane->tx) ||
        (serve = take_sendable(lane)) == NULL) {
        return;
    }
    lane->sending = serve;
    if (serve->status != MOB_OK) {
        struct wire_header fail = {WIRE_FAIL, 0, serve->id, (uint64_t)-serve->status, 0};
        serve->answered = true;
        wire_seal_put(&lane->out, &fail, NULL, 0, lane->out_buf);
        conn_send(lane, lane->out_buf, WIRE_HEADER_BYTES, NULL, 0, chunk_sent);
        return;
    }
    const uint8_t *at =
        (const uint8_t *)serve->exported.base + serve->offset + serve->sent;
    size_t size = next_size(serve);
    struct wire_header chunk = {WIRE_CHUNK, (uint32_t)size, serve->id, serve->sent,
                                wire_sum(at, size)};
    serve->sent += size;
    lane->peer->served_bytes += size;
    wire_seal_put(&lane->out, &chunk, NULL, 0, lane->out_buf);
    conn_send(lane, lane->out_buf, WIRE_HEADER_BYTES, at, size, chunk_sent);
}

bool data_serve(struct tcp_peer *peer, const struct wire_header *header,
                const uint8_t *body)
{
    struct codec_reader r;
    if (header->offset >= peer->lanes_want || peer->serves >= SERVES_MAX) {
        return false;
    }
    struct conn *lane = peer->lanes[header->offset];
    struct serve *serve = calloc(1, sizeof *serve);
    if (serve == NULL) {
        peer_end(peer, MOB_ERR_NOMEM, "no memory to serve %s", peer->address);
        return true;
    }
    codec_reader_init(&r, body, header->size);
    const uint8_t *object = codec_get_raw(&r, TRANSPORT_OBJECT_BYTES);
    serve->id = header->id;
    serve->offset = codec_get_u64(&r);
    serve->size = codec_get_u64(&r);
    if (!codec_done(&r)) {
        free(serve);
        return false;
    }
    serve->status =
        user_export(&peer->base, object, serve->offset, serve->size, &serve->exported);
    serve->pinned = serve->status == MOB_OK;
    serve->lane = (uint8_t)header->offset;
    peer->serves++;
    append(lane, serve);
    data_flush(lane);
    return true;
}

/* Takes the serve that @is says out of where it waits; NULL: none. */
static struct serve *take(struct tcp_peer *peer,
                          bool (*is)(const struct serve *, uint64_t), uint64_t key)
{
    for (unsigned i = 0; i <= peer->lanes_want; i++) {
        struct conn *lane = i < peer->lanes_want ? peer->lanes[i] : NULL;
        struct serve **at = lane != NULL ? &lane->serves : &peer->parked;
        while (*at != NULL && !is(*at, key)) {
            at = &(*at)->next;
        }
        struct serve *serve = *at;
        if (serve != NULL) {
            *at = serve->next;
            if (lane != NULL && *at == NULL) {
                lane->serves_tail = at;
            }
            return serve;
        }
    }
    return NULL;
}

/* The serve that @is says whose chunk is with the kernel. */
static struct serve *sending(struct tcp_peer *peer,
                             bool (*is)(const struct serve *, uint64_t), uint64_t key)
{
    for (unsigned i = 0; i < peer->lanes_want; i++) {
        struct serve *serve = peer->lanes[i]->sending;
        if (serve != NULL && is(serve, key)) {
            return serve;
        }
    }
    return NULL;
}

static bool has_id(const struct serve *serve, uint64_t id)
{
    return serve->id == id;
}

static bool has_cookie(const struct serve *serve, uint64_t cookie)
{
    return serve->pinned && serve->exported.cookie == cookie;
}

void data_serve_cancel(struct tcp_peer *peer, uint64_t id)
{
    struct serve *serve = sending(peer, has_id, id);
    if (serve != NULL) {
        serve->cancelled = true; /* chunk_sent() ends it */
    } else if ((serve = take(peer, has_id, id)) != NULL) {
        free_serve(peer, serve);
    }
}

static void again(struct tcp_peer *peer, struct serve *serve)
{
    append(peer->lanes[serve->lane], serve);
    data_flush(peer->lanes[serve->lane]);
}

void data_grown(struct transport_peer *base, uint64_t cookie)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    if (peer->state != PEER_UP) {
        return;
    }
    for (struct serve **at = &peer->parked; *at != NULL; at = &(*at)->next) {
        struct serve *serve = *at;
        if (has_cookie(serve, cookie)) {
            if (sendable(serve)) {
                *at = serve->next;
                again(peer, serve);
            }
            return;
        }
    }
}

void data_revoke(struct transport_peer *base, uint64_t cookie, mob_status status)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    struct serve *serve;
    if (peer->state != PEER_UP) {
        return; /* unexport is on its way */
    }
    if ((serve = sending(peer, has_cookie, cookie)) != NULL) {
        serve->status = status; /* said after the chunk, unless it was the last */
    } else if ((serve = take(peer, has_cookie, cookie)) != NULL) {
        serve->status = status;
        again(peer, serve);
    }
}

void data_drop_serves(struct conn *lane)
{
    if (lane->sending != NULL) {
        free_serve(lane->peer, lane->sending);
        lane->sending = NULL;
    }
    while (lane->serves != NULL) {
        free_serve(lane->peer, take_first(lane));
    }
}

void data_drop_parked(struct tcp_peer *peer)
{
    while (peer->parked != NULL) {
        struct serve *serve = peer->parked;
        peer->parked = serve->next;
        free_serve(peer, serve);
    }
}
