/* group.h - groups of bundles: room that is set aside for some tasks of a job, all of it or none.
 *
 *   group.c        the groups that a job has, as this node knows them, and what becomes of their tasks
 *   group_ask.c    what programs ask and are told of them
 *   group_words.c  the words to and from the head, and between the nodes that have the job
 *   group_alone.c  a node of no cluster is its own head for them
 *
 * The node of the job's driver is their home: it says them to the head (scheduler/head_group.c), which says how they
 * are, and passes that on to each node that has the job, which passes it on to those that have it from there. A task
 * may make and remove groups on any of them; what it says goes the other way. A group that a node does not know is
 * one that was removed, or never was.
 *
 * A gang has a group of its own (gang.h): it may be bound to some nodes, and is removed by its home when the node that
 * made it is lost.
 *
 * Threads: the loop's alone. */
#ifndef NODE_GROUP_H
#define NODE_GROUP_H

#include "scheduler/head_plan.h"

struct codec_reader;
struct codec_writer;
struct cluster;
struct conn;
struct job;
struct local_msg;
struct node;
struct peer;

#define GROUPS_OF_JOB_MAX 256u

enum group_state {
    GROUP_WAITS = PLAN_GROUP_WAITS,
    GROUP_NOWHERE = PLAN_GROUP_NOWHERE,
    GROUP_GATHERS = PLAN_GROUP_GATHERS,
    GROUP_WHOLE = PLAN_GROUP_WHOLE,
    GROUP_UNMET, /* NOWHERE for longer than a node has time to join */
    GROUP_FULL,  /* the head has as many groups as it may have */
    GROUP_STATES
};

struct group {
    struct group *next; /* of the job's */
    struct job *job;
    uint64_t id;
    uint32_t count, strategy;
    bool gang;               /* it is a gang's */
    struct plan_where where; /* of a gang's: which nodes may have it */
    struct peer *from; /* of a gang's: the node whose task made it; NULL: this one */
    enum group_state state;
    uint64_t nowhere_ns;                   /* since when it is */
    uint64_t since_ns;                     /* since when it is not whole */
    uint64_t nodes[MOB_GROUP_BUNDLES_MAX]; /* of each bundle; 0: none */
    uint64_t holds[MOB_GROUP_BUNDLES_MAX]; /* at home: what the head calls them */
    /* Or NULL: its state is another one, or it is removed. It removes no group, nor looks at the job. */
    void (*changed)(struct group *g);
    void *owner; /* whoever set `changed` may use it */
    struct resources needs[];
};

/* ---- group.c ---- */
/* What a group is, but for its name. @where NULL: it is no gang's. */
struct group_plan {
    uint32_t count, strategy;
    const struct resources *needs;
    const struct plan_where *where;
};
/* Makes a group of the job. MOB_ERR_FULL, MOB_ERR_DEMAND (a node alone, which has not so much), MOB_ERR_INVALID,
 * MOB_ERR_NOMEM. */
mob_status group_create(struct job *j, const struct group_plan *plan, struct group **ret);
struct group *group_find(const struct job *j, uint64_t id);
/* Programs that wait for a group of the job, or for the place of a class, look again. */
void group_wake(struct job *j);
/* Gives its room back and ends its tasks. @g is gone. */
void group_remove(struct group *g);
/* Why it is not whole, as a sentence's second half: "needs ...". Returns buf. */
char *group_why(const struct group *g, char *buf, size_t size);
/* The same of one that no nodes could hold. */
char *group_too_large(const struct group *g, char *buf, size_t size);
/* Whether a task may ask for it: MOB_ERR_NOT_FOUND, MOB_ERR_INVALID, MOB_ERR_DEMAND. */
mob_status group_check(const struct job *j, const struct demand *demand);
/* Looks whose time is over, and lowers @next to when one's is. */
void group_look(struct job *j, uint64_t now, uint64_t *next);
/* The job is over. */
void group_end_job(struct job *j);
/* It was said by home. @nodes may be NULL, @holds too. */
void group_told(struct group *g, enum group_state state, const uint64_t *nodes,
                const uint64_t *holds);
/* Makes it known here, under a name that it has already. */
mob_status group_add(struct job *j, uint64_t id, const struct group_plan *plan,
                     struct group **ret);
/* Removes those of gangs of a node that is lost. */
void group_peer_lost(struct job *j, const struct peer *p);
/* It is no more: ends its tasks on this node and tells those that have the job from here. */
void group_gone(struct group *g);

/* ---- group_ask.c ---- */
void group_reply(struct conn *c, struct local_msg *m);

/* ---- group_words.c ---- */
/* Asks for it, or says that it is over: the head, or the node that the job is from. */
void group_say(const struct group *g);
void group_say_end(const struct job *j, uint64_t id);
/* To the nodes that have the job from here. */
void group_pass_on(const struct group *g);
void group_pass_end(const struct job *j, uint64_t id);
/* A node was told of the job: all of its groups. */
void group_opened(struct job *j, struct peer *p);
/* The head welcomed this node: all groups of its jobs. */
void group_say_all(struct cluster *c);
/* The planners' words. */
void group_hold_said(struct cluster *c, const struct plan_hold *hold,
                     const struct resources *offer);
void group_head_said(struct cluster *c, const struct plan_head_action *a);
/* A member's word on the head; the head's to a member; between nodes that have a job. False: malformed. */
bool group_to_head(struct peer *p, uint32_t op, struct codec_reader *r);
bool group_from_head(struct peer *p, uint32_t op, struct codec_reader *r);
bool group_from_guest(struct peer *p, uint32_t op, struct codec_reader *r);
bool group_from_owner(struct peer *p, uint32_t op, struct codec_reader *r);

/* ---- group_alone.c ---- */
struct group_alone;
mob_status group_alone_say(const struct group *g);
void group_alone_end(struct node *n, uint64_t id);
void group_alone_held(struct node *n, const struct plan_hold *hold);
void group_alone_free(struct node *n);

#endif
