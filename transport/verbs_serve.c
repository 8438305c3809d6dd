/* Pulls, as the owner sees them. An export is given back when the puller says that it reads
 * no more, or when no queue pair is left that it was shown to: then nothing can read it.
 *
 * Strict mode: what is shown is a memory window for each link and range, bound for this
 * pull and readable through that link's queue pair alone; it is made invalid before the
 * export is given back. Where the owner's mapping is read-only, which windows do not go
 * with, it is a memory region of this pull's own, readable by peers that know its key. */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/codec.h"
#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

enum { STRICT_RANGES_MAX = 16 }; /* windows are bound by work requests: they must fit */

/* ---- the end
 * ----------------------------------------------------------------------------- */

/* Makes the windows invalid; once they are, serves_work() gives the export back. */
static void begin_end(struct verbs_serve *serve)
{
    struct verbs_peer *peer = serve->peer;
    if (serve->ending) {
        return;
    }
    serve->ending = true;
    for (unsigned i = 0; serve->windows != NULL && i < serve->ranges_count; i++) {
        for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
            struct ibv_mw *window = serve->windows[i * VERBS_RAILS_MAX + k];
            struct verbs_link *link = peer->links[k];
            if (window == NULL || link->state != LINK_UP ||
                link->generation != serve->generations[k] || verbs_link_room(link) == 0) {
                continue; /* deallocating it does the same, and takes longer */
            }
            struct ibv_send_wr wr = {.opcode = IBV_WR_LOCAL_INV,
                                     .send_flags = IBV_SEND_SIGNALED,
                                     .invalidate_rkey = window->rkey};
            struct verbs_wr work = {WORK_INVALIDATE, false, 0, 0, serve};
            serve->posted += verbs_post(link, &wr, &work);
        }
    }
    verbs_touch(peer);
}

static void free_windows(struct verbs_serve *serve)
{
    for (unsigned i = 0;
         serve->windows != NULL && i < serve->ranges_count * VERBS_RAILS_MAX; i++) {
        if (serve->windows[i] != NULL) {
            (void)serve->peer->v->lib->dealloc_mw(serve->windows[i]);
        }
    }
    for (unsigned i = 0; serve->mrs != NULL && i < serve->ranges_count * VERBS_RAILS_MAX;
         i++) {
        if (serve->mrs[i] != NULL) {
            (void)serve->peer->v->lib->dereg_mr(serve->mrs[i]);
        }
    }
    free(serve->windows);
    free(serve->mrs);
    free(serve->here.ranges);
    serve->windows = NULL;
    serve->mrs = NULL;
    serve->here.ranges = NULL;
}

static void free_serve(struct verbs_peer *peer, struct verbs_serve *serve)
{
    struct transport_export exported = serve->exported;
    struct verbs_serve **at = &peer->serves;
    while (*at != serve) {
        at = &(*at)->next;
    }
    *at = serve->next;
    free_windows(serve);
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

static void tell_else(struct verbs_peer *peer, uint64_t id)
{
    uint8_t out[VERBS_SMALL_BYTES];
    verbs_tell(peer, VERBS_ELSE, out, verbs_id_put(id, out));
}

static uint64_t ready_of(const struct transport_export *exported, uint64_t offset,
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

static uint8_t links_up(const struct verbs_peer *peer)
{
    uint8_t mask = 0;
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        const struct verbs_link *link = peer->links[k];
        mask |= link != NULL && link->state == LINK_UP ? (uint8_t)(1u << k) : 0;
    }
    return mask;
}

/* Where the bytes lie: at most @max pieces of registered memory. */
static bool ranges_of(const struct verbs_peer *peer, const uint8_t *at, uint64_t size,
                      uint8_t links, unsigned max, struct verbs_here *ret)
{
    struct verbs_range ranges[64], *all = ranges;
    unsigned count = 0, room = 64;
    while (size != 0) {
        struct verbs_piece piece;
        if (verbs_memory_find(peer->v, at, &piece) != VERBS_MEMORY_THERE ||
            count == max) {
            break;
        }
        if (count == room) {
            struct verbs_range *grown = malloc(max * sizeof *grown);
            if (grown == NULL) {
                break;
            }
            memcpy(grown, ranges, sizeof ranges);
            all = grown;
            room = max;
        }
        uint64_t left = piece.left < size ? piece.left : size;
        all[count] = (struct verbs_range){.at = (uintptr_t)at, .size = left};
        for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
            const struct ibv_mr *mr =
                links & 1u << k ? piece.mrs[peer->links[k]->rail->index] : NULL;
            all[count].keys[k] = mr != NULL ? mr->rkey : 0;
        }
        count++;
        at += left;
        size -= left;
    }
    struct verbs_range *fit = size == 0 ? malloc(count * sizeof *fit) : NULL;
    if (fit != NULL) {
        memcpy(fit, all, count * sizeof *fit);
        ret->ranges = fit;
        ret->count = count;
    }
    if (all != ranges) {
        free(all);
    }
    return fit != NULL;
}

static void tell_here(struct verbs_serve *serve)
{
    struct verbs_peer *peer = serve->peer;
    uint8_t *out = malloc(VERBS_HERE_BYTES);
    if (out == NULL) {
        tell_else(peer, serve->id);
        begin_end(serve);
        return;
    }
    serve->told_ready = ready_of(&serve->exported, serve->offset, serve->size);
    serve->here.id = serve->id;
    serve->here.ready = serve->told_ready;
    memcpy(serve->here.generations, serve->generations, sizeof serve->generations);
    serve->shown = true;
    verbs_tell(peer, VERBS_HERE, out, verbs_here_put(&serve->here, out));
    free(out);
    free(serve->here.ranges);
    serve->here.ranges = NULL;
    verbs_touch(peer);
}

