/* member.c - this node as a member: the words of its planner to the head, and the head's to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"

/* ---- to the head -------------------------------------------------------------------------------- */

static void word_to_head(struct cluster *c, const struct codec_writer *w)
{
    c->words_sent += c->head != NULL;
    cluster_to_head(c, w);
}

/* The planner says how many tasks it wants sent in all, until it hears how many were: a second word
 * of a lease takes the place of the first. */
static void note_send(struct cluster *c, const struct plan_node_action *a)
{
    struct send_job *s = c->sends;
    while (s && s->lease != a->lease) {
        s = s->next;
    }
    if (!s) {
        s = malloc(sizeof *s);
        MOB_ASSERT(s);
        s->next = NULL;
        *c->sends_end = s;
        c->sends_end = &s->next;
        cluster_soon(c);
    }
    struct send_job *next = s->next;
    *s = (struct send_job){next, a->job, a->node, a->lease, a->epoch, a->cls, a->count};
}

void member_act(struct cluster *c, const struct plan_node_action *a)
{
    struct codec_writer w;
    switch (a->kind) {
    case PLAN_SEND:
        note_send(c, a);
        return;
    case PLAN_REPORT:
        w = cluster_begin(c, WIRE_REPORT);
        resources_put(&w, a->offer);
        break;
    case PLAN_DEMAND:
        w = cluster_begin(c, WIRE_DEMAND);
        wire_put_key(&w, a->job);
        codec_put_u32(&w, a->cls);
        wire_put_demand(&w, a->demand);
        codec_put_u32(&w, a->weight);
        codec_put_u32(&w, a->count);
        codec_put_u32(&w, a->hints_count);
        for (uint32_t i = 0; i < a->hints_count; i++) {
            codec_put_u64(&w, a->hints[i].node);
            codec_put_u64(&w, a->hints[i].bytes);
        }
        break;
    case PLAN_HOLD_SAID:
        group_hold_said(c, a->hold, a->offer);
        return;
    case PLAN_LEASE_HELD:
        w = cluster_begin(c, WIRE_HELD);
        codec_put_u64(&w, a->lease);
        codec_put_u32(&w, a->epoch);
        codec_put_u32(&w, a->count);
        resources_put(&w, a->offer);
        break;
    default:
        return;
    }
    word_to_head(c, &w);
}

void member_join(struct cluster *c, struct peer *head)
{
    struct codec_writer w = cluster_begin(c, WIRE_JOIN);
    codec_put_u32(&w, WIRE_VERSION);
    codec_put_u64(&w, c->session);
    codec_put_u64(&w, c->head_id);
    codec_put_u64(&w, (uint64_t)c->node->cpus * CPU_UNITS);
    codec_put_u64(&w, c->node->budget.limit_bytes);
    codec_put_u16(&w, c->port);
    codec_put_str(&w, c->node->host);
    codec_put_str(&w, c->self->loop);
    codec_put_raw(&w, c->ip, sizeof c->ip);
    resources_put(&w, &c->node->capacity);
    codec_put_str(&w, c->node->labels);
    c->joining = head == c->self ? NULL : head;
    cluster_send(head, &w);
}

void member_beat(struct cluster *c)
{
    struct codec_writer w = cluster_begin(c, WIRE_HEARTBEAT);
    struct resources used = plan_node_used(c->node->plan);
    resources_put(&w, &used);
    codec_put_u64(&w, c->node->budget.used_bytes);
    codec_put_u32(&w, status_tasks(c->node));
    c->beats += c->head != NULL;
    cluster_to_head(c, &w);
}

void member_head_lost(struct cluster *c)
{
    log_warn("the head at %s is lost; this node goes on and looks for it",
             c->is_head ? "here" : c->node->config.head_address);
    c->head = NULL;
    c->head_lost_ns = loop_now_ns(c->node->loop);
    plan_node_head_down(c->node->plan, loop_now_ns(c->node->loop));
    status_head_lost(c->node);
}

