/* Objects on disk when something goes wrong: memory that is pinned, folders that are gone, bytes that changed on the
 * disk, processes that are killed. */
#include <pthread.h>

#include "spilling.h"

/* ---- memory that is pinned ------------------------------------------------------------------------------ */

enum { JAM = 30, JAM_BYTES = 4 << 20 };

struct jam {
    struct thing t[JAM];
    struct mob_view v[JAM];
    unsigned held;
};

/* Puts more than fits, and looks at so much of it that the next has no room. */
static void jam(struct mob *mob, struct jam *j)
{
    mob_status st = MOB_OK;
    for (unsigned i = 0; i < JAM; i++) {
        put_thing(mob, &j->t[i], i, JAM_BYTES + i);
    }
    for (j->held = 0; j->held < JAM; j->held++) {
        uint64_t began = api_now_ns();
        st = mob_get(mob, j->t[j->held].ref, 300 * MS, &j->v[j->held]);
        if (st) {
            CHECK(api_now_ns() - began >= 300 * MS);
            break;
        }
    }
    IS(st, MOB_ERR_TIMEOUT);
    HAS(mob_last_error(), "on disk");
    CHECK(j->held > 5 && j->held <= STORE / JAM_BYTES);
}

static void unjam(struct mob *mob, struct jam *j)
{
    for (unsigned i = 0; i < j->held; i++) {
        check_view(&j->t[i], &j->v[i]);
        mob_view_release(mob, &j->v[i]);
    }
    for (unsigned i = 0; i < JAM; i++) {
        if (j->t[i].size) {
            view_thing(mob, &j->t[i]);
        }
    }
}

static void time_limits_are_kept(void)
{
    struct mob *mob = spilling_init();
    static struct jam j;
    mob_ref ref;
    void *to;
    long x = 5, y;
    jam(mob, &j);
    struct mob_view v;
    IS(mob_get(mob, j.t[JAM - 1].ref, 0, &v), MOB_ERR_TIMEOUT);
    IS(mob_get(mob, j.t[JAM - 1].ref, 50 * MS, &v), MOB_ERR_TIMEOUT);
    char *copy = malloc(j.t[JAM - 2].size);
    IS(mob_get_copy(mob, j.t[JAM - 2].ref, copy, j.t[JAM - 2].size, 50 * MS),
       MOB_ERR_TIMEOUT);
    free(copy);
    IS(mob_create(mob, 8 * MIB, 200 * MS, &ref, &to), MOB_ERR_NOMEM);
    HAS(mob_last_error(), "full");
    OK(mob_put(mob, &x, sizeof x, 0, &ref)); /* small things go on */
    OK(mob_get_copy(mob, ref, &y, sizeof y, 0));
    EQ(y, 5);
    unjam(mob, &j);
    spilling_end(mob);
}

/* ---- sealed late, and then on disk ---------------------------------------------------------------------- */

enum { LATE_MS = 1500, LIMIT_MS = 2000, LATEST_MS = 3000 };

/* Returns, after a while, another object. */
static mob_status late(struct mob_task *task)
{
    mob_ref ref;
    struct timespec nap = {LATE_MS / 1000, LATE_MS % 1000 * (long)MS};
    MOB_TRY(mob_arg_copy(task, 0, &ref, sizeof ref));
    nanosleep(&nap, NULL);
    return mob_return_ref(task, 0, ref);
}
MOB_REGISTER(late);

struct limited {
    struct mob *mob;
    mob_ref ref;
    char *copy; /* or NULL: it views */
    size_t size;
    mob_status st;
    uint64_t ns;
};

static void *get_limited(void *arg)
{
    struct limited *l = arg;
    struct mob_view v;
    uint64_t began = api_now_ns();
    l->st = l->copy ? mob_get_copy(l->mob, l->ref, l->copy, l->size, LIMIT_MS * MS)
                    : mob_get(l->mob, l->ref, LIMIT_MS * MS, &v);
    l->ns = api_now_ns() - began;
    return NULL;
}

