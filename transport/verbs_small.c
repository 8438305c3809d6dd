/* Small messages over a link's queue pair: inline SENDs into a receive queue that all links
 * of a rail share.
 *
 * A frame is the message's word, the number of the other side's messages that were
 * delivered here (4 bytes), and the message. A link sends no more than it has credits for:
 * messages that were not acknowledged. So the shared queue never runs dry; were it to, the
 * queue pair would fail, which is seen. Who sends keeps a copy until then: if the link
 * fails, what may not have come goes by the backend below, and what comes by both ways is
 * dropped by its number.
 *
 * A frame whose word is 0 only acknowledges; it needs no credit, as there is one for at
 * least VERBS_CREDITS / 4 messages. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/codec.h"
#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

/* A receive's id: this, how often its slot was posted, the slot. */
#define RECEIVE_ID (1ull << 63)
#define RECEIVE_SLOT 0xffffu

enum { POSTS = 32, ROOM_FOR_READS = 8 };

/* ---- slots
 * ------------------------------------------------------------------------------- */

bool verbs_slots_open(struct verbs_rail *rail, unsigned most)
{
    const struct verbs_lib *lib = rail->v->lib;
    struct ibv_srq_init_attr attr = {.attr = {.max_wr = most, .max_sge = 1}};
    size_t bytes = (size_t)most * VERBS_SLOT_BYTES;
    rail->srq = lib->create_srq(rail->pd, &attr);
    rail->posted = calloc(most, sizeof *rail->posted);
    rail->posts = calloc(most, sizeof *rail->posts);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    rail->slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (rail->slots == MAP_FAILED) {
        rail->slots = NULL;
    }
    if (rail->srq == NULL || rail->posted == NULL || rail->posts == NULL ||
        rail->slots == NULL) {
        return false;
    }
    rail->slots_count = rail->slots_free = most;
    (void)madvise(rail->slots, bytes, MADV_DONTFORK); /* a child's copy is of no use */
    rail->slots_mr = lib->reg_mr(rail->pd, rail->slots, bytes, IBV_ACCESS_LOCAL_WRITE);
    if (rail->slots_mr == NULL) {
        return false;
    }
    verbs_slots_post(rail);
    return true;
}

void verbs_slots_close(struct verbs_rail *rail)
{
    const struct verbs_lib *lib = rail->v->lib;
    if (rail->srq != NULL) {
        (void)lib->destroy_srq(rail->srq);
    }
    if (rail->slots_mr != NULL) {
        (void)lib->dereg_mr(rail->slots_mr);
    }
    if (rail->slots != NULL) {
        munmap(rail->slots, (size_t)rail->slots_count * VERBS_SLOT_BYTES);
    }
    free(rail->posted);
    free(rail->posts);
}

static unsigned gather(struct verbs_rail *rail, unsigned slots[POSTS])
{
    unsigned count = 0;
    if (rail->read_count == 0 &&
        rail->filled < rail->slots_count) { /* at the beginning */
        while (count < POSTS && rail->filled < rail->slots_count) {
            slots[count++] = rail->filled++;
        }
        return count;
    }
    while (count < POSTS && rail->read_count != 0) {
        slots[count++] = rail->read[--rail->read_count];
    }
    return count;
}

void verbs_slots_post(struct verbs_rail *rail)
{
    struct ibv_sge sges[POSTS];
    struct ibv_recv_wr wrs[POSTS], *bad;
    unsigned slots[POSTS], count;
    while ((count = gather(rail, slots)) != 0) {
        for (unsigned i = 0; i < count; i++) {
            sges[i] = (struct ibv_sge){
                (uintptr_t)(rail->slots + (size_t)slots[i] * VERBS_SLOT_BYTES),
                VERBS_SLOT_BYTES, rail->slots_mr->lkey};
            wrs[i] = (struct ibv_recv_wr){
                .wr_id = RECEIVE_ID |
                         (uint64_t)(++rail->posts[slots[i]] & 0x7fffffff) << 16 |
                         slots[i],
                .next = i + 1 < count ? &wrs[i + 1] : NULL,
                .sg_list = &sges[i],
                .num_sge = 1};
            rail->posted[slots[i]] = true;
        }
        int err = rail->v->lib->post_srq_recv(rail->srq, wrs, &bad);
        if (err != 0) {
            log_error("rdma %s: posting receives failed: %s", rail->path, strerror(err));
            return;
        }
    }
}

