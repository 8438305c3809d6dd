/* Objects beyond put and get: how they are aligned, made shorter, looked for, and what their bytes are. */
#include "api.h"

#define TWO_MIB (2ul << 20)

static struct mob_meta matrix(uint64_t rows, uint64_t columns)
{
    struct mob_meta m = {.struct_size = sizeof m,
                         .type = MOB_TYPE_FLOAT,
                         .item_bytes = sizeof(double),
                         .dims = 2};
    m.shape[0] = rows;
    m.shape[1] = columns;
    return m;
}

static void check_matrix(const struct mob_meta *m, uint64_t rows, uint64_t columns)
{
    EQ(m->type, MOB_TYPE_FLOAT);
    EQ(m->item_bytes, sizeof(double));
    EQ(m->dims, 2);
    EQ(m->shape[0], rows);
    EQ(m->shape[1], columns);
    EQ(m->shape[2], 0);
}

static struct mob_meta empty_meta(void)
{
    struct mob_meta m = {.struct_size = sizeof m};
    return m;
}

/* ---- alignment -------------------------------------------------------------------------------------------- */

/* 0 if argument 0 is aligned to argument 1. */
static mob_status misfit(struct mob_task *task)
{
    const void *data;
    size_t size;
    uint64_t align;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    MOB_TRY(mob_arg_copy(task, 1, &align, sizeof align));
    uint64_t off = (uintptr_t)data % align;
    return mob_return_copy(task, 0, &off, sizeof off);
}
MOB_REGISTER(misfit);

static void one_aligned(struct mob *mob, size_t size, uint64_t align)
{
    struct mob_object_options how = MOB_OBJECT_OPTIONS_INIT;
    struct mob_view view;
    mob_ref ref, task;
    void *data;
    uint64_t off = 1;
    how.align = align;
    OK(mob_create_as(mob, size, &how, 10 * SEC, &ref, &data));
    CHECK((uintptr_t)data % align == 0);
    memset(data, 0x5a, size);
    OK(mob_seal(mob, ref));
    OK(mob_get(mob, ref, 0, &view));
    EQ(view.size, size);
    CHECK((uintptr_t)view.data % align == 0);
    CHECK(size == 0 || ((const char *)view.data)[size - 1] == 0x5a);
    mob_view_release(mob, &view);
    /* In another process too. */
    OK(mob_submit(mob, misfit, MOB_ARGS(MOB_REF(ref), MOB_VALUE(align)), NULL, &task));
    OK(mob_get_copy(mob, task, &off, sizeof off, MOB_FOREVER));
    EQ(off, 0);
    mob_release(mob, task);
    mob_release(mob, ref);
}

static void aligned_objects(void)
{
    static const size_t sizes[] = {1, 8, 100, 129, 4096, 33000, 3u << 20, 20u << 20};
    static const uint64_t aligns[] = {8, 64, 128, 4096, TWO_MIB};
    struct mob *mob = api_init_with(2, 256u << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t k = 0; k < sizeof aligns / sizeof aligns[0]; k++) {
            one_aligned(mob, sizes[i], aligns[k]);
        }
    }
    struct mob_object_options how = MOB_OBJECT_OPTIONS_INIT;
    mob_ref ref;
    how.align = 3;
    IS(mob_put_as(mob, "x", 1, &how, 0, &ref), MOB_ERR_INVALID);
    how.align = 2 * TWO_MIB;
    IS(mob_put_as(mob, "x", 1, &how, 0, &ref), MOB_ERR_INVALID);
    how.align = 0;
    how.struct_size = 3;
    IS(mob_put_as(mob, "x", 1, &how, 0, &ref), MOB_ERR_INVALID);
    mob_shutdown(mob);
}

