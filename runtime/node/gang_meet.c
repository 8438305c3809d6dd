/* gang_meet.c - members of a gang meet: each brings some bytes and gets what all have brought.
 *
 *   member --LOCAL_MEET--> its daemon --WIRE_MEET--> the daemon that keeps the gang, which collects them
 *   member <--woken, asks again-- its daemon <--WIRE_MET-- (all bytes in the order of ranks, when the last is here)
 *
 * A meeting has a number, its round: the first (0) is the one before the program's function, in which nobody brings
 * anything. What is brought counts for the gang's turn of now, so that bytes of an attempt that broke never come to
 * one that runs. Nothing waits on a socket: a member asks, is told "not yet", and sleeps on its wake word. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/status.h"
#include "gang.h"
#include "store/task.h"
#include "transport/addr.h"

#define ALL_MAX (MOB_GANG_MAX * MOB_EXCHANGE_MAX)

struct meet {  /* what a process of ours waits for */
    bool ours; /* the gang is kept here; else by the job's owner */
    uint32_t gang, turn, rank, round;
    mob_status st; /* MOB_ERR_TIMEOUT: not all are there yet */
    uint32_t size;
    uint8_t *all; /* NULL while size is 0 */
};

/* ---- a member on this node ------------------------------------------------------------------------------ */

void meet_forget(struct member *m)
{
    if (m->meet) {
        free(m->meet->all);
        free(m->meet);
        m->meet = NULL;
    }
}

/* Which address of this machine others reach it at: the one that it listens at, or else the one that the way to
 * the head goes out from, or on the head the way to a member. */
static void own_host(const struct node *n, char host[ADDR_TEXT_SIZE])
{
    const struct cluster *c = n->cluster;
    static const uint8_t any[16];
    struct addr to = {.size = 0}, own;
    snprintf(host, ADDR_TEXT_SIZE, "127.0.0.1");
    if (!c) {
        return;
    }
    addr_from_ip6(c->ip, 0, &own);
    bool known = memcmp(c->ip, any, sizeof any) != 0;
    if (!known && !c->is_head) {
        to = c->head_addr;
    }
    for (const struct peer *p = c->peers; p && !known && c->is_head && !to.size;
         p = p->next) {
        if (p != c->self && p->seen[0] &&
            addr_parse(p->seen, ADDR_CONNECT, &to) != MOB_OK) {
            to.size = 0;
        }
    }
    if (!known &&
        to.size) { /* connecting a datagram socket sends nothing: it looks up the route */
        int fd = socket(to.sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        own.size = sizeof own.sa;
        known = fd >= 0 && connect(fd, (struct sockaddr *)&to.sa, to.size) == 0 &&
                getsockname(fd, (struct sockaddr *)&own.sa, &own.size) == 0;
        if (fd >= 0) {
            close(fd);
        }
    }
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&own.sa;
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&own.sa;
    if (known && own.sa.ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &four->sin_addr, host, ADDR_TEXT_SIZE);
    } else if (known && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        (void)inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], host, ADDR_TEXT_SIZE);
    } else if (known) {
        (void)inet_ntop(AF_INET6, &six->sin6_addr, host, ADDR_TEXT_SIZE);
    }
}

static const char *why_not(mob_status st)
{
    switch (st) {
    case MOB_ERR_TIMEOUT:
        return "not all members of the gang are there yet";
    case MOB_ERR_CANCELLED:
        return "a member of the gang failed, or it was cancelled: it does not meet any "
               "more";
    case MOB_ERR_SIZE:
        return "the members of the gang brought different numbers of bytes";
    default:
        return "the members of the gang do not agree on how often they have met";
    }
}

