/* Random but sealed frames into a live node: nothing but clean refusals, and a node that
 * serves the next peer; a failure prints the seed. The parsers alone: tests/fuzz. */
#include "raw.h"

static uint64_t state;

static uint32_t draw(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 33);
}

static void scribble(void *to, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)to)[i] = (uint8_t)draw();
    }
}

/* Frames that are sealed rightly and mean anything: what a peer with the key can do. */
static void session(struct world *w)
{
    struct raw control, data;
    static uint8_t body[4096];
    raw_join(w, &control, &data);
    for (int i = 0; i < 30; i++) {
        struct wire_header h = {.type = (uint8_t)(draw() % 12),
                                .size = draw() % 3 ? draw() % 64 : draw() % sizeof body,
                                .id = draw() % 300,
                                .offset = draw() % 3 ? draw() % 3 : draw(),
                                .sum = draw()};
        if (h.type == WIRE_PULL && draw() % 4) {
            h.size = WIRE_PULL_BYTES;
        }
        if (draw() % 3 == 0) {
            h.size = 0;
        }
        scribble(body, h.size);
        raw_frame(draw() % 4 ? &control : &data, h, body);
        cr_assert_eq(loop_turn(w->loop, 0), MOB_OK);
    }
    close(control.fd);
    close(data.fd);
}

static void strangers(struct world *w)
{
    uint8_t bytes[300];
    size_t size = draw() % sizeof bytes;
    int fd = raw_socket(&w->nodes[0].addr);
    scribble(bytes, sizeof bytes);
    if (draw() % 2) {
        raw_hello(bytes, (uint8_t)(draw() % 2), draw());
    }
    raw_write(fd, bytes, size);
    cr_assert_eq(loop_turn(w->loop, 0), MOB_OK);
    close(fd);
}

Test(fuzz, sessions, .timeout = 300)
{
    struct world w;
    world_make(&w, &transport_tcp, 1);
    world_object(&w, 0, 100000);
    for (uint64_t seed = 1; seed <= 150; seed++) {
        state = seed;
        session(&w);
        strangers(&w);
        WORLD_UNTIL(&w, w.nodes[0].downs == (int)seed);
        cr_assert_eq(w.nodes[0].pins, 0, "seed %llu", (unsigned long long)seed);
    }
    world_end(&w);
}
