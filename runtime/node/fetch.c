/* fetch.c - objects on their way: pulled from other nodes into this node's shared memory, and shown
 * to others who pull.
 *
 *   waiting (in its peer's line) --room, and a place--> active --pulled--> done
 *
 * A place is taken only when a pull's turn comes, so that what is on its way is bounded by
 * PEER_FETCHES, not by how much was asked for. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "spill.h"

enum { TRIES = 4 }; /* of a pull whose bytes arrive damaged */

/* ---- pulling ------------------------------------------------------------------------------------- */

static void to_line(struct peer *p, struct fetch *f)
{
    f->next = NULL;
    *p->waiting_end = f;
    p->waiting_end = &f->next;
}

static void set_active(struct cluster *c, struct fetch *f, bool active)
{
    if (active) {
        f->prev = NULL;
        f->next = c->fetches;
        if (f->next) {
            f->next->prev = f;
        }
        c->fetches = f;
    } else {
        if (f->prev) {
            f->prev->next = f->next;
        } else {
            c->fetches = f->next;
        }
        if (f->next) {
            f->next->prev = f->prev;
        }
    }
    f->active = active;
}

static void finish(struct fetch *f, mob_status st)
{
    struct job *j = f->job;
    if (f->placed && st) {
        grant_unplace(j, &f->place);
    } else if (f->placed) {
        grant_landed(j, &f->place);
    }
    j->busy--;
    f->done(f, st);
    free(f->copy);
    free(f);
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}

static void retry_later(struct cluster *c);

/* More than the store may have beside the board: there will never be room. */
static bool too_large(const struct fetch *f)
{
    uint64_t limit = f->job->node->budget.limit_bytes, least = job_least_bytes();
    return !f->dst && (limit < least || f->source.size > limit - least);
}

/* MOB_ERR_NOMEM: the store is full, and it is tried again. */
static mob_status place(struct fetch *f)
{
    if (f->dst) {
        return MOB_OK;
    }
    mob_status st = grant_place(f->job, f->source.size, &f->place, &f->dst);
    if (st == MOB_ERR_NOMEM && f->job->guest) {
        standin_evict(f->job, 0);
        st = grant_place(f->job, f->source.size, &f->place, &f->dst);
    }
    f->placed = st == MOB_OK;
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

static mob_status start(struct peer *p, struct fetch *f)
{
    MOB_TRY(place(f));
    if (p == p->cluster->self) {
        memcpy(f->dst, f->copy, f->source.size);
        return MOB_OK;
    }
    return transport_pull(p->links[0], &f->source, f->dst, &f->xfer);
}

void fetch_pump(struct peer *p)
{
    struct cluster *c = p->cluster;
    bool local = p == c->self;
    while (p->waiting && p->fetching < PEER_FETCHES && (local || p->links[0])) {
        struct fetch *f = p->waiting;
        mob_status st = start(p, f);
        if (st == MOB_ERR_NOMEM && !too_large(f)) {
            ask_for_room(c);
            retry_later(c);
            return;
        }
        if (st == MOB_ERR_FULL) {
            return; /* writable() comes */
        }
        p->waiting = f->next;
        if (!p->waiting) {
            p->waiting_end = &p->waiting;
        }
        if (st || local) {
            finish(f, st);
        } else {
            p->fetching++;
            set_active(c, f, true);
        }
    }
}

static void retry(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, retry);
    for (struct peer *p = c->peers; p; p = p->next) {
        fetch_pump(p);
    }
    plan_arm(c->node);
}

static void retry_later(struct cluster *c)
{
    if (!c->retry.active && !c->closing) {
        loop_timer_start(c->node->loop, &c->retry,
                         loop_now_ns(c->node->loop) + FETCH_RETRY_NS, retry);
    }
}

void fetch_start(struct job *j, struct peer *p, enum wire_object kind, uint32_t number,
                 uint64_t link, uint64_t size, void *dst, void *copy, fetch_done done,
                 void *arg, uint64_t tag)
{
    struct fetch *f = calloc(1, sizeof *f);
    struct peer *from = p ? p : j->node->cluster->self;
    MOB_ASSERT(f); /* 200 bytes: a daemon that has not even that cannot go on */
    f->job = j;
    f->peer = from;
    f->dst = dst;
    f->copy = copy;
    f->done = done;
    f->arg = arg;
    f->tag = tag;
    f->source.size = size;
    wire_name(f->source.object, kind, number, link);
    j->busy++;
    to_line(from, f);
    fetch_pump(from);
}

void fetch_pulled(void *cluster, struct transport_xfer *xfer, mob_status st)
{
    struct cluster *c = cluster;
    struct fetch *f = LOOP_OWNER(xfer, struct fetch, xfer);
    struct peer *p = f->peer;
    set_active(c, f, false);
    p->fetching--;
    bool again = (st == MOB_ERR_PROTOCOL && ++f->tries < TRIES) || st == MOB_ERR_FULL;
    if (again && !f->cancelled && p->links[0]) {
        if (st == MOB_ERR_FULL) { /* as for each object that lies on the other's disk */
            log_debug("a pull from node %s comes again: the other side is not ready",
                      p->host);
        } else {
            log_warn("a pull from node %s is repeated: %s", p->host, mob_status_text(st));
        }
        to_line(p, f);
        retry_later(c); /* not at once: the other side may be short of something */
        return;
    }
    if (f->cancelled) {
        st = MOB_ERR_CANCELLED;
    }
    finish(f, st);
    fetch_pump(p);
    plan_arm(c->node);
}

