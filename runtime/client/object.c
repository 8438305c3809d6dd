/* object.c - objects without a task: put, create, resize, seal, abort. */
#include <string.h>

#include "client.h"
#include "core/status.h"
#include "store/meta.h"
#include "store/task.h"

enum { INLINE_AT = 16 }; /* in the payload, behind the place */

/* ---- options --------------------------------------------------------------------------------------------- */

struct plan { /* checked options */
    size_t align;
    const struct mob_meta *meta; /* or NULL */
    uint32_t site;
};

/* An array's shape must be the bytes that there are. */
static mob_status check_shape(const struct mob_meta *m, size_t size)
{
    uint64_t bytes = m->item_bytes;
    bool fits = true;
    for (uint32_t i = 0; i < m->dims && fits; i++) {
        fits = !__builtin_mul_overflow(bytes, m->shape[i], &bytes);
    }
    if (m->dims && m->item_bytes && (!fits || bytes != size)) {
        return status_fail(MOB_ERR_SIZE,
                           "an array whose shape has %llu bytes, in an object of %zu",
                           (unsigned long long)bytes, size);
    }
    return MOB_OK;
}

/* @meta: where its metadata is kept. */
static mob_status plan_object(struct mob *mob, const struct mob_object_options *given,
                              size_t size, struct mob_meta *meta, struct plan *ret)
{
    struct mob_object_options o = {0};
    if (given) {
        if (given->struct_size < sizeof(size_t) || given->struct_size > sizeof o) {
            return status_fail(MOB_ERR_INVALID,
                               "options of %zu bytes: set them up with "
                               "MOB_OBJECT_OPTIONS_INIT",
                               given->struct_size);
        }
        memcpy(&o, given, given->struct_size);
    }
    size_t align = o.align ? o.align : 1;
    if (align & (align - 1) || align > ARENA_ALIGN_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "an object aligned to %zu; powers of two up to %u are allowed",
                           o.align, ARENA_ALIGN_MAX);
    }
    if (o.meta) {
        MOB_TRY(client_check_meta(o.meta, meta));
        MOB_TRY(check_shape(meta, size));
    }
    *ret = (struct plan){align, o.meta ? meta : NULL, client_site(mob, o.site)};
    return MOB_OK;
}

/* ---- making ---------------------------------------------------------------------------------------------- */

static uint32_t padded(size_t size)
{
    return ((uint32_t)size + 7u) & ~7u;
}

/* Room for the bytes: inside the record if they are few and may begin where it has room. */
CLIENT_FAST mob_status make_room(struct mob *mob, struct thread *t, struct record *r,
                                 size_t size, size_t align, uint64_t timeout_ns,
                                 void **ret_data)
{
    if (size <= RECORD_INLINE_MAX && (align <= 8 || size == 0)) {
        record_set_place(r, 0, size ? PLACE_INLINE : PLACE_EMPTY, 0, INLINE_AT, size);
        at_store(&r->fill, INLINE_AT + padded(size), AT_RELAXED);
        *ret_data = r->payload + INLINE_AT;
        return MOB_OK;
    }
    struct arena_place place;
    record_set_place(r, 0, PLACE_EMPTY, 0, 0, 0); /* in case there is none */
    MOB_TRY(client_alloc(mob, t, size, align < ARENA_ALIGN_MIN ? ARENA_ALIGN_MIN : align,
                         timeout_ns, &place, ret_data));
    board_touch(&mob->board, board_index(&mob->board, r));
    record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    if (align > ARENA_ALIGN_MIN) {
        record_set_align(r, align);
    }
    return MOB_OK;
}

static void free_room(struct mob *mob, const struct record *r)
{
    struct place p = record_get_place(r, 0);
    if (p.kind == PLACE_ARENA) {
        client_free_place(mob, p.segment, p.offset);
    }
}

