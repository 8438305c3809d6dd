/* mobulad - the daemon of one node. Started by `mobula start`, or by a program that needs a node of
 * its own (--embedded). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/node_options.h"
#include "core/clock.h"
#include "core/labels.h"
#include "core/log.h"
#include "core/limits.h"
#include "core/status.h"
#include "core/text.h"
#include "home.h"
#include "node.h"

static const char usage[] =
    "usage: mobulad [options]\n"
    "\n"
    "The daemon of a mobula node, in the foreground. People use `mobula start`, which "
    "starts it.\n"
    "\n" NODE_OPTIONS_TEXT
    "  --log-file=FILE              log there; - is standard error, the default\n"
    "  --log-level=LEVEL            error, warn, info or debug; default: info, or warn "
    "if to\n"
    "                               standard error\n"
    "  --ready-fd=FD                write one line to FD: \"ready\" and JSON once the "
    "node\n"
    "                               serves, or \"error\" and the reason; log into the "
    "node's\n"
    "                               folder unless --log-file says otherwise\n"
    "  --embedded=FD                serve the program at the other end of FD, and end "
    "with it\n"
    "  --version                    which version this is\n"
    "  --help                       this text\n";

struct settings {
    struct node_config node;
    const char *dir, *log_file;
    enum log_level level;
    bool level_given;
    int port;
    const char *key_file;
    bool key_stdin, shared_key;
};

enum { PORT_DEFAULT = 6379, PORT_UNSET = -1, UNMET_GRACE_MAX_S = 366 * 86400 };

/* One line to whoever started the daemon, or to a person. */
static int fail(const struct settings *s, int code)
{
    char text[1024];
    snprintf(text, sizeof text, "%s", mob_last_error());
    for (char *c = text; *c; c++) {
        *c = *c == '\n' ? ' ' : *c;
    }
    if (s->node.embedded < 0) { /* else the program says it */
        log_error("%s", text);
    }
    if (s->node.ready_fd < 0) {
        fprintf(stderr, "mobulad: %s\n", text);
    } else if (dprintf(s->node.ready_fd, "error %s\n", text) < 0) {
        log_warn("nobody waits for the node any more");
    }
    return code;
}

static mob_status parse_level(const char *arg, struct settings *s)
{
    if (log_level_parse(arg, &s->level) < 0) {
        return status_fail(MOB_ERR_INVALID,
                           "'%s' is no log level; say error, warn, info or debug", arg);
    }
    s->level_given = true;
    return MOB_OK;
}

static mob_status parse_fd(const char *arg, int *ret)
{
    uint64_t n;
    MOB_TRY(text_parse_u64(arg, 0, INT_MAX, &n));
    if (fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0) {
        return status_fail(MOB_ERR_INVALID, "there is no open file %s: %m", arg);
    }
    *ret = (int)n;
    return MOB_OK;
}

static mob_status parse_rdma(const char *arg, enum transport_rdma *ret)
{
    static const char *const words[] = {[TRANSPORT_RDMA_AUTO] = "auto",
                                        [TRANSPORT_RDMA_OFF] = "off",
                                        [TRANSPORT_RDMA_STRICT] = "strict"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(arg, words[i]) == 0) {
            *ret = (enum transport_rdma)i;
            return MOB_OK;
        }
    }
    return status_fail(MOB_ERR_INVALID, "'%s' is none of auto, off and strict", arg);
}

/* What tasks may ask for. */
static mob_status parse_resource(int opt, const char *arg, struct node_config *c)
{
    uint64_t n;
    switch (opt) {
    case 'c':
        MOB_TRY(text_parse_u64(arg, 0, NODE_CPUS_MAX, &n));
        c->num_cpus = (int)n;
        return MOB_OK;
    case 'M':
        return text_parse_bytes(arg, &c->memory_bytes);
    case 'G':
        MOB_TRY(text_parse_u64(arg, 0, NODE_GPUS_MAX, &n));
        c->num_gpus = (int)n;
        return MOB_OK;
    case 'Q':
        c->resources = (struct resources){0};
        return resources_parse(&c->resources, arg);
    default: /* 'N' */
        c->labels = arg;
        return labels_check(arg);
    }
}

