/* Virtual time: a heap of timers; events, whose delays are drawn from the seed, are some
 * of them. */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "fake_net.h"

mob_status fake_net_create(uint64_t seed, struct fake_net **ret)
{
    struct fake_net *net = calloc(1, sizeof *net);
    if (net == NULL) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a network");
    }
    net->random = seed;
    net->delay_min_ns = 1000;
    net->delay_max_ns = 2000;
    net->corrupt_in = UINT64_MAX;
    net->chunk_bytes = CHUNK_BYTES;
    net->port_last = 1023;
    *ret = net;
    return MOB_OK;
}

void fake_net_destroy(struct fake_net *net)
{
    if (net != NULL) {
        MOB_ASSERT(net->nodes == NULL && net->count == 0);
        free(net->heap);
        free(net);
    }
}

void fake_net_delay(struct fake_net *net, uint64_t min_ns, uint64_t max_ns)
{
    MOB_ASSERT(min_ns <= max_ns);
    net->delay_min_ns = min_ns;
    net->delay_max_ns = max_ns;
}

void fake_net_chunk(struct fake_net *net, uint64_t bytes)
{
    MOB_ASSERT(bytes > 0);
    net->chunk_bytes = bytes;
}

void fake_net_corrupt(struct fake_net *net, uint64_t skip)
{
    net->corrupt_in = skip;
}

uint64_t fake_net_now_ns(const struct fake_net *net)
{
    return net->now_ns;
}

/* ---- timers
 * ------------------------------------------------------------------------------ */

static bool before(const struct fake_timer *a, const struct fake_timer *b)
{
    return a->deadline_ns < b->deadline_ns ||
           (a->deadline_ns == b->deadline_ns && a->sequence < b->sequence);
}

static void put(struct fake_net *net, uint32_t place, struct fake_timer *timer)
{
    net->heap[place - 1] = timer;
    timer->place = place;
}

/* Moves @timer up or down from @place, where nobody is. */
static void settle(struct fake_net *net, uint32_t place, struct fake_timer *timer)
{
    while (place > 1 && before(timer, net->heap[place / 2 - 1])) {
        put(net, place, net->heap[place / 2 - 1]);
        place /= 2;
    }
    for (;;) {
        uint32_t child = place * 2;
        if (child < net->count && before(net->heap[child], net->heap[child - 1])) {
            child++;
        }
        if (child > net->count || !before(net->heap[child - 1], timer)) {
            break;
        }
        put(net, place, net->heap[child - 1]);
        place = child;
    }
    put(net, place, timer);
}

void fake_net_timer_stop(struct fake_net *net, struct fake_timer *timer)
{
    uint32_t place = timer->place;
    if (place != 0) {
        struct fake_timer *last = net->heap[--net->count];
        timer->place = 0;
        if (last != timer) {
            settle(net, place, last);
        }
    }
}

void fake_net_timer_start(struct fake_net *net, struct fake_timer *timer,
                          uint64_t deadline_ns, void (*fired)(struct fake_timer *timer))
{
    fake_net_timer_stop(net, timer);
    if (net->count == net->room) {
        net->room = net->room != 0 ? 2 * net->room : 256;
        net->heap = realloc(net->heap, net->room * sizeof(struct fake_timer *));
        MOB_ASSERT(net->heap != NULL);
    }
    timer->fired = fired;
    timer->deadline_ns = deadline_ns > net->now_ns ? deadline_ns : net->now_ns;
    timer->sequence = net->sequence++;
    settle(net, ++net->count, timer);
}

bool fake_net_step(struct fake_net *net)
{
    if (net->count == 0) {
        return false;
    }
    struct fake_timer *timer = net->heap[0];
    fake_net_timer_stop(net, timer);
    net->now_ns = timer->deadline_ns;
    timer->fired(timer);
    return true;
}

/* ---- events
 * ------------------------------------------------------------------------------ */

