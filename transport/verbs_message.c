/* Messages: the user's, and those of the protocol, in one order. */
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "verbs.h"

/* ---- out
 * --------------------------------------------------------------------------------- */

/* The next message's first word. It is used up by who sends it. */
static void word_put(const struct verbs_peer *peer, enum verbs_kind kind,
                     uint8_t word[VERBS_WORD_BYTES])
{
    struct codec_writer w;
    codec_writer_init(&w, word, VERBS_WORD_BYTES);
    codec_put_u64(&w, (peer->out_sequence + 1) << 8 | kind);
}

static mob_status put(struct verbs_peer *peer, enum verbs_kind kind,
                      const struct iovec *iov, unsigned count)
{
    uint8_t word[VERBS_WORD_BYTES];
    struct iovec all[1 + TRANSPORT_IOV_MAX] = {{word, sizeof word}};
    word_put(peer, kind, word);
    memcpy(all + 1, iov, count * sizeof *iov);
    mob_status st = transport_sendv(peer->under, all, 1 + count);
    if (st == MOB_OK) {
        peer->out_sequence++;
        peer->stats.messages_sent += kind == VERBS_USER;
    } else if (st == MOB_ERR_FULL) {
        peer->below_full = true;
    }
    return st;
}

mob_status verbs_send(struct transport_peer *base, const struct iovec *iov,
                      unsigned count)
{
    struct verbs_peer *peer = verbs_peer_of(base);
    size_t size = 0;
    if (peer->state != VPEER_UP) {
        return status_fail(MOB_ERR_STATE, "%s is not connected", peer->address);
    }
    for (unsigned i = 0; i < count && count <= TRANSPORT_IOV_MAX; i++) {
        size += iov[i].iov_len;
    }
    if (size > MESSAGE_BYTES_MAX || count > TRANSPORT_IOV_MAX) {
        return status_fail(MOB_ERR_SIZE,
                           "a message of %zu bytes in %u pieces; at most %u in %u", size,
                           count, MESSAGE_BYTES_MAX, TRANSPORT_IOV_MAX);
    }
    mob_status st =
        peer->out_used != 0 ? MOB_ERR_FULL : put(peer, VERBS_USER, iov, count);
    peer->wants_room = peer->wants_room || st == MOB_ERR_FULL;
    return st;
}

/* Keeps it until there is room below: its size, its kind, its bytes. */
static bool owe(struct verbs_peer *peer, enum verbs_kind kind, const void *data,
                size_t size)
{
    size_t need = peer->out_used + 2 * sizeof(uint32_t) + size;
    if (need > peer->out_size) {
        size_t room = peer->out_size != 0 ? peer->out_size : 4096;
        while (room < need) {
            room *= 2;
        }
        uint8_t *grown = room <= VERBS_OUT_BYTES ? realloc(peer->out, room) : NULL;
        if (grown == NULL) {
            return false;
        }
        peer->out = grown;
        peer->out_size = room;
    }
    uint32_t head[2] = {(uint32_t)size, kind};
    memcpy(peer->out + peer->out_used, head, sizeof head);
    memcpy(peer->out + peer->out_used + sizeof head, data, size);
    peer->out_used = need;
    return true;
}

void verbs_tell(struct verbs_peer *peer, enum verbs_kind kind, const void *data,
                size_t size)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    if (peer->state != VPEER_UP) {
        return;
    }
    mob_status st =
        peer->below_full || peer->out_used != 0 ? MOB_ERR_FULL : put(peer, kind, &iov, 1);
    if (st == MOB_ERR_FULL && !owe(peer, kind, data, size)) {
        verbs_peer_fail(peer, MOB_ERR_FULL, "%s does not take the answers it asks for",
                        peer->address);
    } else if (st == MOB_ERR_NOMEM) {
        verbs_peer_fail(peer, st, "no memory for a message to %s", peer->address);
    }
}

void verbs_flush(struct verbs_peer *peer)
{
    size_t at = 0;
    peer->below_full = false;
    while (at < peer->out_used && peer->state == VPEER_UP) {
        uint32_t head[2];
        memcpy(head, peer->out + at, sizeof head);
        struct iovec iov = {peer->out + at + sizeof head, head[0]};
        if (put(peer, (enum verbs_kind)head[1], &iov, 1) != MOB_OK) {
            break;
        }
        at += sizeof head + head[0];
    }
    if (at != 0) {
        memmove(peer->out, peer->out + at, peer->out_used - at);
        peer->out_used -= at;
    }
    if (peer->out_used == 0) {
        free(peer->out);
        peer->out = NULL;
        peer->out_size = 0;
    }
}

/* ---- in
 * ---------------------------------------------------------------------------------- */

static bool link_message(struct verbs_peer *peer, enum verbs_kind kind, const uint8_t *in,
                         size_t size)
{
    union {
        struct verbs_hello hello;
        struct verbs_offer offer;
        struct verbs_accept accept;
        struct verbs_up up;
        struct verbs_down down;
    } m;
    if (kind == VERBS_HELLO) {
        return verbs_hello_get(in, size, &m.hello) && verbs_greeted(peer, &m.hello);
    }
    if (!peer->greeted) {
        return false;
    }
    switch (kind) {
    case VERBS_WANT:
        return size == 0 && verbs_link_wanted(peer);
    case VERBS_OFFER:
        return verbs_offer_get(in, size, &m.offer) && verbs_link_offered(peer, &m.offer);
    case VERBS_ACCEPT:
        return verbs_accept_get(in, size, &m.accept) &&
               verbs_link_accepted(peer, &m.accept);
    case VERBS_UP:
        return verbs_up_get(in, size, &m.up) && verbs_link_is_up(peer, &m.up);
    default:
        return verbs_down_get(in, size, &m.down) && verbs_link_is_down(peer, &m.down);
    }
}

static bool dispatch(struct verbs_peer *peer, enum verbs_kind kind, const uint8_t *in,
                     size_t size)
{
    switch (kind) {
    case VERBS_USER:
        peer->stats.messages_received++;
        user_message(&peer->base, in, size);
        return true;
    case VERBS_HELLO:
    case VERBS_WANT:
    case VERBS_OFFER:
    case VERBS_ACCEPT:
    case VERBS_UP:
    case VERBS_DOWN:
        return link_message(peer, kind, in, size);
    case VERBS_ASK:
    case VERBS_END:
        return peer->greeted && verbs_serve_message(peer, kind, in, size);
    case VERBS_HERE:
    case VERBS_DATA:
    case VERBS_ELSE:
    case VERBS_SUMS:
    case VERBS_READY:
    case VERBS_FAIL:
        return peer->greeted && verbs_pull_message(peer, kind, in, size);
    default:
        return false;
    }
}

void verbs_message_came(struct verbs_peer *peer, const uint8_t *data, size_t size)
{
    struct codec_reader r;
    codec_reader_init(&r, data, size);
    uint64_t word = codec_get_u64(&r);
    if (peer->state != VPEER_UP) {
        return;
    }
    unsigned kind = word & 0xff;
    if (!r.ok || word >> 8 != peer->in_sequence + 1 || kind >= VERBS_KINDS) {
        verbs_peer_fail(peer, MOB_ERR_PROTOCOL, "%s sent a message out of its order",
                        peer->address);
        return;
    }
    peer->in_sequence++;
    if (!dispatch(peer, (enum verbs_kind)kind, data + VERBS_WORD_BYTES,
                  size - VERBS_WORD_BYTES)) {
        verbs_peer_fail(peer, MOB_ERR_PROTOCOL,
                        "%s sent a malformed message of kind %u about RDMA",
                        peer->address, kind);
    }
}
