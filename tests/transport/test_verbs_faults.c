/* The verbs backend when its devices fail: whatever happens to a work request, the object
 * arrives as it is, once, and nothing is touched that is not lent any more. The double
 * aborts if a device reads what was given back, or writes where a pull is done. */
#include "verbs_faults.h"

/* Has @fault happen at the first, second, ... work request of an exchange, until there is
 * none so late; or at every @step-th of them. Returns how many there were, within @step. */
static unsigned sweep_by(const struct backend *backend, struct verbs_double_fault fault,
                         unsigned step)
{
    for (;; fault.after += step) {
        if (getenv("MOB_TEST_VERBOSE") != NULL) {
            fprintf(stderr, "%s: fault %d, status %d, host %d, after %lu\n",
                    backend->name, fault.kind, fault.status, fault.host,
                    (unsigned long)fault.after);
        }
        struct world w;
        struct transport_peer *peer = begin(&w, backend);
        verbs_double_fault(w.d, &fault);
        exchange(&w, peer);
        bool fired = verbs_double_fired(w.d) != 0;
        verbs_double_calm(w.d);
        exchange(&w, peer);
        world_end(&w);
        if (!fired) {
            return (unsigned)fault.after;
        }
    }
}

static unsigned sweep(const struct backend *backend, struct verbs_double_fault fault)
{
    return sweep_by(backend, fault, 1);
}

/* What the backend does depends on whether a status is a success, and not on which it is: so each status
 * is tried at every third work request, and each request with every third status. */
static unsigned sweep_status(const struct backend *backend,
                             struct verbs_double_fault fault)
{
    world_seed = (uint64_t)fault.status;
    if (getenv("MOB_TEST_FULL") != NULL) {
        return sweep(backend, fault);
    }
    fault.after = (uint64_t)fault.status % 3;
    return sweep_by(backend, fault, 3);
}

TestSuite(verbs, .timeout = 240);

Test(verbs, any_status_of_any_read)
{
    for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_TM_RNDV_INCOMPLETE; status++) {
        struct verbs_double_fault fault = {.kind = VERBS_STATUS,
                                           .which = VERBS_READ,
                                           .status = (enum ibv_wc_status)status};
        cr_assert_geq(sweep_status(&over_verbs_fake, fault), 5);
    }
}

Test(verbs, any_status_of_any_window)
{
    for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_GENERAL_ERR; status += 3) {
        struct verbs_double_fault fault = {.kind = VERBS_STATUS,
                                           .host = 1,
                                           .which = VERBS_BIND | VERBS_INV,
                                           .status = (enum ibv_wc_status)status};
        world_seed = (uint64_t)status;
        cr_assert_geq(sweep(&over_verbs_strict, fault), 2);
    }
}

Test(verbs, any_status_of_any_send_and_receive)
{
    static const unsigned which[] = {VERBS_SEND, VERBS_RECV};
    for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_GENERAL_ERR; status++) {
        for (int i = 0; i < 4; i++) {
            if (getenv("MOB_TEST_FULL") == NULL && (i + i / 2 + status) % 2 != 0) {
                continue; /* of the two hosts one in turn, for each kind */
            }
            struct verbs_double_fault fault = {.kind = VERBS_STATUS,
                                               .host = i % 2,
                                               .which = which[i / 2],
                                               .status = (enum ibv_wc_status)status};
            cr_assert_geq(sweep_status(&over_verbs_fake, fault), MESSAGES);
        }
    }
}

static void every_way(const struct backend *backend, enum verbs_fault_kind kind,
                      uint64_t delay_ns)
{
    for (int host = 0; host < 2; host++) {
        struct verbs_double_fault fault = {
            .kind = kind, .host = host, .which = VERBS_ANY, .delay_ns = delay_ns};
        cr_assert_geq(sweep(backend, fault), 4);
    }
}

Test(verbs, completions_that_are_late)
{
    every_way(&over_verbs_fake, VERBS_LATE, NS_PER_S / 2);
    every_way(&over_verbs_fake, VERBS_LATE, 40 * NS_PER_S);
    every_way(&over_verbs_strict, VERBS_LATE, 3 * NS_PER_S);
}

Test(verbs, completions_that_come_twice)
{
    every_way(&over_verbs_fake, VERBS_TWICE, 0);
    every_way(&over_verbs_strict, VERBS_TWICE, NS_PER_MS);
    every_way(&over_verbs_fake, VERBS_TWICE, 2 * NS_PER_S);
}

