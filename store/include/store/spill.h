/* spill.h - one job's objects on local disk: append-only files, checked when they are read.
 *
 * Objects are appended to the current file; one that is long enough is closed, and the next is begun in
 * the next folder. A file goes when nothing in it is alive. It has no name (O_TMPFILE, or unlinked at once): so
 * whatever happens to the daemon, nothing is left on the disk.
 *
 *   extent:  head 32 bytes | the object's bytes | XXH3 8 bytes | zeros up to a multiple of 64
 *   head:    magic | name | size | XXH3 of these three
 *
 * The head makes a place that somebody made up an error and not another object's bytes. I/O is the loop's
 * (io_uring, or a thread of its own), past the page cache where the file system can (O_DIRECT): the cache would take the memory that
 * was to be saved. Bytes go through buffers of this module, because objects in shared memory do not lie at
 * blocks; the copy is also the pass that makes the checksum.
 *
 * Threads: the loop's. Allocates: buffers, while there is something to do; a few words a file. */
#ifndef STORE_SPILL_H
#define STORE_SPILL_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"
#include "store/record.h"

#define SPILL_FOLDERS_MAX 16u
#define SPILL_FILE_BYTES (256ull << 20) /* after which a file is closed */
#define SPILL_DEAD_BYTES                                                                 \
    (32ull << 20)             /* or earlier, if so much in it is dead, and most */
#define SPILL_FREE_PERCENT 5u /* of a file system stay free */
#define SPILL_RETRY_NS                                                                   \
    (10 * 1000000000ull)          /* before a folder that failed is tried again */
#define SPILL_MOVE_MAX (8u << 20) /* larger objects stay when their file is compacted */

/* ---- the node's folders ------------------------------------------------------------------------- */

struct spill_folder {
    char *path;
    bool buffered;     /* its file system has no O_DIRECT */
    uint64_t until_ns; /* not used before: it was full, or failed */
    bool full;         /* it was full */
    char why[128];     /* the last failure; "" if none */
};

struct spill_disk {
    struct spill_folder folders[SPILL_FOLDERS_MAX];
    unsigned count, next; /* next: whose turn it is */
    /* Of all jobs, for people: */
    uint64_t live_bytes; /* of objects that are there now, with what surrounds them */
    uint64_t disk_bytes; /* of files, without holes */
    uint64_t files;
    uint64_t out_objects, out_bytes, in_objects, in_bytes; /* since the beginning */
    uint64_t failures, corrupt;
};

/* Looks at the folders, given as DIR[:DIR...], and makes those that are missing (0700). MOB_ERR_INVALID: one of
 * them cannot be used, or is in memory itself (tmpfs), and mob_last_error() says why. */
mob_status spill_disk_open(const char *paths, struct spill_disk *ret);
void spill_disk_close(struct spill_disk *d);

/* ---- a job's objects ---------------------------------------------------------------------------- */

struct spill;

struct spill_write {
    /* The caller's: */
    uint64_t name;    /* of the object in its job */
    const void *data; /* until `done` */
    uint64_t size;
    bool
        moves; /* from a file that goes when it is empty: may take what stays free else */
    void (*done)(struct spill_write *w, mob_status st);
    /* MOB_OK: where it is, a place for move_swing(). */
    struct place place;
    /* Ours: */
    struct spill_write *next;
};

struct spill_read {
    /* The caller's: */
    uint64_t name;
    struct place place;
    void *dst; /* place.size bytes */
    /* MOB_OK, MOB_ERR_CORRUPT, MOB_ERR_SYSTEM with a sentence, MOB_ERR_CANCELLED. */
    void (*done)(struct spill_read *r, mob_status st);
    /* Ours: */
    struct spill_read *next;
};

/* MOB_ERR_NOMEM. */
mob_status spill_create(struct spill_disk *disk, struct loop *loop, struct spill **ret);
/* No callback may be outstanding (asserted): end with spill_cancel() and wait for them. The last one may
 * call this. */
void spill_destroy(struct spill *s);
/* What has not begun ends with MOB_ERR_CANCELLED, in this call; what has begun ends by itself. */
void spill_cancel(struct spill *s);
bool spill_busy(const struct spill *s);

/* Appends an object. `done` comes later, never from inside. MOB_ERR_FULL: no folder has room;
 * MOB_ERR_SYSTEM, MOB_ERR_NOMEM: with a sentence. */
void spill_write(struct spill *s, struct spill_write *w);
/* Reads one. */
void spill_read(struct spill *s, struct spill_read *r);
/* What a place takes is free; a place that cannot be is ignored. The object is not being read. */
void spill_free(struct spill *s, const struct place *p);

/* A file that is less than half alive, or three quarters if its folder is full, to be emptied by moving its objects
 * of up to SPILL_MOVE_MAX bytes. The current file is closed for that if it is such a one and large enough, or its
 * folder is full. False: there is none. */
bool spill_sparse(struct spill *s, uint32_t *ret_file);
/* It is being emptied: named again only when it is half as much alive as now, since large objects stay. */
void spill_file_visited(struct spill *s, uint32_t file);
uint64_t spill_live_bytes(const struct spill *s);

/* ---- for a child that looks at everything -------------------------------------------------------- */

/* The files' fds; @s may be NULL. Returns how many. */
unsigned spill_fds(const struct spill *s, int *fds, unsigned room);
/* Reads an object and checks it, now. MOB_ERR_NOT_FOUND: no file has such a place, as after the object was moved.
 * MOB_ERR_CORRUPT, MOB_ERR_SYSTEM, MOB_ERR_NOMEM. */
mob_status spill_verify(const struct spill *s, uint64_t name, const struct place *p);

#endif
