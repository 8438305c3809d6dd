/* Transfers of the fake: a chunk is copied, and verified, in the step that delivers it.
 */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "fake_net.h"
#include "sums.h"
#include "wire.h"

void fake_check_room(struct fake_peer *peer)
{
    if (peer->wants_room && peer->state == FAKE_UP &&
        peer->queued <= TRANSPORT_QUEUE_BYTES / 2 &&
        peer->pulls_count < TRANSPORT_PULLS_MAX) {
        peer->wants_room = false;
        user_writable(&peer->base);
    }
}

/* ---- puller
 * ------------------------------------------------------------------------------ */

mob_status fake_pull(struct transport_peer *base, const struct transport_source *source,
                     void *dst, struct transport_xfer *xfer)
{
    struct fake_peer *peer = (struct fake_peer *)base;
    unsigned slot = 0;
    if (peer->state != FAKE_UP) {
        return status_fail(MOB_ERR_STATE, "%s is not connected", peer->address);
    }
    if (source->size > UINT64_MAX - source->offset) {
        return status_fail(MOB_ERR_INVALID, "a pull past the end of all numbers");
    }
    if (peer->pulls_count == TRANSPORT_PULLS_MAX) {
        peer->wants_room = true;
        return MOB_ERR_FULL;
    }
    while (peer->pulls[slot] != NULL) {
        slot++;
    }
    uint64_t sequence = ++peer->pull_sequence;
    *xfer = (struct transport_xfer){.peer = base,
                                    .dst = dst,
                                    .size = source->size,
                                    .id = sequence * TRANSPORT_PULLS_MAX + slot,
                                    .slot = (uint16_t)slot,
                                    .lane = (uint8_t)(sequence % peer->lanes)};
    peer->pulls[slot] = xfer;
    peer->pulls_count++;
    if (peer->other != NULL) {
        struct fake_event *event =
            fake_post(peer->other->node, peer->other, 0, FAKE_PULL, NULL, 0);
        event->id = xfer->id;
        event->lane = xfer->lane;
        event->source = *source;
    }
    return MOB_OK;
}

static void drop_slot(struct fake_peer *peer, struct transport_xfer *xfer)
{
    peer->pulls[xfer->slot] = NULL;
    peer->pulls_count--;
}

static void done_later(struct fake_peer *peer, struct transport_xfer *xfer,
                       mob_status status)
{
    drop_slot(peer, xfer);
    xfer->status = status;
    xfer->ending = true;
    xfer->next = peer->ended;
    peer->ended = xfer;
}

void fake_say_ended(struct fake_peer *peer)
{
    while (peer->ended != NULL) {
        struct transport_xfer *xfer = peer->ended;
        peer->ended = xfer->next;
        user_pull_done(&peer->base, xfer, xfer->status);
    }
    fake_check_room(peer);
}

void fake_end_pulls(struct fake_peer *peer, mob_status status)
{
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        if (peer->pulls[i] != NULL) {
            done_later(peer, peer->pulls[i], status);
        }
    }
}

static void tell_cancel(struct fake_peer *peer, uint64_t id)
{
    if (peer->other != NULL) {
        fake_post(peer->other->node, peer->other, 0, FAKE_CANCEL, NULL, 0)->id = id;
    }
}

void fake_cancel(struct transport_xfer *xfer)
{
    struct fake_peer *peer = (struct fake_peer *)xfer->peer;
    if (peer->state == FAKE_UP && !xfer->ending) {
        tell_cancel(peer, xfer->id);
        done_later(peer, xfer, MOB_ERR_CANCELLED);
        fake_post(peer->node, peer, 0, FAKE_ENDED, NULL, 0);
    }
}

static void done(struct fake_peer *peer, struct transport_xfer *xfer, mob_status status)
{
    drop_slot(peer, xfer);
    user_pull_done(&peer->base, xfer, status);
    fake_check_room(peer);
}

/* ---- owner
 * ------------------------------------------------------------------------------- */

