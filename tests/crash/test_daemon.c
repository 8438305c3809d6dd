/* test_daemon.c - what the daemon does about processes that die or do not behave, a case each: the
 * tester brings driver, workers and board into the very state in which something went wrong once.
 *
 *   test_daemon DRIVER MOBULAD [CASE] */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/status.h"
#include "local.h"
#include "tester.h"

/* HELD_MS: of what a dead daemon holds; it must be less than a start waits for. */
enum { EXIT_LOST = 40, HELD_MS = 300 };

static const char *driver_path, *daemon_path;

/* A node, a driver's case on it, and the job's board. */
struct rig {
    char dir[64], scratch[64];
    struct kid daemon, driver;
    struct board board;
};

/* Looks again and again until @cond holds. */
#define EVENTUALLY(cond, ...)                                                            \
    do {                                                                                 \
        uint64_t until_ = clock_now_ns() + PATIENCE_MS * NS_PER_MS;                      \
        while (!(cond)) {                                                                \
            if (clock_now_ns() > until_) {                                               \
                broken(__VA_ARGS__);                                                     \
            }                                                                            \
            nap_ms(2);                                                                   \
        }                                                                                \
    } while (0)

/* ---- the rig ------------------------------------------------------------------------------------ */

static const char *const plain[] = {"--num-cpus=2", "--object-store-memory=256M",
                                    "--log-level=error", NULL};

static void rig_names(struct rig *g)
{
    *g = (struct rig){.daemon.pid = -1, .driver = {-1, -1, -1}};
    snprintf(g->dir, sizeof g->dir, "%s/node%u", tester.folder, tester.done);
    snprintf(g->scratch, sizeof g->scratch, "%s/scratch%u", tester.folder, tester.done);
    if (mkdir(g->scratch, 0700) < 0) {
        broken("making %s: %s", g->scratch, strerror(errno));
    }
}

static struct kid driver_start(const struct rig *g, const char *name)
{
    char *argv[] = {(char *)driver_path, (char *)name, (char *)g->scratch, (char *)g->dir,
                    NULL};
    return kid_start(argv);
}

static void rig_begin(struct rig *g, const char *name)
{
    rig_names(g);
    g->daemon = daemon_start(daemon_path, g->dir, plain);
    g->driver = driver_start(g, name);
}

static void make_mark(const struct rig *g, const char *name)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", g->scratch, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        broken("making %s: %s", path, strerror(errno));
    }
    close(fd);
}

static bool has_mark(const struct rig *g, const char *name)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", g->scratch, name);
    return access(path, F_OK) == 0;
}

static void await_driver(const struct rig *g, char c)
{
    int status;
    if (!kid_says(&g->driver, c, PROGRESS_MS)) {
        if (kid_ended(&g->driver, &status)) {
            broken("the driver ended with %#x", (unsigned)status);
        }
        broken("the driver did not come to '%c'", c);
    }
}

static void tell_driver(const struct rig *g)
{
    if (write(g->driver.in, "g", 1) != 1) {
        broken("the driver is gone");
    }
}

static void map_board(struct rig *g)
{
    if (boards_map(g->daemon.pid, &g->board, 1) != 1) {
        broken("the job has no board");
    }
}

static size_t count_jobs(const struct rig *g)
{
    json_t *status = node_tells(g->dir);
    size_t count = json_array_size(json_object_get(status, "jobs"));
    json_decref(status);
    return count;
}

/* The driver's exit status is @code; the node is empty, and ends well. */
static void rig_end(struct rig *g, int code)
{
    int status;
    kid_end_input(&g->driver);
    if (!kid_wait(&g->driver, PROGRESS_MS, &status) || !WIFEXITED(status) ||
        WEXITSTATUS(status) != code) {
        broken("the driver ended with %#x", (unsigned)status);
    }
    kid_close(&g->driver);
    if (g->board.base) {
        board_unmap(&g->board);
    }
    if (g->daemon.pid > 0) {
        EVENTUALLY(count_jobs(g) == 0, "the job is still there");
        daemon_stop(&g->daemon, g->dir);
    }
}

/* ---- workers ------------------------------------------------------------------------------------ */

