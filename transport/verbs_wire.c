#include "verbs_wire.h"

#include <string.h>

#include "core/codec.h"
#include "core/status.h"

enum { ROOM = VERBS_SMALL_BYTES };

static size_t end(const struct codec_writer *w)
{
    MOB_ASSERT(w->ok);
    return codec_written(w);
}

static bool link_ok(uint8_t link)
{
    return link < VERBS_RAILS_MAX;
}

static void port_put(struct codec_writer *w, const struct verbs_port *port)
{
    codec_put_u8(w, port->ethernet);
    codec_put_u8(w, port->gid_type);
    codec_put_u16(w, port->lid);
    codec_put_raw(w, port->gid, sizeof port->gid);
    codec_put_u8(w, port->mtu);
    codec_put_u8(w, port->init_depth);
    codec_put_u8(w, port->resp_depth);
    codec_put_u32(w, port->mbps);
}

static bool port_get(struct codec_reader *r, struct verbs_port *port)
{
    port->ethernet = codec_get_u8(r);
    port->gid_type = codec_get_u8(r);
    port->lid = codec_get_u16(r);
    const void *gid = codec_get_raw(r, sizeof port->gid);
    port->mtu = codec_get_u8(r);
    port->init_depth = codec_get_u8(r);
    port->resp_depth = codec_get_u8(r);
    port->mbps = codec_get_u32(r);
    if (!r->ok) {
        return false;
    }
    memcpy(port->gid, gid, sizeof port->gid);
    /* mtu: IBV_MTU_256 to IBV_MTU_4096 */
    return port->ethernet <= 1 && port->gid_type <= VERBS_GID_ROCE2 && port->mtu >= 1 &&
           port->mtu <= 5 && port->init_depth >= 1 && port->resp_depth >= 1;
}

size_t verbs_hello_put(const struct verbs_hello *hello, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u8(&w, VERBS_VERSION);
    codec_put_u8(&w, hello->unchecked);
    codec_put_u8(&w, hello->rails_count);
    for (unsigned i = 0; i < hello->rails_count; i++) {
        port_put(&w, &hello->rails[i]);
    }
    codec_put_str(&w, hello->why);
    return end(&w);
}

bool verbs_hello_get(const uint8_t *in, size_t size, struct verbs_hello *ret)
{
    struct verbs_hello hello = {0};
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    unsigned version = codec_get_u8(&r);
    unsigned unchecked = codec_get_u8(&r);
    hello.rails_count = codec_get_u8(&r);
    if (!r.ok || version != VERBS_VERSION || unchecked > 1 ||
        hello.rails_count > VERBS_RAILS_MAX) {
        return false;
    }
    hello.unchecked = unchecked != 0;
    for (unsigned i = 0; i < hello.rails_count; i++) {
        if (!port_get(&r, &hello.rails[i])) {
            return false;
        }
    }
    codec_get_str(&r, hello.why, sizeof hello.why);
    if (!codec_done(&r)) {
        return false;
    }
    *ret = hello;
    return true;
}

size_t verbs_offer_put(const struct verbs_offer *offer, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u8(&w, offer->link);
    codec_put_u8(&w, offer->from_rail);
    codec_put_u8(&w, offer->to_rail);
    codec_put_u8(&w, offer->credits);
    codec_put_u32(&w, offer->generation);
    codec_put_u32(&w, offer->qpn);
    codec_put_u32(&w, offer->psn);
    return end(&w);
}

bool verbs_offer_get(const uint8_t *in, size_t size, struct verbs_offer *ret)
{
    struct verbs_offer offer;
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    offer.link = codec_get_u8(&r);
    offer.from_rail = codec_get_u8(&r);
    offer.to_rail = codec_get_u8(&r);
    offer.credits = codec_get_u8(&r);
    offer.generation = codec_get_u32(&r);
    offer.qpn = codec_get_u32(&r);
    offer.psn = codec_get_u32(&r);
    if (!codec_done(&r) || !link_ok(offer.link) || offer.credits > VERBS_CREDITS ||
        offer.from_rail >= VERBS_RAILS_MAX || offer.to_rail >= VERBS_RAILS_MAX ||
        offer.qpn >> 24 != 0 || offer.psn >> 24 != 0) {
        return false;
    }
    *ret = offer;
    return true;
}

