/* Records, pins and the sweep (store/) as they ship, on a board of four records.
 *
 * Process i of a scenario is process i + 1 of the board. At the end of each execution settle()
 * runs what is ready, drops all handles, lets the daemon audit, and then every record must be
 * free and every place must have been freed once: that is "nothing lost, nothing freed twice". */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/sweep.h"
#include "store/task.h"

enum { DRIVER = 1, WORKER = 2, OTHER = 3, LANES = 4, RESULT = 77 };

static struct board b;
static struct lane lane[LANES];
static uint64_t x, y;       /* links of the tasks of the scenario, 0: none */
static struct record *mine; /* the task that the worker has TAKEN from the start */
static struct record *others;
static uint64_t parent_of_others; /* the only task that submits one */
static unsigned places_freed[LANES], places_made[LANES];
static unsigned runs[LANES];             /* attempts that were sealed */
static uint64_t last[BOARD_RECORDS_MAX]; /* state words after the last step */
static bool again;                       /* sweep_rescan() said so */
static uint64_t pinned;                  /* a link that the reader has pinned */

static void count_freed(void *self, uint32_t segment, uint64_t offset)
{
    (void)segment;
    (void)offset;
    places_freed[(uintptr_t)self]++;
}

static void check_ok(mob_status st, const char *what)
{
    MODEL_CHECK(st == MOB_OK, "%s failed with %d", what, st);
}

static uint64_t submit(uint32_t by, uint64_t arg, uint64_t parent)
{
    struct lane *l = &lane[by];
    struct record *r;
    uint64_t link;
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(arg ? 1 : 0, 1)};
    call.class_options = arg ? CALL_HAS_REFS << 4 : 0;
    check_ok(lane_record(l, &r), "lane_record");
    task_begin(l, r, &call, parent);
    if (arg) {
        MODEL_CHECK(task_add_ref(r, 0, arg), "no room for an argument");
    }
    if (parent != LINK_NONE) {
        task_add_child(&b, parent, 0);
    }
    check_ok(task_publish(l, r, &link), "task_publish");
    return link;
}

static void set_result(uint32_t by, struct record *r)
{
    *(uint64_t *)(void *)(r->payload + 256) = RESULT;
    record_set_place(r, 0, PLACE_INLINE, 0, 256, 8);
    (void)by;
}

static void seal(uint32_t by, struct record *r)
{
    set_result(by, r);
    uint64_t s = at_load(&r->state, AT_RELAXED) & ~STATE_FLAGS, link; /* as it was claimed */
    link = link_make(state_gen(s), board_index(&b, r), 0);
    bool mine_still = link == parent_of_others ? task_seal(&lane[by], r, false)
                                               : task_seal_childless(&lane[by], r, link, s);
    MODEL_CHECK(mine_still, "a task that it runs is not its own");
    runs[by]++;
}

static struct record *claim(uint32_t by)
{
    struct record *r = NULL;
    struct queue_item item;
    enum queue_result res = task_claim(&lane[by], 0, &r, &item);
    MODEL_CHECK(res != QUEUE_CORRUPT, "the queue is said to be corrupt");
    return res == QUEUE_OK ? r : NULL;
}

static void setup(void)
{
    uint64_t bytes;
    for (unsigned i = 0; i < LANES; i++) {
        free(lane[i].blocks);
        free(lane[i].block_slot);
    }
    memset(lane, 0, sizeof lane);
    memset(places_freed, 0, sizeof places_freed);
    memset(places_made, 0, sizeof places_made);
    memset(runs, 0, sizeof runs);
    memset(last, 0, sizeof last);
    x = y = pinned = parent_of_others = 0;
    again = false;
    mine = others = NULL;
    check_ok(board_create(7, 1, &b, &bytes), "board_create");
    at_store(&b.classes[0].used, 1, AT_RELAXED);
    for (uint32_t i = 0; i < LANES; i++) {
        check_ok(lane_init(&lane[i], &b, i, count_freed, (void *)(uintptr_t)i),
                 "lane_init");
        at_store(&b.procs[i].state, i ? PROC_BUSY : PROC_DAEMON, AT_RELAXED);
        at_store(&b.segments[i], SEGMENT_USED | (uint64_t)i << 40, AT_RELAXED);
    }
    model_quiet(&b.procs[LANES], sizeof b.procs[0] * (PROCS_MAX - LANES));
    model_quiet(&b.header->committed, sizeof b.header->committed);
    model_quiet(&b.header->ledgers, sizeof b.header->ledgers);
}

