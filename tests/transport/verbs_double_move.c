/* Work requests on their way: READs piece by piece, SENDs, windows. */
#include "verbs_double_in.h"

static void step(struct fake_timer *timer);

void vd_in(struct wr *wr, uint64_t ns)
{
    struct verbs_double *d = vd_of(wr->qp->dev);
    fake_net_timer_start(d->net, &wr->timer, vd_now(d) + ns, step);
}

/* Nothing comes back: again after the timeout, as often as retry_cnt says. */
static void unanswered(struct wr *wr)
{
    const struct ibv_qp_attr *attr = &wr->qp->attr;
    if (attr->timeout == 0) {
        return; /* never ends by itself */
    }
    if (attr->retry_cnt != 7 && wr->tries++ > attr->retry_cnt) {
        vd_done(wr, IBV_WC_RETRY_EXC_ERR);
    } else {
        vd_in(wr, 4096ull << attr->timeout);
    }
}

/* ---- READ
 * -------------------------------------------------------------------------------- */

/* Copies @size bytes from @src to @offset of the work request's places. */
static bool scatter(struct wr *wr, uint64_t offset, const uint8_t *src, uint64_t size)
{
    for (int i = 0; i < wr->count && size != 0; i++) {
        const struct ibv_sge *sge = &wr->sge[i];
        if (offset >= sge->length) {
            offset -= sge->length;
            continue;
        }
        uint64_t n = sge->length - offset < size ? sge->length - offset : size;
        uint64_t to = sge->addr + offset;
        if (!vd_local(wr->qp, wr->qp->base.pd, sge, true)) {
            return false;
        }
        vd_check_guard(wr->qp->dev->host, to, n, "written by a READ");
        memcpy((void *)(uintptr_t)to, src, n);
        src += n;
        size -= n;
        offset = 0;
    }
    return true;
}

/* Where the next piece ends. */
static uint32_t piece_end(const struct wr *wr)
{
    uint32_t piece = (wr->length + PIECES_MAX - 1) / PIECES_MAX;
    uint32_t left = wr->length - wr->landed;
    return wr->landed + (left < piece ? left : piece);
}

static bool fails_here(const struct wr *wr)
{
    return vd_has(wr, VERBS_STATUS) && wr->landed >= wr->fails_at;
}

static void flip(struct wr *wr)
{
    uint8_t *byte = (uint8_t *)(uintptr_t)wr->sge[0].addr + wr->sge[0].length / 2;
    if (vd_has(wr, VERBS_FLIP) && wr->sge[0].length != 0) {
        *byte ^= 4;
    }
}

/* How much longer than usual the step that ends it takes. */
static uint64_t late_ns(const struct wr *wr)
{
    return vd_has(wr, VERBS_LATE) ? wr->fault.delay_ns : 0;
}

/* A piece is there. One that never completes keeps its last piece back. */
static void landed(struct wr *wr)
{
    bool last = piece_end(wr) == wr->length;
    if (wr->landed != wr->length) {
        if (!last || !vd_has(wr, VERBS_NEVER)) {
            vd_in(wr, vd_delay(vd_of(wr->qp->dev)) + (last ? late_ns(wr) : 0));
        }
    } else if (vd_has(wr, VERBS_STATUS)) {
        vd_done(wr, wr->fault.status);
    } else {
        flip(wr);
        vd_done(wr, IBV_WC_SUCCESS);
    }
}

