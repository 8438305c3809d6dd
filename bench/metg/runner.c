/* runner.c - the main program of every runner.
 *
 * usage: metg_SYSTEM PATTERN WIDTH GRAPHS IMBALANCE CPUS STOP GRAIN:STEPS...
 * Runs the shapes in order and prints for each: grain, steps, tasks, rounds of the kernel, nanoseconds.
 * Ends early when SLOW_MAX runs in a row take more than STOP nanoseconds for a round of the kernel on one
 * CPU: smaller grains would be slower still. One run may be slow for a neighbour's sake. */
#include "runner.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_UP_STEPS = 100, FIRST_GRAIN = 7, SLOW_MAX = 3 };

uint64_t runner_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void runner_fail(const char *what, const char *why)
{
    fprintf(stderr, "metg: %s: %s\n", what, why);
    fflush(NULL);
    _Exit(1); /* handlers of a system would wait for tasks that do not come */
}

void *runner_alloc(size_t count, size_t size)
{
    size_t bytes = (count * size + 63) / 64 * 64;
    void *p = aligned_alloc(64, bytes ? bytes : 64);
    if (!p) {
        runner_fail("start", "no memory");
    }
    return memset(p, 0, bytes);
}

/* The CPUs of the process as it began: pinned threads start others. */
static cpu_set_t all_cpus;
__attribute__((constructor)) static void note_cpus(void)
{
    (void)sched_getaffinity(0, sizeof all_cpus, &all_cpus);
}

void runner_pin(uint32_t nth)
{
    cpu_set_t one;
    int count = CPU_COUNT(&all_cpus);
    nth %= (uint32_t)(count ? count : 1);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET((size_t)cpu, &all_cpus) && nth-- == 0) {
            CPU_ZERO(&one);
            CPU_SET((size_t)cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one); /* slower, not wrong */
            return;
        }
    }
}

static enum pattern parse_pattern(const char *text)
{
    for (int p = 0; p < PATTERNS; p++) {
        if (strcmp(text, pattern_names[p]) == 0) {
            return (enum pattern)p;
        }
    }
    runner_fail(text, "no such pattern");
}

static uint64_t parse(const char *text, char end, uint64_t max, const char **ret_end)
{
    char *rest;
    uint64_t value = strtoull(text, &rest, 10);
    if (rest == text || *rest != end || value > max) {
        runner_fail(text, "no such number");
    }
    if (ret_end) {
        *ret_end = rest + 1;
    }
    return value;
}

static void run_all(const struct runner_options *options, const struct graph *g,
                    int count, char **points, double stop_ns)
{
    struct shape s = options->shape;
    int slow = 0;
    s.steps = WARM_UP_STEPS;
    s.grain = 1;
    (void)runner_run(&s, g); /* first uses: page faults, starts of threads */
    for (int k = 0; k < count; k++) {
        const char *steps;
        s.grain = parse(points[k], ':', UINT64_MAX, &steps);
        s.steps = (uint32_t)parse(steps, '\0', STEPS_MAX, NULL);
        uint64_t ns = runner_run(&s, g), rounds = shape_all_rounds(&s);
        if (runner_prints()) {
            printf("%" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", s.grain,
                   s.steps, shape_tasks(&s), rounds, ns);
            fflush(stdout);
        }
        slow = (double)ns * options->cpus > stop_ns * (double)rounds ? slow + 1 : 0;
        if (slow == SLOW_MAX) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    struct runner_options o = {0};
    struct graph g;
    runner_start(&argc, &argv);
    if (argc <= FIRST_GRAIN) {
        fprintf(stderr,
                "usage: %s PATTERN WIDTH GRAPHS IMBALANCE CPUS STOP GRAIN:STEPS...\n"
                "Runs task graphs for metg_bench.\n",
                argv[0]);
        _Exit(2);
    }
    o.shape.pattern = parse_pattern(argv[1]);
    o.shape.width = (uint32_t)parse(argv[2], '\0', WIDTH_MAX, NULL);
    o.shape.graphs = (uint32_t)parse(argv[3], '\0', GRAPHS_MAX, NULL);
    o.shape.imbalance = strtod(argv[4], NULL);
    o.shape.steps = STEPS_MAX;
    o.cpus = (uint32_t)parse(argv[5], '\0', WIDTH_MAX, NULL);
    if (!o.shape.width || !o.shape.graphs || !o.cpus ||
        !(o.shape.imbalance >= 0 && o.shape.imbalance <= 1)) {
        runner_fail("options",
                    "a width, graphs and CPUs are needed, and an imbalance of 0 to 1");
    }
    graph_make(&g, o.shape.pattern, o.shape.width);
    runner_open(&o, &g);
    run_all(&o, &g, argc - FIRST_GRAIN, argv + FIRST_GRAIN, strtod(argv[6], NULL));
    runner_close();
    graph_free(&g);
    return 0;
}