/* Metadata behind what stands in the payload. */
static mob_status add_meta(struct record *r, const struct mob_meta *m)
{
    uint32_t fill = at_load(&r->fill, AT_RELAXED), need = meta_bytes(m->dims);
    if (fill > RECORD_PAYLOAD || need > RECORD_PAYLOAD - fill) {
        return status_fail(MOB_ERR_FULL, "metadata was set too often for one object");
    }
    meta_add(r, fill, 0, m);
    at_store(&r->fill, fill + need, AT_RELAXED);
    return MOB_OK;
}

/* What a task puts is no open child of it, but goes with an attempt that dies. */
static __attribute__((noinline)) mob_status
belong_to_task(struct mob *mob, struct mob_task *task, struct record *r, uint64_t link)
{
    at_store(&r->parent, task->link, AT_RELAXED);
    r->parent_attempt = (uint8_t)task_attempt(task);
    mob_status st = task_hold(task, link);
    if (st) {
        free_room(mob, r);
    }
    return st;
}

struct begun {
    struct record *r;
    uint64_t link;
    void *data;
};

/* A record that the lane has not, or not yet; @io_timeout_ns becomes what is left of it. */
static __attribute__((noinline)) mob_status record_in_time(struct mob *mob,
                                                           struct thread *t,
                                                           uint64_t *io_timeout_ns,
                                                           struct record **ret)
{
    uint64_t deadline_ns = clock_deadline_ns(*io_timeout_ns);
    MOB_TRY(client_record(mob, t, deadline_ns, ret));
    if (deadline_ns != CLOCK_NEVER) {
        uint64_t now_ns = clock_now_ns();
        *io_timeout_ns = now_ns < deadline_ns ? deadline_ns - now_ns : 0;
    }
    return MOB_OK;
}

/* A record with room for @size bytes. It is still FREE: nobody knows of it, and a death loses nothing. */
CLIENT_FAST mob_status begin(struct mob *mob, struct thread *t, size_t size,
                             const struct plan *plan, uint64_t timeout_ns,
                             struct begun *ret)
{
    const struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    uint64_t link;
    MOB_TRY(client_health(mob));
    struct record *r = lane_take(&t->lane, &link);
    if (__builtin_expect(!r, 0)) {
        MOB_TRY(record_in_time(mob, t, &timeout_ns, &r));
        link = link_make(lane_gen(r), board_index(&mob->board, r), 0);
    }
    task_fill(r, link_gen(link), &call, LINK_NONE);
    record_set_origin(r, board_tick(&mob->board), plan->site);
    mob_status st = make_room(mob, t, r, size, plan->align, timeout_ns, &ret->data);
    if (__builtin_expect(!st && t->task, 0)) {
        st = belong_to_task(mob, t->task, r, link);
    }
    if (__builtin_expect(st, 0)) {
        lane_unrecord(&t->lane, r);
        return st;
    }
    if (__builtin_expect(plan->meta != NULL, 0)) {
        (void)add_meta(r, plan->meta); /* there is room for one */
    }
    ret->r = r;
    ret->link = link;
    return MOB_OK;
}
_Static_assert(INLINE_AT + RECORD_INLINE_MAX + 8 + 8 * MOB_DIMS_MAX <= RECORD_PAYLOAD,
               "so there is");

CLIENT_FAST mob_status put(struct mob *mob, struct thread *t, const void *data,
                           size_t size, const struct plan *plan, uint64_t timeout_ns,
                           mob_ref *ret)
{
    struct begun o;
    if (__builtin_expect(!ret || (size && !data), 0)) {
        return status_fail(MOB_ERR_INVALID, "mob_put: no data or no place for the id");
    }
    MOB_TRY(begin(mob, t, size, plan, timeout_ns, &o));
    client_copy(o.data, data, size);
    task_publish_object(&t->lane, o.r, link_gen(o.link));
    *ret = client_ref(mob, o.link, 0);
    return MOB_OK;
}

mob_status mob_put_as(struct mob *mob, const void *data, size_t size,
                      const struct mob_object_options *options, uint64_t timeout_ns,
                      mob_ref *ret)
{
    struct thread *t;
    struct plan plan;
    struct mob_meta meta;
    MOB_TRY(client_thread(mob, &t)); /* or why the handle is no good */
    MOB_TRY(plan_object(mob, options, size, &meta, &plan));
    return put(mob, t, data, size, &plan, timeout_ns, ret);
}

