/* A board that a client wrote over, or goes on writing, while the daemon sweeps it: that ends the job, and
 * does not keep the daemon. */
#include "rig.h"

/* What comes on a ring while it is drained is for the next time: a client must not keep the daemon. */
static void push_again(void *arg, struct record *r)
{
    struct rig *g = arg;
    struct queue_view ring = board_ring(&g->b, DAEMON);
    cr_assert_lt(g->freed_places++, 4u << BOARD_RING_ORDER,
                 "the ring is drained for ever");
    (void)queue_push(&ring, board_index(&g->b, r));
}

Test(sweep_hostile, a_ring_that_fills_while_it_is_drained_keeps_nobody)
{
    struct rig *g = rig_new();
    struct queue_view ring = board_ring(&g->b, DAEMON);
    g->lane[DAEMON].sealed = push_again;
    g->lane[DAEMON].sealed_arg = g;
    cr_assert_eq(queue_push(&ring, 0), QUEUE_OK);
    cr_assert(lane_drain_ring(&g->lane[DAEMON]));
    cr_assert_gt(g->freed_places, 0);
    rig_free(g);
}

/* A client that ties its successor stacks into a ring keeps the daemon only so long. */
Test(sweep_hostile, a_ring_of_successors_ends_the_job_and_not_the_daemon)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    struct sweep_result res;
    uint64_t x = submit(d, NULL, 0, LINK_NONE);
    uint64_t t = submit(d, (uint64_t[]){x}, 1, LINK_NONE);
    struct record *rx = board_record(&g->b, link_index(x));
    struct record *rt = board_record(&g->b, link_index(t));
    struct call call = record_call(rt);
    /* The waiting task stands below itself; another one was cut off while it was hung there. */
    at_store(&record_arg_ref(rt, &call, 1)->next, at_load(&rx->succ, AT_RELAXED),
             AT_RELAXED);
    uint64_t cut = submit(d, (uint64_t[]){x}, 1, LINK_NONE);
    struct record *rc = board_record(&g->b, link_index(cut));
    at_store(&rx->succ, succ_entry(link_index(t), rt, record_arg_ref(rt, &call, 1)),
             AT_RELAXED);
    at_store(&rc->state, state_make(link_gen(cut), WORKER, 0, PHASE_CREATING),
             AT_RELAXED);
    sweep_process(&g->lane[DAEMON], WORKER, false, NULL, NULL, &res);
    cr_assert(res.corrupt);
    rig_free(g);
}

Test(sweep_hostile, who_says_that_it_served_everything_ends_the_job_and_not_the_daemon)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    struct sweep_result res = {0};
    uint64_t x = submit(d, NULL, 0, LINK_NONE), refs[3] = {x, x, x};
    (void)claim(g, OTHER, x);
    for (uint32_t i = LANES; i < BOARD_LEDGERS_MAX; i++) {
        uint64_t sealed = submit(d, NULL, 0, LINK_NONE);
        task_seal(&g->lane[OTHER], claim(g, OTHER, sealed), false);
        at_store(&g->b.ledgers[i].finishing, sealed, AT_RELAXED);
        at_store(&g->b.ledgers[i].owner, WORKER + 1, AT_RELAXED);
    }
    for (int i = 0; i < 3200; i++) {
        (void)submit(d, refs, 3, LINK_NONE);
    }
    sweep_process(&g->lane[DAEMON], WORKER, false, NULL, NULL, &res);
    cr_assert(res.corrupt);
    rig_free(g);
}

/* ---- somebody goes on writing while the sweep looks -------------------------------------------------- */

/* Pairs of records, each to be found by a round of its own: of a round's pair one is a submit that was
 * cut off, whose argument is served from then on, so that the sweep goes round once more, and the
 * other a record whose place the sweep frees. There, in the middle of the sweep, the next round's pair
 * comes into being, in front of where the sweep is. */
enum { PAIRS_MAX = 100 };

