/* Queue pairs: their making, their states, their end. */
#include "verbs_double_in.h"

static struct ibv_qp *create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    struct dev *dev = vd_dev(pd->context);
    struct host *host = dev->host;
    const struct ibv_qp_cap *cap = &attr->cap;
    if (dev->fatal) {
        return vd_null(EIO);
    }
    if (attr->qp_type != IBV_QPT_RC || attr->send_cq == NULL || attr->recv_cq == NULL ||
        cap->max_send_wr > (uint32_t)dev->conf->attr.max_qp_wr ||
        cap->max_send_sge > SGES_MAX || cap->max_inline_data > dev->conf->max_inline) {
        return vd_null(EINVAL);
    }
    if (host->conf.qp_room == 0 || host->count.qps >= (unsigned)dev->conf->attr.max_qp) {
        return vd_null(ENOMEM);
    }
    host->conf.qp_room -= host->conf.qp_room != UINT64_MAX;
    struct qp *qp = vd_new(sizeof *qp);
    qp->base.context = pd->context;
    qp->base.qp_context = attr->qp_context;
    qp->base.pd = pd;
    qp->base.send_cq = attr->send_cq;
    qp->base.recv_cq = attr->recv_cq;
    qp->base.srq = attr->srq;
    qp->base.qp_num = dev->next_qpn++;
    qp->base.qp_type = IBV_QPT_RC;
    qp->dev = dev;
    qp->pd = (struct pd *)pd;
    qp->send_cq = (struct cq *)attr->send_cq;
    qp->recv_cq = (struct cq *)attr->recv_cq;
    qp->srq = (struct srq *)attr->srq;
    qp->cap = *cap;
    qp->signal_all = attr->sq_sig_all;
    qp->last = &qp->first;
    qp->next = dev->qps;
    dev->qps = qp;
    qp->pd->children++;
    qp->send_cq->users++;
    qp->recv_cq->users++;
    if (qp->srq != NULL) {
        qp->srq->users++;
    }
    host->count.qps++;
    return &qp->base;
}

static int destroy_qp(struct ibv_qp *base)
{
    struct qp *qp = (struct qp *)base, **at = &qp->dev->qps;
    if (qp->unacked != 0) {
        vd_abort("destroy_qp would block: %u events are not acknowledged", qp->unacked);
    }
    if (vd_binds(qp)) { /* as software RDMA does */
        vd_abort("destroy_qp would block: windows are bound to it");
    }
    while (*at != qp) {
        if (*at == NULL) {
            vd_abort("a QP is destroyed twice");
        }
        at = &(*at)->next;
    }
    *at = qp->next;
    vd_drop(qp, false);
    vd_forget_async(qp);
    vd_forget_qp(qp->send_cq, qp);
    vd_forget_qp(qp->recv_cq, qp);
    qp->pd->children--;
    qp->send_cq->users--;
    qp->recv_cq->users--;
    if (qp->srq != NULL) {
        qp->srq->users--;
    }
    qp->dev->host->count.qps--;
    free(qp);
    return 0;
}

/* ---- states
 * ------------------------------------------------------------------------------ */

enum {
    INIT_NEEDS = IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
    RTR_NEEDS = IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
    RTR_TAKES = IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX,
    RTS_NEEDS = IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                IBV_QP_MAX_QP_RD_ATOMIC,
    RTS_TAKES = IBV_QP_CUR_STATE | IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS |
                IBV_QP_MIN_RNR_TIMER | IBV_QP_PATH_MIG_STATE,
    STAY_TAKES = IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_ALT_PATH |
                 IBV_QP_MIN_RNR_TIMER | IBV_QP_PATH_MIG_STATE,
};

/* ibv_modify_qp(3)'s table for RC. */
static const struct {
    enum ibv_qp_state from, to;
    int needs, takes;
} transitions[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, INIT_NEEDS, 0},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0, INIT_NEEDS},
    {IBV_QPS_INIT, IBV_QPS_RTR, RTR_NEEDS, RTR_TAKES},
    {IBV_QPS_RTR, IBV_QPS_RTS, RTS_NEEDS, RTS_TAKES},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0, STAY_TAKES},
};

