/* main.c - the command line. README.md has examples. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum {
    OPT_SEED = 1,
    OPT_SEEDS,
    OPT_NODES,
    OPT_JOBS,
    OPT_TASKS,
    OPT_WORKLOAD,
    OPT_FAULTS,
    OPT_NO_FAULTS,
    OPT_RIVALS,
    OPT_STREAMS,
    OPT_KINDS,
    OPT_GROUPS,
    OPT_QUIET,
    OPT_HELP
};

static const struct option options[] = {
    {"seed", required_argument, NULL, OPT_SEED},
    {"seeds", required_argument, NULL, OPT_SEEDS},
    {"nodes", required_argument, NULL, OPT_NODES},
    {"jobs", required_argument, NULL, OPT_JOBS},
    {"tasks", required_argument, NULL, OPT_TASKS},
    {"workload", required_argument, NULL, OPT_WORKLOAD},
    {"faults", no_argument, NULL, OPT_FAULTS},
    {"no-faults", no_argument, NULL, OPT_NO_FAULTS},
    {"rivals", no_argument, NULL, OPT_RIVALS},
    {"streams", no_argument, NULL, OPT_STREAMS},
    {"kinds", no_argument, NULL, OPT_KINDS},
    {"groups", no_argument, NULL, OPT_GROUPS},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0}};

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: sim_scheduler [--seed N] [--seeds COUNT] [--nodes N] [--jobs N] [--tasks "
        "N]\n"
        "       [--workload independent|chain|tree|stencil|fft|random|nested]\n"
        "       [--faults|--no-faults] [--rivals|--streams|--kinds|--groups] [--quiet]\n"
        "What is not given follows from the seed. The same line is the same history.\n");
}

static int workload_of(const char *name)
{
    for (int w = 0; w < WORKLOADS; w++) {
        if (!strcmp(name, graph_name((enum workload)w))) {
            return w;
        }
    }
    usage(stderr);
    exit(2);
}

/* One seed in ten has a hundred nodes, one in ten jobs that compete, two in ten groups, two in three faults. */
static void run(struct options o, uint64_t seed, int faults)
{
    o.seed = seed;
    o.rivals =
        o.rivals || (!o.streams && !o.groups && !o.nodes && o.only < 0 && seed % 10 == 5);
    bool drawn = !o.rivals && !o.streams && !o.nodes && o.only < 0;
    o.groups = !o.rivals && !o.kinds &&
               (o.groups || (drawn && seed % 10 >= 3 && seed % 10 <= 4));
    o.kinds = !o.rivals && (o.kinds || (drawn && seed % 10 >= 6 && seed % 10 <= 8)) &&
              !o.groups;
    o.faults = faults >= 0 ? faults : !o.rivals && !o.streams && seed % 3 != 0;
    if (!o.nodes) {
        o.nodes = seed % 10 == 9 ? 100 : 2 + (uint32_t)(index_mix(seed) % 40);
    }
    if (!o.jobs) {
        o.jobs = o.rivals || o.streams ? 4 : 6 + o.nodes / 50;
    }
    world_run(&o);
}

int main(int argc, char **argv)
{
    struct options o = {.only = -1};
    uint64_t seed = 1, seeds = 1;
    int faults = -1;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case OPT_SEED:
            seed = strtoull(optarg, NULL, 0);
            break;
        case OPT_SEEDS:
            seeds = strtoull(optarg, NULL, 0);
            break;
        case OPT_NODES:
            o.nodes = (uint32_t)strtoul(optarg, NULL, 0);
            break;
        case OPT_JOBS:
            o.jobs = (uint32_t)strtoul(optarg, NULL, 0);
            break;
        case OPT_TASKS:
            o.tasks = strtoull(optarg, NULL, 0);
            break;
        case OPT_WORKLOAD:
            o.only = workload_of(optarg);
            break;
        case OPT_FAULTS:
        case OPT_NO_FAULTS:
            faults = c == OPT_FAULTS;
            break;
        case OPT_RIVALS:
            o.rivals = true;
            break;
        case OPT_STREAMS:
            o.streams = true;
            break;
        case OPT_KINDS:
            o.kinds = true;
            break;
        case OPT_GROUPS:
            o.groups = true;
            break;
        case OPT_QUIET:
            o.quiet = true;
            break;
        default:
            usage(c == OPT_HELP ? stdout : stderr);
            return c == OPT_HELP ? 0 : 2;
        }
    }
    for (uint64_t i = 0; i < seeds; i++) {
        run(o, seed + i, faults);
    }
    return 0;
}
