/* verbs_move.h - objects on their way: pulls, as the puller sees them, and serves, as the owner does. */
#ifndef TRANSPORT_VERBS_MOVE_H
#define TRANSPORT_VERBS_MOVE_H

#include "sums.h"
#include "verbs_link.h"

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
/* Lets go of the windows that are bound to the link's queue pair. */
void verbs_show_unbind(struct verbs_link *link);
/* A window was bound, or is invalid. */
void verbs_serve_bound(struct verbs_serve *serve, bool bound);
void verbs_serve_unbound(struct verbs_serve *serve);
/* A revoked export is still read: the queue pairs have to go. */
bool verbs_serves_overdue(struct verbs_peer *peer);

#endif
