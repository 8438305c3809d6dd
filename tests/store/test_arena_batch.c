/* Batches of an arena: slots that a thread takes together and hands out alone. test_arena_model.c has them among
 * everything else. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "arena_support.h"

Test(arena_batch, hands_out_each_slot_once_and_gives_back_the_rest)
{
    enum { SIZE = 1000, TAKEN = 5 };
    struct arena *arena;
    cr_assert_eq(arena_create(&arena), MOB_OK);
    struct arena_batch batch = {0};
    struct arena_place places[TAKEN], place;
    cr_assert_null(arena_batch_take(&batch, SIZE, &place));
    cr_assert_eq(arena_batch_fill(arena, SIZE, &batch), MOB_ERR_NOMEM);
    support_grant(arena, ARENA_SEGMENT_MIN);
    cr_assert_eq(arena_batch_fill(arena, SIZE, &batch), MOB_OK);
    unsigned slots = (unsigned)__builtin_popcountll(batch.left);
    cr_assert_geq(slots, TAKEN);
    for (unsigned i = 0; i < TAKEN; i++) {
        void *at = arena_batch_take(&batch, SIZE, &places[i]);
        cr_assert_not_null(at);
        cr_assert_eq(at, batch.base + (places[i].offset - batch.start));
        cr_assert_eq(arena_place_size(arena, places[i]), 1024);
        for (unsigned k = 0; k < i; k++) {
            cr_assert_neq(places[i].offset, places[k].offset);
        }
    }
    support_check(arena);
    cr_assert_eq(support_stats(arena).objects, slots);
    /* Others may free what it handed out, and allocate it again. */
    cr_assert_eq(arena_free(arena, places[0]), MOB_OK);
    cr_assert_eq(arena_free(arena, places[0]), MOB_ERR_CORRUPT);
    arena_batch_return(arena, &batch);
    support_check(arena);
    cr_assert_eq(support_stats(arena).objects, TAKEN - 1);
    cr_assert_eq(support_stats(arena).asked_total_bytes, SIZE * TAKEN);
    cr_assert_null(arena_batch_take(&batch, SIZE, &place));
    for (unsigned i = 1; i < TAKEN; i++) {
        cr_assert_eq(arena_free(arena, places[i]), MOB_OK);
    }
    cr_assert_eq(support_stats(arena).idle_segments, 1);
    support_end(arena);
}

Test(arena_batch, every_size_has_the_shortest_slot_that_fits)
{
    struct arena *arena;
    cr_assert_eq(arena_create(&arena), MOB_OK);
    void *ptr;
    size_t longest[ARENA_BATCH_CLASSES] = {0};
    for (size_t size = 1; size <= ARENA_BATCH_MAX; size++) {
        longest[arena_class(size)] = size;
    }
    for (size_t size = 1; size <= ARENA_BATCH_MAX; size++) {
        struct arena_place place = support_alloc(arena, size, 64, &ptr);
        cr_assert_eq(arena_place_size(arena, place), longest[arena_class(size)]);
        cr_assert_eq(arena_free(arena, place), MOB_OK);
    }
    cr_assert(arena_batched(1, 64) && arena_batched(ARENA_BATCH_MAX, 1));
    cr_assert(!arena_batched(0, 64) && !arena_batched(ARENA_BATCH_MAX + 1, 64));
    cr_assert(!arena_batched(64, 128));
    support_end(arena);
}
