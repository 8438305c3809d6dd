/* Bytes of a sealed result move (store/move.h) beside a reader and while the last handle is dropped. The code as it
 * ships, on a board of four records: store_world.h.
 *
 * The result's bytes are one word in a segment, and one in another segment when they have come back; who frees a
 * place writes over its word, as an allocator's next user does. The file is the mover's private copy. The mover is
 * a process of its own, so that the daemon's sweeps run beside it: more than there is, since it is the daemon. */
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/move.h"
#include "store/task.h"
#include "store_world.h"

enum { GONE = 13, FILE_NO = 5, OLD_AT = 64, FRESH_AT = 128 };

static uint64_t *old,
    *fresh; /* the words; plain, so that the checker looks for races too */
static struct place old_place;
static const struct place fresh_place = {PLACE_ARENA, OTHER, FRESH_AT, 8};
static const struct place file_place = {PLACE_SPILLED, FILE_NO, 192, 8};
static bool drops; /* the driver drops the last handle */
static unsigned file_made, file_freed[LANES], fresh_made, fresh_freed[LANES];

static void free_word(void *self, uint32_t segment, uint64_t offset)
{
    uint32_t lane = (uint32_t)(uintptr_t)self;
    if (segment == fresh_place.segment && offset == FRESH_AT) {
        *fresh = GONE;
        fresh_freed[lane]++;
    } else {
        MODEL_CHECK(segment == old_place.segment && offset == OLD_AT,
                    "a place is freed that nobody made");
        *old = GONE;
        world.places_freed[lane]++;
    }
}

static void free_file(void *self, const struct place *p)
{
    MODEL_CHECK(p->segment == FILE_NO && p->offset == file_place.offset && p->size == 8,
                "a place on disk is freed that nobody made");
    file_freed[(uintptr_t)self]++;
}

/* x is sealed, and its word is in a segment of @owner. */
static void setup_in(uint32_t owner, bool and_drop)
{
    world_setup_taken();
    drops = and_drop;
    old = model_alloc("old bytes", sizeof *old);
    fresh = model_alloc("fresh bytes", sizeof *fresh);
    file_made = fresh_made = 0;
    memset(file_freed, 0, sizeof file_freed);
    memset(fresh_freed, 0, sizeof fresh_freed);
    for (uint32_t i = 0; i < LANES; i++) {
        world.lane[i].free_place = free_word;
    }
    world.lane[DAEMON].free_daemons = free_file;
    *old = RESULT;
    old_place = (struct place){PLACE_ARENA, owner, OLD_AT, 8};
    world.owner = owner;
    world.places_made[owner] = 1;
    record_set_place(world.mine, 0, PLACE_ARENA, owner, OLD_AT, 8);
    MODEL_CHECK(task_seal(&world.lane[WORKER], world.mine, false),
                "a task that it runs is not its own");
    lane_reclaim(&world.lane[WORKER]);
}

static void setup_foreign(void)
{
    setup_in(DRIVER, true);
}

static void setup_kept(void)
{
    setup_in(DRIVER, false);
}

static void setup_own(void)
{
    setup_in(OTHER, true);
}

/* ---- the mover ------------------------------------------------------------------------------------------ */

/* Numbers in the lists of mutants below. */
enum {
    MUTANT_NO_LOOK = 1,
    MUTANT_NO_PIN = 2,
    MUTANT_EARLY_PLACE = 2,
    MUTANT_NO_TELL = 3
};

/* As the daemon does when it has swung a place. */
static void tell(void)
{
    if (!drops && MODEL_MUTANT(MUTANT_NO_TELL)) {
        return;
    }
    at_add(&world.board.header->event, 1, AT_SEQ_CST);
    park_wake(&world.board.header->event, PARK_ALL);
}

static bool pin_to_move(struct move *m)
{
    if (drops && old_place.segment == DRIVER && MODEL_MUTANT(MUTANT_NO_PIN)) {
        uint64_t s;
        return lane_find(&world.lane[OTHER], m->link, &s) && state_sealed(s);
    }
    return lane_pin(&world.lane[OTHER], m->link, &m->pin) == MOB_OK;
}

