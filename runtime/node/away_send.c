/* away_send.c - tasks of this node on their way to others: the job is made known there once, and then
 * tasks are claimed from our own board and sent in batches, with their small arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "store/task.h"

enum {
    SKIP_MAX = 256
}; /* tasks of others that are passed over in a search for own ones */

/* ---- the job ------------------------------------------------------------------------------------ */

/* The executable under the name of its hash, and what to start it with, as others need them. */
static mob_status prepare(struct job *j)
{
    struct away_job *a = &j->away;
    if (a->hashed) {
        return MOB_OK;
    }
    if (j->guest) { /* passed on */
        if (!j->guest->ready) {
            return MOB_ERR_STATE;
        }
        a->exe = dup(j->exe);
        a->exe_size = j->guest->exe_size;
        memcpy(a->hash, j->guest->hash, sizeof a->hash);
        a->start_size = j->guest->start_size;
        a->start = malloc(a->start_size);
        if (a->exe < 0 || !a->start) {
            return status_fail(MOB_ERR_NOMEM, "no memory to pass a job on");
        }
        memcpy(a->start, j->guest->start, a->start_size);
    } else {
        MOB_TRY(exe_keep(j->exe, a->hash, &a->exe, &a->exe_size));
    }
    if (getrandom(&a->token, sizeof a->token, 0) != sizeof a->token) {
        return status_fail(MOB_ERR_SYSTEM, "no random numbers");
    }
    a->hashed = true;
    return MOB_OK;
}

static void say_open(struct job *j, struct peer *p)
{
    struct codec_writer w = cluster_begin(p->cluster, WIRE_OPEN);
    codec_put_u32(&w, j->number);
    wire_put_key(&w, job_plan_id(j));
    codec_put_str(&w, j->name);
    codec_put_raw(&w, j->away.hash, WIRE_HASH_BYTES);
    codec_put_u64(&w, j->away.exe_size);
    codec_put_u64(&w, j->away.start_size);
    codec_put_u64(&w, j->away.token);
    cluster_send(p, &w);
    group_opened(j, p);
}

/* A node that has been told of the job. False: it cannot run there, or not now. */
static bool host_is_open(struct job *j, struct away_host *h)
{
    if (h->failed || h->closing || loop_now_ns(j->node->loop) < h->again_ns) {
        return false;
    }
    if (h->again_ns) {
        h->again_ns = 0;
        say_open(j, h->peer);
    }
    return true;
}

/* Makes the job known there, once. NULL: it cannot run there, or not now. */
static struct away_host *open_host(struct job *j, struct peer *p)
{
    struct away_host *h = away_host_of(j, p);
    if (h) {
        return host_is_open(j, h) ? h : NULL;
    }
    if (j->away.no_exe) {
        return NULL;
    }
    mob_status st = prepare(j);
    if (st) {
        j->away.no_exe = st != MOB_ERR_STATE;
        if (j->away.no_exe) {
            log_warn("job %u runs on this node only: %s", j->number, mob_last_error());
        }
        return NULL;
    }
    h = calloc(1, sizeof *h);
    if (!h) {
        return NULL;
    }
    h->peer = p;
    h->next = j->away.hosts;
    j->away.hosts = h;
    say_open(j, p);
    log_info("job %u goes to node %s too", j->number, p->host);
    return h;
}

/* ---- sending -------------------------------------------------------------------------------------------- */

static void put_error(struct codec_writer *w, struct job *j, const struct record *r,
                      const struct place *p)
{
    char text[WIRE_TEXT_MAX];
    mob_status st = r ? grant_failure(j, r, p, text, sizeof text) : MOB_ERR_LOST;
    codec_put_u32(w, (uint32_t)st);
    codec_put_str(w, r ? text : "it is gone");
}

