/* fetch_source.c - where the bytes of a pull come from: its owner, or a node that the owner names. */
#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "scheduler/spread.h"

static struct cluster *cluster_of(const struct fetch *p)
{
    return p->job->node->cluster;
}

static void set_source(struct fetch *p, struct peer *source)
{
    if (p->source != source) {
        p->source->pulls--;
        source->pulls++;
        p->source = source;
    }
    if (p->entry.source != &source->line) {
        pull_line_move(&p->entry, &source->line);
    }
}

/* Whether the owner may name another source: not for what only it has, nor for what is soon here. */
static bool may_spread(const struct fetch *p)
{
    return p->want.kind == WIRE_ARGUMENT && p->want.size >= SPREAD_BYTES_MIN;
}

/* Begins the transfer from the pull's source, or waits for a connection to it. */
static void go(struct fetch *p)
{
    struct cluster *c = cluster_of(p);
    struct wire_name name = {p->want.kind, p->want.number, p->want.link, p->want.node,
                             p->want.token};
    p->state = FETCH_REACHING;
    if (!p->source->links[0]) {
        cluster_dial(p->source);
        if (!p->source->dial && p->source != p->owner) {
            copy_useless(&p->copy);
            fetch_ask(p);
        }
        return;
    }
    bool owner = p->source == p->owner;
    if (!owner) {
        name.kind = WIRE_COPIED;
        name.node = p->owner->id;
        name.word = p->job->guest->token;
    } else if (may_spread(p)) {
        copy_ask(&p->copy, &name, ++c->last_question, c->self->id);
    }
    mob_status st =
        copy_pull(&p->copy, p->source->links[0], owner ? 0 : p->source->id, &name);
    if (st == MOB_OK) {
        p->state = FETCH_MOVING;
        p->begun_ns = p->begun_ns ? p->begun_ns : timeline_now(p->job->node);
    } else {
        fetch_retry_later(c); /* or the connection's end comes, or room on it */
    }
}

void fetch_ask(struct fetch *p)
{
    set_source(p, p->owner);
    go(p);
}

/* From the node that the owner has named. */
static void go_on(struct fetch *p)
{
    struct cluster *c = cluster_of(p);
    struct peer *source = cluster_peer(c, p->copy.named);
    if (source && source != c->self && source != p->owner && p->job->guest &&
        cluster_reachable(source)) {
        log_debug("an object of %llu bytes comes from node %s, from byte %llu on",
                  (unsigned long long)p->want.size, source->host,
                  (unsigned long long)p->copy.ready);
        set_source(p, source);
        go(p);
        return;
    }
    copy_useless(&p->copy);
    fetch_ask(p);
}

bool fetch_named(struct peer *owner, uint32_t number, struct codec_reader *r)
{
    uint64_t link = codec_get_u64(r), question = codec_get_u64(r),
             node = codec_get_u64(r);
    if (!codec_done(r)) {
        return false;
    }
    for (struct fetch *p = owner->cluster->pulls; p; p = p->next) {
        if (p->owner == owner && p->want.kind == WIRE_ARGUMENT &&
            p->want.number == number && p->want.link == link &&
            copy_answer(&p->copy, question, node)) {
            if (p->state == FETCH_REDIRECTED) {
                go_on(p);
            }
            return true;
        }
    }
    return true; /* it is over meanwhile */
}

void fetch_tell(struct job *j, uint64_t theirs, bool whole)
{
    if (!j->guest || j->guest->owner == j->node->cluster->self) {
        return;
    }
    struct codec_writer w = cluster_begin(j->node->cluster, WIRE_COPY);
    codec_put_u32(&w, j->guest->number);
    codec_put_u64(&w, theirs);
    codec_put_u8(&w, whole);
    cluster_send(j->guest->owner, &w);
}

/* ---- the transport's words -------------------------------------------------------------------------- */

void fetch_landed(void *cluster, struct transport_xfer *xfer)
{
    (void)cluster;
    copy_landed(&LOOP_OWNER(xfer, struct fetch, copy.xfer)->copy);
}

/* The owner is not ready; or damaged bytes came from it. */
static void rest(struct fetch *p, mob_status st)
{
    struct cluster *c = cluster_of(p);
    if (!p->owner->links[0]) {
        fetch_fail(p, MOB_ERR_PEER_LOST);
        return;
    }
    if (st != MOB_ERR_PROTOCOL) { /* as for each object that lies on the other's disk */
        log_debug("a pull from node %s comes again: the other side is not ready",
                  p->owner->host);
    } else {
        log_warn("a pull from node %s is repeated: %s", p->owner->host,
                 mob_status_text(st));
    }
    pull_line_end(&c->line, &p->entry);
    p->state = FETCH_RESTING;
    fetch_retry_later(c);
}

static void next_step(struct fetch *p, mob_status st)
{
    const struct peer *source = p->source;
    enum copy_next next = copy_pulled(&p->copy, st);
    if (next == COPY_WHOLE) {
        fetch_here(p);
    } else if (p->cancelled) {
        fetch_fail(p, p->owner->links[0] ? MOB_ERR_CANCELLED : MOB_ERR_PEER_LOST);
    } else if (next == COPY_ASK) {
        log_info("a copy comes no more from node %s, after %llu of %llu bytes: %s",
                 source->host, (unsigned long long)p->copy.ready,
                 (unsigned long long)p->want.size, mob_status_text(st));
        fetch_ask(p);
    } else if (next == COPY_LATER) {
        rest(p, st);
    } else if (next == COPY_FAILED) {
        fetch_fail(p, st);
    } else {
        p->state = FETCH_REDIRECTED;
        if (p->copy.named) {
            go_on(p);
        }
    }
}

void fetch_done(void *cluster, struct transport_xfer *xfer, mob_status st)
{
    struct cluster *c = cluster;
    next_step(LOOP_OWNER(xfer, struct fetch, copy.xfer), st);
    fetch_pump(c);
    plan_arm(c->node);
}

void fetch_peer_ready(struct peer *peer)
{
    for (struct fetch *p = peer->cluster->pulls; p; p = p->next) {
        if (p->state == FETCH_REACHING && p->source == peer && peer->links[0]) {
            go(p);
        }
    }
}

void fetch_source_lost(struct peer *peer)
{
    for (struct fetch *p = peer->cluster->pulls; p; p = p->next) {
        if (p->state == FETCH_REACHING && p->source == peer && p->owner != peer) {
            copy_useless(&p->copy);
            fetch_ask(p);
        }
    }
}
