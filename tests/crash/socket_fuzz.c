/* socket_fuzz.c - what may come over a node's local socket from programs that are broken.
 *
 *   socket_fuzz MOBULAD
 *
 * Random bytes, wrong lengths, wrong requests, fds that are not what they should be, connections
 * that say nothing, more connections than there may be fds. The daemon answers a decent program
 * after each, and in the end has no more fds open than at the start. */
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "core/seg.h"
#include "procs.h"

enum { MESSAGES = 3000, MESSAGES_FULL = 500000, CROWD = 600, LIMIT_MS = 20000 };

static char folder[] = "/tmp/mob-sock-XXXXXX";
static char node_dir[64];
static uint64_t seed, random_state;

static uint64_t dice(uint64_t sides)
{
    random_state += 0x9e3779b97f4a7c15ull;
    uint64_t x = random_state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) % sides;
}

static void __attribute__((noreturn, format(printf, 1, 2)))
broken(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "socket_fuzz: seed %llu: ", (unsigned long long)seed);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

static void check_answers(const struct kid *daemon)
{
    int status;
    json_t *root = node_status(node_dir);
    if (waitpid(daemon->pid, &status, WNOHANG) != 0) {
        broken("the daemon ended: status %#x", (unsigned)status);
    }
    if (!root) {
        broken("the daemon does not answer");
    }
    json_decref(root);
}

/* An fd that a driver would hardly send. */
static int some_fd(void)
{
    int fd = -1, other[2];
    switch (dice(5)) {
    case 0:
        (void)seg_create("mobula-start", 1 + dice(10000), &fd);
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
    unsigned count = dice(4) ? 0 : (unsigned)dice(LOCAL_FDS_MAX + 1);
    if (dice(3) == 0) { /* bytes of any length */
        size_t size = dice(sizeof *m);
        for (size_t i = 0; i < size; i++) {
            ((unsigned char *)m)[i] = (unsigned char)dice(256);
        }
        (void)!send(sock, m, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        return;
    }
    local_msg_init(m, (enum local_op)dice(LOCAL_OPS + 1));
    for (int i = 0; i < 6; i++) {
        m->arg[i] = dice(2) ? dice(4) : dice(UINT64_MAX);
    }
    if (m->op == LOCAL_STOP) {
        m->op = LOCAL_STATUS;
    }
    if (dice(2)) {
        m->op = LOCAL_HELLO;
        m->arg[0] = LOCAL_MAGIC;
        m->arg[1] = LOCAL_VERSION;
        m->arg[3] = dice(3);
        count = dice(2) ? 4 : count;
    }
    m->text_size = (uint32_t)dice(64);
    memset(m->text, (int)dice(256), m->text_size);
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
        if (dice(3) == 0) {
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

/* Connections that say nothing, more than the daemon may have fds for. */
static void crowd(const struct kid *daemon)
{
    static int socks[CROWD];
    int count = 0;
    while (count < CROWD && local_connect(node_dir, &socks[count]) == MOB_OK) {
        fcntl(socks[count], F_SETFL, O_NONBLOCK);
        count++;
    }
    for (int i = 0; i < count; i++) {
        close(socks[i]);
    }
    check_answers(daemon);
}

static void remove_folder(void)
{
    remove_tree(folder);
}

int main(int argc, char **argv)
{
    const char *full = getenv("MOB_TEST_FULL"), *given = getenv("MOB_TEST_SEED");
    if (argc != 2 || !mkdtemp(folder)) {
        return 2;
    }
    seed = given ? strtoull(given, NULL, 0) : clock_now_ns() % 1000000;
    random_state = seed;
    atexit(remove_folder);
    setenv("XDG_RUNTIME_DIR", folder, 1);
    signal(SIGPIPE, SIG_IGN);
    printf("socket_fuzz: seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    char arg[96];
    snprintf(node_dir, sizeof node_dir, "%s/node", folder);
    snprintf(arg, sizeof arg, "--node-dir=%s", node_dir);
    char *daemon_argv[] = {argv[1],
                           arg,
                           (char *)"--num-cpus=1",
                           (char *)"--object-store-memory=256M",
                           (char *)"--log-level=error",
                           NULL};
    struct rlimit many = {4096, 4096};
    setrlimit(RLIMIT_NOFILE,
              &(struct rlimit){512, 4096}); /* the daemon's, so that it runs out */
    struct kid daemon = kid_start(daemon_argv);
    setrlimit(RLIMIT_NOFILE, &many);
    json_t *root;
    while (!(root = node_status(node_dir))) {
        nap_ms(5);
    }
    json_decref(root);
    nap_ms(50);
    int before = proc_fds(daemon.pid, "", NULL), after;
    garbage(&daemon, full && strcmp(full, "1") == 0 ? MESSAGES_FULL : MESSAGES);
    crowd(&daemon);
    garbage(&daemon, MESSAGES / 10);
    uint64_t until = clock_now_ns() + LIMIT_MS * NS_PER_MS;
    while ((after = proc_fds(daemon.pid, "", NULL)) > before && clock_now_ns() < until) {
        nap_ms(10);
    }
    if (after > before) {
        broken("%d fds are open, and were %d at the start", after, before);
    }
    int status;
    kill(daemon.pid, SIGTERM);
    if (!kid_wait(&daemon, LIMIT_MS, &status) || status != 0) {
        broken("the daemon ended with %#x", (unsigned)status);
    }
    printf("socket_fuzz: %d fds before and after\n", before);
    return 0;
}
