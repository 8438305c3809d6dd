/* Notices for the daemon (board_notice() in store/board.c) and the daemon that takes them, by the bell or,
 * after board_gather(), by its own timer: the protocol of job_notices() in runtime/node/job_look.c. The
 * words are those; the bell is a word that one can sleep on. */
#include "core/clock.h"
#include "core/park.h"
#include "model.h"

enum { SEALERS = 2, FOREIGN = 1, GATHER = 2, GATHERS = 2 };

static struct shared {
    at_u32 sealed[SEALERS]; /* what the notices are about */
    at_u32 notice, bell;
} * m;
static bool all_told;

static void setup(void)
{
    m = model_alloc("m", sizeof *m);
    all_told = false;
}

static void notice(void)
{
    if (at_or(&m->notice, FOREIGN, AT_SEQ_CST) == 0) {
        at_add(&m->bell, 1, AT_SEQ_CST);
        park_wake(&m->bell, PARK_ALL);
    }
}

static void seals(uint32_t i)
{
    at_store(&m->sealed[i], 1, AT_RELEASE);
    notice();
}
static void seals_0(void)
{
    seals(0);
}
static void seals_1(void)
{
    seals(1);
}

static uint32_t take_and_look(void)
{
    uint32_t found = 0;
    if (!MODEL_MUTANT(2)) {
        at_swap(&m->notice, 0, AT_SEQ_CST);
    }
    for (uint32_t i = 0; i < SEALERS; i++) {
        found += at_load(&m->sealed[i], AT_ACQUIRE);
    }
    if (MODEL_MUTANT(2)) {
        at_swap(&m->notice, 0, AT_SEQ_CST);
    }
    return found;
}

/* True: its timer runs, and time passes as fast as it likes. */
static bool gather(uint32_t *left)
{
    if (*left == 0) {
        return false; /* there is too little work left */
    }
    (*left)--;
    return at_or(&m->notice, GATHER, AT_SEQ_CST) == 0 && !MODEL_MUTANT(1);
}

static void daemon_takes(void)
{
    uint32_t gathers = GATHERS;
    for (;;) {
        uint32_t heard = at_load(&m->bell, AT_SEQ_CST);
        if (take_and_look() == SEALERS) {
            break;
        }
        if (!gather(&gathers)) {
            park_wait(&m->bell, heard, CLOCK_NEVER);
        }
    }
    all_told = true;
}

/* The daemon seals for a dead worker, and looks at the notices after each death. */
static void sweep(unsigned dead)
{
    if (dead < SEALERS) {
        at_store(&m->sealed[dead], 1, AT_SEQ_CST);
        if (!MODEL_MUTANT(4)) {
            at_add(&m->bell, 1, AT_SEQ_CST);
            park_wake(&m->bell, PARK_ALL);
        }
    }
}

static void end(void)
{
    MODEL_CHECK(all_told || model_died(SEALERS),
                "the daemon sleeps beside a sealed task");
}

static const struct model_mutant mutants[] = {
    {"gathers without a timer", MUTATE_CODE, NULL, NULL},
    {"looks before it takes the notices", MUTATE_CODE, NULL, NULL},
    {"nobody rings", MUTATE_SKIP, "notice", "wake"},
    {0}};
static const struct model_mutant kill_mutants[] = {
    {"gathers without a timer", MUTATE_CODE, NULL, NULL},
    {"looks before it takes the notices", MUTATE_CODE, NULL, NULL},
    {"nobody rings", MUTATE_SKIP, "notice", "wake"},
    {"no look after a death", MUTATE_CODE, NULL, NULL},
    {0}};

const struct model_scenario model_scenarios[] = {
    {.name = "notice",
     .about = "two seal, the daemon takes both, some of them without a bell",
     .setup = setup,
     .procs = {{"s0", seals_0, 0}, {"s1", seals_1, 0}, {"daemon", daemon_takes, 0}},
     .end = end,
     .bounds = {.preemptions = 3, .stale = 1},
     .full = {{.preemptions = MODEL_UNBOUNDED, .stale = 2, .spurious = 1}},
     .mutants = mutants},
    {.name = "notice-kill",
     .about = "whoever dies, the daemon takes both",
     .setup = setup,
     .procs = {{"s0", seals_0, 0}, {"s1", seals_1, 0}, {"daemon", daemon_takes, 0}},
     .sweep = sweep,
     .end = end,
     .bounds = {.preemptions = 2, .stale = 1, .crashes = 1},
     .full = {{.preemptions = 3, .stale = 1, .crashes = 2}},
     .mutants = kill_mutants},
    {0}};
