/* net_spread.c - cases of net_driver about what is pulled how often, from where, and in which order. Node 1, the
 * driver's, has one CPU; tasks here ask for two. */
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "net_driver.h"

enum { TASKS_MAX = 64 };

static uint64_t sum_of(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t a = 1469598103934665603ull;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        a = (a ^ word) * 1099511628211ull;
        a ^= a >> 29;
    }
    return a;
}

struct seen {
    uint64_t sum, node;
};

static mob_status sum_slowly(struct mob_task *task)
{
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    struct seen s = {sum_of(data, size), node_here(mob_task_mob(task))};
    nap_ms(100);
    return mob_return_copy(task, 0, &s, sizeof s);
}
MOB_REGISTER(sum_slowly);

static mob_status make_bytes(struct mob_task *task)
{
    size_t size;
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, &size, sizeof size));
    MOB_TRY(mob_return_place(task, 0, size, &to));
    memset(to, 5, size);
    return MOB_OK;
}
MOB_REGISTER(make_bytes);

static mob_ref large_object(size_t size, uint64_t *ret_sum)
{
    mob_ref ref;
    void *to;
    MOB_CHECK(mob_create(mob, size, MOB_FOREVER, &ref, &to));
    uint64_t x = 88172645463325252ull;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy((uint8_t *)to + i, &x, 8);
    }
    *ret_sum = sum_of(to, size);
    MOB_CHECK(mob_seal(mob, ref));
    return ref;
}

/* @count tasks have one object; they run on @least_nodes nodes or more. */
static void use_everywhere(size_t size, int count, int least_nodes)
{
    struct mob_options o = elsewhere();
    mob_ref ref[TASKS_MAX];
    uint64_t sum, nodes[TASKS_MAX];
    int different = 0;
    mob_ref data = large_object(size, &sum);
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_submit(mob, sum_slowly, MOB_ARGS(MOB_REF(data)), &o, &ref[i]));
    }
    puts("begun");
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        struct seen s;
        MOB_CHECK(mob_get_copy(mob, ref[i], &s, sizeof s, MOB_FOREVER));
        if (s.sum != sum || s.node == node_here(mob)) {
            FAIL("other bytes, or not on another node");
        }
        int k = 0;
        while (k < different && nodes[k] != s.node) {
            k++;
        }
        nodes[k] = s.node;
        different += k == different;
    }
    printf("%zu MiB used by %d tasks on %d nodes\n", size >> 20, count, different);
    if (different < least_nodes) {
        FAIL("only %d nodes", different);
    }
}

void broadcast(void)
{
    use_everywhere((size_t)number << 20, 24, 2);
}

void share(void)
{
    use_everywhere((size_t)number << 20, 4, 1);
}

/* What somebody waits for comes before what nobody waits for yet: behind what is under way, 64 MiB at most, and
 * what came while it was made. */
void urgent(void)
{
    enum { COUNT = 20 };
    struct mob_options o = elsewhere();
    mob_ref ref[COUNT];
    struct mob_view view;
    /* Without retries, so that they all come at once: others stay until somebody wants them. */
    o.max_retries = 0;
    size_t size = (size_t)8 << 20;
    for (int i = 0; i < COUNT; i++) {
        MOB_CHECK(mob_submit(mob, make_bytes, MOB_ARGS(MOB_VALUE(size)), &o, &ref[i]));
    }
    MOB_CHECK(mob_get(mob, ref[COUNT - 1], MOB_FOREVER, &view));
    int there = 0;
    for (int i = 0; i < COUNT - 1; i++) {
        there += mob_contains(mob, ref[i]);
    }
    if (view.size != size || ((const uint8_t *)view.data)[size - 1] != 5) {
        FAIL("wrong bytes");
    }
    mob_view_release(mob, &view);
    printf("the last of %d came when %d others were there\n", COUNT, there);
    if (there > COUNT * 3 / 4) {
        FAIL("it waited behind the others");
    }
}

/* The object of a task that is cancelled does not come to its end. */
void unwanted(const char *begun)
{
    struct mob_options o = elsewhere();
    uint64_t sum;
    mob_ref ref, data = large_object((size_t)64 << 20, &sum);
    MOB_CHECK(mob_submit(mob, sum_slowly, MOB_ARGS(MOB_REF(data)), &o, &ref));
    while (access(begun, F_OK) != 0) { /* the test has seen it on its way */
        nap_ms(20);
    }
    MOB_CHECK(mob_cancel(mob, ref));
    struct seen s;
    mob_status st = mob_get_copy(mob, ref, &s, sizeof s, MOB_FOREVER);
    if (st != MOB_ERR_CANCELLED) {
        FAIL("a cancelled task: %s", mob_status_name(st));
    }
    nap_ms(1500);
    struct mob_options small = elsewhere();
    size_t size = 100; /* the node is well */
    struct mob_view view;
    MOB_CHECK(mob_submit(mob, make_bytes, MOB_ARGS(MOB_VALUE(size)), &small, &ref));
    MOB_CHECK(mob_get(mob, ref, MOB_FOREVER, &view));
    mob_view_release(mob, &view);
    puts("cancelled on its way");
}

