/* fetch.c - which pulls begin, where their bytes land, and how they end. */
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/status.h"
#include "store/task.h"

static struct fetch *of(struct pull_entry *e)
{
    return LOOP_OWNER(e, struct fetch, entry);
}

static struct cluster *cluster_of(const struct fetch *p)
{
    return p->job->node->cluster;
}

static void set_begun(struct fetch *p, bool begun)
{
    struct cluster *c = cluster_of(p);
    if (begun) {
        p->prev = NULL;
        p->next = c->pulls;
        if (p->next) {
            p->next->prev = p;
        }
        c->pulls = p;
        return;
    }
    if (p->prev) {
        p->prev->next = p->next;
    } else {
        c->pulls = p->next;
    }
    if (p->next) {
        p->next->prev = p->prev;
    }
}

/* ---- the end -------------------------------------------------------------------------------------- */

static void finish(struct fetch *p, mob_status st)
{
    struct job *j = p->job;
    timeline_note(j->node, TIMELINE_PULL, j->number, p->begun_ns, p->want.link,
                  p->source->id, p->want.size, st);
    if (p->placed && st) {
        grant_unplace(j, &p->place);
    } else if (p->placed) {
        grant_landed(j, &p->place);
    }
    if (p->want.handle) {
        *p->want.handle = NULL;
    }
    p->owner->pulls--;
    p->source->pulls--;
    j->busy--;
    p->want.done(p, st);
    free(p->want.bytes);
    p->state = FETCH_OVER;
    if (!p->copy.exports) {
        free(p);
    }
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}

static void drop_waiting(struct fetch *p, mob_status st)
{
    pull_line_remove(&cluster_of(p)->line, &p->entry);
    finish(p, st);
}

/* Of one that has begun. */
static void over(struct fetch *p, mob_status st)
{
    set_begun(p, false);
    if (p->entry.under_way) {
        pull_line_end(&cluster_of(p)->line, &p->entry);
    }
    finish(p, st);
}

void fetch_fail(struct fetch *p, mob_status st)
{
    if (p->state == FETCH_REVOKED) {
        return;
    }
    if (p->copy.ask) {
        fetch_tell(p->job, p->want.link, false);
    }
    if (p->copy.exports) { /* which read from its place */
        p->state = FETCH_REVOKED;
        p->status = st;
        copy_revoke(&p->copy, MOB_ERR_NOT_FOUND);
        return;
    }
    over(p, st);
}

void fetch_here(struct fetch *p)
{
    if (p->job->ended) { /* the place goes with it, and not under those who read it */
        fetch_fail(p, MOB_ERR_CANCELLED);
        return;
    }
    if (p->copy.ask) {
        fetch_tell(p->job, p->want.link, true);
    }
    over(p, MOB_OK);
}

void fetch_unexported(struct fetch *p)
{
    if (p->copy.exports) {
        return;
    }
    if (p->state == FETCH_REVOKED) {
        over(p, p->status);
    } else if (p->state == FETCH_OVER) {
        free(p);
    }
}

/* ---- the beginning -------------------------------------------------------------------------------- */

/* More than the store may have beside the board: there will never be room. */
static bool too_large(const struct fetch *p)
{
    uint64_t limit = p->job->node->budget.limit_bytes, least = job_least_bytes();
    return !p->copy.dst && (limit < least || p->want.size > limit - least);
}

/* MOB_ERR_NOMEM: the store is full, and it is tried again. */
static mob_status place(struct fetch *p)
{
    void *data;
    if (p->copy.dst) {
        return MOB_OK;
    }
    mob_status st = grant_place(p->job, p->want.size, &p->place, &data);
    if (st == MOB_ERR_NOMEM && p->job->guest) {
        standin_evict(p->job, 0);
        st = grant_place(p->job, p->want.size, &p->place, &data);
    }
    p->placed = st == MOB_OK;
    p->copy.dst = st ? NULL : data;
    return st;
}

