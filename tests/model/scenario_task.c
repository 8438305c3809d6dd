/* What becomes of a task (store/): hung on its arguments, claimed, sealed, waited for, cancelled. The code
 * as it ships, on a board of four records: store_world.h. */
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/task.h"
#include "store_world.h"

/* ---- A task hangs itself on an argument while that is sealed -------------------------------- */

static void arrive_driver(void)
{
    world.y = world_submit(DRIVER, world.x, LINK_NONE);
}

static void worker_seals(void)
{
    world_seal(WORKER, world.mine);
}

/* ---- Served by a sweep and by a living process -------------------------------------------------
 * A task y hangs on x, which the worker seals. The driver hangs another one on x and dies, so that the
 * sweep may give y its argument while the worker has it in hand; y runs, is freed, and its record is
 * used again for a task that waits for z, which OTHER runs until the end. */

static void setup_served(void)
{
    world_setup_taken();
    world.z = world_submit(OTHER, 0, LINK_NONE);
    world.others = world_claim(OTHER);
    world.y = world_submit(OTHER, world.x, LINK_NONE);
}

static void served_driver(void)
{
    world.third = world_submit(DRIVER, world.x, LINK_NONE);
}

/* The worker guesses that its task has successors, and holds them from before the seal. */
static void setup_served_guess(void)
{
    setup_served();
    world.lane[WORKER].guess = LINK_SUCCESSORS;
    lane_finishing(&world.lane[DRIVER], world.x);
}

/* The end of such a driver in short: it had x in hand. */
static void setup_served_half(void)
{
    setup_served();
    lane_finishing(&world.lane[DRIVER], world.x);
}

static void runs_and_reuses(void)
{
    struct lane *l = &world.lane[OTHER];
    struct record *r = world_claim(OTHER);
    if (!r) {
        return;
    }
    world_seal(OTHER, r);
    if (r == &world.board.records[link_index(world.y)]) {
        lane_drop(l, world.y);
        lane_reclaim(l);
        world.reused = l->avail || l->top ? world_submit(OTHER, world.z, LINK_NONE) : 0;
    }
}

static void sweeps_and_reuses(void)
{
    world_sweep(DRIVER - 1);
    runs_and_reuses();
}

/* A task is ready only when its argument is sealed. */
static void served_step(void)
{
    world_forward();
    uint64_t s = world.reused ? world.board.records[link_index(world.reused)].state.v : 0;
    uint64_t z = world.board.records[link_index(world.z)].state.v;
    MODEL_CHECK(state_gen(s) != link_gen(world.reused) || state_phase(s) < PHASE_QUEUED ||
                    state_gen(z) != link_gen(world.z) || state_phase(z) >= PHASE_DONE,
                "a task is ready before its argument");
}

static void settle_served(void)
{
    world_seal(OTHER, world.others);
    world_settle();
}

/* ---- Waiting for a seal ----------------------------------------------------------------------- */

static void waits_for_seal(void)
{
    struct record *r = board_record(&world.board, link_index(world.x));
    uint64_t s;
    while (task_mark_waited(r, link_gen(world.x), STATE_WAITERS, &s)) {
        park_wait(park_low(&r->state), (uint32_t)s, CLOCK_NEVER);
    }
    MODEL_CHECK(state_sealed(s) && state_gen(s) == link_gen(world.x),
                "the wait ended unsealed");
    if (s & STATE_ERROR) {
        return;
    }
    struct place p = record_get_place(r, 0);
    MODEL_CHECK(p.kind == PLACE_INLINE && p.size == 8 &&
                    *(uint64_t *)(void *)(r->payload + p.offset) == RESULT,
                "sealed without its result");
}

/* ---- Submit against parking -------------------------------------------------------------------------------- */

static void submits(void)
{
    world.x = world_submit(DRIVER, 0, LINK_NONE);
}

/* A worker's loop: claim, or poll, park, look again, sleep. */
static void works_once(void)
{
    struct record *r;
    struct queue_item item;
    struct queue_view ready = board_ready(&world.board, 0);
    for (;;) {
        uint32_t seen = at_load(&world.board.procs[WORKER].wake, AT_ACQUIRE);
        if (task_claim(&world.lane[WORKER], 0, &r, &item) == QUEUE_OK) {
            break;
        }
        if (at_load(&world.board.procs[WORKER].run, AT_ACQUIRE) == RUN_EXIT) {
            return;
        }
        task_park(&world.board, WORKER, 0);
        if (queue_peek(&ready, &item) == QUEUE_NONE &&
            at_load(&world.board.procs[WORKER].run, AT_SEQ_CST) != RUN_EXIT) {
            park_wait(&world.board.procs[WORKER].wake, seen, CLOCK_NEVER);
        }
        task_unpark(&world.board, WORKER, 0);
    }
    world_seal(WORKER, r);
}