Test(verbs, completions_that_never_come)
{
    every_way(&over_verbs_fake, VERBS_NEVER, 0);
    every_way(&over_verbs_strict, VERBS_NEVER, 0);
}

Test(verbs, queue_pairs_that_die)
{
    every_way(&over_verbs_fake, VERBS_QP_DIES, 0);
    every_way(&over_verbs_strict, VERBS_QP_DIES, 0);
}

Test(verbs, devices_and_ports_that_die)
{
    every_way(&over_verbs_fake, VERBS_DEVICE_FATAL, 0);
    every_way(&over_verbs_strict, VERBS_DEVICE_FATAL, 0);
    every_way(&over_verbs_fake, VERBS_PORT_DOWN, 0);
}

Test(verbs, damage_is_found)
{
    every_way(&over_verbs_fake, VERBS_FLIP, 0);
    struct world w;
    struct transport_stats stats;
    struct transport_peer *peer = begin(&w, &over_verbs_fake);
    struct verbs_double_fault fault = {
        .kind = VERBS_FLIP, .host = 0, .which = VERBS_READ, .after = 1};
    verbs_double_fault(w.d, &fault);
    exchange(&w, peer);
    transport_stats(peer, &stats);
    cr_assert_eq(stats.damaged, 1);
    world_end(&w);
}

/* ---- going back to RDMA
 * ------------------------------------------------------------------ */

Test(verbs, rdma_is_tried_again_after_a_while)
{
    struct world w;
    struct transport_stats broken, stats;
    struct transport_peer *peer = begin(&w, &over_verbs_fake);
    for (int i = 0; i < 3; i++) {
        verbs_double_qps_die(w.d, i % 2);
        exchange(&w, peer);
        wait_ns(&w, 60 * NS_PER_S);
        transport_stats(peer, &broken);
        exchange(&w, peer);
        exchange(&w, peer);
        transport_stats(peer, &stats);
        cr_assert_gt(stats.rdma_bytes, broken.rdma_bytes, "%s", stats.why);
        cr_assert_str_empty(stats.why);
    }
    cr_assert_geq(stats.retries, 3);
    world_end(&w);
}

Test(verbs, a_port_that_was_down_is_used_again)
{
    struct world w;
    struct transport_stats stats;
    struct transport_peer *peer = begin(&w, &over_verbs_fake);
    verbs_double_port_down(w.d, 1, 0);
    exchange(&w, peer);
    wait_ns(&w, 5 * NS_PER_S);
    transport_stats(peer, &stats);
    uint64_t before = stats.rdma_bytes;
    cr_assert_str_not_empty(stats.why);
    verbs_double_port_up(w.d, 1, 0);
    wait_ns(&w, 60 * NS_PER_S);
    exchange(&w, peer);
    exchange(&w, peer);
    transport_stats(peer, &stats);
    cr_assert_gt(stats.rdma_bytes, before, "%s", stats.why);
    world_end(&w);
}

/* ---- what there is too little of
 * --------------------------------------------------------- */

/* Both nodes' devices are made by @set; objects come all the same, and why not over RDMA
 * is said if @why is not NULL. */
static void with(const struct backend *backend,
                 void (*set)(struct verbs_double_host *host), const char *why)
{
    static void (*how)(struct verbs_double_host * host);
    struct world w;
    struct transport_stats stats;
    how = set;
    world_over(&w, backend, 0);
    for (unsigned i = 0; i < 2; i++) {
        how(verbs_double_host(w.d, i));
        world_node(&w, i, 1, 1);
    }
    w.count = 2;
    struct transport_peer *peer = world_join(&w, 0, 1);
    world_object(&w, 0, SIZE);
    world_object(&w, 1, SIZE);
    exchange(&w, peer);
    wait_ns(&w, 3 * NS_PER_S);
    exchange(&w, peer);
    transport_stats(peer, &stats);
    if (why != NULL) {
        cr_assert_eq(stats.rdma_bytes, 0);
        cr_assert_not_null(strstr(stats.why, why), "it says: %s", stats.why);
    } else {
        cr_assert_gt(stats.rdma_bytes, 0, "%s", stats.why);
    }
    world_end(&w);
}

