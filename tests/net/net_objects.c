/* net_objects.c - cases of net_driver in which bytes cross. */
#include <string.h>

#include "net_driver.h"

/* A sum in which the place of each byte counts. */
static uint64_t sum_of(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t a = 1469598103934665603ull;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        a = (a ^ w) * 1099511628211ull;
        a ^= a >> 29;
    }
    for (; i < size; i++) {
        a = (a ^ p[i]) * 1099511628211ull;
    }
    return a;
}

static void fill(void *data, size_t size, uint64_t seed)
{
    uint8_t *p = data;
    uint64_t x = seed * 2 + 1;
    for (size_t i = 0; i < size; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(p + i, &x, size - i < 8 ? size - i : 8);
    }
}

struct made {
    uint64_t sum, node;
};

/* Returns the sum of its argument, and, as second result, the bytes themselves turned round. */
static mob_status there_and_back(struct mob_task *task)
{
    const void *data;
    size_t size;
    void *to;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    struct made m = {sum_of(data, size), node_here(mob_task_mob(task))};
    MOB_TRY(mob_return_copy(task, 0, &m, sizeof m));
    MOB_TRY(mob_return_place(task, 1, size, &to));
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)to)[i] = (uint8_t) ~((const uint8_t *)data)[i];
    }
    return MOB_OK;
}
MOB_REGISTER(there_and_back);

static mob_status sum_there(struct mob_task *task)
{
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    struct made m = {sum_of(data, size), node_here(mob_task_mob(task))};
    return mob_return_copy(task, 0, &m, sizeof m);
}
MOB_REGISTER(sum_there);

/* Returns so many bytes, each of them 7. */
static mob_status sevens(struct mob_task *task)
{
    size_t size;
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, &size, sizeof size));
    MOB_TRY(mob_return_place(task, 0, size, &to));
    memset(to, 7, size);
    return MOB_OK;
}
MOB_REGISTER(sevens);

/* ---- cases -------------------------------------------------------------------------------------------- */

/* One object to another node, which alone has two CPUs, and another one back; the number: MiB. */
void big(void)
{
    size_t size = (size_t)(number < 0 ? 1024 : number) << 20;
    mob_ref data, ref[2];
    void *to;
    MOB_CHECK(mob_create(mob, size, MOB_FOREVER, &data, &to));
    fill(to, size, 42);
    uint64_t sum = sum_of(to, size);
    MOB_CHECK(mob_seal(mob, data));
    struct mob_options o = MOB_OPTIONS_INIT;
    o.returns = 2;
    o.num_cpus = 2;
    MOB_CHECK(mob_submit(mob, there_and_back, MOB_ARGS(MOB_REF(data)), &o, ref));
    struct made m;
    struct mob_view view;
    MOB_CHECK(mob_get_copy(mob, ref[0], &m, sizeof m, MOB_FOREVER));
    MOB_CHECK(mob_get(mob, ref[1], MOB_FOREVER, &view));
    uint8_t *turned = malloc(size);
    if (!turned || m.sum != sum || view.size != size) {
        FAIL("the bytes arrived changed");
    }
    for (size_t i = 0; i < size; i++) {
        turned[i] = (uint8_t) ~((const uint8_t *)view.data)[i];
    }
    if (sum_of(turned, size) != sum) {
        FAIL("the bytes came back changed");
    }
    printf("%zu MiB there and back, %s\n", size >> 20,
           m.node == node_here(mob) ? "on this node" : "on another node");
    if (m.node == node_here(mob)) {
        FAIL("the task did not go to the other node");
    }
    free(turned);
    mob_view_release(mob, &view);
}

/* Gets @size bytes from a node with two CPUs, which this one has not. */
static mob_status get_sevens(size_t size, struct mob_view *view)
{
    mob_ref ref;
    struct mob_options o = MOB_OPTIONS_INIT;
    o.num_cpus = 2;
    MOB_CHECK(mob_submit(mob, sevens, MOB_ARGS(MOB_VALUE(size)), &o, &ref));
    mob_status st = mob_get(mob, ref, 30000000000ull, view);
    for (size_t i = 0; !st && i < size; i++) {
        if (view->size != size || ((const uint8_t *)view->data)[i] != 7) {
            FAIL("byte %zu of %zu is wrong", i, size);
        }
    }
    mob_release(mob, ref);
    return st;
}

/* This node's store has 64 MiB. What this program keeps for its next objects makes room for what comes
 * from elsewhere; what can never have room is an error that says so. */
void room(void)
{
    mob_ref ref;
    void *to;
    struct mob_view view;
    MOB_CHECK(mob_create(mob, 40 << 20, MOB_FOREVER, &ref, &to));
    MOB_CHECK(mob_seal(mob, ref));
    mob_release(mob, ref);
    MOB_CHECK(get_sevens(35 << 20, &view));
    mob_view_release(mob, &view);
    mob_status st = get_sevens(70 << 20, &view);
    if (st != MOB_ERR_NOMEM || !strstr(mob_last_error(), "does not fit")) {
        FAIL("a result larger than the store: %s: %s", mob_status_name(st),
             mob_last_error());
    }
    puts("35 MiB found room, 70 MiB did not");
}

