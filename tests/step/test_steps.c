/* test_steps.c - killed at every instruction, without killing anybody.
 *
 *   test_steps CLIENT [--full]     CLIENT: the program step_client
 *
 * A client runs its operations one instruction at a time, once. Whenever the board differs from what it
 * was an instruction before, a copy is swept as if the client were dead, and looked at (verdict.c): what
 * a sweep finds depends on shared memory alone, so that a death after any other instruction is a death
 * at one of those. With --full a copy is swept after every single instruction all the same.
 *
 * Two clients: one made of the store's functions, and a worker that uses the library, from the API to
 * the end of one task and the claim of the next. The sweep is also done with one step left out (mutants.c)
 * until that is noticed; a mutant that is never noticed fails the test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "core/clock.h"
#include "mark.h"
#include "scene.h"
#include "step_store.h"
#include "tester.h"
#include "tracee.h"

enum { MUTANTS_ROOM = 64, INSTRUCTIONS_MAX = 2000000, TURNS = 4 };

static struct {
    bool full;
    bool found[MUTANTS_ROOM];
    char found_by[MUTANTS_ROOM][96];
    uint64_t instructions, states;
} run;

static void turn(void)
{
    scene_turn();
}

/* ---- one operation ------------------------------------------------------------------------------ */

struct place_of_death {
    const char *op;
    const struct tracee *t;
    uint64_t step;
};

static void try_mutants(uint32_t process, const struct place_of_death *at)
{
    char why[VERDICT_TEXT];
    for (int m = 1; m <= mutants_count(); m++) {
        if (!run.found[m] && !death_ends_well(process, m, why)) {
            run.found[m] = true;
            snprintf(run.found_by[m], sizeof run.found_by[m], "%s, %llu", at->op,
                     (unsigned long long)at->step);
        }
    }
}

static void die_here(uint32_t process, const struct place_of_death *at)
{
    char why[VERDICT_TEXT];
    if (!death_ends_well(process, 0, why)) {
        broken("%s: a death after instruction %llu (next one at %#llx of process %d): %s",
               at->op, (unsigned long long)at->step, (unsigned long long)tracee_pc(at->t),
               (int)at->t->pid, why);
    }
    try_mutants(process, at);
    run.states++;
}

/* What may write no line of the board that other clients write: with as many clients as there are, each
 * would be as fast as alone. */
static bool must_be_alone(const char *op)
{
    static const char *const ops[] = {"put_100_bytes",
                                      "put_200_bytes_again",
                                      "put_1_KiB",
                                      "create_40_KiB",
                                      "create",
                                      "seal",
                                      "get",
                                      "get_copy",
                                      "view_release",
                                      "release",
                                      "release_large",
                                      "release_that_frees",
                                      "wait_for_sealed"};
    bool found = false;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        found |= strcmp(op, ops[i]) == 0;
    }
    return found;
}

/* From the mark that the client stands at to the next one. */
static void step_through(struct tracee *t, uint32_t process, const char *op)
{
    struct place_of_death at = {op, t, 0};
    uint64_t states = run.states;
    enum tracee_stop stop = TRACEE_STEP;
    int what = 0;
    watch_begin(process);
    die_here(process, &at);
    while (stop == TRACEE_STEP) {
        if (++at.step > INSTRUCTIONS_MAX) {
            broken("%s: it does not end", op);
        }
        stop = tracee_step(t, &what);
        if (stop == TRACEE_STEP && (watch_changed() || run.full)) {
            die_here(process, &at);
        }
    }
    if (stop != TRACEE_MARK) {
        broken("%s: the client stopped for %#x", op, (unsigned)what);
    }
    if (!watch_rest_same()) {
        broken("%s: it wrote where nobody looks for it", op);
    }
    if (must_be_alone(op) && watch_lines().shared) {
        broken("%s: it wrote %u lines that others write, one at %zu of the board", op,
               watch_lines().shared, watch_lines().last_shared);
    }
    run.instructions += at.step;
    tester.done++;
    struct watch_lines lines = watch_lines();
    printf("  %-28s %6llu instructions %4llu states; lines: %3u its own, %2u shared\n",
           op, (unsigned long long)at.step, (unsigned long long)(run.states - states),
           lines.own, lines.shared);
    fflush(stdout);
}

