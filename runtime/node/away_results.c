/* away_results.c - what other nodes say of our tasks that are done there.
 *
 * Small results stand in the message; the others are pulled, or wait for room in the store, and the
 * task is sealed when the last of them is here. */
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/status.h"
#include "store/task.h"

struct away_result {
    uint64_t size;
    const void *bytes; /* during a call */
    bool remote, placed;
    struct arena_place place;
    uint8_t small[RECORD_INLINE_MAX];
};

/* Writes the results into the record and seals it. */
static void complete(struct job *j, struct away *s, struct away_result *res,
                     uint32_t nrets)
{
    struct record *r = away_slot_record(j, s);
    struct call call = r ? record_call(r) : (struct call){0};
    if (!r ||
        call_nrets(&call) != nrets) { /* a client scribbled on it; it loses its task */
        for (uint32_t i = 0; i < nrets; i++) {
            if (res[i].placed) {
                grant_unplace(j, &res[i].place);
            }
        }
        away_slot_free(j, s);
        return;
    }
    uint32_t fill = record_arg_offset(r, &call, call_nargs(&call));
    for (uint32_t i = 0; i < nrets; i++) {
        if (res[i].placed) {
            record_set_place(r, i, PLACE_ARENA, res[i].place.segment, res[i].place.offset,
                             res[i].size);
        } else if (res[i].size == 0) {
            record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
        } else {
            memcpy(r->payload + fill, res[i].bytes ? res[i].bytes : res[i].small,
                   res[i].size);
            record_set_place(r, i, PLACE_INLINE, 0, fill, res[i].size);
            fill += ((uint32_t)res[i].size + 7u) & ~7u;
        }
    }
    away_slot_free(j, s);
    (void)task_seal(&j->lane, r, false);
}

static void release(struct job *j, struct peer *p, uint32_t proxy, uint64_t link)
{
    struct codec_writer w = cluster_begin(j->node->cluster, WIRE_RELEASE);
    codec_put_u32(&w, j->number);
    codec_put_u32(&w, 1);
    codec_put_u32(&w, proxy);
    codec_put_u64(&w, link);
    cluster_send(p, &w);
}

static void one_less(struct job *j, struct away *s)
{
    if (--s->left > 0) {
        return;
    }
    struct record *r = away_slot_record(j, s);
    struct call call = r ? record_call(r) : (struct call){0};
    if (!s->failed) {
        release(j, s->peer, s->remote, s->remote_link);
    }
    if (s->failed || !r) {
        for (uint32_t k = 0; k < MOB_RETURNS_MAX; k++) {
            if (s->results[k].placed) {
                grant_unplace(j, &s->results[k].place);
            }
        }
        away_take_back(j, s, true, "its results were lost on their way");
    } else {
        complete(j, s, s->results, call_nrets(&call));
    }
}

/* One result has come, or will not. */
static void result_here(struct fetch *f, mob_status st)
{
    struct away *s = &f->job->away.slots[f->tag >> 8];
    if (st) {
        s->failed = true;
    } else {
        s->results[f->tag & 0xff].placed = true;
        s->results[f->tag & 0xff].place = f->place;
    }
    one_less(f->job, s);
}

/* Results that have to be pulled, or to wait for room in the store. */
static void take_later(struct job *j, struct away *s, const struct away_result *res,
                       uint32_t nrets)
{
    uint64_t slot = (uint64_t)(s - j->away.slots);
    s->results = calloc(MOB_RETURNS_MAX, sizeof *s->results);
    MOB_ASSERT(s->results);
    memcpy(s->results, res, nrets * sizeof *res);
    s->state = AWAY_TAKING;
    s->left = 1; /* so that none of them is the last before all have begun */
    for (uint32_t i = 0; i < nrets; i++) {
        struct away_result *x = &s->results[i];
        const void *bytes = x->bytes;
        x->bytes = NULL;
        if (x->remote) {
            s->left++;
            fetch_start(j, s->peer, WIRE_RESULT, j->number, s->remote_link | i, x->size,
                        NULL, NULL, result_here, NULL, slot << 8 | i);
        } else if (bytes && x->size <= RECORD_INLINE_MAX && !x->placed) {
            memcpy(x->small, bytes, x->size);
        } else if (bytes && !x->placed) {
            void *copy = malloc(x->size);
            MOB_ASSERT(copy);
            memcpy(copy, bytes, x->size);
            s->left++;
            fetch_start(j, NULL, WIRE_RESULT, 0, 0, x->size, NULL, copy, result_here,
                        NULL, slot << 8 | i);
        }
    }
    one_less(j, s);
}

