/* status_verbose.c - mobula status -v: for each node its jobs by class of demand, why their tasks wait,
 * the leases that they have, and what that cost in messages to the head. Each node is asked itself. */
#include <stdio.h>
#include <string.h>

#include "common/table.h"
#include "core/text.h"
#include "local.h"
#include "mobula/status.h"

enum { NODES_ASKED = 64 }; /* of a cluster, unless one is named */

/* ---- asking -------------------------------------------------------------------------------------- */

/* The node's answer; why there is none stands in it. */
static json_t *ask_node(struct tool_node *daemon, const char *id)
{
    json_t *ask = json_pack("{s:s,s:s}", "what", "jobs", "node", id), *got = NULL;
    mob_status st = tool_ask(daemon, LOCAL_STORE, ask, &got);
    json_decref(ask);
    if (st) {
        got = json_pack("{s:s}", "error", mob_last_error());
    }
    json_object_set_new(got, "node", json_string(id));
    return got;
}

json_t *status_details(struct tool_node *daemon, const json_t *root, const char *only)
{
    const json_t *nodes = json_object_get(root, "nodes"), *node;
    json_t *list = json_array();
    size_t i;
    if (only) {
        json_array_append_new(list, ask_node(daemon, only));
        return list;
    }
    if (json_array_size(nodes) == 0) {
        json_array_append_new(list, ask_node(daemon, tool_str(root, "id")));
    }
    json_array_foreach(nodes, i, node)
    {
        if (i < NODES_ASKED && strcmp(tool_str(node, "state"), "dead") != 0) {
            json_array_append_new(list, ask_node(daemon, tool_str(node, "id")));
        }
    }
    return list;
}

/* ---- showing ------------------------------------------------------------------------------------- */

void status_print_list(const json_t *jobs, const struct status_list *list)
{
    struct table *t = table_new(list->columns, list->columns_count);
    const json_t *job, *item;
    unsigned long long shown = 0, all = 0;
    char count[32];
    size_t i, k;
    snprintf(count, sizeof count, "%s_count", list->key);
    json_array_foreach(jobs, i, job)
    {
        const json_t *items = json_object_get(job, list->key);
        shown += json_array_size(items);
        all += tool_u64(job, count);
        json_array_foreach(items, k, item)
        {
            list->row(t, job, item);
        }
    }
    if (shown) {
        table_print(t);
    }
    if (all > shown) {
        printf("and %llu more %s\n", all - shown, list->key);
    }
    table_free(t);
}

/* What its tasks ask for, and in which group they run. */
static void demand_cell(struct table *t, const json_t *c)
{
    char urgent[40] = "", in[64] = "";
    long long priority = json_integer_value(json_object_get(c, "priority"));
    long long bundle = json_integer_value(json_object_get(c, "bundle"));
    const char *group = tool_str(c, "group");
    if (priority) {
        snprintf(urgent, sizeof urgent, " priority=%lld", priority);
    }
    if (*group && bundle >= 0) {
        snprintf(in, sizeof in, " group=%s/%lld", group, bundle);
    } else if (*group) {
        snprintf(in, sizeof in, " group=%s", group);
    }
    table_cell(t, 3, "%s%s%s", tool_str(c, "demand"), urgent, in);
}

static void class_row(struct table *t, const json_t *job, const json_t *c)
{
    static const char *const counts[] = {"waiting", "queued", "running", "away"};
    static const char *const states[] = {"busy", "idle", "lent", "starting"};
    const json_t *workers = json_object_get(c, "workers");
    table_cell(t, 0, "%llu", (unsigned long long)tool_u64(job, "number"));
    table_cell(t, 1, "%s", tool_str(job, "name"));
    table_cell(t, 2, "%llu", (unsigned long long)tool_u64(c, "class"));
    demand_cell(t, c);
    for (unsigned i = 0; i < 4; i++) {
        table_cell(t, 4 + i, "%llu", (unsigned long long)tool_u64(c, counts[i]));
        table_cell(t, 8 + i, "%llu", (unsigned long long)tool_u64(workers, states[i]));
    }
    table_cell(t, 12, "%s", tool_str(c, "why"));
}

static void print_classes(const json_t *jobs)
{
    static const struct table_column columns[] = {
        {"JOB", true, false},     {"NAME", false, true},    {"CLASS", true, false},
        {"DEMAND", false, true},  {"WAITING", true, false}, {"QUEUED", true, false},
        {"RUNNING", true, false}, {"AWAY", true, false},    {"BUSY", true, false},
        {"IDLE", true, false},    {"LENT", true, false},    {"STARTING", true, false},
        {"WHY", false, true}};
    static const struct status_list list = {
        "classes", columns, sizeof columns / sizeof columns[0], class_row};
    status_print_list(jobs, &list);
}

static void lease_row(struct table *t, const json_t *job, const json_t *l)
{
    bool granted = json_is_true(json_object_get(l, "granted"));
    static const char *const numbers[] = {"epoch", "class", "slots"};
    table_cell(t, 0, "%llu", (unsigned long long)tool_u64(job, "number"));
    table_cell(t, 1, "%s", tool_str(l, "lease"));
    for (unsigned i = 0; i < 3; i++) {
        table_cell(t, 2 + i, "%llu", (unsigned long long)tool_u64(l, numbers[i]));
    }
    table_cell(t, 5, "%s %s", granted ? "granted at" : "held for", tool_str(l, "node"));
    if (granted) {
        table_cell(t, 6, "%llu", (unsigned long long)tool_u64(l, "away"));
    }
}

