/* The head planner: what jobs have of what is too little for all. */
#include "head_rig.h"

Test(head_plan, a_job_a_little_ahead_keeps_its_leases_for_a_while)
{
    struct plan_head *h = cluster(2, 3);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    uint32_t moves = 0;
    for (uint64_t now = 50 * MS; now < 20000 * MS; now += 50 * MS) {
        uint32_t before = count(PLAN_LEASE);
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
        struct plan_lease_view v[2];
        size_t leases = plan_head_leases(h, v, 2);
        for (size_t i = 0; i < leases; i++) { /* the node does as it is told */
            OK(plan_head_lease_held(h, 2, v[i].lease, v[i].epoch, v[i].slots,
                                    CPUS(3 * CPU), now));
        }
        moves += count(PLAN_LEASE) > before;
    }
    /* Three CPUs and two jobs: one CPU goes from one to the other and back. */
    cr_assert(moves >= 10, "%u moves: the third CPU is not shared", moves);
    cr_assert(moves <= 42, "%u moves in 20 s", moves);
    plan_head_destroy(h);
}

/* Two slots for three: the job of twice the weight has both of them now and then. What the other gave up for it
 * must not go back to it because it then holds nothing. Returns how often leases changed. */
static uint32_t go_round(uint32_t units, uint32_t weight)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d[2] = {demand(1, units, 20), demand(2, units, 20)};
    uint64_t had[2] = {0};
    d[0].weight = 2 * weight;
    d[1].weight = weight;
    OK(plan_head_report(h, 2, CPUS(0), 5 * MS));
    OK(plan_head_demand(h, 1, &d[0], 10 * MS));
    OK(plan_head_demand(h, 1, &d[1], 20 * MS));
    OK(plan_head_report(h, 2, CPUS(2ull * units), 30 * MS));
    for (uint64_t now = 50 * MS; now < 30000 * MS; now += 10 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
        struct plan_lease_view v[2];
        size_t leases = plan_head_leases(h, v, 2);
        for (size_t i = 0; i < leases; i++) {
            OK(plan_head_lease_held(h, 2, v[i].lease, v[i].epoch, v[i].slots,
                                    CPUS(2ull * units), now));
        }
        had[0] += granted(h, 1);
        had[1] += granted(h, 2);
    }
    cr_assert(had[0] * 10 > had[1] * 17 && had[0] * 10 < had[1] * 23,
              "%.2f times as much for twice the weight of %u",
              (double)had[0] / (double)had[1], weight);
    plan_head_destroy(h);
    return count(PLAN_GRANT);
}

Test(head_plan, slots_that_are_fewer_than_jobs_want_go_round_by_weight)
{
    uint32_t usual = go_round(CPU, 1);
    cr_assert(usual < 100, "%u words in 30 s", usual);
    /* Only what weights are to one another counts, and small slots are not rounded away. */
    uint32_t large = go_round(CPU, PLAN_WEIGHT_MAX / 2);
    cr_assert(large < 2 * usual, "%u words in 30 s, and %u", large, usual);
    (void)go_round(CPU / 4, PLAN_WEIGHT_MAX / 2);
}

/* One CPU for four: none is further behind than the CPU-second that a turn is, and some. */
Test(head_plan, no_job_is_more_than_a_turn_behind)
{
    struct plan_head *h = cluster(2, 1);
    const uint32_t weights[4] = {2, 2, 1, 3};
    double had[4] = {0}, all = 0;
    OK(plan_head_report(h, 2, CPUS(0), 5 * MS));
    for (uint32_t i = 0; i < 4; i++) {
        struct plan_demand d = demand(i + 1, CPU, 20);
        d.weight = weights[i];
        OK(plan_head_demand(h, 1, &d, 10 * MS));
    }
    OK(plan_head_report(h, 2, CPUS(CPU), 30 * MS));
    for (uint64_t now = 50 * MS; now < 60000 * MS; now += 10 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
        struct plan_lease_view v[4];
        size_t leases = plan_head_leases(h, v, 4);
        for (size_t i = 0; i < leases; i++) {
            OK(plan_head_lease_held(h, 2, v[i].lease, v[i].epoch, v[i].slots, CPUS(CPU),
                                    now));
        }
        for (uint32_t i = 0; i < 4; i++) {
            had[i] += granted(h, i + 1) / 100.0;
            all += granted(h, i + 1) / 100.0;
        }
        for (uint32_t i = 0; i < 4; i++) {
            double behind = all * weights[i] / 8 - had[i];
            cr_assert(behind < 1.2, "weight %u: %.2f CPU-seconds behind at %g s",
                      weights[i], behind, (double)now / 1e9);
        }
    }
    plan_head_destroy(h);
}