static void step_read(struct wr *wr)
{
    struct qp *qp = wr->qp, *peer = vd_peer(qp);
    uint32_t end = piece_end(wr), size = end - wr->landed;
    uint64_t from = wr->remote + wr->landed;
    if (fails_here(wr)) {
        vd_done(wr, wr->fault.status);
    } else if (wr->length > qp->dev->conf->port.max_msg_sz) {
        vd_done(wr, IBV_WC_LOC_LEN_ERR);
    } else if (peer == NULL) {
        unanswered(wr);
    } else if (!(peer->attr.qp_access_flags & IBV_ACCESS_REMOTE_READ) ||
               qp->reads > peer->attr.max_dest_rd_atomic ||
               peer->attr.path_mtu != qp->attr.path_mtu) {
        vd_done(wr, IBV_WC_REM_INV_REQ_ERR);
    } else if (!vd_remote(peer, wr->rkey, from, wr->length - wr->landed)) {
        vd_done(wr, IBV_WC_REM_ACCESS_ERR);
    } else {
        vd_check_guard(peer->dev->host, from, size, "read by a peer");
        if (!scatter(wr, wr->landed, (const uint8_t *)(uintptr_t)from, size)) {
            vd_done(wr, IBV_WC_LOC_PROT_ERR);
            return;
        }
        vd_of(qp->dev)->read_bytes += size;
        wr->landed = end;
        wr->tries = 0;
        landed(wr);
    }
}

/* ---- SEND
 * -------------------------------------------------------------------------------- */

/* Writes the message to where the receive says: the receiver's status. */
static enum ibv_wc_status deliver(const struct wr *wr, const struct qp *to,
                                  const struct recv *recv, const uint8_t *data)
{
    uint32_t left = wr->length;
    for (int i = 0; i < recv->count && left != 0; i++) {
        uint32_t n = left < recv->sge[i].length ? left : recv->sge[i].length;
        if (!vd_local(to, &to->srq->pd->base, &recv->sge[i], true)) {
            return IBV_WC_LOC_PROT_ERR;
        }
        vd_check_guard(to->dev->host, recv->sge[i].addr, n, "written by a SEND");
        memcpy((void *)(uintptr_t)recv->sge[i].addr, data, n);
        data += n;
        left -= n;
    }
    return left != 0 ? IBV_WC_LOC_LEN_ERR : IBV_WC_SUCCESS;
}

/* The message's bytes, from where the sender has them: false if its keys are wrong. */
static bool gather(const struct wr *wr, uint8_t *data)
{
    if (wr->flags & IBV_SEND_INLINE) {
        memcpy(data, wr->data, wr->length);
    }
    for (int i = 0; i < wr->count; i++) {
        const struct ibv_sge *sge = &wr->sge[i];
        if (!vd_local(wr->qp, wr->qp->base.pd, sge, false)) {
            return false;
        }
        vd_check_guard(wr->qp->dev->host, sge->addr, sge->length, "read by a SEND");
        memcpy(data, (const void *)(uintptr_t)sge->addr, sge->length);
        data += sge->length;
    }
    return true;
}

static void received(struct wr *wr, struct qp *peer, const struct recv *recv,
                     enum ibv_wc_status status)
{
    struct verbs_double *d = vd_of(peer->dev);
    struct verbs_double_fault fault = {.kind = VERBS_LATE};
    struct ibv_wc wc;
    if (status == IBV_WC_SUCCESS && vd_fault_recv(peer, &fault) &&
        fault.kind == VERBS_STATUS) {
        status = fault.status;
    }
    vd_wc(&wc, peer, recv->wr_id, status, IBV_WC_RECV, wr->length);
    if (status == IBV_WC_SUCCESS) {
        wc.src_qp = wr->qp->base.qp_num;
        d->messages++;
    }
    vd_complete(peer->recv_cq, &wc, NULL, 0, false);
    if (fault.kind == VERBS_TWICE) {
        vd_again(d, peer->recv_cq, &wc, fault.delay_ns);
    }
    if (status == IBV_WC_SUCCESS) {
        wr->delivered = true;
        vd_in(wr, vd_delay(d) + late_ns(wr));
        return;
    }
    vd_qp_error(peer);
    vd_done(wr,
            status == IBV_WC_LOC_LEN_ERR ? IBV_WC_REM_INV_REQ_ERR : IBV_WC_REM_OP_ERR);
}

