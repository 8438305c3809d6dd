/* transport_bench - what it costs to move bytes between two nodes over TCP or RDMA, in turn
 * with two threads that do no more than move them. docs/BENCHMARKS.md says what is measured
 * and how to read it. */
#include "transport_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"
#include "core/limits.h"

#define LARGE_USUAL ((uint64_t)1 << 30)
#define LARGE_BYTES_MAX ((uint64_t)1 << 31)
enum {
    LARGE_SHARE = 4, /* of the free memory: it is there twice */
    PULL_ROUNDS_MIN = 11,
    LARGE_ROUNDS_MIN = 3,
    TRIP_ROUNDS_MIN = 31,
    ROUNDS_TOP = 1000,
    TRIPS = 100, /* of one round */
    PAGE = 4096,
    ROUND_BYTES = 4 << 20, /* at least, of one round of pulls */
};

struct row {
    const char *name;
    size_t size; /* of an object; 0: messages; SIZE_MAX: the largest */
    bool checked, encrypt, poll;
    unsigned lanes;             /* data connections; 0: as many as usual */
    struct bench_budget budget; /* least: of the floor's rate; most: times its best */
    bool verbs;                 /* over RDMA; the floor: plain libibverbs */
};

static const struct row rows[] = {
    {"pull 64 KiB", 65536, true, false, false, 0, {0, 0}, false},
    {"pull 4 MiB", 4 << 20, true, false, false, 0, {.least = 0.95}, false},
    {"pull 64 MiB", 64 << 20, true, false, false, 0, {.least = 0.95}, false},
    {"pull, largest", SIZE_MAX, true, false, false, 0, {.least = 0.95}, false},
    {"pull 4 MiB, no sums", 4 << 20, false, false, false, 0, {.least = 0.95}, false},
    {"pull 64 MiB, no sums", 64 << 20, false, false, false, 0, {.least = 0.95}, false},
    {"pull 64 MiB, 1 lane", 64 << 20, true, false, false, 1, {0, 0}, false},
    {"pull 64 MiB, 4 lanes", 64 << 20, true, false, false, 4, {0, 0}, false},
    {"pull 64 MiB, encrypted", 64 << 20, true, true, false, 0, {0, 0}, false},
    {"message, sleeping", 0, true, false, false, 0, {.most = 1.3}, false},
    {"message, polling", 0, true, false, true, 0, {.most = 1.3}, false},
    {"message, encrypted", 0, true, true, false, 0, {0, 0}, false},
    {"RDMA 4 MiB", 4 << 20, true, false, false, 0, {.least = 0.95}, true},
    {"RDMA 16 MiB", 16 << 20, true, false, false, 0, {.least = 0.95}, true},
    {"RDMA, largest", SIZE_MAX, true, false, false, 0, {.least = 0.95}, true},
    {"RDMA 4 MiB, no sums", 4 << 20, false, false, false, 0, {.least = 0.95}, true},
    {"RDMA 16 MiB, no sums", 16 << 20, false, false, false, 0, {.least = 0.95}, true},
    {"RDMA message, sleeping", 0, true, false, false, 0, {.most = 1.3}, true},
    {"RDMA message, polling", 0, true, false, true, 0, {.most = 1.3}, true},
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
    bool verbs;       /* rows over RDMA, and no others */
    const char *only; /* rows with this in their name; NULL: all */
    int json;
};

static const char usage[] =
    "usage: transport_bench [options]\n"
    "Measures transfers between two nodes over loopback, in turn with plain sockets.\n"
    "  --verbs         over this machine's RDMA device, in turn with plain libibverbs\n"
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

static void take_option(int letter, void *to)
{
    struct options *options = to;
    switch (letter) {
    case 'l':
        options->large_bytes = bench_parse_u64("--large", optarg, 0, LARGE_BYTES_MAX);
        break;
    case 'o':
        options->only = optarg;
        break;
    case 'v':
        options->verbs = true;
        break;
    }
}

static void parse_options(int argc, char **argv, struct options *options)
{
    static const struct option own[] = {{"large", required_argument, NULL, 'l'},
                                        {"only", required_argument, NULL, 'o'},
                                        {"verbs", no_argument, NULL, 'v'},
                                        {0}};
    const struct bench_options all = {
        usage, own, take_option, options, &options->seconds, &options->json};
    bench_parse(argc, argv, &all);
}

/* ---- measuring
 * --------------------------------------------------------------------------- */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What is measured, and what in turn with it. */
