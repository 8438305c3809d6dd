/* gang.h - gangs: tasks that start together and know each other.
 *
 *   gang.c        a gang's life: its attempts, and what becomes of its results
 *   gang_begin.c  it comes, and an attempt begins
 *   gang_meet.c   its members meet: they exchange bytes through their daemons
 *
 * What the program holds are n *seats*: tasks that this daemon keeps (task_keep()), on the board on which they were
 * submitted. For each attempt it makes n *members*, tasks of the library's own function GANG_TASK with the seat's
 * arguments and a ticket as the last one, which are queued and sent to other nodes like all tasks. A member
 * runs the program's function once all n have met; its seal is told to us (CALL_FOREIGN). When all n have
 * returned, their results become the seats', all at once.
 *
 *   WAITS --its turn: n members made--> GATHERS --all n have met--> RUNS --all n returned--> over: n results
 *     ^                                    |                         |
 *     |                 not all met in time, or as RUNS       a member fails or dies, a seat is cancelled
 *     |                                    v                         v
 *     +---- all n sealed; retries are left BREAKS <-------------------+
 *                                          |
 *                                          +-- all n sealed; else --> over: n errors
 *
 * A member that has a slot and waits for the others keeps the slot. So of all gangs of a node one gathers at a time,
 * and where gangs of other nodes may have what it lacks it gives up after a while, rests, and tries again.
 *
 * Bounds: GANGS_MAX gangs of a node, MOB_GANG_MAX members, MOB_EXCHANGE_MAX bytes of each in one meeting.
 * Part of cluster.h, which includes it. */
#ifndef NODE_GANG_H
#define NODE_GANG_H

#include "cluster.h"

#define GANGS_MAX 1024u /* with those that wait; one is 4 KiB, and 64 KiB in a meeting */
#define GANG_GATHER_NS                                                                   \
    (5 * 1000000000ull) /* to gather in, at first; doubles with each time in vain */
#define GANG_GATHER_MAX_NS (60 * 1000000000ull)
#define GANG_REST_NS (50 * 1000000ull) /* after a time in vain, at least */
#define GANG_MADE                                                                        \
    (1u << 30) /* with its number, in `made` of a member: proxies are fewer */

enum gang_state { GANG_WAITS, GANG_GATHERS, GANG_RUNS, GANG_BREAKS };

struct gang {
    struct gang *next; /* in the node's line, in their order */
    struct job *j;
    uint32_t id; /* in the job */
    uint32_t n;
    enum gang_state state;
    uint32_t turn;     /* times that it gathered: what belongs to another one is stale */
    uint32_t vain;     /* in a row without all being there */
    uint32_t asked;    /* of the members, since a seat was cancelled */
    bool cancelled;    /* a seat is */
    bool look;         /* a member was sealed */
    bool died;         /* a member did, in this attempt */
    bool ending;       /* the members were told to end */
    bool late;         /* not all were there in time */
    uint64_t rests_ns; /* until then */
    uint64_t unmet_ns; /* since when no n slots exist; or 0 */
    mob_status cause;  /* why it breaks; MOB_OK: nothing failed */
    char *why;         /* what it said; NULL: nothing */
    struct loop_timer timer;
    struct gang_member {
        uint64_t seat, link; /* link: LINK_NONE while it waits */
        bool here;           /* in this meeting */
        struct peer *from;   /* where it is; NULL: on this node */
    } members[MOB_GANG_MAX];
    struct gang_meeting {
        uint32_t round, here, bytes; /* bytes: that each has brought */
        bool odd;                    /* they are not the same number */
        uint8_t *all;                /* MOB_GANG_MAX * MOB_EXCHANGE_MAX, or NULL */
    } meeting;
};

/* ---- gang.c ---- */
/* The board's ring has a record that may be a member. */
void gang_sealed(struct job *j, const struct record *r);
/* Goes on with those of which a member was sealed; or, after a death, with all. */
void gang_look(struct job *j, bool all);
/* Seats may have been cancelled. */
void gang_cancels(struct job *j);
/* Whether a task is a member of a gang of that board. */
bool gang_has(const struct job *j, const struct record *r);
struct gang *gang_find(const struct job *j, uint32_t id);
/* All members are there. */
void gang_met(struct gang *g);
/* The job is over. */
void gang_end_job(struct job *j);
/* A seat's record, if this daemon still keeps it. NULL: somebody wrote over the board. */
struct record *gang_seat(const struct gang *g, uint32_t i);
/* All seats fail, and the gang is gone. */
void gang_fail(struct gang *g, mob_status st, const char *why);
/* To the end of its node's line, in which it is not. */
void gang_line_up(struct gang *g);
/* It waits for its next turn, behind the others and for so long at least. */
void gang_rest(struct gang *g, uint64_t for_ns);

/* ---- gang_begin.c ---- */
/* LOCAL_GANG. */
void gang_begin(struct conn *c, struct local_msg *m);
/* Makes its members. If that fails it rests, or its seats fail and it is gone. */
void gang_gather(struct gang *g);

/* ---- gang_meet.c ---- */
/* LOCAL_MEET: a member asks for what all have brought. */
void meet_ask(struct conn *c, struct local_msg *m);
/* Who waits in the meeting is told that there will be none. */
void meet_break(struct gang *g);
void meet_end(struct gang *g);
void meet_peer_lost(struct cluster *c, const struct peer *p);
/* WIRE_MEET and WIRE_MET; @j NULL: it is not here. */
bool meet_message(struct job *j, struct peer *p, struct codec_reader *r);
bool met_message(struct job *j, struct codec_reader *r);
/* A process is gone. */
void meet_forget(struct member *m);

#endif
