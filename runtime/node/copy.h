/* copy.h - an object on its way into this node: from one source after another, and on to others meanwhile.
 *
 * It is asked for at its owner, which gives it or names another node that has it, whole or in part
 * (scheduler/spread.h). What is here and verified is shown to others at once. A source that fails costs the rest
 * only: the owner is asked again, and the transfer goes on at the first byte that is missing.
 *
 *   copy_pull(): a transfer --copy_pulled()--> WHOLE | ASK | LATER | ELSEWHERE | FAILED
 *
 * A copy may be folded as it arrives: each part, once it is verified, is combined in its place with arrays that are
 * here, and what is shown to others is the result. So a reduction along a chain of nodes takes as long as one
 * transfer, and the way of one part through the chain (fold.h).
 *
 * Knows the transport and the names of objects, and no job: tests run it with a thousand nodes in one process.
 * Threads: the transport's. */
#ifndef NODE_COPY_H
#define NODE_COPY_H

#include "core/fold.h"
#include "wire.h"

#define COPY_TRIES 8u  /* in a row, that get no chunk whole from the owner */
#define COPY_TURNS 16u /* sources that are tried before the owner has to give it itself */

enum copy_next {
    COPY_WHOLE,     /* it is here */
    COPY_ASK,       /* the owner, at once */
    COPY_LATER,     /* the owner, after a while: it is not ready */
    COPY_ELSEWHERE, /* from copy.named, once that is not 0 */
    COPY_FAILED
};

struct copy_export {                /* somebody pulls from it */
    struct copy_export *next, **at; /* at: NULL: it is in no list */
    struct transport_peer *peer;
    uint64_t cookie;
};

struct copy_fold { /* arrays of the copy's size, aligned to their numbers */
    enum fold_op op;
    enum fold_type type;
    size_t count;
    const void *arrays[FOLD_ARRAYS_MAX];
};

struct copy {
    struct transport_xfer xfer;
    uint8_t *dst;
    uint64_t size;
    uint64_t begun; /* where the transfer under way began */
    uint64_t
        ready; /* verified, and folded, from the start on; others' exports look at it */
    uint64_t source; /* the node that it comes from; 0: the owner */
    uint64_t failed; /* the source that was of no use last */
    uint64_t ask;    /* the number of the last question; 0: the owner gives it itself */
    uint64_t named;  /* the answer */
    uint32_t tries, turns;
    struct copy_export *exports;
    const struct copy_fold *fold; /* NULL: it stays as it comes */
};

/* The name by which the owner is asked. @number: of the question, never used again; 0: to be given by it. */
void copy_ask(struct copy *c, struct wire_name *io_name, uint64_t number, uint64_t self);
/* Begins a transfer of what is missing. @source: the node, or 0 for the owner. Returns what transport_pull()
 * says. */
mob_status copy_pull(struct copy *c, struct transport_peer *peer, uint64_t source,
                     const struct wire_name *name);
/* More has arrived. */
void copy_landed(struct copy *c);
/* The transfer has ended. */
enum copy_next copy_pulled(struct copy *c, mob_status st);
/* The owner's answer to a question. False: to another one. */
bool copy_answer(struct copy *c, uint64_t number, uint64_t node);
/* The named source cannot be reached: the owner is to be asked. */
void copy_useless(struct copy *c);

/* Shows it. The copy stays in its place, and dst readable, until all exports are over. */
void copy_export(struct copy *c, struct copy_export *e, struct transport_peer *peer,
                 struct transport_export *io_export);
void copy_unexport(struct copy_export *e);
/* The rest will never come. */
void copy_revoke(struct copy *c, mob_status st);

#endif
