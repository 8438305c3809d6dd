/* model_atomic.h - what core/atomic.h is made of when it is built with MOB_MODEL.
 *
 * Each operation stops its process until the scheduler lets it take that step. The source text
 * of the pointer goes along, so that a failing schedule can be read, and a mutant can be aimed. */
#ifndef MODEL_ATOMIC_H
#define MODEL_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

enum {
    AT_RELAXED = 0,
    AT_ACQUIRE = 1,
    AT_RELEASE = 2,
    AT_ACQ_REL = 3,
    AT_SEQ_CST = 7,
};

enum model_kind {
    OP_START,
    OP_LOAD,
    OP_STORE,
    OP_SWAP,
    OP_ADD,
    OP_SUB,
    OP_OR,
    OP_AND,
    OP_CAS,
    OP_FENCE,
    OP_PAUSE,
    OP_WAIT,
    OP_WAKE,
    OP_DEATH, /* the daemon learns of one */
    OP_EXIT,
};

struct model_op {
    const char *function, *expr;
    enum model_kind kind;
    int order;
    unsigned size;
    void *word;
    uint64_t value;             /* to store, add, ...; how many to wake */
    uint64_t expected;          /* of a compare-and-swap or a wait; then what was there */
    bool done;                  /* a compare-and-swap succeeded */
    const at_u32 *const *waits; /* of a wait: the words and what they must hold */
    const uint32_t *seen;
    unsigned waits_count;
};

uint64_t model_do(struct model_op *op);

/* "+ 0" takes the const off the type. */
#define model_type(p) __typeof__((p)->v + 0)

/* Functions, so that not using a result is no warning. */
static inline uint32_t model_do_u32(struct model_op *op)
{
    return (uint32_t)model_do(op);
}
static inline uint64_t model_do_u64(struct model_op *op)
{
    return model_do(op);
}

#define model_step(k, p, x, o)                                                           \
    _Generic((p)->v, uint32_t                                                            \
             : model_do_u32, uint64_t                                                    \
             : model_do_u64)(&(struct model_op){.function = __func__,                    \
                                                .expr = #p,                              \
                                                .kind = (k),                             \
                                                .order = (o),                            \
                                                .size = sizeof(p)->v,                    \
                                                .word = (void *)(uintptr_t) & (p)->v,    \
                                                .value = (model_type(p))(x)})

#define at_load(p, order) model_step(OP_LOAD, p, 0, order)
#define at_store(p, x, order) ((void)model_step(OP_STORE, p, x, order))
#define at_swap(p, x, order) model_step(OP_SWAP, p, x, order)
#define at_add(p, x, order) model_step(OP_ADD, p, x, order)
#define at_sub(p, x, order) model_step(OP_SUB, p, x, order)
#define at_or(p, x, order) model_step(OP_OR, p, x, order)
#define at_and(p, x, order) model_step(OP_AND, p, x, order)

#define at_cas(p, expected_, desired, order_)                                            \
    __extension__({                                                                      \
        model_type(p) *model_expected = (expected_);                                     \
        struct model_op model_cas = {.function = __func__,                               \
                                     .expr = #p,                                         \
                                     .kind = OP_CAS,                                     \
                                     .order = (order_),                                  \
                                     .size = sizeof(p)->v,                               \
                                     .word = &(p)->v,                                    \
                                     .value = (model_type(p))(desired),                  \
                                     .expected = *model_expected};                       \
        (void)model_do(&model_cas);                                                      \
        *model_expected = (model_type(p))model_cas.expected;                             \
        model_cas.done;                                                                  \
    })

#define at_fence()                                                                       \
    ((void)model_do(                                                                     \
        &(struct model_op){.function = __func__, .expr = "fence", .kind = OP_FENCE}))
#define at_fence_acquire() at_fence() /* a weaker one is not modelled */
#define at_prefetch_write(p) ((void)(p))
#define at_pause()                                                                       \
    ((void)model_do(                                                                     \
        &(struct model_op){.function = __func__, .expr = "pause", .kind = OP_PAUSE}))

#endif