/* The store may be full of what processes keep for their next objects; now and then, since it wakes
 * them all. */
static void ask_for_room(struct cluster *c)
{
    uint64_t now = loop_now_ns(c->node->loop);
    if (now >= c->want_after) {
        grant_want(c->node);
        c->want_after = now + FETCH_WANT_NS;
    }
}

/* Its turn has come. False: there is no room for it, and none for those behind it. */
static bool begin(struct cluster *c, struct fetch *p)
{
    mob_status st = place(p);
    /* A fold does not wait for room: what takes it may be another one, which waits for a node that waits for us. */
    if (st == MOB_ERR_NOMEM && !p->want.fold) {
        ask_for_room(c);
        fetch_retry_later(c);
        return false;
    }
    if (st) {
        drop_waiting(p, st);
        return true;
    }
    pull_line_begin(&c->line, &p->entry);
    set_begun(p, true);
    if (p->want.begun) {
        p->want.begun(p);
    }
    if (p->owner == c->self) {
        memcpy(p->copy.dst, p->want.bytes, p->want.size);
        over(p, MOB_OK);
    } else {
        fetch_ask(p);
    }
    return true;
}

/* How urgent it is that the record is there, by who waits for it. */
static enum pull_urgency urgency(const struct fetch *p)
{
    uint64_t s;
    if (p->want.fold) { /* of a task, here or behind the node that asked */
        return PULL_ARGUMENT;
    }
    struct record *r =
        p->want.ours == LINK_NONE ? NULL : lane_find(&p->job->lane, p->want.ours, &s);
    if (!r) {
        return p->want.ours == LINK_NONE ? PULL_PROGRAM : PULL_LATER;
    }
    if (s & STATE_WAITERS || (p->want.kind == WIRE_RESULT && state_sealed(s))) {
        return PULL_GET; /* of a sealed one only what is wanted comes */
    }
    if (s & STATE_NOTIFY) {
        return PULL_WAIT;
    }
    return at_load(&r->succ, AT_RELAXED) == SUCC_EMPTY ? PULL_LATER : PULL_ARGUMENT;
}

static unsigned look_at(struct cluster *c, struct pull_source *s, unsigned left)
{
    for (int u = 0; u < PULL_URGENCIES; u++) {
        struct pull_entry *next;
        for (struct pull_entry *e = s->first[u]; e && left > 0; e = next, left--) {
            next = e->next;
            pull_line_urgent(&c->line, e, urgency(of(e)));
        }
    }
    return left;
}

/* Who waits for what may have changed since a pull came into its line; nobody tells. */
static void look(struct cluster *c)
{
    uint64_t now = loop_now_ns(c->node->loop);
    unsigned left = FETCH_LOOK_MAX;
    if (c->line.waiting == 0 || now < c->look_after) {
        return;
    }
    c->look_after = now + FETCH_LOOK_NS;
    for (struct peer *p = c->peers; p && left > 0; p = p->next) {
        left = p->line.waiting ? look_at(c, &p->line, left) : left;
    }
}

void fetch_pump(struct cluster *c)
{
    struct pull_entry *next;
    look(c);
    while ((next = pull_line_next(&c->line)) && begin(c, of(next))) {
    }
}

static void retry(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, retry);
    struct fetch *next;
    for (struct fetch *p = c->pulls; p; p = next) {
        next = p->next;
        if (p->state == FETCH_RESTING) {
            set_begun(p, false);
            p->state = FETCH_WAITING;
            pull_line_add(&c->line, &p->owner->line, &p->entry);
        }
    }
    for (struct peer *p = c->peers; p; p = p->next) {
        fetch_peer_ready(p);
    }
    fetch_pump(c);
    plan_arm(c->node);
}

void fetch_retry_later(struct cluster *c)
{
    if (!c->retry.active && !c->closing) {
        loop_timer_start(c->node->loop, &c->retry,
                         loop_now_ns(c->node->loop) + FETCH_RETRY_NS, retry);
    }
}

