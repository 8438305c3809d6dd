/* cores_find.c - the machine's CPUs, as hwloc sees them, and which of them are this node's.
 *
 * Each daemon that pins would take the same CPUs first. So a node claims CPUs, with a lock on the folder that each
 * has in sysfs: every user can, nothing is left on a disk, and the kernel takes the lock back with the daemon. Nodes
 * that cannot see each other's sysfs, as those of containers with networks of their own, do not see such claims:
 * there --no-pin, or CPU sets (docker run --cpuset-cpus), keep them apart. Who is limited by a quota shares all CPUs
 * with others that are, and pins nothing. */
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/machine.h"
#include "cores.h"

#define CLAIM_FOLDER "/sys/devices/system/cpu"
/* For all that another node needs, which is some locks; who stops in the middle does not hold up all others. */
#define CLAIM_TURN_NS (2 * NS_PER_S)

/* ---- the topology -------------------------------------------------------------------------------- */

/* What the CPU is a part of: the nearest of a type above it, else something of its own. */
static uint32_t part_of(hwloc_topology_t t, hwloc_obj_t cpu, hwloc_obj_type_t type)
{
    hwloc_obj_t o = hwloc_get_ancestor_obj_by_type(t, type, cpu);
    return o ? o->logical_index : CORES_NONE;
}

void cores_read(struct cores *c, hwloc_topology_t t, const struct cpus *allowed)
{
    hwloc_obj_t o = NULL;
    c->count = 0;
    while ((o = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_PU, o)) &&
           c->count < NODE_CPUS_MAX) {
        if (!cpus_has(allowed, o->os_index)) {
            continue;
        }
        int numa = o->nodeset ? hwloc_bitmap_first(o->nodeset) : -1;
        struct cpu *cpu = &c->cpu[c->count++];
        *cpu = (struct cpu){.os = o->os_index,
                            .core = part_of(t, o, HWLOC_OBJ_CORE),
                            .cache = part_of(t, o, HWLOC_OBJ_L3CACHE),
                            .numa = numa >= 0 ? (uint32_t)numa : 0,
                            .claim = -1};
        if (cpu->core == CORES_NONE) {
            cpu->core = o->logical_index;
        }
    }
}

/* No devices, no plugins (which load graphics libraries), and no asking of each CPU itself: the kernel's files
 * say all that is wanted here. */
static bool load(hwloc_topology_t t)
{
    static const hwloc_obj_type_t wanted[] = {HWLOC_OBJ_CORE, HWLOC_OBJ_L3CACHE};
    bool ok = hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                            "x86") == 0 &&
              hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE) == 0;
    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        ok = ok && hwloc_topology_set_type_filter(t, wanted[i],
                                                  HWLOC_TYPE_FILTER_KEEP_ALL) == 0;
    }
    return ok && hwloc_topology_load(t) == 0;
}

static bool find_table(struct cores *c)
{
    hwloc_topology_t t;
    setenv("HWLOC_PLUGINS_PATH", "/nonexistent", 1);
    if (hwloc_topology_init(&t) < 0) {
        return false;
    }
    bool ok = load(t) && hwloc_topology_is_thissystem(t);
    if (ok) {
        cores_read(c, t, &c->all);
    }
    hwloc_topology_destroy(t);
    return ok && c->count;
}

/* ---- claims -------------------------------------------------------------------------------------- */

/* False: another node has it, or it cannot be claimed here, which errno tells. */
static bool claim(struct cpu *cpu)
{
    char path[64];
    snprintf(path, sizeof path, CLAIM_FOLDER "/cpu%u", cpu->os);
    int fd =
        cpu->claim >= 0 ? cpu->claim : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && cpu->claim < 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        fd = -1;
    }
    cpu->claim = fd;
    return fd >= 0;
}

static void unclaim(struct cpu *cpu)
{
    if (cpu->claim >= 0) {
        close(cpu->claim);
        cpu->claim = -1;
    }
}

