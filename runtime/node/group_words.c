/* group_words.c - what nodes and the head say to each other of groups. */
#include <string.h>

#include "cluster.h"
#include "core/labels.h"
#include "core/log.h"
#include "core/status.h"

static uint64_t now_ns(const struct cluster *c)
{
    return loop_now_ns(c->node->loop);
}

/* ---- what a group is, as all messages have it ------------------------------------------------------ */

struct word {
    uint64_t id;
    struct group_plan plan; /* of what follows */
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    struct plan_where where;
};

static void put_group(struct codec_writer *w, uint64_t id, const struct group_plan *plan)
{
    codec_put_u64(w, id);
    codec_put_u8(w, (uint8_t)plan->strategy);
    codec_put_u8(w, (uint8_t)plan->count);
    for (uint32_t i = 0; i < plan->count; i++) {
        resources_put(w, &plan->needs[i]);
    }
    codec_put_u8(w, plan->where != NULL);
    if (plan->where) {
        codec_put_u64(w, plan->where->node);
        codec_put_str(w, plan->where->selector);
    }
}

static void put_known(struct codec_writer *w, const struct group *g)
{
    struct group_plan plan = {g->count, g->strategy, g->needs,
                              g->gang ? &g->where : NULL};
    put_group(w, g->id, &plan);
}

static bool get_group(struct codec_reader *r, struct word *ret)
{
    ret->id = codec_get_u64(r);
    uint32_t strategy = codec_get_u8(r), count = codec_get_u8(r);
    bool good = count > 0 && count <= MOB_GROUP_BUNDLES_MAX;
    for (uint32_t i = 0; good && i < count; i++) {
        good = resources_get(r, &ret->needs[i]);
    }
    uint8_t gang = good ? codec_get_u8(r) : 0;
    ret->where = (struct plan_where){0};
    if (gang) {
        ret->where.node = codec_get_u64(r);
        codec_get_str(r, ret->where.selector, sizeof ret->where.selector);
    }
    ret->plan =
        (struct group_plan){count, strategy, ret->needs, gang ? &ret->where : NULL};
    return good && gang <= 1 && r->ok &&
           (!*ret->where.selector || selector_check(ret->where.selector) == MOB_OK);
}

static void put_words(struct codec_writer *w, const uint64_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        codec_put_u64(w, words[i]);
    }
}

static void get_words(struct codec_reader *r, uint64_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = codec_get_u64(r);
    }
}

/* ---- home and the head ------------------------------------------------------------------------------- */

void group_say(const struct group *g)
{
    struct job *j = g->job;
    struct cluster *c = j->node->cluster;
    struct codec_writer w = cluster_begin(c, j->guest ? WIRE_GROUP_MAKE : WIRE_GROUP);
    if (j->guest) {
        codec_put_u32(&w, j->guest->number);
        put_known(&w, g);
        cluster_send(j->guest->owner, &w);
        return;
    }
    wire_put_key(&w, job_plan_id(j));
    put_known(&w, g);
    put_words(&w, g->nodes, g->count);
    put_words(&w, g->holds, g->count);
    cluster_to_head(c, &w);
}

void group_say_end(const struct job *j, uint64_t id)
{
    struct cluster *c = j->node->cluster;
    if (!c) {
        group_alone_end(j->node, id);
        return;
    }
    struct codec_writer w = cluster_begin(c, j->guest ? WIRE_GROUP_DROP : WIRE_GROUP_END);
    if (j->guest) {
        codec_put_u32(&w, j->guest->number);
    }
    codec_put_u64(&w, id);
    if (j->guest) {
        cluster_send(j->guest->owner, &w);
    } else {
        cluster_to_head(c, &w);
    }
}

void group_say_all(struct cluster *c)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = c->node->jobs[i];
        for (struct group *g = j && !j->guest ? j->groups : NULL; g; g = g->next) {
            group_say(g);
        }
    }
    struct codec_writer w = cluster_begin(c, WIRE_GROUPS_SAID);
    cluster_to_head(c, &w);
}

void group_hold_said(struct cluster *c, const struct plan_hold *hold,
                     const struct resources *offer)
{
    struct codec_writer w = cluster_begin(c, WIRE_HOLD_SAID);
    codec_put_u64(&w, hold->hold);
    codec_put_u8(&w, (uint8_t)hold->state);
    resources_put(&w, offer);
    c->words_sent += c->head != NULL;
    cluster_to_head(c, &w);
}

