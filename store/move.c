#include "store/move.h"

#include "lane_impl.h"
#include "store/task.h"

bool move_swing(struct record *r, uint32_t ret, const struct place *from,
                const struct place *to)
{
    uint64_t where = place_pack(from->kind, from->segment, from->offset);
    return at_cas(&record_place(r, ret)->where, &where,
                  place_pack(to->kind, to->segment, to->offset), AT_SEQ_CST);
}

/* A pin, by its name as lane_pin() gives it, names a record. */
static void mark(struct move *moves, uint32_t count, uint64_t pin, uint64_t link)
{
    for (uint32_t i = 0; i < count; i++) {
        if (moves[i].pin == pin) {
            return; /* the mover's own */
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        moves[i].held |= link_index(moves[i].link) == link_index(link);
    }
}

void move_look(const struct lane *l, struct move *moves, uint32_t count)
{
    const struct board *b = l->board;
    for (uint32_t i = 0; i < count; i++) {
        moves[i].held = false;
    }
    at_fence(); /* the swings before the look at the pins; pairs with the fence in lane_pin() */
    uint32_t ledgers = at_load(&b->header->ledgers, AT_SEQ_CST);
    for (uint32_t i = 0; i < ledgers && i < BOARD_LEDGERS_MAX; i++) {
        const struct ledger *g = &b->ledgers[i];
        uint32_t high = at_load(&g->high, AT_ACQUIRE);
        if (at_load(&g->owner, AT_ACQUIRE) == 0) {
            continue;
        }
        for (uint32_t k = 0; k < high && k < BOARD_PINS; k++) {
            uint64_t link = at_load(&g->pin[k], AT_ACQUIRE);
            if (link != LINK_NONE) {
                mark(moves, count, (uint64_t)i << 8 | k, link);
            }
        }
    }
}

bool move_give(struct lane *l, const struct place *old)
{
    uint32_t owner =
        old->segment < BOARD_SEGMENTS_MAX
            ? segment_owner(at_load(&l->board->segments[old->segment], AT_ACQUIRE))
            : PROCS_MAX;
    struct record *r;
    if (owner == l->self) {
        l->free_place(l->free_place_arg, old->segment, old->offset);
    } else if (owner < PROCS_MAX) {
        struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
        if (lane_record(l, &r) != MOB_OK) {
            return false;
        }
        uint32_t gen = lane_gen(r);
        task_begin(l, r, &call, LINK_NONE);
        record_set_place(r, 0, PLACE_ARENA, old->segment, old->offset, old->size);
        at_store(&r->state, state_make(gen, l->self, 0, PHASE_DEAD), AT_RELAXED);
        lane_pass_on(l, board_index(l->board, r), owner, old->segment);
    }
    return true;
}
