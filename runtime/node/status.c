/* status.c - what the daemon knows, for programs and for people.
 *
 * What `mobula status --json` shows. The node that answers alone has its own members and "jobs" at
 * the top; with other nodes it is
 *   {"nodes": [NODE...], "jobs": [JOB...], "unmet": [UNMET...]}
 *   NODE   id, host, pid, state ("alive", "leaving", "dead"), head (true or false), address,
 *          transport ("local", "tcp", "verbs"), cpus, cpus_used, store_limit_bytes,
 *          store_used_bytes, resources {name: {total, used}} (used is there where cpus_used is; memory in
 *          bytes), labels, tasks (that run there now), loop (what its loop runs on, and why),
 *          moved (of a node that the head, or a node without one, is connected to: how
 *          objects move between the two: path (device, GID, connections), no_rdma (why not
 *          over RDMA; "" if they do), encrypted, checked (true or false), pulled_bytes,
 *          served_bytes, pulled_bytes_s, served_bytes_s (of the last second or two),
 *          rdma_bytes (of those pulled), damaged (chunks), fallbacks (pulls that went on
 *          over TCP), rdma_retries)
 *          and, of the node that answers: dir (its folder), key_file (if its key is in one),
 *          pinned_cpus (those that its workers are pinned to, such as "0-3,8") or else not_pinned (why they are not)
 *   JOB    number, name, driver_pid, failed (true or false), weight, workers [{pid, class, slot, cpus}] (cpus: those of its slot; "" any),
 *          records {phase: count}, tasks_done, tasks_requeued, tasks_failed, store_bytes,
 *          classes [CLASS...], leases [LEASE...] (the first of them), leases_count; see status_job.c;
 *          results_away [AWAY...] (by node, the first of them; see there), arguments_kept_bytes (here, of which those can be
 *          made again), groups [GROUP...] (some of them), groups_count; see status_group.c
 *   UNMET  job (its number), cpus (that one task asks for), tasks (that wait), why (a sentence: what they ask for,
 *          and who comes nearest)
 * A node of a cluster adds "peers", [{id, host, address, transport, moved}], the nodes that it is
 * connected to itself, "head_words", {sent, heard, heartbeats, tasks}: messages about leases between
 * this node and the head, and tasks that ended here since it started, "cluster": "head", "member", or "headless" (its head is lost), and the
 * node's silent_ms; JOB has owner ("" or the node that it came from) and tasks_away (on other nodes
 * now). A head adds "database": "ok", or why its disk does not take who is a member; a headless node
 * "head_away_ms": since when. The nodes are as the head says; of a lost head's, only what this node knows is there, and
 * their state is "unknown" unless they are connected.
 * Readers leave alone what they do not know, and do without what is missing. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster.h"
#include "core/clock.h"
#include "core/status.h"
#include "journal.h"
#include "look/look.h"

static double cpus_of(const struct resources *r)
{
    return (double)r->amount[RESOURCE_CPU] / CPU_UNITS;
}

static int whole_cpus(const struct resources *r)
{
    return (int)(r->amount[RESOURCE_CPU] / CPU_UNITS);
}

/* What a node has, and if that is known how much of it slots hold. */
static json_t *resources_json(const struct resources *has, const struct resources *used)
{
    json_t *all = json_object();
    for (uint32_t k = 0; k < resources_kinds(has); k++) {
        double unit = k == RESOURCE_MEMORY ? 1 : CPU_UNITS;
        json_t *o = json_pack("{s:f}", "total", (double)has->amount[k] / unit);
        if (o && used) {
            json_object_set_new(o, "used",
                                json_real((double)resources_like(used, has, k) / unit));
        }
        json_object_set_new(all, resources_name(has, k), o);
    }
    return all;
}

static uint32_t count_workers(const struct job *j)
{
    uint32_t count = 0;
    for (uint32_t i = 2; i < j->members_top; i++) {
        count += j->members[i].used && !j->members[i].dead;
    }
    return count;
}

