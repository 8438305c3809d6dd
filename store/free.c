/* free.c - from the last handle to FREE: uses and handles, limbo, places. */
#include <string.h>

#include "core/status.h"
#include "lane_impl.h"

/* ---- limbo ---------------------------------------------------------------------------------------- */

/* Leaves a DEAD record to the daemon, which looks at it again later: told by its ring, or found among
 * all records if that is full, or by the sweep if this process dies before it told. */
static void hand_over(struct lane *l, struct record *r)
{
    struct queue_view ring = board_ring(l->board, DAEMON);
    uint64_t s = at_load(&r->state, AT_RELAXED);
    (void)at_cas(&r->state, &s, state_to(s, PHASE_DEAD, DAEMON), AT_SEQ_CST);
    bool told = l->self != DAEMON &&
                queue_push(&ring, board_index(l->board, r)) <= QUEUE_OK_POLLED;
    board_notice(l->board, told ? NOTICE_PLACES : NOTICE_RESCAN);
}

/* Bytes outside of the record, wherever they are, at most LANE_LIMBO_BYTES for each place. */
static uint64_t outer_bytes(const struct record *r)
{
    const uint32_t outer = 1u << PLACE_ARENA | 1u << PLACE_SPILLED | 1u << PLACE_AWAY;
    struct call call = record_call(r);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < call_nrets(&call); i++) {
        struct place p = record_get_place(r, i);
        if (outer >> p.kind & 1) {
            bytes += p.size < LANE_LIMBO_BYTES ? p.size : LANE_LIMBO_BYTES;
        }
    }
    return bytes;
}

static inline void into_limbo(struct lane *l, struct record *r, uint32_t index,
                              uint32_t most)
{
    if (__builtin_expect(l->limbo_count >= most - 1, 0)) {
        if (l->limbo_count == LANE_LIMBO * 2) {
            hand_over(l, r); /* only while reclaiming: many results of results */
            return;
        }
        l->limbo[l->limbo_count++] = index;
        if (!l->reclaiming) {
            lane_reclaim(l);
        }
        return;
    }
    l->limbo[l->limbo_count++] = index;
}

static inline void adopt(struct lane *l, struct record *r, uint32_t index)
{
    if (__builtin_expect(record_is_plain(r), 1)) {
        into_limbo(l, r, index | LANE_PLAIN, LANE_LIMBO);
    } else {
        l->limbo_bytes += outer_bytes(r);
        into_limbo(l, r, index, l->limbo_bytes >= LANE_LIMBO_BYTES ? 1 : LANE_LIMBO);
    }
}

void lane_adopt(struct lane *l, struct record *r)
{
    adopt(l, r, board_index(l->board, r));
}

/* ---- left to the daemon ------------------------------------------------------------------------- */

/* The daemon's side of it. No more than lane_reclaim() keeps of pinned ones: the others wait among all
 * records. */
static void take_over(struct lane *l, struct record *r)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    if (state_phase(s) != PHASE_DEAD || state_holder(s) != DAEMON || l->self != DAEMON ||
        lane_in_limbo(l, board_index(l->board, r))) {
        return;
    }
    if (l->limbo_count < LANE_LIMBO / 2) {
        lane_adopt(l, r);
    } else {
        board_notice(l->board, NOTICE_RESCAN);
    }
}

void lane_rest(struct lane *l)
{
    lane_reclaim(l);
    for (uint32_t i = 0; i < l->limbo_count; i++) { /* pinned by others */
        hand_over(l, &l->board->records[l->limbo[i] & ~LANE_PLAIN]);
    }
    l->limbo_count = 0;
}

/* ---- lifetime ----------------------------------------------------------------------------------- */

