/* The loop: completions, cancellation, watches. test_loop_files.c: files and streams;
 * test_loop_time.c: timers and sleep, and what it runs on. All of it runs twice: as this machine has it,
 * and with MOBULA_LOOP=epoll. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop_rig.h"

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

/* A message of many pieces that the socket takes in several goes, and one that ends early. */
Test(loop, waitall_goes_on_until_all_is_through, .timeout = 20)
{
    enum { PIECES = 50, PIECE = 20000, ALL = PIECES * PIECE };
    struct loop *loop = make(0);
    int fd[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    uint8_t *from = malloc(ALL), *to = calloc(1, ALL + 8);
    for (int i = 0; i < ALL; i++) {
        from[i] = (uint8_t)(i * 7 + i / PIECE);
    }
    struct iovec out_iov[PIECES], in_iov[3] = {{to, 1}, {to + 1, 0}, {to + 1, ALL - 1}};
    for (int i = 0; i < PIECES; i++) {
        out_iov[i] = (struct iovec){from + i * PIECE, PIECE};
    }
    struct msghdr out_msg = {.msg_iov = out_iov, .msg_iovlen = PIECES},
                  in_msg = {.msg_iov = in_iov, .msg_iovlen = 3};
    struct result in = {0}, out = {0};
    loop_sendmsg(loop, &out.op, fd[1], &out_msg, MSG_WAITALL, note);
    loop_recvmsg(loop, &in.op, fd[0], &in_msg, MSG_WAITALL, note);
    turn_until(loop, &in.calls, 1);
    turn_until(loop, &out.calls, 1);
    cr_assert_eq(out.value, ALL);
    cr_assert_eq(in.value, ALL);
    cr_assert_arr_eq(from, to, ALL);
    cr_assert_eq(out_iov[0].iov_base, (void *)from, "the sender's pieces were changed");
    loop_recv(loop, &in.op, fd[0], to, 8, MSG_WAITALL, note);
    cr_assert_eq(write(fd[1], "abc", 3), 3);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_eq(in.calls, 1);
    close(fd[1]);
    turn_until(loop, &in.calls, 2);
    cr_assert_eq(in.value, 3, "what came before the end is %d", in.value);
    loop_recv(loop, &in.op, fd[0], to, 8, MSG_WAITALL, note);
    turn_until(loop, &in.calls, 3);
    cr_assert_eq(in.value, 0);
    free(from);
    free(to);
    close(fd[0]);
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

/* A file that somebody else keeps open goes on having events after we closed it; its number is another
 * file's then, which must not hear of them. */
Test(loop, a_number_may_be_another_files, .timeout = 20)
{
    struct loop *loop = make(0);
    struct result watch = {0}, in = {0};
    char c;
    for (int i = 0; i < 20; i++) {
        int old[2], new[2], calls = watch.calls;
        cr_assert_eq(pipe2(old, O_CLOEXEC | O_NONBLOCK), 0);
        loop_watch(loop, &watch.op, old[0], POLLIN, note);
        cr_assert_eq(loop_turn(loop, 0), MOB_OK);
        cr_assert_eq(watch.calls, calls);
        loop_cancel(loop, &watch.op);
        turn_until(loop, &watch.calls, ++calls);
        int kept = dup(old[0]), number = old[0];
        close(old[0]);
        if (i % 2) { /* else at once */
            cr_assert_eq(loop_turn(loop, 0), MOB_OK);
        }
        cr_assert_eq(pipe2(new, O_CLOEXEC | O_NONBLOCK), 0);
        cr_assert_eq(new[0], number, "the test needs the lowest number");
        loop_watch(loop, &watch.op, new[0], POLLIN, note);
        cr_assert_eq(write(old[1], "x", 1), 1);
        cr_assert_eq(loop_turn(loop, 0), MOB_OK);
        cr_assert_eq(watch.calls, calls, "told of the file that had the number before");
        cr_assert_eq(write(new[1], "x", 1), 1);
        turn_until(loop, &watch.calls, ++calls);
        cr_assert_eq(watch.value, POLLIN);
        loop_cancel(loop, &watch.op);
        turn_until(loop, &watch.calls, ++calls);
        close(new[0]); /* the first file has its number again */
        cr_assert_eq(dup2(kept, number), number);
        new[0] = number;
        loop_read(loop, &in.op, new[0], &c, 1, UINT64_MAX, note);
        turn_until(loop, &in.calls, i + 1);
        cr_assert_eq(in.value, 1);
        close(kept), close(old[1]), close(new[0]), close(new[1]);
    }
    loop_destroy(loop);
}

/* The same where one request follows another at once. */
Test(loop, a_number_is_used_again_at_once, .timeout = 20)
{
    struct loop *loop = make(0);
    struct result in = {0};
    char c;
    int old[2], new[2];
    cr_assert_eq(pipe2(old, O_CLOEXEC), 0);
    loop_read(loop, &in.op, old[0], &c, 1, UINT64_MAX, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_eq(write(old[1], "x", 1), 1);
    turn_until(loop, &in.calls, 1);
    int number = old[0];
    close(old[0]);
    cr_assert_eq(pipe2(new, O_CLOEXEC), 0);
    cr_assert_eq(new[0], number, "the test needs the lowest number");
    loop_read(loop, &in.op, new[0], &c, 1, UINT64_MAX, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_eq(write(new[1], "y", 1), 1);
    turn_until(loop, &in.calls, 2);
    cr_assert_eq(c, 'y');
    close(old[1]), close(new[0]), close(new[1]);
    loop_destroy(loop);
}

/* And where the first file lives on, without a turn in between. */
Test(loop, a_file_without_its_number_is_not_heard, .timeout = 20)
{
    struct loop *loop = make(0);
    struct result in = {0}, watch = {0};
    char c;
    int old[2], new[2];
    cr_assert_eq(pipe2(old, O_CLOEXEC), 0);
    loop_read(loop, &in.op, old[0], &c, 1, UINT64_MAX, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_eq(write(old[1], "x", 1), 1);
    turn_until(loop, &in.calls, 1);
    int number = old[0], kept = dup(number);
    close(number);
    cr_assert_eq(pipe2(new, O_CLOEXEC), 0);
    cr_assert_eq(new[0], number, "the test needs the lowest number");
    loop_watch(loop, &watch.op, new[0], POLLIN, note);
    cr_assert_eq(write(old[1], "x", 1), 1);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_eq(watch.calls, 0, "told of the file that had the number before");
    loop_cancel(loop, &watch.op);
    turn_until(loop, &watch.calls, 1);
    close(kept), close(old[1]), close(new[0]), close(new[1]);
    loop_destroy(loop);
}

Test(loop, a_watch_is_told_what_is_ready_already, .timeout = 20)
{
    struct loop *loop = make(0);
    struct result watch[2] = {0};
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    for (int i = 0; i < 2; i++) { /* the second one, of what the first one knows */
        loop_watch(loop, &watch[i].op, fd, POLLIN, note);
        turn_until(loop, &watch[i].calls, 1);
        cr_assert_eq(watch[i].value, POLLIN);
    }
    for (int i = 0; i < 2; i++) {
        int calls = watch[i].calls;
        loop_cancel(loop, &watch[i].op);
        turn_until(loop, &watch[i].calls, calls + 1);
    }
    close(fd);
    loop_destroy(loop);
}

/* io_uring keeps no order among those that wait, so nobody may rely on it. */
Test(loop, epoll_keeps_the_order_of_sends, .timeout = 20)
{
    enum { SIZE = 1 << 20 };
    setenv("MOBULA_LOOP", "epoll", 1);
    struct loop *loop = make(0);
    struct result first = {0}, second = {0};
    int fd[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    char *from = calloc(1, SIZE), *to = malloc(SIZE + 1);
    loop_send(loop, &first.op, fd[1], from, SIZE, MSG_WAITALL, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    cr_assert_eq(first.calls, 0, "the socket takes a MiB");
    for (int got = 0;
         got < SIZE;) { /* now there is room, of which the first was not told yet */
        ssize_t n = recv(fd[0], to + got, (size_t)(SIZE - got), MSG_DONTWAIT);
        if (n > 0) {
            got += (int)n;
        }
        if (!loop_op_busy(&second.op) && second.calls == 0) {
            loop_send(loop, &second.op, fd[1], "z", 1, 0, note);
        }
        cr_assert_eq(loop_turn(loop, NS_PER_MS), MOB_OK);
    }
    turn_until(loop, &first.calls, 1);
    turn_until(loop, &second.calls, 1);
    cr_assert_eq(first.value, SIZE);
    cr_assert_eq(recv(fd[0], to + SIZE, 1, 0), 1);
    cr_assert_null(memchr(to, 'z', SIZE), "the second send came in between");
    cr_assert_eq(to[SIZE], 'z');
    free(from);
    free(to);
    close(fd[0]);
    close(fd[1]);
    loop_destroy(loop);
}

/* A socket that is received from alone is nothing to wake for when its peer makes room. */
Test(loop, what_nobody_waits_for_wakes_nobody, .timeout = 20)
{
    enum { SIZE = 1 << 20 };
    struct loop *loop = make(0);
    struct result in = {0}, out = {0};
    int fd[2];
    char c, *bytes = calloc(1, SIZE);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    loop_recv(loop, &in.op, fd[1], &c, 1, 0, note);
    loop_send(loop, &out.op, fd[1], bytes, SIZE, MSG_WAITALL, note);
    for (int got = 0; got < SIZE;) {
        cr_assert_eq(loop_turn(loop, 0), MOB_OK);
        ssize_t n = recv(fd[0], bytes, SIZE, MSG_DONTWAIT);
        got += n > 0 ? (int)n : 0;
    }
    turn_until(loop, &out.calls, 1);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(send(fd[1], "a", 1, 0), 1);
        cr_assert_eq(loop_turn(loop, 0), MOB_OK);
        cr_assert_eq(recv(fd[0], &c, 1, 0), 1);
        uint64_t before = clock_now_ns();
        cr_assert_eq(loop_turn(loop, 10 * NS_PER_MS), MOB_OK);
        cr_assert_geq(clock_now_ns() - before, 10 * NS_PER_MS, "woken for nothing");
    }
    loop_cancel(loop, &in.op);
    turn_until(loop, &in.calls, 1);
    free(bytes);
    close(fd[0]);
    close(fd[1]);
    loop_destroy(loop);
}

Test(loop, wrong_fds_are_results, .timeout = 20)
{
    struct loop *loop = make(0);
    struct result r[6] = {0};
    char c;
    int closed = dup(0);
    close(closed);
    loop_recv(loop, &r[0].op, -1, &c, 1, 0, note);
    loop_write(loop, &r[1].op, -1, &c, 1, UINT64_MAX, note);
    loop_read(loop, &r[2].op, closed, &c, 1, 0, note);
    loop_watch(loop, &r[3].op, closed, POLLIN, note);
    loop_accept(loop, &r[4].op, closed, note);
    loop_read(loop, &r[5].op, closed, &c, 1, UINT64_MAX, note);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(r[i].calls, 0, "called back from within a call");
    }
    for (int i = 0; i < 6; i++) {
        turn_until(loop, &r[i].calls, 1);
        cr_assert_eq(r[i].value, -EBADF, "request %d gave %d", i, r[i].value);
    }
    cr_assert_geq(fcntl(0, F_GETFD), 0, "standard input was closed");
    loop_destroy(loop);
}
