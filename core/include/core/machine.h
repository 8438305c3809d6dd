/* machine.h - what this machine lets us use: CPUs, memory, and who is alive on it.
 *
 * A process may use less than the machine has. CPUs are limited by its affinity and by
 * the quota of every cgroup from its own up to the root; memory by RAM and by the limits
 * of the same chain. Limits of both cgroup versions count, and on a hybrid system both at
 * once: version 1 has a hierarchy a controller, version 2 has one for all.
 *
 * Where the cgroups are is learned from /proc/self/cgroup and /proc/self/mountinfo, never
 * assumed. In a container the mount may show only a part of the hierarchy, and what lies
 * above it cannot be read: then the limits that can be seen hold.
 *
 * Nothing is kept between calls, so all functions may be called by many threads at once.
 * They read a few small files of /proc and /sys, some 10 to 100 us. The variants that end
 * in _at() read everything below a folder instead of /, for tests. */
#ifndef CORE_MACHINE_H
#define CORE_MACHINE_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MACHINE_UNLIMITED UINT64_MAX
#define MACHINE_PATH_BYTES 1024 /* of a cgroup's folder; longer ones are cut */
#define MACHINE_ID_BYTES 40     /* a boot id is 36 characters */

/* ---- CPUs ---------------------------------------------------------------------- */

/* CPUs that this process may keep busy: the smaller of its affinity and the tightest
 * quota of its cgroups, rounded down, so that a worker on each is never throttled. At
 * least 1. */
unsigned machine_cpus(void);
/* The same from files below @root for a process that may run on @affinity CPUs. */
unsigned machine_cpus_at(const char *root, unsigned affinity);

/* ---- memory -------------------------------------------------------------------- */

/* A memory cgroup and its figures. Usage that is only clean file cache does not count
 * against anybody: the kernel drops it before it refuses. */
struct machine_cgroup {
    char path[MACHINE_PATH_BYTES]; /* its folder; "" if no cgroup has a limit */
    uint64_t limit_bytes;          /* the kernel kills above it; or MACHINE_UNLIMITED */
    uint64_t high_bytes; /* the kernel slows down above it; or MACHINE_UNLIMITED */
    uint64_t usage_bytes;
    uint64_t reclaimable_bytes; /* of usage: inactive file cache */
};

struct machine_memory {
    uint64_t total_bytes;     /* RAM */
    uint64_t ram_free_bytes;  /* MemAvailable: what RAM could give now without swapping */
    uint64_t limit_bytes;     /* the least of total_bytes and all limits: the most ever */
    uint64_t available_bytes; /* the least of ram_free_bytes and all room: the most now */
    struct machine_cgroup tightest; /* of those with a limit, the one with least room */
    bool cgroup_binds; /* available_bytes is the tightest's room, not RAM's */
};

/* How much memory this process may still take: for every cgroup of the chain,
 * min(limit, high) - usage + reclaimable, and MemAvailable; the least of them.
 * Returns MOB_OK, or MOB_ERR_UNSUPPORTED if /proc/meminfo cannot be read. */
mob_status machine_memory(struct machine_memory *ret);
mob_status machine_memory_at(const char *root, struct machine_memory *ret);

/* ---- who is alive -------------------------------------------------------------- */

/* The kernel's id of this boot: a file from before it was left by nobody who lives.
 * @buf: MACHINE_ID_BYTES. Returns MOB_OK or MOB_ERR_UNSUPPORTED. */
mob_status machine_boot_id(char *buf);
mob_status machine_boot_id_at(const char *root, char *buf);

/* Whether shared memory gets huge pages: "never", "advise", "always" and so on, as the system's setting says, or
 * "?". Returns @buf. */
char *machine_huge_pages(char *buf, size_t size);
char *machine_huge_pages_at(const char *root, char *buf, size_t size);

/* The host's name, for messages; "localhost" if it has none. Returns @buf. */
char *machine_hostname(char *buf, size_t size);

/* When process @pid started, in clock ticks since boot: {boot id, pid, start} names a
 * process for ever, where a pid alone comes round again. A process that is dead but not
 * yet waited for counts as gone. Returns MOB_OK, MOB_ERR_NOT_FOUND, or
 * MOB_ERR_UNSUPPORTED without /proc. */
mob_status machine_pid_start(pid_t pid, uint64_t *ret_ticks);
mob_status machine_pid_start_at(const char *root, pid_t pid, uint64_t *ret_ticks);

#endif
