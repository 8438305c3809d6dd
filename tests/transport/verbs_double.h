/* verbs_double.h - libibverbs as verbs_lib.h has it, in one process: deterministic,
 * seeded, and as strict as devices are, with faults to order.
 *
 * A double is a fabric of hosts, each with devices of one port. A host's library is a
 * table of functions of its own. Everything happens in virtual time, in steps of a
 * fake_net: a READ moves in pieces, so that it may land in part before it fails, and late.
 *
 * What no program may do aborts with a sentence: a send queue, completion queue or shared
 * receive queue that overflows; a call that would block for ever (an event not
 * acknowledged, an event asked of an fd in blocking mode that has none); a device that
 * touches guarded memory; something destroyed twice. What programs may get wrong gives
 * the error that devices give: EINVAL for attributes and transitions, EBUSY for what is
 * in use, completions for the rest.
 *
 * One double at a time in a process. One thread. */
#ifndef TESTS_VERBS_DOUBLE_H
#define TESTS_VERBS_DOUBLE_H

#include "transport/fake.h"
#include "verbs_lib.h"

enum {
    VERBS_HOSTS = 72,
    VERBS_DEVICES = 2, /* of a host */
    VERBS_GIDS = 8,    /* of a port */
    VERBS_FAULTS = 16, /* ordered at once */
    VERBS_MTU_BYTES = 4096,
};

/* What a device is: set before it is opened; port.state and gids at any time. */
struct verbs_double_device {
    char name[32];
    struct ibv_device_attr attr; /* max_mr_size, max_qp_rd_atom, max_mw, device_cap_flags
                                    (IBV_DEVICE_MEM_WINDOW_TYPE_2B), max_cqe, ... */
    struct ibv_port_attr port;   /* state, link_layer, active_mtu, max_msg_sz, ... */
    struct ibv_gid_entry gids[VERBS_GIDS];
    uint32_t max_inline; /* bytes; create_qp that asks for more fails */
    bool last_wqe;       /* tells IBV_EVENT_QP_LAST_WQE_REACHED; rxe does not */
};

struct verbs_double_host {
    unsigned devices; /* at first 1; 0: none */
    struct verbs_double_device device[VERBS_DEVICES];
    uint64_t memlock; /* bytes that may be registered; beyond it ENOMEM */
    uint64_t mr_room; /* reg_mr succeeds this often, then ENOMEM */
    uint64_t qp_room; /* create_qp likewise */
    int fork_status;  /* enum ibv_fork_status */
};

/* Objects that a host has not destroyed. */
struct verbs_double_count {
    unsigned contexts, pds, mrs, mws, channels, cqs, srqs, qps;
};

enum verbs_fault_kind {
    VERBS_STATUS,       /* the work request completes with .status; a READ has landed in
                           part, a SEND may have been delivered */
    VERBS_LATE,         /* ends .delay_ns later */
    VERBS_TWICE,        /* its completion comes again, .delay_ns later */
    VERBS_NEVER,        /* it moves, but never completes until its QP is in ERR */
    VERBS_QP_DIES,      /* its QP goes to ERR by itself */
    VERBS_FLIP,         /* a bit of what a READ landed is wrong; it succeeds */
    VERBS_DEVICE_FATAL, /* its device is dead: no completion comes any more */
    VERBS_PORT_DOWN,    /* until verbs_double_port_up() */
    VERBS_REMOVED,      /* its device is removed, as verbs_double_remove() does */
    VERBS_TORN_OUT,     /* likewise, and it is dead at once */
};

/* Which work requests are counted. */
enum {
    VERBS_SEND = 1,
    VERBS_READ = 2,
    VERBS_BIND = 4,
    VERBS_INV = 8,
    VERBS_RECV = 16, /* as they complete: VERBS_STATUS, VERBS_TWICE alone */
    VERBS_ANY = 31,
};

struct verbs_double_fault {
    enum verbs_fault_kind kind;
    int host;       /* whose work request; -1: of any host */
    unsigned which; /* VERBS_SEND | ... */
    uint64_t after; /* so many others go before it */
    enum ibv_wc_status status;
    uint64_t delay_ns;
};

struct verbs_double;

/* Its events run on @net, which outlives it. Every host has one device: 100 Gb/s, RoCE,
 * three GIDs (link-local v1, v2 of it, v2 of 10.7.0.HOST), type 2B windows, READ depth 16.
 * Aborts without memory. */
struct verbs_double *verbs_double_create(struct fake_net *net, uint64_t seed);
/* Nothing is left of any host (asserted). NULL is allowed. */
void verbs_double_destroy(struct verbs_double *d);

const struct verbs_lib *verbs_double_lib(struct verbs_double *d, unsigned host);
struct verbs_double_host *verbs_double_host(struct verbs_double *d, unsigned host);
void verbs_double_count(const struct verbs_double *d, unsigned host,
                        struct verbs_double_count *ret);

/* Entry @index of the GID table: @text an IPv6 address, or IPv4 for ::ffff:a.b.c.d.
 * @type: enum ibv_gid_type. */
void verbs_double_gid(struct verbs_double_device *device, unsigned index,
                      const char *text, uint32_t type, uint32_t ifindex);

/* Tells who has the device open that its GIDs are others. */
void verbs_double_gids_changed(struct verbs_double *d, unsigned host, unsigned device);

/* ---- faults
 * ------------------------------------------------------------------------------ */

void verbs_double_fault(struct verbs_double *d, const struct verbs_double_fault *fault);
/* How many of the ordered faults have happened. Those that have not are forgotten by
 * verbs_double_calm(). */
unsigned verbs_double_fired(const struct verbs_double *d);
void verbs_double_calm(struct verbs_double *d);

void verbs_double_device_fatal(struct verbs_double *d, unsigned host, unsigned device);
void verbs_double_port_down(struct verbs_double *d, unsigned host, unsigned device);
void verbs_double_port_up(struct verbs_double *d, unsigned host, unsigned device);
/* Software RDMA: it is not to be had any more, though it works until it is closed. */
void verbs_double_remove(struct verbs_double *d, unsigned host, unsigned device);
/* A device in its place. Nobody has the old one open (else aborts). */
void verbs_double_put_back(struct verbs_double *d, unsigned host, unsigned device);
/* The process is gone: as if all its devices were fatal, without an event. */
void verbs_double_kill(struct verbs_double *d, unsigned host);
/* Every QP of the host goes to ERR by itself. */
void verbs_double_qps_die(struct verbs_double *d, unsigned host);

/* Each piece of a READ and each message takes between @min_ns and @max_ns. At first: 500
 * to 5000. */
void verbs_double_delay(struct verbs_double *d, uint64_t min_ns, uint64_t max_ns);

/* From now on no device of @host may read or write there: it aborts. The other takes back
 * all guards that lie in the range, be it in part. */
void verbs_double_guard(struct verbs_double *d, unsigned host, const void *base,
                        uint64_t size);
void verbs_double_unguard(struct verbs_double *d, unsigned host, const void *base,
                          uint64_t size);

/* Bytes of the host's memory that somebody else could read now. */
uint64_t verbs_double_readable(const struct verbs_double *d, unsigned host);

/* What moved so far, of all hosts. */
uint64_t verbs_double_read_bytes(const struct verbs_double *d);
uint64_t verbs_double_messages(const struct verbs_double *d);

#endif
