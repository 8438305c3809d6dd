/* load.c - a driver that works all the time, and whose every result can be checked.
 *
 *   crash_load SEED FOLDER [NODE]     NODE: the folder of a running node; else an embedded one
 *
 * Two threads submit rounds of mixed work and check what comes back. A tester starts the program,
 * kills parts of it, and talks to it over a pipe each way: the program writes 'r' for each finished
 * round, and 'q' when it is at rest; 'q' asks it to come to rest, 'g' to go on. It ends at the end
 * of its input. FOLDER holds a mark of each task that has killed itself once.
 *
 * MOB_TEST_STORE: bytes of an embedded node's store, so few that what the driver keeps does not fit.
 * MOB_TEST_HOLD: a driver that fails stands still. Exit status: 0; 1 wrong result; 3 something did not end in time; 40 the node is lost. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "load.h"

enum { WRONG = 1, HANG = 3, LOST = 40, THREADS = 2 };

struct actor {
    pthread_t thread;
    uint64_t random;
    struct hoard hoard;
};

static struct mob *mob;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int rest, resting, over;
static const char *small_store;

static void say(char c)
{
    if (write(STDOUT_FILENO, &c, 1) != 1) {
        _exit(0); /* the tester is gone */
    }
}

static void __attribute__((noreturn)) fail(int status, const char *what, const char *why)
{
    if (status != LOST) {
        fprintf(stderr, "crash_load %d: %s: %s\n", (int)getpid(), what, why);
        if (getenv("MOB_TEST_HOLD")) { /* for a debugger */
            pause();
        }
    }
    _exit(status);
}

void load_ok(mob_status st, const char *what)
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

void load_same(uint64_t got, uint64_t want, const char *what)
{
    if (got != want) {
        fail(WRONG, what, "wrong result");
    }
}

static uint64_t dice(struct actor *a, uint64_t sides)
{
    a->random = load_mix64(a->random);
    return a->random % sides;
}

static size_t some_size(struct actor *a)
{
    return load_size(dice(a, UINT64_MAX));
}

static void round_of_values(struct actor *a)
{
    enum { COUNT = 64 };
    mob_ref refs[COUNT];
    unsigned char ready[COUNT];
    uint64_t x[COUNT], y;
    for (int i = 0; i < COUNT; i++) {
        x[i] = dice(a, UINT64_MAX);
        load_ok(
            mob_submit(mob, value, MOB_ARGS(MOB_VALUE(x[i])), &load_patient, &refs[i]),
            "value");
    }
    load_ok(mob_wait(mob, refs, COUNT, COUNT / 2, WAIT_NS, ready, NULL),
            "wait for values");
    for (int i = 0; i < COUNT; i++) {
        load_ok(mob_get_copy(mob, refs[i], &y, sizeof y, WAIT_NS), "get a value");
        load_same(y, load_mix64(x[i]), "value");
        mob_release(mob, refs[i]);
    }
}

/* Chains of tasks, ids released before they are needed, objects that only tasks keep. */
static void round_of_dependents(struct actor *a)
{
    enum { COUNT = 12 };
    mob_ref out[COUNT];
    uint64_t want[COUNT], y;
    for (int i = 0; i < COUNT; i++) {
        uint64_t in[2] = {dice(a, UINT64_MAX), some_size(a)}, x = dice(a, UINT64_MAX);
        mob_ref made, one;
        load_ok(mob_submit(mob, dice(a, 2) ? blob : delegate,
                           MOB_ARGS(MOB_BYTES(in, sizeof in)), &load_patient, &made),
                "blob");
        load_ok(mob_submit(mob, value, MOB_ARGS(MOB_VALUE(x)), &load_patient, &one),
                "value");
        load_ok(mob_submit(mob, fold, MOB_ARGS(MOB_REF(made), MOB_REF(one), MOB_VALUE(x)),
                           &load_patient, &out[i]),
                "fold");
        mob_release(mob, made);
        mob_release(mob, one);
        uint64_t v = load_mix64(x);
        want[i] = load_mix64(0 ^ load_hash_of_fill(in[1], in[0]));
        want[i] = load_mix64(want[i] ^ load_hash(&v, sizeof v));
        want[i] = load_mix64(want[i] ^ load_hash(&x, sizeof x));
    }
    for (int i = 0; i < COUNT; i++) {
        load_ok(mob_get_copy(mob, out[i], &y, sizeof y, WAIT_NS), "get a fold");
        load_same(y, want[i], "fold");
        mob_release(mob, out[i]);
    }
}

