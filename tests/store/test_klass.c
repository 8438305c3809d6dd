/* Classes that come and go on a board: nobody makes a task of one that is over, and none is over while one is made. */
#include <pthread.h>

#include "rig.h"
#include "store/klass.h"

enum { CLASS = 3, WORD = 100 };

static const struct demand first = {.group = 1, .need = {.amount = {CPU_UNITS}}};

static struct rig *start(void)
{
    struct rig *g = rig_new();
    klass_open(&g->b, CLASS, &first, WORD);
    return g;
}

/* A task of the class that is being made: its record, published by publish(). */
static struct record *make(struct lane *l, const uint64_t *ref)
{
    struct record *r;
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(1, 1)};
    call.class_options = (uint8_t)(CLASS | (ref ? CALL_HAS_REFS << 4 : 0));
    cr_assert_eq(lane_record(l, &r), MOB_OK);
    task_begin(l, r, &call, LINK_NONE);
    if (ref) {
        cr_assert(task_add_ref(r, 0, *ref));
    } else {
        *(uint64_t *)task_add_value(r, 0, 8) = 1;
    }
    return r;
}

Test(klass, what_it_asks_for_is_read_while_it_is_open)
{
    struct rig *g = start();
    struct demand d, second = first;
    uint32_t word;
    cr_assert(klass_read(&g->b, CLASS, &d, &word));
    cr_assert(demand_equal(&d, &first));
    cr_assert_eq(word, WORD);
    klass_close(&g->b, CLASS);
    cr_assert_not(klass_read(&g->b, CLASS, &d, &word));
    cr_assert_not(klass_enter(&g->lane[DRIVER], CLASS, WORD));
    second.group = 2;
    klass_open(&g->b, CLASS, &second, WORD + CLASSES_MAX);
    cr_assert_not(klass_enter(&g->lane[DRIVER], CLASS, WORD));
    cr_assert(klass_read(&g->b, CLASS, &d, &word));
    cr_assert_eq(d.group, 2);
    cr_assert(klass_enter(&g->lane[DRIVER], CLASS, word));
    klass_leave(&g->lane[DRIVER]);
    rig_free(g);
}

Test(klass, it_is_left_when_its_last_task_is_sealed)
{
    struct rig *g = start();
    struct lane *l = &g->lane[DRIVER];
    uint64_t link, before = submit(l, NULL, 0, LINK_NONE);
    cr_assert(klass_enter(l, CLASS, WORD));
    klass_close(&g->b, CLASS);
    cr_assert_not(klass_left(&g->b, CLASS, WORD)); /* somebody is in it */
    cr_assert(klass_left(&g->b, CLASS, WORD - CLASSES_MAX));
    struct record *r = make(l, &before);
    cr_assert_eq(task_publish(l, r, &link), MOB_OK);
    klass_leave(l);
    cr_assert_eq(phase_of(g, link), PHASE_WAITING);
    cr_assert_not(klass_left(&g->b, CLASS, WORD));
    r = claim(g, WORKER, before);
    cr_assert(task_seal(&g->lane[WORKER], r, true));
    cr_assert_eq(phase_of(g, link), PHASE_QUEUED);
    cr_assert_not(klass_left(&g->b, CLASS, WORD));
    struct queue_item item;
    cr_assert_eq(task_claim(&g->lane[WORKER], CLASS, &r, &item), QUEUE_OK);
    cr_assert_not(klass_left(&g->b, CLASS, WORD));
    cr_assert(task_seal(&g->lane[WORKER], r, true));
    cr_assert(klass_left(&g->b, CLASS, WORD));
    lane_drop(l, link);
    lane_drop(l, before);
    assert_all_free(g);
    rig_free(g);
}

