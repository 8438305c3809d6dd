/* store_ops.c - one round of each operation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_bench.h"

#define LIMIT_NS ((uint64_t)60 * 1000000000u)
enum { PAIR_OPS = 200000, LINE_COUNT = 256, LINE_STEP = 97, COLD_STEP = 65537 };

/* ---- tasks --------------------------------------------------------------------------------------- */

static mob_status make(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(make);

static mob_status stay(struct mob_task *task)
{
    int cpu;
    MOB_TRY(mob_arg_copy(task, 0, &cpu, sizeof cpu));
    bench_pin(cpu);
    return MOB_OK;
}
MOB_REGISTER(stay);

/* ---- objects by the batch ------------------------------------------------------------------------ */

static void put_all(struct store_bench *b, size_t size, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_put(b->mob, b->bytes, size, MOB_FOREVER, &b->refs[i]));
    }
}

static void release_all(struct store_bench *b, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        mob_release(b->mob, b->refs[i]);
    }
}

/* Results of a worker, sealed there and not looked at here, except the last. */
static void make_all(struct store_bench *b)
{
    uint64_t x;
    for (uint64_t i = 0; i <= LINE_COUNT; i++) {
        MOB_CHECK(mob_submit(b->mob, make, MOB_ARGS(MOB_VALUE(i)), NULL, &b->refs[i]));
    }
    MOB_CHECK(mob_get_copy(b->mob, b->refs[LINE_COUNT], &x, sizeof x, LIMIT_NS));
}

static void check(uint64_t got, uint64_t want)
{
    if (got != want) {
        fprintf(stderr, "store_bench: an object has other bytes than were put\n");
        exit(1);
    }
}

/* ---- rounds -------------------------------------------------------------------------------------- */

static uint64_t get_hot(struct store_bench *b, size_t size, uint64_t count)
{
    uint64_t x = 0, sum = 0;
    put_all(b, size, 1);
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_get_copy(b->mob, b->refs[0], &x, sizeof x, 0));
        sum += x;
    }
    uint64_t ns = floor_now_ns() - start;
    check(sum, count * x);
    release_all(b, 1);
    return ns;
}

static uint64_t view_hot(struct store_bench *b, size_t size, uint64_t count)
{
    struct mob_view view;
    put_all(b, size, 1);
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_get(b->mob, b->refs[0], 0, &view));
        mob_view_release(b->mob, &view);
    }
    uint64_t ns = floor_now_ns() - start;
    release_all(b, 1);
    return ns;
}

/* In the order of the floor, one that no prefetcher follows, and each of what the one before gave. */
static uint64_t get_dirty(struct store_bench *b, size_t size, uint64_t count)
{
    uint64_t x, sum = 0, at = 0;
    (void)size;
    make_all(b);
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_get_copy(b->mob, b->refs[at], &x, sizeof x, 0));
        sum += x;
        at = (x + LINE_STEP) % LINE_COUNT;
    }
    uint64_t ns = floor_now_ns() - start;
    check(sum, count * (count - 1) / 2);
    release_all(b, LINE_COUNT + 1);
    return ns;
}

static uint64_t view_dirty(struct store_bench *b, size_t size, uint64_t count)
{
    uint64_t sum = 0, at = 0;
    struct mob_view view;
    (void)size;
    make_all(b);
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_get(b->mob, b->refs[at], 0, &view));
        uint64_t x = *(const uint64_t *)view.data;
        mob_view_release(b->mob, &view);
        sum += x;
        at = (x + LINE_STEP) % LINE_COUNT;
    }
    uint64_t ns = floor_now_ns() - start;
    check(sum, count * (count - 1) / 2);
    release_all(b, LINE_COUNT + 1);
    return ns;
}

static uint64_t get_cold(struct store_bench *b, size_t size, uint64_t count)
{
    uint64_t x, first, sum = 0, start = floor_now_ns();
    (void)size;
    memcpy(&first, b->bytes, sizeof first);
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_get_copy(b->mob, b->cold[b->cold_at], &x, sizeof x, 0));
        sum += x;
        b->cold_at = (b->cold_at + COLD_STEP + (x - first)) % COLD_OBJECTS;
    }
    uint64_t ns = floor_now_ns() - start;
    check(sum, count * first);
    return ns;
}

static uint64_t put(struct store_bench *b, size_t size, uint64_t count)
{
    uint64_t start = floor_now_ns();
    put_all(b, size, count);
    uint64_t ns = floor_now_ns() - start;
    release_all(b, count);
    return ns;
}

