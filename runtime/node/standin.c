/* standin.c - objects of a guest job's owner that tasks here have as arguments.
 *
 * A stand-in is a record on our board that is filled with the owner's bytes, once, however many
 * tasks use it. Or it is the proxy of the very task that made them here, once the owner has taken
 * them. It stays for later tasks until room is needed: what is sealed never changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "core/text.h"
#include "scheduler/spread.h"
#include "store/meta.h"
#include "store/task.h"

enum {
    INLINE_AT = 16, /* in the payload, behind the place */
    META_AT =
        INLINE_AT + RECORD_INLINE_MAX, /* behind the longest result that stands there */
    AGES = 4,
    KEPT_DIVISOR =
        2 /* of the store: what is kept for owners of jobs if there is no disk for it */
};

static struct standin **bucket_of(struct guest *g, uint64_t theirs)
{
    return &g->standins[(theirs * 0x9e3779b97f4a7c15ull) >> 54];
}
_Static_assert(STANDIN_BUCKETS == 1u << 10, "the top ten bits of a hash");

static mob_status new_record(struct job *j, struct record **ret)
{
    mob_status st = lane_record(&j->lane, ret);
    if (st == MOB_ERR_FULL && grant_records(j) == MOB_OK) {
        st = lane_record(&j->lane, ret);
    }
    return st;
}

mob_status standin_get(struct job *j, uint64_t theirs, struct standin **ret,
                       bool *ret_new)
{
    struct guest *g = j->guest;
    struct standin **at = bucket_of(g, theirs), *s = *at;
    while (s && s->theirs != theirs) {
        s = s->next;
    }
    *ret_new = !s;
    if (!s) {
        struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
        struct record *r;
        MOB_TRY(new_record(j, &r));
        s = calloc(1, sizeof *s);
        if (!s) {
            lane_unrecord(&j->lane, r);
            return status_fail(MOB_ERR_NOMEM,
                               "no memory for an argument from another node");
        }
        task_begin(&j->lane, r, &call, LINK_NONE);
        record_set_origin(r, board_tick(&j->board), 0);
        uint32_t gen = lane_gen(r);
        at_store(&r->state, state_make(gen, DAEMON, 0, PHASE_CREATING), AT_RELEASE);
        *s = (struct standin){.theirs = theirs,
                              .ours = link_make(gen, board_index(&j->board, r), 0),
                              .pending = true,
                              .next = *at};
        *at = s;
    }
    s->used = g->clock;
    *ret = s;
    return MOB_OK;
}

bool standin_may_keep(const struct job *j, uint64_t size)
{
    const struct node *n = j->node;
    uint64_t most = n->budget.limit_bytes / KEPT_DIVISOR, kept = 0;
    for (uint32_t i = 0; i < n->jobs_top && !n->spill; i++) {
        const struct job *of = n->jobs[i];
        kept += of && of->guest ? of->guest->kept_bytes : 0;
    }
    return n->spill || (kept <= most && size <= most - kept);
}

bool standin_adopt(struct job *j, uint64_t theirs, uint64_t ours, uint64_t size,
                   bool kept)
{
    struct guest *g = j->guest;
    struct standin **at = bucket_of(g, theirs), *s = *at;
    while (s && s->theirs != theirs) {
        s = s->next;
    }
    struct standin *fresh = s ? NULL : malloc(sizeof *fresh);
    if (!fresh) {
        return false;
    }
    *fresh = (struct standin){.theirs = theirs,
                              .ours = ours,
                              .bytes = size,
                              .kept = kept,
                              .used = g->clock,
                              .next = *at};
    *at = fresh;
    *(kept ? &g->kept_bytes : &g->standin_bytes) += size;
    return true;
}

static struct record *record_of(struct job *j, const struct standin *s)
{
    uint64_t state;
    struct record *r = lane_find(&j->lane, s->ours, &state);
    return r && state_phase(state) == PHASE_CREATING && state_holder(state) == DAEMON
               ? r
               : NULL;
}

