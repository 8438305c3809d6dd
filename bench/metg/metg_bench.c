/* metg_bench - the smallest tasks that keep a machine half busy, of Mobula and of what else there is.
 *
 * docs/BENCHMARKS.md says what is measured and how to read it. */
#include "metg_bench.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CPUS_MAX = 256, STEPS_LEAST = 10 };
#define RUN_MS_MAX 60000u

const char *const system_names[SYSTEMS] = {"mobula", "blocks", "threads",
                                           "mpi",    "openmp", "starpu"};

static const char usage[] =
    "usage: metg_bench [options]\n"
    "Runs task graphs with smaller and smaller tasks on Mobula and on other systems, in "
    "turn,\n"
    "and prints for each the smallest granularity at which half of the machine's peak "
    "is\n"
    "useful work: METG(50 %).\n"
    "  --patterns A,B...   of trivial, stencil, fft, random (all)\n"
    "  --widths N,N...     tasks in a step (as many as CPUs, and 4 times as many)\n"
    "  --graphs N,N...     graphs at once (1,4)\n"
    "  --imbalance X       of the tasks in the rows with several graphs that are "
    "unequal,\n"
    "                      0 to 1; 0: no such rows (1)\n"
    "  --systems A,B...    of mobula, blocks (Mobula with a task a CPU and step), "
    "threads,\n"
    "                      mpi, openmp, starpu (all that are built)\n"
    "  --cpus N            CPUs that each system is given (all that may be used)\n"
    "  --steps N           of a graph (1000)\n"
    "  --rounds N          of all systems in turn; the best of each point counts (5)\n"
    "  --run-ms N          a run of coarse tasks has fewer steps if they would take "
    "longer (50)\n"
    "  --json              all numbers as one JSON object\n"
    "  --help              this text\n"
    "Exit status: 0 measured, 1 a failure or a wrong result, 2 wrong usage.\n";

static void usage_fail(const char *option, const char *value) __attribute__((noreturn));
static void usage_fail(const char *option, const char *value)
{
    fprintf(stderr, "metg_bench: %s does not take '%s'; see metg_bench --help\n", option,
            value);
    exit(2);
}

static uint32_t parse_u32(const char *option, const char *text, uint32_t min,
                          uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || value < min || value > max) {
        usage_fail(option, text);
    }
    return (uint32_t)value;
}

static uint32_t parse_name(const char *option, const char *text, const char *const *names,
                           uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        if (strcmp(text, names[k]) == 0) {
            return k;
        }
    }
    usage_fail(option, text);
}

/* A list of numbers from @min to @max, or of names if there are any. */
static uint32_t parse_list(const char *option, char *text, const char *const *names,
                           uint32_t min, uint32_t max, uint32_t *list)
{
    uint32_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, ",", &rest); word;
         word = strtok_r(NULL, ",", &rest)) {
        if (count == LIST_MAX) {
            usage_fail(option, word);
        }
        list[count++] = names ? parse_name(option, word, names, max)
                              : parse_u32(option, word, min, max);
    }
    if (count == 0) {
        usage_fail(option, text);
    }
    return count;
}

static double parse_unit(const char *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 1)) {
        usage_fail(option, text);
    }
    return value;
}

static void parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"patterns", required_argument, NULL, 'p'},
        {"widths", required_argument, NULL, 'w'},
        {"graphs", required_argument, NULL, 'g'},
        {"imbalance", required_argument, NULL, 'i'},
        {"systems", required_argument, NULL, 's'},
        {"cpus", required_argument, NULL, 'c'},
        {"steps", required_argument, NULL, 't'},
        {"rounds", required_argument, NULL, 'r'},
        {"run-ms", required_argument, NULL, 'm'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    uint32_t list[LIST_MAX], count;
    int letter;
    while ((letter = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (letter) {
        case 'p':
            o->pattern_count =
                parse_list("--patterns", optarg, pattern_names, 0, PATTERNS, o->patterns);
            break;
        case 'w':
            o->width_count =
                parse_list("--widths", optarg, NULL, 1, WIDTH_MAX, o->widths);
            break;
        case 'g':
            o->graph_count =
                parse_list("--graphs", optarg, NULL, 1, GRAPHS_MAX, o->graphs);
            break;
        case 'i':
            o->imbalance = parse_unit("--imbalance", optarg);
            break;
        case 's':
            count = parse_list("--systems", optarg, system_names, 0, SYSTEMS, list);
            for (o->systems = 0; count > 0; count--) {
                o->systems |= 1u << list[count - 1];
            }
            break;
        case 'c':
            o->cpus = parse_u32("--cpus", optarg, 1, CPUS_MAX);
            break;
        case 't':
            o->steps = parse_u32("--steps", optarg, STEPS_LEAST, STEPS_MAX);
            break;
        case 'r':
            o->rounds = parse_u32("--rounds", optarg, 1, ROUNDS_MAX);
            break;
        case 'm':
            o->run_ns = 1000000ull * parse_u32("--run-ms", optarg, 1, RUN_MS_MAX);
            break;
        case 'j':
            o->json = 1;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default: /* getopt_long() has said what is wrong */
            exit(2);
        }
    }
    if (optind < argc) {
        usage_fail("this program", argv[optind]);
    }
}

static uint32_t cpus_usable(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < CPUS_MAX ? (uint32_t)count : CPUS_MAX;
}

static void add_row(struct results *results, uint32_t pattern, uint32_t width,
                    uint32_t graphs, double imbalance)
{
    if (results->row_count == ROWS_MAX) {
        fprintf(stderr, "metg_bench: more than %d rows\n", ROWS_MAX);
        exit(2);
    }
    results->rows[results->row_count++] =
        (struct row){(enum pattern)pattern, width, graphs, imbalance, {{{{0}}, 0, 0, 0}}};
}

static void plan_rows(const struct options *o, struct results *results)
{
    for (uint32_t w = 0; w < o->width_count; w++) {
        for (uint32_t p = 0; p < o->pattern_count; p++) {
            for (uint32_t g = 0; g < o->graph_count; g++) {
                add_row(results, o->patterns[p], o->widths[w], o->graphs[g], 0);
                if (o->graphs[g] > 1 && o->imbalance > 0) {
                    add_row(results, o->patterns[p], o->widths[w], o->graphs[g],
                            o->imbalance);
                }
            }
        }
    }
}

int main(int argc, char **argv)
{
    static struct results results;
    struct options o = {.patterns = {0, 1, 2, 3},
                        .pattern_count = PATTERNS,
                        .graphs = {1, 4},
                        .graph_count = 2,
                        .imbalance = 1,
                        .systems = (1u << SYSTEMS) - 1,
                        .cpus = cpus_usable(),
                        .steps = 1000,
                        .rounds = 5,
                        .run_ns = 50000000};
    parse_options(argc, argv, &o);
    if (o.width_count == 0) {
        o.widths[0] = o.cpus;
        o.widths[1] = 4 * o.cpus;
        o.width_count = 2;
    }
    plan_rows(&o, &results);
    sweep_all(&o, &results);
    if (o.json) {
        report_json(&o, &results);
    } else {
        report_text(&o, &results);
    }
    return 0;
}
