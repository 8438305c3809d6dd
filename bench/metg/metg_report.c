/* The table and the JSON of metg_bench. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "metg_bench.h"

/* METG of one over another's. */
struct verdict {
    double ratio; /* 0: not known */
    struct bench_budget budget;
};

/* What is compared: a task for each point with systems that have one too, a task for each CPU's part of a
 * step with programs that are cut that way. */
static const struct pair {
    enum system ours, other;
} pairs[] = {{SYSTEM_MOBULA, SYSTEM_OPENMP},
             {SYSTEM_MOBULA, SYSTEM_STARPU},
             {SYSTEM_MOBULA, SYSTEM_MPI},
             {SYSTEM_BLOCKS, SYSTEM_THREADS},
             {SYSTEM_BLOCKS, SYSTEM_MPI}};
enum { PAIRS = sizeof pairs / sizeof pairs[0] };

static double metg_of(const struct sweep *s)
{
    return s->metg_ns != 0 ? s->metg_ns : s->bound_ns;
}

static struct verdict judge(const struct row *row, const struct pair *p)
{
    struct verdict v = {0};
    double mine = metg_of(&row->sweeps[p->ours]), its = metg_of(&row->sweeps[p->other]);
    if (mine > 0 && its > 0) {
        v.ratio = mine / its;
    }
    if (p->other == SYSTEM_OPENMP || p->other == SYSTEM_STARPU) {
        v.budget.most = BUDGET_TASKS;
    } else if (p->ours == SYSTEM_BLOCKS && p->other == SYSTEM_MPI) {
        v.budget.most = row->graphs == 1     ? BUDGET_MPI
                        : row->imbalance > 0 ? BUDGET_MPI_MANY
                                             : 0;
    }
    return v;
}

static const char *time_text(double ns, char *text, size_t size)
{
    if (ns < 1e3) {
        snprintf(text, size, "%.0f ns", ns);
    } else if (ns < 1e6) {
        snprintf(text, size, ns < 1e4 ? "%.2f us" : "%.1f us", ns / 1e3);
    } else {
        snprintf(text, size, "%.1f ms", ns / 1e6);
    }
    return text;
}

/* "< 90 ns" if even the finest grain was efficient, "> 2 ms" if none was. */
static void print_metg(const struct sweep *s)
{
    char number[24], text[32];
    const char *sign = s->metg_ns != 0 ? "" : s->bound_ns != 0 ? "< " : "> ";
    double ns = s->metg_ns != 0 ? s->metg_ns : s->task_ns;
    if (s->points[0].grain == 0) {
        printf(" %11s", "-");
        return;
    }
    snprintf(text, sizeof text, "%s%s", sign, time_text(ns, number, sizeof number));
    printf(" %11s", text);
}

static void print_verdict(const struct row *row, const struct pair *p)
{
    struct verdict v = judge(row, p);
    char text[32] = "-";
    if (v.ratio > 0) {
        snprintf(text, sizeof text, "%.2f%s", v.ratio,
                 !bench_has_budget(v.budget)       ? ""
                 : bench_within(v.budget, v.ratio) ? " ok"
                                                   : " over");
    }
    printf(" %14s", text);
}

