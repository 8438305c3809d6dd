/* What devices tell by themselves, and the fds that say that they do. */
#include "verbs_double_in.h"

#include <fcntl.h>
#include <sys/eventfd.h>

bool vd_blocks(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
}

void vd_signal(int fd)
{
    if (eventfd_write(fd, 1) != 0) {
        vd_abort("an eventfd does not take an event: %m");
    }
}

void vd_take(int fd)
{
    eventfd_t value;
    if (eventfd_read(fd, &value) != 0) {
        vd_abort("an eventfd does not give its event: %m");
    }
}

void vd_async(struct dev *dev, enum ibv_event_type type, struct qp *qp)
{
    for (struct ctx *ctx = dev->ctxs; ctx != NULL; ctx = ctx->next) {
        if (qp != NULL && qp->base.context != &ctx->base) {
            continue;
        }
        struct async *event = vd_new(sizeof *event), **at = &ctx->events;
        event->event.event_type = type;
        if (qp != NULL) {
            event->event.element.qp = &qp->base;
        } else {
            event->event.element.port_num = 1;
        }
        while (*at != NULL) {
            at = &(*at)->next;
        }
        *at = event;
        vd_signal(ctx->base.async_fd);
    }
}

void verbs_double_gids_changed(struct verbs_double *d, unsigned host, unsigned device)
{
    vd_async(&d->hosts[host].devs[device], IBV_EVENT_GID_CHANGE, NULL);
}

static bool is_of_qp(enum ibv_event_type type)
{
    return type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR ||
           type == IBV_EVENT_QP_ACCESS_ERR || type == IBV_EVENT_QP_LAST_WQE_REACHED;
}

int vd_get_async_event(struct ibv_context *context, struct ibv_async_event *ret)
{
    struct ctx *ctx = (struct ctx *)context;
    struct async *event = ctx->events;
    if (event == NULL) {
        if (vd_blocks(context->async_fd)) {
            vd_abort("get_async_event would block: there is none");
        }
        errno = EAGAIN;
        return -1;
    }
    vd_take(context->async_fd);
    ctx->events = event->next;
    *ret = event->event;
    if (is_of_qp(ret->event_type)) {
        ((struct qp *)ret->element.qp)->unacked++;
    }
    free(event);
    return 0;
}

void vd_ack_async_event(struct ibv_async_event *event)
{
    if (is_of_qp(event->event_type)) {
        ((struct qp *)event->element.qp)->unacked--;
    }
}

void vd_forget_async(struct qp *qp)
{
    struct ctx *ctx = (struct ctx *)qp->base.context;
    struct async **at = &ctx->events;
    while (*at != NULL) {
        struct async *event = *at;
        if (is_of_qp(event->event.event_type) && event->event.element.qp == &qp->base) {
            *at = event->next;
            free(event);
            vd_take(ctx->base.async_fd);
        } else {
            at = &event->next;
        }
    }
}
