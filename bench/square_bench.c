/* square_bench - what a task costs, next to what the machine makes impossible to
 * undercut.
 *
 * The program is driver and worker at once, as every Mobula program is.
 * docs/BENCHMARKS.md says what is measured and how to read it. */
#include "common.h"
#include "square_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX ((uint64_t)1 << 30)
#define WORK_NS_MAX ((uint64_t)10 * 1000000000u)
#define TASKS_MAX ((uint64_t)1000000000)
#define CPUS_MAX 4096
#define WINDOW_USUAL 256
#define WINDOW_BYTES ((uint64_t)256 << 20)

static const char usage[] =
    "usage: square_bench [options]\n"
    "Measures tasks that square numbers, in turn with the machine's own floors.\n"
    "  --mode sync|async|all  one task at a time, many in flight, or both (all)\n"
    "  --tasks N              tasks in one round (as many as give a steady figure)\n"
    "  --window N             tasks in flight with async (256, or as many as have\n"
    "                         256 MiB of payload)\n"
    "  --cpus N               CPUs of an embedded node: its workers (1)\n"
    "  --pin, --no-pin        its workers have CPUs alone, or run on any\n"
    "  --payload BYTES        bytes into and out of each task, a multiple of 8 (8)\n"
    "  --work NS              each task spins so long (0)\n"
    "  --address A            join the node or cluster there\n"
    "  --seconds S            about what the run takes (5)\n"
    "  --json                 all numbers as one JSON object\n"
    "  --help                 this text\n"
    "Exit status: 0 measured, 1 a failure or a wrong result, 2 wrong usage.\n";

static int parse_mode(const char *text)
{
    static const char *const names[] = {
        [MODE_SYNC] = "sync", [MODE_ASYNC] = "async", [MODE_ALL] = "all"};
    for (int mode = MODE_SYNC; mode <= MODE_ALL; mode++) {
        if (strcmp(text, names[mode]) == 0) {
            return mode;
        }
    }
    bench_usage_fail("--mode", text);
    return 0;
}

static void take_option(int letter, void *to)
{
    struct options *options = to;
    switch (letter) {
    case 'm':
        options->mode = parse_mode(optarg);
        break;
    case 't':
        options->tasks = bench_parse_u64("--tasks", optarg, 1, TASKS_MAX);
        break;
    case 'w':
        options->window = bench_parse_u64("--window", optarg, 1, WINDOW_MAX);
        break;
    case 'c':
        options->cpus = (unsigned)bench_parse_u64("--cpus", optarg, 1, CPUS_MAX);
        break;
    case 'P':
        options->pin = MOB_PIN;
        break;
    case 'n':
        options->pin = MOB_NO_PIN;
        break;
    case 'p':
        options->payload = bench_parse_u64("--payload", optarg, 8, PAYLOAD_MAX);
        if (options->payload % 8 != 0) {
            bench_usage_fail("--payload", optarg);
        }
        break;
    case 'k':
        options->work_ns = bench_parse_u64("--work", optarg, 0, WORK_NS_MAX);
        break;
    case 'a':
        options->address = optarg;
        break;
    }
}

static void parse_options(int argc, char **argv, struct options *options)
{
    static const struct option own[] = {{"mode", required_argument, NULL, 'm'},
                                        {"tasks", required_argument, NULL, 't'},
                                        {"window", required_argument, NULL, 'w'},
                                        {"cpus", required_argument, NULL, 'c'},
                                        {"pin", no_argument, NULL, 'P'},
                                        {"no-pin", no_argument, NULL, 'n'},
                                        {"payload", required_argument, NULL, 'p'},
                                        {"work", required_argument, NULL, 'k'},
                                        {"address", required_argument, NULL, 'a'},
                                        {0}};
    const struct bench_options all = {
        usage, own, take_option, options, &options->seconds, &options->json};
    bench_parse(argc, argv, &all);
    if (options->window == 0) {
        uint64_t fit = WINDOW_BYTES / options->payload;
        options->window = fit == 0 ? 1 : fit < WINDOW_USUAL ? fit : WINDOW_USUAL;
    }
}

int main(int argc, char **argv)
{
    static struct results results;
    struct options options = {.mode = MODE_ALL, .cpus = 1, .payload = 8, .seconds = 5};
    if (mob_is_worker()) { /* a worker measures nothing: it runs tasks and does not come
                              back */
        struct mob *mob;
        MOB_CHECK(mob_init(NULL, &mob));
    }
    bench_name = "square_bench";
    parse_options(argc, argv, &options);
    square_run(&options, &results);
    if (options.json) {
        square_report_json(&options, &results);
    } else {
        square_report_text(&options, &results);
    }
    return 0;
}