/* What a task on the other node made is the argument of others there. The number: MiB. */
void relay(void)
{
    enum { USERS = 6 };
    size_t size = (size_t)number << 20;
    mob_ref made, use[USERS];
    struct mob_options o = MOB_OPTIONS_INIT;
    struct made m;
    struct mob_view view;
    o.num_cpus = 2;
    MOB_CHECK(mob_submit(mob, sevens, MOB_ARGS(MOB_VALUE(size)), &o, &made));
    MOB_CHECK(mob_get(mob, made, MOB_FOREVER, &view));
    uint64_t sum = sum_of(view.data, view.size);
    mob_view_release(mob, &view);
    for (int i = 0; i < USERS; i++) {
        MOB_CHECK(mob_submit(mob, sum_there, MOB_ARGS(MOB_REF(made)), &o, &use[i]));
    }
    for (int i = 0; i < USERS; i++) {
        MOB_CHECK(mob_get_copy(mob, use[i], &m, sizeof m, MOB_FOREVER));
        if (m.sum != sum || m.node == node_here(mob)) {
            FAIL("other bytes than here, or not on the other node");
        }
    }
    printf("%zu MiB made and used %d times on another node\n", size >> 20, USERS);
}

/* Objects of 0 bytes to 1 MiB, each as argument of a task and with a result of its size: @count of
 * them, and more until @until_ms. Each task may be run again @retries times. */
static void move_objects(long count, uint64_t until_ms, unsigned retries)
{
    enum { WINDOW = 64 };
    long away = 0, made = 0;
    mob_ref data[WINDOW], ref[WINDOW][2];
    uint64_t sum[WINDOW], seed = 7;
    uint8_t *buf = malloc(1 << 20);
    struct mob_options o = MOB_OPTIONS_INIT;
    o.returns = 2;
    o.max_retries = (int)retries;
    for (long i = 0; i < made + WINDOW; i++) {
        int w = (int)(i % WINDOW);
        if (i >= WINDOW) {
            struct made m;
            struct mob_view view;
            MOB_CHECK(mob_get_copy(mob, ref[w][0], &m, sizeof m, MOB_FOREVER));
            MOB_CHECK(mob_get(mob, ref[w][1], MOB_FOREVER, &view));
            for (size_t k = 0; k < view.size; k++) {
                buf[k] = (uint8_t) ~((const uint8_t *)view.data)[k];
            }
            if (m.sum != sum[w] || sum_of(buf, view.size) != sum[w]) {
                FAIL("object %ld of %zu bytes changed on its way", i - WINDOW, view.size);
            }
            away += m.node != node_here(mob);
            mob_view_release(mob, &view);
            mob_release(mob, ref[w][0]);
            mob_release(mob, ref[w][1]);
            mob_release(mob, data[w]);
        }
        if (i < count || now_ms() < until_ms) {
            made = i + 1;
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            /* Small ones mostly, and all the edges. */
            size_t size = (seed >> 33) % ((size_t)1 << (seed >> 60) % 4 * 5 % 21);
            size = i % 97 == 0    ? 1u << 20
                   : i % 101 == 0 ? 4096 + (size_t)(i % 3) - 1
                                  : size;
            fill(buf, size, seed);
            sum[w] = sum_of(buf, size);
            MOB_CHECK(mob_put(mob, buf, size, MOB_FOREVER, &data[w]));
            MOB_CHECK(
                mob_submit(mob, there_and_back, MOB_ARGS(MOB_REF(data[w])), &o, ref[w]));
        }
        if (i == 0) {
            puts("objects: begun");
            fflush(stdout);
        }
    }
    printf("%ld objects, %ld of them on another node\n", made, away);
    if (away == 0) {
        FAIL("none went to the other node");
    }
    free(buf);
}

void objects(void)
{
    move_objects(number < 0 ? 10000 : number, 0, 3);
}

/* For as long as the number says, in ms, whatever happens to nodes meanwhile. */
void endure(void)
{
    move_objects(500, now_ms() + (uint64_t)number, 250);
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Tasks one after the other: how long each takes, there and back. The number: ms that the slowest of a
 * hundred may take; half of them take a tenth of that. */
void trips(void)
{
    enum { N = 300 };
    static uint64_t took[N];
    uint64_t bytes = 12345;
    for (int i = 0; i < N; i++) {
        mob_ref ref;
        struct made m;
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        MOB_CHECK(mob_submit(mob, sum_there, MOB_ARGS(MOB_VALUE(bytes)), NULL, &ref));
        MOB_CHECK(mob_get_copy(mob, ref, &m, sizeof m, MOB_FOREVER));
        clock_gettime(CLOCK_MONOTONIC, &to);
        if (m.sum != sum_of(&bytes, sizeof bytes)) {
            FAIL("a wrong result");
        }
        took[i] = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000 +
                  (uint64_t)(to.tv_nsec / 1000) - (uint64_t)(from.tv_nsec / 1000);
        mob_release(mob, ref);
    }
    qsort(took + 1, N - 1, sizeof *took, by_size); /* the first starts a worker */
    uint64_t half = took[N / 2], most = took[N - N / 100];
    printf("trips: half within %llu us, 99 %% within %llu us\n", (unsigned long long)half,
           (unsigned long long)most);
    if (number >= 0 &&
        (most > (uint64_t)number * 1000 || half > (uint64_t)number * 100)) {
        FAIL("a task takes too long, there and back");
    }
}
