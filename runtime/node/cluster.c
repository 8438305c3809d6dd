/* cluster.c - peers, their connections, and messages to and from them. */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"

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
    p->waiting_end = &p->waiting;
    p->next = c->peers;
    c->peers = p;
    return p;
}

void cluster_set_host(struct peer *p, const char *host)
{
    size_t i = 0;
    for (; i < sizeof p->host - 1 && host[i]; i++) {
        p->host[i] = host[i] > ' ' && host[i] <= '~' ? host[i] : '?';
    }
    p->host[i] = '\0';
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

/* The head names members, and says when they are dead. A connection can come from others too, which
 * are nothing to us once it is gone. */
static bool of_no_use(const struct cluster *c, const struct peer *p)
{
    bool stranger = !p->member && !p->joined && !p->queue && !p->waiting;
    return (p->gone || stranger) && !p->links[0] && !p->dial && p != c->self &&
           p != c->head && p != c->joining && p->fetching == 0;
}

static void reap(struct cluster *c)
{
    for (struct peer **at = &c->peers; *at;) {
        struct peer *p = *at;
        if (of_no_use(c, p)) {
            *at = p->next;
            drop_queue(p);
            free(p);
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

static void dial(struct peer *p)
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
        log_warn("connecting to node %s at %s: %s", p->host, p->address,
                 mob_last_error());
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
    dial(p);
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

/* ---- what must not be done from within a planner's event ------------------------------------------- */

static void deliver_local(struct cluster *c)
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

static void soon(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, soon);
    deliver_local(c);
    while (
        c->sends) { /* one at a time: each may change what the planner wants of the others */
        struct send_job *s = c->sends;
        c->sends = s->next;
        if (!c->sends) {
            c->sends_end = &c->sends;
        }
        away_send(c, s);
        free(s);
    }
    reap(c);
    plan_arm(c->node);
}

void cluster_soon(struct cluster *c)
{
    if (!c->soon.active) {
        loop_timer_start(c->node->loop, &c->soon, loop_now_ns(c->node->loop), soon);
    }
}

/* ---- what comes ----------------------------------------------------------------------------------------- */

bool cluster_dispatch(struct peer *p, const void *data, size_t size)
{
    struct codec_reader r;
    codec_reader_init(&r, data, size);
    enum wire_op op = (enum wire_op)codec_get_u8(&r);
    p->heard_ns = loop_now_ns(p->cluster->node->loop);
    switch (op) {
    case WIRE_WELCOME:
    case WIRE_REFUSED:
    case WIRE_NODE:
    case WIRE_DEAD:
    case WIRE_LEASE:
    case WIRE_GRANT:
    case WIRE_SYNCED:
    case WIRE_INFEASIBLE:
    case WIRE_STATUS_TEXT:
        return member_message(p, op, &r);
    case WIRE_HEARTBEAT:
        return codec_left(&r) == 0 ? true : head_message(p, op, &r);
    case WIRE_JOIN:
    case WIRE_GOODBYE:
    case WIRE_REPORT:
    case WIRE_DEMAND:
    case WIRE_HELD:
    case WIRE_STATUS:
        return head_message(p, op, &r);
    case WIRE_OPEN:
    case WIRE_CLOSE:
    case WIRE_TASKS:
    case WIRE_RELEASE:
    case WIRE_CANCEL:
        return guest_message(p, op, &r);
    case WIRE_CLOSED:
    case WIRE_FAILED:
    case WIRE_DONE:
    case WIRE_BACK:
    case WIRE_OUTPUT:
        return away_message(p, op, &r);
    case WIRE_OPS:
        break;
    }
    return false;
}

static void got_message(void *arg, struct transport_peer *tp, const void *data,
                        size_t size)
{
    struct cluster *c = arg;
    struct peer *p = tp->tag;
    if (!p || (void *)p == (void *)c || c->closing ||
        (p->links[0] != tp && p->links[1] != tp)) {
        return;
    }
    if (size == 0 || !cluster_dispatch(p, data, size)) {
        uint8_t op = size ? *(const uint8_t *)data : 0;
        log_warn(
            "node %s (%010llx) at %s sent a message that is malformed or not for it to "
            "say, %s (%u) of %zu bytes: disconnecting it",
            p->host, (unsigned long long)p->id, p->seen, wire_op_name(op), op, size);
        transport_disconnect(tp);
    }
    plan_arm(c->node);
}

static void writable(void *arg, struct transport_peer *tp)
{
    struct peer *p = tp->tag;
    if (p && p != arg) {
        flush(p);
        fetch_pump(p);
    }
}

static void peer_up(void *arg, struct transport_peer *tp,
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
    p->heard_ns = loop_now_ns(c->node->loop);
    snprintf(p->seen, sizeof p->seen, "%s", info->address);
    log_info("connected node %010llx at %s", (unsigned long long)p->id, info->address);
    if (head) {
        addr_text(&c->head_addr, p->address);
        member_join(c, p);
    }
    flush(p);
    fetch_pump(p);
}

void cluster_lose(struct peer *p, const char *why)
{
    struct cluster *c = p->cluster;
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
    log_info("lost node %s (%010llx): %s", p->host, (unsigned long long)p->id, why);
    fetch_peer_lost(p);
    away_peer_lost(c, p);
    guest_peer_lost(c, p);
    if (p == c->head) {
        member_head_lost(c);
    }
    c->joining = p == c->joining ? NULL : c->joining;
    cluster_soon(c);
}

static void head_unreachable(struct cluster *c, mob_status st, const char *reason)
{
    bool hopeless = st == MOB_ERR_KEY || st == MOB_ERR_VERSION || st == MOB_ERR_PROTOCOL;
    bool patient = loop_now_ns(c->node->loop) < c->started_ns + JOIN_PATIENCE_NS;
    log_warn("the head at %s is not reached: %s", c->node->config.head_address, reason);
    if (!c->ever_joined && (hopeless || !patient)) {
        node_not_ready(c->node, st, reason);
    }
}

static void peer_down(void *arg, struct transport_peer *tp, mob_status st,
                      const char *reason)
{
    struct cluster *c = arg;
    struct peer *p = tp->tag;
    if (tp == c->head_dial) {
        c->head_dial = NULL;
        if (!c->closing) {
            head_unreachable(c, st, reason);
        }
    } else if (p && p->dial == tp) {
        p->dial = NULL;
        if (!c->closing && !p->links[0]) {
            log_warn("node %s is not reached: %s", p->host, reason);
            cluster_lose(p, reason);
        }
    } else if (p && (p->links[0] == tp || p->links[1] == tp)) {
        tp->tag = NULL; /* the handle is going by itself */
        cluster_lose(p, reason);
    }
    plan_arm(c->node);
}

static void refused(void *arg, const char *address, mob_status st, const char *reason)
{
    (void)arg;
    log_warn("refused a connection from %s: %s: %s", address, mob_status_name(st),
             reason);
}

static mob_status open_transport(struct cluster *c);

static void closed(void *arg)
{
    struct cluster *c = arg;
    c->transport = NULL;
    if (c->rejoining && !c->node->stopping) {
        c->rejoining = c->closing = false;
        c->ever_joined = true; /* patient from now on */
        if (open_transport(c)) {
            log_error("joining anew: %s", mob_last_error());
            node_stop(c->node);
        }
        return;
    }
    c->closed = true;
    node_step(c->node);
}

/* ---- beginning and end ------------------------------------------------------------------------------------- */

static void dial_head(struct cluster *c)
{
    if (c->is_head || c->head || c->joining || c->head_dial || c->closing) {
        return;
    }
    struct peer *last = c->head_node ? cluster_peer(c, c->head_node) : NULL;
    if (last && last->links[0]) { /* it came to us meanwhile */
        member_join(c, last);
        return;
    }
    mob_status st = addr_parse(c->node->config.head_address, ADDR_CONNECT, &c->head_addr);
    if (!st) {
        st = transport_connect(c->transport, &c->head_addr, c, &c->head_dial);
    }
    if (st) {
        head_unreachable(c, st, mob_last_error());
    }
}

static void beat(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, beat);
    uint64_t now = loop_now_ns(c->node->loop);
    if (c->is_head) {
        head_beat(c);
    } else if (c->head && now > c->head->heard_ns + NODE_DEAD_NS) {
        cluster_lose(c->head, "the head is silent");
    } else if (c->joining && now > c->joining->heard_ns + NODE_DEAD_NS) {
        cluster_lose(c->joining, "it does not answer");
    } else if (c->head) {
        member_beat(c);
    } else {
        dial_head(c);
    }
    loop_timer_start(c->node->loop, &c->beat, now + HEARTBEAT_NS, beat);
}

/* The transport of an incarnation. */
static mob_status open_transport(struct cluster *c)
{
    struct node *n = c->node;
    struct addr addr;
    char text[ADDR_TEXT_SIZE + 80];
    struct transport_config config = {.loop = n->loop,
                                      .user = &c->user,
                                      .arg = c,
                                      .node_id = c->self->id,
                                      .key = n->config.key};
    MOB_TRY(transport_tcp.open(&config, &c->transport));
    snprintf(text, sizeof text, "%s:%u", n->config.listen ? n->config.listen : "",
             c->port);
    MOB_TRY(addr_parse(text, ADDR_LISTEN, &addr));
    MOB_TRY(transport_listen(c->transport, &addr, &addr));
    c->port = addr_port(&addr);
    addr_text(&addr, c->self->address);
    return MOB_OK;
}

/* This incarnation was declared dead: a new one takes its place. Others run again what it had of
 * theirs, and whatever they did for it is lost to it. */
void cluster_rejoin(struct cluster *c)
{
    uint64_t id = 0;
    if (c->rejoining || c->closing || c->node->stopping) {
        return;
    }
    log_warn(
        "this node was declared dead; it ends what it did for others and joins anew");
    c->rejoining = true;
    for (struct peer *p = c->peers; p; p = p->next) {
        if (p != c->self) {
            p->gone = true;
            cluster_lose(p, "declared dead ourselves");
        }
    }
    while (getrandom(&id, 5, 0) != 5 || id == 0) {
    }
    c->self->id = id;
    c->session++;
    c->head_id = 0; /* this one was never a member; the next heartbeat dials */
    c->closing = true;
    transport_close(c->transport);
}

mob_status cluster_start(struct node *n)
{
    struct cluster *c = calloc(1, sizeof *c);
    if (!c) {
        return status_fail(MOB_ERR_NOMEM, "no memory for the cluster's part");
    }
    n->cluster = c;
    c->node = n;
    c->is_head = n->config.head;
    c->port = n->config.port;
    c->started_ns = clock_now_ns();
    c->local_end = &c->local;
    c->sends_end = &c->sends;
    c->user = (struct transport_user){peer_up,      peer_down,    got_message,
                                      writable,     fetch_export, fetch_unexport,
                                      fetch_pulled, refused,      closed};
    c->scratch = malloc(WIRE_BATCH_BYTES);
    c->self = cluster_peer_make(c, n->id);
    if (!c->scratch || !c->self || getrandom(&c->session, 8, 0) != 8) {
        return status_fail(MOB_ERR_NOMEM, "no memory for the cluster's part");
    }
    c->session |= 1; /* not 0 */
    snprintf(c->self->host, sizeof c->self->host, "%s", n->host);
    c->self->cpus = n->cpus;
    c->self->store_bytes = n->budget.limit_bytes;
    MOB_TRY(open_transport(c));
    loop_timer_start(n->loop, &c->beat, clock_now_ns() + HEARTBEAT_NS, beat);
    dial_head(c);
    return c->is_head ? head_start(c) : MOB_OK;
}

void cluster_stop(struct node *n)
{
    struct cluster *c = n->cluster;
    if (!c || (c->closing && !c->rejoining)) {
        return;
    }
    if (!c->transport) {
        c->closed = true;
        return;
    }
    bool under_way = c->closing;
    if (c->head && !c->is_head) {
        struct codec_writer w = cluster_begin(c, WIRE_GOODBYE);
        cluster_send(c->head, &w);
    }
    c->closing = true;
    c->rejoining = false;
    loop_timer_stop(n->loop, &c->beat);
    loop_timer_stop(n->loop, &c->retry);
    loop_timer_stop(n->loop, &c->plan_timer);
    if (!under_way) {
        transport_close(c->transport);
    }
}

bool cluster_ended(const struct node *n)
{
    return !n->cluster || n->cluster->closed;
}

void cluster_free(struct node *n)
{
    struct cluster *c = n->cluster;
    if (!c) {
        return;
    }
    head_free(c);
    while (c->local) {
        struct message *m = c->local;
        c->local = m->next;
        free(m);
    }
    while (c->sends) {
        struct send_job *s = c->sends;
        c->sends = s->next;
        free(s);
    }
    while (c->keys) {
        struct guest_key *k = c->keys;
        c->keys = k->next;
        free(k);
    }
    while (c->peers) {
        struct peer *p = c->peers;
        c->peers = p->next;
        drop_queue(p);
        free(p);
    }
    free(c->scratch);
    free(c);
    n->cluster = NULL;
}
