/* verbs_double_in.h - the inside of the double of libibverbs. */
#ifndef TESTS_VERBS_DOUBLE_IN_H
#define TESTS_VERBS_DOUBLE_IN_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verbs_double.h"

enum {
    SGES_MAX = 4, /* of a work request */
    INLINE_MAX = 512,
    PIECES_MAX = 4, /* of a READ */
};

struct dev {
    struct ibv_device base;
    struct host *host;
    struct verbs_double_device *conf;
    struct qp *qps;
    struct ctx *ctxs;
    uint32_t next_qpn;
    bool fatal, removed;
    unsigned times; /* that it was put back */
};

struct guard {
    struct guard *next;
    uintptr_t base, end;
};

struct host {
    struct verbs_double *d;
    unsigned index;
    bool dead;
    struct verbs_double_host conf;
    struct verbs_lib lib;
    struct dev devs[VERBS_DEVICES];
    struct verbs_double_count count;
    struct guard *guards;
    uint64_t locked; /* bytes registered */
    int watch;       /* an eventfd; -1: nobody watches */
};

struct ordered {
    struct verbs_double_fault fault;
    bool armed;
};

/* A completion that comes again. */
struct again {
    struct fake_timer timer;
    struct again *next;
    struct cq *cq;
    struct ibv_wc wc;
};

struct verbs_double {
    struct fake_net *net;
    uint64_t random, delay_min_ns, delay_max_ns;
    struct ordered faults[VERBS_FAULTS];
    unsigned fired;
    uint64_t read_bytes, messages;
    struct region *regions;
    struct again *agains;
    uint32_t next_key_index;
    struct host hosts[VERBS_HOSTS];
};

struct async {
    struct async *next;
    struct ibv_async_event event;
};

struct ctx {
    struct ibv_context base;
    struct dev *dev;
    struct ctx *next;
    struct async *events;
    unsigned children; /* PDs, channels, CQs */
};

struct pd {
    struct ibv_pd base;
    unsigned children; /* MRs, windows, QPs, SRQs */
};

/* A memory region, or a type 2B window on one. */
struct region {
    struct region *next;
    struct pd *pd;
    uint32_t key; /* rkey, and an MR's lkey */
    uintptr_t base;
    uint64_t size;
    unsigned access;
    unsigned windows;  /* of an MR: bound to it */
    struct mw *mw;     /* NULL: an MR */
    struct region *of; /* a window's MR; NULL: not bound */
    struct qp *qp;     /* a window's: no other may use it */
};
struct mr {
    struct ibv_mr base;
    struct region region;
};
struct mw {
    struct ibv_mw base;
    struct region region;
};

struct channel {
    struct ibv_comp_channel base;
    unsigned cqs;
    struct cq *first; /* with an event, by next_event */
};

struct cqe {
    struct ibv_wc wc;
    struct qp *qp; /* whose send queue slots it frees; NULL: none */
    uint64_t number;
    bool extra; /* it comes again: not in what the queue was made for */
};

struct cq {
    struct ibv_cq base;
    struct channel *channel;
    unsigned users; /* QPs */
    int room;
    struct cqe *ring; /* of twice the room: completions that come again need some */
    unsigned head, used, extra;
    bool armed, solicited_only;
    struct cq *next_event;
    unsigned events, unacked;
};

struct recv {
    uint64_t wr_id;
    struct ibv_sge sge[SGES_MAX];
    int count;
};

struct srq {
    struct ibv_srq base;
    struct pd *pd;
    unsigned users, room, head, used;
    struct recv *ring;
};

enum wr_state { WR_QUEUED, WR_STARTED, WR_DONE };

struct wr {
    struct fake_timer timer;
    struct wr *next;
    struct qp *qp;
    uint64_t wr_id, number;
    enum ibv_wr_opcode opcode;
    unsigned flags;
    struct ibv_sge sge[SGES_MAX];
    int count;
    uint32_t length;
    uint64_t remote;
    uint32_t rkey;
    struct ibv_mw *mw;
    struct ibv_mw_bind_info bind;
    enum wr_state state;
    enum ibv_wc_status status;
    uint32_t landed; /* bytes of a READ */
    uint32_t piece;
    bool delivered; /* a SEND */
    unsigned tries, rnr_tries;
    bool faulty;
    struct verbs_double_fault fault;
    uint32_t fails_at; /* bytes that land before the ordered status */
    uint8_t data[];    /* inline */
};

