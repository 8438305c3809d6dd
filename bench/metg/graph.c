/* The patterns, and the body of a task. */
#include "graph.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *const pattern_names[PATTERNS] = {"trivial", "stencil", "fft", "random"};

/* splitmix64's mixing step, public domain (Steele, Lea, Flood, OOPSLA'14). */
static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t log2_up(uint32_t x)
{
    uint32_t bits = 0;
    while ((1u << bits) < x) {
        bits++;
    }
    return bits;
}

static uint32_t period_of(enum pattern pattern, uint32_t width)
{
    uint32_t levels = log2_up(width);
    return pattern == PATTERN_RANDOM               ? PERIOD_MAX
           : pattern == PATTERN_FFT && levels != 0 ? levels
                                                   : 1;
}

/* Whether task @point takes the result of the one that is @away from it. */
static int takes(enum pattern pattern, uint32_t step, uint32_t point, int away)
{
    switch (pattern) {
    case PATTERN_STENCIL:
        return abs(away) <= 1;
    case PATTERN_FFT:
        return away == 0 || abs(away) == 1 << step;
    case PATTERN_RANDOM:
        return away == 0 ||
               (abs(away) <= 2 &&
                mix((uint64_t)step << 32 | point << 3 | (uint32_t)(away + 2)) % 2 == 0);
    default:
        return 0;
    }
}

void graph_make(struct graph *g, enum pattern pattern, uint32_t width)
{
    g->pattern = pattern;
    g->width = width;
    g->period = period_of(pattern, width);
    g->table = calloc((size_t)g->period * width, sizeof *g->table);
    if (!g->table) {
        fprintf(stderr, "metg: no memory for a graph\n");
        exit(1);
    }
    for (uint32_t step = 0; step < g->period; step++) {
        for (uint32_t i = 0; i < width; i++) {
            struct inputs *in = &g->table[step * width + i];
            for (uint32_t from = 0; from < width; from++) {
                if (takes(pattern, step, i, (int)from - (int)i)) {
                    in->point[in->count++] = from;
                }
            }
        }
    }
}

void graph_free(struct graph *g)
{
    free(g->table);
    g->table = NULL;
}

uint64_t shape_rounds(const struct shape *s, uint32_t graph, uint32_t step,
                      uint32_t point)
{
    if (s->imbalance == 0) {
        return s->grain;
    }
    double unit =
        (double)(mix(task_word(graph, step, point)) >> 11) / (double)(1ull << 53);
    return (uint64_t)((double)s->grain * (1 + s->imbalance * (2 * unit - 1)) + 0.5);
}

uint64_t shape_all_rounds(const struct shape *s)
{
    uint64_t all = 0;
    if (s->imbalance == 0) {
        return s->grain * shape_tasks(s);
    }
    for (uint32_t graph = 0; graph < s->graphs; graph++) {
        for (uint32_t step = 0; step < s->steps; step++) {
            for (uint32_t point = 0; point < s->width; point++) {
                all += shape_rounds(s, graph, step, point);
            }
        }
    }
    return all;
}

uint64_t task_body(const struct graph *g, uint32_t graph, uint32_t step, uint32_t point,
                   uint64_t rounds, const uint64_t *in, uint32_t count)
{
    const struct inputs *want = graph_inputs(g, step, point);
    if (count != want->count) {
        fprintf(stderr, "metg: task (%u, %u) of graph %u has %u inputs, not %u\n", step,
                point, graph, count, want->count);
        return 0;
    }
    for (uint32_t k = 0; k < count; k++) {
        if (in[k] != task_word(graph, step - 1, want->point[k])) {
            fprintf(stderr,
                    "metg: input %u of task (%u, %u) of graph %u is %" PRIx64
                    ", not %" PRIx64 "\n",
                    k, step, point, graph, in[k],
                    task_word(graph, step - 1, want->point[k]));
            return 0;
        }
    }
    return kernel(rounds) > 0 ? task_word(graph, step, point) : 0;
}
