/* Messages: the user's, and those of the protocol. All have numbers, and are delivered in
 * the order of these, whether they came over a link or by the backend below. */
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "verbs.h"

/* ---- out
 * --------------------------------------------------------------------------------- */

/* Sends it below. */
static mob_status below(struct verbs_peer *peer, uint64_t word, const struct iovec *iov,
                        unsigned count)
{
    uint8_t head[VERBS_WORD_BYTES];
    struct codec_writer w;
    struct iovec all[1 + TRANSPORT_IOV_MAX] = {{head, sizeof head}};
    codec_writer_init(&w, head, sizeof head);
    codec_put_u64(&w, word);
    memcpy(all + 1, iov, count * sizeof *iov);
    mob_status st = transport_sendv(peer->under, all, 1 + count);
    peer->below_full = peer->below_full || st == MOB_ERR_FULL;
    return st;
}

/* Queue pairs are agreed on by the backend below alone. */
static bool may_be_small(enum verbs_kind kind)
{
    return kind == VERBS_USER || kind >= VERBS_ASK;
}

static mob_status put_below(struct verbs_peer *peer, uint64_t word,
                            const struct iovec *iov, unsigned count, size_t size)
{
    /* The other side holds what passes small messages that did not come yet, and has its
     * bounds. */
    if (peer->unacked != 0 && peer->passed_bytes + size > TRANSPORT_QUEUE_BYTES) {
        peer->held_back = true;
        return MOB_ERR_FULL;
    }
    mob_status st = below(peer, word, iov, count);
    peer->passed_bytes += st == MOB_OK && peer->unacked != 0 ? size : 0;
    return st;
}

/* A new message, by the way that suits it if @small, else below. */
static mob_status put(struct verbs_peer *peer, enum verbs_kind kind,
                      const struct iovec *iov, unsigned count, size_t size, bool small)
{
    /* Its number is taken first: should its link fail now, others are sent at once. */
    uint64_t word = ++peer->out_sequence << 8 | kind;
    mob_status st = MOB_OK;
    if (!small || !may_be_small(kind) ||
        !verbs_small_send(peer, word, iov, count, size)) {
        st = put_below(peer, word, iov, count, size);
    }
    if (st == MOB_OK) {
        peer->stats.messages_sent += kind == VERBS_USER;
    } else {
        peer->out_sequence--;
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
    mob_status st = peer->out_used != 0 ? MOB_ERR_FULL
                                        : put(peer, VERBS_USER, iov, count, size, true);
    peer->wants_room = peer->wants_room || st == MOB_ERR_FULL;
    return st;
}

/* What waits for room: a head, then the bytes. */
struct owed {
    uint64_t word; /* 0: it has no number yet */
    uint32_t size, kind;
};

/* At the end of what waits, or before all of it. */
static bool owe(struct verbs_peer *peer, bool first, const struct owed *owed,
                const void *data)
{
    size_t more = sizeof *owed + owed->size, need = peer->out_used + more;
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
    uint8_t *at = peer->out + (first ? 0 : peer->out_used);
    memmove(at + more, at, first ? peer->out_used : 0);
    memcpy(at, owed, sizeof *owed);
    if (owed->size != 0) {
        memcpy(at + sizeof *owed, data, owed->size);
    }
    peer->out_used = need;
    return true;
}

void verbs_send_again(struct verbs_peer *peer, uint64_t word, const void *data,
                      size_t size)
{
    struct owed owed = {word, (uint32_t)size, 0};
    if (peer->state == VPEER_UP && !owe(peer, true, &owed, data)) {
        verbs_peer_fail(peer, MOB_ERR_NOMEM, "no memory for a message to %s",
                        peer->address);
    }
}

void verbs_tell(struct verbs_peer *peer, enum verbs_kind kind, const void *data,
                size_t size)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    struct owed owed = {0, (uint32_t)size, kind};
    if (peer->state != VPEER_UP) {
        return;
    }
    mob_status st =
        peer->out_used != 0 ? MOB_ERR_FULL : put(peer, kind, &iov, 1, size, true);
    if (st == MOB_ERR_FULL && !owe(peer, false, &owed, data)) {
        verbs_peer_fail(peer, MOB_ERR_FULL, "%s does not take the answers it asks for",
                        peer->address);
    } else if (st == MOB_ERR_NOMEM) {
        verbs_peer_fail(peer, st, "no memory for a message to %s", peer->address);
    }
}