void status_info(struct conn *c, struct local_msg *m)
{
    struct node *n = c->node;
    grant_collect(c->job); /* so that what is used is what is used now */
    local_msg_init(m, LOCAL_INFO);
    m->arg[0] = n->id;
    m->arg[1] = c->job->number;
    m->arg[2] = n->cpus;
    m->arg[3] = n->budget.limit_bytes;
    m->arg[4] = n->budget.used_bytes;
    m->arg[5] = (uint64_t)cluster_nodes(n) << 32 | count_workers(c->job);
    conn_reply(c, m, NULL, 0);
}

/* On the head any address of this machine is its own. */
void status_cluster(struct conn *c, struct local_msg *m)
{
    const struct node *n = c->node;
    const struct cluster *k = n->cluster;
    char text[sizeof n->host + 8] = "";
    local_msg_init(m, LOCAL_CLUSTER);
    if (k && k->is_head) {
        snprintf(text, sizeof text, "%s:%u", n->host, k->port);
        local_msg_text(m, n->config.listen ? k->self->address : text);
        m->arg[0] = 1;
        m->arg[3] = k->port;
    } else if (k) {
        local_msg_text(m, n->config.head_address);
        if (k->head_addr.size) { /* else it was never known */
            addr_ip6(&k->head_addr, (uint8_t *)&m->arg[1]);
            m->arg[3] = addr_port(&k->head_addr);
        }
    }
    conn_reply(c, m, NULL, 0);
}

void status_pins(const struct node *n, json_t *o)
{
    char text[CPUS_TEXT_MAX];
    struct cpus all = {0};
    for (uint32_t i = 0; i < n->cores.count; i++) {
        cpus_add(&all, n->cores.cpu[i].os);
    }
    json_object_set_new(o, "pinned_cpus",
                        json_string(cpus_text(&all, text, sizeof text)));
    json_object_set_new(o, "not_pinned", look_text(n->cores.why));
}

static json_t *node_json(struct node *n)
{
    char id[24];
    snprintf(id, sizeof id, "%010llx", (unsigned long long)n->id);
    const char *dir = n->config.dir ? n->config.dir : "";
    struct resources used = plan_node_used(n->plan);
    json_t *o =
        json_pack("{s:s,s:o,s:i,s:s,s:i,s:f,s:I,s:I,s:s,s:o}", "id", id, "host",
                  look_text(n->host), "pid", (int)getpid(), "state",
                  n->stopping ? "leaving" : "alive", "cpus", (int)n->cpus, "cpus_used",
                  cpus_of(&used), "store_limit_bytes", (json_int_t)n->budget.limit_bytes,
                  "store_used_bytes", (json_int_t)n->budget.used_bytes, "loop",
                  loop_backend(n->loop), "dir", look_text(dir));
    json_object_set_new(o, "resources", resources_json(&n->capacity, &used));
    json_object_set_new(o, "labels", look_text(n->labels));
    status_pins(n, o);
    return o;
}

char *status_node_text(struct node *n)
{
    json_t *root = node_json(n);
    if (root && n->cluster) {
        json_object_set_new(root, "address", look_text(n->cluster->self->address));
        json_object_set_new(root, "head", json_boolean(n->cluster->is_head));
    }
    if (root && n->config.key_file) {
        json_object_set_new(root, "key_file", look_text(n->config.key_file));
    }
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

uint32_t status_tasks(const struct node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        const struct job *j = n->jobs[i];
        for (uint32_t p = 2; j && p < j->members_top; p++) {
            count += j->members[p].used &&
                     at_load(&j->board.procs[p].task, AT_RELAXED) != LINK_NONE;
        }
    }
    return count;
}

/* ---- the cluster -------------------------------------------------------------------------------- */

/* How objects move to and from it, what moved, and why not over RDMA. */
static void add_transport(json_t *o, const struct peer *p)
{
    struct transport_stats s = {.carrier = "tcp"};
    if (p->links[0]) {
        transport_stats(p->links[0], &s);
    }
    json_object_set_new(o, "transport", json_string(s.carrier));
    if (p->links[0]) {
        json_t *moved = json_pack(
            "{s:o,s:o,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "path",
            look_text(s.path), "no_rdma", look_text(s.why), "encrypted", s.encrypted,
            "checked", s.checked, "pulled_bytes", (json_int_t)s.pulled_bytes,
            "served_bytes", (json_int_t)s.served_bytes, "pulled_bytes_s",
            (json_int_t)p->rate.pulled_s, "served_bytes_s", (json_int_t)p->rate.served_s,
            "rdma_bytes", (json_int_t)s.rdma_bytes, "damaged", (json_int_t)s.damaged,
            "fallbacks", (json_int_t)s.fallbacks, "rdma_retries", (json_int_t)s.retries);
        json_object_set_new(o, "moved", moved);
    }
}

