/* Pulls, as the puller sees them: whom they are asked of, and their ends.
 *
 *   WAITING -> ASKED -> READING -> ENDING      any -> OWED -> UNDER -> (done)
 *
 * The owner is told of the end once nothing is read any more, and, where the backend below
 * goes on with it, after that was asked: so its export is never given back in between. */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/codec.h"
#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

static void finish(struct verbs_pull *pull, mob_status status)
{
    struct verbs_peer *peer = pull->peer;
    struct transport_xfer *xfer = pull->user;
    peer->pulls[pull->id % TRANSPORT_PULLS_MAX] = NULL;
    peer->pulls_count--;
    verbs_read_free(pull);
    free(pull);
    xfer->backend = NULL;
    user_pull_done(&peer->base, xfer, status);
    verbs_check_room(peer);
}

static void tell_end(struct verbs_pull *pull)
{
    uint8_t out[VERBS_SMALL_BYTES];
    if (pull->told) {
        pull->told = false;
        verbs_tell(pull->peer, VERBS_END, out,
                   verbs_pair_put(pull->id, pull->rdma_bytes, out));
    }
}

static void ending(struct verbs_pull *pull, mob_status status)
{
    pull->status = status;
    pull->state = PULL_ENDING;
    tell_end(pull);
    verbs_touch(pull->peer);
}

void verbs_pull_stop(struct verbs_pull *pull, mob_status status)
{
    switch (pull->state) {
    case PULL_WAITING:
    case PULL_ASKED:
    case PULL_OWED:
        ending(pull, status);
        return;
    case PULL_READING: /* ends when what is on its way has landed */
        pull->status = pull->status != MOB_OK ? pull->status : status;
        verbs_touch(pull->peer);
        return;
    case PULL_UNDER:
    case PULL_ENDING:
        return;
    }
}

void verbs_pulls_end(struct verbs_peer *peer, mob_status status)
{
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        if (peer->pulls[i] != NULL) {
            verbs_pull_stop(peer->pulls[i], status);
        }
    }
}

/* ---- the backend below
 * ------------------------------------------------------------------- */

static mob_status start_under(struct verbs_pull *pull)
{
    struct transport_source source = pull->source;
    pull->base = pull->user->received;
    source.offset += pull->base;
    source.size -= pull->base;
    MOB_TRY(
        transport_pull(pull->peer->under, &source, pull->dst + pull->base, &pull->under));
    pull->state = PULL_UNDER;
    return MOB_OK;
}

void verbs_pull_go_under(struct verbs_pull *pull)
{
    mob_status st = pull->peer->state == VPEER_UP ? start_under(pull) : MOB_ERR_PEER_LOST;
    if (st == MOB_OK) {
        tell_end(pull);
        verbs_read_free(pull);
    } else if (st == MOB_ERR_FULL) {
        pull->state = PULL_OWED;
    } else {
        ending(pull, st == MOB_ERR_NOMEM ? st : MOB_ERR_PEER_LOST);
    }
}

void verbs_under_landed(struct verbs_pull *pull)
{
    pull->user->received = pull->base + pull->under.received;
    user_landed(&pull->peer->base, pull->user);
}

void verbs_under_pull_done(struct verbs_pull *pull, mob_status status)
{
    pull->user->received = pull->base + pull->under.received;
    if (status == MOB_ERR_CLOSED && pull->peer->status == MOB_ERR_PROTOCOL) {
        status = MOB_ERR_PEER_LOST; /* the peer was closed for what it sent */
    }
    finish(pull, status);
}

/* ---- asking
 * ------------------------------------------------------------------------------ */

static void ask(struct verbs_pull *pull)
{
    struct verbs_ask m = {pull->id, pull->source};
    uint8_t out[VERBS_SMALL_BYTES];
    pull->state = PULL_ASKED;
    pull->told = true;
    verbs_tell(pull->peer, VERBS_ASK, out, verbs_ask_put(&m, out));
}

enum way { WAY_VERBS, WAY_UNDER, WAY_WAIT };

static enum way choose(struct verbs_pull *pull)
{
    struct verbs_peer *peer = pull->peer;
    uint64_t size = pull->source.size;
    if (peer->v->rails_count == 0 || size == 0 ||
        (size > VERBS_INLINE_MAX &&
         verbs_memory_covers(peer->v, pull->dst, size, true) == VERBS_MEMORY_NONE)) {
        return WAY_UNDER;
    }
    bool coming = verbs_links_want(peer);
    if (verbs_links_up(peer)) {
        return WAY_VERBS;
    }
    return coming && size >= VERBS_WAIT_BYTES &&
                   verbs_now(peer->v) - pull->since_ns < VERBS_WAIT_NS
               ? WAY_WAIT
               : WAY_UNDER;
}

static void wait_for_link(struct verbs_pull *pull)
{
    pull->state = PULL_WAITING;
    verbs_be_patient(pull->peer, VERBS_WAIT_NS);
}