/* An array of numbers from the argument on, and where it was made. */
static mob_status ramp(struct mob_task *task)
{
    enum { ITEMS = 1 << 17 };
    long first;
    void *to;
    uint64_t node = node_here(mob_task_mob(task));
    MOB_TRY(mob_arg_copy(task, 0, &first, sizeof first));
    MOB_TRY(mob_return_place(task, 0, ITEMS * sizeof(int64_t), &to));
    for (long i = 0; i < ITEMS; i++) {
        ((int64_t *)to)[i] = first + i;
    }
    nap_ms(5);
    return mob_return_copy(task, 1, &node, sizeof node);
}
MOB_REGISTER(ramp);

/* Arrays that were made on several nodes are added up, again and again, for as long as the number says, in ms. */
void reduce(void)
{
    enum { COUNT = 40 };
    uint64_t until = now_ms() + (uint64_t)number;
    int rounds = 0, elsewhere_count = 0;
    do {
        mob_ref made[COUNT][2], arrays[COUNT], sum;
        struct mob_view view;
        struct mob_options o = MOB_OPTIONS_INIT;
        o.returns = 2;
        o.max_retries = 20;
        for (long i = 0; i < COUNT; i++) {
            MOB_CHECK(mob_submit(mob, ramp, MOB_ARGS(MOB_VALUE(i)), &o, made[i]));
            arrays[i] = made[i][0];
        }
        MOB_CHECK(mob_reduce(mob, arrays, COUNT, MOB_SUM, MOB_I64, &sum));
        MOB_CHECK(mob_get(mob, sum, MOB_FOREVER, &view));
        for (size_t i = 0; i < view.size / sizeof(int64_t); i++) {
            if (((const int64_t *)view.data)[i] !=
                COUNT * (COUNT - 1) / 2 + COUNT * (int64_t)i) {
                FAIL("element %zu of the sum is wrong", i);
            }
        }
        mob_view_release(mob, &view);
        mob_release(mob, sum);
        for (int i = 0; i < COUNT; i++) {
            uint64_t node;
            MOB_CHECK(mob_get_copy(mob, made[i][1], &node, sizeof node, MOB_FOREVER));
            elsewhere_count += node != node_here(mob);
            mob_release(mob, made[i][0]);
            mob_release(mob, made[i][1]);
        }
        if (rounds++ == 0) {
            puts("begun");
            fflush(stdout);
        }
    } while (now_ms() < until);
    printf("%d sums of %d arrays, %d of which were made on another node\n", rounds, COUNT,
           elsewhere_count);
    if (elsewhere_count == 0) {
        FAIL("all were made here");
    }
}

/* So long a CPU has something to do. */
static mob_status hold(struct mob_task *task)
{
    long ms;
    MOB_TRY(mob_arg_copy(task, 0, &ms, sizeof ms));
    uint64_t until = now_ms() + (uint64_t)ms, node = node_here(mob_task_mob(task));
    while (now_ms() < until && !mob_task_cancelled(task)) {
        nap_ms(10);
    }
    return mob_return_copy(task, 0, &node, sizeof node);
}
MOB_REGISTER(hold);

enum { FOLD_ITEMS = 1 << 20, FOLD_COUNT = 8 }; /* 8 MiB each */
#define FOLD_ROUNDS 6 /* at least: what is folded depends on who has an array first */

static mob_status thirds(struct mob_task *task)
{
    long n;
    void *to;
    uint64_t node = node_here(mob_task_mob(task));
    MOB_TRY(mob_arg_copy(task, 0, &n, sizeof n));
    MOB_TRY(mob_return_place(task, 0, FOLD_ITEMS * sizeof(double), &to));
    for (long i = 0; i < FOLD_ITEMS; i++) {
        ((double *)to)[i] = (double)(n * n + i) / 3 * (n % 2 ? 1e9 : -1);
    }
    nap_ms(20);
    return mob_return_copy(task, 1, &node, sizeof node);
}
MOB_REGISTER(thirds);