static void print_leases(const json_t *jobs)
{
    static const struct table_column columns[] = {
        {"LEASE: JOB", true, false}, {"LEASE", false, false}, {"EPOCH", true, false},
        {"CLASS", true, false},      {"SLOTS", true, false},  {"FOR OR AT", false, false},
        {"AWAY", true, false}};
    static const struct status_list list = {
        "leases", columns, sizeof columns / sizeof columns[0], lease_row};
    status_print_list(jobs, &list);
}

static void away_row(struct table *t, const json_t *job, const json_t *a)
{
    const char *node = tool_str(a, "node");
    char bytes[32];
    table_cell(t, 0, "%llu", (unsigned long long)tool_u64(job, "number"));
    table_cell(t, 1, "%llu", (unsigned long long)tool_u64(a, "results"));
    table_cell(t, 2, "%s", text_bytes(tool_u64(a, "bytes"), bytes, sizeof bytes));
    table_cell(t, 3, "%s", *node ? node : "lost with their node, made again if wanted");
}

/* Results that stay where they were made, and what is kept here so that they can be made again. */
static void print_away(const json_t *jobs)
{
    static const struct table_column columns[] = {{"AWAY: JOB", true, false},
                                                  {"RESULTS", true, false},
                                                  {"BYTES", true, false},
                                                  {"AT", false, true}};
    static const struct status_list list = {"results_away", columns,
                                            sizeof columns / sizeof columns[0], away_row};
    const json_t *job;
    size_t i;
    status_print_list(jobs, &list);
    json_array_foreach(jobs, i, job)
    {
        uint64_t kept = tool_u64(job, "arguments_kept_bytes");
        char bytes[32];
        if (kept) {
            printf("job %llu keeps arguments of %s to make them again\n",
                   (unsigned long long)tool_u64(job, "number"),
                   text_bytes(kept, bytes, sizeof bytes));
        }
    }
}

static void worker_row(struct table *t, const json_t *job, const json_t *w)
{
    const char *cpus = tool_str(w, "cpus");
    table_cell(t, 0, "%llu", (unsigned long long)tool_u64(job, "number"));
    table_cell(t, 1, "%llu", (unsigned long long)tool_u64(w, "pid"));
    table_cell(t, 2, "%llu", (unsigned long long)tool_u64(w, "class"));
    table_cell(t, 3, "%s", tool_str(w, "slot"));
    table_cell(t, 4, "%s", *cpus ? cpus : "any");
}

void status_print_pins(const json_t *node)
{
    const char *pinned = tool_str(node, "pinned_cpus"),
               *why = tool_str(node, "not_pinned");
    if (*pinned) {
        printf("workers are pinned, on CPUs %s\n", pinned);
    } else if (*why) { /* else it is too old to say */
        printf("workers are not pinned to CPUs: %s\n", why);
    }
}

/* Which CPUs workers have, if those of the node are pinned. */
static void print_workers(const json_t *node, const json_t *jobs)
{
    static const struct table_column columns[] = {{"WORKER: JOB", true, false},
                                                  {"PID", true, false},
                                                  {"CLASS", true, false},
                                                  {"SLOT", false, false},
                                                  {"CPUS", false, true}};
    static const struct status_list list = {
        "workers", columns, sizeof columns / sizeof columns[0], worker_row};
    status_print_pins(node);
    if (*tool_str(node, "pinned_cpus")) {
        status_print_list(jobs, &list);
    }
}

static void print_words(const json_t *words, unsigned long long *sum)
{
    unsigned long long sent = tool_u64(words, "sent"), heard = tool_u64(words, "heard");
    unsigned long long tasks = tool_u64(words, "tasks_done");
    printf("messages about leases: %llu to the head, %llu from it; %llu tasks ended\n",
           sent, heard, tasks);
    sum[0] += sent + heard;
    sum[1] += tasks;
}

void status_print_details(const json_t *root, const json_t *details)
{
    const json_t *node;
    unsigned long long sum[2] = {0, 0};
    size_t i, all = json_array_size(json_object_get(root, "nodes"));
    json_array_foreach(details, i, node)
    {
        const json_t *jobs = json_object_get(node, "jobs");
        printf("\nnode %s\n", tool_str(node, "node"));
        if (*tool_str(node, "error")) {
            printf("%s\n", tool_str(node, "error"));
            continue;
        }
        if (json_array_size(jobs) == 0) {
            puts("no jobs");
        } else {
            print_classes(jobs);
            print_leases(jobs);
            print_away(jobs);
            status_print_groups(jobs);
        }
        print_workers(node, jobs);
        if (all) {
            print_words(json_object_get(node, "head_words"), sum);
        }
    }
    if (sum[1]) {
        printf("\nin all %.2g messages about leases for each task\n",
               (double)sum[0] / (double)sum[1]);
    }
    if (all > NODES_ASKED && json_array_size(details) > 1) {
        printf("\nasked the first %d of %zu nodes; --node=ID asks another one\n",
               NODES_ASKED, all);
    }
}
