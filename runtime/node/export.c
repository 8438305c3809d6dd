/* export.c - what other nodes pull from here: objects of ours, results of their tasks, programs, and copies
 * of other nodes' objects, of which some bytes may still be on their way.
 *
 * Who may have what: a node that works for a job has that job's arguments and program; the owner of a task has
 * its results; and a node that knows the job's token, which its owner tells those that work for it alone, has
 * copies of the job's arguments. */
#include <stdlib.h>
#include <sys/mman.h>

#include "cluster.h"
#include "core/status.h"
#include "scheduler/spread.h"
#include "spill.h"

struct export_pin {
    struct job *job;
    uint64_t pin;
    bool pinned;
    void *map; /* of an executable */
    size_t map_size;
    struct fetch *pull; /* of a copy that is on its way, or was */
    struct fold *fold;
    struct copy_export copy;
};

static mob_status export_record(struct job *j, uint64_t link, struct export_pin *e,
                                struct transport_export *ret)
{
    struct record *r;
    struct place p;
    MOB_TRY(grant_resolve(j, &link, &r, &p));
    if (p.kind == PLACE_SPILLED || p.kind == PLACE_AWAY) {
        spill_restore(j, link); /* asked for again, when it may be here */
        lineage_want(j, link);
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

/* MOB_ERR_EXISTS: another node is to be asked, and the peer was told which. */
static mob_status redirect(struct job *j, struct peer *p, const struct wire_name *name,
                           uint64_t size)
{
    struct cluster *c = p->cluster;
    uint64_t from = spread_ask(c->spread, (struct spread_object){j->number, name->link},
                               size, p->id, name->node);
    if (from == c->self->id) {
        return MOB_OK;
    }
    struct codec_writer w = cluster_begin(c, WIRE_SOURCE);
    codec_put_u32(&w, j->number);
    codec_put_u64(&w, name->link);
    codec_put_u64(&w, name->word);
    codec_put_u64(&w, from);
    cluster_send(p, &w);
    return MOB_ERR_EXISTS;
}

static mob_status export_argument(struct job *j, struct peer *p,
                                  const struct wire_name *name, struct export_pin *e,
                                  struct transport_export *ret)
{
    uint64_t link = name->link;
    struct record *r;
    struct place place;
    MOB_TRY(grant_resolve(j, &link, &r, &place));
    if (name->word && place.kind != PLACE_AWAY) {
        MOB_TRY(redirect(j, p, name, place.size));
    }
    MOB_TRY(export_record(j, link, e, ret));
    if (!name->word) {
        hint_there(j, p, name->link, ret->size);
    }
    return MOB_OK;
}

/* A copy of another node's object, for a third one. */
static mob_status export_copy(struct job *j, struct transport_peer *tp,
                              const struct wire_name *name, struct export_pin *e,
                              struct transport_export *ret)
{
    struct fetch *arriving;
    uint64_t ours;
    if (!standin_find(j, name->link, &ours, &arriving)) {
        return MOB_ERR_NOT_FOUND;
    }
    if (!arriving) {
        return export_record(j, ours, e, ret);
    }
    bool begun = arriving->state >= FETCH_REACHING && arriving->state <= FETCH_RESTING;
    if (!begun || arriving->cancelled || !lane_pin_open(&j->lane, ours, &e->pin)) {
        return MOB_ERR_NOT_FOUND;
    }
    e->pinned = true;
    e->pull = arriving;
    copy_export(&arriving->copy, &e->copy, tp, ret);
    return MOB_OK;
}

static mob_status export_fold(struct job *j, struct transport_peer *tp, uint64_t number,
                              struct export_pin *e, struct transport_export *ret)
{
    MOB_TRY(fold_export(j, tp->tag, number, &e->fold, &e->pull, ret));
    if (e->pull) {
        copy_export(&e->pull->copy, &e->copy, tp, ret);
    }
    return MOB_OK;
}

static mob_status show(struct job *j, struct transport_peer *tp,
                       const struct wire_name *name, struct export_pin *e,
                       struct transport_export *ret)
{
    switch (name->kind) {
    case WIRE_EXECUTABLE:
        return export_exe(j, e, ret);
    case WIRE_START:
        ret->base = j->away.start;
        ret->size = j->away.start_size;
        return j->away.start ? MOB_OK : MOB_ERR_NOT_FOUND;
    case WIRE_ARGUMENT:
        return export_argument(j, tp->tag, name, e, ret);
    case WIRE_COPIED:
        return name->node == j->node->cluster->self->id
                   ? export_record(j, name->link, e, ret)
                   : export_copy(j, tp, name, e, ret);
    case WIRE_FOLDED:
        return export_fold(j, tp, name->link, e, ret);
    case WIRE_RESULT:
        return export_record(j, name->link, e, ret);
    case WIRE_PROBE: /* of no job */
        break;
    }
    return MOB_ERR_NOT_FOUND;
}

struct job *export_job(struct cluster *c, struct peer *p, uint64_t node, uint32_t number,
                       uint64_t token)
{
    struct peer *owner = cluster_peer(c, node);
    if (owner == c->self) {
        struct job *j = job_find(c->node, number);
        return j && away_host_of(j, p) && j->away.token == token ? j : NULL;
    }
    struct job *j = owner ? guest_find(c, owner, number) : NULL;
    return j && j->guest->token == token ? j : NULL;
}

/* The job that is meant, if that peer may pull this of it. */
static struct job *job_of(struct cluster *c, struct peer *p, const struct wire_name *name)
{
    struct job *j;
    if (name->kind == WIRE_RESULT) {
        return guest_find(c, p, name->job);
    }
    if (name->kind == WIRE_COPIED || name->kind == WIRE_FOLDED) {
        return export_job(c, p, name->node, name->job, name->word);
    }
    j = job_find(c->node, name->job);
    return j && away_host_of(j, p) ? j : NULL;
}

mob_status export_object(void *cluster, struct transport_peer *tp,
                         const uint8_t bytes[TRANSPORT_OBJECT_BYTES],
                         struct transport_export *ret)
{
    struct cluster *c = cluster;
    struct peer *p = tp->tag;
    struct wire_name name;
    if (!p || (void *)p == cluster || !wire_get_name(bytes, &name)) {
        return MOB_ERR_NOT_FOUND;
    }
    if (name.kind == WIRE_PROBE) {
        return probe_export(c, ret);
    }
    struct job *j = job_of(c, p, &name);
    if (!j || j->ended) {
        return MOB_ERR_NOT_FOUND;
    }
    struct export_pin *e = calloc(1, sizeof *e);
    if (!e) {
        return MOB_ERR_NOMEM;
    }
    struct transport_export it = {.cookie = (uint64_t)(uintptr_t)e};
    mob_status st = show(j, tp, &name, e, &it);
    if (st) {
        free(e);
        return st;
    }
    *ret = it;
    e->job = j;
    j->busy++;
    return MOB_OK;
}

void export_over(void *cluster, struct transport_peer *tp,
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
    if (e->pull) {
        copy_unexport(&e->copy);
        fetch_unexported(e->pull);
    }
    if (e->fold) {
        fold_unexported(e->fold);
    }
    free(e);
    j->busy--;
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}
