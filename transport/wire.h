/* wire.h - the bytes on a connection: greetings, proofs, frame headers. No I/O, no state
 * but the sequence numbers of a seal. README.md draws the exchange and says what it
 * protects. */
#ifndef TRANSPORT_WIRE_H
#define TRANSPORT_WIRE_H

#include <core/limits.h>
#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/key.h"

#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1
#define WIRE_HELLO_BYTES 64
#define WIRE_NONCE_BYTES 32
#define WIRE_PROOF_BYTES 32
#define WIRE_HEADER_BYTES 48
#define WIRE_TAG_BYTES 16
#define WIRE_PULL_BYTES 48  /* payload of WIRE_PULL: object, offset, size */
#define WIRE_REFUSE_MAX 256 /* payload of WIRE_REFUSE: a sentence */

enum wire_kind { WIRE_CONTROL = 0, WIRE_DATA = 1 };

/* The first bytes of both sides. The place of magic and versions never changes. */
struct wire_hello {
    uint16_t version_min, version_max;
    uint8_t kind;
    uint8_t lane; /* control: how many data connections will follow; data: which one */
    uint16_t
        refusal; /* of the listener: 0, or a negated mob_status; a hint, as unproved */
    uint64_t node_id;
    uint64_t session; /* data: the control connection's; control: 0 */
    uint8_t nonce[WIRE_NONCE_BYTES];
};

void wire_hello_put(const struct wire_hello *hello, uint8_t out[WIRE_HELLO_BYTES]);

/* MOB_ERR_PROTOCOL: not a greeting of ours. MOB_ERR_VERSION: no version that both know;
 * then
 * @ret has the versions and nothing else. */
mob_status wire_hello_get(const uint8_t in[WIRE_HELLO_BYTES], struct wire_hello *ret);

/* What a key is used for. Different uses give unrelated bytes, so that a proof cannot be
 * turned back on who made it, and one direction's frames cannot be played into the other.
 */
enum wire_use {
    WIRE_USE_LISTENER_PROOF,
    WIRE_USE_DIALER_PROOF,
    WIRE_USE_SESSION,
    WIRE_USE_TO_LISTENER,
    WIRE_USE_TO_DIALER,
};

/* 32 bytes that only a holder of @key can make, for this use and this pair of greetings.
 */
void wire_derive(const uint8_t key[KEY_BYTES], enum wire_use use,
                 const uint8_t dialer[WIRE_HELLO_BYTES],
                 const uint8_t listener[WIRE_HELLO_BYTES], uint8_t out[WIRE_PROOF_BYTES]);

/* In constant time. */
bool wire_proof_equal(const uint8_t a[WIRE_PROOF_BYTES],
                      const uint8_t b[WIRE_PROOF_BYTES]);

/* The public name of a session. */
uint64_t wire_session_id(const uint8_t session_key[KEY_BYTES]);

enum wire_type {
    WIRE_WELCOME = 1, /* listener: the proof is right */
    WIRE_REFUSE,  /* listener: right, but no. offset: negated mob_status; payload: why */
    WIRE_MESSAGE, /* payload: the user's */
    WIRE_PULL,    /* id; offset: lane; payload: object, offset, size */
    WIRE_CANCEL,  /* id */
    WIRE_BYE,     /* nothing follows */
    WIRE_CHUNK,   /* on data connections: id, offset, sum; payload: object bytes */
    WIRE_FAIL,    /* on data connections: id; offset: negated mob_status */
};

struct wire_header {
    uint8_t type;
    uint32_t size; /* of the payload */
    uint64_t id;
    uint64_t offset;
    uint64_t sum; /* XXH3-64 of a chunk's payload; 0 in other frames */
};

/* One direction of one connection: its key, and how many frames went through. */
struct wire_seal {
    uint8_t key[KEY_BYTES];
    uint64_t sequence;
};

/* Writes the header with its tag, which covers the sequence number, the header and @size
 * bytes of @covered: the payload, or nothing for a chunk, whose sum is in the header. */
void wire_seal_put(struct wire_seal *seal, const struct wire_header *header,
                   const void *covered, size_t size, uint8_t out[WIRE_HEADER_BYTES]);

/* Reads a header and checks what can be checked before the payload is there: that the
 * type exists on this kind of connection and the size is one that it may have.
 * MOB_ERR_PROTOCOL. */
mob_status wire_header_get(const uint8_t in[WIRE_HEADER_BYTES], enum wire_kind kind,
                           struct wire_header *ret);

/* XXH3-64, with the widest vectors that this machine has. */
uint64_t wire_sum(const void *data, size_t size);

/* True if the tag is right for the next frame in this direction. */
bool wire_seal_check(struct wire_seal *seal, const uint8_t in[WIRE_HEADER_BYTES],
                     const void *covered, size_t size);

#endif
