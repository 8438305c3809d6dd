/* Faults to order, and those that happen at once. */
#include "verbs_double_in.h"

void verbs_double_fault(struct verbs_double *d, const struct verbs_double_fault *fault)
{
    for (unsigned i = 0; i < VERBS_FAULTS; i++) {
        if (!d->faults[i].armed) {
            d->faults[i] = (struct ordered){*fault, true};
            return;
        }
    }
    vd_abort("more than %d faults are ordered", VERBS_FAULTS);
}

unsigned verbs_double_fired(const struct verbs_double *d)
{
    return d->fired;
}

void verbs_double_calm(struct verbs_double *d)
{
    memset(d->faults, 0, sizeof d->faults);
    d->fired = 0;
}

/* Counts a work request of @kind at @host; the fault that it gets, if it gets one. */
static bool due(struct verbs_double *d, unsigned host, unsigned kind,
                struct verbs_double_fault *ret)
{
    bool got = false;
    for (unsigned i = 0; i < VERBS_FAULTS; i++) {
        struct ordered *o = &d->faults[i];
        if (!o->armed || !(o->fault.which & kind) ||
            (o->fault.host >= 0 && (unsigned)o->fault.host != host)) {
            continue;
        }
        if (o->fault.after != 0) {
            o->fault.after--;
        } else if (!got) {
            *ret = o->fault;
            o->armed = false;
            d->fired++;
            got = true;
        }
    }
    return got;
}

void vd_fault_wr(struct wr *wr)
{
    struct dev *dev = wr->qp->dev;
    struct verbs_double *d = vd_of(dev);
    unsigned kind = wr->opcode == IBV_WR_SEND        ? VERBS_SEND
                    : wr->opcode == IBV_WR_RDMA_READ ? VERBS_READ
                    : wr->opcode == IBV_WR_BIND_MW   ? VERBS_BIND
                                                     : VERBS_INV;
    wr->faulty = due(d, dev->host->index, kind, &wr->fault);
    if (!wr->faulty) {
        return;
    }
    /* A READ lands in part; a SEND is delivered or not, if its status leaves that open. */
    bool open = wr->fault.status == IBV_WC_RETRY_EXC_ERR ||
                wr->fault.status == IBV_WC_WR_FLUSH_ERR ||
                wr->fault.status >= IBV_WC_REM_ABORT_ERR;
    wr->fails_at = kind == VERBS_READ ? (uint32_t)(vd_draw(d) % (wr->length + 1ull))
                                      : (uint32_t)(open && vd_draw(d) & 1);
    switch (wr->fault.kind) {
    case VERBS_QP_DIES:
        vd_async(dev, IBV_EVENT_QP_FATAL, wr->qp);
        vd_qp_error(wr->qp);
        return;
    case VERBS_DEVICE_FATAL:
        verbs_double_device_fatal(d, dev->host->index, (unsigned)(dev - dev->host->devs));
        return;
    case VERBS_TORN_OUT:
        verbs_double_device_fatal(d, dev->host->index, (unsigned)(dev - dev->host->devs));
        verbs_double_remove(d, dev->host->index, (unsigned)(dev - dev->host->devs));
        return;
    case VERBS_REMOVED:
        verbs_double_remove(d, dev->host->index, (unsigned)(dev - dev->host->devs));
        return;
    case VERBS_PORT_DOWN:
        verbs_double_port_down(d, dev->host->index, (unsigned)(dev - dev->host->devs));
        return;
    default:
        return;
    }
}

bool vd_fault_recv(struct qp *qp, struct verbs_double_fault *ret)
{
    return due(vd_of(qp->dev), qp->dev->host->index, VERBS_RECV, ret);
}

/* ---- completions that come again
 * --------------------------------------------------------- */

static void come_again(struct fake_timer *timer)
{
    struct again *again = (struct again *)timer;
    struct verbs_double *d = vd_of(vd_dev(again->cq->base.context));
    struct again **at = &d->agains;
    while (*at != again) {
        at = &(*at)->next;
    }
    *at = again->next;
    vd_complete(again->cq, &again->wc, NULL, 0, true);
    free(again);
}

void vd_again(struct verbs_double *d, struct cq *cq, const struct ibv_wc *wc,
              uint64_t delay_ns)
{
    struct again *again = vd_new(sizeof *again);
    again->cq = cq;
    again->wc = *wc;
    again->next = d->agains;
    d->agains = again;
    fake_net_timer_start(d->net, &again->timer, vd_now(d) + delay_ns, come_again);
}

void vd_forget_agains(struct verbs_double *d, const struct cq *cq)
{
    struct again **at = &d->agains;
    while (*at != NULL) {
        struct again *again = *at;
        if (cq == NULL || again->cq == cq) {
            *at = again->next;
            fake_net_timer_stop(d->net, &again->timer);
            free(again);
        } else {
            at = &again->next;
        }
    }
}

/* ---- at once
 * ----------------------------------------------------------------------------- */

static void stop_device(struct dev *dev)
{
    dev->fatal = true;
    for (struct qp *qp = dev->qps; qp != NULL; qp = qp->next) {
        vd_qp_stop(qp);
    }
}

void verbs_double_device_fatal(struct verbs_double *d, unsigned host, unsigned device)
{
    struct dev *dev = &d->hosts[host].devs[device];
    vd_async(dev, IBV_EVENT_DEVICE_FATAL, NULL);
    stop_device(dev);
}

static void tell_watch(struct host *host)
{
    if (host->watch >= 0) {
        vd_signal(host->watch);
    }
}

void verbs_double_remove(struct verbs_double *d, unsigned host, unsigned device)
{
    d->hosts[host].devs[device].removed = true;
    tell_watch(&d->hosts[host]);
}

void verbs_double_put_back(struct verbs_double *d, unsigned host, unsigned device)
{
    struct dev *dev = &d->hosts[host].devs[device];
    if (dev->ctxs != NULL) {
        vd_abort("%s is put back while the old one is open", dev->conf->name);
    }
    dev->removed = dev->fatal = false;
    dev->times++;
    tell_watch(&d->hosts[host]);
}

void verbs_double_kill(struct verbs_double *d, unsigned host)
{
    d->hosts[host].dead = true;
    for (unsigned i = 0; i < VERBS_DEVICES; i++) {
        stop_device(&d->hosts[host].devs[i]);
    }
}

void verbs_double_port_down(struct verbs_double *d, unsigned host, unsigned device)
{
    struct dev *dev = &d->hosts[host].devs[device];
    dev->conf->port.state = IBV_PORT_DOWN;
    vd_async(dev, IBV_EVENT_PORT_ERR, NULL);
}

void verbs_double_port_up(struct verbs_double *d, unsigned host, unsigned device)
{
    struct dev *dev = &d->hosts[host].devs[device];
    dev->conf->port.state = IBV_PORT_ACTIVE;
    vd_async(dev, IBV_EVENT_PORT_ACTIVE, NULL);
}

void verbs_double_qps_die(struct verbs_double *d, unsigned host)
{
    for (unsigned i = 0; i < VERBS_DEVICES; i++) {
        for (struct qp *qp = d->hosts[host].devs[i].qps; qp != NULL; qp = qp->next) {
            vd_async(qp->dev, IBV_EVENT_QP_FATAL, qp);
            vd_qp_error(qp);
        }
    }
}
