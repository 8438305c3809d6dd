/* link.c - connections, as the daemon's transport has them: what was said arrives in order, or its connection
 * breaks and it is lost. A packet that is lost is sent again, and all that follows waits for it.
 *
 *   both down --dial: the way is open, both live--> both up --one end notices--> one down --the other too--> both down
 *
 * An end notices a break when the other one closes or resets; by silence if the way is cut. Words to a node
 * that is not connected wait for the connection, and are dropped if none can be made; to the head they are not
 * kept. The head is the endpoint after the last node. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define DELAY_MIN_NS (10 * NS_PER_US)
#define RTO_NS (200 * NS_PER_MS)
#define DIAL_NS (500 * NS_PER_MS)

struct message *message_new(enum word kind, uint32_t from, uint32_t to, uint32_t items)
{
    struct message *m = calloc(1, sizeof *m + items * sizeof m->items[0]);
    if (!m) {
        sim_fail("no memory for messages", from);
    }
    m->kind = kind;
    m->from = from;
    m->to = to;
    return m;
}

struct message *message_more(enum word kind, uint32_t from, uint32_t to, const void *more,
                             uint32_t size)
{
    const uint32_t each = sizeof(struct item);
    struct message *m = message_new(kind, from, to, (size + each - 1) / each);
    m->more = size;
    memcpy(m->items, more, size);
    return m;
}

uint32_t link_side(uint32_t link, uint32_t node)
{
    return sim.links[link].end[1] == node;
}

static uint64_t key_of(uint32_t a, uint32_t b)
{
    return a < b ? (uint64_t)a << 32 | b : (uint64_t)b << 32 | a;
}

uint32_t link_find(uint32_t a, uint32_t b)
{
    return index_find(&sim.link_index, key_of(a, b));
}

uint32_t link_make(uint32_t a, uint32_t b)
{
    uint32_t at = link_find(a, b);
    if (at != NONE) {
        return at;
    }
    if (sim.links_count == sim.links_room) {
        sim_fail("more connections than there is room for", a);
    }
    at = sim.links_count++;
    struct link *l = &sim.links[at];
    *l = (struct link){.end = {a, b}, .away = {NONE, NONE}};
    for (int side = 0; side < 2; side++) {
        l->wait_end[side] = &l->wait[side];
        if (l->end[side] < sim.count) {
            l->next[side] = sim.nodes[l->end[side]].links;
            sim.nodes[l->end[side]].links = at;
        }
    }
    index_put(&sim.link_index, key_of(a, b), at);
    return at;
}

static bool lives(uint32_t end)
{
    return end == sim.count ? sim.head != NULL : sim.nodes[end].alive;
}

/* Until when nothing passes in this direction. */
static uint64_t cut_until(uint32_t from, uint32_t to)
{
    uint64_t a = from < sim.count ? sim.nodes[from].cut[OUT] : 0;
    uint64_t b = to < sim.count ? sim.nodes[to].cut[IN] : 0;
    return a > b ? a : b;
}

static bool is_cut(const struct link *l)
{
    return cut_until(l->end[0], l->end[1]) > sim.now ||
           cut_until(l->end[1], l->end[0]) > sim.now;
}

static void drop_waiting(struct link *l, uint32_t side)
{
    while (l->wait[side]) {
        struct message *m = l->wait[side];
        l->wait[side] = m->next;
        free(m);
    }
    l->wait_end[side] = &l->wait[side];
}

void link_forget(uint32_t link)
{
    drop_waiting(&sim.links[link], 0);
    drop_waiting(&sim.links[link], 1);
}

static void dial(uint32_t at, uint64_t in)
{
    if (!sim.links[at].dialing) {
        sim.links[at].dialing = true;
        sim_post(
            (struct event){.at = sim.now + in, .kind = EV_DIAL, .node = NONE, .a = at});
    }
}

