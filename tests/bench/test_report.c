/* What the benchmarks print of a figure with a budget: the digits and the verdict agree. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/redirect.h>

#include "common.h"

static const struct bench_budget at_most = {.most = 2}, at_least = {.least = 0.25},
                                 none = {0};

Test(report, a_budget_is_kept_or_not)
{
    cr_assert(bench_within(at_most, 2) && !bench_within(at_most, 2.0000001));
    cr_assert(bench_within(at_least, 0.25) && !bench_within(at_least, 0.2499999));
    cr_assert(bench_has_budget(at_most) && bench_has_budget(at_least));
    cr_assert_not(bench_has_budget(none));
}

Test(report, text)
{
    cr_assert(eq(str, bench_budget_text(at_most, 2.1, 1).text, "<= 2.00 over"));
    cr_assert(eq(str, bench_budget_text(at_least, 0.3, 1).text, ">= 0.25 ok"));
    cr_assert(eq(str, bench_budget_text(at_least, 0.3, 0).text, ">= 0.25 -"));
    cr_assert(eq(str, bench_budget_text(none, 0.3, 1).text, ""));
}

/* Six digits of this figure would be the budget itself, beside the word that it was not kept. */
Test(report, digits_do_not_contradict_the_verdict, .init = cr_redirect_stdout)
{
    bench_json_judged("ratio", 2.0000001, at_most);
    fflush(stdout);
    cr_assert_stdout_eq_str(
        "\"ratio\": 2.0000000999999998, \"budget_max\": 2, \"within\": false");
}

Test(report, json_without_a_budget, .init = cr_redirect_stdout)
{
    bench_json_judged("verdict", 0.5, none);
    fflush(stdout);
    cr_assert_stdout_eq_str("\"verdict\": 0.5");
}
