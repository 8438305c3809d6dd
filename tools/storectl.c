/* storectl - looks into a node's object store. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/table.h"
#include "common/tool.h"
#include "core/status.h"
#include "core/text.h"
#include "local.h"

static const char usage[] =
    "usage: storectl COMMAND [options]\n"
    "\n"
    "  storectl ls      list the objects of the node on this machine\n"
    "  storectl stat    show where its memory is\n"
    "\n"
    "  --json           all of it, for programs\n"
    "  --limit=N        ls: at most N objects; default: 1000, 0: all\n"
    "  --job=N          ls: objects of this job alone\n"
    "  --node-dir=DIR   ask the node in this folder instead of the usual one\n"
    "  --help           this text; --version: which version this is\n"
    "\n"
    "The manual is storectl(1).\n";

struct settings {
    const char *dir;
    bool json;
    uint64_t limit, job; /* 0: all */
};

/* ---- ls ------------------------------------------------------------------------------------------ */

static mob_status ask_page(struct tool_node *node, uint64_t job, uint64_t record,
                           json_t **ret)
{
    json_t *ask = json_pack("{s:s,s:I,s:I}", "what", "ls", "job", (json_int_t)job,
                            "record", (json_int_t)record);
    mob_status st = ask ? tool_ask(node, LOCAL_STORE, ask, ret)
                        : status_fail(MOB_ERR_NOMEM, "no memory for a request");
    json_decref(ask);
    return st;
}

/* Adds the objects of one page that are asked for. False: none of the next page is; @ret_more: it
 * is the limit that leaves them out. */
static bool add_page(json_t *all, const json_t *page, const struct settings *s,
                     bool *ret_more)
{
    json_t *objects = json_object_get(page, "objects"), *o;
    size_t i;
    json_array_foreach(objects, i, o)
    {
        if (s->job && tool_u64(o, "job") != s->job) {
            return false;
        }
        if (s->limit && json_array_size(all) == s->limit) {
            *ret_more = true;
            return false;
        }
        json_array_append(all, o);
    }
    return true;
}

/* @ret_more: there are more than the limit. */
static mob_status list(struct tool_node *node, const struct settings *s, json_t **ret,
                       bool *ret_more)
{
    json_t *all = json_array(), *page = NULL;
    uint64_t job = s->job, record = 0;
    bool go_on = true;
    *ret_more = false;
    while (go_on) {
        mob_status st = ask_page(node, job, record, &page);
        if (st) {
            json_decref(all);
            return st;
        }
        const json_t *next = json_object_get(page, "next");
        uint64_t next_job = tool_u64(next, "job"), next_record = tool_u64(next, "record");
        go_on = add_page(all, page, s, ret_more);
        /* It must lead onward, or this would never end. */
        go_on = go_on && json_is_object(next) && (!s->job || next_job == s->job) &&
                (next_job > job || (next_job == job && next_record > record));
        job = next_job;
        record = next_record;
        json_decref(page);
    }
    *ret = all;
    return MOB_OK;
}

static void object_row(struct table *t, const json_t *o)
{
    const char *place = tool_str(o, "place");
    char size[32] = "-";
    if (json_object_get(o, "size")) {
        text_bytes(tool_u64(o, "size"), size, sizeof size);
    }
    table_cell(t, 0, "%s", tool_str(o, "id"));
    table_cell(t, 1, "%" PRIu64, tool_u64(o, "job"));
    table_cell(t, 2, "%s", tool_str(o, "name"));
    table_cell(t, 3, "%s", tool_str(o, "state"));
    table_cell(t, 4, "%s", size);
    if (json_object_get(o, "segment")) {
        table_cell(t, 5, "%s %" PRIu64, place, tool_u64(o, "segment"));
    } else {
        table_cell(t, 5, "%s", *place ? place : "-");
    }
    table_cell(t, 6, tool_u64(o, "pid") ? "%" PRIu64 : "-", tool_u64(o, "pid"));
    table_cell(t, 7, "%s", json_is_true(json_object_get(o, "held")) ? "yes" : "no");
    table_cell(t, 8, "%" PRIu64, tool_u64(o, "uses"));
    table_cell(t, 9, "%" PRIu64, tool_u64(o, "pins"));
}

