/* Nodes and peers of the fake network, and what each event does to them. */
#include "transport/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "fake_net.h"

static mob_status fake_open(const struct transport_config *config, struct transport **ret)
{
    if (config->net == NULL || config->user == NULL || config->node_id == 0 ||
        config->data_connections > TRANSPORT_DATA_MAX ||
        config->prefix > TRANSPORT_PREFIX_MAX) {
        return status_fail(MOB_ERR_INVALID, "fake needs a network, a user and a node id");
    }
    struct fake *node = calloc(1, sizeof *node);
    if (node == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a transport");
    }
    node->base.ops = &transport_fake;
    node->base.config = *config;
    node->net = config->net;
    node->next = node->net->nodes;
    node->net->nodes = node;
    *ret = &node->base;
    return MOB_OK;
}

static void leave_port(struct fake *node)
{
    if (node->port != 0) {
        node->net->ports[node->port] = NULL;
        node->port = 0;
    }
}

static mob_status fake_listen(struct transport *tp, const struct addr *addr,
                              struct addr *ret_bound)
{
    struct fake *node = (struct fake *)tp;
    uint16_t port = addr_port(addr);
    if (node->port != 0 || node->closing) {
        return status_fail(MOB_ERR_STATE,
                           "this transport listens already, or was closed");
    }
    if (port == 0) {
        do {
            port = ++node->net->port_last;
        } while (port == 0 || node->net->ports[port] != NULL);
    } else if (node->net->ports[port] != NULL) {
        return status_fail(MOB_ERR_EXISTS, "port %u is taken", port);
    }
    node->port = port;
    node->net->ports[port] = node;
    if (ret_bound != NULL) {
        *ret_bound = *addr;
        addr_set_port(ret_bound, port);
    }
    return MOB_OK;
}

static struct fake_peer *new_peer(struct fake *node, const struct addr *addr, bool dialed)
{
    struct fake_peer *peer = calloc(1, sizeof *peer);
    MOB_ASSERT(peer != NULL);
    peer->base.tp = &node->base;
    peer->node = node;
    peer->dialed = dialed;
    peer->addr = *addr;
    addr_text(addr, peer->address);
    peer->next = node->peers;
    node->peers = peer;
    return peer;
}

static mob_status fake_connect(struct transport *tp, const struct addr *addr, void *tag,
                               struct transport_peer **ret)
{
    struct fake *node = (struct fake *)tp;
    if (node->closing || node->dead) {
        return status_fail(MOB_ERR_CLOSED, "the transport was closed");
    }
    struct fake_peer *peer = new_peer(node, addr, true);
    peer->base.tag = tag;
    peer->lanes = tp->config.data_connections != 0 ? tp->config.data_connections : 1;
    fake_post(node, peer, 0, FAKE_DIAL, NULL, 0);
    *ret = &peer->base;
    return MOB_OK;
}

static mob_status fake_send(struct transport_peer *base, const struct iovec *iov,
                            unsigned count)
{
    struct fake_peer *peer = (struct fake_peer *)base;
    size_t size = 0;
    if (peer->state != FAKE_UP) {
        return status_fail(MOB_ERR_STATE, "%s is not connected", peer->address);
    }
    for (unsigned i = 0; i < count; i++) {
        size += iov[i].iov_len;
    }
    unsigned prefix = base->tp->config.prefix;
    if (size > MESSAGE_BYTES_MAX + prefix || count > TRANSPORT_IOV_MAX + (prefix != 0)) {
        return status_fail(MOB_ERR_SIZE, "a message of %zu bytes in %u pieces", size,
                           count);
    }
    if (peer->queued + size >= TRANSPORT_QUEUE_BYTES) {
        peer->wants_room = true;
        return MOB_ERR_FULL;
    }
    peer->messages_sent++;
    if (peer->other == NULL) {
        return MOB_OK; /* it will hear of the loss; until then nobody can know */
    }
    uint8_t *data = malloc(size + 1), *at = data;
    MOB_ASSERT(data != NULL);
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len != 0) {
            memcpy(at, iov[i].iov_base, iov[i].iov_len);
            at += iov[i].iov_len;
        }
    }
    peer->queued += size;
    fake_post(peer->other->node, peer->other, 0, FAKE_MESSAGE, data, size);
    free(data);
    return MOB_OK;
}

