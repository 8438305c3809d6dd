/* Far more is put, returned and held than the store has room for, and all of it comes back right. What goes wrong
 * with disks and processes meanwhile: test_api_spill_faults.c. */
#include <stdbool.h>

#include "spilling.h"

/* ---- tasks ---------------------------------------------------------------------------------------------- */

struct made {
    uint64_t seed, size;
};

/* Returns objects of the sizes and seeds that it is told. */
static mob_status make(struct mob_task *task)
{
    struct made m[MOB_RETURNS_MAX];
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    memcpy(m, data, size);
    for (size_t i = 0; i < size / sizeof m[0]; i++) {
        void *to;
        MOB_TRY(mob_return_place(task, i, m[i].size, &to));
        fill_words(to, m[i].size, m[i].seed);
    }
    return MOB_OK;
}
MOB_REGISTER(make);

/* Looks at its other arguments, which are what the first says; both at the beginning and at the end, since they
 * stay where they are. */
static mob_status look(struct mob_task *task)
{
    struct made m[MOB_ARGS_MAX];
    const void *data[MOB_ARGS_MAX];
    size_t size, count = mob_arg_count(task) - 1;
    MOB_TRY(mob_arg(task, 0, &data[0], &size));
    memcpy(m, data[0], size);
    for (size_t i = 0; i < count; i++) {
        MOB_TRY(mob_arg(task, i + 1, &data[i], &size));
        if (size != m[i].size || right_bytes(data[i], size, m[i].seed) != size) {
            return mob_fail(task, "argument %zu has other bytes", i);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (right_bytes(data[i], m[i].size, m[i].seed) != m[i].size) {
            return mob_fail(task, "argument %zu has changed", i);
        }
    }
    long n = (long)count;
    return mob_return_copy(task, 0, &n, sizeof n);
}
MOB_REGISTER(look);

/* Returns its argument, and something that it put. */
static mob_status pass_on(struct mob_task *task)
{
    struct made m;
    mob_ref ref, mine;
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, &m, sizeof m));
    MOB_TRY(mob_arg_copy(task, 1, &ref, sizeof ref));
    MOB_TRY(mob_return_ref(task, 0, ref));
    MOB_TRY(mob_create(mob_task_mob(task), m.size, 60 * SEC, &mine, &to));
    fill_words(to, m.size, m.seed);
    MOB_TRY(mob_seal(mob_task_mob(task), mine));
    return mob_return_ref(task, 1, mine);
}
MOB_REGISTER(pass_on);

/* Says in a file that it ran, and returns something large. */
static mob_status make_and_count(struct mob_task *task)
{
    struct made m;
    const void *path;
    void *to;
    size_t size;
    MOB_TRY(mob_arg_copy(task, 0, &m, sizeof m));
    MOB_TRY(mob_arg(task, 1, &path, &size));
    MOB_TRY(mob_return_place(task, 0, m.size, &to));
    fill_words(to, m.size, m.seed);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, "x", 1) == 1;
    close(fd);
    return ok ? MOB_OK : mob_fail(task, "counting: %m");
}
MOB_REGISTER(make_and_count);

/* ---- cases ------------------------------------------------------------------------------------------------ */

static const size_t sizes[] = {200,       3000,    70000,     MIB,
                               200,       9 * MIB, 500 * KIB, 40 * MIB,
                               100 * KIB, 5 * MIB, 17 * MIB,  64 * KIB};
/* What a thread may have in hand of released objects, until it releases more. */
#define LITTLE (2 * MIB)

enum { SIZES = sizeof sizes / sizeof sizes[0], THINGS = 5 * SIZES };

static void puts_come_back(void)
{
    struct mob *mob = spilling_init();
    static struct thing t[THINGS];
    uint64_t out = 0;
    for (unsigned i = 0; i < THINGS; i++) {
        put_thing(mob, &t[i], i, sizes[i % SIZES]);
        out += t[i].size;
    }
    CHECK(out > 5 * STORE);
    CHECK(disk_bytes(daemon_pid()) > out - 2 * STORE);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < THINGS; i++) {
            const struct thing *one = &t[round ? (i * 37 + 11) % THINGS : i];
            size_t size;
            OK(mob_get_size(mob, one->ref, 0, &size));
            EQ(size, one->size);
            if (i % 2) {
                view_thing(mob, one);
                continue;
            }
            void *copy = malloc(one->size);
            OK(mob_get_copy(mob, one->ref, copy, one->size, 60 * SEC));
            EQ(right_bytes(copy, one->size, one->seed), one->size);
            free(copy);
        }
    }
    for (unsigned i = 0; i < THINGS; i++) {
        mob_release(mob, t[i].ref);
    }
    EVENTUALLY(disk_bytes(daemon_pid()) < LITTLE);
    spilling_end(mob);
}

