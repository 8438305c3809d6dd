/* lane.h - what one thread keeps for itself of a board: free records, records on their way to be
 * freed, and a ledger of pins.
 *
 * A lane is private memory; the blocks and ledgers that it leased are marked with its process on
 * the board, so that the daemon can take them back. One thread at a time uses a lane. */
#ifndef STORE_LANE_H
#define STORE_LANE_H

#include "store/board.h"

#define LANE_LIMBO                                                                       \
    64u /* records freed together, so that one scan of the ledgers serves all */
#define LANE_LIMBO_BYTES                                                                 \
    (1u << 20) /* of their bytes that may wait for company: little memory */
#define LANE_PLAIN (1u << 31)  /* with an index: all of the record is inside itself */
#define LANE_PINNED (1u << 30) /* with an index, while the ledgers are looked at */
#define LANE_MOVED (1u << 29)  /* the same: the daemon pins it, and will not for long */
#define LANE_OWED 64u          /* records whose uses are taken off together */
#define LANE_LEDGERS 16u       /* one thread's: about a thousand views at once */

/* Frees the bytes of an arena's place. Called only for places in segments of this process. */
typedef void (*lane_free_place)(void *arg, uint32_t segment, uint64_t offset);

struct lane_block {
    uint64_t avail; /* records that may be handed out */
    uint32_t block;
    uint32_t next; /* below it on the stack of blocks that have some; place + 1 */
    bool stacked;
    uint32_t gens[BOARD_BLOCK]; /* generations of the records that may be handed out */
};

/* Uses of a record that are over and still counted: several tasks of a thread often use the same one,
 * and each step on its counts costs a transfer of its line. A death leaves them counted, which the audit
 * corrects. */
struct lane_owed {
    uint64_t link;
    uint32_t uses;
};

struct lane {
    struct board *board;
    uint32_t self;   /* the process */
    uint32_t queued; /* the low half of the state of a task that it publishes */
    struct timeline_ring
        *timeline; /* what its thread does is recorded here; NULL: nowhere */
    lane_free_place free_place;
    void *free_place_arg;

    /* The block at hand: its records that are still to be handed out, its first, and their
     * generations. */
    uint64_t avail;
    struct record *first;
    uint32_t first_index;
    const uint32_t *gens;

    struct queue_view ready[CLASSES_MAX]; /* of each class */

    struct lane_block *blocks; /* the leased blocks */
    uint32_t blocks_count, blocks_room;
    /* Of the stack of other blocks with records to hand out: place + 1. */
    uint32_t top;
    /* The block whose returned records were last looked for. */
    uint32_t looked;
    uint32_t *block_slot; /* per block of the board: its place in `blocks` + 1, or 0 */

    /* DEAD records that views may still pin, with LANE_PLAIN; the second half is for what freeing the
     * first adds. */
    uint32_t limbo[LANE_LIMBO * 2];
    uint32_t limbo_count;
    uint64_t limbo_bytes;

    /* By record; a bit for each place in use, and LINK_NONE in the others. */
    struct lane_owed owed[LANE_OWED];
    uint64_t owed_map;
    bool owes; /* it may owe uses: its thread settles before it sleeps */

    /* Of a worker between two tasks: the class that it serves + 1, else 0; the same while it seals one and
     * gives its successors their argument; and the first of these that became ready and is of that class: TAKEN
     * at once, to be run next. */
    uint32_t keeps, keeping;
    struct record *kept;
    /* LINK_SUCCESSORS if the last task that it sealed had successors, else 0: a guess at what the next one has. */
    uint64_t guess;

    struct ledger *ledgers[LANE_LEDGERS];
    uint64_t pins_used
        [LANE_LEDGERS]; /* bitmaps; a pin given back by another thread stays set */
    uint32_t ledgers_count;

    /* Called around the freeing of many places; may be NULL. */
    void (*freeing)(void *arg, bool begins);

    /* The daemon's: frees what it keeps for a place (place_is_daemons()). */
    void (*free_daemons)(void *arg, const struct place *p);

    /* Called by lane_drain_ring() with each record that somebody put there; may be NULL. */
    void (*sealed)(void *arg, struct record *r);
    void *sealed_arg;

