/* arena_check.c - what the arena says of itself, and whether it is true. */
#include "arena_impl.h"

#include <string.h>

#include "core/status.h"

void arena_get_stats(const struct arena *arena, struct arena_stats *ret)
{
    uint64_t largest = 0;
    for (unsigned bin = 0; bin < BINS; bin++) {
        struct link *list = (struct link *)&arena->bins[bin];
        for (struct link *l = list->next; l != list; l = l->next) {
            uint64_t bytes = (uint64_t)span_of(l)->pages << PAGE_SHIFT;
            largest = bytes > largest ? bytes : largest;
        }
    }
    for (struct link *l = arena->idle.next; l != &arena->idle; l = l->next) {
        struct segment *segment = segment_of(l);
        if (segment->state == SEGMENT_RAW && segment->size > largest) {
            largest = segment->size;
        }
    }
    uint64_t allocated = arena->slot_bytes_used + arena->page_bytes_used;
    *ret = (struct arena_stats){
        .segments = arena->segments,
        .segment_bytes = arena->segment_bytes,
        .idle_segments = arena->idle_segments,
        .idle_bytes = arena->idle_bytes,
        .objects = arena->objects,
        .allocated_bytes = allocated,
        .free_bytes = arena->segment_bytes - allocated - arena->slack_bytes,
        .slack_bytes = arena->slack_bytes,
        .largest_free_bytes = largest,
        .run_free_bytes = arena->run_bytes - arena->slot_bytes_used,
        .asked_total_bytes = arena->asked_total,
        .given_total_bytes = arena->given_total,
    };
}

/* What a walk finds, to be compared with the arena's own figures. */
struct walk {
    uint64_t segments, segment_bytes, idle_segments, idle_bytes, slack_bytes;
    uint64_t slot_bytes, page_bytes, run_bytes, free_bytes, objects;
    uint64_t free_spans, open_runs, spans;
};

#define CHECK(cond)                                                                      \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            return status_fail(MOB_ERR_CORRUPT, "arena: not so: %s (%s:%d)", #cond,      \
                               __func__, __LINE__);                                      \
        }                                                                                \
    } while (0)

static bool is_in(const struct link *list, const struct link *item)
{
    for (const struct link *l = list->next; l != list; l = l->next) {
        if (l == item) {
            return true;
        }
    }
    return false;
}

static uint64_t count(const struct link *list)
{
    uint64_t n = 0;
    for (const struct link *l = list->next; l != list; l = l->next) {
        n++;
    }
    return n;
}

static mob_status check_run(const struct arena *arena, const struct span *run,
                            struct walk *walk)
{
    CHECK(run->class < CLASSES);
    const struct class *class = &arena->classes[run->class];
    CHECK(run->slots == class->slots && run->slot_bytes == class->slot_bytes);
    CHECK(run->pages == class->run_pages);
    unsigned bits = 0;
    for (unsigned w = 0; w < SLOT_WORDS; w++) {
        bits += (unsigned)__builtin_popcountll(run->free[w]);
    }
    for (unsigned i = run->slots; i < SLOTS_MAX; i++) {
        CHECK(!(run->free[i / 64] >> (i % 64) & 1));
    }
    CHECK(bits == run->free_slots && bits <= run->slots);
    CHECK(is_in(&class->runs, &run->link) == (bits > 0));
    CHECK((class->empty == run) == (bits == run->slots));
    for (uint32_t p = 0; p < run->pages; p++) {
        CHECK(run->segment->map[run->first + p] == run);
    }
    walk->open_runs += bits > 0;
    walk->objects += run->slots - bits;
    walk->slot_bytes += (uint64_t)(run->slots - bits) * run->slot_bytes;
    walk->run_bytes += (uint64_t)run->pages << PAGE_SHIFT;
    walk->free_bytes += (uint64_t)bits * run->slot_bytes;
    return MOB_OK;
}