static mob_status parse(int opt, const char *arg, struct settings *s)
{
    uint64_t n;
    switch (opt) {
    case 'H':
        s->node.head = true;
        return MOB_OK;
    case 'a':
        s->node.head_address = arg;
        return MOB_OK;
    case 'L':
        s->node.listen = arg;
        return MOB_OK;
    case 'p':
        MOB_TRY(text_parse_u64(arg, 0, UINT16_MAX, &n));
        s->port = (int)n;
        return MOB_OK;
    case 'k':
        s->key_file = arg;
        return MOB_OK;
    case 'K':
        s->key_stdin = true;
        return MOB_OK;
    case 'S':
        s->shared_key = true;
        return MOB_OK;
    case 'E':
        s->node.encrypt = true;
        return MOB_OK;
    case 'U':
        s->node.unchecked = true;
        return MOB_OK;
    case 'R':
        return parse_rdma(arg, &s->node.rdma);
    case 'e':
        return parse_fd(arg, &s->node.embedded);
    case 'r':
        return parse_fd(arg, &s->node.ready_fd);
    case 'd':
        s->dir = arg;
        return MOB_OK;
    case 'f':
        s->log_file = arg;
        return MOB_OK;
    case 'c':
    case 'M':
    case 'G':
    case 'Q':
    case 'N':
        return parse_resource(opt, arg, &s->node);
    case 'm':
        return text_parse_bytes(arg, &s->node.store_bytes);
    case 's':
        s->node.spill_dirs = arg;
        return MOB_OK;
    case 'l':
        return parse_level(arg, s);
    case 'P':
    case 'n':
        s->node.pin = opt == 'P' ? MOB_PIN : MOB_NO_PIN;
        return MOB_OK;
    case 'g':
        MOB_TRY(text_parse_u64(arg, 0, UNMET_GRACE_MAX_S, &n));
        s->node.unmet_grace_ns = n * NS_PER_S;
        return MOB_OK;
    default:
        return MOB_ERR_INVALID;
    }
}

/* The cluster's key, and what goes together. */
static mob_status complete(struct settings *s)
{
    static char path[PATH_MAX];
    struct node_config *n = &s->node;
    const char *env = getenv("MOBULA_KEY_FILE"), *home = getenv("HOME");
    if (!node_clustered(n)) {
        return n->num_cpus == 0
                   ? status_fail(MOB_ERR_INVALID, "--num-cpus=0: a node that is alone "
                                                  "would run nothing; give it --head or "
                                                  "--address, or a CPU")
                   : MOB_OK;
    }
    if (n->head && n->head_address) {
        return status_fail(MOB_ERR_INVALID,
                           "a node is a head (--head) or has one (--address)");
    }
    if (n->listen && strchr(n->listen, ':') && n->listen[0] != '[') { /* IPv6, bare */
        static char bracketed[128];
        snprintf(bracketed, sizeof bracketed, "[%.125s]", n->listen);
        n->listen = bracketed;
    }
    n->port = s->port != PORT_UNSET ? (uint16_t)s->port : n->head ? PORT_DEFAULT : 0;
    if (s->key_stdin) {
        return key_read_fd(STDIN_FILENO, &n->key);
    }
    bool given = s->key_file || env;
    snprintf(path, sizeof path, "%s", given ? s->key_file ? s->key_file : env : "");
    if (!given) {
        if (!home || !*home) {
            return status_fail(MOB_ERR_KEY,
                               "HOME is not set: say where the cluster's key is with "
                               "--key-file, MOBULA_KEY_FILE or --key-stdin");
        }
        snprintf(path, sizeof path, "%s/.mobula", home);
        if (n->head && mkdir(path, 0700) < 0 && errno != EEXIST) {
            return status_fail(MOB_ERR_SYSTEM, "making the folder %s: %m", path);
        }
        snprintf(path, sizeof path, "%s/.mobula/key", home);
    }
    n->key_file = path;
    return n->head && access(path, F_OK) < 0 ? key_load_or_create(path, &n->key, NULL)
                                             : key_load(path, s->shared_key, &n->key);
}

/* Names the option that a bad value was given for. */
static int bad_value(const struct settings *s, const char *name)
{
    status_say("--%s: %s", name, mob_last_error());
    return fail(s, 2);
}

