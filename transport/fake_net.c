/* Virtual time: events in their order, delays drawn from the seed. */
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
    net->port_last = 1023;
    *ret = net;
    return MOB_OK;
}

void fake_net_destroy(struct fake_net *net)
{
    MOB_ASSERT(net == NULL || (net->nodes == NULL && net->events == NULL));
    free(net);
}

void fake_net_delay(struct fake_net *net, uint64_t min_ns, uint64_t max_ns)
{
    MOB_ASSERT(min_ns <= max_ns);
    net->delay_min_ns = min_ns;
    net->delay_max_ns = max_ns;
}

void fake_net_corrupt(struct fake_net *net, uint64_t skip)
{
    net->corrupt_in = skip;
}

uint64_t fake_net_now_ns(const struct fake_net *net)
{
    return net->now_ns;
}

/* splitmix64 */
static uint64_t draw(struct fake_net *net)
{
    uint64_t x = net->random += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

struct fake_event *fake_post(struct fake *node, struct fake_peer *peer, unsigned channel,
                             enum fake_kind kind, const void *data, size_t size)
{
    struct fake_net *net = node->net;
    struct fake_event *event = calloc(1, sizeof *event + size);
    MOB_ASSERT(event != NULL);
    event->kind = kind;
    event->peer = peer;
    event->node = node;
    event->size = size;
    if (size != 0) {
        memcpy(event->data, data, size);
    }
    event->time_ns = net->now_ns + net->delay_min_ns +
                     draw(net) % (net->delay_max_ns - net->delay_min_ns + 1);
    if (peer != NULL) { /* nothing overtakes within a channel */
        if (event->time_ns <= peer->last_ns[channel]) {
            event->time_ns = peer->last_ns[channel] + 1;
        }
        peer->last_ns[channel] = event->time_ns;
    }
    struct fake_event **at = &net->events;
    while (*at != NULL && (*at)->time_ns <= event->time_ns) {
        at = &(*at)->next;
    }
    event->next = *at;
    *at = event;
    return event;
}

void fake_forget(struct fake_net *net, const struct fake_peer *peer)
{
    struct fake_event **at = &net->events;
    while (*at != NULL) {
        struct fake_event *event = *at;
        if (event->peer == peer) {
            *at = event->next;
            free(event);
        } else {
            at = &event->next;
        }
    }
}

bool fake_net_step(struct fake_net *net)
{
    struct fake_event *event = net->events;
    if (event == NULL) {
        return false;
    }
    net->events = event->next;
    net->now_ns = event->time_ns;
    fake_deliver(net, event);
    free(event);
    return true;
}