/* Nothing of such a size has been there since the last time, or it went back to the machine. */
/* Whoever asks for more than there is gives back first what he does not use. */
static void give_all_back(struct store_bench *b)
{
    struct mob_info info = {.struct_size = sizeof info};
    mob_ref ref;
    void *data;
    MOB_CHECK(mob_get_info(b->mob, &info));
    if (mob_create(b->mob, info.store_bytes, 0, &ref, &data) == MOB_OK) {
        mob_abort(b->mob, ref);
    }
}

static uint64_t put_cold(struct store_bench *b, size_t size, uint64_t count)
{
    give_all_back(b);
    return put(b, size, count);
}

/* Just after one of the same size was released. */
static uint64_t put_recycled(struct store_bench *b, size_t size, uint64_t count)
{
    put_all(b, size, count);
    release_all(b, count);
    return put(b, size, count);
}

/* Into memory that is there: made before, filled and sealed in the time. */
static uint64_t fill(struct store_bench *b, size_t size, uint64_t count)
{
    static void *data[BATCH_MAX];
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_create(b->mob, size, MOB_FOREVER, &b->refs[i], &data[i]));
    }
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        memcpy(data[i], b->bytes, size);
        MOB_CHECK(mob_seal(b->mob, b->refs[i]));
    }
    uint64_t ns = floor_now_ns() - start;
    release_all(b, count);
    return ns;
}

static uint64_t create_seal(struct store_bench *b, size_t size, uint64_t count)
{
    void *data;
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        MOB_CHECK(mob_create(b->mob, size, MOB_FOREVER, &b->refs[i], &data));
        MOB_CHECK(mob_seal(b->mob, b->refs[i]));
    }
    uint64_t ns = floor_now_ns() - start;
    release_all(b, count);
    return ns;
}

static uint64_t release(struct store_bench *b, size_t size, uint64_t count)
{
    put_all(b, size, count);
    uint64_t start = floor_now_ns();
    release_all(b, count);
    return floor_now_ns() - start;
}

static uint64_t wait_all(struct store_bench *b, size_t size, uint64_t count)
{
    static unsigned char ready[BATCH_MAX];
    size_t found;
    put_all(b, size, count);
    uint64_t start = floor_now_ns();
    MOB_CHECK(mob_wait(b->mob, b->refs, count, count, 0, ready, &found));
    uint64_t ns = floor_now_ns() - start;
    check(found, count);
    release_all(b, count);
    return ns;
}

#define LARGE SIZE_MAX

const struct store_op store_ops[] = {
    {"get, hot", get_hot, 8, 1000, LINE, {0, 0}},
    {"get, dirty in another core", get_dirty, 8, LINE_COUNT, LINE, {.most = 4}},
    {"get, cold", get_cold, 8, 2000, COLD, {0, 0}},
    {"view and release, hot", view_hot, 8, 1000, LINE, {0, 0}},
    {"view and release, dirty", view_dirty, 8, LINE_COUNT, LINE, {.most = 4}},
    {"put, 8 B", put, 8, 32, LINE, {0, 0}},
    {"put, 1 KiB", put, 1024, 32, COPY_AND_LINE, {.most = 2}},
    {"put, 64 KiB", put, 64 << 10, 8, COPY, {0, 0}},
    {"put, 1 MiB", put, 1 << 20, 4, COPY, {0, 0}},
    {"put, large, cold", put_cold, LARGE, 1, COPY, {0, 0}},
    {"put, large, pre-faulted", fill, LARGE, 1, COPY, {.least = 0.95}},
    {"put, large, recycled", put_recycled, LARGE, 1, COPY, {0, 0}},
    {"create and seal, 1 KiB", create_seal, 1024, 32, LINE, {0, 0}},
    {"create and seal, 1 MiB", create_seal, 1 << 20, 4, LINE, {0, 0}},
    {"release, 8 B", release, 8, 256, LINE, {0, 0}},
    {"release, 1 KiB", release, 1024, 256, LINE, {0, 0}},
    {"wait on 1,000 ids, each", wait_all, 8, 1000, LINE, {0, 0}},
    {"socket: put, 1 KiB", server_put, 1024, 32, COPY_AND_LINE, {0, 0}},
    {"socket: get and release", server_get, 1024, 32, LINE, {0, 0}},
};
const size_t store_ops_count = sizeof store_ops / sizeof store_ops[0];

