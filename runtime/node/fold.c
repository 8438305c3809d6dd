/* fold.c - this node's part in a chain that folds arrays as they pass. */
#include "fold.h"

#include <stdlib.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "store/arena.h"

struct fold {
    struct fold *next;
    struct job *job;
    uint64_t owner, token; /* of the job, by which other nodes know it */
    uint32_t owner_number;
    struct peer *from; /* what comes before our arrays comes from there */
    struct peer *to;   /* who asked for it, by `theirs`; NULL: it is for `standin` */
    uint64_t number, theirs; /* number: by which we ask */
    struct standin *standin;
    struct fold_order order; /* as far as our arrays, which are last */
    uint32_t before;         /* arrays of other nodes */
    struct copy_fold with;
    uint64_t pins[FOLD_ARRAYS_MAX];
    uint32_t pinned, exports;
    enum fold_state state;
    struct fetch *pull;
    struct arena_place place; /* once it is WHOLE */
    const void *bytes;        /* from FLOWING on */
    bool whole;               /* the place is ours */
};

static struct cluster *cluster_of(const struct fold *f)
{
    return f->job->node->cluster;
}

/* ---- words ----------------------------------------------------------------------------------------------- */

void fold_put_order(struct codec_writer *w, const struct fold_order *o)
{
    codec_put_u8(w, (uint8_t)o->what.op);
    codec_put_u8(w, (uint8_t)o->what.type);
    codec_put_u64(w, o->size);
    codec_put_u8(w, (uint8_t)o->count);
    for (uint32_t i = 0; i < o->count; i++) {
        codec_put_u64(w, o->arrays[i].node);
        codec_put_u64(w, o->arrays[i].link);
    }
}

bool fold_get_order(struct codec_reader *r, struct fold_order *ret)
{
    struct fold_order o = {.what.op = codec_get_u8(r)};
    o.what.type = codec_get_u8(r);
    o.size = codec_get_u64(r);
    o.count = codec_get_u8(r);
    size_t item = fold_item((enum fold_type)o.what.type);
    if (!r->ok || o.what.op >= FOLD_OPS || item == 0 || o.size == 0 ||
        o.size > ARENA_OBJECT_MAX || o.size % item != 0 || o.count == 0 ||
        o.count > FOLD_ARRAYS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < o.count; i++) {
        o.arrays[i].node = codec_get_u64(r);
        o.arrays[i].link = codec_get_u64(r);
    }
    *ret = o;
    return r->ok;
}

static void say_flows(struct cluster *c, struct peer *to, uint64_t number, bool flows)
{
    struct codec_writer w = cluster_begin(c, WIRE_FLOWS);
    codec_put_u64(&w, number);
    codec_put_u8(&w, flows);
    cluster_send(to, &w);
}

static void say_unfold(const struct fold *f)
{
    struct codec_writer w = cluster_begin(cluster_of(f), WIRE_UNFOLD);
    codec_put_u64(&w, f->number);
    cluster_send(f->from, &w);
}

/* ---- the end ----------------------------------------------------------------------------------------------- */

static void unlink_and_free(struct fold *f)
{
    struct fold **at = &cluster_of(f)->folds;
    while (*at != f) {
        at = &(*at)->next;
    }
    *at = f->next;
    cluster_of(f)->folds_count--;
    for (uint32_t i = 0; i < f->pinned; i++) {
        lane_unpin(&f->job->lane, f->pins[i]);
    }
    if (f->whole && !f->job->ended) {
        grant_unplace(f->job, &f->place);
    }
    free(f);
}

/* Nobody wants it: goes once nobody reads or writes its bytes. */
static void end(struct fold *f)
{
    bool first = f->state != FOLD_UNWANTED;
    if (first && f->before > 1 && f->from) {
        say_unfold(f);
    }
    f->state = FOLD_UNWANTED;
    if (f->pull) {
        if (first && !f->pull->cancelled) {
            fetch_unwanted(f->pull); /* pulled() comes, maybe from in there */
        }
    } else if (f->exports == 0) {
        unlink_and_free(f);
    }
}

/* It will not come. */
static void fail(struct fold *f, mob_status st)
{
    struct standin *s = f->standin;
    if (s) {
        f->standin = NULL;
        log_info("a fold of %u arrays does not come: %s", f->order.count,
                 mob_status_text(st));
        standin_folded(f->job, s, st, NULL);
    } else if (f->to && f->state < FOLD_FLOWING) {
        say_flows(cluster_of(f), f->to, f->theirs, false);
    } /* else who pulls from it is told by the transport */
    end(f);
}

void fold_unwanted(struct fold *f)
{
    fail(f, MOB_ERR_CANCELLED);
}