static bool may_go(enum ibv_qp_state from, enum ibv_qp_state to, int mask)
{
    mask &= ~IBV_QP_STATE;
    if (to == IBV_QPS_ERR || to == IBV_QPS_RESET) {
        return (mask & ~IBV_QP_CUR_STATE) == 0;
    }
    for (size_t i = 0; i < sizeof transitions / sizeof *transitions; i++) {
        int needs = transitions[i].needs, takes = transitions[i].takes | needs;
        if (transitions[i].from == from && transitions[i].to == to) {
            return (mask & needs) == needs && (mask & ~takes) == 0;
        }
    }
    return false;
}

static bool init_is_right(const struct ibv_qp_attr *attr, int mask)
{
    return (!(mask & IBV_QP_PORT) || attr->port_num == 1) &&
           (!(mask & IBV_QP_PKEY_INDEX) || attr->pkey_index == 0);
}

/* Finds the way to the other end, as the kernel resolves a GID. */
static int to_rtr(struct qp *qp, const struct ibv_qp_attr *attr)
{
    const struct ibv_ah_attr *ah = &attr->ah_attr;
    const struct verbs_double_device *conf = qp->dev->conf;
    unsigned index = ah->grh.sgid_index;
    if (!ah->is_global || ah->port_num != 1 || index >= VERBS_GIDS ||
        attr->path_mtu < IBV_MTU_256 || attr->path_mtu > conf->port.active_mtu ||
        attr->max_dest_rd_atomic > conf->attr.max_qp_rd_atom ||
        attr->min_rnr_timer > 31 || attr->dest_qp_num > 0xffffff ||
        attr->rq_psn > 0xffffff) {
        return EINVAL;
    }
    uint32_t type = conf->gids[index].gid_type;
    struct dev *to = vd_find_gid(vd_of(qp->dev), &ah->grh.dgid, type);
    if (to == NULL || conf->port.state != IBV_PORT_ACTIVE) {
        return ETIMEDOUT;
    }
    qp->to = to;
    qp->gid_type = type;
    qp->attr.ah_attr = *ah;
    qp->attr.path_mtu = attr->path_mtu;
    qp->attr.dest_qp_num = attr->dest_qp_num;
    qp->attr.rq_psn = attr->rq_psn;
    qp->attr.max_dest_rd_atomic = attr->max_dest_rd_atomic;
    qp->attr.min_rnr_timer = attr->min_rnr_timer;
    return 0;
}

static int to_rts(struct qp *qp, const struct ibv_qp_attr *attr)
{
    if (attr->max_rd_atomic > qp->dev->conf->attr.max_qp_init_rd_atom ||
        attr->timeout > 31 || attr->retry_cnt > 7 || attr->rnr_retry > 7 ||
        attr->sq_psn > 0xffffff) {
        return EINVAL;
    }
    qp->attr.max_rd_atomic = attr->max_rd_atomic;
    qp->attr.timeout = attr->timeout;
    qp->attr.retry_cnt = attr->retry_cnt;
    qp->attr.rnr_retry = attr->rnr_retry;
    qp->attr.sq_psn = attr->sq_psn;
    return 0;
}

static int go(struct qp *qp, enum ibv_qp_state to, const struct ibv_qp_attr *attr,
              int mask)
{
    if (to == IBV_QPS_ERR) {
        vd_qp_error(qp);
        return 0;
    }
    if (to == IBV_QPS_RESET) {
        vd_drop(qp, false);
        vd_unbind_all(qp);
        qp->state = to;
        return 0;
    }
    if (!init_is_right(attr, mask)) {
        return EINVAL;
    }
    int err = to == IBV_QPS_RTR                               ? to_rtr(qp, attr)
              : to == IBV_QPS_RTS && qp->state == IBV_QPS_RTR ? to_rts(qp, attr)
                                                              : 0;
    if (err == 0) {
        if (mask & IBV_QP_ACCESS_FLAGS) {
            qp->attr.qp_access_flags = attr->qp_access_flags;
        }
        qp->state = to;
    }
    return err;
}

