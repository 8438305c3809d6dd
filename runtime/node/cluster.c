/* cluster.c - what messages go where, and the beginning and end of a node's part in a cluster. */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"
#include "journal.h"
#include "scheduler/spread.h"

/* ---- what must not be done from within a planner's event ------------------------------------------- */

static void soon(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, soon);
    cluster_deliver_local(c);
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
    cluster_lose_unreachable(c);
    cluster_reap(c);
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
    case WIRE_GROUP_AT:
    case WIRE_HOLD:
    case WIRE_STATUS_TEXT:
        return member_message(p, op, &r);
    case WIRE_HEARTBEAT:
        return codec_left(&r) == 0 ? true : head_message(p, op, &r);
    case WIRE_JOIN:
    case WIRE_GOODBYE:
    case WIRE_REPORT:
    case WIRE_DEMAND:
    case WIRE_HELD:
    case WIRE_GROUP:
    case WIRE_GROUP_END:
    case WIRE_HOLD_SAID:
    case WIRE_GROUPS_SAID:
    case WIRE_STATUS:
        return head_message(p, op, &r);
    case WIRE_OPEN:
    case WIRE_CLOSE:
    case WIRE_TASKS:
    case WIRE_RELEASE:
    case WIRE_CANCEL:
    case WIRE_SOURCE:
    case WIRE_MET:
    case WIRE_LET_GO:
        return guest_message(p, op, &r);
    case WIRE_CLOSED:
    case WIRE_FAILED:
    case WIRE_DONE:
    case WIRE_BACK:
    case WIRE_OUTPUT:
    case WIRE_COPY:
    case WIRE_MEET:
        return away_message(p, op, &r);
    case WIRE_ASK:
    case WIRE_TOLD:
        return ask_message(p, op, &r);
    case WIRE_FOLD:
    case WIRE_FLOWS:
    case WIRE_UNFOLD:
        return fold_message(p, op, &r);
    case WIRE_GROUP_MAKE:
    case WIRE_GROUP_DROP:
        return group_from_guest(p, op, &r);
    case WIRE_GROUP_NEWS:
    case WIRE_GROUP_GONE:
        return group_from_owner(p, op, &r);
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

static void tell_refused(struct cluster *c, uint64_t now)
{
    if (c->refused && now >= c->refused_ns + REFUSED_NS) {
        if (c->refused > REFUSED_LINES) {
            log_warn("refused %llu more connections in %llu s",
                     (unsigned long long)(c->refused - REFUSED_LINES),
                     (unsigned long long)((now - c->refused_ns) / NS_PER_S));
        }
        c->refused = 0;
    }
}

static void refused(void *arg, const char *address, mob_status st, const char *reason)
{
    struct cluster *c = arg;
    uint64_t now = loop_now_ns(c->node->loop);
    tell_refused(c, now);
    c->refused_ns = c->refused ? c->refused_ns : now;
    if (c->refused++ < REFUSED_LINES) {
        log_warn("refused a connection from %s: %s: %s", address, mob_status_name(st),
                 reason);
    }
}

static mob_status open_transport(struct cluster *c);

static void closed(void *arg)
{
    struct cluster *c = arg;
    c->transport = NULL;
    probe_free(c);
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
        cluster_head_unreachable(c, st, mob_last_error());
    }
}

static void beat(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, beat);
    uint64_t now = loop_now_ns(c->node->loop);
    status_rates(c);
    tell_refused(c, now);
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

/* The sockets of a killed daemon are closed in the background, with the ring that it worked on: who
 * takes its place at once may find its port still taken. */
static mob_status listen_at(struct cluster *c, struct addr *io_addr)
{
    bool wait = c->node->config.after_kill && !c->ever_joined;
    uint64_t until = clock_now_ns() + LISTEN_PATIENCE_NS;
    struct timespec nap = {0, LISTEN_NAP_NS};
    mob_status st;
    while ((st = transport_listen(c->transport, io_addr, io_addr)) == MOB_ERR_EXISTS &&
           wait && clock_now_ns() < until) {
        nanosleep(&nap, NULL); /* this node serves nobody yet */
    }
    return st;
}

void cluster_map(struct node *n, void *base, uint64_t bytes, bool writable)
{
    /* Without it the bytes move over TCP; the log, and status, say why. */
    if (n->cluster && n->cluster->transport && base) {
        (void)transport_map(n->cluster->transport, base, bytes, writable);
    }
}

void cluster_unmap(struct node *n, const void *base)
{
    if (n->cluster && n->cluster->transport && base) {
        transport_unmap(n->cluster->transport, (void *)(uintptr_t)base);
    }
}

bool cluster_has_devices(const struct node *n)
{
    return n->cluster && n->cluster->transport &&
           transport_has_devices(n->cluster->transport);
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
                                      .key = n->config.key,
                                      .encrypt = n->config.encrypt,
                                      .unchecked = n->config.unchecked,
                                      .rdma = n->config.rdma};
    MOB_TRY(transport_verbs.open(&config, &c->transport));
    grant_show_all(n); /* an incarnation after the first has segments already */
    snprintf(text, sizeof text, "%s:%u", n->config.listen ? n->config.listen : "",
             c->port);
    MOB_TRY(addr_parse(text, ADDR_LISTEN, &addr));
    MOB_TRY(listen_at(c, &addr));
    c->port = addr_port(&addr);
    memset(c->ip, 0, sizeof c->ip);
    if (!addr_is_any(&addr)) {
        addr_ip6(&addr, c->ip);
    }
    addr_text(&addr, c->self->address);
    if (n->config.encrypt) {
        log_info("what goes between nodes is encrypted");
    } else if (n->config.unchecked) {
        log_info(
            "objects go between nodes without checksums, where the other says so too");
    }
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
    spread_reset(c->spread, id);
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
    c->user = (struct transport_user){.peer_up = cluster_peer_up,
                                      .peer_down = cluster_peer_down,
                                      .message = got_message,
                                      .writable = cluster_writable,
                                      .export = export_object,
                                      .unexport = export_over,
                                      .pull_done = fetch_done,
                                      .landed = fetch_landed,
                                      .refused = refused,
                                      .closed = closed};
    c->scratch = malloc(WIRE_BATCH_BYTES);
    c->self = cluster_peer_make(c, n->id);
    if (!c->scratch || !c->self || getrandom(&c->session, 8, 0) != 8) {
        return status_fail(MOB_ERR_NOMEM, "no memory for the cluster's part");
    }
    c->session |= 1; /* not 0 */
    MOB_TRY(spread_create(n->id, CHUNK_BYTES, &c->spread));
    snprintf(c->self->host, sizeof c->self->host, "%s", n->host);
    cluster_set_loop(c->self, loop_backend(n->loop));
    c->self->capacity = n->capacity;
    memcpy(c->self->labels, n->labels, sizeof n->labels);
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
    journal_stop(c->journal);
    if (!under_way) {
        transport_close(c->transport);
    }
}

bool cluster_ended(const struct node *n)
{
    const struct cluster *c = n->cluster;
    return !c || (c->closed && journal_ended(c->journal));
}

void cluster_free(struct node *n)
{
    struct cluster *c = n->cluster;
    if (!c) {
        return;
    }
    head_free(c);
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
    cluster_free_peers(c);
    probe_free(c);
    spread_destroy(c->spread);
    free(c->scratch);
    free(c);
    n->cluster = NULL;
}
