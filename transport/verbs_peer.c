/* One peer: what the backend below says of it, its end, its figures. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/status.h"
#include "verbs.h"

static void impatient(struct verbs_timer *timer)
{
    struct verbs_peer *peer = LOOP_OWNER(timer, struct verbs_peer, patience);
    if (verbs_serves_overdue(peer)) {
        verbs_links_end(peer, "it did not let go of bytes that are to be freed");
    }
    verbs_touch(peer); /* pulls that waited for a link look again */
}

void verbs_be_patient(struct verbs_peer *peer, uint64_t ns)
{
    if (!verbs_timer_active(&peer->patience)) {
        verbs_timer_start(peer->v, &peer->patience, verbs_now(peer->v) + ns, impatient);
    }
}

mob_status verbs_peer_new(struct verbs *v, struct verbs_peer **ret)
{
    struct verbs_peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for another peer");
    }
    peer->base.tp = &v->base;
    peer->v = v;
    peer->next = v->peers;
    if (v->peers != NULL) {
        v->peers->prev = peer;
    }
    v->peers = peer;
    *ret = peer;
    return MOB_OK;
}

static void clean(struct verbs_peer *peer)
{
    struct verbs *v = peer->v;
    struct verbs_peer **at = &v->dirty;
    if (!peer->dirty) {
        return;
    }
    while (*at != peer) {
        at = &(*at)->dirty_next;
    }
    *at = peer->dirty_next;
    if (*at == NULL) {
        v->dirty_end = at;
    }
}

void verbs_peer_free(struct verbs_peer *peer)
{
    clean(peer);
    if (peer->prev != NULL) {
        peer->prev->next = peer->next;
    } else {
        peer->v->peers = peer->next;
    }
    if (peer->next != NULL) {
        peer->next->prev = peer->prev;
    }
    verbs_timer_stop(peer->v, &peer->patience);
    verbs_links_free(peer);
    while (peer->held != NULL) {
        struct verbs_held *held = peer->held;
        peer->held = held->next;
        free(held);
    }
    free(peer->out);
    free(peer);
}

/* ---- the end
 * ----------------------------------------------------------------------------- */

static mob_status pulls_status(const struct verbs_peer *peer)
{
    /* MOB_ERR_PROTOCOL of a transfer means a damaged chunk, after which one pulls again.
     */
    return peer->status == MOB_ERR_PROTOCOL ? MOB_ERR_PEER_LOST : peer->status;
}

/* True: it is freed. */
static bool finish(struct verbs_peer *peer)
{
    struct verbs *v = peer->v;
    if (peer->state != VPEER_DOWN || !verbs_links_gone(peer)) {
        return false;
    }
    verbs_pulls_end(peer, pulls_status(peer));
    verbs_pulls_work(peer);
    MOB_ASSERT(peer->pulls_count == 0); /* nothing lands without a queue pair */
    verbs_serves_drop(peer);
    if (peer->dialed || peer->announced) {
        user_peer_down(&peer->base, peer->status, peer->reason);
    }
    verbs_peer_free(peer);
    verbs_check_closed(v);
    return true;
}

bool verbs_peer_work(struct verbs_peer *peer)
{
    bool more = verbs_pulls_work(peer);
    more = verbs_serves_work(peer) || more;
    if (peer->state == VPEER_UP) {
        verbs_read_post(peer);
        verbs_small_work(peer);
    }
    if (finish(peer)) {
        return false;
    }
    return more;
}

void verbs_disconnect(struct transport_peer *base)
{
    struct verbs_peer *peer = verbs_peer_of(base);
    if (peer->state >= VPEER_LEAVING) {
        return;
    }
    if (peer->status == MOB_OK) {
        peer->status = MOB_ERR_CLOSED;
        snprintf(peer->reason, sizeof peer->reason, "closed by this node");
    }
    if (peer->state == VPEER_UP) {
        verbs_links_end(peer, "the connection is closed"); /* sends again what it lost */
        peer->state = VPEER_LEAVING;
        verbs_pulls_end(peer, pulls_status(peer));
    }
    transport_disconnect(peer->under);
}

void verbs_peer_fail(struct verbs_peer *peer, mob_status status, const char *format, ...)
{
    va_list ap;
    if (peer->state != VPEER_UP) {
        return;
    }
    va_start(ap, format);
    vsnprintf(peer->reason, sizeof peer->reason, format, ap);
    va_end(ap);
    peer->status = status;
    verbs_disconnect(&peer->base);
}

/* ---- what the backend below says
 * --------------------------------------------------------- */

static void under_up(void *arg, struct transport_peer *under,
                     const struct transport_peer_info *info)
{
    struct verbs *v = arg;
    struct verbs_peer *peer = info->tag;
    if (peer == NULL) {
        if (v->closing || verbs_peer_new(v, &peer) != MOB_OK) {
            transport_disconnect(under);
            return;
        }
        under->tag = peer;
    }
    peer->under = under;
    peer->base.node_id = info->node_id;
    peer->state = VPEER_UP;
    peer->announced = true;
    snprintf(peer->address, sizeof peer->address, "%s", info->address);
    verbs_greet(peer);
    user_peer_up(&peer->base, info->dialed, info->address);
}

