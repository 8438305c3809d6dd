/* The CPUs of tasks on a machine that has four of them and more, several NUMA nodes or threads of a core: what the
 * machine has is checked, and the rest left out. tests/rdma runs it on one that has it all. Tasks tell where they may
 * run (cpus.h). Limits of a container are those of a cgroup of version 2 that the driver enters. */
#include <sys/resource.h>

#include "cpus.h"

enum { CPUS_MIN = 4, TOP = 64 };
#define MIB (1ull << 20)

/* ---- the machine --------------------------------------------------------------------------------- */

static cpu_set_t all;
static int count;           /* of all */
static int core[TOP];       /* the first CPU of the core that the CPU is a thread of */
static int numa[TOP];       /* its NUMA node */
static int cores_of, numas; /* how many there are */

static int numa_of(int cpu)
{
    char path[96];
    for (int node = 0; node < TOP; node++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/node%d", cpu, node);
        if (access(path, F_OK) == 0) {
            return node;
        }
    }
    return 0;
}

static int core_of(int cpu)
{
    char path[96];
    int first = cpu;
    snprintf(path, sizeof path,
             "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "re");
    CHECK(f != NULL && fscanf(f, "%d", &first) == 1);
    fclose(f);
    return first;
}

/* Skips the case on a machine that is too small, or so large that the tables here are. */
static void machine(void)
{
    all = affinity(0);
    count = CPU_COUNT(&all);
    if (mob_is_worker()) {
        return;
    }
    if (count < CPUS_MIN) {
        skip("four CPUs are needed");
    }
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all) && i >= TOP) {
            skip("64 CPUs are looked at, and this machine has more");
        }
    }
    cpu_set_t cores, nodes;
    CPU_ZERO(&cores);
    CPU_ZERO(&nodes);
    for (int i = 0; i < TOP; i++) {
        if (CPU_ISSET(i, &all)) {
            core[i] = core_of(i);
            numa[i] = numa_of(i);
            CPU_SET(core[i], &cores);
            CPU_SET(numa[i], &nodes);
        }
    }
    cores_of = CPU_COUNT(&cores);
    numas = CPU_COUNT(&nodes);
}

static struct mob *node_of(struct mob_config c)
{
    struct mob *mob;
    c.struct_size = sizeof c;
    OK(mob_init(&c, &mob));
    return mob;
}

/* With all CPUs, as the default is. */
static struct mob *node(void)
{
    machine();
    if (!mob_is_worker()) {
        own_sysfs();
    }
    struct mob *mob = node_of((struct mob_config){.store_bytes = 64 * MIB});
    EQ(api_info(mob).num_cpus, count);
    return mob;
}

/* ---- sets ---------------------------------------------------------------------------------------- */

/* Takes @s out of @io_free, where all of it has to be. */
static void take_out(cpu_set_t *io_free, const cpu_set_t *s)
{
    cpu_set_t both;
    CPU_AND(&both, io_free, s);
    CHECK(same(&both, s));
    CPU_XOR(io_free, io_free, s);
}

/* Of the CPUs of a set, how many are on NUMA node @n. */
static int on_numa(const cpu_set_t *s, int n)
{
    int on = 0;
    for (int i = 0; i < TOP; i++) {
        on += CPU_ISSET(i, s) && numa[i] == n;
    }
    return on;
}

static int on_any_numa(const cpu_set_t *s)
{
    int most = 0;
    for (int n = 0; n < TOP; n++) {
        most = on_numa(s, n) > most ? on_numa(s, n) : most;
    }
    return most;
}

/* How many threads libraries make there: a worker is started with a number, or told another one later. */
static int threads(const struct seen *s)
{
    return s->told ? s->told : s->omp;
}

/* One CPU each, no two of them the same. Returns all of them. */
static cpu_set_t one_each(const struct seen *s, int tasks)
{
    cpu_set_t sum, left = all;
    for (int i = 0; i < tasks; i++) {
        EQ(CPU_COUNT(&s[i].here), 1);
        CHECK(same(&s[i].here, &s[i].thread));
        EQ(threads(&s[i]), 1);
        take_out(&left, &s[i].here);
    }
    CPU_XOR(&sum, &all, &left);
    return sum;
}

