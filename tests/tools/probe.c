/* probe.c - what the tests of the commands cannot do in a shell.
 *
 *   probe version DIR      greets the node in DIR in a version that it does not speak; prints
 *                          what it says to that
 *   probe ask DIR JSON     asks the node in DIR as storectl does, prints the answer, and hangs up
 *   probe scribble PID N   writes over the boards of the daemon PID, with N as seed
 *   probe flip PID NAME OFFSET   changes a byte of the file NAME..., where the process PID has it
 *                          mapped writable, else in its open file
 *   probe no_uring CMD...  runs a command for which the kernel refuses io_uring, as a container's
 *                          profile does; exit status 77 if there are no such filters here */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "local.h"
#include "store/board.h"

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

/* ---- ask ------------------------------------------------------------------------------------------------- */

static mob_status exchange(int sock, struct local_msg *m)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count;
    mob_status st = local_send(sock, m, NULL, 0);
    return st ? st : local_recv(sock, m, fds, &count);
}

static int ask(const char *dir, const char *words)
{
    static struct local_msg m;
    int sock;
    mob_status st = local_connect(dir, &sock);
    local_msg_init(&m, LOCAL_HELLO);
    m.arg[0] = LOCAL_MAGIC;
    m.arg[1] = LOCAL_VERSION;
    m.arg[2] = (uint64_t)getpid();
    m.arg[3] = LOCAL_TOOL;
    st = st ? st : exchange(sock, &m);
    local_msg_init(&m, LOCAL_STORE);
    local_msg_text(&m, words);
    st = st ? st : exchange(sock, &m);
    if (st) {
        fprintf(stderr, "probe: %s\n", mob_last_error());
        return 2;
    }
    puts(m.text);
    close(sock);
    return m.status ? 1 : 0;
}

/* ---- scribble --------------------------------------------------------------------------------------------- */

static uint64_t dice(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15ull;
    uint64_t x = (*seed ^ *seed >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Words of records that are in use, and of all that stands before the records; but for the header's first
 * words, without which it is no board. */
static int scribble_board(int fd, uint64_t seed)
{
    struct board b;
    if (board_map(fd, &b)) {
        fprintf(stderr, "probe: %s\n", mob_last_error());
        return 1;
    }
    uint64_t *words = b.base;
    size_t fixed = board_fixed_bytes() / sizeof *words, keep = 4096 / sizeof *words;
    for (int i = 0; i < 3000; i++) {
        words[keep + dice(&seed) % (fixed - keep)] = dice(&seed);
    }
    words = (uint64_t *)(void *)b.records;
    size_t each = sizeof(struct record) / sizeof *words;
    for (int i = 0; i < 400; i++) {
        uint64_t value = dice(&seed) % 2 ? dice(&seed) : dice(&seed) % 64;
        words[dice(&seed) % (64 * each)] = value;
    }
    for (int i = 0; i < 64;
         i++) { /* sound states, so that what stands behind them is looked at */
        if (dice(&seed) % 2) {
            at_store(&b.records[i].state,
                     state_make(1, (uint32_t)dice(&seed) % 4, 0,
                                (enum phase)(dice(&seed) % PHASE_RETIRED)),
                     AT_RELAXED);
        }
    }
    board_unmap(&b);
    return 0;
}

static int scribble(const char *pid, uint64_t seed)
{
    int written = 0;
    for (int i = 0; i < 1024; i++) {
        char path[64], target[128];
        snprintf(path, sizeof path, "/proc/%s/fd/%d", pid, i);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        int fd =
            strncmp(target, "/memfd:mobula-board", 19) == 0 ? open(path, O_RDWR) : -1;
        if (fd >= 0) {
            written += scribble_board(fd, seed) == 0;
            close(fd);
        }
    }
    return written ? 0 : 1;
}

/* Where the process has a file mapped writable: it may take no writes any more. 0: nowhere. */
static unsigned long find_mapping(const char *pid, const char *name)
{
    char path[64], line[512], perms[8], target[256];
    unsigned long from, found = 0;
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *maps = fopen(path, "r");
    while (maps && !found && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%*x %7s %*s %*s %*s %255s", &from, perms, target) == 3 &&
            perms[1] == 'w' && strcmp(target, name) == 0) {
            found = from;
        }
    }
    if (maps) {
        fclose(maps);
    }
    return found;
}

static int flip_at(const char *path, off_t at)
{
    char byte;
    int fd = open(path, O_RDWR);
    if (fd < 0 || pread(fd, &byte, 1, at) != 1) {
        return 1;
    }
    byte ^= 1;
    return pwrite(fd, &byte, 1, at) == 1 ? 0 : 1;
}

static int flip(const char *pid, const char *name, long offset)
{
    char path[64], target[128];
    unsigned long base = find_mapping(pid, name);
    if (base) {
        snprintf(path, sizeof path, "/proc/%s/mem", pid);
        return flip_at(path, (off_t)base + offset);
    }
    for (int i = 0; i < 1024; i++) {
        snprintf(path, sizeof path, "/proc/%s/fd/%d", pid, i);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strncmp(target, name, strlen(name)) == 0 && flip_at(path, offset) == 0) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "ask") == 0) {
        return ask(argv[2], argv[3]);
    }
    if (argc == 5 && strcmp(argv[1], "flip") == 0) {
        return flip(argv[2], argv[3], strtol(argv[4], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "scribble") == 0) {
        return scribble(argv[2], strtoull(argv[3], NULL, 10));
    }
    if (argc == 3 && strcmp(argv[1], "version") == 0) {
        return version(argv[2]);
    }
    if (argc > 2 && strcmp(argv[1], "no_uring") == 0) {
        return no_uring(argv + 2);
    }
    fputs("usage: probe version DIR | probe ask DIR JSON | probe scribble PID N | probe "
          "flip PID NAME OFFSET "
          "| probe no_uring COMMAND...\n",
          stderr);
    return 2;
}
