/* Many tasks: a million in flight, and a hundred thousand that depend on one another; and what a full
 * queue and a full store say. */
#include "api.h"

static mob_status add(struct mob_task *task)
{
    uint64_t sum = 1, x;
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg_copy(task, i, &x, sizeof x));
        sum += x;
    }
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(add);

static mob_status hash(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(hash);

static uint64_t get(struct mob *mob, mob_ref ref)
{
    uint64_t x;
    OK(mob_get_copy(mob, ref, &x, sizeof x, MOB_FOREVER));
    return x;
}

/* What the store uses once no task and id is left is what its records take, not their bytes. */
static void baseline(struct mob *mob, const char *what)
{
    struct mob_info i = api_info(mob);
    fprintf(stderr, "%s: %llu of %llu bytes used\n", what,
            (unsigned long long)i.store_used_bytes, (unsigned long long)i.store_bytes);
}

static mob_status gate(struct mob_task *task)
{
    char path[96];
    MOB_TRY(mob_arg_copy(task, 0, path, sizeof path));
    api_gate_wait(path);
    return MOB_OK;
}
MOB_REGISTER(gate);

/* Both workers are held, so that the million really waits in the queue at once. Twice, so that the
 * second time shows that all of the first was given back. */
static void million_in_flight(void)
{
    enum { N = 1000000 };
    struct mob *mob = api_init_with(2, 4ull << 30);
    mob_ref *ref = malloc(N * sizeof *ref), held[2];
    uint64_t used = 0;
    for (int round = 0; round < 2; round++) {
        struct api_gate g;
        char path[96] = "";
        api_gate_make(&g);
        memcpy(path, g.path, sizeof path);
        for (int i = 0; i < 2; i++) {
            OK(mob_submit(mob, gate, MOB_ARGS(MOB_BYTES(path, sizeof path)), NULL,
                          &held[i]));
        }
        uint64_t begin = api_now_ns();
        for (uint64_t i = 0; i < N; i++) {
            OK(mob_submit(mob, hash, MOB_ARGS(MOB_VALUE(i)), NULL, &ref[i]));
        }
        struct mob_view view;
        IS(mob_get(mob, ref[N - 1], 0, &view), MOB_ERR_TIMEOUT);
        api_gate_open(&g, 2);
        for (uint64_t i = 0; i < N; i++) {
            uint64_t x = get(mob, ref[i]);
            CHECK(x == (i ^ i >> 31) * 0x9e3779b97f4a7c15ull);
            mob_release(mob, ref[i]);
        }
        fprintf(stderr, "round %d: %.2f s\n", round,
                (double)(api_now_ns() - begin) / 1e9);
        baseline(mob, "a million");
        for (int i = 0; i < 2; i++) {
            mob_release(mob, held[i]);
        }
        if (round) {
            CHECK(api_info(mob).store_used_bytes <= used + (8u << 20));
        }
        used = api_info(mob).store_used_bytes;
    }
    mob_shutdown(mob);
    free(ref);
}

/* Inside a task a full queue is an answer, and not a wait. */
static mob_status until_full(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    uint64_t n = 0, x = 3;
    mob_status st;
    mob_ref ref;
    do {
        st = mob_submit(mob, hash, MOB_ARGS(MOB_VALUE(x)), NULL, &ref);
        n++;
    } while (st == MOB_OK && n < 20000000);
    if (st != MOB_ERR_FULL) {
        return mob_fail(task, "after %llu: %s", (unsigned long long)n,
                        mob_status_name(st));
    }
    return mob_return_copy(task, 0, &n, sizeof n);
}
MOB_REGISTER(until_full);

static void full_inside_a_task(void)
{
    struct mob *mob = api_init_with(1, 4ull << 30);
    mob_ref ref;
    OK(mob_submit(mob, until_full, MOB_NO_ARGS, NULL, &ref));
    uint64_t n = get(mob, ref);
    fprintf(stderr, "full after %llu\n", (unsigned long long)n);
    CHECK(n > 900000);
    mob_release(mob, ref);
    /* All of them run, and then there is room again. */
    uint64_t x = 1;
    OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    EQ(get(mob, ref), 2);
    mob_shutdown(mob);
}

/* In a driver: an answer if asked for, else a wait that ends. */
static void full_in_a_driver(void)
{
    struct mob *mob = api_init_with(1, 4ull << 30);
    struct api_gate g;
    char path[96] = "";
    mob_ref held, ref;
    uint64_t n = 0;
    struct mob_options o = MOB_OPTIONS_INIT;
    o.no_wait = 1;
    api_gate_make(&g);
    memcpy(path, g.path, sizeof path);
    OK(mob_submit(mob, gate, MOB_ARGS(MOB_BYTES(path, sizeof path)), NULL, &held));
    mob_status st;
    while ((st = mob_submit(mob, hash, MOB_ARGS(MOB_VALUE(n)), &o, &ref)) == MOB_OK) {
        mob_release(mob, ref);
        CHECK(n++ < 20000000);
    }
    IS(st, MOB_ERR_FULL);
    fprintf(stderr, "full after %llu\n", (unsigned long long)n);
    api_gate_open(&g, 1);
    for (uint64_t i = 0; i < 200000; i++) { /* waits for room again and again */
        OK(mob_submit(mob, hash, MOB_ARGS(MOB_VALUE(i)), NULL, &ref));
        mob_release(mob, ref);
    }
    mob_shutdown(mob);
}

/* The time limit of a put covers the wait for a record too. */
static void put_in_time(void)
{
    struct mob *mob = api_init_with(1, 64u << 20);
    struct api_gate g;
    char path[96] = "";
    mob_ref held, ref;
    uint64_t n = 0;
    struct mob_options o = MOB_OPTIONS_INIT;
    o.no_wait = 1;
    api_gate_make(&g);
    memcpy(path, g.path, sizeof path);
    OK(mob_submit(mob, gate, MOB_ARGS(MOB_BYTES(path, sizeof path)), NULL, &held));
    mob_status st;
    while ((st = mob_submit(mob, hash, MOB_ARGS(MOB_VALUE(n)), &o, &ref)) == MOB_OK) {
        mob_release(mob, ref); /* so that its record will be free once it has run */
        CHECK(n++ < 900000);
    }
    IS(st, MOB_ERR_FULL);
    for (uint64_t ms = 0; ms <= 300; ms += 150) {
        uint64_t began = api_now_ns(), limit_ns = ms * MS;
        while ((st = mob_put(mob, &n, sizeof n, limit_ns, &ref)) == MOB_OK) {
            began = api_now_ns(); /* it was one of the last */
        }
        IS(st, MOB_ERR_FULL);
        CHECK(api_now_ns() - began >= limit_ns);
    }
    api_gate_open(&g, 1);
    OK(mob_put(mob, &n, sizeof n, MOB_FOREVER, &ref));
    EQ(get(mob, ref), n);
    mob_shutdown(mob);
}

enum { DEPENDENT = 100000 };

static void chain(void)
{
    struct mob *mob = api_init_with(2, 2ull << 30);
    uint64_t x = 0;
    mob_ref at, next;
    OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &at));
    for (int i = 0; i < DEPENDENT; i++) {
        OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(at)), NULL, &next));
        mob_release(mob, at);
        at = next;
    }
    EQ(get(mob, at), DEPENDENT);
    mob_release(mob, at);
    baseline(mob, "chain");
    mob_shutdown(mob);
}

