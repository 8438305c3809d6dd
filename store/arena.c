#include "store/arena.h"

#include <stdlib.h>
#include <string.h>

#include "arena_impl.h"
#include "core/status.h"

enum { TABLE_MIN = 16 };

/* ---- segments ------------------------------------------------------------------ */

static uint32_t table_slot(const struct arena *arena, uint32_t id)
{
    return (id * 0x9e3779b1u) >> arena->table_shift;
}

static uint32_t table_length(const struct arena *arena)
{
    return arena->table_mask + 1;
}

static void table_put(struct arena *arena, struct segment *segment)
{
    uint32_t mask = arena->table_mask;
    uint32_t i = table_slot(arena, segment->id);
    while (arena->table[i]) {
        i = (i + 1) & mask;
    }
    arena->table[i] = segment;
}

/* Closes the gap, so that a search may stop at the first empty entry. */
static void table_remove(struct arena *arena, struct segment *segment)
{
    uint32_t mask = arena->table_mask;
    uint32_t gap = table_slot(arena, segment->id);
    while (arena->table[gap] != segment) {
        gap = (gap + 1) & mask;
    }
    for (uint32_t i = (gap + 1) & mask; arena->table[i]; i = (i + 1) & mask) {
        uint32_t home = table_slot(arena, arena->table[i]->id);
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            arena->table[gap] = arena->table[i];
            gap = i;
        }
    }
    arena->table[gap] = NULL;
}

static mob_status table_grow(struct arena *arena)
{
    struct segment **old = arena->table;
    uint32_t length = table_length(arena);
    struct segment **table = calloc(2 * (size_t)length, sizeof(struct segment *));
    if (!table) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a table of %u segments", length);
    }
    arena->table = table;
    arena->table_shift--;
    arena->table_mask = 2 * length - 1;
    for (uint32_t i = 0; i < length; i++) {
        if (old[i]) {
            table_put(arena, old[i]);
        }
    }
    free(old);
    return MOB_OK;
}

mob_status arena_create(struct arena **ret)
{
    struct arena *arena = calloc(1, sizeof *arena);
    struct segment **table = calloc(TABLE_MIN, sizeof(struct segment *));
    if (!arena || !table) {
        free(arena);
        free(table);
        return status_fail(MOB_ERR_NOMEM, "no memory for an arena");
    }
    arena->table = table;
    arena->table_shift = 32 - 4;
    arena->table_mask = TABLE_MIN - 1;
    _Static_assert(TABLE_MIN == 1 << 4, "the first shift fits the first length");
    link_init(&arena->idle);
    link_init(&arena->spare);
    for (unsigned i = 0; i < BINS; i++) {
        link_init(&arena->bins[i]);
    }
    arena_run_init(arena);
    *ret = arena;
    return MOB_OK;
}

void arena_destroy(struct arena *arena)
{
    if (!arena) {
        return;
    }
    for (uint32_t i = 0; i < table_length(arena); i++) {
        if (arena->table[i]) {
            free(arena->table[i]->map);
            free(arena->table[i]);
        }
    }
    for (struct span_block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(arena->table);
    free(arena);
}

mob_status arena_add(struct arena *arena, uint32_t id, void *base, size_t size)
{
    if (!base || (uintptr_t)base % ARENA_PAGE || size % ARENA_PAGE || size == 0 ||
        size > ARENA_OBJECT_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "segment %u of %zu bytes at %p is not whole pages", id, size,
                           base);
    }
    if (arena_find(arena, id)) {
        return status_fail(MOB_ERR_EXISTS, "segment %u is in this arena already", id);
    }
    if (2 * (arena->segments + 1) > table_length(arena)) {
        MOB_TRY(table_grow(arena));
    }
    struct segment *segment = calloc(1, sizeof *segment);
    if (!segment) {
        return status_fail(MOB_ERR_NOMEM, "no memory for segment %u", id);
    }
    segment->id = id;
    segment->fresh = true;
    segment->base = base;
    segment->size = size;
    table_put(arena, segment);
    arena->segments++;
    arena->segment_bytes += size;
    arena_quiet(arena, segment, 0);
    return MOB_OK;
}

static size_t whole_pages(size_t size)
{
    return pages_of(size ? size : 1) << PAGE_SHIFT;
}

size_t arena_grant_least(size_t size)
{
    return size <= ARENA_SMALL_MAX ? RUN_BYTES_MAX : whole_pages(size);
}

