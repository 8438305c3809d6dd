/* Whether a thread looks before it sleeps (runtime/client/spin.c). */
#include <criterion/criterion.h>

#include "client.h"

enum { GEN = 7, WORKER = 3 };

/* Of a job of which @awake processes are awake, on @cpus CPUs. */
static bool allowed(unsigned cpus, unsigned awake, unsigned others)
{
    static struct board_header header;
    struct mob mob = {.board.header = &header, .cpus_here = cpus};
    for (unsigned i = 0; i < PROCS_MAX / 64; i++) {
        at_store(&header.awake[i], 0, AT_RELAXED);
    }
    for (unsigned i = 0; i < awake; i++) { /* every 50th: in several words */
        at_or(&header.awake[i * 50 / 64], 1ull << i * 50 % 64, AT_RELAXED);
    }
    return spin_allowed(&mob, others);
}

Test(spin, there_is_a_cpu_for_each_that_is_awake)
{
    cr_assert(!allowed(1, 1, SPIN_NEAR));
    cr_assert(allowed(2, 1, SPIN_NEAR));
    cr_assert(allowed(2, 2, SPIN_NEAR));
    cr_assert(!allowed(2, 3, SPIN_NEAR));
    cr_assert(allowed(4, 4, SPIN_NEAR));
    cr_assert(!allowed(4, 5, SPIN_NEAR));
}

Test(spin, who_waits_for_another_node_leaves_two)
{
    cr_assert(!allowed(1, 1, SPIN_FAR));
    cr_assert(!allowed(2, 1, SPIN_FAR));
    cr_assert(allowed(3, 1, SPIN_FAR));
    cr_assert(!allowed(3, 2, SPIN_FAR));
    cr_assert(allowed(4, 2, SPIN_FAR));
    cr_assert(!allowed(4, 3, SPIN_FAR));
}

/* A task that the daemon holds runs elsewhere, an object that it makes comes from there. */
Test(spin, who_holds_a_record_says_where_it_is_made)
{
    for (int far = 0; far < 2; far++) {
        struct thread t = {.far = far};
        cr_assert(spin_is_far(&t, state_make(GEN, DAEMON, 0, PHASE_TAKEN)));
        cr_assert(spin_is_far(&t, state_make(GEN, DAEMON, 1, PHASE_CREATING)));
        cr_assert(!spin_is_far(&t, state_make(GEN, WORKER, 0, PHASE_TAKEN)));
        cr_assert(!spin_is_far(&t, state_make(GEN, WORKER, 0, PHASE_CREATING)));
    }
}

/* While nobody holds it, the one before it says. */
Test(spin, the_last_one_says_where_the_next_is_made)
{
    struct thread t = {0};
    const uint64_t queued = state_make(GEN, WORKER, 0, PHASE_QUEUED),
                   waiting = state_make(GEN, WORKER, 0, PHASE_WAITING);
    cr_assert(!spin_is_far(&t, queued) && !spin_is_far(&t, waiting));
    spin_learn(&t, state_make(GEN, DAEMON, 0, PHASE_CLOSED) | STATE_WAITERS);
    cr_assert(spin_is_far(&t, queued) && spin_is_far(&t, waiting));
    spin_learn(&t, state_make(GEN, WORKER, 0, PHASE_DONE));
    cr_assert(!spin_is_far(&t, queued) && !spin_is_far(&t, waiting));
}

/* The time was over, or the record is another one's by now. */
Test(spin, nothing_is_learned_from_what_is_not_sealed)
{
    struct thread t = {.far = true};
    spin_learn(&t, state_make(GEN, WORKER, 0, PHASE_TAKEN));
    spin_learn(&t, state_make(GEN, WORKER, 0, PHASE_FREE));
    cr_assert(t.far);
}
