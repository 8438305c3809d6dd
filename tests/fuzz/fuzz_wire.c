/* What a stranger, and then a peer, sends over TCP: greetings and frames, in the clear and encrypted.
 * Input: one byte of what it is, then the bytes. */
#include <string.h>

#include "fuzz.h"
#include "transport/transport.h"
#include "wire.h"

enum { HELLO, CONTROL, DATA, SEALED, KINDS };

const unsigned fuzz_rounds = 100000;

static const uint8_t key[KEY_BYTES] = {1};

static void hello(const uint8_t *bytes)
{
    struct wire_hello h, again;
    uint8_t back[WIRE_HELLO_BYTES];
    if (wire_hello_get(bytes, &h) != MOB_OK) {
        return;
    }
    FUZZ_CHECK(h.kind <= WIRE_DATA && h.node_id != 0);
    wire_hello_put(&h, back);
    FUZZ_CHECK(wire_hello_get(back, &again) == MOB_OK);
    FUZZ_CHECK(again.node_id == h.node_id && again.session == h.session &&
               again.kind == h.kind && again.lane == h.lane);
}

/* Without the key nothing of an encrypted head is believed, and no payload of any. */
static void frame(const uint8_t *bytes, size_t size, enum wire_kind kind, bool encrypt)
{
    struct wire_seal seal;
    struct wire_header header;
    uint8_t head[WIRE_HEAD_MAX] = {0};
    wire_seal_start(&seal, key, encrypt);
    size_t head_bytes = wire_head_bytes(&seal);
    memcpy(head, bytes, size < head_bytes ? size : head_bytes);
    if (wire_seal_head(&seal, head, kind, &header) != MOB_OK) {
        return;
    }
    FUZZ_CHECK(header.size <= MESSAGE_BYTES_MAX + TRANSPORT_PREFIX_MAX);
    if (size >= head_bytes && size - head_bytes >= header.size) {
        uint8_t *body = malloc(header.size + 1);
        FUZZ_CHECK(body != NULL);
        memcpy(body, bytes + head_bytes, header.size);
        (void)wire_seal_check(&seal, head, body, header.size);
        free(body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    switch (data[0] % KINDS) {
    case HELLO:
        if (size > WIRE_HELLO_BYTES) {
            hello(data + 1);
        }
        break;
    case CONTROL:
        frame(data + 1, size - 1, WIRE_CONTROL, false);
        break;
    case DATA:
        frame(data + 1, size - 1, WIRE_DATA, false);
        break;
    default:
        frame(data + 1, size - 1, WIRE_CONTROL, true);
        break;
    }
    return 0;
}

static void give_frame(fuzz_give give, uint8_t kind, uint8_t type, uint32_t body)
{
    struct wire_seal seal;
    uint8_t bytes[1 + WIRE_HEAD_MAX + 256] = {kind}, payload[256] = {7};
    struct wire_header h = {
        .type = type, .size = body, .id = 300, .offset = 2, .sum = 99};
    wire_seal_start(&seal, key, kind == SEALED);
    size_t head = wire_head_bytes(&seal);
    wire_seal_put(&seal, &h, payload, body, bytes + 1 + head, bytes + 1);
    if (kind != SEALED) {
        memcpy(bytes + 1 + head, payload, body);
    }
    give(bytes, 1 + head + body);
}

void fuzz_seeds(fuzz_give give)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        uint8_t bytes[1 + WIRE_HELLO_BYTES] = {HELLO};
        struct wire_hello h = {.version_min = WIRE_VERSION_MIN,
                               .version_max = WIRE_VERSION_MAX,
                               .kind = (uint8_t)kind,
                               .lane = 1,
                               .node_id = 4242,
                               .session = kind};
        wire_hello_put(&h, bytes + 1);
        give(bytes, sizeof bytes);
    }
    for (int of = WIRE_WELCOME; of <= WIRE_BYE; of++) {
        uint8_t type = (uint8_t)of;
        uint32_t body = type == WIRE_PULL                             ? WIRE_PULL_BYTES
                        : type == WIRE_MESSAGE || type == WIRE_REFUSE ? 100
                                                                      : 0;
        give_frame(give, CONTROL, type, body);
        give_frame(give, SEALED, type, body);
    }
    give_frame(give, DATA, WIRE_CHUNK, 200);
    give_frame(give, DATA, WIRE_END, 0);
}
