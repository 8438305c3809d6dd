#include "transport/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/status.h"
#include "core/text.h"

enum { HOST_SIZE = 256 };

static mob_status malformed(const char *text)
{
    return status_fail(
        MOB_ERR_INVALID,
        "'%s' is not an address: give HOST:PORT, [IPV6]:PORT or :PORT, with a "
        "port from 1 to 65535",
        text);
}

static void set_loopback(struct addr *a)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a->size = sizeof *in;
}

static void set_any(struct addr *a)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->sa;
    in6->sin6_family = AF_INET6; /* takes IPv4 too: the listener clears IPV6_V6ONLY */
    in6->sin6_addr = in6addr_any;
    a->size = sizeof *in6;
}

static mob_status look_up(const char *host, bool bracketed, enum addr_use use,
                          struct addr *a)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_family = bracketed ? AF_INET6 : AF_UNSPEC,
                             .ai_flags = (use == ADDR_LISTEN ? AI_PASSIVE : 0) |
                                         (bracketed ? AI_NUMERICHOST : 0)};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0) {
        return status_fail(MOB_ERR_NO_NODE, "the host '%s' is not known: %s", host,
                           gai_strerror(rc));
    }
    memcpy(&a->sa, list->ai_addr, list->ai_addrlen);
    a->size = list->ai_addrlen;
    freeaddrinfo(list);
    return MOB_OK;
}

mob_status addr_parse(const char *text, enum addr_use use, struct addr *ret)
{
    struct addr a;
    char host[HOST_SIZE];
    uint64_t port;
    memset(&a, 0, sizeof a);
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[';
    if (colon == NULL) {
        return malformed(text);
    }
    const char *from = text + bracketed, *to = colon - bracketed;
    if ((bracketed && (to <= from || *to != ']')) || (size_t)(to - from) >= sizeof host ||
        text_parse_u64(colon + 1, use == ADDR_CONNECT, UINT16_MAX, &port) != MOB_OK) {
        return malformed(text);
    }
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    if (!bracketed && strchr(host, ':') != NULL) {
        return malformed(text); /* IPv6 without brackets: which colon ends it? */
    }
    if (host[0] == '\0') {
        if (use == ADDR_LISTEN) {
            set_any(&a);
        } else {
            set_loopback(&a);
        }
    } else {
        MOB_TRY(look_up(host, bracketed, use, &a));
    }
    addr_set_port(&a, (uint16_t)port);
    *ret = a;
    return MOB_OK;
}

char *addr_text(const struct addr *addr, char text[ADDR_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (addr->sa.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&addr->sa)->sin_addr, host,
                  sizeof host);
        snprintf(text, ADDR_TEXT_SIZE, "%s:%u", host, addr_port(addr));
    } else if (addr->sa.ss_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)&addr->sa)->sin6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(in6);
        if (mapped) {
            inet_ntop(AF_INET, in6->s6_addr + 12, host, sizeof host);
        } else {
            inet_ntop(AF_INET6, in6, host, sizeof host);
        }
        snprintf(text, ADDR_TEXT_SIZE, mapped ? "%s:%u" : "[%s]:%u", host,
                 addr_port(addr));
    } else {
        snprintf(text, ADDR_TEXT_SIZE, "?");
    }
    return text;
}

void addr_ip6(const struct addr *addr, uint8_t ip[16])
{
    memset(ip, 0, 16);
    if (addr->sa.ss_family == AF_INET) {
        ip[10] = ip[11] = 0xff;
        memcpy(ip + 12, &((const struct sockaddr_in *)&addr->sa)->sin_addr, 4);
    } else {
        memcpy(ip, &((const struct sockaddr_in6 *)&addr->sa)->sin6_addr, 16);
    }
}

bool addr_is_any(const struct addr *addr)
{
    static const uint8_t any[16];
    uint8_t ip[16];
    addr_ip6(addr, ip);
    return memcmp(ip + 12, any, 4) == 0 &&
           (addr->sa.ss_family == AF_INET || memcmp(ip, any, 12) == 0);
}

void addr_from_ip6(const uint8_t ip[16], uint16_t port, struct addr *ret)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->sa;
    memset(ret, 0, sizeof *ret);
    in6->sin6_family = AF_INET6;
    memcpy(&in6->sin6_addr, ip, 16);
    in6->sin6_port = htons(port);
    ret->size = sizeof *in6;
}

uint16_t addr_port(const struct addr *addr)
{
    return ntohs(addr->sa.ss_family == AF_INET
                     ? ((const struct sockaddr_in *)&addr->sa)->sin_port
                     : ((const struct sockaddr_in6 *)&addr->sa)->sin6_port);
}

void addr_set_port(struct addr *addr, uint16_t port)
{
    if (addr->sa.ss_family == AF_INET) {
        ((struct sockaddr_in *)&addr->sa)->sin_port = htons(port);
    } else {
        ((struct sockaddr_in6 *)&addr->sa)->sin6_port = htons(port);
    }
}
