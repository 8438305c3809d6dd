/* transport.h - bytes between nodes: control messages, and objects pulled into a given
 * place.
 *
 * A transport is one node's end. It knows peers: other nodes that proved the cluster key.
 * To a peer it sends messages (in order, none lost while the peer is up), and from a peer
 * it pulls objects, which land in the caller's memory and are verified before they are
 * said to be there.
 *
 * Threads: a transport belongs to one thread, its loop's. No function blocks. No callback
 * is called from inside a function of this header; callbacks may call any function of it,
 * except that of a peer or transfer whose last callback has come.
 *
 * What comes, in which order
 *   peer:   connect() or a connection from outside -> [peer_up] -> any of message,
 * writable, export, unexport, pull_done -> peer_down, after which the handle is gone.
 *           peer_down comes exactly once for each connect() that returned MOB_OK, and for
 * each peer_up; all transfers of the peer are done and all its exports are given back
 *           before it.
 *   pull:   pull() -> [landed]... -> pull_done, exactly once. From then on nothing
 *           writes to the destination.
 *   export: export (MOB_OK) -> unexport, exactly once. From then on nothing reads the
 *           bytes.
 *   memory: map() before the first pull into it and the first export from it, unmap()
 *           after the last of both is over. Bytes outside of what is mapped move too,
 *           though not over RDMA.
 *
 * Several backends stand behind one table of functions; the inline functions below call
 * it. */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <core/limits.h>
#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "transport/addr.h"
#include "transport/key.h"

struct loop;
struct transport;
struct transport_peer;

#define TRANSPORT_OBJECT_BYTES                                                           \
    32 /* what names an object: a 128-bit id and where its bytes lie */
#define TRANSPORT_PULLS_MAX                                                              \
    128 /* of one peer at once; beyond it pull() is MOB_ERR_FULL */
#define TRANSPORT_QUEUE_BYTES                                                            \
    (4u << 20)               /* messages queued for a peer; beyond it MOB_ERR_FULL */
#define TRANSPORT_DATA_MAX 4 /* connections to one peer that carry objects */
#define TRANSPORT_IOV_MAX 8  /* pieces of one message */
#define TRANSPORT_PREFIX_MAX 8

/* Bytes that the owner shows to a puller. */
struct transport_export {
    const void *base;
    uint64_t size;   /* of the whole object */
    uint64_t cookie; /* the user's; no other export of the transport has it meanwhile */
    /* NULL: all bytes are there. Else how many are, from the start on, in memory of the
     * user's (transport_xfer.received of a pull of its own); it only grows, grown()
     * tells, and it stays readable until unexport. */
    const uint64_t *ready;
};

/* What to pull: @size bytes from @offset on of the object that the owner knows as
 * @object. */
struct transport_source {
    uint8_t object[TRANSPORT_OBJECT_BYTES];
    uint64_t offset, size;
};

/* One transfer, in the caller's memory, from pull() until pull_done. */
struct transport_xfer {
    struct transport_peer *peer; /* NULL: idle */
    uint8_t *dst;
    uint64_t size;
    uint64_t received; /* verified bytes, from the start on; for the user to read */
    uint64_t id;
    mob_status status; /* once it has failed or was cancelled, while bytes still land */
    uint16_t slot;
    uint8_t lane; /* which data connection */
    bool landing; /* a receive into dst is in flight */
    bool ending;  /* pull_done is on its way */
    struct transport_xfer *next;
    void *backend; /* what a backend keeps of it beside */
};

struct transport_peer_info {
    uint64_t node_id; /* the incarnation that the peer proved to be part of the cluster */
    bool dialed;      /* true: connect() made it; false: it came to us */
    const char *address; /* valid during the callback */
    void *tag;           /* connect()'s; NULL if it came to us */
};

/* What a transport tells its user. All of them are set; @arg is the config's.
 * Two nodes that connect to each other at the same time see two peers with one node id:
 * either may be used, and the one that the smaller node id dialed should be kept. */
