/* Parking: time limits, changed words, and wakes across processes on a read-only mapping. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/park.h"
#include "core/seg.h"

static _Thread_local unsigned yields;

int __real_sched_yield(void);
int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
    yields++;
    return __real_sched_yield();
}

static void *sleeps(void *word)
{
    park_wait(word, 5, CLOCK_NEVER);
    return NULL;
}

/* Once for each wake-up given or taken, before the next spin; else nothing: it is a system call. */
Test(park, who_woke_or_was_woken_gives_way_once, .timeout = 30)
{
    at_u32 word = {5};
    pthread_t sleeper;
    park_give_way();
    park_wake(&word, 1); /* nobody */
    park_give_way();
    cr_assert_eq(yields, 0);
    park_wait(&word, 4, CLOCK_NEVER);
    park_give_way();
    cr_assert_eq(yields, 1, "who was woken");
    park_give_way();
    cr_assert_eq(yields, 1, "once");
    cr_assert_eq(pthread_create(&sleeper, NULL, sleeps, &word), 0);
    while (yields == 1) { /* until it sleeps, and is woken */
        park_wake(&word, 1);
        park_give_way();
    }
    cr_assert_eq(yields, 2, "who woke another");
    cr_assert_eq(pthread_join(sleeper, NULL), 0);
    park_wake(&word, 1);
    park_give_way();
    cr_assert_eq(yields, 2);
}

Test(park, a_changed_word_does_not_sleep, .timeout = 10)
{
    at_u32 word = {5};
    cr_assert_eq(park_wait(&word, 4, CLOCK_NEVER), MOB_OK);
    const at_u32 *words[2] = {&word, &word};
    uint32_t seen[2] = {5, 4};
    cr_assert_eq(park_wait_many(words, seen, 2, CLOCK_NEVER), MOB_OK);
}

Test(park, a_time_limit_ends_the_sleep, .timeout = 10)
{
    at_u32 word = {5};
    const at_u32 *words[1] = {&word};
    uint32_t seen[1] = {5};
    uint64_t until = clock_deadline_ns(2 * NS_PER_MS);
    cr_assert_eq(park_wait(&word, 5, until), MOB_ERR_TIMEOUT);
    cr_assert_geq(clock_now_ns(), until);
    until = clock_deadline_ns(2 * NS_PER_MS);
    cr_assert_eq(park_wait_many(words, seen, 1, until), MOB_ERR_TIMEOUT);
    cr_assert_geq(clock_now_ns(), until);
}

/* The child answers on a second word; both words are mapped read-only by whoever sleeps. */
Test(park, processes_wake_each_other_through_read_only_maps, .timeout = 30)
{
    enum { ROUNDS = 200 };
    int fd;
    void *rw, *ro;
    cr_assert_eq(seg_create("park", 4096, &fd), MOB_OK);
    pid_t pid = fork();
    cr_assert_eq(seg_map(fd, 4096, SEG_WRITE, &rw), MOB_OK);
    cr_assert_eq(seg_map(fd, 4096, SEG_READ, &ro), MOB_OK);
    unsigned mine = pid ? 0 : 1;
    at_u32 *say = (at_u32 *)rw + mine;
    const at_u32 *hear = (at_u32 *)ro + !mine;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        if (pid) {
            at_store(say, i, AT_RELEASE);
            park_wake(say, 1);
        }
        while (at_load(hear, AT_ACQUIRE) != i) {
            park_wait(hear, i - 1, CLOCK_NEVER);
        }
        if (!pid) {
            at_store(say, i, AT_RELEASE);
            park_wake(say, 1);
        }
    }
    if (!pid) {
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
    seg_unmap(rw, 4096);
    seg_unmap(ro, 4096);
    close(fd);
}

Test(park, clock_deadlines_do_not_overflow)
{
    cr_assert_eq(clock_deadline_ns(CLOCK_NEVER), CLOCK_NEVER);
    cr_assert_eq(clock_deadline_ns(CLOCK_NEVER - 1), CLOCK_NEVER);
}
