/* stat.c - where the memory of the nodes is: once, or again and again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/peers.h"
#include "common/table.h"
#include "core/clock.h"
#include "core/text.h"
#include "storectl.h"

/* ---- sums of objects -------------------------------------------------------------------------------------- */

static void add_u64(json_t *to, const char *key, uint64_t more)
{
    uint64_t sum = tool_u64(to, key) + more;
    json_object_set_new(to, key, json_integer((json_int_t)sum));
}

static json_t *child(json_t *o, const char *key)
{
    if (!json_object_get(o, key)) {
        json_object_set_new(o, key, json_object());
    }
    return json_object_get(o, key);
}

static void add_group(json_t *to, const json_t *g)
{
    add_u64(to, "count", tool_u64(g, "count"));
    add_u64(to, "bytes", tool_u64(g, "bytes"));
    add_u64(to, "spilled_bytes", tool_u64(g, "spilled_bytes"));
    add_u64(to, "pinned_bytes", tool_u64(g, "pinned_bytes"));
}

/* @arg: {states: {name: sums}, sites: {site: sums}, and the sums of all}. */
static bool add_page(void *arg, size_t node, json_t *answer)
{
    json_t *sums = arg, *g;
    size_t i;
    (void)node;
    json_array_foreach(json_object_get(answer, "groups"), i, g)
    {
        const char *site = tool_str(g, "site");
        add_group(sums, g);
        add_group(child(child(sums, "states"), tool_str(g, "state")), g);
        add_group(child(child(sums, "sites"), *site ? site : "(not said)"), g);
    }
    return true;
}

/* One node's figures with the sums of its objects, or NULL. */
static json_t *figures(struct source *src, const struct settings *s, size_t i)
{
    json_t *root, *sums = json_object();
    json_t *ask = source_request(s, "sums");
    const char *what = src->direct ? "boards" : "stat";
    mob_status st = source_ask(src, i, json_pack("{s:s}", "what", what), &root);
    if (!st) {
        st = source_pages(src, i, ask, add_page, sums);
        json_object_set(root, "objects", sums);
        json_object_set_new(root, "host", json_string(source_host(src, i)));
    }
    json_decref(ask);
    json_decref(sums);
    if (st) {
        fprintf(stderr, "%s: node %s: %s\n", tool_name, source_host(src, i),
                mob_last_error());
        return NULL;
    }
    return root;
}

/* ---- stat ------------------------------------------------------------------------------------------------- */

static void print_bytes(const char *label, uint64_t bytes)
{
    char text[32];
    printf("%-14s%s\n", label, text_bytes(bytes, text, sizeof text));
}

static void print_jobs(const json_t *jobs)
{
    static const struct table_column columns[] = {
        {"JOB", true, false}, {"NAME", false, true},     {"ROLE", false, false},
        {"PID", true, false}, {"SEGMENTS", true, false}, {"BYTES", true, false}};
    struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    const json_t *job, *p;
    char bytes[32];
    size_t i, k;
    json_array_foreach(jobs, i, job)
    {
        table_cell(t, 0, "%" PRIu64, tool_u64(job, "number"));
        table_cell(t, 1, "%s", tool_str(job, "name"));
        table_cell(t, 2, "all");
        table_cell(t, 5, "%s", text_bytes(tool_u64(job, "bytes"), bytes, sizeof bytes));
        json_array_foreach(json_object_get(job, "processes"), k, p)
        {
            table_cell(t, 0, "%s", "");
            table_cell(t, 2, "%s", tool_str(p, "role"));
            table_cell(t, 3, "%" PRIu64, tool_u64(p, "pid"));
            table_cell(t, 4, "%" PRIu64, tool_u64(p, "segments"));
            table_cell(t, 5, "%s", text_bytes(tool_u64(p, "bytes"), bytes, sizeof bytes));
        }
    }
    table_print(t);
    table_free(t);
}

static void print_states(const json_t *jobs)
{
    static const struct table_column columns[] = {
        {"JOB", true, false}, {"RECORDS", false, true}, {"SEGMENTS", false, true}};
    struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    json_t *job, *v;
    const char *name;
    size_t i;
    json_array_foreach(jobs, i, job)
    {
        char records[512] = "", segments[512] = "", bytes[32];
        size_t at = 0;
        json_object_foreach(json_object_get(job, "records"), name, v)
        {
            if (json_integer_value(v) && at < sizeof records) {
                at += (size_t)snprintf(records + at, sizeof records - at, "%s%s %lld",
                                       at ? ", " : "", name,
                                       (long long)json_integer_value(v));
            }
        }
        at = 0;
        json_object_foreach(json_object_get(job, "segments"), name, v)
        {
            if (tool_u64(v, "count") && at < sizeof segments) {
                at += (size_t)snprintf(
                    segments + at, sizeof segments - at, "%s%s %" PRIu64 " (%s)",
                    at ? ", " : "", name, tool_u64(v, "count"),
                    text_bytes(tool_u64(v, "bytes"), bytes, sizeof bytes));
            }
        }
        table_cell(t, 0, "%" PRIu64, tool_u64(job, "number"));
        table_cell(t, 1, "%s", records);
        table_cell(t, 2, "%s", *segments ? segments : "-");
    }
    table_print(t);
    table_free(t);
}