/* ---- the end
 * ----------------------------------------------------------------------------- */

void fake_end(struct fake_peer *peer, mob_status status, const char *why)
{
    if (peer->state == FAKE_ENDING) {
        return;
    }
    peer->status = peer->state == FAKE_LEAVING ? MOB_ERR_CLOSED : status;
    peer->state = FAKE_ENDING;
    snprintf(peer->reason, sizeof peer->reason, "%s: %s", peer->address, why);
    if (peer->other != NULL) {
        peer->other->other = NULL;
        fake_post(peer->other->node, peer->other, 0, FAKE_LOST, NULL, 0);
        peer->other = NULL;
    }
    fake_post(peer->node, peer, 0, FAKE_FINISH, NULL, 0);
}

static void check_closed(struct fake *node)
{
    if (node->closing && node->peers == NULL) {
        fake_post(node, NULL, 0, FAKE_CLOSED, NULL, 0);
    }
}

static void finish(struct fake_peer *peer)
{
    struct fake *node = peer->node;
    fake_drop_serves(peer);
    fake_end_pulls(peer, peer->status);
    fake_say_ended(peer);
    if (peer->dialed || peer->announced) {
        user_peer_down(&peer->base, peer->status, peer->reason);
    }
    struct fake_peer **at = &node->peers;
    while (*at != peer) {
        at = &(*at)->next;
    }
    *at = peer->next;
    fake_forget(node->net, peer);
    free(peer);
    check_closed(node);
}

static void fake_disconnect(struct transport_peer *base)
{
    struct fake_peer *peer = (struct fake_peer *)base;
    if (peer->state == FAKE_SHAKING || (peer->state == FAKE_UP && peer->other == NULL)) {
        fake_end(peer, MOB_ERR_CLOSED, "closed by this node");
    } else if (peer->state == FAKE_UP) {
        peer->state = FAKE_LEAVING;
        fake_end_pulls(peer, MOB_ERR_CLOSED);
        fake_post(peer->node, peer, 0, FAKE_ENDED, NULL, 0);
        fake_post(peer->other->node, peer->other, 0, FAKE_BYE, NULL, 0);
    }
}

static void fake_close(struct transport *tp)
{
    struct fake *node = (struct fake *)tp;
    if (node->closing) {
        return;
    }
    node->closing = true;
    leave_port(node);
    for (struct fake_peer *peer = node->peers; peer != NULL; peer = peer->next) {
        fake_disconnect(&peer->base);
    }
    check_closed(node);
}

static void closed(struct fake *node)
{
    struct transport_config config = node->base.config;
    struct fake **at = &node->net->nodes;
    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    free(node);
    config.user->closed(config.arg);
}

void fake_net_cut(struct transport_peer *base)
{
    fake_end((struct fake_peer *)base, MOB_ERR_PEER_LOST, "the connection broke");
}

void fake_net_kill(struct transport *tp)
{
    struct fake *node = (struct fake *)tp;
    node->dead = true;
    leave_port(node);
    for (struct fake_peer *peer = node->peers; peer != NULL; peer = peer->next) {
        fake_end(peer, MOB_ERR_PEER_LOST, "this node was killed");
    }
}

struct transport *fake_net_find(struct fake_net *net, uint64_t node_id)
{
    struct fake *node = net->nodes;
    while (node != NULL && node->base.config.node_id != node_id) {
        node = node->next;
    }
    return node != NULL ? &node->base : NULL;
}

struct transport_peer *fake_net_find_peer(struct transport *tp, uint64_t node_id)
{
    struct fake_peer *peer = ((struct fake *)tp)->peers;
    while (peer != NULL && peer->base.node_id != node_id) {
        peer = peer->next;
    }
    return peer != NULL ? &peer->base : NULL;
}