static void put_object(struct codec_writer *w, struct job *j, const struct peer *to,
                       uint64_t link)
{
    uint64_t node;
    struct record *r = NULL;
    struct place p;
    struct mob_meta meta;
    const void *bytes;
    uint32_t more = node_meta(j, link, &meta) ? WIRE_META : 0;
    mob_status st = grant_resolve(j, &link, &r, &p);
    if (!st && p.kind == PLACE_LOST) {
        char text[FAILURE_TEXT_MAX];
        more = 0;
        lineage_why(j, link, text);
        codec_put_u8(w, WIRE_ERROR);
        codec_put_u64(w, link);
        codec_put_u32(w, (uint32_t)MOB_ERR_LOST);
        codec_put_str(w, text);
    } else if (!st && p.size <= WIRE_INLINE_MAX &&
               grant_read(j, r, &p, &bytes) == MOB_OK) {
        codec_put_u8(w, (uint8_t)(WIRE_OBJECT | more));
        codec_put_u64(w, link);
        codec_put_bytes(w, bytes, p.size);
    } else if (!st && (node = lineage_source(j, link, to)) != 0) {
        codec_put_u8(w, (uint8_t)(WIRE_AWAY | more));
        codec_put_u64(w, link);
        codec_put_u64(w, p.size);
        codec_put_u64(w, node);
    } else if (!st) {
        codec_put_u8(w, (uint8_t)(WIRE_REMOTE | more));
        codec_put_u64(w, link);
        codec_put_u64(w, p.size);
    } else {
        more = 0;
        codec_put_u8(w, WIRE_ERROR);
        codec_put_u64(w, link);
        put_error(w, j, st == MOB_ERR_TASK_FAILED ? r : NULL, &p);
    }
    if (more) {
        wire_put_meta(w, &meta);
    }
}

static void put_order(struct codec_writer *w, struct job *j, const struct away *s,
                      const struct fold_order *o)
{
    struct mob_meta meta;
    bool more = node_meta(j, o->arrays[0].link, &meta);
    codec_put_u8(w, (uint8_t)(WIRE_ORDER | (more ? WIRE_META : 0)));
    codec_put_u64(w, s->link);
    fold_put_order(w, o);
    log_debug("%u arrays of %llu bytes are folded on their way to node %s", o->count,
              (unsigned long long)o->size, s->peer->host);
    if (more) {
        wire_put_meta(w, &meta);
    }
}

/* False: the record makes no sense. */
static bool put_task(struct codec_writer *w, struct job *j, uint32_t slot, struct away *s,
                     struct record *r)
{
    struct call call = record_call(r);
    char name[MOB_NAME_MAX + 1];
    uint32_t nargs = call_nargs(&call), nrets = call_nrets(&call);
    struct fold_order order;
    s->folds = s->attempt == 0 && fold_pays(j, r, s->peer, &order);
    if (nargs > MOB_ARGS_MAX || nrets > MOB_RETURNS_MAX) {
        return false;
    }
    codec_put_u32(w, slot);
    codec_put_u64(w, s->link);
    codec_put_u8(w, call_retries_left(&call, s->attempt));
    codec_put_u8(w, (uint8_t)(call_options(&call) & CALL_RETRY_ON_ERROR));
    codec_put_u8(w, (uint8_t)nrets);
    codec_put_u8(w, (uint8_t)(s->folds ? 2 : nargs));
    board_name_text(&j->board, call.fn, name);
    codec_put_str(w, name);
    board_name_text(&j->board, r->name, name);
    codec_put_str(w, name);
    for (uint32_t i = 0; i < nargs; i++) {
        uint32_t at = record_arg_offset(r, &call, i), len = record_arg_len(r, &call, i);
        if (s->folds && i > 0) {
            put_order(w, j, s, &order);
            break;
        }
        if (len == ARG_REF) {
            struct arg_ref *ref = record_arg_ref(r, &call, i);
            if (!ref) {
                return false;
            }
            put_object(w, j, s->peer, at_load(&ref->link, AT_RELAXED));
        } else if (at + len > RECORD_PAYLOAD) {
            return false;
        } else {
            codec_put_u8(w, WIRE_VALUE);
            codec_put_bytes(w, r->payload + at, len);
        }
    }
    return true;
}

