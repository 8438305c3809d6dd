/* The graphs of metg_bench, the check that tasks make of their inputs, and METG from given points. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>

#include "metg_bench.h"

const char *const system_names[SYSTEMS] = {"mobula", "threads", "mpi", "openmp",
                                           "starpu"};

static void expect_inputs(enum pattern pattern, uint32_t width, uint32_t step,
                          uint32_t point, uint32_t count, const uint32_t *points)
{
    struct graph g;
    graph_make(&g, pattern, width);
    const struct inputs *in = graph_inputs(&g, step, point);
    cr_assert_eq(in->count, count, "%s (%u, %u): %u inputs", pattern_names[pattern], step,
                 point, in->count);
    for (uint32_t k = 0; k < count; k++) {
        cr_expect_eq(in->point[k], points[k]);
    }
    graph_free(&g);
}
#define EXPECT_INPUTS(pattern, width, step, point, ...)                                  \
    expect_inputs(pattern, width, step, point,                                           \
                  sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t),                  \
                  (uint32_t[]){__VA_ARGS__})

Test(metg, the_inputs_are_those_of_the_pattern)
{
    expect_inputs(PATTERN_TRIVIAL, 8, 3, 4, 0, NULL);
    expect_inputs(PATTERN_STENCIL, 8, 0, 4, 0, NULL); /* the first step has none */
    EXPECT_INPUTS(PATTERN_STENCIL, 8, 1, 4, 3, 4, 5);
    EXPECT_INPUTS(PATTERN_STENCIL, 8, 1, 0, 0, 1);
    EXPECT_INPUTS(PATTERN_STENCIL, 8, 9, 7, 6, 7);
    EXPECT_INPUTS(PATTERN_STENCIL, 1, 9, 0, 0);
    EXPECT_INPUTS(PATTERN_FFT, 8, 1, 4, 2, 4, 6);
    EXPECT_INPUTS(PATTERN_FFT, 8, 2, 4, 0, 4);
    EXPECT_INPUTS(PATTERN_FFT, 8, 3, 4, 3, 4, 5);
    EXPECT_INPUTS(PATTERN_FFT, 1, 5, 0, 0);
}

Test(metg, random_takes_itself_and_near_ones_and_is_the_same_each_time)
{
    struct graph g, h;
    uint32_t all = 0, widest = 0;
    graph_make(&g, PATTERN_RANDOM, 16);
    graph_make(&h, PATTERN_RANDOM, 16);
    for (uint32_t step = 1; step < 100; step++) {
        for (uint32_t i = 0; i < 16; i++) {
            const struct inputs *in = graph_inputs(&g, step, i);
            int self = 0;
            cr_assert_leq(in->count, INPUTS_MAX);
            for (uint32_t k = 0; k < in->count; k++) {
                self |= in->point[k] == i;
                cr_assert(in->point[k] + 2 >= i && in->point[k] <= i + 2);
                cr_assert(k == 0 || in->point[k - 1] < in->point[k]);
            }
            cr_assert(self);
            cr_assert_arr_eq(in, graph_inputs(&h, step, i), sizeof *in);
            all += in->count;
            widest = in->count > widest ? in->count : widest;
        }
    }
    cr_expect_eq(widest, INPUTS_MAX);
    cr_expect(all > 99 * 16 * 2 && all < 99 * 16 * 4, "%u", all); /* about 2.8 each */
    graph_free(&g);
    graph_free(&h);
}

Test(metg, a_task_says_whose_word_is_wrong)
{
    struct graph g;
    graph_make(&g, PATTERN_STENCIL, 4);
    uint64_t in[3] = {task_word(2, 6, 0), task_word(2, 6, 1), task_word(2, 6, 2)};
    cr_expect_eq(task_body(&g, 2, 7, 1, 1, in, 3), task_word(2, 7, 1));
    cr_redirect_stderr();
    cr_expect_eq(task_body(&g, 2, 7, 1, 1, in, 2), 0);
    for (int wrong = 0; wrong < 3; wrong++) {
        uint64_t right = in[wrong];
        in[wrong] = task_word(2, 5, (uint32_t)wrong); /* of the step before */
        cr_expect_eq(task_body(&g, 2, 7, 1, 1, in, 3), 0);
        in[wrong] = task_word(1, 6, (uint32_t)wrong); /* of another graph */
        cr_expect_eq(task_body(&g, 2, 7, 1, 1, in, 3), 0);
        in[wrong] = 0; /* not written yet */
        cr_expect_eq(task_body(&g, 2, 7, 1, 1, in, 3), 0);
        in[wrong] = right;
    }
    graph_free(&g);
}

Test(metg, unequal_tasks_have_as_much_work_together)
{
    struct shape s = {PATTERN_STENCIL, 8, 4, 250, 1000, 0};
    cr_expect_eq(shape_all_rounds(&s), 8000000);
    s.imbalance = 1;
    uint64_t all = shape_all_rounds(&s), least = UINT64_MAX, most = 0, sum = 0;
    for (uint32_t t = 0; t < s.steps; t++) {
        for (uint32_t k = 0; k < s.graphs * s.width; k++) {
            uint64_t rounds = shape_rounds(&s, k / s.width, t, k % s.width);
            least = rounds < least ? rounds : least;
            most = rounds > most ? rounds : most;
            sum += rounds;
        }
    }
    cr_expect_eq(sum, all);
    cr_expect(all > 7800000 && all < 8200000, "%llu", (unsigned long long)all);
    cr_expect(least < 50 && most > 1950 && most <= 2000);
}

/* Points of a system that takes @over_ns on top of each task; a round of the kernel takes 1 ns. */
static void fill(struct sweep *sweep, uint64_t coarsest, uint64_t over_ns, uint64_t cpus)
{
    int k = 0;
    *sweep = (struct sweep){0};
    for (uint64_t grain = coarsest; grain > 0; grain /= 2) {
        uint64_t tasks = 1000 * cpus;
        sweep->points[k++] =
            (struct point){grain, tasks, tasks * grain, tasks * (grain + over_ns) / cpus};
    }
}

Test(metg, metg_is_where_half_the_time_is_work)
{
    struct sweep sweep;
    fill(&sweep, 1 << 16, 1024, 4); /* exactly at a grain: work 1024 + 1024 */
    sweep_metg(&sweep, 1, 4);
    cr_expect_float_eq(sweep.metg_ns, 2048, 1, "%g", sweep.metg_ns);
    cr_expect_float_eq(sweep.task_ns, 1025, 1);
    cr_expect_eq(sweep.bound_ns, 0);
    fill(&sweep, 1 << 16, 1500, 4); /* between two */
    sweep_metg(&sweep, 1, 4);
    cr_expect_float_eq(sweep.metg_ns, 3000, 100, "%g", sweep.metg_ns);
}

Test(metg, metg_outside_of_the_grains_is_a_bound)
{
    struct sweep sweep;
    fill(&sweep, 1 << 10, 0, 2); /* no overhead at all */
    sweep_metg(&sweep, 1, 2);
    cr_expect_eq(sweep.metg_ns, 0);
    cr_expect_float_eq(sweep.bound_ns, 1, 0.01);
    fill(&sweep, 1 << 10, 5000, 2); /* never half */
    sweep_metg(&sweep, 1, 2);
    cr_expect_eq(sweep.metg_ns, 0);
    cr_expect_eq(sweep.bound_ns, 0);
    cr_expect_gt(sweep.task_ns, 5000);
}
