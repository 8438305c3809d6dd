/* The arena against a model that knows every byte, and long mixes of sizes and lifetimes.
 */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena_support.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static uint64_t random_state;

static uint64_t draw(void)
{
    random_state += 0x9e3779b97f4a7c15ull;
    uint64_t x = random_state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* Every power of two is as likely as every other. */
static size_t draw_size(unsigned log_max)
{
    unsigned log = (unsigned)(draw() % (log_max + 1));
    return ((size_t)1 << log) + draw() % ((size_t)1 << log);
}

/* ---- the model ----------------------------------------------------------------- */

enum { MODEL_OBJECTS = 400 };

struct object {
    struct arena_place place;
    size_t size, align;
};

static struct object objects[MODEL_OBJECTS];
static unsigned objects_n;
static struct arena_batch batches[ARENA_BATCH_CLASSES];

/* What they have left, in slots. */
static unsigned batched(void)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < ARENA_BATCH_CLASSES; i++) {
        sum += (unsigned)__builtin_popcountll(batches[i].left);
    }
    return sum;
}

static struct arena_place batch_alloc(struct arena *arena, size_t size)
{
    struct arena_batch *batch = &batches[arena_class(size)];
    struct arena_place place;
    if (!batch->left && arena_batch_fill(arena, size, batch) == MOB_ERR_NOMEM) {
        support_grant(arena, arena_grant_size(arena, size));
        cr_assert_eq(arena_batch_fill(arena, size, batch), MOB_OK);
    }
    cr_assert_not_null(arena_batch_take(batch, size, &place));
    return place;
}

static void model_alloc(struct arena *arena)
{
    static const size_t aligns[] = {64, 64, 64, 64, 64, 4096, 2 * MIB};
    void *ptr;
    struct object object = {.size = draw_size(24)};
    object.align = aligns[draw() % (sizeof aligns / sizeof *aligns)];
    object.place = arena_batched(object.size, object.align) && draw() % 2
                       ? batch_alloc(arena, object.size)
                       : support_alloc(arena, object.size, object.align, &ptr);
    uint64_t begin = object.place.offset,
             end = begin + arena_place_size(arena, object.place);
    cr_assert_eq(begin % object.align, 0);
    cr_assert_geq(end - begin, object.size);
    for (unsigned i = 0; i < objects_n; i++) {
        const struct object *other = &objects[i];
        cr_assert(
            other->place.segment != object.place.segment || other->place.offset >= end ||
                other->place.offset + arena_place_size(arena, other->place) <= begin,
            "places overlap");
    }
    objects[objects_n++] = object;
}

static void model_free(struct arena *arena, unsigned i)
{
    struct arena_place place = objects[i].place;
    cr_assert_eq(arena_free(arena, place), MOB_OK, "%s", mob_last_error());
    cr_assert_eq(arena_free(arena, place), MOB_ERR_CORRUPT, "freed twice");
    objects[i] = objects[--objects_n];
}

/* A made-up place is refused unless it is by chance an object's. */
static void model_bad_free(struct arena *arena)
{
    struct arena_place place = objects[draw() % objects_n].place;
    switch (draw() % 4) {
    case 0:
        place.offset += 64 * (1 + draw() % 100);
        break;
    case 1:
        place.offset = draw() % (64 * MIB) & ~63ull;
        break;
    case 2:
        place.offset = draw();
        break;
    default:
        place.segment ^= (uint32_t)draw() % 8;
    }
    for (unsigned i = 0; i < objects_n; i++) {
        if (!memcmp(&objects[i].place.offset, &place.offset, sizeof place.offset) &&
            objects[i].place.segment == place.segment) {
            return;
        }
    }
    /* What a batch has left is allocated. */
    for (unsigned i = 0; i < ARENA_BATCH_CLASSES; i++) {
        if (batches[i].left && batches[i].segment == place.segment) {
            return;
        }
    }
    cr_assert_eq(arena_free(arena, place), MOB_ERR_CORRUPT);
}

static void model_shrink(struct arena *arena)
{
    struct object *object = &objects[draw() % objects_n];
    object->size = draw() % (object->size + 1);
    cr_assert_eq(arena_shrink(arena, object->place, object->size), MOB_OK);
    cr_assert_geq(arena_place_size(arena, object->place), object->size);
}

static void model_run(uint64_t seed, unsigned steps)
{
    struct arena *arena;
    cr_assert_eq(arena_create(&arena), MOB_OK);
    random_state = seed;
    objects_n = 0;
    unsigned target = 0;
    for (unsigned step = 0; step < steps; step++) {
        if (step % 500 == 0) {
            target = (unsigned)(draw() % MODEL_OBJECTS); /* it fills and drains */
        }
        unsigned what = (unsigned)(draw() % 20);
        if (objects_n > 0 && what == 0) {
            model_shrink(arena);
        } else if (objects_n > 0 && what == 1) {
            model_bad_free(arena);
        } else if (what == 2) {
            support_take(arena, draw() % 2);
        } else if (what == 3) {
            arena_batch_return(arena, &batches[draw() % ARENA_BATCH_CLASSES]);
        } else if (objects_n < MODEL_OBJECTS &&
                   (objects_n == 0 || draw() % MODEL_OBJECTS < target)) {
            model_alloc(arena);
        } else {
            model_free(arena, (unsigned)(draw() % objects_n));
        }
        cr_assert_eq(arena_check(arena), MOB_OK, "seed %llu step %u: %s",
                     (unsigned long long)seed, step, mob_last_error());
        cr_assert_eq(support_stats(arena).objects, objects_n + batched());
    }
    for (unsigned i = 0; i < ARENA_BATCH_CLASSES; i++) {
        arena_batch_return(arena, &batches[i]);
    }
    while (objects_n > 0) {
        model_free(arena, objects_n - 1);
    }
    support_check(arena);
    support_end(arena);
}

