/* Bytes of a sealed result come from elsewhere (runtime/node/lineage.h) beside a reader and while the last handle is
 * dropped: pulled into a place of the mover's; or made again by a task, whose place becomes the lost result's.
 *
 * What is away is a count here: it is let go once, when its bytes have come or when its record is freed. The mover is a
 * process of its own, so that the daemon's sweeps run beside it: more than there is, since it is the daemon. */
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/move.h"
#include "store/task.h"
#include "store_world.h"

enum { GONE = 13, ENTRY = 9, FRESH_AT = 128, AGAIN_AT = 64 };

static uint64_t *fresh, *again; /* plain words, so that the checker looks for races too */
static const struct place away_place = {PLACE_AWAY, 0, ENTRY, 8},
                          lost_place = {PLACE_LOST, 0, ENTRY + 1, 8},
                          fresh_place = {PLACE_ARENA, OTHER, FRESH_AT, 8},
                          again_place = {PLACE_ARENA, WORKER, AGAIN_AT, 8};
static bool drops; /* the driver drops the last handle */
static unsigned let_go, fresh_made, fresh_freed, again_made, again_freed;

static void free_word(void *self, uint32_t segment, uint64_t offset)
{
    (void)self;
    if (segment == OTHER && offset == FRESH_AT) {
        *fresh = GONE;
        fresh_freed++;
    } else {
        MODEL_CHECK(segment == WORKER && offset == AGAIN_AT,
                    "a place is freed that nobody made");
        *again = GONE;
        again_freed++;
    }
}

static void free_entry(void *self, const struct place *p)
{
    (void)self;
    bool known = (p->kind == PLACE_AWAY && p->offset == ENTRY) ||
                 (p->kind == PLACE_LOST && p->offset == ENTRY + 1);
    MODEL_CHECK(known, "an entry is let go that nobody made");
    let_go++;
}

/* x is sealed, and away. */
static void setup_away(bool and_drop)
{
    world_setup_taken();
    drops = and_drop;
    fresh = model_alloc("fresh bytes", sizeof *fresh);
    again = model_alloc("bytes made again", sizeof *again);
    let_go = fresh_made = fresh_freed = again_made = again_freed = 0;
    for (uint32_t i = 0; i < LANES; i++) {
        world.lane[i].free_place = free_word;
    }
    world.lane[DAEMON].free_daemons = free_entry;
    record_set_place(world.mine, 0, PLACE_AWAY, 0, ENTRY, 8);
    MODEL_CHECK(task_seal(&world.lane[WORKER], world.mine, false),
                "a task that it runs is not its own");
    lane_reclaim(&world.lane[WORKER]);
}

static void setup_pulled(void)
{
    setup_away(true);
}

static void setup_read(void)
{
    setup_away(false);
}

/* And y, which makes it again, is the worker's. */
static void setup_again(void)
{
    setup_away(true);
    world.y = world_submit(OTHER, 0, LINK_NONE);
    world.others = world_claim(WORKER);
    MODEL_CHECK(world.others, "the task is not in the queue");
}

/* ---- the mover ------------------------------------------------------------------------------------------ */

/* Numbers in the lists of mutants below. */
enum { MUTANT_NO_TELL = 1, MUTANT_STAYS = 1 };

static void tell(void)
{
    if (!drops && MODEL_MUTANT(MUTANT_NO_TELL)) {
        return;
    }
    at_add(&world.board.header->event, 1, AT_SEQ_CST);
    park_wake(&world.board.header->event, PARK_ALL);
}

/* Swings the place of x if its record is still there. The fence in lane_pin() comes between the bytes and the swing. */
static bool swing(const struct place *to)
{
    struct lane *l = &world.lane[OTHER];
    struct record *r = &world.board.records[link_index(world.x)];
    uint64_t pin;
    if (lane_pin(l, world.x, &pin) != MOB_OK) {
        return false;
    }
    MODEL_CHECK(move_swing(r, 0, &away_place, to), "the place is not there");
    lane_unpin(l, pin);
    return true;
}

static void pulls(void)
{
    *fresh = RESULT;
    if (swing(&fresh_place)) {
        let_go++;
        fresh_made++;
    }
    tell();
    lane_drain_ring(&world.lane[OTHER]);
}

/* Waits for y and gives its bytes to x. */
static void takes(void)
{
    struct lane *l = &world.lane[OTHER];
    struct record *y = &world.board.records[link_index(world.y)];
    uint64_t s;
    while (task_mark_waited(y, link_gen(world.y), STATE_WAITERS, &s)) {
        park_wait(park_low(&y->state), (uint32_t)s, CLOCK_NEVER);
    }
    struct place p = record_get_place(y, 0);
    if (p.kind != PLACE_ARENA) { /* the worker died, and it came out otherwise */
        (void)swing(&lost_place);
    } else if (swing(&p)) {
        let_go++;
        if (!MODEL_MUTANT(MUTANT_STAYS)) {
            record_set_place(y, 0, PLACE_EMPTY, 0, 0, 0);
        }
    }
    lane_drop(l, world.y);
    lane_reclaim(l);
    tell();
}

/* ---- the others ----------------------------------------------------------------------------------------- */

