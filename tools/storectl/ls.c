/* ls.c - lists objects. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/table.h"
#include "core/text.h"
#include "storectl.h"

struct listing {
    const struct settings *settings;
    const struct source *source;
    json_t *all;
    bool more; /* than the limit */
};

static bool add_page(void *arg, size_t node, json_t *answer)
{
    struct listing *l = arg;
    const struct settings *s = l->settings;
    json_t *o;
    size_t i;
    json_array_foreach(json_object_get(answer, "objects"), i, o)
    {
        /* What is sorted is cut afterwards. */
        if (!s->sort && s->limit && json_array_size(l->all) == s->limit) {
            l->more = true;
            return false;
        }
        json_object_set_new(o, "node", json_string(source_host(l->source, node)));
        json_array_append(l->all, o);
    }
    return true;
}

/* ---- sorting ------------------------------------------------------------------------------------------ */

static const char *sort_key;

/* Numbers: the largest first. */
static int compare(const void *a, const void *b)
{
    const json_t *x = json_object_get(*(json_t *const *)a, sort_key);
    const json_t *y = json_object_get(*(json_t *const *)b, sort_key);
    if (json_is_string(x) || json_is_string(y)) {
        const char *s = json_string_value(x), *t = json_string_value(y);
        return strcmp(s ? s : "", t ? t : "");
    }
    json_int_t m = x ? json_integer_value(x) : -1, n = y ? json_integer_value(y) : -1;
    return m > n ? -1 : m < n;
}

static void sort_and_cut(struct listing *l)
{
    size_t count = json_array_size(l->all), limit = l->settings->limit;
    json_t **list = calloc(count + 1, sizeof *list);
    if (!l->settings->sort || !list) {
        free(list);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        list[i] = json_array_get(l->all, i);
    }
    sort_key = l->settings->sort;
    qsort(list, count, sizeof *list, compare);
    json_t *sorted = json_array();
    for (size_t i = 0; i < count && (!limit || i < limit); i++) {
        json_array_append(sorted, list[i]);
    }
    l->more = limit && count > limit;
    free(list);
    json_decref(l->all);
    l->all = sorted;
}

/* ---- columns ------------------------------------------------------------------------------------------ */

static void cell_text(const json_t *o, const char *key, char *buf, size_t size)
{
    const json_t *v = json_object_get(o, key);
    if (strcmp(key, "size") == 0 && v) {
        text_bytes(tool_u64(o, key), buf, size);
    } else if (strcmp(key, "age_ms") == 0 && v) {
        age_text(tool_u64(o, key), buf, size);
    } else if (strcmp(key, "place") == 0 && json_object_get(o, "segment")) {
        snprintf(buf, size, "%s %" PRIu64, tool_str(o, key), tool_u64(o, "segment"));
    } else if (strcmp(key, "pid") == 0 && tool_u64(o, key) == 0) {
        snprintf(buf, size, "-");
    } else if (json_is_boolean(v)) {
        snprintf(buf, size, "%s", json_is_true(v) ? "yes" : "no");
    } else if (json_is_integer(v)) {
        snprintf(buf, size, "%" PRIu64, tool_u64(o, key));
    } else {
        snprintf(buf, size, "%s", *tool_str(o, key) ? tool_str(o, key) : "-");
    }
}

static const struct {
    const char *word, *key;
    struct table_column column;
    bool usual;
} columns[] = {
    {"id", "id", {"ID", false, true}, true},
    {"node", "node", {"NODE", false, true}, false},
    {"job", "job", {"JOB", true, false}, true},
    {"task", "name", {"TASK", false, true}, true},
    {"state", "state", {"STATE", false, false}, true},
    {"size", "size", {"SIZE", true, false}, true},
    {"type", "meta", {"TYPE", false, true}, false},
    {"age", "age_ms", {"AGE", true, false}, true},
    {"place", "place", {"PLACE", false, false}, true},
    {"pid", "pid", {"PID", true, false}, true},
    {"held", "held", {"HELD", false, false}, true},
    {"uses", "uses", {"USES", true, false}, true},
    {"pins", "pins", {"PINS", true, false}, true},
    {"site", "site", {"SITE", false, true}, true},
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

/* The chosen columns by their place above. Returns how many; 0: an unknown one, said. */
static unsigned choose(const struct settings *s, bool many,
                       unsigned chosen[TABLE_COLUMNS_MAX])
{
    unsigned count = 0;
    for (unsigned i = 0; !s->columns && i < COLUMNS; i++) {
        if (columns[i].usual || (many && strcmp(columns[i].word, "node") == 0)) {
            chosen[count++] = i;
        }
    }
    for (const char *at = s->columns; at && *at;) {
        size_t n = strcspn(at, ",");
        unsigned i = 0;
        while (i < COLUMNS &&
               (strlen(columns[i].word) != n || strncmp(columns[i].word, at, n) != 0)) {
            i++;
        }
        if (i == COLUMNS || count == TABLE_COLUMNS_MAX) {
            tool_usage(
                "--columns: '%.*s' is none; id, node, job, task, state, size, type, age, "
                "place, pid, held, uses, pins and site are there",
                (int)n, at);
            return 0;
        }
        chosen[count++] = i;
        at += n + (at[n] == ',');
    }
    return count;
}

static void print_table(const json_t *all, const unsigned *chosen, unsigned count)
{
    struct table_column heads[TABLE_COLUMNS_MAX];
    json_t *o;
    size_t i;
    for (unsigned c = 0; c < count; c++) {
        heads[c] = columns[chosen[c]].column;
    }
    struct table *t = table_new(heads, count);
    json_array_foreach(all, i, o)
    {
        for (unsigned c = 0; c < count; c++) {
            char text[256];
            cell_text(o, columns[chosen[c]].key, text, sizeof text);
            table_cell(t, c, "%s", text);
        }
    }
    table_print(t);
    table_free(t);
}

int run_ls(struct source *src, const struct settings *s)
{
    struct listing l = {s, src, json_array(), false};
    unsigned chosen[TABLE_COLUMNS_MAX], failed;
    unsigned count = choose(s, source_many(src), chosen);
    if (count == 0) {
        json_decref(l.all);
        return TOOL_USAGE;
    }
    json_t *ask = source_request(s, "ls");
    source_all(src, ask, add_page, &l, &failed);
    json_decref(ask);
    sort_and_cut(&l);
    if (s->json) {
        int code = tool_print_json(
            json_pack("{s:o,s:b}", "objects", l.all, "more", (int)l.more));
        return failed ? TOOL_FAILED : code;
    }
    if (json_array_size(l.all) == 0 && !failed) {
        puts("no objects");
    } else if (json_array_size(l.all)) {
        print_table(l.all, chosen, count);
    }
    if (l.more) {
        printf("and more; --limit=0 shows all\n");
    }
    json_decref(l.all);
    return tool_flush() && !failed ? TOOL_OK : TOOL_FAILED;
}
