/* os.c - the kernel and core's functions, as processes under the model see them. */
#include <stdio.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/park.h"
#include "core/seg.h"
#include "core/status.h"
#include "model_int.h"

#undef park_wait
#undef park_wait_many
#undef park_wake

const char *model_place_function, *model_place_expr;

static uint64_t now_ns;
static void *segment; /* the last that was made */

void os_begin(void)
{
    now_ns = NS_PER_S;
}

mob_status park_wait_many(const at_u32 *const *words, const uint32_t *seen,
                          unsigned count, uint64_t deadline_ns)
{
    struct model_op op = {.function = model_place_function,
                          .expr = model_place_expr,
                          .kind = OP_WAIT,
                          .size = sizeof **words,
                          .word = (void *)(uintptr_t)words[0],
                          .expected = seen[0],
                          .waits = words,
                          .seen = seen,
                          .waits_count = count};
    if (deadline_ns <= now_ns) {
        return MOB_ERR_TIMEOUT;
    }
    model_do(&op);
    if (!model_timed_out() || deadline_ns == CLOCK_NEVER) {
        return MOB_OK;
    }
    now_ns = deadline_ns;
    return MOB_ERR_TIMEOUT;
}

mob_status park_wait(const at_u32 *word, uint32_t seen, uint64_t deadline_ns)
{
    return park_wait_many(&word, &seen, 1, deadline_ns);
}

void park_wake(const at_u32 *word, int count)
{
    model_do(&(struct model_op){.function = model_place_function,
                                .expr = model_place_expr,
                                .kind = OP_WAKE,
                                .word = (void *)(uintptr_t)word,
                                .value = (uint64_t)count});
}

uint64_t clock_now_ns(void)
{
    return now_ns;
}

uint64_t clock_coarse_ns(void)
{
    return now_ns;
}

uint64_t clock_wall_ns(void)
{
    return now_ns;
}

uint64_t clock_deadline_ns(uint64_t timeout_ns)
{
    return timeout_ns >= CLOCK_NEVER - now_ns ? CLOCK_NEVER : now_ns + timeout_ns;
}

void status_say(const char *format, ...)
{
    (void)format;
}

mob_status status_from_errno(int err)
{
    (void)err;
    return MOB_ERR_SYSTEM;
}

void status_assert_failed(const char *cond, const char *file, int line)
{
    model_fail("assertion %s failed at %s:%d", cond, file, line);
}

void log_write(enum log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
}

mob_status seg_create(const char *name, size_t size, int *ret_fd)
{
    segment = model_alloc(name, size);
    *ret_fd = -1;
    return MOB_OK;
}

mob_status seg_commit(int fd, size_t offset, size_t size)
{
    (void)fd;
    (void)offset;
    (void)size;
    return MOB_OK;
}

mob_status seg_discard(int fd, size_t offset, size_t size)
{
    return seg_commit(fd, offset, size);
}

mob_status seg_map(int fd, size_t size, enum seg_access access, void **ret_base)
{
    (void)fd;
    (void)size;
    (void)access;
    *ret_base = segment;
    return MOB_OK;
}

void seg_unmap(void *base, size_t size)
{
    (void)base;
    (void)size;
}
