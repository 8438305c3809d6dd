/* Waiting, releasing, nesting, options, names: what a task may do, and what may be done to it. */
#include <pthread.h>

#include "tasks.h"

/* ---- waiting -------------------------------------------------------------------------------------------- */

static void wait_any_k(void)
{
    struct mob *mob = api_init();
    struct api_gate gate;
    enum { N = 300 };
    mob_ref ref[N];
    unsigned char ready[N];
    size_t n = 99;
    api_gate_make(&gate);
    for (int i = 0; i < N; i++) {
        ref[i] = submit_gated(mob, &gate, i);
    }
    IS(mob_wait(mob, ref, N, 1, 0, ready, &n), MOB_ERR_TIMEOUT);
    EQ(n, 0);
    n = 99;
    uint64_t begin = api_now_ns();
    IS(mob_wait(mob, ref, N, 1, 50 * MS, ready, &n), MOB_ERR_TIMEOUT);
    CHECK(api_now_ns() - begin >= 50 * MS);
    EQ(n, 0);
    OK(mob_wait(mob, ref, N, 0, 0, ready, &n));
    OK(mob_wait(mob, NULL, 0, 0, MOB_FOREVER, NULL, &n));
    EQ(n, 0);
    unsigned open = 0;
    static const unsigned wants[] = {1, 2, 7, 129, 250, 300};
    for (size_t k = 0; k < sizeof wants / sizeof wants[0]; k++) {
        api_gate_open(&gate, wants[k] - open);
        open = wants[k];
        OK(mob_wait(mob, ref, N, wants[k], MOB_FOREVER, ready, &n));
        EQ(n, wants[k]);
        unsigned seen = 0;
        for (int i = 0; i < N; i++) {
            CHECK(ready[i] <= 1);
            seen += ready[i];
            long value;
            if (ready[i]) {
                OK(mob_get_copy(mob, ref[i], &value, sizeof value, 0));
                EQ(value, i);
            }
        }
        EQ(seen, wants[k]);
        if (open < N) {
            IS(mob_wait(mob, ref, N, open + 1, 1 * MS, ready, &n), MOB_ERR_TIMEOUT);
            EQ(n, open);
        }
    }
    mob_release(mob, ref[5]);
    IS(mob_wait(mob, ref, N, 1, 0, ready, &n), MOB_ERR_RELEASED);
    mob_shutdown(mob);
}

/* A failed one counts; the same id twice counts twice. */
static void wait_counts_failures(void)
{
    struct mob *mob = api_init();
    mob_ref ref[3];
    unsigned char ready[3];
    size_t n;
    ref[0] = submit_how(mob, how("status", INT_MAX), 0, 0);
    ref[1] = ref[0];
    ref[2] = submit_how(mob, how("kill", INT_MAX), 0, 0);
    OK(mob_wait(mob, ref, 3, 3, MOB_FOREVER, ready, &n));
    EQ(n, 3);
    OK(mob_wait(mob, ref, 3, 3, 0, ready, NULL));
    mob_shutdown(mob);
}

static void get_time_limits(void)
{
    struct mob *mob = api_init();
    struct api_gate gate;
    long value;
    struct mob_view view;
    api_gate_make(&gate);
    mob_ref ref = submit_gated(mob, &gate, 3);
    IS(mob_get(mob, ref, 0, &view), MOB_ERR_TIMEOUT);
    uint64_t begin = api_now_ns();
    IS(mob_get_copy(mob, ref, &value, sizeof value, 30 * MS), MOB_ERR_TIMEOUT);
    CHECK(api_now_ns() - begin >= 30 * MS && api_now_ns() - begin < 10 * SEC);
    api_gate_open(&gate, 1);
    OK(mob_get_copy(mob, ref, &value, sizeof value, 10 * SEC));
    EQ(value, 3);
    mob_shutdown(mob);
}

/* ---- releasing ------------------------------------------------------------------------------------------ */