    uint32_t gens_of_others[BOARD_BLOCK]; /* written like a block's own, and never read */

    bool reclaiming; /* inside lane_reclaim(): freeing one record may free others */
    uint64_t scans;  /* a count, for tests */
};

/* @process: this process's index on the board.
 * MOB_ERR_NOMEM, MOB_ERR_FULL (no ledger is free: too many threads). */
mob_status lane_init(struct lane *l, struct board *b, uint32_t process,
                     lane_free_place free_place, void *arg);
/* Gives blocks and ledgers back. Records in use stay in use; the daemon looks after them. */
void lane_fini(struct lane *l);

/* A FREE record of an own block; the caller fills it and moves it on. Its generation is
 * lane_gen(). MOB_ERR_FULL: the daemon has to commit more, or the table is at its maximum. */
mob_status lane_record(struct lane *l, struct record **ret);
/* The short way of it, which also makes the link: NULL if there is none at hand. Does not look at the
 * record: a worker that foresees it may have its line, and a look would wait for that. */
static inline struct record *lane_take(struct lane *l, uint64_t *ret_link)
{
    if (__builtin_expect(l->avail == 0, 0)) {
        return NULL;
    }
    uint32_t bit = (uint32_t)__builtin_ctzll(l->avail);
    struct record *r = &l->first[bit];
    if (!r) {
        __builtin_unreachable(); /* so that the caller's look at it costs nothing */
    }
    l->avail &= l->avail - 1;
    *ret_link = link_make(l->gens[bit], l->first_index + bit, 0);
    return r;
}
/* Takes it back at once, before anybody saw it. */
static inline void lane_untake(struct lane *l, uint64_t link)
{
    l->avail |= 1ull << (link_index(link) - l->first_index);
}
/* The record that a lane probably hands out after the one of an index, which exists: lanes go through
 * their blocks in order. NULL at the end of the block. A guess, of anybody's lane. */
static inline struct record *lane_foresee(const struct board *b, uint32_t index)
{
    return (index + 1) % BOARD_BLOCK ? &b->records[index + 1] : NULL;
}
/* True if records of this lane will come back without anybody releasing an id. */
bool lane_await_record(const struct lane *l);
/* Takes a record back that was handed out and never left FREE or CREATING. */
void lane_unrecord(struct lane *l, struct record *r);
static inline uint32_t lane_gen(const struct record *r)
{
    uint32_t gen = state_gen(at_load(&r->state, AT_RELAXED));
    return gen ? gen : 1;
}

/* ---- lifetime (store/README.md, "Who keeps what alive") -------------------------------------- */

/* The record that a link names if that generation of it still exists, else NULL. */
static inline struct record *lane_find(const struct lane *l, uint64_t link,
                                       uint64_t *ret_state)
{
    struct record *r = board_record(l->board, link_index(link));
    if (!r) {
        return NULL;
    }
    *ret_state = at_load(&r->state, AT_SEQ_CST);
    return state_gen(*ret_state) == link_gen(link) ? r : NULL;
}

/* One more use. MOB_ERR_RELEASED if nothing keeps the record alive any more. */
mob_status lane_use(struct lane *l, uint64_t link);
/* One use less; frees the record if nothing keeps it. Ignores a link that is gone. */
void lane_unuse(struct lane *l, uint64_t link);
/* The same some time before the next lane_reclaim(), if the lane may owe uses and the record is small. */
void lane_owe(struct lane *l, uint64_t link);
static inline void lane_unuse_later(struct lane *l, uint64_t link)
{
    struct lane_owed *o = &l->owed[link_index(link) % LANE_OWED];
    if (o->link == (link & ~(uint64_t)LINK_SUCCESSORS)) {
        o->uses++;
    } else {
        lane_owe(l, link);
    }
}
/* Takes off what it owes. */
void lane_settle(struct lane *l);
/* Drops the handle of one result. Ignores what is gone or was dropped. */
void lane_drop(struct lane *l, uint64_t link);