mob_status lane_use(struct lane *l, uint64_t link)
{
    struct record *r = board_record(l->board, link_index(link));
    if (r) {
        uint64_t refs = at_load(&r->refs, AT_RELAXED);
        while (refs >> 32 == link_gen(link) && (refs & REFS_LOW_MASK) != 0) {
            if ((refs & REFS_USES_MASK) == REFS_USES_MASK) {
                return status_fail(MOB_ERR_FULL,
                                   "an object is an argument of %llu tasks, the most "
                                   "it can be at once",
                                   (unsigned long long)REFS_USES_MASK);
            }
            if (!at_cas(&r->refs, &refs, refs + REFS_USE, AT_SEQ_CST)) {
                continue;
            }
            /* Pairs with drop_last(). */
            if (__builtin_expect(!state_gone(at_load(&r->state, AT_SEQ_CST)), 1)) {
                return MOB_OK;
            }
            lane_unuse(l, link);
            break;
        }
    }
    return status_fail(MOB_ERR_RELEASED,
                       "an argument's id was released before, or never existed");
}

/* Takes @uses, or if that is 0 a handle and the spare uses, off the refs word, and frees if those were the last. */
static void less(struct lane *l, uint64_t link, uint32_t uses)
{
    struct record *r = board_record(l->board, link_index(link));
    if (!r) {
        return;
    }
    uint64_t refs = at_load(&r->refs, AT_RELAXED);
    for (;;) {
        uint64_t bit = 1ull << (REFS_HANDLE_SHIFT + (link_ret(link) & 7));
        bool there =
            uses ? (refs & REFS_USES_MASK) >= uses : link_ret(link) < 8 && refs & bit;
        if (refs >> 32 != link_gen(link) || !there) {
            return;
        }
        uint64_t spare = record_spare(r), used = refs & REFS_USES_MASK;
        uint64_t next =
            uses ? refs - uses * REFS_USE : (refs & ~bit) - (spare < used ? spare : used);
        /* Sequentially consistent, and then a look at the phase in lane_try_free(): pairs with
         * the closer, which sets the phase and then looks at the refs. One of them sees both. */
        if (at_cas(&r->refs, &refs, next, AT_SEQ_CST)) {
            if ((next & REFS_LOW_MASK) == 0) {
                lane_try_free(l, r, link_gen(link));
            }
            return;
        }
    }
}

void lane_unuse(struct lane *l, uint64_t link)
{
    less(l, link, 1);
}

/* Takes off what is owed to the record at a place. */
static void settle(struct lane *l, uint32_t at)
{
    const struct lane_owed *o = &l->owed[at];
    struct record *r = board_record(l->board, link_index(o->link));
    uint64_t link = o->link;
    uint32_t uses = o->uses;
    l->owed_map &= ~(1ull << at);
    l->owed[at].link = LINK_NONE;
    if (r && lane_drop_last(l, r, link, uses * REFS_USE)) {
        adopt(l, r, link_index(link));
    } else {
        less(l, link, uses);
    }
}

void lane_settle(struct lane *l)
{
    while (l->owed_map) {
        settle(l, (uint32_t)__builtin_ctzll(l->owed_map));
    }
}

void lane_owe(struct lane *l, uint64_t link)
{
    uint32_t index = link_index(link), at = index % LANE_OWED;
    const struct record *r = board_record(l->board, index);
    if (!l->owes || !r ||
        !record_is_plain(r)) { /* of large ones the bytes are wanted back */
        lane_unuse(l, link);
        return;
    }
    if (l->owed_map >> at & 1) {
        settle(l, at);
    }
    l->owed[at] = (struct lane_owed){link_make(link_gen(link), index, 0), 1};
    l->owed_map |= 1ull << at;
}

void lane_drop(struct lane *l, uint64_t link)
{
    struct record *r = board_record(l->board, link_index(link));
    if (r && lane_drop_last(l, r, link, REFS_FIRST_HANDLE)) {
        adopt(l, r, link_index(link));
    } else {
        lane_drop_handle(l, link);
    }
}

void lane_drop_handle(struct lane *l, uint64_t link)
{
    struct record *r = board_record(l->board, link_index(link));
    uint32_t spare = r ? record_spare(r) : 0;
    if (spare && lane_drop_last(l, r, link, REFS_FIRST_HANDLE | spare)) {
        adopt(l, r, link_index(link));
    } else {
        less(l, link, 0);
    }
}

