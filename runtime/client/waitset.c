/* waitset.c - waiting for any of many ids, at a cost for each that does not grow with their number.
 *
 * A set is private memory: the ids by their record's index, in a table of chains. Each record gets NOTIFY, so
 * that its seal is told in the board's feed (store/feed.h), which the set reads from where it stood when the
 * set was made. What the feed says is a hint: the record is looked at. Where the set was lapped it looks at
 * all of its records once; so a death, or a reader that is too slow, loses nothing.
 *
 *   PENDING --sealed, or gone--> READY --mob_waitset_next()--> free */
#include <stdlib.h>

#include "client.h"
#include "core/clock.h"
#include "core/park.h"
#include "core/status.h"
#include "store/task.h"

enum {
    ROOM_FIRST = 64,
    SPIN_LOOKS = 64,
    RUN_TRIES =
        64, /* ids of which a task that waits tries to run one itself, in a look */
};
#define NO_SLOT UINT32_MAX

enum slot_state { SLOT_FREE, SLOT_PENDING, SLOT_READY };

struct slot {
    mob_ref ref;
    uint64_t tag;
    uint32_t next; /* in its chain, in the line of ready ones, or of free ones */
    enum slot_state state;
};

struct mob_waitset {
    struct mob *mob;
    struct slot *slots;
    uint32_t *chains; /* `room` of them, a power of two */
    uint32_t room, used, count, pending;
    uint32_t free, ready, ready_last; /* NO_SLOT: none */
    uint32_t tried;                   /* where a task goes on to look for one to run */
    uint64_t position;                /* in the feed */
};

static uint32_t *chain_of(const struct mob_waitset *set, uint32_t index)
{
    return &set->chains[index & (set->room - 1)];
}

static void put_in_chain(struct mob_waitset *set, uint32_t at)
{
    uint32_t *chain = chain_of(set, link_index(set->slots[at].ref.lo));
    set->slots[at].next = *chain;
    *chain = at;
}

static mob_status grow(struct mob_waitset *set)
{
    uint32_t room = set->room ? set->room * 2 : ROOM_FIRST;
    if (room > BOARD_RECORDS_MAX) {
        return status_fail(MOB_ERR_FULL, "the set has %u ids, the most that it may have",
                           set->count);
    }
    struct slot *slots = realloc(set->slots, room * sizeof *slots);
    if (!slots) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a set of %u ids", room);
    }
    set->slots = slots; /* which may be larger than the room that is used */
    uint32_t *chains = realloc(set->chains, room * sizeof *chains);
    if (!chains) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a set of %u ids", room);
    }
    set->chains = chains;
    set->room = room;
    for (uint32_t i = 0; i < room; i++) {
        chains[i] = NO_SLOT;
    }
    for (uint32_t i = 0; i < set->used; i++) {
        if (slots[i].state == SLOT_PENDING) {
            put_in_chain(set, i);
        }
    }
    return MOB_OK;
}

static void make_ready(struct mob_waitset *set, uint32_t at)
{
    set->slots[at].state = SLOT_READY;
    set->slots[at].next = NO_SLOT;
    if (set->ready == NO_SLOT) {
        set->ready = at;
    } else {
        set->slots[set->ready_last].next = at;
    }
    set->ready_last = at;
}

/* Sealed, or no longer there: mob_get() does not wait. */
static bool is_there(const struct mob_waitset *set, const struct thread *t, uint32_t at)
{
    uint64_t s;
    const struct record *r = lane_find(&t->lane, set->slots[at].ref.lo, &s);
    return !r || state_phase(s) >= PHASE_DONE;
}

/* Takes what is there out of one chain; @index: of that record only, or RECORD_INDEX_NONE. */
static void look_at_chain(struct mob_waitset *set, const struct thread *t,
                          uint32_t *chain, uint32_t index)
{
    while (*chain != NO_SLOT) {
        uint32_t at = *chain;
        struct slot *slot = &set->slots[at];
        bool wanted = index == RECORD_INDEX_NONE || link_index(slot->ref.lo) == index;
        if (wanted && is_there(set, t, at)) {
            *chain = slot->next;
            set->pending--;
            make_ready(set, at);
        } else {
            chain = &slot->next;
        }
    }
}

