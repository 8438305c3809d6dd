/* fake.h - a network in one process, for tests: deterministic, seeded, with faults to
 * order.
 *
 * Nodes are transports opened with transport_fake on one fake_net. Nothing happens by
 * itself: each fake_net_step() delivers the next event in virtual time. Each peer has
 * independent channels (control, and one for each data connection): order holds within a
 * channel, and the delays that the seed draws reorder events across channels and peers.
 *
 * A chunk takes its time on the link out of its owner and on the link into its puller,
 * which all transfers of the node share: fake_net_link(). Up to FAKE_WINDOW chunks of a
 * transfer are on their way at once.
 *
 * Addresses are 127.0.0.1:PORT of the fake network's own ports. One thread. */
#ifndef TRANSPORT_FAKE_H
#define TRANSPORT_FAKE_H

#include "transport/transport.h"

#define FAKE_WINDOW 4 /* chunks */

struct fake_net;
struct fake_timer;

/* A call in virtual time, in its owner's memory. Zero it before its first use; all
 * fields are the network's. */
struct fake_timer {
    void (*fired)(struct fake_timer *timer);
    uint64_t deadline_ns, sequence;
    uint32_t place; /* in the heap, from 1 on; 0: idle */
};

mob_status fake_net_create(uint64_t seed, struct fake_net **ret);
/* Every transport on it is closed, every timer idle already (asserted). NULL is allowed. */
void fake_net_destroy(struct fake_net *net);

/* Delivers one event or fires one timer; false if none is left: nothing will happen until somebody acts. */
bool fake_net_step(struct fake_net *net);

/* Virtual time, in ns. */
uint64_t fake_net_now_ns(const struct fake_net *net);

/* Calls @fired once, in the step that reaches @deadline_ns (the past means the next step;
 * those of one time in the order of their start). A timer that is active is moved.
 * Aborts without memory. */
void fake_net_timer_start(struct fake_net *net, struct fake_timer *timer,
                          uint64_t deadline_ns, void (*fired)(struct fake_timer *timer));
/* At once; an idle timer may be stopped too. */
void fake_net_timer_stop(struct fake_net *net, struct fake_timer *timer);

/* Every event sent from now on takes between @min_ns and @max_ns. At first: 1000 to 2000.
 */
void fake_net_delay(struct fake_net *net, uint64_t min_ns, uint64_t max_ns);

/* The node's links: chunks go out, and come in, at @bytes_per_second (0: at once), and
 * everything that it sends or receives takes @latency_ns more, half of what a way between
 * two such nodes takes. At first: 0, 0. */
void fake_net_link(struct transport *tp, uint64_t bytes_per_second, uint64_t latency_ns);

/* Chunks are this large from now on, instead of CHUNK_BYTES. */
void fake_net_chunk(struct fake_net *net, uint64_t bytes);

/* Flips one bit of the chunk that is delivered after @skip others. */
void fake_net_corrupt(struct fake_net *net, uint64_t skip);

/* The node is dead: its peers lose it (MOB_ERR_PEER_LOST), and so does it them. It does
 * not listen any more and cannot connect. */
void fake_net_kill(struct transport *tp);

/* The connection between the two ends of @peer breaks, as if the network had lost it. */
void fake_net_cut(struct transport_peer *peer);

/* What a backend on top of the fake hides: the node, NULL if it is not there, and the
 * newest of its peers with that id, NULL if it has none. */
struct transport *fake_net_find(struct fake_net *net, uint64_t node_id);
struct transport_peer *fake_net_find_peer(struct transport *tp, uint64_t node_id);

#endif
