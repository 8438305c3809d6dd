/* text.h - numbers and sizes as people write and read them. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <mobula.h>
#include <stddef.h>
#include <stdint.h>

/* "64M", "1.5GiB", "4096": bytes, with binary units K M G T. MOB_ERR_INVALID otherwise. */
mob_status text_parse_bytes(const char *text, uint64_t *ret);

/* A whole decimal number in [min, max]. */
mob_status text_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* "1.5 GiB" into @buf (at least 16 bytes); returns buf. */
char *text_bytes(uint64_t bytes, char *buf, size_t size);

/* Copies @len bytes and an ending NUL into @dst, which has @size. A text that is too long loses its
 * middle: how it begins says what happened, and how it ends is the newest. Returns the length. */
size_t text_shorten(char *dst, size_t size, const char *src, size_t len);

/* "3.2 ms" into @buf (at least 16 bytes); returns buf. */
char *text_duration(uint64_t ns, char *buf, size_t size);

#endif
