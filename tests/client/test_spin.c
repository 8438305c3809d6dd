/* How long a thread looks before it sleeps (runtime/client/spin.c). */
#include <criterion/criterion.h>

#include "client.h"
#include "core/clock.h"

enum { SPIN_NS = 50000, LONG_NS = 60000, WAKE_NS = 10000, LEAST_PARTS = 32 };

static struct mob mob = {.spin_ns = SPIN_NS};

Test(spin, it_is_halved_by_each_sleep_down_to_a_part)
{
    struct thread t = {0};
    cr_assert_eq(spin_time(&mob, &t), SPIN_NS);
    for (uint64_t want = SPIN_NS / 2; want > SPIN_NS / LEAST_PARTS; want /= 2) {
        spin_learn(&mob, &t, LONG_NS);
        cr_assert_eq(spin_time(&mob, &t), want);
    }
    for (int i = 0; i < 100; i++) {
        spin_learn(&mob, &t, LONG_NS);
    }
    cr_assert_eq(spin_time(&mob, &t), SPIN_NS / LEAST_PARTS);
}

Test(spin, a_short_wait_brings_it_back)
{
    struct thread t = {0};
    for (int i = 0; i < 10; i++) {
        spin_learn(&mob, &t, LONG_NS);
    }
    spin_learn(&mob, &t, SPIN_NS); /* about as long as a whole spin: not short */
    cr_assert_eq(spin_time(&mob, &t), SPIN_NS / LEAST_PARTS);
    spin_learn(&mob, &t, WAKE_NS);
    cr_assert_eq(spin_time(&mob, &t), SPIN_NS);
}

Test(spin, a_whole_one_in_vain_counts_however_short_the_sleep)
{
    struct thread t = {0};
    spin_learn(&mob, &t, 1);
    cr_assert_eq(spin_time(&mob, &t), SPIN_NS / 2);
}

Test(spin, who_is_not_to_spin_never_does)
{
    struct mob none = {.spin_ns = 0};
    struct thread t = {0};
    spin_learn(&none, &t, 0);
    spin_learn(&none, &t, CLOCK_NEVER);
    cr_assert_eq(spin_time(&none, &t), 0);
}
