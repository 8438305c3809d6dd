/* grant_bytes.c - what the daemon itself reads and writes of results: bytes that go to other nodes, errors
 * of tasks that it ends. Clients write where it looks, so everything is checked. */
#include <string.h>

#include "cluster.h"
#include "core/seg.h"
#include "core/status.h"
#include "core/text.h"
#include "store/task.h"

mob_status grant_failure(struct job *j, const struct record *r, const struct place *p,
                         char *text, size_t size)
{
    mob_status st = (mob_status)(int32_t)at_load(&r->error, AT_RELAXED);
    const void *bytes;
    text[0] = '\0';
    if (grant_read(j, r, p, &bytes) == MOB_OK) {
        (void)text_shorten(text, size, bytes, p->size);
    }
    return st < 0 ? st : MOB_ERR_CORRUPT;
}

void grant_error(struct job *j, struct record *r, mob_status error, const char *text)
{
    struct arena_place place;
    size_t size = strlen(text);
    void *data;
    if (!task_set_error(r, error, text) &&
        grant_place(j, size, &place, &data) == MOB_OK) {
        memcpy(data, text, size);
        record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    }
}

mob_status grant_resolve(struct job *j, uint64_t *io_link, struct record **ret,
                         struct place *ret_place)
{
    enum { DEEP_MAX = 64 };
    for (int deep = 0; deep < DEEP_MAX; deep++) {
        uint64_t s;
        struct record *r = lane_find(&j->lane, *io_link, &s);
        if (!r || state_phase(s) == PHASE_FREE || state_phase(s) > PHASE_CLOSED) {
            return MOB_ERR_NOT_FOUND;
        }
        *ret = r;
        if (!state_sealed(s)) {
            return MOB_ERR_STATE;
        }
        struct call call = record_call(r);
        uint32_t i = s & STATE_ERROR ? 0 : link_ret(*io_link);
        if (i >= call_nrets(&call)) {
            return MOB_ERR_CORRUPT;
        }
        *ret_place = record_get_place(r, i);
        if (s & STATE_ERROR) {
            return MOB_ERR_TASK_FAILED;
        }
        if (ret_place->kind != PLACE_REF) {
            return MOB_OK;
        }
        *io_link = ret_place->size;
    }
    return MOB_ERR_CORRUPT;
}

mob_status grant_read(struct job *j, const struct record *r, const struct place *p,
                      const void **ret)
{
    if (p->kind == PLACE_EMPTY) {
        *ret = "";
        return p->size ? MOB_ERR_CORRUPT : MOB_OK;
    }
    if (p->kind == PLACE_INLINE) {
        if (p->offset > RECORD_PAYLOAD || p->size > RECORD_PAYLOAD - p->offset) {
            return MOB_ERR_CORRUPT;
        }
        *ret = r->payload + p->offset;
        return MOB_OK;
    }
    struct segment *s = p->kind == PLACE_ARENA && p->segment < BOARD_SEGMENTS_MAX
                            ? &j->segments[p->segment]
                            : NULL;
    if (!s || s->state == SEGMENT_NONE || p->offset > s->bytes ||
        p->size > s->bytes - p->offset) {
        return MOB_ERR_CORRUPT;
    }
    if (!s->rw && !s->ro) {
        void *ro;
        MOB_TRY(seg_map(s->fd, s->bytes, SEG_READ, &ro));
        s->ro = ro;
    }
    if (!s->rw && !s->shown) { /* the first time: then its pages are there */
        s->shown = true;
        cluster_map(j->node, (void *)(uintptr_t)s->ro, s->bytes, false);
    }
    *ret = (const char *)(s->rw ? s->rw : s->ro) + p->offset;
    return MOB_OK;
}
