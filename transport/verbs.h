/* verbs.h - the inside of the verbs backend, shared by its files.
 *
 *   verbs.c         the node's end: opening, the work of a turn, closing
 *   verbs_peer.c    one peer: what the backend below says of it, its end
 *   verbs_message.c messages, the order of them, and what is owed to a peer
 *   verbs_small.c   small messages over a link's queue pair
 *   verbs_device.c  rails: ports of devices, their GIDs, their events
 *   verbs_change.c  devices that come and go
 *   verbs_gid.c     what a port is to peers
 *   verbs_check.c   what of all this would work here, and why not (check.h)
 *   verbs_memory.c  regions that are known to the devices
 *   verbs_link.c    links: one queue pair each, from the offer to the end
 *   verbs_qp.c      their queue pairs
 *   verbs_work.c    work requests and their completions
 *   verbs_pull.c    pulls, as the puller sees them
 *   verbs_read.c    their chunks: READs, and checking what they brought
 *   verbs_serve.c   pulls, as the owner sees them
 *   verbs_show.c    where exports lie, and who may read them
 *   verbs_time.c    timers
 *   verbs_wire.c    the messages of the protocol, to bytes and back
 *
 * Of the headers verbs_base.h has bounds and timers, verbs_rail.h ports, verbs_link.h queue pairs and
 * what is posted to them, verbs_move.h objects on their way; this one, which all files include, the rest.
 *
 * A rail is a port of a device of this node; a link joins a rail of this node to a rail
 * of a peer. "under" is the backend that makes the peers and carries the rest.
 *
 * Nothing here is freed while a device may write to it: a destination is nobody's while a
 * READ is posted for it, and a READ is over when its completion came or its queue pair is
 * destroyed. README.md has states and wire. */
#ifndef TRANSPORT_VERBS_H
#define TRANSPORT_VERBS_H

#include "user.h"
#include "verbs_base.h"
#include "verbs_link.h"
#include "verbs_move.h"
#include "verbs_rail.h"

enum verbs_peer_state { VPEER_NEW, VPEER_UP, VPEER_LEAVING, VPEER_DOWN };

struct verbs_peer {
    struct transport_peer base;
    struct verbs *v;
    struct verbs_peer *next, *prev;
    struct verbs_peer *dirty_next;
    struct transport_peer *under; /* NULL: gone */
    enum verbs_peer_state state;
    bool dirty, dialed, announced, wants_room, greeted;
    bool below_full; /* the backend below has no room for messages */
    char address[ADDR_TEXT_SIZE];
    mob_status status; /* why it ends */
    char reason[320];

    uint64_t out_sequence, in_sequence;
    unsigned unacked;      /* small messages of all links */
    uint64_t passed_bytes; /* sent below while there were any */
    bool held_back;        /* no more may pass them */
    struct verbs_held *held;
    size_t held_bytes;
    uint64_t below_bytes; /* that came since we acknowledged small ones */
    uint8_t *out;         /* messages that the backend below had no room for */
    size_t out_used, out_size;

    struct verbs_hello hello; /* the other side's, once greeted */
    bool unchecked, asked;    /* asked: for links, lately */
    uint64_t asked_ns;
    struct verbs_link *links[VERBS_RAILS_MAX];
    struct verbs_timer patience; /* of pulls that wait for a link, of revoked exports */
    char why[VERBS_WHY_SIZE];

    struct verbs_pull *pulls[TRANSPORT_PULLS_MAX];
    unsigned pulls_count, turn;
    uint64_t pull_sequence;
    struct verbs_serve *serves;
    unsigned serves_count;
    uint64_t serve_last; /* id of the newest */

    struct transport_stats stats;
};

struct verbs_region {
    uintptr_t base;
    uint64_t size, piece;
    bool writable;
    unsigned pieces, registered;
    struct ibv_mr **mrs; /* [piece * rails + rail] */
};

