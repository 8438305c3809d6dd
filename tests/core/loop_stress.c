/* Random requests and cancellations on both backends of the loop: every byte that was said to be sent
 * arrives once and in order, every request ends once, and none from within a call.
 *
 *   loop_stress [SEED]    MOB_TEST_FULL=1: a hundred times as long */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"

enum {
    LINES = 12,
    BUFFER = 48 << 10,
    PIECES = 24,
    FILES = 4,
    FILE_BYTES = 1 << 20,
    BELLS = 4,
    STEPS = 20000,
    IDLE_LIMIT_MS = 10000,
};
#define POISON 0xA5

#define MUST(cond)                                                                       \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: seed %llu step %d: not %s (%s)\n", __FILE__,         \
                    __LINE__, (unsigned long long)seed_given, step_now, #cond,           \
                    mob_last_error());                                                   \
            abort();                                                                     \
        }                                                                                \
    } while (0)

static uint64_t seed_given, seed;
static int step_now;
static bool inside; /* a call that must not call back */
static struct loop *loop;
static uint64_t ended, cancelled_ends;

static uint64_t dice(uint64_t sides)
{
    seed += 0x9e3779b97f4a7c15ull;
    uint64_t x = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) % sides;
}

#define CALL(call)                                                                       \
    do {                                                                                 \
        inside = true;                                                                   \
        call;                                                                            \
        inside = false;                                                                  \
    } while (0)

/* One request and what it was asked. */
struct job {
    struct loop_op op;
    bool busy, stopped;
    uint32_t size;
    int flags;
    uint64_t at; /* of a file */
    uint8_t *bytes;
    struct msghdr msg;
    struct iovec iov[PIECES];
};

static void began(struct job *j)
{
    MUST(!j->busy && !loop_op_busy(&j->op));
    j->busy = true;
    j->stopped = false;
}

static void over(struct job *j, int result)
{
    MUST(!inside && j->busy && !loop_op_busy(&j->op));
    MUST(result != -ECANCELED || j->stopped);
    j->busy = false;
    ended++;
    cancelled_ends += result == -ECANCELED;
}

static void stop(struct job *j)
{
    j->stopped |= j->busy;
    CALL(loop_cancel(loop, &j->op));
    MUST(j->busy == loop_op_busy(&j->op));
}

/* The job's buffer in pieces, some of them empty. */
static void cut(struct job *j)
{
    uint32_t at = 0;
    size_t n = 0;
    while (n < PIECES - 1 && at < j->size) {
        uint32_t part = (uint32_t)dice(j->size / 4 + 2);
        part = part < j->size - at ? part : j->size - at;
        j->iov[n++] = (struct iovec){j->bytes + at, part};
        at += part;
    }
    j->iov[n++] = (struct iovec){j->bytes + at, j->size - at};
    j->msg = (struct msghdr){.msg_iov = j->iov, .msg_iovlen = n};
}

/* ---- a line: bytes one way, from end to end ------------------------------------------------------ */

enum line_kind { SOCKETS, PIPE };

struct line {
    enum line_kind kind;
    uint32_t salt;
    int in, out, kept; /* kept: a second fd of the receiver's file, or -1 */
    uint64_t sent, got;
    struct job tx, rx;
    bool broken; /* to be closed: the sender's end is */
};

static struct line lines[LINES];

static uint8_t byte_at(const struct line *l, uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 9) + l->salt);
}

static void sent(struct loop_op *op, int result)
{
    struct line *l = LOOP_OWNER(op, struct line, tx.op);
    over(&l->tx, result);
    if (result < 0) {
        MUST(result == -ECANCELED ||
             (l->kind == PIPE && result == -EINTR && l->tx.stopped));
        return;
    }
    MUST((uint32_t)result <= l->tx.size && result > 0);
    /* A pipe's writer is not asked for all of it. */
    MUST(!(l->tx.flags & MSG_WAITALL) || l->kind == PIPE || l->tx.stopped ||
         (uint32_t)result == l->tx.size);
    l->sent += (uint64_t)result;
}