static void round_of_nested(struct actor *a)
{
    uint64_t in[2] = {1 + dice(a, 4), dice(a, 1u << 30)}, y;
    mob_ref ref;
    load_ok(
        mob_submit(mob, nested, MOB_ARGS(MOB_BYTES(in, sizeof in)), &load_patient, &ref),
        "nested");
    load_ok(mob_get_copy(mob, ref, &y, sizeof y, WAIT_NS), "get a nested");
    load_same(y, load_nested_value(in[0], in[1]), "nested");
    mob_release(mob, ref);
}

/* Objects put and made in place, read through views that outlive their ids. */
static void round_of_objects(struct actor *a)
{
    enum { COUNT = 6 };
    struct mob_view view[COUNT];
    uint64_t want[COUNT], y;
    for (int i = 0; i < COUNT; i++) {
        size_t size = some_size(a);
        uint64_t seed = dice(a, UINT64_MAX);
        mob_ref ref, sum;
        void *data;
        want[i] = load_hash_of_fill(size, seed);
        if (dice(a, 2)) {
            load_ok(mob_create(mob, size, WAIT_NS, &ref, &data), "create");
            load_fill(data, size / 8, seed);
            load_ok(mob_seal(mob, ref), "seal");
        } else {
            data = malloc(size);
            load_fill(data, size / 8, seed);
            load_ok(mob_put(mob, data, size, WAIT_NS, &ref), "put");
            free(data);
        }
        load_ok(mob_submit(mob, fold, MOB_ARGS(MOB_REF(ref)), &load_patient, &sum),
                "fold");
        load_ok(mob_get(mob, ref, WAIT_NS, &view[i]), "get an object");
        mob_release(mob, ref);
        load_ok(mob_get_copy(mob, sum, &y, sizeof y, WAIT_NS), "get a fold of an object");
        load_same(y, load_mix64(want[i]), "fold of an object");
        mob_release(mob, sum);
    }
    for (int i = 0; i < COUNT; i++) {
        load_same(load_hash(view[i].data, view[i].size), want[i], "bytes of a view");
        mob_view_release(mob, &view[i]);
    }
}

/* Tasks that kill their worker. */
static void round_of_deaths(struct actor *a, int always)
{
    uint64_t in[3] = {dice(a, UINT64_MAX), 1 + dice(a, WHERE_MAX - 1), (uint64_t)always},
             y;
    struct mob_options o = load_patient;
    mob_ref refs[2];
    char text[2048];
    o.max_retries = always ? 1 : RETRIES;
    o.returns = 2;
    o.name = "the mortal one";
    load_ok(mob_submit(mob, mortal, MOB_ARGS(MOB_BYTES(in, sizeof in)), &o, refs),
            "mortal");
    mob_status st = mob_get_copy(mob, refs[0], &y, sizeof y, WAIT_NS);
    if (!always) {
        load_ok(st, "get of a task that died once");
        load_same(y, load_hash_of_fill(40000, in[0]), "task that died once");
    } else if (st != MOB_ERR_TASK_DIED) {
        load_ok(st, "get of a task that always dies");
        fail(WRONG, "a task that always dies", "has a result");
    } else {
        load_ok(mob_failure(mob, refs[0], text, sizeof text),
                "message of a task that died");
        /* In a cluster its attempts may also end with the node that ran them. */
        bool why = strstr(text, "signal 9") || strstr(text, "where it ran, was lost");
        if (!strstr(text, "the mortal one") || !why) {
            fail(WRONG, "message of a task that died", text);
        }
    }
    mob_release(mob, refs[0]);
    mob_release(mob, refs[1]);
}

/* Tasks that would never end: by deadlines, by cancels, with what they submitted, by force. */
static void round_of_cancelled(struct actor *a)
{
    enum { COUNT = 4 };
    mob_ref refs[COUNT], one;
    uint64_t x = dice(a, UINT64_MAX), y;
    struct mob_options o = load_patient;
    size_t size;
    for (int i = 0; i < COUNT; i++) {
        bool late = dice(a, 2);
        uint64_t in[2] = {late ? 0 : dice(a, 3), dice(a, 2)};
        o.deadline_ns = late ? 1 + dice(a, 50000000) : 0;
        load_ok(
            mob_submit(mob, endless, MOB_ARGS(MOB_BYTES(in, sizeof in)), &o, &refs[i]),
            "endless");
    }
    load_ok(mob_submit(mob, value, MOB_ARGS(MOB_VALUE(x)), &load_patient, &one), "value");
    for (int i = 0; i < COUNT; i++) {
        struct mob_cancel_options c = MOB_CANCEL_OPTIONS_INIT;
        c.recursive = c.force = 1;
        c.grace_ns = dice(a, 30000000);
        usleep((useconds_t)dice(a, 5000)); /* style-allow: at any time of its life */
        load_ok(mob_cancel_as(mob, refs[i], &c), "cancel");
    }
    for (int i = 0; i < COUNT; i++) {
        mob_status st = mob_get_size(mob, refs[i], WAIT_NS, &size);
        if (st != MOB_ERR_CANCELLED && st != MOB_ERR_DEADLINE) {
            load_ok(st, "get of a cancelled task");
            fail(WRONG, "a task without end", "has a result");
        }
        mob_release(mob, refs[i]);
    }
    load_ok(mob_get_copy(mob, one, &y, sizeof y, WAIT_NS), "get a value");
    load_same(y, load_mix64(x), "value");
    mob_release(mob, one);
}

