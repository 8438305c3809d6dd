/* cluster.h - this node as a member of a cluster: its peers, its head, and work that crosses nodes.
 *
 *   cluster.c        beginning and end, which message goes where
 *   cluster_peers.c  peers, their connections, messages that wait for them
 *   member.c         membership as a member sees it
 *   head.h           the head's side: membership and leases (in the daemon started with --head)
 *   journal.h        what a head knows after its death
 *   away.h           an owner's tasks that run on other nodes
 *   lineage.h        results of theirs that stay there, and are made again
 *   guest.h          jobs of other nodes that run here
 *   gang.h           tasks that start together, and meet
 *   fetch.h          pulls, and what others pull from here
 *   fold.h           arrays of several nodes, folded on their way
 *   probe.c          what tools measure the way to this node with
 *   exe.c            the cache of executables
 *
 * A peer is another node's incarnation. Its connection is the unit of failure: when it is lost,
 * what the peer did for us is taken back and run again, and what we did for it is ended; the other
 * side does the same. So no message needs to be repeated, and none is ever lost without both
 * sides knowing. Either side may dial; if both do at once there are two connections, each side
 * sends on the one that it had first, and losing one is losing both.
 *
 *   known --send()--> dialing --up--> up --down--> known, after everything of it was taken back
 *
 * Threads: the loop's alone. Planners call back from inside their events, and must not be called
 * then: what needs that is queued and done by soon(), in the next turn. */
#ifndef NODE_CLUSTER_H
#define NODE_CLUSTER_H

#include "node.h"
#include "fetch.h"
#include "fold.h"
#include "group.h"
#include "scheduler/head_plan.h"
#include "wire.h"

#define PEER_QUEUE_MAX (64ull << 20)     /* bytes that wait for one peer; more loses it */
#define PEER_DIAL_NS (500000000ull)      /* between tries to reach a peer or the head */
#define COMPLAINT_MIN_NS (1000000000ull) /* between two of the same */
#define COMPLAINT_MAX_NS (60000000000ull)
#define JOIN_PATIENCE_NS (5000000000ull) /* of a node that starts, if no head answers */
#define LISTEN_PATIENCE_NS                                                               \
    (2000000000ull) /* for the port of a killed daemon to be free */
#define LISTEN_NAP_NS 10000000
/* Connections that did not become peers are told of in so many lines of the log, then counted until the
 * time is over: who has no key must not fill a disk. */
#define REFUSED_LINES 20
#define REFUSED_NS (10000000000ull)
#define STATUS_WAIT_NS (1000000000ull)
#define STATUS_RATE_NS (1000000000ull)  /* that rates are means of, at least */
#define LEAVE_GUESTS_NS (3000000000ull) /* for other nodes to end a job that shuts down */

#define PEER_LOOP_BYTES 128

struct message;
struct spread;

/* What is the case again and again is said once, then after 1, 2, 4 ... 60 s. */
struct complaint {
    uint64_t next_ns, pause_ns;
    uint32_t unsaid; /* since it was said */
};

struct peer {
    struct cluster *cluster;
    struct peer *next;
    uint64_t id;
    bool member; /* the head named it */
    bool gone;   /* declared dead: freed when nothing refers to it */
    char host[64], address[ADDR_TEXT_SIZE];
    char loop[PEER_LOOP_BYTES]; /* what its loop runs on */
    char seen[ADDR_TEXT_SIZE];  /* where its connection comes from */
    struct resources capacity;
    char labels[LABELS_MAX + 1];
    uint64_t store_bytes;
    struct transport_peer *links[2]; /* up; we send on the first */
    struct transport_peer *dial;
    uint64_t dial_after;
    struct complaint unreached;
    struct message *queue, **queue_end; /* waits for a connection, or for room on it */
    uint64_t queue_bytes;
    struct pull_source line; /* of pulls from it */
    uint32_t pulls;          /* that refer to it */
    uint64_t heard_ns;
    struct peer_rate {
        uint64_t at_ns, pulled, served; /* bytes of objects, then */
        uint64_t pulled_s, served_s;    /* bytes a second before */
    } rate;
    /* On the head: */
    bool joined;
    void *words; /* by which it joined, or will when its database has them; or NULL */
    size_t words_size;
    uint64_t session, store_used;
    struct resources used;
    uint32_t tasks;
};

struct cluster {
    struct node *node;
    struct transport *transport;
    struct transport_user user;
    uint64_t session, head_id;
    struct peer *self, *peers, *head; /* head: once it welcomed us; self if we are it */
    bool is_head, ready, rejoining, closing, closed, ever_joined;
    struct transport_peer *head_dial;
    struct peer *joining; /* was asked to take us in */
    uint64_t head_node;   /* the node that was the head last */
    struct addr head_addr;
    struct complaint head_unreached;
    uint64_t head_lost_ns; /* when the last head was */
    uint16_t port;
    uint8_t ip[16]; /* at which we listen; 0: at all of this host's */
    uint64_t started_ns;
    struct loop_timer beat, soon, retry;
    struct message *local, **local_end; /* between this node and the head in it */
    struct send_job *sends, **sends_end;
    struct pull_line line;
    struct fetch *pulls; /* those that have begun */
    struct spread *spread;
    uint64_t want_after; /* no process is asked for memory before */
    uint64_t look_after, last_question, last_fold;
    struct fold *folds;
    uint32_t folds_count;
    struct guest_key *keys;
    uint64_t last_key, last_cookie;
    uint64_t words_sent, words_heard; /* about leases, between our planner and the head */
    uint64_t beats;                   /* heartbeats sent to the head */
    struct plan_head *plan;           /* the head's */
    struct journal *journal;          /* likewise; NULL: it has no folder */
    struct loop_timer plan_timer;
    uint8_t *scratch;    /* WIRE_BATCH_BYTES */
    uint64_t refused_ns; /* when the first of these was */
    uint64_t refused;    /* connections, since then */
    void *probe;         /* WIRE_PROBE_BYTES, once somebody has asked for them */
    uint64_t last_probe; /* the name of an export of it; odd */
};

