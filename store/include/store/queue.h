/* queue.h - a bounded queue of hints, many pushers and poppers in any process, safe to die in.
 *
 * An item is the index of a record. It is a hint: the record's state word says what is true, so
 * an item may be stale or doubled; after a crash the daemon pushes what may have been lost.
 *
 * Position p lives in cell p mod capacity and in lap p div capacity. A cell is
 *     EMPTY of lap n  --push-->  FULL of lap n  --take-->  EMPTY of lap n+1
 * and each step is one compare-and-swap on the cell: there is no moment in which somebody owns a
 * cell and others must wait. `tail` and `head` are cursors that may lag behind the cells; whoever
 * finds one behind helps it forward. All zeros is an empty queue.
 *
 * A popper that will come back to an empty cell marks it POLLED. A pusher that finds the mark
 * need not wake anybody: the popper is awake and looks at this very cell. The mark costs no
 * cache line that would not move anyway.
 *
 * All operations are sequentially consistent read-modify-writes, so that "push, then look for
 * sleepers" and "say that I sleep, then peek" cannot miss each other (core/park.h).
 *
 * Memory that a broken client scribbled on is told from a lagging cursor by reading the cursor
 * again: if it did not move and the cell still makes no sense, the answer is QUEUE_CORRUPT. */
#ifndef STORE_QUEUE_H
#define STORE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/atomic.h"

#define QUEUE_INDEX_BITS 28
#define QUEUE_INDEX_MASK ((1ull << QUEUE_INDEX_BITS) - 1)
#define QUEUE_FULL (1ull << 28)
#define QUEUE_POLLED (1ull << 29)
#define QUEUE_LAP_SHIFT 30
#define QUEUE_LAP_MASK ((1ull << (64 - QUEUE_LAP_SHIFT)) - 1)

struct queue { /* in shared memory; any process may advance both */
    at_u64 tail __attribute__((aligned(CACHE_LINE)));
    at_u64 head __attribute__((aligned(CACHE_LINE)));
};

struct queue_view { /* a process's pointers to a queue */
    struct queue *queue;
    at_u64 *cells;
    unsigned order; /* capacity is 1 << order cells */
};

enum queue_result {
    QUEUE_OK,
    QUEUE_OK_POLLED, /* pushed, and an awake popper looks at this cell */
    QUEUE_NONE,      /* empty, or full */
    QUEUE_CORRUPT
};

struct queue_item {
    uint64_t position;
    uint64_t cell;
    uint32_t index;
};

static inline at_u64 *queue_cell(const struct queue_view *v, uint64_t position)
{
    return &v->cells[position & ((1ull << v->order) - 1)];
}

static inline uint64_t queue_lap(const struct queue_view *v, uint64_t position)
{
    return (position >> v->order) & QUEUE_LAP_MASK;
}

/* How many laps a cell is ahead (1) or behind (-1) of what a position expects. */
static inline int64_t queue_ahead(const struct queue_view *v, uint64_t cell,
                                  uint64_t position)
{
    uint64_t d = ((cell >> QUEUE_LAP_SHIFT) - queue_lap(v, position)) & QUEUE_LAP_MASK;
    return d > QUEUE_LAP_MASK / 2 ? (int64_t)(d - QUEUE_LAP_MASK - 1) : (int64_t)d;
}

/* Moves a cursor past a position that is done with. Losing the race means that it was moved. */
static inline void queue_help(at_u64 *cursor, uint64_t position)
{
    uint64_t expected = position;
    (void)at_cas(cursor, &expected, position + 1, AT_SEQ_CST);
}

/* Lost races and cursors helped in one operation. More than so many processes can cause: a client
 * that writes over the cells must not keep the daemon in a loop. */
#define QUEUE_TRIES_MAX (1u << 16)

