/* check.h - the parts of `mobula check-transport`: check.c understands what was asked and judges,
 * check_peer.c measures the ways to a node, check_show.c prints. */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include "mobula_tool.h"
#include "transport/check.h"
#include "transport/transport.h"

/* One way to a node: over TCP alone, or with RDMA. */
struct check_way {
    bool measured;
    mob_status status;              /* MOB_OK: the node was reached */
    char reason[CHECK_TEXT_SIZE];   /* why not */
    uint64_t round_trip_ns;         /* of a message and its answer: the median */
    uint64_t moved_bytes, moved_ns; /* of objects pulled; 0: the node shows none */
    struct transport_stats stats;
};

struct check {
    bool json, strict, off, need_rdma;
    struct check_rdma here;
    /* With a node: */
    const char *host; /* or NULL */
    char address[ADDR_TEXT_SIZE + 256];
    struct addr addr;
    struct key key;
    bool encrypt, unchecked;
    struct check_way tcp, rdma;
    char no_rdma
        [CHECK_TEXT_SIZE]; /* why not to that node; empty: objects move over RDMA */
};

/* Reaches the node and measures; takes up to some seconds. The result is in @way. */
void check_measure(const struct check *c, enum transport_rdma rdma,
                   struct check_way *way);

/* Prints all of it; @good: what the exit status says. */
int check_show(const struct check *c, bool good);

#endif
