#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"
#include "core/status.h"

/* The thread that this handle was used by last, so that the task path finds its lane in one load. */
_Thread_local struct thread *client_current __attribute__((tls_model("initial-exec")));
static _Thread_local uint64_t current_serial __attribute__((tls_model("initial-exec")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its destructor ends a thread's lanes when the thread ends */
static bool forked;       /* set in a fork()ed child for good */

static void in_child(void)
{
    forked = true;
    client_current = NULL; /* so that every call comes to client_thread_slow() */
}

/* Handles that are open, so that a thread that ends after mob_shutdown() touches nothing. */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t open_serials[64];

static void thread_ended(void *value)
{
    struct thread *t = value;
    pthread_mutex_lock(&open_lock);
    bool open = false;
    for (size_t i = 0; i < sizeof open_serials / sizeof open_serials[0]; i++) {
        open |= open_serials[i] != 0 && open_serials[i] == current_serial;
    }
    if (open && !forked) {
        struct mob *mob = t->mob;
        pthread_mutex_lock(&mob->threads_lock);
        for (struct thread **at = &mob->threads; *at; at = &(*at)->next) {
            if (*at == t) {
                *at = t->next;
                break;
            }
        }
        pthread_mutex_unlock(&mob->threads_lock);
        lane_fini(&t->lane);
        free(t);
    }
    pthread_mutex_unlock(&open_lock);
    client_current = NULL;
}

static void make_key(void)
{
    pthread_key_create(&key, thread_ended);
    pthread_atfork(NULL, NULL, in_child);
}

mob_status client_opened(struct mob *mob)
{
    static uint64_t last;
    pthread_once(&once, make_key);
    pthread_mutex_lock(&open_lock);
    mob->serial = ++last;
    mob_status st = MOB_ERR_FULL;
    for (size_t i = 0; st && i < sizeof open_serials / sizeof open_serials[0]; i++) {
        if (open_serials[i] == 0) {
            open_serials[i] = mob->serial;
            st = MOB_OK;
        }
    }
    pthread_mutex_unlock(&open_lock);
    return st ? status_fail(st, "this process has too many open handles") : MOB_OK;
}

void client_closed(struct mob *mob)
{
    pthread_mutex_lock(&open_lock);
    for (size_t i = 0; i < sizeof open_serials / sizeof open_serials[0]; i++) {
        if (open_serials[i] == mob->serial) {
            open_serials[i] = 0;
        }
    }
    pthread_mutex_unlock(&open_lock);
}

static mob_status join_thread(struct mob *mob, struct thread **ret)
{
    struct thread *t = NULL;
    pthread_mutex_lock(&mob->threads_lock);
    for (t = mob->threads; t && !(t->owner == pthread_self()); t = t->next) {
    }
    pthread_mutex_unlock(&mob->threads_lock);
    if (!t) {
        t = aligned_alloc(CACHE_LINE, (sizeof *t + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
        if (!t) {
            return status_fail(MOB_ERR_NOMEM, "no memory for a thread's state");
        }
        *t = (struct thread){.mob = mob, .owner = pthread_self()};
        mob_status st = lane_init(&t->lane, &mob->board, mob->self, client_free_place, mob);
        if (st) {
            free(t);
            return st;
        }
        pthread_mutex_lock(&mob->threads_lock);
        t->next = mob->threads;
        mob->threads = t;
        pthread_mutex_unlock(&mob->threads_lock);
    }
    pthread_setspecific(key, t);
    client_current = t;
    current_serial = mob->serial;
    *ret = t;
    return MOB_OK;
}

mob_status client_thread_slow(struct mob *mob, struct thread **ret)
{
    if (!mob) {
        return status_fail(MOB_ERR_INVALID, "the handle is NULL");
    }
    if (forked) {
        return status_fail(MOB_ERR_FORKED, "this process was made by fork() and has no part in "
                                           "the job; call mobula from the parent, or exec() first");
    }
    if (at_load(&mob->closed, AT_RELAXED)) {
        return status_fail(MOB_ERR_CLOSED, "mob_shutdown() was called on this handle");
    }
    if (client_current && current_serial == mob->serial) {
        *ret = client_current;
        return MOB_OK;
    }
    return join_thread(mob, ret);
}

bool client_forked(void)
{
    return forked;
}

void client_threads_end(struct mob *mob)
{
    while (mob->threads) {
        struct thread *t = mob->threads;
        mob->threads = t->next;
        lane_fini(&t->lane);
        free(t);
    }
    client_current = NULL;
    current_serial = 0;
    pthread_setspecific(key, NULL);
}
