#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "core/clock.h"
#include "core/park.h"
#include "core/seg.h"
#include "core/machine.h"
#include "core/status.h"
#include "local.h"
#include "store/sweep.h"

enum { JOB_ROOM_NAP_MS = 20 };
#define JOB_ROOM_NS (20 * 1000000000ull) /* less than the limit for an answer */

/* ---- asking --------------------------------------------------------------------------------------- */

static mob_status node_lost(const struct mob *mob)
{
    if (mob->worker) { /* its tasks are lost, and must not fail for another reason before that */
        _exit(5);
    }
    return status_fail(MOB_ERR_NODE_LOST,
                       "the node's daemon is gone; its tasks and objects are lost");
}

mob_status client_ask(struct mob *mob, struct local_msg *m, const int *send_fds,
                      unsigned send_count, int *recv_fds, unsigned *recv_count)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count = 0;
    uint32_t op = m->op;
    pthread_mutex_lock(&mob->sock_lock);
    mob_status st = local_send(mob->sock, m, send_fds, send_count);
    if (!st) {
        st = local_recv(mob->sock, m, fds, &count);
    }
    pthread_mutex_unlock(&mob->sock_lock);
    if (st == MOB_ERR_PEER_LOST) {
        return node_lost(mob);
    }
    if (st == MOB_ERR_TIMEOUT) {
        return status_fail(st,
                           "the node's daemon did not answer within %d s: it was "
                           "stopped by a signal, or the machine is overloaded",
                           HELLO_S);
    }
    if (!st && m->op != op) {
        st = status_fail(MOB_ERR_PROTOCOL, "the node's daemon answered %u to %u", m->op,
                         op);
    }
    if (!st && m->status) {
        st = status_fail((mob_status)m->status, "%s", m->text);
    }
    for (unsigned i = 0; i < count && (st || !recv_fds); i++) {
        close(fds[i]);
    }
    if (!st && recv_fds) {
        memcpy(recv_fds, fds, count * sizeof *fds);
        *recv_count = count;
    }
    return st;
}

mob_status client_tell(struct mob *mob, const struct local_msg *m)
{
    pthread_mutex_lock(&mob->sock_lock);
    mob_status st = local_send(mob->sock, m, NULL, 0);
    pthread_mutex_unlock(&mob->sock_lock);
    return st == MOB_ERR_PEER_LOST ? node_lost(mob) : st;
}

/* ---- the watcher: one thread that sleeps until the node dies or says that the job failed ------------ */

static void wake_own_waiters(struct mob *mob)
{
    pthread_mutex_lock(&mob->threads_lock);
    for (struct thread *t = mob->threads; t; t = t->next) {
        const at_u32 *word = (const at_u32 *)(uintptr_t)at_load(&t->waits_on, AT_SEQ_CST);
        if (word) {
            park_wake(word, PARK_ALL);
        }
    }
    pthread_mutex_unlock(&mob->threads_lock);
}

/* Memory is wanted while all threads of the program may be asleep, or busy with other things. */
static void tidy(struct mob *mob, struct lane *lane)
{
    if (lane->board ||
        lane_init(lane, &mob->board, mob->self, client_free_place, mob) == MOB_OK) {
        lane->freeing = client_freeing;
        client_tidy_lane(mob, lane);
    }
}

static void *watch(void *arg)
{
    struct mob *mob = arg;
    struct lane lane = {0}; /* made when it is needed */
    char what;
    for (;;) {
        ssize_t n = read(mob->watch, &what, 1);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        if (what == 'm') {
            tidy(mob, &lane);
        } else { /* the job failed; the board says why */
            wake_own_waiters(mob);
        }
    }
    at_store(&mob->lost, 1, AT_SEQ_CST);
    /* A waiter looks at `lost` after it noted its word and before it sleeps: waking until all have
     * seen it closes the gap between its look and its sleep. Ends when mob_shutdown() comes. */
    struct pollfd never = {.fd = -1};
    while (!at_load(&mob->closed, AT_SEQ_CST)) {
        wake_own_waiters(mob);
        poll(&never, 1, 20);
    }
    lane_fini(&lane);
    return NULL;
}