size_t arena_grant_size(const struct arena *arena, size_t size)
{
    if (size > ARENA_ALONE_MIN) {
        return arena_grant_least(size);
    }
    size_t bytes = ARENA_SEGMENT_MIN;
    while (bytes < ARENA_SEGMENT_BYTES &&
           (bytes < size || bytes * 2 <= arena->segment_bytes)) {
        bytes *= 2;
    }
    return bytes;
}

void arena_keep(struct arena *arena, uint64_t bytes)
{
    arena->keep = bytes;
}

mob_status arena_take_empty(struct arena *arena, bool all, uint32_t *ret_segment,
                            void **ret_base, size_t *ret_size)
{
    uint64_t keep = (arena->segment_bytes - arena->idle_bytes) / 4;
    keep = keep < ARENA_SEGMENT_MIN ? ARENA_SEGMENT_MIN : keep;
    keep = keep > ARENA_SEGMENT_BYTES ? ARENA_SEGMENT_BYTES : keep;
    uint64_t least = keep < arena->keep ? arena->keep : keep;
    for (struct link *l = arena->idle.prev; l != &arena->idle; l = l->prev) {
        struct segment *segment = segment_of(l);
        /* A segment too long to be cut serves only objects of about its own length, so it stays only as
         * far as arena_keep() allows; of the others the last one stays. */
        bool stays = segment->size <= ARENA_SEGMENT_BYTES
                         ? arena->idle_bytes - segment->size < least
                         : arena->idle_bytes <= arena->keep;
        if (!all && stays) {
            continue;
        }
        if (segment->state == SEGMENT_CUT) {
            arena_pages_uncut(arena, segment);
        }
        link_remove(&segment->link);
        arena->idle_segments--;
        arena->idle_bytes -= segment->size;
        arena->segments--;
        arena->segment_bytes -= segment->size;
        table_remove(arena, segment);
        *ret_segment = segment->id;
        *ret_base = segment->base;
        *ret_size = segment->size;
        free(segment);
        return MOB_OK;
    }
    return MOB_ERR_NOT_FOUND;
}

/* ---- objects ------------------------------------------------------------------- */

/* The shortest idle segment that @bytes fill to four fifths. A fresh one was granted for
 * just this object, so it serves even if the daemon gave a longer one. */
static struct segment *find_alone(const struct arena *arena, size_t bytes)
{
    struct segment *best = NULL;
    for (struct link *l = arena->idle.next; l != &arena->idle; l = l->next) {
        struct segment *segment = segment_of(l);
        if (segment->size >= bytes &&
            (segment->fresh || segment->size <= bytes + bytes / 4) &&
            (!best || segment->size < best->size)) {
            best = segment;
        }
    }
    return best;
}

static bool alone_alloc(struct arena *arena, size_t size, struct arena_place *ret_place,
                        void **ret_ptr)
{
    size_t bytes = whole_pages(size);
    struct segment *segment = find_alone(arena, bytes);
    if (!segment) {
        return false;
    }
    if (segment->state == SEGMENT_CUT) {
        arena_pages_uncut(arena, segment);
    }
    segment->state = SEGMENT_ALONE;
    segment->fresh = false;
    segment->alone_bytes = bytes;
    arena_busy(arena, segment, bytes >> PAGE_SHIFT);
    arena->page_bytes_used += bytes;
    arena->given_total += bytes;
    arena->slack_bytes += segment->size - bytes;
    *ret_place = (struct arena_place){segment->id, 0};
    *ret_ptr = segment->base;
    return true;
}

static bool span_alloc(struct arena *arena, size_t size, size_t align,
                       struct arena_place *ret_place, void **ret_ptr)
{
    uint32_t align_pages = align > ARENA_PAGE ? (uint32_t)(align >> PAGE_SHIFT) : 1;
    struct span *span =
        arena_pages_alloc(arena, (uint32_t)pages_of(size ? size : 1), align_pages);
    if (!span) {
        return false;
    }
    span->kind = SPAN_OBJECT;
    arena_busy(arena, span->segment, span->pages);
    uint64_t bytes = (uint64_t)span->pages << PAGE_SHIFT;
    arena->page_bytes_used += bytes;
    arena->given_total += bytes;
    uint64_t offset = (uint64_t)span->first << PAGE_SHIFT;
    *ret_place = (struct arena_place){span->segment->id, offset};
    *ret_ptr = span->segment->base + offset;
    return true;
}

