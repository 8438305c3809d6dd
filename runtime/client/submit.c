/* submit.c - from a call of mob_submit() to a published record. */
#include <string.h>

#include "client.h"
#include "core/gang.h"
#include "core/park.h"
#include "core/status.h"
#include "store/klass.h"
#include "store/request.h"
#include "submit.h"

/* ---- arguments ------------------------------------------------------------------------------------------- */

static bool is_ref(const struct mob_arg *a)
{
    return !a->data && a->ref.hi != 0;
}

/* A value that does not fit becomes an object whose only holder is the task. */
static mob_status spill_value(struct mob *mob, struct record *r, uint32_t i,
                              const struct mob_arg *a, uint64_t *spilled, uint32_t *count)
{
    mob_ref ref;
    MOB_TRY(mob_put(mob, a->data, a->size, FULL_WAIT_NS, &ref));
    at_store(&mob->board.records[link_index(ref.lo)].about, record_site(r), AT_RELAXED);
    spilled[(*count)++] = ref.lo;
    return task_add_ref(r, i, ref.lo)
               ? MOB_OK
               : status_fail(MOB_ERR_INVALID,
                             "the task has too many arguments for its number of "
                             "results; give it fewer of one of them");
}

static mob_status add_args(struct mob *mob, struct record *r, const struct plan *plan,
                           const struct mob_arg *args, uint64_t *spilled,
                           uint32_t *spilled_count)
{
    const struct call *call = &plan->call;
    /* What must stay free for arguments that come later: a link each; and for the ticket of a gang's member. */
    uint32_t later = call_nargs(call) * (uint32_t)sizeof(struct arg_ref) +
                     (plan->kept ? (uint32_t)GANG_ROOM_BYTES : 0);
    for (uint32_t i = 0; i < call_nargs(call); i++) {
        const struct mob_arg *a = &args[i];
        later -= (uint32_t)sizeof(struct arg_ref);
        if (is_ref(a)) {
            uint64_t link;
            MOB_TRY(client_link(mob, a->ref, &link));
            task_prefetch_arg(&mob->board, link);
            if (!task_add_ref(r, i, link)) {
                return status_fail(
                    MOB_ERR_INVALID,
                    "%u arguments by id and %u results do not fit into one task; "
                    "with all %d arguments by id it may have 3 results",
                    call_nargs(call), call_nrets(call), MOB_ARGS_MAX);
            }
            continue;
        }
        uint32_t fill = at_load(&r->fill, AT_RELAXED);
        bool fits = a->size <= RECORD_VALUE_MAX &&
                    fill + ((a->size + 7) & ~7ull) + later + 16 <= RECORD_PAYLOAD;
        void *room = fits ? task_add_value(r, i, a->size) : NULL;
        if (room && a->size) {
            memcpy(room, a->data, a->size);
        } else if (!room) {
            MOB_TRY(spill_value(mob, r, i, a, spilled, spilled_count));
        }
    }
    return MOB_OK;
}

/* ---- submit ------------------------------------------------------------------------------------------------- */

__attribute__((noinline)) mob_status
submit_record(struct mob *mob, struct thread *t, struct record *r,
              const struct plan *plan, const struct mob_arg *args, uint64_t *ret_link)
{
    const struct call *call = &plan->call;
    struct mob_task *task = t->task;
    uint64_t spilled[MOB_ARGS_MAX], parent = task ? task->link : LINK_NONE;
    uint32_t spilled_count = 0, attempt = task ? task_attempt(task) : 0;
    if (plan->entered && !klass_enter(&t->lane, call_class(call), plan->entered)) {
        return status_fail(MOB_ERR_NOT_FOUND, "the task's group was removed");
    }
    task_begin(&t->lane, r, call, parent);
    r->parent_attempt = (uint8_t)attempt;
    r->name = plan->name;
    record_set_origin(r, board_tick(&mob->board), t->plain_number);
    if (plan->request) {
        request_set(&mob->board, board_index(&mob->board, r), lane_gen(r), plan->request);
    }
    mob_status st = add_args(mob, r, plan, args, spilled, &spilled_count);
    if (!st && task) {
        st = task_hold(task, link_make(lane_gen(r), board_index(&mob->board, r), 0));
    }
    if (!st) {
        if (task) {
            task->more = true;
            task_add_child(&mob->board, parent, attempt);
        }
        st = plan->kept ? task_publish_kept(&t->lane, r, ret_link)
                        : task_publish(&t->lane, r, ret_link);
        if (st && task) {
            task_remove_child(&mob->board, parent, attempt);
        }
    }
    if (!st && plan->request) {
        request_note(&mob->board, link_index(*ret_link), request_tick(plan->request));
    }
    if (!st && task) {
        task_obey_parent(&t->lane, task->r, *ret_link);
    }
    for (uint32_t i = 0; i < spilled_count; i++) {
        lane_drop(&t->lane, spilled[i]); /* the task's use keeps it now */
    }
    if (plan->entered) {
        klass_leave(&t->lane);
    }
    return st;
}