/* More than the store has: the first ones go to disk, and come back as they were asked for. */
static void aligned_after_the_disk(void)
{
    enum { COUNT = 40, BYTES = 3 << 20 };
    struct mob *mob = api_init_with(1, 96u << 20);
    mob_ref refs[COUNT];
    for (int i = 0; i < COUNT; i++) {
        struct mob_object_options how = MOB_OBJECT_OPTIONS_INIT;
        void *data;
        how.align = i % 2 ? TWO_MIB : 4096;
        mob_status st = mob_create_as(mob, BYTES, &how, 10 * SEC, &refs[i], &data);
        if (st == MOB_ERR_NOMEM) {
            printf("no folder for objects on disk: %s\n", mob_last_error());
            mob_shutdown(mob);
            exit(API_SKIP);
        }
        OK(st);
        CHECK((uintptr_t)data % how.align == 0);
        memset(data, i, BYTES);
        OK(mob_seal(mob, refs[i]));
    }
    for (int i = 0; i < COUNT; i++) {
        struct mob_view view;
        OK(mob_get(mob, refs[i], 20 * SEC, &view));
        EQ(((const unsigned char *)view.data)[BYTES - 1], i);
        CHECK((uintptr_t)view.data % (i % 2 ? TWO_MIB : 4096) == 0);
        mob_view_release(mob, &view);
    }
    mob_shutdown(mob);
}

/* ---- shorter, there or not ----------------------------------------------------------------------------------- */

static void one_shrunk(struct mob *mob, size_t size, size_t keep)
{
    struct mob_view view;
    mob_ref ref;
    void *data;
    OK(mob_create(mob, size, 10 * SEC, &ref, &data));
    memset(data, 7, size);
    IS(mob_shrink(mob, ref, size + 1), MOB_ERR_SIZE);
    OK(mob_shrink(mob, ref, keep));
    CHECK(!mob_contains(mob, ref));
    OK(mob_seal(mob, ref));
    CHECK(mob_contains(mob, ref));
    IS(mob_shrink(mob, ref, 0), MOB_ERR_STATE);
    OK(mob_get(mob, ref, 0, &view));
    EQ(view.size, keep);
    for (size_t i = 0; i < keep; i += 997) {
        EQ(((const char *)view.data)[i], 7);
    }
    mob_view_release(mob, &view);
    mob_release(mob, ref);
    CHECK(!mob_contains(mob, ref));
}

static void objects_get_shorter(void)
{
    static const size_t sizes[] = {0,    1,      100,      128,      129,
                                   4096, 100000, 9u << 20, 40u << 20};
    struct mob *mob = api_init_with(2, 256u << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        one_shrunk(mob, sizes[i], 0);
        one_shrunk(mob, sizes[i], sizes[i] / 2);
        one_shrunk(mob, sizes[i], sizes[i]);
    }
    mob_shutdown(mob);
}

/* What is cut off can be used again before the object goes: two of 10 MiB do not fit into this store, and
 * one of 10 MiB of which 1 is kept does beside another of 10. */
static void the_rest_is_free(void)
{
    struct mob *mob = api_init_with(1, 24u << 20);
    mob_ref first, second;
    void *data;
    OK(mob_create(mob, 12u << 20, 0, &first, &data));
    IS(mob_create(mob, 12u << 20, 0, &second, &data), MOB_ERR_NOMEM);
    OK(mob_shrink(mob, first, 1000));
    OK(mob_create(mob, 11u << 20, 0, &second, &data));
    mob_abort(mob, second);
    OK(mob_seal(mob, first));
    mob_shutdown(mob);
}

static mob_status fails(struct mob_task *task)
{
    return mob_fail(task, "as it should");
}
MOB_REGISTER(fails);

static void contained_or_not(void)
{
    struct mob *mob = api_init();
    mob_ref ref, nothing = {0, 0}, made_up = {12345, 1ull << 32};
    mob_ref task;
    unsigned char ready;
    CHECK(!mob_contains(mob, nothing) && !mob_contains(mob, made_up));
    OK(mob_put(mob, "", 0, 0, &ref));
    CHECK(mob_contains(mob, ref));
    mob_ref second = ref;
    second.lo |= 1; /* a result that there is not */
    CHECK(!mob_contains(mob, second));
    OK(mob_submit(mob, fails, MOB_NO_ARGS, NULL, &task));
    OK(mob_wait(mob, &task, 1, 1, MOB_FOREVER, &ready, NULL));
    CHECK(!mob_contains(mob, task));
    mob_release(mob, ref);
    CHECK(!mob_contains(mob, ref));
    mob_shutdown(mob);
}

