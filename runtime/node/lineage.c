/* lineage.c - which results stay on other nodes, and what is known of how they were made. */
#include "lineage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/status.h"
#include "store/task.h"

enum {
    HELD_DIVISOR = 4
}; /* of the store: arguments kept here if there is no disk for them */

/* ---- the table -------------------------------------------------------------------------------------- */

static bool add_to_table(struct lineage_job *l, struct lineage *e)
{
    if (l->count * 2 >= l->room) { /* half of it is free, so that a free place is near */
        uint32_t room = l->room ? l->room * 2 : 64;
        struct lineage **grown = realloc(l->entries, room * sizeof(struct lineage *));
        if (!grown) {
            return false;
        }
        memset(grown + l->room, 0, (room - l->room) * sizeof(struct lineage *));
        l->entries = grown;
        l->room = room;
    }
    while (l->entries[l->last % l->room]) {
        l->last++;
    }
    e->number = l->last++ % l->room;
    l->entries[e->number] = e;
    l->count++;
    return true;
}

static struct lineage *entry(const struct job *j, uint64_t number)
{
    return number < j->lineage.room ? j->lineage.entries[number] : NULL;
}

struct lineage *lineage_of(const struct job *j, uint64_t link, const struct place *p)
{
    struct lineage *e = p->kind == PLACE_AWAY                ? entry(j, p->offset)
                        : p->kind == PLACE_LOST && p->offset ? entry(j, p->offset - 1)
                                                             : NULL;
    uint32_t ret = link_ret(link);
    return e && (e->link | ret) == link && p->segment == ret && e->named >> ret & 1
               ? e
               : NULL;
}

struct lineage *lineage_repairs(const struct job *j, const struct record *r)
{
    uint32_t made = at_load(&r->made, AT_RELAXED);
    struct lineage *e = made & LINEAGE_MADE ? entry(j, made & ~LINEAGE_MADE) : NULL;
    return e && e->repair != LINK_NONE &&
                   link_index(e->repair) == board_index(&j->board, r)
               ? e
               : NULL;
}

/* ---- the argument record ---------------------------------------------------------------------------- */

static mob_status argument_record(struct job *j, struct record **ret)
{
    mob_status st = lane_record(&j->lane, ret);
    if (st == MOB_ERR_FULL && grant_records(j) == MOB_OK) {
        st = lane_record(&j->lane, ret);
    }
    return st;
}

/* An argument by id: of one that is away its entry, else a use of the object. */
static bool keep_object(struct job *j, struct lineage *e, struct record *to, uint32_t i,
                        uint64_t link)
{
    uint64_t at = link;
    struct record *r;
    struct place p;
    if (grant_resolve(j, &at, &r, &p) != MOB_OK || p.kind == PLACE_LOST) {
        return false;
    }
    struct lineage *from = lineage_of(j, at, &p);
    if (p.kind == PLACE_AWAY && (!from || from->depth >= LINEAGE_DEPTH_MAX)) {
        return false;
    }
    if (!task_add_ref(to, i, from ? LINK_NONE : link)) {
        return false;
    }
    if (!from) {
        struct call call = record_call(to);
        struct arg_ref *ref = record_arg_ref(to, &call, i);
        if (lane_use(&j->lane, link) != MOB_OK) {
            at_store(&ref->link, LINK_NONE, AT_RELAXED);
            return false;
        }
        e->args[i].held = lineage_hold(j, at, p.size);
        return e->args[i].held != NULL;
    }
    e->args[i] = (struct lineage_arg){.from = from, .ret = link_ret(at)};
    from->users++;
    e->depth = from->depth >= e->depth ? (uint8_t)(from->depth + 1) : e->depth;
    return true;
}

static bool keep_arguments(struct job *j, struct lineage *e, struct record *to,
                           struct record *r, const struct call *call)
{
    for (uint32_t i = 0; i < call_nargs(call); i++) {
        uint32_t at = record_arg_offset(r, call, i), len = record_arg_len(r, call, i);
        if (len == ARG_REF) {
            struct arg_ref *ref = record_arg_ref(r, call, i);
            if (!ref || !keep_object(j, e, to, i, at_load(&ref->link, AT_RELAXED))) {
                return false;
            }
            continue;
        }
        void *value = at + len <= RECORD_PAYLOAD ? task_add_value(to, i, len) : NULL;
        if (!value) {
            return false;
        }
        memcpy(value, r->payload + at, len);
    }
    return true;
}

