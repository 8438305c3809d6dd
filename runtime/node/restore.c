/* restore.c - objects on disk that somebody wants in memory. */
#include <stdlib.h>

#include "core/log.h"
#include "core/status.h"
#include "spill.h"

struct restore {
    struct restore *next;
    struct job *job;
    uint64_t link, pin;
    struct record *record;
    struct spill_read read;
    struct arena_place place;
    bool pinned, reading;
    uint64_t begun_ns; /* for the timeline, or 0 */
};

static void try_all(struct loop_timer *timer);

static void forget(struct restore *r)
{
    struct job *j = r->job;
    struct restore **at = &j->spill.restores;
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    if (r->pinned) {
        lane_unpin(&j->lane, r->pin);
    }
    free(r);
    j->busy--;
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}

/* The object's bytes are not to be had any more. */
static void lose(struct restore *r)
{
    char name[MOB_NAME_MAX + 1] = "(put)";
    struct call call = record_call(r->record);
    struct place lost = {PLACE_LOST, 0, 0, r->read.place.size};
    if (call.fn != CALL_PUT) {
        board_name_text(&r->job->board, r->record->name, name);
    }
    log_error("an object of job %u, made by %s, is lost: %s", r->job->number, name,
              mob_last_error());
    if (move_swing(r->record, link_ret(r->link), &r->read.place, &lost)) {
        spill_free(r->job->spill.files, &r->read.place);
    }
}

static void try_later(struct node *n)
{
    struct node_spill *s = n->spill;
    if (!s->retry.active && !n->stopping) {
        loop_timer_start(n->loop, &s->retry, loop_now_ns(n->loop) + RESTORE_RETRY_NS,
                         try_all);
    }
}

static void read_back(struct spill_read *read, mob_status st)
{
    struct restore *r = LOOP_OWNER(read, struct restore, read);
    struct job *j = r->job;
    struct place there = {PLACE_ARENA, r->place.segment, r->place.offset,
                          read->place.size};
    grant_landed(j, &r->place);
    timeline_note(j->node, TIMELINE_RESTORE, j->number, r->begun_ns, r->link, 0,
                  read->place.size, st);
    if (st == MOB_OK && !j->ended &&
        move_swing(r->record, link_ret(r->link), &read->place, &there)) {
        board_touch(&j->board, link_index(r->link));
        spill_free(j->spill.files, &read->place);
    } else {
        grant_unplace(j, &r->place);
        if (st == MOB_ERR_NOMEM && !j->ended) { /* to read with: the bytes are there */
            r->reading = false;
            try_later(j->node);
            return;
        }
        if (st && st != MOB_ERR_CANCELLED && !j->ended) {
            lose(r);
        }
    }
    if (!j->ended) {
        spill_tell(j);
    }
    forget(r);
}

/* MOB_ERR_NOMEM or MOB_ERR_FULL: later. Others: there is nothing to do any more. */
static mob_status begin(struct restore *r)
{
    struct job *j = r->job;
    struct place p;
    struct record *record = spill_record(j, r->link, &p);
    if (!record || p.kind != PLACE_SPILLED) {
        return MOB_ERR_NOT_FOUND;
    }
    if (!r->pinned) {
        MOB_TRY(lane_pin(&j->lane, r->link, &r->pin));
        r->pinned = true;
    }
    MOB_TRY(grant_aligned(j, p.size, record_align(record), &r->place, &r->read.dst));
    r->record = record;
    r->read.name = r->link;
    r->read.place = p;
    r->read.done = read_back;
    r->reading = true;
    r->begun_ns = timeline_now(j->node);
    spill_read(j->spill.files, &r->read);
    return MOB_OK;
}

static void wait_for_room(struct node *n, uint64_t size)
{
    struct node_spill *s = n->spill;
    uint64_t now = loop_now_ns(n->loop);
    if (now >= s->want_ns) {
        s->want_ns = now + RESTORE_WANT_NS;
        grant_want(n);
    }
    spill_pressure(n, size);
    try_later(n);
}

/* Starts it if there is room; else it stays in the list. */
static void try_one(struct restore *r)
{
    struct job *j = r->job;
    mob_status st = begin(r);
    if (st == MOB_ERR_NOMEM || st == MOB_ERR_FULL) {
        const struct record *record = board_record(&j->board, link_index(r->link));
        wait_for_room(j->node, record_get_place(record, link_ret(r->link)).size);
    } else if (st) {
        spill_tell(j);
        forget(r);
    }
}

static void try_job(struct job *j)
{
    struct restore *next;
    for (struct restore *r = j->spill.restores; r; r = next) {
        next = r->next;
        if (!r->reading) {
            try_one(r);
        }
    }
}

static void try_all(struct loop_timer *timer)
{
    struct node_spill *s = LOOP_OWNER(timer, struct node_spill, retry);
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = s->node->jobs[i];
        if (j && !j->ended) {
            try_job(j);
        }
    }
}

bool spill_restoring(const struct job *j, uint64_t link)
{
    for (const struct restore *r = j->spill.restores; r; r = r->next) {
        if (r->link == link) {
            return true;
        }
    }
    return false;
}

void spill_restore(struct job *j, uint64_t link)
{
    struct place p;
    if (!j->spill.files || j->ended || !spill_record(j, link, &p) ||
        p.kind != PLACE_SPILLED || spill_restoring(j, link)) {
        return;
    }
    struct restore *r = calloc(1, sizeof *r);
    if (!r) {
        return; /* whoever waits comes to the end of his time */
    }
    r->job = j;
    r->link = link;
    j->busy++;
    struct restore **end = &j->spill.restores; /* who came first is served first */
    while (*end) {
        end = &(*end)->next;
    }
    *end = r;
    try_one(r);
}

void spill_end_job(struct job *j)
{
    struct restore *next;
    j->busy++; /* so that it is still there at the end of this */
    for (struct restore *r = j->spill.restores; r; r = next) {
        next = r->next;
        if (!r->reading) {
            forget(r);
        }
    }
    if (j->spill.files) {
        spill_cancel(j->spill.files);
    }
    j->busy--;
}
