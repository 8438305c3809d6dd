/* The loop: completions, cancellation, watches, timers, and its words when io_uring is
 * refused. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"

struct result {
    struct loop_op op;
    int value;
    int calls;
};

static void note(struct loop_op *op, int value)
{
    struct result *r = LOOP_OWNER(op, struct result, op);
    r->value = value;
    r->calls++;
}

static struct loop *make(unsigned entries)
{
    struct loop *loop;
    cr_assert_eq(loop_create(entries, &loop), MOB_OK, "%s", mob_last_error());
    return loop;
}

static void turn_until(struct loop *loop, const int *calls, int want)
{
    while (*calls < want) {
        cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
    }
}

Test(loop, bytes_go_through_a_socket_pair, .timeout = 10)
{
    struct loop *loop = make(0);
    int fd[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    struct result in = {0}, out = {0};
    char buf[6];
    loop_recv(loop, &in.op, fd[0], buf, 6, MSG_WAITALL, note);
    cr_assert_eq(in.calls, 0);
    loop_send(loop, &out.op, fd[1], "abc", 3, 0, note);
    turn_until(loop, &out.calls, 1);
    cr_assert_eq(out.value, 3);
    cr_assert_eq(in.calls, 0, "MSG_WAITALL gave a part");
    struct iovec iov[2] = {{"de", 2}, {"f", 1}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    loop_sendmsg(loop, &out.op, fd[1], &msg, 0, note);
    turn_until(loop, &in.calls, 1);
    cr_assert_eq(in.value, 6);
    cr_assert_arr_eq(buf, "abcdef", 6);
    turn_until(loop, &out.calls, 2);
    cr_assert_eq(loop_in_flight(loop), 0);
    close(fd[0]);
    loop_send(loop, &out.op, fd[1], "x", 1, 0, note); /* must not raise SIGPIPE */
    turn_until(loop, &out.calls, 3);
    cr_assert_eq(out.value, -EPIPE);
    close(fd[1]);
    loop_destroy(loop);
}

