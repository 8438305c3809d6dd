/* What a peer with the cluster's key says to a daemon, byte by byte. Input: messages, each a byte (which
 * peer says it), a length (2 bytes) and as many bytes; the first byte of all says whether the node is a
 * head. fuzz_messages.c says them in orders that lead further; here any bytes come. */
#include <string.h>

#include "fuzz.h"
#include "messages.h"
#include "node_world.h"

const unsigned fuzz_rounds = 250;

static struct world w;

/* A file of gigabytes that a size asks for would be made: only the disk would be tested. */
static bool asks_for_disk(const uint8_t *bytes, size_t size)
{
    struct codec_reader r;
    char name[64];
    codec_reader_init(&r, bytes, size);
    bool open = codec_get_u8(&r) == WIRE_OPEN;
    (void)codec_get_u32(&r);
    (void)wire_get_key(&r);
    codec_get_str(&r, name, sizeof name);
    (void)codec_get_raw(&r, WIRE_HASH_BYTES);
    return open && codec_get_u64(&r) > 1 << 20;
}

static void check_planners(void)
{
    const char *broken = plan_node_check(w.node.plan);
    if (!broken && w.node.cluster->plan) {
        broken = plan_head_check(w.node.cluster->plan);
    }
    if (broken) {
        fprintf(stderr, "%s\n", broken);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    world_make(&w, data[0] & 1);
    struct job *own = world_job(&w);
    for (int k = 0; k < 3; k++) {
        (void)world_task(&w, own, 0, 0, 1);
    }
    for (size_t at = 1; at + 3 <= size;) {
        int peer = data[at] % WORLD_PEERS;
        size_t n = data[at + 1] | (size_t)data[at + 2] << 8;
        at += 3;
        n = n < size - at ? n : size - at;
        world_up(&w, peer);
        if (w.peers[peer].up && !w.peers[peer].going && !asks_for_disk(data + at, n)) {
            (void)world_say(&w, peer, data + at, n);
        }
        check_planners();
        world_turn(&w);
        at += n;
    }
    for (int i = 0; i < WORLD_PEERS; i++) {
        world_down(&w, i);
    }
    world_turn(&w);
    world_end(&w);
    return 0;
}

/* Of each kind one, from a peer that joined before. */
void fuzz_seeds(fuzz_give give)
{
    static struct draft m;
    static uint8_t seed[1 << 16];
    for (unsigned head = 0; head < 2; head++) {
        for (unsigned op = 1; op < WIRE_OPS; op++) {
            struct facts f = {.dice = op, .self = 1001, .node = 1002, .head = 5};
            f.session = f.units = f.lease = f.epoch = f.job = 1;
            f.key = (struct plan_job){1001, 1};
            f.exe_size = f.start_size = 4096;
            size_t used = 0;
            seed[used++] = (uint8_t)head;
            for (unsigned k = 0; k < 2; k++) {
                message_make(&m, &f,
                             k      ? (enum wire_op)op
                             : head ? WIRE_JOIN
                                    : WIRE_WELCOME);
                if (used + 3 + m.size > sizeof seed / 2) {
                    break;
                }
                seed[used++] = 0;
                seed[used++] = (uint8_t)m.size;
                seed[used++] = (uint8_t)(m.size >> 8);
                memcpy(seed + used, m.bytes, m.size);
                used += m.size;
            }
            give(seed, used);
        }
    }
}