static struct fake_serve **find_serve(struct fake_peer *owner, uint64_t id)
{
    struct fake_serve **at = &owner->serves;
    while (*at != NULL && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

static void free_serve(struct fake_peer *owner, struct fake_serve **at)
{
    struct fake_serve *serve = *at;
    struct transport_export exported = serve->exported;
    *at = serve->next;
    free(serve);
    user_unexport(&owner->base, &exported);
}

void fake_drop_serves(struct fake_peer *peer)
{
    while (peer->serves != NULL) {
        free_serve(peer, &peer->serves);
    }
}

/* The next chunk of @serve sets out. */
static void post_chunk(struct fake_peer *puller, const struct fake_serve *serve)
{
    struct fake_event *event =
        fake_post(puller->node, puller, 1u + serve->lane, FAKE_CHUNK, NULL, 0);
    event->id = serve->id;
}

static void begin_serve(struct fake_peer *owner, const struct fake_event *event)
{
    const struct transport_source *source = &event->source;
    struct transport_export exported;
    if (owner->other == NULL) {
        return;
    }
    mob_status st = user_export(&owner->base, source->object, source->offset,
                                source->size, &exported);
    if (owner->other == NULL || st != MOB_OK) { /* the callback may have ended the peer */
        if (st == MOB_OK) {
            user_unexport(&owner->base, &exported);
        } else if (owner->other != NULL) {
            struct fake_event *fail = fake_post(owner->other->node, owner->other,
                                                1u + event->lane, FAKE_FAIL, NULL, 0);
            fail->id = event->id;
            fail->status = st;
        }
        return;
    }
    struct fake_serve *serve = calloc(1, sizeof *serve);
    MOB_ASSERT(serve != NULL);
    *serve = (struct fake_serve){
        owner->serves, event->id, source->offset, source->size, 0, event->lane, exported};
    owner->serves = serve;
    post_chunk(owner->other, serve);
}

/* ---- chunks
 * ------------------------------------------------------------------------------ */

/* Copies a chunk over the wire: false if it did not arrive as it was sent. */
static bool carry(struct fake_net *net, uint8_t *dst, const uint8_t *src, size_t size)
{
    uint64_t sum = sums_chunk(src, size);
    if (size != 0) {
        memcpy(dst, src, size);
        if (net->corrupt_in != UINT64_MAX && net->corrupt_in-- == 0) {
            dst[size / 2] ^= 1; /* corrupt_in is UINT64_MAX again */
        }
    }
    return sums_chunk(dst, size) == sum;
}

static void chunk(struct fake_peer *peer, const struct fake_event *event)
{
    struct transport_xfer *xfer = peer->pulls[event->id % TRANSPORT_PULLS_MAX];
    struct fake_peer *owner = peer->other;
    struct fake_serve **at = owner != NULL ? find_serve(owner, event->id) : NULL;
    if (at == NULL || *at == NULL) {
        return;
    }
    struct fake_serve *serve = *at;
    uint64_t left = serve->size - serve->sent;
    size_t size = left < CHUNK_BYTES ? left : CHUNK_BYTES;
    const uint8_t *src =
        (const uint8_t *)serve->exported.base + serve->offset + serve->sent;
    bool wanted = xfer != NULL && xfer->id == event->id;
    bool intact = !wanted || carry(peer->node->net, xfer->dst + serve->sent, src, size);
    serve->sent += size;
    if (serve->sent == serve->size) {
        free_serve(owner, at);
    } else {
        post_chunk(peer, serve);
    }
    /* That callback, the owner's, may have cut the link: what arrived has arrived. */
    if (!wanted || peer->pulls[event->id % TRANSPORT_PULLS_MAX] != xfer) {
        return;
    }
    if (!intact) {
        tell_cancel(peer, xfer->id);
        done(peer, xfer, MOB_ERR_PROTOCOL);
        return;
    }
    xfer->received += size;
    if (xfer->received == xfer->size) {
        done(peer, xfer, MOB_OK);
    }
}

void fake_data_event(struct fake_peer *peer, const struct fake_event *event)
{
    struct transport_xfer *xfer = peer->pulls[event->id % TRANSPORT_PULLS_MAX];
    struct fake_serve **at;
    switch (event->kind) {
    case FAKE_PULL:
        begin_serve(peer, event);
        return;
    case FAKE_CANCEL:
        at = find_serve(peer, event->id);
        if (*at != NULL) {
            free_serve(peer, at);
        }
        return;
    case FAKE_CHUNK:
        chunk(peer, event);
        return;
    default: /* FAKE_FAIL */
        if (xfer != NULL && xfer->id == event->id) {
            done(peer, xfer, event->status);
        }
    }
}