json_t *status_peers(const struct node *n)
{
    json_t *peers = json_array();
    for (const struct peer *p = n->cluster ? n->cluster->peers : NULL; p; p = p->next) {
        if (p->links[0] && !p->gone) {
            char id[24];
            snprintf(id, sizeof id, "%010llx", (unsigned long long)p->id);
            json_t *o = json_pack("{s:s,s:o,s:s}", "id", id, "host", look_text(p->host),
                                  "address", p->address[0] ? p->address : p->seen);
            add_transport(o, p);
            json_array_append_new(peers, o);
        }
    }
    return peers;
}

void status_rates(struct cluster *c)
{
    uint64_t now = loop_now_ns(c->node->loop);
    for (struct peer *p = c->peers; p; p = p->next) {
        struct peer_rate *r = &p->rate;
        struct transport_stats s;
        if (!p->links[0]) {
            *r = (struct peer_rate){0};
        } else if (now >= r->at_ns + STATUS_RATE_NS) {
            transport_stats(p->links[0], &s);
            /* Of a connection in place of another one the figures begin anew. */
            if (r->at_ns && s.pulled_bytes >= r->pulled && s.served_bytes >= r->served) {
                double span = (double)(now - r->at_ns) / NS_PER_S;
                r->pulled_s = (uint64_t)((double)(s.pulled_bytes - r->pulled) / span);
                r->served_s = (uint64_t)((double)(s.served_bytes - r->served) / span);
            }
            r->at_ns = now;
            r->pulled = s.pulled_bytes;
            r->served = s.served_bytes;
        }
    }
}

json_t *status_member(const struct cluster *c, const struct peer *p, const char *state)
{
    char id[24];
    bool here = p == c->self;
    struct resources used = here ? plan_node_used(c->node->plan) : p->used;
    snprintf(id, sizeof id, "%010llx", (unsigned long long)p->id);
    json_t *o = json_pack("{s:s,s:o,s:s,s:s,s:b,s:i,s:I,s:s,s:s}", "id", id, "host",
                          look_text(p->host), "address", p->address, "state", state,
                          "head", p->id == c->head_node, "cpus", whole_cpus(&p->capacity),
                          "store_limit_bytes", (json_int_t)p->store_bytes, "transport",
                          "local", "loop", p->loop);
    json_object_set_new(o, "resources", resources_json(&p->capacity, NULL));
    json_object_set_new(o, "labels", look_text(p->labels));
    if (o && !here) {
        add_transport(o, p);
    }
    if (o && (here || c->is_head)) { /* only the head hears of others */
        json_object_set_new(o, "cpus_used", json_real(cpus_of(&used)));
        json_object_set_new(o, "resources", resources_json(&p->capacity, &used));
        json_object_set_new(o, "store_used_bytes",
                            json_integer((json_int_t)(here ? c->node->budget.used_bytes
                                                           : p->store_used)));
        json_object_set_new(o, "tasks",
                            json_integer(here ? status_tasks(c->node) : p->tasks));
    }
    return o;
}

/* What this node knows of the others by itself, for when the head cannot be asked. */
static json_t *known_nodes(const struct cluster *c)
{
    json_t *nodes = json_array();
    for (const struct peer *p = c->peers; p; p = p->next) {
        if (p->member && !p->gone) {
            bool alive = p == c->self || p->links[0];
            json_array_append_new(nodes,
                                  status_member(c, p, alive ? "alive" : "unknown"));
        }
    }
    return nodes;
}

