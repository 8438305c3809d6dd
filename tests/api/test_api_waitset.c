/* Sets of ids that are waited for as they come: each once, none lost, whoever dies, sleeps or is slow. */
#include <pthread.h>

#include "tasks.h"

static struct mob_waitset *new_set(struct mob *mob)
{
    struct mob_waitset *set;
    OK(mob_waitset_create(mob, &set));
    return set;
}

static void as_they_come(void)
{
    struct mob *mob = api_init();
    struct mob_waitset *set = new_set(mob);
    struct api_gate gate;
    enum { N = 300 };
    mob_ref ref[N], got;
    unsigned char seen[N] = {0};
    uint64_t tag = 77;
    size_t there = 0;
    api_gate_make(&gate);
    IS(mob_waitset_next(set, MOB_FOREVER, &got, &tag), MOB_ERR_NOT_FOUND);
    for (int i = 0; i < N; i++) {
        ref[i] = submit_gated(mob, &gate, i);
        OK(mob_waitset_add(set, ref[i], (uint64_t)i));
    }
    EQ(mob_waitset_count(set), N);
    IS(mob_waitset_next(set, 0, &got, &tag), MOB_ERR_TIMEOUT);
    uint64_t begin = api_now_ns();
    IS(mob_waitset_next(set, 50 * MS, &got, &tag), MOB_ERR_TIMEOUT);
    CHECK(api_now_ns() - begin >= 50 * MS);
    EQ(tag, 77);
    static const unsigned opens[] = {1, 1, 5, 122, 121, 50};
    for (size_t k = 0; k < sizeof opens / sizeof opens[0]; k++) {
        api_gate_open(&gate, opens[k]);
        for (unsigned i = 0; i < opens[k]; i++, there++) {
            long value;
            OK(mob_waitset_next(set, MOB_FOREVER, &got, &tag));
            CHECK(tag < N && !seen[tag]);
            seen[tag] = 1;
            CHECK(got.hi == ref[tag].hi && got.lo == ref[tag].lo);
            OK(mob_get_copy(mob, got, &value, sizeof value, 0));
            EQ(value, (long)tag);
        }
        EQ(mob_waitset_count(set), N - there);
        IS(mob_waitset_next(set, 0, &got, &tag),
           there == N ? MOB_ERR_NOT_FOUND : MOB_ERR_TIMEOUT);
    }
    mob_waitset_destroy(set);
    mob_shutdown(mob);
}

/* What is there when it is added, what fails, the same id twice, what is released meanwhile. */
static void all_kinds(void)
{
    struct mob *mob = api_init();
    struct mob_waitset *set = new_set(mob);
    unsigned seen[8] = {0};
    uint64_t tag;
    long one = 1;
    mob_ref put, died, twice, created;
    void *data;
    OK(mob_put(mob, &one, sizeof one, 0, &put));
    OK(mob_waitset_add(set, put, 0));
    died = submit_how(mob, how("kill", INT_MAX), 1, 0);
    OK(mob_waitset_add(set, died, 1));
    twice = submit_how(mob, how("kill", 1), 1, 0);
    OK(mob_waitset_add(set, twice, 2));
    OK(mob_waitset_add(set, twice, 3));
    OK(mob_create(mob, 8, 0, &created, &data));
    OK(mob_waitset_add(set, created, 4));
    for (int i = 0; i < 4; i++) {
        OK(mob_waitset_next(set, MOB_FOREVER, NULL, &tag));
        CHECK(tag < 4);
        seen[tag]++;
    }
    for (int i = 0; i < 4; i++) {
        EQ(seen[i], 1);
    }
    IS(mob_waitset_next(set, 0, NULL, NULL), MOB_ERR_TIMEOUT);
    mob_abort(mob, created);
    OK(mob_waitset_next(set, MOB_FOREVER, NULL, &tag));
    EQ(tag, 4);
    mob_release(mob, put);
    IS(mob_waitset_add(set, put, 5), MOB_ERR_RELEASED);
    IS(mob_waitset_add(set, (mob_ref){0, 0}, 5), MOB_ERR_RELEASED);
    EQ(mob_waitset_count(set), 0);
    mob_waitset_destroy(set);
    mob_waitset_destroy(NULL);
    IS(mob_waitset_create(NULL, &set), MOB_ERR_INVALID);
    IS(mob_waitset_add(NULL, died, 0), MOB_ERR_INVALID);
    IS(mob_waitset_next(NULL, 0, NULL, NULL), MOB_ERR_INVALID);
    mob_shutdown(mob);
}

