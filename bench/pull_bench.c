/* Pulls over loopback against a plain socket pair of threads that moves the same bytes: A
 * and B alternate in one run; the medians and their ratio are printed. Usage: pull_bench
 * [MIB [ROUNDS]] */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/text.h"
#include "transport/transport.h"

enum { ROUNDS_MAX = 101 };

static uint8_t *object, *place;
static size_t size;
static struct addr owner_addr;
static pthread_barrier_t ready;

/* ---- ours: the owner's loop in a thread, the puller's in main()
 * ------------------------- */

struct end {
    struct loop *loop;
    struct transport *tp;
    struct transport_peer *peer;
    bool closed;
    int done;
    mob_status status;
};

static void up(void *arg, struct transport_peer *p,
               const struct transport_peer_info *info)
{
    (void)info;
    ((struct end *)arg)->peer = p;
}
static void down(void *arg, struct transport_peer *p, mob_status status,
                 const char *reason)
{
    struct end *e = arg;
    (void)p;
    if (status != MOB_ERR_CLOSED) {
        fprintf(stderr, "peer lost: %s\n", reason);
        exit(1);
    }
    transport_close(e->tp);
}
static void message(void *arg, struct transport_peer *p, const void *data, size_t n)
{
    (void)arg, (void)p, (void)data, (void)n;
}
static void writable(void *arg, struct transport_peer *p)
{
    (void)arg, (void)p;
}
static mob_status show(void *arg, struct transport_peer *p, const uint8_t *name,
                       struct transport_export *ret)
{
    (void)arg, (void)p, (void)name;
    *ret = (struct transport_export){object, size, 0, NULL};
    return MOB_OK;
}
static void hide(void *arg, struct transport_peer *p, const struct transport_export *e)
{
    (void)arg, (void)p, (void)e;
}
static void pulled(void *arg, struct transport_xfer *xfer, mob_status status)
{
    (void)xfer;
    ((struct end *)arg)->done++;
    ((struct end *)arg)->status = status;
}
static void refused(void *arg, const char *address, mob_status status, const char *reason)
{
    (void)arg, (void)address, (void)status;
    fprintf(stderr, "refused: %s\n", reason);
    exit(1);
}
static void closed(void *arg)
{
    ((struct end *)arg)->closed = true;
}

static const struct transport_user user = {up,   down,   message, writable, show,
                                           hide, pulled, NULL, refused, closed};

static void open_end(struct end *e, uint64_t id)
{
    MOB_CHECK(loop_create(0, &e->loop));
    struct transport_config config = {
        .loop = e->loop, .user = &user, .arg = e, .node_id = id, .key = {{1}}};
    MOB_CHECK(transport_tcp.open(&config, &e->tp));
}

static void *own(void *arg)
{
    struct end e = {0};
    struct addr any;
    open_end(&e, 1);
    MOB_CHECK(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any));
    MOB_CHECK(transport_listen(e.tp, &any, &owner_addr));
    pthread_barrier_wait(&ready);
    while (!e.closed) {
        MOB_CHECK(loop_turn(e.loop, CLOCK_NEVER));
    }
    loop_destroy(e.loop);
    return arg;
}

static uint64_t pull_once(struct end *e)
{
    struct transport_xfer xfer;
    struct transport_source source = {.size = size};
    int want = e->done + 1;
    uint64_t begin = clock_now_ns();
    MOB_CHECK(transport_pull(e->peer, &source, place, &xfer));
    while (e->done < want) {
        MOB_CHECK(loop_turn(e->loop, CLOCK_NEVER));
    }
    MOB_CHECK(e->status);
    return clock_now_ns() - begin;
}

/* ---- theirs: a thread that writes, and main() that reads
 * --------------------------------- */

static void *write_all(void *arg)
{
    int fd = *(int *)arg;
    char go;
    while (read(fd, &go, 1) == 1) {
        for (size_t at = 0; at < size;) {
            size_t part = size - at < CHUNK_BYTES ? size - at : CHUNK_BYTES;
            ssize_t n = send(fd, object + at, part, MSG_NOSIGNAL);
            if (n <= 0) {
                return NULL;
            }
            at += (size_t)n;
        }
    }
    return NULL;
}

static uint64_t read_once(int fd)
{
    uint64_t begin = clock_now_ns();
    if (send(fd, "g", 1, MSG_NOSIGNAL) != 1) {
        exit(1);
    }
    for (size_t at = 0; at < size;) {
        size_t part = size - at < CHUNK_BYTES ? size - at : CHUNK_BYTES;
        ssize_t n = recv(fd, place + at, part, MSG_WAITALL);
        if (n <= 0) {
            exit(1);
        }
        at += (size_t)n;
    }
    return clock_now_ns() - begin;
}

static void tcp_pair(int fd[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, n) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &n) < 0 ||
        connect(fd[0], (struct sockaddr *)&at, n) < 0 ||
        (fd[1] = accept(listener, NULL, NULL)) < 0) {
        perror("socket pair");
        exit(1);
    }
    close(listener);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint64_t mib = 16, rounds = 21, ours[ROUNDS_MAX], plain[ROUNDS_MAX];
    pthread_t owner, writer;
    struct end e = {0};
    struct transport_peer *peer;
    int fd[2];
    if ((argc > 1 && text_parse_u64(argv[1], 1, 4096, &mib) != MOB_OK) ||
        (argc > 2 && text_parse_u64(argv[2], 1, ROUNDS_MAX, &rounds) != MOB_OK)) {
        fprintf(stderr, "usage: pull_bench [MIB [ROUNDS]]\n");
        return 2;
    }
    size = mib << 20;
    object = malloc(size);
    place = malloc(size);
    memset(object, 7, size);
    memset(place, 0, size);
    pthread_barrier_init(&ready, NULL, 2);
    pthread_create(&owner, NULL, own, NULL);
    pthread_barrier_wait(&ready);
    open_end(&e, 2);
    MOB_CHECK(transport_connect(e.tp, &owner_addr, NULL, &peer));
    while (e.peer == NULL) {
        MOB_CHECK(loop_turn(e.loop, CLOCK_NEVER));
    }
    tcp_pair(fd);
    pthread_create(&writer, NULL, write_all, &fd[1]);
    (void)pull_once(&e);
    (void)read_once(fd[0]);
    for (uint64_t i = 0; i < rounds; i++) {
        ours[i] = pull_once(&e);
        plain[i] = read_once(fd[0]);
    }
    qsort(ours, rounds, sizeof *ours, by_size);
    qsort(plain, rounds, sizeof *plain, by_size);
    uint64_t median = rounds / 2;
    double a = (double)size / (double)ours[median];
    double b = (double)size / (double)plain[median];
    printf("pull %llu MiB: %.3f GB/s, plain sockets %.3f GB/s, ratio %.3f (median of "
           "%llu)\n",
           (unsigned long long)mib, a, b, a / b, (unsigned long long)rounds);
    close(fd[0]);
    shutdown(fd[1], SHUT_RDWR);
    pthread_join(writer, NULL);
    close(fd[1]);
    transport_close(e.tp);
    while (!e.closed) {
        MOB_CHECK(loop_turn(e.loop, CLOCK_NEVER));
    }
    pthread_join(owner, NULL);
    loop_destroy(e.loop);
    free(object);
    free(place);
    return 0;
}