uint8_t verbs_slots_promise(struct verbs_link *link)
{
    if (link->rail->slots_free < VERBS_LINK_SLOTS) {
        return 0; /* enough others have them: its messages go by the backend below */
    }
    link->rail->slots_free -= VERBS_LINK_SLOTS;
    link->receives = true;
    return VERBS_CREDITS;
}

void verbs_slots_release(struct verbs_link *link)
{
    if (link->receives) {
        link->receives = false;
        link->rail->slots_free += VERBS_LINK_SLOTS;
    }
}

/* ---- out
 * --------------------------------------------------------------------------------- */

static bool post(struct verbs_link *link, uint64_t word, const void *data, size_t size,
                 bool signaled)
{
    uint8_t frame[VERBS_FRAME_BYTES + VERBS_SMALL_MAX];
    struct codec_writer w;
    codec_writer_init(&w, frame, sizeof frame);
    codec_put_u64(&w, word);
    codec_put_u32(&w, link->came);
    codec_put_raw(&w, data, size);
    struct ibv_sge sge = {(uintptr_t)frame, (uint32_t)codec_written(&w), 0};
    struct ibv_send_wr wr = {.sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags =
                                 IBV_SEND_INLINE | (signaled ? IBV_SEND_SIGNALED : 0)};
    struct verbs_wr work = {.kind = WORK_SEND};
    if (!verbs_post(link, &wr, &work)) {
        return false;
    }
    link->told = link->came;
    return true;
}

static bool takes(const struct verbs_link *link)
{
    return link != NULL && link->state == LINK_UP && link->inlines &&
           link->sent - link->acked < link->credits &&
           verbs_link_room(link) > ROOM_FOR_READS;
}

static bool keep(struct verbs_link *link, uint64_t word, const struct iovec *iov,
                 unsigned count, struct verbs_kept **ret)
{
    if (link->kept == NULL) {
        link->kept = calloc(VERBS_CREDITS, sizeof *link->kept);
    }
    if (link->kept == NULL) {
        return false;
    }
    struct verbs_kept *kept = &link->kept[link->sent % VERBS_CREDITS];
    kept->word = word;
    kept->size = 0;
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len != 0) {
            memcpy(kept->data + kept->size, iov[i].iov_base, iov[i].iov_len);
            kept->size = (uint16_t)(kept->size + iov[i].iov_len);
        }
    }
    *ret = kept;
    return true;
}

bool verbs_small_send(struct verbs_peer *peer, uint64_t word, const struct iovec *iov,
                      unsigned count, size_t size)
{
    for (unsigned k = 0; k < VERBS_RAILS_MAX && size <= VERBS_SMALL_MAX; k++) {
        struct verbs_link *link = peer->links[k];
        struct verbs_kept *kept;
        if (!takes(link) || !keep(link, word, iov, count, &kept)) {
            continue;
        }
        bool signaled = link->sent % VERBS_SIGNAL_EVERY == VERBS_SIGNAL_EVERY - 1;
        /* Counted first: if posting fails, the link does, and sends it again below. */
        link->sent++;
        peer->unacked++;
        (void)post(link, word, kept->data, kept->size, signaled);
        return true;
    }
    return false;
}

bool verbs_small_acked(struct verbs_link *link, uint32_t count)
{
    struct verbs_peer *peer = link->peer;
    if (link->state != LINK_UP) {
        return true; /* they were sent again already */
    }
    if (count - link->acked > link->sent - link->acked) {
        return false;
    }
    peer->unacked -= count - link->acked;
    link->acked = count;
    if (peer->unacked == 0) {
        peer->passed_bytes = 0;
    }
    if (peer->held_back && peer->unacked == 0) {
        peer->held_back = false;
        verbs_flush(peer);
        verbs_touch(peer);
        verbs_check_room(peer);
    }
    return true;
}

