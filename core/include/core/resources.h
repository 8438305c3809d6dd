/* resources.h - amounts of what nodes have and tasks take, one for each kind: a vector.
 *
 * Every vector has CPUs, memory and GPUs; what else there is has a name and is in it only where somebody named
 * it. So no table of kinds has to be agreed on, and a demand of CPUs alone costs three additions.
 *
 * Sums stop at UINT64_MAX and differences at 0, each kind by itself. A zeroed vector is valid and empty. Vectors
 * of peers and clients are looked at with resources_ok() before they are used.
 * Threads: values. */
#ifndef CORE_RESOURCES_H
#define CORE_RESOURCES_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"

enum resource {
    RESOURCE_CPU,    /* in units: CPUs * CPU_UNITS */
    RESOURCE_MEMORY, /* bytes */
    RESOURCE_GPU,    /* in units, as CPUs */
    RESOURCE_BASIC,  /* from here on the named ones, in units too */
    RESOURCE_KINDS = RESOURCE_BASIC + RESOURCES_NAMED_MAX
};

struct resources {
    uint32_t named; /* kinds that have a name here */
    uint64_t amount[RESOURCE_KINDS];
    /* Of amount[RESOURCE_BASIC + i]; each greater than the one before. */
    char name[RESOURCES_NAMED_MAX][RESOURCE_NAME_MAX + 1];
};

static inline struct resources resources_cpus(uint64_t units)
{
    return (struct resources){.amount = {units}};
}

/* Nothing, with the same names. */
static inline void resources_clear(struct resources *r)
{
    __builtin_memset(r->amount, 0, sizeof r->amount);
}

static inline uint32_t resources_kinds(const struct resources *r)
{
    return RESOURCE_BASIC + r->named;
}

/* Within the bounds, and names in order. */
bool resources_ok(const struct resources *r);
/* Every amount is 0. */
bool resources_none(const struct resources *r);
/* Equal amounts of equal names; a kind that one has none of it need not have. */
bool resources_equal(const struct resources *a, const struct resources *b);
/* How much of the kind number @kind of @r there is in @in. */
uint64_t resources_like(const struct resources *in, const struct resources *r,
                        uint32_t kind);

/* Every amount of @need is there. */
bool resources_fit(const struct resources *have, const struct resources *need);
/* How many times @need is there; @max if it needs nothing, and at most. */
uint32_t resources_times(const struct resources *have, const struct resources *need,
                         uint32_t max);
/* The least number of @each that have, of every kind that both have, as much as @need; 0: they share none. */
uint64_t resources_cover(const struct resources *need, const struct resources *each);

/* @times @what more, or less. Kinds that @to has no place for are left out: what is booked on a node is in
 * a vector made with resources_zero() of what the node has. */
void resources_add(struct resources *to, const struct resources *what, uint64_t times);
void resources_sub(struct resources *from, const struct resources *what, uint64_t times);
/* Nothing, with a place for each kind of @like. */
struct resources resources_zero(const struct resources *like);
/* Each kind of @r as much as in @other, if it has less, or more. */
void resources_raise(struct resources *r, const struct resources *other);
void resources_limit(struct resources *r, const struct resources *other);

/* Sets one more kind, or another amount of one that is there. MOB_ERR_INVALID: no name (letters, digits, and
 * _ - . : /; RESOURCE_NAME_MAX of them at most) or too much. MOB_ERR_FULL: RESOURCES_NAMED_MAX are there. */
mob_status resources_set(struct resources *r, const char *name, uint64_t units);

/* "tape=2,license=0.5" into the named kinds of @r, which had none. MOB_ERR_INVALID, MOB_ERR_FULL. */
mob_status resources_parse(struct resources *r, const char *text);
/* @amount in units; rounded to the nearest. MOB_ERR_INVALID: not above 0, or beyond RESOURCE_MAX. */
mob_status resources_units(const char *what, double amount, uint64_t *ret);

/* The kind's name for people. */
const char *resources_name(const struct resources *r, uint32_t kind);
/* An amount of that kind, as people write it: "0.5", "4 GiB". At least 32 bytes; returns buf. */
char *resources_amount(const struct resources *r, uint32_t kind, char *buf, size_t size);
/* "CPU=2 memory=4 GiB tape=1", or "nothing"; cut at @size. Returns buf. */
#define RESOURCES_TEXT_MAX 512
char *resources_text(const struct resources *r, char *buf, size_t size);

/* As messages have it. False: malformed; amounts may be beyond their bounds still. */
struct codec_writer;
struct codec_reader;
void resources_put(struct codec_writer *w, const struct resources *r);
bool resources_get(struct codec_reader *r, struct resources *ret);

#endif
