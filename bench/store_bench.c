/* store_bench - what an object costs, next to what the machine makes impossible to undercut.
 *
 * The program is driver and worker at once, as every Mobula program is. docs/BENCHMARKS.md says what is
 * measured and how to read it. */
#include "store_bench.h"

#include <stdio.h>
#include <stdlib.h>

#define LARGE_USUAL ((uint64_t)1 << 30)
enum { LARGE_SHARE = 8 }; /* of the free memory: it is there up to six times */

static const char usage[] =
    "usage: store_bench [options]\n"
    "Measures the object store, in turn with the machine's own floors.\n"
    "  --large BYTES   of the largest object (1 GiB, or an eighth of the free memory);\n"
    "                  0: none\n"
    "  --seconds S     about what the run takes (15)\n"
    "  --json          all numbers as one JSON object\n"
    "  --help          this text\n"
    "Exit status: 0 measured, 1 a failure or wrong bytes, 2 wrong usage.\n";

static void take_option(int letter, void *to)
{
    struct store_options *options = to;
    if (letter == 'l') {
        options->large_bytes = bench_parse_u64("--large", optarg, 0, LARGE_BYTES_MAX);
    }
}

static void parse_options(int argc, char **argv, struct store_options *options)
{
    static const struct option own[] = {{"large", required_argument, NULL, 'l'}, {0}};
    const struct bench_options all = {
        usage, own, take_option, options, &options->seconds, &options->json};
    bench_parse(argc, argv, &all);
}

/* ---- what came out ------------------------------------------------------------------------------- */

static const char *floor_text(enum floor_use use)
{
    static const char *const texts[] = {[NO_FLOOR] = "-",
                                        [LINE] = "dirty line",
                                        [COPY] = "memcpy",
                                        [COPY_AND_LINE] = "memcpy + line",
                                        [COLD] = "cold line"};
    return texts[use];
}

static void print_row(const struct store_row *r, int applies)
{
    const struct store_op *op = r->op;
    printf("%-26s %9s %9s   %-13s %9s %7.2f", op->name, bench_time_text(r->best_ns).text,
           bench_time_text(r->ns.median).text, floor_text(op->floor),
           bench_time_text(r->floor_best_ns).text, r->verdict);
    if (bench_has_budget(op->budget)) {
        printf("  %s", bench_budget_text(op->budget, r->verdict, applies).text);
    }
    printf("\n");
}

static void report_text(const struct store_bench *b, const struct store_row *rows,
                        const struct store_pair *pairs)
{
    printf("store_bench: closed loop, one driver, one worker. CPUs for this process: %d. "
           "Largest object %llu B.\nWarm-up is not counted; bytes were checked.\n\n",
           b->cpus_usable, (unsigned long long)b->options->large_bytes);
    printf("%-26s %9s %9s   %-13s %9s %7s  %-7s\n", "", "best", "median", "floor", "best",
           "ratio", "budget");
    for (size_t i = 0; i < store_ops_count; i++) {
        if (rows[i].rounds) {
            print_row(&rows[i], b->cpus_usable > 1);
        }
    }
    printf("  ratio: best over best; where the budget is a least, the median of the rate "
           "over the\n  floor's by pairs\n\n%-28s %9s %9s %7s\n",
           "", "alone", "two", "ratio");
    for (int i = 0; i < STORE_PAIRS; i++) {
        printf("%-28s %9s %9s %7.2f\n", pairs[i].name,
               bench_time_text(pairs[i].alone_ns).text,
               bench_time_text(pairs[i].both_ns).text,
               pairs[i].both_ns / pairs[i].alone_ns);
    }
}

static void json_row(const struct store_row *r, int first)
{
    printf("%s\n  {\"name\": \"%s\", \"rounds\": %llu, \"best_ns\": %.6g, \"floor\": "
           "\"%s\", \"floor_best_ns\": %.6g, ",
           first ? "" : ",", r->op->name, (unsigned long long)r->rounds, r->best_ns,
           floor_text(r->op->floor), r->floor_best_ns);
    bench_json_spread("ns", &r->ns);
    printf(", ");
    bench_json_spread("ratio", &r->ratio);
    printf(", ");
    bench_json_judged("verdict", r->verdict, r->op->budget);
    printf("}");
}

static void report_json(const struct store_bench *b, const struct store_row *rows,
                        const struct store_pair *pairs)
{
    printf("{\"benchmark\": \"store\", \"loop\": \"closed\", \"cpus_usable\": %d, "
           "\"large_bytes\": %llu,\n \"rows\": [",
           b->cpus_usable, (unsigned long long)b->options->large_bytes);
    for (size_t i = 0; i < store_ops_count; i++) {
        if (rows[i].rounds) {
            json_row(&rows[i], i == 0);
        }
    }
    printf("],\n \"pairs\": [");
    for (int i = 0; i < STORE_PAIRS; i++) {
        printf("%s{\"name\": \"%s\", \"alone_ns\": %.6g, \"both_ns\": %.6g}",
               i ? ", " : "", pairs[i].name, pairs[i].alone_ns, pairs[i].both_ns);
    }
    printf("]}\n");
}

int main(int argc, char **argv)
{
    static struct store_bench bench;
    struct store_pair pairs[STORE_PAIRS] = {0};
    struct store_options options = {
        .seconds = 15, .large_bytes = bench_usual_large(LARGE_USUAL, LARGE_SHARE)};
    if (mob_is_worker()) { /* a worker measures nothing: it runs tasks and does not come
                              back */
        MOB_CHECK(mob_init(NULL, &bench.mob));
    }
    bench_name = "store_bench";
    parse_options(argc, argv, &options);
    bench.options = &options;
    bench.cpus_usable = bench_cpus_usable();
    const struct store_row *rows = store_run(&bench, pairs);
    if (options.json) {
        report_json(&bench, rows, pairs);
    } else {
        report_text(&bench, rows, pairs);
    }
    free((void *)rows);
    return 0;
}
