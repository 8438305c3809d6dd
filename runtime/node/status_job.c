/* status_job.c - a job as `mobula status` shows it: its classes, why their tasks wait, its leases.
 *   CLASS  class, cpus and demand (what one task asks for, as text), priority, waiting (for arguments), queued, running, away (on other
 *          nodes, or on their way), workers {starting, busy, idle, lent, resuming},
 *          slots_leased (that other nodes' leases allow here), slots_wanted (elsewhere, as the head was
 *          told), slots_granted (elsewhere), group and bundle (where they run, or "" and -1), why (why queued tasks do not run; "" if they are about to)
 *   LEASE  lease, epoch, class, slots, granted (true: to this node, on `node`; false: here, for the tasks
 *          of `node`), node, away (of one that is granted: tasks that are there)
 *   AWAY   node (that made results of the job's tasks and keeps them until they are wanted; "": it is lost, and they are
 *          made again when they are), results, bytes
 * Counts of tasks are those of the last census. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "look/look.h"

/* Of a job: leases, of more it is said how many there are; nodes that keep results. */
enum { LEASES_SHOWN = 64, NODES_SHOWN = 64 };

static const char *node_text(uint64_t id, char buf[24])
{
    snprintf(buf, 24, "%010llx", (unsigned long long)id);
    return buf;
}

/* ---- why tasks wait ------------------------------------------------------------------------------ */

/* What is true of the job, or of the whole cluster. */
static const char *why_nowhere(const struct job *j, uint32_t c)
{
    if (j->failed) {
        return "the job has failed";
    }
    if (j->leaving) {
        return "the job is ending";
    }
    if (j->guest && j->guest->key->failed) {
        return "no worker of the job starts on this node";
    }
    if (j->guest && !j->guest->ready) {
        return "the job's executable is on its way here";
    }
    const struct group *g = group_find(j, j->demand[c].group);
    if (g && g->state < GROUP_WHOLE) {
        return "their group is not whole";
    }
    return demand_unmet(j, c) ? "no node has what one of them asks for" : NULL;
}

static void why_here(const struct job *j, uint32_t c, char *buf, size_t size)
{
    static const char *const texts[] = {
        [PLAN_WHY_NOTHING] = "",
        [PLAN_WHY_FAILED] = "its workers do not start",
        [PLAN_WHY_LARGE] = "this node is too small for them",
        [PLAN_WHY_STARTING] = "workers are starting",
        [PLAN_WHY_LEASE] = "the slots leased here are in use",
        [PLAN_WHY_PROCS] = "the job has as many processes here as it may have",
        [PLAN_WHY_TURN] = "no %s is free; other jobs have their turn",
        [PLAN_WHY_SHORT] = "no %s is free"};
    enum plan_why why = PLAN_WHY_NOTHING;
    uint32_t kind = 0;
    (void)plan_node_why(j->node->plan, job_plan_id(j), j->class_name[c], &why, &kind);
    if (why == PLAN_WHY_TURN || why == PLAN_WHY_SHORT) {
        snprintf(buf, size, texts[why], resources_name(&j->demand[c].need, kind));
    } else {
        snprintf(buf, size, "%s%s%s", texts[why],
                 texts[why][0] && j->start_why[0] ? ": " : "",
                 texts[why][0] ? j->start_why : "");
    }
}

static void why_text(const struct job *j, uint32_t c, uint64_t queued, uint32_t wanted,
                     uint32_t granted, char *buf, size_t size)
{
    const struct cluster *k = j->node->cluster;
    if (gang_why(j, c, buf, size)) {
        return;
    }
    const char *why = queued ? why_nowhere(j, c) : "";
    if (why) {
        snprintf(buf, size, "%s", why);
        return;
    }
    why_here(j, c, buf, size);
    size_t at = strlen(buf);
    if (j->guest || !k || !*buf) {
        return;
    }
    if (!k->head) {
        snprintf(buf + at, size - at, "; the head is away, which could lease more");
    } else if (wanted > granted) {
        snprintf(buf + at, size - at,
                 "; the head has leased %u of %u slots wanted elsewhere", granted,
                 wanted);
    }
}

/* ---- classes and leases -------------------------------------------------------------------------- */

static json_t *class_json(const struct job *j, uint32_t c, uint32_t granted)
{
    struct plan_class_view v = {0};
    const uint64_t *tasks = j->census.tasks[c];
    char why[512], demand[RESOURCES_TEXT_MAX];
    (void)plan_node_view(j->node->plan, job_plan_id(j), j->class_name[c], &v);
    why_text(j, c, tasks[CENSUS_QUEUED], v.want, granted, why, sizeof why);
    return json_pack(
        "{s:i,s:f,s:s,s:i,s:I,s:I,s:I,s:I,s:{s:i,s:i,s:i,s:i,s:i},s:i,s:i,s:i,s:o}",
        "class", (int)c, "cpus",
        (double)j->demand[c].need.amount[RESOURCE_CPU] / CPU_UNITS, "demand",
        resources_text(&j->demand[c].need, demand, sizeof demand), "priority",
        (int)j->demand[c].priority, "waiting", (json_int_t)tasks[CENSUS_WAITING],
        "queued", (json_int_t)tasks[CENSUS_QUEUED], "running",
        (json_int_t)tasks[CENSUS_RUNNING], "away", (json_int_t)tasks[CENSUS_AWAY],
        "workers", "starting", (int)v.starting, "busy", (int)v.busy, "idle", (int)v.idle,
        "lent", (int)v.lent, "resuming", (int)v.resuming, "slots_leased", (int)v.leased,
        "slots_wanted", (int)v.want, "slots_granted", (int)granted, "why",
        look_text(why));
}

