/* Devices that come and go while the node runs. A change of any is answered by letting go
 * of all, in the order that no device touches what is nobody's any more, and by opening
 * afresh what there is then: rare, and one path for all that can happen.
 *
 *   changing   links to ERR, none comes up, objects go on over the network below
 *   let go     no queue pair is left: exports are given back, memory is forgotten (not
 *              where it lies), events are watched no more, the devices are closed
 *   opened     memory is registered again, and peers are greeted again
 *
 * Software RDMA waits for the second step, hardware is gone already. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "verbs.h"

static void open_again(struct verbs_timer *timer);

/* The nodes of all devices in one number, in any order. */
static uint64_t nodes_now(const struct verbs *v)
{
    int count = 0;
    uint64_t all = 0;
    struct ibv_device **list = v->lib->get_device_list(&count);
    for (int i = 0; list != NULL && i < count; i++) {
        bool wanted = verbs_device_wanted(v->lib->get_device_name(list[i]));
        uint64_t node = wanted ? v->lib->node_of(list[i]) : 0;
        all += node * node;
    }
    if (list != NULL) {
        v->lib->free_device_list(list);
    }
    return all;
}

static bool is_gone(const struct verbs *v)
{
    for (unsigned i = 0; i < v->rails_count; i++) {
        if (v->lib->node_of(v->rails[i]->context->device) == 0) {
            return true;
        }
    }
    return false;
}

static void begin(struct verbs *v)
{
    const char *why = is_gone(v) ? "the device was removed" : "devices have changed";
    log_warn("rdma %s: %s, objects move over the network below", v->rails[0]->path, why);
    snprintf(v->why, sizeof v->why, "%s", why);
    v->changing = true;
    for (struct verbs_peer *peer = v->peers; peer != NULL; peer = peer->next) {
        verbs_links_end(peer, why);
        verbs_touch(peer);
    }
    verbs_kick(v);
}

static void start(struct verbs *v)
{
    v->opens = 0;
    verbs_timer_stop(v, &v->reopen);
    verbs_timer_start(v, &v->reopen, verbs_now(v) + VERBS_SETTLE_NS, open_again);
}

static void changed(struct loop_op *op, int result)
{
    struct verbs *v = LOOP_OWNER(op, struct verbs, watch);
    if (result < 0) {
        if (!v->closing) {
            log_error("rdma: watching for devices failed: %s", strerror(-result));
        }
        verbs_kick(v); /* closing waits for this */
        return;
    }
    v->lib->watch_drain(v->watch_fd);
    if (v->closing || v->changing) {
        return; /* what there is then is looked at */
    }
    if (v->rails_count == 0) {
        start(v);
    } else if (nodes_now(v) != v->nodes) {
        begin(v);
    }
}

void verbs_change_watch(struct verbs *v)
{
    v->nodes = nodes_now(v);
    v->watch_fd = v->lib->watch_open();
    if (v->watch_fd < 0) {
        log_warn("rdma: no watch for devices that come and go: %s", strerror(errno));
        return;
    }
    loop_watch(v->loop, &v->watch, v->watch_fd, POLLIN, changed);
}

bool verbs_change_close(struct verbs *v)
{
    verbs_timer_stop(v, &v->reopen);
    if (v->watch_fd < 0) {
        return true;
    }
    loop_cancel(v->loop, &v->watch);
    if (loop_op_busy(&v->watch)) {
        return false;
    }
    close(v->watch_fd);
    v->watch_fd = -1;
    return true;
}

static void greet_all(struct verbs *v)
{
    for (struct verbs_peer *peer = v->peers; peer != NULL; peer = peer->next) {
        if (peer->state == VPEER_UP) {
            verbs_links_renew(peer);
            verbs_greet(peer);
        }
        verbs_touch(peer);
    }
}

void verbs_change_work(struct verbs *v)
{
    bool quiet = true;
    if (!v->changing) {
        return;
    }
    for (struct verbs_peer *peer = v->peers; peer != NULL; peer = peer->next) {
        if (!verbs_links_gone(peer)) {
            quiet = false;
        } else if (peer->serves != NULL) {
            verbs_serves_leave(peer);
            quiet = false; /* until they are given back, in its next turn */
        }
    }
    if (quiet && verbs_rails_close(v)) {
        v->changing = false;
        v->nodes = 0;
        greet_all(v);
        start(v);
    }
}

static bool same_address(const struct verbs_rail *rail, const struct verbs_rail *before)
{
    const struct verbs_port *a = &rail->port_info, *b = &before->port_info;
    return rail->gid_index == before->gid_index && a->gid_type == b->gid_type &&
           a->lid == b->lid && memcmp(a->gid, b->gid, sizeof a->gid) == 0;
}

void verbs_change_address(struct verbs_rail *rail)
{
    struct verbs *v = rail->v;
    struct verbs_rail before = {.gid_index = rail->gid_index,
                                .port_info = rail->port_info};
    struct ibv_port_attr port = {0};
    if (v->closing || v->changing || rail->dead ||
        v->lib->query_port(rail->context, rail->port, &port) != 0 ||
        !verbs_gid_choose(rail, &port)) {
        return; /* without any GID links fail by themselves, and one that comes is told of */
    }
    rail->port_info.lid = port.lid;
    if (!same_address(rail, &before)) {
        verbs_rail_describe(rail);
        log_info("rdma %s: it has another address now", rail->path);
        greet_all(v);
    }
}

static void open_again(struct verbs_timer *timer)
{
    struct verbs *v = LOOP_OWNER(timer, struct verbs, reopen);
    if (v->closing) {
        return;
    }
    v->nodes = nodes_now(v);
    if (v->nodes == 0) {
        return; /* the watch tells when there is one */
    }
    verbs_rails_open(v);
    if (v->rails_count != 0) {
        verbs_memory_renew(v);
        greet_all(v);
    } else if (++v->opens < VERBS_OPENS_MAX) { /* its port may be about to come up */
        verbs_timer_start(v, &v->reopen, verbs_now(v) + (VERBS_SETTLE_NS << v->opens),
                          open_again);
    } else {
        log_warn("rdma: no device can be used: %s", v->why);
    }
}
