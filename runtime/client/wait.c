/* wait.c - waiting for records: first by looking, then by spinning, then asleep. Of several: waitset.c. */
#include <string.h>

#include "client.h"
#include "core/clock.h"
#include "core/park.h"
#include "core/status.h"
#include "local.h"
#include "store/task.h"

enum { SPIN_LOOKS = 64, SPIN_HOT = 64, SPIN_LAZY_MAX = 64 };
/* Of spin_newest(), in steps. */
enum { NEWEST_LESS = 1, NEWEST_MORE = 48, NEWEST_MAX = 1024, NEWEST_STEP = 48 };

mob_status client_link_foreign(struct mob *mob, mob_ref ref, uint64_t *ret)
{
    (void)mob;
    (void)ret;
    if ((ref.hi & 0xf) != 1) {
        return status_fail(MOB_ERR_RELEASED, "that is no id of an object");
    }
    return status_fail(MOB_ERR_RELEASED, "the id is of another job or node");
}

mob_status client_health_slow(const struct mob *mob)
{
    if (at_load(&mob->lost, AT_ACQUIRE)) {
        return status_fail(MOB_ERR_NODE_LOST,
                           "the node's daemon is gone; its tasks and objects are lost");
    }
    mob_status failed = (mob_status)at_load(&mob->board.header->unusual, AT_ACQUIRE);
    if (failed >= 0) {
        return MOB_OK;
    }
    char text[FAILURE_TEXT_MAX];
    memcpy(text, mob->board.header->failure, sizeof text);
    text[sizeof text - 1] = '\0';
    return status_fail(failed, "%s", text);
}

static void set_awake(struct mob *mob, bool awake)
{
    at_u64 *word = &mob->board.header->awake[mob->self / 64];
    uint64_t bit = 1ull << mob->self % 64;
    if (awake) {
        at_or(word, bit, AT_RELAXED);
    } else {
        at_and(word, ~bit, AT_RELAXED);
    }
}

mob_status park_client(struct mob *mob, struct thread *t, const at_u32 *word,
                       uint32_t seen, uint64_t deadline_ns)
{
    /* The word is noted before the look at `lost`; pairs with the watcher in rpc.c. */
    at_store(&t->waits_on, (uint64_t)(uintptr_t)word, AT_SEQ_CST);
    mob_status st = MOB_OK;
    if (!at_load(&mob->lost, AT_SEQ_CST)) {
        set_awake(mob, false);
        st = park_wait(word, seen, deadline_ns);
        set_awake(mob, true);
    }
    at_store(&t->waits_on, 0, AT_RELEASE);
    return st;
}

static inline bool sealed_or_gone(const struct record *r, uint32_t gen)
{
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    return state_phase(s) >= PHASE_DONE || state_gen(s) != gen;
}

static inline void spin_steps(uint32_t count) /* about a cycle each */
{
    for (uint32_t i = 0; i < count; i++) {
        __asm__ __volatile__("");
    }
}

/* A look that comes before the seal takes the record's line away from the worker in the middle of the
 * task, and it has to come back for the seal: two transfers more on a way of two. So the first look
 * waits for about as long as such tasks have taken lately: a bit less after each that was in time, much
 * more after one that was early. */
__attribute__((noinline)) bool spin_newest(struct thread *t, const struct record *r,
                                           uint32_t gen)
{
    park_give_way(); /* who was woken for this task may have been put on this CPU */
    spin_steps(t->newest_after);
    if (sealed_or_gone(r, gen)) {
        t->newest_after -= t->newest_after < NEWEST_LESS ? t->newest_after : NEWEST_LESS;
        return true;
    }
    if (t->far) {
        return false; /* it will be long, and the daemon may be waiting for this CPU */
    }
    if (t->newest_after < NEWEST_MAX) {
        t->newest_after += NEWEST_MORE;
    }
    for (int i = 0; i < SPIN_HOT; i++) {
        spin_steps(NEWEST_STEP);
        if (sealed_or_gone(r, gen)) {
            return true;
        }
    }
    return false;
}

/* A wake-up is for one: threads that a task has made sleep on their word alone, and take it from nobody. */
mob_status park_in_task(struct mob *mob, struct thread *t, const at_u32 *word,
                        uint32_t seen, uint32_t asked, uint64_t deadline_ns)
{
    if (!mob->worker || !t->task) {
        return park_client(mob, t, word, seen, deadline_ns);
    }
    const at_u32 *words[] = {word, &mob->proc->wake};
    set_awake(mob, false);
    mob_status st = park_wait_many(words, (uint32_t[]){seen, asked}, 2, deadline_ns);
    set_awake(mob, true);
    return st;
}

/* True once the record is sealed or gone; false after a while, or @near and it is seen to be far. @lazy:
 * pauses before the first look. */
