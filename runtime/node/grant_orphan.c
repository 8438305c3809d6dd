/* grant_orphan.c - the segments of a dead process: nothing is made in them again, and each goes when the last
 * that lives in it has gone. */
#include "cluster.h"
#include "core/log.h"
#include "store/task.h"

void grant_orphan(struct job *j, uint32_t proc)
{
    struct budget *b = &j->node->budget;
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        struct segment *s = &j->segments[i];
        s->mappers[proc / 64] &= ~(1ull << proc % 64);
        if (s->state == SEGMENT_NONE || s->owner != proc) {
            continue;
        }
        if (s->state == SEGMENT_AHEAD && i != j->ahead) {
            grant_drop(j, i);
            continue;
        }
        if (s->state != SEGMENT_AHEAD) { /* else it goes when its pages are there */
            grant_is_committed(j, i);    /* how far it came does not matter any more */
        }
        struct budget_owner from = grant_payer(j, s);
        bool leaving = s->state == SEGMENT_LEAVING, ahead = s->state == SEGMENT_AHEAD;
        s->owner = DAEMON;
        s->live =
            0; /* not known before grant_count_orphans(): what the sweep frees is not counted */
        if (budget_move(b, from, grant_payer(j, s), s->bytes) != MOB_OK) {
            log_error("no memory to account for a dead process's segment");
        }
        if (ahead) {
            continue;
        }
        s->state = leaving ? SEGMENT_LEAVING : SEGMENT_ORPHAN;
        grant_publish(j, i, SEGMENT_USED | (leaving ? SEGMENT_REVOKED : 0));
    }
}

void grant_count_orphans(struct job *j)
{
    struct board *b = &j->board;
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        j->segments[i].live = 0;
    }
    uint32_t count = board_committed(b);
    for (uint32_t i = 0; i < count; i++) {
        struct record *r = &b->records[i];
        uint64_t s = at_load(&r->state, AT_ACQUIRE);
        struct call call = record_call(r);
        if (state_phase(s) == PHASE_FREE || state_phase(s) == PHASE_RETIRED) {
            continue;
        }
        for (uint32_t k = 0; k < call_nrets(&call); k++) {
            struct place p = record_get_place(r, k);
            if (p.kind == PLACE_ARENA && p.segment < BOARD_SEGMENTS_MAX) {
                j->segments[p.segment].live++;
            }
        }
    }
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state == SEGMENT_ORPHAN && j->segments[i].live == 0) {
            grant_leave(j, i);
        }
    }
    grant_collect(j); /* the dead one may have been the last to map something */
}

void grant_free_place(void *arg, uint32_t segment, uint64_t offset)
{
    struct job *j = arg;
    struct segment *s = &j->segments[segment];
    if (s->rw) {
        grant_unplace(j, &(struct arena_place){segment, offset});
        return;
    }
    /* Nothing is allocated in an orphan again: only the number of survivors counts. */
    if (s->state == SEGMENT_ORPHAN && s->live > 0 && --s->live == 0) {
        grant_leave(j, segment);
    }
}