/* Idle, asleep, and idle still: it sleeps where idle ones do. */
static bool is_asleep(const struct rig *g, uint32_t proc)
{
    const struct proc *w = &g->board.procs[proc];
    bool idle = at_load(&w->state, AT_SEQ_CST) == PROC_IDLE;
    char state = proc_state((pid_t)at_load(&w->pid, AT_RELAXED));
    return idle && state == 'S' && at_load(&w->state, AT_SEQ_CST) == PROC_IDLE;
}

static unsigned find_sleepers(const struct rig *g, uint32_t ret_procs[2])
{
    unsigned found = 0;
    for (uint32_t p = 2; p < PROCS_MAX && found < 2; p++) {
        if (is_asleep(g, p)) {
            ret_procs[found++] = p;
        }
    }
    return found;
}

/* Waits until two workers sleep for want of work. */
static void await_sleepers(const struct rig *g, uint32_t ret_procs[2])
{
    EVENTUALLY(find_sleepers(g, ret_procs) == 2, "two workers do not come to rest");
}

/* Kills a worker and waits until the daemon has swept after it. */
static void kill_worker(const struct rig *g, uint32_t proc)
{
    const struct proc *w = &g->board.procs[proc];
    pid_t pid = (pid_t)at_load(&w->pid, AT_RELAXED);
    kill(pid, SIGKILL);
    EVENTUALLY(at_load(&w->state, AT_ACQUIRE) == PROC_NONE ||
                   (pid_t)at_load(&w->pid, AT_ACQUIRE) != pid,
               "a dead worker was not swept");
}

static unsigned segments_of_dead(const struct rig *g)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        uint64_t word = at_load(&g->board.segments[i], AT_ACQUIRE);
        count += word & SEGMENT_USED && segment_owner(word) == DAEMON;
    }
    return count;
}

/* ---- cases -------------------------------------------------------------------------------------- */

/* The memory of a dead worker goes once nothing lives in it, though nobody calls anything: not the
 * driver, who does other things, and not a worker that said that it is busy when the daemon looked,
 * and went to sleep. */
