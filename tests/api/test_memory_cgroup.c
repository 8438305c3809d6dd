/* In a memory cgroup of 256 MB the store fills up and says so: nobody is killed.
 *
 * The driver enters a cgroup of its own (version 1 or 2) before it starts its node, so that node and
 * workers are in it too. Skipped where none can be made, or where there is no disk to spill to. */
#include <sys/statfs.h>

#include "api.h"

#define LIMIT_TEXT "268435456"
#define MIB (1ull << 20)

static char group[256];
static int version;

static int put(const char *name, const char *text)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", group, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int rc = fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ? -1 : 0;
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

/* The cgroup's count of kills, -1 if it has none. */
static long kills(void)
{
    char path[400], line[256];
    long n = -1;
    snprintf(path, sizeof path, "%s/%s", group,
             version == 1 ? "memory.oom_control" : "memory.events");
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        (void)sscanf(line, "oom_kill %ld", &n);
    }
    if (f) {
        fclose(f);
    }
    return n;
}

/* This process's own cgroup of a hierarchy, below where it is mounted. */
static int own_group(const char *controller, const char *mount, int as_version)
{
    char line[512];
    FILE *f = fopen("/proc/self/cgroup", "r");
    int found = 0;
    while (f && !found && fgets(line, sizeof line, f)) {
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        line[strcspn(line, "\n")] = '\0';
        if (!second) {
            continue;
        }
        *second = '\0';
        if (strcmp(first + 1, controller) == 0) {
            const char *own = second + 1;
            snprintf(group, sizeof group, "%s%s/mobula-api-%d", mount, own,
                     (int)getpid());
            found = mkdir(group, 0755) == 0;
            if (!found) { /* the path may be seen from outside of a container */
                snprintf(group, sizeof group, "%s/mobula-api-%d", mount, (int)getpid());
                found = mkdir(group, 0755) == 0;
            }
        }
    }
    if (f) {
        fclose(f);
    }
    version = as_version;
    return found &&
           put(as_version == 1 ? "memory.limit_in_bytes" : "memory.max", LIMIT_TEXT) == 0;
}

static mob_status block(struct mob_task *task)
{
    size_t size;
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, &size, sizeof size));
    MOB_TRY(mob_return_place(task, 0, size, &to));
    memset(to, 5, size);
    return MOB_OK;
}
MOB_REGISTER(block);

enum { STEP = 4 << 20, MANY = 64 };

static size_t fill(struct mob *mob, mob_ref *ref)
{
    static char data[STEP];
    size_t n = 0;
    mob_status st;
    memset(data, 3, sizeof data);
    while ((st = mob_put(mob, data, sizeof data, 50 * MS, &ref[n])) == MOB_OK) {
        CHECK(++n < MANY);
    }
    IS(st, MOB_ERR_NOMEM);
    return n;
}

