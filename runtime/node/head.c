/* head.c - the head's side: who is a member, and the words of the head's planner. */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/clock.h"
#include "core/labels.h"
#include "core/log.h"
#include "core/status.h"
#include "journal.h"

static uint64_t now_ns(const struct cluster *c)
{
    return loop_now_ns(c->node->loop);
}

static void tick(struct loop_timer *timer);

static void arm(struct cluster *c)
{
    if (c->plan && !c->closing) {
        loop_timer_start(c->node->loop, &c->plan_timer, plan_head_deadline(c->plan),
                         tick);
    }
}

static void tick(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, plan_timer);
    plan_head_tick(c->plan, now_ns(c));
    arm(c);
}

/* ---- the planner's words ------------------------------------------------------------------------ */

static void to_all(struct cluster *c, const struct codec_writer *w)
{
    for (struct peer *p = c->peers; p; p = p->next) {
        if (p->joined && (p->links[0] || p == c->self)) {
            cluster_send(p, w);
        }
    }
}

static void say_dead(void *arg, uint64_t id)
{
    struct cluster *c = arg;
    struct codec_writer w = cluster_begin(c, WIRE_DEAD);
    codec_put_u64(&w, id);
    to_all(c, &w);
    struct peer *p = cluster_peer(c, id);
    if (p && !p->joined && p->links[0]) {
        cluster_send(p, &w); /* if it lives it must end what it does for others */
    }
}

static void forget_words(struct peer *p)
{
    free(p->words);
    p->words = NULL;
}

/* Others hear of it when it is dead for a head that starts anew as well. */
static void died(struct cluster *c, uint64_t id)
{
    struct peer *p = cluster_peer(c, id);
    if (!p || !p->joined) {
        return;
    }
    log_warn("node %s (%010llx) is dead", p->host, (unsigned long long)id);
    p->joined = false;
    forget_words(p);
    if (c->journal) {
        journal_remove(c->journal, id, false);
    } else {
        say_dead(c, id);
    }
}

static void act(void *arg, const struct plan_head_action *a)
{
    struct cluster *c = arg;
    struct codec_writer w;
    if (a->kind == PLAN_NODE_DEAD) {
        died(c, a->node);
        return;
    }
    struct peer *to = cluster_peer(c, a->to);
    if (!to || !to->joined || (to != c->self && !to->links[0])) {
        return; /* repeated when it is back */
    }
    switch (a->kind) {
    case PLAN_HOLD:
    case PLAN_GROUP:
        group_head_said(c, a);
        return;
    case PLAN_LEASE:
        w = cluster_begin(c, WIRE_LEASE);
        codec_put_u64(&w, a->lease);
        codec_put_u32(&w, a->epoch);
        wire_put_key(&w, a->job);
        codec_put_u64(&w, a->owner);
        codec_put_u32(&w, a->cls);
        wire_put_demand(&w, a->demand);
        codec_put_u32(&w, a->weight);
        codec_put_u32(&w, a->slots);
        break;
    case PLAN_GRANT:
        w = cluster_begin(c, WIRE_GRANT);
        codec_put_u64(&w, a->lease);
        codec_put_u32(&w, a->epoch);
        wire_put_key(&w, a->job);
        codec_put_u32(&w, a->cls);
        codec_put_u64(&w, a->node);
        codec_put_u32(&w, a->slots);
        break;
    case PLAN_SYNCED:
        w = cluster_begin(c, WIRE_SYNCED);
        break;
    case PLAN_NODE_DEAD:
        return;
    }
    cluster_send(to, &w);
}

/* ---- members ---------------------------------------------------------------------------------------- */

static struct codec_writer node_word(struct cluster *c, const struct peer *p)
{
    struct codec_writer w = cluster_begin(c, WIRE_NODE);
    codec_put_u64(&w, p->id);
    codec_put_str(&w, p->address);
    codec_put_str(&w, p->host);
    codec_put_u64(&w, p->store_bytes);
    codec_put_str(&w, p->loop);
    resources_put(&w, &p->capacity);
    codec_put_str(&w, p->labels);
    return w;
}

