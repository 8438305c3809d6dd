/* Links: a queue pair each, from the offer to its end. The node with the smaller id makes
 * offers, so that two nodes that want one at the same time make one; the other one asks.
 *
 *   smaller id                       larger id
 *                               <-   WANT
 *   IDLE: a queue pair, INIT
 *   OFFERED: OFFER              ->   IDLE: a queue pair, INIT, RTR, RTS
 *   RTR, RTS                    <-   ACCEPTED: ACCEPT
 *   UP: UP                      ->   UP
 *
 * Any failure: DOWN, the queue pair to ERR, DRAINING until all is flushed, IDLE. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

static bool initiates(const struct verbs_peer *peer)
{
    return peer->v->base.config.node_id < peer->base.node_id;
}

/* ---- the end of it
 * ----------------------------------------------------------------------- */

static void check_limit(struct verbs_timer *timer);
static void accept_offer(struct verbs_link *link, const struct verbs_offer *offer);

static void limit(struct verbs_link *link, uint64_t ns)
{
    verbs_timer_start(link->rail->v, &link->limit, verbs_now(link->rail->v) + ns,
                      check_limit);
}

static void tell_down(struct verbs_link *link, const char *why)
{
    struct verbs_down down = {link->index, link->generation, ""};
    uint8_t out[VERBS_SMALL_BYTES];
    snprintf(down.why, sizeof down.why, "%.159s", why);
    verbs_tell(link->peer, VERBS_DOWN, out, verbs_down_put(&down, out));
}

static void pause_after_failure(struct verbs_link *link)
{
    if (link->backoff_ns == 0) {
        link->backoff_ns = VERBS_RETRY_MIN_NS;
    }
    link->retry_ns = verbs_now(link->rail->v) + link->backoff_ns;
    link->failed_before = true;
    link->backoff_ns = 2 * link->backoff_ns < VERBS_RETRY_MAX_NS ? 2 * link->backoff_ns
                                                                 : VERBS_RETRY_MAX_NS;
}

void verbs_link_fail(struct verbs_link *link, bool tell, const char *format, ...)
{
    va_list ap;
    if (link->state == LINK_IDLE || link->state == LINK_DRAINING) {
        return;
    }
    va_start(ap, format);
    vsnprintf(link->why, sizeof link->why, format, ap);
    va_end(ap);
    pause_after_failure(link);
    if (link->peer->state == VPEER_UP && link->peer->status == MOB_OK) {
        log_warn("rdma link lost peer %s over %s reads %u: %s", link->peer->address,
                 link->rail->path, link->reads, link->why);
    }
    if (tell) {
        tell_down(link, link->why);
    }
    /* From here on the device answers nothing that the peer asks, and starts nothing. */
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    (void)link->rail->v->lib->modify_qp(link->qp, &attr, IBV_QP_STATE);
    link->state = LINK_DRAINING;
    limit(link, link->signaled != 0 ? VERBS_DRAIN_NS : 0);
    verbs_small_again(link);
    verbs_touch(link->peer);
}

void verbs_link_drained(struct verbs_link *link)
{
    verbs_show_unbind(link);
    verbs_qp_destroy(link);
    verbs_link_flushed(link); /* SENDs that had no completion to come */
    verbs_timer_stop(link->rail->v, &link->limit);
    link->state = LINK_IDLE;
    verbs_touch(link->peer);
    if (link->has_offer) {
        link->has_offer = false;
        accept_offer(link, &link->offer);
    }
}

static void check_limit(struct verbs_timer *timer)
{
    struct verbs_link *link = LOOP_OWNER(timer, struct verbs_link, limit);
    uint64_t now = verbs_now(link->rail->v);
    switch (link->state) {
    case LINK_OFFERED:
    case LINK_ACCEPTED:
        verbs_link_fail(link, true, "the other side did not complete the link in time");
        return;
    case LINK_DRAINING:
        /* Destroying it, the device lets go of all memory. */
        verbs_link_drained(link);
        return;
    case LINK_UP:
        if (link->signaled != 0 && now - link->moved_ns >= VERBS_STALL_NS) {
            verbs_link_fail(link, true, "nothing that was asked for was done for %llu s",
                            VERBS_STALL_NS / NS_PER_S);
        } else if (link->signaled != 0) {
            limit(link, VERBS_STALL_NS - (now - link->moved_ns));
        }
        return;
    case LINK_IDLE:
        return;
    }
}

void verbs_link_watch(struct verbs_link *link)
{
    if (!verbs_timer_active(&link->limit)) {
        limit(link, VERBS_STALL_NS);
    }
}

void verbs_links_end(struct verbs_peer *peer, const char *why)
{
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        if (peer->links[i] != NULL) {
            peer->links[i]->has_offer = false;
            verbs_link_fail(peer->links[i], true, "%s", why);
        }
    }
}

