/* head_join.c - who is a member: what a node says of itself when it joins, and what is kept and told of it. */
#include <stdlib.h>
#include <string.h>

#include "core/labels.h"
#include "core/log.h"
#include "core/status.h"
#include "head.h"

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

bool head_read_join(struct codec_reader *r, uint64_t node, struct head_joining *ret)
{
    *ret = (struct head_joining){.in.node = node};
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
static mob_status may_join(const struct peer *p, const struct head_joining *j,
                           size_t size)
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

struct journal_member head_row_of(const struct peer *p)
{
    return (struct journal_member){.node = p->id,
                                   .host = p->host,
                                   .address = p->address,
                                   .words = p->words,
                                   .size = p->words_size};
}

void head_note_words(struct peer *p, const struct head_joining *j, const void *words,
                     size_t size)
{
    p->session = j->in.session;
    p->capacity = j->in.capacity;
    memcpy(p->labels, j->labels, sizeof p->labels);
    p->store_bytes = j->store;
    cluster_set_host(p, j->host);
    cluster_set_loop(p, j->loop);
    head_forget_words(p);
    p->words = malloc(size);
    MOB_ASSERT(p->words);
    p->words_size = size;
    memcpy(p->words, words, size);
}

/* It is a member from here on. */
static void admit(struct peer *p, const struct head_joining *j)
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
    mob_status st = plan_head_join(c->plan, &j->in, head_now_ns(c));
    if (st) {
        p->joined = was;
        if (!was) {
            head_forget_words(p);
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
        head_to_all(c, &word);
    }
}

/* The member whose words were kept. */
void head_kept(void *arg, uint64_t node)
{
    struct cluster *c = arg;
    struct peer *p = cluster_peer(c, node);
    struct codec_reader r;
    struct head_joining j;
    if (!p || !p->words) { /* it went away meanwhile */
        journal_remove(c->journal, node, true);
        return;
    }
    codec_reader_init(&r, p->words, p->words_size);
    if (head_read_join(&r, node, &j)) {
        j.in.member_of = 0; /* that was looked at when it came */
        admit(p, &j);
    }
    head_arm(c);
}

bool head_join(struct peer *p, struct codec_reader *r)
{
    struct cluster *c = p->cluster;
    struct head_joining j;
    const void *words = r->at;
    size_t size = codec_left(r);
    if (!head_read_join(r, p->id, &j)) {
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
    head_note_words(p, &j, words, size);
    if (p != c->self) {
        set_address(p, j.ip, j.port);
    }
    if (c->journal && p != c->self) {
        struct journal_member m = head_row_of(p);
        journal_put(c->journal, &m, p->joined); /* it may have another address now */
    }
    if (p->joined || p == c->self || !c->journal) {
        admit(p, &j);
    }
    return true;
}

void head_refuse_dead(struct peer *p)
{
    refuse(p, MOB_ERR_NODE_LOST, why_not(MOB_ERR_NODE_LOST));
}
