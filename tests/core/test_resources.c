/* Vectors of resources: every operation kind by kind, with kinds that one side has not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/demand.h"

static struct resources with(uint64_t cpus, uint64_t memory, const char *name,
                             uint64_t units)
{
    struct resources r = {.amount = {cpus, memory}};
    if (name) {
        cr_assert_eq(resources_set(&r, name, units), MOB_OK);
    }
    return r;
}

Test(resources, fits_only_if_every_kind_does)
{
    struct resources node = with(20, 100, "tape", 3), a = with(10, 30, NULL, 0);
    struct resources b = with(1, 0, "tape", 2), c = with(1, 0, "license", 1);
    struct resources none = {0};
    cr_assert_eq(resources_times(&node, &a, 99), 2, "CPUs end first");
    cr_assert_eq(resources_times(&node, &b, 99), 1, "tapes end first");
    cr_assert_eq(resources_times(&node, &c, 99), 0, "it has no license");
    cr_assert_eq(resources_times(&node, &none, 99), 99);
    cr_assert(resources_fit(&node, &b) && !resources_fit(&node, &c));
    cr_assert(resources_fit(&none, &none) && resources_none(&none));
}

Test(resources, sums_stop_at_their_ends)
{
    struct resources node = with(20, 100, "tape", 3),
                     big = with(0, RESOURCE_MAX, "tape", 1);
    struct resources sum = resources_zero(&node);
    cr_assert_eq(sum.named, 1);
    cr_assert(resources_none(&sum));
    resources_add(&sum, &big, UINT64_MAX);
    cr_assert_eq(sum.amount[RESOURCE_MEMORY], UINT64_MAX);
    struct resources left = node;
    resources_sub(&left, &big, 2);
    cr_assert_eq(left.amount[RESOURCE_CPU], 20);
    cr_assert_eq(left.amount[RESOURCE_MEMORY], 0);
    cr_assert_eq(left.amount[RESOURCE_BASIC], 1);
    struct resources other = with(1, 1, "license", 9);
    resources_add(&left, &other, 1);
    cr_assert_eq(left.amount[RESOURCE_CPU], 21);
    cr_assert_eq(left.named, 1, "what it has no place for is left out");
}

Test(resources, the_same_is_the_same_whatever_the_order)
{
    struct resources a = with(1, 0, "b", 2), b = with(1, 0, "a", 1);
    cr_assert_eq(resources_set(&a, "a", 1), MOB_OK);
    cr_assert_eq(resources_set(&b, "b", 2), MOB_OK);
    cr_assert(resources_equal(&a, &b));
    for (int i = 0; i < 2; i++) { /* names are kept in order */
        cr_assert_str_eq(a.name[i], b.name[i]);
        cr_assert_eq(a.amount[RESOURCE_BASIC + i], b.amount[RESOURCE_BASIC + i]);
    }
    cr_assert_eq(resources_set(&b, "b", 3), MOB_OK);
    cr_assert_not(resources_equal(&a, &b));
    struct resources zero = with(1, 0, "c", 0), one = with(1, 0, NULL, 0);
    cr_assert(resources_equal(&zero, &one), "nothing of a kind is as not having it");
}

Test(resources, cover_counts_the_slots_that_help)
{
    struct resources missing = with(25, 0, "tape", 1);
    struct resources cpu = with(10, 50, NULL, 0), tape = with(0, 0, "tape", 1);
    struct resources memory = with(0, 50, NULL, 0), both = with(30, 0, "tape", 1);
    cr_assert_eq(resources_cover(&missing, &cpu), 3);
    cr_assert_eq(resources_cover(&missing, &tape), 1);
    cr_assert_eq(resources_cover(&missing, &both), 1);
    cr_assert_eq(resources_cover(&missing, &memory), 0);
}

Test(resources, bounds_are_kept_and_said)
{
    struct resources r = {0};
    char name[RESOURCE_NAME_MAX + 2];
    for (uint32_t i = 0; i < RESOURCES_NAMED_MAX; i++) {
        snprintf(name, sizeof name, "kind-%u", i);
        cr_assert_eq(resources_set(&r, name, i), MOB_OK);
    }
    cr_assert(resources_ok(&r));
    cr_assert_eq(resources_set(&r, "one-more", 1), MOB_ERR_FULL);
    cr_assert_not_null(strstr(mob_last_error(), "one-more"));
    cr_assert_eq(resources_set(&r, "kind-3", 7), MOB_OK, "it is there already");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    const char *const bad[] = {"", "a b", "a=b", "\x80", name};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        r = (struct resources){0};
        cr_assert_eq(resources_set(&r, bad[i], 1), MOB_ERR_INVALID, "'%s'", bad[i]);
    }
    cr_assert_eq(resources_set(&r, "a", RESOURCE_MAX + 1), MOB_ERR_INVALID);
    struct resources many = {.named = RESOURCES_NAMED_MAX + 1};
    struct resources cpus = resources_cpus((NODE_CPUS_MAX + 1ull) * CPU_UNITS);
    struct resources twice = {.named = 2, .name = {"a", "a"}};
    cr_assert(!resources_ok(&many) && !resources_ok(&cpus) && !resources_ok(&twice));
}

Test(resources, people_read_them)
{
    char buf[RESOURCES_TEXT_MAX];
    struct resources r = with(CPU_UNITS / 2, 4ull << 30, "tape", 2 * CPU_UNITS);
    cr_assert_str_eq(resources_text(&r, buf, sizeof buf), "CPU=0.5 memory=4 GiB tape=2");
    struct resources none = {0};
    cr_assert_str_eq(resources_text(&none, buf, sizeof buf), "nothing");
    cr_assert_eq(strlen(resources_text(&r, buf, 9)), 8, "cut, and ended");
}

Test(demand, differs_in_any_part)
{
    struct demand a = demand_cpus(CPU_UNITS), b = a;
    cr_assert(demand_ok(&a) && demand_equal(&a, &b));
    b.priority = 1;
    cr_assert_not(demand_equal(&a, &b));
    b = a;
    b.strategy = DEMAND_NODE;
    cr_assert_not(demand_ok(&b), "which node?");
    b.node = 7;
    cr_assert(demand_ok(&b) && !demand_equal(&a, &b));
    memset(b.selector, 'x', sizeof b.selector);
    cr_assert_not(demand_ok(&b), "a text without an end");
}
