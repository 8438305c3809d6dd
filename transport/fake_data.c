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

/* Whole chunks, and the last. */
static uint64_t ready(const struct fake_serve *serve)
{
    const uint64_t *all = serve->exported.ready;
    if (all == NULL) {
        return serve->size;
    }
    uint64_t there = __atomic_load_n(all, __ATOMIC_RELAXED);
    there = there > serve->offset ? there - serve->offset : 0;
    return there < serve->size ? there - there % serve->chunk_bytes : serve->size;
}

/* The next chunks of @serve set out, as many as are ready and the window lets. One of no
 * bytes, if that is what was asked for. */
static void post_chunks(struct fake_peer *puller, struct fake_serve *serve)
{
    uint64_t there = ready(serve);
    while (serve->flying < FAKE_WINDOW &&
           (serve->posted < there || (serve->size == 0 && serve->flying == 0))) {
        uint64_t left = there - serve->posted;
        uint64_t size = left < serve->chunk_bytes ? left : serve->chunk_bytes;
        struct fake_event *event = fake_post_chunk(puller, 1u + serve->lane, size);
        event->id = serve->id;
        event->chunk = size;
        serve->posted += size;
        serve->flying++;
    }
}

static void post_fail(struct fake_peer *owner, uint8_t lane, uint64_t id,
                      mob_status status)
{
    struct fake_event *fail =
        fake_post(owner->other->node, owner->other, 1u + lane, FAKE_FAIL, NULL, 0);
    fail->id = id;
    fail->status = status;
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
            post_fail(owner, event->lane, event->id, st);
        }
        return;
    }
    struct fake_serve *serve = calloc(1, sizeof *serve);
    MOB_ASSERT(serve != NULL);
    *serve = (struct fake_serve){.next = owner->serves,
                                 .id = event->id,
                                 .offset = source->offset,
                                 .size = source->size,
                                 .lane = event->lane,
                                 .chunk_bytes = owner->node->net->chunk_bytes,
                                 .exported = exported};
    owner->serves = serve;
    post_chunks(owner->other, serve);
}

static struct fake_serve *find_cookie(struct fake_peer *owner, uint64_t cookie)
{
    struct fake_serve *serve = owner->serves;
    while (serve != NULL &&
           (serve->exported.cookie != cookie || serve->status != MOB_OK)) {
        serve = serve->next;
    }
    return serve;
}

void fake_grown(struct transport_peer *base, uint64_t cookie)
{
    struct fake_peer *owner = (struct fake_peer *)base;
    struct fake_serve *serve = find_cookie(owner, cookie);
    if (serve != NULL && owner->state == FAKE_UP && owner->other != NULL) {
        post_chunks(owner->other, serve);
    }
}

/* Its bytes are not read any more; the callback comes in an event of its own. */
void fake_revoke(struct transport_peer *base, uint64_t cookie, mob_status status)
{
    struct fake_peer *owner = (struct fake_peer *)base;
    struct fake_serve *serve = find_cookie(owner, cookie);
    if (serve != NULL && owner->state == FAKE_UP) {
        serve->status = status;
        fake_post(owner->node, owner, 0, FAKE_REVOKED, NULL, 0);
    }
}

static void end_revoked(struct fake_peer *owner)
{
    struct fake_serve **at = &owner->serves;
    while (*at != NULL && (*at)->status == MOB_OK) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        if (owner->other != NULL) {
            post_fail(owner, (*at)->lane, (*at)->id, (*at)->status);
        }
        free_serve(owner, at);
    }
}

/* ---- chunks
 * ------------------------------------------------------------------------------ */

/* Copies a chunk over the wire: false if it is seen that it did not arrive as it was
 * sent. */
static bool carry(struct fake_peer *puller, uint8_t *dst, const uint8_t *src, size_t size)
{
    struct fake_net *net = puller->node->net;
    uint64_t sum = puller->unchecked ? 0 : sums_chunk(src, size);
    if (size != 0) {
        memcpy(dst, src, size);
        if (net->corrupt_in != UINT64_MAX && net->corrupt_in-- == 0) {
            dst[size / 2] ^= 1; /* corrupt_in is UINT64_MAX again */
        }
    }
    return puller->unchecked || sums_chunk(dst, size) == sum;
}

static void landed(struct fake_peer *peer, struct transport_xfer *xfer, size_t size)
{
    xfer->received += size;
    peer->pulled_bytes += size;
    if (size != 0) {
        user_landed(&peer->base, xfer);
    }
    if (peer->pulls[xfer->slot] == xfer && xfer->received == xfer->size) {
        done(peer, xfer, MOB_OK);
    }
}

static void chunk(struct fake_peer *peer, const struct fake_event *event)
{
    struct transport_xfer *xfer = peer->pulls[event->id % TRANSPORT_PULLS_MAX];
    struct fake_peer *owner = peer->other;
    struct fake_serve **at = owner != NULL ? find_serve(owner, event->id) : NULL;
    if (at == NULL || *at == NULL || (*at)->status != MOB_OK) {
        return;
    }
    struct fake_serve *serve = *at;
    size_t size = event->chunk;
    const uint8_t *src =
        (const uint8_t *)serve->exported.base + serve->offset + serve->sent;
    bool wanted = xfer != NULL && xfer->id == event->id;
    bool intact = !wanted || carry(peer, xfer->dst + serve->sent, src, size);
    serve->sent += size;
    serve->flying--;
    owner->served_bytes += size;
    if (serve->sent == serve->size) {
        free_serve(owner, at);
    } else {
        post_chunks(peer, serve);
    }
    /* That callback, the owner's, may have cut the link: what arrived has arrived. */
    if (!wanted || peer->pulls[event->id % TRANSPORT_PULLS_MAX] != xfer) {
        return;
    }
    if (intact) {
        landed(peer, xfer, size);
    } else {
        peer->damaged++;
        tell_cancel(peer, xfer->id);
        done(peer, xfer, MOB_ERR_PROTOCOL);
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
    case FAKE_REVOKED:
        end_revoked(peer);
        return;
    default: /* FAKE_FAIL */
        if (xfer != NULL && xfer->id == event->id) {
            done(peer, xfer, event->status);
        }
    }
}
