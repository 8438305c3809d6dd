/* arena.h - a process's own allocator of object bytes in shared memory.
 *
 * The daemon grants segments; the arena of the process that got them cuts them into
 * places. All that the arena knows about them is private memory of that process: shared
 * memory holds object bytes alone, so that neither a crash nor a stray write of another
 * process can damage an allocator. When the process dies its arena dies with it; nothing
 * is allocated from its segments again, and they go once their last object has gone.
 *
 * Terms
 *   segment  a memfd mapped here, granted by the daemon, with a 32-bit number.
 *   page     4 KiB of a segment.
 *   span     pages in a row with one use: free, one object, or a run.
 *   run      a span of 16 to 256 KiB cut into equal slots of one size class.
 *   alone    the state of a segment that holds one big object and nothing else.
 *   raw      an empty segment that is not cut into pages: new, or was alone.
 *   idle     a segment without an object. It may have empty runs: one a class is kept,
 *            so that an object that comes and goes does not make a run each time.
 *
 *            arena_add             alloc > 16 MiB
 *   (daemon) ----------> raw, idle --------------> alone
 *       ^                 |    ^  ^-------------- free
 *       |         alloc   |    |
 *       |                 v    | alloc > 16 MiB, arena_take_empty
 *       |               cut, idle <-------------> cut, in use
 *       +--------------- raw, idle   last free / alloc
 *        arena_take_empty
 *
 * Where an object goes
 *   <= 32 KiB  A slot of one of 32 size classes: multiples of 64 up to 512, then four
 *              steps a doubling. A run is a whole number of slots and of pages. A full
 *              run is in no list; the run that had a slot freed last is used first,
 *              because its lines are warm.
 *   <= 16 MiB  Pages in a row. Free spans coalesce at once and sit in lists by length,
 *              eight lists a doubling, found by bitmap. The search takes the shortest
 *              of some spans of its own length, else of the next longer list: nearly
 *              best fit, which keeps long spans long, without a tree to balance.
 *   above      A segment of its own, of the length it needs.
 *
 * Costs: slots O(1); pages O(1) but for a last search of all spans before failing, and
 * for alignments above 4 KiB. Taking and freeing 1 KiB: about 130 instructions, no
 * malloc, no system call; out of a batch (below) taking it is about 20.
 * Waste inside a place: below 64 bytes up to 512, below 20 % up to 32 KiB, below one
 * page (11 %) above.
 * Private memory: 8 bytes a page (0.2 %), 80 a span.
 *
 * Limits: a segment is whole pages; one longer than 64 MiB is not cut and serves big
 * objects only. Threads: none; the caller locks. Input: places to free may come from a
 * corrupt board, and each is checked. */
#ifndef STORE_ARENA_H
#define STORE_ARENA_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_ALIGN_MIN 64u        /* of every place: a cache line */
#define ARENA_ALIGN_MAX (2u << 20) /* a huge page */
#define ARENA_PAGE 4096u
#define ARENA_SMALL_MAX (32u << 10) /* bytes in the largest slot */
#define ARENA_SEGMENT_MIN                                                                \
    (4u                                                                                  \
     << 20) /* bytes of the first grant: small jobs stay small                        \
                */
#define ARENA_SEGMENT_BYTES (64u << 20) /* bytes of the usual grant */
#define ARENA_ALONE_MIN                                                                  \
    (ARENA_SEGMENT_BYTES / 4)         /* a longer object gets its own segment */
#define ARENA_OBJECT_MAX (1ull << 46) /* bytes; also of a segment */

struct arena;

struct arena_place {
    uint32_t segment;
    uint64_t offset;
};

struct arena_stats {
    uint64_t segments, segment_bytes;
    uint64_t idle_segments, idle_bytes; /* without an object */
    uint64_t objects;                   /* also what batches have left */
    uint64_t
        allocated_bytes;  /* in objects' places, with what their sizes were rounded by */
    uint64_t free_bytes;  /* in free pages, free slots and raw segments */
    uint64_t slack_bytes; /* in segments that an alone object does not fill */
    uint64_t largest_free_bytes; /* the largest free span, or raw segment */
    uint64_t run_free_bytes;     /* of free: slots, good for their size class alone */
    /* Since the beginning: sizes as asked for, out of a batch once it is filled again or
     * given back, ... */
    uint64_t asked_total_bytes;
    uint64_t given_total_bytes; /* ... and of the places given for them */
};

mob_status arena_create(struct arena **ret);
/* Forgets everything; unmaps nothing. NULL is allowed. */
void arena_destroy(struct arena *arena);

/* A granted segment, mapped writable at @base until arena_take_empty() returns it.
 * Returns MOB_OK, MOB_ERR_EXISTS, MOB_ERR_INVALID (size or base not whole pages), or
 * MOB_ERR_NOMEM. */
mob_status arena_add(struct arena *arena, uint32_t segment, void *base, size_t size);

/* Bytes to ask the daemon for after arena_alloc() found no place for @size: the first
 * segment is small, then each grant doubles what the arena has, up to 64 MiB; a big
 * object gets just what it needs. */