/* x: submitted by the driver, taken by the worker. */
static void setup_taken(void)
{
    setup();
    x = submit(DRIVER, 0, LINK_NONE);
    mine = claim(WORKER);
    MODEL_CHECK(mine, "the task is not in the queue");
}

/* After each step: generations and phases only go forward, and DEAD records have one reclaimer. */
static void forward(void)
{
    for (uint32_t i = 0; i < BOARD_RECORDS_MAX; i++) {
        uint64_t s = b.records[i].state.v, was = last[i];
        enum phase p = state_phase(s), old = state_phase(was);
        last[i] = s;
        if (s == was || state_gen(s) > state_gen(was)) {
            continue;
        }
        bool rerun = old == PHASE_TAKEN && p == PHASE_QUEUED;
        bool undone = old == PHASE_CREATING && p == PHASE_FREE;
        MODEL_CHECK(state_gen(s) == state_gen(was) && (p >= old || rerun || undone),
                    "record %u goes back from %llx to %llx", i, (unsigned long long)was,
                    (unsigned long long)s);
        MODEL_CHECK(p != old || p < PHASE_DEAD || state_holder(s) == DAEMON,
                    "record %u is freed by two", i);
    }
}

/* ---- The end of each execution ------------------------------------------------------------ */

static bool died(uint32_t process)
{
    return process != DAEMON && model_died(process - 1);
}

static void run_ready(uint32_t by)
{
    struct record *r;
    while ((r = claim(by))) {
        seal(by, r);
    }
}

/* A dead driver's handles go with its job; here they go one by one. */
static void drop_handles(uint32_t by)
{
    lane_drop(&lane[by], x);
    lane_drop(&lane[by], y);
    for (uint32_t i = 0; died(DRIVER) && i < at_load(&b.header->committed, AT_RELAXED);
         i++) {
        lane_drop(&lane[by], link_make(lane_gen(&b.records[i]), i, 0));
    }
}

/* The daemon rescans only if it was asked to, or must try again. */
static void rescan(void)
{
    bool asked = at_swap(&b.header->notice, 0, AT_SEQ_CST) & NOTICE_RESCAN;
    again = (asked || again) && sweep_rescan(&lane[DAEMON]);
}

static void settle(void)
{
    uint32_t by = died(OTHER) ? DAEMON : OTHER;
    run_ready(by);
    rescan();
    run_ready(by);
    for (uint32_t i = 0; i < at_load(&b.header->committed, AT_RELAXED); i++) {
        enum phase p = state_phase(at_load(&b.records[i].state, AT_RELAXED));
        bool open = p >= PHASE_CREATING && p <= PHASE_TAKEN;
        MODEL_CHECK(!open, "record %u was lost in phase %d", i, p);
    }
    drop_handles(by);
    for (unsigned round = 0; round < 3; round++) {
        sweep_audit(&lane[DAEMON], NULL);
        for (uint32_t i = 0; i < LANES; i++) {
            if (!died(i)) {
                lane_drain_ring(&lane[i]);
                lane_reclaim(&lane[i]);
            }
        }
        rescan();
    }
    for (uint32_t i = 0; i < at_load(&b.header->committed, AT_RELAXED); i++) {
        uint64_t s = at_load(&b.records[i].state, AT_RELAXED);
        MODEL_CHECK(state_phase(s) == PHASE_FREE,
                    "record %u stays in phase %d, refs %llx", i, state_phase(s),
                    (unsigned long long)at_load(&b.records[i].refs, AT_RELAXED));
    }
    unsigned made = 0, freed = 0;
    for (unsigned i = 0; i < LANES; i++) {
        made += places_made[i];
        freed += places_freed[i];
    }
    MODEL_CHECK(made == freed || (died(WORKER) && freed <= made),
                "%u places were made, %u were freed", made, freed);
}

