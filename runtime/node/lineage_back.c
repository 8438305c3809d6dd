/* lineage_back.c - results that are away come here: pulled from their maker, or made again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/status.h"
#include "core/text.h"
#include "lineage.h"
#include "spill.h"
#include "store/task.h"

/* The record of a link of the daemon's own: there is one of that index. */
static struct record *own_record(const struct job *j, uint64_t link)
{
    return &j->board.records[link_index(link)];
}

static void add_todo(struct job *j, struct lineage *e)
{
    if (!e->todo) {
        e->todo = true;
        e->next_todo = j->lineage.todo;
        j->lineage.todo = e;
    }
}

static void walk_late(struct loop_timer *timer)
{
    struct job *j = LOOP_OWNER(timer, struct job, lineage.timer);
    lineage_flush(j);
}

void lineage_soon(struct job *j, uint64_t after_ns)
{
    struct loop *loop = j->node->loop;
    struct loop_timer *timer = &j->lineage.timer;
    uint64_t at = loop_now_ns(loop) + after_ns;
    if (!j->ended && (!timer->active || at < timer->deadline_ns)) {
        loop_timer_start(loop, timer, at, walk_late);
    }
}

static const char group_removed[] =
    "it ran in a group that was removed since, and cannot be made again";

/* ---- places swing ----------------------------------------------------------------------------------- */

/* Swings the place of result @i, if its record is still there. False: it is not. */
static bool swing(struct job *j, const struct lineage *e, uint32_t i,
                  const struct place *to)
{
    uint64_t pin;
    struct record *r = own_record(j, e->link);
    struct place from = {PLACE_AWAY, i, e->number, to->size};
    if (!(e->named >> i & 1) || lane_pin(&j->lane, e->link | i, &pin) != MOB_OK) {
        return false;
    }
    bool swung = move_swing(r, i, &from, to);
    lane_unpin(&j->lane, pin);
    board_touch(&j->board, link_index(e->link));
    return swung;
}

/* The bytes of result @i are in @place. */
static void arrived(struct job *j, struct lineage *e, uint32_t i,
                    const struct arena_place *place, uint64_t size)
{
    struct place to = {PLACE_ARENA, place->segment, place->offset, size};
    if (swing(j, e, i, &to)) {
        lineage_unname(j, e, i, false);
    } else { /* released: its record says so when it is freed */
        grant_unplace(j, place);
    }
    spill_tell(j);
}

/* None of its results can be had any more. */
static void lose(struct job *j, struct lineage *e, const char *text)
{
    const struct record *r = own_record(j, e->link);
    char name[MOB_NAME_MAX + 1], why[FAILURE_TEXT_MAX];
    board_name_text(&j->board, own_record(j, e->call)->name, name);
    snprintf(why, sizeof why, "what task %s made on another node is lost: %s", name,
             text);
    log_error("job %u: %s", j->number, why);
    free(e->why);
    e->why = strdup(why);
    for (uint32_t i = 0; i < e->results; i++) {
        struct place lost = {PLACE_LOST, i, e->number + 1ull,
                             record_get_place(r, i).size};
        (void)swing(j, e, i, &lost);
    }
    e->wanted = 0;
    j->failed_tasks++;
    spill_tell(j);
}

/* ---- pulled from its maker -------------------------------------------------------------------------- */

static void pulled(struct fetch *p, mob_status st)
{
    struct lineage *e = p->want.arg;
    struct job *j = p->job;
    uint32_t i = (uint32_t)p->want.tag;
    if (!st && j->ended) {
        grant_unplace(j, &p->place);
    } else if (!st) {
        arrived(j, e, i, &p->place, p->want.size);
    } else if (st == MOB_ERR_NOMEM) {
        char text[FAILURE_TEXT_MAX], size[32], store[32];
        snprintf(
            text, sizeof text,
            "its result of %s does not fit into the object store of this node, which "
            "may have %s",
            text_bytes(p->want.size, size, sizeof size),
            text_bytes(j->node->budget.limit_bytes, store, sizeof store));
        lose(j, e, text);
    } else if (st != MOB_ERR_CANCELLED) { /* or the node has it no more */
        lineage_forsake(j, e, st);
    }
    if (!j->ended) {
        add_todo(j, e); /* released meanwhile, this was the last that kept it */
        lineage_soon(j, 0);
    }
}

