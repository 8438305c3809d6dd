/* Chunks that land: a lane reads a head, then the chunk's pieces into their place in the
 * destination, and checks its sum or seal before its bytes count. */
#include "core/codec.h"
#include "core/status.h"
#include "tcp.h"

enum { ACK_CHUNKS = WIRE_WINDOW / 4 };

static void got_header(struct conn *lane);

static void next_header(struct conn *lane)
{
    if (conn_alive(lane)) {
        conn_recv(lane, lane->in_buf, wire_head_bytes(&lane->in), got_header);
    }
}

void pull_lane_start(struct conn *lane)
{
    if (lane->peer->sums && sums_state_new(&lane->sum) != MOB_OK) {
        peer_end(lane->peer, MOB_ERR_NOMEM, "no memory for checksums");
        return;
    }
    next_header(lane);
}

static void discard(struct conn *lane)
{
    if (lane->land_left == 0) {
        if (lane->peer->encrypt) {
            wire_seal_skip(&lane->in);
        }
        next_header(lane);
        return;
    }
    size_t part =
        lane->land_left < TCP_SCRATCH_BYTES ? lane->land_left : TCP_SCRATCH_BYTES;
    lane->land_left -= part;
    conn_recv(lane, lane->tcp->scratch, part, discard);
}

static struct pull *stop_landing(struct conn *lane)
{
    struct pull *pull = lane->landing;
    lane->landing = NULL;
    pull->landing--;
    pull->xfer->landing = pull->landing != 0;
    return pull;
}

/* It was cancelled, or failed, while a chunk was landing. */
static void landed_in_vain(struct conn *lane)
{
    struct pull *pull = stop_landing(lane);
    discard(lane);
    if (pull->landing == 0) {
        pull_over(lane->peer, pull, pull->xfer->status);
    }
}

/* @what of it arrived otherwise than it was sent. */
static void damaged(struct tcp_peer *peer, struct pull *pull, const char *what,
                    uint64_t offset)
{
    peer->damaged++;
    status_fail(MOB_ERR_PROTOCOL, "%s at %llu of a pull from %s arrived damaged", what,
                (unsigned long long)offset, peer->address);
    pull_tell_cancel(peer, pull->xfer->id);
    /* Without room to say so the peer ends, and the transfer with it. */
    if (peer->state != PEER_ENDING) {
        pull_fail(peer, pull, MOB_ERR_PROTOCOL);
    }
}

static bool whole(const struct tcp_peer *peer, const struct pull *pull)
{
    return pull->landed == pull->chunks && (pull->has_root || !pull_has_root(peer, pull));
}

/* All chunks are there. @grown: the user has not heard of the last one. */
static void finish(struct tcp_peer *peer, struct pull *pull, bool grown)
{
    if (pull_has_root(peer, pull)) {
        uint8_t root[SUMS_ROOT_BYTES];
        sums_table_root(pull->table, root);
        if (!sums_root_equal(root, pull->root)) {
            damaged(peer, pull, "the table of checksums", 0);
            return;
        }
    }
    /* Taken before the user hears of it, so that what it does then finds no transfer. */
    struct transport_xfer *xfer = pull_take(peer, pull);
    if (grown) {
        user_landed(&peer->base, xfer);
    }
    user_pull_done(&peer->base, xfer, MOB_OK);
    control_check_room(peer);
}

/* Counts what is verified in a row now. */
static void advance(struct tcp_peer *peer, struct pull *pull)
{
    struct transport_xfer *xfer = pull->xfer;
    while (pull->verified & 1) {
        if (pull_has_root(peer, pull)) {
            sums_table_add(pull->table, pull->sums[pull->landed % WIRE_WINDOW]);
        }
        pull->verified >>= 1;
        pull->taken >>= 1;
        pull->landed++;
    }
    xfer->received =
        pull->landed == pull->chunks ? xfer->size : pull->landed * CHUNK_BYTES;
    if (peer->lanes_want > 2 && pull->landed - pull->acked >= ACK_CHUNKS &&
        pull->chunks > WIRE_WINDOW) {
        struct wire_header ack = {WIRE_ACK, 0, xfer->id, pull->landed, 0};
        pull->acked = pull->landed;
        control_must(peer, &ack);
    }
}

static void verified(struct tcp_peer *peer, struct pull *pull,
                     const struct wire_header *h)
{
    uint64_t number = h->offset / CHUNK_BYTES, before = pull->xfer->received;
    struct transport_xfer *xfer = pull->xfer;
    pull->sums[number % WIRE_WINDOW] = h->sum;
    pull->verified |= 1ull << (number - pull->landed);
    peer->pulled_bytes += h->size;
    advance(peer, pull);
    if (whole(peer, pull)) {
        finish(peer, pull, true);
    } else if (xfer->received != before) {
        user_landed(&peer->base, xfer);
    }
}

