/* Completion channels and queues, shared receive queues. */
#include "verbs_double_in.h"

#include <sys/eventfd.h>
#include <unistd.h>

static struct ibv_comp_channel *create_comp_channel(struct ibv_context *context)
{
    if (vd_dev(context)->fatal) {
        return vd_null(EIO);
    }
    struct channel *channel = vd_new(sizeof *channel);
    channel->base.context = context;
    channel->base.fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    if (channel->base.fd < 0) {
        free(channel);
        return NULL;
    }
    ((struct ctx *)context)->children++;
    vd_count(context)->channels++;
    return &channel->base;
}

static int destroy_comp_channel(struct ibv_comp_channel *base)
{
    struct channel *channel = (struct channel *)base;
    if (channel->cqs != 0) {
        return EBUSY;
    }
    close(base->fd);
    ((struct ctx *)base->context)->children--;
    vd_count(base->context)->channels--;
    free(channel);
    return 0;
}

static struct ibv_cq *create_cq(struct ibv_context *context, int entries, void *arg,
                                struct ibv_comp_channel *channel, int vector)
{
    const struct dev *dev = vd_dev(context);
    if (dev->fatal) {
        return vd_null(EIO);
    }
    if (entries < 1 || entries > dev->conf->attr.max_cqe || vector < 0 ||
        vector >= context->num_comp_vectors) {
        return vd_null(EINVAL);
    }
    struct cq *cq = vd_new(sizeof *cq);
    cq->base = (struct ibv_cq){
        .context = context, .channel = channel, .cq_context = arg, .cqe = entries};
    cq->room = entries;
    cq->ring = vd_new(2 * (size_t)entries * sizeof *cq->ring);
    cq->channel = (struct channel *)channel;
    if (channel != NULL) {
        cq->channel->cqs++;
    }
    ((struct ctx *)context)->children++;
    vd_count(context)->cqs++;
    return &cq->base;
}

static int destroy_cq(struct ibv_cq *base)
{
    struct cq *cq = (struct cq *)base;
    if (cq->users != 0) {
        return EBUSY;
    }
    if (cq->unacked != 0) {
        vd_abort("destroy_cq would block: %u events are not acknowledged", cq->unacked);
    }
    if (cq->channel != NULL) {
        struct cq **at = &cq->channel->first;
        while (*at != NULL && *at != cq) {
            at = &(*at)->next_event;
        }
        if (*at != NULL) {
            *at = cq->next_event;
        }
        while (cq->events-- != 0) { /* those that nobody asked for are dropped */
            vd_take(cq->channel->base.fd);
        }
        cq->channel->cqs--;
    }
    vd_forget_agains(vd_of(vd_dev(base->context)), cq);
    ((struct ctx *)base->context)->children--;
    vd_count(base->context)->cqs--;
    free(cq->ring);
    free(cq);
    return 0;
}

/* Completions that are there already give no event. */
static int req_notify_cq(struct ibv_cq *base, int solicited_only)
{
    struct cq *cq = (struct cq *)base;
    if (cq->channel == NULL) {
        return EINVAL;
    }
    if (vd_dev(base->context)->fatal) {
        return EIO;
    }
    cq->solicited_only = solicited_only && (!cq->armed || cq->solicited_only);
    cq->armed = true;
    return 0;
}

static int get_cq_event(struct ibv_comp_channel *base, struct ibv_cq **ret, void **arg)
{
    struct channel *channel = (struct channel *)base;
    struct cq *cq = channel->first;
    if (cq == NULL) {
        if (vd_blocks(base->fd)) {
            vd_abort("get_cq_event would block: there is none");
        }
        errno = EAGAIN;
        return -1;
    }
    vd_take(base->fd);
    cq->events--;
    cq->unacked++;
    if (cq->events == 0) {
        channel->first = cq->next_event;
        cq->next_event = NULL;
    }
    *ret = &cq->base;
    *arg = cq->base.cq_context;
    return 0;
}

static void ack_cq_events(struct ibv_cq *base, unsigned count)
{
    struct cq *cq = (struct cq *)base;
    if (count > cq->unacked) {
        vd_abort("ack_cq_events: %u, but %u came", count, cq->unacked);
    }
    cq->unacked -= count;
}

static void event(struct cq *cq)
{
    cq->armed = false;
    if (cq->events++ == 0) {
        struct cq **at = &cq->channel->first;
        while (*at != NULL) {
            at = &(*at)->next_event;
        }
        *at = cq;
    }
    vd_signal(cq->channel->base.fd);
}

