#include "store/meta.h"

struct entry {
    uint8_t dims, ret;
    uint8_t next; /* place of the one before it, in units of 8; 0: none */
    uint8_t type;
    uint32_t item_bytes;
};
_Static_assert(sizeof(struct entry) == 8, "as meta_bytes() says");
_Static_assert(RECORD_PAYLOAD / 8 <= UINT8_MAX, "a place fits into a byte");

enum { ENTRIES_MAX = RECORD_PAYLOAD / 8 };

/* Where the newest of this attempt stands, 0 if there is none. */
static uint32_t newest(const struct record *r)
{
    uint32_t about = at_load(&r->about, AT_RELAXED);
    uint32_t attempt = state_attempt(at_load(&r->state, AT_RELAXED));
    return about >> ABOUT_ATTEMPT_SHIFT == attempt ? about >> ABOUT_META_SHIFT & 0xff : 0;
}

void meta_add(struct record *r, uint32_t at, uint32_t ret, const struct mob_meta *meta)
{
    uint32_t attempt = state_attempt(at_load(&r->state, AT_RELAXED));
    uint32_t about = at_load(&r->about, AT_RELAXED) & ABOUT_LOW_MASK;
    struct entry e = {.dims = (uint8_t)meta->dims,
                      .ret = (uint8_t)ret,
                      .next = (uint8_t)newest(r),
                      .type = (uint8_t)meta->type,
                      .item_bytes = meta->item_bytes};
    memcpy(r->payload + at, &e, sizeof e);
    memcpy(r->payload + at + sizeof e, meta->shape, 8 * meta->dims);
    about |= at / 8 << ABOUT_META_SHIFT | attempt << ABOUT_ATTEMPT_SHIFT;
    at_store(&r->about, about, AT_RELAXED); /* the seal publishes it */
}

/* The entry at @at. False: it makes no sense. */
static bool read_entry(const struct record *r, uint32_t at, struct entry *ret)
{
    if (at > RECORD_PAYLOAD - sizeof *ret) {
        return false;
    }
    memcpy(ret, r->payload + at, sizeof *ret);
    return ret->dims <= MOB_DIMS_MAX && meta_bytes(ret->dims) <= RECORD_PAYLOAD - at;
}

bool meta_find(const struct record *r, uint32_t ret, struct mob_meta *io)
{
    uint32_t at = newest(r) * 8;
    struct entry e;
    /* A client may have made a ring of them. */
    for (int i = 0; i < ENTRIES_MAX && at != 0 && read_entry(r, at, &e); i++) {
        if (e.ret == ret) {
            *io = (struct mob_meta){.struct_size = io->struct_size,
                                    .type = e.type,
                                    .item_bytes = e.item_bytes,
                                    .dims = e.dims};
            memcpy(io->shape, r->payload + at + sizeof e, 8ull * e.dims);
            return true;
        }
        at = e.next * 8u;
    }
    return false;
}

bool meta_sound(const struct record *r)
{
    uint32_t at = newest(r) * 8;
    struct entry e;
    int i = 0;
    for (; i < ENTRIES_MAX && at != 0; i++) {
        if (!read_entry(r, at, &e)) {
            return false;
        }
        at = e.next * 8u;
    }
    return i < ENTRIES_MAX;
}
