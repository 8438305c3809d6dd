/* load.h - what the tasks of crash_load do, and how their results are known beforehand. */
#ifndef TESTS_LOAD_H
#define TESTS_LOAD_H

#include <mobula.h>
#include <stddef.h>
#include <stdint.h>

#define WAIT_NS (60 * 1000000000ull) /* far more than any wait takes on a slow machine */
enum { RETRIES = 200, HOARD = 40 };

/* Where a mortal task dies. */
enum where {
    IN_PUT = 1,
    BEFORE_RETURN,
    AFTER_PLACE,
    AFTER_SUBMIT,
    HOLDING_VIEW,
    WHERE_MAX
};

extern const char *load_folder; /* set in workers too */
extern const struct mob_options load_patient;

uint64_t load_mix64(uint64_t x);
/* One of some sizes, multiples of 8. */
size_t load_size(uint64_t random);
void load_fill(uint64_t *words, size_t count, uint64_t seed);
uint64_t load_hash(const void *bytes, size_t size);
/* What load_hash() gives for the bytes that load_fill() makes. */
uint64_t load_hash_of_fill(size_t size, uint64_t seed);
/* The result of a nested task. */
uint64_t load_nested_value(uint64_t depth, uint64_t seed);

/* End the program if it is not so. */
void load_ok(mob_status st, const char *what);
void load_same(uint64_t got, uint64_t want, const char *what);

struct kept { /* an object that is looked at long after it was made */
    mob_ref ref;
    size_t size; /* 0: none */
    uint64_t hash;
};
struct hoard {
    struct kept kept[HOARD];
};
/* Makes some, looks at some, drops some. */
void hoard_round(struct hoard *h, struct mob *mob, uint64_t *random);
void hoard_drop(struct hoard *h, struct mob *mob);

mob_status value(struct mob_task *task);
mob_status fold(struct mob_task *task);
mob_status blob(struct mob_task *task);
mob_status nested(struct mob_task *task);
mob_status delegate(struct mob_task *task);
mob_status mortal(struct mob_task *task);
mob_status endless(struct mob_task *task);

#endif
