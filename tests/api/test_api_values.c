/* Arguments and results: what goes in comes out, whatever its size. */
#include "values.h"

/* Its result is the object whose id it is given. */
static mob_status pass_on(struct mob_task *task)
{
    mob_ref ref;
    MOB_TRY(mob_arg_copy(task, 0, &ref, sizeof ref));
    return mob_return_ref(task, 0, ref);
}
MOB_REGISTER(pass_on);

/* ---- arguments --------------------------------------------------------------------------------------------- */

static void one_value_of_each_size(void)
{
    struct mob *mob = api_init();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        mob_ref ref;
        struct mob_view view;
        size_t size = 99;
        unsigned char *data = malloc(sizes[i] + 1);
        fill(data, sizes[i], (unsigned)i);
        OK(mob_submit(mob, join, MOB_ARGS(MOB_BYTES(data, sizes[i])), NULL, &ref));
        memset(data, 0xee, sizes[i]); /* copied before submit returned */
        OK(mob_get(mob, ref, MOB_FOREVER, &view));
        EQ(view.size, sizes[i]);
        CHECK(same(view.data, view.size, (unsigned)i));
        CHECK((uintptr_t)view.data % (view.size > 128 ? 64 : 8) == 0);
        OK(mob_get_size(mob, ref, 0, &size));
        EQ(size, sizes[i]);
        mob_view_release(mob, &view);
        mob_release(mob, ref);
        free(data);
    }
    mob_shutdown(mob);
}

/* 0 to 16 values of every small size; the larger counts do not fit into a record, so that some spill. */
static void many_values(void)
{
    struct mob *mob = api_init();
    for (size_t size = 0; size <= 130; size += 13) {
        for (size_t n = 0; n <= MOB_ARGS_MAX; n++) {
            unsigned char data[MOB_ARGS_MAX * 130], got[MOB_ARGS_MAX * 130];
            struct mob_arg args[MOB_ARGS_MAX];
            mob_ref ref;
            fill(data, size * n, (unsigned)n);
            for (size_t i = 0; i < n; i++) {
                args[i] = MOB_BYTES(data + i * size, size);
            }
            OK(mob_submit(mob, join, (struct mob_args){n, args}, NULL, &ref));
            OK(mob_get_copy(mob, ref, got, size * n, MOB_FOREVER));
            CHECK(memcmp(data, got, size * n) == 0);
            mob_release(mob, ref);
        }
    }
    mob_shutdown(mob);
}

static void sixteen_ids(void)
{
    struct mob *mob = api_init();
    struct mob_arg args[MOB_ARGS_MAX];
    mob_ref in[MOB_ARGS_MAX], ref;
    int got[MOB_ARGS_MAX];
    for (int i = 0; i < MOB_ARGS_MAX;
         i++) { /* half of them results, half of them objects */
        if (i % 2) {
            OK(mob_submit(mob, join, MOB_ARGS(MOB_VALUE(i)), NULL, &in[i]));
        } else {
            OK(mob_put(mob, &i, sizeof i, MOB_FOREVER, &in[i]));
        }
        args[i] = MOB_REF(in[i]);
    }
    OK(mob_submit(mob, join, (struct mob_args){MOB_ARGS_MAX, args}, NULL, &ref));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        mob_release(mob, in[i]); /* the task holds them */
    }
    OK(mob_get_copy(mob, ref, got, sizeof got, MOB_FOREVER));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        EQ(got[i], i);
    }
    mob_release(mob, ref);
    mob_shutdown(mob);
}

/* One id sixteen times, and ids and values mixed. */
static void same_id_and_mixed(void)
{
    struct mob *mob = api_init();
    struct mob_arg args[MOB_ARGS_MAX];
    mob_ref in, ref;
    long long x = 77, got[MOB_ARGS_MAX];
    OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &in));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        args[i] = MOB_REF(in);
    }
    OK(mob_submit(mob, join, (struct mob_args){MOB_ARGS_MAX, args}, NULL, &ref));
    OK(mob_get_copy(mob, ref, got, sizeof got, MOB_FOREVER));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        EQ(got[i], 77);
    }
    mob_release(mob, ref);
    for (int i = 0; i < 8; i++) {
        args[i] = i % 2 ? MOB_REF(in) : MOB_VALUE((long long)i);
        long long v = i;
        mob_ref one;
        OK(mob_submit(mob, join, MOB_ARGS(MOB_VALUE(v), MOB_REF(in), MOB_VALUE(v)), NULL,
                      &one));
        OK(mob_get_copy(mob, one, got, 24, MOB_FOREVER));
        EQ(got[0], i);
        EQ(got[1], 77);
        EQ(got[2], i);
        mob_release(mob, one);
    }
    mob_release(mob, in);
    mob_shutdown(mob);
}