struct transport_user {
    /* The key is proved on both sides; messages and pulls may begin. */
    void (*peer_up)(void *arg, struct transport_peer *peer,
                    const struct transport_peer_info *info);

    /* The peer is gone, or connect() failed; the handle is freed after the callback.
     * MOB_ERR_CLOSED: closed by disconnect() or close() on either side.
     * MOB_ERR_NO_NODE: nobody listens there, or no way leads there (reason says which).
     * MOB_ERR_TIMEOUT: no answer. MOB_ERR_KEY, MOB_ERR_VERSION: refused by either side.
     * MOB_ERR_PROTOCOL: it sent something malformed. MOB_ERR_PEER_LOST: the rest.
     * @reason: one sentence, valid during the callback. */
    void (*peer_down)(void *arg, struct transport_peer *peer, mob_status status,
                      const char *reason);

    /* One message, as it was sent. The bytes are valid during the callback; they are
     * input. */
    void (*message)(void *arg, struct transport_peer *peer, const void *data,
                    size_t size);

    /* After a send() or pull() that returned MOB_ERR_FULL: there is room again. */
    void (*writable)(void *arg, struct transport_peer *peer);

    /* A peer wants the object: pin it and say where it lies, or MOB_ERR_NOT_FOUND (or
     * another error), which becomes the status of the peer's pull. */
    mob_status (*export)(void *arg, struct transport_peer *peer,
                         const uint8_t object[TRANSPORT_OBJECT_BYTES],
                         struct transport_export *ret);

    /* That pull is served, was cancelled, or its connection is gone: unpin. */
    void (*unexport)(void *arg, struct transport_peer *peer,
                     const struct transport_export *exported);

    /* MOB_OK: all bytes are there and verified. MOB_ERR_CANCELLED. MOB_ERR_PROTOCOL: a
     * chunk arrived damaged (the peer stays up: pull again). MOB_ERR_SIZE: the object
     * ends before offset + size. MOB_ERR_NOT_FOUND and others: from the owner's export.
     * The status of peer_down (never MOB_ERR_PROTOCOL: MOB_ERR_PEER_LOST then): the peer
     * went away. */
    void (*pull_done)(void *arg, struct transport_xfer *xfer, mob_status status);

    /* xfer->received has grown. May be NULL. */
    void (*landed)(void *arg, struct transport_xfer *xfer);

    /* A connection from outside did not become a peer: for the log. */
    void (*refused)(void *arg, const char *address, mob_status status,
                    const char *reason);

    /* The last callback of all, after close(): the transport is freed. */
    void (*closed)(void *arg);
};

/* What moved to and from a peer, and how. */
struct transport_stats {
    const char *carrier; /* of objects, now: "tcp", "verbs", "fake"; a constant */
    bool encrypted, checked;
    char path[96]; /* what of it: device, port and GID; the number of connections */
    char why[160]; /* why objects do not move over RDMA; empty: they do */
    uint64_t pulled_bytes, served_bytes; /* of objects, verified */
    uint64_t rdma_bytes;                 /* of pulled_bytes, those that RDMA moved */
    uint64_t messages_sent, messages_received;
    uint64_t damaged;   /* chunks whose checksum was wrong */
    uint64_t fallbacks; /* transfers that went on over TCP */
    uint64_t retries;   /* attempts to use RDMA again */
};

struct fake_net;
struct transport_ops;
struct verbs_lib;

/* What of RDMA is used: the verbs backend's. */
enum transport_rdma {
    TRANSPORT_RDMA_AUTO, /* where both ends can */
    TRANSPORT_RDMA_OFF,
    TRANSPORT_RDMA_STRICT, /* and no more memory is readable than what is being pulled */
};

