/* A link's queue pair: joined to one queue pair of the peer, and to no other. */
#include <sodium.h>
#include <string.h>

#include "verbs.h"

enum {
    ACK_TIMEOUT = 14, /* 4.096 us << 14: 67 ms */
    RETRIES = 6,      /* 7 never gives up on rdma_rxe */
    RNR_RETRIES = 6,  /* and 7 never does by definition */
    RNR_TIMER = 12,   /* 0.64 ms */
    HOPS = 64,
};

static bool take_slot(struct verbs_link *link)
{
    struct verbs_rail *rail = link->rail;
    for (unsigned i = 0; i < rail->links_max; i++) {
        if (rail->links[i] == NULL) {
            rail->links[i] = link;
            link->slot = i;
            return true;
        }
    }
    return false;
}

/* No object is under way over it: what a peer reads of ours is seen by its export alone. Small messages
 * that it did not acknowledge yet go below. */
static bool rests(const struct verbs_link *link)
{
    return link->state == LINK_UP && link->signaled == 0 &&
           link->peer->pulls_count == 0 && link->peer->serves == NULL;
}

/* Of the links at rest the one that has rested longest gives way. Its queue pair drains first, so the
 * slot is free when the other one tries again; and its own pause keeps the two from taking turns. */
static void make_room(struct verbs_rail *rail)
{
    struct verbs_link *least = NULL;
    for (unsigned i = 0; i < rail->links_max; i++) {
        struct verbs_link *link = rail->links[i];
        if (link->state == LINK_DRAINING) {
            return; /* one is on its way */
        }
        if (rests(link) && (least == NULL || link->used < least->used)) {
            least = link;
        }
    }
    if (least != NULL) {
        verbs_link_fail(least, true, "%s: it was at rest, and another peer had none",
                        rail->path);
    }
}

static void free_slot(struct verbs_link *link)
{
    link->rail->epochs[link->slot]++;
    link->rail->links[link->slot] = NULL;
}

static int to_init(struct verbs_link *link)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .pkey_index = 0,
                               .port_num = link->rail->port,
                               .qp_access_flags = IBV_ACCESS_REMOTE_READ};
    return link->rail->v->lib->modify_qp(link->qp, &attr,
                                         IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
                                             IBV_QP_ACCESS_FLAGS);
}

/* Ready to receive from, and to send to, that queue pair of the peer and no other. */
int verbs_qp_ready(struct verbs_link *link, uint32_t qpn, uint32_t psn)
{
    const struct verbs_rail *rail = link->rail;
    const struct verbs_lib *lib = rail->v->lib;
    const struct verbs_port *other = &link->peer->hello.rails[link->other_rail];
    uint8_t mtu = other->mtu < rail->port_info.mtu ? other->mtu : rail->port_info.mtu;
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR,
                               .path_mtu = (enum ibv_mtu)mtu,
                               .dest_qp_num = qpn,
                               .rq_psn = psn,
                               .max_dest_rd_atomic = rail->resp_depth,
                               .min_rnr_timer = RNR_TIMER};
    attr.ah_attr.port_num = rail->port;
    if (other->ethernet) {
        attr.ah_attr.is_global = 1;
        attr.ah_attr.grh.sgid_index = (uint8_t)rail->gid_index;
        attr.ah_attr.grh.hop_limit = HOPS;
        memcpy(attr.ah_attr.grh.dgid.raw, other->gid, sizeof other->gid);
    } else {
        attr.ah_attr.dlid = other->lid;
    }
    int err = lib->modify_qp(link->qp, &attr,
                             IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
                                 IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                 IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
    if (err != 0) {
        return err;
    }
    link->window =
        rail->init_depth < other->resp_depth ? rail->init_depth : other->resp_depth;
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
                                .timeout = ACK_TIMEOUT,
                                .retry_cnt = RETRIES,
                                .rnr_retry = RNR_RETRIES,
                                .sq_psn = link->psn,
                                .max_rd_atomic = (uint8_t)link->window};
    return lib->modify_qp(link->qp, &attr,
                          IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                              IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

void verbs_qp_destroy(struct verbs_link *link)
{
    verbs_slots_release(link);
    if (link->qp != NULL) {
        (void)link->rail->v->lib->destroy_qp(link->qp);
        link->qp = NULL;
        free_slot(link);
    }
}

/* NULL, or why not. */
const char *verbs_qp_create(struct verbs_link *link)
{
    struct verbs_rail *rail = link->rail;
    const struct verbs_lib *lib = rail->v->lib;
    struct ibv_qp_init_attr attr = {
        .send_cq = rail->cq,
        .recv_cq = rail->cq,
        .srq = rail->srq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = VERBS_SEND_QUEUE,
                .max_send_sge = 1,
                .max_inline_data = VERBS_FRAME_BYTES + VERBS_SMALL_MAX}};
    if (rail->v->changing) {
        return "the device is being closed";
    }
    if (rail->dead) {
        return "the device failed";
    }
    if (!take_slot(link)) {
        make_room(rail);
        return "the port has as many queue pairs as it takes";
    }
    link->head = link->tail = link->reads = link->signaled = 0;
    link->sent = link->acked = link->came = link->told = 0;
    link->credits = 0;
    link->psn = randombytes_random() & 0xffffff;
    link->qp = lib->create_qp(rail->pd, &attr);
    if (link->qp == NULL) { /* it may be that the device takes less inline, or nothing */
        attr.cap.max_inline_data = 0;
        link->qp = lib->create_qp(rail->pd, &attr);
    }
    link->inlines = attr.cap.max_inline_data >= VERBS_FRAME_BYTES + VERBS_SMALL_MAX;
    if (link->qp == NULL) {
        free_slot(link);
        return "the device gives no queue pair";
    }
    if (to_init(link) != 0) {
        verbs_qp_destroy(link);
        return "the queue pair cannot be set up";
    }
    return NULL;
}
