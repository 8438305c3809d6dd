/* node.c - the daemon's life: set up, serve, and end without a trace. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cluster.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/machine.h"
#include "core/status.h"
#include "core/text.h"
#include "spill.h"

int eventfd_new(void)
{
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* A random incarnation of 40 bits, never 0. */
static mob_status new_id(uint64_t *ret)
{
    uint64_t id = 0;
    while (id == 0) {
        if (getrandom(&id, 5, 0) != 5) {
            return status_fail(MOB_ERR_SYSTEM, "getrandom: %m");
        }
    }
    *ret = id;
    return MOB_OK;
}

/* ---- the local socket ------------------------------------------------------------------------------------- */

static void accept_waiting(struct node *n);

static void accept_later(struct loop_timer *timer)
{
    accept_waiting(LOOP_OWNER(timer, struct node, accept_timer));
}

static void accept_waiting(struct node *n)
{
    int sock = 0;
    bool room;
    while ((room = conns_room(n)) &&
           (sock = accept4(n->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        (void)conn_open(n, sock, NULL);
    }
    if ((!room || errno != EAGAIN) && !n->stopping) {
        /* No fd, memory or room for it now. The watch tells of new ones only, so look again. */
        loop_timer_start(n->loop, &n->accept_timer,
                         loop_now_ns(n->loop) + ACCEPT_LATER_NS, accept_later);
    }
}

static void accept_all(struct loop_op *op, int result)
{
    struct node *n = LOOP_OWNER(op, struct node, listener_op);
    if (result < 0) {
        node_step(n);
        return;
    }
    accept_waiting(n);
}

static mob_status listen_local(struct node *n)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    MOB_TRY(local_socket_path(n->config.dir, un.sun_path, sizeof un.sun_path));
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0) {
        return status_fail(MOB_ERR_SYSTEM, "socket: %m");
    }
    if (bind(sock, (struct sockaddr *)&un, sizeof un) < 0 || listen(sock, 128) < 0) {
        mob_status st = status_fail(MOB_ERR_SYSTEM, "listening at %s: %m", un.sun_path);
        close(sock);
        return st;
    }
    n->listener = sock;
    loop_watch(n->loop, &n->listener_op, sock, POLLIN, accept_all);
    return MOB_OK;
}

/* ---- signals -------------------------------------------------------------------------------------------------- */

static void signalled(struct loop_op *op, int result)
{
    struct node *n = LOOP_OWNER(op, struct node, signal_op);
    struct signalfd_siginfo info;
    if (result < 0) {
        node_step(n);
        return;
    }
    while (read(n->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        log_info("signal %u: stopping", info.ssi_signo);
        node_stop(n);
    }
}

static mob_status watch_signals(struct node *n)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    n->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (n->signal_fd < 0) {
        return status_fail(MOB_ERR_SYSTEM, "signalfd: %m");
    }
    loop_watch(n->loop, &n->signal_op, n->signal_fd, POLLIN, signalled);
    return MOB_OK;
}

/* ---- beginning and end ---------------------------------------------------------------------------------------- */

/* A node on which no job fits is refused at once, not at its first job. */
static mob_status check_memory(const struct node *n)
{
    struct budget_status b;
    char need[32], has[32];
    text_bytes(job_least_bytes(), need, sizeof need);
    struct machine_memory m;
    MOB_TRY(budget_status(&n->budget, &b));
    if (machine_memory(&m) == MOB_OK && b.limit_bytes > m.limit_bytes) {
        return status_fail(MOB_ERR_NOMEM,
                           "not enough memory: --object-store-memory says %s, and this "
                           "machine or cgroup has %s in all",
                           text_bytes(b.limit_bytes, need, sizeof need),
                           text_bytes(m.limit_bytes, has, sizeof has));
    }
    if (b.limit_bytes < job_least_bytes()) {
        return status_fail(
            MOB_ERR_NOMEM,
            "the object store may have %s, and a job needs %s of it before its "
            "first object: give the node more with --object-store-memory",
            text_bytes(b.limit_bytes, has, sizeof has), need);
    }
    if (b.left_bytes < job_least_bytes()) {
        return status_fail(
            MOB_ERR_NOMEM,
            "not enough memory: a job needs %s before its first object, and this "
            "machine or cgroup has %s left",
            need, text_bytes(b.left_bytes, has, sizeof has));
    }
    return MOB_OK;
}

/* What tasks may ask for. Memory is counted, not fenced in: by default what may be used but for the store. */
static void find_capacity(struct node *n)
{
    struct machine_memory m = {0};
    uint64_t store = n->budget.limit_bytes, memory = n->config.memory_bytes;
    if (memory == 0 && machine_memory(&m) == MOB_OK && m.limit_bytes > store) {
        memory = m.limit_bytes - store;
    }
    gpu_init(&n->gpus, n->config.num_gpus);
    n->capacity = n->config.resources;
    n->capacity.amount[RESOURCE_CPU] = (uint64_t)n->cpus * CPU_UNITS;
    n->capacity.amount[RESOURCE_MEMORY] = memory < RESOURCE_MAX ? memory : RESOURCE_MAX;
    n->capacity.amount[RESOURCE_GPU] = (uint64_t)n->gpus.count * CPU_UNITS;
    snprintf(n->labels, sizeof n->labels, "%s", n->config.labels ? n->config.labels : "");
}

