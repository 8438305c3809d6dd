/* spill_impl.h - what spill.c, spill_files.c, spill_disk.c and spill_read.c have of each other. */
#ifndef STORE_SPILL_IMPL_H
#define STORE_SPILL_IMPL_H

#include "core/xxh3.h"
#include "store/spill.h"

#define SPILL_MAGIC 0x6c6c69707362f6dull
#define SPILL_BUFFERS 2u /* of writes: one is filled while the other is written */
#define SPILL_READERS 2u /* objects that are read at once */
#define SPILL_BUFFER_BYTES (1u << 20)
#define SPILL_BLOCK 4096u
#define SPILL_NO_FILE UINT32_MAX

struct spill_head {
    uint64_t magic, name, size, check;
};
_Static_assert(sizeof(struct spill_head) == 32, "as spill.h says");

struct spill_file {
    int fd;
    struct spill_folder *folder;
    uint64_t end;     /* where the next extent begins */
    uint64_t live;    /* bytes of live extents */
    uint64_t holes;   /* bytes given back to the file system */
    uint64_t padding; /* bytes that fill up blocks behind extents */
    uint64_t visited; /* bytes that were alive when it was compacted last; 0: never */
    uint32_t users;   /* reads and writes in flight, and 1 while it is the current one */
    bool failed;      /* a write failed: what has not been told yet is lost */
    bool no_holes;    /* its file system cannot punch them */
    bool spare;       /* begun for what moves, in what stays free else */
};

struct spill_buffer {
    struct loop_op op;
    struct spill *spill;
    uint8_t *bytes;
    uint32_t file;
    uint64_t at; /* in the file */
    uint32_t fill, sent;
    bool filled; /* given to the kernel, or written and not settled */
    struct spill_write *ended, **ended_end; /* whose last byte is in here */
};

struct spill_reader {
    struct loop_op op;
    struct spill *spill;
    struct spill_read *read; /* NULL: idle */
    uint8_t *bytes;
    uint64_t pos;  /* of the extent's bytes that were looked at */
    uint64_t from; /* where in the file the buffer begins */
    XXH3_state_t *hash;
};

struct spill {
    struct spill_disk *disk;
    struct loop *loop;
    struct spill_file **files; /* by number; NULL: gone */
    uint32_t files_count, files_room;
    uint64_t live;

    struct spill_write *writes, **writes_end; /* the first is being copied */
    uint64_t pos;                             /* of its extent's bytes that were copied */
    uint32_t current;                         /* file; UINT32_MAX: none */
    XXH3_state_t *hash;
    struct spill_buffer buffers[SPILL_BUFFERS];
    unsigned fill, settle; /* buffers, in turn */
    struct loop_timer soon;
    unsigned outstanding; /* writes without an answer */

    unsigned inside; /* functions that call back, and go on with this afterwards */
    bool doomed;     /* destroyed by who was called back; goes when they are done */

    struct loop_timer reads_soon;
    struct spill_read *reads, **reads_end;
    struct spill_reader readers[SPILL_READERS];
};

static inline uint64_t spill_extent(uint64_t size)
{
    return (sizeof(struct spill_head) + size + sizeof(uint64_t) + 63) / 64 * 64;
}
static inline uint64_t spill_check(const struct spill_head *h)
{
    return XXH3_64bits(h, offsetof(struct spill_head, check));
}

/* A file without a name in a folder; -1 with errno. */
int spill_disk_file(struct spill_folder *f);
/* Whether it may take @need bytes now; what keeps it from that is noted. @moves: of what stays free else, too. */
bool spill_disk_has_room(struct spill_disk *d, struct spill_folder *f, uint64_t need,
                         bool moves, uint64_t now);
/* It is left alone for SPILL_RETRY_NS. */
void spill_disk_failed(struct spill_disk *d, struct spill_folder *f, uint64_t now,
                       const char *what, int error);

/* The file, or NULL if there is none of that number. */
struct spill_file *spill_file(const struct spill *s, uint32_t number);
/* Closes it if nothing needs it. */
void spill_file_drop(struct spill *s, uint32_t number);
/* The one that is appended to gets no more. */
void spill_close_current(struct spill *s);
/* With @fill bytes more the file is to be closed. */
bool spill_file_is_over(const struct spill *s, const struct spill_file *f, uint64_t fill);
void spill_close_if_over(struct spill *s);
/* Why no folder takes another file. */
mob_status spill_no_room(const struct spill_disk *d);
/* Begins a file that has room for @size bytes. @moves: in what stays free else, too. */
mob_status spill_open_file(struct spill *s, uint64_t size, bool moves);
void spill_fail(struct spill *s, struct spill_file *f, int error, const char *what);

/* Around all that calls back. */
void spill_enter(struct spill *s);
void spill_leave(struct spill *s);

void spill_reads_cancel(struct spill *s);
bool spill_reads_busy(const struct spill *s);
void spill_reads_free(struct spill *s);

#endif
