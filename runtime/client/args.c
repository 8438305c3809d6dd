/* args.c - the arguments of a task, as its function sees them. */
#include <string.h>

#include "client.h"
#include "core/status.h"
#include "store/task.h"

size_t mob_arg_count(const struct mob_task *task)
{
    return call_nargs(&task->call);
}

mob_status task_arg_link(struct mob_task *task, size_t i, uint64_t *ret)
{
    if (i >= call_nargs(&task->call) || i >= MOB_ARGS_MAX) {
        return status_fail(MOB_ERR_INVALID, "there is no argument %zu: the task has %u",
                           i, call_nargs(&task->call));
    }
    *ret = LINK_NONE;
    if (record_arg_len(task->r, &task->call, (uint32_t)i) == ARG_REF) {
        struct arg_ref *ref = record_arg_ref(task->r, &task->call, (uint32_t)i);
        if (!ref) {
            return status_fail(MOB_ERR_CORRUPT, "argument %zu is outside of its task", i);
        }
        *ret = at_load(&ref->link, AT_RELAXED);
    }
    return MOB_OK;
}

/* Where in the payload a small value that is argument @i stands, or RECORD_PAYLOAD if it is none. */
CLIENT_FAST uint32_t value_at(const struct mob_task *task, size_t i, uint32_t *ret_size)
{
    if (__builtin_expect(i >= call_nargs(&task->call), 0)) {
        return RECORD_PAYLOAD;
    }
    uint32_t size = record_arg_len(task->r, &task->call, (uint32_t)i);
    if (__builtin_expect(size > RECORD_VALUE_MAX, 0)) {
        return RECORD_PAYLOAD;
    }
    uint32_t at = record_arg_offset(task->r, &task->call, (uint32_t)i);
    *ret_size = size;
    return __builtin_expect(at <= RECORD_PAYLOAD - size, 1) ? at : RECORD_PAYLOAD;
}

/* ---- what is known of them before the function runs --- */

/* Notes an argument, given by @link, if it is a small result. False: it may be an error, or nothing. */
CLIENT_FAST bool note_result(const struct board *b, uint64_t link, uint32_t bit,
                             struct task_arg *arg, uint32_t *io_known)
{
    struct record *x = board_record(b, link_index(link));
    if (__builtin_expect(!x, 0)) {
        return false;
    }
    uint64_t s = at_load(&x->state, AT_ACQUIRE);
    struct call call = record_call(x);
    uint32_t ret = link_ret(link);
    if (__builtin_expect(state_gen(s) != link_gen(link) || s & STATE_ERROR ||
                             (ret && ret >= call_nrets(&call)),
                         0)) {
        return false;
    }
    const struct place_words *w = record_place(x, ret);
    uint64_t where = at_load(&w->where, AT_RELAXED), size = at_load(&w->size, AT_RELAXED);
    uint64_t at = where - place_pack(PLACE_INLINE, 0, 0);
    if (__builtin_expect(size <= RECORD_INLINE_MAX && at <= RECORD_PAYLOAD - size, 1)) {
        /* The task's use keeps the record, and what is inside of one stays where it is. */
        *arg = (struct task_arg){b->records_ro[link_index(link)].payload + at,
                                 (uint32_t)size};
        *io_known |= bit;
        return true;
    }
    return place_unpack(where, size).kind != PLACE_REF;
}

bool task_note_arguments(struct mob_task *task)
{
    const struct board *b = &task->mob->board;
    struct record *r = task->r;
    const uint8_t *payload = b->records_ro[link_index(task->link)].payload;
    uint32_t nargs = call_nargs(&task->call), at = 16 * call_nrets(&task->call);
    uint32_t known = 0;
    for (uint32_t i = 0; i < nargs && i < MOB_ARGS_MAX; i++) {
        uint32_t len = record_arg_len(r, &task->call, i);
        uint32_t room =
            len == ARG_REF ? (uint32_t)sizeof(struct arg_ref) : (len + 7u) & ~7u;
        if (room > RECORD_PAYLOAD || at > RECORD_PAYLOAD - room) {
            return false;
        }
        if (len == ARG_REF) {
            const struct arg_ref *ref = (const struct arg_ref *)(void *)(r->payload + at);
            if (!note_result(b, at_load(&ref->link, AT_RELAXED), 1u << i, &task->arg[i],
                             &known)) {
                return false;
            }
        } else {
            task->arg[i] = (struct task_arg){payload + at, len};
            known |= 1u << i;
        }
        at += room;
    }
    task->known = known;
    return true;
}

/* Argument @i if it was noted. */
CLIENT_FAST const struct task_arg *known_arg(const struct mob_task *task, size_t i)
{
    return i < MOB_ARGS_MAX && task->known & 1u << i ? &task->arg[i] : NULL;
}

/* Those on other nodes come while the first of them is waited for. */
static void want_arguments(struct mob_task *task)
{
    for (size_t i = 0; i < call_nargs(&task->call) && i < MOB_ARGS_MAX; i++) {
        uint64_t link, s;
        struct record *r = NULL;
        if (task_arg_link(task, i, &link) == MOB_OK && link != LINK_NONE) {
            r = lane_find(&task->thread->lane, link, &s);
        }
        if (r && state_sealed_good(s) &&
            record_get_place(r, link_ret(link)).kind == PLACE_AWAY) {
            client_want_bytes(task->mob, link);
        }
    }
}

