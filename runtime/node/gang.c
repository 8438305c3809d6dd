/* gang.c - a gang from its submit to its results: gang.h has the states. */
#include "gang.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/gang.h"
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

static void look_at(struct gang *g, uint64_t when_ns)
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
static struct record *seat_of(const struct gang *g, uint32_t i)
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

static void to_the_end_of_the_line(struct gang *g)
{
    struct gang **at = &g->j->node->gangs;
    while (*at) {
        at = &(*at)->next;
    }
    *at = g;
}

static void gang_free(struct gang *g)
{
    unlink_gang(g);
    loop_timer_stop(g->j->node->loop, &g->timer);
    meet_end(g);
    free(g->why);
    free(g);
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
        struct record *r = seat_of(g, i);
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

static void fail_with(struct gang *g, mob_status st, const char *why)
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
        struct record *r = seat_of(g, i);
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
        struct record *r = seat_of(g, i);
        struct call call = r ? record_call(r) : (struct call){0};
        for (uint32_t k = 0; r && k < call_nrets(&call); k++) {
            uint64_t link = g->members[i].link | k;
            if (lane_use(l, link) == MOB_OK) { /* our handle keeps it */
                record_set_place(r, k, PLACE_REF, 0, 0, link);
            }
        }
    }
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = seat_of(g, i);
        if (r) {
            (void)task_seal(l, r, false);
        }
    }
    drop_members(g);
    gang_free(g);
}

/* ---- an attempt begins ---------------------------------------------------------------------------------------- */

/* Copies a seat's arguments into a member's record, and adds the ticket. False: they make no sense. */
static bool fill_member(struct record *seat, struct record *r,
                        const struct gang_ticket *ticket)
{
    struct call call = record_call(seat);
    uint32_t nargs = call_nargs(&call);
    size_t ticket_bytes = GANG_TICKET_MIN + strlen(ticket->fn) + 1;
    for (uint32_t a = 0; a < nargs && a < MOB_ARGS_MAX; a++) {
        uint32_t at = record_arg_offset(seat, &call, a),
                 len = record_arg_len(seat, &call, a);
        if (len == ARG_REF) {
            struct arg_ref *ref = record_arg_ref(seat, &call, a);
            if (!ref || !task_add_ref(r, a, at_load(&ref->link, AT_RELAXED))) {
                return false;
            }
            continue;
        }
        void *to = at + len <= RECORD_PAYLOAD ? task_add_value(r, a, len) : NULL;
        if (!to) {
            return false;
        }
        memcpy(to, seat->payload + at, len);
    }
    void *to = task_add_value(r, nargs, ticket_bytes);
    if (to) {
        memcpy(to, ticket, ticket_bytes);
    }
    return to != NULL;
}

/* A member's record, filled, of a seat. @r: a FREE one. */
static bool make_member(struct gang *g, uint32_t i, struct record *r)
{
    struct job *j = g->j;
    struct record *seat = seat_of(g, i);
    struct call of = seat ? record_call(seat) : (struct call){0};
    struct gang_ticket ticket = {
        .home = j->node->id, .gang = g->id, .turn = g->turn, .rank = i, .size = g->n};
    uint32_t options = CALL_FOREIGN | (call_options(&of) & CALL_HAS_REFS);
    struct call call = {.class_options = (uint8_t)(call_class(&of) | options << 4),
                        .counts = call_counts(call_nargs(&of) + 1, call_nrets(&of))};
    if (!seat || call_nargs(&of) >= MOB_ARGS_MAX ||
        board_name(&j->board, DAEMON, GANG_TASK, &call.fn) != MOB_OK) {
        return false;
    }
    board_name_text(&j->board, of.fn, ticket.fn);
    task_begin(&j->lane, r, &call, g->members[i].seat);
    r->parent_attempt = (uint8_t)state_attempt(at_load(&seat->state, AT_RELAXED));
    r->name = seat->name;
    record_set_origin(r, g->id | GANG_MADE, record_site(seat));
    return fill_member(seat, r, &ticket);
}

/* As many FREE records as it has members. False: there are not so many now. */
static bool take_records(struct gang *g, struct record *records[])
{
    for (uint32_t i = 0; i < g->n; i++) {
        mob_status st = lane_record(&g->j->lane, &records[i]);
        if (st == MOB_ERR_FULL && grant_records(g->j) == MOB_OK) {
            st = lane_record(&g->j->lane, &records[i]);
        }
        if (st) {
            while (i > 0) {
                lane_unrecord(&g->j->lane, records[--i]);
            }
            return false;
        }
    }
    return true;
}

static void rest(struct gang *g, uint64_t for_ns)
{
    g->state = GANG_WAITS;
    g->rests_ns = now_ns(g->j) + for_ns;
    unlink_gang(g);
    to_the_end_of_the_line(g);
    look_at(g, g->rests_ns);
}

