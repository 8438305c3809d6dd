/* The faults that the double of libibverbs has to order. */
#include "pair.h"

TestSuite(verbs_faults, .init = make, .fini = end, .timeout = 20);

Test(verbs_faults, every_status_at_every_work_request)
{
    for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_GENERAL_ERR; status++) {
        for (unsigned nth = 0; nth < 4; nth++) {
            pair_end(&p);
            pair_make(&p, (uint64_t)(status * 4) + nth);
            struct verbs_double_fault fault = {.kind = VERBS_STATUS,
                                               .which = VERBS_READ,
                                               .after = nth,
                                               .status = (enum ibv_wc_status)status};
            verbs_double_fault(p.d, &fault);
            for (unsigned i = 0; i < 4; i++) {
                cr_assert_eq(
                    post_read(a, i, a->mem + i * 4096, b->mem, 4096, b->mr->rkey), 0);
            }
            for (unsigned i = 0; i < 4; i++) {
                int want = i < nth    ? IBV_WC_SUCCESS
                           : i == nth ? status
                                      : IBV_WC_WR_FLUSH_ERR;
                cr_assert_eq((int)next_status(&p, a, i), want);
            }
            cr_assert_eq(verbs_double_fired(p.d), 1);
            verbs_double_guard(p.d, 0, a->mem, PAIR_BYTES);
            drain(&p); /* nothing lands any more */
            while (event_of(a) >= 0 || event_of(b) >= 0) {
            }
        }
    }
}

Test(verbs_faults, late_twice_never_and_flipped)
{
    struct ibv_wc wc;
    struct verbs_double_fault fault = {
        .kind = VERBS_LATE, .host = 0, .which = VERBS_ANY, .delay_ns = 1000000000};
    verbs_double_fault(p.d, &fault);
    cr_assert_eq(post_read(a, 1, a->mem, b->mem, 4096, b->mr->rkey), 0);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_SUCCESS);
    cr_assert_geq(fake_net_now_ns(p.net), 1000000000);
    fault.kind = VERBS_TWICE;
    verbs_double_fault(p.d, &fault);
    cr_assert_eq(post_read(a, 2, a->mem, b->mem, 4096, b->mr->rkey), 0);
    cr_assert_eq(next_status(&p, a, 2), IBV_WC_SUCCESS);
    cr_assert_eq(next_status(&p, a, 2), IBV_WC_SUCCESS);
    fault.kind = VERBS_FLIP;
    verbs_double_fault(p.d, &fault);
    cr_assert_eq(post_read(a, 3, a->mem, b->mem, 4096, b->mr->rkey), 0);
    cr_assert_eq(next_status(&p, a, 3), IBV_WC_SUCCESS);
    cr_assert_neq(memcmp(a->mem, b->mem, 4096), 0);
    fault.kind = VERBS_NEVER;
    verbs_double_fault(p.d, &fault);
    cr_assert_eq(post_read(a, 4, a->mem, b->mem, 4096, b->mr->rkey), 0);
    cr_assert_not(next_wc(&p, a, &wc));
    struct ibv_qp_attr err = {.qp_state = IBV_QPS_ERR};
    cr_assert_eq(a->lib->modify_qp(a->qp, &err, IBV_QP_STATE), 0);
    cr_assert_eq(next_status(&p, a, 4), IBV_WC_WR_FLUSH_ERR);
    cr_assert_eq(verbs_double_fired(p.d), 4);
}

Test(verbs_faults, a_read_may_land_until_it_is_flushed_and_not_after)
{
    unsigned late = 0;
    for (uint64_t seed = 1; seed < 40; seed++) {
        pair_end(&p);
        pair_make(&p, seed);
        memset(a->mem, 0, PAIR_BYTES);
        cr_assert_eq(post_read(a, 1, a->mem, b->mem, 8192, b->mr->rkey), 0);
        cr_assert(fake_net_step(p.net));
        struct ibv_qp_attr err = {.qp_state = IBV_QPS_ERR};
        cr_assert_eq(a->lib->modify_qp(a->qp, &err, IBV_QP_STATE), 0);
        uint8_t before = a->mem[2048];
        cr_assert_eq(next_status(&p, a, 1), IBV_WC_WR_FLUSH_ERR);
        late += a->mem[2048] != before;
        verbs_double_guard(p.d, 0, a->mem, PAIR_BYTES);
        drain(&p);
    }
    cr_assert(late > 5 && late < 35, "%u of 39", late);
}

Test(verbs_faults, devices_and_ports_die)
{
    struct ibv_wc wc;
    struct ibv_port_attr port;
    verbs_double_port_down(p.d, 1, 0);
    cr_assert_eq(event_of(b), IBV_EVENT_PORT_ERR);
    cr_assert_eq(b->lib->query_port(b->context, 1, &port), 0);
    cr_assert_eq(port.state, IBV_PORT_DOWN);
    cr_assert_eq(post_read(a, 1, a->mem, b->mem, 64, b->mr->rkey), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert(fake_net_step(p.net));
    }
    verbs_double_port_up(p.d, 1, 0); /* soon enough */
    cr_assert_eq(event_of(b), IBV_EVENT_PORT_ACTIVE);
    cr_assert_eq(next_status(&p, a, 1), IBV_WC_SUCCESS);
    cr_assert_eq(post_read(a, 2, a->mem, b->mem, 64, b->mr->rkey), 0);
    verbs_double_kill(p.d, 1);
    cr_assert_eq(next_status(&p, a, 2), IBV_WC_RETRY_EXC_ERR);
    verbs_double_device_fatal(p.d, 0, 0);
    cr_assert_eq(event_of(a), IBV_EVENT_DEVICE_FATAL);
    cr_assert_eq(post_read(a, 3, a->mem, b->mem, 64, b->mr->rkey), EIO);
    cr_assert_not(next_wc(&p, a, &wc));
}
