/* node_world.h - a daemon's inside for tests: a node of a cluster in this process, and peers that the
 * test plays.
 *
 * The node is real: its loop, planner, boards, and what its cluster's part makes of messages. Its
 * peers are not: they come, speak, pull and go when the test says so, through the functions by
 * which a transport tells its user of that, and what the node sends to them is dropped.
 *
 * One world at a time, one thread. What cannot be is the end of the program. */
#ifndef TESTS_NODE_WORLD_H
#define TESTS_NODE_WORLD_H

#include "cluster.h"

enum { WORLD_PEERS = 4, WORLD_PULLS = 256, WORLD_CPUS = 64, WORLD_LAST_BYTES = 96 };

#define WORLD_STORE (64ull << 20)

#define MUST(what)                                                                       \
    do {                                                                                 \
        if (!(what)) {                                                                   \
            world_broken(__FILE__, __LINE__, #what);                                     \
        }                                                                                \
    } while (0)

struct world_peer {
    struct transport_peer tp;
    struct world *world;
    uint64_t id;
    bool up;
    bool full;  /* it takes no messages now */
    bool going; /* the node disconnected it: its peer_down comes with the next turn */
    uint32_t sent[WIRE_OPS]; /* messages to it, and how the last one of each began */
    uint8_t last[WIRE_OPS][WORLD_LAST_BYTES];
    uint32_t grown, revoked; /* exports to it */
};

struct world {
    struct node node;
    struct transport transport; /* the peers' */
    struct world_peer peers[WORLD_PEERS];
    struct world_pull {
        struct transport_xfer *xfer;
        enum wire_object what;
        struct wire_name name;
        uint64_t offset;
    } pulls[WORLD_PULLS]; /* in flight */
    uint32_t pulls_count;
    uint32_t dropped; /* peers that the node disconnected */
    int driver;       /* our end of a driver's connection, or -1 */
    uint32_t big;     /* a class that no worker of this node may have */
};

/* What a driver's workers run; NULL: this program, in which no task can run. */
extern const char *world_program;

void world_broken(const char *file, int line, const char *what) __attribute__((noreturn));

/* A node: a head, or a member whose head is peer 0. */
void world_make(struct world *w, bool head);
/* Everything of the node ends in good order. */
void world_end(struct world *w);
/* What is due, and what the peers' transport owes. */
void world_turn(struct world *w);

void world_up(struct world *w, int peer);
void world_down(struct world *w, int peer);
/* As if the peer had sent it. False: the node disconnects it for that. */
bool world_say(struct world *w, int peer, const void *data, size_t size);
/* Ends one pull in flight; with MOB_OK its bytes are @fill. */
void world_pulled(struct world *w, uint32_t pull, mob_status st, int fill);

/* Says a driver's hello on our end of a connection. */
void world_hello(int sock);
/* A driver's job on the node, whose tasks no worker here may run. */
struct job *world_job(struct world *w);
/* A task of it, ready to be claimed, with @nargs arguments of @size bytes each. */
uint64_t world_task(struct world *w, struct job *j, uint32_t nargs, uint32_t size,
                    uint32_t nrets);
/* Sends up to @count tasks of it to a peer. */
void world_send(struct world *w, struct job *j, int peer, uint32_t count);
/* A slot of the job that is at the peer, or NULL. */
struct away *world_slot(struct world *w, struct job *j, int peer, uint32_t nth);

#endif
