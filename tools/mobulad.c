/* mobulad - the daemon of one node. Started by `mobula start`, or by a program that needs a node of
 * its own (--embedded). */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    "  --log-level=LEVEL            error, warn, info or debug\n"
    "  --help                       this text\n";

static int fail(void)
{
    fprintf(stderr, "mobulad: %s\n", mob_last_error());
    return 1;
}

static mob_status parse(int opt, const char *arg, struct node_config *config, enum log_level *level)
{
    uint64_t n;
    switch (opt) {
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

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"embedded", required_argument, NULL, 'e'},
        {"node-dir", required_argument, NULL, 'd'},
        {"num-cpus", required_argument, NULL, 'c'},
        {"object-store-memory", required_argument, NULL, 'm'},
        {"log-level", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct node_config config = {.embedded = -1};
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
        if (parse(opt, optarg, &config, &level)) {
            return fail();
        }
    }
    if (config.embedded < 0 && !config.dir) {
        fputs("mobulad: --embedded or --node-dir is needed; people use `mobula start`\n", stderr);
        return 2;
    }
    log_set_sink(log_sink_file, stderr, level);
    return node_run(&config) ? fail() : 0;
}
