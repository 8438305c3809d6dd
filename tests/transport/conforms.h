/* conforms.h - what the conformance suite runs over: each backend that there is, and each
 * way to make one of them. A new one is a struct backend and an entry below. */
#ifndef TESTS_CONFORMS_H
#define TESTS_CONFORMS_H

#include <arpa/inet.h>
#include <dirent.h>

#include "verbs_double.h"
#include "virtual_clock.h"
#include "world.h"

/* All open fds are given to @call. */
static inline int each_fd(void (*call)(int fd, void *arg), void *arg)
{
    int n = 0;
    struct dirent *entry;
    DIR *dir = opendir("/proc/self/fd");
    cr_assert_not_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (call != NULL && entry->d_name[0] != '.') {
            call(atoi(entry->d_name), arg);
        }
        n++;
    }
    closedir(dir);
    return n;
}

/* A connection whose one end has that port breaks. */
static void break_connection(int fd, void *arg)
{
    uint16_t port = *(const uint16_t *)arg;
    struct sockaddr_in own, other;
    socklen_t size = sizeof own, other_size = sizeof other;
    if (getsockname(fd, (struct sockaddr *)&own, &size) == 0 &&
        own.sin_family == AF_INET &&
        getpeername(fd, (struct sockaddr *)&other, &other_size) == 0 &&
        (ntohs(own.sin_port) == port || ntohs(other.sin_port) == port)) {
        shutdown(fd, SHUT_RDWR);
    }
}

/* Every connection to the node breaks; none from it (the tests dial the victim). */
static void __attribute__((unused)) kill_tcp(struct world *w, unsigned node)
{
    uint16_t port = addr_port(&w->nodes[node].addr);
    each_fd(break_connection, &port);
}

static void __attribute__((unused)) kill_fake(struct world *w, unsigned node)
{
    fake_net_kill(fake_net_find(w->net, 1000 + node));
}

static const struct backend __attribute__((unused))
over_fake = {.name = "fake", .ops = &transport_fake, .kill = kill_fake};
static const struct backend __attribute__((unused))
over_tcp = {.name = "tcp", .ops = &transport_tcp, .kill = kill_tcp};

static const struct backend __attribute__((unused)) over_tcp_encrypted = {
    .name = "tcp", .ops = &transport_tcp, .encrypt = true, .kill = kill_tcp};
static const struct backend __attribute__((unused)) over_tcp_unchecked = {
    .name = "tcp", .ops = &transport_tcp, .unchecked = true, .kill = kill_tcp};

/* ---- verbs, with the double as the library
 * ----------------------------------------------------- */

static void __attribute__((unused)) begin_double(struct world *w)
{
    w->d = verbs_double_create(w->net, world_seed);
}

static void __attribute__((unused)) begin_no_device(struct world *w)
{
    w->d = verbs_double_create(w->net, world_seed);
    for (unsigned i = 0; i < VERBS_HOSTS; i++) {
        verbs_double_host(w->d, i)->devices = 0;
    }
}

static const struct verbs_lib __attribute__((unused)) *
    lib_double(struct world *w, unsigned node)
{
    return verbs_double_lib(w->d, node);
}

static void __attribute__((unused)) end_double(struct world *w)
{
    verbs_double_destroy(w->d);
}

static void __attribute__((unused))
guard_double(struct world *w, unsigned node, const void *base, uint64_t size)
{
    if (w->d != NULL) {
        verbs_double_guard(w->d, node, base, size);
    }
}

static void __attribute__((unused))
unguard_double(struct world *w, unsigned node, const void *base, uint64_t size)
{
    if (w->d != NULL) {
        verbs_double_unguard(w->d, node, base, size);
    }
}

static void __attribute__((unused)) kill_verbs(struct world *w, unsigned node)
{
    verbs_double_kill(w->d, node);
    if (w->backend->under == &transport_fake) {
        kill_fake(w, node);
    } else {
        kill_tcp(w, node);
    }
}

#define WITH_THE_DOUBLE                                                                  \
    .ops = &transport_verbs, .begin = begin_double, .lib = lib_double,                   \
    .end = end_double, .guard = guard_double, .unguard = unguard_double,                 \
    .kill = kill_verbs, .rdma_moves = true

static const struct backend __attribute__((unused))
over_verbs_fake = {.name = "verbs on fake",
                   .under = &transport_fake,
                   .set_clock = virtual_clock,
                   WITH_THE_DOUBLE};
static const struct backend __attribute__((unused))
over_verbs_strict = {.name = "strict verbs on fake",
                     .under = &transport_fake,
                     .rdma = TRANSPORT_RDMA_STRICT,
                     .set_clock = virtual_clock,
                     WITH_THE_DOUBLE};
static const struct backend __attribute__((unused))
over_verbs_tcp = {.name = "verbs on tcp", .under = &transport_tcp, WITH_THE_DOUBLE};

/* It passes all through: without a device, and without being asked. */
static const struct backend __attribute__((unused))
over_verbs_bare = {.name = "verbs without a device",
                   .ops = &transport_verbs,
                   .under = &transport_tcp,
                   .begin = begin_no_device,
                   .lib = lib_double,
                   .end = end_double,
                   .kill = kill_verbs};
static const struct backend __attribute__((unused))
over_verbs_off = {.name = "verbs that is off",
                  .ops = &transport_verbs,
                  .under = &transport_fake,
                  .rdma = TRANSPORT_RDMA_OFF,
                  .kill = kill_fake};

/* The machine's own devices. */
static const struct backend __attribute__((unused))
over_rdma = {.name = "verbs of this machine",
             .ops = &transport_verbs,
             .under = &transport_tcp,
             .rdma_moves = true,
             .kill = kill_tcp};

#ifdef CONFORMS_ON_RDMA
#define LIMIT_S 900 /* an emulated processor's */
#else
#define LIMIT_S 120
#endif

#define ON(backend, test)                                                                \
    Test(backend, test, .timeout = LIMIT_S)                                              \
    {                                                                                    \
        test(&over_##backend);                                                           \
    }
#define ON_TCP(test) ON(tcp, test) ON(tcp_encrypted, test) ON(tcp_unchecked, test)
#define ON_VERBS(test) ON(verbs_fake, test) ON(verbs_strict, test) ON(verbs_tcp, test)
#define ON_NO_DEVICE(test) ON(verbs_bare, test) ON(verbs_off, test)
#ifdef CONFORMS_ON_RDMA
#define ON_ALL(test) ON(rdma, test)
#else
#define ON_ALL(test) ON(fake, test) ON_TCP(test) ON_VERBS(test) ON_NO_DEVICE(test)
#endif

/* A test of every backend. */
#define CONFORMS(test)                                                                   \
    static void test(const struct backend *backend);                                     \
    ON_ALL(test)                                                                         \
    static void test(const struct backend *backend)

#endif
