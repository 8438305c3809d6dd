/* timeline.h - mobula timeline: what its files share.
 *   timeline.c        the command          timeline_fetch.c  asks all nodes for their events
 *   timeline_write.c  one JSON file of them, as Perfetto and Chrome read it */
#ifndef TOOLS_MOBULA_TIMELINE_H
#define TOOLS_MOBULA_TIMELINE_H

#include <stdio.h>

#include "common/tool.h"
#include "store/timeline.h"

#define TRACE_EVENTS_MAX (1u << 21) /* fetched in all: 150 MiB */
#define TRACE_NODES_MAX 4096u
#define TRACE_RINGS_MAX (1u << 16)

struct trace_node {
    char id[24], host[64];
    uint64_t node;
    int64_t offset_ns;  /* of its clock, from this machine's */
    uint64_t error_ns;  /* half of the shortest round trip: it is that wrong at most */
    int64_t since_ns;   /* recording began, by this machine's clock */
    uint64_t unreached; /* 1: it did not answer */
};

struct trace_ring { /* one process of a job, or (job 0) a daemon */
    uint32_t node;
    uint32_t job, proc, owner_job;
    uint64_t owner;
    const json_t *names; /* of the job; borrowed from trace.jobs */
    const char *job_name;
    uint64_t lost;         /* overwritten before they were fetched */
    uint32_t first, count; /* of its events */
};

struct trace_event {
    int64_t start_ns; /* by this machine's clock */
    struct timeline_event e;
};

struct trace {
    struct trace_node *nodes;
    struct trace_ring *rings;
    struct trace_event *events;
    uint32_t nodes_count, rings_count, events_count;
    int64_t now_ns;
    bool cut;     /* there were more events than TRACE_EVENTS_MAX */
    json_t *jobs; /* as nodes told of them */
};

/* ---- timeline_fetch.c ---- */
/* A node's answer to {"what": "timeline"} with the members of @more, whose reference goes. NULL: none, with
 * mob_last_error(). */
json_t *timeline_ask(struct tool_node *daemon, const char *id, json_t *more);
/* The ids of the cluster's nodes that live. Exits if there is no memory. */
json_t *timeline_nodes(struct tool_node *daemon);
mob_status timeline_fetch(struct tool_node *daemon, struct trace *ret);
void timeline_forget_all(struct trace *t);

/* ---- timeline_write.c ---- */
void timeline_write(const struct trace *t, FILE *to);

#endif
