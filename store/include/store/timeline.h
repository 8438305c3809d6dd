/* timeline.h - what a process did and when, kept in a ring on the board while somebody wants to know.
 *
 * Each process has a ring of its own there, which only it writes; it survives the death of its writer. What
 * is old is overwritten. An event is a cache line: its first word is its number in the ring plus one, 0 while
 * it is written. A run is an event from its beginning on, and gets its outcome when it ends, so that a worker
 * that is killed leaves what it was at.
 *
 * Nothing is recorded, and no ring has memory, until the daemon says so, by BOARD_RECORDED in a word that
 * who submits looks at anyway. A worker looks when it starts, after a sleep, and when it is woken (proc.wake).
 *
 * Readers are not writers' friends: every word is input to them (timeline_read()).
 * Threads: any thread of the ring's process records; any process reads. */
#ifndef STORE_TIMELINE_H
#define STORE_TIMELINE_H

#include "store/board.h"

enum timeline_kind {
    TIMELINE_NONE,
    TIMELINE_SUBMIT, /* a call of mob_submit(): link, parent */
    TIMELINE_READY,  /* a moment: the task may run now */
    TIMELINE_RUN,    /* link, parent; attempt, class, name */
    TIMELINE_GET, /* somebody waits for a result: link; LINK_NONE: for any of several */
    /* The daemon's: */
    TIMELINE_DIED,    /* a moment: a process of the job (a: pid, b: its index) */
    TIMELINE_AWAY,    /* a task at another node: link, a: node, b: link there */
    TIMELINE_PULL,    /* an object on its way here: a: node, b: bytes */
    TIMELINE_SPILL,   /* objects on their way to disk: b: bytes */
    TIMELINE_RESTORE, /* and back: link, b: bytes */
    TIMELINE_LEASE, /* a moment: a lease here (a: owner) has b: slots << 32 | epoch; link: the lease */
    TIMELINE_GRANT, /* a moment: the same of one elsewhere (a: node) */
    TIMELINE_KINDS
};

enum timeline_word {
    TIMELINE_SEQ,     /* number in the ring + 1 */
    TIMELINE_WHAT,    /* kind:8 | attempt:8 | class:8 | thread:8 | name:16 */
    TIMELINE_START,   /* ns of the machine's monotonic clock */
    TIMELINE_OUTCOME, /* 0: it has not ended; else (ns that it took + 1) << 8 | -status */
    TIMELINE_LINK,
    TIMELINE_A,
    TIMELINE_B,
    TIMELINE_PID,
    TIMELINE_WORDS
};

struct timeline_event {
    uint64_t word[TIMELINE_WORDS];
};

/* What a slot holds; atomic, since it may be read while it is written. */
struct timeline_slot {
    at_u64 word[TIMELINE_WORDS];
} __attribute__((aligned(CACHE_LINE)));
_Static_assert(sizeof(struct timeline_slot) == CACHE_LINE, "one transfer");

#define TIMELINE_ORDER_MAX 15u /* 2^15 events: who submits, and the daemon: 2 MiB */
#define TIMELINE_ORDER 13u     /* other processes: 512 KiB */

struct timeline_ring {
    at_u64 next;  /* its process: events ever recorded */
    at_u32 order; /* daemon: 2^order slots have memory; 0: none, nothing is recorded */
    struct timeline_slot slots[1u << TIMELINE_ORDER_MAX];
};

static inline uint64_t timeline_what(enum timeline_kind kind, uint32_t attempt,
                                     uint32_t class, uint32_t thread, uint32_t name)
{
    return (uint64_t)kind | (uint64_t)(attempt & 0xff) << 8 |
           (uint64_t)(class & 0xff) << 16 | (uint64_t)(thread & 0xff) << 24 |
           (uint64_t)(name & 0xffff) << 32;
}
static inline enum timeline_kind timeline_kind(const struct timeline_event *e)
{
    return (enum timeline_kind)(e->word[TIMELINE_WHAT] & 0xff);
}
static inline uint64_t timeline_outcome(uint64_t took_ns, mob_status st)
{
    return (took_ns + 1) << 8 | (uint8_t)-st;
}

/* Records an event that began at @start_ns. @outcome: as above. Returns its number plus one for
 * timeline_end(), or 0: there is no room for any. */
uint64_t timeline_put(struct timeline_ring *ring, uint64_t what, uint64_t start_ns,
                      uint64_t outcome, uint64_t link, uint64_t a, uint64_t b,
                      uint32_t pid);
/* It has ended. Nothing happens if its slot was used again since. */
void timeline_end(struct timeline_ring *ring, uint64_t number, uint64_t outcome);

/* Event @at of a ring of 2^@order slots, by what its reader knows: the ring's own word may be anything. False: it
 * was overwritten, or is being written. */
bool timeline_read(const struct timeline_ring *ring, uint32_t order, uint64_t at,
                   struct timeline_event *ret);
/* The first event that may still be there, and the one after the last: at most 2^order apart. */
void timeline_range(const struct timeline_ring *ring, uint32_t order, uint64_t *ret_first,
                    uint64_t *ret_end);

/* Records that the task of a link may run now, if the calling thread, whose lane it is, records. */
struct lane;
void timeline_ready(const struct lane *l, uint64_t link);

#endif
