/* clock.h - time, read in one place so that tests can put their own in. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
#define CLOCK_NEVER UINT64_MAX

/* Monotonic time since boot. */
uint64_t clock_now_ns(void);

/* The same clock as it stood at the last tick of the kernel, some milliseconds ago at most: cheaper. */
uint64_t clock_coarse_ns(void);

/* Seconds since 1970, for people. */
uint64_t clock_wall_ns(void);

/* now + timeout without overflow; CLOCK_NEVER stays CLOCK_NEVER. */
uint64_t clock_deadline_ns(uint64_t timeout_ns);

#endif