static void got(struct loop_op *op, int result)
{
    struct line *l = LOOP_OWNER(op, struct line, rx.op);
    struct job *j = &l->rx;
    over(j, result);
    uint32_t n = result > 0 ? (uint32_t)result : 0;
    MUST(n <= j->size);
    MUST(result >= 0 || result == -ECANCELED ||
         (l->kind == PIPE && result == -EINTR && j->stopped));
    MUST(result != 0 || l->broken);
    MUST(!(j->flags & MSG_WAITALL) || l->kind == PIPE || j->stopped || l->broken ||
         result < 0 || n == j->size);
    for (uint32_t i = 0; i < n; i++) {
        MUST(j->bytes[i] == byte_at(l, l->got + i));
    }
    for (uint32_t i = n; i < BUFFER; i++) {
        MUST(j->bytes[i] == POISON);
    }
    memset(j->bytes, POISON, n);
    l->got += n;
}

static void line_open(struct line *l)
{
    int fd[2];
    l->kind = dice(3) ? SOCKETS : PIPE;
    if (l->kind == PIPE) {
        MUST(pipe2(fd, O_CLOEXEC) == 0);
    } else {
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
        int room = 4096 << dice(5);
        (void)setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    }
    l->in = fd[0];
    l->out = fd[1];
    l->kept = dice(4) ? -1 : dup(l->in); /* the file outlives its number then */
    l->sent = l->got = 0;
    l->salt = (uint32_t)dice(256);
    l->broken = false;
}

static void line_send(struct line *l)
{
    struct job *j = &l->tx;
    j->size = 1 + (uint32_t)dice(dice(2) ? 100 : BUFFER);
    j->flags = dice(2) ? MSG_WAITALL : 0;
    for (uint32_t i = 0; i < j->size; i++) {
        j->bytes[i] = byte_at(l, l->sent + i);
    }
    began(j);
    if (l->kind == PIPE) {
        CALL(loop_write(loop, &j->op, l->out, j->bytes, j->size, UINT64_MAX, sent));
    } else if (dice(2)) {
        cut(j);
        CALL(loop_sendmsg(loop, &j->op, l->out, &j->msg, j->flags, sent));
    } else {
        CALL(loop_send(loop, &j->op, l->out, j->bytes, j->size, j->flags, sent));
    }
}

static void line_receive(struct line *l)
{
    struct job *j = &l->rx;
    j->size = 1 + (uint32_t)dice(dice(2) ? 100 : BUFFER);
    j->flags = dice(2) ? MSG_WAITALL : 0;
    began(j);
    if (l->kind == PIPE) {
        CALL(loop_read(loop, &j->op, l->in, j->bytes, j->size, UINT64_MAX, got));
    } else if (dice(2)) {
        cut(j);
        CALL(loop_recvmsg(loop, &j->op, l->in, &j->msg, j->flags, got));
    } else {
        CALL(loop_recv(loop, &j->op, l->in, j->bytes, j->size, j->flags, got));
    }
}

static void turn(uint64_t timeout_ns)
{
    MUST(loop_turn(loop, timeout_ns) == MOB_OK);
}

/* Until @j has ended, which it does by itself. */
static void wait_out(const struct job *j)
{
    uint64_t until = clock_now_ns() + IDLE_LIMIT_MS * NS_PER_MS;
    while (j->busy) {
        turn(100 * NS_PER_MS);
        MUST(clock_now_ns() < until);
    }
}

/* What was sent and not received comes out, and then the end. */
static void line_close(struct line *l)
{
    stop(&l->tx);
    while (l->tx.busy || l->got < l->sent) {
        if (!l->rx.busy) {
            line_receive(l);
        }
        turn(l->tx.busy ? 100 * NS_PER_MS : 0);
        if (!l->tx.busy && !l->broken) {
            l->broken = true;
            close(l->out);
        }
    }
    if (!l->broken) {
        l->broken = true;
        close(l->out);
    }
    if (!l->rx.busy) {
        line_receive(l);
    }
    wait_out(&l->rx);
    MUST(l->got == l->sent);
    close(l->in);
    if (l->kept >= 0) {
        close(l->kept);
    }
    line_open(l);
}

