/* crash.c - kills workers, drivers and daemons at random moments, and looks at what is left.
 *
 *   crash LOAD MOBULAD
 *
 * Two drivers work on a node that was started by hand, and one on an embedded node. After each kill:
 *   worker   all drivers go on, and their results are right (they check them);
 *   driver   within a second its workers and its memory are gone; the other driver goes on;
 *   daemon   its drivers end with MOB_ERR_NODE_LOST, and no process of the node is left.
 * Now and then the drivers come to rest and every structure of their boards is checked: nothing may
 * be left of what the dead have done.
 *
 * MOB_TEST_FULL=1: 1,000 kills instead of 100. MOB_TEST_SEED: as printed. Which instruction a kill
 * hits is up to the machine. */
#include <stdarg.h>

#include "procs.h"
#include "store/check.h"

enum {
    KILLS = 100,
    KILLS_FULL = 1000,
    PROGRESS_MS = 60000, /* for one round of work; far more than it takes */
    GONE_MS = 1000,      /* what is promised for what a killed driver leaves */
    LOST_MS = 5000,
    SETTLE_MS = 10000,
    EXIT_LOST = 40
};

enum victim { WORKER, DRIVER, DAEMON_ITSELF, VICTIMS };

struct node { /* by hand: two drivers; embedded: one, whose child the daemon is */
    bool embedded;
    char dir[128];
    pid_t daemon;
    struct kid hand;
    struct kid drivers[2];
    int drivers_count;
    uint64_t baseline; /* bytes used with no job */
};

static char folder[] = "/tmp/mob-crash-XXXXXX";
static const char *load_path, *daemon_path;
static uint64_t seed, random_state;
static unsigned kills, killed[VICTIMS];

static uint64_t dice(uint64_t sides)
{
    random_state += 0x9e3779b97f4a7c15ull;
    uint64_t x = random_state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) % sides;
}

static void __attribute__((noreturn, format(printf, 1, 2)))
broken(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "crash: seed %llu, after %u kills: ", (unsigned long long)seed,
            kills);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    const char *hold = getenv("MOB_TEST_HOLD"); /* so that a debugger can look */
    if (hold) {
        nap_ms(strtoull(hold, NULL, 0) * 1000);
    }
    exit(1); /* all others end with this process */
}

/* ---- the drivers ------------------------------------------------------------------------------ */

static struct kid start_driver(const struct node *n)
{
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)dice(1u << 30));
    char *argv[] = {(char *)load_path, number, folder,
                    n->embedded ? NULL : (char *)n->dir, NULL};
    struct kid k = kid_start(argv);
    if (k.pid < 0) {
        broken("starting a driver: %s", strerror(errno));
    }
    return k;
}

static void check_running(const struct kid *k)
{
    int status;
    if (waitpid(k->pid, &status, WNOHANG) != 0) {
        broken("a driver ended that should not: status %#x", (unsigned)status);
    }
}

/* Waits until a driver has written @c, after all that it wrote before. */
static void await(const struct kid *k, char c, uint64_t limit_ms)
{
    uint64_t until = clock_now_ns() + limit_ms * NS_PER_MS;
    char got;
    for (;;) {
        ssize_t n = read(k->out, &got, 1);
        if (n == 1 && got == c) {
            return;
        }
        if (n == 1) {
            continue;
        }
        check_running(k);
        if (clock_now_ns() > until) {
            broken("driver %d did not come to '%c' in time", (int)k->pid, c);
        }
        nap_ms(1);
    }
}

static void forget_rounds(const struct kid *k)
{
    char buf[256];
    while (read(k->out, buf, sizeof buf) > 0) {
    }
}

static void await_progress(const struct node *n)
{
    for (int i = 0; i < n->drivers_count; i++) {
        forget_rounds(&n->drivers[i]);
        await(&n->drivers[i], 'r', PROGRESS_MS);
        await(&n->drivers[i], 'r', PROGRESS_MS);
    }
}

/* ---- nodes --------------------------------------------------------------------------------------- */

