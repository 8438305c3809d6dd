/* ahead.c - memory that is there before it is asked for.
 *
 * Fresh pages cost several times what copying into them does. So a process whose arena grows finds its next
 * segment made: the daemon takes it from the budget and has the kernel find its pages meanwhile, in a thread of
 * the ring's or the loop's. One at a time of a job, one for each process, and only while the store is less than half full; when
 * memory is wanted they go first. On a machine with several NUMA nodes the pages would be found on the daemon's and
 * not on the process's, which commits its memory itself there. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/status.h"
#include "node.h"

enum { PLENTY_PERCENT = 50 };
#define AHEAD_MIN (16ull << 20) /* smaller ones come fast enough */

static bool many_numa_nodes(void)
{
    return access("/sys/devices/system/node/node1", F_OK) == 0;
}

static void found(struct loop_op *op, int result)
{
    struct job *j = LOOP_OWNER(op, struct job, ahead_op);
    uint32_t i = j->ahead;
    j->ahead = SEGMENT_NO;
    j->busy--;
    if (result == 0 && !j->ended && j->segments[i].owner != DAEMON) {
        grant_is_committed(j, i);
    } else {
        if (result && result != -ECANCELED) {
            log_warn("memory ahead of need: %s", strerror(-result));
        }
        grant_drop(j, i);
    }
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}

/* The process got a segment of @bytes because it grows. */
void ahead_prepare(struct job *j, uint32_t proc, uint64_t bytes)
{
    struct budget *b = &j->node->budget;
    uint64_t next = bytes * 2 < ARENA_SEGMENT_BYTES ? bytes * 2 : ARENA_SEGMENT_BYTES;
    uint32_t i = grant_free_slot(j);
    if (j->ahead != SEGMENT_NO || j->ended || bytes < AHEAD_MIN || i == SEGMENT_NO ||
        b->used_bytes + next > b->most_bytes / 100 * PLENTY_PERCENT ||
        many_numa_nodes()) {
        return;
    }
    struct segment s = {
        .state = SEGMENT_AHEAD, .owner = proc, .bytes = next, .pending = true};
    struct budget_owner owner = {j->index, proc};
    if (budget_take(b, owner, next) != MOB_OK) {
        return;
    }
    if (grant_memory(j, i, next, &s.fd) != MOB_OK) {
        budget_cancel(b, owner, next);
        return;
    }
    j->segments[i] = s;
    j->ahead = i;
    j->busy++;
    loop_allocate(j->node->loop, &j->ahead_op, s.fd, 0, next, found);
}

uint32_t ahead_take(struct job *j, uint32_t proc, uint64_t least)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        const struct segment *s = &j->segments[i];
        if (s->state == SEGMENT_AHEAD && s->owner == proc && !s->pending &&
            s->bytes >= least) {
            return i;
        }
    }
    return SEGMENT_NO;
}

void ahead_drop(struct job *j)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state == SEGMENT_AHEAD && i != j->ahead) {
            grant_drop(j, i);
        }
    }
    if (j->ahead != SEGMENT_NO) {
        loop_cancel(j->node->loop, &j->ahead_op);
    }
}
