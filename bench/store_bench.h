/* store_bench.h - the parts of store_bench: what is measured, how, and what came out.
 *
 * store_bench.c reads the options and prints, store_ops.c has the operations, store_run.c measures them
 * against their floors, store_server.c does some of them through a server, as a contrast. */
#ifndef BENCH_STORE_BENCH_H
#define BENCH_STORE_BENCH_H

#include "common.h"

#define LARGE_BYTES_MAX ((uint64_t)1 << 31)
enum {
    BATCH_MAX = 1024,       /* objects in one round */
    COLD_OBJECTS = 1 << 18, /* records of 384 bytes: 96 MiB, more than caches hold */
    COLD_BYTES = COLD_OBJECTS * 384
};

struct store_options {
    double seconds;
    uint64_t large_bytes; /* of the largest object; 0: none */
    int json;
};

struct store_bench {
    const struct store_options *options;
    int cpus_usable; /* before the processes were put on CPUs of their own */
    struct mob *mob;
    unsigned char *bytes; /* the user's, large_bytes at least */
    mob_ref refs[BATCH_MAX];
    mob_ref *cold; /* COLD_OBJECTS */
    size_t cold_at;
    struct server *server;
};

/* ---- store_ops.c --------------------------------------------------------------------------------- */

enum floor_use { NO_FLOOR, LINE, COPY, COPY_AND_LINE, COLD };

struct store_op {
    const char *name;
    /* Does @count operations, with what must be done before and after them outside of the time.
     * Returns the nanoseconds. */
    uint64_t (*round)(struct store_bench *b, size_t size, uint64_t count);
    size_t size; /* of an object; UINT64_MAX: large_bytes */
    uint64_t count;
    enum floor_use floor;
    struct bench_budget budget; /* most: times the floor; least: of the floor's rate */
};
extern const struct store_op store_ops[];
extern const size_t store_ops_count;

/* @cpu: where the worker stays, or FLOOR_ANY_CPU. */
void store_ops_prepare(struct store_bench *b, int cpu);
void store_ops_end(struct store_bench *b);

/* An operation of one process, while the other one rests or does the same. Nanoseconds, the mean of
 * both. */
struct store_pair {
    const char *name;
    double alone_ns, both_ns;
};
enum { STORE_PAIRS = 2 };
void store_pairs(struct store_bench *b, struct store_pair ret[STORE_PAIRS]);

/* ---- store_server.c: a store behind a unix socket ------------------------------------------------ */

/* Starts it, in a process of its own on one CPU; before mob_init(). */
struct server *server_start(int cpu);
void server_stop(struct server *server);
uint64_t server_put(struct store_bench *b, size_t size, uint64_t count);
uint64_t server_get(struct store_bench *b, size_t size, uint64_t count);

/* ---- store_run.c --------------------------------------------------------------------------------- */

struct store_row {
    const struct store_op *op;
    uint64_t rounds;
    double best_ns, floor_best_ns; /* an operation; what it is compared with */
    struct spread ns, ratio;       /* by rounds; ratio: to the floor of the same pair */
    double verdict; /* what the budget is about: best over best, or the median rate */
};

/* Returns the rows, store_ops_count of them; those with rounds 0 were not measured. */
const struct store_row *store_run(struct store_bench *b,
                                  struct store_pair ret_pairs[STORE_PAIRS]);

#endif