/* The bytes of an argument by id. What lies outside of its record stays where it is until the task ends. */
static mob_status foreign_bytes(struct mob_task *task, size_t i, uint64_t link,
                                struct record *r, struct place *io_place,
                                const void **ret)
{
    if (io_place->kind <= PLACE_INLINE) {
        return client_bytes(task->mob, r, io_place, ret);
    }
    if (!(task->pinned & 1u << i)) {
        if (!lane_pin_open(&task->thread->lane, link, &task->pin[i])) {
            return status_fail(
                MOB_ERR_FULL,
                "argument %zu cannot be pinned: this thread holds too many "
                "views; give some back with mob_view_release()",
                i);
        }
        task->pinned |= 1u << i;
        task->more = true; /* so that they are given back */
    }
    if (__builtin_expect(io_place->kind == PLACE_AWAY, 0)) {
        want_arguments(task);
    }
    return client_pinned_bytes(task->mob, task->thread, r, link,
                               &(struct limit){.timeout_ns = MOB_FOREVER}, io_place, ret);
}

void task_unpin(struct mob_task *task)
{
    for (; task->pinned; task->pinned &= task->pinned - 1) {
        lane_unpin(&task->thread->lane, task->pin[__builtin_ctz(task->pinned)]);
    }
}

static __attribute__((noinline)) mob_status
arg_any(struct mob_task *task, size_t i, const void **ret_data, size_t *ret_size)
{
    uint64_t link;
    struct record *r = task->r;
    struct place p;
    if (!ret_data || !ret_size) {
        return status_fail(MOB_ERR_INVALID, "mob_arg: no place for the address or size");
    }
    MOB_TRY(task_arg_link(task, i, &link));
    if (link == LINK_NONE) {
        uint32_t at = record_arg_offset(r, &task->call, (uint32_t)i);
        p = (struct place){PLACE_INLINE, 0, at,
                           record_arg_len(r, &task->call, (uint32_t)i)};
    } else {
        uint64_t s;
        r = lane_find(&task->thread->lane, link, &s);
        if (!r || !state_sealed_used(s) || s & STATE_ERROR) {
            return status_fail(MOB_ERR_CORRUPT, "argument %zu is gone", i);
        }
        MOB_TRY(result_place(task->mob, task->thread, &link, &r, &p));
    }
    const void *data;
    MOB_TRY(link == LINK_NONE ? client_bytes(task->mob, r, &p, &data)
                              : foreign_bytes(task, i, link, r, &p, &data));
    *ret_data = data;
    *ret_size = p.size;
    return MOB_OK;
}

mob_status mob_arg(struct mob_task *task, size_t i, const void **ret_data,
                   size_t *ret_size)
{
    const struct task_arg *known = known_arg(task, i);
    if (known && ret_data && ret_size) {
        *ret_data = known->data;
        *ret_size = known->size;
        return MOB_OK;
    }
    uint32_t size, at = value_at(task, i, &size);
    if (__builtin_expect(at == RECORD_PAYLOAD || !ret_data || !ret_size, 0)) {
        return arg_any(task, i, ret_data, ret_size);
    }
    *ret_data = task->mob->board.records_ro[link_index(task->link)].payload + at;
    *ret_size = size;
    return MOB_OK;
}

/* Copies a small value. False: it is none of that size. */
CLIENT_FAST bool copy_value(const struct mob_task *task, size_t i, void *dst, size_t size)
{
    uint32_t have, at = value_at(task, i, &have);
    if (__builtin_expect(at == RECORD_PAYLOAD || have != size, 0)) {
        return false;
    }
    client_copy(dst, task->r->payload + at, size);
    return true;
}

static __attribute__((noinline)) mob_status copy_any(struct mob_task *task, size_t i,
                                                     void *dst, size_t size)
{
    const void *data;
    size_t have;
    if (!dst && size) {
        return status_fail(MOB_ERR_INVALID, "mob_arg_copy: no place for the bytes");
    }
    if (size && copy_value(task, i, dst, size)) {
        return MOB_OK;
    }
    MOB_TRY(mob_arg(task, i, &data, &have));
    if (have != size) {
        return status_fail(MOB_ERR_SIZE,
                           "argument %zu has %zu bytes, and %zu were asked for", i, have,
                           size);
    }
    if (size) {
        memcpy(dst, data, size);
    }
    return MOB_OK;
}

mob_status mob_arg_copy(struct mob_task *task, size_t i, void *dst, size_t size)
{
    /* One word as first argument: it stands behind the results' places, which leave room for it. */
    const struct call *c = &task->call;
    _Static_assert(16 * MOB_RETURNS_MAX + 8 <= RECORD_PAYLOAD, "so it does");
    if (__builtin_expect((i | (size ^ 8)) == 0 && dst && c->len[0] == 8 && call_nargs(c),
                         1)) {
        __builtin_memcpy(dst, task->r->payload + 16u * call_nrets(c), 8);
        return MOB_OK;
    }
    const struct task_arg *known = known_arg(task, i);
    if (known && known->size == size && dst) {
        client_copy(dst, known->data, size);
        return MOB_OK;
    }
    return copy_any(task, i, dst, size);
}
