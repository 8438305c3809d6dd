/* where.c - which node a program joins: the one it names, the one of this machine, or one of its own.
 *
 * HOST:PORT names a cluster by its head. The program joins the node of this machine, which must be of that
 * cluster: tasks that run where nobody meant them to are worse than an error. */
#include <arpa/inet.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "core/status.h"
#include "core/text.h"
#include "local.h"

enum { HOST_SIZE = 256 };

static mob_status connect_default(int *ret)
{
    char state[PATH_MAX], dir[PATH_MAX + 16];
    MOB_TRY(local_state_dir(state, sizeof state, 0));
    snprintf(dir, sizeof dir, "%s/node", state);
    return local_connect(dir, ret);
}

/* ---- the same head? ----------------------------------------------------------------------------------- */

static void to_ip6(const struct sockaddr *sa, struct in6_addr *ret)
{
    memset(ret, 0, sizeof *ret);
    if (sa->sa_family == AF_INET6) {
        *ret = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
    } else if (sa->sa_family == AF_INET) {
        ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
        memcpy(ret->s6_addr + 12,
               &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    }
}

/* True if it is an address of this machine: only such a one can be had for a socket of ours. */
static bool is_here(const struct in6_addr *ip)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = *ip};
    bool four = IN6_IS_ADDR_V4MAPPED(ip);
    memcpy(&in.sin_addr, ip->s6_addr + 12, 4);
    if (IN6_IS_ADDR_UNSPECIFIED(ip)) {
        return true;
    }
    int sock = socket(four ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool here = sock >= 0 && bind(sock,
                                  four ? (const struct sockaddr *)(const void *)&in
                                       : (const struct sockaddr *)(const void *)&in6,
                                  four ? sizeof in : sizeof in6) == 0;
    if (sock >= 0) {
        close(sock);
    }
    return here;
}

static bool same_host(const struct in6_addr *a, const struct in6_addr *b)
{
    return memcmp(a, b, sizeof *a) == 0 || (is_here(a) && is_here(b));
}

/* HOST:PORT, [IPV6]:PORT, or :PORT for this machine. */
static mob_status split(const char *address, char host[HOST_SIZE], uint64_t *ret_port)
{
    const char *colon = strrchr(address, ':');
    size_t size = colon ? (size_t)(colon - address) : 0;
    bool brackets = size > 1 && address[0] == '[' && address[size - 1] == ']';
    const char *from = address + brackets;
    size -= brackets ? 2 : 0;
    if (!colon || size >= HOST_SIZE || (!brackets && memchr(from, ':', size)) ||
        text_parse_u64(colon + 1, 1, UINT16_MAX, ret_port)) {
        return status_fail(MOB_ERR_INVALID,
                           "'%s' is neither the HOST:PORT of a cluster's head nor the "
                           "folder of a node",
                           address);
    }
    memcpy(host, from, size);
    host[size] = '\0';
    return MOB_OK;
}

/* True if one of the host's addresses is the head's. */
static mob_status is_head(const char *address, const struct local_msg *head, bool *ret)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct in6_addr ip, head_ip;
    char host[HOST_SIZE];
    uint64_t port;
    MOB_TRY(split(address, host, &port));
    *ret = false;
    if (port != head->arg[3]) {
        return MOB_OK;
    }
    memcpy(&head_ip, &head->arg[1], sizeof head_ip);
    int rc = getaddrinfo(host[0] ? host : "localhost", NULL, &hints, &list);
    if (rc) {
        return status_fail(MOB_ERR_NO_NODE,
                           "the host of the cluster at %s is not known: %s", address,
                           gai_strerror(rc));
    }
    for (const struct addrinfo *a = list; a && !*ret; a = a->ai_next) {
        to_ip6(a->ai_addr, &ip);
        *ret = same_host(&ip, &head_ip);
    }
    freeaddrinfo(list);
    return MOB_OK;
}

static mob_status check_head(const char *address, const struct local_msg *head)
{
    bool same = strcmp(address, head->text) == 0;
    if (!same) {
        MOB_TRY(is_head(address, head, &same));
    }
    if (same) {
        return MOB_OK;
    }
    if (!head->text[0]) {
        return status_fail(
            MOB_ERR_NO_NODE,
            "the node on this machine is of no cluster, and not of the one "
            "at %s; `mobula stop` it, and start one with --address=%s",
            address, address);
    }
    return status_fail(MOB_ERR_NO_NODE,
                       "the node on this machine is of the cluster whose head is at %s, "
                       "and not of the one at %s; give the folder of the node that is "
                       "meant, or `mobula stop` this one",
                       head->text, address);
}

/* Asks the node that it is connected to which cluster it is of. */
static mob_status ask_cluster(struct mob *mob, const char *address)
{
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    client_limit_answer(mob, HELLO_S);
    client_hello(m, LOCAL_TOOL);
    mob_status st = client_ask(mob, m, NULL, 0, NULL, NULL);
    if (!st) {
        local_msg_init(m, LOCAL_CLUSTER);
        st = client_ask(mob, m, NULL, 0, NULL, NULL);
    }
    st = st ? st : check_head(address, m);
    free(m);
    return st;
}

/* ---- which node --------------------------------------------------------------------------------------- */

static mob_status connect_cluster(struct mob *mob, const char *address)
{
    char host[HOST_SIZE];
    uint64_t port;
    MOB_TRY(split(address, host, &port));
    mob_status st = connect_default(&mob->sock);
    if (st == MOB_ERR_NO_NODE) {
        st = status_fail(st,
                         "no node of the cluster at %s runs on this machine; start one "
                         "with `mobula start --address=%s`",
                         address, address);
    }
    MOB_TRY(st);
    st = ask_cluster(mob, address);
    close(mob->sock); /* a connection is a tool's or a driver's */
    mob->sock = -1;
    return st ? st : connect_default(&mob->sock);
}

mob_status client_connect(struct mob *mob, const struct mob_config *config, int *ret_why)
{
    const char *address = config->address;
    if (!address || !*address) {
        address = getenv("MOBULA_ADDRESS");
    }
    *ret_why = -1;
    if (address && strchr(address, '/')) {
        return local_connect(address, &mob->sock);
    }
    if (address && *address) {
        return connect_cluster(mob, address);
    }
    mob_status st = connect_default(&mob->sock);
    return st == MOB_ERR_NO_NODE ? embedded_start(mob, config, ret_why) : st;
}
