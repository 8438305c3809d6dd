/* run.c - the way of a task from its claim to its seal, and the loop of a worker around it. */
#include <stdio.h>
#include <unistd.h>

#include "client.h"
#include "core/status.h"
#include "store/request.h"
#include "store/task.h"

enum {
    ROW_MAX = 64
}; /* tasks that a worker runs one after the other without a look at the queue */

/* Results that are other objects must be there when the task is sealed: whoever reads it, and tasks
 * that have it as an argument, then need not wait a second time. A task that has not started runs
 * here. */
static mob_status await_refs(struct mob_task *task)
{
    for (uint32_t i = 0; i < call_nrets(&task->call); i++) {
        struct place p = record_get_place(task->r, i);
        struct record *r;
        uint64_t s;
        if (p.kind == PLACE_REF) {
            r = lane_find(&task->thread->lane, p.size, &s);
            if (r && state_phase(s) == PHASE_CREATING && record_call(r).fn == CALL_PUT) {
                return status_fail(MOB_ERR_STATE,
                                   "result %u is an object that was not sealed", i);
            }
            MOB_TRY(client_await(task->mob, task->thread,
                                 client_ref(task->mob, p.size, 0),
                                 &(struct limit){.timeout_ns = MOB_FOREVER}, &r, &s));
        }
    }
    return MOB_OK;
}

/* ---- an attempt ------------------------------------------------------------------------------------------------------ */

static void end_attempt(struct mob_task *task, mob_status st)
{
    task_unpin(task);
    if (task->gave_ref && st == MOB_OK) {
        st = await_refs(task);
    }
    bool retry = st && call_options(&task->call) & CALL_RETRY_ON_ERROR &&
                 call_retries_left(&task->call, task_attempt(task)) &&
                 !mob_task_cancelled(task);
    if (task->children_count) {
        task_drop_held(task, retry);
    }
    if (st == MOB_OK) {
        (void)task_seal(&task->thread->lane, task->r, false);
        return;
    }
    if (retry) {
        task_drop_results(task);
        (void)task_requeue(&task->thread->lane, task->r);
        return;
    }
    if (st == MOB_ERR_CANCELLED && mob_task_cancelled(task)) {
        task->fails_as = request_reason(&task->mob->board, link_index(task->link),
                                        link_gen(task->link));
    }
    char what[sizeof task->message];
    if (task->message[0]) {
        snprintf(what, sizeof what, "%s", task->message);
    } else {
        const char *last = mob_last_error();
        snprintf(what, sizeof what, "returned %s%s%s", mob_status_name(st),
                 last[0] ? ": " : "", last);
    }
    task_seal_error(task, task->fails_as ? task->fails_as : MOB_ERR_TASK_FAILED, what);
}

static __attribute__((noinline)) void finish_any(struct mob_task *task, mob_status st)
{
    end_attempt(task, st);
    task->message[0] = '\0';
    task->fails_as = MOB_OK;
}

/* @s: the state when the task was claimed. */
static inline void finish(struct mob_task *task, uint64_t s, mob_status st)
{
    if (__builtin_expect(st == MOB_OK && !task->more, 1)) {
        (void)task_seal_childless(&task->thread->lane, task->r, task->link, s);
    } else {
        finish_any(task, st);
    }
}

static __attribute__((noinline)) void fail_for_function(struct mob_task *task)
{
    char name[MOB_NAME_MAX + 1], what[256];
    board_name_text(&task->mob->board, task->call.fn, name);
    snprintf(what, sizeof what,
             "no function '%s' is registered in the worker; functions must be registered "
             "before mob_init() in every process (MOB_REGISTER does it)",
             name);
    task_seal_error(task, MOB_ERR_NO_FUNCTION, what);
}

/* What keeps a claimed task from running: a cancel, a failed argument. True if it was sealed so. */
static __attribute__((noinline)) bool fail_before(struct mob_task *task, uint64_t s)
{
    if (s & STATE_CANCEL) {
        mob_status why = request_reason(&task->mob->board, link_index(task->link),
                                        link_gen(task->link));
        char what[64];
        snprintf(what, sizeof what, "%s before it ran", request_reason_text(why));
        task_seal_error(task, why, what);
        return true;
    }
    return task_fail_for_argument(task);
}