void fetch_start(struct job *j, struct peer *owner, const struct fetch_want *want)
{
    struct cluster *c = j->node->cluster;
    struct fetch *p = calloc(1, sizeof *p);
    MOB_ASSERT(p); /* 400 bytes: a daemon that has not even that cannot go on */
    p->job = j;
    p->owner = p->source = owner ? owner : c->self;
    p->want = *want;
    p->copy.dst = want->dst;
    p->copy.size = want->size;
    p->copy.fold = want->fold;
    p->entry.bytes = want->size;
    p->entry.urgency = urgency(p);
    p->owner->pulls += 2;
    j->busy++;
    if (want->handle) {
        *want->handle = p;
    }
    pull_line_add(&c->line, &p->owner->line, &p->entry);
    if (too_large(p)) {
        drop_waiting(p, MOB_ERR_NOMEM);
    } else {
        fetch_pump(c);
    }
}

/* ---- not wanted any more ---------------------------------------------------------------------------- */

void fetch_unwanted(struct fetch *p)
{
    switch (p->state) {
    case FETCH_WAITING:
        drop_waiting(p, MOB_ERR_CANCELLED);
        return;
    case FETCH_MOVING:
        p->cancelled = true;
        transport_cancel(&p->copy.xfer);
        return;
    case FETCH_REACHING:
    case FETCH_REDIRECTED:
    case FETCH_RESTING:
        fetch_fail(p, MOB_ERR_CANCELLED);
        return;
    case FETCH_REVOKED:
    case FETCH_OVER:
        return;
    }
}

/* Some pull that waits in the line of @peer, of @only if that is not NULL. */
static struct fetch *waiting_of(struct peer *peer, const struct job *only)
{
    for (int u = 0; u < PULL_URGENCIES; u++) {
        for (struct pull_entry *e = peer->line.first[u]; e; e = e->next) {
            /* Who is freed has left the line, which is not seen from here. */
            struct fetch *p = of(e);       /* NOLINT(clang-analyzer-unix.Malloc) */
            if (!only || p->job == only) { /* NOLINT(clang-analyzer-unix.Malloc) */
                return p;
            }
        }
    }
    return NULL;
}

void fetch_end_job(struct job *j)
{
    struct cluster *c = j->node->cluster;
    struct fetch *p;
    if (!c) {
        return;
    }
    j->busy++; /* so that it is still there at the end of this */
    for (struct peer *peer = c->peers; peer; peer = peer->next) {
        while ((p = waiting_of(peer, j))) {
            drop_waiting(p, MOB_ERR_CANCELLED);
        }
    }
    for (p = c->pulls; p;) {
        struct fetch *next = p->next;
        if (p->job == j && !p->cancelled && p->state != FETCH_REVOKED) {
            fetch_unwanted(p);
            next = c->pulls; /* others may have ended with it */
        }
        p = next;
    }
    j->busy--;
}

void fetch_peer_lost(struct peer *peer)
{
    struct cluster *c = peer->cluster;
    struct fetch *p;
    while ((p = waiting_of(peer, NULL))) {
        drop_waiting(p, MOB_ERR_PEER_LOST);
    }
    for (p = c->pulls; p;) {
        struct fetch *next = p->next; /* NOLINT(clang-analyzer-unix.Malloc): as above */
        if (p->owner != peer || p->state == FETCH_REVOKED || p->cancelled) {
            /* not its object, or over soon */
        } else if (p->state != FETCH_MOVING) {
            fetch_fail(p, MOB_ERR_PEER_LOST);
            next = c->pulls;
        } else if (p->source != peer) { /* else the transport has ended it, or will */
            p->cancelled = true;
            transport_cancel(&p->copy.xfer);
        }
        p = next;
    }
    fetch_source_lost(peer);
}
