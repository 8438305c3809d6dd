/* cluster_peers.c - peers, their connections, and the messages that wait for them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "scheduler/spread.h"

struct message {
    struct message *next;
    struct peer *from; /* of local ones: who is meant to have sent it */
    size_t size;
    uint8_t data[];
};

static void enqueue(struct message ***end, const void *data, size_t size,
                    struct peer *from)
{
    struct message *m = malloc(sizeof *m + size);
    if (!m) {
        log_error("no memory for a message between nodes; ending");
        abort(); /* half of a protocol is worse than a dead node, which others know to handle */
    }
    m->next = NULL;
    m->from = from;
    m->size = size;
    memcpy(m->data, data, size);
    **end = m;
    *end = &m->next;
}

/* ---- peers ------------------------------------------------------------------------------------- */

struct peer *cluster_peer(struct cluster *c, uint64_t id)
{
    struct peer *p = c->peers;
    while (p && p->id != id) {
        p = p->next;
    }
    return p;
}

struct peer *cluster_peer_make(struct cluster *c, uint64_t id)
{
    struct peer *p = cluster_peer(c, id);
    if (p) {
        return p;
    }
    p = calloc(1, sizeof *p);
    if (!p) {
        log_error("no memory for another peer");
        return NULL;
    }
    p->cluster = c;
    p->id = id;
    snprintf(p->host, sizeof p->host, "node-%010llx", (unsigned long long)id);
    p->queue_end = &p->queue;
    pull_source_init(&p->line);
    p->line.open = !c->self; /* the first is ourselves */
    p->next = c->peers;
    c->peers = p;
    return p;
}

static void set_text(char *to, size_t room, const char *text, char least)
{
    size_t i = 0;
    for (; i < room - 1 && text[i]; i++) {
        to[i] = text[i] >= least && text[i] <= '~' ? text[i] : '?';
    }
    to[i] = '\0';
}

void cluster_set_host(struct peer *p, const char *host)
{
    set_text(p->host, sizeof p->host, host, '!');
}

void cluster_set_loop(struct peer *p, const char *loop)
{
    set_text(p->loop, sizeof p->loop, loop, ' ');
}

bool cluster_reachable(const struct peer *p)
{
    return p == p->cluster->self || p->links[0] ||
           (p->address[0] && !p->gone &&
            (p->dial || loop_now_ns(p->cluster->node->loop) >= p->dial_after));
}

static void drop_queue(struct peer *p)
{
    while (p->queue) {
        struct message *m = p->queue;
        p->queue = m->next;
        free(m);
    }
    p->queue_end = &p->queue;
    p->queue_bytes = 0;
}

static void peer_free(struct peer *p)
{
    drop_queue(p);
    free(p->words);
    free(p);
}

/* The head names members, and says when they are dead. A connection can come from others too, which
 * are nothing to us once it is gone. */
static bool of_no_use(const struct cluster *c, const struct peer *p)
{
    bool stranger = !p->member && !p->joined && !p->queue;
    return (p->gone || stranger) && !p->links[0] && !p->dial && p != c->self &&
           p != c->head && p != c->joining && p->pulls == 0;
}

void cluster_reap(struct cluster *c)
{
    for (struct peer **at = &c->peers; *at;) {
        struct peer *p = *at;
        if (of_no_use(c, p)) {
            *at = p->next;
            peer_free(p);
        } else {
            at = &p->next;
        }
    }
}

unsigned cluster_nodes(const struct node *n)
{
    unsigned count = 0;
    for (struct peer *p = n->cluster ? n->cluster->peers : NULL; p; p = p->next) {
        count += p->member && !p->gone;
    }
    return count ? count : 1;
}

/* ---- sending --------------------------------------------------------------------------------------- */

static void flush(struct peer *p)
{
    while (p->queue && p->links[0]) {
        struct message *m = p->queue;
        mob_status st = transport_send(p->links[0], m->data, m->size);
        if (st == MOB_ERR_FULL) {
            return; /* writable() comes */
        }
        if (st) { /* going down: peer_down() comes */
            return;
        }
        p->queue = m->next;
        if (!p->queue) {
            p->queue_end = &p->queue;
        }
        p->queue_bytes -= m->size;
        free(m);
    }
}

