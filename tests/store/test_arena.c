/* The arena: places and their alignment, grants, reuse, giving back, and places that are
 * lies. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "arena_support.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static struct arena *create(void)
{
    struct arena *arena;
    cr_assert_eq(arena_create(&arena), MOB_OK);
    return arena;
}

static void release(struct arena *arena, struct arena_place place)
{
    cr_assert_eq(arena_free(arena, place), MOB_OK, "%s", mob_last_error());
}

Test(arena, an_empty_arena_asks_for_a_grant)
{
    struct arena *arena = create();
    struct arena_place place;
    void *ptr;
    cr_assert_eq(arena_alloc(arena, 1, 64, &place, &ptr), MOB_ERR_NOMEM);
    cr_assert_eq(arena_alloc(arena, 1 * MIB, 64, &place, &ptr), MOB_ERR_NOMEM);
    cr_assert_eq(arena_alloc(arena, 1 * GIB, 64, &place, &ptr), MOB_ERR_NOMEM);
    support_check(arena);
    arena_destroy(arena);
    arena_destroy(NULL);
}

Test(arena, places_hold_their_sizes_at_their_alignments)
{
    static const size_t aligns[] = {0, 1, 8, 64, 128, 4096, 64 * KIB, 2 * MIB};
    struct arena *arena = create();
    struct arena_place places[1024];
    unsigned n = 0;
    for (unsigned a = 0; a < sizeof aligns / sizeof *aligns; a++) {
        for (size_t size = 0; size <= 5 * MIB; size = size * 2 + 1) {
            void *ptr;
            struct arena_place place = support_alloc(arena, size, aligns[a], &ptr);
            size_t align = aligns[a] < 64 ? 64 : aligns[a];
            cr_assert_eq(place.offset % align, 0, "%zu at %zu", size, aligns[a]);
            cr_assert_eq((uintptr_t)ptr % 64, 0);
            cr_assert_geq(arena_place_size(arena, place), size);
            places[n++] = place;
        }
        support_check(arena);
    }
    while (n-- > 0) {
        release(arena, places[n]);
    }
    support_check(arena);
    support_end(arena);
}

Test(arena, waste_inside_a_place_is_bounded)
{
    struct arena *arena = create();
    for (size_t size = 1; size < 80 * KIB; size += size < 2 * KIB ? 1 : 61) {
        void *ptr;
        struct arena_place place = support_alloc(arena, size, 64, &ptr);
        size_t waste = arena_place_size(arena, place) - size;
        cr_assert(waste < 64 ||
                      (size > 512 && waste * 5 < arena_place_size(arena, place)),
                  "%zu bytes waste %zu", size, waste);
        cr_assert(size <= 32 * KIB || waste < 4096);
        release(arena, place);
    }
    support_end(arena);
}

Test(arena, bad_arguments_are_refused)
{
    struct arena *arena = create();
    struct arena_place place;
    void *ptr;
    cr_assert_eq(arena_alloc(arena, 1, 192, &place, &ptr), MOB_ERR_INVALID);
    cr_assert_eq(arena_alloc(arena, 1, 4 * MIB, &place, &ptr), MOB_ERR_INVALID);
    cr_assert_eq(arena_alloc(arena, SIZE_MAX, 64, &place, &ptr), MOB_ERR_INVALID);
    cr_assert_eq(arena_add(arena, 1, (void *)0x1001, 4096), MOB_ERR_INVALID);
    cr_assert_eq(arena_add(arena, 1, (void *)0x1000, 4097), MOB_ERR_INVALID);
    cr_assert_eq(arena_add(arena, 1, (void *)0x1000, 0), MOB_ERR_INVALID);
    cr_assert_eq(arena_add(arena, 1, NULL, 4096), MOB_ERR_INVALID);
    uint32_t id = support_grant(arena, 4 * MIB);
    cr_assert_eq(arena_add(arena, id, (void *)0x1000, 4096), MOB_ERR_EXISTS);
    support_check(arena);
    support_end(arena);
}

Test(arena, grants_begin_small_and_double)
{
    struct arena *arena = create();
    size_t expect[] = {4, 4, 8, 16, 32, 64, 64};
    for (unsigned i = 0; i < 7; i++) {
        size_t size = arena_grant_size(arena, 100);
        cr_assert_eq(size, expect[i] * MIB, "grant %u is %zu", i, size);
        support_grant(arena, size);
    }
    support_end(arena);
    arena = create();
    cr_assert_eq(arena_grant_size(arena, 5 * MIB), 8 * MIB);
    cr_assert_eq(arena_grant_size(arena, 16 * MIB), 16 * MIB);
    cr_assert_eq(arena_grant_size(arena, 16 * MIB + 1), 16 * MIB + 4096);
    cr_assert_eq(arena_grant_least(5 * MIB + 1), 5 * MIB + 4096);
    cr_assert_eq(arena_grant_least(0), 256 * KIB); /* the longest run */
    arena_destroy(arena);
}

