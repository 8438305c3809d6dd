/* compact.c - what is alive in a mostly dead file moves to the end of the current one, and the file goes.
 *
 * One object at a time, through memory of the daemon's own: what is on disk is not hurried. */
#include <stdlib.h>

#include "core/log.h"
#include "core/status.h"
#include "spill.h"

struct compact {
    struct job *job;
    struct loop_timer soon;
    uint32_t file, record;
    uint64_t moved;
    /* The object that moves: */
    uint64_t link, pin;
    struct record *at;
    void *bytes;
    struct spill_read read;
    struct spill_write write;
};

static void step(struct loop_timer *timer);

static void end(struct compact *c)
{
    struct job *j = c->job;
    log_debug("compacted a file of job %u: %llu bytes moved", j->number,
              (unsigned long long)c->moved);
    loop_timer_stop(j->node->loop, &c->soon);
    j->spill.compact = NULL;
    free(c);
    j->busy--;
    if (j->ended && j->busy == 0) {
        job_step(j);
    } else {
        compact_look(
            j); /* others became sparse meanwhile, and nothing may be freed any more */
    }
}

/* This object is done with; on to the next. */
static void let_go(struct compact *c)
{
    lane_unpin(&c->job->lane, c->pin);
    free(c->bytes);
    c->bytes = NULL;
    loop_timer_start(c->job->node->loop, &c->soon, 0, step);
}

static void written(struct spill_write *w, mob_status st)
{
    struct compact *c = LOOP_OWNER(w, struct compact, write);
    struct job *j = c->job;
    if (st == MOB_OK) {
        /* Not while its bytes are on their way into memory from where they were. */
        bool moved = !j->ended && !spill_restoring(j, c->link) &&
                     move_swing(c->at, link_ret(c->link), &c->read.place, &w->place);
        c->moved += moved ? w->size : 0;
        spill_free(j->spill.files, moved ? &c->read.place : &w->place);
    }
    let_go(c);
}

static void read_back(struct spill_read *r, mob_status st)
{
    struct compact *c = LOOP_OWNER(r, struct compact, read);
    if (st ||
        c->job->ended) { /* whoever wants the object finds out what is wrong with it */
        let_go(c);
        return;
    }
    c->write = (struct spill_write){.name = c->link,
                                    .data = c->bytes,
                                    .size = r->place.size,
                                    .moves = true,
                                    .done = written};
    spill_write(c->job->spill.files, &c->write);
}

/* Starts to move a result if it lies in the file. False: it does not, or stays. */
static bool take(struct compact *c, uint64_t link)
{
    struct job *j = c->job;
    struct place p;
    struct record *r = spill_record(j, link, &p);
    if (!r || p.kind != PLACE_SPILLED || p.segment != c->file ||
        p.size > SPILL_MOVE_MAX || spill_restoring(j, link) ||
        lane_pin(&j->lane, link, &c->pin) != MOB_OK) {
        return false;
    }
    c->bytes = malloc(p.size ? p.size : 1);
    if (!c->bytes) {
        lane_unpin(&j->lane, c->pin);
        return false;
    }
    c->link = link;
    c->at = r;
    c->read =
        (struct spill_read){.name = link, .place = p, .dst = c->bytes, .done = read_back};
    spill_read(j->spill.files, &c->read);
    return true;
}

static bool take_record(struct compact *c, uint32_t index)
{
    const struct record *r = &c->job->board.records[index];
    uint64_t state = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    if (!state_sealed(state)) {
        return false;
    }
    for (uint32_t i = 0; i < call_nrets(&call) && i < MOB_RETURNS_MAX; i++) {
        if (take(c, link_make(state_gen(state), index, i))) {
            return true; /* the same record again after it: it may have more */
        }
    }
    return false;
}

static void step(struct loop_timer *timer)
{
    struct compact *c = LOOP_OWNER(timer, struct compact, soon);
    struct job *j = c->job;
    uint32_t count = board_committed(&j->board), looked = 0;
    if (j->ended) {
        end(c);
        return;
    }
    for (; c->record < count; c->record++) {
        if (looked++ == SPILL_LOOK_RECORDS) {
            loop_timer_start(j->node->loop, &c->soon, 0, step);
            return;
        }
        if (take_record(c, c->record)) {
            return;
        }
    }
    end(c);
}

void compact_look(struct job *j)
{
    uint32_t file;
    if (j->spill.compact || j->ended || !spill_sparse(j->spill.files, &file)) {
        return;
    }
    struct compact *c = calloc(1, sizeof *c);
    if (c) {
        spill_file_visited(j->spill.files, file);
        c->job = j;
        c->file = file;
        j->spill.compact = c;
        j->busy++;
        loop_timer_start(j->node->loop, &c->soon, 0, step);
    }
}