/* QUEUE_OK, QUEUE_OK_POLLED, QUEUE_NONE (full) or QUEUE_CORRUPT. */
static inline enum queue_result queue_push(const struct queue_view *v, uint32_t index)
{
    for (uint32_t i = 0; i < QUEUE_TRIES_MAX; i++) {
        uint64_t p = at_load(&v->queue->tail, AT_ACQUIRE);
        uint64_t c = at_load(queue_cell(v, p), AT_ACQUIRE);
        int64_t ahead = queue_ahead(v, c, p);
        if (ahead == 0 && !(c & QUEUE_FULL)) {
            uint64_t full = queue_lap(v, p) << QUEUE_LAP_SHIFT | QUEUE_FULL | index;
            if (at_cas(queue_cell(v, p), &c, full, AT_SEQ_CST)) {
                queue_help(&v->queue->tail, p);
                return c & QUEUE_POLLED ? QUEUE_OK_POLLED : QUEUE_OK;
            }
        } else if (ahead == 0 || ahead == 1) {
            queue_help(&v->queue->tail,
                       p); /* pushed by one who did not move the cursor */
        } else if (at_load(&v->queue->tail, AT_ACQUIRE) == p) {
            return ahead == -1 && (c & QUEUE_FULL) ? QUEUE_NONE : QUEUE_CORRUPT;
        }
    }
    return QUEUE_CORRUPT;
}

/* The oldest item, left in place: QUEUE_OK, QUEUE_NONE (empty) or QUEUE_CORRUPT. In the first two
 * cases @ret says which cell was looked at. */
static inline enum queue_result queue_peek(const struct queue_view *v,
                                           struct queue_item *ret)
{
    for (uint32_t i = 0; i < QUEUE_TRIES_MAX; i++) {
        uint64_t p = at_load(&v->queue->head, AT_ACQUIRE);
        uint64_t c = at_load(queue_cell(v, p), AT_SEQ_CST);
        int64_t ahead = queue_ahead(v, c, p);
        if (ahead == 0) {
            *ret = (struct queue_item){p, c, (uint32_t)(c & QUEUE_INDEX_MASK)};
            return c & QUEUE_FULL ? QUEUE_OK : QUEUE_NONE;
        }
        if (ahead == 1) {
            queue_help(&v->queue->head, p);
        } else if (at_load(&v->queue->head, AT_ACQUIRE) == p) {
            return QUEUE_CORRUPT;
        }
    }
    return QUEUE_CORRUPT;
}

/* Removes a peeked item. False: somebody else removed it. */
static inline bool queue_take(const struct queue_view *v, const struct queue_item *item)
{
    uint64_t c = item->cell;
    uint64_t next = ((queue_lap(v, item->position) + 1) & QUEUE_LAP_MASK)
                    << QUEUE_LAP_SHIFT;
    bool mine = at_cas(queue_cell(v, item->position), &c, next, AT_SEQ_CST);
    queue_help(&v->queue->head, item->position);
    return mine;
}

/* Marks the empty cell that was peeked. False: it is no longer empty. */
static inline bool queue_poll(const struct queue_view *v, struct queue_item *item)
{
    if (item->cell & QUEUE_POLLED) {
        return true;
    }
    uint64_t c = item->cell;
    if (!at_cas(queue_cell(v, item->position), &c, c | QUEUE_POLLED, AT_SEQ_CST)) {
        return false;
    }
    item->cell |= QUEUE_POLLED;
    return true;
}

/* Takes the mark back before the popper looks elsewhere or sleeps. False: a pusher relied on it,
 * so that the popper must serve the queue, or wake somebody who does, before it leaves. */
static inline bool queue_unpoll(const struct queue_view *v, struct queue_item *item)
{
    uint64_t c = item->cell;
    if (!(c & QUEUE_POLLED)) {
        return true;
    }
    item->cell &= ~QUEUE_POLLED;
    return at_cas(queue_cell(v, item->position), &c, item->cell, AT_SEQ_CST) ||
           !(c & QUEUE_FULL);
}

/* Items in the queue, about. */
static inline uint64_t queue_count(const struct queue_view *v)
{
    uint64_t head = at_load(&v->queue->head, AT_RELAXED);
    uint64_t tail = at_load(&v->queue->tail, AT_RELAXED);
    return tail > head ? tail - head : 0;
}

#endif
