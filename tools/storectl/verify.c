/* verify.c - checks every structure of every board, and with --data reads every object. */
#include <inttypes.h>
#include <stdio.h>

#include "core/text.h"
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

int run_verify(struct source *src, const struct settings *s)
{
    uint64_t problems = 0, jobs = 0;
    unsigned failed = 0;
    json_t *all = json_array(), *job;
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
        json_decref(answer);
    }
    if (s->json) {
        tool_print_json(
            json_pack("{s:o,s:I}", "jobs", all, "problems", (json_int_t)problems));
    } else {
        json_decref(all);
        if (jobs == 0 && !failed) {
            puts("no jobs");
        }
    }
    return !tool_flush() || failed ? TOOL_FAILED : problems ? TOOL_PROBLEMS : TOOL_OK;
}