size_t verbs_accept_put(const struct verbs_accept *accept, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u8(&w, accept->link);
    codec_put_u8(&w, accept->credits);
    codec_put_u32(&w, accept->generation);
    codec_put_u32(&w, accept->qpn);
    codec_put_u32(&w, accept->psn);
    return end(&w);
}

bool verbs_accept_get(const uint8_t *in, size_t size, struct verbs_accept *ret)
{
    struct verbs_accept accept;
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    accept.link = codec_get_u8(&r);
    accept.credits = codec_get_u8(&r);
    accept.generation = codec_get_u32(&r);
    accept.qpn = codec_get_u32(&r);
    accept.psn = codec_get_u32(&r);
    if (!codec_done(&r) || !link_ok(accept.link) || accept.credits > VERBS_CREDITS ||
        accept.qpn >> 24 != 0 || accept.psn >> 24 != 0) {
        return false;
    }
    *ret = accept;
    return true;
}

size_t verbs_up_put(const struct verbs_up *up, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u8(&w, up->link);
    codec_put_u32(&w, up->generation);
    return end(&w);
}

bool verbs_up_get(const uint8_t *in, size_t size, struct verbs_up *ret)
{
    struct verbs_up up;
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    up.link = codec_get_u8(&r);
    up.generation = codec_get_u32(&r);
    if (!codec_done(&r) || !link_ok(up.link)) {
        return false;
    }
    *ret = up;
    return true;
}

size_t verbs_down_put(const struct verbs_down *down, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u8(&w, down->link);
    codec_put_u32(&w, down->generation);
    codec_put_str(&w, down->why);
    return end(&w);
}

bool verbs_down_get(const uint8_t *in, size_t size, struct verbs_down *ret)
{
    struct verbs_down down = {0};
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    down.link = codec_get_u8(&r);
    down.generation = codec_get_u32(&r);
    codec_get_str(&r, down.why, sizeof down.why);
    if (!codec_done(&r) || !link_ok(down.link)) {
        return false;
    }
    *ret = down;
    return true;
}

size_t verbs_ack_put(const struct verbs_ack *ack, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u8(&w, ack->link);
    codec_put_u32(&w, ack->generation);
    codec_put_u32(&w, ack->count);
    return end(&w);
}

bool verbs_ack_get(const uint8_t *in, size_t size, struct verbs_ack *ret)
{
    struct verbs_ack ack;
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    ack.link = codec_get_u8(&r);
    ack.generation = codec_get_u32(&r);
    ack.count = codec_get_u32(&r);
    if (!codec_done(&r) || !link_ok(ack.link)) {
        return false;
    }
    *ret = ack;
    return true;
}

size_t verbs_ask_put(const struct verbs_ask *ask, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u64(&w, ask->id);
    codec_put_raw(&w, ask->source.object, TRANSPORT_OBJECT_BYTES);
    codec_put_u64(&w, ask->source.offset);
    codec_put_u64(&w, ask->source.size);
    return end(&w);
}

bool verbs_ask_get(const uint8_t *in, size_t size, struct verbs_ask *ret)
{
    struct verbs_ask ask;
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    ask.id = codec_get_u64(&r);
    const void *object = codec_get_raw(&r, TRANSPORT_OBJECT_BYTES);
    ask.source.offset = codec_get_u64(&r);
    ask.source.size = codec_get_u64(&r);
    if (!codec_done(&r)) {
        return false;
    }
    memcpy(ask.source.object, object, TRANSPORT_OBJECT_BYTES);
    *ret = ask;
    return true;
}

