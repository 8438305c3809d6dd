/* What the scenarios of store/ share. */
#include "store_world.h"

#include <stdlib.h>
#include <string.h>

#include "store/sweep.h"

struct store_world world;

static void count_freed(void *self, uint32_t segment, uint64_t offset)
{
    (void)segment;
    (void)offset;
    world.places_freed[(uintptr_t)self]++;
}

static void check_ok(mob_status st, const char *what)
{
    MODEL_CHECK(st == MOB_OK, "%s failed with %d", what, st);
}

/* @args: up to two links; 0: none. */
static uint64_t submit(uint32_t by, const uint64_t args[2], uint64_t parent)
{
    struct lane *l = &world.lane[by];
    struct record *r;
    uint64_t link;
    uint32_t count = (args[0] != 0) + (args[1] != 0);
    struct call call = {.fn = 1, .retries = 1, .counts = call_counts(count, 1)};
    call.class_options = count ? CALL_HAS_REFS << 4 : 0;
    check_ok(lane_record(l, &r), "lane_record");
    task_begin(l, r, &call, parent);
    for (uint32_t i = 0; i < count; i++) {
        MODEL_CHECK(task_add_ref(r, i, args[i]), "no room for an argument");
    }
    if (parent != LINK_NONE) {
        task_add_child(&world.board, parent, 0);
    }
    check_ok(task_publish(l, r, &link), "task_publish");
    return link;
}

uint64_t world_submit(uint32_t by, uint64_t arg, uint64_t parent)
{
    return submit(by, (uint64_t[2]){arg, 0}, parent);
}

uint64_t world_submit_both(uint32_t by, uint64_t first, uint64_t second)
{
    return submit(by, (uint64_t[2]){first, second}, LINK_NONE);
}

void world_seal(uint32_t by, struct record *r)
{
    *(uint64_t *)(void *)(r->payload + 256) = RESULT;
    record_set_place(r, 0, PLACE_INLINE, 0, 256, 8);
    uint64_t s = at_load(&r->state, AT_RELAXED) & ~STATE_FLAGS; /* as it was claimed */
    uint64_t link = link_make(state_gen(s), board_index(&world.board, r), 0);
    bool mine_still = link == world.parent_of_others
                          ? task_seal(&world.lane[by], r, false)
                          : task_seal_childless(&world.lane[by], r, link, s);
    MODEL_CHECK(mine_still, "a task that it runs is not its own");
    world.runs[by]++;
}

struct record *world_claim(uint32_t by)
{
    struct record *r = NULL;
    struct queue_item item;
    enum queue_result res = task_claim(&world.lane[by], 0, &r, &item);
    MODEL_CHECK(res != QUEUE_CORRUPT, "the queue is said to be corrupt");
    return res == QUEUE_OK ? r : NULL;
}

void world_setup(void)
{
    uint64_t bytes;
    for (unsigned i = 0; i < LANES; i++) {
        free(world.lane[i].blocks);
        free(world.lane[i].block_slot);
    }
    memset(&world, 0, sizeof world);
    world.owner = WORKER;
    check_ok(board_create(7, 1, &world.board, &bytes), "board_create");
    /* The daemon reads a copy of its own, which the checker does not see. */
    world.board.committed = &world.board.header->committed;
    at_store(&world.board.classes[0].used, 1, AT_RELAXED);
    at_store(&world.board.classes[0].made, 1, AT_RELAXED);
    for (uint32_t i = 0; i < LANES; i++) {
        check_ok(
            lane_init(&world.lane[i], &world.board, i, count_freed, (void *)(uintptr_t)i),
            "lane_init");
        at_store(&world.board.procs[i].state, i ? PROC_BUSY : PROC_DAEMON, AT_RELAXED);
        at_store(&world.board.segments[i], SEGMENT_USED | (uint64_t)i << 40, AT_RELAXED);
    }
    model_quiet(&world.board.procs[LANES],
                sizeof world.board.procs[0] * (PROCS_MAX - LANES));
    model_quiet(&world.board.header->committed, sizeof world.board.header->committed);
    model_quiet(&world.board.header->ledgers, sizeof world.board.header->ledgers);
}

void world_setup_taken(void)
{
    world_setup();
    world.x = world_submit(DRIVER, 0, LINK_NONE);
    world.mine = world_claim(WORKER);
    MODEL_CHECK(world.mine, "the task is not in the queue");
}

