/* spin.c - whether to look for a while before sleeping. */
#include "client.h"

bool spin_allowed(const struct mob *mob, unsigned others)
{
    unsigned awake = others;
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

bool spin_is_far(const struct thread *t, uint64_t s)
{
    enum phase p = state_phase(s);
    bool held = p == PHASE_TAKEN || p == PHASE_CREATING;
    return held ? state_holder(s) == DAEMON : t->far;
}

void spin_learn(struct thread *t, uint64_t s)
{
    if (state_sealed(s)) {
        t->far = state_holder(s) == DAEMON;
    }
}
