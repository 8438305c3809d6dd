/* user.h - how a backend speaks to its user: one way for each of struct transport_user's callbacks. What
 * each means, and what may be done inside it, stands in transport/transport.h. */
#ifndef TRANSPORT_USER_H
#define TRANSPORT_USER_H

#include <stdbool.h>

#include "transport/transport.h"

/* The peer has proved the key; its node_id is set. */
static inline void user_peer_up(struct transport_peer *peer, bool dialed,
                                const char *address)
{
    const struct transport_config *c = &peer->tp->config;
    struct transport_peer_info info = {peer->node_id, dialed, address, peer->tag};
    c->user->peer_up(c->arg, peer, &info);
}

static inline void user_peer_down(struct transport_peer *peer, mob_status status,
                                  const char *reason)
{
    const struct transport_config *c = &peer->tp->config;
    c->user->peer_down(c->arg, peer, status, reason);
}

static inline void user_message(struct transport_peer *peer, const void *data,
                                size_t size)
{
    const struct transport_config *c = &peer->tp->config;
    c->user->message(c->arg, peer, data, size);
}

static inline void user_writable(struct transport_peer *peer)
{
    const struct transport_config *c = &peer->tp->config;
    c->user->writable(c->arg, peer);
}

/* The object's bytes from @offset on, @size of them: MOB_ERR_SIZE if it ends before. */
static inline mob_status user_export(struct transport_peer *peer, const uint8_t *object,
                                     uint64_t offset, uint64_t size,
                                     struct transport_export *ret)
{
    const struct transport_config *c = &peer->tp->config;
    uint64_t end;
    *ret =
        (struct transport_export){0}; /* all of it is there, unless the user says else */
    MOB_TRY(c->user->export(c->arg, peer, object, ret));
    if (__builtin_add_overflow(offset, size, &end) || end > ret->size) {
        c->user->unexport(c->arg, peer, ret);
        return MOB_ERR_SIZE;
    }
    return MOB_OK;
}

static inline void user_unexport(struct transport_peer *peer,
                                 const struct transport_export *exported)
{
    const struct transport_config *c = &peer->tp->config;
    c->user->unexport(c->arg, peer, exported);
}

/* xfer->received has grown. The callback may end the transfer, or its peer. */
static inline void user_landed(struct transport_peer *peer, struct transport_xfer *xfer)
{
    const struct transport_config *c = &peer->tp->config;
    if (c->user->landed != NULL) {
        c->user->landed(c->arg, xfer);
    }
}

static inline void user_pull_done(struct transport_peer *peer,
                                  struct transport_xfer *xfer, mob_status status)
{
    const struct transport_config *c = &peer->tp->config;
    xfer->peer = NULL;
    c->user->pull_done(c->arg, xfer, status);
}

static inline void user_refused(struct transport *tp, const char *address,
                                mob_status status, const char *reason)
{
    tp->config.user->refused(tp->config.arg, address, status, reason);
}

#endif