struct transport_config {
    struct loop *loop;                 /* tcp: runs on it; outlives the transport */
    struct fake_net *net;              /* fake: the network that it is part of */
    const struct transport_user *user; /* outlives the transport */
    void *arg;
    uint64_t node_id;          /* this incarnation; random, not 0 */
    struct key key;            /* copied; wiped at close */
    unsigned data_connections; /* to each peer dialed, 1 to TRANSPORT_DATA_MAX; 0: 1 */
    bool encrypt;   /* tcp: nobody on the way can read anything; both ends must say so */
    bool unchecked; /* no checksums over object bytes; only if both ends say so */
    unsigned
        prefix; /* bytes of a message beyond MESSAGE_BYTES_MAX, in a piece of their own:
                        those of a backend that stands on this one; at most TRANSPORT_PREFIX_MAX */
    enum transport_rdma rdma;
    const struct transport_ops *under; /* verbs: what carries its peers; NULL: tcp */
    const struct verbs_lib *verbs;     /* verbs: the library; NULL: the system's */
};

/* A backend, in the order of the calls. */
struct transport_ops {
    const char *name; /* for people: "tcp" */

    /* Checks the config, takes what it needs. MOB_ERR_INVALID, NOMEM. */
    mob_status (*open)(const struct transport_config *config, struct transport **ret);

    /* Once: from now on peers may come. @ret_bound: NULL, or gets the address with the
     * port that was taken. MOB_ERR_EXISTS: the port is taken. MOB_ERR_INVALID: not an
     * address of this machine. MOB_ERR_SYSTEM. A node that only dials need not listen. */
    mob_status (*listen)(struct transport *tp, const struct addr *addr,
                         struct addr *ret_bound);

    /* Begins to reach a node; peer_up or peer_down will tell. @tag comes back in both
     * (transport_peer_tag()). MOB_ERR_NOMEM, MOB_ERR_SYSTEM, MOB_ERR_CLOSED. */
    mob_status (*connect)(struct transport *tp, const struct addr *addr, void *tag,
                          struct transport_peer **ret);

    /* One message of the pieces @iov, together at most MESSAGE_BYTES_MAX, copied before
     * this returns. MOB_ERR_FULL: no room, writable will tell. MOB_ERR_SIZE: too large.
     * MOB_ERR_STATE: the peer is not up. */
    mob_status (*send)(struct transport_peer *peer, const struct iovec *iov,
                       unsigned count);

    /* Begins a transfer into @dst (source->size bytes, the caller's until pull_done).
     * MOB_ERR_FULL: too many at once, writable will tell. MOB_ERR_STATE: the peer is not
     * up. */
    mob_status (*pull)(struct transport_peer *peer, const struct transport_source *source,
                       void *dst, struct transport_xfer *xfer);

    /* Ends a transfer early. pull_done comes when nothing writes to dst any more: at the
     * end of the chunk that is landing, or when the connection is gone. It may still be
     * MOB_OK. */
    void (*cancel)(struct transport_xfer *xfer);

    /* More bytes of the export @cookie are there (transport_export.ready). One that is
     * over already is left alone. */
    void (*grown)(struct transport_peer *peer, uint64_t cookie);

    /* The bytes of the export @cookie cannot be had any more: the peer's pull ends with
     * @status, unexport follows. One that is over already is left alone. */
    void (*revoke)(struct transport_peer *peer, uint64_t cookie, mob_status status);

    /* What moved so far. */
    void (*stats)(const struct transport_peer *peer, struct transport_stats *ret);

    /* NULL in a backend that reads and writes any memory. Makes [@base, @base + @size),
     * whose pages are there already, known to the devices. @writable: pulls may land in
     * it; else it is only shown, and may be read-only (kernels before 6.2, and strict
     * mode, need a mapping that could be made writable, which it is for a moment). Both
     * page-aligned, no overlaps. An error (MOB_ERR_NOMEM: memlock; the message says what to set) costs
     * speed alone: the bytes move over TCP. unmap: what was not mapped is left alone. */
    mob_status (*map)(struct transport *tp, void *base, uint64_t size, bool writable);
    void (*unmap)(struct transport *tp, void *base);

    /* NULL: false. There are devices that map() makes memory known to. */
    bool (*has_devices)(const struct transport *tp);

