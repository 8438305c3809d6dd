/* away_results.c - what other nodes say of our tasks that are done there.
 *
 * Small results stand in the message. Large ones stay there (lineage.h); or they are pulled, or wait for room in the
 * store, and the task is sealed when the last of them is here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/status.h"
#include "core/text.h"
#include "store/meta.h"
#include "store/task.h"

struct away_result {
    uint64_t size;
    const void *bytes; /* during a call */
    bool remote, may_stay;
    bool away;   /* it stays there */
    bool fits;   /* into the record, beside its arguments and the results before it */
    bool placed; /* in the store, at `place` */
    bool has_meta;
    struct mob_meta meta;
    struct arena_place place;
    uint8_t small[RECORD_INLINE_MAX];
};

static void unplace(struct job *j, const struct away_result *res)
{
    for (uint32_t i = 0; i < MOB_RETURNS_MAX; i++) {
        if (res[i].placed) {
            grant_unplace(j, &res[i].place);
        }
    }
}

/* What results take of the payload; more than that is left if a client scribbled on the record since
 * the results were read. */
static uint32_t payload_of(const struct away_result *res, uint32_t nrets)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < nrets; i++) {
        sum += res[i].fits ? ((uint32_t)res[i].size + 7u) & ~7u : 0;
    }
    return sum;
}

/* Writes the results into the record and seals it; false if the record does not take them. @res has
 * MOB_RETURNS_MAX places. */
static bool complete(struct job *j, struct away *s, struct away_result *res,
                     uint32_t nrets)
{
    struct record *r = away_slot_record(j, s);
    struct call call = r ? record_call(r) : (struct call){0};
    uint32_t fill = r ? record_arg_offset(r, &call, call_nargs(&call)) : 0;
    if (!r || call_nrets(&call) != nrets ||
        payload_of(res, nrets) > RECORD_PAYLOAD - fill) {
        unplace(j, res);
        away_slot_free(j, s);
        if (r) {
            away_fail_task(j, r, MOB_ERR_CORRUPT, "the task's record makes no sense");
        }
        return false;
    }
    for (uint32_t i = 0; i < nrets; i++) {
        if (res[i].placed) {
            record_set_place(r, i, PLACE_ARENA, res[i].place.segment, res[i].place.offset,
                             res[i].size);
        } else if (res[i].away) {
            lineage_name(s->lineage, i);
            record_set_place(r, i, PLACE_AWAY, i, s->lineage->number, res[i].size);
        } else if (res[i].size == 0) {
            record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
        } else {
            memcpy(r->payload + fill, res[i].bytes ? res[i].bytes : res[i].small,
                   res[i].size);
            record_set_place(r, i, PLACE_INLINE, 0, fill, res[i].size);
            fill += ((uint32_t)res[i].size + 7u) & ~7u;
        }
    }
    for (uint32_t i = 0; i < nrets;
         i++) { /* as far as there is room beside the arguments */
        uint32_t need = res[i].has_meta ? meta_bytes(res[i].meta.dims) : RECORD_PAYLOAD;
        if (need <= RECORD_PAYLOAD - fill) {
            meta_add(r, fill, i, &res[i].meta);
            fill += need;
        }
    }
    away_slot_free(j, s);
    return task_seal(&j->lane, r, false);
}

/* @taken: 2: some stay there. */
static void release(struct job *j, struct peer *p, uint32_t proxy, uint64_t link,
                    uint8_t taken)
{
    struct codec_writer w = cluster_begin(j->node->cluster, WIRE_RELEASE);
    codec_put_u32(&w, j->number);
    codec_put_u32(&w, 1);
    codec_put_u32(&w, proxy);
    codec_put_u64(&w, link);
    codec_put_u8(&w, taken);
    cluster_send(p, &w);
}

/* The results will not come: the task runs again, unless there will never be room for them. */
static void give_up(struct job *j, struct away *s)
{
    struct record *r = away_slot_record(j, s);
    char text[RECORD_PAYLOAD], name[MOB_NAME_MAX + 1], size[32], store[32];
    unplace(j, s->results);
    if (!s->too_large || !r) {
        away_take_back(j, s, true, "its results were lost on their way");
        return;
    }
    board_name_text(&j->board, r->name, name);
    snprintf(text, sizeof text,
             "task %s ran on another node, and its result of %s does not fit into the "
             "object store of this one, which may have %s",
             name, text_bytes(s->too_large, size, sizeof size),
             text_bytes(j->node->budget.limit_bytes, store, sizeof store));
    away_slot_free(j, s);
    away_fail_task(j, r, MOB_ERR_NOMEM, text);
}

/* All results are here that do not stay where they are. */
static void all_here(struct job *j, struct away *s, struct away_result *res,
                     uint32_t nrets)
{
    struct peer *p = s->peer;
    struct away_host *h = p ? away_host_of(j, p) : NULL;
    uint32_t proxy = s->remote;
    uint64_t link = s->remote_link;
    bool stays = s->lineage != NULL;
    for (uint32_t i = 0; h && i < nrets; i++) {
        if (res[i].remote) { /* it stays there too */
            hint_there(j, p, s->link | i, res[i].size);
        }
    }
    bool taken = complete(j, s, res, nrets);
    if (p) { /* before any task that has them as arguments goes there */
        release(j, p, proxy, link, taken ? (stays ? 2 : 1) : 0);
    }
}

