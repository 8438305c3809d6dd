/* hooks.c - plain accesses of the code under test: what -fsanitize=thread calls, and the memory
 * functions, which are linked with --wrap as it does not instrument them. */
#include "model_int.h"

#define HOOK(name, size, write)                                                          \
    void name(void *at);                                                                 \
    void name(void *at)                                                                  \
    {                                                                                    \
        memory_plain(at, size, write);                                                   \
    }
#define HOOKS(size)                                                                      \
    HOOK(__tsan_read##size, size, false)                                                 \
    HOOK(__tsan_write##size, size, true)                                                 \
    HOOK(__tsan_unaligned_read##size, size, false)                                       \
    HOOK(__tsan_unaligned_write##size, size, true)                                       \
    HOOK(__tsan_volatile_read##size, size, false)                                        \
    HOOK(__tsan_volatile_write##size, size, true)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void *at, size_t size);
void __tsan_write_range(void *at, size_t size);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void);
void __tsan_init(void);

void __tsan_read_range(void *at, size_t size)
{
    memory_plain(at, size, false);
}

void __tsan_write_range(void *at, size_t size)
{
    memory_plain(at, size, true);
}

void __tsan_func_entry(void *pc)
{
    (void)pc;
}

void __tsan_func_exit(void)
{
}

void __tsan_init(void)
{
}

void *__real_memcpy(void *to, const void *from, size_t size);
void *__real_memset(void *to, int byte, size_t size);
void *__real_memmove(void *to, const void *from, size_t size);
void *__wrap_memcpy(void *to, const void *from, size_t size);
void *__wrap_memset(void *to, int byte, size_t size);
void *__wrap_memmove(void *to, const void *from, size_t size);

void *__wrap_memcpy(void *to, const void *from, size_t size)
{
    memory_plain(from, size, false);
    memory_plain(to, size, true);
    return __real_memcpy(to, from, size);
}

void *__wrap_memmove(void *to, const void *from, size_t size)
{
    memory_plain(from, size, false);
    memory_plain(to, size, true);
    return __real_memmove(to, from, size);
}

void *__wrap_memset(void *to, int byte, size_t size)
{
    memory_plain(to, size, true);
    return __real_memset(to, byte, size);
}