/* The task's seal and the way from the disk share one limit. */
static void a_limit_is_for_all_of_a_get(void)
{
    struct mob *mob = spilling_init();
    static struct jam j;
    const struct thing *stuck = &j.t[JAM - 1];
    mob_ref ref;
    jam(mob, &j);
    OK(mob_submit(mob, late, MOB_ARGS(MOB_VALUE(stuck->ref)), NULL, &ref));
    struct limited l[2] = {{.mob = mob, .ref = ref, .size = stuck->size},
                           {.mob = mob, .ref = ref, .size = stuck->size}};
    l[1].copy = malloc(stuck->size);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, get_limited, &l[i]) == 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        IS(l[i].st, MOB_ERR_TIMEOUT);
        CHECK(l[i].ns >= LIMIT_MS * MS && l[i].ns < LATEST_MS * MS);
    }
    free(l[1].copy);
    unjam(mob, &j);
    mob_release(mob, ref);
    spilling_end(mob);
}

/* ---- an object that is released while somebody waits for its bytes -------------------------------------- */

struct getter {
    struct mob *mob;
    struct thing *t;
    mob_status st;
    struct mob_view v;
    pid_t tid;
    int done;
};

static void *get_forever(void *arg)
{
    struct getter *g = arg;
    __atomic_store_n(&g->tid, gettid(), __ATOMIC_RELEASE);
    g->st = mob_get(g->mob, g->t->ref, MOB_FOREVER, &g->v);
    __atomic_store_n(&g->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static int thread_sleeps(const struct getter *g)
{
    char path[64], state = 0;
    pid_t tid = __atomic_load_n(&g->tid, __ATOMIC_ACQUIRE);
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    FILE *f = tid ? fopen(path, "r") : NULL;
    if (f) {
        if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1) {
            state = 0;
        }
        fclose(f);
    }
    return state == 'S';
}

/* The daemon is stopped meanwhile, so that it hears of the wish after the release. */
static void released_while_somebody_waits(void)
{
    enum { COUNT = 30 };
    struct mob *mob = spilling_init();
    static struct thing t[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        put_thing(mob, &t[i], i, JAM_BYTES);
    }
    struct getter g = {.mob = mob, .t = &t[0]};
    pid_t daemon = daemon_pid();
    pthread_t thread;
    kill(daemon, SIGSTOP);
    CHECK(pthread_create(&thread, NULL, get_forever, &g) == 0);
    EVENTUALLY(thread_sleeps(&g));
    mob_release(mob, t[0].ref);
    kill(daemon, SIGCONT);
    EVENTUALLY(__atomic_load_n(&g.done, __ATOMIC_ACQUIRE));
    pthread_join(thread, NULL);
    if (g.st == MOB_OK) {
        check_view(&t[0], &g.v);
        mob_view_release(mob, &g.v);
    } else {
        EQ(g.st, MOB_ERR_RELEASED);
    }
    for (unsigned i = 1; i < COUNT; i++) {
        view_thing(mob, &t[i]);
    }
    spilling_end(mob);
}

/* ---- folders ---------------------------------------------------------------------------------------------- */

/* Without a place on disk the store is full when memory is, and says so; what is there stays usable. */
static void fill_without_disk(struct mob *mob, const char *says)
{
    static struct thing t[64];
    unsigned n = 0;
    mob_status st = MOB_OK;
    void *to;
    for (; n < 64; n++) {
        t[n] = (struct thing){.seed = n, .size = 3 * MIB};
        st = mob_create(mob, t[n].size, 500 * MS, &t[n].ref, &to);
        if (st) {
            break;
        }
        fill_words(to, t[n].size, n);
        OK(mob_seal(mob, t[n].ref));
    }
    IS(st, MOB_ERR_NOMEM);
    HAS(mob_last_error(), says);
    CHECK(n > 8);
    for (unsigned i = 0; i < n; i++) {
        view_thing(mob, &t[i]);
    }
    mob_release(mob, t[0].ref);
    mob_release(mob, t[1].ref);
    put_thing(mob, &t[0], 77, 3 * MIB); /* room again */
    view_thing(mob, &t[0]);
}

static void the_folder_vanished(void)
{
    struct mob *mob = spilling_init();
    CHECK(rmdir(spill_dir) == 0);
    fill_without_disk(mob, "left of its limit");
    mob_shutdown(mob);
}

static void without_a_folder_the_store_fills_up(void)
{
    setenv("MOBULA_SPILL_DIR", "none", 1);
    struct mob *mob = api_init_with(2, STORE);
    fill_without_disk(mob, "left of its limit");
    mob_shutdown(mob);
}

/* ---- bytes that changed on the disk -------------------------------------------------------------------------- */

/* Flips a bit of the object whose beginning @arg points to; true if it is in this file. */
static int flip_in(const char *path, void *arg)
{
    enum { PIECE = 1 << 20 };
    static char bytes[PIECE + 64];
    const uint64_t *words = arg;
    int fd = open(path, O_RDWR | O_CLOEXEC), found = 0;
    CHECK(fd >= 0);
    for (off_t at = 0; !found; at += PIECE) {
        ssize_t n = pread(fd, bytes, sizeof bytes, at);
        if (n <= 0) {
            break;
        }
        char *hit = memmem(bytes, (size_t)n, words, 32);
        if (hit) {
            off_t where = at + (hit - bytes) + 10000;
            char c;
            CHECK(pread(fd, &c, 1, where) == 1);
            c ^= 4;
            CHECK(pwrite(fd, &c, 1, where) == 1);
            CHECK(fsync(fd) == 0);
            found = 1;
        }
    }
    close(fd);
    return found;
}

static mob_status length(struct mob_task *task)
{
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    return mob_return_copy(task, 0, &size, sizeof size);
}
MOB_REGISTER(length);

static void _flips(void)
{
    enum { COUNT = 40 };
    struct mob *mob = spilling_init();
    static struct thing t[COUNT];
    uint64_t words[4];
    struct mob_view v;
    mob_ref ref;
    size_t size;
    for (unsigned i = 0; i < COUNT; i++) {
        put_thing(mob, &t[i], i, 3 * MIB);
    }
    fill_words(words, sizeof words, t[3].seed);
    CHECK(each_file(daemon_pid(), flip_in, words));
    IS(mob_get(mob, t[3].ref, 60 * SEC, &v), MOB_ERR_LOST);
    HAS(mob_last_error(), "could not be read back");
    OK(mob_submit(mob, length, MOB_ARGS(MOB_REF(t[3].ref)), NULL, &ref));
    mob_status st = mob_get_copy(mob, ref, &size, sizeof size, 60 * SEC);
    printf("its task: %s\n%s\n", mob_status_name(st), mob_last_error());
    CHECK(st != MOB_OK && st != MOB_ERR_TIMEOUT);
    for (unsigned i = 0; i < COUNT; i++) {
        if (i != 3) {
            view_thing(mob, &t[i]);
        }
        mob_release(mob, t[i].ref);
    }
    mob_release(mob, ref);
    EVENTUALLY(disk_bytes(daemon_pid()) < 2 * MIB);
    spilling_end(mob);
    printf("done\n");
}

static void a_flipped_byte_loses_one_object(void)
{
    struct api_result r = api_self("_flips", 60);
    printf("%s\n", r.out);
    EQ(api_exit_code(&r), 0);
    HAS(r.out, "is lost");
    HAS(r.out, "checksum");
    HAS(r.out, "done");
    free(r.out);
}

/* ---- kills ----------------------------------------------------------------------------------------------------- */

/* Makes a new object out of two, which are checked; each attempt may be killed. */
static mob_status mix(struct mob_task *task)
{
    uint64_t seed[3];
    const void *data[2];
    size_t size;
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, seed, sizeof seed));
    for (unsigned i = 0; i < 2; i++) {
        MOB_TRY(mob_arg(task, i + 1, &data[i], &size));
        if (right_bytes(data[i], size, seed[i]) != size) {
            return mob_fail(task, "argument %u is wrong at %zu of %zu", i,
                            right_bytes(data[i], size, seed[i]), size);
        }
    }
    mob_ref mine; /* garbage, if it is killed now */
    MOB_TRY(mob_create(mob_task_mob(task), MIB, 60 * SEC, &mine, &to));
    memset(to, 1, MIB);
    MOB_TRY(mob_seal(mob_task_mob(task), mine));
    MOB_TRY(mob_return_place(task, 0, size, &to));
    fill_words(to, size, seed[2]);
    return MOB_OK;
}
MOB_REGISTER(mix);

