/* What a program may do in any order: a random walk through the whole API on one node, with workers that die in the
 * middle, and at its end every value as it must be and everything given back.
 *
 * Each object's value is a number that the driver works out when it submits the task. What was cancelled, has a
 * deadline, fails by itself or is in a group may fail, and so may what depends on it; nothing else may.
 *   MOB_TEST_SEED=N   begins with that seed      MOB_TEST_CALLS=N   so many calls for each seed
 *   MOBULA_ADDRESS=DIR   tasks run on the nodes of a cluster, as in tests/net */
#include <stdbool.h>

#include "api.h"

enum {
    CPUS = 3, /* a group may hold one of them, so that tasks of two always find room */
    LIVE_MAX = 96, /* ids that the driver has */
    HISTORY_MAX = 1 << 14,
    DEPS_MAX = 3,
    GROUPS_MAX = 2,
    LARGE_WORDS = 20000,
    CALLS = 1500,
    STORE = 256 << 20,
    LIMIT_S = 60, /* of one get: nothing takes so long unless it hangs */
};

/* ---- random numbers, and values ------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 29;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 32;
}

static uint64_t state;

static unsigned below(unsigned n)
{
    state += 0x9e3779b97f4a7c15ull;
    return (unsigned)(mix(state) % n);
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

/* ---- tasks ----------------------------------------------------------------------------------------------------- */

struct plan {
    uint64_t salt;
    uint32_t words; /* of the result, all alike */
    uint32_t naps_us;
    uint32_t children;
    uint32_t fails, hands_on, places;
    char dies_once[64]; /* a file: who removes it dies by it; "": nobody */
};

/* A task of no arguments but its plan gives this. */
static uint64_t alone(uint64_t salt)
{
    return mix(salt);
}

static mob_status words_of(struct mob_task *task, size_t index, uint64_t *ret)
{
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, index, &data, &size));
    const uint64_t *w = data;
    size_t n = size / sizeof *w;
    if (n == 0 || w[0] != w[n - 1] || w[0] != w[n / 2]) {
        return mob_fail(task, "argument %zu is torn", index);
    }
    *ret = w[0];
    return MOB_OK;
}

static mob_status give(struct mob_task *task, const struct plan *p, uint64_t value)
{
    void *place;
    MOB_TRY(mob_return_place(task, 0, p->words * sizeof value, &place));
    for (uint32_t i = 0; i < p->words; i++) {
        memcpy((uint64_t *)place + i, &value, sizeof value);
    }
    return MOB_OK;
}

static mob_status walks(struct mob_task *task);

static mob_status child(struct mob_task *task, const struct plan *p, uint32_t i,
                        mob_ref *ret)
{
    struct plan its = {.salt = p->salt + i + 1, .words = 1 + (i % 2) * 300};
    return mob_submit(mob_task_mob(task), walks, MOB_ARGS(MOB_VALUE(its)), NULL, ret);
}

/* The mixed sum of its salt, its arguments and its children. */
static mob_status walks(struct mob_task *task)
{
    struct plan p;
    MOB_TRY(mob_arg_copy(task, 0, &p, sizeof p));
    uint64_t sum = p.salt, value = 0;
    for (size_t i = 1; i < mob_arg_count(task); i++) {
        MOB_TRY(words_of(task, i, &value));
        sum += value;
    }
    if (p.dies_once[0] && unlink(p.dies_once) == 0) {
        kill(getpid(), SIGKILL);
    }
    if (p.naps_us) {
        struct timespec nap = {0, (long)p.naps_us * 1000};
        nanosleep(&nap, NULL);
    }
    if (p.fails) {
        return mob_fail(task, "as it was told to");
    }
    mob_ref ref[8];
    struct mob *mob = mob_task_mob(task);
    for (uint32_t i = 0; i < p.children; i++) {
        MOB_TRY(child(task, &p, i, &ref[i]));
    }
    for (uint32_t i = 0; i < p.children; i++) {
        struct mob_view v;
        MOB_TRY(mob_get(mob, ref[i], MOB_FOREVER, &v));
        memcpy(&value, v.data, sizeof value);
        mob_view_release(mob, &v);
        sum += value;
    }
    if (p.hands_on) { /* its result is another task's */
        struct plan its = {.salt = sum, .words = p.words};
        MOB_TRY(mob_submit(mob, walks, MOB_ARGS(MOB_VALUE(its)), NULL, &ref[0]));
        return mob_return_ref(task, 0, ref[0]);
    }
    return give(task, &p, alone(sum));
}
MOB_REGISTER(walks);

