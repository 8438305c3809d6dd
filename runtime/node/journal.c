#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/status.h"
#include "journal_db.h"

enum request_kind { REQUEST_PUT, REQUEST_REMOVE, REQUEST_CLEAR };

struct request {
    struct request *next;
    enum request_kind kind;
    bool quiet;
    struct journal_member member;
    char bytes[]; /* that it points to */
};

struct list {
    struct request *first, **end;
};

struct journal {
    struct journal_config config;
    struct journal_db db; /* the thread's, once anything was requested */
    struct loop_op op;
    struct loop_timer retry;
    bool stopping, ended;
    bool broken; /* the table may be without something: it is to be written anew */
    struct list
        rewriting; /* in one piece, so that it is one transaction; while it is made: */
    bool making;
    char trouble[512];

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    int bell;
    /* Under the lock: */
    bool quit;
    struct list todo, done;
    mob_status failure; /* of a transaction since the loop looked last, and why */
    bool rewritten;     /* the last transaction was a rewrite, and is kept */
    char why[512];
};

static void list_init(struct list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_move(struct list *from, struct list *to)
{
    if (from->first) {
        *to->end = from->first;
        to->end = from->end;
        list_init(from);
    }
}

static void list_free(struct list *l)
{
    while (l->first) {
        struct request *r = l->first;
        l->first = r->next;
        free(r);
    }
    list_init(l);
}

/* ---- the thread -------------------------------------------------------------------------------------- */

static mob_status carry_out(struct journal_db *db, const struct request *r)
{
    switch (r->kind) {
    case REQUEST_PUT:
        return journal_db_put(db, &r->member);
    case REQUEST_REMOVE:
        return journal_db_remove(db, r->member.node);
    case REQUEST_CLEAR:
        return journal_db_clear(db);
    }
    return MOB_ERR_INVALID;
}

static mob_status write_all(struct journal_db *db, const struct list *l)
{
    mob_status st = journal_db_begin(db);
    for (const struct request *r = l->first; r && !st; r = r->next) {
        st = carry_out(db, r);
    }
    return journal_db_end(db, st);
}

static bool has_rewrite(const struct list *l)
{
    const struct request *r = l->first;
    while (r && r->kind != REQUEST_CLEAR) {
        r = r->next;
    }
    return r != NULL;
}

static void *serve(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    while (j->todo.first || !j->quit) {
        struct list now;
        if (!j->todo.first) {
            pthread_cond_wait(&j->more, &j->lock);
            continue;
        }
        list_init(&now);
        list_move(&j->todo, &now);
        pthread_mutex_unlock(&j->lock);
        mob_status st = write_all(&j->db, &now);
        pthread_mutex_lock(&j->lock);
        if (st) {
            j->failure = st;
            snprintf(j->why, sizeof j->why, "%s", mob_last_error());
            j->rewritten = false;
        } else if (has_rewrite(&now)) {
            j->rewritten = true;
        }
        list_move(&now, &j->done);
        (void)eventfd_write(j->bell, 1);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* Signals are the loop's thread's affair. */
static mob_status start_thread(struct journal *j)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&j->thread, NULL, serve, j);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? MOB_OK
                   : status_fail(MOB_ERR_SYSTEM,
                                 "a thread for the head's database: %s. Raise `ulimit "
                                 "-u` or the container's limit of pids",
                                 strerror(rc));
}

/* ---- requests ---------------------------------------------------------------------------------------- */

/* With a copy of all that the member's row is made of. */
static struct request *request_new(const struct journal_member *m)
{
    const char *host = m->host ? m->host : "", *address = m->address ? m->address : "";
    size_t host_size = strlen(host) + 1, address_size = strlen(address) + 1;
    struct request *r = calloc(1, sizeof *r + host_size + address_size + m->size);
    if (!r) {
        log_error("no memory for a word to the head's database; ending");
        abort(); /* a node that is dead to some and alive to others is worse than a dead head */
    }
    char *words = r->bytes + host_size + address_size;
    memcpy(r->bytes, host, host_size);
    memcpy(r->bytes + host_size, address, address_size);
    if (m->words) {
        memcpy(words, m->words, m->size);
    }
    r->member = (struct journal_member){.node = m->node,
                                        .host = r->bytes,
                                        .address = r->bytes + host_size,
                                        .words = words,
                                        .size = m->size};
    return r;
}

static void request(struct journal *j, enum request_kind kind,
                    const struct journal_member *m, bool quiet)
{
    struct request *r = request_new(m);
    r->kind = kind;
    r->quiet = quiet;
    struct list one = {r, &r->next};
    if (j->making) {
        list_move(&one, &j->rewriting);
        return;
    }
    pthread_mutex_lock(&j->lock);
    list_move(&one, &j->todo);
    pthread_cond_signal(&j->more);
    pthread_mutex_unlock(&j->lock);
}

void journal_put(struct journal *j, const struct journal_member *m, bool quiet)
{
    MOB_ASSERT(m->node && m->size > 0 && m->size <= JOURNAL_WORDS_MAX);
    request(j, REQUEST_PUT, m, quiet);
}

void journal_remove(struct journal *j, uint64_t node, bool quiet)
{
    request(j, REQUEST_REMOVE, &(struct journal_member){.node = node}, quiet);
}

static void rewrite(struct loop_timer *timer)
{
    struct journal *j = LOOP_OWNER(timer, struct journal, retry);
    j->making = true;
    request(j, REQUEST_CLEAR, &(struct journal_member){0}, true);
    j->config.rewrite(j->config.arg);
    j->making = false;
    pthread_mutex_lock(&j->lock);
    list_move(&j->rewriting, &j->todo);
    pthread_cond_signal(&j->more);
    pthread_mutex_unlock(&j->lock);
}

/* ---- answers ----------------------------------------------------------------------------------------- */

static void in_trouble(struct journal *j, const char *why)
{
    if (!j->broken) {
        log_error("the head's database: %s. The head goes on, but does not know its "
                  "cluster again if it is killed now: make room on that disk, or make it "
                  "writable; it is tried again every %llu s",
                  why, (unsigned long long)(JOURNAL_RETRY_NS / NS_PER_S));
    }
    j->broken = true;
    snprintf(j->trouble, sizeof j->trouble, "%s", why);
    loop_timer_start(j->config.loop, &j->retry,
                     loop_now_ns(j->config.loop) + JOURNAL_RETRY_NS, rewrite);
}

static void note_health(struct journal *j, mob_status failure, bool rewritten,
                        const char *why)
{
    if (failure && !rewritten) {
        in_trouble(j, why);
    } else if (rewritten) {
        log_info("the head's database is whole again");
        loop_timer_stop(j->config.loop, &j->retry);
        j->broken = false;
    }
}

static void answer(struct journal *j, const struct request *r)
{
    if (r->quiet || j->stopping) {
        return;
    }
    if (r->kind == REQUEST_PUT) {
        j->config.kept(j->config.arg, r->member.node);
    } else {
        j->config.gone(j->config.arg, r->member.node);
    }
}

static void answered(struct loop_op *op, int result)
{
    struct journal *j = LOOP_OWNER(op, struct journal, op);
    struct list done;
    eventfd_t rung;
    char why[sizeof j->why];
    if (result < 0) {
        j->ended = true;
        j->config.ended(j->config.arg);
        return;
    }
    (void)eventfd_read(j->bell, &rung);
    list_init(&done);
    pthread_mutex_lock(&j->lock);
    list_move(&j->done, &done);
    mob_status failure = j->failure;
    bool rewritten = j->rewritten;
    j->failure = MOB_OK;
    j->rewritten = false;
    memcpy(why, j->why, sizeof why);
    pthread_mutex_unlock(&j->lock);
    note_health(j, failure, rewritten, why);
    for (struct request *r = done.first; r; r = r->next) {
        answer(j, r);
    }
    list_free(&done);
}

/* ---- beginning and end ------------------------------------------------------------------------------- */

mob_status journal_open(const struct journal_config *config, struct journal **ret)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j) {
        return status_fail(MOB_ERR_NOMEM, "no memory for the head's database");
    }
    j->config = *config;
    list_init(&j->todo);
    list_init(&j->done);
    list_init(&j->rewriting);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->more, NULL);
    j->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    mob_status st = j->bell < 0 ? status_fail(MOB_ERR_SYSTEM, "eventfd: %m") : MOB_OK;
    if (!st) {
        st = journal_db_open(config, &j->db);
    }
    if (!st && j->db.uncounted) {
        in_trouble(j, mob_last_error());
    }
    if (!st) {
        st = start_thread(j);
    }
    if (st) {
        loop_timer_stop(config->loop, &j->retry);
        journal_db_close(&j->db);
        if (j->bell >= 0) {
            close(j->bell);
        }
        free(j);
        return st;
    }
    loop_watch(config->loop, &j->op, j->bell, POLLIN, answered);
    *ret = j;
    return MOB_OK;
}

uint64_t journal_head(const struct journal *j)
{
    return j->db.head;
}

mob_status journal_members(struct journal *j,
                           void (*each)(void *arg, const struct journal_member *m),
                           void *arg)
{
    return journal_db_members(&j->db, each, arg);
}

const char *journal_trouble(const struct journal *j)
{
    return j && j->broken ? j->trouble : NULL;
}

void journal_stop(struct journal *j)
{
    if (j && !j->stopping) {
        j->stopping = true;
        loop_timer_stop(j->config.loop, &j->retry);
        loop_cancel(j->config.loop, &j->op);
    }
}

bool journal_ended(const struct journal *j)
{
    return !j || j->ended;
}

void journal_close(struct journal *j, bool over)
{
    if (!j) {
        return;
    }
    pthread_mutex_lock(&j->lock);
    j->quit = true;
    pthread_cond_signal(&j->more);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    journal_db_close(&j->db);
    if (over) {
        (void)unlink(j->db.path); /* its log goes when it is closed */
    }
    list_free(&j->done);
    list_free(&j->todo);
    list_free(&j->rewriting);
    pthread_cond_destroy(&j->more);
    pthread_mutex_destroy(&j->lock);
    close(j->bell);
    free(j);
}