void vd_complete(struct cq *cq, const struct ibv_wc *wc, struct qp *qp, uint64_t number,
                 bool extra)
{
    unsigned size = 2 * (unsigned)cq->room;
    if (extra && cq->extra == (unsigned)cq->room) {
        return;
    }
    if (!extra && cq->used - cq->extra == (unsigned)cq->room) {
        vd_abort("a completion queue of %d entries overflows", cq->room);
    }
    cq->ring[(cq->head + cq->used++) % size] = (struct cqe){*wc, qp, number, extra};
    cq->extra += extra;
    if (cq->armed && (!cq->solicited_only || wc->status != IBV_WC_SUCCESS)) {
        event(cq);
    }
}

static int poll_cq(struct ibv_cq *base, int count, struct ibv_wc *wc)
{
    struct cq *cq = (struct cq *)base;
    int n = 0;
    for (; n < count && cq->used != 0; n++) {
        struct cqe *cqe = &cq->ring[cq->head];
        cq->head = (cq->head + 1) % (2 * (unsigned)cq->room);
        cq->used--;
        cq->extra -= cqe->extra;
        wc[n] = cqe->wc;
        if (cqe->qp != NULL && cqe->number > cqe->qp->freed) {
            cqe->qp->freed = cqe->number;
        }
    }
    return n;
}

/* The completions of a destroyed QP stay, as on rxe. */
void vd_forget_qp(struct cq *cq, const struct qp *qp)
{
    for (unsigned i = 0; i < cq->used; i++) {
        struct cqe *cqe = &cq->ring[(cq->head + i) % (2 * (unsigned)cq->room)];
        if (cqe->qp == qp) {
            cqe->qp = NULL;
        }
    }
}

/* ---- shared receive queues
 * --------------------------------------------------------------- */

static struct ibv_srq *create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
    const struct dev *dev = vd_dev(pd->context);
    if (dev->fatal) {
        return vd_null(EIO);
    }
    if (attr->attr.max_wr < 1 ||
        attr->attr.max_wr > (uint32_t)dev->conf->attr.max_srq_wr ||
        attr->attr.max_sge > SGES_MAX) {
        return vd_null(EINVAL);
    }
    struct srq *srq = vd_new(sizeof *srq);
    srq->base.context = pd->context;
    srq->base.pd = pd;
    srq->base.srq_context = attr->srq_context;
    srq->pd = (struct pd *)pd;
    srq->room = attr->attr.max_wr;
    srq->ring = vd_new(srq->room * sizeof *srq->ring);
    srq->pd->children++;
    vd_count(pd->context)->srqs++;
    return &srq->base;
}

static int destroy_srq(struct ibv_srq *base)
{
    struct srq *srq = (struct srq *)base;
    if (srq->users != 0) {
        return EBUSY;
    }
    srq->pd->children--;
    vd_count(base->context)->srqs--;
    free(srq->ring);
    free(srq);
    return 0;
}

static int post_srq_recv(struct ibv_srq *base, struct ibv_recv_wr *wr,
                         struct ibv_recv_wr **bad)
{
    struct srq *srq = (struct srq *)base;
    for (; wr != NULL; wr = wr->next) {
        *bad = wr;
        if (vd_dev(base->context)->fatal) {
            return EIO;
        }
        if (wr->num_sge < 0 || wr->num_sge > SGES_MAX) {
            return EINVAL;
        }
        if (srq->used == srq->room) {
            vd_abort("a shared receive queue of %u overflows", srq->room);
        }
        struct recv *recv = &srq->ring[(srq->head + srq->used++) % srq->room];
        *recv = (struct recv){.wr_id = wr->wr_id, .count = wr->num_sge};
        memcpy(recv->sge, wr->sg_list, (size_t)wr->num_sge * sizeof *wr->sg_list);
    }
    return 0;
}

bool vd_take_recv(struct srq *srq, struct recv *ret)
{
    if (srq == NULL || srq->used == 0) { /* without one nothing is received */
        return false;
    }
    *ret = srq->ring[srq->head];
    srq->head = (srq->head + 1) % srq->room;
    srq->used--;
    return true;
}

void vd_cq_lib(struct verbs_lib *lib)
{
    lib->create_comp_channel = create_comp_channel;
    lib->destroy_comp_channel = destroy_comp_channel;
    lib->create_cq = create_cq;
    lib->destroy_cq = destroy_cq;
    lib->req_notify_cq = req_notify_cq;
    lib->get_cq_event = get_cq_event;
    lib->ack_cq_events = ack_cq_events;
    lib->poll_cq = poll_cq;
    lib->create_srq = create_srq;
    lib->destroy_srq = destroy_srq;
    lib->post_srq_recv = post_srq_recv;
}
