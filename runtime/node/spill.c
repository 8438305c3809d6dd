/* spill.c - objects on their way to disk, in rounds: which ones, spill_pick.c says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spill.h"

#include "cluster.h"
#include "core/log.h"
#include "core/park.h"
#include "core/status.h"
#include "store/task.h"

static void step(struct loop_timer *timer);

/* ---- beginning and end --------------------------------------------------------------------------- */

mob_status node_spill_start(struct node *n, const char *dirs)
{
    if (dirs && strcmp(dirs, "none") == 0) {
        return MOB_OK;
    }
    struct node_spill *s = calloc(1, sizeof *s);
    if (!s) {
        return status_fail(MOB_ERR_NOMEM, "no memory to start with");
    }
    mob_status st = spill_disk_open(dirs && *dirs ? dirs : SPILL_FOLDER, &s->disk);
    if (st) {
        free(s);
        if (dirs && *dirs) {
            return st;
        }
        log_info("objects stay in memory, and creates wait when it is full: %s",
                 mob_last_error());
        return MOB_OK;
    }
    s->node = n;
    n->spill = s;
    return MOB_OK;
}

void node_spill_stop(struct node *n)
{
    if (n->spill) {
        loop_timer_stop(n->loop, &n->spill->soon);
        loop_timer_stop(n->loop, &n->spill->retry);
    }
}

void node_spill_end(struct node *n)
{
    if (n->spill) {
        spill_disk_close(&n->spill->disk);
        free(n->spill);
        n->spill = NULL;
    }
}

static void go_on(struct node_spill *s, uint64_t at_ns)
{
    if (!s->node->stopping) {
        loop_timer_start(s->node->loop, &s->soon, at_ns, step);
    }
}

void spill_pressure(struct node *n, uint64_t need)
{
    struct node_spill *s = n->spill;
    if (!s || n->stopping ||
        (!need &&
         n->budget.used_bytes < n->budget.most_bytes / 100 * SPILL_HIGH_PERCENT)) {
        return;
    }
    s->need = need > s->need ? need : s->need;
    if (s->state == ROUND_IDLE && !s->soon.active) {
        uint64_t now = loop_now_ns(n->loop);
        go_on(s, now > s->not_before_ns ? now : s->not_before_ns);
    }
}

void spill_look(struct node *n)
{
    struct node_spill *s = n->spill;
    uint64_t now = loop_now_ns(n->loop);
    if (s && now >= s->look_ns) {
        s->look_ns = now + SPILL_MACHINE_NS;
        if (budget_refresh(&n->budget) == MOB_OK) {
            spill_pressure(n, 0);
        }
    }
}

bool spill_promising(const struct node *n)
{
    const struct node_spill *s = n->spill;
    return s && (s->state != ROUND_IDLE || loop_now_ns(n->loop) >= s->not_before_ns);
}

uint64_t spill_reserve(const struct node *n)
{
    if (!n->spill || n->spill->disk.live_bytes == 0) {
        return 0;
    }
    uint64_t part = n->budget.most_bytes / RESTORE_RESERVE_DIVISOR;
    return part < RESTORE_RESERVE_MAX ? part : RESTORE_RESERVE_MAX;
}

/* ---- out ----------------------------------------------------------------------------------------- */

struct record *spill_record(struct job *j, uint64_t link, struct place *ret)
{
    uint64_t state;
    struct record *r = lane_find(&j->lane, link, &state);
    struct call call = r ? record_call(r) : (struct call){0};
    if (!r || !state_sealed_used(state) || state & STATE_ERROR ||
        link_ret(link) >= call_nrets(&call) || link_ret(link) >= MOB_RETURNS_MAX) {
        return NULL;
    }
    *ret = record_get_place(r, link_ret(link));
    return r;
}

void spill_tell(struct job *j)
{
    /* After the swing of a place; pairs with await_restored() of the client, which notes the event and then
     * looks at the place. */
    at_add(&j->board.header->event, 1, AT_SEQ_CST);
    park_wake(&j->board.header->event, PARK_ALL);
}

static void drop_pin(struct job *j, struct outgoing *o)
{
    lane_unpin(&j->lane, o->move.pin);
    o->move.pin = MOVE_NO_PIN;
}

