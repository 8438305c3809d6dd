/* klass.c - classes that come and go on the board.
 *
 * The daemon alone makes a class, closes it and gives its place to another. `used` is its word, which no other class of
 * the board ever has; 0: none may be entered here.
 *
 *   used 0 --klass_open()--> used W --klass_close()--> used 0, its tasks go on --klass_left()--> the place is free
 *
 * A thread that submits to a class which may be closed has read W some time ago. So it enters: it writes W where the
 * daemon can see it, then looks whether it still is W; the daemon writes 0, then looks who has entered. Either the
 * thread sees the 0 and submits nothing, or the daemon sees the thread, and later the task. Classes that are never closed
 * are not entered, and cost nothing.
 *
 * A hint that is left over in the class's queue names a record that may be a task of another class by now: whoever finds
 * it drops it (task_is_ready()). */
#include "core/status.h"
#include "store/klass.h"
#include "store/record.h"

bool klass_read(const struct board *b, uint32_t class, struct demand *ret,
                uint32_t *ret_word)
{
    const struct klass *k = &b->classes[class];
    uint32_t word = at_load(&k->used, AT_ACQUIRE);
    struct demand d = k->demand;
    at_fence_acquire(); /* the demand, then the word again: pairs with klass_open() */
    if (!word || at_load(&k->used, AT_RELAXED) != word) {
        return false;
    }
    *ret = d;
    *ret_word = word;
    return true;
}

void klass_open(struct board *b, uint32_t class, const struct demand *demand,
                uint32_t word)
{
    struct klass *k = &b->classes[class];
    at_store(&k->used, 0, AT_SEQ_CST);
    at_fence(); /* who reads a byte of the new demand sees that the old class is gone */
    k->demand = *demand;
    at_store(&k->made, 1, AT_RELAXED);
    at_store(&k->used, word, AT_RELEASE);
}

void klass_close(struct board *b, uint32_t class)
{
    at_store(&b->classes[class].used, 0, AT_SEQ_CST);
    at_fence(); /* before klass_left() looks who has entered: pairs with klass_enter() */
}

bool klass_enter(struct lane *l, uint32_t class, uint32_t word)
{
    /* Written, then looked: pairs with klass_close(), and the look of klass_left() after it. */
    at_store(&l->ledgers[0]->entering, word, AT_SEQ_CST);
    if (at_load(&l->board->classes[class].used, AT_SEQ_CST) == word) {
        return true;
    }
    klass_leave(l);
    return false;
}

void klass_leave(struct lane *l)
{
    /* Release: who sees that nobody is in it any more sees the task. */
    at_store(&l->ledgers[0]->entering, 0, AT_RELEASE);
}

/* It is of the class, and somebody will take it out of a queue of it, or has it. The daemon's own that are being made are
 * kept to be copied (its lineage), and nobody takes them. */
static bool is_open(const struct record *r, uint32_t class)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    enum phase p = state_phase(s);
    bool made = p == PHASE_CREATING && state_holder(s) != DAEMON;
    return (made || p == PHASE_WAITING || p == PHASE_QUEUED || p == PHASE_TAKEN) &&
           call.fn != CALL_PUT && call_class(&call) == class;
}

bool klass_left(const struct board *b, uint32_t class, uint32_t word)
{
    for (uint32_t i = 0; i < BOARD_LEDGERS_MAX; i++) {
        if (at_load(&b->ledgers[i].entering, AT_ACQUIRE) == word) {
            return false;
        }
    }
    uint32_t count = board_committed(b);
    for (uint32_t i = 0; i < count; i++) {
        if (is_open(&b->records[i], class)) {
            return false;
        }
    }
    return true;
}
