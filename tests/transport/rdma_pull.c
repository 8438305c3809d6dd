/* Two nodes in one process pull from each other over this machine's RDMA device, with the
 * system's library: over every size, in strict mode too. Skips (77) where there is none.
 *
 *   rdma_pull [BYTES]   the largest object; without it 8 MiB */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "transport/transport.h"

enum { SKIP = 77, STEP_S = 60 };

#define CHECK(cond)                                                                      \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond,                \
                    mob_last_error());                                                   \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

struct end {
    struct transport *tp;
    struct transport_peer *peer;
    struct addr addr;
    uint8_t *memory;
    int downs, pins;
    bool closed;
    uint64_t messages;
};

static struct loop *loop;
static struct end ends[2];
static uint64_t region;
static int pulls_done;
static mob_status pull_status;

static void up(void *arg, struct transport_peer *peer,
               const struct transport_peer_info *info)
{
    (void)info;
    ((struct end *)arg)->peer = peer;
}
static void down(void *arg, struct transport_peer *peer, mob_status status,
                 const char *reason)
{
    struct end *e = arg;
    (void)peer;
    e->downs++;
    e->peer = NULL;
    if (status != MOB_ERR_CLOSED) {
        fprintf(stderr, "peer down: %s: %s\n", mob_status_name(status), reason);
    }
}
static void message(void *arg, struct transport_peer *peer, const void *data, size_t size)
{
    struct end *e = arg;
    uint64_t number;
    (void)peer;
    CHECK(size >= sizeof number);
    memcpy(&number, data, sizeof number);
    CHECK(number == e->messages);
    e->messages++;
}
static void writable(void *arg, struct transport_peer *peer)
{
    (void)arg;
    (void)peer;
}
static mob_status export(void *arg, struct transport_peer *peer,
                         const uint8_t object[TRANSPORT_OBJECT_BYTES],
                         struct transport_export *ret)
{
    struct end *e = arg;
    (void)peer;
    if (object[0] != 1) {
        return MOB_ERR_NOT_FOUND;
    }
    e->pins++;
    *ret = (struct transport_export){.base = e->memory, .size = region, .cookie = 1};
    return MOB_OK;
}
static void unexport(void *arg, struct transport_peer *peer,
                     const struct transport_export *exported)
{
    (void)peer;
    (void)exported;
    ((struct end *)arg)->pins--;
}
static void pull_done(void *arg, struct transport_xfer *xfer, mob_status status)
{
    (void)arg;
    (void)xfer;
    pulls_done++;
    pull_status = status;
}
static void refused(void *arg, const char *address, mob_status status, const char *reason)
{
    (void)arg;
    fprintf(stderr, "refused %s: %s: %s\n", address, mob_status_name(status), reason);
}
static void closed(void *arg)
{
    ((struct end *)arg)->closed = true;
}

static const struct transport_user user = {.peer_up = up,
                                           .peer_down = down,
                                           .message = message,
                                           .writable = writable,
                                           .export = export,
                                           .unexport = unexport,
                                           .pull_done = pull_done,
                                           .refused = refused,
                                           .closed = closed};

#define UNTIL(cond)                                                                      \
    for (uint64_t limit_ = clock_now_ns() + STEP_S * NS_PER_S; !(cond);) {               \
        CHECK(loop_turn(loop, 100 * NS_PER_MS) == MOB_OK);                               \
        CHECK(clock_now_ns() < limit_);                                                  \
    }

static void open_end(unsigned i, enum transport_rdma rdma)
{
    struct end *e = &ends[i];
    struct transport_config config = {
        .loop = loop, .user = &user, .arg = e, .node_id = 100 + i, .rdma = rdma};
    struct addr any;
    memset(e, 0, sizeof *e);
    CHECK(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any) == MOB_OK);
    CHECK(transport_verbs.open(&config, &e->tp) == MOB_OK);
    CHECK(transport_listen(e->tp, &any, &e->addr) == MOB_OK);
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    e->memory = mmap(NULL, region, PROT_READ | PROT_WRITE, flags, -1, 0);
    CHECK(e->memory != MAP_FAILED);
    CHECK(transport_map(e->tp, e->memory, region, true) == MOB_OK);
}

