/* verbs_link.h - a queue pair between a rail of this node and one of a peer's: from the offer to its
 * end, work requests, and the small messages that go over it. */
#ifndef TRANSPORT_VERBS_LINK_H
#define TRANSPORT_VERBS_LINK_H

#include "verbs_rail.h"

enum verbs_work { WORK_READ, WORK_BIND, WORK_INVALIDATE, WORK_SEND };

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
    uint64_t used;           /* its rail's count when it was used last */
    uint64_t moved_ns;       /* when a completion came, or the first request was posted */
    struct verbs_timer limit;
    uint64_t retry_ns, backoff_ns; /* not before; the next pause */
    bool failed_before;
    bool has_offer; /* one that came while the last queue pair drains */
    struct verbs_offer offer;
    char why[VERBS_WHY_SIZE];
};

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
static inline void verbs_link_used(struct verbs_link *link)
{
    link->used = ++link->rail->uses;
}
/* Posts @wr, whose id is set here. False: the link has failed. */
bool verbs_post(struct verbs_link *link, struct ibv_send_wr *wr,
                const struct verbs_wr *work);
/* Takes completions of a rail; returns how many. */
unsigned verbs_rail_poll(struct verbs_rail *rail);
/* What was posted and did not complete is over: the queue pair is destroyed. */
void verbs_link_flushed(struct verbs_link *link);

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

#endif
