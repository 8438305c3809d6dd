/* Plain threads: each has a part of the points of every graph, and a barrier on which all spin ends
 * each step. What a program does that knows its graph beforehand and runs on one machine. */
#include "runner.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { SPINS_BEFORE_YIELD = 20000 }; /* another may need this CPU to come here at all */

static struct {
    uint32_t cpus;
    pthread_t *threads;
    const struct shape *shape; /* of the run; NULL: end */
    const struct graph *graph;
    uint64_t *words[2]; /* [graph x width], by step */
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_uint phase;
} all;

/* Central barrier: the last to arrive moves the phase on. Release and acquire by the phase: what was
 * written before is seen behind it. */
static void barrier(void)
{
    unsigned phase = atomic_load_explicit(&all.phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&all.arrived, 1, memory_order_acq_rel) + 1 ==
        all.cpus) {
        atomic_store_explicit(&all.arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&all.phase, phase + 1, memory_order_release);
        return;
    }
    for (unsigned n = 0; atomic_load_explicit(&all.phase, memory_order_acquire) == phase;
         n++) {
        if (n >= SPINS_BEFORE_YIELD) {
            sched_yield();
            n = 0;
        }
    }
}

static void run_part(uint32_t self)
{
    const struct shape *s = all.shape;
    uint32_t first = self * s->width / all.cpus, last = (self + 1) * s->width / all.cpus;
    for (uint32_t t = 0; t < s->steps; t++) {
        for (uint32_t graph = 0; graph < s->graphs; graph++) {
            const uint64_t *from = all.words[(t + 1) % 2] + (size_t)graph * s->width;
            uint64_t *to = all.words[t % 2] + (size_t)graph * s->width;
            for (uint32_t i = first; i < last; i++) {
                const struct inputs *inputs = graph_inputs(all.graph, t, i);
                uint64_t in[INPUTS_MAX];
                for (uint32_t k = 0; k < inputs->count; k++) {
                    in[k] = from[inputs->point[k]];
                }
                to[i] = task_body(all.graph, graph, t, i, shape_rounds(s, graph, t, i),
                                  in, inputs->count);
                runner_want_word(to[i]);
            }
        }
        if (s->pattern != PATTERN_TRIVIAL) {
            barrier();
        }
    }
}

static void *thread_main(void *arg)
{
    uint32_t self = (uint32_t)(uintptr_t)arg;
    runner_pin(self);
    for (;;) {
        barrier(); /* a run begins */
        if (!all.shape) {
            return NULL;
        }
        run_part(self);
        barrier();
    }
}

void runner_start(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
}

void runner_open(const struct runner_options *options, const struct graph *g)
{
    size_t points = (size_t)options->shape.graphs * options->shape.width;
    all.cpus = options->cpus;
    all.graph = g;
    all.words[0] = runner_alloc(points, sizeof *all.words[0]);
    all.words[1] = runner_alloc(points, sizeof *all.words[1]);
    all.threads = runner_alloc(all.cpus, sizeof *all.threads);
    runner_pin(0);
    for (uint32_t k = 1; k < all.cpus; k++) {
        if (pthread_create(&all.threads[k], NULL, thread_main, (void *)(uintptr_t)k) !=
            0) {
            runner_fail("start", "no thread");
        }
    }
}

uint64_t runner_run(const struct shape *s, const struct graph *g)
{
    (void)g;
    all.shape = s;
    uint64_t start = runner_now_ns();
    barrier();
    run_part(0);
    barrier();
    return runner_now_ns() - start;
}

void runner_close(void)
{
    all.shape = NULL;
    barrier();
    for (uint32_t k = 1; k < all.cpus; k++) {
        pthread_join(all.threads[k], NULL);
    }
}

int runner_prints(void)
{
    return 1;
}