static void print_sums(const json_t *sums)
{
    json_t *v;
    const char *name;
    char bytes[32], more[32];
    printf("%-14s%" PRIu64 " (%s, %s pinned)\n", "objects", tool_u64(sums, "count"),
           text_bytes(tool_u64(sums, "bytes"), bytes, sizeof bytes),
           text_bytes(tool_u64(sums, "pinned_bytes"), more, sizeof more));
    json_object_foreach(json_object_get(sums, "states"), name, v)
    {
        printf("  %-12s%" PRIu64 " (%s)\n", name, tool_u64(v, "count"),
               text_bytes(tool_u64(v, "bytes"), bytes, sizeof bytes));
    }
}

/* What segments hold, and how much of them objects fill. */
static void print_filled(const json_t *root)
{
    uint64_t segments = 0, objects = tool_u64(json_object_get(root, "objects"), "bytes");
    json_t *job, *state;
    const char *name;
    size_t i;
    json_array_foreach(json_object_get(root, "jobs"), i, job)
    {
        json_object_foreach(json_object_get(job, "segments"), name, state)
        {
            segments += tool_u64(state, "bytes");
        }
        segments += json_is_integer(json_object_get(job, "segments"))
                        ? tool_u64(job, "bytes")
                        : 0;
    }
    if (segments) {
        printf("%-14s%.0f %% of the segments\n", "filled",
               100.0 * (double)(objects < segments ? objects : segments) /
                   (double)segments);
    }
}

static void print_disk(const json_t *root)
{
    const json_t *disk = json_object_get(root, "spill"), *folder;
    size_t i;
    char live[32], out[32], in[32];
    print_bytes("spilled", tool_u64(json_object_get(root, "objects"), "spilled_bytes"));
    if (tool_u64(disk, "out_objects")) {
        printf("  %-12s%s now, %s out, %s back\n", "disk",
               text_bytes(tool_u64(disk, "disk_bytes"), live, sizeof live),
               text_bytes(tool_u64(disk, "out_bytes"), out, sizeof out),
               text_bytes(tool_u64(disk, "in_bytes"), in, sizeof in));
    }
    json_array_foreach(json_object_get(disk, "folders"), i, folder)
    {
        const char *why = tool_str(folder, "failure");
        printf("  %-12s%s%s%s\n", "folder", tool_str(folder, "path"), *why ? ": " : "",
               why);
    }
}

/* How many looks at objects found them in memory. */
static void print_hits(const json_t *root)
{
    uint64_t gets = tool_u64(root, "gets"),
             back = tool_u64(json_object_get(root, "spill"), "in_objects");
    if (gets) {
        printf("%-14s%.1f %% of %" PRIu64 " gets found the object in memory\n", "hits",
               100.0 * (double)(gets > back ? gets - back : 0) / (double)gets, gets);
    }
    if (*tool_str(root, "huge_pages")) {
        printf("%-14s%s\n", "huge pages", tool_str(root, "huge_pages"));
    }
}

static void print_node(const json_t *root)
{
    const json_t *jobs = json_object_get(root, "jobs");
    if (*tool_str(root, "node")) {
        printf("%-14s%s %s\n", "node", tool_str(root, "node"), tool_str(root, "host"));
        print_bytes("limit", tool_u64(root, "limit_bytes"));
        print_bytes("used", tool_u64(root, "used_bytes"));
        print_bytes("left", tool_u64(root, "left_bytes"));
        print_bytes("machine free", tool_u64(root, "machine_free_bytes"));
    }
    print_sums(json_object_get(root, "objects"));
    print_filled(root);
    print_hits(root);
    print_bytes("evictable", tool_u64(root, "evictable_bytes"));
    print_disk(root);
    peers_print(json_object_get(root, "peers"));
    putchar('\n');
    if (json_array_size(jobs) == 0) {
        puts("no jobs");
    } else {
        print_jobs(jobs);
        putchar('\n');
        print_states(jobs);
    }
}

