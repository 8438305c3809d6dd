#include "core/park.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct waitv { /* struct futex_waitv of Linux 5.16, which Debian 12's headers may lack */
    uint64_t val;
    uint64_t uaddr;
    uint32_t flags;
    uint32_t reserved;
};

enum { WAITV_32_SHARED = 2 /* FUTEX2_SIZE_U32, shared between processes */ };

#define NAP_NS                                                                           \
    (16 * NS_PER_MS) /* between looks at words that the kernel does not watch */

static _Thread_local bool woke; /* or was woken, and has not given way since */

static struct timespec to_timespec(uint64_t ns)
{
    struct timespec ts = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    return ts;
}

mob_status park_wait(const at_u32 *word, uint32_t seen, uint64_t deadline_ns)
{
    struct timespec ts = to_timespec(deadline_ns);
    /* FUTEX_WAIT_BITSET takes an absolute monotonic time; FUTEX_WAIT a relative one. */
    long rc =
        syscall(SYS_futex, &word->v, FUTEX_WAIT_BITSET, seen,
                deadline_ns == CLOCK_NEVER ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY);
    woke = true;
    return rc == -1 && errno == ETIMEDOUT ? MOB_ERR_TIMEOUT : MOB_OK;
}

mob_status park_wait_many(const at_u32 *const *words, const uint32_t *seen,
                          unsigned count, uint64_t deadline_ns)
{
    struct waitv list[PARK_MANY_MAX];
    struct timespec ts = to_timespec(deadline_ns);
    for (unsigned i = 0; i < count; i++) {
        list[i] = (struct waitv){seen[i], (uintptr_t)&words[i]->v, WAITV_32_SHARED, 0};
    }
    long rc = syscall(SYS_futex_waitv, list, count, 0,
                      deadline_ns == CLOCK_NEVER ? NULL : &ts, CLOCK_MONOTONIC);
    if (rc == -1 && errno == ETIMEDOUT) {
        return MOB_ERR_TIMEOUT;
    }
    if (rc == -1 && errno == ENOSYS) {
        uint64_t nap = clock_deadline_ns(NAP_NS);
        if (deadline_ns <= nap) {
            return park_wait(words[0], seen[0], deadline_ns);
        }
        (void)park_wait(words[0], seen[0], nap);
    }
    return MOB_OK;
}

void park_wake(const at_u32 *word, int count)
{
    woke |= syscall(SYS_futex, &word->v, FUTEX_WAKE, count, NULL, NULL, 0) > 0;
}

void park_give_way(void)
{
    if (woke) {
        woke = false;
        sched_yield();
    }
}