/* splitmix64 */
static uint64_t draw(struct fake_net *net)
{
    uint64_t x = net->random += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static void leave_peer(struct fake_event *event)
{
    if (event->peer != NULL) {
        *event->at = event->next;
        if (event->next != NULL) {
            event->next->at = event->at;
        }
    }
}

static void event_fired(struct fake_timer *timer)
{
    struct fake_event *event = (struct fake_event *)timer;
    leave_peer(event);
    fake_deliver(event);
    free(event);
}

static struct fake_event *post(struct fake *node, struct fake_peer *peer,
                               enum fake_kind kind, const void *data, size_t size)
{
    struct fake_event *event = calloc(1, sizeof *event + size);
    MOB_ASSERT(event != NULL);
    event->kind = kind;
    event->peer = peer;
    event->node = node;
    event->size = size;
    if (size != 0) {
        memcpy(event->data, data, size);
    }
    if (peer != NULL) {
        event->next = peer->events;
        event->at = &peer->events;
        if (event->next != NULL) {
            event->next->at = &event->next;
        }
        peer->events = event;
    }
    return event;
}

static uint64_t drawn_delay(struct fake_net *net)
{
    return net->delay_min_ns + draw(net) % (net->delay_max_ns - net->delay_min_ns + 1);
}

/* Nothing overtakes within a channel. */
static void set_out(struct fake_event *event, unsigned channel, uint64_t time_ns)
{
    struct fake_peer *peer = event->peer;
    if (peer != NULL) {
        if (time_ns <= peer->last_ns[channel]) {
            time_ns = peer->last_ns[channel] + 1;
        }
        peer->last_ns[channel] = time_ns;
    }
    fake_net_timer_start(event->node->net, &event->timer, time_ns, event_fired);
}

struct fake_event *fake_post(struct fake *node, struct fake_peer *peer, unsigned channel,
                             enum fake_kind kind, const void *data, size_t size)
{
    struct fake_event *event = post(node, peer, kind, data, size);
    uint64_t latency = node->latency_ns;
    if (peer != NULL && peer->other != NULL) {
        latency += peer->other->node->latency_ns;
    }
    set_out(event, channel, node->net->now_ns + latency + drawn_delay(node->net));
    return event;
}

static uint64_t wire_ns(const struct fake *node, uint64_t size)
{
    const __uint128_t second = 1000000000;
    return node->bytes_per_second == 0
               ? 0
               : (uint64_t)(size * second / node->bytes_per_second);
}

struct fake_event *fake_post_chunk(struct fake_peer *puller, unsigned channel,
                                   uint64_t size)
{
    struct fake *from = puller->other->node, *to = puller->node;
    struct fake_net *net = to->net;
    struct fake_event *event = post(to, puller, FAKE_CHUNK, NULL, 0);
    uint64_t begin = net->now_ns > from->out_free_ns ? net->now_ns : from->out_free_ns;
    uint64_t way = from->latency_ns + to->latency_ns + drawn_delay(net);
    uint64_t first = begin + way > to->in_free_ns ? begin + way : to->in_free_ns;
    from->out_free_ns = begin + wire_ns(from, size);
    to->in_free_ns = first + wire_ns(to, size);
    /* The slower of the two links says when its last byte is there. */
    set_out(event, channel,
            from->out_free_ns + way > to->in_free_ns ? from->out_free_ns + way
                                                     : to->in_free_ns);
    return event;
}

void fake_net_link(struct transport *tp, uint64_t bytes_per_second, uint64_t latency_ns)
{
    struct fake *node = (struct fake *)tp;
    node->bytes_per_second = bytes_per_second;
    node->latency_ns = latency_ns;
}

void fake_forget(struct fake_net *net, struct fake_peer *peer)
{
    struct fake_event *event = peer->events;
    peer->events = NULL;
    while (event != NULL) {
        struct fake_event *next = event->next;
        fake_net_timer_stop(net, &event->timer);
        free(event);
        event = next;
    }
}
