/* object.c - objects without a task: put, create, seal, abort. */
#include <string.h>

#include "client.h"
#include "core/status.h"
#include "store/task.h"

/* A CREATING record with room for @size bytes. */
static mob_status begin(struct mob *mob, struct thread *t, size_t size,
                        uint64_t timeout_ns, struct record **ret, void **ret_data)
{
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct record *r;
    uint64_t parent = t->task ? t->task->link : LINK_NONE;
    MOB_TRY(client_health(mob));
    MOB_TRY(client_record(mob, t, false, &r));
    task_begin(&t->lane, r, &call, LINK_NONE);
    if (t->task) { /* it is no open child of the task, but goes with an attempt that dies */
        at_store(&r->parent, parent, AT_RELAXED);
        r->parent_attempt = (uint8_t)task_attempt(t->task);
    }
    uint32_t gen = lane_gen(r);
    if (size <= RECORD_INLINE_MAX) {
        record_set_place(r, 0, size ? PLACE_INLINE : PLACE_EMPTY, 0, 16, size);
        *ret_data = r->payload + 16;
    } else {
        struct arena_place place;
        mob_status st = client_alloc(mob, t, size, timeout_ns, &place, ret_data);
        if (st) {
            lane_unrecord(&t->lane, r);
            return st;
        }
        board_touch(&mob->board, board_index(&mob->board, r));
        record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    }
    mob_status st =
        parent != LINK_NONE
            ? task_hold(t->task, link_make(gen, board_index(&mob->board, r), 0))
            : MOB_OK;
    if (st) {
        struct place p = record_get_place(r, 0);
        if (p.kind == PLACE_ARENA) {
            client_free_place(mob, p.segment, p.offset);
        }
        lane_unrecord(&t->lane, r);
        return st;
    }
    at_store(&r->state, state_make(gen, mob->self, 0, PHASE_CREATING), AT_RELEASE);
    *ret = r;
    return MOB_OK;
}

mob_status mob_put(struct mob *mob, const void *data, size_t size, uint64_t timeout_ns,
                   mob_ref *ret)
{
    struct thread *t;
    struct record *r;
    void *to;
    MOB_TRY(client_thread(mob, &t));
    if (!ret || (size && !data)) {
        return status_fail(MOB_ERR_INVALID, "mob_put: no data or no place for the id");
    }
    MOB_TRY(begin(mob, t, size, timeout_ns, &r, &to));
    if (size) {
        memcpy(to, data, size);
    }
    mob_ref ref =
        client_ref(mob, link_make(lane_gen(r), board_index(&mob->board, r), 0), 0);
    if (!task_seal(&t->lane, r, false)) {
        return status_fail(MOB_ERR_CORRUPT,
                           "an object's record changed while it was written");
    }
    *ret = ref;
    return MOB_OK;
}

mob_status mob_create(struct mob *mob, size_t size, uint64_t timeout_ns, mob_ref *ret,
                      void **ret_data)
{
    struct thread *t;
    struct record *r;
    void *to;
    MOB_TRY(client_thread(mob, &t));
    if (!ret || !ret_data) {
        return status_fail(MOB_ERR_INVALID,
                           "mob_create: no place for the id or the address");
    }
    MOB_TRY(begin(mob, t, size, timeout_ns, &r, &to));
    *ret = client_ref(mob, link_make(lane_gen(r), board_index(&mob->board, r), 0), 0);
    *ret_data = to;
    return MOB_OK;
}

/* The record of an id that mob_create() of this process gave and that is not sealed. */
static mob_status creating(struct mob *mob, struct thread *t, mob_ref ref,
                           struct record **ret)
{
    uint64_t link, s;
    MOB_TRY(client_link(mob, ref, &link));
    struct record *r = lane_find(&t->lane, link, &s);
    if (!r || state_gone(s)) {
        return status_fail(MOB_ERR_RELEASED,
                           "the id was released before, or never existed");
    }
    struct call call = record_call(r);
    if (state_phase(s) != PHASE_CREATING || state_holder(s) != mob->self ||
        call.fn != CALL_PUT) {
        return status_fail(MOB_ERR_STATE,
                           "the object is sealed already, or was not made with "
                           "mob_create() by this process");
    }
    *ret = r;
    return MOB_OK;
}

mob_status mob_seal(struct mob *mob, mob_ref ref)
{
    struct thread *t;
    struct record *r;
    MOB_TRY(client_thread(mob, &t));
    MOB_TRY(creating(mob, t, ref, &r));
    if (!task_seal(&t->lane, r, false)) {
        return status_fail(MOB_ERR_STATE, "the object was sealed by another thread");
    }
    if (mob->inline_tasks) {
        worker_run_inline(mob, t);
    }
    return MOB_OK;
}

void mob_abort(struct mob *mob, mob_ref ref)
{
    struct thread *t;
    struct record *r;
    if (client_thread(mob, &t) || creating(mob, t, ref, &r)) {
        return;
    }
    struct place p = record_get_place(r, 0);
    if (p.kind == PLACE_ARENA) {
        client_free_place(mob, p.segment, p.offset);
    }
    task_set_error(r, MOB_ERR_CANCELLED, "the object was aborted by its maker");
    (void)task_seal(&t->lane, r, true); /* tasks that wait for it fail by name */
    lane_drop(&t->lane, ref.lo);
}
