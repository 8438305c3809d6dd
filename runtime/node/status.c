/* status.c - what the daemon knows, for programs and for people.
 *
 * What `mobula status --json` shows, in one object:
 *   this node's own NODE members, "jobs": [JOB...], and in a cluster "nodes": [NODE...] and "cluster":
 *   {state ("head", "member" or "headless": its head is lost), head (a node's id), address}
 *   NODE   id, host, pid, state ("alive", "silent", "leaving", "unknown"), head (true or false),
 *          address, transport ("local", "tcp"), cpus, cpus_used, store_limit_bytes,
 *          store_used_bytes, silent_ms, events (what its loop runs on), dir (its folder), key_file
 *          (if its key is in one). Of other nodes as the head says, or if it is lost as far as this
 *          node knows: then without cpus_used, store_used_bytes and silent_ms.
 *   JOB    number, name, driver_pid (0: of another node), owner (its node, "" here), failed (true or
 *          false), workers [{pid, class, slot}], records {phase: count}, tasks_done, tasks_requeued,
 *          tasks_failed, tasks_away (on other nodes now), store_bytes
 * Readers leave alone what they do not know, and do without what is missing. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"

static uint32_t count_workers(const struct job *j)
{
    uint32_t count = 0;
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        count += j->members[i].used && !j->members[i].dead;
    }
    return count;
}

void status_info(struct conn *c, struct local_msg *m)
{
    struct node *n = c->node;
    local_msg_init(m, LOCAL_INFO);
    m->arg[0] = n->id;
    m->arg[1] = c->job->number;
    m->arg[2] = n->cpus;
    m->arg[3] = n->budget.limit_bytes;
    m->arg[4] = n->budget.used_bytes;
    m->arg[5] = (uint64_t)cluster_nodes(n) << 32 | count_workers(c->job);
    conn_reply(c, m, NULL, 0);
}

static json_t *job_json(const struct job *j)
{
    uint64_t done = 0;
    json_t *workers = json_array();
    for (uint32_t i = 1; i < PROCS_MAX; i++) {
        done += at_load(&j->board.procs[i].done, AT_RELAXED);
        const struct member *w = &j->members[i];
        static const char *const states[] = {"starting", "busy", "idle", "lent", "resuming",
                                             "bare"};
        if (w->used && !w->dead) {
            json_array_append_new(
                workers, json_pack("{s:i,s:i,s:s}", "pid", (int)w->pid, "class", (int)w->class,
                                   "slot", states[w->slot]));
        }
    }
    char owner[24] = "";
    if (j->guest) {
        snprintf(owner, sizeof owner, "%010llx", (unsigned long long)j->guest->owner->id);
    }
    return json_pack("{s:i,s:o,s:s,s:i,s:i,s:b,s:o,s:o,s:I,s:I,s:I,s:I}", "number", (int)j->number,
                     "name", json_text(j->name), "owner", owner, "tasks_away", (int)j->away.out,
                     "driver_pid", j->driver ? (int)j->driver->pid : 0, "failed", j->failed, "workers",
                     workers, "records", json_phases(j), "tasks_done",
                     (json_int_t)done, "tasks_requeued", (json_int_t)j->requeued, "tasks_failed",
                     (json_int_t)j->failed_tasks, "store_bytes",
                     (json_int_t)budget_of_job(&j->node->budget, j->index));
}

static const char *cluster_state(const struct cluster *c)
{
    return c->is_head ? "head" : c->head ? "member" : "headless";
}

/* What this node knows of the others by itself, for when the head cannot be asked. */
static json_t *known_nodes(const struct cluster *c)
{
    json_t *nodes = json_array();
    for (const struct peer *p = c->peers; p; p = p->next) {
        char id[24];
        if (!p->member || p->gone) {
            continue;
        }
        bool here = p == c->self;
        snprintf(id, sizeof id, "%010llx", (unsigned long long)p->id);
        json_array_append_new(
            nodes, json_pack("{s:s,s:s,s:s,s:s,s:b,s:i,s:I,s:s}", "id", id, "host", p->host,
                             "address", p->address, "state", here || p->links[0] ? "alive" : "unknown",
                             "head", p->id == c->head_node, "cpus", (int)p->cpus,
                             "store_limit_bytes", (json_int_t)p->store_bytes, "transport",
                             here ? "local" : "tcp"));
    }
    return nodes;
}

