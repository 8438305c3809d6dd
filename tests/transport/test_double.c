/* The double of libibverbs does what devices do, and finds what programs may not do. */
#include <signal.h>

#include "pair.h"

TestSuite(verbs_double, .init = make, .fini = end, .timeout = 20);

static uint32_t rkey(void)
{
    return b->mr->rkey;
}

Test(verbs_double, reads_land_in_pieces_and_complete_in_order)
{
    bool part = false;
    memset(a->mem, 0, PAIR_BYTES);
    for (unsigned i = 0; i < 8; i++) { /* twice what may be in flight */
        cr_assert_eq(post_read(a, i, a->mem + i * 4096, b->mem + i * 4000, 4096, rkey()),
                     0);
    }
    struct ibv_wc wc;
    while (a->lib->poll_cq(a->cq, 1, &wc) == 0) {
        cr_assert(fake_net_step(p.net));
        part = part || (a->mem[0] == b->mem[0] && a->mem[4095] == 0);
    }
    cr_assert(part, "it never lay there in part");
    for (unsigned i = 0;; i++) {
        cr_assert(wc.wr_id == i && wc.status == IBV_WC_SUCCESS &&
                  wc.opcode == IBV_WC_RDMA_READ);
        cr_assert_eq(memcmp(a->mem + i * 4096, b->mem + i * 4000, 4096), 0);
        if (i == 7) {
            break;
        }
        cr_assert(next_wc(&p, a, &wc));
    }
    cr_assert_eq(verbs_double_read_bytes(p.d), 8 * 4096);
}

Test(verbs_double, what_may_not_be_read_costs_both_queue_pairs)
{
    struct ibv_pd *other = b->lib->alloc_pd(b->context);
    struct ibv_mr *foreign = b->lib->reg_mr(other, b->mem, 4096, IBV_ACCESS_REMOTE_READ);
    struct ibv_mr *closed = b->lib->reg_mr(b->pd, b->mem, 4096, 0);
    const struct {
        uint32_t key;
        uint64_t offset, size;
    } wrong[] = {{rkey() ^ 1, 0, 64},
                 {rkey(), PAIR_BYTES - 63, 64},
                 {foreign->rkey, 0, 64},
                 {closed->rkey, 0, 64}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_eq(post_read(a, 1, a->mem, b->mem + wrong[i].offset,
                               (uint32_t)wrong[i].size, wrong[i].key),
                     0);
        cr_assert_eq(post_read(a, 2, a->mem, b->mem, 64, rkey()), 0);
        cr_assert_eq(next_status(&p, a, 1), IBV_WC_REM_ACCESS_ERR);
        cr_assert_eq(next_status(&p, a, 2), IBV_WC_WR_FLUSH_ERR);
        cr_assert_eq(post_read(b, 3, b->mem, a->mem, 64, a->mr->rkey), 0);
        cr_assert_eq(next_status(&p, b, 3), IBV_WC_WR_FLUSH_ERR);
        cr_assert_eq(event_of(b), IBV_EVENT_QP_ACCESS_ERR);
        drain(&p);
        while (event_of(b) >= 0 || event_of(a) >= 0) {
        }
        for (unsigned k = 0; k < 2; k++) { /* both anew */
            p.end[k].lib->destroy_qp(p.end[k].qp);
            p.end[k].qp = new_qp(&p.end[k]);
        }
        join(a, b);
        join(b, a);
    }
    cr_assert_eq(post_read(a, 9, a->mem, NULL, 0, 12345), 0); /* no bytes, no check */
    cr_assert_eq(next_status(&p, a, 9), IBV_WC_SUCCESS);
    b->lib->dereg_mr(foreign);
    b->lib->dereg_mr(closed);
    b->lib->dealloc_pd(other);
}

