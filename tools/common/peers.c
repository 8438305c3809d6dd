#include "peers.h"

#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "table.h"
#include "tool.h"

static void bytes_cell(struct table *t, unsigned column, uint64_t bytes, const char *unit)
{
    char text[32];
    table_cell(t, column, "%s%s", text_bytes(bytes, text, sizeof text), unit);
}

static void row(struct table *t, const json_t *peer)
{
    const json_t *m = json_object_get(peer, "moved");
    static const char *const counts[] = {"damaged", "fallbacks", "rdma_retries"};
    const char *path = tool_str(m, "path");
    table_cell(t, 0, "%s", tool_str(peer, "id"));
    table_cell(t, 1, "%s", tool_str(peer, "host"));
    table_cell(t, 2, "%s%s", tool_str(peer, "transport"),
               json_is_true(json_object_get(m, "encrypted")) ? ", encrypted" : "");
    bytes_cell(t, 3, tool_u64(m, "pulled_bytes"), "");
    bytes_cell(t, 4, tool_u64(m, "rdma_bytes"), "");
    bytes_cell(t, 5, tool_u64(m, "pulled_bytes_s"), "/s");
    bytes_cell(t, 6, tool_u64(m, "served_bytes"), "");
    bytes_cell(t, 7, tool_u64(m, "served_bytes_s"), "/s");
    for (unsigned i = 0; i < 3; i++) {
        table_cell(t, 8 + i, "%llu", (unsigned long long)tool_u64(m, counts[i]));
    }
    table_cell(t, 11, "%s", *path ? path : "-");
}

void peers_print(const json_t *peers)
{
    static const struct table_column columns[] = {
        {"PEER", false, false},     {"HOST", false, true},    {"TRANSPORT", false, false},
        {"PULLED", true, false},    {"BY RDMA", true, false}, {"NOW", true, false},
        {"SERVED", true, false},    {"NOW", true, false},     {"DAMAGED", true, false},
        {"FALLBACKS", true, false}, {"RETRIES", true, false}, {"PATH", false, true}};
    const json_t *peer;
    size_t i;
    if (json_array_size(peers) == 0) {
        return;
    }
    struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    json_array_foreach(peers, i, peer)
    {
        row(t, peer);
    }
    putchar('\n');
    table_print(t);
    table_free(t);
    json_array_foreach(peers, i, peer)
    {
        const char *why = tool_str(json_object_get(peer, "moved"), "no_rdma");
        if (*why) {
            printf("%s: no RDMA: %s\n", tool_str(peer, "id"), why);
        }
    }
}