static void pull(struct job *j, struct lineage *e, uint32_t i)
{
    struct record *r = own_record(j, e->link);
    struct fetch_want want = {.kind = WIRE_RESULT,
                              .number = j->number,
                              .link = e->remote_link | i,
                              .size = record_get_place(r, i).size,
                              .ours = e->link | i,
                              .done = pulled,
                              .arg = e,
                              .tag = i,
                              .handle = &e->pulls[i]};
    if (want.size > 0 && want.size <= ARENA_OBJECT_MAX) {
        fetch_start(j, e->peer, &want);
    } else {
        lose(j, e, "its record makes no sense");
    }
}

/* ---- made again ------------------------------------------------------------------------------------- */

static uint64_t make_again(struct job *j, struct lineage *e);

/* An argument that was away: what names its bytes, held by a use; or LINK_NONE. */
static uint64_t argument(struct job *j, const struct lineage_arg *a)
{
    struct lineage *f = a->from;
    uint64_t link = f->link | a->ret;
    struct place p;
    const struct record *r = spill_record(j, link, &p);
    bool there = r && p.kind != PLACE_LOST && (p.kind != PLACE_AWAY || f->peer);
    if (!there || lane_use(&j->lane, link) != MOB_OK) {
        link = make_again(j, f);
        link = link == LINK_NONE ? link : link | a->ret;
        if (link == LINK_NONE || lane_use(&j->lane, link) != MOB_OK) {
            return LINK_NONE;
        }
    }
    return link;
}

/* Copies the arguments of an argument record. @links: those that were away. */
static bool copy_arguments(struct record *to, struct record *from, const uint64_t *links)
{
    struct call call = record_call(from);
    for (uint32_t i = 0; i < call_nargs(&call) && i < MOB_ARGS_MAX; i++) {
        uint32_t at = record_arg_offset(from, &call, i),
                 len = record_arg_len(from, &call, i);
        struct arg_ref *ref = record_arg_ref(from, &call, i);
        if (len == ARG_REF) {
            uint64_t link = links[i] != LINK_NONE ? links[i]
                            : ref                 ? at_load(&ref->link, AT_RELAXED)
                                                  : LINK_NONE;
            if (link == LINK_NONE || !task_add_ref(to, i, link)) {
                return false;
            }
            continue;
        }
        void *value = at + len <= RECORD_PAYLOAD ? task_add_value(to, i, len) : NULL;
        if (!value) {
            return false;
        }
        memcpy(value, from->payload + at, len);
    }
    return true;
}

/* The class in which a task of class @cls runs again: the same, and ahead of it. Tasks that wait for what it makes
 * are of that class too, stand before it in the queue, and may have all slots; they would wait for ever. */
static uint32_t class_ahead(struct job *j, uint32_t cls)
{
    struct demand ahead = j->demand[cls];
    uint32_t ret;
    ahead.priority++; /* of MOB_PRIORITY_MAX at most */
    return ahead.priority > j->demand[cls].priority &&
                   job_add_class(j, &ahead, &ret) == MOB_OK
               ? ret
               : cls; /* the job has as many classes as there may be */
}

/* Publishes a copy of the argument record. */
static mob_status publish(struct job *j, struct lineage *e, const uint64_t *links)
{
    struct record *r, *from = own_record(j, e->call);
    struct call call = record_call(from);
    mob_status st = lane_record(&j->lane, &r);
    if (st == MOB_ERR_FULL && grant_records(j) == MOB_OK) {
        st = lane_record(&j->lane, &r);
    }
    MOB_TRY(st);
    if (job_has_class(j, call_class(&call))) {
        call.class_options =
            (uint8_t)((call.class_options & 0xf0) | class_ahead(j, call_class(&call)));
    }
    task_begin(&j->lane, r, &call, LINK_NONE);
    r->name = from->name;
    record_set_origin(r, LINEAGE_MADE | e->number, record_site(from));
    st = copy_arguments(r, from, links) ? task_publish(&j->lane, r, &e->repair)
                                        : MOB_ERR_CORRUPT;
    if (st) {
        e->repair = LINK_NONE;
        lane_unrecord(&j->lane, r);
    }
    return st;
}

