/* ledger.c - the pins of a thread: leased ledgers, and what is written into them. */
#include "core/status.h"
#include "lane_impl.h"

static bool no_pins(const struct ledger *g)
{
    bool none = true;
    for (uint32_t k = 0; k < BOARD_PINS; k++) {
        none &= at_load(&g->pin[k], AT_ACQUIRE) == LINK_NONE;
    }
    return none;
}

bool ledger_lease(struct lane *l)
{
    struct board *b = l->board;
    if (l->ledgers_count == LANE_LEDGERS) {
        return false;
    }
    for (uint32_t i = 0; i < BOARD_LEDGERS_MAX; i++) {
        uint32_t owner = at_load(&b->ledgers[i].owner, AT_RELAXED);
        bool left = owner == (LEDGER_LEFT | (l->self + 1)) && no_pins(&b->ledgers[i]);
        if ((owner != 0 && !left) ||
            !at_cas(&b->ledgers[i].owner, &owner, l->self + 1, AT_ACQ_REL)) {
            continue;
        }
        uint32_t seen = at_load(&b->header->ledgers, AT_RELAXED);
        while (seen < i + 1 && !at_cas(&b->header->ledgers, &seen, i + 1, AT_SEQ_CST)) {
        }
        l->pins_used[l->ledgers_count] = 0;
        l->ledgers[l->ledgers_count++] = &b->ledgers[i];
        return true;
    }
    return false;
}

void ledger_leave(struct lane *l)
{
    for (uint32_t i = 0; i < l->ledgers_count; i++) {
        /* Views outlive the thread that made them: other threads may hold them. */
        uint32_t left = no_pins(l->ledgers[i]) ? 0 : LEDGER_LEFT | (l->self + 1);
        at_store(&l->ledgers[i]->finishing, LINK_NONE, AT_RELEASE);
        at_store(&l->ledgers[i]->owner, left, AT_RELEASE);
    }
}

/* A pin that is not in use, or BOARD_PINS. Pins that other threads gave back are only found, by
 * looking at the ledger, when the lane's own map is full. */
static uint32_t open_pin(const struct ledger *g, uint64_t *used)
{
    const uint64_t all = (1ull << BOARD_PINS) - 1;
    if (*used == all) {
        for (uint32_t k = 0; k < BOARD_PINS; k++) {
            *used &= at_load(&g->pin[k], AT_ACQUIRE) == LINK_NONE ? ~(1ull << k) : all;
        }
        if (*used == all) {
            return BOARD_PINS;
        }
    }
    uint32_t k = (uint32_t)__builtin_ctzll(~*used);
    *used |= 1ull << k;
    return k;
}

bool lane_pin_open(struct lane *l, uint64_t link, uint64_t *ret_pin)
{
    for (uint32_t i = 0;; i++) {
        if (i == l->ledgers_count && !ledger_lease(l)) {
            return false;
        }
        struct ledger *g = l->ledgers[i];
        uint32_t k = open_pin(g, &l->pins_used[i]);
        if (k == BOARD_PINS) {
            continue;
        }
        if (at_load(&g->high, AT_RELAXED) <= k) {
            at_store(&g->high, k + 1, AT_RELAXED);
        }
        at_store(&g->pin[k], link_make(link_gen(link), link_index(link), 0), AT_RELAXED);
        at_fence(); /* the pin before any look at the state; pairs with lane_reclaim() */
        *ret_pin = (uint64_t)(g - l->board->ledgers) << 8 | k;
        return true;
    }
}

mob_status lane_pin(struct lane *l, uint64_t link, uint64_t *ret_pin)
{
    uint64_t pin, s;
    if (!lane_pin_open(l, link, &pin)) {
        return status_fail(MOB_ERR_FULL,
                           "this thread holds %u views; give some back with "
                           "mob_view_release()",
                           l->ledgers_count * BOARD_PINS);
    }
    if (!lane_find(l, link, &s) || !state_sealed(s)) {
        lane_unpin(l, pin);
        return status_fail(MOB_ERR_RELEASED, "the object was released");
    }
    *ret_pin = pin;
    return MOB_OK;
}

void lane_unpin(struct lane *l, uint64_t pin)
{
    uint64_t ledger = pin >> 8, k = pin & 0xff;
    if (ledger >= BOARD_LEDGERS_MAX || k >= BOARD_PINS) {
        return; /* no pin of ours: the view was written over */
    }
    struct ledger *g = &l->board->ledgers[ledger];
    at_store(&g->pin[k], LINK_NONE, AT_RELEASE);
    for (uint32_t i = 0; i < l->ledgers_count; i++) {
        if (l->ledgers[i] == g) {
            l->pins_used[i] &= ~(1ull << k);
        }
    }
}