/* The sum has the bits that adding one after the other gives. */
static void check_fold(mob_ref arrays[FOLD_COUNT], mob_ref sum)
{
    struct mob_view got, from[FOLD_COUNT];
    MOB_CHECK(mob_get(mob, sum, MOB_FOREVER, &got));
    for (int i = 0; i < FOLD_COUNT; i++) {
        MOB_CHECK(mob_get(mob, arrays[i], MOB_FOREVER, &from[i]));
    }
    for (size_t k = 0; k < FOLD_ITEMS; k++) {
        double x = ((const double *)from[0].data)[k];
        for (int i = 1; i < FOLD_COUNT; i++) {
            x += ((const double *)from[i].data)[k];
        }
        uint64_t bits[2];
        memcpy(&bits[0], &x, sizeof x);
        memcpy(&bits[1], (const double *)got.data + k, sizeof x);
        if (bits[0] != bits[1]) {
            FAIL("element %zu has other bits", k);
        }
    }
    for (int i = 0; i < FOLD_COUNT; i++) {
        mob_view_release(mob, &from[i]);
    }
    mob_view_release(mob, &got);
}

/* Arrays that were made on other nodes; they are here too when this returns. */
static void make_arrays(mob_ref arrays[FOLD_COUNT])
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref made[2];
    mob_ref nodes[FOLD_COUNT];
    o.returns = 2;
    o.max_retries = 20;
    for (long i = 0; i < FOLD_COUNT; i++) {
        MOB_CHECK(mob_submit(mob, thirds, MOB_ARGS(MOB_VALUE(i)), &o, made));
        arrays[i] = made[0];
        nodes[i] = made[1];
    }
    for (int i = 0; i < FOLD_COUNT; i++) {
        uint64_t where;
        MOB_CHECK(mob_get_copy(mob, nodes[i], &where, sizeof where, MOB_FOREVER));
        if (where == node_here(mob)) {
            FAIL("made here");
        }
        mob_release(mob, nodes[i]);
    }
}

static void drop_arrays(mob_ref arrays[FOLD_COUNT])
{
    for (int i = 0; i < FOLD_COUNT; i++) {
        mob_release(mob, arrays[i]);
    }
}

/* Takes the only CPU here, so that what follows runs elsewhere. */
static mob_ref take_the_cpu(void)
{
    long ms = 3600000;
    mob_ref busy;
    MOB_CHECK(mob_submit(mob, hold, MOB_ARGS(MOB_VALUE(ms)), NULL, &busy));
    nap_ms(300);
    return busy;
}

/* Large arrays of several other nodes are added up, for as long as the number says and a few times. */
void fold(void)
{
    uint64_t until = now_ms() + (uint64_t)number;
    int rounds = 0;
    mob_ref busy = take_the_cpu();
    do {
        mob_ref arrays[FOLD_COUNT], sum;
        make_arrays(arrays);
        MOB_CHECK(mob_reduce(mob, arrays, FOLD_COUNT, MOB_SUM, MOB_F64, &sum));
        check_fold(arrays, sum);
        mob_release(mob, sum);
        drop_arrays(arrays);
        if (rounds++ == 0) {
            puts("begun");
            fflush(stdout);
        }
    } while (rounds < FOLD_ROUNDS || now_ms() < until);
    MOB_CHECK(mob_cancel(mob, busy));
    printf("%d sums of %d arrays\n", rounds, FOLD_COUNT);
}

/* How long it takes until the sum is here. A task that may not run twice gets the arrays themselves. */
static uint64_t time_fold(bool folded)
{
    mob_ref arrays[FOLD_COUNT], sum;
    uint32_t what[2] = {MOB_SUM, MOB_F64};
    struct mob_arg args[1 + FOLD_COUNT] = {MOB_BYTES(what, sizeof what)};
    struct mob_options o = MOB_OPTIONS_INIT;
    o.max_retries = folded ? 3 : 0;
    make_arrays(arrays);
    for (int i = 0; i < FOLD_COUNT; i++) {
        args[1 + i] = MOB_REF(arrays[i]);
    }
    uint64_t began = now_ms();
    unsigned char ready;
    MOB_CHECK(mob_submit_name(mob, "mob.reduce", (struct mob_args){1 + FOLD_COUNT, args},
                              &o, &sum));
    MOB_CHECK(mob_wait(mob, &sum, 1, 1, MOB_FOREVER, &ready, NULL));
    uint64_t took = now_ms() - began;
    check_fold(arrays, sum);
    mob_release(mob, sum);
    drop_arrays(arrays);
    return took;
}

/* Both ways in turn. */
void fold_speed(void)
{
    uint64_t folded = 0, whole = 0;
    mob_ref busy = take_the_cpu();
    (void)time_fold(true); /* the executable goes out */
    for (int i = 0; i < number; i++) {
        uint64_t one = time_fold(true), other = time_fold(false);
        printf("%d arrays of %zu MiB: %llu ms folded on their way, %llu ms not\n",
               FOLD_COUNT, FOLD_ITEMS * sizeof(double) >> 20, (unsigned long long)one,
               (unsigned long long)other);
        folded += one;
        whole += other;
    }
    MOB_CHECK(mob_cancel(mob, busy));
    printf("%.2f of the time\n", (double)folded / (double)whole);
}
