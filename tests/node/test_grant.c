/* Segments that are given back: who is asked for them, and who is waited for. */
#include <criterion/criterion.h>
#include <string.h>

#include "talk.h"

enum { FIRST = 2, SECOND = 3, SIZE = 8 << 20 };

/* A worker as the daemon knows it, without a process. */
static void worker(struct job *j, uint32_t p, enum slot_state slot)
{
    j->members[p] = (struct member){.job = j, .proc = p, .used = true, .slot = slot};
    at_store(&j->board.procs[p].state, PROC_IDLE, AT_RELAXED);
}

static void no_workers(struct job *j)
{
    for (uint32_t p = FIRST; p <= SECOND; p++) {
        memset(&j->members[p], 0, sizeof j->members[p]);
        at_store(&j->board.procs[p].state, PROC_NONE, AT_RELAXED);
    }
}

static uint32_t wakes(const struct job *j, uint32_t p)
{
    return at_load(&j->board.procs[p].wake, AT_RELAXED);
}

static void lets_go(struct job *j, uint32_t p)
{
    at_store(&j->board.procs[p].revoked_seen,
             at_load(&j->board.header->revoked, AT_ACQUIRE), AT_RELEASE);
}

/* What process @p says to the daemon, and what comes back as fds is closed by it. */
static void ask_of(struct job *j, uint32_t p, enum local_op op, uint64_t a, uint64_t b)
{
    static struct local_msg said;
    struct conn c =
        *j->driver; /* its answers go to the driver's socket, and nobody reads them */
    c.proc = p;
    local_msg_init(&said, op);
    said.arg[0] = a;
    said.arg[1] = b;
    (op == LOCAL_GRANT       ? grant_request
     : op == LOCAL_COMMITTED ? grant_committed
     : op == LOCAL_MAP       ? grant_map
                             : grant_give)(&c, &said);
}

/* A segment that process @p has, and may have mapped by others. */
static uint32_t granted(struct job *j, uint32_t p)
{
    ask_of(j, p, LOCAL_GRANT, SIZE, 0);
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state == SEGMENT_GRANTED && j->segments[i].owner == p) {
            ask_of(j, p, LOCAL_COMMITTED, i, 0);
            return i;
        }
    }
    cr_assert(false, "no segment was granted");
    return 0;
}

Test(grant, sleeping_workers_are_woken_when_memory_is_wanted)
{
    begin(true);
    struct job *j = world_job(&w);
    worker(j, FIRST, SLOT_IDLE);
    worker(j, SECOND, SLOT_STARTING);
    uint32_t before = wakes(j, FIRST), starting = wakes(j, SECOND);
    uint32_t wanted = at_load(&j->board.header->wanted, AT_RELAXED);
    grant_want(&w.node);
    cr_assert_neq(at_load(&j->board.header->wanted, AT_RELAXED), wanted);
    cr_assert_neq(wakes(j, FIRST), before, "it sleeps on what it could give back");
    cr_assert_eq(wakes(j, SECOND), starting, "it has nothing yet");
    no_workers(j);
    world_end(&w);
}

Test(grant, who_has_mapped_a_segment_is_asked_and_waited_for)
{
    begin(true);
    struct job *j = world_job(&w);
    worker(j, FIRST, SLOT_IDLE);
    worker(j, SECOND, SLOT_IDLE);
    uint64_t used = w.node.budget.used_bytes;
    uint32_t i = granted(j, 1);
    ask_of(j, FIRST, LOCAL_MAP, i, 0);
    uint32_t before = wakes(j, FIRST), other = wakes(j, SECOND);
    ask_of(j, 1, LOCAL_GIVE, i, 0);
    cr_assert_eq(j->segments[i].state, SEGMENT_LEAVING, "a worker has it mapped");
    cr_assert_neq(wakes(j, FIRST), before, "it sleeps, and keeps what it has mapped");
    cr_assert_eq(wakes(j, SECOND), other, "it never had it");
    lets_go(j, SECOND);
    grant_collect(j);
    cr_assert_eq(j->segments[i].state, SEGMENT_LEAVING);
    lets_go(j, FIRST);
    grant_collect(j);
    cr_assert_eq(j->segments[i].state, SEGMENT_NONE);
    cr_assert_eq(w.node.budget.used_bytes, used);
    no_workers(j);
    world_end(&w);
}

/* A worker that joins between a revocation and its first look has said of none that it has let go. */
Test(grant, who_joins_while_segments_are_revoked_keeps_none)
{
    begin(true);
    struct job *j = world_job(&w);
    worker(j, FIRST, SLOT_STARTING);
    uint32_t i = granted(j, 1), k = granted(j, 1);
    ask_of(j, 1, LOCAL_GIVE, i, 0);
    cr_assert_eq(j->segments[i].state, SEGMENT_NONE);
    worker(j, FIRST, SLOT_BUSY); /* it says hello, and is on its way to its first look */
    ask_of(j, 1, LOCAL_GIVE, k, 0);
    cr_assert_eq(j->segments[k].state, SEGMENT_NONE, "it is kept by who never mapped it");
    no_workers(j);
    world_end(&w);
}

/* Its place among the processes is another's then, which has mapped nothing. */
Test(grant, who_is_dead_keeps_nothing)
{
    begin(true);
    struct job *j = world_job(&w);
    worker(j, FIRST, SLOT_IDLE);
    uint32_t i = granted(j, 1), k = granted(j, 1);
    ask_of(j, FIRST, LOCAL_MAP, i, 0);
    ask_of(j, FIRST, LOCAL_MAP, k, 0);
    ask_of(j, 1, LOCAL_GIVE, i, 0);
    cr_assert_eq(j->segments[i].state, SEGMENT_LEAVING);
    j->members[FIRST].dead = true;
    grant_collect(j);
    cr_assert_eq(j->segments[i].state, SEGMENT_NONE);
    grant_orphan(j, FIRST);
    worker(j, FIRST, SLOT_IDLE);
    ask_of(j, 1, LOCAL_GIVE, k, 0);
    cr_assert_eq(j->segments[k].state, SEGMENT_NONE, "the next one is taken for it");
    no_workers(j);
    world_end(&w);
}
