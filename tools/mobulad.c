/* mobulad - the daemon of one node. Started by `mobula start`, or by a program that needs a node of
 * its own (--embedded). */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/limits.h"
#include "core/status.h"
#include "core/text.h"
#include "node.h"

static const char usage[] =
    "usage: mobulad [options]\n"
    "\n"
    "The daemon of a mobula node. People use `mobula start`, which starts it.\n"
    "\n"
    "  --embedded=FD                serve the program at the other end of FD, and end with it\n"
    "  --node-dir=DIR               the node's folder, with its socket\n"
    "  --num-cpus=N                 CPUs to use; default: what affinity and cgroups allow\n"
    "  --object-store-memory=SIZE   limit of shared memory; default: 30 % of what may be used\n"
    "  --head                       be the head of a cluster\n"
    "  --address=HOST:PORT          be a node of the cluster whose head is there\n"
    "  --listen=ADDRESS             listen at this address only\n"
    "  --port=PORT                  ... and at this port; default: 6379 for a head, else any\n"
    "  --key-file=FILE              the cluster's key; a head makes the file if there is none\n"
    "  --key-stdin                  read the key from standard input\n"
    "  --ready-fd=FD                write \"ready {json}\" there once it serves, or \"error TEXT\"\n"
    "  --log-level=LEVEL            error, warn, info or debug\n"
    "  --help                       this text\n";

static int fail(void)
{
    fprintf(stderr, "mobulad: %s\n", mob_last_error());
    return 1;
}

enum { PORT_DEFAULT = 6379, PORT_UNSET = -1 };

struct key_source {
    const char *file;
    bool from_stdin;
    int port;
};

static mob_status parse(int opt, const char *arg, struct node_config *config,
                        struct key_source *source, enum log_level *level)
{
    uint64_t n;
    switch (opt) {
    case 'H':
        config->head = true;
        return MOB_OK;
    case 'a':
        config->head_address = arg;
        return MOB_OK;
    case 'L':
        config->listen = arg;
        return MOB_OK;
    case 'p':
        MOB_TRY(text_parse_u64(arg, 0, UINT16_MAX, &n));
        source->port = (int)n;
        return MOB_OK;
    case 'k':
        source->file = arg;
        return MOB_OK;
    case 'K':
        source->from_stdin = true;
        return MOB_OK;
    case 'r':
        MOB_TRY(text_parse_u64(arg, 0, INT_MAX, &n));
        config->ready_fd = (int)n;
        return MOB_OK;
    case 'e':
        MOB_TRY(text_parse_u64(arg, 0, INT_MAX, &n));
        config->embedded = (int)n;
        return MOB_OK;
    case 'd':
        config->dir = arg;
        return MOB_OK;
    case 'c':
        MOB_TRY(text_parse_u64(arg, 0, NODE_CPUS_MAX, &n));
        config->num_cpus = (unsigned)n;
        return MOB_OK;
    case 'm':
        return text_parse_bytes(arg, &config->store_bytes);
    case 'l':
        return log_level_parse(arg, level) == 0
                   ? MOB_OK
                   : status_fail(MOB_ERR_INVALID, "'%s' is no log level", arg);
    default:
        return MOB_ERR_INVALID;
    }
}

/* The key, and what goes together. */
static mob_status complete(struct node_config *config, const struct key_source *source)
{
    if (!node_clustered(config)) {
        return MOB_OK;
    }
    if (config->head && config->head_address) {
        return status_fail(MOB_ERR_INVALID, "a node is a head (--head) or has one (--address)");
    }
    config->port = source->port != PORT_UNSET ? (uint16_t)source->port
                   : config->head             ? PORT_DEFAULT
                                              : 0;
    if (source->from_stdin) {
        return key_read_fd(STDIN_FILENO, &config->key);
    }
    if (!source->file) {
        return status_fail(MOB_ERR_KEY, "a node of a cluster needs --key-file or --key-stdin");
    }
    return config->head ? key_load_or_create(source->file, &config->key, NULL)
                        : key_load(source->file, false, &config->key);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"head", no_argument, NULL, 'H'},
        {"address", required_argument, NULL, 'a'},
        {"listen", required_argument, NULL, 'L'},
        {"port", required_argument, NULL, 'p'},
        {"key-file", required_argument, NULL, 'k'},
        {"key-stdin", no_argument, NULL, 'K'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"embedded", required_argument, NULL, 'e'},
        {"node-dir", required_argument, NULL, 'd'},
        {"num-cpus", required_argument, NULL, 'c'},
        {"object-store-memory", required_argument, NULL, 'm'},
        {"log-level", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct node_config config = {.embedded = -1, .ready_fd = -1};
    struct key_source source = {.port = PORT_UNSET};
    enum log_level level = LOG_LEVEL_WARN;
    const char *env = getenv("MOBULA_LOG_LEVEL");
    if (env && log_level_parse(env, &level) < 0) {
        fprintf(stderr, "mobulad: MOBULA_LOG_LEVEL is '%s': error, warn, info or debug\n", env);
        return 2;
    }
    int opt;
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (opt == '?') {
            fputs("mobulad: see mobulad --help\n", stderr);
            return 2;
        }
        if (parse(opt, optarg, &config, &source, &level)) {
            return fail();
        }
    }
    if (config.embedded < 0 && !config.dir) {
        fputs("mobulad: --embedded or --node-dir is needed; people use `mobula start`\n", stderr);
        return 2;
    }
    if (complete(&config, &source)) {
        if (config.ready_fd >= 0) {
            dprintf(config.ready_fd, "error %s\n", mob_last_error());
        }
        return fail();
    }
    log_set_sink(log_sink_file, stderr, level);
    return node_run(&config) ? fail() : 0;
}
