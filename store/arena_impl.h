/* arena_impl.h - what the files of the arena share. The terms stand in store/arena.h.
 *
 *   arena.c        the interface: segments, objects alone, which path an object takes
 *   arena_pages.c  spans of pages: free lists by length, split, coalesce
 *   arena_run.c    slots in runs
 *   arena_check.c  statistics, and the walk over all invariants
 *
 * A page map leads from each page to its span. It is exact at the first and last page of
 * a free span, at the first page of an object and at every page of a run; elsewhere it
 * may point to a span that has since moved on. Span structs are recycled but never freed
 * while the arena lives, so such a pointer may be followed, and it is believed only if
 * the span it leads to claims that very page: spans of a segment never overlap, so a span
 * that does is the one.
 *
 * Invariants (arena_check() walks them):
 *   - the spans of a cut segment tile it; no two free ones touch;
 *   - a free span is in the bin of its length; a bin's bit is set iff it has one;
 *   - a run that is not full is in its class's list, an empty run is also class->empty;
 *   - segment->busy_pages are those of objects and of runs with an object; the segment
 *     is in the idle list iff they are 0. */
#ifndef ARENA_IMPL_H
#define ARENA_IMPL_H

#include "store/arena.h"

enum {
    PAGE_SHIFT = 12,
    CLASSES = 32,
    RUN_BYTES_MIN = 16 << 10, /* shorter runs are made and unmade too often */
    RUN_SLOTS_MIN = 8,
    RUN_BYTES_MAX = RUN_SLOTS_MIN * ARENA_SMALL_MAX,
    SLOTS_MAX = 256, /* a run of 64-byte slots */
    SLOT_WORDS = SLOTS_MAX / 64,
    BINS = 128,
    SPAN_BLOCK = 64,     /* spans made by one malloc */
    SPANS_PER_ALLOC = 4, /* the most that one operation makes */
};

struct link {
    struct link *next, *prev;
};

enum span_kind { SPAN_SPARE, SPAN_FREE, SPAN_OBJECT, SPAN_RUN };

struct span {
    struct link link; /* in a bin, in its class's list, or in arena->spare */
    struct segment *segment;
    uint32_t first, pages;
    uint8_t kind;
    uint8_t class; /* of a run, as are all below */
    uint16_t slots;
    uint16_t free_slots; /* set bits in free[] */
    uint32_t slot_bytes;
    uint64_t free[SLOT_WORDS];
};

enum segment_state { SEGMENT_RAW, SEGMENT_CUT, SEGMENT_ALONE };

struct segment {
    struct link link; /* in arena->idle */
    uint32_t id;
    uint8_t state;
    bool fresh; /* has not served any object */
    uint8_t *base;
    size_t size;
    uint64_t busy_pages;
    size_t alone_bytes; /* of the object, in whole pages */
    struct span **map;  /* size / ARENA_PAGE entries while cut, else NULL */
};

struct class
{
    struct link runs; /* not full; an empty one is last */
    struct span *empty;
    uint32_t slot_bytes;
    uint16_t slots;
    uint16_t run_pages;
};

struct span_block {
    struct span_block *next;
    struct span spans[SPAN_BLOCK];
};

struct arena {
    struct class classes[CLASSES];
    uint64_t slot_bytes_used; /* in slots that are taken */
    uint64_t page_bytes_used; /* in spans and segments of one object */
    uint64_t objects, asked_total, given_total;

    struct segment **table; /* by id: open addressing, at most half full */
    uint32_t table_shift;   /* 32 - log2 of its length */
    uint32_t table_mask;    /* its length - 1 */
    uint32_t segments;
    uint64_t segment_bytes;
    uint64_t slack_bytes; /* behind alone objects */
    uint64_t run_bytes;   /* in runs */

    struct link idle; /* segments; the one idle last is first */
    uint64_t idle_segments, idle_bytes;
    uint64_t keep; /* idle bytes that stay in any case; see arena_keep() */