static void one_less(struct job *j, struct away *s)
{
    if (--s->left > 0) {
        return;
    }
    struct record *r = away_slot_record(j, s);
    struct call call = r ? record_call(r) : (struct call){0};
    if (!s->failed && r) {
        all_here(j, s, s->results, call_nrets(&call));
        return;
    }
    if (s->peer && (!s->failed || s->too_large)) {
        release(j, s->peer, s->remote, s->remote_link, 0);
    }
    give_up(j, s);
}

/* One result has come, or will not. */
static void result_here(struct fetch *p, mob_status st)
{
    struct away *s = &p->job->away.slots[p->want.tag >> 8];
    if (st) {
        s->failed = true;
        s->too_large = st == MOB_ERR_NOMEM ? p->want.size : s->too_large;
    } else {
        s->results[p->want.tag & 0xff].placed = true;
        s->results[p->want.tag & 0xff].place = p->place;
    }
    one_less(p->job, s);
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
        struct fetch_want want = {.kind = WIRE_RESULT,
                                  .number = j->number,
                                  .link = s->remote_link | i,
                                  .size = x->size,
                                  .ours = s->link,
                                  .done = result_here,
                                  .tag = slot << 8 | i};
        x->bytes = NULL;
        if (x->away) {
            continue;
        }
        if (x->remote) {
            s->left++;
            fetch_start(j, s->peer, &want);
        } else if (x->fits) {
            memcpy(x->small, bytes, x->size);
        } else if (!x->placed) {
            want.bytes = malloc(x->size);
            MOB_ASSERT(want.bytes);
            memcpy(want.bytes, bytes, x->size);
            s->left++;
            fetch_start(j, NULL, &want);
        }
    }
    one_less(j, s);
}

/* Reads one result. False: malformed. */
static bool read_result(struct codec_reader *r, struct away_result *ret)
{
    uint32_t more = codec_get_u8(r), kind = more & ~(WIRE_META | WIRE_STAYS);
    size_t size = 0;
    *ret = (struct away_result){.remote = kind == WIRE_REMOTE,
                                .may_stay = (more & WIRE_STAYS) != 0,
                                .has_meta = (more & WIRE_META) != 0};
    if (ret->remote) {
        ret->size = codec_get_u64(r);
    } else {
        ret->bytes = codec_get_bytes(r, WIRE_INLINE_MAX, &size);
        ret->size = size;
    }
    return r->ok && (!ret->remote || (ret->size > 0 && ret->size <= ARENA_OBJECT_MAX)) &&
           (ret->remote || (kind == WIRE_VALUE && !ret->may_stay)) &&
           (!ret->has_meta || wire_get_meta(r, &ret->meta));
}

/* Finds a place for what came with the message. False: it has to wait for one. */
static bool place_result(struct job *j, struct away_result *x, uint32_t *io_left)
{
    uint32_t padded = ((uint32_t)x->size + 7u) & ~7u;
    void *data;
    if (x->size <= RECORD_INLINE_MAX && padded <= *io_left) {
        x->fits = true;
        *io_left -= padded;
    } else if (grant_place(j, x->size, &x->place, &data) == MOB_OK) {
        memcpy(data, x->bytes, x->size);
        x->placed = true;
    }
    return x->fits || x->placed;
}

/* Decides which results stay there. */
static void leave_there(struct job *j, struct away *s, struct record *rec,
                        struct away_result *res, uint32_t nrets)
{
    for (uint32_t i = 0; i < nrets; i++) {
        if (!res[i].may_stay || res[i].size < LINEAGE_BYTES_MIN) {
            continue;
        }
        s->lineage =
            s->lineage ? s->lineage : lineage_new(j, rec, s->peer, s->remote_link);
        res[i].away = s->lineage != NULL;
        if (!res[i].away) {
            return;
        }
    }
}

/* Reads one task's results. False: malformed. @ret_kept: they wait there, and nobody here wants them. */
static bool take_results(struct job *j, struct away *s, struct codec_reader *r,
                         bool *ret_kept)
{
    struct away_result res[MOB_RETURNS_MAX];
    uint32_t nrets = codec_get_u8(r);
    struct record *rec = s ? away_slot_record(j, s) : NULL;
    struct call call = rec ? record_call(rec) : (struct call){0};
    bool later = false;
    *ret_kept = false;
    if (!r->ok || nrets == 0 || nrets > MOB_RETURNS_MAX ||
        (rec && call_nrets(&call) != nrets)) {
        return false;
    }
    memset(res, 0, sizeof res);
    for (uint32_t i = 0; i < nrets; i++) {
        if (!read_result(r, &res[i])) {
            return false;
        }
        *ret_kept |= res[i].remote && !rec;
    }
    if (s && !rec) {
        away_slot_free(j, s);
    }
    if (!rec) {
        return true;
    }
    uint32_t left = RECORD_PAYLOAD - record_arg_offset(rec, &call, call_nargs(&call));
    leave_there(j, s, rec, res, nrets);
    for (uint32_t i = 0; i < nrets; i++) {
        later |= !res[i].away && (res[i].remote || !place_result(j, &res[i], &left));
    }
    if (later) {
        take_later(j, s, res, nrets);
    } else if (s->lineage) {
        all_here(j, s, res, nrets);
    } else {
        (void)complete(j, s, res, nrets);
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
    bool kept;
    if (!take_results(j, s, r, &kept)) {
        return false;
    }
    if (kept && j) {
        release(j, p, proxy, remote_link, 0);
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
