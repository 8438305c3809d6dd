/* Sizes and numbers as people write them. */
#include <criterion/criterion.h>

#include "core/text.h"

Test(text, sizes_are_parsed)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"4096", 4096},
                {"1K", 1024},
                {"64M", 64 << 20},
                {"1.5GiB", 3ull << 29},
                {"2 gb", 2ull << 30},
                {"1T", 1ull << 40},
                {"10B", 10}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t got = 1;
        cr_assert_eq(text_parse_bytes(good[i].text, &got), MOB_OK, "%s", good[i].text);
        cr_assert_eq(got, good[i].bytes, "%s gave %lu", good[i].text, got);
    }
    static const char *const bad[] = {"",    "x",   "-1",    "1X",
                                      "1MM", "nan", "1e30G", "5 M x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t got = 77;
        cr_assert_eq(text_parse_bytes(bad[i], &got), MOB_ERR_INVALID, "%s", bad[i]);
        cr_assert_eq(got, 77);
    }
}

Test(text, numbers_are_parsed_whole_and_in_range)
{
    uint64_t got = 77;
    cr_assert_eq(text_parse_u64("65535", 1, 65535, &got), MOB_OK);
    cr_assert_eq(got, 65535);
    static const char *const bad[] = {"",   "0",  "65536", "1 ",
                                      "-1", "+1", "0x10",  "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(text_parse_u64(bad[i], 1, 65535, &got), MOB_ERR_INVALID, "%s",
                     bad[i]);
    }
}

Test(text, sizes_and_times_are_written_for_people)
{
    char buf[16];
    cr_assert_str_eq(text_bytes(0, buf, sizeof buf), "0 B");
    cr_assert_str_eq(text_bytes(1536, buf, sizeof buf), "1.5 KiB");
    cr_assert_str_eq(text_bytes(3ull << 30, buf, sizeof buf), "3 GiB");
    cr_assert_str_eq(text_duration(999, buf, sizeof buf), "999 ns");
    cr_assert_str_eq(text_duration(1500, buf, sizeof buf), "1.5 us");
    cr_assert_str_eq(text_duration(2500000000u, buf, sizeof buf), "2.5 s");
}

Test(text, long_texts_lose_their_middle)
{
    char buf[24];
    cr_assert_eq(text_shorten(buf, sizeof buf, "short", 5), 5);
    cr_assert_str_eq(buf, "short");
    cr_assert_eq(text_shorten(buf, sizeof buf, "abcdefghijklmnopqrstuvw", 23), 23);
    cr_assert_str_eq(buf, "abcdefghijklmnopqrstuvw"); /* just fits */
    cr_assert_eq(text_shorten(buf, sizeof buf, "abcdefghijklmnopqrstuvwx", 24), 23);
    cr_assert_str_eq(buf, "abcdefgh [...] qrstuvwx");
    cr_assert_eq(text_shorten(buf, 5, "abcdefgh", 8), 4);
    cr_assert_str_eq(buf, "abcd"); /* no room to say that something is missing */
    cr_assert_eq(text_shorten(buf, 1, "abc", 3), 0);
    cr_assert_str_eq(buf, "");
    cr_assert_eq(text_shorten(buf, 0, "abc", 3), 0);
}