static void unpin_moved(const struct move *m)
{
    if (m->pin != MOVE_NO_PIN) {
        lane_unpin(&world.lane[OTHER], m->pin);
    }
}

/* True: the bytes are on disk alone. */
static bool moves_out(struct record *r, uint64_t *ret_file)
{
    struct lane *l = &world.lane[OTHER];
    struct move m = {.link = world.x, .pin = MOVE_NO_PIN, .old = old_place};
    if (!pin_to_move(&m)) {
        return false;
    }
    *ret_file = *old;
    MODEL_CHECK(*ret_file == RESULT, "a pinned object was written over");
    MODEL_CHECK(!move_swing(r, 0, &fresh_place, &file_place),
                "a place was swung from where it is not");
    MODEL_CHECK(move_swing(r, 0, &old_place, &file_place), "the place is not there");
    file_made++;
    if (!MODEL_MUTANT(MUTANT_NO_LOOK)) {
        move_look(l, &m, 1);
    }
    bool out = !m.held && move_give(l, &m.old);
    if (!out) {
        MODEL_CHECK(move_swing(r, 0, &file_place, &old_place), "it did not stay");
        free_file((void *)(uintptr_t)OTHER, &file_place);
        tell();
    }
    unpin_moved(&m);
    return out;
}

static void moves_in(struct record *r, uint64_t file)
{
    struct move m = {.link = world.x, .pin = MOVE_NO_PIN};
    if (!pin_to_move(&m)) {
        tell(); /* who waits finds out that the object was released */
        return;
    }
    *fresh = file;
    fresh_made++;
    MODEL_CHECK(move_swing(r, 0, &file_place, &fresh_place), "the place is not there");
    free_file((void *)(uintptr_t)OTHER, &file_place);
    tell();
    unpin_moved(&m);
}

static void moves_out_and_in(void)
{
    struct record *r = &world.board.records[link_index(world.x)];
    uint64_t file;
    if (moves_out(r, &file)) {
        moves_in(r, file);
    }
}

/* ---- the others ----------------------------------------------------------------------------------------- */

/* Waits for bytes that are on disk. False: the object was released meanwhile. */
static bool await_bytes(const struct record *r, struct place *p)
{
    const at_u32 *event = &world.board.header->event;
    while (p->kind == PLACE_SPILLED) {
        uint32_t seen = at_load(event, AT_SEQ_CST);
        *p = record_pinned_place(r, 0);
        if (p->kind != PLACE_SPILLED) {
            break;
        }
        if (!state_sealed(at_load(&r->state, AT_SEQ_CST))) {
            return false;
        }
        park_wait(event, seen, CLOCK_NEVER);
    }
    return true;
}

static void reads(void)
{
    struct lane *l = &world.lane[WORKER];
    struct record *r = &world.board.records[link_index(world.x)];
    struct place p = record_pinned_place(r, 0);
    uint64_t pin;
    if (lane_pin(l, world.x, &pin) != MOB_OK) {
        return;
    }
    world.pinned = world.x;
    if (drops || !MODEL_MUTANT(MUTANT_EARLY_PLACE)) {
        p = record_pinned_place(r, 0);
    }
    if (await_bytes(r, &p)) {
        uint64_t bytes =
            p.segment == old_place.segment && p.offset == OLD_AT ? *old : *fresh;
        MODEL_CHECK(bytes == RESULT, "a reader found %llu", (unsigned long long)bytes);
    }
    world.pinned = 0;
    lane_unpin(l, pin);
}

/* Frees what comes to it, and drops the last handle before. */
static void frees(void)
{
    struct lane *l = &world.lane[DRIVER];
    if (drops) {
        lane_drop(l, world.x);
        lane_reclaim(l);
    }
    lane_drain_ring(l);
}

/* ---- what must hold ------------------------------------------------------------------------------------- */

static void move_step(void)
{
    world_forward();
    uint64_t s = world.pinned && !world_died(WORKER)
                     ? world.board.records[link_index(world.pinned)].state.v
                     : 0;
    MODEL_CHECK(
        !s || (state_gen(s) == link_gen(world.pinned) && state_phase(s) <= PHASE_DEAD),
        "a pinned object was reclaimed");
}

static unsigned sum(const unsigned *n)
{
    return n[0] + n[1] + n[2] + n[3];
}

