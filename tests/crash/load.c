/* load.c - a driver that works all the time, and whose every result can be checked.
 *
 *   crash_load SEED FOLDER [NODE]     NODE: the folder of a running node; else an embedded one
 *
 * Two threads submit rounds of mixed work and check what comes back. A tester starts the program,
 * kills parts of it, and talks to it over a pipe each way: the program writes 'r' for each finished
 * round, and 'q' when it is at rest; 'q' asks it to come to rest, 'g' to go on. It ends at the end
 * of its input. FOLDER holds a mark of each task that has killed itself once.
 *
 * MOB_TEST_HOLD: a driver that fails stands still. Exit status: 0; 1 wrong result; 3 something did not end in time; 40 the node is lost. */
#include <mobula.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define WAIT_NS (60 * 1000000000ull) /* far more than any wait takes on a slow machine */

enum { WRONG = 1, HANG = 3, LOST = 40, THREADS = 2, RETRIES = 200 };

static const char *folder; /* argv is a worker's too */

static uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static void fill(uint64_t *words, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        words[i] = mix64(seed + i);
    }
}

static uint64_t hash(const void *bytes, size_t size)
{
    uint64_t h = size, word;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        memcpy(&word, (const char *)bytes + i, 8);
        h = mix64(h ^ word);
    }
    return h;
}