static void tree(void)
{
    struct mob *mob = api_init_with(2, 2ull << 30);
    mob_ref *ref = malloc(2 * DEPENDENT * sizeof *ref);
    size_t made = 0, used = 0;
    uint64_t x = 0;
    for (int i = 0; i < DEPENDENT / 2 + 1; i++) {
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(x)), NULL, &ref[made++]));
    }
    while (made - used > 1) { /* two become one */
        OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(ref[used]), MOB_REF(ref[used + 1])),
                      NULL, &ref[made++]));
        mob_release(mob, ref[used++]);
        mob_release(mob, ref[used++]);
    }
    EQ(made, DEPENDENT + 1);
    EQ(get(mob, ref[used]), DEPENDENT + 1); /* one for each task */
    mob_release(mob, ref[used]);
    baseline(mob, "tree");
    free(ref);
    mob_shutdown(mob);
}

static void stencil(void)
{
    enum { WIDTH = 100, STEPS = 1000 };
    struct mob *mob = api_init_with(2, 2ull << 30);
    mob_ref ref[2][WIDTH];
    uint64_t value[2][WIDTH];
    for (int i = 0; i < WIDTH; i++) {
        value[0][i] = (uint64_t)i;
        OK(mob_put(mob, &value[0][i], sizeof value[0][i], MOB_FOREVER, &ref[0][i]));
    }
    for (int s = 0; s < STEPS; s++) {
        mob_ref *from = ref[s % 2], *to = ref[(s + 1) % 2];
        uint64_t *old = value[s % 2], *new = value[(s + 1) % 2];
        for (int i = 0; i < WIDTH; i++) {
            int l = (i + WIDTH - 1) % WIDTH, r = (i + 1) % WIDTH;
            OK(mob_submit(mob, add,
                          MOB_ARGS(MOB_REF(from[l]), MOB_REF(from[i]), MOB_REF(from[r])),
                          NULL, &to[i]));
            new[i] = old[l] + old[i] + old[r] + 1;
        }
        for (int i = 0; i < WIDTH; i++) {
            mob_release(mob, from[i]);
        }
    }
    for (int i = 0; i < WIDTH; i++) {
        CHECK(get(mob, ref[STEPS % 2][i]) == value[STEPS % 2][i]);
        mob_release(mob, ref[STEPS % 2][i]);
    }
    baseline(mob, "stencil");
    mob_shutdown(mob);
}