/* The task that makes it again, which is published now unless it is on its way already; LINK_NONE: there is no
 * memory for it, or it cannot be (e->why). Its lost arguments are made first, no deeper than LINEAGE_DEPTH_MAX. */
static uint64_t make_again(struct job *j, struct lineage *e)
{
    uint64_t links[MOB_ARGS_MAX] = {0};
    mob_status st = MOB_OK;
    if (e->repair != LINK_NONE || e->why) {
        return e->repair;
    }
    if (e->ungrouped) {
        lose(j, e, group_removed);
        return LINK_NONE;
    }
    for (uint32_t i = 0; i < MOB_ARGS_MAX && !st; i++) {
        struct lineage *f = e->args[i].from;
        links[i] = f ? argument(j, &e->args[i]) : LINK_NONE;
        st = f && links[i] == LINK_NONE ? MOB_ERR_NOMEM : MOB_OK;
        if (st && f->why) {
            lose(j, e, f->why);
        }
    }
    st = st ? st : publish(j, e, links);
    for (uint32_t i = 0; i < MOB_ARGS_MAX; i++) { /* the task has uses of its own now */
        if (links[i] != LINK_NONE) {
            lane_unuse(&j->lane, links[i]);
        }
    }
    if (st == MOB_OK) {
        j->requeued++;
        add_todo(j, e);
        lineage_stuck(j, e, at_load(&own_record(j, e->repair)->state, AT_ACQUIRE));
    } else if (st != MOB_ERR_NOMEM && st != MOB_ERR_FULL) {
        lose(j, e, "the record of its arguments makes no sense");
    } else if (!e->why) {
        lineage_soon(j, LINEAGE_RETRY_NS);
    }
    return e->repair;
}

/* Nothing but our own handle keeps the record of a link. */
static bool is_ours_alone(const struct job *j, uint64_t link)
{
    const struct record *r = own_record(j, link);
    return (at_load(&r->refs, AT_ACQUIRE) & REFS_USES_MASK) == 0;
}

/* Result @i was made again, as @link: its bytes become those of the one that was lost. MOB_ERR_NOMEM: later. */
static mob_status take(struct job *j, struct lineage *e, uint32_t i)
{
    uint64_t link = e->repair | i;
    struct record *r, *lost = own_record(j, e->link);
    struct arena_place place;
    struct place p;
    void *data;
    const void *bytes;
    MOB_TRY(grant_resolve(j, &link, &r, &p));
    if (p.size != record_get_place(lost, i).size) {
        return MOB_ERR_SIZE;
    }
    if (p.kind == PLACE_SPILLED) {
        spill_restore(j, link);
        return MOB_ERR_NOMEM;
    }
    if (p.kind == PLACE_AWAY) {
        lineage_want(j, link);
        return MOB_ERR_NOMEM;
    }
    if (p.kind == PLACE_ARENA && link == (e->repair | i) && is_ours_alone(j, link)) {
        if (swing(j, e, i, &p)) { /* nobody else knows that task: its place moves over */
            record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
            lineage_unname(j, e, i, false);
        }
        return MOB_OK;
    }
    MOB_TRY(grant_read(j, r, &p, &bytes));
    MOB_TRY(grant_aligned(j, p.size, record_align(lost), &place, &data));
    memcpy(data, bytes, p.size);
    grant_landed(j, &place);
    arrived(j, e, i, &place, p.size);
    return MOB_OK;
}

static mob_status take_all(struct job *j, struct lineage *e)
{
    for (uint32_t i = 0; i < e->results; i++) {
        if (e->named >> i & 1) {
            MOB_TRY(take(j, e, i));
        }
    }
    return MOB_OK;
}

/* Looks at a task that makes something again. */
static void look(struct job *j, struct lineage *e)
{
    uint64_t state, link = e->repair;
    struct record *r = lane_find(&j->lane, link, &state);
    if (r && !state_sealed(state)) {
        lineage_stuck(j, e, state);
        return;
    }
    mob_status st = r ? take_all(j, e) : MOB_ERR_NOT_FOUND;
    if (st == MOB_ERR_NOMEM || st == MOB_ERR_FULL) {
        lineage_soon(j, LINEAGE_RETRY_NS);
        return;
    }
    if (st == MOB_ERR_TASK_FAILED && e->ungrouped) {
        lose(j, e, group_removed); /* and with it the task was cancelled */
    } else if (st == MOB_ERR_TASK_FAILED) {
        char text[FAILURE_TEXT_MAX];
        struct place p = record_get_place(r, 0);
        (void)grant_failure(j, r, &p, text, sizeof text);
        lose(j, e, text);
    } else if (st == MOB_ERR_SIZE) {
        lose(j, e, "it was made again, and has another size than before");
    } else if (st) {
        lose(j, e, "what was made again makes no sense");
    }
    e->repair = LINK_NONE;
    for (uint32_t i = 0; i < e->results; i++) {
        lane_drop(&j->lane, link | i);
    }
    spill_tell(j);
}