static json_t *cluster_json(const struct cluster *c)
{
    char head[24] = "";
    if (c->head_node) {
        snprintf(head, sizeof head, "%010llx", (unsigned long long)c->head_node);
    }
    return json_pack("{s:s,s:s,s:s}", "state", cluster_state(c), "head", head, "address",
                     c->self->address);
}

static json_t *node_json(struct node *n)
{
    char id[24];
    snprintf(id, sizeof id, "%010llx", (unsigned long long)n->id);
    const char *dir = n->config.dir ? n->config.dir : "";
    json_t *root =
        json_pack("{s:s,s:o,s:i,s:s,s:i,s:f,s:I,s:I,s:s,s:o}", "id", id, "host", json_text(n->host), "pid",
                     (int)getpid(), "state", n->stopping ? "leaving" : "alive", "cpus",
                     (int)n->cpus, "cpus_used", (double)plan_node_used(n->plan) / CPU_UNITS,
                     "store_limit_bytes", (json_int_t)n->budget.limit_bytes, "store_used_bytes",
                     (json_int_t)n->budget.used_bytes, "events", loop_backend(n->loop), "dir",
                     json_text(dir));
    if (n->cluster) {
        json_object_set_new(root, "address", json_text(n->cluster->self->address));
        json_object_set_new(root, "head", json_boolean(n->cluster->is_head));
    }
    if (n->config.key_file) {
        json_object_set_new(root, "key_file", json_text(n->config.key_file));
    }
    return root;
}

char *status_node_text(struct node *n)
{
    json_t *root = node_json(n);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

static json_t *status_json(struct node *n)
{
    json_t *root = node_json(n), *jobs = json_array();
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (n->jobs[i]) {
            json_array_append_new(jobs, job_json(n->jobs[i]));
        }
    }
    json_object_set_new(root, "jobs", jobs);
    return root;
}

static void answer(struct conn *c, const char *nodes_text)
{
    json_t *root = status_json(c->node);
    struct cluster *k = c->node->cluster;
    if (k) {
        json_t *nodes = nodes_text ? json_loads(nodes_text, 0, NULL) : NULL;
        json_object_set_new(root, "nodes", nodes ? nodes : known_nodes(k));
        json_object_set_new(root, "cluster", cluster_json(k));
    }
    json_reply(c, LOCAL_STATUS, root);
}

/* ---- asking the head ------------------------------------------------------------------------------------ */

void status_drop(struct conn *c)
{
    loop_timer_stop(c->node->loop, &c->timer);
    free(c->heard);
    c->heard = NULL;
    c->heard_size = 0;
    c->cookie = 0;
}

static void too_late(struct loop_timer *timer)
{
    struct conn *c = LOOP_OWNER(timer, struct conn, timer);
    status_drop(c);
    answer(c, NULL);
}

void status_reply(struct conn *c, struct local_msg *m)
{
    struct cluster *k = c->node->cluster;
    (void)m;
    if (!k || !k->head || c->cookie) {
        answer(c, NULL);
        return;
    }
    c->cookie = ++k->last_cookie;
    struct codec_writer w = cluster_begin(k, WIRE_STATUS);
    codec_put_u64(&w, c->cookie);
    cluster_to_head(k, &w);
    loop_timer_start(c->node->loop, &c->timer, loop_now_ns(c->node->loop) + STATUS_WAIT_NS,
                     too_late);
}

bool status_text(struct node *n, struct codec_reader *r)
{
    size_t size;
    uint64_t cookie = codec_get_u64(r);
    bool more = codec_get_u8(r);
    const char *part = codec_get_bytes(r, WIRE_BATCH_BYTES, &size);
    if (!codec_done(r)) {
        return false;
    }
    struct conn *c = n->conns;
    while (c && (c->cookie != cookie || cookie == 0)) {
        c = c->next;
    }
    char *grown = c ? realloc(c->heard, c->heard_size + size + 1) : NULL;
    if (!grown) {
        return true; /* the one who asked is gone */
    }
    memcpy(grown + c->heard_size, part, size);
    c->heard = grown;
    c->heard_size += size;
    grown[c->heard_size] = '\0';
    if (!more) {
        answer(c, grown);
        status_drop(c);
    }
    return true;
}

void status_head_lost(struct node *n)
{
    for (struct conn *c = n->conns; c; c = c->next) {
        if (c->cookie) {
            status_drop(c);
            answer(c, NULL);
        }
    }
}
