/* rig.h - a board, and lanes that stand for its processes, to be driven step by step. */
#ifndef TESTS_STORE_RIG_H
#define TESTS_STORE_RIG_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "store/sweep.h"
#include "store/task.h"

enum { DRIVER = 1, WORKER = 2, OTHER = 3, LANES = 4 };

struct rig {
    struct board b;
    struct lane lane[LANES];
    uint32_t freed_places;
};

static inline void count_freed(void *arg, uint32_t segment, uint64_t offset)
{
    (void)segment;
    (void)offset;
    ((struct rig *)arg)->freed_places++;
}

static inline struct rig *rig_new(void)
{
    struct rig *g = calloc(1, sizeof *g);
    uint64_t bytes;
    cr_assert_eq(board_create(7, 1, &g->b, &bytes), MOB_OK);
    at_store(&g->b.classes[0].used, 1, AT_RELAXED);
    at_store(&g->b.classes[0].made, 1, AT_RELAXED);
    for (uint32_t i = 0; i < LANES; i++) {
        cr_assert_eq(lane_init(&g->lane[i], &g->b, i, count_freed, g), MOB_OK);
    }
    return g;
}

static inline void rig_free(struct rig *g)
{
    for (uint32_t i = 0; i < LANES; i++) {
        lane_fini(&g->lane[i]);
    }
    board_unmap(&g->b);
    free(g);
}

/* Every record is FREE once all is released, reclaimed and given back. */
static inline void assert_all_free(struct rig *g)
{
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < LANES; i++) {
            lane_drain_ring(&g->lane[i]);
            lane_reclaim(&g->lane[i]);
        }
    }
    for (uint32_t i = 0; i < at_load(&g->b.header->committed, AT_RELAXED); i++) {
        uint64_t s = at_load(&g->b.records[i].state, AT_RELAXED);
        cr_assert_eq(state_phase(s), PHASE_FREE, "record %u is in phase %d", i,
                     state_phase(s));
    }
}

static inline uint64_t submit(struct lane *l, const uint64_t *refs, uint32_t nrefs,
                              uint64_t parent)
{
    struct record *r;
    uint64_t link;
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(nrefs + 1, 1)};
    call.class_options = nrefs ? CALL_HAS_REFS << 4 : 0;
    cr_assert_eq(lane_record(l, &r), MOB_OK);
    task_begin(l, r, &call, parent);
    *(uint64_t *)task_add_value(r, 0, 8) = 42;
    for (uint32_t i = 0; i < nrefs; i++) {
        cr_assert(task_add_ref(r, i + 1, refs[i]));
    }
    if (parent != LINK_NONE) {
        task_add_child(l->board, parent, 0);
    }
    cr_assert_eq(task_publish(l, r, &link), MOB_OK);
    return link;
}

static inline enum phase phase_of(struct rig *g, uint64_t link)
{
    struct record *r = board_record(&g->b, link_index(link));
    uint64_t s = at_load(&r->state, AT_RELAXED);
    return state_gen(s) == link_gen(link) ? state_phase(s) : PHASE_FREE;
}

static inline struct record *claim(struct rig *g, uint32_t worker, uint64_t expect)
{
    struct record *r = NULL;
    struct queue_item item;
    cr_assert_eq(task_claim(&g->lane[worker], 0, &r, &item), QUEUE_OK);
    cr_assert_eq(board_index(&g->b, r), link_index(expect));
    return r;
}

static inline void assert_no_task(struct rig *g)
{
    struct record *r;
    struct queue_item item;
    cr_assert_eq(task_claim(&g->lane[WORKER], 0, &r, &item), QUEUE_NONE);
}

static inline void cancel(struct rig *g, uint32_t by, uint64_t link)
{
    task_cancel(&g->lane[by], &g->b.records[link_index(link)], link_gen(link));
}

#endif
