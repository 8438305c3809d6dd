/* feed.h - a bounded feed of record indices: any number of writers, and of readers that each see all of
 * it from where they began.
 *
 * What a writer says is a hint: the record's state word is the truth. A reader that is slower than a whole
 * lap of the cells is told that it missed some (FEED_LAPPED), and then looks at its records instead. So
 * nobody empties the feed, waits for a reader, or keeps account of who reads.
 *
 * Position p lives in cell p mod FEED_CELLS and in lap p div FEED_CELLS + 1, so that all zeros is a feed of
 * which nothing was said. A cell goes
 *     anything of an earlier lap  --feed_push()-->  index of this lap
 * by one compare-and-swap on the cell: a writer that dies before it has said nothing, and one that dies after
 * it has. `tail` lags behind the cells and is helped forward by whoever comes; below it no cell is of an
 * earlier lap than its own.
 *
 * Push and look are sequentially consistent, for "seal, push, look who sleeps" against "say that I sleep,
 * look at the feed" (ready.c, client/waitset.c). tests/model, scenario_feed.c. */
#ifndef STORE_FEED_H
#define STORE_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/atomic.h"

#define FEED_ORDER 14u
#define FEED_CELLS (1ull << FEED_ORDER)
#define FEED_LAP_SHIFT 28

struct feed { /* in shared memory */
    at_u64 tail __attribute__((aligned(CACHE_LINE)));
    at_u64 cell[FEED_CELLS] __attribute__((aligned(CACHE_LINE)));
};

enum feed_result { FEED_ITEM, FEED_NONE, FEED_LAPPED };

static inline uint64_t feed_lap(uint64_t position)
{
    return (position >> FEED_ORDER) + 1;
}

/* Where a reader begins that looks at its records after this call. */
static inline uint64_t feed_end(struct feed *f)
{
    return at_load(&f->tail, AT_SEQ_CST);
}

/* False: the cells make no sense, as a client wrote over them. */
static inline bool feed_push(struct feed *f, uint32_t index)
{
    uint64_t p = at_load(&f->tail, AT_ACQUIRE), tail = p;
    for (uint64_t steps = 0; steps <= FEED_CELLS; steps++) {
        at_u64 *cell = &f->cell[p % FEED_CELLS];
        uint64_t c = at_load(cell, AT_ACQUIRE);
        bool mine = c >> FEED_LAP_SHIFT < feed_lap(p) &&
                    at_cas(cell, &c, feed_lap(p) << FEED_LAP_SHIFT | index, AT_SEQ_CST);
        if (mine ||
            c >> FEED_LAP_SHIFT >= feed_lap(p)) { /* it is done with, by whomever */
            (void)(tail == p && at_cas(&f->tail, &tail, p + 1, AT_SEQ_CST));
            tail = tail == p ? p + 1 : tail;
            p = tail > p ? tail : p + 1;
        }
        if (mine) {
            return true;
        }
    }
    return false;
}

/* What stands at a reader's position; FEED_ITEM moves it on. */
static inline enum feed_result feed_next(struct feed *f, uint64_t *position,
                                         uint32_t *ret_index)
{
    uint64_t c = at_load(&f->cell[*position % FEED_CELLS], AT_SEQ_CST);
    uint64_t lap = c >> FEED_LAP_SHIFT;
    if (lap != feed_lap(*position)) {
        return lap < feed_lap(*position) ? FEED_NONE : FEED_LAPPED;
    }
    ++*position;
    *ret_index = (uint32_t)(c & ((1ull << FEED_LAP_SHIFT) - 1));
    return FEED_ITEM;
}

#endif