/* Gives back what it keeps. */
static void drop_call(struct job *j, struct lineage *e)
{
    struct record *r = &j->board.records[link_index(e->call)];
    struct call call = record_call(r);
    if (e->call == LINK_NONE) {
        return;
    }
    for (uint32_t i = 0; i < call_nargs(&call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref = record_arg_ref(r, &call, i);
        uint64_t link = ref ? at_load(&ref->link, AT_RELAXED) : LINK_NONE;
        if (link != LINK_NONE) {
            lane_unuse(&j->lane, link);
        }
    }
    lane_unrecord(&j->lane, r);
    e->call = LINK_NONE;
}

/* The call of @r as it can be made once more: on the board, and published by nobody. */
static bool keep_call(struct job *j, struct lineage *e, struct record *r,
                      const struct call *call, uint32_t attempt)
{
    struct record *to;
    struct call kept = *call;
    kept.retries = call_retries_left(call, attempt);
    kept.retries -= kept.retries != CALL_RETRIES_FOREVER; /* to make it again is one */
    kept.class_options =
        (uint8_t)(call_class(call) | CALL_FOREIGN << 4 |
                  (call_options(call) & (CALL_RETRY_ON_ERROR | CALL_HAS_REFS)) << 4);
    if (argument_record(j, &to) != MOB_OK) {
        return false;
    }
    memset(kept.len, 0, sizeof kept.len); /* set as arguments are added */
    task_begin(&j->lane, to, &kept, LINK_NONE);
    memset(to->arg_len, 0, sizeof to->arg_len);
    to->name = r->name;
    record_set_origin(to, 0, record_site(r));
    uint32_t gen = lane_gen(to);
    e->call = link_make(gen, board_index(&j->board, to), 0);
    /* As an open task it counts for who audits uses. Release: who looks at it sees its arguments. */
    bool good = keep_arguments(j, e, to, r, call);
    at_store(&to->state, state_make(gen, DAEMON, 0, PHASE_CREATING), AT_RELEASE);
    return good;
}

/* ---- beginning and end ------------------------------------------------------------------------------ */

static void forget(struct job *j, struct lineage *e)
{
    struct lineage_job *l = &j->lineage;
    struct lineage_arg args[MOB_ARGS_MAX];
    memcpy(args, e->args, sizeof args);
    drop_call(j, e);
    l->entries[e->number] = NULL;
    l->count--;
    free(e->why);
    free(e);
    for (uint32_t i = 0; i < MOB_ARGS_MAX; i++) { /* no deeper than LINEAGE_DEPTH_MAX */
        lineage_unhold(j, args[i].held);
        if (args[i].from) {
            args[i].from->users--;
            lineage_tidy(j, args[i].from);
        }
    }
}

static bool pulls_any(const struct lineage *e)
{
    for (uint32_t i = 0; i < MOB_RETURNS_MAX; i++) {
        if (e->pulls[i]) {
            return true;
        }
    }
    return false;
}

void lineage_tidy(struct job *j, struct lineage *e)
{
    if (!e->named && !e->users && !e->todo && e->repair == LINK_NONE && !pulls_any(e)) {
        forget(j, e);
    }
}

/* Of arguments that the program has released. In memory they would be missing for as long as their results are held. */
static uint64_t most_held(const struct node *n)
{
    return n->budget.limit_bytes / (n->spill ? 1 : HELD_DIVISOR);
}

struct lineage *lineage_new(struct job *j, struct record *r, struct peer *p,
                            uint64_t remote_link)
{
    struct lineage_job *l = &j->lineage;
    uint64_t state = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    /* Who sleeps for it wants its bytes next; what is made again comes here for good. */
    if (!call_retries_left(&call, state_attempt(state)) || l->count >= LINEAGE_MAX ||
        state & (STATE_WAITERS | STATE_NOTIFY | STATE_CANCEL) ||
        call_options(&call) & CALL_FOREIGN || call_nargs(&call) > MOB_ARGS_MAX) {
        return NULL;
    }
    struct lineage *e = calloc(1, sizeof *e);
    if (!e || !add_to_table(l, e)) {
        free(e);
        return NULL;
    }
    e->link = link_make(state_gen(state), board_index(&j->board, r), 0);
    e->results = (uint8_t)call_nrets(&call);
    e->depth = 1;
    e->peer = p;
    e->remote_link = remote_link;
    bool kept = keep_call(j, e, r, &call, state_attempt(state));
    if (!kept || l->held_bytes > most_held(j->node)) {
        forget(j, e);
        return NULL;
    }
    return e;
}

void lineage_name(struct lineage *e, uint32_t ret)
{
    e->named |= (uint8_t)(1u << ret);
}

static void let_go(struct job *j, const struct lineage *e, uint32_t ret, bool gone)
{
    if (j->ended || !e->peer || !away_host_of(j, e->peer)) {
        return;
    }
    struct codec_writer w = cluster_begin(j->node->cluster, WIRE_LET_GO);
    codec_put_u32(&w, j->number);
    codec_put_u32(&w, 1);
    codec_put_u64(&w, e->link | ret);
    codec_put_u8(&w, gone);
    cluster_send(e->peer, &w);
}

void lineage_unname(struct job *j, struct lineage *e, uint32_t ret, bool gone)
{
    e->named &= (uint8_t) ~(1u << ret);
    e->wanted &= (uint8_t) ~(1u << ret);
    let_go(j, e, ret, gone);
}

void lineage_free_place(struct job *j, const struct place *p)
{
    struct lineage *e = entry(j, p->kind == PLACE_AWAY ? p->offset : p->offset - 1);
    if (!e || p->segment >= MOB_RETURNS_MAX || !(e->named >> p->segment & 1)) {
        return; /* a place that somebody made up */
    }
    lineage_unname(j, e, p->segment, true);
    if (e->pulls[p->segment] && !j->ended) {
        fetch_unwanted(e->pulls[p->segment]);
    }
    lineage_tidy(j, e);
}

void lineage_forsake(struct job *j, struct lineage *e, mob_status st)
{
    for (uint32_t i = 0; i < e->results && st != MOB_ERR_PEER_LOST; i++) {
        if (e->named >> i & 1) {
            let_go(j, e, i, true);
        }
    }
    e->peer = NULL;
}

void lineage_peer_lost(struct job *j, const struct peer *p)
{
    uint32_t lost = 0;
    for (uint32_t i = 0; i < j->lineage.room; i++) {
        struct lineage *e = j->lineage.entries[i];
        if (e && e->peer == p) {
            e->peer = NULL;
            lost += e->named != 0;
        }
    }
    if (lost && !j->ended) {
        log_info(
            "job %u: what %u tasks made is lost with node %s; what is wanted of it is "
            "made again",
            j->number, lost, p->host);
        lineage_soon(j, 0);
    }
}

void lineage_group_gone(struct job *j, uint64_t group)
{
    bool wanted = false;
    for (uint32_t i = 0; i < j->lineage.room; i++) {
        struct lineage *e = j->lineage.entries[i];
        if (e && !e->ungrouped && e->call != LINK_NONE) {
            struct call call = record_call(&j->board.records[link_index(e->call)]);
            uint32_t c = call_class(&call);
            e->ungrouped = job_has_class(j, c) && j->demand[c].group == group;
            wanted |= e->ungrouped && e->wanted;
        }
    }
    if (wanted) {
        lineage_soon(j, 0);
    }
}

void lineage_why(struct job *j, uint64_t link, char *text)
{
    struct record *r;
    struct place p;
    struct lineage *e = grant_resolve(j, &link, &r, &p) == MOB_OK && p.kind == PLACE_LOST
                            ? lineage_of(j, link, &p)
                            : NULL;
    snprintf(text, FAILURE_TEXT_MAX, "%s",
             e && e->why ? e->why
                         : "the object was spilled to disk, and could not be read back; "
                           "the node's log says why");
}

static void count_at(const struct job *j, const struct lineage *e, struct lineage_at *at)
{
    const struct record *r = &j->board.records[link_index(e->link)];
    for (uint32_t i = 0; i < e->results; i++) {
        struct place p = record_get_place(r, i);
        if (e->named >> i & 1 && p.kind == PLACE_AWAY) {
            at->results++;
            at->bytes += p.size;
        }
    }
}

uint32_t lineage_nodes(const struct job *j, struct lineage_at *ret, uint32_t max)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < j->lineage.room; n++) {
        const struct lineage *e = j->lineage.entries[n];
        struct lineage_at at = {.peer = e ? e->peer : NULL};
        uint32_t i = 0;
        if (e) {
            count_at(j, e, &at);
        }
        while (i < count && i < max && ret[i].peer != at.peer) {
            i++;
        }
        if (at.results && i < max) {
            at.results += i < count ? ret[i].results : 0;
            at.bytes += i < count ? ret[i].bytes : 0;
            ret[i] = at;
            count = i < count ? count : i + 1;
        }
    }
    return count;
}

void lineage_end_job(struct job *j)
{
    loop_timer_stop(j->node->loop, &j->lineage.timer);
}

void lineage_free(struct job *j)
{
    struct lineage_job *l = &j->lineage;
    for (uint32_t i = 0; i < l->room; i++) { /* their records go with the board */
        if (l->entries[i]) {
            free(l->entries[i]->why);
            free(l->entries[i]);
        }
    }
    free(l->entries);
    lineage_held_free(j);
    *l = (struct lineage_job){0};
}
