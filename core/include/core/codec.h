/* codec.h - little-endian bytes in messages and files, bounds-checked.
 *
 * Both sides remember their first error: read or write all fields, then look at ok once. After
 * an error reads give zeros and writes do nothing. */
#ifndef CORE_CODEC_H
#define CORE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct codec_writer {
    uint8_t *at, *end, *begin;
    bool ok; /* false once something did not fit */
};

struct codec_reader {
    const uint8_t *at, *end;
    bool ok; /* false once something was missing or over its limit */
};

void codec_writer_init(struct codec_writer *w, void *buf, size_t size);
size_t codec_written(const struct codec_writer *w);
void codec_put_u8(struct codec_writer *w, uint8_t x);
void codec_put_u16(struct codec_writer *w, uint16_t x);
void codec_put_u32(struct codec_writer *w, uint32_t x);
void codec_put_u64(struct codec_writer *w, uint64_t x);
void codec_put_raw(struct codec_writer *w, const void *data, size_t size);
/* A u32 length, then the bytes. */
void codec_put_bytes(struct codec_writer *w, const void *data, size_t size);
void codec_put_str(struct codec_writer *w, const char *text);

void codec_reader_init(struct codec_reader *r, const void *buf, size_t size);
size_t codec_left(const struct codec_reader *r);
uint8_t codec_get_u8(struct codec_reader *r);
uint16_t codec_get_u16(struct codec_reader *r);
uint32_t codec_get_u32(struct codec_reader *r);
uint64_t codec_get_u64(struct codec_reader *r);
/* @size bytes in place, NULL on error. */
const void *codec_get_raw(struct codec_reader *r, size_t size);
/* What codec_put_bytes() wrote, in place; an error if longer than @max. */
const void *codec_get_bytes(struct codec_reader *r, size_t max, size_t *ret_size);
/* Copies a string into @dst of @size bytes with an ending NUL; an error if it does not fit or
 * has a NUL inside. */
void codec_get_str(struct codec_reader *r, char *dst, size_t size);
/* True if all was read without error and nothing is left over. */
bool codec_done(const struct codec_reader *r);

#endif
