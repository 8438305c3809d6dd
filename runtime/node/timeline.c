/* timeline.c - the daemon's part in a timeline (store/timeline.h): memory for the rings of processes, a ring of its
 * own for what crosses nodes and disks, and what tools read of both.
 *
 * A request is JSON, as in inspect.c:
 *   timeline {set: true|false}     begins anew, or ends: {on}
 *   timeline {}                    {on, now_ns, node, cpus, jobs: [number...]}; the jobs that are over are there too
 *   timeline {job}                 {number, name, owner, owner_job, names: {number: text}, rings: [process...]}
 *   timeline {job, proc, from}     {events: [[word...]...], next, end, lost}; job 0: the daemon's ring, whose
 *                                  events have a job's number in the place of a pid
 * In pages, so that no answer takes long. A job that is over leaves its rings and names here, until there are more
 * than TIMELINE_KEPT_JOBS or TIMELINE_KEPT_BYTES, memory is wanted, or somebody begins anew. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"
#include "inspect.h"
#include "look/look.h"
#include "store/task.h"

enum { PAGE_EVENTS = 256, KEPT_JOBS = 16 };
#define KEPT_BYTES (64ull << 20)

struct kept_timeline { /* of a job that is over */
    struct kept_timeline *next;
    uint32_t number, owner_job;
    uint64_t owner, bytes;
    char name[64];
    uint8_t order[PROCS_MAX];
    const struct timeline_ring *rings;
    struct name names[BOARD_NAMES_MAX];
};

/* ---- memory for rings ---------------------------------------------------------------------------- */

static void set_recorded(struct job *j)
{
    if (!j->failed) {
        at_store(&j->board.header->unusual, j->node->timeline.on ? BOARD_RECORDED : 0,
                 AT_SEQ_CST);
    }
}

void timeline_process(struct job *j, uint32_t proc)
{
    struct budget_owner owner = {j->index, BUDGET_DAEMON};
    uint32_t order = proc == 1 ? TIMELINE_ORDER_MAX : TIMELINE_ORDER;
    uint64_t bytes = board_timeline_bytes(order);
    if (!j->node->timeline.on || j->timeline_order[proc]) {
        return;
    }
    mob_status st = budget_take(&j->node->budget, owner, bytes);
    if (!st) {
        st = board_timeline_commit(&j->board, proc, order);
        if (st) {
            budget_cancel(&j->node->budget, owner, bytes);
        } else {
            budget_committed(&j->node->budget, bytes);
            j->board_bytes += bytes;
            j->timeline_bytes += bytes;
            j->timeline_order[proc] = (uint8_t)order;
        }
    }
    if (st) {
        log_warn("no timeline of a process of job %u: %s", j->number, mob_last_error());
    }
}

void timeline_job(struct job *j)
{
    if (j->ended || !j->board.base) {
        return;
    }
    j->timeline_owner = j->guest ? j->guest->owner->id : j->node->id;
    j->timeline_owner_job = j->guest ? j->guest->number : j->number;
    if (!j->guest) {
        timeline_process(j, 1);
    }
    for (uint32_t i = 2; i < j->members_top; i++) {
        if (j->members[i].used && !j->members[i].dead) {
            timeline_process(j, i);
        }
    }
    set_recorded(j);
    for (uint32_t i = 2; i < j->members_top; i++) { /* they look when they are woken */
        if (j->members[i].used && !j->members[i].dead) {
            task_wake_process(&j->board, i);
        }
    }
}

/* ---- jobs that are over -------------------------------------------------------------------------- */

static void drop(struct node *n, struct kept_timeline *k)
{
    struct node_timeline *t = &n->timeline;
    t->kept_bytes -= k->bytes;
    t->kept_count--;
    board_timeline_drop(k->rings);
    budget_give(&n->budget, (struct budget_owner){BUDGET_NODE, BUDGET_DAEMON}, k->bytes);
    free(k);
}

void timeline_forget(struct node *n)
{
    struct kept_timeline *k;
    while ((k = n->timeline.kept)) {
        n->timeline.kept = k->next;
        drop(n, k);
    }
}

