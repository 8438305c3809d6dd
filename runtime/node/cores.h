/* cores.h - which CPUs a worker runs on.
 *
 * The planner counts CPUs; which ones a slot has is said here, when it begins, never for a task. A CPU is what the
 * kernel calls one: a hardware thread. The table has the node's CPUs in the order of the machine, neighbours
 * beside each other, each with what slots hold of it:
 *
 *   0            free
 *   1 to 9999    parts, of slots that ask for parts of a CPU: they share it
 *   CPU_UNITS    one slot's own, or parts that fill it
 *
 * Rules, in this order, for the whole CPUs of a slot: of one NUMA node; of cores that no other slot is on; of one
 * last-level cache; where the least is left over, so that larger slots find room too. Of a core that is all its own
 * a slot has one thread, and the next ones once it is on every such core. A part of a CPU is on the fullest CPU
 * that has room; beside whole ones on their NUMA node, if need be on a CPU that nobody has, and far from them only
 * where no node has so many. A slot that had CPUs before gets the same ones if they are free.
 *
 * A slot floats, and may run on all CPUs of the daemon, if it asks for none, or if parts lie so that the sum is
 * enough for it and no CPU is.
 *
 * cores.c decides and touches nothing; cores_find.c asks hwloc and the kernel. One thread. */
#ifndef NODE_CORES_H
#define NODE_CORES_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"

#define CORES_WHY_MAX 192
#define CPUS_TEXT_MAX 1024 /* for people; a longer list is cut */
#define CORES_NONE UINT32_MAX
/* A node that may run on fewer CPUs pins only if it is told to. There a driver, or what else runs on the machine, takes
 * its CPU from one of few workers, which cannot move away (docs/BENCHMARKS.md). */
#define CORES_PIN_MIN 4

struct cpus { /* a set of CPUs by the kernel's numbers, laid out as its cpu_set_t is */
    uint64_t word[NODE_CPUS_MAX / 64];
};

static inline void cpus_add(struct cpus *s, uint32_t cpu)
{
    s->word[cpu / 64] |= 1ull << cpu % 64;
}

static inline bool cpus_has(const struct cpus *s, uint32_t cpu)
{
    return cpu < NODE_CPUS_MAX && s->word[cpu / 64] >> cpu % 64 & 1;
}

uint32_t cpus_count(const struct cpus *s);
bool cpus_equal(const struct cpus *a, const struct cpus *b);
/* "0-3,8"; cut if there is no room. Returns buf. */
char *cpus_text(const struct cpus *s, char *buf, size_t size);

struct cpu {
    uint32_t os;                /* the kernel's number */
    uint32_t core, cache, numa; /* numbers of what it is a part of */
    uint32_t used;              /* what slots hold of it, in CPU_UNITS */
    int claim;                  /* the file that is locked, or -1 */
};

struct cores {
    uint32_t count; /* 0: nothing is pinned, and `why` says why */
    struct cpu cpu[NODE_CPUS_MAX];
    struct cpus all; /* where workers run that float */
    char why[CORES_WHY_MAX];
};

/* What a slot holds; zeroed before the first time. It remembers what it had while it holds nothing. */
struct cores_share {
    bool held;
    struct cpus cpus;
    uint32_t units; /* of CPU_UNITS */
    uint32_t
        part; /* the place in the table of the CPU that it has a part of, or CORES_NONE */
};

/* CPUs for a slot of @units, which holds none now. False: it floats. */
bool cores_take(struct cores *c, uint64_t units, struct cores_share *io);
void cores_give(struct cores *c, struct cores_share *s);
/* @want free CPUs, as a slot would get them, without taking them. False: there are fewer. */
bool cores_choose(const struct cores *c, uint32_t want, struct cpus *ret);
/* Forgets the CPUs that are not in @keep. */
void cores_keep(struct cores *c, const struct cpus *keep);

/* ---- cores_find.c ---- */

struct hwloc_topology;
/* The table of the CPUs of a topology that are in @allowed. */
void cores_read(struct cores *c, struct hwloc_topology *t, const struct cpus *allowed);
/* Finds CPUs for a node of @num_cpus and claims them, so that no two nodes of a machine pin their workers to the
 * same ones; they are free again when the daemon ends, however. What is in the way is in `why`: then nothing is
 * pinned, which is no failure. @pin: MOB_PIN, MOB_NO_PIN, or 0: what is better for most. */
void cores_find(struct cores *c, unsigned num_cpus, int pin);
void cores_drop(struct cores *c);

#endif