Test(verbs_double, own_keys_are_checked_too)
{
    struct ibv_mr *readonly = a->lib->reg_mr(a->pd, a->mem, 4096, 0), *mine = a->mr;
    a->mr = readonly;
    cr_assert_eq(post_read(a, 1, a->mem, b->mem, 64, rkey()), 0);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_LOC_PROT_ERR);
    a->mr = mine;
    a->lib->dereg_mr(readonly);
    cr_assert_eq(post_read(b, 2, b->mem, a->mem, 64, a->mr->rkey), 0);
    cr_assert_eq(next_status(&p, b, 2), IBV_WC_RETRY_EXC_ERR); /* a's end is in ERR */
    cr_assert_geq(fake_net_now_ns(p.net), 7 * (4096ull << 14));
}

static void post_window(struct end *e, struct ibv_mw *mw, uint32_t key, uint64_t size)
{
    struct ibv_send_wr wr = {.wr_id = 100,
                             .opcode = size ? IBV_WR_BIND_MW : IBV_WR_LOCAL_INV,
                             .send_flags = IBV_SEND_SIGNALED},
                       *bad;
    if (size != 0) {
        wr.bind_mw.mw = mw;
        wr.bind_mw.rkey = key;
        wr.bind_mw.bind_info = (struct ibv_mw_bind_info){e->mr, (uintptr_t)e->mem + 4096,
                                                         size, IBV_ACCESS_REMOTE_READ};
    } else {
        wr.invalidate_rkey = key;
    }
    cr_assert_eq(e->lib->post_send(e->qp, &wr, &bad), 0);
}

Test(verbs_double, a_window_shows_its_range_until_it_is_invalid)
{
    struct ibv_mw *mw = b->lib->alloc_mw(b->pd, IBV_MW_TYPE_2);
    uint32_t key = ibv_inc_rkey(mw->rkey);
    cr_assert_null(b->lib->alloc_mw(b->pd, IBV_MW_TYPE_1));
    post_window(b, mw, key, 8192);
    cr_assert_eq(next_status(&p, b, 100), IBV_WC_SUCCESS);
    cr_assert_eq(b->lib->dereg_mr(b->mr), EBUSY);
    cr_assert_eq(post_read(a, 1, a->mem, b->mem + 4096, 8192, key), 0);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_SUCCESS);
    post_window(b, mw, key, 0);
    cr_assert_eq(next_status(&p, b, 100), IBV_WC_SUCCESS);
    cr_assert_eq(post_read(a, 2, a->mem, b->mem + 4096, 1, key), 0);
    cr_assert_eq(next_status(&p, a, 2), IBV_WC_REM_ACCESS_ERR);
    cr_assert_eq(b->lib->dealloc_mw(mw), 0);
    cr_assert_eq(event_of(b), IBV_EVENT_QP_ACCESS_ERR);
}

Test(verbs_double, a_window_ends_under_a_read_that_is_in_flight)
{
    struct ibv_mw *mw = b->lib->alloc_mw(b->pd, IBV_MW_TYPE_2);
    uint32_t key = ibv_inc_rkey(mw->rkey);
    post_window(b, mw, key, 8192);
    cr_assert_eq(next_status(&p, b, 100), IBV_WC_SUCCESS);
    memset(a->mem, 0, 8192);
    cr_assert_eq(post_read(a, 1, a->mem, b->mem + 4096, 8192, key), 0);
    while (a->mem[0] != b->mem[4096]) {
        cr_assert(fake_net_step(p.net));
    }
    cr_assert_eq(b->lib->dealloc_mw(mw), 0);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_REM_ACCESS_ERR);
    cr_assert_neq(a->mem[8191], b->mem[4096 + 8191]);
    cr_assert_eq(event_of(b), IBV_EVENT_QP_ACCESS_ERR);
}

Test(verbs_double, binding_is_checked)
{
    struct ibv_mw *mw = b->lib->alloc_mw(b->pd, IBV_MW_TYPE_2);
    post_window(b, mw, ibv_inc_rkey(mw->rkey), PAIR_BYTES); /* past the end */
    cr_assert_eq(next_status(&p, b, 100), IBV_WC_MW_BIND_ERR);
    post_window(a, mw, 0x12345600, 0); /* of nothing */
    cr_assert_eq(next_status(&p, a, 100), IBV_WC_LOC_QP_OP_ERR);
    b->lib->dealloc_mw(mw);
}

