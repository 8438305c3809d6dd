/* fold.c - one loop for each operation and type, plain enough for the compiler to make vectors of it. */
#include "core/fold.h"

#include <string.h>

/* Of all arrays at a time: the part of the result that they go into stays in the first-level cache. */
enum { BLOCK_BYTES = 8192 };

#define FOLD_LOOP(name, type, expression)                                                \
    static void name(void *restrict into, const void *restrict from, size_t items)       \
    {                                                                                    \
        type *restrict to = into;                                                        \
        const type *restrict other = from;                                               \
        for (size_t i = 0; i < items; i++) {                                             \
            type a = to[i], b = other[i];                                                \
            to[i] = (expression);                                                        \
        }                                                                                \
    }

/* @wide: the unsigned type in which integers wrap. A comparison with a NaN is false: if b is one it is taken for
 * that, and a for being no number itself. */
#define FOLD_FLOAT(suffix, type)                                                         \
    FOLD_LOOP(sum_##suffix, type, a + b)                                                 \
    FOLD_LOOP(product_##suffix, type, a *b)                                              \
    FOLD_LOOP(min_##suffix, type, a < b || a != a ? a : b)                               \
    FOLD_LOOP(max_##suffix, type, a > b || a != a ? a : b)
#define FOLD_INT(suffix, type, wide)                                                     \
    FOLD_LOOP(sum_##suffix, type, (type)((wide)a + (wide)b))                             \
    FOLD_LOOP(product_##suffix, type, (type)((wide)a * (wide)b))                         \
    FOLD_LOOP(min_##suffix, type, a < b ? a : b)                                         \
    FOLD_LOOP(max_##suffix, type, a > b ? a : b)

FOLD_FLOAT(f64, double)
FOLD_FLOAT(f32, float)
FOLD_INT(i64, int64_t, uint64_t)
FOLD_INT(i32, int32_t, uint32_t)

typedef void (*fold_fn)(void *restrict into, const void *restrict from, size_t items);

static const fold_fn folds[FOLD_OPS][FOLD_TYPES] = {
    [FOLD_SUM] = {sum_f64, sum_f32, sum_i64, sum_i32},
    [FOLD_PRODUCT] = {product_f64, product_f32, product_i64, product_i32},
    [FOLD_MIN] = {min_f64, min_f32, min_i64, min_i32},
    [FOLD_MAX] = {max_f64, max_f32, max_i64, max_i32},
};

size_t fold_item(enum fold_type type)
{
    switch (type) {
    case FOLD_F64:
    case FOLD_I64:
        return 8;
    case FOLD_F32:
    case FOLD_I32:
        return 4;
    case FOLD_TYPES:
        break;
    }
    return 0;
}

/* The part of all arrays that begins at @at, onto what stands there. */
static void fold_part(fold_fn fold, void *to, const void *const *from, size_t count,
                      size_t at, size_t items)
{
    for (size_t k = 0; k < count; k++) {
        fold((char *)to + at, (const char *)from[k] + at, items);
    }
}

static void fold_all(enum fold_op op, enum fold_type type, void *to, const void *first,
                     const void *const *from, size_t count, size_t items)
{
    size_t item = fold_item(type), block = item ? BLOCK_BYTES / item : 0;
    for (size_t at = 0; at < items && block > 0; at += block) {
        size_t n = items - at < block ? items - at : block;
        if (first) {
            memcpy((char *)to + at * item, (const char *)first + at * item, n * item);
        }
        fold_part(folds[op][type], to, from, count, at * item, n);
    }
}

void fold_arrays(enum fold_op op, enum fold_type type, void *to, const void *const *from,
                 size_t count, size_t items)
{
    fold_all(op, type, to, from[0], from + 1, count - 1, items);
}

void fold_onto(enum fold_op op, enum fold_type type, void *to, const void *const *from,
               size_t count, size_t items)
{
    fold_all(op, type, to, NULL, from, count, items);
}