/* A member of a gang: all know the sum of what all have brought. */
static mob_status marches(struct mob_task *task)
{
    struct plan p;
    uint64_t all[CPUS], sum = 0, mine;
    MOB_TRY(mob_arg_copy(task, 0, &p, sizeof p));
    mine = mix(p.salt + mob_gang_rank(task));
    MOB_TRY(mob_gang_exchange(task, &mine, sizeof mine, all, MOB_FOREVER));
    if (p.dies_once[0] && mob_gang_rank(task) == 1 && unlink(p.dies_once) == 0) {
        kill(getpid(), SIGKILL);
    }
    for (unsigned i = 0; i < mob_gang_size(task); i++) {
        sum += all[i];
    }
    return give(task, &p, mix(sum + mob_gang_rank(task)));
}
MOB_REGISTER(marches);

/* ---- what the driver knows ---------------------------------------------------------------------------------------- */

/* Everything that was ever made, in order: what a thing depends on stands before it. */
static struct made {
    uint64_t value;
    uint32_t words;
    uint32_t deps[DEPS_MAX], deps_count;
    bool may_fail;
    bool second; /* of a gang, and the first stands before it */
} history[HISTORY_MAX];
static uint32_t made_count;

static struct live {
    mob_ref ref;
    uint32_t made;
    int group; /* or -1 */
} live[LIVE_MAX];
static unsigned live_count;

static struct mob *mob;
static mob_group groups[GROUPS_MAX];
static unsigned deaths; /* that were asked for */

/* It may fail, and all that depends on it. */
static void taint(uint32_t which)
{
    history[which].may_fail = true;
    for (uint32_t i = which + 1; i < made_count; i++) {
        for (uint32_t k = 0; k < history[i].deps_count; k++) {
            history[i].may_fail |= history[history[i].deps[k]].may_fail;
        }
    }
}

static struct made *keep(mob_ref ref, uint64_t value, uint32_t words, int group)
{
    CHECK(live_count < LIVE_MAX && made_count < HISTORY_MAX);
    struct made *m = &history[made_count];
    *m = (struct made){.value = value, .words = words};
    live[live_count++] = (struct live){ref, made_count++, group};
    return m;
}

static void drop(unsigned i)
{
    mob_release(mob, live[i].ref);
    live[i] = live[--live_count];
}

static void room_for(unsigned n)
{
    while (live_count + n > LIVE_MAX) {
        drop(below(live_count));
    }
}

/* ---- calls ------------------------------------------------------------------------------------------------------------ */

static void put(void)
{
    static uint64_t words[LARGE_WORDS];
    uint32_t n = one_in(8) ? LARGE_WORDS : 1 + below(200);
    uint64_t value = mix(state);
    mob_ref ref;
    void *place;
    for (uint32_t i = 0; i < n; i++) {
        words[i] = value;
    }
    room_for(1);
    if (one_in(2)) {
        OK(mob_put(mob, words, n * sizeof value, LIMIT_S * SEC, &ref));
    } else {
        uint32_t more = below(2) * 700;
        OK(mob_create(mob, (n + more) * sizeof value, LIMIT_S * SEC, &ref, &place));
        if (one_in(8)) {
            mob_abort(mob, ref);
            return;
        }
        memcpy(place, words, n * sizeof value);
        OK(mob_shrink(mob, ref, n * sizeof value));
        OK(mob_seal(mob, ref));
    }
    keep(ref, value, n, -1);
}

