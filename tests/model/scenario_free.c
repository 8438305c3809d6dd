/* When a record (store/) is closed and freed: pins, uses, handles, children. The code as it ships, on a
 * board of four records: store_world.h. */
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/task.h"
#include "store_world.h"

static void worker_seals(void)
{
    world_seal(WORKER, world.mine);
}

/* ---- Pins ------------------------------------------------------------------------------------- */

static void setup_pin(void)
{
    world_setup_taken();
    world_seal(WORKER, world.mine);
    lane_reclaim(&world.lane[WORKER]);
}

/* Drops the object, frees it, and uses its record again. */
static void pin_driver(void)
{
    lane_drop(&world.lane[DRIVER], world.x);
    lane_reclaim(&world.lane[DRIVER]);
    struct record *r = &world.board.records[link_index(world.x)];
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    if (state_phase(s) == PHASE_FREE && state_gen(s) != link_gen(world.x)) {
        memset(r->payload, 0, sizeof r->payload);
    }
}

static void pin_reader(void)
{
    uint64_t pin, s;
    if (!lane_find(&world.lane[WORKER], world.x, &s) ||
        lane_pin(&world.lane[WORKER], world.x, &pin) != MOB_OK) {
        return;
    }
    world.pinned = world.x;
    struct record *r = &world.board.records[link_index(world.x)];
    uint64_t bytes = *(uint64_t *)(void *)(r->payload + record_get_place(r, 0).offset);
    MODEL_CHECK(bytes == RESULT, "a pinned object was written over");
    world.pinned = 0;
    lane_unpin(&world.lane[WORKER], pin);
}

static void pin_step(void)
{
    world_forward();
    uint64_t s = world.pinned && !world_died(WORKER)
                     ? world.board.records[link_index(world.pinned)].state.v
                     : 0;
    MODEL_CHECK(
        !s || (state_gen(s) == link_gen(world.pinned) && state_phase(s) <= PHASE_DEAD),
        "a pinned object was reclaimed");
}

/* ---- Release against close: freed once, by either ------------------------------------------------- */

static void drops(void)
{
    lane_drop(&world.lane[DRIVER], world.x);
    lane_reclaim(&world.lane[DRIVER]);
}

static void seals_a_place(void)
{
    record_set_place(world.mine, 0, PLACE_ARENA, WORKER, 64, 1000);
    world.places_made[WORKER] = 1;
    MODEL_CHECK(task_seal(&world.lane[WORKER], world.mine, false),
                "a task that it runs is not its own");
    lane_reclaim(&world.lane[WORKER]);
}

static void drops_too(void)
{
    lane_drop(&world.lane[WORKER], world.x);
    lane_reclaim(&world.lane[WORKER]);
}

/* ---- Release against use, which is against the rules: one of them fails ------------------------- */

static void setup_use(void)
{
    setup_pin();
    world.may_take_back = true;
}

static void tries_to_use(void)
{
    struct lane *l = &world.lane[WORKER];
    struct record *r;
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(1, 1)};
    call.class_options = CALL_HAS_REFS << 4;
    if (lane_record(l, &r) != MOB_OK) {
        return;
    }
    task_begin(l, r, &call, LINK_NONE);
    uint64_t link;
    if (!task_add_ref(r, 0, world.x) || task_publish(l, r, &link) != MOB_OK) {
        lane_unrecord(l, r);
        return;
    }
    world.y = link;
}

/* A task that was published finds its argument. */
static void use_step(void)
{
    world_forward();
    uint64_t y = world.y ? world.board.records[link_index(world.y)].state.v : 0;
    uint64_t x = world.board.records[link_index(world.x)].state.v;
    MODEL_CHECK(!y || state_phase(y) >= PHASE_DONE ||
                    (state_gen(x) == link_gen(world.x) && state_phase(x) <= PHASE_DEAD),
                "an argument was freed before its task ran");
}

static void settle_use(void)
{
    if (world.y && !world_died(DRIVER)) {
        uint64_t x = world.board.records[link_index(world.x)].state.v;
        MODEL_CHECK(state_gen(x) == link_gen(world.x) && state_phase(x) == PHASE_CLOSED,
                    "an argument was freed before its task ran");
    }
    for (uint32_t i = 0; world_died(WORKER) && i < BOARD_RECORDS_MAX; i++) {
        /* Here it submits as a driver does, and its handles go with its job. */
        struct record *r = board_record(&world.board, i);
        lane_drop(&world.lane[OTHER], r ? link_make(lane_gen(r), i, 0) : LINK_NONE);
    }
    world_settle();
}

/* ---- A parent and its child end at once --------------------------------------------------------------- */

static void setup_family(void)
{
    world_setup_taken();
    world.y = world_submit(WORKER, 0, world.x);
    world.parent_of_others = world.x;
    world.others = world_claim(OTHER);
    MODEL_CHECK(world.others, "the child is not in the queue");
    lane_drop(&world.lane[WORKER], world.y);
}

