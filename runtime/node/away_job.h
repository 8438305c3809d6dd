/* away_job.h - a job's part in what runs elsewhere; part of job.h, used by away.h. */
#ifndef NODE_AWAY_JOB_H
#define NODE_AWAY_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "core/loop.h"

struct away_result;
struct lineage;
struct peer;

#define NODE_HASH_BYTES 32u

enum away_state { AWAY_FREE, AWAY_SENT, AWAY_TAKING };
struct away { /* one of our tasks on another node */
    enum away_state state;
    uint64_t link;
    struct peer *peer; /* NULL: lost, while its results wait here for room */
    uint64_t lease, remote_link;
    uint32_t remote;       /* its proxy there */
    uint8_t attempt, left; /* left: results that are on their way */
    bool cancel_sent, failed;
    uint64_t sent_ns; /* for the timeline, or 0 */
    uint32_t asked;   /* with the cancel that was sent: store/request.h */
    bool
        folds; /* its arguments are folded on their way; if it comes back that counts as an attempt, the next of
                 * which does without */
    uint64_t too_large; /* bytes of a result for which this node will never have room */
    struct away_result *results;
    struct lineage *lineage; /* some of them stay there; or NULL */
    uint32_t next_free;
};
#define HINT_BYTES_MIN                                                                   \
    (64u << 10)    /* moving less costs no more than a round trip or two */
struct away_host { /* a node that has our job */
    struct away_host *next;
    struct peer *peer;
    bool failed, closing;
    uint64_t
        again_ns; /* it had no room for the job: not to be opened there before; or 0 */
    uint64_t wait_ns; /* until then, from the last refusal on */
};
struct away_job { /* of every job */
    struct away *slots;
    uint32_t count, room, free;
    uint32_t out;
    struct away_host *hosts;
    uint8_t hash[NODE_HASH_BYTES];
    bool hashed, no_exe;
    uint64_t token; /* that only who works for the job is told */
    int exe;        /* our own copy, in the cache */
    uint64_t exe_size;
    void *start;
    size_t start_size;
};
#define LINEAGE_PARKED_MAX 256u
struct lineage_parked { /* a task that was to make room; see lineage_stuck.c */
    uint64_t link;
    uint32_t number; /* of the entry that needs the room, while its task is @repair */
    uint64_t repair;
    bool taken; /* by the daemon: its worker is gone */
};
struct lineage_job { /* of every job: results that stayed elsewhere; see lineage.h */
    struct lineage **entries; /* by number */
    uint32_t room, count, last;
    uint32_t next_read; /* the record behind what the driver asked for last; or 0 */
    struct lineage *todo;
    bool walking;
    struct loop_timer timer;
    struct lineage_held **held; /* arguments that are kept here, by id */
    uint64_t held_bytes;        /* of all of them */
    struct lineage_parked parked[LINEAGE_PARKED_MAX];
    uint32_t parked_count;
};

#endif
