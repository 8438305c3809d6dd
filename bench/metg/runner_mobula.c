/* Mobula: the driver submits every task with the ids of its inputs, and releases an id as soon as all
 * that read it are submitted. So that a bounded number of tasks is ahead, it keeps the ids of one step
 * out of some, and waits for that step before it goes on much further. */
#include "runner.h"

#include <mobula.h>

enum { AHEAD_TASKS = 4096, PARTS = 4 };

struct spec { /* of a task, by value */
    uint32_t graph, step, point;
    uint16_t pattern, width;
    uint64_t rounds;
};

static struct mob *mob;
static mob_ref *refs[2]; /* [graph x width], by step */
static mob_ref *kept[PARTS];
static unsigned char *ready;

static const struct graph *graph_of(const struct spec *spec)
{
    static struct graph g;
    if (g.width != spec->width || g.pattern != spec->pattern) {
        graph_free(&g);
        graph_make(&g, (enum pattern)spec->pattern, spec->width);
    }
    return &g;
}

static mob_status metg_task(struct mob_task *task)
{
    struct spec spec;
    uint64_t in[INPUTS_MAX], word;
    uint32_t count = (uint32_t)mob_arg_count(task) - 1;
    MOB_TRY(mob_arg_copy(task, 0, &spec, sizeof spec));
    for (uint32_t k = 0; k < count && k < INPUTS_MAX; k++) {
        MOB_TRY(mob_arg_copy(task, k + 1, &in[k], sizeof in[k]));
    }
    word = task_body(graph_of(&spec), spec.graph, spec.step, spec.point, spec.rounds, in,
                     count);
    return word ? mob_return_copy(task, 0, &word, sizeof word)
                : mob_fail(task, "a task got a wrong input");
}
MOB_REGISTER(metg_task);

void runner_start(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (mob_is_worker()) { /* runs tasks and does not come back */
        MOB_CHECK(mob_init(NULL, &mob));
    }
}

void runner_open(const struct runner_options *options, const struct graph *g)
{
    struct mob_config config = {.struct_size = sizeof config,
                                .num_cpus = options->cpus,
                                .job_name = "metg_mobula"};
    size_t points = (size_t)options->shape.graphs * g->width;
    refs[0] = runner_alloc(points, sizeof *refs[0]);
    refs[1] = runner_alloc(points, sizeof *refs[1]);
    for (int k = 0; k < PARTS; k++) {
        kept[k] = runner_alloc(points, sizeof *kept[k]);
    }
    ready = runner_alloc(points, 1);
    MOB_CHECK(mob_init(&config, &mob));
}

static void make_task(const struct shape *s, const struct graph *g, uint32_t graph,
                      uint32_t t, uint32_t i)
{
    const struct inputs *inputs = graph_inputs(g, t, i);
    const mob_ref *from = refs[(t + 1) % 2] + (size_t)graph * s->width;
    struct spec spec = {graph,
                        t,
                        i,
                        (uint16_t)s->pattern,
                        (uint16_t)s->width,
                        shape_rounds(s, graph, t, i)};
    struct mob_arg args[INPUTS_MAX + 1];
    args[0] = MOB_BYTES(&spec, sizeof spec);
    for (uint32_t k = 0; k < inputs->count; k++) {
        args[k + 1] = MOB_REF(from[inputs->point[k]]);
    }
    mob_status st =
        mob_submit(mob, metg_task, ((struct mob_args){inputs->count + 1, args}), NULL,
                   &refs[t % 2][(size_t)graph * s->width + i]);
    if (__builtin_expect(st != MOB_OK, 0)) {
        runner_fail("mob_submit", mob_last_error());
    }
}

/* Waits for a step and drops its ids. */
static void collect(mob_ref *step, size_t points)
{
    char why[256];
    if (step[0].hi == 0) {
        return;
    }
    MOB_CHECK(mob_wait(mob, step, points, points, MOB_FOREVER, ready, NULL));
    for (size_t k = 0; k < points; k++) {
        if (!mob_contains(mob, step[k])) {
            (void)mob_failure(mob, step[k], why, sizeof why);
            runner_fail("a task failed", why);
        }
        mob_release(mob, step[k]);
    }
    step[0].hi = 0;
}

/* Of a step whose readers are submitted: kept if it is the last of a part, else dropped. */
static void step_read(mob_ref *step, size_t points, uint32_t t, uint32_t part)
{
    if ((t + 1) % part != 0) {
        for (size_t k = 0; k < points; k++) {
            mob_release(mob, step[k]);
        }
        return;
    }
    mob_ref *keep = kept[(t / part) % PARTS];
    collect(keep, points); /* PARTS parts ago */
    for (size_t k = 0; k < points; k++) {
        keep[k] = step[k];
    }
}

uint64_t runner_run(const struct shape *s, const struct graph *g)
{
    size_t points = (size_t)s->graphs * s->width;
    uint32_t part = (uint32_t)(AHEAD_TASKS / PARTS / points);
    part = part ? part : 1;
    uint64_t start = runner_now_ns();
    for (uint32_t t = 0; t < s->steps; t++) {
        for (uint32_t graph = 0; graph < s->graphs; graph++) {
            for (uint32_t i = 0; i < s->width; i++) {
                make_task(s, g, graph, t, i);
            }
        }
        if (t > 0) {
            step_read(refs[(t + 1) % 2], points, t - 1, part);
        }
    }
    for (uint32_t k = 0; k < PARTS; k++) {
        collect(kept[k], points);
    }
    collect(refs[(s->steps - 1) % 2], points);
    return runner_now_ns() - start;
}

void runner_close(void)
{
    mob_shutdown(mob);
}

int runner_prints(void)
{
    return 1;
}