static void death(struct plan *p)
{
    const char *dir = getenv("API_SCRATCH");
    snprintf(p->dies_once, sizeof p->dies_once, "%s/death%u", dir ? dir : "/tmp",
             deaths++);
    int fd = open(p->dies_once, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
}

/* A few kinds, since a job has 16 of them, some of which are groups'. */
static bool choose_options(struct mob_options *o, int *group)
{
    static const double cpus[] = {0, 0.5, 2, MOB_NO_CPU};
    bool may_fail = false;
    o->num_cpus = cpus[one_in(3) ? below(4) : 0];
    o->priority = one_in(6) ? 3 : 0;
    if (o->num_cpus == 0 && one_in(6)) {
        o->strategy = MOB_STRATEGY_SPREAD;
    }
    if (one_in(10)) {
        o->deadline_ns = 1 + below(20) * MS;
        may_fail = true;
    }
    *group = one_in(5) ? (int)below(GROUPS_MAX) : -1;
    if (*group >= 0 && groups[*group]) {
        *o = (struct mob_options)MOB_OPTIONS_INIT;
        o->group = groups[*group];
        o->num_cpus = 0.5;
        o->bundle = one_in(2) ? 0 : MOB_BUNDLE_ANY;
        return true;
    }
    *group = -1;
    return may_fail;
}

static void submit(void)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    struct plan p = {.salt = mix(state),
                     .words = one_in(10) ? LARGE_WORDS : 1 + below(100)};
    struct mob_arg arg[1 + DEPS_MAX] = {MOB_BYTES(&p, sizeof p)};
    uint32_t deps[DEPS_MAX];
    uint64_t sum = p.salt;
    int group;
    room_for(1);
    bool may_fail = choose_options(&o, &group);
    p.naps_us = one_in(4) ? below(3000) : 0;
    p.children = one_in(8) ? 1 + below(6) : 0;
    p.hands_on = one_in(12);
    p.fails = one_in(25);
    if (one_in(20)) {
        death(&p);
    }
    unsigned n = live_count ? below(DEPS_MAX + 1) : 0;
    for (unsigned i = 0; i < n; i++) {
        const struct live *l = &live[below(live_count)];
        arg[1 + i] = MOB_REF(l->ref);
        deps[i] = l->made;
        sum += history[l->made].value;
        may_fail |= history[l->made].may_fail;
    }
    for (uint32_t i = 0; i < p.children; i++) {
        sum += alone(p.salt + i + 1);
    }
    mob_ref ref;
    mob_status st = mob_submit(mob, walks, (struct mob_args){1 + n, arg}, &o, &ref);
    if (st == MOB_ERR_FULL) { /* groups that are ending have the rest of its kinds */
        HAS(mob_last_error(), "16");
        return;
    }
    OK(st);
    struct made *m = keep(ref, alone(sum), p.words, group);
    m->may_fail = may_fail || p.fails;
    memcpy(m->deps, deps, sizeof deps);
    m->deps_count = n;
}

static void gang(void)
{
    struct plan p = {.salt = mix(state), .words = 1 + below(300)};
    struct mob_options o = MOB_OPTIONS_INIT;
    unsigned n = 2;
    mob_ref ref[2];
    uint64_t sum = 0;
    room_for(n);
    if (one_in(4)) {
        death(&p);
    }
    OK(mob_submit_gang(mob, marches, MOB_ARGS(MOB_VALUE(p)), &o, n, ref));
    for (unsigned i = 0; i < n; i++) {
        sum += mix(p.salt + i);
    }
    for (unsigned i = 0; i < n; i++) {
        struct made *m = keep(ref[i], mix(sum + i), p.words, -1);
        if (i) { /* one's cancel is the other's, both ways */
            m->deps[0] = made_count - 2;
            m->deps_count = 1;
            m->second = true;
        }
    }
}

/* Whether a result is what it must be. @i: of live. */
static void check(unsigned i)
{
    const struct made *m = &history[live[i].made];
    struct mob_view v;
    char why[512] = "";
    mob_status st = mob_get(mob, live[i].ref, LIMIT_S * SEC, &v);
    if (st == MOB_OK) {
        const uint64_t *w = v.data;
        EQ(v.size, m->words * sizeof *w);
        CHECK(w[0] == m->value && w[m->words - 1] == m->value);
        mob_view_release(mob, &v);
        return;
    }
    mob_failure(mob, live[i].ref, why, sizeof why);
    if (!m->may_fail || st == MOB_ERR_TIMEOUT) {
        api_fail(__FILE__, __LINE__, "number %u: %s: %s", live[i].made,
                 mob_status_name(st), why);
    }
    CHECK(st == MOB_ERR_CANCELLED || st == MOB_ERR_DEADLINE ||
          st == MOB_ERR_TASK_FAILED || st == MOB_ERR_ARG_FAILED);
    HAS(why, " ");
}

static void cancel(void)
{
    unsigned i = below(live_count);
    struct mob_cancel_options o = MOB_CANCEL_OPTIONS_INIT;
    uint32_t which = live[i].made;
    o.recursive = (int)below(2);
    o.force = (int)below(2);
    o.grace_ns = below(5) * MS;
    taint(history[which].second ? which - 1 : which);
    OK(mob_cancel_as(mob, live[i].ref, &o));
}