static mob_status start_watcher(struct mob *mob)
{
    sigset_t all, old;
    sigfillset(&all); /* the program's signals are for the program's threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&mob->watcher, NULL, watch, mob);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err) {
        errno = err;
        return status_fail(MOB_ERR_SYSTEM, "starting a thread: %m");
    }
    mob->watching = true;
    return MOB_OK;
}

/* ---- joining ------------------------------------------------------------------------------------------ */

static void close_all(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

static mob_status accept_hello(struct mob *mob, struct local_msg *m, int *fds,
                               unsigned count, unsigned want)
{
    if (count != want || m->arg[2] == 0 || m->arg[2] >= PROCS_MAX) {
        close_all(fds, count);
        return status_fail(MOB_ERR_PROTOCOL,
                           "the node's daemon sent a malformed welcome");
    }
    mob->node = m->arg[0];
    mob->job = (uint32_t)m->arg[1];
    mob->self = (uint32_t)m->arg[2];
    mob->cpus = (uint32_t)m->arg[3];
    mob->embedded = m->arg[4] & 1;
    /* A worker is told, pinned or not: it spins as long as the node has CPUs for it and its partners. */
    mob->cpus_here = m->arg[4] >> 32 ? (uint32_t)(m->arg[4] >> 32) : machine_cpus();
    mob->store_bytes = m->arg[5];
    mob->ref_hi = mob->node << 24 | (uint64_t)(mob->job & 0xfffff) << 4 | 1;
    mob_status st = board_map(fds[0], &mob->board);
    if (st) {
        close_all(fds, count);
        return st;
    }
    mob->proc = &mob->board.procs[mob->self];
    close(fds[0]);
    mob->board.bell = fds[1];
    mob->watch = want == 3 ? fds[2] : -1;
    return MOB_OK;
}

void client_hello(struct local_msg *m, int role)
{
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = LOCAL_MAGIC;
    m->arg[1] = LOCAL_VERSION;
    m->arg[2] = (uint64_t)getpid();
    m->arg[3] = (uint64_t)role;
}

/* How long an answer may take; 0: as long as it takes. */
void client_limit_answer(const struct mob *mob, int seconds)
{
    struct timeval limit = {.tv_sec = seconds};
    (void)setsockopt(mob->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* Says hello with @fds until the node has room for the job: it says MOB_ERR_TIMEOUT while objects go to disk to
 * make some. */
static mob_status ask_for_job(struct mob *mob, const struct mob_config *config,
                              size_t size, int fds[4], struct local_msg *m, int *got,
                              unsigned *count)
{
    const char *name =
        config->job_name ? config->job_name : program_invocation_short_name;
    const uint64_t deadline_ns = clock_deadline_ns(JOB_ROOM_NS);
    for (;;) {
        client_hello(m, LOCAL_DRIVER);
        m->arg[4] = size;
        m->arg[5] = (config->no_log_forward ? 1u : 0u) | (mob->inline_tasks ? 2u : 0u) |
                    (uint64_t)config->weight << 32;
        local_msg_text(m, name);
        mob_status st = client_ask(mob, m, fds, 4, got, count);
        if (st != MOB_ERR_TIMEOUT || m->status != MOB_ERR_TIMEOUT) {
            return st; /* or it does not answer at all */
        }
        if (clock_now_ns() >= deadline_ns) {
            return status_fail(MOB_ERR_NOMEM, "%s", mob_last_error());
        }
        (void)poll(NULL, 0, JOB_ROOM_NAP_MS);
    }
}

static mob_status say_hello(struct mob *mob, const struct mob_config *config)
{
    void *spawn = NULL, *base = NULL;
    size_t size;
    int fds[4] = {-1, -1, -1, -1}, got[LOCAL_FDS_MAX];
    unsigned count = 0;
    struct local_msg *m = malloc(sizeof *m);
    mob_status st = m ? local_spawn_pack(&spawn, &size) : MOB_ERR_NOMEM;
    if (st) {
        goto out;
    }
    st = seg_create("mobula-start", size, &fds[1]);
    if (st) {
        goto out;
    }
    st = seg_map(fds[1], size, SEG_WRITE, &base);
    if (st) {
        goto out;
    }
    memcpy(base, spawn, size);
    seg_unmap(base, size);
    fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    fds[2] = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    fds[3] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    for (int i = 2; i < 4; i++) {
        if (fds[i] < 0) { /* closed in this program: its workers' output goes nowhere */
            fds[i] = open("/dev/null", O_WRONLY | O_CLOEXEC);
        }
    }
    if (fds[0] < 0) {
        st = status_fail(MOB_ERR_SYSTEM, "opening this program's own executable: %m");
        goto out;
    }
    st = ask_for_job(mob, config, size, fds, m, got, &count);
    if (!st) {
        st = accept_hello(mob, m, got, count, 3);
    }
out:
    close_all(fds, 4);
    free(spawn);
    free(m);
    return st;
}

/* ---- the program and its node ---------------------------------------------------------------------------- */

/* If the program has closed its standard streams, no file of ours may come to be one: what it prints
 * would go into our socket. Places are held while we open ours. */
static unsigned hold_standard_streams(void)
{
    unsigned held = 0;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int null = fcntl(fd, F_GETFD) < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;
        if (null == fd) {
            held |= 1u << fd;
        } else if (null >= 0) { /* another thread was first */
            close(null);
        }
    }
    return held;
}

static void let_standard_streams_go(unsigned held)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (held & 1u << fd) {
            close(fd);
        }
    }
}

static mob_status join(struct mob *mob, const struct mob_config *config)
{
    int why;
    MOB_TRY(client_connect(mob, config, &why));
    bool embedded = why >= 0;
    client_limit_answer(mob, embedded ? 0 : HELLO_S);
    mob_status st = say_hello(mob, config);
    client_limit_answer(mob, 0);
    if (embedded) {
        st = st ? embedded_failed(mob, st, why) : MOB_OK;
        close(why);
    }
    return st ? st : start_watcher(mob);
}

mob_status client_join(struct mob *mob, const struct mob_config *config)
{
    unsigned held = hold_standard_streams();
    mob_status st = join(mob, config);
    let_standard_streams_go(held);
    return st;
}

mob_status client_join_worker(struct mob *mob, int sock)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count = 0;
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    mob->sock = sock;
    client_hello(m, LOCAL_WORKER);
    mob_status st = client_ask(mob, m, NULL, 0, fds, &count);
    if (!st) {
        st = accept_hello(mob, m, fds, count, 2);
    }
    free(m);
    return st;
}

void client_leave(struct mob *mob)
{
    struct local_msg *m = malloc(sizeof *m);
    if (m && mob->watching && !at_load(&mob->lost, AT_ACQUIRE)) { /* it has joined */
        local_msg_init(m, LOCAL_LEAVE);
        (void)client_ask(mob, m, NULL, 0, NULL, NULL);
    }
    free(m);
    if (mob->sock >= 0) {
        /* An embedded node ends at this, and the watcher with it. Shut down, and not only closed: a
         * child that was made without fork()'s handlers may have the socket too. */
        shutdown(mob->sock, SHUT_RDWR);
        close(mob->sock);
        mob->sock = -1; /* threads' parts end after it, and may have something to tell */
    }
    if (mob->daemon_pid > 0) {
        int status;
        while (waitpid(mob->daemon_pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    at_store(&mob->closed, 1, AT_SEQ_CST);
    if (mob->watching) {
        pthread_join(mob->watcher, NULL);
    }
    if (mob->watch >= 0) {
        close(mob->watch);
    }
}
