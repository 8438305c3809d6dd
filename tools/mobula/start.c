/* mobula start - starts mobulad, and returns when the node serves, or says why it does not.
 *
 * The daemon writes one line to a pipe: "ready" and JSON about the node, or "error" and a sentence.
 * Until it has opened its log, its standard error is ours, for what it cannot say in that line. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/node_options.h"
#include "core/clock.h"
#include "core/status.h"

static const char usage[] =
    "usage: mobula start [--head | --address=HOST:PORT] [options]\n"
    "\n"
    "Starts a node on this machine and returns when it serves. With --head it is the "
    "first of a\n"
    "cluster, with --address it joins one; with neither it stays alone and opens no "
    "port.\n"
    "\n" NODE_OPTIONS_TEXT
    "  --log-file=FILE              log there instead of in the node's folder\n"
    "  --log-level=LEVEL            error, warn, info or debug; default: info\n"
    "  --block                      stay in the foreground until the node ends, and log "
    "to\n"
    "                               standard error unless --log-file says otherwise\n"
    "  --help                       this text\n";

enum {
    READY_BYTES_MAX = 65536, /* of the daemon's line */
    PATIENCE_S = 60          /* the daemon's own time limits end sooner */
};

/* ---- options ------------------------------------------------------------------------------------- */

static void add_arg(struct start *s, const char *name, const char *value)
{
    char *arg = NULL;
    if (s->count == ARGS_MAX) {
        exit(tool_usage("too many options"));
    }
    if (asprintf(&arg, value ? "--%s=%s" : "--%s", name, value) < 0) {
        exit(TOOL_FAILED);
    }
    s->args[s->count++] = arg;
}

/* The options about the key are for this command, which gives the daemon the key itself. */
static bool take_key_option(struct start *s, int opt)
{
    switch (opt) {
    case 'k':
        s->key_source.file = optarg;
        return true;
    case 'K':
        s->key_source.from_stdin = true;
        return true;
    case 'S':
        s->key_source.shared = true;
        return true;
    default:
        return false;
    }
}

/* What does not go together. */
static int check_options(struct start *s, bool address, bool network)
{
    if (s->head && address) {
        return tool_usage(
            "--head makes a new cluster and --address joins one: give one of them");
    }
    if (s->key_source.file && s->key_source.from_stdin) {
        return tool_usage("--key-file and --key-stdin: give one of them");
    }
    s->clustered = s->head || address;
    if (network && !s->clustered) {
        return tool_usage("the options of a cluster need --head or --address=HOST:PORT");
    }
    return 0;
}

static const struct option options[] = {
    NODE_OPTIONS, {"block", no_argument, NULL, 'B'}, {NULL, 0, NULL, 0}};

/* What the daemon knows goes to it as it is, and the daemon says what is wrong with it. */
static int parse(struct start *s, int argc, char **argv)
{
    bool address = false, network = false, log = false, level = false;
    int opt;
    while ((opt = tool_option(argc, argv, options)) != -1) {
        const struct option *o = options;
        while (o->name && o->val != opt) {
            o++;
        }
        switch (opt) {
        case 'h':
            fputs(usage, stdout);
            exit(tool_flush() ? TOOL_OK : TOOL_FAILED);
        case '?':
            return TOOL_USAGE;
        case 'B':
            s->block = true;
            continue;
        default:
            break;
        }
        s->head |= opt == 'H';
        s->encrypt |= opt == 'E';
        s->unchecked |= opt == 'U';
        address |= opt == 'a';
        network |= strchr("pLkKSgEUR", opt) != NULL;
        log |= opt == 'f';
        level |= opt == 'l';
        if (!take_key_option(s, opt)) {
            add_arg(s, o->name, o->has_arg ? optarg : NULL);
        }
    }
    int st = check_options(s, address, network);
    if (st) {
        return st;
    }
    if (s->clustered) {
        add_arg(s, "key-stdin", NULL);
    }
    if (s->block && !log) {
        add_arg(s, "log-file", "-");
    }
    if (s->block && !level && !getenv("MOBULA_LOG_LEVEL")) {
        add_arg(s, "log-level", "info"); /* as in a file */
    }
    return tool_no_words(argc, argv);
}

/* ---- starting ------------------------------------------------------------------------------------ */

/* $MOBULA_DAEMON, else beside this program. */
static mob_status find_daemon(char *path, size_t size)
{
    const char *set = getenv("MOBULA_DAEMON");
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (set) {
        snprintf(path, size, "%s", set);
    } else if (slash) {
        snprintf(slash + 1, size - (size_t)(slash + 1 - path), "mobulad");
    }
    return access(path, X_OK) == 0
               ? MOB_OK
               : status_fail(MOB_ERR_NOT_FOUND,
                             "the daemon %s: %m; install it beside mobula, or "
                             "set MOBULA_DAEMON",
                             path);
}