static void await_gone(pid_t pid, const char *what, uint64_t limit_ms)
{
    uint64_t until = clock_now_ns() + limit_ms * NS_PER_MS;
    while (proc_alive(pid)) {
        if (clock_now_ns() > until) {
            broken("%s %d is still there", what, (int)pid);
        }
        nap_ms(2);
    }
}

static uint64_t used_bytes(const struct node *n, size_t *ret_jobs)
{
    json_t *status = node_status(n->dir);
    if (!status) {
        broken("the node does not answer; its daemon %d is %s", (int)n->daemon,
               proc_alive(n->daemon) ? "alive" : "dead");
    }
    uint64_t used = status_number(status, "store_used_bytes");
    *ret_jobs = json_array_size(json_object_get(status, "jobs"));
    json_decref(status);
    return used;
}

static void node_up(struct node *n)
{
    size_t jobs;
    if (!n->embedded) { /* where the last one was killed, too: what that left is no hindrance */
        char arg[160];
        snprintf(n->dir, sizeof n->dir, "%s/node", folder);
        snprintf(arg, sizeof arg, "--node-dir=%s", n->dir);
        char *argv[] = {(char *)daemon_path, arg, (char *)"--num-cpus=3",
                        (char *)"--object-store-memory=512M", NULL};
        n->hand = kid_start(argv);
        n->daemon = n->hand.pid;
        json_t *status;
        for (int i = 0; !(status = node_status(n->dir)); i++) {
            if (i > 5000) {
                broken("the node does not start");
            }
            nap_ms(2);
        }
        json_decref(status);
        n->baseline = used_bytes(n, &jobs);
    }
    n->drivers_count = n->embedded ? 1 : 2;
    for (int i = 0; i < n->drivers_count; i++) {
        n->drivers[i] = start_driver(n);
    }
    await_progress(n);
    if (n->embedded) {
        pid_t kids[KIDS_MAX];
        if (proc_kids(n->drivers[0].pid, kids) != 1) {
            broken("an embedded node has no daemon");
        }
        n->daemon = kids[0];
    }
}

/* All that belongs to the node is gone: processes, its folder. */
static void node_gone(struct node *n, const pid_t *workers, size_t count)
{
    await_gone(n->daemon, "daemon", LOST_MS);
    for (size_t i = 0; i < count; i++) {
        await_gone(workers[i], "worker", GONE_MS);
    }
    if (!n->embedded) {
        kid_close(&n->hand);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) { /* workers whose daemon is dead are ours */
    }
}

/* ---- at rest ---------------------------------------------------------------------------------------- */

static mob_status check_boards(const struct node *n, struct check_result *sum)
{
    char path[320], link[256];
    *sum = (struct check_result){0};
    snprintf(path, sizeof path, "/proc/%d/fd", (int)n->daemon);
    DIR *dir = opendir(path);
    struct dirent *e;
    mob_status st = MOB_OK;
    int boards = 0;
    while (dir && (e = readdir(dir)) && !st) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)n->daemon, e->d_name);
        ssize_t len = readlink(path, link, sizeof link - 1);
        if (len < 0 || strncmp(link, "/memfd:mobula-board", 19) != 0) {
            continue;
        }
        struct board b;
        struct check_result one;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        st = board_map(fd, &b);
        if (!st) {
            st = board_check(&b, &one);
            board_unmap(&b);
        }
        close(fd);
        if (!st) {
            boards++;
            sum->pins += one.pins;
            sum->orphans += one.orphans;
            for (int p = 0; p <= PHASE_RETIRED; p++) {
                sum->phases[p] += one.phases[p];
            }
        }
    }
    if (dir) {
        closedir(dir);
    }
    return !st && boards != n->drivers_count
               ? status_fail(MOB_ERR_LOST, "%d boards of %d", boards, n->drivers_count)
               : st;
}

