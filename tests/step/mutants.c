/* mutants.c - the sweep with a step left out. The linker leads calls across files here (--wrap). Each
 * mutant must be found by the deaths that the test looks at; one that is not says that the test does not
 * see what that step is for, or that nothing is. */
#include "scene.h"

int mutant_now;

enum {
    SKIP_ORPHAN = 1, /* the daemon's steps */
    SKIP_SWEEP,
    SKIP_AUDIT,
    SKIP_BLOCKS,
    SKIP_COUNT_ORPHANS,
    SKIP_ADOPT, /* the sweep's */
    SKIP_SERVE,
    SKIP_READY,
    SKIP_HANG,
    SKIP_WAIT,
    SKIP_DROP,
    SKIP_CANCEL,
    SKIP_REQUEUE,
    SKIP_SEAL,
    SKIP_DRAIN,
    SKIP_END
};

static const char *const names[SKIP_END] = {
    [SKIP_ORPHAN] = "grant_orphan",
    [SKIP_SWEEP] = "sweep_process",
    [SKIP_AUDIT] = "sweep_audit",
    [SKIP_BLOCKS] = "sweep_blocks",
    [SKIP_COUNT_ORPHANS] = "grant_count_orphans",
    [SKIP_ADOPT] = "lane_adopt",
    [SKIP_SERVE] = "task_drain_successors",
    [SKIP_READY] = "task_make_ready",
    [SKIP_HANG] = "task_await_arg",
    [SKIP_WAIT] = "task_wait_for_args",
    [SKIP_DROP] = "lane_drop",
    [SKIP_CANCEL] = "task_cancel",
    [SKIP_REQUEUE] = "task_requeue",
    [SKIP_SEAL] = "task_seal",
    [SKIP_DRAIN] = "lane_drain_own",
};

int mutants_count(void)
{
    return SKIP_END - 1;
}

const char *mutant_name(int mutant)
{
    return names[mutant];
}

/* What the daemon does again and again is only missed if it is never done. */
bool mutant_stays(int mutant)
{
    return mutant == SKIP_AUDIT || mutant == SKIP_BLOCKS;
}

/* WRAP(mutant, what it answers if it is left out, result, function, (parameters), (arguments)) */
#define WRAP(skip, nothing, type, name, params, args)                                    \
    type __real_##name params;                                                           \
    type __wrap_##name params;                                                           \
    type __wrap_##name params                                                            \
    {                                                                                    \
        if (mutant_now == (skip)) {                                                      \
            return nothing;                                                              \
        }                                                                                \
        return __real_##name args;                                                       \
    }

/* What is left out answers as if it had been done. */
WRAP(SKIP_ORPHAN, , void, grant_orphan, (struct job * j, uint32_t p), (j, p))
WRAP(SKIP_SWEEP, (void)(*ret = (struct sweep_result){0}), void, sweep_process,
     (struct lane * d, uint32_t p, bool ordered, sweep_reason why, void *arg,
      struct sweep_result *ret),
     (d, p, ordered, why, arg, ret))
WRAP(SKIP_AUDIT, 0, uint32_t, sweep_audit, (struct lane * d, bool *ret), (d, ret))
WRAP(SKIP_BLOCKS, 0, uint32_t, sweep_blocks, (struct lane * d), (d))
WRAP(SKIP_COUNT_ORPHANS, , void, grant_count_orphans, (struct job * j), (j))
WRAP(SKIP_ADOPT, , void, lane_adopt, (struct lane * l, struct record *r), (l, r))
WRAP(SKIP_SERVE, 0, uint32_t, task_drain_successors, (struct lane * l, struct record *r),
     (l, r))
WRAP(SKIP_READY, , void, task_make_ready, (struct lane * l, struct record *r, uint32_t c),
     (l, r, c))
WRAP(SKIP_HANG, , void, task_await_arg,
     (struct lane * l, struct record *t, uint32_t arg, struct arg_ref *ref),
     (l, t, arg, ref))
WRAP(SKIP_WAIT, true, bool, task_wait_for_args, (struct lane * l, struct record *r),
     (l, r))
WRAP(SKIP_DROP, , void, lane_drop, (struct lane * l, uint64_t link), (l, link))
WRAP(SKIP_CANCEL, , void, task_cancel, (struct lane * l, struct record *r, uint32_t gen),
     (l, r, gen))
WRAP(SKIP_REQUEUE, true, bool, task_requeue, (struct lane * l, struct record *r), (l, r))
WRAP(SKIP_SEAL, true, bool, task_seal, (struct lane * l, struct record *r, bool error),
     (l, r, error))
WRAP(SKIP_DRAIN, , void, lane_drain_own, (struct lane * l, struct record *r), (l, r))