/* Where gangs of other nodes may hold what it lacks, it does not gather for ever. */
static void set_time_to_gather(struct gang *g)
{
    if (g->j->node->cluster) {
        uint64_t most = GANG_GATHER_NS << (g->vain < 4 ? g->vain : 4);
        look_at(g,
                now_ns(g->j) + (most < GANG_GATHER_MAX_NS ? most : GANG_GATHER_MAX_NS));
    }
}

static void gather(struct gang *g)
{
    struct job *j = g->j;
    struct record *records[MOB_GANG_MAX];
    bool good = true;
    if (!take_records(g, records)) {
        rest(g, GANG_REST_NS);
        return;
    }
    g->state = GANG_GATHERS;
    g->turn++;
    g->meeting.round = g->meeting.here = 0;
    g->died = g->late = g->ending = false;
    for (uint32_t i = 0; i < g->n; i++) {
        g->members[i].link = LINK_NONE;
        g->members[i].from = NULL;
        g->members[i].here = false;
        good = good && make_member(g, i, records[i]);
    }
    if (!good) {
        for (uint32_t i = 0; i < g->n; i++) {
            lane_unrecord(&j->lane, records[i]);
        }
        fail_with(g, MOB_ERR_CORRUPT, "its record makes no sense");
        return;
    }
    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t attempt = records[i]->parent_attempt;
        g->members[i].link =
            link_make(lane_gen(records[i]), board_index(&j->board, records[i]), 0);
        uint64_t link;
        task_add_child(&j->board, g->members[i].seat, attempt);
        if (task_publish(&j->lane, records[i], &link) != MOB_OK) { /* a seat keeps them */
            task_remove_child(&j->board, g->members[i].seat, attempt);
            lane_unrecord(&j->lane, records[i]);
        }
    }
    set_time_to_gather(g);
    log_debug("job %u: gang %u of %u gathers (turn %u)", j->number, g->id, g->n, g->turn);
    job_refresh(j);
}

void gang_met(struct gang *g)
{
    if (g->state == GANG_GATHERS) {
        g->state = GANG_RUNS;
        g->vain = 0;
        loop_timer_stop(g->j->node->loop, &g->timer);
        next_turn(g->j->node);
    }
}

/* The first in the line that can have its turn, while no other one gathers. */
static void next_turn(struct node *n)
{
    struct gang *next = NULL;
    for (struct gang *g = n->gangs; g; g = g->next) {
        if (g->state == GANG_GATHERS || (g->state == GANG_BREAKS && g->late)) {
            return;
        }
        bool can = g->state == GANG_WAITS && now_ns(g->j) >= g->rests_ns &&
                   !g->unmet_ns && !g->j->leaving && !g->j->failed;
        next = next || !can ? next : g;
    }
    if (next) {
        gather(next);
    }
}

/* ---- an attempt ends -------------------------------------------------------------------------------------------- */

/* What a member's record says that failed. A death counts before what it made others say. */
static void note_failure(struct gang *g, uint32_t i)
{
    uint64_t link = g->members[i].link;
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
    g->culprit = i;
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
    if (g->died || g->late) {
        force_end(g);
    } else if (first) {
        look_at(g, now_ns(g->j) + MOB_GRACE_NS);
    }
}

static bool runs_again(struct gang *g)
{
    struct record *r = seat_of(g, 0);
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
    } else if (g->late && !g->cause) {
        uint64_t spread = (g->id * 2654435761u + g->turn * 40503u) %
                          16; /* so that two do not meet again */
        g->vain++;
        g->late = false;
        rest(g, GANG_REST_NS * (1 + spread));
    } else if (runs_again(g)) {
        log_info("job %u: gang %u of %u runs again: %s", g->j->number, g->id, g->n,
                 g->why ? g->why : mob_status_text(g->cause));
        g->cause = MOB_OK;
        for (uint32_t i = 0; i < g->n; i++) {
            struct record *r = seat_of(g, i);
            g->j->requeued += r && task_keep_on(&g->j->lane, r);
        }
        rest(g, 0);
    } else {
        fail(g);
    }
}

/* ---- what changes ------------------------------------------------------------------------------------------------ */

/* A seat was cancelled, or asked to end by a time: the members are asked the same. */
static void look_for_cancel(struct gang *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = seat_of(g, i);
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
    struct record *r = seat_of(g, 0);
    struct call call = r ? record_call(r) : (struct call){0};
    uint32_t cls = call_class(&call);
    char why[128];
    if (r && cls < j->classes && demand_times(j->node, &j->demand[cls]) < g->n) {
        uint64_t now = now_ns(j), grace = j->node->config.unmet_grace_ns;
        g->unmet_ns = g->unmet_ns ? g->unmet_ns : now;
        if (now >= g->unmet_ns + grace) {
            snprintf(why, sizeof why,
                     "all nodes together do not have what %u such tasks ask for at once",
                     g->n);
            fail_with(g, MOB_ERR_DEMAND, why);
        } else {
            look_at(g, now + HEARTBEAT_NS);
        }
        return false;
    }
    g->unmet_ns = 0;
    return true;
}

