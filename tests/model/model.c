/* model.c - processes as fibers, and what they may do next. */
#include "model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "model_int.h"

enum {
    STACK_BYTES = 256 * 1024,
    PAUSES_MAX =
        100, /* of a process while nobody writes: more is waiting without parking */
    DEATHS_MAX = MODEL_PROCS_MAX,
};

enum fiber_state { READY, PARKED, PAUSED, ENDED, DEAD };

struct fiber {
    const char *name;
    void (*run)(void);
    jmp_buf base, here; /* the start of its stack; where it stopped */
    enum fiber_state state;
    bool killable, unparked;
    struct model_op *op; /* what it does when it is chosen */
    unsigned variant;    /* and which of the ways to do it */
    uint64_t history;    /* hash of all that it was told: stands for its private state */
    unsigned long quiet; /* writes of all when it paused */
    unsigned pauses;
    bool wrote;         /* plainly, since its last chance to die */
    unsigned parked_at; /* order of arrival, for park_wake() */
    bool timed_out;
    ucontext_t context;
};

const struct model_scenario *scenario;
unsigned model_mutant_now;
unsigned fibers_count;
static struct fiber fibers[FIBERS_MAX], *current;
static jmp_buf scheduler;
static bool running; /* false in setup(), step() and end(): operations happen at once */
static struct model_bounds left;
static unsigned last, deaths[DEATHS_MAX], deaths_count, deaths_told, parks;
static unsigned long writes;

/* All that the rest of an execution depends on. The bytes of the processes' stacks are a function
 * of what their operations returned; plain data of who wrote it before whom, which is in the
 * views as long as there are no data races. */
uint64_t model_state_key(void)
{
    uint64_t key = memory_hash();
    for (unsigned i = 0; i < fibers_count; i++) {
        const struct fiber *f = &fibers[i];
        key = mix(key, f->history);
        key = mix(key, f->state | (uint64_t)f->unparked << 8 |
                           (uint64_t)f->timed_out << 9 | (uint64_t)f->wrote << 10 |
                           (uint64_t)(f->state == PAUSED && f->quiet == writes) << 11);
        if (f->state == PARKED) { /* the order of arrival decides who wakes first */
            for (unsigned j = 0; j < fibers_count; j++) {
                key = mix(key, fibers[j].state == PARKED &&
                                   fibers[j].parked_at < f->parked_at);
            }
        }
    }
    uint64_t budget = left.preemptions | (uint64_t)left.stale << 8 |
                      (uint64_t)left.crashes << 16 | (uint64_t)left.spurious << 24;
    key = mix(key, budget | (uint64_t)deaths_told << 32);
    for (unsigned i = deaths_told; i < deaths_count; i++) {
        key = mix(key, deaths[i]);
    }
    return left.preemptions == MODEL_UNBOUNDED ? key : mix(key, last);
}

void model_leave(enum outcome outcome)
{
    running = false;
    _longjmp(scheduler, (int)outcome);
}

void model_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(trace_failure, sizeof trace_failure, format, args);
    va_end(args);
    model_leave(FAILED);
}

const char *model_name(unsigned fiber)
{
    return fibers[fiber].name;
}

static bool writes_memory(const struct model_op *op)
{
    return op->kind >= OP_STORE && op->kind <= OP_CAS;
}

/* Deaths at a load or a fence are left out, as nobody can tell them from a death at the next
 * thing that others may see, except that plain writes stand before it. */
static bool may_die(const struct fiber *f)
{
    return f->killable && f->state != ENDED && f->state != DEAD &&
           (f->wrote || f->state == PARKED ||
            (f->op->kind != OP_LOAD && f->op->kind != OP_FENCE));
}

static bool enabled(const struct fiber *f, bool impatient)
{
    switch (f->state) {
    case READY:
        return f->op->kind != OP_DEATH || deaths_told < deaths_count;
    case PAUSED:
        return impatient || f->quiet != writes;
    default:
        return false;
    }
}

