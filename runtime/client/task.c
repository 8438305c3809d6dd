/* task.c - a task as its function sees it: results, failing, the ids that it holds. Arguments: args.c. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "core/clock.h"
#include "core/fold.h"
#include "core/status.h"
#include "core/text.h"
#include "store/task.h"

struct mob *mob_task_mob(struct mob_task *task)
{
    return task->mob;
}

/* ---- results ----------------------------------------------------------------------------------------------- */

size_t mob_return_count(const struct mob_task *task)
{
    return call_nrets(&task->call);
}

static mob_status may_give(struct mob_task *task, size_t i)
{
    if (i >= call_nrets(&task->call)) {
        return status_fail(MOB_ERR_INVALID, "there is no result %zu: the task has %u", i,
                           call_nrets(&task->call));
    }
    if (task->given & 1u << i) {
        return status_fail(MOB_ERR_STATE, "result %zu was given before", i);
    }
    return MOB_OK;
}

/* Room inside the record for a result that may be given, or NULL. */
CLIENT_FAST void *give_inside(struct mob_task *task, size_t i, size_t size)
{
    uint32_t fill = task->fill, padded = ((uint32_t)size + 7u) & ~7u;
    if (__builtin_expect(size - 1 >= RECORD_INLINE_MAX ||
                             fill + padded > RECORD_PAYLOAD ||
                             i >= call_nrets(&task->call) || task->given & 1u << i,
                         0)) {
        return NULL;
    }
    record_set_place(task->r, (uint32_t)i, PLACE_INLINE, 0, fill, size);
    task->fill = fill + padded;
    task->given |= 1u << i;
    return task->r->payload + fill;
}

mob_status mob_return_place(struct mob_task *task, size_t i, size_t size, void **ret_data)
{
    if (__builtin_expect(!ret_data, 0)) {
        return status_fail(MOB_ERR_INVALID, "mob_return_place: no place for the address");
    }
    void *inside = give_inside(task, i, size);
    if (__builtin_expect(inside != NULL, 1)) {
        *ret_data = inside;
        return MOB_OK;
    }
    MOB_TRY(may_give(task, i));
    if (size == 0) {
        *ret_data = task->r->payload;
    } else {
        struct arena_place p;
        void *data;
        MOB_TRY(client_alloc(task->mob, task->thread, size, ARENA_ALIGN_MIN, FULL_WAIT_NS,
                             &p, &data));
        board_touch(&task->mob->board, link_index(task->link));
        record_set_place(task->r, (uint32_t)i, PLACE_ARENA, p.segment, p.offset, size);
        *ret_data = data;
    }
    task->given |= 1u << i;
    return MOB_OK;
}

static __attribute__((noinline)) mob_status return_any(struct mob_task *task, size_t i,
                                                       const void *data, size_t size)
{
    void *to;
    if (!data && size) {
        return status_fail(MOB_ERR_INVALID, "mob_return_copy: %zu bytes at NULL", size);
    }
    MOB_TRY(mob_return_place(task, i, size, &to));
    if (size) {
        memcpy(to, data, size);
    }
    return MOB_OK;
}

mob_status mob_return_copy(struct mob_task *task, size_t i, const void *data, size_t size)
{
    void *to;
    if (__builtin_expect(
            (i | (size ^ 8)) == 0 && data && (to = give_inside(task, 0, 8)) != NULL, 1)) {
        __builtin_memcpy(to, data, 8);
        return MOB_OK;
    }
    return return_any(task, i, data, size);
}

/* Who sees the result sealed may read its bytes: so they must be there. */
static mob_status give_bytes_of(struct mob_task *task, struct thread *t, size_t i,
                                uint64_t link)
{
    MOB_TRY(lane_use(&t->lane, link));
    record_set_place(task->r, (uint32_t)i, PLACE_REF, 0, 0, link);
    task->given |= 1u << i;
    task->gave_ref = task->more = true;
    return MOB_OK;
}

