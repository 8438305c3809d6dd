/* OpenMP: one thread makes all tasks, with a dependency on the place of each input's word. Every task
 * writes a place of its own, so that only true dependencies hold tasks back. */
#include "runner.h"

#include <omp.h>
#include <stdlib.h>

static uint64_t *words; /* [step][graph][point] */
static uint32_t points; /* of all graphs, in a step */

void runner_start(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
}

void runner_open(const struct runner_options *options, const struct graph *g)
{
    (void)g;
    points = options->shape.graphs * options->shape.width;
    omp_set_dynamic(0);
    omp_set_num_threads((int)options->cpus);
}

/* One task, in a function of its own: its variables are the task's. */
static void make_task(const struct shape *s, const struct graph *g, uint32_t graph,
                      uint32_t t, uint32_t i)
{
    const struct inputs *inputs = graph_inputs(g, t, i);
    uint64_t *to = &words[(size_t)t * points + graph * s->width + i];
    const uint64_t *from = t ? to - points - i : to;
    uint64_t rounds = shape_rounds(s, graph, t, i);
#pragma omp task depend(iterator(k = 0                                                   \
                                 : inputs->count),                                       \
                        in                                                               \
                        : from[inputs->point[k]]) depend(out                             \
                                                         : *to)                          \
    firstprivate(g, graph, t, i, to, from, inputs, rounds)
    {
        uint64_t in[INPUTS_MAX];
        for (uint32_t k = 0; k < inputs->count; k++) {
            in[k] = from[inputs->point[k]];
        }
        *to = task_body(g, graph, t, i, rounds, in, inputs->count);
        runner_want_word(*to);
    }
}

uint64_t runner_run(const struct shape *s, const struct graph *g)
{
    words = runner_alloc((size_t)points * s->steps, sizeof *words);
    uint64_t start = runner_now_ns();
#pragma omp parallel
#pragma omp single
    for (uint32_t t = 0; t < s->steps; t++) {
        for (uint32_t graph = 0; graph < s->graphs; graph++) {
            for (uint32_t i = 0; i < s->width; i++) {
                make_task(s, g, graph, t, i);
            }
        }
    }
    uint64_t ns = runner_now_ns() - start;
    free(words);
    return ns;
}

void runner_close(void)
{
}

int runner_prints(void)
{
    return 1;
}
