/* The floor: two threads with one blocking socket, that do nothing but move the bytes,
 * with a sum for every chunk if ours has them. What a person would write by hand who only
 * needed this. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "core/clock.h"
#include "core/limits.h"
#include "core/xxh3.h"
#include "transport_bench.h"

enum { PULL = 'p', TRIP = 't' };

struct plain {
    struct setup setup;
    int fd[2];    /* the puller's, the owner's */
    int epoll[2]; /* likewise, for messages */
    pthread_t owner;
};

/* All of the pieces, or the end of the connection. */
static bool move(int fd, struct iovec *iov, unsigned count, bool out)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    while (msg.msg_iovlen != 0) {
        ssize_t n =
            out ? sendmsg(fd, &msg, MSG_NOSIGNAL) : recvmsg(fd, &msg, MSG_WAITALL);
        if (n <= 0) {
            return false;
        }
        while (msg.msg_iovlen != 0 && (size_t)n >= msg.msg_iov->iov_len) {
            n -= (ssize_t)msg.msg_iov->iov_len;
            msg.msg_iov++;
            msg.msg_iovlen--;
        }
        if (msg.msg_iovlen != 0) {
            msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + n;
            msg.msg_iov->iov_len -= (size_t)n;
        }
    }
    return true;
}

/* Moves the object over @fd. False: the other end is gone. */
static bool move_all(const struct setup *s, int fd, uint8_t *bytes, bool out)
{
    for (size_t at = 0; at < s->size; at += CHUNK_BYTES) {
        size_t part = s->size - at < CHUNK_BYTES ? s->size - at : CHUNK_BYTES;
        uint64_t sum = s->checked && out ? XXH3_64bits(bytes + at, part) : 0;
        struct iovec iov[] = {{&sum, sizeof sum}, {bytes + at, part}};
        if (!move(fd, iov, 2, out)) {
            return false;
        }
        if (s->checked && !out && XXH3_64bits(bytes + at, part) != sum) {
            bench_die("a plain chunk arrived damaged");
        }
    }
    return true;
}

/* Waits as the setup says until something can be read, and reads one message. */
static bool read_message(const struct plain *p, int side, uint8_t *bytes, size_t size)
{
    struct epoll_event event;
    for (size_t have = 0; have < size;) {
        if (!p->setup.poll && epoll_wait(p->epoll[side], &event, 1, -1) != 1) {
            continue;
        }
        ssize_t n = recv(p->fd[side], bytes + have, size - have, MSG_DONTWAIT);
        if (n == 0) {
            return false;
        }
        have += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void *own(void *arg)
{
    struct plain *p = arg;
    uint8_t bytes[MESSAGE_BYTES];
    bench_pin(p->setup.owner_cpu);
    while (read_message(p, 1, bytes, sizeof bytes)) {
        bool alive = bytes[0] == PULL
                         ? move_all(&p->setup, p->fd[1],
                                    (uint8_t *)(uintptr_t)p->setup.object, true)
                         : send(p->fd[1], bytes, sizeof bytes, MSG_NOSIGNAL) > 0;
        if (!alive) {
            break;
        }
    }
    return NULL;
}

static void connect_pair(int fd[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, n) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) < 0 ||
        connect(fd[0], (struct sockaddr *)&at, n) < 0 ||
        (fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0) {
        bench_die("no pair of sockets");
    }
    close(listener);
    for (int i = 0; i < 2; i++) {
        (void)setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
}

struct plain *plain_start(const struct setup *setup)
{
    struct plain *p = calloc(1, sizeof *p);
    struct epoll_event event = {.events = EPOLLIN};
    if (p == NULL) {
        bench_die("no memory");
    }
    p->setup = *setup;
    connect_pair(p->fd);
    for (int i = 0; i < 2; i++) {
        p->epoll[i] = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ctl(p->epoll[i], EPOLL_CTL_ADD, p->fd[i], &event) < 0) {
            bench_die("no epoll");
        }
    }
    if (pthread_create(&p->owner, NULL, own, p) != 0) {
        bench_die("no thread");
    }
    return p;
}

void plain_stop(struct plain *p)
{
    shutdown(p->fd[0], SHUT_RDWR);
    pthread_join(p->owner, NULL);
    for (int i = 0; i < 2; i++) {
        close(p->fd[i]);
        close(p->epoll[i]);
    }
    free(p);
}

static void say(struct plain *p, uint8_t what)
{
    uint8_t bytes[MESSAGE_BYTES] = {what};
    if (send(p->fd[0], bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes) {
        bench_die("the plain owner is gone");
    }
}

uint64_t plain_pull(struct plain *p)
{
    uint64_t begin = clock_now_ns();
    say(p, PULL);
    if (!move_all(&p->setup, p->fd[0], p->setup.place, false)) {
        bench_die("the plain owner is gone");
    }
    return clock_now_ns() - begin;
}

uint64_t plain_trips(struct plain *p, unsigned count)
{
    uint8_t bytes[MESSAGE_BYTES];
    uint64_t begin = clock_now_ns();
    for (unsigned i = 0; i < count; i++) {
        say(p, TRIP);
        if (!read_message(p, 0, bytes, sizeof bytes)) {
            bench_die("the plain owner is gone");
        }
    }
    return clock_now_ns() - begin;
}