/* Tasks of these sizes, each begun before the next is submitted, all there at once. */
static void run_sizes(struct mob *mob, const double *cpus, int tasks, struct seen *ret)
{
    struct held h;
    mob_ref ref[TOP] = {0};
    held_make(&h);
    for (int i = 0; i < tasks; i++) {
        ref[i] = submit_look(mob, &h, cpus[i]);
        held_begun(&h, 1);
    }
    api_gate_open(&h.on, (unsigned)tasks);
    for (int i = 0; i < tasks; i++) {
        OK(mob_get_copy(mob, ref[i], &ret[i], sizeof ret[i], MOB_FOREVER));
        mob_release(mob, ref[i]);
    }
}

/* ---- one node ------------------------------------------------------------------------------------ */

/* Each task has CPUs that no other one has, on one NUMA node as long as one has room. */
static void sizes(void)
{
    static const double ask[] = {1, 2, 4};
    struct mob *mob = node();
    struct seen s[3] = {0};
    int tasks = count >= 7 ? 3 : 2;
    for (int round = 0; round < 2; round++) {
        cpu_set_t left = all;
        run_sizes(mob, ask, tasks, s);
        for (int i = 0; i < tasks; i++) {
            int want = (int)ask[i], room = on_any_numa(&left);
            EQ(CPU_COUNT(&s[i].here), want);
            CHECK(same(&s[i].here, &s[i].thread));
            EQ(threads(&s[i]), want);
            EQ(s[i].cpus, want);
            take_out(&left, &s[i].here);
            if (room >= want) {
                EQ(on_any_numa(&s[i].here), want);
            }
        }
    }
    mob_shutdown(mob);
}

/* As long as there are cores that nobody is on each task has one, and then their other threads. What they had is
 * free again: the next one has all. */
static void cores_first(void)
{
    struct mob *mob = node();
    struct seen s[TOP] = {0};
    double ask[TOP];
    cpu_set_t taken;
    for (int i = 0; i < count; i++) {
        ask[i] = 1;
    }
    run_sizes(mob, ask, count, s);
    CPU_ZERO(&taken);
    for (int i = 0; i < cores_of; i++) {
        for (int cpu = 0; cpu < TOP; cpu++) {
            if (CPU_ISSET(cpu, &s[i].here)) {
                CHECK(!CPU_ISSET(core[cpu], &taken));
                CPU_SET(core[cpu], &taken);
            }
        }
    }
    EQ(CPU_COUNT(&taken), cores_of);
    taken = one_each(s, count);
    CHECK(same(&taken, &all));
    run(mob, 1, count, s);
    CHECK(same(&s[0].here, &all));
    EQ(threads(&s[0]), count);
    mob_shutdown(mob);
}

/* Parts fill a CPU before the next one has any. A larger task with a part is on one NUMA node, and on no CPU that is
 * full of others; who asks for none is on all. */
static void parts(void)
{
    static const double ask[] = {0.5, 0.5, 0.5, 0.5, 1.5, MOB_NO_CPU};
    enum { TASKS = sizeof ask / sizeof ask[0] };
    struct mob *mob = node();
    struct seen s[TASKS] = {0};
    cpu_set_t left = all;
    run_sizes(mob, ask, TASKS, s);
    for (int i = 0; i < 4; i += 2) {
        EQ(CPU_COUNT(&s[i].here), 1);
        CHECK(same(&s[i].here, &s[i + 1].here));
        take_out(&left, &s[i].here);
    }
    EQ(CPU_COUNT(&s[4].here), 2);
    take_out(&left, &s[4].here);
    if (on_any_numa(&all) >= 4) {
        EQ(on_any_numa(&s[4].here), 2);
    }
    CHECK(same(&s[5].here, &all));
    mob_shutdown(mob);
}

/* All workers are killed, in the middle of a task and without one: the CPUs are others'. */
static void killed(void)
{
    struct mob *mob = node();
    struct seen s[TOP] = {0};
    mob_ref ref[TOP] = {0};
    for (int i = 0; i < count; i++) {
        ref[i] = submit_die_once(mob);
    }
    for (int i = 0; i < count; i++) {
        OK(mob_get_copy(mob, ref[i], &s[i], sizeof s[i], MOB_FOREVER));
        EQ(CPU_COUNT(&s[i].here), 1);
        mob_release(mob, ref[i]);
    }
    for (int round = 0; round < 2; round++) {
        run(mob, (unsigned)count, 1, s);
        cpu_set_t sum = one_each(s, count);
        CHECK(same(&sum, &all));
        for (int i = 0; i < count; i++) {
            CHECK(kill(s[i].pid, SIGKILL) == 0);
        }
    }
    run(mob, 1, count, s);
    CHECK(same(&s[0].here, &all));
    mob_shutdown(mob);
}