/* Whether some argument is given by id, or becomes an object because it is large or finds no room. */
mob_status submit_look_at_args(struct call *call, const struct mob_arg *args,
                               uint32_t more)
{
    uint32_t nargs = call_nargs(call), need = 16 * call_nrets(call) + 16 + more;
    bool refs = false;
    for (uint32_t i = 0; i < nargs; i++) {
        if (args[i].data == NULL && args[i].size && !is_ref(&args[i])) {
            return status_fail(MOB_ERR_INVALID, "argument %u has %zu bytes at NULL", i,
                               args[i].size);
        }
        refs |= is_ref(&args[i]) || args[i].size > RECORD_VALUE_MAX;
        need += ((uint32_t)args[i].size + 7) & ~7u;
    }
    if (refs || need > RECORD_PAYLOAD) {
        call->class_options |= CALL_HAS_REFS << 4;
    }
    return MOB_OK;
}

/* Whether a class's queue has room, by what was seen last. */
static inline bool take_room(struct thread *t, uint32_t class)
{
    if (__builtin_expect(t->room[class] == 0, 0)) {
        return false;
    }
    t->room[class]--;
    return true;
}

/* Notes the function that a thread submits. */
mob_status submit_note_fn(struct mob *mob, struct thread *t, mob_fn fn)
{
    if (t->fn != fn) {
        MOB_TRY(registry_fn_id(mob, fn, &t->fn_id));
        t->fn = fn;
        t->plain_call =
            call_word(t->fn_id, call_counts(1, 1), RETRIES_DEFAULT) | call_word_len(0, 8);
        t->plain_origin = record_origin_word(t->plain_number, t->fn_id);
        t->plain_fn = mob->worker || mob->inline_tasks ? client_no_function : fn;
    }
    return MOB_OK;
}

enum { PLAIN_CLASS = 0 }; /* of one CPU */

/* Apart and at the end of mob_submit(), so that the usual way of it saves no registers. */
static __attribute__((noinline)) mob_status pushed(struct lane *l, struct record *r,
                                                   enum queue_result how)
{
    /* Nobody looked for work for a while, so the board's clock may be behind: board.h. The record may be
     * done and released by now, but it is of our block, so that nobody uses it again. */
    at_store(&r->made, board_tick(l->board), AT_RELAXED);
    task_pushed_any(l->board, r, PLAIN_CLASS, how);
    return MOB_OK;
}

/* mob_submit() for what most tasks are: one result, one word as argument, from a driver that finds all
 * that it needs at hand. False: it is not so, and nothing has happened. */
CLIENT_FAST bool submit_plain(struct mob *mob, mob_fn fn, const struct mob_arg *arg,
                              mob_ref *ret, const struct mob_site *site,
                              mob_status *ret_status)
{
    struct thread *t = client_current;
    uint64_t link;
    if (__builtin_expect(client_serial != mob->serial || t->plain_fn != fn ||
                             t->plain_site != site || client_ill(mob) || !arg ||
                             arg->size != 8 || !arg->data || !ret,
                         0)) {
        return false;
    }
    /* One more than is used if no record is at hand: it is what certainly fits, and may be less. */
    if (__builtin_expect(--t->room[PLAIN_CLASS] < 0, 0)) {
        t->room[PLAIN_CLASS] = 0;
        return false;
    }
    struct record *r = lane_take(&t->lane, &link);
    if (__builtin_expect(!r, 0)) {
        return false;
    }
    __builtin_memcpy(r->payload + sizeof(struct place_words), arg->data, 8);
    at_store(&r->call, t->plain_call, AT_RELAXED);
    record_set_place(r, 0, PLACE_EMPTY, 0, 0, 0);
    record_set_plain_origin(r, board_now(&mob->board), t->plain_origin);
    *ret = client_ref(mob, link, 0);
    t->newest = link;
    enum queue_result how = task_publish_plain(
        &t->lane, r, link, fill_make(sizeof(struct place_words) + 8, 0), PLAIN_CLASS);
    *ret_status = __builtin_expect(task_pushed(&t->lane, PLAIN_CLASS, how), 1)
                      ? MOB_OK
                      : pushed(&t->lane, r, how);
    return true;
}