/* ---- cluster.c ---- */
mob_status cluster_start(struct node *n);
/* Says goodbye; node_step() goes on once cluster_ended(). */
void cluster_stop(struct node *n);
bool cluster_ended(const struct node *n);
void cluster_free(struct node *n);
/* A new incarnation takes the place of this one, which was declared dead. */
void cluster_rejoin(struct cluster *c);
/* A mapping of a segment is there, or goes: known to RDMA devices, objects move to and
 * from it without a copy. NULL is allowed; nothing happens outside of a cluster. */
void cluster_map(struct node *n, void *base, uint64_t bytes, bool writable);
void cluster_unmap(struct node *n, const void *base);
/* There are RDMA devices that might use it. */
bool cluster_has_devices(const struct node *n);
void cluster_soon(struct cluster *c);
/* Handles one message; false: it was malformed or out of place. */
bool cluster_dispatch(struct peer *p, const void *data, size_t size);

/* ---- cluster_peers.c ---- */
struct peer *cluster_peer(struct cluster *c, uint64_t id);
struct peer *cluster_peer_make(struct cluster *c, uint64_t id);
/* Its name, and what its loop runs on, for people: what they could not read in a log or on a terminal
 * becomes '?'. */
void cluster_set_host(struct peer *p, const char *host);
void cluster_set_loop(struct peer *p, const char *loop);
bool cluster_reachable(const struct peer *p);
unsigned cluster_nodes(const struct node *n);
/* A writer on the scratch buffer, with the op in it. */
struct codec_writer cluster_begin(struct cluster *c, enum wire_op op);
/* Sends a message, dialing if need be. To this very node: delivered in the next turn. */
void cluster_send(struct peer *p, const struct codec_writer *w);
void cluster_to_head(struct cluster *c, const struct codec_writer *w);
void cluster_deliver_local(struct cluster *c);
/* Makes a connection to it if there is none, and none is being made. */
void cluster_dial(struct peer *p);
/* Ends the connections to a peer, and what it and we did for each other. */
void cluster_lose(struct peer *p, const char *why);
/* Loses the peers for which messages wait, and to which no connection is being made. */
void cluster_lose_unreachable(struct cluster *c);
void cluster_head_unreachable(struct cluster *c, mob_status st, const char *reason);
/* Forgets peers that are of no use any more. */
void cluster_reap(struct cluster *c);
void cluster_free_peers(struct cluster *c);
/* What the transport says of them; see transport_user. */
void cluster_peer_up(void *cluster, struct transport_peer *tp,
                     const struct transport_peer_info *info);
void cluster_peer_down(void *cluster, struct transport_peer *tp, mob_status st,
                       const char *reason);
void cluster_writable(void *cluster, struct transport_peer *tp);

/* ---- member.c: the planner's words, and membership as a member sees it ---- */
void member_act(struct cluster *c, const struct plan_node_action *a);
bool member_message(struct peer *p, enum wire_op op, struct codec_reader *r);
void member_join(struct cluster *c, struct peer *head);
void member_head_lost(struct cluster *c);
void member_beat(struct cluster *c);

/* ---- head.c ---- */
mob_status head_start(struct cluster *c);
bool head_message(struct peer *p, enum wire_op op, struct codec_reader *r);
void head_beat(struct cluster *c);
void head_status(struct cluster *c, struct peer *to, uint64_t cookie);
void head_free(struct cluster *c);

/* ---- status.c ---- */
struct json_t;
/* A member as `mobula status` shows it, as far as this node knows. */
struct json_t *status_member(const struct cluster *c, const struct peer *p,
                             const char *state);
/* The nodes that this one is connected to, and what moved; [] outside of a cluster. */
struct json_t *status_peers(const struct node *n);
/* Looks how much moved since the last look, about once a second. */
void status_rates(struct cluster *c);

/* ---- probe.c ---- */
mob_status probe_export(struct cluster *c, struct transport_export *ret);
/* The transport that it was shown by is closed. */
void probe_free(struct cluster *c);

/* ---- exe.c ---- */
/* Copies an executable into the cache and says its hash. @ret_fd: open for reading. */
mob_status exe_keep(int from, uint8_t hash[WIRE_HASH_BYTES], int *ret_fd,
                    uint64_t *ret_size);
/* Opens a cached one. MOB_ERR_NOT_FOUND. */
mob_status exe_open(const uint8_t hash[WIRE_HASH_BYTES], uint64_t size, int *ret_fd);
/* MOB_ERR_UNSUPPORTED: it is built for machines of another kind than this one. */
mob_status exe_check(int fd);
/* A file in the cache to be filled with @size bytes. */
mob_status exe_temp(uint64_t size, char *path, size_t path_size, int *ret_fd,
                    void **ret_map);
/* Gives it its name if its bytes have that hash, and opens it; else removes it. */
mob_status exe_commit(const char *path, int fd, const void *map, uint64_t size,
                      const uint8_t hash[WIRE_HASH_BYTES], int *ret_fd);

/* ---- ask.c: what tools want to know of other nodes; see inspect.h ---- */
bool ask_message(struct peer *p, enum wire_op op, struct codec_reader *r);
void ask_peer_lost(struct peer *p);

#include "away.h"
#include "gang.h"
#include "guest.h"
#include "lineage.h"

#endif
