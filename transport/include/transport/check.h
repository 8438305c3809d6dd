/* check.h - whether RDMA works on this machine for this user, and if not, what to do.
 *
 * Looks at what the verbs backend will look at when it opens: the library, devices and
 * their files, ports, GIDs, the limit of locked memory, fork(). Nothing of it stays open. */
#ifndef TRANSPORT_CHECK_H
#define TRANSPORT_CHECK_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct verbs_lib;

#define CHECK_PORTS_MAX 16
#define CHECK_GIDS_MAX 64                /* of a port; those beyond are not looked at */
#define CHECK_TEXT_SIZE 240              /* of a sentence, with its NUL */
#define CHECK_REGISTER_BYTES (64u << 20) /* registered as a trial */

enum check_verdict {
    CHECK_RDMA, /* a port is usable */
    CHECK_TCP, /* no RDMA device here: objects move over TCP, and nothing is to be done */
    CHECK_FIX, /* there is one, and it cannot be used: fix says what to do */
};

struct check_gid {
    unsigned index;
    int rank; /* what it is worth; the first of the best is used */
    bool chosen;
    const char *type; /* "RoCE v2", "RoCE v1", "InfiniBand"; a constant */
    char address[INET6_ADDRSTRLEN];
    char netdev[IF_NAMESIZE]; /* that it belongs to; empty: none */
};

struct check_port {
    char device[64];
    unsigned port;
    bool usable, windows; /* windows: memory windows of type 2B, for --rdma=strict */
    char why[CHECK_TEXT_SIZE], fix[CHECK_TEXT_SIZE]; /* empty if it is usable */
    char note[CHECK_TEXT_SIZE];                      /* what could be better; or empty */
    const char *state, *link; /* "active", "down", ...; "Ethernet", "InfiniBand" */
    unsigned mtu, mtu_max;    /* bytes */
    uint32_t mbps;
    unsigned reads; /* READs at once that it answers */
    uint64_t registered_bytes,
        registered_ns; /* the trial; 0: it failed or was not made */
    unsigned gids_count;
    struct check_gid gids[CHECK_GIDS_MAX];
};

struct check_rdma {
    enum check_verdict verdict;
    char why[CHECK_TEXT_SIZE], fix[CHECK_TEXT_SIZE]; /* empty with CHECK_RDMA */
    bool library;
    char library_why[CHECK_TEXT_SIZE];
    unsigned kernel_devices;  /* as /sys/class/infiniband has them */
    unsigned library_devices; /* of those, the ones that the library has a driver for */
    uint64_t memlock_bytes;   /* that this user may lock; UINT64_MAX: any number */
    bool memlock_free;        /* CAP_IPC_LOCK: the limit does not count */
    const char *fork;         /* whether fork() is safe while memory is registered */
    unsigned ports_count;
    struct check_port ports[CHECK_PORTS_MAX];
};

struct check_config {
    const struct verbs_lib *verbs; /* NULL: the system's */
    const char *sysfs;             /* NULL: /sys/class/infiniband */
    const char *dev;               /* NULL: /dev/infiniband */
    bool strict;                   /* for --rdma=strict */
};

/* Never fails: what cannot be found out is a finding. Takes as long as registering
 * CHECK_REGISTER_BYTES on each device, some ten ms. */
void transport_check(const struct check_config *config, struct check_rdma *ret);

#endif
