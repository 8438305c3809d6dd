/* loop_files.c - one thread that reads, writes and allocates files, in the order in which it is asked.
 *
 * Files have no readiness: a call on one takes as long as the disk does. Made by the loop's own thread,
 * each write of a spilled object would hold up all messages, all deaths and all grants for that long.
 * One thread is enough: what is written here is written in large blocks, and who reads waits for the
 * same disk. Its queue is a list through the requests themselves, so it is bounded by what their owners
 * have in flight. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/status.h"
#include "loop_impl.h"

enum { STACK_BYTES = 256 << 10 };

/* A part of an allocation, some milliseconds: between two of them others have their turn, and the rest
 * can be cancelled. */
#define ALLOCATE_STEP (16ull << 20)

static ssize_t perform(struct loop_op *op)
{
    uint64_t step;
    switch ((enum kind)op->kind) {
    case KIND_READ:
        return op->offset == UINT64_MAX
                   ? read(op->fd, op->addr, op->size)
                   : pread(op->fd, op->addr, op->size, (off_t)op->offset);
    case KIND_WRITE:
        return op->offset == UINT64_MAX
                   ? write(op->fd, op->addr, op->size)
                   : pwrite(op->fd, op->addr, op->size, (off_t)op->offset);
    case KIND_ALLOCATE:
        step = op->length < ALLOCATE_STEP ? op->length : ALLOCATE_STEP;
        if (fallocate(op->fd, 0, (off_t)op->offset, (off_t)step) < 0) {
            return -1;
        }
        op->offset += step;
        op->length -= step;
        return 0;
    default:
        errno = EINVAL;
        return -1;
    }
}

static void append(struct loop_files *f, struct loop_op *op)
{
    op->next = NULL;
    *f->tail = op;
    f->tail = &op->next;
}

static struct loop_op *take_first(struct loop_files *f)
{
    struct loop_op *op = f->head;
    f->head = op->next;
    if (f->head == NULL) {
        f->tail = &f->head;
    }
    return op;
}

/* One step of one request, with the lock held before and after. */
static void step(struct loop_files *f)
{
    struct loop_op *op = take_first(f);
    f->running = op;
    f->stop = false;
    pthread_mutex_unlock(&f->lock);
    ssize_t n = perform(op);
    int result = n < 0 ? -errno : (int)n;
    pthread_mutex_lock(&f->lock);
    f->running = NULL;
    if (op->kind == KIND_ALLOCATE && result == 0 && op->length != 0) {
        if (!f->stop) {
            append(f, op);
            return;
        }
        result = -ECANCELED;
    }
    op->result = result;
    op->next = f->ended;
    f->ended = op;
    if (op->next == NULL) { /* else the bell has rung and nobody came yet */
        (void)eventfd_write(f->bell, 1);
    }
}

static void *serve(void *arg)
{
    struct loop_files *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->quit) {
        if (f->head != NULL) {
            step(f);
        } else {
            pthread_cond_wait(&f->more, &f->lock);
        }
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Signals are the loop's thread's affair. */
static int start_thread(struct loop_files *f)
{
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&f->thread, &attr, serve, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rc;
}

mob_status loop_files_open(struct loop_files *f)
{
    *f = (struct loop_files){.tail = &f->head};
    f->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->bell < 0) {
        return status_fail(MOB_ERR_SYSTEM, "an eventfd for an event loop: %m");
    }
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->more, NULL);
    int rc = start_thread(f);
    if (rc != 0) {
        close(f->bell);
        return status_fail(
            MOB_ERR_SYSTEM,
            "a thread for the files of an event loop: %s. Raise `ulimit -u` "
            "or the container's limit of pids",
            strerror(rc));
    }
    return MOB_OK;
}

void loop_files_close(struct loop_files *f)
{
    pthread_mutex_lock(&f->lock);
    f->quit = true;
    pthread_cond_signal(&f->more);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->more);
    pthread_mutex_destroy(&f->lock);
    close(f->bell);
}

void loop_files_give(struct loop_files *f, struct loop_op *op)
{
    pthread_mutex_lock(&f->lock);
    append(f, op);
    pthread_cond_signal(&f->more);
    pthread_mutex_unlock(&f->lock);
}

bool loop_files_cancel(struct loop_files *f, struct loop_op *op)
{
    pthread_mutex_lock(&f->lock);
    struct loop_op **at = &f->head;
    while (*at != NULL && *at != op) {
        at = &(*at)->next;
    }
    bool waits = *at != NULL;
    if (waits) {
        *at = op->next;
        if (op->next == NULL) {
            f->tail = at;
        }
    } else if (f->running == op) {
        f->stop = true;
    }
    pthread_mutex_unlock(&f->lock);
    return waits;
}

struct loop_op *loop_files_take(struct loop_files *f)
{
    pthread_mutex_lock(&f->lock);
    struct loop_op *op = f->ended, *list = NULL;
    f->ended = NULL;
    pthread_mutex_unlock(&f->lock);
    while (op != NULL) {
        struct loop_op *next = op->next;
        op->next = list;
        list = op;
        op = next;
    }
    return list;
}
