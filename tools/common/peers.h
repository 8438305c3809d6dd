/* peers.h - the nodes that a node is connected to, as a table: how objects move between the two. */
#ifndef TOOLS_PEERS_H
#define TOOLS_PEERS_H

#include <jansson.h>

/* @peers: an array as runtime/node/status.c describes it; prints nothing if there are none. A line
 * follows for each peer to which no object goes over RDMA, with the reason. */
void peers_print(const json_t *peers);

#endif