void verbs_flush(struct verbs_peer *peer)
{
    size_t at = 0;
    while (at < peer->out_used && peer->state == VPEER_UP) {
        struct owed owed;
        memcpy(&owed, peer->out + at, sizeof owed);
        struct iovec iov = {peer->out + at + sizeof owed, owed.size};
        mob_status st = owed.word != 0 ? below(peer, owed.word, &iov, 1)
                                       : put(peer, (enum verbs_kind)owed.kind, &iov, 1,
                                             owed.size, false);
        if (st != MOB_OK) {
            break;
        }
        at += sizeof owed + owed.size;
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

static bool acknowledged(struct verbs_peer *peer, const struct verbs_ack *ack)
{
    struct verbs_link *link = peer->links[ack->link];
    return link != NULL &&
           (link->generation != ack->generation || verbs_small_acked(link, ack->count));
}

static bool dispatch(struct verbs_peer *peer, enum verbs_kind kind, const uint8_t *in,
                     size_t size)
{
    struct verbs_ack ack;
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
    case VERBS_ACK:
        return verbs_ack_get(in, size, &ack) && acknowledged(peer, &ack);
    default:
        return false;
    }
}

static void deliver(struct verbs_peer *peer, struct verbs_link *link, uint64_t word,
                    const uint8_t *data, size_t size)
{
    enum verbs_kind kind = (enum verbs_kind)(word & 0xff);
    peer->in_sequence = word >> 8;
    if (link != NULL) {
        link->came++;
    }
    if ((link != NULL && !may_be_small(kind)) || !dispatch(peer, kind, data, size)) {
        verbs_peer_fail(peer, MOB_ERR_PROTOCOL,
                        "%s sent a malformed message of kind %u about RDMA",
                        peer->address, kind);
    }
}

/* The link that a held message came by, if it is still that one. */
static struct verbs_link *link_of(const struct verbs_peer *peer,
                                  const struct verbs_held *held)
{
    struct verbs_link *link =
        held->link < VERBS_RAILS_MAX ? peer->links[held->link] : NULL;
    return link != NULL && link->generation == held->generation ? link : NULL;
}

/* Keeps what came too early. */
static void hold(struct verbs_peer *peer, struct verbs_link *link, uint64_t word,
                 const uint8_t *data, size_t size)
{
    struct verbs_held **at = &peer->held, *held = NULL;
    while (*at != NULL && (*at)->word >> 8 < word >> 8) {
        at = &(*at)->next;
    }
    if (*at != NULL && (*at)->word >> 8 == word >> 8) { /* it came by both ways */
        if (link != NULL) {
            link->came++;
        }
        return;
    }
    if (peer->held_bytes + size <= VERBS_HELD_BYTES) {
        held = malloc(sizeof *held + size);
    }
    if (held == NULL) {
        verbs_peer_fail(peer, MOB_ERR_PROTOCOL, "%s sent messages far out of their order",
                        peer->address);
        return;
    }
    *held = (struct verbs_held){.next = *at,
                                .word = word,
                                .link = link != NULL ? link->index : VERBS_RAILS_MAX,
                                .generation = link != NULL ? link->generation : 0,
                                .size = size};
    if (size != 0) {
        memcpy(held->data, data, size);
    }
    *at = held;
    peer->held_bytes += sizeof *held + size;
}

/* What was held and is next now. */
static void deliver_held(struct verbs_peer *peer)
{
    while (peer->held != NULL && peer->state == VPEER_UP &&
           peer->held->word >> 8 <= peer->in_sequence + 1) {
        struct verbs_held *held = peer->held;
        peer->held = held->next;
        peer->held_bytes -= sizeof *held + held->size;
        deliver(peer, link_of(peer, held), held->word, held->data, held->size);
        free(held);
    }
}

void verbs_message_in(struct verbs_peer *peer, struct verbs_link *link, uint64_t word,
                      const uint8_t *data, size_t size)
{
    uint64_t sequence = word >> 8;
    if (peer->state != VPEER_UP) {
        return;
    }
    if (sequence <= peer->in_sequence) { /* it came by both ways */
        if (link != NULL) {
            link->came++;
        }
    } else if (sequence != peer->in_sequence + 1) {
        hold(peer, link, word, data, size);
    } else {
        deliver(peer, link, word, data, size);
        deliver_held(peer);
    }
}

void verbs_message_came(struct verbs_peer *peer, const uint8_t *data, size_t size)
{
    struct codec_reader r;
    codec_reader_init(&r, data, size);
    uint64_t word = codec_get_u64(&r);
    if (!r.ok || word >> 8 == 0) {
        verbs_peer_fail(peer, MOB_ERR_PROTOCOL, "%s sent a message without a number",
                        peer->address);
        return;
    }
    verbs_message_in(peer, NULL, word, data + VERBS_WORD_BYTES, size - VERBS_WORD_BYTES);
    peer->below_bytes += size;
    if (peer->below_bytes >= MESSAGE_BYTES_MAX) {
        verbs_small_tell(peer); /* else the other side would be held back at some time */
    }
}
