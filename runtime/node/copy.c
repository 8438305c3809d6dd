#include "copy.h"

void copy_ask(struct copy *c, struct wire_name *io_name, uint64_t number, uint64_t self)
{
    c->ask = number;
    c->named = 0;
    io_name->node = number && c->turns >= COPY_TURNS ? self : number ? c->failed : 0;
    io_name->word = number;
}

mob_status copy_pull(struct copy *c, struct transport_peer *peer, uint64_t source,
                     const struct wire_name *name)
{
    struct transport_source from = {.offset = c->ready, .size = c->size - c->ready};
    wire_put_name(from.object, name);
    c->begun = c->ready;
    c->source = source;
    return transport_pull(peer, &from, c->dst + c->ready, &c->xfer);
}

/* What has arrived, up to @there; part of a number waits for the rest of it. Returns how far it came. */
static uint64_t fold_arrived(struct copy *c, uint64_t there)
{
    const struct copy_fold *f = c->fold;
    const void *from[FOLD_ARRAYS_MAX];
    size_t item = fold_item(f->type);
    there -= there % item;
    for (size_t i = 0; i < f->count; i++) {
        from[i] = (const uint8_t *)f->arrays[i] + c->ready;
    }
    fold_onto(f->op, f->type, c->dst + c->ready, from, f->count,
              (there - c->ready) / item);
    return there;
}

void copy_landed(struct copy *c)
{
    uint64_t there = c->begun + c->xfer.received;
    c->ready = c->fold ? fold_arrived(c, there) : there;
    for (struct copy_export *e = c->exports; e; e = e->next) {
        transport_grown(e->peer, e->cookie);
    }
}

enum copy_next copy_pulled(struct copy *c, mob_status st)
{
    if (c->xfer.received > 0) {
        c->tries = 0;
    } else if (st == MOB_ERR_PROTOCOL) {
        c->tries++;
    }
    if (c->begun + c->xfer.received > c->ready) {
        copy_landed(c);
    }
    if (st == MOB_OK) {
        return COPY_WHOLE;
    }
    if (c->source) {
        copy_useless(c);
        return COPY_ASK;
    }
    if (st == MOB_ERR_EXISTS && c->ask) {
        return COPY_ELSEWHERE;
    }
    /* A side that is out of memory has some again; here there was room before anything was asked for. */
    bool again = st == MOB_ERR_FULL || st == MOB_ERR_NOMEM ||
                 (st == MOB_ERR_PROTOCOL && c->tries < COPY_TRIES);
    return again ? COPY_LATER : COPY_FAILED;
}

bool copy_answer(struct copy *c, uint64_t number, uint64_t node)
{
    bool ours = number == c->ask && number != 0 && c->named == 0 && node != 0;
    c->named = ours ? node : c->named;
    return ours;
}

void copy_useless(struct copy *c)
{
    c->failed = c->source ? c->source : c->named;
    c->source = 0;
    c->turns++;
}

void copy_export(struct copy *c, struct copy_export *e, struct transport_peer *peer,
                 struct transport_export *io_export)
{
    e->peer = peer;
    e->cookie = io_export->cookie;
    e->next = c->exports;
    e->at = &c->exports;
    if (e->next) {
        e->next->at = &e->next;
    }
    c->exports = e;
    io_export->base = c->dst;
    io_export->size = c->size;
    io_export->ready = &c->ready;
}

void copy_unexport(struct copy_export *e)
{
    *e->at = e->next;
    if (e->next) {
        e->next->at = e->at;
    }
    e->at = NULL;
}

void copy_revoke(struct copy *c, mob_status st)
{
    for (struct copy_export *e = c->exports; e; e = e->next) {
        transport_revoke(e->peer, e->cookie, st);
    }
}