struct sides {
    struct ours *ours;
    const struct plain_ops *ops;
    void *plain;
};

static double pulls(const struct sides *s, bool ours, unsigned count)
{
    uint64_t ns = 0;
    for (unsigned i = 0; i < count; i++) {
        ns += ours ? ours_pull(s->ours) : s->ops->pull(s->plain);
    }
    return (double)ns / count;
}

/* One round of ours, or of the floor: nanoseconds of one pull or trip. Adds its CPU time. */
static double round_ns(const struct row *row, size_t size, const struct sides *s,
                       bool ours, double *cpu)
{
    double before = cpu_seconds(), ns;
    if (row->size == 0) {
        ns =
            (double)(ours ? ours_trips(s->ours, TRIPS) : s->ops->trips(s->plain, TRIPS)) /
            TRIPS;
        *cpu += (cpu_seconds() - before) / TRIPS * 1e6;
    } else {
        unsigned count = size < ROUND_BYTES ? (unsigned)(ROUND_BYTES / size) : 1;
        ns = pulls(s, ours, count);
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
    struct sides s = {.ops = row->verbs ? &plain_verbs : &plain_sockets};
    s.ours = ours_start(setup);
    s.plain = s.ops->start(setup);
    memset(setup->place, 0, size);
    (void)round_ns(row, size, &s, true, &warm);
    if (row->size != 0 && memcmp(setup->place, setup->object, size) != 0) {
        bench_die("wrong bytes arrived");
    }
    memset(setup->place, 0, size);
    (void)round_ns(row, size, &s, false, &warm);
    if (row->size != 0 && memcmp(setup->place, setup->object, size) != 0) {
        bench_die("wrong bytes arrived at the plain side");
    }
    while (n < least || (n < ROUNDS_TOP && floor_now_ns() < until_ns)) {
        ns[n] = round_ns(row, size, &s, true, &r.cpu);
        floor[n] = round_ns(row, size, &s, false, &r.floor_cpu);
        ratio[n] = floor[n] / ns[n];
        n++;
    }
    ours_stop(s.ours);
    s.ops->stop(s.plain);
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
    if (row->verbs) { /* where a device is emulated all is slow */
        large = row->size == SIZE_MAX;
    }
    return row->verbs == o->verbs && (o->large_bytes != 0 || !large) &&
           (o->only == NULL || strstr(row->name, o->only) != NULL);
}

static void measure_all(const struct options *options, struct result results[ROWS])
{
    size_t bytes = CHUNK_BYTES, rows_wanted = 0;
    for (size_t i = 0; i < ROWS; i++) {
        if (wanted(options, &rows[i])) {
            size_t size = rows[i].size == SIZE_MAX ? options->large_bytes : rows[i].size;
            bytes = bytes < size ? size : bytes;
            rows_wanted++;
        }
    }
    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    uint8_t *object = aligned_alloc(PAGE, bytes), *place = aligned_alloc(PAGE, bytes);
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
        struct setup setup = {.object = object,
                              .place = place,
                              .room = bytes,
                              .size = size,
                              .verbs = row->verbs,
                              .checked = row->checked,
                              .encrypt = row->encrypt,
                              .lanes = row->lanes,
                              .poll = row->poll,
                              .owner_cpu = there};
        measure(row, &setup, floor_now_ns() + share_ns, &results[i]);
    }
    free(object);
    free(place);
}

/* ---- what came out
 * ----------------------------------------------------------------------- */

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
    printf("%6.2f  %-12s", r->verdict,
           bench_budget_text(row->budget, r->verdict, applies).text);
    printf(" %7.2f %7.2f\n", r->cpu, r->floor_cpu);
}

static void report_text(const struct options *options, const struct result *results,
                        int cpus)
{
    printf("transport_bench: two threads of one process over %s. CPUs for it: %d. "
           "Largest object %llu B.\nPulls in GB/s, messages of %d bytes there and back. "
           "Warm-up is not counted; bytes were checked.\n\n",
           options->verbs ? "RDMA" : "loopback", cpus,
           (unsigned long long)options->large_bytes, MESSAGE_BYTES);
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
    printf(", \"cpu\": %.6g, \"floor_cpu\": %.6g, ", r->cpu, r->floor_cpu);
    bench_json_judged("verdict", r->verdict, row->budget);
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

int main(int argc, char **argv)
{
    static struct result results[ROWS];
    struct options options = {.seconds = 20,
                              .large_bytes = bench_usual_large(LARGE_USUAL, LARGE_SHARE)};
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