/* Everything that was in use is free again. */
static mob_status at_rest(const struct node *n)
{
    struct check_result r;
    MOB_TRY(check_boards(n, &r));
    for (int p = PHASE_CREATING; p <= PHASE_CLOSED; p++) {
        if (r.phases[p]) {
            return status_fail(MOB_ERR_STATE, "%u records are in phase %d", r.phases[p],
                               p);
        }
    }
    if (r.pins || r.orphans) {
        return status_fail(MOB_ERR_STATE, "%u pins, %u segments of dead processes",
                           r.pins, r.orphans);
    }
    return MOB_OK;
}

static void check_rest(struct node *n)
{
    uint64_t until = clock_now_ns() + SETTLE_MS * NS_PER_MS;
    mob_status st;
    do { /* workers come to rest by and by, and let go of memory when they wake */
        for (int i = 0; i < n->drivers_count; i++) {
            if (write(n->drivers[i].in, "q", 1) != 1) {
                broken("a driver is gone");
            }
        }
        for (int i = 0; i < n->drivers_count; i++) {
            await(&n->drivers[i], 'q', PROGRESS_MS);
        }
        st = at_rest(n);
        if (st) {
            nap_ms(100);
        }
    } while (st && clock_now_ns() < until);
    if (st) {
        broken("at rest on %s node: %s", n->embedded ? "an embedded" : "the",
               mob_last_error());
    }
    for (int i = 0; i < n->drivers_count; i++) {
        if (write(n->drivers[i].in, "g", 1) != 1) {
            broken("a driver is gone");
        }
    }
}

/* ---- kills ------------------------------------------------------------------------------------------ */

static void kill_it(pid_t pid)
{
    kills++;
    if (kill(pid, SIGKILL) < 0 && errno != ESRCH) {
        broken("kill: %s", strerror(errno));
    }
}

static void kill_worker(struct node *n)
{
    pid_t workers[KIDS_MAX];
    size_t count = proc_kids(n->daemon, workers);
    if (count) {
        kill_it(workers[dice(count)]);
        killed[WORKER]++;
    }
    await_progress(n);
}

/* Reaps a killed driver and starts another one. */
static void replace_driver(struct node *n, int i)
{
    int status;
    if (!kid_wait(&n->drivers[i], LOST_MS, &status)) {
        broken("a killed driver does not end");
    }
    kid_close(&n->drivers[i]);
    n->drivers[i] = start_driver(n);
}

static void kill_driver(struct node *n)
{
    pid_t workers[KIDS_MAX];
    size_t count = proc_kids(n->daemon, workers), jobs;
    int i = (int)dice((uint64_t)n->drivers_count), status;
    kill_it(n->drivers[i].pid);
    killed[DRIVER]++;
    if (n->embedded) {
        if (!kid_wait(&n->drivers[0], LOST_MS, &status)) {
            broken("a killed driver does not end");
        }
        kid_close(&n->drivers[0]);
        node_gone(n, workers, count);
        node_up(n);
        return;
    }
    /* The job goes, with all that is counted as its own; the other's stays. */
    uint64_t until = clock_now_ns() + GONE_MS * NS_PER_MS;
    for (;;) {
        (void)used_bytes(n, &jobs);
        if (jobs == 1 && proc_fds(n->daemon, "/memfd:mobula-board", NULL) == 1) {
            break;
        }
        if (clock_now_ns() > until) {
            broken("a killed driver's job is still there");
        }
        nap_ms(5);
    }
    replace_driver(n, i);
    await_progress(n);
}

static void kill_daemon(struct node *n)
{
    pid_t workers[KIDS_MAX];
    size_t count = proc_kids(n->daemon, workers);
    kill_it(n->daemon);
    killed[DAEMON_ITSELF]++;
    for (int i = 0; i < n->drivers_count; i++) {
        int status;
        if (!kid_wait(&n->drivers[i], LOST_MS, &status)) {
            broken("driver %d does not see that its node is lost",
                   (int)n->drivers[i].pid);
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_LOST) {
            broken("a driver whose node is lost ended with %#x", (unsigned)status);
        }
        kid_close(&n->drivers[i]);
    }
    node_gone(n, workers, count);
    node_up(n);
}