/* What of a task is known when its arguments are in its record. */
struct small {
    uint64_t call;
    uint32_t at; /* in the payload: what comes next */
    uint32_t arrived;
    uint32_t opens; /* arguments that are not there yet */
    struct task_open open[MOB_ARGS_MAX];
};

/* Adds small values, and ids of this job with a use of each. Returns how many arguments it took: the next is none
 * of these, or has no room. */
CLIENT_FAST uint32_t add_small(struct mob *mob, struct lane *l, struct record *r,
                               const struct mob_arg *args, uint32_t count,
                               struct small *t)
{
    const uint32_t end =
        RECORD_PAYLOAD - sizeof(struct place_words); /* a result's room */
    uint32_t i;
    for (i = 0; i < count; i++) {
        const struct mob_arg *a = &args[i];
        void *to = r->payload + t->at;
        size_t len = a->size;
        uint64_t s;
        if (is_ref(a)) {
            if (__builtin_expect(a->ref.hi != mob->ref_hi ||
                                     t->at + sizeof(struct arg_ref) > end ||
                                     !(lane_use_spare(l, a->ref.lo, &s) ||
                                       lane_use_fast(l, a->ref.lo, &s)),
                                 0)) {
                break;
            }
            struct arg_ref *ref = to;
            at_store(&ref->link, a->ref.lo, AT_RELAXED);
            at_store(&ref->arg, i, AT_RELAXED);
            if (state_sealed(s)) {
                t->arrived |= 1u << i;
            } else {
                t->open[t->opens++] =
                    (struct task_open){&mob->board.records[link_index(a->ref.lo)], ref};
            }
            t->call |= (uint64_t)CALL_HAS_REFS << CALL_OPTIONS_SHIFT;
            t->at += (uint32_t)sizeof *ref;
            len = ARG_REF;
        } else {
            if (__builtin_expect(len > RECORD_VALUE_MAX || t->at + len + 7 > end ||
                                     (!a->data && len),
                                 0)) {
                break;
            }
            client_copy(to, a->data, len);
            t->arrived |= 1u << i;
            t->at += ((uint32_t)len + 7) & ~7u;
        }
        if (i < CALL_LENS) {
            t->call |= call_word_len(i, len);
        } else {
            r->arg_len[i - CALL_LENS] = (uint8_t)len;
        }
    }
    return i;
}

static __attribute__((noinline)) void
take_back(struct lane *l, uint64_t link, const struct mob_arg *args, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (is_ref(&args[i])) {
            lane_unuse(l, args[i].ref.lo);
        }
    }
    lane_untake(l, link);
}

/* mob_submit() of small values and ids by a driver, as submit_plain(). */
static __attribute__((noinline)) bool submit_small(struct mob *mob, mob_fn fn,
                                                   const struct mob_arg *args,
                                                   size_t args_count, mob_ref *ret,
                                                   const struct mob_site *site)
{
    struct thread *t = client_current;
    struct small small;
    uint64_t link;
    uint32_t count = (uint32_t)args_count;
    if (client_serial != mob->serial || t->plain_fn != fn || t->plain_site != site ||
        client_ill(mob) || args_count > MOB_ARGS_MAX || !ret || (count && !args) ||
        !take_room(t, PLAIN_CLASS)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (is_ref(&args[i])) {
            task_prefetch_arg(&mob->board, args[i].ref.lo);
        }
    }
    struct record *r = lane_take(&t->lane, &link);
    if (__builtin_expect(!r, 0)) {
        return false;
    }
    small.call = call_word(t->fn_id, call_counts(count, 1), RETRIES_DEFAULT);
    small.at = sizeof(struct place_words);
    small.arrived = small.opens = 0;
    record_set_plain_origin(r, board_now(&mob->board), t->plain_origin);
    uint32_t added = add_small(mob, &t->lane, r, args, count, &small);
    if (__builtin_expect(added < count, 0)) {
        take_back(&t->lane, link, args, added); /* the general form sees what is wrong */
        return false;
    }
    at_store(&r->call, small.call, AT_RELAXED);
    at_store(&r->arrived, small.arrived, AT_RELAXED);
    record_set_place(r, 0, PLACE_EMPTY, 0, 0, 0);
    *ret = client_ref(mob, link, 0);
    if (small.opens) {
        task_fill_plain(r, link, fill_make(small.at, REFS_SPARE));
        task_publish_waiting(&t->lane, r, link, small.open, small.opens);
        return true;
    }
    enum queue_result how = task_publish_plain(
        &t->lane, r, link, fill_make(small.at, REFS_SPARE), PLAIN_CLASS);
    if (!task_pushed(&t->lane, PLAIN_CLASS, how)) {
        (void)pushed(&t->lane, r, how);
    }
    return true;
}

