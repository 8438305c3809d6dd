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

/* ---- ahead of need ------------------------------------------------------------------------------- */

#define MIB (1ull << 20)

static uint32_t find_ahead(const struct job *j)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state == SEGMENT_AHEAD) {
            return i;
        }
    }
    return SEGMENT_NO;
}

/* Its arena grows, to @want. */
static void grows(struct job *j, uint32_t p, uint64_t want)
{
    ask_of(j, p, LOCAL_GRANT, want, 4 * MIB);
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state == SEGMENT_GRANTED) {
            ask_of(j, p, LOCAL_COMMITTED, i, 0);
        }
    }
}

static struct job *job_in_plenty(void)
{
    begin(true);
    w.node.budget.limit_bytes = 1024 * MIB;
    cr_assert_eq(budget_refresh(&w.node.budget), MOB_OK);
    return world_job(&w);
}

static void until_there(struct job *j)
{
    while (j->ahead != SEGMENT_NO) {
        world_turn(&w);
    }
}

Test(grant, the_next_segment_is_there_when_it_is_asked_for, .timeout = 60)
{
    struct job *j = job_in_plenty();
    grows(j, 1, 8 * MIB);
    cr_assert_eq(find_ahead(j), SEGMENT_NO, "a small one comes fast enough");
    grows(j, 1, 16 * MIB);
    uint32_t i = find_ahead(j);
    cr_assert_neq(i, SEGMENT_NO);
    cr_assert_eq(j->segments[i].bytes, 32 * MIB);
    cr_assert(j->segments[i].pending);
    until_there(j);
    cr_assert(!j->segments[i].pending);
    cr_assert_eq(w.node.budget.pending_bytes, 0);
    uint64_t used = w.node.budget.used_bytes;
    grows(j, 1, 32 * MIB);
    cr_assert_eq(j->segments[i].state, SEGMENT_HELD, "it got what was there");
    until_there(j);
    cr_assert_eq(w.node.budget.used_bytes, used + 64 * MIB, "and the next is there");
    world_end(&w);
}

Test(grant, what_is_ahead_of_need_goes_when_memory_is_wanted, .timeout = 60)
{
    struct job *j = job_in_plenty();
    grows(j, 1, 16 * MIB);
    uint64_t used = w.node.budget.used_bytes - 32 * MIB;
    grant_want(&w.node); /* while its pages are being found, and after that */
    until_there(j);
    grant_want(&w.node);
    cr_assert_eq(find_ahead(j), SEGMENT_NO);
    cr_assert_eq(w.node.budget.used_bytes, used);
    cr_assert_eq(w.node.budget.pending_bytes, 0);
    world_end(&w);
}

Test(grant, what_is_ahead_of_need_goes_with_its_process, .timeout = 60)
{
    struct job *j = job_in_plenty();
    uint64_t used = w.node.budget.used_bytes;
    for (int found = 0; found < 2; found++) { /* its pages, before it dies */
        worker(j, FIRST, SLOT_BUSY);
        ask_of(j, FIRST, LOCAL_GRANT, 16 * MIB, 4 * MIB);
        cr_assert_neq(find_ahead(j), SEGMENT_NO);
        if (found) {
            until_there(j);
        }
        j->members[FIRST].dead = true;
        grant_orphan(j, FIRST);
        until_there(j);
        grant_count_orphans(j);
        cr_assert_eq(find_ahead(j), SEGMENT_NO);
        cr_assert_eq(w.node.budget.used_bytes, used);
        cr_assert_eq(w.node.budget.pending_bytes, 0);
        no_workers(j);
    }
    world_end(&w);
}

Test(grant, nothing_is_made_ahead_when_the_store_is_half_full)
{
    struct job *j = job_in_plenty();
    w.node.budget.limit_bytes = w.node.budget.used_bytes * 2;
    cr_assert_eq(budget_refresh(&w.node.budget), MOB_OK);
    grows(j, 1, 16 * MIB);
    cr_assert_eq(find_ahead(j), SEGMENT_NO);
    world_end(&w);
}
