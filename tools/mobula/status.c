/* mobula status - nodes, jobs, and demand that nobody can meet. The JSON that it reads is described
 * in runtime/node/status.c; a node that has no others answers as the one member of a list. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/peers.h"
#include "common/table.h"
#include "core/text.h"
#include "local.h"
#include "mobula_tool.h"
#include "status.h"

static const char usage[] =
    "usage: mobula status [options]\n"
    "\n"
    "Shows the nodes of the cluster, the jobs, and demand that no node can meet, as the "
    "node of\n"
    "this machine knows them.\n"
    "\n"
    "  -v, --verbose    of each node, too: its jobs by class of demand, why tasks wait, "
    "leases,\n"
    "                   and messages to the head for each task\n"
    "  --node=ID        the same of this node alone\n"
    "  --json           all of it, for programs\n"
    "  --node-dir=DIR   ask the node in this folder instead of the usual one\n"
    "  --help           this text\n";

static const char *or_dash(const char *text)
{
    return *text ? text : "-";
}

static void node_row(struct table *t, const json_t *n, bool alone)
{
    char used[32], all[32], transport[64];
    text_bytes(tool_u64(n, "store_used_bytes"), used, sizeof used);
    text_bytes(tool_u64(n, "store_limit_bytes"), all, sizeof all);
    snprintf(transport, sizeof transport, "%s", or_dash(tool_str(n, "transport")));
    bool head = json_is_true(json_object_get(n, "head"));
    table_cell(t, 0, "%s%s", tool_str(n, "id"), head ? " (head)" : "");
    table_cell(t, 1, "%s", or_dash(tool_str(n, "state")));
    table_cell(t, 2, "%s", or_dash(tool_str(n, "host")));
    table_cell(t, 3, "%s", or_dash(tool_str(n, "address")));
    table_cell(t, 4, "%.4g/%llu", tool_real(n, "cpus_used"),
               (unsigned long long)tool_u64(n, "cpus"));
    table_cell(t, 5, "%s/%s", used, all);
    table_cell(t, 6, "%llu", (unsigned long long)tool_u64(n, "tasks"));
    table_cell(t, 7, "%s", alone ? "local" : transport);
    /* How io_uring was set up matters to few; why it is another one does. */
    const char *loop = or_dash(tool_str(n, "loop"));
    bool ring = strncmp(loop, "io_uring ", 9) == 0;
    table_cell(t, 8, "%.*s", ring ? 8 : (int)strlen(loop), loop);
}

static void print_nodes(const json_t *root)
{
    static const struct table_column columns[] = {
        {"NODE", false, false},   {"STATE", false, false},    {"HOST", false, true},
        {"ADDRESS", false, true}, {"CPUS", true, false},      {"STORE", true, false},
        {"TASKS", true, false},   {"TRANSPORT", false, true}, {"LOOP", false, true}};
    const json_t *nodes = json_object_get(root, "nodes"), *node;
    struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    size_t i;
    if (!json_is_array(nodes)) {
        node_row(t, root, true);
    }
    json_array_foreach(nodes, i, node)
    {
        node_row(t, node, false);
    }
    table_print(t);
    table_free(t);
}

/* What is not as it should be with the head. */
static void print_head(const json_t *root)
{
    const json_t *away = json_object_get(root, "head_away_ms");
    const char *database = tool_str(root, "database");
    if (away) {
        printf("\nthe head at %s has been away for %.1f s: what runs goes on, and "
               "nothing new is given to other nodes until it is back\n",
               tool_str(root, "head_address"), (double)json_integer_value(away) / 1000);
    }
    if (*database && strcmp(database, "ok") != 0) {
        printf("\nthe head's database: %s\n", database);
    }
}

static void job_row(struct table *t, const json_t *j)
{
    const json_t *phases = json_object_get(j, "records");
    const json_t *workers = json_object_get(j, "workers");
    char store[32];
    text_bytes(tool_u64(j, "store_bytes"), store, sizeof store);
    static const char *const shown[] = {"waiting", "queued", "taken"};
    static const char *const counted[] = {"tasks_done", "tasks_requeued", "tasks_failed"};
    table_cell(t, 0, "%llu", (unsigned long long)tool_u64(j, "number"));
    char weight[32] = ""; /* the usual one says nothing */
    if (tool_u64(j, "weight") > 1) {
        snprintf(weight, sizeof weight, " (weight %llu)",
                 (unsigned long long)tool_u64(j, "weight"));
    }
    table_cell(t, 1, "%s%s%s", tool_str(j, "name"), weight,
               json_is_true(json_object_get(j, "failed")) ? " (failed)" : "");
    table_cell(t, 2, "%llu", (unsigned long long)tool_u64(j, "driver_pid"));
    table_cell(t, 3, "%zu", json_array_size(workers));
    for (unsigned i = 0; i < 3; i++) {
        table_cell(t, 4 + i, "%llu", (unsigned long long)tool_u64(phases, shown[i]));
        table_cell(t, 7 + i, "%llu", (unsigned long long)tool_u64(j, counted[i]));
    }
    table_cell(t, 10, "%s", store);
}