static unsigned list_runs(struct option *options, bool impatient)
{
    unsigned count = 0;
    bool bound = left.preemptions == 0 && fibers[last].state == READY &&
                 enabled(&fibers[last], false);
    for (unsigned i = 0; i < fibers_count; i++) {
        unsigned id = (last + i) % fibers_count;
        struct fiber *f = &fibers[id];
        if (!enabled(f, impatient) || (bound && id != last)) {
            continue;
        }
        unsigned variants = memory_variants(id, f->op, left.stale > 0);
        for (unsigned v = 0; v < variants; v++) {
            MODEL_CHECK(count < OPTIONS_MAX - 2 * FIBERS_MAX, "too many choices");
            options[count++] = (struct option){RUN, (uint8_t)id, (uint8_t)v};
        }
    }
    return count;
}

static unsigned list_options(struct option *options)
{
    unsigned count = list_runs(options, false);
    if (!count) {
        count = list_runs(options, true);
    }
    bool alive = false;
    for (unsigned i = 0; i < fibers_count; i++) {
        const struct fiber *f = &fibers[i];
        alive |= f->state != ENDED && f->state != DEAD && f->op->kind != OP_DEATH;
        if (f->state == PARKED && left.spurious) {
            options[count++] = (struct option){UNPARK, (uint8_t)i, 0};
        }
        if (left.crashes && may_die(f)) {
            options[count++] = (struct option){KILL, (uint8_t)i, 0};
        }
    }
    if (!alive && deaths_told == deaths_count && (!count || options[0].kind != RUN)) {
        return 0;
    }
    if (!count || options[0].kind != RUN) {
        char who[256] = "";
        for (unsigned i = 0; i < fibers_count; i++) {
            if (fibers[i].state == PARKED) {
                strncat(who, who[0] ? ", " : "", sizeof who - strlen(who) - 1);
                strncat(who, fibers[i].name, sizeof who - strlen(who) - 1);
            }
        }
        model_fail("lost wake-up: nobody can go on, parked: %s", who);
    }
    return count;
}

static void pay(struct option o)
{
    const struct fiber *f = &fibers[last];
    if (o.kind == KILL) {
        left.crashes--;
    } else if (o.kind == UNPARK) {
        left.spurious--;
    } else {
        if (o.fiber != last && left.preemptions != MODEL_UNBOUNDED && f->state == READY &&
            enabled(f, false)) {
            left.preemptions--;
        }
        left.stale -= o.variant > 0;
        last = o.fiber;
    }
}

static void switch_to(struct fiber *f)
{
    struct fiber *from = current;
    if (f == from) {
        return;
    }
    if (!_setjmp(from->here)) {
        current = f;
        _longjmp(f->here, 1);
    }
}

/* Returns when the fiber that called it has been chosen to go on. */
static void schedule(void)
{
    for (unsigned i = 0; i < fibers_count; i++) { /* up to the first step of each */
        if (fibers[i].op == NULL) {
            switch_to(&fibers[i]);
            return;
        }
    }
    for (;;) {
        struct option options[OPTIONS_MAX];
        unsigned count = list_options(options);
        if (!count) {
            model_leave(FINISHED);
        }
        struct option o = options[search_decide(options, count)];
        struct fiber *f = &fibers[o.fiber];
        pay(o);
        if (o.kind == RUN) {
            f->variant = o.variant;
            switch_to(f);
            return;
        }
        trace_step(o, f->op, 0);
        if (o.kind == KILL) {
            f->state = DEAD;
            deaths[deaths_count++] = o.fiber;
            continue;
        }
        f->state = READY;
        f->unparked = f->timed_out = true;
    }
}

