/* values.h - bytes that tell objects apart, the sizes at which something changes, and a task that gives back what
 * it is given. */
#ifndef TESTS_API_VALUES_H
#define TESTS_API_VALUES_H

#include "api.h"

static inline unsigned char byte_at(size_t i, unsigned seed)
{
    return (unsigned char)(i * 131 + (i >> 8) * 17 + (i >> 16) * 7 + seed);
}

static inline void fill(unsigned char *p, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++) {
        p[i] = byte_at(i, seed);
    }
}

static inline int same(const void *data, size_t size, unsigned seed)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++) {
        if (p[i] != byte_at(i, seed)) {
            return 0;
        }
    }
    return 1;
}

/* Result 0: all arguments, one behind the other. */
static mob_status join(struct mob_task *task)
{
    size_t total = 0, at = 0;
    const void *data;
    size_t size;
    void *to;
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg(task, i, &data, &size));
        if ((uintptr_t)data % 8) {
            return mob_fail(task, "argument %zu is not aligned", i);
        }
        total += size;
    }
    MOB_TRY(mob_return_place(task, 0, total, &to));
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg(task, i, &data, &size));
        memcpy((char *)to + at, data, size);
        at += size;
    }
    return MOB_OK;
}
MOB_REGISTER(join);

static const size_t sizes[] = {
    0,   1,   7,    8,    9,    63,   64,    65,    119,      120,
    121, 127, 128,  129,  255,  256,  257,   300,   304,      305,
    511, 512, 1000, 4095, 4096, 4097, 32768, 32769, 1u << 20, (5u << 20) + 3};

#endif
