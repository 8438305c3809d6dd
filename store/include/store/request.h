/* request.h - what is asked of a task beside to run: to have started by a time, to end.
 *
 * One word beside each record: generation:32 | recursive:1 | kind:2 | tick:29. A word of another generation says
 * nothing, so that whoever submits a task of which nothing is asked does not touch it.
 *
 *   nothing --submit--> START --its tick passed--> LATE --its tick passed--> (the worker is killed)
 *      |                   |                         |
 *      +-----mob_cancel_as(), WIRE_CANCEL------------+--> END, likewise
 *
 * The submitter stores START before the task can be seen. All else is one compare-and-swap, by whoever cancels
 * or the daemon. What is asked is carried out by task_cancel_as() and, when a tick has passed, by the daemon
 * (runtime/node/due.c); STATE_CANCEL in the state word is what the task and its claimers obey.
 *
 * When the daemon has to look is a hint in two steps: the earliest tick in each block of records, and the
 * earliest of all, for which its timer is set. They may be too early. After a death they are made again from
 * the words (request_remake()), as the dead one may have stored a word and not lowered them.
 *
 * Ticks are REQUEST_TICK_NS since the board was made, modulo 2^29: they are compared as distances, so that
 * nothing may be asked for a time further away than REQUEST_AHEAD_MAX_NS. */
#ifndef STORE_REQUEST_H
#define STORE_REQUEST_H

#include "store/board.h"

#define REQUEST_TICK_NS 10000000ull
#define REQUEST_TICK_BITS 29
#define REQUEST_TICK_MASK ((1u << REQUEST_TICK_BITS) - 1)
#define REQUEST_AHEAD_MAX_NS (30ull * 24 * 3600 * 1000000000) /* below 2^28 ticks */

enum request_kind {
    REQUEST_NOTHING,
    REQUEST_START, /* not started at the tick, it fails with MOB_ERR_DEADLINE */
    REQUEST_LATE,  /* that has passed: it is ended at the tick */
    REQUEST_END    /* it was cancelled, and is ended at the tick */
};
#define REQUEST_KIND_SHIFT REQUEST_TICK_BITS
#define REQUEST_RECURSIVE                                                                \
    (1u << 31) /* what the task submits from now on is asked the same */

static inline uint32_t request_make(enum request_kind kind, uint32_t tick)
{
    return (uint32_t)kind << REQUEST_KIND_SHIFT | (tick & REQUEST_TICK_MASK);
}
static inline enum request_kind request_kind(uint32_t request)
{
    return (enum request_kind)(request >> REQUEST_KIND_SHIFT & 3);
}
static inline uint32_t request_tick(uint32_t request)
{
    return request & REQUEST_TICK_MASK;
}
/* Whether a tick comes before another one. */
static inline bool request_before(uint32_t a, uint32_t b)
{
    return ((a - b) & REQUEST_TICK_MASK) > REQUEST_TICK_MASK / 2;
}

/* The first tick at or after a time on the machine's monotonic clock; the last one before it or at it. */
uint32_t request_tick_at(const struct board *b, uint64_t ns);
uint32_t request_tick_passed(const struct board *b, uint64_t ns);
/* How long it is until a tick; 0 if it has passed. */
uint64_t request_left_ns(const struct board *b, uint32_t tick, uint64_t now_ns);

/* What is asked of a record in its generation @gen, or 0. */
uint32_t request_of(const struct board *b, uint32_t index, uint32_t gen);

/* By the submitter, before the record can be seen. */
static inline void request_set(struct board *b, uint32_t index, uint32_t gen,
                               uint32_t request)
{
    at_store(&b->requests[index], (uint64_t)gen << 32 | request, AT_RELAXED);
}
/* The same for a record that others know. Of two that end it the earlier tick counts. */
void request_add(struct board *b, uint32_t index, uint32_t gen, uint32_t request);

/* Sees to it that the daemon looks at the record's block at @tick: after the record can be seen. */
void request_note(struct board *b, uint32_t index, uint32_t tick);

/* Why a task that is not to run fails: MOB_ERR_CANCELLED or MOB_ERR_DEADLINE. */
mob_status request_reason(const struct board *b, uint32_t index, uint32_t gen);
/* The same as words that follow "task x: ". */
const char *request_reason_text(mob_status reason);

/* ---- the daemon's -------------------------------------------------------------------------------- */

/* A tick has passed of a record that is not sealed. Returns what is asked now, whose tick lies ahead, or 0; it
 * may be called again for a word that stays. */
typedef uint32_t (*request_due)(void *arg, uint32_t index, uint32_t gen,
                                uint32_t request);

/* Calls @due for all whose tick is not after @now. True: the next look is at @ret_tick. */
bool request_look(struct board *b, uint32_t now, request_due due, void *arg,
                  uint32_t *ret_tick);

/* Makes the hints again from the words. */
void request_remake(struct board *b);

#endif
