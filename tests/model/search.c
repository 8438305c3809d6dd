/* search.c - which executions: all up to a bound, random ones, or one again. And main(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_int.h"

struct decision {
    uint8_t pick, count; /* count 0: from a replay string, not known */
};

enum search { DEPTH_FIRST, RANDOM, REPLAY };
static enum search search;
static struct decision path[STEPS_MAX];
static unsigned path_count, path_at;
static uint64_t random_state;
static uint64_t *seen;
static size_t seen_size, seen_count;

/* ---- The tree of decisions */

void search_begin(void)
{
    path_at = 0;
}

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

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545F4914F6CDD1Dull;
}

static unsigned random_pick(const struct option *options, unsigned count)
{
    unsigned total = 0, weight[OPTIONS_MAX], i = 0;
    do { /* there is always one: the end of an execution is no choice */
        weight[i] = options[i].kind != RUN ? 1 : options[i].variant ? 4 : 16;
        total += weight[i];
    } while (++i < count);
    unsigned at = (unsigned)(random_next() % total);
    i = 0;
    while (at >= weight[i]) {
        at -= weight[i++];
    }
    return i;
}

unsigned search_decide(const struct option *options, unsigned count)
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
    } else if (search == DEPTH_FIRST && seen_before(model_state_key())) {
        model_leave(CUT);
    }
    path[path_count++] = (struct decision){(uint8_t)pick, (uint8_t)count};
    path_at = path_count;
    return pick;
}

static void print_schedule(void)
{
    trace_print();
    printf("  schedule ");
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
        r.outcome = model_execute(bounds);
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
        r.outcome = model_execute(bounds);
        r.executions++;
    }
    return r;
}

static struct options {
    const char *scenario, *replay, *bounds;
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
    enum outcome outcome = model_execute(bounds);
    if (outcome != FAILED) {
        snprintf(trace_failure, sizeof trace_failure, "no fault");
    }
    print_schedule();
    return outcome == FAILED;
}

/* Runs one scenario with one mutant (0: none). Returns 1 if the answer is wrong. */
static int check(unsigned mutant, struct model_bounds bounds)
{
    bool want = mutant || scenario->must_fail;
    unsigned long most = scenario->executions_max ? scenario->executions_max : 2000000;
    model_mutant_now = mutant;
    memory_forget(!scenario->racy);
    model_make_fibers();
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
    bool found = r.outcome == FAILED && (!scenario->must_fail || mutant ||
                                         strstr(trace_failure, scenario->must_fail));
    char with[32];
    snprintf(with, sizeof with, "%u,%u,%u,%u", bounds.preemptions, bounds.stale,
             bounds.crashes, bounds.spurious);
    printf("%-4s %s [%s]%s%s: %s after %lu executions, %zu states%s%s\n",
           found == want ? "ok" : "FAIL", scenario->name, with,
           mutant ? ", mutant: " : "", mutant ? scenario->mutants[mutant - 1].about : "",
           found ? "fault" : "no fault", r.executions, r.states, found ? "" : ", ",
           found ? "" : how);
    if (r.outcome == FAILED && (found != want || opt.trace)) {
        print_schedule();
        printf("  again with: --scenario %s --bounds %s --mutant %u --replay SCHEDULE\n",
               scenario->name, with, mutant);
    }
    fflush(stdout);
    return found != want;
}

/* The bounds of this run. Returns how many. */
static unsigned list_bounds(struct model_bounds ret[MODEL_FULL_MAX])
{
    static const struct model_bounds none;
    unsigned count = 0;
    ret[0] = scenario->bounds;
    if (opt.bounds) {
        (void)sscanf(opt.bounds, "%hhu,%hhu,%hhu,%hhu", &ret[0].preemptions,
                     &ret[0].stale, &ret[0].crashes, &ret[0].spurious);
    }
    while (opt.full && !opt.bounds && count < MODEL_FULL_MAX &&
           memcmp(&scenario->full[count], &none, sizeof none) != 0) {
        ret[count] = scenario->full[count];
        count++;
    }
    return count ? count : 1;
}

static int check_scenario(void)
{
    struct model_bounds bounds[MODEL_FULL_MAX];
    unsigned count = list_bounds(bounds);
    int wrong = 0;
    for (unsigned i = 0; i < count && opt.mutant <= 0; i++) {
        wrong += check(0, bounds[i]);
    }
    for (unsigned i = 0; scenario->mutants && scenario->mutants[i].about; i++) {
        if (opt.mutant < 0 || opt.mutant == (int)i + 1) {
            wrong += check(i + 1, bounds[0]);
        }
    }
    return wrong;
}

static int usage(void)
{
    fprintf(stderr, "usage: [--full] [--trace] [--list] [--scenario NAME] [--mutant N]\n"
                    "       [--replay SCHEDULE] [--random COUNT] [--seed N]\n"
                    "       [--bounds PREEMPTIONS,STALE,CRASHES,SPURIOUS]\n");
    return 2;
}

static int list(void)
{
    for (const struct model_scenario *s = model_scenarios; s->name; s++) {
        printf("%s: %s\n", s->name, s->about);
    }
    return 0;
}

static unsigned long number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end) {
        fprintf(stderr, "model: '%s' is no number\n", text);
        exit(usage());
    }
    return value;
}

/* Options with a value. False: there is no such option. */
static bool set(const char *name, const char *value)
{
    if (!strcmp(name, "--scenario")) {
        opt.scenario = value;
    } else if (!strcmp(name, "--replay")) {
        opt.replay = value;
    } else if (!strcmp(name, "--bounds")) {
        opt.bounds = value;
    } else if (!strcmp(name, "--mutant")) {
        opt.mutant = (int)number(value);
    } else if (!strcmp(name, "--random")) {
        opt.random = number(value);
    } else if (!strcmp(name, "--seed")) {
        opt.seed = number(value);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--full")) {
            opt.full = true;
        } else if (!strcmp(argv[i], "--trace")) {
            opt.trace = true;
        } else if (!strcmp(argv[i], "--list")) {
            return list();
        } else if (i + 1 == argc || !set(argv[i], argv[i + 1])) {
            return usage();
        } else {
            i++;
        }
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
