/* common.h - what the benchmarks that use the library share: options, floors, texts. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <getopt.h>
#include <mobula.h>

#include "floor.h"
#include "stats.h"

extern const char *bench_name; /* the program's, for messages; set first of all */

/* ---- options: a wrong one ends the program with status 2 ---------------------------------------- */

/* What a benchmark takes beside --seconds, --json and --help, which all do. */
struct bench_options {
    const char *usage;
    const struct option *own; /* ended by zeros; letters other than s, j and h */
    void (*take)(int letter, void *to); /* the value is in optarg */
    void *to;
    double *seconds;
    int *json;
};
/* Reads the command line; --help ends the program with status 0. */
void bench_parse(int argc, char **argv, const struct bench_options *options);
void bench_usage_fail(const char *option, const char *value) __attribute__((noreturn));
uint64_t bench_parse_u64(const char *option, const char *text, uint64_t min,
                         uint64_t max);
double bench_parse_seconds(const char *text);
/* Bytes of the largest object: @usual, or one @share-th of the free memory if that is less. */
uint64_t bench_usual_large(uint64_t usual, unsigned share);

/* ---- measuring: a failure ends the program with status 1 ---------------------------------------- */

/* CPUs that this process may use. */
int bench_cpus_usable(void);
/* The @nth of them, or FLOOR_ANY_CPU if there are not so many. */
int bench_cpu(int nth);
/* Keeps the calling thread on one of them; FLOOR_ANY_CPU: does nothing. */
void bench_pin(int cpu);
/* @options may be NULL. */
struct floor *bench_start_floor(enum floor_kind kind,
                                const struct floor_options *options);
/* One round: nanoseconds a unit. */
double bench_floor(struct floor *floor, enum floor_kind kind, uint64_t count);
/* The least of all values; *best is 0 before the first. */
void bench_keep_best(double value, double *best);

/* ---- texts -------------------------------------------------------------------------------------- */

struct bench_text { /* with three digits that say something */
    char text[16];
};
struct bench_text bench_time_text(double ns);
struct bench_text bench_rate_text(double per_s);
/* What a figure is judged by: at least `least` if that is not 0, otherwise at most `most`; both 0: no budget. */
struct bench_budget {
    double least, most;
};
int bench_has_budget(struct bench_budget b);
int bench_within(struct bench_budget b, double value);
/* "<= 2.50 ok", "<= 2.50 over", or "<= 2.50 -" if the budget is not meant for this run; "" if there is none. */
struct bench_text bench_budget_text(struct bench_budget b, double value, int applies);
/* The figure with all its digits, so that who reads it judges as we do, and its budget if it has one. */
void bench_json_judged(const char *name, double value, struct bench_budget b);
void bench_json_spread(const char *name, const struct spread *s);
void bench_json_bool(const char *name, int value);

#endif