Test(verbs_double, messages_in_order_inline_and_unsignalled)
{
    struct ibv_wc wc;
    uint8_t *in = b->mem;
    for (unsigned i = 0; i < 8; i++) {
        post_recv(b, 50 + i, in + 64 * i, 64);
    }
    for (unsigned i = 0; i < 8; i++) {
        uint8_t text[32]; /* gone before it is sent */
        memset(text, (int)(i + 1), sizeof text);
        cr_assert_eq(post_send(a, i, text, sizeof text,
                               IBV_SEND_INLINE | (i == 7 ? IBV_SEND_SIGNALED : 0u)),
                     0);
    }
    for (unsigned i = 0; i < 8; i++) {
        cr_assert(next_wc(&p, b, &wc));
        cr_assert(wc.wr_id == 50 + i && wc.status == IBV_WC_SUCCESS &&
                  wc.opcode == IBV_WC_RECV && wc.byte_len == 32 &&
                  wc.src_qp == a->qp->qp_num);
        cr_assert_eq(in[64 * i + 31], i + 1);
    }
    cr_assert_eq(next_status(&p, a, 7), IBV_WC_SUCCESS);
    cr_assert_not(next_wc(&p, a, &wc));
    cr_assert_eq(verbs_double_messages(p.d), 8);
}

Test(verbs_double, nobody_receives_then_somebody_then_too_little_room)
{
    struct ibv_wc wc;
    cr_assert_eq(post_send(a, 1, a->mem, 40, IBV_SEND_SIGNALED), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert(fake_net_step(p.net)); /* it is refused, and comes again */
    }
    post_recv(b, 50, b->mem, 64);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_SUCCESS);
    cr_assert_eq(next_status(&p, b, 50), IBV_WC_SUCCESS);
    post_recv(b, 51, b->mem, 39);
    cr_assert_eq(post_send(a, 2, a->mem, 40, 0), 0); /* errors come unasked */
    cr_assert_eq(next_status(&p, a, 2), IBV_WC_REM_INV_REQ_ERR);
    cr_assert_eq(next_status(&p, b, 51), IBV_WC_LOC_LEN_ERR);
    cr_assert(b->lib->poll_cq(b->cq, 1, &wc) == 0);
}

Test(verbs_double, a_receiver_that_is_never_ready_ends_the_sender_alone)
{
    cr_assert_eq(post_send(a, 1, a->mem, 40, 0), 0);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_RNR_RETRY_EXC_ERR);
    drain(&p);
    cr_assert_eq(event_of(a), IBV_EVENT_QP_LAST_WQE_REACHED);
    cr_assert_eq(event_of(b), -1);
}

Test(verbs_double, notification_comes_once_and_not_for_what_is_there)
{
    struct ibv_cq *cq;
    void *arg;
    struct ibv_wc wc;
    cr_assert_eq(a->lib->get_cq_event(a->channel, &cq, &arg), -1);
    cr_assert_eq(errno, EAGAIN);
    cr_assert_eq(post_read(a, 1, a->mem, b->mem, 64, rkey()), 0);
    drain(&p);
    cr_assert_eq(a->lib->req_notify_cq(a->cq, 0), 0);
    cr_assert_eq(a->lib->get_cq_event(a->channel, &cq, &arg), -1);
    cr_assert_eq(a->lib->poll_cq(a->cq, 1, &wc), 1);
    cr_assert_eq(post_read(a, 2, a->mem, b->mem, 64, rkey()), 0);
    cr_assert_eq(post_read(a, 3, a->mem, b->mem, 64, rkey()), 0);
    drain(&p);
    cr_assert_eq(a->lib->get_cq_event(a->channel, &cq, &arg), 0);
    cr_assert(cq == a->cq && arg == a);
    cr_assert_eq(a->lib->get_cq_event(a->channel, &cq, &arg), -1);
    a->lib->ack_cq_events(a->cq, 1);
}

/* ---- states and limits
 * ------------------------------------------------------------------- */