/* ---- two nodes ----------------------------------------------------------------------------------- */

/* A node of half of the CPUs, which tells which ones its tasks have at once, and ends when it may. */
static void half(void)
{
    struct seen s[TOP] = {0};
    machine();
    struct mob *mob = node_of(
        (struct mob_config){.num_cpus = (unsigned)count / 2, .store_bytes = 64 * MIB});
    run(mob, (unsigned)count / 2, 1, s);
    cpu_set_t sum = one_each(s, count / 2);
    const char *tell = getenv("API_TELL"), *end = getenv("API_END");
    CHECK(tell && end);
    int fd = open(tell, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, &sum, sizeof sum) == sizeof sum);
    close(fd);
    api_gate_wait(end);
    mob_shutdown(mob);
}

/* Two begin at once. No CPU is of both; where there are two NUMA nodes each has one. */
static void two_nodes(void)
{
    struct api_gate tell, end;
    machine();
    own_sysfs();
    api_gate_make(&tell);
    api_gate_make(&end);
    setenv("API_TELL", tell.path, 1);
    setenv("API_END", end.path, 1);
    for (int round = 0; round < 2; round++) {
        cpu_set_t sum, left = all;
        pid_t pid[2];
        int status;
        fflush(NULL);
        for (int i = 0; i < 2; i++) {
            pid[i] = fork();
            CHECK(pid[i] >= 0);
            if (pid[i] == 0) {
                execl("/proc/self/exe", "/proc/self/exe", "_half", NULL);
                _exit(127);
            }
        }
        for (int i = 0; i < 2; i++) {
            CHECK(read(tell.fd, &sum, sizeof sum) == sizeof sum);
            EQ(CPU_COUNT(&sum), count / 2);
            take_out(&left, &sum);
            if (numas == 2 && on_any_numa(&all) == count / 2) {
                EQ(on_any_numa(&sum), count / 2);
            }
        }
        api_gate_open(&end, 2);
        for (int i = 0; i < 2; i++) {
            CHECK(waitpid(pid[i], &status, 0) == pid[i]);
            EQ(status, 0);
        }
    }
}

/* ---- in a container ------------------------------------------------------------------------------ */

/* Enters a cgroup of version 2 in which @file has @text, and what the machine is without it; skips the case if there is
 * none. It goes when nobody is in it any more: with the machine, or by the parent of the driver. */
static void enter(const char *file, const char *text)
{
    char path[256], dir[128];
    struct {
        const char *name, *text;
    } put[] = {{file, text}, {"cgroup.procs", "0"}};
    machine();
    own_sysfs();
    if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0) {
        skip("cgroups of version 2 cannot be mounted");
    }
    snprintf(dir, sizeof dir, "/sys/fs/cgroup/mobula-cpus-%d", (int)getpid());
    if (mkdir(dir, 0755) < 0) {
        skip("no cgroup of version 2 can be made");
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, put[i].name);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 && i == 0) {
            rmdir(dir);
            skip("the controller is not one of version 2 here");
        }
        CHECK(fd >= 0 && write(fd, put[i].text, strlen(put[i].text)) > 0);
        close(fd);
    }
}

/* Runs @driver in a process of its own, and removes its cgroup. */
static void in_group(void (*driver)(void))
{
    char dir[128];
    int status;
    if (mob_is_worker()) {
        driver();
    }
    machine();
    pid_t pid = fork();
    if (pid == 0) {
        driver();
        exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    own_sysfs();
    if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) == 0) {
        snprintf(dir, sizeof dir, "/sys/fs/cgroup/mobula-cpus-%d", (int)pid);
        EVENTUALLY(rmdir(dir) == 0 || errno == ENOENT);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == API_SKIP) {
        exit(API_SKIP);
    }
    EQ(status, 0);
}

/* Of a cpuset the node has all CPUs, and tasks are on those alone. */
static void in_cpuset(void)
{
    struct seen s[4] = {0};
    if (!mob_is_worker()) {
        char text[64] = "";
        machine();
        if (count < 6) {
            skip("six CPUs are needed");
        }
        for (int i = 0, n = 0; i < TOP; i++) {
            if (CPU_ISSET(i, &all) && ++n >= 3 && n <= 6) {
                snprintf(text + strlen(text), sizeof text - strlen(text), "%d,", i);
            }
        }
        enter("cpuset.cpus", text);
        machine();
        EQ(count, 4);
    }
    struct mob *mob = node_of((struct mob_config){.store_bytes = 64 * MIB});
    EQ(api_info(mob).num_cpus, 4);
    run(mob, 4, 1, s);
    cpu_set_t sum = one_each(s, 4);
    CHECK(same(&sum, &all));
    run(mob, 1, MOB_NO_CPU, s);
    CHECK(same(&s[0].here, &all));
    mob_shutdown(mob);
}