static void released_and_unknown_ids(void)
{
    struct mob *mob = api_init();
    long one = 1, got;
    struct mob_view view;
    unsigned char ready;
    size_t size;
    for (int i = 0; i < 3; i++) {
        mob_ref ref;
        if (i == 0) {
            OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &ref));
        } else {
            OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), NULL, &ref));
            OK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
        }
        mob_release(mob, ref);
        mob_release(mob, ref); /* twice does nothing */
        IS(mob_get(mob, ref, 0, &view), MOB_ERR_RELEASED);
        IS(mob_get(mob, ref, MOB_FOREVER, &view), MOB_ERR_RELEASED);
        IS(mob_get_copy(mob, ref, &got, sizeof got, 0), MOB_ERR_RELEASED);
        IS(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER), MOB_ERR_RELEASED);
        IS(mob_get_size(mob, ref, 0, &size), MOB_ERR_RELEASED);
        IS(mob_wait(mob, &ref, 1, 1, MOB_FOREVER, &ready, NULL), MOB_ERR_RELEASED);
        IS(mob_cancel(mob, ref), MOB_ERR_RELEASED);
        IS(mob_submit(mob, add, MOB_ARGS(MOB_REF(ref)), NULL, &ref), MOB_ERR_RELEASED);
        /* Its record is used again and again: the old id stays what it is. */
        for (int k = 0; k < 1000; k++) {
            mob_ref other;
            OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &other));
            mob_release(mob, ref);
            OK(mob_get_copy(mob, other, &got, sizeof got, 0));
            IS(mob_get_copy(mob, ref, &got, sizeof got, 0), MOB_ERR_RELEASED);
            mob_release(mob, other);
        }
    }
    mob_ref ids[] = {{0, 0}, {1, 1}, {UINT64_MAX, UINT64_MAX}, {0, 5}, {5, 0}};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        mob_release(mob, ids[i]);
        IS(mob_get(mob, ids[i], MOB_FOREVER, &view), MOB_ERR_RELEASED);
        IS(mob_cancel(mob, ids[i]), MOB_ERR_RELEASED);
    }
    /* An id that is right but for the number of the result. */
    mob_ref ref;
    OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &ref));
    for (uint64_t i = 1; i < 16; i++) {
        mob_ref odd = {ref.hi, ref.lo | i};
        mob_status st = mob_get(mob, odd, 0, &view);
        CHECK(st == MOB_ERR_INVALID || st == MOB_ERR_RELEASED);
        mob_release(mob, odd);
    }
    OK(mob_get_copy(mob, ref, &got, sizeof got, 0));
    /* A submit that is refused for one of its ids keeps none of the others. */
    for (int i = 0; i < 3; i++) {
        mob_ref other, gone;
        OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &other));
        OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &gone));
        mob_release(mob, gone);
        IS(mob_submit(
               mob, add,
               MOB_ARGS(MOB_VALUE(one), MOB_REF(other), MOB_REF(other), MOB_REF(gone)),
               NULL, &ref),
           MOB_ERR_RELEASED);
        mob_release(mob, other);
        IS(mob_get(mob, other, 0, &view), MOB_ERR_RELEASED);
    }
    mob_shutdown(mob);
}

/* ---- chains --------------------------------------------------------------------------------------------- */

/* Its first argument more than the greatest of the others. */
static mob_status greatest(struct mob_task *task)
{
    long more, most = 0, x;
    MOB_TRY(mob_arg_copy(task, 0, &more, sizeof more));
    for (size_t i = 1; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg_copy(task, i, &x, sizeof x));
        most = x > most ? x : most;
    }
    most += more;
    return mob_return_copy(task, 0, &most, sizeof most);
}
MOB_REGISTER(greatest);

/* Chains longer than what a worker runs in a row, side by side; each task takes the results of both its
 * neighbours, and beside each step runs one that nothing waits for. Ids are released once they are taken. */
static void chains(void)
{
    enum { WIDTH = 3, STEPS = 300 };
    struct mob *mob = api_init();
    mob_ref refs[2][WIDTH], aside[STEPS];
    long zero = 0, one = 1, got;
    for (int i = 0; i < WIDTH; i++) {
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(zero)), NULL, &refs[0][i]));
    }
    for (int t = 1; t <= STEPS; t++) {
        const mob_ref *from = refs[(t + 1) % 2];
        for (int i = 0; i < WIDTH; i++) {
            OK(mob_submit(mob, greatest,
                          MOB_ARGS(MOB_VALUE(one), MOB_REF(from[i]),
                                   MOB_REF(from[(i + 1) % WIDTH])),
                          NULL, &refs[t % 2][i]));
        }
        OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(from[0]), MOB_VALUE(one)), NULL,
                      &aside[t - 1]));
        for (int i = 0; i < WIDTH; i++) {
            mob_release(mob, from[i]);
        }
    }
    for (int i = 0; i < WIDTH; i++) {
        OK(mob_get_copy(mob, refs[STEPS % 2][i], &got, sizeof got, MOB_FOREVER));
        EQ(got, STEPS);
    }
    for (int t = 0; t < STEPS; t++) {
        OK(mob_get_copy(mob, aside[t], &got, sizeof got, MOB_FOREVER));
        EQ(got, t + 1);
    }
    mob_shutdown(mob);
}

