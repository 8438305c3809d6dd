/* lineage.h - results of ours that stay where they were made, and are made again if they are lost there.
 *
 *   lineage.c       what is known of them: bounds, beginning and end
 *   lineage_held.c  arguments that are kept here for them
 *   lineage_back.c  pulled when they are wanted, made again when their maker is lost
 *   lineage_stuck.c what makes one again and finds no room, as those have it who wait for it
 *
 * A large result of a task that another node ran is sealed here without its bytes: its place is AWAY and names an
 * entry of a table that only the daemon can write. The maker keeps the bytes until it is told that it may let them go.
 *
 *   AWAY --wanted: pulled from its maker------------------------------> ARENA, and the maker may let go
 *    |  \--its maker is lost, and it is wanted: its task runs again ---> ARENA
 *    |                                    \--which failed -------------> LOST, and the entry says why
 *    +--released: the maker is told ---> gone
 *
 * What a lost result is made of is an argument record: the call as it was, of a task that nobody publishes, on the
 * board, CREATING by the daemon. It has a use of each of its arguments whose bytes are here; an argument that is away
 * itself is another entry, which may outlive its own result: so of a chain of released results only the argument
 * records are kept, and no bytes. A copy of that record is the task that makes the result again. Its arguments that
 * are lost are made first, each once at a time: they are tasks too, whose results it waits for like any other.
 *
 * Bounds: LINEAGE_MAX entries and argument records, LINEAGE_DEPTH_MAX of them in a row, and of bytes that are kept here
 * for them as much as the store may have, or a quarter of that if there is no disk. A result beyond them comes here at once, and nothing has to be made again
 * before it; so does one of a task without retries, and one that somebody waits for.
 *
 * Part of cluster.h, which includes it. */
#ifndef NODE_LINEAGE_H
#define NODE_LINEAGE_H

#include "cluster.h"

#define LINEAGE_BYTES_MIN HINT_BYTES_MIN
#define LINEAGE_MAX (1u << 16) /* of a job; each takes a record and 700 bytes */
#define LINEAGE_DEPTH_MAX                                                                \
    64u /* tasks that run again one after the other for one result */
#define LINEAGE_RETRY_NS (5000000ull) /* while there is no room for what comes back */
#define LINEAGE_STUCK_NS                                                                 \
    (2000000000ull) /* what makes one again is short of something that those have who wait */
#define LINEAGE_AHEAD 16u /* results that are brought before they are asked for, ... */
#define LINEAGE_AHEAD_BYTES (16ull << 20) /* ... and bytes of them */
/* In `made` of a record that makes a result again, with its entry's number: guests' proxies are fewer. */
#define LINEAGE_MADE (1u << 31)

struct lineage {
    uint32_t number; /* in the table */
    uint8_t results, depth;
    uint8_t named;  /* bit i: the place of result i names this */
    uint8_t wanted; /* bit i: somebody waits for its bytes */
    bool todo;      /* it is in lineage_job.todo: something is under way */
    struct lineage *next_todo;
    uint64_t link;     /* its record, with result 0 */
    struct peer *peer; /* who has the bytes; NULL: they are lost */
    uint64_t shown;    /* the node that was told to pull them there; or 0 */
    uint64_t remote_link;
    struct fetch *pulls[MOB_RETURNS_MAX];
    bool ungrouped;  /* the group in which it ran is no more, and it cannot run again */
    uint64_t call;   /* the argument record */
    uint64_t repair; /* the task that makes it again, or LINK_NONE */
    uint64_t
        queued_ns; /* since when that task waits for room, or when it was looked for last; or 0 */
    bool told;      /* the driver, of what keeps it from having any */
    uint32_t users; /* entries that have this one as an argument */
    struct lineage_arg {
        struct lineage *from; /* NULL: a value, or the argument record has it */
        uint32_t ret;
        struct lineage_held *held; /* it is here, and counted; or NULL */
    } args[MOB_ARGS_MAX];
    char *why; /* it cannot be made again: a sentence */
};

/* ---- lineage.c ---- */
/* For results of the task @r, TAKEN by the daemon, that may stay at @p as results of @remote_link. NULL: they may
 * not, and are to be taken at once. */
struct lineage *lineage_new(struct job *j, struct record *r, struct peer *p,
                            uint64_t remote_link);
/* Result @ret stays; its place is { PLACE_AWAY, ret, number }. */
void lineage_name(struct lineage *e, uint32_t ret);
/* Ends an entry that nothing needs any more. */
void lineage_tidy(struct job *j, struct lineage *e);
/* The entry that a place of the result @link names, or NULL: places are input. */
struct lineage *lineage_of(const struct job *j, uint64_t link, const struct place *p);
/* The entry that a task makes again, or NULL. */
struct lineage *lineage_repairs(const struct job *j, const struct record *r);
/* A record that had such a place is freed. */
void lineage_free_place(struct job *j, const struct place *p);
/* Result @ret is here, or released (@gone): its maker need not keep it. */
void lineage_unname(struct job *j, struct lineage *e, uint32_t ret, bool gone);
/* It is not to be had from its maker, who lets it go if he has it. @st: of the pull that failed. */
void lineage_forsake(struct job *j, struct lineage *e, mob_status st);
/* What that node kept is lost. */
void lineage_peer_lost(struct job *j, const struct peer *p);
/* A group was removed, whose classes are known yet: what its tasks made cannot be made again. */
void lineage_group_gone(struct job *j, uint64_t group);
/* Why the bytes of a LOST result cannot be had; @text of FAILURE_TEXT_MAX. */
void lineage_why(struct job *j, uint64_t link, char *text);
/* For people: what stays where. Returns how many nodes it is, of which the first @max are in @ret. */
struct lineage_at {
    const struct peer *peer; /* NULL: it is lost, and not made again yet */
    uint64_t results, bytes;
};
uint32_t lineage_nodes(const struct job *j, struct lineage_at *ret, uint32_t max);
void lineage_end_job(struct job *j);
void lineage_free(struct job *j);

/* ---- lineage_held.c ---- */
/* One more use of an object of ours as an argument. NULL: there is no memory to count it. */
struct lineage_held *lineage_hold(struct job *j, uint64_t link, uint64_t bytes);
void lineage_unhold(struct job *j, struct lineage_held *h);
void lineage_held_free(struct job *j);

/* ---- lineage_stuck.c ---- */
/* Looks at what keeps the task that makes @e again, in @state, from beginning. */
void lineage_stuck(struct job *j, struct lineage *e, uint64_t state);
/* Parks what was to make room, and lets those go on for whom there is nothing to wait for any more. */
void lineage_park(struct job *j);

/* ---- lineage_back.c ---- */
/* Somebody wants these bytes here; anything else than a result that is away is ignored. */
void lineage_want(struct job *j, uint64_t link);
/* The same of a driver. Who reads results in the order in which he submitted their tasks, which is mostly that of their
 * records, has the next ones brought too. */
void lineage_read(struct job *j, uint64_t link);
/* For a task that goes to @to: the node to pull them from, which is not the owner's; 0: from the owner, or they are
 * there. To one node only: what more of them want comes here, and goes on from here to all of them. */
uint64_t lineage_source(struct job *j, uint64_t link, const struct peer *to);
/* Goes on with all that is wanted: after a task that makes something again may be done, or a loss. */
void lineage_flush(struct job *j);
/* The same with the next turn of the loop. */
void lineage_soon(struct job *j, uint64_t after_ns);

#endif
