/* output.c - what workers print, line by line and marked, to the driver's terminal.
 *
 * A terminal that stands still must not hold up the node: lines wait in a bounded queue, and what
 * does not fit is counted and said. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"

/* ---- the driver's side --------------------------------------------------------------------------------- */

static void written(struct loop_op *op, int result);

static void push_out(struct output *o)
{
    if (!loop_op_busy(&o->op) && !o->later.active && o->sent < o->size) {
        o->writing = o->size - o->sent;
        loop_write(o->loop, &o->op, o->fd, o->queue + o->sent, o->writing, UINT64_MAX,
                   written);
    }
}

static void write_later(struct loop_timer *timer)
{
    push_out(LOOP_OWNER(timer, struct output, later));
}

static void written(struct loop_op *op, int result)
{
    struct output *o = LOOP_OWNER(op, struct output, op);
    if (o->dead || (result < 0 && result != -EINTR && result != -EAGAIN)) {
        o->sent = o->size = 0; /* nobody reads any more */
        o->dead = true;
        job_step(o->job);
        return;
    }
    if (result == -EAGAIN) {
        loop_timer_start(o->loop, &o->later, loop_now_ns(o->loop) + OUTPUT_LATER_NS,
                         write_later);
        return;
    }
    o->sent += result > 0 ? (size_t)result : 0;
    if (o->sent == o->size) {
        o->sent = o->size = 0;
        if (o->dropped) {
            char note[96];
            int n = snprintf(note, sizeof note,
                             "(mobula: %llu bytes of output dropped: nobody read them)\n",
                             (unsigned long long)o->dropped);
            o->dropped = 0;
            output_add(o, note, (size_t)n);
        }
    }
    push_out(o);
    if (output_empty(o)) {
        job_step(o->job); /* which may wait for it */
    }
}

void output_init(struct output *o, struct job *j, int fd)
{
    *o = (struct output){.job = j, .loop = j->node->loop, .fd = fd};
}

void output_drop(struct output *o)
{
    o->dead = true;
    loop_timer_stop(o->loop, &o->later);
    if (loop_op_busy(&o->op)) {
        loop_cancel(o->loop, &o->op); /* and then written() */
    } else {
        o->sent = o->size = 0;
    }
}

void output_fini(struct output *o)
{
    if (o->fd >= 0) {
        close(o->fd);
    }
    free(o->queue);
    *o = (struct output){.fd = -1};
}

bool output_empty(const struct output *o)
{
    return o->size == 0 && !loop_op_busy(&o->op);
}

void output_add(struct output *o, const char *text, size_t size)
{
    if (o->guest) {
        guest_output(o->guest, o->stream, text, size);
        return;
    }
    if (o->fd < 0 || o->dead) {
        return;
    }
    if (o->size + size > OUTPUT_QUEUE_MAX) {
        o->dropped += size;
        return;
    }
    if (o->size + size > o->room) {
        if (loop_op_busy(&o->op)) { /* the kernel reads from the queue: it may not move */
            if (o->room) {
                o->dropped += size;
                return;
            }
        }
        char *grown = realloc(o->queue, OUTPUT_QUEUE_MAX);
        if (!grown) {
            o->dropped += size;
            return;
        }
        o->queue = grown;
        o->room = OUTPUT_QUEUE_MAX; /* pages that are not touched cost nothing */
    }
    memcpy(o->queue + o->size, text, size);
    o->size += size;
    push_out(o);
}

/* ---- the worker's side ------------------------------------------------------------------------------------- */

static void keep_tail(struct member *m, const char *text, size_t size)
{
    if (m->tail_size + size > sizeof m->tail) {
        m->tail_cut = true;
    }
    if (size >= sizeof m->tail) {
        text += size - sizeof m->tail;
        size = sizeof m->tail;
    }
    if (m->tail_size + size > sizeof m->tail) {
        size_t drop = m->tail_size + size - sizeof m->tail;
        memmove(m->tail, m->tail + drop, m->tail_size - drop);
        m->tail_size -= drop;
    }
    memcpy(m->tail + m->tail_size, text, size);
    m->tail_size += size;
}

/* "(square pid=4711 node1) text". The name is that of the task which the worker runs when the
 * line arrives here, else the function of the one that it ran last. */
static void emit(struct stream *s, const char *line, size_t size)
{
    struct member *m = s->member;
    struct board *b = &m->job->board;
    char name[MOB_NAME_MAX + 1] = "worker", text[OUTPUT_LINE_MAX + 256];
    uint64_t link = at_load(&b->procs[m->proc].task, AT_RELAXED);
    uint32_t last = at_load(&b->procs[m->proc].last_fn, AT_RELAXED);
    struct record *r = board_record(b, link_index(link));
    if (link != LINK_NONE && r) {
        board_name_text(b, r->name, name);
    } else if (last) {
        board_name_text(b, last - 1, name);
    }
    int n = snprintf(text, sizeof text, "(%s pid=%d %s) %.*s\n", name, (int)m->pid,
                     m->job->node->host, (int)size, line);
    output_add(s->to, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}

static void take_lines(struct stream *s, bool ended)
{
    size_t from = 0;
    for (;;) {
        char *end = memchr(s->buf + from, '\n', s->size - from);
        if (!end) {
            break;
        }
        emit(s, s->buf + from, (size_t)(end - s->buf) - from);
        from = (size_t)(end - s->buf) + 1;
    }
    s->size -= from;
    memmove(s->buf, s->buf + from, s->size);
    if (s->size && (ended || s->size == sizeof s->buf)) {
        emit(s, s->buf, s->size);
        s->size = 0;
    }
}

static void got(struct loop_op *op, int result)
{
    struct stream *s = LOOP_OWNER(op, struct stream, op);
    if (result == -EINTR || result == -EAGAIN) {
        result = 0;
    } else if (result <= 0) {
        take_lines(s, true);
        close(s->fd);
        s->open = false;
        job_step(s->member->job);
        return;
    }
    if (s == &s->member->err) {
        keep_tail(s->member, s->buf + s->size, (size_t)result);
    }
    s->size += (size_t)result;
    take_lines(s, false);
    loop_read(s->member->job->node->loop, &s->op, s->fd, s->buf + s->size,
              sizeof s->buf - s->size, UINT64_MAX, got);
}

void stream_open(struct stream *s, struct member *m, int fd, struct output *to)
{
    *s = (struct stream){.member = m, .to = to, .fd = fd, .open = true};
    loop_read(m->job->node->loop, &s->op, fd, s->buf, sizeof s->buf, UINT64_MAX, got);
}

void stream_close(struct stream *s)
{
    if (s->open) {
        loop_cancel(s->member->job->node->loop, &s->op);
    }
}