static uint64_t do_wait(unsigned self, struct model_op *op)
{
    struct fiber *f = &fibers[self];
    if (f->unparked) {
        return f->timed_out;
    }
    for (unsigned i = 0; i < op->waits_count; i++) {
        op->word = (void *)(uintptr_t)op->waits[i];
        op->expected = op->seen[i];
        op->value = memory_newest(self, op->waits[i]);
        if (op->value != op->expected) {
            return 0;
        }
    }
    f->state = PARKED;
    f->parked_at = parks++;
    return 0;
}

static bool waits_on(const struct fiber *f, const void *word)
{
    for (unsigned i = 0; f->state == PARKED && i < f->op->waits_count; i++) {
        if (f->op->waits[i] == word) {
            return true;
        }
    }
    return false;
}

static uint64_t do_wake(unsigned self, const struct model_op *op)
{
    uint64_t woken = 0;
    memory_fence(self);
    while (woken < op->value) {
        struct fiber *first = NULL;
        for (unsigned i = 0; i < fibers_count; i++) {
            struct fiber *f = &fibers[i];
            if (waits_on(f, op->word) && (!first || f->parked_at < first->parked_at)) {
                first = f;
            }
        }
        if (!first) {
            break;
        }
        first->state = READY;
        first->unparked = true;
        memory_join((unsigned)(first - fibers), self);
        woken++;
    }
    return woken;
}

static void do_pause(unsigned self)
{
    struct fiber *f = &fibers[self];
    f->pauses = f->quiet == writes ? f->pauses + 1 : 0;
    MODEL_CHECK(f->pauses < PAUSES_MAX, "%s waits for others in a loop", f->name);
    f->quiet = writes;
    memory_catch_up(self);
    f->state = PAUSED;
}

static uint64_t perform(unsigned self, struct model_op *op)
{
    struct fiber *f = &fibers[self];
    uint64_t result = 0;
    writes += writes_memory(op) || op->kind == OP_WAKE;
    switch (op->kind) {
    case OP_FENCE:
        memory_fence(self);
        break;
    case OP_PAUSE:
        do_pause(self);
        break;
    case OP_WAIT:
        result = do_wait(self, op);
        break;
    case OP_WAKE:
        result = do_wake(self, op);
        break;
    case OP_DEATH:
        result = deaths[deaths_told++];
        memory_join(self, (unsigned)result); /* the kernel says it after the last store */
        break;
    case OP_EXIT:
        f->state = ENDED;
        writes++;
        break;
    default:
        result = memory_access(self, op, f->variant);
    }
    f->history = mix(f->history, result + 1);
    f->history = mix(f->history, (uint64_t)op->done << 8 | op->kind);
    if (op->kind == OP_CAS) {
        f->history = mix(f->history, op->expected);
    }
    if (may_die(f)) {
        f->wrote = false;
    }
    memory_tick(self);
    return result;
}

static bool skipped(const struct model_op *op)
{
    return op->kind == OP_STORE || op->kind == OP_FENCE || op->kind == OP_WAKE;
}

/* Applies the mutant under test. True if nothing is left to be done. */
static bool mutate(unsigned self, struct model_op *op)
{
    if (!model_mutant_now) {
        return false;
    }
    const struct model_mutant *m = &scenario->mutants[model_mutant_now - 1];
    if (m->how == MUTATE_CODE || strcmp(m->function, op->function) != 0 ||
        !strstr(op->expr, m->expr)) {
        return false;
    }
    switch (m->how) {
    case MUTATE_RELAX:
        op->order = AT_RELAXED;
        return false;
    case MUTATE_SKIP:
        if (op->kind >= OP_SWAP && op->kind <= OP_AND) {
            op->kind = OP_LOAD;
        }
        return skipped(op);
    case MUTATE_FREEZE:
        return op->kind == OP_LOAD && memory_recall(self, op);
    case MUTATE_FORCE:
        op->order |= op->kind == OP_CAS ? ORDER_FORCED : 0;
        return false;
    default:
        return false;
    }
}