void verbs_links_renew(struct verbs_peer *peer)
{
    verbs_links_end(peer, "the devices have changed");
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        struct verbs_link *link = peer->links[i];
        if (link != NULL) {
            link->retry_ns = link->backoff_ns = 0;
        }
    }
    peer->asked = false;
    peer->asked_ns = 0;
}

void verbs_links_free(struct verbs_peer *peer)
{
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        if (peer->links[i] != NULL) {
            free(peer->links[i]->kept);
        }
        free(peer->links[i]); /* IDLE: no timer is on */
        peer->links[i] = NULL;
    }
}

bool verbs_links_gone(const struct verbs_peer *peer)
{
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        if (peer->links[i] != NULL && peer->links[i]->state != LINK_IDLE) {
            return false;
        }
    }
    return true;
}

bool verbs_links_up(const struct verbs_peer *peer)
{
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        if (peer->links[i] != NULL && peer->links[i]->state == LINK_UP) {
            return true;
        }
    }
    return false;
}

/* ---- coming up
 * --------------------------------------------------------------------------- */

static struct verbs_link *link_of(struct verbs_peer *peer, unsigned index,
                                  struct verbs_rail *rail, unsigned other_rail)
{
    struct verbs_link *link = peer->links[index];
    if (link == NULL) {
        link = calloc(1, sizeof *link);
        if (link == NULL) {
            return NULL;
        }
        link->peer = peer;
        link->index = (uint8_t)index;
        peer->links[index] = link;
    }
    if (link->state == LINK_IDLE) {
        link->rail = rail;
        link->other_rail = (uint8_t)other_rail;
    }
    return link;
}

static void count_retry(struct verbs_link *link)
{
    if (link->failed_before) {
        link->peer->stats.retries++;
    }
}

static void offer(struct verbs_link *link)
{
    const char *why;
    count_retry(link);
    link->generation++;
    if ((why = verbs_qp_create(link)) != NULL) {
        pause_after_failure(link);
        snprintf(link->why, sizeof link->why, "%s: %s", link->rail->path, why);
        return;
    }
    struct verbs_offer m = {.link = link->index,
                            .from_rail = (uint8_t)link->rail->index,
                            .to_rail = link->other_rail,
                            .credits = verbs_slots_promise(link),
                            .generation = link->generation,
                            .qpn = link->qp->qp_num,
                            .psn = link->psn};
    uint8_t out[VERBS_SMALL_BYTES];
    link->state = LINK_OFFERED;
    limit(link, VERBS_SETUP_NS);
    verbs_tell(link->peer, VERBS_OFFER, out, verbs_offer_put(&m, out));
}

static void offer_all(struct verbs_peer *peer)
{
    struct verbs *v = peer->v;
    int pairs[VERBS_RAILS_MAX];
    bool any = false;
    verbs_rails_pair(peer, pairs);
    for (unsigned i = 0; i < v->rails_count; i++) {
        struct verbs_link *link =
            pairs[i] >= 0 ? link_of(peer, i, v->rails[i], (unsigned)pairs[i]) : NULL;
        any = any || pairs[i] >= 0;
        if (link != NULL && link->state == LINK_IDLE &&
            verbs_now(link->rail->v) >= link->retry_ns) {
            offer(link);
        }
    }
    if (!any) {
        snprintf(peer->why, sizeof peer->why,
                 "no ports of the two nodes fit: kind of network, RoCE version and kind "
                 "of address must be the same");
    }
}

static bool coming(const struct verbs_peer *peer)
{
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        const struct verbs_link *link = peer->links[i];
        if (link != NULL && (link->state == LINK_OFFERED ||
                             link->state == LINK_ACCEPTED || link->has_offer)) {
            return true;
        }
    }
    return peer->asked;
}

bool verbs_links_want(struct verbs_peer *peer)
{
    if (peer->v->rails_count == 0 || peer->v->changing || peer->state != VPEER_UP) {
        return false;
    }
    if (!peer->greeted) {
        return true;
    }
    if (peer->hello.rails_count == 0) {
        return false;
    }
    if (initiates(peer)) {
        offer_all(peer);
    } else if (!coming(peer) && !verbs_links_up(peer) &&
               verbs_now(peer->v) >= peer->asked_ns) {
        peer->asked = true;
        peer->asked_ns = verbs_now(peer->v) + VERBS_RETRY_MIN_NS;
        verbs_tell(peer, VERBS_WANT, NULL, 0);
    }
    return coming(peer);
}

bool verbs_link_wanted(struct verbs_peer *peer)
{
    if (!initiates(peer)) {
        return false;
    }
    if (verbs_links_want(peer) || verbs_links_up(peer)) {
        return true;
    }
    struct verbs_down down = {0};
    uint8_t out[VERBS_SMALL_BYTES];
    snprintf(down.why, sizeof down.why, "%.150s",
             peer->why[0] != '\0' ? peer->why
             : peer->v->rails_count == 0
                 ? peer->v->why
                 : "RDMA failed lately, and is tried again later");
    verbs_tell(peer, VERBS_DOWN, out, verbs_down_put(&down, out));
    return true;
}