/* More are sealed between two looks than the feed remembers. */
static void slower_than_the_feed(void)
{
    struct mob *mob = api_init();
    struct mob_waitset *set = new_set(mob);
    enum { N = 50000 };
    static mob_ref ref[N];
    static unsigned char seen[N];
    uint64_t tag;
    for (int round = 0; round < 2; round++) {
        memset(seen, 0, sizeof seen);
        for (long i = 0; i < N; i++) {
            OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(i)), NULL, &ref[i]));
            OK(mob_waitset_add(set, ref[i], (uint64_t)i));
        }
        if (round == 0) { /* now all of them are behind */
            unsigned char ready;
            for (int i = 0; i < N; i++) {
                OK(mob_wait(mob, &ref[i], 1, 1, MOB_FOREVER, &ready, NULL));
            }
        }
        for (int i = 0; i < N; i++) {
            OK(mob_waitset_next(set, MOB_FOREVER, NULL, &tag));
            CHECK(tag < N && !seen[tag]);
            seen[tag] = 1;
            mob_release(mob, ref[tag]);
        }
        EQ(mob_waitset_count(set), 0);
    }
    mob_waitset_destroy(set);
    mob_shutdown(mob);
}

/* A task that waits for more tasks than there are CPUs, and each of them likewise. */
static mob_status in_turn(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    struct mob_waitset *set;
    long depth, sum = 1;
    MOB_TRY(mob_arg_copy(task, 0, &depth, sizeof depth));
    MOB_TRY(mob_waitset_create(mob, &set));
    for (long i = 0; i < 5 && depth > 0; i++) {
        mob_ref ref;
        long less = depth - 1;
        MOB_TRY(mob_submit(mob, in_turn, MOB_ARGS(MOB_VALUE(less)), NULL, &ref));
        MOB_TRY(mob_waitset_add(set, ref, 0));
    }
    while (mob_waitset_count(set)) {
        mob_ref ref;
        long part;
        MOB_TRY(mob_waitset_next(set, MOB_FOREVER, &ref, NULL));
        MOB_TRY(mob_get_copy(mob, ref, &part, sizeof part, 0));
        sum += part;
    }
    mob_waitset_destroy(set);
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(in_turn);

static void in_a_task(void)
{
    struct mob *mob = api_init_with(1, 256u << 20);
    mob_ref ref;
    long depth = 3, sum;
    OK(mob_submit(mob, in_turn, MOB_ARGS(MOB_VALUE(depth)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &sum, sizeof sum, MOB_FOREVER));
    EQ(sum, 1 + 5 + 25 + 125);
    mob_shutdown(mob);
}

/* Several threads wait for the same ids, each with a set of its own. */
struct crowd {
    struct mob *mob;
    mob_ref *ref;
    int count, got;
};

static void *waits(void *arg)
{
    struct crowd *c = arg;
    struct mob_waitset *set = new_set(c->mob);
    for (int i = 0; i < c->count; i++) {
        OK(mob_waitset_add(set, c->ref[i], 0));
    }
    while (mob_waitset_count(set)) {
        OK(mob_waitset_next(set, MOB_FOREVER, NULL, NULL));
        c->got++;
    }
    mob_waitset_destroy(set);
    return NULL;
}

static void many_threads(void)
{
    struct mob *mob = api_init();
    struct api_gate gate;
    enum { N = 200, THREADS = 4 };
    mob_ref ref[N];
    pthread_t thread[THREADS];
    struct crowd crowd[THREADS];
    api_gate_make(&gate);
    for (int i = 0; i < N; i++) {
        ref[i] = submit_gated(mob, &gate, i);
    }
    for (int i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){mob, ref, N, 0};
        CHECK(pthread_create(&thread[i], NULL, waits, &crowd[i]) == 0);
    }
    for (int i = 0; i < N; i++) { /* with pauses, so that they fall asleep now and then */
        api_gate_open(&gate, 1);
        poll(NULL, 0, i % 20 == 0 ? 5 : 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
        EQ(crowd[i].got, N);
    }
    mob_shutdown(mob);
}

API_MAIN({"as_they_come", as_they_come, 0}, {"all_kinds", all_kinds, 0},
         {"slower_than_the_feed", slower_than_the_feed, 60}, {"in_a_task", in_a_task, 0},
         {"many_threads", many_threads, 60});