/* On the head: a member's word. */
static bool group_word(struct peer *p, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    struct word in;
    uint64_t nodes[MOB_GROUP_BUNDLES_MAX], holds[MOB_GROUP_BUNDLES_MAX];
    struct plan_job job = wire_get_key(r);
    if (!get_group(r, &in)) {
        return false;
    }
    get_words(r, nodes, in.plan.count);
    get_words(r, holds, in.plan.count);
    if (!codec_done(r)) {
        return false;
    }
    bool placed = false;
    for (uint32_t i = 0; i < in.plan.count; i++) {
        placed = placed || holds[i];
    }
    struct plan_group g = {.id = in.id,
                           .job = job,
                           .count = in.plan.count,
                           .strategy = in.plan.strategy,
                           .needs = in.needs,
                           .where = in.plan.where,
                           .nodes = placed ? nodes : NULL,
                           .holds = placed ? holds : NULL};
    mob_status st = plan_head_group(c->plan, p->id, &g, now_ns(c));
    if (st) {
        struct codec_writer w = cluster_begin(c, WIRE_GROUP_AT);
        log_warn("node %s: its group is not taken: %s", p->host, mob_status_text(st));
        codec_put_u64(&w, in.id);
        codec_put_u8(&w, GROUP_FULL);
        codec_put_u8(&w, 0);
        cluster_send(p, &w);
    }
    return true;
}

bool group_to_head(struct peer *p, uint32_t op, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    if (op == WIRE_GROUP) {
        return group_word(p, r);
    }
    if (op == WIRE_GROUPS_SAID) {
        if (!codec_done(r)) {
            return false;
        }
        (void)plan_head_groups_said(c->plan, p->id, now_ns(c));
        return true;
    }
    uint64_t id = codec_get_u64(r);
    if (op == WIRE_GROUP_END) {
        if (!codec_done(r)) {
            return false;
        }
        (void)plan_head_group_end(c->plan, p->id, id, now_ns(c));
        return true;
    }
    struct plan_hold said = {.hold = id, .state = (enum plan_hold_state)codec_get_u8(r)};
    struct resources offer;
    if (!resources_get(r, &offer) || !codec_done(r)) {
        return false;
    }
    (void)plan_head_hold_said(c->plan, p->id, &said, &offer, now_ns(c));
    return true;
}

void group_head_said(struct cluster *c, const struct plan_head_action *a)
{
    struct peer *to = cluster_peer(c, a->to);
    struct codec_writer w =
        cluster_begin(c, a->kind == PLAN_HOLD ? WIRE_HOLD : WIRE_GROUP_AT);
    if (a->kind == PLAN_HOLD) {
        codec_put_u64(&w, a->hold->hold);
        codec_put_u64(&w, a->hold->group);
        codec_put_u8(&w, (uint8_t)a->hold->bundle);
        codec_put_u8(&w, (uint8_t)a->hold->state);
        resources_put(&w, &a->hold->need);
    } else {
        codec_put_u64(&w, a->group->group);
        codec_put_u8(&w, (uint8_t)a->group->state);
        codec_put_u8(&w, (uint8_t)a->group->count);
        put_words(&w, a->group->nodes, a->group->count);
        put_words(&w, a->group->holds, a->group->count);
    }
    cluster_send(to, &w);
}

/* At home: the group, if it is still there. */
static struct group *find_at_home(struct node *n, uint64_t id)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        struct group *g = j && !j->guest && !j->ended ? group_find(j, id) : NULL;
        if (g) {
            return g;
        }
    }
    return NULL;
}

static bool group_at(struct peer *p, struct codec_reader *r)
{
    uint64_t nodes[MOB_GROUP_BUNDLES_MAX], holds[MOB_GROUP_BUNDLES_MAX];
    struct group *g = find_at_home(p->cluster->node, codec_get_u64(r));
    uint32_t state = codec_get_u8(r), count = codec_get_u8(r);
    if (count > MOB_GROUP_BUNDLES_MAX || (state > GROUP_WHOLE && state != GROUP_FULL)) {
        return false;
    }
    get_words(r, nodes, count);
    get_words(r, holds, count);
    if (!codec_done(r) || (g && count != g->count && state != GROUP_FULL)) {
        return false;
    }
    if (g) {
        bool all = count == g->count;
        group_told(g, (enum group_state)state, all ? nodes : NULL, all ? holds : NULL);
        job_refresh(g->job);
    }
    return true;
}

