/* arena_pages.c - spans of pages: free lists by length, split and coalesce. */
#include "arena_impl.h"

#include <stdlib.h>

#include "core/status.h"

enum {
    BINS_EXACT =
        16, /* spans below 16 pages have a bin a length; then 8 bins a doubling */
    CANDIDATES_MAX =
        16,          /* spans of one bin that are compared before a longer bin is taken */
    LONG_PAGES = 64, /* no shorter than any run */
};

unsigned arena_pages_bin(uint32_t pages)
{
    if (pages < BINS_EXACT) {
        return pages;
    }
    unsigned log = 31 - (unsigned)__builtin_clz(pages);
    return BINS_EXACT + (log - 4) * 8 + ((pages >> (log - 3)) & 7);
}

/* The first bin from @bin on that has a span, BINS if none. */
static unsigned bin_next(const struct arena *arena, unsigned bin)
{
    for (unsigned w = bin / 64; w < BINS / 64; w++) {
        uint64_t mask = arena->bin_mask[w];
        if (w == bin / 64) {
            mask &= ~0ull << (bin % 64);
        }
        if (mask) {
            return w * 64 + (unsigned)__builtin_ctzll(mask);
        }
    }
    return BINS;
}

/* Makes the span free: its kind, its ends in the map, its bin. The neighbours are in use.
 */
static void bin_add(struct arena *arena, struct span *span)
{
    unsigned bin = arena_pages_bin(span->pages);
    span->kind = SPAN_FREE;
    span->segment->map[span->first] = span;
    span->segment->map[span->first + span->pages - 1] = span;
    link_add(&arena->bins[bin], &span->link);
    arena->bin_mask[bin / 64] |= 1ull << (bin % 64);
}

static void bin_remove(struct arena *arena, struct span *span)
{
    unsigned bin = arena_pages_bin(span->pages);
    link_remove(&span->link);
    if (link_empty(&arena->bins[bin])) {
        arena->bin_mask[bin / 64] &= ~(1ull << (bin % 64));
    }
}

/* ---- span structs -------------------------------------------------------------- */

