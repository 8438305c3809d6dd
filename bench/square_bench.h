/* square_bench.h - the parts of square_bench: what to measure, how, and what came out.
 *
 * square_bench.c reads the options, square_run.c measures, square_report.c prints.
 * Closed loop: a new task is submitted only when an earlier one has come back, so the
 * figures are of a program that waits for its results, not of arrivals at a rate of their
 * own. */
#ifndef BENCH_SQUARE_BENCH_H
#define BENCH_SQUARE_BENCH_H

#include <mobula.h>

#include "stats.h"

#define ROUNDS_LATENCY_MIN 31 /* short rounds of each side: best over best */
#define ROUNDS_RATE_MIN 11    /* pairs: median of the ratios */
#define ROUNDS_MAX 1000       /* of one measurement; a bound for the arrays */
#define WINDOW_MAX 65536      /* tasks in flight */

enum { MODE_SYNC = 1, MODE_ASYNC = 2, MODE_ALL = 3 };

struct options {
    int mode;
    uint64_t tasks;   /* in a round; 0: chosen by the measurement */
    uint64_t window;  /* tasks in flight, async */
    unsigned cpus;    /* of an embedded node */
    int pin;          /* MOB_PIN, MOB_NO_PIN or 0, likewise */
    size_t payload;   /* bytes into and out of a task; a multiple of 8 */
    uint64_t work_ns; /* a task spins so long */
    const char *address;
    double seconds; /* about what the run takes */
    int json;
};

struct latency { /* one task at a time, against a floor of two processes */
    int measured;
    uint64_t rounds, tasks; /* tasks: all rounds together */
    double best_ns;         /* a task, in the best round */
    struct hist trips;      /* each task by itself, the clock's own cost included */
    double floor_best_ns;   /* a trip, in the best round */
    struct spread floor_ns; /* a trip, by rounds */
    double ratio;           /* best over best */
};

struct rate { /* many in flight, against the bare queue */
    int measured;
    uint64_t rounds, tasks;
    struct spread per_s;
    struct spread floor_per_s;
    struct spread ratio; /* by pairs */
};

struct results {
    int cpus_usable; /* by this process */
    struct mob_info info;
    struct latency awake, parked;
    struct rate rate;
};

/* Starts the floors, joins the node and measures. A failure or a wrong result ends the
 * program with status 1 and a message. */
void square_run(const struct options *options, struct results *results);

/* 1 if the budgets are meant for a run like this: an empty task with one CPU to each
 * side. */
int square_budgets_apply(const struct options *options, const struct results *results);

void square_report_text(const struct options *options, const struct results *results);
void square_report_json(const struct options *options, const struct results *results);

#endif
