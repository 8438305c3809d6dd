/* soak_load.c - a driver whose workers do everything with objects that can be done, in a store that is
 * too small for all of it, while they are killed; every byte that comes back is checked.
 *
 *   soak_load SEED FOLDER NODE
 *
 * It holds objects that it and its workers made, some of which are dead by now, and looks at all of them
 * again and again. It talks to the tester as crash_load does: 'r' for each round, 'q' and 'g'. At rest it
 * goes on holding its objects, and FOLDER/held says how many records that
 * takes, how many tasks ended so far, and how often there was no room. */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "load.h"

enum {
    WRONG = 1,
    HANG = 3,
    LOST = 40,
    HELD_MAX = 64, /* objects that the driver holds */
    KEPT_MAX = 40, /* of them, large ones that it keeps from its start to its end */
    KEPT_BYTES = 1500000,
    KEPT_ROOM = 9, /* as many fewer than there is room for, for all else */
    FLIGHT = 14,   /* tasks at once */
    OWN_MAX = 16,  /* objects that a task holds */
    TASK_STEPS = 60,
    FULL_NS = 5000000 /* how long a put waits in a full store */
};

struct object {
    mob_ref ref;
    uint64_t size, seed; /* size 0: none */
};

static struct mob *mob;
static struct object held[HELD_MAX];
static int kept; /* the first so many of `held` */
static uint64_t random_state, found_full, tasks_done;

static void __attribute__((noreturn)) fail(int status, const char *what, const char *why)
{
    if (status != LOST) {
        fprintf(stderr, "soak_load %d: %s: %s\n", (int)getpid(), what, why);
    }
    _exit(status);
}

static void ok(mob_status st, const char *what)
{
    if (st) {
        char why[2048];
        snprintf(why, sizeof why, "%s: %s", mob_status_name(st), mob_last_error());
        fail(st == MOB_ERR_NODE_LOST ? LOST
             : st == MOB_ERR_TIMEOUT ? HANG
                                     : WRONG,
             what, why);
    }
}

static uint64_t dice(uint64_t *state, uint64_t sides)
{
    *state = load_mix64(*state);
    return *state % sides;
}

static uint64_t some_size(uint64_t *state)
{
    static const uint64_t sizes[] = {8, 64, 128, 136, 1000, 5000, 40000, 300000, 1500000};
    return sizes[dice(state, sizeof sizes / sizeof sizes[0])];
}

/* ---- objects, in driver and tasks alike --------------------------------------------------------- */

/* Looks at a sealed object through a view. */
static mob_status look(struct mob *m, const struct object *o)
{
    struct mob_view view;
    MOB_TRY(mob_get(m, o->ref, WAIT_NS, &view));
    bool same = view.size == o->size &&
                load_hash(view.data, view.size) == load_hash_of_fill(o->size, o->seed);
    mob_view_release(m, &view);
    if (!same) {
        fprintf(stderr, "soak_load %d: an object has other bytes than were put\n",
                (int)getpid());
        kill(getppid(), SIGABRT); /* the daemon, or nobody: the test fails either way */
        _exit(WRONG);
    }
    return MOB_OK;
}

/* Puts, or creates and fills, or creates and gives up. A full store is no failure: no object then, and
 * *full is one more. */
static mob_status make(struct mob *m, uint64_t *state, struct object *ret, uint64_t *full)
{
    struct object o = {.size = some_size(state), .seed = dice(state, UINT64_MAX)};
    uint64_t how = dice(state, 5);
    void *data = how < 2 ? malloc(o.size) : NULL;
    mob_status st = data ? MOB_OK : mob_create(m, o.size, FULL_NS, &o.ref, &data);
    if (!st) {
        load_fill(data, o.size / 8, o.seed);
    }
    if (how < 2) {
        st = mob_put(m, data, o.size, FULL_NS, &o.ref);
        free(data);
    } else if (!st && how == 2) {
        mob_abort(m, o.ref);
        return MOB_OK;
    } else if (!st) {
        st = mob_seal(m, o.ref);
    }
    if (!st) {
        *ret = o;
    }
    *full += st == MOB_ERR_NOMEM;
    return st == MOB_ERR_NOMEM ? MOB_OK : st;
}

