#include "store/request.h"

#define DUE_SET (1u << 31) /* with a tick in a hint's word; all zeros: none */

uint32_t request_tick_at(const struct board *b, uint64_t ns)
{
    uint64_t born = at_load(&b->header->born_ns, AT_RELAXED);
    uint64_t since = ns > born ? ns - born : 0;
    return (uint32_t)((since + REQUEST_TICK_NS - 1) / REQUEST_TICK_NS) &
           REQUEST_TICK_MASK;
}

uint32_t request_tick_passed(const struct board *b, uint64_t ns)
{
    uint64_t born = at_load(&b->header->born_ns, AT_RELAXED);
    return (uint32_t)((ns > born ? ns - born : 0) / REQUEST_TICK_NS) & REQUEST_TICK_MASK;
}

uint64_t request_left_ns(const struct board *b, uint32_t tick, uint64_t now_ns)
{
    uint64_t born = at_load(&b->header->born_ns, AT_RELAXED);
    uint32_t passed = request_tick_passed(b, now_ns);
    uint64_t since_passed = now_ns > born ? (now_ns - born) % REQUEST_TICK_NS : 0;
    return request_before(passed, tick)
               ? ((tick - passed) & REQUEST_TICK_MASK) * REQUEST_TICK_NS - since_passed
               : 0;
}

uint32_t request_of(const struct board *b, uint32_t index, uint32_t gen)
{
    uint64_t word = at_load(&b->requests[index], AT_ACQUIRE);
    return word >> 32 == gen ? (uint32_t)word : 0;
}

void request_add(struct board *b, uint32_t index, uint32_t gen, uint32_t request)
{
    uint64_t word = at_load(&b->requests[index], AT_ACQUIRE);
    uint32_t next;
    do {
        uint32_t have = word >> 32 == gen ? (uint32_t)word : 0;
        if ((word >> 32) != gen && (uint32_t)((word >> 32) - gen) < 1u << 31) {
            return; /* of a later one: this one is gone */
        }
        bool ends =
            request_kind(have) == REQUEST_LATE || request_kind(have) == REQUEST_END;
        bool keep = request_kind(request) == REQUEST_NOTHING ||
                    (ends && request_before(request_tick(have), request_tick(request)));
        next = (keep ? have : request) | ((have | request) & REQUEST_RECURSIVE);
    } while (!at_cas(&b->requests[index], &word, (uint64_t)gen << 32 | next, AT_SEQ_CST));
    if (request_kind(next) != REQUEST_NOTHING) {
        request_note(b, index, request_tick(next));
    }
}

/* True if it was none, or later. */
static bool lower(at_u32 *due, uint32_t tick)
{
    uint32_t have = at_load(due, AT_SEQ_CST);
    do {
        if (have & DUE_SET && !request_before(tick, have & REQUEST_TICK_MASK)) {
            return false;
        }
    } while (!at_cas(due, &have, tick | DUE_SET, AT_SEQ_CST));
    return true;
}

void request_note(struct board *b, uint32_t index, uint32_t tick)
{
    (void)lower(&b->block_due[index / BOARD_BLOCK], tick);
    /* The block's, then a look at the board's; pairs with request_look(), which clears the board's and then
     * looks at the blocks'. */
    if (lower(&b->header->due, tick)) {
        board_notice(b, NOTICE_DUE);
    }
}

mob_status request_reason(const struct board *b, uint32_t index, uint32_t gen)
{
    return request_kind(request_of(b, index, gen)) == REQUEST_LATE ? MOB_ERR_DEADLINE
                                                                   : MOB_ERR_CANCELLED;
}

const char *request_reason_text(mob_status reason)
{
    return reason == MOB_ERR_DEADLINE ? "its deadline passed" : "it was cancelled";
}

/* ---- the daemon's -------------------------------------------------------------------------------- */

static void look_at_block(struct board *b, uint32_t block, uint32_t now, request_due due,
                          void *arg)
{
    /* Cleared, then looked at the words; pairs with request_note(), after the word. */
    (void)at_swap(&b->block_due[block], 0, AT_SEQ_CST);
    for (uint32_t i = block * BOARD_BLOCK; i < (block + 1) * BOARD_BLOCK; i++) {
        uint64_t word = at_load(&b->requests[i], AT_SEQ_CST);
        uint64_t s = at_load(&b->records[i].state, AT_ACQUIRE);
        uint32_t request = (uint32_t)word;
        if (request_kind(request) == REQUEST_NOTHING || word >> 32 != state_gen(s) ||
            state_phase(s) < PHASE_CREATING || state_phase(s) >= PHASE_DONE) {
            continue;
        }
        if (!request_before(now, request_tick(request))) {
            request = due(arg, i, state_gen(s), request);
        }
        if (request_kind(request) != REQUEST_NOTHING) {
            (void)lower(&b->block_due[block], request_tick(request));
        }
    }
}

bool request_look(struct board *b, uint32_t now, request_due due, void *arg,
                  uint32_t *ret_tick)
{
    bool any = false;
    uint32_t next = 0, blocks = board_committed(b) / BOARD_BLOCK;
    (void)at_swap(&b->header->due, 0, AT_SEQ_CST);
    for (uint32_t k = 0; k < blocks; k++) {
        uint32_t at = at_load(&b->block_due[k], AT_SEQ_CST);
        if (at & DUE_SET && !request_before(now, at & REQUEST_TICK_MASK)) {
            look_at_block(b, k, now, due, arg);
            at = at_load(&b->block_due[k], AT_SEQ_CST);
        }
        if (at & DUE_SET && (!any || request_before(at & REQUEST_TICK_MASK, next))) {
            next = at & REQUEST_TICK_MASK;
            any = true;
        }
    }
    if (any) {
        (void)lower(&b->header->due, next);
        *ret_tick = next;
    }
    return any;
}

void request_remake(struct board *b)
{
    for (uint32_t i = 0; i < board_committed(b); i++) {
        uint64_t word = at_load(&b->requests[i], AT_SEQ_CST);
        uint64_t s = at_load(&b->records[i].state, AT_ACQUIRE);
        if (request_kind((uint32_t)word) != REQUEST_NOTHING &&
            word >> 32 == state_gen(s) && state_phase(s) >= PHASE_CREATING &&
            state_phase(s) < PHASE_DONE) {
            request_note(b, i, request_tick((uint32_t)word));
        }
    }
}
