/* raw.h - a peer made of a plain socket, that follows the protocol as far as a test
 * wants. */
#ifndef TESTS_RAW_H
#define TESTS_RAW_H

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <unistd.h>

#include "wire.h"
#include "world.h"

struct raw {
    int fd;
    uint8_t dialer[WIRE_HELLO_BYTES], listener[WIRE_HELLO_BYTES], session[KEY_BYTES];
    struct wire_seal in, out;
};

static inline int raw_socket(const struct addr *addr)
{
    int fd = socket(addr->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&addr->sa, addr->size), 0);
    return fd;
}

/* Reads @size bytes while the world turns; what came before the end otherwise. */
static inline size_t raw_read(struct world *w, int fd, void *buf, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t n = recv(fd, (uint8_t *)buf + have, size - have, MSG_DONTWAIT);
        if (n > 0) {
            have += (size_t)n;
        } else if (n == 0 || errno != EAGAIN) {
            break;
        } else {
            cr_assert_eq(loop_turn(w->loop, NS_PER_MS), MOB_OK);
        }
    }
    return have;
}

static inline void raw_write(int fd, const void *data, size_t size)
{
    /* What the other end closes meanwhile is no failure of the test. */
    (void)!send(fd, data, size, MSG_NOSIGNAL);
}

static inline void raw_hello(uint8_t out[WIRE_HELLO_BYTES], uint8_t kind,
                             uint64_t session)
{
    struct wire_hello hello = {.version_min = WIRE_VERSION_MIN,
                               .version_max = WIRE_VERSION_MAX,
                               .kind = kind,
                               .lane = kind == WIRE_CONTROL,
                               .node_id = 4242,
                               .session = session};
    randombytes_buf(hello.nonce, sizeof hello.nonce);
    wire_hello_put(&hello, out);
}

/* A whole handshake with @key. Returns false if the node refused. */
static inline bool raw_shake(struct world *w, struct raw *r, uint8_t kind,
                             uint64_t session, const uint8_t key[KEY_BYTES])
{
    uint8_t answer[WIRE_HELLO_BYTES + WIRE_PROOF_BYTES], proof[WIRE_PROOF_BYTES];
    uint8_t verdict[WIRE_HEADER_BYTES];
    memset(r, 0, sizeof *r);
    r->fd = raw_socket(&w->nodes[0].addr);
    raw_hello(r->dialer, kind, session);
    raw_write(r->fd, r->dialer, sizeof r->dialer);
    if (raw_read(w, r->fd, answer, sizeof answer) != sizeof answer) {
        return false;
    }
    memcpy(r->listener, answer, WIRE_HELLO_BYTES);
    wire_derive(key, WIRE_USE_LISTENER_PROOF, r->dialer, r->listener, proof);
    bool right = wire_proof_equal(proof, answer + WIRE_HELLO_BYTES);
    wire_derive(key, WIRE_USE_DIALER_PROOF, r->dialer, r->listener, proof);
    wire_derive(key, WIRE_USE_SESSION, r->dialer, r->listener, r->session);
    uint8_t direction[KEY_BYTES];
    wire_derive(r->session, WIRE_USE_TO_LISTENER, r->dialer, r->listener, direction);
    wire_seal_start(&r->out, direction, false);
    wire_derive(r->session, WIRE_USE_TO_DIALER, r->dialer, r->listener, direction);
    wire_seal_start(&r->in, direction, false);
    raw_write(r->fd, proof, sizeof proof);
    return raw_read(w, r->fd, verdict, sizeof verdict) == sizeof verdict && right &&
           wire_seal_check(&r->in, verdict, NULL, 0);
}

/* A control and a data connection: node 0 has a peer. */
static inline void raw_join(struct world *w, struct raw *control, struct raw *data)
{
    int ups = w->nodes[0].ups;
    uint8_t key[KEY_BYTES];
    memset(key, 1, sizeof key);
    cr_assert(raw_shake(w, control, WIRE_CONTROL, 0, key));
    cr_assert(raw_shake(w, data, WIRE_DATA, wire_session_id(control->session),
                        control->session));
    WORLD_UNTIL(w, w->nodes[0].ups == ups + 1);
}

static inline void raw_frame(struct raw *r, struct wire_header header, const void *body)
{
    uint8_t out[WIRE_HEADER_BYTES];
    bool sealed = header.type != WIRE_CHUNK;
    wire_seal_put(&r->out, &header, body, sealed ? header.size : 0, NULL, out);
    raw_write(r->fd, out, sizeof out);
    if (body != NULL) { /* else it follows */
        raw_write(r->fd, body, header.size);
    }
}

/* The same of a payload that sockets cannot hold: the world turns meanwhile. */
static inline void raw_frame_turning(struct world *w, struct raw *r,
                                     struct wire_header header, const uint8_t *body)
{
    raw_frame(r,
              (struct wire_header){header.type, header.size, header.id, header.offset,
                                   header.sum},
              NULL);
    for (size_t at = 0; at < header.size;) {
        ssize_t n = send(r->fd, body + at, header.size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        at += n > 0 ? (size_t)n : 0;
        cr_assert(n > 0 || errno == EAGAIN);
        cr_assert_eq(loop_turn(w->loop, 0), MOB_OK);
    }
}

#endif
