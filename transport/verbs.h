/* verbs.h - the inside of the verbs backend, shared by its files.
 *
 *   verbs.c         the node's end: opening, the work of a turn, closing
 *   verbs_peer.c    one peer: what the backend below says of it, its end
 *   verbs_message.c messages, the order of them, and what is owed to a peer
 *   verbs_small.c   small messages over a link's queue pair
 *   verbs_device.c  rails: ports of devices, their GIDs, their events
 *   verbs_change.c devices that come and go
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
 * A rail is a port of a device of this node; a link joins a rail of this node to a rail
 * of a peer. "under" is the backend that makes the peers and carries the rest.
 *
 * Nothing here is freed while a device may write to it: a destination is nobody's while a
 * READ is posted for it, and a READ is over when its completion came or its queue pair is
 * destroyed. README.md has states and wire. */
#ifndef TRANSPORT_VERBS_H
#define TRANSPORT_VERBS_H

#include "core/clock.h"
#include "core/loop.h"
#include "sums.h"
#include "transport/fake.h"
#include "transport/transport.h"
#include "user.h"
#include "verbs_lib.h"
#include "verbs_wire.h"

#define VERBS_SEND_QUEUE 128 /* work requests of a link at once */
#define VERBS_RECEIVES 4096  /* of a rail at once, at most: messages of all its links */
#define VERBS_SLOT_BYTES 256 /* of a receive */
#define VERBS_FRAME_BYTES 12 /* before a small message: its word, an acknowledgement */
#define VERBS_SMALL_MAX                                                                  \
    208 /* its own bytes: with the frame 220, which devices take inline */
#define VERBS_LINK_SLOTS (VERBS_CREDITS + VERBS_CREDITS / 4) /* with acknowledgements */
#define VERBS_SIGNAL_EVERY 32 /* SENDs for one completion */
#define VERBS_HELD_BYTES                                                                 \
    (TRANSPORT_QUEUE_BYTES + (2u << 20)) /* of a peer, out of order */
#define VERBS_WINDOW 16 /* READs of a link at once: 16 MiB cover 100 Gb/s for 1 ms */
#define VERBS_READ_MIN (64u << 10)   /* bytes that one READ must be able to move */
#define VERBS_LINKS_MAX 256          /* of a rail */
#define VERBS_RAIL_BYTES (64u << 20) /* READ at once over a rail */
#define VERBS_AHEAD 64 /* chunks of a pull that are there but not verified */
#define VERBS_PIECE_BYTES (256ull << 20)  /* registered at once: some ten ms */
#define VERBS_STRICT_BYTES (256ull << 20) /* read-only, registered for one pull */
#define VERBS_REGIONS_MAX 65536
#define VERBS_OUT_BYTES (16u << 20) /* owed to a peer that does not read; then it goes */
#define VERBS_SERVES_MAX (2 * TRANSPORT_PULLS_MAX) /* their ends cross on the way */
#define VERBS_TURN_BYTES (4u << 20)                /* checksummed in a turn of the loop */
#define VERBS_WAIT_BYTES (64u << 10) /* smaller pulls do not wait for a link to come up */
#define VERBS_DAMAGE_MAX 3           /* times that a chunk may arrive damaged */
#define VERBS_POLL_NS 40000ull       /* of looking before sleeping, after work */
#define VERBS_SETUP_NS 5000000000ull /* for a link to come up */
#define VERBS_WAIT_NS 2000000000ull  /* for which a pull waits for that */
#define VERBS_DRAIN_NS 1000000000ull /* for its work requests to be flushed */
#define VERBS_STALL_NS 10000000000ull /* requests posted and none completed */
#define VERBS_RETRY_MIN_NS 1000000000ull
#define VERBS_RETRY_MAX_NS 30000000000ull
#define VERBS_REVOKE_NS 5000000000ull /* for a puller to let go of a revoked export */
#define VERBS_SETTLE_NS 100000000ull  /* from a device's node until it is opened */
#define VERBS_OPENS_MAX 8 /* times that it is tried, each pause twice the last */
#define VERBS_WHY_SIZE 160

struct verbs;
struct verbs_peer;
struct verbs_link;
struct verbs_pull;
struct verbs_serve;

