/* Round trips, and every way in which input can be short, long or dishonest. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/codec.h"

Test(codec, what_is_written_is_read)
{
    uint8_t buf[64];
    struct codec_writer w;
    codec_writer_init(&w, buf, sizeof buf);
    codec_put_u8(&w, 0xab);
    codec_put_u16(&w, 0x1234);
    codec_put_u32(&w, 0xdeadbeef);
    codec_put_u64(&w, 0x0102030405060708);
    codec_put_str(&w, "mobula");
    cr_assert(w.ok);
    cr_assert_eq(buf[1], 0x34, "little-endian");

    char text[8];
    struct codec_reader r;
    codec_reader_init(&r, buf, codec_written(&w));
    cr_assert_eq(codec_get_u8(&r), 0xab);
    cr_assert_eq(codec_get_u16(&r), 0x1234);
    cr_assert_eq(codec_get_u32(&r), 0xdeadbeef);
    cr_assert_eq(codec_get_u64(&r), 0x0102030405060708);
    codec_get_str(&r, text, sizeof text);
    cr_assert_str_eq(text, "mobula");
    cr_assert(codec_done(&r));
}

Test(codec, every_cut_of_a_message_fails)
{
    uint8_t buf[64];
    struct codec_writer w;
    codec_writer_init(&w, buf, sizeof buf);
    codec_put_u32(&w, 7);
    codec_put_str(&w, "abc");
    for (size_t cut = 0; cut < codec_written(&w); cut++) {
        char text[8];
        struct codec_reader r;
        codec_reader_init(&r, buf, cut);
        (void)codec_get_u32(&r);
        codec_get_str(&r, text, sizeof text);
        cr_assert_not(codec_done(&r), "cut at %zu", cut);
        cr_assert_str_eq(text, "");
    }
}

Test(codec, a_length_over_the_limit_fails)
{
    uint8_t buf[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    size_t size = 1;
    struct codec_reader r;
    codec_reader_init(&r, buf, sizeof buf);
    cr_assert_null(codec_get_bytes(&r, 100, &size));
    cr_assert_eq(size, 0);
    cr_assert_eq(codec_get_u8(&r), 0, "nothing is read after an error");
}

Test(codec, strings_that_do_not_fit_or_hide_a_nul_fail)
{
    uint8_t buf[32];
    char text[4];
    struct codec_writer w;
    codec_writer_init(&w, buf, sizeof buf);
    codec_put_str(&w, "four");
    struct codec_reader r;
    codec_reader_init(&r, buf, codec_written(&w));
    codec_get_str(&r, text, sizeof text);
    cr_assert_not(r.ok);

    codec_writer_init(&w, buf, sizeof buf);
    codec_put_bytes(&w, "a\0b", 3);
    codec_reader_init(&r, buf, codec_written(&w));
    codec_get_str(&r, text, sizeof text);
    cr_assert_not(r.ok);
}

Test(codec, writing_past_the_end_fails_and_writes_nothing)
{
    uint8_t buf[4] = {9, 9, 9, 9};
    struct codec_writer w;
    codec_writer_init(&w, buf, 3);
    codec_put_u32(&w, 1);
    cr_assert_not(w.ok);
    cr_assert_eq(buf[0], 9);
    codec_put_u8(&w, 1);
    cr_assert_eq(buf[0], 9, "an error stays");
}