static void memory_goes_while_all_rest(void)
{
    struct rig g;
    uint32_t procs[2];
    rig_begin(&g, "let_go");
    await_driver(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    kill_worker(&g, procs[0]);
    EVENTUALLY(is_asleep(&g, procs[1]), "a worker does not come to rest");
    at_store(&g.board.procs[procs[1]].state, PROC_BUSY, AT_SEQ_CST);
    if (segments_of_dead(&g) == 0) {
        broken("a dead worker's results live nowhere");
    }
    tell_driver(&g);
    await_driver(&g, 'd');
    EVENTUALLY(segments_of_dead(&g) == 0, "memory of a dead worker is still there");
    rig_end(&g, 0);
}

/* The first death counts what lives in another worker's memory too. When that one dies in its turn,
 * what its last task put goes, and the count must not be taken for what is left. */
static void results_stay_when_their_maker_dies(void)
{
    struct rig g;
    uint32_t procs[2];
    rig_begin(&g, "stays");
    await_driver(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    kill_worker(&g, procs[0]);
    tell_driver(&g);
    await_driver(&g, 'd');
    rig_end(&g, 0);
}

static unsigned dead_of_daemon(const struct rig *g)
{
    unsigned count = 0;
    uint32_t records = at_load(&g->board.header->committed, AT_ACQUIRE);
    for (uint32_t i = 0; i < records; i++) {
        uint64_t s = at_load(&g->board.records[i].state, AT_ACQUIRE);
        count += state_phase(s) == PHASE_DEAD && state_holder(s) == DAEMON;
    }
    return count;
}

/* What the daemon frees after a death, and a view pins, goes when the view does. */
static void what_a_view_pins_goes_later(void)
{
    struct rig g;
    rig_begin(&g, "hold_view");
    await_driver(&g, 'r');
    map_board(&g);
    for (uint32_t p = 2; p < PROCS_MAX; p++) {
        if (at_load(&g.board.procs[p].task, AT_ACQUIRE) != LINK_NONE) {
            kill_worker(&g, p);
        }
    }
    tell_driver(&g);
    await_driver(&g, 'v');
    EVENTUALLY(dead_of_daemon(&g) > 0, "nothing is left to the daemon");
    tell_driver(&g);
    await_driver(&g, 'd');
    EVENTUALLY(dead_of_daemon(&g) == 0, "what a view had pinned is still there");
    rig_end(&g, 0);
}

/* The first worker of the first job: its slot, in the planner's words. */
static bool has_slot(const struct rig *g, const char *slot, pid_t *ret_pid)
{
    json_t *status = node_tells(g->dir);
    json_t *job = json_array_get(json_object_get(status, "jobs"), 0);
    json_t *worker = json_array_get(json_object_get(job, "workers"), 0);
    const char *is = json_string_value(json_object_get(worker, "slot"));
    bool same = is && strcmp(is, slot) == 0;
    *ret_pid = (pid_t)status_number(worker, "pid");
    json_decref(status);
    return same;
}

/* A worker that is dead, and not settled as its output is still open, is given the CPU that another
 * job gives back: its death must give it back in turn. */
static void a_cpu_that_was_given_to_the_dead(void)
{
    static const char *const one_cpu[] = {"--num-cpus=1", "--object-store-memory=256M",
                                          "--log-level=error", NULL};
    struct rig g;
    pid_t worker;
    int status;
    rig_names(&g);
    g.daemon = daemon_start(daemon_path, g.dir, one_cpu);
    g.driver = driver_start(&g, "loses_cpu");
    await_driver(&g, 'd');
    struct kid other = driver_start(&g, "takes_cpu");
    EVENTUALLY(has_mark(&g, "inside"), "the other job gets no CPU");
    EVENTUALLY(has_slot(&g, "bare", &worker), "the first job keeps the only CPU");
    tell_driver(&g);
    await_driver(&g, 's');
    kill(worker, SIGKILL);
    EVENTUALLY(proc_state(worker) == '\0', "a dead worker is not reaped");
    make_mark(&g, "open");
    await_driver(&g, 'd');
    make_mark(&g, "end");
    kid_end_input(&other);
    if (!kid_wait(&other, PATIENCE_MS, &status) || status != 0) {
        broken("the other driver ended with %#x", (unsigned)status);
    }
    kid_close(&other);
    rig_end(&g, 0);
}

/* Who dies between setting a notice and ringing must not leave all others without a bell. */
static void a_notice_outlives_its_maker(void)
{
    struct rig g;
    uint32_t procs[2];
    rig_begin(&g, "idle");
    await_driver(&g, 'r');
    map_board(&g);
    await_sleepers(&g, procs);
    at_or(&g.board.header->notice, NOTICE_RECORDS, AT_SEQ_CST);
    kill_worker(&g, procs[0]);
    EVENTUALLY(at_load(&g.board.header->notice, AT_SEQ_CST) == 0,
               "a dead worker's notice was never read");
    rig_end(&g, 0);
}

/* A client that makes the bell one that waits, and takes back what it rang, holds up nobody. */
static void the_bell_keeps_nobody_waiting(void)
{
    struct rig g;
    rig_begin(&g, "ring");
    await_driver(&g, 'r');
    rig_end(&g, 0);
}

/* A worker that is killed before it reached mob_init() says nothing of the program: another one is
 * started. */
static void a_worker_killed_early_is_started_again(void)
{
    struct rig g;
    pid_t kids[KIDS_MAX];
    rig_begin(&g, "slow_start");
    EVENTUALLY(has_mark(&g, "first"), "no worker was started");
    /* One of them is the first one; the other may have come further. */
    size_t count = proc_kids(g.daemon.pid, kids);
    for (size_t i = 0; i < count; i++) {
        kill(kids[i], SIGKILL);
    }
    await_driver(&g, 'r');
    rig_end(&g, 0);
}

/* Output that nobody reads keeps no job whose driver is dead. */
static void output_that_nobody_reads(void)
{
    struct rig g;
    int status;
    rig_begin(&g, "loud");
    EVENTUALLY(has_mark(&g, "done"), "the task is not done");
    kill(g.driver.pid, SIGKILL);
    if (!kid_wait(&g.driver, PATIENCE_MS, &status)) {
        broken("a killed driver does not end");
    }
    EVENTUALLY(count_jobs(&g) == 0, "the job of a killed driver is still there");
    kid_close(&g.driver);
    daemon_stop(&g.daemon, g.dir);
}

/* A node that is asked to end does so while a driver is there, who hears of it. */
static void a_node_ends_under_its_driver(void)
{
    struct rig g;
    rig_begin(&g, "idle");
    await_driver(&g, 'r');
    daemon_stop(&g.daemon, g.dir);
    tell_driver(&g);
    rig_end(&g, EXIT_LOST);
}

/* ---- after a killed daemon ---------------------------------------------------------------------- */

/* -1: the port is taken. */
static int listen_at(const char *host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, host, &in.sin_addr);
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(sock, (struct sockaddr *)&in, sizeof in) < 0 || listen(sock, 1) < 0) {
        close(sock);
        return -1;
    }
    return sock;
}

