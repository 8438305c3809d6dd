/* shared.c - the memory that the modelled processes share: what is where, and what is said to be quiet. */
#include <stdio.h>
#include <string.h>

#include "model_int.h"

enum { REGIONS_MAX = 32 };

char shared_memory[SHARED_BYTES] __attribute__((aligned(4096)));
size_t shared_used;

static struct region {
    const char *name;
    size_t begin, size;
} regions[REGIONS_MAX];
static unsigned regions_count;
static struct {
    const char *begin, *end;
} quiet[REGIONS_MAX];
static unsigned quiet_count;

void shared_begin(void)
{
    memset(shared_memory, 0, shared_used);
    shared_used = regions_count = quiet_count = 0;
}

void *model_alloc(const char *name, size_t size)
{
    size_t begin = (shared_used + 63) & ~(size_t)63;
    MODEL_CHECK(begin + size <= SHARED_BYTES && regions_count < REGIONS_MAX,
                "no room for %s of %zu bytes", name, size);
    regions[regions_count++] = (struct region){name, begin, size};
    shared_used = begin + size;
    return shared_memory + begin;
}

void model_quiet(const void *memory, size_t size)
{
    MODEL_CHECK(quiet_count < REGIONS_MAX, "too many quiet regions");
    quiet[quiet_count].begin = memory;
    quiet[quiet_count++].end = (const char *)memory + size;
}

bool memory_quiet(const struct model_op *op)
{
    const char *word = op->word;
    for (unsigned i = 0; i < quiet_count; i++) {
        if (word >= quiet[i].begin && word < quiet[i].end) {
            return true;
        }
    }
    return false;
}

void memory_name(const void *word, char *buf, size_t size)
{
    size_t at = (size_t)((const char *)word - shared_memory);
    for (unsigned i = 0; i < regions_count; i++) {
        const struct region *r = &regions[i];
        if (at >= r->begin && at < r->begin + r->size) {
            snprintf(buf, size, "%s+%zu", r->name, at - r->begin);
            return;
        }
    }
    snprintf(buf, size, "?");
}
