/* spill.c - spilled objects are appended to files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/status.h"
#include "core/text.h"
#include "spill_impl.h"

/* ---- appending ----------------------------------------------------------------------------------- */

static void pump(struct spill *s);

/* The answer to one write. */
static void answer(struct spill *s, struct spill_write *w, mob_status st)
{
    s->outstanding--;
    if (st) {
        if (w->place.kind == PLACE_SPILLED) { /* it had begun */
            spill_free(s, &w->place);
        }
        w->place.kind = PLACE_LOST;
    } else {
        s->disk->out_objects++;
        s->disk->out_bytes += w->size;
    }
    w->done(w, st);
}

/* Tells, in their order, what the written buffers held. */
static void settle(struct spill *s)
{
    struct spill_buffer *b = &s->buffers[s->settle];
    while (b->filled && !loop_op_busy(&b->op)) {
        struct spill_file *f = s->files[b->file];
        struct spill_write *w = b->ended;
        mob_status st = f->failed ? MOB_ERR_SYSTEM : MOB_OK;
        b->filled = false;
        b->ended = NULL;
        b->ended_end = &b->ended;
        s->settle = (s->settle + 1) % SPILL_BUFFERS;
        while (w) {
            struct spill_write *next = w->next;
            answer(s, w, st);
            w = next;
        }
        f->users--;
        spill_file_drop(s, b->file);
        b = &s->buffers[s->settle];
    }
}

static void written(struct loop_op *op, int result)
{
    struct spill_buffer *b = LOOP_OWNER(op, struct spill_buffer, op);
    struct spill *s = b->spill;
    struct spill_file *f = s->files[b->file];
    if (result == -EINTR || result == -EAGAIN) {
        result = 0;
    } else if (result == 0) {
        result = -ENOSPC;
    }
    if (result < 0) {
        f->failed = true;
        spill_fail(s, f, -result, "writing");
    } else if ((b->sent += (uint32_t)result) < b->fill) {
        loop_write(s->loop, op, f->fd, b->bytes + b->sent, b->fill - b->sent,
                   b->at + b->sent, written);
        return;
    }
    spill_enter(s);
    settle(s);
    pump(s);
    spill_leave(s);
}

static void submit(struct spill *s, struct spill_buffer *b)
{
    struct spill_file *f = s->files[b->file];
    uint32_t padded = (b->fill + SPILL_BLOCK - 1) / SPILL_BLOCK * SPILL_BLOCK;
    memset(b->bytes + b->fill, 0, padded - b->fill);
    f->padding += padded - b->fill;
    b->fill = padded;
    b->sent = 0;
    b->filled = true;
    f->end = b->at + padded;
    s->disk->disk_bytes += padded;
    s->fill = (s->fill + 1) % SPILL_BUFFERS;
    loop_write(s->loop, &b->op, f->fd, b->bytes, b->fill, b->at, written);
}

/* Copies what comes next of an extent; hashes it on the way. Returns how much. */
static size_t produce(struct spill *s, const struct spill_write *w, uint8_t *to,
                      size_t room)
{
    const uint64_t body = sizeof(struct spill_head), tail = body + w->size,
                   end = tail + sizeof(uint64_t), all = spill_extent(w->size);
    uint64_t pos = s->pos, n;
    if (pos == 0) { /* extents begin at multiples of 64, so there is room */
        struct spill_head h = {SPILL_MAGIC, w->name, w->size, 0};
        h.check = spill_check(&h);
        memcpy(to, &h, n = sizeof h);
        XXH3_64bits_reset(s->hash);
    } else if (pos < tail) {
        n = tail - pos < room ? tail - pos : room;
        memcpy(to, (const char *)w->data + (pos - body), n);
        XXH3_64bits_update(s->hash, to, n);
    } else if (pos < end) {
        uint64_t sum = XXH3_64bits_digest(s->hash);
        n = end - pos < room ? end - pos : room;
        memcpy(to, (const char *)&sum + (pos - tail), n);
    } else {
        n = all - pos < room ? all - pos : room;
        memset(to, 0, n);
    }
    s->pos += n;
    return n;
}

/* An object's first byte comes next: is there a file for it? */
static mob_status begin(struct spill *s, struct spill_write *w, uint64_t at)
{
    uint64_t extent = spill_extent(w->size);
    if (s->current == SPILL_NO_FILE) {
        MOB_TRY(spill_open_file(s, extent, w->moves));
        at = 0;
    }
    struct spill_file *f = s->files[s->current];
    if (f->spare && !w->moves) {
        if (!spill_disk_has_room(s->disk, f->folder, extent, false,
                                 loop_now_ns(s->loop))) {
            return spill_no_room(s->disk);
        }
        f->spare = false;
    }
    w->place = (struct place){PLACE_SPILLED, s->current, at, w->size};
    f->live += extent;
    s->live += extent;
    s->disk->live_bytes += extent;
    return MOB_OK;
}

/* All of them, or none: an object that has begun must find the next one. */
static mob_status get_buffers(struct spill *s)
{
    bool ok = true;
    if (!s->hash) {
        s->hash = XXH3_createState();
    }
    for (unsigned i = 0; i < SPILL_BUFFERS; i++) {
        if (!s->buffers[i].bytes) {
            s->buffers[i].bytes = aligned_alloc(SPILL_BLOCK, SPILL_BUFFER_BYTES);
        }
        ok &= s->buffers[i].bytes != NULL;
    }
    return ok && s->hash ? MOB_OK : status_fail(MOB_ERR_NOMEM, "no memory to spill with");
}

