/* gang.c - a gang from its submit to its results: gang.h has the states. */
#include "gang.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/status.h"
#include "store/request.h"
#include "store/task.h"

static void step(struct gang *g);
static void next_turn(struct node *n);

static uint64_t now_ns(const struct job *j)
{
    return loop_now_ns(j->node->loop);
}

static void fired(struct loop_timer *timer)
{
    struct gang *g = LOOP_OWNER(timer, struct gang, timer);
    struct node *n = g->j->node;
    step(g); /* which may be its end */
    next_turn(n);
}

void gang_look_at(struct gang *g, uint64_t when_ns)
{
    loop_timer_start(g->j->node->loop, &g->timer, when_ns, fired);
}

struct gang *gang_find(const struct job *j, uint32_t id)
{
    struct gang *g = j->node->gangs;
    while (g && (g->j != j || g->id != id)) {
        g = g->next;
    }
    return g;
}

bool gang_has(const struct job *j, const struct record *r)
{
    uint32_t made = at_load(&r->made, AT_RELAXED); /* which clients can write */
    struct gang *g = made & GANG_MADE ? gang_find(j, made & ~GANG_MADE) : NULL;
    for (uint32_t i = 0; g && i < g->n; i++) {
        if (link_index(g->members[i].link) == board_index(&j->board, r)) {
            return true;
        }
    }
    return false;
}

/* ---- its seats ---------------------------------------------------------------------------------------------- */

/* A seat's record, if this daemon still keeps it. NULL: somebody wrote over the board. */
struct record *gang_seat(const struct gang *g, uint32_t i)
{
    uint64_t s;
    struct record *r = lane_find(&g->j->lane, g->members[i].seat, &s);
    return r && state_phase(s) == PHASE_TAKEN && state_holder(s) == DAEMON ? r : NULL;
}

static void unlink_gang(struct gang *g)
{
    struct gang **at = &g->j->node->gangs;
    while (*at != g) {
        at = &(*at)->next;
    }
    *at = g->next;
    g->next = NULL;
}

void gang_line_up(struct gang *g)
{
    struct gang **at = &g->j->node->gangs;
    while (*at) {
        at = &(*at)->next;
    }
    *at = g;
}

/* One that is in no line any more. */
static void dispose(struct gang *g)
{
    if (g->gate != LINK_NONE) {
        lane_drop(&g->j->lane, g->gate);
    }
    loop_timer_stop(g->j->node->loop, &g->timer);
    meet_end(g);
    free(g->why);
    free(g);
}

static void gang_free(struct gang *g)
{
    unlink_gang(g);
    gang_leave_room(g);
    dispose(g);
}

static void drop_members(struct gang *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        for (uint32_t k = 0; k < MOB_RETURNS_MAX && g->members[i].link != LINK_NONE;
             k++) {
            lane_drop(&g->j->lane, g->members[i].link | k);
        }
        g->members[i].link = LINK_NONE;
    }
}

/* All seats fail with one status and text: each names the member that was the cause. */
static void fail(struct gang *g)
{
    char text[FAILURE_TEXT_MAX], name[MOB_NAME_MAX + 1];
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = gang_seat(g, i);
        if (!r) {
            continue;
        }
        board_name_text(&g->j->board, r->name, name);
        snprintf(text, sizeof text, "task %s (attempt %u), rank %u of a gang of %u: %s",
                 name, state_attempt(at_load(&r->state, AT_RELAXED)) + 1, i, g->n,
                 g->why ? g->why : mob_status_text(g->cause));
        g->j->failed_tasks++;
        away_fail_task(g->j, r, g->cause, text);
    }
    gang_free(g);
}

void gang_fail(struct gang *g, mob_status st, const char *why)
{
    free(g->why);
    g->cause = st;
    g->why = strdup(why);
    fail(g);
}

/* A seat that nobody cancelled itself fails as the one that somebody did. */
static void fail_cancelled(struct gang *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = gang_seat(g, i);
        if (r) {
            away_fail_cancelled(g->j, r);
        }
    }
    gang_free(g);
}

/* The members' results become the seats': first all places, then all seals, so that who sees one result finds
 * the others too, as far as that can be. */
static void give_results(struct gang *g)
{
    struct lane *l = &g->j->lane;
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = gang_seat(g, i);
        struct call call = r ? record_call(r) : (struct call){0};
        for (uint32_t k = 0; r && k < call_nrets(&call); k++) {
            uint64_t link = g->members[i].link | k;
            if (lane_use(l, link) == MOB_OK) { /* our handle keeps it */
                record_set_place(r, k, PLACE_REF, 0, 0, link);
            }
        }
    }
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = gang_seat(g, i);
        if (r) {
            (void)task_seal(l, r, false);
        }
    }
    drop_members(g);
    gang_free(g);
}