mob_status mob_put_at(struct mob *mob, const void *data, size_t size, uint64_t timeout_ns,
                      mob_ref *ret, struct mob_site *site)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    struct plan plan = {.align = 1, .site = client_site(mob, site)};
    return put(mob, t, data, size, &plan, timeout_ns, ret);
}

mob_status mob_put(struct mob *mob, const void *data, size_t size, uint64_t timeout_ns,
                   mob_ref *ret)
{
    return mob_put_at(mob, data, size, timeout_ns, ret, NULL);
}

CLIENT_FAST mob_status create(struct mob *mob, struct thread *t, size_t size,
                              const struct plan *plan, uint64_t timeout_ns, mob_ref *ret,
                              void **ret_data)
{
    struct begun o;
    if (__builtin_expect(!ret || !ret_data, 0)) {
        return status_fail(MOB_ERR_INVALID,
                           "mob_create: no place for the id or the address");
    }
    MOB_TRY(begin(mob, t, size, plan, timeout_ns, &o));
    at_store(&o.r->state, state_make(link_gen(o.link), mob->self, 0, PHASE_CREATING),
             AT_RELEASE);
    *ret = client_ref(mob, o.link, 0);
    *ret_data = o.data;
    return MOB_OK;
}

mob_status mob_create_as(struct mob *mob, size_t size,
                         const struct mob_object_options *options, uint64_t timeout_ns,
                         mob_ref *ret, void **ret_data)
{
    struct thread *t;
    struct plan plan;
    struct mob_meta meta;
    MOB_TRY(client_thread(mob, &t));
    MOB_TRY(plan_object(mob, options, size, &meta, &plan));
    return create(mob, t, size, &plan, timeout_ns, ret, ret_data);
}

mob_status mob_create_at(struct mob *mob, size_t size, uint64_t timeout_ns, mob_ref *ret,
                         void **ret_data, struct mob_site *site)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    struct plan plan = {.align = 1, .site = client_site(mob, site)};
    return create(mob, t, size, &plan, timeout_ns, ret, ret_data);
}

mob_status mob_create(struct mob *mob, size_t size, uint64_t timeout_ns, mob_ref *ret,
                      void **ret_data)
{
    return mob_create_at(mob, size, timeout_ns, ret, ret_data, NULL);
}

/* ---- between create and seal ----------------------------------------------------------------------------- */

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

mob_status mob_shrink(struct mob *mob, mob_ref ref, size_t size)
{
    struct thread *t;
    struct record *r;
    MOB_TRY(client_thread(mob, &t));
    MOB_TRY(creating(mob, t, ref, &r));
    struct place p = record_get_place(r, 0);
    if (size > p.size) {
        return status_fail(MOB_ERR_SIZE,
                           "the object has %llu bytes, and %zu of them were to be kept",
                           (unsigned long long)p.size, size);
    }
    if (p.kind == PLACE_ARENA) {
        MOB_TRY(client_shrink_place(mob, &p, size));
    }
    record_set_place(r, 0, p.kind, p.segment, p.offset, size);
    return MOB_OK;
}

mob_status mob_set_meta(struct mob *mob, mob_ref ref, const struct mob_meta *meta)
{
    struct thread *t;
    struct record *r;
    struct mob_meta m;
    MOB_TRY(client_thread(mob, &t));
    MOB_TRY(creating(mob, t, ref, &r));
    MOB_TRY(client_check_meta(meta, &m));
    MOB_TRY(check_shape(&m, record_get_place(r, 0).size));
    return add_meta(r, &m);
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
    free_room(mob, r);
    task_set_error(r, MOB_ERR_CANCELLED, "the object was aborted by its maker");
    (void)task_seal(&t->lane, r, true); /* tasks that wait for it fail by name */
    lane_drop(&t->lane, ref.lo);
}