/* Argument 0: how many bytes each of the others has. All are copied and viewed, twice; of a wrong size
 * they are refused each time. */
static mob_status copy_all(struct mob_task *task)
{
    size_t size[MOB_ARGS_MAX], n = mob_arg_count(task), got;
    unsigned char data[1000];
    const void *view;
    MOB_TRY(mob_arg_copy(task, 0, size, sizeof size));
    for (size_t k = 0; k < 2 * (n - 1); k++) {
        size_t i = 1 + k % (n - 1);
        MOB_TRY(mob_arg_copy(task, i, data, size[i]));
        MOB_TRY(mob_arg(task, i, &view, &got));
        if (!same(data, size[i], 3) || got != size[i] || memcmp(view, data, got) != 0) {
            return mob_fail(task, "argument %zu is wrong", i);
        }
        if (mob_arg_copy(task, i, data, size[i] + 1) != MOB_ERR_SIZE ||
            mob_arg_copy(task, i, data, size[i] - 1) != MOB_ERR_SIZE) {
            return mob_fail(task, "argument %zu has any size", i);
        }
    }
    return mob_arg_copy(task, n, data, 8) == MOB_ERR_INVALID
               ? mob_return_copy(task, 0, &n, sizeof n)
               : mob_fail(task, "there is one more argument");
}
MOB_REGISTER(copy_all);

/* Values, results inside of records and outside, objects, and results that are other objects, side by
 * side in one task, in every order that a rotation gives. */
static void every_kind_copied(void)
{
    struct mob *mob = api_init();
    enum { KINDS = 9 };
    static const size_t bytes[KINDS] = {8, 1, 120, 8, 128, 129, 8, 700, 24};
    unsigned char data[1000];
    fill(data, sizeof data, 3);
    for (size_t turn = 0; turn < KINDS; turn++) {
        struct mob_arg args[KINDS + 1];
        mob_ref made[KINDS] = {{0, 0}}, ref;
        size_t size[MOB_ARGS_MAX] = {0}, n;
        for (size_t k = 0; k < KINDS; k++) {
            size_t kind = (turn + k) % KINDS, len = bytes[kind];
            size[k + 1] = len;
            if (kind == 3 || kind == 4 || kind == 5) {
                OK(mob_submit(mob, join, MOB_ARGS(MOB_BYTES(data, len)), NULL, &made[k]));
            } else if (kind == 6) {
                mob_ref inner;
                OK(mob_put(mob, data, len, MOB_FOREVER, &inner));
                OK(mob_submit(mob, pass_on, MOB_ARGS(MOB_VALUE(inner), MOB_REF(inner)),
                              NULL, &made[k]));
                mob_release(mob, inner);
            } else if (kind > 6) {
                OK(mob_put(mob, data, len, MOB_FOREVER, &made[k]));
            }
            args[k + 1] = made[k].hi ? MOB_REF(made[k]) : MOB_BYTES(data, len);
        }
        args[0] = MOB_BYTES(size, sizeof size);
        OK(mob_submit(mob, copy_all, (struct mob_args){KINDS + 1, args}, NULL, &ref));
        for (size_t k = 0; k < KINDS; k++) {
            if (made[k].hi) {
                mob_release(mob, made[k]);
            }
        }
        OK(mob_get_copy(mob, ref, &n, sizeof n, MOB_FOREVER));
        EQ(n, KINDS + 1);
        mob_release(mob, ref);
    }
    mob_shutdown(mob);
}

