/* What the machine lets us use, on made-up trees of both cgroup versions, and on this
 * machine. */
#include <criterion/criterion.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/machine.h"

#define MIB (1ull << 20)

static char root[64];

/* Writes a file below the made-up root, and the folders above it. */
static void put(const char *path, const char *text)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    cr_assert_not_null(file, "%s", full);
    fputs(text, file);
    fclose(file);
}

static void begin(void)
{
    snprintf(root, sizeof root, "/tmp/mob-machine-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    put("/proc/meminfo", "MemTotal:       4194304 kB\nMemFree:         100 kB\n"
                         "MemAvailable:   2097152 kB\n");
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void end(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(machine, .init = begin, .fini = end);

#define V1_MOUNT                                                                         \
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
#define V1_CPU                                                                           \
    "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
#define V2_MOUNT                                                                         \
    "41 31 0:38 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define NO_LIMIT "9223372036854771712\n"

static struct machine_memory look(void)
{
    struct machine_memory memory;
    cr_assert_eq(machine_memory_at(root, &memory), MOB_OK, "%s", mob_last_error());
    return memory;
}

static void memory_is(uint64_t limit, uint64_t available, const char *path)
{
    struct machine_memory memory = look();
    cr_assert_eq(memory.total_bytes, 4096 * MIB);
    cr_assert_eq(memory.ram_free_bytes, 2048 * MIB);
    cr_assert_eq(memory.limit_bytes, limit, "limit %llu",
                 (unsigned long long)memory.limit_bytes);
    cr_assert_eq(memory.available_bytes, available, "available %llu",
                 (unsigned long long)memory.available_bytes);
    cr_assert_str_eq(memory.tightest.path, path);
    cr_assert_eq(memory.cgroup_binds, available < 2048 * MIB);
}

Test(machine, without_cgroups_ram_counts)
{
    memory_is(4096 * MIB, 2048 * MIB, "");
    cr_assert_eq(machine_cpus_at(root, 6), 6);
    cr_assert_eq(machine_cpus_at(root, 0), 1);
}

Test(machine, without_meminfo_nothing_is_known)
{
    struct machine_memory memory;
    put("/proc/meminfo", "MemTotal: 100 kB\n");
    cr_assert_eq(machine_memory_at(root, &memory), MOB_ERR_UNSUPPORTED);
    cr_assert_eq(machine_memory_at("/nowhere", &memory), MOB_ERR_UNSUPPORTED);
}

Test(machine, v1_limits_hold_along_the_chain)
{
    put("/proc/self/mountinfo", V1_MOUNT);
    put("/proc/self/cgroup", "4:memory:/a/b\n1:name=systemd:/other\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT);
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "104857600\n");
    memory_is(1024 * MIB, 924 * MIB, "/sys/fs/cgroup/memory/a/b");
    /* The parent allows more and has less left. */
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n");
    put("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1992294400\n");
    put("/sys/fs/cgroup/memory/a/memory.stat",
        "inactive_file 1048576\nhierarchical_memory_limit 7\ntotal_inactive_file "
        "52428800\n");
    memory_is(1024 * MIB, 198 * MIB, "/sys/fs/cgroup/memory/a");
    struct machine_memory memory = look();
    cr_assert_eq(memory.tightest.usage_bytes, 1900 * MIB);
    cr_assert_eq(memory.tightest.reclaimable_bytes, 50 * MIB);
}

Test(machine, v2_limits_and_high_marks_hold_along_the_chain)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/user.slice/job\n");
    put("/sys/fs/cgroup/user.slice/job/memory.max", "max\n");
    put("/sys/fs/cgroup/user.slice/job/memory.high", "max\n");
    memory_is(4096 * MIB, 2048 * MIB, "");
    put("/sys/fs/cgroup/user.slice/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/user.slice/memory.current", "536870912\n");
    put("/sys/fs/cgroup/user.slice/memory.stat", "anon 1\ninactive_file 104857600\n");
    memory_is(1024 * MIB, 612 * MIB, "/sys/fs/cgroup/user.slice");
    put("/sys/fs/cgroup/user.slice/memory.high", "805306368\n");
    memory_is(768 * MIB, 356 * MIB, "/sys/fs/cgroup/user.slice");
}

Test(machine, a_limit_that_leaves_more_than_ram_does_not_bind)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/a\n");
    put("/sys/fs/cgroup/a/memory.max", "3221225472\n");
    put("/sys/fs/cgroup/a/memory.current", "1\n");
    memory_is(3072 * MIB, 2048 * MIB, "/sys/fs/cgroup/a");
}

