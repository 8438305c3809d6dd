/* Mobula: the driver submits every task with the ids of its inputs, and releases an id as soon as all
 * that read it are submitted. As metg_mobula a point of a step is a task; as metg_blocks (METG_BLOCKS) a block of
 * neighbouring points is, one for each CPU, as each rank of the MPI program has a part of them: what a program
 * does whose points are small. So that a bounded number of tasks is ahead, it keeps the ids of one step
 * out of some, and waits for that step before it goes on much further. */
#include "runner.h"

#include <mobula.h>
#include <stdlib.h>

enum { AHEAD_TASKS = 4096, PARTS = 4, SOURCES_MAX = MOB_ARGS_MAX - 1 };

struct spec { /* of a task, by value */
    uint64_t grain;
    double imbalance;
    uint32_t graph, step, block;
    uint16_t pattern, width, blocks;
};

/* The blocks whose results the tasks of a block take, rising. */
struct sources {
    uint32_t count;
    uint32_t block[SOURCES_MAX];
};

/* A graph cut into blocks of points, one task each in a step: worked out beforehand. */
struct form {
    struct graph g;
    uint32_t blocks;
    uint32_t *block_of;      /* [width] */
    struct sources *sources; /* [period][blocks] */
};

static struct mob *mob;
static struct form form; /* of the driver */
static mob_ref *refs[2]; /* [graph x blocks], by step */
static mob_ref *kept[PARTS];
static unsigned char *ready;

static uint32_t first_of(const struct form *f, uint32_t block)
{
    return (uint32_t)((uint64_t)block * f->g.width / f->blocks);
}

static void note_source(struct sources *s, uint32_t block)
{
    uint32_t k = 0;
    while (k < s->count && s->block[k] != block) {
        k++;
    }
    if (k == SOURCES_MAX) {
        runner_fail("start", "a task would take too many inputs");
    }
    s->block[k] = block;
    s->count += k == s->count;
}

static void form_make(struct form *f, enum pattern pattern, uint32_t width,
                      uint32_t blocks)
{
    graph_make(&f->g, pattern, width);
    f->blocks = blocks;
    f->block_of = runner_alloc(width, sizeof *f->block_of);
    f->sources = runner_alloc((size_t)f->g.period * blocks, sizeof *f->sources);
    for (uint32_t block = 0; block < blocks; block++) {
        for (uint32_t i = first_of(f, block); i < first_of(f, block + 1); i++) {
            f->block_of[i] = block;
        }
    }
    for (uint32_t step = 0; step < f->g.period; step++) {
        for (uint32_t i = 0; i < width; i++) {
            const struct inputs *in = &f->g.table[step * width + i];
            for (uint32_t k = 0; k < in->count; k++) {
                note_source(&f->sources[step * blocks + f->block_of[i]],
                            f->block_of[in->point[k]]);
            }
        }
    }
}

static void form_free(struct form *f)
{
    graph_free(&f->g);
    free(f->block_of);
    free(f->sources);
}

static const struct sources *sources_of(const struct form *f, uint32_t step,
                                        uint32_t block)
{
    static const struct sources none;
    return step == 0 ? &none : &f->sources[(step % f->g.period) * f->blocks + block];
}

/* The worker's, as its last task had it. */
static const struct form *form_of(const struct spec *spec)
{
    static struct form f;
    if (f.g.width != spec->width || f.g.pattern != spec->pattern ||
        f.blocks != spec->blocks) {
        form_free(&f);
        form_make(&f, (enum pattern)spec->pattern, spec->width, spec->blocks);
    }
    return &f;
}

/* The word of a point of the step before, from the results of its block. */
static uint64_t word_of(const struct form *f, const struct sources *s,
                        const uint64_t *const *from, uint32_t point)
{
    uint32_t block = f->block_of[point], k = 0;
    while (k < s->count && s->block[k] != block) {
        k++;
    }
    return k < s->count ? from[k][point - first_of(f, block)] : 0;
}

static mob_status metg_task(struct mob_task *task)
{
    struct spec spec;
    const uint64_t *from[SOURCES_MAX];
    void *room;
    MOB_TRY(mob_arg_copy(task, 0, &spec, sizeof spec));
    const struct form *f = form_of(&spec);
    const struct sources *s = sources_of(f, spec.step, spec.block);
    struct shape shape = {.grain = spec.grain, .imbalance = spec.imbalance};
    uint32_t first = first_of(f, spec.block), last = first_of(f, spec.block + 1);
    for (uint32_t k = 0; k < s->count; k++) {
        const void *data;
        size_t size, want = first_of(f, s->block[k] + 1) - first_of(f, s->block[k]);
        MOB_TRY(mob_arg(task, k + 1, &data, &size));
        if (size != want * sizeof(uint64_t)) {
            return mob_fail(task, "an input has %zu bytes", size);
        }
        from[k] = data;
    }
    MOB_TRY(mob_return_place(task, 0, (last - first) * sizeof(uint64_t), &room));
    for (uint32_t i = first; i < last; i++) {
        const struct inputs *inputs = graph_inputs(&f->g, spec.step, i);
        uint64_t in[INPUTS_MAX], *to = (uint64_t *)room + (i - first);
        for (uint32_t k = 0; k < inputs->count; k++) {
            in[k] = word_of(f, s, from, inputs->point[k]);
        }
        *to =
            task_body(&f->g, spec.graph, spec.step, i,
                      shape_rounds(&shape, spec.graph, spec.step, i), in, inputs->count);
        if (*to == 0) {
            return mob_fail(task, "a task got a wrong input");
        }
    }
    return MOB_OK;
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
    uint32_t blocks = METG_BLOCKS && options->cpus < g->width ? options->cpus : g->width;
    size_t tasks = (size_t)options->shape.graphs * blocks;
    form_make(&form, g->pattern, g->width, blocks);
    refs[0] = runner_alloc(tasks, sizeof *refs[0]);
    refs[1] = runner_alloc(tasks, sizeof *refs[1]);
    for (int k = 0; k < PARTS; k++) {
        kept[k] = runner_alloc(tasks, sizeof *kept[k]);
    }
    ready = runner_alloc(tasks, 1);
    MOB_CHECK(mob_init(&config, &mob));
}

static void make_task(const struct shape *s, uint32_t graph, uint32_t t, uint32_t block)
{
    const struct sources *sources = sources_of(&form, t, block);
    const mob_ref *from = refs[(t + 1) % 2] + (size_t)graph * form.blocks;
    struct spec spec = {
        s->grain,           s->imbalance,         graph, t, block, (uint16_t)s->pattern,
        (uint16_t)s->width, (uint16_t)form.blocks};
    struct mob_arg args[MOB_ARGS_MAX];
    args[0] = MOB_BYTES(&spec, sizeof spec);
    for (uint32_t k = 0; k < sources->count; k++) {
        args[k + 1] = MOB_REF(from[sources->block[k]]);
    }
    mob_status st =
        mob_submit(mob, metg_task, ((struct mob_args){sources->count + 1, args}), NULL,
                   &refs[t % 2][(size_t)graph * form.blocks + block]);
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
    size_t points = (size_t)s->graphs * form.blocks; /* tasks in a step */
    uint32_t part = (uint32_t)(AHEAD_TASKS / PARTS / points);
    (void)g;
    part = part ? part : 1;
    uint64_t start = runner_now_ns();
    for (uint32_t t = 0; t < s->steps; t++) {
        for (uint32_t graph = 0; graph < s->graphs; graph++) {
            for (uint32_t block = 0; block < form.blocks; block++) {
                make_task(s, graph, t, block);
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