static void drop(struct mob *m, struct object *o)
{
    if (o->size) {
        mob_release(m, o->ref);
        o->size = 0;
    }
}

/* ---- the task ----------------------------------------------------------------------------------- */

/* A task of its own that reads the object, and its result. */
static mob_status ask(struct mob *m, const struct object *o)
{
    mob_ref sum;
    uint64_t y;
    mob_status st = mob_submit(m, fold, MOB_ARGS(MOB_REF(o->ref)), &load_patient, &sum);
    if (st) {
        return st == MOB_ERR_FULL ? MOB_OK : st;
    }
    MOB_TRY(mob_get_copy(m, sum, &y, sizeof y, WAIT_NS));
    mob_release(m, sum);
    if (y != load_mix64(load_hash_of_fill(o->size, o->seed))) {
        return MOB_ERR_CORRUPT;
    }
    return MOB_OK;
}

static mob_status wait_for(struct mob *m, const struct object *own)
{
    mob_ref refs[OWN_MAX];
    unsigned char ready[OWN_MAX];
    size_t count = 0;
    for (int i = 0; i < OWN_MAX; i++) {
        if (own[i].size) {
            refs[count++] = own[i].ref;
        }
    }
    return mob_wait(m, refs, count, count, WAIT_NS, ready, NULL);
}

/* Argument 0: a seed. The others: objects of the driver's, by id, whose bytes it knows from argument 1. */
static mob_status churn(struct mob_task *task)
{
    struct mob *m = mob_task_mob(task);
    struct object own[OWN_MAX] = {0}, given[2];
    uint64_t state, done[2] = {0};
    MOB_TRY(mob_arg_copy(task, 0, &state, sizeof state));
    MOB_TRY(mob_arg_copy(task, 1, given, sizeof given));
    for (int i = 0; i < TASK_STEPS; i++) {
        struct object *o = &own[dice(&state, OWN_MAX)];
        uint64_t what = dice(&state, 16);
        if (what < 6 || (what < 14 && !o->size)) {
            drop(m, o);
            MOB_TRY(make(m, &state, o, &done[1]));
        } else if (what < 10) {
            MOB_TRY(look(m, o));
        } else if (what < 12) {
            MOB_TRY(ask(m, o));
        } else if (what < 13) {
            MOB_TRY(wait_for(m, own));
        } else if (what < 14) {
            drop(m, o);
        } else if (given[what - 14].size) {
            MOB_TRY(look(m, &given[what - 14]));
        }
        done[0]++;
    }
    return mob_return_copy(task, 0, done, sizeof done);
}
MOB_REGISTER(churn);

/* ---- the driver --------------------------------------------------------------------------------- */

static struct object *any_held(void)
{
    return &held[dice(&random_state, HELD_MAX)];
}

static void submit(mob_ref *ret)
{
    struct object given[2] = {*any_held(), *any_held()};
    uint64_t seed = dice(&random_state, UINT64_MAX);
    struct mob_arg args[4] = {MOB_VALUE(seed), MOB_BYTES(given, sizeof given)};
    size_t count = 2;
    for (int i = 0; i < 2; i++) {
        if (given[i].size) {
            args[count++] = MOB_REF(given[i].ref);
        }
    }
    ok(mob_submit(mob, churn, (struct mob_args){count, args}, &load_patient, ret),
       "submit");
}

/* Fills the store but for a little, so that it is full however slowly the rest of the load comes. */
static void fill(void)
{
    mob_status st = MOB_OK;
    for (int i = 0; i < KEPT_MAX && !st; i++) {
        void *data;
        struct object o = {.size = KEPT_BYTES, .seed = dice(&random_state, UINT64_MAX)};
        st = mob_create(mob, o.size, FULL_NS, &o.ref, &data);
        if (!st) {
            load_fill(data, o.size / 8, o.seed);
            ok(mob_seal(mob, o.ref), "seal");
            held[kept++] = o;
        }
    }
    if (st && st != MOB_ERR_NOMEM) {
        ok(st, "create");
    }
    for (int i = 0; i < KEPT_ROOM; i++) {
        drop(mob, &held[--kept]);
    }
}