static void seal(struct job *j, struct standin *s, const struct arena_place *place,
                 uint64_t size)
{
    struct record *r = record_of(j, s);
    s->pending = false;
    if (!r) { /* scribbled on */
        if (place) {
            grant_unplace(j, place);
        }
        return;
    }
    if (place) {
        board_touch(&j->board, link_index(s->ours));
        record_set_place(r, 0, PLACE_ARENA, place->segment, place->offset, size);
        s->bytes = size;
        j->guest->standin_bytes += size;
    }
    (void)task_seal(&j->lane, r, false);
}

static bool wanted(struct job *j, const struct standin *s);
static void forget(struct job *j, struct standin *s);

static void pulled(struct fetch *p, mob_status st)
{
    struct standin *s = p->want.arg;
    struct job *j = p->job;
    if (j->ended) {
        if (!st) {
            grant_unplace(j, &p->place);
        }
        s->pending = false;
    } else if (st == MOB_ERR_CANCELLED && !wanted(j, s)) {
        forget(j, s);
    } else if (st == MOB_ERR_CANCELLED) { /* somebody wants it again */
        standin_pull(j, s, p->want.size);
    } else if (st == MOB_ERR_NOMEM) {
        char text[RECORD_PAYLOAD], size[32], store[32];
        snprintf(text, sizeof text,
                 "an argument of %s does not fit into the object store of node %s, which "
                 "may have %s",
                 text_bytes(p->want.size, size, sizeof size), j->node->host,
                 text_bytes(j->node->budget.limit_bytes, store, sizeof store));
        standin_error(j, s, MOB_ERR_NOMEM, text);
    } else if (st) {
        standin_error(j, s, MOB_ERR_LOST,
                      "an argument was lost on its way from its node");
    } else {
        seal(j, s, &p->place, p->want.size);
    }
}

void standin_meta(struct job *j, struct standin *s, const struct mob_meta *meta)
{
    struct record *r = record_of(j, s);
    if (r) {
        meta_add(r, META_AT, 0, meta);
    }
}

void standin_bytes(struct job *j, struct standin *s, const void *bytes, size_t size)
{
    struct arena_place place;
    struct record *r = record_of(j, s);
    void *data;
    if (!r) {
        s->pending = false;
    } else if (size <= RECORD_INLINE_MAX) {
        if (size) {
            memcpy(r->payload + INLINE_AT, bytes, size);
            record_set_place(r, 0, PLACE_INLINE, 0, INLINE_AT, size);
        }
        seal(j, s, NULL, size);
    } else if (grant_place(j, size, &place, &data) == MOB_OK) {
        memcpy(data, bytes, size);
        seal(j, s, &place, size);
    } else { /* no room now */
        void *copy = malloc(size);
        MOB_ASSERT(copy);
        memcpy(copy, bytes, size);
        struct fetch_want want = {.kind = WIRE_ARGUMENT,
                                  .size = size,
                                  .ours = s->ours,
                                  .bytes = copy,
                                  .done = pulled,
                                  .arg = s};
        fetch_start(j, NULL, &want);
    }
}

void standin_pull(struct job *j, struct standin *s, uint64_t size)
{
    struct fetch_want want = {.kind = WIRE_ARGUMENT,
                              .number = j->guest->number,
                              .link = s->theirs,
                              .size = size,
                              .ours = s->ours,
                              .done = pulled,
                              .arg = s,
                              .handle = &s->pull};
    fetch_start(j, j->guest->owner, &want);
}

/* What the third node does not have is asked of the owner, from the first byte on: it may be made again by now, and
 * come out otherwise. */
static void pulled_from(struct fetch *p, mob_status st)
{
    struct standin *s = p->want.arg;
    struct job *j = p->job;
    if (!j->ended && st && st != MOB_ERR_NOMEM && st != MOB_ERR_CANCELLED) {
        standin_pull(j, s, p->want.size);
        return;
    }
    if (!st && !j->ended && p->want.size >= SPREAD_BYTES_MIN) {
        fetch_tell(j, s->theirs, true);
    }
    pulled(p, st);
}

