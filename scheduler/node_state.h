/* node_state.h - what the node planner is made of; its files share this and nobody else
 * sees it.
 *
 *   node_events.c  jobs, workers and slots: checks each event and books it
 *   node_peers.c   leases, grants, head, peers: likewise
 *   node_decide.c  who gets and keeps slots, after every event
 *   node_room.c    who gives them for it
 *   node_report.c  what the head and other nodes get: reports, sends, the view, the check
 *   node_hold.c    what is held for groups
 *   node_inside.c  who of a group has it
 *   node_why.c     for people: why tasks wait, leases
 */
#ifndef SCHEDULER_NODE_STATE_H
#define SCHEDULER_NODE_STATE_H

#include "index.h"
#include "scheduler/node_plan.h"
#include "share.h"

struct node_class {
    bool known;
    uint32_t cls;  /* its name */
    bool reported; /* the head may have a demand of it */
    bool fits;     /* this node is large enough for one task, and has the labels */
    struct demand demand;
    uint64_t cost; /* share_cost() of one slot */
    uint32_t queued;
    bool
        guessed; /* `queued` was lowered here since the daemon counted, which is to count again */
    uint32_t starting, busy, idle, lent, resuming;
    uint32_t taking; /* slots asked back, at most busy + idle */
    uint64_t taking_since;
    uint32_t quota; /* slots of all leases for it here */
    uint32_t owed;  /* and those that the head took away and counts until they are back */
    uint32_t foreign; /* tasks that came under leases and are not finished */
    /* Sums over its grants: slots; tasks sent; slots that those tasks fill; tasks asked for. */
    uint32_t granted, away, filled, asked;
    uint32_t want_sent, want_high; /* said; most that it wanted since the window began */
    uint64_t short_since; /* since when it waits for room; CLOCK_NEVER: it does not */
    uint64_t none_since;  /* since when it has tasks here and no slot; or CLOCK_NEVER */
    bool extra;           /* it was given a slot beyond its leases, which it was owed */
    bool tried;           /* scratch of one pass: it cannot be served now */
    uint64_t served_at;   /* when it got its last slot */
    uint64_t
        kept_until; /* it was served as it had waited too long: classes before it take none until then */
    struct plan_hint hints[PLAN_HINTS_MAX];
    uint32_t hints_count;
};

struct node_job {
    bool used;
    bool implied; /* a lease added it; it goes with the last lease if no worker came */
    bool failed;
    struct plan_job key;
    struct share share; /* used: cost of busy and starting slots */
    uint32_t bare, workers;
    uint32_t start_fails; /* in a row */
    uint32_t classes;     /* places of classes in use or once used */
    uint32_t next_cls;    /* where the round among its classes goes on */
    struct node_class cls[CLASSES_MAX];
};

/* A lease that this node executes. */
struct node_lease {
    uint64_t lease, owner;
    uint32_t epoch, job, cls, slots; /* job: its place; cls: a name */
    uint32_t sync; /* the connection in which the head last spoke of it */
    bool settling; /* shrunk by the head, which waits for the slots to come back */
    uint32_t owed; /* these slots */
};

/* A lease that others execute for us. Without slots it stays until its tasks are back. */
struct node_grant {
    uint64_t lease, node;
    uint32_t epoch, job, cls, slots;
    uint32_t sync;
    uint32_t away, asked; /* tasks sent; tasks that PLAN_SEND asked for */
    uint64_t
        not_before; /* after a refusal it rests: the head's word on it is on its way */
    uint32_t depth; /* tasks for each slot */
    uint32_t done;  /* tasks back since window */
    uint64_t window;
};

/* What is held for a bundle; its state is PLAN_HOLD_END while slots of its tasks have to come back. */
struct node_hold {
    struct plan_hold word;
    bool stray; /* the head knows nothing of it: node_hold_resume() made it */
    uint32_t sync;
    uint64_t until; /* it is given up then; CLOCK_NEVER: it is not */
};