void store_ops_prepare(struct store_bench *b, int cpu)
{
    mob_ref done;
    size_t size;
    MOB_CHECK(mob_submit(b->mob, stay, MOB_ARGS(MOB_VALUE(cpu)), NULL, &done));
    MOB_CHECK(mob_get_size(b->mob, done, LIMIT_NS, &size));
    mob_release(b->mob, done);
    b->cold = calloc(COLD_OBJECTS, sizeof *b->cold);
    if (!b->cold) {
        fprintf(stderr, "store_bench: no memory\n");
        exit(1);
    }
    for (size_t i = 0; i < COLD_OBJECTS; i++) {
        MOB_CHECK(mob_put(b->mob, b->bytes, 8, MOB_FOREVER, &b->cold[i]));
    }
}

void store_ops_end(struct store_bench *b)
{
    for (size_t i = 0; i < COLD_OBJECTS; i++) {
        mob_release(b->mob, b->cold[i]);
    }
    free(b->cold);
}

/* ---- one process, and two at once ---------------------------------------------------------------- */

/* Put, get and release of an object of 1 KiB. Nanoseconds of one. */
static mob_status cycle(struct mob *mob, const void *bytes, uint64_t count, double *ret)
{
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        struct mob_view view;
        mob_ref ref;
        MOB_TRY(mob_put(mob, bytes, 1024, MOB_FOREVER, &ref));
        MOB_TRY(mob_get(mob, ref, 0, &view));
        mob_view_release(mob, &view);
        mob_release(mob, ref);
    }
    *ret = (double)(floor_now_ns() - start) / (double)count;
    return MOB_OK;
}

/* Views of one object. */
static mob_status read_one(struct mob *mob, mob_ref ref, uint64_t count, double *ret)
{
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        struct mob_view view;
        MOB_TRY(mob_get(mob, ref, 0, &view));
        mob_view_release(mob, &view);
    }
    *ret = (double)(floor_now_ns() - start) / (double)count;
    return MOB_OK;
}

static mob_status cycle_there(struct mob_task *task)
{
    static unsigned char bytes[1024];
    double ns;
    MOB_TRY(cycle(mob_task_mob(task), bytes, PAIR_OPS, &ns));
    return mob_return_copy(task, 0, &ns, sizeof ns);
}
MOB_REGISTER(cycle_there);

static mob_status read_there(struct mob_task *task)
{
    mob_ref ref;
    double ns;
    MOB_TRY(mob_arg_copy(task, 0, &ref, sizeof ref));
    MOB_TRY(read_one(mob_task_mob(task), ref, PAIR_OPS, &ns));
    return mob_return_copy(task, 0, &ns, sizeof ns);
}
MOB_REGISTER(read_there);

static double collect(struct store_bench *b, mob_ref ref)
{
    double ns;
    MOB_CHECK(mob_get_copy(b->mob, ref, &ns, sizeof ns, LIMIT_NS));
    mob_release(b->mob, ref);
    return ns;
}

static double run_there(struct store_bench *b, mob_fn fn, mob_ref object)
{
    mob_ref task;
    MOB_CHECK(mob_submit(b->mob, fn, MOB_ARGS(MOB_VALUE(object)), NULL, &task));
    return collect(b, task);
}

/* One process, the other one, and both: they begin at about the same time, and what they do lasts a
 * thousand times longer than what they differ by. */
void store_pairs(struct store_bench *b, struct store_pair ret[STORE_PAIRS])
{
    double here = 0, there;
    mob_ref task, object;
    MOB_CHECK(mob_put(b->mob, b->bytes, 1024, MOB_FOREVER, &object));
    for (int i = 0; i < STORE_PAIRS; i++) {
        mob_fn fn = i ? read_there : cycle_there;
        ret[i].name = i ? "view and release, one object" : "put, view, release, 1 KiB";
        for (int both = 0; both < 2; both++) {
            if (both) {
                MOB_CHECK(
                    mob_submit(b->mob, fn, MOB_ARGS(MOB_VALUE(object)), NULL, &task));
            }
            MOB_CHECK(i ? read_one(b->mob, object, PAIR_OPS, &here)
                        : cycle(b->mob, b->bytes, PAIR_OPS, &here));
            there = both ? collect(b, task) : run_there(b, fn, object);
            bench_keep_best((here + there) / 2,
                            both ? &ret[i].both_ns : &ret[i].alone_ns);
        }
    }
    mob_release(b->mob, object);
}