    uint64_t bin_mask[BINS / 64];
    struct link bins[BINS];
    struct link spare; /* spans without a use */
    uint32_t spares;
    struct span_block *blocks;
};

static inline void link_init(struct link *list)
{
    list->next = list->prev = list;
}

static inline bool link_empty(const struct link *list)
{
    return list->next == list;
}

static inline void link_add(struct link *list, struct link *item)
{
    item->next = list->next;
    item->prev = list;
    list->next->prev = item;
    list->next = item;
}

static inline void link_add_last(struct link *list, struct link *item)
{
    link_add(list->prev, item);
}

static inline void link_remove(struct link *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
}

/* Both have their link first. */
static inline struct span *span_of(struct link *link)
{
    return (struct span *)link;
}

static inline struct segment *segment_of(struct link *link)
{
    return (struct segment *)link;
}

static inline size_t pages_of(size_t bytes)
{
    return (bytes + ARENA_PAGE - 1) >> PAGE_SHIFT;
}

/* The segment of that number, NULL if there is none. */
static inline struct segment *arena_find(const struct arena *arena, uint32_t id)
{
    for (uint32_t i = (id * 0x9e3779b1u) >> arena->table_shift;;
         i = (i + 1) & arena->table_mask) {
        struct segment *segment = arena->table[i];
        if (!segment || segment->id == id) {
            return segment;
        }
    }
}

/* @pages of the segment are in use from now on, or no longer: it leaves or enters the
 * idle list. */
static inline void arena_busy(struct arena *arena, struct segment *segment,
                              uint64_t pages)
{
    if (segment->busy_pages == 0) {
        link_remove(&segment->link);
        arena->idle_segments--;
        arena->idle_bytes -= segment->size;
    }
    segment->busy_pages += pages;
}

static inline void arena_quiet(struct arena *arena, struct segment *segment,
                               uint64_t pages)
{
    segment->busy_pages -= pages;
    if (segment->busy_pages == 0) {
        link_add(&arena->idle, &segment->link);
        arena->idle_segments++;
        arena->idle_bytes += segment->size;
    }
}

/* Fails: nothing is allocated at the place. */
mob_status arena_no_object(struct arena_place place);

/* ---- arena_pages.c ------------------------------------------------------------- */

/* The bin of free spans of @pages. */
unsigned arena_pages_bin(uint32_t pages);
/* A span of @pages, whose first page is a multiple of @align_pages, with no kind yet: cut
 * from the free spans, or from a raw segment. NULL if there is none or malloc fails. */
struct span *arena_pages_alloc(struct arena *arena, uint32_t pages, uint32_t align_pages);
/* Frees a span that is in no list, and coalesces it. */
void arena_pages_free(struct arena *arena, struct span *span);
/* Cuts a span of one object to its first @pages. Keeps it whole if malloc fails. */
void arena_pages_shrink(struct arena *arena, struct span *span, uint32_t pages);
/* An idle cut segment becomes raw. */
void arena_pages_uncut(struct arena *arena, struct segment *segment);

/* ---- arena_run.c --------------------------------------------------------------- */

void arena_run_init(struct arena *arena);
/* A slot for @size <= ARENA_SMALL_MAX, as arena_alloc(). */
mob_status arena_run_alloc(struct arena *arena, size_t size,
                           struct arena_place *ret_place, void **ret_ptr);
/* Frees the slot at @offset of the run's segment, as arena_free(). */
mob_status arena_run_free(struct arena *arena, struct span *run, uint64_t offset);
/* The taken slot at @offset of the run's segment, or -1. */
int arena_run_slot(const struct span *run, uint64_t offset);
/* Unmakes the empty runs that are kept in @segment, NULL: anywhere. True if there were
 * any. */
bool arena_run_flush(struct arena *arena, const struct segment *segment);

#endif
