/* arena_run.c - objects of up to 32 KiB: slots of equal size in runs, with a bitmap a
 * run. */
#include "arena_impl.h"

#include <string.h>

#include "core/status.h"

/* The longest objects of arena_class(). */
static uint32_t class_bytes(unsigned class)
{
    if (class < 8) {
        return (class + 1) * 64;
    }
    uint32_t base = 512u << ((class - 8) / 4);
    return base + base / 4 * ((class - 8) % 4 + 1);
}

void arena_run_init(struct arena *arena)
{
    for (unsigned i = 0; i < CLASSES; i++) {
        struct class *class = &arena->classes[i];
        class->slot_bytes = class_bytes(i);
        /* Whole pages that are whole slots, so that nothing is left at the end. */
        uint32_t bytes = ARENA_PAGE;
        while (bytes % class->slot_bytes) {
            bytes += ARENA_PAGE;
        }
        while (bytes < RUN_BYTES_MIN || bytes / class->slot_bytes < RUN_SLOTS_MIN) {
            bytes *= 2;
        }
        class->run_pages = (uint16_t)(bytes >> PAGE_SHIFT);
        class->slots = (uint16_t)(bytes / class->slot_bytes);
        MOB_ASSERT(class->slots <= SLOTS_MAX && bytes <= RUN_BYTES_MAX);
        MOB_ASSERT(arena_class(class->slot_bytes) == i);
        link_init(&class->runs);
    }
    MOB_ASSERT(class_bytes(CLASSES - 1) == ARENA_SMALL_MAX &&
               class_bytes(ARENA_BATCH_CLASSES - 1) == ARENA_BATCH_MAX);
}

/* An empty run, the class's only one that is not full. */
static __attribute__((noinline)) struct span *run_new(struct arena *arena,
                                                      struct class *class)
{
    struct span *run = arena_pages_alloc(arena, class->run_pages, 1);
    if (!run) {
        return NULL;
    }
    run->kind = SPAN_RUN;
    run->class = (uint8_t)(class - arena->classes);
    run->slots = run->free_slots = class->slots;
    run->slot_bytes = class->slot_bytes;
    memset(run->free, 0, sizeof run->free);
    for (unsigned i = 0; i < run->slots; i++) {
        run->free[i / 64] |= 1ull << (i % 64);
    }
    for (uint32_t p = 0; p < run->pages; p++) {
        run->segment->map[run->first + p] = run;
    }
    link_add(&class->runs, &run->link);
    class->empty = run;
    arena->run_bytes += (uint64_t)run->pages << PAGE_SHIFT;
    return run;
}

/* Gives the pages of the class's empty run back. */
static void run_unmake(struct arena *arena, struct class *class)
{
    struct span *run = class->empty;
    class->empty = NULL;
    link_remove(&run->link);
    arena->run_bytes -= (uint64_t)run->pages << PAGE_SHIFT;
    arena_pages_free(arena, run);
}

bool arena_run_flush(struct arena *arena, const struct segment *segment)
{
    bool any = false;
    for (unsigned i = 0; i < CLASSES; i++) {
        struct class *class = &arena->classes[i];
        if (class->empty && (!segment || class->empty->segment == segment)) {
            run_unmake(arena, class);
            any = true;
        }
    }
    return any;
}

/* The word of a run's bitmap with its first free slot; the run has one. */
static inline unsigned free_word(const struct span *run)
{
    unsigned word = 0;
    while (!run->free[word]) {
        word++;
    }
    return word;
}

/* Takes @count free slots of a run, those of @bits in a word of its bitmap. */
static inline void take_slots(struct arena *arena, struct span *run, unsigned word,
                              uint64_t bits, unsigned count)
{
    run->free[word] ^= bits;
    run->free_slots -= (uint16_t)count;
    if (run->free_slots == 0) {
        link_remove(&run->link);
    }
    uint64_t bytes = (uint64_t)count * run->slot_bytes;
    arena->objects += count;
    arena->given_total += bytes;
    arena->slot_bytes_used += bytes;
}

static inline uint64_t slot_offset(const struct span *run, unsigned slot)
{
    return ((uint64_t)run->first << PAGE_SHIFT) + (uint64_t)slot * run->slot_bytes;
}

