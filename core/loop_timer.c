/* Timers: a pairing heap threaded through the timers themselves, so that starting one
 * cannot fail. Start is O(1), stop and fire O(log n) amortised. */
#include "core/clock.h"
#include "loop_impl.h"

static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
    if (a == NULL || b == NULL) {
        return a == NULL ? b : a;
    }
    if (b->deadline_ns < a->deadline_ns) {
        struct loop_timer *t = a;
        a = b;
        b = t;
    }
    b->prev = a; /* b becomes a's first child */
    b->sibling = a->child;
    if (a->child != NULL) {
        a->child->prev = b;
    }
    a->child = b;
    return a;
}

/* Makes one heap of a list of siblings: pairs from left to right, then all into one. */
static struct loop_timer *meld_siblings(struct loop_timer *first)
{
    struct loop_timer *pairs = NULL; /* linked by sibling */
    while (first != NULL) {
        struct loop_timer *a = first, *b = a->sibling;
        first = b != NULL ? b->sibling : NULL;
        a->sibling = a->prev = NULL;
        if (b != NULL) {
            b->sibling = b->prev = NULL;
        }
        a = meld(a, b);
        a->sibling = pairs;
        pairs = a;
    }
    struct loop_timer *root = NULL;
    while (pairs != NULL) {
        struct loop_timer *next = pairs->sibling;
        pairs->sibling = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    if (!timer->active) {
        return;
    }
    struct loop_timer *below = meld_siblings(timer->child);
    if (timer == loop->timers) {
        loop->timers = below;
    } else {
        if (timer->prev->child == timer) {
            timer->prev->child = timer->sibling;
        } else {
            timer->prev->sibling = timer->sibling;
        }
        if (timer->sibling != NULL) {
            timer->sibling->prev = timer->prev;
        }
        loop->timers = meld(loop->timers, below);
    }
    timer->active = false;
    timer->child = timer->sibling = timer->prev = NULL;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns,
                      loop_fired fired)
{
    loop_timer_stop(loop, timer);
    if (deadline_ns == CLOCK_NEVER) {
        return;
    }
    /* Never in this turn: a callback that starts a timer for the past must not keep the
     * turn from ending. */
    timer->deadline_ns = deadline_ns > loop->now_ns ? deadline_ns : loop->now_ns + 1;
    timer->fired = fired;
    timer->active = true;
    loop->timers = meld(loop->timers, timer);
}

uint64_t loop_timers_next(const struct loop *loop)
{
    return loop->timers != NULL ? loop->timers->deadline_ns : CLOCK_NEVER;
}

void loop_timers_fire(struct loop *loop)
{
    while (loop->timers != NULL && loop->timers->deadline_ns <= loop->now_ns) {
        struct loop_timer *timer = loop->timers;
        loop_timer_stop(loop, timer);
        timer->fired(timer);
    }
}
