/* The messages of the verbs backend. Input: one byte of which, then its bytes without the word. What is
 * taken must be bounded, and say the same once more when it is written and read again. */
#include <string.h>

#include "fuzz.h"
#include "verbs_wire.h"

const unsigned fuzz_rounds = 100000;

static struct verbs_range ranges[VERBS_RANGES_MAX];
static uint8_t out[VERBS_HERE_BYTES];

#define AGAIN(name, in, size)                                                            \
    do {                                                                                 \
        struct verbs_##name first = {0}, second = {0};                                   \
        if (verbs_##name##_get(in, size, &first)) {                                      \
            size_t n = verbs_##name##_put(&first, out);                                  \
            FUZZ_CHECK(n <= VERBS_SMALL_BYTES);                                          \
            FUZZ_CHECK(verbs_##name##_get(out, n, &second));                             \
        }                                                                                \
    } while (0)

static void hello(const uint8_t *in, size_t size)
{
    struct verbs_hello h = {0};
    if (verbs_hello_get(in, size, &h)) {
        FUZZ_CHECK(h.rails_count <= VERBS_RAILS_MAX);
        FUZZ_CHECK(memchr(h.why, 0, sizeof h.why) != NULL);
    }
    AGAIN(hello, in, size);
}

static void here(const uint8_t *in, size_t size)
{
    struct verbs_here h;
    if (!verbs_here_get(in, size, ranges, &h)) {
        return;
    }
    FUZZ_CHECK(h.count <= VERBS_RANGES_MAX && h.ranges == ranges);
    FUZZ_CHECK(verbs_here_put(&h, out) <= VERBS_HERE_BYTES);
}

static void sums(const uint8_t *in, size_t size)
{
    struct verbs_sums s = {0};
    if (verbs_sums_get(in, size, &s)) {
        FUZZ_CHECK(s.count <= VERBS_SUMS_MAX);
    }
    AGAIN(sums, in, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t a, b;
    if (size == 0) {
        return 0;
    }
    const uint8_t *in = data + 1;
    size_t left = size - 1;
    switch (data[0] % VERBS_KINDS) {
    case VERBS_HELLO:
        hello(in, left);
        break;
    case VERBS_OFFER:
        AGAIN(offer, in, left);
        break;
    case VERBS_ACCEPT:
        AGAIN(accept, in, left);
        break;
    case VERBS_ACK:
        AGAIN(ack, in, left);
        break;
    case VERBS_UP:
        AGAIN(up, in, left);
        break;
    case VERBS_DOWN:
        AGAIN(down, in, left);
        break;
    case VERBS_ASK:
        AGAIN(ask, in, left);
        break;
    case VERBS_HERE:
        here(in, left);
        break;
    case VERBS_SUMS:
        sums(in, left);
        break;
    case VERBS_READY:
    case VERBS_FAIL:
        (void)verbs_pair_get(in, left, &a, &b);
        break;
    default:
        (void)verbs_id_get(in, left, &a);
        break;
    }
    return 0;
}

static uint8_t seed[1 + VERBS_HERE_BYTES];

static void give_one(fuzz_give give, enum verbs_kind kind, size_t size)
{
    seed[0] = (uint8_t)kind;
    give(seed, 1 + size);
}

void fuzz_seeds(fuzz_give give)
{
    uint8_t *to = seed + 1;
    struct verbs_port port = {.ethernet = 1,
                              .gid_type = VERBS_GID_ROCE2,
                              .gid = {[10] = 0xff, 0xff, 10, 7, 0, 1},
                              .mtu = 5,
                              .init_depth = 16,
                              .resp_depth = 16,
                              .mbps = 100000};
    struct verbs_hello h = {.rails_count = 2, .rails = {port, port}};
    struct verbs_hello none = {.why = "this machine has no RDMA device"};
    struct verbs_offer offer = {
        .link = 1, .to_rail = 1, .generation = 7, .qpn = 300, .psn = 1234};
    struct verbs_accept accept = {.link = 1, .generation = 7, .qpn = 301, .psn = 4321};
    struct verbs_up up = {.link = 1, .generation = 7};
    struct verbs_down down = {.link = 1, .generation = 7, .why = "the port is down"};
    struct verbs_ask ask = {.id = 128, .source = {.object = {1}, .size = 1 << 20}};
    struct verbs_sums s = {.id = 128, .first = 3, .count = 5, .last = true};
    give_one(give, VERBS_HELLO, verbs_hello_put(&h, to));
    give_one(give, VERBS_HELLO, verbs_hello_put(&none, to));
    give_one(give, VERBS_OFFER, verbs_offer_put(&offer, to));
    give_one(give, VERBS_ACCEPT, verbs_accept_put(&accept, to));
    struct verbs_ack ack = {.link = 1, .generation = 7, .count = 16};
    give_one(give, VERBS_ACK, verbs_ack_put(&ack, to));
    give_one(give, VERBS_UP, verbs_up_put(&up, to));
    give_one(give, VERBS_DOWN, verbs_down_put(&down, to));
    give_one(give, VERBS_ASK, verbs_ask_put(&ask, to));
    give_one(give, VERBS_SUMS, verbs_sums_put(&s, to));
    give_one(give, VERBS_READY, verbs_pair_put(128, 4096, to));
    give_one(give, VERBS_END, verbs_id_put(128, to));
    for (unsigned k = 0; k < 3; k++) {
        ranges[k] = (struct verbs_range){4096 * (k + 1), 4096, {k + 1, k + 2}};
    }
    struct verbs_here hr = {.id = 128,
                            .ready = 3 * 4096,
                            .links = 3,
                            .generations = {7, 8},
                            .count = 3,
                            .ranges = ranges};
    give_one(give, VERBS_HERE, verbs_here_put(&hr, to));
}
