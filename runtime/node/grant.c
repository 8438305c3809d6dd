/* grant.c - segments: granted to a process, and given back to the machine. The daemon's own: grant_own.c;
 * what a dead process leaves: grant_orphan.c.
 *
 *   NONE --request--> GRANTED --committed--> HELD --give--> LEAVING --all have unmapped--> NONE
 *                        |                    |                ^
 *                        +----- its process dies: ORPHAN ------+ when nothing lives in it
 *   NONE --ahead.c--> AHEAD --request--> GRANTED (committed already)
 *
 * The client commits the pages, not the daemon, which has others to serve. Memory counts as used
 * until the last process has unmapped it. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/seg.h"
#include "core/status.h"
#include "core/text.h"
#include "spill.h"
#include "store/sweep.h"
#include "store/task.h"

enum { PAGE = 4096 };

struct budget_owner grant_payer(const struct job *j, const struct segment *s)
{
    return (struct budget_owner){j->index, s->owner == DAEMON ? BUDGET_DAEMON : s->owner};
}

void grant_publish(struct job *j, uint32_t i, uint64_t flags)
{
    const struct segment *s = &j->segments[i];
    at_store(&j->board.segments[i],
             flags | (uint64_t)s->owner << 40 | (s->bytes / PAGE & 0xffffffffffull),
             AT_RELEASE);
}

static bool there(const struct job *j, uint32_t p)
{
    const struct member *m = &j->members[p];
    return p == 1 ? j->driver != NULL : m->used && !m->dead && m->slot != SLOT_STARTING;
}

/* A process maps a segment of another one only through the daemon, so the daemon knows who may have it. */
static void note_mapper(struct segment *s, uint32_t p)
{
    s->mappers[p / 64] |= 1ull << p % 64;
}

static bool may_map(const struct segment *s, uint32_t p)
{
    return s->mappers[p / 64] >> p % 64 & 1;
}

/* Those who may have it and have not said that they let go of what was revoked up to then. */
static bool is_mapped_by(const struct job *j, const struct segment *s, uint32_t p)
{
    uint32_t seen = at_load(&j->board.procs[p].revoked_seen, AT_ACQUIRE);
    return may_map(s, p) && there(j, p) && (int32_t)(seen - s->epoch) < 0;
}

/* Has a process look at what the daemon asks for. What it says of itself does not count: one that says it
 * is busy may have looked already and be on its way to sleep. A worker notes its wake word before it looks
 * and sleeps on what it noted (worker.c, wait.c), and here the word comes after what there is to see: so it
 * either sees that, or does not sleep. A driver that is not in the library has a thread that looks. */
static void ask(struct job *j, uint32_t p)
{
    if (p == 1) {
        (void)!write(j->watch, "m", 1); /* a full pipe has said so already */
    } else {
        task_wake_process(&j->board, p);
    }
}

/* What is on disk must find room when somebody waits for it, or those who fill the store would wait for each
 * other; and who waits for much finds it, in turn. */
static mob_status may_take_now(struct node *n, uint64_t who, uint64_t bytes)
{
    const struct budget *b = &n->budget;
    uint64_t reserve = spill_reserve(n), kept = b->used_bytes + reserve,
             left = b->most_bytes > kept ? b->most_bytes - kept : 0;
    if (reserve && bytes > left) {
        return status_fail(
            MOB_ERR_NOMEM,
            "the object store is full: %llu of %llu bytes are used, and the "
            "rest is for objects that come back from disk",
            (unsigned long long)b->used_bytes, (unsigned long long)b->most_bytes);
    }
    return line_may(&n->memory_line, who, bytes, left, loop_now_ns(n->loop))
               ? MOB_OK
               : status_fail(MOB_ERR_NOMEM,
                             "the object store is full: %llu of %llu bytes are used, and "
                             "others wait for what is left",
                             (unsigned long long)b->used_bytes,
                             (unsigned long long)b->most_bytes);
}

/* The machine may have more by now than when it was looked at. */
static mob_status may_take(struct node *n, uint64_t who, uint64_t bytes)
{
    mob_status st = may_take_now(n, who, bytes);
    if (st && n->budget.most_bytes < n->budget.limit_bytes &&
        budget_refresh(&n->budget) == MOB_OK) {
        st = may_take_now(n, who, bytes);
    }
    return st;
}

uint32_t grant_free_slot(const struct job *j)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state == SEGMENT_NONE) {
            return i;
        }
    }
    return SEGMENT_NO;
}

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* With a name that says whose it is: storectl finds it by that if this daemon does not answer. */
mob_status grant_memory(const struct job *j, uint32_t i, uint64_t bytes, int *ret_fd)
{
    char name[64];
    (void)snprintf(name, sizeof name, "mobula-objects-%u-%u", j->number, i);
    return seg_create(name, bytes, ret_fd);
}