Test(verbs_double, transitions_and_their_attributes)
{
    struct ibv_qp *joined = a->qp;
    struct ibv_qp_attr init = init_attr(), rtr = rtr_attr(b), rts = rts_attr();
    struct ibv_send_wr wr = {.opcode = IBV_WR_SEND}, *bad;
    struct ibv_qp *qp = new_qp(a);
    cr_assert_eq(a->lib->modify_qp(qp, &rtr, RTR_MASK), EINVAL);
    cr_assert_eq(a->lib->modify_qp(qp, &init, INIT_MASK & ~IBV_QP_PORT), EINVAL);
    cr_assert_eq(a->lib->modify_qp(qp, &init, INIT_MASK | IBV_QP_TIMEOUT), EINVAL);
    cr_assert_eq(a->lib->modify_qp(qp, &init, INIT_MASK), 0);
    cr_assert_eq(a->lib->post_send(qp, &wr, &bad), EINVAL);
    cr_assert(bad == &wr);
    for (int bit = IBV_QP_AV; bit <= IBV_QP_DEST_QPN; bit <<= 1) {
        if (RTR_MASK & bit) {
            cr_assert_eq(a->lib->modify_qp(qp, &rtr, RTR_MASK & ~bit), EINVAL);
        }
    }
    struct ibv_qp_attr wrong = rtr;
    wrong.max_dest_rd_atomic = 17;
    cr_assert_eq(a->lib->modify_qp(qp, &wrong, RTR_MASK), EINVAL);
    wrong = rtr;
    wrong.ah_attr.is_global = 0;
    cr_assert_eq(a->lib->modify_qp(qp, &wrong, RTR_MASK), EINVAL);
    wrong = rtr;
    wrong.ah_attr.grh.sgid_index = 0; /* RoCE v1 does not reach v2 */
    cr_assert_eq(a->lib->modify_qp(qp, &wrong, RTR_MASK), ETIMEDOUT);
    cr_assert_eq(a->lib->modify_qp(qp, &rtr, RTR_MASK), 0);
    cr_assert_eq(a->lib->modify_qp(qp, &rts, RTS_MASK & ~IBV_QP_TIMEOUT), EINVAL);
    rts.max_rd_atomic = 17;
    cr_assert_eq(a->lib->modify_qp(qp, &rts, RTS_MASK), EINVAL);
    rts.max_rd_atomic = 16;
    cr_assert_eq(a->lib->modify_qp(qp, &rts, RTS_MASK), 0);
    cr_assert_eq(qp->state, IBV_QPS_RTS);
    struct ibv_qp_attr err = {.qp_state = IBV_QPS_ERR};
    cr_assert_eq(a->lib->modify_qp(qp, &err, IBV_QP_STATE), 0);
    cr_assert_eq(a->lib->modify_qp(qp, &rts, RTS_MASK), EINVAL);
    err.qp_state = IBV_QPS_RESET;
    cr_assert_eq(a->lib->modify_qp(qp, &err, IBV_QP_STATE), 0);
    cr_assert_eq(a->lib->modify_qp(qp, &init, INIT_MASK), 0);
    cr_assert_eq(a->lib->destroy_qp(qp), 0);
    a->qp = joined;
}

Test(verbs_double, more_reads_than_the_other_end_takes_are_refused)
{
    struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET}, init = init_attr(),
                       rtr = rtr_attr(a), rts = rts_attr();
    rtr.max_dest_rd_atomic = 1;
    cr_assert_eq(b->lib->modify_qp(b->qp, &reset, IBV_QP_STATE), 0);
    cr_assert_eq(b->lib->modify_qp(b->qp, &init, INIT_MASK), 0);
    cr_assert_eq(b->lib->modify_qp(b->qp, &rtr, RTR_MASK), 0);
    cr_assert_eq(b->lib->modify_qp(b->qp, &rts, RTS_MASK), 0);
    cr_assert_eq(post_read(a, 1, a->mem, b->mem, 64, rkey()), 0);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_SUCCESS);
    cr_assert_eq(post_read(a, 2, a->mem, b->mem, 64, rkey()), 0);
    cr_assert_eq(post_read(a, 3, a->mem, b->mem, 64, rkey()), 0);
    enum ibv_wc_status two = next_status(&p, a, 2), three = next_status(&p, a, 3);
    cr_assert(two == IBV_WC_REM_INV_REQ_ERR || three == IBV_WC_REM_INV_REQ_ERR);
    drain(&p);
    cr_assert_eq(event_of(b), IBV_EVENT_QP_REQ_ERR);
}

