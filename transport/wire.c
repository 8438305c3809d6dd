#include "wire.h"

#include <sodium.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "transport/transport.h"

enum { ORDER_LITTLE = 1, ORDER_BIG = 2, CHUNK_LOG2 = 20 };
_Static_assert(CHUNK_BYTES == 1u << CHUNK_LOG2, "the greeting names the size of chunks");
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTE_ORDER_HERE ORDER_LITTLE
#else
#define BYTE_ORDER_HERE ORDER_BIG
#endif

static const uint8_t magic[8] = {'M', 'O', 'B', 'U', 'L', 'A', '\r', '\n'};

void wire_hello_put(const struct wire_hello *hello, uint8_t out[WIRE_HELLO_BYTES])
{
    struct codec_writer w;
    codec_writer_init(&w, out, WIRE_HELLO_BYTES);
    codec_put_raw(&w, magic, sizeof magic);
    codec_put_u16(&w, hello->version_min);
    codec_put_u16(&w, hello->version_max);
    codec_put_u8(&w, hello->kind);
    codec_put_u8(&w, hello->lane);
    codec_put_u16(&w, hello->refusal);
    codec_put_u64(&w, hello->node_id);
    codec_put_u64(&w, hello->session);
    codec_put_u32(&w, hello->caps);
    codec_put_u8(&w, BYTE_ORDER_HERE);
    codec_put_u8(&w, CHUNK_LOG2);
    codec_put_u16(&w, 0);
    codec_put_raw(&w, hello->nonce, sizeof hello->nonce);
    MOB_ASSERT(w.ok && codec_written(&w) == WIRE_HELLO_BYTES);
}

static mob_status strangers(unsigned order, unsigned chunk_log2, uint32_t caps)
{
    if (order != BYTE_ORDER_HERE) {
        return status_fail(MOB_ERR_VERSION,
                           "the peer's machine stores numbers in another byte order: "
                           "objects cannot be shared with it");
    }
    if (chunk_log2 != CHUNK_LOG2) {
        return status_fail(MOB_ERR_VERSION,
                           "the peer was built with chunks of 2^%u bytes, this node with "
                           "2^%u: install the same build of mobula on both",
                           chunk_log2, CHUNK_LOG2);
    }
    return status_fail(MOB_ERR_VERSION,
                       "the peer insists on what this node does not know (capabilities "
                       "0x%x): install the same version of mobula on both",
                       (unsigned)(caps & ~(uint32_t)WIRE_CAPS_KNOWN));
}

mob_status wire_agree(uint32_t ours, uint32_t theirs, const char *who)
{
    bool we = ours & WIRE_CAP_ENCRYPT, they = theirs & WIRE_CAP_ENCRYPT;
    if (we == they) {
        return MOB_OK;
    }
    return status_fail(
        MOB_ERR_VERSION,
        "%s was started %s --encrypt and this node %s: start every node of "
        "the cluster with it, or none",
        who, they ? "with" : "without", we ? "with" : "without");
}

mob_status wire_hello_get(const uint8_t in[WIRE_HELLO_BYTES], struct wire_hello *ret)
{
    struct wire_hello hello = {0};
    struct codec_reader r;
    codec_reader_init(&r, in, WIRE_HELLO_BYTES);
    const void *start = codec_get_raw(&r, sizeof magic);
    if (start == NULL || memcmp(start, magic, sizeof magic) != 0) {
        return status_fail(MOB_ERR_PROTOCOL, "what answers there does not speak mobula");
    }
    hello.version_min = codec_get_u16(&r);
    hello.version_max = codec_get_u16(&r);
    if (hello.version_min > WIRE_VERSION_MAX || hello.version_max < WIRE_VERSION_MIN) {
        *ret = hello;
        return status_fail(
            MOB_ERR_VERSION,
            "the peer speaks protocol versions %u to %u, this node %u to %u: "
            "install the same version of mobula on both",
            hello.version_min, hello.version_max, WIRE_VERSION_MIN, WIRE_VERSION_MAX);
    }
    hello.kind = codec_get_u8(&r);
    hello.lane = codec_get_u8(&r);
    hello.refusal = codec_get_u16(&r);
    hello.node_id = codec_get_u64(&r);
    hello.session = codec_get_u64(&r);
    hello.caps = codec_get_u32(&r);
    unsigned order = codec_get_u8(&r), chunk_log2 = codec_get_u8(&r);
    unsigned zero = codec_get_u16(&r);
    const void *nonce = codec_get_raw(&r, WIRE_NONCE_BYTES);
    if (!codec_done(&r) || zero != 0 || hello.kind > WIRE_DATA ||
        hello.version_min > hello.version_max || hello.node_id == 0) {
        return status_fail(MOB_ERR_PROTOCOL, "the peer's greeting is malformed");
    }
    if (order != BYTE_ORDER_HERE || chunk_log2 != CHUNK_LOG2 ||
        (hello.caps & ~(uint32_t)WIRE_CAPS_KNOWN) != 0) {
        ret->version_min = hello.version_min;
        ret->version_max = hello.version_max;
        return strangers(order, chunk_log2, hello.caps);
    }
    memcpy(hello.nonce, nonce, WIRE_NONCE_BYTES);
    *ret = hello;
    return MOB_OK;
}

