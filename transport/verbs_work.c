/* Work requests and their completions. The id of a request says which slot of the rail its
 * link has, for the how-manieth queue pair in that slot, and its place in the link's ring:
 * a completion that comes late, from a queue pair that is gone, is known for what it is. */
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

enum { BATCH = 32, BATCHES = 16 };

unsigned verbs_link_room(const struct verbs_link *link)
{
    return VERBS_SEND_QUEUE - (link->head - link->tail);
}

bool verbs_post(struct verbs_link *link, struct ibv_send_wr *wr,
                const struct verbs_wr *work)
{
    struct verbs_rail *rail = link->rail;
    struct ibv_send_wr *bad;
    wr->wr_id = (uint64_t)link->slot << 48 | (uint64_t)rail->epochs[link->slot] << 32 |
                link->head;
    int err = rail->v->lib->post_send(link->qp, wr, &bad);
    if (err != 0) {
        log_error("rdma %s: posting failed: %s", rail->path, strerror(err));
        verbs_link_fail(link, true, "%s: posting failed: %s", rail->path, strerror(err));
        return false;
    }
    if (link->signaled == 0) {
        link->moved_ns = verbs_now(rail->v);
        verbs_link_watch(link);
    }
    link->ring[link->head % VERBS_SEND_QUEUE] = *work;
    link->ring[link->head % VERBS_SEND_QUEUE].signaled =
        (wr->send_flags & IBV_SEND_SIGNALED) != 0;
    link->signaled += (wr->send_flags & IBV_SEND_SIGNALED) != 0;
    link->head++;
    verbs_link_used(link);
    if (work->kind == WORK_READ) {
        link->reads++;
        rail->flight_bytes += work->bytes;
    }
    return true;
}

static void over(struct verbs_link *link, const struct verbs_wr *work, bool good)
{
    link->signaled -= work->signaled;
    switch (work->kind) {
    case WORK_READ:
        link->reads--;
        link->rail->flight_bytes -= work->bytes;
        if (work->last) {
            verbs_read_done(work->owner, work->chunk, good);
        }
        return;
    case WORK_BIND:
        verbs_serve_bound(work->owner, good);
        return;
    case WORK_INVALIDATE:
        verbs_serve_unbound(work->owner);
        return;
    case WORK_SEND:
        return; /* it was inline, and is kept until the peer says that it came */
    }
}

static void failed(struct verbs_link *link, const struct verbs_wr *work,
                   const struct ibv_wc *wc)
{
    const struct verbs_rail *rail = link->rail;
    const char *what = rail->v->lib->wc_status_str(wc->status);
    bool ours = wc->status == IBV_WC_LOC_LEN_ERR || wc->status == IBV_WC_LOC_QP_OP_ERR ||
                wc->status == IBV_WC_LOC_PROT_ERR ||
                wc->status == IBV_WC_LOC_ACCESS_ERR || wc->status == IBV_WC_MW_BIND_ERR;
    if (ours) { /* nothing that a peer or a network could do */
        log_error("rdma %s: a request of ours was wrong: %s, vendor error %u, queue pair "
                  "%u, chunk %llu",
                  rail->path, what, wc->vendor_err, link->qp->qp_num,
                  (unsigned long long)work->chunk);
    }
    verbs_link_fail(link, true, "%s: %s, vendor error %u, queue pair %u, chunk %llu",
                    rail->path, what, wc->vendor_err, link->qp->qp_num,
                    (unsigned long long)work->chunk);
}

static void complete(struct verbs_rail *rail, const struct ibv_wc *wc)
{
    if (wc->wr_id >> 63 != 0) {
        verbs_small_came(rail, wc);
        return;
    }
    unsigned slot = (unsigned)(wc->wr_id >> 48);
    struct verbs_link *link = slot < VERBS_LINKS_MAX ? rail->links[slot] : NULL;
    uint32_t at = (uint32_t)wc->wr_id;
    if (link == NULL || rail->epochs[slot] != (uint16_t)(wc->wr_id >> 32) ||
        at - link->tail >= link->head - link->tail) {
        return;
    }
    link->moved_ns = verbs_now(rail->v);
    while (link->tail != at + 1) { /* what was posted before is over as well */
        struct verbs_wr work = link->ring[link->tail % VERBS_SEND_QUEUE];
        bool good = wc->status == IBV_WC_SUCCESS || link->tail != at;
        link->tail++;
        if (!good && link->state != LINK_DRAINING) {
            failed(link, &work, wc);
        }
        over(link, &work, good);
    }
    if (link->state == LINK_DRAINING && link->signaled == 0) {
        verbs_link_drained(link);
    } else {
        verbs_touch(link->peer);
    }
}

void verbs_link_flushed(struct verbs_link *link)
{
    while (link->tail != link->head) {
        struct verbs_wr work = link->ring[link->tail++ % VERBS_SEND_QUEUE];
        over(link, &work, false);
    }
}

unsigned verbs_rail_poll(struct verbs_rail *rail)
{
    struct ibv_wc wc[BATCH];
    unsigned total = 0;
    for (unsigned k = 0; k < BATCHES && !rail->dead; k++) {
        int n = rail->v->lib->poll_cq(rail->cq, BATCH, wc);
        for (int i = 0; i < n; i++) {
            complete(rail, &wc[i]);
        }
        total += n > 0 ? (unsigned)n : 0;
        verbs_slots_post(rail);
        if (n < BATCH) {
            break;
        }
    }
    if (total != 0 && rail->starved) {
        rail->starved = false;
        for (unsigned i = 0; i < rail->links_max; i++) {
            if (rail->links[i] != NULL) {
                verbs_touch(rail->links[i]->peer);
            }
        }
    }
    return total;
}
