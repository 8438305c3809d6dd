/* Pulls, as the owner sees them. An export is given back when the puller says that it reads
 * no more, or when no queue pair is left that it was shown to: then nothing can read it. */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/codec.h"
#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

/* ---- the end
 * ----------------------------------------------------------------------------- */

static void free_serve(struct verbs_peer *peer, struct verbs_serve *serve)
{
    struct transport_export exported = serve->exported;
    struct verbs_serve **at = &peer->serves;
    while (*at != serve) {
        at = &(*at)->next;
    }
    *at = serve->next;
    verbs_show_free(serve);
    sums_table_free(serve->table);
    free(serve);
    peer->serves_count--;
    user_unexport(&peer->base, &exported);
}

/* No queue pair that it was shown to is left. */
static bool unreachable(const struct verbs_serve *serve)
{
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        const struct verbs_link *link = serve->peer->links[k];
        if (serve->here.links & 1u << k && link != NULL && link->state != LINK_IDLE &&
            link->generation == serve->generations[k]) {
            return false;
        }
    }
    return true;
}

bool verbs_serves_overdue(struct verbs_peer *peer)
{
    bool overdue = false, waiting = false;
    for (struct verbs_serve *s = peer->serves; s != NULL; s = s->next) {
        waiting = waiting || (s->revoked && !s->ending);
        overdue = overdue || (s->revoked && !s->ending &&
                              verbs_now(peer->v) - s->revoked_ns >= VERBS_REVOKE_NS);
    }
    if (waiting && !overdue) {
        verbs_be_patient(peer, VERBS_REVOKE_NS);
    }
    return overdue;
}

void verbs_serves_leave(struct verbs_peer *peer)
{
    for (struct verbs_serve *s = peer->serves; s != NULL; s = s->next) {
        verbs_serve_end(s); /* its puller finds no link, and goes on below */
    }
}

void verbs_serves_drop(struct verbs_peer *peer)
{
    while (peer->serves != NULL) {
        free_serve(peer, peer->serves);
    }
}

/* ---- asked
 * ------------------------------------------------------------------------------- */

static void tell_failure(struct verbs_peer *peer, uint64_t id, mob_status status)
{
    uint8_t out[VERBS_SMALL_BYTES];
    verbs_tell(peer, VERBS_FAIL, out, verbs_pair_put(id, (uint64_t)-status, out));
}

void verbs_tell_else(struct verbs_peer *peer, uint64_t id)
{
    uint8_t out[VERBS_SMALL_BYTES];
    verbs_tell(peer, VERBS_ELSE, out, verbs_id_put(id, out));
}

uint64_t verbs_serve_ready(const struct transport_export *exported, uint64_t offset,
                           uint64_t size)
{
    if (exported->ready == NULL) {
        return size;
    }
    uint64_t ready = *exported->ready < offset ? 0 : *exported->ready - offset;
    return ready < size ? ready : size;
}

static void tell_data(struct verbs_peer *peer, uint64_t id, const uint8_t *at,
                      uint64_t size)
{
    uint8_t out[16 + VERBS_INLINE_MAX];
    size_t head = verbs_pair_put(id, peer->unchecked ? 0 : sums_chunk(at, size), out);
    memcpy(out + head, at, size);
    peer->stats.served_bytes += size;
    verbs_tell(peer, VERBS_DATA, out, head + size);
}

/* ---- what the puller says
 * ----------------------------------------------------------------- */

static void serve_it(struct verbs_peer *peer, const struct verbs_ask *ask,
                     const struct transport_export *exported)
{
    struct verbs_serve *serve = calloc(1, sizeof *serve);
    if (serve == NULL) {
        verbs_tell_else(peer, ask->id);
        user_unexport(&peer->base, exported);
        return;
    }
    serve->peer = peer;
    serve->id = ask->id;
    serve->offset = ask->source.offset;
    serve->size = ask->source.size;
    serve->exported = *exported;
    serve->next = peer->serves;
    peer->serves = serve;
    peer->serves_count++;
    if (!verbs_show(serve)) {
        verbs_tell_else(peer, ask->id);
        verbs_serve_end(serve);
    }
}

static bool asked(struct verbs_peer *peer, const struct verbs_ask *ask)
{
    struct transport_export exported;
    const struct transport_source *source = &ask->source;
    if (ask->id <= peer->serve_last || peer->serves_count >= VERBS_SERVES_MAX) {
        return false;
    }
    peer->serve_last = ask->id;
    mob_status st =
        user_export(&peer->base, source->object, source->offset, source->size, &exported);
    if (st != MOB_OK) {
        tell_failure(peer, ask->id, st);
        return true;
    }
    if (peer->state != VPEER_UP) { /* that callback closed it */
        user_unexport(&peer->base, &exported);
    } else if (source->size <= VERBS_INLINE_MAX &&
               verbs_serve_ready(&exported, source->offset, source->size) ==
                   source->size) {
        tell_data(peer, ask->id, (const uint8_t *)exported.base + source->offset,
                  source->size);
        user_unexport(&peer->base, &exported);
    } else {
        serve_it(peer, ask, &exported);
    }
    return true;
}

static bool ended(struct verbs_peer *peer, uint64_t id, uint64_t bytes)
{
    for (struct verbs_serve *s = peer->serves; s != NULL; s = s->next) {
        if (s->id == id) {
            peer->stats.served_bytes += bytes < s->size ? bytes : s->size;
            verbs_serve_end(s);
            break;
        }
    }
    return id <= peer->serve_last; /* else there never was one */
}

