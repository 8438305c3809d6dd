/* Nobody copies an object on its way but the kernel: counted in every memcpy() and
 * memmove() of the program, which are this file's own. (Copies of a few bytes that the
 * compiler writes out are not seen; none of them is an object.) */
#include "world.h"

static uint64_t copied;

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    copied += size;
    if (d < s) {
        for (size_t i = 0; i < size; i++) {
            d[i] = s[i];
        }
    } else {
        for (size_t i = size; i-- != 0;) {
            d[i] = s[i];
        }
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    return memmove(to, from, size);
}

enum { SIZE = 64 << 20, BESIDES_MAX = 256 * 1024, LEAST = 1000 };

static uint64_t pull_copies(unsigned lanes, bool encrypt)
{
    struct world w = {.backend = &world_tcp, .count = 2};
    struct pull p = {0};
    cr_assert_eq(loop_create(0, &w.loop), MOB_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct node *n = &w.nodes[i];
        struct transport_config config = {.loop = w.loop,
                                          .user = &test_user,
                                          .arg = n,
                                          .node_id = 1000 + i,
                                          .data_connections = lanes,
                                          .encrypt = encrypt};
        struct addr any;
        n->w = &w;
        cr_assert_eq(addr_parse("127.0.0.1:0", ADDR_LISTEN, &any), MOB_OK);
        cr_assert_eq(transport_tcp.open(&config, &n->tp), MOB_OK);
        cr_assert_eq(transport_listen(n->tp, &any, &n->addr), MOB_OK);
    }
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, SIZE);
    uint64_t before = copied;
    cr_assert_eq(world_pull(peer, &p, 0, SIZE), MOB_OK);
    WORLD_UNTIL(&w, p.calls != 0);
    uint64_t during = copied - before;
    cr_assert_eq(p.status, MOB_OK);
    free(p.dst);
    world_end(&w);
    return during;
}

Test(copies, are_counted)
{
    static uint8_t a[LEAST], b[LEAST];
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    uint64_t before = copied;
    copy(a, b, LEAST);
    cr_assert_eq(copied - before, LEAST, "this test sees nothing");
}

/* What is copied are requests and the ends of chunks that XXH3 keeps for the next piece. */
Test(copies, of_an_object_there_are_none, .timeout = 100)
{
    for (unsigned lanes = 1; lanes <= 2; lanes++) {
        uint64_t plain = pull_copies(lanes, false), hidden = pull_copies(lanes, true);
        fprintf(stderr, "copied for 64 MiB: %llu B, encrypted %llu B\n",
                (unsigned long long)plain, (unsigned long long)hidden);
        cr_assert_lt(plain, BESIDES_MAX);
        cr_assert_lt(hidden, BESIDES_MAX);
    }
}
