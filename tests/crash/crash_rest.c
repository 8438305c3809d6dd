/* crash_rest.c - what must hold of a node whose drivers rest: nothing is in use. */
#include <stdio.h>

#include "core/clock.h"
#include "core/status.h"
#include "crash_node.h"
#include "store/check.h"

enum { BOARDS_MAX = 16 };

/* What lives in the segments of dead processes, on stderr. */
static void tell_orphans(const struct board *b)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        uint64_t word = at_load(&b->segments[i], AT_ACQUIRE);
        if (!(word & SEGMENT_USED) || segment_owner(word) != DAEMON) {
            continue;
        }
        fprintf(stderr, "segment %u of a dead process%s:\n", i,
                word & SEGMENT_REVOKED ? ", revoked" : "");
        for (uint32_t p = 1; p < PROCS_MAX && word & SEGMENT_REVOKED; p++) {
            if (at_load(&b->procs[p].state, AT_ACQUIRE) != PROC_NONE) {
                fprintf(stderr, "  process %u has seen %u of %u\n", p,
                        at_load(&b->procs[p].revoked_seen, AT_ACQUIRE),
                        at_load(&b->header->revoked, AT_ACQUIRE));
            }
        }
        for (uint32_t r = 0; r < at_load(&b->header->committed, AT_ACQUIRE); r++) {
            uint64_t s = at_load(&b->records[r].state, AT_ACQUIRE);
            struct call call = record_call(&b->records[r]);
            for (uint32_t k = 0; k < call_nrets(&call) && state_phase(s); k++) {
                struct place place = record_get_place(&b->records[r], k);
                if (place.kind == PLACE_ARENA && place.segment == i) {
                    fprintf(stderr, "  record %u in phase %d, held by %u: %llu bytes\n",
                            r, (int)state_phase(s), state_holder(s),
                            (unsigned long long)place.size);
                }
            }
        }
    }
}

/* Whether any result lies in the memory of a dead process, or the daemon's. */
static bool lives_in_orphans(const struct board *b)
{
    bool lives = false;
    for (uint32_t r = 0; r < at_load(&b->header->committed, AT_ACQUIRE); r++) {
        struct call call = record_call(&b->records[r]);
        enum phase phase = state_phase(at_load(&b->records[r].state, AT_ACQUIRE));
        for (uint32_t k = 0; k < call_nrets(&call) && phase != PHASE_FREE; k++) {
            struct place p = record_get_place(&b->records[r], k);
            lives |=
                p.kind == PLACE_ARENA && p.segment < BOARD_SEGMENTS_MAX &&
                segment_owner(at_load(&b->segments[p.segment], AT_ACQUIRE)) == DAEMON;
        }
    }
    return lives;
}

/* Everything that was in use on a board is free again. A cluster's daemon has segments and objects
 * of its own: what it pulled, and keeps for the next tasks. One that spills keeps empty ones for what comes
 * back from disk. */
static mob_status check_board(const struct board *b, bool cluster, bool guest, bool tell)
{
    struct check_result r = {.texts = NULL};
    MOB_TRY(board_check(b, &r));
    for (int p = PHASE_CREATING; p <= PHASE_CLOSED; p++) {
        if (r.phases[p] && !(guest && p == PHASE_CLOSED)) {
            return status_fail(MOB_ERR_STATE, "%u records are in phase %d", r.phases[p],
                               p);
        }
    }
    bool left = nodes_are_small() ? lives_in_orphans(b) : r.orphans > 0;
    if (r.pins || (left && !cluster)) {
        if (tell) {
            tell_orphans(b);
        }
        return status_fail(MOB_ERR_STATE, "%u pins, %u segments of dead processes",
                           r.pins, r.orphans);
    }
    return MOB_OK;
}

/* Jobs of drivers have process 1; a guest's board has not. */
static bool is_guest(const struct board *b)
{
    return at_load(&b->procs[1].state, AT_ACQUIRE) != PROC_DRIVER;
}

static mob_status at_rest(const struct node *n, bool tell)
{
    struct board boards[BOARDS_MAX];
    size_t count = boards_map(n->daemon, boards, BOARDS_MAX);
    int own = 0;
    mob_status st = MOB_OK;
    for (size_t i = 0; i < count; i++) {
        bool guest = is_guest(&boards[i]);
        own += !guest;
        st = st ? st : check_board(&boards[i], n->peer != NULL, guest, tell);
        board_unmap(&boards[i]);
    }
    return !st && own != n->drivers_count
               ? status_fail(MOB_ERR_LOST, "%d boards of %d", own, n->drivers_count)
               : st;
}

void node_rest(struct node *n)
{
    struct node *all[] = {n, n->peer};
    size_t count = n->peer ? 2 : 1;
    uint64_t until = clock_now_ns() + SETTLE_MS * NS_PER_MS;
    mob_status st;
    do { /* workers come to rest by and by, and drivers look again what was freed */
        for (size_t i = 0; i < count; i++) {
            node_tell_drivers(all[i], 'q');
        }
        for (size_t i = 0; i < count; i++) {
            node_await_rest(all[i]);
            all[i]->resting = true;
        }
        bool last = clock_now_ns() > until;
        st = at_rest(n, last);
        if (!st && n->peer) {
            st = at_rest(n->peer, last);
        }
        if (last) {
            break;
        }
        if (st) {
            nap_ms(100);
        }
    } while (st);
    if (st) {
        static const char *const names[] = {"a lone node", "an embedded node",
                                            "a cluster", "a cluster"};
        broken("at rest on %s: %s", names[n->kind], mob_last_error());
    }
    for (size_t i = 0; i < count; i++) {
        node_set_rest(all[i], false);
    }
}
