/* grant.h - segments of a job, and the bytes in them.
 *
 *   grant.c         who has which segment      ahead.c   those made before they are asked for
 *   grant_own.c     places of the daemon's own
 *   grant_orphan.c  what a dead process leaves
 *   grant_bytes.c   what the daemon reads and writes of results */
#ifndef NODE_GRANT_H
#define NODE_GRANT_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "local.h"
#include "store/arena.h"
#include "store/board.h"
#include "store/budget.h"

struct conn;
struct job;
struct node;

enum segment_state {
    SEGMENT_NONE,
    SEGMENT_AHEAD, /* its process has not asked for it yet */
    SEGMENT_GRANTED,
    SEGMENT_HELD,
    SEGMENT_ORPHAN,
    SEGMENT_LEAVING
};

struct
    segment { /* the daemon's own account; the word on the board is a copy for clients */
    enum segment_state state;
    uint32_t owner; /* process; DAEMON once that one is dead */
    uint64_t bytes;
    uint64_t live; /* of an orphan: places in use */
    uint32_t
        epoch; /* of a leaving one: gone when all who map it have seen this revocation */
    uint64_t mappers[PROCS_MAX / 64]; /* processes that asked for it, to read it */
    int fd;
    void *rw;       /* mapped here: the daemon's own, which its arena cuts */
    const void *ro; /* likewise: another's, to be sent to other nodes */
    bool shown;     /* ro is known to the transport */
    bool
        pending; /* its pages are not there yet, or come as bytes arrive; of the budget's promises */
};

#define SEGMENT_NO UINT32_MAX /* none */

void grant_request(struct conn *c, struct local_msg *m);
/* Memory ran out: all processes of the node are asked for what they have and do not use, and copies of
 * other nodes' objects that no task needs now go. */
void grant_want(struct node *n);
void grant_committed(struct conn *c, struct local_msg *m);
void grant_give(struct conn *c, struct local_msg *m);
void grant_map(struct conn *c, struct local_msg *m);
/* The segments of a dead process pass to the daemon; called before the sweep. */
void grant_orphan(struct job *j, uint32_t proc);
/* After the sweep: counts what still lives in orphans, and drops those that are empty. */
void grant_count_orphans(struct job *j);
void grant_free_place(void *job, uint32_t segment, uint64_t offset);
/* Drops leaving segments that nobody maps any more. */
void grant_collect(struct job *j);
void grant_end(struct job *j);
/* Makes the mappings of all segments known to the transport, which is new. */
void grant_show_all(struct node *n);
/* A number that no segment has, or SEGMENT_NO. */
uint32_t grant_free_slot(const struct job *j);
/* The memory of a segment, whose pages are still to be found. */
mob_status grant_memory(const struct job *j, uint32_t segment, uint64_t bytes,
                        int *ret_fd);
/* The pages of a segment are there. */
void grant_is_committed(struct job *j, uint32_t segment);
/* A segment that nobody maps goes. */
void grant_drop(struct job *j, uint32_t segment);

mob_status grant_records(struct job *j);
/* A place of the daemon's own for bytes that come from other nodes. MOB_ERR_NOMEM. Then exactly one
 * of the next two, when the bytes are there or will not come. */
mob_status grant_place(struct job *j, uint64_t size, struct arena_place *ret,
                       void **ret_data);
mob_status grant_aligned(struct job *j, uint64_t size, size_t align,
                         struct arena_place *ret, void **ret_data);
void grant_landed(struct job *j, const struct arena_place *place);
void grant_unplace(struct job *j, const struct arena_place *place);

/* ---- between the files above ---- */
#define GRANT_MAX (1ull << 40) /* bytes of one segment */
/* In whose name its bytes are in the budget. */
struct budget_owner grant_payer(const struct job *j, const struct segment *s);
/* Tells clients of it. */
void grant_publish(struct job *j, uint32_t segment, uint64_t flags);
/* From now on nobody maps it anew, and those who have it are asked to unmap it. */
void grant_leave(struct job *j, uint32_t segment);
/* Gives back the daemon's own segments that nothing lives in; some are kept for later if not @all. */
void grant_give_empty(struct job *j, bool all);

/* ---- ahead.c ---- */
/* The process got one of @bytes because it grows. */
void ahead_prepare(struct job *j, uint32_t proc, uint64_t bytes);
/* One that is there for it, of @least bytes; or SEGMENT_NO. */
uint32_t ahead_take(struct job *j, uint32_t proc, uint64_t least);
/* Memory is wanted: they go. */
void ahead_drop(struct job *j);

/* ---- grant_bytes.c ---- */
/* The record and place that hold the bytes of a sealed record's result, through references.
 * @io_link becomes that record's. Everything is checked: clients can write there. */
mob_status grant_resolve(struct job *j, uint64_t *io_link, struct record **ret,
                         struct place *ret_place);
/* What a sealed result is, as its task or who made its bytes said. False: nobody did. */
bool node_meta(struct job *j, uint64_t link, struct mob_meta *ret);
/* Where those bytes are, mapped here. The caller has pinned the record or knows what keeps it. */
mob_status grant_read(struct job *j, const struct record *r, const struct place *p,
                      const void **ret);
/* The status and the text (with its NUL, at most @size bytes) of a record that grant_resolve() said
 * has failed. */
mob_status grant_failure(struct job *j, const struct record *r, const struct place *p,
                         char *text, size_t size);
/* Writes an error into a record that the daemon holds. A text that is longer than a record gets a
 * place, as long as the store has room. */
void grant_error(struct job *j, struct record *r, mob_status error, const char *text);

#endif