static mob_status check_cut(const struct arena *arena, const struct segment *segment,
                            struct walk *walk)
{
    uint64_t busy = 0;
    bool after_free = false;
    uint32_t pages = (uint32_t)pages_of(segment->size);
    for (uint32_t page = 0; page < pages;) {
        const struct span *span = segment->map[page];
        CHECK(span && span->segment == segment && span->first == page);
        CHECK(span->pages > 0 && span->pages <= pages - page);
        uint64_t bytes = (uint64_t)span->pages << PAGE_SHIFT;
        if (span->kind == SPAN_FREE) {
            CHECK(!after_free);
            CHECK(segment->map[page + span->pages - 1] == span);
            CHECK(is_in(&arena->bins[arena_pages_bin(span->pages)], &span->link));
            walk->free_bytes += bytes;
            walk->free_spans++;
        } else if (span->kind == SPAN_RUN) {
            MOB_TRY(check_run(arena, span, walk));
            busy += span->free_slots < span->slots ? span->pages : 0;
        } else {
            CHECK(span->kind == SPAN_OBJECT);
            walk->page_bytes += bytes;
            walk->objects++;
            busy += span->pages;
        }
        walk->spans++;
        after_free = span->kind == SPAN_FREE;
        page += span->pages;
    }
    CHECK(busy == segment->busy_pages);
    return MOB_OK;
}

static mob_status check_segment(const struct arena *arena, const struct segment *segment,
                                struct walk *walk)
{
    CHECK(arena_find(arena, segment->id) == segment);
    CHECK((segment->map != NULL) == (segment->state == SEGMENT_CUT));
    CHECK(is_in(&arena->idle, &segment->link) == (segment->busy_pages == 0));
    walk->segments++;
    walk->segment_bytes += segment->size;
    if (segment->busy_pages == 0) {
        walk->idle_segments++;
        walk->idle_bytes += segment->size;
    }
    if (segment->state == SEGMENT_CUT) {
        return check_cut(arena, segment, walk);
    }
    if (segment->state == SEGMENT_RAW) {
        CHECK(segment->busy_pages == 0 && segment->alone_bytes == 0);
        walk->free_bytes += segment->size;
        return MOB_OK;
    }
    CHECK(segment->state == SEGMENT_ALONE);
    CHECK(segment->alone_bytes > 0 && segment->alone_bytes <= segment->size);
    CHECK(segment->busy_pages == segment->alone_bytes >> PAGE_SHIFT);
    walk->page_bytes += segment->alone_bytes;
    walk->slack_bytes += segment->size - segment->alone_bytes;
    walk->objects++;
    return MOB_OK;
}

mob_status arena_check(const struct arena *arena)
{
    struct walk walk = {0};
    for (uint32_t i = 0; i <= arena->table_mask; i++) {
        if (arena->table[i]) {
            MOB_TRY(check_segment(arena, arena->table[i], &walk));
        }
    }
    CHECK(walk.segments == arena->segments && walk.segment_bytes == arena->segment_bytes);
    CHECK(walk.idle_segments == arena->idle_segments &&
          walk.idle_bytes == arena->idle_bytes);
    CHECK(count(&arena->idle) == arena->idle_segments);
    CHECK(walk.slot_bytes == arena->slot_bytes_used);
    CHECK(walk.page_bytes == arena->page_bytes_used);
    CHECK(walk.run_bytes == arena->run_bytes && walk.slack_bytes == arena->slack_bytes);
    CHECK(walk.objects == arena->objects);
    CHECK(walk.slot_bytes + walk.page_bytes + walk.free_bytes + walk.slack_bytes ==
          walk.segment_bytes);

    /* Every list has what the segments have and nothing else. */
    uint64_t free_spans = 0, open_runs = 0, blocks = 0;
    for (unsigned bin = 0; bin < BINS; bin++) {
        uint64_t n = count(&arena->bins[bin]);
        CHECK((arena->bin_mask[bin / 64] >> (bin % 64) & 1) == (n > 0));
        free_spans += n;
    }
    for (unsigned i = 0; i < CLASSES; i++) {
        const struct class *class = &arena->classes[i];
        open_runs += count(&class->runs);
        CHECK(!class->empty || class->runs.prev == &class->empty->link);
    }
    for (struct span_block *block = arena->blocks; block; block = block->next) {
        blocks++;
    }
    CHECK(free_spans == walk.free_spans && open_runs == walk.open_runs);
    CHECK(count(&arena->spare) == arena->spares);
    CHECK(arena->spares + walk.spans == blocks * SPAN_BLOCK);
    return MOB_OK;
}
