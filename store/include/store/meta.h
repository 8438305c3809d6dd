/* meta.h - what the bytes of a result are: element type and size, and an array's shape.
 *
 * Most objects have none, so a record has no field for it. Metadata stands in the payload like a
 * small result; `about` of the record says where the newest stands, and each says where the one
 * before it does. It is written before the seal, by the holder, and does not change afterwards.
 * `about` names its attempt too: what a dead attempt left behind counts for nothing. */
#ifndef STORE_META_H
#define STORE_META_H

#include "store/record.h"

/* Payload bytes for metadata with @dims dimensions. */
static inline uint32_t meta_bytes(uint32_t dims)
{
    return 8 + 8 * dims;
}

/* Writes metadata of result @ret into the payload at @at, a multiple of 8, where meta_bytes() are free.
 * For the holder of a CREATING or TAKEN record. */
void meta_add(struct record *r, uint32_t at, uint32_t ret, const struct mob_meta *meta);

/* The metadata of result @ret of a sealed record. False: there is none. Trusts nothing it reads.
 * @io: struct_size stays as it is. */
bool meta_find(const struct record *r, uint32_t ret, struct mob_meta *io);

/* Whether what stands there makes sense, for a check of the whole board. */
bool meta_sound(const struct record *r);

#endif
