/* hostile_client.c - clients that mean harm, and have nothing but a way to the node's sockets.
 *
 *   hostile_client HOST:PORT|SOCKET KIND COUNT MS [SEED]
 *
 *   garbage   COUNT connections, one after the other, each with random bytes or half a greeting
 *   loris     COUNT at once, each of which sends a byte of a greeting every second
 *   crowd     COUNT at once, silent; each that is hung up on is opened again
 * For MS at most. Exit status 0: done; it says how many connections it made and how many were hung up
 * on. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/clock.h"
#include "local.h"
#include "transport/addr.h"

enum { COUNT_MAX = 4096, GARBAGE_BYTES = 8192 };

static struct sockaddr_storage target;
static socklen_t target_size;
static int type = SOCK_STREAM;
static unsigned long opened, hung_up;
static uint64_t dice, until;

static uint64_t draw(uint64_t below)
{
    dice = dice * 6364136223846793005ull + 1442695040888963407ull;
    return below ? (dice >> 24) % below : 0;
}

static int dial(void)
{
    int fd = socket(target.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&target, target_size) < 0 &&
        errno != EINPROGRESS) { /* EAGAIN: no room in the kernel's queue of the socket */
        close(fd);
        return -1;
    }
    opened += fd >= 0;
    return fd;
}

/* The magic of a greeting, of either socket, with anything behind it. */
static size_t make(struct local_msg *m)
{
    uint8_t *bytes = (void *)m;
    size_t size = 1 + draw(GARBAGE_BYTES);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)draw(256);
    }
    if (draw(2) && type == SOCK_STREAM && size >= 8) {
        static const uint8_t magic[8] = {'M', 'O', 'B', 'U', 'L', 'A', '\r', '\n'};
        memcpy(bytes, magic, sizeof magic);
    }
    if (type == SOCK_SEQPACKET && size >= LOCAL_HEAD_BYTES && draw(4)) {
        m->op = (uint32_t)draw(LOCAL_OPS + 2);
        m->text_size = (uint32_t)(size - LOCAL_HEAD_BYTES);
        m->arg[0] = draw(2) ? LOCAL_MAGIC : draw(100);
        m->arg[1] = draw(2) ? LOCAL_VERSION : m->arg[1];
        m->arg[3] = draw(4);
        if (m->op == LOCAL_STOP) { /* which a tool of this user may ask for */
            m->op = LOCAL_HELLO;
        }
    }
    return size;
}

static void garbage(unsigned long count)
{
    static struct local_msg m; /* longer than GARBAGE_BYTES */
    for (unsigned long i = 0; i < count && clock_now_ns() < until; i++) {
        int fd = dial();
        if (fd < 0) {
            i--;
            (void)poll(NULL, 0, 1);
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        (void)poll(&p, 1, 1000);
        for (unsigned k = 1 + (unsigned)draw(3); k; k--) {
            (void)!send(fd, &m, make(&m), MSG_NOSIGNAL);
        }
        p.events = POLLIN;
        hung_up += draw(2) && poll(&p, 1, 100) > 0;
        close(fd);
    }
}

static bool is_hung_up(int fd)
{
    uint8_t bytes[256];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
    }
    return n == 0 || (errno != EAGAIN && errno != ENOTCONN);
}

/* @bytes: each sends one a second, of a greeting that never ends. */
static void hold(unsigned long count, bool bytes)
{
    static int fds[COUNT_MAX];
    static unsigned sent[COUNT_MAX];
    static const char greeting[] = "MOBULA\r\n\2\0\2";
    for (unsigned long i = 0; i < count; i++) {
        fds[i] = -1;
    }
    for (uint64_t next = 0; clock_now_ns() < until;) {
        bool tick = clock_now_ns() >= next;
        next = tick ? clock_now_ns() + NS_PER_S : next;
        for (unsigned long i = 0; i < count; i++) {
            if (fds[i] >= 0 && is_hung_up(fds[i])) {
                close(fds[i]);
                fds[i] = -1;
                hung_up++;
            }
            if (fds[i] < 0) {
                fds[i] = dial();
                sent[i] = 0;
            } else if (bytes && tick) {
                (void)!send(fds[i], &greeting[sent[i]++ % sizeof greeting], 1,
                            MSG_NOSIGNAL);
            }
        }
        (void)poll(NULL, 0, 10);
    }
}

static int find_target(const char *text)
{
    struct sockaddr_un *un = (void *)&target;
    struct addr addr;
    if (text[0] == '/') {
        un->sun_family = AF_UNIX;
        target_size = sizeof *un;
        type = SOCK_SEQPACKET;
        int n = snprintf(un->sun_path, sizeof un->sun_path, "%s", text);
        return n > 0 && (size_t)n < sizeof un->sun_path;
    }
    if (addr_parse(text, ADDR_CONNECT, &addr) != MOB_OK) {
        return 0;
    }
    memcpy(&target, &addr.sa, sizeof addr.sa);
    target_size = addr.size;
    return 1;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    unsigned long count = argc >= 5 ? strtoul(argv[3], NULL, 10) : 0;
    if (argc < 5 || count > COUNT_MAX || !find_target(argv[1])) {
        fprintf(stderr, "hostile_client: HOST:PORT|SOCKET KIND COUNT MS [SEED]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    dice = argc > 5 ? strtoull(argv[5], NULL, 0) : 1;
    until = clock_now_ns() + strtoull(argv[4], NULL, 10) * NS_PER_MS;
    if (strcmp(argv[2], "garbage") == 0) {
        garbage(count);
    } else {
        hold(count, strcmp(argv[2], "loris") == 0);
    }
    printf("%lu connections, %lu of them hung up on\n", opened, hung_up);
    return opened == 0;
}
