#include "wire.h"

#include <string.h>

const char *wire_op_name(uint8_t op)
{
    static const char *const names[WIRE_OPS] = {[WIRE_JOIN] = "JOIN",
                                                [WIRE_WELCOME] = "WELCOME",
                                                [WIRE_REFUSED] = "REFUSED",
                                                [WIRE_NODE] = "NODE",
                                                [WIRE_DEAD] = "DEAD",
                                                [WIRE_HEARTBEAT] = "HEARTBEAT",
                                                [WIRE_GOODBYE] = "GOODBYE",
                                                [WIRE_REPORT] = "REPORT",
                                                [WIRE_DEMAND] = "DEMAND",
                                                [WIRE_HELD] = "HELD",
                                                [WIRE_LEASE] = "LEASE",
                                                [WIRE_GRANT] = "GRANT",
                                                [WIRE_SYNCED] = "SYNCED",
                                                [WIRE_STATUS] = "STATUS",
                                                [WIRE_STATUS_TEXT] = "STATUS_TEXT",
                                                [WIRE_OPEN] = "OPEN",
                                                [WIRE_CLOSE] = "CLOSE",
                                                [WIRE_TASKS] = "TASKS",
                                                [WIRE_RELEASE] = "RELEASE",
                                                [WIRE_CANCEL] = "CANCEL",
                                                [WIRE_CLOSED] = "CLOSED",
                                                [WIRE_FAILED] = "FAILED",
                                                [WIRE_DONE] = "DONE",
                                                [WIRE_BACK] = "BACK",
                                                [WIRE_OUTPUT] = "OUTPUT",
                                                [WIRE_ASK] = "ASK",
                                                [WIRE_TOLD] = "TOLD",
                                                [WIRE_SOURCE] = "SOURCE",
                                                [WIRE_COPY] = "COPY",
                                                [WIRE_FOLD] = "FOLD",
                                                [WIRE_FLOWS] = "FLOWS",
                                                [WIRE_UNFOLD] = "UNFOLD",
                                                [WIRE_LET_GO] = "LET_GO",
                                                [WIRE_GROUP] = "GROUP",
                                                [WIRE_GROUP_END] = "GROUP_END",
                                                [WIRE_GROUP_AT] = "GROUP_AT",
                                                [WIRE_HOLD] = "HOLD",
                                                [WIRE_HOLD_SAID] = "HOLD_SAID",
                                                [WIRE_GROUP_MAKE] = "GROUP_MAKE",
                                                [WIRE_GROUP_DROP] = "GROUP_DROP",
                                                [WIRE_GROUP_NEWS] = "GROUP_NEWS",
                                                [WIRE_GROUP_GONE] = "GROUP_GONE",
                                                [WIRE_MEET] = "MEET",
                                                [WIRE_MET] = "MET",
                                                [WIRE_GROUPS_SAID] = "GROUPS_SAID"};
    return op < WIRE_OPS && names[op] ? names[op] : "unknown";
}

void wire_put_name(uint8_t to[TRANSPORT_OBJECT_BYTES], const struct wire_name *name)
{
    struct codec_writer w;
    codec_writer_init(&w, to, TRANSPORT_OBJECT_BYTES);
    codec_put_u32(&w, name->kind);
    codec_put_u32(&w, name->job);
    codec_put_u64(&w, name->link);
    codec_put_u64(&w, name->node);
    codec_put_u64(&w, name->word);
}

bool wire_get_name(const uint8_t from[TRANSPORT_OBJECT_BYTES], struct wire_name *ret)
{
    struct codec_reader r;
    codec_reader_init(&r, from, TRANSPORT_OBJECT_BYTES);
    uint32_t kind = codec_get_u32(&r);
    ret->kind = (enum wire_object)kind;
    ret->job = codec_get_u32(&r);
    ret->link = codec_get_u64(&r);
    ret->node = codec_get_u64(&r);
    ret->word = codec_get_u64(&r);
    bool asks = kind == WIRE_ARGUMENT || kind == WIRE_COPIED || kind == WIRE_FOLDED;
    return r.ok && kind >= WIRE_ARGUMENT && kind <= WIRE_PROBE &&
           (asks || (ret->node == 0 && ret->word == 0));
}

void wire_put_meta(struct codec_writer *w, const struct mob_meta *meta)
{
    codec_put_u8(w, (uint8_t)meta->type);
    codec_put_u32(w, meta->item_bytes);
    codec_put_u8(w, (uint8_t)meta->dims);
    for (uint32_t i = 0; i < meta->dims; i++) {
        codec_put_u64(w, meta->shape[i]);
    }
}

bool wire_get_meta(struct codec_reader *r, struct mob_meta *ret)
{
    struct mob_meta m = {.struct_size = sizeof m, .type = codec_get_u8(r)};
    m.item_bytes = codec_get_u32(r);
    m.dims = codec_get_u8(r);
    if (m.dims > MOB_DIMS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < m.dims; i++) {
        m.shape[i] = codec_get_u64(r);
    }
    *ret = m;
    return r->ok;
}

void wire_put_demand(struct codec_writer *w, const struct demand *d)
{
    resources_put(w, &d->need);
    codec_put_u8(w, (uint8_t)d->priority);
    codec_put_u8(w, d->strategy);
    codec_put_u8(w, d->together);
    codec_put_u64(w, d->node);
    codec_put_u64(w, d->group);
    codec_put_u16(w, d->bundle);
    codec_put_str(w, d->selector);
}

bool wire_get_demand(struct codec_reader *r, struct demand *ret)
{
    struct demand d = {0};
    if (!resources_get(r, &d.need)) {
        return false;
    }
    d.priority = (int8_t)codec_get_u8(r);
    d.strategy = codec_get_u8(r);
    d.together = codec_get_u8(r);
    d.node = codec_get_u64(r);
    d.group = codec_get_u64(r);
    d.bundle = codec_get_u16(r);
    codec_get_str(r, d.selector, sizeof d.selector);
    *ret = d;
    return r->ok && demand_ok(ret);
}

void wire_put_key(struct codec_writer *w, struct plan_job key)
{
    codec_put_u64(w, key.node);
    codec_put_u32(w, key.number);
}

struct plan_job wire_get_key(struct codec_reader *r)
{
    struct plan_job key;
    key.node = codec_get_u64(r);
    key.number = codec_get_u32(r);
    return key;
}

void wire_batch_begin(struct wire_batch *b)
{
    b->count = 0;
    b->count_at = b->w.at;
    codec_put_u32(&b->w, 0);
}

void wire_batch_end(struct wire_batch *b)
{
    struct codec_writer w;
    codec_writer_init(&w, b->count_at, sizeof(uint32_t));
    codec_put_u32(&w, b->count);
}

bool wire_batch_full(const struct wire_batch *b)
{
    return (size_t)(b->w.end - b->w.at) < WIRE_ENTRY_MAX;
}