/* Several results a task, and tasks that take many of them. */
static void results_and_arguments(void)
{
    enum { TASKS = 60, EACH = 4 };
    struct mob *mob = spilling_init();
    static struct thing t[TASKS][EACH];
    struct mob_options options = MOB_OPTIONS_INIT;
    options.returns = EACH;
    for (unsigned i = 0; i < TASKS; i++) {
        struct made m[EACH];
        mob_ref ref[EACH];
        for (unsigned k = 0; k < EACH; k++) {
            static const size_t some[] = {3 * MIB, 300, 40000, 2 * MIB};
            m[k] = (struct made){i * EACH + k, some[k] + i};
        }
        OK(mob_submit(mob, make, MOB_ARGS(MOB_BYTES(&m, sizeof m)), &options, ref));
        for (unsigned k = 0; k < EACH; k++) {
            t[i][k] = (struct thing){ref[k], m[k].seed, m[k].size};
        }
    }
    for (unsigned i = 0; i < TASKS; i += 5) {
        view_thing(mob, &t[i][i % EACH]);
    }
    mob_ref looked[TASKS];
    for (unsigned i = 0; i < TASKS; i++) { /* each takes what four tasks made */
        struct made m[EACH];
        struct mob_arg args[EACH + 1];
        for (unsigned k = 0; k < EACH; k++) {
            const struct thing *one = &t[(i * 17 + k * 29) % TASKS][k];
            m[k] = (struct made){one->seed, one->size};
            args[k + 1] = MOB_REF(one->ref);
        }
        args[0] = MOB_BYTES(m, sizeof m);
        OK(mob_submit(mob, look, (struct mob_args){EACH + 1, args}, NULL, &looked[i]));
    }
    for (unsigned i = 0; i < TASKS; i++) {
        long n;
        OK(mob_get_copy(mob, looked[i], &n, sizeof n, 60 * SEC));
        EQ(n, EACH);
        mob_release(mob, looked[i]);
        for (unsigned k = 0; k < EACH; k++) {
            view_thing(mob, &t[i][k]);
            mob_release(mob, t[i][k].ref);
        }
    }
    EVENTUALLY(disk_bytes(daemon_pid()) < LITTLE);
    spilling_end(mob);
}

/* Results that are other objects. */
static void references(void)
{
    enum { COUNT = 40 };
    struct mob *mob = spilling_init();
    static struct thing t[COUNT], same[COUNT], more[COUNT];
    struct mob_options options = MOB_OPTIONS_INIT;
    options.returns = 2;
    for (unsigned i = 0; i < COUNT; i++) {
        put_thing(mob, &t[i], i, 3 * MIB + i);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        mob_ref ret[2];
        struct made m = {1000 + i, 2 * MIB + i};
        OK(mob_submit(
            mob, pass_on,
            MOB_ARGS(MOB_BYTES(&m, sizeof m), MOB_VALUE(t[i].ref), MOB_REF(t[i].ref)),
            &options, ret));
        same[i] = (struct thing){ret[0], t[i].seed, t[i].size};
        more[i] = (struct thing){ret[1], m.seed, m.size};
        mob_release(mob, t[i].ref);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        view_thing(mob, &same[i]);
        view_thing(mob, &more[i]);
        mob_release(mob, same[i].ref);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        view_thing(mob, &more[i]);
        mob_release(mob, more[i].ref);
    }
    EVENTUALLY(disk_bytes(daemon_pid()) < LITTLE);
    spilling_end(mob);
}

/* A driver that fills the store with its own objects, and then calls nothing for a long time: its memory is needed
 * by the tasks that it submitted. */
static void the_driver_is_busy_elsewhere(void)
{
    enum { PUTS = 13, TASKS = 40 };
    struct mob *mob = spilling_init();
    struct thing mine[PUTS], t[TASKS];
    struct stat st;
    char path[128];
    snprintf(path, sizeof path, "%s/made", getenv("API_SCRATCH"));
    unlink(path);
    for (unsigned i = 0; i < PUTS; i++) {
        put_thing(mob, &mine[i], 500 + i, 4 * MIB);
    }
    for (unsigned i = 0; i < TASKS; i++) {
        struct made m = {i, 4 * MIB};
        t[i] = (struct thing){.seed = i, .size = m.size};
        OK(mob_submit(
            mob, make_and_count,
            MOB_ARGS(MOB_BYTES(&m, sizeof m), MOB_BYTES(path, strlen(path) + 1)), NULL,
            &t[i].ref));
    }
    EVENTUALLY(stat(path, &st) == 0 && st.st_size == TASKS);
    for (unsigned i = 0; i < TASKS; i++) {
        view_thing(mob, &t[i]);
    }
    for (unsigned i = 0; i < PUTS; i++) {
        view_thing(mob, &mine[i]);
    }
    unlink(path);
    spilling_end(mob);
}

