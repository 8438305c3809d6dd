/* metg_bench.h - the parts of metg_bench: what to run, how, and what came out.
 *
 * metg_bench.c reads the options, metg_sweep.c runs the runners, metg_report.c prints. */
#ifndef BENCH_METG_BENCH_H
#define BENCH_METG_BENCH_H

#include "common.h"
#include "graph.h"

enum system {
    SYSTEM_MOBULA, /* a task for each point of a step */
    SYSTEM_BLOCKS, /* Mobula, with a task for each CPU's part of a step, as in the MPI program */
    SYSTEM_THREADS,
    SYSTEM_MPI,
    SYSTEM_OPENMP,
    SYSTEM_STARPU,
    SYSTEMS
};
extern const char *const system_names[SYSTEMS];

enum {
    POINTS_MAX = 24, /* grains, each half of the one before */
    ROWS_MAX = 64,
    LIST_MAX = 8, /* values of an option */
    ROUNDS_MAX = 100
};

#define EFFICIENCY 0.5 /* METG(50 %) */

/* At most so many times another's METG; docs/BENCHMARKS.md says why. */
#define BUDGET_TASKS 0.1    /* mobula over OpenMP's tasks, StarPU */
#define BUDGET_MPI 2.0      /* blocks over MPI, one graph */
#define BUDGET_MPI_MANY 1.0 /* the same, several graphs of unequal tasks */

struct options {
    uint32_t patterns[LIST_MAX], widths[LIST_MAX], graphs[LIST_MAX];
    uint32_t pattern_count, width_count, graph_count;
    double imbalance; /* of the rows with several graphs that have one */
    unsigned systems; /* bit by enum system */
    uint32_t cpus, steps, rounds;
    uint64_t run_ns; /* a run has fewer steps if they would take longer */
    int json;
};

/* The fastest of all rounds of one grain. */
struct point {
    uint64_t grain; /* 0: never run */
    uint64_t tasks, rounds, ns;
};

struct sweep { /* one system in one row */
    struct point points[POINTS_MAX];
    double metg_ns;  /* 0: see @bound_ns */
    double bound_ns; /* METG is below (the finest grain was efficient) or 0 */
    double task_ns;  /* elapsed x CPUs / tasks at the finest grain: overhead alone */
};

struct row {
    enum pattern pattern;
    uint32_t width, graphs;
    double imbalance;
    struct sweep sweeps[SYSTEMS];
};

struct results {
    double round_ns; /* of the kernel on one CPU, all CPUs at work: the shared peak */
    uint32_t row_count;
    struct row rows[ROWS_MAX];
    const char *left_out[SYSTEMS]; /* why, or NULL */
};

/* Finds the runners and runs all rows. A runner that fails ends the program with status 1. */
void sweep_all(const struct options *options, struct results *results);
/* Which runners there are; sets left_out. */
void sweep_find(const struct options *options, struct results *results);

/* METG, with the granularity between two grains taken from the line between them. */
void sweep_metg(struct sweep *sweep, double round_ns, uint32_t cpus);

void report_text(const struct options *options, const struct results *results);
void report_json(const struct options *options, const struct results *results);

#endif