Test(loop, a_cancelled_request_gives_its_buffer_back, .timeout = 10)
{
    struct loop *loop = make(0);
    int fd[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    struct result in = {0};
    char buf[4] = "....";
    loop_recv(loop, &in.op, fd[0], buf, 4, 0, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    loop_cancel(loop, &in.op);
    loop_cancel(loop, &in.op);
    cr_assert_eq(in.calls, 0, "called back from within loop_cancel()");
    turn_until(loop, &in.calls, 1);
    cr_assert_eq(in.value, -ECANCELED);
    cr_assert_not(loop_op_busy(&in.op));
    cr_assert_eq(write(fd[1], "abcd", 4), 4);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_arr_eq(buf, "....", 4);
    loop_cancel(loop, &in.op); /* idle: left alone */
    loop_recv(loop, &in.op, fd[0], buf, 4, 0, note);
    turn_until(loop, &in.calls, 2);
    cr_assert_eq(in.value, 4);
    loop_destroy(loop);
}

/* More requests in one turn than the ring has entries for, cancelled in the same turn. */
Test(loop, more_requests_than_entries, .timeout = 20)
{
    enum { COUNT = 500 };
    struct loop *loop = make(4);
    int fd[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
    struct result *in = calloc(COUNT, sizeof *in);
    char buf[COUNT];
    for (int i = 0; i < COUNT; i++) {
        loop_recv(loop, &in[i].op, fd[0], &buf[i], 1, 0, note);
    }
    for (int i = 0; i < COUNT; i += 2) {
        loop_cancel(loop, &in[i].op);
    }
    for (int i = 0; i < COUNT; i += 2) {
        turn_until(loop, &in[i].calls, 1);
        cr_assert_eq(in[i].value, -ECANCELED);
    }
    for (int i = 1; i < COUNT; i += 2) {
        cr_assert_eq(write(fd[1], "x", 1), 1); /* any of those that wait takes it */
        cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
    }
    for (int i = 1; i < COUNT; i += 2) {
        turn_until(loop, &in[i].calls, 1);
        cr_assert_eq(in[i].value, 1);
    }
    cr_assert_eq(loop_in_flight(loop), 0);
    free(in);
    loop_destroy(loop);
}

Test(loop, a_watch_tells_of_every_change, .timeout = 20)
{
    struct loop *loop = make(8);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct result watch = {0};
    uint64_t x;
    loop_watch(loop, &watch.op, fd, POLLIN, note);
    for (int i = 1; i <= 200; i++) {
        cr_assert_eq(eventfd_write(fd, 1), 0);
        turn_until(loop, &watch.calls, i);
        cr_assert(watch.value & POLLIN);
        cr_assert_eq(read(fd, &x, sizeof x), (ssize_t)sizeof x);
        cr_assert(loop_op_busy(&watch.op));
    }
    loop_cancel(loop, &watch.op);
    turn_until(loop, &watch.calls, 201);
    cr_assert_eq(watch.value, -ECANCELED);
    cr_assert_not(loop_op_busy(&watch.op));
    close(fd);
    loop_destroy(loop);
}

Test(loop, a_pidfd_tells_of_a_death, .timeout = 20)
{
    struct loop *loop = make(0);
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    cr_assert_geq(fd, 0);
    struct result watch = {0};
    loop_watch(loop, &watch.op, fd, POLLIN, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_eq(watch.calls, 0);
    kill(pid, SIGKILL);
    turn_until(loop, &watch.calls, 1);
    cr_assert(watch.value & POLLIN);
    int calls = watch.calls;
    loop_cancel(loop, &watch.op);
    turn_until(loop, &watch.calls, calls + 1);
    waitpid(pid, NULL, 0);
    loop_destroy(loop);
}

Test(loop, accept_connect_and_refusal, .timeout = 20)
{
    struct loop *loop = make(0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    cr_assert_eq(bind(listener, (struct sockaddr *)&at, size), 0);
    getsockname(listener, (struct sockaddr *)&at, &size);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct result dial = {0}, come = {0};
    loop_connect(loop, &dial.op, fd, (struct sockaddr *)&at, size, note);
    turn_until(loop, &dial.calls, 1);
    cr_assert_eq(dial.value, -ECONNREFUSED);
    cr_assert_eq(listen(listener, 8), 0);
    loop_accept(loop, &come.op, listener, note);
    loop_connect(loop, &dial.op, fd, (struct sockaddr *)&at, size, note);
    turn_until(loop, &dial.calls, 2);
    turn_until(loop, &come.calls, 1);
    cr_assert_eq(dial.value, 0);
    cr_assert_geq(come.value, 0);
    close(come.value);
    loop_accept(loop, &come.op, listener, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    loop_cancel(loop, &come.op);
    turn_until(loop, &come.calls, 2);
    cr_assert_eq(come.value, -ECANCELED);
    close(fd);
    close(listener);
    loop_destroy(loop);
}

Test(loop, files_are_written_and_read, .timeout = 20)
{
    struct loop *loop = make(0);
    char path[] = "/tmp/mob-loop-XXXXXX", buf[8] = "";
    int fd = mkstemp(path);
    unlink(path);
    struct result io = {0};
    loop_write(loop, &io.op, fd, "mobula", 6, 100, note);
    turn_until(loop, &io.calls, 1);
    cr_assert_eq(io.value, 6);
    loop_read(loop, &io.op, fd, buf, 8, 102, note);
    turn_until(loop, &io.calls, 2);
    cr_assert_eq(io.value, 4);
    cr_assert_arr_eq(buf, "bula", 4);
    loop_destroy(loop);
}

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

/* ---- refusals
 * ---------------------------------------------------------------------------- */

static void refuse(int nr, unsigned err)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

Test(loop, eperm_names_the_profile, .timeout = 10)
{
    struct loop *loop = NULL;
    refuse(SYS_io_uring_setup, EPERM);
    cr_assert_eq(loop_create(0, &loop), MOB_ERR_UNSUPPORTED);
    cr_assert_null(loop);
    cr_assert(strstr(mob_last_error(), "profile") ||
              strstr(mob_last_error(), "io_uring_disabled"));
}

Test(loop, enosys_names_the_kernel, .timeout = 10)
{
    struct loop *loop = NULL;
    refuse(SYS_io_uring_setup, ENOSYS);
    cr_assert_eq(loop_create(0, &loop), MOB_ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(mob_last_error(), "CONFIG_IO_URING"));
}

Test(loop, a_missing_register_call_is_named, .timeout = 10)
{
    struct loop *loop = NULL;
    refuse(SYS_io_uring_register, EPERM);
    cr_assert_eq(loop_create(0, &loop), MOB_ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(mob_last_error(), "io_uring_register"));
}