static mob_status set_up(struct node *n)
{
    struct budget_config budget = {.limit_bytes = n->config.store_bytes};
    n->listener = n->signal_fd = -1;
    n->scratch = malloc(sizeof *n->scratch);
    if (!n->scratch) {
        return status_fail(MOB_ERR_NOMEM, "no memory to start with");
    }
    MOB_TRY(new_id(&n->id));
    n->cpus_here = machine_cpus();
    n->cpus = n->config.num_cpus >= 0 ? (unsigned)n->config.num_cpus : n->cpus_here;
    cores_find(&n->cores, n->cpus, n->config.pin);
    machine_hostname(n->host, sizeof n->host);
    n->started_ns = clock_now_ns();
    MOB_TRY(budget_init(&n->budget, &budget));
    if (n->config.embedded < 0) { /* else its only job is told */
        MOB_TRY(check_memory(n));
    }
    MOB_TRY(loop_create(0, &n->loop));
    if (*loop_refusal(n->loop)) {
        /* Who starts a node hears of it; a program's own writes to the program's terminal. */
        log_write(n->config.embedded < 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
                  "the loop runs on epoll: %s", loop_refusal(n->loop));
    }
    MOB_TRY(node_spill_start(n, n->config.spill_dirs));
    find_capacity(n);
    struct plan_node_config plan = {.node = n->id,
                                    .capacity = n->capacity,
                                    .labels = n->labels,
                                    .clustered = node_clustered(&n->config),
                                    .act = plan_act,
                                    .arg = n};
    n->plan = plan_node_create(&plan, clock_now_ns());
    if (!n->plan) {
        return status_fail(MOB_ERR_NOMEM, "no memory for the scheduler");
    }
    const char *record = getenv("MOBULA_TIMELINE");
    if (record && *record && strcmp(record, "0") != 0) {
        MOB_TRY(timeline_set(n, true));
    }
    MOB_TRY(watch_signals(n));
    if (n->config.dir) {
        MOB_TRY(listen_local(n));
    }
    if (n->config.embedded >= 0) {
        MOB_TRY(conn_open(n, n->config.embedded, NULL));
    }
    if (node_clustered(&n->config)) {
        return cluster_start(n); /* ready when it has joined */
    }
    node_ready(n);
    return MOB_OK;
}

/* ---- whoever started us waits for one line ------------------------------------------------------------------------ */

void node_not_ready(struct node *n, mob_status st, const char *why)
{
    if (n->verdict || n->stopping) {
        return;
    }
    snprintf(n->why, sizeof n->why, "%s", why);
    n->verdict = st; /* what node_run() returns */
    node_stop(n);
}

void node_ready(struct node *n)
{
    /* A program whose own node this is hears of it by the answer to its hello. */
    bool say = n->config.ready_fd >= 0 && n->config.embedded < 0;
    char *text = say ? status_node_text(n) : NULL;
    if (text && dprintf(n->config.ready_fd, "ready %s\n", text) < 0) {
        log_warn("nobody waits for the node any more: %s", strerror(errno));
        node_stop(n);
    }
    free(text);
    if (n->config.ready_fd >= 0) {
        close(n->config.ready_fd);
        n->config.ready_fd = -1;
    }
}

static void tear_down(struct node *n)
{
    if (n->listener >= 0) {
        char path[sizeof(struct sockaddr_un)];
        close(n->listener);
        if (local_socket_path(n->config.dir, path, sizeof path) == MOB_OK) {
            unlink(path);
        }
    }
    if (n->signal_fd >= 0) {
        close(n->signal_fd);
    }
    cluster_free(n);
    node_spill_end(n);
    cores_drop(&n->cores);
    plan_node_destroy(n->plan);
    timeline_free(n);
    budget_fini(&n->budget);
    loop_destroy(n->loop);
    free(n->scratch);
}

void node_stop(struct node *n)
{
    if (n->stopping) {
        return;
    }
    n->stopping = true;
    checker_stop(n);
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (n->jobs[i]) {
            job_end(n->jobs[i]);
        }
    }
    node_step(n);
}

void node_step(struct node *n)
{
    if (n->config.embedded >= 0 && !n->conns && !n->stopping) {
        node_stop(n); /* the program that we are a part of is gone */
        return;
    }
    if (!n->stopping) {
        return;
    }
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (n->jobs[i]) {
            return;
        }
    }
    if (n->checkers) {
        return; /* killed: comes back here */
    }
    cluster_stop(n);
    if (!cluster_ended(n)) {
        return;
    }
    if (n->stopper) {
        local_msg_init(n->scratch, LOCAL_STOP);
        conn_reply(n->stopper, n->scratch, NULL, 0);
        n->stopper = NULL;
    }
    for (struct conn *c = n->conns; c; c = c->next) {
        conn_close(c);
    }
    loop_timer_stop(n->loop, &n->plan_timer);
    if (n->cluster) {
        loop_timer_stop(n->loop, &n->cluster->soon);
    }
    loop_timer_stop(n->loop, &n->accept_timer);
    loop_timer_stop(n->loop, &n->census.timer);
    node_spill_stop(n);
    loop_cancel(n->loop, &n->listener_op);
    loop_cancel(n->loop, &n->signal_op);
    if (!n->conns && !loop_op_busy(&n->listener_op) && !loop_op_busy(&n->signal_op)) {
        loop_stop(n->loop);
    }
}

mob_status node_run(const struct node_config *config)
{
    static struct node node; /* one to a process; large */
    node.config = *config;
    mob_status st = set_up(&node);
    if (!st) {
        log_info("node started id %010llx cpus %u store %llu loop %s",
                 (unsigned long long)node.id, node.cpus,
                 (unsigned long long)node.budget.limit_bytes, loop_backend(node.loop));
        st = loop_run(node.loop);
        log_info("node stopped");
        tear_down(&node);
        if (!st && node.verdict) {
            st = status_fail(node.verdict, "%s", node.why);
        }
    }
    return st;
}