struct verbs {
    struct transport base;
    struct transport *under; /* NULL: closed */
    const struct verbs_lib *lib;
    struct loop *loop;
    struct fake_net *net; /* where time comes from; NULL: the clock */
    bool strict, closing, closed_below;
    bool
        pins_for_writing; /* the kernel: memory that is only shown must be writable too */
    char why[VERBS_WHY_SIZE];        /* no RDMA at all; empty: there are rails */
    char memory_why[VERBS_WHY_SIZE]; /* the last region that could not be registered */
    struct verbs_rail *rails[VERBS_RAILS_MAX];
    unsigned rails_count;
    bool had_rails; /* at some time: peers were told of some */
    bool changing;  /* a device came or went: all are let go of */
    int watch_fd;   /* -1: changes are not watched */
    struct loop_op watch;
    struct verbs_timer reopen;
    uint64_t nodes; /* of the devices when they were opened */
    unsigned opens; /* times that it was tried since they changed */
    struct verbs_peer *peers;
    struct verbs_peer *dirty, **dirty_end;
    struct verbs_timer later;
    bool working;
    uint64_t poll_until_ns;
    uint64_t budget; /* bytes that may still be checksummed in this turn */
    struct verbs_region *regions;
    unsigned regions_count, regions_size;
    unsigned unregistered; /* pieces to come */
};

static inline struct verbs *verbs_of(struct transport *tp)
{
    return LOOP_OWNER(tp, struct verbs, base);
}
static inline struct verbs_peer *verbs_peer_of(struct transport_peer *peer)
{
    return LOOP_OWNER(peer, struct verbs_peer, base);
}

/* ---- verbs.c */
/* The work of a turn: completions, what peers have to do, then sleep or not. */
void verbs_turn(struct verbs *v);
/* Has it done soon. */
void verbs_kick(struct verbs *v);
/* The same, and looks at the peer. */
void verbs_touch(struct verbs_peer *peer);
/* Frees all once nothing is left, and says closed(). */
void verbs_check_closed(struct verbs *v);

/* ---- verbs_peer.c */
extern const struct transport_user verbs_under_user;
mob_status verbs_peer_new(struct verbs *v, struct verbs_peer **ret);
void verbs_peer_free(struct verbs_peer *peer);
/* What one turn has to do for it; true: there is more. May free it. */
bool verbs_peer_work(struct verbs_peer *peer);
/* It broke the protocol, or memory is short: it goes. */
void verbs_peer_fail(struct verbs_peer *peer, mob_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void verbs_disconnect(struct transport_peer *base);
void verbs_stats(const struct transport_peer *base, struct transport_stats *ret);
void verbs_check_room(struct verbs_peer *peer);
/* Looks at it again after @ns, if that is not due already. */
void verbs_be_patient(struct verbs_peer *peer, uint64_t ns);

/* ---- verbs_message.c */
mob_status verbs_send(struct transport_peer *base, const struct iovec *iov,
                      unsigned count);
/* A message of the protocol: sent, or kept until there is room. Of a peer that is not up
 * it is dropped. */
void verbs_tell(struct verbs_peer *peer, enum verbs_kind kind, const void *data,
                size_t size);
/* There is room again for what waits. */
void verbs_flush(struct verbs_peer *peer);
/* From the backend below. */
void verbs_message_came(struct verbs_peer *peer, const uint8_t *data, size_t size);
/* From @link, or NULL for the backend below: in whatever order. */
void verbs_message_in(struct verbs_peer *peer, struct verbs_link *link, uint64_t word,
                      const uint8_t *data, size_t size);
/* Sends it below, before all that waits, as it is. */
void verbs_send_again(struct verbs_peer *peer, uint64_t word, const void *data,
                      size_t size);

/* ---- verbs_memory.c */
mob_status verbs_map(struct transport *tp, void *base, uint64_t size, bool writable);
void verbs_unmap(struct transport *tp, void *base);
void verbs_unmap_all(struct verbs *v);
/* Nothing of them is registered any more; they are kept, for the next devices. */
void verbs_memory_forget(struct verbs *v);
/* There are devices again: has them all registered, piece by piece. */
void verbs_memory_renew(struct verbs *v);
/* Registers the next piece of what is not registered yet. */
void verbs_memory_work(struct verbs *v);
/* A piece of a region, from some byte of it on: the MR of each rail (NULL in strict mode
 * if it is only shown), and how many bytes follow in it. */
struct verbs_piece {
    struct ibv_mr **mrs;
    uint64_t left;
    bool writable;
};
enum verbs_memory { VERBS_MEMORY_NONE, VERBS_MEMORY_COMING, VERBS_MEMORY_THERE };
/* COMING: it is about to be registered. */
enum verbs_memory verbs_memory_find(const struct verbs *v, const void *at,
                                    struct verbs_piece *ret);
/* The same of a range: the worst of its parts. @writable: NONE if a part is not. */
enum verbs_memory verbs_memory_covers(const struct verbs *v, const void *at,
                                      uint64_t size, bool writable);
/* What the devices may do with it. */
int verbs_memory_access(const struct verbs *v, bool writable);

#endif