Test(arena_model, random_operations_agree_with_the_model)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        model_run(seed, 3000);
    }
}

/* ---- fragmentation ------------------------------------------------------------- */

enum { SOAK_OBJECTS = 200000, SOAK_STEPS = 500000 };

static struct arena_place soak[SOAK_OBJECTS];
static unsigned soak_n;
static const size_t SOAK_BYTES = 512 << 20;

/* A store of fixed size: no more is granted. */
static bool soak_alloc(struct arena *arena, size_t size)
{
    void *ptr;
    return soak_n < SOAK_OBJECTS &&
           arena_alloc(arena, size, 64, &soak[soak_n], &ptr) == MOB_OK && ++soak_n;
}

static void soak_free(struct arena *arena, unsigned i)
{
    cr_assert_eq(arena_free(arena, soak[i]), MOB_OK);
    soak[i] = soak[--soak_n];
}

/* Mixed sizes at random lifetimes in a full store: whenever something does not fit,
 * something else, chosen at random, must go. Returns how full it was on average since the
 * middle. */
static double soak_run(struct arena *arena, unsigned log_max)
{
    double full = 0;
    unsigned samples = 0;
    for (unsigned step = 0; step < SOAK_STEPS; step++) {
        size_t size = draw_size(log_max);
        while (!soak_alloc(arena, size)) {
            cr_assert_gt(soak_n, 0, "%zu bytes do not fit into an empty store", size);
            soak_free(arena, (unsigned)(draw() % soak_n));
        }
        if (step % 1000 == 0 && step > SOAK_STEPS / 2) {
            struct arena_stats stats;
            arena_get_stats(arena, &stats);
            full += (double)stats.allocated_bytes / (double)stats.segment_bytes;
            samples++;
        }
    }
    return full / samples;
}

static struct arena *soak_create(void)
{
    struct arena *arena;
    cr_assert_eq(arena_create(&arena), MOB_OK);
    for (size_t sum = 0; sum < SOAK_BYTES; sum += 64 * MIB) {
        support_grant(arena, 64 * MIB);
    }
    soak_n = 0;
    random_state = 42;
    return arena;
}

/* Frees all objects but @keep of a thousand, then fills up with @size: the part of the
 * store that is used in the end. */
static double refill(struct arena *arena, unsigned keep, size_t size)
{
    for (unsigned i = soak_n; i-- > 0;) {
        if (draw() % 1000 >= keep) {
            soak_free(arena, i);
        }
    }
    struct arena_place place;
    void *ptr;
    while (arena_alloc(arena, size, 64, &place, &ptr) == MOB_OK) {
    }
    support_check(arena);
    struct arena_stats stats;
    arena_get_stats(arena, &stats);
    return (double)stats.allocated_bytes / (double)stats.segment_bytes;
}

Test(arena_model, a_full_store_stays_full_under_random_lifetimes)
{
    struct arena *arena = soak_create();
    double full = soak_run(arena, 20); /* 1 byte to 2 MiB */
    support_check(arena);
    fprintf(stderr, "soak: %.1f %% of the store in use while something does not fit\n",
            100 * full);
    cr_assert_gt(full, 0.85);
    arena_destroy(arena);
}

/* A kept object blocks up to two places of the new size, however good the allocator: 1 %
 * of the soak's objects are about 35, of which each can cost a place of 2 MiB in 256. */
Test(arena_model, after_a_soak_another_size_can_use_the_store)
{
    static const struct {
        size_t size;
        unsigned keep; /* of a thousand objects */
        double least;
    } cases[] = {
        {64, 10, 0.97},        {1024, 10, 0.97},     {10 * KIB, 10, 0.97},
        {128 * KIB, 10, 0.97}, {2 * MIB, 10, 0.80},  {2 * MIB, 2, 0.90},
        {2 * MIB, 0, 0.999},   {16 * MIB, 0, 0.999},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *arena = soak_create();
        soak_run(arena, 20);
        double used = refill(arena, cases[i].keep, cases[i].size);
        fprintf(stderr, "soak: %.1f %% of objects kept, then %zu bytes: %.1f %% used\n",
                cases[i].keep / 10.0, cases[i].size, 100 * used);
        cr_assert_gt(used, cases[i].least,
                     "only %.1f %% of the store can be used with %zu bytes", 100 * used,
                     cases[i].size);
        arena_destroy(arena);
    }
}

Test(arena_model, after_all_is_freed_half_the_store_can_be_one_object)
{
    struct arena *arena = soak_create();
    soak_run(arena, 20);
    while (soak_n > 0) {
        soak_free(arena, (unsigned)(draw() % soak_n));
    }
    support_check(arena);
    cr_assert_eq(support_stats(arena).idle_bytes, SOAK_BYTES);
    cr_assert_eq(support_take(arena, true), SOAK_BYTES);
    void *ptr;
    struct arena_place place = support_alloc(arena, SOAK_BYTES / 2, 64, &ptr);
    support_check(arena);
    cr_assert_eq(arena_free(arena, place), MOB_OK);
    support_end(arena);
}