/* What hash() gives for the bytes that fill() makes. */
static uint64_t hash_of_fill(size_t size, uint64_t seed)
{
    uint64_t h = size;
    for (size_t i = 0; i < size / 8; i++) {
        h = mix64(h ^ mix64(seed + i));
    }
    return h;
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static mob_status value(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x = mix64(x);
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(value);

/* A hash over all arguments, which may be values, results and objects. */
static mob_status fold(struct mob_task *task)
{
    uint64_t h = 0;
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        const void *data;
        size_t size;
        MOB_TRY(mob_arg(task, i, &data, &size));
        h = mix64(h ^ hash(data, size));
    }
    return mob_return_copy(task, 0, &h, sizeof h);
}
MOB_REGISTER(fold);

static mob_status blob(struct mob_task *task)
{
    uint64_t in[2]; /* seed, bytes */
    void *data;
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    MOB_TRY(mob_return_place(task, 0, in[1], &data));
    fill(data, in[1] / 8, in[0]);
    return MOB_OK;
}
MOB_REGISTER(blob);

static uint64_t nested_value(uint64_t depth, uint64_t seed)
{
    return depth == 0 ? mix64(seed)
                      : mix64(nested_value(depth - 1, seed * 2 + 1) ^
                              nested_value(depth - 1, seed * 2 + 2));
}

static const struct mob_options patient = {.struct_size = sizeof(struct mob_options),
                                           .max_retries = RETRIES};

static mob_status nested(struct mob_task *task)
{
    uint64_t in[2], out[2]; /* depth, seed */
    struct mob *mob = mob_task_mob(task);
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    uint64_t sum = mix64(in[1]);
    if (in[0]) {
        mob_ref refs[2];
        for (uint64_t i = 0; i < 2; i++) {
            uint64_t child[2] = {in[0] - 1, in[1] * 2 + 1 + i};
            MOB_TRY(mob_submit(mob, nested, MOB_ARGS(MOB_BYTES(child, sizeof child)),
                               &patient, &refs[i]));
        }
        for (int i = 0; i < 2; i++) {
            MOB_TRY(mob_get_copy(mob, refs[i], &out[i], sizeof out[i], WAIT_NS));
        }
        sum = mix64(out[0] ^ out[1]);
    }
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(nested);

/* Hands on what a task of its own makes, and does not wait for it. */
static mob_status delegate(struct mob_task *task)
{
    uint64_t in[2];
    mob_ref ref;
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    MOB_TRY(mob_submit(mob_task_mob(task), blob, MOB_ARGS(MOB_BYTES(in, sizeof in)),
                       &patient, &ref));
    return mob_return_ref(task, 0, ref);
}
MOB_REGISTER(delegate);

enum where {
    IN_PUT = 1,
    BEFORE_RETURN,
    AFTER_PLACE,
    AFTER_SUBMIT,
    HOLDING_VIEW,
    WHERE_MAX
};

static void die(void)
{
    raise(SIGKILL);
}

/* Dies at one of several places: always, or in its first attempt only. */
static mob_status mortal(struct mob_task *task)
{
    uint64_t in[3], out; /* seed, where, always */
    char path[512];
    void *data;
    mob_ref ref;
    struct mob_view view;
    struct mob *mob = mob_task_mob(task);
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    snprintf(path, sizeof path, "%s/died-%016llx", folder, (unsigned long long)in[0]);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    } else if (!in[2]) {
        in[1] = 0;
    }
    if (in[1] == BEFORE_RETURN) {
        die();
    }
    uint64_t child[2] = {in[0], 40000};
    MOB_TRY(
        mob_submit(mob, blob, MOB_ARGS(MOB_BYTES(child, sizeof child)), &patient, &ref));
    if (in[1] == AFTER_SUBMIT) {
        die();
    }
    MOB_TRY(mob_get(mob, ref, WAIT_NS, &view));
    if (in[1] == HOLDING_VIEW) {
        die();
    }
    out = hash(view.data, view.size);
    mob_view_release(mob, &view);
    MOB_TRY(mob_return_place(task, 0, sizeof out, &data));
    memcpy(data, &out, sizeof out);
    if (in[1] == IN_PUT) {
        MOB_TRY(mob_create(mob, 300000, WAIT_NS, &ref, &data));
        die();
    }
    if (in[1] == AFTER_PLACE) {
        MOB_TRY(mob_return_place(task, 1, 100000, &data));
        die();
    }
    return MOB_OK;
}
MOB_REGISTER(mortal);

/* ---- the driver ------------------------------------------------------------------------------- */

struct actor {
    pthread_t thread;
    uint64_t random;
};

static struct mob *mob;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int rest, resting, over;

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

static void same(uint64_t got, uint64_t want, const char *what)
{
    if (got != want) {
        fail(WRONG, what, "wrong result");
    }
}

static uint64_t dice(struct actor *a, uint64_t sides)
{
    a->random = mix64(a->random);
    return a->random % sides;
}

static size_t some_size(struct actor *a)
{
    static const size_t sizes[] = {8, 64, 200, 1000, 5000, 40000, 300000, 1500000};
    return sizes[dice(a, sizeof sizes / sizeof sizes[0])];
}

static void round_of_values(struct actor *a)
{
    enum { COUNT = 64 };
    mob_ref refs[COUNT];
    unsigned char ready[COUNT];
    uint64_t x[COUNT], y;
    for (int i = 0; i < COUNT; i++) {
        x[i] = dice(a, UINT64_MAX);
        ok(mob_submit(mob, value, MOB_ARGS(MOB_VALUE(x[i])), &patient, &refs[i]),
           "value");
    }
    ok(mob_wait(mob, refs, COUNT, COUNT / 2, WAIT_NS, ready, NULL), "wait for values");
    for (int i = 0; i < COUNT; i++) {
        ok(mob_get_copy(mob, refs[i], &y, sizeof y, WAIT_NS), "get a value");
        same(y, mix64(x[i]), "value");
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
        ok(mob_submit(mob, dice(a, 2) ? blob : delegate,
                      MOB_ARGS(MOB_BYTES(in, sizeof in)), &patient, &made),
           "blob");
        ok(mob_submit(mob, value, MOB_ARGS(MOB_VALUE(x)), &patient, &one), "value");
        ok(mob_submit(mob, fold, MOB_ARGS(MOB_REF(made), MOB_REF(one), MOB_VALUE(x)),
                      &patient, &out[i]),
           "fold");
        mob_release(mob, made);
        mob_release(mob, one);
        uint64_t v = mix64(x);
        want[i] = mix64(0 ^ hash_of_fill(in[1], in[0]));
        want[i] = mix64(want[i] ^ hash(&v, sizeof v));
        want[i] = mix64(want[i] ^ hash(&x, sizeof x));
    }
    for (int i = 0; i < COUNT; i++) {
        ok(mob_get_copy(mob, out[i], &y, sizeof y, WAIT_NS), "get a fold");
        same(y, want[i], "fold");
        mob_release(mob, out[i]);
    }
}

static void round_of_nested(struct actor *a)
{
    uint64_t in[2] = {1 + dice(a, 4), dice(a, 1u << 30)}, y;
    mob_ref ref;
    ok(mob_submit(mob, nested, MOB_ARGS(MOB_BYTES(in, sizeof in)), &patient, &ref),
       "nested");
    ok(mob_get_copy(mob, ref, &y, sizeof y, WAIT_NS), "get a nested");
    same(y, nested_value(in[0], in[1]), "nested");
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
        want[i] = hash_of_fill(size, seed);
        if (dice(a, 2)) {
            ok(mob_create(mob, size, WAIT_NS, &ref, &data), "create");
            fill(data, size / 8, seed);
            ok(mob_seal(mob, ref), "seal");
        } else {
            data = malloc(size);
            fill(data, size / 8, seed);
            ok(mob_put(mob, data, size, WAIT_NS, &ref), "put");
            free(data);
        }
        ok(mob_submit(mob, fold, MOB_ARGS(MOB_REF(ref)), &patient, &sum), "fold");
        ok(mob_get(mob, ref, WAIT_NS, &view[i]), "get an object");
        mob_release(mob, ref);
        ok(mob_get_copy(mob, sum, &y, sizeof y, WAIT_NS), "get a fold of an object");
        same(y, mix64(want[i]), "fold of an object");
        mob_release(mob, sum);
    }
    for (int i = 0; i < COUNT; i++) {
        same(hash(view[i].data, view[i].size), want[i], "bytes of a view");
        mob_view_release(mob, &view[i]);
    }
}

