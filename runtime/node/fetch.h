/* fetch.h - what this node pulls from others, and what others pull from it.
 *
 *   fetch.c          lines, places, and the life of a pull      export.c  what others pull from here
 *   fetch_source.c   where its bytes come from                  copy.h    the transfer itself
 *
 *   WAITING --its turn, and a place--> REACHING --connection--> MOVING --all bytes--> over
 *                                         ^    \                  |
 *                                         |     +- it is lost     +- named elsewhere: REDIRECTED --SOURCE--> REACHING
 *                                         +-------- the owner is asked again ---------+- the source failed
 *   MOVING --the owner is not ready--> RESTING --a while--> WAITING
 *   any --cancelled, or the owner failed--> over; by REVOKED, if others pull from what is here of it
 *
 * Each object is pulled once, whoever wants it: arguments have one stand-in here (standin.c), results one slot
 * (away_results.c). Which pull begins is decided by scheduler/pull_line.h, and from where by the owner
 * (scheduler/spread.h). A place is taken only when the turn comes, so what is on its way bounds the memory too.
 *
 * Part of cluster.h, which includes it. */
#ifndef NODE_FETCH_H
#define NODE_FETCH_H

#include "copy.h"
#include "node.h"
#include "scheduler/pull_line.h"

#define FETCH_RETRY_NS (10000000ull) /* while the store, or the owner, is not ready */
#define FETCH_WANT_NS                                                                    \
    (100000000ull) /* between asking processes for what they do not use */
#define FETCH_LOOK_NS (20000000ull) /* between looks at who wants what waits */
#define FETCH_LOOK_MAX 4096u        /* pulls that are looked at then */

enum fetch_state {
    FETCH_WAITING,
    FETCH_REACHING,
    FETCH_MOVING,
    FETCH_REDIRECTED,
    FETCH_RESTING,
    FETCH_REVOKED,
    FETCH_OVER /* others still pull from it */
};

struct fetch;
typedef void (*fetch_ended)(struct fetch *p, mob_status st);

struct fetch_want {
    enum wire_object kind;
    uint32_t number; /* of the job, its owner's */
    uint64_t link, size;
    uint64_t
        ours; /* the record here that it is for, which says how urgent it is; LINK_NONE: none */
    void *dst; /* NULL: a place of the job's is found when its turn comes */
    void *
        bytes; /* they are here and wait for room; freed at the end. The peer is NULL then */
    uint64_t node,
        token; /* of a COPIED or FOLDED one: the owner of the job, and its token */
    const struct copy_fold *fold;   /* it is folded as it arrives */
    void (*begun)(struct fetch *p); /* its place is there; again after each rest */
    fetch_ended done; /* MOB_ERR_NOMEM: the store can never have room for it */
    void *arg;
    uint64_t tag;
    struct fetch **handle; /* NULL, or where the pull stands until it is over */
};

struct fetch {
    struct pull_entry entry;
    struct fetch *next, *prev; /* of those that have begun */
    struct job *job;
    struct peer *owner, *source;
    struct copy copy;
    struct fetch_want want;
    enum fetch_state state;
    mob_status status; /* of a revoked one */
    bool placed, cancelled;
    uint64_t begun_ns; /* for the timeline, or 0 */
    struct arena_place place;
};

/* ---- fetch.c ---- */
void fetch_start(struct job *j, struct peer *owner, const struct fetch_want *want);
/* Begins those that can begin. */
void fetch_pump(struct cluster *c);
/* Nobody wants it any more. */
void fetch_unwanted(struct fetch *p);
/* Cancels all of a job; they are over once job.busy is 0. */
void fetch_end_job(struct job *j);
void fetch_peer_lost(struct peer *p);
void fetch_retry_later(struct cluster *c);
/* It will not come. */
void fetch_fail(struct fetch *p, mob_status st);
/* The last who pulled from it has gone. */
void fetch_unexported(struct fetch *p);

/* ---- fetch_source.c ---- */
/* A pull that has begun asks the owner. */
void fetch_ask(struct fetch *p);
/* A connection is there, or takes more: those that wait for it go on. */
void fetch_peer_ready(struct peer *p);
/* Pulls whose source is lost ask the owner. */
void fetch_source_lost(struct peer *p);
/* SOURCE. False: malformed. */
bool fetch_named(struct peer *owner, uint32_t number, struct codec_reader *r);
/* COPY: tells the owner that there is a whole copy here, or none. */
void fetch_tell(struct job *j, uint64_t theirs, bool whole);
void fetch_landed(void *cluster, struct transport_xfer *xfer);
void fetch_done(void *cluster, struct transport_xfer *xfer, mob_status st);
/* All bytes are here. */
void fetch_here(struct fetch *p);

/* ---- export.c ---- */
/* A job that nodes which have its token may have objects of, ours or another's; NULL: there is none, or @p does not
 * work for it. */
struct job *export_job(struct cluster *c, struct peer *p, uint64_t owner, uint32_t number,
                       uint64_t token);
mob_status export_object(void *cluster, struct transport_peer *tp,
                         const uint8_t name[TRANSPORT_OBJECT_BYTES],
                         struct transport_export *ret);
void export_over(void *cluster, struct transport_peer *tp,
                 const struct transport_export *exported);

#endif