static int parse_all(int argc, char **argv, struct settings *s)
{
    static const struct option options[] = {
        NODE_OPTIONS,
        {"embedded", required_argument, NULL, 'e'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int opt, at = 0;
    opterr = 0; /* our own words, in one line */
    while ((opt = getopt_long(argc, argv, ":h", options, &at)) != -1) {
        if (opt == 'h' || opt == 'v') {
            fputs(opt == 'h' ? usage : "mobula " MOB_VERSION_TEXT "\n", stdout);
            exit(fflush(stdout) ? 1 : 0);
        }
        if (opt == '?' || opt == ':') {
            const char *word = argv[optind - 1];
            status_say(opt == ':' ? "%s needs a value; see mobulad --help"
                                  : "unknown option %s; see mobulad --help",
                       word);
            return fail(s, 2);
        }
        if (parse(opt, optarg, s)) {
            return bad_value(s, options[at].name);
        }
    }
    if (optind < argc) {
        status_say("'%s' is no option; see mobulad --help", argv[optind]);
        return fail(s, 2);
    }
    return 0;
}

/* ---- the log ------------------------------------------------------------------------------------- */

/* What the process itself says, and a sanitizer, goes to the log as well. */
static mob_status redirect(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool ok = null >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
              dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0;
    mob_status st =
        ok ? MOB_OK : status_fail(MOB_ERR_SYSTEM, "redirecting to the log: %m");
    if (null > STDERR_FILENO) {
        close(null);
    }
    close(fd);
    return st;
}

static mob_status open_log(struct settings *s, struct home *home)
{
    bool to_file = s->log_file ? strcmp(s->log_file, "-") != 0 : s->node.ready_fd >= 0;
    int fd;
    if (to_file) {
        if (!s->log_file) {
            MOB_TRY(home_log(home, &fd));
        } else {
            fd = open(s->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY,
                      0600);
        }
        if (fd < 0) {
            return status_fail(MOB_ERR_SYSTEM, "the log file %s: %m", s->log_file);
        }
        MOB_TRY(redirect(fd));
        if (!s->level_given) {
            s->level = LOG_LEVEL_INFO;
        }
    }
    log_set_sink(log_sink_file, stderr, s->level);
    return MOB_OK;
}

/* ---- a node with a folder ------------------------------------------------------------------------ */

static int serve(struct settings *s)
{
    static struct home home; /* large */
    static char dir[PATH_MAX];
    if (!s->dir) {
        if (home_default(dir, sizeof dir, true)) {
            return fail(s, 1);
        }
        s->dir = dir;
    }
    if (home_open(s->dir, &home)) {
        return fail(s, 1);
    }
    s->node.dir = home.dir;
    s->node.after_kill = home.cleaned != 0;
    mob_status st = open_log(s, &home);
    if (!st && chdir("/") < 0) { /* so that no file system is kept from being unmounted */
        st = status_fail(MOB_ERR_SYSTEM, "chdir: %m");
    }
    if (!st && home.cleaned) {
        log_warn("removed what a killed daemon left pid %d", (int)home.cleaned);
    }
    if (!st) {
        st = node_run(&s->node);
    }
    int code = st ? fail(s, 1) : 0;
    home_close(&home);
    return code;
}

/* A standard stream that is closed would be taken for the next file that is opened. */
static void fill_standard_streams(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    struct settings s = {.node = {.embedded = -1,
                                  .num_cpus = -1,
                                  .ready_fd = -1,
                                  .num_gpus = -1,
                                  .unmet_grace_ns = UNMET_GRACE_NS},
                         .level = LOG_LEVEL_WARN,
                         .port = PORT_UNSET};
    signal(SIGPIPE, SIG_IGN);
    const char *env = getenv("MOBULA_LOG_LEVEL");
    if (env && parse_level(env, &s)) {
        fprintf(stderr, "mobulad: MOBULA_LOG_LEVEL: %s\n", mob_last_error());
        return 2;
    }
    s.node.spill_dirs = getenv("MOBULA_SPILL_DIR");
    int code = parse_all(argc, argv, &s);
    if (code) {
        return code;
    }
    if (complete(&s)) {
        return fail(&s, 1);
    }
    if (s.node.embedded < 0) {
        return serve(&s);
    }
    log_set_sink(log_sink_file, stderr, s.level);
    return node_run(&s.node) ? fail(&s, 1) : 0;
}
