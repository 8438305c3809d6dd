/* mark.h - where a client's operation begins and ends, for the tester that traces it. */
#ifndef TESTS_STEP_MARK_H
#define TESTS_STEP_MARK_H

#include <signal.h>

/* A trap that is no step's own: its si_code differs. */
static inline void step_mark(void)
{
#if defined(__x86_64__)
    __asm__ volatile("int3" ::: "memory");
#else
    raise(SIGTRAP);
#endif
}

/* The operations of step_client, in the order in which its task does them. Those of the store alone are
 * named where they are (step_store.c). */
#define STEP_CLIENT_OPS(X)                                                               \
    X(put_8_bytes)                                                                       \
    X(put_100_bytes)                                                                     \
    X(put_200_bytes)                                                                     \
    X(put_200_bytes_again)                                                               \
    X(put_1_KiB)                                                                         \
    X(create_40_KiB)                                                                     \
    X(create)                                                                            \
    X(seal)                                                                              \
    X(seal_that_a_task_waits_for)                                                        \
    X(abort_small)                                                                       \
    X(abort_large)                                                                       \
    X(get)                                                                               \
    X(get_that_maps)                                                                     \
    X(get_large)                                                                         \
    X(get_copy)                                                                          \
    X(view_release)                                                                      \
    X(release)                                                                           \
    X(release_large)                                                                     \
    X(release_that_frees)                                                                \
    X(release_that_frees_all)                                                            \
    X(submit)                                                                            \
    X(submit_by_id)                                                                      \
    X(submit_that_waits)                                                                 \
    X(submit_that_waits_twice)                                                           \
    X(submit_large_value)                                                                \
    X(wait_for_sealed)                                                                   \
    X(cancel_ready)                                                                      \
    X(cancel_waiting)                                                                    \
    X(cancel_by_force)                                                                   \
    X(submit_with_deadline)                                                              \
    X(return_ref)                                                                        \
    X(return_in_place)

#endif
