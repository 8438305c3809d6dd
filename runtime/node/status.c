/* status.c - what the daemon knows, for programs and for people.
 *
 * What `mobula status --json` shows. The node that answers alone has its own members and "jobs" at
 * the top; with other nodes it is
 *   {"nodes": [NODE...], "jobs": [JOB...], "unmet": [UNMET...]}
 *   NODE   id, host, pid, state ("alive", "leaving", "dead"), head (true or false), address,
 *          transport ("local", "tcp", "verbs"), cpus, cpus_used, store_limit_bytes,
 *          store_used_bytes, tasks (that run there now), events (what its loop runs on)
 *          and, of the node that answers: dir (its folder), key_file (if its key is in one)
 *   JOB    number, name, driver_pid, failed (true or false), workers [{pid, class, slot}],
 *          records {phase: count}, tasks_done, tasks_requeued, tasks_failed, store_bytes
 *   UNMET  job (its number), cpus (that one task asks for), tasks (that wait)
 * Readers leave alone what they do not know, and do without what is missing. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/status.h"
#include "node.h"

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
    grant_collect(c->job); /* so that what is used is what is used now */
    local_msg_init(m, LOCAL_INFO);
    m->arg[0] = n->id;
    m->arg[1] = c->job->number;
    m->arg[2] = n->cpus;
    m->arg[3] = n->budget.limit_bytes;
    m->arg[4] = n->budget.used_bytes;
    m->arg[5] = 1ull << 32 | count_workers(c->job);
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
    return json_pack("{s:i,s:o,s:i,s:b,s:o,s:o,s:I,s:I,s:I,s:I}", "number", (int)j->number, "name",
                     json_text(j->name), "driver_pid", j->driver ? (int)j->driver->pid : 0, "failed",
                     j->failed, "workers", workers, "records", json_phases(j), "tasks_done",
                     (json_int_t)done, "tasks_requeued", (json_int_t)j->requeued, "tasks_failed",
                     (json_int_t)j->failed_tasks, "store_bytes",
                     (json_int_t)budget_of_job(&j->node->budget, j->index));
}

static json_t *node_json(struct node *n)
{
    char id[24];
    snprintf(id, sizeof id, "%010llx", (unsigned long long)n->id);
    const char *dir = n->config.dir ? n->config.dir : "";
    return json_pack("{s:s,s:o,s:i,s:s,s:i,s:f,s:I,s:I,s:s,s:o}", "id", id, "host", json_text(n->host), "pid",
                     (int)getpid(), "state", n->stopping ? "leaving" : "alive", "cpus",
                     (int)n->cpus, "cpus_used", (double)plan_node_used(n->plan) / CPU_UNITS,
                     "store_limit_bytes", (json_int_t)n->budget.limit_bytes, "store_used_bytes",
                     (json_int_t)n->budget.used_bytes, "events", loop_backend(n->loop), "dir",
                     json_text(dir));
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

void status_reply(struct conn *c, struct local_msg *m)
{
    json_reply(c, m->op, status_json(c->node));
}