/* Answers a member: a part of all bytes from @offset on, or why not. */
static void answer(struct conn *c, struct member *m, uint64_t offset)
{
    struct meet *e = m->meet;
    struct local_msg *to = c->node->scratch;
    if (e->st == MOB_OK && offset > e->size) {
        e->st = MOB_ERR_PROTOCOL;
    }
    if (e->st) {
        conn_deny(c, LOCAL_MEET, status_fail(e->st, "%s", why_not(e->st)));
        if (e->st != MOB_ERR_TIMEOUT) {
            meet_forget(m);
        }
        return;
    }
    local_msg_init(to, LOCAL_MEET);
    to->arg[0] = e->size;
    if (e->round == 0) {
        char host[ADDR_TEXT_SIZE];
        own_host(c->node, host);
        local_msg_text(to, host);
    } else {
        uint64_t left = e->size - offset;
        to->text_size = (uint32_t)(left < LOCAL_TEXT_MAX - 1 ? left : LOCAL_TEXT_MAX - 1);
        if (to->text_size) {
            memcpy(to->text, e->all + offset, to->text_size);
        }
        offset += to->text_size;
    }
    if (offset >= e->size) {
        meet_forget(m);
    }
    conn_reply(c, to, NULL, 0);
}

/* The process that waits for this, if any, is told. */
static void settle(struct job *j, const struct meet *about, mob_status st,
                   const uint8_t *all, uint32_t size)
{
    for (uint32_t i = 2; i < j->members_top; i++) {
        struct member *m = &j->members[i];
        struct meet *e = m->used && !m->dead ? m->meet : NULL;
        if (!e || e->st != MOB_ERR_TIMEOUT || e->ours != about->ours ||
            e->gang != about->gang || e->turn != about->turn || e->rank != about->rank ||
            e->round != about->round) {
            continue;
        }
        e->all = size ? malloc(size) : NULL;
        MOB_ASSERT(e->all || size == 0);
        if (size) {
            memcpy(e->all, all, size);
        }
        e->size = size;
        e->st = st;
        task_wake_process(&j->board, m->proc);
    }
}

/* ---- where the gang is kept -------------------------------------------------------------------------------- */

/* Tells a member; @to is NULL if it is on this node. */
static void tell(struct job *j, struct peer *to, const struct meet *about, mob_status st,
                 const uint8_t *all, uint32_t size)
{
    if (!to) {
        settle(j, about, st, all, size);
        return;
    }
    struct codec_writer w = cluster_begin(j->node->cluster, WIRE_MET);
    codec_put_u32(&w, j->number);
    codec_put_u32(&w, about->gang);
    codec_put_u32(&w, about->turn);
    codec_put_u32(&w, about->rank);
    codec_put_u32(&w, about->round);
    codec_put_u32(&w, (uint32_t)st);
    codec_put_bytes(&w, all, size);
    cluster_send(to, &w);
}

/* Ends a meeting: with what all have brought, or not. Who is not there yet asks later. */
static void end_meeting(struct gang *g, mob_status st)
{
    struct gang_meeting *t = &g->meeting;
    struct meet about = {.ours = true, .gang = g->id, .turn = g->turn, .round = t->round};
    t->round++;
    t->here = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        struct gang_member *m = &g->members[i];
        if (m->here) {
            m->here = false;
            about.rank = i;
            tell(g->j, m->from, &about, st, t->all, st ? 0 : g->n * t->bytes);
            m->from = NULL;
        }
    }
}

/* A member is there. @about: as it says, of which nothing is checked but that it is of this board. */
static void bring(struct job *j, struct peer *from, const struct meet *about,
                  const void *bytes, size_t size)
{
    struct gang *g = gang_find(j, about->gang);
    struct gang_meeting *t = g ? &g->meeting : NULL;
    if (!g || g->turn != about->turn ||
        (g->state != GANG_GATHERS && g->state != GANG_RUNS)) {
        tell(j, from, about, MOB_ERR_CANCELLED, NULL, 0);
        return;
    }
    if (!t->all && size) {
        t->all = malloc(ALL_MAX);
        MOB_ASSERT(t->all);
    }
    if (about->rank >= g->n || about->round != t->round || g->members[about->rank].here ||
        size > MOB_EXCHANGE_MAX) {
        tell(j, from, about, MOB_ERR_PROTOCOL, NULL, 0);
        return;
    }
    t->odd = t->here ? t->odd || size != t->bytes : false;
    t->bytes = t->here ? t->bytes : (uint32_t)size;
    if (size && !t->odd) {
        memcpy(t->all + about->rank * size, bytes, size);
    }
    g->members[about->rank].here = true;
    g->members[about->rank].from = from;
    if (++t->here == g->n) {
        gang_met(g);
        end_meeting(g, t->odd ? MOB_ERR_SIZE : MOB_OK);
    }
}