static void refuse(struct peer *p, mob_status st, const char *text)
{
    struct codec_writer w = cluster_begin(p->cluster, WIRE_REFUSED);
    log_warn("node %s (%010llx) is refused: %s", p->host, (unsigned long long)p->id,
             text);
    codec_put_u32(&w, (uint32_t)st);
    codec_put_str(&w, text);
    cluster_send(p, &w);
}

static const char *why_not(mob_status st)
{
    switch (st) {
    case MOB_ERR_VERSION:
        return "head and node are of different versions of mobula";
    case MOB_ERR_EXISTS:
        return "another node has the same incarnation";
    case MOB_ERR_NODE_LOST:
        return "this incarnation was declared dead";
    case MOB_ERR_FULL:
        return "the cluster has as many nodes as it can have";
    default:
        return "the node's description makes no sense";
    }
}

/* Where others reach the node: at the address at which it listens, or, if that is every one of
 * its host's, at the one from which it came. */
static void set_address(struct peer *p, const uint8_t ip[WIRE_IP_BYTES], uint16_t port)
{
    static const uint8_t every[WIRE_IP_BYTES];
    struct addr addr;
    if (memcmp(ip, every, sizeof every) != 0) {
        addr_from_ip6(ip, port, &addr);
    } else if (addr_parse(p->seen, ADDR_CONNECT, &addr) == MOB_OK) {
        addr_set_port(&addr, port);
    } else {
        return;
    }
    addr_text(&addr, p->address);
}

/* What a node says of itself, as in JOIN. */
struct joining {
    uint32_t version;
    struct plan_join in;
    uint64_t store;
    uint16_t port;
    char host[sizeof((struct peer *)0)->host], loop[PEER_LOOP_BYTES];
    char labels[LABELS_MAX + 1];
    const uint8_t *ip;
};

static bool read_join(struct codec_reader *r, uint64_t node, struct joining *ret)
{
    *ret = (struct joining){.in.node = node};
    ret->version = codec_get_u32(r);
    ret->in.session = codec_get_u64(r);
    ret->in.member_of = codec_get_u64(r);
    (void)codec_get_u64(r); /* CPU units; what older versions had instead of amounts */
    ret->store = codec_get_u64(r);
    ret->port = codec_get_u16(r);
    codec_get_str(r, ret->host, sizeof ret->host);
    if (ret->version != WIRE_VERSION) { /* of others only what tells who they are */
        return r->ok;
    }
    codec_get_str(r, ret->loop, sizeof ret->loop);
    ret->ip = codec_get_raw(r, WIRE_IP_BYTES);
    bool good = resources_get(r, &ret->in.capacity);
    codec_get_str(r, ret->labels, sizeof ret->labels);
    ret->in.labels = ret->labels;
    return good && codec_done(r);
}

/* What a node says of itself is passed on to all others, who would take nonsense for ours. */
static mob_status may_join(const struct peer *p, const struct joining *j, size_t size)
{
    const struct cluster *c = p->cluster;
    const struct plan_join *in = &j->in;
    if (j->version != WIRE_VERSION) {
        return MOB_ERR_VERSION;
    }
    if (!resources_ok(&in->capacity) || labels_check(j->labels) != MOB_OK ||
        size > JOURNAL_WORDS_MAX || (j->port == 0 && p != c->self)) {
        return MOB_ERR_INVALID;
    }
    if (p->joined || p->words) { /* it is the same node as before, or its twin */
        bool same = p->session == in->session &&
                    resources_equal(&p->capacity, &in->capacity) &&
                    strcmp(p->labels, j->labels) == 0;
        return same ? MOB_OK : MOB_ERR_EXISTS;
    }
    return in->member_of == c->head_id ? MOB_ERR_NODE_LOST : MOB_OK;
}

static struct journal_member row_of(const struct peer *p)
{
    return (struct journal_member){.node = p->id,
                                   .host = p->host,
                                   .address = p->address,
                                   .words = p->words,
                                   .size = p->words_size};
}

