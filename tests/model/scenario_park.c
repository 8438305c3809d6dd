/* Parking (core/park.h): whoever sleeps is woken, whoever dies on the way.
 *
 * The protocol as that header states it, with one word that holds the sleeper's flag, as the
 * state word of a record does (WAITERS), and with a worker's own parked flag. */
#include <string.h>

#include "core/atomic.h"
#include "core/clock.h"
#include "core/park.h"
#include "model.h"

enum { DONE = 1, WAITERS = 2, SEALER = 0 /* its number in procs[] */ };

static struct shared {
    at_u32 state;  /* DONE | WAITERS: the flag in the word itself */
    at_u32 parked; /* the flag in a word of its own */
    at_u32 work;
    uint32_t data;
} * m;

static void setup(void)
{
    m = model_alloc("m", sizeof *m);
}

/* ---- A flag of its own: a worker parks, a submitter wakes it ----------------------------- */

static void worker(void)
{
    for (;;) {
        if (at_load(&m->work, AT_ACQUIRE)) {
            break;
        }
        bool late = MODEL_MUTANT(5);
        if (!late) {
            at_store(&m->parked, 1, AT_RELAXED);
        }
        at_fence();
        if (at_load(&m->work, AT_ACQUIRE)) {
            break;
        }
        if (late) {
            at_store(&m->parked, 1, AT_RELAXED);
        }
        park_wait(&m->parked, 1, CLOCK_NEVER);
    }
    MODEL_CHECK(m->data == 7, "work without its data");
}

static void submitter(void)
{
    m->data = 7;
    at_store(&m->work, 1, AT_RELEASE);
    at_fence();
    if (at_load(&m->parked, AT_RELAXED) && at_swap(&m->parked, 0, AT_RELAXED)) {
        park_wake(&m->parked, 1);
    }
}

/* ---- The flag in the word: any number wait for a seal ------------------------------------ */

static void waiter(void)
{
    uint32_t was = at_load(&m->state, AT_ACQUIRE);
    while (!(was & DONE)) {
        if (!(was & WAITERS) && !at_cas(&m->state, &was, was | WAITERS, AT_ACQ_REL)) {
            continue;
        }
        park_wait(&m->state, WAITERS, CLOCK_NEVER);
        was = at_load(&m->state, AT_ACQUIRE);
    }
    MODEL_CHECK(m->data == 7 || (was & ~(uint32_t)(DONE | WAITERS)),
                "sealed without data");
}

static void sealer(void)
{
    m->data = 7;
    uint32_t was = at_load(&m->state, AT_RELAXED);
    while (!at_cas(&m->state, &was, was | DONE, AT_RELEASE)) {
    }
    if (was & WAITERS) {
        park_wake(&m->state, PARK_ALL);
    }
}

/* The dead sealer's object is sealed as a failure, and all who might wait are woken: WAITERS is
 * still set, so this cannot miss anybody. */
static void sweep(unsigned dead)
{
    uint32_t was = at_load(&m->state, AT_RELAXED);
    while (dead == SEALER && !(was & DONE) &&
           !at_cas(&m->state, &was, was | DONE | 4, AT_ACQ_REL)) {
    }
    if (was & WAITERS) {
        if (!MODEL_MUTANT(4) || !(was & DONE)) {
            park_wake(&m->state, PARK_ALL);
        }
    }
}

static void sealed(void)
{
    MODEL_CHECK(m->state.v & DONE, "never sealed");
}

static const struct model_mutant worker_mutants[] = {
    {"no fence in the sleeper", MUTATE_SKIP, "worker", "fence"},
    {"no fence in the waker", MUTATE_SKIP, "submitter", "fence"},
    {"no re-check", MUTATE_FREEZE, "worker", "&m->work"},
    {"no wake", MUTATE_SKIP, "submitter", "wake"},
    {"the flag set after the check", MUTATE_CODE, NULL, NULL},
    {"work is published relaxed", MUTATE_RELAX, "submitter", "&m->work"},
    {"work is read relaxed", MUTATE_RELAX, "worker", "&m->work"},
    {0}};

static const struct model_mutant seal_mutants[] = {
    {"no wake", MUTATE_SKIP, "sealer", "wake"},
    {"the seal overwrites WAITERS", MUTATE_FORCE, "sealer", "&m->state"},
    {"the seal is relaxed", MUTATE_RELAX, "sealer", "&m->state"},
    {"the sweep does not wake for who died between seal and wake", MUTATE_CODE, NULL,
     NULL},
    {"the sweep does not wake", MUTATE_SKIP, "sweep", "wake"},
    {"the waiter's flag overwrites a seal", MUTATE_FORCE, "waiter", "&m->state"},
    {0}};

const struct model_scenario model_scenarios[] = {
    {.name = "park",
     .about = "a worker parks while a task is submitted",
     .setup = setup,
     .procs = {{"worker", worker, 0}, {"submitter", submitter, 0}},
     .bounds = {.preemptions = MODEL_UNBOUNDED, .stale = 3, .spurious = 1},
     .mutants = worker_mutants},
    {.name = "seal",
     .about = "two wait for a seal, and the sealer may die",
     .setup = setup,
     .procs = {{"sealer", sealer, 0}, {"w1", waiter, 0}, {"w2", waiter, 0}},
     .sweep = sweep,
     .end = sealed,
     .bounds = {.preemptions = MODEL_UNBOUNDED, .stale = 1, .crashes = 1},
     .full = {{.preemptions = MODEL_UNBOUNDED, .stale = 2, .crashes = 2, .spurious = 1}},
     .mutants = seal_mutants},
    {0}};
