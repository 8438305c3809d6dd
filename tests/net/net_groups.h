/* net_groups.h - what the cases of net_groups share. */
#ifndef TESTS_NET_GROUPS_H
#define TESTS_NET_GROUPS_H

#include <stdbool.h>

#include "net_driver.h"

#define FOREVER_NS (40 * 1000000000ull) /* longer than anything here takes */

enum { BUNDLES_MAX = 8 };

struct placed { /* a group, and where it was when it was looked at last */
    mob_group id;
    size_t count;
    uint64_t nodes[BUNDLES_MAX];
};

/* ---- net_groups.c: all of them fail if it is not as it must be ---- */
/* Of bundles that are alike. */
struct placed make(struct mob *its, size_t count, double cpus, const char *resources,
                   enum mob_group_strategy how);
void look(struct mob *its, struct placed *g);
/* Waits for it. */
void whole(struct mob *its, struct placed *g);
/* It was removed. */
void gone(struct mob *its, mob_group id);
void print_nodes(const char *what, const struct placed *g);
/* Tasks of each bundle run on its node, and those of any bundle on one of them. */
void runs_where_it_is(struct mob *its, const struct placed *g);
/* A task that squares @x: of one CPU, or of so many. */
mob_ref submit(struct mob *its, mob_group group, int bundle, uint64_t x);
mob_ref submit_of(struct mob *its, mob_group group, int bundle, double cpus, uint64_t x);
/* Waits for it, and releases it. Returns the node where it ran. */
uint64_t check(struct mob *its, mob_ref ref, uint64_t x);
/* The script has said it; waits until it says "end". */
bool told(const char *what);
void until_end(void);

/* ---- net_groups_keep.c ---- */
void keep(void);
void hoard(void);

#endif