Test(head_plan, one_nodes_room_is_shared_by_weight)
{
    struct plan_head *h = cluster(2, 8);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    b.weight = 3;
    OK(plan_head_report(h, 2, CPUS(0), 5 * MS));
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    OK(plan_head_report(h, 2, CPUS(8 * CPU), 30 * MS));
    cr_assert_eq(granted(h, 1), 2);
    cr_assert_eq(granted(h, 2), 6);
    plan_head_destroy(h);
}

Test(head_plan, who_has_least_is_next)
{
    struct plan_head *h = cluster(3, 4);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    OK(plan_head_report(h, 3, CPUS(0), 5 * MS));
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    cr_assert_eq(granted(h, 1), 4);
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    OK(plan_head_report(h, 3, CPUS(CPU), 30 * MS));
    cr_assert_eq(granted(h, 2), 1);
    plan_head_destroy(h);
}

Test(head_plan, a_job_that_waits_gets_its_share_back)
{
    struct plan_head *h = cluster(2, 8);
    struct plan_demand a = demand(1, CPU, 20), b = demand(2, CPU, 20);
    OK(plan_head_demand(h, 1, &a, 10 * MS));
    struct plan_head_action l = *last(PLAN_LEASE, 2);
    OK(plan_head_lease_held(h, 2, l.lease, l.epoch, 8, CPUS(8 * CPU), 11 * MS));
    OK(plan_head_demand(h, 1, &b, 20 * MS));
    for (uint64_t now = 50 * MS; now < 1000 * MS; now += 50 * MS) {
        OK(plan_head_heartbeat(h, 1, now));
        OK(plan_head_heartbeat(h, 2, now));
        plan_head_tick(h, now);
    }
    cr_assert_eq(last(PLAN_LEASE, 2)->lease, l.lease);
    cr_assert_eq(last(PLAN_LEASE, 2)->slots, 4);
    plan_head_destroy(h);
}

/* Nodes that do at once what the head says, and owners whose wants never end. */
static void settle(struct plan_head *h, uint32_t *from, uint32_t *granted, uint64_t now)
{
    for (; *from < seen_count; ++*from) {
        const struct plan_head_action a = seen[*from];
        if (a.kind == PLAN_LEASE) {
            cr_assert_eq(plan_head_lease_held(h, a.to, a.lease, a.epoch, a.slots,
                                              CPUS(2 * CPU), now),
                         MOB_OK);
            granted[a.cls] = a.slots;
        }
    }
}

Test(head_plan, leases_go_to_the_highest_priority_and_none_starves)
{
    struct plan_head *h = cluster(2, 2);
    struct plan_demand d[3];
    static const int8_t priority[] = {0, 90, -90};
    uint32_t from = 0, granted[3] = {0}, had[3] = {0};
    uint64_t last_had[3] = {0}, gap[3] = {0};
    for (uint32_t c = 0; c < 3; c++) {
        d[c] = demand(1, CPU, 5);
        d[c].cls = c;
        d[c].demand.priority = priority[c];
    }
    OK(plan_head_demand(h, 1, &d[0], 10 * MS));
    settle(h, &from, granted, 11 * MS);
    cr_assert_eq(granted[0], 2);
    OK(plan_head_demand(h, 1, &d[1], 200 * MS));
    settle(h, &from, granted, 201 * MS);
    OK(plan_head_demand(h, 1, &d[2], 202 * MS));
    for (uint64_t t = 203; t < 20000; t++) {
        if (t % 100 == 0) {
            OK(plan_head_heartbeat(h, 1, t * MS));
            OK(plan_head_heartbeat(h, 2, t * MS));
        }
        if (t * MS >= plan_head_deadline(h)) {
            plan_head_tick(h, t * MS);
        }
        settle(h, &from, granted, t * MS);
        cr_assert_lt(seen_count, 4000);
        cr_assert(t > 400 || granted[2] == 0);
        cr_assert(t < 260 || t > 900 || granted[1] == 2, "at once, and for a while");
        for (uint32_t c = 0; c < 3; c++) {
            had[c] += granted[c];
            gap[c] = t - last_had[c] > gap[c] ? t - last_had[c] : gap[c];
            last_had[c] = granted[c] ? t : last_had[c];
        }
    }
    const uint64_t bound = (PLAN_RESERVE_NS + 4 * PLAN_QUANTUM_NS) / MS;
    cr_assert_leq(gap[0], bound, "%u", (unsigned)gap[0]);
    cr_assert_leq(gap[2], bound, "%u", (unsigned)gap[2]);
    cr_assert_gt(had[1], had[0] + had[2]);
    plan_head_destroy(h);
}
