/* guest.h - jobs of other nodes that run here, and the arguments of their tasks.
 *
 *   guest.c          a job's names, its beginning and its end
 *   guest_tasks.c    tasks that come            guest_results.c  what is told of those that are done
 *   guest_back.c     what of them goes back undone
 *   standin.c        objects of the owner that tasks have as arguments
 *
 * Part of cluster.h, which includes it. */
#ifndef NODE_GUEST_H
#define NODE_GUEST_H

#include "cluster.h"

struct guest_key { /* a job of another node, as this node's planner knows it */
    struct guest_key *next;
    uint64_t owner;
    struct plan_job theirs, ours;
    uint32_t classes; /* as in its job, which may have to be opened yet: job.h */
    uint32_t class_name[CLASSES_MAX], no_class;
    struct demand demand[CLASSES_MAX];
    uint32_t number; /* the owner's, as it was opened last */
    bool failed;     /* no worker of it starts here */
    bool waits;      /* it found no room, and may be opened again */
    struct job *job;
};

#define GUEST_PATIENCE_NS                                                                \
    (2 * AWAY_AGAIN_MAX_NS) /* for its owner to open it again: memory is kept for it */

struct proxy {     /* a task that another node owns, on our board */
    uint64_t link; /* here; LINK_NONE: the place is free */
    uint64_t theirs;
    uint32_t slot; /* there */
    uint32_t cls;
    bool done; /* told; the record stays until its results were taken */
    bool late; /* done, and a result is not there yet */
    uint64_t
        told; /* bytes of results that may stay here: in kept_bytes until the owner says */
    uint32_t next_free;
};

struct standin { /* an object of another node that tasks here have as argument */
    uint64_t theirs, ours;
    uint64_t bytes, used; /* used: a count of uses, for eviction */
    bool pending;
    bool kept;          /* its owner has not got its bytes: they stay until it says so */
    struct fetch *pull; /* while its bytes are on their way */
    struct fold *fold;  /* the same of one that is folded then */
    struct standin *next;
};

#define STANDIN_BUCKETS 1024u
/* The fold that a task has as argument is called by the task's link and this in the place of a result's number. */
#define STANDIN_FOLD 0xfu

struct guest {
    struct peer *owner;
    uint32_t number; /* the owner's */
    struct guest_key *key;
    bool ready;                   /* the executable is here */
    uint32_t starts[CLASSES_MAX]; /* that the planner asked for before it was ready */
    struct proxy *proxies;
    uint32_t proxies_count, proxies_room, free_proxy;
    uint32_t open[CLASSES_MAX];     /* proxies that are not told of yet */
    uint32_t finished[CLASSES_MAX]; /* to be told to the planner */
    uint32_t *ended;                /* proxies to be told of */
    uint32_t ended_count, ended_room;
    uint32_t late;
    struct loop_timer late_timer, gather_timer;
    struct standin *standins[STANDIN_BUCKETS];
    uint64_t standin_bytes, clock; /* bytes: of those that are not kept */
    uint64_t kept_bytes;           /* of those that are, and of results that may be */
    uint8_t hash[WIRE_HASH_BYTES];
    uint64_t exe_size, start_size;
    void *start;
    int temp; /* the executable while it is pulled, and where */
    void *temp_map;
    char temp_path[512];
    uint64_t token;   /* of the job, known to those who work for it */
    uint64_t dropped; /* bytes of output */
    bool close_asked, close_told;
};

/* ---- guest.c ---- */
bool guest_message(struct peer *p, enum wire_op op, struct codec_reader *r);
struct guest_key *guest_key_get(struct cluster *c, uint64_t owner, struct plan_job theirs,
                                bool make);
/* classes.c. The place of the class of a demand, added if it is new. MOB_ERR_FULL. */
mob_status guest_key_class(struct guest_key *k, const struct demand *demand,
                           uint32_t *ret);
/* There is no place: classes of groups that are no more go, and those of a job that is not open, if the planner has
 * nothing of them. */