/* The short way of it: frees a CLOSED record with one result that nothing uses, in one step, and leaves
 * the refs word as it was. A thread that takes the id as an argument at the same moment, against the
 * rules, counts its use and then looks at the state (lane_use()); we set the state and then look at the
 * uses: it fails, or we take the step back. True: the record is this lane's, for lane_dropped(). False:
 * nothing was done. @last: what must be all that keeps it, as in the refs word. */
static inline bool lane_drop_last(const struct lane *l, struct record *r, uint64_t link,
                                  uint64_t last)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE), gen = s & ~REFS_LOW_MASK;
    uint64_t dead = state_to(s, PHASE_DEAD, l->self);
    if (__builtin_expect((link & ~REFS_LOW_MASK) != gen ||
                             state_phase(s) != PHASE_CLOSED || link_ret(link) != 0 ||
                             at_load(&r->refs, AT_RELAXED) != (gen | last) ||
                             !at_cas(&r->state, &s, dead, AT_SEQ_CST),
                         0)) {
        return false;
    }
    if (__builtin_expect((at_load(&r->refs, AT_SEQ_CST) & REFS_USES_MASK) >
                             (last & REFS_USES_MASK),
                         0)) {
        (void)at_cas(&r->state, &dead, s, AT_SEQ_CST); /* nobody else may touch it */
        return false;
    }
    return true;
}
void lane_dropped(struct lane *l, struct record *r);
/* lane_drop() where that has failed. */
void lane_drop_handle(struct lane *l, uint64_t link);

/* lane_drop() with the usual ways in line. */
static inline void lane_drop_fast(struct lane *l, uint64_t link)
{
    struct record *r = board_record(l->board, link_index(link));
    if (__builtin_expect(!r || !lane_drop_last(l, r, link, REFS_FIRST_HANDLE), 0)) {
        lane_drop_handle(l, link);
    } else if (__builtin_expect(l->limbo_count >= LANE_LIMBO - 1 || !record_is_plain(r),
                                0)) {
        lane_dropped(l, r);
    } else {
        l->limbo[l->limbo_count++] = link_index(link) | LANE_PLAIN;
    }
}
/* lane_use() with the usual way in line. @ret_state: of the record, with the use. False: nothing was done. */
static inline bool lane_use_fast(struct lane *l, uint64_t link, uint64_t *ret_state)
{
    struct record *r = board_record(l->board, link_index(link));
    uint64_t refs = r ? at_load(&r->refs, AT_RELAXED) : 0;
    if (__builtin_expect(refs >> 32 != link_gen(link) || (refs & REFS_LOW_MASK) == 0 ||
                             (refs & REFS_USES_MASK) == REFS_USES_MASK ||
                             !at_cas(&r->refs, &refs, refs + REFS_USE, AT_SEQ_CST),
                         0)) {
        return false;
    }
    *ret_state = at_load(&r->state, AT_SEQ_CST); /* pairs with lane_drop_last() */
    if (__builtin_expect(state_gone(*ret_state), 0)) {
        lane_unuse(l, link);
        return false;
    }
    return true;
}
/* The same of a record that this lane made, out of its spare uses (record.h). The caller has its handle: a thread that
 * drops that at the same moment, against the rules, may leave the record's tasks without it. */
static inline bool lane_use_spare(const struct lane *l, uint64_t link,
                                  uint64_t *ret_state)
{
    uint32_t index = link_index(link);
    struct record *r = board_record(l->board, index);
    if (__builtin_expect(!r || !l->block_slot[index / BOARD_BLOCK], 0)) {
        return false;
    }
    uint64_t refs = at_load(&r->refs, AT_RELAXED);
    uint32_t fill = at_load(&r->fill, AT_RELAXED);
    if (__builtin_expect((link & ~(uint64_t)(RECORD_INDEX_NONE << 4)) !=
                                 (refs & ~REFS_LOW_MASK) ||
                             !(refs & REFS_FIRST_HANDLE) || fill >> FILL_SPARE_SHIFT == 0,
                         0)) {
        return false;
    }
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    if (__builtin_expect(state_gone(s), 0)) {
        return false;
    }
    at_store(&r->fill, fill - (1u << FILL_SPARE_SHIFT), AT_RELAXED);
    *ret_state = s;
    return true;
}
/* Frees a CLOSED record that nothing keeps. Whoever finds that state calls it; one wins. */
void lane_try_free(struct lane *l, struct record *r, uint32_t gen);