static void chunk_landed(struct conn *lane)
{
    struct tcp_peer *peer = lane->peer;
    struct wire_header h = lane->header;
    struct pull *pull = stop_landing(lane);
    bool intact = true;
    if (peer->encrypt && h.size != 0 &&
        !wire_seal_check(&lane->in, lane->in_buf, pull->xfer->dst + h.offset, h.size)) {
        peer_end(peer, MOB_ERR_PROTOCOL, "%s sent a chunk whose seal is wrong",
                 peer->address);
        return;
    }
    if (peer->sums) {
        intact = sums_end(lane->sum) == h.sum;
    }
    next_header(lane);
    if (!intact) {
        damaged(peer, pull, "the chunk", h.offset);
    } else {
        verified(peer, pull, &h);
    }
}

static void land(struct conn *lane);

static void piece_landed(struct conn *lane)
{
    struct pull *pull = lane->landing;
    if (pull->xfer->status != MOB_OK) {
        landed_in_vain(lane);
        return;
    }
    if (lane->peer->sums) {
        sums_add(lane->sum, lane->land_at, lane->land_piece);
    }
    lane->land_at += lane->land_piece;
    if (lane->land_left != 0) {
        land(lane);
    } else {
        chunk_landed(lane);
    }
}

static void land(struct conn *lane)
{
    lane->land_piece =
        lane->land_left < TCP_PIECE_BYTES ? lane->land_left : TCP_PIECE_BYTES;
    lane->land_left -= lane->land_piece;
    conn_recv(lane, lane->land_at, lane->land_piece, piece_landed);
}

/* True if that is a chunk of the pull that may come now. */
static bool expected(const struct pull *pull, const struct wire_header *h)
{
    uint64_t number = h->offset / CHUNK_BYTES, size = pull->xfer->size;
    if (h->offset % CHUNK_BYTES != 0 || number < pull->landed ||
        number - pull->landed >= WIRE_WINDOW || number >= pull->chunks) {
        return false;
    }
    uint64_t left = size - h->offset;
    return h->size == (left < CHUNK_BYTES ? left : CHUNK_BYTES) &&
           (pull->taken >> (number - pull->landed) & 1) == 0;
}

static void got_chunk(struct conn *lane, struct pull *pull)
{
    const struct wire_header *h = &lane->header;
    lane->land_left = h->size;
    if (pull == NULL) {
        discard(lane);
        return;
    }
    if (!expected(pull, h)) {
        peer_end(lane->peer, MOB_ERR_PROTOCOL, "%s sent a chunk that was not asked for",
                 lane->peer->address);
        return;
    }
    pull->taken |= 1ull << (h->offset / CHUNK_BYTES - pull->landed);
    pull->landing++;
    pull->xfer->landing = true;
    lane->landing = pull;
    lane->land_at = pull->xfer->dst + h->offset;
    if (lane->peer->sums) {
        sums_begin(lane->sum);
    }
    if (h->size == 0) {
        chunk_landed(lane);
    } else {
        land(lane);
    }
}

/* False: it has no business there. */
static bool got_end(struct conn *lane, struct pull *pull)
{
    struct tcp_peer *peer = lane->peer;
    struct codec_writer w;
    if (!peer->sums || (pull != NULL && (!pull_has_root(peer, pull) || pull->has_root))) {
        return false;
    }
    next_header(lane);
    if (pull == NULL) {
        return true;
    }
    codec_writer_init(&w, pull->root, sizeof pull->root);
    codec_put_u64(&w, lane->header.offset);
    codec_put_u64(&w, lane->header.sum);
    pull->has_root = true;
    if (whole(peer, pull)) {
        finish(peer, pull, false);
    }
    return true;
}

static void got_header(struct conn *lane)
{
    struct tcp_peer *peer = lane->peer;
    struct wire_header *h = &lane->header;
    struct pull *pull;
    bool later = peer->encrypt; /* what is in the payload's tag is checked with it */
    bool right =
        wire_seal_head(&lane->in, lane->in_buf, WIRE_DATA, h) == MOB_OK &&
        ((later && h->size != 0) || wire_seal_check(&lane->in, lane->in_buf, NULL, 0)) &&
        pull_find(peer, h->id, &pull);
    if (!right) {
        peer_end(peer, MOB_ERR_PROTOCOL, "%s sent a malformed or unsealed data frame",
                 peer->address);
    } else if (h->type == WIRE_CHUNK) {
        got_chunk(lane, pull);
    } else if (h->type != WIRE_END || !got_end(lane, pull)) {
        peer_end(peer, MOB_ERR_PROTOCOL,
                 "%s sent a frame of type %u that does not belong there", peer->address,
                 h->type);
    }
}
