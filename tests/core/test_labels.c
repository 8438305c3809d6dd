/* Labels and selectors: what is one, and which node satisfies which. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/labels.h"

Test(labels, what_makes_sense)
{
    static const char *const good[] = {"", "zone=a", "zone=a,disk=ssd",
                                       " a=b , c.d/e = f-1 "};
    static const char *const bad[] = {"zone",     "zone=",   "=a",   "a=b,",
                                      ",a=b",     "a=b c=d", "a!=b", "a in (b)",
                                      "a=b,,c=d", "a=\x01"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert_eq(labels_check(good[i]), MOB_OK, "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(labels_check(bad[i]), MOB_ERR_INVALID, "%s", bad[i]);
    }
    char text[LABELS_MAX + 2];
    memset(text, 'x', sizeof text);
    text[1] = '=';
    text[LABELS_MAX] = 0;
    cr_assert_eq(labels_check(text), MOB_OK);
    text[LABELS_MAX] = 'x';
    text[LABELS_MAX + 1] = 0;
    cr_assert_eq(labels_check(text), MOB_ERR_INVALID, "one too long");
}

Test(labels, what_a_selector_is)
{
    static const char *const bad[] = {
        "gpu in", "gpu in ()", "gpu in (a", "gpu in a", "gpu not (a)", "gpu in (a|)",
        "a==b",   "a=b,",      "in (a)",    "a=b;c=d",  "gpu in (a,b)"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(selector_check(bad[i]), MOB_ERR_INVALID, "%s", bad[i]);
        cr_assert_not(selector_match(bad[i], "a=b,gpu=a"), "%s", bad[i]);
    }
    cr_assert_eq(selector_check("zone=a,disk!=hdd,gpu in (a100|h100), x not in (1 | 2)"),
                 MOB_OK);
}

Test(labels, who_satisfies_whom)
{
    static const struct {
        const char *selector;
        bool holds;
    } cases[] = {{"", true},
                 {"zone=a", true},
                 {"zone=b", false},
                 {"zone=aa", false},
                 {"zon=a", false},
                 {"none=a", false},
                 {"none!=a", true},
                 {"zone!=a", false},
                 {"zone!=b", true},
                 {"gpu in (a100|h100)", true},
                 {"gpu in ( v100 | h100 )", true},
                 {"gpu in (v100|h10)", false},
                 {"gpu not in (v100|h100)", false},
                 {"gpu not in (v100)", true},
                 {"none in (a)", false},
                 {"none not in (a)", true},
                 {"zone=a,gpu=h100", true},
                 {"zone=a,gpu=a100", false},
                 {"zone=b,gpu=h100", false},
                 {"in=x", true},
                 {"in in (x)", true},
                 {"not not in (y)", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(selector_check(cases[i].selector), MOB_OK, "%s", cases[i].selector);
        cr_assert_eq(selector_match(cases[i].selector, "zone=a, gpu=h100,in=x"),
                     cases[i].holds, "%s", cases[i].selector);
    }
}
