/* sums.h - checksums over an object's bytes on their way between nodes.
 *
 * A transfer is cut into chunks of CHUNK_BYTES from its own beginning on, the last one
 * shorter. Each chunk has a sum, XXH3-64 of its bytes; the sums in the order of the
 * chunks, 8 little-endian bytes each, are the table; XXH3-128 of the table is the root.
 * A sum finds a damaged chunk when it arrives; the root finds a table that was put
 * together wrongly, from sums that came one by one, in any order, over several
 * connections.
 *
 * XXH3 (Yann Collet, xxHash 0.8) finds accidents, not intent. No function blocks; one
 * thread at a time may use one state. */
#ifndef TRANSPORT_SUMS_H
#define TRANSPORT_SUMS_H

#include <core/limits.h>
#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUMS_ROOT_BYTES 16

/* Chunks of a transfer of @size bytes; 0 for an empty one. */
static inline uint64_t sums_count(uint64_t size)
{
    return size / CHUNK_BYTES + (size % CHUNK_BYTES != 0);
}

/* The sum of a chunk that is there as a whole; with the widest vectors that this CPU has. */
uint64_t sums_chunk(const void *data, size_t size);

/* A chunk's sum made piece by piece, each while it is still in the cache. */
struct sums_state;
mob_status sums_state_new(struct sums_state **ret); /* MOB_ERR_NOMEM */
void sums_state_free(struct sums_state *state);     /* NULL is allowed */
void sums_begin(struct sums_state *state);
void sums_add(struct sums_state *state, const void *data, size_t size);
uint64_t sums_end(const struct sums_state *state);

/* The root of a table that is there as a whole; @count may be 0. Canonical XXH3-128: most
 * significant byte first. */
void sums_root(const uint64_t *table, size_t count, uint8_t ret[SUMS_ROOT_BYTES]);

/* The same from sums that come one after the other, in order; no table is kept. */
struct sums_table;
mob_status sums_table_new(struct sums_table **ret); /* MOB_ERR_NOMEM */
void sums_table_free(struct sums_table *table);     /* NULL is allowed */
void sums_table_begin(struct sums_table *table);    /* anew */
void sums_table_add(struct sums_table *table, uint64_t sum);
void sums_table_root(const struct sums_table *table, uint8_t ret[SUMS_ROOT_BYTES]);

/* Constant time is not needed: a root is no secret. */
bool sums_root_equal(const uint8_t a[SUMS_ROOT_BYTES], const uint8_t b[SUMS_ROOT_BYTES]);

#endif
