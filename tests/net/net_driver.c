/* net_driver.c - a program whose tasks run on several nodes: net_driver CASE [NUMBER].
 *
 * Each case says what it saw on a line and exits 1 if that is not what must be. Only what a user of
 * the library has is used here. */
#include <mobula.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAIL(...)                                                                        \
    do {                                                                                 \
        fprintf(stderr, "net_driver: " __VA_ARGS__);                                     \
        fputc('\n', stderr);                                                             \
        exit(1);                                                                         \
    } while (0)

enum { NODES_SEEN_MAX = 8 };

#ifdef NET_LIBRARY
extern int net_library(void); /* in a shared library that is not on every node */
#endif

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void nap_ms(unsigned ms)
{
    struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&ts, &ts) < 0) {
    }
}

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

static uint64_t node_here(struct mob *mob)
{
    struct mob_info info = {.struct_size = sizeof info};
    return mob_get_info(mob, &info) == MOB_OK ? info.node_id : 0;
}

/* How many different nodes are among @count ids. */
static int nodes_among(const uint64_t *id, int count)
{
    uint64_t seen[NODES_SEEN_MAX];
    int n = 0;
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < n && seen[k] != id[i]) {
            k++;
        }
        if (k == n && n < NODES_SEEN_MAX) {
            seen[n++] = id[i];
        }
    }
    return n;
}

/* ---- tasks ------------------------------------------------------------------------------------------ */

static mob_status square(struct mob_task *task)
{
    double x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x *= x;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(square);

/* Takes its time, and returns where it ran. */
static mob_status where(struct mob_task *task)
{
    unsigned ms;
    MOB_TRY(mob_arg_copy(task, 0, &ms, sizeof ms));
    nap_ms(ms);
    uint64_t id = node_here(mob_task_mob(task));
    printf("ran on %010llx\n", (unsigned long long)id);
    return mob_return_copy(task, 0, &id, sizeof id);
}
MOB_REGISTER(where);

struct span {
    uint64_t node, began, ended; /* nodes of this test share a clock */
};

/* Takes its time, and says where and when. */
static mob_status spans(struct mob_task *task)
{
    unsigned ms;
    struct span s = {.node = node_here(mob_task_mob(task)), .began = now_ms()};
    MOB_TRY(mob_arg_copy(task, 0, &ms, sizeof ms));
    nap_ms(ms);
    s.ended = now_ms();
    return mob_return_copy(task, 0, &s, sizeof s);
}
MOB_REGISTER(spans);

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

static mob_status plus_one(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x++;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(plus_one);

static mob_status tree(struct mob_task *task)
{
    unsigned depth;
    uint64_t sum = 1;
    MOB_TRY(mob_arg_copy(task, 0, &depth, sizeof depth));
    struct mob *mob = mob_task_mob(task);
    if (depth) {
        mob_ref child[2];
        unsigned less = depth - 1;
        for (int i = 0; i < 2; i++) {
            MOB_TRY(mob_submit(mob, tree, MOB_ARGS(MOB_VALUE(less)), NULL, &child[i]));
        }
        for (int i = 0; i < 2; i++) {
            uint64_t x;
            MOB_TRY(mob_get_copy(mob, child[i], &x, sizeof x, MOB_FOREVER));
            sum += x;
        }
    }
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(tree);

/* Its result is what another task makes, which it does not wait for. */
static mob_status hands_on(struct mob_task *task)
{
    uint64_t x;
    mob_ref ref;
    nap_ms(20);
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    MOB_TRY(mob_submit(mob_task_mob(task), plus_one, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    return mob_return_ref(task, 0, ref);
}
MOB_REGISTER(hands_on);

static mob_status refuses(struct mob_task *task)
{
    nap_ms(50);
    return mob_fail(task, "no such luck");
}
MOB_REGISTER(refuses);

static mob_status crashes(struct mob_task *task)
{
    (void)task;
    for (int i = 0; i < 100; i++) {
        fprintf(stderr, "line %d of what went wrong\n", i);
    }
    abort();
}
MOB_REGISTER(crashes);

/* ---- cases -------------------------------------------------------------------------------------------- */

static struct mob *mob;
static long number; /* of the command line, or -1 */

static void squares(void)
{
    enum { N = 200 };
    mob_ref ref[N];
    for (int i = 0; i < N; i++) {
        MOB_CHECK(mob_submit(mob, square, MOB_ARGS(MOB_VALUE((double)i)), NULL, &ref[i]));
    }
    for (int i = 0; i < N; i++) {
        double y;
        MOB_CHECK(mob_get_copy(mob, ref[i], &y, sizeof y, MOB_FOREVER));
        if (y != (double)i * i) {
            FAIL("the square of %d is %g", i, y);
        }
        mob_release(mob, ref[i]);
    }
    printf("%d squares\n", N);
}

/* Tasks of @ms each; returns the number of nodes on which they ran. */
static int spread(int count, unsigned ms, uint64_t *ret_ms)
{
    mob_ref ref[256];
    uint64_t id[256], began = now_ms();
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[i]));
    }
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_get_copy(mob, ref[i], &id[i], sizeof id[i], MOB_FOREVER));
        mob_release(mob, ref[i]);
    }
    *ret_ms = now_ms() - began;
    return nodes_among(id, count);
}