/* Who waits for a task may run it himself, which leaves its hint behind; then its record becomes another task. */
Test(klass, a_hint_that_is_left_over_is_none_of_another_class)
{
    enum { TASKS = 40, ROUNDS_OF_RECORDS = 30 };
    struct rig *g = start();
    struct lane *l = &g->lane[DRIVER];
    struct record *r;
    struct queue_item item;
    uint64_t link[TASKS];
    bool ours[1u << 12] = {false};
    unsigned again = 0;
    for (int i = 0; i < TASKS; i++) {
        r = make(l, NULL);
        cr_assert_eq(task_publish(l, r, &link[i]), MOB_OK);
        cr_assert(task_claim_one(&g->lane[WORKER], r, link_gen(link[i])));
        cr_assert(task_seal(&g->lane[WORKER], r, false));
        lane_drop(l, link[i]);
        ours[link_index(link[i])] = true;
    }
    for (int round = 0; round < ROUNDS_OF_RECORDS && again < TASKS; round++) {
        lane_reclaim(l);
        for (int i = 0; i < TASKS; i++) {
            link[i] = submit(l, NULL, 0, LINK_NONE);
            again += ours[link_index(link[i])];
        }
        cr_assert_eq(task_ready_count(&g->b, CLASS), 0);
        for (int i = 0; i < TASKS && again > 0; i++) {
            cr_assert_eq(task_claim(&g->lane[OTHER], CLASS, &r, &item), QUEUE_NONE);
        }
        for (int i = 0; i < TASKS; i++) {
            (void)claim(g, WORKER, link[i]);
            cr_assert(
                task_seal(&g->lane[WORKER], &g->b.records[link_index(link[i])], false));
            lane_drop(l, link[i]);
        }
    }
    cr_assert_gt(again, 0);
    rig_free(g);
}

Test(klass, who_dies_in_it_has_left_it)
{
    struct rig *g = start();
    cr_assert(klass_enter(&g->lane[WORKER], CLASS, WORD));
    klass_close(&g->b, CLASS);
    cr_assert_not(klass_left(&g->b, CLASS, WORD));
    struct sweep_result result;
    sweep_process(&g->lane[DAEMON], WORKER, false, NULL, NULL, &result);
    cr_assert(klass_left(&g->b, CLASS, WORD));
    rig_free(g);
}

/* ---- at once ------------------------------------------------------------------------------------------- */

enum { ROUNDS = 3000 };

static struct rig *shared;
static at_u32 over, stop, wrong, entered; /* over: classes up to this word are */

static void *enters(void *arg)
{
    struct lane *l = arg;
    while (!at_load(&stop, AT_RELAXED)) {
        struct demand d;
        uint32_t word;
        if (klass_read(&shared->b, CLASS, &d, &word) && klass_enter(l, CLASS, word)) {
            at_add(&entered, 1, AT_RELAXED);
            at_add(&wrong, d.group != word || at_load(&over, AT_SEQ_CST) >= word,
                   AT_RELAXED);
            klass_leave(l);
        }
    }
    return NULL;
}

Test(klass, nobody_is_in_one_that_was_left, .timeout = 60)
{
    pthread_t thread[2];
    struct demand d = first;
    shared = rig_new();
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(pthread_create(&thread[i], NULL, enters, &shared->lane[DRIVER + i]),
                     0);
    }
    for (uint32_t word = 1; word <= ROUNDS; word++) {
        d.group = word;
        uint32_t seen = at_load(&entered, AT_RELAXED);
        klass_open(&shared->b, CLASS, &d, word);
        while (at_load(&entered, AT_RELAXED) == seen) {
            at_pause();
        }
        klass_close(&shared->b, CLASS);
        while (!klass_left(&shared->b, CLASS, word)) {
            at_pause();
        }
        at_store(&over, word, AT_SEQ_CST);
    }
    at_store(&stop, 1, AT_RELAXED);
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(pthread_join(thread[i], NULL), 0);
    }
    cr_assert_eq(at_load(&wrong, AT_RELAXED), 0);
    rig_free(shared);
}
