/* Peers that know no key, or know it and misbehave. */
#include <xxhash.h>

#include "raw.h"

static struct world w;

static void make(void)
{
    world_make(&w, &transport_tcp, 1);
}
static void end(void)
{
    world_end(&w);
}

TestSuite(hostile, .init = make, .fini = end, .timeout = 60);

static void refused_with(mob_status status)
{
    WORLD_UNTIL(&w, w.nodes[0].refusals >= 1);
    cr_assert_eq(w.nodes[0].refused, status, "%s", w.nodes[0].reason);
    cr_assert_eq(w.nodes[0].ups, 0);
}

static void lost_with(mob_status status)
{
    WORLD_UNTIL(&w, w.nodes[0].downs == 1);
    cr_assert_eq(w.nodes[0].down, status, "%s", w.nodes[0].reason);
}

Test(hostile, garbage_is_no_greeting)
{
    int fd = raw_socket(&w.nodes[0].addr);
    uint8_t junk[WIRE_HELLO_BYTES];
    memset(junk, 'G', sizeof junk);
    raw_write(fd, junk, sizeof junk);
    refused_with(MOB_ERR_PROTOCOL);
    cr_assert_eq(raw_read(&w, fd, junk, 1), 0, "it answered");
    close(fd);
}

Test(hostile, a_greeting_cut_short)
{
    int fd = raw_socket(&w.nodes[0].addr);
    uint8_t hello[WIRE_HELLO_BYTES];
    raw_hello(hello, WIRE_CONTROL, 0);
    raw_write(fd, hello, 40);
    close(fd);
    refused_with(MOB_ERR_PEER_LOST);
}