static json_t *unmet_json(const struct node *n)
{
    json_t *unmet = json_array();
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        const struct job *j = n->jobs[i];
        for (uint32_t k = 0; j && k < j->classes; k++) {
            if (demand_unmet(j, k)) {
                char why[1024];
                json_array_append_new(
                    unmet,
                    json_pack("{s:i,s:f,s:i,s:o}", "job", (int)j->number, "cpus",
                              cpus_of(&j->demand[k].need), "tasks", (int)j->backlog[k],
                              "why", look_text(demand_why(j, k, why, sizeof why))));
            }
        }
    }
    return unmet;
}

static json_t *status_json(struct node *n, const char *nodes_text)
{
    const struct cluster *c = n->cluster;
    json_t *root = node_json(n);
    json_object_set_new(root, "jobs", status_jobs(n));
    json_object_set_new(root, "unmet", unmet_json(n));
    if (c) {
        json_t *nodes = nodes_text ? json_loads(nodes_text, 0, NULL) : NULL;
        const char *state = c->is_head ? "head" : c->head ? "member" : "headless";
        json_object_set_new(root, "cluster", json_string(state));
        if (c->journal) {
            const char *trouble = journal_trouble(c->journal);
            json_object_set_new(root, "database", look_text(trouble ? trouble : "ok"));
        }
        if (!c->head && c->ever_joined) {
            uint64_t away_ms = (loop_now_ns(n->loop) - c->head_lost_ns) / NS_PER_MS;
            json_object_set_new(root, "head_away_ms", json_integer((json_int_t)away_ms));
            json_object_set_new(root, "head_address",
                                json_string(n->config.head_address));
        }
        json_object_set_new(root, "address", json_string(c->self->address));
        json_object_set_new(root, "port", json_integer(c->port));
        json_object_set_new(root, "peers", status_peers(n));
        json_object_set_new(root, "head_words", status_words(n));
        json_object_set_new(root, "nodes",
                            json_is_array(nodes) ? json_incref(nodes) : known_nodes(c));
        json_decref(nodes);
    }
    return root;
}

static void answer(struct conn *c, const char *nodes_text)
{
    json_reply(c, LOCAL_STATUS, status_json(c->node, nodes_text));
}

/* ---- asking the head ---------------------------------------------------------------------------- */

void status_drop(struct conn *c)
{
    census_forget(c->node, &c->census);
    loop_timer_stop(c->node->loop, &c->timer);
    free(c->told);
    c->told = NULL;
    c->told_size = 0;
    c->cookie = 0;
    c->asked = NULL;
}

static void too_late(struct loop_timer *timer)
{
    struct conn *c = LOOP_OWNER(timer, struct conn, timer);
    status_drop(c);
    answer(c, NULL);
}

static void counted(struct census_wait *wait)
{
    struct conn *c = LOOP_OWNER(wait, struct conn, census);
    struct cluster *k = c->node->cluster;
    if (!k || !k->head) {
        answer(c, NULL);
        return;
    }
    c->cookie = ++k->last_cookie;
    struct codec_writer w = cluster_begin(k, WIRE_STATUS);
    codec_put_u64(&w, c->cookie);
    cluster_to_head(k, &w);
    loop_timer_start(c->node->loop, &c->timer,
                     loop_now_ns(c->node->loop) + STATUS_WAIT_NS, too_late);
}

void status_reply(struct conn *c, struct local_msg *m)
{
    if (c->census.waits || c->cookie) {
        conn_deny(c, m->op, status_fail(MOB_ERR_STATE, "one question at a time"));
    } else {
        census_take(c->node, &c->census, counted);
    }
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
    while (c && (c->cookie != cookie || cookie == 0 || c->asked)) {
        c = c->next;
    }
    char *grown = c ? realloc(c->told, c->told_size + size + 1) : NULL;
    if (!grown) {
        return true; /* the one who asked is gone */
    }
    memcpy(grown + c->told_size, part, size);
    c->told = grown;
    c->told_size += size;
    grown[c->told_size] = '\0';
    if (!more) {
        answer(c, grown);
        status_drop(c);
    }
    return true;
}

void status_head_lost(struct node *n)
{
    for (struct conn *c = n->conns; c; c = c->next) {
        if (c->cookie && !c->asked) {
            status_drop(c);
            answer(c, NULL);
        }
    }
}