/* ---- from the head ---------------------------------------------------------------------------------- */

static bool welcome(struct peer *p, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    uint64_t id = codec_get_u64(r);
    if (!codec_done(r) || id == 0) {
        return false;
    }
    if (id != c->head_id) { /* a new one: it says anew who is a member */
        for (struct peer *q = c->peers; q; q = q->next) {
            q->member = q == c->self;
        }
    }
    c->head_id = id;
    c->head = p;
    c->head_node = p->id;
    c->joining = NULL;
    log_info("joined the cluster of head %010llx", (unsigned long long)p->id);
    plan_node_head_up(c->node->plan, id, loop_now_ns(c->node->loop));
    group_say_all(c);
    if (!c->ever_joined) {
        c->ever_joined = true;
        node_ready(c->node);
    }
    return true;
}

static bool refusal(struct peer *p, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    char text[WIRE_TEXT_MAX];
    mob_status st = (mob_status)(int32_t)codec_get_u32(r);
    codec_get_str(r, text, sizeof text);
    if (!codec_done(r) || st >= 0) {
        return false;
    }
    log_warn("the head refuses this node: %s", text);
    if (st == MOB_ERR_NODE_LOST || (st == MOB_ERR_EXISTS && c->ever_joined)) {
        cluster_rejoin(c);
    } else if (!c->ever_joined) {
        node_not_ready(c->node, st, text);
    }
    return true;
}

static bool node_word(struct peer *from, struct codec_reader *r)
{
    struct cluster *c = from->cluster;
    char address[ADDR_TEXT_SIZE], host[64], loop[PEER_LOOP_BYTES];
    char labels[LABELS_MAX + 1];
    struct resources capacity;
    uint64_t id = codec_get_u64(r);
    codec_get_str(r, address, sizeof address);
    codec_get_str(r, host, sizeof host);
    uint64_t store = codec_get_u64(r);
    codec_get_str(r, loop, sizeof loop);
    bool good = resources_get(r, &capacity);
    codec_get_str(r, labels, sizeof labels);
    if (!good || !codec_done(r) || id == 0 || !resources_ok(&capacity)) {
        return false;
    }
    struct peer *p = cluster_peer_make(c, id);
    if (!p) {
        return true;
    }
    p->member = true;
    if (p != c->self) {
        p->capacity = capacity;
        memcpy(p->labels, labels, sizeof labels);
        p->store_bytes = store;
        cluster_set_host(p, host);
        cluster_set_loop(p, loop);
        if (p != from) { /* the head's address is the one by which we found it */
            snprintf(p->address, sizeof p->address, "%s", address);
        }
        demand_look_all(c->node);
    }
    return true;
}

static bool dead_word(struct peer *from, struct codec_reader *r)
{
    struct cluster *c = from->cluster;
    uint64_t id = codec_get_u64(r);
    if (!codec_done(r)) {
        return false;
    }
    if (id == c->self->id) {
        if (!c->is_head) {
            cluster_rejoin(c);
        }
        return true;
    }
    struct peer *p = cluster_peer(c, id);
    if (p && !p->gone) {
        p->gone = true;
        p->member = false;
        cluster_lose(p, "declared dead");
        plan_node_peer_lost(c->node->plan, id, loop_now_ns(c->node->loop));
    }
    return true;
}

/* The class as our planner knows it. */
static bool lease_class(struct cluster *c, struct guest_key *k, struct plan_lease *l)
{
    uint32_t place;
    if (guest_key_class(k, &l->demand, &place) != MOB_OK) {
        guest_key_tidy(c, k);
        if (guest_key_class(k, &l->demand, &place) != MOB_OK) {
            return false;
        }
    }
    l->cls = k->class_name[place];
    return true;
}

