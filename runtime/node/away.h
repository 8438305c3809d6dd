/* away.h - this node's tasks that run on others.
 *
 *   away.c          the slots of tasks that are away, what comes back undone, the end
 *   away_send.c     tasks on their way out        away_results.c  those that are done
 *   hints.c         which of them has arguments already
 *
 * Part of cluster.h, which includes it. What is part of a job is in away_job.h. */
#ifndef NODE_AWAY_H
#define NODE_AWAY_H

#include "cluster.h"

/* A node that has no room for the job is asked again after this, which doubles up to the most. */
#define AWAY_AGAIN_MIN_NS (250 * 1000000ull)
#define AWAY_AGAIN_MAX_NS (4 * 1000000000ull)

struct send_job { /* what PLAN_SEND asked for */
    struct send_job *next;
    struct plan_job job;
    uint64_t node, lease;
    uint32_t epoch, cls, count;
};

/* ---- away_send.c ---- */
void away_send(struct cluster *c, const struct send_job *s);

/* ---- away.c ---- */
bool away_message(struct peer *p, enum wire_op op, struct codec_reader *r);
/* @met: there was a connection to it, so that what was sent may have begun there. */
void away_peer_lost(struct cluster *c, struct peer *p, bool met);
void away_cancels(struct job *j);
/* Asks all nodes to end the job. */
void away_close(struct job *j, bool kill_now);
bool away_closed(const struct job *j);
/* Waits no longer for them. */
void away_abandon(struct job *j);
void away_free(struct job *j);
/* NULL: that node does not have the job. */
struct away_host *away_host_of(const struct job *j, const struct peer *p);
struct away *away_slot_new(struct job *j);
void away_slot_free(struct job *j, struct away *s);
/* The slot that an answer names, if it is about what is there now. */
struct away *away_slot_find(struct job *j, const struct peer *p, uint32_t slot,
                            uint64_t link);
/* Its record, if this daemon still holds it in that attempt. */
struct record *away_slot_record(struct job *j, const struct away *s);
/* Ends a slot whose task has no result: it runs again, if it may. */
void away_take_back(struct job *j, struct away *s, bool begun, const char *why);
void away_fail_task(struct job *j, struct record *r, mob_status st, const char *text);
/* The same of one that was cancelled, or did not start by its deadline. */
void away_fail_cancelled(struct job *j, struct record *r);

/* ---- hints.c ---- */
/* That node has a copy of an object of ours now. */
void hint_there(struct job *j, const struct peer *p, uint64_t link, uint64_t bytes);
/* Which nodes have large arguments of the task that is next. Returns how many. */
uint32_t hint_backlog(struct job *j, uint32_t cls,
                      struct plan_hint hints[PLAN_HINTS_MAX]);

/* ---- away_results.c ---- */
bool away_done(struct job *j, struct peer *p, struct codec_reader *r);

#endif