int run_stat(struct source *src, const struct settings *s)
{
    json_t *nodes = json_array(), *root;
    size_t i;
    bool failed = false;
    for (i = 0; i < json_array_size(src->nodes); i++) {
        root = figures(src, s, i);
        failed |= !root;
        json_array_append_new(nodes, root);
    }
    if (s->json) {
        tool_print_json(json_pack("{s:o}", "nodes", nodes));
    } else {
        json_array_foreach(nodes, i, root)
        {
            printf("%s", i ? "\n" : "");
            print_node(root);
        }
        json_decref(nodes);
    }
    return tool_flush() && !failed ? TOOL_OK : TOOL_FAILED;
}

/* ---- top -------------------------------------------------------------------------------------------------- */

enum { TOP_SITES = 10 };

struct sight { /* of the last look, for rates */
    uint64_t ns, tasks, bytes;
};

static uint64_t tasks_done(const json_t *root)
{
    uint64_t done = 0;
    json_t *job;
    size_t i;
    json_array_foreach(json_object_get(root, "jobs"), i, job)
    {
        done += tool_u64(job, "tasks_done");
    }
    return done;
}

static void print_head(const json_t *root, struct sight *last)
{
    const json_t *sums = json_object_get(root, "objects");
    char used[32], limit[32], bytes[32], pinned[32];
    struct sight now = {clock_now_ns(), tasks_done(root), tool_u64(sums, "bytes")};
    double s = last->ns ? (double)(now.ns - last->ns) / NS_PER_S : 0;
    printf("%-12s  used %s of %s  objects %" PRIu64 " (%s)  pinned %s",
           tool_str(root, "host"),
           text_bytes(tool_u64(root, "used_bytes"), used, sizeof used),
           text_bytes(tool_u64(root, "limit_bytes"), limit, sizeof limit),
           tool_u64(sums, "count"), text_bytes(now.bytes, bytes, sizeof bytes),
           text_bytes(tool_u64(sums, "pinned_bytes"), pinned, sizeof pinned));
    if (s > 0) {
        printf("  tasks/s %.0f", (double)(now.tasks - last->tasks) / s);
    }
    putchar('\n');
    *last = now;
}

static void add_sites(json_t *all, const json_t *root)
{
    json_t *v;
    const char *site;
    json_object_foreach(json_object_get(json_object_get(root, "objects"), "sites"), site,
                        v)
    {
        add_group(child(all, site), v);
    }
}

/* The places that made most bytes. */
static void print_sites(json_t *sites)
{
    static const struct table_column columns[] = {{"OBJECTS", true, false},
                                                  {"BYTES", true, false},
                                                  {"PINNED", true, false},
                                                  {"SITE", false, true}};
    struct table *t = table_new(columns, 4);
    char bytes[32], pinned[32];
    for (int row = 0; row < TOP_SITES; row++) {
        const char *site, *best = NULL;
        json_t *v, *most = NULL;
        json_object_foreach(sites, site, v)
        {
            if (!most || tool_u64(v, "bytes") > tool_u64(most, "bytes") ||
                (tool_u64(v, "bytes") == tool_u64(most, "bytes") &&
                 tool_u64(v, "count") > tool_u64(most, "count"))) {
                most = v;
                best = site;
            }
        }
        if (!best) {
            break;
        }
        table_cell(t, 0, "%" PRIu64, tool_u64(most, "count"));
        table_cell(t, 1, "%s", text_bytes(tool_u64(most, "bytes"), bytes, sizeof bytes));
        table_cell(t, 2, "%s",
                   text_bytes(tool_u64(most, "pinned_bytes"), pinned, sizeof pinned));
        table_cell(t, 3, "%s", best);
        json_object_del(sites, best);
    }
    table_print(t);
    table_free(t);
}

static bool look(struct source *src, const struct settings *s, struct sight *sights)
{
    json_t *sites = json_object();
    bool good = true;
    for (size_t i = 0; i < json_array_size(src->nodes); i++) {
        json_t *root = figures(src, s, i);
        if (root) {
            print_head(root, &sights[i]);
            add_sites(sites, root);
        }
        good &= root != NULL;
        json_decref(root);
    }
    putchar('\n');
    print_sites(sites);
    json_decref(sites);
    return good;
}

int run_top(struct source *src, const struct settings *s)
{
    struct sight *sights = calloc(json_array_size(src->nodes) + 1, sizeof *sights);
    struct timespec nap = {(time_t)(s->delay_ms / 1000),
                           (long)(s->delay_ms % 1000) * 1000000};
    bool terminal = isatty(STDOUT_FILENO), good = sights != NULL;
    for (uint64_t k = 0; good && (s->count == 0 || k < s->count); k++) {
        if (k) {
            nanosleep(&nap, NULL);
            fputs(terminal ? "" : "\n", stdout);
        }
        fputs(terminal ? "\033[H\033[J" : "", stdout);
        good = look(src, s, sights) && tool_flush();
    }
    free(sights);
    return good ? TOOL_OK : TOOL_FAILED;
}