/* ---- windows
 * ----------------------------------------------------------------------------- */

/* One window, if the link takes it. */
static bool bind_one(struct verbs_serve *serve, unsigned range, struct verbs_link *link,
                     struct ibv_mr *mr)
{
    const struct verbs *v = serve->peer->v;
    struct verbs_range *r = &serve->here.ranges[range];
    struct ibv_mw *window = v->lib->alloc_mw(link->rail->pd, IBV_MW_TYPE_2);
    if (window == NULL) {
        return false;
    }
    serve->windows[range * VERBS_RAILS_MAX + link->index] = window;
    /* The low byte of a key is ours to choose: a new one each time. */
    uint32_t key = ibv_inc_rkey(window->rkey);
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_BIND_MW,
        .send_flags = IBV_SEND_SIGNALED,
        .bind_mw = {window, key, {mr, r->at, r->size, IBV_ACCESS_REMOTE_READ}}};
    struct verbs_wr work = {WORK_BIND, false, 0, 0, serve};
    if (!verbs_post(link, &wr, &work)) {
        return false;
    }
    window->rkey = key;
    r->keys[link->index] = key;
    serve->posted++;
    return true;
}

/* Shows a range over a link for this pull alone. */
static bool open_one(struct verbs_serve *serve, unsigned range, struct verbs_link *link)
{
    const struct verbs *v = serve->peer->v;
    struct verbs_range *r = &serve->here.ranges[range];
    struct verbs_piece piece;
    void *at = (void *)(uintptr_t)r->at;
    if (verbs_memory_find(v, at, &piece) != VERBS_MEMORY_THERE) {
        return false;
    }
    if (piece.writable) {
        return bind_one(serve, range, link, piece.mrs[link->rail->index]);
    }
    struct ibv_mr *mr =
        serve->size <= VERBS_STRICT_BYTES
            ? v->lib->reg_mr(link->rail->pd, at, r->size,
                             IBV_ACCESS_REMOTE_READ | IBV_ACCESS_RELAXED_ORDERING)
            : NULL;
    serve->mrs[range * VERBS_RAILS_MAX + link->index] = mr;
    r->keys[link->index] = mr != NULL ? mr->rkey : 0;
    return mr != NULL;
}

static bool open_all(struct verbs_serve *serve)
{
    struct verbs_peer *peer = serve->peer;
    size_t count = (size_t)serve->here.count * VERBS_RAILS_MAX;
    serve->ranges_count = serve->here.count;
    serve->windows = calloc(count, sizeof(struct ibv_mw *));
    serve->mrs = calloc(count, sizeof(struct ibv_mr *));
    if (serve->windows == NULL || serve->mrs == NULL) {
        return false;
    }
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        if (!(serve->here.links & 1u << k)) {
            continue;
        }
        if (verbs_link_room(peer->links[k]) < serve->ranges_count) {
            return false;
        }
        for (unsigned i = 0; i < serve->ranges_count; i++) {
            if (!open_one(serve, i, peer->links[k])) {
                return false;
            }
        }
    }
    if (serve->posted == 0) {
        tell_here(serve); /* nothing has to be bound */
    }
    return true;
}

void verbs_serve_bound(struct verbs_serve *serve, bool bound)
{
    serve->posted--;
    serve->unbound = serve->unbound || !bound;
    if (serve->posted == 0 && !serve->ending && !serve->shown) {
        if (serve->unbound) {
            tell_else(serve->peer, serve->id);
            begin_end(serve);
        } else {
            tell_here(serve);
        }
    }
    verbs_touch(serve->peer);
}

void verbs_serve_unbound(struct verbs_serve *serve)
{
    serve->posted--;
    verbs_touch(serve->peer);
}

/* ---- what the puller says
 * ----------------------------------------------------------------- */

/* Shows the export over the links that are up. False: it cannot be. */
static bool show(struct verbs_serve *serve)
{
    struct verbs_peer *peer = serve->peer;
    const uint8_t *at = (const uint8_t *)serve->exported.base + serve->offset;
    uint8_t links = links_up(peer);
    bool strict = peer->v->strict;
    if (links == 0 ||
        !ranges_of(peer, at, serve->size, links,
                   strict ? STRICT_RANGES_MAX : VERBS_RANGES_MAX, &serve->here)) {
        return false;
    }
    serve->here.links = links;
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        serve->generations[k] = links & 1u << k ? peer->links[k]->generation : 0;
    }
    serve->chunks = sums_count(serve->size);
    if (!peer->unchecked && sums_table_new(&serve->table) != MOB_OK) {
        return false;
    }
    if (strict) {
        return open_all(serve);
    }
    tell_here(serve);
    return true;
}

static void serve_it(struct verbs_peer *peer, const struct verbs_ask *ask,
                     const struct transport_export *exported)
{
    struct verbs_serve *serve = calloc(1, sizeof *serve);
    if (serve == NULL) {
        tell_else(peer, ask->id);
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
    if (!show(serve)) {
        tell_else(peer, ask->id);
        begin_end(serve);
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
               ready_of(&exported, source->offset, source->size) == source->size) {
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
            begin_end(s);
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
    if (peer->v->rails_count == 0) {
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
    uint64_t ready = ready_of(&serve->exported, serve->offset, serve->size);
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
        begin_end(serve);
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
            begin_end(s);
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
