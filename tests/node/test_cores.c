/* Which CPUs slots get, on machines that hwloc makes up. CPUs are numbered in the order of the machine there: those
 * of a core, of a cache, of a NUMA node stand beside each other. */
#include <criterion/criterion.h>
#include <hwloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cores.h"

static struct cores cores;

static struct cpus up_to(uint32_t count)
{
    struct cpus s = {0};
    for (uint32_t i = 0; i < count; i++) {
        cpus_add(&s, i);
    }
    return s;
}

/* The table of a made-up machine, of which the daemon may use @allowed. */
static void machine_of(const char *text, const struct cpus *allowed)
{
    hwloc_topology_t t;
    cr_assert_eq(hwloc_topology_init(&t), 0);
    cr_assert_eq(hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_ALL), 0);
    cr_assert_eq(hwloc_topology_set_synthetic(t, text), 0, "%s", text);
    cr_assert_eq(hwloc_topology_load(t), 0);
    cores = (struct cores){0};
    cores_read(&cores, t, allowed);
    hwloc_topology_destroy(t);
}

static void machine(const char *text)
{
    struct cpus all = up_to(NODE_CPUS_MAX);
    machine_of(text, &all);
}

#define CPUS(n) ((uint64_t)((n)*CPU_UNITS + 0.5))

static struct cores_share take(double cpus)
{
    struct cores_share s = {0};
    cr_assert(cores_take(&cores, CPUS(cpus), &s), "no room for %g", cpus);
    return s;
}

#define HAS(share, text) has(__LINE__, &(share), text)
static void has(int line, const struct cores_share *s, const char *text)
{
    char buf[CPUS_TEXT_MAX];
    cr_assert(s->held);
    cr_assert_str_eq(cpus_text(&s->cpus, buf, sizeof buf), text, "line %d: %s", line,
                     buf);
}

#define FLOATS(cpus)                                                                     \
    do {                                                                                 \
        struct cores_share s_ = {0};                                                     \
        cr_assert(!cores_take(&cores, CPUS(cpus), &s_));                                 \
        cr_assert(!s_.held);                                                             \
    } while (0)

Test(cores, sets_as_text)
{
    char buf[CPUS_TEXT_MAX], few[8];
    struct cpus s = {0};
    cr_assert_str_eq(cpus_text(&s, buf, sizeof buf), "");
    cpus_add(&s, 0);
    cpus_add(&s, 2);
    cpus_add(&s, 3);
    cpus_add(&s, NODE_CPUS_MAX - 1);
    cr_assert_str_eq(cpus_text(&s, buf, sizeof buf), "0,2-3,4095");
    cr_assert_eq(cpus_count(&s), 4);
    cr_assert_str_eq(cpus_text(&s, few, sizeof few), "0,2-3,4");
    cr_assert(!cpus_has(&s, NODE_CPUS_MAX));
}

Test(cores, each_whole_cpu_is_one_slots)
{
    machine("core:2 pu:1");
    struct cores_share a = take(1), b = take(1);
    HAS(a, "0");
    HAS(b, "1");
    FLOATS(1);
    cores_give(&cores, &a);
    struct cores_share c = take(1);
    HAS(c, "0");
}

Test(cores, a_slot_is_on_one_numa_node)
{
    machine("node:2 core:4 pu:1");
    struct cores_share a = take(3), b = take(2), c = take(1);
    HAS(a, "0-2");
    HAS(b, "4-5"); /* and not 3 and 4 */
    HAS(c, "3");   /* where the least is left over */
    struct cores_share d = take(2);
    HAS(d, "6-7");
}

Test(cores, a_slot_that_fits_on_none_is_on_few)
{
    machine("node:3 core:4 pu:1");
    struct cores_share a = take(1), b = take(6);
    HAS(a, "0");
    HAS(b, "4-9"); /* the two that are free, and of the last one two */
    struct cores_share c = take(4);
    HAS(c, "1-3,10");
}

Test(cores, idle_cores_before_second_threads)
{
    machine("core:4 pu:2");
    struct cores_share s[8];
    static const char *const want[] = {"0", "2", "4", "6", "1", "3", "5", "7"};
    for (int i = 0; i < 8; i++) {
        s[i] = take(1);
        HAS(s[i], want[i]);
    }
    FLOATS(1);
}

Test(cores, idle_cores_on_another_numa_node_before_second_threads)
{
    machine("node:2 core:2 pu:2");
    struct cores_share a = take(1), b = take(1), c = take(1);
    HAS(a, "0");
    HAS(b, "2");
    HAS(c, "4");
}

