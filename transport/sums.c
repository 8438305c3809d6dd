#include "sums.h"

#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "core/xxh3.h"

/* The states are the library's own, as their size belongs to its version. The types here
 * are only names for them. */
static XXH3_state_t *chunk_state(const struct sums_state *state)
{
    return (XXH3_state_t *)(uintptr_t)state;
}

static XXH3_state_t *table_state(const struct sums_table *table)
{
    return (XXH3_state_t *)(uintptr_t)table;
}

static mob_status new_state(XXH3_state_t **ret)
{
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a checksum");
    }
    *ret = state;
    return MOB_OK;
}

uint64_t sums_chunk(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

mob_status sums_state_new(struct sums_state **ret)
{
    XXH3_state_t *state;
    MOB_TRY(new_state(&state));
    *ret = (struct sums_state *)(void *)state;
    sums_begin(*ret);
    return MOB_OK;
}

void sums_state_free(struct sums_state *state)
{
    XXH3_freeState(chunk_state(state));
}

void sums_begin(struct sums_state *state)
{
    XXH3_64bits_reset(chunk_state(state));
}

void sums_add(struct sums_state *state, const void *data, size_t size)
{
    XXH3_64bits_update(chunk_state(state), data, size);
}

uint64_t sums_end(const struct sums_state *state)
{
    return XXH3_64bits_digest(chunk_state(state));
}

mob_status sums_table_new(struct sums_table **ret)
{
    XXH3_state_t *state;
    MOB_TRY(new_state(&state));
    *ret = (struct sums_table *)(void *)state;
    sums_table_begin(*ret);
    return MOB_OK;
}

void sums_table_begin(struct sums_table *table)
{
    XXH3_128bits_reset(table_state(table));
}

void sums_table_free(struct sums_table *table)
{
    XXH3_freeState(table_state(table));
}

static void add(XXH3_state_t *state, uint64_t sum)
{
    uint8_t bytes[sizeof sum];
    struct codec_writer w;
    codec_writer_init(&w, bytes, sizeof bytes);
    codec_put_u64(&w, sum);
    XXH3_128bits_update(state, bytes, sizeof bytes);
}

void sums_table_add(struct sums_table *table, uint64_t sum)
{
    add(table_state(table), sum);
}

static void canonical(XXH128_hash_t hash, uint8_t ret[SUMS_ROOT_BYTES])
{
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    memcpy(ret, bytes.digest, SUMS_ROOT_BYTES);
}

void sums_table_root(const struct sums_table *table, uint8_t ret[SUMS_ROOT_BYTES])
{
    canonical(XXH3_128bits_digest(table_state(table)), ret);
}

void sums_root(const uint64_t *table, size_t count, uint8_t ret[SUMS_ROOT_BYTES])
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    canonical(XXH3_128bits(table, count * sizeof *table), ret);
#else
#error "the table is read as the little-endian bytes that it is on the wire"
#endif
}

bool sums_root_equal(const uint8_t a[SUMS_ROOT_BYTES], const uint8_t b[SUMS_ROOT_BYTES])
{
    return memcmp(a, b, SUMS_ROOT_BYTES) == 0;
}
