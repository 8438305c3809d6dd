/* wire.h - the bytes on a connection: greetings, proofs, frame headers. No I/O, no state
 * but the sequence numbers of a seal. docs/WIRE.md draws the exchange,
 * README.md says what it protects. */
#ifndef TRANSPORT_WIRE_H
#define TRANSPORT_WIRE_H

#include <core/limits.h>
#include <mobula.h>
#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/key.h"

#define WIRE_VERSION_MIN 2
#define WIRE_VERSION_MAX 2
#define WIRE_HELLO_BYTES 64
#define WIRE_NONCE_BYTES 24
#define WIRE_PROOF_BYTES 32
#define WIRE_HEADER_BYTES 48 /* of a frame in the clear, with its tag */
#define WIRE_HEAD_MAX 64 /* of an encrypted one: the tag of its payload is in it too */
#define WIRE_TAG_BYTES 16
#define WIRE_PULL_BYTES 48  /* payload of WIRE_PULL: object, offset, size */
#define WIRE_REFUSE_MAX 256 /* payload of WIRE_REFUSE: a sentence */
#define WIRE_LANES_MAX 5    /* data connections of one peer */
#define WIRE_WINDOW 64      /* chunks sent beyond those that have landed in a row */

enum wire_kind { WIRE_CONTROL = 0, WIRE_DATA = 1 };

/* What a node can do, or insists on. A bit that is not known is refused. */
enum wire_caps {
    WIRE_CAP_ENCRYPT = 1,   /* everything after the proofs; both or neither */
    WIRE_CAP_UNCHECKED = 2, /* needs no sums of chunks; none are made if both say so */
    WIRE_CAPS_KNOWN = 3
};

/* The first bytes of both sides. The place of magic and versions never changes. */
struct wire_hello {
    uint16_t version_min, version_max;
    uint8_t kind;
    uint8_t lane; /* control: how many data connections will follow; data: which one */
    uint16_t
        refusal; /* of the listener: 0, or a negated mob_status; a hint, as unproved */
    uint64_t node_id; /* this incarnation's */
    uint64_t session; /* data: the control connection's; control: 0 */
    uint32_t caps;
    uint8_t nonce[WIRE_NONCE_BYTES];
};

/* Writes as well how this machine stores numbers and how large its chunks are: objects
 * hold numbers as they lie in memory. */
void wire_hello_put(const struct wire_hello *hello, uint8_t out[WIRE_HELLO_BYTES]);

/* MOB_ERR_PROTOCOL: not a greeting of ours. MOB_ERR_VERSION: no version that both know, a
 * capability that this node does not, another byte order or chunk size; then @ret has the
 * versions and nothing else. The message says which. */
mob_status wire_hello_get(const uint8_t in[WIRE_HELLO_BYTES], struct wire_hello *ret);

/* MOB_ERR_VERSION, and a sentence about @who: one side encrypts and the other does not. */
mob_status wire_agree(uint32_t ours, uint32_t theirs, const char *who);

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
    WIRE_PULL,    /* id; payload: object, offset, size */
    WIRE_CANCEL,  /* id */
    WIRE_FAIL,    /* id; offset: negated mob_status: no more of that pull comes */
    WIRE_ACK,     /* id; offset: chunks of it that have landed in a row */
    WIRE_BYE,     /* nothing follows */
    WIRE_CHUNK,   /* on data connections: id, offset, sum; payload: object bytes */
    WIRE_END,     /* on data connections: id; offset and sum: the root of its sums */
};

struct wire_header {
    uint8_t type;
    uint32_t size; /* of the payload */
    uint64_t id;
    uint64_t offset;
    uint64_t sum; /* XXH3-64 of a chunk's payload, half a root, or 0 */
};

/* One direction of one connection: its key, and how many frames went through. */
struct wire_seal {
    crypto_generichash_state start; /* of a tag: the key is in it */
    uint8_t key[KEY_BYTES];
    uint8_t body_tag[WIRE_TAG_BYTES]; /* encrypted: of the payload that is arriving */
    uint64_t sequence;
    bool encrypt;
};

void wire_seal_start(struct wire_seal *seal, const uint8_t key[KEY_BYTES], bool encrypt);

/* Bytes of a frame before its payload. */
static inline size_t wire_head_bytes(const struct wire_seal *seal)
{
    return seal->encrypt ? WIRE_HEAD_MAX : WIRE_HEADER_BYTES;
}

/* Writes the head of the next frame, wire_head_bytes() of it.
 * In the clear: with a tag over the sequence number, the header and @size bytes of @body:
 * the payload, or nothing for a chunk, whose sum is in the header.
 * Encrypted: hides the header, and the @size bytes of @body into @hidden, which may be
 * the same memory. */
void wire_seal_put(struct wire_seal *seal, const struct wire_header *header,
                   const void *body, size_t size, void *hidden, uint8_t *out);

/* Reads the head of the next frame and checks what can be checked before the payload is
 * there: that the type exists on this kind of connection, that the size is one that it may
 * have, and, encrypted, that the peer wrote it. May be called again for the same frame.
 * MOB_ERR_PROTOCOL. */
mob_status wire_seal_head(struct wire_seal *seal, const uint8_t *in, enum wire_kind kind,
                          struct wire_header *ret);

/* The rest of that frame: true if the peer sent it so. In the clear @body is what the tag
 * covers; encrypted it is the payload, and is made readable in its place. */
bool wire_seal_check(struct wire_seal *seal, const uint8_t *in, void *body, size_t size);

/* A frame whose payload was thrown away. */
static inline void wire_seal_skip(struct wire_seal *seal)
{
    seal->sequence++;
}

#endif