static void sweep_and_dismiss(unsigned dead)
{
    world_sweep(dead);
    at_store(&world.board.procs[WORKER].run, RUN_EXIT, AT_SEQ_CST);
    task_wake_process(&world.board, WORKER);
}

/* ---- Two claim, one cancels ------------------------------------------------------------------------------------- */

static void setup_queued(void)
{
    world_setup();
    world.x = world_submit(DRIVER, 0, LINK_NONE);
}

static void claims_and_seals(void)
{
    uint32_t self = model_self() + 1;
    struct record *r = world_claim(self);
    if (r) {
        world_seal(self, r);
    }
}

static void cancels(void)
{
    task_cancel(&world.lane[DRIVER], &world.board.records[link_index(world.x)],
                link_gen(world.x));
}

static void settle_claimed(void)
{
    MODEL_CHECK(world.runs[WORKER] + world.runs[OTHER] <= 1,
                "the task ran twice though nobody died");
    world_settle();
}

/* ---- A task is cancelled while it waits for an argument that is being sealed ------------------------------------ */

static void setup_waiting(void)
{
    world_setup_taken();
    world.y = world_submit(DRIVER, world.x, LINK_NONE);
}

static void cancels_waiting(void)
{
    task_cancel(&world.lane[DRIVER], &world.board.records[link_index(world.y)],
                link_gen(world.y));
}

/* Nobody but the canceller touches the task, so it is over when the cancel returns. Its record is asked
 * for at once, for a task that waits for the same argument: while the stack of that one still names it,
 * nobody may have it. */
static void cancels_and_submits(void)
{
    struct record *r = &world.board.records[link_index(world.y)];
    cancels_waiting();
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    MODEL_CHECK(state_sealed(s) && s & STATE_ERROR, "cancelled, and not at once");
    lane_drop(&world.lane[DRIVER], world.y);
    world.y = LINK_NONE;
    lane_reclaim(&world.lane[DRIVER]);
    world.y = world_submit(DRIVER, world.x, LINK_NONE);
}

/* ---- A worker goes on with the task that its seal made ready, while that is cancelled ---------------------------- */

static void worker_goes_on(void)
{
    struct lane *l = &world.lane[WORKER];
    l->keeps = 1;
    world_seal(WORKER, world.mine);
    l->keeps = 0;
    if (l->kept) {
        world_seal(WORKER, l->kept);
    }
}

static void settle_row(void)
{
    MODEL_CHECK(world.runs[WORKER] + world.runs[OTHER] <= 2, "a task ran twice");
    world_settle_exactly();
}

/* ---- A task waits for two that are sealed at the same time ------------------------------------------------------ */

static void setup_both(void)
{
    world_setup_taken();
    world.z = world_submit(DRIVER, 0, LINK_NONE);
    world.others = world_claim(OTHER);
    MODEL_CHECK(world.others, "the second task is not in the queue");
}

static void setup_both_waiting(void)
{
    setup_both();
    world.y = world_submit_both(DRIVER, world.x, world.z);
}

static void both_driver(void)
{
    world.y = world_submit_both(DRIVER, world.x, world.z);
}

/* Reads as the task's function would. */
static void check_argument(uint64_t link)
{
    struct record *r = &world.board.records[link_index(link)];
    MODEL_CHECK(state_sealed_used(at_load(&r->state, AT_RELAXED)),
                "a task runs before an argument is sealed");
    struct place p = record_get_place(r, 0);
    MODEL_CHECK(p.kind == PLACE_INLINE &&
                    *(uint64_t *)(void *)(r->payload + 256) == RESULT,
                "a task runs before it can see an argument");
}

static void seal_and_run(struct record *mine)
{
    uint32_t self = model_self() + 1;
    struct record *r;
    world_seal(self, mine);
    if ((r = world_claim(self))) {
        check_argument(world.x);
        check_argument(world.z);
        world_seal(self, r);
    }
}

static void both_worker(void)
{
    seal_and_run(world.mine);
}

static void both_other(void)
{
    seal_and_run(world.others);
}

static void both_other_seals(void)
{
    world_seal(OTHER, world.others);
}

static void settle_both(void)
{
    MODEL_CHECK(world.runs[WORKER] + world.runs[OTHER] <= 3, "a task ran twice");
    lane_drop(&world.lane[DRIVER], world.z);
    world_settle_exactly();
}