/* In the child: nothing of ours but what the daemon needs. */
static void exec_daemon(const struct start *s, const char *path, int ready, pid_t parent)
{
    enum { READY_FD = 3 };
    sigset_t none;
    int in = s->key_pipe >= 0 ? s->key_pipe : open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(in, STDIN_FILENO);
    if (ready == READY_FD) {
        fcntl(ready, F_SETFD, 0);
    } else {
        dup2(ready, READY_FD);
    }
    syscall(SYS_close_range, READY_FD + 1, ~0u, 0);
    sigemptyset(&none);
    for (int sig = 1; sig < NSIG; sig++) {
        signal(sig, SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (s->block) {
        prctl(PR_SET_PDEATHSIG,
              SIGTERM); /* the daemon is to end with this command, however */
        if (getppid() != parent) {
            _exit(TOOL_FAILED);
        }
    } else {
        setsid(); /* a terminal that closes, or its Ctrl-C, does not concern the node */
    }
    execv(path, s->args);
    dprintf(READY_FD, "error starting %s: %s\n", path, strerror(errno));
    _exit(TOOL_FAILED);
}

/* No pipe of ours is to be taken for a standard stream that the caller closed. */
static void fill_standard_streams(void)
{
    int fd;
    do {
        fd =
            open("/dev/null", O_RDWR); /* not close-on-exec: the daemon needs them, too */
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

static mob_status launch(struct start *s)
{
    char path[PATH_MAX];
    int pipe_fds[2];
    pid_t self = getpid();
    MOB_TRY(find_daemon(path, sizeof path));
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return status_fail(MOB_ERR_SYSTEM, "pipe: %m");
    }
    fflush(stdout);
    s->pid = fork();
    if (s->pid == 0) {
        exec_daemon(s, path, pipe_fds[1], self);
    }
    close(pipe_fds[1]);
    if (s->key_pipe >= 0) {
        close(s->key_pipe);
    }
    s->ready = pipe_fds[0];
    return s->pid > 0 ? MOB_OK : status_fail(MOB_ERR_SYSTEM, "starting mobulad: %m");
}

/* ---- waiting ------------------------------------------------------------------------------------- */

static void take_signals(struct start *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Whatever ends this command is to end the daemon, in peace. */
static void pass_signals(const struct start *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        kill(s->pid, SIGTERM);
    }
}

/* The daemon's line without its end; less than a line if the daemon ended. */
static mob_status read_line(const struct start *s, char *line, size_t size)
{
    uint64_t end = clock_deadline_ns(PATIENCE_S * NS_PER_S), now;
    size_t have = 0;
    while ((now = clock_now_ns()) < end && have < size - 1) {
        struct pollfd fds[2] = {{.fd = s->ready, .events = POLLIN},
                                {.fd = s->signals, .events = POLLIN}};
        if (poll(fds, 2, (int)((end - now) / NS_PER_MS) + 1) < 0 && errno != EINTR) {
            return status_fail(MOB_ERR_SYSTEM, "poll: %m");
        }
        if (fds[1].revents) {
            pass_signals(s);
        }
        if (!fds[0].revents) {
            continue;
        }
        ssize_t n = read(s->ready, line + have, size - 1 - have);
        have += n > 0 ? (size_t)n : 0;
        line[have] = '\0';
        char *newline = strchr(line, '\n');
        if (newline || n == 0) {
            line[newline ? (size_t)(newline - line) : have] = '\0';
            return MOB_OK;
        }
    }
    kill(s->pid, SIGKILL);
    return status_fail(MOB_ERR_TIMEOUT, "the daemon did not become ready within %d s",
                       (int)PATIENCE_S);
}

static int wait_end(const struct start *s)
{
    int status;
    while (waitpid(s->pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return 0;
        }
    }
    return status;
}

/* The daemon ended or is about to, unless what it said makes no sense. */
static int not_ready(const struct start *s, const char *line)
{
    if (strncmp(line, "ready ", 6) == 0) {
        kill(s->pid, SIGTERM);
        fprintf(stderr,
                "%s: the daemon is ready, but says so in no known way: use the same "
                "version of both\n",
                tool_name);
    }
    int status = wait_end(s);
    if (strncmp(line, "error ", 6) == 0) {
        fprintf(stderr, "%s: %s\n", tool_name, line + 6);
    } else if (strncmp(line, "ready ", 6) == 0) {
        return TOOL_FAILED;
    } else if (WIFSIGNALED(status)) {
        fprintf(stderr,
                "%s: the daemon was killed by signal %d (%s) before the node was ready\n",
                tool_name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else {
        fprintf(stderr, "%s: the daemon ended with status %d before the node was ready\n",
                tool_name, WEXITSTATUS(status));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == TOOL_USAGE ? TOOL_USAGE
                                                                  : TOOL_FAILED;
}

/* --block: until the daemon ends. */
static int stay(const struct start *s)
{
    int pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    for (;;) {
        struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN},
                                {.fd = s->signals, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            break;
        }
        if (fds[1].revents) {
            pass_signals(s);
        }
        if (fds[0].revents) {
            break;
        }
    }
    int status = wait_end(s);
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "%s: the daemon was killed by signal %d (%s)\n", tool_name,
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? TOOL_OK : TOOL_FAILED;
}

int start_main(int argc, char **argv)
{
    static char line[READY_BYTES_MAX];
    static struct start s = {.ready = -1, .signals = -1, .key_pipe = -1};
    json_error_t error;
    s.args[s.count++] = strdup("mobulad");
    add_arg(&s, "ready-fd", "3");
    int code = parse(&s, argc, argv);
    if (code) {
        return code;
    }
    if (s.block) {
        take_signals(&s);
    }
    fill_standard_streams();
    if ((s.clustered && start_key(&s)) || launch(&s)) {
        return tool_fail();
    }
    mob_status st = read_line(&s, line, sizeof line);
    if (st) {
        wait_end(&s);
        return tool_fail();
    }
    json_t *node =
        strncmp(line, "ready ", 6) == 0 ? json_loads(line + 6, 0, &error) : NULL;
    if (!node) {
        return not_ready(&s, line);
    }
    start_show(&s, node);
    json_decref(node);
    if (!tool_flush()) {
        return TOOL_FAILED;
    }
    return s.block ? stay(&s) : TOOL_OK;
}
