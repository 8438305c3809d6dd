/* node_options.h - the options of a node: mobulad takes them, and `mobula start` hands them on. */
#ifndef TOOLS_NODE_OPTIONS_H
#define TOOLS_NODE_OPTIONS_H

#include <getopt.h>

/* clang-format off */
#define NODE_OPTIONS                                            \
    {"head", no_argument, NULL, 'H'},                           \
    {"address", required_argument, NULL, 'a'},                  \
    {"port", required_argument, NULL, 'p'},                     \
    {"listen", required_argument, NULL, 'L'},                   \
    {"key-file", required_argument, NULL, 'k'},                 \
    {"key-stdin", no_argument, NULL, 'K'},                      \
    {"allow-shared-key", no_argument, NULL, 'S'},               \
    {"encrypt", no_argument, NULL, 'E'},                        \
    {"no-checksums", no_argument, NULL, 'U'},                   \
    {"rdma", required_argument, NULL, 'R'},                     \
    {"num-cpus", required_argument, NULL, 'c'},                 \
    {"pin", no_argument, NULL, 'P'},                            \
    {"no-pin", no_argument, NULL, 'n'},                         \
    {"memory", required_argument, NULL, 'M'},                   \
    {"gpus", required_argument, NULL, 'G'},                     \
    {"resources", required_argument, NULL, 'Q'},                \
    {"labels", required_argument, NULL, 'N'},                   \
    {"object-store-memory", required_argument, NULL, 'm'},      \
    {"spill-dir", required_argument, NULL, 's'},                \
    {"unmet-grace", required_argument, NULL, 'g'},              \
    {"node-dir", required_argument, NULL, 'd'},                 \
    {"log-file", required_argument, NULL, 'f'},                 \
    {"log-level", required_argument, NULL, 'l'},                \
    {"help", no_argument, NULL, 'h'}

#define NODE_OPTIONS_TEXT                                                                           \
    "  --head                       be the head of a new cluster\n"                                 \
    "  --address=HOST:PORT          join the cluster whose head is there\n"                         \
    "  --port=N                     listen on this port; default: 6379 for a head, else any\n"      \
    "  --listen=ADDR                listen at this address of the machine; default: at all\n"       \
    "  --key-file=FILE              the cluster's key; default: $MOBULA_KEY_FILE, else\n"           \
    "                               ~/.mobula/key, which the first head makes\n"                    \
    "  --key-stdin                  read the cluster's key from standard input\n"                   \
    "  --allow-shared-key           take a key file that others may read, as a container's\n"       \
    "                               mounted secret is\n"                                            \
    "  --encrypt                    let nobody on the way read what nodes send each other; every\n" \
    "                               node of the cluster has it, or none\n"                          \
    "  --no-checksums               no checksums of objects on their way, between nodes that\n"     \
    "                               both say so\n"                                                  \
    "  --rdma=auto|off|strict       how objects use RDMA devices; strict: peers can read no more\n" \
    "                               than what they are pulling; default: auto\n"                    \
    "  --num-cpus=N                 CPUs to use; default: what affinity and cgroups allow\n"        \
    "  --pin                        let workers run on CPUs that their task has alone; the default\n" \
    "                               of a node that may run on four CPUs or more\n"                  \
    "  --no-pin                     let them run on any CPU\n"                                      \
    "  --memory=SIZE                memory for tasks that ask for it; default: what may be used but\n" \
    "                               for the store's\n"                                              \
    "  --gpus=N                     GPUs; default: as many /dev/nvidia[0-9]* as there are\n"        \
    "  --resources=NAME=N[,...]     what else tasks may ask for, such as tape=2,license=4\n"        \
    "  --labels=NAME=VALUE[,...]    what tasks may choose the node by, such as zone=a\n"            \
    "  --object-store-memory=SIZE   limit of shared memory, such as 512M or 1.5GiB; default:\n"     \
    "                               30 % of what may be used\n"                                     \
    "  --spill-dir=DIR[:DIR...]     where objects go when memory is short, in turn; \"none\": they\n" \
    "                               stay; default: $MOBULA_SPILL_DIR, else /var/tmp\n"              \
    "  --unmet-grace=SECONDS        fail tasks that ask for what no node has if none that has\n"    \
    "                               it joins within this time; default: 30\n"                       \
    "  --node-dir=DIR               the node's folder, for several nodes on one machine\n"
/* clang-format on */

#endif
