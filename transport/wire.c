#include "wire.h"

#include <sodium.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "core/xxh3.h"
#include "transport/transport.h"

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
    codec_put_raw(&w, hello->nonce, sizeof hello->nonce);
    MOB_ASSERT(w.ok && codec_written(&w) == WIRE_HELLO_BYTES);
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
    const void *nonce = codec_get_raw(&r, WIRE_NONCE_BYTES);
    if (!codec_done(&r) || hello.kind > WIRE_DATA ||
        hello.version_min > hello.version_max || hello.node_id == 0) {
        return status_fail(MOB_ERR_PROTOCOL, "the peer's greeting is malformed");
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
        [WIRE_USE_LISTENER_PROOF] = "mobula 1 listener proof",
        [WIRE_USE_DIALER_PROOF] = "mobula 1 dialer proof",
        [WIRE_USE_SESSION] = "mobula 1 session key",
        [WIRE_USE_TO_LISTENER] = "mobula 1 to listener",
        [WIRE_USE_TO_DIALER] = "mobula 1 to dialer",
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
    static const uint8_t label[] = "mobula 1 session name";
    uint8_t out[crypto_generichash_BYTES_MIN];
    uint64_t id;
    crypto_generichash(out, sizeof out, label, sizeof label, session_key, KEY_BYTES);
    memcpy(&id, out, sizeof id);
    return id;
}

/* ---- frames
 * ------------------------------------------------------------------------------ */

enum { TAGGED_BYTES = WIRE_HEADER_BYTES - WIRE_TAG_BYTES };

static void tag(const struct wire_seal *seal, const uint8_t header[TAGGED_BYTES],
                const void *covered, size_t size, uint8_t out[WIRE_TAG_BYTES])
{
    uint8_t sequence[8];
    struct codec_writer w;
    crypto_generichash_state state;
    codec_writer_init(&w, sequence, sizeof sequence);
    codec_put_u64(&w, seal->sequence);
    crypto_generichash_init(&state, seal->key, KEY_BYTES, WIRE_TAG_BYTES);
    crypto_generichash_update(&state, sequence, sizeof sequence);
    crypto_generichash_update(&state, header, TAGGED_BYTES);
    if (size != 0) {
        crypto_generichash_update(&state, covered, size);
    }
    crypto_generichash_final(&state, out, WIRE_TAG_BYTES);
}

void wire_seal_put(struct wire_seal *seal, const struct wire_header *header,
                   const void *covered, size_t size, uint8_t out[WIRE_HEADER_BYTES])
{
    struct codec_writer w;
    codec_writer_init(&w, out, WIRE_HEADER_BYTES);
    codec_put_u8(&w, header->type);
    codec_put_u8(&w, 0);
    codec_put_u16(&w, 0);
    codec_put_u32(&w, header->size);
    codec_put_u64(&w, header->id);
    codec_put_u64(&w, header->offset);
    codec_put_u64(&w, header->sum);
    tag(seal, out, covered, size, out + TAGGED_BYTES);
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
    case WIRE_BYE:
        return control && h->size == 0;
    case WIRE_CHUNK:
        return !control && h->size <= CHUNK_BYTES;
    case WIRE_FAIL:
        return !control && h->size == 0;
    default:
        return false;
    }
}

mob_status wire_header_get(const uint8_t in[WIRE_HEADER_BYTES], enum wire_kind kind,
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

bool wire_seal_check(struct wire_seal *seal, const uint8_t in[WIRE_HEADER_BYTES],
                     const void *covered, size_t size)
{
    uint8_t want[WIRE_TAG_BYTES];
    tag(seal, in, covered, size, want);
    seal->sequence++;
    return sodium_memcmp(want, in + TAGGED_BYTES, WIRE_TAG_BYTES) == 0;
}

uint64_t wire_sum(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}