/* True: it is to be said, after @ret_unsaid times that it was not. */
static bool complain(struct complaint *k, uint64_t now, uint32_t *ret_unsaid)
{
    if (now < k->next_ns) {
        k->unsaid++;
        return false;
    }
    uint64_t pause = k->pause_ns ? 2 * k->pause_ns : COMPLAINT_MIN_NS;
    *ret_unsaid = k->unsaid;
    k->pause_ns = pause < COMPLAINT_MAX_NS ? pause : COMPLAINT_MAX_NS;
    k->next_ns = now + k->pause_ns;
    k->unsaid = 0;
    return true;
}

static void not_reached(struct complaint *k, const struct cluster *c, const char *who,
                        const char *reason)
{
    uint32_t unsaid;
    if (!complain(k, loop_now_ns(c->node->loop), &unsaid)) {
        return;
    }
    if (unsaid) {
        log_warn("%s is not reached: %s (and %u times before)", who, reason, unsaid);
    } else {
        log_warn("%s is not reached: %s", who, reason);
    }
}

static void peer_not_reached(struct peer *p, const char *reason)
{
    char who[sizeof p->host + sizeof p->address + 16];
    snprintf(who, sizeof who, "node %s at %s", p->host, p->address);
    not_reached(&p->unreached, p->cluster, who, reason);
}

void cluster_dial(struct peer *p)
{
    struct cluster *c = p->cluster;
    struct addr addr;
    if (p->dial || p->links[0] || !p->address[0] || c->closing) {
        return;
    }
    p->dial_after = loop_now_ns(c->node->loop) + PEER_DIAL_NS;
    mob_status st = addr_parse(p->address, ADDR_CONNECT, &addr);
    if (!st) {
        st = transport_connect(c->transport, &addr, p, &p->dial);
    }
    if (st) {
        peer_not_reached(p, mob_last_error());
    }
}

struct codec_writer cluster_begin(struct cluster *c, enum wire_op op)
{
    struct codec_writer w;
    codec_writer_init(&w, c->scratch, WIRE_BATCH_BYTES);
    codec_put_u8(&w, (uint8_t)op);
    return w;
}

void cluster_send(struct peer *p, const struct codec_writer *w)
{
    struct cluster *c = p->cluster;
    size_t size = codec_written(w);
    MOB_ASSERT(w->ok);
    if (p == c->self) {
        enqueue(&c->local_end, w->begin, size, p);
        cluster_soon(c);
        return;
    }
    if (p->gone || c->closed) {
        return;
    }
    if (p->links[0] && !p->queue &&
        transport_send(p->links[0], w->begin, size) == MOB_OK) {
        return;
    }
    enqueue(&p->queue_end, w->begin, size, NULL);
    p->queue_bytes += size;
    cluster_dial(p);
    if (!p->links[0] && !p->dial) {
        cluster_soon(c);
    }
    if (p->queue_bytes > PEER_QUEUE_MAX) {
        log_warn("node %s takes no messages: %llu bytes wait for it; giving it up",
                 p->host, (unsigned long long)p->queue_bytes);
        p->dial_after = loop_now_ns(c->node->loop) + PEER_DIAL_NS;
        for (int i = 0; i < 2; i++) {
            if (p->links[i]) {
                transport_disconnect(p->links[i]); /* the rest comes with peer_down() */
            }
        }
    }
}

void cluster_to_head(struct cluster *c, const struct codec_writer *w)
{
    if (c->head) {
        cluster_send(c->head, w);
    }
}

void cluster_deliver_local(struct cluster *c)
{
    struct message *m = c->local;
    c->local = NULL;
    c->local_end = &c->local;
    while (m) {
        struct message *next = m->next;
        if (!c->closing && !cluster_dispatch(c->self, m->data, m->size)) {
            log_error("a malformed message to ourselves, op %u", m->data[0]);
        }
        free(m);
        m = next;
    }
}

/* ---- connections come and go ------------------------------------------------------------------------ */

void cluster_writable(void *arg, struct transport_peer *tp)
{
    struct peer *p = tp->tag;
    if (p && p != arg) {
        flush(p);
        fetch_peer_ready(p);
        fetch_pump(p->cluster);
    }
}

