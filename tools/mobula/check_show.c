/* What check-transport found, for people and for programs. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "common/table.h"
#include "core/text.h"

/* ---- for programs ----------------------------------------------------------------------------------- */

static const char *verdict_text(enum check_verdict v)
{
    return v == CHECK_RDMA ? "rdma" : v == CHECK_TCP ? "tcp" : "fix";
}

static json_t *gid_json(const struct check_gid *g)
{
    return json_pack("{s:i,s:i,s:b,s:s,s:s,s:s}", "index", (int)g->index, "rank", g->rank,
                     "chosen", g->chosen, "type", g->type, "address", g->address,
                     "netdev", g->netdev);
}

static json_t *port_json(const struct check_port *p)
{
    json_t *gids = json_array();
    for (unsigned i = 0; i < p->gids_count; i++) {
        json_array_append_new(gids, gid_json(&p->gids[i]));
    }
    return json_pack("{s:s,s:i,s:b,s:s,s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:b,s:I,s:I,s:o}",
                     "device", p->device, "port", (int)p->port, "usable", p->usable,
                     "why", p->why, "fix", p->fix, "note", p->note, "state", p->state,
                     "link", p->link, "mtu", (int)p->mtu, "mtu_max", (int)p->mtu_max,
                     "mbps", (int)p->mbps, "reads", (int)p->reads, "windows", p->windows,
                     "registered_bytes", (json_int_t)p->registered_bytes, "registered_ns",
                     (json_int_t)p->registered_ns, "gids", gids);
}

static json_t *way_json(const struct check_way *w)
{
    if (!w->measured) {
        return json_null();
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "status",
                     mob_status_name(w->status), "reason", w->reason, "carrier",
                     w->stats.carrier ? w->stats.carrier : "", "path", w->stats.path,
                     "round_trip_ns", (json_int_t)w->round_trip_ns, "moved_bytes",
                     (json_int_t)w->moved_bytes, "moved_ns", (json_int_t)w->moved_ns,
                     "rdma_bytes", (json_int_t)w->stats.rdma_bytes);
}

static json_t *check_json(const struct check *c, bool good)
{
    const struct check_rdma *h = &c->here;
    json_t *ports = json_array();
    for (unsigned i = 0; i < h->ports_count; i++) {
        json_array_append_new(ports, port_json(&h->ports[i]));
    }
    json_t *root = json_pack(
        "{s:b,s:s,s:s,s:s,s:b,s:s,s:i,s:i,s:o,s:b,s:s,s:o}", "good", good, "verdict",
        verdict_text(h->verdict), "why", h->why, "fix", h->fix, "library", h->library,
        "library_why", h->library_why, "kernel_devices", (int)h->kernel_devices,
        "library_devices", (int)h->library_devices, "memlock_bytes",
        h->memlock_bytes == UINT64_MAX ? json_null()
                                       : json_integer((json_int_t)h->memlock_bytes),
        "memlock_free", h->memlock_free, "fork", h->fork, "ports", ports);
    if (root && c->host) {
        json_object_set_new(root, "node",
                            json_pack("{s:s,s:s,s:s,s:o,s:o}", "address", c->address,
                                      "used", c->no_rdma[0] ? "tcp" : "verbs", "no_rdma",
                                      c->no_rdma, "tcp", way_json(&c->tcp), "rdma",
                                      way_json(&c->rdma)));
    }
    return root;
}

/* ---- for people: this machine ------------------------------------------------------------------------ */

static void line(const char *label, const char *text)
{
    if (*text) {
        printf("  %-12s%s\n", label, text);
    }
}

static void show_gids(const struct check_port *p)
{
    static const struct table_column columns[] = {
        {"    GID", true, false}, {"ADDRESS", false, true}, {"TYPE", false, false},
        {"DEVICE", false, true},  {"RANK", true, false},    {"", false, false}};
    struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (unsigned i = 0; i < p->gids_count; i++) {
        const struct check_gid *g = &p->gids[i];
        table_cell(t, 0, "%u", g->index);
        table_cell(t, 1, "%s", g->address);
        table_cell(t, 2, "%s", g->type);
        table_cell(t, 3, "%s", g->netdev[0] ? g->netdev : "-");
        table_cell(t, 4, "%d", g->rank);
        table_cell(t, 5, "%s", g->chosen ? "used" : "");
    }
    if (p->gids_count) {
        table_print(t);
    }
    table_free(t);
}