mob_status verbs_pull_begin(struct transport_peer *base,
                            const struct transport_source *source, void *dst,
                            struct transport_xfer *xfer)
{
    struct verbs_peer *peer = verbs_peer_of(base);
    unsigned slot = 0;
    if (peer->state != VPEER_UP) {
        return status_fail(MOB_ERR_STATE, "%s is not connected", peer->address);
    }
    if (source->size > UINT64_MAX - source->offset) {
        return status_fail(MOB_ERR_INVALID, "a pull past the end of all numbers");
    }
    if (peer->pulls_count == TRANSPORT_PULLS_MAX) {
        peer->wants_room = true;
        return MOB_ERR_FULL;
    }
    while (peer->pulls[slot] != NULL) {
        slot++;
    }
    struct verbs_pull *pull = calloc(1, sizeof *pull);
    if (pull == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a pull");
    }
    *xfer = (struct transport_xfer){.peer = base,
                                    .dst = dst,
                                    .size = source->size,
                                    .slot = (uint16_t)slot,
                                    .backend = pull};
    pull->peer = peer;
    pull->user = xfer;
    pull->source = *source;
    pull->dst = dst;
    pull->id = xfer->id = (peer->pull_sequence + 1) * TRANSPORT_PULLS_MAX + slot;
    pull->since_ns = peer->v->rails_count != 0 ? verbs_now(peer->v) : 0;
    enum way way = choose(pull);
    mob_status st = way == WAY_UNDER ? start_under(pull) : MOB_OK;
    if (st != MOB_OK) {
        peer->wants_room = peer->wants_room || st == MOB_ERR_FULL;
        xfer->peer = NULL;
        free(pull);
        return st;
    }
    peer->pull_sequence++;
    peer->pulls[slot] = pull;
    peer->pulls_count++;
    if (way == WAY_VERBS) {
        ask(pull);
    } else if (way == WAY_WAIT) {
        wait_for_link(pull);
    }
    return MOB_OK;
}

void verbs_cancel(struct transport_xfer *xfer)
{
    struct verbs_pull *pull = xfer->backend;
    if (pull == NULL) {
        return;
    }
    if (pull->state == PULL_UNDER) {
        transport_cancel(&pull->under);
    } else {
        verbs_pull_stop(pull, MOB_ERR_CANCELLED);
    }
}

/* ---- what a turn does
 * --------------------------------------------------------------------- */

static bool usable(const struct verbs_pull *pull)
{
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        const struct verbs_link *link = pull->peer->links[i];
        if (link != NULL && verbs_read_usable(pull, link)) {
            return true;
        }
    }
    return false;
}

/* What moved over them worked: the next failure is a new one. */
static void praise(struct verbs_peer *peer)
{
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        struct verbs_link *link = peer->links[i];
        if (link != NULL && link->state == LINK_UP) {
            link->backoff_ns = 0;
            link->failed_before = false;
        }
    }
}

static void fall_back(struct verbs_pull *pull)
{
    struct verbs_peer *peer = pull->peer;
    peer->stats.fallbacks++;
    log_info("rdma pull goes on below peer %s size %llu at %llu", peer->address,
             (unsigned long long)pull->source.size,
             (unsigned long long)pull->user->received);
    verbs_pull_go_under(pull);
}

/* True: there is more to do. */
static bool read_work(struct verbs_pull *pull)
{
    bool more = pull->status == MOB_OK && verbs_read_verify(pull);
    if (pull->state != PULL_READING) {
        return false; /* the user's callback ended it: it cannot, but for this rule */
    }
    if (pull->verified == pull->chunks) {
        praise(pull->peer);
        ending(pull, MOB_OK);
    } else if (pull->flights == 0 && pull->status != MOB_OK) {
        ending(pull, pull->status);
    } else if (pull->flights == 0 && !more && !usable(pull)) {
        fall_back(pull);
    }
    return more;
}

bool verbs_pulls_work(struct verbs_peer *peer)
{
    bool more = false;
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX && peer->pulls_count != 0; i++) {
        struct verbs_pull *pull = peer->pulls[i];
        if (pull == NULL) {
            continue;
        }
        if (pull->state == PULL_WAITING && peer->state == VPEER_UP) {
            enum way way = choose(pull);
            if (way == WAY_VERBS) {
                ask(pull);
            } else if (way == WAY_UNDER) {
                verbs_pull_go_under(pull);
            } else {
                wait_for_link(pull);
            }
        } else if (pull->state == PULL_OWED) {
            verbs_pull_go_under(pull);
        } else if (pull->state == PULL_READING) {
            more = read_work(pull) || more;
        }
        if (pull->state == PULL_ENDING) {
            finish(pull, pull->status);
        }
    }
    return more;
}

/* ---- what the owner says
 * ------------------------------------------------------------------ */

