/* crash.c - kills workers, drivers and daemons at random moments, and looks at what is left.
 *
 *   crash LOAD MOBULAD KILLS node|cluster|spill|spill-cluster
 *
 * node: two drivers work on a node that was started by hand, and one on an embedded node. cluster: a
 * driver works on each of two nodes, and its tasks run on both. spill: the same with stores far too small for
 * what the drivers keep. After each kill:
 *   worker   all drivers go on, and their results are right (they check them);
 *   driver   its workers and its memory go, on the other node too, within a second as a rule; the
 *            other drivers go on;
 *   daemon   its drivers end with MOB_ERR_NODE_LOST, no process of the node is left, and the drivers
 *            on the other node go on with right results.
 * Now and then the drivers come to rest and every structure of their boards is checked: nothing may
 * be left of what the dead have done.
 *
 * MOB_TEST_FULL=1: ten times as many kills. Which instruction a kill hits is up to the machine. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "crash_node.h"

enum { SMALL_STORE = 64 << 20, REST_EVERY = 10, MOMENT_NS = 20 * 1000000 };

enum victim { WORKER, DRIVER, DAEMON_ITSELF, VICTIMS };
static unsigned killed[VICTIMS], spilling; /* kills while objects were on disk */
static unsigned late; /* late: drivers whose job took longer than promised to go */

static void kill_it(pid_t pid, enum victim what)
{
    tester.done++;
    killed[what]++;
    if (kill(pid, SIGKILL) < 0 && errno != ESRCH) {
        broken("kill: %s", strerror(errno));
    }
}

static void kill_worker(struct node *n)
{
    pid_t workers[KIDS_MAX];
    size_t count = proc_kids(n->daemon, workers);
    if (count) {
        kill_it(workers[tester_dice(count)], WORKER);
    }
    node_progress(n);
}

/* Reaps a driver that was killed, or that must end by itself with @status. */
static void reap_driver(struct kid *k, const char *why, int exit_code)
{
    int status;
    if (!kid_wait(k, LOST_MS, &status)) {
        broken("driver %d does not end: %s", (int)k->pid, why);
    }
    if (exit_code && (!WIFEXITED(status) || WEXITSTATUS(status) != exit_code)) {
        broken("a driver ended with %#x: %s", (unsigned)status, why);
    }
    kid_close(k);
}

static void kill_driver(struct node *n)
{
    pid_t workers[KIDS_MAX];
    size_t count = proc_kids(n->daemon, workers);
    struct kid *k = &n->drivers[tester_dice((uint64_t)n->drivers_count)];
    kill_it(k->pid, DRIVER);
    if (n->kind == EMBEDDED) {
        reap_driver(k, "it was killed", 0);
        node_gone(n, workers, count);
    } else {
        /* The job goes, with all that is counted as its own; the others stay. */
        late += node_await_jobs(n, (size_t)n->drivers_count - 1) > GONE_MS;
        reap_driver(k, "it was killed", 0);
    }
    node_work(n);
}

static void kill_daemon(struct node *n)
{
    pid_t workers[KIDS_MAX];
    node_set_rest(n, false); /* a driver that calls nothing hears of nothing */
    size_t count = proc_kids(n->daemon, workers);
    kill_it(n->daemon, DAEMON_ITSELF);
    for (int i = 0; i < n->drivers_count; i++) {
        reap_driver(&n->drivers[i], "its node is lost", EXIT_LOST);
    }
    node_gone(n, workers, count);
    node_up(n);
    node_work(n);
}

/* Both nodes work for themselves, or one of them for the other. */
static void share(struct node *n)
{
    uint64_t who = tester_dice(3);
    node_set_rest(n, who == 0);
    node_set_rest(n->peer, who == 1);
    node_progress(n);
    if (who < 2) {
        node_await_guests(who == 0 ? n : n->peer);
    }
}

static void kill_somebody(struct node *n)
{
    if (n->peer) {
        share(n);
    }
    if (nodes_are_small() && !n->resting && tester_dice(2)) {
        node_await_spill(n);
    }
    struct timespec moment = {0, (long)tester_dice(MOMENT_NS)};
    nanosleep(&moment, NULL);
    uint64_t who = tester_dice(10);
    spilling += node_spills(n);
    if (who < 6) {
        kill_worker(n);
    } else if (who < 8) {
        kill_driver(n);
    } else {
        kill_daemon(n);
    }
}

static void rest(struct node *nodes, int count)
{
    for (int i = 0; i < count; i++) {
        if (nodes[i].kind != MEMBER) { /* which comes to rest with its head */
            node_rest(&nodes[i]);
        }
    }
}

static void run(struct node *nodes, int count, unsigned kills)
{
    for (int i = 0; i < count; i++) {
        node_up(&nodes[i]);
    }
    for (int i = 0; i < count; i++) {
        node_work(&nodes[i]);
    }
    for (unsigned next = REST_EVERY; tester.done < kills;) {
        kill_somebody(&nodes[tester_dice((uint64_t)count)]);
        if (tester.done >= next) {
            rest(nodes, count);
            next = tester.done + REST_EVERY;
        }
    }
    rest(nodes, count);
    for (int i = 0; i < count; i++) {
        node_finish(&nodes[i]);
    }
    for (int i = count - 1; i >= 0; i--) {
        node_down(&nodes[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        return 2;
    }
    bool cluster = strstr(argv[4], "cluster") != NULL;
    static char name[32];
    snprintf(name, sizeof name, "crash %s", argv[4]);
    tester_begin(name, "kills");
    nodes_init(argv[1], argv[2]);
    bool spill = strncmp(argv[4], "spill", 5) == 0;
    if (spill) {
        nodes_spill(SMALL_STORE);
    }
    unsigned kills = (unsigned)atoi(argv[3]) * (tester.full ? 10 : 1);
    uint64_t start = clock_now_ns();
    struct node alone[2] = {{.kind = LONE}, {.kind = EMBEDDED}};
    struct node pair[2] = {{.kind = HEAD}, {.kind = MEMBER}};
    pair[0].peer = &pair[1];
    pair[1].peer = &pair[0];
    run(cluster ? pair : alone, 2, kills);
    if (cluster && !pair[0].guests && !pair[1].guests) {
        broken("no tasks went from one node to the other");
    }
    if (late >
        killed[DRIVER] / 4 + 1) { /* some are, on a machine that has other things to do */
        broken("%u of %u jobs took longer than %d ms to go", late, killed[DRIVER],
               GONE_MS);
    }
    if (spill && spilling < tester.done / 4) {
        broken("objects were on disk at %u of %u kills", spilling, tester.done);
    }
    nodes_end();
    tester_end();
    printf("%s: %u kills: %u workers, %u drivers (%u jobs late), %u daemons, %u with "
           "objects "
           "on disk; %.1f s\n",
           tester.name, tester.done, killed[WORKER], killed[DRIVER], late,
           killed[DAEMON_ITSELF], spilling, (double)(clock_now_ns() - start) / NS_PER_S);
    return 0;
}