    /* Says goodbye: what was sent before is delivered if the peer goes on taking it, some
     * of it each second, for at most 5 s. Transfers end with MOB_ERR_CLOSED. peer_down
     * follows; no message comes meanwhile. */
    void (*disconnect)(struct transport_peer *peer);

    /* Stops listening, disconnects every peer, frees all; closed() tells. */
    void (*close)(struct transport *tp);

    /* For a backend whose events do not come through the loop alone; NULL otherwise.
     * fds: writes up to @max fds that become readable when progress() has work, returns
     * how many. progress: does up to @budget pieces of work, returns how many it did. */
    unsigned (*fds)(struct transport *tp, int *fds, unsigned max);
    unsigned (*progress)(struct transport *tp, unsigned budget);
};

/* A backend's structs begin with these. */
struct transport {
    const struct transport_ops *ops;
    struct transport_config config;
};
struct transport_peer {
    struct transport *tp;
    uint64_t node_id; /* 0 until proved */
    void *tag;        /* connect()'s, then what the user makes of it */
};

/* TCP through core/loop: one listening port, a control connection and data connections
 * for each peer, mutual proof of the key. README.md has the protocol. */
extern const struct transport_ops transport_tcp;

/* Objects and small messages over RDMA verbs, on top of config.under, which makes the
 * peers, proves the key and carries all that RDMA does not: where a device, the library,
 * or the other end's is missing, everything. verbs.h. */
extern const struct transport_ops transport_verbs;

/* In-process and deterministic, with faults to order: fake.h. */
extern const struct transport_ops transport_fake;

static inline mob_status transport_listen(struct transport *tp, const struct addr *addr,
                                          struct addr *ret_bound)
{
    return tp->ops->listen(tp, addr, ret_bound);
}
static inline mob_status transport_connect(struct transport *tp, const struct addr *addr,
                                           void *tag, struct transport_peer **ret)
{
    return tp->ops->connect(tp, addr, tag, ret);
}
static inline mob_status transport_sendv(struct transport_peer *peer,
                                         const struct iovec *iov, unsigned count)
{
    return peer->tp->ops->send(peer, iov, count);
}
static inline mob_status transport_send(struct transport_peer *peer, const void *data,
                                        size_t size)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    return peer->tp->ops->send(peer, &iov, 1);
}
static inline mob_status transport_pull(struct transport_peer *peer,
                                        const struct transport_source *source, void *dst,
                                        struct transport_xfer *xfer)
{
    return peer->tp->ops->pull(peer, source, dst, xfer);
}
/* A transfer that is done already is left alone. */
static inline void transport_cancel(struct transport_xfer *xfer)
{
    if (xfer->peer != NULL) {
        xfer->peer->tp->ops->cancel(xfer);
    }
}
static inline void transport_grown(struct transport_peer *peer, uint64_t cookie)
{
    peer->tp->ops->grown(peer, cookie);
}
static inline void transport_revoke(struct transport_peer *peer, uint64_t cookie,
                                    mob_status status)
{
    peer->tp->ops->revoke(peer, cookie, status);
}
static inline void transport_stats(const struct transport_peer *peer,
                                   struct transport_stats *ret)
{
    peer->tp->ops->stats(peer, ret);
}
static inline mob_status transport_map(struct transport *tp, void *base, uint64_t size,
                                       bool writable)
{
    return tp->ops->map ? tp->ops->map(tp, base, size, writable) : MOB_OK;
}
static inline void transport_unmap(struct transport *tp, void *base)
{
    if (tp->ops->unmap) {
        tp->ops->unmap(tp, base);
    }
}
static inline bool transport_has_devices(const struct transport *tp)
{
    return tp->ops->has_devices != NULL && tp->ops->has_devices(tp);
}
static inline void transport_disconnect(struct transport_peer *peer)
{
    peer->tp->ops->disconnect(peer);
}
static inline void transport_close(struct transport *tp)
{
    tp->ops->close(tp);
}

#endif