static void show_port(const struct check_port *p)
{
    char label[80], text[400];
    snprintf(label, sizeof label, "%s/%u", p->device, p->port);
    int n = snprintf(text, sizeof text,
                     "%s, %s, %s, MTU %u of %u, %.1f Gb/s, %u READs at once",
                     p->usable ? "usable" : "NOT usable", p->state, p->link, p->mtu,
                     p->mtu_max, p->mbps / 1000.0, p->reads);
    if (p->registered_bytes) {
        snprintf(text + n, sizeof text - (size_t)n, ", %u MiB registered in %.1f ms",
                 (unsigned)(p->registered_bytes >> 20), (double)p->registered_ns / 1e6);
    }
    line(label, text);
    line("", p->windows ? "" : "no memory windows of type 2B: not for --rdma=strict");
    line("  why", p->why);
    line("  to do", p->fix);
    line("  better", p->note);
    show_gids(p);
}

static void show_here(const struct check *c)
{
    const struct check_rdma *h = &c->here;
    char text[CHECK_TEXT_SIZE + 80], bytes[32];
    puts("this machine");
    line("library", h->library ? "libibverbs is there" : h->library_why);
    snprintf(text, sizeof text, "%u in the kernel, %u with a driver in the library",
             h->kernel_devices, h->library_devices);
    line("devices", text);
    snprintf(text, sizeof text, "%s%s",
             h->memlock_bytes == UINT64_MAX
                 ? "unlimited"
                 : text_bytes(h->memlock_bytes, bytes, sizeof bytes),
             h->memlock_free ? " (and CAP_IPC_LOCK, for which no limit counts)" : "");
    line("memlock", text);
    line("fork()", h->fork);
    for (unsigned i = 0; i < h->ports_count; i++) {
        show_port(&h->ports[i]);
    }
    snprintf(text, sizeof text, "%s%s%s",
             h->verdict == CHECK_RDMA ? "works" : "no: ", h->why,
             h->verdict == CHECK_TCP ? "; objects move over TCP" : "");
    line("RDMA", text);
    line("to do", h->fix);
}

/* ---- for people: a node ------------------------------------------------------------------------------ */

static void way_row(struct table *t, const struct check_way *w, bool used)
{
    char speed[32], round_trip[32];
    if (!w->measured || w->status) {
        return;
    }
    double s = (double)w->moved_ns / 1e9;
    text_bytes(s > 0 ? (uint64_t)((double)w->moved_bytes / s) : 0, speed, sizeof speed);
    snprintf(round_trip, sizeof round_trip, "%.1f us", (double)w->round_trip_ns / 1e3);
    table_cell(t, 0, "  %s", w->stats.rdma_bytes ? "RDMA" : "TCP");
    table_cell(t, 1, "%s", round_trip);
    table_cell(t, 2, "%s%s", w->moved_bytes ? speed : "-", w->moved_bytes ? "/s" : "");
    table_cell(t, 3, "%s", used ? "yes" : "no");
    table_cell(t, 4, "%s", w->stats.path);
}

static void show_node(const struct check *c)
{
    static const struct table_column columns[] = {{"  WAY", false, false},
                                                  {"ROUND TRIP", true, false},
                                                  {"OBJECTS", true, false},
                                                  {"USED", false, false},
                                                  {"PATH", false, true}};
    char text[CHECK_TEXT_SIZE + 80];
    printf("\nnode %s\n", c->address);
    if (c->tcp.status) {
        line("NOT reached", c->tcp.reason);
        return;
    }
    struct table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    way_row(t, &c->tcp, c->no_rdma[0] != '\0');
    if (!c->no_rdma[0]) {
        way_row(t, &c->rdma, true);
    }
    table_print(t);
    table_free(t);
    snprintf(text, sizeof text, "%s%s", c->no_rdma[0] ? "no: " : "is used", c->no_rdma);
    line("RDMA", text);
}

int check_show(const struct check *c, bool good)
{
    if (c->json) {
        int status = tool_print_json(check_json(c, good));
        return status ? status : good ? TOOL_OK : TOOL_FAILED;
    }
    show_here(c);
    if (c->host) {
        show_node(c);
    }
    return tool_flush() && good ? TOOL_OK : TOOL_FAILED;
}