void verbs_small_again(struct verbs_link *link)
{
    struct verbs_peer *peer = link->peer;
    /* Backwards, as each goes before what waits. */
    for (uint32_t at = link->sent; at != link->acked; at--) {
        const struct verbs_kept *kept = &link->kept[(at - 1) % VERBS_CREDITS];
        verbs_send_again(peer, kept->word, kept->data, kept->size);
    }
    peer->unacked -= link->sent - link->acked;
    link->acked = link->sent;
    if (peer->unacked == 0) {
        peer->passed_bytes = 0;
        peer->held_back = false;
    }
    if (peer->out_used != 0 && !peer->below_full) {
        verbs_flush(peer);
    }
}

/* Acknowledges by the backend below. */
static void tell(struct verbs_link *link)
{
    uint8_t out[VERBS_SMALL_BYTES];
    struct verbs_ack ack = {link->index, link->generation, link->came};
    link->told = link->came;
    verbs_tell(link->peer, VERBS_ACK, out, verbs_ack_put(&ack, out));
}

void verbs_small_work(struct verbs_peer *peer)
{
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        struct verbs_link *link = peer->links[k];
        if (link != NULL && link->state == LINK_UP &&
            link->came - link->told >= VERBS_CREDITS / 4) {
            if (!link->inlines) {
                tell(link);
            } else if (verbs_link_room(link) != 0) {
                (void)post(link, 0, NULL, 0, true);
            }
        }
    }
}

void verbs_small_tell(struct verbs_peer *peer)
{
    peer->below_bytes = 0;
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        struct verbs_link *link = peer->links[k];
        if (link != NULL && link->state == LINK_UP && link->came != link->told) {
            tell(link);
        }
    }
}

/* ---- in
 * ---------------------------------------------------------------------------------- */

static struct verbs_link *find(struct verbs_rail *rail, uint32_t qpn)
{
    for (unsigned i = 0; i < rail->links_max; i++) {
        struct verbs_link *link = rail->links[i];
        if (link != NULL && link->qp != NULL && link->qp->qp_num == qpn) {
            return link;
        }
    }
    return NULL;
}

static void frame_came(struct verbs_link *link, const uint8_t *at, size_t size)
{
    struct verbs_peer *peer = link->peer;
    struct codec_reader r;
    codec_reader_init(&r, at, size);
    uint64_t word = codec_get_u64(&r);
    uint32_t acked = codec_get_u32(&r);
    if (!r.ok || size > VERBS_FRAME_BYTES + VERBS_SMALL_MAX ||
        !verbs_small_acked(link, acked) || (word != 0 && word >> 8 == 0)) {
        verbs_peer_fail(peer, MOB_ERR_PROTOCOL, "%s sent a malformed frame over RDMA",
                        peer->address);
    } else if (word != 0) {
        verbs_message_in(peer, link, word, r.at, codec_left(&r));
    }
}

void verbs_small_came(struct verbs_rail *rail, const struct ibv_wc *wc)
{
    unsigned slot = wc->wr_id & RECEIVE_SLOT;
    if (slot >= rail->slots_count || !rail->posted[slot] ||
        (rail->posts[slot] & 0x7fffffff) != (uint32_t)((wc->wr_id & ~RECEIVE_ID) >> 16)) {
        return; /* a completion that came twice */
    }
    rail->posted[slot] = false;
    struct verbs_link *link = find(rail, wc->qp_num);
    if (wc->status == IBV_WC_SUCCESS && link != NULL && link->peer->state == VPEER_UP) {
        if (link->state == LINK_ACCEPTED) { /* it is up there, or it could not send */
            verbs_link_up(link);
        }
        verbs_link_used(link);
        frame_came(link, rail->slots + (size_t)slot * VERBS_SLOT_BYTES, wc->byte_len);
        verbs_touch(link->peer);
    } else if (wc->status != IBV_WC_SUCCESS && link != NULL) {
        verbs_link_fail(link, true, "%s: a receive failed: %s", rail->path,
                        rail->v->lib->wc_status_str(wc->status));
    }
    rail->read[rail->read_count++] = (uint16_t)slot;
}