Test(hostile, another_version_is_named)
{
    int fd = raw_socket(&w.nodes[0].addr);
    uint8_t hello[WIRE_HELLO_BYTES], answer[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
    static const uint8_t zeros[WIRE_PROOF_BYTES];
    struct wire_hello got;
    raw_hello(hello, WIRE_CONTROL, 0);
    hello[8] = hello[10] = 9; /* versions 9 to 9 */
    raw_write(fd, hello, sizeof hello);
    cr_assert_eq(raw_read(&w, fd, answer, sizeof answer), sizeof answer);
    cr_assert_eq(wire_hello_get(answer, &got), MOB_OK);
    cr_assert_eq(got.refusal, (uint16_t)-MOB_ERR_VERSION);
    cr_assert_arr_eq(answer + WIRE_HELLO_BYTES, zeros, sizeof zeros);
    refused_with(MOB_ERR_VERSION);
    cr_assert_not_null(strstr(w.nodes[0].reason, "9 to 9"));
    close(fd);
}

/* What it cannot know how to do, it must not be taken for able to do. */
Test(hostile, what_is_not_known_is_refused_with_its_reason)
{
    static const struct {
        unsigned place;
        uint8_t value;
        const char *word;
    } odd[] = {{32, 0x80, "capabilities 0x80"}, {36, 2, "byte order"}, {37, 21, "2^21"}};
    for (int i = 0; i < 3; i++) {
        int fd = raw_socket(&w.nodes[0].addr);
        uint8_t hello[WIRE_HELLO_BYTES], answer[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
        struct wire_hello got;
        raw_hello(hello, WIRE_CONTROL, 0);
        hello[odd[i].place] = odd[i].value;
        raw_write(fd, hello, sizeof hello);
        cr_assert_eq(raw_read(&w, fd, answer, sizeof answer), sizeof answer);
        cr_assert_eq(wire_hello_get(answer, &got), MOB_OK);
        cr_assert_eq(got.refusal, (uint16_t)-MOB_ERR_VERSION);
        WORLD_UNTIL(&w, w.nodes[0].refusals == i + 1);
        cr_assert_eq(w.nodes[0].refused, MOB_ERR_VERSION);
        cr_assert_not_null(strstr(w.nodes[0].reason, odd[i].word), "%s",
                           w.nodes[0].reason);
        close(fd);
    }
}

/* What a peer with the key once said, said again: the node's nonce is another one. */
Test(hostile, a_replayed_handshake_fails)
{
    struct raw r;
    uint8_t key[KEY_BYTES], proof[WIRE_PROOF_BYTES];
    uint8_t answer[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
    memset(key, 1, sizeof key);
    cr_assert(raw_shake(&w, &r, WIRE_CONTROL, 0, key));
    wire_derive(key, WIRE_USE_DIALER_PROOF, r.dialer, r.listener, proof);
    int fd = raw_socket(&w.nodes[0].addr);
    raw_write(fd, r.dialer, sizeof r.dialer);
    cr_assert_eq(raw_read(&w, fd, answer, sizeof answer), sizeof answer);
    raw_write(fd, proof, sizeof proof);
    refused_with(MOB_ERR_KEY);
    close(fd);
    close(r.fd);
}

/* The node's own proof sent back to it does not count as ours. */
Test(hostile, a_reflected_proof_fails)
{
    int fd = raw_socket(&w.nodes[0].addr);
    uint8_t hello[WIRE_HELLO_BYTES], answer[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES];
    raw_hello(hello, WIRE_CONTROL, 0);
    raw_write(fd, hello, sizeof hello);
    cr_assert_eq(raw_read(&w, fd, answer, sizeof answer), sizeof answer);
    raw_write(fd, answer + WIRE_HELLO_BYTES, WIRE_PROOF_BYTES);
    refused_with(MOB_ERR_KEY);
    close(fd);
}

Test(hostile, a_data_connection_needs_its_session)
{
    struct raw control, data;
    uint8_t key[KEY_BYTES];
    memset(key, 1, sizeof key);
    cr_assert_not(raw_shake(&w, &data, WIRE_DATA, 12345, key));
    refused_with(MOB_ERR_STATE);
    close(data.fd);
    cr_assert(raw_shake(&w, &control, WIRE_CONTROL, 0, key));
    /* The name of the session is right, the key is the cluster's and not the session's.
     */
    cr_assert_not(raw_shake(&w, &data, WIRE_DATA, wire_session_id(control.session), key));
    refused_with(MOB_ERR_KEY);
    close(data.fd);
    close(control.fd);
}

/* A crowd that says nothing is bounded, keeps nobody out, and is gone after the limit. */
Test(hostile, silent_ones_keep_nobody_out)
{
    enum { CROWD = 200 };
    int fd[CROWD];
    struct raw control, data;
    for (int i = 0; i < CROWD; i++) {
        fd[i] = raw_socket(&w.nodes[0].addr);
    }
    WORLD_UNTIL(&w, w.nodes[0].refusals >= CROWD - 64);
    cr_assert_eq(w.nodes[0].refused, MOB_ERR_FULL);
    raw_join(&w, &control, &data);
    WORLD_UNTIL(&w, w.nodes[0].refusals >= CROWD);
    cr_assert_eq(w.nodes[0].refused, MOB_ERR_TIMEOUT);
    for (int i = 0; i < CROWD; i++) {
        close(fd[i]);
    }
    close(control.fd);
    close(data.fd);
}

Test(hostile, a_frame_sent_twice_ends_the_peer)
{
    struct raw control, data;
    uint8_t frame[WIRE_HEADER_BYTES];
    struct wire_header header = {.type = WIRE_MESSAGE};
    raw_join(&w, &control, &data);
    wire_seal_put(&control.out, &header, NULL, 0, NULL, frame);
    raw_write(control.fd, frame, sizeof frame);
    WORLD_UNTIL(&w, w.nodes[0].messages == 1);
    raw_write(control.fd, frame, sizeof frame);
    lost_with(MOB_ERR_PROTOCOL);
    cr_assert_eq(w.nodes[0].messages, 1);
    close(control.fd);
    close(data.fd);
}

/* ---- owners that misbehave
 * --------------------------------------------------------------- */

static uint64_t asked(struct raw *control)
{
    uint8_t in[WIRE_HEADER_BYTES], body[WIRE_PULL_BYTES];
    struct wire_header h;
    cr_assert_eq(raw_read(&w, control->fd, in, sizeof in), sizeof in);
    cr_assert_eq(wire_seal_head(&control->in, in, WIRE_CONTROL, &h), MOB_OK);
    cr_assert_eq(h.type, WIRE_PULL);
    cr_assert_eq(raw_read(&w, control->fd, body, sizeof body), sizeof body);
    cr_assert(wire_seal_check(&control->in, in, body, sizeof body));
    return h.id;
}

Test(hostile, a_damaged_chunk_fails_one_transfer_alone)
{
    struct raw control, data;
    struct pull p = {0}, q = {0};
    uint8_t bytes[1000];
    memset(bytes, 3, sizeof bytes);
    raw_join(&w, &control, &data);
    cr_assert_eq(world_pull(w.nodes[0].peers[0], &p, 0, sizeof bytes), MOB_OK);
    cr_assert_eq(world_pull(w.nodes[0].peers[0], &q, 0, sizeof bytes), MOB_OK);
    uint64_t a = asked(&control), b = asked(&control);
    uint64_t sum = XXH3_64bits(bytes, sizeof bytes);
    raw_frame(&data, (struct wire_header){WIRE_CHUNK, sizeof bytes, a, 0, sum ^ 1},
              bytes);
    raw_frame(&data, (struct wire_header){WIRE_CHUNK, sizeof bytes, b, 0, sum}, bytes);
    WORLD_UNTIL(&w, p.calls == 1 && q.calls == 1);
    cr_assert_eq(p.status, MOB_ERR_PROTOCOL);
    cr_assert_eq(q.status, MOB_OK);
    cr_assert_eq(w.nodes[0].downs, 0);
    close(control.fd);
    close(data.fd);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1);
    free(p.dst);
    free(q.dst);
}

/* A death in the middle of a chunk: the transfer ends once, and so does the peer. */
Test(hostile, an_owner_that_dies_mid_chunk)
{
    struct raw control, data;
    struct pull p = {0};
    uint8_t out[WIRE_HEADER_BYTES], half[500] = {0};
    raw_join(&w, &control, &data);
    cr_assert_eq(world_pull(w.nodes[0].peers[0], &p, 0, 1000), MOB_OK);
    struct wire_header h = {WIRE_CHUNK, 1000, asked(&control), 0, 0};
    wire_seal_put(&data.out, &h, NULL, 0, NULL, out);
    raw_write(data.fd, out, sizeof out);
    raw_write(data.fd, half, sizeof half);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(loop_turn(w.loop, NS_PER_MS), MOB_OK);
    }
    transport_cancel(&p.xfer); /* it waits for the chunk to end, one way or the other */
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(loop_turn(w.loop, NS_PER_MS), MOB_OK);
    }
    cr_assert_eq(p.calls, 0, "said to be quiet while the kernel may write");
    close(data.fd);
    close(control.fd);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1);
    cr_assert_eq(p.calls, 1);
    cr_assert_eq(p.status, MOB_ERR_CANCELLED);
    free(p.dst);
}