/* ---- nesting -------------------------------------------------------------------------------------------- */

static mob_status depth(struct mob_task *task)
{
    long n, below = 0;
    MOB_TRY(mob_arg_copy(task, 0, &n, sizeof n));
    if (n > 0) {
        mob_ref ref;
        long next = n - 1;
        MOB_TRY(
            mob_submit(mob_task_mob(task), depth, MOB_ARGS(MOB_VALUE(next)), NULL, &ref));
        MOB_TRY(mob_get_copy(mob_task_mob(task), ref, &below, sizeof below, MOB_FOREVER));
    }
    below++;
    return mob_return_copy(task, 0, &below, sizeof below);
}
MOB_REGISTER(depth);

static mob_status fib(struct mob_task *task)
{
    long n, r;
    MOB_TRY(mob_arg_copy(task, 0, &n, sizeof n));
    r = n;
    if (n > 1) {
        struct mob *mob = mob_task_mob(task);
        long a = n - 1, b = n - 2, got[2];
        mob_ref ref[2];
        MOB_TRY(mob_submit(mob, fib, MOB_ARGS(MOB_VALUE(a)), NULL, &ref[0]));
        MOB_TRY(mob_submit(mob, fib, MOB_ARGS(MOB_VALUE(b)), NULL, &ref[1]));
        if (n % 2) {
            unsigned char ready[2];
            MOB_TRY(mob_wait(mob, ref, 2, 2, MOB_FOREVER, ready, NULL));
        }
        MOB_TRY(mob_get_copy(mob, ref[0], &got[0], sizeof got[0], MOB_FOREVER));
        MOB_TRY(mob_get_copy(mob, ref[1], &got[1], sizeof got[1], MOB_FOREVER));
        r = got[0] + got[1];
    }
    return mob_return_copy(task, 0, &r, sizeof r);
}
MOB_REGISTER(fib);

static void nested(void)
{
    struct mob *mob = api_init();
    static const long depths[] = {0, 1, 31, 32, 33, 64, 100, 200};
    long got;
    mob_ref ref;
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        OK(mob_submit(mob, depth, MOB_ARGS(MOB_VALUE(depths[i])), NULL, &ref));
        OK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
        EQ(got, depths[i] + 1);
        mob_release(mob, ref);
    }
    long n = 15;
    OK(mob_submit(mob, fib, MOB_ARGS(MOB_VALUE(n)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
    EQ(got, 610);
    mob_shutdown(mob);
}

/* Submits and returns: the children run after it, and its arguments are held until they are done. */
static mob_status spawner(struct mob_task *task)
{
    long n;
    mob_ref data;
    char path[96];
    MOB_TRY(mob_arg_copy(task, 0, &n, sizeof n));
    MOB_TRY(mob_arg_copy(task, 1, &data, sizeof data));
    MOB_TRY(mob_arg_copy(task, 2, path, sizeof path));
    for (long i = 0; i < n; i++) {
        struct gated g = {.value = i};
        mob_ref ref;
        memcpy(g.path, path, sizeof path);
        MOB_TRY(mob_submit(mob_task_mob(task), gated,
                           MOB_ARGS(MOB_VALUE(g), MOB_REF(data)), NULL, &ref));
    }
    return MOB_OK;
}
MOB_REGISTER(spawner);

static void submit_and_return(void)
{
    struct mob *mob = api_init();
    struct api_gate gate;
    long n = 20, x = 7;
    size_t size;
    mob_ref data, ref;
    char path[96] = "";
    api_gate_make(&gate);
    memcpy(path, gate.path, sizeof path);
    OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &data));
    OK(mob_submit(mob, spawner,
                  MOB_ARGS(MOB_VALUE(n), MOB_VALUE(data), MOB_BYTES(path, sizeof path),
                           MOB_REF(data)),
                  NULL, &ref));
    mob_release(mob, data);
    OK(mob_get_size(mob, ref, MOB_FOREVER, &size)); /* does not wait for its children */
    mob_release(mob, ref);
    api_gate_open(&gate, 20);
    struct pollfd p = {.fd = gate.fd, .events = POLLIN};
    EVENTUALLY(poll(&p, 1, 0) == 0); /* each of them has run */
    mob_shutdown(mob);
}

