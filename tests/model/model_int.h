/* model_int.h - between the parts of the checker: model.c schedules and searches, memory.c is the
 * memory model, os.c stands in for the kernel and for core's functions. */
#ifndef MODEL_INT_H
#define MODEL_INT_H

#include "core/atomic.h"
#include "model.h"

enum {
    FIBERS_MAX = MODEL_PROCS_MAX + 1, /* and the daemon */
    ORDER_FORCED = 8, /* of a compare-and-swap that a mutant makes succeed */
};

extern unsigned fibers_count;

static inline uint64_t mix(uint64_t hash, uint64_t x)
{
    hash = (hash ^ x) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 29;
}

/* model.c */
bool model_running(void);
bool model_timed_out(void);
void model_wrote(void);

/* os.c */
void os_begin(void); /* before an execution */

/* memory.c. @self is the fiber that acts. */
void memory_forget(bool find_races); /* before a scenario */
void memory_begin(void);             /* before an execution */
/* In how many ways can @op happen now: which values may it see, where may its own go? */
unsigned memory_variants(unsigned self, const struct model_op *op, bool stale);
uint64_t memory_access(unsigned self, struct model_op *op, unsigned variant);
/* Without processes: setup(), step(), end(). */
uint64_t memory_direct(struct model_op *op);
bool memory_quiet(const struct model_op *op);
/* The newest value of a word, as the kernel's futex reads it: behind a full fence. */
uint32_t memory_newest(unsigned self, const at_u32 *word);
/* Sets op->value to what @self last saw there. False if it never looked. */
bool memory_recall(unsigned self, struct model_op *op);
void memory_fence(unsigned self);
void memory_catch_up(unsigned self);            /* waiting lets all stores arrive */
void memory_join(unsigned self, unsigned from); /* the kernel orders @from before @self */
void memory_tick(unsigned self);
uint64_t memory_hash(void);
void memory_name(const void *word, char *buf, size_t size);

#endif