/* An id that names a result which the task does not have. */
static void no_such_result(void)
{
    struct mob *mob = api_init();
    mob_ref one, ref;
    long x = 5, y;
    OK(mob_submit(mob, join, MOB_ARGS(MOB_VALUE(x)), NULL, &one));
    mob_ref wrong = {one.hi, one.lo | 3};
    OK(mob_submit(mob, join, MOB_ARGS(MOB_VALUE(x), MOB_REF(wrong)), NULL, &ref));
    EQ(mob_get_copy(mob, ref, &y, sizeof y, MOB_FOREVER), MOB_ERR_TASK_FAILED);
    mob_release(mob, ref);
    mob_release(mob, one);
    mob_shutdown(mob);
}

static mob_status probe(struct mob_task *task)
{
    const void *data;
    size_t size;
    int x, y[2];
    EQ(mob_arg_count(task), 1);
    EQ(mob_return_count(task), 2);
    if (mob_arg(task, 1, &data, &size) != MOB_ERR_INVALID ||
        mob_arg(task, SIZE_MAX, &data, &size) != MOB_ERR_INVALID ||
        mob_arg_copy(task, 0, y, sizeof y) != MOB_ERR_SIZE ||
        mob_arg_copy(task, 1, &x, sizeof x) != MOB_ERR_INVALID) {
        return mob_fail(task, "an argument that is not there");
    }
    void *p;
    if (mob_return_place(task, 2, 1, &p) != MOB_ERR_INVALID ||
        mob_return_copy(task, 2, &x, 1) != MOB_ERR_INVALID ||
        mob_return_copy(task, SIZE_MAX, &x, 1) != MOB_ERR_INVALID ||
        mob_return_ref(task, 2, (mob_ref){0, 0}) != MOB_ERR_INVALID) {
        return mob_fail(task, "a result that is not there");
    }
    if (mob_return_ref(task, 0, (mob_ref){0, 0}) != MOB_ERR_RELEASED) {
        return mob_fail(task, "an id that is none");
    }
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    MOB_TRY(mob_return_copy(task, 0, &x, sizeof x));
    if (mob_return_copy(task, 0, &x, sizeof x) != MOB_ERR_STATE ||
        mob_return_place(task, 0, 1, &p) != MOB_ERR_STATE) {
        return mob_fail(task, "a result given twice");
    }
    return MOB_OK; /* result 1 was not given: empty */
}
MOB_REGISTER(probe);