/* ---- The scenarios -------------------------------------------------------------------------------------------------- */

static const struct model_mutant arrive_mutants[] = {
    {"the submitter does not look after its push", MUTATE_FREEZE, "hang_last",
     "&x->state"},
    {"the sealer's look at the stack is relaxed", MUTATE_RELAX, "sealed", "&r->succ"},
    {"the submitter's look is relaxed", MUTATE_RELAX, "hang_last", "&x->state"},
    {"the submitter's push is relaxed", MUTATE_RELAX, "push", "&x->succ"},
    {0}};
static const struct model_mutant served_mutants[] = {
    {"the task that is served is not held", MUTATE_SKIP, "lane_touch_successors",
     "touching"},
    {0}};
static const struct model_mutant served_guess_mutants[] = {
    {"the seal does not carry that they are", MUTATE_RELAX, "task_seal_childless",
     "&r->state"},
    {0}};
static const struct model_mutant wait_mutants[] = {
    {"no wake", MUTATE_SKIP, "task_wake_waiters", "wake"},
    {"the seal overwrites WAITERS", MUTATE_FORCE, "task_seal_childless", "&r->state"},
    {"the mark overwrites a seal", MUTATE_FORCE, "task_mark_waited", "&r->state"},
    {0}};
static const struct model_mutant park_mutants[] = {
    {"no wake", MUTATE_SKIP, "task_wake_process", "wake &"},
    {"the worker does not say that it sleeps", MUTATE_SKIP, "task_park", "parked"},
    {"the worker's word is relaxed", MUTATE_RELAX, "task_park", "parked"},
    {"the push is relaxed", MUTATE_RELAX, "queue_push", "queue_cell"},
    {0}};
static const struct model_mutant claim_mutants[] = {
    {"a claim does not look", MUTATE_FORCE, "task_claim_hinted", "&r->state"}, {0}};
static const struct model_mutant cancel_mutants[] = {
    {"the canceller does not look at the arrivals again", MUTATE_FREEZE,
     "record_awaits_args", "&r->arrived"},
    {"who brings the argument does not look at the phase again", MUTATE_FREEZE,
     "all_arrived", "&t->state"},
    {"the arrival is not marked", MUTATE_SKIP, "arrive", "&t->arrived"},
    {0}};
static const struct model_mutant row_mutants[] = {
    {"the worker keeps what it finds", MUTATE_FORCE, "step_ready", "&t->state"}, {0}};
static const struct model_mutant both_mutants[] = {
    {"what the others have brought is not acquired", MUTATE_RELAX, "arrive",
     "&t->arrived"},
    {"the last arrival is not marked", MUTATE_SKIP, "arrive", "&t->arrived"},
    {"the submitter does not look after its first push", MUTATE_FREEZE, "hang",
     "&x->state"},
    {"WAITING is not there before the last push", MUTATE_SKIP, "hang_last", "&r->state"},
    {0}};
static const struct model_mutant arrive_kill_mutants[] = {
    {"a task that is being hung on its last argument is not named", MUTATE_SKIP,
     "lane_hanging", "touching"},
    {0}};
static const struct model_mutant both_cancel_mutants[] = {
    {"the last one does not look whether the task still waits", MUTATE_FORCE,
     "step_ready", "&t->state"},
    {0}};