static int modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask)
{
    struct qp *qp = (struct qp *)base;
    enum ibv_qp_state to = mask & IBV_QP_STATE ? attr->qp_state : qp->state;
    if (qp->dev->fatal) {
        return EIO;
    }
    if ((mask & IBV_QP_CUR_STATE && attr->cur_qp_state != qp->state) ||
        !may_go(qp->state, to, mask)) {
        return EINVAL;
    }
    int err = go(qp, to, attr, mask);
    if (err == 0) {
        base->state = to;
    }
    return err;
}

/* ---- errors
 * ------------------------------------------------------------------------------ */

static void flush(struct fake_timer *timer)
{
    struct qp *qp =
        (struct qp *)(void *)((char *)timer - __builtin_offsetof(struct qp, flush));
    vd_drop(qp, true);
    if (qp->dev->conf->last_wqe) {
        vd_async(qp->dev, IBV_EVENT_QP_LAST_WQE_REACHED, qp);
    }
}

/* What is in flight may go on until it is flushed. */
void vd_qp_error(struct qp *qp)
{
    struct verbs_double *d = vd_of(qp->dev);
    if (qp->state == IBV_QPS_ERR) {
        return;
    }
    qp->state = IBV_QPS_ERR;
    vd_linger(qp);
    fake_net_timer_start(d->net, &qp->flush, vd_now(d) + 3 * vd_delay(d), flush);
}

void vd_qp_stop(struct qp *qp)
{
    struct verbs_double *d = vd_of(qp->dev);
    qp->state = IBV_QPS_ERR;
    fake_net_timer_stop(d->net, &qp->flush);
    for (struct wr *wr = qp->first; wr != NULL; wr = wr->next) {
        fake_net_timer_stop(d->net, &wr->timer);
    }
}

static bool is_alive(const struct dev *dev)
{
    return !dev->fatal && dev->conf->port.state == IBV_PORT_ACTIVE;
}

static bool same_gid(const struct qp *from, const struct qp *at)
{
    const struct ibv_gid_entry *own =
        &from->dev->conf->gids[from->attr.ah_attr.grh.sgid_index];
    return from->gid_type == at->gid_type &&
           memcmp(&own->gid, &at->attr.ah_attr.grh.dgid, sizeof own->gid) == 0;
}

struct qp *vd_peer(const struct qp *qp)
{
    if (!is_alive(qp->dev) || qp->to == NULL || !is_alive(qp->to)) {
        return NULL;
    }
    struct qp *peer = qp->to->qps;
    while (peer != NULL && peer->base.qp_num != qp->attr.dest_qp_num) {
        peer = peer->next;
    }
    if (peer == NULL || (peer->state != IBV_QPS_RTR && peer->state != IBV_QPS_RTS) ||
        peer->to != qp->dev || peer->attr.dest_qp_num != qp->base.qp_num ||
        !same_gid(qp, peer) || peer->attr.rq_psn != qp->attr.sq_psn) {
        return NULL;
    }
    return peer;
}

/* What a failed completion does not have is nonsense, as on devices. */
void vd_wc(struct ibv_wc *wc, const struct qp *qp, uint64_t wr_id,
           enum ibv_wc_status status, enum ibv_wc_opcode opcode, uint32_t bytes)
{
    memset(wc, status == IBV_WC_SUCCESS ? 0 : 0xa5, sizeof *wc);
    wc->wr_id = wr_id;
    wc->status = status;
    wc->qp_num = qp->base.qp_num;
    wc->vendor_err = status == IBV_WC_SUCCESS ? 0 : 0x80u + status;
    if (status == IBV_WC_SUCCESS) {
        wc->opcode = opcode;
        wc->byte_len = bytes;
    }
}

void vd_qp_lib(struct verbs_lib *lib)
{
    lib->create_qp = create_qp;
    lib->destroy_qp = destroy_qp;
    lib->modify_qp = modify_qp;
    lib->post_send = vd_post_send;
}