void cluster_peer_up(void *arg, struct transport_peer *tp,
                     const struct transport_peer_info *info)
{
    struct cluster *c = arg;
    bool head = info->dialed && info->tag == c;
    struct peer *meant = head ? NULL : info->tag;
    if (head) {
        c->head_dial = NULL;
    }
    if (meant) {
        meant->dial = NULL;
        cluster_soon(c); /* if it is another one that answered, it is lost */
    }
    struct peer *p = meant && meant->id != info->node_id
                         ? NULL /* another incarnation listens there now */
                         : cluster_peer_make(c, info->node_id);
    if (!p || p == c->self || p->gone || c->closing || p->links[1]) {
        tp->tag = NULL;
        transport_disconnect(tp);
        return;
    }
    tp->tag = p;
    p->links[p->links[0] ? 1 : 0] = tp;
    p->line.open = true;
    p->heard_ns = loop_now_ns(c->node->loop);
    p->unreached = (struct complaint){0};
    snprintf(p->seen, sizeof p->seen, "%s", info->address);
    log_info("connected node %010llx at %s", (unsigned long long)p->id, info->address);
    if (head) {
        c->head_unreached = (struct complaint){0};
        addr_text(&c->head_addr, p->address);
        member_join(c, p);
    }
    flush(p);
    fetch_peer_ready(p);
    fetch_pump(c);
}

void cluster_lose(struct peer *p, const char *why)
{
    struct cluster *c = p->cluster;
    bool met = p->links[0] != NULL; /* else what was sent to it has not left */
    for (int i = 0; i < 2; i++) {
        struct transport_peer *tp = p->links[i];
        p->links[i] = NULL;
        if (tp && tp->tag == p) {
            tp->tag = NULL;
            transport_disconnect(tp);
        }
    }
    drop_queue(p);
    p->dial_after = loop_now_ns(c->node->loop) + PEER_DIAL_NS;
    if (met) { /* else it was said that it is not reached */
        log_info("lost node %s (%010llx): %s", p->host, (unsigned long long)p->id, why);
    }
    p->line.open = false;
    spread_node_lost(c->spread, p->id);
    fold_peer_lost(p); /* first: nothing more is said to it */
    fetch_peer_lost(p);
    away_peer_lost(c, p, met);
    guest_peer_lost(c, p);
    ask_peer_lost(p);
    if (p == c->head) {
        member_head_lost(c);
    }
    c->joining = p == c->joining ? NULL : c->joining;
    cluster_soon(c);
}

/* What waits for a connection that nobody is making would wait for ever, and tasks with it. */
void cluster_lose_unreachable(struct cluster *c)
{
    for (struct peer *p = c->peers; p; p = p->next) {
        if (p->queue && !p->links[0] && !p->dial && !c->closing) {
            cluster_lose(p, "no connection to it can be made");
        }
    }
}

void cluster_head_unreachable(struct cluster *c, mob_status st, const char *reason)
{
    bool hopeless = st == MOB_ERR_KEY || st == MOB_ERR_VERSION || st == MOB_ERR_PROTOCOL;
    bool patient = loop_now_ns(c->node->loop) < c->started_ns + JOIN_PATIENCE_NS;
    char who[ADDR_TEXT_SIZE + 256];
    snprintf(who, sizeof who, "the head at %s", c->node->config.head_address);
    not_reached(&c->head_unreached, c, who, reason);
    if (!c->ever_joined && (hopeless || !patient)) {
        node_not_ready(c->node, st, reason);
    }
}

void cluster_peer_down(void *arg, struct transport_peer *tp, mob_status st,
                       const char *reason)
{
    struct cluster *c = arg;
    struct peer *p = tp->tag;
    if (tp == c->head_dial) {
        c->head_dial = NULL;
        if (!c->closing) {
            cluster_head_unreachable(c, st, reason);
        }
    } else if (p && p->dial == tp) {
        p->dial = NULL;
        if (!c->closing && !p->links[0]) {
            peer_not_reached(p, reason);
            cluster_lose(p, reason);
        }
    } else if (p && (p->links[0] == tp || p->links[1] == tp)) {
        tp->tag = NULL; /* the handle is going by itself */
        cluster_lose(p, reason);
    }
    plan_arm(c->node);
}

void cluster_free_peers(struct cluster *c)
{
    while (c->local) {
        struct message *m = c->local;
        c->local = m->next;
        free(m);
    }
    while (c->peers) {
        struct peer *p = c->peers;
        c->peers = p->next;
        peer_free(p);
    }
}
