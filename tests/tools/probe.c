/* probe.c - what the tests of the commands cannot do in a shell.
 *
 *   probe version DIR      greets the node in DIR in a version that it does not speak; prints
 *                          what it says to that
 *   probe no_uring CMD...  runs a command for which the kernel refuses io_uring, as a container's
 *                          profile does; exit status 77 if there are no such filters here */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "local.h"

static int version(const char *dir)
{
    static struct local_msg m;
    int sock, fds[LOCAL_FDS_MAX];
    unsigned count;
    if (local_connect(dir, &sock)) {
        fprintf(stderr, "probe: %s\n", mob_last_error());
        return 1;
    }
    local_msg_init(&m, LOCAL_HELLO);
    m.arg[0] = LOCAL_MAGIC;
    m.arg[1] = LOCAL_VERSION + 1;
    m.arg[2] = (uint64_t)getpid();
    m.arg[3] = LOCAL_TOOL;
    mob_status st = local_send(sock, &m, NULL, 0);
    if (!st) {
        st = local_recv(sock, &m, fds, &count);
    }
    close(sock);
    if (st || m.status != MOB_ERR_VERSION) {
        fprintf(stderr, "probe: got %s, in the answer %s\n", mob_status_name(st),
                mob_status_name((mob_status)m.status));
        return 1;
    }
    puts(m.text);
    return 0;
}

static int no_uring(char **argv)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        printf("no seccomp filters: %s\n", strerror(errno));
        return 77;
    }
    execvp(argv[0], argv);
    perror(argv[0]);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "version") == 0) {
        return version(argv[2]);
    }
    if (argc > 2 && strcmp(argv[1], "no_uring") == 0) {
        return no_uring(argv + 2);
    }
    fputs("usage: probe version DIR | probe no_uring COMMAND...\n", stderr);
    return 2;
}