static __attribute__((noinline)) bool spin_sealed(const struct thread *t,
                                                  const struct record *r, uint32_t gen,
                                                  uint64_t deadline_ns, uint64_t lazy,
                                                  bool near)
{
    for (uint64_t i = 0; i < lazy && i < SPIN_LAZY_MAX; i++) {
        at_pause();
    }
    for (int i = 0; i < SPIN_HOT; i++) {
        if (sealed_or_gone(r, gen)) {
            return true;
        }
        for (volatile int k = 0; k < 2; k++) {
        }
    }
    park_give_way();
    uint64_t until = clock_now_ns() + t->mob->spin_ns;
    if (deadline_ns < until) {
        until = deadline_ns;
    }
    do {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (sealed_or_gone(r, gen)) {
                return true;
            }
            at_pause();
        }
    } while (!(near && spin_is_far(t, at_load(&r->state, AT_RELAXED))) &&
             clock_now_ns() < until);
    return false;
}

/* Sleeps until the record is sealed. The board may fail and the node may die meanwhile. */
static __attribute__((noinline)) mob_status park_sealed(struct mob *mob, struct thread *t,
                                                        struct record *r, uint32_t gen,
                                                        uint64_t deadline_ns)
{
    uint64_t s;
    while (task_mark_waited(r, gen, STATE_WAITERS, &s)) {
        uint32_t asked = at_load(&mob->proc->wake, AT_SEQ_CST);
        MOB_TRY(client_health(mob));
        client_tidy(mob, t);
        if (park_in_task(mob, t, park_low(&r->state), (uint32_t)s, asked, deadline_ns) ==
            MOB_ERR_TIMEOUT) {
            return status_fail(MOB_ERR_TIMEOUT,
                               "the object was not there within the time limit");
        }
    }
    return MOB_OK;
}

void client_lend(struct mob *mob, bool lent, uint64_t link)
{
    struct proc *p = &mob->board.procs[mob->self];
    at_store(&p->awaits, link,
             AT_RELAXED); /* before the state, which says that it means something */
    at_store(&p->state, lent ? PROC_LENT : PROC_BUSY, AT_SEQ_CST);
    board_notice(&mob->board, NOTICE_LENT);
}

/* All that is waiting and not work: spins for a moment, then sleeps. */
static mob_status wait_sealed(struct mob *mob, struct thread *t, struct record *r,
                              uint32_t gen, struct limit *limit)
{
    uint64_t deadline_ns = limit_deadline(limit);
    MOB_TRY(client_health(mob));
    /* Behind a long queue, who looks at each result as it is made takes its line away from the worker
     * that makes it; some later, there are several. */
    struct call call = record_call(r);
    uint64_t lazy = queue_about(&t->lane.ready[call_class(&call) % CLASSES_MAX]) / 4;
    bool near = !spin_allowed(mob, SPIN_FAR);
    bool far = near && spin_is_far(t, at_load(&r->state, AT_RELAXED));
    if (!far && spin_allowed(mob, SPIN_NEAR) &&
        spin_sealed(t, r, gen, deadline_ns, lazy, near)) {
        return MOB_OK;
    }
    if (clock_now_ns() >= deadline_ns) {
        return status_fail(MOB_ERR_TIMEOUT,
                           "the object was not there within the time limit");
    }
    if (t->task) {
        client_lend(mob, true, link_make(gen, board_index(&mob->board, r), 0));
    }
    mob_status st = park_sealed(mob, t, r, gen, deadline_ns);
    if (t->task) {
        client_lend(mob, false, LINK_NONE);
    }
    return st;
}

__attribute__((noinline)) mob_status park_until_sealed(struct mob *mob, struct thread *t,
                                                       struct record *r, uint32_t gen,
                                                       struct limit *limit)
{
    uint64_t start_ns = t->lane.timeline ? clock_now_ns() : 0;
    mob_status st = wait_sealed(mob, t, r, gen, limit);
    spin_learn(t, at_load(&r->state, AT_RELAXED));
    if (start_ns && t->lane.timeline) {
        timeline_got(t, start_ns, link_make(gen, board_index(&mob->board, r), 0), st);
    }
    return st;
}

/* What the slot of the task that waits has is all that the other one asks for: its CPUs and GPUs, its place in
 * a group, its node. Of a gang none is run by one that waits: its tasks begin together. */
static bool would_do(const struct mob *mob, const struct mob_task *waits,
                     const struct record *r)
{
    struct call call = record_call(r);
    const struct klass *k = mob->board.classes;
    const struct demand *has = &k[call_class(&waits->call) % CLASSES_MAX].demand;
    const struct demand *asks = &k[call_class(&call) % CLASSES_MAX].demand;
    if (asks == has || asks->together) {
        return !asks->together;
    }
    return asks->group == has->group &&
           (asks->bundle == 0 || asks->bundle == has->bundle) &&
           asks->strategy == DEMAND_DEFAULT &&
           (!*asks->selector || strcmp(asks->selector, has->selector) == 0) &&
           resources_fit(&has->need, &asks->need);
}

