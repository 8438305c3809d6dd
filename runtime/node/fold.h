/* fold.h - arrays of other nodes, folded on their way here (mob_reduce).
 *
 * A task of the library's that combines arrays which lie on several nodes gets one argument instead: the fold of
 * them all. Its owner names the arrays in their order, each with a node that has it (away_fold.c). The node of the
 * task asks that of the last arrays for the fold of all of them, which asks the node before, and so on; the first
 * just shows its array. Each adds its own arrays to what arrives, part for part and in the place where it lands, and
 * shows that to who asked. So all links are busy at once, and a byte crosses each of them once.
 *
 *   order: a@A b@B c@B d@C, for a task on T        T --FOLD a b c d--> C --FOLD a b c--> B --pulls a--> A
 *                                                  T <----- FLOWS ---- C <---- FLOWS --- B
 *
 *   ASKED --the node before has FLOWS--> WAITING --its turn among the pulls, and a place--> FLOWING --> WHOLE
 *     |                                     |                                                  |          |
 *     +---- it refuses, or is lost ---------+------ the pull failed ---------------------------+          |
 *     +---- who asked says UNFOLD, or is lost: UNWANTED, until nothing reads or writes its bytes any more -+
 *
 * FLOWS is said once the place is there: so a pull that takes its turn waits for none that has not had its own. Who has
 * no room refuses. So chains that cross do not wait for each other. What fails takes the chain down to the task; the task goes back to
 * its owner, and the next attempt of it has the arrays themselves as arguments. The bits are the same: arrays are
 * combined in their order either way.
 *
 * The daemon combines, and no worker: it costs less than receiving the bytes with their checksums does, per array and
 * megabyte about 0.1 ms of the loop, and a worker would keep a slot for as long as the transfer takes, with two
 * wake-ups for each part.
 *
 * Part of cluster.h, which includes it. */
#ifndef NODE_FOLD_H
#define NODE_FOLD_H

#include "copy.h"
#include "node.h"

#define FOLDS_MAX                                                                        \
    64u /* through one node at once; more are refused, and take the long way */

struct fetch;
struct standin;

struct fold_order {
    struct fold_what what;
    uint64_t size; /* of each array */
    uint32_t count;
    struct fold_array {
        uint64_t node, link; /* the owner's */
    } arrays[FOLD_ARRAYS_MAX];
};

enum fold_state { FOLD_ASKED, FOLD_WAITING, FOLD_FLOWING, FOLD_WHOLE, FOLD_UNWANTED };

struct fold;

void fold_put_order(struct codec_writer *w, const struct fold_order *o);
/* False: malformed. */
bool fold_get_order(struct codec_reader *r, struct fold_order *ret);

/* ---- away_fold.c ---- */
/* Whether an argument of @r, which goes to @to, is better folded on its way there. */
bool fold_pays(struct job *j, struct record *r, const struct peer *to,
               struct fold_order *ret);

/* ---- fold.c ---- */
/* The fold that a guest job's task waits for; it ends with standin_folded(). */
mob_status fold_start(struct job *j, struct standin *s, const struct fold_order *order,
                      struct fold **ret);
/* The task does not want it any more. */
void fold_unwanted(struct fold *f);
bool fold_message(struct peer *p, enum wire_op op, struct codec_reader *r);
void fold_peer_lost(struct peer *p);
void fold_end_job(struct job *j);
/* The fold of @j that @p asked for by that number, to be shown until fold_unexported(). MOB_ERR_NOT_FOUND.
 * @ret_pull: what brings it, or NULL: it is whole. */
mob_status fold_export(struct job *j, const struct peer *p, uint64_t number,
                       struct fold **ret, struct fetch **ret_pull,
                       struct transport_export *ret_export);
void fold_unexported(struct fold *f);

#endif
