/* result.c - the bytes, or the error, of sealed records. */
#include <string.h>

#include "client.h"
#include "core/status.h"
#include "store/request.h"
#include "store/task.h"

enum { REFS_DEEP_MAX = 64 }; /* results that are results that are results ... */

mob_status result_place(struct mob *mob, struct thread *t, uint64_t *io_link,
                        struct record **io_record, struct place *ret)
{
    (void)mob;
    for (int deep = 0; deep < REFS_DEEP_MAX; deep++) {
        struct call call = record_call(*io_record);
        if (link_ret(*io_link) >= call_nrets(&call)) {
            return status_fail(MOB_ERR_INVALID,
                               "the task has %u results, and the id names %u",
                               call_nrets(&call), link_ret(*io_link));
        }
        struct place p = record_get_place(*io_record, link_ret(*io_link));
        if (p.kind != PLACE_REF) {
            *ret = p;
            return MOB_OK;
        }
        uint64_t s;
        struct record *r = lane_find(&t->lane, p.size, &s);
        if (!r || !state_sealed_used(s)) {
            return status_fail(MOB_ERR_CORRUPT,
                               "a result refers to an object that is gone");
        }
        *io_link = p.size;
        *io_record = r;
    }
    return status_fail(MOB_ERR_CORRUPT, "results refer to results without end");
}

mob_status result_error(struct mob *mob, struct record *r, char *text, size_t size)
{
    mob_status st = (mob_status)(int32_t)at_load(&r->error, AT_RELAXED);
    struct place p = record_get_place(r, 0);
    const void *bytes;
    if (size == 0) {
        return st;
    }
    text[0] = '\0';
    if ((p.kind == PLACE_INLINE || p.kind == PLACE_ARENA) &&
        client_bytes(mob, r, &p, &bytes) == MOB_OK) {
        size_t n = p.size < size - 1 ? p.size : size - 1;
        memcpy(text, bytes, n);
        text[n] = '\0';
    }
    return st < 0 ? st : MOB_ERR_CORRUPT;
}

mob_status client_value(struct mob *mob, struct thread *t, mob_ref ref,
                        struct limit *limit, uint64_t *ret_link, struct record **ret,
                        struct place *ret_place)
{
    uint64_t s;
    MOB_TRY(client_await(mob, t, ref, limit, ret, &s));
    *ret_link = ref.lo;
    for (;;) {
        if (s & STATE_ERROR) {
            char text[FAILURE_TEXT_MAX];
            mob_status st = result_error(mob, *ret, text, sizeof text);
            return status_fail(st, "%s", text[0] ? text : mob_status_text(st));
        }
        MOB_TRY(result_place(mob, t, ret_link, ret, ret_place));
        s = at_load(&(*ret)->state, AT_ACQUIRE);
        if (!(s & STATE_ERROR)) {
            return MOB_OK;
        }
    }
}

static mob_status get_view(struct mob *mob, struct thread *t, mob_ref ref,
                           struct limit *limit, struct mob_view *ret)
{
    struct record *r;
    struct place p;
    uint64_t link, pin, outer;
    const void *bytes;
    MOB_TRY(client_value(mob, t, ref, limit, &link, &r, &p));
    MOB_TRY(lane_pin(&t->lane, link, &pin));
    if (link != ref.lo) {
        /* The bytes are another record's. It is pinned; was it still meant? */
        mob_status st = lane_pin(&t->lane, ref.lo, &outer);
        if (st) {
            lane_unpin(&t->lane, pin);
            return st;
        }
        lane_unpin(&t->lane, outer);
    }
    /* Where the bytes were before the pin, they need not be any more. */
    mob_status st = client_pinned_bytes(mob, t, r, link, limit, &p, &bytes);
    if (st) {
        lane_unpin(&t->lane, pin);
        return st;
    }
    *ret = (struct mob_view){bytes, p.size, pin + 1};
    return MOB_OK;
}

mob_status mob_get(struct mob *mob, mob_ref ref, uint64_t timeout_ns,
                   struct mob_view *ret)
{
    struct thread *t;
    struct limit limit = {timeout_ns, 0};
    MOB_TRY(client_thread(mob, &t));
    return ret ? get_view(mob, t, ref, &limit, ret)
               : status_fail(MOB_ERR_INVALID, "mob_get: no place for the view");
}

void mob_view_release(struct mob *mob, struct mob_view *view)
{
    struct thread *t;
    if (view && view->pin && client_thread(mob, &t) == MOB_OK) {
        lane_unpin(&t->lane, view->pin - 1);
        if (view->size >= LANE_LIMBO_BYTES) {
            lane_reclaim(&t->lane); /* the view may be all that kept so much memory */
        }
        *view = (struct mob_view){NULL, 0, 0};
    }
}

