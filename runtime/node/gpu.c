/* gpu.c - which GPUs a worker sees.
 *
 * A process learns its GPUs once, when its CUDA library starts: so a worker of a class with GPUs is started with
 * CUDA_VISIBLE_DEVICES, serves that class alone, and ends with its slot. Whole GPUs are its own; parts of GPUs
 * are packed on as few devices as they fit on. The other workers of a node with GPUs see none.
 *
 * The planner sees to it that the sum is enough. Parts may lie so that it is enough and no device has it: then the
 * start waits for workers with GPUs to end, and idle ones are asked to. */
#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

/* The devices that the daemon itself may see, as its environment names them. False: it may see all. */
static bool find_names(struct gpus *g)
{
    const char *at = getenv(GPU_ENV);
    if (!at) {
        return false;
    }
    while (*at && g->count < NODE_GPUS_MAX) {
        size_t size = strcspn(at, ",");
        if (size == 0 || size > GPU_NAME_MAX ||
            *at == '-') { /* what follows is not seen */
            break;
        }
        snprintf(g->name[g->count++], sizeof g->name[0], "%.*s", (int)size, at);
        at += size + (at[size] == ',');
    }
    return true;
}

static uint32_t count_devices(void)
{
    glob_t found;
    uint32_t count = 0;
    if (glob("/dev/nvidia[0-9]*", 0, NULL, &found) == 0) {
        count = found.gl_pathc < NODE_GPUS_MAX ? (uint32_t)found.gl_pathc : NODE_GPUS_MAX;
        globfree(&found);
    }
    return count;
}

void gpu_init(struct gpus *g, int count)
{
    *g = (struct gpus){0};
    bool named = find_names(g);
    uint32_t known = g->count, there = named ? known : count_devices();
    g->count = count < 0 ? there : (uint32_t)count;
    for (uint32_t i = known; i < g->count; i++) {
        snprintf(g->name[i], sizeof g->name[i], "%u", i);
    }
}

uint64_t gpu_take(struct gpus *g, uint64_t units)
{
    uint64_t devices = 0;
    uint32_t best = NODE_GPUS_MAX, whole = (uint32_t)(units / CPU_UNITS);
    for (uint32_t i = 0; i < g->count; i++) {
        if (whole > 0 && g->used[i] == 0) {
            devices |= 1ull << i;
            whole--;
        } else if (units < CPU_UNITS && g->used[i] + units <= CPU_UNITS &&
                   (best == NODE_GPUS_MAX || g->used[i] > g->used[best])) {
            best = i;
        }
        if (devices && whole == 0) {
            break;
        }
    }
    if (whole > 0 || (units < CPU_UNITS && best == NODE_GPUS_MAX)) {
        return 0;
    }
    devices |= units < CPU_UNITS ? 1ull << best : 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (devices >> i & 1) {
            g->used[i] += units < CPU_UNITS ? (uint32_t)units : CPU_UNITS;
        }
    }
    return devices;
}

void gpu_give(struct gpus *g, uint64_t devices, uint64_t units)
{
    for (uint32_t i = 0; i < g->count; i++) {
        if (devices >> i & 1) {
            g->used[i] -= units < CPU_UNITS ? (uint32_t)units : CPU_UNITS;
        }
    }
}

char *gpu_env(const struct gpus *g, uint64_t devices, char *buf, size_t size)
{
    int at = snprintf(buf, size, GPU_ENV "=");
    for (uint32_t i = 0, some = 0; i < g->count; i++) {
        if (devices >> i & 1) {
            at += snprintf(buf + at, size - (size_t)at, "%s%s", some++ ? "," : "",
                           g->name[i]);
        }
    }
    return buf;
}

void gpu_gather(struct node *n)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        for (uint32_t k = 2; n->jobs[i] && k < PROCS_MAX; k++) {
            struct member *m = &n->jobs[i]->members[k];
            if (m->used && !m->dead && m->gpus && m->slot == SLOT_IDLE) {
                proc_run(m, RUN_EXIT);
            }
        }
    }
}
