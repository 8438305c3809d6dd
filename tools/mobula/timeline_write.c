/* timeline_write.c - events as the JSON that Chrome's tracing defined and Perfetto reads.
 *
 * A node is a "process", a process of a job one of its "threads", in which submits, runs and waits are slices
 * ("X") that nest as the calls did. What overlaps, because nobody calls it, is asynchronous ("b", "e"): transfers,
 * tasks that are away, the disk. Leases are instants. Arrows ("s", "t", "f") go from a task's submit to its run, on
 * whatever node, to who waited for it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "mobula/timeline.h"

/* ---- what belongs together ------------------------------------------------------------------------- */

/* A task, by its owner's names; the same task as it is called where it runs. */
struct key {
    uint64_t node, link;
    uint32_t job;
    uint32_t event; /* its submit, or its ready, or what sent it away */
};
struct keys {
    struct key *keys;
    size_t count;
};

static int by_key(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    if (x->node != y->node) {
        return x->node < y->node ? -1 : 1;
    }
    if (x->job != y->job) {
        return x->job < y->job ? -1 : 1;
    }
    return x->link < y->link ? -1 : x->link > y->link;
}

static const struct key *find(const struct keys *k, uint64_t node, uint32_t job,
                              uint64_t link)
{
    struct key wanted = {node, link & ~0xfull, job, 0};
    return bsearch(&wanted, k->keys, k->count, sizeof *k->keys, by_key);
}

struct writer {
    const struct trace *t;
    FILE *to;
    int64_t begin_ns;
    bool comma;
    struct keys submits, readies, aways;
};

/* The tasks that events of a kind name: local ones by ring and link; those away by where they went. */
static struct keys index_kind(const struct trace *t, enum timeline_kind kind)
{
    struct keys k = {malloc((t->events_count + 1ull) * sizeof *k.keys), 0};
    for (uint32_t r = 0; k.keys && r < t->rings_count; r++) {
        const struct trace_ring *ring = &t->rings[r];
        for (uint32_t i = ring->first; i < ring->first + ring->count; i++) {
            const uint64_t *w = t->events[i].e.word;
            if (timeline_kind(&t->events[i].e) != kind) {
                continue;
            }
            bool away = kind == TIMELINE_AWAY;
            k.keys[k.count++] =
                (struct key){away ? w[TIMELINE_A] : t->nodes[ring->node].node,
                             (away ? w[TIMELINE_B] : w[TIMELINE_LINK]) & ~0xfull,
                             away ? (uint32_t)w[TIMELINE_PID] : ring->job, i};
        }
    }
    if (k.keys) {
        qsort(k.keys, k.count, sizeof *k.keys, by_key);
    }
    return k;
}

/* ---- one event ----------------------------------------------------------------------------------- */