/* The function of a task for the first time, or every time if one is to be waited for or runs are recorded. */
static __attribute__((noinline)) mob_fn look_up(const struct mob_task *task)
{
    if (task->mob->wait_gdb) {
        debug_wait(task);
    }
    mob_fn fn = registry_look_up(task->mob, task->call.fn);
    task->thread->recorded = fn;
    return fn && task->thread->lane.timeline ? timeline_run : fn;
}

void task_init(struct mob_task *task, struct mob *mob, struct thread *t)
{
    task->mob = mob;
    task->thread = t;
    task->outer = t->task;
    task->depth = t->task ? t->task->depth + 1 : 0;
    task->children = NULL;
    task->children_count = task->children_room = 0;
    task->pinned = 0;
    task->message[0] = '\0';
    task->fails_as = MOB_OK;
    task->gang = NULL;
    task->r = NULL;
}

/* @task: with what task_init() set, and as it was then. */
CLIENT_FAST void run_task(struct mob_task *task, struct mob *mob, struct thread *t,
                          struct record *r, uint32_t index)
{
    uint64_t s = at_load(&r->state, AT_RELAXED);
    task->r = r;
    task->link = link_make(state_gen(s), index, 0);
    task->call = record_call(r);
    task->fill = record_arg_offset(r, &task->call, call_nargs(&task->call));
    task->given = 0;
    task->gave_ref = task->more = false;
    task->known = 0;
    t->task = task;
    at_store(&mob->proc->task, task->link, AT_RELAXED);
    bool usual = !(s & STATE_CANCEL) && !(call_options(&task->call) & CALL_HAS_REFS);
    if (__builtin_expect(usual, 1) || !fail_before(task, s)) {
        mob_fn fn = registry_by_id(mob, task->call.fn);
        if (__builtin_expect(fn == NULL, 0)) {
            fn = look_up(task);
        }
        if (__builtin_expect(fn != NULL, 1)) {
            status_forget(); /* an earlier failure is not why this task fails */
            finish(task, s, fn(task));
        } else {
            fail_for_function(task);
        }
    }
    t->task = task->outer;
    at_store(&mob->proc->done, at_load(&mob->proc->done, AT_RELAXED) + 1, AT_RELAXED);
}

/* A task that a waiting get runs inside another. */
static __attribute__((noinline)) void run_nested(struct mob *mob, struct thread *t,
                                                 struct record *r, uint32_t index)
{
    struct mob_task task; /* not all of it is set: `message` is long */
    uint32_t keeps = t->lane.keeps;
    t->lane.keeps =
        0; /* what it makes ready must not wait for the end of the outer one */
    task_init(&task, mob, t);
    run_task(&task, mob, t, r, index);
    t->lane.keeps = keeps;
    at_store(&mob->proc->task, t->task->link, AT_RELAXED);
}

void task_run(struct mob *mob, struct thread *t, struct record *r, uint32_t index)
{
    if (__builtin_expect(t->task != NULL, 0)) {
        run_nested(mob, t, r, index);
    } else {
        run_task(&t->top, mob, t, r, index);
    }
}

/* Says that this process runs no task, and which function it ran last, for people. */
void task_idle(const struct mob *mob, const struct thread *t)
{
    if (t->top.r) {
        at_store(&mob->proc->last_fn, t->top.call.fn + 1u, AT_RELAXED);
    }
    at_store(&mob->proc->task, LINK_NONE, AT_RELAXED);
}

/* ---- one after the other ----------------------------------------------------------------------------------- */

/* Runs a foreseen record if it became a task of this class. */
static bool run_foreseen(struct mob *mob, struct thread *t, uint32_t class,
                         struct record *r)
{
    uint64_t link;
    if (!task_claim_foreseen(&t->lane, r, class, &link)) {
        return false;
    }
    run_task(&t->top, mob, t, r, link_index(link));
    task_unhint_foreseen(&t->lane, class, link);
    return true;
}