Test(hostile, chunks_that_nobody_asked_for)
{
    static const struct wire_header bad[] = {
        {WIRE_CHUNK, 10, 77777777, 0, 0}, /* an id that never was */
        {WIRE_CHUNK, 10, 0, 5, 0},        /* (id filled in) out of order */
        {WIRE_CHUNK, 999, 0, 0, 0},       /* of another size than is left */
        {WIRE_CHUNK, 0, 0, 0, 0},
    };
    uint8_t bytes[1000] = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct raw control, data;
        struct pull p = {0};
        int downs = w.nodes[0].downs;
        raw_join(&w, &control, &data);
        cr_assert_eq(world_pull(w.nodes[0].peers[i], &p, 0, 1000), MOB_OK);
        struct wire_header h = bad[i];
        uint64_t id = asked(&control);
        h.id = h.id != 0 ? h.id : id;
        raw_frame(&data, h, bytes);
        WORLD_UNTIL(&w, w.nodes[0].downs == downs + 1);
        cr_assert_eq(w.nodes[0].down, MOB_ERR_PROTOCOL);
        cr_assert_eq(p.calls, 1);
        cr_assert_eq(p.status, MOB_ERR_PEER_LOST);
        free(p.dst);
        close(control.fd);
        close(data.fd);
    }
}