size_t verbs_sums_put(const struct verbs_sums *sums, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u64(&w, sums->id);
    codec_put_u64(&w, sums->first);
    codec_put_u8(&w, sums->count);
    codec_put_u8(&w, sums->last);
    for (unsigned i = 0; i < sums->count; i++) {
        codec_put_u64(&w, sums->sums[i]);
    }
    if (sums->last) {
        codec_put_raw(&w, sums->root, sizeof sums->root);
    }
    return end(&w);
}

bool verbs_sums_get(const uint8_t *in, size_t size, struct verbs_sums *ret)
{
    struct verbs_sums sums = {0};
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    sums.id = codec_get_u64(&r);
    sums.first = codec_get_u64(&r);
    sums.count = codec_get_u8(&r);
    unsigned last = codec_get_u8(&r);
    if (!r.ok || sums.count > VERBS_SUMS_MAX || sums.count == 0 || last > 1) {
        return false;
    }
    sums.last = last != 0;
    for (unsigned i = 0; i < sums.count; i++) {
        sums.sums[i] = codec_get_u64(&r);
    }
    const void *root = sums.last ? codec_get_raw(&r, sizeof sums.root) : NULL;
    if (!codec_done(&r)) {
        return false;
    }
    if (root != NULL) {
        memcpy(sums.root, root, sizeof sums.root);
    }
    *ret = sums;
    return true;
}

size_t verbs_id_put(uint64_t id, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u64(&w, id);
    return end(&w);
}

bool verbs_id_get(const uint8_t *in, size_t size, uint64_t *ret)
{
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    uint64_t id = codec_get_u64(&r);
    if (!codec_done(&r)) {
        return false;
    }
    *ret = id;
    return true;
}

size_t verbs_pair_put(uint64_t id, uint64_t x, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, ROOM);
    codec_put_u64(&w, id);
    codec_put_u64(&w, x);
    return end(&w);
}

bool verbs_pair_get(const uint8_t *in, size_t size, uint64_t *ret_id, uint64_t *ret_x)
{
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    uint64_t id = codec_get_u64(&r), x = codec_get_u64(&r);
    if (!codec_done(&r)) {
        return false;
    }
    *ret_id = id;
    *ret_x = x;
    return true;
}

size_t verbs_here_put(const struct verbs_here *here, uint8_t *out)
{
    struct codec_writer w;
    codec_writer_init(&w, out, VERBS_HERE_BYTES);
    codec_put_u64(&w, here->id);
    codec_put_u64(&w, here->ready);
    codec_put_u8(&w, here->links);
    codec_put_u32(&w, here->count);
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        codec_put_u32(&w, here->generations[k]);
    }
    for (unsigned i = 0; i < here->count; i++) {
        const struct verbs_range *range = &here->ranges[i];
        codec_put_u64(&w, range->at);
        codec_put_u64(&w, range->size);
        for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
            if (here->links & 1u << k) {
                codec_put_u32(&w, range->keys[k]);
            }
        }
    }
    return end(&w);
}

bool verbs_here_get(const uint8_t *in, size_t size, struct verbs_range *ranges,
                    struct verbs_here *ret)
{
    struct verbs_here here = {.ranges = ranges};
    struct codec_reader r;
    codec_reader_init(&r, in, size);
    here.id = codec_get_u64(&r);
    here.ready = codec_get_u64(&r);
    here.links = codec_get_u8(&r);
    here.count = codec_get_u32(&r);
    for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
        here.generations[k] = codec_get_u32(&r);
    }
    if (!r.ok || here.count == 0 || here.count > VERBS_RANGES_MAX || here.links == 0 ||
        here.links >> VERBS_RAILS_MAX != 0) {
        return false;
    }
    for (unsigned i = 0; i < here.count; i++) {
        struct verbs_range *range = &ranges[i];
        range->at = codec_get_u64(&r);
        range->size = codec_get_u64(&r);
        if (range->size == 0 || range->size > UINT64_MAX - range->at) {
            return false;
        }
        for (unsigned k = 0; k < VERBS_RAILS_MAX; k++) {
            range->keys[k] = here.links & 1u << k ? codec_get_u32(&r) : 0;
        }
    }
    if (!codec_done(&r)) {
        return false;
    }
    *ret = here;
    return true;
}
