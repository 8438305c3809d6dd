#include "core/codec.h"

#include <endian.h>
#include <string.h>

void codec_writer_init(struct codec_writer *w, void *buf, size_t size)
{
    *w = (struct codec_writer){
        .at = buf, .begin = buf, .end = (uint8_t *)buf + size, .ok = true};
}

size_t codec_written(const struct codec_writer *w)
{
    return (size_t)(w->at - w->begin);
}

void codec_put_raw(struct codec_writer *w, const void *data, size_t size)
{
    if (!w->ok || (size_t)(w->end - w->at) < size) {
        w->ok = false;
        return;
    }
    if (size) {
        memcpy(w->at, data, size);
    }
    w->at += size;
}

void codec_put_u8(struct codec_writer *w, uint8_t x)
{
    codec_put_raw(w, &x, sizeof x);
}

void codec_put_u16(struct codec_writer *w, uint16_t x)
{
    x = htole16(x);
    codec_put_raw(w, &x, sizeof x);
}

void codec_put_u32(struct codec_writer *w, uint32_t x)
{
    x = htole32(x);
    codec_put_raw(w, &x, sizeof x);
}

void codec_put_u64(struct codec_writer *w, uint64_t x)
{
    x = htole64(x);
    codec_put_raw(w, &x, sizeof x);
}

void codec_put_bytes(struct codec_writer *w, const void *data, size_t size)
{
    if (size > UINT32_MAX) {
        w->ok = false;
        return;
    }
    codec_put_u32(w, (uint32_t)size);
    codec_put_raw(w, data, size);
}

void codec_put_str(struct codec_writer *w, const char *text)
{
    codec_put_bytes(w, text, strlen(text));
}

void codec_reader_init(struct codec_reader *r, const void *buf, size_t size)
{
    *r = (struct codec_reader){.at = buf, .end = (const uint8_t *)buf + size, .ok = true};
}

size_t codec_left(const struct codec_reader *r)
{
    return r->ok ? (size_t)(r->end - r->at) : 0;
}

const void *codec_get_raw(struct codec_reader *r, size_t size)
{
    if (!r->ok || (size_t)(r->end - r->at) < size) {
        r->ok = false;
        return NULL;
    }
    const void *data = r->at;
    r->at += size;
    return data;
}

static void get(struct codec_reader *r, void *dst, size_t size)
{
    const void *data = codec_get_raw(r, size);
    if (data) {
        memcpy(dst, data, size);
    }
}

uint8_t codec_get_u8(struct codec_reader *r)
{
    uint8_t x = 0;
    get(r, &x, sizeof x);
    return x;
}

uint16_t codec_get_u16(struct codec_reader *r)
{
    uint16_t x = 0;
    get(r, &x, sizeof x);
    return le16toh(x);
}

uint32_t codec_get_u32(struct codec_reader *r)
{
    uint32_t x = 0;
    get(r, &x, sizeof x);
    return le32toh(x);
}

uint64_t codec_get_u64(struct codec_reader *r)
{
    uint64_t x = 0;
    get(r, &x, sizeof x);
    return le64toh(x);
}

const void *codec_get_bytes(struct codec_reader *r, size_t max, size_t *ret_size)
{
    size_t size = codec_get_u32(r);
    if (size > max) {
        r->ok = false;
    }
    const void *data = codec_get_raw(r, size);
    *ret_size = data ? size : 0;
    return data;
}

void codec_get_str(struct codec_reader *r, char *dst, size_t size)
{
    size_t len;
    dst[0] = '\0';
    const char *text = codec_get_bytes(r, size - 1, &len);
    if (!text) {
        return;
    }
    if (memchr(text, 0, len)) {
        r->ok = false;
        return;
    }
    memcpy(dst, text, len);
    dst[len] = '\0';
}

bool codec_done(const struct codec_reader *r)
{
    return r->ok && r->at == r->end;
}
