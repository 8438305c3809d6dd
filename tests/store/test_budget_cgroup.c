/* The budget inside a real memory cgroup: it says no before the kernel kills.
 *
 * A child enters a cgroup of 96 MiB, below it one without a limit of its own, and commits
 * what the budget grants until it refuses. The child must live, have got most of the
 * limit, and have been told which cgroup is full. Needs root and a memory hierarchy that
 * can be written, of version 1 or 2. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/seg.h"
#include "store/budget.h"

enum { SKIP = 77 };
#define MIB (1ull << 20)
#define LIMIT (96 * MIB)
#define RESERVE (16 * MIB)
#define STEP (4 * MIB)

static char outer[128], inner[160];

static int put(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int rc = fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ? -1 : 0;
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

#define EXPECT(cond)                                                                     \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "not so: %s (line %d): %s\n", #cond, __LINE__,               \
                    mob_last_error());                                                   \
            return 1;                                                                    \
        }                                                                                \
    } while (0)

/* In the cgroup. Without the budget the first commit past the limit is the end of it. */
static int commit_until_refused(void)
{
    struct budget budget;
    struct budget_config config = {.limit_bytes = 1024 * MIB, .reserve_bytes = RESERVE};
    const struct budget_owner owner = {0, 0};
    struct machine_memory memory;
    int fd;
    EXPECT(machine_memory(&memory) == MOB_OK);
    EXPECT(memory.limit_bytes == LIMIT && memory.cgroup_binds);
    EXPECT(!strcmp(memory.tightest.path, outer));
    EXPECT(budget_init(&budget, &config) == MOB_OK);
    EXPECT(seg_create("budget", 256 * MIB, &fd) == MOB_OK);
    uint64_t sum = 0;
    while (sum < 256 * MIB && budget_take(&budget, owner, STEP) == MOB_OK) {
        EXPECT(seg_commit(fd, sum, STEP) == MOB_OK);
        budget_committed(&budget, STEP);
        sum += STEP;
    }
    fprintf(stderr, "%llu MiB of %llu committed, then: %s\n",
            (unsigned long long)(sum / MIB), LIMIT / MIB, mob_last_error());
    EXPECT(sum <= LIMIT - RESERVE && sum >= LIMIT - RESERVE - 8 * STEP);
    EXPECT(strstr(mob_last_error(), outer));
    /* What goes back can be had again. */
    EXPECT(seg_discard(fd, 0, 2 * STEP) == MOB_OK);
    budget_give(&budget, owner, 2 * STEP);
    EXPECT(budget_take(&budget, owner, STEP) == MOB_OK);
    EXPECT(seg_commit(fd, 0, STEP) == MOB_OK);
    budget_committed(&budget, STEP);
    budget_fini(&budget);
    close(fd);
    return 0;
}

static int child(void)
{
    char text[32];
    snprintf(text, sizeof text, "%d", (int)getpid());
    if (put(inner, "cgroup.procs", text) < 0) {
        printf("skipped: cannot enter a memory cgroup: %s\n", strerror(errno));
        fflush(stdout);
        return SKIP;
    }
    return commit_until_refused();
}

/* Makes the outer one of either version, with its limit. */
static int make_outer(void)
{
    static const char *const top[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
    static const char *const limit[] = {"memory.limit_in_bytes", "memory.max"};
    char text[32];
    snprintf(text, sizeof text, "%llu", LIMIT);
    for (int i = 0; i < 2; i++) {
        snprintf(outer, sizeof outer, "%s/mobula-test-%d", top[i], (int)getpid());
        if (mkdir(outer, 0700) == 0) {
            if (put(outer, limit[i], text) == 0) {
                return i == 0 || put(outer, "cgroup.subtree_control", "+memory") == 0;
            }
            rmdir(outer);
        }
    }
    return 0;
}

int main(void)
{
    int status = 0, rc = SKIP;
    int made = make_outer();
    snprintf(inner, sizeof inner, "%s/inner", outer);
    if (!made || mkdir(inner, 0700) < 0) {
        printf("skipped: cannot set up a memory cgroup: %s\n", strerror(errno));
    } else {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            _exit(child());
        }
        rc = 1;
        if (pid > 0 && waitpid(pid, &status, 0) == pid) {
            rc = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        }
        if (pid > 0 && WIFSIGNALED(status)) {
            fprintf(stderr, "the child was killed by signal %d\n", WTERMSIG(status));
        }
    }
    rmdir(inner);
    rmdir(outer);
    return rc;
}
