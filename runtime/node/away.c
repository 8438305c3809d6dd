/* away.c - this node's tasks that run on others.
 *
 *   QUEUED --away_send()--> TAKEN by the daemon, slot SENT --DONE--> TAKING --results here--> sealed
 *                                     |                                |
 *                                     +-- BACK, not begun: QUEUED       +-- node lost: QUEUED, next one
 *                                     +-- node lost, BACK after a death: QUEUED, next attempt,
 *                                                                            or failed by name
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
#include "scheduler/spread.h"
#include "store/request.h"
#include "store/task.h"

static uint64_t now_ns(const struct job *j)
{
    return loop_now_ns(j->node->loop);
}

/* ---- nodes that have our job -------------------------------------------------------------------- */

struct away_host *away_host_of(const struct job *j, const struct peer *p)
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

/* ---- slots -------------------------------------------------------------------------------------------- */

struct away *away_slot_new(struct job *j)
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

void away_slot_free(struct job *j, struct away *s)
{
    struct away_job *a = &j->away;
    timeline_note(j->node, TIMELINE_AWAY, j->number, s->sent_ns, s->link,
                  s->peer ? s->peer->id : 0, s->remote_link,
                  s->remote_link ? MOB_OK
                                 : MOB_ERR_TASK_DIED); /* it says nothing: undone */
    free(s->results);
    if (s->lineage) {
        lineage_tidy(j, s->lineage);
    }
    *s = (struct away){.next_free = a->free};
    a->free = (uint32_t)(s - a->slots) + 1;
    a->out--;
}

/* The slot that an answer names, if it is about what is there now. */
struct away *away_slot_find(struct job *j, const struct peer *p, uint32_t slot,
                            uint64_t link)
{
    struct away *s = slot < j->away.count ? &j->away.slots[slot] : NULL;
    return s && s->state == AWAY_SENT && s->link == link && s->peer == p ? s : NULL;
}

/* Its record, if this daemon still holds it in that attempt. */
struct record *away_slot_record(struct job *j, const struct away *s)
{
    uint64_t state;
    struct record *r = lane_find(&j->lane, s->link, &state);
    bool ours = r && state_phase(state) == PHASE_TAKEN && state_holder(state) == DAEMON &&
                state_attempt(state) == s->attempt;
    return ours ? r : NULL;
}

void away_fail_task(struct job *j, struct record *r, mob_status st, const char *text)
{
    grant_error(j, r, st, text);
    (void)task_seal(&j->lane, r, true);
}

void away_fail_cancelled(struct job *j, struct record *r)
{
    char name[MOB_NAME_MAX + 1], text[MOB_NAME_MAX + 64];
    mob_status why = request_reason(&j->board, board_index(&j->board, r),
                                    state_gen(at_load(&r->state, AT_RELAXED)));
    board_name_text(&j->board, r->name, name);
    snprintf(text, sizeof text, "task %s: %s", name, request_reason_text(why));
    away_fail_task(j, r, why, text);
}

/* ---- what comes back undone -------------------------------------------------------------------------------- */

/* Ends a slot whose task has no result: it runs again, if it may. */
void away_take_back(struct job *j, struct away *s, bool begun, const char *why)
{
    struct record *r = away_slot_record(j, s);
    uint32_t attempt = s->attempt;
    begun |= s->folds;
    away_slot_free(j, s);
    if (!r || j->ended) {
        return;
    }
    struct call call = record_call(r);
    if (at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL) {
        away_fail_cancelled(j, r);
    } else if (!begun) {
        (void)task_unclaim(&j->lane, r);
    } else if (call_retries_left(&call, attempt)) {
        j->requeued++;
        (void)task_requeue(&j->lane, r);
    } else {
        char text[RECORD_PAYLOAD], name[MOB_NAME_MAX + 1];
        board_name_text(&j->board, r->name, name);
        snprintf(text, sizeof text, "task %s (attempt %u): %s", name, attempt + 1, why);
        j->failed_tasks++;
        away_fail_task(j, r, MOB_ERR_TASK_DIED, text);
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
            away_take_back(j, s, begun, why);
            any = true;
        }
    }
    if (any) {
        job_refresh(j);
    }
}

void away_peer_lost(struct cluster *c, struct peer *p, bool met)
{
    char why[128];
    snprintf(why, sizeof why, "node %s, where it ran, was lost", p->host);
    meet_peer_lost(c, p);
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = c->node->jobs[i];
        for (uint32_t k = 0; j && k < j->away.count; k++) {
            struct away *s = &j->away.slots[k];
            if (s->state == AWAY_TAKING && s->peer == p) {
                s->peer = NULL; /* what is here already is waited for */
            }
        }
        if (j && away_host_of(j, p)) {
            drop_host(j, p);
            lineage_peer_lost(j, p);
            take_all_back(j, p, met, why);
            group_peer_lost(j, p);
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
        struct away *s = j && r->ok ? away_slot_find(j, p, slot, link) : NULL;
        if (s) {
            (void)plan_node_refused(j->node->plan, s->lease, 1, now_ns(j));
            away_take_back(j, s, begun, "its worker on another node died");
        }
    }
    if (j) {
        job_refresh(j);
    }
    return codec_done(r);
}