Test(machine, usage_above_the_limit_leaves_nothing)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/a\n");
    put("/sys/fs/cgroup/a/memory.max", "1048576\n");
    put("/sys/fs/cgroup/a/memory.current", "2097152\n");
    put("/sys/fs/cgroup/a/memory.stat", "inactive_file 4096\n");
    memory_is(MIB, 0, "/sys/fs/cgroup/a");
    /* More cache than usage cannot be; it is no reason to promise more than the limit. */
    put("/sys/fs/cgroup/a/memory.stat", "inactive_file 99999999999\n");
    memory_is(MIB, MIB, "/sys/fs/cgroup/a");
}

Test(machine, hybrid_hierarchies_count_both)
{
    put("/proc/self/mountinfo",
        V1_MOUNT V1_CPU "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("/proc/self/cgroup", "7:cpu,cpuacct:/x\n4:memory:/a\n0::/u\n");
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "0\n");
    memory_is(1024 * MIB, 1024 * MIB, "/sys/fs/cgroup/memory/a");
    put("/sys/fs/cgroup/unified/u/memory.max", "536870912\n");
    put("/sys/fs/cgroup/unified/u/memory.current", "0\n");
    memory_is(512 * MIB, 512 * MIB, "/sys/fs/cgroup/unified/u");
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "400000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(machine_cpus_at(root, 8), 4);
    put("/sys/fs/cgroup/unified/u/cpu.max", "300000 100000\n");
    cr_assert_eq(machine_cpus_at(root, 8), 3);
    cr_assert_eq(machine_cpus_at(root, 2), 2);
}

Test(machine, the_quota_of_a_parent_holds)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    cr_assert_eq(machine_cpus_at(root, 8), 8);
    put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    cr_assert_eq(machine_cpus_at(root, 8), 2, "2.5 CPUs keep two workers busy");
    put("/sys/fs/cgroup/a/cpu.max", "20000 100000\n");
    cr_assert_eq(machine_cpus_at(root, 8), 1);
    put("/sys/fs/cgroup/a/cpu.max", "20000 0\n");
    cr_assert_eq(machine_cpus_at(root, 8), 8);
    put("/sys/fs/cgroup/a/cpu.max", "nonsense\n");
    cr_assert_eq(machine_cpus_at(root, 8), 8);
}

Test(machine, a_v1_quota_of_minus_one_is_none)
{
    put("/proc/self/mountinfo", V1_CPU);
    put("/proc/self/cgroup", "7:cpu,cpuacct:/\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(machine_cpus_at(root, 8), 8);
}

Test(machine, a_container_sees_the_part_that_is_mounted)
{
    /* Without a cgroup namespace: the host's path, and a mount of our own cgroup as its
     * root. */
    put("/proc/self/mountinfo",
        "9 1 0:3 /docker/f00 /cg\\040roup ro - cgroup cgroup ro,memory\n");
    put("/proc/self/cgroup", "4:memory:/docker/f00/sub\n");
    put("/cg roup/memory.limit_in_bytes", "1073741824\n");
    put("/cg roup/memory.usage_in_bytes", "0\n");
    put("/cg roup/sub/memory.limit_in_bytes", NO_LIMIT);
    memory_is(1024 * MIB, 1024 * MIB, "/cg roup");
    /* A path that the mount does not show at all: its top is the best that is known. */
    put("/proc/self/cgroup", "4:memory:/elsewhere\n");
    memory_is(1024 * MIB, 1024 * MIB, "/cg roup");
    put("/proc/self/cgroup", "4:memory:/docker/f00bar\n");
    memory_is(1024 * MIB, 1024 * MIB, "/cg roup");
}

Test(machine, paths_outside_of_the_namespace_are_not_followed)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/../other\n");
    put("/sys/fs/other/memory.max", "4096\n");
    memory_is(4096 * MIB, 2048 * MIB, "");
    /* A mount from further up shows it. */
    put("/proc/self/mountinfo", "4 3 0:3 /.. /cg rw - cgroup2 cgroup2 rw\n");
    put("/cg/other/memory.max", "1073741824\n");
    memory_is(1024 * MIB, 1024 * MIB, "/cg/other");
}

Test(machine, of_several_mounts_the_widest_is_taken)
{
    put("/proc/self/mountinfo", "1 1 0:3 /a/b /narrow rw - cgroup2 cgroup2 rw\n"
                                "2 1 0:3 / /wide rw - cgroup2 cgroup2 rw\n"
                                "3 1 0:3 /z /elsewhere rw - cgroup2 cgroup2 rw\n");
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/wide/a/memory.max", "1073741824\n");
    put("/elsewhere/memory.max", "4096\n");
    memory_is(1024 * MIB, 1024 * MIB, "/wide/a");
}