/* The pull @id; NULL: it is over. False: there never was one. */
static bool find(const struct verbs_peer *peer, uint64_t id, struct verbs_pull **ret)
{
    struct verbs_pull *pull = peer->pulls[id % TRANSPORT_PULLS_MAX];
    uint64_t sequence = id / TRANSPORT_PULLS_MAX;
    *ret = pull != NULL && pull->id == id && pull->state != PULL_ENDING &&
                   pull->state != PULL_UNDER && pull->state != PULL_OWED
               ? pull
               : NULL;
    return sequence >= 1 && sequence <= peer->pull_sequence;
}

static bool got_here(struct verbs_peer *peer, const uint8_t *data, size_t size)
{
    struct verbs_here here;
    struct verbs_pull *pull;
    uint64_t total = 0;
    struct verbs_range *ranges = malloc(VERBS_RANGES_MAX * sizeof *ranges);
    if (ranges == NULL) {
        verbs_peer_fail(peer, MOB_ERR_NOMEM, "no memory for a pull");
        return true;
    }
    if (!verbs_here_get(data, size, ranges, &here) || !find(peer, here.id, &pull) ||
        (pull != NULL && pull->state != PULL_ASKED)) {
        free(ranges);
        return false;
    }
    bool sane = pull != NULL && here.count != 0; /* no answer that parses has none */
    for (unsigned i = 0; i < here.count && sane; i++) {
        sane = !__builtin_add_overflow(total, ranges[i].size, &total);
    }
    if (pull == NULL || !sane || total != pull->source.size) {
        free(ranges);
        return pull == NULL;
    }
    struct verbs_range *fit = realloc(ranges, here.count * sizeof *ranges);
    pull->here = here;
    pull->here.ranges = fit != NULL ? fit : ranges;
    pull->state = PULL_READING;
    if (verbs_read_begin(pull) != MOB_OK) {
        verbs_pull_go_under(pull);
    }
    verbs_touch(peer);
    return true;
}

static bool got_data(struct verbs_peer *peer, const uint8_t *data, size_t size)
{
    struct codec_reader r;
    struct verbs_pull *pull;
    codec_reader_init(&r, data, size);
    uint64_t id = codec_get_u64(&r), sum = codec_get_u64(&r);
    if (!r.ok || !find(peer, id, &pull)) {
        return false;
    }
    if (pull == NULL) {
        return true;
    }
    if (pull->state != PULL_ASKED || codec_left(&r) != pull->source.size) {
        return false;
    }
    memcpy(pull->dst, r.at, pull->source.size);
    pull->told = false;
    if (!peer->unchecked && sums_chunk(pull->dst, pull->source.size) != sum) {
        peer->stats.damaged++;
        finish(pull, MOB_ERR_PROTOCOL);
        return true;
    }
    pull->user->received = pull->source.size;
    peer->stats.pulled_bytes += pull->source.size;
    pull->state = PULL_ENDING; /* a cancel in this callback comes too late */
    user_landed(&peer->base, pull->user);
    finish(pull, MOB_OK);
    return true;
}

static bool got_failure(struct verbs_peer *peer, const uint8_t *data, size_t size)
{
    struct verbs_pull *pull;
    uint64_t id, code;
    if (!verbs_pair_get(data, size, &id, &code) || !find(peer, id, &pull)) {
        return false;
    }
    mob_status st =
        code >= 1 && code < 1000 ? (mob_status) - (int)code : MOB_ERR_NOT_FOUND;
    if (pull != NULL && pull->state == PULL_ASKED) {
        pull->told = false;
        finish(pull, st);
    } else if (pull != NULL) {
        verbs_pull_stop(pull, st);
    }
    return true;
}

static bool got_else(struct verbs_peer *peer, const uint8_t *data, size_t size)
{
    struct verbs_pull *pull;
    uint64_t id;
    if (!verbs_id_get(data, size, &id) || !find(peer, id, &pull) ||
        (pull != NULL && pull->state != PULL_ASKED)) {
        return false;
    }
    if (pull != NULL) {
        pull->told = false;
        verbs_pull_go_under(pull);
    }
    return true;
}

bool verbs_pull_message(struct verbs_peer *peer, enum verbs_kind kind,
                        const uint8_t *data, size_t size)
{
    struct verbs_pull *pull;
    struct verbs_sums sums;
    uint64_t id, ready;
    switch (kind) {
    case VERBS_HERE:
        return got_here(peer, data, size);
    case VERBS_DATA:
        return got_data(peer, data, size);
    case VERBS_FAIL:
        return got_failure(peer, data, size);
    case VERBS_ELSE:
        return got_else(peer, data, size);
    case VERBS_SUMS:
        return verbs_sums_get(data, size, &sums) && find(peer, sums.id, &pull) &&
               (pull == NULL || verbs_read_sums(pull, &sums));
    default: /* VERBS_READY */
        if (!verbs_pair_get(data, size, &id, &ready) || !find(peer, id, &pull) ||
            (pull != NULL &&
             (pull->state != PULL_READING || ready > pull->source.size))) {
            return false;
        }
        if (pull != NULL && ready > pull->ready) {
            pull->ready = ready;
            verbs_touch(peer);
        }
        return true;
    }
}
