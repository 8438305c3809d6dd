/* spill_read.c - spilled objects on their way back: read, copied, checked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/status.h"
#include "spill_impl.h"

static void pump(struct spill *s);
static void read_more(struct spill_reader *d);

static void finish(struct spill_reader *d, mob_status st)
{
    struct spill *s = d->spill;
    struct spill_read *r = d->read;
    d->read = NULL;
    s->files[r->place.segment]->users--;
    spill_file_drop(s, r->place.segment);
    if (st == MOB_OK) {
        s->disk->in_objects++;
        s->disk->in_bytes += r->place.size;
    } else if (st == MOB_ERR_CORRUPT) {
        s->disk->corrupt++;
    }
    r->done(r, st);
}

static mob_status corrupt(const struct spill_reader *d, const char *what)
{
    const struct spill_read *r = d->read;
    return status_fail(
        MOB_ERR_CORRUPT,
        "%llu bytes that were spilled to %s (at %llu of file %u) were read back with %s: "
        "the disk or its file system is at fault, or the job's board was written over",
        (unsigned long long)r->place.size,
        d->spill->files[r->place.segment]->folder->path,
        (unsigned long long)r->place.offset, r->place.segment, what);
}

static bool head_is_good(const struct spill_read *r, const uint8_t *bytes)
{
    struct spill_head h;
    memcpy(&h, bytes, sizeof h);
    return h.magic == SPILL_MAGIC && h.name == r->name && h.size == r->place.size &&
           h.check == spill_check(&h);
}

/* Looks at @n more bytes of the extent. MOB_ERR_TIMEOUT: there are more to come. */
static mob_status consume(struct spill_reader *d, const uint8_t *bytes, uint64_t n)
{
    const struct spill_read *r = d->read;
    const uint64_t body = sizeof(struct spill_head), tail = body + r->place.size;
    if (d->pos == 0) {
        if (n < body || !head_is_good(r, bytes)) {
            return corrupt(d, "another head than was written");
        }
        XXH3_64bits_reset(d->hash);
        d->pos = body;
        bytes += body;
        n -= body;
    }
    if (d->pos < tail) {
        uint64_t take = tail - d->pos < n ? tail - d->pos : n;
        memcpy((char *)r->dst + (d->pos - body), bytes, take);
        XXH3_64bits_update(d->hash, bytes, take);
        d->pos += take;
        bytes += take;
        n -= take;
    }
    if (d->pos < tail || n < sizeof(uint64_t)) {
        return MOB_ERR_TIMEOUT; /* the sum is read as a whole */
    }
    uint64_t sum;
    memcpy(&sum, bytes, sizeof sum);
    return sum == XXH3_64bits_digest(d->hash) ? MOB_OK
                                              : corrupt(d, "another checksum than then");
}

static void got(struct loop_op *op, int result)
{
    struct spill_reader *d = LOOP_OWNER(op, struct spill_reader, op);
    struct spill *s = d->spill;
    uint64_t skip = d->read->place.offset + d->pos - d->from, before = d->pos;
    mob_status st = MOB_ERR_TIMEOUT;
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        s->disk->failures++;
        /* For want of memory it can be tried again; else the bytes cannot be had. */
        st = status_fail(result == -ENOMEM ? MOB_ERR_NOMEM : MOB_ERR_SYSTEM,
                         "reading a spilled object from %s: %s",
                         s->files[d->read->place.segment]->folder->path,
                         strerror(-result));
    } else if (result > 0 && (uint64_t)result > skip) {
        st = consume(d, d->bytes + skip, (uint64_t)result - skip);
    } else if (result >= 0) {
        st = corrupt(d, "an end too early");
    }
    if (st == MOB_ERR_TIMEOUT && result > 0 && d->pos == before) {
        st = corrupt(d, "an end too early"); /* no progress: the sum is cut off */
    }
    if (st == MOB_ERR_TIMEOUT) {
        read_more(d);
        return;
    }
    spill_enter(s);
    finish(d, st);
    pump(s);
    spill_leave(s);
}

