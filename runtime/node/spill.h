/* spill.h - objects that go to disk when memory is short, and come back when they are wanted.
 *
 * spill_pick.c looks at all records for what lies in which segment and how long ago it was used; spill.c empties the
 * coldest segment, because memory goes back to the machine by whole segments. restore.c moves in; compact.c moves what is
 * left in a file that is mostly dead. How bytes move beside readers: store/move.h. */
#ifndef NODE_SPILL_H
#define NODE_SPILL_H

#include "node.h"
#include "store/move.h"
#include "store/record.h"
#include "store/spill.h"

#define SPILL_FOLDER "/var/tmp" /* by default: on a disk, and files there have no names */
#define SPILL_HIGH_PERCENT                                                               \
    80u /* in objects, of what the store can grow to: the coldest go */
#define SPILL_LOW_PERCENT 70u         /* until it is this */
#define SPILL_LOOK_RECORDS (1u << 15) /* looked at in one turn of the loop: below 2 ms */
#define SPILL_WINDOW 64u              /* objects on their way to disk at once */
#define SPILL_WINDOW_BYTES (32ull << 20)
#define SPILL_MACHINE_NS                                                                 \
    (1000 * 1000000ull)                   /* between two looks at what the machine has */
#define SPILL_AGAIN_NS (50 * 1000000ull)  /* after a look that found nothing to move */
#define RESTORE_RETRY_NS (5 * 1000000ull) /* while there is no room */
#define RESTORE_WANT_NS                                                                  \
    (20 * 1000000ull) /* between two times that all are asked for memory */
#define RESTORE_RESERVE_DIVISOR                                                          \
    16u /* part of the limit that only restores may use, ... */
#define RESTORE_RESERVE_MAX (64ull << 20) /* ... at most */

struct seg_use {          /* what lies in a segment, as of the last look */
    uint64_t live, fixed; /* bytes; of them: not sealed, or failed, so that they stay */
    uint64_t heat;        /* of the others: bytes times 0 (cold) to HEAT_MAX */
    bool done;            /* it was emptied, as far as it could be */
};

struct outgoing { /* an object on its way to disk */
    struct spill_write write;
    struct move move;
    struct node_spill *spill;
    bool landed;
};

enum round_state { ROUND_IDLE, ROUND_LOOK, ROUND_MOVE };

struct node_spill {
    struct spill_disk disk;
    struct node *node;
    struct loop_timer soon,
        retry; /* the round's next step; restores that wait for room */
    enum round_state state;
    uint64_t need,
        freed;     /* bytes that a refused request lacked; bytes moved in this round */
    uint64_t live; /* bytes of all objects in memory, as of the last look */
    uint64_t not_before_ns, want_ns, look_ns;
    /* Where it is: */
    uint32_t job, record, segment;
    struct outgoing window[SPILL_WINDOW];
    unsigned count, in_flight;
    uint64_t begun_ns;  /* of the window, for the timeline; or 0 */
    bool failed;        /* a write of the window */
    struct job *moving; /* whose objects are in the window */
};

/* @dirs: DIR[:DIR...]; NULL: the default, and without it if that does not work; "none": objects stay in memory.
 * MOB_ERR_INVALID, MOB_ERR_NOMEM. */
mob_status node_spill_start(struct node *n, const char *dirs);
/* Nothing of it is in the loop any more. */
void node_spill_stop(struct node *n);
void node_spill_end(struct node *n);

/* Memory is short: @need bytes were refused, or 0 if what was granted came near the limit. */
void spill_pressure(struct node *n, uint64_t need);
/* The machine may have less than when memory was granted last: looks at it, now and then. */
void spill_look(struct node *n);
/* Something is on its way to disk, or may be soon. */
bool spill_promising(const struct node *n);
/* Bytes that are not granted to processes, so that what they wait for can be brought back. */
uint64_t spill_reserve(const struct node *n);

/* ---- spill_pick.c ---- */
/* A job that has something to move, by its place; or NULL. */
struct job *spill_job_at(const struct node *n, uint32_t i);
/* A record in this state has objects that may move. */
static inline bool spill_may_move(uint64_t state)
{
    return state_sealed(state) && !(state & STATE_ERROR);
}
/* A new epoch for everybody who touches. */
void spill_begin_look(struct node_spill *s);
/* Looks at some records. True: at all of them now. */
bool spill_look_on(struct node_spill *s);
/* Chooses the next segment to empty. False: there is none. */
bool spill_choose(struct node_spill *s);

/* A client wants the bytes of this result in memory; anything else is ignored. */
void spill_restore(struct job *j, uint64_t link);
/* True while that is on its way. */
bool spill_restoring(const struct job *j, uint64_t link);
/* All who wait for bytes look again. */
void spill_tell(struct job *j);

/* The job's files, made if there are none yet; NULL: no memory. */
struct spill *spill_files(struct job *j);
void spill_free_place(void *job, const struct place *p);
/* The job ends: nothing new begins; what is on its way counts as job.busy. */
void spill_end_job(struct job *j);
void spill_job_free(struct job *j);

/* Moves what is alive out of a file that is mostly dead, if there is one. */
void compact_look(struct job *j);

/* The record of a link that is sealed without error, and what result it names; else NULL. */
struct record *spill_record(struct job *j, uint64_t link, struct place *ret);

#endif
