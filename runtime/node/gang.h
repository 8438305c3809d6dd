/* gang.h - gangs: tasks that start together and know each other.
 *
 *   gang.c        a gang's life: its attempts, and what becomes of its results
 *   gang_begin.c  it comes, and an attempt begins
 *   gang_room.c   what it waits for before that: its arguments, and room for all of its members
 *   gang_meet.c   its members meet: they exchange bytes through their daemons
 *
 * What the program holds are n *seats*: tasks that this daemon keeps (task_keep()), on the board on which they were
 * submitted. For each attempt it makes n *members*, tasks of the library's own function GANG_TASK with the seat's
 * arguments and a ticket as the last one, which are queued and sent to other nodes like all tasks. A member
 * runs the program's function once all n have met; its seal is told to us (CALL_FOREIGN). When all n have
 * returned, their results become the seats', all at once.
 *
 *   WAITS --its arguments are there--> ROOM --its group is whole: n members made--> GATHERS --all n have met--> RUNS
 *     ^                                                                              |                         |
 *     |                                                              a member fails or dies, a seat is cancelled
 *     |                                                                              v                         |
 *     +-------- all n sealed; retries are left ----------------------------------- BREAKS <--------------------+
 *                                                                                    |                         |
 *                    over: n errors <-- all n sealed; else --------------------------+   all n returned --> over: n results
 *
 * A member that has a slot and waits for the others keeps the slot. So none is made before there is room for all:
 * the gang asks for a group of n bundles, which nodes set aside for it, all or none (group.h), and its members are tasks of
 * a class in that group. Group and class are the gang's until it is over. Two gangs never have a part each of what both
 * need, on whatever nodes they were submitted, and a gang waits for tasks of others but never for slots one by one.
 *
 * In a group of the program a gang has no group of its own: its members run in what that group has. There, gangs of a
 * node gather one after the other. Two of one group, submitted on different nodes, may then wait for each other
 * if they do not both fit.
 *
 * Bounds: GANGS_MAX gangs of a node, MOB_GANG_MAX members, MOB_EXCHANGE_MAX bytes of each in one meeting.
 * Part of cluster.h, which includes it. */
#ifndef NODE_GANG_H
#define NODE_GANG_H

#include "cluster.h"

#define GANGS_MAX 1024u /* with those that wait; one is 4 KiB, and 64 KiB in a meeting */
#define GANG_REST_NS                                                                     \
    (50 * 1000000ull) /* where the board has no records, or the cluster no groups left */
#define GANG_MADE                                                                        \
    (1u << 30) /* with its number, in `made` of a member: proxies are fewer */

enum gang_state { GANG_WAITS, GANG_ROOM, GANG_GATHERS, GANG_RUNS, GANG_BREAKS };

struct gang {
    struct gang *next; /* in the node's line, in their order */
    struct job *j;
    uint32_t id; /* in the job */
    uint32_t n;
    enum gang_state state;
    uint32_t seats;    /* the class of its seats: what each member asks for */
    uint32_t cls;      /* the one of its members */
    uint64_t group;    /* its own; or 0 */
    uint64_t gate;     /* the task that waits for its arguments; or LINK_NONE */
    uint32_t turn;     /* times that it gathered: what belongs to another one is stale */
    uint32_t asked;    /* of the members, since a seat was cancelled */
    bool cancelled;    /* a seat is */
    bool look;         /* a member was sealed */
    bool died;         /* a member did, in this attempt */
    bool ending;       /* the members were told to end */
    bool ready;        /* its arguments are there */
    bool no_class;     /* the job had none left for its members */
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

/* It is looked at then. */
void gang_look_at(struct gang *g, uint64_t when_ns);

/* ---- gang_begin.c ---- */
/* LOCAL_GANG. */
void gang_begin(struct conn *c, struct local_msg *m);
/* Makes its members. If that fails it rests, or its seats fail and it is gone. */
void gang_gather(struct gang *g);
/* A FREE record of the job. False: there is none now. */
bool gang_record(struct job *j, struct record **ret);
/* Adds the arguments of a seat that are ids, or all of them, to a record. False: they make no sense. */
bool gang_args(struct record *seat, struct record *r, bool ids);

/* ---- gang_room.c ---- */
/* Its arguments are there. False: it is looked at again when they are. */
bool gang_ready(struct gang *g);
/* Asks for room, or, in a group of the program, gathers if no other one does there. It may be its end. */
void gang_ask(struct gang *g);
/* Its group may have changed. It may be its end. */
void gang_look_at_room(struct gang *g);
/* Gives back what it has set aside. */
void gang_leave_room(struct gang *g);
/* The job ends, and its groups with it. */
void gang_forget_room(struct gang *g);
/* Whether a class is one in which gates wait: the daemon takes its tasks. */
bool gang_is_gate(const struct demand *d);
/* Takes those of a class that are ready. */
void gang_gates(struct job *j, uint32_t cls);
/* The job has a place for a class. */
void gang_class_free(struct job *j);
/* Why the first gang of a class of seats has no members yet; false: there is none. */
bool gang_why(const struct job *j, uint32_t cls, char *buf, size_t size);

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