/* The disk may be full of what is dead in files that were not worth compacting until now. */
static void squeeze(const struct node_spill *s)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = spill_job_at(s->node, i);
        if (j && j->spill.files) {
            compact_look(j);
        }
    }
}

/* What is on disk now leaves memory, unless somebody has begun to look at it. */
static void settle(struct node_spill *s)
{
    struct job *j = s->moving;
    struct move moves[SPILL_WINDOW];
    for (unsigned i = 0; i < s->count; i++) {
        struct outgoing *o = &s->window[i];
        struct record *r = &j->board.records[link_index(o->move.link)];
        o->landed = o->landed && !j->ended &&
                    move_swing(r, link_ret(o->move.link), &o->move.old, &o->write.place);
        if (!o->landed && o->write.place.kind == PLACE_SPILLED) {
            spill_free(j->spill.files, &o->write.place);
        }
        moves[i] = o->move;
    }
    move_look(&j->lane, moves, s->count);
    bool back = false;
    for (unsigned i = 0; i < s->count; i++) {
        struct outgoing *o = &s->window[i];
        struct record *r = &j->board.records[link_index(o->move.link)];
        if (o->landed && (moves[i].held || !move_give(&j->lane, &o->move.old))) {
            (void)move_swing(r, link_ret(o->move.link), &o->write.place, &o->move.old);
            spill_free(j->spill.files, &o->write.place);
            back = true;
        } else if (o->landed) {
            s->freed += o->move.old.size;
        }
        drop_pin(j, o);
    }
    if (back) {
        spill_tell(j);
    }
    s->count = 0;
    s->moving = NULL;
    j->busy--;
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}

/* What a window moved, as one event. */
static void note_window(const struct node_spill *s)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < s->count; i++) {
        bytes += s->window[i].landed ? s->window[i].write.size : 0;
    }
    timeline_note(s->node, TIMELINE_SPILL, s->moving->number, s->begun_ns, LINK_NONE, 0,
                  bytes, s->failed ? MOB_ERR_SYSTEM : MOB_OK);
}

static void written(struct spill_write *w, mob_status st)
{
    struct outgoing *o = LOOP_OWNER(w, struct outgoing, write);
    struct node_spill *s = o->spill;
    o->landed = st == MOB_OK;
    s->failed |= !o->landed;
    if (--s->in_flight == 0) {
        note_window(s);
        settle(s);
        if (s->failed) {
            squeeze(s);
            s->failed = false;
        }
        go_on(s, 0);
    }
}

/* Adds the movable results of a record to the window. False: it is full. */
static bool gather(struct node_spill *s, struct job *j, uint32_t index, uint64_t *bytes)
{
    const struct record *r = &j->board.records[index];
    uint64_t state = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    for (uint32_t i = 0;
         spill_may_move(state) && i < call_nrets(&call) && i < MOB_RETURNS_MAX; i++) {
        struct place p = record_get_place(r, i);
        if (p.kind != PLACE_ARENA || p.segment != s->segment) {
            continue;
        }
        if (s->count == SPILL_WINDOW ||
            (s->count && *bytes + p.size > SPILL_WINDOW_BYTES)) {
            return false;
        }
        *bytes += p.size;
        s->window[s->count++] =
            (struct outgoing){.move = {.link = link_make(state_gen(state), index, i),
                                       .pin = MOVE_NO_PIN,
                                       .old = p},
                              .spill = s};
    }
    return true;
}

/* Pins what nobody else does, and keeps that; forgets the others. */
static void pin_window(struct node_spill *s, struct job *j)
{
    struct move moves[SPILL_WINDOW];
    unsigned kept = 0;
    for (unsigned i = 0; i < s->count; i++) {
        moves[i] = s->window[i].move;
    }
    move_look(&j->lane, moves, s->count); /* a hint; settle() looks again */
    for (unsigned i = 0; i < s->count; i++) {
        struct outgoing o = s->window[i];
        struct record *r = &j->board.records[link_index(o.move.link)];
        if (moves[i].held || lane_pin(&j->lane, o.move.link, &o.move.pin) != MOB_OK) {
            continue;
        }
        if (grant_read(j, r, &o.move.old, &o.write.data) != MOB_OK) {
            lane_unpin(&j->lane, o.move.pin);
            continue;
        }
        o.write.name = o.move.link;
        o.write.size = o.move.old.size;
        o.write.done = written;
        s->window[kept++] = o;
    }
    s->count = kept;
}

