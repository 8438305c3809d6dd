#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *driver_path, *daemon_path;

int rig_main(const char *name, int argc, char **argv, const struct rig_case *cases,
             size_t count)
{
    driver_path = argv[1];
    daemon_path = argv[2];
    tester_begin(name, "cases");
    for (size_t i = 0; i < count; i++) {
        if (argc == 3 || strcmp(argv[3], cases[i].name) == 0) {
            printf("%s\n", cases[i].name);
            fflush(stdout);
            cases[i].run();
        }
        tester.done++;
    }
    tester_end();
    return 0;
}

const char *rig_mobulad(void)
{
    return daemon_path;
}

void rig_names(struct rig *g)
{
    *g = (struct rig){.daemon.pid = -1, .driver = {-1, -1, -1}};
    snprintf(g->dir, sizeof g->dir, "%s/node%u", tester.folder, tester.done);
    snprintf(g->scratch, sizeof g->scratch, "%s/scratch%u", tester.folder, tester.done);
    if (mkdir(g->scratch, 0700) < 0) {
        broken("making %s: %s", g->scratch, strerror(errno));
    }
}

void rig_begin(struct rig *g, unsigned cpus, const char *driver_case)
{
    char option[32];
    const char *const options[] = {option, "--object-store-memory=256M",
                                   "--log-level=error", NULL};
    snprintf(option, sizeof option, "--num-cpus=%u", cpus);
    rig_names(g);
    g->daemon = daemon_start(daemon_path, g->dir, options);
    g->driver = driver_start(g, driver_case);
}

void rig_end(struct rig *g, int code)
{
    if (g->driver.pid > 0) {
        driver_end(&g->driver, code);
    }
    if (g->board.base) {
        board_unmap(&g->board);
    }
    if (g->daemon.pid > 0) {
        EVENTUALLY(count_jobs(g) == 0, "the job is still there");
        daemon_stop(&g->daemon, g->dir);
    }
}

/* ---- driver ------------------------------------------------------------------------------------- */

struct kid driver_start(const struct rig *g, const char *driver_case)
{
    char *argv[] = {(char *)driver_path, (char *)driver_case, (char *)g->scratch,
                    (char *)g->dir, NULL};
    return kid_start(argv);
}

void driver_await(const struct rig *g, char c)
{
    int status;
    if (!kid_says(&g->driver, c, PROGRESS_MS)) {
        if (kid_ended(&g->driver, &status)) {
            broken("the driver ended with %#x", (unsigned)status);
        }
        broken("the driver did not come to '%c'", c);
    }
}

void driver_tell(const struct rig *g)
{
    if (write(g->driver.in, "g", 1) != 1) {
        broken("the driver is gone");
    }
}

void driver_end(struct kid *k, int code)
{
    int status;
    kid_end_input(k);
    if (!kid_wait(k, PROGRESS_MS, &status) || !WIFEXITED(status) ||
        WEXITSTATUS(status) != code) {
        broken("a driver ended with %#x", (unsigned)status);
    }
    kid_close(k);
}

static void mark_path(const struct rig *g, const char *name, char path[96])
{
    snprintf(path, 96, "%s/%s", g->scratch, name);
}

void mark_make(const struct rig *g, const char *name)
{
    char path[96];
    mark_path(g, name, path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        broken("making %s: %s", path, strerror(errno));
    }
    close(fd);
}

bool mark_there(const struct rig *g, const char *name)
{
    char path[96];
    mark_path(g, name, path);
    return access(path, F_OK) == 0;
}

/* ---- node and board ----------------------------------------------------------------------------- */

size_t count_jobs(const struct rig *g)
{
    json_t *status = node_tells(g->dir);
    size_t count = json_array_size(json_object_get(status, "jobs"));
    json_decref(status);
    return count;
}

void map_board(struct rig *g)
{
    if (boards_map(g->daemon.pid, &g->board, 1) != 1) {
        broken("the job has no board");
    }
}

pid_t worker_pid(const struct rig *g, uint32_t proc)
{
    return (pid_t)at_load(&g->board.procs[proc].pid, AT_ACQUIRE);
}

/* Idle, asleep, and idle still: it sleeps where idle ones do. */
bool is_asleep(const struct rig *g, uint32_t proc)
{
    const struct proc *w = &g->board.procs[proc];
    bool idle = at_load(&w->state, AT_SEQ_CST) == PROC_IDLE;
    char state = proc_state(worker_pid(g, proc));
    return idle && state == 'S' && at_load(&w->state, AT_SEQ_CST) == PROC_IDLE;
}

static unsigned find_sleepers(const struct rig *g, uint32_t ret_procs[2])
{
    unsigned found = 0;
    for (uint32_t p = 2; p < PROCS_MAX && found < 2; p++) {
        if (is_asleep(g, p)) {
            ret_procs[found++] = p;
        }
    }
    return found;
}

void await_sleepers(const struct rig *g, uint32_t ret_procs[2])
{
    EVENTUALLY(find_sleepers(g, ret_procs) == 2, "two workers do not come to rest");
}

void kill_worker(const struct rig *g, uint32_t proc)
{
    pid_t pid = worker_pid(g, proc);
    kill(pid, SIGKILL);
    EVENTUALLY(at_load(&g->board.procs[proc].state, AT_ACQUIRE) == PROC_NONE ||
                   worker_pid(g, proc) != pid,
               "a dead worker was not swept");
}

unsigned count_segments(const struct rig *g, uint64_t flags, bool of_dead)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        uint64_t word = at_load(&g->board.segments[i], AT_ACQUIRE);
        count += word & SEGMENT_USED && (word & flags) == flags &&
                 (!of_dead || segment_owner(word) == DAEMON);
    }
    return count;
}