static void drop_oldest(struct node *n)
{
    struct kept_timeline **at = &n->timeline.kept, *k;
    while ((*at)->next) {
        at = &(*at)->next;
    }
    k = *at;
    *at = NULL;
    drop(n, k);
}

void timeline_keep(struct job *j)
{
    struct node *n = j->node;
    struct node_timeline *t = &n->timeline;
    uint64_t bytes = j->timeline_bytes;
    struct kept_timeline *k =
        bytes && bytes <= KEPT_BYTES && !n->stopping ? calloc(1, sizeof *k) : NULL;
    if (!k) {
        return;
    }
    while (t->kept &&
           (t->kept_count >= KEPT_JOBS || t->kept_bytes + bytes > KEPT_BYTES)) {
        drop_oldest(n);
    }
    struct budget_owner from = {j->index, BUDGET_DAEMON},
                        to = {BUDGET_NODE, BUDGET_DAEMON};
    memcpy(k->names, j->board.names, sizeof k->names); /* before they go */
    if (board_timeline_keep(&j->board, &k->rings) ||
        budget_move(&n->budget, from, to, bytes)) {
        board_timeline_drop(k->rings);
        free(k);
        return;
    }
    j->board_bytes -= bytes;
    k->bytes = bytes;
    k->number = j->number;
    k->owner = j->timeline_owner;
    k->owner_job = j->timeline_owner_job;
    memcpy(k->name, j->name, sizeof k->name);
    memcpy(k->order, j->timeline_order, sizeof k->order);
    k->next = t->kept;
    t->kept = k;
    t->kept_count++;
    t->kept_bytes += bytes;
}

/* ---- the daemon's own ---------------------------------------------------------------------------- */

void timeline_note(struct node *n, enum timeline_kind kind, uint32_t job,
                   uint64_t start_ns, uint64_t link, uint64_t a, uint64_t b,
                   mob_status st)
{
    if (n->timeline.on && start_ns) {
        uint64_t now = clock_now_ns();
        (void)timeline_put(n->timeline.own, timeline_what(kind, 0, 0, 0, 0), start_ns,
                           timeline_outcome(now > start_ns ? now - start_ns : 0, st),
                           link, a, b, job);
    }
}

uint64_t timeline_now(const struct node *n)
{
    return n->timeline.on ? clock_now_ns() : 0;
}

mob_status timeline_set(struct node *n, bool on)
{
    struct node_timeline *t = &n->timeline;
    if (on) {
        timeline_forget(n);
        if (!t->own) {
            struct timeline_ring *own =
                aligned_alloc(_Alignof(struct timeline_ring), sizeof *own);
            if (!own) {
                return status_fail(MOB_ERR_NOMEM, "no memory for a timeline");
            }
            memset(own, 0, sizeof *own);
            t->own = own;
        }
        at_store(&t->own->order, TIMELINE_ORDER_MAX, AT_RELEASE);
        t->since_ns = clock_now_ns();
    }
    t->on = on;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (n->jobs[i]) {
            timeline_job(n->jobs[i]);
        }
    }
    return MOB_OK;
}

void timeline_free(struct node *n)
{
    timeline_forget(n);
    free(n->timeline.own);
}

/* ---- what tools read ----------------------------------------------------------------------------- */

struct source { /* a job's, that lives or is over */
    uint32_t number, owner_job;
    uint64_t owner;
    const char *name;
    const uint8_t *order;
    const struct timeline_ring *rings;
    const struct name *names;
};

static bool find(struct node *n, uint64_t number, struct source *ret)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        if (j && j->number == number && j->board.base) {
            *ret = (struct source){.number = j->number,
                                   .owner_job = j->timeline_owner_job,
                                   .owner = j->timeline_owner,
                                   .name = j->name,
                                   .order = j->timeline_order,
                                   .rings = board_timeline(&j->board, 0),
                                   .names = j->board.names};
            return true;
        }
    }
    for (const struct kept_timeline *k = n->timeline.kept; k; k = k->next) {
        if (k->number == number) {
            *ret = (struct source){.number = k->number,
                                   .owner_job = k->owner_job,
                                   .owner = k->owner,
                                   .name = k->name,
                                   .order = k->order,
                                   .rings = k->rings,
                                   .names = k->names};
            return true;
        }
    }
    return false;
}