/* Waits for bytes that are away. False: the object was released meanwhile. */
static bool await_bytes(const struct record *r, struct place *p)
{
    const at_u32 *event = &world.board.header->event;
    while (p->kind == PLACE_AWAY) {
        uint32_t seen = at_load(event, AT_SEQ_CST);
        *p = record_pinned_place(r, 0);
        if (p->kind != PLACE_AWAY) {
            break;
        }
        if (!state_sealed(at_load(&r->state, AT_SEQ_CST))) {
            return false;
        }
        park_wait(event, seen, CLOCK_NEVER);
    }
    return true;
}

static void read_by(uint32_t process)
{
    struct lane *l = &world.lane[process];
    struct record *r = &world.board.records[link_index(world.x)];
    uint64_t pin;
    if (lane_pin(l, world.x, &pin) != MOB_OK) {
        return;
    }
    struct place p = record_pinned_place(r, 0);
    if (await_bytes(r, &p) && p.kind == PLACE_ARENA) {
        uint64_t bytes = p.segment == OTHER ? *fresh : *again;
        MODEL_CHECK(bytes == RESULT, "a reader found %llu", (unsigned long long)bytes);
    }
    lane_unpin(l, pin);
}

static void reads(void)
{
    read_by(WORKER);
}

static void drops_last(void)
{
    struct lane *l = &world.lane[DRIVER];
    if (drops) {
        lane_drop(l, world.x);
        lane_reclaim(l);
    }
}

static void reads_and_drops(void)
{
    read_by(DRIVER);
    drops_last();
}

/* Makes y, and frees what comes back of it. */
static void makes(void)
{
    struct lane *l = &world.lane[WORKER];
    *again = RESULT;
    record_set_place(world.others, 0, PLACE_ARENA, again_place.segment,
                     again_place.offset, 8);
    again_made++;
    MODEL_CHECK(task_seal(l, world.others, false), "a task that it runs is not its own");
    lane_drain_ring(l);
}

/* ---- what must hold ------------------------------------------------------------------------------------- */

static void settle_away(void)
{
    world_settle();
    MODEL_CHECK(let_go == 1, "what is away was let go %u times", let_go);
    MODEL_CHECK(fresh_freed == fresh_made, "%u fresh places were made, %u freed",
                fresh_made, fresh_freed);
    MODEL_CHECK(again_freed == again_made ||
                    (world_died(WORKER) && again_freed <= again_made),
                "%u places were made again, %u freed", again_made, again_freed);
}

/* ---- the scenarios -------------------------------------------------------------------------------------- */

static const struct model_mutant pull_mutants[] = {
    {"no fence in the pin", MUTATE_SKIP, "lane_pin_open", "fence"},
    {"no fence before the look at the pins", MUTATE_SKIP, "lane_reclaim", "fence"},
    {0}};
static const struct model_mutant read_mutants[] = {
    {"nobody is told that bytes came", MUTATE_CODE, NULL, NULL},
    {"the reader's look at the place is relaxed", MUTATE_RELAX, "record_pinned_place",
     "where"},
    {0}};
static const struct model_mutant again_mutants[] = {
    {"the place stays the task's too", MUTATE_CODE, NULL, NULL}, {0}};

#define BOUND(p, s, c)                                                                   \
    {                                                                                    \
        .preemptions = (p), .stale = (s), .crashes = (c)                                 \
    }

const struct model_scenario model_scenarios[] = {
    {.name = "away",
     .about = "a result is pulled beside a reader and a release",
     .setup = setup_pulled,
     .procs = {{"driver", drops_last, 0}, {"reader", reads, 0}, {"mover", pulls, 1}},
     .step = world_forward,
     .end = settle_away,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = pull_mutants},
    {.name = "away-read",
     .about = "the same without the release",
     .setup = setup_read,
     .procs = {{"driver", drops_last, 0}, {"reader", reads, 0}, {"mover", pulls, 1}},
     .step = world_forward,
     .end = settle_away,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(4, 2, 0)},
     .mutants = read_mutants},
    {.name = "away-kill",
     .about = "away, and the reader or who releases dies",
     .setup = setup_pulled,
     .procs = {{"driver", drops_last, 0}, {"reader", reads, 0}, {"mover", pulls, 1}},
     .sweep = world_sweep,
     .step = world_forward,
     .end = settle_away,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(2, 1, 1), BOUND(2, 0, 2)}},
    {.name = "again",
     .about = "a lost result is made again beside a reader, and released",
     .setup = setup_again,
     .procs = {{"reader", reads_and_drops, 0}, {"maker", makes, 0}, {"mover", takes, 1}},
     .step = world_forward,
     .end = settle_away,
     .bounds = BOUND(3, 1, 0),
     .full = {BOUND(4, 1, 0)},
     .mutants = again_mutants},
    {.name = "again-kill",
     .about = "again, and the reader or the maker dies",
     .setup = setup_again,
     .procs = {{"reader", reads_and_drops, 0}, {"maker", makes, 0}, {"mover", takes, 1}},
     .sweep = world_sweep_and_run,
     .step = world_forward,
     .end = settle_away,
     .bounds = BOUND(2, 0, 1),
     .full = {BOUND(2, 1, 1)}},
    {0}};
