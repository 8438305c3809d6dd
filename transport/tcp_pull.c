/* Pulls. A pull is asked for on the control connection; its chunks come over any of the
 * data connections ("lanes"), each into its own place in the destination, in any order
 * within a window. transport_xfer.received counts those that are verified in a row.
 *
 * The id of a pull is sequence * TRANSPORT_PULLS_MAX + slot and is never used again, so
 * that a chunk of a pull that was cancelled is known for what it is, and thrown away. */
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "core/status.h"
#include "tcp.h"

/* ---- asking
 * ------------------------------------------------------------------------------ */

/* A slot without a pull; NULL if all are taken, or without memory. */
static struct pull *free_slot(struct tcp_peer *peer, unsigned *ret_slot)
{
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        if (peer->pulls[i] == NULL) {
            peer->pulls[i] = calloc(1, sizeof *peer->pulls[i]);
        }
        if (peer->pulls[i] == NULL || peer->pulls[i]->xfer == NULL) {
            *ret_slot = i;
            return peer->pulls[i];
        }
    }
    return NULL;
}

bool pull_has_root(const struct tcp_peer *peer, const struct pull *pull)
{
    return peer->sums && pull->chunks > 1; /* the sum of one chunk alone is its root */
}

/* Everything anew but the table's memory. */
static mob_status prepare(struct tcp_peer *peer, struct pull *pull, uint64_t size)
{
    uint64_t chunks = sums_count(size);
    *pull = (struct pull){.table = pull->table, .chunks = chunks != 0 ? chunks : 1};
    if (!pull_has_root(peer, pull)) {
        return MOB_OK;
    }
    if (pull->table == NULL) {
        return sums_table_new(&pull->table);
    }
    sums_table_begin(pull->table);
    return MOB_OK;
}

mob_status pull_start(struct transport_peer *base, const struct transport_source *source,
                      void *dst, struct transport_xfer *xfer)
{
    struct tcp_peer *peer = LOOP_OWNER(base, struct tcp_peer, base);
    uint8_t body[WIRE_PULL_BYTES];
    struct codec_writer w;
    unsigned slot;
    if (peer->state != PEER_UP) {
        return status_fail(MOB_ERR_STATE, "%s is not connected", peer->address);
    }
    if (source->size > UINT64_MAX - source->offset) {
        return status_fail(MOB_ERR_INVALID, "a pull past the end of all numbers");
    }
    if (peer->pulls_count == TRANSPORT_PULLS_MAX) {
        peer->wants_room = true;
        return MOB_ERR_FULL;
    }
    struct pull *pull = free_slot(peer, &slot);
    if (pull == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for another pull");
    }
    MOB_TRY(prepare(peer, pull, source->size));
    uint64_t id = (peer->pull_sequence + 1) * TRANSPORT_PULLS_MAX + slot;
    struct wire_header header = {WIRE_PULL, sizeof body, id, 0, 0};
    struct iovec iov = {body, sizeof body};
    codec_writer_init(&w, body, sizeof body);
    codec_put_raw(&w, source->object, sizeof source->object);
    codec_put_u64(&w, source->offset);
    codec_put_u64(&w, source->size);
    MOB_TRY(control_put(peer, &header, &iov, 1, TRANSPORT_QUEUE_BYTES));
    *xfer = (struct transport_xfer){
        .peer = base, .dst = dst, .size = source->size, .id = id, .slot = (uint16_t)slot};
    peer->pull_sequence++;
    pull->xfer = xfer;
    peer->pulls_count++;
    control_flush(peer);
    return MOB_OK;
}

/* ---- ending
 * ------------------------------------------------------------------------------ */

/* From here on the user's, who is told next. */
struct transport_xfer *pull_take(struct tcp_peer *peer, struct pull *pull)
{
    struct transport_xfer *xfer = pull->xfer;
    xfer->ending = true;
    pull->xfer = NULL;
    peer->pulls_count--;
    return xfer;
}

void pull_over(struct tcp_peer *peer, struct pull *pull, mob_status status)
{
    user_pull_done(&peer->base, pull_take(peer, pull), status);
    control_check_room(peer);
}

/* The status is said in a turn of its own, not from within the user's call. */
static void done_later(struct tcp_peer *peer, struct pull *pull, mob_status status)
{
    struct transport_xfer *xfer = pull_take(peer, pull);
    xfer->status = status;
    xfer->next = peer->ended;
    peer->ended = xfer;
    peer_settle_later(peer);
}

void pull_say_ended(struct tcp_peer *peer)
{
    while (peer->ended != NULL) {
        struct transport_xfer *xfer = peer->ended;
        peer->ended = xfer->next;
        user_pull_done(&peer->base, xfer, xfer->status);
    }
    control_check_room(peer);
}

void pull_tell_cancel(struct tcp_peer *peer, uint64_t id)
{
    struct wire_header header = {.type = WIRE_CANCEL, .id = id};
    control_must(peer, &header);
}

void pull_cancel(struct transport_xfer *xfer)
{
    struct tcp_peer *peer = LOOP_OWNER(xfer->peer, struct tcp_peer, base);
    if (peer->state != PEER_UP || xfer->ending || xfer->status != MOB_OK) {
        return; /* its end is under way */
    }
    struct pull *pull = peer->pulls[xfer->slot];
    pull_tell_cancel(peer, xfer->id);
    if (pull->landing != 0) {
        xfer->status = MOB_ERR_CANCELLED; /* stop_landing() goes on from here */
    } else {
        done_later(peer, pull, MOB_ERR_CANCELLED);
    }
}

/* With @status when nothing lands in it any more. */
void pull_fail(struct tcp_peer *peer, struct pull *pull, mob_status status)
{
    if (pull->landing != 0) {
        pull->xfer->status = status;
    } else {
        pull_over(peer, pull, status);
    }
}

void pull_end_all(struct tcp_peer *peer, mob_status status)
{
    bool over = peer->state == PEER_ENDING; /* then nothing lands any more */
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        struct pull *pull = peer->pulls[i];
        if (pull == NULL || pull->xfer == NULL) {
            continue;
        }
        mob_status st = pull->xfer->status != MOB_OK ? pull->xfer->status : status;
        if (over || pull->landing == 0) {
            done_later(peer, pull, st);
        } else {
            pull->xfer->status = st;
        }
    }
}

void pull_free_all(struct tcp_peer *peer)
{
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        if (peer->pulls[i] != NULL) {
            sums_table_free(peer->pulls[i]->table);
            free(peer->pulls[i]);
        }
    }
}

/* The pull that a frame belongs to. NULL: one that ended. False: there never was one. */
bool pull_find(struct tcp_peer *peer, uint64_t id, struct pull **ret)
{
    struct pull *pull = peer->pulls[id % TRANSPORT_PULLS_MAX];
    uint64_t sequence = id / TRANSPORT_PULLS_MAX;
    bool alive = pull != NULL && pull->xfer != NULL && pull->xfer->id == id &&
                 pull->xfer->status == MOB_OK;
    *ret = alive ? pull : NULL;
    return sequence >= 1 && sequence <= peer->pull_sequence;
}

bool pull_failed(struct tcp_peer *peer, const struct wire_header *header)
{
    struct pull *pull;
    uint64_t code = header->offset;
    if (!pull_find(peer, header->id, &pull)) {
        return false;
    }
    if (pull != NULL) {
        pull_fail(peer, pull,
                  code >= 1 && code < 1000 ? (mob_status) - (int)code
                                           : MOB_ERR_NOT_FOUND);
    }
    return true;
}
