/* net_load.c - graphs of tasks with known results, again and again, while the script kills nodes.
 *
 * Every workload has rounds. A round submits a graph, gets its results, and compares them with what the same
 * graph gives here, in a loop. */
#include <string.h>

#include "net_driver.h"

enum {
    SIDE = 24,      /* places of a stencil */
    STEPS = 12,     /* of it, and of a chain */
    CHAINS = 8,     /* at once */
    DEPTH = 5,      /* of trees */
    FANOUT = 200,   /* independent tasks of a round */
    PARTS = 16,     /* arrays that are reduced */
    LENGTH = 40000, /* of each: too large to travel in a message */
    FLOOD_WINDOW = 2000
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    return x ^ x >> 29;
}

static void nap_us(unsigned us)
{
    struct timespec ts = {0, (long)us * 1000};
    while (nanosleep(&ts, &ts) < 0) {
    }
}

/* ---- tasks ------------------------------------------------------------------------------------------ */

/* The mixed sum of its arguments, after some time. */
static mob_status mixes(struct mob_task *task)
{
    uint64_t sum = 0, x;
    for (unsigned i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg_copy(task, i, &x, sizeof x));
        sum += x;
    }
    nap_us(2000);
    sum = mix(sum);
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(mixes);

static mob_status mixes_fast(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    nap_us(100);
    x = mix(x);
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(mixes_fast);

static mob_status leaves(struct mob_task *task)
{
    unsigned depth;
    uint64_t sum = 1;
    MOB_TRY(mob_arg_copy(task, 0, &depth, sizeof depth));
    struct mob *its = mob_task_mob(task);
    nap_us(1000);
    if (depth) {
        mob_ref child[2];
        unsigned less = depth - 1;
        for (int i = 0; i < 2; i++) {
            MOB_TRY(mob_submit(its, leaves, MOB_ARGS(MOB_VALUE(less)), NULL, &child[i]));
        }
        for (int i = 0; i < 2; i++) {
            uint64_t x;
            MOB_TRY(mob_get_copy(its, child[i], &x, sizeof x, MOB_FOREVER));
            sum += x;
        }
    }
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(leaves);

static mob_status numbers(struct mob_task *task)
{
    int64_t first, *to;
    MOB_TRY(mob_arg_copy(task, 0, &first, sizeof first));
    void *place;
    MOB_TRY(mob_return_place(task, 0, LENGTH * sizeof *to, &place));
    to = place;
    for (int64_t i = 0; i < LENGTH; i++) {
        to[i] = first + i;
    }
    nap_us(5000);
    return MOB_OK;
}
MOB_REGISTER(numbers);

/* ---- rounds ----------------------------------------------------------------------------------------- */

/* Nodes die all the time. */
static mob_ref submitted(mob_fn fn, struct mob_args args)
{
    struct mob_options often = MOB_OPTIONS_INIT;
    mob_ref ref;
    often.max_retries = 50;
    MOB_CHECK(mob_submit(mob, fn, args, &often, &ref));
    return ref;
}

static mob_ref mixed(const mob_ref *from, unsigned count)
{
    struct mob_arg arg[3];
    for (unsigned i = 0; i < count; i++) {
        arg[i] = MOB_REF(from[i]);
    }
    return submitted(mixes, (struct mob_args){count, arg});
}

static mob_ref mixed_value(uint64_t x)
{
    return submitted(mixes, MOB_ARGS(MOB_VALUE(x)));
}

static void must_be(mob_ref ref, uint64_t want, const char *what)
{
    uint64_t x = 0;
    mob_status st = mob_get_copy(mob, ref, &x, sizeof x, 60 * 1000000000ull);
    if (st || x != want) {
        FAIL("%s: %s (%s), %llx instead of %llx", what, mob_status_name(st),
             st ? mob_last_error() : "", (unsigned long long)x, (unsigned long long)want);
    }
    mob_release(mob, ref);
}

static void independent(uint64_t seed)
{
    mob_ref ref[FANOUT];
    for (uint64_t i = 0; i < FANOUT; i++) {
        ref[i] = mixed_value(seed + i);
    }
    for (uint64_t i = 0; i < FANOUT; i++) {
        must_be(ref[i], mix(seed + i), "independent");
    }
}

static void chains(uint64_t seed)
{
    mob_ref ref[CHAINS];
    uint64_t want[CHAINS];
    for (uint64_t c = 0; c < CHAINS; c++) {
        want[c] = mix(seed + c);
        ref[c] = mixed_value(seed + c);
    }
    for (int s = 1; s < STEPS; s++) {
        for (int c = 0; c < CHAINS; c++) {
            mob_ref next = mixed(&ref[c], 1);
            mob_release(mob, ref[c]);
            ref[c] = next;
            want[c] = mix(want[c]);
        }
    }
    for (int c = 0; c < CHAINS; c++) {
        must_be(ref[c], want[c], "chain");
    }
}

/* A sum in pairs. */
static void trees(uint64_t seed)
{
    mob_ref ref[1 << DEPTH];
    uint64_t want[1 << DEPTH];
    for (uint64_t i = 0; i < 1 << DEPTH; i++) {
        want[i] = mix(seed + i);
        ref[i] = mixed_value(seed + i);
    }
    for (int width = 1 << DEPTH; width > 1; width /= 2) {
        for (int i = 0; i < width / 2; i++) {
            mob_ref next = mixed(&ref[2 * i], 2);
            mob_release(mob, ref[2 * i]);
            mob_release(mob, ref[2 * i + 1]);
            ref[i] = next;
            want[i] = mix(want[2 * i] + want[2 * i + 1]);
        }
    }
    must_be(ref[0], want[0], "tree");
}

/* Every place from its neighbours of the step before. */
static void stencil(uint64_t seed)
{
    mob_ref ref[SIDE], next[SIDE];
    uint64_t want[SIDE], then[SIDE];
    for (uint64_t i = 0; i < SIDE; i++) {
        want[i] = mix(seed + i);
        ref[i] = mixed_value(seed + i);
    }
    for (int s = 0; s < STEPS; s++) {
        for (int i = 0; i < SIDE; i++) {
            int from = i ? i - 1 : 0, to = i < SIDE - 1 ? i + 1 : i;
            uint64_t sum = 0;
            next[i] = mixed(&ref[from], (unsigned)(to - from + 1));
            for (int k = from; k <= to; k++) {
                sum += want[k];
            }
            then[i] = mix(sum);
        }
        for (int i = 0; i < SIDE; i++) {
            mob_release(mob, ref[i]);
        }
        memcpy(ref, next, sizeof ref);
        memcpy(want, then, sizeof want);
    }
    for (int i = 0; i < SIDE; i++) {
        must_be(ref[i], want[i], "stencil");
    }
}

static void nests(uint64_t seed)
{
    mob_ref ref[4];
    unsigned depth = 4;
    (void)seed;
    for (int i = 0; i < 4; i++) {
        ref[i] = submitted(leaves, MOB_ARGS(MOB_VALUE(depth)));
    }
    for (int i = 0; i < 4; i++) {
        must_be(ref[i], (2u << depth) - 1, "nested");
    }
}

static void reduction(uint64_t seed)
{
    mob_ref part[PARTS], sum;
    struct mob_view view;
    int64_t base = (int64_t)(seed % 1000000);
    for (int64_t i = 0; i < PARTS; i++) {
        int64_t first = base + i;
        part[i] = submitted(numbers, MOB_ARGS(MOB_VALUE(first)));
    }
    MOB_CHECK(mob_reduce(mob, part, PARTS, MOB_SUM, MOB_I64, &sum));
    mob_status st = mob_get(mob, sum, 60 * 1000000000ull, &view);
    if (st || view.size != LENGTH * sizeof(int64_t)) {
        FAIL("reduce: %s: %s", mob_status_name(st), mob_last_error());
    }
    for (int64_t i = 0; i < LENGTH; i++) {
        int64_t want = PARTS * (base + i) + PARTS * (PARTS - 1) / 2;
        if (((const int64_t *)view.data)[i] != want) {
            FAIL("reduce: a sum is wrong");
        }
    }
    mob_view_release(mob, &view);
    mob_release(mob, sum);
    for (int i = 0; i < PARTS; i++) {
        mob_release(mob, part[i]);
    }
}

/* The case's argument: WORKLOAD SECONDS SEED. */
void load(char **arg)
{
    static const struct {
        const char *name;
        void (*round)(uint64_t seed);
    } all[] = {{"independent", independent}, {"chain", chains}, {"tree", trees},
               {"stencil", stencil},         {"nested", nests}, {"reduce", reduction}};
    if (!arg[0] || !arg[1] || !arg[2]) {
        FAIL("load WORKLOAD SECONDS SEED");
    }
    uint64_t until = now_ms() + (uint64_t)atol(arg[1]) * 1000, rounds = 0;
    uint64_t seed = (uint64_t)atol(arg[2]);
    size_t w = 0;
    while (w < sizeof all / sizeof *all && strcmp(all[w].name, arg[0]) != 0) {
        w++;
    }
    if (w == sizeof all / sizeof *all) {
        FAIL("there is no workload %s", arg[0]);
    }
    do {
        all[w].round(mix(seed + rounds++));
    } while (now_ms() < until);
    printf("load: %llu rounds of %s\n", (unsigned long long)rounds, arg[0]);
}

/* That many short tasks, many at once; says a hundred times how far it is. */
void flood(void)
{
    static mob_ref ref[FLOOD_WINDOW];
    uint64_t count = number < 0 ? 100000 : (uint64_t)number, began = now_ms();
    if (count < 100) {
        FAIL("flood COUNT, from 100 on");
    }
    for (uint64_t i = 0; i < count + FLOOD_WINDOW; i++) {
        mob_ref *at = &ref[i % FLOOD_WINDOW];
        if (i >= FLOOD_WINDOW && i - FLOOD_WINDOW < count) {
            must_be(*at, mix(i - FLOOD_WINDOW), "flood");
        }
        if (i < count) {
            *at = submitted(mixes_fast, MOB_ARGS(MOB_VALUE(i)));
        }
        if (i % (count / 100) == 0) {
            printf("flood: %llu\n", (unsigned long long)i);
            fflush(stdout);
        }
    }
    printf("flood: all of %llu right in %llu ms\n", (unsigned long long)count,
           (unsigned long long)(now_ms() - began));
}
