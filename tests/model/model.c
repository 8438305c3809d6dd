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
    STEPS_MAX = 3000,  /* of one execution: more is a loop that does not end */
    OPTIONS_MAX = 250, /* at one decision */
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

enum option_kind { RUN, KILL, UNPARK };
struct option {
    enum option_kind kind;
    uint8_t fiber, variant;
};
struct decision {
    uint8_t pick, count; /* count 0: from a replay string, not known */
};
struct step {
    struct option option;
    struct model_op op;
    uint64_t result;
};

static const struct model_scenario *scenario;
unsigned model_mutant_now;
unsigned fibers_count;
static struct fiber fibers[FIBERS_MAX], *current;
static jmp_buf scheduler;
static bool running; /* false in setup(), step() and end(): operations happen at once */
static struct model_bounds left;
static unsigned last, deaths[DEATHS_MAX], deaths_count, deaths_told, parks;
static unsigned long writes;
static struct step steps[STEPS_MAX];
static unsigned steps_count;
static char failure[512];

/* ---- The tree of decisions ------------------------------------------------------------- */

enum search { DEPTH_FIRST, RANDOM, REPLAY };
static enum search search;
static struct decision path[STEPS_MAX];
static unsigned path_count, path_at;
static uint64_t random_state;
static uint64_t *seen;
static size_t seen_size, seen_count;
static unsigned long cut_count;

enum outcome { RUNNING, FINISHED, CUT, FAILED };

static void seen_grow(void)
{
    size_t old_size = seen_size;
    uint64_t *old = seen;
    seen_size = old_size ? 2 * old_size : 1 << 16;
    seen = calloc(seen_size, sizeof *seen);
    if (!seen) {
        perror("model: states");
        exit(1);
    }
    for (size_t i = 0; i < old_size; i++) {
        if (old[i]) {
            size_t at = old[i] & (seen_size - 1);
            while (seen[at]) {
                at = (at + 1) & (seen_size - 1);
            }
            seen[at] = old[i];
        }
    }
    free(old);
}

/* True if @key was there; else it is now. */
static bool seen_before(uint64_t key)
{
    if (2 * seen_count >= seen_size) {
        seen_grow();
    }
    key += !key;
    size_t at = key & (seen_size - 1);
    for (; seen[at]; at = (at + 1) & (seen_size - 1)) {
        if (seen[at] == key) {
            return true;
        }
    }
    seen[at] = key;
    seen_count++;
    return false;
}

/* All that the rest of an execution depends on. The bytes of the processes' stacks are a function
 * of what their operations returned; plain data of who wrote it before whom, which is in the
 * views as long as there are no data races. */
static uint64_t state_key(void)
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

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545F4914F6CDD1Dull;
}

static unsigned random_pick(const struct option *options, unsigned count)
{
    unsigned total = 0, weight[OPTIONS_MAX];
    for (unsigned i = 0; i < count; i++) {
        weight[i] = options[i].kind != RUN ? 1 : options[i].variant ? 4 : 16;
        total += weight[i];
    }
    unsigned at = (unsigned)(random_next() % total), i = 0;
    while (at >= weight[i]) {
        at -= weight[i++];
    }
    return i;
}

static void leave(enum outcome outcome) __attribute__((noreturn));
static void leave(enum outcome outcome)
{
    running = false;
    _longjmp(scheduler, (int)outcome);
}

static unsigned decide(const struct option *options, unsigned count)
{
    if (count == 1) {
        return 0;
    }
    if (path_at < path_count) {
        struct decision *d = &path[path_at++];
        if (d->count && d->count != count) {
            fprintf(stderr, "model: %s is not deterministic: %u options, then %u\n",
                    scenario->name, d->count, count);
            exit(1);
        }
        if (d->pick >= count) {
            fprintf(stderr, "model: the schedule does not fit: choice %u of %u\n",
                    d->pick, count);
            exit(1);
        }
        return d->pick;
    }
    unsigned pick = 0;
    if (search == RANDOM) {
        pick = random_pick(options, count);
    } else if (search == DEPTH_FIRST && seen_before(state_key())) {
        cut_count++;
        leave(CUT);
    }
    path[path_count++] = (struct decision){(uint8_t)pick, (uint8_t)count};
    path_at = path_count;
    return pick;
}

/* ---- Failures and traces --------------------------------------------------------------- */

void model_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(failure, sizeof failure, format, args);
    va_end(args);
    leave(FAILED);
}

static const char *const kind_text[] = {"start", "load", "store", "swap",  "add",
                                        "sub",   "or",   "and",   "cas",   "fence",
                                        "pause", "wait", "wake",  "death", "return"};