/* Four tasks of 400 ms on two nodes of one CPU each, once workers run on both: the nodes work at the
 * same time. */
static void balance(void)
{
    enum { TASKS = 4 };
    unsigned ms = 400;
    uint64_t node[TASKS], began = UINT64_MAX, ended = 0, unused;
    struct span span[TASKS];
    mob_ref ref[TASKS];
    bool overlap = false;
    while (spread(8, 20, &unused) < 2) {
    }
    for (int i = 0; i < TASKS; i++) {
        MOB_CHECK(mob_submit(mob, spans, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[i]));
    }
    for (int i = 0; i < TASKS; i++) {
        MOB_CHECK(mob_get_copy(mob, ref[i], &span[i], sizeof span[i], MOB_FOREVER));
        mob_release(mob, ref[i]);
        node[i] = span[i].node;
        began = span[i].began < began ? span[i].began : began;
        ended = span[i].ended > ended ? span[i].ended : ended;
        for (int k = 0; k < i; k++) {
            overlap = overlap || (node[i] != node[k] && span[i].began < span[k].ended &&
                                  span[k].began < span[i].ended);
        }
    }
    printf("%d tasks of %u ms: %llu ms on %d nodes\n", TASKS, ms,
           (unsigned long long)(ended - began), nodes_among(node, TASKS));
    if (!overlap) {
        FAIL("the nodes did not work at the same time");
    }
}

/* Runs on as many nodes as the number says. */
static void all_nodes(void)
{
    uint64_t ms;
    int nodes = spread(40, 50, &ms);
    printf("40 tasks of 50 ms: %llu ms on %d nodes\n", (unsigned long long)ms, nodes);
    if (nodes != number) {
        FAIL("%ld nodes were expected", number);
    }
}

/* Runs on this node alone: no worker of it starts on the others. */
static void only_here(void)
{
    uint64_t ms;
    int nodes = spread(40, 50, &ms);
    printf("40 tasks of 50 ms: %llu ms on %d nodes\n", (unsigned long long)ms, nodes);
    if (nodes != 1) {
        FAIL("this program cannot run on another node");
    }
}

/* One object to another node, which alone has two CPUs, and another one back; the number: MiB. */
static void big(void)
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
static void room(void)
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
static void relay(void)
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

static void objects(void)
{
    move_objects(number < 0 ? 10000 : number, 0, 3);
}

/* For as long as the number says, in ms, whatever happens to nodes meanwhile. */
static void endure(void)
{
    move_objects(500, now_ms() + (uint64_t)number, 250);
}