void fold_unexported(struct fold *f)
{
    f->exports--;
    if (f->state == FOLD_UNWANTED) {
        end(f);
    }
}

void fold_peer_lost(struct peer *p)
{
    struct fold *next;
    for (struct fold *f = p->cluster->folds; f; f = next) {
        bool asked = f->from == p && f->state == FOLD_ASKED;
        next = f->next;
        f->from = f->from == p ? NULL : f->from;
        if (f->to == p) {
            f->to = NULL;
            end(f);
        } else if (asked) {
            fail(f, MOB_ERR_PEER_LOST);
        }
    }
}

void fold_end_job(struct job *j)
{
    struct fold *next;
    j->busy++; /* so that it is still there at the end of this */
    for (struct fold *f = j->node->cluster ? j->node->cluster->folds : NULL; f;
         f = next) {
        next = f->next;
        if (f->job == j) {
            f->standin = NULL; /* which goes with the job */
            end(f);
        }
    }
    j->busy--;
}

/* ---- the flow ------------------------------------------------------------------------------------------------ */

/* The pull has its place. After a rest it comes again. */
static void begun(struct fetch *p)
{
    struct fold *f = p->want.arg;
    if (f->state == FOLD_WAITING) {
        f->state = FOLD_FLOWING;
        f->bytes = p->copy.dst;
        if (f->to) {
            say_flows(cluster_of(f), f->to, f->theirs, true);
        }
    }
}

static void pulled(struct fetch *p, mob_status st)
{
    struct fold *f = p->want.arg;
    f->pull = NULL;
    if (st) {
        fail(f, st);
        return;
    }
    f->whole = true;
    f->place = p->place;
    log_debug("%u arrays of other nodes came folded, and %zu were added", f->before,
              f->with.count);
    if (f->standin) {
        struct standin *s = f->standin;
        f->standin = NULL;
        f->whole = false;
        standin_folded(f->job, s, MOB_OK, &f->place);
        end(f);
    } else if (f->state == FOLD_UNWANTED) {
        end(f);
    } else {
        f->state = FOLD_WHOLE;
    }
}

/* The node before shows what comes before our arrays. */
static void flow(struct fold *f)
{
    bool plain = f->before == 1; /* its array as it is */
    struct fetch_want want = {.kind = plain ? WIRE_COPIED : WIRE_FOLDED,
                              .number = f->owner_number,
                              .link = plain ? f->order.arrays[0].link : f->number,
                              .node = f->owner,
                              .token = f->token,
                              .size = f->order.size,
                              .ours = LINK_NONE,
                              .fold = &f->with,
                              .begun = begun,
                              .done = pulled,
                              .arg = f,
                              .handle = &f->pull};
    f->state = FOLD_WAITING;
    cluster_dial(f->from); /* which may not have been asked for anything yet */
    fetch_start(f->job, f->from, &want); /* which may be its end already */
}

static void ask(struct fold *f)
{
    struct fold_order before = f->order;
    before.count = f->before;
    struct codec_writer w = cluster_begin(cluster_of(f), WIRE_FOLD);
    codec_put_u64(&w, f->owner);
    codec_put_u32(&w, f->owner_number);
    codec_put_u64(&w, f->token);
    codec_put_u64(&w, f->number);
    fold_put_order(&w, &before);
    cluster_send(f->from, &w);
}

/* ---- the beginning -------------------------------------------------------------------------------------------- */

/* Array @i of the order, which is here: pinned and ready to be read. */
static mob_status take_array(struct fold *f, uint32_t i)
{
    struct job *j = f->job;
    uint64_t link = f->order.arrays[i].link;
    struct fetch *arriving = NULL;
    struct record *r;
    struct place p;
    bool ours = f->owner == cluster_of(f)->self->id;
    if (!ours && (!standin_find(j, link, &link, &arriving) || arriving)) {
        return MOB_ERR_NOT_FOUND;
    }
    MOB_TRY(grant_resolve(j, &link, &r, &p));
    if (p.size != f->order.size) {
        return MOB_ERR_SIZE;
    }
    MOB_TRY(lane_pin(&j->lane, link, &f->pins[f->pinned]));
    f->pinned++;
    return grant_read(j, r, &p, &f->with.arrays[f->with.count++]);
}

