/* The census: what is counted is right, noise is counted as what it can be, and the loop serves others meanwhile. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/clock.h"
#include "node.h"

enum { STEPS = 8, RECORDS = STEPS * 4096, ASKERS = 3 };

static struct node node;
static struct job *job;
static struct loop_timer other;
static struct census_wait waits[ASKERS];
static unsigned turns, told;

static void turn(struct loop_timer *timer)
{
    turns++;
    loop_timer_start(node.loop, timer, loop_now_ns(node.loop), turn);
}

static void counted(struct census_wait *w)
{
    (void)w;
    if (++told == ASKERS) {
        loop_timer_stop(node.loop, &other);
        loop_stop(node.loop);
    }
}

static void set_up(void)
{
    uint64_t bytes;
    job = calloc(1, sizeof *job);
    job->node = &node;
    job->number = 1;
    cr_assert_eq(loop_create(0, &node.loop), MOB_OK);
    cr_assert_eq(board_create(1, 1, &job->board, &bytes), MOB_OK);
    for (int i = 1; i < STEPS; i++) {
        cr_assert_eq(board_commit_more(&job->board), MOB_OK);
    }
    node.jobs[JOBS_MAX - 1] = job;
}

static void tear_down(void)
{
    board_unmap(&job->board);
    loop_destroy(node.loop);
    free(job);
}

static void set(uint32_t i, enum phase phase, uint32_t holder, uint32_t class)
{
    struct record *r = &job->board.records[i];
    struct call call = {.class_options = (uint8_t) class};
    record_set_call(r, &call);
    at_store(&r->state, state_make(1, holder, 0, phase), AT_RELAXED);
}

static void take(void)
{
    for (int i = 0; i < ASKERS; i++) {
        census_take(&node, &waits[i], counted);
    }
    loop_timer_start(node.loop, &other, loop_now_ns(node.loop), turn);
    cr_assert_eq(loop_run(node.loop), MOB_OK);
    cr_assert_eq(told, ASKERS);
}

Test(census, one_walk_in_slices_for_all_who_ask, .init = set_up, .fini = tear_down,
     .timeout = 30)
{
    static const enum phase phases[] = {PHASE_WAITING, PHASE_QUEUED, PHASE_TAKEN,
                                        PHASE_TAKEN};
    for (uint32_t i = 0; i < RECORDS; i++) {
        set(i, phases[i % 4], i % 4 == 3 ? DAEMON : 5, i % 8 == 0 ? 2 : 1);
    }
    take();
    uint64_t(*tasks)[CENSUS_ROWS] = job->census.tasks;
    cr_assert_eq(tasks[2][CENSUS_WAITING], RECORDS / 8);
    cr_assert_eq(tasks[1][CENSUS_WAITING], RECORDS / 8);
    cr_assert_eq(tasks[1][CENSUS_QUEUED], RECORDS / 4);
    cr_assert_eq(tasks[1][CENSUS_RUNNING], RECORDS / 4);
    cr_assert_eq(tasks[1][CENSUS_AWAY], RECORDS / 4);
    cr_assert_eq(job->census.phases[PHASE_TAKEN], RECORDS / 2);
    /* 32,768 records, and at most 8,192 in a turn. */
    cr_assert_geq(turns, 3);
    cr_assert_leq(turns, 16, "one walk, and not one for each who asks");
}

Test(census, noise_is_no_more_than_there_is, .init = set_up, .fini = tear_down,
     .timeout = 30)
{
    uint64_t *at = (uint64_t *)(void *)job->board.records, x = 88172645463325252ull,
             sum = 0;
    for (size_t i = 0; i < RECORDS * sizeof(struct record) / sizeof *at; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        at[i] = x;
    }
    take();
    for (int p = 0; p <= PHASE_RETIRED; p++) {
        sum += job->census.phases[p];
    }
    cr_assert_gt(sum, RECORDS / 2);
    cr_assert_leq(sum, RECORDS);
}

Test(census, who_goes_is_not_told, .init = set_up, .fini = tear_down, .timeout = 30)
{
    static struct census_wait gone;
    census_take(&node, &gone, counted);
    census_forget(&node, &gone);
    census_forget(&node, &gone); /* twice does nothing */
    cr_assert(!gone.waits);
    take();
    cr_assert_eq(told, ASKERS);
}