static void under_down(void *arg, struct transport_peer *under, mob_status status,
                       const char *reason)
{
    struct verbs *v = arg;
    struct verbs_peer *peer = under->tag;
    if (peer == NULL) {
        return; /* no memory for it when it came */
    }
    peer->under = NULL;
    if (peer->status == MOB_OK) {
        peer->status = status;
        snprintf(peer->reason, sizeof peer->reason, "%s", reason);
    }
    peer->state = VPEER_DOWN;
    verbs_pulls_end(peer, pulls_status(peer));
    verbs_links_end(peer, "the connection is gone");
    if (v->had_rails) {
        verbs_touch(peer); /* what READs are under way end first */
    } else {
        finish(peer);
    }
}

static void under_message(void *arg, struct transport_peer *under, const void *data,
                          size_t size)
{
    (void)arg;
    if (under->tag != NULL) {
        verbs_message_came(under->tag, data, size);
    }
}

static void under_writable(void *arg, struct transport_peer *under)
{
    struct verbs_peer *peer = under->tag;
    (void)arg;
    if (peer == NULL) {
        return;
    }
    peer->below_full = false;
    verbs_flush(peer);
    if (peer->v->had_rails) {
        verbs_touch(peer); /* pulls that are owed to it, sums that waited */
    }
    verbs_check_room(peer);
}

void verbs_check_room(struct verbs_peer *peer)
{
    if (peer->wants_room && peer->state == VPEER_UP && !peer->below_full &&
        !peer->held_back && peer->pulls_count < TRANSPORT_PULLS_MAX) {
        peer->wants_room = false;
        user_writable(&peer->base);
    }
}

static mob_status under_export(void *arg, struct transport_peer *under,
                               const uint8_t object[TRANSPORT_OBJECT_BYTES],
                               struct transport_export *ret)
{
    const struct transport_config *c = &((struct verbs *)arg)->base.config;
    struct verbs_peer *peer = under->tag;
    return peer != NULL ? c->user->export(c->arg, &peer->base, object, ret)
                        : MOB_ERR_NOT_FOUND;
}

static void under_unexport(void *arg, struct transport_peer *under,
                           const struct transport_export *exported)
{
    struct verbs_peer *peer = under->tag;
    (void)arg;
    user_unexport(&peer->base, exported);
}

static void under_pull_done(void *arg, struct transport_xfer *xfer, mob_status status)
{
    (void)arg;
    verbs_under_pull_done(LOOP_OWNER(xfer, struct verbs_pull, under), status);
}

static void under_landed(void *arg, struct transport_xfer *xfer)
{
    (void)arg;
    verbs_under_landed(LOOP_OWNER(xfer, struct verbs_pull, under));
}

static void under_refused(void *arg, const char *address, mob_status status,
                          const char *reason)
{
    user_refused(&((struct verbs *)arg)->base, address, status, reason);
}

static void under_closed(void *arg)
{
    struct verbs *v = arg;
    v->under = NULL;
    v->closed_below = true;
    verbs_check_closed(v);
}

const struct transport_user verbs_under_user = {.peer_up = under_up,
                                                .peer_down = under_down,
                                                .message = under_message,
                                                .writable = under_writable,
                                                .export = under_export,
                                                .unexport = under_unexport,
                                                .pull_done = under_pull_done,
                                                .landed = under_landed,
                                                .refused = under_refused,
                                                .closed = under_closed};

/* ---- figures
 * ----------------------------------------------------------------------------- */

/* The best sentence of why objects do not move over RDMA. */
static const char *why(const struct verbs_peer *peer)
{
    const struct verbs *v = peer->v;
    if (v->rails_count == 0) {
        return v->why;
    }
    if (!peer->greeted) {
        return "the other node did not say yet what it has";
    }
    if (peer->hello.rails_count == 0) {
        return peer->why;
    }
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        if (peer->links[i] != NULL && peer->links[i]->why[0] != '\0') {
            return peer->links[i]->why;
        }
    }
    if (peer->why[0] != '\0') {
        return peer->why;
    }
    return v->memory_why[0] != '\0' ? v->memory_why
                                    : "no object was large enough to set it up yet";
}

void verbs_stats(const struct transport_peer *base, struct transport_stats *ret)
{
    const struct verbs_peer *peer = LOOP_OWNER(base, struct verbs_peer, base);
    struct transport_stats below = {.carrier = peer->v->base.config.under != NULL
                                                   ? peer->v->base.config.under->name
                                                   : "tcp"};
    if (peer->under != NULL && peer->under->tp->ops->stats != NULL) {
        transport_stats(peer->under, &below);
    }
    *ret = peer->stats;
    ret->carrier = below.carrier;
    ret->encrypted = below.encrypted;
    ret->checked = below.checked;
    ret->pulled_bytes += below.pulled_bytes;
    ret->served_bytes += below.served_bytes;
    ret->damaged += below.damaged;
    memcpy(ret->path, below.path, sizeof ret->path);
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        const struct verbs_link *link = peer->links[i];
        if (link != NULL && link->state == LINK_UP) {
            ret->carrier = "verbs";
            ret->checked = !peer->unchecked;
            snprintf(ret->path, sizeof ret->path, "%s", link->rail->path);
            return;
        }
    }
    snprintf(ret->why, sizeof ret->why, "%s", why(peer));
}