/* Without a death counts are exact, so that the audit has nothing to correct. */
static void settle_exactly(void)
{
    for (unsigned i = 0; i < 3; i++) {
        if (model_died(i)) {
            settle();
            return;
        }
    }
    run_ready(OTHER);
    lane_drop(&lane[OTHER], x);
    lane_drop(&lane[OTHER], y);
    MODEL_CHECK(sweep_audit(&lane[DAEMON], NULL) == 0, "a count was wrong though nobody died");
    settle();
}

/* The daemon: it owns the segments of the dead, sweeps, and starts a worker in its place. */
static void sweep(unsigned dead)
{
    struct sweep_result result;
    uint64_t segment = SEGMENT_USED | (uint64_t)DAEMON << 40;
    at_store(&b.segments[dead + 1], segment, AT_RELEASE);
    sweep_process(&lane[DAEMON], dead + 1, NULL, NULL, &result);
}

static void sweep_and_run(unsigned dead)
{
    sweep(dead);
    run_ready(OTHER);
}

/* ---- A task hangs itself on an argument while that is sealed -------------------------------- */

static void arrive_driver(void)
{
    y = submit(DRIVER, x, LINK_NONE);
}

static void worker_seals(void)
{
    seal(WORKER, mine);
}

/* ---- Waiting for a seal ----------------------------------------------------------------------- */

static void waits_for_seal(void)
{
    struct record *r = board_record(&b, link_index(x));
    uint64_t s;
    while (task_mark_waited(r, link_gen(x), STATE_WAITERS, &s)) {
        park_wait(park_low(&r->state), (uint32_t)s, CLOCK_NEVER);
    }
    MODEL_CHECK(state_sealed(s) && state_gen(s) == link_gen(x),
                "the wait ended unsealed");
    if (s & STATE_ERROR) {
        return;
    }
    struct place p = record_get_place(r, 0);
    MODEL_CHECK(p.kind == PLACE_INLINE && p.size == 8 &&
                    *(uint64_t *)(void *)(r->payload + p.offset) == RESULT,
                "sealed without its result");
}

/* ---- Pins ------------------------------------------------------------------------------------- */

static void setup_pin(void)
{
    setup_taken();
    seal(WORKER, mine);
    lane_reclaim(&lane[WORKER]);
}

/* Drops the object, frees it, and uses its record again. */
static void pin_driver(void)
{
    lane_drop(&lane[DRIVER], x);
    lane_reclaim(&lane[DRIVER]);
    struct record *r = &b.records[link_index(x)];
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    if (state_phase(s) == PHASE_FREE && state_gen(s) != link_gen(x)) {
        memset(r->payload, 0, sizeof r->payload);
    }
}

static void pin_reader(void)
{
    uint64_t pin, s;
    if (!lane_find(&lane[WORKER], x, &s) || lane_pin(&lane[WORKER], x, &pin) != MOB_OK) {
        return;
    }
    pinned = x;
    struct record *r = &b.records[link_index(x)];
    uint64_t bytes = *(uint64_t *)(void *)(r->payload + record_get_place(r, 0).offset);
    MODEL_CHECK(bytes == RESULT, "a pinned object was written over");
    pinned = 0;
    lane_unpin(&lane[WORKER], pin);
}

static void pin_step(void)
{
    forward();
    uint64_t s = pinned && !died(WORKER) ? b.records[link_index(pinned)].state.v : 0;
    MODEL_CHECK(!s || (state_gen(s) == link_gen(pinned) && state_phase(s) <= PHASE_DEAD),
                "a pinned object was reclaimed");
}