struct verbs_rail {
    struct verbs *v;
    unsigned index;
    bool dead;
    bool armed; /* the next completion makes the channel readable */
    uint8_t port;
    uint8_t init_depth, resp_depth; /* READs at once: as who reads, as who is read from */
    uint16_t gid_index;
    uint32_t max_read; /* bytes of one READ */
    uint64_t max_mr;
    struct verbs_port port_info; /* what peers are told */
    char name[64];
    char path[96]; /* for people */
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_mr *slots_mr; /* what the receives write to */
    uint8_t *slots;
    uint32_t *posts;             /* by slot: how often it was posted */
    bool *posted;                /* by slot: it is the device's */
    unsigned filled, read_count; /* slots that were posted once; that are to be again */
    uint16_t read[VERBS_RECEIVES];
    unsigned slots_count, slots_free; /* free: promised to no link */
    struct loop_op completions, events;
    uint64_t flight_bytes;
    bool starved; /* somebody had no room for a READ in it */
    unsigned links_max;
    struct verbs_link *links[VERBS_LINKS_MAX]; /* by slot; NULL: free */
    uint16_t epochs[VERBS_LINKS_MAX];          /* of the slot: old completions differ */
};

enum verbs_work { WORK_READ, WORK_BIND, WORK_INVALIDATE, WORK_SEND };

/* A timer of the loop, or, over the fake network, of its virtual time. */
struct verbs_timer {
    struct loop_timer loop;
    struct fake_timer fake;
    void (*fired)(struct verbs_timer *timer);
};

/* A posted work request. */
struct verbs_wr {
    enum verbs_work kind;
    bool last;     /* READ: of its chunk */
    bool signaled; /* it has a completion, whatever comes */
    uint32_t bytes;
    uint64_t chunk;
    void *owner; /* the pull, or the serve */
};

/* A small message, until the peer says that it came. */
struct verbs_kept {
    uint64_t word;
    uint16_t size;
    uint8_t data[VERBS_SMALL_MAX];
};

/* A message that came before one that was sent earlier. */
struct verbs_held {
    struct verbs_held *next; /* by sequence */
    uint64_t word;
    uint8_t link; /* that it came by; VERBS_RAILS_MAX: the backend below */
    uint32_t generation;
    size_t size;
    uint8_t data[];
};

enum link_state {
    LINK_IDLE,
    LINK_OFFERED,  /* we made an offer; the queue pair is INIT */
    LINK_ACCEPTED, /* we took one; RTS, though the other side may not be yet */
    LINK_UP,
    LINK_DRAINING, /* the queue pair is in ERR, until all is flushed */
};

struct verbs_link {
    struct verbs_peer *peer;
    struct verbs_rail *rail;
    uint8_t index;      /* the same on both sides */
    uint8_t other_rail; /* the peer's */
    enum link_state state;
    uint32_t generation;
    struct ibv_qp *qp;
    unsigned slot;
    uint32_t psn;
    unsigned window, reads; /* READs: at most, posted */
    uint32_t head, tail;    /* work requests posted, and completed */
    unsigned signaled;      /* of them, those that will have a completion */
    struct verbs_wr ring[VERBS_SEND_QUEUE];
    /* Small messages, counted since it came up. */
    bool receives;           /* we have promised room for the peer's */
    bool inlines;            /* its device takes them inline, as we send them */
    unsigned credits;        /* of ours that may be without acknowledgement */
    uint32_t sent, acked;    /* ours */
    uint32_t came, told;     /* the peer's: delivered, and acknowledged by us */
    struct verbs_kept *kept; /* ours from acked to sent, VERBS_CREDITS places */
    uint64_t moved_ns;       /* when a completion came, or the first request was posted */
    struct verbs_timer limit;
    uint64_t retry_ns, backoff_ns; /* not before; the next pause */
    bool failed_before;
    bool has_offer; /* one that came while the last queue pair drains */
    struct verbs_offer offer;
    char why[VERBS_WHY_SIZE];
};

enum pull_state {
    PULL_WAITING, /* for a link */
    PULL_ASKED,
    PULL_READING,
    PULL_OWED, /* to be asked of the backend below, when it has room */
    PULL_UNDER,
    PULL_ENDING, /* pull_done is due */
};

struct verbs_pull {
    struct verbs_peer *peer;
    struct transport_xfer *user;
    struct transport_xfer under;
    struct transport_source source;
    uint8_t *dst;
    uint64_t id, base; /* base: where the backend below went on */
    uint64_t since_ns; /* when it began */
    enum pull_state state;
    mob_status status; /* why it ends, while READs are posted */
    bool told;         /* the owner knows of it, and is owed an end */
    uint32_t flights;  /* chunks whose READs are posted */
    struct verbs_here here;
    uint64_t chunks, next, verified, ready; /* ready: bytes */
    uint64_t again; /* chunks that were read in vain, or damaged, and are to be read */
    uint8_t *states;
    uint64_t *sums;
    uint64_t sums_count;
    struct sums_table *table;
    unsigned damaged;
    uint64_t rdma_bytes;
};

