/* store_run.c - rounds of an operation and rounds of its floor in turn, A B A B. */
#include <stdio.h>
#include <stdlib.h>

#include "store_bench.h"

enum {
    ROUNDS_MIN = 31,      /* short rounds of each side: best over best */
    LARGE_ROUNDS_MIN = 3, /* of the largest object, which takes long; 11 if time allows */
    LARGE_ROUNDS = 11,
    ROUNDS_TOP = 1000,
    PAIR_ROUNDS = 7,
    LINES = 2048, /* loads in a round of a floor */
    COPIES = 200,
    COPY_BYTES_A_ROUND = 4 << 20,
    WARM_UP = 2
};
#define SETTLE_NS ((uint64_t)300000) /* before a floor's round, so that it has the CPUs */

static struct floor *line, *cold;

/* ---- one operation ------------------------------------------------------------------------------- */

static double floor_ns(const struct store_op *op, struct floor *copy, size_t size)
{
    uint64_t copies = COPY_BYTES_A_ROUND / (size ? size : 1);
    copies = copies < 1 ? 1 : copies > COPIES ? COPIES : copies;
    double ns = 0;
    if (op->floor == COPY || op->floor == COPY_AND_LINE) {
        ns += bench_floor(copy, FLOOR_COPY, copies);
    }
    if (op->floor == LINE || op->floor == COPY_AND_LINE) {
        floor_sleep_ns(SETTLE_NS);
        ns += bench_floor(line, FLOOR_LINE, LINES);
    }
    if (op->floor == COLD) {
        ns += bench_floor(cold, FLOOR_COLD, LINES);
    }
    return ns;
}

static void measure(struct store_bench *b, const struct store_op *op, uint64_t until_ns,
                    struct store_row *row)
{
    static double ns[ROUNDS_TOP], ratio[ROUNDS_TOP];
    int large = op->size == SIZE_MAX;
    size_t size = large ? b->options->large_bytes : op->size;
    uint64_t least = large ? LARGE_ROUNDS_MIN : ROUNDS_MIN, n = 0;
    struct floor *copy = NULL;
    if (op->floor == COPY || op->floor == COPY_AND_LINE) {
        struct floor_options options = FLOOR_OPTIONS_INIT;
        options.copy_bytes = size;
        copy = bench_start_floor(FLOOR_COPY, &options);
    }
    for (int i = 0; i < WARM_UP && !large; i++) {
        (void)op->round(b, size, op->count);
    }
    while (n < least ||
           (n < (large ? LARGE_ROUNDS : ROUNDS_TOP) && floor_now_ns() < until_ns)) {
        ns[n] = (double)op->round(b, size, op->count) / (double)op->count;
        double floor = floor_ns(op, copy, size);
        bench_keep_best(ns[n], &row->best_ns);
        bench_keep_best(floor, &row->floor_best_ns);
        ratio[n] = op->budget.least > 0 ? floor / ns[n] : ns[n] / floor;
        n++;
    }
    floor_stop(copy);
    row->rounds = n;
    row->ns = stats_spread(ns, n);
    row->ratio = stats_spread(ratio, n);
    row->verdict =
        op->budget.least > 0 ? row->ratio.median : row->best_ns / row->floor_best_ns;
}

/* ---- the run ------------------------------------------------------------------------------------- */

static void open_store(struct store_bench *b)
{
    uint64_t large = b->options->large_bytes;
    struct mob_config config = {.struct_size = sizeof config,
                                .num_cpus = 1,
                                .store_bytes = large * 4 + ((uint64_t)512 << 20),
                                .job_name = "store_bench"};
    size_t bytes = large > (1 << 20) ? large : 1 << 20;
    b->bytes = malloc(bytes);
    if (!b->bytes) {
        fprintf(stderr, "store_bench: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    for (size_t i = 0; i < bytes; i++) {
        b->bytes[i] = (unsigned char)(i * 7 + 1);
    }
    setenv("MOBULA_SPILL_DIR", "none", 1); /* what is measured stays in memory */
    MOB_CHECK(mob_init(&config, &b->mob));
}

const struct store_row *store_run(struct store_bench *b,
                                  struct store_pair ret_pairs[STORE_PAIRS])
{
    struct store_row *rows = calloc(store_ops_count, sizeof *rows);
    uint64_t share_ns =
        (uint64_t)(b->options->seconds * 1e9 / (double)(store_ops_count + 2));
    if (!rows) {
        fprintf(stderr, "store_bench: no memory\n");
        exit(1);
    }
    /* Before mob_init(): they are other processes and have no part in the job. */
    int here = bench_cpu(0), there = bench_cpu(1);
    struct floor_options options = FLOOR_OPTIONS_INIT;
    options.child_cpu = there;
    options.copy_bytes = COLD_BYTES;
    line = bench_start_floor(FLOOR_LINE, &options);
    cold = bench_start_floor(FLOOR_COLD, &options);
    b->server = server_start(there);
    open_store(b);
    /* This process on one CPU and all others that it measures against on another: a line that was
     * written on the same CPU is not dirty in another core. The daemon stays where it likes. */
    store_ops_prepare(b, there);
    bench_pin(there == FLOOR_ANY_CPU ? there : here);
    for (size_t i = 0; i < store_ops_count; i++) {
        rows[i].op = &store_ops[i];
        if (store_ops[i].size != SIZE_MAX || b->options->large_bytes) {
            measure(b, &store_ops[i], floor_now_ns() + share_ns, &rows[i]);
        }
    }
    uint64_t until_ns = floor_now_ns() + 2 * share_ns;
    for (int i = 0; i < PAIR_ROUNDS && (i < 2 || floor_now_ns() < until_ns); i++) {
        store_pairs(b, ret_pairs);
    }
    store_ops_end(b);
    mob_shutdown(b->mob);
    server_stop(b->server);
    floor_stop(line);
    floor_stop(cold);
    free(b->bytes);
    return rows;
}