/* ---- metadata ------------------------------------------------------------------------------------------------ */

static void metadata_of_puts(void)
{
    struct mob *mob = api_init();
    struct mob_object_options how = MOB_OBJECT_OPTIONS_INIT;
    struct mob_meta m = matrix(3, 4), got = empty_meta();
    double values[3][4] = {{1}};
    mob_ref ref;
    void *data;
    how.meta = &m;
    OK(mob_put_as(mob, values, sizeof values, &how, 0, &ref));
    OK(mob_get_meta(mob, ref, 0, &got));
    check_matrix(&got, 3, 4);
    mob_release(mob, ref);
    IS(mob_get_meta(mob, ref, 0, &got), MOB_ERR_RELEASED);
    /* A shape that is not what is there. */
    IS(mob_put_as(mob, values, sizeof values - 8, &how, 0, &ref), MOB_ERR_SIZE);
    m.shape[0] = 1ull << 62;
    IS(mob_put_as(mob, values, sizeof values, &how, 0, &ref), MOB_ERR_SIZE);
    m = matrix(1, 1);
    m.dims = MOB_DIMS_MAX + 1;
    IS(mob_put_as(mob, values, sizeof values, &how, 0, &ref), MOB_ERR_INVALID);
    /* Large, made in place, shortened, and said only then. */
    OK(mob_create(mob, 1u << 20, 10 * SEC, &ref, &data));
    m = matrix(128, 1024);
    OK(mob_set_meta(mob, ref, &m));
    OK(mob_shrink(mob, ref, 1u << 19));
    IS(mob_set_meta(mob, ref, &m), MOB_ERR_SIZE);
    m = matrix(64, 1024);
    OK(mob_set_meta(mob, ref, &m));
    OK(mob_seal(mob, ref));
    IS(mob_set_meta(mob, ref, &m), MOB_ERR_STATE);
    OK(mob_get_meta(mob, ref, 0, &got));
    check_matrix(&got, 64, 1024);
    mob_release(mob, ref);
    /* None, of a record that had some; and too often. */
    for (int i = 0; i < 200; i++) {
        OK(mob_put(mob, "plain", 5, 0, &ref));
        IS(mob_get_meta(mob, ref, 0, &got), MOB_ERR_NOT_FOUND);
        mob_release(mob, ref);
    }
    OK(mob_create(mob, 8, 0, &ref, &data));
    m = matrix(1, 1);
    mob_status st = MOB_OK;
    int times = 0;
    for (; !(st = mob_set_meta(mob, ref, &m)); times++) {
    }
    IS(st, MOB_ERR_FULL);
    CHECK(times > 2);
    OK(mob_seal(mob, ref));
    mob_shutdown(mob);
}

/* Result 0: a matrix of as many rows as its argument says; result 1: none; result 2: a text. */
static mob_status three(struct mob_task *task)
{
    uint64_t rows;
    struct mob_meta m, text = {.struct_size = sizeof text, .type = MOB_TYPE_TEXT};
    void *data;
    MOB_TRY(mob_arg_copy(task, 0, &rows, sizeof rows));
    m = matrix(rows, 2);
    MOB_TRY(mob_return_place(task, 0, rows * 16, &data));
    memset(data, 0, rows * 16);
    MOB_TRY(mob_return_meta(task, 2, &text));
    MOB_TRY(mob_return_meta(task, 0, &m));
    MOB_TRY(mob_return_copy(task, 1, &rows, sizeof rows));
    return mob_return_copy(task, 2, "words", 5);
}
MOB_REGISTER(three);

/* Its argument, as it is; says of it what the argument says. */
static mob_status pass(struct mob_task *task)
{
    mob_ref inner;
    uint64_t rows = 5;
    struct mob_options three_results = MOB_OPTIONS_INIT;
    mob_ref refs[3];
    struct mob_meta m = empty_meta();
    three_results.returns = 3;
    MOB_TRY(mob_arg_meta(task, 0, &m));
    check_matrix(&m, 2, 2);
    IS(mob_arg_meta(task, 1, &m), MOB_ERR_NOT_FOUND);
    IS(mob_return_meta(task, 3, &m), MOB_ERR_INVALID);
    MOB_TRY(mob_submit(mob_task_mob(task), three, MOB_ARGS(MOB_VALUE(rows)),
                       &three_results, refs));
    inner = refs[0];
    MOB_TRY(mob_return_ref(task, 0, inner));
    MOB_TRY(mob_return_ref(task, 1, refs[1]));
    return mob_return_copy(task, 2, "", 0);
}
MOB_REGISTER(pass);

