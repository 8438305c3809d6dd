/* The loop: files, and streams that others use too. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop_rig.h"

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

/* A program's standard output that is a file, into which the program writes too. */
Test(loop, writers_at_one_position_do_not_overwrite_each_other, .timeout = 60)
{
    enum { LINES = 20000, LINE = 8 };
    struct loop *loop = make(0);
    struct result out = {0};
    struct stat st;
    char path[] = "/tmp/mob-loop-XXXXXX";
    int fd = mkstemp(path), status;
    unlink(path);
    pid_t other = fork();
    if (other == 0) {
        for (int i = 0; i < LINES; i++) {
            if (write(fd, "another\n", LINE) != LINE) {
                _exit(1);
            }
        }
        _exit(0);
    }
    for (int i = 0; i < LINES; i++) {
        loop_write(loop, &out.op, fd, "theloop\n", LINE, UINT64_MAX, note);
        turn_until(loop, &out.calls, i + 1);
        cr_assert_eq(out.value, LINE);
    }
    cr_assert_eq(waitpid(other, &status, 0), other);
    cr_assert_eq(status, 0);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_assert_eq(st.st_size, 2ll * LINES * LINE, "%lld bytes of %lld",
                 (long long)st.st_size, 2ll * LINES * LINE);
    close(fd);
    loop_destroy(loop);
}

/* Rather later than over what somebody else wrote. */
Test(loop, without_a_thread_nothing_is_written_at_a_files_position, .timeout = 20)
{
    struct loop *loop = make(0);
    struct result out = {0};
    struct stat st;
    char path[] = "/tmp/mob-loop-XXXXXX";
    bool ring =
        strncmp(loop_backend(loop), "io_uring", 8) == 0; /* epoll has its thread */
    int fd = mkstemp(path);
    unlink(path);
    refuse(SYS_clone3, EAGAIN);
    for (int i = 1; i <= 2; i++) {
        loop_write(loop, &out.op, fd, "x", 1, UINT64_MAX, note);
        turn_until(loop, &out.calls, i);
        cr_assert_eq(out.value, ring ? -EAGAIN : 1);
    }
    cr_assert_eq(fstat(fd, &st), 0);
    cr_assert_eq(st.st_size, ring ? 0 : 2);
    close(fd);
    loop_destroy(loop);
}

/* What waits for the thread is cancelled like anything else. */
Test(loop, a_write_at_a_files_position_can_be_cancelled, .timeout = 20)
{
    enum { COUNT = 64 };
    struct loop *loop = make(0);
    static struct result out[COUNT];
    static char text[1 << 20];
    char path[] = "/tmp/mob-loop-XXXXXX";
    int fd = mkstemp(path), done = 0;
    off_t size = 0;
    unlink(path);
    for (int i = 0; i < COUNT; i++) {
        loop_write(loop, &out[i].op, fd, text, sizeof text, UINT64_MAX, note);
    }
    for (int i = 0; i < COUNT; i++) {
        loop_cancel(loop, &out[i].op);
    }
    for (int i = 0; i < COUNT; i++) {
        turn_until(loop, &out[i].calls, 1);
        cr_assert(out[i].value == (int)sizeof text || out[i].value == -ECANCELED ||
                      out[i].value == -EINTR,
                  "%d", out[i].value);
        size += out[i].value > 0 ? out[i].value : 0;
        done += out[i].value > 0;
    }
    cr_assert_lt(done, COUNT);
    cr_assert_eq(lseek(fd, 0, SEEK_CUR), size);
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