size_t arena_grant_size(const struct arena *arena, size_t size);
/* The least that would do, for when the daemon has not that much. */
size_t arena_grant_least(size_t size);

/* A place of at least @size bytes (0 is taken as 1).
 * @align: of the offset in the segment: up to 64, which every place has, or a power of
 * two up to ARENA_ALIGN_MAX. Returns MOB_OK, MOB_ERR_INVALID, or MOB_ERR_NOMEM, which
 * leaves no sentence because it is the usual way to learn that a grant is needed: add
 * arena_grant_least() bytes and try again. If that fails too, this process's own memory
 * is full. */
mob_status arena_alloc(struct arena *arena, size_t size, size_t align,
                       struct arena_place *ret_place, void **ret_ptr);

/* Frees a place. Returns MOB_OK, or MOB_ERR_CORRUPT for one that is not allocated. */
mob_status arena_free(struct arena *arena, struct arena_place place);

/* Keeps the first @size bytes of a place. Whole pages behind them are free again; a slot
 * stays whole, as does the segment of an alone object. Returns MOB_OK, or MOB_ERR_CORRUPT
 * for a place that is not allocated or is shorter than @size. */
mob_status arena_shrink(struct arena *arena, struct arena_place place, size_t size);

/* ---- batches ---------------------------------------------------------------------
 * One thread's slots of a class, taken out of the arena together and handed out one by
 * one without the arena's lock: of small objects the lock is what costs most. To the
 * arena they are allocated, each is freed as any other place, by any thread, and what is
 * left at the end is given back. A batch is private memory, as the arena is: it dies with
 * the process, and no record ever names a place that was not handed out. (On a corrupt
 * board one may: then it is freed, and two of this process's objects get the same bytes;
 * the arena's account stays right.) */

#define ARENA_BATCH_MAX 4096u   /* bytes of the largest slot that comes in batches */
#define ARENA_BATCH_CLASSES 20u /* those up to it; a batch of each is 408 KiB in all */

struct arena_batch {
    uint64_t left;  /* bit i: slot i is still to be handed out */
    uint8_t *base;  /* where slot 0 is, ... */
    uint64_t start; /* ... in its segment */
    uint64_t asked; /* bytes, since it was filled */
    uint32_t segment;
    uint32_t slot_bytes;
};

/* The class of slots for @size <= ARENA_SMALL_MAX: multiples of 64 up to 512, then four
 * steps a doubling. */
static inline unsigned arena_class(size_t size)
{
    if (size <= 512) {
        return size ? (unsigned)(size - 1) / 64 : 0;
    }
    unsigned last = (unsigned)size - 1, top = 31u - (unsigned)__builtin_clz(last);
    return 8 + 4 * (top - 9) + (last >> (top - 2) & 3);
}

/* True if such objects come out of batches. @align: as arena_alloc(). */
static inline bool arena_batched(size_t size, size_t align)
{
    return size - 1 < ARENA_BATCH_MAX && align <= ARENA_ALIGN_MIN;
}

/* A place for @size bytes, which are of the batch's class. NULL: it has none left. */
static inline void *arena_batch_take(struct arena_batch *batch, size_t size,
                                     struct arena_place *ret)
{
    uint64_t left = batch->left;
    if (__builtin_expect(left == 0, 0)) {
        return NULL;
    }
    uint64_t at = (uint64_t)(unsigned)__builtin_ctzll(left) * batch->slot_bytes;
    batch->left = left & (left - 1);
    batch->asked += size;
    *ret = (struct arena_place){batch->segment, batch->start + at};
    return batch->base + at;
}

/* Fills a batch that has nothing left, with at least one slot for @size bytes and at most
 * 64. Returns MOB_OK or MOB_ERR_NOMEM, as arena_alloc(). */
mob_status arena_batch_fill(struct arena *arena, size_t size, struct arena_batch *batch);

/* Frees what a batch has left. */
void arena_batch_return(struct arena *arena, struct arena_batch *batch);

/* Bytes of the place, 0 if it is not allocated. */
size_t arena_place_size(const struct arena *arena, struct arena_place place);

/* From now on idle segments of up to @bytes stay, or as many as arena_take_empty() says if that is more; those of
 * large objects too, whose pages are then there for the next one: fresh ones cost about ten times the copying. */
void arena_keep(struct arena *arena, uint64_t bytes);

/* Takes a segment without objects out of the arena, the one longest idle, so that the
 * caller unmaps it and gives it back. Unless @all, idle segments of up to a quarter of
 * what is in use, at least 4 and at most 64 MiB, stay for the next objects. Returns
 * MOB_OK or MOB_ERR_NOT_FOUND (without a sentence). */
mob_status arena_take_empty(struct arena *arena, bool all, uint32_t *ret_segment,
                            void **ret_base, size_t *ret_size);

void arena_get_stats(const struct arena *arena, struct arena_stats *ret);

/* Walks every structure. Returns MOB_OK, or MOB_ERR_CORRUPT with a sentence that says
 * which invariant is broken. O(pages); for tests and slow assertions. */
mob_status arena_check(const struct arena *arena);

#endif
