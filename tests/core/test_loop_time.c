/* The loop: timers, sleep, and what it runs on. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop_rig.h"

/* ---- timers
 * ------------------------------------------------------------------------------ */

struct alarm {
    struct loop_timer timer;
    struct loop *loop;
    uint64_t want_ns;
    int calls;
};

static uint64_t last_ns;
static int fired_count;

static void in_order(struct loop_timer *timer)
{
    struct alarm *a = LOOP_OWNER(timer, struct alarm, timer);
    a->calls++;
    fired_count++;
    cr_assert_geq(a->want_ns, last_ns, "an earlier timer fired later");
    cr_assert_geq(clock_now_ns(), a->want_ns, "a timer fired too early");
    last_ns = a->want_ns;
}

Test(loop, timers_fire_in_order_and_stopped_ones_do_not, .timeout = 30)
{
    enum { COUNT = 2000 };
    struct loop *loop = make(0);
    struct alarm *a = calloc(COUNT, sizeof *a);
    unsigned seed = 1;
    int alive = 0;
    for (int round = 0; round < 3;
         round++) { /* the second and third move active timers */
        for (int i = 0; i < COUNT; i++) {
            a[i].want_ns =
                loop_now_ns(loop) + 1 + (unsigned)rand_r(&seed) % (20 * NS_PER_MS);
            loop_timer_start(loop, &a[i].timer, a[i].want_ns, in_order);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        if (rand_r(&seed) % 3 == 0) {
            loop_timer_stop(loop, &a[i].timer);
            loop_timer_stop(loop, &a[i].timer);
        } else {
            alive++;
        }
    }
    while (fired_count < alive) {
        cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
    }
    for (int i = 0; i < COUNT; i++) {
        cr_assert_leq(a[i].calls, 1);
        cr_assert_not(a[i].timer.active);
    }
    cr_assert_eq(fired_count, alive);
    free(a);
    loop_destroy(loop);
}

static void again(struct loop_timer *timer)
{
    struct alarm *a = LOOP_OWNER(timer, struct alarm, timer);
    a->calls++;
    loop_timer_start(a->loop, timer, 0, again);
}

Test(loop, a_timer_for_the_past_waits_for_the_next_turn, .timeout = 10)
{
    struct loop *loop = make(0);
    struct alarm a = {.loop = loop};
    loop_timer_start(loop, &a.timer, 0, again);
    for (int i = 1; i <= 5; i++) {
        while (a.calls < i) {
            cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
        }
        cr_assert_eq(a.calls, i);
    }
    loop_timer_start(loop, &a.timer, CLOCK_NEVER, again);
    cr_assert_not(a.timer.active);
    loop_destroy(loop);
}

static void stop(struct loop_timer *timer)
{
    loop_stop(LOOP_OWNER(timer, struct alarm, timer)->loop);
}

/* An idle loop sleeps: with a watch, an accept and a distant timer open, 200 ms pass with
 * a handful of context switches, none of them once a tick. */
Test(loop, idle_is_asleep, .timeout = 20)
{
    struct loop *loop = make(0);
    int fd = eventfd(0, EFD_NONBLOCK);
    struct result watch = {0};
    struct alarm end = {.loop = loop}, far = {.loop = loop};
    struct rusage before, after;
    loop_watch(loop, &watch.op, fd, POLLIN, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    loop_timer_start(loop, &far.timer, loop_now_ns(loop) + 3600 * NS_PER_S, stop);
    loop_timer_start(loop, &end.timer, loop_now_ns(loop) + 200 * NS_PER_MS, stop);
    getrusage(RUSAGE_SELF, &before);
    cr_assert_eq(loop_run(loop), MOB_OK);
    getrusage(RUSAGE_SELF, &after);
    cr_assert_leq(after.ru_nvcsw - before.ru_nvcsw, 5);
    loop_timer_stop(loop, &far.timer);
    loop_cancel(loop, &watch.op);
    turn_until(loop, &watch.calls, 1);
    loop_destroy(loop);
}

/* Who looks again and again calls the kernel only when there is something to be had: here it may not be
 * called at all, and that there is something shows as its refusal. */
Test(loop, looking_is_no_system_call, .timeout = 20)
{
    enum { TURNS = 1000 };
    static struct loop
        *loop; /* left to the process's end: it may not call the kernel any more */
    loop = make(0);
    struct result in = {0};
    int fd[2];
    char c;
    if (strncmp(loop_backend(loop), "io_uring (", 10) != 0) {
        loop_destroy(loop);
        cr_skip_test("epoll, or io_uring before Linux 5.19, asks each time");
    }
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    loop_recv(loop, &in.op, fd[0], &c, 1, 0, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK); /* hands it over */
    refuse(SYS_io_uring_enter, EPERM);
    for (int i = 0; i < TURNS; i++) {
        cr_assert_eq(loop_turn(loop, 0), MOB_OK, "turn %d: %s", i, mob_last_error());
    }
    cr_assert_eq(write(fd[1], "x", 1), 1);
    cr_assert_eq(loop_turn(loop, 0), MOB_ERR_SYSTEM, "it went unnoticed");
}

/* ---- the choice
 * ---------------------------------------------------------------------------- */

/* Whoever insists on io_uring is told what to do. */
static void check_refusal(int nr, unsigned err, const char *words, const char *or_words)
{
    struct loop *loop = NULL;
    refuse(nr, err);
    setenv("MOBULA_LOOP", "io_uring", 1);
    cr_assert_eq(loop_create(0, &loop), MOB_ERR_UNSUPPORTED);
    cr_assert_null(loop);
    cr_assert(strstr(mob_last_error(), words) || strstr(mob_last_error(), or_words), "%s",
              mob_last_error());
}

/* All others get a loop that works, and says why it is what it is. */
static void check_fallback(const char *why, const char *or_why, const char *words)
{
    unsetenv("MOBULA_LOOP");
    struct loop *loop = make(0);
    const char *text = loop_backend(loop);
    cr_assert_eq(strncmp(text, "epoll (", 7), 0, "%s", text);
    cr_assert(strstr(text, why) || strstr(text, or_why), "%s", text);
    cr_assert_not_null(strstr(loop_refusal(loop), words), "%s", loop_refusal(loop));
    struct result out = {0};
    int fd[2];
    cr_assert_eq(pipe2(fd, O_CLOEXEC), 0);
    loop_write(loop, &out.op, fd[1], "x", 1, UINT64_MAX, note);
    turn_until(loop, &out.calls, 1);
    cr_assert_eq(out.value, 1);
    loop_destroy(loop);
}

Test(loop, eperm_names_the_profile, .timeout = 10)
{
    check_refusal(SYS_io_uring_setup, EPERM, "profile", "io_uring_disabled");
    check_fallback("refused by a seccomp filter", "io_uring_disabled", "io_uring");
}

Test(loop, enosys_names_the_kernel, .timeout = 10)
{
    check_refusal(SYS_io_uring_setup, ENOSYS, "CONFIG_IO_URING", "CONFIG_IO_URING");
    check_fallback("seccomp filter", "seccomp filter", "CONFIG_IO_URING");
}

Test(loop, a_missing_register_call_is_named, .timeout = 10)
{
    check_refusal(SYS_io_uring_register, EPERM, "io_uring_register", "profile");
    check_fallback("io_uring_register refused", "io_uring_disabled", "io_uring");
}

Test(loop, what_is_asked_for_is_taken, .timeout = 10)
{
    struct loop *loop = NULL;
    setenv("MOBULA_LOOP", "epoll", 1);
    loop = make(0);
    cr_assert_str_eq(loop_backend(loop), "epoll (MOBULA_LOOP)");
    cr_assert_str_eq(loop_refusal(loop), "");
    loop_destroy(loop);
    setenv("MOBULA_LOOP", "kqueue", 1);
    loop = NULL;
    cr_assert_eq(loop_create(0, &loop), MOB_ERR_INVALID);
    cr_assert_null(loop);
    cr_assert_not_null(strstr(mob_last_error(), "'kqueue'"));
    setenv("MOBULA_LOOP", "", 1); /* as if it were not set */
    loop = make(0);
    /* Or nobody would notice that these tests run on epoll twice. */
    cr_assert(!in_ci() || strncmp(loop_backend(loop), "io_uring", 8) == 0, "%s",
              loop_backend(loop));
    loop_destroy(loop);
}
