/* The accountant of shared memory, on a machine whose figures the test makes up. */
#include <criterion/criterion.h>
#include <string.h>

#include "store/budget.h"

#define MIB (1ull << 20)

static struct machine_memory machine;
static mob_status look_status;

static mob_status look(void *arg, struct machine_memory *ret)
{
    cr_assert_eq(arg, &machine);
    *ret = machine;
    return look_status;
}

static struct budget budget;
static const struct budget_owner a = {3, 7}, b = {3, 8},
                                 pool = {BUDGET_NODE, BUDGET_DAEMON};

static void begin(void)
{
    machine = (struct machine_memory){.total_bytes = 4096 * MIB,
                                      .limit_bytes = 4096 * MIB,
                                      .ram_free_bytes = 2048 * MIB,
                                      .available_bytes = 2048 * MIB};
    struct budget_config config = {.limit_bytes = 1024 * MIB,
                                   .reserve_bytes = 128 * MIB,
                                   .look = look,
                                   .look_arg = &machine};
    cr_assert_eq(budget_init(&budget, &config), MOB_OK);
}

static void end(void)
{
    budget_fini(&budget);
}

TestSuite(budget, .init = begin, .fini = end);

static void take(struct budget_owner owner, uint64_t bytes)
{
    cr_assert_eq(budget_take(&budget, owner, bytes), MOB_OK, "%s", mob_last_error());
}

static void refused(struct budget_owner owner, uint64_t bytes, const char *says)
{
    uint64_t used = budget.used_bytes, pending = budget.pending_bytes;
    cr_assert_eq(budget_take(&budget, owner, bytes), MOB_ERR_NOMEM);
    cr_assert(strstr(mob_last_error(), says), "'%s' not in: %s", says, mob_last_error());
    cr_assert_eq(budget.used_bytes, used);
    cr_assert_eq(budget.pending_bytes, pending);
}

static uint64_t left(void)
{
    struct budget_status status;
    cr_assert_eq(budget_status(&budget, &status), MOB_OK);
    return status.left_bytes;
}

Test(budget, the_own_limit_is_exact_to_the_byte)
{
    take(a, 1000 * MIB);
    cr_assert_eq(left(), 24 * MIB);
    refused(b, 24 * MIB + 1, "--object-store-memory");
    take(b, 24 * MIB);
    refused(b, 1, "0 B left of its limit of 1 GiB");
    take(b, 0);
    refused(b, UINT64_MAX, "--object-store-memory");
    budget_committed(&budget, 1024 * MIB);
    budget_give(&budget, a, 1);
    take(b, 1);
    budget_committed(&budget, 1);
    refused(b, 1, "--object-store-memory");
}

Test(budget, accounts_are_kept_by_owner)
{
    take(a, 10);
    take(b, 20);
    take(pool, 40);
    budget_committed(&budget, 70);
    cr_assert_eq(budget_of(&budget, a), 10);
    cr_assert_eq(budget_of(&budget, b), 20);
    cr_assert_eq(budget_of_job(&budget, 3), 30);
    cr_assert_eq(budget_of_job(&budget, 4), 0);
    cr_assert_eq(budget_move(&budget, pool, a, 15), MOB_OK);
    cr_assert_eq(budget_of(&budget, a), 25);
    cr_assert_eq(budget_of(&budget, pool), 25);
    cr_assert_eq(budget_move(&budget, a, (struct budget_owner){3, BUDGET_DAEMON}, 25),
                 MOB_OK);
    cr_assert_eq(budget_move(&budget, b, b, 20), MOB_OK);
    cr_assert_eq(budget_of_job(&budget, 3), 45);
    budget_give(&budget, b, 20);
    budget_give(&budget, (struct budget_owner){3, BUDGET_DAEMON}, 25);
    budget_give(&budget, pool, 25);
    cr_assert_eq(budget.used_bytes, 0);
    cr_assert_eq(budget.pending_bytes, 0);
    cr_assert_null(budget.jobs[3]);
}

Test(budget, pending_bytes_are_not_promised_twice)
{
    machine.available_bytes = machine.ram_free_bytes = 328 * MIB;
    cr_assert_eq(left(), 200 * MIB);
    take(a, 150 * MIB);
    cr_assert_eq(left(), 50 * MIB);
    refused(b, 50 * MIB + 1, "150 MiB promised");
    take(b, 50 * MIB);
    /* Once they are committed the machine's own figures show them. */
    machine.available_bytes = 128 * MIB;
    budget_committed(&budget, 200 * MIB);
    refused(b, 1, "RAM");
    machine.available_bytes = 129 * MIB;
    take(b, MIB);
    budget_cancel(&budget, b, MIB);
    cr_assert_eq(budget_of(&budget, b), 50 * MIB);
    cr_assert_eq(budget.pending_bytes, 0);
    take(b, MIB);
}