/* Claims all CPUs of a set. One that it does not get counts as used from then on. */
static bool claim_all(struct cores *c, const struct cpus *set, int *ret_error)
{
    bool all = true;
    for (uint32_t i = 0; i < c->count; i++) {
        struct cpu *cpu = &c->cpu[i];
        if (cpus_has(set, cpu->os) && !claim(cpu)) {
            *ret_error = errno != EWOULDBLOCK ? errno : *ret_error;
            cpu->used = CPU_UNITS;
            all = false;
        }
    }
    return all;
}

/* Nodes that choose at the same time would each keep the other from what neither has in the end, and pin nothing or
 * far apart. So they choose one after the other: who has the folder of all CPUs. Returns its file, or -1 where it
 * cannot be had in time; then there is the risk. */
static int claim_turn(void)
{
    int fd = open(CLAIM_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t until = clock_now_ns() + CLAIM_TURN_NS;
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || clock_now_ns() > until) {
            close(fd);
            return -1;
        }
        (void)poll(NULL, 0, 1); /* no other call waits for a lock with a limit */
    }
    return fd;
}

/* Each turn that fails finds a CPU that is another's, so there are as many turns as CPUs. */
static bool claim_some(struct cores *c, uint32_t want, int *ret_error)
{
    struct cpus set;
    bool got = false;
    int turn = claim_turn();
    while (!got && cores_choose(c, want, &set)) {
        got = claim_all(c, &set, ret_error);
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (!got || !cpus_has(&set, c->cpu[i].os)) {
            unclaim(&c->cpu[i]);
        }
    }
    if (turn >= 0) {
        close(turn);
    }
    if (got) {
        cores_keep(c, &set);
    }
    return got;
}

/* ---- what is pinned ------------------------------------------------------------------------------ */

static void claim_or_say(struct cores *c, uint32_t want)
{
    int error = 0;
    uint32_t all = c->count;
    if (claim_some(c, want, &error)) {
        return;
    }
    if (error) {
        snprintf(c->why, sizeof c->why, "CPUs cannot be claimed in " CLAIM_FOLDER ": %s",
                 strerror(error));
    } else {
        snprintf(c->why, sizeof c->why,
                 "other nodes of this machine have claimed so many of %u CPUs that fewer "
                 "than %u are left",
                 all, want);
    }
}

/* Fills in the table, or says why no CPUs can be this node's own. */
static void find(struct cores *c, unsigned num_cpus, uint32_t allowed, bool told)
{
    if (num_cpus > allowed) {
        snprintf(c->why, sizeof c->why, "it has %u CPUs for tasks, and may run on %u",
                 num_cpus, allowed);
    } else if (allowed < CORES_PIN_MIN && !told) {
        snprintf(
            c->why, sizeof c->why,
            "it may run on %u CPUs, and pins from %d on unless it is started with --pin",
            allowed, CORES_PIN_MIN);
    } else if (machine_cpus() < allowed && !told) {
        snprintf(
            c->why, sizeof c->why,
            "a cgroup's quota lets it use %u of %u CPUs, which it shares with others",
            machine_cpus(), allowed);
    } else if (!find_table(c)) {
        snprintf(c->why, sizeof c->why,
                 "hwloc does not tell how this machine's CPUs lie");
    } else {
        claim_or_say(c, num_cpus);
    }
}

void cores_find(struct cores *c, unsigned num_cpus, int pin)
{
    *c = (struct cores){0};
    if (pin == MOB_NO_PIN || num_cpus == 0) {
        snprintf(c->why, sizeof c->why, "%s",
                 num_cpus ? "it was started with --no-pin" : "it runs no tasks");
        return;
    }
    if (sched_getaffinity(0, sizeof c->all, (cpu_set_t *)&c->all) < 0) {
        snprintf(c->why, sizeof c->why, "sched_getaffinity: %s", strerror(errno));
        return;
    }
    find(c, num_cpus, cpus_count(&c->all), pin == MOB_PIN);
    if (c->why[0]) {
        c->count = 0;
    }
}

void cores_drop(struct cores *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        unclaim(&c->cpu[i]);
    }
    c->count = 0;
}