static void go_to_mark(struct tracee *t, const char *op)
{
    int what;
    if (!tracee_to_mark(t, &what)) {
        broken("%s: the client did not come to it: %#x", op, (unsigned)what);
    }
    for (int i = 0; i < TURNS; i++) { /* what the daemon was asked for before */
        scene_turn();
    }
}

/* ---- the two clients ---------------------------------------------------------------------------- */

static void step_store(void)
{
    struct tracee t = {store_client_start(), turn, false};
    int status;
    printf("the store's functions\n");
    for (int i = 0; i < store_ops_count(); i++) {
        go_to_mark(&t, store_op_name(i));
        step_through(&t, CLIENT_OF_STORE, store_op_name(i));
    }
    tracee_leave(&t);
    if (waitpid(t.pid, &status, 0) != t.pid || status != 0) {
        broken("the store's client ended with %#x", (unsigned)status);
    }
    store_client_gone();
}

static uint32_t await_worker(void)
{
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    for (;;) {
        for (uint32_t p = 2; p < PROCS_MAX; p++) {
            if (scene.job->members[p].used && p != CLIENT_OF_STORE) {
                return p;
            }
        }
        if (clock_now_ns() > until) {
            broken("no worker was started");
        }
        scene_turn();
    }
}

static void step_library(void)
{
#define NAME(name) #name,
    static const char *const ops[] = {STEP_CLIENT_OPS(NAME)};
    static const char *const returns[] = {"mob_return", "return and claim"};
    uint64_t last;
    printf("the library\n");
    scene.task =
        scene_task(scene.class, "step_ops", scene.objects, sizeof scene.objects, true);
    uint32_t process = await_worker();
    struct tracee t = {scene.job->members[process].pid, turn, false};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        go_to_mark(&t, ops[i]);
        step_through(&t, process, ops[i]);
    }
    /* Tasks that the client cancelled leave hints, for which the daemon would start workers. */
    scene_run_ready(scene.usual_class);
    /* The tasks behind it, of which the daemon does not hear: it would start another worker. */
    last = scene.task;
    scene.task = scene_task(scene.class, "step_return", &last, sizeof last, false);
    scene.next_task = scene_task(scene.class, "step_claimed", &last, sizeof last, false);
    go_to_mark(&t, returns[0]);
    scene_drop(last);
    step_through(&t, process, returns[1]);
    tracee_leave(&t);
    scene_drop(scene.task);
    scene_drop(scene.next_task);
    scene.task = scene.next_task = LINK_NONE;
}

/* ---- the end ------------------------------------------------------------------------------------ */

static void look_at_mutants(void)
{
    int missed = 0;
    for (int m = 1; m <= mutants_count(); m++) {
        if (run.found[m]) {
            printf("without %-24s noticed at %s\n", mutant_name(m), run.found_by[m]);
        } else {
            printf("without %-24s NOT NOTICED\n", mutant_name(m));
            missed++;
        }
    }
    if (missed) {
        broken("%d mutants of the sweep were not noticed", missed);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: test_steps STEP_CLIENT [--full]\n");
        return 2;
    }
    tester_begin("test_steps", "operations");
    run.full = tester.full || (argc > 2 && strcmp(argv[2], "--full") == 0);
    MUST(mutants_count() < MUTANTS_ROOM);
    scene_make(argv[1]);
    step_store();
    step_library();
    look_at_mutants();
    printf("%u operations, %llu instructions, %llu states of shared memory to die in\n",
           tester.done, (unsigned long long)run.instructions,
           (unsigned long long)run.states);
    scene_end();
    tester_end();
    return 0;
}
