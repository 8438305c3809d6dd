/* Nodes of one machine that look for CPUs at the same moment: all of them that there is room for find some, and no
 * CPU is two nodes'. Each node is a process; the sysfs, whose locks are the claims, is this test's own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cores.h"

enum { ROUNDS = 25, AT_ONCE_MAX = 4, LOOK_MS = 50, SKIP = 77 };

#define EXPECT(cond)                                                                     \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "not so: %s (line %d)\n", #cond, __LINE__);                  \
            _exit(1);                                                                    \
        }                                                                                \
    } while (0)

struct found {
    uint32_t count;
    struct cpus cpus;
    char why[CORES_WHY_MAX];
};

/* Begins with the others, when @go is closed at its other end, and holds what it found until @end is. */
static void be_node(unsigned want, int go, int tell, int end)
{
    static struct cores cores;
    struct found f = {0};
    char c;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    EXPECT(read(go, &c, 1) == 0);
    cores_find(&cores, want, MOB_PIN);
    f.count = cores.count;
    for (uint32_t i = 0; i < cores.count; i++) {
        cpus_add(&f.cpus, cores.cpu[i].os);
    }
    memcpy(f.why, cores.why, sizeof f.why);
    EXPECT(write(tell, &f, sizeof f) == sizeof f);
    EXPECT(read(end, &c, 1) == 0);
    cores_drop(&cores);
    _exit(0);
}

static pid_t start_node(unsigned want, const int *go, int tell, const int *end)
{
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        close(go[1]);
        close(end[1]);
        be_node(want, go[0], tell, end[0]);
    }
    return pid;
}

/* @count nodes of @want CPUs each begin at once; @room of them have to find CPUs. */
static void begin_at_once(unsigned count, unsigned want, unsigned room)
{
    int go[2], tell[2], end[2], status;
    pid_t pid[AT_ONCE_MAX];
    unsigned found = 0;
    struct cpus all = {0};
    EXPECT(pipe(go) == 0 && pipe(tell) == 0 && pipe(end) == 0);
    for (unsigned i = 0; i < count; i++) {
        pid[i] = start_node(want, go, tell[1], end);
    }
    close(go[1]);
    for (unsigned i = 0; i < count; i++) {
        struct found f;
        EXPECT(read(tell[0], &f, sizeof f) == sizeof f);
        EXPECT(f.count ? f.count == want : strstr(f.why, "claimed") != NULL);
        found += f.count != 0;
        for (uint32_t cpu = 0; cpu < NODE_CPUS_MAX; cpu++) {
            EXPECT(!cpus_has(&all, cpu) || !cpus_has(&f.cpus, cpu));
        }
        for (uint32_t w = 0; w < NODE_CPUS_MAX / 64; w++) {
            all.word[w] |= f.cpus.word[w];
        }
    }
    EXPECT(found == room);
    close(end[1]);
    for (unsigned i = 0; i < count; i++) {
        EXPECT(waitpid(pid[i], &status, 0) == pid[i] && status == 0);
    }
    close(go[0]);
    close(tell[0]);
    close(tell[1]);
    close(end[0]);
}

static int lock(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    return fd;
}

/* Another node has its turn, and a CPU that it will not keep: who begins meanwhile waits, and finds all. */
static void begin_while_another_chooses(unsigned cpus, unsigned first)
{
    int go[2], tell[2], end[2], status;
    char path[64];
    struct found f;
    EXPECT(pipe(go) == 0 && pipe(tell) == 0 && pipe(end) == 0);
    pid_t pid = start_node(cpus, go, tell[1], end);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u", first);
    int turn = lock("/sys/devices/system/cpu"), cpu = lock(path);
    close(go[1]);
    struct pollfd told = {.fd = tell[0], .events = POLLIN};
    EXPECT(poll(&told, 1, LOOK_MS) == 0);
    close(cpu);
    close(turn);
    EXPECT(read(tell[0], &f, sizeof f) == sizeof f && f.count == cpus);
    close(end[1]);
    EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(void)
{
    cpu_set_t set;
    unsigned first = 0;
    EXPECT(sched_getaffinity(0, sizeof set, &set) == 0);
    unsigned cpus = (unsigned)CPU_COUNT(&set);
    if (cpus < 2) {
        printf("skipped: two CPUs are needed\n");
        return SKIP;
    }
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0) {
        printf("skipped: only root can have a sysfs of its own: %s\n", strerror(errno));
        return SKIP;
    }
    EXPECT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    EXPECT(mount("sysfs", "/sys", "sysfs", MS_RDONLY, NULL) == 0);
    while (!CPU_ISSET(first, &set)) {
        first++;
    }
    begin_while_another_chooses(cpus, first);
    for (int i = 0; i < ROUNDS; i++) {
        begin_at_once(2, cpus, 1);         /* one has all, and not each a part */
        begin_at_once(2, cpus / 2, 2);     /* both fit */
        begin_at_once(3, cpus / 2 + 1, 1); /* more than there is room for */
    }
    return 0;
}
