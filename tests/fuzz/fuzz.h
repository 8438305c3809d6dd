/* fuzz.h - what a fuzzer of one parser is made of.
 *
 * A target defines these three. clang's libFuzzer calls the first with what it makes of the seeds; where
 * there is none, fuzz_main.c does, with the seeds themselves and harmed copies of them that follow from a
 * seed number. What must not be is the end of the program, as is what a sanitizer finds. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Gives true messages, as our own code writes them. */
typedef void (*fuzz_give)(const void *data, size_t size);
void fuzz_seeds(fuzz_give give);

/* How many harmed copies are tried without libFuzzer: about a second of them. */
extern const unsigned fuzz_rounds;

#define FUZZ_CHECK(what)                                                                 \
    do {                                                                                 \
        if (!(what)) {                                                                   \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);         \
            abort();                                                                     \
        }                                                                                \
    } while (0)

#endif