/* The class has an empty run at most. NULL: no memory. */
static __attribute__((noinline)) struct span *first_run(struct arena *arena,
                                                        struct class *class)
{
    if (!class->empty && !run_new(arena, class)) {
        return NULL;
    }
    struct span *run = class->empty;
    class->empty = NULL;
    arena_busy(arena, run->segment, run->pages);
    return run;
}

/* A run with a free slot for @size bytes, in use from now on. NULL: no memory. */
static inline struct span *open_run(struct arena *arena, size_t size)
{
    struct class *class = &arena->classes[arena_class(size)];
    struct span *run = span_of(class->runs.next);
    return link_empty(&class->runs) || run == class->empty ? first_run(arena, class)
                                                           : run;
}

mob_status arena_run_alloc(struct arena *arena, size_t size,
                           struct arena_place *ret_place, void **ret_ptr)
{
    struct span *run = open_run(arena, size);
    if (!run) {
        return MOB_ERR_NOMEM;
    }
    unsigned word = free_word(run);
    uint64_t bits = run->free[word];
    take_slots(arena, run, word, bits & -bits, 1);
    arena->asked_total += size;
    uint64_t offset = slot_offset(run, word * 64 + (unsigned)__builtin_ctzll(bits));
    *ret_place = (struct arena_place){run->segment->id, offset};
    *ret_ptr = run->segment->base + offset;
    return MOB_OK;
}

int arena_run_slot(const struct span *run, uint64_t offset)
{
    uint32_t inside = (uint32_t)(offset - ((uint64_t)run->first << PAGE_SHIFT));
    uint32_t slot = inside / run->slot_bytes;
    if (slot * run->slot_bytes != inside || (run->free[slot / 64] >> (slot % 64) & 1)) {
        return -1;
    }
    return (int)slot;
}

/* The last object of a run has gone. One empty run a class is kept; it is last in the
 * list, so that runs with objects fill up before it is used. */
static __attribute__((noinline)) void run_emptied(struct arena *arena, struct span *run)
{
    struct class *class = &arena->classes[run->class];
    struct segment *segment = run->segment;
    if (class->empty) {
        run_unmake(arena, class);
    }
    class->empty = run;
    link_remove(&run->link);
    link_add_last(&class->runs, &run->link);
    arena_quiet(arena, segment, run->pages);
}

mob_status arena_run_free(struct arena *arena, struct span *run, uint64_t offset)
{
    int slot = arena_run_slot(run, offset);
    if (slot < 0) {
        return arena_no_object((struct arena_place){run->segment->id, offset});
    }
    run->free[slot / 64u] |= 1ull << (slot % 64u);
    arena->objects--;
    arena->slot_bytes_used -= run->slot_bytes;
    if (run->free_slots++ == 0) {
        link_add(&arena->classes[run->class].runs, &run->link);
    }
    if (run->free_slots == run->slots) {
        run_emptied(arena, run);
    }
    return MOB_OK;
}

/* ---- batches --------------------------------------------------------------------- */

static void count_asked(struct arena *arena, struct arena_batch *batch)
{
    arena->asked_total += batch->asked;
    batch->asked = 0;
}

mob_status arena_batch_fill(struct arena *arena, size_t size, struct arena_batch *batch)
{
    struct span *run = open_run(arena, size);
    if (!run) {
        return MOB_ERR_NOMEM;
    }
    unsigned word = free_word(run);
    uint64_t bits = run->free[word], start = slot_offset(run, word * 64);
    take_slots(arena, run, word, bits, (unsigned)__builtin_popcountll(bits));
    count_asked(arena, batch);
    *batch = (struct arena_batch){.left = bits,
                                  .base = run->segment->base + start,
                                  .start = start,
                                  .segment = run->segment->id,
                                  .slot_bytes = run->slot_bytes};
    return MOB_OK;
}

void arena_batch_return(struct arena *arena, struct arena_batch *batch)
{
    struct arena_place place;
    count_asked(arena, batch);
    while (arena_batch_take(batch, 0, &place)) {
        (void)arena_free(arena, place); /* which it was given */
    }
}
