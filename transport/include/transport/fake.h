/* fake.h - a network in one process, for tests: deterministic, seeded, with faults to
 * order.
 *
 * Nodes are transports opened with transport_fake on one fake_net. Nothing happens by
 * itself: each fake_net_step() delivers the next event in virtual time. Each peer has
 * independent channels (control, and one for each data connection): order holds within a
 * channel, and the delays that the seed draws reorder events across channels and peers.
 *
 * Addresses are 127.0.0.1:PORT of the fake network's own ports. One thread. */
#ifndef TRANSPORT_FAKE_H
#define TRANSPORT_FAKE_H

#include "transport/transport.h"

struct fake_net;

mob_status fake_net_create(uint64_t seed, struct fake_net **ret);
/* Every transport on it is closed already (asserted). NULL is allowed. */
void fake_net_destroy(struct fake_net *net);

/* Delivers one event; false if none is left: nothing will happen until somebody acts. */
bool fake_net_step(struct fake_net *net);

/* Virtual time, in ns. */
uint64_t fake_net_now_ns(const struct fake_net *net);

/* Every event sent from now on takes between @min_ns and @max_ns. At first: 1000 to 2000.
 */
void fake_net_delay(struct fake_net *net, uint64_t min_ns, uint64_t max_ns);

/* Flips one bit of the chunk that is delivered after @skip others. */
void fake_net_corrupt(struct fake_net *net, uint64_t skip);

/* The node is dead: its peers lose it (MOB_ERR_PEER_LOST), and so does it them. It does
 * not listen any more and cannot connect. */
void fake_net_kill(struct transport *tp);

/* The connection between the two ends of @peer breaks, as if the network had lost it. */
void fake_net_cut(struct transport_peer *peer);

#endif