/* Copies the small first result of a record whose state @s says that it is sealed without error. The
 * record may be freed and used again meanwhile if another thread releases the id: looked at once more
 * afterwards. False: something else is the matter; the general form finds out. */
CLIENT_FAST bool copy_inline(const struct record *r, uint64_t s, void *dst, size_t size)
{
    const struct place_words *w = record_place((struct record *)(uintptr_t)r, 0);
    uint64_t at = at_load(&w->where, AT_RELAXED) - place_pack(PLACE_INLINE, 0, 0);
    if (__builtin_expect(at_load(&w->size, AT_RELAXED) != size ||
                             size > RECORD_INLINE_MAX || at > RECORD_PAYLOAD - size,
                         0)) {
        return false;
    }
    client_copy(dst, r->payload + at, size);
    at_fence_acquire(); /* the bytes before the look at the generation */
    return state_gen(at_load(&r->state, AT_RELAXED)) == state_gen(s);
}

static mob_status get_copy(struct mob *mob, struct thread *t, mob_ref ref, void *dst,
                           size_t size, struct limit *limit)
{
    struct record *r;
    struct place p;
    struct mob_view view;
    uint64_t link;
    MOB_TRY(client_value(mob, t, ref, limit, &link, &r, &p));
    if (p.size != size) {
        return status_fail(MOB_ERR_SIZE,
                           "the object has %llu bytes, and %zu were asked for",
                           (unsigned long long)p.size, size);
    }
    MOB_TRY(get_view(mob, t, ref, limit, &view));
    if (size) { /* dst may be NULL else */
        memcpy(dst, view.data, size);
    }
    mob_view_release(mob, &view);
    return MOB_OK;
}

/* The record of an id of this job on this node, if it is a first result; a record may be gone. */
CLIENT_FAST struct record *find_first(const struct mob *mob, mob_ref ref)
{
    if (__builtin_expect(client_serial != mob->serial || ref.hi != mob->ref_hi ||
                             link_ret(ref.lo) != 0,
                         0)) {
        return NULL;
    }
    return board_record(&mob->board, link_index(ref.lo));
}

/* The bytes of a record that stands for @link, if it is sealed without error. */
CLIENT_FAST bool get_plain(const struct record *r, uint64_t link, void *dst, size_t size)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    return __builtin_expect(state_gen(s) == link_gen(link) && state_sealed_good(s), 1) &&
           copy_inline(r, s, dst, size);
}

/* mob_get_copy() for who may have waited already. */
static __attribute__((noinline)) mob_status
get_within(struct mob *mob, mob_ref ref, void *dst, size_t size, struct limit *limit)
{
    struct thread *t;
    struct record *r;
    uint64_t s;
    MOB_TRY(client_thread(mob, &t));
    if (!dst && size) {
        return status_fail(MOB_ERR_INVALID, "mob_get_copy: no place for the bytes");
    }
    MOB_TRY(client_await(mob, t, ref, limit, &r, &s));
    return link_ret(ref.lo) == 0 && get_plain(r, ref.lo, dst, size)
               ? MOB_OK
               : get_copy(mob, t, ref, dst, size, limit);
}

/* mob_get_copy() in general. */
static __attribute__((noinline)) mob_status
get_any(struct mob *mob, mob_ref ref, void *dst, size_t size, uint64_t timeout_ns)
{
    return get_within(mob, ref, dst, size, &(struct limit){timeout_ns, 0});
}

/* mob_get_copy() of one word that does not lie there for the taking. */
static __attribute__((noinline)) mob_status
get_later(struct mob *mob, struct record *r, mob_ref ref, void *dst, uint64_t timeout_ns)
{
    if (!timeout_ns || !client_only_waits(mob)) {
        return get_any(mob, ref, dst, 8, timeout_ns);
    }
    struct limit limit = {timeout_ns, 0};
    MOB_TRY(park_until_sealed(mob, client_current, r, link_gen(ref.lo), &limit));
    return __builtin_expect(get_plain(r, ref.lo, dst, 8), 1)
               ? MOB_OK
               : get_within(mob, ref, dst, 8, &limit); /* sealed, and something else */
}

/* Of the task that was submitted last the result is hardly there: spin_newest() knows when to look. */
static __attribute__((noinline)) mob_status
get_newest(struct mob *mob, struct record *r, mob_ref ref, void *dst, uint64_t timeout_ns)
{
    struct thread *t = client_current;
    bool seen = mob->cpus_here > 1 && timeout_ns && client_only_waits(mob) &&
                spin_newest(t, r, link_gen(ref.lo));
    return __builtin_expect(seen && get_plain(r, ref.lo, dst, 8), 1)
               ? MOB_OK
               : get_later(mob, r, ref, dst, timeout_ns);
}