void guest_key_tidy(struct cluster *c, struct guest_key *k);
struct job *guest_find(struct cluster *c, const struct peer *owner, uint32_t number);
/* The owner was told that its job does not run here, or not yet. */
bool guest_was_refused(const struct cluster *c, const struct peer *owner,
                       uint32_t number);
void guest_peer_lost(struct cluster *c, struct peer *p);
void guest_output(struct job *j, int stream, const char *text, size_t size);
void guest_failed(struct job *j, const char *text);
void guest_ended(struct job *j);
void guest_free(struct job *j);

/* ---- guest_tasks.c: @j is NULL for a job that is not here; false: malformed ---- */
bool guest_tasks(struct peer *p, uint32_t number, struct codec_reader *r);
bool guest_release(struct job *j, struct codec_reader *r);
bool guest_cancel(struct job *j, struct codec_reader *r);
bool guest_let_go(struct job *j, struct codec_reader *r);
/* Its results were taken, or fit into the message that told them. */
void guest_proxy_drop(struct job *j, struct proxy *x);

/* ---- guest_back.c ---- */
/* What waits here under a lease that is over goes back to its owner: no worker will run it. Not from
 * within a planner's event. */
void guest_give_back(struct job *j);
/* What the owner's task waits for does not come: it goes back undone. */
void guest_undone(struct job *j, uint64_t theirs);
/* A task that came does not run here. */
void guest_refuse(struct peer *p, uint32_t number, uint32_t slot, uint64_t link);

/* ---- guest_results.c ---- */
/* The board's daemon lane found a record on its ring. */
void guest_sealed(void *job, struct record *r);
/* Sends what was found. */
void guest_flush(struct job *j);
/* Looks at all proxies: after a worker's death, or when the ring was full. */
void guest_look_all(struct job *j);

/* ---- standin.c ---- */
mob_status standin_get(struct job *j, uint64_t theirs, struct standin **ret,
                       bool *ret_new);
/* What its bytes are: before they come. */
void standin_meta(struct job *j, struct standin *s, const struct mob_meta *meta);
void standin_bytes(struct job *j, struct standin *s, const void *bytes, size_t size);
void standin_pull(struct job *j, struct standin *s, uint64_t size);
/* The same from a third node, which made it and keeps it for its owner; or from the owner if that does not do. */
void standin_pull_from(struct job *j, struct standin *s, uint64_t size, uint64_t node);
/* Has them folded on their way. On failure the stand-in is gone. */
mob_status standin_fold(struct job *j, struct standin *s, const struct fold_order *order);
/* They are in @place, or will not come: then their task goes back to its owner. */
void standin_folded(struct job *j, struct standin *s, mob_status st,
                    const struct arena_place *place);
void standin_error(struct job *j, struct standin *s, mob_status st, const char *text);
/* A result of a task that ran here, which is the owner's @theirs now: its handle becomes the stand-in's.
 * False: it does not, and the handle is still the caller's. */
bool standin_adopt(struct job *j, uint64_t theirs, uint64_t ours, uint64_t size,
                   bool kept);
/* A result of that size may be kept for its owner: there will be room beside it. */
bool standin_may_keep(const struct job *j, uint64_t size);
/* LET_GO: its owner has it, or nobody wants it any more (@gone). */
void standin_let_go(struct job *j, uint64_t theirs, bool gone);
/* Drops those that no task uses until at most @keep bytes are left. */
void standin_evict(struct job *j, uint64_t keep);
void standin_free(struct job *j);
/* All of them, one after the other, from NULL to NULL. */
const struct standin *standin_next(const struct job *j, const struct standin *s);
/* The copy here of the owner's object, and the pull that brings it, or NULL. False: there is none. */
bool standin_find(const struct job *j, uint64_t theirs, uint64_t *ret_ours,
                  struct fetch **ret_pull);
/* Tasks were cancelled: what no other waits for is pulled no more. */
void standin_unwanted(struct job *j);
/* Which of the owner's objects a record here stands for: as a copy, or as the result of its task. False:
 * for none. */
bool guest_origin(const struct job *j, uint64_t ours, uint64_t *ret_theirs);

#endif
