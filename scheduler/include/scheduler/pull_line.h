/* pull_line.h - which of the pulls that a node wants begins next.
 *
 * Each source (another node) has a line of pulls for each urgency. The most urgent pull whose source has room
 * is next; equal ones come from the sources in turn, and from one source in the order in which they came. What
 * is under way is bounded in bytes and number for each source, and in bytes for the node; one pull that is larger
 * than a bound goes alone. If the next one has no room in the node, no other passes it: small ones that go on
 * coming would keep it waiting for ever.
 *
 *   idle --add--> waiting --begin--> under way --end--> idle       remove: from waiting to idle
 *
 * Decides and does nothing else: no I/O, no clock, no allocation; the structs are the caller's. */
#ifndef SCHEDULER_PULL_LINE_H
#define SCHEDULER_PULL_LINE_H

#include <stdbool.h>
#include <stdint.h>

#define PULL_SOURCE_COUNT 32u /* under way from one source, under TRANSPORT_PULLS_MAX */
#define PULL_SOURCE_BYTES                                                                \
    (64ull << 20)                    /* likewise: 100 Gb/s for 5 ms, many round trips */
#define PULL_NODE_BYTES (1ull << 30) /* from all of them */

enum pull_urgency {
    PULL_PROGRAM,  /* an executable: no task of its job runs without it */
    PULL_GET,      /* somebody sleeps until this very object is there */
    PULL_WAIT,     /* or until one of several is */
    PULL_ARGUMENT, /* a task waits for it */
    PULL_LATER,    /* nobody yet */
    PULL_URGENCIES
};

struct pull_source;
struct pull_entry {
    struct pull_entry *next, **at; /* at: what points to it; NULL: it does not wait */
    struct pull_source *source;
    uint64_t bytes;
    enum pull_urgency urgency;
    bool under_way;
};

struct pull_source {
    struct pull_entry *first[PULL_URGENCIES], **last[PULL_URGENCIES];
    struct pull_source *next; /* a ring of those for which pulls wait; NULL: not in it */
    struct pull_source *prev;
    uint64_t bytes;
    uint32_t count, waiting;
    bool open; /* pulls from it can begin; the caller's */
};

struct pull_line {
    struct pull_source *turn; /* whose turn it is */
    uint64_t bytes;
    uint32_t waiting;
};

void pull_source_init(struct pull_source *s);
/* @e->bytes and @e->urgency are set, the rest is zero or was given back. */
void pull_line_add(struct pull_line *l, struct pull_source *s, struct pull_entry *e);
void pull_line_remove(struct pull_line *l, struct pull_entry *e);
/* A waiting one is at the end of another line now, unless it is of that urgency already. */
void pull_line_urgent(struct pull_line *l, struct pull_entry *e, enum pull_urgency u);
/* NULL: none can begin. */
struct pull_entry *pull_line_next(const struct pull_line *l);
void pull_line_begin(struct pull_line *l, struct pull_entry *e);
void pull_line_end(struct pull_line *l, struct pull_entry *e);
/* An entry that is under way goes on from another source, which counts it from now on even if that is more than
 * it may have: the bytes that are here already would wait otherwise. */
void pull_line_move(struct pull_entry *e, struct pull_source *to);

#endif