Test(arena, the_least_grant_does_at_every_size_and_alignment)
{
    for (size_t size = 1; size <= 200 * MIB; size = size * 3 + 4095) {
        for (size_t align = 64; align <= 2 * MIB; align *= 32) {
            struct arena *arena = create();
            struct arena_place place;
            void *ptr;
            /* A run needs more than its one object, so small ones get what a run takes.
             */
            size_t least = arena_grant_least(size);
            support_grant(arena, least);
            cr_assert_eq(arena_alloc(arena, size, align, &place, &ptr), MOB_OK,
                         "%zu at %zu", size, align);
            support_check(arena);
            release(arena, place);
            support_end(arena);
        }
    }
}

Test(arena, a_big_object_is_alone)
{
    struct arena *arena = create();
    support_grant(arena, 64 * MIB);
    void *ptr;
    struct arena_place small = support_alloc(arena, 64, 64, &ptr);
    /* There is room beside the small one, but the big one would keep both from going. */
    struct arena_place big = support_alloc(arena, 17 * MIB + 5, 2 * MIB, &ptr);
    cr_assert_neq(big.segment, small.segment);
    cr_assert_eq(big.offset, 0);
    struct arena_stats stats = support_stats(arena);
    cr_assert_eq(stats.segment_bytes, 64 * MIB + 17 * MIB + 4096);
    cr_assert_eq(stats.slack_bytes, 0);
    support_check(arena);
    release(arena, big);
    /* Its segment serves the next of about its size, and one a bit shorter leaves slack.
     */
    struct arena_place again = support_alloc(arena, 16 * MIB + 1, 64, &ptr);
    cr_assert_eq(again.segment, big.segment);
    cr_assert_eq(support_stats(arena).slack_bytes, MIB);
    support_check(arena);
    release(arena, again);
    release(arena, small);
    support_end(arena);
}

Test(arena, a_grant_longer_than_asked_serves_a_big_object)
{
    struct arena *arena = create();
    struct arena_place place;
    void *ptr;
    uint32_t id = support_grant(arena, 1 * GIB);
    cr_assert_eq(arena_alloc(arena, 20 * MIB, 64, &place, &ptr), MOB_OK);
    cr_assert_eq(place.segment, id);
    support_check(arena);
    release(arena, place);
    /* Afterwards it is like any other: too long for 20 MiB, right for 1000. */
    cr_assert_eq(arena_alloc(arena, 20 * MIB, 64, &place, &ptr), MOB_ERR_NOMEM);
    cr_assert_eq(arena_alloc(arena, 1000 * MIB, 64, &place, &ptr), MOB_OK);
    release(arena, place);
    support_end(arena);
}

Test(arena, a_segment_of_big_objects_is_cut_for_small_ones_and_back)
{
    struct arena *arena = create();
    void *ptr;
    struct arena_place big = support_alloc(arena, 20 * MIB, 64, &ptr);
    release(arena, big);
    struct arena_place small = support_alloc(arena, 100, 64, &ptr);
    cr_assert_eq(small.segment, big.segment);
    support_check(arena);
    release(arena, small); /* leaves an empty run behind, which must not be in the way */
    support_check(arena);
    big = support_alloc(arena, 20 * MIB, 64, &ptr);
    cr_assert_eq(small.segment, big.segment);
    support_check(arena);
    release(arena, big);
    support_end(arena);
}

Test(arena, the_place_freed_last_is_used_first)
{
    struct arena *arena = create();
    struct arena_place places[1000];
    void *ptr;
    for (unsigned i = 0; i < 1000; i++) {
        places[i] = support_alloc(arena, 1024, 64, &ptr);
    }
    release(arena, places[17]);
    release(arena, places[700]);
    struct arena_place again = support_alloc(arena, 1000, 64, &ptr);
    cr_assert_eq(again.offset, places[700].offset);
    again = support_alloc(arena, 1000, 64, &ptr);
    cr_assert_eq(again.offset, places[17].offset);
    for (unsigned i = 0; i < 1000; i++) {
        release(arena, places[i]);
    }
    support_end(arena);
}