/* Out of line, so that the path of small objects has no registers to save. */
static __attribute__((noinline)) mob_status alloc_long(struct arena *arena, size_t size,
                                                       size_t align,
                                                       struct arena_place *ret_place,
                                                       void **ret_ptr)
{
    if ((align > ARENA_ALIGN_MIN && (align & (align - 1))) || align > ARENA_ALIGN_MAX ||
        size > ARENA_OBJECT_MAX) {
        return status_fail(MOB_ERR_INVALID, "an object of %zu bytes aligned to %zu", size,
                           align);
    }
    if (!(size > ARENA_ALONE_MIN ? alone_alloc(arena, size, ret_place, ret_ptr)
                                 : span_alloc(arena, size, align, ret_place, ret_ptr))) {
        return MOB_ERR_NOMEM;
    }
    arena->objects++;
    arena->asked_total += size;
    return MOB_OK;
}

mob_status arena_alloc(struct arena *arena, size_t size, size_t align,
                       struct arena_place *ret_place, void **ret_ptr)
{
    if (size <= ARENA_SMALL_MAX && align <= ARENA_ALIGN_MIN) {
        return arena_run_alloc(arena, size, ret_place, ret_ptr);
    }
    return alloc_long(arena, size, align, ret_place, ret_ptr);
}

/* The span of a cut segment that has a page at @offset and an object that may begin
 * there. */
static inline struct span *find_span(const struct segment *segment, uint64_t offset)
{
    if (segment->state != SEGMENT_CUT || offset >= segment->size) {
        return NULL;
    }
    uint32_t page = (uint32_t)(offset >> PAGE_SHIFT);
    struct span *span = segment->map[page];
    if (!span || span->segment != segment) {
        return NULL;
    }
    if (span->kind == SPAN_RUN) {
        return page - span->first < span->pages ? span : NULL;
    }
    return span->kind == SPAN_OBJECT && offset == (uint64_t)span->first << PAGE_SHIFT
               ? span
               : NULL;
}

mob_status arena_no_object(struct arena_place place)
{
    return status_fail(MOB_ERR_CORRUPT, "segment %u has no object at %llu", place.segment,
                       (unsigned long long)place.offset);
}

static __attribute__((noinline)) mob_status free_long(struct arena *arena,
                                                      struct segment *segment,
                                                      struct span *span,
                                                      struct arena_place place)
{
    if (span) {
        arena->page_bytes_used -= (uint64_t)span->pages << PAGE_SHIFT;
        arena_quiet(arena, segment, span->pages);
        arena_pages_free(arena, span);
    } else if (segment && segment->state == SEGMENT_ALONE && place.offset == 0) {
        arena->page_bytes_used -= segment->alone_bytes;
        arena->slack_bytes -= segment->size - segment->alone_bytes;
        segment->state = SEGMENT_RAW;
        arena_quiet(arena, segment, segment->alone_bytes >> PAGE_SHIFT);
        segment->alone_bytes = 0;
    } else {
        return arena_no_object(place);
    }
    arena->objects--;
    return MOB_OK;
}

mob_status arena_free(struct arena *arena, struct arena_place place)
{
    struct segment *segment = arena_find(arena, place.segment);
    struct span *span = segment ? find_span(segment, place.offset) : NULL;
    if (span && span->kind == SPAN_RUN) {
        return arena_run_free(arena, span, place.offset);
    }
    return free_long(arena, segment, span, place);
}

size_t arena_place_size(const struct arena *arena, struct arena_place place)
{
    struct segment *segment = arena_find(arena, place.segment);
    struct span *span = segment ? find_span(segment, place.offset) : NULL;
    if (span && span->kind == SPAN_RUN) {
        return arena_run_slot(span, place.offset) < 0 ? 0 : span->slot_bytes;
    }
    if (span) {
        return (size_t)span->pages << PAGE_SHIFT;
    }
    return segment && segment->state == SEGMENT_ALONE && place.offset == 0
               ? segment->alone_bytes
               : 0;
}

mob_status arena_shrink(struct arena *arena, struct arena_place place, size_t size)
{
    size_t have = arena_place_size(arena, place);
    if (have == 0 || size > have) {
        return arena_no_object(place);
    }
    struct segment *segment = arena_find(arena, place.segment);
    struct span *span = find_span(segment, place.offset);
    if (span && span->kind == SPAN_OBJECT) {
        arena_pages_shrink(arena, span, (uint32_t)pages_of(size ? size : 1));
    }
    return MOB_OK;
}