bool group_from_head(struct peer *p, uint32_t op, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    if (op == WIRE_GROUP_AT) {
        return group_at(p, r);
    }
    struct plan_hold h = {0};
    h.hold = codec_get_u64(r);
    h.group = codec_get_u64(r);
    h.bundle = codec_get_u8(r);
    h.state = (enum plan_hold_state)codec_get_u8(r);
    bool good = resources_get(r, &h.need);
    return good && codec_done(r) &&
           plan_node_hold(c->node->plan, &h, now_ns(c)) == MOB_OK;
}

/* ---- the nodes that have a job -------------------------------------------------------------------------- */

static void pass_to(const struct group *g, struct peer *p)
{
    struct codec_writer w = cluster_begin(p->cluster, WIRE_GROUP_NEWS);
    codec_put_u32(&w, g->job->number);
    codec_put_u8(&w, (uint8_t)g->state);
    put_known(&w, g);
    put_words(&w, g->nodes, g->count);
    cluster_send(p, &w);
}

static bool has_it(const struct away_host *h)
{
    return !h->failed && !h->closing && h->again_ns == 0;
}

void group_pass_on(const struct group *g)
{
    for (struct away_host *h = g->job->away.hosts; h; h = h->next) {
        if (has_it(h)) {
            pass_to(g, h->peer);
        }
    }
}

void group_pass_end(const struct job *j, uint64_t id)
{
    for (struct away_host *h = j->away.hosts; h; h = h->next) {
        if (has_it(h)) {
            struct codec_writer w = cluster_begin(j->node->cluster, WIRE_GROUP_GONE);
            codec_put_u32(&w, j->number);
            codec_put_u64(&w, id);
            cluster_send(h->peer, &w);
        }
    }
}

void group_opened(struct job *j, struct peer *p)
{
    for (const struct group *g = j->groups; g; g = g->next) {
        pass_to(g, p);
    }
}

/* A task on another node made or removed one. */
bool group_from_guest(struct peer *p, uint32_t op, struct codec_reader *r)
{
    struct job *j = job_find(p->cluster->node, codec_get_u32(r));
    struct word in;
    struct group *g = NULL;
    bool its = j && !j->ended && away_host_of(j, p);
    if (op == WIRE_GROUP_DROP) {
        uint64_t id = codec_get_u64(r);
        if (!codec_done(r)) {
            return false;
        }
        g = its ? group_find(j, id) : NULL;
        if (g) {
            group_remove(g);
        }
        return true;
    }
    if (!get_group(r, &in) || !codec_done(r)) {
        return false;
    }
    if (!its) {
        return true; /* it is over */
    }
    if (group_find(j, in.id)) {
        return false;
    }
    if (group_add(j, in.id, &in.plan, &g) == MOB_OK) {
        g->from = g->gang ? p : NULL;
        group_say(g);
        group_pass_on(g);
        return true;
    }
    struct codec_writer w =
        cluster_begin(p->cluster, WIRE_GROUP_NEWS); /* it has to know */
    log_warn("job %u: a group of one of its tasks is not taken: %s", j->number,
             mob_last_error());
    codec_put_u32(&w, j->number);
    codec_put_u8(&w, GROUP_FULL);
    put_group(&w, in.id, &in.plan);
    put_words(&w, (const uint64_t[MOB_GROUP_BUNDLES_MAX]){0}, in.plan.count);
    cluster_send(p, &w);
    return true;
}

bool group_from_owner(struct peer *p, uint32_t op, struct codec_reader *r)
{
    struct job *j = guest_find(p->cluster, p, codec_get_u32(r));
    uint64_t nodes[MOB_GROUP_BUNDLES_MAX];
    struct word in;
    if (op == WIRE_GROUP_GONE) {
        uint64_t id = codec_get_u64(r);
        if (!codec_done(r)) {
            return false;
        }
        struct group *g = j ? group_find(j, id) : NULL;
        if (g) {
            group_gone(g);
        }
        return true;
    }
    uint32_t state = codec_get_u8(r);
    if (!get_group(r, &in) || state >= GROUP_STATES) {
        return false;
    }
    get_words(r, nodes, in.plan.count);
    if (!codec_done(r)) {
        return false;
    }
    struct group *g = j ? group_find(j, in.id) : NULL;
    if (!j || (!g && group_add(j, in.id, &in.plan, &g))) {
        return true; /* it does not run here any more, or has as many as it may have */
    }
    if (g->count != in.plan.count) {
        return false;
    }
    group_told(g, (enum group_state)state, nodes, NULL);
    job_refresh(j);
    return true;
}
