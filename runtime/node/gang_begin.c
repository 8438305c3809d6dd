/* gang_begin.c - a gang comes, and an attempt of it begins: a member for each seat. */
#include "gang.h"

#include <stdlib.h>
#include <string.h>

#include "core/gang.h"
#include "core/log.h"
#include "core/status.h"
#include "store/task.h"

/* ---- a gang comes ------------------------------------------------------------------------------------------ */

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
        g->seats = i == 0 ? call_class(&call) : g->seats;
        if (!r || link_ret(g->members[i].seat) != 0 || state_phase(s) != PHASE_CREATING ||
            state_holder(s) != from || call.fn >= BOARD_NAMES_MAX ||
            call_class(&call) != g->seats || !job_has_class(j, g->seats)) {
            return status_fail(MOB_ERR_PROTOCOL, "a gang's member %u is no task", i);
        }
    }
    return MOB_OK;
}

/* Where no other node can join, what will never have n slots is refused; and what a group will never have. */
static mob_status check_demand(const struct gang *g)
{
    const struct node *n = g->j->node;
    const struct demand *d = &g->j->demand[g->seats];
    uint32_t times = demand_times(g->j, d);
    if (times >= g->n || (node_clustered(&n->config) && !d->group)) {
        return MOB_OK;
    }
    if (d->group) {
        return status_fail(
            MOB_ERR_DEMAND,
            "a gang of %u asks for more than its group has, in which at most %u "
            "such tasks can run at once",
            g->n, times);
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
    g->gate = LINK_NONE;
    g->id = ++j->last_gang & (GANG_MADE - 1);
    mob_status st = check_seats(j, g, c->proc, m);
    st = st ? st : check_demand(g);
    st = st ? st : take_seats(g, c->proc);
    if (st) {
        free(g);
        return st;
    }
    gang_line_up(g);
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

/* ---- an attempt begins -------------------------------------------------------------------------------------- */

bool gang_args(struct record *seat, struct record *r, bool ids)
{
    struct call call = record_call(seat);
    uint32_t nargs = call_nargs(&call), count = 0;
    for (uint32_t a = 0; a < nargs && a < MOB_ARGS_MAX; a++) {
        uint32_t at = record_arg_offset(seat, &call, a),
                 len = record_arg_len(seat, &call, a);
        if (len == ARG_REF) {
            struct arg_ref *ref = record_arg_ref(seat, &call, a);
            if (!ref ||
                !task_add_ref(r, ids ? count++ : a, at_load(&ref->link, AT_RELAXED))) {
                return false;
            }
            continue;
        }
        if (ids) {
            continue;
        }
        void *to = at + len <= RECORD_PAYLOAD ? task_add_value(r, a, len) : NULL;
        if (!to) {
            return false;
        }
        memcpy(to, seat->payload + at, len);
    }
    return true;
}

/* Copies a seat's arguments into a member's record, and adds the ticket. False: they make no sense. */
static bool fill_member(struct record *seat, struct record *r,
                        const struct gang_ticket *ticket)
{
    struct call call = record_call(seat);
    size_t ticket_bytes = GANG_TICKET_MIN + strlen(ticket->fn) + 1;
    if (!gang_args(seat, r, false)) {
        return false;
    }
    void *to = task_add_value(r, call_nargs(&call), ticket_bytes);
    if (to) {
        memcpy(to, ticket, ticket_bytes);
    }
    return to != NULL;
}

/* A member's record, filled, of a seat. @r: a FREE one. */
static bool make_member(struct gang *g, uint32_t i, struct record *r)
{
    struct job *j = g->j;
    struct record *seat = gang_seat(g, i);
    struct call of = seat ? record_call(seat) : (struct call){0};
    struct gang_ticket ticket = {
        .home = j->node->id, .gang = g->id, .turn = g->turn, .rank = i, .size = g->n};
    uint32_t options = CALL_FOREIGN | (call_options(&of) & CALL_HAS_REFS);
    struct call call = {.class_options = (uint8_t)(g->cls | options << 4),
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

bool gang_record(struct job *j, struct record **ret)
{
    mob_status st = lane_record(&j->lane, ret);
    if (st == MOB_ERR_FULL && grant_records(j) == MOB_OK) {
        st = lane_record(&j->lane, ret);
    }
    return st == MOB_OK;
}

/* As many FREE records as it has members. False: there are not so many now. */
static bool take_records(struct gang *g, struct record *records[])
{
    for (uint32_t i = 0; i < g->n; i++) {
        if (!gang_record(g->j, &records[i])) {
            while (i > 0) {
                lane_unrecord(&g->j->lane, records[--i]);
            }
            return false;
        }
    }
    return true;
}

void gang_gather(struct gang *g)
{
    struct job *j = g->j;
    struct record *records[MOB_GANG_MAX];
    bool good = true;
    if (!take_records(g, records)) {
        gang_rest(g, GANG_REST_NS);
        return;
    }
    g->state = GANG_GATHERS;
    g->turn++;
    g->meeting.round = g->meeting.here = 0;
    g->died = g->ending = false;
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
        gang_fail(g, MOB_ERR_CORRUPT, "its record makes no sense");
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
    log_debug("job %u: gang %u of %u gathers (turn %u)", j->number, g->id, g->n, g->turn);
    job_refresh(j);
}