static unsigned kill_a_worker(pid_t daemon)
{
    char path[64], line[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)daemon, (int)daemon);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : 0;
    close(fd);
    if (n <= 0) {
        return 0;
    }
    char *end, *at = line + rand() % n;
    while (at > line && at[-1] != ' ') {
        at--;
    }
    pid_t pid = (pid_t)strtol(at, &end, 10);
    return pid > 0 && kill(pid, SIGKILL) == 0;
}

static void workers_are_killed(void)
{
    enum { WIDTH = 24, ROUNDS = 8 };
    struct mob *mob = spilling_init();
    static struct thing t[ROUNDS + 1][WIDTH];
    struct mob_options options = MOB_OPTIONS_INIT;
    options.max_retries = 250;
    uint64_t used = api_info(mob).store_used_bytes;
    unsigned killed = 0;
    for (unsigned i = 0; i < WIDTH; i++) {
        put_thing(mob, &t[0][i], i, 2 * MIB + 1000);
    }
    for (unsigned k = 1; k <= ROUNDS; k++) {
        for (unsigned i = 0; i < WIDTH; i++) {
            const struct thing *a = &t[k - 1][i], *b = &t[k - 1][(i * 7 + k) % WIDTH];
            t[k][i] = (struct thing){.seed = k * WIDTH + i, .size = 2 * MIB + 1000};
            uint64_t seed[3] = {a->seed, b->seed, t[k][i].seed};
            OK(mob_submit(
                mob, mix,
                MOB_ARGS(MOB_BYTES(seed, sizeof seed), MOB_REF(a->ref), MOB_REF(b->ref)),
                &options, &t[k][i].ref));
        }
    }
    for (unsigned k = 1; k <= ROUNDS; k++) {
        for (unsigned i = 0; i < WIDTH; i++) {
            struct mob_view v;
            mob_status st;
            /* One a result at most: workers that do not even start end the job. */
            st = mob_get(mob, t[k][i].ref, 40 * MS, &v);
            if (st == MOB_ERR_TIMEOUT) {
                killed += kill_a_worker(daemon_pid());
                st = mob_get(mob, t[k][i].ref, 60 * SEC, &v);
            }
            OK(st);
            check_view(&t[k][i], &v);
            mob_view_release(mob, &v);
        }
    }
    printf("%u workers were killed\n", killed);
    CHECK(killed > 0);
    for (unsigned k = 0; k <= ROUNDS; k++) {
        for (unsigned i = 0; i < WIDTH; i++) {
            view_thing(mob, &t[k][i]);
            mob_release(mob, t[k][i].ref);
        }
    }
    EVENTUALLY(disk_bytes(daemon_pid()) < 2 * MIB);
    /* Nothing but what processes keep at hand. */
    uint64_t now = api_info(mob).store_used_bytes;
    printf("%llu bytes were used, and are %llu\n", (unsigned long long)used,
           (unsigned long long)now);
    static struct thing big;
    put_thing(mob, &big, 5, 40 * MIB);
    view_thing(mob, &big);
    spilling_end(mob);
}

/* ---- main --------------------------------------------------------------------------------------------------------- */

API_MAIN({"time_limits_are_kept", time_limits_are_kept, 60},
         {"a_limit_is_for_all_of_a_get", a_limit_is_for_all_of_a_get, 60},
         {"released_while_somebody_waits", released_while_somebody_waits, 60},
         {"the_folder_vanished", the_folder_vanished, 60},
         {"without_a_folder_the_store_fills_up", without_a_folder_the_store_fills_up, 60},
         {"_flips", _flips, 60},
         {"a_flipped_byte_loses_one_object", a_flipped_byte_loses_one_object, 90},
         {"workers_are_killed", workers_are_killed, 200});