static const struct model_mutant cancel_claim_mutants[] = {
    {"a cancel does not look", MUTATE_FORCE, "take_to_cancel", "&r->state"}, {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "arrive",
     .about = "a task hangs itself on an argument that is being sealed",
     .setup = world_setup_taken,
     .procs = {{"driver", arrive_driver, 0}, {"worker", worker_seals, 0}},
     .step = world_forward,
     .end = world_settle_exactly,
     .bounds = BOUND(MODEL_UNBOUNDED, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = arrive_mutants},
    {.name = "arrive-kill",
     .about = "the same, and either dies",
     .setup = world_setup_taken,
     .procs = {{"driver", arrive_driver, 0}, {"worker", worker_seals, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(2, 1, 1), BOUND(2, 0, 2), BOUND(3, 0, 1)},
     .mutants = arrive_kill_mutants},
    {.name = "served-kill",
     .about = "a sweep and a living process serve the successors of one record",
     .setup = setup_served,
     .procs = {{"driver", served_driver, 0},
               {"worker", worker_seals, 1},
               {"other", runs_and_reuses, 1}},
     .sweep = world_sweep,
     .step = served_step,
     .end = settle_served,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 0, 1)}},
    {.name = "served",
     .about = "the same, after the driver's death",
     .setup = setup_served_half,
     .procs = {{"worker", worker_seals, 1}, {"daemon", sweeps_and_reuses, 1}},
     .step = served_step,
     .end = settle_served,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 1, 0)},
     .mutants = served_mutants},
    {.name = "served-guess",
     .about = "the same, and the sealer holds them from before its seal",
     .setup = setup_served_guess,
     .procs = {{"worker", worker_seals, 1}, {"daemon", sweeps_and_reuses, 1}},
     .step = served_step,
     .end = settle_served,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 1, 0)},
     .mutants = served_guess_mutants},
    {.name = "wait",
     .about = "a driver waits for a seal, and the sealer may die",
     .setup = world_setup_taken,
     .procs = {{"driver", waits_for_seal, 1}, {"worker", worker_seals, 0}},
     .sweep = world_sweep_and_run,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(2, 1, 1),
     .full = {BOUND(4, 1, 1)},
     .mutants = wait_mutants},
    {.name = "park",
     .about = "a worker parks while a task is submitted",
     .setup = world_setup,
     .procs = {{"driver", submits, 0}, {"worker", works_once, 0}},
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(3, 2, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = park_mutants},
    {.name = "park-kill",
     .about = "the same, and either dies",
     .setup = world_setup,
     .procs = {{"driver", submits, 0}, {"worker", works_once, 0}},
     .sweep = sweep_and_dismiss,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(3, 1, 2)}},
    {.name = "claim",
     .about = "two claim a task and one cancels it",
     .setup = setup_queued,
     .procs = {{"driver", cancels, 0},
               {"worker", claims_and_seals, 0},
               {"other", claims_and_seals, 0}},
     .step = world_forward,
     .end = settle_claimed,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = claim_mutants},
    {.name = "claim-kill",
     .about = "the same, and one dies",
     .setup = setup_queued,
     .procs = {{"driver", cancels, 0},
               {"worker", claims_and_seals, 0},
               {"other", claims_and_seals, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 1, 1)}},
    {.name = "cancel",
     .about =
         "a task is cancelled while its argument is sealed, and its record asked for",
     .setup = setup_waiting,
     .procs = {{"driver", cancels_and_submits, 0}, {"worker", worker_seals, 0}},
     .step = world_forward,
     .end = world_settle_exactly,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 1, 0)},
     .mutants = cancel_mutants},
    {.name = "cancel-kill",
     .about = "the same, and either dies",
     .setup = setup_waiting,
     .procs = {{"driver", cancels_and_submits, 0}, {"worker", worker_seals, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 0, 1)}},
    {.name = "cancel-claim",
     .about = "the same, and another claims what is ready",
     .setup = setup_waiting,
     .procs = {{"driver", cancels_waiting, 0},
               {"worker", worker_seals, 0},
               {"other", claims_and_seals, 0}},
     .step = world_forward,
     .end = world_settle_exactly,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = cancel_claim_mutants},
    {.name = "row",
     .about = "the same, and the sealer goes on with what is ready",
     .setup = setup_waiting,
     .procs = {{"driver", cancels_waiting, 0},
               {"worker", worker_goes_on, 0},
               {"other", claims_and_seals, 0}},
     .step = world_forward,
     .end = settle_row,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = row_mutants},
    {.name = "row-kill",
     .about = "the same, and one dies",
     .setup = setup_waiting,
     .procs = {{"driver", cancels_waiting, 0},
               {"worker", worker_goes_on, 0},
               {"other", claims_and_seals, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 0, 1)}},
    {.name = "both",
     .about = "a task hangs itself on two that are being sealed, and one of the sealers "
              "runs it",
     .setup = setup_both,
     .procs = {{"driver", both_driver, 0},
               {"worker", both_worker, 0},
               {"other", both_other, 0}},
     .step = world_forward,
     .end = settle_both,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 1, 0)},
     .mutants = both_mutants},
    {.name = "both-cancel",
     .about = "the same of a task that waits, and is cancelled",
     .setup = setup_both_waiting,
     .procs = {{"driver", cancels_waiting, 0},
               {"worker", worker_seals, 0},
               {"other", both_other_seals, 0}},
     .step = world_forward,
     .end = settle_both,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 1, 0)},
     .mutants = both_cancel_mutants},
    {.name = "both-kill",
     .about =
         "a task hangs itself on two that are being sealed, and one of the three dies",
     .setup = setup_both,
     .procs = {{"driver", both_driver, 0},
               {"worker", worker_seals, 0},
               {"other", both_other_seals, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 0, 1)}},
    {0}};