/* What is looked at does not move, however full the store becomes. */
static void held_views_stay(void)
{
    enum { HELD = 8, ROUNDS = 5, MORE = 30 };
    struct mob *mob = spilling_init();
    struct thing held[HELD], t[MORE];
    struct mob_view v[HELD];
    for (unsigned i = 0; i < HELD; i++) {
        put_thing(mob, &held[i], 900 + i, i % 2 ? 1000 * (i + 1) : 2 * MIB);
        OK(mob_get(mob, held[i].ref, 0, &v[i]));
    }
    mob_release(mob, held[0].ref); /* the view alone keeps it */
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < MORE; i++) {
            put_thing(mob, &t[i], round * MORE + i, 4 * MIB);
        }
        for (unsigned i = 0; i < HELD; i++) {
            check_view(&held[i], &v[i]);
        }
        for (unsigned i = 0; i < MORE; i++) {
            view_thing(mob, &t[i]);
            mob_release(mob, t[i].ref);
        }
    }
    for (unsigned i = 0; i < HELD; i++) {
        check_view(&held[i], &v[i]);
        mob_view_release(mob, &v[i]);
        if (i) {
            view_thing(mob, &held[i]);
        }
    }
    spilling_end(mob);
}

/* Small ones leave no holes in their files, which are compacted when most of what is in them was released. */
static void mostly_dead_files_go(void)
{
    enum { SMALL = 40000 };
    struct mob *mob = spilling_init();
    const unsigned count = 620 * MIB / SMALL;
    struct thing *t = calloc(count, sizeof *t);
    for (unsigned i = 0; i < count; i++) {
        put_thing(mob, &t[i], i, SMALL);
    }
    uint64_t before = disk_bytes(daemon_pid());
    CHECK(before > 500 * MIB);
    for (unsigned i = 0; i < count; i++) {
        if (i % 4) {
            mob_release(mob, t[i].ref);
        }
    }
    EVENTUALLY(disk_bytes(daemon_pid()) < before / 2);
    for (unsigned i = 0; i < count; i += 4) {
        view_thing(mob, &t[i]);
        mob_release(mob, t[i].ref);
    }
    EVENTUALLY(disk_bytes(daemon_pid()) < LITTLE);
    free(t);
    spilling_end(mob);
}

/* Times that the daemon was woken, or gave way. */
static long switches(pid_t pid)
{
    char path[64], line[256];
    long n = 0, one;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &one) == 1) {
            n += one;
        }
    }
    fclose(f);
    return n;
}

/* As long as there is room, the daemon has nothing to do for thousands of objects, and no file is begun. */
static void nothing_happens_while_there_is_room(void)
{
    enum { COUNT = 4000 };
    struct mob *mob = spilling_init();
    struct thing warm, t;
    pid_t daemon = daemon_pid();
    CHECK(daemon != 0);
    for (unsigned i = 0; i < 100; i++) {
        put_thing(mob, &warm, i, 4000);
        view_thing(mob, &warm);
        mob_release(mob, warm.ref);
    }
    long before = switches(daemon);
    uint64_t began = api_now_ns();
    for (unsigned i = 0; i < COUNT; i++) {
        put_thing(mob, &t, i, 4000);
        view_thing(mob, &t);
        mob_release(mob, t.ref);
    }
    long seconds = (long)((api_now_ns() - began) / SEC) + 1;
    long woken = switches(daemon) - before;
    printf("the daemon was woken %ld times for %d objects\n", woken, COUNT);
    CHECK(woken < 20 * seconds + 20);
    EQ(disk_bytes(daemon), 0);
    spilling_end(mob);
}

/* ---- main --------------------------------------------------------------------------------------------------- */

API_MAIN({"puts_come_back", puts_come_back, 120},
         {"results_and_arguments", results_and_arguments, 120},
         {"references", references, 120}, {"held_views_stay", held_views_stay, 120},
         {"the_driver_is_busy_elsewhere", the_driver_is_busy_elsewhere, 120},
         {"mostly_dead_files_go", mostly_dead_files_go, 120},
         {"nothing_happens_while_there_is_room", nothing_happens_while_there_is_room,
          60});
