/* store_server.c - the contrast: a store whose server makes, seals and gives objects, as Plasma's
 * does. Clients write and read the bytes in shared memory; everything else is a message over a unix
 * socket and its answer. As fast as such a server can be: one client, no hash, no eviction. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_bench.h"

enum { SLOTS = 64, SLOT_BYTES = 4096 };
enum server_op { SERVER_CREATE, SERVER_SEAL, SERVER_GET, SERVER_RELEASE, SERVER_DELETE };

struct message { /* both ways */
    uint32_t op, slot;
    uint64_t offset, size;
};

struct server {
    pid_t pid;
    int sock;
    unsigned char *memory;
};

static struct { /* the server's */
    int made, sealed, readers;
    uint64_t size;
} slots[SLOTS];

static void serve_one(struct message *m)
{
    if (m->op == SERVER_CREATE) {
        m->slot = 0;
        while (m->slot < SLOTS && slots[m->slot].made) {
            m->slot++;
        }
    }
    if (m->slot >= SLOTS) {
        _exit(1);
    }
    switch ((enum server_op)m->op) {
    case SERVER_CREATE:
        slots[m->slot].made = 1;
        slots[m->slot].size = m->size;
        break;
    case SERVER_SEAL:
        slots[m->slot].sealed = 1;
        break;
    case SERVER_GET:
        slots[m->slot].readers++;
        break;
    case SERVER_RELEASE:
        slots[m->slot].readers--;
        break;
    case SERVER_DELETE:
        memset(&slots[m->slot], 0, sizeof slots[0]);
        break;
    }
    m->offset = (uint64_t)m->slot * SLOT_BYTES;
    m->size = slots[m->slot].size;
}

static void serve(int sock, pid_t parent)
{
    struct message m;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent && recv(sock, &m, sizeof m, 0) == sizeof m) {
        serve_one(&m);
        if (send(sock, &m, sizeof m, 0) != sizeof m) {
            break;
        }
    }
    _exit(0);
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

struct server *server_start(int cpu)
{
    struct server *s = calloc(1, sizeof *s);
    int sock[2];
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
    pid_t parent = getpid();
    if (!s || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0) {
        fail("store_bench: a server");
    }
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    s->memory = mmap(NULL, SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (s->memory == MAP_FAILED || (s->pid = fork()) < 0) {
        fail("store_bench: a server");
    }
    if (s->pid == 0) {
        close(sock[0]);
        bench_pin(cpu);
        serve(sock[1], parent);
    }
    close(sock[1]);
    s->sock = sock[0];
    return s;
}

void server_stop(struct server *s)
{
    close(s->sock);
    (void)waitpid(s->pid, NULL, 0);
    munmap(s->memory, SLOTS * SLOT_BYTES);
    free(s);
}

static struct message ask(struct server *s, enum server_op op, uint32_t slot,
                          uint64_t size)
{
    struct message m = {.op = op, .slot = slot, .size = size};
    if (send(s->sock, &m, sizeof m, 0) != sizeof m ||
        recv(s->sock, &m, sizeof m, 0) != sizeof m) {
        fail("store_bench: the server");
    }
    return m;
}

static uint32_t server_put_one(struct store_bench *b, size_t size)
{
    struct message m = ask(b->server, SERVER_CREATE, 0, size);
    memcpy(b->server->memory + m.offset, b->bytes, size);
    (void)ask(b->server, SERVER_SEAL, m.slot, 0);
    return m.slot;
}

static void server_delete(struct store_bench *b, const uint32_t *slot, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        (void)ask(b->server, SERVER_DELETE, slot[i], 0);
    }
}

uint64_t server_put(struct store_bench *b, size_t size, uint64_t count)
{
    uint32_t slot[SLOTS];
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count && i < SLOTS; i++) {
        slot[i] = server_put_one(b, size);
    }
    uint64_t ns = floor_now_ns() - start;
    server_delete(b, slot, count);
    return ns;
}

uint64_t server_get(struct store_bench *b, size_t size, uint64_t count)
{
    uint32_t slot = server_put_one(b, size);
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        struct message m = ask(b->server, SERVER_GET, slot, 0);
        if (b->server->memory[m.offset] != b->bytes[0] || m.size != size) {
            fail("store_bench: an object of the server's");
        }
        (void)ask(b->server, SERVER_RELEASE, slot, 0);
    }
    uint64_t ns = floor_now_ns() - start;
    server_delete(b, &slot, 1);
    return ns;
}