Test(cores, one_numa_node_before_idle_cores)
{
    machine("node:2 core:2 pu:2");
    struct cores_share a = take(1), b = take(1), c = take(1), d = take(1);
    HAS(a, "0");
    HAS(b, "2");
    HAS(c, "4");
    HAS(d, "6");
    struct cores_share e =
        take(2); /* no node has an idle core: it shares cores, and stays together */
    HAS(e, "1,3");
}

Test(cores, of_its_own_cores_one_thread_each_then_the_others)
{
    machine("core:4 pu:2");
    struct cores_share a = take(3);
    HAS(a, "0,2,4");
    cores_give(&cores, &a);
    struct cores_share b = take(5), c = take(3);
    HAS(b, "0-2,4,6");
    HAS(c, "3,5,7");
}

Test(cores, a_slot_is_on_one_cache)
{
    machine("node:1 l3:2 core:4 pu:1");
    struct cores_share a = take(3), b = take(2), c = take(1), d = take(2);
    HAS(a, "0-2");
    HAS(b, "4-5");
    HAS(c, "3");
    HAS(d, "6-7");
}

Test(cores, one_numa_node_with_several_caches)
{
    machine("node:2 l3:2 core:2 pu:1");
    struct cores_share a = take(1), b = take(3);
    HAS(a, "0");
    HAS(b, "1-3"); /* no cache has three: the node where the least is left over */
}

Test(cores, odd_counts)
{
    machine("node:3 core:3 pu:1");
    struct cores_share a = take(2), b = take(2), c = take(3);
    HAS(a, "0-1");
    HAS(b, "3-4");
    HAS(c, "6-8");
    struct cores_share d = take(2);
    HAS(d, "2,5");
}

Test(cores, parts_share_a_cpu)
{
    machine("core:3 pu:1");
    struct cores_share a = take(0.5), b = take(0.25), c = take(0.5), d = take(0.25);
    HAS(a, "0");
    HAS(b, "0");
    HAS(c, "1");
    HAS(d, "0"); /* the fullest that has room */
    struct cores_share whole = take(1);
    HAS(whole, "2"); /* never beside parts */
    FLOATS(1);
    cores_give(&cores, &a);
    cores_give(&cores, &b);
    cores_give(&cores, &d);
    struct cores_share again = take(1);
    HAS(again, "0");
}

Test(cores, parts_that_lie_badly_float)
{
    machine("core:2 pu:1");
    struct cores_share a = take(0.6), b = take(0.6);
    HAS(a, "0");
    HAS(b, "1");
    FLOATS(0.8); /* the sum would be enough */
    struct cores_share c = take(0.4);
    HAS(c, "0");
}

Test(cores, a_part_beside_whole_cpus_is_near_them)
{
    machine("node:2 core:4 pu:1");
    struct cores_share p = take(0.1), a = take(2.5);
    HAS(p, "0");
    HAS(a, "0-2");
    struct cores_share b = take(2.5);
    HAS(b, "4-6");
    cr_assert_eq(cores.cpu[6].used, CPU_UNITS / 2);
    struct cores_share c = take(1.5); /* 3 is left on its node, and no part there */
    HAS(c, "3,6");
    cr_assert_eq(cores.cpu[6].used, CPU_UNITS);
}

Test(cores, a_part_far_from_whole_cpus_is_the_last_choice)
{
    machine("node:2 core:2 pu:2");
    struct cores_share p = take(0.5), a = take(1);
    HAS(p, "0");
    HAS(a, "2");
    struct cores_share b = take(1.5); /* cores that nobody is on are on the other node */
    HAS(b, "4,6");                    /* and not 0 and 4 */
    cr_assert_eq(cores.cpu[0].used, CPU_UNITS / 2);
    struct cores_share c = take(3); /* 5, 7, and one of the first node's */
    cr_assert_eq(cpus_count(&c.cpus), 3);
    struct cores_share d = take(1.5); /* one is free, and parts are all that is left */
    cr_assert_eq(cpus_count(&d.cpus), 2);
}

Test(cores, a_slot_that_goes_on_has_what_it_had)
{
    machine("node:2 core:4 pu:1");
    struct cores_share a = take(1), b = take(2);
    HAS(b, "1-2");
    cores_give(&cores, &a);
    cores_give(&cores, &b);
    cr_assert(cores_take(&cores, CPUS(2), &b));
    HAS(b, "1-2");
    cores_give(&cores, &b);
    struct cores_share other = take(2);
    HAS(other, "0-1");
    cr_assert(cores_take(&cores, CPUS(2), &b)); /* others have one of them */
    HAS(b, "2-3");
    cores_give(&cores, &b);
    cr_assert(cores_take(&cores, CPUS(1), &b)); /* it comes back for something else */
    cr_assert_eq(cpus_count(&b.cpus), 1);
}