/* Looks at what its seats and members are at, and does what follows. It may be its end. */
static void step(struct gang *g)
{
    uint32_t sealed = 0, failed = 0;
    g->look = false;
    look_for_cancel(g);
    if (g->state == GANG_WAITS) {
        if (g->cancelled) {
            fail_cancelled(g);
        } else {
            (void)can_ever_gather(g);
        }
        return;
    }
    for (uint32_t i = 0; i < g->n; i++) {
        uint64_t s = 0;
        struct record *r = lane_find(&g->j->lane, g->members[i].link, &s);
        bool gone = !r || state_gone(s);
        sealed += gone || state_sealed(s);
        if (gone || (state_sealed(s) && s & STATE_ERROR)) {
            failed++;
            note_failure(g, i);
        }
    }
    g->late |=
        g->state == GANG_GATHERS && g->j->node->cluster && !g->timer.active && !g->cause;
    bool broken = g->cause || g->cancelled || g->late;
    if (sealed == g->n && failed == 0 && g->state != GANG_GATHERS) {
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

/* ---- beginning and end ---------------------------------------------------------------------------------------------- */

static uint32_t gangs_of(const struct node *n)
{
    uint32_t count = 0;
    for (const struct gang *g = n->gangs; g; g = g->next) {
        count++;
    }
    return count;
}

static mob_status check_seats(struct job *j, struct gang *g, uint32_t from,
                              const struct local_msg *m)
{
    for (uint32_t i = 0; i < g->n; i++) {
        uint64_t s;
        memcpy(&g->members[i].seat, m->text + i * sizeof(uint64_t), sizeof(uint64_t));
        struct record *r = lane_find(&j->lane, g->members[i].seat, &s);
        struct call call = r ? record_call(r) : (struct call){0};
        if (!r || link_ret(g->members[i].seat) != 0 || state_phase(s) != PHASE_CREATING ||
            state_holder(s) != from || call.fn >= BOARD_NAMES_MAX ||
            call_class(&call) >= j->classes) {
            return status_fail(MOB_ERR_PROTOCOL, "a gang's member %u is no task", i);
        }
    }
    return MOB_OK;
}

/* Where no other node can join, what will never have n slots is refused. */
static mob_status check_demand(const struct gang *g)
{
    const struct node *n = g->j->node;
    struct record *r = &g->j->board.records[link_index(g->members[0].seat)];
    struct call call = record_call(r);
    uint32_t times = demand_times(n, &g->j->demand[call_class(&call) % CLASSES_MAX]);
    if (node_clustered(&n->config) || times >= g->n) {
        return MOB_OK;
    }
    return status_fail(
        MOB_ERR_DEMAND,
        "a gang of %u asks for more than the node has, which can run %u such "
        "tasks at once, and is none of a cluster, which another could join",
        g->n, times);
}

/* From their submitter: all, or none but on a board that somebody writes over. */
static mob_status take_seats(struct gang *g, uint32_t from)
{
    struct job *j = g->j;
    for (uint32_t i = 0; i < g->n; i++) {
        struct record *r = &j->board.records[link_index(g->members[i].seat)];
        if (!task_keep(&j->lane, r, link_gen(g->members[i].seat), from)) {
            return status_fail(MOB_ERR_PROTOCOL, "a gang's member %u changes", i);
        }
    }
    return MOB_OK;
}

static mob_status begin(struct conn *c, const struct local_msg *m)
{
    struct job *j = c->job;
    uint64_t n = m->arg[0];
    if (n == 0 || n > MOB_GANG_MAX || m->text_size != n * sizeof(uint64_t)) {
        return status_fail(MOB_ERR_PROTOCOL, "a malformed gang");
    }
    if (j->leaving || j->failed) {
        return status_fail(MOB_ERR_CLOSED, "the job is ending");
    }
    if (gangs_of(j->node) >= GANGS_MAX) {
        return status_fail(MOB_ERR_FULL,
                           "the node has %u gangs, the most that it may have", GANGS_MAX);
    }
    struct gang *g = calloc(1, sizeof *g);
    if (!g) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a gang");
    }
    g->j = j;
    g->n = (uint32_t)n;
    g->id = ++j->last_gang & ~GANG_MADE;
    mob_status st = check_seats(j, g, c->proc, m);
    st = st ? st : check_demand(g);
    st = st ? st : take_seats(g, c->proc);
    if (st) {
        free(g);
        return st;
    }
    to_the_end_of_the_line(g);
    return MOB_OK;
}

void gang_begin(struct conn *c, struct local_msg *m)
{
    struct job *j = c->job;
    mob_status st = begin(c, m);
    if (st) {
        conn_deny(c, LOCAL_GANG, st);
        return;
    }
    local_msg_init(c->node->scratch, LOCAL_GANG);
    conn_reply(c, c->node->scratch, NULL, 0);
    gang_look(j, true);
}

void gang_end_job(struct job *j)
{
    for (struct gang *g = j->node->gangs, *next; g; g = next) {
        next = g->next;
        if (g->j == j) {
            gang_free(g);
        }
    }
    next_turn(j->node);
}
