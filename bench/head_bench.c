/* head_bench - what the head's planner takes for a decision, and in memory, as a cluster grows.
 *
 * usage: head_bench [NODES]...          default: 10 100 1000 10000
 *
 * The planner alone, the object code of the daemon; what nodes would answer is answered at once. All nodes have
 * CPUS CPUs. One node in ten, but OWNERS at most, owns a job that wants slots elsewhere, in all as many as there are.
 *
 *   steady  owners want fewer, then more, in turn: leases end, others begin. Per event: a word that came, with
 *           all that it causes.
 *   full    all slots are taken, somebody waits, and words come that change nothing
 *   place   a new job wants 1,000,000 slots of a cluster that is empty: until every slot is granted
 *
 * The best of ROUNDS: the planner does no I/O, so what is slower was the machine. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "scheduler/head_plan.h"

enum { CPUS = 4, ROUNDS = 7, OWNERS = 50, EVENTS = 20000, ANSWERS = 1 << 20 };
#define TASKS 1000000u

static struct bench {
    struct plan_head *head;
    uint64_t now, granted, events;
    uint64_t beat_at, beating_ns; /* the next heartbeats; the time that they took */
    uint32_t nodes, owners;
    /* Answers that nodes owe, a ring. */
    struct answer {
        uint64_t node, lease;
        uint32_t epoch, slots;
    } * answers;
    uint32_t first, last;
} b;

static const struct resources all_cpus = {.amount = {CPUS * CPU_UNITS}};

static void check(mob_status s, const char *what)
{
    if (s != MOB_OK && s != MOB_ERR_STATE) {
        fprintf(stderr, "head_bench: %s: status %d\n", what, (int)s);
        exit(1);
    }
}

static void act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    if (a->kind == PLAN_LEASE) {
        b.answers[b.last++ % ANSWERS] =
            (struct answer){a->to, a->lease, a->epoch, a->slots};
    } else if (a->kind == PLAN_GRANT) {
        b.granted += a->slots;
    }
}

/* What the head asked for is agreed to. */
static void answer_all(void)
{
    while (b.first != b.last) {
        struct answer a = b.answers[b.first++ % ANSWERS];
        check(plan_head_lease_held(b.head, a.node, a.lease, a.epoch, a.slots, &all_cpus,
                                   b.now),
              "held");
        b.events++;
    }
}

/* Time passes. Nodes say now and then that they live, which is not what is measured. */
static void pass(uint64_t ns)
{
    b.now += ns;
    if (b.now < b.beat_at) {
        return;
    }
    uint64_t begin = clock_now_ns();
    b.beat_at = b.now + HEARTBEAT_NS;
    for (uint64_t i = 1; i <= b.nodes; i++) {
        check(plan_head_heartbeat(b.head, i, b.now), "heartbeat");
    }
    b.beating_ns += clock_now_ns() - begin;
}

/* Longer than the head waits between two looks. */
#define LOOK_NS (3 * NS_PER_MS)

static void settle(void)
{
    for (int i = 0; i < 50; i++) {
        pass(LOOK_NS);
        plan_head_tick(b.head, b.now);
        b.events++;
        answer_all();
    }
}

static void want(uint32_t owner, uint32_t slots)
{
    struct plan_demand d = {.job = {1 + owner, 1},
                            .demand = demand_cpus(CPU_UNITS),
                            .weight = 1,
                            .want = slots};
    check(plan_head_demand(b.head, 1 + owner, &d, b.now), "demand");
    b.events++;
    answer_all();
}

static void set_up(uint32_t nodes)
{
    b.nodes = nodes;
    b.owners = nodes / 10 < OWNERS ? nodes / 10 : OWNERS;
    b.first = b.last = 0;
    b.now = b.beat_at = NS_PER_S;
    b.head = plan_head_create(
        &(struct plan_head_config){.head = 1, .seed = 1, .act = act}, b.now);
    if (!b.head) {
        fprintf(stderr, "head_bench: no memory\n");
        exit(1);
    }
    for (uint64_t i = 1; i <= nodes; i++) {
        struct plan_join join = {.node = i, .session = i, .capacity = all_cpus};
        check(plan_head_join(b.head, &join, b.now), "join");
        check(plan_head_report(b.head, i, &all_cpus, b.now), "report");
    }
}

