/* count_store - does a given number of operations on objects and nothing else, to be counted from
 * outside, as count_tasks does tasks.
 *
 * usage: count_store get|view|put_8|put_1k|put_64k|create|wait|set_1k|set_100k COUNT
 * What was put or created is released, in batches. No task runs, so that there is no worker.
 *
 * Its own functions are named count_*, so that a profile can tell them from the library. */
#include <mobula.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum { WARM_UP = 512, BATCH = 64, WAITED = 1000, SET_MAX = 100000 };

static struct mob *mob;
static mob_ref refs[WAITED];
static unsigned char bytes[64 << 10];

static void count_release(unsigned long count)
{
    for (unsigned long i = 0; i < count; i++) {
        mob_release(mob, refs[i]);
    }
}

__attribute__((noinline)) static void count_get(unsigned long count)
{
    uint64_t x;
    for (unsigned long i = 0; i < count; i++) {
        MOB_CHECK(mob_get_copy(mob, refs[0], &x, sizeof x, 0));
    }
}

__attribute__((noinline)) static void count_view(unsigned long count)
{
    struct mob_view view;
    for (unsigned long i = 0; i < count; i++) {
        MOB_CHECK(mob_get(mob, refs[0], 0, &view));
        mob_view_release(mob, &view);
    }
}

__attribute__((noinline)) static void count_put(unsigned long count, size_t size)
{
    for (unsigned long i = 0; i < count; i++) {
        MOB_CHECK(mob_put(mob, bytes, size, 0, &refs[i % BATCH]));
        if (i % BATCH == BATCH - 1) {
            count_release(BATCH);
        }
    }
    count_release(count % BATCH);
}

__attribute__((noinline)) static void count_create(unsigned long count)
{
    void *data;
    for (unsigned long i = 0; i < count; i++) {
        MOB_CHECK(mob_create(mob, 1024, 0, &refs[i % BATCH], &data));
        MOB_CHECK(mob_seal(mob, refs[i % BATCH]));
        if (i % BATCH == BATCH - 1) {
            count_release(BATCH);
        }
    }
    count_release(count % BATCH);
}

/* @count ids in all. */
__attribute__((noinline)) static void count_wait(unsigned long count)
{
    static unsigned char ready[WAITED];
    size_t found;
    for (unsigned long i = 0; i < count; i += WAITED) {
        MOB_CHECK(mob_wait(mob, refs, WAITED, WAITED, 0, ready, &found));
    }
}

/* One of @size ids in a set comes, is released, and another one takes its place. */
__attribute__((noinline)) static void count_set(unsigned long count, unsigned long size)
{
    static mob_ref in_set[SET_MAX];
    struct mob_waitset *set;
    void *data;
    MOB_CHECK(mob_waitset_create(mob, &set));
    for (unsigned long i = 0; i < size + count; i++) {
        mob_ref *ref = &in_set[i % size];
        uint64_t tag;
        if (i >= size) {
            MOB_CHECK(mob_seal(mob, *ref));
            MOB_CHECK(mob_waitset_next(set, 0, NULL, &tag));
            mob_release(mob, *ref);
        }
        MOB_CHECK(mob_create(mob, 8, 0, ref, &data));
        MOB_CHECK(mob_waitset_add(set, *ref, i));
    }
    for (unsigned long i = 0; i < size; i++) {
        mob_abort(mob, in_set[i]);
    }
    mob_waitset_destroy(set);
}

static int count_run(const char *mode, unsigned long count)
{
    if (strcmp(mode, "get") == 0) {
        count_get(count);
    } else if (strcmp(mode, "view") == 0) {
        count_view(count);
    } else if (strcmp(mode, "put_8") == 0) {
        count_put(count, 8);
    } else if (strcmp(mode, "put_1k") == 0) {
        count_put(count, 1024);
    } else if (strcmp(mode, "put_64k") == 0) {
        count_put(count, sizeof bytes);
    } else if (strcmp(mode, "create") == 0) {
        count_create(count);
    } else if (strcmp(mode, "wait") == 0) {
        count_wait(count);
    } else if (strcmp(mode, "set_1k") == 0) {
        count_set(count, 1000);
    } else if (strcmp(mode, "set_100k") == 0) {
        count_set(count, SET_MAX);
    } else {
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct mob_config config = {
        .struct_size = sizeof config, .num_cpus = 1, .job_name = "count_store"};
    unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (count == 0) {
        fprintf(stderr,
                "usage: count_store "
                "get|view|put_8|put_1k|put_64k|create|wait|set_1k|set_100k COUNT\n");
        return 2;
    }
    MOB_CHECK(mob_init(&config, &mob));
    for (int i = 0; i < WAITED; i++) { /* what is got and waited for */
        MOB_CHECK(mob_put(mob, bytes, 8, 0, &refs[i]));
    }
    if (count_run(argv[1], WARM_UP) < 0 || count_run(argv[1], count) < 0) {
        fprintf(stderr, "count_store: no operation '%s'\n", argv[1]);
        return 2;
    }
    mob_shutdown(mob);
    return 0;
}
