/* events.c - the queue of what will happen, random numbers, clocks. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

struct world sim;

void sim_fail(const char *what, uint32_t node)
{
    check_print();
    fprintf(stderr, "FAILED: %s (node %u, %.6f s)\nto see it again: sim_scheduler", what,
            node, (double)sim.now / 1e9);
    world_print_options(stderr);
    exit(1);
}

void sim_must(mob_status s, const char *what, uint32_t node)
{
    if (s != MOB_OK) {
        fprintf(stderr, "%s: status %d\n", what, (int)s);
        sim_fail("a planner refused an event that is in order", node);
    }
}

uint64_t sim_draw(uint64_t below)
{
    sim.random = index_mix(sim.random);
    return below ? sim.random % below : 0;
}

uint64_t sim_exponential(uint64_t mean)
{
    /* The logarithm by its geometric twin: the same on every machine, bit by bit. */
    uint64_t whole = 0, bits = sim_draw(UINT64_MAX) | 1ull << 63;
    for (; !(bits & 1); bits >>= 1) {
        whole++; /* each halving of what is left is ln 2 = 0.693 of the mean */
    }
    return mean * (whole * 693 + sim_draw(693)) / 1000;
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

void sim_post(struct event e)
{
    if (sim.heap_count == sim.heap_room) {
        sim.heap_room = sim.heap_room ? 2 * sim.heap_room : 4096;
        sim.heap = realloc(sim.heap, sim.heap_room * sizeof *sim.heap);
        if (!sim.heap) {
            sim_fail("no memory for events", 0);
        }
    }
    e.seq = ++sim.seq;
    uint32_t i = sim.heap_count++;
    for (; i > 0 && before(&e, &sim.heap[(i - 1) / 4]); i = (i - 1) / 4) {
        sim.heap[i] = sim.heap[(i - 1) / 4];
    }
    sim.heap[i] = e;
}

void sim_after(enum kind kind, uint32_t node, uint64_t in, uint32_t a, uint32_t b,
               uint32_t c)
{
    sim_post((struct event){.at = sim.now + in,
                            .kind = kind,
                            .node = node,
                            .life = node < sim.count ? sim.nodes[node].life : 0,
                            .a = a,
                            .b = b,
                            .c = c});
}

struct event sim_next(void)
{
    struct event first = sim.heap[0], last = sim.heap[--sim.heap_count];
    uint32_t i = 0;
    for (uint32_t k; (k = 4 * i + 1) < sim.heap_count; i = k) {
        uint32_t end = k + 4 < sim.heap_count ? k + 4 : sim.heap_count;
        for (uint32_t o = k + 1; o < end; o++) {
            k = before(&sim.heap[o], &sim.heap[k]) ? o : k;
        }
        if (!before(&sim.heap[k], &last)) {
            break;
        }
        sim.heap[i] = sim.heap[k];
    }
    sim.heap[i] = last;
    return first;
}

uint64_t clock_of(const struct node *n)
{
    int64_t drift = (int64_t)(sim.now >> 8) * n->drift;
    return n->skew + sim.now + (uint64_t)drift;
}

uint64_t clock_at(const struct node *n, uint64_t due)
{
    uint64_t now = clock_of(n);
    if (due <= now) {
        return sim.now + 1;
    }
    /* A little late rather than early: an early tick would only come again. */
    return sim.now + (due - now) * 256 / (uint64_t)(256 + n->drift) + 256;
}

uint64_t head_clock(void)
{
    return sim.now + sim.head_skew;
}