static int run_ls(struct tool_node *node, const struct settings *s)
{
    static const struct table_column columns[] = {
        {"ID", false, true},     {"JOB", true, false},   {"TASK", false, true},
        {"STATE", false, false}, {"SIZE", true, false},  {"PLACE", false, false},
        {"PID", true, false},    {"HELD", false, false}, {"USES", true, false},
        {"PINS", true, false}};
    json_t *objects, *o;
    bool more;
    size_t i;
    if (list(node, s, &objects, &more)) {
        return tool_fail();
    }
    if (s->json) {
        return tool_print_json(
            json_pack("{s:o,s:b}", "objects", objects, "more", (int)more));
    }
    if (json_array_size(objects) == 0) {
        puts("no objects");
    } else {
        struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
        json_array_foreach(objects, i, o)
        {
            object_row(t, o);
        }
        table_print(t);
        table_free(t);
    }
    if (more) {
        printf("and more; --limit=0 shows all\n");
    }
    json_decref(objects);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}

/* ---- stat ---------------------------------------------------------------------------------------- */

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

static int run_stat(struct tool_node *node, const struct settings *s)
{
    json_t *root, *ask = json_pack("{s:s}", "what", "stat");
    mob_status st = tool_ask(node, LOCAL_STORE, ask, &root);
    json_decref(ask);
    if (st) {
        return tool_fail();
    }
    if (s->json) {
        return tool_print_json(root);
    }
    printf("%-14s%s\n", "node", tool_str(root, "node"));
    print_bytes("limit", tool_u64(root, "limit_bytes"));
    print_bytes("used", tool_u64(root, "used_bytes"));
    print_bytes("left", tool_u64(root, "left_bytes"));
    print_bytes("machine free", tool_u64(root, "machine_free_bytes"));
    const json_t *jobs = json_object_get(root, "jobs");
    putchar('\n');
    if (json_array_size(jobs) == 0) {
        puts("no jobs");
    } else {
        print_jobs(jobs);
        putchar('\n');
        print_states(jobs);
    }
    json_decref(root);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}

/* ---- options ------------------------------------------------------------------------------------- */

static int parse(struct settings *s, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},      {"limit", required_argument, NULL, 'n'},
        {"job", required_argument, NULL, 'J'}, {"node-dir", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0}};
    bool of_ls = false;
    int opt;
    while ((opt = tool_option(argc, argv, options)) != -1) {
        mob_status st = MOB_OK;
        of_ls |= opt == 'n' || opt == 'J';
        switch (opt) {
        case 'j':
            s->json = true;
            break;
        case 'n':
            st = text_parse_u64(optarg, 0, UINT32_MAX, &s->limit);
            break;
        case 'J':
            st = text_parse_u64(optarg, 1, UINT32_MAX, &s->job);
            break;
        case 'd':
            s->dir = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(tool_flush() ? TOOL_OK : TOOL_FAILED);
        default:
            return TOOL_USAGE;
        }
        if (st) {
            return tool_usage("--%s: %s", opt == 'n' ? "limit" : "job", mob_last_error());
        }
    }
    if (of_ls && strcmp(argv[0], "ls") != 0) {
        return tool_usage("--limit and --job are of storectl ls");
    }
    return tool_no_words(argc, argv);
}

int main(int argc, char **argv)
{
    struct settings s = {.limit = 1000};
    struct tool_node node;
    tool_name = "storectl";
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        fputs(usage, stdout);
        return tool_flush() ? TOOL_OK : TOOL_FAILED;
    }
    if (strcmp(word, "--version") == 0) {
        return tool_version();
    }
    bool ls = strcmp(word, "ls") == 0;
    if (!ls && strcmp(word, "stat") != 0) {
        return argc > 1 ? tool_usage("unknown command '%s'", word)
                        : tool_usage("say a command: ls or stat");
    }
    int code = parse(&s, argc - 1, argv + 1);
    if (code) {
        return code;
    }
    if (tool_connect(s.dir, &node)) {
        return tool_fail();
    }
    code = ls ? run_ls(&node, &s) : run_stat(&node, &s);
    tool_disconnect(&node);
    return code;
}
