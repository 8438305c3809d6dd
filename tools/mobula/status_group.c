/* status_group.c - mobula status -v: the groups of jobs, on the node where their driver is. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/table.h"
#include "mobula/status.h"

enum { PARTS_SHOWN = 8 }; /* nodes that a line names */

static const char *node_of(const json_t *bundles, size_t i)
{
    const char *node = json_string_value(json_array_get(bundles, i));
    return node ? node : "";
}

/* Whether bundle @i is the first on its node. */
static bool first_there(const json_t *bundles, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (strcmp(node_of(bundles, k), node_of(bundles, i)) == 0) {
            return false;
        }
    }
    return true;
}

/* "0-2,5 at 2791ddd0be": those on the node of bundle @i. */
static void print_there(FILE *out, const json_t *bundles, size_t i)
{
    const char *node = node_of(bundles, i), *comma = "";
    size_t count = json_array_size(bundles);
    for (size_t k = i; k < count; k++) {
        size_t last = k;
        if (strcmp(node_of(bundles, k), node) != 0) {
            continue;
        }
        while (last + 1 < count && strcmp(node_of(bundles, last + 1), node) == 0) {
            last++;
        }
        fprintf(out, last > k ? "%s%zu-%zu" : "%s%zu", comma, k, last);
        comma = ",";
        k = last;
    }
    fprintf(out, *node ? " at %s" : " nowhere", node);
}

/* Which bundle is where, in one line that is malloc'd; NULL if there is no memory. */
static char *places(const json_t *bundles)
{
    char *text = NULL;
    size_t size, parts = 0;
    FILE *out = open_memstream(&text, &size);
    for (size_t i = 0; out && i < json_array_size(bundles); i++) {
        if (!first_there(bundles, i)) {
            continue;
        }
        if (parts++ < PARTS_SHOWN) {
            fputs(parts > 1 ? "; " : "", out);
            print_there(out, bundles, i);
        }
    }
    if (out && parts > PARTS_SHOWN) {
        fprintf(out, "; and on %zu more", parts - PARTS_SHOWN);
    }
    if (out) {
        fclose(out);
    }
    return text;
}

static void group_row(struct table *t, const json_t *job, const json_t *g)
{
    char *where = places(json_object_get(g, "bundles"));
    bool whole = strcmp(tool_str(g, "state"), "whole") == 0;
    table_cell(t, 0, "%llu", (unsigned long long)tool_u64(job, "number"));
    table_cell(t, 1, "%s", tool_str(g, "group"));
    table_cell(t, 2, "%s", tool_str(g, "strategy"));
    table_cell(t, 3, "%s", tool_str(g, "state"));
    if (!whole) {
        table_cell(t, 4, "%.1f s", (double)tool_u64(g, "waiting_ms") / 1000);
    }
    table_cell(t, 5, "%s", where ? where : "");
    table_cell(t, 6, "%s", tool_str(g, "why"));
    free(where);
}

void status_print_groups(const json_t *jobs)
{
    static const struct table_column columns[] = {
        {"GROUP: JOB", true, false}, {"GROUP", false, false},  {"STRATEGY", false, false},
        {"STATE", false, false},     {"WAITING", true, false}, {"BUNDLES", false, true},
        {"WHY", false, true}};
    static const struct status_list list = {
        "groups", columns, sizeof columns / sizeof columns[0], group_row};
    status_print_list(jobs, &list);
}