mob_status mob_get_copy(struct mob *mob, mob_ref ref, void *dst, size_t size,
                        uint64_t timeout_ns)
{
    /* With a size that the compiler knows there is no call on this way. */
    struct record *r =
        __builtin_expect(mob && (size ^ 8) == 0, 1) ? find_first(mob, ref) : NULL;
    if (__builtin_expect(!r || !dst, 0)) {
        return get_any(mob, ref, dst, size, timeout_ns);
    }
    if (client_current->newest == ref.lo) {
        return get_newest(mob, r, ref, dst, timeout_ns);
    }
    return __builtin_expect(get_plain(r, ref.lo, dst, 8), 1)
               ? MOB_OK
               : get_later(mob, r, ref, dst, timeout_ns);
}

mob_status mob_get_size(struct mob *mob, mob_ref ref, uint64_t timeout_ns, size_t *ret)
{
    struct thread *t;
    struct record *r;
    struct place p;
    uint64_t link;
    MOB_TRY(client_thread(mob, &t));
    if (!ret) {
        return status_fail(MOB_ERR_INVALID, "mob_get_size: no place for the size");
    }
    MOB_TRY(client_value(mob, t, ref, &(struct limit){timeout_ns, 0}, &link, &r, &p));
    *ret = p.size;
    return MOB_OK;
}

int mob_contains(struct mob *mob, mob_ref ref)
{
    struct thread *t;
    struct record *r;
    struct place p;
    uint64_t link, s;
    if (client_thread(mob, &t) || client_link(mob, ref, &link) ||
        !(r = lane_find(&t->lane, link, &s)) || !state_sealed_good(s)) {
        return 0;
    }
    /* A result may be another task's, which failed. */
    return result_place(mob, t, &link, &r, &p) == MOB_OK &&
           !(at_load(&r->state, AT_ACQUIRE) & STATE_ERROR);
}

static __attribute__((noinline)) void release_any(struct mob *mob, mob_ref ref)
{
    struct thread *t;
    uint64_t link;
    if (client_thread(mob, &t) == MOB_OK && client_link(mob, ref, &link) == MOB_OK) {
        lane_drop(&t->lane, link);
    }
}

void mob_release(struct mob *mob, mob_ref ref)
{
    if (__builtin_expect(mob && client_serial == mob->serial && ref.hi == mob->ref_hi,
                         1)) {
        lane_drop_fast(&client_current->lane, ref.lo);
    } else {
        release_any(mob, ref);
    }
}

mob_status mob_failure(struct mob *mob, mob_ref ref, char *text, size_t size)
{
    struct thread *t;
    struct record *r;
    uint64_t s, link = ref.lo;
    MOB_TRY(client_thread(mob, &t));
    if (!text || size == 0) {
        return status_fail(MOB_ERR_INVALID, "mob_failure: no place for the text");
    }
    MOB_TRY(client_await(mob, t, ref, &(struct limit){0, 0}, &r, &s));
    if (!(s & STATE_ERROR)) {
        struct place p;
        MOB_TRY(result_place(mob, t, &link, &r, &p));
        s = at_load(&r->state, AT_ACQUIRE);
    }
    text[0] = '\0';
    if (s & STATE_ERROR) {
        (void)result_error(mob, r, text, size);
    }
    return MOB_OK;
}

mob_status mob_cancel(struct mob *mob, mob_ref ref)
{
    return mob_cancel_as(mob, ref, NULL);
}

mob_status mob_cancel_as(struct mob *mob, mob_ref ref,
                         const struct mob_cancel_options *given)
{
    struct thread *t;
    uint64_t link, s;
    struct mob_cancel_options o = MOB_CANCEL_OPTIONS_INIT;
    MOB_TRY(client_thread(mob, &t));
    MOB_TRY(client_link(mob, ref, &link));
    if (given) {
        if (given->struct_size < sizeof(size_t) || given->struct_size > sizeof o) {
            return status_fail(MOB_ERR_INVALID,
                               "options of %zu bytes: set them up with "
                               "MOB_CANCEL_OPTIONS_INIT",
                               given->struct_size);
        }
        memcpy(&o, given, given->struct_size);
    }
    if (o.grace_ns > REQUEST_AHEAD_MAX_NS) {
        return status_fail(MOB_ERR_INVALID, "a grace of more than 30 days");
    }
    struct record *r = lane_find(&t->lane, link, &s);
    if (!r || state_gone(s)) {
        return client_released();
    }
    uint32_t request = o.recursive ? REQUEST_RECURSIVE : 0;
    if (o.force) {
        request |= request_make(
            REQUEST_END, request_tick_at(&mob->board, clock_deadline_ns(o.grace_ns)));
    }
    return task_cancel_as(&t->lane, r, link_gen(link), request);
}
