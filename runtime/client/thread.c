#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"
#include "core/status.h"

/* What this thread has in the handle that it used last, so that the task path finds its lane in one
 * load. */
_Thread_local struct thread *client_current __attribute__((tls_model("initial-exec")));
_Thread_local uint64_t client_serial __attribute__((tls_model("initial-exec")));

enum { HANDLES_MAX = 64 }; /* open in one process at once */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its destructor ends a thread's lanes when the thread ends */
static bool forked;       /* set in a fork()ed child for good */

/* Handles that are open, so that a thread that ends gives back what it has in each, and after
 * mob_shutdown() touches nothing. */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mob *open_handles[HANDLES_MAX];

/* The node must see the end of the parent, even if the child lives on: the child closes what the
 * node knows the parent by. The parent may hold any lock at this moment, so none is taken. */
static void in_child(void)
{
    forked = true;
    client_current = NULL;
    client_serial = 0; /* so that every call comes to client_thread_slow() */
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        if (open_handles[i]) {
            close(open_handles[i]->sock);
            close(open_handles[i]->watch);
        }
    }
}

/* Takes the calling thread's part out of a handle's list. */
static struct thread *unlist(struct mob *mob)
{
    struct thread *t = NULL;
    pthread_mutex_lock(&mob->threads_lock);
    for (struct thread **at = &mob->threads; *at; at = &(*at)->next) {
        if (pthread_equal((*at)->owner, pthread_self())) {
            t = *at;
            *at = t->next;
            break;
        }
    }
    pthread_mutex_unlock(&mob->threads_lock);
    return t;
}

static void thread_ended(void *value)
{
    (void)value;
    pthread_mutex_lock(&open_lock);
    for (size_t i = 0; i < HANDLES_MAX && !forked; i++) {
        struct thread *t = open_handles[i] ? unlist(open_handles[i]) : NULL;
        if (t) {
            client_return_batches(open_handles[i], t);
            lane_fini(&t->lane);
            free(t);
        }
    }
    pthread_mutex_unlock(&open_lock);
    client_current = NULL;
    client_serial = 0;
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
    for (size_t i = 0; st && i < HANDLES_MAX; i++) {
        if (!open_handles[i]) {
            open_handles[i] = mob;
            st = MOB_OK;
        }
    }
    pthread_mutex_unlock(&open_lock);
    return st ? status_fail(st,
                            "this process has %d open handles, the most that it may have",
                            HANDLES_MAX)
              : MOB_OK;
}

/* The handle's place in the list, or HANDLES_MAX if it is not open. Does not look into it. */
static size_t find_open(const struct mob *mob)
{
    size_t i = 0;
    while (i < HANDLES_MAX && open_handles[i] != mob) {
        i++;
    }
    return i;
}

bool client_closed(struct mob *mob)
{
    pthread_mutex_lock(&open_lock);
    size_t i = find_open(mob);
    if (i < HANDLES_MAX) {
        open_handles[i] = NULL;
    }
    pthread_mutex_unlock(&open_lock);
    return i < HANDLES_MAX;
}

/* Stands in a thread's cache of one function before its first submit: NULL is what a user may give. */
mob_status client_no_function(struct mob_task *task)
{
    (void)task;
    return MOB_ERR_NO_FUNCTION;
}

static mob_status join_thread(struct mob *mob, struct thread **ret)
{
    struct thread *t = NULL;
    pthread_mutex_lock(&mob->threads_lock);
    for (t = mob->threads; t && !pthread_equal(t->owner, pthread_self()); t = t->next) {
    }
    pthread_mutex_unlock(&mob->threads_lock);
    if (!t) {
        t = aligned_alloc(CACHE_LINE,
                          (sizeof *t + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
        if (!t) {
            return status_fail(MOB_ERR_NOMEM, "no memory for a thread's state");
        }
        *t = (struct thread){.mob = mob,
                             .owner = pthread_self(),
                             .fn = client_no_function,
                             .plain_fn = client_no_function};
        task_init(&t->top, mob, t);
        mob_status st =
            lane_init(&t->lane, &mob->board, mob->self, client_free_place, mob);
        if (st) {
            free(t);
            return st;
        }
        t->lane.freeing = client_freeing;
        t->lane.owes = mob->worker; /* it sleeps nowhere but in the library */
        pthread_mutex_lock(&mob->threads_lock);
        t->next = mob->threads;
        mob->threads = t;
        pthread_mutex_unlock(&mob->threads_lock);
    }
    pthread_setspecific(key, t); /* any value: the destructor runs */
    client_current = t;
    client_serial = mob->serial;
    *ret = t;
    return MOB_OK;
}

mob_status client_thread_slow(struct mob *mob, struct thread **ret)
{
    if (!mob) {
        return status_fail(MOB_ERR_INVALID, "the handle is NULL");
    }
    if (forked) {
        return status_fail(MOB_ERR_FORKED,
                           "this process was made by fork() and has no part in "
                           "the job; call mobula from the parent, or exec() first");
    }
    pthread_mutex_lock(&open_lock);
    bool open = find_open(mob) < HANDLES_MAX;
    pthread_mutex_unlock(&open_lock);
    if (!open) {
        return status_fail(MOB_ERR_CLOSED, "mob_shutdown() was called on this handle");
    }
    if (client_current && client_serial == mob->serial) {
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
        lane_fini(&t->lane); /* what its batches have left ends with the arena */
        free(t);
    }
    client_current = NULL;
    client_serial = 0;
}