/* ---- its turn --------------------------------------------------------------------------------------------------- */

void gang_rest(struct gang *g, uint64_t for_ns)
{
    g->state = GANG_WAITS;
    g->rests_ns = now_ns(g->j) + for_ns;
    unlink_gang(g);
    gang_line_up(g);
    gang_look_at(g, g->rests_ns);
}

void gang_met(struct gang *g)
{
    if (g->state == GANG_GATHERS) {
        g->state = GANG_RUNS;
        next_turn(g->j->node);
    }
}

/* All in the line that can ask for room, in their order. */
static void next_turn(struct node *n)
{
    for (struct gang *g = n->gangs, *next; g; g = next) {
        /* None of these is gone: what is disposed of was unlinked. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        next = g->next;
        if (g->state == GANG_WAITS && now_ns(g->j) >= g->rests_ns && !g->unmet_ns &&
            !g->j->leaving && !g->j->failed && gang_ready(g)) {
            gang_ask(g);
        }
    }
}

/* ---- an attempt ends -------------------------------------------------------------------------------------------- */

/* What a record says that failed. A death counts before what it made others say. */
static void note_failure(struct gang *g, uint32_t i, uint64_t link)
{
    struct record *r;
    struct place p;
    char text[FAILURE_TEXT_MAX - 512] = "its record is gone";
    mob_status st = MOB_ERR_CORRUPT;
    if (grant_resolve(g->j, &link, &r, &p) == MOB_ERR_TASK_FAILED) {
        st = grant_failure(g->j, r, &p, text, sizeof text);
    }
    if (st == MOB_ERR_CANCELLED && (g->cancelled || g->ending)) {
        return; /* by us */
    }
    bool death = st == MOB_ERR_TASK_DIED;
    if (g->cause && (!death || g->died)) {
        return;
    }
    size_t size = strlen(text) + 80;
    free(g->why);
    g->why = malloc(size);
    if (g->why) {
        snprintf(g->why, size, "the one of rank %u failed, and so all do: %s", i, text);
    }
    g->cause = st;
    g->died |= death;
}

/* Members that are not closed are asked to end; what they submitted too, if the request says so. */
static void end_members(struct gang *g, uint32_t request)
{
    struct job *j = g->j;
    for (uint32_t i = 0; i < g->n; i++) {
        uint64_t link = g->members[i].link, s;
        struct record *r = lane_find(&j->lane, link, &s);
        if (r && state_phase(s) >= PHASE_CREATING && state_phase(s) <= PHASE_DONE) {
            (void)task_cancel_as(&j->lane, r, link_gen(link), request);
        }
    }
}

static void force_end(struct gang *g)
{
    g->ending = true;
    uint32_t tick = request_tick_at(&g->j->board, now_ns(g->j) + MOB_GRACE_NS);
    end_members(g, request_make(REQUEST_END, tick) | REQUEST_RECURSIVE);
}

/* Nobody waits for a member that will not come. After a death the others are ended; after an error they have a
 * while to end by themselves, and to show whether it was a death that was behind it. */
static void break_up(struct gang *g)
{
    bool first = g->state != GANG_BREAKS;
    if (first) {
        g->state = GANG_BREAKS;
        loop_timer_stop(g->j->node->loop, &g->timer);
        meet_break(g);
    }
    if (g->cancelled || g->ending) {
        return;
    }
    if (g->died) {
        force_end(g);
    } else if (first) {
        gang_look_at(g, now_ns(g->j) + MOB_GRACE_NS);
    }
}

static bool runs_again(struct gang *g)
{
    struct record *r = gang_seat(g, 0);
    struct call call = r ? record_call(r) : (struct call){0};
    bool may = g->died || (g->cause == MOB_ERR_TASK_FAILED &&
                           call_options(&call) & CALL_RETRY_ON_ERROR);
    return r && may && !g->j->leaving &&
           call_retries_left(&call, state_attempt(at_load(&r->state, AT_RELAXED)));
}

/* All members of an attempt that broke are sealed. */
static void end_attempt(struct gang *g)
{
    drop_members(g);
    if (g->cancelled) {
        fail_cancelled(g);
    } else if (runs_again(g)) {
        log_info("job %u: gang %u of %u runs again: %s", g->j->number, g->id, g->n,
                 g->why ? g->why : mob_status_text(g->cause));
        g->cause = MOB_OK;
        for (uint32_t i = 0; i < g->n; i++) {
            struct record *r = gang_seat(g, i);
            g->j->requeued += r && task_keep_on(&g->j->lane, r);
        }
        gang_rest(g, 0);
    } else {
        fail(g);
    }
}

/* ---- what changes ------------------------------------------------------------------------------------------------ */

/* A seat was cancelled, or asked to end by a time: the members are asked the same. */
static void look_for_cancel(struct gang *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = gang_seat(g, i);
        if (!r || !(at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL)) {
            continue;
        }
        uint32_t asked = request_of(&g->j->board, link_index(g->members[i].seat),
                                    link_gen(g->members[i].seat));
        enum request_kind kind = request_kind(asked);
        if (kind == REQUEST_START) { /* cancelled before its deadline */
            asked = asked & REQUEST_RECURSIVE;
        }
        if (g->cancelled && asked == g->asked) {
            continue;
        }
        g->cancelled = true;
        g->asked = asked;
        end_members(g, asked);
    }
}

/* Whether there are n slots at all. False: not now, and its time is not over; or it failed. */
static bool can_ever_gather(struct gang *g)
{
    struct job *j = g->j;
    char why[128];
    if (demand_times(j, &j->demand[g->seats]) < g->n) {
        uint64_t now = now_ns(j), grace = j->node->config.unmet_grace_ns;
        g->unmet_ns = g->unmet_ns ? g->unmet_ns : now;
        if (now >= g->unmet_ns + grace) {
            snprintf(why, sizeof why,
                     "all nodes together do not have what %u such tasks ask for at once",
                     g->n);
            gang_fail(g, MOB_ERR_DEMAND, why);
        } else {
            gang_look_at(g, now + HEARTBEAT_NS);
        }
        return false;
    }
    g->unmet_ns = 0;
    return true;
}

/* An argument failed, and so did what waits for it. */
static bool gate_failed(struct gang *g)
{
    uint64_t s = 0;
    struct record *r = lane_find(&g->j->lane, g->gate, &s);
    if (g->ready || g->gate == LINK_NONE ||
        (r && !(state_sealed(s) && s & STATE_ERROR))) {
        return false;
    }
    note_failure(g, 0, g->gate);
    return true;
}

/* One that has no members yet. */
static void step_before(struct gang *g)
{
    if (g->cancelled) {
        fail_cancelled(g);
    } else if (gate_failed(g)) {
        fail(g);
    } else if (can_ever_gather(g) && g->state == GANG_ROOM) {
        gang_look_at_room(g);
    }
}

/* Looks at what its seats and members are at, and does what follows. It may be its end. */
static void step(struct gang *g)
{
    uint32_t sealed = 0, failed = 0;
    g->look = false;
    look_for_cancel(g);
    if (g->state == GANG_WAITS || g->state == GANG_ROOM) {
        step_before(g);
        return;
    }
    for (uint32_t i = 0; i < g->n; i++) {
        uint64_t s = 0;
        struct record *r = lane_find(&g->j->lane, g->members[i].link, &s);
        bool gone = !r || state_gone(s);
        sealed += gone || state_sealed(s);
        if (gone || (state_sealed(s) && s & STATE_ERROR)) {
            failed++;
            note_failure(g, i, g->members[i].link);
        }
    }
    bool broken = g->cause || g->cancelled;
    if (sealed == g->n && failed == 0) {
        give_results(g); /* also of one that was cancelled too late */
    } else if (sealed == g->n && (broken || g->state == GANG_BREAKS)) {
        end_attempt(g);
    } else if (broken) {
        break_up(g);
        if (g->cause && !g->cancelled && !g->ending && !g->timer.active) {
            force_end(g); /* they had their time */
        }
    }
}

void gang_sealed(struct job *j, const struct record *r)
{
    uint32_t made = at_load(&r->made, AT_RELAXED);
    struct gang *g = made & GANG_MADE ? gang_find(j, made & ~GANG_MADE) : NULL;
    if (g) {
        g->look = true;
    }
}

void gang_look(struct job *j, bool all)
{
    bool any = false;
    for (struct gang *g = j->node->gangs, *next; g; g = next) {
        next = g->next;
        if (g->j == j && (g->look || all)) {
            any = true;
            step(g);
        }
    }
    if (any) {
        next_turn(j->node);
    }
}

void gang_cancels(struct job *j)
{
    gang_look(j, true);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

void gang_end_job(struct job *j)
{
    struct gang **at = &j->node->gangs;
    while (*at) {
        struct gang *g = *at;
        if (g->j == j) {
            *at = g->next;
            if (j->ended) {
                gang_leave_room(g);
            } else {
                gang_forget_room(g);
            }
            dispose(g);
        } else {
            at = &g->next;
        }
    }
    next_turn(j->node);
}
