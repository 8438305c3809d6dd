/* timeline_fetch.c - the events of all nodes, page by page, with how far each node's clock is off. What nodes say
 * is input: events that make no sense are left out, and all of it is bounded. */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/status.h"
#include "local.h"
#include "mobula/timeline.h"

enum { CLOCK_LOOKS = 5 };

json_t *timeline_ask(struct tool_node *daemon, const char *id, json_t *more)
{
    json_t *got = NULL;
    json_object_set_new(more, "what", json_string("timeline"));
    json_object_set_new(more, "node", json_string(id));
    mob_status st = tool_ask(daemon, LOCAL_STORE, more, &got);
    json_decref(more);
    return st ? NULL : got;
}

json_t *timeline_nodes(struct tool_node *daemon)
{
    json_t *root, *ids = json_array();
    const json_t *nodes, *node;
    size_t i;
    if (tool_ask(daemon, LOCAL_STATUS, NULL, &root)) {
        json_decref(ids);
        return NULL;
    }
    nodes = json_object_get(root, "nodes");
    json_array_foreach(nodes, i, node)
    {
        if (strcmp(tool_str(node, "state"), "dead") != 0 && i < TRACE_NODES_MAX) {
            json_array_append_new(ids, json_string(tool_str(node, "id")));
        }
    }
    if (json_array_size(ids) == 0) {
        json_array_append_new(ids, json_string(tool_str(root, "id")));
    }
    json_decref(root);
    return ids;
}

/* How far its clock is from ours: the answer was made somewhere within the round trip. The shortest says
 * most. */
static json_t *look_at_clock(struct tool_node *daemon, struct trace_node *n)
{
    json_t *best = NULL;
    n->error_ns = UINT64_MAX;
    for (int i = 0; i < CLOCK_LOOKS; i++) {
        uint64_t before = clock_now_ns();
        json_t *got = timeline_ask(daemon, n->id, json_object());
        uint64_t after = clock_now_ns(), half = (after - before) / 2;
        if (got && half < n->error_ns) {
            n->error_ns = half;
            n->offset_ns = (int64_t)tool_u64(got, "now_ns") - (int64_t)(before + half);
            json_decref(best);
            best = got;
        } else {
            json_decref(got);
        }
        if (!got) {
            break;
        }
    }
    return best;
}

static bool add_event(struct trace *t, const struct trace_node *n, const json_t *words)
{
    struct trace_event *e = &t->events[t->events_count];
    if (json_array_size(words) != TIMELINE_WORDS) {
        return true;
    }
    for (int w = 0; w < TIMELINE_WORDS; w++) {
        e->e.word[w] = (uint64_t)json_integer_value(json_array_get(words, (size_t)w));
    }
    enum timeline_kind kind = timeline_kind(&e->e);
    e->start_ns = (int64_t)e->e.word[TIMELINE_START] - n->offset_ns;
    int64_t took = (int64_t)(e->e.word[TIMELINE_OUTCOME] >> 8);
    bool sane = kind > TIMELINE_NONE && kind < TIMELINE_KINDS &&
                e->start_ns >= n->since_ns && e->start_ns <= t->now_ns &&
                took <= t->now_ns - n->since_ns + 1;
    t->events_count += sane;
    return t->events_count < TRACE_EVENTS_MAX;
}

static void fetch_ring(struct tool_node *daemon, struct trace *t, struct trace_ring ring)
{
    const struct trace_node *n = &t->nodes[ring.node];
    json_int_t from = 0;
    bool more = t->rings_count < TRACE_RINGS_MAX && !t->cut;
    ring.first = t->events_count;
    while (more) {
        json_t *got = timeline_ask(daemon, n->id,
                                   json_pack("{s:i,s:i,s:I}", "job", (int)ring.job,
                                             "proc", (int)ring.proc, "from", from));
        const json_t *events = json_object_get(got, "events"), *words;
        json_int_t next = (json_int_t)tool_u64(got, "next");
        size_t i;
        ring.lost += tool_u64(got, "lost");
        json_array_foreach(events, i, words)
        {
            if (!add_event(t, n, words)) {
                t->cut = true;
                break;
            }
        }
        more =
            got && json_is_true(json_object_get(got, "more")) && next > from && !t->cut;
        from = next;
        json_decref(got);
    }
    ring.count = t->events_count - ring.first;
    if (ring.count) {
        t->rings[t->rings_count++] = ring;
    }
}

static void fetch_job(struct tool_node *daemon, struct trace *t, uint32_t node,
                      json_int_t number)
{
    json_t *job =
        timeline_ask(daemon, t->nodes[node].id, json_pack("{s:I}", "job", number));
    const json_t *rings = json_object_get(job, "rings"), *proc;
    size_t i;
    if (!job) {
        return; /* it went meanwhile */
    }
    json_array_append_new(t->jobs, job);
    json_array_foreach(rings, i, proc)
    {
        if (i < PROCS_MAX) {
            fetch_ring(daemon, t,
                       (struct trace_ring){
                           .node = node,
                           .job = (uint32_t)number,
                           .proc = (uint32_t)json_integer_value(proc) % PROCS_MAX,
                           .owner_job = (uint32_t)tool_u64(job, "owner_job"),
                           .owner = strtoull(tool_str(job, "owner"), NULL, 16),
                           .names = json_object_get(job, "names"),
                           .job_name = tool_str(job, "name")});
        }
    }
}

static void fetch_node(struct tool_node *daemon, struct trace *t, const char *id)
{
    uint32_t at = t->nodes_count++;
    struct trace_node *n = &t->nodes[at];
    snprintf(n->id, sizeof n->id, "%s", id);
    n->node = strtoull(id, NULL, 16);
    json_t *root = look_at_clock(daemon, n);
    const json_t *job;
    size_t i;
    if (!root) {
        n->unreached = 1;
        n->error_ns = 0;
        return;
    }
    snprintf(n->host, sizeof n->host, "%s", tool_str(root, "host"));
    n->since_ns = (int64_t)tool_u64(root, "since_ns") - n->offset_ns;
    t->now_ns = (int64_t)clock_now_ns();
    fetch_ring(daemon, t,
               (struct trace_ring){.node = at, .owner = n->node, .job_name = ""});
    json_array_foreach(json_object_get(root, "jobs"), i, job)
    {
        fetch_job(daemon, t, at, json_integer_value(job));
    }
    json_decref(root);
}

mob_status timeline_fetch(struct tool_node *daemon, struct trace *ret)
{
    json_t *ids = timeline_nodes(daemon);
    size_t i, count = json_array_size(ids);
    const json_t *id;
    *ret = (struct trace){.nodes = calloc(count + 1, sizeof *ret->nodes),
                          .rings = calloc(TRACE_RINGS_MAX, sizeof *ret->rings),
                          .events = malloc((TRACE_EVENTS_MAX + 1) * sizeof *ret->events),
                          .jobs = json_array()};
    if (!ids || !ret->nodes || !ret->rings || !ret->events || !ret->jobs) {
        json_decref(ids);
        return ids ? status_fail(MOB_ERR_NOMEM, "no memory for a timeline")
                   : MOB_ERR_NO_NODE;
    }
    json_array_foreach(ids, i, id)
    {
        fetch_node(daemon, ret, json_string_value(id));
    }
    json_decref(ids);
    return MOB_OK;
}

void timeline_forget_all(struct trace *t)
{
    free(t->nodes);
    free(t->rings);
    free(t->events);
    json_decref(t->jobs);
}