/* The job as our planner knows it: its own name for our jobs, a key for others'. */
static bool lease_word(struct peer *from, struct codec_reader *r)
{
    struct cluster *c = from->cluster;
    struct plan_lease l = {0};
    l.lease = codec_get_u64(r);
    l.epoch = codec_get_u32(r);
    l.job = wire_get_key(r);
    l.owner = codec_get_u64(r);
    l.cls = codec_get_u32(r);
    bool good = wire_get_demand(r, &l.demand);
    l.weight = codec_get_u32(r);
    l.slots = codec_get_u32(r);
    if (!good || !codec_done(r)) {
        return false;
    }
    bool refuse = false;
    timeline_note(c->node, TIMELINE_LEASE, l.job.number, timeline_now(c->node), l.lease,
                  l.owner, (uint64_t)l.slots << 32 | l.epoch, MOB_OK);
    if (l.owner != c->self->id) {
        struct guest_key *k = guest_key_get(c, l.owner, l.job, l.slots > 0);
        refuse = !k || k->failed || !lease_class(c, k, &l);
        l.job = k ? k->ours : l.job;
    }
    mob_status st = refuse ? MOB_ERR_FULL : MOB_OK;
    if (!refuse || l.slots == 0) {
        st = plan_node_lease(c->node->plan, &l, loop_now_ns(c->node->loop));
    }
    if (st && st != MOB_ERR_STATE) { /* not here: the head looks elsewhere */
        struct codec_writer w = cluster_begin(c, WIRE_HELD);
        struct resources offer = plan_node_offer(c->node->plan);
        codec_put_u64(&w, l.lease);
        codec_put_u32(&w, l.epoch);
        codec_put_u32(&w, 0);
        resources_put(&w, &offer);
        word_to_head(c, &w);
    }
    return true;
}

static bool grant_word(struct peer *from, struct codec_reader *r)
{
    struct cluster *c = from->cluster;
    uint64_t lease = codec_get_u64(r);
    uint32_t epoch = codec_get_u32(r);
    struct plan_job job = wire_get_key(r);
    uint32_t cls = codec_get_u32(r);
    uint64_t node = codec_get_u64(r);
    uint32_t slots = codec_get_u32(r);
    if (!codec_done(r)) {
        return false;
    }
    timeline_note(c->node, TIMELINE_GRANT, job.number, timeline_now(c->node), lease, node,
                  (uint64_t)slots << 32 | epoch, MOB_OK);
    /* The planner knows itself by the name that this daemon was born with. */
    node = node == c->self->id ? c->node->id : node;
    (void)plan_node_grant(c->node->plan, lease, epoch, job, cls, node, slots,
                          loop_now_ns(c->node->loop));
    return true;
}

bool member_message(struct peer *p, enum wire_op op, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    bool asked = c->is_head ? p == c->self : p == c->joining;
    if (op == WIRE_WELCOME) {
        return asked && welcome(p, r);
    }
    if (op ==
        WIRE_REFUSED) { /* also one that took us in, and has declared us dead since */
        return !c->is_head && (asked || p == c->head) && refusal(p, r);
    }
    if (p != c->head) {
        return false; /* only the head says such things */
    }
    c->words_heard +=
        op == WIRE_LEASE || op == WIRE_GRANT || op == WIRE_SYNCED || op == WIRE_HOLD;
    switch (op) {
    case WIRE_NODE:
        return node_word(p, r);
    case WIRE_DEAD:
        return dead_word(p, r);
    case WIRE_LEASE:
        return lease_word(p, r);
    case WIRE_GRANT:
        return grant_word(p, r);
    case WIRE_GROUP_AT:
    case WIRE_HOLD:
        return group_from_head(p, op, r);
    case WIRE_SYNCED:
        if (!codec_done(r)) {
            return false;
        }
        plan_node_head_synced(c->node->plan, loop_now_ns(c->node->loop));
        return true;
    case WIRE_STATUS_TEXT:
        return status_text(c->node, r);
    default:
        return false;
    }
}
