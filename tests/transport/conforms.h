/* conforms.h - what the conformance suite runs over: each backend that there is, and each
 * way to make one of them. A new one is a struct backend and a line in ON_ALL(). */
#ifndef TESTS_CONFORMS_H
#define TESTS_CONFORMS_H

#include <arpa/inet.h>
#include <dirent.h>

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
static void kill_tcp(struct world *w, unsigned node)
{
    uint16_t port = addr_port(&w->nodes[node].addr);
    each_fd(break_connection, &port);
}

static void kill_fake(struct world *w, unsigned node)
{
    fake_net_kill(fake_net_find(w->net, 1000 + node));
}

static const struct backend over_fake = {
    .name = "fake", .ops = &transport_fake, .kill = kill_fake};
static const struct backend over_tcp = {
    .name = "tcp", .ops = &transport_tcp, .kill = kill_tcp};

#define ON(backend, test)                                                                \
    Test(backend, test, .timeout = 120)                                                  \
    {                                                                                    \
        test(&over_##backend);                                                           \
    }
#define ON_ALL(test) ON(fake, test) ON(tcp, test)

/* A test of every backend. */
#define CONFORMS(test)                                                                   \
    static void test(const struct backend *backend);                                     \
    ON_ALL(test)                                                                         \
    static void test(const struct backend *backend)

#endif
