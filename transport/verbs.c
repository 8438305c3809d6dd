/* The node's end: opening, the work of a turn, closing. */
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"

/* Why there is no need to look for devices; NULL: there is. */
static const char *unwanted(const struct transport_config *config)
{
    if (config->rdma == TRANSPORT_RDMA_OFF) {
        return "RDMA is switched off";
    }
    if (config->encrypt) {
        return "traffic is to be encrypted, which RDMA does not do";
    }
    if (config->loop == NULL) {
        return "there is no event loop";
    }
    return NULL;
}

/* Who names a device wants it, and not to find out later that objects went over TCP. */
static mob_status check_named(const struct transport_config *config)
{
    const char *why, *names = getenv(VERBS_DEVICES_VARIABLE);
    char missing[VERBS_WHY_SIZE];
    if (unwanted(config) != NULL || names == NULL || *names == '\0') {
        return MOB_OK;
    }
    const struct verbs_lib *lib =
        config->verbs != NULL ? config->verbs : verbs_lib_system(&why);
    if (!verbs_devices_there(lib, missing)) {
        return status_fail(MOB_ERR_INVALID,
                           VERBS_DEVICES_VARIABLE
                           " names %s, and this machine has no such RDMA device "
                           "(mobula check-transport tells which it has)",
                           missing);
    }
    return MOB_OK;
}

static void find_rails(struct verbs *v)
{
    const char *why = unwanted(&v->base.config);
    v->lib = v->base.config.verbs;
    if (why == NULL && v->lib == NULL) {
        v->lib = verbs_lib_system(&why);
    }
    if (why != NULL) {
        snprintf(v->why, sizeof v->why, "%s", why);
        return;
    }
    verbs_change_watch(v); /* before: none is missed */
    verbs_rails_open(v);
    if (v->rails_count == 0) {
        log_debug("no rdma reason %s", v->why);
    }
}

static mob_status verbs_open(const struct transport_config *config,
                             struct transport **ret)
{
    const struct transport_ops *under =
        config->under != NULL ? config->under : &transport_tcp;
    struct transport_config below = *config;
    if (config->user == NULL || config->prefix != 0) {
        return status_fail(MOB_ERR_INVALID, "verbs needs a user, and nothing above it");
    }
    MOB_TRY(check_named(config));
    struct verbs *v = calloc(1, sizeof *v);
    if (v == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a transport");
    }
    v->base.ops = &transport_verbs;
    v->base.config = *config;
    key_wipe(&v->base.config.key, sizeof v->base.config.key); /* the one below has it */
    v->loop = config->loop;
    v->net = config->net;
    v->strict = config->rdma == TRANSPORT_RDMA_STRICT;
    v->dirty_end = &v->dirty;
    v->watch_fd = -1;
    below.user = &verbs_under_user;
    below.arg = v;
    below.prefix = VERBS_WORD_BYTES;
    mob_status st = under->open(&below, &v->under);
    key_wipe(&below.key, sizeof below.key);
    if (st != MOB_OK) {
        free(v);
        return st;
    }
    find_rails(v);
    *ret = &v->base;
    return MOB_OK;
}

static mob_status verbs_listen(struct transport *tp, const struct addr *addr,
                               struct addr *ret_bound)
{
    struct verbs *v = verbs_of(tp);
    if (v->under == NULL) {
        return status_fail(MOB_ERR_STATE, "this transport was closed");
    }
    return transport_listen(v->under, addr, ret_bound);
}

static mob_status verbs_connect(struct transport *tp, const struct addr *addr, void *tag,
                                struct transport_peer **ret)
{
    struct verbs *v = verbs_of(tp);
    struct verbs_peer *peer;
    if (v->under == NULL || v->closing) {
        return status_fail(MOB_ERR_CLOSED, "the transport was closed");
    }
    MOB_TRY(verbs_peer_new(v, &peer));
    peer->dialed = true;
    peer->base.tag = tag;
    mob_status st = transport_connect(v->under, addr, peer, &peer->under);
    if (st != MOB_OK) {
        verbs_peer_free(peer);
        return st;
    }
    *ret = &peer->base;
    return MOB_OK;
}

/* ---- the work of a turn
 * ------------------------------------------------------------------ */

/* Completions wake us from now on; whatever came before that is looked for once more. */
static bool arm(struct verbs *v)
{
    unsigned found = 0;
    for (unsigned i = 0; i < v->rails_count; i++) {
        struct verbs_rail *rail = v->rails[i];
        if (!rail->armed && !rail->dead) {
            rail->armed = v->lib->req_notify_cq(rail->cq, 0) == 0;
            found += verbs_rail_poll(rail);
        }
    }
    return found != 0;
}