static void transmit(struct link *l, uint32_t side, struct message *m)
{
    uint64_t at = sim.now + DELAY_MIN_NS + sim_exponential(sim.lag_ns);
    while (sim.loss && sim.now < sim.healed_at && sim_draw(sim.loss) == 0) {
        at += RTO_NS;
    }
    uint64_t until = cut_until(m->from, m->to);
    at = until > sim.now && at < until ? until + RTO_NS : at;
    at = at > l->last[side] ? at : l->last[side] + 1;
    l->last[side] = at;
    m->serial = l->serial;
    bool head = m->to == sim.count || m->from == sim.count;
    /* All words of one event to one place are one message; heartbeats are not counted. */
    sim.messages += head && m->kind != HEARTBEAT && l->event[side] != sim.events;
    l->event[side] = head && m->kind != HEARTBEAT ? sim.events : l->event[side];
    sim_post((struct event){.at = at, .kind = EV_DELIVER, .node = NONE, .m = m});
}

void link_send(struct message *m)
{
    m->link = link_make(m->from, m->to);
    struct link *l = &sim.links[m->link];
    uint32_t side = link_side(m->link, m->from);
    if (l->up[side]) {
        transmit(l, side, m);
        return;
    }
    if (m->to == sim.count || m->from == sim.count) {
        free(m);
        return;
    }
    *l->wait_end[side] = m;
    l->wait_end[side] = &m->next;
    dial(m->link, sim_draw(NS_PER_MS));
}

void link_head(uint32_t node)
{
    dial(link_make(node, sim.count), sim_draw(100 * NS_PER_MS));
}

static void lose(uint32_t at, uint32_t side, bool met)
{
    struct link *l = &sim.links[at];
    l->up[side] = false;
    drop_waiting(l, side);
    if (l->end[side] < sim.count) {
        node_lost_peer(l->end[side], l->end[!side], at, met);
    }
    if (l->end[!side] == sim.count) {
        dial(at, sim_draw(DIAL_NS));
    }
}

/* The other end notices a close at once if it can be told, else by silence. */
static void notice_later(const struct link *l, uint32_t side, bool by_silence)
{
    uint64_t in = by_silence || is_cut(l) ? NODE_DEAD_NS + sim_draw(NS_PER_S)
                                          : sim_draw(20 * NS_PER_MS);
    sim_post((struct event){.at = sim.now + in,
                            .kind = EV_NOTICE,
                            .node = NONE,
                            .a = (uint32_t)(l - sim.links),
                            .b = side,
                            .c = l->serial});
}

/* This end gives the connection up. */
static void end_here(uint32_t at, uint32_t side, bool by_silence)
{
    struct link *l = &sim.links[at];
    if (l->up[side]) {
        sim.breaks++;
        if (l->up[!side]) {
            notice_later(l, !side, by_silence);
        }
        lose(at, side, true);
    }
}

static void give_up(uint32_t at, uint32_t side, bool by_silence)
{
    if (sim.links[at].up[side]) {
        end_here(at, side, by_silence);
    } else if (sim.links[at].wait[side]) {
        lose(at, side, false);
    }
}

void link_drop_all(uint32_t node, bool by_silence)
{
    uint32_t next;
    for (uint32_t at = sim.nodes[node].links; at != NONE; at = next) {
        uint32_t side = link_side(at, node);
        next = sim.links[at].next[side];
        give_up(at, side, by_silence);
    }
}

void link_give_up(uint32_t node, uint32_t peer, uint64_t incarnation)
{
    uint32_t at = link_find(node, peer);
    if (at == NONE) {
        return;
    }
    uint32_t side = link_side(at, node);
    if (sim.nodes[peer].incarnation == incarnation || !sim.links[at].up[!side]) {
        give_up(at, side, false);
    }
}

void link_close(uint32_t link, uint32_t side)
{
    end_here(link, side, false);
}

void link_cut(uint32_t node, bool out, bool in, uint64_t until)
{
    struct node *n = &sim.nodes[node];
    n->cut[OUT] = out ? until : n->cut[OUT];
    n->cut[IN] = in ? until : n->cut[IN];
    for (uint32_t at = n->links; at != NONE;
         at = sim.links[at].next[link_side(at, node)]) {
        for (uint32_t side = 0; side < 2; side++) {
            /* Acknowledgements are cut off one way or the other, so both ends give up in time. */
            sim_post((struct event){.at = sim.now + NODE_DEAD_NS + sim_draw(NS_PER_S),
                                    .kind = EV_SILENT,
                                    .node = NONE,
                                    .a = at,
                                    .b = side,
                                    .c = sim.links[at].serial});
        }
    }
}