void world_forward(void)
{
    for (uint32_t i = 0; i < BOARD_RECORDS_MAX; i++) {
        uint64_t s = world.board.records[i].state.v, was = world.last[i];
        enum phase p = state_phase(s), old = state_phase(was);
        world.last[i] = s;
        if (s == was || state_gen(s) > state_gen(was)) {
            continue;
        }
        bool rerun = old == PHASE_TAKEN && p == PHASE_QUEUED;
        bool undone = old == PHASE_CREATING && p == PHASE_FREE;
        /* lane_drop_last() may take back its step. */
        undone |= world.may_take_back && old == PHASE_DEAD && p == PHASE_CLOSED;
        MODEL_CHECK(state_gen(s) == state_gen(was) && (p >= old || rerun || undone),
                    "record %u goes back from %llx to %llx", i, (unsigned long long)was,
                    (unsigned long long)s);
        MODEL_CHECK(p != old || p < PHASE_DEAD || state_holder(s) == DAEMON,
                    "record %u is freed by two", i);
    }
}

/* ---- The end of each execution ------------------------------------------------------------ */

bool world_died(uint32_t process)
{
    return process != DAEMON && model_died(process - 1);
}

static void run_ready(uint32_t by)
{
    struct record *r;
    while ((r = world_claim(by))) {
        world_seal(by, r);
    }
}

/* A dead driver's handles go with its job; here they go one by one. */
static void drop_handles(uint32_t by)
{
    lane_drop(&world.lane[by], world.x);
    lane_drop(&world.lane[by], world.y);
    lane_drop(&world.lane[by], world.z);
    lane_drop(&world.lane[by], world.third);
    lane_drop(&world.lane[by], world.reused);
    for (uint32_t i = 0;
         world_died(DRIVER) && i < at_load(&world.board.header->committed, AT_RELAXED);
         i++) {
        lane_drop(&world.lane[by], link_make(lane_gen(&world.board.records[i]), i, 0));
    }
}

/* The daemon rescans only if it was asked to, or must try again. */
static void rescan(void)
{
    bool asked = at_swap(&world.board.header->notice, 0, AT_SEQ_CST) & NOTICE_RESCAN;
    world.again = (asked || world.again) && sweep_rescan(&world.lane[DAEMON]);
}

void world_settle(void)
{
    uint32_t by = world_died(OTHER) ? DAEMON : OTHER;
    run_ready(by);
    rescan();
    run_ready(by);
    for (uint32_t i = 0; i < at_load(&world.board.header->committed, AT_RELAXED); i++) {
        enum phase p = state_phase(at_load(&world.board.records[i].state, AT_RELAXED));
        bool open = p >= PHASE_CREATING && p <= PHASE_TAKEN;
        MODEL_CHECK(!open, "record %u was lost in phase %d", i, p);
    }
    drop_handles(by);
    for (unsigned round = 0; round < 3; round++) {
        sweep_audit(&world.lane[DAEMON], NULL);
        for (uint32_t i = 0; i < LANES; i++) {
            if (!world_died(i)) {
                lane_drain_ring(&world.lane[i]);
                lane_reclaim(&world.lane[i]);
            }
        }
        rescan();
    }
    for (uint32_t i = 0; i < at_load(&world.board.header->committed, AT_RELAXED); i++) {
        uint64_t s = at_load(&world.board.records[i].state, AT_RELAXED);
        MODEL_CHECK(
            state_phase(s) == PHASE_FREE, "record %u stays in phase %d, refs %llx", i,
            state_phase(s),
            (unsigned long long)at_load(&world.board.records[i].refs, AT_RELAXED));
    }
    unsigned made = 0, freed = 0;
    for (unsigned i = 0; i < LANES; i++) {
        made += world.places_made[i];
        freed += world.places_freed[i];
    }
    MODEL_CHECK(made == freed || (world_died(world.owner) && freed <= made),
                "%u places were made, %u were freed", made, freed);
}

/* Without a death counts are exact, so that the audit has nothing to correct. */
void world_settle_exactly(void)
{
    for (unsigned i = 0; i < 3; i++) {
        if (model_died(i)) {
            world_settle();
            return;
        }
    }
    run_ready(OTHER);
    lane_drop(&world.lane[OTHER], world.x);
    lane_drop(&world.lane[OTHER], world.y);
    MODEL_CHECK(sweep_audit(&world.lane[DAEMON], NULL) == 0,
                "a count was wrong though nobody died");
    world_settle();
}

/* The daemon: it owns the segments of the dead, sweeps, and starts a worker in its place. */
void world_sweep(unsigned dead)
{
    struct sweep_result result;
    uint64_t segment = SEGMENT_USED | (uint64_t)DAEMON << 40;
    at_store(&world.board.segments[dead + 1], segment, AT_RELEASE);
    sweep_process(&world.lane[DAEMON], dead + 1, false, NULL, NULL, &result);
}

void world_sweep_and_run(unsigned dead)
{
    world_sweep(dead);
    run_ready(OTHER);
}