/* With MOBULA_INLINE nobody else would ever run the awaited task. */
bool client_run_awaited(struct mob *mob, struct thread *t, struct record *r, uint32_t gen)
{
    bool may_nest = !t->task || t->task->depth < GET_NESTED_MAX || mob->inline_tasks;
    if (t->task && !mob->inline_tasks && !would_do(mob, t->task, r)) {
        return false;
    }
    if (__builtin_expect(!t->task && !mob->inline_tasks, 1) || !may_nest ||
        !task_claim_one(&t->lane, r, gen)) {
        return false;
    }
    task_run(mob, t, r, board_index(&mob->board, r));
    return true;
}

static mob_status await_slow(struct mob *mob, struct thread *t, struct record *r,
                             uint32_t gen, struct limit *limit)
{
    if (t->task) {
        (void)limit_deadline(limit); /* the time of a task that runs here counts */
    }
    if (client_run_awaited(mob, t, r, gen)) {
        return MOB_OK;
    }
    return park_until_sealed(mob, t, r, gen, limit);
}

mob_status client_released(void)
{
    return status_fail(MOB_ERR_RELEASED, "the id was released before, or never existed");
}

mob_status client_await(struct mob *mob, struct thread *t, mob_ref ref,
                        struct limit *limit, struct record **ret, uint64_t *ret_state)
{
    uint64_t link, s;
    MOB_TRY(client_link(mob, ref, &link));
    struct record *r = lane_find(&t->lane, link, &s);
    if (!r || state_gone(s)) {
        return client_released();
    }
    if (!state_sealed(s)) {
        if (limit->timeout_ns == 0) {
            MOB_TRY(client_health(mob));
            return status_fail(MOB_ERR_TIMEOUT, "the object is not there yet");
        }
        MOB_TRY(await_slow(mob, t, r, link_gen(link), limit));
        s = at_load(&r->state, AT_ACQUIRE);
        if (state_gen(s) != link_gen(link) || !state_sealed(s)) {
            return client_released();
        }
    }
    *ret = r;
    *ret_state = s;
    return MOB_OK;
}

/* ---- any k of n ------------------------------------------------------------------------------------ */

/* Notes which ids are there that were not, and counts all that are. */
static mob_status look(struct mob *mob, struct thread *t, const mob_ref *refs,
                       size_t count, unsigned char *ready, size_t *ret)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t link, s;
        if (!ready[i]) {
            MOB_TRY(client_link(mob, refs[i], &link));
            struct record *r = lane_find(&t->lane, link, &s);
            if (!r || state_gone(s)) {
                return client_released();
            }
            ready[i] = state_phase(s) >= PHASE_DONE;
        }
        found += ready[i];
    }
    *ret = found;
    return MOB_OK;
}

/* All of them are wanted: one after the other, which costs nothing beside the waits. */
static mob_status wait_all(struct mob *mob, struct thread *t, const mob_ref *refs,
                           size_t count, struct limit *limit, const unsigned char *ready)
{
    for (size_t i = 0; i < count; i++) {
        struct record *r;
        uint64_t s;
        if (!ready[i]) {
            MOB_TRY(client_await(mob, t, refs[i], limit, &r, &s));
        }
    }
    return MOB_OK;
}

/* As they come. */
static mob_status wait_some(struct mob *mob, const mob_ref *refs, size_t count,
                            size_t want, struct limit *limit, unsigned char *ready,
                            size_t found)
{
    struct mob_waitset *set;
    MOB_TRY(mob_waitset_create(mob, &set));
    mob_status st = MOB_OK;
    for (size_t i = 0; i < count && !st; i++) {
        st = ready[i] ? MOB_OK : mob_waitset_add(set, refs[i], i);
    }
    for (; found < want && !st; found++) {
        uint64_t i;
        st = waitset_next(set, limit, NULL, &i);
        if (!st) {
            ready[i] = 1;
        }
    }
    mob_waitset_destroy(set);
    return st;
}

mob_status mob_wait(struct mob *mob, const mob_ref *refs, size_t count, size_t want,
                    uint64_t timeout_ns, unsigned char *ready, size_t *ret_ready)
{
    struct thread *t;
    size_t found = 0;
    struct limit limit = {.timeout_ns = timeout_ns};
    MOB_TRY(client_thread(mob, &t));
    if ((count && (!refs || !ready)) || want > count) {
        return status_fail(MOB_ERR_INVALID, "mob_wait: %zu of %zu ids are wanted", want,
                           count);
    }
    if (count) {
        memset(ready, 0, count);
    }
    MOB_TRY(look(mob, t, refs, count, ready, &found));
    if (found < want) {
        mob_status st = timeout_ns == 0 ? client_health(mob)
                        : want == count
                            ? wait_all(mob, t, refs, count, &limit, ready)
                            : wait_some(mob, refs, count, want, &limit, ready, found);
        if (st && st != MOB_ERR_TIMEOUT) {
            return st;
        }
        MOB_TRY(look(mob, t, refs, count, ready, &found)); /* others came meanwhile */
    }
    if (ret_ready) {
        *ret_ready = found;
    }
    return found >= want ? MOB_OK
                         : status_fail(MOB_ERR_TIMEOUT,
                                       "%zu of %zu wanted ids were there within the time "
                                       "limit",
                                       found, want);
}
