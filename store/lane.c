#include "store/lane.h"

#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "lane_impl.h"

/* ---- blocks --------------------------------------------------------------------------------- */

/* Adds records to a block's own, and the block to the stack of those that have some. */
static void add_avail(struct lane *l, uint32_t place, uint64_t bits)
{
    struct lane_block *blk = &l->blocks[place];
    blk->avail |= bits;
    if (!blk->stacked) {
        blk->stacked = true;
        blk->next = l->top;
        l->top = place + 1;
    }
}

/* Adds those of some records that are FREE, which is the truth; that they were returned is a hint that
 * others write. From here on nobody but this lane changes them. */
static void add_free(struct lane *l, uint32_t place, uint64_t bits)
{
    struct lane_block *blk = &l->blocks[place];
    uint64_t avail = 0;
    if (l->first_index == blk->block * BOARD_BLOCK) {
        bits &= ~l->avail; /* returned too late to be news */
    }
    for (; bits; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        struct record *r = &l->board->records[blk->block * BOARD_BLOCK + i];
        uint64_t s = at_load(&r->state, AT_ACQUIRE);
        if (s == 0) { /* never used; generations start at 1 */
            s = state_make(1, 0, 0, PHASE_FREE);
            at_store(&r->state, s, AT_RELAXED);
        }
        if (state_phase(s) == PHASE_FREE) {
            blk->gens[i] = state_gen(s);
            avail |= 1ull << i;
        }
    }
    add_avail(l, place, avail);
}

static bool add_block(struct lane *l, uint32_t block)
{
    if (l->blocks_count == l->blocks_room) {
        uint32_t room = l->blocks_room ? l->blocks_room * 2 : 16;
        struct lane_block *grown = realloc(l->blocks, room * sizeof *grown);
        if (!grown) {
            return false;
        }
        l->blocks = grown;
        l->blocks_room = room;
    }
    l->blocks[l->blocks_count++] = (struct lane_block){.block = block};
    l->block_slot[block] = l->blocks_count;
    at_store(&l->board->block_returned[block], 0, AT_RELAXED);
    add_free(l, l->blocks_count - 1, UINT64_MAX >> (64 - BOARD_BLOCK));
    return true;
}

/* Leases a block that nobody has. */
static bool lease_block(struct lane *l)
{
    struct board *b = l->board;
    uint32_t committed = board_committed(b) / BOARD_BLOCK;
    uint32_t used = at_load(&b->header->blocks, AT_RELAXED);
    for (uint32_t k = 0; k < committed; k++) {
        /* New blocks first: blocks that were given back are found when those are used up. */
        uint32_t block = used + k < committed ? used + k : used + k - committed;
        uint32_t owner = at_load(&b->block_owner[block], AT_RELAXED);
        if (owner != 0 ||
            !at_cas(&b->block_owner[block], &owner, l->self + 1, AT_ACQ_REL)) {
            continue;
        }
        uint32_t seen = at_load(&b->header->blocks, AT_RELAXED);
        while (seen < block + 1 &&
               !at_cas(&b->header->blocks, &seen, block + 1, AT_SEQ_CST)) {
        }
        if (!add_block(l, block)) {
            at_store(&b->block_owner[block], 0, AT_RELEASE);
            return false;
        }
        return true;
    }
    return false;
}

/* Takes in what others made FREE in @count of this lane's blocks, from where the last look ended.
 * True if there is something now. */
static bool collect_returned(struct lane *l, uint32_t count)
{
    for (uint32_t k = 0; k < count && k < l->blocks_count; k++) {
        l->looked = l->looked + 1 < l->blocks_count ? l->looked + 1 : 0;
        at_u64 *word = &l->board->block_returned[l->blocks[l->looked].block];
        if (at_load(word, AT_RELAXED) != 0) {
            add_free(l, l->looked, at_swap(word, 0, AT_ACQUIRE));
        }
    }
    return l->top != 0;
}

/* Makes the next block on the stack the one at hand. */
static void next_block(struct lane *l)
{
    struct lane_block *blk = &l->blocks[l->top - 1];
    l->first_index = blk->block * BOARD_BLOCK;
    l->first = &l->board->records[l->first_index];
    l->top = blk->next;
    l->avail = blk->avail;
    l->gens = blk->gens;
    blk->avail = 0;
    blk->stacked = false;
}

