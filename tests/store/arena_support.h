/* arena_support.h - a stand-in for the daemon: grants segments to an arena and takes them
 * back.
 *
 * The arena never touches object bytes, so most tests grant reserved addresses without
 * memory behind them: a store of terabytes costs nothing, and a stray access of the arena
 * faults. */
#ifndef ARENA_SUPPORT_H
#define ARENA_SUPPORT_H

#include <criterion/criterion.h>
#include <sys/mman.h>

#include "store/arena.h"

static uint32_t support_next_segment = 1;

/* Ids with gaps, so that the table of segments sees collisions. */
static inline uint32_t support_grant(struct arena *arena, size_t size)
{
    uint32_t id = support_next_segment;
    support_next_segment += 1 + id % 3 * 977;
    void *base =
        /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
        mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert(base != MAP_FAILED);
    cr_assert_eq(arena_add(arena, id, base, size), MOB_OK);
    return id;
}

/* Returns how many bytes went back. */
static inline size_t support_take(struct arena *arena, bool all)
{
    uint32_t id;
    void *base;
    size_t size, sum = 0;
    while (arena_take_empty(arena, all, &id, &base, &size) == MOB_OK) {
        munmap(base, size);
        sum += size;
    }
    return sum;
}

static inline void support_check(const struct arena *arena)
{
    cr_assert_eq(arena_check(arena), MOB_OK, "%s", mob_last_error());
}

/* Allocates as a client does, with a grant if need be. */
static inline struct arena_place support_alloc(struct arena *arena, size_t size,
                                               size_t align, void **ret_ptr)
{
    struct arena_place place;
    mob_status status = arena_alloc(arena, size, align, &place, ret_ptr);
    if (status == MOB_ERR_NOMEM) {
        support_grant(arena, arena_grant_size(arena, size));
        status = arena_alloc(arena, size, align, &place, ret_ptr);
    }
    cr_assert_eq(status, MOB_OK, "%zu bytes aligned to %zu", size, align);
    return place;
}

static inline struct arena_stats support_stats(const struct arena *arena)
{
    struct arena_stats stats;
    arena_get_stats(arena, &stats);
    return stats;
}

/* Gives everything back; the test has freed all of its places. */
static inline void support_end(struct arena *arena)
{
    support_take(arena, true);
    cr_assert_eq(support_stats(arena).segments, 0);
    arena_destroy(arena);
}

#endif
