/* lane_impl.h - what lane.c, ledger.c and free.c have of each other. */
#ifndef STORE_LANE_IMPL_H
#define STORE_LANE_IMPL_H

#include "store/lane.h"

/* Hands FREE records of a block, a bit for each, out again. */
void lane_give_bits(struct lane *l, uint32_t block, uint64_t bits);

/* Makes a record that this lane holds DRAINING, for @owner, who is to free its places; one of them is in
 * @segment, unless the owner is the daemon. */
void lane_pass_on(struct lane *l, uint32_t index, uint32_t owner, uint32_t segment);

/* One more ledger for the lane. False: none is free, or it has as many as it may. */
bool ledger_lease(struct lane *l);
/* Gives them back; those with pins stay the process's until they are empty. */
void ledger_leave(struct lane *l);

#endif