/* Each task needs the one before. */
static void chain(void)
{
    long count = number < 0 ? 1000 : number;
    uint64_t x = 0, ms;
    mob_ref ref, next;
    /* Four chains at once, so that both nodes have work. */
    mob_ref side[3];
    for (int c = 0; c < 3; c++) {
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_VALUE(x)), NULL, &side[c]));
    }
    MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    ms = now_ms();
    for (long i = 1; i < count; i++) {
        for (int c = 0; c < 3; c++) {
            MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(side[c])), NULL, &next));
            mob_release(mob, side[c]);
            side[c] = next;
        }
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(ref)), NULL, &next));
        mob_release(mob, ref);
        ref = next;
    }
    for (int c = 0; c < 3; c++) {
        MOB_CHECK(mob_get_copy(mob, side[c], &x, sizeof x, MOB_FOREVER));
        if (x != (uint64_t)count) {
            FAIL("a chain of %ld tasks counted to %llu", count, (unsigned long long)x);
        }
    }
    MOB_CHECK(mob_get_copy(mob, ref, &x, sizeof x, MOB_FOREVER));
    printf("chain: %llu in %llu ms\n", (unsigned long long)x,
           (unsigned long long)(now_ms() - ms));
    if (x != (uint64_t)count) {
        FAIL("a chain of %ld tasks counted to %llu", count, (unsigned long long)x);
    }
}

static void nested(void)
{
    mob_ref ref[8];
    for (unsigned i = 0; i < 8; i++) {
        unsigned depth = 5;
        MOB_CHECK(mob_submit(mob, tree, MOB_ARGS(MOB_VALUE(depth)), NULL, &ref[i]));
    }
    for (unsigned i = 0; i < 8; i++) {
        uint64_t sum;
        MOB_CHECK(mob_get_copy(mob, ref[i], &sum, sizeof sum, MOB_FOREVER));
        if (sum != 63) {
            FAIL("a tree of 63 tasks counted %llu", (unsigned long long)sum);
        }
    }
    for (uint64_t i = 0; i < 8; i++) {
        MOB_CHECK(mob_submit(mob, hands_on, MOB_ARGS(MOB_VALUE(i)), NULL, &ref[i]));
    }
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t x;
        MOB_CHECK(mob_get_copy(mob, ref[i], &x, sizeof x, MOB_FOREVER));
        if (x != i + 1) {
            FAIL("a result that another task made is %llu", (unsigned long long)x);
        }
    }
    puts("8 trees of tasks in tasks");
}

static void errors(void)
{
    mob_ref ref[6], after[6];
    char text[4096];
    for (int i = 0; i < 6; i++) {
        MOB_CHECK(mob_submit(mob, refuses, MOB_ARGS(), NULL, &ref[i]));
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(ref[i])), NULL, &after[i]));
    }
    for (int i = 0; i < 6; i++) {
        uint64_t x;
        if (mob_get_copy(mob, after[i], &x, sizeof x, MOB_FOREVER) !=
                MOB_ERR_ARG_FAILED ||
            mob_failure(mob, ref[i], text, sizeof text) != MOB_OK ||
            !strstr(text, "no such luck")) {
            FAIL("a failure is not told: %s", mob_last_error());
        }
    }
    puts("6 failures told");
    /* A death, wherever it was: with all of its last lines, and shorter for what fails for it. */
    struct mob_options once = MOB_OPTIONS_INIT;
    once.max_retries = 0;
    for (int i = 0; i < 6; i++) {
        MOB_CHECK(mob_submit(mob, crashes, MOB_ARGS(), &once, &ref[i]));
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(ref[i])), NULL, &after[i]));
    }
    for (int i = 0; i < 6; i++) {
        uint64_t x;
        if (mob_get_copy(mob, after[i], &x, sizeof x, MOB_FOREVER) !=
                MOB_ERR_ARG_FAILED ||
            !strstr(mob_last_error(), "line 99 of") ||
            mob_failure(mob, ref[i], text, sizeof text) != MOB_OK ||
            !strstr(text, "signal 6") || !strstr(text, "\nline 20 of") ||
            !strstr(text, "\nline 99 of")) {
            FAIL("a death is not told: %s", mob_last_error());
        }
    }
    puts("6 deaths told");
}

