/* What came out, as a table for people and as JSON for programs. */
#include "square_bench.h"

#include <stdio.h>

#include "common.h"

static const struct bench_budget budget_awake = {.most = 2.5};  /* trip over bounce */
static const struct bench_budget budget_parked = {.most = 1.3}; /* trip over futex pair */
static const struct bench_budget budget_rate = {.least =
                                                    0.25}; /* tasks over queue items */

int square_budgets_apply(const struct options *options, const struct results *results)
{
    return options->payload == sizeof(double) && options->work_ns == 0 &&
           results->cpus_usable > 1;
}

static void latency_row(const char *what, const char *floor, const struct latency *l,
                        struct bench_budget budget, int applies)
{
    if (!l->measured) {
        return;
    }
    printf("%-19s %9s %9s %9s %9s   %-10s %9s %7.2f  %s\n", what,
           bench_time_text(l->best_ns).text,
           bench_time_text((double)hist_percentile(&l->trips, 50)).text,
           bench_time_text((double)hist_percentile(&l->trips, 99)).text,
           bench_time_text((double)l->trips.max).text, floor,
           bench_time_text(l->floor_best_ns).text, l->ratio,
           bench_budget_text(budget, l->ratio, applies).text);
}

static void rate_rows(const struct options *options, const struct rate *r, int applies)
{
    if (!r->measured) {
        return;
    }
    printf("\n%-19s %11s %11s %11s   %-10s %11s %7s  %-7s\n", "", "median", "least",
           "best", "floor", "median", "ratio", "budget");
    printf("%-19s %11s %11s %11s   %-10s %11s %7.2f  %s\n", "tasks in flight",
           bench_rate_text(r->per_s.median).text, bench_rate_text(r->per_s.min).text,
           bench_rate_text(r->per_s.max).text, "CAS queue",
           bench_rate_text(r->floor_per_s.median).text, r->ratio.median,
           bench_budget_text(budget_rate, r->ratio.median, applies).text);
    printf("  window %llu, ratio of %llu pairs: least %.2f, quarter %.2f, median %.2f, "
           "three quarters %.2f, most %.2f\n",
           (unsigned long long)options->window, (unsigned long long)r->rounds,
           r->ratio.min, r->ratio.low, r->ratio.median, r->ratio.high, r->ratio.max);
}

void square_report_text(const struct options *options, const struct results *results)
{
    int applies = square_budgets_apply(options, results);
    printf("square_bench: closed loop, one driver. Node: CPUs %u, workers %u. Payload "
           "%zu B, "
           "work %llu ns.\n",
           results->info.num_cpus, results->info.workers, options->payload,
           (unsigned long long)options->work_ns);
    printf("CPUs for this process: %d. Warm-up is not counted; every result was "
           "checked.\n\n",
           results->cpus_usable);
    if (results->awake.measured) {
        printf("%-19s %9s %9s %9s %9s   %-10s %9s %7s  %-7s\n", "", "best", "p50", "p99",
               "max", "floor", "best", "ratio", "budget");
    }
    latency_row("round trip, awake", "bounce", &results->awake, budget_awake, applies);
    latency_row("round trip, parked", "futex pair", &results->parked, budget_parked,
                applies);
    if (results->awake.measured) {
        printf("  best: mean of a task in the best of %llu and %llu rounds; ratio: best "
               "over "
               "best\n",
               (unsigned long long)results->awake.rounds,
               (unsigned long long)results->parked.rounds);
    }
    rate_rows(options, &results->rate, applies);
    if (results->cpus_usable < 2) {
        printf(
            "\nOnly one CPU: driver and worker cannot both be awake, so the figures for "
            "awake and\nin flight mean nothing here; the kernel's scheduler is what they "
            "measure.\n");
    } else if (!applies) {
        printf(
            "\nThe budgets are for an empty task of 8 bytes, so there is no verdict.\n");
    }
}

static void json_latency(const char *name, const char *floor, const struct latency *l,
                         struct bench_budget budget)
{
    if (!l->measured) {
        return;
    }
    printf(",\n \"%s\": {\"rounds\": %llu, \"tasks\": %llu, \"best_ns\": %.6g", name,
           (unsigned long long)l->rounds, (unsigned long long)l->tasks, l->best_ns);
    static const double percents[] = {50, 90, 99, 99.9};
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
        printf(", \"p%g_ns\": %llu", percents[i],
               (unsigned long long)hist_percentile(&l->trips, percents[i]));
    }
    printf(
        ", \"min_ns\": %llu, \"max_ns\": %llu,\n  \"floor\": \"%s\", \"floor_best_ns\": "
        "%.6g, ",
        (unsigned long long)l->trips.min, (unsigned long long)l->trips.max, floor,
        l->floor_best_ns);
    bench_json_spread("floor_ns", &l->floor_ns);
    printf(",\n  ");
    bench_json_judged("ratio", l->ratio, budget);
    printf("}");
}

static void json_rate(const struct rate *r)
{
    if (!r->measured) {
        return;
    }
    printf(",\n \"in_flight\": {\"rounds\": %llu, \"tasks\": %llu,\n  ",
           (unsigned long long)r->rounds, (unsigned long long)r->tasks);
    bench_json_spread("per_s", &r->per_s);
    printf(",\n  \"floor\": \"CAS queue\", ");
    bench_json_spread("floor_per_s", &r->floor_per_s);
    printf(",\n  ");
    bench_json_spread("ratio", &r->ratio);
    printf(", ");
    bench_json_judged("verdict", r->ratio.median, budget_rate);
    printf("}");
}

void square_report_json(const struct options *options, const struct results *results)
{
    printf(
        "{\"benchmark\": \"square\", \"loop\": \"closed\", \"cpus_usable\": %d, "
        "\"node_cpus\": %u, \"workers\": %u, \"payload_bytes\": %zu, \"work_ns\": %llu, "
        "\"window\": %llu, ",
        results->cpus_usable, results->info.num_cpus, results->info.workers,
        options->payload, (unsigned long long)options->work_ns,
        (unsigned long long)options->window);
    bench_json_bool("budgets_apply", square_budgets_apply(options, results));
    json_latency("awake", "bounce", &results->awake, budget_awake);
    json_latency("parked", "futex pair", &results->parked, budget_parked);
    json_rate(&results->rate);
    printf("}\n");
}
