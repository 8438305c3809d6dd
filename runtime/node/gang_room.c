/* gang_room.c - what a gang waits for before its members are made: its arguments, and room for all of them.
 *
 * Who has room must not wait for those who need it, as the tasks may that make its arguments. So a gang asks for none
 * before these are there. A task waits for them in its place, its gate: one of the class of its seats, which no worker
 * runs, that has no argument but them. When it is ready the daemon takes it.
 *
 * A gang needs one of the job's classes for its members, from the time it asks for room until it is over. While there
 * is none it waits, and comes before those that were submitted later. */
#include "gang.h"

#include <stdio.h>
#include <string.h>

#include "core/gang.h"
#include "core/log.h"
#include "core/status.h"
#include "store/task.h"

_Static_assert(MOB_GANG_MAX <= MOB_GROUP_BUNDLES_MAX, "a bundle for each member");

static const struct demand *asks(const struct gang *g)
{
    return &g->j->demand[g->seats];
}

static uint64_t now_ns(const struct job *j)
{
    return loop_now_ns(j->node->loop);
}

/* ---- its arguments ------------------------------------------------------------------------------------------ */

bool gang_is_gate(const struct demand *d)
{
    return d->together && !d->group;
}

static uint32_t ids_of(const struct record *seat, const struct call *call)
{
    uint32_t count = 0;
    for (uint32_t a = 0; a < call_nargs(call) && a < MOB_ARGS_MAX; a++) {
        count += record_arg_len(seat, call, a) == ARG_REF;
    }
    return count;
}

/* False: there is no record for it now, or its seats make no sense, as its members will find. */
static bool make_gate(struct gang *g, struct record *seat)
{
    struct job *j = g->j;
    struct record *r;
    struct call of = record_call(seat);
    struct call call = {.class_options =
                            (uint8_t)(g->seats | (CALL_FOREIGN | CALL_HAS_REFS) << 4),
                        .counts = call_counts(ids_of(seat, &of), 1)};
    if (board_name(&j->board, DAEMON, GANG_TASK, &call.fn) != MOB_OK ||
        !gang_record(j, &r)) {
        return false;
    }
    task_begin(&j->lane, r, &call, LINK_NONE);
    r->name = seat->name;
    record_set_origin(r, g->id | GANG_MADE, record_site(seat));
    g->gate = link_make(lane_gen(r), board_index(&j->board, r), 0);
    uint64_t link;
    if (!gang_args(seat, r, true) || task_publish(&j->lane, r, &link) != MOB_OK) {
        g->gate = LINK_NONE;
        lane_unrecord(&j->lane, r);
        return false;
    }
    job_refresh(j); /* all may be there */
    return true;
}

bool gang_ready(struct gang *g)
{
    struct record *seat = gang_seat(g, 0);
    struct call call = seat ? record_call(seat) : (struct call){0};
    if (g->ready || g->gate != LINK_NONE) {
        return g->ready;
    }
    /* In a group of the program its members wait for them in the room that they do not keep from others. */
    g->ready = !seat || !(call_options(&call) & CALL_HAS_REFS) || !gang_is_gate(asks(g));
    if (!g->ready && !make_gate(g, seat)) {
        gang_look_at(g, now_ns(g->j) + GANG_REST_NS);
    }
    return g->ready;
}

static void take(struct job *j, struct record *r)
{
    uint32_t made = at_load(&r->made, AT_RELAXED);
    struct gang *g = made & GANG_MADE ? gang_find(j, made & ~GANG_MADE) : NULL;
    struct call call = record_call(r);
    if (g && link_index(g->gate) == board_index(&j->board, r)) {
        g->ready = true;
        gang_look_at(g, now_ns(j));
    }
    for (uint32_t k = 0; k < call_nrets(&call); k++) {
        record_set_place(r, k, PLACE_EMPTY, 0, 0, 0);
    }
    (void)task_seal(&j->lane, r, false);
}

void gang_gates(struct job *j, uint32_t cls)
{
    struct record *r;
    struct queue_item item;
    /* Armed, then looked: pairs with task_wake_worker(). */
    at_store(&j->board.classes[cls].alert, 1, AT_SEQ_CST);
    while (task_claim(&j->lane, cls, &r, &item) == QUEUE_OK) {
        take(j, r);
    }
}

/* ---- room ------------------------------------------------------------------------------------------------------- */

static void changed(struct group *room)
{
    struct gang *g = room->owner;
    if (g->state == GANG_ROOM) {
        gang_look_at(g, now_ns(g->j));
    }
}