static void line_step(struct line *l)
{
    switch (dice(16)) {
    case 0:
        stop(&l->tx);
        break;
    case 1:
        stop(&l->rx);
        break;
    case 2:
        if (dice(40) == 0) {
            line_close(l);
        }
        break;
    default:
        if (dice(2) && !l->tx.busy) {
            line_send(l);
        } else if (!l->rx.busy) {
            line_receive(l);
        }
    }
}

/* ---- a file: written, and read by two at once -------------------------------------------------- */

struct file {
    int fd;
    uint8_t *copy; /* of what is in it */
    struct job write, read[2], allocate;
};

static struct file files[FILES];

static void wrote(struct loop_op *op, int result)
{
    struct file *f = LOOP_OWNER(op, struct file, write.op);
    over(&f->write, result);
    MUST(result == (int)f->write.size ||
         ((result < 0 || f->write.stopped) && f->write.stopped));
    if (result > 0) {
        memcpy(f->copy + f->write.at, f->write.bytes, (size_t)result);
    }
}

static void check_read(const struct file *f, struct job *j, int result)
{
    over(j, result);
    MUST(result == (int)j->size || j->stopped);
    if (result > 0) {
        MUST(memcmp(f->copy + j->at, j->bytes, (size_t)result) == 0);
    }
}

static void read_first(struct loop_op *op, int result)
{
    struct file *f = LOOP_OWNER(op, struct file, read[0].op);
    check_read(f, &f->read[0], result);
}

static void read_second(struct loop_op *op, int result)
{
    struct file *f = LOOP_OWNER(op, struct file, read[1].op);
    check_read(f, &f->read[1], result);
}

static void allocated(struct loop_op *op, int result)
{
    struct file *f = LOOP_OWNER(op, struct file, allocate.op);
    over(&f->allocate, result);
    MUST(result == 0 || f->allocate.stopped);
}

static void place(struct job *j)
{
    began(j);
    j->size = 1 + (uint32_t)dice(BUFFER);
    j->at = dice(FILE_BYTES - j->size);
}

static void file_step(struct file *f)
{
    unsigned i = (unsigned)dice(2);
    struct job *j = dice(2) ? &f->read[i] : &f->write;
    if (dice(8) == 0) {
        stop(dice(2) ? j : &f->allocate);
    } else if (dice(8) == 0 && !f->allocate.busy) {
        began(&f->allocate);
        CALL(loop_allocate(loop, &f->allocate.op, f->fd, 0, FILE_BYTES, allocated));
    } else if (j == &f->write && !j->busy && !f->read[0].busy && !f->read[1].busy) {
        place(j);
        for (uint32_t k = 0; k < j->size; k++) {
            j->bytes[k] = (uint8_t)(k + (uint32_t)step_now);
        }
        CALL(loop_write(loop, &j->op, f->fd, j->bytes, j->size, j->at, wrote));
    } else if (j != &f->write && !j->busy && !f->write.busy) {
        place(j);
        CALL(loop_read(loop, &j->op, f->fd, j->bytes, j->size, j->at,
                       i ? read_second : read_first));
    }
}

/* ---- a bell: an eventfd that is watched --------------------------------------------------------- */

struct bell {
    int fd;
    uint64_t rung, heard;
    struct job watch;
};

static struct bell bells[BELLS];

static void hear(struct loop_op *op, int result)
{
    struct bell *b = LOOP_OWNER(op, struct bell, watch.op);
    uint64_t count;
    if (result < 0) {
        over(&b->watch, result);
        return;
    }
    MUST(!inside && b->watch.busy && (result & POLLIN));
    if (read(b->fd, &count, sizeof count) == (ssize_t)sizeof count) {
        b->heard += count;
    }
}

