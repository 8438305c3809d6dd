/* Arrays of numbers in objects, combined element by element. */
#include "tasks.h"

enum { ITEMS = 4099 };

static mob_ref array_of(struct mob *mob, double first, size_t items)
{
    mob_ref ref;
    void *to;
    OK(mob_create(mob, items * sizeof(double), MOB_FOREVER, &ref, &to));
    for (size_t i = 0; i < items; i++) {
        ((double *)to)[i] = first + (double)i;
    }
    OK(mob_seal(mob, ref));
    return ref;
}

/* Numbers from the argument on. Now and then the worker dies instead; the task runs again, and may be luckier. */
static mob_status fill_with(struct mob_task *task)
{
    int n;
    void *to;
    struct timespec now;
    MOB_TRY(mob_arg_copy(task, 0, &n, sizeof n));
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (n % 5 == 0 && now.tv_nsec / 1000 % 3 == 0) {
        kill(getpid(), SIGKILL);
    }
    MOB_TRY(mob_return_place(task, 0, ITEMS * sizeof(int64_t), &to));
    for (int i = 0; i < ITEMS; i++) {
        ((int64_t *)to)[i] = n + i;
    }
    return MOB_OK;
}
MOB_REGISTER(fill_with);

static void all_counts(void)
{
    struct mob *mob = api_init();
    enum { MOST = 150 };
    mob_ref refs[MOST];
    for (int i = 0; i < MOST; i++) {
        refs[i] = array_of(mob, i, 17);
    }
    for (size_t count = 1; count <= MOST; count += count < 20 ? 1 : 13) {
        mob_ref sum, most;
        double got[17];
        OK(mob_reduce(mob, refs, count, MOB_SUM, MOB_F64, &sum));
        OK(mob_reduce(mob, refs, count, MOB_MAX, MOB_F64, &most));
        OK(mob_get_copy(mob, sum, got, sizeof got, MOB_FOREVER));
        for (size_t i = 0; i < 17; i++) {
            uint64_t pairs = count * (count - 1) / 2;
            CHECK(got[i] == (double)(pairs + count * i));
        }
        OK(mob_get_copy(mob, most, got, sizeof got, MOB_FOREVER));
        CHECK(got[3] == (double)(count - 1 + 3));
        mob_release(mob, sum);
        mob_release(mob, most);
    }
    mob_shutdown(mob);
}

/* Promises are reduced as they come, and the ids may go at once. */
static void promises(void)
{
    struct mob *mob = api_init();
    enum { COUNT = 70 };
    mob_ref refs[COUNT], sum;
    struct mob_view view;
    struct mob_options patient = MOB_OPTIONS_INIT;
    patient.max_retries = 100;
    for (int i = 0; i < COUNT; i++) {
        OK(mob_submit(mob, fill_with, MOB_ARGS(MOB_VALUE(i)), &patient, &refs[i]));
    }
    OK(mob_reduce(mob, refs, COUNT, MOB_SUM, MOB_I64, &sum));
    for (int i = 0; i < COUNT; i++) {
        mob_release(mob, refs[i]);
    }
    OK(mob_get(mob, sum, MOB_FOREVER, &view));
    EQ(view.size, ITEMS * sizeof(int64_t));
    for (int i = 0; i < ITEMS; i++) {
        EQ(((const int64_t *)view.data)[i], COUNT * (COUNT - 1) / 2 + (int64_t)COUNT * i);
    }
    mob_view_release(mob, &view);
    mob_release(mob, sum);
    mob_shutdown(mob);
}

static mob_status in_a_task(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    mob_ref refs[10], sum;
    for (int i = 0; i < 10; i++) {
        int n = 5 * i + 1;
        MOB_TRY(mob_submit(mob, fill_with, MOB_ARGS(MOB_VALUE(n)), NULL, &refs[i]));
    }
    MOB_TRY(mob_reduce(mob, refs, 10, MOB_SUM, MOB_I64, &sum));
    return mob_return_ref(task, 0, sum);
}
MOB_REGISTER(in_a_task);