void lane_dropped(struct lane *l, struct record *r)
{
    adopt(l, r, board_index(l->board, r));
}

void lane_try_free(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t refs = at_load(&r->refs, AT_SEQ_CST);
    if (refs != (uint64_t)gen << 32) {
        return;
    }
    uint64_t s = at_load(&r->state, AT_SEQ_CST);
    while (state_gen(s) == gen && state_phase(s) == PHASE_CLOSED) {
        if (at_cas(&r->state, &s, state_to(s, PHASE_DEAD, l->self), AT_SEQ_CST)) {
            lane_adopt(l, r);
            return;
        }
    }
}

/* The last step: the record has no bytes outside itself. Only the holder of a DEAD or DRAINING
 * record comes here. False: its generations are used up. The caller gives it to its block. */
static inline bool set_free(struct record *r, uint32_t *ret_gen)
{
    uint64_t s = at_load(&r->state, AT_RELAXED);
    uint64_t next = (s & ~0xffffffffull) + (1ull << STATE_GEN_SHIFT);
    if (__builtin_expect(next == 0, 0)) {
        next = state_make(UINT32_MAX, 0, 0, PHASE_RETIRED);
    }
    at_store(&r->state, next, AT_RELEASE);
    *ret_gen = state_gen(next);
    return state_phase(next) == PHASE_FREE;
}

static void make_free(struct lane *l, struct record *r, uint32_t index)
{
    uint32_t block = index / BOARD_BLOCK, i = index % BOARD_BLOCK;
    if (set_free(r, &lane_gens(l, block)[i])) {
        lane_give_bits(l, block, 1ull << i);
    }
}

void lane_unrecord(struct lane *l, struct record *r)
{
    /* With a new generation: an id of it may have been noted. */
    make_free(l, r, board_index(l->board, r));
}

/* Frees the places that are this process's, drops the uses of borrowed ones. Returns the process
 * that owns a place that is left, or this process if none is; @ret_segment: where that place is. Files, and
 * what is on other nodes, are the daemon's. */
static uint32_t free_places(struct lane *l, struct record *r, uint32_t *ret_segment)
{
    struct board *b = l->board;
    struct call call = record_call(r);
    uint32_t next = l->self;
    for (uint32_t i = 0; i < call_nrets(&call); i++) {
        struct place p = record_get_place(r, i);
        if (p.kind == PLACE_REF) {
            record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
            lane_unuse(l, p.size);
        } else if (p.kind == PLACE_ARENA && p.segment < BOARD_SEGMENTS_MAX) {
            uint32_t owner = segment_owner(at_load(&b->segments[p.segment], AT_ACQUIRE));
            if (owner == l->self) {
                record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
                l->free_place(l->free_place_arg, p.segment, p.offset);
            } else if (owner < PROCS_MAX) {
                next = owner;
                *ret_segment = p.segment;
            }
        } else if (place_is_daemons(&p) && l->self != DAEMON) {
            next = DAEMON;
        } else if (place_is_daemons(&p) && l->free_daemons) {
            record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
            l->free_daemons(l->free_place_arg, &p);
        }
    }
    return next;
}

void lane_pass_on(struct lane *l, uint32_t index, uint32_t owner, uint32_t segment)
{
    struct record *r = &l->board->records[index];
    uint64_t s = state_to(at_load(&r->state, AT_RELAXED), PHASE_DRAINING, owner);
    at_store(&r->state, s, AT_RELEASE);
    /* The owner may have died, and its sweep may have passed this record while it was DEAD: then
     * the segment has a new owner. Pairs with the fence in sweep_process(). */
    at_fence();
    uint32_t now = owner == DAEMON
                       ? DAEMON
                       : segment_owner(at_load(&l->board->segments[segment], AT_ACQUIRE));
    if (now != owner && now < PROCS_MAX &&
        at_cas(&r->state, &s, state_to(s, PHASE_DRAINING, now), AT_SEQ_CST)) {
        owner = now;
    }
    struct queue_view ring = board_ring(l->board, owner);
    if (queue_push(&ring, index) > QUEUE_OK_POLLED) {
        board_notice(l->board, NOTICE_RESCAN);
    }
    if (owner == DAEMON) {
        board_notice(l->board, NOTICE_PLACES);
    }
}

