/* spin.c - whether to look for a while before sleeping, and for how long. */
#include "client.h"

enum { SPIN_HALVES_MAX = 5 };

bool spin_allowed(const struct mob *mob)
{
    unsigned awake = 0;
    for (unsigned i = 0; mob->cpus_here > 1 && i < PROCS_MAX / 64; i++) {
        for (uint64_t w = at_load(&mob->board.header->awake[i], AT_RELAXED); w;
             w &= w - 1) {
            if (++awake > mob->cpus_here) {
                return false;
            }
        }
    }
    return mob->cpus_here > 1;
}

/* A spin that ends in sleep has kept a CPU, maybe from who would have ended the wait: the daemons that
 * carry a task to another node and its result back, say. So after each the next is half as long, and as
 * long as ever once a wait was over, wake-up and all, well within a whole one. */
void spin_learn(const struct mob *mob, struct thread *t, uint64_t slept_ns)
{
    if (spin_time(mob, t) + slept_ns <= mob->spin_ns / 4 * 3) {
        t->spin_halves = 0;
    } else if (t->spin_halves < SPIN_HALVES_MAX) {
        t->spin_halves++;
    }
}