static void drop_first(struct spill *s)
{
    s->writes = s->writes->next;
    s->pos = 0;
    if (!s->writes) {
        s->writes_end = &s->writes;
    }
}

/* The next object cannot be written. */
static void refuse_first(struct spill *s, mob_status st)
{
    struct spill_write *w = s->writes;
    drop_first(s);
    answer(s, w, st);
}

/* Copies from the first object into a buffer; false if the buffer is to be written first. */
static bool fill_some(struct spill *s, struct spill_buffer *b)
{
    struct spill_write *w = s->writes;
    struct spill_file *f = s->current != SPILL_NO_FILE ? s->files[s->current] : NULL;
    if (s->pos == 0 && f && spill_file_is_over(s, f, b->fill)) {
        if (b->fill) {
            return false; /* the rest of this file */
        }
        spill_close_current(s);
        f = NULL;
    }
    if (s->pos == 0) {
        mob_status st = begin(s, w, f ? f->end + b->fill : 0);
        if (st) {
            refuse_first(s, st);
            return true;
        }
    }
    f = s->files[s->current]; /* of begin(), now or when the object began */
    if (b->fill == 0) {
        b->file = s->current;
        b->at = f->end;
        f->users++;
    }
    b->fill += (uint32_t)produce(s, w, b->bytes + b->fill, SPILL_BUFFER_BYTES - b->fill);
    if (s->pos == spill_extent(w->size)) {
        drop_first(s);
        w->next = NULL;
        *b->ended_end = w;
        b->ended_end = &w->next;
    }
    return true;
}

static void free_buffers(struct spill *s)
{
    for (unsigned i = 0; i < SPILL_BUFFERS; i++) {
        free(s->buffers[i].bytes);
        s->buffers[i].bytes = NULL;
    }
}

static void pump(struct spill *s)
{
    while (s->writes && !s->buffers[s->fill].filled) {
        struct spill_buffer *b = &s->buffers[s->fill];
        mob_status st = get_buffers(s);
        b->fill = 0;
        if (st) { /* nothing has begun, else they would be there */
            refuse_first(s, st);
            continue;
        }
        while (s->writes && b->fill < SPILL_BUFFER_BYTES && fill_some(s, b)) {
        }
        if (b->fill) {
            submit(s, b);
        }
    }
    if (!s->outstanding) {
        free_buffers(s);
        spill_close_if_over(s);
    }
}

static void begin_soon(struct loop_timer *timer)
{
    struct spill *s = LOOP_OWNER(timer, struct spill, soon);
    spill_enter(s);
    pump(s);
    spill_leave(s);
}

void spill_write(struct spill *s, struct spill_write *w)
{
    w->next = NULL;
    w->place = (struct place){PLACE_LOST, 0, 0, w->size};
    *s->writes_end = w;
    s->writes_end = &w->next;
    s->outstanding++;
    if (!s->soon.active) { /* several may come now, and fill a buffer together */
        loop_timer_start(s->loop, &s->soon, loop_now_ns(s->loop), begin_soon);
    }
}

/* ---- the whole ----------------------------------------------------------------------------------- */

mob_status spill_create(struct spill_disk *disk, struct loop *loop, struct spill **ret)
{
    struct spill *s = calloc(1, sizeof *s);
    if (!s) {
        return status_fail(MOB_ERR_NOMEM, "no memory to spill with");
    }
    s->disk = disk;
    s->loop = loop;
    s->current = SPILL_NO_FILE;
    s->writes_end = &s->writes;
    s->reads_end = &s->reads;
    for (unsigned i = 0; i < SPILL_BUFFERS; i++) {
        s->buffers[i].spill = s;
        s->buffers[i].ended_end = &s->buffers[i].ended;
    }
    for (unsigned i = 0; i < SPILL_READERS; i++) {
        s->readers[i].spill = s;
    }
    *ret = s;
    return MOB_OK;
}

bool spill_busy(const struct spill *s)
{
    return s->outstanding || spill_reads_busy(s);
}

void spill_cancel(struct spill *s)
{
    struct spill_write *begun = s->pos ? s->writes : NULL;
    struct spill_write *w = begun ? begun->next : s->writes;
    spill_enter(s);
    s->writes = begun;
    s->writes_end = begun ? &begun->next : &s->writes;
    if (begun) {
        begun->next = NULL;
    }
    while (w) {
        struct spill_write *next = w->next;
        answer(s, w, MOB_ERR_CANCELLED);
        w = next;
    }
    spill_close_if_over(s);
    spill_reads_cancel(s);
    spill_leave(s);
}

static void destroy(struct spill *s)
{
    loop_timer_stop(s->loop, &s->soon);
    spill_close_current(s);
    for (uint32_t i = 0; i < s->files_count; i++) {
        struct spill_file *f = s->files[i];
        if (f) {
            s->disk->live_bytes -= f->live;
            f->live = 0;
            spill_file_drop(s, i);
        }
    }
    free_buffers(s);
    spill_reads_free(s);
    XXH3_freeState(s->hash);
    free(s->files);
    free(s);
}

void spill_destroy(struct spill *s)
{
    if (!s) {
        return;
    }
    MOB_ASSERT(!spill_busy(s));
    if (s->inside) {
        s->doomed = true;
    } else {
        destroy(s);
    }
}

void spill_enter(struct spill *s)
{
    s->inside++;
}

void spill_leave(struct spill *s)
{
    if (--s->inside == 0 && s->doomed) {
        destroy(s);
    }
}