/* A worker that always has work looks too when the daemon asks for it. */
static __attribute__((noinline, cold)) void tidy_when_asked(struct mob *mob,
                                                            struct thread *t)
{
    t->asked = at_load(&mob->proc->wake, AT_SEQ_CST);
    timeline_look(mob, t);
    client_tidy(mob, t);
}

static inline void tidy_if_asked(struct mob *mob, struct thread *t)
{
    if (__builtin_expect(at_load(&mob->proc->wake, AT_RELAXED) != t->asked, 0)) {
        tidy_when_asked(mob, t);
    }
}

/* Runs the task that the seal of the last one made ready, then the one that its own did, and so on: they
 * need no hint, and their arguments are still in this CPU's cache. Not for ever, as others in the queue
 * are older. */
static __attribute__((noinline)) void run_row(struct mob *mob, struct thread *t,
                                              uint32_t run)
{
    struct record *r;
    for (uint32_t row = 1; (r = t->lane.kept) != NULL; row++) {
        t->lane.kept = NULL;
        if (at_load(&mob->proc->run, AT_ACQUIRE) != run) {
            (void)task_unclaim(&t->lane, r);
            break;
        }
        t->lane.keeps = row < ROW_MAX ? run : 0;
        run_task(&t->top, mob, t, r, board_index(&mob->board, r));
        tidy_if_asked(mob, t);
    }
    t->lane.keeps = run;
}

/* Whether the worker is still to serve the class of @run, after what it has in hand. */
static inline bool serves(struct mob *mob, struct thread *t, uint32_t run)
{
    if (t->lane.kept) {
        run_row(mob, t, run);
    }
    return at_load(&mob->proc->run, AT_ACQUIRE) == run;
}

/* Serves one class until the daemon says otherwise. */
void worker_serve(struct mob *mob, struct thread *t, uint32_t class, uint32_t run)
{
    struct proc *self = &mob->board.procs[mob->self];
    struct queue_view *ready = &t->lane.ready[class];
    struct record *r;
    struct queue_item item;
    uint32_t streak = 0; /* tasks since it last waited */
    t->asked = at_load(&self->wake, AT_RELAXED);
    timeline_look(mob, t);
    t->lane.keeps = run;
    while (serves(mob, t, run)) {
        enum queue_result res = task_claim_hinted(&t->lane, class, &r, &item);
        if (res == QUEUE_OK) {
            if (streak != 0) {
                task_unhint(&t->lane, class, &item);
            }
            run_task(&t->top, mob, t, r, item.index);
            if (streak++ == 0) {
                /* Somebody waits for this very task: tidied up when it is done. */
                task_unhint(&t->lane, class, &item);
            }
            tidy_if_asked(mob, t);
        } else if (res == QUEUE_NONE) {
            struct queue_item empty = item; /* so that `item` can live in registers */
            struct record *next = park_or_spin(mob, t, &empty, run, streak);
            streak = next && run_foreseen(mob, t, class, next);
        } else {
            fprintf(stderr,
                    "mobula: the job's queue is corrupt; a stray write by one of its "
                    "programs is the likely cause\n");
            _exit(3);
        }
    }
    t->lane.keeps = 0;
    task_idle(mob, t);
    /* Told to stop serving: a push that relied on this worker must find another. Its mark may be there
     * still, after a foreseen task. */
    struct queue_item next;
    enum queue_result left = queue_peek(ready, &next);
    if (left == QUEUE_OK || (left == QUEUE_NONE && !queue_unpoll(ready, &next))) {
        task_wake_worker(&mob->board, class);
    }
}

void worker_run_inline(struct mob *mob, struct thread *t)
{
    struct record *r;
    struct queue_item item;
    for (uint32_t class = 0; class < CLASSES_MAX; class ++) {
        if (t->task && t->task->depth >= GET_NESTED_MAX) {
            return;
        }
        while (at_load(&mob->board.classes[class].made, AT_RELAXED) &&
               task_claim(&t->lane, class, &r, &item) == QUEUE_OK) {
            task_run(mob, t, r, item.index);
        }
    }
    if (!t->task) {
        task_idle(mob, t);
    }
}