/* A task of ours, claimed. NULL: there is none. */
static struct record *claim(struct job *j, uint32_t cls, uint32_t *skips)
{
    struct record *r;
    struct queue_item item;
    while (*skips < SKIP_MAX && task_claim(&j->lane, cls, &r, &item) == QUEUE_OK) {
        struct call call = record_call(r);
        uint64_t s = at_load(&r->state, AT_ACQUIRE);
        if (s & STATE_CANCEL) {
            away_fail_cancelled(j, r);
        } else if (call_options(&call) & CALL_FOREIGN && !lineage_repairs(j, r) &&
                   !gang_has(j, r)) {
            ++*skips; /* it came to run here: one hop is enough */
            (void)task_unclaim(&j->lane, r);
        } else {
            return r;
        }
    }
    return NULL;
}

static struct wire_batch begin_tasks(struct job *j, const struct send_job *s)
{
    struct wire_batch b = {.w = cluster_begin(j->node->cluster, WIRE_TASKS)};
    codec_put_u32(&b.w, j->number);
    codec_put_u64(&b.w, s->lease);
    codec_put_u32(&b.w, s->epoch);
    codec_put_u32(&b.w, s->cls);
    wire_put_demand(&b.w, &j->demand[plan_class_place(s->cls)]);
    wire_batch_begin(&b);
    return b;
}

static uint32_t send_tasks(struct job *j, struct peer *p, const struct send_job *s)
{
    struct wire_batch b = begin_tasks(j, s);
    uint32_t sent = 0, skips = 0;
    struct record *r;
    while (sent < s->count && (r = claim(j, plan_class_place(s->cls), &skips))) {
        uint64_t state = at_load(&r->state, AT_ACQUIRE);
        struct away *slot = away_slot_new(j);
        if (!slot) {
            (void)task_unclaim(&j->lane, r);
            break;
        }
        *slot = (struct away){
            .state = AWAY_SENT,
            .link = link_make(state_gen(state), board_index(&j->board, r), 0),
            .peer = p,
            .lease = s->lease,
            .sent_ns = timeline_now(j->node),
            .attempt = (uint8_t)state_attempt(state)};
        uint8_t *before = b.w.at;
        if (!put_task(&b.w, j, (uint32_t)(slot - j->away.slots), slot, r) || !b.w.ok) {
            b.w.at = before;
            b.w.ok = true;
            away_slot_free(j, slot);
            away_fail_task(j, r, MOB_ERR_CORRUPT, "the task's record makes no sense");
            continue;
        }
        b.count++;
        sent++;
        if (wire_batch_full(&b)) {
            wire_batch_end(&b);
            cluster_send(p, &b.w);
            b = begin_tasks(j, s);
        }
    }
    if (b.count) {
        wire_batch_end(&b);
        cluster_send(p, &b.w);
    }
    return sent;
}

static bool has_class(const struct job *j, uint32_t cls)
{
    uint32_t place = plan_class_place(cls);
    return job_has_class(j, place) && j->class_name[place] == cls;
}

void away_send(struct cluster *c, const struct send_job *s)
{
    struct job *j = plan_find_job(c->node, s->job);
    struct peer *p = cluster_peer(c, s->node);
    uint32_t sent = 0;
    bool can = j && p && p != c->self && !p->gone && !j->ended && !j->leaving &&
               !j->failed && has_class(j, s->cls) && !c->closing && cluster_reachable(p);
    if (can && open_host(j, p)) {
        sent = send_tasks(j, p, s);
    }
    struct plan_node *plan = c->node->plan;
    uint64_t now = loop_now_ns(c->node->loop);
    (void)plan_node_sent(plan, s->lease, sent ? sent : s->count, now);
    if (!sent) { /* as if all had come back: the planner lets the lease rest before it asks again */
        (void)plan_node_refused(plan, s->lease, s->count, now);
    }
    if (j) {
        job_refresh(j); /* an empty queue asks to be told of the next task */
    }
}
