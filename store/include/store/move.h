/* move.h - the bytes of sealed results move: out of shared memory to disk, and back.
 *
 *   ARENA (anybody's segment) --> SPILLED (a file) --> ARENA (a segment of the daemon's) --> ...
 *                                   |    ^
 *                                   |    +--> SPILLED (another file)
 *                                   +--> LOST (it could not be read)
 *
 * One process moves, the daemon. To move a result's bytes it
 *   1. pins the record (lane_pin()), so that nobody frees it meanwhile,
 *   2. copies the bytes to where they will be,
 *   3. swings the place, by one compare-and-swap on its first word (move_swing()),
 *   4. looks at the pins (move_look()), and gives the old place away (move_give()) once nobody else pins the
 *      record; then it unpins it.
 *
 * A reader pins the record and then reads the place (record_pinned_place()); what it finds stays until it
 * unpins. Its pin, fence and look at the place pair with the mover's swing, fence and look at the pins,
 * all sequentially consistent: either the reader sees the new place, or the mover sees the pin and the old
 * bytes stay. Tasks pin the arguments that they look at likewise.
 *
 * The old place in another process's segment is that process's to free. It goes there as a free record goes
 * (DRAINING, store/README.md): a record of the daemon's that has nothing but this place. So a death of the
 * owner, at any moment, is the sweep's old case. The daemon's own death is the node's. */
#ifndef STORE_MOVE_H
#define STORE_MOVE_H

#include "store/lane.h"

#define MOVE_NO_PIN UINT64_MAX

struct move {
    uint64_t link; /* with the result's number */
    uint64_t pin;  /* of lane_pin(), by the mover; MOVE_NO_PIN before that */
    struct place old;
    bool held; /* of move_look(): somebody else pins the record */
};

/* Swings result @ret of a pinned record from one place to another of the same size. Release: who sees the
 * new place sees the bytes there. False: it is not there any more. */
bool move_swing(struct record *r, uint32_t ret, const struct place *from,
                const struct place *to);

/* Marks those records that somebody beside the mover pins. One look at all ledgers. */
void move_look(const struct lane *l, struct move *moves, uint32_t count);

/* Gives an old place to whom it belongs. False: the lane has no free record to carry it; later. */
bool move_give(struct lane *l, const struct place *old);

#endif
