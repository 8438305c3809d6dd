/* check.h - looks at a whole board and says what is not as it must be.
 *
 * For tools and tests. It reads only, trusts nothing that it reads, and is bounded. While processes
 * work on the board a count and what it counts may be seen at different moments; on a board at
 * rest, with everybody asleep, every problem that it names is one. */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "store/board.h"

#define CHECK_TEXT_MAX 256u
#define CHECK_TEXTS_MAX 64u /* problems that are told; all are counted */

struct check_result {
    uint32_t phases[PHASE_RETIRED + 1]; /* records in each */
    uint32_t problems;
    char first[CHECK_TEXT_MAX]; /* the first problem */
    char (*texts)
        [CHECK_TEXT_MAX];       /* the caller's, for the first CHECK_TEXTS_MAX; or NULL */
    uint64_t segment_bytes;     /* of all segments */
    uint32_t segments, orphans; /* orphans: those of them whose owner is the daemon */
    uint32_t pins;
    uint32_t limbo; /* DEAD or DRAINING, with a live process that will see to them */
    /* Uses and children that are counted and not there: a death leaves counts too high, and the audit
     * corrects them when nothing else keeps the record any more. */
    uint32_t leftovers;
};

/* MOB_OK, MOB_ERR_CORRUPT if there are problems, MOB_ERR_NOMEM. Fills @ret in the first two cases; but
 * for `texts`, which is read. */
mob_status board_check(const struct board *b, struct check_result *ret);

#endif
