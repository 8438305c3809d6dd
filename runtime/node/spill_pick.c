/* spill_pick.c - which objects go to disk: what lies in which segment and how hot it is, and the coldest segment. */
#include <stdlib.h>
#include <string.h>

#include "spill.h"

#include "cluster.h"
#include "store/task.h"

enum { HEAT_MAX = 4, STANDINS_DIVISOR = 16 };

/* ---- what lies where ----------------------------------------------------------------------------- */

struct job *spill_job_at(const struct node *n, uint32_t i)
{
    struct job *j = i < JOBS_MAX ? n->jobs[i] : NULL;
    return j && !j->ended && !j->inline_tasks ? j : NULL;
}

static uint64_t heat_of(const struct job *j, uint32_t index)
{
    uint32_t age = at_load(&j->board.header->epoch, AT_RELAXED) -
                   at_load(&j->board.touched[index], AT_RELAXED);
    /* Used since the last look, in the epoch before, ... */
    return age == 1 ? HEAT_MAX : age == 2 ? 2 : age == 3 ? 1 : age == 0 ? HEAT_MAX : 0;
}

static void look_at(struct node_spill *s, struct job *j, uint32_t index)
{
    const struct record *r = &j->board.records[index];
    uint64_t state = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    enum phase phase = state_phase(state);
    if (phase == PHASE_FREE || phase >= PHASE_RETIRED) {
        return;
    }
    for (uint32_t i = 0; i < call_nrets(&call) && i < MOB_RETURNS_MAX; i++) {
        struct place p = record_get_place(r, i);
        if (p.kind != PLACE_ARENA || p.segment >= BOARD_SEGMENTS_MAX ||
            p.size > j->segments[p.segment].bytes) {
            continue;
        }
        struct seg_use *u = &j->spill.use[p.segment];
        u->live += p.size;
        s->live += p.size;
        if (spill_may_move(state)) {
            u->heat += p.size * heat_of(j, index);
        } else {
            u->fixed += p.size;
        }
    }
}

void spill_begin_look(struct node_spill *s)
{
    s->state = ROUND_LOOK;
    s->job = s->record = 0;
    s->live = s->freed = 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = spill_job_at(s->node, i);
        if (!j) {
            continue;
        }
        at_add(&j->board.header->epoch, 1, AT_RELAXED);
        if (j->guest) { /* what can be had again goes first, and not to disk */
            standin_evict(j, s->need ? 0 : s->node->budget.most_bytes / STANDINS_DIVISOR);
        }
        if (!j->spill.use) {
            j->spill.use = malloc(BOARD_SEGMENTS_MAX * sizeof *j->spill.use);
        }
        if (j->spill.use) {
            memset(j->spill.use, 0, BOARD_SEGMENTS_MAX * sizeof *j->spill.use);
        }
    }
}

bool spill_look_on(struct node_spill *s)
{
    uint32_t looked = 0;
    for (; s->job < JOBS_MAX; s->job++, s->record = 0) {
        struct job *j = spill_job_at(s->node, s->job);
        uint32_t count = j && j->spill.use ? board_committed(&j->board) : 0;
        for (; s->record < count; s->record++) {
            if (looked++ == SPILL_LOOK_RECORDS) {
                return false;
            }
            look_at(s, j, s->record);
        }
    }
    return true;
}

/* ---- which segment ------------------------------------------------------------------------------- */

/* How dear it is to move a segment's objects: how hot they are, in thousandths; one that cannot be emptied is
 * of little use to whoever needs memory. */
static uint64_t cost_of(const struct node_spill *s, const struct seg_use *u)
{
    uint64_t movable = u->live - u->fixed;
    return u->heat / (movable / 1000 + 1) + (s->need && u->fixed ? 1000 * HEAT_MAX : 0);
}

static bool is_better(const struct node_spill *s, const struct seg_use *a,
                      const struct seg_use *b)
{
    uint64_t cost_a = cost_of(s, a), cost_b = cost_of(s, b);
    return cost_a < cost_b ||
           (cost_a == cost_b && a->live - a->fixed > b->live - b->fixed);
}

bool spill_choose(struct node_spill *s)
{
    const struct seg_use *best = NULL;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = spill_job_at(s->node, i);
        for (uint32_t k = 0; j && j->spill.use && k < BOARD_SEGMENTS_MAX; k++) {
            const struct seg_use *u = &j->spill.use[k];
            if (u->done || u->live == u->fixed) {
                continue;
            }
            if (!best || is_better(s, u, best)) {
                best = u;
                s->job = i;
                s->segment = k;
            }
        }
    }
    s->record = 0;
    return best != NULL;
}