/* It would rather be on a node, and is if that could have all of it. */
static struct plan_where where_of(const struct gang *g)
{
    const struct demand *d = asks(g);
    struct plan_where where = {0};
    struct demand there = *d;
    there.strategy = DEMAND_NODE;
    bool soft = d->strategy == DEMAND_NODE_SOFT && demand_times(g->j, &there) >= g->n;
    where.node = d->strategy == DEMAND_NODE || soft ? d->node : 0;
    memcpy(where.selector, d->selector, sizeof where.selector);
    return where;
}

/* A group of its own, and the class in it. */
static mob_status make_room(struct gang *g)
{
    struct job *j = g->j;
    const struct demand *d = asks(g);
    struct resources needs[MOB_GANG_MAX];
    struct plan_where where = where_of(g);
    struct group_plan plan = {.count = g->n,
                              .strategy = d->strategy == DEMAND_SPREAD ? MOB_GROUP_SPREAD
                                                                       : MOB_GROUP_PACK,
                              .needs = needs,
                              .where = &where};
    struct demand each = {.need = d->need, .priority = d->priority, .together = 1};
    struct group *room;
    for (uint32_t i = 0; i < g->n; i++) {
        needs[i] = d->need;
    }
    MOB_TRY(group_create(j, &plan, &room));
    room->changed = changed;
    room->owner = g;
    g->group = each.group = room->id;
    mob_status st = job_add_class(j, &each, &g->cls);
    if (st) {
        gang_leave_room(g);
    }
    return st;
}

/* Gangs of one group gather one after the other. */
static bool others_gather(const struct gang *g)
{
    for (const struct gang *o = g->j->node->gangs; o; o = o->next) {
        if (o->state == GANG_GATHERS && o->j == g->j &&
            o->j->demand[o->seats].group == asks(g)->group) {
            return true;
        }
    }
    return false;
}

void gang_ask(struct gang *g)
{
    struct job *j = g->j;
    if (asks(g)->group) {
        if (!others_gather(g)) {
            g->cls = g->seats;
            gang_gather(g);
        }
        return;
    }
    if (!group_find(j, g->group)) {
        g->no_class = !job_class_place(j);
        if (g->no_class) {
            return;
        }
        mob_status st = make_room(g);
        if (st == MOB_ERR_FULL || st == MOB_ERR_NOMEM) {
            gang_rest(g, GANG_REST_NS);
            return;
        }
        if (st) {
            gang_fail(g, st, mob_last_error());
            return;
        }
        log_debug("job %u: gang %u of %u asks for room", j->number, g->id, g->n);
    }
    g->state = GANG_ROOM;
    gang_look_at_room(g);
}

void gang_look_at_room(struct gang *g)
{
    char why[1024];
    const struct group *room = group_find(g->j, g->group);
    if (!room) {
        gang_rest(g, 0); /* somebody removed it */
    } else if (room->state == GROUP_UNMET) {
        gang_fail(g, MOB_ERR_DEMAND, group_why(room, why, sizeof why));
    } else if (room->state == GROUP_FULL) {
        gang_leave_room(g);
        gang_rest(g, GANG_REST_NS);
    } else if (room->state == GROUP_WHOLE && !g->j->leaving && !g->j->failed) {
        gang_gather(g);
    }
}

static struct group *let_go(struct gang *g)
{
    struct group *room = g->group ? group_find(g->j, g->group) : NULL;
    if (room) {
        room->changed = NULL;
    }
    g->group = 0;
    return room;
}

void gang_leave_room(struct gang *g)
{
    struct group *room = let_go(g);
    if (room) {
        group_remove(room);
    }
}

void gang_forget_room(struct gang *g)
{
    (void)let_go(g);
}

void gang_class_free(struct job *j)
{
    for (struct gang *g = j->node->gangs; g; g = g->next) {
        if (g->j == j && g->state == GANG_WAITS && g->no_class) {
            gang_look_at(g, now_ns(j)); /* with which all have their turn */
            return;
        }
    }
}

/* ---- why it waits -------------------------------------------------------------------------------------------- */

bool gang_why(const struct job *j, uint32_t cls, char *buf, size_t size)
{
    const struct gang *g = j->node->gangs;
    while (g && (g->j != j || g->seats != cls ||
                 (g->state != GANG_WAITS && g->state != GANG_ROOM))) {
        g = g->next;
    }
    if (!g) {
        return false;
    }
    char room[1024];
    const struct group *its = group_find(j, g->group);
    const char *why = g->unmet_ns ? "all nodes together do not have what it asks for"
                      : !g->ready ? "its arguments are not there"
                      : g->no_class
                          ? "all classes of the job are in use, and it needs one"
                      : asks(g)->group ? "another one gathers in its group"
                      : its            ? group_why(its, room, sizeof room)
                                       : "it has its turn soon";
    snprintf(buf, size, "a gang of %u waits: %s", g->n, why);
    return true;
}
