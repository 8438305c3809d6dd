/* sweep.h - what the daemon does on a board after a process died, and now and then.
 *
 * All functions are the daemon's, called with its own lane, while other processes go on using the
 * board. They are idempotent: a sweep that is done twice changes nothing the second time. */
#ifndef STORE_SWEEP_H
#define STORE_SWEEP_H

#include "store/lane.h"

/* Writes the error @error, and why the process died, into a task that dies with it: @r is TAKEN by
 * the daemon. */
typedef void (*sweep_reason)(void *arg, struct record *r, mob_status error,
                             uint32_t attempt);

struct sweep_result {
    uint32_t requeued, failed, cancelled; /* tasks */
    uint32_t freed;                       /* records that only the dead one kept */
    bool corrupt; /* the board makes no sense: not all was done, and the job must end */
};

/* Takes back all that the dead process @process held: its tasks are run again or fail (if @ordered, as the
 * daemon ended it for one that is cancelled, without counting it against the others' retries), what it had
 * not sealed goes, its pins, ledgers, blocks and marks are cleared, everybody who might wait for a
 * wake-up that it owed is woken. The owner of its segments must be the daemon before (so that the
 * daemon may free their places), and the process confirmed dead. */
void sweep_process(struct lane *d, uint32_t process, bool ordered, sweep_reason reason,
                   void *arg, struct sweep_result *ret);

/* Corrects use and child counts that a death left too high, by looking at all records. The counts
 * never err low, so that until then nothing is freed early, only late. Returns how many records
 * it closed or freed. @ret_again: some counts may be too high that could not be judged yet; may be
 * NULL. */
uint32_t sweep_audit(struct lane *d, bool *ret_again);

/* Serves NOTICE_RESCAN: pushes ready tasks whose queue was full, adopts records left to the daemon,
 * which are in its lane's limbo then for as long as they are pinned, and closes what threads without a
 * pin left open. True if something must be tried again later (still full, or too many). */
bool sweep_rescan(struct lane *d);

/* Gives blocks free that ended lanes left behind, once all their records are. Returns how many
 * blocks can be leased now. */
uint32_t sweep_blocks(struct lane *d);

/* Wakes everybody on the board, whatever they wait for. */
void sweep_wake_all(struct board *b);

#endif