/* Large results come and go: 4 GB through a store of 128 MB, held by neither process for long. */
static mob_status large(struct mob_task *task)
{
    size_t size;
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, &size, sizeof size));
    MOB_TRY(mob_return_place(task, 0, size, &to));
    memset(to, 7, size);
    return MOB_OK;
}
MOB_REGISTER(large);

static void bytes_come_back(void)
{
    struct mob *mob = api_init_with(2, 128u << 20);
    static char data[24 << 20];
    for (int i = 0; i < 60; i++) { /* now the driver has the memory, now a worker */
        size_t size = sizeof data;
        mob_ref put, sum[2];
        struct mob_view view;
        OK(mob_put(mob, data, size, 20 * SEC, &put));
        OK(mob_submit(mob, large, MOB_ARGS(MOB_VALUE(size), MOB_REF(put)), NULL,
                      &sum[0]));
        mob_release(mob, put);
        OK(mob_submit(mob, large, MOB_ARGS(MOB_VALUE(size), MOB_REF(sum[0])), NULL,
                      &sum[1]));
        mob_release(mob, sum[0]);
        OK(mob_get(mob, sum[1], 30 * SEC, &view));
        EQ(((const char *)view.data)[size - 1], 7);
        mob_view_release(mob, &view);
        mob_release(mob, sum[1]);
    }
    baseline(mob, "large");
    mob_shutdown(mob);
}

API_MAIN({"million_in_flight", million_in_flight, 300},
         {"full_inside_a_task", full_inside_a_task, 120},
         {"full_in_a_driver", full_in_a_driver, 120}, {"put_in_time", put_in_time, 60},
         {"chain", chain, 120}, {"tree", tree, 120}, {"stencil", stencil, 120},
         {"bytes_come_back", bytes_come_back, 120});
