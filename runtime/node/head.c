/* head.c - the head's side: the words of its planner and those of members. */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"
#include "head.h"

uint64_t head_now_ns(const struct cluster *c)
{
    return loop_now_ns(c->node->loop);
}

static void tick(struct loop_timer *timer);

void head_arm(struct cluster *c)
{
    if (c->plan && !c->closing) {
        loop_timer_start(c->node->loop, &c->plan_timer, plan_head_deadline(c->plan),
                         tick);
    }
}

static void tick(struct loop_timer *timer)
{
    struct cluster *c = LOOP_OWNER(timer, struct cluster, plan_timer);
    plan_head_tick(c->plan, head_now_ns(c));
    head_arm(c);
}

/* ---- the planner's words ------------------------------------------------------------------------ */

void head_to_all(struct cluster *c, const struct codec_writer *w)
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
    head_to_all(c, &w);
    struct peer *p = cluster_peer(c, id);
    if (p && !p->joined && p->links[0]) {
        cluster_send(p, &w); /* if it lives it must end what it does for others */
    }
}

void head_forget_words(struct peer *p)
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
    head_forget_words(p);
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
    mob_status st =
        plan_head_demand(p->cluster->plan, p->id, &d, head_now_ns(p->cluster));
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
        (void)plan_head_heartbeat(c->plan, p->id, head_now_ns(c));
        return true;
    case WIRE_REPORT:
        good = resources_get(r, &amounts);
        if (!good || !codec_done(r)) {
            return false;
        }
        (void)plan_head_report(c->plan, p->id, &amounts, head_now_ns(c));
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
        (void)plan_head_lease_held(c->plan, p->id, a, epoch, slots, &amounts,
                                   head_now_ns(c));
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
        (void)plan_head_leave(c->plan, p->id, head_now_ns(c));
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
        ok = head_join(p, r);
    } else if (!p->joined) { /* declared dead, and does not know it */
        head_refuse_dead(p);
    } else {
        ok = member_word(p, op, r);
    }
    head_arm(c);
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
    (void)plan_head_heartbeat(c->plan, c->self->id, head_now_ns(c));
    head_arm(c);
}

/* ---- beginning and end ---------------------------------------------------------------------------------- */

/* A member that the last head left is one until it is silent for too long. */
static void restore(void *arg, const struct journal_member *m)
{
    struct cluster *c = arg;
    struct codec_reader r;
    struct head_joining j;
    codec_reader_init(&r, m->words, m->size);
    struct peer *p =
        head_read_join(&r, m->node, &j) ? cluster_peer_make(c, m->node) : NULL;
    j.in.member_of = 0;
    j.in.remembered = true;
    if (!p || p == c->self || plan_head_join(c->plan, &j.in, head_now_ns(c)) != MOB_OK) {
        return;
    }
    head_note_words(p, &j, m->words, m->size);
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
            struct journal_member m = head_row_of(p);
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
                                    .kept = head_kept,
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
    size_t count = plan_head_nodes(c->plan, NULL, 0, head_now_ns(c));
    struct plan_member_view *views = calloc(count + 1, sizeof *views);
    json_t *nodes = json_array();
    if (views) {
        count = plan_head_nodes(c->plan, views, count, head_now_ns(c));
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
