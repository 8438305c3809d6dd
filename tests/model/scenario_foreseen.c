/* Foreseen tasks (store/task.h) as they ship: a worker that looks at the record which a submitter will
 * fill next, with marks, hints and wake-ups around it. */
#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/sweep.h"
#include "store/task.h"
#include "store_world.h"

static struct record *foreseen; /* what the driver's lane hands out next */

/* Finds out which record that is, and leaves it FREE. */
static void setup_foreseen(void)
{
    struct lane *l = &world.lane[DRIVER];
    world_setup();
    MODEL_CHECK(lane_record(l, &foreseen) == MOB_OK, "no record");
    lane_unrecord(l, foreseen);
}

static void submits(void)
{
    world.x = world_submit(DRIVER, 0, LINK_NONE);
}

/* ---- The worker is busy with a foreseen task, and another took its mark --------------------------
 * The driver submits x. Somebody else has made z ready and pushes it. The worker runs x, if it comes to
 * it, for as long as z is not done; so z must find the other worker, which sleeps, or be run before. */

static void setup_two(void)
{
    struct lane *l = &world.lane[OTHER];
    struct record *r;
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(0, 1)};
    setup_foreseen();
    MODEL_CHECK(lane_record(l, &r) == MOB_OK, "no record");
    task_begin(l, r, &call, LINK_NONE);
    world.z = link_make(lane_gen(r), board_index(&world.board, r), 0);
    at_store(&r->state, state_make(lane_gen(r), OTHER, 0, PHASE_QUEUED), AT_RELAXED);
}

static struct record *record_z(void)
{
    return &world.board.records[link_index(world.z)];
}

static void pushes(void)
{
    struct lane any = {.board = &world.board}; /* of a process that does nothing else */
    any.ready[0] = board_ready(&world.board, 0);
    task_make_ready(&any, record_z(), 0);
}

static bool is_sealed(const struct record *r)
{
    return state_sealed(at_load(&r->state, AT_SEQ_CST));
}

static void await_z(void)
{
    uint64_t s;
    while (task_mark_waited(record_z(), link_gen(world.z), STATE_WAITERS, &s)) {
        park_wait(park_low(&record_z()->state), (uint32_t)s, CLOCK_NEVER);
    }
}

static void run(uint32_t self, struct record *r)
{
    if (self == WORKER && r == foreseen) {
        await_z();
    }
    world_seal(self, r);
    if (is_sealed(foreseen) &&
        is_sealed(record_z())) { /* all is done: nobody is to wait */
        for (uint32_t i = WORKER; i <= OTHER; i++) {
            at_store(&world.board.procs[i].run, RUN_EXIT, AT_SEQ_CST);
            task_wake_process(&world.board, i);
        }
    }
}

static bool dismissed(uint32_t self)
{
    return at_load(&world.board.procs[self].run, AT_SEQ_CST) == RUN_EXIT;
}

static void sleeps(uint32_t self, uint32_t seen)
{
    struct queue_item item;
    task_park(&world.board, self, 0);
    if (queue_peek(&world.lane[self].ready[0], &item) == QUEUE_NONE && !dismissed(self)) {
        park_wait(&world.board.procs[self].wake, seen, CLOCK_NEVER);
    }
    task_unpark(&world.board, self, 0);
}

static void works(void)
{
    while (!dismissed(OTHER)) {
        uint32_t seen = at_load(&world.board.procs[OTHER].wake, AT_ACQUIRE);
        struct record *r = world_claim(OTHER);
        if (r) {
            run(OTHER, r);
        } else {
            sleeps(OTHER, seen);
        }
    }
}

/* One look at the foreseen record, behind a mark, stands for the time of spinning. */
static void foresees(void)
{
    struct lane *l = &world.lane[WORKER];
    struct queue_item item;
    while (!dismissed(WORKER)) {
        uint32_t seen = at_load(&world.board.procs[WORKER].wake, AT_ACQUIRE);
        uint64_t link;
        struct record *r = world_claim(WORKER);
        if (r) {
            run(WORKER, r);
            continue;
        }
        if (queue_peek(&l->ready[0], &item) != QUEUE_NONE ||
            !queue_poll(&l->ready[0], &item)) {
            continue;
        }
        if (task_claim_foreseen(l, foreseen, 0, &link)) {
            run(WORKER, foreseen);
            task_unhint_foreseen(l, 0, link);
        } else if (queue_unpoll(&l->ready[0], &item)) {
            sleeps(WORKER, seen);
        }
    }
}

static void settle_two(void)
{
    MODEL_CHECK(world.runs[WORKER] + world.runs[OTHER] == 2, "a task ran twice or never");
    world_settle();
}

/* ---- The submitter dies before it pushes, and its record is another's ------------------------------- */

static void foresees_once(void)
{
    struct lane *l = &world.lane[WORKER];
    struct queue_item item;
    uint64_t link;
    if (queue_peek(&l->ready[0], &item) == QUEUE_NONE &&
        queue_poll(&l->ready[0], &item) && task_claim_foreseen(l, foreseen, 0, &link)) {
        world_seal(WORKER, foreseen);
        if (MODEL_MUTANT(1)) {
            lane_untouch(l);
            (void)queue_take_unseen(&l->ready[0], link_index(link));
        } else {
            task_unhint_foreseen(l, 0, link);
        }
    }
}

static void setup_one_block(void)
{
    setup_foreseen();
    for (uint32_t i = 0; i < BOARD_RECORDS_MAX / BOARD_BLOCK; i++) {
        if (i != board_index(&world.board, foreseen) / BOARD_BLOCK) {
            at_store(&world.board.block_owner[i], OTHER + 1, AT_RELAXED);
        }
    }
}

/* A hint of the new task must not be taken for that of the old one. */
static void sweep_and_reuse(unsigned dead)
{
    struct lane *d = &world.lane[DAEMON];
    uint32_t index = board_index(&world.board, foreseen);
    world_sweep(dead);
    if (dead + 1 == DRIVER) {
        lane_drop(d, link_make(lane_gen(foreseen), index, 0)); /* as its job's end does */
        lane_reclaim(d);
        if (sweep_blocks(d)) {
            world.y = world_submit(OTHER, 0, LINK_NONE);
        }
    }
}

/* ---- The scenarios -------------------------------------------------------------------------------------- */

static const struct model_mutant two_mutants[] = {
    {"who finds no mark wakes nobody", MUTATE_SKIP, "task_wake_process", "wake &"},
    {"a foreseen claim does not look", MUTATE_FORCE, "task_claim_foreseen", "&r->state"},
    {0}};
static const struct model_mutant reuse_mutants[] = {
    {"the record is let go before its hint is removed", MUTATE_CODE, NULL, NULL}, {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "foreseen",
     .about = "a foreseen task, and another push that takes the worker's mark",
     .setup = setup_two,
     .procs = {{"driver", submits, 0},
               {"worker", foresees, 0},
               {"other", works, 0},
               {"pusher", pushes, 0}},
     .step = world_forward,
     .end = settle_two,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 0, 0)},
     .mutants = two_mutants},
    {.name = "foreseen-kill",
     .about = "one dies, and the record of a dead submitter is used again",
     .setup = setup_one_block,
     .procs = {{"driver", submits, 0}, {"worker", foresees_once, 0}},
     .sweep = sweep_and_reuse,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(2, 1, 1),
     .full = {BOUND(3, 1, 2)},
     .mutants = reuse_mutants},
    {0}};
