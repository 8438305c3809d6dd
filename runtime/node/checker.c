/* checker.c - a child of the daemon that looks at all boards from their first to their last byte.
 *
 * It maps them anew, read-only, writes what it found into a pipe, and exits. Whatever a job wrote on
 * its board can harm that child alone; and if it hangs, it is killed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "core/status.h"
#include "inspect.h"
#include "spill.h"

enum { CHECKERS_MAX = 4, TEXT_MAX_BYTES = 16 << 20, COPIES_MAX = 4096 };
enum {
    FILES_MAX = 4096, /* on disk, of one job; what lies in more is not read */
    KEEP_MAX = JOBS_MAX * (BOARD_SEGMENTS_MAX + FILES_MAX + 1) + 1
};

struct checker {
    struct checker *next;
    struct node *node;
    struct asker asker; /* nobody, once it is gone */
    pid_t pid;
    int fd;
    struct loop_op op;
    struct loop_timer timer;
    char *text;
    size_t size;
};

/* ---- the child --------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}

/* Connections and pipes must not stay open here: others notice ends by them. */
static void close_others(const struct node *n, int pipe_fd)
{
    static int keep[KEEP_MAX];
    unsigned count = 0;
    int from = STDERR_FILENO + 1;
    keep[count++] = pipe_fd;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        const struct job *j = n->jobs[i];
        for (uint32_t k = 0; j && k < BOARD_SEGMENTS_MAX; k++) {
            if (j->segments[k].state != SEGMENT_NONE) {
                keep[count++] = j->segments[k].fd;
            }
        }
        if (j) {
            keep[count++] = j->board.fd;
            count += spill_fds(j->spill.files, keep + count, FILES_MAX);
        }
    }
    qsort(keep, count, sizeof keep[0], by_value);
    for (unsigned i = 0; i < count; i++) {
        if (keep[i] > from) {
            (void)syscall(SYS_close_range, from, keep[i] - 1, 0);
        }
        from = keep[i] + 1 > from ? keep[i] + 1 : from;
    }
    (void)syscall(SYS_close_range, from, ~0u, 0);
}

static void write_all(int fd, const char *text)
{
    for (size_t at = 0, size = strlen(text); at < size;) {
        ssize_t w = write(fd, text + at, size - at);
        if (w < 0 && errno != EINTR) {
            return;
        }
        at += w > 0 ? (size_t)w : 0;
    }
}

/* Sums of what is here of other nodes' objects, to be compared with theirs. */
static json_t *copies(const struct look *l)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < l->count; i++) {
        const struct job *j = l->jobs[i].arg;
        const struct standin *s = j->guest ? standin_next(j, NULL) : NULL;
        for (; s && json_array_size(list) < COPIES_MAX; s = standin_next(j, s)) {
            char of[LOOK_ID_SIZE], id[LOOK_ID_SIZE];
            json_t *sum = s->pending ? NULL : look_sum(&l->jobs[i], s->ours);
            if (sum) {
                look_id_text(j->guest->owner->id, j->guest->number, s->theirs, of);
                look_id_text(l->jobs[i].node, l->jobs[i].number, s->ours, id);
                json_object_set_new(sum, "of", json_string(of));
                json_object_set_new(sum, "id", json_string(id));
                json_array_append_new(list, sum);
            }
        }
    }
    return list;
}