static __attribute__((noinline)) void drain_places(struct lane *l, struct record *r,
                                                   uint32_t index)
{
    uint32_t segment = 0, owner = free_places(l, r, &segment);
    if (owner == l->self) {
        make_free(l, r, index);
    } else {
        lane_pass_on(l, index, owner, segment);
    }
}

static void drain(struct lane *l, struct record *r, uint32_t index)
{
    if (record_is_plain(r)) {
        make_free(l, r, index);
    } else {
        drain_places(l, r, index);
    }
}

/* Marks those of a batch that a pin names. */
static void mark_pinned(uint64_t link, uint32_t *batch, uint32_t count, uint32_t how)
{
    if (link == LINK_NONE) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if ((batch[i] & RECORD_INDEX_NONE) == link_index(link)) {
            batch[i] |= how;
        }
    }
}

static bool has_argument(struct record *r, uint64_t link)
{
    struct call call = record_call(r);
    struct arg_walk w = arg_walk(&call);
    struct arg_ref *ref =
        call_options(&call) & CALL_HAS_REFS ? arg_walk_on(&w, r, &call) : NULL;
    while (ref && (at_load(&ref->link, AT_RELAXED) ^ link) & ~0xfull) {
        ref = arg_walk_on(&w, r, &call);
    }
    return ref != NULL;
}

/* Marks the tasks of a batch that have a record as argument: somebody may have them in hand, to give it to
 * them. */
static __attribute__((noinline, cold)) void mark_successors(const struct board *b,
                                                            uint64_t link,
                                                            uint32_t *batch,
                                                            uint32_t count, uint32_t how)
{
    for (uint32_t i = 0; i < count; i++) {
        if (has_argument(&b->records[batch[i] & RECORD_INDEX_NONE], link)) {
            batch[i] |= how;
        }
    }
}

/* A record that a thread has in hand, or with LINK_SUCCESSORS what waits for it. */
static inline void mark_held(const struct board *b, uint64_t link, uint32_t *batch,
                             uint32_t count, uint32_t how)
{
    if (__builtin_expect(link_ret(link) == LINK_SUCCESSORS, 0)) {
        mark_successors(b, link, batch, count, how);
    } else {
        mark_pinned(link, batch, count, how);
    }
}

static void scan_ledgers(const struct board *b, uint32_t *batch, uint32_t count)
{
    uint32_t ledgers = at_load(&b->header->ledgers, AT_SEQ_CST);
    for (uint32_t i = 0; i < ledgers && i < BOARD_LEDGERS_MAX; i++) {
        const struct ledger *g = &b->ledgers[i];
        uint32_t owner = at_load(&g->owner, AT_ACQUIRE);
        if (owner == 0) {
            continue;
        }
        uint32_t how = LANE_PINNED | (owner == DAEMON + 1 ? LANE_MOVED : 0);
        uint32_t high = at_load(&g->high, AT_ACQUIRE);
        uint64_t finishing = at_load(&g->finishing, AT_ACQUIRE);
        mark_held(b, finishing, batch, count, how);
        if (__builtin_expect(link_ret(finishing) == LINK_SUCCESSORS, 0)) {
            mark_pinned(finishing, batch, count, how); /* and itself */
        }
        mark_held(b, at_load(&g->touching, AT_ACQUIRE), batch, count, how);
        for (uint32_t k = 0; k < high && k < BOARD_PINS; k++) {
            mark_pinned(at_load(&g->pin[k], AT_ACQUIRE), batch, count, how);
        }
    }
}