/* A record of the block at hand, or of the next one on the stack. */
static struct record *take(struct lane *l)
{
    uint64_t link;
    while (!l->avail && l->top) {
        next_block(l);
    }
    return lane_take(l, &link);
}

static void ask_for_records(struct board *b)
{
    uint32_t left =
        board_committed(b) - at_load(&b->header->blocks, AT_RELAXED) * BOARD_BLOCK;
    if (left < BOARD_COMMIT_STEP / 2) {
        board_notice(b, NOTICE_RECORDS);
    }
}

/* In the order of what they cost: what others gave back, what waits for a look at the pins, a new
 * block, and at last a look at all own blocks. */
static __attribute__((noinline)) struct record *find_record(struct lane *l)
{
    enum { LOOK_AT_ONCE = 16 };
    if (collect_returned(l, LOOK_AT_ONCE)) {
        return take(l);
    }
    if (l->limbo_count >= LANE_LIMBO / 2) {
        lane_reclaim(l);
        if (l->top) {
            return take(l);
        }
    }
    ask_for_records(l->board);
    if (!lease_block(l)) {
        lane_reclaim(l);
        collect_returned(l, l->blocks_count);
    }
    return take(l);
}

mob_status lane_record(struct lane *l, struct record **ret)
{
    struct record *r = take(l);
    if (__builtin_expect(!r, 0)) {
        r = find_record(l);
    }
    if (__builtin_expect(!r, 0)) {
        return status_fail(MOB_ERR_FULL,
                           "no record is free: %u are in use; release ids that are no "
                           "longer needed",
                           board_committed(l->board));
    }
    *ret = r;
    return MOB_OK;
}

bool lane_await_record(const struct lane *l)
{
    for (uint32_t i = 0; i < l->blocks_count; i++) {
        for (uint32_t k = 0; k < BOARD_BLOCK; k++) {
            const struct record *r =
                &l->board->records[l->blocks[i].block * BOARD_BLOCK + k];
            enum phase p = state_phase(at_load(&r->state, AT_ACQUIRE));
            uint64_t refs = at_load(&r->refs, AT_RELAXED);
            if (p > PHASE_CREATING && p < PHASE_RETIRED &&
                !(refs & 0xffull << REFS_HANDLE_SHIFT)) {
                return true;
            }
        }
    }
    return false;
}

/* Hands records of a block out again. */
void lane_give_bits(struct lane *l, uint32_t block, uint64_t bits)
{
    uint32_t slot = l->block_slot[block];
    if (bits == 0) {
        return;
    }
    if (slot) {
        add_avail(l, slot - 1, bits);
    } else {
        at_or(&l->board->block_returned[block], bits, AT_RELEASE);
    }
}

/* ---- begin and end ---------------------------------------------------------------------------- */

mob_status lane_init(struct lane *l, struct board *b, uint32_t process,
                     lane_free_place free_place, void *arg)
{
    *l = (struct lane){.board = b,
                       .self = process,
                       .queued = (uint32_t)state_make(0, process, 0, PHASE_QUEUED),
                       .free_place = free_place,
                       .free_place_arg = arg};
    for (uint32_t i = 0; i < CLASSES_MAX; i++) {
        l->ready[i] = board_ready(b, i);
    }
    /* Zeroed lazily by the kernel: only the pages of leased blocks are ever touched. */
    l->block_slot = calloc(BOARD_BLOCKS_MAX, sizeof *l->block_slot);
    if (!l->block_slot) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a thread's table of blocks");
    }
    if (!ledger_lease(l)) {
        free(l->block_slot);
        return status_fail(MOB_ERR_FULL,
                           "all %u ledgers are leased: too many threads use this job",
                           BOARD_LEDGERS_MAX);
    }
    return MOB_OK;
}

void lane_fini(struct lane *l)
{
    if (!l->board) {
        return;
    }
    struct board *b = l->board;
    lane_rest(l);
    for (uint32_t i = 0; i < l->blocks_count; i++) {
        /* The daemon's from now on; it gives a block free once all its records are. */
        at_store(&b->block_owner[l->blocks[i].block], DAEMON + 1, AT_RELEASE);
    }
    ledger_leave(l);
    free(l->blocks);
    free(l->block_slot);
    memset(l, 0, sizeof *l);
}
