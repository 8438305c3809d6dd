/* demand.h - what the tasks of one class ask for; equal demands are one class. Values. */
#ifndef CORE_DEMAND_H
#define CORE_DEMAND_H

#include "core/resources.h"

/* As in enum mob_strategy. */
enum demand_strategy {
    DEMAND_DEFAULT,   /* the node that is best by bytes and load */
    DEMAND_SPREAD,    /* the node with the fewest of its slots, one at a time */
    DEMAND_NODE,      /* one node and no other */
    DEMAND_NODE_SOFT, /* one node while it is there and has room, else any */
    DEMAND_STRATEGIES
};

struct demand {
    struct resources need;
    int8_t priority;  /* among the classes of its job: higher first */
    uint8_t strategy; /* enum demand_strategy */
    /* 1: a gang's, none of which is queued behind another or run inside one that waits; of no group: none is run */
    uint8_t together;
    uint64_t node; /* of DEMAND_NODE and _SOFT: its incarnation; else 0 */
    /* Its tasks run in what nodes hold for this group, and nowhere else; 0: in none. */
    uint64_t group;
    uint16_t
        bundle; /* which of the group's, from 1; 0: any, and all of those of a node together */
    char selector[SELECTOR_MAX +
                  1]; /* of labels that its node must have, core/labels.h; "": none */
};

static inline struct demand demand_cpus(uint64_t units)
{
    return (struct demand){.need = resources_cpus(units)};
}

/* What a task asks for that says nothing of it: class 0 of every job, on every node. */
static inline struct demand demand_usual(void)
{
    return demand_cpus(CPU_UNITS);
}

/* A node of that name and with those labels may run its tasks. */
bool demand_allows(const struct demand *d, uint64_t node, const char *labels);

/* What came from elsewhere is a demand. Of GPUs it needs whole ones, or a part of one. */
bool demand_ok(const struct demand *d);
bool demand_equal(const struct demand *a, const struct demand *b);

#endif