static void look_at_all(struct mob_waitset *set, const struct thread *t)
{
    /* The position first, then the records: what is sealed after the look is told behind it. */
    set->position = feed_end(set->mob->board.feed);
    for (uint32_t i = 0; i < set->room; i++) {
        look_at_chain(set, t, &set->chains[i], RECORD_INDEX_NONE);
    }
}

/* Reads the feed until something is ready or nothing more is told. */
static bool look_at_feed(struct mob_waitset *set, const struct thread *t)
{
    uint32_t index;
    while (set->ready == NO_SLOT && set->pending) {
        switch (feed_next(set->mob->board.feed, &set->position, &index)) {
        case FEED_ITEM:
            look_at_chain(set, t, chain_of(set, index), index);
            break;
        case FEED_LAPPED:
            look_at_all(set, t);
            break;
        case FEED_NONE:
            return false;
        }
    }
    return set->ready != NO_SLOT;
}

/* ---- waiting ---------------------------------------------------------------------------------------- */

/* In a task: runs one that has not started. All of them are tried in turn, some in each look. */
static bool run_one(struct mob_waitset *set, struct thread *t)
{
    struct mob *mob = set->mob;
    uint32_t tries = mob->inline_tasks ? set->used : RUN_TRIES;
    for (uint32_t i = 0; (t->task || mob->inline_tasks) && i < tries && i < set->used;
         i++) {
        const struct slot *slot = &set->slots[set->tried++ % set->used];
        uint64_t link = slot->ref.lo, s;
        struct record *r =
            slot->state == SLOT_PENDING ? lane_find(&t->lane, link, &s) : NULL;
        if (r && client_run_awaited(mob, t, r, link_gen(link))) {
            return true;
        }
    }
    return false;
}

static bool spin_feed(struct mob_waitset *set, const struct thread *t,
                      uint64_t deadline_ns)
{
    if (!spin_allowed(set->mob, t->far ? SPIN_FAR : SPIN_NEAR)) {
        return false;
    }
    uint64_t until = clock_now_ns() + set->mob->spin_ns;
    until = until < deadline_ns ? until : deadline_ns;
    do {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (look_at_feed(set, t)) {
                return true;
            }
            at_pause();
        }
    } while (clock_now_ns() < until);
    return false;
}

/* Sleeps until something is ready. */
static mob_status park_for_feed(struct mob_waitset *set, struct thread *t,
                                uint64_t deadline_ns)
{
    struct mob *mob = set->mob;
    struct board_header *h = mob->board.header;
    mob_status st = MOB_OK;
    while (!st) {
        uint32_t seen = at_load(&h->event, AT_SEQ_CST),
                 asked = at_load(&mob->proc->wake, AT_SEQ_CST);
        /* Said, then looked; pairs with tell_seal(), which tells and then looks who sleeps. */
        at_store(&h->asleep, 1, AT_SEQ_CST);
        if (look_at_feed(set, t)) {
            break;
        }
        st = client_health(mob);
        if (!st) {
            client_tidy(mob, t);
            st = park_in_task(mob, t, &h->event, seen, asked, deadline_ns);
        }
    }
    return st;
}

static mob_status await_ready(struct mob_waitset *set, struct thread *t,
                              struct limit *limit)
{
    MOB_TRY(client_health(set->mob));
    if (limit->timeout_ns == 0) {
        return MOB_ERR_TIMEOUT;
    }
    uint64_t deadline_ns = limit_deadline(limit);
    while (run_one(set, t)) {
        if (look_at_feed(set, t)) {
            return MOB_OK;
        }
    }
    if (spin_feed(set, t, deadline_ns)) {
        return MOB_OK;
    }
    if (clock_now_ns() >= deadline_ns) {
        return MOB_ERR_TIMEOUT;
    }
    if (t->task) {
        client_lend(set->mob, true, LINK_NONE);
    }
    uint64_t start_ns = t->lane.timeline ? clock_now_ns() : 0;
    mob_status st = park_for_feed(set, t, deadline_ns);
    if (start_ns && t->lane.timeline) {
        timeline_got(t, start_ns, LINK_NONE, st);
    }
    if (t->task) {
        client_lend(set->mob, false, LINK_NONE);
    }
    uint64_t s;
    if (set->ready != NO_SLOT && lane_find(&t->lane, set->slots[set->ready].ref.lo, &s)) {
        spin_learn(t, s);
    }
    return st;
}