static struct writer {
    struct rig *g;
    uint64_t cut[PAIRS_MAX], drained[PAIRS_MAX];
    int next; /* the pair that comes next, from the last to the first */
} writer;

static void set_phase(struct rig *g, uint64_t link, enum phase phase)
{
    struct record *r = &g->b.records[link_index(link)];
    at_store(&r->state, state_make(link_gen(link), WORKER, 0, phase), AT_RELAXED);
}

static void next_pair(void)
{
    if (writer.next-- > 0) {
        set_phase(writer.g, writer.cut[writer.next], PHASE_CREATING);
        set_phase(writer.g, writer.drained[writer.next], PHASE_DRAINING);
    }
}

static void freed(void *arg, uint32_t segment, uint64_t offset)
{
    (void)arg;
    (void)segment;
    (void)offset;
    next_pair();
}

/* What a sweep says of a board on which @pairs come one after the other. */
static struct sweep_result sweep_written(uint32_t pairs)
{
    struct rig *g = rig_new();
    struct lane *d = &g->lane[DRIVER];
    struct sweep_result res;
    writer = (struct writer){.g = g, .next = (int)pairs};
    g->lane[DAEMON].free_place = freed;
    at_store(&g->b.segments[3], SEGMENT_USED | (uint64_t)DAEMON << 40, AT_RELAXED);
    for (uint32_t i = 0; i < pairs; i++) {
        uint64_t x = submit(d, NULL, 0, LINK_NONE);
        task_seal(&g->lane[OTHER], claim(g, OTHER, x), false);
        writer.cut[i] = submit(d, &x, 1, LINK_NONE);
        (void)claim(g, OTHER, writer.cut[i]);
        writer.drained[i] = submit(d, NULL, 0, LINK_NONE);
        struct record *r = claim(g, OTHER, writer.drained[i]);
        record_set_place(r, 0, PLACE_ARENA, 3, 64, 100);
        cr_assert(i == 0 ||
                  link_index(writer.drained[i - 1]) < link_index(writer.cut[i]));
    }
    next_pair();
    sweep_process(&g->lane[DAEMON], WORKER, false, NULL, NULL, &res);
    rig_free(g);
    return res;
}

Test(sweep_hostile, rounds_over_a_board_that_somebody_writes_come_to_an_end)
{
    struct sweep_result res = sweep_written(10);
    cr_assert_not(res.corrupt, "ten rounds are none too many");
    cr_assert_eq(res.cancelled, 10, "each round finds one more");
    res = sweep_written(PAIRS_MAX);
    cr_assert(res.corrupt, "round after round, as long as somebody writes");
}

/* A dead process that runs more tasks than a process can is looked at again, and they become no fewer. */
static void takes_the_last_one_again(void *arg, struct record *r, mob_status error,
                                     uint32_t attempt)
{
    struct rig *g = arg;
    static uint64_t last = LINK_NONE;
    static int times;
    (void)error;
    (void)attempt;
    if (last != LINK_NONE && times++ < 64 * 100) { /* a hundred rounds of tasks */
        struct record *again = &g->b.records[link_index(last)];
        at_store(&again->state, state_make(link_gen(last), WORKER, 1, PHASE_TAKEN),
                 AT_RELAXED);
    }
    last = link_make(state_gen(at_load(&r->state, AT_RELAXED)), board_index(&g->b, r), 0);
}

Test(sweep_hostile, tasks_that_are_taken_again_come_to_an_end)
{
    struct rig *g = rig_new();
    struct sweep_result res;
    for (uint32_t i = 0; i < 192; i++) {
        uint64_t link = submit(&g->lane[DRIVER], NULL, 0, LINK_NONE);
        struct record *r = claim(g, WORKER, link);
        at_store(&r->state, state_make(link_gen(link), WORKER, 1, PHASE_TAKEN),
                 AT_RELAXED);
    }
    sweep_process(&g->lane[DAEMON], WORKER, false, takes_the_last_one_again, g, &res);
    cr_assert(res.corrupt);
    rig_free(g);
}
