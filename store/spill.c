/* spill.c - files of spilled objects: begun, appended to, freed. */
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

#define NO_FILE UINT32_MAX

/* ---- files --------------------------------------------------------------------------------------- */

struct spill_file *spill_file(const struct spill *s, uint32_t number)
{
    return number < s->files_count ? s->files[number] : NULL;
}

void spill_file_drop(struct spill *s, uint32_t number)
{
    struct spill_file *f = s->files[number];
    if (f->live == 0 && f->users == 0) {
        if (f->folder->full) { /* it has room again */
            f->folder->until_ns = 0;
        }
        s->disk->disk_bytes -= f->end - f->holes;
        s->disk->files--;
        close(f->fd);
        free(f);
        s->files[number] = NULL;
    }
}

/* Nothing is appended to it from here on. */
static void close_current(struct spill *s)
{
    uint32_t number = s->current;
    if (number != NO_FILE) {
        s->current = NO_FILE;
        s->files[number]->users--;
        spill_file_drop(s, number);
    }
}

static bool is_short(const struct spill *s, const struct spill_folder *f)
{
    return f->full && loop_now_ns(s->loop) < f->until_ns;
}

/* Moving what is alive gives back more than it takes; where the disk is full, a third of it is worth that. What
 * fills up blocks would be there again after the move. */
static bool is_sparse(const struct spill *s, const struct spill_file *f)
{
    uint64_t bytes = f->end - f->holes - f->padding,
             dead = bytes > f->live ? bytes - f->live : 0;
    return dead > (is_short(s, f->folder) ? f->live / 3 : f->live);
}

/* What is dead in the current file stays there until it is closed, and compacted. */
static bool is_over(const struct spill *s, const struct spill_file *f, uint64_t fill)
{
    uint64_t least = is_short(s, f->folder) ? SPILL_BLOCK : SPILL_DEAD_BYTES;
    return f->failed || f->end + fill >= SPILL_FILE_BYTES ||
           (f->end - f->holes >= f->live + least && is_sparse(s, f));
}

/* Not while anything is on its way there. */
static void close_if_over(struct spill *s)
{
    const struct spill_file *f = s->current != NO_FILE ? s->files[s->current] : NULL;
    if (f && !s->outstanding && (f->live == 0 || is_over(s, f, 0))) {
        close_current(s);
    }
}

void spill_fail(struct spill *s, struct spill_file *f, int error, const char *what)
{
    spill_disk_failed(s->disk, f->folder, loop_now_ns(s->loop), what, error);
}

static mob_status add_file(struct spill *s, struct spill_folder *folder, int fd)
{
    if (s->files_count == s->files_room) {
        uint32_t room = s->files_room ? 2 * s->files_room : 16;
        struct spill_file **grown = realloc(s->files, room * sizeof(struct spill_file *));
        if (!grown) {
            return MOB_ERR_NOMEM;
        }
        s->files = grown;
        s->files_room = room;
    }
    struct spill_file *f = calloc(1, sizeof *f);
    if (!f) {
        return MOB_ERR_NOMEM;
    }
    f->fd = fd;
    f->folder = folder;
    f->users = 1;
    s->current = s->files_count;
    s->files[s->files_count++] = f;
    s->disk->files++;
    return MOB_OK;
}

static mob_status no_room(const struct spill_disk *d)
{
    return status_fail(MOB_ERR_FULL, "no folder for spilled objects has room: %s: %s",
                       d->folders[0].path, d->folders[0].why);
}

/* A file for an object of @size bytes more. */
static mob_status open_file(struct spill *s, uint64_t size, bool moves)
{
    struct spill_disk *d = s->disk;
    uint64_t now = loop_now_ns(s->loop);
    if (s->files_count == 1u << 21) { /* what a place can name */
        return status_fail(MOB_ERR_FULL, "the job has filled all files that it can have");
    }
    for (unsigned i = 0; i < d->count; i++) {
        struct spill_folder *folder = &d->folders[d->next++ % d->count];
        bool spare = false;
        if (!spill_disk_has_room(d, folder, size, false, now)) {
            spare = moves && spill_disk_has_room(d, folder, size, true, now);
            if (!spare) {
                continue;
            }
        }
        int fd = spill_disk_file(folder);
        if (fd < 0) {
            spill_disk_failed(d, folder, now, "making a file", errno);
            continue;
        }
        mob_status st = add_file(s, folder, fd);
        if (st) {
            close(fd);
            return status_fail(st, "no memory to spill with");
        }
        s->files[s->current]->spare = spare;
        if (!spare) {
            folder->why[0] = '\0';
            folder->full = false;
        }
        return MOB_OK;
    }
    return no_room(d);
}

void spill_free(struct spill *s, const struct place *p)
{
    struct spill_file *f = spill_file(s, p->segment);
    uint64_t extent = spill_extent(p->size);
    if (!f || p->offset > f->end || p->size > f->end || extent > f->end - p->offset ||
        extent > f->live) {
        return; /* a board that somebody wrote over */
    }
    f->live -= extent;
    s->live -= extent;
    s->disk->live_bytes -= extent;
    uint64_t from = (p->offset + SPILL_BLOCK - 1) / SPILL_BLOCK * SPILL_BLOCK,
             to = (p->offset + extent) / SPILL_BLOCK * SPILL_BLOCK;
    /* A place that is freed twice, by such a board, is no second hole. */
    if (from < to && to - from >= SPILL_BUFFER_BYTES / 16 && f->live && !f->no_holes &&
        to - from <= f->end - f->holes) {
        if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                      (off_t)(to - from)) == 0) {
            f->holes += to - from;
            s->disk->disk_bytes -= to - from;
        } else {
            f->no_holes = true;
        }
    }
    spill_file_drop(s, p->segment);
    close_if_over(s);
}

bool spill_sparse(struct spill *s, uint32_t *ret_file)
{
    close_if_over(s);
    for (uint32_t i = 0; i < s->files_count; i++) {
        const struct spill_file *f = s->files[i];
        if (f && i != s->current && is_sparse(s, f) &&
            (!f->visited || f->live < f->visited / 2)) {
            *ret_file = i;
            return true;
        }
    }
    return false;
}

void spill_file_visited(struct spill *s, uint32_t file)
{
    s->files[file]->visited = s->files[file]->live;
}

uint64_t spill_live_bytes(const struct spill *s)
{
    return s->live;
}

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
    if (s->current == NO_FILE) {
        MOB_TRY(open_file(s, extent, w->moves));
        at = 0;
    }
    struct spill_file *f = s->files[s->current];
    if (f->spare && !w->moves) {
        if (!spill_disk_has_room(s->disk, f->folder, extent, false,
                                 loop_now_ns(s->loop))) {
            return no_room(s->disk);
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
    struct spill_file *f = s->current != NO_FILE ? s->files[s->current] : NULL;
    if (s->pos == 0 && f && is_over(s, f, b->fill)) {
        if (b->fill) {
            return false; /* the rest of this file */
        }
        close_current(s);
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
        close_if_over(s);
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
    s->current = NO_FILE;
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
    close_if_over(s);
    spill_reads_cancel(s);
    spill_leave(s);
}

static void destroy(struct spill *s)
{
    loop_timer_stop(s->loop, &s->soon);
    close_current(s);
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
