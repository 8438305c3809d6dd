/* Text that people and files give: keys and addresses. Input: one byte of which, then the text. */
#include <string.h>

#include "fuzz.h"
#include "transport/addr.h"
#include "transport/key.h"

const unsigned fuzz_rounds = 100000;

enum { TEXT_MAX = 512 };

static void parse_key(const char *text, size_t size)
{
    struct key key, again;
    char back[KEY_TEXT_SIZE];
    if (key_parse(text, size, &key) == MOB_OK) {
        key_text(&key, back);
        FUZZ_CHECK(key_parse(back, strlen(back), &again) == MOB_OK);
        FUZZ_CHECK(memcmp(&key, &again, sizeof key) == 0);
    }
}

/* Behind a host that is a number: a name would be looked up. */
static void parse_addr(const char *host, const char *rest, enum addr_use use)
{
    struct addr addr, again;
    char text[TEXT_MAX + 16], back[ADDR_TEXT_SIZE];
    snprintf(text, sizeof text, "%s%s", host, rest);
    if (addr_parse(text, use, &addr) == MOB_OK) {
        FUZZ_CHECK(addr.size <= sizeof addr.sa);
        FUZZ_CHECK(strlen(addr_text(&addr, back)) < ADDR_TEXT_SIZE);
        FUZZ_CHECK(addr_parse(back, ADDR_LISTEN, &again) == MOB_OK);
        FUZZ_CHECK(addr_port(&again) == addr_port(&addr));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX];
    if (size == 0) {
        return 0;
    }
    size_t n = size - 1 < sizeof text - 1 ? size - 1 : sizeof text - 1;
    memcpy(text, data + 1, n);
    text[n] = '\0';
    switch (data[0] % 4) {
    case 0:
        parse_key(text, n);
        break;
    case 1:
        parse_addr("127.0.0.1:", text, ADDR_CONNECT);
        break;
    case 2: /* in brackets it is IPv6, or nothing: no name */
        if (strchr(text, ']') != NULL && strspn(text, "0123456789abcdefABCDEF:.") ==
                                             (size_t)(strchr(text, ']') - text)) {
            parse_addr("[", text, ADDR_LISTEN);
        }
        break;
    default:
        parse_addr(":", text, ADDR_LISTEN);
        break;
    }
    return 0;
}

void fuzz_seeds(fuzz_give give)
{
    char text[1 + KEY_TEXT_SIZE];
    struct key key;
    memset(&key, 0x5a, sizeof key);
    text[0] = 0;
    key_text(&key, text + 1);
    give(text, sizeof text - 1);
    static const char hex[] =
        "\0"
        " 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    static const char *const others[] = {"\1"
                                         "6379",
                                         "\2::1]:6379",
                                         "\2"
                                         "fe80::1]:1",
                                         "\3"
                                         "0",
                                         "\3"
                                         "65535"};
    give(hex, sizeof hex - 1);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        give(others[i], strlen(others[i]));
    }
}