/* The general form. It is called in a way that leaves no trace of mob_submit() on the stack, so its name
 * is what debuggers show. */
static __attribute__((noinline)) mob_status
mob_submit_any(struct mob *mob, mob_fn fn, const struct mob_arg *args, size_t count,
               const struct mob_options *options, mob_ref *ret, struct mob_site *site)
{
    struct thread *t;
    struct record *r;
    uint64_t link = 0;
    mob_status st;
    if (!options && mob && submit_small(mob, fn, args, count, ret, site)) {
        return MOB_OK;
    }
    MOB_TRY(client_thread(mob, &t));
    timeline_look(mob, t);
    uint64_t start_ns = t->lane.timeline ? clock_now_ns() : 0;
    if (t->plain_site !=
        site) { /* that may have been all that kept it from the short way */
        t->plain_number = client_site(mob, site);
        t->plain_site = site;
        t->plain_origin = record_origin_word(t->plain_number, t->fn_id);
        if (!options && count == 1 && submit_plain(mob, fn, args, ret, site, &st)) {
            return st;
        }
        if (!options && submit_small(mob, fn, args, count, ret, site)) {
            return MOB_OK;
        }
    }
    if (!ret || (count && !args)) {
        return status_fail(MOB_ERR_INVALID,
                           "mob_submit: no place for the ids, or %zu "
                           "arguments at NULL",
                           count);
    }
    if (count > MOB_ARGS_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "mob_submit: %zu arguments, and at most %d are "
                           "allowed",
                           count, MOB_ARGS_MAX);
    }
    MOB_TRY(client_health(mob));
    MOB_TRY(submit_note_fn(mob, t, fn));
    struct plan plan = {.call = {.fn = t->fn_id,
                                 .retries = RETRIES_DEFAULT,
                                 .counts = call_counts((uint32_t)count, 1)},
                        .name = t->fn_id};
    struct call *call = &plan.call;
    if (options) {
        MOB_TRY(submit_plan(mob, t, options, (uint32_t)count, &plan));
    }
    MOB_TRY(submit_look_at_args(call, args, 0));
    if (!take_room(t, call_class(call))) {
        MOB_TRY(submit_wait_for_room(mob, t, call_class(call), plan.no_wait));
    }
    MOB_TRY(client_record(mob, t, plan.no_wait ? 0 : CLOCK_NEVER, &r));
    st = submit_record(mob, t, r, &plan, args, &link);
    if (st) {
        lane_unrecord(&t->lane, r);
        return st;
    }
    for (uint32_t i = 0; i < call_nrets(call); i++) {
        ret[i] = client_ref(mob, link, i);
    }
    if (start_ns) {
        timeline_submitted(t, start_ns, link);
    }
    if (mob->inline_tasks) {
        worker_run_inline(mob, t);
    }
    return MOB_OK;
}

mob_status mob_submit_at(struct mob *mob, mob_fn fn, struct mob_args args,
                         const struct mob_options *options, mob_ref *ret,
                         struct mob_site *site)
{
    mob_status st;
    bool usual = ((uintptr_t)options | (args.count ^ 1)) == 0;
    if (__builtin_expect(usual && mob, 1) &&
        __builtin_expect(submit_plain(mob, fn, args.args, ret, site, &st), 1)) {
        return st;
    }
    return mob_submit_any(mob, fn, args.args, args.count, options, ret, site);
}

/* Of callers that do not say where they are. */
static struct mob_site somewhere;

mob_status mob_submit(struct mob *mob, mob_fn fn, struct mob_args args,
                      const struct mob_options *options, mob_ref *ret)
{
    return mob_submit_at(mob, fn, args, options, ret, &somewhere);
}

mob_status mob_submit_name_at(struct mob *mob, const char *name, struct mob_args args,
                              const struct mob_options *options, mob_ref *ret,
                              struct mob_site *site)
{
    mob_fn fn = name ? registry_fn(name) : NULL;
    if (!fn) {
        return status_fail(MOB_ERR_NO_FUNCTION,
                           "no function is registered under the name '%s'",
                           name ? name : "");
    }
    return mob_submit_at(mob, fn, args, options, ret, site);
}

mob_status mob_submit_name(struct mob *mob, const char *name, struct mob_args args,
                           const struct mob_options *options, mob_ref *ret)
{
    return mob_submit_name_at(mob, name, args, options, ret, &somewhere);
}