static struct transport_stats figures(unsigned i)
{
    struct transport_stats stats;
    transport_stats(ends[i].peer, &stats);
    return stats;
}

static void pull(unsigned i, uint64_t offset, uint64_t size)
{
    struct transport_source source = {.object = {1}, .offset = offset, .size = size};
    struct transport_xfer xfer;
    int before = pulls_done;
    memset(ends[i].memory, 0xaa, region);
    memset(ends[1 - i].memory, 0x55, region);
    for (uint64_t k = 0; k < size; k++) {
        ends[1 - i].memory[offset + k] = (uint8_t)(k * 131 + (k >> 13) + i);
    }
    uint64_t began = clock_now_ns();
    CHECK(transport_pull(ends[i].peer, &source, ends[i].memory + 4096, &xfer) == MOB_OK);
    UNTIL(pulls_done != before);
    uint64_t took = clock_now_ns() - began;
    CHECK(pull_status == MOB_OK && xfer.received == size);
    CHECK(memcmp(ends[i].memory + 4096, ends[1 - i].memory + offset, size) == 0);
    CHECK(ends[i].memory[4095] == 0xaa && ends[i].memory[4096 + size] == 0xaa);
    UNTIL(ends[1 - i].pins == 0);
    printf("%llu bytes in %.3f ms\n", (unsigned long long)size, took / 1e6);
}

static void run(enum transport_rdma rdma, uint64_t most)
{
    open_end(0, rdma);
    open_end(1, rdma);
    struct transport_peer *peer;
    CHECK(transport_connect(ends[0].tp, &ends[1].addr, NULL, &peer) == MOB_OK);
    UNTIL(ends[0].peer != NULL && ends[1].peer != NULL);
    pull(0, 0, 1u << 20);
    pull(1, 100, 1u << 20);
    static const uint64_t sizes[] = {0, 1, 4096, 4097, 70000, CHUNK_BYTES + 1, 5000001};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        pull(k % 2, 12345, sizes[k]);
    }
    pull(0, 777, most);
    for (uint64_t k = 0; k < 1000; k++) {
        uint8_t bytes[200] = {0};
        memcpy(bytes, &k, sizeof k);
        CHECK(transport_send(ends[0].peer, bytes, sizeof bytes) == MOB_OK);
    }
    UNTIL(ends[1].messages == 1000);
    for (unsigned i = 0; i < 2; i++) {
        struct transport_stats s = figures(i);
        printf(
            "node %u: carrier %s path %s why '%s' pulled %llu rdma %llu fallbacks %llu\n",
            i, s.carrier, s.path, s.why, (unsigned long long)s.pulled_bytes,
            (unsigned long long)s.rdma_bytes, (unsigned long long)s.fallbacks);
        CHECK(strcmp(s.carrier, "verbs") == 0 && s.rdma_bytes != 0 && s.fallbacks == 0);
    }
    transport_close(ends[0].tp);
    transport_close(ends[1].tp);
    UNTIL(ends[0].closed && ends[1].closed);
    CHECK(ends[0].pins == 0 && ends[1].pins == 0);
    munmap(ends[0].memory, region);
    munmap(ends[1].memory, region);
}

int main(int argc, char **argv)
{
    uint64_t most = argc > 1 ? strtoull(argv[1], NULL, 0) : 8u << 20;
    FILE *devices = popen("ls /sys/class/infiniband 2>/dev/null", "r");
    int first = devices != NULL ? fgetc(devices) : EOF;
    if (devices != NULL) {
        pclose(devices);
    }
    if (first == EOF) {
        puts("skipped: this machine has no RDMA device");
        return SKIP;
    }
    log_set_sink(log_sink_file, stdout, LOG_LEVEL_DEBUG);
    region = most + (1u << 20);
    CHECK(loop_create(0, &loop) == MOB_OK);
    run(TRANSPORT_RDMA_AUTO, most);
    run(TRANSPORT_RDMA_STRICT, most);
    CHECK(loop_in_flight(loop) == 0);
    loop_destroy(loop);
    return 0;
}