static void one_round(struct actor *a)
{
    if (small_store && dice(a, 2)) {
        hoard_round(&a->hoard, mob, &a->random);
        say('r');
        return;
    }
    switch (dice(a, 22)) {
    case 0:
        round_of_deaths(a, 1);
        break;
    case 1:
    case 2:
        round_of_deaths(a, 0);
        break;
    case 20:
    case 21:
        round_of_cancelled(a);
        break;
    case 3:
    case 4:
    case 5:
        round_of_nested(a);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        round_of_dependents(a);
        break;
    case 10:
    case 11:
    case 12:
    case 13:
        round_of_objects(a);
        break;
    default:
        round_of_values(a);
    }
    say('r');
}

static void *act(void *arg)
{
    pthread_mutex_lock(&lock);
    while (!over) {
        if (rest) {
            pthread_mutex_unlock(&lock);
            hoard_drop(&((struct actor *)arg)->hoard, mob);
            for (int i = 0; i < 4;
                 i++) { /* so that what was freed before is looked at now */
                round_of_values(arg);
            }
            pthread_mutex_lock(&lock);
            resting++;
            pthread_cond_broadcast(&changed);
            while (rest) {
                pthread_cond_wait(&changed, &lock);
            }
            resting--;
            continue;
        }
        pthread_mutex_unlock(&lock);
        one_round(arg);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    hoard_drop(&((struct actor *)arg)->hoard, mob);
    return NULL;
}

/* What was freed meanwhile is let go of when a process comes to the library. */
static void settle(void)
{
    uint64_t x = 1, y;
    mob_ref ref;
    struct mob_info info = {.struct_size = sizeof info};
    load_ok(mob_submit(mob, value, MOB_ARGS(MOB_VALUE(x)), &load_patient, &ref), "value");
    load_ok(mob_get_copy(mob, ref, &y, sizeof y, WAIT_NS), "get a value");
    load_same(y, load_mix64(x), "value");
    mob_release(mob, ref);
    load_ok(mob_get_info(mob, &info), "info");
}

static void serve_tester(void)
{
    char c;
    while (read(STDIN_FILENO, &c, 1) == 1) {
        pthread_mutex_lock(&lock);
        rest = c != 'g';
        pthread_cond_broadcast(&changed);
        while (rest && resting < THREADS) {
            pthread_cond_wait(&changed, &lock);
        }
        pthread_mutex_unlock(&lock);
        if (c != 'g') {
            settle();
            say('q');
        }
    }
    pthread_mutex_lock(&lock);
    over = 1;
    rest = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        return 2;
    }
    load_folder = argv[2];
    small_store = getenv("MOB_TEST_STORE");
    if (!mob_is_worker()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a tester that fails leaves nothing behind */
    }
    struct mob_config config = {
        .struct_size = sizeof config,
        .address = argc > 3 ? argv[3] : NULL,
        .num_cpus = 3,
        .store_bytes = small_store ? strtoull(small_store, NULL, 0) : 512ull << 20,
        .no_log_forward = 1};
    load_ok(mob_init(&config, &mob), "init");
    static struct actor actors[THREADS];
    uint64_t seed = strtoull(argv[1], NULL, 0);
    for (int i = 0; i < THREADS; i++) {
        actors[i].random = load_mix64(seed * THREADS + (uint64_t)i);
        if (pthread_create(&actors[i].thread, NULL, act, &actors[i])) {
            return 2;
        }
    }
    serve_tester();
    for (int i = 0; i < THREADS; i++) {
        pthread_join(actors[i].thread, NULL);
    }
    mob_shutdown(mob);
    return 0;
}