/* ---- options -------------------------------------------------------------------------------------------- */

static void options(void)
{
    struct mob *mob = api_init();
    long one = 1, got;
    mob_ref ref[MOB_RETURNS_MAX] = {{0, 0}};
    static const double good[] = {0,      1,   2,          0.5, 0.25,
                                  0.0001, 1.5, MOB_NO_CPU, 0.1, 0.333};
    static const double bad[] = {-2, 1e-9, -0.5, 1e9, 0.0 / 0.0, 1.0 / 0.0};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct mob_options o = MOB_OPTIONS_INIT;
        o.num_cpus = good[i];
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &o, ref));
        OK(mob_get_copy(mob, ref[0], &got, sizeof got, MOB_FOREVER));
        EQ(got, 1);
        mob_release(mob, ref[0]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mob_options o = MOB_OPTIONS_INIT;
        o.num_cpus = bad[i];
        IS(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &o, ref), MOB_ERR_INVALID);
    }
    static const double large[] = {2.0001, 3, 4096};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        struct mob_options o = MOB_OPTIONS_INIT;
        o.num_cpus = large[i];
        IS(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &o, ref), MOB_ERR_DEMAND);
        HAS(mob_last_error(), "the node has 2");
        HAS(mob_last_error(), "mob_config.num_cpus");
    }
    static const struct mob_options wrong[] = {
        {.struct_size = sizeof(struct mob_options), .returns = MOB_RETURNS_MAX + 1},
        {.struct_size = sizeof(struct mob_options), .returns = UINT_MAX},
        {.struct_size = sizeof(struct mob_options), .max_retries = -3},
        {.struct_size = sizeof(struct mob_options), .max_retries = INT_MAX},
        {.struct_size = sizeof(struct mob_options), .name = ""},
        {.struct_size = sizeof(struct mob_options),
         .name = "a name of fifty-six bytes, which is one more than they are"},
        {.struct_size = 0},
        {.struct_size = 4},
        {.struct_size = 100000}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        IS(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &wrong[i], ref),
           MOB_ERR_INVALID);
    }
    struct mob_options o =
        MOB_OPTIONS_INIT; /* an older program knows less of the struct */
    o.struct_size = offsetof(struct mob_options, returns);
    o.name = "my own name";
    o.returns = 77;
    OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &o, ref));
    OK(mob_get_copy(mob, ref[0], &got, sizeof got, MOB_FOREVER));
    struct how h = how("message", INT_MAX);
    o.struct_size = sizeof o;
    o.returns = 3;
    OK(mob_submit(mob, fail, MOB_ARGS(MOB_VALUE(h)), &o, ref));
    for (int i = 0; i < 3; i++) { /* all results fail */
        size_t size;
        IS(mob_get_size(mob, ref[i], MOB_FOREVER, &size), MOB_ERR_TASK_FAILED);
        HAS(mob_last_error(), "my own name");
    }
    for (int i = 0; i < 10; i++) { /* 16 different demands; those above took some */
        o = (struct mob_options)MOB_OPTIONS_INIT;
        o.num_cpus = 0.01 * (i + 1);
        mob_status st = mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &o, ref);
        CHECK(st == MOB_OK || st == MOB_ERR_FULL);
        if (i == 8) {
            IS(st, MOB_ERR_FULL);
        }
    }
    mob_shutdown(mob);
}

/* ---- names ---------------------------------------------------------------------------------------------- */

