/* A class that is closed while somebody submits to it (store/klass.c), whoever dies: its place is another's only when no
 * task of it is left, nor ever will be. The code as it ships, on a board of four records. */
#include "model.h"
#include "store/klass.h"
#include "store/sweep.h"
#include "store/task.h"
#include "store_world.h"

enum { OURS = 7, NEXT = 8 };

static bool submitted, opened; /* a task; the next class in the place */

static void setup(void)
{
    world_setup();
    submitted = opened = false;
    at_store(&world.board.classes[0].used, OURS, AT_RELAXED);
}

/* As mob_submit() does with a class that it has known for a while. */
static void submits(void)
{
    struct lane *l = &world.lane[DRIVER];
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(0, 1)};
    struct record *r;
    uint64_t link;
    uint32_t word = at_load(&world.board.classes[0].used, AT_RELAXED);
    MODEL_CHECK(lane_record(l, &r) == MOB_OK, "no record");
    if (word != OURS || !klass_enter(l, 0, OURS)) {
        lane_unrecord(l, r);
        return;
    }
    task_begin(l, r, &call, LINK_NONE);
    MODEL_CHECK(task_publish(l, r, &link) == MOB_OK, "not published");
    klass_leave(l);
    submitted = true;
}

/* Nobody runs what is submitted. */
static void closes(void)
{
    klass_close(&world.board, 0);
    if (klass_left(&world.board, 0, OURS)) {
        opened = true;
        at_store(&world.board.classes[0].used, NEXT, AT_RELEASE);
    }
}

static bool any_task(void)
{
    bool any = false;
    for (uint32_t i = 0; i < BOARD_RECORDS_MAX; i++) {
        enum phase p = state_phase(at_load(&world.board.records[i].state, AT_RELAXED));
        any |= p >= PHASE_CREATING && p <= PHASE_TAKEN;
    }
    return any;
}

static void end(void)
{
    MODEL_CHECK(!submitted || !opened, "a task is in a class that is not its own");
    /* Once the submitter is through, or dead, the place is free or the task is seen. */
    MODEL_CHECK(opened || klass_left(&world.board, 0, OURS) == !any_task(),
                "the place is never free");
}

static void sweep(unsigned dead)
{
    struct sweep_result result;
    if (!MODEL_MUTANT(1)) {
        sweep_process(&world.lane[DAEMON], dead + 1, false, NULL, NULL, &result);
    }
}

static void end_kill(void)
{
    closes();
    end();
}

static const struct model_mutant mutants[] = {
    {"who enters does not look again", MUTATE_FREEZE, "klass_enter", "used"},
    {"who enters looks before it is known", MUTATE_RELAX, "klass_enter", "entering"},
    {"it is left before the task is there", MUTATE_RELAX, "klass_leave", "entering"},
    {"who closes looks behind no fence", MUTATE_SKIP, "klass_close", "fence"},
    {0}};

static const struct model_mutant kill_mutants[] = {
    {"what the dead one was in is not cleared", MUTATE_CODE, NULL, NULL}, {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "klass",
     .about = "a class is closed while somebody submits to it",
     .setup = setup,
     .procs = {{"driver", submits, 0}, {"daemon", closes, 1}},
     .step = world_forward,
     .end = end,
     .bounds = BOUND(3, 2, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = mutants},
    {.name = "klass-kill",
     .about = "who submits dies on his way",
     .setup = setup,
     .procs = {{"driver", submits, 0}}, /* one daemon: it sweeps */
     .sweep = sweep,
     .step = world_forward,
     .end = end_kill,
     .bounds = BOUND(2, 1, 1),
     .full = {BOUND(3, 1, 1)},
     .mutants = kill_mutants},
    {0}};