static void never_there(struct job *j, struct away_host *h, const char *text)
{
    char line[WIRE_TEXT_MAX + 1152];
    h->failed = true;
    int n = snprintf(line, sizeof line,
                     "mobula: this program does not run on node %s (%010llx): %s\n",
                     h->peer->host, (unsigned long long)h->peer->id, text);
    log_warn("job %u: %.*s", j->number, n - 1, line);
    output_add(&j->err, line, (size_t)n);
}

/* The next tasks for it make the job known there anew, but not at once. */
static void later_there(struct job *j, struct away_host *h, const char *text)
{
    if (!h->wait_ns) { /* once, not at each try */
        log_info("job %u: node %s has no room for it yet: %s", j->number, h->peer->host,
                 text);
    }
    uint64_t wait = h->wait_ns ? 2 * h->wait_ns : AWAY_AGAIN_MIN_NS;
    h->wait_ns = wait < AWAY_AGAIN_MAX_NS ? wait : AWAY_AGAIN_MAX_NS;
    h->again_ns = now_ns(j) + h->wait_ns;
}

static bool failed_there(struct job *j, struct peer *p, struct codec_reader *r)
{
    char text[WIRE_TEXT_MAX + 1024];
    bool later = codec_get_u8(r);
    codec_get_str(r, text, sizeof text);
    struct away_host *h = j ? away_host_of(j, p) : NULL;
    if (!codec_done(r)) {
        return false;
    }
    if (h && !h->failed) {
        lineage_peer_lost(j, p);
        if (later) {
            later_there(j, h, text);
        } else {
            never_there(j, h, text);
        }
        take_all_back(j, p, false, "");
        job_step(j);
    }
    return true;
}

/* What a node says of its copy of one of our objects. */
static bool copy(struct job *j, const struct peer *p, struct codec_reader *r)
{
    struct spread *s = p->cluster->spread;
    uint64_t link = codec_get_u64(r);
    uint32_t whole = codec_get_u8(r);
    struct record *there;
    struct place place;
    if (!codec_done(r) || whole > 1) {
        return false;
    }
    struct spread_object name = {j ? j->number : 0, link};
    if (j && !whole) {
        spread_gone(s, name, p->id);
    } else if (j && grant_resolve(j, &link, &there, &place) == MOB_OK) {
        spread_whole(s, name, p->id);
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
    if (j && (j->ended || !away_host_of(j, p))) {
        j = NULL; /* about a job that is over: read, and forgotten */
    }
    switch (op) {
    case WIRE_DONE:
        return away_done(j, p, r);
    case WIRE_BACK:
        return back(j, p, r);
    case WIRE_FAILED:
        return failed_there(j, p, r);
    case WIRE_OUTPUT:
        return output(j, r);
    case WIRE_COPY:
        return copy(j, p, r);
    case WIRE_MEET:
        return meet_message(j, p, r);
    case WIRE_CLOSED:
        if (j) {
            take_all_back(j, p, true, "its node ended the job");
            drop_host(j, p);
            lineage_peer_lost(j, p);
            job_step(j);
        }
        return codec_done(r);
    default:
        return false;
    }
}

/* ---- the end of a task, or of the job --------------------------------------------------------------------------- */

/* Unless it was sent before, with as much asked. */
static void send_cancel(struct job *j, struct away *s, uint32_t slot)
{
    uint32_t asked = request_of(&j->board, link_index(s->link), link_gen(s->link));
    enum request_kind kind = request_kind(asked);
    bool ends = kind == REQUEST_LATE || kind == REQUEST_END;
    if (s->cancel_sent && s->asked == asked) {
        return;
    }
    uint64_t left = ends ? request_left_ns(&j->board, request_tick(asked), now_ns(j)) : 0;
    struct codec_writer w = cluster_begin(j->node->cluster, WIRE_CANCEL);
    codec_put_u32(&w, j->number);
    codec_put_u32(&w, 1);
    codec_put_u32(&w, slot);
    codec_put_u64(&w, s->link);
    codec_put_u8(&w, (uint8_t)((ends ? kind : REQUEST_NOTHING) |
                               (asked & REQUEST_RECURSIVE ? WIRE_RECURSIVE : 0)));
    codec_put_u64(&w, left);
    cluster_send(s->peer, &w);
    s->cancel_sent = true;
    s->asked = asked;
}

void away_cancels(struct job *j)
{
    for (uint32_t i = 0; i < j->away.count; i++) {
        struct away *s = &j->away.slots[i];
        struct record *r = s->state == AWAY_SENT ? away_slot_record(j, s) : NULL;
        if (r && at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL) {
            send_cancel(j, s, i);
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
    if (j->node->cluster) {
        spread_job_over(j->node->cluster->spread, j->number);
    }
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
