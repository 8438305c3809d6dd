#include "tool.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/status.h"
#include "home.h"
#include "local.h"

enum {
    ANSWER_BYTES_MAX = 256 << 20, /* more than any node has to say */
    ANSWER_S = 10 /* a daemon looks at its connections many times a second */
};

const char *tool_name = "mobula";

int tool_fail(void)
{
    fprintf(stderr, "%s: %s\n", tool_name, mob_last_error());
    return TOOL_FAILED;
}

int tool_usage(const char *format, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    fprintf(stderr, "%s: %s; see %s --help\n", tool_name, text, tool_name);
    return TOOL_USAGE;
}

int tool_version(void)
{
    puts("mobula " MOB_VERSION_TEXT);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}

int tool_option(int argc, char **argv, const struct option *options)
{
    opterr = 0; /* our own words, in one line */
    char letters[] = ":h\0";
    for (const struct option *o = options; o->name; o++) {
        if (strcmp(o->name, "verbose") == 0) {
            letters[2] = 'v';
        }
    }
    int opt = getopt_long(argc, argv, letters, options, NULL);
    const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
    bool is_long = strncmp(word, "--", 2) == 0;
    if (opt == ':') {
        tool_usage("%s needs a value", word);
        return '?';
    }
    if (opt == '?' && is_long && optopt) {
        tool_usage("%.*s takes no value", (int)strcspn(word, "="), word);
    } else if (opt == '?' && is_long) {
        tool_usage("unknown option %s", word);
    } else if (opt == '?') {
        tool_usage("unknown option -%c", optopt);
    }
    return opt;
}

int tool_no_words(int argc, char **argv)
{
    return optind < argc ? tool_usage("'%s' is not expected", argv[optind]) : TOOL_OK;
}

int tool_node_options(int argc, char **argv, const char *usage, const char **ret_dir,
                      bool *ret_json)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"node-dir", required_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt;
    *ret_dir = NULL;
    while ((opt = tool_option(argc, argv, ret_json ? options : options + 1)) != -1) {
        switch (opt) {
        case 'j':
            if (ret_json) {
                *ret_json = true;
            }
            break;
        case 'd':
            *ret_dir = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(tool_flush() ? TOOL_OK : TOOL_FAILED);
        default:
            return TOOL_USAGE;
        }
    }
    return tool_no_words(argc, argv);
}

bool tool_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return true;
    }
    fprintf(stderr, "%s: writing: %s\n", tool_name, strerror(errno));
    return false;
}

/* ---- the node ------------------------------------------------------------------------------------ */

mob_status tool_dir(const char *given, char *buf, size_t size)
{
    const char *address = getenv("MOBULA_ADDRESS");
    const char *dir = given ? given : address && strchr(address, '/') ? address : NULL;
    if (!dir) {
        return home_default(buf, size, false);
    }
    int n = snprintf(buf, size, "%s", dir);
    return n > 0 && (size_t)n < size
               ? MOB_OK
               : status_fail(MOB_ERR_INVALID, "'%s' is no folder", dir);
}

static mob_status ask(struct tool_node *node, struct local_msg *m)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count = 0;
    uint32_t op = m->op;
    mob_status st = local_send(node->sock, m, NULL, 0);
    if (!st) {
        st = local_recv(node->sock, m, fds, &count);
    }
    for (unsigned i = 0; !st && i < count; i++) {
        close(fds[i]);
    }
    if (st == MOB_ERR_TIMEOUT) {
        return status_fail(st,
                           "the node's daemon (pid %d) did not answer within %d s: it "
                           "was stopped by a signal, or its machine is overloaded",
                           (int)node->pid, ANSWER_S);
    }
    if (st == MOB_ERR_PEER_LOST) {
        return status_fail(st, "the node's daemon (pid %d) ended", (int)node->pid);
    }
    if (!st && m->op != op) {
        return status_fail(MOB_ERR_PROTOCOL, "the node's daemon answered %u to %u", m->op,
                           op);
    }
    return !st && m->status ? status_fail((mob_status)m->status, "%s", m->text) : st;
}

