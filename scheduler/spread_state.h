/* spread_state.h - who has copies of what, as spread.c and spread_table.c know it. */
#ifndef SCHEDULER_SPREAD_STATE_H
#define SCHEDULER_SPREAD_STATE_H

#include "index.h"
#include "scheduler/spread.h"

enum { OWNER = 0 }; /* its place among the nodes */
#define NONE UINT32_MAX
#define NODES (NODES_MAX + 1u)

struct holder {
    uint32_t next;   /* of the object; of the free ones */
    uint32_t source; /* a holder of the same object; NONE: the owner, or nobody */
    uint32_t node;
    uint32_t children; /* flows of this object out of it */
    uint32_t depth, width;
    bool whole, flowing; /* flowing: into it */
    bool counted;        /* that flow, among those of its giver */
    bool useless;        /* not named any more */
};

struct object {
    struct spread_object name;
    uint32_t holders;
    uint32_t older, newer; /* by use; older: also of the free ones */
};

struct spread_node {
    uint64_t id; /* 0: free */
    uint32_t flows;
    uint32_t copies; /* of it in the tables */
    uint32_t next_free;
};

struct spread {
    uint64_t part_bytes;
    struct holder *holders;
    struct object *objects;
    struct spread_node nodes[NODES];
    struct index_map by_name, by_id;
    uint32_t holders_free, holders_used, objects_free, objects_used, nodes_free,
        nodes_used;
    uint32_t oldest, newest;
};

/* ---- spread_table.c ---- */
uint64_t spread_key(struct spread_object name);
/* NULL: nobody has it. */
struct object *spread_find(const struct spread *s, struct spread_object name);
/* INDEX_NONE: it has nothing. */
uint32_t spread_node_find(const struct spread *s, uint64_t id);
/* NONE: there are too many. */
uint32_t spread_node_get(struct spread *s, uint64_t id);
/* It has a copy less. */
void spread_node_put(struct spread *s, uint32_t node);
/* NULL: it has no copy. */
struct holder *spread_holder(const struct spread *s, const struct object *o,
                             uint32_t node);
/* Out of the order of age, and to its newest end. */
void spread_unlink(struct spread *s, const struct object *o);
void spread_link_newest(struct spread *s, struct object *o);

#endif
