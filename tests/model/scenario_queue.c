/* The ready queue (store/queue.h) as it ships, with two cells, so that laps and "full" matter. */
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/queue.h"

enum { ITEMS = 4 };

static struct shared {
    struct queue queue;
    at_u64 cells[2];
    at_u32 parked; /* the popper's flag, as a bit of struct klass.parked */
    at_u32 wake;   /* struct proc.wake */
    at_u32 pushers_left;
    uint32_t data[ITEMS];
} * m;
static struct queue_view views[MODEL_PROCS_MAX];
static unsigned pushed[MODEL_PROCS_MAX][ITEMS], taken[MODEL_PROCS_MAX][ITEMS];

static void setup(void)
{
    m = model_alloc("m", sizeof *m);
    for (unsigned i = 0; i < MODEL_PROCS_MAX; i++) {
        views[i] = queue_view(&m->queue, m->cells, 1);
    }
    memset(pushed, 0, sizeof pushed);
    memset(taken, 0, sizeof taken);
}

/* The process's own. */
static struct queue_view *q(void)
{
    return &views[model_self()];
}

static enum queue_result push(uint32_t item)
{
    m->data[item] = item + 1;
    enum queue_result res = queue_push(q(), item);
    MODEL_CHECK(res != QUEUE_CORRUPT, "the queue is said to be corrupt");
    pushed[model_self()][item] += res != QUEUE_NONE;
    return res;
}

static bool pop(void)
{
    struct queue_item item;
    for (;;) {
        enum queue_result res = queue_peek(q(), &item);
        MODEL_CHECK(res != QUEUE_CORRUPT, "the queue is said to be corrupt");
        if (res == QUEUE_NONE) {
            return false;
        }
        MODEL_CHECK(item.index < ITEMS && m->data[item.index] == item.index + 1,
                    "an item without its data");
        if (queue_take(q(), &item)) {
            taken[model_self()][item.index]++;
            return true;
        }
    }
}

static unsigned sum(unsigned (*of)[ITEMS], uint32_t item)
{
    unsigned total = 0;
    for (unsigned i = 0; i < MODEL_PROCS_MAX; i++) {
        total += of[i][item];
    }
    return total;
}

/* What is pushed is taken once; if nobody died, or died between two operations, at least once. */
static void all_taken(void)
{
    while (pop()) {
    }
    bool death = false;
    for (unsigned i = 0; i < 3; i++) {
        death |= model_died(i);
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        unsigned in = sum(pushed, i), out = sum(taken, i);
        MODEL_CHECK(death || in == out, "item %u: pushed %u times, taken %u times", i, in,
                    out);
        MODEL_CHECK(out <= 1, "item %u: taken %u times", i, out);
    }
}

static void push_0_2(void)
{
    push(0);
    push(2);
}
static void push_1_3(void)
{
    push(1);
    push(3);
}
static void pop_1(void)
{
    pop();
}
static void pop_2(void)
{
    pop();
    pop();
}

/* Nothing is left half done by the dead, so there is nothing to sweep. */
static void sweep(unsigned dead)
{
    (void)dead;
}

/* ---- A popper that spins on a polled cell, then parks ------------------------------------- */

static void polling_popper(void)
{
    struct queue_item item;
    for (;;) {
        if (pop()) {
            return;
        }
        if (queue_peek(q(), &item) != QUEUE_NONE || !queue_poll(q(), &item)) {
            continue;
        }
        /* One look at the polled cell stands for the time of spinning. */
        if (!(at_load(queue_cell(q(), item.position), AT_ACQUIRE) & QUEUE_FULL) &&
            (MODEL_MUTANT(1) || queue_unpoll(q(), &item))) {
            uint32_t seen = at_load(&m->wake, AT_ACQUIRE);
            at_or(&m->parked, 1, AT_SEQ_CST);
            if (queue_peek(q(), &item) == QUEUE_NONE) {
                park_wait(&m->wake, seen, CLOCK_NEVER);
            }
            at_and(&m->parked, 0, AT_SEQ_CST);
        }
    }
}

static void waking_pusher(void)
{
    if (push(0) == QUEUE_OK_POLLED) {
        return;
    }
    if (at_load(&m->parked, AT_SEQ_CST) && at_and(&m->parked, 0, AT_SEQ_CST)) {
        at_add(&m->wake, 1, AT_SEQ_CST);
        park_wake(&m->wake, 1);
    }
}

static const struct model_mutant queue_mutants[] = {
    {"push does not look whether the cell is still empty", MUTATE_FORCE, "queue_push",
     "queue_cell"},
    {"push is relaxed", MUTATE_RELAX, "queue_push", "queue_cell"},
    {"peek is relaxed", MUTATE_RELAX, "queue_peek", "queue_cell"},
    {0}};

static const struct model_mutant pop_mutants[] = {
    {"take does not look whether the item is still there", MUTATE_FORCE, "queue_take",
     "queue_cell"},
    {0}};

static const struct model_mutant poll_mutants[] = {
    {"sleeps with the mark set", MUTATE_CODE, NULL, NULL},
    {"takes the mark back without a look", MUTATE_FORCE, "queue_unpoll", "queue_cell"},
    {"no wake", MUTATE_SKIP, "waking_pusher", "wake"},
    {"no re-check of the queue", MUTATE_FREEZE, "queue_peek", "queue_cell"},
    {"sleeps without saying so", MUTATE_SKIP, "polling_popper", "&m->parked"},
    {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "queue",
     .about = "two push, one pops, the queue wraps and fills",
     .setup = setup,
     .procs = {{"p1", push_0_2, 0}, {"p2", push_1_3, 0}, {"pop", pop_2, 0}},
     .end = all_taken,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = queue_mutants},
    {.name = "queue-pop",
     .about = "one pushes, two pop",
     .setup = setup,
     .procs = {{"push", push_0_2, 0}, {"pop1", pop_1, 0}, {"pop2", pop_2, 0}},
     .end = all_taken,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = pop_mutants},
    {.name = "queue-kill",
     .about = "whoever dies leaves a queue that works",
     .setup = setup,
     .procs = {{"p1", push_0_2, 0}, {"p2", push_1_3, 0}, {"pop", pop_1, 0}},
     .sweep = sweep,
     .end = all_taken,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(3, 1, 2)}},
    {.name = "queue-poll",
     .about = "a popper polls, then parks, while a task is pushed",
     .setup = setup,
     .procs = {{"popper", polling_popper, 0}, {"pusher", waking_pusher, 0}},
     .end = all_taken,
     .bounds = {.preemptions = MODEL_UNBOUNDED, .stale = 2, .spurious = 1},
     .mutants = poll_mutants},
    {0}};
