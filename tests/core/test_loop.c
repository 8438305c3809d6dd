/* The loop: completions, cancellation, watches, timers, and its words when io_uring is
 * refused. Runs twice: as this machine has it, and with MOBULA_LOOP=epoll. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

/* Where nothing may be missing. */
static bool in_ci(void)
{
    const char *ci = getenv("CI");
    return ci && strcmp(ci, "true") == 0;
}

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
    loop_write(loop, &io.op, fd, "at its position", 15, UINT64_MAX, note);
    turn_until(loop, &io.calls, 3);
    cr_assert_eq(io.value, 15);
    cr_assert_eq(lseek(fd, 0, SEEK_CUR), 15);
    close(fd);
    fd = open("/dev/null", O_RDWR | O_CLOEXEC); /* neither file nor stream */
    loop_write(loop, &io.op, fd, "gone", 4, UINT64_MAX, note);
    turn_until(loop, &io.calls, 4);
    cr_assert_eq(io.value, 4);
    loop_read(loop, &io.op, fd, buf, 4, UINT64_MAX, note);
    turn_until(loop, &io.calls, 5);
    cr_assert_eq(io.value, 0);
    close(fd);
    loop_destroy(loop);
}

/* Memory for a file, while others use files; and one that is cancelled. */
Test(loop, memory_is_found_and_its_rest_cancelled, .timeout = 60)
{
    enum { SIZE = 96 << 20 };
    struct loop *loop = make(0);
    struct result find = {0}, io = {0};
    struct stat st;
    int fd = memfd_create("mob-loop", MFD_CLOEXEC);
    loop_allocate(loop, &find.op, fd, 0, SIZE, note);
    loop_write(loop, &io.op, fd, "x", 1, SIZE, note);
    turn_until(loop, &find.calls, 1);
    turn_until(loop, &io.calls, 1);
    cr_assert_eq(find.value, 0);
    cr_assert_eq(io.value, 1);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_assert_eq(st.st_size, SIZE + 1);
    cr_assert_geq(st.st_blocks * 512ll, (long long)SIZE);
    cr_assert_eq(ftruncate(fd, 0), 0);
    loop_allocate(loop, &find.op, fd, 0, SIZE, note);
    cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    loop_cancel(loop, &find.op);
    turn_until(loop, &find.calls, 2);
    cr_assert(find.value == 0 || find.value == -ECANCELED || find.value == -EINTR,
              "cancelled, it gives %d", find.value);
    close(fd);
    loop_destroy(loop);
}

/* What a program's standard output may be: shared with the program, whose mode it must keep, and with
 * nobody reading. */
static void check_stalled(int reader, int writer)
{
    struct loop *loop = make(0);
    struct result out = {0}, tick = {0};
    static char text[1 << 20];
    memset(text, 'a', sizeof text);
    int mode = fcntl(writer, F_GETFL), pair = eventfd(0, EFD_NONBLOCK);
    size_t written = 0;
    loop_watch(loop, &tick.op, pair, POLLIN, note);
    for (;;) { /* until it takes no more */
        int calls = out.calls;
        loop_write(loop, &out.op, writer, text, sizeof text, UINT64_MAX, note);
        for (int i = 0; i < 20 && out.calls == calls; i++) {
            cr_assert_eq(loop_turn(loop, 5 * NS_PER_MS), MOB_OK);
        }
        if (out.calls == calls) {
            break;
        }
        cr_assert_gt(out.value, 0);
        written += (size_t)out.value;
    }
    cr_assert_eq(fcntl(writer, F_GETFL), mode, "the mode of a shared file was changed");
    cr_assert_eq(eventfd_write(pair, 1), 0);
    turn_until(loop, &tick.calls, 1); /* the loop goes on */
    int calls = out.calls;
    loop_cancel(loop, &out.op);
    turn_until(loop, &out.calls, calls + 1);
    cr_assert(out.value > 0 || out.value == -ECANCELED || out.value == -EINTR, "%d",
              out.value);
    written += out.value > 0 ? (size_t)out.value : 0;
    if (reader >= 0) { /* what was said to be written comes out, and then it goes on */
        static char got[1 << 16];
        for (size_t n = 0; n < written;) {
            ssize_t part = read(reader, got, sizeof got);
            cr_assert_gt(part, 0);
            n += (size_t)part;
        }
        loop_write(loop, &out.op, writer, "b", 1, UINT64_MAX, note);
        turn_until(loop, &out.calls, calls + 2);
        cr_assert_eq(out.value, 1);
        cr_assert_eq(read(reader, got, sizeof got), 1);
        cr_assert_eq(got[0], 'b');
    }
    loop_cancel(loop, &tick.op);
    turn_until(loop, &tick.calls, 2);
    close(pair);
    loop_destroy(loop);
}

Test(loop, a_pipe_that_nobody_reads_holds_nothing_up, .timeout = 20)
{
    int fd[2];
    cr_assert_eq(pipe2(fd, O_CLOEXEC), 0);
    check_stalled(fd[0], fd[1]);
}

Test(loop, a_pipe_that_cannot_be_opened_anew_holds_nothing_up, .timeout = 20)
{
    int fd[2];
    cr_assert_eq(pipe2(fd, O_CLOEXEC), 0);
    refuse(SYS_openat, EACCES);
    check_stalled(fd[0], fd[1]);
}

Test(loop, a_socket_as_a_stream_holds_nothing_up, .timeout = 20)
{
    int fd[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    check_stalled(fd[0], fd[1]);
}

Test(loop, a_terminal_that_stands_still_holds_nothing_up, .timeout = 20)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) {
        cr_assert_not(in_ci(), "no terminals here");
        cr_skip_test("no terminals here");
    }
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    cr_assert_geq(slave, 0);
    check_stalled(-1, slave);
}

Test(loop, a_stream_without_a_reader_is_broken, .timeout = 20)
{
    struct loop *loop = make(0);
    struct result out = {0};
    int fd[2];
    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(pipe2(fd, O_CLOEXEC), 0);
    close(fd[0]);
    loop_write(loop, &out.op, fd[1], "x", 1, UINT64_MAX, note);
    turn_until(loop, &out.calls, 1);
    cr_assert_eq(out.value, -EPIPE);
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
