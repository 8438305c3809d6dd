/* What is asked of tasks for a certain time: which comes first, when the daemon looks, across the wrap of its
 * clock, and that its hints come again from the words. */
#include "rig.h"
#include "store/request.h"

TestSuite(request, .timeout = 60);

struct fired {
    struct rig *g;
    uint32_t count, last;
    uint32_t again; /* what is asked next */
};

static uint32_t fire(void *arg, uint32_t index, uint32_t gen, uint32_t request)
{
    struct fired *f = arg;
    cr_assert_eq(request_kind(request), REQUEST_START);
    request_set(&f->g->b, index, gen, f->again);
    f->count++;
    f->last = index;
    return f->again;
}

static uint64_t ask_at(struct rig *g, uint32_t tick)
{
    uint64_t link = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    request_set(&g->b, link_index(link), link_gen(link),
                request_make(REQUEST_START, tick));
    request_note(&g->b, link_index(link), tick);
    return link;
}

static uint32_t look(struct rig *g, uint32_t now, struct fired *f)
{
    uint32_t tick;
    f->count = 0;
    f->g = g;
    return request_look(&g->b, now & REQUEST_TICK_MASK, fire, f, &tick) ? tick
                                                                        : UINT32_MAX;
}

Test(request, the_earliest_is_looked_at_first)
{
    for (uint32_t from = 0; from < 2; from++) { /* at 0, and where ticks wrap */
        struct rig *g = rig_new();
        struct fired f = {0};
        uint32_t at = from ? REQUEST_TICK_MASK - 150 : 100;
        uint64_t last = 0;
        for (uint32_t i = 0; i < 300; i++) { /* over several blocks */
            uint64_t link = ask_at(g, (at + 10 + i * 7 % 300) & REQUEST_TICK_MASK);
            last = i * 7 % 300 == 299 ? link : last;
        }
        cr_assert_eq(look(g, at + 9, &f), (at + 10) & REQUEST_TICK_MASK);
        cr_assert_eq(f.count, 0);
        for (uint32_t i = 0; i < 299; i++) {
            cr_assert_eq(look(g, at + 10 + i, &f), (at + 11 + i) & REQUEST_TICK_MASK);
            cr_assert_eq(f.count, 1);
        }
        cr_assert_eq(look(g, at + 10 + 299, &f), UINT32_MAX);
        cr_assert_eq(f.last, link_index(last));
        rig_free(g);
    }
}

Test(request, a_task_that_is_sealed_or_gone_is_passed_by)
{
    struct rig *g = rig_new();
    struct fired f = {0};
    uint64_t link = ask_at(g, 10), other = ask_at(g, 20);
    cr_assert_eq(look(g, 5, &f), 10);
    struct record *r = claim(g, WORKER, link);
    cr_assert(task_seal(&g->lane[WORKER], r, false));
    cr_assert_eq(look(g, 10, &f), 20);
    cr_assert_eq(f.count, 0);
    lane_drop(&g->lane[DRIVER],
              other); /* nobody wants its result: it runs all the same */
    f.again = request_make(REQUEST_LATE, 30);
    cr_assert_eq(look(g, 20, &f), 30);
    cr_assert_eq(f.count, 1);
    rig_free(g);
}

Test(request, of_two_ends_the_earlier_counts)
{
    struct rig *g = rig_new();
    uint64_t link = ask_at(g, 50);
    uint32_t i = link_index(link), gen = link_gen(link);
    request_add(&g->b, i, gen, request_make(REQUEST_NOTHING, 0) | REQUEST_RECURSIVE);
    cr_assert_eq(request_of(&g->b, i, gen),
                 request_make(REQUEST_START, 50) | REQUEST_RECURSIVE);
    request_add(&g->b, i, gen, request_make(REQUEST_END, 90));
    request_add(&g->b, i, gen, request_make(REQUEST_END, 70));
    request_add(&g->b, i, gen, request_make(REQUEST_END, 80));
    cr_assert_eq(request_of(&g->b, i, gen),
                 request_make(REQUEST_END, 70) | REQUEST_RECURSIVE);
    cr_assert_eq(request_of(&g->b, i, gen + 1), 0);
    request_add(&g->b, i, gen - 1, request_make(REQUEST_END, 1)); /* of a former life */
    cr_assert_eq(request_tick(request_of(&g->b, i, gen)), 70);
    cr_assert_eq(request_reason(&g->b, i, gen), MOB_ERR_CANCELLED);
    request_set(&g->b, i, gen, request_make(REQUEST_LATE, 70));
    cr_assert_eq(request_reason(&g->b, i, gen), MOB_ERR_DEADLINE);
    rig_free(g);
}

