/* fold.h - arrays of numbers, combined element by element.
 *
 * Integers wrap around (two's complement). Of floats, a minimum or maximum with a NaN is a NaN, and of zeros of
 * both signs either may be the result. Arrays are combined in their order, (a0 + a1) + a2..., so the same arrays
 * give the same bits on every machine with IEEE 754 arithmetic. */
#ifndef CORE_FOLD_H
#define CORE_FOLD_H

#include <stddef.h>
#include <stdint.h>

enum fold_op { FOLD_SUM, FOLD_PRODUCT, FOLD_MIN, FOLD_MAX, FOLD_OPS };
enum fold_type { FOLD_F64, FOLD_F32, FOLD_I64, FOLD_I32, FOLD_TYPES };

/* Bytes of one element; 0: no type. */
size_t fold_item(enum fold_type type);

/* @to = from[0] op from[1] op ... from[count - 1], @items elements of each, all aligned to their type; @count at
 * least 1. @to is none of them. */
void fold_arrays(enum fold_op op, enum fold_type type, void *to, const void *const *from,
                 size_t count, size_t items);

/* @to = @to op from[0] op ...: the same where the first array is there already. @count may be 0. */
void fold_onto(enum fold_op op, enum fold_type type, void *to, const void *const *from,
               size_t count, size_t items);

/* ---- what a task that does this for mob_reduce() is, for client and daemon ---- */

#define FOLD_TASK "mob.reduce"
#define FOLD_ARRAYS_MAX 8u /* of one task: each byte is read once for 1/7 of a write */

struct fold_what { /* its first argument; the arrays follow */
    uint32_t op, type;
};

#endif