static __attribute__((noreturn)) void child(struct node *n, int fd, pid_t parent,
                                            const json_t *ask)
{
    struct look_job jobs[JOBS_MAX];
    static struct board boards[JOBS_MAX];
    struct look l = {jobs, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    close_others(n, fd);
    unsigned count = inspect_jobs(n, jobs);
    for (unsigned i = 0; i < count; i++) {
        if (board_map_ro(jobs[i].board->fd, &boards[i]) == MOB_OK) {
            jobs[l.count] = jobs[i];
            jobs[l.count++].board = &boards[i];
        }
    }
    json_t *answer = look_answer(&l, ask);
    if (answer && json_is_true(json_object_get(ask, "data"))) {
        json_object_set_new(answer, "copies", copies(&l));
    }
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    write_all(fd, text ? text : "");
    _exit(text ? 0 : 1);
}

/* ---- the parent -------------------------------------------------------------------------------------- */

static void finish(struct checker *k)
{
    struct node *n = k->node;
    struct checker **at = &n->checkers;
    int status = 0;
    while (*at != k) {
        at = &(*at)->next;
    }
    *at = k->next;
    loop_timer_stop(n->loop, &k->timer);
    /* It has closed its pipe, which it does by its end alone, or it was killed: no wait. */
    while (waitpid(k->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(k->fd);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && k->size;
    if (good) {
        k->text[k->size] = '\0';
        asker_reply(n, k->asker, MOB_OK, k->text);
    } else {
        mob_status st =
            WIFSIGNALED(status)
                ? status_fail(
                      MOB_ERR_SYSTEM,
                      "the process that checks the boards was killed by signal %d: "
                      "one of them makes no sense, or it took too long",
                      WTERMSIG(status))
                : status_fail(MOB_ERR_NOMEM, "the boards could not be checked");
        asker_reply(n, k->asker, st, NULL);
        free(k->text);
    }
    free(k);
    node_step(n);
}

static void readable(struct loop_op *op, int result)
{
    struct checker *k = LOOP_OWNER(op, struct checker, op);
    if (result < 0) {
        finish(k);
        return;
    }
    for (;;) {
        char part[65536];
        ssize_t got = read(k->fd, part, sizeof part);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        char *grown = got > 0 && k->size < TEXT_MAX_BYTES
                          ? realloc(k->text, k->size + (size_t)got + 1)
                          : NULL;
        if (!grown) {
            break;
        }
        memcpy(grown + k->size, part, (size_t)got);
        k->text = grown;
        k->size += (size_t)got;
    }
    loop_cancel(k->node->loop, op);
}

static void took_too_long(struct loop_timer *timer)
{
    struct checker *k = LOOP_OWNER(timer, struct checker, timer);
    kill(k->pid, SIGKILL);
}

static mob_status start(struct node *n, struct asker a, const json_t *ask)
{
    int fds[2];
    unsigned count = 0;
    for (const struct checker *c = n->checkers; c; c = c->next) {
        count++;
    }
    if (count >= CHECKERS_MAX || n->stopping) {
        return status_fail(MOB_ERR_FULL, "the node is being checked already");
    }
    struct checker *k = calloc(1, sizeof *k);
    if (!k || pipe2(fds, O_CLOEXEC) < 0) {
        free(k);
        return status_fail(MOB_ERR_SYSTEM, "a pipe for a child that checks: %m");
    }
    pid_t parent = getpid();
    k->pid = fork();
    if (k->pid == 0) {
        child(n, fds[1], parent, ask);
    }
    close(fds[1]);
    if (k->pid < 0) {
        close(fds[0]);
        free(k);
        return status_fail(MOB_ERR_SYSTEM, "starting a child that checks: %m");
    }
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    k->node = n;
    k->asker = a;
    k->fd = fds[0];
    k->next = n->checkers;
    n->checkers = k;
    loop_watch(n->loop, &k->op, k->fd, POLLIN, readable);
    loop_timer_start(n->loop, &k->timer, loop_now_ns(n->loop) + CHECKER_NS,
                     took_too_long);
    return MOB_OK;
}

void checker_start(struct node *n, struct asker a, const json_t *ask)
{
    mob_status st = start(n, a, ask);
    if (st) {
        asker_reply(n, a, st, NULL);
    }
}

void checker_asker_gone(struct node *n, const struct conn *c, const struct peer *p)
{
    for (struct checker *k = n->checkers; k; k = k->next) {
        if ((c && k->asker.conn == c) || (p && k->asker.peer == p)) {
            k->asker = (struct asker){0};
            kill(k->pid, SIGKILL);
        }
    }
}

void checker_stop(struct node *n)
{
    for (struct checker *k = n->checkers; k; k = k->next) {
        kill(k->pid, SIGKILL);
    }
}