/* The arrays at the end of the order that are this node's are added to what comes from the node before. */
static mob_status prepare(struct fold *f)
{
    struct cluster *c = cluster_of(f);
    const struct fold_array *arrays = f->order.arrays;
    f->before = f->order.count;
    while (f->before > 0 && arrays[f->before - 1].node == c->self->id) {
        f->before--;
    }
    f->from = f->before > 0 ? cluster_peer(c, arrays[f->before - 1].node) : NULL;
    if (!f->from || !cluster_reachable(f->from) || f->job->ended || c->closing ||
        c->folds_count > FOLDS_MAX) {
        return MOB_ERR_NOT_FOUND;
    }
    f->with.op = (enum fold_op)f->order.what.op;
    f->with.type = (enum fold_type)f->order.what.type;
    for (uint32_t i = f->before; i < f->order.count; i++) {
        MOB_TRY(take_array(f, i));
    }
    return MOB_OK;
}

/* @init: what is known of it. On failure nobody is told. */
static mob_status make(const struct fold *init, struct fold **ret)
{
    struct fold *f = malloc(sizeof *f);
    if (!f) {
        return MOB_ERR_NOMEM;
    }
    *f = *init;
    struct cluster *c = cluster_of(f);
    f->number = ++c->last_fold;
    f->next = c->folds;
    c->folds = f;
    c->folds_count++;
    mob_status st = prepare(f);
    if (st) {
        unlink_and_free(f);
        return st;
    }
    *ret = f;
    return MOB_OK;
}

/* False: that was its end already. */
static bool begin(struct fold *f)
{
    struct cluster *c = cluster_of(f);
    uint64_t number = f->number;
    if (f->before == 1) {
        flow(f);
    } else {
        ask(f);
    }
    for (f = c->folds; f && f->number != number; f = f->next) {
    }
    return f != NULL;
}

mob_status fold_start(struct job *j, struct standin *s, const struct fold_order *order,
                      struct fold **ret)
{
    struct fold *f, init = {.job = j,
                            .owner = j->guest->owner->id,
                            .owner_number = j->guest->number,
                            .token = j->guest->token,
                            .order = *order};
    MOB_TRY(make(&init, &f));
    if (!begin(f)) {
        return MOB_ERR_CANCELLED;
    }
    f->standin = s; /* from now on it is told of the end */
    *ret = f;
    return MOB_OK;
}

static bool asked_to_fold(struct peer *p, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    struct fold *f, init = {.to = p, .owner = codec_get_u64(r)};
    init.owner_number = codec_get_u32(r);
    init.token = codec_get_u64(r);
    init.theirs = codec_get_u64(r);
    if (!fold_get_order(r, &init.order) || !codec_done(r)) {
        return false;
    }
    init.job = export_job(c, p, init.owner, init.owner_number, init.token);
    mob_status st = init.job ? make(&init, &f) : MOB_ERR_NOT_FOUND;
    if (!st && f->with.count == 0) { /* that is not for us */
        unlink_and_free(f);
        st = MOB_ERR_INVALID;
    }
    if (st) {
        log_debug("a fold for node %s is refused: %s", p->host, mob_status_text(st));
        say_flows(c, p, init.theirs, false);
    } else {
        log_debug("a fold for node %s begins, of %u arrays, %zu of which are here",
                  p->host, f->order.count, f->with.count);
        (void)begin(f);
    }
    return true;
}

bool fold_message(struct peer *p, enum wire_op op, struct codec_reader *r)
{
    if (op == WIRE_FOLD) {
        return asked_to_fold(p, r);
    }
    uint64_t number = codec_get_u64(r);
    bool flows = op == WIRE_FLOWS && codec_get_u8(r);
    struct fold *f = p->cluster->folds;
    if (!codec_done(r)) {
        return false;
    }
    while (f && (op == WIRE_FLOWS ? f->from != p || f->number != number
                                  : f->to != p || f->theirs != number)) {
        f = f->next;
    }
    if (f && op == WIRE_UNFOLD) {
        end(f);
    } else if (f && f->state == FOLD_ASKED && f->before > 1 && flows) {
        flow(f);
    } else if (f && f->state == FOLD_ASKED && f->before > 1) {
        fail(f, MOB_ERR_NOT_FOUND);
    }
    return true; /* about one that is over: nothing */
}

mob_status fold_export(struct job *j, const struct peer *p, uint64_t number,
                       struct fold **ret, struct fetch **ret_pull,
                       struct transport_export *ret_export)
{
    struct fold *f = j->node->cluster->folds;
    while (f && (f->to != p || f->theirs != number || f->job != j)) {
        f = f->next;
    }
    if (!f || (f->state != FOLD_FLOWING && f->state != FOLD_WHOLE)) {
        return MOB_ERR_NOT_FOUND;
    }
    ret_export->base = f->bytes;
    ret_export->size = f->order.size;
    *ret = f;
    *ret_pull = f->pull;
    f->exports++;
    return MOB_OK;
}