static const char *order_text(int order)
{
    static const char *const text[] = {"relaxed", "acquire", "release", "acq_rel"};
    return order == AT_SEQ_CST ? "seq_cst" : text[order & 3];
}

static void print_step(unsigned at, const struct step *s)
{
    const struct model_op *op = &s->op;
    const char *name = fibers[s->option.fiber].name;
    char place[64] = "";
    if (op->word) {
        memory_name(op->word, place, sizeof place);
    }
    printf("  %3u %-10s ", at, name);
    if (s->option.kind == KILL) {
        printf("KILLED before its %s\n", kind_text[op->kind]);
        return;
    }
    if (s->option.kind == UNPARK) {
        printf("wakes for no reason\n");
        return;
    }
    printf("%-6s", kind_text[op->kind]);
    unsigned long long value = op->value, was = op->expected, result = s->result;
    switch (op->kind) {
    case OP_LOAD:
        printf(" %s = %llx", op->expr, result);
        break;
    case OP_STORE:
        printf(" %s := %llx", op->expr, value);
        break;
    case OP_CAS:
        printf(" %s: %llx -> %llx%s", op->expr, was, value, op->done ? "" : ", failed");
        break;
    case OP_WAIT:
        printf(" %s: has %llx, expects %llx: %s", op->expr, value, was,
               value == was ? "sleeps" : "goes on");
        break;
    case OP_WAKE:
        printf(" %s: woke %llu", op->expr, result);
        break;
    case OP_DEATH:
        printf(" of %s", fibers[result].name);
        break;
    default:
        if (op->word) {
            printf(" %s: was %llx, with %llx", op->expr, result, value);
        }
    }
    if (op->word && op->kind != OP_WAIT && op->kind != OP_WAKE) {
        printf(" (%s%s)", order_text(op->order),
               s->option.variant ? ", NOT THE NEWEST" : "");
    }
    printf(op->function[0] ? "   %s in %s()\n" : "\n", place, op->function);
}

static void print_trace(void)
{
    for (unsigned i = 0; i < steps_count; i++) {
        print_step(i, &steps[i]);
    }
    printf("  %s\n  schedule ", failure);
    for (unsigned i = 0; i < path_count;) {
        unsigned n = 1;
        while (i + n < path_count && path[i + n].pick == path[i].pick) {
            n++;
        }
        printf(n > 1 ? "%s%u*%u" : "%s%u", i ? "," : "", path[i].pick, n);
        i += n;
    }
    printf(path_count ? "\n" : "0\n");
}

/* ---- One execution --------------------------------------------------------------------- */

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

static void record(struct option o, const struct model_op *op, uint64_t result)
{
    if (steps_count == STEPS_MAX) {
        steps_count = STEPS_MAX - 1;
        model_fail("no end after %d steps", STEPS_MAX);
    }
    steps[steps_count++] = (struct step){o, *op, result};
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
            leave(FINISHED);
        }
        struct option o = options[decide(options, count)];
        struct fiber *f = &fibers[o.fiber];
        pay(o);
        if (o.kind == RUN) {
            f->variant = o.variant;
            switch_to(f);
            return;
        }
        record(o, f->op, 0);
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
            record((struct option){RUN, (uint8_t)self, (uint8_t)f->variant}, op, result);
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
    return fibers[i].state == DEAD;
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

static void fibers_make(void)
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
    steps_count = path_at = 0;
    failure[0] = 0;
}

static enum outcome execute(struct model_bounds bounds)
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

/* ---- Searching ------------------------------------------------------------------------- */

struct result {
    enum outcome outcome;
    bool complete;
    unsigned long executions;
    size_t states;
};

static bool backtrack(void)
{
    while (path_count && path[path_count - 1].pick + 1 == path[path_count - 1].count) {
        path_count--;
    }
    if (!path_count) {
        return false;
    }
    path[path_count - 1].pick++;
    return true;
}

static struct result explore(struct model_bounds bounds, unsigned long executions_max)
{
    struct result r = {FINISHED, false, 0, 0};
    search = DEPTH_FIRST;
    path_count = 0;
    if (seen) {
        memset(seen, 0, seen_size * sizeof *seen);
    }
    seen_count = 0;
    while (r.outcome != FAILED && r.executions < executions_max) {
        r.outcome = execute(bounds);
        r.executions++;
        if (r.outcome != FAILED && !backtrack()) {
            r.complete = true;
            break;
        }
    }
    r.states = seen_count;
    return r;
}

static struct result wander(struct model_bounds bounds, uint64_t seed,
                            unsigned long count)
{
    struct result r = {FINISHED, false, 0, 0};
    search = RANDOM;
    random_state = seed * 2 + 1;
    while (r.outcome != FAILED && r.executions < count) {
        path_count = 0;
        r.outcome = execute(bounds);
        r.executions++;
    }
    return r;
}