static bool spare_reserve(struct arena *arena)
{
    if (arena->spares >= SPANS_PER_ALLOC) {
        return true;
    }
    struct span_block *block = calloc(1, sizeof *block);
    if (!block) {
        return false;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    for (unsigned i = 0; i < SPAN_BLOCK; i++) {
        link_add_last(&arena->spare, &block->spans[i].link);
    }
    arena->spares += SPAN_BLOCK;
    return true;
}

/* The caller has called spare_reserve(). */
static struct span *span_new(struct arena *arena, struct segment *segment, uint32_t first,
                             uint32_t pages)
{
    MOB_ASSERT(arena->spares > 0);
    struct span *span = span_of(arena->spare.next);
    link_remove(&span->link);
    arena->spares--;
    span->segment = segment;
    span->first = first;
    span->pages = pages;
    return span;
}

static void span_drop(struct arena *arena, struct span *span)
{
    span->kind = SPAN_SPARE;
    span->segment = NULL;
    link_add(&arena->spare, &span->link);
    arena->spares++;
}

/* ---- segments that are cut ----------------------------------------------------- */

/* Cuts the idle raw segment that was used last, if one is long enough for @pages. The
 * caller has called spare_reserve(). */
static bool cut_one(struct arena *arena, uint32_t pages)
{
    for (struct link *l = arena->idle.next; l != &arena->idle; l = l->next) {
        struct segment *segment = segment_of(l);
        if (segment->state != SEGMENT_RAW || segment->size > ARENA_SEGMENT_BYTES ||
            pages_of(segment->size) < pages) {
            continue;
        }
        segment->map = calloc(pages_of(segment->size), sizeof *segment->map);
        if (!segment->map) {
            return false;
        }
        segment->state = SEGMENT_CUT;
        segment->fresh = false;
        bin_add(arena, span_new(arena, segment, 0, (uint32_t)pages_of(segment->size)));
        return true;
    }
    return false;
}

void arena_pages_uncut(struct arena *arena, struct segment *segment)
{
    arena_run_flush(arena, segment);
    struct span *whole = segment->map[0];
    MOB_ASSERT(whole->kind == SPAN_FREE && whole->pages == pages_of(segment->size));
    bin_remove(arena, whole);
    span_drop(arena, whole);
    free(segment->map);
    segment->map = NULL;
    segment->state = SEGMENT_RAW;
}

/* ---- allocation ---------------------------------------------------------------- */

static uint32_t aligned_first(const struct span *span, uint32_t align_pages)
{
    return (span->first + align_pages - 1) & ~(align_pages - 1);
}

static bool fits(const struct span *span, uint32_t pages, uint32_t align_pages)
{
    uint32_t skipped = aligned_first(span, align_pages) - span->first;
    return span->pages >= skipped && span->pages - skipped >= pages;
}

/* The shortest fitting span of the first bin in which one of the first @candidates fits.
 */
static struct span *find(const struct arena *arena, uint32_t pages, uint32_t align_pages,
                         unsigned candidates)
{
    struct span *best = NULL;
    for (unsigned bin = bin_next(arena, arena_pages_bin(pages)); bin < BINS && !best;
         bin = bin_next(arena, bin + 1)) {
        unsigned seen = 0;
        for (struct link *l = arena->bins[bin].next;
             l != &arena->bins[bin] && seen < candidates; l = l->next, seen++) {
            struct span *span = span_of(l);
            if (fits(span, pages, align_pages) && (!best || span->pages < best->pages)) {
                best = span;
            }
        }
    }
    return best;
}

struct span *arena_pages_alloc(struct arena *arena, uint32_t pages, uint32_t align_pages)
{
    if (!spare_reserve(arena)) {
        return NULL;
    }
    if (pages >= LONG_PAGES) {
        /* A long object fitted around an empty run would keep that hole open for its
         * whole life. Making the runs again is nothing beside writing that many bytes. */
        arena_run_flush(arena, NULL);
    }
    struct span *span = find(arena, pages, align_pages, CANDIDATES_MAX);
    if (!span) {
        /* Only spans further back in a list are left. Failing costs a grant, so look at
         * all. */
        span = find(arena, pages, align_pages, UINT32_MAX);
    }
    if (!span && (cut_one(arena, pages) || arena_run_flush(arena, NULL))) {
        span = find(arena, pages, align_pages, UINT32_MAX);
    }
    if (!span) {
        return NULL;
    }
    bin_remove(arena, span);
    uint32_t head = aligned_first(span, align_pages) - span->first;
    if (head > 0) {
        struct span *before = span_new(arena, span->segment, span->first, head);
        span->first += head;
        span->pages -= head;
        bin_add(arena, before);
    }
    if (span->pages > pages) {
        bin_add(arena,
                span_new(arena, span->segment, span->first + pages, span->pages - pages));
        span->pages = pages;
    }
    span->segment->map[span->first] = span;
    return span;
}

void arena_pages_free(struct arena *arena, struct span *span)
{
    struct segment *segment = span->segment;
    uint32_t end = span->first + span->pages;
    struct span *before = span->first > 0 ? segment->map[span->first - 1] : NULL;
    struct span *after = end < pages_of(segment->size) ? segment->map[end] : NULL;
    if (before && before->kind == SPAN_FREE && before->segment == segment &&
        before->first + before->pages == span->first) {
        bin_remove(arena, before);
        span->first = before->first;
        span->pages += before->pages;
        span_drop(arena, before);
    }
    if (after && after->kind == SPAN_FREE && after->segment == segment &&
        after->first == end) {
        bin_remove(arena, after);
        span->pages += after->pages;
        span_drop(arena, after);
    }
    bin_add(arena, span);
}

void arena_pages_shrink(struct arena *arena, struct span *span, uint32_t pages)
{
    if (pages >= span->pages || !spare_reserve(arena)) {
        return;
    }
    struct segment *segment = span->segment;
    uint32_t less = span->pages - pages;
    struct span *tail = span_new(arena, segment, span->first + pages, less);
    span->pages = pages;
    arena->page_bytes_used -= (uint64_t)less << PAGE_SHIFT;
    segment->busy_pages -= less; /* at least one page stays busy */
    arena_pages_free(arena, tail);
}
