/* debug.c - stopping before a task until a debugger is there. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

enum { LOOK_MS = 50, SETTLE_MS = 100 };

/* The pid that traces this process, or 0. */
static int tracer(void)
{
    char line[128];
    int pid = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "TracerPid:", 10) == 0) {
            pid = (int)strtol(line + 10, NULL, 10);
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    return pid;
}

/* By the task's own name, or by its function's. */
static bool is_meant(const struct mob_task *task, char *name)
{
    const struct board *b = &task->mob->board;
    board_name_text(b, task->call.fn, name);
    if (strcmp(name, task->mob->wait_gdb) == 0) {
        return true;
    }
    board_name_text(b, task->r->name, name);
    return strcmp(name, task->mob->wait_gdb) == 0;
}

void debug_wait(const struct mob_task *task)
{
    char name[MOB_NAME_MAX + 1];
    if (!is_meant(task, name) || tracer() != 0) {
        return;
    }
    fprintf(stderr,
            "mobula: waiting before task %s for a debugger; in another terminal run: gdb "
            "-p %d "
            "-ex 'break %s' -ex continue\n",
            name, (int)getpid(), name);
    while (tracer() == 0) {
        poll(NULL, 0, LOOK_MS);
    }
    /* A debugger that has attached still has its breakpoints to set: it stops this process meanwhile,
     * so that the time counts only once it has let it go. */
    poll(NULL, 0, SETTLE_MS);
}