/* A task is CLOSED when all that it submitted is. */
static void family_step(void)
{
    world_forward();
    uint64_t parent = world.board.records[link_index(world.x)].state.v;
    uint64_t child = world.board.records[link_index(world.y)].state.v;
    bool open =
        state_gen(child) == link_gen(world.y) && state_phase(child) < PHASE_CLOSED;
    MODEL_CHECK(!open || (state_gen(parent) == link_gen(world.x) &&
                          state_phase(parent) < PHASE_CLOSED),
                "a task was closed before its child");
}

static void other_seals(void)
{
    world_seal(OTHER, world.others);
}

/* ---- Two end tasks with one argument, and take its uses off later, while it is released ----------------- */

static void setup_owed(void)
{
    setup_pin(); /* x is sealed */
    world.y = world_submit(DRIVER, world.x, LINK_NONE);
    world.z = world_submit(DRIVER, world.x, LINK_NONE);
    world.mine = world_claim(WORKER);
    world.others = world_claim(OTHER);
    world.lane[WORKER].owes = world.lane[OTHER].owes = true;
    world.may_take_back = true; /* by a sweep */
}

static void worker_owes(void)
{
    world_seal(WORKER, world.mine);
    lane_settle(&world.lane[WORKER]);
}

static void other_owes(void)
{
    world_seal(OTHER, world.others);
    lane_settle(&world.lane[OTHER]);
}

/* ---- Spare uses: the driver gives its task one of x, and releases x, which the worker seals ------------------- */

static uint64_t submit_plain(uint64_t arg)
{
    struct lane *l = &world.lane[DRIVER];
    struct record *r;
    struct call call = {.fn = 1, .counts = call_counts(arg != 0, 1)};
    uint64_t s = 0;
    call.class_options = arg ? CALL_HAS_REFS << 4 : 0;
    MODEL_CHECK(lane_record(l, &r) == MOB_OK, "no record");
    uint64_t link = link_make(lane_gen(r), board_index(&world.board, r), 0);
    task_begin(l, r, &call, LINK_NONE);
    if (arg) {
        MODEL_CHECK(task_add_ref(r, 0, arg), "no room for an argument");
        MODEL_CHECK(lane_use_spare(l, arg, &s), "there is no spare use");
    }
    if (arg && !state_sealed(s)) {
        call = record_call(r);
        task_fill_plain(r, link, fill_make(32, REFS_SPARE));
        (void)task_publish_waiting(
            l, r, link,
            &(struct task_open){&world.board.records[link_index(arg)],
                                record_arg_ref(r, &call, 0)},
            1);
    } else {
        at_store(&r->arrived, arg != 0, AT_RELAXED);
        (void)task_publish_plain(l, r, link, fill_make(32, REFS_SPARE), 0);
    }
    return link;
}

static void setup_spare(void)
{
    world_setup();
    world.x = submit_plain(0);
    world.mine = world_claim(WORKER);
    MODEL_CHECK(world.mine, "the task is not in the queue");
}

static void spare_driver(void)
{
    world.y = submit_plain(world.x);
    lane_drop(&world.lane[DRIVER], world.x);
}

static void spare_other(void)
{
    struct record *r = world_claim(OTHER);
    if (r) {
        uint64_t s = at_load(&world.board.records[link_index(world.x)].state, AT_ACQUIRE);
        MODEL_CHECK(state_gen(s) == link_gen(world.x) && state_sealed(s),
                    "an argument went before its task");
        world_seal(OTHER, r);
    }
}

/* ---- The scenarios -------------------------------------------------------------------------------------------------- */

static const struct model_mutant pin_mutants[] = {
    {"no fence in the reader", MUTATE_SKIP, "lane_pin_open", "fence"},
    {"no fence in the reclaimer", MUTATE_SKIP, "lane_reclaim", "fence"},
    {"no re-check of the state", MUTATE_FREEZE, "lane_find", "&r->state"},
    {"the pin is not written", MUTATE_SKIP, "lane_pin_open", "&g->pin"},
    {"the unpin is relaxed", MUTATE_RELAX, "lane_unpin", "&g->pin"},
    {"the scan is relaxed", MUTATE_RELAX, "scan_ledgers", "&g->pin"},
    {0}};
static const struct model_mutant pin_kill_mutants[] = {
    {"the sweep leaves the ledger of the dead", MUTATE_SKIP, "clear_ledger", "&g->"},
    {0}};
static const struct model_mutant close_kill_mutants[] = {
    {"no fence in the sweep", MUTATE_SKIP, "sweep_process", "fence"},
    {"no fence where a place is handed over", MUTATE_SKIP, "lane_pass_on", "fence"},
    {0}};
static const struct model_mutant close_mutants[] = {
    {"DEAD is set by whoever closes", MUTATE_FORCE, "lane_try_free", "&r->state"}, {0}};
static const struct model_mutant twice_mutants[] = {
    {"DEAD is set by whoever drops", MUTATE_FORCE, "lane_drop_last", "&r->state"}, {0}};