/* A segment of @want bytes while there is plenty, else of as little as does: then memory goes back sooner, and to
 * more processes. */
static mob_status make_segment(struct conn *c, uint32_t i, uint64_t want, uint64_t least,
                               struct segment *ret)
{
    struct budget *b = &c->node->budget;
    uint64_t who = (uint64_t)c->job->number << 16 | c->proc;
    bool plenty = b->used_bytes + want <= b->most_bytes / 100 * SPILL_HIGH_PERCENT;
    struct segment s = {.state = SEGMENT_GRANTED,
                        .owner = c->proc,
                        .bytes = plenty ? want : least,
                        .pending = true};
    mob_status st = may_take(c->node, who, s.bytes);
    st = st ? st : budget_take(b, grant_payer(c->job, &s), s.bytes);
    if (st && plenty) { /* the machine has less than the store may have */
        s.bytes = least;
        st = budget_take(b, grant_payer(c->job, &s), s.bytes);
    }
    if (!st) {
        st = grant_memory(c->job, i, s.bytes, &s.fd);
        if (st) {
            budget_cancel(b, grant_payer(c->job, &s), s.bytes);
        }
    }
    if (st) {
        line_refused(&c->node->memory_line, who, least, loop_now_ns(c->node->loop),
                     LINE_FORGET_NS);
        return st;
    }
    line_served(&c->node->memory_line, who, loop_now_ns(c->node->loop));
    *ret = s;
    return MOB_OK;
}

/* Once the client has sealed it, nobody gets a mapping that could be made writable, and
 * devices refuse others on many kernels (transport_map()). It is read-only from the first
 * use on; without it the bytes move over TCP. */
static void map_before_seal(struct job *j, struct segment *s)
{
    void *base;
    if (!s->ro && cluster_has_devices(j->node) &&
        seg_map(s->fd, s->bytes, SEG_WRITE, &base) == MOB_OK) {
        if (mprotect(base, s->bytes, PROT_READ) < 0) {
            seg_unmap(base, s->bytes);
            return;
        }
        s->ro = base;
    }
}

void grant_request(struct conn *c, struct local_msg *m)
{
    struct job *j = c->job;
    uint64_t want = whole_pages(m->arg[0]), least = whole_pages(m->arg[1]);
    least = least && least < want ? least : want;
    uint32_t i = ahead_take(j, c->proc, least);
    if (i != SEGMENT_NO) {
        j->segments[i].state = SEGMENT_GRANTED;
    } else {
        struct segment s;
        i = grant_free_slot(j);
        if (i == SEGMENT_NO || m->arg[0] == 0 || m->arg[0] > GRANT_MAX) {
            conn_deny(c, m->op,
                      status_fail(MOB_ERR_NOMEM,
                                  "%llu bytes in a segment of their own are "
                                  "not to be had: the job has up to %u "
                                  "segments",
                                  (unsigned long long)m->arg[0], BOARD_SEGMENTS_MAX));
            return;
        }
        grant_collect(j);
        mob_status st = make_segment(c, i, want, least, &s);
        if (st) {
            conn_deny(c, m->op, st);
            grant_want(c->node);
            spill_pressure(c->node, least);
            return;
        }
        j->segments[i] = s;
    }
    spill_pressure(c->node, 0);
    grant_publish(j, i, SEGMENT_USED);
    local_msg_init(m, LOCAL_GRANT);
    m->arg[0] = i;
    m->arg[1] = j->segments[i].bytes;
    map_before_seal(j, &j->segments[i]);
    conn_reply(c, m, &j->segments[i].fd, 1);
    if (least < want) { /* its arena grows; a large object asks for itself alone */
        ahead_prepare(j, c->proc, j->segments[i].bytes);
    }
}

static struct segment *own_segment(struct conn *c, const struct local_msg *m)
{
    struct job *j = c->job;
    if (m->arg[0] >= BOARD_SEGMENTS_MAX || j->segments[m->arg[0]].owner != c->proc ||
        j->segments[m->arg[0]].state == SEGMENT_NONE) {
        log_warn("a process named a segment that is not its own job %u proc %u",
                 j->number, c->proc);
        return NULL;
    }
    return &j->segments[m->arg[0]];
}

void grant_is_committed(struct job *j, uint32_t segment)
{
    struct segment *s = &j->segments[segment];
    if (s->pending) {
        s->pending = false;
        budget_committed(&j->node->budget, s->bytes);
    }
}

void grant_drop(struct job *j, uint32_t segment)
{
    struct segment *s = &j->segments[segment];
    struct budget *b = &j->node->budget;
    if (s->pending) {
        budget_cancel(b, grant_payer(j, s), s->bytes);
    } else {
        budget_give(b, grant_payer(j, s), s->bytes);
    }
    close(s->fd);
    cluster_unmap(j->node, s->rw);
    cluster_unmap(j->node, s->ro);
    seg_unmap(s->rw, s->bytes);
    seg_unmap((void *)(uintptr_t)s->ro, s->bytes);
    *s = (struct segment){0};
    at_store(&j->board.segments[segment], 0, AT_RELEASE);
}