static void read_more(struct spill_reader *d)
{
    struct spill *s = d->spill;
    const struct place *p = &d->read->place;
    uint64_t pos = p->offset + d->pos,
             end = p->offset + spill_extent(p->size) + SPILL_BLOCK - 1;
    end -= end % SPILL_BLOCK;
    d->from = pos - pos % SPILL_BLOCK;
    uint64_t n = end - d->from;
    loop_read(s->loop, &d->op, s->files[p->segment]->fd, d->bytes,
              n < SPILL_BUFFER_BYTES ? n : SPILL_BUFFER_BYTES, d->from, got);
}

static mob_status prepare(struct spill_reader *d)
{
    if (!d->bytes) {
        d->bytes = aligned_alloc(SPILL_BLOCK, SPILL_BUFFER_BYTES);
    }
    if (!d->hash) {
        d->hash = XXH3_createState();
    }
    return d->bytes && d->hash
               ? MOB_OK
               : status_fail(MOB_ERR_NOMEM, "no memory to read a spilled object with");
}

/* A place comes from the job's board: it must be inside a file. */
static mob_status check(const struct spill *s, const struct place *p)
{
    const struct spill_file *f = spill_file(s, p->segment);
    uint64_t most = f ? f->end : 0;
    return p->kind == PLACE_SPILLED && p->offset <= most && p->size <= most &&
                   spill_extent(p->size) <= most - p->offset
               ? MOB_OK
               : status_fail(MOB_ERR_CORRUPT,
                             "an object is said to be at a place on disk that does not "
                             "exist; the job's board was written over");
}

static void start(struct spill_reader *d)
{
    struct spill *s = d->spill;
    struct spill_read *r = s->reads;
    s->reads = r->next;
    if (!s->reads) {
        s->reads_end = &s->reads;
    }
    mob_status st = check(s, &r->place);
    st = st ? st : prepare(d);
    if (st) {
        r->done(r, st);
        return;
    }
    s->files[r->place.segment]->users++;
    d->read = r;
    d->pos = 0;
    read_more(d);
}

static void free_buffers(struct spill *s)
{
    for (unsigned i = 0; i < SPILL_READERS; i++) {
        if (!s->readers[i].read) {
            free(s->readers[i].bytes);
            s->readers[i].bytes = NULL;
        }
    }
}

static void pump(struct spill *s)
{
    for (unsigned i = 0; i < SPILL_READERS; i++) {
        while (s->reads && !s->readers[i].read) {
            start(&s->readers[i]);
        }
    }
    if (!s->reads) {
        free_buffers(s);
    }
}

static void begin_soon(struct loop_timer *timer)
{
    struct spill *s = LOOP_OWNER(timer, struct spill, reads_soon);
    spill_enter(s);
    pump(s);
    spill_leave(s);
}

void spill_read(struct spill *s, struct spill_read *r)
{
    r->next = NULL;
    *s->reads_end = r;
    s->reads_end = &r->next;
    loop_timer_start(s->loop, &s->reads_soon, loop_now_ns(s->loop), begin_soon);
}

bool spill_reads_busy(const struct spill *s)
{
    bool busy = s->reads != NULL;
    for (unsigned i = 0; i < SPILL_READERS; i++) {
        busy |= s->readers[i].read != NULL;
    }
    return busy;
}

void spill_reads_cancel(struct spill *s)
{
    struct spill_read *r = s->reads;
    s->reads = NULL;
    s->reads_end = &s->reads;
    while (r) {
        struct spill_read *next = r->next;
        r->done(r, MOB_ERR_CANCELLED);
        r = next;
    }
}

void spill_reads_free(struct spill *s)
{
    loop_timer_stop(s->loop, &s->reads_soon);
    for (unsigned i = 0; i < SPILL_READERS; i++) {
        free(s->readers[i].bytes);
        XXH3_freeState(s->readers[i].hash);
    }
}
