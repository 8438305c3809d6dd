/* Rails: active ports of devices, one context each, their GIDs, and their events. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

/* ---- events
 * ------------------------------------------------------------------------------ */

static void take_completion_events(struct verbs_rail *rail)
{
    const struct verbs_lib *lib = rail->v->lib;
    struct ibv_cq *cq;
    void *arg;
    unsigned count = 0;
    while (lib->get_cq_event(rail->channel, &cq, &arg) == 0) {
        count++;
    }
    if (count != 0) {
        lib->ack_cq_events(rail->cq, count);
        rail->armed = false;
    }
}

static void completed(struct loop_op *op, int result)
{
    struct verbs_rail *rail = LOOP_OWNER(op, struct verbs_rail, completions);
    if (result < 0) {
        if (!rail->v->closing && !rail->v->changing) {
            log_error("rdma %s: watching its completions failed: %s", rail->path,
                      strerror(-result));
        }
        verbs_kick(rail->v); /* closing waits for this */
        return;
    }
    take_completion_events(rail);
    verbs_turn(rail->v);
}

static void fail_links(struct verbs_rail *rail, const struct ibv_qp *qp, const char *why)
{
    for (unsigned i = 0; i < VERBS_LINKS_MAX; i++) {
        struct verbs_link *link = rail->links[i];
        if (link != NULL && (qp == NULL || link->qp == qp)) {
            verbs_link_fail(link, true, "%s: %s", rail->path, why);
        }
    }
}

static void take_event(struct verbs_rail *rail, const struct ibv_async_event *event)
{
    switch (event->event_type) {
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR:
        fail_links(rail, event->element.qp,
                   "the device reports an error of a queue pair");
        return;
    case IBV_EVENT_CQ_ERR:
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_DEVICE_FATAL:
        log_error("rdma %s: the device failed, objects move over the network below",
                  rail->path);
        rail->dead = true;
        fail_links(rail, NULL, "the device failed");
        return;
    case IBV_EVENT_PORT_ERR:
        if (event->element.port_num == rail->port) {
            log_warn("rdma %s: the port is down", rail->path);
            fail_links(rail, NULL, "the port is down");
        }
        return;
    case IBV_EVENT_PORT_ACTIVE:
        if (event->element.port_num == rail->port) {
            log_info("rdma %s: the port is up", rail->path);
            verbs_change_address(rail);
        }
        return;
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_LID_CHANGE:
        if (event->element.port_num == rail->port) {
            verbs_change_address(rail);
        }
        return;
    default:
        return;
    }
}

static void happened(struct loop_op *op, int result)
{
    struct verbs_rail *rail = LOOP_OWNER(op, struct verbs_rail, events);
    const struct verbs_lib *lib = rail->v->lib;
    struct ibv_async_event event;
    while (result >= 0 && lib->get_async_event(rail->context, &event) == 0) {
        take_event(rail, &event);
        lib->ack_async_event(&event);
    }
    verbs_kick(rail->v);
}

/* ---- opening
 * ----------------------------------------------------------------------------- */

static void shut(struct verbs_rail *rail)
{
    const struct verbs_lib *lib = rail->v->lib;
    verbs_slots_close(rail);
    if (rail->cq != NULL) {
        (void)lib->destroy_cq(rail->cq);
    }
    if (rail->channel != NULL) {
        (void)lib->destroy_comp_channel(rail->channel);
    }
    if (rail->pd != NULL) {
        (void)lib->dealloc_pd(rail->pd);
    }
    if (rail->context != NULL) {
        (void)lib->close_device(rail->context);
    }
    free(rail);
}

