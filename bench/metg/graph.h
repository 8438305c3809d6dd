/* graph.h - the task graphs that all runners run, what a task does, and how it checks its inputs.
 *
 * A graph is a table of steps x width tasks. Task (t, i) takes the results of some tasks of step t - 1,
 * by the pattern; the first step takes nothing. The result of a task is one word that says whose it is,
 * and every task checks that it was given the words of exactly its inputs, in order. By induction from
 * the first step a run without an error ran every task after its inputs.
 *
 * The patterns and the measure, METG, are those of Slaughter et al., "Task Bench: A Parameterized
 * Benchmark for Evaluating Parallel Runtime Performance", SC'20. */
#ifndef BENCH_METG_GRAPH_H
#define BENCH_METG_GRAPH_H

#include <stdint.h>

enum pattern {
    PATTERN_TRIVIAL, /* nothing */
    PATTERN_STENCIL, /* i - 1, i, i + 1, as far as they are there */
    PATTERN_FFT,     /* i, i - 2^k, i + 2^k, k in turn */
    PATTERN_RANDOM,  /* i, and those of i - 2 to i + 2 that a hash of (t, i) picks */
    PATTERNS
};

enum {
    INPUTS_MAX = 5,
    WIDTH_MAX = 1024,
    STEPS_MAX = 100000,
    GRAPHS_MAX = 64,
    PERIOD_MAX = 32 /* steps after which a pattern begins again */
};

extern const char *const pattern_names[PATTERNS];

struct inputs {
    uint32_t count;
    uint32_t point[INPUTS_MAX]; /* rising */
};

/* The inputs of every task, worked out before anything is timed. */
struct graph {
    enum pattern pattern;
    uint32_t width;
    uint32_t period;
    struct inputs *table; /* [period][width] */
};

/* Ends the program with status 1 if there is no memory. */
void graph_make(struct graph *g, enum pattern pattern, uint32_t width);
void graph_free(struct graph *g);

/* Inputs of task (@step, @point), of step @step - 1. */
static inline const struct inputs *graph_inputs(const struct graph *g, uint32_t step,
                                                uint32_t point)
{
    static const struct inputs none;
    return step == 0 ? &none : &g->table[(step % g->period) * g->width + point];
}

/* A run: @graphs graphs of one form side by side, each of @steps steps. */
struct shape {
    enum pattern pattern;
    uint32_t width;
    uint32_t graphs;
    uint32_t steps;
    uint64_t grain;   /* rounds of the kernel in a task, on average */
    double imbalance; /* a task has grain x (1 - imbalance) to grain x (1 + imbalance) */
};

/* Rounds of the kernel that a task has. */
uint64_t shape_rounds(const struct shape *s, uint32_t graph, uint32_t step,
                      uint32_t point);
/* Of all tasks of the run together. */
uint64_t shape_all_rounds(const struct shape *s);
static inline uint64_t shape_tasks(const struct shape *s)
{
    return (uint64_t)s->width * s->graphs * s->steps;
}

static inline uint64_t task_word(uint32_t graph, uint32_t step, uint32_t point)
{
    return ((uint64_t)graph << 48 | (uint64_t)step << 24 | point) + 1; /* never 0 */
}

/* The work: multiply-adds on values in registers. A file of its own, so that no compiler can join it
 * with the loop around it. Returns a number that depends on all of them. */
double kernel(uint64_t rounds);

/* All of a task: checks the inputs, works, and returns its word; 0 after a message if an input is not
 * the one that it should be. @in: one word each, as graph_inputs() lists them. */
uint64_t task_body(const struct graph *g, uint32_t graph, uint32_t step, uint32_t point,
                   uint64_t rounds, const uint64_t *in, uint32_t count);

#endif
