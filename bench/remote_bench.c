/* remote_bench - what a task costs that runs on another node. To be run on a node without CPUs, of which
 * all tasks go elsewhere: remote_bench.sh makes two such nodes, and says what to compare with.
 *
 *   remote_bench trips ROUNDS          one task at a time: best and median of the trip, in ns
 *   remote_bench work TASKS US WINDOW  tasks that compute for US microseconds of CPU time, WINDOW in flight */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"

enum { WARM_UP = 200, WINDOW_TOP = 4096 };

static struct mob *mob;

/* Squares a number after that much CPU time of its own. */
static mob_status square_after(struct mob_task *task)
{
    struct timespec now;
    uint64_t x[2], until;
    MOB_TRY(mob_arg_copy(task, 0, x, sizeof x));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    until = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + x[1];
    while (x[1] && (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec < until) {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    }
    x[0] *= x[0];
    return mob_return_copy(task, 0, &x[0], sizeof x[0]);
}
MOB_REGISTER(square_after);

static mob_ref submit(uint64_t number, uint64_t ns)
{
    uint64_t x[2] = {number, ns};
    mob_ref ref;
    MOB_CHECK(
        mob_submit(mob, square_after, MOB_ARGS(MOB_BYTES(x, sizeof x)), NULL, &ref));
    return ref;
}

static void collect(uint64_t number, mob_ref ref)
{
    uint64_t y;
    MOB_CHECK(mob_get_copy(mob, ref, &y, sizeof y, MOB_FOREVER));
    if (y != number * number) {
        fprintf(stderr, "remote_bench: a wrong result\n");
        exit(1);
    }
    mob_release(mob, ref);
}

static void trips(uint64_t rounds)
{
    static struct hist took;
    hist_reset(&took);
    for (uint64_t i = 0; i < rounds + WARM_UP; i++) {
        uint64_t began = floor_now_ns();
        collect(i, submit(i, 0));
        if (i >= WARM_UP) {
            hist_add(&took, floor_now_ns() - began);
        }
    }
    printf("best_ns %llu median_ns %llu p99_ns %llu\n", (unsigned long long)took.min,
           (unsigned long long)hist_percentile(&took, 50),
           (unsigned long long)hist_percentile(&took, 99));
}

static void work(uint64_t tasks, uint64_t us, uint64_t window)
{
    static mob_ref ref[WINDOW_TOP];
    uint64_t began = 0;
    for (uint64_t i = 0; i < WARM_UP; i++) {
        collect(i, submit(i, us * 1000));
    }
    /* The script looks at the other node's CPU time now, and at the end. */
    puts("warm");
    fflush(stdout);
    (void)getchar();
    began = floor_now_ns();
    for (uint64_t i = 0; i < tasks + window; i++) {
        mob_ref *at = &ref[i % window];
        if (i >= window) {
            collect(i - window, *at);
        }
        if (i < tasks) {
            *at = submit(i, us * 1000);
        }
    }
    double s = (double)(floor_now_ns() - began) / 1e9;
    printf("tasks_s %.0f in_tasks %.3f\n", (double)tasks / s,
           (double)(tasks * us) / 1e6 / s);
    fflush(stdout);
    (void)getchar(); /* the worker must be there to be asked */
}

int main(int argc, char **argv)
{
    bench_name = "remote_bench";
    MOB_CHECK(mob_init(NULL, &mob));
    if (argc == 3 && strcmp(argv[1], "trips") == 0) {
        trips(bench_parse_u64("trips", argv[2], 1, 1000000));
    } else if (argc == 5 && strcmp(argv[1], "work") == 0) {
        work(bench_parse_u64("TASKS", argv[2], 1, 100000000),
             bench_parse_u64("US", argv[3], 0, 1000000),
             bench_parse_u64("WINDOW", argv[4], 1, WINDOW_TOP));
    } else {
        fprintf(stderr, "usage: remote_bench trips ROUNDS | work TASKS US WINDOW\n");
        return 2;
    }
    mob_shutdown(mob);
    return 0;
}