const char *verbs_device_lacks(const struct ibv_device_attr *attr, bool strict)
{
    if (attr->max_qp_rd_atom < 1 || attr->max_qp_init_rd_atom < 1) {
        return "the device does no READ";
    }
    if (strict && !(attr->device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B)) {
        return "strict mode needs memory windows of type 2B, which the device has not";
    }
    return NULL;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Takes what the rail needs of the device; NULL, or why that fails. */
static const char *set_up(struct verbs_rail *rail, const struct ibv_device_attr *attr,
                          const struct ibv_port_attr *port)
{
    const struct verbs_lib *lib = rail->v->lib;
    const char *why = verbs_device_lacks(attr, rail->v->strict);
    if (why != NULL) {
        return why;
    }
    rail->init_depth = (uint8_t)least(VERBS_WINDOW, (unsigned)attr->max_qp_init_rd_atom);
    rail->resp_depth = (uint8_t)least(VERBS_WINDOW, (unsigned)attr->max_qp_rd_atom);
    rail->max_mr = attr->max_mr_size;
    rail->max_read = least(port->max_msg_sz, CHUNK_BYTES);
    rail->port_info.ethernet = port->link_layer == IBV_LINK_LAYER_ETHERNET;
    rail->port_info.lid = port->lid;
    rail->port_info.mtu = (uint8_t)port->active_mtu;
    rail->port_info.init_depth = rail->init_depth;
    rail->port_info.resp_depth = rail->resp_depth;
    rail->port_info.mbps = verbs_port_mbps(port);
    if (rail->max_read < VERBS_READ_MIN) {
        return "the port's messages are too short";
    }
    if (!verbs_gid_choose(rail, port)) {
        return "the port has no GID";
    }
    unsigned cqes = (unsigned)attr->max_cqe;
    rail->links_max =
        least(VERBS_LINKS_MAX, (cqes - least(cqes, VERBS_RECEIVES)) / VERBS_SEND_QUEUE);
    if (rail->links_max == 0) {
        return "its completion queues are too short";
    }
    rail->pd = lib->alloc_pd(rail->context);
    rail->channel = lib->create_comp_channel(rail->context);
    if (rail->pd == NULL || rail->channel == NULL) {
        return "the device gives no protection domain or completion channel";
    }
    rail->cq = lib->create_cq(rail->context,
                              (int)(rail->links_max * VERBS_SEND_QUEUE + VERBS_RECEIVES),
                              rail, rail->channel, 0);
    if (rail->cq == NULL) {
        return "the device gives no completion queue; is the memlock limit too low "
               "(ulimit -l)?";
    }
    if (!verbs_slots_open(rail, least(VERBS_RECEIVES, (unsigned)attr->max_srq_wr))) {
        return "the device gives no shared receive queue; is the memlock limit too low "
               "(ulimit -l)?";
    }
    if (fcntl(rail->channel->fd, F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(rail->context->async_fd, F_SETFL, O_NONBLOCK) < 0) {
        return "its event files cannot be set to non-blocking";
    }
    return NULL;
}

bool verbs_device_wanted(const char *name)
{
    const char *at = getenv(VERBS_DEVICES_VARIABLE);
    size_t size = strlen(name);
    if (at == NULL || *at == '\0') {
        return true;
    }
    for (; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0')) {
            return true;
        }
    }
    return false;
}

bool verbs_devices_there(const struct verbs_lib *lib, char ret_missing[VERBS_WHY_SIZE])
{
    const char *at = getenv(VERBS_DEVICES_VARIABLE);
    int count = 0;
    struct ibv_device **list = lib != NULL ? lib->get_device_list(&count) : NULL;
    bool there = true;
    for (; there && at != NULL && *at != '\0'; at += strspn(at, ",")) {
        size_t size = strcspn(at, ",");
        there = size == 0;
        for (int i = 0; i < count && list != NULL && !there; i++) {
            const char *name = lib->get_device_name(list[i]);
            there = strlen(name) == size && strncmp(name, at, size) == 0;
        }
        if (!there) {
            snprintf(ret_missing, VERBS_WHY_SIZE, "%.*s", (int)size, at);
        }
        at += size;
    }
    if (list != NULL) {
        lib->free_device_list(list);
    }
    return there;
}

static bool open_rail(struct verbs *v, struct ibv_device *device, uint8_t port_number)
{
    const struct verbs_lib *lib = v->lib;
    struct ibv_device_attr attr = {0};
    struct ibv_port_attr port = {0};
    const char *why = NULL;
    struct verbs_rail *rail = calloc(1, sizeof *rail);
    if (rail == NULL) {
        return false;
    }
    rail->v = v;
    rail->index = v->rails_count;
    rail->port = port_number;
    snprintf(rail->name, sizeof rail->name, "%s", lib->get_device_name(device));
    rail->context = lib->open_device(device);
    if (rail->context == NULL || lib->query_device(rail->context, &attr) != 0) {
        why = "it cannot be opened; is /dev/infiniband readable?";
    } else if (port_number > attr.phys_port_cnt) {
        shut(rail);
        return false;
    } else if (lib->query_port(rail->context, port_number, &port) != 0 ||
               port.state != IBV_PORT_ACTIVE) {
        why = "the port is not active";
    } else {
        why = set_up(rail, &attr, &port);
    }
    if (why != NULL) {
        snprintf(v->why, sizeof v->why, "%.20s port %u: %s", rail->name, port_number,
                 why);
        shut(rail);
        return true;
    }
    verbs_rail_describe(rail);
    v->rails[v->rails_count++] = rail;
    v->had_rails = true;
    loop_watch(v->loop, &rail->completions, rail->channel->fd, POLLIN, completed);
    loop_watch(v->loop, &rail->events, rail->context->async_fd, POLLIN, happened);
    log_info("rdma %s%s", rail->path, v->strict ? ", strict" : "");
    return true;
}

void verbs_rails_open(struct verbs *v)
{
    int count = 0;
    struct ibv_device **list = v->lib->get_device_list(&count);
    if (list == NULL || count == 0) {
        snprintf(v->why, sizeof v->why, "this machine has no RDMA device");
    } else if (v->lib->is_fork_initialized() == IBV_FORK_DISABLED) {
        /* Asked of the kernel's RDMA modules: without a device it would say so of any. */
        snprintf(v->why, sizeof v->why,
                 "on this kernel a fork() would take pages from the device: start with "
                 "RDMAV_FORK_SAFE=1");
        count = 0;
    }
    for (int i = 0; list != NULL && i < count; i++) {
        if (!verbs_device_wanted(v->lib->get_device_name(list[i]))) {
            snprintf(v->why, sizeof v->why, "%.20s is not in " VERBS_DEVICES_VARIABLE,
                     v->lib->get_device_name(list[i]));
            continue;
        }
        if (v->lib->node_of(list[i]) == 0) {
            snprintf(v->why, sizeof v->why,
                     "%.20s cannot be opened; is /dev/infiniband readable?",
                     v->lib->get_device_name(list[i]));
            continue; /* or it is being removed */
        }
        if (list[i]->transport_type == IBV_TRANSPORT_IWARP) {
            snprintf(v->why, sizeof v->why, "%.20s speaks iWARP, which is not supported",
                     v->lib->get_device_name(list[i]));
            continue;
        }
        for (unsigned port = 1; port <= UINT8_MAX && v->rails_count < VERBS_RAILS_MAX &&
                                open_rail(v, list[i], (uint8_t)port);
             port++) {
        }
    }
    if (list != NULL) {
        v->lib->free_device_list(list);
    }
}

bool verbs_rails_close(struct verbs *v)
{
    bool quiet = true;
    for (unsigned i = 0; i < v->rails_count; i++) {
        struct verbs_rail *rail = v->rails[i];
        loop_cancel(v->loop, &rail->completions);
        loop_cancel(v->loop, &rail->events);
        quiet =
            quiet && !loop_op_busy(&rail->completions) && !loop_op_busy(&rail->events);
    }
    if (!quiet) {
        return false;
    }
    verbs_memory_forget(v);
    for (unsigned i = 0; i < v->rails_count; i++) {
        take_completion_events(v->rails[i]); /* a queue is not destroyed before */
        shut(v->rails[i]);
    }
    v->rails_count = 0;
    return true;
}

/* ---- what peers are told
 * ------------------------------------------------------------------ */

void verbs_greet(struct verbs_peer *peer)
{
    struct verbs *v = peer->v;
    struct verbs_hello hello = {.unchecked = v->base.config.unchecked,
                                .rails_count = (uint8_t)v->rails_count};
    uint8_t out[VERBS_SMALL_BYTES];
    for (unsigned i = 0; i < v->rails_count; i++) {
        hello.rails[i] = v->rails[i]->port_info;
    }
    if (v->rails_count == 0) {
        snprintf(hello.why, sizeof hello.why, "%s", v->why);
    }
    verbs_tell(peer, VERBS_HELLO, out, verbs_hello_put(&hello, out));
}

bool verbs_greeted(struct verbs_peer *peer, const struct verbs_hello *hello)
{
    if (peer->greeted) { /* its devices have changed */
        verbs_links_renew(peer);
    }
    peer->greeted = true;
    peer->hello = *hello;
    peer->why[0] = '\0';
    peer->unchecked = hello->unchecked && peer->v->base.config.unchecked;
    if (hello->rails_count == 0) {
        snprintf(peer->why, sizeof peer->why, "the other node: %.140s", hello->why);
    }
    if (peer->v->had_rails) {
        verbs_touch(peer); /* pulls may have waited for this */
    }
    return true;
}
