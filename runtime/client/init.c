#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "core/clock.h"
#include "core/machine.h"
#include "core/labels.h"
#include "core/resources.h"
#include "core/status.h"
#include "core/text.h"
#include "local.h"

static int joined_fd = -1; /* of this worker, once mob_init() was called */

static int worker_fd(void)
{
    const char *text = getenv(LOCAL_WORKER_ENV);
    uint64_t fd;
    return joined_fd < 0 && text && !text_parse_u64(text, 0, INT_MAX, &fd) ? (int)fd
                                                                           : joined_fd;
}

int mob_is_worker(void)
{
    return worker_fd() >= 0;
}

/* Handles that were shut down: their memory stays, at most what was open at once, so that a call with
 * one looks at a serial number that is no thread's, and not at what is no memory any more. */
static struct mob *spare;
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;

static void spare_put(struct mob *mob)
{
    mob->serial = UINT64_MAX;
    pthread_mutex_lock(&spare_lock);
    mob->next_spare = spare;
    spare = mob;
    pthread_mutex_unlock(&spare_lock);
}

static struct mob *spare_take(void)
{
    pthread_mutex_lock(&spare_lock);
    struct mob *mob = spare;
    if (mob) {
        spare = mob->next_spare;
    }
    pthread_mutex_unlock(&spare_lock);
    if (mob) {
        memset(mob, 0, sizeof *mob);
        mob->serial = UINT64_MAX; /* until it is open */
    } else {
        mob = calloc(1, sizeof *mob);
    }
    return mob;
}

static void mob_free(struct mob *mob)
{
    if (mob->board.base) {
        if (mob->board.bell >= 0) {
            close(mob->board.bell);
        }
        board_unmap(&mob->board);
    }
    client_memory_end(mob);
    spare_put(mob);
}

static mob_status mob_new(struct mob **ret)
{
    struct mob *mob = spare_take();
    if (!mob) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a handle");
    }
    mob->sock = mob->watch = -1;
    mob->pid = getpid();
    pthread_mutex_init(&mob->sock_lock, NULL);
    pthread_mutex_init(&mob->memory_lock, NULL);
    pthread_mutex_init(&mob->threads_lock, NULL);
    mob_status st = arena_create(&mob->arena);
    if (st) {
        spare_put(mob);
        return st;
    }
    *ret = mob;
    return MOB_OK;
}

/* About what a wake-up across CPUs costs: who spins longer than that would have done better to sleep,
 * who sleeps earlier pays the wake-up where a moment would have done. */
enum { SPIN_US = 50, SPIN_US_MAX = 1000000 };

/* MOBULA_SPIN_US, how long a process looks for work or a result before it sleeps. */
static mob_status read_spin(struct mob *mob)
{
    const char *text = getenv("MOBULA_SPIN_US");
    char *end = NULL;
    unsigned long us = text && text[0] ? strtoul(text, &end, 10) : SPIN_US;
    if ((end && (*end || text[0] < '0' || text[0] > '9')) || us > SPIN_US_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "MOBULA_SPIN_US is '%s'; a number of microseconds up to %d is "
                           "expected",
                           text, SPIN_US_MAX);
    }
    mob->spin_ns = us * NS_PER_US;
    return MOB_OK;
}

/* What one process keeps for its next large objects: memory is given back at once when others want it. */
enum { KEEP_DIVISOR = 4 };

static void announce(struct mob *mob)
{
    struct board *b = &mob->board;
    arena_keep(mob->arena, mob->store_bytes / KEEP_DIVISOR);
    at_or(&b->header->awake[mob->self / 64], 1ull << mob->self % 64, AT_RELAXED);
    /* Not the newest word, though nothing is mapped yet: what was revoked meanwhile is let go of as
     * ever, and the daemon, which may wait for that, hears of it. */
    mob->revoked_seen = at_load(&b->procs[mob->self].revoked_seen, AT_RELAXED);
}

static void be_worker(struct mob *mob, int fd) __attribute__((noreturn));
static void be_worker(struct mob *mob, int fd)
{
    /* From here on it is this process's alone: programs that a task starts are no workers. Until
     * here it was inherited, because a program may exec() itself before it comes to mob_init(). */
    joined_fd = fd;
    unsetenv(LOCAL_WORKER_ENV);
    threads_begin(mob);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    mob->worker = true;
    mob_status st = client_join_worker(mob, fd);
    if (!st) {
        st = client_opened(mob);
    }
    if (st) {
        fprintf(stderr, "mobula: a worker could not join its node: %s\n",
                mob_last_error());
        _exit(4);
    }
    announce(mob);
    worker_run(mob);
}

