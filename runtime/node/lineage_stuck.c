/* lineage_stuck.c - what makes a result again finds no room, because tasks that wait for that result have it.
 *
 * A worker that waits inside a task lends its CPUs. Memory, GPUs and what is named are in use still, and cannot be
 * lent; nor is there a process beyond those that a job may have, or a CPU when too many wait (PLAN_LENT_MAX). So the
 * tasks that wait could keep all that the one which they wait for needs, for ever. When that has lasted:
 *
 *   QUEUED --with what they have it would run--> those that may run more than once make room, and are
 *     |                                          parked until it is over
 *     |--with what others of them have, too----> it fails by name, unless another node is large enough
 *     \--with what is kept by workers of whom nobody knows what they wait for--> the driver is told, once
 *
 * A task makes room as one does whose worker dies: it runs again, at no cost to its retries. PARKED it is TAKEN by the
 * daemon, since its class may come before the other's: it would take at once what it has just given.
 *
 * What a worker waits for is a word that it wrote (proc.awaits), and what that one waits for follows from records. All
 * of that is input: the walk is bounded, and ends by force only workers of the very job. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/status.h"
#include "lineage.h"
#include "store/task.h"

enum { WALK_STEPS = 512, WALK_DEPTH = 64 };

/* What is known of a worker that waits inside a task, the best first. */
enum wait_kind { WAIT_YIELDS, WAIT_STAYS, WAIT_UNKNOWN, WAIT_KINDS };

/* ---- who waits for it ------------------------------------------------------------------------------ */

struct walk {
    struct job *j;
    const struct lineage *to;
    uint32_t steps;
};

static bool leads(struct walk *w, uint64_t link, uint32_t depth);

static bool waits_inside(const struct job *j, uint32_t proc)
{
    const struct member *m = proc < PROCS_MAX ? &j->members[proc] : NULL;
    return m && m->used && !m->dead && (m->slot == SLOT_LENT || m->slot == SLOT_BUSY) &&
           at_load(&j->board.procs[proc].state, AT_ACQUIRE) == PROC_LENT;
}

