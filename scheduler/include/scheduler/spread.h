/* spread.h - which other nodes have a node's objects, and from whom who wants one is to pull it.
 *
 * The owner of an object keeps this. One that many nodes want is not sent to each of them by the owner: who
 * asks while the owner is busy is sent to a node that has the object, or that is just getting it and passes on
 * what it has already. So a chain or a tree of pullers comes about, in which each has all of its bandwidth
 * for the next one, and the object reaches n nodes in about the time of one transfer.
 *
 *   holder  a node that has a copy, ARRIVING or WHOLE       flow   a pull under way, from a source to a holder
 *   depth   flows between a whole copy and a holder: the parts that its copy lags behind
 *   width   the most flows that leave any one node on that way: who shares its bandwidth
 *
 *   unknown --ask()--> ARRIVING --whole()--> WHOLE          gone(), node_lost(): from any to unknown
 *   ARRIVING --its source gone--> ARRIVING without a source --ask()--> ARRIVING
 *
 * The rule: the source of a new flow is the holder, or the owner, for which
 *
 *   parts x max(width, flows out of it + 1) + depth
 *
 * is least, in times of one part: that long it takes until the last part is there. So a chain grows while it is
 * shorter than the object has parts, and branches beyond that. A node gives away SPREAD_FLOWS_MAX flows at
 * once; if all do, the owner gives one more, so that nobody waits for a turn.
 *
 * No loops: sources are a forest here, whose roots are whole copies; who asks is never sent to a node that gets
 * its bytes from him. A holder asks again only once its flow has ended, so what is true out there is part of
 * what stands here. Who was of no use is not named again until it says that it has a whole copy.
 *
 * It is a hint that a copy is there still: who does not find it asks again. Decides and does nothing else, as
 * the planners (plan.h). Bounded: what is not known any more is pulled from the owner.
 *
 * The idea is that of Hoplite (Zhuang et al., SIGCOMM 2021), whose senders serve one receiver at a time. */
#ifndef SCHEDULER_SPREAD_H
#define SCHEDULER_SPREAD_H

#include <mobula.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/limits.h"

#define SPREAD_HOLDERS_MAX 65536u /* copies that an owner knows of */
#define SPREAD_OBJECTS_MAX 16384u /* objects of which it knows any */
#define SPREAD_FLOWS_MAX 2u       /* out of one node that is not the owner */
/* Smaller objects come from the owner or a whole copy: asking and telling would cost more than they. */
#define SPREAD_BYTES_MIN (4ull << 20)

struct spread;

struct spread_object {
    uint32_t job;
    uint64_t link;
};

/* @self: the owner's id. @part_bytes: what is passed on at once, CHUNK_BYTES on the wire. */
mob_status spread_create(uint64_t self, uint64_t part_bytes, struct spread **ret);
void spread_destroy(struct spread *s);
/* The node is another incarnation now, and nobody has anything of it. */
void spread_reset(struct spread *s, uint64_t self);

/* @node wants the object of @size bytes. @failed: the source that was named last and was of no use; 0: none;
 * @node: it wants no source but the owner. Returns whom to ask, which may be the owner. The flow counts until
 * whole() or gone(). */
uint64_t spread_ask(struct spread *s, struct spread_object name, uint64_t size,
                    uint64_t node, uint64_t failed);

/* @node has a whole copy. */
void spread_whole(struct spread *s, struct spread_object name, uint64_t node);

/* @node has no copy, and does not get one. */
void spread_gone(struct spread *s, struct spread_object name, uint64_t node);

void spread_node_lost(struct spread *s, uint64_t node);
void spread_job_over(struct spread *s, uint32_t job);

/* It has a copy, or gets one. */
bool spread_has(const struct spread *s, struct spread_object name, uint64_t node);

/* A node with a whole copy, from which the least flows; not @but, nor one that was of no use. 0: there is none, but
 * for the owner. */
uint64_t spread_some(const struct spread *s, struct spread_object name, uint64_t but);

struct spread_view { /* of one holder */
    bool whole;
    uint64_t source; /* the owner; 0: none just now, or it needs none */
    uint32_t depth, width, flows;
};
/* MOB_ERR_NOT_FOUND. */
mob_status spread_view(const struct spread *s, struct spread_object name, uint64_t node,
                       struct spread_view *ret);

#endif
