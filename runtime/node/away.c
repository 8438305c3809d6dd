/* away.c - this node's tasks that run on others.
 *
 *   QUEUED --away_send()--> TAKEN by the daemon, slot SENT --DONE--> TAKING --results here--> sealed
 *                                     |                                |
 *                                     +-- BACK: QUEUED, same attempt   +-- node lost: QUEUED, next one
 *                                     +-- node lost: QUEUED, next attempt, or failed by name
 *
 * The record stays here and stays the truth: what another node says of a task counts only if slot,
 * link and attempt are those of now. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "store/task.h"

enum {
    SKIP_MAX = 256
}; /* tasks of others that are passed over in a search for own ones */

struct away_result {
    uint64_t size;
    const void *bytes; /* during a call */
    bool remote, placed;
    struct arena_place place;
    uint8_t small[RECORD_INLINE_MAX];
};

static uint64_t now_ns(const struct job *j)
{
    return loop_now_ns(j->node->loop);
}

/* ---- nodes that have our job -------------------------------------------------------------------- */

static struct away_host *host_of(const struct job *j, const struct peer *p)
{
    struct away_host *h = j->away.hosts;
    while (h && h->peer != p) {
        h = h->next;
    }
    return h;
}

static void drop_host(struct job *j, const struct peer *p)
{
    for (struct away_host **at = &j->away.hosts; *at; at = &(*at)->next) {
        if ((*at)->peer == p) {
            struct away_host *h = *at;
            *at = h->next;
            free(h);
            return;
        }
    }
}

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
    a->hashed = true;
    return MOB_OK;
}