/* Looks at all ledgers once and frees what nobody pins. Done now and then by itself; a caller
 * that waits for room does it at once. */
void lane_reclaim(struct lane *l);
/* The same before a long sleep: what is pinned is left to the daemon, which looks again. */
void lane_rest(struct lane *l);
/* Frees the places that others handed to this process. True if there were any. */
bool lane_drain_ring(struct lane *l);
/* The slow form, over all records, after the ring was full. */
void lane_drain_all(struct lane *l);

/* ---- pins ------------------------------------------------------------------------------------- */

/* Pins a sealed record, so that its bytes stay. @ret_pin: for lane_unpin().
 * MOB_ERR_RELEASED: it is gone. MOB_ERR_FULL: this thread holds too many views. */
mob_status lane_pin(struct lane *l, uint64_t link, uint64_t *ret_pin);
/* Pins a record that something else keeps alive at this moment, in any phase. False: this thread
 * has no pin left. */
bool lane_pin_open(struct lane *l, uint64_t link, uint64_t *ret_pin);
/* Any thread of the process may unpin; only the owner of the lane may pin again. */
void lane_unpin(struct lane *l, uint64_t pin);

/* Says that this thread finishes a record: it will not be freed until lane_finished(). With LINK_SUCCESSORS in
 * place of a result, nor will the tasks that have it as argument, if it is not sealed yet: who frees one of these
 * saw the seal, or what came of it, and so this word too. */
static inline void lane_finishing(struct lane *l, uint64_t link)
{
    /* Seen by whoever frees because the caller's next step is a sequentially consistent
     * read-modify-write; pairs with the fence in lane_reclaim(). */
    at_store(&l->ledgers[0]->finishing, link, AT_RELAXED);
}
static inline bool lane_finishes_all(const struct lane *l, uint64_t link)
{
    return at_load(&l->ledgers[0]->finishing, AT_RELAXED) == (link | LINK_SUCCESSORS);
}
/* Lets go of its successors. */
static inline void lane_finishing_alone(struct lane *l)
{
    at_u64 *word = &l->ledgers[0]->finishing;
    at_store(word, at_load(word, AT_RELAXED) & ~(uint64_t)LINK_SUCCESSORS, AT_RELEASE);
}
static inline void lane_finished(struct lane *l)
{
    at_store(&l->ledgers[0]->finishing, LINK_NONE, AT_RELEASE);
}

/* Holds a record that somebody else may free: this life of it, or what follows, is not used again
 * until lane_untouch() or the next lane_touch(). Returns its state, looked at while it is held. */
static inline uint64_t lane_touch(struct lane *l, struct record *r)
{
    uint64_t s = at_load(&r->state, AT_RELAXED);
    at_store(&l->ledgers[0]->touching,
             link_make(state_gen(s) | 1, board_index(l->board, r), 0), AT_RELAXED);
    at_fence(); /* the hold before the look at the state; pairs with lane_reclaim() */
    return at_load(&r->state, AT_ACQUIRE);
}
/* The same for all tasks that have a record, given by @link, as argument; it may be sealed already. */
static inline void lane_touch_successors(struct lane *l, uint64_t link)
{
    at_store(&l->ledgers[0]->touching, link | LINK_SUCCESSORS, AT_RELAXED);
    at_fence(); /* the hold before the looks at them; pairs with lane_reclaim() */
}
/* Names a task that is being hung on its last argument, so that a sweep can go on if this thread dies. */
static inline void lane_hanging(struct lane *l, uint64_t link)
{
    at_store(&l->ledgers[0]->touching, link, AT_RELAXED);
}
static inline void lane_untouch(struct lane *l)
{
    at_store(&l->ledgers[0]->touching, LINK_NONE, AT_RELEASE);
}

/* Used by the sweep. Takes over a DEAD record that this process holds; frees a DRAINING one. */
void lane_adopt(struct lane *l, struct record *r);
bool lane_in_limbo(const struct lane *l, uint32_t index);
void lane_drain_own(struct lane *l, struct record *r);

#endif
