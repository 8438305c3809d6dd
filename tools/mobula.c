/* mobula - starts, shows and stops the node of this machine. */
#include "mobula/mobula_tool.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: mobula COMMAND [options]\n"
    "\n"
    "  mobula start     start a node on this machine\n"
    "  mobula status    show nodes, jobs, and demand that nobody can meet\n"
    "  mobula stop      stop the node of this machine\n"
    "  mobula timeline  record what tasks do, for Perfetto\n"
    "  mobula check-transport\n"
    "                   say how objects will move: over RDMA, or why not\n"
    "\n"
    "Each has --help. --version says which this is. The manual is mobula(1).\n";

static const struct {
    const char *name, *full;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"start", "mobula start", start_main},
    {"status", "mobula status", status_main},
    {"stop", "mobula stop", stop_main},
    {"timeline", "mobula timeline", timeline_main},
    {"check-transport", "mobula check-transport", check_main},
};

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(word, commands[i].name) == 0) {
            tool_name = commands[i].full;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ||
        strcmp(word, "help") == 0) {
        fputs(usage, stdout);
        return tool_flush() ? TOOL_OK : TOOL_FAILED;
    }
    if (strcmp(word, "--version") == 0) {
        return tool_version();
    }
    return argc > 1
               ? tool_usage("unknown command '%s'", word)
               : tool_usage(
                     "say a command: start, status, stop, timeline or check-transport");
}