void report_text(const struct options *o, const struct results *results)
{
    char peak[24];
    printf(
        "METG(50 %%): granularity = elapsed x CPUs / tasks at which half of the peak is "
        "useful work\n%u CPUs, %u steps, best of %u rounds; a round of the kernel takes "
        "%s\n\n",
        o->cpus, o->steps, o->rounds, time_text(results->round_ns, peak, sizeof peak));
    printf("%-8s %5s %6s %6s", "pattern", "width", "graphs", "uneven");
    for (enum system s = 0; s < SYSTEMS; s++) {
        printf(" %11s", system_names[s]);
    }
    printf("  |");
    for (int k = 0; k < PAIRS; k++) {
        char text[32];
        snprintf(text, sizeof text, "%s/%s", system_names[pairs[k].ours],
                 system_names[pairs[k].other]);
        printf(" %14s", text);
    }
    printf("\n");
    for (uint32_t r = 0; r < results->row_count; r++) {
        const struct row *row = &results->rows[r];
        printf("%-8s %5u %6u %6g", pattern_names[row->pattern], row->width, row->graphs,
               row->imbalance);
        for (enum system s = 0; s < SYSTEMS; s++) {
            print_metg(&row->sweeps[s]);
        }
        printf("  |");
        for (int k = 0; k < PAIRS; k++) {
            print_verdict(row, &pairs[k]);
        }
        printf("\n");
    }
    printf(
        "\nmobula has a task for each point, blocks one for each CPU's part of a step. "
        "Budgets: openmp, starpu <= %g; mpi (of blocks) <= %g on one graph, <= %g on "
        "several uneven ones. Every input was checked.\n",
        BUDGET_TASKS, BUDGET_MPI, BUDGET_MPI_MANY);
    for (enum system s = 0; s < SYSTEMS; s++) {
        if (results->left_out[s]) {
            printf("Left out: %s: %s.\n", system_names[s], results->left_out[s]);
        }
    }
}

static void json_sweep(const struct options *o, const struct results *results,
                       const struct sweep *s)
{
    printf("{\"metg_ns\": %.6g, \"bound_ns\": %.6g, \"task_ns\": %.6g, \"points\": [",
           s->metg_ns, s->bound_ns, s->task_ns);
    for (int k = 0; k < POINTS_MAX && s->points[k].grain != 0; k++) {
        const struct point *p = &s->points[k];
        printf("%s{\"grain\": %" PRIu64 ", \"tasks\": %" PRIu64 ", \"ns\": %" PRIu64
               ", \"efficiency\": %.4g}",
               k ? ", " : "", p->grain, p->tasks, p->ns,
               (double)p->rounds * results->round_ns / ((double)p->ns * o->cpus));
    }
    printf("]}");
}

static void json_row(const struct options *o, const struct results *results,
                     const struct row *row)
{
    const char *comma = "";
    printf("{\"pattern\": \"%s\", \"width\": %u, \"graphs\": %u, \"imbalance\": %g, "
           "\"systems\": {",
           pattern_names[row->pattern], row->width, row->graphs, row->imbalance);
    for (enum system s = 0; s < SYSTEMS; s++) {
        if (row->sweeps[s].points[0].grain != 0) {
            printf("%s\"%s\": ", comma, system_names[s]);
            json_sweep(o, results, &row->sweeps[s]);
            comma = ", ";
        }
    }
    printf("}, \"ratios\": [");
    comma = "";
    for (int k = 0; k < PAIRS; k++) {
        struct verdict v = judge(row, &pairs[k]);
        if (v.ratio > 0) {
            printf("%s{\"of\": \"%s\", \"over\": \"%s\", ", comma,
                   system_names[pairs[k].ours], system_names[pairs[k].other]);
            bench_json_judged("ratio", v.ratio, v.budget);
            printf("}");
            comma = ", ";
        }
    }
    printf("]}");
}

void report_json(const struct options *o, const struct results *results)
{
    const char *comma = "";
    printf("{\"cpus\": %u, \"steps\": %u, \"rounds\": %u, \"kernel_round_ns\": %.6g, "
           "\"left_out\": {",
           o->cpus, o->steps, o->rounds, results->round_ns);
    for (enum system s = 0; s < SYSTEMS; s++) {
        if (results->left_out[s]) {
            printf("%s\"%s\": \"%s\"", comma, system_names[s], results->left_out[s]);
            comma = ", ";
        }
    }
    printf("}, \"rows\": [");
    for (uint32_t r = 0; r < results->row_count; r++) {
        printf("%s\n", r ? "," : "");
        json_row(o, results, &results->rows[r]);
    }
    printf("]}\n");
}