Test(verbs_double, limits_of_memory_windows_and_queue_pairs)
{
    struct verbs_double_host *host = verbs_double_host(p.d, 0);
    host->device[0].attr.max_mr_size = 8192;
    cr_assert_null(a->lib->reg_mr(a->pd, a->mem, 8193, 0));
    cr_assert_eq(errno, EINVAL);
    host->memlock = PAIR_BYTES + 4096;
    cr_assert_null(a->lib->reg_mr(a->pd, a->mem, 4097, 0));
    cr_assert_eq(errno, ENOMEM);
    host->mr_room = 1;
    struct ibv_mr *mr = a->lib->reg_mr(a->pd, a->mem, 1024, 0);
    cr_assert_not_null(mr);
    cr_assert_null(a->lib->reg_mr(a->pd, a->mem, 1024, 0));
    cr_assert_eq(a->lib->dereg_mr(mr), 0);
    cr_assert_null(a->lib->reg_mr(a->pd, (void *)4096, 4096, 0));
    host->device[0].attr.device_cap_flags = 0;
    cr_assert_null(a->lib->alloc_mw(a->pd, IBV_MW_TYPE_2));
    host->qp_room = 0;
    cr_assert_null(new_qp(a));
    cr_assert_eq(errno, ENOMEM);
    cr_assert_eq(a->lib->dealloc_pd(a->pd), EBUSY);
    cr_assert_eq(a->lib->destroy_cq(a->cq), EBUSY);
    cr_assert_eq(a->lib->destroy_srq(a->srq), EBUSY);
    host->device[0].port.max_msg_sz = 100;
    cr_assert_eq(post_read(a, 1, a->mem, b->mem, 101, rkey()), 0);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_LOC_LEN_ERR);
}

/* ---- what no program may do
 * -------------------------------------------------------------- */

Test(verbs_double, a_send_queue_that_overflows_aborts, .signal = SIGABRT)
{
    for (unsigned i = 0; i <= PAIR_WRS; i++) {
        post_read(a, i, a->mem, b->mem, 64, rkey());
    }
}

Test(verbs_double, slots_come_back_with_the_next_completion_that_is_polled,
     .signal = SIGABRT)
{
    for (unsigned i = 0; i < PAIR_WRS; i++) {
        post_recv(b, i, b->mem, 64);
        cr_assert_eq(post_send(a, i, a->mem, 8, i == 20 ? IBV_SEND_SIGNALED : 0u), 0);
    }
    cr_assert_eq(next_status(&p, a, 20), IBV_WC_SUCCESS);
    drain(&p);
    for (unsigned i = 0; i < 21; i++) {
        cr_assert_eq(post_send(a, 100 + i, a->mem, 8, 0), 0);
    }
    post_send(a, 200, a->mem, 8, 0);
}

Test(verbs_double, guarded_memory_that_is_read_aborts, .signal = SIGABRT)
{
    verbs_double_guard(p.d, 1, b->mem + 100, 1);
    post_read(a, 1, a->mem, b->mem, 64, rkey());
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_SUCCESS);
    post_read(a, 2, a->mem, b->mem + 64, 64, rkey());
    drain(&p);
}

Test(verbs_double, an_event_that_is_not_acknowledged_aborts, .signal = SIGABRT)
{
    struct ibv_cq *cq;
    void *arg;
    cr_assert_eq(a->lib->req_notify_cq(a->cq, 0), 0);
    cr_assert_eq(post_read(a, 1, a->mem, b->mem, 64, rkey()), 0);
    drain(&p);
    cr_assert_eq(a->lib->get_cq_event(a->channel, &cq, &arg), 0);
    a->lib->destroy_qp(a->qp);
    a->lib->destroy_cq(a->cq);
}