/* ---- all of them ------------------------------------------------------------------------------------ */

static void go_on(struct job *j, struct lineage *e)
{
    if (e->repair != LINK_NONE) {
        look(j, e);
    }
    e->wanted &= e->named;
    if (!e->wanted || e->repair != LINK_NONE) {
        return;
    }
    if (!e->peer) {
        (void)make_again(j, e);
        return;
    }
    for (uint32_t i = 0; i < e->results; i++) {
        if (e->wanted >> i & 1 && !e->pulls[i] && e->peer) {
            pull(j, e, i);
        }
    }
}

void lineage_flush(struct job *j)
{
    struct lineage_job *l = &j->lineage;
    if (j->ended || l->walking) {
        return;
    }
    l->walking = true;
    struct lineage *e, *rest = l->todo;
    l->todo = NULL;
    while ((e = rest)) {
        rest = e->next_todo;
        go_on(j, e); /* it is still marked, so that nobody ends it meanwhile */
        e->todo = false;
        if (e->wanted || e->repair != LINK_NONE) {
            add_todo(j, e);
        } else {
            lineage_tidy(j, e);
        }
    }
    lineage_park(j);
    l->walking = false;
}

void lineage_want(struct job *j, uint64_t link)
{
    struct place p;
    struct record *r = spill_record(j, link, &p);
    if (!r || p.kind != PLACE_AWAY || j->ended) {
        return;
    }
    struct lineage *e = lineage_of(j, link, &p);
    if (!e) { /* somebody wrote over the record: nobody may wait for what will not come */
        struct place lost = {PLACE_LOST, 0, 0, p.size};
        (void)move_swing(r, link_ret(link), &p, &lost);
        spill_tell(j);
        return;
    }
    e->wanted |= (uint8_t)(1u << link_ret(link));
    add_todo(j, e);
    lineage_soon(j, 0);
}

uint64_t lineage_source(struct job *j, uint64_t link, const struct peer *to)
{
    struct place p;
    struct lineage *e = spill_record(j, link, &p) && p.kind == PLACE_AWAY
                            ? lineage_of(j, link, &p)
                            : NULL;
    if (!e || !e->peer || e->peer == to) {
        return 0;
    }
    if (e->shown && e->shown != to->id) {
        lineage_want(j, link);
        return 0;
    }
    e->shown = to->id;
    return e->peer->id;
}

/* What the record of an index is, if its first result is away and its maker lives; else LINK_NONE. */
static uint64_t away_there(struct job *j, uint32_t index, uint64_t *ret_size)
{
    const struct record *r = board_record(&j->board, index);
    uint64_t state = r ? at_load(&r->state, AT_ACQUIRE) : 0;
    uint64_t link = link_make(state_gen(state), index, 0);
    struct place p =
        r && state_sealed_good(state) ? record_get_place(r, 0) : (struct place){0};
    const struct lineage *e = p.kind == PLACE_AWAY ? lineage_of(j, link, &p) : NULL;
    *ret_size = p.size;
    return e && e->peer ? link : LINK_NONE;
}

void lineage_read(struct job *j, uint64_t link)
{
    uint32_t index = link_index(link), expected = j->lineage.next_read;
    bool in_order = expected && index - expected < LINEAGE_AHEAD;
    uint64_t bytes = 0, size;
    lineage_want(j, link);
    j->lineage.next_read = index + 1;
    for (uint32_t i = 1; in_order && i <= LINEAGE_AHEAD; i++) {
        uint64_t next = away_there(j, index + i, &size);
        bytes += next != LINK_NONE ? size : 0;
        if (next != LINK_NONE && bytes <= LINEAGE_AHEAD_BYTES) {
            lineage_want(j, next);
        }
    }
}
