/* pair.h - two hosts of the double with a queue pair each, for its own tests. */
#ifndef TESTS_PAIR_H
#define TESTS_PAIR_H

#include <criterion/criterion.h>
#include <fcntl.h>

#include "verbs_double.h"

enum { PAIR_BYTES = 1 << 16, PAIR_WRS = 32 };

struct end {
    const struct verbs_lib *lib;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_qp *qp;
    struct ibv_mr *mr;
    uint8_t *mem;
    union ibv_gid gid;
};

struct pair {
    struct fake_net *net;
    struct verbs_double *d;
    struct end end[2];
};

static inline void nonblocking(int fd)
{
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

static inline struct ibv_qp *new_qp(struct end *e)
{
    struct ibv_qp_init_attr init = {
        .send_cq = e->cq,
        .recv_cq = e->cq,
        .srq = e->srq,
        .cap = {.max_send_wr = PAIR_WRS, .max_send_sge = 2, .max_inline_data = 64},
        .qp_type = IBV_QPT_RC};
    return e->lib->create_qp(e->pd, &init);
}

static inline void open_end(struct pair *p, unsigned i)
{
    struct end *e = &p->end[i];
    int count;
    struct ibv_gid_entry entry;
    e->lib = verbs_double_lib(p->d, i);
    struct ibv_device **list = e->lib->get_device_list(&count);
    cr_assert_eq(count, 1);
    e->context = e->lib->open_device(list[0]);
    e->lib->free_device_list(list);
    nonblocking(e->context->async_fd);
    e->pd = e->lib->alloc_pd(e->context);
    e->channel = e->lib->create_comp_channel(e->context);
    nonblocking(e->channel->fd);
    e->cq = e->lib->create_cq(e->context, 2 * PAIR_WRS, e, e->channel, 0);
    struct ibv_srq_init_attr srq = {.attr = {.max_wr = PAIR_WRS, .max_sge = 1}};
    e->srq = e->lib->create_srq(e->pd, &srq);
    e->mem = aligned_alloc(4096, PAIR_BYTES);
    for (unsigned k = 0; k < PAIR_BYTES; k++) {
        e->mem[k] = (uint8_t)(k * 7 + (k >> 8) + i);
    }
    e->mr = e->lib->reg_mr(e->pd, e->mem, PAIR_BYTES,
                           IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
                               IBV_ACCESS_MW_BIND);
    cr_assert_not_null(e->mr);
    e->qp = new_qp(e);
    cr_assert_eq(e->lib->query_gid(e->context, 1, 2, &entry), 0);
    e->gid = entry.gid;
}

static inline struct ibv_qp_attr rtr_attr(const struct end *to)
{
    return (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR,
                                .path_mtu = IBV_MTU_1024,
                                .dest_qp_num = to->qp->qp_num,
                                .rq_psn = 5,
                                .max_dest_rd_atomic = 4,
                                .min_rnr_timer = 1,
                                .ah_attr = {.is_global = 1,
                                            .port_num = 1,
                                            .grh = {.dgid = to->gid, .sgid_index = 2}}};
}

enum {
    INIT_MASK = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
    RTR_MASK = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
               IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
    RTS_MASK = IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
               IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC,
};

static inline struct ibv_qp_attr init_attr(void)
{
    return (struct ibv_qp_attr){.qp_state = IBV_QPS_INIT,
                                .port_num = 1,
                                .qp_access_flags = IBV_ACCESS_REMOTE_READ};
}

static inline struct ibv_qp_attr rts_attr(void)
{
    return (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
                                .sq_psn = 5,
                                .timeout = 14,
                                .retry_cnt = 6,
                                .rnr_retry = 3,
                                .max_rd_atomic = 4};
}

static inline void join(struct end *e, const struct end *to)
{
    struct ibv_qp_attr init = init_attr(), rtr = rtr_attr(to), rts = rts_attr();
    cr_assert_eq(e->lib->modify_qp(e->qp, &init, INIT_MASK), 0);
    cr_assert_eq(e->lib->modify_qp(e->qp, &rtr, RTR_MASK), 0);
    cr_assert_eq(e->lib->modify_qp(e->qp, &rts, RTS_MASK), 0);
}

static inline void pair_make(struct pair *p, uint64_t seed)
{
    memset(p, 0, sizeof *p);
    cr_assert_eq(fake_net_create(seed, &p->net), MOB_OK);
    p->d = verbs_double_create(p->net, seed);
    open_end(p, 0);
    open_end(p, 1);
    join(&p->end[0], &p->end[1]);
    join(&p->end[1], &p->end[0]);
}

static inline void pair_end(struct pair *p)
{
    for (unsigned i = 0; i < 2; i++) {
        struct end *e = &p->end[i];
        if (e->qp != NULL) {
            cr_assert_eq(e->lib->destroy_qp(e->qp), 0);
        }
        cr_assert_eq(e->lib->dereg_mr(e->mr), 0);
        cr_assert_eq(e->lib->destroy_srq(e->srq), 0);
        cr_assert_eq(e->lib->destroy_cq(e->cq), 0);
        cr_assert_eq(e->lib->destroy_comp_channel(e->channel), 0);
        cr_assert_eq(e->lib->dealloc_pd(e->pd), 0);
        cr_assert_eq(e->lib->close_device(e->context), 0);
        free(e->mem);
    }
    verbs_double_destroy(p->d);
    fake_net_destroy(p->net);
}

static inline int post_read(struct end *e, uint64_t id, void *to, const void *from,
                            uint32_t size, uint32_t rkey)
{
    struct ibv_sge sge = {(uintptr_t)to, size, e->mr->lkey};
    struct ibv_send_wr wr = {.wr_id = id,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_RDMA_READ,
                             .send_flags = IBV_SEND_SIGNALED,
                             .wr.rdma = {(uintptr_t)from, rkey}},
                       *bad;
    return e->lib->post_send(e->qp, &wr, &bad);
}

static inline int post_send(struct end *e, uint64_t id, const void *data, uint32_t size,
                            unsigned flags)
{
    struct ibv_sge sge = {(uintptr_t)data, size, e->mr->lkey};
    struct ibv_send_wr wr = {.wr_id = id,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags = flags},
                       *bad;
    return e->lib->post_send(e->qp, &wr, &bad);
}

static inline void post_recv(struct end *e, uint64_t id, void *to, uint32_t size)
{
    struct ibv_sge sge = {(uintptr_t)to, size, e->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1}, *bad;
    cr_assert_eq(e->lib->post_srq_recv(e->srq, &wr, &bad), 0);
}

/* The next completion at @e: false if none ever comes. */
static inline bool next_wc(struct pair *p, struct end *e, struct ibv_wc *wc)
{
    while (e->lib->poll_cq(e->cq, 1, wc) == 0) {
        if (!fake_net_step(p->net)) {
            return false;
        }
    }
    return true;
}

static inline void drain(struct pair *p)
{
    while (fake_net_step(p->net)) {
    }
}

static inline enum ibv_wc_status next_status(struct pair *p, struct end *e, uint64_t id)
{
    struct ibv_wc wc;
    cr_assert(next_wc(p, e, &wc), "no completion of %lu", (unsigned long)id);
    cr_assert_eq(wc.wr_id, id);
    cr_assert_eq(wc.qp_num, e->qp->qp_num);
    return wc.status;
}

/* The next event of a QP or the device, -1 if there is none. */
static inline int event_of(struct end *e)
{
    struct ibv_async_event event;
    if (e->lib->get_async_event(e->context, &event) != 0) {
        return -1;
    }
    e->lib->ack_async_event(&event);
    return (int)event.event_type;
}

/* What the tests of a suite have, from .init = make to .fini = end. */
static struct pair p;
static struct end *a, *b;

static void make(void)
{
    pair_make(&p, 1);
    a = &p.end[0];
    b = &p.end[1];
}
static void end(void)
{
    pair_end(&p);
}

#endif
