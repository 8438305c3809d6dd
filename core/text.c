#include "core/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/status.h"

mob_status text_parse_bytes(const char *text, uint64_t *ret)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno || !(value >= 0) || !isdigit((unsigned char)text[0])) {
        return status_fail(MOB_ERR_INVALID, "'%s' is no size; write 512M or 1.5GiB",
                           text);
    }
    while (*end == ' ') {
        end++;
    }
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        value *= (double)(1ull << (10 * (unit - units + 1)));
        end++;
        if (*end == 'i') {
            end++;
        }
    }
    if (*end == 'B' || *end == 'b') {
        end++;
    }
    if (*end || value >= 18446744073709551615.0) {
        return status_fail(MOB_ERR_INVALID, "'%s' is no size; write 512M or 1.5GiB",
                           text);
    }
    *ret = (uint64_t)value;
    return MOB_OK;
}

mob_status text_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end || errno || value < min || value > max) {
        return status_fail(MOB_ERR_INVALID, "'%s' is no number from %llu to %llu", text,
                           (unsigned long long)min, (unsigned long long)max);
    }
    *ret = value;
    return MOB_OK;
}

char *text_bytes(uint64_t bytes, char *buf, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    unsigned u = 0;
    while (value >= 1024 && u < 5) {
        value /= 1024;
        u++;
    }
    snprintf(buf, size, u == 0 || value == floor(value) ? "%.0f %s" : "%.1f %s", value,
             units[u]);
    return buf;
}

size_t text_shorten(char *dst, size_t size, const char *src, size_t len)
{
    static const char gap[] = " [...] ";
    const size_t gap_len = sizeof gap - 1;
    if (size == 0) {
        return 0;
    }
    if (len >= size) {
        size_t head = size - 1 > gap_len ? (size - 1 - gap_len) / 2 : size - 1;
        size_t tail = size - 1 > gap_len ? size - 1 - gap_len - head : 0;
        memcpy(dst, src, head);
        if (tail) {
            memcpy(dst + head, gap, gap_len);
            memcpy(dst + head + gap_len, src + len - tail, tail);
        }
        len = size - 1;
    } else {
        memcpy(dst, src, len);
    }
    dst[len] = '\0';
    return len;
}

char *text_duration(uint64_t ns, char *buf, size_t size)
{
    if (ns < NS_PER_US) {
        snprintf(buf, size, "%llu ns", (unsigned long long)ns);
    } else if (ns < NS_PER_MS) {
        snprintf(buf, size, "%.1f us", (double)ns / (double)NS_PER_US);
    } else if (ns < NS_PER_S) {
        snprintf(buf, size, "%.1f ms", (double)ns / (double)NS_PER_MS);
    } else {
        snprintf(buf, size, "%.1f s", (double)ns / (double)NS_PER_S);
    }
    return buf;
}