void wire_derive(const uint8_t key[KEY_BYTES], enum wire_use use,
                 const uint8_t dialer[WIRE_HELLO_BYTES],
                 const uint8_t listener[WIRE_HELLO_BYTES], uint8_t out[WIRE_PROOF_BYTES])
{
    static const char *const labels[] = {
        [WIRE_USE_LISTENER_PROOF] = "mobula 2 listener proof",
        [WIRE_USE_DIALER_PROOF] = "mobula 2 dialer proof",
        [WIRE_USE_SESSION] = "mobula 2 session key",
        [WIRE_USE_TO_LISTENER] = "mobula 2 to listener",
        [WIRE_USE_TO_DIALER] = "mobula 2 to dialer",
    };
    crypto_generichash_state state;
    const char *label = labels[use];
    crypto_generichash_init(&state, key, KEY_BYTES, WIRE_PROOF_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)label, strlen(label) + 1);
    crypto_generichash_update(&state, dialer, WIRE_HELLO_BYTES);
    crypto_generichash_update(&state, listener, WIRE_HELLO_BYTES);
    crypto_generichash_final(&state, out, WIRE_PROOF_BYTES);
    sodium_memzero(&state, sizeof state);
}

bool wire_proof_equal(const uint8_t a[WIRE_PROOF_BYTES],
                      const uint8_t b[WIRE_PROOF_BYTES])
{
    return sodium_memcmp(a, b, WIRE_PROOF_BYTES) == 0;
}

uint64_t wire_session_id(const uint8_t session_key[KEY_BYTES])
{
    static const uint8_t label[] = "mobula 2 session name";
    uint8_t out[crypto_generichash_BYTES_MIN];
    uint64_t id;
    crypto_generichash(out, sizeof out, label, sizeof label, session_key, KEY_BYTES);
    memcpy(&id, out, sizeof id);
    return id;
}

/* ---- frames
 * ------------------------------------------------------------------------------ */

enum { TAGGED_BYTES = WIRE_HEADER_BYTES - WIRE_TAG_BYTES };

/* The parts of a frame: each is encrypted under a nonce of its own. */
enum { PART_HEAD, PART_BODY };

void wire_seal_start(struct wire_seal *seal, const uint8_t key[KEY_BYTES], bool encrypt)
{
    memcpy(seal->key, key, KEY_BYTES);
    seal->sequence = 0;
    seal->encrypt = encrypt;
    crypto_generichash_init(&seal->start, key, KEY_BYTES, WIRE_TAG_BYTES);
}

static void header_put(const struct wire_header *header, uint8_t out[TAGGED_BYTES])
{
    struct codec_writer w;
    codec_writer_init(&w, out, TAGGED_BYTES);
    codec_put_u8(&w, header->type);
    codec_put_u8(&w, 0);
    codec_put_u16(&w, 0);
    codec_put_u32(&w, header->size);
    codec_put_u64(&w, header->id);
    codec_put_u64(&w, header->offset);
    codec_put_u64(&w, header->sum);
    MOB_ASSERT(w.ok && codec_written(&w) == TAGGED_BYTES);
}

static void tag(const struct wire_seal *seal, const uint8_t header[TAGGED_BYTES],
                const void *covered, size_t size, uint8_t out[WIRE_TAG_BYTES])
{
    uint8_t begin[8 + TAGGED_BYTES];
    struct codec_writer w;
    crypto_generichash_state state = seal->start;
    codec_writer_init(&w, begin, sizeof begin);
    codec_put_u64(&w, seal->sequence);
    codec_put_raw(&w, header, TAGGED_BYTES);
    crypto_generichash_update(&state, begin, sizeof begin);
    if (size != 0) {
        crypto_generichash_update(&state, covered, size);
    }
    crypto_generichash_final(&state, out, WIRE_TAG_BYTES);
}

/* Each number once under a key: no frame of a connection has the sequence number of
 * another. */