struct plan_node {
    struct plan_node_config config;
    uint64_t last;         /* time that is accounted for */
    struct resources free; /* what no slot and no hold has */
    struct resources keep; /* of it, in this pass: for who comes before all others */
    const struct node_class *kept_for; /* that class; NULL: workers whose get is over */
    uint64_t head;
    bool head_up;
    uint32_t sync;
    bool offer_known; /* to the head, as: */
    struct resources offer_sent;
    struct resources offer_low; /* since the window began */
    uint64_t soon_at;           /* when rises are said; CLOCK_NEVER: there are none */
    uint64_t window_at;         /* when the window ends, and falls that lasted are said */
    uint64_t deadline;
    uint64_t extra_until; /* the slot beyond leases that was given last is kept so long */
    uint32_t jobs_top;    /* places of jobs in use or once used */
    uint32_t next_guest;  /* where the round among guests goes on */
    struct node_job *jobs;
    struct share **active; /* scratch: jobs_max */
    uint32_t leases_count, grants_count, holds_count;
    uint64_t strays; /* the name of the last one, counted down from the top */
    struct node_lease *leases;
    struct node_grant *grants;
    struct node_hold *holds; /* PLAN_HOLDS_MAX, the oldest first */
    struct index_map lease_index, grant_index;
};

/* The slots of a class that hold all that it needs. */
static inline uint32_t class_held(const struct node_class *c)
{
    return c->starting + c->busy + c->idle;
}

static inline bool job_is_native(const struct plan_node *p, const struct node_job *j)
{
    return j->key.node == p->config.node;
}

/* It has slots as it likes; else under leases. */
static inline bool class_is_native(const struct plan_node *p, const struct node_job *j,
                                   const struct node_class *c)
{
    return job_is_native(p, j) &&
           ((c->demand.strategy == DEMAND_DEFAULT && !c->demand.group) ||
            !p->config.clustered);
}

/* What it needs it has of what is held for its group, and not of what is free. */
static inline bool class_grouped(const struct node_class *c)
{
    return c->demand.group != 0;
}

static inline uint64_t class_cpus(const struct node_class *c)
{
    return c->demand.need.amount[RESOURCE_CPU];
}

/* What @count workers of a class hold while they wait inside a get, all but their CPUs, booked or (@add or
 * @sub) unbooked. */
static inline void
class_book_kept(struct resources *r, const struct node_class *c, uint32_t count,
                void (*book)(struct resources *, const struct resources *, uint64_t))
{
    if (count > 0) {
        struct resources kept = c->demand.need;
        kept.amount[RESOURCE_CPU] = 0;
        book(r, &kept, count);
    }
}

/* Slots that idle beyond the class's own queue and were not asked back yet. */
static inline uint32_t spare_idle(const struct node_class *c)
{
    uint32_t wanted = c->queued + c->taking;
    return c->idle > wanted ? c->idle - wanted : 0;
}

/* The class of a lease or grant: it is known as long as it has any. */
#define CLASS_OF(p, l) (&(p)->jobs[(l)->job].cls[plan_class_place((l)->cls)])

#define FOR_EACH_CLASS(p, j, c)                                                          \
    for (struct node_job *j = (p)->jobs; j < (p)->jobs + (p)->jobs_top; j++)             \
        for (struct node_class *c = j->cls; j->used && c < j->cls + j->classes; c++)     \
            if (c->known)

/* node_events.c. Every event is: find and check, node_begin(), book, node_decide(). */
struct node_job *node_find(const struct plan_node *p, struct plan_job key);
/* NULL: there is none of that name. */
struct node_class *node_find_class(const struct plan_node *p, struct plan_job key,
                                   uint32_t cls, struct node_job **ret_job);
/* Accounts for the time since the last event. */
void node_begin(struct plan_node *p, uint64_t now);
mob_status node_add_job(struct plan_node *p, struct plan_job key, uint32_t weight,
                        struct node_job **ret);
void node_add_class(const struct plan_node *p, struct node_job *j, uint32_t cls,
                    const struct demand *demand);

