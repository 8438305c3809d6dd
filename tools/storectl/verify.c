/* verify.c - checks every structure of every board, and with --data reads every object. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "look/look.h"
#include "storectl.h"

static void print_job(const struct source *src, size_t node, const json_t *job)
{
    char bytes[32];
    json_t *text;
    size_t i;
    printf("job %" PRIu64 " %s%s%s: %" PRIu64 " records, %" PRIu64 " segments, %" PRIu64
           " pins",
           tool_u64(job, "number"), tool_str(job, "name"), source_many(src) ? " on " : "",
           source_many(src) ? source_host(src, node) : "", tool_u64(job, "records"),
           tool_u64(job, "segments"), tool_u64(job, "pins"));
    if (tool_u64(job, "objects_read")) {
        printf(", %" PRIu64 " objects of %s read", tool_u64(job, "objects_read"),
               text_bytes(tool_u64(job, "bytes_read"), bytes, sizeof bytes));
    }
    if (tool_u64(job, "problems") == 0) {
        puts(": ok");
        return;
    }
    printf(": %" PRIu64 " problems\n", tool_u64(job, "problems"));
    json_array_foreach(json_object_get(job, "texts"), i, text)
    {
        printf("  ");
        for (const char *c = json_string_value(text); c && *c; c++) {
            putchar((unsigned char)*c < ' ' || *c == 127 ? '?' : *c);
        }
        putchar('\n');
    }
}

/* ---- copies: the same bytes on every node -------------------------------------------------------------- */

enum { IDS_MAX = 100 }; /* in one request */

static json_t *ask_sums(struct source *src, const char *of, json_t *ids)
{
    uint64_t node, link;
    uint32_t job;
    size_t i;
    json_t *answer = NULL;
    if (look_id_parse(of, &node, &job, &link) || source_find(src, node, &i)) {
        json_decref(ids); /* its node is not among those that are asked */
        return NULL;
    }
    json_t *ask = json_pack("{s:s,s:o}", "what", "digest", "ids", ids);
    return source_ask(src, i, ask, &answer) == MOB_OK ? answer : NULL;
}

static bool same_node(const char *a, const char *b)
{
    return strncmp(a, b, 10) == 0; /* an id begins with its node */
}

/* From copy @from on: as many of one owner as one request asks for. Returns how many. */
static size_t compare_some(struct source *src, const json_t *copies, size_t from,
                           json_t *all, uint64_t *io_problems)
{
    json_t *ids = json_array(), *sum;
    const char *of = tool_str(json_array_get(copies, from), "of");
    size_t count = 0, k;
    for (; count < IDS_MAX && from + count < json_array_size(copies); count++) {
        const json_t *c = json_array_get(copies, from + count);
        if (!same_node(of, tool_str(c, "of"))) {
            break;
        }
        json_array_append_new(ids, json_string(tool_str(c, "of")));
    }
    json_t *answer = ask_sums(src, of, ids);
    json_array_foreach(json_object_get(answer, "sums"), k, sum)
    {
        const json_t *c = json_array_get(copies, from + k);
        /* None: freed since. */
        if (c && json_is_object(sum) &&
            (tool_u64(sum, "xxh3") != tool_u64(c, "xxh3") ||
             tool_u64(sum, "size") != tool_u64(c, "size"))) {
            json_array_append_new(all, json_pack("{s:s,s:s}", "of", tool_str(c, "of"),
                                                 "id", tool_str(c, "id")));
            ++*io_problems;
        }
    }
    json_decref(answer);
    return count;
}

/* Of the copies that one node has, those that differ from their objects. */
static json_t *compare(struct source *src, const json_t *copies, uint64_t *io_problems,
                       bool quiet)
{
    json_t *all = json_array(), *c;
    size_t i;
    for (i = 0; i < json_array_size(copies);) {
        i += compare_some(src, copies, i, all, io_problems);
    }
    json_array_foreach(all, i, c)
    {
        if (!quiet) {
            printf("  copy %s has other bytes than %s\n", tool_str(c, "id"),
                   tool_str(c, "of"));
        }
    }
    return all;
}

/* ---- all ------------------------------------------------------------------------------------------------- */

int run_verify(struct source *src, const struct settings *s)
{
    uint64_t problems = 0, jobs = 0, compared = 0;
    unsigned failed = 0;
    json_t *all = json_array(), *differ = json_array(), *job;
    for (size_t i = 0; i < json_array_size(src->nodes); i++) {
        json_t *answer;
        size_t k;
        if (source_ask(src, i,
                       json_pack("{s:s,s:b}", "what", "verify", "data", (int)s->data),
                       &answer)) {
            fprintf(stderr, "%s: node %s: %s\n", tool_name, source_host(src, i),
                    mob_last_error());
            failed++;
            continue;
        }
        json_array_foreach(json_object_get(answer, "jobs"), k, job)
        {
            problems += tool_u64(job, "problems");
            jobs++;
            json_object_set_new(job, "node", json_string(source_host(src, i)));
            json_array_append(all, job);
            if (!s->json) {
                print_job(src, i, job);
            }
        }
        json_t *copies = json_object_get(answer, "copies");
        json_t *bad = compare(src, copies, &problems, s->json);
        compared += json_array_size(copies);
        json_array_extend(differ, bad);
        json_decref(bad);
        json_decref(answer);
    }
    if (s->json) {
        tool_print_json(json_pack("{s:o,s:o,s:I,s:I}", "jobs", all, "copies_that_differ",
                                  differ, "copies", (json_int_t)compared, "problems",
                                  (json_int_t)problems));
    } else {
        json_decref(all);
        json_decref(differ);
        if (compared) {
            printf("%" PRIu64 " copies of objects compared by their checksums\n",
                   compared);
        }
        if (jobs == 0 && !failed) {
            puts("no jobs");
        }
    }
    return !tool_flush() || failed ? TOOL_FAILED : problems ? TOOL_PROBLEMS : TOOL_OK;
}