static void note_words(struct peer *p, const struct joining *j, const void *words,
                       size_t size)
{
    p->session = j->in.session;
    p->capacity = j->in.capacity;
    memcpy(p->labels, j->labels, sizeof p->labels);
    p->store_bytes = j->store;
    cluster_set_host(p, j->host);
    cluster_set_loop(p, j->loop);
    forget_words(p);
    p->words = malloc(size);
    MOB_ASSERT(p->words);
    p->words_size = size;
    memcpy(p->words, words, size);
}

/* It is a member from here on. */
static void admit(struct peer *p, const struct joining *j)
{
    struct cluster *c = p->cluster;
    bool was = p->joined;
    /* The planner speaks to the node as soon as it has joined; the welcome must come first. */
    p->joined = true;
    struct codec_writer w = cluster_begin(c, WIRE_WELCOME);
    codec_put_u64(&w, c->head_id);
    cluster_send(p, &w);
    for (struct peer *q = c->peers; q; q = q->next) {
        if (q->joined) {
            struct codec_writer word = node_word(c, q);
            cluster_send(p, &word);
        }
    }
    mob_status st = plan_head_join(c->plan, &j->in, now_ns(c));
    if (st) {
        p->joined = was;
        if (!was) {
            forget_words(p);
        }
        if (!was && c->journal) {
            journal_remove(c->journal, p->id, true);
        }
        refuse(p, st, why_not(st));
    } else if (!was) {
        char has[RESOURCES_TEXT_MAX];
        log_info("node joined %s (%010llx) at %s with %s", p->host,
                 (unsigned long long)p->id, p->address,
                 resources_text(&p->capacity, has, sizeof has));
        struct codec_writer word = node_word(c, p);
        to_all(c, &word);
    }
}

/* The member whose words were kept. */
static void kept(void *arg, uint64_t node)
{
    struct cluster *c = arg;
    struct peer *p = cluster_peer(c, node);
    struct codec_reader r;
    struct joining j;
    if (!p || !p->words) { /* it went away meanwhile */
        journal_remove(c->journal, node, true);
        return;
    }
    codec_reader_init(&r, p->words, p->words_size);
    if (read_join(&r, node, &j)) {
        j.in.member_of = 0; /* that was looked at when it came */
        admit(p, &j);
    }
    arm(c);
}

static bool join(struct peer *p, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    struct joining j;
    const void *words = r->at;
    size_t size = codec_left(r);
    if (!read_join(r, p->id, &j)) {
        return false;
    }
    if (c->journal && j.in.member_of && journal_related(j.in.member_of, c->head_id)) {
        j.in.member_of = c->head_id; /* an earlier start of this head is this head */
    }
    mob_status no = may_join(p, &j, size);
    if (no) {
        if (!p->joined && !p->words) {
            cluster_set_host(p, j.host);
        }
        refuse(p, no, why_not(no));
        return true;
    }
    note_words(p, &j, words, size);
    if (p != c->self) {
        set_address(p, j.ip, j.port);
    }
    if (c->journal && p != c->self) {
        struct journal_member m = row_of(p);
        journal_put(c->journal, &m, p->joined); /* it may have another address now */
    }
    if (p->joined || p == c->self || !c->journal) {
        admit(p, &j);
    }
    return true;
}

/* ---- what members say ---------------------------------------------------------------------------------- */

static bool demand(struct peer *p, struct codec_reader *r)
{
    struct plan_demand d = {.job = wire_get_key(r)};
    d.cls = codec_get_u32(r);
    bool good = wire_get_demand(r, &d.demand);
    d.weight = codec_get_u32(r);
    d.want = codec_get_u32(r);
    d.hints_count = codec_get_u32(r);
    for (uint32_t i = 0; i < d.hints_count && i < PLAN_HINTS_MAX; i++) {
        d.hints[i].node = codec_get_u64(r);
        d.hints[i].bytes = codec_get_u64(r);
    }
    if (!good || !codec_done(r)) {
        return false;
    }
    mob_status st = plan_head_demand(p->cluster->plan, p->id, &d, now_ns(p->cluster));
    if (st) {
        log_warn("node %s: its demand is not taken: %s", p->host, mob_status_text(st));
    }
    return true;
}