/* The sums of all chunks are right and in their places, and yet not those of the owner. */
Test(hostile, a_wrong_root_fails_the_transfer)
{
    enum { SIZE = CHUNK_BYTES + 10 };
    struct raw control, data;
    struct pull p = {0};
    static uint8_t bytes[CHUNK_BYTES];
    raw_join(&w, &control, &data);
    for (int wrong = 1; wrong >= 0; wrong--) {
        uint64_t sums[] = {XXH3_64bits(bytes, CHUNK_BYTES), XXH3_64bits(bytes, 10)};
        XXH128_canonical_t root;
        struct wire_header end = {.type = WIRE_END};
        cr_assert_eq(world_pull(w.nodes[0].peers[0], &p, 0, SIZE), MOB_OK);
        end.id = asked(&control);
        XXH128_canonicalFromHash(&root, XXH3_128bits(sums, sizeof sums));
        memcpy(&end.offset, root.digest, 8);
        memcpy(&end.sum, root.digest + 8, 8);
        end.sum ^= (uint64_t)wrong;
        struct wire_header last = {WIRE_CHUNK, 10, end.id, CHUNK_BYTES, sums[1]};
        raw_frame(&data, last, bytes); /* the second chunk first */
        raw_frame(&data, end, NULL);
        for (int i = 0; i < 5; i++) {
            cr_assert_eq(loop_turn(w.loop, NS_PER_MS), MOB_OK);
        }
        cr_assert(p.calls == 0 && p.xfer.received == 0);
        raw_frame_turning(
            &w, &data, (struct wire_header){WIRE_CHUNK, CHUNK_BYTES, end.id, 0, sums[0]},
            bytes);
        WORLD_UNTIL(&w, p.calls == 1);
        cr_assert_eq(p.status, wrong ? MOB_ERR_PROTOCOL : MOB_OK);
        if (wrong) { /* the cancellation that follows */
            uint8_t in[WIRE_HEADER_BYTES];
            cr_assert_eq(raw_read(&w, control.fd, in, sizeof in), sizeof in);
            cr_assert(wire_seal_check(&control.in, in, NULL, 0));
        }
    }
    cr_assert_eq(w.nodes[0].downs, 0);
    close(control.fd);
    close(data.fd);
    WORLD_UNTIL(&w, w.nodes[0].downs == 1);
    free(p.dst);
}

Test(hostile, frames_that_mean_nothing_there)
{
    static const struct wire_header bad[] = {
        {WIRE_END, 0, 0, 1, 2},         /* of a pull of one chunk */
        {WIRE_FAIL, 0, 77777777, 5, 0}, /* of a pull that never was */
        {WIRE_FAIL, 0, 0, 5, 0},        /* on a data connection */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct raw control, data;
        struct pull p = {0};
        struct wire_header h = bad[i];
        int downs = w.nodes[0].downs;
        raw_join(&w, &control, &data);
        cr_assert_eq(world_pull(w.nodes[0].peers[i], &p, 0, 1000), MOB_OK);
        uint64_t id = asked(&control);
        h.id = h.id != 0 ? h.id : id;
        raw_frame(i == 1 ? &control : &data, h, NULL);
        WORLD_UNTIL(&w, w.nodes[0].downs == downs + 1);
        cr_assert_eq(w.nodes[0].down, MOB_ERR_PROTOCOL);
        free(p.dst);
        close(control.fd);
        close(data.fd);
    }
}