Test(cores, nothing_floats)
{
    machine("core:2 pu:1");
    FLOATS(0);
    FLOATS(2.5);
    FLOATS(100);
    struct cores_share a = {0};
    cores_give(&cores, &a); /* of nothing */
    cr_assert_eq(cores.cpu[0].used, 0);
}

Test(cores, what_is_not_allowed_is_not_there)
{
    struct cpus allowed = {0};
    cpus_add(&allowed, 1);
    cpus_add(&allowed, 4);
    cpus_add(&allowed, 5);
    cpus_add(&allowed, 4000); /* the machine has none */
    machine_of("node:2 core:2 pu:2", &allowed);
    cr_assert_eq(cores.count, 3);
    struct cores_share a = take(2), b = take(1);
    HAS(a, "4-5");
    HAS(b, "1");
}

Test(cores, a_node_keeps_some_as_a_slot_would_get_them)
{
    struct cpus keep;
    machine("node:2 core:2 pu:2");
    cores.cpu[0].used = CPU_UNITS; /* another node's */
    cr_assert(cores_choose(&cores, 2, &keep));
    cores_keep(&cores, &keep);
    cr_assert_eq(cores.count, 2);
    struct cores_share a = take(2);
    HAS(a, "2-3");
    machine("core:2 pu:1");
    cr_assert(!cores_choose(&cores, 3, &keep));
}

/* ---- a long history ------------------------------------------------------------------------------ */

enum { SLOTS = 64, STEPS = 20000 };

/* What slots hold, added up anew, is what the table says; a whole CPU is one slot's, parts are at most a CPU. */
static void check(const struct cores_share *s)
{
    for (uint32_t i = 0; i < cores.count; i++) {
        uint32_t owners = 0, parts = 0;
        for (int k = 0; k < SLOTS; k++) {
            bool here = s[k].held && cpus_has(&s[k].cpus, cores.cpu[i].os);
            parts += here && s[k].part == i ? s[k].units % CPU_UNITS : 0;
            owners += here && s[k].part != i;
        }
        cr_assert(owners == 0 || (owners == 1 && parts == 0), "CPU %u is of %u", i,
                  owners);
        cr_assert_eq(cores.cpu[i].used, owners ? CPU_UNITS : parts);
        cr_assert_leq(parts, CPU_UNITS);
    }
}

static void history(const char *text, uint64_t seed)
{
    static struct cores_share s[SLOTS];
    static const uint64_t sizes[] = {0,     1,     2500,  3333,  5000, 10000,
                                     10000, 15000, 20000, 43000, 70000};
    memset(s, 0, sizeof s);
    machine(text);
    uint64_t x = seed, held = 0, floated = 0;
    for (int i = 0; i < STEPS; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        struct cores_share *one = &s[x >> 58];
        uint64_t units = sizes[(x >> 33) % (sizeof sizes / sizeof sizes[0])];
        if (one->held) {
            held -= one->units;
            cores_give(&cores, one);
        } else if (held + units <= (uint64_t)cores.count * CPU_UNITS) {
            if (cores_take(&cores, units, one)) {
                held += units;
                cr_assert_eq(one->units, units);
                cr_assert_eq(cpus_count(&one->cpus),
                             units / CPU_UNITS + (units % CPU_UNITS != 0));
            } else {
                floated += units != 0;
            }
        }
        if (i % 16 == 0) {
            check(s);
        }
    }
    check(s);
    cr_assert_lt(floated, STEPS / 4, "%s: %d slots found no room", text, (int)floated);
    for (int k = 0; k < SLOTS; k++) {
        cores_give(&cores, &s[k]);
        cores_give(&cores, &s[k]); /* twice is once */
    }
    for (uint32_t i = 0; i < cores.count; i++) {
        cr_assert_eq(cores.cpu[i].used, 0);
    }
}

Test(cores, no_cpu_is_two_slots_at_any_time)
{
    static const char *const machines[] = {"core:1 pu:1",
                                           "core:2 pu:1",
                                           "core:3 pu:2",
                                           "node:2 core:5 pu:2",
                                           "pack:2 node:2 l3:2 core:3 pu:2",
                                           "node:4 core:3 pu:4",
                                           "node:7 core:1 pu:1"};
    for (unsigned i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        history(machines[i], i + 1);
    }
}
