/* ready.c - who runs a ready task, and who is woken: hints, claims, parking, waiting. */
#include "store/task.h"

#include "core/park.h"
#include "store/timeline.h"

/* ---- ready tasks ----------------------------------------------------------------------------------- */

/* The queue is full: the daemon pushes the record when there is room. */
static void leave_unhinted(struct board *b, struct record *r)
{
    uint64_t s = at_load(&r->state, AT_RELAXED);
    while (state_phase(s) == PHASE_QUEUED && state_holder(s) != UNHINTED &&
           !at_cas(&r->state, &s, state_to(s, PHASE_QUEUED, UNHINTED), AT_SEQ_CST)) {
    }
    board_notice(b, NOTICE_RESCAN);
}

void task_pushed_any(struct board *b, struct record *r, uint32_t class,
                     enum queue_result pushed)
{
    if (__builtin_expect(pushed > QUEUE_OK_POLLED, 0)) {
        leave_unhinted(b, r);
    }
    task_wake_worker(b, class);
}

void task_make_ready(struct lane *l, struct record *r, uint32_t class)
{
    if (__builtin_expect(l->timeline != NULL, 0)) {
        uint32_t gen = state_gen(at_load(&r->state, AT_RELAXED));
        timeline_ready(l, link_make(gen, board_index(l->board, r), 0));
    }
    enum queue_result pushed = queue_push(&l->ready[class], board_index(l->board, r));
    if (!task_pushed(l, class, pushed)) {
        task_pushed_any(l->board, r, class, pushed);
    }
}

void task_wake_process(struct board *b, uint32_t process)
{
    at_add(&b->procs[process].wake, 1, AT_SEQ_CST);
    park_wake(&b->procs[process].wake, 1);
}

/* Wakes one of those who said that they sleep. */
static bool wake_parked(struct board *b, struct klass *k)
{
    for (uint32_t i = 0; i < PROCS_MAX / 64; i++) {
        uint64_t word = at_load(&k->parked[i], AT_SEQ_CST);
        while (word) {
            uint32_t bit = (uint32_t)__builtin_ctzll(word);
            word = at_and(&k->parked[i], ~(1ull << bit), AT_SEQ_CST);
            if (word & 1ull << bit) {
                task_wake_process(b, i * 64 + bit);
                return true;
            }
        }
    }
    return false;
}

void task_wake_somebody(struct board *b, uint32_t class)
{
    struct klass *k = &b->classes[class];
    uint32_t armed = 1;
    if (!wake_parked(b, k) && at_load(&k->alert, AT_SEQ_CST) == 1 &&
        at_cas(&k->alert, &armed, 0, AT_SEQ_CST)) {
        board_notice(b, NOTICE_ALERT);
    }
}

void task_park(struct board *b, uint32_t process, uint32_t class)
{
    at_or(&b->classes[class].parked[process / 64], 1ull << process % 64, AT_SEQ_CST);
}

void task_unpark(struct board *b, uint32_t process, uint32_t class)
{
    at_and(&b->classes[class].parked[process / 64], ~(1ull << process % 64), AT_SEQ_CST);
}

bool task_claim_one(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    while (state_gen(s) == gen && state_phase(s) == PHASE_QUEUED) {
        if (at_cas(&r->state, &s, state_to(s, PHASE_TAKEN, l->self), AT_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

bool task_claim_foreseen(struct lane *l, struct record *r, uint32_t class,
                         uint64_t *ret_link)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    while (task_is_ready(r, s, class)) {
        uint64_t link = link_make(state_gen(s), board_index(l->board, r), 0);
        /* Before the claim, and so before the seal that whoever frees the record must have seen; pairs
         * with lane_reclaim(). */
        at_store(&l->ledgers[0]->touching, link, AT_RELAXED);
        if (at_cas(&r->state, &s, state_to(s, PHASE_TAKEN, l->self), AT_SEQ_CST)) {
            *ret_link = link;
            return true;
        }
    }
    lane_untouch(l);
    return false;
}

void task_unhint_foreseen(struct lane *l, uint32_t class, uint64_t link)
{
    struct queue_item item = {.position = l->ready[class].taken};
    /* Not if it had to be let go because the thread looked at successors. */
    if (at_load(&l->ledgers[0]->touching, AT_RELAXED) == link &&
        queue_take_unseen(&l->ready[class], link_index(link))) {
        task_unhinted(l, class, &item);
    }
    lane_untouch(l);
}

void task_make_room(struct lane *l, uint32_t class)
{
    struct klass *k = &l->board->classes[class];
    if (at_load(&k->room_waiters, AT_RELAXED)) {
        at_add(&k->room, 1, AT_SEQ_CST);
        park_wake(&k->room, PARK_ALL);
    }
}

enum queue_result task_claim(struct lane *l, uint32_t class, struct record **ret,
                             struct queue_item *ret_item)
{
    /* The claim comes first: dying after it leaves a stale hint, never a lost task. */
    enum queue_result res = task_claim_hinted(l, class, ret, ret_item);
    if (res == QUEUE_OK) {
        task_unhint(l, class, ret_item);
    }
    return res;
}

uint64_t task_ready_count(const struct board *b, uint32_t class)
{
    struct queue_view ready = board_ready(b, class);
    struct queue_item first;
    uint64_t hints = queue_count(&ready), stale = 0;
    if (hints > TASK_COUNT_EXACT || queue_peek(&ready, &first) != QUEUE_OK) {
        return hints;
    }
    for (uint64_t p = first.position; p < first.position + hints; p++) {
        /* Acquire, both: who sees the hint sees its record QUEUED, or what came after, and who sees that sees
         * what it is; pairs with queue_push() and the publication before it. */
        uint64_t cell = at_load(queue_cell(&ready, p), AT_ACQUIRE);
        struct record *r = cell & QUEUE_FULL
                               ? board_record(b, (uint32_t)(cell & QUEUE_INDEX_MASK))
                               : NULL;
        stale += !r || !task_is_ready(r, at_load(&r->state, AT_ACQUIRE), class);
    }
    return hints - stale;
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

bool task_mark_waited(struct record *r, uint32_t gen, uint64_t flag, uint64_t *ret_state)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    for (;;) {
        *ret_state = s;
        if (state_gen(s) != gen || state_phase(s) >= PHASE_DONE ||
            state_phase(s) == PHASE_FREE) {
            return false;
        }
        if (s & flag || at_cas(&r->state, &s, s | flag, AT_SEQ_CST)) {
            *ret_state = s | flag;
            return true;
        }
    }
}

/* Said in the feed, then looked whether somebody sleeps; pairs with the sleeper in client/waitset.c, who
 * says so and then looks at the feed. */
static void tell_seal(struct board *b, uint32_t index)
{
    struct board_header *h = b->header;
    (void)feed_push(b->feed, index);
    if (at_load(&h->asleep, AT_SEQ_CST) && at_swap(&h->asleep, 0, AT_SEQ_CST)) {
        at_add(&h->event, 1, AT_SEQ_CST);
        park_wake(&h->event, PARK_ALL);
    }
}

void task_wake_waiters(struct board *b, const struct record *r, uint64_t state)
{
    if (state & STATE_WAITERS) {
        park_wake(park_low(&r->state), PARK_ALL);
    }
    if (state & STATE_NOTIFY) {
        tell_seal(b, board_index(b, r));
    }
}
