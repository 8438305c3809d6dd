/* Work requests: posting them, completing them in order. */
#include "verbs_double_in.h"

/* ---- posting
 * ----------------------------------------------------------------------------- */

static bool is_wrong(const struct qp *qp, const struct ibv_send_wr *wr, uint64_t length)
{
    bool inlined = wr->send_flags & IBV_SEND_INLINE;
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->cap.max_send_sge ||
        (inlined && (wr->opcode != IBV_WR_SEND || length > qp->cap.max_inline_data))) {
        return true;
    }
    switch (wr->opcode) {
    case IBV_WR_SEND:
    case IBV_WR_RDMA_READ:
    case IBV_WR_LOCAL_INV:
        return false;
    case IBV_WR_BIND_MW:
        return wr->bind_mw.mw == NULL;
    default:
        return true; /* what nobody here needs */
    }
}

static struct wr *new_wr(struct qp *qp, const struct ibv_send_wr *from, uint64_t length)
{
    bool inlined = from->send_flags & IBV_SEND_INLINE;
    struct wr *wr = vd_new(sizeof *wr + (inlined ? length : 0));
    wr->qp = qp;
    wr->wr_id = from->wr_id;
    wr->number = ++qp->posted;
    wr->opcode = from->opcode;
    wr->flags = from->send_flags | (qp->signal_all ? IBV_SEND_SIGNALED : 0u);
    wr->length = (uint32_t)length;
    wr->count = inlined ? 0 : from->num_sge;
    uint8_t *at = wr->data;
    for (int i = 0; i < from->num_sge; i++) {
        const struct ibv_sge *sge = &from->sg_list[i];
        if (!inlined) {
            wr->sge[i] = *sge;
        } else if (sge->length != 0) {
            memcpy(at, (const void *)(uintptr_t)sge->addr, sge->length);
            at += sge->length;
        }
    }
    if (wr->opcode == IBV_WR_BIND_MW) {
        wr->mw = from->bind_mw.mw;
        wr->rkey = from->bind_mw.rkey;
        wr->bind = from->bind_mw.bind_info;
    } else if (wr->opcode == IBV_WR_LOCAL_INV) {
        wr->rkey = from->invalidate_rkey;
    } else {
        wr->rkey = from->wr.rdma.rkey;
        wr->remote = from->wr.rdma.remote_addr;
    }
    return wr;
}

static int post(struct qp *qp, const struct ibv_send_wr *from)
{
    uint64_t length = 0;
    for (int i = 0; i < from->num_sge && i < SGES_MAX; i++) {
        length += from->sg_list[i].length;
    }
    if (qp->dev->fatal) {
        return EIO;
    }
    if ((qp->state != IBV_QPS_RTS && qp->state != IBV_QPS_ERR) ||
        is_wrong(qp, from, length)) {
        return EINVAL;
    }
    if (qp->posted - qp->freed == qp->cap.max_send_wr) {
        vd_abort("the send queue of QP %u overflows: %u work requests", qp->base.qp_num,
                 qp->cap.max_send_wr);
    }
    struct wr *wr = new_wr(qp, from, length);
    *qp->last = wr;
    qp->last = &wr->next;
    if (qp->state == IBV_QPS_ERR) {
        qp->state = IBV_QPS_RTS; /* so that vd_qp_error() flushes it too */
        vd_qp_error(qp);
    } else {
        vd_fault_wr(wr);
    }
    return 0;
}

int vd_post_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    struct qp *qp = (struct qp *)base;
    int err = 0;
    for (; wr != NULL && err == 0; wr = wr->next) {
        *bad = wr;
        err = post(qp, wr);
    }
    vd_pump(qp);
    return err;
}

/* ---- completing
 * -------------------------------------------------------------------------- */

static enum ibv_wc_opcode opcode_of(const struct wr *wr)
{
    return wr->opcode == IBV_WR_SEND        ? IBV_WC_SEND
           : wr->opcode == IBV_WR_RDMA_READ ? IBV_WC_RDMA_READ
           : wr->opcode == IBV_WR_BIND_MW   ? IBV_WC_BIND_MW
                                            : IBV_WC_LOCAL_INV;
}

/* Takes the first work request off its queue. */
static void complete(struct qp *qp, enum ibv_wc_status status)
{
    struct verbs_double *d = vd_of(qp->dev);
    struct wr *wr = qp->first;
    struct ibv_wc wc;
    qp->first = wr->next;
    if (qp->first == NULL) {
        qp->last = &qp->first;
    }
    fake_net_timer_stop(d->net, &wr->timer);
    qp->reads -= wr->opcode == IBV_WR_RDMA_READ && wr->state == WR_STARTED;
    if (status != IBV_WC_SUCCESS || wr->flags & IBV_SEND_SIGNALED) {
        vd_wc(&wc, qp, wr->wr_id, status, opcode_of(wr), wr->length);
        vd_complete(qp->send_cq, &wc, qp, wr->number, false);
        if (vd_has(wr, VERBS_TWICE)) {
            vd_again(d, qp->send_cq, &wc, wr->fault.delay_ns);
        }
    }
    free(wr);
}

void vd_drop(struct qp *qp, bool flush)
{
    struct verbs_double *d = vd_of(qp->dev);
    fake_net_timer_stop(d->net, &qp->flush);
    while (qp->first != NULL) {
        if (flush) {
            complete(qp, IBV_WC_WR_FLUSH_ERR);
            continue;
        }
        struct wr *wr = qp->first;
        qp->first = wr->next;
        fake_net_timer_stop(d->net, &wr->timer);
        free(wr);
    }
    qp->last = &qp->first;
    qp->reads = 0;
}

/* What is in flight goes on for a while, or stops here: the seed says which. */
void vd_linger(struct qp *qp)
{
    struct verbs_double *d = vd_of(qp->dev);
    for (struct wr *wr = qp->first; wr != NULL; wr = wr->next) {
        if (vd_draw(d) & 1) {
            fake_net_timer_stop(d->net, &wr->timer);
        } else if (wr->state == WR_STARTED && vd_has(wr, VERBS_NEVER)) {
            vd_in(wr, vd_delay(d));
        }
    }
}

/* The other end refused: it goes to ERR as well. */
static void refused(const struct qp *qp, enum ibv_wc_status status)
{
    struct qp *peer = vd_peer(qp);
    if (peer != NULL) {
        vd_async(peer->dev,
                 status == IBV_WC_REM_ACCESS_ERR ? IBV_EVENT_QP_ACCESS_ERR
                                                 : IBV_EVENT_QP_REQ_ERR,
                 peer);
        vd_qp_error(peer);
    }
}

void vd_done(struct wr *wr, enum ibv_wc_status status)
{
    struct qp *qp = wr->qp;
    if (vd_has(wr, VERBS_NEVER)) {
        return; /* until its QP is in ERR */
    }
    qp->reads -= wr->opcode == IBV_WR_RDMA_READ;
    wr->state = WR_DONE;
    wr->status = status;
    while (qp->state == IBV_QPS_RTS && qp->first != NULL && qp->first->state == WR_DONE) {
        enum ibv_wc_status first = qp->first->status;
        complete(qp, first);
        if (first == IBV_WC_REM_INV_REQ_ERR || first == IBV_WC_REM_ACCESS_ERR ||
            first == IBV_WC_REM_OP_ERR) {
            refused(qp, first);
        }
        if (first != IBV_WC_SUCCESS) {
            vd_qp_error(qp);
        }
    }
    vd_pump(qp);
}