/* Frees those of a batch that are not pinned and all inside themselves, and takes them out of it; their
 * blocks get them together, since neighbours mostly go together. Returns how many are left. */
static uint32_t free_plain(struct lane *l, uint32_t *batch, uint32_t count)
{
    uint32_t left = 0, block = (batch[0] & RECORD_INDEX_NONE) / BOARD_BLOCK;
    uint32_t *gens = lane_gens(l, block);
    uint64_t bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t entry = batch[i], index = entry & RECORD_INDEX_NONE;
        if (__builtin_expect(entry != (index | LANE_PLAIN), 0)) {
            batch[left++] = entry;
            continue;
        }
        if (__builtin_expect(index / BOARD_BLOCK != block, 0)) {
            lane_give_bits(l, block, bits);
            bits = 0;
            block = index / BOARD_BLOCK;
            gens = lane_gens(l, block);
        }
        uint32_t at = index % BOARD_BLOCK;
        bits |= (uint64_t)set_free(&l->board->records[index], &gens[at]) << at;
    }
    lane_give_bits(l, block, bits);
    return left;
}

void lane_reclaim(struct lane *l)
{
    uint32_t batch[LANE_LIMBO * 2], count, kept = 0;
    if (l->reclaiming) {
        return;
    }
    l->reclaiming = true;
    lane_settle(l);
    count = l->limbo_count;
    if (count == 0) {
        l->reclaiming = false;
        return;
    }
    l->scans++;
    memcpy(batch, l->limbo, count * sizeof *batch);
    l->limbo_count = 0; /* freeing adds to it: uses that results of others had */
    at_fence(); /* the DEAD marks before the look at the pins; pairs with the fence in lane_pin() */
    scan_ledgers(l->board, batch, count);
    count = free_plain(l, batch, count);
    if (count && l->freeing) {
        l->freeing(l->free_place_arg, true);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = batch[i] & RECORD_INDEX_NONE;
        struct record *r = &l->board->records[index];
        if (!(batch[i] & LANE_PINNED)) {
            drain(l, r, index);
        } else if ((batch[i] & LANE_MOVED && l->self != DAEMON) ||
                   ++kept > LANE_LIMBO / 2) {
            /* The daemon looks again when it has moved it, and this thread maybe never. And a few long views
             * must not make every scan a large one. */
            hand_over(l, r);
        } else {
            lane_adopt(l, r);
        }
    }
    if (count && l->freeing) {
        l->freeing(l->free_place_arg, false);
    }
    l->limbo_bytes = 0; /* those that are pinned wait for the next reason to look */
    l->reclaiming = false;
}

bool lane_in_limbo(const struct lane *l, uint32_t index)
{
    for (uint32_t i = 0; i < l->limbo_count; i++) {
        if ((l->limbo[i] & ~LANE_PLAIN) == index) {
            return true;
        }
    }
    return false;
}

void lane_drain_own(struct lane *l, struct record *r)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    if (state_phase(s) == PHASE_DRAINING && state_holder(s) == l->self) {
        drain(l, r, board_index(l->board, r));
    }
}

bool lane_drain_ring(struct lane *l)
{
    struct queue_view ring = board_ring(l->board, l->self);
    struct queue_item item;
    bool any = false;
    /* What others push meanwhile is for the next time: a client must not keep the daemon here. */
    for (uint32_t i = 0;
         i < 1u << BOARD_RING_ORDER && queue_peek(&ring, &item) == QUEUE_OK; i++) {
        struct record *r = board_record(l->board, item.index);
        if (queue_take(&ring, &item) && r) {
            lane_drain_own(l, r);
            take_over(l, r);
            if (l->sealed) {
                l->sealed(l->sealed_arg, r);
            }
            any = true;
        }
    }
    return any;
}

void lane_drain_all(struct lane *l)
{
    uint32_t committed = board_committed(l->board);
    for (uint32_t i = 0; i < committed; i++) {
        lane_drain_own(l, &l->board->records[i]);
    }
}
