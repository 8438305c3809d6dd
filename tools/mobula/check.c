/* mobula check-transport - how objects will move between this machine and others, and if not over
 * RDMA, why, and what to do. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"

#define PORT_DEFAULT "6379" /* a head's */

static const char usage[] =
    "usage: mobula check-transport [HOST[:PORT]] [options]\n"
    "\n"
    "Says whether objects can move over RDMA here, and if not, what to do about it. With "
    "HOST it\n"
    "also reaches the node there, measures the ways to it, and says which one objects "
    "take and why\n"
    "not the other. An IPv6 address stands in brackets. Default of PORT: 6379.\n"
    "\n"
    "  --rdma=auto|off|strict   as nodes are started with; default: auto\n"
    "  --need-rdma              exit status 1 unless objects can move over RDMA\n"
    "  --key-file=FILE          the cluster's key; default: $MOBULA_KEY_FILE, else "
    "~/.mobula/key\n"
    "  --key-stdin              read the cluster's key from standard input\n"
    "  --allow-shared-key       take a key file that others may read\n"
    "  --encrypt                as nodes are started with\n"
    "  --no-checksums           as nodes are started with\n"
    "  --json                   all of it, for programs\n"
    "  --help                   this text\n"
    "\n"
    "Exit status: 0 if nothing is to be done: RDMA works, or there is no device and "
    "objects move\n"
    "over TCP. 1 if something is wrong: a device that cannot be used, a node that is not "
    "reached.\n"
    "2 if the command was not understood.\n";

static int take_rdma(struct check *c, const char *word)
{
    c->strict = strcmp(word, "strict") == 0;
    c->off = strcmp(word, "off") == 0;
    return c->strict || c->off || strcmp(word, "auto") == 0
               ? TOOL_OK
               : tool_usage("--rdma=%s: say auto, off or strict", word);
}

static int parse(struct check *c, struct key_source *key, int argc, char **argv)
{
    static const struct option options[] = {{"rdma", required_argument, NULL, 'R'},
                                            {"need-rdma", no_argument, NULL, 'n'},
                                            {"key-file", required_argument, NULL, 'k'},
                                            {"key-stdin", no_argument, NULL, 'K'},
                                            {"allow-shared-key", no_argument, NULL, 'S'},
                                            {"encrypt", no_argument, NULL, 'E'},
                                            {"no-checksums", no_argument, NULL, 'U'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt;
    while ((opt = tool_option(argc, argv, options)) != -1) {
        if (opt == 'h') {
            fputs(usage, stdout);
            exit(tool_flush() ? TOOL_OK : TOOL_FAILED);
        }
        if (opt == '?' || (opt == 'R' && take_rdma(c, optarg))) {
            return TOOL_USAGE;
        }
        c->need_rdma |= opt == 'n';
        key->file = opt == 'k' ? optarg : key->file;
        key->from_stdin |= opt == 'K';
        key->shared |= opt == 'S';
        c->encrypt |= opt == 'E';
        c->unchecked |= opt == 'U';
        c->json |= opt == 'j';
    }
    if (optind < argc) {
        c->host = argv[optind++];
    }
    if (c->need_rdma && c->off) {
        return tool_usage("--need-rdma and --rdma=off: give one of them");
    }
    if (key->file && key->from_stdin) {
        return tool_usage("--key-file and --key-stdin: give one of them");
    }
    return tool_no_words(argc, argv);
}

/* HOST, HOST:PORT, [V6], [V6]:PORT. */
static mob_status find_host(struct check *c)
{
    const char *end = strrchr(c->host, ']'), *colon = strrchr(c->host, ':');
    bool port = colon && (!end || colon > end) && (end || colon == strchr(c->host, ':'));
    int n = snprintf(c->address, sizeof c->address, "%s%s", c->host,
                     port ? "" : ":" PORT_DEFAULT);
    if (n < 0 || (size_t)n >= sizeof c->address) {
        return status_fail(MOB_ERR_INVALID, "'%.40s...' is too long an address", c->host);
    }
    return addr_parse(c->address, ADDR_CONNECT, &c->addr);
}

/* The way over TCP, and the one that nodes would take if it is another. */
static void measure(struct check *c)
{
    enum transport_rdma rdma = c->strict ? TRANSPORT_RDMA_STRICT : TRANSPORT_RDMA_AUTO;
    check_measure(c, TRANSPORT_RDMA_OFF, &c->tcp);
    if (c->off) {
        snprintf(c->no_rdma, sizeof c->no_rdma, "it is switched off (--rdma=off)");
    } else if (c->here.verdict != CHECK_RDMA) {
        snprintf(c->no_rdma, sizeof c->no_rdma, "%s", c->here.why);
    } else if (c->tcp.status == MOB_OK) {
        check_measure(c, rdma, &c->rdma);
        if (c->rdma.status || c->rdma.stats.rdma_bytes == 0) {
            snprintf(c->no_rdma, sizeof c->no_rdma, "%s",
                     c->rdma.status         ? c->rdma.reason
                     : c->rdma.stats.why[0] ? c->rdma.stats.why
                                            : "it did not come up in time");
        }
    }
}

/* Nothing is to be done about it. */
static bool is_good(const struct check *c)
{
    bool works = !c->off && c->here.verdict == CHECK_RDMA;
    if (c->host) {
        works = works && c->tcp.status == MOB_OK && c->no_rdma[0] == '\0';
    }
    if (works) {
        return true;
    }
    return !c->need_rdma && (c->off || c->here.verdict == CHECK_TCP) &&
           (!c->host || c->tcp.status == MOB_OK);
}

int check_main(int argc, char **argv)
{
    static struct check c; /* all its ports and GIDs are much for a stack */
    struct key_source key = {.file = NULL};
    if (parse(&c, &key, argc, argv)) {
        return TOOL_USAGE;
    }
    if (c.host && (find_host(&c) || key_find(&key, false, &c.key))) {
        return tool_fail();
    }
    struct check_config config = {.strict = c.strict};
    transport_check(&config, &c.here);
    if (c.host) {
        measure(&c);
        key_wipe(&c.key, sizeof c.key);
    }
    return check_show(&c, is_good(&c));
}
