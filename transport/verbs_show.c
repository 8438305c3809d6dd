/* Showing an export to a puller: where it lies, under which keys.
 *
 * Strict mode: what is shown is a memory window for each link and range, bound for this
 * pull and readable through that link's queue pair alone; it is made invalid before the
 * export is given back. Where the owner's mapping takes no windows, as it cannot be writable
 * even for a moment, it is a memory region of this pull's own, readable by peers that know
 * its key. */
#include <stdlib.h>
#include <string.h>

#include "verbs.h"

enum { STRICT_RANGES_MAX = 16 }; /* windows are bound by work requests: they must fit */

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
    struct verbs_range *fit =
        size == 0 && count != 0 ? malloc(count * sizeof *fit) : NULL;
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
        verbs_tell_else(peer, serve->id);
        verbs_serve_end(serve);
        return;
    }
    serve->told_ready = verbs_serve_ready(&serve->exported, serve->offset, serve->size);
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
    struct verbs_wr work = {.kind = WORK_BIND, .owner = serve};
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
    if (piece.mrs[link->rail->index] != NULL) {
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
            verbs_tell_else(serve->peer, serve->id);
            verbs_serve_end(serve);
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

/* Shows the export over the links that are up. False: it cannot be. */
bool verbs_show(struct verbs_serve *serve)
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
        serve->generations[k] = 0;
        if (links & 1u << k) {
            serve->generations[k] = peer->links[k]->generation;
            verbs_link_used(peer->links[k]);
        }
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

/* A queue pair to which windows are bound is not destroyed by software RDMA, which waits for them. This
 * one is in ERR: nobody reads through them any more. */
void verbs_show_unbind(struct verbs_link *link)
{
    for (struct verbs_serve *s = link->peer->serves; s != NULL; s = s->next) {
        if (s->windows == NULL || s->generations[link->index] != link->generation) {
            continue;
        }
        for (unsigned i = 0; i < s->ranges_count; i++) {
            struct ibv_mw **window = &s->windows[i * VERBS_RAILS_MAX + link->index];
            if (*window != NULL) {
                (void)link->rail->v->lib->dealloc_mw(*window);
                *window = NULL;
            }
        }
    }
}

/* ---- the end
 * ----------------------------------------------------------------------------- */

/* Makes the windows invalid; once they are, serves_work() gives the export back. */
void verbs_serve_end(struct verbs_serve *serve)
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
            struct verbs_wr work = {.kind = WORK_INVALIDATE, .owner = serve};
            serve->posted += verbs_post(link, &wr, &work);
        }
    }
    verbs_touch(peer);
}

void verbs_show_free(struct verbs_serve *serve)
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