/* ---- Release against close: freed once, by either ------------------------------------------------- */

static void drops(void)
{
    lane_drop(&lane[DRIVER], x);
    lane_reclaim(&lane[DRIVER]);
}

static void seals_a_place(void)
{
    record_set_place(mine, 0, PLACE_ARENA, WORKER, 64, 1000);
    places_made[WORKER] = 1;
    MODEL_CHECK(task_seal(&lane[WORKER], mine, false),
                "a task that it runs is not its own");
    lane_reclaim(&lane[WORKER]);
}

/* ---- A parent and its child end at once --------------------------------------------------------------- */

static void setup_family(void)
{
    setup_taken();
    y = submit(WORKER, 0, x);
    parent_of_others = x;
    others = claim(OTHER);
    MODEL_CHECK(others, "the child is not in the queue");
    lane_drop(&lane[WORKER], y);
}

/* A task is CLOSED when all that it submitted is. */
static void family_step(void)
{
    forward();
    uint64_t parent = b.records[link_index(x)].state.v;
    uint64_t child = b.records[link_index(y)].state.v;
    bool open = state_gen(child) == link_gen(y) && state_phase(child) < PHASE_CLOSED;
    MODEL_CHECK(
        !open || (state_gen(parent) == link_gen(x) && state_phase(parent) < PHASE_CLOSED),
        "a task was closed before its child");
}

static void other_seals(void)
{
    seal(OTHER, others);
}

/* ---- Submit against parking -------------------------------------------------------------------------------- */

static void submits(void)
{
    x = submit(DRIVER, 0, LINK_NONE);
}

/* A worker's loop: claim, or poll, park, look again, sleep. */
static void works_once(void)
{
    struct record *r;
    struct queue_item item;
    struct queue_view ready = board_ready(&b, 0);
    for (;;) {
        uint32_t seen = at_load(&b.procs[WORKER].wake, AT_ACQUIRE);
        if (task_claim(&lane[WORKER], 0, &r, &item) == QUEUE_OK) {
            break;
        }
        if (at_load(&b.procs[WORKER].run, AT_ACQUIRE) == RUN_EXIT) {
            return;
        }
        task_park(&b, WORKER, 0);
        if (queue_peek(&ready, &item) == QUEUE_NONE &&
            at_load(&b.procs[WORKER].run, AT_SEQ_CST) != RUN_EXIT) {
            park_wait(&b.procs[WORKER].wake, seen, CLOCK_NEVER);
        }
        task_unpark(&b, WORKER, 0);
    }
    seal(WORKER, r);
}

static void sweep_and_dismiss(unsigned dead)
{
    sweep(dead);
    at_store(&b.procs[WORKER].run, RUN_EXIT, AT_SEQ_CST);
    task_wake_process(&b, WORKER);
}

/* ---- Two claim, one cancels ------------------------------------------------------------------------------------- */

static void setup_queued(void)
{
    setup();
    x = submit(DRIVER, 0, LINK_NONE);
}

static void claims_and_seals(void)
{
    uint32_t self = model_self() + 1;
    struct record *r = claim(self);
    if (r) {
        seal(self, r);
    }
}

static void cancels(void)
{
    task_cancel(&lane[DRIVER], &b.records[link_index(x)], link_gen(x));
}

static void settle_claimed(void)
{
    MODEL_CHECK(runs[WORKER] + runs[OTHER] <= 1, "the task ran twice though nobody died");
    settle();
}

/* ---- The scenarios -------------------------------------------------------------------------------------------------- */

static const struct model_mutant arrive_mutants[] = {
    {"the submitter does not look after its push", MUTATE_FREEZE, "task_await_arg",
     "&x->state"},
    {"the sealer's look at the stack is relaxed", MUTATE_RELAX, "sealed", "&r->succ"},
    {"the submitter's look is relaxed", MUTATE_RELAX, "task_await_arg", "&x->state"},
    {"the submitter's push is relaxed", MUTATE_RELAX, "task_await_arg", "&x->succ"},
    {"the last arrival makes nothing ready", MUTATE_SKIP, "task_arrive", "&t->arrived"},
    {0}};