static json_t *lease_json(const struct plan_node_lease_view *l)
{
    char lease[24], node[24];
    snprintf(lease, sizeof lease, "%llx", (unsigned long long)l->lease);
    return json_pack("{s:s,s:i,s:i,s:i,s:b,s:s,s:i}", "lease", lease, "epoch",
                     (int)l->epoch, "class", (int)plan_class_place(l->cls), "slots",
                     (int)l->slots, "granted", (int)l->granted, "node",
                     node_text(l->node, node), "away", (int)l->away);
}

static void add_classes(json_t *o, const struct job *j)
{
    struct plan_node_lease_view leases[LEASES_SHOWN];
    uint32_t granted[CLASSES_MAX] = {0};
    json_t *classes = json_array(), *list = json_array();
    uint32_t count =
        plan_node_leases(j->node->plan, job_plan_id(j), leases, LEASES_SHOWN);
    for (uint32_t i = 0; i < count && i < LEASES_SHOWN; i++) {
        json_array_append_new(list, lease_json(&leases[i]));
    }
    plan_node_granted(j->node->plan, job_plan_id(j), granted);
    for (uint32_t c = 0; c < j->classes; c++) {
        if (job_has_class(j, c)) {
            json_t *one = class_json(j, c, granted[c]);
            status_class_group(&j->demand[c], one);
            json_array_append_new(classes, one);
        }
    }
    json_object_set_new(o, "classes", classes);
    json_object_set_new(o, "leases", list);
    json_object_set_new(o, "leases_count", json_integer(count));
}

static void add_away(json_t *o, const struct job *j)
{
    struct lineage_at at[NODES_SHOWN];
    json_t *list = json_array();
    uint32_t count = lineage_nodes(j, at, NODES_SHOWN);
    for (uint32_t i = 0; i < count; i++) {
        char node[24] = "";
        if (at[i].peer) {
            (void)node_text(at[i].peer->id, node);
        }
        json_array_append_new(list, json_pack("{s:s,s:I,s:I}", "node", node, "results",
                                              (json_int_t)at[i].results, "bytes",
                                              (json_int_t)at[i].bytes));
    }
    json_object_set_new(o, "results_away", list);
    json_object_set_new(o, "arguments_kept_bytes",
                        json_integer((json_int_t)j->lineage.held_bytes));
}

/* ---- jobs ---------------------------------------------------------------------------------------- */

uint64_t status_tasks_done(const struct job *j)
{
    uint64_t done = 0;
    for (uint32_t i = 1; i < j->members_top || i == 1; i++) {
        done += at_load(&j->board.procs[i].done, AT_RELAXED);
    }
    return done;
}

static json_t *workers_json(const struct job *j)
{
    static const char *const states[] = {"starting", "busy",     "idle",
                                         "lent",     "resuming", "bare"};
    json_t *workers = json_array();
    char cpus[CPUS_TEXT_MAX];
    for (uint32_t i = 2; i < j->members_top; i++) {
        const struct member *w = &j->members[i];
        if (w->used && !w->dead) {
            cpus[0] = '\0';
            if (w->cores.held) {
                (void)cpus_text(&w->cores.cpus, cpus, sizeof cpus);
            }
            json_array_append_new(
                workers, json_pack("{s:i,s:i,s:s,s:s}", "pid", (int)w->pid, "class",
                                   (int)w->class, "slot", states[w->slot], "cpus", cpus));
        }
    }
    return workers;
}

static json_t *job_json(const struct job *j)
{
    char owner[24] = "";
    if (j->guest) {
        (void)node_text(j->guest->owner->id, owner);
    }
    json_t *o = json_pack(
        "{s:i,s:o,s:s,s:i,s:i,s:b,s:o,s:o,s:I,s:I,s:I,s:I}", "number", (int)j->number,
        "name", look_text(j->name), "owner", owner, "tasks_away", (int)j->away.out,
        "driver_pid", j->driver ? (int)j->driver->pid : 0, "failed", j->failed, "workers",
        workers_json(j), "records", json_phases(j), "tasks_done",
        (json_int_t)status_tasks_done(j), "tasks_requeued", (json_int_t)j->requeued,
        "tasks_failed", (json_int_t)j->failed_tasks, "store_bytes",
        (json_int_t)budget_of_job(&j->node->budget, j->index));
    if (o) {
        uint32_t weight = plan_node_weight(j->node->plan, job_plan_id(j));
        json_object_set_new(o, "weight", json_integer(weight));
        add_classes(o, j);
        add_away(o, j);
        status_groups(j, o);
    }
    return o;
}

json_t *status_jobs(const struct node *n)
{
    json_t *jobs = json_array();
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (n->jobs[i]) {
            json_array_append_new(jobs, job_json(n->jobs[i]));
        }
    }
    return jobs;
}

json_t *status_words(const struct node *n)
{
    const struct cluster *c = n->cluster;
    uint64_t tasks = n->tasks_ended;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        tasks += n->jobs[i] ? status_tasks_done(n->jobs[i]) : 0;
    }
    return json_pack("{s:I,s:I,s:I,s:I}", "sent", (json_int_t)(c ? c->words_sent : 0),
                     "heard", (json_int_t)(c ? c->words_heard : 0), "heartbeats",
                     (json_int_t)(c ? c->beats : 0), "tasks_done", (json_int_t)tasks);
}