static void settle_moved(void)
{
    world_settle();
    MODEL_CHECK(sum(file_freed) == file_made, "%u places on disk were made, %u freed",
                file_made, sum(file_freed));
    MODEL_CHECK(sum(fresh_freed) == fresh_made, "%u fresh places were made, %u freed",
                fresh_made, sum(fresh_freed));
}

/* The dead owner's allocator is gone with it: the daemon makes another from what records say. */
static void sweep_owner(unsigned dead)
{
    if (dead + 1 == world.owner) {
        world.places_freed[world.owner] = 0;
    }
    world_sweep(dead);
}

/* ---- the scenarios -------------------------------------------------------------------------------------- */

static const struct model_mutant move_mutants[] = {
    {"a place is given away without a look", MUTATE_CODE, NULL, NULL},
    {"the mover does not pin", MUTATE_CODE, NULL, NULL},
    {"no fence before the look", MUTATE_SKIP, "move_look", "fence"},
    {"no fence in the reader", MUTATE_SKIP, "lane_pin_open", "fence"},
    {"the swing is relaxed", MUTATE_RELAX, "move_swing", "where"},
    {0}};
static const struct model_mutant read_mutants[] = {
    {"a place is given away without a look", MUTATE_CODE, NULL, NULL},
    {"the reader notes the place before it pins", MUTATE_CODE, NULL, NULL},
    {"nobody is told that bytes came back", MUTATE_CODE, NULL, NULL},
    {"no fence before the look", MUTATE_SKIP, "move_look", "fence"},
    {"no fence in the reader", MUTATE_SKIP, "lane_pin_open", "fence"},
    {"the unpin is relaxed", MUTATE_RELAX, "lane_unpin", "&g->pin"},
    {"the swing is relaxed", MUTATE_RELAX, "move_swing", "where"},
    {"the swing does not compare", MUTATE_FORCE, "move_swing", "where"},
    {"the reader's look at the place is relaxed", MUTATE_RELAX, "record_pinned_place",
     "where"},
    {0}};
static const struct model_mutant own_mutants[] = {
    {"a place is given away without a look", MUTATE_CODE, NULL, NULL},
    {"the look is relaxed", MUTATE_RELAX, "move_look", "&g->pin"},
    {0}};

static const struct model_mutant kill_mutants[] = {
    {"the sweep leaves the ledger of the dead", MUTATE_SKIP, "clear_ledger", "&g->"},
    {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "move",
     .about = "a result goes to disk and comes back beside a reader and a release",
     .setup = setup_foreign,
     .procs = {{"driver", frees, 0},
               {"reader", reads, 0},
               {"mover", moves_out_and_in, 1}},
     .step = move_step,
     .end = settle_moved,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = move_mutants},
    {.name = "move-read",
     .about = "the same without the release: the owner frees what is given to it",
     .setup = setup_kept,
     .procs = {{"driver", frees, 0},
               {"reader", reads, 0},
               {"mover", moves_out_and_in, 1}},
     .step = move_step,
     .end = settle_moved,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(4, 2, 0)},
     .mutants = read_mutants},
    {.name = "move-own",
     .about = "move, of a place that is the mover's",
     .setup = setup_own,
     .procs = {{"driver", frees, 0},
               {"reader", reads, 0},
               {"mover", moves_out_and_in, 1}},
     .step = move_step,
     .end = settle_moved,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = own_mutants},
    {.name = "move-kill",
     .about = "move, and the reader or the owner dies",
     .setup = setup_foreign,
     .procs = {{"driver", frees, 0},
               {"reader", reads, 0},
               {"mover", moves_out_and_in, 1}},
     .sweep = sweep_owner,
     .step = move_step,
     .end = settle_moved,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(2, 1, 1), BOUND(2, 0, 2)}},
    {.name = "move-read-kill",
     .about = "move-read, and the reader or the owner dies",
     .setup = setup_kept,
     .procs = {{"driver", frees, 0},
               {"reader", reads, 0},
               {"mover", moves_out_and_in, 1}},
     .sweep = sweep_owner,
     .step = move_step,
     .end = settle_moved,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(2, 1, 1), BOUND(2, 0, 2)},
     .mutants = kill_mutants},
    {0}};