mob_status task_return_arg(struct mob_task *task, size_t i, size_t arg)
{
    uint64_t link;
    MOB_TRY(may_give(task, i));
    MOB_TRY(task_arg_link(task, arg, &link));
    return link == LINK_NONE ? MOB_ERR_INVALID
                             : give_bytes_of(task, task->thread, i, link);
}

mob_status mob_return_ref(struct mob_task *task, size_t i, mob_ref ref)
{
    uint64_t link;
    struct thread *t;
    MOB_TRY(may_give(task, i));
    MOB_TRY(client_thread(task->mob, &t));
    MOB_TRY(client_link(task->mob, ref, &link));
    if (link_index(link) == link_index(task->link)) {
        return status_fail(MOB_ERR_INVALID, "a task cannot return its own result");
    }
    struct record *r;
    uint64_t s;
    MOB_TRY(client_await(task->mob, t, ref, &(struct limit){.timeout_ns = MOB_FOREVER},
                         &r, &s));
    return give_bytes_of(task, t, i, link);
}

/* Takes back what an attempt returned that is not to be seen. */
void task_drop_results(struct mob_task *task)
{
    for (uint32_t i = 0; i < call_nrets(&task->call); i++) {
        struct place p = record_get_place(task->r, i);
        record_set_place(task->r, i, PLACE_EMPTY, 0, 0, 0);
        if (p.kind == PLACE_ARENA) {
            client_free_place(task->mob, p.segment, p.offset);
        } else if (p.kind == PLACE_REF) {
            lane_unuse(&task->thread->lane, p.size);
        }
    }
}

/* ---- failing ------------------------------------------------------------------------------------------------ */

mob_status mob_fail(struct mob_task *task, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(task->message, sizeof task->message, format, ap);
    va_end(ap);
    task->more = true;
    return MOB_ERR_TASK_FAILED;
}

int mob_task_cancelled(const struct mob_task *task)
{
    return (at_load(&task->r->state, AT_RELAXED) & STATE_CANCEL) != 0;
}

/* Error texts that do not fit into the record become bytes of its first result. */
static void set_error(struct mob_task *task, mob_status error, const char *text)
{
    size_t size = strlen(text);
    struct arena_place p;
    void *data;
    task_drop_results(task);
    if (!task_set_error(task->r, error, text) &&
        client_alloc(task->mob, task->thread, size, ARENA_ALIGN_MIN, 0, &p, &data) ==
            MOB_OK) {
        memcpy(data, text, size);
        record_set_place(task->r, 0, PLACE_ARENA, p.segment, p.offset, size);
    }
}

static void describe(struct mob_task *task, char *buf, size_t size, const char *what)
{
    char name[MOB_NAME_MAX + 1];
    board_name_text(&task->mob->board, task->r->name, name);
    snprintf(buf, size, "task %s (attempt %u, node %010llx, pid %d): %s", name,
             task_attempt(task) + 1, (unsigned long long)task->mob->node, (int)getpid(),
             what);
}

void task_seal_error(struct mob_task *task, mob_status error, const char *what)
{
    char text[sizeof task->message + 256];
    describe(task, text, sizeof text, what);
    set_error(task, error, text);
    (void)task_seal(&task->thread->lane, task->r, true);
}

static const char first_cause[] = " failed: ";

/* Argument @i failed, and why. Many tasks may fail for one, and in a long row: so the text is that of
 * the first cause, without those in between, and shortened. */