struct qp {
    struct ibv_qp base;
    struct dev *dev;
    struct qp *next; /* of the device */
    struct pd *pd;
    struct cq *send_cq, *recv_cq;
    struct srq *srq;
    struct ibv_qp_cap cap;
    bool signal_all;
    enum ibv_qp_state state;
    struct ibv_qp_attr attr;
    struct dev *to; /* where its packets go, from RTR on */
    uint32_t gid_type;
    struct wr *first, **last;
    unsigned reads;         /* in flight */
    unsigned unacked;       /* asynchronous events */
    uint64_t posted, freed; /* work requests; slots of the send queue given back */
    struct fake_timer flush;
};

/* Says what was done that no program may do, and aborts. */
void vd_abort(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static inline struct dev *vd_dev(const struct ibv_context *context)
{
    return ((const struct ctx *)context)->dev;
}
static inline struct verbs_double *vd_of(const struct dev *dev)
{
    return dev->host->d;
}
static inline struct verbs_double_count *vd_count(const struct ibv_context *context)
{
    return &vd_dev(context)->host->count;
}
static inline void *vd_null(int err)
{
    errno = err;
    return NULL;
}
void *vd_new(size_t size);
uint64_t vd_draw(struct verbs_double *d);
uint64_t vd_delay(struct verbs_double *d); /* ns */
static inline uint64_t vd_now(const struct verbs_double *d)
{
    return fake_net_now_ns(d->net);
}

/* verbs_double_event.c. vd_async(): @qp is NULL for what is of the port or device. */
bool vd_blocks(int fd); /* it is in blocking mode */
void vd_signal(int fd); /* one more event */
void vd_take(int fd);
void vd_async(struct dev *dev, enum ibv_event_type type, struct qp *qp);
int vd_get_async_event(struct ibv_context *context, struct ibv_async_event *ret);
void vd_ack_async_event(struct ibv_async_event *event);
void vd_forget_async(struct qp *qp);

/* verbs_double.c: the device that has the GID; NULL: none. @type: its type. */
struct dev *vd_find_gid(struct verbs_double *d, const union ibv_gid *gid, uint32_t type);

/* verbs_double_mem.c */
void vd_mem_lib(struct verbs_lib *lib);
/* Whether the QP's host may read or write there by its local key. */
bool vd_local(const struct qp *qp, const struct ibv_pd *pd, const struct ibv_sge *sge,
              bool write);
/* Whether what comes in at @qp may read there. */
bool vd_remote(const struct qp *qp, uint32_t rkey, uint64_t addr, uint64_t size);
enum ibv_wc_status vd_bind(struct qp *qp, const struct wr *wr);
enum ibv_wc_status vd_invalidate(struct qp *qp, uint32_t rkey);
void vd_unbind_all(struct qp *qp);
bool vd_binds(const struct qp *qp); /* a window to it */
/* Aborts if the bytes are guarded. */
void vd_check_guard(const struct host *host, uint64_t addr, uint64_t size,
                    const char *what);

/* verbs_double_cq.c */
void vd_cq_lib(struct verbs_lib *lib);
void vd_complete(struct cq *cq, const struct ibv_wc *wc, struct qp *qp, uint64_t number,
                 bool extra);
void vd_forget_qp(struct cq *cq, const struct qp *qp);
/* The next receive of @srq; false: there is none. */
bool vd_take_recv(struct srq *srq, struct recv *ret);

/* verbs_double_qp.c */
void vd_qp_lib(struct verbs_lib *lib);
void vd_qp_error(struct qp *qp);
void vd_qp_stop(struct qp *qp); /* its device is dead */
/* The QP at the other end; NULL: packets do not get there. */
struct qp *vd_peer(const struct qp *qp);
void vd_wc(struct ibv_wc *wc, const struct qp *qp, uint64_t wr_id,
           enum ibv_wc_status status, enum ibv_wc_opcode opcode, uint32_t bytes);

/* verbs_double_wr.c */
int vd_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
void vd_drop(struct qp *qp, bool complete);
void vd_linger(struct qp *qp);
/* @wr has ended: it completes when all before it have. */
void vd_done(struct wr *wr, enum ibv_wc_status status);
static inline bool vd_has(const struct wr *wr, enum verbs_fault_kind kind)
{
    return wr->faulty && wr->fault.kind == kind;
}

/* verbs_double_move.c */
void vd_in(struct wr *wr, uint64_t ns); /* its next step */
/* Starts what may start, in order. */
void vd_pump(struct qp *qp);

/* verbs_double_fault.c: gives @wr its fault, if one is due. */
void vd_fault_wr(struct wr *wr);
/* One is due for a receive that completes on @qp: what becomes of it. */
bool vd_fault_recv(struct qp *qp, struct verbs_double_fault *ret);
/* @wc comes again, @delay_ns later. */
void vd_again(struct verbs_double *d, struct cq *cq, const struct ibv_wc *wc,
              uint64_t delay_ns);
void vd_forget_agains(struct verbs_double *d, const struct cq *cq);

#endif