static mob_status other(struct mob_task *task)
{
    long x = 42;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER_AS(other, "another name");

static mob_status nobody(struct mob_task *task)
{
    (void)task;
    return MOB_OK;
}

static void names(void)
{
    OK(mob_register("before init", other)); /* in workers too: main is the same */
    struct mob *mob = api_init();
    long got, one = 1;
    mob_ref ref;
    IS(mob_submit(mob, nobody, MOB_NO_ARGS, NULL, &ref), MOB_ERR_NO_FUNCTION);
    IS(mob_submit(mob, NULL, MOB_NO_ARGS, NULL, &ref), MOB_ERR_NO_FUNCTION);
    IS(mob_submit_name(mob, "not there", MOB_NO_ARGS, NULL, &ref), MOB_ERR_NO_FUNCTION);
    HAS(mob_last_error(), "not there");
    IS(mob_submit_name(mob, NULL, MOB_NO_ARGS, NULL, &ref), MOB_ERR_NO_FUNCTION);
    IS(mob_submit_name(mob, "other", MOB_NO_ARGS, NULL, &ref), MOB_ERR_NO_FUNCTION);
    static const char *const good[] = {"another name", "before init"};
    for (int i = 0; i < 2; i++) {
        OK(mob_submit_name(mob, good[i], MOB_NO_ARGS, NULL, &ref));
        OK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
        EQ(got, 42);
    }
    OK(mob_submit_name(mob, "add", MOB_ARGS(MOB_VALUE(one)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
    EQ(got, 1);
    IS(mob_register("add", other), MOB_ERR_EXISTS);
    HAS(mob_last_error(), "add");
    OK(mob_register("add", add));
    IS(mob_register("", other), MOB_ERR_INVALID);
    IS(mob_register(NULL, other), MOB_ERR_INVALID);
    IS(mob_register("x", NULL), MOB_ERR_INVALID);
    IS(mob_register("12345678901234567890123456789012345678901234567890123456", other),
       MOB_ERR_INVALID);
    OK(mob_register("1234567890123456789012345678901234567890123456789012345", other));
    /* Registered after mob_init(): the driver knows it, workers do not. */
    OK(mob_register("late", nobody));
    OK(mob_submit(mob, nobody, MOB_NO_ARGS, NULL, &ref));
    IS(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER), MOB_ERR_NO_FUNCTION);
    HAS(mob_last_error(), "late");
    mob_shutdown(mob);
}

static void _duplicate(void)
{
    mob_register_early("add", other);
    struct mob *mob;
    IS(mob_init(NULL, &mob), MOB_ERR_EXISTS);
    HAS(mob_last_error(), "'add'");
}

/* ---- one after the other -------------------------------------------------------------------------------- */

static mob_status info_inside(struct mob_task *task)
{
    struct mob_info info = {.struct_size = sizeof info};
    MOB_TRY(mob_get_info(mob_task_mob(task), &info));
    if (!mob_is_worker() || !info.embedded || info.num_cpus != 2) {
        return mob_fail(task, "the worker sees another node");
    }
    mob_shutdown(mob_task_mob(task)); /* does nothing in a worker */
    return mob_return_copy(task, 0, &info.job, sizeof info.job);
}
MOB_REGISTER(info_inside);

static void info(void)
{
    CHECK(mob_is_worker() == (getenv("MOBULA_WORKER_FD") != NULL));
    struct mob *mob = api_init();
    CHECK(!mob_is_worker());
    struct mob_info i = api_info(mob);
    CHECK(i.node_id != 0 && i.job > 0 && i.nodes == 1 && i.embedded == 1);
    EQ(i.num_cpus, 2);
    EQ(i.store_bytes, 512u << 20);
    CHECK(i.store_used_bytes > 0 && i.store_used_bytes < i.store_bytes);
    mob_ref ref;
    uint32_t job;
    OK(mob_submit(mob, info_inside, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_copy(mob, ref, &job, sizeof job, MOB_FOREVER));
    EQ(job, i.job);
    CHECK(api_info(mob).workers >= 1);
    i = (struct mob_info){.struct_size = offsetof(struct mob_info, job)};
    OK(mob_get_info(mob, &i));
    CHECK(i.node_id && !i.job);
    mob_shutdown(mob);
}

API_MAIN({"wait_any_k", wait_any_k, 0}, {"wait_counts_failures", wait_counts_failures, 0},
         {"get_time_limits", get_time_limits, 0},
         {"released_and_unknown_ids", released_and_unknown_ids, 0}, {"chains", chains, 0},
         {"nested", nested, 60}, {"submit_and_return", submit_and_return, 0},
         {"options", options, 0}, {"names", names, 0}, {"duplicate_names", _duplicate, 0},
         {"info", info, 0});