/* An argument that is waited for. */
static bool arguments_lead(struct walk *w, struct record *r, uint32_t depth)
{
    struct call call = record_call(r);
    for (uint32_t i = 0; i < call_nargs(&call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref =
            record_arg_len(r, &call, i) == ARG_REF ? record_arg_ref(r, &call, i) : NULL;
        if (ref && leads(w, at_load(&ref->link, AT_RELAXED), depth)) {
            return true;
        }
    }
    return false;
}

/* Who waits for @link waits for what is made again. */
static bool leads(struct walk *w, uint64_t link, uint32_t depth)
{
    struct job *j = w->j;
    uint64_t state = 0, repair = w->to->repair;
    if (link == LINK_NONE || depth == WALK_DEPTH || w->steps++ == WALK_STEPS) {
        return false;
    }
    if ((link & ~0xfull) == (repair & ~0xfull)) {
        return true;
    }
    struct record *r = lane_find(&j->lane, link, &state);
    uint32_t holder = state_holder(state);
    if (r && state_sealed_good(state)) {
        struct place p = record_get_place(r, link_ret(link));
        const struct lineage *e = p.kind == PLACE_AWAY ? lineage_of(j, link, &p) : NULL;
        return e && (e == w->to || leads(w, e->repair, depth + 1));
    }
    if (!r || state_sealed(state)) {
        return false;
    }
    switch (state_phase(state)) {
    case PHASE_WAITING:
        return arguments_lead(w, r, depth + 1);
    case PHASE_TAKEN:
        return holder == DAEMON /* on another node, where it waits for its arguments */
                   ? arguments_lead(w, r, depth + 1)
                   : waits_inside(j, holder) &&
                         leads(w, at_load(&j->board.procs[holder].awaits, AT_RELAXED),
                               depth + 1);
    default:
        return false;
    }
}

/* ---- what they have ----------------------------------------------------------------------------------- */

/* Calls @look for each task that a worker runs, until it says false. Returns what it said last. */
static bool each_task(struct job *j, const struct member *m,
                      bool (*look)(struct job *j, struct lineage *e, uint64_t link,
                                   const struct call *call),
                      struct lineage *e)
{
    bool on = true;
    for (uint32_t i = 0; on && i < board_committed(&j->board); i++) {
        const struct record *r = &j->board.records[i];
        uint64_t s = at_load(&r->state, AT_ACQUIRE);
        struct call call = record_call(r);
        if (state_phase(s) == PHASE_TAKEN && state_holder(s) == m->proc &&
            call.fn != CALL_PUT) {
            on = look(j, e, link_make(state_gen(s), i, 0), &call);
        }
    }
    return on;
}

/* A gang's member begins again with all of its gang, which costs more than one attempt. */
static bool may_yield(struct job *j, struct lineage *e, uint64_t link,
                      const struct call *call)
{
    (void)e;
    (void)link;
    return call->retries > 0 && !j->demand[call_class(call) % CLASSES_MAX].together;
}

/* WAIT_KINDS: it waits for something else. */
static enum wait_kind kind_of(struct job *j, const struct member *m, struct lineage *e)
{
    uint64_t awaits = at_load(&j->board.procs[m->proc].awaits, AT_RELAXED);
    struct walk w = {j, e, 0};
    if (awaits == LINK_NONE) {
        return WAIT_UNKNOWN;
    }
    if (!leads(&w, awaits, 0)) {
        return WAIT_KINDS;
    }
    if (j->lineage.parked_count == LINEAGE_PARKED_MAX) {
        return WAIT_UNKNOWN; /* later */
    }
    return each_task(j, m, may_yield, e) ? WAIT_YIELDS : WAIT_STAYS;
}

/* What would be free without that worker. It lends its CPUs, or has all of it. */
static struct resources kept_by(const struct job *j, const struct member *m)
{
    struct resources kept = j->demand[m->class].need;
    kept.amount[RESOURCE_CPU] = m->slot == SLOT_BUSY ? kept.amount[RESOURCE_CPU] : 0;
    return kept;
}

/* Some of that is what tasks of the class ask for. */
static bool helps(const struct job *j, const struct member *m, const struct demand *asks)
{
    struct resources kept = kept_by(j, m);
    bool any = false;
    for (uint32_t k = 0; k < resources_kinds(&asks->need); k++) {
        any |= asks->need.amount[k] && resources_like(&kept, &asks->need, k);
    }
    return any && j->demand[m->class].group == asks->group;
}

static struct plan_waiting all_that_wait(const struct job *j)
{
    struct resources none = resources_zero(&j->node->capacity);
    struct plan_waiting w = {.busy = none, .given = none};
    for (uint32_t i = 2; i < j->members_top; i++) {
        if (waits_inside(j, i)) {
            w.workers++;
            resources_add(&w.busy, &j->demand[j->members[i].class].need,
                          j->members[i].slot == SLOT_BUSY);
        }
    }
    return w;
}

/* ---- what is done about it ------------------------------------------------------------------------------- */

static const char *task_name(const struct job *j, uint64_t link, char *buf)
{
    const struct record *r = board_record(&j->board, link_index(link));
    board_name_text(&j->board, r ? r->name : 0, buf);
    return buf;
}

/* "task a, which makes again what was lost, needs gpu=1, and task b, which waits for it, keeps that" */
static void say_both(struct job *j, const struct lineage *e, const struct member *m,
                     enum wait_kind kind, char *text, size_t size)
{
    char maker[MOB_NAME_MAX + 1], waiter[MOB_NAME_MAX + 1], need[RESOURCES_TEXT_MAX];
    struct call call = record_call(board_record(&j->board, link_index(e->repair)));
    const struct demand *d = &j->demand[call_class(&call) % CLASSES_MAX];
    uint64_t by = at_load(&j->board.procs[m->proc].task, AT_RELAXED);
    snprintf(text, size,
             "task %s, which makes a result again that was lost with its node, needs %s, "
             "and task %s (pid %d), which waits %s, keeps it from that%s",
             task_name(j, e->repair, maker), resources_text(&d->need, need, sizeof need),
             task_name(j, by, waiter), (int)m->pid,
             kind == WAIT_UNKNOWN ? "inside a get or wait" : "for that result",
             kind == WAIT_STAYS ? " and may not be run a second time" : "");
}

static bool park_one(struct job *j, struct lineage *e, uint64_t link,
                     const struct call *call)
{
    struct lineage_job *l = &j->lineage;
    (void)call;
    if (l->parked_count < LINEAGE_PARKED_MAX) {
        l->parked[l->parked_count++] = (struct lineage_parked){
            .link = link, .number = e->number, .repair = e->repair};
    }
    return true;
}

/* Ends the workers of @who, whose tasks wait until what @e needs is over. */
static void make_room(struct job *j, struct lineage *e, struct member *const *who,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[FAILURE_TEXT_MAX];
        say_both(j, e, who[i], WAIT_YIELDS, text, sizeof text);
        log_info("job %u: %s: it makes room, and runs again", j->number, text);
        (void)each_task(j, who[i], park_one, e);
        who[i]->ordered = true;
        kill(who[i]->pid, SIGKILL);
    }
}