static void cpuset(void)
{
    in_group(in_cpuset);
}

static mob_status doze(struct mob_task *task)
{
    poll(NULL, 0, 2);
    return mob_return_copy(task, 0, "", 1);
}
MOB_REGISTER(doze);

/* How often a driver slept that waited for @times tasks, and could have looked for the result all the time. */
static long sleeps(struct mob *mob, int times)
{
    struct rusage before = {0}, now = {0};
    mob_ref ref;
    size_t size;
    for (int i = -1; i < times; i++) { /* the first one starts the worker */
        OK(mob_submit(mob, doze, MOB_NO_ARGS, NULL, &ref));
        OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
        mob_release(mob, ref);
        CHECK(getrusage(RUSAGE_SELF, i < 0 ? &before : &now) == 0);
    }
    return now.ru_nvcsw - before.ru_nvcsw;
}

/* Of a quota the node has as many CPUs as it pays in full, and nothing is pinned unless it is told to: all of the
 * machine's CPUs run it in turn. */
static void in_quota(const char *quota, unsigned cpus)
{
    struct seen s[2] = {0};
    int pin = getenv("API_PIN") ? MOB_PIN : 0;
    if (!mob_is_worker()) {
        setenv("MOBULA_SPIN_US", "1000000", 1);
        enter("cpu.max", quota);
    }
    struct mob *mob = node_of((struct mob_config){.store_bytes = 64 * MIB, .pin = pin});
    EQ(api_info(mob).num_cpus, cpus);
    run(mob, cpus, 1, s);
    for (unsigned i = 0; i < cpus; i++) {
        EQ(CPU_COUNT(&s[i].here), pin ? 1 : count);
        EQ(threads(&s[i]), 1);
    }
    /* Who spins uses up what the others need of it, if there is not enough for all who are awake. */
    if (!pin) {
        long slept = sleeps(mob, 20);
        CHECK(cpus > 1 ? slept < 10
                       : slept >= 10); /* now and then a result is there at once */
    }
    mob_shutdown(mob);
}

static void in_two_and_a_half(void)
{
    in_quota("250000 100000", 2);
}

static void in_a_half(void)
{
    in_quota("50000 100000", 1);
}

static void quota(void)
{
    in_group(in_two_and_a_half);
}

static void quota_and_pin(void)
{
    setenv("API_PIN", "1", 1);
    in_group(in_two_and_a_half);
}

static void small_quota(void)
{
    in_group(in_a_half);
}

/* Of a limit of memory the store has its share, and tasks may ask for the rest. */
static void in_limit(void)
{
    enum { LIMIT_MIB = 1000, STORE_MIB = 300 };
    struct mob_options o = MOB_OPTIONS_INIT;
    struct held h;
    struct seen s;
    mob_ref ref;
    if (!mob_is_worker()) {
        enter("memory.max", "1048576000");
    }
    struct mob *mob = node_of((struct mob_config){.num_cpus = 2});
    EQ(api_info(mob).store_bytes, STORE_MIB * MIB);
    held_make(&h);
    api_gate_open(&h.on, 1);
    o.memory_bytes = (LIMIT_MIB - STORE_MIB) * MIB;
    OK(mob_submit(mob, look, MOB_ARGS(MOB_VALUE(h)), &o, &ref));
    OK(mob_get_copy(mob, ref, &s, sizeof s, MOB_FOREVER));
    mob_release(mob, ref);
    o.memory_bytes += MIB;
    IS(mob_submit(mob, look, MOB_ARGS(MOB_VALUE(h)), &o, &ref), MOB_ERR_DEMAND);
    mob_shutdown(mob);
}

static void memory_limit(void)
{
    in_group(in_limit);
}

API_MAIN({"sizes", sizes, 60}, {"cores_first", cores_first, 60}, {"parts", parts, 60},
         {"killed", killed, 60}, {"_half", half, 0}, {"two_nodes", two_nodes, 60},
         {"cpuset", cpuset, 60}, {"quota", quota, 60},
         {"quota_and_pin", quota_and_pin, 60}, {"small_quota", small_quota, 60},
         {"memory_limit", memory_limit, 60});