/* Ends the waiting pulls of @p, of one job or of all. */
static void drop_waiting(struct peer *p, const struct job *only, mob_status st)
{
    struct fetch *f = p->waiting;
    p->waiting = NULL;
    p->waiting_end = &p->waiting;
    while (f) {
        struct fetch *next = f->next;
        if (only && f->job != only) {
            to_line(p, f);
        } else {
            finish(f, st);
        }
        f = next;
    }
}

void fetch_peer_lost(struct peer *p)
{
    drop_waiting(p, NULL,
                 MOB_ERR_PEER_LOST); /* active ones were ended by the transport */
}

void fetch_end_job(struct job *j)
{
    struct cluster *c = j->node->cluster;
    if (!c) {
        return;
    }
    for (struct fetch *f = c->fetches; f; f = f->next) {
        if (f->job == j && !f->cancelled) {
            f->cancelled = true;
            transport_cancel(&f->xfer);
        }
    }
    for (struct peer *p = c->peers; p; p = p->next) {
        drop_waiting(p, j, MOB_ERR_CANCELLED);
    }
}

/* ---- shown to others --------------------------------------------------------------------------------- */

struct export_pin {
    struct job *job;
    uint64_t pin;
    bool pinned;
    void *map; /* of an executable */
    size_t map_size;
};

static mob_status export_record(struct job *j, uint64_t link, struct export_pin *e,
                                struct transport_export *ret)
{
    struct record *r;
    struct place p;
    MOB_TRY(grant_resolve(j, &link, &r, &p));
    if (p.kind == PLACE_SPILLED) { /* asked for again, when it may be here */
        spill_restore(j, link);
        return MOB_ERR_FULL;
    }
    MOB_TRY(lane_pin(&j->lane, link, &e->pin));
    mob_status st = grant_read(j, r, &p, &ret->base);
    if (st) {
        lane_unpin(&j->lane, e->pin);
        return st;
    }
    e->pinned = true;
    ret->size = p.size;
    return MOB_OK;
}

static mob_status export_exe(struct job *j, struct export_pin *e,
                             struct transport_export *ret)
{
    struct away_job *a = &j->away;
    if (!a->hashed || a->exe < 0 || a->exe_size == 0) {
        return MOB_ERR_NOT_FOUND;
    }
    void *map = mmap(NULL, a->exe_size, PROT_READ, MAP_SHARED, a->exe, 0);
    if (map == MAP_FAILED) {
        return MOB_ERR_NOMEM;
    }
    e->map = map;
    e->map_size = a->exe_size;
    ret->base = map;
    ret->size = a->exe_size;
    return MOB_OK;
}

mob_status fetch_export(void *cluster, struct transport_peer *tp,
                        const uint8_t name[TRANSPORT_OBJECT_BYTES],
                        struct transport_export *ret)
{
    struct cluster *c = cluster;
    struct peer *p = tp->tag;
    enum wire_object kind;
    uint32_t number;
    uint64_t link;
    if (!p || (void *)p == cluster || !wire_unname(name, &kind, &number, &link)) {
        return MOB_ERR_NOT_FOUND;
    }
    if (kind == WIRE_PROBE) {
        return probe_export(c, ret);
    }
    struct job *j =
        kind == WIRE_RESULT ? guest_find(c, p, number) : job_find(c->node, number);
    if (!j || j->ended || (kind != WIRE_RESULT && !away_host_of(j, p))) {
        return MOB_ERR_NOT_FOUND;
    }
    struct export_pin *e = calloc(1, sizeof *e);
    if (!e) {
        return MOB_ERR_NOMEM;
    }
    mob_status st = MOB_OK;
    if (kind == WIRE_EXECUTABLE) {
        st = export_exe(j, e, ret);
    } else if (kind == WIRE_START) {
        ret->base = j->away.start;
        ret->size = j->away.start_size;
        st = j->away.start ? MOB_OK : MOB_ERR_NOT_FOUND;
    } else {
        st = export_record(j, link, e, ret);
        if (!st && kind == WIRE_ARGUMENT) {
            hint_there(away_host_of(j, p), link, ret->size);
        }
    }
    if (st) {
        free(e);
        return st;
    }
    e->job = j;
    j->busy++;
    ret->cookie = (uint64_t)(uintptr_t)e;
    return MOB_OK;
}

void fetch_unexport(void *cluster, struct transport_peer *tp,
                    const struct transport_export *exported)
{
    if (exported->cookie & 1) { /* a probe's, which nothing holds */
        return;
    }
    struct export_pin *e = (struct export_pin *)(uintptr_t)exported->cookie;
    struct job *j = e->job;
    (void)cluster;
    (void)tp;
    if (e->pinned) {
        lane_unpin(&j->lane, e->pin);
    }
    if (e->map) {
        munmap(e->map, e->map_size);
    }
    free(e);
    j->busy--;
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}