struct verbs_serve {
    struct verbs_peer *peer;
    struct verbs_serve *next;
    uint64_t id, offset, size;
    struct transport_export exported;
    struct verbs_here here;                /* its ranges: until they are told */
    uint32_t generations[VERBS_RAILS_MAX]; /* of the links that it is shown over */
    bool shown; /* the puller knows where it is: only it can end it, or a link's end */
    bool revoked, ending;
    uint64_t revoked_ns;
    uint64_t chunks, summed, told_ready;
    struct sums_table *table;
    uint64_t batch[VERBS_SUMS_MAX];
    unsigned batch_count;
    struct ibv_mw **windows;       /* strict: [range * VERBS_RAILS_MAX + link] */
    struct ibv_mr **mrs;           /* likewise, where the mapping is read-only */
    unsigned ranges_count, posted; /* posted: work requests that know of it */
    bool unbound;                  /* a window could not be bound */
};

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

/* ---- time */
uint64_t verbs_now(const struct verbs *v);
void verbs_timer_start(struct verbs *v, struct verbs_timer *timer, uint64_t deadline_ns,
                       void (*fired)(struct verbs_timer *timer));
void verbs_timer_stop(struct verbs *v, struct verbs_timer *timer);
static inline bool verbs_timer_active(const struct verbs_timer *timer)
{
    return timer->loop.active || timer->fake.place != 0;
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

/* ---- verbs_small.c */
/* The rail's receives. False: the device does not take them. */
bool verbs_slots_open(struct verbs_rail *rail, unsigned most);
void verbs_slots_close(struct verbs_rail *rail);
/* Room for a new link's messages: how many it may send us at once. */
uint8_t verbs_slots_promise(struct verbs_link *link);
void verbs_slots_release(struct verbs_link *link);
/* Sends by the first link that takes it; false: none does. */
bool verbs_small_send(struct verbs_peer *peer, uint64_t word, const struct iovec *iov,
                      unsigned count, size_t size);
void verbs_small_came(struct verbs_rail *rail, const struct ibv_wc *wc);
/* Gives the slots that were read back to the device. */
void verbs_slots_post(struct verbs_rail *rail);
/* The peer has @count of ours. False: it cannot. */
bool verbs_small_acked(struct verbs_link *link, uint32_t count);
/* Acknowledges where much came. */
void verbs_small_work(struct verbs_peer *peer);
/* The same by the backend below, of everything. */
void verbs_small_tell(struct verbs_peer *peer);
/* The link is gone: what may not have come goes below. */
void verbs_small_again(struct verbs_link *link);

/* ---- verbs_device.c */
/* Opens what there is, at most VERBS_RAILS_MAX; none: v->why says so. */
void verbs_rails_open(struct verbs *v);
/* False: events are still watched; again later. */
bool verbs_rails_close(struct verbs *v);
/* NULL: the device has what we need; or what it lacks. */
const char *verbs_device_lacks(const struct ibv_device_attr *attr, bool strict);
/* Says hello, or why there is nothing to say hello with. */
void verbs_greet(struct verbs_peer *peer);
/* Which of the peer's rails each of ours is to be joined to; -1: none. */
void verbs_rails_pair(const struct verbs_peer *peer, int ret[VERBS_RAILS_MAX]);
bool verbs_greeted(struct verbs_peer *peer, const struct verbs_hello *hello);

/* ---- verbs_change.c */
/* From now on devices that come and go are noticed. */
void verbs_change_watch(struct verbs *v);
/* False: it is still watched; again later. */
bool verbs_change_close(struct verbs *v);
/* Lets go of the devices, once nothing moves over them, if they change. */
void verbs_change_work(struct verbs *v);

/* ---- verbs_gid.c */
/* What a GID is worth, below 0: nothing. The first of the best is used; of InfiniBand the
 * first of all. */
int verbs_gid_rank(const struct ibv_gid_entry *entry);
/* The best GID of the port; false: it has none. */
bool verbs_gid_choose(struct verbs_rail *rail, const struct ibv_port_attr *port);
void verbs_rail_describe(struct verbs_rail *rail);
uint32_t verbs_port_mbps(const struct ibv_port_attr *port);

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

/* ---- verbs_link.c */
/* Brings up what can be brought up. True: something is on its way. */
bool verbs_links_want(struct verbs_peer *peer);
bool verbs_links_up(const struct verbs_peer *peer);
/* Nothing of the peer's queue pairs is left. */
bool verbs_links_gone(const struct verbs_peer *peer);
void verbs_links_end(struct verbs_peer *peer, const char *why);
void verbs_links_free(struct verbs_peer *peer);
/* Its queue pair goes to ERR; once all is flushed it is destroyed. @tell: the other side
 * hears of it. */
void verbs_link_fail(struct verbs_link *link, bool tell, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Requests are posted: from now on it is watched that they are done. */
void verbs_link_watch(struct verbs_link *link);
/* The last work request is over. */
void verbs_link_drained(struct verbs_link *link);
/* Messages. False: malformed. */
bool verbs_link_wanted(struct verbs_peer *peer);
bool verbs_link_offered(struct verbs_peer *peer, const struct verbs_offer *offer);
bool verbs_link_accepted(struct verbs_peer *peer, const struct verbs_accept *accept);
/* Rails of either side are others now: all links end, and come up again when wanted. */
void verbs_links_renew(struct verbs_peer *peer);
/* Both sides are ready. */
void verbs_link_up(struct verbs_link *link);
bool verbs_link_is_up(struct verbs_peer *peer, const struct verbs_up *up);
bool verbs_link_is_down(struct verbs_peer *peer, const struct verbs_down *down);

/* ---- verbs_qp.c */
/* A queue pair in INIT. NULL, or why there is none. */
const char *verbs_qp_create(struct verbs_link *link);
/* To RTR and RTS, joined to that one of the peer. An errno. */
int verbs_qp_ready(struct verbs_link *link, uint32_t qpn, uint32_t psn);
void verbs_qp_destroy(struct verbs_link *link);

/* ---- verbs_work.c */
unsigned verbs_link_room(const struct verbs_link *link);
/* Posts @wr, whose id is set here. False: the link has failed. */
bool verbs_post(struct verbs_link *link, struct ibv_send_wr *wr,
                const struct verbs_wr *work);
/* Takes completions of a rail; returns how many. */
unsigned verbs_rail_poll(struct verbs_rail *rail);
/* What was posted and did not complete is over: the queue pair is destroyed. */
void verbs_link_flushed(struct verbs_link *link);

/* ---- verbs_pull.c */
mob_status verbs_pull_begin(struct transport_peer *base,
                            const struct transport_source *source, void *dst,
                            struct transport_xfer *xfer);
void verbs_cancel(struct transport_xfer *xfer);
/* Looks what the pulls of a peer can do now; true: there is more to do. */
bool verbs_pulls_work(struct verbs_peer *peer);
/* Ends them with @status as soon as nothing lands. */
void verbs_pulls_end(struct verbs_peer *peer, mob_status status);
void verbs_pull_stop(struct verbs_pull *pull, mob_status status);
void verbs_pull_go_under(struct verbs_pull *pull);
void verbs_under_pull_done(struct verbs_pull *pull, mob_status status);
void verbs_under_landed(struct verbs_pull *pull);
/* Messages of the owner. False: malformed. */
bool verbs_pull_message(struct verbs_peer *peer, enum verbs_kind kind,
                        const uint8_t *data, size_t size);

/* ---- verbs_read.c */
mob_status verbs_read_begin(struct verbs_pull *pull);
void verbs_read_free(struct verbs_pull *pull);
bool verbs_read_usable(const struct verbs_pull *pull, const struct verbs_link *link);
/* Posts what the windows of the peer's links have room for. */
void verbs_read_post(struct verbs_peer *peer);
/* The last READ of a chunk is over. */
void verbs_read_done(struct verbs_pull *pull, uint64_t chunk, bool there);
/* Verifies; true: more is there to be verified. May end the pull. */
bool verbs_read_verify(struct verbs_pull *pull);
bool verbs_read_sums(struct verbs_pull *pull, const struct verbs_sums *sums);

/* ---- verbs_serve.c */
/* Messages of the puller. False: malformed. */
bool verbs_serve_message(struct verbs_peer *peer, enum verbs_kind kind,
                         const uint8_t *data, size_t size);
bool verbs_serves_work(struct verbs_peer *peer);
/* All exports are to be given back: no queue pair of the peer is left. */
void verbs_serves_leave(struct verbs_peer *peer);
/* All exports are given back: no queue pair of the peer is left. */
void verbs_serves_drop(struct verbs_peer *peer);
void verbs_grown(struct transport_peer *base, uint64_t cookie);
void verbs_revoke(struct transport_peer *base, uint64_t cookie, mob_status status);
/* It is to be had from the backend below. */
void verbs_tell_else(struct verbs_peer *peer, uint64_t id);
/* Bytes that are there of [@offset, @offset + @size). */
uint64_t verbs_serve_ready(const struct transport_export *exported, uint64_t offset,
                           uint64_t size);

/* ---- verbs_show.c */
/* Shows the export over the links that are up. False: it cannot be. */
bool verbs_show(struct verbs_serve *serve);
/* Makes its windows invalid; once they are, verbs_serves_work() gives the export back. */
void verbs_serve_end(struct verbs_serve *serve);
void verbs_show_free(struct verbs_serve *serve);
/* A window was bound, or is invalid. */
void verbs_serve_bound(struct verbs_serve *serve, bool bound);
void verbs_serve_unbound(struct verbs_serve *serve);
/* A revoked export is still read: the queue pairs have to go. */
bool verbs_serves_overdue(struct verbs_peer *peer);

#endif
