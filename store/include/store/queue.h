/* queue.h - a bounded queue of hints, many pushers and poppers in any process, safe to die in.
 *
 * An item is the index of a record. It is a hint: the record's state word says what is true, so
 * an item may be stale or doubled; after a crash the daemon pushes what may have been lost.
 *
 * Position p lives in cell p mod capacity and in lap p div capacity. A cell is
 *     EMPTY of lap n  --push-->  FULL of lap n  --take-->  EMPTY of lap n+1
 * and each step is one compare-and-swap on the cell: there is no moment in which somebody owns a
 * cell and others must wait. `tail` and `head` are cursors that lag behind the cells: they are moved
 * once in a line of cells, and whoever starts from one walks over the cells that are done with. A
 * view remembers how far it came, so that a process that is alone at its end does not walk at all.
 * All zeros is an empty queue.
 *
 * A popper that will come back to an empty cell marks it POLLED. A pusher that finds the mark
 * need not wake anybody: the popper is awake and looks at this very cell. The mark costs no
 * cache line that would not move anyway.
 *
 * All operations are sequentially consistent read-modify-writes, so that "push, then look for
 * sleepers" and "say that I sleep, then peek" cannot miss each other (core/park.h).
 *
 * Who comes to a position has seen that the one before is done with, and so, through all who came
 * before, the whole lap before. A cell that is further behind than that was scribbled on by a
 * broken client, and so were the cells if a walk does not end: the answer is QUEUE_CORRUPT. */
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
#define QUEUE_STRIDE 8u /* cells in a cache line */

struct queue { /* in shared memory; any process may advance both */
    at_u64 tail __attribute__((aligned(CACHE_LINE)));
    at_u64 head __attribute__((aligned(CACHE_LINE)));
};