static bool member_word(struct peer *p, enum wire_op op, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    uint64_t a = 0, b = 0;
    uint32_t epoch = 0, slots = 0;
    struct resources amounts;
    bool good;
    switch (op) {
    case WIRE_HEARTBEAT:
        good = resources_get(r, &amounts);
        b = codec_get_u64(r);
        slots = codec_get_u32(r);
        if (!good || !codec_done(r)) {
            return false;
        }
        p->used = amounts;
        p->store_used = b;
        p->tasks = slots;
        (void)plan_head_heartbeat(c->plan, p->id, now_ns(c));
        return true;
    case WIRE_REPORT:
        good = resources_get(r, &amounts);
        if (!good || !codec_done(r)) {
            return false;
        }
        (void)plan_head_report(c->plan, p->id, &amounts, now_ns(c));
        return true;
    case WIRE_DEMAND:
        return demand(p, r);
    case WIRE_HELD:
        a = codec_get_u64(r);
        epoch = codec_get_u32(r);
        slots = codec_get_u32(r);
        good = resources_get(r, &amounts);
        if (!good || !codec_done(r)) {
            return false;
        }
        (void)plan_head_lease_held(c->plan, p->id, a, epoch, slots, &amounts, now_ns(c));
        return true;
    case WIRE_GROUP:
    case WIRE_GROUP_END:
    case WIRE_HOLD_SAID:
    case WIRE_GROUPS_SAID:
        return group_to_head(p, op, r);
    case WIRE_GOODBYE:
        if (!codec_done(r)) {
            return false;
        }
        log_info("node %s leaves", p->host);
        (void)plan_head_leave(c->plan, p->id, now_ns(c));
        return true;
    case WIRE_STATUS:
        a = codec_get_u64(r);
        if (!codec_done(r)) {
            return false;
        }
        head_status(c, p, a);
        return true;
    default:
        return false;
    }
}

bool head_message(struct peer *p, enum wire_op op, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    if (!c->is_head) {
        return false;
    }
    bool ok = true;
    if (op == WIRE_JOIN) {
        ok = join(p, r);
    } else if (!p->joined) { /* declared dead, and does not know it */
        refuse(p, MOB_ERR_NODE_LOST, why_not(MOB_ERR_NODE_LOST));
    } else {
        ok = member_word(p, op, r);
    }
    arm(c);
    return ok;
}

void head_beat(struct cluster *c)
{
    struct codec_writer w = cluster_begin(c, WIRE_HEARTBEAT);
    for (struct peer *p = c->peers; p; p = p->next) {
        if (p->joined && p->links[0]) {
            cluster_send(p, &w);
        }
    }
    c->self->used = plan_node_used(c->node->plan);
    c->self->store_used = c->node->budget.used_bytes;
    (void)plan_head_heartbeat(c->plan, c->self->id, now_ns(c));
    arm(c);
}

/* ---- beginning and end ---------------------------------------------------------------------------------- */

/* A member that the last head left is one until it is silent for too long. */
static void restore(void *arg, const struct journal_member *m)
{
    struct cluster *c = arg;
    struct codec_reader r;
    struct joining j;
    codec_reader_init(&r, m->words, m->size);
    struct peer *p = read_join(&r, m->node, &j) ? cluster_peer_make(c, m->node) : NULL;
    j.in.member_of = 0;
    j.in.remembered = true;
    if (!p || p == c->self || plan_head_join(c->plan, &j.in, now_ns(c)) != MOB_OK) {
        return;
    }
    note_words(p, &j, m->words, m->size);
    snprintf(p->address, sizeof p->address, "%s", m->address);
    p->joined = true;
    log_info("node %s (%010llx) at %s was a member", p->host, (unsigned long long)p->id,
             p->address);
}