static void metadata_of_results(void)
{
    struct mob *mob = api_init();
    struct mob_options options = MOB_OPTIONS_INIT;
    struct mob_meta got = empty_meta();
    mob_ref refs[3], passed[3];
    uint64_t rows = 2, many = 1000;
    options.returns = 3;
    OK(mob_submit(mob, three, MOB_ARGS(MOB_VALUE(rows)), &options, refs));
    OK(mob_get_meta(mob, refs[0], MOB_FOREVER, &got));
    check_matrix(&got, 2, 2);
    IS(mob_get_meta(mob, refs[1], 0, &got), MOB_ERR_NOT_FOUND);
    OK(mob_get_meta(mob, refs[2], 0, &got));
    EQ(got.type, MOB_TYPE_TEXT);
    EQ(got.dims, 0);
    OK(mob_submit(mob, pass, MOB_ARGS(MOB_REF(refs[0]), MOB_VALUE(many)), &options,
                  passed));
    OK(mob_get_meta(mob, passed[0], MOB_FOREVER, &got));
    check_matrix(&got, 5, 2);
    IS(mob_get_meta(mob, passed[1], 0, &got), MOB_ERR_NOT_FOUND);
    for (int i = 0; i < 3; i++) {
        mob_release(mob, refs[i]);
        mob_release(mob, passed[i]);
    }
    OK(mob_submit(mob, three, MOB_ARGS(MOB_VALUE(many)), &options, refs));
    OK(mob_get_meta(mob, refs[0], MOB_FOREVER, &got));
    check_matrix(&got, 1000, 2);
    mob_ref failed;
    OK(mob_submit(mob, fails, MOB_NO_ARGS, NULL, &failed));
    IS(mob_get_meta(mob, failed, MOB_FOREVER, &got), MOB_ERR_TASK_FAILED);
    mob_shutdown(mob);
}

/* The first attempt says one thing and fails, the second says nothing. */
static mob_status changes_its_mind(struct mob_task *task)
{
    char path[256] = "";
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    memcpy(path, data, size);
    struct mob_meta m = matrix(1, 1);
    if (access(path, F_OK) != 0) {
        MOB_TRY(mob_return_meta(task, 0, &m));
        fclose(fopen(path, "we"));
        return mob_fail(task, "once");
    }
    return mob_return_copy(task, 0, path, 8);
}
MOB_REGISTER(changes_its_mind);

static void of_the_attempt_that_counts(void)
{
    struct mob *mob = api_init();
    struct mob_options options = MOB_OPTIONS_INIT;
    struct mob_meta got = empty_meta();
    char path[256], bytes[8];
    mob_ref ref;
    snprintf(path, sizeof path, "%s/once", getenv("API_SCRATCH"));
    options.retry_on_error = 1;
    OK(mob_submit(mob, changes_its_mind, MOB_ARGS(MOB_BYTES(path, strlen(path))),
                  &options, &ref));
    OK(mob_get_copy(mob, ref, bytes, sizeof bytes, MOB_FOREVER));
    IS(mob_get_meta(mob, ref, 0, &got), MOB_ERR_NOT_FOUND);
    mob_shutdown(mob);
}

API_MAIN({"aligned_objects", aligned_objects, 60},
         {"aligned_after_the_disk", aligned_after_the_disk, 120},
         {"objects_get_shorter", objects_get_shorter, 60},
         {"the_rest_is_free", the_rest_is_free, 0},
         {"contained_or_not", contained_or_not, 0},
         {"metadata_of_puts", metadata_of_puts, 0},
         {"metadata_of_results", metadata_of_results, 0},
         {"of_the_attempt_that_counts", of_the_attempt_that_counts, 0});