void meet_break(struct gang *g)
{
    end_meeting(g, MOB_ERR_CANCELLED);
}

void meet_end(struct gang *g)
{
    free(g->meeting.all);
    g->meeting.all = NULL;
}

void meet_peer_lost(struct cluster *c, const struct peer *p)
{
    for (struct gang *g = c->node->gangs; g; g = g->next) {
        for (uint32_t i = 0; i < g->n; i++) {
            if (g->members[i].from == p) {
                g->members[i].from = NULL; /* nobody waits for the answer */
            }
        }
    }
}

/* ---- what is said ---------------------------------------------------------------------------------------------- */

static bool read_about(struct codec_reader *r, struct meet *ret)
{
    ret->gang = codec_get_u32(r);
    ret->turn = codec_get_u32(r);
    ret->rank = codec_get_u32(r);
    ret->round = codec_get_u32(r);
    return r->ok;
}

bool meet_message(struct job *j, struct peer *p, struct codec_reader *r)
{
    struct meet about = {.ours = true};
    size_t size;
    bool good = read_about(r, &about);
    const void *bytes = codec_get_bytes(r, MOB_EXCHANGE_MAX, &size);
    if (!good || !codec_done(r)) {
        return false;
    }
    if (j) {
        bring(j, p, &about, bytes, size);
    }
    return true;
}

bool met_message(struct job *j, struct codec_reader *r)
{
    struct meet about = {0};
    size_t size;
    bool good = read_about(r, &about);
    mob_status st = (mob_status)(int32_t)codec_get_u32(r);
    const void *all = codec_get_bytes(r, ALL_MAX, &size);
    if (!good || !codec_done(r) || st > 0 || st == MOB_ERR_TIMEOUT || (st && size)) {
        return false;
    }
    if (j) {
        settle(j, &about, st, all, (uint32_t)size);
    }
    return true;
}

/* To whom a member's bytes go: to this very daemon, or to the one whose job it is. */
static mob_status pass_on(struct job *j, const struct meet *e, const struct local_msg *m)
{
    if (e->ours) {
        bring(j, NULL, e, m->text, m->text_size);
        return MOB_OK;
    }
    if (!j->guest) {
        return status_fail(MOB_ERR_PROTOCOL,
                           "a gang of another node, whose job this is not");
    }
    struct codec_writer w = cluster_begin(j->node->cluster, WIRE_MEET);
    codec_put_u32(&w, j->guest->number);
    codec_put_u32(&w, e->gang);
    codec_put_u32(&w, e->turn);
    codec_put_u32(&w, e->rank);
    codec_put_u32(&w, e->round);
    codec_put_bytes(&w, m->text, m->text_size);
    cluster_send(j->guest->owner, &w);
    return MOB_OK;
}

void meet_ask(struct conn *c, struct local_msg *m)
{
    struct job *j = c->job;
    struct member *who = &j->members[c->proc];
    struct meet about = {.ours = m->arg[0] == j->node->id,
                         .gang = (uint32_t)(m->arg[1] >> 32),
                         .turn = (uint32_t)m->arg[1],
                         .rank = (uint32_t)(m->arg[2] >> 32),
                         .round = (uint32_t)m->arg[2],
                         .st = MOB_ERR_TIMEOUT};
    struct meet *e = who->meet;
    if (c->role != LOCAL_WORKER || m->text_size > MOB_EXCHANGE_MAX) {
        conn_deny(c, m->op, status_fail(MOB_ERR_PROTOCOL, "only members of a gang meet"));
        return;
    }
    bool same = e && e->ours == about.ours && e->gang == about.gang &&
                e->turn == about.turn && e->rank == about.rank && e->round == about.round;
    if (!same) {
        meet_forget(who);
        e = who->meet = malloc(sizeof *e);
        MOB_ASSERT(e);
        *e = about;
        mob_status st = pass_on(j, e, m);
        if (st) {
            meet_forget(who);
            conn_deny(c, m->op, st);
            return;
        }
    }
    answer(c, who, m->arg[3]);
}
