/* model_int.h - between the parts of the checker (README.md lists them). */
#ifndef MODEL_INT_H
#define MODEL_INT_H

#include "core/atomic.h"
#include "model.h"

enum {
    FIBERS_MAX = MODEL_PROCS_MAX + 1, /* and the daemon */
    STEPS_MAX = 3000,  /* of one execution: more is a loop that does not end */
    OPTIONS_MAX = 250, /* at one decision */
    ORDER_FORCED = 8,  /* of a compare-and-swap that a mutant makes succeed */
};

extern unsigned fibers_count;

static inline uint64_t mix(uint64_t hash, uint64_t x)
{
    hash = (hash ^ x) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 29;
}

enum outcome { RUNNING, FINISHED, CUT, FAILED };
enum option_kind { RUN, KILL, UNPARK };
struct option {
    enum option_kind kind;
    uint8_t fiber, variant;
};

/* search.c */
void search_begin(void); /* before an execution */
/* Which of the options is taken. May end the execution. */
unsigned search_decide(const struct option *options, unsigned count);

/* trace.c */
extern char trace_failure[512];
void trace_begin(void); /* before an execution */
void trace_step(struct option o, const struct model_op *op, uint64_t result);
void trace_print(void);

/* model.c */
extern const struct model_scenario *scenario;
void model_make_fibers(void); /* before a scenario */
enum outcome model_execute(struct model_bounds bounds);
void model_leave(enum outcome outcome) __attribute__((noreturn));
uint64_t model_state_key(void);
const char *model_name(unsigned fiber);
bool model_running(void);
bool model_timed_out(void);
void model_wrote(void);

/* os.c */
void os_begin(void); /* before an execution */

/* shared.c */
enum {
    SHARED_BYTES = 1 << 20,
    GRANULE = 4, /* bytes that one cell of the race detector is for */
};
extern char shared_memory[SHARED_BYTES];
extern size_t shared_used;
void shared_begin(void); /* before an execution */
bool memory_quiet(const struct model_op *op);
void memory_name(const void *word, char *buf, size_t size);

/* race.c */
void race_forget(bool find); /* before a scenario */
void race_begin(void);       /* before an execution */
/* An access by @self, whose view has these clocks, to bytes of one cell. Fails the scenario if it races. */
void race_check(unsigned self, const uint16_t *view, size_t granule, bool plain,
                bool write, const char *what);

/* memory.c. @self is the fiber that acts. */
void memory_forget(bool find_races); /* before a scenario */
void memory_begin(void);             /* before an execution */
/* In how many ways can @op happen now: which values may it see, where may its own go? */
unsigned memory_variants(unsigned self, const struct model_op *op, bool stale);
uint64_t memory_access(unsigned self, struct model_op *op, unsigned variant);
/* Without processes: setup(), step(), end(). */
uint64_t memory_direct(struct model_op *op);
/* The newest value of a word, as the kernel's futex reads it: behind a full fence. */
uint32_t memory_newest(unsigned self, const at_u32 *word);
/* Sets op->value to what @self last saw there. False if it never looked. */
bool memory_recall(unsigned self, struct model_op *op);
void memory_fence(unsigned self);
void memory_catch_up(unsigned self);            /* waiting lets all stores arrive */
void memory_join(unsigned self, unsigned from); /* the kernel orders @from before @self */
/* A plain access by the running process, if it is one to shared memory. */
void memory_plain(const void *at, size_t size, bool write);
void memory_tick(unsigned self);
uint64_t memory_hash(void);

#endif
