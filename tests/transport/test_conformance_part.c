/* What every backend must do: objects that are not all there yet, and large ones. */
#include <unistd.h>

#include "conforms.h"

enum { SIZE = 5 * CHUNK_BYTES + 12345 };

static void grow_all(struct world *w, unsigned owner, uint64_t to)
{
    struct node *n = &w->nodes[owner];
    __atomic_store_n(&n->ready, to, __ATOMIC_RELEASE);
    for (unsigned k = 0; k < EXPORTS; k++) {
        if (n->shown[k].base != NULL) {
            transport_grown(n->shown_to[k], n->shown[k].cookie);
        }
    }
}

static void revoke_all(struct world *w, unsigned owner, mob_status status)
{
    struct node *n = &w->nodes[owner];
    for (unsigned k = 0; k < EXPORTS; k++) {
        if (n->shown[k].base != NULL) {
            transport_revoke(n->shown_to[k], n->shown[k].cookie, status);
        }
    }
}

CONFORMS(an_object_is_pulled_while_it_grows)
{
    static const uint64_t steps[] = {
        1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7, SIZE - 1, SIZE};
    struct world w;
    struct pull p = {0}, q = {0};
    world_over(&w, backend, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, SIZE);
    cr_assert_eq(world_ask(peer, &p, GROWING, 0, SIZE), MOB_OK);
    cr_assert_eq(world_ask(peer, &q, GROWING, 2 * CHUNK_BYTES, CHUNK_BYTES), MOB_OK);
    WORLD_UNTIL(&w, w.nodes[1].pins == 2);
    world_turn(&w, 50);
    cr_assert(p.xfer.received == 0 && q.xfer.received == 0, "nothing was ready");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        uint64_t whole = steps[i] == SIZE ? SIZE : steps[i] - steps[i] % CHUNK_BYTES;
        grow_all(&w, 1, steps[i]);
        WORLD_UNTIL(&w, p.xfer.received >= whole);
        world_turn(&w, 20);
        cr_assert_leq(p.xfer.received, steps[i], "more than there is");
        cr_assert_eq(memcmp(p.dst, w.nodes[1].object, p.xfer.received), 0);
        cr_assert(q.calls == 1 || steps[i] < 3 * CHUNK_BYTES);
    }
    WORLD_UNTIL(&w, p.calls && q.calls && w.nodes[1].pins == 0);
    cr_assert(p.status == MOB_OK && q.status == MOB_OK);
    cr_assert_eq(memcmp(p.dst, w.nodes[1].object, SIZE), 0);
    cr_assert_eq(memcmp(q.dst, w.nodes[1].object + 2 * CHUNK_BYTES, CHUNK_BYTES), 0);
    cr_assert_gt(w.nodes[0].landings, 3);
    transport_grown(w.nodes[1].peers[0], 1); /* over: left alone */
    transport_revoke(w.nodes[1].peers[0], 1, MOB_ERR_LOST);
    pull_free(&p);
    pull_free(&q);
    world_end(&w);
}

CONFORMS(what_was_revoked_goes_on_from_another_at_its_offset)
{
    struct world w;
    struct pull p = {0};
    world_over(&w, backend, 3);
    struct transport_peer *from1 = world_join(&w, 0, 1), *from2 = world_join(&w, 0, 2);
    world_object(&w, 1, SIZE);
    world_object(&w, 2, SIZE);
    memcpy(w.nodes[2].object, w.nodes[1].object, SIZE);
    for (unsigned steps = 0; steps < 30; steps++) {
        w.nodes[1].ready = 0;
        cr_assert_eq(world_ask(from1, &p, GROWING, 0, SIZE), MOB_OK);
        WORLD_UNTIL(&w, w.nodes[1].pins == 1);
        grow_all(&w, 1, 3 * CHUNK_BYTES);
        world_turn(&w, steps);
        revoke_all(&w, 1, MOB_ERR_LOST);
        WORLD_UNTIL(&w, p.calls && w.nodes[1].pins == 0);
        cr_assert_eq(p.status, MOB_ERR_LOST);
        uint64_t got = p.landed;
        cr_assert_leq(got, 3 * CHUNK_BYTES);
        cr_assert_eq(memcmp(p.dst, w.nodes[1].object, got), 0);
        struct transport_source rest = {
            .object = {WHOLE}, .offset = got, .size = SIZE - got};
        pull_make(&p, from2, SIZE);
        cr_assert_eq(transport_pull(from2, &rest, p.dst + got, &p.xfer), MOB_OK);
        WORLD_UNTIL(&w, p.calls);
        cr_assert_eq(p.status, MOB_OK);
        cr_assert_eq(memcmp(p.dst, w.nodes[1].object, SIZE), 0);
    }
    pull_free(&p);
    world_end(&w);
}

CONFORMS(cancel_and_close_while_an_object_grows)
{
    for (unsigned way = 0; way < 4; way++) {
        struct world w;
        struct pull p = {0};
        world_over(&w, backend, 2);
        struct transport_peer *peer = world_join(&w, 0, 1);
        world_object(&w, 1, SIZE);
        w.nodes[1].ready = CHUNK_BYTES;
        cr_assert_eq(world_ask(peer, &p, GROWING, 0, SIZE), MOB_OK);
        WORLD_UNTIL(&w, p.xfer.received == CHUNK_BYTES);
        if (way < 2) {
            transport_close(w.nodes[way].tp);
            WORLD_UNTIL(&w, w.nodes[0].downs && w.nodes[1].downs);
        } else if (way == 2) {
            transport_cancel(&p.xfer);
        } else {
            revoke_all(&w, 1, MOB_ERR_LOST);
            transport_disconnect(w.nodes[1].peers[0]);
        }
        WORLD_UNTIL(&w, p.calls && w.nodes[1].pins == 0);
        cr_assert_neq(p.status, MOB_OK);
        cr_assert_eq(p.landed, CHUNK_BYTES);
        pull_free(&p);
        world_end(&w);
    }
}