mob_status waitset_next(struct mob_waitset *set, struct limit *limit, mob_ref *ret,
                        uint64_t *ret_tag)
{
    struct thread *t;
    MOB_TRY(client_thread(set->mob, &t));
    if (set->count == 0) {
        return status_fail(MOB_ERR_NOT_FOUND, "the set has no ids");
    }
    mob_status st = look_at_feed(set, t) ? MOB_OK : await_ready(set, t, limit);
    if (st == MOB_ERR_TIMEOUT) {
        return status_fail(st, "none of %u ids was there within the time limit",
                           set->count);
    }
    MOB_TRY(st);
    uint32_t at = set->ready;
    struct slot *slot = &set->slots[at];
    set->ready = slot->next;
    if (ret) {
        *ret = slot->ref;
    }
    if (ret_tag) {
        *ret_tag = slot->tag;
    }
    slot->state = SLOT_FREE;
    slot->next = set->free;
    set->free = at;
    set->count--;
    return MOB_OK;
}

/* ---- the calls -------------------------------------------------------------------------------------- */

mob_status mob_waitset_create(struct mob *mob, struct mob_waitset **ret)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    struct mob_waitset *set = calloc(1, sizeof *set);
    if (!set || !ret) {
        free(set);
        return status_fail(ret ? MOB_ERR_NOMEM : MOB_ERR_INVALID,
                           ret ? "no memory for a set" : "no place for the set");
    }
    set->mob = mob;
    set->free = set->ready = NO_SLOT;
    set->position = feed_end(mob->board.feed);
    *ret = set;
    return MOB_OK;
}

void mob_waitset_destroy(struct mob_waitset *set)
{
    if (set) {
        free(set->slots);
        free(set->chains);
        free(set);
    }
}

size_t mob_waitset_count(const struct mob_waitset *set)
{
    return set ? set->count : 0;
}

mob_status mob_waitset_add(struct mob_waitset *set, mob_ref ref, uint64_t tag)
{
    struct thread *t;
    uint64_t link, s;
    if (!set) {
        return status_fail(MOB_ERR_INVALID, "mob_waitset_add: no set");
    }
    MOB_TRY(client_thread(set->mob, &t));
    MOB_TRY(client_link(set->mob, ref, &link));
    struct record *r = lane_find(&t->lane, link, &s);
    if (!r || state_gone(s)) {
        return client_released();
    }
    if (set->free == NO_SLOT && set->used == set->room) {
        MOB_TRY(grow(set));
    }
    uint32_t at = set->free;
    if (at == NO_SLOT) {
        at = set->used++;
    } else {
        set->free = set->slots[at].next;
    }
    set->slots[at] =
        (struct slot){.ref = {ref.hi, link}, .tag = tag, .state = SLOT_PENDING};
    set->count++;
    if (task_mark_waited(r, link_gen(link), STATE_NOTIFY, &s)) {
        set->pending++;
        put_in_chain(set, at);
    } else {
        make_ready(set, at);
    }
    return MOB_OK;
}

mob_status mob_waitset_next(struct mob_waitset *set, uint64_t timeout_ns, mob_ref *ret,
                            uint64_t *ret_tag)
{
    if (!set) {
        return status_fail(MOB_ERR_INVALID, "mob_waitset_next: no set");
    }
    return waitset_next(set, &(struct limit){.timeout_ns = timeout_ns}, ret, ret_tag);
}
