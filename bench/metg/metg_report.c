/* The table and the JSON of metg_bench. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "metg_bench.h"

/* What Mobula's METG is compared with. */
struct verdict {
    double ratio;  /* Mobula's over the other's; 0: not known */
    double budget; /* at most; 0: none */
};

static double metg_of(const struct sweep *s)
{
    return s->metg_ns != 0 ? s->metg_ns : s->bound_ns;
}

static struct verdict judge(const struct row *row, enum system other)
{
    struct verdict v = {0, 0};
    double mine = metg_of(&row->sweeps[SYSTEM_MOBULA]),
           its = metg_of(&row->sweeps[other]);
    if (mine > 0 && its > 0) {
        v.ratio = mine / its;
    }
    if (other == SYSTEM_OPENMP || other == SYSTEM_STARPU) {
        v.budget = BUDGET_TASKS;
    } else if (other == SYSTEM_MPI && row->graphs == 1) {
        v.budget = BUDGET_MPI;
    } else if (other == SYSTEM_MPI && row->imbalance > 0) {
        v.budget = BUDGET_MPI_MANY;
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

static void print_verdict(const struct row *row, enum system other)
{
    struct verdict v = judge(row, other);
    char text[32] = "-";
    if (v.ratio > 0) {
        snprintf(text, sizeof text, "%.2f%s", v.ratio,
                 v.budget == 0         ? ""
                 : v.ratio <= v.budget ? " ok"
                                       : " over");
    }
    printf(" %11s", text);
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
    printf("  | mobula over %7s %11s %11s %11s\n", "threads", "mpi", "openmp", "starpu");
    for (uint32_t r = 0; r < results->row_count; r++) {
        const struct row *row = &results->rows[r];
        printf("%-8s %5u %6u %6g", pattern_names[row->pattern], row->width, row->graphs,
               row->imbalance);
        for (enum system s = 0; s < SYSTEMS; s++) {
            print_metg(&row->sweeps[s]);
        }
        printf("  |        ");
        for (enum system s = SYSTEM_THREADS; s < SYSTEMS; s++) {
            print_verdict(row, s);
        }
        printf("\n");
    }
    printf("\nBudgets: openmp, starpu <= %g; mpi <= %g on one graph, <= %g on several "
           "uneven "
           "ones. Every input was checked.\n",
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
    printf("}, \"over\": {");
    comma = "";
    for (enum system s = SYSTEM_THREADS; s < SYSTEMS; s++) {
        struct verdict v = judge(row, s);
        if (v.ratio > 0) {
            printf("%s\"%s\": {\"ratio\": %.4g", comma, system_names[s], v.ratio);
            if (v.budget != 0) {
                printf(", \"budget_max\": %g, \"within\": %s", v.budget,
                       v.ratio <= v.budget ? "true" : "false");
            }
            printf("}");
            comma = ", ";
        }
    }
    printf("}}");
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