bool verbs_serve_message(struct verbs_peer *peer, enum verbs_kind kind,
                         const uint8_t *data, size_t size)
{
    struct verbs_ask ask;
    uint64_t id, bytes;
    if (!peer->v->had_rails) {
        return false; /* nobody was told that we serve over RDMA */
    }
    if (kind == VERBS_ASK) {
        return verbs_ask_get(data, size, &ask) && asked(peer, &ask);
    }
    return verbs_pair_get(data, size, &id, &bytes) && ended(peer, id, bytes);
}

/* ---- bytes that come, and go
 * -------------------------------------------------------------- */

static struct verbs_serve *find_cookie(struct verbs_peer *peer, uint64_t cookie)
{
    struct verbs_serve *s = peer->serves;
    while (s != NULL && (s->exported.cookie != cookie || s->ending)) {
        s = s->next;
    }
    return s;
}

static void tell_ready(struct verbs_serve *serve)
{
    uint64_t ready = verbs_serve_ready(&serve->exported, serve->offset, serve->size);
    uint8_t out[VERBS_SMALL_BYTES];
    if (!serve->shown || serve->revoked ||
        (ready != serve->size &&
         ready / CHUNK_BYTES == serve->told_ready / CHUNK_BYTES) ||
        ready == serve->told_ready) {
        return;
    }
    serve->told_ready = ready;
    verbs_tell(serve->peer, VERBS_READY, out, verbs_pair_put(serve->id, ready, out));
    verbs_touch(serve->peer); /* there are more sums to be made */
}

void verbs_grown(struct transport_peer *base, uint64_t cookie)
{
    struct verbs_peer *peer = verbs_peer_of(base);
    struct verbs_serve *serve = find_cookie(peer, cookie);
    if (serve != NULL) {
        tell_ready(serve);
    } else if (peer->under != NULL && peer->under->tp->ops->grown != NULL) {
        transport_grown(peer->under, cookie);
    }
}

void verbs_revoke(struct transport_peer *base, uint64_t cookie, mob_status status)
{
    struct verbs_peer *peer = verbs_peer_of(base);
    struct verbs_serve *serve = find_cookie(peer, cookie);
    if (serve == NULL) {
        if (peer->under != NULL && peer->under->tp->ops->revoke != NULL) {
            transport_revoke(peer->under, cookie, status);
        }
        return;
    }
    if (serve->revoked) {
        return;
    }
    tell_failure(peer, serve->id, status);
    serve->revoked = true;
    if (!serve->shown) {
        verbs_serve_end(serve);
    } else {
        serve->revoked_ns = verbs_now(peer->v);
        verbs_be_patient(peer, VERBS_REVOKE_NS);
    }
}

/* ---- what a turn does
 * --------------------------------------------------------------------- */

static void tell_sums(struct verbs_serve *serve)
{
    struct verbs_sums m = {.id = serve->id,
                           .first = serve->summed - serve->batch_count,
                           .count = (uint8_t)serve->batch_count,
                           .last = serve->summed == serve->chunks};
    uint8_t out[VERBS_SMALL_BYTES];
    memcpy(m.sums, serve->batch, sizeof m.sums);
    if (m.last) {
        sums_table_root(serve->table, m.root);
    }
    serve->batch_count = 0;
    verbs_tell(serve->peer, VERBS_SUMS, out, verbs_sums_put(&m, out));
}

static bool summable(const struct verbs_serve *serve)
{
    uint64_t at = serve->summed * CHUNK_BYTES;
    if (!serve->shown || serve->ending || serve->revoked ||
        serve->summed == serve->chunks) {
        return false;
    }
    uint64_t left = serve->size - at;
    return at + (left < CHUNK_BYTES ? left : CHUNK_BYTES) <= serve->told_ready;
}

/* The first sums go at once, so that a small pull need not wait; later ones in crowds. */
static bool due(const struct verbs_serve *serve)
{
    return serve->batch_count == VERBS_SUMS_MAX ||
           serve->batch_count > serve->summed / 8 || !summable(serve);
}

/* A chunk's sum. */
static void sum(struct verbs_serve *serve)
{
    uint64_t *budget = &serve->peer->v->budget, at = serve->summed * CHUNK_BYTES;
    uint64_t left = serve->size - at;
    uint64_t size = left < CHUNK_BYTES ? left : CHUNK_BYTES;
    uint64_t x =
        sums_chunk((const uint8_t *)serve->exported.base + serve->offset + at, size);
    sums_table_add(serve->table, x);
    serve->batch[serve->batch_count++] = x;
    serve->summed++;
    *budget -= *budget < size ? *budget : size;
    if (due(serve)) {
        tell_sums(serve);
    }
}

/* A chunk of each, in turns, as far as the budget goes. True: there is more. */
static bool sum_all(struct verbs_peer *peer)
{
    bool any = !peer->unchecked && peer->state == VPEER_UP && peer->out_used == 0;
    while (any) {
        any = false;
        for (struct verbs_serve *s = peer->serves; s != NULL; s = s->next) {
            if (!summable(s)) {
                continue;
            }
            if (peer->v->budget == 0) {
                return true;
            }
            sum(s);
            any = peer->out_used == 0; /* else the network is full: writable goes on */
        }
    }
    return false;
}

bool verbs_serves_work(struct verbs_peer *peer)
{
    bool more = sum_all(peer);
    struct verbs_serve *s = peer->serves;
    while (s != NULL) {
        if (s->revoked && s->shown && !s->ending && unreachable(s)) {
            verbs_serve_end(s);
        }
        if (s->ending && s->posted == 0) {
            free_serve(peer, s); /* its callback may do anything: begin again */
            s = peer->serves;
        } else {
            s = s->next;
        }
    }
    return more;
}