static json_t *node_json(struct node *n)
{
    char id[24];
    json_t *jobs = json_array();
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (n->jobs[i] && n->jobs[i]->timeline_bytes) {
            json_array_append_new(jobs, json_integer(n->jobs[i]->number));
        }
    }
    for (const struct kept_timeline *k = n->timeline.kept; k; k = k->next) {
        json_array_append_new(jobs, json_integer(k->number));
    }
    snprintf(id, sizeof id, "%010llx", (unsigned long long)n->id);
    return json_pack("{s:b,s:I,s:I,s:s,s:o,s:i,s:o}", "on", (int)n->timeline.on, "now_ns",
                     (json_int_t)clock_now_ns(), "since_ns",
                     (json_int_t)n->timeline.since_ns, "node", id, "host",
                     look_text(n->host), "cpus", (int)n->cpus, "jobs", jobs);
}

static json_t *job_json(const struct source *s)
{
    char owner[24], text[MOB_NAME_MAX + 1], key[16];
    json_t *names = json_object(), *rings = json_array();
    for (uint32_t i = 0; i < BOARD_NAMES_MAX; i++) {
        const struct name *name = &s->names[i];
        if (at_load(&name->state, AT_ACQUIRE) == NAME_READY) {
            memcpy(text, name->text, MOB_NAME_MAX); /* no NUL may be there: input */
            text[MOB_NAME_MAX] = '\0';
            snprintf(key, sizeof key, "%u", i);
            json_object_set_new(names, key, look_text(text));
        }
    }
    for (uint32_t i = 0; i < PROCS_MAX; i++) {
        if (s->order[i]) {
            json_array_append_new(rings, json_integer(i));
        }
    }
    snprintf(owner, sizeof owner, "%010llx", (unsigned long long)s->owner);
    return json_pack("{s:i,s:o,s:s,s:i,s:o,s:o}", "number", (int)s->number, "name",
                     look_text(s->name), "owner", owner, "owner_job", (int)s->owner_job,
                     "names", names, "rings", rings);
}

/* A page of a ring, from event @from on. */
static json_t *page(const struct timeline_ring *ring, uint32_t order, uint64_t from)
{
    uint64_t first, end;
    json_t *events = json_array();
    timeline_range(ring, order, &first, &end);
    uint64_t at = from > first ? from : first, lost = from == 0 ? first : 0;
    for (int i = 0; i < PAGE_EVENTS && at < end; i++, at++) {
        struct timeline_event e;
        if (!timeline_read(ring, order, at, &e)) {
            continue;
        }
        json_t *words = json_array();
        for (int w = 0; w < TIMELINE_WORDS; w++) {
            json_array_append_new(words, json_integer((json_int_t)e.word[w]));
        }
        json_array_append_new(events, words);
    }
    return json_pack("{s:o,s:I,s:b,s:I}", "events", events, "next", (json_int_t)at,
                     "more", (int)(at < end), "lost", (json_int_t)lost);
}

json_t *timeline_answer(struct node *n, const json_t *ask)
{
    const json_t *set = json_object_get(ask, "set"), *of = json_object_get(ask, "job");
    const json_t *proc = json_object_get(ask, "proc");
    uint64_t number = (uint64_t)json_integer_value(of);
    uint64_t from = (uint64_t)json_integer_value(json_object_get(ask, "from"));
    uint64_t which = (uint64_t)json_integer_value(proc);
    struct source s;
    if (set) {
        if (timeline_set(n, json_is_true(set))) {
            return NULL;
        }
    }
    if (!of) {
        return node_json(n);
    }
    if (number == 0 && proc) {
        if (!n->timeline.own) {
            return json_pack("{s:[],s:I,s:b,s:I}", "events", "next", (json_int_t)0,
                             "more", 0, "lost", (json_int_t)0);
        }
        return page(n->timeline.own, TIMELINE_ORDER_MAX, from);
    }
    if (!find(n, number, &s) || which >= PROCS_MAX || (proc && !s.order[which])) {
        status_fail(MOB_ERR_NOT_FOUND, "there is no such timeline here");
        return NULL;
    }
    return proc ? page(&s.rings[which], s.order[which], from) : job_json(&s);
}