static void rewrite(void *arg)
{
    struct cluster *c = arg;
    for (struct peer *p = c->peers; p; p = p->next) {
        if (p->words && p != c->self) {
            struct journal_member m = row_of(p);
            journal_put(c->journal, &m, true);
        }
    }
}

static void journal_over(void *arg)
{
    struct cluster *c = arg;
    node_step(c->node);
}

/* A head without a folder is one of a test, and has nothing to come back to. */
static mob_status open_journal(struct cluster *c)
{
    static const char what[] = "the key of a head's database";
    struct journal_config config = {.dir = c->node->config.dir,
                                    .loop = c->node->loop,
                                    .words_version = WIRE_VERSION,
                                    .kept = kept,
                                    .gone = say_dead,
                                    .rewrite = rewrite,
                                    .ended = journal_over,
                                    .arg = c};
    c->head_id = c->self->id;
    if (!config.dir) {
        return MOB_OK;
    }
    crypto_generichash(config.key, sizeof config.key, (const uint8_t *)what, sizeof what,
                       c->node->config.key.bytes, sizeof c->node->config.key.bytes);
    MOB_TRY(journal_open(&config, &c->journal));
    c->head_id = journal_head(c->journal);
    return MOB_OK;
}

mob_status head_start(struct cluster *c)
{
    MOB_TRY(open_journal(c));
    struct plan_head_config config = {
        .head = c->head_id, .seed = c->session, .act = act, .arg = c};
    c->plan = plan_head_create(&config, clock_now_ns());
    if (!c->plan) {
        return MOB_ERR_NOMEM;
    }
    if (c->journal) {
        MOB_TRY(journal_members(c->journal, restore, c));
    }
    c->head = c->self;
    uint64_t id = c->head_id;
    c->head_id = 0; /* we come as everybody else does */
    member_join(c, c->self);
    c->head_id = id;
    return MOB_OK;
}

void head_free(struct cluster *c)
{
    journal_close(c->journal, true); /* who is killed does not come here */
    plan_head_destroy(c->plan);
    c->plan = NULL;
}

/* ---- for people -------------------------------------------------------------------------------------------- */

static json_t *member_json(struct cluster *c, const struct peer *p,
                           const struct plan_member_view *v)
{
    bool heard = p == c->self || v->silent_ns < PLAN_LEASE_NS;
    json_t *o = status_member(c, p, v->draining ? "leaving" : heard ? "alive" : "silent");
    uint64_t silent_ms = p == c->self ? 0 : v->silent_ns / NS_PER_MS;
    if (o) {
        json_object_set_new(o, "silent_ms", json_integer((json_int_t)silent_ms));
    }
    return o;
}

void head_status(struct cluster *c, struct peer *to, uint64_t cookie)
{
    size_t count = plan_head_nodes(c->plan, NULL, 0, now_ns(c));
    struct plan_member_view *views = calloc(count + 1, sizeof *views);
    json_t *nodes = json_array();
    if (views) {
        count = plan_head_nodes(c->plan, views, count, now_ns(c));
    }
    for (size_t i = 0; views && i < count; i++) {
        struct peer *p = cluster_peer(c, views[i].node);
        if (p) {
            json_array_append_new(nodes, member_json(c, p, &views[i]));
        }
    }
    char *text = json_dumps(nodes, JSON_COMPACT);
    json_decref(nodes);
    free(views);
    size_t left = text ? strlen(text) : 0, at = 0;
    do {
        size_t part = left < WIRE_BATCH_BYTES / 2 ? left : WIRE_BATCH_BYTES / 2;
        struct codec_writer w = cluster_begin(c, WIRE_STATUS_TEXT);
        left -= part;
        codec_put_u64(&w, cookie);
        codec_put_u8(&w, left > 0);
        codec_put_bytes(&w, text ? text + at : "", part);
        at += part;
        cluster_send(to, &w);
    } while (left);
    free(text);
}