/* Nanoseconds an event. */
static double steady(void)
{
    uint32_t each = b.nodes * CPUS / b.owners, i = 0;
    b.events = b.beating_ns = 0;
    uint64_t begin = clock_now_ns();
    while (b.events < EVENTS) {
        want(i % b.owners, each / 2);
        pass(LOOK_NS);
        want(i++ % b.owners, each - 1);
        pass(LOOK_NS);
    }
    return (double)(clock_now_ns() - begin - b.beating_ns) / (double)b.events;
}

static double full(void)
{
    for (uint32_t i = 0; i < b.owners; i++) {
        want(i, PLAN_SLOTS_MAX);
    }
    settle();
    b.beating_ns = 0;
    uint64_t begin = clock_now_ns();
    for (uint32_t i = 0; i < EVENTS; i++) {
        pass(100 * NS_PER_US);
        check(plan_head_report(b.head, 1 + i % b.nodes, &all_cpus, b.now), "report");
        answer_all();
    }
    double ns = (double)(clock_now_ns() - begin - b.beating_ns) / EVENTS;
    for (uint32_t i = 0; i < b.owners; i++) {
        want(i, 0);
    }
    settle();
    return ns;
}

/* Milliseconds until all slots are granted; many classes, since one asks for PLAN_SLOTS_MAX at most. */
static double place(void)
{
    uint64_t begin = clock_now_ns();
    b.granted = 0;
    for (uint32_t cls = 0; cls < TASKS / PLAN_SLOTS_MAX; cls++) {
        struct plan_demand d = {.job = {2, 2}, /* no native: it may have all nodes */
                                .cls = cls,
                                .demand = demand_cpus(CPU_UNITS),
                                .weight = 1,
                                .want = PLAN_SLOTS_MAX};
        check(plan_head_demand(b.head, 1, &d, b.now), "demand");
    }
    while (b.granted < (uint64_t)b.nodes * CPUS) {
        pass(LOOK_NS);
        plan_head_tick(b.head, b.now);
        answer_all();
    }
    double ms = (double)(clock_now_ns() - begin) / 1e6;
    check(plan_head_leave(b.head, 1, b.now), "leave");
    return ms;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static double least(double a, double x)
{
    return x < a ? x : a;
}

static void run(uint32_t nodes)
{
    double s = 1e99, f = 1e99, p = 1e99;
    for (int i = 0; i < ROUNDS; i++) {
        set_up(nodes);
        s = least(s, steady());
        f = least(f, full());
        p = least(p, place());
        plan_head_destroy(b.head);
    }
    printf("%6" PRIu32
           " nodes: steady %7.0f ns an event, full %6.0f ns an event, place %8.2f ms "
           "for %" PRIu32 " slots\n",
           nodes, s, f, p, nodes * CPUS);
}

int main(int argc, char **argv)
{
    static const uint32_t usual[] = {10, 100, 1000, 10000};
    b.answers = malloc(ANSWERS * sizeof *b.answers);
    if (!b.answers) {
        return 1;
    }
    size_t before = heap_bytes();
    struct plan_head *h =
        plan_head_create(&(struct plan_head_config){.head = 1, .act = act}, 0);
    printf("memory: %.0f bytes a node that there may be, with 4 demands and 16 leases; a "
           "queued "
           "task: none\n",
           (double)(heap_bytes() - before) / NODES_MAX);
    plan_head_destroy(h);
    for (int i = 1; i < argc; i++) {
        uint32_t nodes = (uint32_t)strtoul(argv[i], NULL, 10);
        if (nodes < 10 || nodes > NODES_MAX) {
            fprintf(stderr, "head_bench: 10 to %d nodes\n", NODES_MAX);
            return 2;
        }
        run(nodes);
    }
    for (int i = 0; argc == 1 && i < 4; i++) {
        run(usual[i]);
    }
    free(b.answers);
    return 0;
}
