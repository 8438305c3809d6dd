/* crash_node.h - the nodes that crash.c kills parts of, with the drivers that work on them.
 *
 *   LONE      started by hand, two drivers
 *   EMBEDDED  one driver, whose child the daemon is
 *   HEAD, MEMBER  started by hand, one driver each, and the tasks of both run on both
 *   SOAK, SOAK_SPILL  started by hand, one driver, many workers, and a store that is too small, without and
 *             with a disk behind it (soak.c) */
#ifndef TESTS_CRASH_NODE_H
#define TESTS_CRASH_NODE_H

#include "tester.h"

enum { LOST_MS = 5000, SETTLE_MS = 10000, EXIT_LOST = 40, DRIVERS_MAX = 2 };

enum node_kind { LONE, EMBEDDED, HEAD, MEMBER, SOAK, SOAK_SPILL };

struct node {
    enum node_kind kind;
    struct node *peer; /* the other one of its cluster, or NULL */
    char dir[80];
    char id[24];
    pid_t daemon;
    struct kid hand; /* the daemon, if it was started by hand */
    struct kid drivers[DRIVERS_MAX];
    int drivers_count;
    bool resting;    /* its drivers were asked to rest, and do */
    uint64_t guests; /* tasks of others that ran here, as far as was seen */
};

/* Before the first node. */
void nodes_init(const char *load, const char *mobulad);
/* Then, if their stores are to be so small that what drivers keep goes to disk. */
void nodes_spill(uint64_t store_bytes);
bool nodes_are_small(void);
/* Objects are on its disk now. */
bool node_spills(const struct node *n);
/* Until they are: its drivers work, and it is small. */
void node_await_spill(const struct node *n);
/* After the last one. */
void nodes_end(void);
/* Starts the daemon, in the folder where the last one may have been killed. */
void node_up(struct node *n);
/* Starts the drivers that it has not, and waits until all have done something. */
void node_work(struct node *n);
/* Every driver of the node and of its peer that does not rest comes to the end of a round that began
 * from now on. */
void node_progress(const struct node *n);
/* The node's drivers come to rest, or go on. While one of two nodes rests it works for the other. */
void node_set_rest(struct node *n, bool resting);
/* The drivers come to rest, everything that was in use must be free again, and they go on. */
void node_rest(struct node *n);
/* Waits until, of the jobs whose driver is here, @count are left, here and on the peer. Returns how
 * many ms that took. */
uint64_t node_await_jobs(const struct node *n, size_t count);
/* Says a letter to all drivers; waits until all rest. */
void node_tell_drivers(const struct node *n, char c);
void node_await_rest(const struct node *n);
/* Notes in `guests` that others' tasks run here, so that a cluster that is none is seen. */
void node_note_guests(struct node *n);
/* The same, and waits until some have. Its own drivers rest, and those of the other node work. */
void node_await_guests(struct node *n);
/* The daemon was killed: it and what it had started are gone. */
void node_gone(struct node *n, const pid_t *workers, size_t count);
/* Ends drivers, then the daemon, as people do: everything must be given back. */
void node_finish(struct node *n);
void node_down(struct node *n);

#endif
