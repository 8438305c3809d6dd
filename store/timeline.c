#include "store/timeline.h"

#include "core/clock.h"
#include "store/lane.h"

uint64_t timeline_put(struct timeline_ring *ring, uint64_t what, uint64_t start_ns,
                      uint64_t outcome, uint64_t link, uint64_t a, uint64_t b,
                      uint32_t pid)
{
    uint32_t order =
        at_load(&ring->order, AT_ACQUIRE); /* pairs with the daemon's commit */
    if (order == 0 || order > TIMELINE_ORDER_MAX) {
        return 0;
    }
    uint64_t at = at_add(&ring->next, 1, AT_RELAXED);
    struct timeline_slot *s = &ring->slots[at & ((1u << order) - 1)];
    at_store(&s->word[TIMELINE_SEQ], 0, AT_RELAXED);
    at_fence(); /* none of what follows is seen with the old number; pairs with timeline_read() */
    at_store(&s->word[TIMELINE_WHAT], what, AT_RELAXED);
    at_store(&s->word[TIMELINE_START], start_ns, AT_RELAXED);
    at_store(&s->word[TIMELINE_OUTCOME], outcome, AT_RELAXED);
    at_store(&s->word[TIMELINE_LINK], link, AT_RELAXED);
    at_store(&s->word[TIMELINE_A], a, AT_RELAXED);
    at_store(&s->word[TIMELINE_B], b, AT_RELAXED);
    at_store(&s->word[TIMELINE_PID], pid, AT_RELAXED);
    at_store(&s->word[TIMELINE_SEQ], at + 1, AT_RELEASE); /* pairs with timeline_read() */
    return at + 1;
}

void timeline_end(struct timeline_ring *ring, uint64_t number, uint64_t outcome)
{
    uint32_t order = at_load(&ring->order, AT_RELAXED);
    if (number == 0 || order == 0 || order > TIMELINE_ORDER_MAX) {
        return;
    }
    struct timeline_slot *s = &ring->slots[(number - 1) & ((1u << order) - 1)];
    if (at_load(&s->word[TIMELINE_SEQ], AT_RELAXED) == number) {
        at_store(&s->word[TIMELINE_OUTCOME], outcome, AT_RELEASE);
    }
}

bool timeline_read(const struct timeline_ring *ring, uint32_t order, uint64_t at,
                   struct timeline_event *ret)
{
    const struct timeline_slot *s = &ring->slots[at & ((1u << order) - 1)];
    struct timeline_event e;
    e.word[TIMELINE_SEQ] = at_load(&s->word[TIMELINE_SEQ], AT_ACQUIRE);
    for (int i = TIMELINE_SEQ + 1; i < TIMELINE_WORDS; i++) {
        e.word[i] = at_load(&s->word[i], AT_RELAXED);
    }
    at_fence_acquire(); /* the words before the second look; pairs with timeline_put() */
    if (e.word[TIMELINE_SEQ] != at + 1 ||
        at_load(&s->word[TIMELINE_SEQ], AT_RELAXED) != at + 1) {
        return false;
    }
    *ret = e;
    return true;
}

void timeline_range(const struct timeline_ring *ring, uint32_t order, uint64_t *ret_first,
                    uint64_t *ret_end)
{
    uint64_t end = at_load(&ring->next, AT_ACQUIRE), most = 1ull << order;
    *ret_end = end;
    *ret_first = end > most ? end - most : 0;
}

void timeline_ready(const struct lane *l, uint64_t link)
{
    (void)timeline_put(l->timeline, timeline_what(TIMELINE_READY, 0, 0, 0, 0),
                       clock_now_ns(), timeline_outcome(0, MOB_OK), link, 0, 0,
                       at_load(&l->board->procs[l->self].pid, AT_RELAXED));
}