struct queue_view { /* one thread's way to a queue */
    struct queue *queue;
    at_u64 *cells;
    uint64_t mask;  /* capacity - 1 */
    unsigned order; /* capacity is 1 << order cells */
    uint64_t mark;  /* QUEUE_POLLED if the last push found it; a guess for the next */
    /* Positions below are done with, as this thread saw; 0 is true too. */
    uint64_t push, taken;
    uint64_t push_lap, taken_lap; /* queue_empty() of both */
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

static inline struct queue_view queue_view(struct queue *queue, at_u64 *cells,
                                           unsigned order)
{
    return (struct queue_view){
        .queue = queue, .cells = cells, .mask = (1ull << order) - 1, .order = order};
}

static inline at_u64 *queue_cell(const struct queue_view *v, uint64_t position)
{
    return &v->cells[position & v->mask];
}

/* What an empty cell holds in the lap of a position. */
static inline uint64_t queue_empty(const struct queue_view *v, uint64_t position)
{
    return position >> v->order << QUEUE_LAP_SHIFT;
}

/* How many laps a cell is ahead (1) or behind (-1) of what a position expects. */
static inline int64_t queue_ahead(const struct queue_view *v, uint64_t cell,
                                  uint64_t position)
{
    uint64_t low = (1ull << QUEUE_LAP_SHIFT) - 1;
    return (int64_t)((cell & ~low) - queue_empty(v, position)) >> QUEUE_LAP_SHIFT;
}

static inline void queue_set_push(struct queue_view *v, uint64_t p)
{
    v->push = p;
    v->push_lap = queue_empty(v, p);
}
static inline void queue_set_taken(struct queue_view *v, uint64_t p)
{
    v->taken = p;
    v->taken_lap = queue_empty(v, p);
}

/* Moves a cursor past a position that is done with, if a line of cells ends there. */
static inline void queue_pass(at_u64 *cursor, uint64_t position)
{
    if ((position + 1) % QUEUE_STRIDE == 0) {
        uint64_t seen = at_load(cursor, AT_RELAXED);
        if (seen <= position) { /* losing the race means that it was moved */
            (void)at_cas(cursor, &seen, position + 1, AT_SEQ_CST);
        }
    }
}

/* Where to look first: at a cursor, or further along if this thread knows better. */
static inline uint64_t queue_start(const at_u64 *cursor, uint64_t known)
{
    uint64_t at = at_load(cursor, AT_ACQUIRE);
    return at > known ? at : known;
}

/* The rest of queue_push(), if the cell did not hold what was expected. */
static __attribute__((noinline)) enum queue_result queue_push_on(struct queue_view *v,
                                                                 uint32_t index)
{
    uint64_t p = queue_start(&v->queue->tail, v->push);
    uint64_t c = at_load(queue_cell(v, p), AT_ACQUIRE);
    for (uint64_t steps = 0; steps <= 1ull << v->order; steps++) {
        int64_t ahead = queue_ahead(v, c, p);
        while (ahead == 0 && !(c & QUEUE_FULL)) {
            uint64_t full = queue_empty(v, p) | QUEUE_FULL | index;
            if (at_cas(queue_cell(v, p), &c, full, AT_SEQ_CST)) {
                v->mark = c & QUEUE_POLLED;
                queue_set_push(v, p + 1);
                queue_pass(&v->queue->tail, p);
                return v->mark ? QUEUE_OK_POLLED : QUEUE_OK;
            }
            ahead = queue_ahead(v, c, p);
        }
        if (ahead < 0) {
            return ahead == -1 && (c & QUEUE_FULL) ? QUEUE_NONE : QUEUE_CORRUPT;
        }
        queue_pass(&v->queue->tail,
                   p); /* pushed by one who may have died before he did that */
        c = at_load(queue_cell(v, ++p), AT_ACQUIRE);
    }
    return QUEUE_CORRUPT;
}

/* Lost races and cursors helped in one operation. More than so many processes can cause: a client
 * that writes over the cells must not keep the daemon in a loop. */
#define QUEUE_TRIES_MAX (1u << 16)

/* QUEUE_OK, QUEUE_OK_POLLED, QUEUE_NONE (full) or QUEUE_CORRUPT. */
static inline enum queue_result queue_push(struct queue_view *v, uint32_t index)
{
    /* A guess instead of a look: a look that is followed by a write costs two transfers of the cell's
     * line. An empty cell of this lap is the one that is next, wherever the cursor is. */
    uint64_t p = v->push, lap = v->push_lap, mark = v->mark, c = lap | mark;
    if (__builtin_expect(
            !at_cas(queue_cell(v, p), &c, lap | QUEUE_FULL | index, AT_SEQ_CST), 0)) {
        return queue_push_on(v, index);
    }
    v->push = p + 1;
    if (__builtin_expect((p + 1) % QUEUE_STRIDE == 0, 0)) {
        queue_set_push(v, p + 1);
        queue_pass(&v->queue->tail, p);
    }
    return mark ? QUEUE_OK_POLLED : QUEUE_OK;
}

/* The rest of queue_peek(), if there was no item where the last one was taken. */
static __attribute__((noinline)) enum queue_result queue_peek_on(struct queue_view *v,
                                                                 struct queue_item *ret)
{
    uint64_t p = queue_start(&v->queue->head, v->taken);
    uint64_t c = at_load(queue_cell(v, p), AT_SEQ_CST);
    for (uint64_t steps = 0; steps <= 1ull << v->order; steps++) {
        int64_t ahead = queue_ahead(v, c, p);
        if (ahead < 0) {
            break;
        }
        if (ahead == 0) {
            queue_set_taken(v, p);
            *ret = (struct queue_item){p, c, (uint32_t)(c & QUEUE_INDEX_MASK)};
            return c & QUEUE_FULL ? QUEUE_OK : QUEUE_NONE;
        }
        queue_pass(&v->queue->head, p);
        c = at_load(queue_cell(v, ++p), AT_SEQ_CST);
    }
    *ret = (struct queue_item){p, c, 0};
    return QUEUE_CORRUPT;
}

/* The oldest item, left in place: QUEUE_OK, QUEUE_NONE (empty) or QUEUE_CORRUPT. In the first two
 * cases @ret says which cell was looked at. */
static inline enum queue_result queue_peek(struct queue_view *v, struct queue_item *ret)
{
    /* A full cell of this lap is the one that is next, wherever the cursor is. */
    uint64_t p = v->taken, c = at_load(queue_cell(v, p), AT_SEQ_CST);
    /* FULL, of this lap, and not marked: a full cell has no mark. */
    uint64_t index = c ^ (v->taken_lap | QUEUE_FULL);
    ret->position = p;
    ret->cell = c;
    ret->index = (uint32_t)index;
    if (__builtin_expect(index <= QUEUE_INDEX_MASK, 1)) {
        return QUEUE_OK;
    }
    /* So is an empty one, marked or not, and then there is nothing. */
    if ((c & ~QUEUE_POLLED) == v->taken_lap) {
        return QUEUE_NONE;
    }
    struct queue_item item; /* so that @ret of the usual case can live in registers */
    enum queue_result res = queue_peek_on(v, &item);
    *ret = item;
    return res;
}

/* Whether there is an item at a position. */
static inline bool queue_has(const struct queue_view *v, uint64_t p)
{
    uint64_t c = at_load(queue_cell(v, p), AT_RELAXED);
    return (c ^ (queue_empty(v, p) | QUEUE_FULL)) <= QUEUE_INDEX_MASK;
}

/* Removes a peeked item. False: somebody else removed it. */
static inline bool queue_take(struct queue_view *v, const struct queue_item *item)
{
    uint64_t p = item->position, c = item->cell;
    /* The same lap without item, and one lap on. */
    uint64_t lap = c & ~((1ull << QUEUE_LAP_SHIFT) - 1);
    bool mine = at_cas(queue_cell(v, p), &c, lap + (1ull << QUEUE_LAP_SHIFT), AT_SEQ_CST);
    v->taken = p + 1;
    v->taken_lap = lap;
    if (__builtin_expect((p + 1) % QUEUE_STRIDE == 0, 0)) {
        queue_set_taken(v, p + 1);
        queue_pass(&v->queue->head, p);
    }
    return mine;
}

/* The same without a peek: removes @index if it is the item that stands where this thread found the queue
 * empty, and has not looked since. False: it is not, and nothing has happened. */
static inline bool queue_take_unseen(struct queue_view *v, uint32_t index)
{
    uint64_t p = v->taken, lap = v->taken_lap, c = lap | QUEUE_FULL | index;
    if (!at_cas(queue_cell(v, p), &c, lap + (1ull << QUEUE_LAP_SHIFT), AT_SEQ_CST)) {
        return false;
    }
    v->taken = p + 1;
    if (__builtin_expect((p + 1) % QUEUE_STRIDE == 0, 0)) {
        queue_set_taken(v, p + 1);
        queue_pass(&v->queue->head, p);
    }
    return true;
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

/* Items in the queue, give or take two lines of cells: no look at the cells, which others need. */
static inline uint64_t queue_about(const struct queue_view *v)
{
    uint64_t head = at_load(&v->queue->head, AT_RELAXED);
    uint64_t tail = at_load(&v->queue->tail, AT_RELAXED);
    return tail > head ? tail - head : 0;
}

/* Items in the queue at a moment between begin and end of the call, if nobody moves meanwhile; about,
 * if somebody does. Looks at the cells: both cursors may lag. */
static inline uint64_t queue_count(struct queue_view *v)
{
    struct queue_item first;
    if (queue_peek(v, &first) != QUEUE_OK) {
        return 0;
    }
    uint64_t p = queue_start(&v->queue->tail, v->push);
    p = p > first.position ? p : first.position;
    for (uint64_t steps = 0; steps < 1ull << v->order; steps++, p++) {
        uint64_t c = at_load(queue_cell(v, p), AT_ACQUIRE);
        int64_t ahead = queue_ahead(v, c, p);
        if (ahead < 0 || (ahead == 0 && !(c & QUEUE_FULL))) {
            break;
        }
    }
    return p - first.position;
}

#endif