/* ---- figures
 * ----------------------------------------------------------------------------- */

CONFORMS(figures_say_what_moved)
{
    struct world w;
    struct pull p = {0};
    struct transport_stats puller, owner;
    world_over(&w, backend, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 1, SIZE);
    for (uint64_t pulled = 0; pulled < 8 * (uint64_t)SIZE; pulled += SIZE) {
        cr_assert_eq(world_pull(peer, &p, 0, SIZE), MOB_OK);
        WORLD_UNTIL(&w, p.calls && w.nodes[1].pins == 0);
        cr_assert_eq(p.status, MOB_OK);
    }
    for (uint64_t i = 0; i < 5; i++) {
        cr_assert_eq(transport_send(peer, &i, sizeof i), MOB_OK);
    }
    WORLD_UNTIL(&w, w.nodes[1].messages == 5);
    transport_stats(peer, &puller);
    transport_stats(w.nodes[1].peers[0], &owner);
    cr_assert_eq(puller.pulled_bytes, 8 * (uint64_t)SIZE);
    cr_assert_eq(owner.served_bytes, 8 * (uint64_t)SIZE);
    cr_assert(puller.damaged == 0 && puller.fallbacks == 0);
    cr_assert_eq(puller.encrypted, backend->encrypt);
    cr_assert_eq(puller.checked, !backend->unchecked);
    cr_assert_str_not_empty(puller.path);
    if (backend->rdma_moves) {
        cr_assert_str_eq(puller.carrier, "verbs", "%s", puller.why);
        cr_assert_geq(puller.rdma_bytes, 4 * (uint64_t)SIZE, "%s", puller.why);
        cr_assert_str_empty(puller.why);
    } else {
        cr_assert_str_eq(puller.carrier,
                         backend->under != NULL ? backend->under->name : backend->name);
        cr_assert_eq(puller.rdma_bytes, 0);
    }
    cr_assert(puller.messages_sent == 5 && owner.messages_received == 5);
    cr_assert(puller.served_bytes == 0 && puller.messages_received == 0);
    pull_free(&p);
    world_end(&w);
}

/* ---- beyond 4 GiB
 * ------------------------------------------------------------------------ */

enum { WINDOW = 64 << 20 };

/* @size bytes of address space that show the same window again and again. */
static uint8_t *tiled(uint64_t size)
{
    int fd = memfd_create("window", MFD_CLOEXEC);
    cr_assert(fd >= 0 && ftruncate(fd, WINDOW) == 0);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    uint8_t *base = mmap(NULL, size, PROT_NONE, flags, -1, 0);
    cr_assert(base != MAP_FAILED);
    for (uint64_t at = 0; at < size; at += WINDOW) {
        uint64_t left = size - at;
        void *tile = mmap(base + at, left < WINDOW ? left : WINDOW,
                          PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
        cr_assert_eq(tile, base + at);
    }
    close(fd);
    return base;
}

/* The last MiB of an object of 4 GiB and a chunk; all of it if the tests are to be full. */
CONFORMS(objects_beyond_4_gib)
{
    const uint64_t size = (4ull << 30) + CHUNK_BYTES;
    bool full = getenv("MOB_TEST_FULL") != NULL;
    uint64_t part = full ? size : CHUNK_BYTES + CHUNK_BYTES / 2;
    struct world w;
    struct pull p = {0};
    world_over(&w, backend, 2);
    struct transport_peer *peer = world_join(&w, 0, 1);
    uint8_t *src = tiled(size), *dst = full ? tiled(size) : NULL;
    for (uint64_t i = 0; i < WINDOW; i += sizeof i) {
        uint64_t word = i * 0x9e3779b97f4a7c15ull;
        memcpy(src + i, &word, sizeof word);
    }
    w.nodes[1].object = src;
    w.nodes[1].object_size = size;
    if (backend->under != NULL) {
        transport_map(w.nodes[1].tp, src, size, true);
    }
    struct transport_source source = {
        .object = {WHOLE}, .offset = size - part, .size = part};
    pull_make(&p, peer, full ? 1 : part);
    if (full && backend->under != NULL) {
        transport_map(w.nodes[0].tp, dst, size, true);
    }
    cr_assert_eq(transport_pull(peer, &source, full ? dst : p.dst, &p.xfer), MOB_OK);
    WORLD_UNTIL(&w, p.calls && w.nodes[1].pins == 0);
    cr_assert_eq(p.status, MOB_OK);
    cr_assert_eq(p.landed, part);
    cr_assert_eq(memcmp(full ? dst : p.dst, src + size - part, full ? WINDOW : part), 0);
    source.size++; /* one byte past its end */
    cr_assert_eq(transport_pull(peer, &source, full ? dst : p.dst, &p.xfer), MOB_OK);
    WORLD_UNTIL(&w, p.calls == 2);
    cr_assert_eq(p.status, MOB_ERR_SIZE);
    w.nodes[1].object = NULL;
    pull_free(&p);
    world_end(&w);
    cr_assert(munmap(src, size) == 0 && (!full || munmap(dst, size) == 0));
}