/* A killed daemon's lock is held until a worker that it was just starting is gone, and its port until
 * the kernel has taken down its ring. Who starts a node there meanwhile waits for that. */
static void a_killed_daemons_place_is_taken(void)
{
    struct rig g;
    char host[32], path[96], listen_option[64], key_option[96];
    const char *const options[] = {"--num-cpus=1",
                                   "--object-store-memory=256M",
                                   "--log-level=error",
                                   "--head",
                                   listen_option,
                                   key_option,
                                   NULL};
    int status;
    rig_names(&g);
    tester_host(host, sizeof host);
    tester_key(key_option, sizeof key_option);
    snprintf(listen_option, sizeof listen_option, "--listen=%s", host);
    g.daemon = daemon_start(daemon_path, g.dir, options);
    kill(g.daemon.pid, SIGKILL);
    if (!kid_wait(&g.daemon, PATIENCE_MS, &status)) {
        broken("a killed daemon does not end");
    }
    kid_close(&g.daemon);
    snprintf(path, sizeof path, "%s/lock", g.dir);
    int lock = open(path, O_RDWR | O_CLOEXEC);
    EVENTUALLY(flock(lock, LOCK_EX | LOCK_NB) == 0, "a dead daemon's lock stays");
    int sock;
    EVENTUALLY((sock = listen_at(host, CLUSTER_PORT)) >= 0, "a dead daemon's port stays");
    g.daemon = daemon_launch(daemon_path, g.dir, options);
    nap_ms(HELD_MS);
    daemon_check(&g.daemon);
    close(lock);
    nap_ms(HELD_MS);
    daemon_check(&g.daemon);
    close(sock);
    daemon_await(&g.daemon, g.dir);
    daemon_stop(&g.daemon, g.dir);
}

/* ---- main --------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"memory_goes_while_all_rest", memory_goes_while_all_rest},
    {"results_stay_when_their_maker_dies", results_stay_when_their_maker_dies},
    {"what_a_view_pins_goes_later", what_a_view_pins_goes_later},
    {"a_cpu_that_was_given_to_the_dead", a_cpu_that_was_given_to_the_dead},
    {"a_notice_outlives_its_maker", a_notice_outlives_its_maker},
    {"the_bell_keeps_nobody_waiting", the_bell_keeps_nobody_waiting},
    {"a_worker_killed_early_is_started_again", a_worker_killed_early_is_started_again},
    {"output_that_nobody_reads", output_that_nobody_reads},
    {"a_node_ends_under_its_driver", a_node_ends_under_its_driver},
    {"a_killed_daemons_place_is_taken", a_killed_daemons_place_is_taken},
};

int main(int argc, char **argv)
{
    if (argc < 3) {
        return 2;
    }
    driver_path = argv[1];
    daemon_path = argv[2];
    tester_begin("test_daemon", "cases");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (argc == 3 || strcmp(argv[3], cases[i].name) == 0) {
            printf("%s\n", cases[i].name);
            fflush(stdout);
            cases[i].run();
        }
        tester.done++;
    }
    tester_end();
    return 0;
}
