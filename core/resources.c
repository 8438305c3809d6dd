#include "core/resources.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "core/text.h"

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* The kind of @in that is called as @r's kind number @kind; RESOURCE_KINDS: there is none. */
static uint32_t kind_in(const struct resources *in, const struct resources *r,
                        uint32_t kind)
{
    if (kind < RESOURCE_BASIC) {
        return kind;
    }
    for (uint32_t i = 0; i < in->named; i++) {
        if (strcmp(in->name[i], r->name[kind - RESOURCE_BASIC]) == 0) {
            return RESOURCE_BASIC + i;
        }
    }
    return RESOURCE_KINDS;
}

uint64_t resources_like(const struct resources *in, const struct resources *r,
                        uint32_t kind)
{
    uint32_t k = kind_in(in, r, kind);
    return k < RESOURCE_KINDS ? in->amount[k] : 0;
}

static bool name_ok(const char *name)
{
    size_t size = strnlen(name, RESOURCE_NAME_MAX + 1);
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)name[i]) && !strchr("_-.:/", name[i])) {
            return false;
        }
    }
    return size > 0 && size <= RESOURCE_NAME_MAX;
}

bool resources_ok(const struct resources *r)
{
    if (r->named > RESOURCES_NAMED_MAX ||
        r->amount[RESOURCE_CPU] > (uint64_t)NODE_CPUS_MAX * CPU_UNITS ||
        r->amount[RESOURCE_GPU] > (uint64_t)NODE_GPUS_MAX * CPU_UNITS) {
        return false;
    }
    for (uint32_t k = 0; k < resources_kinds(r); k++) {
        if (r->amount[k] > RESOURCE_MAX) {
            return false;
        }
    }
    for (uint32_t i = 0; i < r->named; i++) {
        if (!name_ok(r->name[i]) || (i > 0 && strcmp(r->name[i - 1], r->name[i]) >= 0)) {
            return false;
        }
    }
    return true;
}

bool resources_none(const struct resources *r)
{
    uint64_t any = 0;
    for (uint32_t k = 0; k < resources_kinds(r); k++) {
        any |= r->amount[k];
    }
    return any == 0;
}

bool resources_fit(const struct resources *have, const struct resources *need)
{
    for (uint32_t k = 0; k < resources_kinds(need); k++) {
        if (need->amount[k] > resources_like(have, need, k)) {
            return false;
        }
    }
    return true;
}

bool resources_equal(const struct resources *a, const struct resources *b)
{
    return resources_fit(a, b) && resources_fit(b, a);
}

uint32_t resources_times(const struct resources *have, const struct resources *need,
                         uint32_t max)
{
    uint64_t fit = max;
    for (uint32_t k = 0; k < resources_kinds(need) && fit > 0; k++) {
        if (need->amount[k] > 0) {
            uint64_t here = resources_like(have, need, k) / need->amount[k];
            fit = here < fit ? here : fit;
        }
    }
    return (uint32_t)fit;
}

uint64_t resources_cover(const struct resources *need, const struct resources *each)
{
    uint64_t most = 0;
    for (uint32_t k = 0; k < resources_kinds(each); k++) {
        uint64_t part = each->amount[k] ? resources_like(need, each, k) : 0;
        if (part > 0) {
            uint64_t count = (part - 1) / each->amount[k] + 1;
            most = count > most ? count : most;
        }
    }
    return most;
}

void resources_add(struct resources *to, const struct resources *what, uint64_t count)
{
    for (uint32_t k = 0; k < resources_kinds(what); k++) {
        uint32_t at = kind_in(to, what, k);
        if (at < RESOURCE_KINDS) {
            to->amount[at] = plus(to->amount[at], times(what->amount[k], count));
        }
    }
}

void resources_sub(struct resources *from, const struct resources *what, uint64_t count)
{
    for (uint32_t k = 0; k < resources_kinds(what); k++) {
        uint32_t at = kind_in(from, what, k);
        if (at < RESOURCE_KINDS) {
            from->amount[at] = minus(from->amount[at], times(what->amount[k], count));
        }
    }
}

struct resources resources_zero(const struct resources *like)
{
    struct resources r = *like;
    resources_clear(&r);
    return r;
}

void resources_raise(struct resources *r, const struct resources *other)
{
    for (uint32_t k = 0; k < resources_kinds(r); k++) {
        uint64_t x = resources_like(other, r, k);
        r->amount[k] = x > r->amount[k] ? x : r->amount[k];
    }
}

void resources_limit(struct resources *r, const struct resources *other)
{
    for (uint32_t k = 0; k < resources_kinds(r); k++) {
        uint64_t x = resources_like(other, r, k);
        r->amount[k] = x < r->amount[k] ? x : r->amount[k];
    }
}

