/* mobula timeline - what the cluster did and when, as a file that Perfetto and Chrome open. */
#include "mobula/timeline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "mobula_tool.h"

static const char usage[] =
    "usage: mobula timeline [options] [FILE]\n"
    "\n"
    "Records what tasks, transfers and leases do on all nodes, and writes it to FILE, "
    "for\n"
    "https://ui.perfetto.dev or chrome://tracing.\n"
    "\n"
    "  --start          begin to record, and forget what was recorded before\n"
    "  --stop           record no more\n"
    "  --node-dir=DIR   ask the node in this folder instead of the usual one\n"
    "  --help           this text\n"
    "\n"
    "  mobula timeline --start; ./program; mobula timeline --stop out.json\n";

struct timeline_options {
    const char *dir, *file;
    bool start, stop;
};

static int read_options(int argc, char **argv, struct timeline_options *ret)
{
    static const struct option options[] = {{"start", no_argument, NULL, 's'},
                                            {"stop", no_argument, NULL, 'e'},
                                            {"node-dir", required_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt;
    while ((opt = tool_option(argc, argv, options)) != -1) {
        switch (opt) {
        case 's':
            ret->start = true;
            break;
        case 'e':
            ret->stop = true;
            break;
        case 'd':
            ret->dir = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(tool_flush() ? TOOL_OK : TOOL_FAILED);
        default:
            return TOOL_USAGE;
        }
    }
    ret->file = optind < argc ? argv[optind++] : NULL;
    if (ret->start && (ret->stop || ret->file)) {
        return tool_usage("--start goes alone");
    }
    if (!ret->start && !ret->stop && !ret->file) {
        return tool_usage("say --start, --stop or a file");
    }
    return tool_no_words(argc, argv);
}

/* Switches recording of all nodes. False: of none. */
static bool set(struct tool_node *daemon, bool on)
{
    json_t *ids = timeline_nodes(daemon);
    const json_t *id;
    size_t i, done = 0;
    json_array_foreach(ids, i, id)
    {
        json_t *got = timeline_ask(daemon, json_string_value(id),
                                   json_pack("{s:b}", "set", (int)on));
        if (got) {
            done++;
        } else {
            fprintf(stderr, "%s: node %s: %s\n", tool_name, json_string_value(id),
                    mob_last_error());
        }
        json_decref(got);
    }
    json_decref(ids);
    return done > 0;
}

static void summary(const struct trace *t, const char *file)
{
    uint64_t lost = 0, error = 0;
    for (uint32_t i = 0; i < t->rings_count; i++) {
        lost += t->rings[i].lost;
    }
    for (uint32_t i = 0; i < t->nodes_count; i++) {
        error = t->nodes[i].error_ns > error ? t->nodes[i].error_ns : error;
        if (t->nodes[i].unreached) {
            printf("node %s did not answer\n", t->nodes[i].id);
        }
    }
    printf(
        "%s: %u events of %u processes on %u nodes; %llu older ones were overwritten%s; "
        "clocks agree within %.1f us\n",
        file, t->events_count, t->rings_count, t->nodes_count, (unsigned long long)lost,
        t->cut ? ", and there are more than a file may have" : "", (double)error / 1000);
}

static int write_file(struct tool_node *daemon, const char *file)
{
    struct trace t;
    if (timeline_fetch(daemon, &t)) {
        return tool_fail();
    }
    if (t.events_count == 0) {
        timeline_forget_all(&t);
        (void)status_fail(MOB_ERR_NOT_FOUND,
                          "nothing was recorded; begin with mobula timeline --start");
        return tool_fail();
    }
    FILE *to = fopen(file, "w");
    if (to) {
        timeline_write(&t, to);
    }
    if (!to || fflush(to) || ferror(to) || fclose(to)) {
        (void)status_fail(MOB_ERR_SYSTEM, "writing %s: %s", file, strerror(errno));
        timeline_forget_all(&t);
        return tool_fail();
    }
    summary(&t, file);
    timeline_forget_all(&t);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}

int timeline_main(int argc, char **argv)
{
    struct timeline_options o = {0};
    struct tool_node node;
    int status = TOOL_OK;
    if (read_options(argc, argv, &o)) {
        return TOOL_USAGE;
    }
    if (tool_connect(o.dir, &node)) {
        return tool_fail();
    }
    if ((o.start || o.stop) && !set(&node, o.start)) {
        status = tool_fail();
    }
    if (status == TOOL_OK && o.file) {
        status = write_file(&node, o.file);
    }
    tool_disconnect(&node);
    return status;
}