static void not_ready(struct wr *wr, const struct qp *peer)
{
    static const uint32_t codes[] = {
        /* of 10 us, InfiniBand's table 45 */
        65536, 1,    2,    3,    4,    6,     8,     12,    16,    24,   32,
        48,    64,   96,   128,  192,  256,   384,   512,   768,   1024, 1536,
        2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152};
    if (wr->qp->attr.rnr_retry != 7 && wr->rnr_tries++ == wr->qp->attr.rnr_retry) {
        vd_done(wr, IBV_WC_RNR_RETRY_EXC_ERR);
    } else {
        vd_in(wr, codes[peer->attr.min_rnr_timer] * 10000ull);
    }
}

static void step_send(struct wr *wr)
{
    struct qp *qp = wr->qp, *peer = vd_peer(qp);
    bool ordered = vd_has(wr, VERBS_STATUS);
    struct recv recv;
    if (wr->delivered) { /* this is its acknowledgement */
        vd_done(wr, ordered ? wr->fault.status : IBV_WC_SUCCESS);
    } else if (ordered && wr->fails_at == 0) {
        vd_done(wr, wr->fault.status);
    } else if (wr->length > qp->dev->conf->port.max_msg_sz) {
        vd_done(wr, IBV_WC_LOC_LEN_ERR);
    } else if (peer == NULL) {
        unanswered(wr);
    } else if (peer->attr.path_mtu != qp->attr.path_mtu) {
        vd_done(wr, IBV_WC_REM_INV_REQ_ERR);
    } else {
        uint8_t *data = vd_new(wr->length + 1u);
        if (!gather(wr, data)) {
            vd_done(wr, IBV_WC_LOC_PROT_ERR);
        } else if (!vd_take_recv(peer->srq, &recv)) {
            not_ready(wr, peer);
        } else {
            received(wr, peer, &recv, deliver(wr, peer, &recv, data));
        }
        free(data);
    }
    vd_pump(qp);
}

/* ---- moving on
 * --------------------------------------------------------------------------- */

static void step_local(struct wr *wr)
{
    if (vd_has(wr, VERBS_STATUS)) {
        vd_done(wr, wr->fault.status);
    } else {
        vd_done(wr, wr->opcode == IBV_WR_BIND_MW ? vd_bind(wr->qp, wr)
                                                 : vd_invalidate(wr->qp, wr->rkey));
    }
}

/* Whether @wr has to wait for those before it. */
static bool waits(const struct wr *wr)
{
    const struct qp *qp = wr->qp;
    for (const struct wr *w = qp->first; w != wr; w = w->next) {
        bool read = w->opcode == IBV_WR_RDMA_READ, send = w->opcode == IBV_WR_SEND;
        if (w->state != WR_DONE &&
            ((read && wr->flags & IBV_SEND_FENCE) ||
             (send && wr->opcode == IBV_WR_SEND && !w->delivered) || (!read && !send))) {
            return true; /* windows are bound and gone before the next begins */
        }
    }
    return wr->opcode == IBV_WR_RDMA_READ && qp->reads >= qp->attr.max_rd_atomic;
}

static void step(struct fake_timer *timer)
{
    struct wr *wr = (struct wr *)timer;
    if (wr->opcode == IBV_WR_RDMA_READ) {
        step_read(wr);
    } else if (wr->opcode == IBV_WR_SEND) {
        step_send(wr);
    } else {
        step_local(wr);
    }
}

/* Starts what may start, in order. */
void vd_pump(struct qp *qp)
{
    struct verbs_double *d = vd_of(qp->dev);
    for (struct wr *wr = qp->first; wr != NULL && qp->state == IBV_QPS_RTS;
         wr = wr->next) {
        if (wr->state == WR_QUEUED) {
            if (waits(wr)) {
                return;
            }
            wr->state = WR_STARTED;
            qp->reads += wr->opcode == IBV_WR_RDMA_READ;
            bool once = wr->opcode != IBV_WR_SEND && piece_end(wr) == wr->length;
            vd_in(wr, vd_delay(d) + (once ? late_ns(wr) : 0));
        }
    }
}
