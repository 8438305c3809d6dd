/* Arrays combined element by element, against one element at a time. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/fold.h"

enum { ARRAYS = 5, ITEMS = 5003 }; /* not a multiple of anything */

static uint64_t random_word(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* One test for a type: @wide is what one element is computed in, and made of random bits by @make. */
#define FOLD_TEST(name, type, kind, wide, make, same)                                    \
    Test(fold, name)                                                                     \
    {                                                                                    \
        static type in[ARRAYS][ITEMS], out[ITEMS + 1];                                   \
        const void *from[ARRAYS];                                                        \
        uint64_t x = 88172645463325252ull;                                               \
        for (int k = 0; k < ARRAYS; k++) {                                               \
            from[k] = in[k];                                                             \
            for (int i = 0; i < ITEMS; i++) {                                            \
                uint64_t bits = random_word(&x);                                         \
                in[k][i] = make;                                                         \
            }                                                                            \
        }                                                                                \
        for (int op = 0; op < FOLD_OPS; op++) {                                          \
            for (size_t count = 1; count <= ARRAYS; count++) {                           \
                memset(out, 0x5a, sizeof out);                                           \
                uint8_t guard[sizeof out[0]];                                            \
                memcpy(guard, &out[ITEMS], sizeof guard);                                \
                fold_arrays((enum fold_op)op, kind, out, from, count, ITEMS);            \
                cr_assert(memcmp(guard, (const uint8_t *)&out[ITEMS], sizeof guard) ==   \
                          0);                                                            \
                for (int i = 0; i < ITEMS; i++) {                                        \
                    type a = in[0][i];                                                   \
                    for (size_t k = 1; k < count; k++) {                                 \
                        type b = in[k][i];                                               \
                        switch (op) {                                                    \
                        case FOLD_SUM:                                                   \
                            a = (type)((wide)a + (wide)b);                               \
                            break;                                                       \
                        case FOLD_PRODUCT:                                               \
                            a = (type)((wide)a * (wide)b);                               \
                            break;                                                       \
                        case FOLD_MIN:                                                   \
                            a = a != a ? a : b != b ? b : b < a ? b : a;                 \
                            break;                                                       \
                        default:                                                         \
                            a = a != a ? a : b != b ? b : b > a ? b : a;                 \
                        }                                                                \
                    }                                                                    \
                    type b = out[i];                                                     \
                    cr_assert(same, "op %d of %zu arrays, element %d", op, count, i);    \
                }                                                                        \
            }                                                                            \
        }                                                                                \
    }

/* Every eleventh is a NaN, an infinity or a zero of either sign. */
static double odd_double(uint64_t bits)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0};
    return bits % 11 == 0 ? odd[bits / 11 % 5] : (double)(int64_t)bits / 1e15;
}

#define SAME_FLOAT (a != a ? b != b : a == b)
FOLD_TEST(f64, double, FOLD_F64, double, odd_double(bits), SAME_FLOAT)
FOLD_TEST(f32, float, FOLD_F32, float, (float)odd_double(bits), SAME_FLOAT)
FOLD_TEST(i64, int64_t, FOLD_I64, uint64_t, (int64_t)bits, a == b)
FOLD_TEST(i32, int32_t, FOLD_I32, uint32_t, (int32_t)bits, a == b)

Test(fold, integers_wrap_around)
{
    const int32_t a = INT32_MAX, b = 2;
    const int64_t c = INT64_MIN, d = -1;
    int32_t small;
    int64_t large;
    const void *smalls[] = {&a, &b}, *larges[] = {&c, &d};
    fold_arrays(FOLD_SUM, FOLD_I32, &small, smalls, 2, 1);
    cr_assert_eq(small, INT32_MIN + 1);
    fold_arrays(FOLD_PRODUCT, FOLD_I32, &small, smalls, 2, 1);
    cr_assert_eq(small, -2);
    fold_arrays(FOLD_SUM, FOLD_I64, &large, larges, 2, 1);
    cr_assert_eq(large, INT64_MAX);
    fold_arrays(FOLD_PRODUCT, FOLD_I64, &large, larges, 2, 1);
    cr_assert_eq(large, INT64_MIN);
}

Test(fold, floats_are_added_in_order)
{
    const double a = 1e16, b = 1, c = -1e16;
    double sum;
    const void *abc[] = {&a, &b, &c}, *acb[] = {&a, &c, &b};
    fold_arrays(FOLD_SUM, FOLD_F64, &sum, abc, 3, 1);
    cr_assert_eq(sum, (1e16 + 1) - 1e16);
    fold_arrays(FOLD_SUM, FOLD_F64, &sum, acb, 3, 1);
    cr_assert_eq(sum, 1);
}

Test(fold, nothing_is_nothing)
{
    double one = 1, to = 2;
    const void *from[] = {&one};
    fold_arrays(FOLD_SUM, FOLD_F64, &to, from, 1, 0);
    cr_assert_eq(to, 2);
    cr_assert_eq(fold_item(FOLD_TYPES), 0);
}