Test(budget, a_refusal_names_what_is_full)
{
    machine.available_bytes = 128 * MIB + 100;
    refused(a, 101, "RAM of 4 GiB");
    machine.cgroup_binds = true;
    machine.tightest = (struct machine_cgroup){.path = "/sys/fs/cgroup/box",
                                               .limit_bytes = 512 * MIB,
                                               .high_bytes = MACHINE_UNLIMITED,
                                               .usage_bytes = 400 * MIB};
    refused(a, 101, "cgroup /sys/fs/cgroup/box (limit 512 MiB, 400 MiB used)");
    machine.tightest.high_bytes = 500 * MIB;
    refused(a, 101, "(high mark 500 MiB, 400 MiB used)");
    take(a, 100);
}

Test(budget, less_than_the_reserve_gives_nothing)
{
    machine.available_bytes = 5;
    cr_assert_eq(left(), 0);
    refused(a, 1, "RAM");
}

Test(budget, a_machine_that_cannot_be_read_gives_nothing)
{
    look_status = MOB_ERR_UNSUPPORTED;
    cr_assert_eq(budget_take(&budget, a, 1), MOB_ERR_UNSUPPORTED);
    cr_assert_eq(budget.used_bytes, 0);
    look_status = MOB_OK;
}

/* What the store can grow to is less than its limit where the machine has less. */
Test(budget, the_most_is_what_the_machine_had_at_the_last_look)
{
    cr_assert_eq(budget.most_bytes, 1024 * MIB);
    machine.available_bytes = 328 * MIB; /* less the reserve: 200 */
    take(a, 50 * MIB);
    cr_assert_eq(budget.most_bytes, 200 * MIB);
    cr_assert_eq(budget_refresh(&budget), MOB_OK);
    cr_assert_eq(budget.most_bytes, 200 * MIB, "what is promised counts twice");
    machine.available_bytes -= 50 * MIB;
    budget_committed(&budget, 50 * MIB);
    cr_assert_eq(budget_refresh(&budget), MOB_OK);
    cr_assert_eq(budget.most_bytes, 200 * MIB, "what is there does not count");
    machine.available_bytes = 100 * MIB;
    cr_assert_eq(budget.most_bytes, 200 * MIB, "it looks when nobody asked");
    refused(b, 1, "RAM");
    cr_assert_eq(budget.most_bytes, 64 * MIB, "a sixteenth of the limit is left to it");
    machine.available_bytes = 250 * MIB;
    take(a, 100 * MIB);
    budget_committed(&budget, 100 * MIB);
    machine.available_bytes = 100 * MIB;
    cr_assert_eq(budget_refresh(&budget), MOB_OK);
    cr_assert_eq(budget.most_bytes, 122 * MIB, "a part of the reserve is gone");
    machine.available_bytes = 4000 * MIB;
    look_status = MOB_ERR_UNSUPPORTED;
    cr_assert_neq(budget_refresh(&budget), MOB_OK);
    cr_assert_eq(budget.most_bytes, 122 * MIB);
    look_status = MOB_OK;
    cr_assert_eq(budget_refresh(&budget), MOB_OK);
    cr_assert_eq(budget.most_bytes, 1024 * MIB);
}

Test(budget, defaults_follow_the_tightest_limit)
{
    machine.limit_bytes = 1000 * MIB;
    cr_assert_eq(budget_default_limit(&machine), 300 * MIB);
    cr_assert_eq(budget_default_reserve(&machine), 1000 * MIB / 32);
    machine.limit_bytes = 64 * MIB;
    cr_assert_eq(budget_default_limit(&machine), 19 * MIB);
    cr_assert_eq(budget_default_reserve(&machine), 8 * MIB);
    machine.limit_bytes = 1ull << 40;
    cr_assert_eq(budget_default_reserve(&machine), 1024 * MIB);
    struct budget real = {0};
    cr_assert_eq(budget_init(&real, NULL), MOB_OK, "%s", mob_last_error());
    cr_assert_gt(real.limit_bytes, 0);
    budget_fini(&real);
}
