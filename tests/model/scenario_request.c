/* What is asked of a task for a certain time (store/request.c), and of what it submits (store/cancel.c): nothing
 * that was asked is forgotten, whoever dies. The code as it ships, on a board of four records. */
#include <string.h>

#include "model.h"
#include "store/request.h"
#include "store/task.h"
#include "store_world.h"

enum { TICK = 5, NOW = 9 };

static bool armed;     /* by the daemon's last look, which found something for later */
static uint64_t child; /* submitted by the worker's task */

static void setup(void)
{
    world_setup();
    armed = false;
    child = 0;
}

/* ---- Asked by a submitter, while the daemon looks ---------------------------------------------------- */

/* As mob_submit() does with a deadline. */
static void submit_with_deadline(void)
{
    struct lane *l = &world.lane[DRIVER];
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(0, 1)};
    struct record *r;
    uint64_t link;
    MODEL_CHECK(lane_record(l, &r) == MOB_OK, "no record");
    task_begin(l, r, &call, LINK_NONE);
    request_set(&world.board, board_index(&world.board, r), lane_gen(r),
                request_make(REQUEST_START, TICK));
    if (MODEL_MUTANT(3)) {
        request_note(&world.board, board_index(&world.board, r), TICK);
    }
    MODEL_CHECK(task_publish(l, r, &link) == MOB_OK, "not published");
    if (!MODEL_MUTANT(3)) {
        request_note(&world.board, link_index(link), TICK);
    }
    *(world.x ? &world.y : &world.x) = link;
}

static void submits_one(void)
{
    submit_with_deadline();
}
static void submits_two(void)
{
    submit_with_deadline();
    submit_with_deadline();
}

static uint32_t due(void *arg, uint32_t index, uint32_t gen, uint32_t request)
{
    (void)arg;
    task_cancel(&world.lane[DAEMON], &world.board.records[index], gen);
    (void)request;
    return 0;
}

/* A look before the tick, and one after it if the first one, or somebody else, asked for that. */
static void daemon_looks(void)
{
    uint32_t tick;
    armed = request_look(&world.board, TICK - 1, due, NULL, &tick);
    if (armed || at_swap(&world.board.header->notice, 0, AT_SEQ_CST) & NOTICE_DUE) {
        armed = request_look(&world.board, NOW, due, NULL, &tick);
    }
}

static void looks_again(void)
{
    uint32_t tick;
    if (armed || at_load(&world.board.header->notice, AT_SEQ_CST) & NOTICE_DUE) {
        (void)request_look(&world.board, NOW, due, NULL, &tick);
    }
}

/* The dead one may not have told its scenario of its tasks: all records are looked at. */
static void end_deadline(void)
{
    looks_again();
    for (uint32_t i = 0; i < BOARD_RECORDS_MAX; i++) {
        uint64_t s = at_load(&world.board.records[i].state, AT_SEQ_CST);
        uint64_t word = at_load(&world.board.requests[i], AT_SEQ_CST);
        MODEL_CHECK(state_phase(s) != PHASE_QUEUED || word >> 32 != state_gen(s),
                    "a task is queued after its deadline");
    }
    world_settle();
}

/* As proc_sweep() does. */
static void sweep_and_remake(unsigned dead)
{
    uint32_t tick;
    world_sweep(dead);
    if (!MODEL_MUTANT(1)) {
        request_remake(&world.board);
    }
    armed |= request_look(&world.board, TICK - 1, due, NULL, &tick);
}

/* ---- Submitted while its parent is cancelled with all below -------------------------------------------- */

static void setup_parent(void)
{
    setup();
    world_setup_taken();
    world.parent_of_others = world.x;
}

static void worker_submits(void)
{
    struct record *parent = &world.board.records[link_index(world.x)];
    child = world_submit(WORKER, 0, world.x);
    if (!MODEL_MUTANT(1)) {
        task_obey_parent(&world.lane[WORKER], parent, child);
    }
}

static void driver_cancels(void)
{
    struct record *r = &world.board.records[link_index(world.x)];
    MODEL_CHECK(task_cancel_as(&world.lane[DRIVER], r, link_gen(world.x),
                               REQUEST_RECURSIVE) == MOB_OK,
                "no memory");
}

static void end_parent(void)
{
    uint64_t s = at_load(&world.board.records[link_index(child)].state, AT_SEQ_CST);
    MODEL_CHECK(s & STATE_CANCEL, "a child was submitted past its parent's cancel");
    world_seal(WORKER, world.mine);
    lane_drop(&world.lane[WORKER], child);
    world_settle();
}

static const struct model_mutant deadline_mutants[] = {
    {"the daemon does not clear before it looks", MUTATE_SKIP, "request_look", "->due"},
    {"the daemon's look is relaxed", MUTATE_RELAX, "request_look", "due"},
    {"the hint comes before the task", MUTATE_CODE, NULL, NULL},
    {0}};
static const struct model_mutant kill_mutants[] = {
    {"hints are not made again", MUTATE_CODE, NULL, NULL}, {0}};
static const struct model_mutant parent_mutants[] = {
    {"who submits does not look at its parent", MUTATE_CODE, NULL, NULL},
    {"no fence before that look", MUTATE_SKIP, "task_obey_parent", "fence"},
    {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "deadline",
     .about = "a submitter asks while the daemon looks",
     .setup = setup,
     .procs = {{"driver", submits_two, 0}, {"daemon", daemon_looks, 1}},
     .step = world_forward,
     .end = end_deadline,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = deadline_mutants},
    {.name = "deadline-kill",
     .about = "the submitter dies on its way",
     .setup = setup,
     .procs = {{"driver", submits_one, 0}}, /* one daemon: it sweeps */
     .sweep = sweep_and_remake,
     .step = world_forward,
     .end = end_deadline,
     .bounds = BOUND(2, 1, 1),
     .full = {BOUND(3, 1, 1)},
     .mutants = kill_mutants},
    {.name = "cancel-family",
     .about = "a task submits while it is cancelled with all that it submitted",
     .setup = setup_parent,
     .procs = {{"driver", driver_cancels, 0}, {"worker", worker_submits, 0}},
     .step = world_forward,
     .end = end_parent,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 1, 0)},
     .mutants = parent_mutants},
    {0}};