static void connect(uint32_t at)
{
    struct link *l = &sim.links[at];
    bool head = l->end[1] == sim.count;
    l->dialing = false;
    if (!lives(l->end[0]) && head) {
        return; /* it looks for the head itself when it is back */
    }
    if (!lives(l->end[0]) || !lives(l->end[1]) || is_cut(l)) {
        for (uint32_t side = 0; side < 2; side++) {
            if (!l->up[side] &&
                l->wait[side]) { /* else they would wait for ever, and tasks with them */
                lose(at, side, false);
            }
        }
        if (head) {
            dial(at, DIAL_NS);
        }
        return;
    }
    if (l->up[0] && l->up[1]) {
        return;
    }
    if (l->up[0] ||
        l->up[1]) { /* the one that dials resets what is left of the last connection */
        end_here(at, l->up[1], false);
        dial(at, 10 * NS_PER_MS);
        return;
    }
    l->serial++;
    l->up[0] = l->up[1] = true;
    l->last[0] = l->last[1] = sim.now;
    if (head) {
        const struct node *n = &sim.nodes[l->end[0]];
        struct message *m = message_new(JOIN, l->end[0], sim.count, 0);
        m->link = at;
        m->join = (struct plan_join){.node = n->incarnation,
                                     .session = n->incarnation ^ 77,
                                     .member_of = n->member_of,
                                     .capacity = n->capacity,
                                     .labels = n->labels};
        transmit(l, 0, m);
    }
    for (uint32_t side = 0; side < 2; side++) {
        struct message *m = l->wait[side], *next;
        l->wait[side] = NULL;
        l->wait_end[side] = &l->wait[side];
        for (; m; m = next) {
            next = m->next;
            transmit(l, side, m);
        }
    }
}

/* Planners promise more than this transport needs: a word of a lease or hold that comes twice or late does nothing,
 * as long as that lives. */
static void deliver_again(const struct message *m)
{
    bool lease =
        m->kind == UP     ? m->up.kind == PLAN_LEASE_HELD || m->up.kind == PLAN_HOLD_SAID
        : m->kind == DOWN ? m->down.kind == PLAN_LEASE || m->down.kind == PLAN_GRANT ||
                                m->down.kind == PLAN_HOLD
                          : false;
    if (!sim.doubling || !lease || m->late || sim_draw(4)) {
        return;
    }
    struct message *copy = message_more(m->kind, m->from, m->to, m->items, m->more);
    *copy = *m;
    copy->late = true;
    uint64_t in =
        sim_draw(2) ? 1 : sim_exponential(sim_draw(2) ? 2 * NS_PER_MS : 200 * NS_PER_MS);
    sim_post(
        (struct event){.at = sim.now + in, .kind = EV_DELIVER, .node = NONE, .m = copy});
}

/* What a late word is of is over at the node that it comes to. */
static bool is_past(const struct message *m)
{
    if (m->down.kind != PLAN_HOLD) {
        return check_over(&m->down);
    }
    struct plan_hold word;
    memcpy(&word, m->items, sizeof word);
    return !sim.nodes[m->to].alive || !check_holds(m->to, word.hold);
}

static void deliver(struct message *m)
{
    const struct link *l = &sim.links[m->link];
    uint32_t side = link_side(m->link, m->to);
    if (m->late &&
        m->kind == UP) { /* its offer is no part of the lease: the last word counts */
        m->offer = sim.nodes[m->from].offered;
    }
    bool past = m->late && m->kind == DOWN && is_past(m);
    if (m->serial == l->serial && l->up[side] && lives(m->to) && !past) {
        deliver_again(m);
        if (m->to == sim.count) {
            head_message(m);
        } else if (m->from == sim.count) {
            head_word(m);
        } else {
            peer_message(m);
        }
        if (m->to < sim.count && sim.nodes[m->to].alive) {
            node_after(m->to);
        }
    }
    free(m);
}

void link_event(struct event *e)
{
    struct link *l = &sim.links[e->a];
    switch (e->kind) {
    case EV_DELIVER:
        deliver(e->m);
        break;
    case EV_NOTICE:
    case EV_SILENT:
        if (l->serial == e->c && l->up[e->b] && (e->kind == EV_NOTICE || is_cut(l))) {
            end_here(e->a, e->b, e->kind == EV_SILENT);
        }
        break;
    default:
        connect(e->a);
    }
}