Test(arena, neighbours_coalesce_in_every_order)
{
    static const unsigned orders[][4] = {
        {0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 1, 3}, {1, 3, 0, 2}};
    for (unsigned o = 0; o < 4; o++) {
        struct arena *arena = create();
        struct arena_place places[4];
        void *ptr;
        for (unsigned i = 0; i < 4; i++) {
            places[i] = support_alloc(arena, MIB, 64, &ptr);
        }
        for (unsigned i = 0; i < 4; i++) {
            release(arena, places[orders[o][i]]);
            support_check(arena);
        }
        cr_assert_eq(support_stats(arena).largest_free_bytes, 4 * MIB);
        support_end(arena);
    }
}

Test(arena, shrinking_frees_whole_pages)
{
    struct arena *arena = create();
    void *ptr;
    struct arena_place place = support_alloc(arena, 3 * MIB, 64, &ptr);
    cr_assert_eq(arena_shrink(arena, place, MIB + 1), MOB_OK);
    support_check(arena);
    cr_assert_eq(arena_place_size(arena, place), MIB + 4096);
    cr_assert_eq(support_stats(arena).largest_free_bytes, 3 * MIB - 4096);
    cr_assert_eq(arena_shrink(arena, place, 2 * MIB), MOB_ERR_CORRUPT); /* that grows */
    cr_assert_eq(arena_shrink(arena, place, 0), MOB_OK);
    cr_assert_eq(arena_place_size(arena, place), 4096);
    support_check(arena);
    release(arena, place);
    cr_assert_eq(arena_shrink(arena, place, 0), MOB_ERR_CORRUPT);

    place = support_alloc(arena, 1000, 64, &ptr);
    cr_assert_eq(arena_shrink(arena, place, 10), MOB_OK);
    cr_assert_eq(arena_place_size(arena, place), 1024);
    release(arena, place);
    place = support_alloc(arena, 100 * MIB, 64, &ptr);
    cr_assert_eq(arena_shrink(arena, place, 10), MOB_OK);
    cr_assert_eq(arena_place_size(arena, place), 100 * MIB);
    release(arena, place);
    support_check(arena);
    support_end(arena);
}

static void refused(struct arena *arena, uint32_t segment, uint64_t offset)
{
    struct arena_place place = {segment, offset};
    cr_assert_eq(arena_free(arena, place), MOB_ERR_CORRUPT, "%u:%llu was freed", segment,
                 (unsigned long long)offset);
    cr_assert_eq(arena_shrink(arena, place, 0), MOB_ERR_CORRUPT);
    cr_assert_eq(arena_place_size(arena, place), 0);
    support_check(arena);
}

Test(arena, places_that_are_not_allocated_are_refused)
{
    struct arena *arena = create();
    void *ptr;
    struct arena_place small = support_alloc(arena, 1024, 64, &ptr);
    struct arena_place large = support_alloc(arena, 100 * KIB, 64, &ptr);
    struct arena_place alone = support_alloc(arena, 20 * MIB, 64, &ptr);
    struct arena_place doubled = support_alloc(arena, 1024, 64, &ptr);
    uint32_t raw = support_grant(arena, 4 * MIB);
    release(arena, doubled);
    refused(arena, doubled.segment, doubled.offset);
    refused(arena, small.segment, small.offset + 64);   /* inside a slot */
    refused(arena, small.segment, small.offset + 2048); /* a free slot */
    refused(arena, large.segment, large.offset + 64);
    refused(arena, large.segment, large.offset + 4096); /* inside an object */
    refused(arena, large.segment, large.offset + 100 * KIB);
    refused(arena, large.segment, 4 * MIB); /* behind the end */
    refused(arena, large.segment, UINT64_MAX);
    refused(arena, large.segment, UINT64_MAX - 4095);
    refused(arena, large.segment,
            large.offset + (1ull << 44)); /* the same page modulo 2^32 */
    refused(arena, alone.segment, 4096);
    refused(arena, raw, 0);
    refused(arena, raw + 1000000, 0);
    release(arena, small);
    release(arena, large);
    release(arena, alone);
    refused(arena, large.segment, large.offset);
    refused(arena, alone.segment, 0);
    support_end(arena);
}