static const struct model_mutant wait_mutants[] = {
    {"no wake", MUTATE_SKIP, "task_wake_waiters", "wake"},
    {"the seal overwrites WAITERS", MUTATE_FORCE, "task_seal_childless", "&r->state"},
    {"the mark overwrites a seal", MUTATE_FORCE, "task_mark_waited", "&r->state"},
    {0}};
static const struct model_mutant pin_mutants[] = {
    {"no fence in the reader", MUTATE_SKIP, "lane_pin_open", "fence"},
    {"no fence in the reclaimer", MUTATE_SKIP, "lane_reclaim", "fence"},
    {"no re-check of the state", MUTATE_FREEZE, "lane_find", "&r->state"},
    {"the pin is not written", MUTATE_SKIP, "lane_pin_open", "&g->pin"},
    {"the unpin is relaxed", MUTATE_RELAX, "lane_unpin", "&g->pin"},
    {"the scan is relaxed", MUTATE_RELAX, "scan_ledgers", "&g->pin"},
    {0}};
static const struct model_mutant pin_kill_mutants[] = {
    {"the sweep leaves the ledger of the dead", MUTATE_SKIP, "clear_marks", "&g->"}, {0}};
static const struct model_mutant close_kill_mutants[] = {
    {"no fence in the sweep", MUTATE_SKIP, "sweep_process", "fence"},
    {"no fence where a place is handed over", MUTATE_SKIP, "drain_places", "fence"},
    {0}};
static const struct model_mutant close_mutants[] = {
    {"DEAD is set by whoever closes", MUTATE_FORCE, "lane_try_free", "&r->state"},
    {"DEAD is set by whoever drops", MUTATE_FORCE, "drop_last", "&r->state"},
    {0}};
static const struct model_mutant family_mutants[] = {
    {"CLOSED is set by whoever comes", MUTATE_FORCE, "try_close", "&r->state"},
    {"the worker does not look at its children again", MUTATE_FREEZE, "has_open_children",
     "&r->children"},
    {0}};
static const struct model_mutant park_mutants[] = {
    {"no wake", MUTATE_SKIP, "task_wake_process", "wake &"},
    {"the worker does not say that it sleeps", MUTATE_SKIP, "task_park", "parked"},
    {"the worker's word is relaxed", MUTATE_RELAX, "task_park", "parked"},
    {"the push is relaxed", MUTATE_RELAX, "queue_push", "queue_cell"},
    {0}};