/* Reads one task's results. False: malformed. */
static bool take_results(struct job *j, struct away *s, struct codec_reader *r,
                         bool *ret_remote)
{
    struct away_result res[MOB_RETURNS_MAX];
    uint32_t nrets = codec_get_u8(r);
    struct record *rec = s ? away_slot_record(j, s) : NULL;
    struct call call = rec ? record_call(rec) : (struct call){0};
    uint32_t fill = rec ? record_arg_offset(rec, &call, call_nargs(&call)) : 0;
    bool later = false;
    *ret_remote = false;
    if (!r->ok || nrets == 0 || nrets > MOB_RETURNS_MAX ||
        (rec && call_nrets(&call) != nrets)) {
        return false;
    }
    memset(res, 0, nrets * sizeof *res);
    for (uint32_t i = 0; i < nrets && r->ok; i++) {
        uint32_t kind = codec_get_u8(r);
        size_t size = 0;
        void *data;
        if (kind == WIRE_REMOTE) {
            res[i].size = codec_get_u64(r);
            res[i].remote = *ret_remote = later = true;
            continue;
        }
        res[i].bytes = codec_get_bytes(r, WIRE_INLINE_MAX, &size);
        res[i].size = size;
        uint32_t padded = ((uint32_t)size + 7u) & ~7u;
        if (kind != WIRE_VALUE || !r->ok) {
            return false;
        }
        if (size <= RECORD_INLINE_MAX && fill + padded <= RECORD_PAYLOAD) {
            fill += padded;
        } else if (rec && grant_place(j, size, &res[i].place, &data) == MOB_OK) {
            memcpy(data, res[i].bytes, size);
            res[i].placed = true;
        } else {
            later = true;
        }
    }
    if (!r->ok) {
        return false;
    }
    if (s && !rec) {
        away_slot_free(j, s);
    } else if (s && later) {
        take_later(j, s, res, nrets);
    } else if (s) {
        complete(j, s, res, nrets);
    }
    return true;
}

static bool done_one(struct job *j, struct peer *p, struct codec_reader *r,
                     uint64_t *ret_lease)
{
    uint32_t slot = codec_get_u32(r);
    uint64_t link = codec_get_u64(r);
    uint32_t proxy = codec_get_u32(r);
    uint64_t remote_link = codec_get_u64(r);
    mob_status st = (mob_status)(int32_t)codec_get_u32(r);
    struct away *s = j ? away_slot_find(j, p, slot, link) : NULL;
    *ret_lease = s ? s->lease : 0;
    if (s) {
        s->remote = proxy;
        s->remote_link = remote_link;
    }
    if (st) {
        char text[WIRE_TEXT_MAX];
        codec_get_str(r, text, sizeof text);
        if (!r->ok || st > 0) {
            return false;
        }
        struct record *rec = s ? away_slot_record(j, s) : NULL;
        if (s) {
            away_slot_free(j, s);
        }
        if (rec) {
            away_fail_task(j, rec, st, text);
        }
        return true;
    }
    bool remote;
    if (!take_results(j, s, r, &remote)) {
        return false;
    }
    if (!s && remote && j) { /* nobody waits for them any more */
        release(j, p, proxy, remote_link);
    }
    return true;
}

bool away_done(struct job *j, struct peer *p, struct codec_reader *r)
{
    struct plan_node *plan = p->cluster->node->plan;
    uint64_t lease = 0, next, now = loop_now_ns(p->cluster->node->loop);
    uint32_t count = codec_get_u32(r), back = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!r->ok || !done_one(j, p, r, &next)) {
            return false;
        }
        if (next != lease && back) {
            (void)plan_node_back(plan, lease, back, now);
            back = 0;
        }
        lease = next ? next : lease;
        back += next != 0;
    }
    if (back) {
        (void)plan_node_back(plan, lease, back, now);
    }
    if (j) {
        job_refresh(j);
    }
    return codec_done(r);
}