static void no_memlock(struct verbs_double_host *host)
{
    host->memlock = 65536;
}
static void no_queue_pairs(struct verbs_double_host *host)
{
    host->qp_room = 0;
}
static void port_is_down(struct verbs_double_host *host)
{
    host->device[0].port.state = IBV_PORT_DOWN;
}
static void no_windows(struct verbs_double_host *host)
{
    host->device[0].attr.device_cap_flags = 0;
}
static void small_regions(struct verbs_double_host *host)
{
    host->device[0].attr.max_mr_size = CHUNK_BYTES + CHUNK_BYTES / 2;
}
static void small_messages(struct verbs_double_host *host)
{
    host->device[0].port.max_msg_sz = 100000;
}
static void one_read(struct verbs_double_host *host)
{
    host->device[0].attr.max_qp_rd_atom = host->device[0].attr.max_qp_init_rd_atom = 1;
}
static void no_inline(struct verbs_double_host *host)
{
    host->device[0].max_inline = 0;
}
static void first_gids_alone(struct verbs_double_host *host)
{
    memset(&host->device[0].gids[2], 0, sizeof host->device[0].gids[2]);
}
static void two_devices(struct verbs_double_host *host)
{
    host->devices = 2;
    host->device[0].port.state = IBV_PORT_DOWN;
}

Test(verbs, limits_that_leave_tcp)
{
    with(&over_verbs_fake, no_memlock, "");
    with(&over_verbs_fake, no_queue_pairs, "queue pair");
    with(&over_verbs_fake, port_is_down, "");
    with(&over_verbs_strict, no_windows, "window");
}

Test(verbs, limits_that_rdma_keeps_to)
{
    with(&over_verbs_fake, small_regions, NULL);
    with(&over_verbs_fake, small_messages, NULL);
    with(&over_verbs_fake, one_read, NULL);
    with(&over_verbs_fake, no_inline, NULL);
    with(&over_verbs_fake, first_gids_alone, NULL);
    with(&over_verbs_fake, two_devices, NULL);
    with(&over_verbs_strict, small_regions, NULL);
}

Test(verbs, memory_that_cannot_be_registered_later_moves_by_tcp)
{
    for (uint64_t room = 0; room < 8; room++) {
        struct world w;
        struct transport_peer *peer = begin(&w, &over_verbs_fake);
        verbs_double_host(w.d, 0)->mr_room = room;
        verbs_double_host(w.d, 1)->mr_room = room / 2;
        exchange(&w, peer);
        exchange(&w, peer);
        world_end(&w);
    }
}

/* ---- who may read what
 * ------------------------------------------------------------------- */

Test(verbs, strict_shows_what_is_pulled_alone)
{
    struct world w;
    struct pull p = {0};
    uint64_t most = 0;
    struct transport_peer *peer = begin(&w, &over_verbs_strict);
    const uint64_t part = 2 * CHUNK_BYTES;
    world_turn(&w, 200);
    cr_assert_eq(verbs_double_readable(w.d, 1), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(world_pull(peer, &p, CHUNK_BYTES, part), MOB_OK);
        while (p.calls == 0 || w.nodes[1].pins != 0) {
            uint64_t now = verbs_double_readable(w.d, 1);
            most = now > most ? now : most;
            world_step(&w);
        }
        cr_assert_eq(p.status, MOB_OK);
        cr_assert_eq(verbs_double_readable(w.d, 1), 0, "after unexport");
    }
    cr_assert(most > 0 && most <= part, "%lu", (unsigned long)most);
    cr_assert_eq(verbs_double_readable(w.d, 0), 0);
    pull_free(&p);
    world_end(&w);
}

Test(verbs, both_set_up_at_once)
{
    for (world_seed = 1; world_seed < 40; world_seed++) {
        struct world w;
        struct pull p = {0}, q = {0};
        world_over(&w, world_seed % 2 ? &over_verbs_fake : &over_verbs_strict, 2);
        fake_net_delay(w.net, 100, 1000000);
        struct transport_peer *peer = world_join(&w, 0, 1), *back = w.nodes[1].peers[0];
        world_object(&w, 0, SIZE);
        world_object(&w, 1, SIZE);
        cr_assert_eq(world_pull(peer, &p, 0, SIZE), MOB_OK);
        cr_assert_eq(world_pull(back, &q, 0, SIZE), MOB_OK);
        WORLD_UNTIL(&w, p.calls && q.calls);
        cr_assert(p.status == MOB_OK && q.status == MOB_OK);
        exchange(&w, peer);
        struct transport_stats stats;
        transport_stats(peer, &stats);
        cr_assert_gt(stats.rdma_bytes, 0, "seed %lu: %s", (unsigned long)world_seed,
                     stats.why);
        pull_free(&p);
        pull_free(&q);
        world_end(&w);
    }
}
