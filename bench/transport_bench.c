/* transport_bench - what it costs to move bytes between two nodes over TCP, in turn with
 * two threads that do no more than move them. docs/BENCHMARKS.md says what is measured
 * and how to read it. */
#include "transport_bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define LARGE_USUAL ((uint64_t)1 << 30)
#define LARGE_BYTES_MAX ((uint64_t)1 << 31)
enum {
    LARGE_SHARE = 4, /* of the free memory: it is there twice */
    PULL_ROUNDS_MIN = 11,
    LARGE_ROUNDS_MIN = 3,
    TRIP_ROUNDS_MIN = 31,
    ROUNDS_TOP = 1000,
    TRIPS = 100,           /* of one round */
    ROUND_BYTES = 4 << 20, /* at least, of one round of pulls */
};

struct row {
    const char *name;
    size_t size; /* of an object; 0: messages; SIZE_MAX: the largest */
    bool checked, encrypt, poll;
    unsigned lanes; /* data connections; 0: as many as usual */
    double least;   /* of the floor's rate; 0: no budget */
    double most;    /* times the floor's best; 0: no budget */
};

static const struct row rows[] = {
    {"pull 64 KiB", 65536, true, false, false, 0, 0, 0},
    {"pull 4 MiB", 4 << 20, true, false, false, 0, 0.95, 0},
    {"pull 64 MiB", 64 << 20, true, false, false, 0, 0.95, 0},
    {"pull, largest", SIZE_MAX, true, false, false, 0, 0.95, 0},
    {"pull 4 MiB, no sums", 4 << 20, false, false, false, 0, 0.95, 0},
    {"pull 64 MiB, no sums", 64 << 20, false, false, false, 0, 0.95, 0},
    {"pull 64 MiB, 1 lane", 64 << 20, true, false, false, 1, 0, 0},
    {"pull 64 MiB, 4 lanes", 64 << 20, true, false, false, 4, 0, 0},
    {"pull 64 MiB, encrypted", 64 << 20, true, true, false, 0, 0, 0},
    {"message, sleeping", 0, true, false, false, 0, 0, 1.3},
    {"message, polling", 0, true, false, true, 0, 0, 1.3},
    {"message, encrypted", 0, true, true, false, 0, 0, 0},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct result {
    size_t rounds, size;
    struct spread ns, floor_ns, ratio; /* of one pull or trip; ratio: floor over ours */
    double verdict;                    /* what the budget is about */
    double cpu, floor_cpu;             /* seconds for a GB, or microseconds for a trip */
};

struct options {
    double seconds;
    uint64_t large_bytes;
    const char *only; /* rows with this in their name; NULL: all */
    int json;
};

static const char usage[] =
    "usage: transport_bench [options]\n"
    "Measures transfers between two nodes over loopback, in turn with plain sockets.\n"
    "  --large BYTES   of the largest object (1 GiB, or a quarter of the free memory);\n"
    "                  0: nothing larger than 4 MiB\n"
    "  --only TEXT     rows with this text in their name\n"
    "  --seconds S     about what the run takes (20)\n"
    "  --json          all numbers as one JSON object\n"
    "  --help          this text\n"
    "Exit status: 0 measured, 1 a failure or wrong bytes, 2 wrong usage.\n";

void bench_die(const char *what)
{
    fprintf(stderr, "transport_bench: %s\n", what);
    exit(1);
}

static void parse_options(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {
        {"large", required_argument, NULL, 'l'},   {"only", required_argument, NULL, 'o'},
        {"seconds", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    int letter;
    while ((letter = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (letter) {
        case 'l':
            options->large_bytes = bench_parse_u64("--large", optarg, 0, LARGE_BYTES_MAX);
            break;
        case 'o':
            options->only = optarg;
            break;
        case 's':
            options->seconds = bench_parse_seconds(optarg);
            break;
        case 'j':
            options->json = 1;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default: /* getopt_long() has said what is wrong */
            exit(2);
        }
    }
    if (optind < argc) {
        bench_usage_fail("this program", argv[optind]);
    }
}

/* ---- measuring
 * --------------------------------------------------------------------------- */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double pulls(struct ours *ours, struct plain *plain, unsigned count)
{
    uint64_t ns = 0;
    for (unsigned i = 0; i < count; i++) {
        ns += ours != NULL ? ours_pull(ours) : plain_pull(plain);
    }
    return (double)ns / count;
}

/* One round of ours, or of the floor: nanoseconds of one pull or trip. Adds its CPU time. */
static double round_ns(const struct row *row, size_t size, struct ours *ours,
                       struct plain *plain, double *cpu)
{
    double before = cpu_seconds(), ns;
    if (row->size == 0) {
        ns =
            (double)(ours != NULL ? ours_trips(ours, TRIPS) : plain_trips(plain, TRIPS)) /
            TRIPS;
        *cpu += (cpu_seconds() - before) / TRIPS * 1e6;
    } else {
        unsigned count = size < ROUND_BYTES ? (unsigned)(ROUND_BYTES / size) : 1;
        ns = pulls(ours, plain, count);
        *cpu += (cpu_seconds() - before) / count / (double)size * 1e9;
    }
    return ns;
}

static size_t rounds_min(const struct row *row)
{
    return row->size == 0          ? TRIP_ROUNDS_MIN
           : row->size == SIZE_MAX ? LARGE_ROUNDS_MIN
                                   : PULL_ROUNDS_MIN;
}

static void measure(const struct row *row, const struct setup *setup, uint64_t until_ns,
                    struct result *ret)
{
    static double ns[ROUNDS_TOP], floor[ROUNDS_TOP], ratio[ROUNDS_TOP];
    size_t n = 0, least = rounds_min(row), size = setup->size;
    double warm = 0;
    struct result r = {.size = size};
    struct ours *ours = ours_start(setup);
    struct plain *plain = plain_start(setup);
    memset(setup->place, 0, size);
    (void)round_ns(row, size, ours, NULL, &warm);
    if (row->size != 0 && memcmp(setup->place, setup->object, size) != 0) {
        bench_die("wrong bytes arrived");
    }
    (void)round_ns(row, size, NULL, plain, &warm);
    while (n < least || (n < ROUNDS_TOP && floor_now_ns() < until_ns)) {
        ns[n] = round_ns(row, size, ours, NULL, &r.cpu);
        floor[n] = round_ns(row, size, NULL, plain, &r.floor_cpu);
        ratio[n] = floor[n] / ns[n];
        n++;
    }
    ours_stop(ours);
    plain_stop(plain);
    r.rounds = n;
    r.cpu /= (double)n;
    r.floor_cpu /= (double)n;
    r.ns = stats_spread(ns, n);
    r.floor_ns = stats_spread(floor, n);
    r.ratio = stats_spread(ratio, n);
    r.verdict = row->size != 0 ? r.ratio.median : r.ns.min / r.floor_ns.min;
    *ret = r;
}

static bool wanted(const struct options *o, const struct row *row)
{
    bool large = row->size > (4u << 20);
    return (o->large_bytes != 0 || !large) &&
           (o->only == NULL || strstr(row->name, o->only) != NULL);
}

static void measure_all(const struct options *options, struct result results[ROWS])
{
    size_t bytes = options->large_bytes > (64u << 20) ? options->large_bytes : 64u << 20;
    uint8_t *object = malloc(bytes), *place = malloc(bytes);
    size_t rows_wanted = 0;
    for (size_t i = 0; i < ROWS; i++) {
        rows_wanted += wanted(options, &rows[i]);
    }
    uint64_t share_ns =
        (uint64_t)(options->seconds * 1e9 / (double)(rows_wanted ? rows_wanted : 1));
    int here = bench_cpu(0), there = bench_cpu(1);
    if (object == NULL || place == NULL) {
        bench_die("no memory");
    }
    for (size_t i = 0; i < bytes; i++) {
        object[i] = (uint8_t)(i * 131 + (i >> 13));
    }
    memset(place, 0, bytes);
    bench_pin(there == FLOOR_ANY_CPU ? there : here);
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        size_t size = row->size == SIZE_MAX ? options->large_bytes : row->size;
        if (!wanted(options, row)) {
            continue;
        }
        struct setup setup = {object,       place,      size,      row->checked,
                              row->encrypt, row->lanes, row->poll, there};
        measure(row, &setup, floor_now_ns() + share_ns, &results[i]);
    }
    free(object);
    free(place);
}

/* ---- what came out
 * ----------------------------------------------------------------------- */

static int within(const struct row *row, const struct result *r)
{
    return row->least > 0 ? r->verdict >= row->least : r->verdict <= row->most;
}

static void print_row(const struct row *row, const struct result *r, int applies)
{
    if (row->size != 0) {
        printf("%-23s %7.3f %7.3f %9.3f %8.3f ", row->name, (double)r->size / r->ns.min,
               (double)r->size / r->ns.median, (double)r->size / r->floor_ns.min,
               (double)r->size / r->floor_ns.median);
    } else {
        printf("%-23s %7s %7s %9s %8s ", row->name, bench_time_text(r->ns.min).text,
               bench_time_text(r->ns.median).text, bench_time_text(r->floor_ns.min).text,
               bench_time_text(r->floor_ns.median).text);
    }
    printf("%6.2f  ", r->verdict);
    if (row->least > 0 || row->most > 0) {
        printf("%s %-4.2f %-4s",
               row->least > 0 ? ">=" : "<=", row->least > 0 ? row->least : row->most,
               bench_verdict(applies, within(row, r)));
    } else {
        printf("%12s", "");
    }
    printf(" %7.2f %7.2f\n", r->cpu, r->floor_cpu);
}

static void report_text(const struct options *options, const struct result *results,
                        int cpus)
{
    printf("transport_bench: two threads of one process over loopback. CPUs for it: %d. "
           "Largest object %llu B.\nPulls in GB/s, messages of %d bytes there and back. "
           "Warm-up is not counted; bytes were checked.\n\n",
           cpus, (unsigned long long)options->large_bytes, MESSAGE_BYTES);
    printf("%-23s %7s %7s %9s %8s %6s  %-12s %7s %7s\n", "", "best", "median",
           "plain best", "median", "ratio", "budget", "CPU", "plain");
    for (size_t i = 0; i < ROWS; i++) {
        if (results[i].rounds != 0) {
            print_row(&rows[i], &results[i], cpus > 1);
        }
    }
    printf(
        "  ratio: of pulls the median of the rate over the floor's by pairs; of messages "
        "best over best\n  CPU: of both threads, seconds a GB, or microseconds a trip\n");
}

static void json_row(const struct row *row, const struct result *r, int first)
{
    printf("%s\n  {\"name\": \"%s\", \"size\": %zu, \"rounds\": %zu, ", first ? "" : ",",
           row->name, r->size, r->rounds);
    bench_json_spread("ns", &r->ns);
    printf(", ");
    bench_json_spread("floor_ns", &r->floor_ns);
    printf(", ");
    bench_json_spread("ratio", &r->ratio);
    printf(", \"cpu\": %.6g, \"floor_cpu\": %.6g, \"verdict\": %.6g", r->cpu,
           r->floor_cpu, r->verdict);
    if (row->least > 0 || row->most > 0) {
        printf(", \"budget_%s\": %g, ", row->least > 0 ? "min" : "max",
               row->least > 0 ? row->least : row->most);
        bench_json_bool("within", within(row, r));
    }
    printf("}");
}

static void report_json(const struct options *options, const struct result *results,
                        int cpus)
{
    int first = 1;
    printf("{\"benchmark\": \"transport\", \"cpus_usable\": %d, \"large_bytes\": %llu,\n "
           "\"rows\": [",
           cpus, (unsigned long long)options->large_bytes);
    for (size_t i = 0; i < ROWS; i++) {
        if (results[i].rounds != 0) {
            json_row(&rows[i], &results[i], first);
            first = 0;
        }
    }
    printf("]}\n");
}

static uint64_t usual_large(void)
{
    uint64_t free_bytes =
        (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t large = free_bytes / LARGE_SHARE / 4096 * 4096;
    return large < LARGE_USUAL ? large : LARGE_USUAL;
}

int main(int argc, char **argv)
{
    static struct result results[ROWS];
    struct options options = {.seconds = 20, .large_bytes = usual_large()};
    bench_name = "transport_bench";
    parse_options(argc, argv, &options);
    int cpus = bench_cpus_usable();
    measure_all(&options, results);
    if (options.json) {
        report_json(&options, results, cpus);
    } else {
        report_text(&options, results, cpus);
    }
    return 0;
}