Test(arena, a_reserve_stays_and_the_rest_goes_back)
{
    enum { OBJECTS = 300 };
    struct arena *arena = create();
    struct arena_place places[OBJECTS];
    void *ptr;
    for (unsigned i = 0; i < OBJECTS; i++) {
        places[i] = support_alloc(arena, MIB, 64, &ptr);
    }
    cr_assert_eq(support_take(arena, true), 0, "a segment in use was given back");
    for (unsigned i = 0; i < OBJECTS; i++) {
        release(arena, places[i]);
    }
    support_take(arena, false);
    struct arena_stats stats = support_stats(arena);
    cr_assert_geq(stats.segment_bytes, 4 * MIB);
    cr_assert_leq(stats.segment_bytes, 128 * MIB);
    support_check(arena);
    /* What one object needs again and again is not given back and granted each time. */
    for (unsigned i = 0; i < 100; i++) {
        struct arena_place place;
        cr_assert_eq(arena_alloc(arena, MIB, 64, &place, &ptr), MOB_OK);
        release(arena, place);
        cr_assert_eq(support_take(arena, false), 0);
    }
    support_end(arena);
}

Test(arena, a_long_segment_is_not_kept)
{
    struct arena *arena = create();
    void *ptr;
    struct arena_place big = support_alloc(arena, 100 * MIB, 64, &ptr);
    release(arena, big);
    cr_assert_eq(support_take(arena, false), 100 * MIB);
    arena_destroy(arena);
}

Test(arena, many_segments_come_and_go)
{
    enum { SEGMENTS = 1000 };
    struct arena *arena = create();
    static struct arena_place places[SEGMENTS];
    void *ptr;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < SEGMENTS; i++) {
            places[i] = support_alloc(arena, 17 * MIB, 64, &ptr);
        }
        for (unsigned i = 0; i < SEGMENTS; i++) {
            release(arena, places[i * 7 % SEGMENTS]);
            if (i % 50 == 0) {
                support_take(arena, true);
                support_check(arena);
            }
        }
    }
    support_end(arena);
}

Test(arena, totals_are_of_what_was_asked_and_given)
{
    struct arena *arena = create();
    void *ptr;
    struct arena_place a = support_alloc(arena, 1000, 64, &ptr);
    struct arena_place b = support_alloc(arena, 5000, 4096, &ptr);
    struct arena_stats stats = support_stats(arena);
    cr_assert_eq(stats.asked_total_bytes, 6000);
    cr_assert_eq(stats.given_total_bytes, 1024 + 8192);
    cr_assert_eq(stats.allocated_bytes, 1024 + 8192);
    cr_assert_eq(stats.objects, 2);
    cr_assert_eq(stats.run_free_bytes, 15 * 1024);
    cr_assert_eq(stats.free_bytes, 4 * MIB - 1024 - 8192);
    release(arena, a);
    release(arena, b);
    stats = support_stats(arena);
    cr_assert_eq(stats.allocated_bytes, 0);
    cr_assert_eq(stats.free_bytes, 4 * MIB);
    support_end(arena);
}

/* The pages of a large object are there for the next one, as far as that was allowed. */
Test(arena, keeps_long_segments_as_told)
{
    struct arena *arena = create();
    void *ptr;
    release(arena, support_alloc(arena, 80 * MIB, 64, &ptr));
    cr_assert_eq(support_take(arena, false), 80 * MIB);
    arena_keep(arena, 100 * MIB);
    release(arena, support_alloc(arena, 80 * MIB, 64, &ptr));
    cr_assert_eq(support_take(arena, false), 0);
    struct arena_stats before = support_stats(arena);
    release(arena, support_alloc(arena, 80 * MIB, 64, &ptr));
    cr_assert_eq(support_stats(arena).segment_bytes, before.segment_bytes,
                 "it serves again");
    struct arena_place two[2];
    for (int i = 0; i < 2; i++) {
        two[i] = support_alloc(arena, 80 * MIB, 64, &ptr);
    }
    for (int i = 0; i < 2; i++) {
        release(arena, two[i]);
    }
    cr_assert_eq(support_take(arena, false), 80 * MIB, "more than may stay");
    cr_assert_eq(support_take(arena, true), 80 * MIB);
    support_end(arena);
}
