/* test_daemon.c - what the daemon does about processes that die or do not behave, a case each: the
 * tester brings driver, workers and board into the very state in which something went wrong once.
 *
 *   test_daemon DRIVER MOBULAD [CASE] */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "rig.h"

enum { EXIT_LOST = 40, SLOW_STARTS = 6 };

/* ---- cases -------------------------------------------------------------------------------------- */

/* The memory of a dead worker goes once nothing lives in it, though nobody calls anything: not the
 * driver, who does other things, and not a worker that said that it is busy when the daemon looked,
 * and went to sleep. */
static void memory_goes_while_all_rest(void)
{
    struct rig g;
    uint32_t procs[2];
    rig_begin(&g, 2, "let_go");
    driver_await(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    kill_worker(&g, procs[0]);
    EVENTUALLY(is_asleep(&g, procs[1]), "a worker does not come to rest");
    at_store(&g.board.procs[procs[1]].state, PROC_BUSY, AT_SEQ_CST);
    if (count_segments(&g, 0, true) == 0) {
        broken("a dead worker's results live nowhere");
    }
    driver_tell(&g);
    driver_await(&g, 'd');
    EVENTUALLY(count_segments(&g, 0, true) == 0,
               "memory of a dead worker is still there");
    rig_end(&g, 0);
}

/* Nor is it kept by a worker that had not looked yet, and dies in its turn. */
static void memory_goes_with_the_last_who_mapped_it(void)
{
    struct rig g;
    uint32_t procs[2];
    rig_begin(&g, 2, "let_go_one");
    driver_await(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    kill_worker(&g, procs[0]);
    kill(worker_pid(&g, procs[1]), SIGSTOP);
    driver_tell(&g);
    driver_await(&g, 'd');
    EVENTUALLY(count_segments(&g, SEGMENT_REVOKED, true) == 1, "nothing was revoked");
    kill_worker(&g, procs[1]);
    EVENTUALLY(count_segments(&g, SEGMENT_REVOKED, true) == 0,
               "memory that nobody maps any more is still there");
    rig_end(&g, 0);
}

/* The first death counts what lives in another worker's memory too. When that one dies in its turn,
 * what its last task put goes, and the count must not be taken for what is left. */
static void results_stay_when_their_maker_dies(void)
{
    struct rig g;
    uint32_t procs[2];
    rig_begin(&g, 2, "stays");
    driver_await(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    kill_worker(&g, procs[0]);
    driver_tell(&g);
    driver_await(&g, 'd');
    rig_end(&g, 0);
}

/* Records on their way to be free that somebody other than the driver holds. */
static unsigned dead_of_others(const struct rig *g)
{
    unsigned count = 0;
    uint32_t records = at_load(&g->board.header->committed, AT_ACQUIRE);
    for (uint32_t i = 0; i < records; i++) {
        uint64_t s = at_load(&g->board.records[i].state, AT_ACQUIRE);
        count += state_phase(s) == PHASE_DEAD && state_holder(s) != 1;
    }
    return count;
}

/* What a view pins when its last user is done goes when the view does, though everybody rests: the
 * daemon frees it after a death, and a worker before it sleeps. */
static void pinned_goes_later(bool dies)
{
    struct rig g;
    rig_begin(&g, 2, "hold_view");
    driver_await(&g, 'r');
    map_board(&g);
    for (uint32_t p = 2; p < PROCS_MAX && dies; p++) {
        if (at_load(&g.board.procs[p].task, AT_ACQUIRE) != LINK_NONE) {
            kill_worker(&g, p);
        }
    }
    mark_make(&g, "open");
    driver_tell(&g);
    driver_await(&g, 'v');
    EVENTUALLY(dead_of_others(&g) > 0, "nothing waits to be free");
    driver_tell(&g);
    driver_await(&g, 'd');
    EVENTUALLY(dead_of_others(&g) == 0, "what a view had pinned is still there");
    rig_end(&g, 0);
}

static void what_a_death_left_pinned_goes_later(void)
{
    pinned_goes_later(true);
}

static void what_a_sleeper_left_pinned_goes_later(void)
{
    pinned_goes_later(false);
}

static unsigned find_closed(const struct rig *g, struct record **ret)
{
    unsigned count = 0;
    uint32_t records = at_load(&g->board.header->committed, AT_ACQUIRE);
    for (uint32_t i = 0; i < records; i++) {
        struct record *r = &g->board.records[i];
        if (state_phase(at_load(&r->state, AT_ACQUIRE)) == PHASE_CLOSED) {
            *ret = r;
            count++;
        }
    }
    return count;
}

/* A use that a death left counted is found, though an id hides it at the time of the death. */
static void a_use_of_the_dead_is_forgotten(void)
{
    struct rig g;
    uint32_t procs[2];
    struct record *r = NULL;
    rig_begin(&g, 2, "hold_id");
    driver_await(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    EVENTUALLY(find_closed(&g, &r) == 1, "there is not one object");
    at_add(&r->refs, REFS_USE, AT_SEQ_CST);
    kill_worker(&g, procs[0]);
    driver_tell(&g);
    driver_await(&g, 'd');
    EVENTUALLY(find_closed(&g, &r) == 0, "an object that nobody uses is still there");
    rig_end(&g, 0);
}

/* The first worker of the first job: its slot, in the planner's words. */
static bool has_slot(const struct rig *g, const char *slot, pid_t *ret_pid)
{
    json_t *status = node_tells(g->dir);
    json_t *job = json_array_get(json_object_get(status, "jobs"), 0);
    json_t *worker = json_array_get(json_object_get(job, "workers"), 0);
    const char *is = json_string_value(json_object_get(worker, "slot"));
    bool same = is && strcmp(is, slot) == 0;
    *ret_pid = (pid_t)status_number(worker, "pid");
    json_decref(status);
    return same;
}

/* A worker that is dead, and not settled as its output is still open, is given the CPU that another
 * job gives back: its death must give it back in turn. */
static void a_cpu_that_was_given_to_the_dead(void)
{
    struct rig g;
    pid_t worker;
    rig_begin(&g, 1, "loses_cpu");
    driver_await(&g, 'd');
    struct kid other = driver_start(&g, "takes_cpu");
    EVENTUALLY(mark_there(&g, "inside"), "the other job gets no CPU");
    EVENTUALLY(has_slot(&g, "bare", &worker), "the first job keeps the only CPU");
    driver_tell(&g);
    driver_await(&g, 's');
    kill(worker, SIGKILL);
    EVENTUALLY(proc_state(worker) == '\0', "a dead worker is not reaped");
    mark_make(&g, "open");
    driver_await(&g, 'd');
    mark_make(&g, "end");
    driver_end(&other, 0);
    rig_end(&g, 0);
}

/* Who dies between setting a notice and ringing must not leave all others without a bell. */
static void a_notice_outlives_its_maker(void)
{
    struct rig g;
    uint32_t procs[2];
    rig_begin(&g, 2, "idle");
    driver_await(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    at_or(&g.board.header->notice, NOTICE_RECORDS, AT_SEQ_CST);
    kill_worker(&g, procs[0]);
    EVENTUALLY(at_load(&g.board.header->notice, AT_SEQ_CST) == 0,
               "a dead worker's notice was never read");
    rig_end(&g, 0);
}

/* A client that makes the bell one that waits, and takes back what it rang, holds up nobody. */
static void the_bell_keeps_nobody_waiting(void)
{
    struct rig g;
    rig_begin(&g, 2, "ring");
    driver_await(&g, 'r');
    rig_end(&g, 0);
}

/* A worker that is killed before it reached mob_init() says nothing of the program: another one is
 * started, more often than one whose own fault it is. */
static void workers_killed_early_are_started_again(void)
{
    struct rig g;
    char name[16];
    pid_t kids[KIDS_MAX];
    rig_begin(&g, 1, "slow_start");
    mark_make(&g, "open");
    for (int i = 0; i < SLOW_STARTS; i++) {
        snprintf(name, sizeof name, "slow%d", i);
        EVENTUALLY(mark_there(&g, name), "worker %d is not started", i);
        size_t count = proc_kids(g.daemon.pid, kids);
        for (size_t k = 0; k < count; k++) {
            kill(kids[k], SIGKILL);
        }
    }
    driver_await(&g, 'd');
    rig_end(&g, 0);
}

/* Output that nobody reads keeps no job whose driver is dead. */
static void output_that_nobody_reads(void)
{
    struct rig g;
    int status;
    rig_begin(&g, 2, "loud");
    EVENTUALLY(mark_there(&g, "done"), "the task is not done");
    kill(g.driver.pid, SIGKILL);
    if (!kid_wait(&g.driver, PATIENCE_MS, &status)) {
        broken("a killed driver does not end");
    }
    EVENTUALLY(count_jobs(&g) == 0, "the job of a killed driver is still there");
    kid_close(&g.driver);
    daemon_stop(&g.daemon, g.dir);
}

/* A node that is asked to end does so while a driver is there, who hears of it. */
static void a_node_ends_under_its_driver(void)
{
    struct rig g;
    rig_begin(&g, 2, "idle");
    driver_await(&g, 'r');
    daemon_stop(&g.daemon, g.dir);
    driver_tell(&g);
    rig_end(&g, EXIT_LOST);
}

/* ---- main --------------------------------------------------------------------------------------- */

static const struct rig_case cases[] = {
    {"memory_goes_while_all_rest", memory_goes_while_all_rest},
    {"memory_goes_with_the_last_who_mapped_it", memory_goes_with_the_last_who_mapped_it},
    {"results_stay_when_their_maker_dies", results_stay_when_their_maker_dies},
    {"what_a_death_left_pinned_goes_later", what_a_death_left_pinned_goes_later},
    {"what_a_sleeper_left_pinned_goes_later", what_a_sleeper_left_pinned_goes_later},
    {"a_use_of_the_dead_is_forgotten", a_use_of_the_dead_is_forgotten},
    {"a_cpu_that_was_given_to_the_dead", a_cpu_that_was_given_to_the_dead},
    {"a_notice_outlives_its_maker", a_notice_outlives_its_maker},
    {"the_bell_keeps_nobody_waiting", the_bell_keeps_nobody_waiting},
    {"workers_killed_early_are_started_again", workers_killed_early_are_started_again},
    {"output_that_nobody_reads", output_that_nobody_reads},
    {"a_node_ends_under_its_driver", a_node_ends_under_its_driver},
};

int main(int argc, char **argv)
{
    return argc < 3 ? 2
                    : rig_main("test_daemon", argc, argv, cases,
                               sizeof cases / sizeof cases[0]);
}