/* Tasks that kill their worker. */
static void round_of_deaths(struct actor *a, int always)
{
    uint64_t in[3] = {dice(a, UINT64_MAX), 1 + dice(a, WHERE_MAX - 1), (uint64_t)always},
             y;
    struct mob_options o = patient;
    mob_ref refs[2];
    char text[2048];
    o.max_retries = always ? 1 : RETRIES;
    o.returns = 2;
    o.name = "the mortal one";
    ok(mob_submit(mob, mortal, MOB_ARGS(MOB_BYTES(in, sizeof in)), &o, refs), "mortal");
    mob_status st = mob_get_copy(mob, refs[0], &y, sizeof y, WAIT_NS);
    if (!always) {
        ok(st, "get of a task that died once");
        same(y, hash_of_fill(40000, in[0]), "task that died once");
    } else if (st != MOB_ERR_TASK_DIED) {
        ok(st, "get of a task that always dies");
        fail(WRONG, "a task that always dies", "has a result");
    } else {
        ok(mob_failure(mob, refs[0], text, sizeof text), "message of a task that died");
        /* In a cluster its attempts may also end with the node that ran them. */
        bool why = strstr(text, "signal 9") || strstr(text, "where it ran, was lost");
        if (!strstr(text, "the mortal one") || !why) {
            fail(WRONG, "message of a task that died", text);
        }
    }
    mob_release(mob, refs[0]);
    mob_release(mob, refs[1]);
}

static void one_round(struct actor *a)
{
    switch (dice(a, 20)) {
    case 0:
        round_of_deaths(a, 1);
        break;
    case 1:
    case 2:
        round_of_deaths(a, 0);
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
    return NULL;
}

/* What was freed meanwhile is let go of when a process comes to the library. */
static void settle(void)
{
    uint64_t x = 1, y;
    mob_ref ref;
    struct mob_info info = {.struct_size = sizeof info};
    ok(mob_submit(mob, value, MOB_ARGS(MOB_VALUE(x)), &patient, &ref), "value");
    ok(mob_get_copy(mob, ref, &y, sizeof y, WAIT_NS), "get a value");
    same(y, mix64(x), "value");
    mob_release(mob, ref);
    ok(mob_get_info(mob, &info), "info");
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
    folder = argv[2];
    if (!mob_is_worker()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a tester that fails leaves nothing behind */
    }
    struct mob_config config = {.struct_size = sizeof config,
                                .address = argc > 3 ? argv[3] : NULL,
                                .num_cpus = 3,
                                .store_bytes = 512ull << 20,
                                .no_log_forward = 1};
    ok(mob_init(&config, &mob), "init");
    struct actor actors[THREADS];
    uint64_t seed = strtoull(argv[1], NULL, 0);
    for (int i = 0; i < THREADS; i++) {
        actors[i].random = mix64(seed * THREADS + (uint64_t)i);
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