static void nonce_put(const struct wire_seal *seal, uint32_t part,
                      uint8_t out[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
    struct codec_writer w;
    codec_writer_init(&w, out, crypto_aead_chacha20poly1305_ietf_NPUBBYTES);
    codec_put_u64(&w, seal->sequence);
    codec_put_u32(&w, part);
}

static void hide(const struct wire_seal *seal, uint32_t part, const void *plain,
                 size_t size, uint8_t *out, uint8_t tag_out[WIRE_TAG_BYTES])
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    nonce_put(seal, part, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt_detached(out, tag_out, NULL, plain, size,
                                                       NULL, 0, NULL, nonce, seal->key);
}

static bool unhide(const struct wire_seal *seal, uint32_t part, const uint8_t *hidden,
                   size_t size, const uint8_t tag_in[WIRE_TAG_BYTES], uint8_t *out)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    nonce_put(seal, part, nonce);
    return crypto_aead_chacha20poly1305_ietf_decrypt_detached(
               out, NULL, hidden, size, tag_in, NULL, 0, nonce, seal->key) == 0;
}

void wire_seal_put(struct wire_seal *seal, const struct wire_header *header,
                   const void *body, size_t size, void *hidden, uint8_t *out)
{
    if (seal->encrypt) {
        uint8_t plain[TAGGED_BYTES + WIRE_TAG_BYTES] = {0};
        header_put(header, plain);
        if (size != 0) {
            hide(seal, PART_BODY, body, size, hidden, plain + TAGGED_BYTES);
        }
        hide(seal, PART_HEAD, plain, sizeof plain, out, out + sizeof plain);
    } else {
        header_put(header, out);
        tag(seal, out, body, size, out + TAGGED_BYTES);
    }
    seal->sequence++;
}

static bool size_fits(const struct wire_header *h, enum wire_kind kind)
{
    bool control = kind == WIRE_CONTROL;
    switch (h->type) {
    case WIRE_WELCOME:
        return h->size == 0;
    case WIRE_REFUSE:
        return h->size <= WIRE_REFUSE_MAX;
    case WIRE_MESSAGE:
        return control && h->size <= MESSAGE_BYTES_MAX + TRANSPORT_PREFIX_MAX;
    case WIRE_PULL:
        return control && h->size == WIRE_PULL_BYTES;
    case WIRE_CANCEL:
    case WIRE_FAIL:
    case WIRE_ACK:
    case WIRE_BYE:
        return control && h->size == 0;
    case WIRE_CHUNK:
        return !control && h->size <= CHUNK_BYTES;
    case WIRE_END:
        return !control && h->size == 0;
    default:
        return false;
    }
}

static mob_status header_get(const uint8_t in[TAGGED_BYTES], enum wire_kind kind,
                             struct wire_header *ret)
{
    struct wire_header h;
    struct codec_reader r;
    codec_reader_init(&r, in, TAGGED_BYTES);
    h.type = codec_get_u8(&r);
    unsigned zero = codec_get_u8(&r);
    zero |= codec_get_u16(&r);
    h.size = codec_get_u32(&r);
    h.id = codec_get_u64(&r);
    h.offset = codec_get_u64(&r);
    h.sum = codec_get_u64(&r);
    if (!codec_done(&r) || zero != 0 || !size_fits(&h, kind)) {
        return status_fail(MOB_ERR_PROTOCOL,
                           "a frame of type %u with %u bytes is malformed", h.type,
                           h.size);
    }
    *ret = h;
    return MOB_OK;
}

mob_status wire_seal_head(struct wire_seal *seal, const uint8_t *in, enum wire_kind kind,
                          struct wire_header *ret)
{
    uint8_t plain[TAGGED_BYTES + WIRE_TAG_BYTES];
    if (!seal->encrypt) {
        return header_get(in, kind, ret);
    }
    if (!unhide(seal, PART_HEAD, in, sizeof plain, in + sizeof plain, plain)) {
        return status_fail(MOB_ERR_PROTOCOL, "a frame whose seal is wrong");
    }
    MOB_TRY(header_get(plain, kind, ret));
    memcpy(seal->body_tag, plain + TAGGED_BYTES, WIRE_TAG_BYTES);
    return MOB_OK;
}

bool wire_seal_check(struct wire_seal *seal, const uint8_t *in, void *body, size_t size)
{
    uint8_t want[WIRE_TAG_BYTES];
    bool right = true;
    if (!seal->encrypt) {
        tag(seal, in, body, size, want);
        right = sodium_memcmp(want, in + TAGGED_BYTES, WIRE_TAG_BYTES) == 0;
    } else if (size != 0) {
        right = unhide(seal, PART_BODY, body, size, seal->body_tag, body);
    }
    seal->sequence++;
    return right;
}
