/* room.c - memory made free by hand: objects to disk, copies away. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/status.h"
#include "core/text.h"
#include "storectl.h"

#define SPILL_WAIT_NS (60 * NS_PER_S)

static mob_status ask_number(struct source *src, size_t i, json_t *ask, const char *key,
                             uint64_t *ret, bool *ret_busy)
{
    json_t *answer;
    MOB_TRY(source_ask(src, i, ask, &answer));
    *ret = tool_u64(answer, key);
    *ret_busy = json_is_true(json_object_get(answer, "busy"));
    json_decref(answer);
    return MOB_OK;
}

/* Asks for it, and looks how it goes on until nothing moves any more. */
static mob_status spill_node(struct source *src, size_t i, uint64_t bytes, uint64_t *ret)
{
    uint64_t before, now, until = clock_now_ns() + SPILL_WAIT_NS;
    bool busy;
    struct timespec nap = {0, 20000000};
    MOB_TRY(ask_number(src, i, json_pack("{s:s}", "what", "busy"), "out_bytes", &before,
                       &busy));
    MOB_TRY(ask_number(
        src, i, json_pack("{s:s,s:I}", "what", "spill", "bytes", (json_int_t)bytes),
        "out_bytes", &now, &busy));
    while (busy && clock_now_ns() < until) {
        nanosleep(&nap, NULL);
        MOB_TRY(ask_number(src, i, json_pack("{s:s}", "what", "busy"), "out_bytes", &now,
                           &busy));
    }
    *ret = now - before;
    return MOB_OK;
}

static mob_status evict_node(struct source *src, size_t i, uint64_t bytes, uint64_t *ret)
{
    bool busy;
    (void)bytes;
    return ask_number(src, i, json_pack("{s:s}", "what", "evict"), "bytes", ret, &busy);
}

static int all_nodes(struct source *src, const struct settings *s, uint64_t bytes,
                     const char *what,
                     mob_status (*one)(struct source *, size_t, uint64_t, uint64_t *))
{
    json_t *list = json_array();
    unsigned failed = 0;
    char text[32];
    for (size_t i = 0; i < json_array_size(src->nodes); i++) {
        uint64_t moved;
        if (one(src, i, bytes, &moved)) {
            fprintf(stderr, "%s: node %s: %s\n", tool_name, source_host(src, i),
                    mob_last_error());
            failed++;
            continue;
        }
        json_array_append_new(list, json_pack("{s:s,s:I}", "node", source_host(src, i),
                                              "bytes", (json_int_t)moved));
        if (!s->json) {
            printf("%s: %s %s\n", source_host(src, i),
                   text_bytes(moved, text, sizeof text), what);
        }
    }
    if (s->json) {
        tool_print_json(json_pack("{s:o}", "nodes", list));
    } else {
        json_decref(list);
    }
    return tool_flush() && !failed ? TOOL_OK : TOOL_FAILED;
}

static bool needs_daemon(const struct source *src)
{
    if (src->direct) {
        status_fail(MOB_ERR_STATE, "the daemon must answer for that");
    }
    return src->direct != NULL;
}

int run_spill(struct source *src, const struct settings *s)
{
    uint64_t bytes;
    if (text_parse_bytes(s->words[0], &bytes)) {
        return tool_usage("%s", mob_last_error());
    }
    return needs_daemon(src) ? tool_fail()
                             : all_nodes(src, s, bytes, "written to disk", spill_node);
}

int run_evict(struct source *src, const struct settings *s)
{
    return needs_daemon(src) ? tool_fail()
                             : all_nodes(src, s, 0, "of copies dropped", evict_node);
}