static mob_status say_argument_failed(struct mob_task *task, struct record *r, uint32_t i,
                                      char *what, size_t size)
{
    char why[FAILURE_TEXT_MAX] = "it is gone", cut[QUOTE_MAX];
    const char *from = why, *deeper = "";
    mob_status st = r ? result_error(task->mob, r, why, sizeof why) : MOB_ERR_LOST;
    if (st == MOB_ERR_ARG_FAILED) {
        const char *cause = strstr(why, first_cause);
        from = cause ? cause + sizeof first_cause - 1 : why;
        deeper = " failed, as an argument of its own";
    }
    (void)text_shorten(cut, sizeof cut, from, strlen(from));
    snprintf(what, size, "argument %u%s%s%s", i, deeper, first_cause, cut);
    return st;
}

/* To who reduces, a tree of tasks is one call: it fails as the one whose arrays do not match. */
static bool is_part_of_a_reduction(const struct mob_task *task)
{
    char name[MOB_NAME_MAX + 1];
    board_name_text(&task->mob->board, task->call.fn, name);
    return strcmp(name, FOLD_TASK) == 0;
}

/* If an argument failed, so does the task, with its message. True if it did. */
bool task_fail_for_argument(struct mob_task *task)
{
    if (__builtin_expect(task_note_arguments(task), 1)) {
        return false;
    }
    for (uint32_t i = 0; i < call_nargs(&task->call); i++) {
        uint64_t link, s;
        struct place p;
        if (task_arg_link(task, i, &link) || link == LINK_NONE) {
            continue;
        }
        struct record *r = lane_find(&task->thread->lane, link, &s);
        if (r && !(s & STATE_ERROR) &&
            result_place(task->mob, task->thread, &link, &r, &p) == MOB_OK) {
            s = at_load(&r->state, AT_ACQUIRE); /* of the record that the bytes are in */
        }
        if (r && !(s & STATE_ERROR)) {
            continue;
        }
        char what[sizeof task->message];
        mob_status cause = say_argument_failed(task, r, i, what, sizeof what);
        bool same = cause == MOB_ERR_SIZE && is_part_of_a_reduction(task);
        task_seal_error(task, same ? MOB_ERR_SIZE : MOB_ERR_ARG_FAILED, what);
        return true;
    }
    return false;
}

/* ---- ids that the task holds ------------------------------------------------------------------------------------ */

static bool still_held(struct mob_task *task, uint64_t link)
{
    uint64_t s;
    struct record *r = lane_find(&task->thread->lane, link, &s);
    return r && at_load(&r->refs, AT_RELAXED) & (0xffull << REFS_HANDLE_SHIFT);
}

mob_status task_hold(struct mob_task *task, uint64_t link)
{
    if (task->children_count == task->children_room) {
        uint32_t kept = 0; /* forget what was released, so that a long task stays small */
        for (uint32_t i = 0; i < task->children_count; i++) {
            if (still_held(task, task->children[i])) {
                task->children[kept++] = task->children[i];
            }
        }
        task->children_count = kept;
        if (kept * 2 >= task->children_room) {
            uint32_t room = task->children_room ? task->children_room * 2 : 64;
            uint64_t *grown = realloc(task->children, room * sizeof *grown);
            if (!grown) {
                return status_fail(MOB_ERR_NOMEM, "no memory to remember a task's ids");
            }
            task->children = grown;
            task->children_room = room;
        }
    }
    task->children[task->children_count++] = link;
    task->more = true;
    return MOB_OK;
}

void task_drop_held(struct mob_task *task, bool cancel)
{
    struct lane *l = &task->thread->lane;
    for (uint32_t i = 0; i < task->children_count; i++) {
        uint64_t link = task->children[i], s;
        struct record *r = lane_find(l, link, &s);
        if (r && cancel) {
            task_cancel(l, r, link_gen(link));
        }
        if (r && state_phase(s) == PHASE_CREATING) { /* made, and never sealed */
            mob_abort(task->mob, client_ref(task->mob, link, 0));
        }
        for (uint32_t k = 0; r && k < MOB_RETURNS_MAX; k++) {
            lane_drop(l, link | k);
        }
    }
    free(task->children);
    task->children = NULL;
    task->children_count = task->children_room = 0;
}
