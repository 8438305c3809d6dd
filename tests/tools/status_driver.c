/* status_driver.c - a driver whose job has tasks in every phase, for test_status.sh. Prints "ready", and goes on
 * when its standard input ends.
 *
 *   status_driver phases GO [WEIGHT]   five tasks that run until the file GO is there, and two that have the first as
 *                             argument
 *   status_driver large GO    one that asks for more CPUs than a node of the test has
 *   status_driver groups      of one CPU: a group that has it, in two bundles, a task in another that waits for it, and 40
 *                             more
 *   status_driver garbage     a board whose records are noise, written by this program itself
 *   status_driver shares FILE1 FILE3   two jobs, of weights 1 and 3, with many tasks of 20 ms, each of which adds a byte to
 *                             its job's file
 *   status_driver many N      N jobs without tasks, each of a child of this program */
#include <fcntl.h>
#include <mobula.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HOLDERS = 5, FOLLOWERS = 2, NOISE_BYTES = 1 << 20, SHARE_TASKS = 1000 };

static mob_status hold(struct mob_task *task)
{
    const void *path;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &path, &size));
    while (access(path, F_OK) != 0 && !mob_task_cancelled(task)) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return mob_return_copy(task, 0, "x", 1);
}
MOB_REGISTER(hold);

static mob_status follow(struct mob_task *task)
{
    return mob_return_copy(task, 0, "y", 1);
}
MOB_REGISTER(follow);

static void until_end(void)
{
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
}

static void phases(struct mob *mob, const char *go)
{
    mob_ref held[HOLDERS], after[FOLLOWERS];
    char got;
    for (int i = 0; i < HOLDERS; i++) {
        MOB_CHECK(mob_submit(mob, hold, MOB_ARGS(MOB_BYTES(go, strlen(go) + 1)), NULL,
                             &held[i]));
    }
    for (int i = 0; i < FOLLOWERS; i++) {
        MOB_CHECK(mob_submit(mob, follow, MOB_ARGS(MOB_REF(held[0])), NULL, &after[i]));
    }
    until_end();
    for (int i = 0; i < FOLLOWERS; i++) {
        MOB_CHECK(mob_get_copy(mob, after[i], &got, 1, MOB_FOREVER));
    }
    for (int i = 0; i < HOLDERS; i++) {
        MOB_CHECK(mob_get_copy(mob, held[i], &got, 1, MOB_FOREVER));
    }
}

static void large(struct mob *mob, const char *go)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    o.num_cpus = 64;
    MOB_CHECK(mob_submit(mob, hold, MOB_ARGS(MOB_BYTES(go, strlen(go) + 1)), &o, &ref));
    until_end();
}

static mob_group group_of(struct mob *mob, size_t count, double cpus)
{
    struct mob_bundle b[2] = {MOB_BUNDLE_INIT, MOB_BUNDLE_INIT};
    mob_group g;
    b[0].num_cpus = b[1].num_cpus = cpus;
    MOB_CHECK(mob_group_create(mob, b, count, MOB_GROUP_STRICT_PACK, &g));
    return g;
}

static void groups(struct mob *mob)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    (void)group_of(mob, 2, 0.5);
    for (int i = 0; i < 41; i++) {
        o.group = group_of(mob, 1, 1);
    }
    o.bundle = 0;
    MOB_CHECK(mob_submit(mob, follow, MOB_ARGS(MOB_VALUE(o.bundle)), &o, &ref));
    until_end();
}

/* Fills the end of what is committed of the board's records with noise. */
static void garbage(struct mob *mob)
{
    char line[512];
    unsigned long from, to, last_from = 0, last_to = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    (void)mob;
    while (maps && fgets(line, sizeof line, maps)) {
        if (strstr(line, "mobula-board") && strstr(line, " rw") &&
            sscanf(line, "%lx-%lx", &from, &to) == 2) {
            last_from = from;
            last_to = to;
        }
    }
    if (maps) {
        fclose(maps);
    }
    if (!last_from) {
        fputs("found no board\n", stderr);
        exit(4);
    }
    /* The records are the last part; the first of them are committed. Their offset: from the end. */
    const size_t records = (size_t)384 << 22;
    uint64_t *at = (uint64_t *)(last_to - records), x = 88172645463325252ull;
    for (size_t i = 64 * 48; i < NOISE_BYTES / sizeof *at; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        at[i] = x;
    }
    until_end();
}

static void many(int count)
{
    int begin[2], end[2];
    char c;
    if (pipe(begin) || pipe(end)) {
        exit(4);
    }
    for (int i = 0; i < count; i++) {
        if (fork() == 0) {
            struct mob *mob;
            close(begin[0]);
            close(end[1]);
            MOB_CHECK(mob_init(NULL, &mob));
            (void)!write(begin[1], "b", 1);
            (void)!read(end[0], &c, 1); /* until the parent goes */
            mob_shutdown(mob);
            _exit(0);
        }
    }
    close(end[0]);
    close(begin[1]); /* so that children that found no room end this */
    for (int i = 0; i < count; i++) {
        if (read(begin[0], &c, 1) != 1) {
            exit(4);
        }
    }
    until_end();
    close(end[1]);
    while (wait(NULL) > 0) {
    }
}

static mob_status add_byte(struct mob_task *task)
{
    const void *path;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &path, &size));
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1) {
        return mob_fail(task, "cannot write");
    }
    close(fd);
    return MOB_OK;
}
MOB_REGISTER(add_byte);

static struct mob *job_of(unsigned weight)
{
    struct mob *mob;
    struct mob_config c = {.struct_size = sizeof c, .weight = weight};
    MOB_CHECK(mob_init(&c, &mob));
    return mob;
}

static void shares(char **files)
{
    static const unsigned weights[] = {1, 3};
    struct mob *mob[2];
    mob_ref ref;
    for (int i = 0; i < 2; i++) {
        mob[i] = job_of(weights[i]);
    }
    for (int k = 0; k < SHARE_TASKS; k++) {
        for (int i = 0; i < 2; i++) {
            MOB_CHECK(mob_submit(mob[i], add_byte,
                                 MOB_ARGS(MOB_BYTES(files[i], strlen(files[i]) + 1)),
                                 NULL, &ref));
            mob_release(mob[i], ref);
        }
    }
    until_end();
    for (int i = 0; i < 2; i++) {
        mob_shutdown(mob[i]);
    }
}

int main(int argc, char **argv)
{
    struct mob *mob;
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "many") == 0 && argc > 2) {
        many(atoi(argv[2]));
        return 0;
    }
    if (strcmp(what, "shares") == 0 && argc > 3) {
        shares(argv + 2);
        return 0;
    }
    mob = job_of(argc > 3 ? (unsigned)atoi(argv[3]) : 0);
    if (strcmp(what, "phases") == 0 && argc > 2) {
        phases(mob, argv[2]);
    } else if (strcmp(what, "large") == 0 && argc > 2) {
        large(mob, argv[2]);
    } else if (strcmp(what, "groups") == 0) {
        groups(mob);
    } else if (strcmp(what, "garbage") == 0) {
        garbage(mob);
        _exit(0);
    }
    mob_shutdown(mob);
    return 0;
}
