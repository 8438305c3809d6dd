/* cancel.c - tasks that are asked not to run: one, or with all that they submitted. */
#include <stdio.h>
#include <stdlib.h>

#include "core/status.h"
#include "store/request.h"
#include "store/task.h"

/* QUEUED or WAITING -> TAKEN, only to be sealed. One that waits is still named by the stacks of what
 * it waits for, and so it is not CLOSED before they have let it go: stays_open() in seal.c. */
static bool take_to_cancel(struct lane *l, struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    while (state_gen(s) == gen &&
           (state_phase(s) == PHASE_QUEUED || state_phase(s) == PHASE_WAITING)) {
        /* With the flag, so that after a death here nobody runs it. */
        uint64_t next = state_to(s, PHASE_TAKEN, l->self) | STATE_CANCEL;
        if (at_cas(&r->state, &s, next, AT_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

/* Sets the flag, if the task is not sealed. */
static void flag(struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    while (state_gen(s) == gen && state_phase(s) >= PHASE_CREATING &&
           state_phase(s) <= PHASE_TAKEN && !(s & STATE_CANCEL) &&
           !at_cas(&r->state, &s, s | STATE_CANCEL, AT_SEQ_CST)) {
    }
}

void task_cancel(struct lane *l, struct record *r, uint32_t gen)
{
    flag(r, gen);
    uint64_t s = at_load(&r->state, AT_SEQ_CST);
    if (state_gen(s) == gen && state_phase(s) == PHASE_TAKEN &&
        state_holder(s) == DAEMON) {
        board_notice(l->board, NOTICE_CANCEL); /* it runs on another node */
    }
    if (take_to_cancel(l, r, gen)) { /* a hint in the queue is stale from now on */
        char name[MOB_NAME_MAX + 1], text[MOB_NAME_MAX + 64];
        mob_status why = request_reason(l->board, board_index(l->board, r), gen);
        board_name_text(l->board, r->name, name);
        snprintf(text, sizeof text, "task %s: %s before it ran", name,
                 request_reason_text(why));
        task_set_error(r, why, text);
        task_seal(l, r, true);
    }
}

/* ---- with what it submitted ------------------------------------------------------------------------- */

static bool has(const uint8_t *set, uint32_t index)
{
    return set[index / 8] & 1u << index % 8;
}

/* If @r is open and was submitted by a task in the set: its generation, else 0. */
static uint32_t is_child(const struct board *b, const struct record *r,
                         const uint8_t *set, uint32_t count)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    uint64_t parent = at_load(&r->parent, AT_RELAXED);
    if (state_phase(s) < PHASE_CREATING || state_phase(s) > PHASE_DONE ||
        call.fn == CALL_PUT || !(call_options(&call) & CALL_HAS_PARENT) ||
        link_index(parent) >= count || !has(set, link_index(parent))) {
        return 0;
    }
    /* An open child keeps its parent's record, so that its generation tells whether it is that one. */
    const struct record *p = &b->records[link_index(parent)];
    uint64_t again = at_load(&r->state, AT_ACQUIRE);
    return state_gen(at_load(&p->state, AT_ACQUIRE)) == link_gen(parent) &&
                   state_gen(again) == state_gen(s)
               ? state_gen(s)
               : 0;
}

/* One generation after the other: whoever submitted a task has its bit, or gets it in a later round. Most
 * children stand behind their parents, so that there are few rounds. */
static mob_status cancel_children(struct lane *l, uint32_t root, uint32_t request)
{
    struct board *b = l->board;
    uint32_t count = board_committed(b), found = 1;
    uint8_t *set = calloc(1, count / 8 + 1);
    if (!set) {
        return status_fail(MOB_ERR_NOMEM, "no memory to look for what a task submitted");
    }
    set[root / 8] |= (uint8_t)(1u << root % 8);
    at_fence(); /* the root's flag, then the look at the others; pairs with task_obey_parent() */
    while (found) {
        found = 0;
        for (uint32_t i = 0; i < count; i++) {
            struct record *r = &b->records[i];
            uint32_t gen = has(set, i) ? 0 : is_child(b, r, set, count);
            if (gen) {
                set[i / 8] |= (uint8_t)(1u << i % 8);
                found++;
                request_add(b, i, gen, request);
                task_cancel(l, r, gen);
            }
        }
    }
    free(set);
    return MOB_OK;
}

mob_status task_cancel_as(struct lane *l, struct record *r, uint32_t gen,
                          uint32_t request)
{
    uint32_t index = board_index(l->board, r);
    /* Asked first, then the flag, which is what the daemon and claimers look at. */
    if (request) {
        request_add(l->board, index, gen, request);
    }
    task_cancel(l, r, gen);
    return request & REQUEST_RECURSIVE ? cancel_children(l, index, request) : MOB_OK;
}

void task_obey_parent(struct lane *l, const struct record *parent, uint64_t child)
{
    at_fence(); /* the child can be seen, then the look at its parent; pairs with cancel_children() */
    uint64_t s = at_load(&parent->state, AT_SEQ_CST);
    uint32_t request =
        s & STATE_CANCEL
            ? request_of(l->board, board_index(l->board, parent), state_gen(s))
            : 0;
    struct record *r = board_record(l->board, link_index(child));
    if (r && request & REQUEST_RECURSIVE) {
        (void)task_cancel_as(l, r, link_gen(child), request);
    }
}
