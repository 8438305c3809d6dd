/* StarPU: one thread makes all tasks, with the handles of the inputs' words and of its own. The
 * dependencies are those of sequential consistency. A word's handle is written again FIELDS steps
 * later. */
#include "runner.h"

#include <starpu.h>
#include <stdlib.h>

enum { FIELDS = 8 };

struct descr { /* of a task; StarPU is given its address */
    const struct graph *g;
    uint32_t graph, step, point;
    uint64_t rounds;
};

static uint64_t *words;              /* [field][graph][point] */
static starpu_data_handle_t *places; /* the same */
static uint32_t points;              /* of all graphs, in a step */

static void body(void *buffers[], void *arg)
{
    const struct descr *d = arg;
    uint32_t count = graph_inputs(d->g, d->step, d->point)->count;
    uint64_t in[INPUTS_MAX];
    for (uint32_t k = 0; k < count; k++) {
        in[k] = *(uint64_t *)STARPU_VARIABLE_GET_PTR(buffers[k]);
    }
    uint64_t word = task_body(d->g, d->graph, d->step, d->point, d->rounds, in, count);
    runner_want_word(word);
    *(uint64_t *)STARPU_VARIABLE_GET_PTR(buffers[count]) = word;
}

static struct starpu_codelet codelet = {
    .cpu_funcs = {body}, .nbuffers = STARPU_VARIABLE_NBUFFERS, .name = "metg"};

void runner_start(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
}

void runner_open(const struct runner_options *options, const struct graph *g)
{
    struct starpu_conf conf;
    (void)g;
    starpu_conf_init(&conf);
    conf.ncpus = (int)options->cpus;
    conf.ncuda = conf.nopencl = 0;
    points = options->shape.graphs * options->shape.width;
    if (starpu_init(&conf) != 0) {
        runner_fail("starpu_init", "failed");
    }
    words = runner_alloc((size_t)FIELDS * points, sizeof *words);
    places = runner_alloc((size_t)FIELDS * points, sizeof(starpu_data_handle_t));
    for (uint32_t k = 0; k < FIELDS * points; k++) {
        starpu_variable_data_register(&places[k], STARPU_MAIN_RAM, (uintptr_t)&words[k],
                                      sizeof *words);
    }
}

static starpu_data_handle_t place(const struct shape *s, uint32_t graph, uint32_t t,
                                  uint32_t i)
{
    return places[(t % FIELDS) * points + graph * s->width + i];
}

static void make_task(const struct shape *s, struct descr *d)
{
    const struct inputs *inputs = graph_inputs(d->g, d->step, d->point);
    struct starpu_task *task = starpu_task_create();
    task->cl = &codelet;
    task->cl_arg = d;
    task->cl_arg_size = sizeof *d;
    for (uint32_t k = 0; k < inputs->count; k++) {
        task->handles[k] = place(s, d->graph, d->step - 1, inputs->point[k]);
        task->modes[k] = STARPU_R;
    }
    task->handles[inputs->count] = place(s, d->graph, d->step, d->point);
    task->modes[inputs->count] = STARPU_W;
    task->nbuffers = (int)inputs->count + 1;
    if (starpu_task_submit(task) != 0) {
        runner_fail("starpu_task_submit", "failed");
    }
}

uint64_t runner_run(const struct shape *s, const struct graph *g)
{
    struct descr *all = runner_alloc(shape_tasks(s), sizeof *all), *d = all;
    uint64_t start = runner_now_ns();
    for (uint32_t t = 0; t < s->steps; t++) {
        for (uint32_t graph = 0; graph < s->graphs; graph++) {
            for (uint32_t i = 0; i < s->width; i++, d++) {
                *d = (struct descr){g, graph, t, i, shape_rounds(s, graph, t, i)};
                make_task(s, d);
            }
        }
    }
    starpu_task_wait_for_all();
    uint64_t ns = runner_now_ns() - start;
    free(all);
    return ns;
}

void runner_close(void)
{
    for (uint32_t k = 0; k < FIELDS * points; k++) {
        starpu_data_unregister(places[k]);
    }
    starpu_shutdown();
}

int runner_prints(void)
{
    return 1;
}
