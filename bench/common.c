#include "common.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECONDS_MAX 3600.0
enum { OPTIONS_MAX = 16, PAGE = 4096 };

const char *bench_name = "bench";

void bench_usage_fail(const char *option, const char *value)
{
    fprintf(stderr, "%s: %s does not take '%s'; see %s --help\n", bench_name, option,
            value, bench_name);
    exit(2);
}

uint64_t bench_parse_u64(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < min ||
        value > max) {
        bench_usage_fail(option, text);
    }
    return value;
}

double bench_parse_seconds(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value > 0 && value <= SECONDS_MAX)) {
        bench_usage_fail("--seconds", text);
    }
    return value;
}

void bench_parse(int argc, char **argv, const struct bench_options *options)
{
    struct option all[OPTIONS_MAX + 1] = {{"seconds", required_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'}};
    int count = 3, letter;
    for (const struct option *own = options->own; own->name != NULL; own++) {
        if (count < OPTIONS_MAX) {
            all[count++] = *own;
        }
    }
    while ((letter = getopt_long(argc, argv, "h", all, NULL)) != -1) {
        switch (letter) {
        case 's':
            *options->seconds = bench_parse_seconds(optarg);
            break;
        case 'j':
            *options->json = 1;
            break;
        case 'h':
            fputs(options->usage, stdout);
            exit(0);
        case '?': /* getopt_long() has said what is wrong */
            exit(2);
        default:
            options->take(letter, options->to);
        }
    }
    if (optind < argc) {
        bench_usage_fail("this program", argv[optind]);
    }
}

uint64_t bench_usual_large(uint64_t usual, unsigned share)
{
    uint64_t free_bytes =
        (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t large = free_bytes / share / PAGE * PAGE;
    return large < usual ? large : usual;
}

int bench_cpus_usable(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int bench_cpu(int nth)
{
    cpu_set_t set;
    for (int i = 0; sched_getaffinity(0, sizeof set, &set) == 0 && i < CPU_SETSIZE; i++) {
        if (CPU_ISSET((size_t)i, &set) && nth-- == 0) {
            return i;
        }
    }
    return FLOOR_ANY_CPU;
}

void bench_pin(int cpu)
{
    cpu_set_t set;
    if (cpu == FLOOR_ANY_CPU) {
        return;
    }
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        fprintf(stderr, "%s: staying on CPU %d: %s\n", bench_name, cpu, strerror(errno));
        exit(1);
    }
}

static void floor_check(int rc, enum floor_kind kind)
{
    if (rc != 0) {
        fprintf(stderr, "%s: floor '%s': %s\n", bench_name, floor_name(kind),
                strerror(-rc));
        exit(1);
    }
}

struct floor *bench_start_floor(enum floor_kind kind, const struct floor_options *options)
{
    struct floor *floor = NULL;
    floor_check(floor_start(kind, options, &floor), kind);
    return floor;
}

double bench_floor(struct floor *floor, enum floor_kind kind, uint64_t count)
{
    uint64_t ns;
    floor_check(floor_round(floor, count, &ns), kind);
    return (double)ns / (double)count;
}

void bench_keep_best(double value, double *best)
{
    if (*best == 0 || value < *best) {
        *best = value;
    }
}

struct bench_text bench_time_text(double ns)
{
    struct bench_text t;
    const char *unit = ns < 1e3 ? "ns" : ns < 1e6 ? "us" : ns < 1e9 ? "ms" : "s";
    double value = ns < 1e3 ? ns : ns < 1e6 ? ns / 1e3 : ns < 1e9 ? ns / 1e6 : ns / 1e9;
    int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
    snprintf(t.text, sizeof t.text, "%.*f %s", digits, value, unit);
    return t;
}

struct bench_text bench_rate_text(double per_s)
{
    struct bench_text t;
    if (per_s >= 1e6) {
        snprintf(t.text, sizeof t.text, "%.2f M/s", per_s / 1e6);
    } else {
        snprintf(t.text, sizeof t.text, "%.1f k/s", per_s / 1e3);
    }
    return t;
}

int bench_has_budget(struct bench_budget b)
{
    return b.least > 0 || b.most > 0;
}

int bench_within(struct bench_budget b, double value)
{
    return b.least > 0 ? value >= b.least : value <= b.most;
}

struct bench_text bench_budget_text(struct bench_budget b, double value, int applies)
{
    struct bench_text t = {""};
    if (bench_has_budget(b)) {
        snprintf(t.text, sizeof t.text, "%s %-4.2f %s",
                 b.least > 0 ? ">=" : "<=", b.least > 0 ? b.least : b.most,
                 !applies                 ? "-"
                 : bench_within(b, value) ? "ok"
                                          : "over");
    }
    return t;
}

void bench_json_judged(const char *name, double value, struct bench_budget b)
{
    printf("\"%s\": %.17g", name, value);
    if (bench_has_budget(b)) {
        printf(", \"budget_%s\": %g, ", b.least > 0 ? "min" : "max",
               b.least > 0 ? b.least : b.most);
        bench_json_bool("within", bench_within(b, value));
    }
}

void bench_json_spread(const char *name, const struct spread *s)
{
    printf("\"%s\": {\"count\": %zu, \"min\": %.6g, \"low\": %.6g, \"median\": %.6g, "
           "\"high\": %.6g, \"max\": %.6g}",
           name, s->count, s->min, s->low, s->median, s->high, s->max);
}

void bench_json_bool(const char *name, int value)
{
    printf("\"%s\": %s", name, value ? "true" : "false");
}
