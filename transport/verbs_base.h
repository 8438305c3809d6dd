/* verbs_base.h - what all files of the verbs backend share: its bounds, and its timers. */
#ifndef TRANSPORT_VERBS_BASE_H
#define TRANSPORT_VERBS_BASE_H

#include "core/clock.h"
#include "core/loop.h"
#include "transport/fake.h"
#include "transport/transport.h"
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
#define VERBS_LOOKS 16               /* at the queues in a turn of who polls */
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
struct verbs_rail;
struct verbs_peer;
struct verbs_link;
struct verbs_pull;
struct verbs_serve;

/* A timer of the loop, or, over the fake network, of its virtual time. */
struct verbs_timer {
    struct loop_timer loop;
    struct fake_timer fake;
    void (*fired)(struct verbs_timer *timer);
};

/* ---- time */
uint64_t verbs_now(const struct verbs *v);
void verbs_timer_start(struct verbs *v, struct verbs_timer *timer, uint64_t deadline_ns,
                       void (*fired)(struct verbs_timer *timer));
void verbs_timer_stop(struct verbs *v, struct verbs_timer *timer);
static inline bool verbs_timer_active(const struct verbs_timer *timer)
{
    return timer->loop.active || timer->fake.place != 0;
}

#endif
