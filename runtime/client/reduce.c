/* reduce.c - arrays of numbers in objects, combined by tasks of the library's own.
 *
 * A tree of tasks with FAN arguments each. One that runs away from several large ones finds a single argument, which
 * daemons have folded out of them on its way (runtime/node/fold.h). Its shape follows from the number of objects alone, so the order in
 * which floats are added does too, wherever the tasks run and whichever of them run again. Tasks go to where
 * their arguments are, as all tasks do. */
#include <string.h>

#include "client.h"
#include "core/fold.h"
#include "core/status.h"

enum {
    FAN = FOLD_ARRAYS_MAX, /* objects a task combines */
    DEPTH_MAX = 13         /* levels of the tree: enough for UINT32_MAX objects */
};
_Static_assert(FAN + 1 <= MOB_ARGS_MAX, "and the header");

/* Fails with a status of the library's own. */
static mob_status fail_as(struct mob_task *task, mob_status st)
{
    task->fails_as = st;
    return st;
}

static mob_status arrays_of(struct mob_task *task, size_t item, const void **ret,
                            size_t count, size_t *ret_size)
{
    size_t size, first = 0;
    for (size_t i = 0; i < count; i++) {
        MOB_TRY(mob_arg(task, i + 1, &ret[i], &size));
        first = i == 0 ? size : first;
        if (size != first || size % item != 0) {
            (void)mob_fail(task,
                           size % item ? "mob_reduce: an object has %zu bytes (the first "
                                         "of its group %zu), and its numbers %zu each"
                                       : "mob_reduce: an object has %zu bytes, and the "
                                         "first of its group %zu (numbers of %zu)",
                           size, first, item);
            return fail_as(task, MOB_ERR_SIZE);
        }
    }
    *ret_size = first;
    return MOB_OK;
}

static mob_status reduce_task(struct mob_task *task)
{
    struct fold_what what;
    const void *from[FAN];
    size_t count = mob_arg_count(task) - 1, size, item;
    struct mob_meta meta = {.struct_size = sizeof meta};
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, &what, sizeof what));
    item = fold_item((enum fold_type)what.type);
    if (count == 0 || count > FAN || item == 0 || what.op >= FOLD_OPS) {
        return mob_fail(task, "mob_reduce: its task was submitted by somebody else");
    }
    MOB_TRY(arrays_of(task, item, from, count, &size));
    if (count == 1) { /* nothing is left to do */
        return task_return_arg(task, 0, 1);
    }
    MOB_TRY(mob_return_place(task, 0, size, &to));
    fold_arrays((enum fold_op)what.op, (enum fold_type)what.type, to, from, count,
                size / item);
    if (mob_arg_meta(task, 1, &meta) == MOB_OK) {
        mob_status st = mob_return_meta(task, 0, &meta);
        return st == MOB_ERR_FULL ? MOB_OK
                                  : st; /* no room for it in the record: then without */
    }
    return MOB_OK;
}
MOB_REGISTER_AS(reduce_task, FOLD_TASK);

static mob_status submit(struct mob *mob, struct fold_what what, const mob_ref *refs,
                         size_t count, mob_ref *ret, struct mob_site *site)
{
    struct mob_arg args[FAN + 1] = {MOB_BYTES(&what, sizeof what)};
    for (size_t i = 0; i < count; i++) {
        args[i + 1] = MOB_REF(refs[i]);
    }
    return mob_submit_at(mob, reduce_task, (struct mob_args){count + 1, args}, NULL, ret,
                         site);
}

/* The partial results of each level that do not fill a task yet. */
struct levels {
    mob_ref refs[DEPTH_MAX][FAN];
    size_t count[DEPTH_MAX];
};

static void drop(struct mob *mob, mob_ref *refs, size_t count, bool cancel)
{
    for (size_t i = 0; i < count; i++) {
        if (cancel) {
            (void)mob_cancel(mob, refs[i]);
        }
        mob_release(mob, refs[i]);
    }
}

/* What has gathered in @level becomes one result of the level above. Level 0 is the caller's. */
static mob_status raise(struct mob *mob, struct fold_what what, struct levels *l,
                        size_t level, struct mob_site *site)
{
    if (level + 1 >= DEPTH_MAX) {
        return MOB_ERR_FULL; /* more ids than memory can hold */
    }
    mob_ref made = l->refs[level][0];
    if (level == 0 || l->count[level] > 1) {
        MOB_TRY(submit(mob, what, l->refs[level], l->count[level], &made, site));
        if (level > 0) {
            drop(mob, l->refs[level], l->count[level], false);
        }
    }
    l->count[level] = 0;
    l->refs[level + 1][l->count[level + 1]++] = made;
    return MOB_OK;
}

static mob_status add(struct mob *mob, struct fold_what what, struct levels *l,
                      mob_ref ref, struct mob_site *site)
{
    size_t level = 0;
    l->refs[0][l->count[0]++] = ref;
    while (l->count[level] == FAN) {
        MOB_TRY(raise(mob, what, l, level++, site));
    }
    return MOB_OK;
}

/* The rest, from below: the one that is left at last is the result. */
static mob_status finish(struct mob *mob, struct fold_what what, struct levels *l,
                         mob_ref *ret, struct mob_site *site)
{
    size_t top = DEPTH_MAX - 1;
    while (top > 0 && l->count[top] == 0) {
        top--;
    }
    for (size_t level = 0; level <= top; level++) {
        bool last = level == top && level > 0 && l->count[level] == 1;
        if (l->count[level] > 0 && !last) {
            MOB_TRY(raise(mob, what, l, level, site));
            top = level + 1 > top ? level + 1 : top;
        }
    }
    *ret = l->refs[top][0];
    l->count[top] = 0;
    return MOB_OK;
}

mob_status mob_reduce_at(struct mob *mob, const mob_ref *refs, size_t count,
                         enum mob_op op, enum mob_number type, mob_ref *ret,
                         struct mob_site *site)
{
    struct fold_what what = {(uint32_t)op, (uint32_t)type};
    struct levels l = {.count = {0}};
    if (!refs || count == 0 || count > UINT32_MAX || (uint32_t)op >= FOLD_OPS ||
        fold_item((enum fold_type)type) == 0) {
        return status_fail(MOB_ERR_INVALID,
                           "a reduction of %zu objects by operation %d over numbers of "
                           "type %d",
                           count, (int)op, (int)type);
    }
    mob_status st = MOB_OK;
    for (size_t i = 0; i < count && !st; i++) {
        st = add(mob, what, &l, refs[i], site);
    }
    st = st ? st : finish(mob, what, &l, ret, site);
    for (size_t level = 1; st && level < DEPTH_MAX; level++) {
        drop(mob, l.refs[level], l.count[level], true);
    }
    return st;
}

_Static_assert((int)MOB_SUM == FOLD_SUM && (int)MOB_PRODUCT == FOLD_PRODUCT &&
                   (int)MOB_MIN == FOLD_MIN && (int)MOB_MAX == FOLD_MAX,
               "core/fold.h and mobula.h");
_Static_assert((int)MOB_F64 == FOLD_F64 && (int)MOB_F32 == FOLD_F32 &&
                   (int)MOB_I64 == FOLD_I64 && (int)MOB_I32 == FOLD_I32,
               "core/fold.h and mobula.h");

mob_status(mob_reduce)(struct mob *mob, const mob_ref *refs, size_t count, enum mob_op op,
                       enum mob_number type, mob_ref *ret)
{
    static struct mob_site somewhere;
    return mob_reduce_at(mob, refs, count, op, type, ret, &somewhere);
}