static void bell_step(struct bell *b)
{
    if (dice(3) == 0) {
        MUST(eventfd_write(b->fd, 1) == 0);
        b->rung++;
    } else if (b->watch.busy) {
        if (dice(20) == 0) {
            stop(&b->watch);
        }
    } else {
        began(&b->watch);
        CALL(loop_watch(loop, &b->watch.op, b->fd, POLLIN, hear));
    }
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static void job_init(struct job *j)
{
    memset(j, 0, sizeof *j);
    j->bytes = malloc(BUFFER);
    MUST(j->bytes != NULL);
    memset(j->bytes, POISON, BUFFER);
}

static void set_up(unsigned entries)
{
    MUST(loop_create(entries, &loop) == MOB_OK);
    for (int i = 0; i < LINES; i++) {
        job_init(&lines[i].tx);
        job_init(&lines[i].rx);
        line_open(&lines[i]);
    }
    for (int i = 0; i < FILES; i++) {
        struct file *f = &files[i];
        f->fd = memfd_create("mob-stress", MFD_CLOEXEC);
        MUST(f->fd >= 0 && ftruncate(f->fd, FILE_BYTES) == 0);
        f->copy = calloc(1, FILE_BYTES);
        job_init(&f->write);
        job_init(&f->read[0]);
        job_init(&f->read[1]);
        job_init(&f->allocate);
    }
    for (int i = 0; i < BELLS; i++) {
        memset(&bells[i], 0, sizeof bells[i]);
        bells[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
}

static void end(struct job *j)
{
    stop(j);
    wait_out(j);
    free(j->bytes);
}

static void tear_down(void)
{
    for (int i = 0; i < LINES; i++) {
        struct line *l = &lines[i];
        line_close(l); /* and is open anew */
        end(&l->tx);
        end(&l->rx);
        close(l->in);
        close(l->out);
        if (l->kept >= 0) {
            close(l->kept);
        }
    }
    for (int i = 0; i < FILES; i++) {
        struct file *f = &files[i];
        end(&f->write);
        end(&f->read[0]);
        end(&f->read[1]);
        end(&f->allocate);
        close(f->fd);
        free(f->copy);
    }
    for (int i = 0; i < BELLS; i++) {
        struct bell *b = &bells[i];
        uint64_t until = clock_now_ns() + IDLE_LIMIT_MS * NS_PER_MS;
        while (b->heard != b->rung) { /* no ring was missed */
            if (!b->watch.busy) {
                bell_step(b);
            }
            turn(NS_PER_MS);
            MUST(clock_now_ns() < until);
        }
        end(&b->watch);
        close(b->fd);
    }
    MUST(loop_in_flight(loop) == 0);
    loop_destroy(loop);
}

static void run(const char *backend, int steps)
{
    setenv("MOBULA_LOOP", backend, 1);
    ended = cancelled_ends = 0;
    uint64_t bytes = 0;
    set_up(dice(2) ? 0 : 8);
    for (step_now = 0; step_now < steps; step_now++) {
        uint64_t what = dice(LINES + FILES + BELLS);
        if (what < LINES) {
            line_step(&lines[what]);
        } else if (what < LINES + FILES) {
            file_step(&files[what - LINES]);
        } else {
            bell_step(&bells[what - LINES - FILES]);
        }
        if (dice(3) == 0) {
            turn(dice(50) ? 0 : dice(NS_PER_MS));
        }
    }
    for (int i = 0; i < LINES; i++) {
        bytes += lines[i].got;
    }
    printf(
        "%s: %llu requests ended, %llu of them cancelled; %llu bytes on the last lines\n",
        loop_backend(loop), (unsigned long long)ended, (unsigned long long)cancelled_ends,
        (unsigned long long)bytes);
    MUST(ended > (uint64_t)steps / 20 && cancelled_ends > (uint64_t)steps / 400);
    tear_down();
}

int main(int argc, char **argv)
{
    const char *full = getenv("MOB_TEST_FULL");
    int steps = full && *full == '1' ? 100 * STEPS : STEPS;
    seed_given = seed = argc > 1 ? strtoull(argv[1], NULL, 10) : clock_now_ns();
    printf("seed %llu\n", (unsigned long long)seed_given);
    fflush(stdout);
    setenv("MOBULA_LOOP", "io_uring", 1);
    if (loop_create(0, &loop) == MOB_OK) {
        loop_destroy(loop);
        run("io_uring", steps);
    } else {
        printf("without io_uring: %s\n", mob_last_error());
        const char *ci = getenv("CI");
        if (ci && strcmp(ci, "true") == 0) {
            return 1;
        }
    }
    run("epoll", steps);
    return 0;
}