static mob_status greet(struct tool_node *node)
{
    struct local_msg *m = malloc(sizeof *m);
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (!m || getsockopt(node->sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        free(m);
        return status_fail(MOB_ERR_SYSTEM, "who is at the node's socket: %m");
    }
    node->pid = peer.pid;
    node->pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = LOCAL_MAGIC;
    m->arg[1] = LOCAL_VERSION;
    m->arg[2] = (uint64_t)getpid();
    m->arg[3] = LOCAL_TOOL;
    mob_status st = ask(node, m);
    free(m);
    return st;
}

/* A daemon that is being killed may still take a connection, and is gone in a moment. */
static bool ends_now(const struct tool_node *node)
{
    struct pollfd gone = {.fd = node->pidfd, .events = POLLIN};
    return poll(&gone, 1, ANSWER_S * 1000) > 0;
}

mob_status tool_connect(const char *node_dir, struct tool_node *ret)
{
    pid_t pid;
    ret->sock = ret->pidfd = -1;
    MOB_TRY(tool_dir(node_dir, ret->dir, sizeof ret->dir));
    MOB_TRY(home_holder(ret->dir, &pid)); /* which looks whose folder it is, too */
    mob_status st = local_connect(ret->dir, &ret->sock);
    if (st == MOB_ERR_NO_NODE && pid) {
        return status_fail(
            st,
            "the node at %s (pid %d) does not answer: it starts or stops just "
            "now",
            ret->dir, (int)pid);
    }
    if (st == MOB_ERR_NO_NODE) {
        return status_fail(st, "no node runs at %s; `mobula start` starts one", ret->dir);
    }
    if (!st) {
        struct timeval limit = {.tv_sec = ANSWER_S};
        (void)setsockopt(ret->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        st = greet(ret);
    }
    if (st == MOB_ERR_PEER_LOST && ends_now(ret)) {
        st = status_fail(MOB_ERR_NO_NODE, "no node runs at %s any more: its daemon ended",
                         ret->dir);
    }
    if (st) {
        tool_disconnect(ret);
    }
    return st;
}

void tool_disconnect(struct tool_node *node)
{
    if (node->sock >= 0) {
        close(node->sock);
    }
    if (node->pidfd >= 0) {
        close(node->pidfd);
    }
    node->sock = node->pidfd = -1;
}

/* All parts of an answer, malloc'd. */
static mob_status ask_text(struct tool_node *node, struct local_msg *m, char **ret,
                           size_t *ret_size)
{
    uint32_t op = m->op;
    char *text = NULL;
    size_t size = 0;
    for (;;) {
        mob_status st = ask(node, m);
        char *more = !st && size < ANSWER_BYTES_MAX
                         ? realloc(text, size + m->text_size + 1)
                         : NULL;
        if (!more) {
            free(text);
            return st ? st
                      : status_fail(MOB_ERR_NOMEM, "no memory for the node's answer");
        }
        text = more;
        memcpy(text + size, m->text, m->text_size);
        size += m->text_size;
        if (!m->arg[0]) {
            break;
        }
        local_msg_init(m, (enum local_op)op);
        m->arg[0] = 1;
    }
    *ret = text;
    *ret_size = size;
    return MOB_OK;
}

mob_status tool_ask(struct tool_node *node, uint32_t op, const json_t *ask, json_t **ret)
{
    struct local_msg *m = malloc(sizeof *m);
    char *words = ask ? json_dumps(ask, JSON_COMPACT) : NULL, *text = NULL;
    size_t size = 0;
    json_error_t error;
    mob_status st =
        m && (words || !ask) ? MOB_OK : status_fail(MOB_ERR_NOMEM, "no memory");
    if (!st) {
        local_msg_init(m, (enum local_op)op);
        if (words) {
            local_msg_text(m, words);
        }
        st = ask_text(node, m, &text, &size);
    }
    if (!st) {
        *ret = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
        st = *ret ? MOB_OK
                  : status_fail(MOB_ERR_PROTOCOL, "the node's answer is no JSON: %s",
                                error.text);
    }
    free(text);
    free(words);
    free(m);
    return st;
}

int tool_print_json(json_t *root)
{
    bool ok = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY) == 0;
    json_decref(root);
    putchar('\n');
    return tool_flush() && ok ? TOOL_OK : TOOL_FAILED;
}

/* ---- members of an answer ------------------------------------------------------------------------ */

const char *tool_str(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

uint64_t tool_u64(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

double tool_real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}
