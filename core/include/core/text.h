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

/* "3.2 ms" into @buf (at least 16 bytes); returns buf. */
char *text_duration(uint64_t ns, char *buf, size_t size);

#endif
