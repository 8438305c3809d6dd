/* model.h - a model checker for protocols in shared memory.
 *
 * A scenario is some memory, two to four processes that use it, and what must hold. The checker
 * runs the processes as fibers in one thread and makes every choice that a machine could make:
 * who goes on, which of the values that the C11 memory model allows a load sees, who is killed
 * where. It does so for all combinations up to a bound, and prints the schedule of the first one
 * that breaks a rule. The code under test is the code that ships: core/atomic.h turns each
 * atomic access into a step of the checker when it is built with MOB_MODEL.
 *
 * Rules for scenarios:
 *   - All that processes share is from model_alloc(), in the same order in each setup().
 *   - Processes are deterministic: their only input is what the atomics and parking return.
 *   - What a scenario notes for its own checks (plain static variables, reset in setup()) must
 *     not depend on the order of steps that do not touch the same word: one variable per process
 *     or counters. Otherwise equal states are taken for one that differ in the notes.
 * README.md says what is explored and what is not. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_PROCS_MAX 6
#define MODEL_FULL_MAX 3
#define MODEL_UNBOUNDED 255 /* for model_bounds.preemptions */

/* What a mutant does to each operation whose function and expression it names. */
enum model_mutation {
    MUTATE_CODE,  /* nothing: the scenario asks MODEL_MUTANT(n) */
    MUTATE_RELAX, /* the access becomes relaxed */
    MUTATE_SKIP,  /* a store, fence or wake is left out, a read-modify-write only reads */
    MUTATE_FREEZE, /* a load gives what this process last saw in that word: no re-check */
    MUTATE_FORCE,  /* a compare-and-swap succeeds whatever is there */
};

struct model_mutant {
    const char *about; /* NULL ends a list */
    enum model_mutation how;
    const char *function; /* __func__ of the operation */
    const char
        *expr; /* part of the source text of its pointer; "fence", "wait", "wake" */
};

struct model_bounds {
    uint8_t preemptions; /* switches away from a process that could go on */
    uint8_t stale;       /* accesses that do not see, or are not, the newest value */
    uint8_t crashes;     /* processes killed */
    uint8_t spurious;    /* parked processes that wake, or time out, for no reason */
};

struct model_scenario {
    const char *name;
    const char *about;
    void (*setup)(void);
    struct {
        const char *name;
        void (*run)(void);
        bool immortal; /* never killed */
    } procs[MODEL_PROCS_MAX];
    void (*sweep)(
        unsigned dead); /* the daemon, after a death; needed if bounds.crashes > 0 */
    void (*step)(void); /* after each step: sees the newest values */
    void (*end)(void);  /* when all processes have returned or are dead */
    struct model_bounds bounds;
    /* With --full: one after the other, up to one that is all zero; none: the same. Mutants must be found with the
     * first. All of a program's scenarios together take a quarter of an hour at most. */
    struct model_bounds full[MODEL_FULL_MAX];
    const struct model_mutant *mutants;
    const char
        *must_fail; /* a known-bad program: this must be in what the checker says */
    bool racy;      /* conflicting plain accesses are no fault here */
    unsigned long executions_max; /* then random schedules follow; 0: 2 million */
};

/* Defined by the scenario file; an entry without a name ends it. */
extern const struct model_scenario model_scenarios[];

/* Zeroed memory that processes share, at the same address in every execution. */
void *model_alloc(const char *name, size_t size);

/* Says that no process ever writes there, so that loads of it are no steps. Checked. */
void model_quiet(const void *memory, size_t size);

/* Ends the execution as a failure. */
void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define MODEL_CHECK(cond, ...) ((cond) ? (void)0 : model_fail(__VA_ARGS__))

/* The number of the running process, as in procs[]; that of the daemon follows the last. */
unsigned model_self(void);
/* True if process @i was killed in this execution. */
bool model_died(unsigned i);

/* True while mutant @n, counted from 1, of the scenario is under test. */
extern unsigned model_mutant_now;
#define MODEL_MUTANT(n) (model_mutant_now == (n))

#endif
