/* runner.h - what a runner is: a program that runs shapes on one system and says how long each took.
 *
 * All runners share runner.c, which reads the options, sets up the graph, warms up, runs the grains
 * and prints a line each; a system's file has the functions below. */
#ifndef BENCH_METG_RUNNER_H
#define BENCH_METG_RUNNER_H

#include <stddef.h>

#include "graph.h"

struct runner_options {
    struct shape shape; /* steps and grain: of the runs, see below */
    uint32_t cpus;      /* that the system may keep busy */
};

/* ---- of the system ------------------------------------------------------------------------------ */

/* Starts the system, for shapes of this width and number of graphs and up to as many steps. Called
 * once, before anything else of the program's own. Ends the program on failure. */
void runner_start(int *argc, char ***argv);
/* After the options are known. */
void runner_open(const struct runner_options *options, const struct graph *g);
/* Runs it to the end. Nanoseconds, from before the first task is made until all are known to have
 * ended. Ends the program on a wrong input. */
uint64_t runner_run(const struct shape *s, const struct graph *g);
void runner_close(void);
/* 1 in the process that prints. */
int runner_prints(void);

/* ---- of runner.c, for the systems --------------------------------------------------------------- */

uint64_t runner_now_ns(void);
/* Keeps the calling thread on the @nth CPU that this process may use, the first again after the last. */
void runner_pin(uint32_t nth);
/* After a message. */
void runner_fail(const char *what, const char *why) __attribute__((noreturn));
/* Memory for @count things of @size, cleared and aligned to a cache line, or the end of the program. */
void *runner_alloc(size_t count, size_t size);
static inline void runner_want_word(uint64_t word)
{
    if (word == 0) { /* task_body() has said why */
        runner_fail("a task", "got a wrong input");
    }
}

#endif
