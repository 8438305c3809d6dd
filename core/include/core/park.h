/* park.h - the one way to sleep on, and to wake by, a word in shared memory.
 *
 * Protocol, with sequentially consistent order on both sides (Dekker):
 *   sleeper: say "I wait" (a flag in a word), fence, look at the condition again,
 *            park_wait(word, the value in which it said so)
 *   waker:   make the condition true, fence, look at the flag; if set, clear it, park_wake()
 * Either the sleeper sees the condition or the waker sees the flag. A waker that dies between
 * clearing and waking is made good by the daemon's sweep, which wakes all who might wait.
 *
 * Works on words mapped read-only (the sleeper) and across processes. */
#ifndef CORE_PARK_H
#define CORE_PARK_H

#include <mobula.h>
#include <stdint.h>

#include "core/atomic.h"

#define PARK_ALL INT32_MAX
#define PARK_MANY_MAX 128 /* words that park_wait_many() takes: the kernel's limit */

/* Sleeps until woken, until *word != seen, or until @deadline_ns (CLOCK_NEVER: none). May wake
 * for no reason. Returns MOB_OK or MOB_ERR_TIMEOUT. */
mob_status park_wait(const at_u32 *word, uint32_t seen, uint64_t deadline_ns);

/* The same for any of @count <= PARK_MANY_MAX words. Where the kernel lacks futex_waitv (before 5.16) it
 * sleeps on the first one, and hears of the others some 16 ms late at most. */
mob_status park_wait_many(const at_u32 *const *words, const uint32_t *seen,
                          unsigned count, uint64_t deadline_ns);

/* Wakes up to @count sleepers. */
void park_wake(const at_u32 *word, int count);

/* Before spinning for the partner of a wake-up, given or taken by this thread since the last call: gives
 * the CPU up once, as the kernel may have put both on the same one, and who spins there keeps the other
 * from answering. A system call after a wake-up, nothing else. */
void park_give_way(void);

/* The low half of a 64-bit word: the part that a futex sees. */
static inline const at_u32 *park_low(const at_u64 *word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (const at_u32 *)(const void *)word;
#else
#error "shared memory is laid out for little-endian machines"
#endif
}

#endif