void standin_pull_from(struct job *j, struct standin *s, uint64_t size, uint64_t node)
{
    struct guest *g = j->guest;
    struct peer *from = cluster_peer(j->node->cluster, node);
    if (!from || from == j->node->cluster->self || from == g->owner ||
        !cluster_reachable(from)) {
        standin_pull(j, s, size);
        return;
    }
    cluster_dial(from); /* the pull waits for the connection, or for its failure */
    if (!from->links[0] && !from->dial) {
        standin_pull(j, s, size);
        return;
    }
    struct fetch_want want = {.kind = WIRE_COPIED,
                              .number = g->number,
                              .link = s->theirs,
                              .size = size,
                              .ours = s->ours,
                              .node = g->owner->id,
                              .token = g->token,
                              .done = pulled_from,
                              .arg = s,
                              .handle = &s->pull};
    fetch_start(j, from, &want);
}

void standin_error(struct job *j, struct standin *s, mob_status st, const char *text)
{
    struct record *r = record_of(j, s);
    s->pending = false;
    if (r) {
        grant_error(j, r, st, text);
        struct place p = record_get_place(r, 0);
        s->bytes = p.kind == PLACE_ARENA ? p.size : 0;
        j->guest->standin_bytes += s->bytes;
        (void)task_seal(&j->lane, r, true);
    }
}

/* Nothing but our own handle keeps it. */
static bool unused(struct job *j, const struct standin *s)
{
    struct record *r = board_record(&j->board, link_index(s->ours));
    return r && (at_load(&r->refs, AT_ACQUIRE) & REFS_USES_MASK) == 0;
}

/* A task that is not over waits for it. One that was cancelled keeps its use until it was told of its
 * arguments, so uses do not say. */
static bool wanted(struct job *j, const struct standin *s)
{
    enum { WALK_MAX = 4096 }; /* clients can write there */
    const struct record *r = board_record(&j->board, link_index(s->ours));
    uint32_t entry = r ? at_load(&r->succ, AT_ACQUIRE) : SUCC_EMPTY;
    for (int i = 0; i < WALK_MAX && entry != SUCC_EMPTY; i++) {
        struct record *t = board_record(&j->board, succ_index(entry));
        struct call call = t ? record_call(t) : (struct call){0};
        struct arg_ref *ref = t ? succ_ref(t, &call, entry) : NULL;
        if (!ref || !state_sealed(at_load(&t->state, AT_ACQUIRE))) {
            return true;
        }
        entry = at_load(&ref->next, AT_RELAXED);
    }
    return entry != SUCC_EMPTY;
}

/* Nobody wants it, and its bytes will not come. */
static void forget(struct job *j, struct standin *s)
{
    struct standin **at = bucket_of(j->guest, s->theirs);
    while (*at != s) {
        at = &(*at)->next;
    }
    standin_error(j, s, MOB_ERR_CANCELLED, "nobody wants it any more");
    *at = s->next;
    j->guest->standin_bytes -= s->bytes;
    lane_drop(&j->lane, s->ours);
    free(s);
}

mob_status standin_fold(struct job *j, struct standin *s, const struct fold_order *order)
{
    mob_status st = fold_start(j, s, order, &s->fold);
    s->bytes = st ? 0 : order->size; /* until it is sealed, for standin_folded() */
    if (st) {
        forget(j, s);
    }
    return st;
}

void standin_folded(struct job *j, struct standin *s, mob_status st,
                    const struct arena_place *place)
{
    uint64_t size = s->bytes;
    s->fold = NULL;
    s->bytes = 0;
    if (st) {
        guest_undone(j, s->theirs & ~(uint64_t)STANDIN_FOLD);
        forget(j, s);
    } else {
        seal(j, s, place, size);
    }
}

void standin_unwanted(struct job *j)
{
    for (uint32_t b = 0; b < STANDIN_BUCKETS; b++) {
        struct standin *next;
        for (struct standin *s = j->guest->standins[b]; s; s = next) {
            next = s->next;
            if (s->pull && !wanted(j, s)) {
                fetch_unwanted(s->pull);
            } else if (s->fold && !wanted(j, s)) {
                fold_unwanted(s->fold);
            }
        }
    }
}