static void wait_some(void)
{
    mob_ref refs[8];
    unsigned char ready[8];
    size_t count = 1 + below(live_count < 8 ? live_count : 8);
    for (size_t i = 0; i < count; i++) {
        refs[i] = live[below(live_count)].ref;
    }
    mob_status st = mob_wait(mob, refs, count, 1 + below((unsigned)count),
                             below(2) ? 0 : 2 * MS, ready, NULL);
    CHECK(st == MOB_OK || st == MOB_ERR_TIMEOUT);
}

static void make_or_remove_group(void)
{
    unsigned k = below(GROUPS_MAX);
    if (!groups[k]) {
        struct mob_bundle b = MOB_BUNDLE_INIT;
        b.num_cpus = 0.5; /* of both groups together: one CPU */
        OK(mob_group_create(mob, &b, 1, MOB_GROUP_PACK, &groups[k]));
        if (one_in(2)) {
            OK(mob_group_wait(mob, groups[k], LIMIT_S * SEC));
        }
        return;
    }
    for (unsigned i = 0; i < live_count; i++) {
        if (live[i].group == (int)k) {
            taint(live[i].made);
            live[i].group = -1;
        }
    }
    OK(mob_group_remove(mob, groups[k]));
    groups[k] = 0;
}

static void any_call(void)
{
    unsigned what = below(100);
    if (what < 12 || live_count == 0) {
        put();
    } else if (what < 52) {
        submit();
    } else if (what < 55) {
        gang();
    } else if (what < 70) {
        check(below(live_count));
    } else if (what < 84) {
        drop(below(live_count));
    } else if (what < 88) {
        cancel();
    } else if (what < 94) {
        wait_some();
    } else if (what < 96) {
        make_or_remove_group();
    } else {
        struct mob_view v;
        unsigned i = below(live_count);
        mob_status st = mob_get(mob, live[i].ref, 0, &v);
        if (st == MOB_OK) {
            mob_view_release(mob, &v);
        }
    }
}

/* ---- the walk -------------------------------------------------------------------------------------------------------- */

/* All that it had is there again: every CPU at once, and on a node of its own the store. */
static void all_is_back(bool joined)
{
    struct plan p = {.salt = 1, .words = 1};
    mob_ref ref[CPUS];
    OK(mob_submit_gang(mob, marches, MOB_ARGS(MOB_VALUE(p)), NULL, CPUS, ref));
    for (unsigned i = 0; i < CPUS; i++) {
        uint64_t x;
        OK(mob_get_copy(mob, ref[i], &x, sizeof x, LIMIT_S * SEC));
        mob_release(mob, ref[i]);
    }
    void *place; /* nearly all of it, which must be empty for that */
    if (!joined) {
        OK(mob_create(mob, STORE / 8 * 7, LIMIT_S * SEC, &ref[0], &place));
        mob_abort(mob, ref[0]);
    }
}

/* From a seed, or that of the environment. Where MOBULA_ADDRESS names a node, in its cluster. */
static void walk(uint64_t from)
{
    const char *seed = getenv("MOB_TEST_SEED"), *calls = getenv("MOB_TEST_CALLS");
    long n = calls ? strtol(calls, NULL, 10) : CALLS;
    bool joined = getenv("MOBULA_ADDRESS") != NULL;
    if (joined) {
        OK(mob_init(NULL, &mob));
    } else {
        mob = api_init_with(CPUS, STORE);
    }
    state = seed ? strtoull(seed, NULL, 10) : from;
    fprintf(stderr, "seed %llu\n", (unsigned long long)state);
    for (long i = 0; i < n; i++) {
        any_call();
    }
    while (live_count) {
        check(live_count - 1);
        drop(live_count - 1);
    }
    for (unsigned k = 0; k < GROUPS_MAX; k++) {
        if (groups[k]) {
            OK(mob_group_remove(mob, groups[k]));
        }
    }
    all_is_back(joined);
    mob_shutdown(mob);
}

#define WALK(seed)                                                                       \
    static void walk_##seed(void)                                                        \
    {                                                                                    \
        walk(seed);                                                                      \
    }
WALK(1)
WALK(101)
WALK(114)
WALK(127)

API_MAIN({"walk_1", walk_1, 120}, {"walk_101", walk_101, 120},
         {"walk_114", walk_114, 120}, {"walk_127", walk_127, 120});
