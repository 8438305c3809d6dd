/* atomic.h - the atomics of shared memory, behind one seam.
 *
 * Shared words have a type of their own, so that no plain access slips in. Every access names
 * its order. Built with MOB_MODEL, each access becomes a step of the model checker
 * (tests/model), so that the code that is checked is the code that runs. */
#ifndef CORE_ATOMIC_H
#define CORE_ATOMIC_H

#include <stdint.h>

typedef struct {
    uint32_t v;
} at_u32;
typedef struct {
    uint64_t v;
} at_u64;

#ifdef MOB_MODEL
#include "model_atomic.h"
#else

#define AT_RELAXED __ATOMIC_RELAXED
#define AT_ACQUIRE __ATOMIC_ACQUIRE
#define AT_RELEASE __ATOMIC_RELEASE
#define AT_ACQ_REL __ATOMIC_ACQ_REL
#define AT_SEQ_CST __ATOMIC_SEQ_CST

#define at_load(p, order) __atomic_load_n(&(p)->v, (order))
#define at_store(p, x, order) __atomic_store_n(&(p)->v, (x), (order))
#define at_swap(p, x, order) __atomic_exchange_n(&(p)->v, (x), (order))
#define at_add(p, x, order) __atomic_fetch_add(&(p)->v, (x), (order))
#define at_sub(p, x, order) __atomic_fetch_sub(&(p)->v, (x), (order))
#define at_or(p, x, order) __atomic_fetch_or(&(p)->v, (x), (order))
#define at_and(p, x, order) __atomic_fetch_and(&(p)->v, (x), (order))

/* Strong compare-and-swap. On failure *expected becomes what was there, read with acquire. */
#define at_cas(p, expected, desired, order)                                              \
    __atomic_compare_exchange_n(&(p)->v, (expected), (desired), 0, (order), AT_ACQUIRE)

/* A full fence. ThreadSanitizer does not model fences, so its build has a locked instruction
 * that it does model. */
static inline void at_fence(void)
{
#if defined(__SANITIZE_THREAD__)
    static uint32_t word;
    (void)__atomic_fetch_add(&word, 0, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Plain reads before it come before atomic reads after it: "copied, then looked whether it was still
 * the same". */
static inline void at_fence_acquire(void)
{
#if defined(__SANITIZE_THREAD__)
    at_fence();
#else
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* Asks for a cache line that will be written: one transfer instead of two. The compiler's own builtin
 * asks for reading unless it may assume a processor that all of today's are. */
static inline void at_prefetch_write(const void *p)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" ::"m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* Tells the core that this is a spin loop. */
static inline void at_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif /* MOB_MODEL */

#define CACHE_LINE 64

#endif