void grant_leave(struct job *j, uint32_t i)
{
    struct segment *s = &j->segments[i];
    grant_is_committed(j, i);
    s->state = SEGMENT_LEAVING;
    grant_publish(j, i, SEGMENT_USED | SEGMENT_REVOKED);
    s->epoch = at_add(&j->board.header->revoked, 1, AT_SEQ_CST) + 1;
    for (uint32_t p = 1; p < PROCS_MAX; p++) {
        if (is_mapped_by(j, s, p)) {
            ask(j, p);
        }
    }
    grant_collect(j);
}

void grant_want(struct node *n)
{
    timeline_forget(n);
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        if (!j || j->ended) {
            continue;
        }
        if (j->guest) {
            standin_evict(j, 0);
        }
        ahead_drop(j);
        grant_give_empty(j, true);
        at_add(&j->board.header->wanted, 1, AT_SEQ_CST);
        for (uint32_t p = 1; p < PROCS_MAX; p++) {
            if (there(j, p)) {
                ask(j, p);
            }
        }
    }
}

void grant_committed(struct conn *c, struct local_msg *m)
{
    struct segment *s = own_segment(c, m);
    if (!s || s->state != SEGMENT_GRANTED) {
        return;
    }
    if (m->arg[1]) { /* it could not; nobody else has seen the segment */
        grant_drop(c->job, (uint32_t)m->arg[0]);
        return;
    }
    s->state = SEGMENT_HELD;
    grant_is_committed(c->job, (uint32_t)m->arg[0]);
}

void grant_give(struct conn *c, struct local_msg *m)
{
    struct segment *s = own_segment(c, m);
    if (s && s->state == SEGMENT_HELD) {
        grant_leave(c->job, (uint32_t)m->arg[0]);
    }
}

void grant_map(struct conn *c, struct local_msg *m)
{
    struct job *j = c->job;
    uint64_t i = m->arg[0];
    int fd;
    if (i >= BOARD_SEGMENTS_MAX ||
        (j->segments[i].state != SEGMENT_HELD && j->segments[i].state != SEGMENT_ORPHAN &&
         j->segments[i].state != SEGMENT_GRANTED)) {
        conn_deny(c, m->op,
                  status_fail(MOB_ERR_CORRUPT, "segment %llu does not exist",
                              (unsigned long long)i));
        return;
    }
    mob_status st = seg_read_only(j->segments[i].fd, &fd);
    if (st) {
        conn_deny(c, m->op, st);
        return;
    }
    local_msg_init(m, LOCAL_MAP);
    m->arg[0] = j->segments[i].bytes;
    note_mapper(&j->segments[i], c->proc);
    conn_reply(c, m, &fd, 1);
    close(fd);
}

/* ---- back to the machine ------------------------------------------------------------------------------------- */

static bool is_mapped(const struct job *j, const struct segment *s)
{
    for (uint32_t p = 1; p < PROCS_MAX; p++) {
        if (is_mapped_by(j, s, p)) {
            return true;
        }
    }
    return false;
}

void grant_collect(struct job *j)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state == SEGMENT_LEAVING && !is_mapped(j, &j->segments[i])) {
            grant_drop(j, i);
        }
    }
}

void grant_show_all(struct node *n)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        for (uint32_t k = 0; j && k < BOARD_SEGMENTS_MAX; k++) {
            struct segment *s = &j->segments[k];
            cluster_map(n, s->rw, s->bytes, true);
            s->shown = false; /* grant_read() shows it again */
        }
    }
}

void grant_end(struct job *j)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        if (j->segments[i].state != SEGMENT_NONE) {
            grant_drop(j, i);
        }
    }
}

mob_status grant_records(struct job *j)
{
    struct budget *b = &j->node->budget;
    struct budget_owner owner = {j->index, BUDGET_DAEMON};
    const uint64_t bytes = BOARD_STEP_BYTES;
    /* What threads that ended have left serves as well, if it is enough not to be asked again soon. */
    if (sweep_blocks(&j->lane) >= BOARD_COMMIT_STEP / BOARD_BLOCK / 2) {
        return MOB_OK;
    }
    mob_status st = budget_take(b, owner, bytes);
    if (st) {
        grant_want(j->node);
        spill_pressure(j->node, bytes);
        return spill_promising(j->node) ? MOB_ERR_TIMEOUT : st;
    }
    st = board_commit_more(&j->board);
    if (st) {
        budget_cancel(b, owner, bytes);
        return st;
    }
    budget_committed(b, bytes);
    j->board_bytes += bytes;
    return MOB_OK;
}
