/* test_takeover.c - a daemon is killed, and another one takes its place at once.
 *
 *   test_takeover DRIVER MOBULAD [CASE] */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

/* HELD_MS: of what a dead daemon holds; it must be less than a start waits for. STILL_MS: longer than
 * a node waits before it dials anew. */
enum { HELD_MS = 300, STILL_MS = 1000, TASKS = 3 };

static char host[32], listen_option[64], key_option[96], address_option[64];
static const char *const head_options[] = {"--num-cpus=2",
                                           "--object-store-memory=256M",
                                           "--log-level=error",
                                           "--head",
                                           listen_option,
                                           key_option,
                                           NULL};
static const char *const member_options[] = {"--num-cpus=1",
                                             "--object-store-memory=256M",
                                             "--log-level=error",
                                             address_option,
                                             listen_option,
                                             key_option,
                                             NULL};

static void name_cluster(void)
{
    tester_host(host, sizeof host);
    tester_key(key_option, sizeof key_option);
    snprintf(listen_option, sizeof listen_option, "--listen=%s", host);
    snprintf(address_option, sizeof address_option, "--address=%s:%d", host,
             CLUSTER_PORT);
}

static void kill_daemon(struct kid *daemon)
{
    int status;
    kill(daemon->pid, SIGKILL);
    if (!kid_wait(daemon, PATIENCE_MS, &status)) {
        broken("a killed daemon does not end");
    }
    kid_close(daemon);
}

static struct sockaddr_in cluster_address(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(CLUSTER_PORT)};
    inet_pton(AF_INET, host, &in.sin_addr);
    return in;
}

/* -1: the port is taken. */
static int listen_there(void)
{
    struct sockaddr_in in = cluster_address();
    int on = 1, sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(sock, (struct sockaddr *)&in, sizeof in) < 0 || listen(sock, 1) < 0) {
        close(sock);
        return -1;
    }
    return sock;
}

/* A killed daemon's lock is held until a worker that it was just starting is gone, and its port until
 * the kernel has taken down its ring. Who starts a node there meanwhile waits for that. */
static void a_killed_daemons_place_is_taken(void)
{
    struct rig g;
    char path[96];
    name_cluster();
    rig_names(&g);
    g.daemon = daemon_start(rig_mobulad(), g.dir, head_options);
    kill_daemon(&g.daemon);
    snprintf(path, sizeof path, "%s/lock", g.dir);
    int lock = open(path, O_RDWR | O_CLOEXEC);
    EVENTUALLY(flock(lock, LOCK_EX | LOCK_NB) == 0, "a dead daemon's lock stays");
    int sock;
    EVENTUALLY((sock = listen_there()) >= 0, "a dead daemon's port stays");
    g.daemon = daemon_launch(rig_mobulad(), g.dir, head_options);
    nap_ms(HELD_MS);
    daemon_check(&g.daemon);
    close(lock);
    nap_ms(HELD_MS);
    daemon_check(&g.daemon);
    close(sock);
    daemon_await(&g.daemon, g.dir);
    daemon_stop(&g.daemon, g.dir);
}

static bool can_connect(void)
{
    struct sockaddr_in in = cluster_address();
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool can = connect(sock, (struct sockaddr *)&in, sizeof in) == 0;
    close(sock);
    return can;
}

static unsigned marks_there(const struct rig *g, unsigned count)
{
    char name[16];
    unsigned there = 0;
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof name, "each%u", i);
        there += mark_there(g, name);
    }
    return there;
}

/* The new head answers a dial that was meant for the old one, and it does so before the node has
 * joined it. The tasks that waited for that connection run all the same. */
static void a_head_answers_for_its_former_self(void)
{
    struct rig g;
    char head_dir[80];
    name_cluster();
    rig_names(&g);
    snprintf(head_dir, sizeof head_dir, "%s-head", g.dir);
    struct kid head = daemon_start(rig_mobulad(), head_dir, head_options);
    g.daemon = daemon_start(rig_mobulad(), g.dir, member_options);
    g.driver = driver_start(&g, "spreads");
    EVENTUALLY(marks_there(&g, TASKS) == TASKS, "the tasks do not run on both nodes");
    kill_daemon(&head);
    EVENTUALLY(!can_connect(), "a dead daemon's port stays");
    head = daemon_launch(rig_mobulad(), head_dir, head_options);
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    while (!can_connect() && clock_now_ns() < until) {
    }
    kill(head.pid, SIGSTOP); /* it listens, and speaks to nobody */
    nap_ms(STILL_MS);
    kill(head.pid, SIGCONT);
    mark_make(&g, "open");
    driver_await(&g, 'd');
    rig_end(&g, 0);
    daemon_stop(&head, head_dir);
}

static const struct rig_case cases[] = {
    {"a_killed_daemons_place_is_taken", a_killed_daemons_place_is_taken},
    {"a_head_answers_for_its_former_self", a_head_answers_for_its_former_self},
};

int main(int argc, char **argv)
{
    return argc < 3 ? 2
                    : rig_main("test_takeover", argc, argv, cases,
                               sizeof cases / sizeof cases[0]);
}