static void text(struct writer *w, const char *name, const char *value)
{
    json_t *s = json_string(value);
    char *quoted = s ? json_dumps(s, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
    fprintf(w->to, ",\"%s\":%s", name, quoted ? quoted : "\"?\"");
    free(quoted);
    json_decref(s);
}

/* Begins an event; its writer adds what else it has, and ends it by end(). */
static void begin(struct writer *w, char phase, const char *category, uint32_t pid,
                  uint32_t tid, int64_t at_ns)
{
    int64_t t = at_ns - w->begin_ns;
    fprintf(
        w->to,
        "%s{\"ph\":\"%c\",\"cat\":\"%s\",\"pid\":%u,\"tid\":%u,\"ts\":%" PRId64 ".%03d",
        w->comma ? ",\n" : "\n", phase, category, pid, tid, t / 1000, (int)(t % 1000));
    w->comma = true;
}
static void end(struct writer *w)
{
    fputc('}', w->to);
}
static void span(struct writer *w, const char *name, int64_t ns)
{
    ns = ns > 0 ? ns : 0;
    fprintf(w->to, ",\"%s\":%" PRId64 ".%03d", name, ns / 1000, (int)(ns % 1000));
}

static void meta(struct writer *w, const char *what, uint32_t pid, uint32_t tid,
                 const char *name)
{
    fprintf(w->to,
            "%s{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%u,\"tid\":%u,\"args\":{\"_\":0",
            w->comma ? ",\n" : "\n", what, pid, tid);
    w->comma = true;
    text(w, "name", name);
    fputs("}}", w->to);
}

/* ---- a process of a job ---------------------------------------------------------------------------- */

struct ring_view { /* while its events are written */
    const struct trace_ring *ring;
    uint32_t pid, main_thread, named[512]; /* the process at hand; its first thread */
};

static uint32_t field(const struct trace_event *e, unsigned shift)
{
    return (uint32_t)(e->e.word[TIMELINE_WHAT] >> shift) & 0xff;
}

/* A process's place on the board is used again by the next one: its first thread is the place's track, each
 * other one has a track of its own. */
static uint32_t track(struct writer *w, struct ring_view *v, const struct trace_event *e)
{
    const struct trace_ring *ring = v->ring;
    uint32_t thread = field(e, 24), pid = (uint32_t)e->e.word[TIMELINE_PID];
    if (pid != v->pid) {
        v->pid = pid;
        v->main_thread = thread;
    }
    uint32_t of = thread == v->main_thread ? 0 : thread + 1;
    uint32_t tid = (ring->job % 2048) << 20 | ring->proc << 10 | of;
    if (!v->named[of]) {
        char name[128];
        snprintf(name, sizeof name, "job %u %s %s %u%s", ring->job, ring->job_name,
                 ring->proc == 1 ? "driver" : "worker", ring->proc,
                 of ? ", a thread" : "");
        meta(w, "thread_name", ring->node + 1, tid, name);
        v->named[of] = 1;
    }
    return tid;
}

static const char *task_name(const struct trace_ring *ring, const struct trace_event *e)
{
    char key[16];
    snprintf(key, sizeof key, "%u", (uint32_t)(e->e.word[TIMELINE_WHAT] >> 32) & 0xffff);
    const char *name = json_string_value(json_object_get(ring->names, key));
    return name ? name : "?";
}

/* Where its submit is known: of this node's tasks, and of other nodes' by what sent it here. */
static const struct key *origin(const struct writer *w, const struct trace_ring *ring,
                                uint64_t link)
{
    uint64_t node = w->t->nodes[ring->node].node;
    uint32_t job = ring->job;
    if (ring->owner != node) {
        const struct key *away = find(&w->aways, node, ring->owner_job, link);
        if (!away) {
            return NULL;
        }
        link = w->t->events[away->event].e.word[TIMELINE_LINK];
        node = ring->owner;
        job = ring->owner_job;
    }
    return find(&w->submits, node, job, link);
}

static void arrow(struct writer *w, char phase, const struct key *task, uint32_t pid,
                  uint32_t tid, int64_t at_ns)
{
    begin(w, phase, "task", pid, tid, at_ns);
    fprintf(w->to, ",\"name\":\"task\",\"id\":%u%s", task->event,
            phase == 'f' ? ",\"bp\":\"e\"" : "");
    end(w);
}

/* Whose end is not known: until it died, if it did, or somebody else has its place, else until now. */
static int64_t until(const struct writer *w, const struct trace_ring *ring, uint32_t at,
                     const char **ret_state)
{
    const struct trace *t = w->t;
    uint64_t pid = t->events[at].e.word[TIMELINE_PID];
    int64_t over = t->now_ns;
    *ret_state = "running";
    for (uint32_t r = 0; r < t->rings_count; r++) {
        const struct trace_ring *d = &t->rings[r];
        for (uint32_t i = d->first;
             d->job == 0 && d->node == ring->node && i < d->first + d->count; i++) {
            const struct trace_event *e = &t->events[i];
            if (timeline_kind(&e->e) == TIMELINE_DIED && e->e.word[TIMELINE_A] == pid &&
                e->e.word[TIMELINE_PID] == ring->job &&
                e->start_ns >= t->events[at].start_ns && e->start_ns < over) {
                over = e->start_ns;
                *ret_state = "killed";
            }
        }
    }
    for (uint32_t i = at + 1; i < ring->first + ring->count; i++) {
        if (t->events[i].e.word[TIMELINE_PID] != pid && t->events[i].start_ns < over) {
            over = t->events[i].start_ns;
            *ret_state = "killed";
        }
    }
    return over;
}

static void task_args(struct writer *w, const struct trace_ring *ring,
                      const struct trace_event *e, const struct key *from)
{
    uint64_t node = w->t->nodes[ring->node].node, link = e->e.word[TIMELINE_LINK];
    const struct key *ready = find(&w->readies, node, ring->job, link);
    int64_t at = e->start_ns;
    fprintf(w->to, ",\"attempt\":%u,\"class\":%u", field(e, 8) + 1, field(e, 16));
    fprintf(w->to, ",\"os_pid\":%" PRIu64 ",\"id\":\"%" PRIx64 "\"",
            e->e.word[TIMELINE_PID], link);
    if (from) {
        const struct trace_event *s = &w->t->events[from->event];
        int64_t submitted = s->start_ns + (int64_t)(s->e.word[TIMELINE_OUTCOME] >> 8);
        int64_t runnable = submitted;
        if (ready && w->t->events[ready->event].start_ns > submitted) {
            runnable = w->t->events[ready->event].start_ns;
        }
        runnable = runnable < at ? runnable : at;
        submitted = submitted < runnable ? submitted : runnable;
        span(w, "argument_us", runnable - submitted);
        span(w, "queue_us", at - runnable);
    }
}

static void run(struct writer *w, struct ring_view *v, uint32_t at)
{
    const struct trace_event *e = &w->t->events[at];
    const struct trace_ring *ring = v->ring;
    uint64_t outcome = e->e.word[TIMELINE_OUTCOME];
    uint32_t tid = track(w, v, e), pid = ring->node + 1;
    const struct key *from = origin(w, ring, e->e.word[TIMELINE_LINK]);
    const char *state = outcome & 0xff ? "failed" : "ran";
    int64_t took = (int64_t)(outcome >> 8) - 1;
    if (outcome == 0) {
        took = until(w, ring, at, &state) - e->start_ns;
    }
    begin(w, 'X', "run", pid, tid, e->start_ns);
    text(w, "name", task_name(ring, e));
    span(w, "dur", took);
    fprintf(w->to, ",\"args\":{\"state\":\"%s\"", state);
    if (outcome & 0xff) {
        text(w, "status", mob_status_name(-(mob_status)(outcome & 0xff)));
    }
    task_args(w, ring, e, from);
    fputs("}", w->to);
    end(w);
    if (from) {
        arrow(w, 't', from, pid, tid, e->start_ns);
    }
}

/* A submit, or a wait. */
static void call(struct writer *w, struct ring_view *v, uint32_t at)
{
    const struct trace_event *e = &w->t->events[at];
    bool get = timeline_kind(&e->e) == TIMELINE_GET;
    uint32_t tid = track(w, v, e), pid = v->ring->node + 1;
    int64_t took = (int64_t)(e->e.word[TIMELINE_OUTCOME] >> 8) - 1;
    const struct key *task = find(&w->submits, w->t->nodes[v->ring->node].node,
                                  v->ring->job, e->e.word[TIMELINE_LINK]);
    char name[MOB_NAME_MAX + 16];
    if (e->e.word[TIMELINE_LINK] == LINK_NONE) {
        snprintf(name, sizeof name, "wait");
    } else {
        snprintf(name, sizeof name, "%s %s", get ? "get" : "submit",
                 task_name(v->ring, e));
    }
    begin(w, 'X', get ? "get" : "submit", pid, tid, e->start_ns);
    text(w, "name", name);
    span(w, "dur", took);
    end(w);
    if (task && (get || task->event == at)) {
        arrow(w, get ? 'f' : 's', task, pid, tid, get ? e->start_ns + took : e->start_ns);
    }
}

/* ---- a daemon -------------------------------------------------------------------------------------- */

static void passage(struct writer *w, const struct trace_ring *ring, uint32_t at)
{
    static const char *const names[TIMELINE_KINDS] = {[TIMELINE_AWAY] = "away",
                                                      [TIMELINE_PULL] = "pull",
                                                      [TIMELINE_SPILL] = "spill",
                                                      [TIMELINE_RESTORE] = "restore"};
    const struct trace_event *e = &w->t->events[at];
    const char *name = names[timeline_kind(&e->e)];
    int64_t took = (int64_t)(e->e.word[TIMELINE_OUTCOME] >> 8) - 1;
    bool away = timeline_kind(&e->e) == TIMELINE_AWAY;
    begin(w, 'b', name, ring->node + 1, 0, e->start_ns);
    fprintf(w->to, ",\"name\":\"%s\",\"id\":%u,\"args\":{\"job\":%" PRIu64, name, at,
            e->e.word[TIMELINE_PID]);
    if (e->e.word[TIMELINE_A]) {
        fprintf(w->to, ",\"node\":\"%010" PRIx64 "\",\"there\":\"%" PRIx64 "\"",
                e->e.word[TIMELINE_A], e->e.word[TIMELINE_B]);
    }
    if (!away) {
        fprintf(w->to, ",\"bytes\":%" PRIu64, e->e.word[TIMELINE_B]);
    }
    if (e->e.word[TIMELINE_OUTCOME] & 0xff) {
        text(w, "status",
             mob_status_name(-(mob_status)(e->e.word[TIMELINE_OUTCOME] & 0xff)));
    }
    fputs("}", w->to);
    end(w);
    begin(w, 'e', name, ring->node + 1, 0, e->start_ns + (took > 0 ? took : 0));
    fprintf(w->to, ",\"name\":\"%s\",\"id\":%u", name, at);
    end(w);
}

static void moment(struct writer *w, const struct trace_ring *ring, uint32_t at)
{
    const struct trace_event *e = &w->t->events[at];
    const uint64_t *word = e->e.word;
    enum timeline_kind kind = timeline_kind(&e->e);
    const char *name = kind == TIMELINE_DIED    ? "worker ended"
                       : kind == TIMELINE_LEASE ? "lease here"
                                                : "lease elsewhere";
    begin(w, 'i', kind == TIMELINE_DIED ? "worker" : "lease", ring->node + 1, 0,
          e->start_ns);
    fprintf(w->to, ",\"s\":\"t\",\"name\":\"%s\",\"args\":{\"job\":%" PRIu64, name,
            word[TIMELINE_PID]);
    if (kind == TIMELINE_DIED) {
        fprintf(w->to, ",\"os_pid\":%" PRIu64 "}", word[TIMELINE_A]);
    } else {
        fprintf(w->to,
                ",\"lease\":\"%" PRIx64 "\",\"node\":\"%010" PRIx64
                "\",\"slots\":%u,\"epoch\":%u}",
                word[TIMELINE_LINK], word[TIMELINE_A], (uint32_t)(word[TIMELINE_B] >> 32),
                (uint32_t)word[TIMELINE_B]);
    }
    end(w);
}

/* ---- all of it ------------------------------------------------------------------------------------- */

static void write_ring(struct writer *w, const struct trace_ring *ring)
{
    static const struct ring_view none;
    struct ring_view v = none;
    v.ring = ring;
    for (uint32_t i = ring->first; i < ring->first + ring->count; i++) {
        switch (timeline_kind(&w->t->events[i].e)) {
        case TIMELINE_RUN:
            run(w, &v, i);
            break;
        case TIMELINE_SUBMIT:
        case TIMELINE_GET:
            call(w, &v, i);
            break;
        case TIMELINE_AWAY:
        case TIMELINE_PULL:
        case TIMELINE_SPILL:
        case TIMELINE_RESTORE:
            passage(w, ring, i);
            break;
        case TIMELINE_DIED:
        case TIMELINE_LEASE:
        case TIMELINE_GRANT:
            moment(w, ring, i);
            break;
        case TIMELINE_READY: /* in the run's arguments */
        case TIMELINE_NONE:
        case TIMELINE_KINDS:
            break;
        }
    }
}

static void write_about(struct writer *w)
{
    fputs("\n],\"displayTimeUnit\":\"ns\",\"otherData\":{\"clock\":\"CLOCK_MONOTONIC of "
          "the "
          "machine that asked\",\"nodes\":[",
          w->to);
    for (uint32_t i = 0; i < w->t->nodes_count; i++) {
        const struct trace_node *n = &w->t->nodes[i];
        uint64_t lost = 0;
        for (uint32_t r = 0; r < w->t->rings_count; r++) {
            lost += w->t->rings[r].node == i ? w->t->rings[r].lost : 0;
        }
        fprintf(w->to,
                "%s{\"id\":\"%.10s\",\"clock_offset_ns\":%" PRId64
                ",\"clock_error_ns\":%" PRIu64 ",\"overwritten\":%" PRIu64
                ",\"answered\":%s}",
                i ? "," : "", n->id, n->offset_ns, n->error_ns, lost,
                n->unreached ? "false" : "true");
    }
    fputs("]}}\n", w->to);
}

void timeline_write(const struct trace *t, FILE *to)
{
    struct writer w = {.t = t,
                       .to = to,
                       .begin_ns = INT64_MAX,
                       .submits = index_kind(t, TIMELINE_SUBMIT),
                       .readies = index_kind(t, TIMELINE_READY),
                       .aways = index_kind(t, TIMELINE_AWAY)};
    for (uint32_t i = 0; i < t->events_count; i++) {
        w.begin_ns =
            t->events[i].start_ns < w.begin_ns ? t->events[i].start_ns : w.begin_ns;
    }
    fputs("{\"traceEvents\":[", to);
    for (uint32_t i = 0; i < t->nodes_count; i++) {
        char name[sizeof t->nodes[i].host + 32];
        snprintf(name, sizeof name, "node %.10s %s", t->nodes[i].id, t->nodes[i].host);
        meta(&w, "process_name", i + 1, 0, name);
        meta(&w, "thread_name", i + 1, 0, "daemon");
    }
    for (uint32_t r = 0; r < t->rings_count; r++) {
        write_ring(&w, &t->rings[r]);
    }
    write_about(&w);
    free(w.submits.keys);
    free(w.readies.keys);
    free(w.aways.keys);
}
