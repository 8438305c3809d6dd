/* spill_files.c - files of spilled objects: begun, closed, and what is freed in them. */
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
void spill_close_current(struct spill *s)
{
    uint32_t number = s->current;
    if (number != SPILL_NO_FILE) {
        s->current = SPILL_NO_FILE;
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
bool spill_file_is_over(const struct spill *s, const struct spill_file *f, uint64_t fill)
{
    uint64_t least = is_short(s, f->folder) ? SPILL_BLOCK : SPILL_DEAD_BYTES;
    return f->failed || f->end + fill >= SPILL_FILE_BYTES ||
           (f->end - f->holes >= f->live + least && is_sparse(s, f));
}

/* Not while anything is on its way there. */
void spill_close_if_over(struct spill *s)
{
    const struct spill_file *f =
        s->current != SPILL_NO_FILE ? s->files[s->current] : NULL;
    if (f && !s->outstanding && (f->live == 0 || spill_file_is_over(s, f, 0))) {
        spill_close_current(s);
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

mob_status spill_no_room(const struct spill_disk *d)
{
    return status_fail(MOB_ERR_FULL, "no folder for spilled objects has room: %s: %s",
                       d->folders[0].path, d->folders[0].why);
}

/* A file for an object of @size bytes more. */
mob_status spill_open_file(struct spill *s, uint64_t size, bool moves)
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
    return spill_no_room(d);
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
    spill_close_if_over(s);
}

bool spill_sparse(struct spill *s, uint32_t *ret_file)
{
    spill_close_if_over(s);
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