/* Puts until it is full, with time limits of 0 and more; then releases, and all works again. */
static void filler(void)
{
    setenv("MOBULA_SPILL_DIR", "none", 1);
    struct mob *mob =
        api_init_with(2, 1024 * MIB); /* the cgroup is the limit, not the store's */
    mob_ref ref[MANY], task;
    size_t got[3], size = STEP;
    for (int round = 0; round < 3; round++) {
        got[round] = fill(mob, ref);
        fprintf(stderr, "round %d: %zu MiB, then: %s\n", round, got[round] * 4,
                mob_last_error());
        CHECK(got[round] * STEP > 96 * MIB);
        CHECK(round == 0 || got[round] + 6 >= got[0]); /* it came back */
        void *p;
        mob_ref more;
        uint64_t begin = api_now_ns();
        IS(mob_create(mob, size, 0, &more, &p), MOB_ERR_NOMEM);
        IS(mob_create(mob, size, 200 * MS, &more, &p), MOB_ERR_NOMEM);
        CHECK(api_now_ns() - begin >= 200 * MS);
        for (size_t i = 0; i < got[round]; i++) {
            struct mob_view view;
            OK(mob_get(mob, ref[i], 0, &view));
            EQ(((const char *)view.data)[STEP - 1], 3);
            mob_view_release(mob, &view);
        }
        /* A task that waits for room gets it as others release. */
        OK(mob_submit(mob, block, MOB_ARGS(MOB_VALUE(size)), NULL, &task));
        size_t have;
        mob_status st = mob_get_size(mob, task, 300 * MS, &have);
        CHECK(st == MOB_OK || st == MOB_ERR_TIMEOUT);
        for (size_t i = 0; i < got[round]; i++) {
            mob_release(mob, ref[i]);
        }
        OK(mob_get_size(mob, task, 20 * SEC, &have));
        EQ(have, STEP);
        mob_release(mob, task);
    }
    EQ(kills(), 0);
    /* Results fill it as well: the tasks fail with MOB_ERR_NOMEM, no worker dies. */
    int failed = 0;
    for (size_t i = 0; i < MANY; i++) {
        struct mob_options o = MOB_OPTIONS_INIT;
        o.max_retries = 0;
        size = 8 << 20;
        OK(mob_submit(mob, block, MOB_ARGS(MOB_VALUE(size)), &o, &ref[i]));
    }
    for (size_t i = 0; i < MANY && !failed; i++) {
        size_t have;
        mob_status st = mob_get_size(mob, ref[i], 60 * SEC, &have);
        CHECK(st == MOB_OK || st == MOB_ERR_TASK_FAILED);
        if (st) {
            HAS(mob_last_error(), "MOB_ERR_NOMEM");
            failed = 1;
        }
    }
    EQ(failed, 1);
    for (size_t i = 0; i < MANY; i++) {
        OK(mob_cancel(mob, ref[i]));
        mob_release(mob, ref[i]);
    }
    EQ(kills(), 0);
    mob_shutdown(mob);
    EQ(kills(), 0);
}

/* Twice as much as the group may have goes to disk, comes back, and nobody is killed. */
static void spiller(void)
{
    unsetenv("MOBULA_SPILL_DIR");
    struct mob *mob = api_init_with(2, 1024 * MIB);
    static char data[STEP];
    mob_ref ref[2 * MANY];
    for (int i = 0; i < 2 * MANY; i++) {
        memset(data, i, sizeof data);
        OK(mob_put(mob, data, sizeof data, 60 * SEC, &ref[i]));
    }
    for (int i = 0; i < 2 * MANY; i++) {
        struct mob_view view;
        OK(mob_get(mob, ref[i], 60 * SEC, &view));
        EQ(((const unsigned char *)view.data)[0], i);
        EQ(((const unsigned char *)view.data)[STEP - 1], i);
        mob_view_release(mob, &view);
        mob_release(mob, ref[i]);
    }
    EQ(kills(), 0);
    mob_shutdown(mob);
    EQ(kills(), 0);
}

/* Runs @driver in a memory cgroup of its own. */
static void in_group(void (*driver)(void))
{
    if (mob_is_worker()) {
        driver();
    }
    if (!own_group("memory", "/sys/fs/cgroup/memory", 1) &&
        !own_group("", "/sys/fs/cgroup", 2)) {
        fprintf(stderr, "skipped: no memory cgroup can be made: %s\n", strerror(errno));
        rmdir(group);
        exit(API_SKIP);
    }
    char text[32];
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(text, sizeof text, "%d", (int)getpid());
        CHECK(put("cgroup.procs", text) == 0);
        driver();
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    EVENTUALLY(rmdir(group) == 0 || errno != EBUSY);
    EQ(status, 0);
}

static void fills_and_says_so(void)
{
    in_group(filler);
}

static void fills_and_spills(void)
{
    struct statfs fs;
    if (statfs("/var/tmp", &fs) < 0 || fs.f_type == 0x01021994) {
        fprintf(stderr, "skipped: /var/tmp, where nodes spill to, is no disk\n");
        exit(API_SKIP);
    }
    in_group(spiller);
}

API_MAIN({"fills_and_says_so", fills_and_says_so, 120},
         {"fills_and_spills", fills_and_spills, 120});