static struct options {
    const char *scenario, *replay;
    int mutant; /* -1: all */
    bool full, trace;
    unsigned long random, seed;
} opt = {.mutant = -1, .seed = 1};

static int replay(struct model_bounds bounds)
{
    search = REPLAY;
    path_count = 0;
    for (const char *at = opt.replay; *at;) {
        char *next;
        unsigned long pick = strtoul(at, &next, 10), times = 1;
        if (*next == '*') {
            times = strtoul(next + 1, &next, 10);
        }
        while (times-- && path_count < STEPS_MAX) {
            path[path_count++] = (struct decision){(uint8_t)pick, 0};
        }
        at = *next ? next + 1 : next;
        if (next == opt.replay) {
            break;
        }
    }
    enum outcome outcome = execute(bounds);
    if (outcome != FAILED) {
        snprintf(failure, sizeof failure, "no fault");
    }
    print_trace();
    return outcome == FAILED;
}

/* Runs one scenario with one mutant (0: none). Returns 1 if the answer is wrong. */
static int check(unsigned mutant)
{
    bool all_zero =
        !memcmp(&scenario->full, &(struct model_bounds){0}, sizeof scenario->full);
    struct model_bounds bounds =
        opt.full && !all_zero ? scenario->full : scenario->bounds;
    bool want = mutant || scenario->must_fail;
    unsigned long most = scenario->executions_max ? scenario->executions_max : 2000000;
    model_mutant_now = mutant;
    memory_forget(!scenario->racy);
    fibers_make();
    if (opt.replay) {
        return replay(bounds);
    }
    struct result r = {FINISHED, false, 0, 0};
    if (!opt.random) {
        r = explore(bounds, opt.full ? 10 * most : most);
    }
    const char *how = r.complete ? "all" : "not all";
    if (r.outcome != FAILED && !r.complete) {
        struct result more = wander(bounds, opt.seed, opt.random ? opt.random : most / 4);
        r.outcome = more.outcome;
        r.executions += more.executions;
    }
    bool found = r.outcome == FAILED &&
                 (!scenario->must_fail || mutant || strstr(failure, scenario->must_fail));
    printf("%-4s %s%s%s: %s after %lu executions, %zu states%s%s\n",
           found == want ? "ok" : "FAIL", scenario->name, mutant ? ", mutant: " : "",
           mutant ? scenario->mutants[mutant - 1].about : "",
           found ? "fault" : "no fault", r.executions, r.states, found ? "" : ", ",
           found ? "" : how);
    if (r.outcome == FAILED && (found != want || opt.trace)) {
        print_trace();
        printf("  again with: --scenario %s --mutant %u --replay SCHEDULE\n",
               scenario->name, mutant);
    }
    fflush(stdout);
    return found != want;
}

static int check_scenario(void)
{
    int wrong = 0;
    if (opt.mutant <= 0) {
        wrong += check(0);
    }
    for (unsigned i = 0; scenario->mutants && scenario->mutants[i].about; i++) {
        if (opt.mutant < 0 || opt.mutant == (int)i + 1) {
            wrong += check(i + 1);
        }
    }
    return wrong;
}

static int usage(void)
{
    fprintf(stderr, "usage: [--full] [--trace] [--list] [--scenario NAME] [--mutant N]\n"
                    "       [--replay SCHEDULE] [--random COUNT] [--seed N]\n");
    return 2;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--full")) {
            opt.full = true;
            continue;
        } else if (!strcmp(argv[i], "--trace")) {
            opt.trace = true;
            continue;
        } else if (!strcmp(argv[i], "--list")) {
            for (const struct model_scenario *s = model_scenarios; s->name; s++) {
                printf("%s: %s\n", s->name, s->about);
            }
            return 0;
        } else if (!value) {
            return usage();
        } else if (!strcmp(argv[i], "--scenario")) {
            opt.scenario = value;
        } else if (!strcmp(argv[i], "--replay")) {
            opt.replay = value;
        } else if (!strcmp(argv[i], "--mutant")) {
            opt.mutant = atoi(value);
        } else if (!strcmp(argv[i], "--random")) {
            opt.random = strtoul(value, NULL, 10);
        } else if (!strcmp(argv[i], "--seed")) {
            opt.seed = strtoul(value, NULL, 10);
        } else {
            return usage();
        }
        i++;
    }
    int wrong = 0, ran = 0;
    for (scenario = model_scenarios; scenario->name; scenario++) {
        if (!opt.scenario || !strcmp(opt.scenario, scenario->name)) {
            wrong += check_scenario();
            ran++;
        }
    }
    return !ran ? usage() : wrong ? 1 : 0;
}
