/* lane_impl.h - what lane.c, ledger.c and free.c have of each other. */
#ifndef STORE_LANE_IMPL_H
#define STORE_LANE_IMPL_H

#include "store/lane.h"

/* Where the generations of a block's FREE records are noted, by whoever made them FREE. */
static inline uint32_t *lane_gens(struct lane *l, uint32_t block)
{
    uint32_t slot = l->block_slot[block];
    return slot ? l->blocks[slot - 1].gens : l->gens_of_others;
}

/* Hands FREE records of a block, a bit for each and their generations noted, out again. */
void lane_give_bits(struct lane *l, uint32_t block, uint64_t bits);

/* Makes a record that this lane holds DRAINING, for @owner, who is to free its places; one of them is in
 * @segment, unless the owner is the daemon. */
void lane_pass_on(struct lane *l, uint32_t index, uint32_t owner, uint32_t segment);

/* One more ledger for the lane. False: none is free, or it has as many as it may. */
bool ledger_lease(struct lane *l);
/* Gives them back; those with pins stay the process's until they are empty. */
void ledger_leave(struct lane *l);

#endif