static const struct model_mutant use_mutants[] = {
    {"the user's look is relaxed", MUTATE_RELAX, "lane_use_fast", "&r->state"},
    {"who drops does not look at the uses again", MUTATE_FREEZE, "lane_drop_last",
     "&r->refs"},
    {0}};
static const struct model_mutant family_mutants[] = {
    {"CLOSED is set by whoever comes", MUTATE_FORCE, "try_close", "&r->state"},
    {"the worker does not look at its children again", MUTATE_FREEZE, "has_open_children",
     "&r->children"},
    {0}};

static const struct model_mutant owed_mutants[] = {
    {"what is owed is taken off whatever is there", MUTATE_FORCE, "less", "&r->refs"},
    {0}};

static const struct model_mutant spare_mutants[] = {
    {"the spare use is there for another task", MUTATE_SKIP, "lane_use_spare",
     "&r->fill"},
    {"who drops takes uses back that came to an end", MUTATE_FORCE, "less", "&r->refs"},
    {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "pin",
     .about = "a pinned object is not reclaimed",
     .setup = setup_pin,
     .procs = {{"driver", pin_driver, 0}, {"reader", pin_reader, 0}},
     .step = pin_step,
     .end = world_settle_exactly,
     .bounds = BOUND(MODEL_UNBOUNDED, 2, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 3, 0)},
     .mutants = pin_mutants},
    {.name = "pin-kill",
     .about = "the same, and either dies",
     .setup = setup_pin,
     .procs = {{"driver", pin_driver, 0}, {"reader", pin_reader, 0}},
     .sweep = world_sweep,
     .step = pin_step,
     .end = world_settle,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(3, 1, 2)},
     .mutants = pin_kill_mutants},
    {.name = "close",
     .about = "release against close: freed once",
     .setup = world_setup_taken,
     .procs = {{"driver", drops, 0}, {"worker", seals_a_place, 0}},
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(MODEL_UNBOUNDED, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = close_mutants},
    {.name = "close-kill",
     .about = "the same, and either dies",
     .setup = world_setup_taken,
     .procs = {{"driver", drops, 0}, {"worker", seals_a_place, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(2, 2, 1),
     .full = {BOUND(3, 1, 2)},
     .mutants = close_kill_mutants},
    {.name = "twice",
     .about = "an id is released twice, which is against the rules: freed once",
     .setup = setup_pin,
     .procs = {{"driver", drops, 0}, {"worker", drops_too, 0}},
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(MODEL_UNBOUNDED, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = twice_mutants},
    {.name = "use",
     .about = "a task takes an argument that is being released",
     .setup = setup_use,
     .procs = {{"driver", drops, 0}, {"worker", tries_to_use, 0}},
     .step = use_step,
     .end = settle_use,
     .bounds = BOUND(MODEL_UNBOUNDED, 1, 0),
     .full = {BOUND(MODEL_UNBOUNDED, 2, 0)},
     .mutants = use_mutants},
    {.name = "use-kill",
     .about = "the same, and either dies",
     .setup = setup_use,
     .procs = {{"driver", drops, 0}, {"worker", tries_to_use, 0}},
     .sweep = world_sweep,
     .step = use_step,
     .end = settle_use,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(3, 0, 2)}},
    {.name = "owed",
     .about = "two take off what they owe to a record that is released",
     .setup = setup_owed,
     .procs = {{"driver", drops, 0},
               {"worker", worker_owes, 0},
               {"other", other_owes, 0}},
     .step = world_forward,
     .end = world_settle_exactly,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 1, 0)},
     .mutants = owed_mutants},
    {.name = "owed-kill",
     .about = "the same, and one dies",
     .setup = setup_owed,
     .procs = {{"driver", drops, 0},
               {"worker", worker_owes, 0},
               {"other", other_owes, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 0, 1)}},
    {.name = "spare",
     .about = "a task has a spare use of its argument, which is sealed and released",
     .setup = setup_spare,
     .procs = {{"driver", spare_driver, 0},
               {"worker", worker_seals, 0},
               {"other", spare_other, 0}},
     .step = world_forward,
     .end = world_settle_exactly,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(3, 1, 0)},
     .mutants = spare_mutants},
    {.name = "spare-kill",
     .about = "the same, and one dies",
     .setup = setup_spare,
     .procs = {{"driver", spare_driver, 0},
               {"worker", worker_seals, 0},
               {"other", spare_other, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 0, 1)}},
    {.name = "family",
     .about = "a parent and its child end at once",
     .setup = setup_family,
     .procs = {{"driver", drops, 0},
               {"worker", worker_seals, 0},
               {"other", other_seals, 0}},
     .step = family_step,
     .end = world_settle_exactly,
     .bounds = BOUND(2, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = family_mutants},
    {.name = "family-kill",
     .about = "the same, and one dies",
     .setup = setup_family,
     .procs = {{"driver", drops, 0},
               {"worker", worker_seals, 0},
               {"other", other_seals, 0}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = world_settle,
     .bounds = BOUND(1, 0, 1),
     .full = {BOUND(2, 1, 1)}},
    {0}};
