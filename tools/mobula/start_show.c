#include "start.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "core/machine.h"
#include "core/text.h"

/* An address at which other machines reach this one: its first that is not local to it, IPv4 rather
 * than IPv6; else its name. */
static void own_address(char *buf, size_t size)
{
    struct ifaddrs *list = NULL;
    int best = 0;
    machine_hostname(buf, size);
    if (getifaddrs(&list) < 0) {
        return;
    }
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        int rank = family == AF_INET ? 2 : family == AF_INET6 ? 1 : 0;
        char host[NI_MAXHOST];
        socklen_t bytes =
            family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        if (rank <= best || i->ifa_flags & IFF_LOOPBACK || !(i->ifa_flags & IFF_UP) ||
            getnameinfo(i->ifa_addr, bytes, host, sizeof host, NULL, 0, NI_NUMERICHOST) !=
                0 ||
            strchr(host, '%')) { /* a link-local address means nothing elsewhere */
            continue;
        }
        best = rank;
        snprintf(buf, size, rank == 1 ? "[%.100s]" : "%.100s", host);
    }
    freeifaddrs(list);
}

/* The address to type on other machines: a node that listens everywhere says so, which is none. */
static const char *reachable(const json_t *node, char *buf, size_t size)
{
    const char *address = tool_str(node, "address"), *port = strrchr(address, ':');
    char host[128];
    if (!port ||
        (strncmp(address, "[::]:", 5) != 0 && strncmp(address, "0.0.0.0:", 8) != 0)) {
        return address;
    }
    own_address(host, sizeof host);
    snprintf(buf, size, "%s%s", host, port);
    return buf;
}

/* The lines to type on the next machine. */
static void print_invitation(const struct start *s, const char *address)
{
    char text[KEY_TEXT_SIZE];
    const char *encrypt = s->encrypt ? " --encrypt" : "";
    const char *unchecked = s->unchecked ? " --no-checksums" : "";
    printf("\nTo add a machine, type there:\n"
           "  echo '%s' | mobula start --address=%s --key-stdin%s%s\n"
           "or, with the same key in a file of mode 600 there:\n"
           "  MOBULA_KEY_FILE=FILE mobula start --address=%s%s%s\n",
           key_text(&s->key, text), address, encrypt, unchecked, address, encrypt,
           unchecked);
    key_wipe(text, sizeof text);
}

void start_show(const struct start *s, const json_t *node)
{
    char store[32], where[192];
    const char *address = reachable(node, where, sizeof where);
    text_bytes(tool_u64(node, "store_limit_bytes"), store, sizeof store);
    printf("mobula: node %s is ready%s\n", tool_str(node, "id"),
           s->head ? ", the head" : "");
    if (*address) {
        printf("  address       %s\n", address);
    }
    printf("  CPUs          %llu\n", (unsigned long long)tool_u64(node, "cpus"));
    printf("  object store  %s\n", store);
    printf("  folder        %s\n", tool_str(node, "dir"));
    if (s->head) {
        print_invitation(s, address);
    }
}
