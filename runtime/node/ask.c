/* ask.c - questions about other nodes' stores: sent there, answered in parts.
 *
 * The one who asks is a tool that waits; when it goes, the answer is dropped. A node that cannot be
 * reached, or says nothing, is an answer too. */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "inspect.h"

enum { TOLD_MAX = 64 << 20 }; /* bytes of one answer */

static void to_peer(struct peer *p, uint64_t cookie, mob_status st, const char *text)
{
    size_t left = strlen(text), at = 0;
    do {
        size_t part = left < WIRE_BATCH_BYTES / 2 ? left : WIRE_BATCH_BYTES / 2;
        struct codec_writer w = cluster_begin(p->cluster, WIRE_TOLD);
        left -= part;
        codec_put_u64(&w, cookie);
        codec_put_u32(&w, (uint32_t)st);
        codec_put_u8(&w, left > 0);
        codec_put_bytes(&w, text + at, part);
        at += part;
        cluster_send(p, &w);
    } while (left);
}

void asker_reply(struct node *n, struct asker a, mob_status st, char *text)
{
    const char *why = mob_last_error()[0] ? mob_last_error() : mob_status_text(st);
    (void)n;
    if (a.peer) {
        to_peer(a.peer, a.cookie, st, st ? why : text);
        free(text);
    } else if (!a.conn) {
        free(text); /* gone */
    } else if (st) {
        conn_deny(a.conn, LOCAL_STORE, st);
        free(text);
    } else {
        conn_answer(a.conn, LOCAL_STORE, text);
    }
}

static void too_late(struct loop_timer *timer)
{
    struct conn *c = LOOP_OWNER(timer, struct conn, timer);
    mob_status st = status_fail(MOB_ERR_TIMEOUT, "node %s does not answer",
                                c->asked ? c->asked->host : "");
    status_drop(c);
    conn_deny(c, LOCAL_STORE, st);
}

static mob_status forward(struct node *n, struct asker a, uint64_t node, json_t *ask)
{
    struct cluster *k = n->cluster;
    struct peer *p = k ? cluster_peer(k, node) : NULL;
    char words[ASK_TEXT_MAX];
    if (!p || p->gone || !p->member || !a.conn) {
        return status_fail(MOB_ERR_NO_NODE,
                           "there is no node %010llx in the cluster of this one",
                           (unsigned long long)node);
    }
    if (a.conn->cookie) {
        return status_fail(MOB_ERR_STATE, "one question at a time");
    }
    json_object_del(ask, "node");
    size_t size = json_dumpb(ask, words, sizeof words, JSON_COMPACT);
    if (size == 0 || size > sizeof words) {
        return status_fail(MOB_ERR_INVALID, "a request of more than %u bytes",
                           ASK_TEXT_MAX);
    }
    a.conn->cookie = ++k->last_cookie;
    a.conn->asked = p;
    struct codec_writer w = cluster_begin(k, WIRE_ASK);
    codec_put_u64(&w, a.conn->cookie);
    codec_put_bytes(&w, words, size);
    loop_timer_start(n->loop, &a.conn->timer, loop_now_ns(n->loop) + ASK_WAIT_NS,
                     too_late);
    cluster_send(p, &w); /* which may lose the node, and so answer */
    return MOB_OK;
}

void ask_forward(struct node *n, struct asker a, uint64_t node, json_t *ask)
{
    mob_status st = forward(n, a, node, ask);
    if (st) {
        asker_reply(n, a, st, NULL);
    }
}

/* ---- what nodes say ---------------------------------------------------------------------------------- */

static bool asked(struct peer *p, struct codec_reader *r)
{
    size_t size;
    struct asker a = {.peer = p, .cookie = codec_get_u64(r)};
    const char *words = codec_get_bytes(r, ASK_TEXT_MAX, &size);
    if (!codec_done(r)) {
        return false;
    }
    inspect_request(p->cluster->node, a, words, size);
    return true;
}

static struct conn *find_asker(struct node *n, const struct peer *p, uint64_t cookie)
{
    struct conn *c = n->conns;
    while (c && (c->asked != p || c->cookie != cookie || cookie == 0)) {
        c = c->next;
    }
    return c;
}

/* One more part of an answer. */
static void add_part(struct conn *c, mob_status st, bool more, const char *part,
                     size_t size)
{
    char *grown =
        c->told_size + size < TOLD_MAX ? realloc(c->told, c->told_size + size + 1) : NULL;
    if (!grown) {
        st = status_fail(MOB_ERR_NOMEM, "no memory for another node's answer");
        status_drop(c);
        conn_deny(c, LOCAL_STORE, st);
        return;
    }
    memcpy(grown + c->told_size, part, size);
    c->told = grown;
    c->told_size += size;
    grown[c->told_size] = '\0';
    if (more) {
        return;
    }
    if (st) {
        status_say("%s", grown);
    }
    c->told = NULL; /* the answer's from here on */
    status_drop(c);
    asker_reply(c->node, (struct asker){.conn = c}, st, grown);
}

static bool told(struct peer *p, struct codec_reader *r)
{
    size_t size;
    uint64_t cookie = codec_get_u64(r);
    mob_status st = (mob_status)(int32_t)codec_get_u32(r);
    bool more = codec_get_u8(r);
    const char *part = codec_get_bytes(r, WIRE_BATCH_BYTES, &size);
    if (!codec_done(r) || st > 0) {
        return false;
    }
    struct conn *c = find_asker(p->cluster->node, p, cookie);
    if (c) {
        add_part(c, st, more, part, size);
    }
    return true;
}

bool ask_message(struct peer *p, enum wire_op op, struct codec_reader *r)
{
    return op == WIRE_ASK ? asked(p, r) : told(p, r);
}

void ask_peer_lost(struct peer *p)
{
    struct node *n = p->cluster->node;
    inspect_asker_gone(n, NULL, p);
    checker_asker_gone(n, NULL, p);
    for (struct conn *c = n->conns; c; c = c->next) {
        if (c->asked == p) {
            mob_status st = status_fail(MOB_ERR_PEER_LOST,
                                        "the connection to node %s was lost", p->host);
            status_drop(c);
            conn_deny(c, LOCAL_STORE, st);
        }
    }
}