static void accept_offer(struct verbs_link *link, const struct verbs_offer *offer)
{
    const char *why;
    if (link->peer->state != VPEER_UP) {
        return;
    }
    count_retry(link);
    link->generation = offer->generation;
    link->rail = link->peer->v->rails[offer->to_rail];
    link->other_rail = offer->from_rail;
    if ((why = verbs_qp_create(link)) == NULL &&
        verbs_qp_ready(link, offer->qpn, offer->psn) != 0) {
        verbs_qp_destroy(link);
        why = "no way to the offered address; does the GID belong to the same network?";
    }
    if (why != NULL) {
        snprintf(link->why, sizeof link->why, "%.80s: %.76s", link->rail->path, why);
        tell_down(link, link->why);
        return;
    }
    link->credits = offer->credits;
    struct verbs_accept m = {link->index, verbs_slots_promise(link), link->generation,
                             link->qp->qp_num, link->psn};
    uint8_t out[VERBS_SMALL_BYTES];
    link->state = LINK_ACCEPTED;
    limit(link, VERBS_SETUP_NS);
    verbs_tell(link->peer, VERBS_ACCEPT, out, verbs_accept_put(&m, out));
}

bool verbs_link_offered(struct verbs_peer *peer, const struct verbs_offer *offer)
{
    struct verbs *v = peer->v;
    if (initiates(peer) || offer->from_rail >= peer->hello.rails_count || !v->had_rails) {
        return false;
    }
    if (offer->to_rail >= v->rails_count || v->changing) { /* they cross */
        struct verbs_down down = {offer->link, offer->generation, ""};
        uint8_t out[VERBS_SMALL_BYTES];
        snprintf(down.why, sizeof down.why, "%.150s",
                 v->why[0] != '\0' ? v->why : "its devices have changed");
        verbs_tell(peer, VERBS_DOWN, out, verbs_down_put(&down, out));
        return true;
    }
    struct verbs_link *link =
        link_of(peer, offer->link, v->rails[offer->to_rail], offer->from_rail);
    peer->asked = false;
    if (link == NULL) {
        verbs_peer_fail(peer, MOB_ERR_NOMEM, "no memory for a link to %s", peer->address);
        return true;
    }
    verbs_link_fail(link, false, "the other side begins again");
    if (link->state != LINK_IDLE) {
        link->has_offer = true;
        link->offer = *offer;
    } else {
        accept_offer(link, offer);
    }
    verbs_touch(peer);
    return true;
}

void verbs_link_up(struct verbs_link *link)
{
    link->state = LINK_UP;
    verbs_link_used(link);
    link->why[0] = '\0';
    verbs_timer_stop(link->rail->v, &link->limit);
    log_info("rdma link up peer %s over %s window %u", link->peer->address,
             link->rail->path, link->window);
    verbs_touch(link->peer);
}

bool verbs_link_accepted(struct verbs_peer *peer, const struct verbs_accept *accept)
{
    struct verbs_link *link = peer->links[accept->link];
    if (link == NULL || !initiates(peer)) {
        return false;
    }
    if (link->state != LINK_OFFERED || link->generation != accept->generation) {
        return true; /* of an offer that was given up */
    }
    int err = verbs_qp_ready(link, accept->qpn, accept->psn);
    if (err != 0) {
        verbs_link_fail(link, true, "%s: no way to the other side's address: %s",
                        link->rail->path, strerror(err));
        return true;
    }
    struct verbs_up m = {link->index, link->generation};
    uint8_t out[VERBS_SMALL_BYTES];
    verbs_tell(peer, VERBS_UP, out, verbs_up_put(&m, out));
    link->credits = accept->credits;
    verbs_link_up(link);
    return true;
}

bool verbs_link_is_up(struct verbs_peer *peer, const struct verbs_up *m)
{
    struct verbs_link *link = peer->links[m->link];
    if (link == NULL || initiates(peer)) {
        return false;
    }
    if (link->state == LINK_ACCEPTED && link->generation == m->generation) {
        verbs_link_up(link);
    }
    return true;
}

bool verbs_link_is_down(struct verbs_peer *peer, const struct verbs_down *down)
{
    struct verbs_link *link = peer->links[down->link];
    peer->asked = false;
    if (link == NULL) {
        snprintf(peer->why, sizeof peer->why, "the other node: %.140s", down->why);
    } else if (link->generation == down->generation) {
        verbs_link_fail(link, false, "the other node: %.140s", down->why);
    }
    if (peer->v->had_rails) {
        verbs_touch(peer);
    }
    return true;
}