uint64_t model_do(struct model_op *op)
{
    if (!running || (op->kind == OP_LOAD && memory_quiet(op))) {
        return memory_direct(op);
    }
    unsigned self = model_self();
    if (mutate(self, op)) {
        return op->value;
    }
    struct fiber *f = current;
    f->op = op;
    f->unparked = f->timed_out = false;
    for (;;) {
        schedule();
        if (f->state == PAUSED) {
            f->state = READY; /* the pause is over */
            break;
        }
        bool resumed = f->unparked;
        uint64_t result = perform(self, op);
        if (!resumed) {
            trace_step((struct option){RUN, (uint8_t)self, (uint8_t)f->variant}, op,
                       result);
        }
        if (scenario->step) {
            running = false;
            scenario->step();
            running = true;
        }
        if (f->state == READY) {
            return result;
        }
        if (f->state == PARKED || f->state == PAUSED) {
            continue;
        }
        schedule(); /* ENDED: does not return */
    }
    return 0;
}

bool model_timed_out(void)
{
    return current->timed_out;
}

unsigned model_self(void)
{
    return (unsigned)(current - fibers);
}

bool model_died(unsigned i)
{
    /* Of this scenario: a larger one before it may have left more. */
    return i < fibers_count && fibers[i].state == DEAD;
}

bool model_running(void)
{
    return running;
}

void model_wrote(void)
{
    current->wrote = true;
}

static void daemon_run(void)
{
    for (;;) {
        uint64_t dead =
            model_do(&(struct model_op){.function = "", .expr = "", .kind = OP_DEATH});
        scenario->sweep((unsigned)dead);
    }
}

/* The bottom frame of a fiber's stack: each execution enters it anew by a jump, which costs no
 * system call. Nothing below may touch the frame. */
static void fiber_main(void)
{
    if (!_setjmp(current->base)) {
        _longjmp(scheduler, 1);
    }
    current->run();
    model_do(&(struct model_op){.function = "", .expr = "", .kind = OP_EXIT});
    abort();
}

static void fiber_make(struct fiber *f)
{
    static char stacks[FIBERS_MAX][STACK_BYTES] __attribute__((aligned(64)));
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stacks[f - fibers];
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, fiber_main, 0);
    if (!_setjmp(scheduler)) {
        current = f;
        setcontext(&f->context);
    }
}

void model_make_fibers(void)
{
    fibers_count = 0;
    for (unsigned i = 0; i < MODEL_PROCS_MAX && scenario->procs[i].run; i++) {
        fibers[i] = (struct fiber){.name = scenario->procs[i].name,
                                   .run = scenario->procs[i].run,
                                   .killable = !scenario->procs[i].immortal};
        fibers_count++;
    }
    if (scenario->sweep) {
        fibers[fibers_count++] = (struct fiber){.name = "daemon", .run = daemon_run};
    }
    for (unsigned i = 0; i < fibers_count; i++) {
        fiber_make(&fibers[i]);
    }
}

static void begin(void)
{
    for (unsigned i = 0; i < fibers_count; i++) {
        struct fiber *f = &fibers[i];
        memcpy(f->here, f->base, sizeof f->here);
        f->state = READY;
        f->op = NULL;
        f->history = i;
        f->wrote = false;
        f->quiet = ~0ul;
        f->pauses = 0;
    }
    last = deaths_count = deaths_told = parks = 0;
    writes = 0;
    trace_begin();
    search_begin();
}

enum outcome model_execute(struct model_bounds bounds)
{
    begin();
    memory_begin();
    os_begin();
    left = bounds;
    enum outcome outcome = (enum outcome)_setjmp(scheduler);
    if (outcome == RUNNING) {
        scenario->setup();
        current = &fibers[0];
        running = true;
        _longjmp(current->here, 1);
    }
    if (outcome != FINISHED || !scenario->end) {
        return outcome;
    }
    outcome = (enum outcome)_setjmp(scheduler);
    if (outcome == RUNNING) {
        scenario->end();
        return FINISHED;
    }
    return outcome;
}
