#include "crash_node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

static const char *load_path, *daemon_path;
static char head_option[64], listen_option[64], key_option[96];
static char store_option[64] = "--object-store-memory=512M";
static char spill_folder[64]; /* "": stores have room for everything */

void nodes_init(const char *load, const char *mobulad)
{
    load_path = load;
    daemon_path = mobulad;
    setenv("MOBULA_DAEMON", mobulad, 1);
    char host[32];
    tester_host(host, sizeof host);
    tester_key(key_option, sizeof key_option);
    snprintf(head_option, sizeof head_option, "--address=%s:%d", host, CLUSTER_PORT);
    snprintf(listen_option, sizeof listen_option, "--listen=%s", host);
}

void nodes_spill(uint64_t store_bytes)
{
    char text[32];
    snprintf(spill_folder, sizeof spill_folder, "/var/tmp/mobula-crash-XXXXXX");
    if (!mkdtemp(spill_folder)) {
        broken("%s: %s", spill_folder, strerror(errno));
    }
    snprintf(text, sizeof text, "%llu", (unsigned long long)store_bytes);
    snprintf(store_option, sizeof store_option, "--object-store-memory=%s", text);
    setenv("MOB_TEST_STORE", text, 1);
    setenv("MOBULA_SPILL_DIR", spill_folder, 1);
}

void nodes_end(void)
{
    if (spill_folder[0] && rmdir(spill_folder) < 0) {
        broken("something is left in %s: %s", spill_folder, strerror(errno));
    }
}

bool nodes_are_small(void)
{
    return spill_folder[0];
}

bool node_spills(const struct node *n)
{
    return spill_folder[0] && proc_fds(n->daemon, spill_folder, NULL, NULL) > 0;
}

void node_await_spill(const struct node *n)
{
    uint64_t until = clock_now_ns() + PROGRESS_MS * NS_PER_MS;
    while (!node_spills(n)) {
        if (clock_now_ns() > until) {
            broken("nothing goes to disk on a node that has too little memory");
        }
        nap_ms(1);
    }
}

/* ---- the drivers -------------------------------------------------------------------------------- */

static void await(const struct kid *k, char c)
{
    int status;
    if (!kid_says(k, c, PROGRESS_MS)) {
        if (kid_ended(k, &status)) {
            broken("a driver ended that should not: status %#x", (unsigned)status);
        }
        broken("driver %d did not come to '%c' in time", (int)k->pid, c);
    }
}

static void await_drivers(const struct node *n)
{
    if (n->resting) {
        return;
    }
    for (int i = 0; i < n->drivers_count; i++) {
        kid_forget(&n->drivers[i]);
    }
    for (int i = 0; i < n->drivers_count; i++) {
        await(&n->drivers[i], 'r'); /* maybe the end of a round that had begun */
        await(&n->drivers[i], 'r');
    }
}

void node_progress(const struct node *n)
{
    await_drivers(n);
    if (n->peer) {
        await_drivers(n->peer);
    }
}

void node_tell_drivers(const struct node *n, char c)
{
    for (int i = 0; i < n->drivers_count; i++) {
        if (write(n->drivers[i].in, &c, 1) != 1) {
            broken("a driver is gone");
        }
    }
}

void node_await_rest(const struct node *n)
{
    for (int i = 0; i < n->drivers_count; i++) {
        await(&n->drivers[i], 'q');
    }
}

void node_set_rest(struct node *n, bool resting)
{
    if (resting != n->resting) {
        node_tell_drivers(n, resting ? 'q' : 'g');
    }
    if (resting && !n->resting) {
        node_await_rest(n);
    }
    n->resting = resting;
}

/* ---- what a node says of itself ----------------------------------------------------------------- */

/* Jobs in a status: own ones (@owner ""), those that came from a node, or all (NULL). */
static size_t count_jobs(const json_t *status, const char *owner)
{
    size_t i, count = 0;
    json_t *job;
    json_array_foreach(json_object_get(status, "jobs"), i, job)
    {
        const char *of = json_string_value(json_object_get(job, "owner"));
        count += of && (!owner || strcmp(of, owner) == 0);
    }
    return count;
}

static size_t jobs_of(const struct node *where, const char *owner, uint64_t *ret_used)
{
    json_t *status = node_tells(where->dir);
    size_t count = count_jobs(status, owner);
    if (ret_used) {
        *ret_used = status_number(status, "store_used_bytes");
    }
    json_decref(status);
    return count;
}

/* A node, and its peer, as they are when the tester gives up. */
static void tell_nodes(const struct node *n)
{
    const struct node *at[] = {n, n->peer};
    for (int i = 0; i < 2 && at[i]; i++) {
        json_t *status = node_tells(at[i]->dir);
        char *text = json_dumps(status, JSON_COMPACT);
        fprintf(stderr, "%s: %s\n", at[i]->dir, text ? text : "");
        free(text);
        json_decref(status);
    }
}

/* The job of a driver that is gone, as it is still there, in words. */
static void __attribute__((noreturn)) job_stays(const struct node *n)
{
    tell_nodes(n);
    broken("a job whose driver is gone is still there");
}

/* Of the jobs whose driver is here, @count are left. In a cluster guests come and go, and what the peer
 * sent here may have been sent on, back to it: such jobs are of this node there too. */
static bool jobs_left(const struct node *n, size_t count)
{
    if (jobs_of(n, "", NULL) != count) {
        return false;
    }
    return n->peer
               ? jobs_of(n->peer, n->id, NULL) <= count + jobs_of(n, n->peer->id, NULL)
               : proc_fds(n->daemon, "/memfd:mobula-board", NULL, NULL) == (int)count;
}

