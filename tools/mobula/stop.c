/* mobula stop - asks the daemon to end, and returns when nothing of it is left. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/status.h"
#include "home.h"
#include "local.h"
#include "mobula_tool.h"

static const char usage[] =
    "usage: mobula stop [options]\n"
    "\n"
    "Stops the node of this machine. Its jobs end with it: drivers that still run get an "
    "error.\n"
    "Returns when no process, segment, socket or file of the node is left.\n"
    "\n"
    "  --node-dir=DIR   the node in this folder instead of the usual one\n"
    "  --help           this text\n";

enum { PATIENCE_S = 30 };

static mob_status wait_gone(const struct tool_node *node)
{
    struct pollfd gone = {.fd = node->pidfd, .events = POLLIN};
    uint64_t end = clock_deadline_ns(PATIENCE_S * NS_PER_S), now;
    while ((now = clock_now_ns()) < end) {
        int n = poll(&gone, 1, (int)((end - now) / NS_PER_MS) + 1);
        if (n > 0) {
            return MOB_OK;
        }
        if (n < 0 && errno != EINTR) {
            return status_fail(MOB_ERR_SYSTEM, "waiting for the node's daemon: %m");
        }
    }
    return status_fail(
        MOB_ERR_TIMEOUT,
        "the node's daemon (pid %d) was asked to stop and did not within %d s; "
        "`kill -9 %d` ends it",
        (int)node->pid, (int)PATIENCE_S, (int)node->pid);
}

static mob_status ask_to_stop(const struct tool_node *node)
{
    struct local_msg m;
    local_msg_init(&m, LOCAL_STOP);
    mob_status st = local_send(node->sock, &m, NULL, 0);
    return st == MOB_ERR_PEER_LOST ? MOB_OK : st; /* it ends already */
}

/* A killed daemon's files are removed here too, as the next start would. */
static int no_node(const char *node_dir)
{
    char dir[PATH_MAX], why[1024];
    pid_t pid = 0;
    snprintf(why, sizeof why, "%s", mob_last_error());
    if (tool_dir(node_dir, dir, sizeof dir) == MOB_OK &&
        home_clean(dir, &pid) == MOB_OK && pid) {
        status_say("no node runs at %s; what a killed one (pid %d) left there is removed",
                   dir, (int)pid);
    } else {
        status_say("%s", why);
    }
    return tool_fail();
}

int stop_main(int argc, char **argv)
{
    const char *dir;
    struct tool_node node;
    pid_t pid;
    if (tool_node_options(argc, argv, usage, &dir, NULL)) {
        return TOOL_USAGE;
    }
    mob_status st = tool_connect(dir, &node);
    if (st) {
        return st == MOB_ERR_NO_NODE ? no_node(dir) : tool_fail();
    }
    st = node.pidfd >= 0 ? ask_to_stop(&node)
                         : status_fail(MOB_ERR_UNSUPPORTED, "pidfd_open: %m");
    if (!st) {
        st = wait_gone(&node);
    }
    if (!st) {
        (void)home_clean(node.dir, &pid); /* should it have died on the way */
        printf("mobula: the node is stopped\n");
    }
    tool_disconnect(&node);
    return st ? tool_fail() : tool_flush() ? TOOL_OK : TOOL_FAILED;
}