static void errors_inside_a_task(void)
{
    struct mob *mob = api_init();
    struct mob_options options = MOB_OPTIONS_INIT;
    mob_ref ref[2];
    int x = 5;
    size_t size = 1;
    options.returns = 2;
    OK(mob_submit(mob, probe, MOB_ARGS(MOB_VALUE(x)), &options, ref));
    OK(mob_get_copy(mob, ref[0], &x, sizeof x, MOB_FOREVER));
    EQ(x, 5);
    OK(mob_get_size(mob, ref[1], 0, &size));
    EQ(size, 0);
    mob_shutdown(mob);
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* Result i has size[i] bytes; in place, or copied, in turns. */
static mob_status spread(struct mob_task *task)
{
    size_t size[MOB_RETURNS_MAX];
    MOB_TRY(mob_arg_copy(task, 0, size, sizeof size));
    for (size_t i = mob_return_count(task); i-- > 0;) {
        void *to;
        if (i % 2) {
            MOB_TRY(mob_return_place(task, i, size[i], &to));
            if (size[i] > 128 && (uintptr_t)to % 64) {
                return mob_fail(task, "the room is not aligned");
            }
            fill(to, size[i], (unsigned)i);
        } else {
            unsigned char *tmp = malloc(size[i] + 1);
            fill(tmp, size[i], (unsigned)i);
            mob_status st = mob_return_copy(task, i, tmp, size[i]);
            free(tmp);
            MOB_TRY(st);
        }
    }
    return MOB_OK;
}
MOB_REGISTER(spread);

static void one_to_eight_results(void)
{
    struct mob *mob = api_init();
    for (unsigned n = 1; n <= MOB_RETURNS_MAX; n++) {
        for (size_t k = 0; k < 24; k++) {
            struct mob_options options = MOB_OPTIONS_INIT;
            size_t size[MOB_RETURNS_MAX];
            mob_ref ref[MOB_RETURNS_MAX];
            for (size_t i = 0; i < MOB_RETURNS_MAX; i++) {
                size[i] = sizes[(i * 7 + k) % 26];
            }
            options.returns = n;
            OK(mob_submit(mob, spread, MOB_ARGS(MOB_BYTES(size, sizeof size)), &options,
                          ref));
            for (unsigned i = 0; i < n; i++) {
                struct mob_view view;
                OK(mob_get(mob, ref[i], MOB_FOREVER, &view));
                EQ(view.size, size[i]);
                CHECK(same(view.data, view.size, i));
                mob_view_release(mob, &view);
            }
            for (unsigned i = n; i-- > 0;) { /* each is a hold of its own */
                struct mob_view view;
                OK(mob_get(mob, ref[i], 0, &view));
                mob_release(mob, ref[i]);
                CHECK(same(view.data, view.size, i));
                mob_view_release(mob, &view);
            }
        }
    }
    mob_shutdown(mob);
}

/* A result of a task as another one's result; an argument as a result; chains of those. */
static mob_status make_inside(struct mob_task *task)
{
    mob_ref ref[2];
    unsigned char data[3000];
    size_t size;
    MOB_TRY(mob_arg_copy(task, 0, &size, sizeof size));
    fill(data, sizeof data, 9);
    MOB_TRY(mob_submit(mob_task_mob(task), join, MOB_ARGS(MOB_BYTES(data, size)), NULL,
                       &ref[0]));
    MOB_TRY(mob_return_ref(task, 0, ref[0])); /* not there yet, perhaps */
    MOB_TRY(mob_put(mob_task_mob(task), data, size, MOB_FOREVER, &ref[1]));
    MOB_TRY(mob_return_ref(task, 1, ref[1]));
    mob_release(mob_task_mob(task), ref[1]); /* the result holds it */
    return MOB_OK;
}
MOB_REGISTER(make_inside);

static void results_by_ref(void)
{
    struct mob *mob = api_init();
    for (size_t k = 0; k < 25; k++) {
        struct mob_options options = MOB_OPTIONS_INIT;
        mob_ref ref[2], next;
        size_t size = sizes[k] > 3000 ? 3000 : sizes[k];
        struct mob_view view[2];
        options.returns = 2;
        OK(mob_submit(mob, make_inside, MOB_ARGS(MOB_VALUE(size)), &options, ref));
        for (int i = 0; i < 2; i++) {
            OK(mob_get(mob, ref[i], MOB_FOREVER, &view[i]));
            EQ(view[i].size, size);
            CHECK(same(view[i].data, size, 9));
        }
        OK(mob_submit(mob, join, MOB_ARGS(MOB_REF(ref[0]), MOB_REF(ref[1])), NULL,
                      &next));
        mob_release(mob, ref[0]);
        mob_release(mob, ref[1]);
        unsigned char *both = malloc(2 * size + 1);
        OK(mob_get_copy(mob, next, both, 2 * size, MOB_FOREVER));
        CHECK(same(both, size, 9) && same(both + size, size, 9));
        free(both);
        CHECK(same(view[0].data, size, 9) &&
              same(view[1].data, size, 9)); /* the views hold */
        mob_view_release(mob, &view[0]);
        mob_view_release(mob, &view[1]);
        mob_release(mob, next);
    }
    mob_shutdown(mob);
}

static void chain_of_refs(void)
{
    struct mob *mob = api_init();
    mob_ref at, next;
    double x = 2.5, y;
    OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &at));
    for (int i = 0; i < 20; i++) {
        /* The id goes by value: the object must be held until the task has passed it on. */
        OK(mob_submit(mob, pass_on, MOB_ARGS(MOB_VALUE(at), MOB_REF(at)), NULL, &next));
        mob_release(mob, at);
        at = next;
    }
    OK(mob_get_copy(mob, at, &y, sizeof y, MOB_FOREVER));
    CHECK(x == y);
    mob_release(mob, at);
    mob_shutdown(mob);
}

API_MAIN({"one_value_of_each_size", one_value_of_each_size, 0},
         {"many_values", many_values, 0}, {"sixteen_ids", sixteen_ids, 0},
         {"same_id_and_mixed", same_id_and_mixed, 0},
         {"every_kind_copied", every_kind_copied, 0},
         {"no_such_result", no_such_result, 0},
         {"errors_inside_a_task", errors_inside_a_task, 0},
         {"one_to_eight_results", one_to_eight_results, 0},
         {"results_by_ref", results_by_ref, 0}, {"chain_of_refs", chain_of_refs, 0});