/* Makes the job known there, once. NULL: it cannot run there. */
static struct away_host *open_host(struct job *j, struct peer *p)
{
    struct away_host *h = host_of(j, p);
    if (h) {
        return h->failed || h->closing ? NULL : h;
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
    struct codec_writer w = cluster_begin(p->cluster, WIRE_OPEN);
    codec_put_u32(&w, j->number);
    wire_put_key(&w, job_plan_id(j));
    codec_put_str(&w, j->name);
    codec_put_raw(&w, j->away.hash, WIRE_HASH_BYTES);
    codec_put_u64(&w, j->away.exe_size);
    codec_put_u64(&w, j->away.start_size);
    cluster_send(p, &w);
    log_info("job %u goes to node %s too", j->number, p->host);
    return h;
}

/* ---- slots -------------------------------------------------------------------------------------------- */

static struct away *slot_new(struct job *j)
{
    struct away_job *a = &j->away;
    if (a->free) {
        struct away *s = &a->slots[a->free - 1];
        a->free = s->next_free;
        a->out++;
        return s;
    }
    if (a->count == a->room) {
        uint32_t room = a->room ? a->room * 2 : 256;
        struct away *grown = realloc(a->slots, room * sizeof *grown);
        if (!grown) {
            return NULL;
        }
        a->slots = grown;
        a->room = room;
    }
    a->out++;
    return &a->slots[a->count++];
}

static void slot_free(struct job *j, struct away *s)
{
    struct away_job *a = &j->away;
    free(s->results);
    *s = (struct away){.next_free = a->free};
    a->free = (uint32_t)(s - a->slots) + 1;
    a->out--;
}

/* The slot that an answer names, if it is about what is there now. */
static struct away *slot_find(struct job *j, const struct peer *p, uint32_t slot,
                              uint64_t link)
{
    struct away *s = slot < j->away.count ? &j->away.slots[slot] : NULL;
    return s && s->state == AWAY_SENT && s->link == link && s->peer == p ? s : NULL;
}

/* Its record, if this daemon still holds it in that attempt. */
static struct record *slot_record(struct job *j, const struct away *s)
{
    uint64_t state;
    struct record *r = lane_find(&j->lane, s->link, &state);
    bool ours = r && state_phase(state) == PHASE_TAKEN && state_holder(state) == DAEMON &&
                state_attempt(state) == s->attempt;
    return ours ? r : NULL;
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

static void put_object(struct codec_writer *w, struct job *j, uint64_t link)
{
    struct record *r = NULL;
    struct place p;
    const void *bytes;
    mob_status st = grant_resolve(j, &link, &r, &p);
    if (!st && p.size <= WIRE_INLINE_MAX && grant_read(j, r, &p, &bytes) == MOB_OK) {
        codec_put_u8(w, WIRE_OBJECT);
        codec_put_u64(w, link);
        codec_put_bytes(w, bytes, p.size);
    } else if (!st) {
        codec_put_u8(w, WIRE_REMOTE);
        codec_put_u64(w, link);
        codec_put_u64(w, p.size);
    } else {
        codec_put_u8(w, WIRE_ERROR);
        codec_put_u64(w, link);
        put_error(w, j, st == MOB_ERR_TASK_FAILED ? r : NULL, &p);
    }
}

/* False: the record makes no sense. */
static bool put_task(struct codec_writer *w, struct job *j, uint32_t slot,
                     const struct away *s, struct record *r)
{
    struct call call = record_call(r);
    char name[MOB_NAME_MAX + 1];
    uint32_t nargs = call_nargs(&call), nrets = call_nrets(&call);
    if (nargs > MOB_ARGS_MAX || nrets > MOB_RETURNS_MAX) {
        return false;
    }
    codec_put_u32(w, slot);
    codec_put_u64(w, s->link);
    codec_put_u8(w, call.retries > s->attempt ? (uint8_t)(call.retries - s->attempt) : 0);
    codec_put_u8(w, (uint8_t)(call_options(&call) & CALL_RETRY_ON_ERROR));
    codec_put_u8(w, (uint8_t)nrets);
    codec_put_u8(w, (uint8_t)nargs);
    board_name_text(&j->board, call.fn, name);
    codec_put_str(w, name);
    board_name_text(&j->board, r->name, name);
    codec_put_str(w, name);
    for (uint32_t i = 0; i < nargs; i++) {
        uint32_t at = record_arg_offset(r, &call, i), len = record_arg_len(r, &call, i);
        if (len == ARG_REF) {
            struct arg_ref *ref = record_arg_ref(r, &call, i);
            if (!ref) {
                return false;
            }
            put_object(w, j, at_load(&ref->link, AT_RELAXED));
        } else if (at + len > RECORD_PAYLOAD) {
            return false;
        } else {
            codec_put_u8(w, WIRE_VALUE);
            codec_put_bytes(w, r->payload + at, len);
        }
    }
    return true;
}

static void fail_task(struct job *j, struct record *r, mob_status st, const char *text)
{
    grant_error(j, r, st, text);
    (void)task_seal(&j->lane, r, true);
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
            fail_task(j, r, MOB_ERR_CANCELLED, "cancelled before it ran");
        } else if (call_options(&call) & CALL_FOREIGN) {
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
    codec_put_u32(&b.w, j->class_units[s->cls]);
    wire_batch_begin(&b);
    return b;
}

static uint32_t send_tasks(struct job *j, struct peer *p, const struct send_job *s)
{
    struct wire_batch b = begin_tasks(j, s);
    uint32_t sent = 0, skips = 0;
    struct record *r;
    while (sent < s->count && (r = claim(j, s->cls, &skips))) {
        uint64_t state = at_load(&r->state, AT_ACQUIRE);
        struct away *slot = slot_new(j);
        if (!slot) {
            (void)task_unclaim(&j->lane, r);
            break;
        }
        *slot = (struct away){
            .state = AWAY_SENT,
            .link = link_make(state_gen(state), board_index(&j->board, r), 0),
            .peer = p,
            .lease = s->lease,
            .attempt = (uint8_t)state_attempt(state)};
        uint8_t *before = b.w.at;
        if (!put_task(&b.w, j, (uint32_t)(slot - j->away.slots), slot, r) || !b.w.ok) {
            b.w.at = before;
            b.w.ok = true;
            slot_free(j, slot);
            fail_task(j, r, MOB_ERR_CORRUPT, "the task's record makes no sense");
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

void away_send(struct cluster *c, const struct send_job *s)
{
    struct job *j = plan_find_job(c->node, s->job);
    struct peer *p = cluster_peer(c, s->node);
    uint32_t sent = 0;
    bool can = j && p && p != c->self && !p->gone && !j->ended && !j->leaving &&
               !j->failed && s->cls < j->classes && !c->closing && cluster_reachable(p);
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

/* ---- results ------------------------------------------------------------------------------------------------ */

/* Writes the results into the record and seals it. */
static void complete(struct job *j, struct away *s, struct away_result *res,
                     uint32_t nrets)
{
    struct record *r = slot_record(j, s);
    struct call call = r ? record_call(r) : (struct call){0};
    if (!r ||
        call_nrets(&call) != nrets) { /* a client scribbled on it; it loses its task */
        for (uint32_t i = 0; i < nrets; i++) {
            if (res[i].placed) {
                grant_unplace(j, &res[i].place);
            }
        }
        slot_free(j, s);
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
    slot_free(j, s);
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

static void take_back(struct job *j, struct away *s, bool begun, const char *why);

static void one_less(struct job *j, struct away *s)
{
    if (--s->left > 0) {
        return;
    }
    struct record *r = slot_record(j, s);
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
        take_back(j, s, true, "its results were lost on their way");
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
    struct record *rec = s ? slot_record(j, s) : NULL;
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
        slot_free(j, s);
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
    struct away *s = j ? slot_find(j, p, slot, link) : NULL;
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
        struct record *rec = s ? slot_record(j, s) : NULL;
        if (s) {
            slot_free(j, s);
        }
        if (rec) {
            fail_task(j, rec, st, text);
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

static bool done(struct job *j, struct peer *p, struct codec_reader *r)
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

/* ---- what comes back undone -------------------------------------------------------------------------------- */

/* Ends a slot whose task has no result: it runs again, if it may. */
static void take_back(struct job *j, struct away *s, bool begun, const char *why)
{
    struct record *r = slot_record(j, s);
    uint32_t attempt = s->attempt;
    slot_free(j, s);
    if (!r || j->ended) {
        return;
    }
    struct call call = record_call(r);
    if (at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL) {
        fail_task(j, r, MOB_ERR_CANCELLED, "cancelled");
    } else if (!begun) {
        (void)task_unclaim(&j->lane, r);
    } else if (attempt < call.retries) {
        j->requeued++;
        (void)task_requeue(&j->lane, r);
    } else {
        char text[RECORD_PAYLOAD], name[MOB_NAME_MAX + 1];
        board_name_text(&j->board, r->name, name);
        snprintf(text, sizeof text, "task %s (attempt %u): %s", name, attempt + 1, why);
        j->failed_tasks++;
        fail_task(j, r, MOB_ERR_TASK_DIED, text);
    }
}

/* Takes back all that is SENT to @p. */
static void take_all_back(struct job *j, const struct peer *p, bool begun,
                          const char *why)
{
    struct plan_node *plan = j->node->plan;
    bool any = false;
    for (uint32_t i = 0; i < j->away.count; i++) {
        struct away *s = &j->away.slots[i];
        if (s->state == AWAY_SENT && s->peer == p) {
            (void)plan_node_refused(plan, s->lease, 1, now_ns(j));
            take_back(j, s, begun, why);
            any = true;
        }
    }
    if (any) {
        job_refresh(j);
    }
}

void away_peer_lost(struct cluster *c, struct peer *p)
{
    char why[128];
    snprintf(why, sizeof why, "node %s, where it ran, was lost", p->host);
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = c->node->jobs[i];
        if (j && host_of(j, p)) {
            drop_host(j, p);
            take_all_back(j, p, true, why);
            job_step(j);
        }
    }
}

static bool back(struct job *j, struct peer *p, struct codec_reader *r)
{
    uint32_t count = codec_get_u32(r);
    for (uint32_t i = 0; i < count && r->ok; i++) {
        uint32_t slot = codec_get_u32(r);
        uint64_t link = codec_get_u64(r);
        bool begun = codec_get_u8(r);
        struct away *s = j && r->ok ? slot_find(j, p, slot, link) : NULL;
        if (s) {
            (void)plan_node_refused(j->node->plan, s->lease, 1, now_ns(j));
            take_back(j, s, begun, "its worker on another node died");
        }
    }
    if (j) {
        job_refresh(j);
    }
    return codec_done(r);
}

static bool failed_there(struct job *j, struct peer *p, struct codec_reader *r)
{
    char text[WIRE_TEXT_MAX + 1024], line[sizeof text + 128];
    codec_get_str(r, text, sizeof text);
    struct away_host *h = j ? host_of(j, p) : NULL;
    if (!codec_done(r)) {
        return false;
    }
    if (h && !h->failed) {
        h->failed = true;
        int n =
            snprintf(line, sizeof line,
                     "mobula: this program does not run on node %s: %s\n", p->host, text);
        log_warn("job %u: %s", j->number, line);
        output_add(&j->err, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
        take_all_back(j, p, false, "");
        job_step(j);
    }
    return true;
}

static bool output(struct job *j, struct codec_reader *r)
{
    size_t size;
    uint32_t stream = codec_get_u8(r);
    const void *bytes = codec_get_bytes(r, WIRE_BATCH_BYTES, &size);
    if (!codec_done(r) || (stream != 1 && stream != 2)) {
        return false;
    }
    if (j) {
        output_add(stream == 1 ? &j->out : &j->err, bytes, size);
    }
    return true;
}

bool away_message(struct peer *p, enum wire_op op, struct codec_reader *r)
{
    struct job *j = job_find(p->cluster->node, codec_get_u32(r));
    if (j && (j->ended || !host_of(j, p))) {
        j = NULL; /* about a job that is over: read, and forgotten */
    }
    switch (op) {
    case WIRE_DONE:
        return done(j, p, r);
    case WIRE_BACK:
        return back(j, p, r);
    case WIRE_FAILED:
        return failed_there(j, p, r);
    case WIRE_OUTPUT:
        return output(j, r);
    case WIRE_CLOSED:
        if (j) {
            take_all_back(j, p, true, "its node ended the job");
            drop_host(j, p);
            job_step(j);
        }
        return codec_done(r);
    default:
        return false;
    }
}

/* ---- the end of a task, or of the job --------------------------------------------------------------------------- */

void away_cancels(struct job *j)
{
    for (uint32_t i = 0; i < j->away.count; i++) {
        struct away *s = &j->away.slots[i];
        struct record *r =
            s->state == AWAY_SENT && !s->cancel_sent ? slot_record(j, s) : NULL;
        if (r && at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL) {
            struct codec_writer w = cluster_begin(j->node->cluster, WIRE_CANCEL);
            codec_put_u32(&w, j->number);
            codec_put_u32(&w, 1);
            codec_put_u32(&w, i);
            codec_put_u64(&w, s->link);
            cluster_send(s->peer, &w);
            s->cancel_sent = true;
        }
    }
}

void away_close(struct job *j, bool kill_now)
{
    for (struct away_host *h = j->away.hosts; h; h = h->next) {
        if (!h->failed && (!h->closing || kill_now)) {
            struct codec_writer w = cluster_begin(j->node->cluster, WIRE_CLOSE);
            codec_put_u32(&w, j->number);
            codec_put_u8(&w, kill_now);
            cluster_send(h->peer, &w);
            h->closing = true;
        }
    }
}

bool away_closed(const struct job *j)
{
    for (const struct away_host *h = j->away.hosts; h; h = h->next) {
        if (!h->failed) {
            return false;
        }
    }
    return true;
}

void away_abandon(struct job *j)
{
    for (struct away_host *h = j->away.hosts; h; h = h->next) {
        if (!h->failed) {
            log_warn("node %s did not end job %u in time", h->peer->host, j->number);
            h->failed = true;
        }
    }
}

void away_free(struct job *j)
{
    struct away_job *a = &j->away;
    for (uint32_t i = 0; i < a->count; i++) {
        free(a->slots[i].results);
    }
    while (a->hosts) {
        struct away_host *h = a->hosts;
        a->hosts = h->next;
        free(h);
    }
    free(a->slots);
    free(a->start);
    if (a->hashed && a->exe >= 0) {
        close(a->exe);
    }
}