/* Epochs since its bytes were looked at; at most AGES - 1. */
static uint32_t age_of(const struct job *j, const struct standin *s)
{
    const struct board *b = &j->board;
    uint32_t age = at_load(&b->header->epoch, AT_RELAXED) -
                   at_load(&b->touched[link_index(s->ours)], AT_RELAXED);
    return age < AGES ? age : AGES - 1;
}

/* Takes one that is not kept out of its bucket. */
static void drop(struct job *j, struct standin **at)
{
    struct standin *s = *at;
    *at = s->next;
    j->guest->standin_bytes -= s->bytes;
    if (s->bytes >= SPREAD_BYTES_MIN) {
        fetch_tell(j, s->theirs, false);
    }
    lane_drop(&j->lane, s->ours);
    free(s);
}

void standin_let_go(struct job *j, uint64_t theirs, bool gone)
{
    struct guest *g = j->guest;
    struct standin **at = bucket_of(g, theirs);
    while (*at && (*at)->theirs != theirs) {
        at = &(*at)->next;
    }
    struct standin *s = *at;
    if (!s || !s->kept) {
        return;
    }
    s->kept = false;
    g->kept_bytes -= s->bytes;
    g->standin_bytes += s->bytes;
    if (gone && unused(j, s)) {
        drop(j, at);
    }
}

static void evict_bucket(struct job *j, struct standin **at, uint32_t age)
{
    struct guest *g = j->guest;
    while (*at) {
        struct standin *s = *at;
        if (s->pending || s->kept || s->used == g->clock || !unused(j, s) ||
            age_of(j, s) < age) {
            at = &s->next;
            continue;
        }
        drop(j, at);
    }
}

void standin_evict(struct job *j, uint64_t keep)
{
    struct guest *g = j->guest;
    /* The coldest first, as a clock with AGES hands would have it; an order by the last use would cost each
     * use a list's upkeep, and what goes here can be had again from its owner. */
    for (uint32_t age = AGES; age-- > 0 && g->standin_bytes > keep;) {
        for (uint32_t b = 0; b < STANDIN_BUCKETS && g->standin_bytes > keep; b++) {
            evict_bucket(j, &g->standins[b], age);
        }
    }
    lane_reclaim(&j->lane);
}

const struct standin *standin_next(const struct job *j, const struct standin *s)
{
    struct standin *const *table = j->guest->standins;
    if (s && s->next) {
        return s->next;
    }
    uint32_t b =
        s ? (uint32_t)(bucket_of(j->guest, s->theirs) - j->guest->standins) + 1 : 0;
    while (b < STANDIN_BUCKETS && !table[b]) {
        b++;
    }
    return b < STANDIN_BUCKETS ? table[b] : NULL;
}

bool standin_find(const struct job *j, uint64_t theirs, uint64_t *ret_ours,
                  struct fetch **ret_pull)
{
    const struct standin *s = *bucket_of(j->guest, theirs);
    while (s && s->theirs != theirs) {
        s = s->next;
    }
    if (s) {
        *ret_ours = s->ours;
        *ret_pull = s->pull;
    }
    return s != NULL;
}

bool guest_origin(const struct job *j, uint64_t ours, uint64_t *ret_theirs)
{
    const struct guest *g = j->guest;
    for (uint32_t b = 0; b < STANDIN_BUCKETS; b++) {
        for (const struct standin *s = g->standins[b]; s; s = s->next) {
            if (s->ours == ours) {
                *ret_theirs = s->theirs;
                return true;
            }
        }
    }
    for (uint32_t i = 0; i < g->proxies_count; i++) {
        if (g->proxies[i].link != LINK_NONE && g->proxies[i].link == (ours & ~0xfull)) {
            *ret_theirs = g->proxies[i].theirs | link_ret(ours);
            return true;
        }
    }
    return false;
}

void standin_free(struct job *j)
{
    for (uint32_t b = 0; b < STANDIN_BUCKETS; b++) {
        while (j->guest->standins[b]) {
            struct standin *s = j->guest->standins[b];
            j->guest->standins[b] = s->next;
            free(s);
        }
    }
}
