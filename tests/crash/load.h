/* load.h - what the tasks of crash_load do, and how their results are known beforehand. */
#ifndef TESTS_LOAD_H
#define TESTS_LOAD_H

#include <mobula.h>
#include <stddef.h>
#include <stdint.h>

#define WAIT_NS (60 * 1000000000ull) /* far more than any wait takes on a slow machine */
enum { RETRIES = 200 };

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
void load_fill(uint64_t *words, size_t count, uint64_t seed);
uint64_t load_hash(const void *bytes, size_t size);
/* What load_hash() gives for the bytes that load_fill() makes. */
uint64_t load_hash_of_fill(size_t size, uint64_t seed);
/* The result of a nested task. */
uint64_t load_nested_value(uint64_t depth, uint64_t seed);

mob_status value(struct mob_task *task);
mob_status fold(struct mob_task *task);
mob_status blob(struct mob_task *task);
mob_status nested(struct mob_task *task);
mob_status delegate(struct mob_task *task);
mob_status mortal(struct mob_task *task);

#endif