/* The next objects of the segment. False: there are none. */
static bool send_window(struct node_spill *s, struct job *j)
{
    uint32_t count = board_committed(&j->board), looked = 0;
    uint64_t bytes = 0;
    s->count = 0;
    while (s->record < count && looked++ < SPILL_LOOK_RECORDS &&
           gather(s, j, s->record, &bytes)) {
        s->record++;
    }
    pin_window(s, j);
    if (s->count == 0) {
        return s->record < count;
    }
    s->moving = j;
    s->in_flight = s->count;
    s->begun_ns = timeline_now(s->node);
    j->busy++;
    for (unsigned i = 0, n = s->count; i < n; i++) {
        spill_write(j->spill.files, &s->window[i].write);
    }
    return true;
}

/* ---- a round ------------------------------------------------------------------------------------- */

static void end_round(struct node_spill *s)
{
    struct node *n = s->node;
    if (s->freed == 0) {
        s->not_before_ns = loop_now_ns(n->loop) + SPILL_AGAIN_NS;
    } else {
        log_debug("spilled %llu bytes; %llu are in memory", (unsigned long long)s->freed,
                  (unsigned long long)(s->live > s->freed ? s->live - s->freed : 0));
        grant_want(n); /* owners free what has gone, and give empty segments back */
    }
    s->state = ROUND_IDLE;
    s->need = 0;
}

/* Who was refused room gets more than he lacked: else each of many small objects would need a round of its own,
 * and a wait for the disk, while what lives is little but segments are all granted. */
static bool enough(const struct node_spill *s)
{
    uint64_t left = s->live > s->freed ? s->live - s->freed : 0;
    uint64_t percent = s->node->budget.most_bytes / 100;
    uint64_t least = percent * (SPILL_HIGH_PERCENT - SPILL_LOW_PERCENT);
    return left <= percent * SPILL_LOW_PERCENT &&
           (!s->need || s->freed >= (s->need > least ? s->need : least));
}

static void next_segment(struct node_spill *s)
{
    s->state = ROUND_MOVE;
    if (s->node->stopping || enough(s) || !spill_choose(s)) {
        end_round(s);
        return;
    }
    struct job *j = s->node->jobs[s->job];
    j->spill.use[s->segment].done = true;
    if (spill_files(j)) {
        go_on(s, 0);
    } else {
        end_round(s);
    }
}

/* The next step of the round, or its first. */
static void step(struct loop_timer *timer)
{
    struct node_spill *s = LOOP_OWNER(timer, struct node_spill, soon);
    if (s->in_flight) {
        return; /* written() goes on */
    }
    if (s->state == ROUND_IDLE) {
        spill_begin_look(s);
    }
    if (s->state == ROUND_LOOK) {
        if (!spill_look_on(s)) {
            go_on(s, 0);
        } else if (!s->need &&
                   s->live <= s->node->budget.most_bytes / 100 * SPILL_HIGH_PERCENT) {
            end_round(s); /* granted, and not used: processes give it back when asked */
        } else {
            next_segment(s);
        }
        return;
    }
    struct job *j = spill_job_at(s->node, s->job);
    if (!s->need &&
        enough(s)) { /* a part of the segment will do, as its owner uses it again */
        end_round(s);
    } else if (!j || !send_window(s, j)) {
        next_segment(s);
    } else if (!s->in_flight) {
        go_on(s, 0);
    }
}

/* ---- jobs ---------------------------------------------------------------------------------------- */

struct spill *spill_files(struct job *j)
{
    struct node *n = j->node;
    if (!j->spill.files) {
        (void)spill_create(&n->spill->disk, n->loop, &j->spill.files);
    }
    return j->spill.files;
}

void spill_free_place(void *job, const struct place *p)
{
    struct job *j = job;
    if (j->spill.files) {
        spill_free(j->spill.files, p);
        compact_look(j);
    }
}

void spill_job_free(struct job *j)
{
    spill_destroy(j->spill.files);
    free(j->spill.use);
    j->spill = (struct job_spill){0};
}
