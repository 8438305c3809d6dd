/* addr.h - where a node listens: "HOST:PORT", "[::1]:6379", ":6379". */
#ifndef TRANSPORT_ADDR_H
#define TRANSPORT_ADDR_H

#include <mobula.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_TEXT_SIZE 64

struct addr {
    struct sockaddr_storage sa;
    socklen_t size;
};

enum addr_use {
    ADDR_LISTEN, /* no host: every address of this machine; port 0: any free one */
    ADDR_CONNECT /* no host: this machine; the port is not 0 */
};

/* @text: HOST:PORT where HOST is IPv4, IPv6 in brackets, or a name, which is looked up
 * and may block. MOB_ERR_INVALID: not of that form. MOB_ERR_NO_NODE: the name is not
 * known. */
mob_status addr_parse(const char *text, enum addr_use use, struct addr *ret);

/* What getsockname() and getpeername() gave, as text. An IPv4 address inside IPv6 is
 * shown as IPv4. Returns @text. */
char *addr_text(const struct addr *addr, char text[ADDR_TEXT_SIZE]);

/* The host as the 16 bytes of IPv6; IPv4 as what maps it there. */
void addr_ip6(const struct addr *addr, uint8_t ip[16]);
void addr_from_ip6(const uint8_t ip[16], uint16_t port, struct addr *ret);
/* Every address of this machine. */
bool addr_is_any(const struct addr *addr);
uint16_t addr_port(const struct addr *addr);
void addr_set_port(struct addr *addr, uint16_t port);

#endif
