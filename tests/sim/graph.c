/* graph.c - the workloads. */
#include "sim.h"

static const char *const names[WORKLOADS] = {"independent", "chain",  "tree",  "stencil",
                                             "fft",         "random", "nested"};

const char *graph_name(enum workload w)
{
    return names[w];
}

struct graph graph_make(enum workload w, uint64_t tasks, uint64_t seed)
{
    struct graph g = {.kind = w, .width = 1, .steps = 1, .seed = seed};
    switch (w) {
    case INDEPENDENT:
        g.width = (uint32_t)tasks;
        break;
    case NESTED: /* those that have no parent: with their children they are as many */
        g.width = (uint32_t)(tasks / FAMILY + 1);
        break;
    case CHAIN:
        g.steps = (uint32_t)(tasks < 200 ? tasks : 200);
        break;
    case TREE: /* leaves first, then sums of two */
        while (2ull * g.width <= tasks && 4 * g.width < WINDOW) {
            g.width *= 2, g.steps++;
        }
        break;
    default: /* a width that is a power of two, for fft */
        while ((uint64_t)g.width * g.width * 4 <= tasks && 32 * g.width < WINDOW) {
            g.width *= 2;
        }
        g.steps = (uint32_t)(tasks / g.width + 1);
    }
    g.count = w == TREE ? 2 * g.width - 1 : g.width * g.steps;
    return g;
}

/* The first index of a layer. */
static uint32_t layer(const struct graph *g, uint32_t step)
{
    return g->kind == TREE ? 2 * g->width - (2 * g->width >> step) : g->width * step;
}

static uint32_t step_of(const struct graph *g, uint32_t index)
{
    uint32_t step = 0;
    if (g->kind != TREE) {
        return index / g->width;
    }
    while (step + 1 < g->steps && layer(g, step + 1) <= index) {
        step++;
    }
    return step;
}

static bool random_edge(const struct graph *g, uint32_t step, uint32_t from, uint32_t to)
{
    return index_mix(g->seed ^ (uint64_t)step << 40 ^ (uint64_t)from << 20 ^ to) % 3 == 0;
}

uint32_t graph_edges(const struct graph *g, uint32_t index, bool down, uint32_t *ret)
{
    uint32_t step = step_of(g, index), i = index - layer(g, step), count = 0;
    if (down ? step + 1 == g->steps : step == 0) {
        return 0;
    }
    uint32_t other = layer(g, down ? step + 1 : step - 1), log = 0;
    switch (g->kind) {
    case TREE:
        ret[count++] = other + (down ? i / 2 : 2 * i);
        if (!down) {
            ret[count++] = other + 2 * i + 1;
        }
        break;
    case FFT:
        while (2u << log < g->width) {
            log++;
        }
        ret[count++] = other + i;
        if (g->width > 1) {
            ret[count++] = other + (i ^ 1u << (down ? step : step - 1) % (log + 1));
        }
        break;
    case STENCIL:
    case RANDOM:
    case CHAIN: {
        uint32_t reach = g->kind == STENCIL ? 1 : g->kind == RANDOM ? 3 : 0;
        for (uint32_t k = i > reach ? i - reach : 0; k <= i + reach && k < g->width;
             k++) {
            if (g->kind != RANDOM ||
                random_edge(g, down ? step + 1 : step, down ? i : k, down ? k : i)) {
                ret[count++] = other + k;
            }
        }
        break;
    }
    default:
        break;
    }
    return count;
}

uint32_t graph_time_us(const struct job *j, uint32_t index)
{
    uint64_t r = index_mix(j->graph.seed + index), base = j->time_ns / NS_PER_US;
    if (!j->heavy) {
        return (uint32_t)(base / 2 + (r >> 16) % (base + 1));
    }
    /* Each doubling half as likely as the last but a little: a mean of about twice the base, up to 64 of it. */
    uint64_t time = base / 2 + 1;
    for (int k = 0; k < 7 && (r & 255) < 118; k++, r >>= 8) {
        time *= 2;
    }
    return (uint32_t)time;
}

uint32_t graph_class(const struct job *j, uint32_t index)
{
    uint64_t r = index_mix(j->graph.seed ^ index) >> 20;
    const struct group *g = group_now(j);
    if (g) { /* a part of them wants that one bundle */
        return 2 * j->round + (r % (g->count + 1) == 0);
    }
    return (uint32_t)(r % 4 == 0) % j->classes;
}