Test(request, hints_come_again_from_the_words)
{
    struct rig *g = rig_new();
    struct fired f = {0};
    uint64_t link = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    request_set(&g->b, link_index(link), link_gen(link), request_make(REQUEST_START, 10));
    cr_assert_eq(look(g, 20, &f), UINT32_MAX); /* who asked died before it said so */
    request_remake(&g->b);
    cr_assert(at_load(&g->b.header->notice, AT_RELAXED) & NOTICE_DUE);
    (void)look(g, 20, &f);
    cr_assert_eq(f.count, 1);
    rig_free(g);
}

Test(request, ticks_are_of_the_clock)
{
    struct rig *g = rig_new();
    uint64_t born = at_load(&g->b.header->born_ns, AT_RELAXED);
    cr_assert_eq(request_tick_at(&g->b, born), 0);
    cr_assert_eq(request_tick_at(&g->b, born + 1), 1);
    cr_assert_eq(request_tick_passed(&g->b, born + REQUEST_TICK_NS - 1), 0);
    cr_assert_eq(request_tick_passed(&g->b, born + REQUEST_TICK_NS), 1);
    cr_assert_eq(request_left_ns(&g->b, 3, born + REQUEST_TICK_NS + 4),
                 2 * REQUEST_TICK_NS - 4);
    cr_assert_eq(request_left_ns(&g->b, 1, born + REQUEST_TICK_NS), 0);
    uint64_t years = born + 10ull * 365 * 24 * 3600 * 1000000000;
    uint32_t tick = request_tick_at(&g->b, years + REQUEST_AHEAD_MAX_NS);
    cr_assert(request_before(request_tick_passed(&g->b, years), tick));
    uint64_t left = request_left_ns(&g->b, tick, years);
    cr_assert(left >= REQUEST_AHEAD_MAX_NS &&
              left <= REQUEST_AHEAD_MAX_NS + REQUEST_TICK_NS);
    rig_free(g);
}

/* ---- with what it submitted ----------------------------------------------------------------------------- */

Test(request, a_tree_is_cancelled_in_any_order_of_its_records)
{
    struct rig *g = rig_new();
    enum { DEPTH = 40 };
    uint64_t link[DEPTH], aside;
    link[0] = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    struct record *r = claim(g, WORKER, link[0]);
    for (int i = 1; i < DEPTH;
         i++) { /* by lanes in turn, so that some stand before their parents */
        link[i] = submit(&g->lane[i % 2 ? OTHER : DRIVER], NULL, 0, link[i - 1]);
        r = claim(g, WORKER, link[i]);
    }
    (void)r;
    aside = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
    struct record *root = &g->b.records[link_index(link[3])];
    cr_assert_eq(task_cancel_as(&g->lane[DRIVER], root, link_gen(link[3]),
                                REQUEST_RECURSIVE | request_make(REQUEST_END, 9)),
                 MOB_OK);
    for (int i = 0; i < DEPTH; i++) {
        uint64_t s = at_load(&g->b.records[link_index(link[i])].state, AT_RELAXED);
        cr_assert_eq((s & STATE_CANCEL) != 0, i >= 3, "task %d", i);
        cr_assert_eq(request_of(&g->b, link_index(link[i]), link_gen(link[i])) != 0,
                     i >= 3);
    }
    cr_assert_eq(phase_of(g, aside), PHASE_QUEUED);
    rig_free(g);
}