uint64_t node_await_jobs(const struct node *n, size_t count)
{
    uint64_t start = clock_now_ns(), until = start + PATIENCE_MS * NS_PER_MS;
    while (!jobs_left(n, count)) {
        if (clock_now_ns() > until) {
            job_stays(n);
        }
        nap_ms(5);
    }
    return (clock_now_ns() - start) / NS_PER_MS;
}

void node_note_guests(struct node *n)
{
    json_t *status = node_tells(n->dir), *job;
    size_t i;
    json_array_foreach(json_object_get(status, "jobs"), i, job)
    {
        const char *of = json_string_value(json_object_get(job, "owner"));
        n->guests += of && *of ? status_number(job, "tasks_done") : 0;
    }
    json_decref(status);
}

void node_await_guests(struct node *n)
{
    uint64_t before = n->guests, until = clock_now_ns() + PROGRESS_MS * NS_PER_MS;
    for (node_note_guests(n); n->guests == before; node_note_guests(n)) {
        if (clock_now_ns() > until) {
            tell_nodes(n);
            broken("no tasks go to a node whose own driver rests");
        }
        nap_ms(5);
    }
}

/* ---- up ----------------------------------------------------------------------------------------- */

static void await_cluster(const struct node *n)
{
    uint64_t until = clock_now_ns() + PROGRESS_MS * NS_PER_MS;
    for (;;) {
        json_t *status = node_tells(n->dir), *node;
        size_t i, alive = 0;
        json_array_foreach(json_object_get(status, "nodes"), i, node)
        {
            const char *state = json_string_value(json_object_get(node, "state"));
            alive += state && strcmp(state, "alive") == 0;
        }
        const char *role = json_string_value(json_object_get(status, "cluster"));
        bool joined = role && strcmp(role, "headless") != 0 && alive == 2;
        json_decref(status);
        if (joined) {
            return;
        }
        if (clock_now_ns() > until) {
            broken("the nodes do not come together");
        }
        nap_ms(10);
    }
}

void node_up(struct node *n)
{
    static const char *const names[] = {"lone", "", "head", "member", "soak", "soak"};
    static char spill_option[64];
    static const char *const soak[] = {"--num-cpus=7", "--object-store-memory=64M",
                                       "--spill-dir=none", NULL};
    static const char *const soak_spill[] = {"--num-cpus=7", "--object-store-memory=64M",
                                             spill_option, NULL};
    const char *const lone[] = {"--num-cpus=3", store_option, NULL};
    const char *const head[] = {"--num-cpus=2", store_option, "--head",
                                listen_option,  key_option,   NULL};
    const char *const member[] = {"--num-cpus=2", store_option, head_option,
                                  listen_option,  key_option,   NULL};
    const char *const *options[] = {lone, NULL, head, member, soak, soak_spill};
    snprintf(spill_option, sizeof spill_option, "--spill-dir=%s", tester.folder);
    if (n->kind == EMBEDDED) {
        return;
    }
    snprintf(n->dir, sizeof n->dir, "%s/%s", tester.folder, names[n->kind]);
    n->hand = daemon_start(daemon_path, n->dir, options[n->kind]);
    n->daemon = n->hand.pid;
    json_t *status = node_tells(n->dir);
    snprintf(n->id, sizeof n->id, "%s", json_string_value(json_object_get(status, "id")));
    json_decref(status);
    if (n->peer && n->peer->daemon > 0) {
        await_cluster(n);
        await_cluster(n->peer);
    }
}

void node_work(struct node *n)
{
    n->drivers_count = n->kind == LONE ? 2 : 1;
    for (int i = 0; i < n->drivers_count; i++) {
        if (n->drivers[i].pid <= 0) {
            n->drivers[i] = load_start(load_path, n->kind == EMBEDDED ? NULL : n->dir);
            n->resting = false;
        }
    }
    node_progress(n);
    if (n->kind == EMBEDDED) {
        pid_t kids[KIDS_MAX];
        if (proc_kids(n->drivers[0].pid, kids) != 1) {
            broken("an embedded node has no daemon");
        }
        n->daemon = kids[0];
    }
}

/* ---- down --------------------------------------------------------------------------------------- */

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

void node_gone(struct node *n, const pid_t *workers, size_t count)
{
    await_gone(n->daemon, "daemon", LOST_MS);
    for (size_t i = 0; i < count; i++) {
        await_gone(workers[i], "worker", LOST_MS);
    }
    n->daemon = -1;
    if (n->kind != EMBEDDED) {
        kid_close(&n->hand);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) { /* workers whose daemon is dead are ours */
    }
}

void node_finish(struct node *n)
{
    int status;
    for (int i = 0; i < n->drivers_count; i++) {
        kid_end_input(&n->drivers[i]);
    }
    for (int i = 0; i < n->drivers_count; i++) {
        if (!kid_wait(&n->drivers[i], PROGRESS_MS, &status) || status != 0) {
            broken("a driver ended with %#x", (unsigned)status);
        }
        kid_close(&n->drivers[i]);
    }
}

void node_down(struct node *n)
{
    if (n->kind == EMBEDDED) { /* it ended with its driver */
        await_gone(n->daemon, "daemon", LOST_MS);
        return;
    }
    uint64_t until = clock_now_ns() + LOST_MS * NS_PER_MS, used;
    size_t jobs;
    while ((jobs = jobs_of(n, NULL, &used)) || used) {
        if (clock_now_ns() > until) {
            broken("after all jobs: %zu jobs, %llu bytes used", jobs,
                   (unsigned long long)used);
        }
        nap_ms(5);
    }
    if (proc_fds(n->daemon, "/memfd:", NULL, NULL) != 0) {
        broken("after all jobs the daemon has memory open");
    }
    if (node_spills(n)) {
        broken("after all jobs the daemon has files of spilled objects open");
    }
    daemon_stop(&n->hand, n->dir);
}