Test(machine, malformed_files_are_survived)
{
    static const char *const texts[] = {"",
                                        "\n\n",
                                        "::::",
                                        "0::",
                                        "a b c - cgroup2",
                                        " - ",
                                        "1 2 3 4 5 6 7",
                                        "\\0\\04\\040 - cgroup2 x y"};
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned j = 0; j < 8; j++) {
            put("/proc/self/mountinfo", texts[i]);
            put("/proc/self/cgroup", texts[j]);
            memory_is(4096 * MIB, 2048 * MIB, "");
            cr_assert_eq(machine_cpus_at(root, 3), 3);
        }
    }
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/a\n");
    put("/sys/fs/cgroup/a/memory.max", "-5\n");
    memory_is(4096 * MIB, 2048 * MIB, "");
    put("/sys/fs/cgroup/a/memory.max", "99999999999999999999999\n");
    memory_is(4096 * MIB, 2048 * MIB, "");
}

Test(machine, this_machine_has_cpus_and_memory)
{
    struct machine_memory memory;
    cr_assert_geq(machine_cpus(), 1);
    cr_assert_leq(machine_cpus(), (unsigned)sysconf(_SC_NPROCESSORS_CONF));
    cr_assert_eq(machine_memory(&memory), MOB_OK, "%s", mob_last_error());
    cr_assert_gt(memory.available_bytes, 0);
    cr_assert_leq(memory.available_bytes, memory.total_bytes);
    cr_assert_leq(memory.limit_bytes, memory.total_bytes);
}

Test(machine, a_boot_has_an_id_and_a_host_a_name)
{
    char one[MACHINE_ID_BYTES], two[MACHINE_ID_BYTES], name[65], tiny[3];
    cr_assert_eq(machine_boot_id(one), MOB_OK);
    cr_assert_eq(machine_boot_id(two), MOB_OK);
    cr_assert_str_eq(one, two);
    cr_assert_eq(strlen(one), 36);
    cr_assert_gt(strlen(machine_hostname(name, sizeof name)), 0);
    cr_assert_lt(strlen(machine_hostname(tiny, sizeof tiny)), sizeof tiny);
    cr_assert_eq(machine_boot_id_at(root, one), MOB_ERR_UNSUPPORTED);
    put("/proc/sys/kernel/random/boot_id", "0123456789012345678901234567890123456789\n");
    cr_assert_eq(machine_boot_id_at(root, one), MOB_ERR_UNSUPPORTED);
}

Test(machine, huge_pages_are_as_set)
{
    char set[16];
    cr_assert_str_eq(machine_huge_pages_at(root, set, sizeof set), "?");
    put("/sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "always within_size [advise] never deny force\n");
    cr_assert_str_eq(machine_huge_pages_at(root, set, sizeof set), "advise");
    put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "[");
    cr_assert_str_eq(machine_huge_pages_at(root, set, sizeof set), "");
    cr_assert_gt(strlen(machine_huge_pages(set, sizeof set)), 0);
}

Test(machine, a_process_is_known_by_its_start)
{
    uint64_t start, again;
    cr_assert_eq(machine_pid_start(getpid(), &start), MOB_OK);
    cr_assert_eq(machine_pid_start(getpid(), &again), MOB_OK);
    cr_assert_eq(start, again);
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(pipes[1]);
        _exit(read(pipes[0], &byte, 1) != 0 ? 1 : 0);
    }
    cr_assert_eq(machine_pid_start(pid, &again), MOB_OK);
    cr_assert_geq(again, start);
    close(pipes[1]);
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    cr_assert_eq(machine_pid_start(pid, &again), MOB_ERR_NOT_FOUND, "a zombie is alive");
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_eq(machine_pid_start(pid, &again), MOB_ERR_NOT_FOUND);
    close(pipes[0]);
}

Test(machine, names_of_processes_may_be_odd)
{
    uint64_t start;
    put("/proc/self/stat", "1 (x) R\n");
    put("/proc/77/stat",
        "77 (a) Z (b c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 9\n");
    cr_assert_eq(machine_pid_start_at(root, 77, &start), MOB_OK);
    cr_assert_eq(start, 4711);
    put("/proc/78/stat", "78 (short) S 1 2 3\n");
    cr_assert_eq(machine_pid_start_at(root, 78, &start), MOB_ERR_UNSUPPORTED);
    cr_assert_eq(machine_pid_start_at(root, 79, &start), MOB_ERR_NOT_FOUND);
    cr_assert_eq(machine_pid_start_at("/nowhere", 79, &start), MOB_ERR_UNSUPPORTED);
}
