/* audit.c - finds the truth about use and child counts by looking at all records.
 *
 * A process counts a use before the task that uses can be seen, and takes it off after the task
 * is closed; so a death leaves counts too high and never too low.
 *
 * Why the audit may call a record unused while others submit tasks: it only judges records that
 * had no handle when it began. From then on a new use can only come from a task that itself has
 * the record as an argument, and that task stays open until all that it submitted is closed. So
 * if any use is open at the end, the first task of that chain was open during the whole scan,
 * and the scan saw it. The same holds for the open children of a DONE task, which submits nothing
 * itself any more.
 *
 * What is held, or used by somebody, cannot be judged yet: a count that is higher than what was seen
 * may be so because of a death, or because it went up meanwhile. It is looked at again later. */
#include <stdlib.h>

#include "core/status.h"
#include "store/sweep.h"
#include "store/task.h"

struct audit {
    struct lane *d;
    struct board *b;
    uint32_t count;
    uint64_t
        *refs; /* per record: its refs word if it is a candidate to be unused, else 0 */
    uint64_t *children; /* per record: its state word if it was DONE, else 0 */
    struct seen *seen;  /* per record */
};
struct seen { /* what looking at all others finds */
    uint32_t uses, kids;
};

static bool is_open(enum phase p)
{
    return p >= PHASE_CREATING && p <= PHASE_DONE;
}

static void find_candidates(struct audit *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        struct record *r = &a->b->records[i];
        uint64_t s = at_load(&r->state, AT_SEQ_CST), refs = at_load(&r->refs, AT_SEQ_CST);
        bool handles = refs & (0xffull << REFS_HANDLE_SHIFT);
        if (state_phase(s) == PHASE_CLOSED && refs >> 32 == state_gen(s) && !handles) {
            a->refs[i] = refs;
        }
        struct call call = record_call(r);
        if (state_phase(s) == PHASE_DONE && !record_awaits_args(r, &call)) {
            a->children[i] = s;
        }
    }
}

static void saw_use(struct audit *a, uint64_t link)
{
    if (link != LINK_NONE && link_index(link) < a->count) {
        a->seen[link_index(link)].uses++;
    }
}

/* Children of an earlier attempt count for nothing any more, and what was put is no child. */
static void saw_child(struct audit *a, const struct record *child,
                      const struct call *call)
{
    uint64_t parent = at_load(&child->parent, AT_RELAXED);
    if (call_options(call) & CALL_HAS_PARENT && link_index(parent) < a->count) {
        uint64_t s = at_load(&a->b->records[link_index(parent)].state, AT_RELAXED);
        a->seen[link_index(parent)].kids +=
            state_gen(s) == link_gen(parent) && state_attempt(s) == child->parent_attempt;
    }
}

static void mark_uses(struct audit *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        struct record *r = &a->b->records[i];
        uint64_t s = at_load(&r->state, AT_SEQ_CST);
        struct call call = record_call(r);
        if (is_open(state_phase(s))) {
            saw_child(a, r, &call);
            for (uint32_t k = 0; k < call_nargs(&call) && k < MOB_ARGS_MAX; k++) {
                struct arg_ref *ref = record_arg_ref(r, &call, k);
                if (ref) {
                    saw_use(a, at_load(&ref->link, AT_RELAXED));
                }
            }
        }
        /* Results that are another record's bytes use it until they are freed. */
        enum phase p = state_phase(s);
        for (uint32_t k = 0;
             p >= PHASE_TAKEN && p <= PHASE_DRAINING && k < call_nrets(&call); k++) {
            struct place place = record_get_place(r, k);
            if (place.kind == PLACE_REF) {
                saw_use(a, place.size);
            }
        }
    }
}

static uint32_t correct(struct audit *a)
{
    uint32_t corrected = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        struct record *r = &a->b->records[i];
        uint64_t refs = a->refs[i], s = a->children[i];
        if (refs && a->seen[i].uses == 0 &&
            at_cas(&r->refs, &refs, refs & ~REFS_LOW_MASK, AT_SEQ_CST)) {
            lane_try_free(a->d, r, (uint32_t)(refs >> 32));
            corrected++;
        }
        if (s && a->seen[i].kids == 0) {
            uint64_t c = at_load(&r->children, AT_SEQ_CST);
            uint32_t gen = state_gen(s);
            lane_finishing(a->d, link_make(gen, i, 0));
            at_fence(); /* held before the look; pairs with lane_reclaim() */
            s = at_load(&r->state, AT_SEQ_CST);
            while (state_gen(s) == gen && state_phase(s) == PHASE_DONE) {
                (void)at_cas(&r->children, &c, 0, AT_SEQ_CST);
                if (at_cas(&r->state, &s, state_to(s, PHASE_CLOSED, state_holder(s)),
                           AT_SEQ_CST)) {
                    task_closed(a->d, r, gen);
                    corrected++;
                    break;
                }
            }
            lane_finished(a->d);
        }
    }
    return corrected;
}

/* Counts that are higher than what was seen, of records that could not be judged. */
static bool has_suspects(const struct audit *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const struct record *r = &a->b->records[i];
        uint64_t s = at_load(&r->state, AT_ACQUIRE);
        enum phase p = state_phase(s);
        uint64_t uses = record_refs(r) & REFS_USES_MASK;
        uint64_t children = at_load(&r->children, AT_ACQUIRE);
        uint32_t kids = children >> 32 == state_attempt(s) ? (uint32_t)children : 0;
        if ((p >= PHASE_CREATING && p <= PHASE_CLOSED && uses > a->seen[i].uses) ||
            ((p == PHASE_TAKEN || p == PHASE_DONE) && kids > a->seen[i].kids)) {
            return true;
        }
    }
    return false;
}

uint32_t sweep_audit(struct lane *d, bool *ret_again)
{
    struct audit a = {.d = d, .b = d->board};
    a.count = board_committed(d->board);
    a.refs = calloc(a.count, sizeof *a.refs);
    a.children = calloc(a.count, sizeof *a.children);
    a.seen = calloc(a.count, sizeof *a.seen);
    uint32_t corrected = 0;
    bool again = true;
    if (a.refs && a.children && a.seen) {
        find_candidates(&a);
        mark_uses(&a);
        corrected = correct(&a);
        again = has_suspects(&a);
    } /* else: what leaked stays until the next audit */
    if (ret_again) {
        *ret_again = again;
    }
    free(a.refs);
    free(a.children);
    free(a.seen);
    lane_reclaim(d);
    return corrected;
}
