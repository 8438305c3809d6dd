/* The sums of chunks: piece by piece as at once, in order as a table. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "sums.h"

static uint8_t *bytes;

static void make(void)
{
    bytes = malloc(CHUNK_BYTES);
    for (size_t i = 0; i < CHUNK_BYTES; i++) {
        bytes[i] = (uint8_t)(i * 7 + (i >> 11));
    }
}
static void end(void)
{
    free(bytes);
}

TestSuite(sums, .init = make, .fini = end);

Test(sums, pieces_of_any_size_give_the_sum_of_the_whole)
{
    static const size_t pieces[] = {1, 63, 64, 240, 241, 4096, 100003, CHUNK_BYTES};
    struct sums_state *state;
    cr_assert_eq(sums_state_new(&state), MOB_OK);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (size_t size = CHUNK_BYTES - 1; size <= CHUNK_BYTES; size++) {
            sums_begin(state);
            for (size_t at = 0; at < size; at += pieces[i]) {
                size_t left = size - at;
                sums_add(state, bytes + at, left < pieces[i] ? left : pieces[i]);
            }
            cr_assert_eq(sums_end(state), sums_chunk(bytes, size));
        }
    }
    sums_begin(state);
    cr_assert_eq(sums_end(state), sums_chunk(bytes, 0));
    sums_state_free(state);
    sums_state_free(NULL);
}

Test(sums, one_by_one_gives_the_root_of_the_table)
{
    uint64_t table[300];
    uint8_t a[SUMS_ROOT_BYTES], b[SUMS_ROOT_BYTES];
    struct sums_table *t;
    cr_assert_eq(sums_table_new(&t), MOB_OK);
    for (size_t n = 0; n <= 300; n++) {
        sums_root(table, n, a);
        sums_table_root(t, b);
        cr_assert(sums_root_equal(a, b), "after %zu", n);
        if (n < 300) {
            table[n] = sums_chunk(bytes + n, 1000);
            sums_table_add(t, table[n]);
        }
    }
    table[7] ^= 1;
    sums_root(table, 300, b);
    cr_assert_not(sums_root_equal(a, b));
    sums_table_free(t);
}

/* The bytes are on the wire: they may never change. Values of xxhsum 0.8. */
Test(sums, known_values)
{
    static const uint8_t empty[SUMS_ROOT_BYTES] = {0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47,
                                                   0x98, 0xd8, 0x60, 0x01, 0xc3, 0x24,
                                                   0x46, 0x8d, 0x49, 0x7f};
    uint8_t root[SUMS_ROOT_BYTES];
    cr_assert_eq(sums_chunk("", 0), 0x2d06800538d394c2ull);
    sums_root(NULL, 0, root);
    cr_assert(sums_root_equal(root, empty));
}

Test(sums, chunks_are_counted_without_overflow)
{
    cr_assert_eq(sums_count(0), 0);
    cr_assert_eq(sums_count(1), 1);
    cr_assert_eq(sums_count(CHUNK_BYTES), 1);
    cr_assert_eq(sums_count(CHUNK_BYTES + 1ull), 2);
    cr_assert_eq(sums_count(UINT64_MAX), UINT64_MAX / CHUNK_BYTES + 1);
}