static void nested(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    static int64_t got[ITEMS];
    OK(mob_submit(mob, in_a_task, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_copy(mob, ref, got, sizeof got, MOB_FOREVER));
    EQ(got[5], 5 * 45 + 10 + 50);
    mob_shutdown(mob);
}

/* The same objects give the same bits: the order does not follow from what comes first. */
static void same_bits(void)
{
    struct mob *mob = api_init();
    enum { COUNT = 29 };
    mob_ref refs[COUNT];
    uint64_t first = 0;
    for (int i = 0; i < COUNT; i++) {
        double x = (i % 2 ? -1.0 : 1.0) * (double)(1ull << (i * 7 % 53)) / 3;
        OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &refs[i]));
    }
    for (int round = 0; round < 20; round++) {
        mob_ref sum;
        uint64_t got; /* the bits of a double */
        OK(mob_reduce(mob, refs, COUNT, MOB_SUM, MOB_F64, &sum));
        OK(mob_get_copy(mob, sum, &got, sizeof got, MOB_FOREVER));
        first = round ? first : got;
        CHECK(got == first);
        mob_release(mob, sum);
    }
    mob_shutdown(mob);
}

static void what_it_is(void)
{
    struct mob *mob = api_init();
    struct mob_meta meta = {.struct_size = sizeof meta,
                            .type = MOB_TYPE_FLOAT,
                            .item_bytes = 4,
                            .dims = 2,
                            .shape = {3, 5}};
    struct mob_object_options options = MOB_OBJECT_OPTIONS_INIT;
    float data[15] = {1, 2, 3};
    mob_ref refs[3], most;
    options.meta = &meta;
    for (int i = 0; i < 3; i++) {
        data[1] = (float)i;
        OK(mob_put_as(mob, data, sizeof data, &options, MOB_FOREVER, &refs[i]));
    }
    OK(mob_reduce(mob, refs, 3, MOB_MAX, MOB_F32, &most));
    struct mob_meta got = {.struct_size = sizeof got};
    OK(mob_get_meta(mob, most, MOB_FOREVER, &got));
    EQ(got.dims, 2);
    EQ(got.shape[1], 5);
    OK(mob_get_copy(mob, most, data, sizeof data, MOB_FOREVER));
    CHECK(data[1] == 2);
    mob_shutdown(mob);
}

static void errors(void)
{
    struct mob *mob = api_init();
    mob_ref refs[20], bad, r;
    char text[512];
    double x;
    for (int i = 0; i < 20; i++) {
        refs[i] = array_of(mob, i, 10);
    }
    IS(mob_reduce(mob, refs, 0, MOB_SUM, MOB_F64, &r), MOB_ERR_INVALID);
    IS(mob_reduce(mob, refs, 1, (enum mob_op)4, MOB_F64, &r), MOB_ERR_INVALID);
    IS(mob_reduce(mob, refs, 1, MOB_SUM, (enum mob_number)4, &r), MOB_ERR_INVALID);
    bad = refs[2];
    refs[2] = array_of(mob, 0, 9);
    OK(mob_reduce(mob, refs, 8, MOB_SUM, MOB_F64, &r));
    IS(mob_get_copy(mob, r, &x, sizeof x, MOB_FOREVER), MOB_ERR_SIZE);
    OK(mob_failure(mob, r, text, sizeof text));
    HAS(text, "has 72 bytes");
    OK(mob_reduce(mob, refs, 20, MOB_SUM, MOB_F64, &r));
    IS(mob_get_copy(mob, r, &x, sizeof x, MOB_FOREVER), MOB_ERR_SIZE);
    OK(mob_failure(mob, r, text, sizeof text));
    HAS(text, "has 72 bytes");
    mob_release(mob, refs[2]);
    refs[2] = array_of(mob, 0, 10); /* what no task has had: its record goes at once */
    mob_release(mob, refs[2]);
    IS(mob_reduce(mob, refs, 20, MOB_SUM, MOB_F64, &r), MOB_ERR_RELEASED);
    refs[2] = bad;
    char odd[7] = "123456";
    OK(mob_put(mob, odd, sizeof odd, MOB_FOREVER, &bad));
    OK(mob_reduce(mob, &bad, 1, MOB_SUM, MOB_I32, &r));
    IS(mob_get_copy(mob, r, &x, sizeof x, MOB_FOREVER), MOB_ERR_SIZE);
    OK(mob_reduce(mob, refs, 20, MOB_SUM, MOB_F64, &r)); /* all is well again */
    struct mob_view view;
    OK(mob_get(mob, r, MOB_FOREVER, &view));
    CHECK(((const double *)view.data)[0] == 190);
    mob_view_release(mob, &view);
    mob_shutdown(mob);
}

API_MAIN({"all_counts", all_counts, 60}, {"promises", promises, 0}, {"nested", nested, 0},
         {"same_bits", same_bits, 0}, {"what_it_is", what_it_is, 0},
         {"errors", errors, 0});