mob_status resources_set(struct resources *r, const char *name, uint64_t units)
{
    if (!name_ok(name) || units > RESOURCE_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "'%.40s' with %g is no resource: a name has 1 to %d letters, "
                           "digits or any of _-.:/, an amount is at most %g",
                           name, (double)units / CPU_UNITS, RESOURCE_NAME_MAX,
                           (double)RESOURCE_MAX / CPU_UNITS);
    }
    uint32_t i = 0;
    while (i < r->named && strcmp(r->name[i], name) < 0) {
        i++;
    }
    if (i == r->named || strcmp(r->name[i], name) != 0) {
        if (r->named == RESOURCES_NAMED_MAX) {
            return status_fail(MOB_ERR_FULL,
                               "resource '%s' is one too many: beside CPUs, memory and "
                               "GPUs a node has, and a task asks for, at most %d kinds",
                               name, RESOURCES_NAMED_MAX);
        }
        uint64_t *amount = &r->amount[RESOURCE_BASIC + i];
        memmove(amount + 1, amount, (r->named - i) * sizeof *amount);
        memmove(r->name[i + 1], r->name[i], (r->named - i) * sizeof r->name[i]);
        r->named++;
        memset(r->name[i], 0, sizeof r->name[i]);
        memcpy(r->name[i], name, strlen(name));
    }
    r->amount[RESOURCE_BASIC + i] = units;
    return MOB_OK;
}

mob_status resources_units(const char *what, double amount, uint64_t *ret)
{
    double units = amount * CPU_UNITS;
    if (!(units >= 1) || units > (double)RESOURCE_MAX) {
        return status_fail(MOB_ERR_INVALID, "%s: %g is no amount; 0.0001 to %g are", what,
                           amount, (double)RESOURCE_MAX / CPU_UNITS);
    }
    *ret = (uint64_t)llround(units);
    return MOB_OK;
}

mob_status resources_parse(struct resources *r, const char *text)
{
    char name[RESOURCE_NAME_MAX + 2]; /* one more, so that it is refused */
    for (const char *at = text; *at;) {
        size_t size = strcspn(at, "=,");
        bool named = at[size] == '=';
        const char *value = at + size + (named ? 1 : 0);
        char *end;
        double amount = strtod(value, &end);
        if (!named || end == value || (*end && *end != ',') || (*end && !end[1])) {
            return status_fail(MOB_ERR_INVALID,
                               "resources '%.60s': '%.30s' makes no sense there, as in "
                               "tape=2,license=0.5",
                               text, at);
        }
        uint64_t units;
        snprintf(name, sizeof name, "%.*s", (int)size, at);
        MOB_TRY(resources_units(name, amount, &units));
        MOB_TRY(resources_set(r, name, units));
        at = end + (*end == ',');
    }
    return MOB_OK;
}

const char *resources_name(const struct resources *r, uint32_t kind)
{
    static const char *const basic[] = {"CPU", "memory", "GPU"};
    return kind < RESOURCE_BASIC ? basic[kind] : r->name[kind - RESOURCE_BASIC];
}

char *resources_amount(const struct resources *r, uint32_t kind, char *buf, size_t size)
{
    if (kind == RESOURCE_MEMORY) {
        return text_bytes(r->amount[kind], buf, size);
    }
    snprintf(buf, size, "%.10g", (double)r->amount[kind] / CPU_UNITS);
    return buf;
}

char *resources_text(const struct resources *r, char *buf, size_t size)
{
    char amount[32];
    size_t at = 0;
    snprintf(buf, size, "nothing");
    for (uint32_t k = 0; k < resources_kinds(r) && at < size; k++) {
        if (r->amount[k] > 0) {
            int n = snprintf(buf + at, size - at, "%s%s=%s", at ? " " : "",
                             resources_name(r, k),
                             resources_amount(r, k, amount, sizeof amount));
            at += n > 0 ? (size_t)n : 0;
        }
    }
    return buf;
}

void resources_put(struct codec_writer *w, const struct resources *r)
{
    uint8_t count = 0;
    for (uint32_t k = 0; k < resources_kinds(r); k++) {
        count += r->amount[k] > 0;
    }
    codec_put_u8(w, count);
    for (uint32_t k = 0; k < resources_kinds(r); k++) {
        if (r->amount[k] > 0) {
            codec_put_u8(w, k < RESOURCE_BASIC ? (uint8_t)k : RESOURCE_BASIC);
            if (k >= RESOURCE_BASIC) {
                codec_put_str(w, resources_name(r, k));
            }
            codec_put_u64(w, r->amount[k]);
        }
    }
}

bool resources_get(struct codec_reader *r, struct resources *ret)
{
    struct resources x = {0};
    uint32_t count = codec_get_u8(r);
    for (uint32_t i = 0; i < count && r->ok; i++) {
        char name[RESOURCE_NAME_MAX + 1];
        uint32_t kind = codec_get_u8(r);
        if (kind > RESOURCE_BASIC) {
            return false;
        }
        if (kind == RESOURCE_BASIC) {
            codec_get_str(r, name, sizeof name);
        }
        uint64_t amount = codec_get_u64(r);
        if (kind < RESOURCE_BASIC) {
            x.amount[kind] = amount;
        } else if (!r->ok || resources_set(&x, name, amount) != MOB_OK) {
            return false;
        }
    }
    *ret = x;
    return r->ok;
}