/* Ends a node as people do: everything must be given back. */
static void node_down(struct node *n)
{
    pid_t workers[KIDS_MAX];
    size_t count = proc_kids(n->daemon, workers), jobs;
    int status;
    for (int i = 0; i < n->drivers_count; i++) {
        close(n->drivers[i].in);
        n->drivers[i].in = -1;
    }
    for (int i = 0; i < n->drivers_count; i++) {
        if (!kid_wait(&n->drivers[i], PROGRESS_MS, &status) || status != 0) {
            broken("a driver ended with %#x", (unsigned)status);
        }
        kid_close(&n->drivers[i]);
    }
    if (!n->embedded) {
        uint64_t until = clock_now_ns() + LOST_MS * NS_PER_MS, used;
        do {
            used = used_bytes(n, &jobs);
            nap_ms(5);
        } while ((used != n->baseline || jobs) && clock_now_ns() < until);
        if (used != n->baseline || jobs || proc_fds(n->daemon, "/memfd:", NULL) != 0) {
            broken("after all jobs: %zu jobs, %llu bytes used, and %llu at the start",
                   jobs, (unsigned long long)used, (unsigned long long)n->baseline);
        }
        kill(n->daemon, SIGTERM);
        if (!kid_wait(&n->hand, LOST_MS, &status) || status != 0) {
            broken("the daemon ended with %#x", (unsigned)status);
        }
        if (rmdir(n->dir) < 0 && errno != ENOENT) {
            broken("something is left in %s", n->dir);
        }
    }
    node_gone(n, workers, count);
}

static void remove_folder(void)
{
    remove_tree(folder);
}

static void run(unsigned want)
{
    struct node nodes[2] = {{.embedded = false}, {.embedded = true}};
    enum { REST_EVERY = 10 };
    unsigned rest = REST_EVERY;
    node_up(&nodes[0]);
    node_up(&nodes[1]);
    while (kills < want) {
        struct node *n = &nodes[dice(2)];
        struct timespec ts = {0, (long)dice(20 * NS_PER_MS)};
        nanosleep(&ts, NULL);
        uint64_t who = dice(10);
        if (who < 6) {
            kill_worker(n);
        } else if (who < 8) {
            kill_driver(n);
        } else {
            kill_daemon(n);
        }
        if (--rest == 0) {
            check_rest(&nodes[0]);
            check_rest(&nodes[1]);
            rest = REST_EVERY;
        }
    }
    check_rest(&nodes[0]);
    check_rest(&nodes[1]);
    node_down(&nodes[0]);
    node_down(&nodes[1]);
}

int main(int argc, char **argv)
{
    const char *full = getenv("MOB_TEST_FULL"), *given = getenv("MOB_TEST_SEED");
    if (argc != 3 || !mkdtemp(folder)) {
        return 2;
    }
    load_path = argv[1];
    daemon_path = argv[2];
    seed = given ? strtoull(given, NULL, 0) : clock_now_ns() % 1000000;
    random_state = seed;
    atexit(remove_folder);
    setenv("XDG_RUNTIME_DIR", folder, 1); /* no node of somebody else's */
    setenv("MOBULA_DAEMON", daemon_path, 1);
    unsetenv("MOBULA_ADDRESS");
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what the dead leave comes to us, and is seen */
    printf("crash: seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    uint64_t start = clock_now_ns();
    run(full && strcmp(full, "1") == 0 ? KILLS_FULL : KILLS);
    pid_t kids[KIDS_MAX];
    for (int i = 0; proc_kids(getpid(), kids) && i < 500; i++) {
        nap_ms(2);
    }
    if (proc_kids(getpid(), kids)) {
        broken("process %d is left behind", (int)kids[0]);
    }
    printf("crash: %u kills: %u workers, %u drivers, %u daemons; %.1f s\n", kills,
           killed[WORKER], killed[DRIVER], killed[DAEMON_ITSELF],
           (double)(clock_now_ns() - start) / NS_PER_S);
    return 0;
}
