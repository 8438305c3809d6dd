/* socket_fuzz.c - what may come over a node's local socket from programs that are broken.
 *
 *   socket_fuzz MOBULAD
 *
 * Random bytes, wrong lengths, wrong requests, fds that are not what they should be, connections
 * that say nothing, more connections than there may be fds. The daemon answers a decent program
 * after each, and in the end has no more fds open than at the start. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/seg.h"
#include "core/status.h"
#include "local.h"
#include "tester.h"

enum { MESSAGES = 3000, MESSAGES_FULL = 500000, FDS_OF_DAEMON = 512, CROWD = 600 };

static char node_dir[64];

static void check_answers(const struct kid *daemon)
{
    daemon_check(daemon);
    json_decref(node_tells(node_dir));
}

/* An fd that a driver would hardly send. */
static int some_fd(void)
{
    int fd = -1, other[2];
    switch (tester_dice(5)) {
    case 0:
        (void)seg_create("mobula-start", 1 + tester_dice(10000), &fd);
        break;
    case 1:
        fd = eventfd(0, EFD_CLOEXEC);
        break;
    case 2:
        if (pipe2(other, O_CLOEXEC) == 0) {
            close(other[0]);
            fd = other[1];
        }
        break;
    case 3:
        fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        break;
    default:
        fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return fd;
}

static void send_some(int sock, struct local_msg *m)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count = tester_dice(4) ? 0 : (unsigned)tester_dice(LOCAL_FDS_MAX + 1);
    if (tester_dice(3) == 0) { /* bytes of any length */
        size_t size = tester_dice(sizeof *m);
        for (size_t i = 0; i < size; i++) {
            ((unsigned char *)m)[i] = (unsigned char)tester_dice(256);
        }
        (void)!send(sock, m, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        return;
    }
    local_msg_init(m, (enum local_op)tester_dice(LOCAL_OPS + 1));
    for (int i = 0; i < 6; i++) {
        m->arg[i] = tester_dice(2) ? tester_dice(4) : tester_dice(UINT64_MAX);
    }
    if (m->op == LOCAL_STOP) {
        m->op = LOCAL_STATUS;
    }
    if (tester_dice(2)) {
        m->op = LOCAL_HELLO;
        m->arg[0] = LOCAL_MAGIC;
        m->arg[1] = LOCAL_VERSION;
        m->arg[3] = tester_dice(3);
        count = tester_dice(2) ? 4 : count;
    }
    m->text_size = (uint32_t)tester_dice(64);
    memset(m->text, (int)tester_dice(256), m->text_size);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = some_fd();
    }
    (void)local_send(sock, m, fds, count);
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
}

static void garbage(const struct kid *daemon, unsigned messages)
{
    struct local_msg *m = malloc(sizeof *m);
    int sock = -1;
    for (unsigned i = 0; i < messages; i++) {
        if (sock < 0 && local_connect(node_dir, &sock) != MOB_OK) {
            broken("the daemon takes no connection: %s", mob_last_error());
        }
        fcntl(sock, F_SETFL, O_NONBLOCK);
        send_some(sock, m);
        tester.done++;
        if (tester_dice(3) == 0) {
            close(sock);
            sock = -1;
        }
        if (i % 512 == 0) {
            check_answers(daemon);
        }
    }
    if (sock >= 0) {
        close(sock);
    }
    free(m);
}

static void send_hello(int sock, struct local_msg *m)
{
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = LOCAL_MAGIC;
    m->arg[1] = LOCAL_VERSION;
    m->arg[3] = LOCAL_TOOL;
    if (local_send(sock, m, NULL, 0) != MOB_OK) {
        broken("a connection that waits cannot be written to: %s", mob_last_error());
    }
}

static int open_fds(const struct kid *daemon)
{
    return proc_fds(daemon->pid, "", NULL, NULL);
}

/* Connections that say nothing, more than the daemon may have fds for. Who came when it had none is
 * served once it has some, though nobody comes after him. */
static void crowd(const struct kid *daemon)
{
    static int socks[CROWD];
    int count = 0, fds[LOCAL_FDS_MAX];
    unsigned fds_count;
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    struct local_msg *m = malloc(sizeof *m);
    while (count < CROWD && open_fds(daemon) < FDS_OF_DAEMON) {
        if (local_connect(node_dir, &socks[count]) != MOB_OK || clock_now_ns() > until) {
            broken("%d connections do not use up %d fds", count, FDS_OF_DAEMON);
        }
        count++;
    }
    int last;
    struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
    if (!m || local_connect(node_dir, &last) != MOB_OK) {
        broken("the daemon's socket takes no connection: %s", mob_last_error());
    }
    setsockopt(last, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    send_hello(last, m);
    for (int i = 0; i < count; i++) {
        close(socks[i]);
    }
    if (local_recv(last, m, fds, &fds_count) != MOB_OK || m->status) {
        broken("a connection that found no fd is never served");
    }
    close(last);
    free(m);
    check_answers(daemon);
}

/* The daemon's limit, not this program's. */
static struct kid start(const char *mobulad)
{
    static const char *const options[] = {"--num-cpus=1", "--object-store-memory=256M",
                                          "--log-level=error", NULL};
    struct rlimit few = {FDS_OF_DAEMON, 4096}, many = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &few);
    struct kid daemon = daemon_start(mobulad, node_dir, options);
    setrlimit(RLIMIT_NOFILE, &many);
    return daemon;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 2;
    }
    tester_begin("socket_fuzz", "messages");
    snprintf(node_dir, sizeof node_dir, "%s/node", tester.folder);
    struct kid daemon = start(argv[1]);
    /* The connection that asked whether it serves may still be on its way out. */
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    while (proc_fds(daemon.pid, "socket:", NULL, NULL) > 1 && clock_now_ns() < until) {
        nap_ms(2);
    }
    int before = open_fds(&daemon), after;
    garbage(&daemon, tester.full ? MESSAGES_FULL : MESSAGES);
    crowd(&daemon);
    garbage(&daemon, MESSAGES / 10);
    until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    while ((after = open_fds(&daemon)) > before && clock_now_ns() < until) {
        nap_ms(10);
    }
    if (after > before) {
        broken("%d fds are open, and were %d at the start", after, before);
    }
    daemon_stop(&daemon, node_dir);
    tester_end();
    printf("socket_fuzz: %u messages, %d fds before and after\n", tester.done, before);
    return 0;
}
