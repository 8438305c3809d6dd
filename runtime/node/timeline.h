/* timeline.h - what is recorded of the node; timeline.c. */
#ifndef NODE_TIMELINE_H
#define NODE_TIMELINE_H

#include <mobula.h>
#include <stdbool.h>

#include "store/timeline.h"

struct job;
struct node;
struct json_t;

struct kept_timeline;
struct node_timeline {
    bool on;
    uint64_t since_ns;
    struct timeline_ring *own;  /* the daemon's; NULL until it is on for the first time */
    struct kept_timeline *kept; /* of jobs that are over, the newest first */
    uint32_t kept_count;
    uint64_t kept_bytes;
};

/* A job, or a process of it, begins. */
void timeline_job(struct job *j);
void timeline_process(struct job *j, uint32_t proc);
/* Its board goes. */
void timeline_keep(struct job *j);
/* Memory is wanted. */
void timeline_forget(struct node *n);
void timeline_free(struct node *n);
mob_status timeline_set(struct node *n, bool on);
/* The time for timeline_note(); 0: nothing is recorded, and that does nothing. */
uint64_t timeline_now(const struct node *n);
/* What began at @start_ns and is over now. @job: its number. */
void timeline_note(struct node *n, enum timeline_kind kind, uint32_t job,
                   uint64_t start_ns, uint64_t link, uint64_t a, uint64_t b,
                   mob_status st);
struct json_t *timeline_answer(struct node *n, const struct json_t *ask);

#endif
