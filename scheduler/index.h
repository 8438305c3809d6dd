/* index.h - a bounded map from 64-bit ids to places in a table. No allocation after
 * creation. */
#ifndef SCHEDULER_INDEX_H
#define SCHEDULER_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#define INDEX_NONE UINT32_MAX

struct index_cell {
    uint64_t key;
    uint32_t above; /* its value, and one; 0: empty */
};

struct index_map {
    struct index_cell *cells;
    uint32_t mask;
};

/* Room for @max keys. False: out of memory. */
bool index_create(struct index_map *m, uint32_t max);
void index_destroy(struct index_map *m);
uint32_t index_find(const struct index_map *m, uint64_t key); /* INDEX_NONE: not there */
/* The key is not there and the map not full: the caller's table is bounded by the same
 * @max. */
void index_put(struct index_map *m, uint64_t key, uint32_t value);
void index_remove(struct index_map *m, uint64_t key);

/* A set of places in a table, to be walked in no order that means anything: list[0] to list[count - 1]. */
struct index_set {
    uint32_t *list;
    uint32_t *above; /* where in the list a place is, and one; 0: it is not in it */
    uint32_t count;
};

/* Of the places below @max. False: out of memory. */
bool index_set_create(struct index_set *s, uint32_t max);
void index_set_destroy(struct index_set *s);
/* Makes @place a member, or (@in false) none; it may be that already. True: it changed. */
bool index_set_put(struct index_set *s, uint32_t place, bool in);

static inline bool index_set_has(const struct index_set *s, uint32_t place)
{
    return s->above[place] > 0;
}

/* A bijection that spreads its bits; also the step of the planners' random numbers. */
uint64_t index_mix(uint64_t x);

#endif
