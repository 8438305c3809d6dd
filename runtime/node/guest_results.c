/* guest_results.c - results of other nodes' tasks, told to their owners in batches.
 *
 * The board's ring says which proxies are sealed; what it may have missed is found by looking at
 * all of them. Small results travel in the message, large ones are named, and pulled by the owner. */
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "store/task.h"

/* ---- tasks that are done ------------------------------------------------------------------------------------- */

static void note_ended(struct guest *g, uint32_t i)
{
    if (g->ended_count == g->ended_room) {
        uint32_t room = g->ended_room ? g->ended_room * 2 : 256;
        uint32_t *grown = realloc(g->ended, room * sizeof *grown);
        if (!grown) {
            return; /* found again by guest_look_all() */
        }
        g->ended = grown;
        g->ended_room = room;
    }
    g->ended[g->ended_count++] = i;
}

void guest_sealed(void *arg, struct record *r)
{
    struct job *j = arg;
    struct guest *g = j->guest;
    uint32_t i =
        at_load(&r->made, AT_RELAXED); /* which clients can write to: looked at below */
    if (g && i < g->proxies_count) {
        note_ended(g, i);
    } else {
        gang_sealed(j, r);
    }
}

void guest_look_all(struct job *j)
{
    struct guest *g = j->guest;
    for (uint32_t i = 0; g && i < g->proxies_count; i++) {
        if (g->proxies[i].link != LINK_NONE && !g->proxies[i].done) {
            note_ended(g, i);
        }
    }
}

static void look_late(struct loop_timer *timer)
{
    struct guest *g = LOOP_OWNER(timer, struct guest, late_timer);
    guest_look_all(g->key->job);
    guest_flush(g->key->job);
}

static void gathered(struct loop_timer *timer)
{
    struct guest *g = LOOP_OWNER(timer, struct guest, gather_timer);
    if (!g->key->job->ended) {
        job_notices(g->key->job);
    }
}

/* @told results were just told. While there is work here for twice the time in which these were made, their owner
 * has no reason to wait for the next ones: those are told together, which costs this node one wake-up and one
 * message for several. With less work here each is told at once, as somebody may wait for it. */
static void gather(struct job *j, uint32_t told)
{
    struct guest *g = j->guest;
    uint64_t queued = 0;
    for (uint32_t c = 0; c < j->classes; c++) {
        struct queue_view ready = board_ready(&j->board, c);
        queued += queue_count(&ready);
    }
    if (queued >= GATHER_TASKS && queued / 2 >= told && board_gather(&j->board)) {
        loop_timer_start(j->node->loop, &g->gather_timer,
                         loop_now_ns(j->node->loop) + GATHER_NS, gathered);
    }
}

struct result {
    struct record *r;
    struct place p;
};

/* Finds a done task's results. MOB_ERR_STATE: one of them is an object that is not there yet;
 * MOB_ERR_TASK_FAILED: with the record whose error it is in the first of @res. */
static mob_status find_results(struct job *j, uint64_t link, uint32_t nrets,
                               struct result *res)
{
    for (uint32_t k = 0; k < nrets; k++) {
        uint64_t at = link | k;
        mob_status st = grant_resolve(j, &at, &res[k].r, &res[k].p);
        if (st) {
            res[0] = res[k];
            return st;
        }
    }
    return MOB_OK;
}

static void put_failure(struct codec_writer *w, struct job *j, mob_status st,
                        const struct result *res)
{
    char text[WIRE_TEXT_MAX] = "its results make no sense";
    mob_status error = MOB_ERR_CORRUPT;
    if (st == MOB_ERR_TASK_FAILED) {
        error = grant_failure(j, res->r, &res->p, text, sizeof text);
    }
    codec_put_u32(w, (uint32_t)error);
    codec_put_str(w, text);
}

/* Bytes of its large results if they may stay here: all of them, or none. */
static uint64_t may_stay(const struct job *j, const struct result *res, uint32_t nrets)
{
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < nrets; k++) {
        if (res[k].p.kind == PLACE_AWAY || res[k].p.kind == PLACE_LOST) {
            return 0;
        }
        bytes += res[k].p.size >= LINEAGE_BYTES_MIN ? res[k].p.size : 0;
    }
    return bytes && standin_may_keep(j, bytes) ? bytes : 0;
}

static bool travels_inline(const struct place *p)
{
    return p->size <= WIRE_INLINE_MAX && p->kind != PLACE_SPILLED;
}

