/* leaks.c - objects that only a handle keeps, and for long: by the place that made them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/table.h"
#include "core/text.h"
#include "storectl.h"

struct leaks {
    const struct source *source;
    json_t *groups; /* [{node, job, site, count, bytes, oldest_ms}] */
};

static json_t *group_of(struct leaks *l, const char *host, const json_t *g)
{
    json_t *have;
    size_t i;
    json_array_foreach(l->groups, i, have)
    {
        if (tool_u64(have, "job") == tool_u64(g, "job") &&
            strcmp(tool_str(have, "site"), tool_str(g, "site")) == 0 &&
            strcmp(tool_str(have, "node"), host) == 0) {
            return have;
        }
    }
    have = json_pack("{s:s,s:I,s:s,s:i,s:i,s:i}", "node", host, "job",
                     (json_int_t)tool_u64(g, "job"), "site", tool_str(g, "site"), "count",
                     0, "bytes", 0, "oldest_ms", 0);
    json_array_append_new(l->groups, have);
    return have;
}

static void add_u64(json_t *to, const char *key, uint64_t more)
{
    uint64_t sum = tool_u64(to, key) + more;
    json_object_set_new(to, key, json_integer((json_int_t)sum));
}

static bool add_page(void *arg, size_t node, json_t *answer)
{
    struct leaks *l = arg;
    json_t *g;
    size_t i;
    json_array_foreach(json_object_get(answer, "groups"), i, g)
    {
        json_t *to = group_of(l, source_host(l->source, node), g);
        add_u64(to, "count", tool_u64(g, "count"));
        add_u64(to, "bytes", tool_u64(g, "bytes"));
        if (tool_u64(g, "oldest_ms") > tool_u64(to, "oldest_ms")) {
            json_object_set(to, "oldest_ms", json_object_get(g, "oldest_ms"));
        }
    }
    return true;
}

static int most_bytes(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    uint64_t m = tool_u64(x, "bytes"), n = tool_u64(y, "bytes");
    if (m == n) {
        m = tool_u64(x, "count");
        n = tool_u64(y, "count");
    }
    return m > n ? -1 : m < n;
}

static json_t *sorted(json_t *groups)
{
    size_t count = json_array_size(groups);
    json_t **list = calloc(count + 1, sizeof *list), *ret = json_array();
    for (size_t i = 0; list && i < count; i++) {
        list[i] = json_array_get(groups, i);
    }
    if (list) {
        qsort(list, count, sizeof *list, most_bytes);
    }
    for (size_t i = 0; list && i < count; i++) {
        json_array_append(ret, list[i]);
    }
    free(list);
    json_decref(groups);
    return ret;
}

static void print_groups(const struct source *src, const json_t *groups)
{
    static const struct table_column columns[] = {
        {"OBJECTS", true, false}, {"BYTES", true, false}, {"OLDEST", true, false},
        {"JOB", true, false},     {"SITE", false, true},  {"NODE", false, true}};
    struct table *t = table_new(columns, source_many(src) ? 6 : 5);
    char bytes[32], age[32];
    json_t *g;
    size_t i;
    json_array_foreach(groups, i, g)
    {
        const char *site = tool_str(g, "site");
        table_cell(t, 0, "%" PRIu64, tool_u64(g, "count"));
        table_cell(t, 1, "%s", text_bytes(tool_u64(g, "bytes"), bytes, sizeof bytes));
        table_cell(t, 2, "%s", age_text(tool_u64(g, "oldest_ms"), age, sizeof age));
        table_cell(t, 3, "%" PRIu64, tool_u64(g, "job"));
        table_cell(t, 4, "%s", *site ? site : "(not said)");
        if (source_many(src)) {
            table_cell(t, 5, "%s", tool_str(g, "node"));
        }
    }
    table_print(t);
    table_free(t);
}

int run_leaks(struct source *src, const struct settings *s)
{
    struct leaks l = {src, json_array()};
    unsigned failed;
    char age[32];
    json_t *ask = source_request(s, "sums"), *filter = json_object_get(ask, "filter");
    json_object_set_new(filter, "only_handle", json_true());
    json_object_set_new(filter, "min_age_ms", json_integer((json_int_t)s->older_ms));
    source_all(src, ask, add_page, &l, &failed);
    json_decref(ask);
    l.groups = sorted(l.groups);
    if (s->json) {
        int code = tool_print_json(json_pack(
            "{s:I,s:o}", "older_than_ms", (json_int_t)s->older_ms, "groups", l.groups));
        return failed ? TOOL_FAILED : code;
    }
    if (json_array_size(l.groups)) {
        print_groups(src, l.groups);
    } else if (!failed) {
        printf("no object is older than %s and kept by a handle alone\n",
               age_text(s->older_ms, age, sizeof age));
    }
    json_decref(l.groups);
    return tool_flush() && !failed ? TOOL_OK : TOOL_FAILED;
}