static void fake_stats(const struct transport_peer *base, struct transport_stats *ret)
{
    const struct fake_peer *peer = (const struct fake_peer *)base;
    *ret = (struct transport_stats){
        .carrier = "fake",
        .checked = !peer->unchecked,
        .pulled_bytes = peer->pulled_bytes,
        .served_bytes = peer->served_bytes,
        .messages_sent = peer->messages_sent,
        .messages_received = peer->messages_received,
        .damaged = peer->damaged,
    };
    snprintf(ret->path, sizeof ret->path, "%u channels in this process", peer->lanes);
}

/* ---- events
 * ------------------------------------------------------------------------------ */

static void up(struct fake_peer *peer, uint64_t node_id)
{
    peer->state = FAKE_UP;
    peer->announced = true;
    peer->base.node_id = node_id;
    user_peer_up(&peer->base, peer->dialed, peer->address);
}

static void dial(struct fake_peer *peer)
{
    struct fake *from = peer->node, *to = from->net->ports[addr_port(&peer->addr)];
    if (peer->state != FAKE_SHAKING) {
        return;
    }
    if (to == NULL) {
        fake_end(peer, MOB_ERR_NO_NODE, "nobody listens there");
        return;
    }
    const struct transport_config *config = &to->base.config;
    if (memcmp(&config->key, &from->base.config.key, sizeof config->key) != 0) {
        fake_end(peer, MOB_ERR_KEY, "the cluster key differs");
        user_refused(&to->base, peer->address, MOB_ERR_KEY, "another cluster key");
    } else if (config->node_id == from->base.config.node_id) {
        fake_end(peer, MOB_ERR_INVALID, "is this node itself");
    } else {
        struct fake_peer *other = new_peer(to, &peer->addr, false);
        other->lanes = peer->lanes;
        other->other = peer;
        peer->other = other;
        peer->unchecked = other->unchecked =
            config->unchecked && from->base.config.unchecked;
        fake_post(from, peer, 0, FAKE_WELCOME, NULL, 0);
        up(other, from->base.config.node_id);
    }
}

static void message(struct fake_peer *peer, const struct fake_event *event)
{
    struct fake_peer *sender = peer->other;
    if (sender != NULL) {
        sender->queued -= event->size;
    }
    if (peer->state == FAKE_UP) {
        peer->messages_received++;
        user_message(&peer->base, event->data, event->size);
    }
    if (sender != NULL && sender == peer->other) {
        fake_check_room(sender);
    }
}

void fake_deliver(struct fake_event *event)
{
    struct fake_peer *peer = event->peer;
    switch (event->kind) {
    case FAKE_DIAL:
        dial(peer);
        return;
    case FAKE_WELCOME:
        if (peer->state == FAKE_SHAKING && peer->other != NULL) {
            up(peer, peer->other->node->base.config.node_id);
        }
        return;
    case FAKE_MESSAGE:
        message(peer, event);
        return;
    case FAKE_PULL:
    case FAKE_CANCEL:
    case FAKE_CHUNK:
    case FAKE_FAIL:
    case FAKE_REVOKED:
        if (peer->state == FAKE_UP) {
            fake_data_event(peer, event);
        }
        return;
    case FAKE_BYE:
        fake_end(peer, MOB_ERR_CLOSED, "said goodbye");
        return;
    case FAKE_LOST:
        fake_end(peer, MOB_ERR_PEER_LOST, "the connection was lost");
        return;
    case FAKE_ENDED:
        fake_say_ended(peer);
        return;
    case FAKE_FINISH:
        finish(peer);
        return;
    case FAKE_CLOSED:
        closed(event->node);
        return;
    }
}

static unsigned fake_progress(struct transport *tp, unsigned budget)
{
    unsigned done = 0;
    while (done < budget && fake_net_step(((struct fake *)tp)->net)) {
        done++;
    }
    return done;
}

const struct transport_ops transport_fake = {
    .name = "fake",
    .open = fake_open,
    .listen = fake_listen,
    .connect = fake_connect,
    .send = fake_send,
    .pull = fake_pull,
    .cancel = fake_cancel,
    .grown = fake_grown,
    .revoke = fake_revoke,
    .stats = fake_stats,
    .disconnect = fake_disconnect,
    .close = fake_close,
    .progress = fake_progress,
};