/* Tasks that ask for more CPUs than any node has: with a number, one joins in time. */
static void unmet(void)
{
    enum { N = 5000 }; /* more than the daemon fails at once */
    struct mob_options two = MOB_OPTIONS_INIT;
    static mob_ref ref[N];
    unsigned ms = 1;
    int n = number < 0 ? N : 3;
    two.num_cpus = 2;
    for (int i = 0; i < n; i++) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), &two, &ref[i]));
    }
    for (int i = 0; i < n; i++) {
        uint64_t id;
        mob_status st = mob_get_copy(mob, ref[i], &id, sizeof id, 60 * 1000000000ull);
        if (number < 0 &&
            (st != MOB_ERR_DEMAND ||
             !strstr(mob_last_error(), "task where: it asks for 2 CPUs, and "
                                       "the largest of 1 nodes"))) {
            FAIL("%s: %s", mob_status_name(st), mob_last_error());
        }
        if (number >= 0 && st) {
            FAIL("a larger node has joined, and still: %s", mob_last_error());
        }
    }
    mob_ref
        later; /* what comes after it fails too, and is not told of again; others run */
    uint64_t id;
    if (number < 0) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), &two, &later));
        if (mob_get_copy(mob, later, &id, sizeof id, MOB_FOREVER) != MOB_ERR_DEMAND) {
            FAIL("a later one: %s", mob_last_error());
        }
    }
    MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &later));
    MOB_CHECK(mob_get_copy(mob, later, &id, sizeof id, MOB_FOREVER));
    printf("%d of %d as expected\n", n, n);
}

/* Keeps all nodes busy until it ends: the script kills something meanwhile. The number: ms. */
static void steady(void)
{
    enum { WINDOW = 24 };
    mob_ref ref[WINDOW];
    unsigned ms = 30, done = 0;
    uint64_t until = now_ms() + (uint64_t)(number < 0 ? 4000 : number),
             ids[NODES_SEEN_MAX] = {0};
    int seen = 0;
    for (int i = 0; i < WINDOW; i++) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[i]));
    }
    puts("steady: begun");
    fflush(stdout);
    for (unsigned i = 0; now_ms() < until || done < i; i++) {
        int w = (int)(i % WINDOW), k = 0;
        uint64_t id;
        if (done == i && now_ms() >= until + 20000) {
            FAIL("tasks do not end");
        }
        MOB_CHECK(mob_get_copy(mob, ref[w], &id, sizeof id, MOB_FOREVER));
        while (k < seen && ids[k] != id) {
            k++;
        }
        if (k == seen && seen < NODES_SEEN_MAX) {
            ids[seen++] = id;
            if (seen == 2) {
                puts("steady: on both");
                fflush(stdout);
            }
        }
        mob_release(mob, ref[w]);
        done++;
        if (now_ms() >= until) {
            break;
        }
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[w]));
    }
    printf("steady: %u tasks on %d nodes\n", done, seen);
}

static void lines(void)
{
    uint64_t ms;
    (void)spread(20, 20, &ms);
    puts("lines: done");
}

static void info(void)
{
    struct mob_info i = {.struct_size = sizeof i};
    MOB_CHECK(mob_get_info(mob, &i));
    printf("%u nodes\n", i.nodes);
    if (i.nodes != (uint32_t)number) {
        FAIL("%ld nodes were expected", number);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"squares", squares},     {"balance", balance},
                 {"all_nodes", all_nodes}, {"big", big},
                 {"objects", objects},     {"chain", chain},
                 {"nested", nested},       {"errors", errors},
                 {"steady", steady},       {"lines", lines},
                 {"info", info},           {"endure", endure},
                 {"only_here", only_here}, {"room", room},
                 {"relay", relay},         {"unmet", unmet}};
    number = argc > 2 ? atol(argv[2]) : -1;
    /* only_here FILE: a worker that runs where this file is not crashes before mob_init(). */
    if (mob_is_worker() && argc > 2 && strcmp(argv[1], "only_here") == 0 &&
        access(argv[2], F_OK) != 0) {
        __builtin_trap();
    }
#ifdef NET_LIBRARY
    number += net_library();
#endif
    MOB_CHECK(mob_init(NULL, &mob));
    for (size_t i = 0; argc > 1 && i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            mob_shutdown(mob);
            return 0;
        }
    }
    fprintf(stderr, "usage: net_driver CASE [NUMBER]\n");
    return 2;
}