/* Another object in place of one: its own, or a worker's result. */
static void replace(void)
{
    struct object *o =
        &held[kept + (int)dice(&random_state, (uint64_t)(HELD_MAX - kept))];
    struct object made = {0};
    drop(mob, o);
    if (dice(&random_state, 2)) {
        ok(make(mob, &random_state, o, &found_full), "make");
        return;
    }
    uint64_t in[2] = {dice(&random_state, UINT64_MAX), some_size(&random_state)};
    ok(mob_submit(mob, blob, MOB_ARGS(MOB_BYTES(in, sizeof in)), &load_patient,
                  &made.ref),
       "submit");
    size_t size;
    mob_status st = mob_get_size(mob, made.ref, WAIT_NS, &size);
    if (st == MOB_ERR_TASK_FAILED) { /* it found no room for its result */
        mob_release(mob, made.ref);
        found_full++;
        return;
    }
    ok(st, "a result");
    made.seed = in[0];
    made.size = in[1];
    *o = made;
}

static void look_at_all(void)
{
    for (int i = 0; i < HELD_MAX; i++) {
        if (held[i].size) {
            ok(look(mob, &held[i]), "look");
        }
    }
}

static void one_round(void)
{
    mob_ref refs[FLIGHT];
    uint64_t done[2];
    for (int i = 0; i < FLIGHT; i++) {
        submit(&refs[i]);
    }
    for (int i = 0; i < FLIGHT; i++) {
        replace();
        ok(mob_get_copy(mob, refs[i], done, sizeof done, WAIT_NS), "churn");
        if (done[0] != TASK_STEPS) {
            fail(WRONG, "churn", "wrong result");
        }
        mob_release(mob, refs[i]);
        found_full += done[1];
        tasks_done++;
    }
    look_at_all();
}

static void say(char c)
{
    if (write(STDOUT_FILENO, &c, 1) != 1) {
        _exit(0); /* the tester is gone */
    }
}

static void say_held(const char *folder)
{
    char path[256];
    int count = 0;
    for (int i = 0; i < HELD_MAX; i++) {
        count += held[i].size != 0;
    }
    snprintf(path, sizeof path, "%s/held", folder);
    FILE *file = fopen(path, "w");
    if (!file ||
        fprintf(file, "%d %llu %llu\n", count, (unsigned long long)tasks_done,
                (unsigned long long)found_full) < 0 ||
        fclose(file)) {
        fail(WRONG, path, "cannot be written");
    }
}

/* What the tester says. False: nothing more is to be done. */
static bool hear(const char *folder)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    struct mob_info info = {.struct_size = sizeof info};
    char c = 'q';
    for (bool rest = false; rest || poll(&in, 1, 0) > 0;) {
        if (read(STDIN_FILENO, &c, 1) != 1) {
            return false;
        }
        rest = c != 'g';
        if (rest) {
            look_at_all();
            ok(mob_get_info(mob, &info), "info"); /* lets go of what was taken back */
            say_held(folder);
            say('q');
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        return 2;
    }
    load_folder = argv[2];
    if (!mob_is_worker()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a tester that fails leaves nothing behind */
    }
    struct mob_config config = {
        .struct_size = sizeof config, .address = argv[3], .no_log_forward = 0};
    ok(mob_init(&config, &mob), "init");
    random_state = load_mix64(strtoull(argv[1], NULL, 0));
    fill();
    while (hear(argv[2])) {
        one_round();
        say('r');
    }
    for (int i = 0; i < HELD_MAX; i++) {
        drop(mob, &held[i]);
    }
    mob_shutdown(mob);
    return 0;
}