static void look_at_peers(struct verbs *v)
{
    struct verbs_peer *list = v->dirty;
    v->dirty = NULL;
    v->dirty_end = &v->dirty;
    while (list != NULL) {
        struct verbs_peer *peer = list;
        list = peer->dirty_next;
        peer->dirty = false;
        if (verbs_peer_work(peer)) {
            verbs_touch(peer);
        }
    }
}

static void end(struct verbs *v)
{
    const struct transport_user *user = v->base.config.user;
    void *arg = v->base.config.arg;
    verbs_unmap_all(v);
    free(v->regions);
    free(v);
    user->closed(arg);
}

static unsigned look_at_rails(struct verbs *v)
{
    unsigned found = 0;
    for (unsigned i = 0; i < v->rails_count; i++) {
        found += verbs_rail_poll(v->rails[i]);
    }
    return found;
}

void verbs_turn(struct verbs *v)
{
    /* A look at a queue costs a small part of a turn of the loop with its timers and clock. */
    bool polled = v->net == NULL && loop_polled(v->loop);
    unsigned looks = polled && v->dirty == NULL && v->unregistered == 0 ? VERBS_LOOKS : 1;
    unsigned found = 0;
    v->working = true;
    v->budget = VERBS_TURN_BYTES;
    while (looks-- != 0 && found == 0) {
        found = look_at_rails(v);
    }
    verbs_memory_work(v);
    look_at_peers(v);
    v->working = false;
    if (v->closed_below && v->peers == NULL) {
        if (verbs_rails_close(v) && verbs_change_close(v)) {
            verbs_timer_stop(v, &v->later);
            end(v);
        }
        return;
    }
    verbs_change_work(v);
    uint64_t now = verbs_now(v);
    if (found != 0) {
        v->poll_until_ns = now + VERBS_POLL_NS;
    }
    /* Nobody who polls is to be woken: the next turn looks at the queue, in memory. */
    if (v->dirty != NULL || v->unregistered != 0 || now < v->poll_until_ns || polled ||
        arm(v) || v->dirty != NULL) {
        verbs_kick(v);
    }
}

static void turn(struct verbs_timer *timer)
{
    verbs_turn(LOOP_OWNER(timer, struct verbs, later));
}

void verbs_kick(struct verbs *v)
{
    if (!v->working && !verbs_timer_active(&v->later)) {
        /* Virtual time goes on only if something is due later than now. */
        uint64_t due = v->net != NULL ? verbs_now(v) + NS_PER_US : 0;
        verbs_timer_start(v, &v->later, due, turn);
    }
}

void verbs_touch(struct verbs_peer *peer)
{
    struct verbs *v = peer->v;
    if (!peer->dirty) {
        peer->dirty = true;
        peer->dirty_next = NULL;
        *v->dirty_end = peer;
        v->dirty_end = &peer->dirty_next;
    }
    verbs_kick(v);
}

/* ---- the end
 * ----------------------------------------------------------------------------- */

void verbs_check_closed(struct verbs *v)
{
    if (!v->closed_below || v->peers != NULL) {
        return;
    }
    if (v->rails_count != 0 || v->watch_fd >= 0) {
        verbs_kick(v);
    } else if (!v->working) {
        end(v);
    }
}

static void verbs_close(struct transport *tp)
{
    struct verbs *v = verbs_of(tp);
    if (v->closing) {
        return;
    }
    v->closing = true;
    for (struct verbs_peer *peer = v->peers; peer != NULL; peer = peer->next) {
        verbs_disconnect(&peer->base);
    }
    transport_close(v->under);
}

static bool verbs_has_devices(const struct transport *tp)
{
    return LOOP_OWNER(tp, struct verbs, base)->had_rails;
}

static unsigned verbs_fds(struct transport *tp, int *fds, unsigned max)
{
    struct verbs *v = verbs_of(tp);
    return v->under != NULL && v->under->ops->fds != NULL
               ? v->under->ops->fds(v->under, fds, max)
               : 0;
}

static unsigned verbs_progress(struct transport *tp, unsigned budget)
{
    struct verbs *v = verbs_of(tp);
    return v->under != NULL && v->under->ops->progress != NULL
               ? v->under->ops->progress(v->under, budget)
               : 0;
}

const struct transport_ops transport_verbs = {
    .name = "verbs",
    .open = verbs_open,
    .listen = verbs_listen,
    .connect = verbs_connect,
    .send = verbs_send,
    .pull = verbs_pull_begin,
    .cancel = verbs_cancel,
    .grown = verbs_grown,
    .revoke = verbs_revoke,
    .stats = verbs_stats,
    .map = verbs_map,
    .unmap = verbs_unmap,
    .has_devices = verbs_has_devices,
    .disconnect = verbs_disconnect,
    .close = verbs_close,
    .fds = verbs_fds,
    .progress = verbs_progress,
};