/* node_peers.c */
void node_set_lease(struct plan_node *p, struct node_lease *l, uint32_t slots);
void node_say_held(struct plan_node *p, struct node_lease *l);
void node_drop_lease(struct plan_node *p, uint32_t at);
void node_drop_grant(struct plan_node *p, uint32_t at);
/* Adds a grant to the sums of its class, or (@sign -1) takes it out. */
void node_count_grant(struct plan_node *p, const struct node_grant *g, int sign);

/* node_decide.c */
void node_decide(struct plan_node *p, uint64_t now);
void node_set_deadline(struct plan_node *p, uint64_t now);
void node_act(struct plan_node *p, enum plan_node_action_kind kind,
              const struct node_job *j, const struct node_class *c, uint32_t count);
/* Tasks queued beyond the slots that are there or coming for them. */
uint32_t node_lack(const struct plan_node *p, const struct node_job *j,
                   const struct node_class *c);

/* What a class could have when all slots are back, of what is free or of what is held for its group. What workers keep
 * inside a get is not in it: that may come back only when others have run, the class among them. */
struct resources node_reach(const struct plan_node *p, const struct node_class *c);

/* node_room.c */
/* Asks @count slots of a class back. */
void node_take(struct plan_node *p, struct node_job *j, struct node_class *c,
               uint32_t count, uint64_t now);
/* Finds room for what was tried in vain; first for one who must not wait, what is kept for it. */
void node_make_room(struct plan_node *p, uint64_t now);
/* Cuts leases to what natives and holds leave, and says so. */
void node_cut_leases(struct plan_node *p);

/* node_hold.c */
/* Of what is held for a group's class here: what is free; that of its bundle alone; what is free or in slots; what its
 * leases leave, whatever others have. */
struct resources node_hold_room(const struct plan_node *p, const struct node_class *c);
struct resources node_hold_bundle(const struct plan_node *p, const struct node_class *c);
struct resources node_hold_reach(const struct plan_node *p, const struct node_class *c);
struct resources node_hold_unleased(const struct plan_node *p,
                                    const struct node_class *c);
/* Nothing is kept here any more that one who waits in a get could go on in. */
bool node_hold_gone(const struct plan_node *p, const struct node_class *c);
/* Whether one whose get is over may go on. If what it ran in is gone it has CPUs of what is free, in a hold that is over
 * from the beginning: it counts until its slot is back, and no other task gets it. */
bool node_hold_resume(struct plan_node *p, const struct node_class *c);
/* All that is held or gathered. */
struct resources node_held(const struct plan_node *p);
/* At the beginning of a pass: drops what is over and has no slots any more. */
void node_hold_end(struct plan_node *p, uint64_t now);
/* Takes what is free for those that gather; what they lack is kept for them. */
void node_hold_gather(struct plan_node *p);
uint64_t node_hold_deadline(const struct plan_node *p);
/* Another head came: what the last one had not made whole is over, all else if it is not named in time. */
void node_hold_new_head(struct plan_node *p, uint64_t now);
/* What the head has not named in this connection is over. */
void node_hold_sweep(struct plan_node *p);
/* NULL, or what is wrong. Adds what is held to @used. */
const char *node_hold_check(const struct plan_node *p, struct resources *used);

/* node_inside.c */
/* The class beside @c in its group, or @c, for which what comes free is kept; NULL: there is none. */
const struct node_class *node_inside_late(const struct plan_node *p,
                                          const struct node_class *c, uint64_t now);
/* What a slot of a group's class may take now. */
struct resources node_inside_room(const struct plan_node *p, const struct node_class *c,
                                  uint64_t now);
/* Finds room for what was tried in vain, and for workers whose get is over. */
void node_inside_make_room(struct plan_node *p, uint64_t now);

/* node_report.c */
void node_send(struct plan_node *p, uint64_t now);
/* Sees what there is to say, and when; node_say() says it. */
void node_report(struct plan_node *p, uint64_t now);
void node_say(struct plan_node *p, uint64_t now);
/* What guest slots hold or leases promise, whichever is more. */
struct resources node_promised(const struct plan_node *p);
/* What may be leased: the offer without slots that leases no longer cover. */
struct resources node_room(const struct plan_node *p);

#endif