static void tell(struct job *j, struct lineage *e, const struct member *m,
                 enum wait_kind kind)
{
    char why[FAILURE_TEXT_MAX], text[FAILURE_TEXT_MAX + 16];
    if (e->told) {
        return;
    }
    e->told = true;
    say_both(j, e, m, kind, why, sizeof why);
    int size = snprintf(text, sizeof text, "mobula: %s\n", why);
    log_warn("job %u: %s", j->number, why);
    output_add(&j->err, text,
               (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

static void give_up(struct job *j, struct lineage *e, const struct member *m)
{
    struct record *r = board_record(&j->board, link_index(e->repair));
    char text[FAILURE_TEXT_MAX];
    say_both(j, e, m, WAIT_STAYS, text, sizeof text);
    if (task_claim_one(&j->lane, r, link_gen(e->repair))) {
        away_fail_task(j, r, MOB_ERR_LOST, text);
        lineage_soon(j, 0);
    }
}

/* The task that makes @e again has waited for a while: finds who is to make room, the best first. */
static void look_for_room(struct job *j, struct lineage *e)
{
    struct member *who[PROCS_MAX];
    uint32_t count = 0;
    struct call call = record_call(board_record(&j->board, link_index(e->repair)));
    const struct demand *asks = &j->demand[call_class(&call)];
    struct plan_waiting waiting = all_that_wait(j);
    struct plan_node *plan = j->node->plan;
    uint32_t cls = j->class_name[call_class(&call)];
    enum plan_why lacks = plan_node_room_for(plan, job_plan_id(j), cls, &waiting);
    for (uint32_t kind = WAIT_YIELDS; kind < WAIT_KINDS && lacks; kind++) {
        for (uint32_t i = 2; i < j->members_top && lacks; i++) {
            struct member *m = &j->members[i];
            if (lacks == PLAN_WHY_LARGE || !waits_inside(j, i) ||
                !(lacks == PLAN_WHY_PROCS || helps(j, m, asks)) ||
                kind_of(j, m, e) != kind) {
                continue;
            }
            struct resources kept = kept_by(j, m);
            resources_add(&waiting.given, &kept, 1);
            waiting.workers--;
            who[count++] = m;
            lacks = plan_node_room_for(plan, job_plan_id(j), cls, &waiting);
        }
        if (lacks || count == 0) {
            continue;
        }
        if (kind == WAIT_YIELDS) {
            make_room(j, e, who, count);
        } else if (kind == WAIT_STAYS && !demand_elsewhere(j->node, asks)) {
            give_up(j, e, who[count - 1]);
        } else {
            tell(j, e, who[count - 1], kind);
        }
    }
}

void lineage_stuck(struct job *j, struct lineage *e, uint64_t state)
{
    uint64_t now = loop_now_ns(j->node->loop);
    struct call call = record_call(board_record(&j->board, link_index(e->repair)));
    uint32_t c = call_class(&call);
    lineage_soon(j, LINEAGE_STUCK_NS);
    if (state_phase(state) != PHASE_QUEUED || j->leaving || !job_has_class(j, c) ||
        !demand_allows(&j->demand[c], job_plan_id(j).node, j->node->labels)) {
        e->queued_ns = 0;
        return;
    }
    e->queued_ns = e->queued_ns ? e->queued_ns : now;
    if (now - e->queued_ns >= LINEAGE_STUCK_NS) {
        e->queued_ns = now;
        job_refresh(j); /* the planner is to know who waits by now */
        look_for_room(j, e);
    }
}

/* ---- parked ---------------------------------------------------------------------------------------------- */

static bool is_over(const struct job *j, const struct lineage_parked *p)
{
    const struct lineage *e =
        p->number < j->lineage.room ? j->lineage.entries[p->number] : NULL;
    return !e || e->repair != p->repair;
}

/* Takes one that its dead worker left. False: it need not be remembered any more. */
static bool take(struct job *j, struct lineage_parked *p)
{
    uint64_t state;
    struct record *r = lane_find(&j->lane, p->link, &state);
    if (!r || state_sealed(state)) {
        return false;
    }
    if (state_phase(state) == PHASE_QUEUED) {
        p->taken = task_claim_one(&j->lane, r, link_gen(p->link));
        return p->taken;
    }
    /* Its worker is not swept yet; or another one was faster. */
    return state_phase(state) == PHASE_TAKEN && state_holder(state) < PROCS_MAX &&
           j->members[state_holder(state)].ordered;
}

void lineage_park(struct job *j)
{
    struct lineage_job *l = &j->lineage;
    for (uint32_t i = l->parked_count; i-- > 0;) {
        struct lineage_parked *p = &l->parked[i];
        struct record *r = board_record(&j->board, link_index(p->link));
        bool keep = p->taken || take(j, p), over = is_over(j, p);
        bool cancelled = p->taken && at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL;
        if (keep && !over && !cancelled) {
            continue;
        }
        if (cancelled) {
            away_fail_cancelled(j, r);
        } else if (p->taken) {
            (void)task_unclaim(&j->lane, r);
        }
        l->parked[i] = l->parked[--l->parked_count];
    }
}