static const struct model_mutant claim_mutants[] = {
    {"a claim does not look", MUTATE_FORCE, "task_claim_hinted", "&r->state"}, {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "arrive",
     .about = "a task hangs itself on an argument that is being sealed",
     .setup = setup_taken,
     .procs = {{"driver", arrive_driver, 0}, {"worker", worker_seals, 0}},
     .step = forward,
     .end = settle_exactly,
     .bounds = BOUND(MODEL_UNBOUNDED, 1, 0),
     .full = BOUND(MODEL_UNBOUNDED, 2, 0),
     .mutants = arrive_mutants},
    {.name = "arrive-kill",
     .about = "the same, and either dies",
     .setup = setup_taken,
     .procs = {{"driver", arrive_driver, 0}, {"worker", worker_seals, 0}},
     .sweep = sweep,
     .step = forward,
     .end = settle,
     .bounds = BOUND(2, 0, 1),
     .full = BOUND(3, 1, 2)},
    {.name = "wait",
     .about = "a driver waits for a seal, and the sealer may die",
     .setup = setup_taken,
     .procs = {{"driver", waits_for_seal, 1}, {"worker", worker_seals, 0}},
     .sweep = sweep_and_run,
     .step = forward,
     .end = settle,
     .bounds = BOUND(2, 1, 1),
     .full = BOUND(4, 1, 1),
     .mutants = wait_mutants},
    {.name = "pin",
     .about = "a pinned object is not reclaimed",
     .setup = setup_pin,
     .procs = {{"driver", pin_driver, 0}, {"reader", pin_reader, 0}},
     .step = pin_step,
     .end = settle_exactly,
     .bounds = BOUND(MODEL_UNBOUNDED, 2, 0),
     .full = BOUND(MODEL_UNBOUNDED, 3, 0),
     .mutants = pin_mutants},
    {.name = "pin-kill",
     .about = "the same, and either dies",
     .setup = setup_pin,
     .procs = {{"driver", pin_driver, 0}, {"reader", pin_reader, 0}},
     .sweep = sweep,
     .step = pin_step,
     .end = settle,
     .bounds = BOUND(2, 0, 1),
     .full = BOUND(3, 1, 2),
     .mutants = pin_kill_mutants},
    {.name = "close",
     .about = "release against close: freed once",
     .setup = setup_taken,
     .procs = {{"driver", drops, 0}, {"worker", seals_a_place, 0}},
     .step = forward,
     .end = settle,
     .bounds = BOUND(MODEL_UNBOUNDED, 1, 0),
     .full = BOUND(MODEL_UNBOUNDED, 2, 0),
     .mutants = close_mutants},
    {.name = "close-kill",
     .about = "the same, and either dies",
     .setup = setup_taken,
     .procs = {{"driver", drops, 0}, {"worker", seals_a_place, 0}},
     .sweep = sweep,
     .step = forward,
     .end = settle,
     .bounds = BOUND(2, 2, 1),
     .full = BOUND(3, 1, 2),
     .mutants = close_kill_mutants},
    {.name = "family",
     .about = "a parent and its child end at once",
     .setup = setup_family,
     .procs = {{"driver", drops, 0},
               {"worker", worker_seals, 0},
               {"other", other_seals, 0}},
     .step = family_step,
     .end = settle_exactly,
     .bounds = BOUND(2, 1, 0),
     .full = BOUND(4, 1, 0),
     .mutants = family_mutants},
    {.name = "family-kill",
     .about = "the same, and one dies",
     .setup = setup_family,
     .procs = {{"driver", drops, 0},
               {"worker", worker_seals, 0},
               {"other", other_seals, 0}},
     .sweep = sweep,
     .step = forward,
     .end = settle,
     .bounds = BOUND(1, 0, 1),
     .full = BOUND(2, 1, 1)},
    {.name = "park",
     .about = "a worker parks while a task is submitted",
     .setup = setup,
     .procs = {{"driver", submits, 0}, {"worker", works_once, 0}},
     .step = forward,
     .end = settle,
     .bounds = BOUND(3, 2, 0),
     .full = BOUND(MODEL_UNBOUNDED, 2, 0),
     .mutants = park_mutants},
    {.name = "park-kill",
     .about = "the same, and either dies",
     .setup = setup,
     .procs = {{"driver", submits, 0}, {"worker", works_once, 0}},
     .sweep = sweep_and_dismiss,
     .step = forward,
     .end = settle,
     .bounds = BOUND(2, 0, 1),
     .full = BOUND(3, 1, 2)},
    {.name = "claim",
     .about = "two claim a task and one cancels it",
     .setup = setup_queued,
     .procs = {{"driver", cancels, 0},
               {"worker", claims_and_seals, 0},
               {"other", claims_and_seals, 0}},
     .step = forward,
     .end = settle_claimed,
     .bounds = BOUND(2, 1, 0),
     .full = BOUND(4, 1, 0),
     .mutants = claim_mutants},
    {.name = "claim-kill",
     .about = "the same, and one dies",
     .setup = setup_queued,
     .procs = {{"driver", cancels, 0},
               {"worker", claims_and_seals, 0},
               {"other", claims_and_seals, 0}},
     .sweep = sweep,
     .step = forward,
     .end = settle,
     .bounds = BOUND(1, 0, 1),
     .full = BOUND(2, 1, 1)},
    {0}};