/* An older program knows less of the struct. */
static mob_status read_config(const struct mob_config *given, struct mob_config *ret)
{
    if (given &&
        (given->struct_size < sizeof(size_t) || given->struct_size > sizeof *ret)) {
        return status_fail(MOB_ERR_INVALID, "mob_init: set config.struct_size to "
                                            "sizeof(struct mob_config)");
    }
    if (given) {
        memcpy(ret, given, given->struct_size);
    }
    if (ret->num_cpus > NODE_CPUS_MAX) {
        return status_fail(MOB_ERR_INVALID, "mob_init: num_cpus is %u, and at most %d",
                           ret->num_cpus, NODE_CPUS_MAX);
    }
    if (ret->num_gpus > NODE_GPUS_MAX || ret->num_gpus < MOB_NO_GPU) {
        return status_fail(MOB_ERR_INVALID, "mob_init: num_gpus is %d, and at most %d",
                           ret->num_gpus, NODE_GPUS_MAX);
    }
    if (ret->pin < MOB_NO_PIN || ret->pin > MOB_PIN) {
        return status_fail(
            MOB_ERR_INVALID,
            "mob_init: pin is %d, which is none of MOB_PIN, MOB_NO_PIN and 0", ret->pin);
    }
    if (ret->weight > MOB_WEIGHT_MAX) {
        return status_fail(MOB_ERR_INVALID, "mob_init: weight is %u, and at most %u",
                           ret->weight, MOB_WEIGHT_MAX);
    }
    struct resources unused = {0};
    MOB_TRY(ret->resources ? resources_parse(&unused, ret->resources) : MOB_OK);
    MOB_TRY(ret->labels ? labels_check(ret->labels) : MOB_OK);
    return MOB_OK;
}

mob_status mob_init(const struct mob_config *config, struct mob **ret)
{
    struct mob *mob = NULL;
    struct mob_config c = {.struct_size = sizeof c};
    if (!ret) {
        return status_fail(MOB_ERR_INVALID, "mob_init: no place for the handle");
    }
    MOB_TRY(read_config(config, &c));
    if (client_forked()) {
        return status_fail(MOB_ERR_FORKED,
                           "this process was made by fork() from one that uses "
                           "mobula; exec() first");
    }
    if (joined_fd >= 0) {
        return status_fail(MOB_ERR_STATE, "mob_init: this process is a worker already; a "
                                          "task has the handle mob_task_mob()");
    }
    MOB_TRY(registry_error());
    MOB_TRY(mob_new(&mob));
    const char *wait_gdb = getenv("MOBULA_WAIT_GDB");
    mob->wait_gdb = wait_gdb && wait_gdb[0] ? wait_gdb : NULL;
    mob_status st = read_spin(mob);
    if (st) {
        mob_free(mob);
        return st;
    }
    if (worker_fd() >= 0) {
        be_worker(mob, worker_fd());
    }
    const char *inline_tasks = getenv("MOBULA_INLINE");
    mob->inline_tasks = inline_tasks && strcmp(inline_tasks, "0") != 0 && inline_tasks[0];
    st = client_join(mob, &c);
    if (!st) {
        st = client_opened(mob);
    }
    if (st) {
        client_leave(mob);
        mob_free(mob);
        return st;
    }
    announce(mob);
    *ret = mob;
    return MOB_OK;
}

void mob_shutdown(struct mob *mob)
{
    if (!mob || client_forked() || mob_is_worker() || !client_closed(mob)) {
        return;
    }
    client_leave(mob);
    client_threads_end(mob);
    mob_free(mob);
}

mob_status mob_get_info(struct mob *mob, struct mob_info *info)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    if (!info || info->struct_size < sizeof(size_t) || info->struct_size > sizeof *info) {
        return status_fail(MOB_ERR_INVALID, "mob_get_info: set info.struct_size");
    }
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    client_let_go(mob);
    local_msg_init(m, LOCAL_INFO);
    mob_status st = client_ask(mob, m, NULL, 0, NULL, NULL);
    if (!st) {
        struct mob_info got = {.struct_size = info->struct_size,
                               .node_id = m->arg[0],
                               .job = (uint32_t)m->arg[1],
                               .num_cpus = (uint32_t)m->arg[2],
                               .store_bytes = m->arg[3],
                               .store_used_bytes = m->arg[4],
                               .nodes = (uint32_t)(m->arg[5] >> 32),
                               .workers = (uint32_t)m->arg[5],
                               .embedded = mob->embedded};
        memcpy(info, &got, info->struct_size);
    }
    free(m);
    return st;
}