/* Writes one result. False: it cannot be told yet. @ret_remote: its bytes are to be pulled. */
static bool put_result(struct wire_batch *b, struct job *j, struct proxy *x,
                       struct record *r, bool *ret_remote)
{
    struct codec_writer *w = &b->w;
    struct call call = record_call(r);
    struct result res[MOB_RETURNS_MAX];
    uint32_t nrets = call_nrets(&call);
    const void *bytes[MOB_RETURNS_MAX];
    mob_status st = find_results(j, x->link, nrets, res);
    if (st == MOB_ERR_STATE) {
        return false;
    }
    for (uint32_t k = 0; k < nrets && !st; k++) {
        if (travels_inline(&res[k].p)) {
            st = grant_read(j, res[k].r, &res[k].p, &bytes[k]);
        }
    }
    *ret_remote = false;
    codec_put_u32(w, x->slot);
    codec_put_u64(w, x->theirs);
    codec_put_u32(w, (uint32_t)(x - j->guest->proxies));
    codec_put_u64(w, x->link);
    if (st) {
        put_failure(w, j, st, &res[0]);
        return true;
    }
    codec_put_u32(w, MOB_OK);
    codec_put_u8(w, (uint8_t)nrets);
    j->guest->kept_bytes -= x->told; /* if it is told again */
    x->told = may_stay(j, res, nrets);
    j->guest->kept_bytes += x->told; /* many may be told before the owner answers */
    for (uint32_t k = 0; k < nrets; k++) {
        struct mob_meta meta;
        bool more = node_meta(j, x->link | k, &meta);
        if (travels_inline(&res[k].p)) {
            codec_put_u8(w, (uint8_t)(WIRE_VALUE | (more ? WIRE_META : 0)));
            codec_put_bytes(w, bytes[k], res[k].p.size);
        } else {
            codec_put_u8(w, (uint8_t)(WIRE_REMOTE | (more ? WIRE_META : 0) |
                                      (x->told ? WIRE_STAYS : 0)));
            codec_put_u64(w, res[k].p.size);
            *ret_remote = true;
        }
        if (more) {
            wire_put_meta(w, &meta);
        }
    }
    return true;
}

static struct wire_batch begin_done(struct job *j)
{
    struct wire_batch b = {.w = cluster_begin(j->node->cluster, WIRE_DONE)};
    codec_put_u32(&b.w, j->guest->number);
    wire_batch_begin(&b);
    return b;
}

static void end_done(struct job *j, struct wire_batch *b)
{
    if (b->count) {
        wire_batch_end(b);
        cluster_send(j->guest->owner, &b->w);
    }
}

/* A proxy whose task may be done: into the batch if it is. */
static void flush_one(struct job *j, struct wire_batch *b, uint32_t i)
{
    struct guest *g = j->guest;
    struct proxy *x = &g->proxies[i];
    uint64_t s;
    struct record *r =
        x->link == LINK_NONE || x->done ? NULL : lane_find(&j->lane, x->link, &s);
    bool remote;
    if (!r || !state_sealed(s)) {
        return;
    }
    if (!put_result(b, j, x, r, &remote)) {
        g->late += !x->late;
        x->late = true;
        return;
    }
    b->count++;
    g->finished[x->cls]++;
    if (remote) {
        g->late -= x->late;
        x->late = false;
        x->done = true;
        g->open[x->cls]--;
    } else {
        guest_proxy_drop(j, x);
    }
}

void guest_flush(struct job *j)
{
    struct guest *g = j->guest;
    struct node *n = j->node;
    if (!g || j->ended || g->ended_count == 0) {
        return;
    }
    struct wire_batch b = begin_done(j);
    for (uint32_t at = 0; at < g->ended_count; at++) {
        flush_one(j, &b, g->ended[at]);
        if (wire_batch_full(&b)) {
            end_done(j, &b);
            b = begin_done(j);
        }
    }
    g->ended_count = 0;
    end_done(j, &b);
    uint32_t told = 0;
    for (uint32_t c = 0; c < CLASSES_MAX; c++) {
        uint32_t finished = g->finished[c];
        g->finished[c] = 0;
        told += finished;
        if (finished) {
            (void)plan_node_finished(n->plan, job_plan_id(j), j->class_name[c], finished,
                                     loop_now_ns(n->loop));
        }
    }
    if (g->late && !g->late_timer.active) {
        loop_timer_start(n->loop, &g->late_timer, loop_now_ns(n->loop) + RESCAN_NS,
                         look_late);
    }
    standin_evict(j, n->budget.limit_bytes / 8);
    job_refresh(j);
    gather(j, told);
}