static void print_jobs(const json_t *root)
{
    static const struct table_column columns[] = {
        {"JOB", true, false},     {"NAME", false, true},    {"PID", true, false},
        {"WORKERS", true, false}, {"WAITING", true, false}, {"QUEUED", true, false},
        {"RUNNING", true, false}, {"DONE", true, false},    {"REQUEUED", true, false},
        {"FAILED", true, false},  {"STORE", true, false}};
    const json_t *jobs = json_object_get(root, "jobs"), *job;
    size_t i;
    putchar('\n');
    if (json_array_size(jobs) == 0) {
        puts("no jobs");
        return;
    }
    struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    json_array_foreach(jobs, i, job)
    {
        job_row(t, job);
    }
    table_print(t);
    table_free(t);
}

static void print_unmet(const json_t *root)
{
    const json_t *unmet = json_object_get(root, "unmet"), *u;
    size_t i;
    json_array_foreach(unmet, i, u)
    {
        printf("%sUNMET: %llu task%s of job %llu: each asks for %s\n", i ? "" : "\n",
               (unsigned long long)tool_u64(u, "tasks"),
               tool_u64(u, "tasks") == 1 ? "" : "s",
               (unsigned long long)tool_u64(u, "job"), tool_str(u, "why"));
    }
}

static void print_amount(const char *kind, const json_t *amount)
{
    char used[32], total[32];
    const json_t *u = json_object_get(amount, "used");
    bool bytes = strcmp(kind, "memory") == 0;
    if (bytes) {
        text_bytes((uint64_t)tool_real(amount, "used"), used, sizeof used);
        text_bytes((uint64_t)tool_real(amount, "total"), total, sizeof total);
    } else {
        snprintf(used, sizeof used, "%.10g", tool_real(amount, "used"));
        snprintf(total, sizeof total, "%.10g", tool_real(amount, "total"));
    }
    printf("  %s %s%s%s", kind, u ? used : "", u ? " of " : "", total);
}

/* What a node has beside CPUs, where it is more than memory. */
static void print_resources_of(const json_t *node)
{
    const char *kind, *labels = tool_str(node, "labels");
    json_t *amount, *all = json_object_get(node, "resources");
    bool any = *labels != '\0';
    json_object_foreach(all, kind, amount)
    {
        bool usual = strcmp(kind, "CPU") == 0 || strcmp(kind, "memory") == 0;
        any = any || (!usual && tool_real(amount, "total") > 0);
    }
    if (!any) {
        return;
    }
    printf("\n%s (%s):", tool_str(node, "host"), tool_str(node, "id"));
    json_object_foreach(all, kind, amount)
    {
        if (strcmp(kind, "CPU") != 0 && tool_real(amount, "total") > 0) {
            print_amount(kind, amount);
        }
    }
    printf("%s%s\n", *labels ? "  labels " : "", labels);
}

static void print_resources(const json_t *root)
{
    const json_t *nodes = json_object_get(root, "nodes"), *node;
    size_t i;
    if (!json_is_array(nodes)) {
        print_resources_of(root);
    }
    json_array_foreach(nodes, i, node)
    {
        print_resources_of(node);
    }
}

struct status_options {
    const char *dir, *node;
    bool json, verbose;
};

/* Exits after --help. */
static int read_options(int argc, char **argv, struct status_options *ret)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"verbose", no_argument, NULL, 'v'},
                                            {"node", required_argument, NULL, 'n'},
                                            {"node-dir", required_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt;
    while ((opt = tool_option(argc, argv, options)) != -1) {
        switch (opt) {
        case 'j':
            ret->json = true;
            break;
        case 'n':
            ret->node = optarg;
            ret->verbose = true;
            break;
        case 'v':
            ret->verbose = true;
            break;
        case 'd':
            ret->dir = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(tool_flush() ? TOOL_OK : TOOL_FAILED);
        default:
            return TOOL_USAGE;
        }
    }
    return tool_no_words(argc, argv);
}

int status_main(int argc, char **argv)
{
    struct status_options o = {0};
    struct tool_node node;
    json_t *root;
    if (read_options(argc, argv, &o)) {
        return TOOL_USAGE;
    }
    if (tool_connect(o.dir, &node)) {
        return tool_fail();
    }
    mob_status st = tool_ask(&node, LOCAL_STATUS, NULL, &root);
    if (!st && o.verbose) {
        json_object_set_new(root, "details", status_details(&node, root, o.node));
    }
    tool_disconnect(&node);
    if (st) {
        return tool_fail();
    }
    if (o.json) {
        return tool_print_json(root);
    }
    print_nodes(root);
    print_resources(root);
    print_head(root);
    if (!o.verbose) { /* else each node says it of itself */
        putchar('\n');
        status_print_pins(root);
    }
    peers_print(json_object_get(root, "peers"));
    print_jobs(root);
    print_unmet(root);
    if (o.verbose) {
        status_print_details(root, json_object_get(root, "details"));
    }
    json_decref(root);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}
